"""A cell's activation, loss and optimizer in ordinary PyTorch, by their canonical strings."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn

from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES, computed_output
from initbench.functions.optimizers import OPTIMIZERS


def activation(name: str) -> nn.Module:
    """Return PyTorch's module of an activation."""
    record, parameters = ACTIVATIONS.lookup(name)
    return record.module(**parameters)


def loss_function(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss, a function of the output `[batch, classes]` and the labels `[batch]`."""
    record, parameters = LOSSES.lookup(name)
    return partial(record.torch, **parameters)


def loss(name: str, output_activation: str, pre_activations: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of pre-activations `[batch, classes]` and labels `[batch]`."""
    output = activation(computed_output(name, output_activation))(pre_activations)
    return loss_function(name)(output, labels)


# What a training loop uses of an optimizer.
OPTIMIZER_ATTRIBUTES = ("step", "zero_grad", "param_groups")


def optimizer(name: str, weights: Iterable[Tensor], learning_rate: float) -> torch.optim.Optimizer:
    """Return PyTorch's optimizer of some parameter arrays.

    Raises ValueError if it cannot be used as one of PyTorch's, or if its step needs a closure.
    """
    record, parameters = OPTIMIZERS.lookup(name)
    optimizer: torch.optim.Optimizer = record.torch(weights, learning_rate, **parameters)
    if not all(hasattr(optimizer, attribute) for attribute in OPTIMIZER_ATTRIBUTES):
        raise ValueError(
            f"returned {type(optimizer).__name__}; allowed: a torch.optim.Optimizer, or another object with "
            f"{', '.join(OPTIMIZER_ATTRIBUTES)}"
        )
    if not all("lr" in group for group in optimizer.param_groups):
        raise ValueError("its param_groups have no key lr; allowed: a learning rate that a schedule can set")
    required = [
        argument.name
        for argument in inspect.signature(optimizer.step).parameters.values()
        if argument.default is argument.empty and argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
    ]
    if required:
        raise ValueError(f"its step needs {', '.join(required)}; allowed: a step() from the gradients of one batch")
    return optimizer
