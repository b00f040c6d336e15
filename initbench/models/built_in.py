"""The built-in models: one record each, whose function returns the blocks of the network.

The keyword-only arguments of a function are the model's parameters. `classes` is the number of outputs.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from initbench.initializers._base import require
from initbench.models.architecture import (
    Activation,
    Architecture,
    Block,
    Blocks,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    Normalization,
    Pooling,
    Residual,
    Shape,
    architecture,
)
from initbench.models.perceptron import widths
from initbench.registry import Entry, Registry

PERCEPTRON = "perceptron"


@dataclass(frozen=True, kw_only=True)
class ModelRecord(Entry):
    """A model. A built-in one's function returns its blocks; a user's builds a PyTorch module."""


MODELS: Registry[ModelRecord] = Registry(
    "model", ModelRecord, own_form="a function of your own, as 'my_models.py:build'"
)

# What stands after each hidden layer.
AFTER: Blocks = (Normalization(), Activation(), Dropout())


@MODELS.register()
def perceptron(classes: int = 10, hidden: tuple[int, ...] = ()) -> Blocks:
    """Multilayer perceptron: dense layers of the widths in `hidden`, an activation after each but the last."""
    layers: list[Block] = [Flatten()]
    for width in hidden:
        layers += [Dense(width), *AFTER]
    return (*layers, Dense(classes))


@MODELS.register()
def lenet5(classes: int = 10, *, pooling: Literal["average", "max"] = "average") -> Blocks:
    """LeNet-5: convolutions of 6 and 16 filters 5 × 5, each followed by pooling, then dense layers of 120 and 84.

    The first convolution has a border of two zeros, so that an image of 28 × 28 gives the paper's maps. As in today's
    implementations, every filter sees all channels, pooling has no parameters, and the activation stands before it.
    `pooling` is the mean, as in the paper, or the maximum.

    Source: LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition",
    section II.B.
    """
    return (
        *(Convolution(6, 5, padding=2), *AFTER, Pooling(pooling, 2)),
        *(Convolution(16, 5), *AFTER, Pooling(pooling, 2)),
        *(Flatten(), Dense(120), *AFTER, Dense(84), *AFTER, Dense(classes)),
    )


@MODELS.register()
def convnet(classes: int = 10, *, pooling: Literal["none", "global"] = "none") -> Blocks:
    """Small convolutional network: 3 × 3 convolutions of 16 and 32 filters, stride 2, and one dense layer.

    With `pooling = "global"` the dense layer sees the mean of each channel over the image, not every pixel.
    """
    pooled = Pooling("average", 0) if pooling == "global" else Flatten()
    return (
        *(Convolution(16, 3, stride=2, padding=1), *AFTER, Convolution(32, 3, stride=2, padding=1), *AFTER),
        *(pooled, *([Flatten()] if pooling == "global" else []), Dense(classes)),
    )


@MODELS.register()
def residual_perceptron(classes: int = 10, *, blocks: int = 4, width: int = 128) -> Blocks:
    """Residual perceptron: a dense layer, then blocks x + W₂ φ(W₁ x), then the activation and the last dense layer.

    `blocks` from 1 to 1000 (default 4), all of one `width` from 1 to 65536 (default 128). With `normalization`, it
    stands at the start of each block and before the last activation. `dropout` follows a block's activation.

    Source: He, Zhang, Ren & Sun 2016, "Identity mappings in deep residual networks", with dense layers, as in
    Gorishniy, Rubachev, Khrulkov & Babenko 2021, "Revisiting deep learning models for tabular data", section 3.2.
    """
    require(1 <= blocks <= 1000, "blocks", blocks, "from 1 to 1000")
    require(1 <= width <= 65536, "width", width, "from 1 to 65536")
    branch = Residual((Normalization(), Dense(width), Activation(), Dropout(), Dense(width)))
    return (Flatten(), Dense(width), *[branch] * blocks, Normalization(), Activation(), Dense(classes))


@MODELS.register()
def allconv(classes: int = 10, *, width: int = 32) -> Blocks:
    """All convolutional net: nine convolutions, two of stride 2 in place of pooling, then the mean over the image.

    Seven are 3 × 3, of `width` filters (three) and twice as many (four), and two 1 × 1; the last has one for each
    class. Zeros stand around the image, except before the seventh. This is the paper's All-CNN-C, whose width is 96
    (from 1 to 1024; default 32, a ninth of the work), but the last convolution has no activation, as its outputs are
    the classes' logits, and dropout stands after every activation.

    Source: Springenberg, Dosovitskiy, Brox & Riedmiller 2015, "Striving for simplicity: the all convolutional net",
    tables 1 and 2.
    """
    require(1 <= width <= 1024, "width", width, "from 1 to 1024")
    layers: list[Block] = []
    for channels, size, stride, padding in [
        *((width, 3, 1, 1), (width, 3, 1, 1), (width, 3, 2, 1)),
        *((2 * width, 3, 1, 1), (2 * width, 3, 1, 1), (2 * width, 3, 2, 1)),
        *((2 * width, 3, 1, 0), (2 * width, 1, 1, 0)),
    ]:
        layers += [Convolution(channels, size, stride, padding), *AFTER]
    return (*layers, Convolution(classes, 1), Pooling("average", 0), Flatten())


def blocks_of(model: str, hidden: str, classes: int) -> Blocks:
    """Return the blocks of a built-in model, from its canonical string and the widths of hidden layers."""
    record, parameters = MODELS.lookup(model)
    if record.name == PERCEPTRON:
        parameters = {"hidden": widths(hidden)}
    blocks: Blocks = record.function(classes, **parameters)
    return blocks


@cache  # called for every stack, and a grid has few networks
def architecture_of(model: str, hidden: str, normalization: str, shape: Shape, classes: int) -> Architecture:
    """Return the architecture of a built-in model for images of a shape; ValueError where they are too small.

    >>> network = architecture_of("lenet5", "", "none", (28, 28, 1), 10)
    >>> network.shapes, network.parameter_count
    (((5, 5, 1, 6), (5, 5, 6, 16), (400, 120), (120, 84), (84, 10)), 61706)
    """
    plain = model == PERCEPTRON and normalization == "none"
    return architecture(blocks_of(model, hidden, classes), shape, normalization, plain)
