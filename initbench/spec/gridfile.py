"""The grid file as a document: read within limits, validated with one line per mistake, edited, and written.

All checks of a file that may be hostile are here; `initbench.spec.grid` receives a document of limited size.
"""

import codecs
import math
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping, Set
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from initbench.data import datasets
from initbench.errors import UserError, nearest, shown
from initbench.models.built_in import PERCEPTRON
from initbench.models.perceptron import widths
from initbench.spec import presets, seed_rule
from initbench.spec.columns import SETTINGS
from initbench.spec.seed_rule import SeedRule
from initbench.spec.settings import MAX_CELLS, OTHER_KEYS, RULES, SECTIONS, GridFile
from initbench.system import files

# A million values of ten characters each.
MAX_BYTES = 10_000_000

# A key of a hundred parts, `a.b.c.…`: TOML's reader takes time quadratic in their number.
LONG_KEY = re.compile(r"(?<![\w.\"' \t-])(?:[\w\"' \t-]++\.){100}")

# The system's names for a pipe or an open file: they do not describe its content, and end with the process.
DESCRIPTOR = re.compile(r"/dev/(fd/\d+|stdin)|/proc/.*")

# A message names at most this many files.
MAX_NAMED_FILES = 8


# ---------------------------------------------------------------------------------------------------------------------
# Paths


def find(name: str | Path | None) -> Path:
    """Return the grid file that a name means on the command line and in `ib.run`.

    It is the file of that name; or the `grid.toml` of an experiment's folder of that name; or, if there is neither, the
    preset's. Without a name (None) it is the only grid file of the working directory; UserError if there is none, or
    if there are several. A name that means nothing is returned: reading it says so.
    """
    if name is None:
        return _only_grid_file()
    path = Path(name)
    if experiment_folder(path / "grid.toml") and os.path.isfile(path / "grid.toml"):
        return path / "grid.toml"
    is_missing = not os.path.exists(path) or os.path.isdir(path)
    return presets.path(str(path)) if is_missing and str(path) in presets.names() else path


def label(path: Path) -> str:
    """Return the name by which `find` finds a grid file: that of a preset, or the path."""
    return presets.name_of(path) or str(path)


def _only_grid_file() -> Path:
    """Return the only grid file of the working directory; a single file of invalid TOML, if there is no grid file."""
    grid_files, invalid = [], []
    for path in sorted(Path().glob("*.toml")):
        if not path.is_file():
            continue
        try:
            if _names_initializers(_loads(read_text(path), str(path))):
                grid_files.append(path)
        except UserError:
            invalid.append(path)
    if len(grid_files) == 1:
        return grid_files[0]
    if not grid_files and len(invalid) == 1:
        return invalid[0]
    preset = f"a preset: {', '.join(presets.names())}"
    if not grid_files:
        raise UserError(
            f"there is no grid file in this folder; name one or {preset}; `initbench new grid.toml` writes one"
        )
    names = [str(path) for path in grid_files[:MAX_NAMED_FILES]]
    more = [f"{len(grid_files) - len(names)} more"] * (len(grid_files) > len(names))
    raise UserError(
        f"there are several grid files in this folder: {', '.join(names + more)}; name one of them, or {preset}"
    )


def _names_initializers(document: Mapping[str, Any]) -> bool:
    """Return whether a TOML document is a grid file, judged by the one setting that none can lack."""
    sections = (document.get(section) for section in ("grid", "model"))
    return any(isinstance(section, dict) and "initializer" in section for section in sections)


def _not_found(path: Path) -> str:
    """Return the end of the message that there is no such grid file: the nearest name, or how to write a grid file."""
    names = [file.name for file in path.parent.glob("*.toml")]
    names += [file.parent.name for file in path.parent.glob("*/grid.toml") if experiment_folder(file)]
    is_word = path.parent == Path()
    if is_word:
        names += presets.names()
    own = f"{path.name}.toml"
    hint = f"; did you mean {own!r}?" if own in names else nearest(path.name, names)
    return ", and no preset of that name" * is_word + (hint or "; `initbench new grid.toml` writes one")


def experiment_folder(path: Path) -> Path | None:
    """Return the folder of the experiment whose own `grid.toml` this is: it has a folder `parts`; None for others."""
    return path.parent if path.name == "grid.toml" and (path.parent / "parts").is_dir() else None


def results_for(path: Path, name: str) -> Path:
    """Return the default folder of experiments for a grid file and its experiment's name.

    It is `results`; for an experiment's own `grid.toml` it is the folder above the experiment, also where the
    experiment is reached through a symbolic link with another name.
    """
    folder = experiment_folder(path)
    if not folder:
        return Path("results")
    above = Path(os.path.normpath(folder / ".."))
    target = folder.resolve()
    return target.parent if target.name == name and (above / name).resolve() != target else above


def is_transient(path: Path) -> bool:
    """Return whether a path is invalid once this process has ended, such as a pipe or standard input."""
    return not path.is_file() or _is_descriptor(path)


def default_name(path: Path) -> str:
    """Return the name of the experiment if the grid file does not set one; "" for a pipe, which has no name."""
    if folder := experiment_folder(path):
        return Path(os.path.abspath(folder)).name
    return "" if _is_descriptor(path) else path.stem


def _is_descriptor(path: Path) -> bool:
    return bool(DESCRIPTOR.fullmatch(os.path.abspath(path)))


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_text(path: Path) -> str:
    """Return the text of a grid file; UserError if it is not UTF-8, too large, or not a file."""
    try:
        content = _content(path)
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
            raise UserError(f"{path}: is UTF-16 or UTF-32 text; save it as UTF-8")
        return content.decode("utf-8")
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; give a grid file, such as {path / 'grid.toml'}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        if experiment_folder(path):
            raise UserError(f"{path}: cannot be read ({error.strerror}); restore the experiment's grid file") from None
        tip = _not_found(path) if isinstance(error, FileNotFoundError) else ""
        raise UserError(f"{path}: {error.strerror}{tip}") from None
    except ValueError as error:  # a zero byte, for example
        raise UserError(f"{path}: not a valid file name ({error})") from None


def _content(path: Path) -> bytes:
    """Return the bytes of a grid file; UserError if it is a device or too large."""
    if experiment_folder(path):  # the folder may be untrusted, and a pipe there would never end
        return files.read(path, MAX_BYTES)
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise UserError(f"{path}: is a device; give a grid file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: is too large; allowed: a grid file of at most {MAX_BYTES:,} bytes")
    return content


def document(text: str, origin: str, overrides: Mapping[str, object] | None = None) -> tuple[str, dict[str, Any]]:
    """Return the text of a grid file with overrides applied, and its TOML document.

    UserError if the TOML is invalid, or if the grid has too many cells: they are counted before values are validated,
    because that takes time for each value.
    """
    text = text.removeprefix("\ufeff")  # the byte order mark that some editors write
    content = _loads(text, origin)
    if overrides:
        text = override(text, overrides)
        content = _loads(text, origin)
    if (count := _count(content)) > MAX_CELLS:
        raise UserError(f"{origin}: {too_many_cells(count)}")
    return text, content


def _loads(text: str, origin: str) -> dict[str, Any]:
    if LONG_KEY.search(text):
        raise UserError(f"{origin}: has a key of 100 parts or more; allowed: the settings' names")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib's errors are ValueErrors; so are those of huge integers
        last = text.splitlines() or [""]
        end = f"at the end, line {len(last)}, column {len(last[-1]) + 1}"
        hint = "; names are written in quotes" if str(error).startswith("Invalid value") else ""
        message = str(error).replace("(at end of document)", f"({end})")
        raise UserError(f"{origin}: invalid TOML: {message}{hint}") from None


def _count(document: Mapping[str, Any]) -> int:
    """Return the number of cells that a document specifies, whether or not they are valid."""
    grid = document.get("grid")
    axes = {key: grid[key] for key in SETTINGS if key in grid} if isinstance(grid, dict) else {}
    seeds = axes.pop("seed", RULES["seed"].default)
    sizes = [len(values) for values in axes.values() if isinstance(values, list)]
    if type(seeds) is int:  # a count
        sizes.append(max(1, seeds))
    elif isinstance(seeds, list):
        sizes.append(len(seeds))
    elif isinstance(seeds, dict):  # a rule
        most = seeds.get("max", seed_rule.MAX_SEEDS)
        sizes.append(max(1, most) if type(most) is int else 1)
    return math.prod(sizes)


def too_many_cells(count: int) -> str:
    """Return the message about a grid with too many cells."""
    printed = f"{count:,}" if count < 10**30 else f"about 10^{math.log10(count):.0f}"
    return f"the grid has {printed} cells; allowed: at most {MAX_CELLS:,}; remove values from an axis"


# ---------------------------------------------------------------------------------------------------------------------
# Validating


def validated(
    document: dict[str, Any], find: Callable[[object], datasets.Source] = datasets.find
) -> tuple[dict[str, Any], list[str]]:
    """Return the valid values of a document by setting, and a line for each mistake.

    `find` returns the data set that a value names. The valid remainder is validated again without the invalid values,
    so that contradictions between settings are reported together with invalid values. The key `wrong` holds the
    settings with mistakes.
    """
    try:
        return _flat(GridFile.model_validate(document, context=find)), []
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    pruned = _pruned(document, {error["loc"] for error in errors})
    try:
        rest = _flat(GridFile.model_validate(pruned, context=find))
    except ValidationError:  # the remainder is invalid without the rest; the lines below are the message
        rest = {}
    keys = [str(error["loc"][-1 if len(error["loc"]) < 3 else 1]) for error in errors]
    meant = [match for key in keys if key not in RULES for match in get_close_matches(key, RULES, n=1)]
    rest["wrong"] = {*keys, *meant}
    return rest, [line for error in errors for line in _lines(error, document)]


def _flat(model: BaseModel) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key in model.model_fields_set:
        value = getattr(model, key)
        if isinstance(value, BaseModel):
            for setting in value.model_fields_set:
                values = getattr(value, setting)
                flat[setting] = values if key == "grid" else [values]
        else:
            flat[key] = [value] if key in RULES else value
    return flat


def _pruned(document: dict[str, Any], wrong: Set[tuple[int | str, ...]]) -> dict[str, Any]:
    """Return a document without the values at these locations."""

    def prune(node: Any, at: tuple[int | str, ...]) -> Any:
        if isinstance(node, dict) and len(at) < 2:
            fields = {key: prune(value, (*at, key)) for key, value in node.items() if (*at, key) not in wrong}
            return {key: value for key, value in fields.items() if value is not None}
        if len(at) != 2 or at[0] != "grid":
            return node
        if not isinstance(node, list):
            return None if (*at, 0) in wrong else node
        values = [value for i, value in enumerate(node) if (*at, i) not in wrong]
        return values if values or not node else None

    return prune(document, ())  # type: ignore[no-any-return]


def _lines(error: Any, document: dict[str, Any]) -> list[str]:
    """Return the lines for one of pydantic's errors: one, unless a value has several mistakes."""
    location: tuple[int | str, ...] = error["loc"]
    keys = [part for part in location if isinstance(part, str)]
    key = ".".join(keys)
    if len(keys) > 1 and isinstance(document[keys[0]], dict) and isinstance(document[keys[0]].get(keys[1]), list):
        key += "".join(f"[{part}]" for part in location if isinstance(part, int))
    setting, value = keys[-1], error["input"]
    if error["type"] == "extra_forbidden":
        return [f"{key}: {_unknown_key(keys)}"]
    if setting in OTHER_KEYS or (keys == [setting] and setting in SECTIONS):
        allowed = OTHER_KEYS[setting].allowed if setting in OTHER_KEYS else f"a table, [{setting}]"
        return [f"{key} = {shown(value)} is not allowed; allowed: {allowed}"]
    if keys[0] in ("model", "training") and _is_axis(setting, value):
        return [f"{key} = {shown(value)} is not allowed: here it is one value; a list is an axis and goes in [grid]"]
    if error["type"] == "mistake":
        return [f"{key}: {line}" for line in error["ctx"]["lines"]]
    hint = nearest(value, ("constant", "exponential", "cosine")) if setting == "lr_schedule" else ""
    return [f"{key} = {shown(value)} is not allowed; allowed: {RULES[setting].allowed}{hint}"]


def _is_axis(setting: str, value: object) -> bool:
    """Return whether a value is a list of values of a setting."""
    return isinstance(value, list) and (setting != "hidden" or any(isinstance(widths, list) for widths in value))


def _unknown_key(keys: list[str]) -> str:
    section, key = (keys[0], keys[-1]) if len(keys) > 1 else ("", keys[-1])
    if key in RULES:
        home = RULES[key].home
        own = f"in [{home}]" if home else "at the top"
        allowed = f"{own} as one value, or in [grid] as an axis" if home != "grid" else "in [grid]"
        return f"does not belong here; allowed: {allowed}"
    if section and key in OTHER_KEYS:
        return "does not belong here; allowed: at the top"
    names = [name for name, rule in RULES.items() if section in (rule.home, "grid")]
    if not section:
        names = [*OTHER_KEYS, "dataset", *SECTIONS]
    position = f"in [{section}]" if section else "at the top"
    return f"unknown key; allowed {position}: {', '.join(names)}{nearest(key, [*names, *RULES])}"


def misplaced(document: dict[str, Any]) -> list[str]:
    """Return a line for each setting that is given both as an axis and in its own section."""
    axes = document.get("grid")
    lines = []
    for key, rule in RULES.items():
        home = document if rule.home == "" else document.get(rule.home)
        if rule.home != "grid" and isinstance(axes, dict) and isinstance(home, dict) and key in axes and key in home:
            name = f"{rule.home}.{key}" if rule.home else key
            lines.append(f"{name}: given here and as grid.{key}; keep one of the two")
    return lines


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def override(text: str, overrides: Mapping[str, object]) -> str:
    """Return the text of a grid file with settings replaced and comments kept: a list becomes an axis."""
    import tomlkit

    document: Any = tomlkit.parse(text)
    lines = []
    for dotted, value in overrides.items():
        section, _, key = dotted.rpartition(".")
        if key not in (*OTHER_KEYS, *RULES) or section not in ("", *SECTIONS):
            lines.append(f"{dotted}: unknown setting; allowed: {', '.join([*OTHER_KEYS, *RULES])}{nearest(key, RULES)}")
            continue
        home = RULES[key].home if key in RULES else ""
        for table in (document, *(document.get(section) for section in SECTIONS)):
            if isinstance(table, dict) and key in table and not (table is document and key in SECTIONS):
                del table[key]
        section = "grid" if home == "grid" or (key in RULES and _is_axis(key, value)) else home
        item = _as_toml(dotted, value)
        if section:
            if not isinstance(document.get(section), dict):
                document[section] = tomlkit.table()
            document[section][key] = item
        else:  # a key at the top must stand before the first table
            document = tomlkit.parse(tomlkit.dumps({key: item}) + tomlkit.dumps(document))
    if lines:
        raise UserError(*lines)
    return tomlkit.dumps(document)


def without_plugins(text: str) -> str:
    """Return the text of a grid file without the key `plugins`: the names of own functions say what they are."""
    if "plugins" not in text or "plugins" not in tomllib.loads(text):
        return text
    import tomlkit

    document = tomlkit.parse(text)
    del document["plugins"]
    return tomlkit.dumps(document)


def _as_toml(key: str, value: object) -> Any:
    """Return a value as TOML, on one line."""
    import tomlkit

    try:
        return tomlkit.value(_toml(value))
    except (ValueError, TypeError):
        raise UserError(f"{key}: given {shown(value)}; allowed: a value that TOML supports") from None


def _toml(value: object) -> str:
    """Return the TOML of a value; NumPy's numbers are as Python's. (`tomlkit.item` takes quadratic time for lists.)"""
    import tomlkit

    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, int | float):
        return str(value).lower()
    if isinstance(value, Mapping):
        return (
            f"{{{', '.join(f'{tomlkit.key(str(name)).as_string()} = {_toml(item)}' for name, item in value.items())}}}"
        )
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(tomlkit.item(value).as_string())


def to_toml(
    name: str,
    axes: Mapping[str, tuple[Any, ...]],
    sources: Mapping[str, datasets.Source],
    equivalent_within: float | None = None,
    rule: SeedRule | None = None,
    diagnostics: bool = True,
) -> str:
    """Return a grid file with these values: settings that vary in [grid], the others in their own sections.

    A `rule` stands instead of the seeds.
    """
    import tomlkit

    def spelled(setting: str, value: Any) -> Any:
        if setting == "hidden":
            return list(widths(value))
        return datasets.written(sources[value]) if setting == "dataset" else value

    document: dict[str, Any] = {"name": name}
    if equivalent_within is not None:
        document["equivalent_within"] = equivalent_within
    if not diagnostics:
        document["diagnostics"] = False
    document |= {"grid": {}, "model": {}, "training": {}}
    for setting, values in axes.items():
        has_no_meaning = setting == "hidden" and PERCEPTRON not in axes["model"]
        if has_no_meaning or (setting == "train_size" and values == (None,)):
            continue
        items = [spelled(setting, value) for value in values]
        home = RULES[setting].home
        if setting == "seed" and rule:
            document["grid"][setting] = _as_toml(setting, rule.table)
        elif len(items) > 1 or home == "grid":
            document["grid"][setting] = _as_toml(setting, items)
        elif home:
            document[home][setting] = items[0]
        else:
            document = {"name": name, setting: items[0], **document}
    return tomlkit.dumps(document)
