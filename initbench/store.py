"""The store: immutable Parquet parts in a run's folder, each named by the SHA-256 of its bytes."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from initbench.errors import printable
from initbench.parts import METADATA_KEY, opened, rows


@dataclass(frozen=True)
class Part:
    """One part as it was read: its id, its rows (all columns, or those asked for), the metadata that it carries."""

    id: str
    table: pa.Table
    metadata: Mapping[str, str]


def write_part(folder: Path, table: pa.Table, metadata: Mapping[str, str]) -> str:
    """Write one immutable part below `folder/parts`; returns its id. It is there whole, or not at all."""
    content = _serialized(table, metadata)
    part = hashlib.sha256(content).hexdigest()
    write_file(folder / "parts" / f"{part}.parquet", content)
    return part


def write_timing(folder: Path, part: str, timing: Mapping[str, Any]) -> None:
    """What is a matter of the machine, beside a part and never in it.

    It is not synced, which is most of what a part costs: a timing is no result, and a damaged one is not read.
    """
    path = folder / "timings" / f"{part}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(timing, indent=1), encoding="utf-8")


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one: a hidden name, synced, renamed, folder synced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_parts(
    folder: Path, notes: list[str], set_aside: bool = True, columns: Sequence[str] | None = None
) -> Iterator[Part]:
    """The sound parts of a run, by id, one after another; `notes` gets a line for each that is not.

    With `set_aside` a damaged part is moved to `folder/set-aside`; else it is left where it is, and not read. Of the
    tables only `columns` are read, or all.
    """
    for path in sorted((folder / "parts").glob("[!.]*.parquet")):
        try:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != path.stem:
                raise ValueError("its content is not what its name says")
            file, metadata = opened(content)
            table = rows(file, columns)
        except (ValueError, OSError, MemoryError, pa.ArrowException) as error:
            what = "left out; the next run trains its cells again"
            if set_aside:
                aside = folder / "set-aside" / path.name
                aside.parent.mkdir(exist_ok=True)
                path.replace(aside)
                what = f"moved to {aside.parent}; its cells are trained again"
            notes.append(printable(f"{path}: damaged, {printable(str(error), 200)}; {what}"))
            continue
        yield Part(path.stem, table, metadata)


def read_timing(folder: Path, part: str) -> dict[str, Any] | None:
    """The timing of a part; None where there is none, or a damaged one: it is no result."""
    try:
        timing = json.loads((folder / "timings" / f"{part}.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return timing if isinstance(timing, dict) else None


def read_timings(folder: Path) -> list[dict[str, Any]]:
    """The timings of all parts."""
    found = (read_timing(folder, path.stem) for path in sorted((folder / "timings").glob("[!.]*.json")))
    return [timing for timing in found if timing]


def trained_cells(parts: Iterable[Part]) -> set[str]:
    """The ids of the cells that are in these parts."""
    return {cell for part in parts for cell in part.table["cell"].unique().to_pylist()}


def _serialized(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    sink = pa.BufferOutputStream()
    labelled = table.replace_schema_metadata({METADATA_KEY: json.dumps(dict(metadata), sort_keys=True)})
    pq.write_table(labelled, sink, compression="zstd")
    return bytes(sink.getvalue())
