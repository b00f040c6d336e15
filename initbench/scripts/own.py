"""Own functions in a script: it imports them from the user's file, which stands beside it."""

import keyword
import re
from collections.abc import Mapping
from typing import NamedTuple

from initbench.data.datasets import Source
from initbench.errors import UserError, shown
from initbench.plugins.bundle import Bundle
from initbench.plugins.describe import REGISTRIES
from initbench.registry import OWN_NAME, shorten_digests
from initbench.spec.cell import Cell
from initbench.spec.own import KINDS

# The settings whose own functions a script calls, with their kinds. Those of initializers are in the initial weights.
CALLED = {setting: kind for setting, kind in KINDS.items() if kind != "initializer"}


class OwnFunction(NamedTuple):
    """A user's function or class in a script: where it is, and the keyword arguments that the cell gives it."""

    name: str
    digest: str
    file: str
    is_class: bool
    takes_activation: bool
    keywords: str  # ", gain=1.3"
    code: str  # of its file

    def called(self, *arguments: str) -> str:
        """Return the call with some arguments, and then those of the cell."""
        return f"{self.name}({(', '.join(arguments) + self.keywords).removeprefix(', ')})"


def own_functions(cell: Cell, source: Source, plugins: Mapping[str, Bundle]) -> dict[str, OwnFunction]:
    """Return the own functions of a cell and of its data set, by setting; UserError if a script cannot import one."""
    names = {setting: getattr(cell, setting) for setting in CALLED} | {"dataset": source.function}
    return {setting: _own_function(name, CALLED[setting], plugins) for setting, name in names.items() if "@" in name}


def by_file(own: Mapping[str, OwnFunction]) -> dict[tuple[str, str], list[str]]:
    """Return the names of own functions by the name and the digest of their file."""
    names: dict[tuple[str, str], set[str]] = {}
    for function in own.values():
        names.setdefault((function.file, function.digest), set()).add(function.name)
    return {file: sorted(functions) for file, functions in sorted(names.items())}


def _own_function(canonical: str, kind: str, plugins: Mapping[str, Bundle]) -> OwnFunction:
    call = REGISTRIES[kind].resolve(canonical)
    full_name = OWN_NAME.fullmatch(call.name)
    assert full_name
    name, digest = full_name.groups()
    short = shorten_digests(call.name)
    if digest not in plugins:
        raise UserError(f"{short}: the experiment has no longer its code, so that no script can be written")
    bundle = plugins[digest]
    words = [bundle.main[:-3], name, *(parameter for parameter, _ in call.arguments)]
    is_module = bundle.main.endswith(".py")
    if not is_module or not all(
        word.isidentifier() and word.isascii() and not keyword.iskeyword(word) for word in words
    ):
        raise UserError(
            f"{short}: a script cannot import it from {shown(bundle.main)}; allowed: a Python module's name"
        )
    # Python's own parser is not used: the code may come with untrusted results.
    code = bundle.files[bundle.main].decode()
    definition = re.search(rf"^(class|def) {name}\b(.*?:)[ \t]*$", code, re.M | re.S)
    if not definition:
        raise UserError(
            f"{short}: {shown(bundle.main)} has no line `def {name}` or `class {name}` that a script imports"
        )
    keywords = "".join(f", {parameter}={value!a}" for parameter, value in call.arguments)
    takes_activation = bool(re.search(r"\bactivation\b", definition[2]))
    return OwnFunction(name, digest, bundle.main, definition[1] == "class", takes_activation, keywords, code)
