"""The data: MNIST as it is embedded here, or any folder of IDX files, as arrays of bytes."""

import gzip
import hashlib
import math
import os
import re
import struct
import unicodedata
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from initbench.errors import UserError, nearest, shown

Bytes = NDArray[np.uint8]

MNIST_FILE = Path(__file__).parent / "mnist.npz"
MNIST_SHA256 = "e183595579f3fdb5af0a6aa55938e81620b1f28a8118b2eda52dce03bbf6087b"

DATASETS = {
    "mnist": "MNIST: 70,000 handwritten digits, 28 × 28, ten classes; embedded, no network",
    "{ idx = FOLDER }": "any folder of MNIST-format IDX files, plain or gzipped (Fashion-MNIST, KMNIST, EMNIST, …)",
}

# A file has at most so many bytes, unpacked: six times as many as EMNIST's largest, and more than one would wait for.
MAX_BYTES = 4_000_000_000

# A byte of a gzip file gives at most so many (zlib's "Technical Details": 258 signs for two bits).
GZIP_RATIO = 1032

# What a spreadsheet takes for a formula: one of these characters at the start of a cell, also behind spaces or quotes;
# and a character that separates cells begins another one. See OWASP's "CSV Injection".
FORMULA = re.compile(r"""(?:^|[,;|"'])[\s"']*[=+\-@]""")

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

    @cached_property
    def unseen_test_share(self) -> float:
        """The share of the test images whose class no validation image has."""
        return float(np.isin(self.test_labels, self.train_labels[: self.validation_size], invert=True).mean())


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
    unseen_test_share: float = 0.0  # of the test images, those of a class that no validation image has

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
        if not _fits_tables(f"{(name := Path(folder).name)}@"):
            raise UserError(
                f"given a folder called {shown(name)}; allowed: a name that can be printed and is no formula in a "
                "spreadsheet: none of = + - @ at its start, or after a comma, semicolon, bar or quote"
            )
        return describe(read_idx_folder(Path(folder)), folder)
    hint = nearest(given, ["mnist"]) if isinstance(given, str) else ""
    raise UserError(f"given {shown(given)}; allowed: 'mnist', or {{ idx = 'a folder of IDX files' }}{hint}")


def described(fields: Mapping[str, Any]) -> Source:
    """The data set that a run's `datasets.json` tells of; ValueError or TypeError of what no run has written."""
    source = Source(**fields)
    sizes = (source.train_size, source.validation_size, source.test_size, source.pixels, source.classes)
    shares = (source.commonest_class_share, source.commonest_validation_share, source.unseen_test_share)
    if (
        any(type(text) is not str for text in (source.name, source.folder))
        or not _fits_tables(source.name)
        or "@" not in source.name
        or any(type(size) is not int or not 1 <= size <= MAX_BYTES for size in sizes)
        or type(source.active_pixels) is not int
        or not 0 <= source.active_pixels <= source.pixels
        or source.classes > 256
        or any(type(share) not in (int, float) or not 0 <= share <= 1 for share in shares)
    ):
        raise ValueError(f"{shown(fields)} describes no data set")
    return source


def _fits_tables(name: str) -> bool:
    """Whether a name can stand in tables, on pages and in a terminal, and in a CSV file is no spreadsheet's formula.

    Some spreadsheets take full-width characters for the plain ones; NFKC makes them plain.
    """
    return name.isprintable() and not FORMULA.search(unicodedata.normalize("NFKC", name))


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
            digest.update(np.ascontiguousarray(part).data)
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
        unseen_test_share=arrays.unseen_test_share,
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

    `train-images.idx3-ubyte`, as some copies of MNIST have it, is read as `train-images-idx3-ubyte`.

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
    number; then the data. The header says how many bytes there are: a file is read, or unpacked, so far and a byte.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file) as stream:
                    return _read_idx(path, stream, dimensions, at_most=GZIP_RATIO * size)
            return _read_idx(path, file, dimensions, at_least=size, at_most=size)
    except EOFError:
        raise UserError(f"{path}: the gzip stream is truncated; fetch the file again") from None
    except (OSError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    except MemoryError:
        raise UserError(f"{path}: is too large for the memory of this machine") from None


def _read_idx(path: Path, stream: IO[bytes] | gzip.GzipFile, dimensions: int, at_most: int, at_least: int = 0) -> Bytes:
    """The array in a stream of between so many bytes."""
    magic = bytes((0, 0, 8, dimensions))
    header = 4 + 4 * dimensions
    begin = stream.read(header)
    if begin[:4] != magic:
        raise UserError(
            f"{path}: the magic number is 0x{begin[:4].hex()}, not 0x{magic.hex()} "
            f"(unsigned bytes, {dimensions} dimension{'s' * (dimensions > 1)}); this is not the IDX file that is needed"
        )
    if len(begin) < header:
        raise UserError(f"{path}: truncated: {len(begin)} bytes, and the header alone needs {header}")
    shape = struct.unpack(f">{dimensions}I", begin[4:])
    expected = header + math.prod(shape)
    wrong = f"and its header {shape} needs {expected:,}"
    if expected < at_least:
        raise UserError(f"{path}: too long: {at_least:,} bytes, {wrong}")
    if expected > at_most:
        raise UserError(f"{path}: truncated: {at_most:,} bytes at most, {wrong}")
    if expected > MAX_BYTES:
        raise UserError(f"{path}: too large: its header {shape} needs {expected:,} bytes; allowed: {MAX_BYTES:,}")
    data = stream.read(expected - header)
    if len(data) < expected - header:
        raise UserError(f"{path}: truncated: {header + len(data):,} bytes, {wrong}")
    if stream.read(1):  # of a gzip file this also checks its sum
        raise UserError(f"{path}: too long: more than {expected:,} bytes, {wrong}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def files(source: Source) -> dict[str, bytes]:
    """The four files of a data set that came from a folder, by name, as they are on the disk."""
    paths = [_idx_path(Path(source.folder), stem) for stem in IDX_STEMS]
    return {path.name: path.read_bytes() for path in paths}


def _idx_path(folder: Path, stem: str) -> Path:
    """The file of a folder that has this name, in any of the spellings that are read; UserError if there is none."""
    dotted = stem.replace("-idx", ".idx")
    paths = [folder / name for name in (stem, f"{stem}.gz", dotted, f"{dotted}.gz")]
    for path in paths:
        if os.path.isfile(path):  # as above
            return path
    for path in paths:
        if os.path.lexists(path):
            raise UserError(f"{path}: is no file (or a link to none); a file of bytes is needed")
    raise UserError(
        f"{folder / stem}: no such file, nor with .gz; the folder needs {', '.join(IDX_STEMS)}{_misnamed(folder, stem)}"
    )


def _misnamed(folder: Path, stem: str) -> str:
    """The end of a message that names the file that is most likely the one that is missing, or nothing."""
    kind = "image" if "images" in stem else "label"
    splits = ("train",) if stem.startswith("train") else ("t10k", "test")
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ""
    similar = [n for n in names if kind in n.lower() and any(s in n.lower() for s in splits)]
    similar = [name for name in similar if os.path.isfile(folder / name)]
    if not similar:
        return ""
    name = get_close_matches(stem, similar, n=1, cutoff=0)[0]
    wanted = stem + ".gz" * name.lower().endswith(".gz")
    return f"; if {shown(name)} is that file, rename it to {wanted!r}"
