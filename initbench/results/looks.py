"""The looks at an experiment: its parts when its results were complete, so that it is known which seeds came later."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from initbench.results import store
from initbench.spec.columns import SETTINGS
from initbench.system import files

if TYPE_CHECKING:
    import pandas as pd

# Of each look, the parts that are new in it, by the first digits of their ids.
LOOKS = "looks.json"
ID_LENGTH = 16

# The looks of half a million parts.
MAX_LOOKS_BYTES = 10_000_000


def read(folder: Path) -> list[list[str]]:
    """Return the parts that are new in each look at an experiment, the first look first; none if no look is known."""
    try:
        looks = files.read_json(folder / LOOKS, MAX_LOOKS_BYTES)
    except (OSError, ValueError):
        return []
    valid = isinstance(looks, list) and all(
        isinstance(look, list) and all(isinstance(part, str) for part in look) for look in looks
    )
    return looks if valid else []


def record(folder: Path) -> None:
    """Record that the results of an experiment are complete, so that they are looked at; without new parts, nothing.

    Without an earlier record, all parts belong to this look: what was seen before is not known.
    """
    looks = read(folder)
    earlier = numbered(looks)
    names = [entry.name for entry in files.entries(folder / "parts")]
    new = [name for name in names if store.PART_NAME.fullmatch(name) and name[:ID_LENGTH] not in earlier]
    if new:
        write(folder, [*looks, new])


def write(folder: Path, looks: Iterable[Iterable[str]]) -> None:
    """Write the parts that are new in each look, by their ids."""
    lines = ",\n".join(json.dumps(sorted(part[:ID_LENGTH] for part in look)) for look in looks)
    files.write_file(folder / LOOKS, f"[{lines}]\n".encode())


def numbered(looks: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the number of the look in which each part is new, from 0, by the first digits of its id."""
    return {part: number for number, look in reversed(list(enumerate(looks))) for part in look}


def seeds_seen(frame: "pd.DataFrame", looks_before: Mapping[str, int]) -> list[int]:
    """Return the numbers of seeds at which results were complete before seeds were added to them; mostly none.

    `frame` is the tidy table of an experiment; `looks_before` has the cells that were trained after a look, with the
    number of looks before. An initializer that was added later is not a seed that was, and a single seed shows no
    difference.
    """
    rows = frame[(frame["epoch"] == 0).to_numpy() & bool(looks_before)]
    if rows.empty:
        return []
    looks = rows["cell"].map(looks_before).fillna(0).to_numpy(int)
    settings = [setting for setting in SETTINGS if setting != "seed"]
    configurations = rows.groupby(settings, sort=False, dropna=False, observed=True).ngroup().to_numpy()
    seeds = np.bincount(configurations)
    counts = set()
    for look in np.unique(looks[looks > 0]):
        before = np.bincount(configurations[looks < look], minlength=len(seeds))
        grew = np.bincount(configurations[looks == look], minlength=len(seeds)) > 0
        counts.add(int(before[grew].max()))
    return sorted(count for count in counts if count > 1)
