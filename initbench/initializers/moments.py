"""The moments of an activation of a normal signal, by quadrature, and the gains that follow from them."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from initbench.functions.activations import ACTIVATIONS

Array = NDArray[Any]
Rule = Literal["second_moment", "pytorch"]

MAX_Z = 10.0

_legendre = cache(np.polynomial.legendre.leggauss)  # computed when it is used: 200 nodes take 50 ms


def nodes(kink: float = 0.0) -> tuple[Array, Array]:
    """Return the nodes and the weights of a quadrature: E[f(z)] of a unit normal z is weights @ f(nodes).

    Gauss-Legendre over ±10, separately on each side of `kink`, where f need not be smooth.
    """
    kink = min(max(kink, 1 - MAX_Z), MAX_Z - 1)
    left, right = (kink + MAX_Z) / 2, (MAX_Z - kink) / 2
    roots, weights = _legendre(200)
    z = np.concatenate([left * roots + left - MAX_Z, right * roots + MAX_Z - right])
    return z, np.concatenate([left * weights, right * weights]) * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


@cache
def _around_0() -> tuple[Array, Array]:
    """Return `nodes` with the kink at 0, where that of most activations is that are not smooth."""
    arrays = nodes()
    for array in arrays:
        array.flags.writeable = False  # all calls share it
    return arrays


def unit_normal() -> Array:
    """Return the nodes of `mean`."""
    return _around_0()[0]


STEP = 1e-5  # of the central difference; no node is nearer to the kink

# PyTorch's `calculate_gain`, by our names (its "linear" is our identity).
PYTORCH_GAINS: dict[str, Callable[..., float]] = {
    "identity": lambda: 1.0,
    "sigmoid": lambda: 1.0,
    "tanh": lambda: 5 / 3,
    "relu": lambda: math.sqrt(2),
    "leaky_relu": lambda negative_slope: math.sqrt(2 / (1 + negative_slope**2)),
    "selu": lambda: 3 / 4,
}


def mean(values: Array) -> float:
    """Return E[f(z)] of a unit normal z, from the values of f at `unit_normal()`."""
    return float(_around_0()[1] @ values)


def applied(activation: str, x: Array) -> Array:
    """Return an activation of x, by its canonical string; ValueError for one that is not elementwise."""
    record, parameters = ACTIVATIONS.lookup(activation)
    if "hidden" not in record.tags:
        raise ValueError(f"activation = {activation!r}; allowed: an activation of hidden layers, elementwise")
    return np.asarray(record.function(x, **parameters))


def derivative(activation: str, x: Array) -> Array:
    """Return the derivative of an activation, elementwise, by a central difference (to 1e-9; not at a kink)."""
    return (applied(activation, x + STEP) - applied(activation, x - STEP)) / (2 * STEP)


def slope(activation: str, x: Array) -> Array:
    """Return the exact derivative of an activation, elementwise; of one whose record has none `derivative`.

    The schemes keep the central difference: their weights keep their bits.
    """
    record, parameters = ACTIVATIONS.lookup(activation)
    return derivative(activation, x) if record.derivative is None else record.derivative(x, **parameters)


def curvature(activation: str, x: Array) -> Array:
    """Return the second derivative of an activation, elementwise, by central differences (to 1e-7; not at a kink)."""
    above, below = applied(activation, x + 10 * STEP), applied(activation, x - 10 * STEP)
    return np.asarray((above - 2 * applied(activation, x) + below) / (10 * STEP) ** 2)


def kinked(activation: str) -> bool:
    """Return whether an activation has a kink at 0: its derivative jumps there."""
    h = np.array([-STEP, STEP])
    left, right = (applied(activation, h) - applied(activation, np.zeros(2))) / h
    return bool(abs(left - right) > 1e-3 * max(abs(left), abs(right)))


@cache
def gain(activation: str, rule: Rule = "second_moment") -> float:
    """Return the factor of weights of variance 1 / fan_in for layers with this activation.

    `second_moment`: 1 / √E[φ(z)²], z ~ N(0, 1). `pytorch`: that of PyTorch's `calculate_gain`; for elu, gelu, silu,
    softplus and softsign, which it lacks, the same as `second_moment`. Softmax, for outputs only, has 1.

    >>> round(gain("relu"), 6), round(gain("tanh"), 4), round(gain("tanh", "pytorch"), 4)
    (1.414214, 1.5925, 1.6667)
    """
    record, parameters = ACTIVATIONS.lookup(activation)
    if record.name == "softmax":
        return 1.0
    if rule == "pytorch" and record.name in PYTORCH_GAINS:
        return PYTORCH_GAINS[record.name](**parameters)
    second = mean(applied(activation, unit_normal()) ** 2)
    if not 0 < second < math.inf:
        raise ValueError(f"activation = {activation!r}; allowed: one that does not vanish and does not overflow")
    return 1 / math.sqrt(second)
