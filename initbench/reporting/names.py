"""Names as text: initializers, data sets, settings and combinations as people read them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from initbench.initializers import schemes


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with initializers as people are told of them: see `schemes.short`."""
    names = {setting: frame[setting].unique() for setting in ("initializer", "bias_initializer")}
    short = {setting: {name: schemes.short(str(name)) for name in found} for setting, found in names.items()}
    changed = {s: frame[s].map(told) for s, told in short.items() if any(name != t for name, t in told.items())}
    return frame.assign(**changed) if changed else frame


def title(combination: Sequence[str], row: Any) -> str:
    """What a combination of settings is called: `tanh, mse`, or with the setting's name where a value alone says
    little.
    """
    said = []
    for setting in combination:
        value = str(row[setting])
        if setting == "hidden":
            value = f"hidden {value}" if value else "no hidden layer"
        elif setting not in ("activation", "loss", "optimizer", "dataset"):
            value = f"{setting.replace('_', ' ')} {value}"
        said.append(value)
    return ", ".join(said) or "all cells"


def setting_text(setting: str, value: Any) -> str:
    """A setting's value, for people."""
    return "none" if setting == "hidden" and value == "" else str(value)


def dataset(name: str) -> str:
    """A data set's name, for people."""
    return "MNIST" if name == "mnist" else name
