"""The store: immutable Parquet parts in a run's folder, each named by the SHA-256 of its bytes.

Nothing that lies in the folder is ever executed or unpickled, and nothing is written through a symbolic link in it.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from initbench.errors import CannotWrite, UserError, printable
from initbench.results.parts import FORMAT_KEY, METADATA_KEY, opened, rows
from initbench.results.table import FORMAT
from initbench.system import files

PART_NAME = re.compile(r"[0-9a-f]{64}\.parquet")
TIMING_NAME = re.compile(r"[0-9a-f]{64}\.json")

# The largest part, 192 cells of 100,000 epochs, has 19 million rows: a gigabyte of numbers, which hardly compress.
MAX_PART_BYTES = 2_000_000_000

# A timing has a line for each initializer of a stack: 192 at most, of some thousand characters each.
MAX_TIMING_BYTES = 1_000_000

# The folders in a run's own, and the names of the files that a run writes there. Figures are known by a list.
NAMES = {"timings": TIMING_NAME, "signal": PART_NAME, "set-aside": PART_NAME, "parts": PART_NAME}
FOLDERS = ("figures", *NAMES)

# What a merge writes first and removes last, so that one that was stopped can be repeated.
MERGING = ".initbench-merge.json"

# The figures that were written here: the SHA-256 of each by its name. A hundred figures, and their names, fit easily.
FIGURES_LIST = ".initbench-figures.json"
MAX_LIST_BYTES = 1_000_000
MAX_FIGURE_BYTES = 100_000_000


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
    files.write_file(own_folder(folder, "parts") / f"{part}.parquet", content)
    return part


def write_timing(folder: Path, part: str, timing: Mapping[str, Any]) -> None:
    """What is a matter of the machine, beside a part and never in it.

    It is not synced, which is most of what a part costs: a timing is no result, and a damaged one is not read.
    """
    path = own_folder(folder, "timings") / f"{part}.json"
    files.write_file(path, json.dumps(timing, indent=1).encode(), synced=False)


def unwritable(folder: Path, error: OSError) -> UserError | CannotWrite:
    """What is raised when a run cannot begin because its folder cannot be written."""
    what = error.filename or folder
    if error.errno in files.NO_ROOM:  # nobody's mistake
        return files.cannot_write(error, Path(what))
    return UserError(f"{what}: cannot be written ({error.strerror}); make it writable, or take another place")


def own_folder(folder: Path, name: str) -> Path:
    """A folder inside a run's own; UserError if it is a link: what a run writes stays inside its folder."""
    path = folder / name
    if path.is_symlink():
        raise UserError(f"{path}: is a symbolic link, and a run writes only inside its own folder; replace it")
    return path


def list_figures(folder: Path, figures: Mapping[str, bytes]) -> None:
    """Say in a run's folder which figures are being written there: `clean` removes these, and no other file.

    Their content is part of the list, so that a figure that somebody has changed is theirs.
    """
    place = own_folder(folder, "figures")
    listed = {
        **_listed_figures(place),
        **{name: hashlib.sha256(content).hexdigest() for name, content in figures.items()},
    }
    files.write_file(place / FIGURES_LIST, json.dumps(listed, indent=1).encode())


def _listed_figures(place: Path) -> dict[str, str]:
    try:
        listed = files.read_json(place / FIGURES_LIST, MAX_LIST_BYTES)
    except (OSError, ValueError):
        return {}
    return listed if isinstance(listed, dict) else {}


def written_files(folder: Path, name: str) -> Iterator[Path]:
    """The files in one of a run's folders that a run has written there; none where the folder is a symbolic link."""
    place = folder / name
    if not files.is_own_folder(place):
        return
    listed = _listed_figures(place) if name == "figures" else {}
    for entry in files.entries(place):
        path = place / entry.name
        named = name in NAMES and NAMES[name].fullmatch(entry.name)
        if files.is_regular(path) and (named or _is_listed(path, listed)):
            yield path
    if name == "figures" and files.is_regular(place / FIGURES_LIST):
        yield place / FIGURES_LIST  # the last: with it a cleaning that was stopped goes on


def _is_listed(path: Path, listed: Mapping[str, str]) -> bool:
    if path.name not in listed:
        return False
    try:
        return hashlib.sha256(files.read(path, MAX_FIGURE_BYTES)).hexdigest() == listed[path.name]
    except OSError:
        return False


def remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed left half written in a run's folder; for the one writer in it alone."""
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
    """The sound parts of a run, by id, one after another; `notes` gets a line for each that is not.

    With `set_aside` one that is damaged, or of a version that is not known, is moved to `folder/set-aside`; else it is
    left where it is, and not read; so is one that the disk does not give. Of the tables only `columns` are read, or
    all; of the parts `only` those with these ids, or all. Parts of earlier versions are read as if this one had written
    them.
    """
    for entry in files.entries(folder / "parts"):
        path = folder / "parts" / entry.name
        if not _may_be(entry, ".parquet"):
            continue
        if not PART_NAME.fullmatch(entry.name):
            notes.append(printable(f"{path}: is no part of a run, and is left out; move it elsewhere"))
            continue
        if only is not None and path.stem not in only:
            continue
        try:
            content = files.read(path, MAX_PART_BYTES)
        except (OSError, MemoryError) as error:
            notes.append(_unread(path, error))
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
        files.make_folder(aside)
        path.replace(aside / path.name)
    except OSError as error:
        raise files.cannot_write(error, aside / path.name) from None
    return aside


def read_timing(folder: Path, part: str, notes: list[str] | None = None) -> dict[str, Any] | None:
    """The timing of a part; None where there is none, or a damaged one: it is no result, and `notes` gets a line."""
    path = folder / "timings" / f"{part}.json"
    try:
        timing = files.read_json(path, MAX_TIMING_BYTES)
        if not isinstance(timing, dict):
            raise ValueError("no JSON object")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        if notes is not None:
            notes.append(_unread(path, error))
        return None
    return timing


def read_timings(folder: Path, notes: list[str] | None = None) -> list[dict[str, Any]]:
    """The timings of all parts; `notes` gets a line for each that is damaged, and for what is none."""
    notes = [] if notes is None else notes
    timings = (read_timing(folder, part, notes) for part in timed_parts(folder, notes))
    return [timing for timing in timings if timing]


def timed_parts(folder: Path, notes: list[str]) -> Iterator[str]:
    """The ids of the parts that have a timing; `notes` gets a line for each file beside them that is none."""
    for entry in files.entries(folder / "timings"):
        path = folder / "timings" / entry.name
        if TIMING_NAME.fullmatch(entry.name):
            if not entry.is_file(follow_symlinks=False):
                try:
                    files.check_regular(path)
                except OSError as error:
                    notes.append(_unread(path, error))
                    continue
            yield entry.name.removesuffix(".json")
        elif _may_be(entry, ".json"):
            notes.append(printable(f"{path}: is no timing of a part, and is left out; move it elsewhere"))


def _may_be(entry: "os.DirEntry[str]", ending: str) -> bool:
    """Whether a reader of the folder would take this for a result: other files are the user's."""
    return entry.name.endswith(ending) and not entry.name.startswith(".")


def _unread(path: Path, error: Exception) -> str:
    why = error.strerror if isinstance(error, OSError) else f"damaged: {error}"
    return printable(f"{path}: cannot be read ({printable(str(why), 200)}); left out")


def trained_cells(parts: Iterable[Part]) -> set[str]:
    """The ids of the cells that are in these parts."""
    return {cell for part in parts for cell in part.table["cell"].unique().to_pylist()}


def _serialized(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    sink = pa.BufferOutputStream()
    described = {METADATA_KEY: json.dumps(dict(metadata), sort_keys=True), FORMAT_KEY: str(FORMAT)}
    labelled = table.replace_schema_metadata(described)
    pq.write_table(labelled, sink, compression="zstd")
    return bytes(sink.getvalue())
