"""CIFAR-10's batches, of the binary and of the Python version: 32 × 32 pixels of red, green and blue, ten classes.

The batches of the Python version are pickles, which can execute code. Here none is loaded: the few
instructions of which a batch consists are followed by `_values`, which builds plain values, and in place of NumPy's
objects records of how they would be built, from which the array is read. Source of both formats: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import pickletools
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from initbench.data.arrays import Arrays, Bytes, require_images
from initbench.errors import UserError, shown
from initbench.system import files

TRAIN, TEST = [f"data_batch_{number}" for number in range(1, 6)], ["test_batch"]
PIXELS = 3 * 32 * 32

# A batch of CIFAR-10 has some 60,000: a label, a file's name, and where they are kept, for each of 10,000 images.
MAX_INSTRUCTIONS = 1_000_000

# The largest batch, twice the size of one of CIFAR-10's.
MAX_BYTES = 64_000_000


def read_folder(folder: Path) -> Arrays:
    """Read the folder of CIFAR-10's batches, the binary version if both are there; UserError, naming the file.

    Pixels are `[height, width, channels]`, as in all data sets; the files have the channels first.
    """
    binary, names = is_binary(folder), file_names(folder)
    read = _binary if binary else _python
    train = [read(folder / name) for name in names if not name.startswith("test")]
    images, labels = np.concatenate([part[0] for part in train]), np.concatenate([part[1] for part in train])
    test_images, test_labels = read(folder / names[-1])
    require_images(folder, len(images), len(test_images))
    return Arrays(_channels_last(images), labels, _channels_last(test_images), test_labels, shape=(32, 32, 3))


def is_binary(folder: Path) -> bool:
    """Return whether a folder has the binary version."""
    return (folder / f"{TRAIN[0]}.bin").is_file()


def has_files(folder: Path) -> bool:
    """Return whether a folder has the first batch of either version."""
    return is_binary(folder) or (folder / TRAIN[0]).is_file()


def file_names(folder: Path) -> list[str]:
    """Return the names of the version that is read, the test batch last."""
    return [f"{name}.bin" if is_binary(folder) else name for name in (*TRAIN, *TEST)]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files that are read as they are on disk, by name."""
    return {name: (folder / name).read_bytes() for name in file_names(folder)}


def _channels_last(images: Bytes) -> Bytes:
    """Return rows with the channels of a pixel side by side, of rows with one channel after another."""
    channels = images.reshape(-1, 3, 1024).transpose(1, 0, 2)
    return np.stack(list(channels), axis=2).reshape(-1, PIXELS)  # twice as fast as a copy of the transposed array


def _content(path: Path) -> bytes:
    try:
        return files.read(path, MAX_BYTES)
    except FileNotFoundError:
        allowed = f"{TRAIN[0]} to {TRAIN[-1].rpartition('_')[2]} and {TEST[0]}, all with .bin or all without"
        raise UserError(f"{path}: no such file; the folder of CIFAR-10 needs {allowed}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _binary(path: Path) -> tuple[Bytes, Bytes]:
    """Return the images and labels of a batch: for each image a byte of the label, and 3,072 of the pixels."""
    content = np.frombuffer(_content(path), np.uint8)
    if len(content) % (1 + PIXELS):
        raise UserError(
            f"{path}: {len(content):,} bytes; a batch has {1 + PIXELS:,} for each image; download CIFAR-10 again"
        )
    rows = content.reshape(-1, 1 + PIXELS)
    return rows[:, 1:], _checked_labels(rows[:, 0], path)


def _python(path: Path) -> tuple[Bytes, Bytes]:
    """Return the images and labels of a batch of the Python version."""
    try:
        with warnings.catch_warnings(action="ignore"):  # about strings of a damaged pickle
            batch = _values(_content(path))
        entries = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        images, labels = _array(entries["data"]), entries["labels"]
        if images.shape[1:] != (PIXELS,):
            raise ValueError(f"images of {images.shape[1:]}")
        if type(labels) is not list or any(type(label) is not int for label in labels):
            raise ValueError("its labels are no list of integers")
    except UserError:
        raise
    except Exception as error:  # a damaged pickle fails in many ways
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: not a batch of CIFAR-10 ({type(error).__name__}: {reason}); download CIFAR-10 again"
        ) from None
    if len(images) != len(labels):
        raise UserError(f"{path}: {len(labels):,} labels for {len(images):,} images; download CIFAR-10 again")
    return images, _checked_labels(np.clip(labels, -1, 255), path)


def _checked_labels(labels: Any, path: Path) -> Bytes:
    wrong = [label for label in labels if not 0 <= label <= 9]
    if wrong:
        raise UserError(f"{path}: has the label {wrong[0]}; CIFAR-10 has 0 to 9; download it again")
    return np.asarray(labels, dtype=np.uint8)


# ---------------------------------------------------------------------------------------------------------------------
# Pickles, of which nothing is executed


class _Call(NamedTuple):
    """What a pickle would call, with which arguments; `state` is empty, or has what the object would be given."""

    name: str
    arguments: tuple[Any, ...]
    state: list[Any]


RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
ENCODE = "_codecs encode"  # how Python 3 writes bytes for Python 2
NAMES = {*RECONSTRUCT, "numpy ndarray", "numpy dtype", ENCODE}

# Instructions that put their argument on the stack, or a constant.
VALUES = (
    *("BININT", "BININT1", "BININT2", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
    *("BINUNICODE", "SHORT_BINUNICODE"),
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _values(content: bytes) -> Any:  # noqa: PLR0912, PLR0915 (a case for each instruction)
    """Return what a pickle of plain values and arrays holds, its calls as records; ValueError for any other pickle.

    It follows the instructions as `pickletools` lists and explains them.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    n_encoded = 0

    def since_mark() -> list[Any]:
        start = marks.pop()
        values = stack[start:]
        del stack[start:]
        return values

    argument: Any
    for number, (instruction, argument, _) in enumerate(pickletools.genops(content)):
        if number == MAX_INSTRUCTIONS:
            raise ValueError(f"has more than {MAX_INSTRUCTIONS:,} instructions")
        match instruction.name:
            case name if name in VALUES:
                stack.append(argument)
            case name if name in CONSTANTS:
                stack.append(CONSTANTS[name])
            case name if name in TUPLES:
                size = TUPLES[name]
                values = stack[len(stack) - size :]
                del stack[len(stack) - size :]
                stack.append(tuple(values))
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                marks.append(len(stack))
            case "APPEND":
                value = stack.pop()
                stack[-1].append(value)
            case "APPENDS":
                values = since_mark()
                stack[-1].extend(values)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][_text(key)] = value
            case "SETITEMS":
                values = since_mark()
                stack[-1].update(zip(map(_text, values[::2]), values[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_Call(_allowed(argument), (), []))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_Call(_allowed(f"{_text(module)} {_text(name)}"), (), []))
            case "REDUCE":
                arguments, called = stack.pop(), stack.pop()
                if called.name == ENCODE:
                    stack.append(_text(arguments[0]).encode("latin1"))
                    n_encoded += len(arguments[0])
                    if n_encoded > MAX_BYTES:  # one string that is encoded many times
                        raise ValueError("encodes more bytes than a batch has")
                else:
                    stack.append(_Call(called.name, arguments, []))
            case "BUILD":
                state = stack.pop()
                stack[-1].state[:] = [state]
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case name:
                raise ValueError(f"has the instruction {name}")
    raise ValueError("has no end")


def _text(value: Any) -> Any:
    """Return a string or bytes; ValueError otherwise: to hash or print a tuple of tuples can take forever."""
    if not isinstance(value, (str, bytes)):
        raise ValueError(f"has a {type(value).__name__} in place of a name")
    return value


def _allowed(name: str) -> str:
    if name not in NAMES:
        raise ValueError(f"names {name.replace(' ', '.')}, which is not executed")
    return name


def _array(record: Any) -> Bytes:
    """Return the array of bytes that a record describes; ValueError, TypeError or AttributeError if it describes none.

    A pickled array is `_reconstruct(ndarray, (0,), b"b")` with the state (version, shape, dtype, whether in Fortran's
    order, bytes). Source: NumPy's `ndarray.__reduce__`.
    """
    if record.name not in RECONSTRUCT:
        raise ValueError("its data are no array")
    _, shape, dtype, is_fortran, content = record.state[0]
    if dtype.name != "numpy dtype" or _text(dtype.arguments[0]) != "u1":
        raise ValueError(f"its data are of {shown(dtype.arguments[0])}")
    content = content.encode("latin1") if isinstance(content, str) else content
    if len(shape) != 2:
        raise ValueError(f"its data have {len(shape)} dimensions")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if is_fortran else "C")
