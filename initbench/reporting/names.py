"""Names as text: initializers, data sets, settings and combinations as people read them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from initbench.spec.settings import by_position

# The columns of tables of results and of statistics that name an initializer.
INITIALIZER_COLUMNS = ("initializer", "bias_initializer", "worse_than")

# What stands beside the name or the number of an initializer that is among the best: the second, if its mean is more
# than a point below the leader's.
MARKS = {"best": "•", "open": "◦", "": ""}


def shorten_initializers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with short names of initializers: see `initializer`."""
    names = {column: frame[column].unique() for column in INITIALIZER_COLUMNS if column in frame}
    short = {setting: {name: initializer(str(name)) for name in values} for setting, values in names.items()}
    changed = {s: frame[s].map(by_name) for s, by_name in short.items() if any(a != b for a, b in by_name.items())}
    return frame.assign(**changed) if changed else frame


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
            value = f"hidden {value}" if value else "no hidden layer"
        elif setting not in ("activation", "loss", "optimizer", "dataset"):
            value = f"{setting.replace('_', ' ')} {value}"
        parts.append(value)
    return ", ".join(parts) or "all cells"


def setting_text(setting: str, value: Any) -> str:
    """A setting's value, for people."""
    return "none" if setting == "hidden" and value == "" else str(value)


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
    """A data set's name, for people."""
    return "MNIST" if name == "mnist" else name
