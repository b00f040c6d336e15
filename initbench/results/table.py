"""The tidy table: one row per cell and epoch, in one fixed schema."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from initbench.spec.cell import LATER, TRAINING_VERSION, Cell
from initbench.spec.columns import COLUMNS, DIVERGED, METRICS, SETTINGS, TRAINED

if TYPE_CHECKING:
    import pandas as pd

INTEGERS = ("train_size", "batch_size", "epochs", "seed", "epoch")
FLOATS = ("dropout", "learning_rate", "lr_decay", "warmup_epochs", "gradient_clipping", *METRICS)
BOOLEANS = ("standardize",)

TYPES = {
    **dict.fromkeys(INTEGERS, pa.int64()),
    **dict.fromkeys(FLOATS, pa.float64()),
    **dict.fromkeys(BOOLEANS, pa.bool_()),
}
SCHEMA = pa.schema([(name, TYPES.get(name, pa.string())) for name in COLUMNS])

# Raised whenever the columns of parts change. `EARLIER` maps the columns that earlier formats lack to their values.
FORMAT = 3
_OF_FORMAT_3 = {name: Cell._field_defaults[name] for name in LATER}
EARLIER: tuple[Mapping[str, Any], ...] = (_OF_FORMAT_3, {**_OF_FORMAT_3, "precision": "float32"})


@cache  # called for every part that is read
def without(missing: tuple[str, ...]) -> pa.Schema:
    """Return the schema of an earlier format, which lacks some columns."""
    return pa.schema([field for field in SCHEMA if field.name not in missing])


# The columns of a part that must be read: the settings follow from the cell, whose id is their hash.
READ = ("cell", "status", "epoch", *METRICS)

# The columns that may differ between two training runs of a cell.
OUTCOMES = ("epoch", "status", *METRICS)

# A longer table stores strings and the settings of `LATER` as categories (a code for each row), and integers in 32 bits
# where they fit: a million cells of ten epochs take 1.1 GB instead of 3.3 GB.
MAX_PLAIN_ROWS = 1_000_000


def table(cells: Sequence[Cell], metrics: Mapping[str, Sequence[Sequence[float]]]) -> pa.Table:
    """Return the rows of one stack, cell by cell, then by epoch, from metrics `[epoch][cell]`.

    A cell has diverged from the first epoch whose training loss, or a loss evaluated after it, is not finite; from that
    epoch on its metrics are null. `train_loss` is null at epoch 0.
    """
    values = {name: np.array(metrics[name], dtype=float).T for name in METRICS}  # [cell, epoch]
    epochs = values["train_loss"].shape[1]
    finite = np.isfinite(values["validation_loss"]) & np.isfinite(values["test_loss"])
    finite[:, 1:] &= np.isfinite(values["train_loss"][:, 1:])
    diverged = ~np.logical_and.accumulate(finite, axis=1)
    row = np.repeat(np.arange(len(cells)), epochs)
    values_by_cell = [*zip(*cells, strict=True), [cell.id for cell in cells]]
    columns: dict[str, pa.Array] = {}
    for name, cell_values in zip((*SETTINGS, "cell"), values_by_cell, strict=True):
        columns[name] = pa.array(cell_values, SCHEMA.field(name).type).take(row)
    columns["status"] = pa.array([TRAINED, DIVERGED]).take(diverged.ravel().astype(np.int8))
    columns["epoch"] = pa.array(np.tile(np.arange(epochs), len(cells)), pa.int64())
    for name in METRICS:
        missing = diverged | (np.arange(epochs) == 0) if name == "train_loss" else diverged
        columns[name] = pa.array(values[name].ravel(), pa.float64(), mask=missing.ravel())
    return pa.table(columns, SCHEMA)


def frame(cells: Sequence[Cell], tables: Iterable[pa.Table], version: int = TRAINING_VERSION) -> "pd.DataFrame":
    """Return the tidy table of these cells, in their order and by epoch, from tables with the columns `READ`.

    The tables name the cells by their ids in a version of the training. Rows of other cells and repeated rows are
    dropped. Up to `MAX_PLAIN_ROWS` rows, the columns are `str`, `int64`, `float64` and `bool`; beyond, strings and the
    settings of `LATER` are categorical, and integers are `int32` where they fit.
    """
    import pandas as pd

    ids = [cell.id_of(version) for cell in cells]
    values, statuses = _concatenated(ids, tables)
    cell_index, epoch = (np.frombuffer(values.pop(name), np.int32) for name in ("cell_index", "epoch"))
    order = np.lexsort((epoch, cell_index))  # stable: of repeated rows the first one comes first
    cell_index, epoch = cell_index[order], epoch[order]
    repeated = (np.diff(cell_index, prepend=-1) == 0) & (np.diff(epoch, prepend=-1) == 0)
    if repeated.any():
        order, cell_index, epoch = order[~repeated], cell_index[~repeated], epoch[~repeated]
    plain = len(order) <= MAX_PLAIN_ROWS
    categories = partial(strings, plain=plain)
    columns: dict[str, Any] = dict.fromkeys(COLUMNS)
    columns["epoch"] = epoch.astype(np.int64) if plain else epoch
    columns["status"] = categories(np.frombuffer(values.pop("status"), np.int8)[order], statuses)
    for name in METRICS:
        columns[name] = np.frombuffer(values.pop(name), float)[order]
    del order
    columns["cell"] = categories(cell_index, ids)
    del ids
    for i, name in enumerate(SETTINGS):
        cell_values: list[Any] = [cell[i] for cell in cells]
        if name in INTEGERS:
            short = not plain and max(cell_values) < 2**31
            columns[name] = np.array(cell_values, np.int32 if short else np.int64)[cell_index]
        elif name in (*FLOATS, *BOOLEANS) and (plain or name not in LATER):
            columns[name] = np.array(cell_values, float if name in FLOATS else bool)[cell_index]
        else:
            codes = {value: code for code, value in enumerate(dict.fromkeys(cell_values))}
            columns[name] = categories(np.array([codes[v] for v in cell_values], np.int32)[cell_index], list(codes))
    return pd.DataFrame(columns, copy=False)


def strings(codes: Any, values: Sequence[Any], plain: bool) -> Any:
    """Return a column of strings from the position of each row's in `values`: `str`, or categorical if not `plain`."""
    import pandas as pd

    categorical = pd.Categorical.from_codes(codes, pd.Index(values))
    return pd.Series(categorical).astype(str) if plain else categorical


def plain_columns(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return a long table with the columns of a short one."""
    import pandas as pd

    types: dict[str, Any] = {**dict.fromkeys(INTEGERS, "int64"), **dict.fromkeys(FLOATS, float)}
    types |= dict.fromkeys(BOOLEANS, bool)
    others = {name: types.get(name, str) for name in map(str, frame) if frame[name].dtype != types.get(name, "str")}
    with pd.option_context("mode.string_storage", "auto"):  # that of a short table; a report has another one
        return frame.astype(others)


def csv_bytes(frame: "pd.DataFrame") -> bytes:
    """Return a tidy table as the bytes of a CSV file, with `spelled` widths.

    Some cell ids, such as `12345678e90123456789`, look like numbers; they are written as they are, and a spreadsheet
    must import that column as text.
    """
    return spelled(frame).to_csv(index=False, lineterminator="\n").encode()


def spelled(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return a tidy table for spreadsheets: `hidden` as in a grid file, `[12, 10]`.

    They read `12-10` as a date, and the empty string of no hidden layer as a missing value, which it is of models other
    than perceptrons.
    """
    widths = {text: f"[{text.replace('-', ', ')}]" for text in frame["hidden"].unique()}
    hidden = frame["hidden"].map(widths).astype(object).where(frame["model"] == "perceptron", "")
    return frame.assign(hidden=hidden)


def _concatenated(ids: Sequence[str], tables: Iterable[pa.Table]) -> tuple[dict[str, "array[Any]"], list[str]]:
    """Return the rows of these cells, in the order of the tables, and the names of the statuses.

    `cell_index` is the position of a row's cell in `ids`, and `status` that of its status in the names. The arrays
    grow: joining a list of many small arrays would not return their memory to the system.
    """
    index_of = {cell: index for index, cell in enumerate(ids)}
    statuses: dict[str, int] = {}
    values: dict[str, array[Any]] = {"cell_index": array("i"), "status": array("b"), "epoch": array("i")}
    values |= {name: array("d") for name in METRICS}
    for part in tables:
        names, code = encoded(part["cell"])
        cell_index = np.array([index_of.get(name, -1) for name in names], np.int32)[code]
        names, code = encoded(part["status"])
        status = np.array([statuses.setdefault(name, len(statuses)) for name in names], np.int8)[code]
        rows = {"cell_index": cell_index, "status": status, "epoch": part["epoch"].to_numpy().astype(np.int32)}
        rows |= {name: part[name].to_numpy() for name in METRICS}
        for name, column in rows.items():
            values[name].frombytes(column[cell_index >= 0].tobytes())
    return values, list(statuses)


def encoded(column: pa.ChunkedArray) -> tuple[list[str], Any]:
    """Return the unique strings of a column, and for each row the index of its string."""
    dictionary = column.combine_chunks().dictionary_encode()
    return dictionary.dictionary.to_pylist(), dictionary.indices.to_numpy()


def outcomes_by_cell(table: pa.Table) -> Iterator[tuple[str, Any, Any]]:
    """Yield for each cell of a part its id, its outcomes `[row, OUTCOMES]`, and the indices of its rows."""
    if not len(table):
        return
    cells, cell_of_row = encoded(table["cell"])
    order = np.argsort(cell_of_row, kind="stable")
    rows_by_cell = np.split(order, np.cumsum(np.bincount(cell_of_row))[:-1])
    outcomes = _outcomes(table)
    for cell, rows in zip(cells, rows_by_cell, strict=True):
        yield cell, outcomes[rows], rows


def _outcomes(table: pa.Table) -> Any:
    """Return the columns `OUTCOMES` as numbers; divergence is 0 or 1, and null metrics are NaN."""
    diverged = np.array(table["status"].to_pylist()) == DIVERGED
    metrics = [table[name].to_numpy() + 0.0 for name in METRICS]
    return np.column_stack([table["epoch"].to_numpy(), diverged, *metrics])
