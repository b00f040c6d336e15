"""Mean-field theory: how signals and gradients travel through wide networks of independent random weights.

Weights have mean 0 and variance σ_w² / fan_in, biases variance σ_b². In a wide layer the pre-activations of an image
are then normal, with a second moment q that depends on that of the layer before alone, and those of two images have a
correlation c that depends on q and c before. `length_map` and `correlation_map` are these maps, `fixed_length` and
`fixed_correlation` where they lead, and `depth_scale` how many layers that takes. `predict` follows both maps, and the
gradient's norm backward, through the layers of a configuration.

Activations are given by their canonical strings, such as `"leaky_relu(negative_slope=0.2)"`. Expectations are computed
by Gauss-Legendre rules on panels that end at the kinks, to a relative error below 10⁻⁶ for q from 10⁻⁸ to 10⁴ (10⁻⁹ and
less in most cases; of `correlation_map` the absolute error is meant).

Source: Poole et al. 2016, "Exponential expressivity in deep neural networks through transient chaos"; Schoenholz et al.
2017, "Deep Information Propagation".

>>> round(fixed_length("tanh", 1.3**2, 0.3**2), 3)
0.607
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from initbench.functions.activations import ACTIVATIONS
from initbench.initializers import schemes
from initbench.initializers._base import INITIALIZERS, Normal, Position, TruncatedNormal, Uniform, require
from initbench.initializers.model import positions
from initbench.initializers.moments import applied, panels, slope
from initbench.initializers.theory import critical_point

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
# Fixed points of the length map are searched up to here: beyond, signals grow without limit.
MAX_LENGTH = 1e12
# χ is 1 within this: the points of `critical` are that exact.
CRITICAL = 1e-8


def length_map(
    activation: str, q: ArrayLike, weight_variance: float, bias_variance: float, *, bias_mean: float = 0.0
) -> Any:
    """Return the second moment of the next layer's pre-activations: σ_w² E[φ(√q z)²] + σ_b², z ~ N(0, 1).

    Poole et al. 2016, eq. 3. Of biases with a mean b̄, the pre-activations are b̄ + √(q − b̄²) z, and b̄² is added.

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
        second = _second_moment(activation, q - bias_mean**2, bias_mean)
        return weight_variance * second + bias_variance + bias_mean**2

    return _elementwise(next_length, q)


def chi(activation: str, q: ArrayLike, weight_variance: float) -> Any:
    """Return χ₁ = σ_w² E[φ'(√q z)²], z ~ N(0, 1), by which a layer multiplies a gradient's mean square.

    It is also the slope of the correlation map at c = 1, where q is a fixed point of the length map: above 1, close
    signals part (chaos), below 1 they become alike (order). q is from 0 up, a number or an array; at 0 the limit is
    returned. Poole et al. 2016, eq. 6; Schoenholz et al. 2017, section 3. Raises ValueError as `length_map`.

    >>> [round(float(chi("tanh", fixed_length("tanh", s**2, 0.09), s**2)), 3) for s in (1.3, 2.5, 4.0)]
    [0.94, 1.585, 2.367]
    """
    _check(weight_variance, 0.0)
    _require_all(q, "q", 0.0, math.inf)
    return _elementwise(lambda q: weight_variance * _mean_square_slope(activation, q), q)


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
    correlation c, and q' and q'₂ the next second moments. Poole et al. 2016, eq. 5. c is from −1 to 1, a number or an
    array. Raises ValueError as `length_map`.

    >>> float(correlation_map("relu", 0.0, 1.0, 2.0, 0.0).round(6))  # 1 / π: Cho & Saul 2009
    0.31831
    """
    _check(weight_variance, bias_variance)
    _require_all(c, "c", -1.0, 1.0)
    other_q = q if other_q is None else other_q
    _require_all([q, other_q], "q, other_q", 0.0, math.inf)
    lengths = [
        weight_variance * _second_moment(activation, max(length, MIN_VARIANCE)) + bias_variance
        for length in (q, other_q)
    ]

    def next_correlation(c: float) -> float:
        product = weight_variance * _product(partial(applied, activation), c, q, other_q) + bias_variance
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
        return (weight_variance * _second_moment(activation, q) + bias_variance) / q - 1

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
    through some multiples of it (Schoenholz et al. 2017, sections 3 and 5, who find that networks train up to 6 ξ_c). ∞
    at criticality; NaN where q* is ∞. Where q* is 0, it is that of the vanishing signal itself: χ is σ_w² φ'(0)².
    Raises ValueError as `length_map`.

    >>> [round(depth_scale("tanh", s, 0.05), 2) for s in (0.5, 0.75, 1.0, 1.25, 1.5)]
    [1.19, 2.05, 3.63, 6.8, 15.79]
    """
    q = fixed_length(activation, weight_variance, bias_variance)
    if q == math.inf:
        return math.nan
    c = fixed_correlation(activation, weight_variance, bias_variance) if q else 1.0
    factor = abs(weight_variance * _product(partial(slope, activation), c, q, q))
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


class Prediction(NamedTuple):
    """The predictions for each layer with weights, `[layers]`, under the names of the measured statistics.

    Attributes
    ----------
    pre_activation_second_moment
        q: the mean of the squared pre-activations, over units, images and networks.
    correlation
        c: the mean cosine of two images' pre-activations; NaN where they are zero.
    pre_activation_gradient_norm
        The root of the mean over images of |∂ℓ/∂z|².
    """

    pre_activation_second_moment: Array
    correlation: Array
    pre_activation_gradient_norm: Array


def predict(
    initializer: str,
    bias_initializer: str,
    activation: str,
    layers: Sequence[tuple[int, int]],
    *,
    input_second_moment: float,
    input_correlation: float,
    output_gradient_norm: float = 1.0,
) -> Prediction | None:
    """Return the predicted signal and gradient of each layer of a perceptron; None where `no_prediction` has a reason.

    With v the variance of a layer's weights, N its inputs, b̄ and σ_b² mean and variance of its biases:

    - forward: q_l = v N E[φ(z)²] + σ_b² + b̄², z normal with mean b̄ and second moment q of the layer before; in the
      first layer the input's second moment stands for the expectation. Likewise c_l from E[φ(z) φ(z')].
    - backward: |δ_l|² = N_l v_{l+1} E[φ'(z_l)²] |δ_{l+1}|², with N_l the units of layer l, from the norm at the last
      layer. It takes the weights of the backward pass as independent of those of the forward pass.

    The true fans are used, so that widths may differ. The means over networks of the squares are exact for two layers;
    beyond, the error falls with the width (docs/method.md, "Theory").

    Parameters
    ----------
    initializer, bias_initializer, activation
        Canonical strings.
    layers
        `(fan_in, fan_out)` of each layer, as `Cell.layers` returns them.
    input_second_moment
        Mean of the squared inputs, over images and inputs: `activation_mean`² + `activation_variance` of layer 0.
    input_correlation
        Mean cosine of two images: `correlation` of layer 0.
    output_gradient_norm
        The gradient's norm at the last layer's pre-activations, default 1.

    Examples
    --------
    >>> layers = ((784, 512), (512, 256), (256, 10))
    >>> p = predict("he_normal", "zeros", "relu", layers, input_second_moment=0.1, input_correlation=0.4)
    >>> [f"{q:.3f}" for q in p.pre_activation_second_moment], [f"{c:.3f}" for c in p.correlation]
    (['0.200', '0.200', '0.200'], ['0.400', '0.544', '0.639'])
    >>> [f"{g:.3f}" for g in p.pre_activation_gradient_norm]
    ['1.000', '1.000', '1.000']
    """
    require(0 <= input_second_moment < math.inf, "input_second_moment", input_second_moment, "0 or more")
    require(-1 <= input_correlation <= 1, "input_correlation", input_correlation, "from -1 to 1")
    if no_prediction(initializer, bias_initializer, activation, layers):
        return None
    weights, biases = _layer_moments(initializer, bias_initializer, activation, tuple(layers))
    lengths, correlations, slopes = [], [], []
    square, product = input_second_moment, input_second_moment * input_correlation
    with np.errstate(all="ignore"):
        for (fan_in, _), (_, variance), (mean, bias_variance) in zip(layers, weights, biases, strict=True):
            spread = variance * fan_in * square + bias_variance  # of the pre-activations around the mean bias
            covariance = variance * fan_in * product + bias_variance
            length = spread + mean**2
            lengths.append(length if length < MAX_VARIANCE else math.inf)
            correlations.append((covariance + mean**2) / length if 0 < length < MAX_VARIANCE else math.nan)
            c = min(max(covariance / spread, -1.0), 1.0) if 0 < spread < math.inf else 1.0
            square = _second_moment(activation, spread, mean)
            product = _product(partial(applied, activation), c, spread, spread, mean)
            slopes.append(_mean_square_slope(activation, spread, mean))
        gradients = [output_gradient_norm]
        for (_, units), (_, variance), square_slope in zip(layers[-2::-1], weights[:0:-1], slopes[-2::-1], strict=True):
            gradients.append(gradients[-1] * math.sqrt(units * variance * square_slope))
    return Prediction(np.array(lengths), np.array(correlations), np.array(gradients[::-1]))


def no_prediction(initializer: str, bias_initializer: str, activation: str, layers: Sequence[tuple[int, int]]) -> str:
    """Return why the theory does not hold for a perceptron of these settings, or an empty string.

    It holds for independent weights of mean 0, and for biases that are independent or all equal. Networks with
    convolutions, shortcuts or normalization have no prediction: that is for the caller to know.

    >>> layers = ((784, 128), (128, 10))
    >>> no_prediction("he_normal", "ones", "tanh", layers)
    ''
    >>> no_prediction("orthogonal", "zeros", "tanh", layers)
    'the weights of orthogonal depend on one another'
    """
    if not schemes.runs_here(initializer, bias_initializer, activation):
        return "functions of users are not executed here"
    if "hidden" not in ACTIVATIONS.lookup(activation)[0].tags:
        return f"{activation} is not elementwise"
    if len(schemes.of_layers(initializer, len(layers))) != len(layers):
        return f"the weights of {initializer} depend on data, gradients or one another"
    return _moments_or_reason(initializer, bias_initializer, activation, tuple(layers))[1]


Moments = tuple[tuple[float, float], ...]  # mean and variance, of each layer


def _layer_moments(
    initializer: str, bias_initializer: str, activation: str, layers: tuple[tuple[int, int], ...]
) -> tuple[Moments, Moments]:
    moments = _moments_or_reason(initializer, bias_initializer, activation, layers)[0]
    return moments[: len(layers)], moments[len(layers) :]


@cache
def _moments_or_reason(
    initializer: str, bias_initializer: str, activation: str, layers: tuple[tuple[int, int], ...]
) -> tuple[Moments, str]:
    """Return mean and variance of the weights of each layer and then of the biases of each, or why there are none."""
    moments: list[tuple[float, float]] = []
    depth = len(layers)
    for kind, name in (("weights", initializer), ("biases", bias_initializer)):
        per_layer = zip(schemes.of_layers(name, depth), layers, positions(depth), strict=True)
        for scheme, (fan_in, fan_out), position in per_layer:
            shape = (fan_in, fan_out) if kind == "weights" else (fan_out,)
            mean_and_variance = _single_moments(scheme, shape, activation, position, depth, fan_in)
            if mean_and_variance is None:
                return (), f"the {kind} of {scheme} depend on one another"
            if kind == "weights" and mean_and_variance[0]:
                return (), f"the weights of {scheme} have a mean that is not 0"
            moments.append(mean_and_variance)
    return tuple(moments), ""


@cache
def _single_moments(
    scheme: str, shape: tuple[int, ...], activation: str, position: Position, depth: int, fan_in: int
) -> tuple[float, float] | None:
    """Return mean and variance of each weight or bias of a layer, independent or all equal; None of others."""
    supplied: dict[str, Any] = {"activation": activation, "position": position, "depth": depth, "fan_in": fan_in}
    single = schemes.single_weights(scheme, shape, **supplied)
    if isinstance(single, Normal):
        return single.mean, single.std**2
    if isinstance(single, Uniform):
        return (single.low + single.high) / 2, (single.high - single.low) ** 2 / 12
    if isinstance(single, TruncatedNormal):
        mean, variance = single.frozen().stats("mv")
        centre = single.mean if single.lower == -single.upper else float(mean)  # free of rounding
        return centre, float(variance)
    # A small array shows whether all are equal: schemes without a distribution have no other scale.
    values = INITIALIZERS.call(scheme, (3, 5)[-len(shape) :], **supplied, seed=0, dtype=np.float64)
    return None if np.ptp(values) else (float(values.flat[0]), 0.0)


# ---------------------------------------------------------------------------------------------------------------------
# Expectations


def _second_moment(activation: str, variance: float, mean: float = 0.0) -> float:
    """Return E[φ(x)²], x ~ N(mean, variance)."""
    return _expectation(lambda x: applied(activation, x) ** 2, variance, mean)


def _mean_square_slope(activation: str, variance: float, mean: float = 0.0) -> float:
    """Return E[φ'(x)²], x ~ N(mean, variance)."""
    return _expectation(lambda x: slope(activation, x) ** 2, max(variance, MIN_VARIANCE), mean)


def _expectation(function: Function, variance: float, mean: float = 0.0) -> float:
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
    z, weights = panels(np.unique(edges), POINTS)
    return z, weights * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def _product(function: Function, c: float, variance: float, other_variance: float, mean: float = 0.0) -> float:
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
        return _expectation(lambda x: function(x) * function(mean + ratio * (x - mean)), variance, mean)
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
    return panels(np.array([0.0, 1.0]), points)


# ---------------------------------------------------------------------------------------------------------------------
# Arguments


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
