"""The activations and losses in ordinary PyTorch, for autograd."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES

MODULES: dict[str, Any] = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "softmax": lambda: nn.Softmax(dim=1),
}


def activation(name: str) -> nn.Module:
    """PyTorch's own of an activation, by its canonical string."""
    choice = ACTIVATIONS.resolve(name)
    module: nn.Module = MODULES[choice.name](**choice.keywords)
    return module


def loss(name: str, output_activation: str, pre_activations: Tensor, labels: Tensor) -> Tensor:
    """A loss, by its canonical string, from pre-activations `[batch, classes]` and labels `[batch]`."""
    choice = LOSSES.resolve(name)
    if choice.name == "cross_entropy" and output_activation == "softmax":
        return F.cross_entropy(pre_activations, labels)  # softmax once, in its stable form
    output = activation(output_activation)(pre_activations)
    target = F.one_hot(labels, output.shape[1]).to(output.dtype)
    if choice.name == "mse":
        return F.mse_loss(output, target)
    if choice.name == "mae":
        return F.l1_loss(output, target)
    if choice.name == "huber":
        return F.huber_loss(output, target, **choice.keywords)
    if choice.name == "cross_entropy":
        return F.cross_entropy(output, labels)
    # PyTorch's multi_margin_loss, written out because its gradient has no gradient there.
    own = output.gather(1, labels[:, None])
    over = (choice.keywords["margin"] - own + output).clamp(min=0) ** choice.keywords["power"]
    hinged: Tensor = (over * (1 - target)).sum() / output.numel()
    return hinged
