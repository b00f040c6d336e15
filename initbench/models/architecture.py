"""What a network is: its layers, in the order of execution, and what a pass through them costs.

A built-in model is a sequence of blocks. From it follow the shapes of its weights and its cost, without PyTorch, here;
its PyTorch module (`initbench.models.modules`); and its lines in a script. Of a user's module the architecture is what
a pass of zeros shows (`initbench.models.weights`).

Weights have initbench's layout: `[fan_in, fan_out]` of a dense layer, `[height, width, channels_in, channels_out]` of a
convolution, and of one with groups the shape of a group.
"""

import math
from typing import Literal, NamedTuple

from initbench.functions.optimizers import OPTIMIZERS

# How many images an evaluation takes at a time: four batches of 128, which stay in the cache.
EVALUATION_BATCH = 512

Shape = tuple[int, int, int]  # height, width and channels of an image, or of what a layer returns


class Layer(NamedTuple):
    """A layer whose weights the initializer fills."""

    shape: tuple[int, ...]  # of the weights of a group
    groups: int = 1
    positions: int = 1  # the products with the weights for an image: those of a convolution's output
    has_bias: bool = True

    @property
    def weight_count(self) -> int:
        """The number of weights."""
        return self.groups * math.prod(self.shape)

    @property
    def bias_count(self) -> int:
        """The number of biases."""
        return self.groups * self.shape[-1] * self.has_bias


class Architecture(NamedTuple):
    """A network: the layers that the initializer fills, in the order of execution, and all else in numbers."""

    layers: tuple[Layer, ...]
    units: int  # the values that all layers, poolings and normalizations return for an image
    other_parameters: int = 0  # those that keep the module's own start: of normalization, attention, recurrent cells
    is_perceptron: bool = True  # dense layers with an activation between them, and nothing else

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each layer's weights."""
        return tuple(layer.shape for layer in self.layers)

    @property
    def weight_count(self) -> int:
        """The number of weights, without biases, which are few."""
        return sum(layer.weight_count for layer in self.layers)

    @property
    def parameter_count(self) -> int:
        """The number of all parameters: weights, biases, and those that keep the module's own start."""
        return self.weight_count + sum(layer.bias_count for layer in self.layers) + self.other_parameters


# ---------------------------------------------------------------------------------------------------------------------
# The blocks of built-in models. The last dense layer or convolution gives an output for each class.


class Convolution(NamedTuple):
    """A convolution of square filters; zeros stand around the image."""

    channels: int
    size: int
    stride: int = 1
    padding: int = 0


class Dense(NamedTuple):
    """A dense layer."""

    width: int


class Pooling(NamedTuple):
    """The mean or the largest of squares of pixels that do not overlap; size 0: of the whole image."""

    kind: Literal["average", "max"]
    size: int


class Flatten(NamedTuple):
    """Pixels and channels in one row: channel by channel, as PyTorch."""


class Activation(NamedTuple):
    """The setting `activation`."""


class Normalization(NamedTuple):
    """The setting `normalization`."""


class Dropout(NamedTuple):
    """The setting `dropout`."""


class Residual(NamedTuple):
    """x + f(x), f a sequence of blocks that keeps the shape."""

    blocks: "tuple[Block, ...]"


Block = Convolution | Dense | Pooling | Flatten | Activation | Normalization | Dropout | Residual
Blocks = tuple[Block, ...]


def architecture(
    blocks: Blocks, shape: Shape, normalization: str = "none", is_perceptron: bool = False
) -> Architecture:
    """Return the architecture of a sequence of blocks, for images of a shape; ValueError where they are too small."""
    layers: list[Layer] = []
    try:
        units, other, _ = _walk(blocks, shape, normalization, layers)
    except _TooSmall:
        if shape[:2] == (1, 1):
            raise ValueError("features have no height and width; allowed: models of dense layers alone") from None
        side = min(shape[:2])
        while not _fits(blocks, (side, side, shape[2])):
            side += 1
        raise ValueError(f"the images are too small; allowed: at least {side} × {side}") from None
    return Architecture(tuple(layers), units, other, is_perceptron)


class _TooSmall(Exception):  # noqa: N818
    """A block would return images without a pixel."""


def _fits(blocks: Blocks, shape: Shape) -> bool:
    try:
        _walk(blocks, shape, "none", [])
    except _TooSmall:
        return False
    return True


def _walk(blocks: Blocks, shape: Shape, normalization: str, layers: list[Layer]) -> tuple[int, int, Shape]:
    """Append the layers of the blocks; returns their units, their other parameters, and the shape that they return."""
    units = other = 0
    for block in built(blocks, normalization):
        after = output_shape(block, shape)
        if min(after) < 1:
            raise _TooSmall
        if isinstance(block, Residual):
            inner_units, inner_other, _ = _walk(block.blocks, shape, normalization, layers)
            units, other = units + inner_units, other + inner_other
        elif isinstance(block, Convolution):
            layers.append(Layer((block.size, block.size, shape[2], block.channels), 1, after[0] * after[1]))
        elif isinstance(block, Dense):
            layers.append(Layer((math.prod(shape), block.width)))
        elif isinstance(block, Normalization):
            other += 2 * shape[2]
        if isinstance(block, Convolution | Dense | Pooling | Normalization):
            units += math.prod(after)
        shape = after
    return units, other, shape


def output_shape(block: Block, shape: Shape) -> Shape:
    """Return the shape that a block returns for a shape; a size below 1 means that it is too small.

    >>> output_shape(Convolution(6, 5, padding=2), (28, 28, 1)), output_shape(Pooling("max", 2), (7, 7, 16))
    ((28, 28, 6), (3, 3, 16))
    """
    height, width, channels = shape
    if isinstance(block, Convolution):
        height, width = ((n + 2 * block.padding - block.size) // block.stride + 1 for n in (height, width))
        return height, width, block.channels
    if isinstance(block, Pooling):
        height, width = (n // block.size if block.size else 1 for n in (height, width))
        return height, width, channels
    if isinstance(block, Dense):
        return 1, 1, block.width
    return (1, 1, math.prod(shape)) if isinstance(block, Flatten) else shape


def built(blocks: Blocks, normalization: str, dropout: float = 1.0) -> Blocks:
    """Return the blocks that are built with these settings: without normalization and dropout where they are off."""
    return tuple(
        block
        for block in blocks
        if not (isinstance(block, Normalization) and normalization == "none")
        and not (isinstance(block, Dropout) and not dropout)
    )


# ---------------------------------------------------------------------------------------------------------------------
# Cost


def step_flops(network: Architecture, batch_size: int) -> float:
    """Return the floating-point operations of one optimizer step.

    Each layer multiplies three times, forward and for two gradients; the first needs no gradient of its input.
    """
    products = [layer.weight_count * layer.positions for layer in network.layers]
    return 2.0 * batch_size * (3 * sum(products) - products[0])


def evaluation_flops(network: Architecture, images: int) -> float:
    """Return the floating-point operations of one evaluation of these images."""
    return 2.0 * images * sum(layer.weight_count * layer.positions for layer in network.layers)


def training_bytes(network: Architecture, optimizer: str, batch_size: int) -> float:
    """Return the bytes of memory that training takes: the optimizer's arrays, and the values of all units for a batch.

    `optimizer` is its canonical string. Of each unit there are three values: pre-activation, activation, gradient.
    """
    arrays = OPTIMIZERS.lookup(optimizer)[0].n_arrays
    parameters = network.weight_count + network.other_parameters
    units = sum(shape[-1] for shape in network.shapes) if network.is_perceptron else network.units
    return 4.0 * (arrays * parameters + 3 * max(batch_size, EVALUATION_BATCH) * units)
