"""Theory: schemes derived from how signals travel through layers."""

import math
from functools import cache

import numpy as np
from numpy.typing import DTypeLike

from initbench.functions.activations import ACTIVATIONS
from initbench.initializers._base import (
    MATRIX,
    MATRIX_OR_BIAS,
    Array,
    Normal,
    Position,
    Shape,
    Uniform,
    checked,
    draw,
    fan_in_of,
    fans,
    matrix_and_bias_scheme,
    matrix_scheme,
    normal_values,
    require,
    rounded,
    uniform_values,
    weight_and_bias_scheme,
    weight_scheme,
    working,
)
from initbench.initializers.moments import applied, derivative, kinked, mean, unit_normal
from initbench.random.streams import Seed

# Fixed points are searched where pre-activations have at most this variance.
MAX_VARIANCE = 1e4


def _edge_of_chaos(shape: Shape, bias_variance: float, activation: str, fan_in: int | None) -> Normal:
    require(0 <= bias_variance < math.inf, "bias_variance", bias_variance, "0 or more")
    weight_variance, bias_variance = critical_point(activation, bias_variance)
    if len(checked(shape)) == 1:
        return Normal(0.0, math.sqrt(bias_variance))
    return Normal(0.0, math.sqrt(weight_variance / fan_in_of(shape, fan_in)))


@weight_and_bias_scheme(distribution=_edge_of_chaos)
def edge_of_chaos(
    shape: Shape,
    *,
    bias_variance: float = 0.05,
    activation: str = "tanh",
    fan_in: int | None = None,
    seed: Seed = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """Mean-field critical: W ~ N(0, σ_w² / fan_in), and as a bias initializer b ~ N(0, σ_b²), at χ₁ = 1.

    σ_b² is `bias_variance` (default 0.05), and σ_w² is such that a small difference between two signals neither grows
    nor shrinks from layer to layer: χ₁ = σ_w² E[φ'(√q z)²] = 1 where q = σ_w² E[φ(√q z)²] + σ_b², z ~ N(0, 1). For
    tanh and 0.05, σ_w² = 1.76. For relu, leaky_relu and identity χ₁ does not depend on q, and the only finite fixed
    point has no bias: σ_w² = 2 / (1 + slope²), σ_b² = 0, whatever
    bias_variance. Use it for both the weights and the biases.

    Raises ValueError where there is no critical point (softplus), or no stable fixed point: for gelu it is unstable
    where bias_variance is below 0.173, for silu below 0.556 (the limits are in Roberts, Yaida & Hanin 2022, section
    5.3.4; Hayou et al. 2019 do not require stability).

    Source: Poole et al. 2016; Schoenholz et al. 2017, "Deep Information Propagation"; Hayou et al. 2019, "On the
    Impact of the Activation Function on Deep Neural Networks Training".

    When to use it: for deep networks of bounded activations, where other scales make signals alike or chaotic.
    """
    arguments = {"bias_variance": bias_variance, "activation": activation, "fan_in": fan_in}
    return draw(edge_of_chaos, shape, seed, dtype, **arguments)


@cache
def critical_point(activation: str, bias_variance: float) -> tuple[float, float]:
    """(σ_w², σ_b²) on the edge of chaos of an activation; ValueError if there is none.

    >>> critical_point("relu", 0.05), round(critical_point("tanh", 0.05)[0], 4)
    ((2.0, 0.0), 1.761)
    """
    from scipy.optimize import brentq

    name = ACTIVATIONS.resolve(activation).name
    if name in ("identity", "relu", "leaky_relu"):
        left = -float(applied(activation, np.array([-1.0]))[0])  # the slope on either side of zero, where it is 1
        return 2 / (1 + left**2), 0.0

    z = unit_normal()

    def needed(log_q: float) -> float:  # the bias variance that has its critical fixed point at q, less the requested
        root = math.exp(log_q / 2)
        slope = mean(derivative(activation, root * z) ** 2)
        return root**2 - mean(applied(activation, root * z) ** 2) / slope - bias_variance

    if bias_variance == 0:
        at_zero = applied(activation, np.zeros(1))[0]
        if abs(at_zero) > 1e-12 or name in ("gelu", "silu") or kinked(activation):
            raise ValueError(
                f"bias_variance = 0 with activation = {activation!r}; allowed: above 0, since signals do not settle "
                "at zero"
            )
        return float(1 / derivative(activation, np.zeros(1))[0] ** 2), 0.0
    grid = np.log(np.geomspace(1e-6, MAX_VARIANCE, 400))
    values = np.array([needed(g) for g in grid])
    rising = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    if not len(rising):
        raise ValueError(
            f"activation = {activation!r} with bias_variance = {bias_variance!r} has no critical point at which "
            f"signals vary by at most {MAX_VARIANCE:.0f}; allowed: another activation, such as tanh, elu or relu"
        )
    q = math.exp(brentq(needed, grid[rising[0]], grid[rising[0] + 1], xtol=1e-13))
    x = math.sqrt(q) * z
    slopes = derivative(activation, x)
    variance = 1 / mean(slopes**2)
    if variance * mean(applied(activation, x) * slopes * z) / math.sqrt(q) >= 1:
        raise ValueError(
            f"activation = {activation!r} with bias_variance = {bias_variance!r}: signals do not settle at the "
            "critical point; allowed: a larger bias_variance (gelu from 0.173, silu from 0.556), or another activation"
        )
    return float(variance), bias_variance


def _random_walk(shape: Shape, activation: str) -> Normal:
    n, name = fans(shape)[0], ACTIVATIONS.resolve(activation).name
    gains = {
        "identity": math.exp(1 / (2 * n)),
        "relu": math.sqrt(2) * math.exp(1.2 / (max(n, 6) - 2.4)),
        "tanh": 1.15,
    }
    require(name in gains, "activation", activation, ", ".join(gains))
    return Normal(0.0, gains[name] / math.sqrt(n))


@weight_scheme(distribution=_random_walk)
def random_walk(shape: Shape, *, activation: str = "relu", seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Random walk: W ~ N(0, g² / fan_in), g such that the logarithm of the gradient's norm has no drift over layers.

    identity: g = exp(1 / (2 fan_in)); relu: g = √2 · exp(1.2 / (max(fan_in, 6) − 2.4)), both for layers of equal
    widths. tanh: g = 1.15, TensorFlow's constant, which it ascribes to section 2.3; the paper recommends 1.1 to 1.3.
    Raises ValueError for other activations, for which none was published.

    Source: Sussillo & Abbott 2014, "Random Walk Initialization for Training Very Deep Feedforward Networks".

    When to use it: for very deep and narrow networks, where the correction matters; in wide ones it is He's (relu).
    """
    return draw(random_walk, shape, seed, dtype, activation=activation)


def _kumar(shape: Shape, activation: str) -> Normal:
    n, name = fans(shape)[0], ACTIVATIONS.resolve(activation).name
    if name == "relu":
        return Normal(0.0, math.sqrt(2 / n))
    smooth = name != "softmax" and not kinked(activation)
    require(smooth, "activation", activation, "one smooth at 0, or relu")
    zero = np.zeros(1)
    slope, value = float(derivative(activation, zero)[0]), float(applied(activation, zero)[0])
    return Normal(0.0, 1 / math.sqrt(n * slope**2 * (1 + value**2)))


@weight_scheme(distribution=_kumar)
def kumar(shape: Shape, *, activation: str = "tanh", seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Kumar's rule: W ~ N(0, 1 / (fan_in · φ'(0)² · (1 + φ(0)²))); for relu N(0, 2 / fan_in).

    For sigmoid the standard deviation is 3.58 / √fan_in, which the paper rounds to 3.6. Raises ValueError for
    leaky_relu, selu and elu with an alpha that is not 1, which have a kink at 0, and for softmax.

    Source: Kumar 2017, "On weight initialization in deep neural networks".

    When to use it: for activations that are smooth at 0, above all for sigmoid.
    """
    return draw(kumar, shape, seed, dtype, activation=activation)


@matrix_scheme()
def fixed_point_tanh(shape: Shape, *, alpha: float = 0.085, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Identity and noise: W = D + Z, D[i, i mod fan_out] = 1, Z ~ N(0, alpha² / fan_in).

    As in the authors' code: each input feeds one unit; where a layer narrows a unit adds up several, and where it
    widens the further units have noise alone. alpha is 0 or more, default 0.085.

    Source: Lee, Choi & Kim 2025 (ICLR), "Robust Weight Initialization for Tanh Neural Networks with Fixed Point
    Analysis".

    When to use it: for deep tanh networks of about equal widths. From 784 pixels to 10 units the sums saturate.
    """
    require(0 <= alpha < math.inf, "alpha", alpha, "0 or more")
    fan_in, fan_out = checked(shape, MATRIX)
    W = normal_values((fan_in, fan_out), 0.0, alpha / math.sqrt(fan_in), seed, working(dtype))
    W[np.arange(fan_in), np.arange(fan_in) % fan_out] += 1
    return rounded(W, dtype)


def _mup(shape: Shape, std: float, base_width: int, position: Position) -> Normal:
    require(0 < std < math.inf, "std", std, "above 0")
    require(base_width >= 1, "base_width", base_width, "from 1 up")
    n = fans(shape)[0]
    return Normal(0.0, std * math.sqrt(base_width) / n if position == "last" else std / math.sqrt(n))


@weight_scheme(distribution=_mup)
def mup(
    shape: Shape,
    *,
    std: float = 1.0,
    base_width: int = 128,
    position: Position = "hidden",
    seed: Seed = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """muP's initial variances: N(0, std² / fan_in), and N(0, std² · base_width / fan_in²) in the last layer.

    At fan_in = base_width (default 128) the last layer is as the others; wider networks start with smaller outputs. Of
    a network without hidden layers the only layer is the last one, and the "width" its number of inputs. This is the
    initializer's half of muP: the learning rates of its layers are the optimizer's half, and are not set here.

    Source: Yang et al. 2022, "Tensor Programs V", table 3.

    When to use it: to compare widths, with the learning rate tuned at base_width.
    """
    return draw(mup, shape, seed, dtype, std=std, base_width=base_width, position=position)


def _nguyen_widrow_norm(shape: Shape, fan_in: int | None) -> float:
    return float(0.7 * shape[-1] ** (1 / fan_in_of(checked(shape, MATRIX_OR_BIAS), fan_in)))


def _nguyen_widrow(shape: Shape, position: Position, fan_in: int | None) -> Uniform | None:
    beta = _nguyen_widrow_norm(shape, fan_in)
    if position == "last":
        return Uniform(-0.5, 0.5)
    return Uniform(-beta, beta) if len(shape) == 1 else None


@matrix_and_bias_scheme(distribution=_nguyen_widrow)
def nguyen_widrow(
    shape: Shape,
    *,
    position: Position = "first",
    fan_in: int | None = None,
    seed: Seed = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """Nguyen and Widrow: each unit's weights have the norm β = 0.7 · fan_out^(1 / fan_in), its bias is U(−β, β).

    The directions are those of U(−1, 1) draws. The last layer has small random weights and biases, U(−0.5, 0.5). The
    plain rule of the paper, for inputs in [−1, 1]: MATLAB's `initnw` spreads the biases evenly, and rescales to the
    range of the inputs. Use it for both the weights and the biases.

    Source: Nguyen & Widrow 1990, "Improving the learning speed of 2-layer neural networks by choosing initial values of
    the adaptive weights".

    When to use it: for one hidden layer of tanh units.
    """
    if distribution := _nguyen_widrow(shape, position, fan_in):
        return distribution.draw(shape, seed, dtype)
    W = uniform_values(shape, -1.0, 1.0, seed, working(dtype))
    W *= _nguyen_widrow_norm(shape, fan_in) / np.linalg.norm(W, axis=0)
    return rounded(W, dtype)
