"""The grid file: what it may say, every mistake in it in one go, and the cells that it means."""

import itertools
import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError

from initbench import datasets
from initbench.activations import ACTIVATIONS
from initbench.catalogue import Catalogue
from initbench.cells import SETTINGS, Cell
from initbench.errors import UserError, nearest, shown
from initbench.initializers import INITIALIZERS
from initbench.losses import LOSSES
from initbench.optimizers import OPTIMIZERS

MAX_CELLS = 10_000_000
RESERVED_NAMES = ("asv", "asv-html", "example-keepcoding")
SECTIONS = ("grid", "model", "training")

# ---------------------------------------------------------------------------------------------------------------
# What each setting may be


def _probe_initializer(name: str) -> None:
    INITIALIZERS.call(name, (2, 2), seed=0)


def _probe_activation(name: str) -> None:
    ACTIVATIONS.call(name, np.zeros((1, 2)))


def _probe_loss(name: str) -> None:
    LOSSES.call(name, np.zeros((1, 2)), np.zeros(1, int))


def _probe_optimizer(name: str) -> None:
    OPTIMIZERS.call(name, np.zeros(1), np.zeros(1), {}, learning_rate=1.0)


def _named(catalogue: Catalogue[Any], probe: Callable[[str], None], only: str = "", also: str = "") -> Any:
    """The type of a setting that names an entry of a catalogue: any spelling in, the canonical string out.

    The probe calls the entry on a tiny input, so that parameters that cannot be are found here and not at run time.
    """

    def convert(given: object) -> str:
        if also and given == also:
            return also
        try:
            choice = str(catalogue.resolve(given, only))
            probe(choice)
        except ValueError as error:
            raise PydanticCustomError("mistake", "{line}", {"line": str(error)}) from None
        return choice

    names = [n for n, e in catalogue.items() if not only or only in e.tags] + [also] * bool(also)
    tables = [_table_schema(e.name, e.parameters) for e in catalogue.values() if e.parameters and e.name in names]
    schema = {
        "anyOf": [{"enum": names}, *tables],
        "description": f"{catalogue.article}, by name or as a table",
    }
    return Annotated[str, BeforeValidator(convert), WithJsonSchema(schema)]


def _table_schema(name: str, parameters: Sequence[Any]) -> dict[str, Any]:
    kinds = {float: "number", int: "integer", str: "string"}
    properties: dict[str, Any] = {"name": {"const": name}}
    for p in parameters:
        properties[p.name] = {"type": kinds[p.kind], "default": p.default}
        if p.choices:
            properties[p.name]["enum"] = list(p.choices)
    return {"type": "object", "properties": properties, "required": ["name"], "additionalProperties": False}


def _hidden(given: object) -> str:
    whole = isinstance(given, list) and all(type(n) is int and 1 <= n <= 65_536 for n in given)
    if not whole or len(given) > 1000:  # type: ignore[arg-type]
        raise PydanticCustomError("allowed", "")
    return "-".join(map(str, given))  # type: ignore[call-overload]


def _dataset(given: object, info: ValidationInfo) -> Any:
    """The source of a data set; one that is known already (`parse`) is not read again."""
    try:
        if isinstance(given, Mapping) and isinstance(given.get("idx"), str):
            for source in (info.context or {}).values():
                if source.folder == datasets.absolute(given["idx"]):
                    return source
        return datasets.find(given)
    except UserError as error:
        raise PydanticCustomError("mistake", "{line}", {"line": str(error)}) from None


Hidden = Annotated[
    str,
    BeforeValidator(_hidden),
    WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 1}}),
]
Dataset = Annotated[
    Any,
    BeforeValidator(_dataset),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "mnist"},
                {
                    "type": "object",
                    "properties": {"idx": {"type": "string"}},
                    "required": ["idx"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
Whole = partial(Field, strict=True)
Real = partial(Field, allow_inf_nan=False, strict=True)
POSITIVE_ZERO = AfterValidator(lambda value: value + 0.0)  # -0.0 is the same setting as 0.0


class Setting(NamedTuple):
    """One setting: its type, the section that is its home, its default, and what it may be in words."""

    type: Any
    home: str
    default: Any
    allowed: str


# The seed has no other home than [grid]: there a whole number is a count of seeds.
RULES: dict[str, Setting] = {
    "dataset": Setting(Dataset, "", "mnist", "'mnist', or { idx = 'a folder of IDX files' }"),
    "train_size": Setting(
        Annotated[int, Whole(ge=1)],
        "training",
        None,
        "a whole number from 1 up: the first images of the training split",
    ),
    "initializer": Setting(_named(INITIALIZERS, _probe_initializer), "model", None, "an initializer"),
    "bias_initializer": Setting(
        _named(INITIALIZERS, _probe_initializer, only="bias"), "model", "zeros", "a bias initializer"
    ),
    "activation": Setting(_named(ACTIVATIONS, _probe_activation), "model", "relu", "an activation"),
    "output_activation": Setting(
        _named(ACTIVATIONS, _probe_activation, only="output", also="same"),
        "model",
        "identity",
        "an activation, or 'same'",
    ),
    "hidden": Setting(
        Hidden, "model", [128], "a list of widths from 1 to 65536, such as [128, 128]; [] for no hidden layer"
    ),
    "loss": Setting(_named(LOSSES, _probe_loss), "training", "cross_entropy", "a loss"),
    "optimizer": Setting(_named(OPTIMIZERS, _probe_optimizer), "training", "sgd", "an optimizer"),
    "learning_rate": Setting(Annotated[float, Real(gt=0), POSITIVE_ZERO], "training", 0.1, "a finite number above 0"),
    "lr_schedule": Setting(Literal["constant", "exponential"], "training", "constant", "'constant' or 'exponential'"),
    "lr_decay": Setting(
        Annotated[float, Real(ge=0, lt=1), POSITIVE_ZERO], "training", 0.0, "a number from 0 to below 1"
    ),
    "batch_size": Setting(Annotated[int, Whole(ge=1)], "training", 128, "a whole number from 1 up"),
    "epochs": Setting(Annotated[int, Whole(ge=1, le=100_000)], "training", 10, "a whole number from 1 to 100,000"),
    "seed": Setting(
        Annotated[int, Whole(ge=0, lt=2**63)],
        "grid",
        5,
        "a count of seeds from 1 up, or a list of seeds from 0 up such as [0, 1, 2]",
    ),
}


def _as_list(setting: str, given: object) -> object:
    """An axis may be written as one bare value; a count of seeds stands for the seeds from 0."""
    if setting == "seed":
        if type(given) is int and 1 <= given <= MAX_CELLS:
            return list(range(given))
        if not isinstance(given, list):
            raise PydanticCustomError("allowed", "")
    if setting == "hidden" and isinstance(given, list) and given and not any(isinstance(w, list) for w in given):
        example = f"[{shown(given)}]"
        raise PydanticCustomError(
            "mistake",
            "{line}",
            {"line": f"given {shown(given)}; as an axis it is a list of such lists: {example}"},
        )
    if setting == "hidden" and given == []:
        return [[]]
    if not isinstance(given, list):
        return [given]
    if not given:
        raise PydanticCustomError("mistake", "{line}", {"line": "an empty axis; allowed: at least one value"})
    return given


def _axis(setting: str, rule: Setting) -> Any:
    """The type of an axis: a list of the setting's type, in any spelling that `_as_list` takes."""
    kind: Any = rule.type
    return Annotated[list[kind], BeforeValidator(partial(_as_list, setting))]


def _section(name: str) -> type[BaseModel]:
    if name == "grid":
        fields: dict[str, Any] = {
            key: (_axis(key, rule), Field(None, title=rule.allowed)) for key, rule in RULES.items()
        }
    else:
        fields = {key: (rule.type, Field(None, title=rule.allowed)) for key, rule in RULES.items() if rule.home == name}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


GridFile = create_model(
    "GridFile",
    __config__=ConfigDict(extra="forbid", title="initbench grid file"),
    name=(Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")], Field(None)),
    dataset=(Dataset, Field(None)),
    **{section: (_section(section), Field(None)) for section in SECTIONS},  # type: ignore[call-overload]
)


def schema() -> dict[str, Any]:
    """The JSON schema of the grid file, from the model that validates it."""
    found: dict[str, Any] = GridFile.model_json_schema()
    return found


# ---------------------------------------------------------------------------------------------------------------
# The grid


@dataclass(frozen=True)
class Grid:
    """What a grid file says: for each setting its values, one or many, in canonical form.

    `axes` maps every setting to its values; `output_activation` may be `same`, `train_size` None for all there is.
    `sources` maps the name of a data set to where it comes from; `text` is the file as it was run.
    """

    name: str
    axes: Mapping[str, tuple[Any, ...]]
    sources: Mapping[str, datasets.Source]
    text: str

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.axes.values())

    @property
    def varying(self) -> list[str]:
        """The settings with several values: the axes of the experiment."""
        return [setting for setting in SETTINGS if len(self.axes[setting]) > 1]

    @property
    def shape(self) -> str:
        """The axes in words: `6 initializers × 4 activations × 2 losses × 5 seeds`."""
        return " × ".join(counted(len(self.axes[setting]), setting) for setting in self.varying) or "a single cell"

    def cells(self) -> Iterator[Cell]:
        """The cross-product, each point resolved; the seed varies fastest."""
        output = SETTINGS.index("output_activation")
        activation = SETTINGS.index("activation")
        for values in itertools.product(*(self.axes[setting] for setting in SETTINGS)):
            point = list(values)
            if point[1] is None:
                point[1] = self.sources[point[0]].train_size
            if point[output] == "same":
                point[output] = point[activation]
            yield Cell(*point)


def counted(count: int, setting: str) -> str:
    """A count of a setting's values, for people.

    >>> counted(2, "loss"), counted(3, "batch_size"), counted(2, "epochs")
    ('2 losses', '3 batch sizes', '2 numbers of epochs')
    """
    special = {"loss": "losses", "epochs": "numbers of epochs", "hidden": "shapes of hidden layers"}
    return f"{count} " + special.get(setting, setting.replace("_", " ") + "s")


def read(
    path: str | Path,
    overrides: Mapping[str, object] | None = None,
    *,
    name: str = "",
    sources: Mapping[str, datasets.Source] | None = None,
) -> Grid:
    """The grid of a file, with `overrides` (setting: value) put in; UserError names every mistake.

    `name` is the run's name where the file gives none (default: the file's own); `sources` as for `parse`.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder; give a grid file, such as {path / 'grid.toml'}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        tip = "; `initbench new grid.toml` writes one" if isinstance(error, FileNotFoundError) else ""
        raise UserError(f"{path}: {error.strerror}{tip}") from None
    return parse(text, origin=str(path), name=name or path.stem, overrides=overrides, sources=sources)


def parse(
    text: str,
    *,
    origin: str = "grid",
    name: str = "grid",
    overrides: Mapping[str, object] | None = None,
    sources: Mapping[str, datasets.Source] | None = None,
) -> Grid:
    """The grid of a TOML text; `name` is the run's name where the text gives none.

    `sources` are data sets that are known already, so that their files are not read: those of a run that is on disk.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib's errors are ValueErrors, and so are endless numbers
        last = text.splitlines() or [""]
        end = f"at the end, line {len(last)}, column {len(last[-1]) + 1}"
        raise UserError(f"{origin}: is no TOML: {str(error).replace('at end of document', end)}") from None
    if overrides:
        text = override(text, overrides)
        document = tomllib.loads(text)
    values, mistakes = _validated(document, sources)
    values.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-_") or "grid")
    mistakes += _misplaced(document)
    axes, found = _axes(values)
    mistakes += _contradictions(values, axes, found)
    if mistakes:
        raise UserError(*(f"{origin}: {line}" for line in mistakes))
    return Grid(values["name"], axes, found, text)


def _validated(
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
    pruned = _pruned(document, [error["loc"] for error in found])
    try:
        rest = _flat(GridFile.model_validate(pruned, context=sources))
    except ValidationError:  # what is left cannot be read alone; the lines already found are the message
        rest = {}
    keys = [str(error["loc"][-1 if len(error["loc"]) < 3 else 1]) for error in found]
    meant = [match for key in keys if key not in RULES for match in get_close_matches(key, RULES, n=1)]
    rest["wrong"] = {*keys, *meant}
    return rest, [_line(error) for error in found]


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


def _pruned(document: dict[str, Any], wrong: Sequence[tuple[int | str, ...]]) -> dict[str, Any]:
    def keep(node: Any, at: tuple[int | str, ...]) -> Any:
        if isinstance(node, dict) and len(at) < 2:
            fields = {k: keep(v, (*at, k)) for k, v in node.items() if (*at, k) not in wrong}
            return {k: v for k, v in fields.items() if v is not None}
        if isinstance(node, list) and len(at) == 2 and at[0] == "grid":
            kept = [v for i, v in enumerate(node) if (*at, i) not in wrong]
            return kept if kept or not node else None
        return node

    return keep(document, ())  # type: ignore[no-any-return]


def _line(error: Any) -> str:
    """One of pydantic's errors as one line of ours."""
    location: tuple[int | str, ...] = error["loc"]
    keys = [part for part in location if isinstance(part, str)]
    where = ".".join(keys) + "".join(f"[{part}]" for part in location if isinstance(part, int))
    setting, given = keys[-1], error["input"]
    if error["type"] == "extra_forbidden":
        return f"{where}: {_unknown_key(keys)}"
    if setting == "name":
        return (
            f"name = {shown(given)} is not allowed; allowed: up to 100 letters, digits, '.', '_' and '-', "
            "the first a letter or digit (it names a folder)"
        )
    if setting in SECTIONS:
        return f"{where} = {shown(given)} is not allowed; allowed: a table, [{setting}]"
    if error["type"] == "mistake":
        return f"{where}: {error['msg']}"
    rule = RULES[setting]
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
        known = ["name", "dataset", *SECTIONS]
    place = f"in [{section}]" if section else "at the top"
    return f"unknown key; allowed {place}: {', '.join(known)}{nearest(key, [*known, *RULES])}"


def _misplaced(document: dict[str, Any]) -> list[str]:
    """A setting given both as an axis and in its own section."""
    axes = document.get("grid")
    lines = []
    for key, rule in RULES.items():
        home = document if rule.home == "" else document.get(rule.home)
        if rule.home != "grid" and isinstance(axes, dict) and isinstance(home, dict) and key in axes and key in home:
            here = f"{rule.home}.{key}" if rule.home else key
            lines.append(f"{here}: given here and as grid.{key}; keep one of the two")
    return lines


def _axes(values: Mapping[str, Any]) -> tuple[dict[str, tuple[Any, ...]], dict[str, datasets.Source]]:
    """The values of every setting, defaults filled in, and the data sets by name."""
    axes: dict[str, tuple[Any, ...]] = {}
    for setting in SETTINGS:
        default = RULES[setting].default
        if setting == "seed":
            default = list(range(default))
        else:
            default = [{"dataset": datasets.find("mnist"), "hidden": "128"}.get(setting, default)]
        axes[setting] = tuple(values.get(setting, default))
    sources = {source.name: source for source in axes["dataset"]}
    axes["dataset"] = tuple(source.name for source in axes["dataset"])
    return axes, sources


def _contradictions(
    values: Mapping[str, Any], axes: Mapping[str, tuple[Any, ...]], sources: Mapping[str, datasets.Source]
) -> list[str]:
    """The mistakes that show only between values, a line each; settings wrong by themselves are passed over."""
    wrong = values.get("wrong", set())
    lines = []
    if values["name"].lower() in RESERVED_NAMES:
        lines.append(f"name = {values['name']!r} is reserved; allowed: any other name than {', '.join(RESERVED_NAMES)}")
    if "initializer" not in values and not {"initializer", "grid"} & wrong:
        lines.append('grid.initializer is missing; give at least one, such as initializer = ["he_normal", "zeros"]')
    for setting, given in axes.items():
        repeated = [value for value, count in Counter(given).items() if count > 1]
        lines += [
            f"grid.{setting}: {shown(value)} is on this axis more than once; allowed: each value once"
            for value in repeated
        ]
    if not {"hidden", "activation", "output_activation"} & wrong:
        lines += _activation_contradictions(axes["hidden"], axes["activation"], axes["output_activation"])
    if not {"dataset", "train_size", "batch_size"} & wrong:
        for source in sources.values():
            lines += _size_contradictions(source, axes["train_size"], axes["batch_size"])
    count = math.prod(len(given) for given in axes.values())
    if count > MAX_CELLS:
        lines.append(f"the grid has {count:,} cells; allowed: at most {MAX_CELLS:,}; take values from an axis")
    return lines


def _activation_contradictions(
    hidden: tuple[str, ...], activations: tuple[str, ...], outputs: tuple[str, ...]
) -> list[str]:
    lines = []
    if "softmax" in activations and any(hidden):
        widths = [int(n) for n in next(filter(None, hidden)).split("-")]
        lines.append(
            f"activation = 'softmax' with hidden = {widths} is not allowed: softmax is an output activation; "
            "give it as model.output_activation, or take the hidden layers out"
        )
    fixed = [o for o in outputs if o != "same"]
    if "" in hidden and len(activations) > 1 and fixed:
        lines.append(
            f"{len(activations)} activations with hidden = [] and output_activation = {fixed[0]!r} would be the same "
            "cell several times: without a hidden layer only the output has an activation; "
            "set output_activation = 'same', or give hidden layers"
        )
    if "same" in outputs:
        lines += [
            f"output_activation = {o!r} beside 'same' would make the same cell twice where activation = {o!r}; "
            "keep one of the two"
            for o in fixed
            if o in activations
        ]
    return lines


def _size_contradictions(
    source: datasets.Source, train_sizes: tuple[int | None, ...], batch_sizes: tuple[int, ...]
) -> list[str]:
    lines = []
    sizes = [source.train_size if size is None else size for size in train_sizes]
    for size in sizes:
        if size > source.train_size:
            lines.append(
                f"train_size = {size} is not allowed; allowed: at most {source.train_size}, the training split of "
                f"{source.name}"
            )
    smallest = min(*sizes, source.train_size)
    for batch in batch_sizes:
        if batch > smallest:
            lines.append(
                f"batch_size = {batch} is not allowed; allowed: at most {smallest}, the size of the training split"
            )
    return lines


# ---------------------------------------------------------------------------------------------------------------
# Writing grid files


def override(text: str, overrides: Mapping[str, object]) -> str:
    """The text of a grid file with settings replaced, comments kept: a value where it fits, a list as an axis."""
    import tomlkit

    document: Any = tomlkit.parse(text)
    for given, value in overrides.items():
        section, _, key = given.rpartition(".")
        if key not in ("name", *RULES) or section not in ("", *SECTIONS):
            raise UserError(
                f"--set {given}: unknown setting; allowed: {', '.join(['name', *RULES])}{nearest(key, RULES)}"
            )
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
    return tomlkit.dumps(document)


def _as_toml(key: str, value: object) -> Any:
    """A value as TOML: tables on one line, NumPy's numbers as Python's."""
    import tomlkit

    value = value.item() if isinstance(value, np.generic) else value
    try:
        if not isinstance(value, dict):
            return tomlkit.item(value)
        table = tomlkit.inline_table()
        table.update(value)
    except (ValueError, TypeError):
        raise UserError(f"--set {key}: given {shown(value)}; allowed: what TOML can say") from None
    return table


def smoke_overrides(grid: Grid) -> dict[str, object]:
    """What makes a small run of a grid, for a first look: one seed, one epoch, ten batches; another name."""
    size = min(10 * max(grid.axes["batch_size"]), *(source.train_size for source in grid.sources.values()))
    seed = grid.axes["seed"][0]
    return {"name": f"{grid.name[:94]}-smoke", "seed": [seed], "epochs": 1, "train_size": size}


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
            document["grid"][setting] = items
        elif home:
            document[home][setting] = items[0]
        else:
            document = {"name": name, setting: items[0], **document}
    return tomlkit.dumps(document)
