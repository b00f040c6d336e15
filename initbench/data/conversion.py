"""What a user's arrays become: images as bytes or float32, height × width × channels, and labels as bytes from 0."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.data.arrays import CHUNK, VALIDATION_DIVISOR, Arrays, Bytes, Floats, Shape
from initbench.errors import UserError, nearest, shown

Array = NDArray[Any]

# The keys of the images and the labels of each split: Keras's names, and MedMNIST's.
SPELLINGS = {
    "x_train, y_train, x_test, y_test": ("x_{}", "y_{}"),
    "train_images, train_labels, test_images, test_labels": ("{}_images", "{}_labels"),
}

MAX_CLASSES = 256
CHANNELS = (1, 3, 4)  # what a size of an image is taken for the number of channels by


def from_mapping(arrays: Mapping[str, Any], origin: str = "") -> Arrays:
    """Return the data set of arrays by their names; UserError if they cannot be one.

    Parameters
    ----------
    arrays
        `x_train`, `y_train`, `x_test` and `y_test`, and with a validation split `x_val` and `y_val`; or MedMNIST's
        names, `train_images`, `train_labels`, … Images are `[n, height, width]`, `[n, height, width, channels]` or
        `[n, features]`, of integers or floats (see `pixels`); labels are `[n]` or `[n, 1]` (see `classes`). Other keys
        are ignored.
    origin
        What the arrays come from, such as a file's path and ": ": messages begin with it.
    """
    names = _names(arrays, origin)
    images: dict[str, Array] = {}
    labels: dict[str, Array] = {}
    for split, (of_images, of_labels) in names.items():
        images[split], labels[split] = _array(arrays, of_images, origin), _array(arrays, of_labels, origin)
        labels[split] = _flat_labels(labels[split], f"{origin}{of_labels}")
        if len(images[split]) != len(labels[split]):
            raise UserError(
                f"{origin}{of_labels} has {len(labels[split]):,} labels, but {of_images} has "
                f"{len(images[split]):,} images; allowed: one label for each image"
            )
        _refuse_sizes(images[split], f"{origin}{of_images}")
        if images[split].shape[1:] != images["train"].shape[1:]:
            raise UserError(
                f"{origin}{of_images} has images of {_sizes(images[split])}, but those of {names['train'][0]} are "
                f"{_sizes(images['train'])}; allowed: one size"
            )
    least = {"train": 1 if "val" in names else VALIDATION_DIVISOR, "val": 1, "test": 1}
    for split, (of_images, _) in names.items():
        if len(images[split]) < least[split]:
            raise UserError(f"{origin}{of_images} has {len(images[split])} images; allowed: at least {least[split]}")
    image_names = {split: f"{origin}{of_images}" for split, (of_images, _) in names.items()}
    label_names = {split: f"{origin}{of_labels}" for split, (_, of_labels) in names.items()}
    shape = shape_of(images["train"])
    rows = pixels(images, image_names)
    by_split = classes(labels, label_names)
    before = ["val"] if "val" in names else []  # the validation split is the first of the training images
    return Arrays(
        np.concatenate([rows[split] for split in (*before, "train")]) if before else rows["train"],
        np.concatenate([by_split[split] for split in (*before, "train")]),
        rows["test"],
        by_split["test"],
        shape=shape,
        own_validation_size=len(rows["val"]) if before else 0,
    )


def _names(arrays: Mapping[str, Any], origin: str) -> dict[str, tuple[str, str]]:
    """Return the names of the images and of the labels of each split that is there, the training split first."""
    for images, labels in SPELLINGS.values():
        names = {split: (images.format(split), labels.format(split)) for split in ("train", "test", "val")}
        if not any(key in arrays for pair in names.values() for key in pair):
            continue
        if not any(key in arrays for key in names["val"]):
            del names["val"]
        if "val" in names and (missing := [key for key in names["val"] if key not in arrays]):
            (present,) = {*names["val"]} - {*missing}
            raise UserError(f"{origin}has {present} but no {missing[0]}; add {missing[0]}, or remove {present}")
        for key in (key for pair in names.values() for key in pair):
            if key not in arrays:
                raise UserError(f"{origin}has no {key}; {_keys(arrays)}")
        return names
    hint = nearest(next(iter(arrays), ""), ["x_train", "y_train", "train_images", "train_labels"])
    raise UserError(f"{origin}{_keys(arrays)}{hint}")


def _keys(arrays: Mapping[str, Any]) -> str:
    spellings = ", or ".join(SPELLINGS)
    return f"given {', '.join(shown(key) for key in list(arrays)[:8]) or 'nothing'}; required: {spellings}"


def _array(arrays: Mapping[str, Any], key: str, origin: str) -> Array:
    """Return one of the arrays, as numbers; UserError if it has none."""
    array = arrays[key]
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or array.ndim == 0:
        kind = f"of dtype {array.dtype}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
        if isinstance(array, np.ndarray) and array.ndim == 0:
            kind = "a single value"
        remedy = "an array of integers or floats"
        if isinstance(array, np.ndarray) and array.dtype.kind in "US" and key.startswith(("y_", "train_l", "test_l")):
            remedy += "; names become numbers by numpy.unique(labels, return_inverse=True)[1]"
        raise UserError(f"{origin}{key} is {kind}; allowed: {remedy}")
    return array


def _refuse_sizes(images: Array, name: str) -> None:
    """Raise UserError for images of other sizes than a data set can have."""
    if images.ndim not in (2, 3, 4):
        raise UserError(
            f"{name} is {_sizes(images, 0)}; allowed: images × height × width, images × height × width × channels, or "
            "images × features"
        )
    if 0 in images.shape[1:]:
        raise UserError(f"{name} has images of {_sizes(images)}, without a pixel")
    if images.ndim == 4 and images.shape[1] in CHANNELS and images.shape[3] > max(CHANNELS):
        raise UserError(
            f"{name} has images of {_sizes(images)}; the channels come last: write images.transpose(0, 2, 3, 1)"
        )


def _sizes(images: Array, first: int = 1) -> str:
    return " × ".join(f"{size:,}" for size in images.shape[first:]) or "one value"


def shape_of(images: Array) -> Shape:
    """Return height, width and channels of `[n, height, width, channels]`, `[n, height, width]` or `[n, features]`.

    >>> shape_of(np.zeros((5, 28, 28))), shape_of(np.zeros((5, 32, 32, 3))), shape_of(np.zeros((5, 20)))
    ((28, 28, 1), (32, 32, 3), (1, 1, 20))
    """
    sizes = images.shape[1:]
    height, width, channels = {1: (1, 1, *sizes), 2: (*sizes, 1), 3: sizes}[len(sizes)]
    return height, width, channels


def pixels(images: Mapping[str, Array], names: Mapping[str, str]) -> dict[str, Bytes] | dict[str, Floats]:
    """Return the images of each split as rows `[n, pixels]`: all bytes, or all float32.

    Integers from 0 to 255, the largest of them above 1, are bytes: they are divided by 255 when they are read. Other
    integers are divided by the largest absolute value of the training images. Floats are taken as they are; UserError
    if one is not finite.
    """
    rows = {split: array.reshape(len(array), -1) for split, array in images.items()}
    whole = all(array.dtype.kind in "biu" for array in rows.values())
    if whole:
        least, most = min(int(a.min()) for a in rows.values()), max(int(a.max()) for a in rows.values())
        if least >= 0 and 1 < most <= 255:
            return {split: array.astype(np.uint8, copy=False) for split, array in rows.items()}
    train = rows["train"]
    scale = float(max(abs(int(train.min())), abs(int(train.max()))) or 1) if whole else 1.0
    floats = {}
    for split, array in rows.items():
        floats[split] = np.empty(array.shape, dtype=np.float32)
        for i in range(0, len(array), CHUNK):
            with np.errstate(over="ignore"):  # what is beyond float32 is not finite, and is refused
                floats[split][i : i + CHUNK] = array[i : i + CHUNK] / scale if whole else array[i : i + CHUNK]
        wrong = np.flatnonzero(~np.isfinite(floats[split]).all(axis=1))
        if len(wrong):
            first = int(wrong[0])
            values = floats[split][first]
            raise UserError(
                f"{names[split]} has values that are not finite in float32 in {len(wrong):,} of {len(array):,} "
                f"images, first in image {first:,} ({values[~np.isfinite(values)][0]}); replace them, or leave these "
                "images out"
            )
    return floats


def _flat_labels(labels: Array, name: str) -> Array:
    """Return labels `[n]` or `[n, 1]` as `[n]`; UserError, with the remedy, if they are of another form."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    if labels.ndim == 1:
        return labels
    one_hot = labels.ndim == 2 and np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()
    if one_hot:
        raise UserError(f"{name} is one-hot, {_sizes(labels, 0)}; write it as labels.argmax(axis=1)")
    raise UserError(
        f"{name} is {_sizes(labels, 0)}; allowed: one label for each image, [n] or [n, 1]; of several, choose one"
    )


def classes(labels: Mapping[str, Array], names: Mapping[str, str]) -> dict[str, Bytes]:
    """Return the labels of each split as bytes: the values of the training labels, in their order, become 0, 1, …

    UserError for labels that are not whole, for more than 256 classes, and for values that no training label has.
    """
    for split, array in labels.items():
        if array.dtype.kind == "f" and not (np.isfinite(array) & (array == np.trunc(array))).all():
            wrong = array[~(np.isfinite(array) & (array == np.trunc(array)))][0]
            raise UserError(f"{names[split]} has the value {wrong}; allowed: integers, one for each class")
    values = np.unique(labels["train"])
    if len(values) > MAX_CLASSES:
        raise UserError(
            f"{names['train']} has {len(values):,} different values; allowed: at most {MAX_CLASSES} classes"
        )
    by_split = {}
    for split, array in labels.items():
        unknown = np.setdiff1d(array, values)
        if len(unknown):
            count = int(np.isin(array, unknown).sum())
            raise UserError(
                f"{names[split]} has {_listed(unknown)} for {count:,} of {len(array):,} images, which no training "
                f"label is (these are {_listed(values)}); leave these out, or add training images of their classes"
            )
        by_split[split] = np.searchsorted(values, array).astype(np.uint8)
    return by_split


def _listed(values: Iterable[Any]) -> str:
    texts = [str(int(value)) for value in values]
    return ", ".join(texts if len(texts) <= 8 else [*texts[:6], "…", texts[-1]])
