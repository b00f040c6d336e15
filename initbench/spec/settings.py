"""The settings of the grid file: what each may be, and the model that validates the file and yields its JSON schema."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError

from initbench.data import datasets
from initbench.errors import UserError, shown
from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES
from initbench.functions.optimizers import OPTIMIZERS
from initbench.initializers import INITIALIZERS, schemes
from initbench.registry import Registry

MAX_CELLS = 10_000_000
SECTIONS = ("grid", "model", "training")


def _probe_activation(name: str) -> None:
    ACTIVATIONS.call(name, np.zeros((1, 2)))


def _probe_loss(name: str) -> None:
    LOSSES.call(name, np.zeros((1, 2)), np.zeros(1, int))


def _probe_optimizer(name: str) -> None:
    OPTIMIZERS.call(name, np.zeros(1), np.zeros(1), {}, learning_rate=1.0)


def _named(catalogue: Registry[Any], probe: Callable[[str], None], only: str = "", also: str = "") -> Any:
    """The type of a setting that names an entry of a catalogue: any spelling in, the canonical string out."""

    def resolve(given: object) -> str:
        return also if also and given == also else str(catalogue.resolve(given, only, also))

    def tried(choice: str) -> None:
        if choice != also:
            probe(choice)

    schema = {
        "anyOf": _spellings(catalogue, only, also),
        "description": f"{catalogue.article}, by name or as a table",
    }
    return Annotated[str, BeforeValidator(partial(_converted, resolve, tried)), WithJsonSchema(schema)]


def _initializer(only: str = "") -> Any:
    """The type of an initializer: a scheme, or one for each place, in any spelling; the canonical string out."""
    one_layer = {"anyOf": _spellings(INITIALIZERS, only or "single-layer")}
    by_place = {
        "type": "object",
        "properties": dict.fromkeys(schemes.PLACES, one_layer),
        "required": ["hidden"],
        "additionalProperties": False,
    }
    canonical = {"type": "string", "pattern": rf"^{schemes.PER_LAYER}\(.*\)$"}
    schema = {
        "anyOf": [*_spellings(INITIALIZERS, only), by_place, canonical],
        "description": "an initializer, by name or as a table; or { first = …, hidden = …, last = … }",
    }
    resolve = partial(schemes.resolve, only=only)
    return Annotated[str, BeforeValidator(partial(_converted, resolve, schemes.probe)), WithJsonSchema(schema)]


def _converted(resolve: Callable[[object], str], probe: Callable[[str], None], given: object) -> str:
    """The canonical string of what was given.

    The probe calls the entry on a tiny input, so that parameters that cannot be are found here and not at run time.
    """
    try:
        choice = resolve(given)
        with np.errstate(all="ignore"):  # a huge parameter may overflow; what comes of it is the run's to find
            probe(choice)
    except ValueError as error:
        raise PydanticCustomError("mistake", "{line}", {"line": str(error)}) from None
    return choice


def _spellings(catalogue: Registry[Any], only: str = "", also: str = "") -> list[dict[str, Any]]:
    """The JSON schemas of what names an entry: its name, its canonical string, its table."""
    entries = [entry for entry in catalogue.values() if not only or only in entry.tags]
    canonical = "|".join(entry.name for entry in entries)
    return [
        {"enum": [entry.name for entry in entries] + [also] * bool(also)},
        {"type": "string", "pattern": rf"^({canonical})\(.*\)$"},
        *(_table_schema(entry.name, entry.parameters) for entry in entries),
    ]


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
    "initializer": Setting(_initializer(), "model", None, "an initializer"),
    "bias_initializer": Setting(_initializer(only="bias"), "model", "zeros", "a bias initializer"),
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
    "precision": Setting(
        Literal["float32", "tf32", "bf16"], "training", "float32", "'float32', 'tf32' or 'bf16': how products round"
    ),
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
    if not isinstance(given, list):
        return [given]
    if not given:
        hint = "; no hidden layer as the only value is [[]]" if setting == "hidden" else ""
        raise PydanticCustomError("mistake", "{line}", {"line": f"an empty axis; allowed: at least one value{hint}"})
    return given


def _axis(setting: str, rule: Setting) -> Any:
    """The type of an axis: a list of the setting's type, in any spelling that `_as_list` takes."""
    kind: Any = rule.type
    one = TypeAdapter(kind).json_schema()
    many = {"type": "array", "items": one, "minItems": 1, "uniqueItems": True}
    bare = {"hidden": [], "seed": [{"type": "integer", "minimum": 1}]}.get(setting, [one])
    return Annotated[list[kind], BeforeValidator(partial(_as_list, setting)), WithJsonSchema({"anyOf": [*bare, many]})]


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
    device=(Literal["auto", "cpu", "cuda"], Field(None)),
    **{section: (_section(section), Field(None)) for section in SECTIONS},  # type: ignore[call-overload]
)


def schema() -> dict[str, Any]:
    """The JSON schema of the grid file, from the model that validates it."""
    found: dict[str, Any] = GridFile.model_json_schema()
    for place in (found, *found["$defs"].values()):
        for key, described in place["properties"].items():
            described.pop("default", None)  # pydantic's None says only that the key may be missing
            if key in RULES and RULES[key].default is not None and place.get("title") != "grid":
                described["default"] = RULES[key].default
    return found
