"""Merging the experiments of several machines into one, each cell once."""

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from initbench.errors import UserError, printable
from initbench.registry import shorten_digests
from initbench.results import lock, looks, plugin_file, signal, store
from initbench.results.experiment import Experiment, standalone_text
from initbench.results.table import OUTCOMES, outcomes_by_cell
from initbench.spec.grid import Grid, parse
from initbench.spec.gridfile import MAX_BYTES, to_toml
from initbench.system import files

# The names of some thousand folders.
MAX_MERGING_BYTES = 10_000_000


def merge_experiments(folders: Sequence[Path], into: Path) -> tuple[Experiment, list[str]]:
    """Merge experiments into a new folder; returns the experiment and a line for each cell that differs between them.

    An axis of the merged grid has the values of all experiments, which must not contradict each other; its cells are
    the cross-product, so cells that no experiment has trained are missing. A stopped merge can be repeated.
    """
    experiments = [Experiment.open(folder) for folder in folders]
    grid = _merged_grid(experiments, into)
    merging = {"merge": [str(folder.resolve()) for folder in folders]}
    _check_target(into, grid, merging)
    with Experiment.writing(grid, into.parent) as merged:
        files.write_file(into / store.MERGING, json.dumps(merging).encode())
        plugins = {digest: plugin for experiment in experiments for digest, plugin in experiment.plugins.items()}
        merged.notes += plugin_file.write(into, plugins)
        lines = _write_parts(experiments, merged)
    (into / store.MERGING).unlink(missing_ok=True)  # last, so that a stopped merge never lacks it
    return merged, lines


def _merged_grid(experiments: Sequence[Experiment], into: Path) -> Grid:
    rules = {experiment.grid.seed_rule for experiment in experiments}
    if len(rules) > 1:
        raise UserError(
            "merge: the experiments have different rules for their seeds; allowed: experiments with the same seed = "
            "{ … }, or all without a rule"
        )
    sources = {name: source for experiment in experiments for name, source in experiment.grid.sources.items()}
    all_axes = [dict(experiment.grid.axes) for experiment in experiments]
    if len({axes["train_size"] for axes in all_axes}) > 1:  # None means all images: replaced by their number
        for axes in all_axes:
            full = tuple(dict.fromkeys(sources[name].train_size for name in axes["dataset"]))
            axes["train_size"] = full if axes["train_size"] == (None,) else axes["train_size"]
    union = {name: tuple(dict.fromkeys(value for axes in all_axes for value in axes[name])) for name in all_axes[0]}
    declared = {experiment.grid.equivalent_within for experiment in experiments} - {None}
    within = declared.pop() if len(declared) == 1 else None
    diagnostics = any(experiment.grid.diagnostics for experiment in experiments)
    first = experiments[0].grid
    same = first.name == into.name and all(experiment.grid.axes == union for experiment in experiments)
    same = same and (first.equivalent_within, first.diagnostics) == (within, diagnostics)
    text = first.text if same else to_toml(into.name, union, sources, within, first.seed_rule, diagnostics)
    return parse(text, origin="the merged grid", name=into.name, sources=sources, allow=None)


def _check_target(into: Path, grid: Grid, merging: Mapping[str, list[str]]) -> None:
    """Raise UserError unless a folder is new or empty, or holds this same merge, stopped.

    A merge writes the grid first, then the list of experiments that it merges, then parts.
    """
    if not os.path.lexists(into):
        return
    mark = into / store.MERGING
    if files.is_regular(mark):
        try:
            stopped = files.read_json(mark, MAX_MERGING_BYTES)
        except (OSError, ValueError):
            stopped = None
        if stopped == merging:
            return
        raise UserError(f"{into}: holds another merge that was stopped; repeat that one, or give --into a new folder")
    names = {entry.name for entry in files.entries(into) if not files.is_unfinished(entry.name)}
    first_files = {lock.LOCK, lock.HEARTBEAT, "grid.toml", "datasets.json", plugin_file.PLUGINS, "parts"}
    if into.is_dir() and names <= first_files and not files.entries(into / "parts"):
        if "grid.toml" not in names:
            return
        with contextlib.suppress(OSError):
            if files.read(into / "grid.toml", MAX_BYTES) == standalone_text(grid).encode():
                return
    raise UserError(f"{into}: exists and is not empty; give --into a new folder")


def _write_parts(experiments: Sequence[Experiment], merged: Experiment) -> list[str]:
    """Write the parts of all experiments into the merged one; returns a line for each cell that differs.

    Parts of an earlier, stopped attempt are not written again. A part that was trained after a look at its experiment
    is so in the merged one.
    """
    seen: dict[str, tuple[Path, bytes, float]] = {}  # by cell: its folder, a digest of its rows, its accuracy
    written: dict[str, str] = {}  # by cell of an earlier attempt: its part
    for part in merged.parts():
        for cell, outcome, _ in outcomes_by_cell(part.table):
            seen[cell] = (merged.folder, *_digest(outcome))
            written[cell] = part.id
    lines: list[str] = []
    differing: set[str] = set()
    merged_looks: list[set[str]] = []
    for experiment in experiments:
        earlier_looks = looks.read(experiment.folder)
        look_of = looks.numbered(earlier_looks)
        for part in experiment.parts():
            new_rows = np.zeros(len(part.table), bool)
            merged_parts = set()
            for cell, outcome, rows in outcomes_by_cell(part.table):
                digest, accuracy = _digest(outcome)
                if cell not in seen:
                    new_rows[rows] = True
                elif cell in written and seen[cell][:2] == (merged.folder, digest):
                    merged_parts.add(written[cell])
                    del seen[cell]  # it is from this experiment
                folder, first_digest, first_accuracy = seen.setdefault(cell, (experiment.folder, digest, accuracy))
                if digest != first_digest:
                    differing.add(cell)
                    settings = part.table.slice(int(rows[0]), 1).to_pylist()[0]
                    lines.append(_disagreement(settings, first_accuracy, accuracy, folder, experiment.folder))
            if new_rows.any():
                if merged.writer:
                    merged.writer.check()
                rows = part.table.filter(pa.array(new_rows))
                merged_parts.add(store.write_part(merged.folder, rows, part.metadata))
            _copy_timing(experiment, part.id, merged, merged_parts)
            look = look_of.get(part.id[: looks.ID_LENGTH], len(earlier_looks))
            merged_looks += [set() for _ in range(len(merged_looks), look + 1)]
            merged_looks[look] |= merged_parts
    looks.write(merged.folder, merged_looks)
    folder_of = {cell: folder for cell, (folder, _, _) in seen.items()}
    lines += _write_signal(experiments, merged, folder_of, differing)
    return list(dict.fromkeys([*lines, *(note for experiment in experiments for note in experiment.notes)]))


def _write_signal(
    experiments: Sequence[Experiment], merged: Experiment, folder_of: Mapping[str, Path], differing: Collection[str]
) -> list[str]:
    """Write the signal of each cell as the experiment has it whose rows are kept, by cell its folder.

    Of a cell without rows it is the first experiment that has its signal. Returns a line for each cell whose signal
    differs, except the cells that differ in their rows.
    """
    once = signal.Once()
    for file in merged.signal_files():  # of an earlier attempt
        once.new_rows(file.table, lambda cell: True)
    source_of = dict(folder_of)
    seen: dict[tuple[str, int, bytes], tuple[bytes, Path]] = {}
    lines: dict[str, str] = {}  # by cell
    for experiment in experiments:
        here = experiment.folder
        for file in experiment.signal_files():
            for cell, epoch, rows, values in signal.digests(file.table):
                folder = source_of.setdefault(cell, here)
                other_values, other = seen.setdefault((cell, epoch, rows), (values, here))
                if values != other_values and here != other and cell not in differing:
                    dropped = other if folder == here else here
                    lines[cell] = printable(
                        f"cell {cell}: its signal differs in {folder}, which is kept, and {dropped}"
                    )
            new = once.new_rows(file.table, lambda cell: source_of[cell] == here)  # noqa: B023
            if merged.writer:
                merged.writer.check()
            signal.write(merged.folder, file.table.filter(pa.array(new)), file.metadata)
    return [*lines.values()]


def _copy_timing(experiment: Experiment, part_id: str, merged: Experiment, merged_parts: Iterable[str]) -> None:
    """Write the timing of a part for the merged parts that have its cells."""
    for id_ in merged_parts:
        timing = store.read_timing(experiment.folder, part_id)
        if timing and not store.read_timing(merged.folder, id_):
            store.write_timing(merged.folder, id_, timing)


def _digest(outcome: Any) -> tuple[bytes, float]:
    """Return a digest of a cell's outcomes, and its last test accuracy."""
    return hashlib.sha256(outcome.tobytes()).digest(), float(outcome[-1, OUTCOMES.index("test_accuracy")])


def _disagreement(settings: Mapping[str, Any], first: float, other: float, folder: Path, other_folder: Path) -> str:
    cell = shorten_digests("{cell} ({initializer}, {activation}, {loss}, seed {seed})".format_map(settings))
    return printable(
        f"cell {cell} differs: test accuracy {first} in {folder}, which is kept, and {other} in {other_folder}, which "
        "is dropped"
    )
