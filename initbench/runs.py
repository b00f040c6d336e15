"""A run: a folder with the grid as given, the parts, the timings and the report; and what can be done with it."""

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from initbench import store
from initbench.cells import Cell
from initbench.datasets import Source
from initbench.errors import UserError
from initbench.execute import Finished, Progress, Workers, available_cores
from initbench.grid import Grid, read
from initbench.gridfile import override
from initbench.plan import Stack, plan
from initbench.results import READ, frame, table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# What a run's folder may hold; `clean` removes this and nothing else.
OWN_FILES = ("grid.toml", "datasets.json", "report.html")
OWN_FOLDERS = ("parts", "timings", "signal", "set-aside")


@dataclass
class Run:
    """A run's folder and its grid.

    `notes` collects what the user should know: parts that are damaged. A run that is about to train (`create`) sets
    them aside; one that is only read (`open`) changes nothing in its folder.
    """

    folder: Path
    grid: Grid
    writes: bool = False
    notes: list[str] = field(default_factory=list)

    @classmethod
    def create(cls, grid: Grid, results: Path) -> "Run":
        """The run of a grid, below `results`; writes `grid.toml`, and keeps what an earlier run trained."""
        folder = results / grid.name
        for path in (results, folder):
            if path.exists() and not path.is_dir():
                raise UserError(f"{path}: is a file, and the run needs a folder there; move it, or give --results DIR")
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "parts").is_dir():
            raise UserError(f"{folder}: holds other files and is no run (it has no parts); give the run another name")
        try:
            (folder / "parts").mkdir(parents=True, exist_ok=True)
            store.write_file(folder / "grid.toml", located(grid).encode())
            read = [asdict(source) for source in grid.sources.values() if source.folder]
            if read:
                store.write_file(folder / "datasets.json", json.dumps(read, indent=1).encode())
        except OSError as error:
            raise UserError(f"{folder}: cannot be written ({error.strerror}); give --results DIR") from None
        return cls(folder, grid, writes=True)

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """The run that is in a folder."""
        folder = Path(folder)
        file = folder / "grid.toml"
        if not file.is_file() or not (folder / "parts").is_dir():
            what = "no such folder" if not folder.exists() else "is no run: it has no grid.toml, or no parts"
            found = sorted(p.parent.name for p in folder.parent.glob("*/parts")) if folder.parent.is_dir() else []
            there = f"; runs in {folder.parent}: {', '.join(found)}" if found else ""
            if (Path("results") / folder / "parts").is_dir():
                there = f"; did you mean {Path('results') / folder}?"
            raise UserError(f"{folder}: {what}{there}")
        return cls(folder, read(file, name=folder.name, sources=_known_sources(folder)))

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[store.Part]:
        """The sound parts, one after another, with these columns of their rows, or all; a damaged one is noted."""
        return store.read_parts(self.folder, self.notes, self.writes, columns)

    def missing(self) -> list[Cell]:
        """The grid's cells that no part holds."""
        return self.inventory()[0]

    def inventory(self) -> tuple[list[Cell], int]:
        """The grid's cells that no part holds, and how many others lie there: those of an earlier grid, say."""
        trained = store.trained_cells(self.parts(["cell"]))
        missing = [cell for cell in self.grid.cells() if cell.id not in trained]
        return missing, len(trained) - (len(self.grid) - len(missing))

    def train(self, stacks: list[Stack], workers: Workers, count: int) -> Iterator[Progress | Finished]:
        """Train stacks and write a part for each that finishes; yields what happens, after it is written."""
        for event in workers.train(stacks):
            if isinstance(event, Finished):
                self._keep(event, count)
            yield event

    def _keep(self, finished: Finished, workers: int) -> None:
        cells = finished.stack.cells
        part = store.write_part(self.folder, table(cells, finished.metrics), finished.environment)
        timing = {
            "seconds": round(finished.seconds, 3),
            "cells": len(cells),
            "operations": finished.stack.operations,
            "workers": workers,
            "host": socket.gethostname(),
            "processor": finished.environment["processor"],
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        store.write_timing(self.folder, part, timing)

    def frame(self) -> "pd.DataFrame":
        """The tidy table of the grid's cells, in the grid's order and by epoch; what is not trained is not in it."""
        return self.read()[0]

    def read(self) -> tuple["pd.DataFrame", list[Mapping[str, str]]]:
        """The tidy table, and each different environment in which a part was made."""
        environments: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}

        def tables() -> Iterator["pa.Table"]:
            for part in self.parts(READ):
                environments[tuple(sorted(part.metadata.items()))] = part.metadata
                yield part.table

        return frame(list(self.grid.cells()), tables()), list(environments.values())


def located(grid: Grid) -> str:
    """The text of a grid with the folders of its data sets absolute, so that it means the same from anywhere."""
    if not any(source.folder for source in grid.sources.values()):
        return grid.text
    names = grid.axes["dataset"]
    given = [{"idx": s.folder} if s.folder else s.name for s in map(grid.sources.__getitem__, names)]
    return override(grid.text, {"dataset": given if len(given) > 1 else given[0]})


def _known_sources(folder: Path) -> dict[str, Source]:
    """The data sets that a run read from folders, as it found them: what was run stays legible when they are gone."""
    try:
        described = json.loads((folder / "datasets.json").read_bytes())
        return {fields["name"]: Source(**fields) for fields in described}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def train_to_the_end(
    run: Run, missing: list[Cell], workers: int | None, listen: Callable[[Progress | Finished], None]
) -> None:
    """Train what is missing in a run, in as many workers as asked; `listen` is told of each event."""
    if missing:
        stacks, count = planned(missing, run.grid, workers)
        with Workers(count) as pool:
            for event in run.train(stacks, pool, count):
                listen(event)


def planned(cells: list[Cell], grid: Grid, workers: int | None) -> tuple[list[Stack], int]:
    """The stacks, and how many workers train them: as many as asked or as there are cores, and stacks to give them."""
    count = workers or available_cores()
    stacks = plan(cells, grid.sources, count)
    return stacks, min(count, len(stacks))


def clean(run: Run) -> list[str]:
    """Remove what a run wrote in its folder, and the folder if nothing else is in it; returns what was removed."""
    removed = []
    for name in (*OWN_FOLDERS, *OWN_FILES):
        path = run.folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
            removed.append(name)
        elif path.is_file():
            path.unlink()
            removed.append(name)
    if not any(run.folder.iterdir()):
        run.folder.rmdir()
    return removed
