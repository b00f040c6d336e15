"""What a shell completes: presets, grid files, experiments, choices, and the settings of --set."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence

# The shell's script sets this variable and starts the program without words.
VARIABLE = "_INITBENCH_COMPLETE"

# The folders whose experiments are offered before a folder is typed; the empty one is the working directory.
FOLDERS = ("results", "")


def choices(*words: str) -> Callable[[], Sequence[str]]:
    """Return the completion of a value that is one of these words."""
    return lambda: words


def presets() -> list[str]:
    """Return the names of the presets."""
    from initbench.spec import presets as files

    return files.names()


def grids(incomplete: str) -> list[str]:
    """Return what the argument GRID.TOML may be: presets, grid files, experiments; none lets the shell offer files."""
    folder = os.path.dirname(incomplete)
    files = [path for path in _paths(folder) if path.endswith(".toml")]
    return [name for name in (*presets(), *files, *experiments(incomplete)) if name.startswith(incomplete)]


def experiments(incomplete: str) -> list[str]:
    """Return the folders of experiments that begin like a path; none lets the shell offer files and folders."""
    folder = os.path.dirname(incomplete)
    paths = (path for parent in ([folder] if folder else FOLDERS) for path in _paths(parent))
    return [path for path in paths if path.startswith(incomplete) and is_experiment(os.path.expanduser(path))]


def is_experiment(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder is an experiment's: it has a grid and parts."""
    return os.path.isfile(os.path.join(path, "grid.toml")) and os.path.isdir(os.path.join(path, "parts"))


def _paths(folder: str) -> Iterator[str]:
    """Yield the paths in a folder as one types them, sorted and without hidden ones; none if it cannot be read."""
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(os.path.expanduser(folder) or ".")):
            if not name.startswith("."):
                yield os.path.join(folder, name)


def settings(incomplete: str) -> list[str]:
    """Return what --set may be: the keys that begin like this, or the values of a key.

    A key that is the only one comes with its values, so that the shell stops after `key=` and adds no space. After a
    comma, which makes the values an axis, the values are offered again.
    """
    from initbench.spec.settings import OTHER_KEYS, RULES

    key, equals, value = incomplete.partition("=")
    if not equals:
        keys = [name for name in (*RULES, *OTHER_KEYS) if name.startswith(key)]
        return [f"{name}=" for name in keys] if len(keys) != 1 else [f"{keys[0]}=", *settings(f"{keys[0]}=")]
    before, comma, _ = value.rpartition(",")
    return [f"{key}={before}{comma}{name}" for name in _values(key)] if key in RULES or key in OTHER_KEYS else []


def _values(setting: str) -> list[str]:
    """Return the names that a setting may have, from the schema of the grid file; without names, its default."""
    from pydantic import TypeAdapter

    from initbench.spec.settings import OTHER_KEYS, RULES

    rule = RULES.get(setting) or OTHER_KEYS[setting]
    schema = TypeAdapter(rule.type).json_schema()
    if schema.get("type") == "boolean":
        return ["true", "false"]
    forms = [schema, *schema.get("anyOf", ())]
    names = [name for form in forms for name in form.get("enum", ())]
    return names or [str(rule.default)] * (rule.default is not None)


def in_bash(complete: Callable[[], object]) -> None:
    """Complete in bash, which splits words at "=" and replaces what is behind the last one.

    The words are joined again before, and what bash does not replace is removed from what is printed.
    """
    words, index = joined(os.environ.get("COMP_WORDS", "").split("\n"), int(os.environ.get("COMP_CWORD") or 0))
    os.environ.update(COMP_WORDS="\n".join(words), COMP_CWORD=str(index))
    word = words[index] if index < len(words) else ""
    value = word.partition("=")[2] if word.startswith("-") else word
    fixed = value[: value.rfind("=") + 1]
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            complete()
    finally:
        for line in filter(None, printed.getvalue().splitlines()):
            print(line.removeprefix(fixed))  # noqa: T201


def joined(words: Sequence[str], index: int) -> tuple[list[str], int]:
    """Return the words of a command line with those around "=" as one, and the index among them of the word at `index`.

    >>> joined(["initbench", "run", "--set", "loss", "=", "ms"], 5)
    (['initbench', 'run', '--set', 'loss=ms'], 3)
    """
    whole: list[str] = []
    position = 0
    for i, word in enumerate(words):
        if whole and i > 0 and (word == "=" or words[i - 1] == "="):
            whole[-1] += word
        else:
            whole.append(word)
        if i == index:
            position = len(whole) - 1
    return whole, position if index < len(words) else len(whole)
