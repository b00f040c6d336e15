"""The plugins of installed packages, which register by the entry point `initbench.plugins`."""

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

from initbench.errors import UserError
from initbench.plugins.bundle import Bundle, read_package

GROUP = "initbench.plugins"


def installed() -> list[Bundle]:
    """Return the code of the plugins of installed packages, by the names of their entry points; none is executed.

    An entry point is a module, `mine = "my_package.schemes"`, whose functions are marked with initbench's decorators.
    All Python files of its package are the plugin's code. They may run: they were installed to be imported. What lies
    in the working directory, or beside the script that runs, is not installed.
    """
    points = {(point.name, point.value): point for point in _entry_points()}
    return [_bundle(points[key]) for key in sorted(points)]


def _search_path() -> list[str]:
    """Return the folders in which packages are installed."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    others = {Path.cwd()} | ({Path(script).resolve().parent} if script else set())
    return [folder for folder in sys.path if folder and Path(folder).resolve() not in others]


def _entry_points() -> Iterator[EntryPoint]:
    for distribution in distributions(path=_search_path()):
        yield from distribution.entry_points.select(group=GROUP)


def _spec(name: str) -> ModuleSpec | None:
    """Return the spec of a module, which is not imported: as it is installed, or as its finder has it."""
    if spec := PathFinder.find_spec(name, _search_path()):
        return spec
    for finder in sys.meta_path:  # those of packages that are installed in place
        if finder is not PathFinder and (find := getattr(finder, "find_spec", None)) and (spec := find(name, None)):
            return spec  # type: ignore[no-any-return]
    return None


def _bundle(point: EntryPoint) -> Bundle:
    top = point.module.partition(".")[0]
    spec = _spec(top) if top else None
    if spec is None or spec.origin is None:
        raise UserError(
            f"the entry point {point.name} = {point.value!r} of {GROUP}: there is no Python module {top}; "
            "install its package again, or remove it"
        )
    path = Path(spec.origin)
    package = path.parent if spec.submodule_search_locations else path
    return read_package(f"{point.module}.py", f"from {point.module} import *\n".encode(), package)
