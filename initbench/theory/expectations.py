"""Expectations of an activation over normal values, by quadrature."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.initializers.moments import applied, slope

Array = NDArray[Any]
Function = Callable[[Array], Array]

# Normal values beyond this many standard deviations are left out: 10⁻¹⁸ of them.
REACH = 9.0
# Panels towards a kink are this many times as short as the one before.
GRADING = 8.0
POINTS = 48  # of each panel of a single integral
PAIR_POINTS = 40  # of each sector of a double integral, in either direction
MANY_PAIR_POINTS = 80  # the same where values have a mean, or a standard deviation above STEEP
STEEP = 30.0

# Variances are taken as these at least and at most, so that limits at 0 and ∞ are computed as any other value.
MIN_VARIANCE, MAX_VARIANCE = 1e-200, 1e200


def second_moment(activation: str, variance: float, mean: float = 0.0) -> float:
    """Return E[φ(x)²], x ~ N(mean, variance)."""
    return expectation(lambda x: applied(activation, x) ** 2, variance, mean)


def mean_square_slope(activation: str, variance: float, mean: float = 0.0) -> float:
    """Return E[φ'(x)²], x ~ N(mean, variance)."""
    return expectation(lambda x: slope(activation, x) ** 2, max(variance, MIN_VARIANCE), mean)


def expectation(function: Function, variance: float, mean: float = 0.0) -> float:
    """Return E[f(x)], x ~ N(mean, variance); f may have a kink at 0, and be steep near it."""
    if not variance > 0:
        return float(function(np.array([mean]))[0])
    std = math.sqrt(min(variance, MAX_VARIANCE))
    kink = min(max(-mean / std, -REACH), REACH)
    grades = max(3, math.ceil(math.log(std, GRADING)) + 1)
    if kink == 0.0:
        z, weights = _normal_nodes(grades)
    else:
        z, weights = _graded(kink, grades)
    return float(weights @ function(mean + std * z))


@cache
def _normal_nodes(grades: int) -> tuple[Array, Array]:
    return _graded(0.0, grades)


def _graded(kink: float, grades: int) -> tuple[Array, Array]:
    """Return nodes and weights of E[f(z)], z ~ N(0, 1), on panels that are shorter the nearer they are to the kink."""
    lengths = GRADING ** -np.arange(grades + 1.0)
    edges = np.concatenate(
        [kink - (kink + REACH) * lengths, [kink], kink + (REACH - kink) * lengths[::-1]],
    )
    z, weights = _panels(np.unique(edges), POINTS)
    return z, weights * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def product(function: Function, c: float, variance: float, other_variance: float, mean: float = 0.0) -> float:
    """Return E[f(x) f(y)], x and y normal with a common mean, their variances, and correlation c.

    In the plane of two independent normal values, x and y are 0 on two lines. Polar coordinates around the point where
    the lines cross turn them into rays, between which f is smooth: the integral is one over each sector, and no kink
    lies inside, however close c is to ±1. (With a mean, which `predict` alone uses, the variances are equal.) Nodes are
    denser near the rays and near the crossing, where f of large variance is steep.
    """
    if not (variance > 0 and other_variance > 0):
        variance, other_variance = max(variance, MIN_VARIANCE), max(other_variance, MIN_VARIANCE)
    std, other_std = (math.sqrt(min(value, MAX_VARIANCE)) for value in (variance, other_variance))
    if abs(c) > 1 - 1e-14:
        ratio = math.copysign(other_std / std, c)
        return expectation(lambda x: function(x) * function(mean + ratio * (x - mean)), variance, mean)
    angle = math.acos(c)
    x0 = -mean / std
    y0 = (-mean / other_std - c * x0) / math.sin(angle)
    distance = math.hypot(x0, y0)
    axis = math.atan2(-y0, -x0) if distance else angle / 2  # with equal variances x and y are mirrored in it
    half = math.pi if distance < REACH else math.asin(REACH / distance)
    rays = np.array([math.pi / 2, -math.pi / 2, angle + math.pi / 2, angle - math.pi / 2]) - axis
    rays = (rays + math.pi) % (2 * math.pi) - math.pi
    start = 0.0 if std == other_std else -half
    edges = np.sort(np.concatenate([[start, half], rays[(start < rays) & (rays < half)]]))
    t, weights = _unit_nodes(MANY_PAIR_POINTS if distance or max(std, other_std) > STEEP else PAIR_POINTS)
    widths = np.diff(edges)[:, None]
    theta = (axis + edges[:-1, None] + widths * t**2 * (3 - 2 * t)).ravel()
    theta_weights = (widths * (6 * t * (1 - t)) * weights).ravel() * (1 if start else 2)
    near = max(distance - REACH, 0.0)
    reach = distance + REACH - near
    r = near + reach * t**3
    cosine, other_cosine = np.cos(theta), np.cos(theta - angle)
    r_weights = weights * reach * 3 * t**2 * r / (2 * math.pi)
    values = function(std * np.outer(cosine, r)) * function(other_std * np.outer(other_cosine, r))
    if distance:  # the density at the squared distance from the origin, |crossing + r · direction|²
        squares = (x0 + np.outer(cosine, r)) ** 2 + (y0 + np.outer(np.sin(theta), r)) ** 2
        values *= np.exp(-squares / 2)
    else:
        r_weights *= np.exp(-(r**2) / 2)
    return float(theta_weights @ values @ r_weights)


@cache
def _unit_nodes(points: int) -> tuple[Array, Array]:
    return _panels(np.array([0.0, 1.0]), points)


def _panels(edges: Array, points: int) -> tuple[Array, Array]:
    """Return the nodes and the weights of a Gauss-Legendre rule of some points between each two edges, `[nodes]`."""
    x, weights = _rule(points)
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * x).ravel(), (half[:, None] * weights).ravel()


@cache
def _rule(points: int) -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(points)
