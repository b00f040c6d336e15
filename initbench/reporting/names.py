"""Names as text: initializers, data sets, settings and combinations as people read them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from initbench.initializers import schemes


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table with short names of initializers: see `schemes.short`."""
    names = {setting: frame[setting].unique() for setting in ("initializer", "bias_initializer")}
    short = {setting: {name: schemes.short(str(name)) for name in values} for setting, values in names.items()}
    changed = {s: frame[s].map(by_name) for s, by_name in short.items() if any(a != b for a, b in by_name.items())}
    return frame.assign(**changed) if changed else frame


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


def dataset(name: str) -> str:
    """A data set's name, for people."""
    return "MNIST" if name == "mnist" else name
