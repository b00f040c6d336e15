"""The data: MNIST as it is embedded here, or any folder of IDX files, as arrays of bytes."""

import gzip
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from initbench.errors import UserError, nearest, shown

Bytes = NDArray[np.uint8]

MNIST_FILE = Path(__file__).parent / "data" / "mnist.npz"
MNIST_SHA256 = "e183595579f3fdb5af0a6aa55938e81620b1f28a8118b2eda52dce03bbf6087b"

DATASETS = {
    "mnist": "MNIST: 70,000 handwritten digits, 28 × 28, ten classes; embedded, no network",
    "{ idx = FOLDER }": "any folder of MNIST-format IDX files, plain or gzipped (Fashion-MNIST, KMNIST, EMNIST, …)",
}

# The share of the training images that validates: the first 5,000 of MNIST's 60,000.
VALIDATION_DIVISOR = 12


@dataclass(frozen=True)
class Arrays:
    """A data set in memory: images as bytes `[n, pixels]` with values 0 to 255, labels as bytes `[n]`."""

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes

    @property
    def validation_size(self) -> int:
        """How many of the training images, from the first, are the validation split."""
        return len(self.train_images) // VALIDATION_DIVISOR

    @cached_property
    def classes(self) -> int:
        """The number of classes: the largest label plus one."""
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1

    @cached_property
    def active_pixels(self) -> NDArray[np.int64]:
        """The pixels that are not zero in every image: a network's other first-layer weights never matter."""
        used = self.train_images.any(axis=0) | self.test_images.any(axis=0)
        return np.flatnonzero(used)

    @cached_property
    def commonest_class_share(self) -> float:
        """The accuracy on the test split of always saying its commonest class: chance level."""
        return float(np.bincount(self.test_labels).max() / len(self.test_labels))

    @cached_property
    def commonest_validation_share(self) -> float:
        """The same on the validation split."""
        return float(np.bincount(self.train_labels[: self.validation_size]).max() / self.validation_size)


@dataclass(frozen=True)
class Source:
    """Where a data set comes from, and what a plan needs to know of it before it is in memory."""

    name: str  # what stands in the table: "mnist", or "fashion-mnist@" and twelve digits of its SHA-256
    folder: str  # of IDX files; empty for the embedded MNIST
    train_size: int
    validation_size: int
    test_size: int
    pixels: int
    active_pixels: int
    classes: int
    commonest_class_share: float
    commonest_validation_share: float = 0.0  # of a run that an earlier version described it is not known

    def load(self) -> Arrays:
        """The arrays; UserError if the files are not those that were described."""
        arrays = load_mnist() if not self.folder else read_idx_folder(Path(self.folder))
        found = describe(arrays, self.folder).name
        if found != self.name:
            raise UserError(
                f"dataset: the files in {self.folder} have changed since the run began ({self.name}, now {found})"
            )
        return arrays


def find(given: object) -> Source:
    """The data set that a grid file names: `"mnist"` or `{"idx": "folder"}`; UserError in one line if there is none."""
    if given == "mnist":
        return Source("mnist", "", 55_000, 5_000, 10_000, 784, 719, 10, 0.1135, 0.1126)
    if isinstance(given, Mapping) and list(given) == ["idx"] and isinstance(given["idx"], str):
        folder = absolute(given["idx"])
        return describe(read_idx_folder(Path(folder)), folder)
    hint = nearest(given, ["mnist"]) if isinstance(given, str) else ""
    raise UserError(f"given {shown(given)}; allowed: 'mnist', or {{ idx = 'a folder of IDX files' }}{hint}")


def absolute(folder: str) -> str:
    """A folder's absolute path; a relative one is below the working directory."""
    try:
        return str(Path(folder).expanduser().resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"given {shown(folder)}, which is no path ({error})") from None


def describe(arrays: Arrays, folder: str) -> Source:
    """What a plan needs to know of loaded arrays; a folder's name carries the digest of its content."""
    name = "mnist"
    if folder:
        digest = hashlib.sha256()
        for part in (arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels):
            digest.update(repr(part.shape).encode())
            digest.update(part.tobytes())
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
        commonest_class_share=arrays.commonest_class_share,
        commonest_validation_share=arrays.commonest_validation_share,
    )


def load_mnist() -> Arrays:
    """The embedded MNIST, verified by its SHA-256."""
    try:
        content = MNIST_FILE.read_bytes()
    except OSError as error:
        raise UserError(f"{MNIST_FILE}: {error.strerror}; install initbench again") from None
    found = hashlib.sha256(content).hexdigest()
    if found != MNIST_SHA256:
        raise UserError(f"{MNIST_FILE}: SHA-256 is {found}, not {MNIST_SHA256}; install initbench again")
    with np.load(MNIST_FILE, allow_pickle=False) as file:
        return Arrays(**{name: file[name] for name in file.files})


def read_idx_folder(folder: Path) -> Arrays:
    """The four IDX files of a folder, under the names that MNIST gave them, each plain or with `.gz`.

    Raises UserError, naming the file, for a missing file, a wrong magic number, a truncated or overlong file, and
    counts or sizes that do not agree.
    """
    if not os.path.isdir(folder):  # Path.is_dir raises for a name that is too long
        raise UserError(f"{folder}: no such folder; dataset = {{ idx = … }} takes a folder of four IDX files")
    paths = {stem: _idx_path(folder, stem) for stem in IDX_STEMS}
    train_images, train_labels, test_images, test_labels = (
        read_idx(path, dimensions=3 if "images" in stem else 1) for stem, path in paths.items()
    )
    for images, labels, stem in ((train_images, train_labels, "train"), (test_images, test_labels, "t10k")):
        if len(images) != len(labels):
            raise UserError(
                f"{paths[f'{stem}-labels-idx1-ubyte']}: {len(labels):,} labels, but "
                f"{paths[f'{stem}-images-idx3-ubyte'].name} has {len(images):,} images"
            )
    if len(train_images) < VALIDATION_DIVISOR or not len(test_images):
        raise UserError(
            f"{folder}: {len(train_images)} training and {len(test_images)} test images; "
            f"allowed: at least {VALIDATION_DIVISOR} and 1"
        )
    if 0 in train_images.shape:
        raise UserError(f"{paths['train-images-idx3-ubyte']}: images of {train_images.shape[1:]}, without a pixel")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise UserError(
            f"{paths['t10k-images-idx3-ubyte']}: images of {test_images.shape[1:]}, but those of the training file "
            f"are of {train_images.shape[1:]}"
        )
    return Arrays(
        train_images.reshape(len(train_images), -1),
        train_labels,
        test_images.reshape(len(test_images), -1),
        test_labels,
    )


IDX_STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def read_idx(path: Path, dimensions: int) -> Bytes:
    """One IDX file of unsigned bytes with the given number of dimensions.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions; each size as a big-endian 32-bit
    number; then the data.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except EOFError:
        raise UserError(f"{path}: the gzip stream is truncated; fetch the file again") from None
    except (OSError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    magic = bytes((0, 0, 8, dimensions))
    if content[:4] != magic:
        raise UserError(
            f"{path}: the magic number is 0x{content[:4].hex()}, not 0x{magic.hex()} "
            f"(unsigned bytes, {dimensions} dimension{'s' * (dimensions > 1)}); this is not the IDX file that is needed"
        )
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise UserError(f"{path}: truncated: {len(content)} bytes, and the header alone needs {header}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = header + math.prod(shape)
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "too long"
        raise UserError(f"{path}: {what}: {len(content):,} bytes, and its header {shape} needs {expected:,}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def files(source: Source) -> dict[str, bytes]:
    """The four files of a data set that came from a folder, by name, as they are on the disk."""
    paths = [_idx_path(Path(source.folder), stem) for stem in IDX_STEMS]
    return {path.name: path.read_bytes() for path in paths}


def _idx_path(folder: Path, stem: str) -> Path:
    for name in (stem, stem + ".gz"):
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder / stem}: no such file, nor with .gz; the folder needs {', '.join(IDX_STEMS)}")
