"""The maps of mean-field theory from one layer to the next, where they lead, and how many layers that takes."""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from initbench.initializers._base import require
from initbench.initializers.moments import applied, slope
from initbench.initializers.theory import critical_point
from initbench.theory import expectations

# Fixed points of the length map are searched up to here: beyond, signals grow without limit.
MAX_LENGTH = 1e12
# χ is 1 within this: the points of `critical` are that exact.
CRITICAL = 1e-8


def length_map(
    activation: str, q: ArrayLike, weight_variance: float, bias_variance: float, *, bias_mean: float = 0.0
) -> Any:
    """Return the second moment of the next layer's pre-activations: σ_w² E[φ(√q z)²] + σ_b², z ~ N(0, 1).

    Poole et al. 2016. Of biases with a mean b̄, the pre-activations are b̄ + √(q − b̄²) z, and b̄² is added.

    Parameters
    ----------
    activation
        Canonical string of an elementwise activation.
    q
        Second moment of the pre-activations, from 0 up: a number or an array.
    weight_variance
        σ_w²: the variance of a weight times fan_in.
    bias_variance
        σ_b²: the variance of a bias.
    bias_mean
        The mean of a bias, default 0.

    Raises
    ------
    ValueError
        If the activation is unknown or not elementwise, or a number is out of its range.

    Examples
    --------
    >>> float(length_map("relu", 3.0, 2.0, 0.0).round(9))
    3.0
    """
    _check(weight_variance, bias_variance)
    _require_all(q, "q", bias_mean**2, math.inf)

    def next_length(q: float) -> float:
        second = expectations.second_moment(activation, q - bias_mean**2, bias_mean)
        return weight_variance * second + bias_variance + bias_mean**2

    return _elementwise(next_length, q)


def chi(activation: str, q: ArrayLike, weight_variance: float) -> Any:
    """Return χ₁ = σ_w² E[φ'(√q z)²], z ~ N(0, 1), by which a layer multiplies a gradient's mean square.

    It is also the slope of the correlation map at c = 1, where q is a fixed point of the length map: above 1, close
    signals part (chaos), below 1 they become alike (order). q is from 0 up, a number or an array; at 0 the limit is
    returned. Poole et al. 2016; Schoenholz et al. 2017. Raises ValueError as `length_map`.

    >>> [round(float(chi("tanh", fixed_length("tanh", s**2, 0.09), s**2)), 3) for s in (1.3, 2.5, 4.0)]
    [0.94, 1.585, 2.367]
    """
    _check(weight_variance, 0.0)
    _require_all(q, "q", 0.0, math.inf)
    return _elementwise(lambda q: weight_variance * expectations.mean_square_slope(activation, q), q)


def correlation_map(
    activation: str,
    c: ArrayLike,
    q: float,
    weight_variance: float,
    bias_variance: float,
    *,
    other_q: float | None = None,
) -> Any:
    """Return the correlation of two images' pre-activations in the next layer.

    (σ_w² E[φ(u) φ(v)] + σ_b²) / √(q' q'₂), with u and v normal of second moments q and `other_q` (default q) and
    correlation c, and q' and q'₂ the next second moments. Poole et al. 2016. c is from −1 to 1, a number or an
    array. Raises ValueError as `length_map`.

    >>> float(correlation_map("relu", 0.0, 1.0, 2.0, 0.0).round(6))  # 1 / π: Cho & Saul 2009
    0.31831
    """
    _check(weight_variance, bias_variance)
    _require_all(c, "c", -1.0, 1.0)
    other_q = q if other_q is None else other_q
    _require_all([q, other_q], "q, other_q", 0.0, math.inf)
    lengths = [
        weight_variance * expectations.second_moment(activation, max(length, expectations.MIN_VARIANCE)) + bias_variance
        for length in (q, other_q)
    ]

    def next_correlation(c: float) -> float:
        product = weight_variance * expectations.product(partial(applied, activation), c, q, other_q) + bias_variance
        size = math.sqrt(lengths[0]) * math.sqrt(lengths[1])
        return product / size if size > 0 else math.nan

    return _elementwise(next_correlation, c)


@cache
def fixed_length(activation: str, weight_variance: float, bias_variance: float, *, start: float = 1.0) -> float:
    """Return q*, the second moment that the length map leads to from `start` (default 1).

    The map rises, so that this is the next fixed point in the direction of the first step: 0 where signals vanish, ∞
    where they grow without limit (beyond 10¹²), and the start itself where it does not move (relu with σ_w² = 2 and
    σ_b = 0 keeps every length). Raises ValueError as `length_map`.

    >>> fixed_length("relu", 1.0, 0.5), fixed_length("relu", 3.0, 0.5), fixed_length("tanh", 0.5, 0.0)
    (1.0, inf, 0.0)
    """
    from scipy.optimize import brentq

    _check(weight_variance, bias_variance)
    require(0 < start <= MAX_LENGTH, "start", start, f"above 0, at most {MAX_LENGTH:.0e}")

    def step(log_q: float) -> float:  # relative to q
        q = math.exp(log_q)
        return (weight_variance * expectations.second_moment(activation, q) + bias_variance) / q - 1

    first = step(math.log(start))
    if abs(first) < 1e-12:
        return start
    lowest = weight_variance * float(applied(activation, np.zeros(1))[0]) ** 2 + bias_variance  # where q = 0 leads
    end = math.log(MAX_LENGTH if first > 0 else max(lowest / 2, 1e-14))
    points = np.linspace(math.log(start), end, 2 + int(abs(end - math.log(start)) * 4))
    for before, after in pairwise(points):
        if step(after) * first <= 0:
            return float(math.exp(brentq(step, before, after, xtol=1e-15, rtol=1e-14)))
    return math.inf if first > 0 else 0.0


@cache
def fixed_correlation(activation: str, weight_variance: float, bias_variance: float) -> float:
    """Return c*, the correlation that two images' pre-activations of second moment q* are led to.

    It is 1 where χ₁ ≤ 1 at q*, and else the fixed point of the correlation map below 1: the map is convex from 0 to 1,
    since all coefficients of its power series are 0 or more, so there is one. NaN where q* is 0 or ∞. Poole et al.
    2016, section 2.2. Raises ValueError as `length_map`.

    >>> fixed_correlation("tanh", 1.0, 0.05), round(fixed_correlation("tanh", 2.5**2, 0.09), 4)
    (1.0, 0.1221)
    """
    from scipy.optimize import brentq

    q = fixed_length(activation, weight_variance, bias_variance)
    if not 0 < q < math.inf:
        return math.nan
    if chi(activation, q, weight_variance) <= 1 + CRITICAL:
        return 1.0

    def step(c: float) -> float:
        return float(correlation_map(activation, c, q, weight_variance, bias_variance)) - c

    if step(0.0) <= 1e-12:  # an odd activation without biases
        return 0.0
    highest = 1 - 1e-9
    return 1.0 if step(highest) >= 0 else float(brentq(step, 0.0, highest, xtol=1e-14, rtol=1e-14))


@cache
def depth_scale(activation: str, weight_variance: float, bias_variance: float) -> float:
    """Return ξ_c, the number of layers in which the distance of a correlation from c* falls by the factor e.

    ξ_c = −1 / log χ at c*, where χ = σ_w² E[φ'(u) φ'(v)] is the slope of the correlation map, of u and v normal with
    second moment q* and correlation c*; in the ordered phase, where c* = 1, that is χ₁. Signals, and so gradients, pass
    through some multiples of it (Schoenholz et al. 2017, who find that networks train up to 6 ξ_c). ∞ at criticality;
    NaN where q* is ∞. Where q* is 0, it is that of the vanishing signal itself: χ is σ_w² φ'(0)².
    Raises ValueError as `length_map`.

    >>> [round(depth_scale("tanh", s, 0.05), 2) for s in (0.5, 0.75, 1.0, 1.25, 1.5)]
    [1.19, 2.05, 3.63, 6.8, 15.79]
    """
    q = fixed_length(activation, weight_variance, bias_variance)
    if q == math.inf:
        return math.nan
    c = fixed_correlation(activation, weight_variance, bias_variance) if q else 1.0
    factor = abs(weight_variance * expectations.product(partial(slope, activation), c, q, q))
    if abs(factor - 1) < CRITICAL:
        return math.inf
    return -1 / math.log(factor) if factor > 0 else 0.0


def critical(activation: str, bias_variance: float = 0.05) -> tuple[float, float]:
    """Return (σ_w², σ_b²) at which χ₁ = 1, the border of order and chaos: what `edge_of_chaos` initializes with.

    σ_b² is `bias_variance` (default 0.05); of identity, relu and leaky_relu it is 0, their only critical point.
    Raises ValueError where there is no critical point, or none at which lengths are stable (softplus; gelu and silu
    below a bias variance that the message names).

    >>> tuple(round(value, 2) for value in critical("tanh")), critical("relu")
    ((1.76, 0.05), (2.0, 0.0))
    """
    _check(1.0, bias_variance)
    return critical_point(activation, bias_variance)


def length_fluctuation(widths: Sequence[int]) -> float:
    """Return E[M²] / E[M]² = Π (1 + 5 / n_l) of ReLU networks without biases, with He's normal weights.

    M = |a|² / n is the mean square of the activations of the last of these layers, for one image, over networks; n_l
    are the widths of the layers with ReLU, in any order. Exact at every width: given |a| of the layer before, an
    activation is relu(s z), z ~ N(0, 1), whose square has mean s² / 2 and variance 5 s⁴ / 4. So the lengths of deep and
    narrow networks scatter over orders of magnitude, and the mean over networks, which He's variance keeps, is not that
    of a typical one. Derived; M is the normalized length of Hanin & Rolnick 2018, "How to Start Training".

    >>> round(length_fluctuation([128] * 20), 3)
    2.152
    """
    require(all(width >= 1 for width in widths), "widths", list(widths), "numbers from 1 up")
    return math.prod(1 + 5 / width for width in widths)


@cache
def unsaturated(activation: str, share: float = 0.01) -> tuple[float, float] | None:
    """Return the ends of the pre-activations at which |φ'| is at least a share (default 1%) of its largest value.

    Beyond them a unit is saturated; they are ±∞ where it never is. None if they are not one interval, as of gelu, whose
    derivative changes its sign. Sought from −30 to 30. Raises ValueError as `length_map`.

    >>> [tuple(round(end, 2) for end in unsaturated(name)) for name in ("tanh", "softsign", "elu", "identity")]
    [(-2.99, 2.99), (-9.0, 9.0), (-4.61, inf), (-inf, inf)]
    """
    from scipy.optimize import bisect

    x = np.linspace(-30, 30, 1201)
    slopes = np.abs(slope(activation, x))
    least = share * slopes.max()
    inside = np.flatnonzero(slopes >= least)
    if np.ptp(inside) != len(inside) - 1:
        return None
    first, last = int(inside[0]), int(inside[-1])

    def above(z: float) -> float:
        return float(abs(slope(activation, np.array([z]))[0]) - least)

    low = float(bisect(above, x[first - 1], x[first])) if first else -math.inf
    return low, float(bisect(above, x[last], x[last + 1])) if last < len(x) - 1 else math.inf


def _check(weight_variance: float, bias_variance: float) -> None:
    require(0 <= weight_variance < math.inf, "weight_variance", weight_variance, "0 or more")
    require(0 <= bias_variance < math.inf, "bias_variance", bias_variance, "0 or more")


def _require_all(values: ArrayLike, name: str, least: float, most: float) -> None:
    array = np.asarray(values, float)
    allowed = f"from {least:g} up" if most == math.inf else f"from {least:g} to {most:g}"
    require(bool(((array >= least) & (array <= most)).all()), name, values, allowed)


def _elementwise(function: Callable[[float], float], values: ArrayLike) -> Any:
    """Return the values of a function of a number at each entry of an array; of a number a NumPy number."""
    array = np.asarray(values, float)
    results = np.array([function(float(value)) for value in array.ravel()]).reshape(array.shape)
    return results[()]
