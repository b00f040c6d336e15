"""Names as text: initializers, data sets, settings and combinations as people read them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from initbench.registry import DIGEST_DIGITS, SHOWN_DIGITS, own_names_in, shorten_digests
from initbench.spec.grid import Grid
from initbench.spec.settings import by_position

if TYPE_CHECKING:
    import pandas as pd

# The settings that name initializers, and other functions; the column of tables of statistics that names a third one.
INITIALIZERS = ("initializer", "bias_initializer")
FUNCTIONS = (*INITIALIZERS, "activation", "output_activation", "loss", "optimizer")
WORSE_THAN = "worse_than"

# Data sets that are known by another spelling than that of their folder, by the letters and digits of their names.
DATASETS = {
    "mnist": "MNIST",
    "fashionmnist": "Fashion-MNIST",
    "kmnist": "KMNIST",
    "qmnist": "QMNIST",
    "emnist": "EMNIST",
}

# The hexadecimal digits that distinguish data sets of one name: four, or more where four are alike.
MIN_DIGITS, DIGITS = 4, 12

# Settings whose values are clear without the setting's name.
CLEAR = ("activation", "loss", "optimizer", "dataset")

# What stands beside the name or the number of an initializer that is among the best: the second, if its mean is more
# than a point below the leader's.
MARKS = {"best": "•", "open": "◦", "": ""}


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
    parts = []
    for setting in combination:
        value = str(row[setting])
        if setting == "hidden":
            value = f"hidden {_widths(value)}" if value else "no hidden layer"
        elif setting == "dataset":
            value = dataset(value)
        elif setting not in CLEAR:
            value = f"{setting.replace('_', ' ')} {value}"
        parts.append(value)
    return ", ".join(parts) or "all cells"


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
    return {"dataset": "data set", "hidden": "hidden layers"}.get(name, name.replace("_", " "))


def setting_text(setting: str, value: Any) -> str:
    """A setting's value, for people."""
    if setting == "hidden" and value == "":
        return "none"
    return dataset(str(value)) if setting == "dataset" else str(value)


def network(hidden: Sequence[str], sizes: Sequence[tuple[int, int]]) -> str:
    """Return the layer widths of networks, for people; `sizes` are the pixels and classes of the data sets.

    >>> network([""], [(784, 10)]), network(["", "128-64"], [(784, 10)])
    ('784 → 10, no hidden layer', '784 → 10, no hidden layer; 784 → 128 → 64 → 10')
    """
    return "; ".join(
        " → ".join([str(pixels), *filter(None, widths.split("-")), str(classes)])
        + ("" if widths else ", no hidden layer")
        for pixels, classes in dict.fromkeys(sizes)
        for widths in hidden
    )


def dataset(name: str) -> str:
    """Return a data set's name without the digest of its content, in its usual spelling; see `datasets` for several.

    >>> dataset("mnist"), dataset("fashion-mnist@a485933e0d1e"), dataset("my-digits@0123456789ab")
    ('MNIST', 'Fashion-MNIST', 'my-digits')
    """
    plain, _, digest = name.rpartition("@")
    plain = plain if plain and len(digest) == DIGITS and set(digest) <= set("0123456789abcdef") else name
    return DATASETS.get("".join(filter(str.isalnum, plain)).lower(), plain)


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
