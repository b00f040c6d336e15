"""Names as text: initializers, data sets, settings and combinations as people read them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from initbench.data.arrays import VALIDATION_DIVISOR
from initbench.data.datasets import Source
from initbench.data.idx import EMNIST_SPLITS
from initbench.registry import DIGEST_DIGITS, SHOWN_DIGITS, own_names_in, shorten_digests
from initbench.spec.grid import Grid
from initbench.spec.settings import by_position

if TYPE_CHECKING:
    import pandas as pd

# The settings that name initializers, and other functions; the column of tables of statistics that names a third one.
INITIALIZERS = ("initializer", "bias_initializer")
FUNCTIONS = (*INITIALIZERS, "activation", "output_activation", "model", "loss", "optimizer")
WORSE_THAN = "worse_than"

# Data sets that are known by another spelling than that of their folder, by the letters and digits of their names.
DATASETS = {
    "mnist": "MNIST",
    "fashionmnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "qmnist": "QMNIST",
    "emnist": "EMNIST",
    **{f"emnist{split}": f"EMNIST {split}" for split in EMNIST_SPLITS},
    "cifar10": "CIFAR-10",
}

# Models that are known by another spelling than their name in a grid file.
PERCEPTRON = "perceptron"
MODELS = {
    "lenet5": "LeNet-5",
    "convnet": "convnet",
    "residual_perceptron": "residual perceptron",
    "allconv": "all-convolutional net",
}

# The hexadecimal digits that distinguish data sets of one name: four, or more where four are alike.
MIN_DIGITS, DIGITS = 4, 12

# Settings whose values are clear without the setting's name.
CLEAR = ("activation", "loss", "optimizer", "dataset", "model")

# Settings that people call otherwise, and what each is called where its value says that it is off.
SETTINGS = {
    "dataset": "data set",
    "hidden": "hidden layers",
    "standardize": "standardization",
    "augment": "augmentation",
    "warmup_epochs": "warm-up",
}
OFF = {
    "standardize": False,
    "augment": "none",
    "normalization": "none",
    "dropout": 0.0,
    "warmup_epochs": 0.0,
    "gradient_clipping": 0.0,
}
AUGMENTATIONS = {"crop": "shifts", "flip": "flips", "crop_flip": "shifts and flips"}


def shorten_functions(frame: "pd.DataFrame", digits: int = SHOWN_DIGITS) -> "pd.DataFrame":
    """Return the table with short names of initializers and short digests of own functions."""
    changed = {}
    for column in frame.columns.intersection([*FUNCTIONS, WORSE_THAN]):
        is_initializer = column in (*INITIALIZERS, WORSE_THAN)
        names = {name: shorten_digests(str(name), digits) for name in frame[column].unique()}
        short = {name: initializer(text) if is_initializer else text for name, text in names.items()}
        if any(name != text for name, text in short.items()):
            changed[column] = frame[column].map(short)
    return frame.assign(**changed) if changed else frame


def shorten_axes(grid: Grid, digits: int = SHOWN_DIGITS) -> Grid:
    """Return the grid with short digests in the names on its axes, for people; it is not one to train."""
    short = {setting: tuple(shorten_digests(name, digits) for name in grid.axes[setting]) for setting in FUNCTIONS}
    return (
        grid if all(grid.axes[s] == names for s, names in short.items()) else replace(grid, axes={**grid.axes, **short})
    )


def digits_of(texts: Iterable[str]) -> int:
    """Return how many digits of their digests tell the own functions in these texts apart.

    >>> digits_of(["mine@0123456789abcdef0123", "mine@0123456780abcdef0123(gain=2.0)", "relu"])
    10
    """
    names = own_names_in(*texts)
    digits = SHOWN_DIGITS
    while digits < DIGEST_DIGITS and len({shorten_digests(name, digits) for name in names}) < len(names):
        digits += 1
    return digits


def initializer(name: str) -> str:
    """Return an initializer's short name: of the schemes of the layer positions, those unlike the hidden layers'.

    >>> initializer("per_layer(first=he_normal, hidden=he_normal, last=normal(std=0.01))")
    'he_normal with last normal(std=0.01)'
    >>> initializer("per_layer(first=zeros, hidden=ones, last=ones)"), initializer("he_normal")
    ('ones with first zeros', 'he_normal')
    """
    scheme = by_position(name)
    if scheme is None:
        return name
    others = [
        f"{position} {scheme[position]}" for position in ("first", "last") if scheme[position] != scheme["hidden"]
    ]
    return f"{scheme['hidden']} with {' and '.join(others)}"


def title(combination: Sequence[str], row: Any) -> str:
    """Return a combination's title: `tanh, mse`; with the setting's name where a value alone is unclear."""
    if "model" in combination and row["model"] != PERCEPTRON:
        combination = [setting for setting in combination if setting != "hidden"]
    return ", ".join(_in_title(setting, row[setting]) for setting in combination) or "all cells"


def _in_title(setting: str, value: Any) -> str:
    """A setting's value in a title."""
    if setting == "hidden":
        text = str(value)
        return f"hidden {_widths(text)}" if text else "no hidden layer"
    if setting in OFF:
        return switched(setting, value)
    text = setting_text(setting, value)
    return text if setting in CLEAR else f"{setting.replace('_', ' ')} {text}"


def switched(setting: str, value: Any) -> str:
    """The value of a setting that may be off, where the setting's name does not stand beside it.

    >>> switched("normalization", "batch"), switched("dropout", 0.0), switched("warmup_epochs", 1.0)
    ('batch norm', 'no dropout', 'warm-up of 1 epoch')
    """
    called = "norm" if setting == "normalization" else SETTINGS.get(setting, setting.replace("_", " "))
    if value == OFF[setting]:
        return f"no {called}"
    text = setting_text(setting, value)
    if setting == "standardize":
        return called
    return {"normalization": f"{text} {called}", "warmup_epochs": f"{called} of {text}"}.get(
        setting, f"{called} {text}"
    )


def _widths(hidden: str) -> str:
    """The widths of hidden layers; of three and more of the same width, their number.

    >>> _widths("128-128-128"), _widths("128-64")
    ('3×128', '128-64')
    """
    widths = hidden.split("-")
    return f"{len(widths)}×{widths[0]}" if len(widths) > 2 and len(set(widths)) == 1 else hidden


def setting(name: str) -> str:
    """A setting's name, for people.

    >>> setting("learning_rate"), setting("dataset"), setting("hidden")
    ('learning rate', 'data set', 'hidden layers')
    """
    return SETTINGS.get(name, name.replace("_", " "))


def setting_text(setting: str, value: Any) -> str:
    """A setting's value, for people."""
    if setting == "hidden" and value == "":
        return "none"
    if setting in OFF:
        return _unless_off(setting, value)
    if setting == "dataset":
        return dataset(str(value))
    return model(str(value)) if setting == "model" else str(value)


def _unless_off(setting: str, value: Any) -> str:
    """The value of a setting that may be off, beside the setting's name."""
    if setting == "standardize":
        return "yes" if value else "no"
    if value == OFF[setting]:
        return "none"
    if setting == "warmup_epochs":
        return f"{value:g} {'epoch' if value == 1 else 'epochs'}"
    return AUGMENTATIONS.get(value, value) if isinstance(value, str) else f"{value:g}"


def model(name: str) -> str:
    """A model's name as people write it, with its parameters.

    >>> model("lenet5(pooling='max')"), model("residual_perceptron(blocks=8)"), model("build@3f2a91(width=64)")
    ('LeNet-5 (pooling max)', 'residual perceptron (blocks 8)', 'build@3f2a91(width=64)')
    """
    plain, parenthesis, parameters = name.partition("(")
    if plain not in MODELS:
        return name
    values = parameters.removesuffix(")").replace("=", " ").replace("'", "")
    return f"{MODELS[plain]} ({values})" if parenthesis else MODELS[plain]


def dataset(name: str) -> str:
    """Return a data set's name without the digest of its content, in its usual spelling; see `datasets` for several.

    >>> dataset("mnist"), dataset("fashion-mnist@a485933e0d1e"), dataset("my-digits@0123456789ab")
    ('MNIST', 'Fashion-MNIST', 'my-digits')
    """
    plain, _, digest = name.rpartition("@")
    plain = plain if plain and len(digest) == DIGITS and set(digest) <= set("0123456789abcdef") else name
    return DATASETS.get("".join(filter(str.isalnum, plain)).lower(), plain)


def images(source: Source) -> str:
    """What the rows of a data set are called: images, or of features alone examples."""
    return "examples" if source.channels and source.height == source.width == 1 else "images"


def has_own_validation_split(source: Source) -> bool:
    """Return whether a data set has a validation split of its own: not the first twelfth of the training images."""
    return source.validation_size != (source.train_size + source.validation_size) // VALIDATION_DIVISOR


def validation_split(source: Source) -> str:
    """Return which images are the validation split."""
    total = source.train_size + source.validation_size
    if has_own_validation_split(source):
        return f"the {source.validation_size:,} validation {images(source)}"
    return f"the first {source.validation_size:,} of the {total:,} training {images(source)}"


def datasets(names: Iterable[str]) -> dict[str, str]:
    """Return the name for people of each data set, by its full name: different data sets have different names.

    Those with one name and different content keep as many digits of the digest as distinguish them.

    >>> datasets(["mnist", "digits@a485933e0d1e", "digits@a485aaaa0d1e", "fashion-mnist@0123456789ab"])
    {'mnist': 'MNIST', 'digits@a485933e0d1e': 'digits (a4859)', 'digits@a485aaaa0d1e': 'digits (a485a)', \
'fashion-mnist@0123456789ab': 'Fashion-MNIST'}
    """
    full = list(dict.fromkeys(names))
    shown = {name: dataset(name) for name in full}
    for digits in range(MIN_DIGITS, DIGITS + 1):
        count = Counter(shown.values())
        if len(count) == len(full):
            return shown
        alike = {name for name in full if count[shown[name]] > 1 and "@" in name}
        shown |= {name: f"{dataset(name)} ({name.rpartition('@')[2][:digits]})" for name in alike}
    return shown if len(set(shown.values())) == len(full) else {name: name for name in full}


def show_datasets(frame: "pd.DataFrame", shown: dict[str, str]) -> "pd.DataFrame":
    """Return the table with the data sets' names for people: `shown` is what `datasets` returned."""
    if all(name == shown.get(name, name) for name in map(str, frame["dataset"].unique())):
        return frame
    return frame.assign(dataset=frame["dataset"].map(lambda name: shown.get(str(name), str(name))))
