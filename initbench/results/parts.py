"""Parts as untrusted files: the limits that are checked before rows are read, and the checks of the rows.

The files of the signal table have the same limits.
"""

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

# 192 cells of 100,000 epochs are 19 million rows. A file of a few bytes can claim billions of equal rows, all of which
# would be allocated.
MAX_ROWS = 2**25

# The uncompressed size of a row (hidden layers are the longest string), and of a file in addition to its rows.
MAX_ROW_BYTES, MAX_FILE_BYTES = 10_000, 10_000_000

MAX_EPOCHS = 100_000
MAX_METADATA_BYTES = 100_000

# No training in float32 has a larger finite loss.
MAX_METRIC = 1e100

# The columns that are always read, because they show whether the rows are valid.
CHECKED = ("cell", "status", "epoch", "epochs")


def open_part(content: bytes) -> tuple[pq.ParquetFile, dict[str, str], Mapping[str, Any]]:
    """Return a part's file, its metadata, and the columns that its format lacks with their values.

    No row is read. ValueError states why the content is not a part.
    """
    formats = ({}, *EARLIER)
    file, metadata, which = open_file(content, FORMAT, [without(tuple(missing)) for missing in formats])
    return file, metadata, formats[which]


def open_file(content: bytes, latest: int, schemas: Sequence[pa.Schema]) -> tuple[pq.ParquetFile, dict[str, str], int]:
    """Return a Parquet file, its metadata, and which of the schemas it has; `latest` is the number of this format.

    No row is read. ValueError states why the content is not such a file.
    """
    file = pq.ParquetFile(pa.BufferReader(content))
    schema = file.schema_arrow  # created at each access
    metadata = schema.metadata or {}
    written = metadata.get(FORMAT_KEY, b"1")[:20].decode("ascii", "replace")
    if written.isdecimal() and int(written) > latest:
        raise ValueError(f"of a later version of initbench (format {written}; this one reads up to {latest})")
    which = next((n for n, allowed in enumerate(schemas) if schema.equals(allowed)), None)
    if which is None:
        raise ValueError("damaged, its columns are not those of this version or an earlier one")
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    count = max(file.metadata.num_rows, sum(group.num_rows for group in groups))
    if count > MAX_ROWS or any(group.num_rows < 0 for group in groups):
        raise ValueError(f"damaged, it claims {count:,} rows")
    # The sizes of groups, not of their columns: reading the size of a damaged column ends the process (pyarrow 26).
    unpacked = sum(max(0, group.total_byte_size) for group in groups)
    if unpacked > MAX_FILE_BYTES + MAX_ROW_BYTES * count:
        raise ValueError(f"damaged, it claims {unpacked:,} bytes for {count:,} rows")
    return file, _metadata(metadata.get(METADATA_KEY, b"{}")), which


def read_rows(file: pq.ParquetFile, columns: Sequence[str] | None, missing: Mapping[str, Any]) -> pa.Table:
    """Return a part's rows, with these columns or all; ValueError if they are not complete training runs of cells."""
    requested = list(SCHEMA.names if columns is None else columns)
    names = [*requested, *(name for name in CHECKED if name not in requested)]
    table = file.read([name for name in names if name not in missing], use_threads=False)
    table.validate(full=columns is None)
    for name in missing.keys() & set(names):
        table = table.append_column(name, pa.array([missing[name]] * len(table), SCHEMA.field(name).type))
    for name in table.column_names:
        if name in METRICS:
            _check_metric(name, table[name])
        elif table[name].null_count:
            raise ValueError(f"damaged, its column {name} has rows without a value")
    if unknown := set(table["status"].unique().to_pylist()) - {TRAINED, DIVERGED}:
        raise ValueError(f"damaged, it has a status {min(unknown)[:40]!r}")
    _check_epochs(table)
    return table.select(requested)


def _check_metric(name: str, column: pa.ChunkedArray) -> None:
    low, high = (0.0, 1.0) if name.endswith("accuracy") else (-MAX_METRIC, MAX_METRIC)
    values = column.drop_null().to_numpy()
    if not ((values >= low) & (values <= high)).all():  # false for NaN, too
        raise ValueError(f"damaged, its column {name} has impossible values")


def _check_epochs(table: pa.Table) -> None:
    """Raise ValueError unless the rows are, cell by cell, each epoch from 0 to the last, once."""
    if not len(table):
        return
    cell, epoch, epochs = table["cell"].combine_chunks(), table["epoch"].to_numpy(), table["epochs"].to_numpy()
    begins = epoch == 0
    ends = np.append(begins[1:], True)
    continues = pc.equal(cell[1:], cell[:-1]).to_numpy(zero_copy_only=False)
    cells = cell.filter(pa.array(begins))  # validated instead of each row's string
    cells.validate(full=True)
    complete = (
        begins[0]
        and (continues != begins[1:]).all()
        and (np.diff(epoch)[continues] == 1).all()
        and (epochs[ends] == epoch[ends]).all()
        and epochs.max() <= MAX_EPOCHS
        and pc.count_distinct(cells).as_py() == len(cells)
    )
    if not complete:
        raise ValueError("damaged, its rows are not each epoch of each cell, once")


def _metadata(content: bytes) -> dict[str, str]:
    """Return a part's metadata as printable strings by key."""
    try:
        metadata = json.loads(content) if len(content) <= MAX_METADATA_BYTES else None
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("damaged, its metadata are invalid")
    return {printable(key): printable(value) for key, value in metadata.items()}
