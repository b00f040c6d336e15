"""Data sets: the embedded MNIST, a folder of IDX files, or what an own function loads, as arrays."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from initbench.data import idx
from initbench.data.arrays import VALIDATION_DIVISOR, Arrays
from initbench.data.own import LOADERS
from initbench.errors import PluginError, UserError, nearest, shown
from initbench.registry import shorten_digests

MNIST_FILE = Path(__file__).parent / "mnist.npz"
MNIST_SHA256 = "e183595579f3fdb5af0a6aa55938e81620b1f28a8118b2eda52dce03bbf6087b"

DATASETS = {
    "mnist": "MNIST: 70,000 handwritten digits, 28 × 28, ten classes; embedded, no network",
    "{ idx = FOLDER }": "any folder of MNIST-format IDX files, plain or gzipped (Fashion-MNIST, KMNIST, EMNIST, …)",
}

# What reads a data set from a folder or a file.
FORMATS = ("idx", "code")

# What a spreadsheet reads as a formula: one of these characters at the start of a cell, also after spaces or quotes;
# a character that separates cells starts another cell. See OWASP's "CSV Injection".
FORMULA = re.compile(r"""(?:^|[,;|"'])[\s"']*[=+\-@]""")

# Field of `Source` → its key in `datasets.json`, where the two differ.
STORED_KEYS = {
    "majority_class_share": "commonest_class_share",
    "majority_class_validation_share": "commonest_validation_share",
}


@dataclass(frozen=True)
class Source:
    """The source of a data set, with what a plan requires before the data set is in memory."""

    name: str  # as in the tables: "mnist", or "fashion-mnist@" and twelve digits of its SHA-256
    folder: str  # of IDX files, or the canonical string of an own function; empty for the embedded MNIST
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
    format: str = "idx"  # of the folder: "idx"; "code": an own function loads it
    known_as: str = ""  # the name by which the grid file asks for it, such as "fashion_mnist"; else empty
    pixel_bytes: int = 1  # 4: the images are float32

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image; of features, and where they are unknown, one pixel of channels."""
        return (self.height, self.width, self.channels) if self.channels else (1, 1, self.pixels)

    @property
    def function(self) -> str:
        """The canonical string of the own function that loads it; empty for files."""
        return self.folder if self.format == "code" else ""

    def load(self) -> Arrays:
        """Load the arrays; UserError if the files have changed since the source was described."""
        if self.function:
            return self._of_code()
        arrays = load_mnist() if not self.folder else read_idx_folder(Path(self.folder))
        name = describe(arrays, self.folder).name
        if name != self.name:
            raise UserError(
                f"dataset: the files in {self.folder} have changed since the experiment began ({self.name}, now {name})"
            )
        return arrays

    def _of_code(self) -> Arrays:
        arrays: Arrays = LOADERS.call(self.function)
        if describe(arrays, self.name.partition("@")[0]).name != self.name:
            raise PluginError(
                f"{shorten_digests(self.function)}: returned other data in another process; allowed: a function that "
                "returns the same arrays each time: no time, no random numbers without a seed, no files that change"
            )
        return arrays


# The fields of later versions with their defaults, which are left out of `datasets.json`.
LATER_FIELDS = {field.name: field.default for field in fields(Source)[11:]}


def find(value: object, earlier: Iterable[Source] = ()) -> Source:
    """Return the data set that a grid file names: `"mnist"` or `{"idx": "folder"}`; UserError if it is invalid.

    Those in `earlier`, of an existing experiment, are not read again.
    """
    if value == "mnist":
        return Source("mnist", "", 55_000, 5_000, 10_000, 784, 719, 10, 0.1135, 0.1126, 0.0, 28, 28, 1)
    if isinstance(value, Mapping) and list(value) == ["idx"] and isinstance(value["idx"], str):
        folder = absolute(value["idx"])
        for source in earlier:
            if source.folder == folder:
                return source
        if not _fits_tables(f"{(name := Path(folder).name)}@"):
            raise UserError(
                f"given a folder named {shown(name)}; allowed: a printable name that a spreadsheet does not read as a "
                "formula: none of = + - @ at its start, or after a comma, semicolon, bar or quote"
            )
        return describe(read_idx_folder(Path(folder)), folder)
    hint = nearest(value, ["mnist"]) if isinstance(value, str) else ""
    raise UserError(f"given {shown(value)}; allowed: 'mnist', or {{ idx = 'a folder of IDX files' }}{hint}")


def written(source: Source) -> str | dict[str, str]:
    """Return a source as a grid file names it, in any working directory."""
    if source.function or not source.folder:
        return source.function or source.name
    return {"idx": source.folder}


def to_stored(source: Source) -> dict[str, Any]:
    """Return a source as the fields of an experiment's `datasets.json`."""
    return {
        STORED_KEYS.get(name, name): value
        for name, value in asdict(source).items()
        if name not in LATER_FIELDS or value != LATER_FIELDS[name]
    }


def from_stored(stored: Mapping[str, Any]) -> Source:
    """Return the source that the fields of a `datasets.json` describe; ValueError or TypeError if they are invalid."""
    if STORED_KEYS.keys() & stored.keys():
        raise ValueError(f"{shown(stored)}: not the keys of a stored data set")
    names = {key: name for name, key in STORED_KEYS.items()}
    source = Source(**{names.get(key, key): value for key, value in stored.items()})
    sizes = (source.train_size, source.validation_size, source.test_size, source.pixels, source.classes)
    shape = (source.height, source.width, source.channels)
    shares = (source.majority_class_share, source.majority_class_validation_share, source.unseen_test_share)
    if (
        any(type(text) is not str for text in (source.name, source.folder, source.format, source.known_as))
        or not _fits_tables(source.name)
        or "@" not in source.name
        or any(type(size) is not int or not 1 <= size <= idx.MAX_BYTES for size in sizes)
        or any(type(size) is not int or size < 0 for size in shape)
        or (any(shape) and math.prod(shape) != source.pixels)
        or source.format not in FORMATS
        or source.known_as
        or repr(source.pixel_bytes) not in ("1", "4")
        or type(source.active_pixels) is not int
        or not 0 <= source.active_pixels <= source.pixels
        or source.classes > 256
        or any(type(share) not in (int, float) or not 0 <= share <= 1 for share in shares)
    ):
        raise ValueError(f"{shown(stored)}: not a valid data set")
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
        height=arrays.shape[0],
        width=arrays.shape[1],
        channels=arrays.shape[2],
        pixel_bytes=arrays.train_images.itemsize,
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
        return Arrays(**{name: file[name] for name in file.files}, shape=(28, 28, 1))


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
        shape=(*train_images.shape[1:], 1),
    )
