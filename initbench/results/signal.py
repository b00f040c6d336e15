"""The signal table: Parquet files below `signal/`, each named by the SHA-256 of its bytes, as parts are."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from initbench.plugins import arrays
from initbench.results import store
from initbench.spec.cell import Cell
from initbench.spec.signal import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = pa.schema(
    [
        ("cell", pa.string()),
        ("epoch", pa.int64()),
        ("layer", pa.int64()),
        ("statistic", pa.string()),
        ("value", pa.float64()),
    ]
)
assert tuple(SCHEMA.names) == COLUMNS


def table(cells: Sequence[Cell], groups: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return the signal table of the cells of a stack, from what its worker sent (`training.signal.record.to_json`)."""
    tables = [SCHEMA.empty_table()]
    for group in groups:
        epochs, layers, statistics = zip(*group["rows"], strict=True)
        (values,) = arrays.from_json([group["values"]])
        count = len(group["cells"])
        columns = {
            "cell": np.repeat([cells[n].id for n in group["cells"]], len(epochs)),
            "epoch": np.tile(epochs, count),
            "layer": np.tile(layers, count),
            "statistic": np.tile(statistics, count),
            "value": values.ravel(),
        }
        tables.append(pa.table(columns, SCHEMA))
    return pa.concat_tables(tables)


def write(folder: Path, rows: pa.Table, metadata: Mapping[str, str]) -> None:
    """Write a file of the signal table, completely or not at all, unless there are no rows."""
    if len(rows):
        store.write_part(folder, rows, metadata, "signal")


def read(folder: Path, notes: list[str]) -> Iterator[store.Part]:
    """Yield the valid files of the signal table, sorted by id; append a line to `notes` for each invalid one."""
    raise NotImplementedError


def frame(folder: Path, cells: Sequence[Cell], notes: list[str]) -> "pd.DataFrame":
    """Return the signal table of these cells, in their order, by epoch, layer and statistic; each row once."""
    raise NotImplementedError
