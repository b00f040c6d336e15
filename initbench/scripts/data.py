"""The lines of a script that read a data set, and turn its images into the input of the network."""

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from initbench.data import cifar, idx
from initbench.data.augmentation import OFFSETS, PADDING
from initbench.data.conversion import SPELLINGS
from initbench.data.datasets import MNIST_FILE, Source
from initbench.data.known import emnist_split
from initbench.errors import UserError
from initbench.random.streams import AUGMENTATION
from initbench.scripts.own import OwnFunction
from initbench.spec.cell import Cell
from initbench.system import files


def path(source: Source) -> str:
    """Return where the files of a data set are; an empty string for one that an own function loads."""
    return "" if source.function else source.path or str(MNIST_FILE)


def imports(source: Source) -> list[str]:
    """Return the modules of Python's standard library that `read_lines` needs, beside those of every script."""
    return ["gzip", "pathlib"] if source.path and source.format == "idx" else []


def remarks(source: Source) -> list[str]:
    """Return comments about the files."""
    if source.format == "cifar10" and not cifar.is_binary(Path(source.folder)):
        return ["DATA is the folder of CIFAR-10's binary version, which has the images of the Python version."]
    return []


def read_lines(source: Source, own: Mapping[str, OwnFunction]) -> list[str]:
    """Return the lines that read `x_train, y_train, x_test, y_test`, the images as rows.

    The first training images are the validation split. Raises UserError if a script cannot read the data set.
    """
    if source.function:
        lines = _mapping_lines(f"arrays = {own['dataset'].called()}", own["dataset"].code, source)
    elif not source.folder:
        lines = [
            "with np.load(DATA) as file:",
            '    names = "train_images", "train_labels", "test_images", "test_labels"',
            "    x_train, y_train, x_test, y_test = (torch.from_numpy(file[name]) for name in names)",
        ]
    elif source.format == "npz":
        lines = _mapping_lines("arrays = np.load(DATA)", " ".join(map(repr, _keys(source))), source)
    elif source.format == "cifar10":
        lines = CIFAR_LINES
    else:
        lines = _idx_lines(source)
    return [*lines, "y_train, y_test = y_train.long(), y_test.long()"]


CIFAR_LINES = [
    "def batch(name):",
    "    rows = torch.from_numpy(np.fromfile(os.path.join(DATA, name), np.uint8)).view(-1, 1 + 3072)",
    "    return rows[:, 1:].reshape(-1, 3, 1024).transpose(1, 2).reshape(-1, 3072), rows[:, 0]",
    "",
    'x_train, y_train = map(torch.cat, zip(*(batch(f"data_batch_{i}.bin") for i in range(1, 6))))',
    'x_test, y_test = batch("test_batch.bin")',
]


def _idx_lines(source: Source) -> list[str]:
    if source.channels > 1 or source.pixel_bytes > 1:
        raise UserError(f"{source.name}: a script reads IDX files of bytes and one channel alone; save it as .npz")
    folder = Path(source.path)
    emnist = emnist_split(source.known_as) or (idx.only_split(folder) if os.path.isdir(folder) else "")
    names = [re.sub(r"-idx.*", "", stem) for stem in idx.stems(emnist)]
    images = "idx(name).transpose(0, 2, 1)" if emnist else "idx(name)"
    lines = [
        "def idx(name):",
        '    """Read an IDX file: its number of dimensions, the sizes as big-endian numbers, and bytes."""',
        '    path = sorted(pathlib.Path(DATA).glob(f"{name}?idx?-ubyte*"))[0]',
        '    content = (gzip.open if path.suffix == ".gz" else open)(path, "rb").read()',
        '    shape = np.frombuffer(content, ">u4", content[3], 4)',
        "    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)",
        "",
        f"x_train, x_test = (torch.tensor({images}).flatten(1) for name in ({names[0]!r}, {names[2]!r}))",
        f"y_train, y_test = (torch.tensor(idx(name)) for name in ({names[1]!r}, {names[3]!r}))",
    ]
    if emnist:  # the labels of letters begin at 1
        lines.append("y_train, y_test = y_train - y_train.min(), y_test - y_train.min()")
    return lines


def _keys(source: Source) -> list[str]:
    """Return the names of the arrays in an .npz file; UserError if it is not here."""
    try:
        files.check_regular(Path(source.folder))  # a pipe would never end
        with zipfile.ZipFile(source.folder) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{source.folder}: cannot be read ({error}); write the script where the data set is") from None


def _mapping_lines(first: str, keys: str, source: Source) -> list[str]:
    """Return the lines that read a mapping of arrays; `keys` is a string that has its keys, best of all in quotes."""
    names = {pair[0].format("train"): pair for pair in SPELLINGS.values()}
    spellings = [
        pair for mark in ("['\"]", r"\b") for name, pair in names.items() if re.search(mark + name + mark, keys)
    ]
    spelling = [*spellings, *names.values()][0]
    train, test, val = (tuple(name.format(split) for name in spelling) for split in ("train", "test", "val"))
    lines = [
        first,
        f"x_train, y_train, x_test, y_test = (np.asarray(arrays[name]) for name in {(*train, *test)})",
        "values = np.unique(y_train)  # the classes",
    ]
    x = "x"
    if source.pixel_bytes > 1:
        lines += [
            'whole = x_train.dtype.kind in "biu" and x_test.dtype.kind in "biu"',
            "scale = float(max(-int(x_train.min()), int(x_train.max()))) or 1.0 if whole else 1.0",
        ]
        x = "(x / scale)"
    if re.search(rf"\b{val[0]}\b", keys):
        lines += [
            f"if {val[0]!r} in arrays:",
            f"    x_train = np.concatenate([arrays[{val[0]!r}], x_train])",
            f"    y_train = np.concatenate([arrays[{val[1]!r}], y_train])",
        ]
    dtype = "np.uint8" if source.pixel_bytes == 1 else "np.float32"
    return [
        *lines,
        f"x_train, x_test = (torch.from_numpy({x}.astype({dtype})).flatten(1) for x in (x_train, x_test))",
        "y_train, y_test = (torch.from_numpy(np.searchsorted(values, y.ravel())) for y in (y_train, y_test))",
    ]


# The number of values, their sum and that of their squares: of bytes they are exact.
TOTALS = "total, first, second = (sum(c * value**p for value, c in enumerate(counts)) for p in (0, 1, 2))"


def statistics_lines(cell: Cell, source: Source) -> list[str]:
    """Return the lines that compute what standardizes the images: the mean and the deviation of each channel."""
    if not cell.standardize:
        return []
    height, width, channels = source.shape
    if source.pixel_bytes == 1 and channels == 1:
        return [
            "counts = torch.bincount(x_train.flatten(), minlength=256).tolist()",
            TOTALS,
            "mean = torch.tensor(first / total / 255)",
            "deviation = torch.tensor(math.sqrt((total * second - first**2) / total**2 / 255**2) or 1.0)",
        ]
    if source.pixel_bytes == 1:
        lines = [
            "means, deviations = [], []",
            f"for channel in range({channels}):",
            f"    counts = torch.bincount(x_train[:, channel::{channels}].flatten(), minlength=256).tolist()",
            f"    {TOTALS}",
            "    means.append(first / total / 255)",
            "    deviations.append(math.sqrt((total * second - first**2) / total**2 / 255**2) or 1.0)",
        ]
    else:
        lines = [
            f"values = x_train.view(-1, {channels}).double()",
            "means = values.mean(0).tolist()",
            "deviations = [deviation or 1.0 for deviation in values.std(0, unbiased=False).tolist()]",
        ]
    pixels = height * width
    repeated = f" * {pixels}" if pixels > 1 else ""
    return [*lines, f"mean, deviation = torch.tensor(means{repeated}), torch.tensor(deviations{repeated})"]


def augmentation_lines(cell: Cell, source: Source) -> list[str]:
    """Return the function that changes the images of a batch."""
    if cell.augment == "none":
        return []
    height, width, channels = source.shape
    lines = [
        "def augmented(images, bits):",
        f'    """Change images as torchvision\'s {_augmentations(cell.augment)}, each by 64 random bits."""',
        f"    images = images.view(-1, {height}, {width}, {channels}).numpy()",
    ]
    if "crop" in cell.augment:
        border = f"({PADDING}, {PADDING})"
        lines += [
            f"    row, column = (((bits >> shift & 0x1FFFFF) * {OFFSETS} >> 21).astype(int) for shift in (0, 21))",
            f"    padded = np.pad(images, ((0, 0), {border}, {border}, (0, 0)))",
            f"    images = [x[r : r + {height}, c : c + {width}] for x, r, c in zip(padded, row, column)]",
            "    images = np.stack(images)",
        ]
    if "flip" in cell.augment:
        lines.append("    images = np.where((bits >> 63)[:, None, None, None] == 1, images[:, :, ::-1], images)")
    return [*lines, "    return torch.from_numpy(images).flatten(1)", ""]


def _augmentations(augment: str) -> str:
    names = {"crop": f"RandomCrop(padding={PADDING})", "flip": "RandomHorizontalFlip()"}
    return " and ".join(names[name] for name in augment.split("_"))


def augmentation_bits(cell: Cell) -> list[str]:
    """Return the lines that set the random bits of an epoch's augmentation, `[steps, batch]`."""
    if cell.augment == "none":
        return []
    return [
        f"bits = np.random.PCG64(np.random.SeedSequence(SEED, spawn_key=({AUGMENTATION}, epoch)))",
        "bits = bits.random_raw(TRAIN_SIZE // BATCH * BATCH).reshape(-1, BATCH)",
    ]


def batch_images(cell: Cell) -> str:
    """Return the expression of the images of a batch."""
    return "x_train[rows]" if cell.augment == "none" else "augmented(x_train[rows], bits[step])"


def input_lines(cell: Cell, source: Source, is_rows: bool) -> list[str]:
    """Return the body of the function of `images` that returns the input of the network."""
    height, width, channels = source.shape
    value = "images / 255" if source.pixel_bytes == 1 else "images"
    if cell.standardize:
        value = f"({value} - mean) / deviation"
    if is_rows:
        return [f"return {value}"]
    rows = value if value.isidentifier() else f"({value})"
    if "@" in cell.model and 1 in (channels, height * width):  # as `models.weights.as_images`
        return [f"return {rows}.view(-1, {channels}, {height}, {width})"]
    in_order = ".contiguous()" if "@" in cell.model else ""
    return [f"return {rows}.view(-1, {height}, {width}, {channels}).permute(0, 3, 1, 2){in_order}"]
