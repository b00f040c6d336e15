"""A single cell of an experiment: find it, write it as a script, and trace its training."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from initbench.errors import UserError, shown
from initbench.execution import scheduling, start
from initbench.execution.config import ExecutionConfig
from initbench.execution.plan import Stack
from initbench.plugins import arrays, store
from initbench.random import streams
from initbench.registry import naming, shorten_digests
from initbench.results.experiment import Experiment
from initbench.results.plugin_file import own_functions
from initbench.results.table import table
from initbench.spec import grid as grids
from initbench.spec.cell import TRAINING_VERSION, Cell
from initbench.spec.columns import METRICS
from initbench.spec.own import code_missing
from initbench.system import files

MAX_LISTED = 20  # cells that a message names


@dataclass(frozen=True)
class Stored:
    """The figures of a trained cell, of each epoch from 0 its metrics, None where it diverged; its part's metadata."""

    figures: Sequence[Sequence[float | None]]
    metadata: Mapping[str, str]


def find(experiment: Experiment, cell: str = "", settings: Mapping[str, object] | None = None) -> Cell:
    """Return the one cell whose id begins with `cell`, and that has these settings.

    Raises UserError with the ids and the settings of the first of them if there are several, or none.
    """
    cells = [candidate for candidate in experiment.cells if candidate.id.startswith(cell)]
    if settings:
        ids = {candidate.id for candidate in _with_settings(experiment, settings)}
        cells = [candidate for candidate in cells if candidate.id in ids]
    if len(cells) == 1:
        return cells[0]
    folder = experiment.folder
    if not cells:
        sought = f"cell whose id begins with {shown(cell)}" if cell else "cell with these settings"
        raise UserError(f"{folder}: has no {sought}; `initbench script {folder}` lists the ids")
    varying = _varying(cells)
    more = [f"  and {len(cells) - MAX_LISTED:,} more"] * (len(cells) > MAX_LISTED)
    raise UserError(
        f"{folder}: {len(cells):,} cells; name one by its id, or the start of it, or by its settings, as in "
        f"--set {varying[0]}={getattr(cells[0], varying[0])}:",
        *(f"  {line}" for line in _lines(cells[:MAX_LISTED], varying)),
        *more,
    )


def listed(experiment: Experiment) -> Iterator[str]:
    """Yield a line for each cell of an experiment: its id, and the settings that vary."""
    cells = list(experiment.cells)
    return _lines(cells, _varying(cells))


def _lines(cells: Sequence[Cell], settings: Sequence[str]) -> Iterator[str]:
    for cell in cells:
        values = ", ".join(f"{name} {getattr(cell, name)}" for name in settings)
        yield shorten_digests(f"{cell.id}  {values}").rstrip()


def _varying(cells: Sequence[Cell]) -> list[str]:
    """Return the settings that differ between cells."""
    return [name for name in Cell._fields if len({getattr(cell, name) for cell in cells}) > 1]


def _with_settings(experiment: Experiment, settings: Mapping[str, object]) -> Iterator[Cell]:
    """Return the cells of the experiment's grid with these settings in place of its own."""
    grid = experiment.grid
    if isinstance(settings.get("seed"), int):  # here the seed itself, not their number
        settings = {**settings, "seed": [settings["seed"]]}
    names = {key: f"{key[1]}@{digest}" for digest, keys in own_functions(grid).items() for key in keys}
    with naming(names):
        narrowed = grids.parse(
            grid.text, origin="--set", name=grid.name, overrides=settings, sources=grid.sources, folder=None, allow=None
        )
    return narrowed.cells()


def stored(experiment: Experiment, cell: Cell) -> Stored:
    """Return the figures of a cell; UserError if the experiment has none that this version can compute again."""
    earlier = {cell.id_of(version) for version in range(1, TRAINING_VERSION)} - {""}
    trained_earlier = False
    for part in experiment.parts(("cell", "epoch", *METRICS)):
        ids = set(part.table["cell"].unique().to_pylist())
        trained_earlier = trained_earlier or bool(ids & earlier)
        if cell.id in ids:
            rows = part.table.filter(pc.equal(part.table["cell"], cell.id)).sort_by("epoch")
            return Stored(list(zip(*(rows[name].to_pylist() for name in METRICS), strict=True)), part.metadata)
    if trained_earlier:
        raise UserError(
            f"{experiment.folder}: {cell.label} was trained by an earlier version of initbench, whose results this one "
            "cannot compute; `initbench run` trains it again"
        )
    raise UserError(f"{experiment.folder}: {cell.label} is not trained; `initbench run {experiment.folder}` trains it")


def script(experiment: Experiment, cell: Cell) -> str:
    """Return the script of a trained cell, a plain PyTorch program; UserError if it cannot be one."""
    from initbench.scripts.program import program

    result = stored(experiment, cell)
    plugins = {digest: plugin.bundle for digest, plugin in experiment.plugins.items()}
    source = experiment.grid.sources[cell.dataset]
    return program(cell, source, result.figures, result.metadata, plugins, str(experiment.folder))


def trace(experiment: Experiment, cell: Cell, path: Path) -> str:
    """Train a cell again, alone, and write its trace to an .npz file; returns whether its figures are those stored.

    Raises UserError if the cell needs the code of a plugin that is not loaded, or cannot be trained.
    """
    source = experiment.grid.sources[cell.dataset]
    names = [*cell.functions, source.function]
    if store.missing(names):
        raise UserError(*(f"{experiment.folder}: {line}" for line in code_missing(names, experiment.plugin_files)))
    result = stored(experiment, cell)
    config = ExecutionConfig(workers=1, device="cpu" if result.metadata.get("device", "cpu") == "cpu" else "auto")
    with start.start_pool([cell], experiment.grid.sources, config) as pool:
        reply = scheduling.trace(pool, Stack((cell,), source))
    metrics = {name: [[row[m]] for row in reply["metrics"]] for m, name in enumerate(METRICS)}
    rows = table([cell], metrics)
    figures = {name: rows[name].to_numpy() for name in METRICS}  # NaN from where it diverged
    files.write_file(path, _contents(cell, reply, figures))
    before = np.array([[np.nan if value is None else value for value in row] for row in result.figures])
    return _compared(before, np.column_stack(list(figures.values())))


def _contents(cell: Cell, trace: Mapping[str, Any], figures: Mapping[str, Any]) -> bytes:
    """Return a trace as the bytes of an .npz file."""
    epochs = range(1, cell.epochs + 1)
    orders = [streams.batch_rows(cell.seed, epoch, cell.train_size, cell.batch_size) for epoch in epochs]
    parameters, state = arrays.from_json(trace["parameters"]), trace["state"]
    named: dict[str, Any] = {
        **{f"weights_{layer}": W for layer, W in enumerate(parameters[::2])},
        **{f"bias_{layer}": b for layer, b in enumerate(parameters[1::2])},
        **{f"state/{name}": array for name, array in zip(state, arrays.from_json(state.values()), strict=True)},
        "names": np.array(trace["names"], dtype=np.str_),
        "order": np.array(orders, dtype=np.int32),
        "step_losses": np.array(trace["losses"], dtype=np.float64),
        "learning_rates": np.array([cell.step_rates(epoch) for epoch in epochs]),
        **figures,
        "cell": np.array(json.dumps(cell._asdict())),
        "environment": np.array(json.dumps(trace["environment"])),
    }
    content = io.BytesIO()
    np.savez(content, **named)
    return content.getvalue()


def _compared(before: Any, now: Any) -> str:
    """Return how the figures of two trainings differ, in words."""
    if np.array_equal(before, now, equal_nan=True):
        return "its figures are those of the experiment, bit for bit"
    if not np.array_equal(np.isnan(before), np.isnan(now)):
        return "its figures differ from those of the experiment: it diverged in another epoch"
    return f"its figures differ from those of the experiment by at most {np.nanmax(np.abs(before - now)):.3g}"
