"""The grid that `ib.run` is given: a path, a preset's name, a `Grid`, or a dict in which own functions may stand."""

import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from initbench.api.training import read_grid
from initbench.data import conversion
from initbench.errors import UserError, shown
from initbench.plugins import consent
from initbench.plugins.bundle import Bundle
from initbench.plugins.describe import REGISTRIES
from initbench.plugins.source import bundle_of
from initbench.registry import shorten_digests
from initbench.spec.grid import Grid, parse
from initbench.spec.gridfile import find, override
from initbench.spec.own import KINDS
from initbench.spec.settings import SECTIONS
from initbench.system import files
from initbench.system.cache import cache_folder

# The name of an experiment whose dict has none.
DEFAULT_NAME = "experiment"

# What messages about a dict begin with.
ORIGIN = "ib.run"


def grid_of(
    grid: str | Path | Mapping[str, object] | Grid,
    overrides: Mapping[str, object] | None,
    results: Path | None,
    *,
    allow_plugins: bool = False,
) -> tuple[Grid, Path]:
    """Return the grid, with settings replaced, and the folder that holds its experiment's folder."""
    if isinstance(grid, Grid):
        if overrides:
            raise UserError("overrides are for a grid file or a dict: put them into the Grid")
        return grid, results or Path("results")
    allow = consent.allow if allow_plugins else consent.refuse_unless_allowed
    code: dict[str, Bundle] = {}
    plain_overrides = _plain_settings(overrides or {}, code)
    if not isinstance(grid, Mapping):
        if not isinstance(grid, str | Path):
            raise UserError(
                f"{ORIGIN}: given {shown(grid)}; allowed: a path, the name of a preset, a dict such as "
                "{'initializer': ['he_normal', 'orthogonal'], 'activation': 'relu'}, or a Grid"
            )
        return read_grid(find(grid), plain_overrides, results=results, bundles=list(code.values()), allow=allow)
    settings = _plain_settings(_flat(grid), code) | plain_overrides
    try:
        text = override("", settings)
        parsed = parse(text, origin=ORIGIN, name=DEFAULT_NAME, bundles=list(code.values()), allow=allow)
    except UserError as error:
        raise UserError(*map(_line, error.lines)) from None
    return parsed, results or Path("results")


def _line(line: str) -> str:
    """Return the line of a message about a grid file as one about a dict, which has no sections."""
    line = re.sub(rf"^({re.escape(ORIGIN)}: )?(({'|'.join(SECTIONS)})\.)?", f"{ORIGIN}: ", line)
    return shorten_digests(line)


def _flat(settings: Mapping[str, object]) -> dict[str, object]:
    """Return a dict's settings: those in the sections of a grid file, too."""
    flat: dict[str, object] = {}
    for key, value in settings.items():
        inside: Mapping[str, object] = {key: value}
        if key in SECTIONS and isinstance(value, Mapping) and "name" not in value:  # `model` is a setting, too
            inside = value
        for name in inside:
            if name in flat:
                raise UserError(f"{ORIGIN}: {name}: given twice, in a section and outside of it; keep one of the two")
        flat |= inside
    return flat


def _plain_settings(settings: Mapping[str, object], code: dict[str, Bundle]) -> dict[str, object]:
    """Return settings as a grid file has them; the code of own functions is added to `code`, by digest."""
    mistakes = [f"{ORIGIN}: {shown(key)}: allowed: the name of a setting" for key in settings if type(key) is not str]
    plain = {}
    for key, value in settings.items() if not mistakes else ():
        try:
            plain[key] = _plain(_with_files(value) if key == "dataset" else value, KINDS.get(key, ""), code)
        except UserError as error:
            mistakes += [f"{ORIGIN}: {key}: {line}" for line in error.lines]
    if mistakes:
        raise UserError(*mistakes)
    return plain


def _with_files(value: Any) -> Any:
    """Return the setting `dataset` with a file in place of a dict of arrays."""
    if isinstance(value, list | tuple):
        return [_with_files(item) for item in value]
    is_data = isinstance(value, Mapping) and any(_is_array(item) for item in value.values())
    return {"npz": str(_written(value))} if is_data else value


def _is_array(value: object) -> bool:
    return isinstance(value, list | tuple) or (hasattr(value, "shape") and not isinstance(value, type))


def _written(arrays: Mapping[str, Any]) -> Path:
    """Write a data set to a file `.npz` in the cache, in a folder that is named by the content, and return its path.

    UserError if it is not valid.
    """
    content = {str(key): _array(value) for key, value in arrays.items() if _is_array(value)}
    conversion.from_mapping(content)
    digest = hashlib.sha256()
    for key, array in sorted(content.items()):
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    path = cache_folder() / "arrays" / digest.hexdigest()[:20] / "arrays.npz"
    if not path.is_file():
        with io.BytesIO() as file:
            np.savez(file, **content)
            files.write_file(path, file.getvalue())
    return path


def _array(value: Any) -> Any:
    """Return an array, a tensor or a column as a NumPy array."""
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if array.dtype.hasobject:
        raise UserError(f"given an array of dtype {array.dtype}; allowed: arrays of numbers")
    return array


def _plain(value: Any, kind: str, code: dict[str, Bundle]) -> object:
    """Return a value as TOML has it; UserError says what is allowed instead.

    `kind` is that of the functions that may stand here: `initializer`, `activation`, … or empty.
    """
    if isinstance(value, np.generic) or (hasattr(value, "tolist") and not isinstance(value, type)):
        value = value.tolist()  # an array, a tensor, a column
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple | range):
        return [_plain(item, kind, code) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, kind, code) for key, item in value.items()}
    if callable(value) and kind:
        return _name(value, kind, code)
    if callable(value):
        raise UserError(f"given {shown(value)}; functions and classes are allowed for {', '.join(KINDS)}")
    hint = ", or leave the key out" if value is None else ""
    raise UserError(f"given {shown(value)}; allowed: text, a number, a list or a dict{hint}")


def _name(function: Any, kind: str, code: dict[str, Bundle]) -> str:
    """Return the name of an own function, or of one of initbench."""
    registry, name = REGISTRIES[kind], getattr(function, "__name__", "")
    is_ours = str(getattr(function, "__module__", "")).partition(".")[0] == "initbench"
    if is_ours and (name in registry or name in registry.aliases):
        return str(name)
    bundle, name = bundle_of(function, kind)
    code[bundle.digest] = bundle
    return f"{name}@{bundle.digest}"
