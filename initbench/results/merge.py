"""Joining the runs of several machines into one, each cell once."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from initbench.errors import UserError, printable
from initbench.results import lock as locking
from initbench.results import store
from initbench.results.experiment import Experiment, located
from initbench.results.table import OUTCOMES, outcomes_by_cell
from initbench.spec.grid import Grid, parse
from initbench.spec.gridfile import MAX_BYTES, to_toml
from initbench.system import files

# The names of some thousand folders.
MAX_JOINS_BYTES = 10_000_000


def merge(folders: list[Path], into: Path) -> tuple[Experiment, list[str]]:
    """Join runs into a new folder, each cell once; returns the run and a line for each cell that differs between them.

    The merged grid's axes are the values of all: it must not need settings that contradict each other, and its cells
    are the cross-product, so that what no run has trained is missing in it. A merge that was stopped goes on when it is
    repeated.
    """
    runs = [Experiment.open(folder) for folder in folders]
    grid = _merged_grid(runs, into)
    joins = {"merge": [str(folder.resolve()) for folder in folders]}
    _refuse_what_is_there(into, grid, joins)
    with Experiment.writing(grid, into.parent) as merged:
        files.write_file(into / store.MERGING, json.dumps(joins).encode())
        lines = _joined(runs, merged)
    (into / store.MERGING).unlink(missing_ok=True)  # the last of all, so that nothing of a stopped merge lacks it
    return merged, lines


def _merged_grid(runs: Sequence[Experiment], into: Path) -> Grid:
    sources = {name: source for run in runs for name, source in run.grid.sources.items()}
    every = [dict(run.grid.axes) for run in runs]
    if len({axes["train_size"] for axes in every}) > 1:  # "all there is" beside a number is the number that it means
        for axes in every:
            full = tuple(dict.fromkeys(sources[name].train_size for name in axes["dataset"]))
            axes["train_size"] = full if axes["train_size"] == (None,) else axes["train_size"]
    axes = {name: tuple(dict.fromkeys(value for one in every for value in one[name])) for name in every[0]}
    same = all(run.grid.axes == axes for run in runs)
    text = runs[0].grid.text if same and runs[0].grid.name == into.name else to_toml(into.name, axes, sources)
    return parse(text, origin="the merged grid", name=into.name, sources=sources)


def _refuse_what_is_there(into: Path, grid: Grid, joins: Mapping[str, list[str]]) -> None:
    """UserError unless a folder is new or empty, or what this merge has left that was stopped.

    The first thing that a merge writes is the grid, and the second which runs it joins; parts come after both.
    """
    if not os.path.lexists(into):
        return
    mark = into / store.MERGING
    if files.is_regular(mark):
        try:
            stopped = files.read_json(mark, MAX_JOINS_BYTES)
        except (OSError, ValueError):
            stopped = None
        if stopped == joins:
            return
        raise UserError(f"{into}: holds another merge that was stopped; repeat that one, or give --into a new folder")
    names = {entry.name for entry in files.entries(into) if not files.is_unfinished(entry.name)}
    begun = {locking.LOCK, locking.HEARTBEAT, "grid.toml", "datasets.json", "parts"}
    if into.is_dir() and names <= begun and not files.entries(into / "parts"):
        if "grid.toml" not in names:
            return
        with contextlib.suppress(OSError):
            if files.read(into / "grid.toml", MAX_BYTES) == located(grid).encode():
                return
    raise UserError(f"{into}: exists and is not empty; give --into a new folder")


def _joined(runs: Sequence[Experiment], merged: Experiment) -> list[str]:
    """Write the parts of all runs into the merged one; a line for each cell that differs between them.

    What an earlier attempt has written there is not written again.
    """
    seen: dict[str, tuple[Path, bytes, float]] = {}  # of each cell: whence it is, a digest of its rows, its accuracy
    written: dict[str, str] = {}  # of each cell of an earlier attempt: its part
    for part in merged.parts():
        for cell, outcome, _ in outcomes_by_cell(part.table):
            seen[cell] = (merged.folder, *_digest(outcome))
            written[cell] = part.id
    lines: list[str] = []
    for run in runs:
        for part in run.parts():
            fresh = np.zeros(len(part.table), bool)
            earlier = set()
            for cell, outcome, rows in outcomes_by_cell(part.table):
                digest, accuracy = _digest(outcome)
                if cell not in seen:
                    fresh[rows] = True
                elif cell in written and seen[cell][:2] == (merged.folder, digest):
                    earlier.add(written[cell])
                    del seen[cell]  # it is from this run
                kept, before, accuracy_before = seen.setdefault(cell, (run.folder, digest, accuracy))
                if digest != before:
                    settings = part.table.slice(int(rows[0]), 1).to_pylist()[0]
                    lines.append(_disagreement(settings, accuracy_before, accuracy, kept, run.folder))
            if fresh.any():
                if merged.writer:
                    merged.writer.check()
                earlier.add(store.write_part(merged.folder, part.table.filter(pa.array(fresh)), part.metadata))
            for new in earlier:
                if (timing := store.read_timing(run.folder, part.id)) and not store.read_timing(merged.folder, new):
                    store.write_timing(merged.folder, new, timing)
        lines += run.notes
    return lines


def _digest(outcome: Any) -> tuple[bytes, float]:
    """A digest of a cell's outcomes, and the last test accuracy."""
    return hashlib.sha256(outcome.tobytes()).digest(), float(outcome[-1, OUTCOMES.index("test_accuracy")])


def _disagreement(settings: Mapping[str, Any], before: float, now: float, kept: Path, dropped: Path) -> str:
    what = "{initializer}, {activation}, {loss}, seed {seed}".format_map(settings)
    return printable(
        f"cell {settings['cell']} ({what}) differs: test accuracy {before} in {kept}, which is kept, and {now} in "
        f"{dropped}, which is dropped"
    )
