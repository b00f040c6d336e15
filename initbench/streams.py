"""The random streams: which bits belong to which layer, bias and epoch of a seed.

Every stream is `numpy.random.SeedSequence(seed, spawn_key=(stream, place))`, so that all cells of one seed see the
same order of the data and draw the same underlying noise (common random numbers: differences between initializers are
paired). All that is drawn here is made from the generator's raw bits, which NumPy promises to keep; its `normal` and
`permutation` may change from one release to the next.
"""

import numpy as np
from numpy.random import PCG64, SeedSequence
from numpy.typing import NDArray

WEIGHTS, BIASES, ORDER, DRAWS = 0, 1, 2, 3

Seed = int | SeedSequence | None


def weights(seed: int, layer: int) -> SeedSequence:
    """The stream of one layer's weights; layers count from 0."""
    return SeedSequence(seed, spawn_key=(WEIGHTS, layer))


def biases(seed: int, layer: int) -> SeedSequence:
    """The stream of one layer's biases; layers count from 0."""
    return SeedSequence(seed, spawn_key=(BIASES, layer))


def draws(seed: int, place: int) -> SeedSequence:
    """What a scheme draws beside its weights: invented images, say; places count from 0."""
    return SeedSequence(seed, spawn_key=(DRAWS, place))


def order(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """The order of the `size` training images in one epoch (from 1): a uniform permutation.

    Each image gets 64 raw bits and the images are sorted by them (a tie, one in 10^10 shuffles of MNIST, keeps the
    order of the data set).

    >>> sorted(order(0, 1, 5).tolist())
    [0, 1, 2, 3, 4]
    """
    raw = PCG64(SeedSequence(seed, spawn_key=(ORDER, epoch))).random_raw(size)
    return np.argsort(raw, kind="stable")


def uniforms(shape: tuple[int, ...], seed: Seed) -> NDArray[np.float64]:
    """Uniform numbers inside (0, 1), float64: (k + 1/2) / 2^52 with k the upper 52 of 64 raw bits.

    A whole number `seed` means the stream of the first layer's weights, so that a scheme called by hand gives the
    weights that the first layer of a cell with this seed gets. None takes fresh entropy.
    """
    if seed is None:
        seed = SeedSequence()
    stream = seed if isinstance(seed, SeedSequence) else weights(seed, 0)
    raw = PCG64(stream).random_raw(int(np.prod(shape)))
    return (((raw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52).reshape(shape)
