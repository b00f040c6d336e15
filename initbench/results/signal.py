"""The signal table: Parquet files below `signal/`, each named by the SHA-256 of its bytes, as parts are."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from initbench.plugins import arrays
from initbench.results import store
from initbench.results.parts import MAX_EPOCHS, open_file
from initbench.results.table import MAX_PLAIN_ROWS, encoded, strings
from initbench.spec.cell import Cell
from initbench.spec.signal import COLUMNS, STATISTICS

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

# Raised whenever the columns of the files change.
FORMAT = 1

# More layers than any network here can have: a cell, an epoch, a layer and a statistic are one integer of 64 bits.
MAX_LAYERS = 100_000

_CODES = {statistic: code for code, statistic in enumerate(STATISTICS)}


def table(cells: Sequence[Cell], groups: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return the signal table of the cells of a stack, from what its worker sent (`training.signal.record.to_json`).

    The rows of a cell are together, by epoch, layer and statistic.
    """
    tables = [SCHEMA.empty_table()]
    for group in groups:
        epochs, layers, names = (np.array(column) for column in zip(*group["rows"], strict=True))
        statistic = np.array([_CODES[name] for name in names])
        order = np.lexsort((statistic, layers, epochs))
        (values,) = arrays.from_json([group["values"]])
        count = len(group["cells"])
        columns = {
            "cell": pa.array([cells[n].id for n in group["cells"]]).take(np.repeat(np.arange(count), len(order))),
            "epoch": np.tile(epochs[order], count),
            "layer": np.tile(layers[order], count),
            "statistic": pa.array(STATISTICS).take(np.tile(statistic[order], count)),
            "value": values[:, order].ravel(),
        }
        tables.append(pa.table(columns, SCHEMA))
    return pa.concat_tables(tables)


def write(folder: Path, rows: pa.Table, metadata: Mapping[str, str]) -> None:
    """Write a file of the signal table, completely or not at all, unless there are no rows."""
    if len(rows):
        store.write_rows(store.own_folder(folder, "signal"), rows, metadata, FORMAT)


def read(folder: Path, notes: list[str], set_aside: bool = False) -> Iterator[store.Part]:
    """Yield the valid files of the signal table, sorted by id; append a line to `notes` for each invalid one.

    With `set_aside`, a file that is damaged or of a later version is moved to `folder/set-aside`; otherwise it is left
    where it is.
    """
    again = "`initbench signal` computes the signal of its cells before training again"
    moved = again if set_aside else None
    yield from store.read_files(
        folder, "signal", "a file of the signal table", _rows, notes, f"left out; {again}", moved
    )


def _rows(content: bytes) -> tuple[pa.Table, Mapping[str, str]]:
    """Return the rows and metadata of a file; ValueError if it is not one of the signal table."""
    file, metadata, _ = open_file(content, FORMAT, [SCHEMA])
    rows = file.read(use_threads=False)
    rows.validate()
    if any(column.null_count for column in rows.columns):
        raise ValueError("damaged, it has rows without a value")
    names, code = encoded(rows["statistic"])
    if unknown := set(names) - set(STATISTICS):
        raise ValueError(f"damaged, it has a statistic {min(unknown)[:40]!r}")
    for name, largest in (("epoch", MAX_EPOCHS), ("layer", MAX_LAYERS)):
        values = rows[name].to_numpy()
        if len(values) and not 0 <= values.min() <= values.max() <= largest:
            raise ValueError(f"damaged, its column {name} has impossible values")
    statistic = np.array([_CODES[name] for name in names], np.int64)[code]
    key = (rows["epoch"].to_numpy() * (MAX_LAYERS + 1) + rows["layer"].to_numpy()) * len(STATISTICS) + statistic
    cell = rows["cell"].combine_chunks()
    continues = pc.equal(cell[1:], cell[:-1]).to_numpy(zero_copy_only=False)
    cells = cell.filter(pa.array(np.append(True, ~continues)[: len(cell)]))
    cells.validate(full=True)
    if (np.diff(key)[continues] <= 0).any() or pc.count_distinct(cells).as_py() != len(cells):
        raise ValueError("damaged, its rows are not those of each cell by epoch, layer and statistic, once")
    return rows, metadata


def frame(cells: Sequence[Cell], tables: Iterable[pa.Table]) -> "pd.DataFrame":
    """Return the signal table of these cells, in their order, by epoch, layer and statistic, from tables of files.

    Rows of other cells and repeated rows are dropped. Columns are as in the tidy table (`results.table.frame`): up to
    `MAX_PLAIN_ROWS` rows `str`, `int64` and `float64`; beyond, strings are categorical, and integers `int32`.
    """
    import pandas as pd

    ids = [cell.id for cell in cells]
    index_of = {cell: index for index, cell in enumerate(ids)}
    keys, values = array("q"), array("d")  # they grow, as those of the tidy table do
    epochs, layers, statistics = MAX_EPOCHS + 1, MAX_LAYERS + 1, len(STATISTICS)
    for rows in tables:
        names, code = encoded(rows["cell"])
        cell = np.array([index_of.get(name, -1) for name in names], np.int64)[code]
        names, code = encoded(rows["statistic"])
        statistic = np.array([_CODES[name] for name in names], np.int64)[code]
        key = (cell * epochs + rows["epoch"].to_numpy()) * layers + rows["layer"].to_numpy()
        key = key * statistics + statistic
        known = cell >= 0
        keys.frombytes(key[known].tobytes())
        values.frombytes(rows["value"].to_numpy()[known].tobytes())
    key = np.frombuffer(keys, np.int64)
    order = np.argsort(key, kind="stable")  # of repeated rows the first one comes first
    key = key[order]
    first = np.diff(key, prepend=-1) != 0
    order, key = order[first], key[first]
    plain = len(order) <= MAX_PLAIN_ROWS
    columns: dict[str, Any] = dict.fromkeys(COLUMNS)
    columns["value"] = np.frombuffer(values, float)[order]
    key, code = np.divmod(key, statistics)
    columns["statistic"] = strings(code.astype(np.int8), STATISTICS, plain)
    key, layer = np.divmod(key, layers)
    cell, epoch = np.divmod(key, epochs)
    columns["cell"] = strings(cell.astype(np.int32), ids, plain)
    for name, column in (("epoch", epoch), ("layer", layer)):
        columns[name] = column if plain else column.astype(np.int32)
    return pd.DataFrame(columns, copy=False)
