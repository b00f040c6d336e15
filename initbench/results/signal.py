"""The signal table: Parquet files below `signal/`, each named by the SHA-256 of its bytes, as parts are."""

import math
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
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
from initbench.spec.signal import COLUMNS, JACOBIAN, STATISTICS

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

# How far a cosine may be above 1, by rounding.
ROUNDING = 1e-6
SHARES = ("saturated_share", "dead_share", "correlation")

# More layers than any network here can have: a cell, an epoch, a layer and a statistic are one integer of 64 bits.
MAX_LAYERS = 100_000

# Statistics of float32 that are finite are far below, squares and quotients too.
MAX_VALUE = 1e100


def _least(statistic: str) -> float:
    if statistic == "correlation":
        return -1 - ROUNDING
    not_negative = ("_variance", "_norm", "_second_moment", "_ratio", "_distance", "_rank", "_share")
    return 0.0 if statistic.endswith(not_negative) or statistic in JACOBIAN else -math.inf


# The least and the largest value of each statistic.
LEAST = np.array([_least(statistic) for statistic in STATISTICS])
LARGEST = np.array([1 + ROUNDING if statistic in SHARES else math.inf for statistic in STATISTICS])

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


def read(
    folder: Path, notes: list[str], set_aside: bool = False, only: Collection[str] | None = None
) -> Iterator[store.Part]:
    """Yield the valid files of the signal table, sorted by id; append a line to `notes` for each invalid one.

    With `set_aside`, a file that is damaged or of a later version is moved to `folder/set-aside`; otherwise it is left
    where it is. `only` reads the files with these ids.
    """
    again = "`initbench signal` computes the signal of its cells before training again"
    moved = again if set_aside else None
    yield from store.read_files(
        folder, "signal", "a file of the signal table", _rows, notes, f"left out; {again}", moved, only
    )


def _rows(content: bytes) -> tuple[pa.Table, Mapping[str, str]]:
    """Return the rows and metadata of a file; ValueError if it is not one of the signal table."""
    file, metadata, _ = open_file(content, FORMAT, [SCHEMA])
    rows = file.read(use_threads=False)
    rows.validate()
    if any(column.null_count for column in rows.columns):
        raise ValueError("damaged, it has rows without a value")
    if unknown := set(rows["statistic"].unique().to_pylist()) - set(STATISTICS):
        raise ValueError(f"damaged, it has a statistic {min(unknown)[:40]!r}")
    for name, largest in (("epoch", MAX_EPOCHS), ("layer", MAX_LAYERS)):
        values = rows[name].to_numpy()
        if len(values) and not 0 <= values.min() <= values.max() <= largest:
            raise ValueError(f"damaged, its column {name} has impossible values")
    key = _keys(rows)
    _check_values(key % len(STATISTICS), rows["value"].to_numpy())
    cell = rows["cell"].combine_chunks()
    continues = pc.equal(cell[1:], cell[:-1]).to_numpy(zero_copy_only=False)
    cells = cell.filter(pa.array(np.append(True, ~continues)[: len(cell)]))
    cells.validate(full=True)
    if (np.diff(key)[continues] <= 0).any() or pc.count_distinct(cells).as_py() != len(cells):
        raise ValueError("damaged, its rows are not those of each cell by epoch, layer and statistic, once")
    return rows, metadata


def _check_values(code: Any, values: Any) -> None:
    """Raise ValueError if a value, of the statistic with this code, is one that no network has."""
    size = np.abs(values)
    wrong = (values < LEAST[code]) | (values > LARGEST[code])  # false for NaN
    wrong |= (size > MAX_VALUE) & (size < math.inf)
    if wrong.any():
        raise ValueError(f"damaged, its statistic {STATISTICS[code[wrong.argmax()]]} has impossible values")


def _keys(rows: pa.Table) -> Any:
    """Return epoch, layer and statistic of each row as one integer, in this order."""
    names, code = encoded(rows["statistic"])
    statistic = np.array([_CODES[name] for name in names], np.int64)[code]
    return (rows["epoch"].to_numpy() * (MAX_LAYERS + 1) + rows["layer"].to_numpy()) * len(STATISTICS) + statistic


def _cells(rows: pa.Table) -> Iterator[tuple[str, slice]]:
    """Yield each cell of a file and its rows, which are together."""
    names, code = encoded(rows["cell"])
    begins = np.flatnonzero(np.diff(code, prepend=-1))
    for begin, end in pairwise([*begins, len(code)]):
        yield names[code[begin]], slice(int(begin), int(end))


class Once:
    """Finds the rows of files that no earlier file has."""

    def __init__(self) -> None:
        self._keys: dict[str, Any] = {}  # by cell
        self._shared: dict[bytes, Any] = {}  # the same arrays, each once: most cells have the same rows

    def new_rows(self, rows: pa.Table, wanted: Callable[[str], bool]) -> Any:
        """Return which rows of a file are new and of a wanted cell."""
        new = np.zeros(len(rows), bool)
        keys = _keys(rows)
        for cell, own in _cells(rows):
            if wanted(cell):
                before = self._keys.get(cell)
                new[own] = True if before is None else ~np.isin(keys[own], before)
                union = keys[own] if before is None else np.union1d(before, keys[own])
                self._keys[cell] = self._shared.setdefault(union.tobytes(), union)
        return new


def digests(rows: pa.Table) -> Iterator[tuple[str, int, bytes, bytes]]:
    """Yield for each cell and epoch of a file digests of which rows they are, and of their values.

    Where the rows are the same, the values are too, on the same kind of machine. Jacobians of hidden layers are left
    out: they may be estimates.
    """
    keys, values = _keys(rows), rows["value"].to_numpy()
    layer = keys // len(STATISTICS) % (MAX_LAYERS + 1)
    is_jacobian = np.isin(keys % len(STATISTICS), [_CODES[name] for name in JACOBIAN])
    epochs = keys // len(STATISTICS) // (MAX_LAYERS + 1)
    for cell, own in _cells(rows):
        exact = ~is_jacobian[own] | (layer[own] == layer[own].max())
        for epoch in np.unique(epochs[own]):
            of_epoch = exact & (epochs[own] == epoch)
            which, digest = (blake2b(array[own][of_epoch].tobytes(), digest_size=16) for array in (keys, values))
            yield cell, int(epoch), which.digest(), digest.digest()


def layers(rows: pa.Table) -> Iterator[tuple[str, set[tuple[int, int]]]]:
    """Yield the cells of a file with their epochs and layers."""
    epoch_and_layer = _keys(rows) // len(STATISTICS)
    for cell, own in _cells(rows):
        yield cell, {divmod(int(pair), MAX_LAYERS + 1) for pair in np.unique(epoch_and_layer[own])}


def lacks_layers(epochs_and_layers: Collection[tuple[int, int]]) -> bool:
    """Return whether, in some epoch, a layer is absent between the input and the last one."""
    last = dict(sorted(epochs_and_layers))
    return len(epochs_and_layers) != sum(layer + 1 for layer in last.values())


def frame(
    cells: Sequence[Cell],
    tables: Iterable[pa.Table],
    only: Collection[str] | None = None,
    max_rows: int | None = None,
) -> "pd.DataFrame":
    """Return the signal table of these cells, in their order, by epoch, layer and statistic, from tables of files.

    `only` are the statistics that are read; default all. Rows of other cells and repeated rows are dropped. Columns are
    as in the tidy table (`results.table.frame`): up to `MAX_PLAIN_ROWS` rows `str`, `int64` and `float64`; beyond,
    strings are categorical, and integers `int32`. If there are more than `max_rows`, the table has the first seeds
    alone, half of them, a quarter, and so on, or none; its `attrs["seeds"]` is their number.
    """
    import pandas as pd

    ids = [cell.id for cell in cells]
    index_of = {cell: index for index, cell in enumerate(ids)}
    keys, values = array("q"), array("d")  # they grow, as those of the tidy table do
    epochs, layers, statistics = MAX_EPOCHS + 1, MAX_LAYERS + 1, len(STATISTICS)
    wanted = pa.array(STATISTICS if only is None else only, pa.string())
    seeds = np.unique([cell.seed for cell in cells])
    seed_number = np.searchsorted(seeds, [cell.seed for cell in cells])
    n_seeds = len(seeds)
    for file in tables:
        rows = file if only is None else file.filter(pc.is_in(file["statistic"], wanted))
        names, code = encoded(rows["cell"])
        cell = np.array([index_of.get(name, -1) for name in names], np.int64)[code]
        key = cell * (epochs * layers * statistics) + _keys(rows)
        is_requested = (cell >= 0) & (seed_number[cell] < n_seeds)
        keys.frombytes(key[is_requested].tobytes())
        values.frombytes(rows["value"].to_numpy()[is_requested].tobytes())
        while max_rows is not None and len(keys) > max_rows:
            n_seeds //= 2
            key, value = np.frombuffer(keys, np.int64), np.frombuffer(values, float)
            is_requested = seed_number[key // (epochs * layers * statistics)] < n_seeds
            keys, values = array("q", key[is_requested].tobytes()), array("d", value[is_requested].tobytes())
    key, value = np.frombuffer(keys, np.int64), np.frombuffer(values, float)
    del keys, values
    order = np.argsort(key, kind="stable")  # of repeated rows the first one comes first
    key, value = key[order], value[order]
    del order
    first = np.diff(key, prepend=-1) != 0
    if not first.all():
        key, value = key[first], value[first]
    plain = len(key) <= MAX_PLAIN_ROWS
    columns: dict[str, Any] = {**dict.fromkeys(COLUMNS), "value": value}
    integer = np.int64 if plain else np.int32
    columns["statistic"] = strings((key % statistics).astype(np.int8), STATISTICS, plain)
    key //= statistics
    columns["layer"] = (key % layers).astype(integer)
    key //= layers
    columns["epoch"] = (key % epochs).astype(integer)
    key //= epochs
    columns["cell"] = strings(key.astype(np.int32), ids, plain)
    table = pd.DataFrame(columns, copy=False)
    if n_seeds < len(seeds):
        table.attrs["seeds"] = n_seeds
    return table


def csv_bytes(frame: "pd.DataFrame") -> bytes:
    """Return a signal table as the bytes of a CSV file; values that are not finite are `nan`, `inf` and `-inf`."""
    return frame.to_csv(index=False, lineterminator="\n", na_rep="nan").encode()
