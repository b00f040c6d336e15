"""The multilayer perceptron: dense layers with an activation between them."""

from functools import cache
from itertools import pairwise


def widths(hidden: str) -> tuple[int, ...]:
    """The widths of the hidden layers, from the text that stands for them in a cell.

    >>> widths("128-64"), widths("")
    ((128, 64), ())
    """
    return tuple(int(n) for n in hidden.split("-") if n)


@cache  # called for every stack, and a grid has few shapes
def layers(hidden: str, pixels: int, classes: int) -> tuple[tuple[int, int], ...]:
    """`(fan_in, fan_out)` of each layer, from the pixels to the classes.

    >>> layers("128-64", 784, 10)
    ((784, 128), (128, 64), (64, 10))
    """
    return tuple(pairwise((pixels, *widths(hidden), classes)))
