"""Augmentation: the changed images that a network trains on, by the setting `augment`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.data.arrays import Shape

# `crop` surrounds an image by this many pixels of zeros, and cuts one of the original size out at random.
PADDING = 4
OFFSETS = 2 * PADDING + 1


def misfit(augment: str, shape: Shape) -> str:
    """Return why images of a shape cannot be augmented, or an empty string.

    >>> misfit("flip", (28, 28, 1)), misfit("crop", (1, 1, 30))
    ('', 'its images have no height and width, only features')
    """
    height, width, _ = shape
    if augment != "none" and height == width == 1:
        return "its images have no height and width, only features"
    if "crop" in augment and min(height, width) <= PADDING:
        return f"its images of {height} × {width} pixels are too small: a crop could be all padding"
    if "flip" in augment and width == 1:
        return "its images are one pixel wide: mirrored they are the same"
    return ""


def augmented(images: NDArray[Any], shape: Shape, augment: str, words: NDArray[np.uint64]) -> NDArray[Any]:
    """Return augmented images; torchvision's `RandomCrop(size, padding=4)` and `RandomHorizontalFlip()`, in this order.

    Parameters
    ----------
    images
        `[n, height × width × channels]`, as they are stored: the padding is zeros before anything is standardized.
    shape
        Height, width and channels.
    augment
        `none`, `crop`, `flip` or `crop_flip`.
    words
        64 random bits for each image, `[n]`. The lowest 21 give the row at which the crop begins, the next 21 the
        column, each from 0 to 8 and 4 in the middle; the highest says whether the image is mirrored.
    """
    (height, width, channels), n = shape, len(images)
    if "crop" in augment:
        rows, columns = (((words >> np.uint64(bit) & 0x1FFFFF) * OFFSETS >> 21).astype(np.int64) for bit in (0, 21))
        padded = np.zeros((n, height + 2 * PADDING, width + 2 * PADDING, channels), images.dtype)
        padded[:, PADDING:-PADDING, PADDING:-PADDING] = images.reshape(n, *shape)
        # Every crop of every image, as a view without a copy: [n, 9, first number of a row, height, numbers of a row].
        lines = padded.reshape(n, len(padded[0]), -1)
        crops = np.lib.stride_tricks.sliding_window_view(lines, (height, width * channels), axis=(1, 2))
        images = crops[np.arange(n), rows, columns * channels]
    if "flip" in augment:
        mirrored = (words >> np.uint64(63)).astype(bool)[:, None, None, None]
        images = images.reshape(n, *shape)
        images = np.where(mirrored, images[:, :, ::-1], images)
    return images.reshape(n, -1)
