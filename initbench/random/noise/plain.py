"""The noise in NumPy alone: the reference of `compiled.py`, bit for bit, and its substitute until that is loaded."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from initbench.random.noise.formulas import (
    BLOCKS,
    ONE,
    TILE,
    centred,
    exponent,
    mantissa,
    normal_quantile,
    philox,
    spread,
)
from initbench.random.streams import Key

Words = NDArray[np.uint32]
Floats = NDArray[np.float32]

CHUNK = 32 * TILE  # computed at a time, so that it stays in the cache


def words(tile: int, key: Key, out: Words) -> None:
    """Fill `out` with the words of a stream, from a tile on."""
    k0, k1, c2, c3 = (np.uint64(word) for word in key)
    tiles = -(-out.size // TILE)
    blocks = np.uint64(tile * BLOCKS) + np.arange(tiles * BLOCKS, dtype=np.uint64)
    word_array = np.stack([np.broadcast_to(word, blocks.shape) for word in philox(blocks, c2, c3, k0, k1)])
    out[:] = word_array.reshape(4, tiles, BLOCKS).transpose(1, 0, 2).ravel()[: out.size]


def uniform(tile: int, key: Key, middle: float, half: float, low: float, high: float, out: Floats) -> None:
    """Fill `out` with middle + half · v, v uniform in [−1, 1], clipped to [low, high]."""
    m, h, least, most = (np.float32(x) for x in (middle, half, low, high))
    for part, signed in _chunks(tile, key, out):
        part[:] = np.minimum(np.maximum(m + h * centred(signed), least), most)


def normal(tile: int, key: Key, mean: float, std: float, out: Floats) -> None:
    """Fill `out` with mean + std · z, z normal."""
    m, s = np.float32(mean), np.float32(std)
    for part, signed in _chunks(tile, key, out):
        part[:] = m + s * _quantile(centred(signed), spread(signed))


def truncated_normal(
    tile: int,
    key: Key,
    mean: float,
    std: float,
    middle: float,
    half: float,
    lower: float,
    upper: float,
    out: Floats,
) -> None:
    """Fill `out` with mean + std · z, where 2 Φ(z) − 1 is middle + half · v, and z is clipped to [lower, upper]."""
    m, s, centre, h, least, most = (np.float32(x) for x in (mean, std, middle, half, lower, upper))
    for part, signed in _chunks(tile, key, out):
        v = centre + h * centred(signed)
        part[:] = m + s * np.minimum(np.maximum(_quantile(v, (ONE - v) * (ONE + v)), least), most)


def _chunks(tile: int, key: Key, out: Floats) -> Iterator[tuple[Floats, NDArray[np.int32]]]:
    """Yield the parts of `out`, each with its words, signed."""
    for start in range(0, out.size, CHUNK):
        part = out[start : start + CHUNK]
        word_array = np.empty(part.size, np.uint32)
        words(tile + start // TILE, key, word_array)
        yield part, word_array.view(np.int32)


def _quantile(v: Floats, y: Floats) -> Floats:
    bits = y.view(np.int32)
    e = exponent(bits)
    return np.asarray(normal_quantile(v, mantissa(bits, e).view(np.float32), e))
