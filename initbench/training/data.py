"""A data set as the trainer reads it: the pixels that are ever nonzero, most frequent first, and the splits in blocks.

Four fifths of MNIST's pixels are zero, and a product with zeros is wasted. So the pixels are ordered by how often they
are nonzero. A batch multiplies by all common pixels, which are nonzero in nearly every batch, and by those of the rare
ones that are nonzero in it (of MNIST's 784, about 530 for a batch of 128). Images that are evaluated, whose order is
free, are sorted so that few pixels are nonzero in a block of them. A pixel is called lit if it is nonzero in any image.

Images that are standardized, and those of floats, are dense: all their pixels are lit and common.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initbench.data.arrays import WHITE, Arrays, Bytes, Floats, standardization
from initbench.models.architecture import EVALUATION_BATCH

# How many training batches are gathered at a time.
AHEAD = 8

# A pixel is common if it is nonzero in a batch with this probability. A rarer one is cheaper to move than to multiply
# by: it costs a tenth of its column of the product (measured); any value from 0.8 to 0.95 takes the same time.
COMMON = 0.85


class Reading(NamedTuple):
    """What networks read of an image x: (x / white − mean) / deviation; the last two are `[pixels]`."""

    white: float  # of bytes 255, of floats 1
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def __call__(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """Return what networks read of images, `[images, pixels]`."""
        return np.asarray((images / self.white - self.mean) / self.deviation)


def reading(arrays: Arrays, standardize: bool) -> Reading:
    """Return how networks read the images of a data set."""
    pixels, channels = arrays.train_images.shape[1], arrays.shape[2]
    mean, deviation = standardization(arrays) if standardize else (np.zeros(channels), np.ones(channels))
    repeats = pixels // channels  # the channels of a pixel are side by side
    return Reading(1.0 if arrays.is_float else WHITE, np.tile(mean, repeats), np.tile(deviation, repeats))


@dataclass(frozen=True)
class Batch:
    """A batch of training images.

    `common_images` are the values of their common pixels, `[images, common]`; `rare_images` those of the rare pixels
    that are nonzero in the batch, `[images, rare]`; `rare_indices` the indices of these among the rare pixels.
    """

    common_images: Tensor
    rare_images: Tensor
    rare_indices: NDArray[np.int64]
    labels: Tensor


@dataclass(frozen=True)
class Block:
    """Images that are evaluated together: the values and the indices of their nonzero pixels, `[images, pixels]`.

    `lists` keeps what `initbench.training.skipping` lists of them.
    """

    images: Tensor
    pixels: Tensor
    labels: Tensor
    lists: list[Any] = field(default_factory=list)


class Data:
    """A data set on a device: the pixels that are ever lit, `[images, lit]`, as they are stored, and labels."""

    def __init__(self, arrays: Arrays, device: str = "cpu", standardize: bool = False) -> None:
        split = arrays.validation_size
        train = arrays.train_images[split:]
        self.reading = reading(arrays, standardize)
        self.is_dense = standardize or arrays.is_float
        lit = np.arange(train.shape[1]) if self.is_dense else arrays.active_pixels
        share = np.ones(len(lit)) if self.is_dense else arrays.lit_counts[lit] / len(train)
        # Within a group of similar frequency neighbours stay side by side: the same images light them.
        order = np.argsort(-_at_least(share), kind="stable")
        self.device = torch.device(device)
        self.lit = lit[order]  # which pixels of an image, in the trainer's order
        self._share = share[order]
        self.lit_share = float(share.mean()) if len(share) else 0.0  # of these pixels, in an image on average
        self.pixels, self.classes = train.shape[1], arrays.classes
        self.images = self._tensor(np.take(train, self.lit, axis=1))  # six times as fast as an index
        self.labels = self._tensor(arrays.train_labels[split:].astype(np.int64))
        self.validation = self._blocks(arrays.train_images[:split], arrays.train_labels[:split])
        self.test = self._blocks(arrays.test_images, arrays.test_labels)

    def n_common(self, batch_size: int) -> int:
        """Return the number of common pixels: nonzero in a batch of this size with probability `COMMON` or more."""
        return int(((1 - _at_least(self._share)) ** batch_size <= 1 - COMMON).sum())

    def batches(self, order: Tensor, n_common: int) -> Iterator[Batch]:
        """Yield the batches of `order`, image indices `[batches, images]`; the first `n_common` pixels are common.

        Several are gathered at a time: a small operation costs mostly cache misses of its code and data.
        """
        size = order.shape[1]
        gathered = torch.empty(
            min(AHEAD, len(order)) * size, len(self.lit), dtype=self.images.dtype, device=self.device
        )
        for some in torch.split(order, AHEAD):
            images = torch.index_select(self.images, 0, some.flatten(), out=gathered[: some.numel()])
            labels = self.labels[some.flatten()]
            whole = torch.split(images[:, :n_common], size)
            rare = images[:, n_common:]
            if rare.shape[1]:
                parts = rare.view(len(some), size, -1).numpy()
                lit = [np.flatnonzero(row) for row in np.bitwise_or.reduce(parts, axis=1)]
                rares = [torch.from_numpy(part[:, pixels]) for part, pixels in zip(parts, lit, strict=True)]
            else:
                lit, rares = [np.empty(0, dtype=np.int64)] * len(some), list(torch.split(rare, size))
            yield from map(Batch, whole, rares, lit, torch.split(labels, size))

    def batch(self, rows: Tensor) -> Batch:
        """Return one batch of these images, with all pixels common: the same operations for all images."""
        images = self.images.index_select(0, rows)
        return Batch(images, images[:, :0], np.empty(0, dtype=np.int64), self.labels.index_select(0, rows))

    def read(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return some of the training images as networks read them, `[rows, pixels]`, and their labels."""
        images = np.zeros((len(rows), self.pixels))
        indices = torch.from_numpy(rows).to(self.device)
        images[:, self.lit] = self.images.index_select(0, indices).cpu().numpy()
        return self.reading(images), self.labels.index_select(0, indices).cpu().numpy()

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _blocks(self, images: Bytes | Floats, labels: Bytes) -> list[Block]:
        # Images of one class that light few rare pixels go together, then those that light more: a block of MNIST's
        # test split lights 470 pixels on average, unsorted 570.
        lit: NDArray[Any] = np.take(images, self.lit, axis=1)
        used = np.broadcast_to(np.True_, lit.shape) if self.is_dense else lit > 0
        unusual = np.zeros(len(lit)) if self.is_dense else _sums(used, (1 - self._share) ** 8)
        order = np.lexsort((unusual, labels))
        blocks = []
        for start in range(0, len(images), EVALUATION_BATCH):
            rows = order[start : start + EVALUATION_BATCH]
            pixels = np.flatnonzero(used[rows].any(axis=0))
            blocks.append(
                Block(
                    self._tensor(np.take(lit[rows], pixels, axis=1)),
                    self._tensor(pixels),
                    self._tensor(labels[rows].astype(np.int64)),
                )
            )
        return blocks


def _sums(chosen: NDArray[np.bool_], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each row of `chosen`, `[rows, n]`, the sum of the `values` that it chooses, `[n]`.

    That is `chosen @ values`, for which NumPy writes `chosen` as numbers of eight bytes. Here a sum of eight values is
    looked up by the bits of a byte.
    """
    octets = np.packbits(chosen, axis=1)
    of_octets = np.zeros(8 * octets.shape[1])
    of_octets[: len(values)] = values
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    table = np.einsum("ij,kj->ik", of_octets.reshape(-1, 8), bits)
    sums = np.zeros(len(chosen))
    for i, sums_by_octet in enumerate(table):
        sums += sums_by_octet[octets[:, i]]
    return sums


def _at_least(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest power of 1/4 that is at most this share, and 0 for 0."""
    exponents = np.floor(np.log(np.maximum(share, 1e-9)) / np.log(4))
    return np.asarray(np.where(share > 0, 4.0**exponents, 0.0))
