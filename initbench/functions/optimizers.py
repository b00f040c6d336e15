"""The optimizers: one record each, with its definition in NumPy and its forms in PyTorch.

The decorated function is the documented definition: one step of one parameter array. It takes the weights, the
gradient, and `state`, a dict that it fills and reads (empty before the first step), and returns the new weights. lr is
the learning rate of the step. Conventions and defaults are PyTorch's.

Each has `weight_decay`, 0 or more, default 0: weight_decay · W is added to the gradient g before anything else (L2
regularization), except in `adamw`. It decays weights and biases alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initbench.functions._torch import torch
from initbench.registry import Entry, Registry

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[Any]
State = dict[str, Any]
Update = Callable[["Tensor", "Tensor", "Tensor"], None]


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
    update
        Fused form: `update(W)` returns a function `(W, g, rates)` that holds the state of these weights, and subtracts
        from W, in place, the step for its gradient g, which it may overwrite. `rates` are the learning rates, in a
        shape that broadcasts. Steps are counted in an array, so that a recorded graph of a step goes on counting.
    is_plain_sgd
        `is_plain_sgd()` returns whether it is plain gradient descent, for which the trainer needs no `update`: its
        products accumulate into the weights.
    """

    torch: Callable[..., "torch.optim.Optimizer"]
    n_arrays: int
    update: Callable[..., Update] | None = None
    is_plain_sgd: Callable[..., bool] = lambda **parameters: False


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer", Optimizer)


def _with_decay(update: Callable[..., Update]) -> Callable[..., Update]:
    """Return the fused form with `weight_decay`: weight_decay · W is added to the gradient before anything else."""

    def of(W: "Tensor", weight_decay: float, **parameters: float) -> Update:
        step = update(W, **parameters)
        if not weight_decay:
            return step
        return lambda W, g, rates: step(W, g.add_(W, alpha=weight_decay), rates)

    return of


def _sgd(W: "Tensor") -> Update:
    def step(W: "Tensor", g: "Tensor", rates: "Tensor") -> None:
        W.sub_(g.mul_(rates))

    return step


@OPTIMIZERS.register(
    torch=lambda parameters, rate, weight_decay: torch.optim.SGD(parameters, rate, weight_decay=weight_decay),
    n_arrays=2,
    update=_with_decay(_sgd),
    is_plain_sgd=lambda weight_decay: weight_decay == 0,
)
def sgd(weights: Array, gradient: Array, state: State, *, learning_rate: float, weight_decay: float = 0.0) -> Array:
    """Plain gradient descent: W ← W − lr · (g + weight_decay · W)."""
    return np.asarray(weights - learning_rate * _decayed(gradient, weights, weight_decay))


def _momentum(W: "Tensor", momentum: float, nesterov: bool = False) -> Update:
    v = torch.zeros_like(W)

    def step(W: "Tensor", g: "Tensor", rates: "Tensor") -> None:
        v.mul_(momentum).add_(g)
        if nesterov:
            W.sub_(g.add_(v, alpha=momentum).mul_(rates))
        else:
            W.sub_(torch.mul(v, rates, out=g))

    return step


@OPTIMIZERS.register(
    torch=lambda parameters, rate, momentum, weight_decay: torch.optim.SGD(
        parameters, rate, momentum, weight_decay=weight_decay
    ),
    n_arrays=4,
    update=_with_decay(_momentum),
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
    update=_with_decay(partial(_momentum, nesterov=True)),
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


def _adam(W: "Tensor", beta1: float, beta2: float, epsilon: float, weight_decay: float = 0.0) -> Update:
    m, v = torch.zeros_like(W), torch.zeros_like(W)
    t = torch.zeros((), dtype=torch.float64, device=W.device)

    def step(W: "Tensor", g: "Tensor", rates: "Tensor") -> None:
        # W −= lr · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε), with both corrections taken out of the large arrays.
        t.add_(1)
        root = (1 - beta2**t).sqrt_()
        if weight_decay:  # of adamw
            W.mul_(1 - rates * weight_decay)
        m.lerp_(g, 1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        torch.sqrt(v, out=g).add_(epsilon * root)
        torch.div(m, g, out=g)
        W.sub_(g.mul_(rates * (root / (1 - beta1**t))))

    return step


@OPTIMIZERS.register(
    torch=lambda parameters, rate, beta1, beta2, epsilon, weight_decay: torch.optim.Adam(
        parameters, rate, (beta1, beta2), epsilon, weight_decay
    ),
    n_arrays=6,
    update=_with_decay(_adam),
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
    update=_adam,
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


def _rmsprop(W: "Tensor", alpha: float, epsilon: float) -> Update:
    v = torch.zeros_like(W)

    def step(W: "Tensor", g: "Tensor", rates: "Tensor") -> None:
        v.mul_(alpha).addcmul_(g, g, value=1 - alpha)
        W.sub_(g.div_(v.sqrt().add_(epsilon)).mul_(rates))

    return step


@OPTIMIZERS.register(
    torch=lambda parameters, rate, alpha, epsilon, weight_decay: torch.optim.RMSprop(
        parameters, rate, alpha, epsilon, weight_decay
    ),
    n_arrays=5,
    update=_with_decay(_rmsprop),
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
