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
            '    """Return the array of an IDX file: bytes, the numbers of dimensions and each size before them."""',
            "    file = next(path for path in pathlib.Path(DATA).iterdir() if path.name.startswith(name))",
        ]
        raise UserError("dataset: a script reads MNIST alone so far")
    else:
        raise UserError(f"dataset: a script cannot read the format {source.format}")
    return [
        *lines,
        "x_train, y_train, x_test, y_test = (torch.from_numpy(array) for array in arrays)",
        "x_train, y_train, x_test, y_test = x_train.flatten(1), y_train.long(), x_test.flatten(1), y_test.long()",
        "n = len(x_train) // 12  # the first twelfth of the training images is the validation split",
    ]


def statistics_lines(cell: Cell, source: Source) -> list[str]:
    """Return the lines that compute what standardizes the images."""
    return []


def input_lines(cell: Cell, source: Source, is_rows: bool) -> list[str]:
    """Return the body of the function of `images` that returns the input of the network."""
    height, width, channels = source.shape
    lines = ["x = images / 255"]
    if is_rows:
        return ["return images / 255"]
    return [*lines, f"return x.view(-1, {height}, {width}, {channels}).permute(0, 3, 1, 2)"]
