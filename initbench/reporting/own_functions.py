"""The own functions of an experiment's grid, from plugins: their names for people, what they are, and their code."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from initbench.errors import printable
from initbench.registry import OWN_NAME, shorten_digests
from initbench.reporting import limits, names, numbers
from initbench.results.plugin_file import Function, StoredPlugin, own_functions
from initbench.spec.cell import Cell
from initbench.spec.grid import Grid


@dataclass(frozen=True)
class OwnFunction:
    """An own function on a grid's axes: its kind, its name for people, its digest, and its docstring's first line.

    `library` is its full name in Python if it is from an installed package, such as `torch.nn.modules.activation.Mish`.
    """

    kind: str
    name: str
    digest: str
    summary: str = ""
    signature: str = ""
    library: str = ""


def of_grid(grid: Grid, plugins: Mapping[str, StoredPlugin]) -> list[OwnFunction]:
    """Return the own functions on a grid's axes; what they are from `plugins`, as far as it has them."""
    by_digest = own_functions(grid)
    full_names = [f"{name}@{digest}" for digest, functions in by_digest.items() for _, name in functions]
    digits = names.digits_of(full_names)
    functions = []
    for digest, named in by_digest.items():
        stored = {(f.kind, f.name): f for f in plugins[digest].functions} if digest in plugins else {}
        for kind, name in named:
            function = stored.get((kind, name), Function(kind, name, name, ""))
            # A data set's name has the digest of its content, which `names.datasets` shows where it is needed.
            shown = name if kind == "dataset" else shorten_digests(f"{name}@{digest}", digits)
            path = plugins[digest].bundle.path if digest in plugins else ""
            library = path if path.rpartition(".")[2] == name and path != name else ""
            in_words = "data set" if kind == "dataset" else kind
            functions.append(OwnFunction(in_words, shown, digest, function.summary, function.signature, library))
    return functions


def sentences(functions: Iterable[OwnFunction]) -> list[str]:
    """Say which functions are own ones or from a library, each with its docstring's first line."""
    return [
        f"{f.name} is {f'the {f.kind} {f.library}' if f.library else f'our own {f.kind}'}"
        f"{f': {_unpunctuated(f.summary)}' * bool(f.summary)}."
        for f in functions
    ]


def _unpunctuated(text: str) -> str:
    return text.rstrip(". ")


def options(grid: Grid, plugins: Mapping[str, StoredPlugin]) -> list[str]:
    """Return the options of `initbench run` that give the files of a grid's plugins, by their names alone."""
    mains = dict.fromkeys(plugin.bundle.main for plugin in _present(grid, plugins))
    return [word for main in mains for word in ("--plugin", f"./{main}" if main[0] == "-" else main)]


def files(grid: Grid, plugins: Mapping[str, StoredPlugin]) -> list[str]:
    """Return the names of the files that `options` need, the main file of each plugin first."""
    return list(dict.fromkeys(name for plugin in _present(grid, plugins) for name in _in_order(plugin)))


def _present(grid: Grid, plugins: Mapping[str, StoredPlugin]) -> list[StoredPlugin]:
    """Return the plugins of a grid without those of earlier versions: of several only one can run."""
    digests = own_functions(grid)
    present = []
    for digest, functions in digests.items():
        versions = [version for version in _versions(functions, plugins) if version in digests]
        if digest in plugins and digest == (versions or [digest])[-1]:
            present.append(plugins[digest])
    return present


def _in_order(plugin: StoredPlugin) -> list[str]:
    """Return the names of a plugin's files, the main file first."""
    return sorted(plugin.bundle.files, key=lambda name: (name != plugin.bundle.main, name))


def replacements(before: Grid, after: Grid) -> dict[str, str]:
    """Return the full names of the own functions of a grid whose code is different in another: name there by name here.

    Left out is a function of which a grid has two versions, because it is unknown which one corresponds.
    """
    versions = [_by_name(grid) for grid in (before, after)]
    return {
        f"{key[1]}@{min(digests)}": f"{key[1]}@{min(others)}"
        for key, digests in versions[0].items()
        if len(digests) == len(others := versions[1].get(key, set())) == 1 and digests != others
    }


def _by_name(grid: Grid) -> dict[tuple[str, str], set[str]]:
    """Return the digests of each own function on a grid's axes, by kind and name; data sets have other digests."""
    digests: dict[tuple[str, str], set[str]] = {}
    for digest, functions in own_functions(grid).items():
        for key in functions:
            if key[0] != "dataset":
                digests.setdefault(key, set()).add(digest)
    return digests


def replaced(text: str, others: Mapping[str, str]) -> str:
    """Return a canonical string with other full names of own functions in it.

    >>> replaced("mine@0123456789abcdef0123(gain=1.3)", {"mine@0123456789abcdef0123": "mine@ffffffffffffffffffff"})
    'mine@ffffffffffffffffffff(gain=1.3)'
    """
    return OWN_NAME.sub(lambda name: others.get(name[0], name[0]), text) if "@" in text else text


def replaced_in(cell: Cell, others: Mapping[str, str]) -> Cell:
    """Return a cell with other full names of own functions in its settings."""
    return Cell._make(replaced(value, others) if isinstance(value, str) else value for value in cell)


def _versions(functions: Iterable[tuple[str, str]], plugins: Mapping[str, StoredPlugin]) -> list[str]:
    """Return the digests of the plugins that have one of these functions, by kind and name; the newest last."""
    wanted = {*functions}
    return [d for d, plugin in plugins.items() if wanted & {(f.kind, f.name) for f in plugin.functions}]


def described(grid: Grid, plugins: Mapping[str, StoredPlugin]) -> list[dict[str, Any]]:
    """Return what the page shows of each plugin whose functions are on a grid's axes.

    The present one is that which was trained last, of those with a function of the same kind and name.
    """
    shown: dict[str, list[OwnFunction]] = {}
    for function in of_grid(grid, plugins):
        shown.setdefault(function.digest, []).append(function)
    described = []
    for digest, functions in list(own_functions(grid).items())[: limits.MAX_PLUGINS]:
        versions = _versions(functions, plugins)
        plugin = plugins.get(digest)
        earlier = versions[: versions.index(digest)] if digest in versions else []
        described.append(
            {
                "digest": digest,
                "main": plugin.bundle.main if plugin else "",
                "functions": shown[digest],
                "present": versions[-1] if versions else "",
                "earlier": earlier[::-1],
                "files": _files(plugin) if plugin else [],
            }
        )
    return described


def _files(plugin: StoredPlugin) -> list[tuple[str, str, str]]:
    """Return of each file of a plugin its name, its text, and how many of its lines are left out; the main file first.

    What a page or a terminal would not print as it is, is escaped.
    """
    left, shown = limits.MAX_SOURCE, []
    for name in _in_order(plugin)[: limits.MAX_SOURCE_FILES]:
        lines = plugin.bundle.files[name].decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
        shown_lines: list[str] = []
        for line in lines:
            text = "\t".join(printable(part, limits.MAX_SOURCE_LINE) for part in line.split("\t"))
            if len(text) > left:
                break
            left -= len(text) + 1
            shown_lines.append(text)
        left_out = len(lines) - len(shown_lines)
        shown.append((name, "\n".join(shown_lines), numbers.plural(left_out, "line") * bool(left_out)))
    return shown


def command(words: Sequence[str], grid: Grid, plugins: Mapping[str, StoredPlugin]) -> str:
    """Return a command that runs a grid, with the options for its plugins."""
    return shlex.join([*words, *options(grid, plugins)])
