"""The noise: the random words of a stream, and independent weights computed from them.

Weight i of an array is a function of the stream and of i alone: a word of Philox 4×32-10, keyed with the stream,
through the inverse of the distribution function. It is word (i mod 512) // 128 of block 128 (i // 512) + i mod 128, so
that a vector of blocks fills a vector of weights. So the order of computation, the chunks and the threads do not
matter, and at one stream all distributions are monotone functions of the same noise.

float32 takes the fast path: `compiled.py` where numba is installed and worth loading, else `plain.py`, with the same
bits. If the compiled path fails, the plain one replaces it, with a warning. `standard_uniform` and `standard_normal`
are the same noise in float64, by SciPy's inverse: other dtypes are rounded from it, and the fast path is tested against
it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.random import streams
from initbench.random.noise import plain
from initbench.random.noise.formulas import TILE
from initbench.system import threads
from initbench.system.compiled import CompiledCode

Shape = tuple[int, ...]

# Loading the compiled path, once it has been compiled, takes half a second, in which NumPy draws this many weights.
WORTH_LOADING = 2**24
# The tiles of a thread at a time: 2¹⁸ weights.
TILES = 2**18 // TILE

_code = CompiledCode(plain, "initbench.random.noise.compiled", WORTH_LOADING, "draws the weights")
load = _code.load


def _filled(shape: Shape, seed: streams.Seed, dtype: type, distribution: str, *arguments: float) -> NDArray[Any]:
    """Return a new array; the path's `distribution(tile, key, *arguments, out)` fills each thread's part of it."""
    key = streams.key(seed)
    arguments = tuple(float(x) + 0.0 for x in arguments)  # the types that numba compiles for; −0 as 0
    array: NDArray[Any] = np.empty(shape, dtype)
    _code.run(array.size, lambda path: _fill(array.reshape(-1), getattr(path, distribution), key, arguments))
    return array


def _fill(flat: NDArray[Any], fill: Callable[..., None], key: streams.Key, arguments: Sequence[float]) -> None:
    if flat.size < threads.WORTH_SHARING:
        fill(0, key, *arguments, flat)
        return

    def part(tile: int) -> None:
        fill(tile, key, *arguments, flat[tile * TILE : (tile + TILES) * TILE])

    with threads.shared(flat.size) as for_each:
        for_each(part, range(0, -(-flat.size // TILE), TILES))


def words(shape: Shape, seed: streams.Seed) -> NDArray[np.uint32]:
    """Return the random words of a stream: 32 bits for each weight."""
    return _filled(shape, seed, np.uint32, "words")


def standard_uniform(shape: Shape, seed: streams.Seed) -> NDArray[np.float64]:
    """Return uniform numbers inside (0, 1), float64: (word + 2³¹ + 1/2) / 2³², the word taken as signed."""
    return words(shape, seed).view(np.int32).astype(np.float64) * 2.0**-32 + (0.5 + 2.0**-33)


def standard_normal(shape: Shape, seed: streams.Seed) -> NDArray[np.float64]:
    """Return normal numbers, float64: `standard_uniform` through the inverse of the distribution function."""
    from scipy.special import ndtri

    return np.asarray(ndtri(standard_uniform(shape, seed)))


def uniform(shape: Shape, low: float, high: float, seed: streams.Seed) -> NDArray[np.float32]:
    """Return uniform numbers from low to high, float32."""
    return _filled(shape, seed, np.float32, "uniform", (low + high) / 2, (high - low) / 2, low, high)


def normal(shape: Shape, mean: float, std: float, seed: streams.Seed) -> NDArray[np.float32]:
    """Return normal numbers, float32; the largest is mean + 6.3 std, with a probability of 1 in 4 · 10⁹."""
    return _filled(shape, seed, np.float32, "normal", mean, std)


def probability_below(z: float) -> float:
    """Return Φ(z) of the normal distribution, without SciPy, which is slow to load."""
    return math.erfc(-z / math.sqrt(2)) / 2


# float32 is precise enough for the probabilities of a normal that is truncated within this many standard deviations.
MAX_BOUND = 2.5


def truncated_normal(
    shape: Shape, mean: float, std: float, lower: float, upper: float, seed: streams.Seed
) -> NDArray[np.float32]:
    """Return mean + std · z, float32, z normal between two bounds on either side of 0, at most `MAX_BOUND` from it."""
    below, above = probability_below(lower), probability_below(upper)
    arguments = (mean, std, below + above - 1, above - below, lower, upper)
    return _filled(shape, seed, np.float32, "truncated_normal", *arguments)
