"""The grid file as a document: a line for each mistake in it, settings replaced in its text, a new one written."""

from collections.abc import Mapping, Set
from difflib import get_close_matches
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from initbench.data import datasets
from initbench.errors import UserError, nearest, shown
from initbench.spec.settings import RULES, SECTIONS, GridFile


def validated(
    document: dict[str, Any], sources: Mapping[str, datasets.Source] | None
) -> tuple[dict[str, Any], list[str]]:
    """What of the document is valid, flat and by setting, and a line for each mistake.

    The valid rest is validated again without what is wrong, so that mistakes that only show between settings are
    found in the same go.
    """
    try:
        return _flat(GridFile.model_validate(document, context=sources)), []
    except ValidationError as errors:
        found = errors.errors(include_url=False)
    pruned = _pruned(document, {error["loc"] for error in found})
    try:
        rest = _flat(GridFile.model_validate(pruned, context=sources))
    except ValidationError:  # what is left cannot be read alone; the lines already found are the message
        rest = {}
    keys = [str(error["loc"][-1 if len(error["loc"]) < 3 else 1]) for error in found]
    meant = [match for key in keys if key not in RULES for match in get_close_matches(key, RULES, n=1)]
    rest["wrong"] = {*keys, *meant}
    return rest, [_line(error, document) for error in found]


def _flat(model: BaseModel) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key in model.model_fields_set:
        value = getattr(model, key)
        if isinstance(value, BaseModel):
            for setting in value.model_fields_set:
                given = getattr(value, setting)
                flat[setting] = given if key == "grid" else [given]
        else:
            flat[key] = [value] if key in RULES else value
    return flat


def _pruned(document: dict[str, Any], wrong: Set[tuple[int | str, ...]]) -> dict[str, Any]:
    def keep(node: Any, at: tuple[int | str, ...]) -> Any:
        if isinstance(node, dict) and len(at) < 2:
            fields = {k: keep(v, (*at, k)) for k, v in node.items() if (*at, k) not in wrong}
            return {k: v for k, v in fields.items() if v is not None}
        if len(at) == 2 and at[0] == "grid" and not isinstance(node, list):
            return None if (*at, 0) in wrong else node
        if isinstance(node, list) and len(at) == 2 and at[0] == "grid":
            kept = [v for i, v in enumerate(node) if (*at, i) not in wrong]
            return kept if kept or not node else None
        return node

    return keep(document, ())  # type: ignore[no-any-return]


def _line(error: Any, document: dict[str, Any]) -> str:
    """One of pydantic's errors as one line of ours."""
    location: tuple[int | str, ...] = error["loc"]
    keys = [part for part in location if isinstance(part, str)]
    where = ".".join(keys)
    if len(keys) > 1 and isinstance(document[keys[0]], dict) and isinstance(document[keys[0]].get(keys[1]), list):
        where += "".join(f"[{part}]" for part in location if isinstance(part, int))
    setting, given = keys[-1], error["input"]
    if error["type"] == "extra_forbidden":
        return f"{where}: {_unknown_key(keys)}"
    if setting == "name":
        return (
            f"name = {shown(given)} is not allowed; allowed: up to 100 letters, digits, '.', '_' and '-', "
            "the first a letter or digit (it names a folder)"
        )
    if setting in ("device", *SECTIONS):
        allowed = "'auto', 'cpu' or 'cuda'" if setting == "device" else f"a table, [{setting}]"
        return f"{where} = {shown(given)} is not allowed; allowed: {allowed}"
    axis_at_home = (
        keys[0] in ("model", "training")
        and isinstance(given, list)
        and (setting != "hidden" or any(isinstance(width, list) for width in given))
    )
    if error["type"] == "mistake" and not axis_at_home:
        return f"{where}: {error['msg']}"
    rule = RULES[setting]
    if axis_at_home:
        return f"{where} = {shown(given)} is not allowed: here it is one value; a list is an axis and goes in [grid]"
    hint = nearest(given, ("constant", "exponential")) if setting == "lr_schedule" else ""
    return f"{where} = {shown(given)} is not allowed; allowed: {rule.allowed}{hint}"


def _unknown_key(keys: list[str]) -> str:
    section, key = (keys[0], keys[-1]) if len(keys) > 1 else ("", keys[-1])
    if key in RULES:
        home = RULES[key].home
        own = f"in [{home}]" if home else "at the top"
        places = f"{own} as one value, or in [grid] as an axis" if home != "grid" else "in [grid]"
        return f"does not belong here; allowed: {places}"
    known = [k for k, rule in RULES.items() if section in (rule.home, "grid")]
    if not section:
        known = ["name", "dataset", "device", *SECTIONS]
    place = f"in [{section}]" if section else "at the top"
    return f"unknown key; allowed {place}: {', '.join(known)}{nearest(key, [*known, *RULES])}"


def misplaced(document: dict[str, Any]) -> list[str]:
    """A setting given both as an axis and in its own section."""
    axes = document.get("grid")
    lines = []
    for key, rule in RULES.items():
        home = document if rule.home == "" else document.get(rule.home)
        if rule.home != "grid" and isinstance(axes, dict) and isinstance(home, dict) and key in axes and key in home:
            here = f"{rule.home}.{key}" if rule.home else key
            lines.append(f"{here}: given here and as grid.{key}; keep one of the two")
    return lines


def override(text: str, overrides: Mapping[str, object]) -> str:
    """The text of a grid file with settings replaced, comments kept: a value where it fits, a list as an axis."""
    import tomlkit

    document: Any = tomlkit.parse(text)
    lines = []
    for given, value in overrides.items():
        section, _, key = given.rpartition(".")
        if key not in ("name", "device", *RULES) or section not in ("", *SECTIONS):
            lines.append(
                f"{given}: unknown setting; allowed: {', '.join(['name', 'device', *RULES])}{nearest(key, RULES)}"
            )
            continue
        home = RULES[key].home if key in RULES else ""
        for place in (document, *(document.get(section) for section in SECTIONS)):
            if isinstance(place, dict) and key in place:
                del place[key]
        axis = isinstance(value, list) and (key != "hidden" or any(isinstance(w, list) for w in value))
        section = "grid" if axis or home == "grid" else home
        item = _as_toml(given, value)
        if section:
            if not isinstance(document.get(section), dict):
                document[section] = tomlkit.table()
            document[section][key] = item
        else:  # a key of the top has to stand before the first table
            document = tomlkit.parse(tomlkit.dumps({key: item}) + tomlkit.dumps(document))
    if lines:
        raise UserError(*lines)
    return tomlkit.dumps(document)


def _as_toml(key: str, value: object) -> Any:
    """A value as TOML: tables on one line, NumPy's numbers as Python's."""
    import tomlkit

    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, list) and all(type(number) is int for number in value):
        return tomlkit.value(str(value))  # thousands of seeds: the time that `item` takes grows with their square
    try:
        if not isinstance(value, dict):
            return tomlkit.item(value)
        table = tomlkit.inline_table()
        table.update(value)
    except (ValueError, TypeError):
        raise UserError(f"{key}: given {shown(value)}; allowed: what TOML can say") from None
    return table


def to_toml(name: str, axes: Mapping[str, tuple[Any, ...]], sources: Mapping[str, datasets.Source]) -> str:
    """A grid file that says these values: what varies under [grid], the rest in its own section."""
    import tomlkit

    def written(setting: str, value: Any) -> Any:
        if setting == "hidden":
            return [int(n) for n in value.split("-") if n]
        if setting == "dataset" and sources[value].folder:
            return {"idx": sources[value].folder}
        return value

    document: dict[str, Any] = {"name": name, "grid": {}, "model": {}, "training": {}}
    for setting, values in axes.items():
        if setting == "train_size" and values == (None,):
            continue
        items = [written(setting, value) for value in values]
        home = RULES[setting].home
        if len(items) > 1 or home == "grid":
            document["grid"][setting] = _as_toml(setting, items)
        elif home:
            document[home][setting] = items[0]
        else:
            document = {"name": name, setting: items[0], **document}
    return tomlkit.dumps(document)
