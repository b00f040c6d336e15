"""Verifying a run: is its folder sound, and do some of its cells, trained again, give the same bits?"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from initbench import execution
from initbench.execution import Failed, Finished, start
from initbench.execution.config import ExecutionConfig
from initbench.results import store
from initbench.results.experiment import Experiment
from initbench.results.table import outcomes_by_cell, table
from initbench.spec.cell import TRAINING_VERSION, Cell
from initbench.spec.columns import DIVERGED, METRICS, SETTINGS
from initbench.system import files

# What decides the bits of a cell, beside its specification: a part's metadata names them.
DECISIVE = ("torch", "numpy", "scipy", "platform", "processor", "cpu_capability", "blas", "device")

# Parts that earlier versions wrote lack these: that is no difference.
ADDED_LATER = ("cpu_capability", "blas")

# Trainings of a cell on different machines are this close before the first epoch and in it, relative to the loss.
CLOSE = 0.02


@dataclass
class Checked:
    """What was found in a folder: lines about what is wrong, how much is sound, and where each cell was trained."""

    wrong: list[str] = field(default_factory=list)
    parts: int = 0
    cells: dict[str, Mapping[str, str]] = field(default_factory=dict)  # by id: the metadata of its part
    part_of: dict[str, str] = field(default_factory=dict)  # by id: the first part that has the cell
    earlier: int = 0  # cells of an earlier version of the training


def check(run: Experiment) -> Checked:
    """Check every part of a run: its checksum and columns, its cells' ids, and that its rows can be a training's."""
    found = Checked()
    rows_of: dict[str, bytes] = {}  # of each cell: a digest of its rows, in the first part that has it
    for part in run.parts():
        found.parts += 1
        lines, earlier = _wrong_rows(part.table)
        found.earlier += earlier
        for cell, outcome, _ in outcomes_by_cell(part.table):
            digest = hashlib.blake2b(outcome.tobytes(), digest_size=16).digest()
            first = found.part_of.setdefault(cell, part.id)
            if rows_of.setdefault(cell, digest) != digest:
                lines.append(f"cell {cell} has other rows in part {first[:12]}…")
            found.cells[cell] = part.metadata
        found.wrong += [f"{run.folder / 'parts' / part.id}.parquet: {line}" for line in lines]
    there = {entry.name for place in ("parts", "set-aside") for entry in files.entries(run.folder / place)}
    for part_id in store.timed_parts(run.folder, run.notes):
        name = f"{part_id}.parquet"
        if name not in there:
            found.wrong.append(
                f"{run.folder / 'parts' / name}: is gone, though its timing is there; run again to train it"
            )
    found.wrong = list(dict.fromkeys([*run.notes, *found.wrong]))
    return found


def _wrong_rows(rows: pa.Table) -> tuple[list[str], int]:
    """What is wrong with the rows of a part that was read: a line for each mistake that reading does not look for.

    And how many of its cells have the ids of an earlier version of the training. The rows of a cell stand together, by
    epoch from 0: reading has looked for that.
    """
    epoch = rows["epoch"].to_numpy()
    first = np.flatnonzero(epoch == 0)
    goes_on = epoch[1:] != 0
    for name in SETTINGS:
        column = rows[name]
        if _changes(column)[goes_on].any():
            return ["a cell has rows of several settings"], 0
    lines, earlier = [], 0
    cells = rows.select(["cell", *SETTINGS]).take(pa.array(first))
    for id_, *values in zip(*(column.to_pylist() for column in cells.columns), strict=True):
        specification = Cell(*values)
        if id_ == specification.id:
            continue
        if id_ in _former_ids(specification):
            earlier += 1
        else:
            lines.append(f"cell {id_} is not what its settings make: {specification.id}")
    diverged = pc.equal(rows["status"], DIVERGED).to_numpy()
    if (diverged[:-1] & ~diverged[1:] & goes_on).any():
        lines.append("a cell is trained after it diverged")
    for name in METRICS:
        empty = diverged | (epoch == 0) if name == "train_loss" else diverged
        if (np.isnan(rows[name].to_numpy()) != empty).any():
            lines.append(f"{name} is missing, or there, where it cannot be")
    return lines, earlier


def _changes(column: pa.ChunkedArray) -> Any:
    """Whether the value changes from each row to the next."""
    return pc.not_equal(column[1:], column[:-1]).to_numpy()


def _former_ids(cell: Cell) -> set[str]:
    return {cell.id_of(version) for version in range(1, TRAINING_VERSION)} - {""}


@dataclass
class Retrained:
    """What came of training some cells again: how many have the same bits, and lines about those that have not."""

    chosen: int = 0
    same: int = 0
    absent: list[str] = field(default_factory=list)  # data sets that are not here, so that nothing of them is chosen
    wrong: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)  # cells trained on another machine, which agree to rounding


def retrain(run: Experiment, checked: Checked, sample: int, seed: int, config: ExecutionConfig) -> Retrained:
    """Train a random sample of a run's cells again, and compare their rows bit for bit.

    Where another processor, device or version trained a cell, its bits may differ, and how far is told instead.
    """
    absent = [name for name, source in run.grid.sources.items() if source.folder and not Path(source.folder).is_dir()]
    trained = [cell for cell in run.grid.cells() if cell.id in checked.cells and cell.dataset not in absent]
    chosen = random.Random(seed).sample(trained, min(sample, len(trained)))
    found = Retrained(chosen=len(chosen), absent=absent)
    if not chosen:
        return found
    stored = _rows(run, checked, {cell.id for cell in chosen})
    with start.start_pool(chosen, run.grid.sources, config) as pool:
        for event in execution.train(pool, start.planned_stacks(chosen, run.grid.sources, pool, config.width)[0]):
            if isinstance(event, Failed):
                found.wrong.append(f"{event.cell.described} could not be trained again: {event.why}")
            if isinstance(event, Finished):
                _compare(event, stored, checked, found)
    return found


def _rows(run: Experiment, checked: Checked, cells: set[str]) -> dict[str, pa.Table]:
    """The rows of some cells, by epoch."""
    found: dict[str, pa.Table] = {}
    for part in run.parts(only={checked.part_of[cell] for cell in cells}):
        for cell, _, rows in outcomes_by_cell(part.table):
            if cell in cells and checked.part_of[cell] == part.id:
                found[cell] = part.table.take(pa.array(rows)).combine_chunks()
    return found


def _compare(finished: Finished, stored: Mapping[str, pa.Table], checked: Checked, found: Retrained) -> None:
    cells = finished.stack.cells
    again = table(cells, finished.metrics)
    rows = finished.stack.cells[0].epochs + 1
    for i, cell in enumerate(cells):
        new, old = again.slice(i * rows, rows).combine_chunks(), stored[cell.id]
        if new.equals(old):
            found.same += 1
            continue
        made_by = checked.cells[cell.id]
        other = [
            f"{name} {made_by.get(name, 'unknown')}, here {finished.environment[name]}"
            for name in DECISIVE
            if made_by.get(name) != finished.environment[name] and (name in made_by or name not in ADDED_LATER)
        ]
        inexact = "to rounding" in (made_by.get("bits"), finished.environment["bits"])
        line = f"{cell.described}: {_difference(old, new)}"
        if (other or inexact) and _alike(old, new):
            found.elsewhere.append(f"{line}; trained with {'; '.join(other) or 'products that round differently'}")
        elif other or inexact:
            found.wrong.append(f"{line}; too far apart for {'; '.join(other) or 'products that round differently'}")
        else:
            found.wrong.append(f"{line}; trained on the same kind of processor with the same versions")


def _alike(old: pa.Table, new: pa.Table) -> bool:
    """Whether two trainings of a cell on different machines can be the same: rounding enlarges as training goes on, and
    has done little before the first epoch and in it."""
    for epoch, names in ((0, METRICS[1:]), (1, METRICS[:1])):
        for name in names:
            before, now = (rows.slice(epoch, 1)[name].to_pylist()[0] for rows in (old, new))
            if (before is None) != (now is None):
                return False
            if before is not None and abs(before - now) > CLOSE * max(1.0 * (name.endswith("accuracy")), abs(now)):
                return False
    return True


def _difference(old: pa.Table, new: pa.Table) -> str:
    """How far the rows of two trainings of a cell are from each other, in words."""
    told = []
    for rows in (old, new):
        last = rows.slice(len(rows) - 1).to_pylist()[0]
        accuracy = last["test_accuracy"]
        told.append(last["status"] if accuracy is None else f"{accuracy:.4f}")
    first = next((i for i in range(len(old)) if not old.slice(i, 1).equals(new.slice(i, 1))), 0)
    return f"last test accuracy {told[0]}, now {told[1]}; its rows differ from epoch {first} on"


def lines(run: Experiment, checked: Checked) -> Sequence[str]:
    """What was found in a folder, in words."""
    missing = [cell for cell in run.grid.cells() if cell.id not in checked.cells]
    others = len(checked.cells) - checked.earlier - (len(run.grid) - len(missing))
    told = [f"{run.folder}: {len(run.grid) - len(missing):,} of {len(run.grid):,} cells, in {checked.parts:,} parts"]
    if checked.earlier:
        told.append(
            f"{checked.earlier:,} cells are of an earlier version of the training: they are read, and their bits "
            "cannot be had again"
        )
    if others:
        told.append(f"{others:,} more cells lie there that are not of this grid")
    if missing and len(missing) > checked.earlier:
        told.append(f"{len(missing):,} cells are not trained yet, or not any more; `initbench run` trains them")
    if aside := files.entries(run.folder / "set-aside"):
        told.append(f"set aside: {len(aside):,} damaged, in {run.folder / 'set-aside'}")
    return told
