"""What the stacked trainer does to a slice of cells: activations, losses and updates, with their derivatives by hand.

Values are laid out `[cells, units, batch]`: each cell is one contiguous block, whose length is a multiple of
`BLOCK`, so that elementwise functions treat every cell alike wherever it lies. The definitions are in
`initbench.activations`, `initbench.losses` and `initbench.optimizers`; the derivatives that are not a line are the
kernels that PyTorch's autograd itself calls.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from initbench.activations import ACTIVATIONS, SELU_ALPHA, SELU_SCALE
from initbench.losses import LOSSES
from initbench.optimizers import OPTIMIZERS

# Elementwise functions have vector bodies and scalar tails: with AVX-512 the body takes 32 numbers at a time.
BLOCK = 32

aten = torch.ops.aten

# ---------------------------------------------------------------------------------------------------------------
# Activations: forward(z, **parameters) -> a, and backward(gradient, z, a, **parameters) -> gradient at z

Forward = Callable[..., Tensor]
Backward = Callable[..., Tensor]


def _softplus_backward(g: Tensor, z: Tensor, a: Tensor, beta: float) -> Tensor:
    return aten.softplus_backward(g, z, beta, 20)  # type: ignore[no-any-return]


def _softmax_backward(g: Tensor, z: Tensor, a: Tensor) -> Tensor:
    return a * (g - (g * a).sum(1, keepdim=True))


FORWARD: dict[str, Forward] = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": lambda z, beta: F.softplus(z, beta, 20),
    "softsign": lambda z: z / (1 + z.abs()),
    "softmax": lambda z: torch.softmax(z, 1),
}

BACKWARD: dict[str, Backward] = {
    "identity": lambda g, z, a: g,
    "sigmoid": lambda g, z, a: aten.sigmoid_backward(g, a),
    "tanh": lambda g, z, a: aten.tanh_backward(g, a),
    "relu": lambda g, z, a: aten.threshold_backward(g, a, 0),
    "leaky_relu": lambda g, z, a, negative_slope: aten.leaky_relu_backward(g, z, negative_slope, False),
    "elu": lambda g, z, a, alpha: aten.elu_backward(g, alpha, 1, 1, False, z),
    "selu": lambda g, z, a: aten.elu_backward(g, SELU_ALPHA, SELU_SCALE, 1, False, z),
    "gelu": lambda g, z, a: aten.gelu_backward(g, z),
    "silu": lambda g, z, a: aten.silu_backward(g, z),
    "softplus": _softplus_backward,
    "softsign": lambda g, z, a: g / (1 + z.abs()) ** 2,
    "softmax": _softmax_backward,
}


def activation(name: str) -> tuple[Forward, Backward]:
    """The two functions of an activation, by its canonical string, with its parameters put in."""
    choice = ACTIVATIONS.resolve(name)
    forward, backward = FORWARD[choice.name], BACKWARD[choice.name]
    if not choice.arguments:
        return forward, backward
    keywords = choice.keywords
    return (lambda z: forward(z, **keywords)), (lambda g, z, a: backward(g, z, a, **keywords))


# ---------------------------------------------------------------------------------------------------------------
# Losses: loss(output, target, labels) -> the loss of each image [cells, batch], and its gradient at `output`
#
# `target` is the one-hot array [classes, batch], `labels` [batch]; the gradient is that of the sum over the batch.

Loss = Callable[..., tuple[Tensor, Tensor]]


def _mse(output: Tensor, target: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    d = output - target
    return (d * d).mean(1), d * (2 / target.shape[0])


def _mae(output: Tensor, target: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    d = output - target
    return d.abs().mean(1), d.sign() / target.shape[0]


def _huber(output: Tensor, target: Tensor, labels: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    d = output - target
    clipped = d.clamp(-delta, delta)
    return (clipped * (d - 0.5 * clipped)).mean(1), clipped / target.shape[0]


def _cross_entropy(logits: Tensor, target: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    shifted = logits - logits.amax(1, keepdim=True)
    e = shifted.exp()
    total = e.sum(1, keepdim=True)
    return (total.log() - (shifted * target).sum(1, keepdim=True)).squeeze(1), e / total - target


def _hinge(output: Tensor, target: Tensor, labels: Tensor, margin: float, power: int) -> tuple[Tensor, Tensor]:
    classes = target.shape[0]
    at_label = output.gather(1, labels.expand(len(output), 1, -1))
    excess = (output - at_label + margin).clamp(min=0) * (1 - target)
    # Each class that is too near pulls its own output down and the label's up.
    pull = (excess > 0).to(output.dtype) if power == 1 else 2 * excess
    values = excess if power == 1 else excess * excess
    return values.sum(1) / classes, (pull - target * pull.sum(1, keepdim=True)) / classes


LOSS: dict[str, Loss] = {
    "mse": _mse,
    "mae": _mae,
    "huber": _huber,
    "cross_entropy": _cross_entropy,
    "hinge": _hinge,
}


def loss(name: str) -> Loss:
    """The function of a loss, by its canonical string, with its parameters put in."""
    choice = LOSSES.resolve(name)
    function, keywords = LOSS[choice.name], choice.keywords
    return (lambda o, t, y: function(o, t, y, **keywords)) if keywords else function


# ---------------------------------------------------------------------------------------------------------------
# Updates: update(W, G, A, rates) subtracts from the weights, in place, what the optimizer makes of the gradient

Update = Callable[[Tensor, Tensor, Tensor, Tensor], None]


def product(left: Tensor, right: Tensor) -> Tensor:
    """`left @ right`, where a `right` of two dimensions is shared by all cells: then it is one product, not a batch."""
    if right.dim() == 3:
        return torch.bmm(left, right)
    cells, rows, inner = left.shape
    return torch.mm(left.view(cells * rows, inner), right).view(cells, rows, -1)


def optimizer(name: str) -> Callable[[], Update]:
    """A maker of updates, one for each layer's weights, by the optimizer's canonical string.

    An update takes W `[cells, out, in]`, the gradient at the pre-activations G `[cells, out, batch]` (which it may
    overwrite), the layer's input A `[cells, in, batch]` or, for the first layer, X `[in, batch]`, and the learning
    rates `[cells, 1, 1]`.
    """
    choice = OPTIMIZERS.resolve(name)
    if choice.name == "sgd":
        return lambda: _sgd
    maker = _OPTIMIZERS[choice.name]
    return lambda: _from_gradient(maker(**choice.keywords))


def _sgd(W: Tensor, G: Tensor, A: Tensor, rates: Tensor) -> None:
    # W −= lr · G Aᵀ, the product accumulating straight into W with the rates folded into the small G: the gradient, as
    # large as W itself, is never stored.
    G *= rates
    if A.dim() == 3:
        W.baddbmm_(G, A.transpose(1, 2), alpha=-1)
    else:
        flat = W.view(-1, W.shape[-1])
        flat.addmm_(G.view(len(flat), -1), A.t(), alpha=-1)


def _from_gradient(step: Callable[[Tensor, Tensor, Tensor], None]) -> Update:
    def update(W: Tensor, G: Tensor, A: Tensor, rates: Tensor) -> None:
        step(W, product(G, A.transpose(-1, -2)), rates)

    return update


def _state(state: dict[str, Any], name: str, W: Tensor) -> Tensor:
    if name not in state:
        state[name] = torch.zeros_like(W)
    return state[name]  # type: ignore[no-any-return]


def _momentum(momentum: float, nesterov: bool = False) -> Callable[[Tensor, Tensor, Tensor], None]:
    state: dict[str, Tensor] = {}

    def step(W: Tensor, g: Tensor, rates: Tensor) -> None:
        v = _state(state, "v", W)
        v.mul_(momentum).add_(g)
        W.sub_((g + momentum * v if nesterov else v) * rates)

    return step


def _adam(
    beta1: float, beta2: float, epsilon: float, weight_decay: float = 0.0
) -> Callable[[Tensor, Tensor, Tensor], None]:
    state: dict[str, Any] = {"t": 0}

    def step(W: Tensor, g: Tensor, rates: Tensor) -> None:
        m, v = _state(state, "m", W), _state(state, "v", W)
        state["t"] += 1
        if weight_decay:
            W.mul_(1 - rates * weight_decay)
        m.mul_(beta1).add_(g * (1 - beta1))
        v.mul_(beta2).add_((g * g).mul_(1 - beta2))
        root = v.sqrt().mul_((1 - beta2 ** state["t"]) ** -0.5).add_(epsilon)
        W.sub_((m / root).mul_(rates / (1 - beta1 ** state["t"])))

    return step


def _rmsprop(alpha: float, epsilon: float) -> Callable[[Tensor, Tensor, Tensor], None]:
    state: dict[str, Tensor] = {}

    def step(W: Tensor, g: Tensor, rates: Tensor) -> None:
        v = _state(state, "v", W)
        v.mul_(alpha).add_((g * g).mul_(1 - alpha))
        W.sub_((g / v.sqrt().add_(epsilon)).mul_(rates))

    return step


_OPTIMIZERS: dict[str, Callable[..., Callable[[Tensor, Tensor, Tensor], None]]] = {
    "momentum": _momentum,
    "nesterov": lambda momentum: _momentum(momentum, nesterov=True),
    "adam": _adam,
    "adamw": _adam,
    "rmsprop": _rmsprop,
}
