"""The tidy table: one row for each cell and epoch, in one fixed schema."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from initbench.spec.cell import TRAINING_VERSION, Cell
from initbench.spec.columns import COLUMNS, DIVERGED, METRICS, SETTINGS, TRAINED

if TYPE_CHECKING:
    import pandas as pd

WHOLE = ("train_size", "batch_size", "epochs", "seed", "epoch")
REAL = ("learning_rate", "lr_decay", *METRICS)

SCHEMA = pa.schema(
    [(name, pa.int64() if name in WHOLE else pa.float64() if name in REAL else pa.string()) for name in COLUMNS]
)

# Raised whenever a part is written in another form. Of the earlier forms: what their columns lack, and what was meant.
FORMAT = 2
EARLIER: tuple[Mapping[str, Any], ...] = ({"precision": "float32"},)


@cache  # each part that is read asks
def without(missing: tuple[str, ...]) -> pa.Schema:
    """The schema of an earlier form, which lacks some columns."""
    return pa.schema([field for field in SCHEMA if field.name not in missing])


# What has to be read of a part: the settings follow from the cell, whose id is their hash.
READ = ("cell", "status", "epoch", *METRICS)

# What of the rows may differ between two trainings of a cell.
OUTCOMES = ("epoch", "status", *METRICS)

# A longer table has its text as categories (a code for each row) and its whole numbers in 32 bits where they fit. A
# million cells of ten epochs are 1.1 GB then; with plain text they are 3.3 GB.
PLAIN_ROWS = 1_000_000


def table(cells: Sequence[Cell], metrics: Mapping[str, Sequence[Sequence[float]]]) -> pa.Table:
    """The rows of one stack: metrics are `[epoch][cell]`; rows go cell by cell, then by epoch.

    A cell is diverged from the first epoch whose training loss, or a loss evaluated after it, is not finite; from that
    epoch on its metrics are null. `train_loss` is null at epoch 0.
    """
    values = {name: np.array(metrics[name], dtype=float).T for name in METRICS}  # [cell, epoch]
    epochs = values["train_loss"].shape[1]
    finite = np.isfinite(values["validation_loss"]) & np.isfinite(values["test_loss"])
    finite[:, 1:] &= np.isfinite(values["train_loss"][:, 1:])
    diverged = ~np.logical_and.accumulate(finite, axis=1)
    row = np.repeat(np.arange(len(cells)), epochs)
    each = [*zip(*cells, strict=True), [cell.id for cell in cells]]  # a value for each cell, column by column
    columns: dict[str, pa.Array] = {}
    for name, values_each in zip((*SETTINGS, "cell"), each, strict=True):
        columns[name] = pa.array(values_each, SCHEMA.field(name).type).take(row)
    columns["status"] = pa.array([TRAINED, DIVERGED]).take(diverged.ravel().astype(np.int8))
    columns["epoch"] = pa.array(np.tile(np.arange(epochs), len(cells)), pa.int64())
    for name in METRICS:
        missing = diverged | (np.arange(epochs) == 0) if name == "train_loss" else diverged
        columns[name] = pa.array(values[name].ravel(), pa.float64(), mask=missing.ravel())
    return pa.table(columns, SCHEMA)


def frame(cells: Sequence[Cell], tables: Iterable[pa.Table], version: int = TRAINING_VERSION) -> "pd.DataFrame":
    """The tidy table of these cells, in their order and by epoch, from tables that hold the columns `READ`.

    Their ids are those of a version of the training.

    Rows of other cells are left out, and so are those that come a second time. In up to `PLAIN_ROWS` rows the columns
    are `str`, `int64` and `float64`; in more, text is categorical, and whole numbers are `int32` where they fit.
    """
    import pandas as pd

    ids = [cell.id_of(version) for cell in cells]
    found, statuses = _gathered(ids, tables)
    place, epoch = (np.frombuffer(found.pop(name), np.int32) for name in ("place", "epoch"))
    order = np.lexsort((epoch, place))  # stable: of two rows the first comes first
    place, epoch = place[order], epoch[order]
    again = (np.diff(place, prepend=-1) == 0) & (np.diff(epoch, prepend=-1) == 0)
    if again.any():
        order, place, epoch = order[~again], place[~again], epoch[~again]
    plain = len(order) <= PLAIN_ROWS

    def text(codes: Any, values: Sequence[str]) -> Any:
        coded = pd.Categorical.from_codes(codes, pd.Index(values))
        return pd.Series(coded).astype(str) if plain else coded

    columns: dict[str, Any] = dict.fromkeys(COLUMNS)
    columns["epoch"] = epoch.astype(np.int64) if plain else epoch
    columns["status"] = text(np.frombuffer(found.pop("status"), np.int8)[order], statuses)
    for name in METRICS:
        columns[name] = np.frombuffer(found.pop(name), float)[order]
    del order
    columns["cell"] = text(place, ids)
    del ids
    for i, name in enumerate(SETTINGS):
        each: list[Any] = [cell[i] for cell in cells]
        if name in REAL:
            columns[name] = np.array(each, float)[place]
        elif name in WHOLE:
            short = not plain and max(each) < 2**31
            columns[name] = np.array(each, np.int32 if short else np.int64)[place]
        else:
            code = {value: number for number, value in enumerate(dict.fromkeys(each))}
            columns[name] = text(np.array([code[value] for value in each], np.int32)[place], list(code))
    return pd.DataFrame(columns, copy=False)


def csv_bytes(frame: "pd.DataFrame") -> bytes:
    """A tidy table as a CSV file.

    `hidden` is written as in a grid file, `[12, 10]`: a spreadsheet takes `12-10` for a date, and the empty text of no
    hidden layer is read as a missing value. Some ids of cells, such as `12345678e90123456789`, look like numbers; they
    stay as they are, and a spreadsheet has to import that column as text.
    """
    spelled = {widths: f"[{widths.replace('-', ', ')}]" for widths in frame["hidden"].unique()}
    return frame.assign(hidden=frame["hidden"].map(spelled)).to_csv(index=False, lineterminator="\n").encode()


def _gathered(ids: Sequence[str], tables: Iterable[pa.Table]) -> tuple[dict[str, "array[Any]"], list[str]]:
    """The rows of these cells, as they come, and the names of the statuses.

    `place` is a row's cell, as its number in `ids`, and `status` the number of its status. The arrays grow: of a list
    of many small ones the memory would not go back to the system when they are joined.
    """
    place_of = {id_: place for place, id_ in enumerate(ids)}
    statuses: dict[str, int] = {}
    found: dict[str, array[Any]] = {"place": array("i"), "status": array("b"), "epoch": array("i")}
    found |= {name: array("d") for name in METRICS}
    for part in tables:
        names, row = coded(part["cell"])
        place = np.array([place_of.get(name, -1) for name in names], np.int32)[row]
        names, row = coded(part["status"])
        status = np.array([statuses.setdefault(name, len(statuses)) for name in names], np.int8)[row]
        rows = {"place": place, "status": status, "epoch": part["epoch"].to_numpy().astype(np.int32)}
        rows |= {name: part[name].to_numpy() for name in METRICS}
        for name, values in rows.items():
            found[name].frombytes(values[place >= 0].tobytes())
    return found, list(statuses)


def coded(column: pa.ChunkedArray) -> tuple[list[str], Any]:
    """The different texts of a column, and for each row which of them it has."""
    coded = column.combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy()


def outcomes_by_cell(table: pa.Table) -> Iterator[tuple[str, Any, Any]]:
    """Of each cell of a part: its outcomes, and in which rows they are."""
    if not len(table):
        return
    cells, cell_of_row = coded(table["cell"])
    order = np.argsort(cell_of_row, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(cell_of_row))[:-1])
    outcomes = _outcomes(table)
    for cell, place in zip(cells, rows, strict=True):
        yield cell, outcomes[place], place


def _outcomes(table: pa.Table) -> Any:
    """What of the rows may differ between two trainings of a cell, as numbers: epoch, divergence and metrics."""
    diverged = np.array(table["status"].to_pylist()) == DIVERGED
    metrics = [table[name].to_numpy() + 0.0 for name in METRICS]  # where it is null, not a number
    return np.column_stack([table["epoch"].to_numpy(), diverged, *metrics])
