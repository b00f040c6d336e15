"""IDX files: four files of unsigned bytes in a folder, under MNIST's names, from any source."""

import gzip
import math
import os
import struct
import zlib
from difflib import get_close_matches
from pathlib import Path
from typing import IO

import numpy as np

from initbench.data.arrays import Bytes
from initbench.errors import UserError, shown

IDX_STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

# The largest unpacked file: six times the size of EMNIST's largest.
MAX_BYTES = 4_000_000_000

# The most bytes that one byte of a gzip file unpacks to (zlib's "Technical Details": 258 characters for two bits).
GZIP_RATIO = 1032


def read_folder(folder: Path) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """Read the four IDX files of a folder, each plain or with `.gz`.

    `train-images.idx3-ubyte`, as some copies of MNIST have it, is read as `train-images-idx3-ubyte`.

    Returns training images `[n, height, width]`, training labels `[n]`, test images and test labels.

    Raises UserError, naming the file, for a missing file, a wrong magic number, a truncated or overlong file, and
    counts or sizes that do not agree.
    """
    if not os.path.isdir(folder):  # Path.is_dir raises for a name that is too long
        raise UserError(f"{folder}: no such folder; dataset = {{ idx = … }} takes a folder of four IDX files")
    paths = {stem: _path(folder, stem) for stem in IDX_STEMS}
    train_images, train_labels, test_images, test_labels = (
        read(path, dimensions=3 if "images" in stem else 1) for stem, path in paths.items()
    )
    for images, labels, split in ((train_images, train_labels, "train"), (test_images, test_labels, "t10k")):
        if len(images) != len(labels):
            raise UserError(
                f"{paths[f'{split}-labels-idx1-ubyte']}: {len(labels):,} labels, but "
                f"{paths[f'{split}-images-idx3-ubyte'].name} has {len(images):,} images"
            )
    if 0 in train_images.shape[1:]:
        raise UserError(f"{paths['train-images-idx3-ubyte']}: images of {train_images.shape[1:]}, without a pixel")
    if train_images.shape[1:] != test_images.shape[1:]:
        raise UserError(
            f"{paths['t10k-images-idx3-ubyte']}: images of {test_images.shape[1:]}, but the training images are "
            f"{train_images.shape[1:]}"
        )
    return train_images, train_labels, test_images, test_labels


def read(path: Path, dimensions: int) -> Bytes:
    """Read one IDX file of unsigned bytes with the given number of dimensions.

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


def _read(path: Path, stream: IO[bytes] | gzip.GzipFile, dimensions: int, max_size: int, min_size: int = 0) -> Bytes:
    """Read the array in a stream of `min_size` to `max_size` bytes."""
    magic = bytes((0, 0, 8, dimensions))
    header_size = 4 + 4 * dimensions
    header = stream.read(header_size)
    if header[:4] != magic:
        raise UserError(
            f"{path}: the magic number is 0x{header[:4].hex()}; required: 0x{magic.hex()} (unsigned bytes, "
            f"{dimensions} dimension{'s' * (dimensions > 1)}); put the right IDX file there"
        )
    if len(header) < header_size:
        raise UserError(f"{path}: truncated: {len(header)} bytes, but the header alone takes {header_size}")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    expected = header_size + math.prod(shape)
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
    return np.frombuffer(data, np.uint8).reshape(shape)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the four files of a folder as they are on disk, by name."""
    paths = [_path(folder, stem) for stem in IDX_STEMS]
    return {path.name: path.read_bytes() for path in paths}


def _path(folder: Path, stem: str) -> Path:
    """Return the file with this name, in any of the accepted spellings; UserError if there is none."""
    dotted = stem.replace("-idx", ".idx")
    paths = [folder / name for name in (stem, f"{stem}.gz", dotted, f"{dotted}.gz")]
    for path in paths:
        if os.path.isfile(path):  # Path.is_file raises for a name that is too long
            return path
    for path in paths:
        if os.path.lexists(path):
            raise UserError(f"{path}: not a regular file (or a broken link); put the IDX file there")
    raise UserError(
        f"{folder / stem}: no such file, nor with .gz; the folder needs {', '.join(IDX_STEMS)}"
        f"{_rename_hint(folder, stem)}"
    )


def _rename_hint(folder: Path, stem: str) -> str:
    """Return the end of a message that names the file that is most likely the missing one, or nothing."""
    kind = "image" if "images" in stem else "label"
    splits = ("train",) if stem.startswith("train") else ("t10k", "test")
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
