"""Timings: how fast an experiment trained, and what its initial weights took."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from initbench.errors import printable

# Seconds, cells, operations and operations per second are below this; a larger number means a damaged file.
MAX_TIMED = 1e24


def timings(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the training time of each part, from the records that the parts' timing files hold.

    A row for each record, with NaN where it lacks a positive number:

    - `device`: the device, as the record names it; `cpu` by default.
    - `cells`: number of cells of the part.
    - `initialization_seconds`: seconds that its initial weights took; NaN where they were not timed.
    - `training_seconds`: seconds without those.
    - `operations`: floating-point operations of the training.
    - `product_rate`: floating-point operations per second in a large matrix product on that device.
    """
    rows = []
    for record in records:
        seconds, *others = (_positive(record, key) for key in ("seconds", "cells", "operations", "product_rate"))
        initialization = _initialization(record)
        spent = sum(item[2] for item in initialization)
        device = printable(str(record.get("device", "cpu")))
        rows.append((device, spent if initialization else math.nan, seconds - spent, *others))
    columns = ["device", "initialization_seconds", "training_seconds", "cells", "operations", "product_rate"]
    return pd.DataFrame(rows, columns=columns)


def initialization_times(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return what the initial weights took, by initializer: a row for each, the slowest first.

    - `initializer`: its canonical string.
    - `cells`: number of cells that were timed.
    - `seconds`: seconds for all of them.
    - `seconds_per_cell`: seconds for one.
    """
    rows = [row for record in records for row in _initialization(record) if _positive(record, "seconds", "cells") > 0]
    table = pd.DataFrame(rows, columns=["initializer", "cells", "seconds"])
    table = table.groupby("initializer", sort=False, as_index=False).sum()
    table = table.assign(seconds_per_cell=table["seconds"] / table["cells"])
    return table.sort_values("seconds_per_cell", ascending=False, kind="stable", ignore_index=True)


def _positive(record: Mapping[str, Any], *keys: str) -> float:
    """Return the first of these numbers; NaN unless all are positive and of a possible size."""
    valid = all(type(record.get(key)) in (int, float) and 0 < record[key] < MAX_TIMED for key in keys)
    return float(record[keys[0]]) if valid else math.nan


def _initialization(record: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """Return initializer, cells and seconds of a record; nothing where any of them is damaged."""
    entries = record.get("initialization")
    rows = []
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        seconds: Any = entry.get("seconds") if isinstance(entry, dict) else None
        if type(seconds) not in (int, float) or not 0 <= seconds < MAX_TIMED or math.isnan(_positive(entry, "cells")):
            return []
        rows.append((printable(str(name)), int(entry["cells"]), float(seconds)))
    return rows
