"""The multilayer perceptron: dense layers with an activation between them, and their cost.

`layers` is the `(fan_in, fan_out)` of each layer. Biases are left out of all counts: they are few and cheap.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

from initbench.functions.optimizers import OPTIMIZERS

Layers = Sequence[tuple[int, int]]

# How many images an evaluation takes at a time: four batches of 128, which stay in the cache.
EVALUATION_BATCH = 512


def widths(hidden: str) -> tuple[int, ...]:
    """Return the widths of the hidden layers from their string in a cell.

    >>> widths("128-64"), widths("")
    ((128, 64), ())
    """
    return tuple(int(n) for n in hidden.split("-") if n)


@cache  # called for every stack, and a grid has few shapes
def layers(hidden: str, pixels: int, classes: int) -> tuple[tuple[int, int], ...]:
    """Return `(fan_in, fan_out)` of each layer, from the pixels to the classes.

    >>> layers("128-64", 784, 10)
    ((784, 128), (128, 64), (64, 10))
    """
    return tuple(pairwise((pixels, *widths(hidden), classes)))


def weight_count(layers: Layers) -> int:
    """Return the number of weights."""
    return sum(fan_in * fan_out for fan_in, fan_out in layers)


def step_flops(layers: Layers, batch_size: int) -> float:
    """Return the floating-point operations of one optimizer step.

    Each layer multiplies three times, forward and for two gradients; the first needs no gradient of its input.
    """
    first = layers[0][0] * layers[0][1]
    return 2.0 * batch_size * (3 * weight_count(layers) - first)


def evaluation_flops(layers: Layers, images: int) -> float:
    """Return the floating-point operations of one evaluation of these images."""
    return 2.0 * images * weight_count(layers)


def training_bytes(layers: Layers, optimizer: str, batch_size: int) -> float:
    """Return the bytes of memory that training takes: the optimizer's arrays, and the values of all units for a batch.

    `optimizer` is its canonical string. Of each unit there are three values: pre-activation, activation, gradient.
    """
    arrays = OPTIMIZERS.lookup(optimizer)[0].n_arrays
    units = sum(fan_out for _, fan_out in layers)
    return 4.0 * (arrays * weight_count(layers) + 3 * max(batch_size, EVALUATION_BATCH) * units)
