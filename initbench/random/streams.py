"""The random streams: which bits belong to which layer, bias and epoch of a seed.

Every stream is `numpy.random.SeedSequence(seed, spawn_key=(stream, index))`, so that all cells of one seed see the
same order of the data and draw the same underlying noise (common random numbers: differences between initializers are
paired). Orders are computed from a generator's raw bits, and noise from the key of a stream (initbench/random/noise):
both are what NumPy promises to keep, while its `normal` and `permutation` may change from one release to the next.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.random import PCG64, SeedSequence
from numpy.typing import NDArray

WEIGHTS, BIASES, ORDER, DRAWS, FUNCTIONS, AUGMENTATION = 0, 1, 2, 3, 4, 5

Seed = int | Sequence[int] | SeedSequence | None


def weights(seed: int | Sequence[int], layer: int, group: int | None = None) -> SeedSequence:
    """Return the stream of one layer's weights, or of one group's where a convolution has several; all count from 0."""
    return SeedSequence(seed, spawn_key=(WEIGHTS, layer) if group is None else (WEIGHTS, layer, group))


def biases(seed: int, layer: int) -> SeedSequence:
    """Return the stream of one layer's biases; layers count from 0."""
    return SeedSequence(seed, spawn_key=(BIASES, layer))


def draws(seed: int, index: int) -> SeedSequence:
    """Return the stream of what a scheme draws beside its weights, such as synthetic images; indices count from 0."""
    return SeedSequence(seed, spawn_key=(DRAWS, index))


def of_functions(seed: int, epoch: int) -> int:
    """Return a seed for what functions draw at random in an epoch; 0 for what their modules draw when they are built.

    >>> of_functions(0, 1) == of_functions(0, 1) != of_functions(0, 2)
    True
    """
    return int(SeedSequence(seed, spawn_key=(FUNCTIONS, epoch)).generate_state(1, np.uint64)[0])


def order(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    """Return the order of the `size` training images in one epoch (from 1): a uniform permutation.

    Each image gets 64 raw bits and the images are sorted by them (a tie, one in 10^10 shuffles of MNIST, keeps the
    order of the data set).

    >>> sorted(order(0, 1, 5).tolist())
    [0, 1, 2, 3, 4]
    """
    raw = PCG64(SeedSequence(seed, spawn_key=(ORDER, epoch))).random_raw(size)
    return np.argsort(raw, kind="stable")


def augmentation(seed: int, epoch: int, size: int) -> NDArray[np.uint64]:
    """Return 64 raw bits for each image of an epoch (from 1), `[size]`, in the order in which they are trained on."""
    return PCG64(SeedSequence(seed, spawn_key=(AUGMENTATION, epoch))).random_raw(size)


def batch_rows(seed: int, epoch: int, size: int, batch_size: int) -> NDArray[np.int64]:
    """Return the rows of each batch of an epoch, `[batches, batch_size]`; a last, incomplete batch is dropped.

    >>> batch_rows(0, 1, 5, 2).shape
    (2, 2)
    """
    return order(seed, epoch, size)[: size // batch_size * batch_size].reshape(-1, batch_size)


Key = tuple[int, int, int, int]


def key(seed: Seed) -> Key:
    """Return the key of a stream for the noise: four 32-bit words of its SeedSequence.

    An integer `seed` means the stream of the first layer's weights, so that a scheme that a user calls returns the
    weights of the first layer of a cell with this seed. None takes fresh entropy.
    """
    if isinstance(seed, int | np.integer):
        return _cached_key(int(seed), (WEIGHTS, 0))
    sequence = _sequence(seed)
    if isinstance(sequence.entropy, int) and sequence.pool_size == 4:
        return _cached_key(sequence.entropy, sequence.spawn_key)
    return _key(sequence)


def mask(seed: Seed) -> SeedSequence:
    """Return a second stream of a seed: which weights of a sparse scheme are zero, beside the stream of their values.

    It is the last child that `SeedSequence.spawn` could return, so that no other stream equals it.
    """
    sequence = _sequence(seed)
    spawn_key = (*sequence.spawn_key, 2**32 - 1)
    return SeedSequence(sequence.entropy, spawn_key=spawn_key, pool_size=sequence.pool_size)


def _sequence(seed: Seed) -> SeedSequence:
    """Return the SeedSequence of a seed; numpy's TypeError or ValueError if it is invalid."""
    if seed is None:
        return SeedSequence()
    return seed if isinstance(seed, SeedSequence) else weights(seed, 0)


@lru_cache(maxsize=4096)  # hashing a seed takes as long as 5,000 weights, and all initializers use the same seeds
def _cached_key(entropy: int, spawn_key: tuple[int, ...]) -> Key:
    return _key(SeedSequence(entropy, spawn_key=spawn_key))


def _key(sequence: SeedSequence) -> Key:
    k0, k1, c2, c3 = sequence.generate_state(4, np.uint32).tolist()
    return k0, k1, c2, c3
