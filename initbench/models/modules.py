"""The PyTorch modules of models: of built-in ones from their blocks.

Weights and biases of layers are zeros, for the initializer to fill: nothing is drawn for them.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from initbench.functions import pytorch
from initbench.models.architecture import (
    Activation,
    Blocks,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    Normalization,
    Pooling,
    Residual,
    Shape,
    built,
    output_shape,
)
from initbench.models.built_in import MODELS, blocks_of


class Branch(nn.Module):
    """x + f(x)."""

    def __init__(self, branch: nn.Sequential) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        total: Tensor = x + self.branch(x)
        return total


def module_of(
    model: str,
    hidden: str,
    shape: Shape,
    classes: int,
    activation: str,
    normalization: str = "none",
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """Return the module of any model, built-in or a user's, by the settings of a cell, before its layers are filled."""
    factory = partial(_activation, activation)
    if "@" in model:
        height, width, channels = shape
        own: nn.Module = MODELS.call(model, channels, height, width, classes, activation=factory)
        return own.to(dtype)
    return module(blocks_of(model, hidden, classes), shape, factory, normalization, dropout).to(dtype)


# An attribute of the modules that are the setting `activation`: diagnostics look for them.
MARK = "is_initbench_activation"


def _activation(name: str) -> nn.Module:
    module = pytorch.activation(name)
    setattr(module, MARK, True)
    return module


def module(
    blocks: Blocks,
    shape: Shape,
    activation: Callable[[], nn.Module],
    normalization: str = "none",
    dropout: float = 0.0,
    is_image: bool = True,
) -> nn.Sequential:
    """Return the module of a model for images of a shape, float32; it takes `[batch, channels, height, width]`.

    Batch normalization is over the batch (and the image), layer normalization over all values of an image, as
    PyTorch's `BatchNorm1d` and `BatchNorm2d`, and `LayerNorm` of dense layers and `GroupNorm` of one group of images;
    all with their defaults. Blocks that stand behind a `Flatten` take `[batch, units]`: then `is_image` is False.
    """
    modules: list[nn.Module] = []
    for block in built(blocks, normalization, dropout):
        _, _, channels = shape
        if isinstance(block, Convolution):
            fields = {"kernel_size": block.size, "stride": block.stride, "padding": block.padding}
            modules.append(_zeros(nn.Conv2d, channels, block.channels, **fields))
        elif isinstance(block, Dense):
            modules.append(_zeros(nn.Linear, math.prod(shape), block.width))
        elif isinstance(block, Pooling):
            modules.append(_pooling(block))
        elif isinstance(block, Flatten):
            modules.append(nn.Flatten())
            is_image = False
        elif isinstance(block, Activation):
            modules.append(activation())
        elif isinstance(block, Dropout):
            modules.append(nn.Dropout(dropout))
        elif isinstance(block, Normalization):
            modules.append(_normalization(normalization, channels, is_image))
        elif isinstance(block, Residual):
            modules.append(Branch(module(block.blocks, shape, activation, normalization, dropout, is_image)))
        shape = output_shape(block, shape)
    return nn.Sequential(*modules)


def _zeros(kind: type[nn.Module], *sizes: int, **keywords: int) -> nn.Module:
    layer: nn.Module = nn.utils.skip_init(kind, *sizes, **keywords)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    return layer


def _pooling(block: Pooling) -> nn.Module:
    if not block.size:
        return nn.AdaptiveAvgPool2d(1)
    return nn.AvgPool2d(block.size) if block.kind == "average" else nn.MaxPool2d(block.size)


def _normalization(kind: str, channels: int, is_image: bool) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels) if is_image else nn.BatchNorm1d(channels)
    return nn.GroupNorm(1, channels) if is_image else nn.LayerNorm(channels)
