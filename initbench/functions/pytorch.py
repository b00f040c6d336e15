"""A cell's activation, loss and optimizer in ordinary PyTorch, by their canonical strings."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES, computed_output
from initbench.functions.optimizers import OPTIMIZERS


def activation(name: str) -> nn.Module:
    """Return PyTorch's module of an activation."""
    record, parameters = ACTIVATIONS.lookup(name)
    return record.module(**parameters)


def loss(name: str, output_activation: str, pre_activations: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of pre-activations `[batch, classes]` and labels `[batch]`."""
    record, parameters = LOSSES.lookup(name)
    output = activation(computed_output(name, output_activation))(pre_activations)
    return record.torch(output, labels, **parameters)


def optimizer(name: str, weights: Iterable[Tensor], learning_rate: float) -> torch.optim.Optimizer:
    """Return PyTorch's optimizer of some parameter arrays."""
    record, parameters = OPTIMIZERS.lookup(name)
    return record.torch(weights, learning_rate, **parameters)
