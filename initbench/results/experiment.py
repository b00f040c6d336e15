"""The experiment: a folder with the grid, the parts, the timings and the report."""

import json
import os
import time
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from initbench.data.datasets import Source, from_stored, to_stored, written
from initbench.errors import UserError
from initbench.execution import scheduling
from initbench.execution.events import Event, Finished, Signalled
from initbench.execution.plan import Stack
from initbench.execution.pool import WorkerPool
from initbench.registry import digests_in, own_names_in
from initbench.results import lock, looks, plugin_file, signal, store
from initbench.results.plugin_file import StoredPlugin
from initbench.results.rounds import Rounds
from initbench.results.table import READ, frame, table
from initbench.spec.cell import TRAINING_VERSION, Cell
from initbench.spec.grid import Grid, read
from initbench.spec.gridfile import MAX_BYTES, override, without_plugins
from initbench.system import files

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# The data sets of a grid file take about the same space there.
MAX_SOURCES_BYTES = MAX_BYTES

# The most experiments that a message suggests.
MAX_SUGGESTED = 10


@dataclass
class Experiment:
    """An experiment's folder and its grid.

    `notes` collects lines for the user, such as about damaged parts. An experiment that writes (`create`) sets these
    aside; one that was only opened (`open`) changes nothing in its folder. `writer` holds the folder while it writes.
    `rounds` is the state of the grid's rule for its seeds; None without a rule.
    `seeds_seen` has the numbers of seeds at which results were complete before seeds were added, and `parts_read` the
    ids of the valid parts, once they are read. `earlier_functions` has the names of the grid's own functions with the
    digests of other versions, and the number of the stored cells of each, once `inventory` has counted them.
    """

    folder: Path
    grid: Grid
    writes: bool = False
    notes: list[str] = field(default_factory=list)
    writer: lock.Writer | None = None
    rounds: Rounds | None = None
    seeds_seen: list[int] = field(default_factory=list)
    parts_read: list[str] = field(default_factory=list)
    earlier_functions: Mapping[str, int] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set)

    def take_notes(self, more: Iterable[str] = ()) -> list[str]:
        """Return the lines `more` and the notes that were not returned before, each once, and clear the notes."""
        lines = [line for line in dict.fromkeys([*more, *self.notes]) if line not in self._reported]
        self._reported.update(lines)
        self.notes.clear()
        return lines

    @classmethod
    def create(cls, grid: Grid, results: Path) -> "Experiment":
        """Write `grid.toml` below `results`, with the code of its plugins, and return the experiment; parts stay.

        To train, use `writing`, which admits one process at a time.
        """
        folder = _folder_for(grid, results)
        grid = replace(grid, text=standalone_text(grid))
        try:
            notes = plugin_file.write(folder, plugin_file.plugins_of(grid))
            files.write_file(folder / "grid.toml", grid.text.encode())
            sources = [to_stored(source) for source in grid.sources.values() if source.folder]
            if sources:
                files.write_file(folder / "datasets.json", json.dumps(sources, indent=1).encode())
        except OSError as error:
            raise store.unwritable(folder, error) from None
        return cls(folder, grid, writes=True, notes=notes)

    @classmethod
    @contextmanager
    def writing(cls, grid: Grid, results: Path) -> Iterator["Experiment"]:
        """Like `create`, as the folder's one writer; UserError, naming the other writer, if there is one."""
        folder = _folder_for(grid, results)
        with lock.exclusive(folder) as writer:
            store.remove_unfinished(folder)
            experiment = cls.create(grid, results)
            experiment.writer = writer
            experiment.notes += writer.notes
            yield experiment

    @classmethod
    def open(cls, folder: str | Path) -> "Experiment":
        """Return the experiment in a folder; UserError if there is none."""
        folder = Path(folder)
        if not os.path.lexists(folder / "grid.toml") or not (folder / "parts").is_dir():
            raise not_an_experiment(folder)
        return cls(folder, read(folder / "grid.toml", sources=stored_sources(folder), allow=None))

    @property
    def cells(self) -> Sequence[Cell]:
        """The cells that belong to the experiment: those of its grid, or of these the ones that its rule requests."""
        return list(self.grid.cells()) if self.rounds is None else self.rounds.cells

    def __len__(self) -> int:
        """Return the number of cells that belong to the experiment."""
        return len(self.grid) if self.rounds is None else len(self.rounds.cells)

    def parts(self, columns: Sequence[str] | None = None, only: Collection[str] | None = None) -> Iterator[store.Part]:
        """Yield the valid parts, by `store.read_parts`; append a line to `notes` for each invalid one."""
        return store.read_parts(self.folder, self.notes, self.writes, columns, only)

    @cached_property
    def plugins(self) -> Mapping[str, StoredPlugin]:
        """The plugins whose functions were trained here, by digest, the newest last; a line in `notes` for damage."""
        return plugin_file.read(self.folder, self.notes)

    @property
    def plugin_files(self) -> dict[str, str]:
        """The names of the files of these plugins, by digest."""
        return {digest: stored.bundle.main for digest, stored in self.plugins.items()}

    def missing(self) -> list[Cell]:
        """Return the experiment's cells that no part holds."""
        return self.inventory()[0]

    def inventory(self) -> tuple[list[Cell], int]:
        """Return the experiment's cells that no part holds, and the number of stored cells that are not in it."""
        names = plugin_file.own_names(self.grid)
        if names:
            trained, self.earlier_functions = self._trained_with(names)
        else:
            trained = store.trained_cells(self.parts(READ))
        missing = [cell for cell in self.cells if cell.id not in trained]
        n_unrelated = len(trained) - (len(self) - len(missing))
        if n_unrelated:
            earlier = sum(any(c.id_of(v) in trained for v in range(1, TRAINING_VERSION)) for c in missing)
            if earlier:
                self.notes.append(
                    f"{self.folder}: {earlier:,} cells were trained by an earlier version of initbench, with other "
                    "results; they are trained again, and the earlier parts stay"
                )
        return missing, n_unrelated

    def _trained_with(self, names: Collection[str]) -> tuple[set[str], dict[str, int]]:
        """Return the stored cells, and how many of them are of other versions of own functions with these names."""
        short_names = {name.partition("@")[0] for name in names}

        @cache
        def other_versions(text: str) -> set[str]:
            return {name for name in own_names_in(text) if name.partition("@")[0] in short_names and name not in names}

        trained: set[str] = set()
        counts: Counter[str] = Counter()
        for part in self.parts((*READ, *plugin_file.SETTINGS)):
            rows = part.table.filter(pc.equal(part.table["epoch"], 0)).select(["cell", *plugin_file.SETTINGS])
            for cell, *texts in zip(*(column.to_pylist() for column in rows.columns), strict=True):
                if cell not in trained:
                    trained.add(cell)
                    counts.update(set().union(*map(other_versions, texts)))
        return trained, dict(sorted(counts.items()))

    def train(self, stacks: list[Stack], pool: WorkerPool) -> Iterator[Event]:
        """Train stacks, write a part for each that finishes, and yield each event after its part is written."""
        for event in scheduling.run_stacks(pool, stacks, self.grid.diagnostics):
            if isinstance(event, Finished):
                self._write(event, pool.slot_count)
            yield event

    def write_signal(self, stack: Stack, groups: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> None:
        """Write the signal of the cells of a stack, as its worker sent it."""
        if self.writer:
            self.writer.check()
        signal.write(self.folder, signal.table(stack.cells, groups), environment)

    def signals(self, stacks: list[Stack], pool: WorkerPool, full: bool = False) -> Iterator[Event]:
        """Compute the signal before training of stacks, and yield each event after what it brings is written."""
        for event in scheduling.initial_signals(pool, stacks, full):
            if isinstance(event, Signalled):
                self.write_signal(event.stack, event.signal, event.environment)
            yield event

    def _write(self, finished: Finished, workers: int) -> None:
        cells = finished.stack.cells
        # Before the part: a cell with a part is never trained again, and would lack its signal for good.
        self.write_signal(finished.stack, finished.signal, finished.environment)
        part = store.write_part(self.folder, table(cells, finished.metrics), finished.environment)
        timing = {
            "seconds": round(finished.seconds, 3),
            "cells": len(cells),
            "operations": finished.stack.operations,
            "initialization": finished.initialization,
            "product_rate": round(finished.product_rate),
            "workers": workers,
            "host": finished.host,
            "processor": finished.environment["processor"],
            "device": finished.environment["device"],
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        store.write_timing(self.folder, part, timing)

    def signal_files(self, only: Collection[str] | None = None) -> Iterator[store.Part]:
        """Yield the valid files of the signal table, by `signal.read`; a line in `notes` for each invalid one."""
        return signal.read(self.folder, self.notes, self.writes, only)

    def signal(self, only: Collection[str] | None = None, max_rows: int | None = None) -> "pd.DataFrame":
        """Return the signal table of the experiment's cells, in the grid's order, by epoch, layer and statistic.

        `only` and `max_rows` limit it: see `signal.frame`. (A million cells of 784-128-10 have 114 million rows.) Cells
        that were trained by an earlier version of the training have none.
        """
        return signal.frame(self.cells, (file.table for file in self.signal_files()), only, max_rows)

    def without_signal(self, full: bool = False) -> list[Cell]:
        """Return the experiment's cells whose signal before training is not stored.

        With `full`, also the perceptrons of which not all singular values of the last hidden layer were computed: those
        have a median in two layers.
        """
        stored: set[str] = set()
        medians: Counter[str] = Counter()
        for file in self.signal_files():
            initial = file.table.filter(pc.equal(file.table["epoch"], 0))
            stored.update(initial["cell"].unique().to_pylist())
            if full:
                of_medians = initial["cell"].filter(pc.equal(initial["statistic"], "jacobian_median"))
                for count in of_medians.value_counts().to_pylist():
                    medians[count["values"]] = max(medians[count["values"]], count["counts"])

        def is_stored(cell: Cell) -> bool:
            lacks_some = full and cell.is_fused and cell.hidden and medians[cell.id] < 2
            return cell.id in stored and not lacks_some

        return [cell for cell in self.cells if not is_stored(cell)]

    def frame(self) -> "pd.DataFrame":
        """Return the tidy table of the experiment's trained cells, in the grid's order and by epoch."""
        return self.read()[0]

    def read(self) -> tuple["pd.DataFrame", Sequence[Mapping[str, str]]]:
        """Return the tidy table, and each different environment in which a part was trained.

        If no cell was trained by this version of the training, cells of the latest earlier version are read.
        """
        environments: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        rows = 0
        earlier_looks = looks.read(self.folder)
        look_of = looks.numbered(earlier_looks)
        looks_before: dict[str, int] = {}  # by cell, those that were trained after a look

        def tables() -> Iterator["pa.Table"]:
            nonlocal rows
            environments.clear()
            self.parts_read.clear()
            for part in self.parts(READ):
                environments[tuple(sorted(part.metadata.items()))] = dict(part.metadata)
                rows += len(part.table)
                self.parts_read.append(part.id)
                if look := look_of.get(part.id[: looks.ID_LENGTH], len(earlier_looks)):
                    looks_before.update(dict.fromkeys(part.table["cell"].unique().to_pylist(), look))
                yield part.table

        cells = self.cells
        table = frame(cells, tables())
        for version in range(TRAINING_VERSION - 1, 0, -1) if rows and table.empty else ():
            table = frame(cells, tables(), version)
            if len(table):
                for metadata in environments.values():
                    metadata["training version"] = f"{version}, an earlier one"
                self.notes.append(
                    f"{self.folder}: trained by an earlier version of initbench (training version {version}, this one "
                    f"has {TRAINING_VERSION}); read as it is, and `initbench run` on its grid trains it again"
                )
                break
        self.seeds_seen = looks.seeds_seen(table, looks_before)
        return table, list(environments.values())


def _folder_for(grid: Grid, results: Path) -> Path:
    """Return the folder of a grid's experiment, created if necessary; UserError if it holds something else."""
    folder = results / grid.name
    for path in (results, folder):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is a file, but the experiment needs a folder; move it, or give --results DIR")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "parts").is_dir():
        raise UserError(f"{folder}: holds other files, not an experiment (it has no parts); choose another name")
    for path in (store.own_folder(folder, name) for name in store.FOLDERS):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is a file, but the experiment needs a folder; move it")
    try:
        files.make_folder(folder / "parts")
    except OSError as error:
        raise store.unwritable(folder, error) from None
    return folder


def not_an_experiment(folder: Path) -> UserError:
    """Return the error for a folder that is not an experiment: what is missing, and which experiments are near it."""
    begun = os.path.lexists(folder / "grid.toml")
    if not folder.exists():
        problem = "no such folder"
    elif folder.is_dir():
        problem = f"not an experiment: it has no {'parts' if begun else 'grid.toml'}"
    else:
        problem = "not an experiment: it is a file"
    if not begun and (folder / "parts").is_dir():
        problem += "; `initbench run` with its grid file, and the same --results, writes it again"
    if (Path("results") / folder / "parts").is_dir():
        return UserError(f"{folder}: {problem}; did you mean {Path('results') / folder}?")
    if inside := sorted(str(path.parent) for path in folder.glob("*/parts")):
        return UserError(f"{folder}: {problem}; did you mean {' or '.join(inside[:3])}?")
    siblings = folder.parent.glob("*/parts") if folder.parent.is_dir() else ()
    if names := sorted(path.parent.name for path in siblings if path.parent != folder):
        more = f" and {len(names) - MAX_SUGGESTED} more" if len(names) > MAX_SUGGESTED else ""
        problem += f"; experiments in {folder.parent}: {', '.join(names[:MAX_SUGGESTED])}{more}"
    return UserError(f"{folder}: {problem}")


def standalone_text(grid: Grid) -> str:
    """Return a grid's TOML text for the experiment's folder: with its name, and absolute paths of its data sets.

    Own functions have their full names, and no file of code is named. It means the same in any working directory, and
    under any file name.
    """
    text, values = without_plugins(grid.text), {}
    if any(source.folder for source in grid.sources.values()):
        sources = [grid.sources[name] for name in grid.axes["dataset"]]
        values["dataset"] = [written(source) for source in sources]
    for setting in plugin_file.SETTINGS:
        if any(map(digests_in, grid.axes[setting])):
            values[setting] = list(grid.axes[setting])
    if values:
        text = override(text, {setting: items if len(items) > 1 else items[0] for setting, items in values.items()})
    return text if "name" in tomllib.loads(text) else f'name = "{grid.name}"\n{text}'


def stored_sources(folder: Path) -> dict[str, Source]:
    """Return the data sets that an experiment read from folders: it stays readable when these are gone."""
    try:
        stored = files.read_json(folder / "datasets.json", MAX_SOURCES_BYTES)
        return {fields["name"]: from_stored(fields) for fields in stored}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
