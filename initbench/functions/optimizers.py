"""The optimizers: one record each, with its definition in NumPy and its forms in PyTorch.

The decorated function is the documented definition: one step of one parameter array. It takes the weights, the
gradient, and `state`, a dict that it fills and reads (empty before the first step), and returns the new weights. lr is
the learning rate of the step. Conventions and defaults are PyTorch's.

Each has `weight_decay`, 0 or more, default 0: weight_decay · W is added to the gradient g before anything else (L2
regularization), except in `adamw`. It decays weights and biases alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.functions._torch import torch
from initbench.registry import Entry, Registry

Array = NDArray[Any]
State = dict[str, Any]
Constants = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Optimizer(Entry):
    """An optimizer. Each form takes the optimizer's parameters as keyword arguments.

    Attributes
    ----------
    torch
        `torch(parameters, learning_rate)` returns PyTorch's optimizer.
    n_arrays
        How many arrays as large as the weights a step holds, the weights and their gradient among them: the plan
        estimates memory by it.
    formula
        Fused form: `formula(W, g, *states, rate, constants, sqrt)` returns the weights after a step with gradient g,
        and the states after it: W alone, or a tuple of them. It consists of +, −, ·, / and `sqrt` alone, which IEEE 754
        rounds in one way, and has no numbers in it: those of a step are `constants`. So NumPy's arrays, compiled code
        and PyTorch's tensors evaluate the same formula, the first two with the same bits.
    states
        The number of states, arrays as large as the weights that are 0 at first.
    constants
        `constants(t)` returns the numbers of step t, counted from 1; on a GPU t is a tensor.
    is_plain_sgd
        `is_plain_sgd()` returns whether it is plain gradient descent, for which the trainer needs no `update`: its
        products accumulate into the weights.
    """

    torch: Callable[..., "torch.optim.Optimizer"]
    n_arrays: int
    formula: Callable[..., Any] | None = None
    states: int = 0
    constants: Callable[..., Constants] = lambda t: ()
    is_plain_sgd: Callable[..., bool] = lambda **parameters: False


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", Optimizer)


def _sgd(W: Any, g: Any, rate: Any, constants: Constants, sqrt: Any) -> Any:
    (decay,) = constants
    if decay:
        g = g + decay * W
    return W - rate * g


@OPTIMIZERS.register(
    torch=lambda parameters, rate, weight_decay: torch.optim.SGD(parameters, rate, weight_decay=weight_decay),
    n_arrays=2,
    formula=_sgd,
    constants=lambda t, weight_decay: (weight_decay,),
    is_plain_sgd=lambda weight_decay: weight_decay == 0,
)
def sgd(weights: Array, gradient: Array, state: State, *, learning_rate: float, weight_decay: float = 0.0) -> Array:
    """Plain gradient descent: W ← W − lr · (g + weight_decay · W)."""
    return np.asarray(weights - learning_rate * _decayed(gradient, weights, weight_decay))


def _momentum(W: Any, g: Any, v: Any, rate: Any, constants: Constants, sqrt: Any) -> Any:
    decay, momentum = constants
    if decay:
        g = g + decay * W
    v = momentum * v + g
    return W - rate * v, v


def _nesterov(W: Any, g: Any, v: Any, rate: Any, constants: Constants, sqrt: Any) -> Any:
    decay, momentum = constants
    if decay:
        g = g + decay * W
    v = momentum * v + g
    return W - rate * (g + momentum * v), v


def _of_momentum(t: Any, momentum: float, weight_decay: float) -> Constants:
    return weight_decay, momentum


@OPTIMIZERS.register(
    torch=lambda parameters, rate, momentum, weight_decay: torch.optim.SGD(
        parameters, rate, momentum, weight_decay=weight_decay
    ),
    n_arrays=4,
    formula=_momentum,
    states=1,
    constants=_of_momentum,
)
def momentum(
    weights: Array,
    gradient: Array,
    state: State,
    *,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> Array:
    """Heavy ball: v ← momentum · v + g; W ← W − lr · v. PyTorch's `SGD(momentum=…)`; momentum in [0, 1)."""
    _check_share("momentum", momentum)
    gradient = _decayed(gradient, weights, weight_decay)
    state["v"] = momentum * state.get("v", 0) + gradient
    return np.asarray(weights - learning_rate * state["v"])


@OPTIMIZERS.register(
    torch=lambda parameters, rate, momentum, weight_decay: torch.optim.SGD(
        parameters, rate, momentum, weight_decay=weight_decay, nesterov=True
    ),
    n_arrays=4,
    formula=_nesterov,
    states=1,
    constants=_of_momentum,
)
def nesterov(
    weights: Array,
    gradient: Array,
    state: State,
    *,
    learning_rate: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
) -> Array:
    """Nesterov: v ← momentum · v + g; W ← W − lr · (g + momentum · v). PyTorch's `SGD(nesterov=True)`."""
    _check_share("momentum", momentum)
    gradient = _decayed(gradient, weights, weight_decay)
    state["v"] = momentum * state.get("v", 0) + gradient
    return np.asarray(weights - learning_rate * (gradient + momentum * state["v"]))


def _adam(W: Any, g: Any, m: Any, v: Any, rate: Any, constants: Constants, sqrt: Any) -> Any:
    # W −= lr · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε), with both corrections taken out of the arrays.
    decay, decoupled_decay, one_minus_beta1, beta2, one_minus_beta2, epsilon, correction = constants
    if decay:
        g = g + decay * W
    m = m + one_minus_beta1 * (g - m)
    v = beta2 * v + one_minus_beta2 * (g * g)
    step = correction * (m / (sqrt(v) + epsilon))
    if decoupled_decay:
        step = step + decoupled_decay * W
    return W - rate * step, m, v


def _of_adam(
    t: Any, beta1: float, beta2: float, epsilon: float, weight_decay: float, decoupled_decay: float = 0.0
) -> Constants:
    root = (1 - beta2**t) ** 0.5
    return weight_decay, decoupled_decay, 1 - beta1, beta2, 1 - beta2, epsilon * root, root / (1 - beta1**t)


@OPTIMIZERS.register(
    torch=lambda parameters, rate, beta1, beta2, epsilon, weight_decay: torch.optim.Adam(
        parameters, rate, (beta1, beta2), epsilon, weight_decay
    ),
    n_arrays=6,
    formula=_adam,
    states=2,
    constants=_of_adam,
)
def adam(
    weights: Array,
    gradient: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> Array:
    """Adam: W ← W − lr · m̂ / (√v̂ + ε), bias-corrected averages of g and g². Kingma & Ba 2015, algorithm 1."""
    _check_share("beta1", beta1)
    _check_share("beta2", beta2)
    _check_epsilon(epsilon)
    gradient = _decayed(gradient, weights, weight_decay)
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * gradient
    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * gradient**2
    m_hat, v_hat = state["m"] / (1 - beta1**t), state["v"] / (1 - beta2**t)
    return np.asarray(weights - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon))


@OPTIMIZERS.register(
    torch=lambda parameters, rate, beta1, beta2, epsilon, weight_decay: torch.optim.AdamW(
        parameters, rate, (beta1, beta2), epsilon, weight_decay
    ),
    n_arrays=6,
    formula=_adam,
    states=2,
    constants=lambda t, beta1, beta2, epsilon, weight_decay: _of_adam(t, beta1, beta2, epsilon, 0.0, weight_decay),
)
def adamw(
    weights: Array,
    gradient: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
) -> Array:
    """Adam with W ← (1 − lr · weight_decay) · W before each step, biases included. Loshchilov & Hutter 2019."""
    _check_decay(weight_decay)
    decayed = (1 - learning_rate * weight_decay) * weights
    return adam(decayed, gradient, state, learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)


def _rmsprop(W: Any, g: Any, v: Any, rate: Any, constants: Constants, sqrt: Any) -> Any:
    decay, alpha, one_minus_alpha, epsilon = constants
    if decay:
        g = g + decay * W
    v = alpha * v + one_minus_alpha * (g * g)
    return W - rate * (g / (sqrt(v) + epsilon)), v


@OPTIMIZERS.register(
    torch=lambda parameters, rate, alpha, epsilon, weight_decay: torch.optim.RMSprop(
        parameters, rate, alpha, epsilon, weight_decay
    ),
    n_arrays=5,
    formula=_rmsprop,
    states=1,
    constants=lambda t, alpha, epsilon, weight_decay: (weight_decay, alpha, 1 - alpha, epsilon),
)
def rmsprop(
    weights: Array,
    gradient: Array,
    state: State,
    *,
    learning_rate: float,
    alpha: float = 0.99,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> Array:
    """RMSprop: v ← alpha · v + (1 − alpha) · g²; W ← W − lr · g / (√v + ε). Tieleman & Hinton 2012, PyTorch's form."""
    _check_share("alpha", alpha)
    _check_epsilon(epsilon)
    gradient = _decayed(gradient, weights, weight_decay)
    state["v"] = alpha * state.get("v", 0) + (1 - alpha) * gradient**2
    return np.asarray(weights - learning_rate * gradient / (np.sqrt(state["v"]) + epsilon))


def _decayed(gradient: Array, weights: Array, weight_decay: float) -> Array:
    """Return the gradient of the loss plus weight_decay / 2 · |W|²."""
    _check_decay(weight_decay)
    return np.asarray(gradient + weight_decay * weights)


def _check_decay(value: float) -> None:
    if value < 0:
        raise ValueError(f"weight_decay = {value!r}; allowed: 0 or more")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} = {value!r}; allowed: from 0 to below 1")


def _check_epsilon(value: float) -> None:
    if not value > 0:
        raise ValueError(f"epsilon = {value!r}; allowed: above 0")
