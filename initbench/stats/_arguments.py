"""The arguments that the functions share, checked: a wrong table, setting or metric is one line that says so.

A table of a wrong type is a TypeError, a column that is missing or unknown a ValueError. No check copies a table.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from initbench.errors import nearest, shown
from initbench.spec.columns import METRICS

# The columns that every tidy table has, besides its settings.
REQUIRED = ("cell", "seed", "dataset", "epoch", "epochs", "status", "validation_accuracy", "test_accuracy")

TIDY = "a tidy table, as ib.load returns it"


def check_table(table: object, name: str, columns: Iterable[str], kind: str) -> None:
    """Raise TypeError unless an argument is a table, and ValueError unless it has these columns.

    `name` is the argument's name, and `kind` says which table it is.
    """
    if isinstance(table, str | Path):
        raise TypeError(f"{name} = {shown(str(table))} is a path; load it with ib.load({shown(str(table))})")
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"{name} is {_type_of(table)}; allowed: {kind}")
    if missing := [column for column in columns if column not in table]:
        plural = "s" * (len(missing) > 1)
        lacks = f"{name} lacks the column{plural} {', '.join(map(repr, missing))}"
        raise ValueError(f"{lacks}; required: {', '.join(columns)}, as in {kind}")


def check_frame(
    frame: object, metric: object = None, *, name: str = "frame", columns: Iterable[str] = REQUIRED
) -> None:
    """Check a tidy table, and a metric unless it is None: one of its columns of numbers."""
    check_table(frame, name, columns, TIDY)
    if metric is not None:
        check_metric(frame, metric)


def check_metric(frame: Any, metric: object) -> None:
    """Raise ValueError unless a table has this column, and it has numbers."""
    if not isinstance(metric, str) or metric not in frame or not pd.api.types.is_numeric_dtype(frame[metric]):
        allowed = [name for name in METRICS if name in frame]
        raise ValueError(f"metric = {shown(metric)}; allowed: {', '.join(allowed)}{nearest(metric, allowed)}")


def check_scores(scores: object) -> None:
    """Raise TypeError unless these are arrays by initializer, as the function `scores` returns them."""
    if not isinstance(scores, Mapping):
        raise TypeError(f"scores is {_type_of(scores)}; allowed: what ib.stats.scores returns of a tidy table")


def settings_of(table: pd.DataFrame, settings: object, argument: str = "by") -> list[str]:
    """Return the names of settings as a list, each once; a string is a single name.

    TypeError if they are not a list of names; ValueError if one is not a column of the table.
    """
    form = "allowed: a list of settings, such as ['activation', 'loss']"
    if isinstance(settings, pd.DataFrame | Mapping) or not isinstance(settings, Iterable):
        raise TypeError(f"{argument} is {_type_of(settings)}; {form}")
    names = [settings] if isinstance(settings, str) else list(settings)
    for name in names:
        if not isinstance(name, str) or name not in table:
            raise ValueError(
                f"{argument}: the table has no column {shown(name)}; {form}{nearest(name, map(str, table.columns))}"
            )
    return list(dict.fromkeys(names))


def combination_of(frame: pd.DataFrame, combination: object) -> list[str]:
    """Return the settings within whose values initializers are compared, as `settings_of` does."""
    names = settings_of(frame, combination, "combination")
    for name in ("initializer", "seed"):
        if name in names:
            raise ValueError(
                f"combination: contains {name!r}; allowed: the other settings that vary; initializers are compared "
                "within a combination, over its seeds"
            )
    check_table(frame, "frame", [*names, "initializer"], TIDY)
    return names


def _type_of(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
