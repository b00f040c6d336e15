"""Verifying an experiment: its folder is sound, and a sample of its cells retrains to the same bits."""

import hashlib
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from initbench.errors import printable
from initbench.execution import scheduling, start
from initbench.execution.config import ExecutionConfig
from initbench.execution.events import Finished, Untrained
from initbench.execution.training import planned_training
from initbench.plugins import store as code
from initbench.registry import digests_in, shorten_digests
from initbench.results import signal, store
from initbench.results.experiment import Experiment
from initbench.results.plugin_file import PLUGINS, own_names
from initbench.results.table import outcomes_by_cell, table
from initbench.spec.cell import TRAINING_VERSION, Cell
from initbench.spec.columns import DIVERGED, METRICS, SETTINGS
from initbench.spec.own import code_missing
from initbench.system import files

# The metadata of a part that affect the bits of its cells, in addition to their specifications.
DECISIVE = ("torch", "numpy", "scipy", "platform", "processor", "cpu_capability", "blas", "products", "device")

# Parts of earlier versions lack these, which is not a difference.
ADDED_LATER = ("cpu_capability", "blas", "products")

# The largest difference between training runs of a cell on different machines, before the first epoch and in it,
# relative to the loss.
CLOSE = 0.02


@dataclass
class CheckResult:
    """The result of `check`: lines about mistakes, and the contents of the folder."""

    problems: list[str] = field(default_factory=list)
    parts: int = 0
    cells: dict[str, Mapping[str, str]] = field(default_factory=dict)  # by id: the metadata of its part
    part_of: dict[str, str] = field(default_factory=dict)  # by id: the first part that has the cell
    earlier: int = 0  # cells of an earlier version of the training
    signal: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by cell: the files that have its signal


def check(experiment: Experiment) -> CheckResult:
    """Check every part of an experiment: its checksum and columns, its cells' ids, and that its rows are possible.

    And every file of the signal table: its checksum, columns and values, and that the files that have a cell's agree.
    """
    result = CheckResult()
    rows_of: dict[str, bytes] = {}  # by cell: a digest of its rows in the first part that has it
    for part in experiment.parts():
        result.parts += 1
        problems, earlier = _row_problems(part.table)
        result.earlier += earlier
        for cell, outcome, _ in outcomes_by_cell(part.table):
            digest = hashlib.blake2b(outcome.tobytes(), digest_size=16).digest()
            first = result.part_of.setdefault(cell, part.id)
            if rows_of.setdefault(cell, digest) != digest:
                problems.append(f"cell {cell} has other rows in part {first[:12]}…")
            result.cells[cell] = part.metadata
        result.problems += [f"{experiment.folder / 'parts' / part.id}.parquet: {line}" for line in problems]
    _check_signal(experiment, result)
    names = {entry.name for inner in ("parts", "set-aside") for entry in files.entries(experiment.folder / inner)}
    for part_id in store.timed_parts(experiment.folder, experiment.notes):
        name = f"{part_id}.parquet"
        if name not in names:
            result.problems.append(
                f"{experiment.folder / 'parts' / name}: is gone, but its timing exists; `initbench run` trains it again"
            )
    _ = experiment.plugins  # notes what is damaged
    # Ids of cells are what a file says.
    result.problems = list(dict.fromkeys(map(printable, [*experiment.notes, *result.problems])))
    return result


def _check_signal(experiment: Experiment, result: CheckResult) -> None:
    """Add what is wrong with the signal table to the result, and which files have a cell's."""
    folder = experiment.folder / "signal"
    incomplete: dict[str, set[tuple[int, int]]] = {}  # by cell: epochs and layers that its files have
    for file in experiment.signal_files():
        alone = (file.id,)
        for cell, epochs_and_layers in signal.layers(file.table):
            result.signal[cell] = (*result.signal[cell], file.id) if cell in result.signal else alone
            if cell in incomplete or signal.lacks_layers(epochs_and_layers):
                incomplete.setdefault(cell, set()).update(epochs_and_layers)
    repeated = {file for files_of_cell in result.signal.values() if len(files_of_cell) > 1 for file in files_of_cell}
    first: dict[tuple[str, int, bytes], tuple[bytes, store.Part]] = {}
    for file in experiment.signal_files(repeated) if repeated else ():
        for cell, epochs_and_layers in signal.layers(file.table):
            if cell in incomplete:
                incomplete[cell] |= epochs_and_layers
        for cell, epoch, rows, values in signal.digests(file.table):
            if len(result.signal[cell]) == 1:
                continue
            other_values, other = first.setdefault((cell, epoch, rows), (values, replace(file, table=None)))
            if values != other_values and not _other_machine(file.metadata, other.metadata):
                line = f"cell {cell} has another signal in {other.id[:12]}…, from the same kind of machine"
                result.problems.append(f"{folder / file.id}.parquet: {line}")
    for cell, epochs_and_layers in incomplete.items():
        if signal.lacks_layers(epochs_and_layers):
            result.problems.append(f"{folder / result.signal[cell][0]}.parquet: cell {cell} lacks a layer")


def _other_machine(metadata: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return what may change bits and differs between two environments, in words."""
    return [
        f"{name} {metadata.get(name, 'unknown')}, here {other[name]}"
        for name in DECISIVE
        if name in other and metadata.get(name) != other[name] and (name in metadata or name not in ADDED_LATER)
    ]


def _row_problems(rows: pa.Table) -> tuple[list[str], int]:
    """Return a line for each mistake in a part's rows, and how many cells have ids of an earlier training version.

    Reading has checked that the rows of a cell are consecutive, by epoch from 0.
    """
    epoch = rows["epoch"].to_numpy()
    first = np.flatnonzero(epoch == 0)
    continues = epoch[1:] != 0
    for name in SETTINGS:
        if _changes(rows[name])[continues].any():
            return ["a cell has rows of several specifications"], 0
    problems, earlier = [], 0
    cells = rows.select(["cell", *SETTINGS]).take(pa.array(first))
    for id_, *values in zip(*(column.to_pylist() for column in cells.columns), strict=True):
        cell = Cell(*values)
        if id_ == cell.id:
            continue
        if id_ in {cell.id_of(version) for version in range(1, TRAINING_VERSION)} - {""}:
            earlier += 1
        else:
            problems.append(f"cell {id_} does not match its settings, whose id is {cell.id}")
    diverged = pc.equal(rows["status"], DIVERGED).to_numpy()
    if (diverged[:-1] & ~diverged[1:] & continues).any():
        problems.append("a cell is trained after it diverged")
    for name in METRICS:
        empty = diverged | (epoch == 0) if name == "train_loss" else diverged
        if (np.isnan(rows[name].to_numpy()) != empty).any():
            problems.append(f"{name} is missing where it is required, or present where it is impossible")
    return problems, earlier


def _changes(column: pa.ChunkedArray) -> Any:
    """Return whether the value changes from each row to the next."""
    return pc.not_equal(column[1:], column[:-1]).to_numpy()


@dataclass
class RetrainResult:
    """The result of `retrain`: how many cells have the same bits, and lines about the others."""

    sampled: int = 0
    same: int = 0
    signals: int = 0  # of how many of these cells the signal was compared, and of how many it is the same
    same_signals: int = 0
    absent: list[str] = field(default_factory=list)  # data sets that are not on this machine: not sampled
    code_missing: list[str] = field(default_factory=list)  # lines about plugins: cells that need them are not sampled
    problems: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)  # cells of another machine that agree to rounding


def retrain(
    experiment: Experiment, checked: CheckResult, sample: int, seed: int, config: ExecutionConfig
) -> RetrainResult:
    """Train a random sample of an experiment's cells again, and compare their rows bit for bit.

    Bits may differ where another processor, device or version trained a cell; then a line states how far.
    """
    grid = experiment.grid
    absent = [name for name, source in grid.sources.items() if source.path and not os.path.exists(source.path)]
    names = own_names(grid)
    not_loaded = code.missing(names)
    trained = [
        cell
        for cell in experiment.cells
        if cell.id in checked.cells
        and cell.dataset not in absent
        and not (not_loaded and not_loaded & digests_in(*cell.functions, grid.sources[cell.dataset].function))
    ]
    cells = random.Random(seed).sample(trained, min(sample, len(trained)))
    result = RetrainResult(
        sampled=len(cells), absent=absent, code_missing=code_missing(sorted(names), experiment.plugin_files)
    )
    if not cells:
        return result
    stored = _rows(experiment, checked, {cell.id for cell in cells})
    signals = _signals(experiment, checked, {cell.id for cell in cells})
    with start.start_pool(cells, grid.sources, config) as pool:
        train = partial(scheduling.run_stacks, pool, diagnostics=bool(signals))
        for event in planned_training(cells, grid.sources, pool, config.width, train):
            if isinstance(event, Untrained):
                result.problems.append(f"{event.cell.label} could not be trained again: {event.why}")
            if isinstance(event, Finished):
                _compare(event, stored, checked, result)
                _compare_signals(event, signals, result)
    return result


# By cell, epoch, and a digest of which rows there are: a digest of their values, and the metadata of their file.
Signals = dict[tuple[str, int, bytes], tuple[bytes, Mapping[str, str]]]


def _signals(experiment: Experiment, checked: CheckResult, cells: set[str]) -> Signals:
    """Return what is stored of the signal of some cells."""
    names = {file for cell in cells for file in checked.signal.get(cell, ())}
    return {
        (cell, epoch, rows): (values, file.metadata)
        for file in (experiment.signal_files(names) if names else ())
        for cell, epoch, rows, values in signal.digests(file.table)
        if cell in cells
    }


def _compare_signals(finished: Finished, stored: Signals, result: RetrainResult) -> None:
    """Add the signal of the cells of a stack that was trained again to the result."""
    labels = {cell.id: cell.label for cell in finished.stack.cells}
    differing: dict[str, str] = {}  # by cell: why it may differ, or nothing
    compared = set()
    for cell, epoch, rows, values in signal.digests(signal.table(finished.stack.cells, finished.signal)):
        if (cell, epoch, rows) in stored:
            compared.add(cell)
            stored_values, metadata = stored[cell, epoch, rows]
            if values != stored_values:
                inexact = "to rounding" in (metadata.get("bits"), finished.environment["bits"])
                differing[cell] = "; ".join(
                    _other_machine(metadata, finished.environment) or ["products that round differently"] * inexact
                )
    result.signals += len(compared)
    result.same_signals += len(compared) - len(differing)
    for cell, reason in differing.items():
        line = f"{labels[cell]}: its signal differs"
        if reason:
            result.elsewhere.append(f"{line}; computed with {reason}")
        else:
            result.problems.append(f"{line}; computed on the same kind of processor with the same versions")


def _rows(experiment: Experiment, checked: CheckResult, cells: set[str]) -> dict[str, pa.Table]:
    """Return the rows of some cells, by epoch."""
    rows_by_cell: dict[str, pa.Table] = {}
    for part in experiment.parts(only={checked.part_of[cell] for cell in cells}):
        for cell, _, rows in outcomes_by_cell(part.table):
            if cell in cells and checked.part_of[cell] == part.id:
                rows_by_cell[cell] = part.table.take(pa.array(rows)).combine_chunks()
    return rows_by_cell


def _compare(finished: Finished, stored: Mapping[str, pa.Table], checked: CheckResult, result: RetrainResult) -> None:
    """Add the cells of a stack that was trained again to the result."""
    cells = finished.stack.cells
    retrained = table(cells, finished.metrics)
    rows = cells[0].epochs + 1
    for i, cell in enumerate(cells):
        new, old = retrained.slice(i * rows, rows).combine_chunks(), stored[cell.id]
        if new.equals(old):
            result.same += 1
            continue
        metadata = checked.cells[cell.id]
        differences = _other_machine(metadata, finished.environment)
        inexact = "to rounding" in (metadata.get("bits"), finished.environment["bits"])
        reason = "; ".join(differences) or "products that round differently"
        line = f"{cell.label}: {_difference(old, new)}"
        if not (differences or inexact):
            result.problems.append(f"{line}; trained on the same kind of processor with the same versions")
        elif _is_close(old, new):
            result.elsewhere.append(f"{line}; trained with {reason}")
        else:
            result.problems.append(f"{line}; too far apart for {reason}")


def _is_close(old: pa.Table, new: pa.Table) -> bool:
    """Return whether two training runs of a cell on different machines can be the same.

    Rounding errors grow during training; they are still small before the first epoch and in it.
    """
    for epoch, names in ((0, METRICS[1:]), (1, METRICS[:1])):
        for name in names:
            before, now = (rows.slice(epoch, 1)[name].to_pylist()[0] for rows in (old, new))
            if (before is None) != (now is None):
                return False
            if before is not None and abs(before - now) > CLOSE * max(1.0 * (name.endswith("accuracy")), abs(now)):
                return False
    return True


def _difference(old: pa.Table, new: pa.Table) -> str:
    """Return how the rows of two training runs of a cell differ, in words."""
    ends = []
    for rows in (old, new):
        last = rows.slice(len(rows) - 1).to_pylist()[0]
        accuracy = last["test_accuracy"]
        ends.append(last["status"] if accuracy is None else f"{accuracy:.4f}")
    first = next((i for i in range(len(old)) if not old.slice(i, 1).equals(new.slice(i, 1))), 0)
    return f"last test accuracy {ends[0]}, now {ends[1]}; its rows differ from epoch {first} on"


def lines(experiment: Experiment, checked: CheckResult) -> Sequence[str]:
    """Return the result of `check` in words."""
    folder, size = experiment.folder, len(experiment)
    missing = sum(cell.id not in checked.cells for cell in experiment.cells)
    others = len(checked.cells) - checked.earlier - (size - missing)
    sentences = [f"{folder}: {size - missing:,} of {size:,} cells, in {checked.parts:,} parts"]
    if checked.earlier:
        sentences.append(
            f"{checked.earlier:,} cells are of an earlier version of the training: they are read, but this version "
            "cannot reproduce their bits"
        )
    if others:
        requested = "" if experiment.rounds is None else ", or its rule did not request them yet"
        sentences.append(f"{others:,} more stored cells are not of this grid{requested}")
    if missing > checked.earlier:
        sentences.append(f"{missing:,} cells are not trained, or no longer stored; `initbench run` trains them")
    grid_cells = (
        {cell.id for cell in experiment.grid.cells()} if checked.signal.keys() - checked.cells.keys() else set()
    )
    if strange := checked.signal.keys() - checked.cells.keys() - grid_cells:
        sentences.append(f"the signal of {len(strange):,} more cells is not of this grid, and they are not trained")
    if unknown := sorted(name for name in own_names(experiment.grid) if not digests_in(name) & {*experiment.plugins}):
        names = ", ".join(map(shorten_digests, unknown))
        sentences.append(f"{folder / PLUGINS} does not have the code of {names}; the results do not depend on it")
    if aside := files.entries(folder / "set-aside"):
        sentences.append(f"set aside: {len(aside):,} damaged, in {folder / 'set-aside'}")
    return sentences
