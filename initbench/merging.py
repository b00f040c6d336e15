"""Joining the runs of several machines into one, each cell once."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from initbench import store
from initbench.cells import DIVERGED, METRICS
from initbench.errors import UserError, printable
from initbench.grid import parse
from initbench.gridfile import to_toml
from initbench.results import coded
from initbench.runs import Run

# The column of the test accuracy among the outcomes: they begin with the epoch and the divergence.
ACCURACY = 2 + METRICS.index("test_accuracy")


def merge(folders: list[Path], into: Path) -> tuple[Run, list[str]]:
    """Join runs into a new folder, each cell once; returns the run and a line for each cell that differs between them.

    The merged grid's axes are the values of all: it must not need settings that contradict each other, and its cells
    are the cross-product, so that what no run has trained is missing in it.
    """
    runs = [Run.open(folder) for folder in folders]
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise UserError(f"{into}: exists and is not empty; give --into a new folder")
    sources = {name: source for run in runs for name, source in run.grid.sources.items()}
    every = [dict(run.grid.axes) for run in runs]
    if len({axes["train_size"] for axes in every}) > 1:  # "all there is" beside a number is the number that it means
        for axes in every:
            full = tuple(dict.fromkeys(sources[name].train_size for name in axes["dataset"]))
            axes["train_size"] = full if axes["train_size"] == (None,) else axes["train_size"]
    axes = {name: tuple(dict.fromkeys(value for one in every for value in one[name])) for name in every[0]}
    same = all(run.grid.axes == axes for run in runs)
    text = runs[0].grid.text if same and runs[0].grid.name == into.name else to_toml(into.name, axes, sources)
    grid = parse(text, origin="the merged grid", name=into.name, sources=sources)

    with Run.writing(grid, into.parent) as merged:
        return merged, _joined(runs, merged)


def _joined(runs: Sequence[Run], merged: Run) -> list[str]:
    """Write the parts of all runs into the merged one; a line for each cell that differs between them."""
    seen: dict[str, tuple[Path, bytes, float]] = {}  # of each cell: whence it is, a digest of its rows, its accuracy
    lines: list[str] = []
    for run in runs:
        for part in run.parts():
            if not len(part.table):
                continue
            cells, cell_of_row = coded(part.table["cell"])
            order = np.argsort(cell_of_row, kind="stable")
            outcomes = np.split(_outcomes(part.table)[order], np.cumsum(np.bincount(cell_of_row))[:-1])
            fresh = np.array([cell not in seen for cell in cells])
            for i, (cell, outcome) in enumerate(zip(cells, outcomes, strict=True)):
                digest, accuracy = hashlib.sha256(outcome.tobytes()).digest(), float(outcome[-1, ACCURACY])
                kept, before, accuracy_before = seen.setdefault(cell, (run.folder, digest, accuracy))
                if digest != before:
                    settings = part.table.slice(cell_of_row.tolist().index(i), 1).to_pylist()[0]
                    lines.append(_disagreement(settings, accuracy_before, accuracy, kept, run.folder))
            if fresh.any():
                if merged.writer:
                    merged.writer.check()
                written = store.write_part(merged.folder, part.table.filter(fresh[cell_of_row]), part.metadata)
                timing = store.read_timing(run.folder, part.id)
                if timing:
                    store.write_timing(merged.folder, written, timing)
        lines += run.notes
    return lines


def _outcomes(table: Any) -> Any:
    """What of the rows may differ between two trainings of a cell, as numbers: epoch, divergence and metrics."""
    diverged = np.array(table["status"].to_pylist()) == DIVERGED
    metrics = [table[name].to_numpy() + 0.0 for name in METRICS]  # where it is null, not a number
    return np.column_stack([table["epoch"].to_numpy(), diverged, *metrics])


def _disagreement(settings: Mapping[str, Any], before: float, now: float, kept: Path, dropped: Path) -> str:
    what = "{initializer}, {activation}, {loss}, seed {seed}".format_map(settings)
    return printable(
        f"cell {settings['cell']} ({what}) differs: test accuracy {before} in {kept}, which is kept, and {now} in "
        f"{dropped}, which is dropped"
    )
