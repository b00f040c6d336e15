"""Variance scaling: the variance of a weight is scale / n, n a fan of the layer.

Glorot, He, LeCun, and the defaults of libraries.

Names state the distribution: `*_normal` is the untruncated normal of the papers and of PyTorch;
`*_truncated_normal` is what Keras and JAX call `*_normal`.
"""

import math
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from initbench.initializers._base import (
    Array,
    Normal,
    Shape,
    TruncatedNormal,
    Uniform,
    checked,
    draw,
    fan_in_of,
    fans,
    require,
    weight_and_bias_scheme,
    weight_scheme,
)
from initbench.initializers.moments import Rule, gain
from initbench.random.streams import Seed

Mode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
Distribution = Literal["normal", "truncated_normal", "uniform", "uncorrected_truncated_normal"]

# Standard deviation of a unit normal truncated at ±2: sqrt(1 − 4 φ(2) / (2 Φ(2) − 1)).
TRUNCATED_STD = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))


def variance_scaling_distribution(
    shape: Shape, scale: float = 1.0, mode: Mode = "fan_in", distribution: Distribution = "truncated_normal"
) -> Uniform | Normal | TruncatedNormal:
    """Return the distribution with variance scale / n: see `variance_scaling`."""
    require(scale > 0, "scale", scale, "above 0")
    fan_in, fan_out = fans(shape)
    n = {
        "fan_in": fan_in,
        "fan_out": fan_out,
        "fan_avg": (fan_in + fan_out) / 2,
        "fan_geo_avg": math.sqrt(fan_in * fan_out),
    }[mode]
    std = math.sqrt(scale / n)
    if distribution == "normal":
        return Normal(0.0, std)
    if distribution == "uniform":
        return Uniform(-math.sqrt(3) * std, math.sqrt(3) * std)
    return TruncatedNormal(0.0, std / TRUNCATED_STD if distribution == "truncated_normal" else std)


@weight_scheme(distribution=variance_scaling_distribution)
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
    - `uncorrected_truncated_normal`: truncated, and not widened: the variance is 0.7737 · scale / n.

    Defaults are those of Keras; fan_geo_avg is JAX's. Raises ValueError if scale ≤ 0. Source: He et al. 2015,
    section 2.2, in the general form of Keras' `VarianceScaling`.

    When to use it: where no named scheme has the required scale, fan or distribution.
    """
    return draw(variance_scaling, shape, seed, dtype, scale=scale, mode=mode, distribution=distribution)


def _activation_scaled(
    shape: Shape, mode: Mode, distribution: Distribution, rule: Rule, activation: str
) -> Uniform | Normal | TruncatedNormal:
    return variance_scaling_distribution(shape, gain(activation, rule) ** 2, mode, distribution)


@weight_scheme(distribution=_activation_scaled)
def activation_scaling(
    shape: Shape,
    *,
    mode: Mode = "fan_in",
    distribution: Distribution = "normal",
    rule: Rule = "second_moment",
    activation: str = "relu",
    seed: Seed = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """Mean 0 and variance gain² / n, with the gain of the network's activation: `variance_scaling` for it.

    With the rule `second_moment` the gain is 1 / √E[φ(z)²], z ~ N(0, 1): unit normal pre-activations make layers
    whose pre-activations have variance 1 again (the argument of He et al. 2015, section 2.2, for any activation). With
    `pytorch` it is that of PyTorch's `calculate_gain` where it has one (identity and sigmoid 1, tanh 5/3, relu √2,
    leaky_relu √(2 / (1 + slope²)), selu 3/4) and else the same as above. See `gain`.

    When to use it: for an activation without a named scheme.
    """
    arguments = {"mode": mode, "distribution": distribution, "rule": rule, "activation": activation}
    return draw(activation_scaling, shape, seed, dtype, **arguments)


@weight_scheme(distribution=partial(variance_scaling_distribution, mode="fan_avg", distribution="normal"))
def glorot_normal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """N(0, 2 / (fan_in + fan_out)). The variance of Glorot & Bengio 2010, eq. 12; PyTorch's `xavier_normal_`.

    When to use it: for tanh and other activations that are near the identity at 0.
    """
    return draw(glorot_normal, shape, seed, dtype)


@weight_scheme(distribution=partial(variance_scaling_distribution, mode="fan_avg"))
def glorot_truncated_normal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Truncated normal of variance 2 / (fan_in + fan_out). Keras' and JAX's `glorot_normal`.

    When to use it: as `glorot_normal`, or to reproduce an experiment that used Keras or JAX.
    """
    return draw(glorot_truncated_normal, shape, seed, dtype)


@weight_scheme(distribution=partial(variance_scaling_distribution, mode="fan_avg", distribution="uniform"))
def glorot_uniform(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """U(−√(6 / (fan_in + fan_out)), +…). Glorot & Bengio 2010, eq. 16; Keras' default for dense layers.

    When to use it: as `glorot_normal`; the default of many libraries.
    """
    return draw(glorot_uniform, shape, seed, dtype)


@weight_scheme(distribution=partial(variance_scaling_distribution, scale=2.0, distribution="normal"))
def he_normal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """N(0, 2 / fan_in), made for ReLU. He et al. 2015, eq. 10; PyTorch's `kaiming_normal_`.

    When to use it: for ReLU.
    """
    return draw(he_normal, shape, seed, dtype)


@weight_scheme(distribution=partial(variance_scaling_distribution, scale=2.0))
def he_truncated_normal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Truncated normal of variance 2 / fan_in. Keras' and JAX's `he_normal`.

    When to use it: as `he_normal`, or to reproduce an experiment that used Keras or JAX.
    """
    return draw(he_truncated_normal, shape, seed, dtype)


@weight_scheme(distribution=partial(variance_scaling_distribution, scale=2.0, distribution="uniform"))
def he_uniform(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """U(−√(6 / fan_in), +√(6 / fan_in)). He et al. 2015, the variance of eq. 10; `kaiming_uniform_` with a = 0.

    When to use it: as `he_normal`, with bounded weights.
    """
    return draw(he_uniform, shape, seed, dtype)


@weight_scheme(distribution=partial(variance_scaling_distribution, distribution="normal"))
def lecun_normal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """N(0, 1 / fan_in). LeCun et al. 1998, "Efficient BackProp", section 4.6, eq. 16; recommended for SELU.

    When to use it: for SELU, whose authors recommend it, and for layers without an activation.
    """
    return draw(lecun_normal, shape, seed, dtype)


@weight_scheme(distribution=variance_scaling_distribution)
def lecun_truncated_normal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Truncated normal of variance 1 / fan_in. Keras' and JAX's `lecun_normal`.

    When to use it: as `lecun_normal`, or to reproduce an experiment that used Flax.
    """
    return draw(lecun_truncated_normal, shape, seed, dtype)


@weight_scheme(distribution=partial(variance_scaling_distribution, distribution="uniform"))
def lecun_uniform(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """U(−√(3 / fan_in), +√(3 / fan_in)). LeCun et al. 1998, section 4.6; Keras' `lecun_uniform`.

    When to use it: as `lecun_normal`, with bounded weights.
    """
    return draw(lecun_uniform, shape, seed, dtype)


def _torch_linear_default(shape: Shape, fan_in: int | None) -> Uniform:
    bound = 1 / math.sqrt(fan_in_of(shape, fan_in))
    return Uniform(-bound, bound)


@weight_and_bias_scheme(distribution=_torch_linear_default)
def torch_linear_default(
    shape: Shape, *, fan_in: int | None = None, seed: Seed = None, dtype: DTypeLike = np.float32
) -> Array:
    """U(−1/√fan_in, +1/√fan_in): what PyTorch's `nn.Linear` does to its weights and its biases.

    `nn.Linear.reset_parameters` calls `kaiming_uniform_` with a = √5, whose bound is √(6 / ((1 + 5) fan_in)) =
    1/√fan_in, and draws the bias between the same bounds. `fan_in` is required for a bias, whose shape does not contain
    it; for weights it is read from the shape. PyTorch stores the transpose, `[fan_out, fan_in]`. `nn.Conv1d`,
    `Conv2d` and `Conv3d` do the same.

    When to use it: as PyTorch's default, for the weights and the biases.
    """
    return draw(torch_linear_default, shape, seed, dtype, fan_in=fan_in)


def _tf1_default(shape: Shape) -> Uniform | Normal | TruncatedNormal:
    if len(checked(shape)) > 1:
        return variance_scaling_distribution(shape, mode="fan_avg", distribution="uniform")
    bound = math.sqrt(3 / shape[0])
    return Uniform(-bound, bound)


@weight_and_bias_scheme(distribution=_tf1_default)
def tf1_default(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """TensorFlow 1's `get_variable`: `glorot_uniform`, and for biases of length n U(±√(3 / n)).

    Its `tf.layers.dense` initializes biases to zero: `keras_default`.

    When to use it: to reproduce an experiment that used it.
    """
    return draw(tf1_default, shape, seed, dtype)


@weight_and_bias_scheme(distribution=lambda shape: None if len(checked(shape)) == 1 else _tf1_default(shape))
def keras_default(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Keras' `Dense` layer: weights as `glorot_uniform`, biases zero.

    When to use it: as Keras' default.
    """
    return draw(keras_default, shape, seed, dtype)
