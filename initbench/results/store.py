"""The store: immutable Parquet parts in an experiment's folder, each named by the SHA-256 of its bytes.

Nothing in the folder is ever executed or unpickled, and nothing is written through a symbolic link in it.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from initbench.errors import CannotWrite, UserError, printable
from initbench.results.parts import FORMAT_KEY, METADATA_KEY, open_part, read_rows
from initbench.results.table import FORMAT
from initbench.system import files

PART_NAME = re.compile(r"[0-9a-f]{64}\.parquet")
TIMING_NAME = re.compile(r"[0-9a-f]{64}\.json")

# The largest part, 192 cells of 100,000 epochs, has 19 million rows: a gigabyte of numbers, which hardly compress.
MAX_PART_BYTES = 2_000_000_000

# A timing has a line for each initializer of a stack: 192 at most, of about a thousand characters each.
MAX_TIMING_BYTES = 1_000_000

# The folders of an experiment, and the names of the files that initbench writes there. Figures have a list.
NAMES = {"timings": TIMING_NAME, "signal": PART_NAME, "set-aside": PART_NAME, "parts": PART_NAME}
FOLDERS = ("figures", *NAMES)

# A merge writes this file first and removes it last, so that a stopped merge can be repeated.
MERGING = ".initbench-merge.json"

# The figures that initbench wrote: the SHA-256 of each by its name, enough for a hundred figures with long names.
FIGURES_LIST = ".initbench-figures.json"
MAX_LIST_BYTES = 1_000_000
MAX_FIGURE_BYTES = 100_000_000


@dataclass(frozen=True)
class Part:
    """A part, or a file of the signal table: its id, its rows (all columns, or those requested), and its metadata."""

    id: str
    table: pa.Table
    metadata: Mapping[str, str]


def write_part(folder: Path, table: pa.Table, metadata: Mapping[str, str]) -> str:
    """Write a part, completely or not at all; returns its id."""
    return write_rows(own_folder(folder, "parts"), table, metadata, FORMAT)


def write_rows(folder: Path, table: pa.Table, metadata: Mapping[str, str], form: int) -> str:
    """Write rows as an immutable file with the number of its format, completely or not at all; returns its id."""
    sink = pa.BufferOutputStream()
    key_values = {METADATA_KEY: json.dumps(dict(metadata), sort_keys=True), FORMAT_KEY: str(form)}
    pq.write_table(table.replace_schema_metadata(key_values), sink, compression="zstd")
    content = bytes(sink.getvalue())
    id_ = hashlib.sha256(content).hexdigest()
    files.write_file(folder / f"{id_}.parquet", content)
    return id_


def write_timing(folder: Path, part: str, timing: Mapping[str, Any]) -> None:
    """Write a part's timing: it depends on the machine, so it is not in the part.

    It is not synced, which is most of the cost of a part: a timing is not a result, and a damaged one is skipped.
    """
    path = own_folder(folder, "timings") / f"{part}.json"
    files.write_file(path, json.dumps(timing, indent=1).encode(), synced=False)


def unwritable(folder: Path, error: OSError) -> UserError | CannotWrite:
    """Return the error for an experiment that cannot begin because its folder cannot be written."""
    path = error.filename or folder
    if error.errno in files.NO_ROOM:  # not the user's mistake
        return files.cannot_write(error, Path(path))
    return UserError(f"{path}: cannot be written ({error.strerror}); make it writable, or use another folder")


def own_folder(folder: Path, name: str) -> Path:
    """Return a folder inside an experiment's own; UserError if it is a link, which may lead outside."""
    path = folder / name
    if path.is_symlink():
        raise UserError(f"{path}: is a symbolic link, and initbench writes only inside the folder; replace it")
    return path


def list_figures(folder: Path, figures: Mapping[str, bytes]) -> None:
    """Record which figures initbench writes in an experiment's folder: `clean` removes these, and no other file.

    The list has the hash of their content, so that a figure that a user has changed is the user's.
    """
    figures_folder = own_folder(folder, "figures")
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in figures.items()}
    listed = {**_listed_figures(figures_folder), **hashes}
    files.write_file(figures_folder / FIGURES_LIST, json.dumps(listed, indent=1).encode())


def _listed_figures(folder: Path) -> dict[str, str]:
    try:
        listed = files.read_json(folder / FIGURES_LIST, MAX_LIST_BYTES)
    except (OSError, ValueError):
        return {}
    return listed if isinstance(listed, dict) else {}


def written_files(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files that initbench wrote in one of an experiment's folders; none if that is a symbolic link."""
    inner = folder / name
    if not files.is_own_folder(inner):
        return
    listed = _listed_figures(inner) if name == "figures" else {}
    for entry in files.entries(inner):
        path = inner / entry.name
        has_our_name = name in NAMES and NAMES[name].fullmatch(entry.name)
        if files.is_regular(path) and (has_our_name or _is_listed(path, listed)):
            yield path
    if name == "figures" and files.is_regular(inner / FIGURES_LIST):
        yield inner / FIGURES_LIST  # the last: while it exists, a stopped cleaning can be repeated


def _is_listed(path: Path, listed: Mapping[str, str]) -> bool:
    if path.name not in listed:
        return False
    try:
        return hashlib.sha256(files.read(path, MAX_FIGURE_BYTES)).hexdigest() == listed[path.name]
    except OSError:
        return False


def remove_unfinished(folder: Path) -> None:
    """Remove the files that a killed process left incomplete in an experiment; only for its one writer."""
    files.remove_unfinished(folder)
    for name in FOLDERS:
        if files.is_own_folder(folder / name):
            files.remove_unfinished(folder / name)


def read_parts(
    folder: Path,
    notes: list[str],
    set_aside: bool = True,
    columns: Sequence[str] | None = None,
    only: Collection[str] | None = None,
) -> Iterator[Part]:
    """Yield the valid parts of an experiment, sorted by id; append a line to `notes` for each invalid file.

    With `set_aside`, a part that is damaged or of a later version is moved to `folder/set-aside`; otherwise it is left
    where it is. Only `columns` of the tables are read, or all; `only` the parts with these ids, or all. Parts of
    earlier versions are read as if this version had written them.
    """

    def rows(content: bytes) -> tuple[pa.Table, Mapping[str, str]]:
        file, metadata, missing = open_part(content)
        return read_rows(file, columns, missing), metadata

    left_out = "left out; the next `initbench run` trains its cells again"
    moved = "its cells are trained again" if set_aside else None
    yield from read_files(folder, "parts", "a part", rows, notes, left_out, moved, only)


def read_files(
    folder: Path,
    inner: str,
    kind: str,
    rows: Callable[[bytes], tuple[pa.Table, Mapping[str, str]]],
    notes: list[str],
    left_out: str,
    moved: str | None,
    only: Collection[str] | None = None,
) -> Iterator[Part]:
    """Yield the valid files in one of an experiment's folders, sorted by id; append a line to `notes` for each other.

    `rows` returns the table and the metadata in a file's content, or raises ValueError; `kind` is what such a file is.
    With `moved`, the consequence of it, an invalid one is moved to `folder/set-aside`; otherwise it stays, and
    `left_out` is the consequence.
    """
    for entry in files.entries(folder / inner):
        path = folder / inner / entry.name
        if not _looks_like_result(entry, ".parquet"):
            continue
        if not PART_NAME.fullmatch(entry.name):
            notes.append(printable(f"{path}: not {kind} of an experiment; left out; move it elsewhere"))
            continue
        if only is not None and path.stem not in only:
            continue
        try:
            content = files.read(path, MAX_PART_BYTES)
        except (OSError, MemoryError) as error:
            notes.append(_unreadable(path, error))
            continue
        try:
            if hashlib.sha256(content).hexdigest() != path.stem:
                raise ValueError("damaged, its content does not match the hash in its name")
            table, metadata = rows(content)
        except (ValueError, OSError, MemoryError, pa.ArrowException) as error:
            consequence = left_out if moved is None else f"moved to {_set_aside(folder, path)}; {moved}"
            notes.append(printable(f"{path}: {printable(str(error), 200) or 'damaged'}; {consequence}"))
            continue
        yield Part(path.stem, table, metadata)


def ids(folder: Path, inner: str) -> list[str]:
    """Return the ids in the names of the files in one of an experiment's folders, sorted; their content is not read."""
    return [entry.name[:64] for entry in files.entries(folder / inner) if PART_NAME.fullmatch(entry.name)]


def _set_aside(folder: Path, path: Path) -> Path:
    aside = own_folder(folder, "set-aside")
    try:
        files.make_folder(aside)
        path.replace(aside / path.name)
    except OSError as error:
        raise files.cannot_write(error, aside / path.name) from None
    return aside


def read_timing(folder: Path, part: str, notes: list[str] | None = None) -> dict[str, Any] | None:
    """Return the timing of a part; None if it is missing or damaged, in which case `notes` gets a line."""
    path = folder / "timings" / f"{part}.json"
    try:
        timing = files.read_json(path, MAX_TIMING_BYTES)
        if not isinstance(timing, dict):
            raise ValueError("not a JSON object")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        if notes is not None:
            notes.append(_unreadable(path, error))
        return None
    return timing


def read_timings(folder: Path, notes: list[str] | None = None) -> list[dict[str, Any]]:
    """Return the timings of all parts; `notes` gets a line for each file that is damaged or not a timing."""
    notes = [] if notes is None else notes
    timings = (read_timing(folder, part, notes) for part in timed_parts(folder, notes))
    return [timing for timing in timings if timing]


def timed_parts(folder: Path, notes: list[str]) -> Iterator[str]:
    """Yield the ids of the parts that have a timing; `notes` gets a line for each file that is not a timing."""
    for entry in files.entries(folder / "timings"):
        path = folder / "timings" / entry.name
        if TIMING_NAME.fullmatch(entry.name):
            if not entry.is_file(follow_symlinks=False):
                try:
                    files.check_regular(path)
                except OSError as error:
                    notes.append(_unreadable(path, error))
                    continue
            yield entry.name.removesuffix(".json")
        elif _looks_like_result(entry, ".json"):
            notes.append(printable(f"{path}: not a timing of a part; left out; move it elsewhere"))


def _looks_like_result(entry: "os.DirEntry[str]", ending: str) -> bool:
    """Return whether a reader of the folder would take this file for a result; other files are the user's."""
    return entry.name.endswith(ending) and not entry.name.startswith(".")


def _unreadable(path: Path, error: Exception) -> str:
    why = error.strerror if isinstance(error, OSError) else f"damaged: {error}"
    return printable(f"{path}: cannot be read ({printable(str(why), 200)}); left out")


def trained_cells(parts: Iterable[Part]) -> set[str]:
    """Return the ids of the cells in these parts."""
    return {cell for part in parts for cell in part.table["cell"].unique().to_pylist()}
