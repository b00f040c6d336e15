"""The activations: their definitions in NumPy, elementwise unless said otherwise.

These are the definitions that the trainer's fast forms and the tests are held to. Conventions are PyTorch's.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.registry import Registry

Array = NDArray[Any]

ACTIVATIONS: Registry[Callable[..., Array]] = Registry("activation")

hidden_and_output = ACTIVATIONS.entry("hidden", "output")

# Klambauer et al. 2017, section 2 and appendix A.1: the fixed point (0, 1) of mean and variance.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


@hidden_and_output
def identity(x: Array) -> Array:
    """f(x) = x."""
    return x


@hidden_and_output
def sigmoid(x: Array) -> Array:
    """f(x) = 1 / (1 + exp(−x))."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


@hidden_and_output
def tanh(x: Array) -> Array:
    """f(x) = tanh(x)."""
    return np.asarray(np.tanh(x))


@hidden_and_output
def relu(x: Array) -> Array:
    """f(x) = max(x, 0)."""
    return np.maximum(x, 0)


@hidden_and_output
def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> Array:
    """f(x) = x where x > 0, else negative_slope · x (default 0.01)."""
    return np.where(x > 0, x, negative_slope * x)


@hidden_and_output
def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """f(x) = x where x > 0, else alpha · (exp(x) − 1). Clevert et al. 2016."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@hidden_and_output
def selu(x: Array) -> Array:
    """f(x) = 1.0507 · elu(x, alpha = 1.6733). Klambauer et al. 2017, eq. 2."""
    return SELU_SCALE * elu(x, alpha=SELU_ALPHA)


@hidden_and_output
def gelu(x: Array) -> Array:
    """f(x) = x · Φ(x), the exact one, Φ the normal distribution function. Hendrycks & Gimpel 2016."""
    from scipy.special import ndtr

    return np.asarray(x * ndtr(x))


@hidden_and_output
def silu(x: Array) -> Array:
    """f(x) = x · sigmoid(x), also called swish. Elfwing et al. 2018."""
    return x * sigmoid(x)


@hidden_and_output
def softplus(x: Array, *, beta: float = 1.0) -> Array:
    """f(x) = log(1 + exp(beta · x)) / beta; beta above 0. PyTorch takes x itself where beta · x > 20."""
    if not beta > 0:
        raise ValueError(f"beta = {beta!r}; allowed: above 0")
    return np.asarray(np.logaddexp(0, beta * x) / beta)


@hidden_and_output
def softsign(x: Array) -> Array:
    """f(x) = x / (1 + |x|). Bergstra et al. 2009; Glorot & Bengio 2010."""
    return np.asarray(x / (1 + np.abs(x)))


@ACTIVATIONS.entry("output")
def softmax(x: Array) -> Array:
    """f(x)_k = exp(x_k) / Σ_j exp(x_j) over the classes, the last axis. For the output only."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))
