"""Joining the runs of several machines into one, each cell once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from initbench import store
from initbench.errors import UserError
from initbench.grid import parse
from initbench.gridfile import to_toml
from initbench.runs import Run


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

    seen: dict[str, tuple[Path, Any]] = {}
    lines: list[str] = []
    kept: list[tuple[Any, Mapping[str, str], dict[str, Any] | None]] = []
    for run in runs:
        timings = store.read_timings(run.folder)
        for part in run.parts():
            fresh = []
            for cell in part.table["cell"].unique().to_pylist():
                rows = part.table.filter(_equals(part.table["cell"], cell))
                if cell in seen:
                    other, before = seen[cell]
                    if not rows.equals(before):
                        lines.append(_disagreement(cell, before, rows, other, run.folder))
                else:
                    seen[cell] = (run.folder, rows)
                    fresh.append(rows)
            if fresh:
                import pyarrow as pa

                kept.append((pa.concat_tables(fresh), part.metadata, timings.get(part.id)))
        lines += run.notes
    merged = Run.create(grid, into.parent)
    for rows, metadata, timing in kept:
        written = store.write_part(merged.folder, rows, metadata)
        if timing:
            store.write_timing(merged.folder, written, timing)
    return merged, lines


def _equals(column: Any, value: str) -> Any:
    import pyarrow.compute as pc

    return pc.equal(column, value)


def _disagreement(cell: str, before: Any, rows: Any, kept: Path, dropped: Path) -> str:
    left, right = before.to_pandas(), rows.to_pandas()
    settings = left.iloc[0]
    what = f"{settings.initializer}, {settings.activation}, {settings.loss}, seed {settings.seed}"
    a, b = left["test_accuracy"].iloc[-1], right["test_accuracy"].iloc[-1]
    return (
        f"cell {cell} ({what}) differs: test accuracy {a} in {kept}, which is kept, and {b} in {dropped}, "
        "which is dropped"
    )
