"""The code of a plugin as bytes: the file that the user named, and what it imports from beside itself."""

import ast
import hashlib
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from initbench.errors import UserError, printable, shown
from initbench.registry import DIGEST_DIGITS
from initbench.system import files

MAX_FILE_BYTES, MAX_BYTES, MAX_FILES = 1_000_000, 10_000_000, 1_000
MAX_NAME_LENGTH = 1_000

# Modules that are never read from beside a plugin. A file `random.py` there does not replace Python's, which other
# modules import, too; and weights are NumPy's, networks are PyTorch's.
RESERVED = sys.stdlib_module_names | {"initbench", "numpy", "torch"}

# A name of a hundred parts, `a.b.c.…`: Python's parser takes memory quadratic in their number.
LONG_NAME = re.compile(rb"(?<![\w\x80-\xff])(?:[\w\x80-\xff]++[ \t\\\r\n]*+\.[ \t\\\r\n]*+){100}")


@dataclass(frozen=True)
class Bundle:
    """A plugin's code.

    Attributes
    ----------
    path
        The path of the main file, as messages and tracebacks show it.
    main
        The name of the main file, `my_schemes.py`.
    files
        The content of each file, by its path below the main file's folder, with `/`: the main file, and the modules
        and packages beside it that it imports.
    """

    path: str
    main: str
    files: Mapping[str, bytes]

    @cached_property
    def digest(self) -> str:
        """The first 20 hexadecimal digits of a SHA-256 of the content.

        The names of the files that are imported count, because the code depends on them; that of the main file does
        not, unless a file that it imports mentions it, or it imports itself.
        """
        content = hashlib.sha256(hashlib.sha256(self.files[self.main]).digest())
        imported = sorted(self.files.keys() - {self.main})
        stem = self.main.removesuffix(".py")
        mention = re.compile(rb"(?<!\w)" + re.escape(stem.encode()) + rb"(?!\w)")
        own_import = re.compile(rb"^[ \t]*(import|from)\b.*" + mention.pattern, re.MULTILINE)
        mentioned = any(mention.search(self.files[name]) for name in imported) or own_import.search(
            self.files[self.main]
        )
        if stem.isidentifier() and mentioned:
            content.update(b"main " + stem.encode() + b"\n")
        for name in imported:
            content.update(name.encode() + b"\n" + hashlib.sha256(self.files[name]).digest())
        return content.hexdigest()[:DIGEST_DIGITS]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON: the content as text, which it is."""
        return {"path": self.path, "main": self.main, "files": {name: c.decode() for name, c in self.files.items()}}

    @classmethod
    def from_json(cls, value: Any) -> "Bundle":
        """Return the bundle that `to_json` wrote; ValueError for any other value, which may be hostile."""
        match value:
            case {"path": str(path), "main": str(main), "files": dict(texts)} if len(value) == 3:
                pass
            case _:
                raise ValueError("the code of a plugin is a table with the keys path, main and files")
        if main not in texts or "/" in main:
            raise ValueError(f"the main file {shown(main)} is not among the files")
        if len(path) > 2 * MAX_NAME_LENGTH or printable(path) != path:
            raise ValueError(f"the path {shown(path)} is too long or unprintable")
        contents: dict[str, bytes] = {}
        for name, text in texts.items():
            if not isinstance(name, str) or not isinstance(text, str):
                raise ValueError(f"the file {shown(name)} has no text")
            if problem := _problem_of_name(name):
                raise ValueError(f"the file {shown(name)}: {problem}")
            contents[name] = text.encode()
        if problem := _problem_of_size(contents):
            raise ValueError(problem)
        return cls(path, main, contents)


def read(path: str | Path, shown: str | None = None) -> Bundle:
    """Return a plugin's code: a Python file, and what it imports from beside itself.

    Every `import` and `from … import` in the file counts, also in functions and under `if TYPE_CHECKING`, and so do
    those of the files that it imports. `import x` means what it means in a script: the package `x/`, of which all
    Python files are read, or the module `x.py` in the file's folder, before an installed one of that name. A folder
    without `__init__.py` is a package if it has the submodule that is imported. Modules of Python's standard library,
    `initbench`, `numpy` and `torch` are never read from beside the file.

    Each file is read once, and nothing is executed.

    Parameters
    ----------
    path
        The file, `my_schemes.py`.
    shown
        Its path as messages show it; default `path`.

    Raises
    ------
    UserError
        With one line: a file is missing, not a regular file, not Python or not UTF-8; it does not parse, is larger than
        1 MB, or together they have more than 10 MB or 1,000 files; or it is in an experiment's folder, where nothing is
        ever executed.
    """
    path = Path(path)
    label = printable(str(path) if shown is None else shown)
    if path.suffix != ".py" and not path.is_dir():
        raise UserError(f"{label}: a plugin is a Python file, and its name ends in .py")
    return with_imports(path.name, {path.name: _content(path, label)}, [path.parent], label)


def with_imports(main: str, contents: Mapping[str, bytes], folders: Sequence[Path], path: str) -> Bundle:
    """Return the bundle of a main file, of other files, and of what they import from folders: the first that has it.

    `path` is the path of the main file as messages show it. Raises UserError as `read` does.
    """
    if problem := _problem_of_name(main) or _problem_of_size(contents):
        raise UserError(f"{path}: {problem}")
    contents = dict(contents)
    unread = list(contents)
    while unread:
        name = unread.pop()
        label = _label(path, main, name)
        is_of_package = "/" in name  # such a file may be a template, which is never imported
        for module in _imports(contents[name], name, None if is_of_package else label):
            for file_name, file in _files_of(module, folders):
                if file_name in contents:
                    continue
                contents[file_name] = _content(file, _label(path, main, file_name))
                unread.append(file_name)
                if problem := _problem_of_size(contents):
                    raise UserError(f"{path} and what it imports from beside itself (now {module[0]}): {problem}")
    return Bundle(path, main, contents)


def read_package(main: str, content: bytes, package: Path) -> Bundle:
    """Return the bundle of a main file's content and of all Python files of a package, or of a module that is a file.

    `main` is the main file's name, and stands for its path. Raises UserError as `read` does.
    """
    of_package = _python_files(package) if package.is_dir() else [(package.name, package)]
    contents = {main: content, **{name: _content(file, str(file)) for name, file in of_package}}
    if problem := _problem_of_size(contents):
        raise UserError(f"{package}: {problem}")
    return Bundle(main, main, contents)


def syntax_error(error: BaseException, label: str) -> str:
    """Return the message that a file is not Python: `my_schemes.py, line 3: SyntaxError: invalid syntax`."""
    if isinstance(error, SyntaxError):
        line = f", line {error.lineno}" if error.lineno else ""
        return f"{label}{line}: {type(error).__name__}: {error.msg}"
    if isinstance(error, ValueError):
        return f"{label}: SyntaxError: {error}"
    return f"{label}: SyntaxError: it is nested too deeply"


def _label(path: str, main: str, name: str) -> str:
    """Return a file's path as messages show it; `path` is that of the main file."""
    return path if name == main else printable(str(PurePath(path).parent / name))


def _content(path: Path, label: str) -> bytes:
    """Return the bytes of a file of UTF-8 that is in no experiment's folder; UserError otherwise."""
    try:
        content = files.read(path, MAX_FILE_BYTES)
        folders = {*Path(os.path.normpath(path.absolute())).parents, *path.resolve().parents}
    except OSError as error:
        raise UserError(f"{label}: {error.strerror or error}") from None
    except ValueError as error:  # a path with a null character
        raise UserError(f"{label}: {error}") from None
    for folder in folders:
        if os.path.lexists(folder / "grid.toml") and (folder / "parts").is_dir():
            raise UserError(
                f"{label}: it is in the folder of an experiment ({folder}), where nothing is executed; "
                "name the plugin's own file, elsewhere"
            )
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{label}, line {line}: it is not UTF-8; save it in that encoding") from None
    return content


def _imports(content: bytes, name: str, label: str | None) -> Iterator[tuple[str, ...]]:
    """Yield the modules, as parts of their names below the main file's folder, that a file imports.

    A name that `from x import name` imports may be a module; it counts as one. A file that does not parse is a
    UserError; without a `label` it imports nothing.
    """
    try:
        if LONG_NAME.search(content):
            raise RecursionError
        with warnings.catch_warnings(action="ignore"):  # such as of invalid escapes
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if label is None:
            return
        raise UserError(syntax_error(error, label)) from None
    package = name.split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: max(0, len(package) - node.level + 1)] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            yield from ((*base, alias.name) for alias in node.names)


def _files_of(module: tuple[str, ...], folders: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the files of a module or of its whole package, with their names in the bundle; none if it is elsewhere."""
    top = module[0]
    if top in RESERVED:
        return
    for folder in folders:
        package, file = folder / top, folder / f"{top}.py"
        if (package / "__init__.py").is_file():
            yield from _python_files(package)
        elif file.is_file():
            yield file.name, file
        elif len(module) > 1 and ((package / module[1]).is_dir() or (package / f"{module[1]}.py").is_file()):
            yield from _python_files(package)
        else:
            continue
        return


def _python_files(package: Path) -> Iterator[tuple[str, Path]]:
    """Yield all Python files of a package that can be imported, sorted, with their names in the bundle."""
    for root, folders, names in os.walk(package):
        folders[:] = sorted(name for name in folders if name.isidentifier() and name != "__pycache__")
        for name in sorted(names):
            file = Path(root, name)
            if file.suffix == ".py" and file.stem.isidentifier() and file.is_file():
                yield file.relative_to(package.parent).as_posix(), file


def _problem_of_name(name: str) -> str:
    """Return what is wrong with the name of a file in a bundle, or nothing."""
    parts = name.split("/")
    if not name.endswith(".py") or len(name) > MAX_NAME_LENGTH or printable(name) != name:
        return "it is not the printable name of a Python file"
    if any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts):
        return "it is not a relative path with /"
    return ""


def _problem_of_size(contents: Mapping[str, bytes]) -> str:
    """Return which limit the files of a bundle exceed, or nothing."""
    if len(contents) > MAX_FILES:
        return f"they are more than {MAX_FILES:,} files"
    sizes = [len(content) for content in contents.values()]
    if max(sizes) > MAX_FILE_BYTES:
        return f"one is larger than {MAX_FILE_BYTES:,} bytes"
    return f"they have more than {MAX_BYTES:,} bytes" if sum(sizes) > MAX_BYTES else ""
