"""Cleaning: removes the files that initbench wrote in an experiment's folder, and no other file."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from initbench.results import lock, looks, plugin_file, store
from initbench.results.experiment import not_an_experiment
from initbench.system import files

# The files that initbench writes next to its folders; the grid is last, because with it the folder can be cleaned.
OWN_FILES = (
    "report.html",
    "signal.html",
    store.MERGING,
    looks.LOOKS,
    "datasets.json",
    plugin_file.PLUGINS,
    "grid.toml",
)


@dataclass(frozen=True)
class Cleaned:
    """The names that `clean` removed, the names that stay, and whether the empty folder itself stays."""

    removed: list[str]
    remaining: list[str]
    folder_stays: bool


def clean(folder: Path) -> Cleaned:
    """Remove what initbench wrote in an experiment's folder, and the folder if it is empty then.

    Other files stay, whatever their names. The files that make the folder an experiment are removed last, so that a
    stopped cleaning can be repeated; cleaning needs no space on the disk. UserError if the folder is neither an
    experiment nor the rest of a stopped cleaning.
    """
    check_cleanable(folder)
    removed: dict[str, None] = {}
    with lock.exclusive(folder, removing=True):
        store.remove_unfinished(folder)
        for name in store.FOLDERS:
            for path in store.written_files(folder, name):
                path.unlink(missing_ok=True)
                removed[name] = None
        for name in OWN_FILES:
            if files.is_regular(folder / name):
                (folder / name).unlink(missing_ok=True)
                removed[name] = None
        for name in store.FOLDERS:
            if files.is_own_folder(folder / name) and not files.entries(folder / name):
                (folder / name).rmdir()
                removed[name] = None
        if os.name == "posix":  # while it is held, so that no other process holds a lock that is gone
            (folder / lock.LOCK).unlink(missing_ok=True)
    if os.name != "posix":  # there a lock that is held cannot be removed
        with suppress(OSError):
            (folder / lock.LOCK).unlink(missing_ok=True)
    remaining = [entry.name for entry in files.entries(folder) if entry.name not in store.FOLDERS]
    for name in store.FOLDERS:
        if files.is_own_folder(folder / name):
            remaining += [f"{name}/{entry.name}" for entry in files.entries(folder / name)]
        elif os.path.lexists(folder / name):
            remaining.append(name)
    return Cleaned(list(removed), remaining, not files.entries(folder) and not _remove_empty(folder))


def check_cleanable(folder: Path) -> None:
    """Raise UserError if a folder is neither an experiment nor the rest of a stopped cleaning."""
    names = {entry.name for entry in files.entries(folder)}
    emptied = not any(files.entries(folder / name) for name in names.intersection(store.FOLDERS))
    rest = names <= {lock.LOCK, *store.FOLDERS} and names & {lock.LOCK, "parts"} and emptied
    if not ({"grid.toml", "parts"} <= names or lock.HEARTBEAT in names or rest):
        raise not_an_experiment(folder)


def _remove_empty(folder: Path) -> bool:
    """Remove an empty folder if possible; not a link's target, nor the working directory."""
    if folder.is_symlink() or folder.resolve() == Path.cwd():
        return False
    with suppress(OSError):  # the folder above may be another user's, and a disk may be mounted here
        folder.rmdir()
        return True
    return False
