"""IDX files: four files of images and labels in a folder, under MNIST's or EMNIST's names, from any source."""

import gzip
import math
import os
import struct
import zlib
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from initbench.data.catalog import IDX_STEMS
from initbench.errors import UserError, shown

Array = NDArray[Any]

# EMNIST's files begin with "emnist-", the name of a split and "-train" or "-test" (Cohen et al. 2017).
EMNIST_SPLITS = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")

# The types of a value, by the third byte of the file (LeCun's page on MNIST); numbers are big-endian.
TYPES = {8: "u1", 9: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

# The largest unpacked file: six times the size of EMNIST's largest.
MAX_BYTES = 4_000_000_000

# The most bytes that one byte of a gzip file unpacks to (zlib's "Technical Details": 258 characters for two bits).
GZIP_RATIO = 1032


def read_folder(folder: Path, emnist: str = "") -> tuple[Array, Array, Array, Array]:
    """Read the four IDX files of a folder, each plain or with `.gz`.

    `train-images.idx3-ubyte`, as some copies of MNIST have it, is read as `train-images-idx3-ubyte`. Files with
    EMNIST's names, which hold each image transposed, are read as they are meant: `[n, height, width]`. Source: the
    readme of EMNIST, in https://github.com/pytorch/vision/issues/8783.

    Parameters
    ----------
    folder
        The folder.
    emnist
        The split of EMNIST to read; if it is empty, MNIST's names are, or the one split of EMNIST that is there.

    Returns training images `[n, height, width]` or with a further dimension, training labels `[n]`, test images and
    test labels, of any type of an IDX file.

    Raises UserError, naming the file, for a missing file, a wrong magic number, a truncated or overlong file, and
    counts or sizes that do not agree.
    """
    if not os.path.isdir(folder):  # Path.is_dir raises for a name that is too long
        raise UserError(f"{folder}: no such folder; dataset = {{ idx = … }} takes a folder of four IDX files")
    emnist = emnist or only_split(folder)
    paths = {stem: _path(folder, stem) for stem in stems(emnist)}
    train_images, train_labels, test_images, test_labels = (
        read(path, dimensions=(3, 4) if "images" in stem else (1,)) for stem, path in paths.items()
    )
    train_files, test_files = list(paths.values())[:2], list(paths.values())[2:]
    for images, labels, (of_images, of_labels) in (
        (train_images, train_labels, train_files),
        (test_images, test_labels, test_files),
    ):
        if len(images) != len(labels):
            raise UserError(f"{of_labels}: {len(labels):,} labels, but {of_images.name} has {len(images):,} images")
    if 0 in train_images.shape[1:]:
        raise UserError(f"{train_files[0]}: images of {train_images.shape[1:]}, without a pixel")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise UserError(
            f"{test_files[0]}: images of {test_images.shape[1:]}, but the training images are {train_images.shape[1:]}"
        )
    if emnist:
        train_images, test_images = (np.swapaxes(images, 1, 2) for images in (train_images, test_images))
    return train_images, train_labels, test_images, test_labels


def stems(emnist: str = "") -> tuple[str, ...]:
    """Return the names of the four files, without `.gz`: MNIST's, or those of a split of EMNIST.

    >>> stems("letters")[2]
    'emnist-letters-test-images-idx3-ubyte'
    """
    if not emnist:
        return IDX_STEMS
    return tuple(f"emnist-{emnist}-{stem.replace('t10k', 'test')}" for stem in IDX_STEMS)


def has_files(folder: Path, emnist: str = "") -> bool:
    """Return whether a folder has the training images, under one of the accepted names."""
    return any(os.path.isfile(path) for path in _spellings(folder, stems(emnist)[0]))


def only_split(folder: Path) -> str:
    """Return the only split of EMNIST in a folder without a file of MNIST's names, or an empty string."""
    splits = [split for split in EMNIST_SPLITS if has_files(folder, split)]
    if not splits or any(os.path.lexists(path) for stem in IDX_STEMS for path in _spellings(folder, stem)):
        return ""
    if len(splits) > 1:
        raise UserError(
            f"{folder}: has {len(splits)} splits of EMNIST; choose one by its name: initbench data add "
            f"emnist_{splits[0]} FOLDER, then dataset = 'emnist_{splits[0]}'"
        )
    return splits[0]


def read(path: Path, dimensions: tuple[int, ...]) -> Array:
    """Read one IDX file with one of these numbers of dimensions.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions; each size as a big-endian 32-bit
    number; then the data. The header states the size: at most one byte more is read or unpacked.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file) as stream:
                    return _read(path, stream, dimensions, max_size=GZIP_RATIO * size)
            return _read(path, file, dimensions, min_size=size, max_size=size)
    except EOFError:
        raise UserError(f"{path}: the gzip stream is truncated; download the file again") from None
    except (OSError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    except MemoryError:
        raise UserError(f"{path}: too large for this machine's memory") from None


def _read(
    path: Path, stream: IO[bytes] | gzip.GzipFile, allowed: tuple[int, ...], max_size: int, min_size: int = 0
) -> Array:
    """Read the array in a stream of `min_size` to `max_size` bytes."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or magic[3] not in allowed:
        words = " or ".join(map(str, allowed))
        raise UserError(
            f"{path}: the magic number is 0x{magic.hex()}; required: 0x{bytes((0, 0, 8, allowed[0])).hex()} (unsigned "
            f"bytes, {words} dimension{'s' * (allowed[-1] > 1)}), or that of another type; put the right IDX file there"
        )
    dtype, dimensions = np.dtype(TYPES[magic[2]]), magic[3]
    header_size = 4 + 4 * dimensions
    header = stream.read(header_size - 4)
    if len(header) < header_size - 4:
        raise UserError(f"{path}: truncated: {4 + len(header)} bytes, but the header alone takes {header_size}")
    shape = struct.unpack(f">{dimensions}I", header)
    expected = header_size + math.prod(shape) * dtype.itemsize
    required = f"but its header {shape} requires {expected:,}"
    if expected < min_size:
        raise UserError(f"{path}: too long: {min_size:,} bytes, {required}")
    if expected > max_size:
        raise UserError(f"{path}: truncated: at most {max_size:,} bytes, {required}")
    if expected > MAX_BYTES:
        raise UserError(f"{path}: too large: its header {shape} requires {expected:,} bytes; allowed: {MAX_BYTES:,}")
    data = stream.read(expected - header_size)
    if len(data) < expected - header_size:
        raise UserError(f"{path}: truncated: {header_size + len(data):,} bytes, {required}")
    if stream.read(1):  # for a gzip file this also checks its checksum
        raise UserError(f"{path}: too long: more than {expected:,} bytes, {required}")
    return np.frombuffer(data, dtype).reshape(shape)


def contents(folder: Path, emnist: str = "") -> dict[str, bytes]:
    """Return the four files of a folder as they are on disk, by name."""
    paths = [_path(folder, stem) for stem in stems(emnist or only_split(folder))]
    return {path.name: path.read_bytes() for path in paths}


def _path(folder: Path, stem: str) -> Path:
    """Return the file with this name, in any of the accepted spellings; UserError if there is none."""
    paths = _spellings(folder, stem)
    for path in paths:
        if os.path.isfile(path):  # Path.is_file raises for a name that is too long
            return path
    for path in paths:
        if os.path.lexists(path):
            raise UserError(f"{path}: not a regular file (or a broken link); put the IDX file there")
    files = IDX_STEMS if stem in IDX_STEMS else stems(stem.split("-")[1])
    raise UserError(
        f"{folder / stem}: no such file, nor with .gz; the folder needs {', '.join(files)}{_rename_hint(folder, stem)}"
    )


def _spellings(folder: Path, stem: str) -> list[Path]:
    dotted = stem.replace("-idx", ".idx")
    return [folder / name for name in (stem, f"{stem}.gz", dotted, f"{dotted}.gz")]


def _rename_hint(folder: Path, stem: str) -> str:
    """Return the end of a message that names the file that is most likely the missing one, or nothing."""
    kind = "image" if "images" in stem else "label"
    splits = ("train",) if "train" in stem else ("t10k", "test")
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ""
    similar = [
        name
        for name in names
        if kind in name.lower() and any(split in name.lower() for split in splits) and os.path.isfile(folder / name)
    ]
    if not similar:
        return ""
    name = get_close_matches(stem, similar, n=1, cutoff=0)[0]
    wanted = stem + ".gz" * name.lower().endswith(".gz")
    return f"; if {shown(name)} is that file, rename it to {wanted!r}"
