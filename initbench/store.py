"""The store: immutable Parquet parts in a run's folder, each named by the SHA-256 of its bytes.

Nothing that lies in the folder is ever executed or unpickled, and nothing is written through a symbolic link in it.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from initbench.errors import CannotWrite, UserError, printable
from initbench.parts import FORMAT_KEY, METADATA_KEY, opened, rows
from initbench.results import FORMAT

PART_NAME = re.compile(r"[0-9a-f]{64}\.parquet")

# Files that are being written have such names, which no reader takes for a result.
HIDDEN, UNFINISHED = ".initbench-", ".tmp"


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
    write_file(own_folder(folder, "parts") / f"{part}.parquet", content)
    return part


def write_timing(folder: Path, part: str, timing: Mapping[str, Any]) -> None:
    """What is a matter of the machine, beside a part and never in it.

    It is not synced, which is most of what a part costs: a timing is no result, and a damaged one is not read.
    """
    path = own_folder(folder, "timings") / f"{part}.json"
    write_file(path, json.dumps(timing, indent=1).encode(), synced=False)


def write_file(path: Path, content: bytes, synced: bool = True) -> None:
    """Write a file so that a crash leaves the old one or the new one: a hidden name, synced, renamed, folder synced.

    Raises CannotWrite, and leaves nothing behind.
    """
    try:
        make_folder(path.parent)
        handle, temporary = tempfile.mkstemp(prefix=HIDDEN, suffix=UNFINISHED, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                Path(temporary).chmod(0o644)
                file.write(content)
                file.flush()
                if synced:
                    os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
        if synced:
            _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(error, path) from None


def cannot_write(error: OSError, path: Path) -> CannotWrite:
    """What is raised when a file cannot be written."""
    return CannotWrite(error.errno, error.strerror or str(error), str(path))


def unwritable(folder: Path, error: OSError) -> UserError:
    """What is raised when a run cannot begin because its folder cannot be written."""
    return UserError(f"{folder}: cannot be written ({error.strerror}); make it writable, or take another place")


def make_folder(path: Path) -> None:
    """Make a folder and those above it, and sync what holds each, so that a crash does not take them away again."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    _sync_folder(path.parent)


def own_folder(folder: Path, name: str) -> Path:
    """A folder inside a run's own; UserError if it is a link: what a run writes stays inside its folder."""
    path = folder / name
    if path.is_symlink():
        raise UserError(f"{path}: is a symbolic link, and a run writes only inside its own folder; replace it")
    return path


def remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed left half written in a run's folder; for the one writer in it alone."""
    for place in (folder, *(folder / name for name in ("parts", "timings", "figures"))):
        for path in [] if place.is_symlink() and place != folder else place.glob(f"{HIDDEN}*{UNFINISHED}"):
            with contextlib.suppress(OSError):
                path.unlink()


def _sync_folder(path: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some shared disks sync no folders
                raise
        finally:
            os.close(descriptor)


def read_parts(
    folder: Path, notes: list[str], set_aside: bool = True, columns: Sequence[str] | None = None
) -> Iterator[Part]:
    """The sound parts of a run, by id, one after another; `notes` gets a line for each that is not.

    With `set_aside` one that is damaged, or of a version that is not known, is moved to `folder/set-aside`; else it is
    left where it is, and not read; so is one that the disk does not give. Of the tables only `columns` are read, or
    all. Parts of earlier versions are read as if they had been written by this one.
    """
    for path in sorted((folder / "parts").glob("[!.]*.parquet")):
        if not PART_NAME.fullmatch(path.name) or not path.is_file():
            notes.append(printable(f"{path}: is no part of a run, and is left out; move it elsewhere"))
            continue
        try:
            content = path.read_bytes()
        except OSError as error:
            notes.append(f"{path}: cannot be read ({error.strerror}); left out")
            continue
        try:
            if hashlib.sha256(content).hexdigest() != path.stem:
                raise ValueError("damaged, its content is not what its name says")
            file, metadata, missing = opened(content)
            table = rows(file, columns, missing)
        except (ValueError, OSError, MemoryError, pa.ArrowException) as error:
            what = "left out; the next run trains its cells again"
            if set_aside:
                what = f"moved to {_set_aside(folder, path)}; its cells are trained again"
            notes.append(printable(f"{path}: {printable(str(error), 200) or 'damaged'}; {what}"))
            continue
        yield Part(path.stem, table, metadata)


def _set_aside(folder: Path, path: Path) -> Path:
    aside = own_folder(folder, "set-aside")
    try:
        make_folder(aside)
        path.replace(aside / path.name)
    except OSError as error:
        raise cannot_write(error, aside / path.name) from None
    return aside


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
    described = {METADATA_KEY: json.dumps(dict(metadata), sort_keys=True), FORMAT_KEY: str(FORMAT)}
    labelled = table.replace_schema_metadata(described)
    pq.write_table(labelled, sink, compression="zstd")
    return bytes(sink.getvalue())
