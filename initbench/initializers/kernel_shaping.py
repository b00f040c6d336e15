"""Deep kernel shaping: weights and biases that make a network equivalent to one with tailored activations.

DKS and TAT replace an activation φ by φ̂(u) = γ (φ(α u + β) + δ), its four constants chosen for the depth. At the start
that is a network of φ itself with other weights and biases: α and β go into the layer before, γ and δ into the one
after. So the initial network is theirs, and the training is that of the plain network.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from initbench.functions.activations import ACTIVATIONS
from initbench.initializers._base import PERCEPTRON, network_and_bias_scheme, require
from initbench.initializers.model import Array, Model, Parameters, cast_parameters, layer_seed
from initbench.initializers.moments import applied, curvature, derivative, kinked, nodes
from initbench.initializers.scaling import lecun_normal
from initbench.initializers.structured import orthogonal

Distribution = Literal["orthogonal", "normal"]


class Shaped(NamedTuple):
    """The constants of φ̂(u) = γ (φ(α u + β) + δ)."""

    alpha: float = 1.0
    beta: float = 0.0
    gamma: float = 1.0
    delta: float = 0.0


@network_and_bias_scheme(fit=PERCEPTRON)
def dks(
    model: Model,
    *,
    slope: float = 1.5,
    distribution: Distribution = "orthogonal",
    batches: int = 1,
    seed: int | None = None,
    dtype: DTypeLike = np.float32,
) -> Parameters:
    """Deep kernel shaping: as a network of φ̂(u) = γ (φ(α u + β) + δ), chosen to keep signals distinct, but not chaotic.

    With D hidden layers and z ~ N(0, 1) the four constants solve E[φ̂²] = 1, E[φ̂ φ̂' z] = 1 (a signal's size keeps
    still), E[φ̂] = 0 (signals that have nothing in common stay so), and E[φ̂'²] = slope^(1/D): through all layers
    together a small difference of two signals grows by the factor slope, above 1, default 1.5 (the paper's ζ). They
    are absorbed in weights and biases, whatever the bias initializer.

    The weights are orthogonal, times √(fan_out / fan_in) where a layer widens, or N(0, 1 / fan_in). Instead of the
    paper's per-location normalization, which changes the data, the first layer's weights are divided by the root mean
    square of the pixels in the first `batches` batches. Raises ValueError for activations that four constants cannot
    shape: identity, relu (of which its authors advise against it) and leaky_relu (whose slope they change instead).

    With one hidden layer elu, selu and softplus do not reach the default slope, and are refused. batches from 1 to 1000
    (default 1).

    Source: Martens et al. 2021, "Rapid training of deep neural networks without skip connections or normalization
    layers using Deep Kernel Shaping".

    When to use it: for deep networks of smooth activations, sigmoid too.
    """
    require(1 < slope < math.inf, "slope", slope, "above 1")
    depth = len(model.layers) - 1
    shaped = shaped_by_dks(model.activation, slope, depth) if depth else Shaped()
    return _absorbed(model, shaped, distribution, batches, seed, dtype)


@network_and_bias_scheme(fit=PERCEPTRON)
def tat(
    model: Model,
    *,
    curve: float = 0.3,
    distribution: Distribution = "orthogonal",
    batches: int = 1,
    seed: int | None = None,
    dtype: DTypeLike = np.float32,
) -> Parameters:
    """Tailored activation transformation: as `dks`, with constants that leave a network closer to a linear one.

    With D hidden layers and z ~ N(0, 1) they solve E[φ̂²] = 1, E[φ̂ φ̂' z] = 1, E[φ̂'²] = 1 and E[φ̂''²] = curve / D;
    curve is above 0, default 0.3 (the paper's τ). Of several solutions the first with α γ max|φ'| < 2 is
    taken (the authors' code requires α γ < 2, for activations of slope 1). Weights, data, biases: as `dks`.

    Raises ValueError for activations that are linear or have a kink (identity, relu, leaky_relu, selu, elu unless its
    alpha is 1): the paper's way with rectifiers is to choose the slope of leaky_relu, a setting of the activation.

    Source: Zhang, Botev & Martens 2022 (ICLR), "Deep Learning without Shortcuts: Shaping the Kernel with Tailored
    Rectifiers", section 4.2.

    When to use it: for very deep networks of smooth activations.
    """
    require(0 < curve < math.inf, "curve", curve, "above 0")
    depth = len(model.layers) - 1
    shaped = shaped_by_tat(model.activation, curve, depth) if depth else Shaped()
    return _absorbed(model, shaped, distribution, batches, seed, dtype)


def _absorbed(
    model: Model, shaped: Shaped, distribution: Distribution, batches: int, seed: int | None, dtype: DTypeLike
) -> Parameters:
    """Return the weights and biases of the plain network that computes what one with this activation would."""
    size = math.sqrt(float((model.batch(batches)[0] ** 2).mean())) or 1.0
    parameters: Parameters = []
    for layer, (fan_in, fan_out) in enumerate(model.layers):
        stream = layer_seed(seed, layer)
        if distribution == "normal":
            W: Array = lecun_normal((fan_in, fan_out), seed=stream, dtype=np.float64)
        else:
            widening = max(math.sqrt(fan_out / fan_in), 1.0)
            W = orthogonal((fan_in, fan_out), gain=widening, seed=stream, dtype=np.float64)
        # u = Wᵀ γ (φ + δ) = (γ W)ᵀ φ + γ δ Wᵀ 1, of the first layer Wᵀ x / size; and φ is given α u + β.
        W = W * shaped.gamma if layer else W / size
        b: Array = shaped.delta * W.sum(axis=0) if layer else np.zeros(fan_out)
        if layer < len(model.layers) - 1:
            W, b = shaped.alpha * W, shaped.alpha * b + shaped.beta
        parameters.append((W, b))
    return cast_parameters(parameters, dtype)


@cache
def shaped_by_dks(activation: str, slope: float, depth: int) -> Shaped:
    """Return the constants of DKS for a network with `depth` hidden layers; ValueError if there are none.

    >>> tuple(round(c, 3) for c in shaped_by_dks("tanh", 1.5, 10))
    (0.297, 0.653, 4.965, -0.542)
    """
    name = ACTIVATIONS.resolve(activation).name
    bends = name not in ("identity", "relu", "leaky_relu")
    require(bends, "activation", activation, "one that is not linear in pieces")
    starts = [(alpha, beta) for alpha in (1.0, 0.3, 0.1, 2.0) for beta in (0.0, 1.0, -1.0, 0.5, -0.5)]
    solution = _solved(activation, starts, (1.0, slope ** (1 / depth)), f"slope = {slope!r} and {depth} hidden layers")
    return _mirrored(activation, solution) if solution.beta < 0 else solution


@cache
def shaped_by_tat(activation: str, curve: float, depth: int) -> Shaped:
    """Return the constants of TAT for a network with `depth` hidden layers; ValueError if there are none.

    >>> tuple(round(c, 3) for c in shaped_by_tat("tanh", 0.3, 10))
    (0.185, -0.557, 7.235, 0.511)
    """
    smooth = ACTIVATIONS.resolve(activation).name != "identity" and not kinked(activation)
    require(smooth, "activation", activation, "one that is smooth and not linear")
    starts = [(a, b, d) for a in (1.0, 0.1) for b in (0.0, 1.0, -1.0) for d in (0.0, 1.0, -1.0)]
    solution = _solved(activation, starts, (1.0, 1.0, curve / depth), f"curve = {curve!r} and {depth} hidden layers")
    return _mirrored(activation, solution) if solution.beta > 0 else solution


def _scaled(activation: str, alpha: float, beta: float, delta: float | None = None) -> tuple[Shaped, Array]:
    """Return the constants with γ such that E[φ̂²] = 1, and with δ, if None, such that E[φ̂] = 0.

    Also returns E[φ̂ φ̂' z], E[φ̂'²] and E[φ̂''²] of these constants.
    """
    z, density = nodes(-beta / alpha if alpha else 0.0)
    x = alpha * z + beta
    value, slope = applied(activation, x), alpha * derivative(activation, x)
    delta = -float(density @ value) if delta is None else delta
    value = value + delta
    gamma = 1 / math.sqrt(max(float(density @ value**2), 1e-300))
    curves = alpha**2 * curvature(activation, x)
    maps = gamma**2 * np.array([density @ (value * slope * z), density @ slope**2, density @ curves**2])
    return Shaped(alpha, beta, gamma, delta), maps


def _mirrored(activation: str, shaped: Shaped) -> Shaped:
    """Return the other solution where φ(−x) + φ(x) is a constant c: −β and −c − δ; else the same.

    Both are equally good, and which of them is found first is a matter of rounding. The authors' code finds β > 0 with
    DKS and β < 0 with TAT.
    """
    x = np.linspace(0, 10, 101)
    sums = applied(activation, x) + applied(activation, -x)
    if np.abs(sums - sums[0]).max() > 1e-12:
        return shaped
    return shaped._replace(beta=-shaped.beta, delta=-float(sums[0]) - shaped.delta)


def _solved(
    activation: str, starts: Sequence[tuple[float, ...]], targets: tuple[float, ...], requirement: str
) -> Shaped:
    """Return the first solution from some starting points; ValueError if there is none."""
    from scipy.optimize import root

    def distance(unknown: Array) -> Array:
        return np.asarray(_scaled(activation, *unknown)[1][: len(targets)] - targets)

    steepest = float(np.abs(derivative(activation, np.linspace(-10, 10, 2000))).max())  # of which none is 0
    for start in starts:
        with np.errstate(all="ignore"):
            solution = root(distance, start)
            shaped, maps = _scaled(activation, abs(float(solution.x[0])), *map(float, solution.x[1:]))  # −z is as z
        met = solution.success and np.abs(maps[: len(targets)] / targets - 1).max() < 1e-6
        if met and not (len(targets) == 3 and shaped.alpha * shaped.gamma * steepest >= 2):
            return shaped
    raise ValueError(
        f"activation = {activation!r} with {requirement}: no constants satisfy this; allowed: another value, "
        "another number of hidden layers, or another activation"
    )
