"""What the stacked trainer does to a slice of cells: activations, losses and updates, with their derivatives by hand.

Values are laid out `[cells, units, batch]`: each cell is one contiguous block, whose length is a multiple of
`BLOCK`, so that elementwise functions treat every cell alike wherever it lies. The definitions are in
`initbench.functions`; the derivatives that are not a line are the kernels that PyTorch's autograd itself calls. All
write into arrays that they are given, so that a step allocates next to nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from initbench.functions.activations import ACTIVATIONS, SELU_ALPHA, SELU_SCALE
from initbench.functions.losses import LOSSES
from initbench.functions.optimizers import OPTIMIZERS

# Elementwise functions have vector bodies and scalar tails: with AVX-512 the body takes 32 numbers at a time.
BLOCK = 32

aten = torch.ops.aten

# ---------------------------------------------------------------------------------------------------------------
# Activations: forward(z, a, **parameters) writes the activations of z into a; backward(g, z, a, **parameters) turns
# the gradient at a, in place, into the gradient at z

Forward = Callable[..., object]
Backward = Callable[..., object]


def _identity(z: Tensor, a: Tensor) -> None:
    if a.data_ptr() != z.data_ptr():
        a.copy_(z)


def _softsign(z: Tensor, a: Tensor) -> None:
    torch.div(z, z.abs().add_(1), out=a)


def _softsign_backward(g: Tensor, z: Tensor, a: Tensor) -> None:
    g.div_(z.abs().add_(1).square_())


def _softmax_backward(g: Tensor, z: Tensor, a: Tensor) -> None:
    g.mul_(a)
    g.sub_(a * g.sum(1, keepdim=True))


FORWARD: dict[str, Forward] = {
    "identity": _identity,
    "sigmoid": lambda z, a: torch.sigmoid(z, out=a),
    "tanh": lambda z, a: torch.tanh(z, out=a),
    "relu": lambda z, a: torch.clamp_min(z, 0, out=a),
    "leaky_relu": lambda z, a, negative_slope: aten.leaky_relu.out(z, negative_slope, out=a),
    "elu": lambda z, a, alpha: aten.elu.out(z, alpha, 1, 1, out=a),
    "selu": lambda z, a: aten.elu.out(z, SELU_ALPHA, SELU_SCALE, 1, out=a),
    "gelu": lambda z, a: a.copy_(aten.gelu(z)),  # gelu.out is wrong where `a` has gaps (torch 2.13)
    "silu": lambda z, a: aten.silu.out(z, out=a),
    "softplus": lambda z, a, beta: aten.softplus.out(z, beta, 20, out=a),
    "softsign": _softsign,
    "softmax": lambda z, a: a.copy_(torch.softmax(z, 1)),  # as is softmax.out
}

BACKWARD: dict[str, Backward] = {
    "identity": lambda g, z, a: None,
    "sigmoid": lambda g, z, a: aten.sigmoid_backward.grad_input(g, a, grad_input=g),
    "tanh": lambda g, z, a: aten.tanh_backward.grad_input(g, a, grad_input=g),
    "relu": lambda g, z, a: aten.threshold_backward.grad_input(g, a, 0, grad_input=g),
    "leaky_relu": lambda g, z, a, negative_slope: aten.leaky_relu_backward.grad_input(
        g, z, negative_slope, False, grad_input=g
    ),
    "elu": lambda g, z, a, alpha: aten.elu_backward.grad_input(g, alpha, 1, 1, False, z, grad_input=g),
    "selu": lambda g, z, a: aten.elu_backward.grad_input(g, SELU_ALPHA, SELU_SCALE, 1, False, z, grad_input=g),
    "gelu": lambda g, z, a: aten.gelu_backward.grad_input(g, z, grad_input=g),
    "silu": lambda g, z, a: aten.silu_backward.grad_input(g, z, grad_input=g),
    "softplus": lambda g, z, a, beta: aten.softplus_backward.grad_input(g, z, beta, 20, grad_input=g),
    "softsign": _softsign_backward,
    "softmax": _softmax_backward,
}


def activation(name: str) -> tuple[Forward, Backward]:
    """The two functions of an activation, by its canonical string, with its parameters put in."""
    choice = ACTIVATIONS.resolve(name)
    forward, backward = FORWARD[choice.name], BACKWARD[choice.name]
    if not choice.arguments:
        return forward, backward
    keywords = choice.keywords
    return (lambda z, a: forward(z, a, **keywords)), (lambda g, z, a: backward(g, z, a, **keywords))


# ---------------------------------------------------------------------------------------------------------------
# Losses: loss(output, target, labels, gradient, values) writes the gradient at `output`, and values whose sum over the
# classes is the loss of an image; both short of a factor, which the caller multiplies in once for a whole stack
#
# `target` is the one-hot array [classes, batch], `labels` [batch]; the others are [cells, classes, batch]. The gradient
# is that of the sum over the batch.


@dataclass(frozen=True)
class Loss:
    """A loss: its function, and what its values and its gradient are still to be multiplied by."""

    function: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], object]
    value_factor: float
    gradient_factor: float


def _mse(output: Tensor, target: Tensor, labels: Tensor, gradient: Tensor, values: Tensor) -> None:
    torch.sub(output, target, out=gradient)
    torch.mul(gradient, gradient, out=values)


def _mae(output: Tensor, target: Tensor, labels: Tensor, gradient: Tensor, values: Tensor) -> None:
    torch.sub(output, target, out=gradient)
    torch.abs(gradient, out=values)
    gradient.sign_()


def _huber(output: Tensor, target: Tensor, labels: Tensor, gradient: Tensor, values: Tensor, *, delta: float) -> None:
    torch.sub(output, target, out=values)
    torch.clamp(values, -delta, delta, out=gradient)
    values.sub_(gradient, alpha=0.5).mul_(gradient)


def _cross_entropy(logits: Tensor, target: Tensor, labels: Tensor, gradient: Tensor, values: Tensor) -> None:
    aten._log_softmax.out(logits, 1, False, out=gradient)
    torch.mul(gradient, target, out=values)
    gradient.exp_().sub_(target)


def _hinge(
    output: Tensor, target: Tensor, labels: Tensor, gradient: Tensor, values: Tensor, *, margin: float, power: int
) -> None:
    at_label = output.gather(1, labels.expand(len(output), 1, -1))
    torch.sub(output, at_label, out=values).add_(margin).clamp_(min=0).mul_(1 - target)
    # Each class that is too near pulls its own output down and the label's up.
    pull = (values > 0).to(output.dtype) if power == 1 else 2 * values
    torch.sub(pull, target * pull.sum(1, keepdim=True), out=gradient)
    if power == 2:
        values.square_()


# Each with the factors of its values and of its gradient, for so many classes.
LOSS: dict[str, tuple[Callable[..., object], Callable[[int], tuple[float, float]]]] = {
    "mse": (_mse, lambda classes: (1 / classes, 2 / classes)),
    "mae": (_mae, lambda classes: (1 / classes, 1 / classes)),
    "huber": (_huber, lambda classes: (1 / classes, 1 / classes)),
    "cross_entropy": (_cross_entropy, lambda classes: (-1, 1)),
    "hinge": (_hinge, lambda classes: (1 / classes, 1 / classes)),
}


def loss(name: str, classes: int) -> Loss:
    """A loss, by its canonical string, with its parameters put in."""
    choice = LOSSES.resolve(name)
    function, factors = LOSS[choice.name]
    return Loss(partial(function, **choice.keywords) if choice.keywords else function, *factors(classes))


# ---------------------------------------------------------------------------------------------------------------
# Precision


def operand(precision: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """What rounds an operand of a product to a precision; the product itself adds up in float32.

    `float32` rounds nothing. `bf16` rounds to bfloat16 (8 significant bits), `tf32` to TF32 (11), to the nearest, ties
    to even. On a graphics processor `initbench.training.worker` lets products run in TF32 for both: every bfloat16
    number is a TF32 number, so that nothing is rounded twice; TF32's own rounding is then the processor's.
    """
    if precision == "bf16":
        return lambda x: x.bfloat16().to(x.dtype)
    if precision == "tf32" and device.type == "cpu":
        return _rounded_to_tf32
    return lambda x: x


def _rounded_to_tf32(x: Tensor) -> Tensor:
    # A float32 has 24 significant bits, TF32 11: add half of the last one kept (less one where that is even), and cut.
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


# ---------------------------------------------------------------------------------------------------------------
# Updates: update(W, g, rates) subtracts from the weights, in place, what the optimizer makes of their gradient g
#
# `rates` are the learning rates, in a shape that broadcasts. Plain gradient descent is not here: it needs no gradient,
# see `initbench.training.stack`. Steps are counted in an array, so that a recorded graph of a step goes on counting.

Update = Callable[[Tensor, Tensor, Tensor], None]


def update(name: str, W: Tensor) -> Update:
    """The update of an array of weights by an optimizer's canonical string; it holds the optimizer's state."""
    choice = OPTIMIZERS.resolve(name)
    return _UPDATES[choice.name](W, **choice.keywords)


def _momentum(W: Tensor, momentum: float, nesterov: bool = False) -> Update:
    v = torch.zeros_like(W)

    def step(W: Tensor, g: Tensor, rates: Tensor) -> None:
        v.mul_(momentum).add_(g)
        if nesterov:
            W.sub_(g.add_(v, alpha=momentum).mul_(rates))
        else:
            W.sub_(torch.mul(v, rates, out=g))

    return step


def _adam(W: Tensor, beta1: float, beta2: float, epsilon: float, weight_decay: float = 0.0) -> Update:
    m, v = torch.zeros_like(W), torch.zeros_like(W)
    t = torch.zeros((), dtype=torch.float64, device=W.device)

    def step(W: Tensor, g: Tensor, rates: Tensor) -> None:
        # W −= lr · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε), with both corrections taken out of the large arrays.
        t.add_(1)
        root = (1 - beta2**t).sqrt_()
        if weight_decay:
            W.mul_(1 - rates * weight_decay)
        m.lerp_(g, 1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        torch.sqrt(v, out=g).add_(epsilon * root)
        torch.div(m, g, out=g)
        W.sub_(g.mul_(rates * (root / (1 - beta1**t))))

    return step


def _rmsprop(W: Tensor, alpha: float, epsilon: float) -> Update:
    v = torch.zeros_like(W)

    def step(W: Tensor, g: Tensor, rates: Tensor) -> None:
        v.mul_(alpha).addcmul_(g, g, value=1 - alpha)
        W.sub_(g.div_(v.sqrt().add_(epsilon)).mul_(rates))

    return step


_UPDATES: dict[str, Callable[..., Update]] = {
    "momentum": _momentum,
    "nesterov": partial(_momentum, nesterov=True),
    "adam": _adam,
    "adamw": _adam,
    "rmsprop": _rmsprop,
}
