"""A run: a folder with the grid as given, the parts, the timings and the report; and what can be done with it."""

import json
import os
import time
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from initbench import execution
from initbench.data.datasets import Source, from_stored, to_stored
from initbench.errors import UserError
from initbench.execution import Crew, Failed, Finished, calibration, start
from initbench.execution.config import ExecutionConfig
from initbench.execution.plan import Stack
from initbench.execution.start import Event
from initbench.results import lock as locking
from initbench.results import store
from initbench.results.table import READ, frame, table
from initbench.spec.cell import TRAINING_VERSION, Cell
from initbench.spec.grid import Grid, read
from initbench.spec.gridfile import MAX_BYTES, override
from initbench.system import files

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


# What a run writes beside its folders; the grid is last, because with it the folder is a run, which can be cleaned.
OWN_FILES = ("report.html", store.MERGING, "datasets.json", "grid.toml")

# It says as much of data sets as the grid file, which names each of them.
MAX_SOURCES_BYTES = MAX_BYTES

# So many runs are named where one is not found.
MAX_NAMED = 10


@dataclass
class Experiment:
    """A run's folder and its grid.

    `notes` collects what the user should know: parts that are damaged. A run that is about to train (`create`) sets
    them aside; one that is only read (`open`) changes nothing in its folder. `writer` is who alone writes in it.
    `cautions` says which splits of its data sets cannot tell learning from chance: no fault of the folder.
    """

    folder: Path
    grid: Grid
    writes: bool = False
    notes: list[str] = field(default_factory=list)
    writer: locking.Writer | None = None
    cautions: list[str] = field(init=False)

    def __post_init__(self) -> None:
        from initbench.reporting.cautions import cautions

        self.cautions = cautions(self.grid.sources.values())

    def take_notes(self) -> list[str]:
        """The cautions and notes that were not taken before, each once."""
        lines = list(dict.fromkeys([*self.cautions, *self.notes]))
        self.cautions.clear()
        self.notes.clear()
        return lines

    @classmethod
    def create(cls, grid: Grid, results: Path) -> "Experiment":
        """The run of a grid, below `results`; writes `grid.toml`, and keeps what an earlier run trained.

        Whoever goes on to train does so in `writing`, which lets one process at a time.
        """
        folder = _folder_for(grid, results)
        try:
            files.write_file(folder / "grid.toml", located(grid).encode())
            read = [to_stored(source) for source in grid.sources.values() if source.folder]
            if read:
                files.write_file(folder / "datasets.json", json.dumps(read, indent=1).encode())
        except OSError as error:
            raise store.unwritable(folder, error) from None
        return cls(folder, grid, writes=True)

    @classmethod
    @contextmanager
    def writing(cls, grid: Grid, results: Path) -> Iterator["Experiment"]:
        """`create`, with nobody else writing in the folder; UserError, naming them, if somebody does."""
        folder = _folder_for(grid, results)
        with locking.alone(folder) as writer:
            store.remove_unfinished(folder)
            run = cls.create(grid, results)
            run.writer = writer
            run.notes += writer.notes
            yield run

    @classmethod
    def open(cls, folder: str | Path) -> "Experiment":
        """The run that is in a folder."""
        folder = Path(folder)
        if not os.path.lexists(folder / "grid.toml") or not (folder / "parts").is_dir():
            raise no_run(folder)
        return cls(folder, read(folder / "grid.toml", sources=_known_sources(folder)))

    def parts(self, columns: Sequence[str] | None = None, only: Collection[str] | None = None) -> Iterator[store.Part]:
        """The sound parts, one after another, with these columns of their rows, or all; a damaged one is noted.

        Of the parts `only` those with these ids, or all.
        """
        return store.read_parts(self.folder, self.notes, self.writes, columns, only)

    def missing(self) -> list[Cell]:
        """The grid's cells that no part holds."""
        return self.inventory()[0]

    def inventory(self) -> tuple[list[Cell], int]:
        """The grid's cells that no part holds, and how many others lie there: of an earlier grid or training, say."""
        trained = store.trained_cells(self.parts(READ))
        missing = [cell for cell in self.grid.cells() if cell.id not in trained]
        others = len(trained) - (len(self.grid) - len(missing))
        if others:
            earlier = sum(any(c.id_of(v) in trained for v in range(1, TRAINING_VERSION)) for c in missing)
            if earlier:
                self.notes.append(
                    f"{self.folder}: {earlier:,} cells were trained by an earlier version of initbench, which gave "
                    "other results; they are trained again, and what lies there is kept"
                )
        return missing, others

    def train(self, stacks: list[Stack], crew: Crew) -> Iterator[Event]:
        """Train stacks and write a part for each that finishes; yields what happens, after it is written."""
        for event in execution.train(crew, stacks):
            if isinstance(event, Finished):
                self._keep(event, crew.count)
            yield event

    def _keep(self, finished: Finished, workers: int) -> None:
        if self.writer:
            self.writer.check()
        cells = finished.stack.cells
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

    def frame(self) -> "pd.DataFrame":
        """The tidy table of the grid's cells, in the grid's order and by epoch; what is not trained is not in it."""
        return self.read()[0]

    def read(self) -> tuple["pd.DataFrame", Sequence[Mapping[str, str]]]:
        """The tidy table, and each different environment in which a part was made.

        Where no cell was trained by this version of the training, those of the latest earlier one are read.
        """
        environments: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
        rows = 0

        def tables() -> Iterator["pa.Table"]:
            nonlocal rows
            environments.clear()
            for part in self.parts(READ):
                environments[tuple(sorted(part.metadata.items()))] = dict(part.metadata)
                rows += len(part.table)
                yield part.table

        cells = list(self.grid.cells())
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
        return table, list(environments.values())


def _folder_for(grid: Grid, results: Path) -> Path:
    """The folder of a grid's run, made if it is not there; UserError if what is there is something else."""
    folder = results / grid.name
    for path in (results, folder):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is a file, and the run needs a folder there; move it, or give --results DIR")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "parts").is_dir():
        raise UserError(f"{folder}: holds other files and is no run (it has no parts); give the run another name")
    for path in (store.own_folder(folder, name) for name in store.FOLDERS):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path}: is a file, and the run needs a folder there; move it")
    try:
        files.make_folder(folder / "parts")
    except OSError as error:
        raise store.unwritable(folder, error) from None
    return folder


def no_run(folder: Path) -> UserError:
    """What is raised where a folder is no run: what it lacks, and which runs are near it."""
    begun = os.path.lexists(folder / "grid.toml")
    lacks = "parts" if begun else "grid.toml"
    what = f"is no run: it has no {lacks}" if folder.is_dir() else "is a file, and no run's folder"
    what = what if folder.exists() else "no such folder"
    if not begun and (folder / "parts").is_dir():
        what += "; `initbench run` with its grid file, and the same --results, writes it again"
    inside = sorted(str(p.parent) for p in folder.glob("*/parts"))
    beside = folder.parent.glob("*/parts") if folder.parent.is_dir() else ()
    found = sorted(p.parent.name for p in beside if p.parent != folder)
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    there = f"; runs in {folder.parent}: {', '.join(found[:MAX_NAMED])}{more}" if found else ""
    if inside:
        there = f"; did you mean {' or '.join(inside[:3])}?"
    if (Path("results") / folder / "parts").is_dir():
        there = f"; did you mean {Path('results') / folder}?"
    return UserError(f"{folder}: {what}{there}")


def located(grid: Grid) -> str:
    """The text of a grid with its name, and with the folders of its data sets absolute, so that it means the same from
    anywhere, under any file name."""
    text = grid.text
    if any(source.folder for source in grid.sources.values()):
        names = grid.axes["dataset"]
        given = [{"idx": s.folder} if s.folder else s.name for s in map(grid.sources.__getitem__, names)]
        text = override(text, {"dataset": given if len(given) > 1 else given[0]})
    return text if "name" in tomllib.loads(text) else f'name = "{grid.name}"\n{text}'


def _known_sources(folder: Path) -> dict[str, Source]:
    """The data sets that a run read from folders, as it found them: what was run stays legible when they are gone."""
    try:
        told = files.read_json(folder / "datasets.json", MAX_SOURCES_BYTES)
        return {fields["name"]: from_stored(fields) for fields in told}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def train_all(
    experiment: Experiment, missing: Sequence[Cell], config: ExecutionConfig, on_event: Callable[[Event], None]
) -> list[Failed]:
    """Train an experiment's missing cells, and call `on_event` with each event; returns the cells that failed."""
    failed = []
    sources = experiment.grid.sources
    if missing:
        with start.start_pool(missing, sources, config, on_event) as pool:
            stacks, speeds = start.planned_stacks(missing, sources, pool, config.width)
            initialization = calibration.initialization(missing, sources, pool, measuring=False)
            seconds = calibration.stack_seconds(stacks, speeds, initialization) if speeds else None
            on_event(start.Planned(stacks, seconds, lambda: pool.count))
            for event in experiment.train(stacks, pool):
                on_event(event)
                if isinstance(event, Failed):
                    failed.append(event)
    return failed


@dataclass(frozen=True)
class Cleaned:
    """What `clean` removed; what stays in the folder; and whether the folder itself does, though nothing is in it."""

    removed: list[str]
    kept: list[str]
    folder_stays: bool


def clean(folder: Path) -> Cleaned:
    """Remove what a run wrote in its folder, and the folder if nothing else is in it.

    A file that the run did not write stays, whatever its name. What makes the folder a run goes last, so that a
    cleaning that was stopped can be repeated; and it needs no room on the disk. UserError if the folder is no run, nor
    what such a cleaning left.
    """
    refuse_to_clean(folder)
    removed: dict[str, None] = {}
    with locking.alone(folder, removing=True):
        store.remove_unfinished(folder)
        for name in store.FOLDERS:
            for path in store.written_files(folder, name):
                path.unlink(missing_ok=True)
                removed[name] = None
        for name in OWN_FILES:
            if files.is_regular(folder / name):
                (folder / name).unlink(missing_ok=True)
                removed[name] = None
        for name in store.FOLDERS:
            if files.is_own_folder(folder / name) and not files.entries(folder / name):
                (folder / name).rmdir()
                removed[name] = None
        if os.name == "posix":  # while it is held, so that nobody holds a lock that is not there any more
            (folder / locking.LOCK).unlink(missing_ok=True)
    if os.name != "posix":  # there one that is held cannot be removed
        with suppress(OSError):
            (folder / locking.LOCK).unlink(missing_ok=True)
    kept = [entry.name for entry in files.entries(folder) if entry.name not in store.FOLDERS]
    for name in store.FOLDERS:
        if files.is_own_folder(folder / name):
            kept += [f"{name}/{entry.name}" for entry in files.entries(folder / name)]
        elif os.path.lexists(folder / name):
            kept.append(name)
    return Cleaned(list(removed), kept, not files.entries(folder) and not _removed(folder))


def refuse_to_clean(folder: Path) -> None:
    """UserError if a folder is no run, nor what a cleaning that was stopped has left of one."""
    names = {entry.name for entry in files.entries(folder)}
    emptied = not any(files.entries(folder / name) for name in names.intersection(store.FOLDERS))
    left = names <= {locking.LOCK, *store.FOLDERS} and names & {locking.LOCK, "parts"} and emptied
    if {"grid.toml", "parts"} <= names or locking.HEARTBEAT in names or left:
        return
    raise no_run(folder)


def _removed(folder: Path) -> bool:
    """Remove an empty folder, where that can be; not what a link leads to, nor where somebody stands."""
    if folder.is_symlink() or folder.resolve() == Path.cwd():
        return False
    with suppress(OSError):  # the folder above may be another's, and a disk may be mounted here
        folder.rmdir()
        return True
    return False
