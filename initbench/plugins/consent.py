"""Permission to run the code of plugins: a question in the terminal, whose yes is remembered for exactly these files.

What is remembered is a digest of the grid file's text and of the content of every file of its plugins, so that one
changed byte asks again. It stands in a folder that only the user can write to.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from initbench.errors import UserError, printable
from initbench.plugins.bundle import Bundle
from initbench.system import files
from initbench.system.cache import cache_folder, private

# Returns if the code may run, and raises UserError if not; given are the grid's origin and text, and the code.
Allow = Callable[[str, str, Sequence[Bundle]], None]

MAX_REMEMBERED = 1000  # of the newest
MAX_BYTES = 100 * MAX_REMEMBERED

_allowed_here: set[str] = set()  # in this process


def allow(origin: str, grid_text: str, bundles: Sequence[Bundle]) -> None:
    """Let the code run, as `--allow-plugins` says: nothing is asked, and nothing is remembered."""


def refuse_unless_allowed(origin: str, grid_text: str, bundles: Sequence[Bundle]) -> None:
    """Raise UserError unless the user gave permission earlier, in a terminal, for exactly this text and this code.

    `origin` names the grid file, or the command that has none; `grid_text` is the grid file's text as it is there, or
    empty.
    """
    if digest(grid_text, bundles) not in _remembered():
        names = ", ".join(bundle.path for bundle in bundles)
        code = "they are" if len(bundles) > 1 else "it is"
        raise UserError(
            f"{origin}: {names} may not run: {code} code; to allow it give --allow-plugins, or in Python "
            "allow_plugins=True"
        )


def ask(origin: str, grid_text: str, bundles: Sequence[Bundle]) -> None:
    """Ask in the terminal, unless the user gave permission earlier; UserError for a no, and where there is no terminal.

    A yes is remembered, where that is possible, and holds in this process anyway: a grid is read twice for `--smoke`.
    Ctrl-C and the end of the input are a no.
    """
    consent = digest(grid_text, bundles)
    remembered = _remembered()
    if consent in _allowed_here or consent in remembered:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        refuse_unless_allowed(origin, grid_text, bundles)
    lines = [f"{origin} runs code:", *(f"  {line}" for bundle in bundles for line in _files(bundle))]
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))
    try:
        answer = input("Run this code? [y/N] ")
    except (EOFError, KeyboardInterrupt, UnicodeDecodeError):
        sys.stdout.write("\n")
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise UserError(f"{origin}: nothing was done, because its code may not run")
    _allowed_here.add(consent)
    content = json.dumps([*remembered, consent][-MAX_REMEMBERED:], indent=0)
    with contextlib.suppress(OSError):  # then it is asked again
        files.write_file(private(_folder()) / "plugins.json", content.encode())


def digest(grid_text: str, bundles: Sequence[Bundle]) -> str:
    """Return the SHA-256 of a grid file's text and of the names and contents of all files of the plugins."""
    contents = sorted(
        [bundle.main, *(f"{name} {hashlib.sha256(bundle.files[name]).hexdigest()}" for name in sorted(bundle.files))]
        for bundle in bundles
    )
    return hashlib.sha256(json.dumps([grid_text, contents]).encode()).hexdigest()


def _files(bundle: Bundle) -> list[str]:
    """Return a line for each file of a plugin: where it is, and how long; the one that the user named first."""
    folder = Path(bundle.path).absolute().parent
    names = [bundle.main, *sorted(bundle.files.keys() - {bundle.main})]
    lengths = [len(bundle.files[name].splitlines()) for name in names]
    return [
        f"{folder / PurePosixPath(name)}, {length:,} line{'s' * (length != 1)}"
        for name, length in zip(names, lengths, strict=True)
    ]


def _folder() -> Path:
    return cache_folder() / "plugins"


def _remembered() -> list[str]:
    """Return the digests of all permissions, the newest last; none if the file is damaged, or not the user's own."""
    try:
        folder = _folder()
        if not folder.is_dir():  # which `private` would create
            return []
        value = files.read_json(private(folder) / "plugins.json", MAX_BYTES)
    except (OSError, ValueError):
        return []
    return value if isinstance(value, list) and all(isinstance(text, str) for text in value) else []
