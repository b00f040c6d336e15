"""The lines of a script that read a data set, and turn its images into the input of the network."""

from initbench.data.datasets import MNIST_FILE, Source
from initbench.errors import UserError
from initbench.spec.cell import Cell


def path(source: Source) -> str:
    """Return where the files of a data set are."""
    return source.folder or str(MNIST_FILE)


def read_lines(source: Source) -> list[str]:
    """Return the lines that read `x_train, y_train, x_test, y_test`, images as rows, and `n`, the validation split."""
    if not source.folder:
        lines = [
            "with np.load(DATA) as file:",
            '    arrays = [file[name] for name in ("train_images", "train_labels", "test_images", "test_labels")]',
        ]
    elif source.format == "idx":
        lines = [
            "def idx(name):",
            '    """Read an IDX file: its number of dimensions, the sizes as big-endian numbers, and bytes."""',
            '    path = sorted(pathlib.Path(DATA).glob(f"{name}?idx?-ubyte*"))[0]',
            '    content = (gzip.open if path.suffix == ".gz" else open)(path, "rb").read()',
            '    shape = np.frombuffer(content, ">u4", content[3], 4)',
            "    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape).copy()",
            "",
            'arrays = [idx(name) for name in ("train-images", "train-labels", "t10k-images", "t10k-labels")]',
        ]
    else:
        raise UserError(f"dataset {source.name}: a script cannot read it")
    return [
        *lines,
        "x_train, y_train, x_test, y_test = (torch.from_numpy(array) for array in arrays)",
        "x_train, y_train, x_test, y_test = x_train.flatten(1), y_train.long(), x_test.flatten(1), y_test.long()",
        f"n = {source.validation_size}  # the first training images are the validation split",
    ]


def imports(source: Source) -> list[str]:
    """Return the modules of Python's standard library that `read_lines` needs, beside those of every script."""
    return ["gzip", "pathlib"] if source.folder and source.format == "idx" else []


def statistics_lines(cell: Cell, source: Source) -> list[str]:
    """Return the lines that compute what standardizes the images: the mean and the deviation of each channel."""
    if not cell.standardize:
        return []
    height, width, channels = source.shape
    if source.pixel_bytes == 1:  # of bytes, the sums are exact
        lines = [
            "means, deviations = [], []",
            f"for channel in range({channels}):",
            f"    counts = torch.bincount(x_train[:, channel::{channels}].flatten(), minlength=256).tolist()",
            "    total, first, second = (sum(c * value**p for value, c in enumerate(counts)) for p in (0, 1, 2))",
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


def input_lines(cell: Cell, source: Source, is_rows: bool) -> list[str]:
    """Return the body of the function of `images` that returns the input of the network."""
    height, width, channels = source.shape
    value = "images / 255" if source.pixel_bytes == 1 else "images"
    if cell.standardize:
        value = f"({value} - mean) / deviation"
    if is_rows:
        return [f"return {value}"]
    rows = value if value.isidentifier() else f"({value})"
    return [f"return {rows}.view(-1, {height}, {width}, {channels}).permute(0, 3, 1, 2)"]
