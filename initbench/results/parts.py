"""A part that may be anybody's: what it must be before its rows are read, and what these must say."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from initbench.errors import printable
from initbench.results.table import EARLIER, FORMAT, SCHEMA, without
from initbench.spec.columns import DIVERGED, METRICS, TRAINED

METADATA_KEY, FORMAT_KEY = b"initbench", b"initbench.format"

# A part has so many rows at most: 192 cells of 100,000 epochs are 19 million. A file of a few bytes can say that it has
# billions that are equal, and they would be made.
MAX_ROWS = 2**25

# So many bytes a row takes at most, not compressed (hidden layers are the longest text), and a file beside its rows.
ROW_BYTES, FILE_BYTES = 10_000, 10_000_000

MAX_EPOCHS = 100_000
MAX_METADATA = 100_000

# Beyond this no training in float32 comes with a finite loss.
MAX_METRIC = 1e100

# What is read of a part whatever is asked for, because it says whether the rows can be.
CHECKED = ("cell", "status", "epoch", "epochs")


def opened(content: bytes) -> tuple[pq.ParquetFile, dict[str, str], Mapping[str, Any]]:
    """A part's file, of which no row is read yet, its metadata, and the columns that it lacks because it is of an
    earlier version, with what was meant by that; ValueError says why it is none."""
    file = pq.ParquetFile(pa.BufferReader(content))
    schema = file.schema_arrow  # made anew at each access
    described = schema.metadata or {}
    written = described.get(FORMAT_KEY, b"1")[:20].decode("ascii", "replace")
    if written.isdecimal() and int(written) > FORMAT:
        raise ValueError(f"of a later version of initbench (format {written}; this one reads up to {FORMAT})")
    missing = next((m for m in ({}, *EARLIER) if schema.equals(without(tuple(m)))), None)
    if missing is None:
        raise ValueError("damaged, it has other columns than this version or an earlier one writes")
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    rows = max(file.metadata.num_rows, sum(group.num_rows for group in groups))
    if rows > MAX_ROWS or any(group.num_rows < 0 for group in groups):
        raise ValueError(f"damaged, it says that it has {rows:,} rows")
    # The sizes of groups, not of their columns: to ask for a damaged column's ends the process (pyarrow 26).
    unpacked = sum(max(0, group.total_byte_size) for group in groups)
    if unpacked > FILE_BYTES + ROW_BYTES * rows:
        raise ValueError(f"damaged, it says that its {rows:,} rows take {unpacked:,} bytes")
    return file, _metadata(described.get(METADATA_KEY, b"{}")), missing


def rows(file: pq.ParquetFile, columns: Sequence[str] | None, missing: Mapping[str, Any]) -> pa.Table:
    """The rows of a part, these columns or all; ValueError if they are not those of whole trainings of some cells."""
    asked = list(SCHEMA.names if columns is None else columns)
    read = [*asked, *(name for name in CHECKED if name not in asked)]
    table = file.read([name for name in read if name not in missing], use_threads=False)
    table.validate(full=columns is None)
    for name in missing.keys() & set(read):
        table = table.append_column(name, pa.array([missing[name]] * len(table), SCHEMA.field(name).type))
    for name in table.column_names:
        if name not in METRICS and table[name].null_count:
            raise ValueError(f"damaged, its column {name} has rows without a value")
    for name in METRICS:
        if name in table.column_names:
            _check_metric(name, table[name])
    if strange := set(table["status"].unique().to_pylist()) - {TRAINED, DIVERGED}:
        raise ValueError(f"damaged, it has a status {min(strange)[:40]!r}")
    _check_epochs(table)
    return table.select(asked)


def _check_metric(name: str, column: pa.ChunkedArray) -> None:
    low, high = (0.0, 1.0) if name.endswith("accuracy") else (-MAX_METRIC, MAX_METRIC)
    given = column.drop_null().to_numpy()
    if not ((given >= low) & (given <= high)).all():  # nor are they numbers that are none
        raise ValueError(f"damaged, its column {name} has values that no training gives")


def _check_epochs(table: pa.Table) -> None:
    """Cell by cell each epoch from 0 to the last, once."""
    if not len(table):
        return
    cell, epoch, epochs = table["cell"].combine_chunks(), table["epoch"].to_numpy(), table["epochs"].to_numpy()
    begins = epoch == 0
    ends = np.append(begins[1:], True)
    goes_on = pc.equal(cell[1:], cell[:-1]).to_numpy(zero_copy_only=False)
    cells = cell.filter(pa.array(begins))  # so much is looked at, and not each row's text
    cells.validate(full=True)
    whole = (
        begins[0]
        and (goes_on != begins[1:]).all()
        and (np.diff(epoch)[goes_on] == 1).all()
        and (epochs[ends] == epoch[ends]).all()
        and epochs.max() <= MAX_EPOCHS
        and pc.count_distinct(cells).as_py() == len(cells)
    )
    if not whole:
        raise ValueError("damaged, its rows are not each epoch of each cell, once")


def _metadata(text: bytes) -> dict[str, str]:
    """What a part says of how it was made: text by key, that can be printed."""
    try:
        told = json.loads(text) if len(text) <= MAX_METADATA else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        raise ValueError("damaged, what it says of how it was made cannot be read")
    return {printable(key): printable(value) for key, value in told.items()}
