"""The activations: one record each, with its definition in NumPy and its forms in PyTorch.

The decorated function is the documented definition, elementwise unless its docstring states otherwise; the other
forms are tested against it. Conventions are PyTorch's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initbench.functions._torch import aten, nn, torch
from initbench.registry import Entry, Registry

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Activation(Entry):
    """An activation. Each form takes the activation's parameters as keyword arguments.

    Attributes
    ----------
    module
        Returns PyTorch's module.
    forward
        Fused form: `forward(z, a)` writes the activations of z into a. Arrays are `[cells, units, batch]`.
    backward
        Fused form: `backward(g, z, a)` turns the gradient at a, in place, into the gradient at z. Derivatives of more
        than a line are the kernels that autograd calls.
    derivative
        The derivative in NumPy, elementwise, for `initbench.theory`; without it a central difference.
    """

    module: Callable[..., "nn.Module"]
    forward: Callable[..., object] | None = None
    backward: Callable[..., object] | None = None
    derivative: Callable[..., Array] | None = None


ACTIVATIONS: Registry[Activation] = Registry("activation", Activation)

hidden_and_output = partial(ACTIVATIONS.register, "hidden", "output")

# Klambauer et al. 2017, section 2 and appendix A.1: the fixed point (0, 1) of mean and variance.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def _identity_forward(z: "Tensor", a: "Tensor") -> None:
    if a.data_ptr() != z.data_ptr():
        a.copy_(z)


@hidden_and_output(
    module=lambda: nn.Identity(),
    forward=_identity_forward,
    backward=lambda g, z, a: None,
    derivative=lambda x: np.ones_like(x),
)
def identity(x: Array) -> Array:
    """f(x) = x."""
    return x


@hidden_and_output(
    module=lambda: nn.Sigmoid(),
    forward=lambda z, a: torch.sigmoid(z, out=a),
    backward=lambda g, z, a: aten.sigmoid_backward.grad_input(g, a, grad_input=g),
    derivative=lambda x: (1 - np.tanh(0.5 * x) ** 2) / 4,
)
def sigmoid(x: Array) -> Array:
    """f(x) = 1 / (1 + exp(−x))."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


@hidden_and_output(
    module=lambda: nn.Tanh(),
    forward=lambda z, a: torch.tanh(z, out=a),
    backward=lambda g, z, a: aten.tanh_backward.grad_input(g, a, grad_input=g),
    derivative=lambda x: 1 - np.tanh(x) ** 2,
)
def tanh(x: Array) -> Array:
    """f(x) = tanh(x)."""
    return np.asarray(np.tanh(x))


@hidden_and_output(
    module=lambda: nn.ReLU(),
    forward=lambda z, a: torch.clamp_min(z, 0, out=a),
    backward=lambda g, z, a: aten.threshold_backward.grad_input(g, a, 0, grad_input=g),
    derivative=lambda x: (x > 0).astype(x.dtype),
)
def relu(x: Array) -> Array:
    """f(x) = max(x, 0)."""
    return np.maximum(x, 0)


@hidden_and_output(
    module=lambda negative_slope: nn.LeakyReLU(negative_slope),
    forward=lambda z, a, negative_slope: aten.leaky_relu.out(z, negative_slope, out=a),
    backward=lambda g, z, a, negative_slope: aten.leaky_relu_backward.grad_input(
        g, z, negative_slope, False, grad_input=g
    ),
    derivative=lambda x, negative_slope: np.where(x > 0, 1.0, negative_slope),
)
def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> Array:
    """f(x) = x where x > 0, else negative_slope · x (default 0.01)."""
    return np.where(x > 0, x, negative_slope * x)


@hidden_and_output(
    module=lambda alpha: nn.ELU(alpha),
    forward=lambda z, a, alpha: aten.elu.out(z, alpha, 1, 1, out=a),
    backward=lambda g, z, a, alpha: aten.elu_backward.grad_input(g, alpha, 1, 1, False, z, grad_input=g),
    derivative=lambda x, alpha: np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0))),
)
def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """f(x) = x where x > 0, else alpha · (exp(x) − 1). Clevert et al. 2016."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@hidden_and_output(
    module=lambda: nn.SELU(),
    forward=lambda z, a: aten.elu.out(z, SELU_ALPHA, SELU_SCALE, 1, out=a),
    backward=lambda g, z, a: aten.elu_backward.grad_input(g, SELU_ALPHA, SELU_SCALE, 1, False, z, grad_input=g),
    derivative=lambda x: SELU_SCALE * np.where(x > 0, 1.0, SELU_ALPHA * np.exp(np.minimum(x, 0))),
)
def selu(x: Array) -> Array:
    """f(x) = 1.0507 · elu(x, alpha = 1.6733). Klambauer et al. 2017, eq. 2."""
    return SELU_SCALE * elu(x, alpha=SELU_ALPHA)


def _gelu_derivative(x: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(ndtr(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))


@hidden_and_output(
    module=lambda: nn.GELU(),
    forward=lambda z, a: a.copy_(aten.gelu(z)),  # gelu.out is wrong where `a` has gaps (torch 2.13)
    backward=lambda g, z, a: aten.gelu_backward.grad_input(g, z, grad_input=g),
    derivative=_gelu_derivative,
)
def gelu(x: Array) -> Array:
    """f(x) = x · Φ(x), the exact one, Φ the normal distribution function. Hendrycks & Gimpel 2016."""
    from scipy.special import ndtr

    return np.asarray(x * ndtr(x))


@hidden_and_output(
    module=lambda: nn.SiLU(),
    forward=lambda z, a: aten.silu.out(z, out=a),
    backward=lambda g, z, a: aten.silu_backward.grad_input(g, z, grad_input=g),
    derivative=lambda x: sigmoid(x) * (1 + x * sigmoid(-x)),
)
def silu(x: Array) -> Array:
    """f(x) = x · sigmoid(x), also called swish. Elfwing et al. 2018."""
    return x * sigmoid(x)


@hidden_and_output(
    module=lambda beta: nn.Softplus(beta),
    forward=lambda z, a, beta: aten.softplus.out(z, beta, 20, out=a),
    backward=lambda g, z, a, beta: aten.softplus_backward.grad_input(g, z, beta, 20, grad_input=g),
    derivative=lambda x, beta: sigmoid(beta * x),
)
def softplus(x: Array, *, beta: float = 1.0) -> Array:
    """f(x) = log(1 + exp(beta · x)) / beta; beta above 0. PyTorch takes x itself where beta · x > 20."""
    if not beta > 0:
        raise ValueError(f"beta = {beta!r}; allowed: above 0")
    return np.asarray(np.logaddexp(0, beta * x) / beta)


@hidden_and_output(
    module=lambda: nn.Softsign(),
    forward=lambda z, a: torch.div(z, z.abs().add_(1), out=a),
    backward=lambda g, z, a: g.div_(z.abs().add_(1).square_()),
    derivative=lambda x: 1 / (1 + np.abs(x)) ** 2,
)
def softsign(x: Array) -> Array:
    """f(x) = x / (1 + |x|). Bergstra et al. 2009; Glorot & Bengio 2010."""
    return np.asarray(x / (1 + np.abs(x)))


def _softmax_backward(g: "Tensor", z: "Tensor", a: "Tensor") -> None:
    g.mul_(a)
    g.sub_(a * g.sum(1, keepdim=True))


@ACTIVATIONS.register(
    "output",
    module=lambda: nn.Softmax(dim=1),
    forward=lambda z, a: a.copy_(torch.softmax(z, 1)),  # softmax.out is wrong where `a` has gaps, too
    backward=_softmax_backward,
)
def softmax(x: Array) -> Array:
    """f(x)_k = exp(x_k) / Σ_j exp(x_j) over the classes, the last axis. For the output only."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))
