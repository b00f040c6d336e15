"""A run: a folder with the grid as given, the parts, the timings and the report; and what can be done with it."""

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from initbench import calibration, store
from initbench.calibration import WORTH_MEASURING, Speeds
from initbench.cells import Cell
from initbench.datasets import Source, described
from initbench.errors import UserError
from initbench.execute import Finished, Progress, Workers, device_for
from initbench.grid import Grid, read
from initbench.gridfile import override
from initbench.plan import Kind, Stack, plan
from initbench.results import READ, frame, table
from initbench.threads import available_cores

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# What a run's folder may hold; `clean` removes this and nothing else.
OWN_FILES = ("grid.toml", "datasets.json", "report.html")
OWN_FOLDERS = ("parts", "timings", "signal", "set-aside", "figures")


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
            inside = sorted(str(p.parent) for p in folder.glob("*/parts"))
            found = sorted(p.parent.name for p in folder.parent.glob("*/parts")) if folder.parent.is_dir() else []
            there = f"; runs in {folder.parent}: {', '.join(found)}" if found else ""
            if inside:
                there = f"; did you mean {' or '.join(inside[:3])}?"
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

    def train(self, stacks: list[Stack], workers: Workers) -> Iterator[Progress | Finished]:
        """Train stacks and write a part for each that finishes; yields what happens, after it is written."""
        for event in workers.train(stacks):
            if isinstance(event, Finished):
                self._keep(event, workers.count)
            yield event

    def _keep(self, finished: Finished, workers: int) -> None:
        cells = finished.stack.cells
        part = store.write_part(self.folder, table(cells, finished.metrics), finished.environment)
        timing = {
            "seconds": round(finished.seconds, 3),
            "cells": len(cells),
            "operations": finished.stack.operations,
            "initialization": finished.initialization,
            "product_rate": round(finished.product_rate),
            "workers": workers,
            "host": socket.gethostname(),
            "processor": finished.environment["processor"],
            "device": finished.environment["device"],
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
        told = json.loads((folder / "datasets.json").read_bytes())
        return {fields["name"]: described(fields) for fields in told}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}


def train_to_the_end(
    run: Run,
    missing: Sequence[Cell],
    workers: int | None,
    listen: Callable[[Progress | Finished], None],
    width: int | None = None,
) -> None:
    """Train what is missing in a run; `listen` is told of each event.

    In as many workers as asked, or as there are cores, and in stacks of at most `width` cells, or as many as this
    machine trains fastest.
    """
    if missing:
        with pool_for(missing, run.grid, workers) as pool:
            stacks, _ = planned(missing, run.grid, pool, width)
            for event in run.train(stacks, pool):
                listen(event)


def pool_for(cells: Sequence[Cell], grid: Grid, workers: int | None) -> Workers:
    """The workers that train these cells: as many as asked, or one for each core, or for a graphics processor one."""
    device = device_for(grid.device)
    return Workers(min(workers or (available_cores() if device == "cpu" else 1), len(cells)), device)


def planned(
    cells: Sequence[Cell], grid: Grid, pool: Workers, width: int | None = None, measuring: bool = False
) -> tuple[list[Stack], dict[Kind, Speeds]]:
    """The stacks of these cells, and what is known of this machine's speed with their kinds.

    Speeds that are not known are measured where that is asked for, and where the run is long enough to be worth it.
    """
    gpu = pool.device != "cpu"
    if not measuring and width is None:
        sample = grid.sources[cells[0].dataset]
        measuring = len(cells) * Stack((cells[0],), sample).operations > WORTH_MEASURING
    speeds = calibration.speeds(cells, grid.sources, pool, measuring)
    known = {kind: found.width for kind, found in speeds.items()}
    widths = dict.fromkeys(calibration.kinds(cells), width) if width else known
    return plan(cells, grid.sources, pool.count, widths, gpu), speeds


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
