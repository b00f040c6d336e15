"""The plugins of installed packages, which register by the entry point `initbench.plugins`."""

from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from initbench.errors import UserError
from initbench.plugins.bundle import Bundle, read_package

GROUP = "initbench.plugins"


def installed() -> list[Bundle]:
    """Return the code of the plugins of installed packages, by the names of their entry points; none is executed.

    An entry point is a module, `mine = "my_package.schemes"`, whose functions are marked with initbench's decorators.
    All Python files of its package are the plugin's code. They may run: they were installed to be imported.
    """
    return [_bundle(point) for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value))]


def _bundle(point: EntryPoint) -> Bundle:
    top = point.module.partition(".")[0]
    try:
        spec = find_spec(top)  # of a module without a dot nothing is imported
    except (ValueError, ImportError):
        spec = None
    if spec is None or spec.origin is None:
        raise UserError(
            f"the entry point {point.name} = {point.value!r} of {GROUP}: there is no Python module {top}; "
            "install its package again, or remove it"
        )
    path = Path(spec.origin)
    package = path.parent if spec.submodule_search_locations else path
    return read_package(f"{point.module}.py", f"from {point.module} import *\n".encode(), package)
