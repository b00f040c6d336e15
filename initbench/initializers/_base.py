"""What every scheme stands on: the catalogue, the shapes, the fans, and the noise."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from initbench.catalogue import Catalogue
from initbench.streams import Seed, uniforms

Array = NDArray[Any]
Shape = tuple[int, ...]

INITIALIZERS: Catalogue[Callable[..., Array]] = Catalogue("initializer")

weight_scheme = INITIALIZERS.entry()
weight_and_bias_scheme = INITIALIZERS.entry("bias")


def checked(shape: Shape, least: int = 1) -> Shape:
    """The shape as a tuple of whole numbers from 1 up, at least `least` of them."""
    sizes = tuple(int(n) for n in shape)
    if len(sizes) < least or min(sizes, default=0) < 1:
        need = "one dimension" if least == 1 else f"{least} dimensions (fan_in, fan_out)"
        raise ValueError(f"shape = {sizes}; allowed: at least {need}, each from 1 up")
    return sizes


def fans(shape: Shape) -> tuple[int, int]:
    """`(fan_in, fan_out)` of a weight array: the last two dimensions, times the receptive field before them.

    >>> fans((784, 256)), fans((3, 3, 16, 32))
    ((784, 256), (144, 288))
    """
    *field, channels_in, channels_out = checked(shape, 2)
    receptive = int(np.prod(field))
    return channels_in * receptive, channels_out * receptive


def standard_uniform(shape: Shape, seed: Seed, least: int = 1) -> NDArray[np.float64]:
    """The noise of every scheme: uniform inside (0, 1)."""
    return uniforms(checked(shape, least), seed)


def standard_normal(shape: Shape, seed: Seed, least: int = 1) -> NDArray[np.float64]:
    """The same noise through the inverse of the normal distribution function."""
    from scipy.special import ndtri

    return np.asarray(ndtri(standard_uniform(shape, seed, least)))


def standard_truncated_normal(shape: Shape, seed: Seed, lower: float, upper: float) -> NDArray[np.float64]:
    """The same noise through the inverse distribution function of a unit normal held between two bounds.

    This has exactly the distribution of drawing again whatever falls outside (rejection), in one pass.
    """
    from scipy.special import ndtr, ndtri

    below, above = ndtr(lower), ndtr(upper)
    drawn = ndtri(below + (above - below) * standard_uniform(shape, seed))
    return np.asarray(np.clip(drawn, lower, upper))


def rounded(values: Array, dtype: DTypeLike) -> Array:
    """The finished array, rounded once to the asked dtype."""
    return values.astype(dtype)
