"""Variance scaling: the variance of a weight is scale / n, n a fan of the layer. Glorot, He, LeCun, PyTorch's default.

The names say the distribution: `*_normal` is the untruncated normal of the papers and of PyTorch;
`*_truncated_normal` is what Keras and JAX call `*_normal`.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from initbench.initializers._base import (
    Array,
    Shape,
    fans,
    rounded,
    standard_normal,
    standard_truncated_normal,
    standard_uniform,
    weight_and_bias_scheme,
    weight_scheme,
)
from initbench.streams import Seed

Mode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
Distribution = Literal["normal", "truncated_normal", "uniform"]

# Standard deviation of a unit normal truncated at ±2: sqrt(1 − 4 φ(2) / (2 Φ(2) − 1)).
TRUNCATED_STD = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


@weight_scheme
def variance_scaling(
    shape: Shape,
    *,
    scale: float = 1.0,
    mode: Mode = "fan_in",
    distribution: Distribution = "truncated_normal",
    seed: Seed = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """Mean 0 and variance scale / n, with n = fan_in, fan_out, their mean, or their geometric mean.

    - `normal`: N(0, scale / n).
    - `truncated_normal`: a normal truncated at two standard deviations, widened by 1 / 0.8796 so that the variance
      after truncation is scale / n (as Keras and JAX do).
    - `uniform`: U(−√(3 scale / n), √(3 scale / n)).

    Defaults are those of Keras; fan_geo_avg is JAX's. Raises ValueError if scale ≤ 0. Source: He et al. 2015,
    section 2.2, in the general form of Keras' `VarianceScaling`.
    """
    if not scale > 0:
        raise ValueError(f"scale = {scale!r}; allowed: above 0")
    fan_in, fan_out = fans(shape)
    n = {
        "fan_in": fan_in,
        "fan_out": fan_out,
        "fan_avg": (fan_in + fan_out) / 2,
        "fan_geo_avg": math.sqrt(fan_in * fan_out),
    }[mode]
    std = math.sqrt(scale / n)
    if distribution == "normal":
        values = std * standard_normal(shape, seed)
    elif distribution == "truncated_normal":
        values = std / TRUNCATED_STD * standard_truncated_normal(shape, seed, -2.0, 2.0)
    else:
        values = math.sqrt(3) * std * (2 * standard_uniform(shape, seed) - 1)
    return rounded(values, dtype)


@weight_scheme
def glorot_normal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """N(0, 2 / (fan_in + fan_out)). Glorot & Bengio 2010, eq. 12; PyTorch's `xavier_normal_`."""
    return variance_scaling(shape, mode="fan_avg", distribution="normal", seed=seed, dtype=dtype)


@weight_scheme
def glorot_truncated_normal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Truncated normal of variance 2 / (fan_in + fan_out). Keras' and JAX's `glorot_normal`."""
    return variance_scaling(shape, mode="fan_avg", seed=seed, dtype=dtype)


@weight_scheme
def glorot_uniform(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """U(−√(6 / (fan_in + fan_out)), +…). Glorot & Bengio 2010, eq. 16; Keras' default for dense layers."""
    return variance_scaling(shape, mode="fan_avg", distribution="uniform", seed=seed, dtype=dtype)


@weight_scheme
def he_normal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """N(0, 2 / fan_in), made for ReLU. He et al. 2015, eq. 10; PyTorch's `kaiming_normal_`."""
    return variance_scaling(shape, scale=2.0, distribution="normal", seed=seed, dtype=dtype)


@weight_scheme
def he_truncated_normal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Truncated normal of variance 2 / fan_in. Keras' and JAX's `he_normal`."""
    return variance_scaling(shape, scale=2.0, seed=seed, dtype=dtype)


@weight_scheme
def he_uniform(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """U(−√(6 / fan_in), +√(6 / fan_in)). He et al. 2015, the variance of eq. 10; `kaiming_uniform_` with a = 0."""
    return variance_scaling(shape, scale=2.0, distribution="uniform", seed=seed, dtype=dtype)


@weight_scheme
def lecun_normal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """N(0, 1 / fan_in). LeCun et al. 1998, "Efficient BackProp", section 4.6, eq. 16; SELU's companion."""
    return variance_scaling(shape, distribution="normal", seed=seed, dtype=dtype)


@weight_scheme
def lecun_truncated_normal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Truncated normal of variance 1 / fan_in. Keras' and JAX's `lecun_normal`."""
    return variance_scaling(shape, seed=seed, dtype=dtype)


@weight_scheme
def lecun_uniform(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """U(−√(3 / fan_in), +√(3 / fan_in)). LeCun et al. 1998, section 4.6; Keras' `lecun_uniform`."""
    return variance_scaling(shape, distribution="uniform", seed=seed, dtype=dtype)


@weight_and_bias_scheme
def torch_linear_default(
    shape: Shape, *, fan_in: int | None = None, seed: Seed = None, dtype: DTypeLike = np.float32
) -> Array:
    """U(−1/√fan_in, +1/√fan_in): what PyTorch's `nn.Linear` does to its weights and its biases.

    `nn.Linear.reset_parameters` calls `kaiming_uniform_` with a = √5, whose bound is √(6 / ((1 + 5) fan_in)) =
    1/√fan_in, and gives the bias the same bound. `fan_in` is needed for a bias, whose shape does not show it; for
    weights it is read from the shape. PyTorch stores the transpose, `[fan_out, fan_in]`.
    """
    if fan_in is None:
        fan_in = fans(shape)[0]
    bound = 1 / math.sqrt(fan_in)
    return rounded(bound * (2 * standard_uniform(shape, seed) - 1), dtype)
