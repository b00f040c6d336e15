"""Data sets: the embedded MNIST, or any folder of IDX files, as arrays of bytes."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.data import idx
from initbench.data.idx import Bytes
from initbench.errors import UserError, nearest, shown

MNIST_FILE = Path(__file__).parent / "mnist.npz"
MNIST_SHA256 = "e183595579f3fdb5af0a6aa55938e81620b1f28a8118b2eda52dce03bbf6087b"

DATASETS = {
    "mnist": "MNIST: 70,000 handwritten digits, 28 × 28, ten classes; embedded, no network",
    "{ idx = FOLDER }": "any folder of MNIST-format IDX files, plain or gzipped (Fashion-MNIST, KMNIST, EMNIST, …)",
}

# What a spreadsheet reads as a formula: one of these characters at the start of a cell, also after spaces or quotes;
# a character that separates cells starts another cell. See OWASP's "CSV Injection".
FORMULA = re.compile(r"""(?:^|[,;|"'])[\s"']*[=+\-@]""")

# The validation split is the first twelfth of the training images: 5,000 of MNIST's 60,000.
VALIDATION_DIVISOR = 12

# Field of `Source` → its key in `datasets.json`, where the two differ.
STORED_KEYS = {
    "majority_class_share": "commonest_class_share",
    "majority_class_validation_share": "commonest_validation_share",
}


@dataclass(frozen=True)
class Arrays:
    """A data set in memory: images as bytes `[n, pixels]` with values 0 to 255, labels as bytes `[n]`."""

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes

    @property
    def validation_size(self) -> int:
        """The number of training images, from the first, that are the validation split."""
        return len(self.train_images) // VALIDATION_DIVISOR

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


@dataclass(frozen=True)
class Source:
    """The source of a data set, with what a plan requires before the data set is in memory."""

    name: str  # as in the tables: "mnist", or "fashion-mnist@" and twelve digits of its SHA-256
    folder: str  # of IDX files; empty for the embedded MNIST
    train_size: int
    validation_size: int
    test_size: int
    pixels: int
    active_pixels: int
    classes: int
    majority_class_share: float
    majority_class_validation_share: float = 0.0  # 0: unknown, the experiment is of an earlier version
    unseen_test_share: float = 0.0  # the share of test images whose class has no validation image
    height: int = 0  # of an image, as width and channels; 0: unknown, the experiment is of an earlier version
    width: int = 0
    channels: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image; of features, and where they are unknown, one pixel of channels."""
        return (self.height, self.width, self.channels) if self.channels else (1, 1, self.pixels)

    def load(self) -> Arrays:
        """Load the arrays; UserError if the files have changed since the source was described."""
        arrays = load_mnist() if not self.folder else read_idx_folder(Path(self.folder))
        name = describe(arrays, self.folder).name
        if name != self.name:
            raise UserError(
                f"dataset: the files in {self.folder} have changed since the experiment began ({self.name}, now {name})"
            )
        return arrays


def find(value: object) -> Source:
    """Return the data set that a grid file names: `"mnist"` or `{"idx": "folder"}`; UserError if it is invalid."""
    if value == "mnist":
        return Source("mnist", "", 55_000, 5_000, 10_000, 784, 719, 10, 0.1135, 0.1126, 0.0, 28, 28, 1)
    if isinstance(value, Mapping) and list(value) == ["idx"] and isinstance(value["idx"], str):
        folder = absolute(value["idx"])
        if not _fits_tables(f"{(name := Path(folder).name)}@"):
            raise UserError(
                f"given a folder named {shown(name)}; allowed: a printable name that a spreadsheet does not read as a "
                "formula: none of = + - @ at its start, or after a comma, semicolon, bar or quote"
            )
        return describe(read_idx_folder(Path(folder)), folder)
    hint = nearest(value, ["mnist"]) if isinstance(value, str) else ""
    raise UserError(f"given {shown(value)}; allowed: 'mnist', or {{ idx = 'a folder of IDX files' }}{hint}")


def to_stored(source: Source) -> dict[str, Any]:
    """Return a source as the fields of an experiment's `datasets.json`."""
    return {STORED_KEYS.get(name, name): value for name, value in asdict(source).items()}


def from_stored(fields: Mapping[str, Any]) -> Source:
    """Return the source that the fields of a `datasets.json` describe; ValueError or TypeError if they are invalid."""
    if STORED_KEYS.keys() & fields.keys():
        raise ValueError(f"{shown(fields)}: not the keys of a stored data set")
    names = {key: name for name, key in STORED_KEYS.items()}
    source = Source(**{names.get(key, key): value for key, value in fields.items()})
    sizes = (source.train_size, source.validation_size, source.test_size, source.pixels, source.classes)
    shares = (source.majority_class_share, source.majority_class_validation_share, source.unseen_test_share)
    if (
        any(type(text) is not str for text in (source.name, source.folder))
        or not _fits_tables(source.name)
        or "@" not in source.name
        or any(type(size) is not int or not 1 <= size <= idx.MAX_BYTES for size in sizes)
        or type(source.active_pixels) is not int
        or not 0 <= source.active_pixels <= source.pixels
        or source.classes > 256
        or any(type(share) not in (int, float) or not 0 <= share <= 1 for share in shares)
    ):
        raise ValueError(f"{shown(fields)}: not a valid data set")
    return source


def _fits_tables(name: str) -> bool:
    """Return whether a name can stand in tables, on pages and in a terminal, and is not a formula in a spreadsheet.

    Some spreadsheets read full-width characters as the plain ones; NFKC makes them plain.
    """
    return name.isprintable() and not FORMULA.search(unicodedata.normalize("NFKC", name))


def absolute(folder: str) -> str:
    """Return a folder's absolute path; a relative one is below the working directory."""
    try:
        return str(Path(folder).expanduser().resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"given {shown(folder)}: not a valid path ({error})") from None


def describe(arrays: Arrays, folder: str) -> Source:
    """Return the source of loaded arrays; the name of a folder's data set carries the digest of its content."""
    name = "mnist"
    if folder:
        digest = hashlib.sha256()
        for array in (arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
        name = f"{Path(folder).name}@{digest.hexdigest()[:12]}"
    return Source(
        name=name,
        folder=folder,
        train_size=len(arrays.train_images) - arrays.validation_size,
        validation_size=arrays.validation_size,
        test_size=len(arrays.test_images),
        pixels=arrays.train_images.shape[1],
        active_pixels=len(arrays.active_pixels),
        classes=arrays.classes,
        majority_class_share=arrays.majority_class_share,
        majority_class_validation_share=arrays.majority_class_validation_share,
        unseen_test_share=arrays.unseen_test_share,
    )


def load_mnist() -> Arrays:
    """Load the embedded MNIST, verified by its SHA-256."""
    try:
        content = MNIST_FILE.read_bytes()
    except OSError as error:
        raise UserError(f"{MNIST_FILE}: {error.strerror}; reinstall initbench") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != MNIST_SHA256:
        raise UserError(f"{MNIST_FILE}: SHA-256 is {digest}, not {MNIST_SHA256}; reinstall initbench")
    with np.load(MNIST_FILE, allow_pickle=False) as file:
        return Arrays(**{name: file[name] for name in file.files})


def read_idx_folder(folder: Path) -> Arrays:
    """Read a folder of IDX files as arrays, each image as a row of pixels; UserError as for `idx.read_folder`."""
    train_images, train_labels, test_images, test_labels = idx.read_folder(folder)
    if len(train_images) < VALIDATION_DIVISOR or not len(test_images):
        raise UserError(
            f"{folder}: {len(train_images)} training and {len(test_images)} test images; "
            f"allowed: at least {VALIDATION_DIVISOR} and 1"
        )
    return Arrays(
        train_images.reshape(len(train_images), -1),
        train_labels,
        test_images.reshape(len(test_images), -1),
        test_labels,
    )
