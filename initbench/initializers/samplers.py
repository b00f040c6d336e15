"""Unscaled samplers: their scale is a parameter and does not depend on the shape; the article's three.

The defaults are those of Keras 3 (`RandomUniform`, `RandomNormal`, `TruncatedNormal`).
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from initbench.initializers._base import (
    Array,
    Normal,
    Shape,
    TruncatedNormal,
    Uniform,
    draw,
    require,
    weight_and_bias_scheme,
)
from initbench.random.noise import probability_below
from initbench.random.streams import Seed


def _uniform(shape: Shape, low: float, high: float) -> Uniform:
    require(math.isfinite(low) and math.isfinite(high), "low, high", (low, high), "finite numbers")
    if low > high:
        raise ValueError(f"low = {low!r} is above high = {high!r}; allowed: low at most high")
    return Uniform(low, high)


@weight_and_bias_scheme(distribution=_uniform)
def uniform(
    shape: Shape, *, low: float = -0.05, high: float = 0.05, seed: Seed = None, dtype: DTypeLike = np.float32
) -> Array:
    """Uniform between two bounds: W ~ U(low, high), mean (low + high) / 2, variance (high − low)² / 12.

    Raises ValueError if low > high. The article uses low = −0.2, high = 0.2.

    When to use it: to repeat an experiment that names its bounds. The scale does not follow the width of the layer, so
    signals grow or vanish with depth.
    """
    return draw(uniform, shape, seed, dtype, low=low, high=high)


def _normal(shape: Shape, mean: float, std: float) -> Normal:
    require(math.isfinite(mean), "mean", mean, "a finite number")
    require(0 <= std < math.inf, "std", std, "0 or more")
    return Normal(mean, std)


@weight_and_bias_scheme(distribution=_normal)
def normal(
    shape: Shape, *, mean: float = 0.0, std: float = 0.05, seed: Seed = None, dtype: DTypeLike = np.float32
) -> Array:
    """Normal (Gaussian): W ~ N(mean, std²).

    Raises ValueError if std < 0. The article uses mean = 0, std = 0.2.

    When to use it: as `uniform`, where an experiment names its standard deviation.
    """
    return draw(normal, shape, seed, dtype, mean=mean, std=std)


def _truncated_normal(shape: Shape, mean: float, std: float, lower: float, upper: float) -> TruncatedNormal:
    require(math.isfinite(mean), "mean", mean, "a finite number")
    require(0 <= std < math.inf, "std", std, "0 or more")
    if not probability_below(upper) - probability_below(lower) > 1e-6:
        raise ValueError(
            f"lower = {lower!r}, upper = {upper!r}; allowed: lower below upper, in standard deviations, "
            "with more than a millionth of the normal between them"
        )
    return TruncatedNormal(mean, std, lower, upper)


@weight_and_bias_scheme(distribution=_truncated_normal)
def truncated_normal(
    shape: Shape,
    *,
    mean: float = 0.0,
    std: float = 0.05,
    lower: float = -2.0,
    upper: float = 2.0,
    seed: Seed = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """Normal redrawn beyond two standard deviations: W = mean + std · Z, Z ~ N(0, 1) given lower ≤ Z ≤ upper.

    As in TensorFlow and Keras, `std` is the standard deviation before truncation; with the default bounds of ±2 the
    result's is 0.8796 · std. The bounds are in standard deviations from the mean (PyTorch's `trunc_normal_` takes them
    in the units of the weights). Raises ValueError if std < 0 or the bounds leave less than 10⁻⁶ of the normal between
    them. The article uses mean = 0, std = 1.

    When to use it: as `normal`, where no weight may be large.
    """
    return draw(truncated_normal, shape, seed, dtype, mean=mean, std=std, lower=lower, upper=upper)
