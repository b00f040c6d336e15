"""A data set in memory, and the statistics that standardize it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Shape = tuple[int, int, int]

# The validation split is the first twelfth of the training images: 5,000 of MNIST's 60,000.
VALIDATION_DIVISOR = 12

# What bytes are divided by when they are read.
WHITE = 255.0

# Images whose statistics are summed at a time.
CHUNK = 4096


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


def standardization(arrays: Arrays) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the standard deviation of each channel over the training split, `[channels]` each.

    They are those of the values that networks read (of bytes, on the scale from 0 to 1), without the validation split:
    x̄ = Σx / n and s = √(Σ(x − x̄)² / n), over all images and pixels of a channel. A channel of which all values are
    equal has s = 1: it is only centred. Of features, each is a channel.

    The sums of bytes are exact, and those of floats are added in a fixed order in float64.
    """
    images, channels = arrays.train_images[arrays.validation_size :], arrays.shape[2]
    chunks = [images[i : i + CHUNK].reshape(-1, channels) for i in range(0, len(images), CHUNK)]
    n = images.size // channels
    if not arrays.is_float:
        sums, squares = np.zeros((2, channels), dtype=np.int64)
        for chunk in chunks:
            integers = chunk.astype(np.int64)
            sums += integers.sum(axis=0)
            squares += (integers * integers).sum(axis=0)
        exact = list(zip(sums.tolist(), squares.tolist(), strict=True))  # n · Σx² is beyond 64 bits
        means = np.array([s / n for s, _ in exact]) / WHITE
        variances = np.array([(n * q - s * s) / n**2 for s, q in exact]) / WHITE**2
    else:
        means = sum(chunk.sum(axis=0, dtype=np.float64) for chunk in chunks) / n
        variances = sum(((chunk - means) ** 2).sum(axis=0) for chunk in chunks) / n
        variances[images.reshape(-1, channels).max(axis=0) == images.reshape(-1, channels).min(axis=0)] = 0
    return means, np.where(variances > 0, np.sqrt(variances), 1.0)
