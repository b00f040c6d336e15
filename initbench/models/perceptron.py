"""The multilayer perceptron as stacks train it: `(fan_in, fan_out)` of each dense layer."""

from functools import cache
from itertools import pairwise


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
