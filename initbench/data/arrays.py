"""A data set in memory, and the statistics that standardize it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.errors import UserError

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Shape = tuple[int, int, int]

# The validation split is the first twelfth of the training images: 5,000 of MNIST's 60,000.
VALIDATION_DIVISOR = 12

# What bytes are divided by when they are read.
WHITE = 255.0

# Images that are converted at a time, whose squares of bytes are summed in 32 bits, and that are counted in a byte.
CHUNK, SUMMED, COUNTED = 4096, 512, 255


@dataclass(frozen=True)
class Arrays:
    """A data set in memory.

    Parameters
    ----------
    train_images, test_images
        `[n, height × width × channels]`, the channels of a pixel side by side: bytes, which are divided by 255 when
        they are read, or float32, which are taken as they are.
    train_labels, test_labels
        `[n]`: the classes, as bytes from 0.
    shape
        Height, width and channels of an image. `[n, features]` has shape `(1, 1, features)`.
    own_validation_size
        How many training images, from the first, are a validation split of the data set's own; 0 if it has none.
    """

    train_images: Bytes | Floats
    train_labels: Bytes
    test_images: Bytes | Floats
    test_labels: Bytes
    shape: Shape
    own_validation_size: int = 0

    @property
    def validation_size(self) -> int:
        """The number of training images, from the first, that are the validation split."""
        return self.own_validation_size or len(self.train_images) // VALIDATION_DIVISOR

    @property
    def is_float(self) -> bool:
        """Whether images are float32, not bytes."""
        return self.train_images.dtype != np.uint8

    @cached_property
    def classes(self) -> int:
        """The number of classes: the largest label plus one."""
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1

    @cached_property
    def active_pixels(self) -> NDArray[np.int64]:
        """The pixels that are nonzero in some image; first-layer weights of the other pixels have no effect."""
        used = self.train_images.any(axis=0) | self.test_images.any(axis=0)
        return np.flatnonzero(used)

    @cached_property
    def lit_counts(self) -> NDArray[np.int64]:
        """Of each pixel, in how many images of the training split it is nonzero, without the validation split."""
        images, counts = self.train_images[self.validation_size :], np.zeros(self.train_images.shape[1], np.int64)
        # NumPy's `count_nonzero` takes five times as long: it writes a copy of all images.
        for start in range(0, len(images), COUNTED):
            counts += (images[start : start + COUNTED] != 0).view(np.uint8).sum(axis=0, dtype=np.uint8)
        return counts

    @cached_property
    def majority_class_share(self) -> float:
        """The majority-class accuracy on the test split: what always predicting its largest class reaches."""
        return float(np.bincount(self.test_labels).max() / len(self.test_labels))

    @cached_property
    def majority_class_validation_share(self) -> float:
        """The majority-class accuracy on the validation split."""
        return float(np.bincount(self.train_labels[: self.validation_size]).max() / self.validation_size)

    @cached_property
    def unseen_test_share(self) -> float:
        """The share of test images whose class has no validation image."""
        return float(np.isin(self.test_labels, self.train_labels[: self.validation_size], invert=True).mean())


def require_images(folder: Path, train: int, test: int) -> None:
    """Raise UserError unless a folder has enough images that each split has one."""
    if train < VALIDATION_DIVISOR or not test:
        raise UserError(
            f"{folder}: {train} training and {test} test images; allowed: at least {VALIDATION_DIVISOR} and 1"
        )


def standardization(arrays: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the standard deviation of each channel over the training split, `[channels]` each.

    They are those of the values that networks read (of bytes, on the scale from 0 to 1), without the validation split:
    x̄ = Σx / n and s = √(Σ(x − x̄)² / n), over all images and pixels of a channel. A channel of which all values are
    equal has s = 1: it is only centred. Of features, each is a channel.

    The sums of bytes are exact, and those of floats are added in a fixed order in float64.
    """
    images, channels = arrays.train_images[arrays.validation_size :], arrays.shape[2]
    chunks = [images[i : i + SUMMED] for i in range(0, len(images), SUMMED)]
    n = images.size // channels

    def by_channel(values: NDArray[Any]) -> NDArray[Any]:
        sums: NDArray[Any] = values.reshape(-1, channels).sum(axis=0)
        return sums

    # Sums over the images first, pixel by pixel: seven times as fast as over all pixels of a channel.
    if not arrays.is_float:
        of_bytes, squares = np.zeros((2, images.shape[1]), dtype=np.int64)
        for chunk in chunks:
            integers = chunk.astype(np.uint32)
            of_bytes += integers.sum(axis=0, dtype=np.uint32)
            squares += np.square(integers, out=integers).sum(axis=0, dtype=np.uint32)
        exact = list(
            zip(by_channel(of_bytes).tolist(), by_channel(squares).tolist(), strict=True)
        )  # n · Σx²: over 64 bits
        means = np.array([s / n for s, _ in exact]) / WHITE
        variances = np.array([(n * q - s * s) / n**2 for s, q in exact]) / WHITE**2
    else:
        pixels = images.shape[1] // channels
        means = by_channel(sum(chunk.sum(axis=0, dtype=np.float64) for chunk in chunks)) / n
        of_pixels = np.tile(means, pixels)
        variances = by_channel(sum(np.square(chunk - of_pixels).sum(axis=0) for chunk in chunks)) / n
        largest, least = (f(images, axis=0).reshape(-1, channels) for f in (np.max, np.min))
        variances[largest.max(axis=0) == least.min(axis=0)] = 0
    deviations = np.sqrt(variances)  # one that float32 has no normal number for would be flushed to zero
    return means, np.where(deviations >= np.finfo(np.float32).tiny, deviations, 1.0)
