"""Data sets by what a grid file says: the embedded MNIST, names, folders and files; as sources, and as arrays."""

import hashlib
import io
import math
import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.data import cifar, conversion, idx, known, npz
from initbench.data.arrays import Arrays, Shape, require_images
from initbench.data.catalog import KNOWN
from initbench.data.own import LOADERS
from initbench.errors import PluginError, UserError, nearest, shown
from initbench.registry import shorten_digests

MNIST_FILE = Path(__file__).parent / "mnist.npz"
MNIST_SHA256 = "e183595579f3fdb5af0a6aa55938e81620b1f28a8118b2eda52dce03bbf6087b"

# The twelve digits of MNIST's content, in IDX files.
MNIST_DIGEST = "5a4d4600f9ae"

# How a grid file names a folder or a file: `{ FORMAT = "path" }`, and what it must be.
FORMATS = {
    "idx": "any folder of IDX files, plain or gzipped, with MNIST's or EMNIST's names",
    "npz": "a file of NumPy arrays: x_train, y_train, x_test, y_test, or MedMNIST's train_images, train_labels, …",
    "cifar10": "the folder of CIFAR-10's batches, of the binary or the Python version",
}

DATASETS = {
    "mnist": "MNIST: 70,000 handwritten digits, 28 × 28, ten classes; embedded, no network",
    **{name: data_set.summary for name, data_set in KNOWN.items()},
    **{f"{{ {kind} = {'FILE' if kind == 'npz' else 'FOLDER'} }}": summary for kind, summary in FORMATS.items()},
}

ALLOWED = (
    f"{', '.join(map(repr, ['mnist', *KNOWN]))}, or a table with a path: {{ idx = 'a folder of IDX files' }}, "
    "{ npz = 'a file of arrays' }, { cifar10 = 'the folder of its batches' }, or 'my_data.py:load'"
)

# What a spreadsheet reads as a formula: one of these characters at the start of a cell, also after spaces or quotes;
# a character that separates cells starts another cell. See OWASP's "CSV Injection".
FORMULA = re.compile(r"""(?:^|[,;|"'])[\s"']*[=+\-@]""")

# The format of a data set that an own function loads.
CODE = "code"

# Field of `Source` → its key in `datasets.json`, where the two differ.
STORED_KEYS = {
    "majority_class_share": "commonest_class_share",
    "majority_class_validation_share": "commonest_validation_share",
}


@dataclass(frozen=True)
class Source:
    """The source of a data set, with what a plan requires before the data set is in memory."""

    name: str  # as in the tables: "mnist", or "fashion-mnist@" and twelve digits of its SHA-256
    folder: str  # or file, or the canonical string of an own function; empty for the embedded MNIST
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
    format: str = "idx"  # one of `FORMATS`; or CODE: an own function loads it
    known_as: str = ""  # the name by which the grid file asks for it, such as "fashion_mnist"; else empty
    pixel_bytes: int = 1  # 4: the images are float32

    @property
    def shape(self) -> Shape:
        """Height, width and channels of an image; of features, and where they are unknown, one pixel of channels."""
        return (self.height, self.width, self.channels) if self.channels else (1, 1, self.pixels)

    @property
    def image_bytes(self) -> int:
        """The bytes of all its images in memory."""
        return (self.train_size + self.validation_size + self.test_size) * self.pixels * self.pixel_bytes

    @property
    def function(self) -> str:
        """The canonical string of the own function that loads it; empty for files."""
        return self.folder if self.format == CODE else ""

    @property
    def path(self) -> str:
        """The folder or the file that it is read from; empty for the embedded MNIST and for an own function."""
        return "" if self.function else self.folder

    def load(self) -> Arrays:
        """Load the arrays; UserError if the files have changed since the source was described."""
        if self.function:
            return self._of_code()
        arrays = read(self.folder, self.format, self.known_as)
        name = _name(arrays, self.folder, self.format, self.known_as)
        if name != self.name:
            raise UserError(
                f"dataset: the files in {self.folder} have changed since the experiment began ({self.name}, now {name})"
            )
        return arrays

    def _of_code(self) -> Arrays:
        arrays: Arrays = LOADERS.call(self.function)
        if _name(arrays, self.name.partition("@")[0], CODE) != self.name:
            raise PluginError(
                f"{shorten_digests(self.function)}: returned other data in another process; allowed: a function that "
                "returns the same arrays each time: no time, no random numbers without a seed, no files that change"
            )
        return arrays

    def contents(self) -> dict[str, bytes]:
        """Return the files that it is read from as they are on disk, by name; not for the embedded MNIST."""
        path = Path(self.path)
        if self.format == "npz":
            return {path.name: path.read_bytes()}
        if self.format == "cifar10":
            return cifar.contents(path)
        return idx.contents(path, known.emnist_split(self.known_as))


# The fields of later versions with their defaults, which are left out of `datasets.json`.
LATER_FIELDS = {field.name: field.default for field in fields(Source)[11:]}


def find(value: object, earlier: Iterable[Source] = ()) -> Source:
    """Return the data set that a grid file names, as a string or a table of one path; UserError if it is invalid.

    Those in `earlier`, of an existing experiment, are not read again.
    """
    if value == "mnist":
        return Source("mnist", "", 55_000, 5_000, 10_000, 784, 719, 10, 0.1135, 0.1126, 0.0, 28, 28, 1)
    if isinstance(value, str) and value in KNOWN:
        for source in earlier:
            if source.known_as == value:
                return source
        return of_name(value, known.find(value))
    if isinstance(value, Mapping) and len(value) == 1:
        (form, path), *_ = value.items()
        if form in FORMATS and isinstance(path, str):
            folder = absolute(path)
            for source in earlier:
                if written(source) == {form: folder}:
                    return source
            if not _fits_tables(f"{(name := _base(folder, form))}@"):
                raise UserError(
                    f"given a {'file' if form == 'npz' else 'folder'} named {shown(name)}; allowed: a printable name "
                    "that a spreadsheet does not read as a formula: none of = + - @ at its start, or after a comma, "
                    "semicolon, bar or quote"
                )
            return describe(read(folder, form), folder, form)
        if form in KNOWN:
            raise UserError(
                f"given {shown(value)}; allowed: '{form}', after initbench data add {form} FOLDER, or {{ "
                f"{KNOWN[form].format} = … }}"
            )
    raise UserError(f"given {shown(value)}; allowed: {ALLOWED}{_meant(value) if isinstance(value, str) else ''}")


def _meant(value: str) -> str:
    """Return a hint at what a string means that names no data set."""
    if value.endswith(".npz"):
        return f"; a file of arrays is {{ npz = {shown(value)} }}"
    if value.endswith(".py"):
        return f"; a function of this file is '{Path(value).name}:load', say"
    return nearest(value, ["mnist", *KNOWN])


def of_name(name: str, folder: Path) -> Source:
    """Return the data set with a name from the folder of its files; UserError unless they are those published."""
    form = KNOWN[name].format
    source = describe(read(str(folder), form, name), str(folder), form, name)
    if why := _not_published(source):
        raise UserError(
            f"{name}: {why}; for these files: dataset = {{ {form} = {str(folder)!r} }}; for those published: "
            f"initbench data add {name} FOLDER"
        )
    return source


def _not_published(source: Source) -> str:
    """Return what shows that the files of a data set with a name are others than those published, or nothing.

    What is known of each set is compared: its content; its sizes; and the MD5 of those files that are as published.
    """
    data_set, digest = KNOWN[source.known_as], source.name.partition("@")[2]
    contents = {MNIST_DIGEST: "mnist", **{entry.digest: name for name, entry in KNOWN.items() if entry.digest}}
    if digest in contents:
        other = contents[digest]
        return "" if other == source.known_as else f"the files in {source.folder} are those of {other}"
    images, shape = (source.train_size + source.validation_size, source.test_size), source.shape
    if data_set.sizes and (
        images not in data_set.sizes or (shape, source.classes) != (data_set.shape, data_set.classes)
    ):
        return (
            f"{source.folder} has {_counted(images, shape, source.classes)}; expected: "
            f"{_counted(data_set.sizes[0], data_set.shape, data_set.classes)}"
        )
    if data_set.digest:
        return f"the content of {source.folder} has the digest {digest}; expected: {data_set.digest}"
    for name, content in source.contents().items():
        md5, expected = hashlib.md5(content, usedforsecurity=False).hexdigest(), data_set.sums.get(name)
        if expected and md5 != expected:
            return f"{Path(source.folder) / name} has the MD5 {md5}; expected: {expected}"
    return ""


def _counted(images: tuple[int, int], shape: Shape, classes: int) -> str:
    sizes = " × ".join(map(str, shape))
    return f"{images[0]:,} training and {images[1]:,} test images, {sizes}, in {classes} classes"


def written(source: Source) -> str | dict[str, str]:
    """Return a source as a grid file names it, in any working directory."""
    if source.function or not source.folder:
        return source.function or source.name
    return source.known_as or {source.format: source.folder}


def read(folder: str, form: str, known_as: str = "") -> Arrays:
    """Read the data set in a folder or a file, or the embedded MNIST if the path is empty."""
    if not folder:
        return load_mnist()
    if form == "npz":
        return npz.read(Path(folder))
    if form == "cifar10":
        return cifar.read_folder(Path(folder))
    return read_idx_folder(Path(folder), known.emnist_split(known_as))


def _base(folder: str, form: str) -> str:
    """Return the name of a data set without the digest of its content: that of its folder, or of its file."""
    return Path(folder).stem if form == "npz" else Path(folder).name


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
        or source.format not in (*FORMATS, CODE)
        or source.known_as not in ("", *KNOWN)
        or (source.known_as and KNOWN[source.known_as].format != source.format)
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


def describe(arrays: Arrays, folder: str, form: str = "idx", known_as: str = "") -> Source:
    """Return the source of loaded arrays."""
    return Source(
        name=_name(arrays, folder, form, known_as),
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
        format=form,
        known_as=known_as,
        pixel_bytes=arrays.train_images.itemsize,
    )


def _name(arrays: Arrays, folder: str, form: str, known_as: str = "") -> str:
    """Return a data set's name: `known_as`, or that of its path, with twelve digits of the SHA-256 of its content."""
    return f"{known_as or _base(folder, form)}@{_digest(arrays, form)[:12]}" if folder else "mnist"


def _digest(arrays: Arrays, form: str) -> str:
    """Return the SHA-256 of all that a data set trains by, in hexadecimal digits.

    What every data set of an earlier version had is left out, so that their names stay: images of bytes and one channel
    (square, or in IDX files of any height and width), and a validation split of one twelfth.
    """
    digest = hashlib.sha256()
    height, width, channels = arrays.shape
    if channels > 1 or (form != "idx" and height != width):
        digest.update(f"shape {arrays.shape}".encode())
    if arrays.own_validation_size:
        digest.update(f"validation {arrays.own_validation_size}".encode())
    if arrays.is_float:
        digest.update(b"float32")
    for array in (arrays.train_images, arrays.train_labels, arrays.test_images, arrays.test_labels):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def load_mnist() -> Arrays:
    """Load the embedded MNIST, verified by its SHA-256."""
    try:
        content = MNIST_FILE.read_bytes()
    except OSError as error:
        raise UserError(f"{MNIST_FILE}: {error.strerror}; reinstall initbench") from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != MNIST_SHA256:
        raise UserError(f"{MNIST_FILE}: SHA-256 is {digest}, not {MNIST_SHA256}; reinstall initbench")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        arrays: dict[str, Any] = {
            entry.filename.removesuffix(".npy"): _array(content, entry) for entry in archive.infolist()
        }
    return Arrays(**arrays, shape=(28, 28, 1))


def _array(content: bytes, entry: zipfile.ZipInfo) -> NDArray[Any]:
    """Return an array of the embedded file, in one call of zlib, which lets other threads run.

    `numpy.load` takes a third longer, and hundreds of calls.
    """
    start = entry.header_offset
    start += 30 + sum(struct.unpack_from("<HH", content, start + 26))  # the name, and what extends the header
    unpacked = zlib.decompress(
        memoryview(content)[start : start + entry.compress_size], -zlib.MAX_WBITS, entry.file_size
    )
    file = io.BytesIO(unpacked)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return np.frombuffer(unpacked, dtype, offset=file.tell()).reshape(shape).copy()  # bytes cannot be written


def read_idx_folder(folder: Path, emnist: str = "") -> Arrays:
    """Read a folder of IDX files as arrays, each image as a row of pixels; UserError as for `idx.read_folder`.

    Bytes stay bytes, and labels that begin at 0 stay as they are: the number of classes is the largest plus one. Others
    are converted as those of other formats.
    """
    train_images, train_labels, test_images, test_labels = idx.read_folder(folder, emnist)
    require_images(folder, len(train_images), len(test_images))
    images = {"train": _channels_last(train_images, folder), "test": _channels_last(test_images, folder)}
    labels = {"train": train_labels, "test": test_labels}
    names = {"train": f"{folder}: the training split", "test": f"{folder}: the test split"}
    shape = conversion.shape_of(images["train"])
    if train_images.dtype == test_images.dtype == np.uint8:
        rows: Any = {split: array.reshape(len(array), -1) for split, array in images.items()}
    else:
        rows = conversion.pixels(images, names)
    if not (train_labels.dtype == test_labels.dtype == np.uint8 and min(train_labels.min(), test_labels.min()) == 0):
        labels = conversion.classes(labels, names)
    return Arrays(rows["train"], labels["train"], rows["test"], labels["test"], shape=shape)


def _channels_last(images: NDArray[Any], folder: Path) -> NDArray[Any]:
    """Return images `[n, height, width, channels]` of either order; those with three dimensions as they are."""
    if images.ndim == 3:
        return images
    if images.shape[3] in conversion.CHANNELS:
        return images
    if images.shape[1] in conversion.CHANNELS:
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    raise UserError(
        f"{folder}: images of {images.shape[1:]}, of which no size is a number of channels; allowed: 1, 3 or 4 "
        "channels, before or after height and width. Other arrays: dataset = { npz = … }, with the channels last"
    )
