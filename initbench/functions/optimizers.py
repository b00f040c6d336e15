"""The optimizers: their definitions in NumPy, one step of one parameter array.

Each takes the weights, the gradient, and `state`, a dict that it fills and reads (empty before the first step), and
returns the new weights. lr is the learning rate of the step. Conventions and defaults are PyTorch's.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.registry import Registry

Array = NDArray[Any]
State = dict[str, Any]

OPTIMIZERS: Registry[Callable[..., Array]] = Registry("optimizer")

optimizer = OPTIMIZERS.entry()


@optimizer
def sgd(weights: Array, gradient: Array, state: State, *, learning_rate: float) -> Array:
    """Plain gradient descent: W ← W − lr · g."""
    return weights - learning_rate * gradient


@optimizer
def momentum(weights: Array, gradient: Array, state: State, *, learning_rate: float, momentum: float = 0.9) -> Array:
    """Heavy ball: v ← momentum · v + g; W ← W − lr · v. PyTorch's `SGD(momentum=…)`; momentum in [0, 1)."""
    _check_share("momentum", momentum)
    state["v"] = momentum * state.get("v", 0) + gradient
    return np.asarray(weights - learning_rate * state["v"])


@optimizer
def nesterov(weights: Array, gradient: Array, state: State, *, learning_rate: float, momentum: float = 0.9) -> Array:
    """Nesterov: v ← momentum · v + g; W ← W − lr · (g + momentum · v). PyTorch's `SGD(nesterov=True)`."""
    _check_share("momentum", momentum)
    state["v"] = momentum * state.get("v", 0) + gradient
    return np.asarray(weights - learning_rate * (gradient + momentum * state["v"]))


@optimizer
def adam(
    weights: Array,
    gradient: Array,
    state: State,
    *,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Array:
    """Adam: W ← W − lr · m̂ / (√v̂ + ε), bias-corrected averages of g and g². Kingma & Ba 2015, algorithm 1."""
    _check_share("beta1", beta1)
    _check_share("beta2", beta2)
    _check_epsilon(epsilon)
    t = state["t"] = state.get("t", 0) + 1
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * gradient
    state["v"] = beta2 * state.get("v", 0) + (1 - beta2) * gradient**2
    m_hat, v_hat = state["m"] / (1 - beta1**t), state["v"] / (1 - beta2**t)
    return np.asarray(weights - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon))


@optimizer
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
    if weight_decay < 0:
        raise ValueError(f"weight_decay = {weight_decay!r}; allowed: 0 or more")
    decayed = (1 - learning_rate * weight_decay) * weights
    return adam(decayed, gradient, state, learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)


@optimizer
def rmsprop(
    weights: Array,
    gradient: Array,
    state: State,
    *,
    learning_rate: float,
    alpha: float = 0.99,
    epsilon: float = 1e-8,
) -> Array:
    """RMSprop: v ← alpha · v + (1 − alpha) · g²; W ← W − lr · g / (√v + ε). Tieleman & Hinton 2012, PyTorch's form."""
    _check_share("alpha", alpha)
    _check_epsilon(epsilon)
    state["v"] = alpha * state.get("v", 0) + (1 - alpha) * gradient**2
    return np.asarray(weights - learning_rate * gradient / (np.sqrt(state["v"]) + epsilon))


def _check_share(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} = {value!r}; allowed: from 0 to below 1")


def _check_epsilon(value: float) -> None:
    if not value > 0:
        raise ValueError(f"epsilon = {value!r}; allowed: above 0")
