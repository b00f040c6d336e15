"""The records of a plugin's functions, in a process that executes its code: a worker, or the host that tries it.

A function is called as the records of initbench's own are, and what it returns is validated: a result of another shape
or dtype, or with NaN, raises PluginError with the plugin's file and the reason.
"""

import ast
import inspect
import random
import sys
from collections.abc import Callable, Mapping
from functools import partial, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import numpy as np

from initbench.data.arrays import Arrays
from initbench.data.own import LOADERS, Loader, arrays_of
from initbench.errors import PluginError, UserError, shown
from initbench.initializers._base import INITIALIZERS, NETWORK, WEIGHTS, WEIGHTS_OR_BIAS, Initializer, floating
from initbench.initializers.model import Network
from initbench.plugins import store
from initbench.plugins.bundle import Bundle
from initbench.plugins.loader import load, located
from initbench.plugins.marks import kind_of
from initbench.registry import SUPPLIED, Entry, Parameter, documentation

if TYPE_CHECKING:
    from torch import Tensor, nn

# The parameters of a function are its arguments of these types.
PARAMETER_KINDS = (float, int, bool)

# The arguments, by kind, that training supplies.
SUPPLIED_BY_KIND: Mapping[str, frozenset[str]] = {
    "initializer": SUPPLIED,
    "activation": frozenset(),
    "model": frozenset({"activation"}),
    "loss": frozenset(),
    "optimizer": frozenset({"lr", "learning_rate"}),
    "dataset": frozenset(),
}

# The first arguments of a model's factory. A bare function, or class, is a model if it has them.
MODEL_ARGUMENTS = ("channels", "height", "width", "classes")

# The first arguments of a function, by kind.
FIRST_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "initializer": ("shape",),
    "activation": ("x",),
    "model": MODEL_ARGUMENTS,
    "loss": ("output", "labels"),
    "optimizer": ("parameters", "learning_rate"),
    "dataset": (),
}

# How many arrays as large as the weights an own optimizer is assumed to hold, the number of Adam's.
OPTIMIZER_ARRAYS = 6

_registered: dict[str, dict[tuple[str, str], Entry]] = {}


def register(bundle: Bundle) -> dict[tuple[str, str], Entry]:
    """Execute a plugin and add the records of its functions; returns them by kind and short name.

    A plugin is executed once in a process. Raises UserError with the plugin's file, the line and the message.
    """
    if bundle.digest not in _registered:
        seed_generators()
        module = load(bundle)
        records = {}
        for (kind, name), function in functions(module, bundle).items():
            record = records[kind, name] = _record(kind, name, function, bundle)
            _registry(kind).add(record)
        _registered[bundle.digest] = records
        store.add(bundle)
    return _registered[bundle.digest]


def seed_generators(seed: int = 0) -> None:
    """Seed every generator that a plugin may draw from without one of its own: it draws the same in every process."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


def functions(module: ModuleType, bundle: Bundle) -> dict[tuple[str, str], Callable[..., Any]]:
    """Return a plugin's functions by kind and name: the marked ones, and its own bare ones (see `_kind_of_bare`).

    Raises UserError for a name that is defined twice, or if there is no such function.
    """
    by_name: dict[tuple[str, str], Callable[..., Any]] = {}
    for name, thing in vars(module).items():
        if not callable(thing):
            continue
        kind = kind_of(thing) or _kind_of_bare(name, thing, module)
        if kind:
            own_name = getattr(thing, "__name__", name)
            if by_name.setdefault((kind, own_name), thing) is not thing:
                raise UserError(f"{bundle.path}: registers two {kind}s as {own_name}; use different names")
    lines = _definitions(bundle)
    for kind, name in by_name:
        if len(lines.get(name, ())) > 1:
            raise UserError(
                f"{defined_at(name, bundle)}: {name} is defined {len(lines[name])} times; use different names"
            )
        if "_" * 2 in name[:2] or not name.isascii() or not name.isidentifier():
            raise UserError(f"{bundle.path}: {kind} {shown(name)}; allowed: a name of ASCII letters, digits and _")
    if not by_name:
        raise UserError(
            f"{bundle.path}: defines no function that initbench can use; allowed: a function whose first argument is "
            f"shape (an initializer), or whose first arguments are {', '.join(MODEL_ARGUMENTS)} (a model), or whose "
            "name begins with load (a data set), or one marked with @ib.initializer, @ib.activation, @ib.model, "
            "@ib.loss, @ib.optimizer or @ib.dataset"
        )
    return by_name


def _kind_of_bare(name: str, thing: Callable[..., Any], module: ModuleType) -> str:
    """Return the kind of a function or class of the module itself, by its arguments and its name; else empty.

    An initializer's first argument is `shape`; those of a model are `MODEL_ARGUMENTS`; the name of a function that
    loads a data set is `load`, or begins with `load_`, and it can be called without arguments.
    """
    is_own = inspect.isroutine(thing) or isinstance(thing, type)
    if not is_own or thing.__module__ != module.__name__ or name.startswith("_"):
        return ""
    try:
        arguments = list(inspect.signature(thing).parameters.values())
    except (ValueError, TypeError):  # a class whose constructor is not written in Python
        return ""
    names = tuple(argument.name for argument in arguments)
    if names[: len(MODEL_ARGUMENTS)] == MODEL_ARGUMENTS:
        return "model"
    if isinstance(thing, type):
        return ""
    if names[:1] == ("shape",):
        return "initializer"
    has_defaults = all(a.default is not a.empty or a.kind in (a.VAR_POSITIONAL, a.VAR_KEYWORD) for a in arguments)
    return "dataset" if has_defaults and (name == "load" or name.startswith("load_")) else ""


def defined_at(name: str, bundle: Bundle, argument: str = "") -> str:
    """Return where a plugin defines a function, as tracebacks do: `my_schemes.py, line 5, in scaled_orthogonal`.

    `name` is a canonical string; with `argument` the line is that of this argument. A function that the plugin imports
    has no line.
    """
    short = name.partition("@")[0]
    lines = _definitions(bundle).get(short)
    if not lines:
        return f"{bundle.path}: {short}"
    return f"{bundle.path}, line {_argument_line(bundle, lines[-1], argument) or lines[-1]}, in {short}"


def _argument_line(bundle: Bundle, line: int, argument: str) -> int:
    """Return the line of an argument of the function, or class, that is defined at a line; 0 if it is not there."""
    node: ast.stmt | None = next(
        node for node in ast.parse(bundle.files[bundle.main]).body if node.lineno == line and hasattr(node, "name")
    )
    if isinstance(node, ast.ClassDef):
        node = next((part for part in node.body if getattr(part, "name", "") == "__init__"), None)
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return 0
    arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    return next((part.lineno for part in arguments if part.arg == argument), 0)


def _definitions(bundle: Bundle) -> dict[str, list[int]]:
    """Return the lines of the definitions at the top level of a plugin's main file, by name."""
    lines: dict[str, list[int]] = {}
    for node in ast.parse(bundle.files[bundle.main]).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            lines.setdefault(node.name, []).append(node.lineno)
    return lines


def _registry(kind: str) -> Any:
    if kind == "initializer":
        return INITIALIZERS
    from initbench.functions.activations import ACTIVATIONS
    from initbench.functions.losses import LOSSES
    from initbench.functions.optimizers import OPTIMIZERS
    from initbench.models.built_in import MODELS

    return {
        "activation": ACTIVATIONS,
        "model": MODELS,
        "loss": LOSSES,
        "optimizer": OPTIMIZERS,
        "dataset": LOADERS,
    }[kind]


def _record(kind: str, name: str, function: Callable[..., Any], bundle: Bundle) -> Entry:
    fields: dict[str, Any] = {"name": f"{name}@{bundle.digest}", "tags": frozenset(), "supplied": frozenset()}
    try:
        arguments = _arguments(function)
        fields["parameters"] = _parameters(kind, name, function, arguments)
    except (ValueError, TypeError, NameError) as error:
        helper = "" if kind_of(function) else f"; if it is not {_registry(kind).article}, begin its name with _"
        origin = defined_at(name, bundle, error.argument if isinstance(error, _ArgumentError) else "")
        raise UserError(f"{origin}: {error}{helper}") from None
    return {
        "initializer": _initializer,
        "activation": _activation,
        "model": _model,
        "loss": _loss,
        "optimizer": _optimizer,
        "dataset": _dataset,
    }[kind](function, arguments, bundle, fields)


# ---------------------------------------------------------------------------------------------------------------------
# Arguments


class _ArgumentError(ValueError):
    """An argument of a plugin's function that cannot be one."""

    def __init__(self, argument: str, message: str) -> None:
        super().__init__(message)
        self.argument = argument


def _arguments(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the arguments of a function, or of a class's constructor; annotations are evaluated."""
    called: Any = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    arguments = list(inspect.signature(called, eval_str=True).parameters.values())
    return arguments[isinstance(function, type) :]


def _parameters(
    kind: str, name: str, function: Callable[..., Any], arguments: list[inspect.Parameter]
) -> tuple[Parameter, ...]:
    """Return the arguments that a grid file may set: of a class, those with a default of a suitable type."""
    positional = len(FIRST_ARGUMENTS[kind])
    is_class = isinstance(function, type)
    if is_class and kind != "model":
        positional = 1 if kind == "optimizer" else 0
    accepted = [a for a in arguments if a.kind is not a.KEYWORD_ONLY] if kind == "model" else arguments
    if len(accepted) < positional and not any(a.kind is a.VAR_POSITIONAL for a in arguments):
        raise ValueError(f"takes {len(accepted)} arguments; allowed: {', '.join(FIRST_ARGUMENTS[kind])}")
    # Of a class, or of a function that was not marked, an argument of another type keeps its default.
    is_lenient = is_class or (kind == "dataset" and not kind_of(function))
    parameters = []
    for argument in arguments[positional:]:
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            continue
        if argument.name in SUPPLIED_BY_KIND[kind]:
            continue
        if argument.kind is argument.POSITIONAL_ONLY or argument.default is argument.empty:
            raise _ArgumentError(
                argument.name,
                f"its argument {argument.name} has no default; allowed: arguments with a default, as "
                f"{argument.name}: {_example(kind, argument.annotation)}",
            )
        try:
            parameters.append(_parameter(argument))
        except ValueError as error:
            if not is_lenient and argument.default is not None:
                raise _ArgumentError(argument.name, str(error)) from None
    return tuple(parameters)


def _example(kind: str, annotation: object) -> str:
    """Return the type and the default of an argument in an example."""
    by_type = {float: "float = 1.0", int: "int = 8", bool: "bool = False"}
    default = by_type[int if kind in ("model", "dataset") else float]
    return next((example for allowed, example in by_type.items() if annotation is allowed), default)


def _parameter(argument: inspect.Parameter) -> Parameter:
    """Return a parameter; its type is its annotation, or without one that of its default."""
    annotation, default = argument.annotation, argument.default
    if get_origin(annotation) is Literal and {*map(type, get_args(annotation))} == {str}:
        if any(not text.isprintable() or set(text) & {"'", '"', "\\"} for text in get_args(annotation)):
            raise ValueError(
                f"its parameter {argument.name} has choices with quotation marks or backslashes; use others"
            )
        parameter = Parameter(argument.name, str, default, get_args(annotation))
    else:
        kind = type(default) if annotation is argument.empty else annotation
        if kind not in PARAMETER_KINDS:
            type_name = getattr(kind, "__name__", kind)
            raise ValueError(
                f"its parameter {argument.name} is of type {type_name}; allowed: float, int, bool or Literal['a', 'b']"
            )
        parameter = Parameter(argument.name, kind, default)
    try:
        return Parameter(parameter.name, parameter.kind, parameter.convert(default), parameter.choices)
    except ValueError as error:
        raise ValueError(f"its default {error}") from None


def _calling(function: Callable[..., Any], bundle: Bundle) -> Callable[..., Any]:
    """Return the function with its errors as PluginError, with the plugin's file, the line and the message."""

    @wraps(function, updated=())
    def called(*arguments: Any, **keywords: Any) -> Any:
        try:
            return function(*arguments, **keywords)
        except (Exception, SystemExit) as error:
            if isinstance(error, MemoryError):
                raise
            raise PluginError(located(error, bundle)) from error

    return called


# ---------------------------------------------------------------------------------------------------------------------
# Initializers


def _initializer(
    function: Callable[..., Any], arguments: list[inspect.Parameter], bundle: Bundle, fields: dict[str, Any]
) -> Initializer:
    called, name = _calling(function, bundle), fields["name"]
    takes = {argument.name for argument in arguments}
    origin = defined_at(name, bundle)
    if arguments[0].name == "model":

        @wraps(called)
        def of_network(model: Network, *, seed: Any = None, dtype: Any = np.float32, **keywords: Any) -> Any:
            supplied = {"seed": seed, "dtype": dtype}
            parameters = called(model, **keywords, **{key: v for key, v in supplied.items() if key in takes})
            return _checked_layers(parameters, model, dtype if "dtype" in takes else None, dtype, origin)

        fields |= {"tags": frozenset({"network"}), "supplied": frozenset({"seed", "dtype"})}
        return Initializer(**fields, function=of_network, fit=NETWORK)

    @wraps(called)
    def of_layer(shape: tuple[int, ...], *, dtype: Any = np.float32, **keywords: Any) -> Any:
        if "dtype" in takes:
            keywords["dtype"] = dtype
        W = called(shape, **keywords)
        return _checked(W, tuple(shape), dtype if "dtype" in takes else None, dtype, origin)

    fields["supplied"] = frozenset(SUPPLIED & takes | {"dtype"})
    fits_bias = _fits_bias(of_layer, fields)
    fields["tags"] = frozenset({"single-layer", "bias"} if fits_bias else {"single-layer"})
    return Initializer(**fields, function=of_layer, fit=WEIGHTS_OR_BIAS if fits_bias else WEIGHTS)


def _fits_bias(scheme: Callable[..., Any], fields: Mapping[str, Any]) -> bool:
    """Return whether a scheme takes the one dimension of a bias; it is tried."""
    supplied = {"seed": 0, "activation": "relu", "position": "hidden", "depth": 3, "fan_in": 4}
    try:
        with np.errstate(all="ignore"):
            scheme((3,), **{key: value for key, value in supplied.items() if key in fields["supplied"]})
    except ValueError:
        return False
    return True


def _checked(W: Any, shape: tuple[int, ...], required: Any, dtype: Any, origin: str) -> Any:
    """Return weights that a plugin computed, validated; PluginError with the reason.

    `required` is the dtype that they must have, or None if they are to be rounded to `dtype`.
    """
    if not isinstance(W, np.ndarray):
        hint = (
            "; a tensor's array is tensor.detach().numpy()" if type(W).__module__.partition(".")[0] == "torch" else ""
        )
        raise PluginError(f"{origin}: returned {type(W).__name__}; allowed: a NumPy array of shape {shape}{hint}")
    if W.shape != shape:
        raise PluginError(
            f"{origin}: returned shape {W.shape} for shape = {shape}; allowed: the shape that it was given"
            f"{', [fan_in, fan_out]' * (W.shape == shape[::-1])}"
        )
    if required is not None and W.dtype != floating(required):
        raise PluginError(
            f"{origin}: returned dtype {W.dtype} for dtype = {floating(required)}; allowed: the dtype that it was "
            "given: end with .astype(dtype)"
        )
    if W.dtype.kind not in "fV":
        raise PluginError(f"{origin}: returned dtype {W.dtype}; allowed: a floating type")
    with np.errstate(over="ignore"):
        W = W.astype(floating(dtype), copy=False)
    if not np.isfinite(W).all():
        count = int((~np.isfinite(W)).sum())
        raise PluginError(f"{origin}: returned NaN or infinity in {count:,} of {W.size:,} weights of shape {shape}")
    return W


def _checked_layers(parameters: Any, model: Network, required: Any, dtype: Any, origin: str) -> Any:
    form = f"allowed: a list of {len(model.layers)} pairs, the weights and the bias of each layer"
    if not isinstance(parameters, list | tuple) or len(parameters) != len(model.layers):
        raise PluginError(f"{origin}: returned {shown(parameters)}; {form}")
    checked = []
    weights = [(*shape[:-1], groups * shape[-1]) for shape, groups in zip(model.layers, model.groups, strict=True)]
    biases = [bias.shape for bias in model.start_biases()]
    for pair, *shapes in zip(parameters, weights, biases, strict=True):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise PluginError(f"{origin}: returned {shown(pair)} for a layer; {form}")
        checked.append(tuple(_checked(a, s, required, dtype, origin) for a, s in zip(pair, shapes, strict=True)))
    return checked


# ---------------------------------------------------------------------------------------------------------------------
# Data sets


def _dataset(
    function: Callable[..., Any], arguments: list[inspect.Parameter], bundle: Bundle, fields: dict[str, Any]
) -> Entry:
    called, origin = _calling(function, bundle), defined_at(fields["name"], bundle)

    @wraps(called)
    def load(**parameters: Any) -> Arrays:
        seed_generators()
        value = called(**parameters)
        try:
            return arrays_of(value)
        except (UserError, ValueError) as error:  # a ragged list is a ValueError
            raise PluginError(f"{origin}: {str(error).splitlines()[0]}") from None

    return Loader(**fields, function=load)


# ---------------------------------------------------------------------------------------------------------------------
# Models, activations, losses and optimizers, in PyTorch


def _model(
    function: Callable[..., Any], arguments: list[inspect.Parameter], bundle: Bundle, fields: dict[str, Any]
) -> Entry:
    from initbench.models.built_in import ModelRecord

    called, origin = _calling(function, bundle), defined_at(fields["name"], bundle)

    @wraps(called)
    def build(channels: int, height: int, width: int, classes: int, **keywords: Any) -> "nn.Module":
        from torch import nn

        module = called(channels, height, width, classes, **keywords)
        if not isinstance(module, nn.Module):
            raise PluginError(f"{origin}: returned {shown(module)}; allowed: a torch.nn.Module")
        return module

    fields["supplied"] = SUPPLIED_BY_KIND["model"] & {argument.name for argument in arguments}
    return ModelRecord(**fields, function=build)


def _activation(
    function: Callable[..., Any], arguments: list[inspect.Parameter], bundle: Bundle, fields: dict[str, Any]
) -> Entry:
    from initbench.functions.activations import Activation

    module = partial(_module, function, bundle)

    def of_array(x: Any, **parameters: Any) -> Any:
        import torch

        with torch.no_grad():
            return module(**parameters).double()(torch.from_numpy(np.array(x, np.float64))).numpy()

    of_array.__doc__ = documentation(function)
    fields["tags"] = frozenset({"hidden", "output"})
    return Activation(**fields, function=of_array, module=module)


def _module(function: Callable[..., Any], bundle: Bundle, **parameters: Any) -> "nn.Module":
    """Return the module of an own activation."""
    from torch import nn

    if isinstance(function, type):
        module: nn.Module = _calling(function, bundle)(**parameters)
        return module
    called = _calling(function, bundle)

    class OfFunction(nn.Module):
        def forward(self, x: "Tensor") -> "Tensor":
            value: Tensor = called(x, **parameters)
            return value

    return OfFunction()


def _loss(
    function: Callable[..., Any], arguments: list[inspect.Parameter], bundle: Bundle, fields: dict[str, Any]
) -> Entry:
    from initbench.functions.losses import Loss

    called = _calling(function, bundle)

    def of_tensors(output: "Tensor", labels: "Tensor", **parameters: Any) -> "Tensor":
        if isinstance(function, type):
            value: Tensor = called(**parameters)(output, labels)
        else:
            value = called(output, labels, **parameters)
        return value

    def of_arrays(output: Any, labels: Any, **parameters: Any) -> float:
        import torch

        return float(
            of_tensors(torch.from_numpy(np.asarray(output)), torch.from_numpy(np.asarray(labels)), **parameters)
        )

    of_arrays.__doc__ = documentation(function)
    return Loss(**fields, function=of_arrays, torch=of_tensors)


def _optimizer(
    function: Callable[..., Any], arguments: list[inspect.Parameter], bundle: Bundle, fields: dict[str, Any]
) -> Entry:
    from initbench.functions.optimizers import Optimizer

    called = _calling(function, bundle)

    def of_parameters(parameters: Any, learning_rate: float, **keywords: Any) -> Any:
        if isinstance(function, type):
            return called(parameters, lr=learning_rate, **keywords)
        return called(parameters, learning_rate, **keywords)

    def one_step(weights: Any, gradient: Any, state: dict[str, Any], *, learning_rate: float, **keywords: Any) -> Any:
        import torch

        if "weights" not in state:
            state["weights"] = torch.nn.Parameter(torch.from_numpy(np.array(weights)))
            state["optimizer"] = of_parameters([state["weights"]], learning_rate, **keywords)
        state["weights"].grad = torch.from_numpy(np.array(gradient))
        state["optimizer"].step()
        return state["weights"].detach().numpy().copy()

    one_step.__doc__ = documentation(function)
    return Optimizer(**fields, function=one_step, torch=of_parameters, n_arrays=OPTIMIZER_ARRAYS)
