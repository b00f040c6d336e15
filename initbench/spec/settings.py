"""The settings of the grid file: their types and defaults, and the model that validates the file and has its schema."""

from collections.abc import Callable, Sequence
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
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    create_model,
)
from pydantic_core import PydanticCustomError

from initbench.data import datasets
from initbench.errors import UserError, shown
from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES
from initbench.functions.optimizers import OPTIMIZERS
from initbench.initializers import INITIALIZERS, schemes
from initbench.models.built_in import MODELS
from initbench.registry import Registry
from initbench.spec import seed_rule

MAX_CELLS = 10_000_000
SECTIONS = ("grid", "model", "training")


def _probe_activation(name: str) -> None:
    ACTIVATIONS.call(name, np.zeros((1, 2)))


def _probe_loss(name: str) -> None:
    LOSSES.call(name, np.zeros((1, 2)), np.zeros(1, int))


def _probe_optimizer(name: str) -> None:
    OPTIMIZERS.call(name, np.zeros(1), np.zeros(1), {}, learning_rate=1.0)


def _probe_model(name: str) -> None:
    MODELS.call(name)


# A function of a user's file as a grid file may name it: my_models.py:build, as a string or in a table.
OF_FILE = r"(.+\.py):([A-Za-z_]\w*)"
IN_FILE_FORMS: tuple[dict[str, Any], ...] = (
    {"type": "string", "pattern": rf"^{OF_FILE}(\(.*\))?$"},
    {"type": "object", "properties": {"name": {"type": "string", "pattern": f"^{OF_FILE}$"}}, "required": ["name"]},
)


def _named(
    registry: Registry[Any],
    probe: Callable[[str], None],
    only: str = "",
    also: str = "",
    others: Sequence[dict[str, Any]] = (),
) -> Any:
    """Return the type of a setting that names a registry's record: accepts any form, yields the canonical string.

    `others` are JSON schemas of forms that are resolved before.
    """

    def resolve(value: object) -> str:
        return also if also and value == also else str(registry.resolve(value, only, also))

    def probe_entry(name: str) -> None:
        if name != also and "@" not in name:  # a plugin's function is tried where its code is executed
            probe(name)

    schema = {
        "anyOf": [*_forms(registry, only, also), *others],
        "description": f"{registry.article}, by name or as a table",
    }
    return Annotated[str, BeforeValidator(partial(_canonical, resolve, probe_entry)), WithJsonSchema(schema)]


def _initializer(only: str = "") -> Any:
    """Return the type of an initializer: a scheme, or one for each layer position; yields the canonical string."""
    single_layer = {"anyOf": _forms(INITIALIZERS, only or "single-layer")}
    by_position = {
        "type": "object",
        "properties": dict.fromkeys(schemes.POSITIONS, single_layer),
        "required": ["hidden"],
        "additionalProperties": False,
    }
    canonical = {"type": "string", "pattern": rf"^{schemes.PER_LAYER}\(.*\)$"}
    schema = {
        "anyOf": [*_forms(INITIALIZERS, only), by_position, canonical],
        "description": "an initializer, by name or as a table; or { first = …, hidden = …, last = … }",
    }
    resolve = partial(schemes.resolve, only=only)
    return Annotated[str, BeforeValidator(partial(_canonical, resolve, schemes.probe)), WithJsonSchema(schema)]


def _canonical(resolve: Callable[[object], str], probe: Callable[[str], None], value: object) -> str:
    """Return the canonical string of a value of the grid file; a mistake raises the error that pydantic reports.

    `resolve` returns the string. `probe` then calls the named function on a tiny input, so that invalid parameters
    raise here and not during training.
    """
    try:
        name = resolve(value)
        with np.errstate(all="ignore"):  # a huge parameter may overflow; that is a result of the training run
            probe(name)
    except ValueError as error:
        raise _mistake(str(error)) from None
    return name


def _mistake(*lines: str) -> PydanticCustomError:
    """Return the error whose message is the given lines, one for each mistake in a value."""
    return PydanticCustomError("mistake", "{lines}", {"lines": lines})


def _forms(registry: Registry[Any], only: str = "", also: str = "") -> list[dict[str, Any]]:
    """Return the JSON schemas of a record's forms: its name, its canonical string, its table."""
    entries = [entry for entry in registry.values() if not only or only in entry.tags]
    entries += registry.aliases_of("", only)
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


def _hidden(widths: object) -> str:
    if not isinstance(widths, list) or len(widths) > 1000 or not all(type(n) is int and 0 < n < 65_537 for n in widths):
        raise PydanticCustomError("allowed", "")
    return "-".join(map(str, widths))


def _dataset(value: object, info: ValidationInfo) -> Any:
    """Return the source of a data set, which `info.context` finds (see `own.find`)."""
    try:
        return (info.context or datasets.find)(value)
    except UserError as error:
        raise _mistake(str(error)) from None


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
                {"enum": ["mnist", *datasets.KNOWN]},
                *(
                    {
                        "type": "object",
                        "properties": {form: {"type": "string", "description": summary}},
                        "required": [form],
                        "additionalProperties": False,
                    }
                    for form, summary in datasets.FORMATS.items()
                ),
                *IN_FILE_FORMS,
            ]
        }
    ),
]
Integer = partial(Field, strict=True)
Real = partial(Field, allow_inf_nan=False, strict=True)
POSITIVE_ZERO = AfterValidator(lambda value: value + 0.0)  # -0.0 is the same setting as 0.0


class Setting(NamedTuple):
    """One key of the grid file: its type, the section where it is one value, and its default.

    `allowed` are the allowed values in the words of a message, and `meaning` is what it is, in Markdown; the page on
    the grid file (`tools/make_grid_page.py`) and the JSON schema have both.
    """

    type: Any
    home: str
    default: Any
    allowed: str
    meaning: str


# What the name of an experiment may be, as a pattern and in words.
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
NAMES_ALLOWED = "up to 100 letters, digits, '.', '_' and '-', the first a letter or digit"

# The keys at the top that are not settings of a cell.
OTHER_KEYS: dict[str, Setting] = {
    "name": Setting(
        Annotated[str, Field(pattern=NAME)],
        "",
        None,
        f"{NAMES_ALLOWED} (it names a folder)",
        "The name of the experiment, which is that of its folder.",
    ),
    "device": Setting(
        Literal["auto", "cpu", "cuda"],
        "",
        "auto",
        "'auto', 'cpu' or 'cuda'",
        "What trains, as `--device`. `auto` is the CPU; `cuda` is experimental: it was never run on a GPU.",
    ),
    "equivalent_within": Setting(
        Annotated[float, Real(gt=0, le=100)],
        "",
        None,
        "a number of percentage points above 0 and up to 100",
        "How much test accuracy an initializer may cost and still count as equivalent to the best.",
    ),
    "diagnostics": Setting(
        Annotated[bool, Field(strict=True)],
        "",
        True,
        "true or false (whether the signal in each network is computed, before training and after it)",
        "Whether the signal is computed. It changes no result; `false` saves 3 to 5% of the time.",
    ),
    "plugins": Setting(
        list[Annotated[str, Field(min_length=1)]] | Annotated[str, Field(min_length=1)],
        "",
        None,
        "a list of paths of Python files, such as ['my_schemes.py']",
        "Files with initializers, activations, losses and optimizers of your own, relative to the grid file.",
    ),
}

# The settings of a cell. The seed is in [grid] alone; there an integer is a count of seeds.
RULES: dict[str, Setting] = {
    "dataset": Setting(
        Dataset, "", "mnist", datasets.ALLOWED, "The images. A relative path starts at the working directory."
    ),
    "train_size": Setting(
        Annotated[int, Integer(ge=1)],
        "training",
        None,
        "an integer from 1 up: the first images of the training split",
        "The number of training images.",
    ),
    "standardize": Setting(
        Annotated[bool, Field(strict=True)],
        "training",
        False,
        "true or false: subtract the mean of the training images, and divide by their standard deviation",
        "Standardization of the images, for each channel over the training split.",
    ),
    "augment": Setting(
        Literal["none", "crop", "flip", "crop_flip"],
        "training",
        "none",
        "'none', 'crop' (shifts of up to 4 pixels), 'flip' (left and right), or 'crop_flip'",
        "Random changes of the training images: `crop` shifts each by up to 4 pixels in each direction, `flip` mirrors "
        "half of them, and `crop_flip` does both. Cells with augmentation train one at a time.",
    ),
    "initializer": Setting(
        _initializer(),
        "model",
        None,
        "an initializer",
        "What fills the weights: a name (`initbench list initializers`); a table with parameters, "
        '`{ name = "normal", std = 0.2 }`; or one for each layer position, `{ first = …, hidden = …, last = … }`. A '
        "missing position has the initializer of `hidden`, and a single layer counts as the last. Initializers of "
        "whole networks (those that use data or gradients, `dks`, `tat`) cannot be used for one layer position.",
    ),
    "bias_initializer": Setting(
        _initializer(only="bias"),
        "model",
        "zeros",
        "a bias initializer",
        "What fills the biases: an initializer that can fill a vector, or one for each layer position. `within_layer`, "
        "`pca`, `kmeans`, `dks` and `tat` set the biases themselves, so they are rejected with several bias "
        "initializers.",
    ),
    "activation": Setting(
        _named(ACTIVATIONS, _probe_activation),
        "model",
        "relu",
        "an activation",
        "The activation of the hidden layers (`initbench list activations`). `softmax` is allowed only in a perceptron "
        "without hidden layers.",
    ),
    "output_activation": Setting(
        _named(ACTIVATIONS, _probe_activation, only="output", also="same"),
        "model",
        "identity",
        "an activation, or 'same'",
        "The activation of the last layer. `same` is the value of `activation`.",
    ),
    "model": Setting(
        _named(MODELS, _probe_model, others=IN_FILE_FORMS),
        "model",
        "perceptron",
        "a model",
        "The network (`initbench list models`), or a PyTorch module of your own: `my_models.py:build`, or with "
        'parameters `{ name = "my_models.py:build", width = 64 }`.',
    ),
    "hidden": Setting(
        Hidden,
        "model",
        [128],
        "a list of widths from 1 to 65536, such as [128, 128]; [] for no hidden layer",
        "The widths of the hidden layers, of the perceptron alone. An axis is a list of such lists.",
    ),
    "normalization": Setting(
        Literal["none", "batch", "layer"],
        "model",
        "none",
        "'none', 'batch' or 'layer': before each activation",
        "Batch or layer normalization, of built-in models.",
    ),
    "dropout": Setting(
        Annotated[float, Real(ge=0, lt=1), POSITIVE_ZERO],
        "model",
        0.0,
        "a number from 0 to below 1: the share of hidden units that a step leaves out",
        "Dropout after each activation, of built-in models.",
    ),
    "loss": Setting(
        _named(LOSSES, _probe_loss),
        "training",
        "cross_entropy",
        "a loss",
        'The loss (`initbench list losses`). `{ name = "cross_entropy", label_smoothing = 0.1 }` smooths the labels.',
    ),
    "optimizer": Setting(
        _named(OPTIMIZERS, _probe_optimizer),
        "training",
        "sgd",
        "an optimizer",
        "The optimizer (`initbench list optimizers`). Each takes `weight_decay`: "
        '`{ name = "sgd", weight_decay = 5e-4 }`.',
    ),
    "learning_rate": Setting(
        Annotated[float, Real(gt=0), POSITIVE_ZERO],
        "training",
        0.1,
        "a finite number above 0",
        "The learning rate from which the schedule starts.",
    ),
    "lr_schedule": Setting(
        Literal["constant", "exponential", "cosine"],
        "training",
        "constant",
        "'constant', 'exponential' or 'cosine'",
        "How the learning rate changes. `constant`: learning_rate · (1 − lr_decay) in every epoch; `exponential`: "
        "learning_rate · (1 − lr_decay)^(epoch − 1), epochs from 1; `cosine`: from learning_rate to 0 along half a "
        "cosine, a little at every step.",
    ),
    "lr_decay": Setting(
        Annotated[float, Real(ge=0, lt=1), POSITIVE_ZERO],
        "training",
        0.0,
        "a number from 0 to below 1",
        "The decay in the schedule; with `cosine` only 0.",
    ),
    "warmup_epochs": Setting(
        Annotated[float, Real(ge=0, le=100_000), POSITIVE_ZERO],
        "training",
        0.0,
        "a number of epochs from 0 up, through which the learning rate rises",
        "Linear warm-up, at every step, before the schedule begins: at most the number of epochs, also a fraction. Two "
        "values of an axis that round to the same number of steps are rejected.",
    ),
    "gradient_clipping": Setting(
        Annotated[float, Real(ge=0), POSITIVE_ZERO],
        "training",
        0.0,
        "the largest norm of the gradient of all parameters, above 0; 0 for no limit",
        "A limit of the gradient. Cells with a limit train one at a time.",
    ),
    "batch_size": Setting(
        Annotated[int, Integer(ge=1)],
        "training",
        128,
        "an integer from 1 up",
        "The number of images in a step, at most the training split.",
    ),
    "epochs": Setting(
        Annotated[int, Integer(ge=1, le=100_000)],
        "training",
        10,
        "an integer from 1 to 100,000",
        "The number of passes through the training split.",
    ),
    "precision": Setting(
        Literal["float32", "tf32", "bf16"],
        "training",
        "float32",
        "'float32', 'tf32' or 'bf16': the precision of the products",
        "How the operands of every matrix product are rounded: `float32` not at all, `tf32` to 11 significant bits, "
        "`bf16` to 8; sums are in float32. Own activations, losses and optimizers train in `float32` alone.",
    ),
    "seed": Setting(
        Annotated[int, Integer(ge=0, lt=2**63)],
        "grid",
        5,
        "a count of seeds from 1 up, a list of seeds from 0 up such as [0, 1, 2], or a rule such as "
        "{ until = 'decided' }",
        "The seeds of each configuration. A count of 5 means the seeds 0 to 4; a rule adds seeds until the results are "
        "certain.",
    ),
}


def _field(key: Setting) -> Any:
    """Return what pydantic knows of a key besides its type: it may be missing, and the schema describes it."""
    return Field(None, title=key.allowed, description=key.meaning)


def _as_list(setting: str, axis: object) -> object:
    """Return an axis as a list: it may be written as one bare value, and a count of seeds means the seeds from 0."""
    if setting == "seed":
        if type(axis) is int and 1 <= axis <= MAX_CELLS:
            return list(range(axis))
        if not isinstance(axis, list):
            raise PydanticCustomError("allowed", "")
    if not isinstance(axis, list):
        return [axis]
    if not axis:
        hint = "; no hidden layer as the only value is [[]]" if setting == "hidden" else ""
        raise _mistake(f"an empty axis; allowed: at least one value{hint}")
    if setting == "hidden" and not any(isinstance(widths, list) for widths in axis):
        raise _mistake(f"given {shown(axis)}; an axis is a list of such lists: [{shown(axis)}]")
    return axis


def _axis(setting: str, rule: Setting) -> Any:
    """Return the type of an axis: a list of the setting's type, in any form that `_as_list` accepts."""
    kind: Any = rule.type
    value = TypeAdapter(kind).json_schema()
    values = {"type": "array", "items": value, "minItems": 1, "uniqueItems": True}
    bare = {"hidden": [], "seed": [{"type": "integer", "minimum": 1}, *seed_rule.schema()]}.get(setting, [value])
    schema = WithJsonSchema({"anyOf": [*bare, values]})
    axis = Annotated[list[kind], BeforeValidator(partial(_as_list, setting)), schema]
    return Annotated[axis, WrapValidator(_seeds)] if setting == "seed" else axis


def _seeds(seeds: object, as_axis: ValidatorFunctionWrapHandler) -> Any:
    """Return a list of seeds, or the rule that a table states."""
    if not isinstance(seeds, dict):
        return as_axis(seeds)
    rule, lines = seed_rule.parse(seeds)
    if lines:
        raise _mistake(*lines)
    return rule


def _section(name: str) -> type[BaseModel]:
    if name == "grid":
        fields: dict[str, Any] = {key: (_axis(key, rule), _field(rule)) for key, rule in RULES.items()}
    else:
        fields = {key: (rule.type, _field(rule)) for key, rule in RULES.items() if rule.home == name}
    return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)


GridFile = create_model(
    "GridFile",
    __config__=ConfigDict(extra="forbid", title="initbench grid file"),
    dataset=(Dataset, _field(RULES["dataset"])),
    **{key: (rule.type, _field(rule)) for key, rule in OTHER_KEYS.items()},
    **{section: (_section(section), Field(None)) for section in SECTIONS},  # type: ignore[call-overload]
)


def is_initializer(name: str) -> bool:
    """Return whether this is the canonical string of an initializer."""
    try:
        return schemes.resolve(name) == name
    except ValueError:
        return False


def by_position(initializer: str) -> dict[str, object] | None:
    """Return the scheme of each layer position, or None if one scheme fills all layers."""
    return schemes.by_position(initializer)


# A plugin's function as a grid file names it: a name, with a digest or parameters, or a table.
OWN_FORMS: tuple[dict[str, Any], ...] = (
    {"type": "string", "pattern": r"^[A-Za-z_]\w*(@[0-9a-f]{20})?(\(.*\))?$"},
    {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
)


def schema() -> dict[str, Any]:
    """Return the JSON schema of the grid file, from the model that validates it.

    A grid file with plugins may name functions that are not initbench's.
    """
    whole: dict[str, Any] = GridFile.model_json_schema()
    for table in (whole, *whole["$defs"].values()):
        for key, property_ in table["properties"].items():
            property_.pop("default", None)  # pydantic's None means only that the key may be missing
            if key in RULES and RULES[key].default is not None and table.get("title") != "grid":
                property_["default"] = RULES[key].default
    sections = {name: whole["properties"].pop(name) for name in SECTIONS}
    sections["dataset"] = whole["properties"]["dataset"]
    with_plugins = {name: {"$ref": f"#/$defs/{name}_with_plugins"} for name in SECTIONS}
    with_plugins["dataset"] = _with_own_functions(sections["dataset"])
    whole["$defs"] |= {f"{name}_with_plugins": _with_own_functions(whole["$defs"][name]) for name in SECTIONS}
    whole["properties"] |= {"dataset": {}, **{name: {"type": "object"} for name in SECTIONS}}
    whole["if"] = {"required": ["plugins"]}
    return {**whole, "then": {"properties": with_plugins}, "else": {"properties": sections}}


def _with_own_functions(node: Any) -> Any:
    """Return a JSON schema in which whatever names a function may name one of a plugin, too."""
    if isinstance(node, list):
        return [_with_own_functions(item) for item in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _with_own_functions(value) for key, value in node.items()}
    forms = changed.get("anyOf", [])
    if forms and "enum" in forms[0]:
        changed["anyOf"] = [*forms, *OWN_FORMS]
    return changed
