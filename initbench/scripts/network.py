"""The lines of a script that build a cell's network, loss and optimizer, as PyTorch writes them."""

import inspect
from collections.abc import Callable, Mapping
from itertools import groupby
from textwrap import wrap
from typing import Any

import torch
from torch import nn

from initbench.errors import UserError
from initbench.functions import pytorch
from initbench.functions.losses import LOSSES, computed_output
from initbench.functions.optimizers import OPTIMIZERS
from initbench.models.architecture import Shape
from initbench.models.built_in import blocks_of
from initbench.models.modules import Branch, module
from initbench.scripts.own import OwnFunction
from initbench.spec.cell import Cell

# The losses as a script writes them, as functions of `output` and `labels`: the lines of the body.
ONE_HOT = "nn.functional.one_hot(labels, output.shape[1]).to(output.dtype)"
LOSS_BODIES: dict[str, Callable[..., list[str]]] = {
    "mse": lambda: [f"return nn.functional.mse_loss(output, {ONE_HOT})"],
    "mae": lambda: [f"return nn.functional.l1_loss(output, {ONE_HOT})"],
    "huber": lambda delta: [f"return nn.functional.huber_loss(output, {ONE_HOT}, delta={delta!r})"],
    "hinge": lambda margin, power: [
        f"over = ({margin!r} - output.gather(1, labels[:, None]) + output).clamp(min=0) ** {power!r}",
        f"return (over * (1 - {ONE_HOT})).sum() / output.numel()",
    ],
}

WIDTH = 108  # of the lines that are indented in a script
MAX_LAYER_LINES = 20


class Placeholder(nn.Module):
    """An own activation, which is not executed here: the expression that makes it."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self.line = line


def network(cell: Cell, shape: Shape, classes: int, own: Mapping[str, OwnFunction]) -> nn.Sequential:
    """Return the modules that a script builds: those of a built-in model, and the output activation."""

    def activation(setting: str, name: str) -> nn.Module:
        function = own.get(setting)
        if function is None:
            return pytorch.activation(name)
        return Placeholder(function.called() if function.is_class else f"{_class_name(setting)}()")

    built_in = "model" not in own
    blocks = blocks_of(cell.model, cell.hidden, classes) if built_in else ()
    layers = module(blocks, shape, lambda: activation("activation", cell.activation), cell.normalization, cell.dropout)
    name = cell.output_activation if "loss" in own else computed_output(cell.loss, cell.output_activation)
    output = activation("output_activation", name)
    return layers if isinstance(output, nn.Identity) else nn.Sequential(*layers, output)


def class_lines(own: Mapping[str, OwnFunction]) -> list[str]:
    """Return the classes that make modules of own activations that are functions."""
    lines = []
    for setting in ("activation", "output_activation"):
        if setting in own and not own[setting].is_class:
            lines += [
                f"class {_class_name(setting)}(nn.Module):",
                "    def forward(self, x):",
                f"        return {own[setting].called('x')}",
                "",
            ]
    return lines


def _class_name(setting: str) -> str:
    return {"activation": "Activation", "output_activation": "OutputActivation"}[setting]


def own_model(cell: Cell, shape: Shape, classes: int, own: Mapping[str, OwnFunction]) -> str:
    """Return the call that builds an own model; an empty string for a built-in one."""
    if "model" not in own:
        return ""
    height, width, channels = shape
    arguments = [str(channels), str(height), str(width), str(classes)]
    if own["model"].takes_activation:
        activation = own.get("activation")
        if activation is None:
            line = f"nn.{pytorch.activation(cell.activation)!r}"
        else:
            line = activation.called() if activation.is_class else "Activation()"
        arguments.append(f"activation=lambda: {line}")
    return own["model"].called(*arguments)


def network_lines(model: nn.Sequential) -> list[str]:
    """Return the arguments of `nn.Sequential`: a line for each layer with the modules after it, repeated ones once.

    Of a network with many different layers, the lines are filled.
    """
    units: list[list[str]] = []
    for part in model:
        if not units or isinstance(part, (nn.Linear, nn.Conv2d, Branch)) or units[-1][0].startswith("Branch("):
            units.append([])
        units[-1].append(expression(part))
    lines = []
    for line, run in groupby(", ".join(unit) for unit in units):
        count = len(list(run))
        lines.append(f"{line}," if count == 1 else f"*(part for _ in range({count}) for part in ({line},)),")
    if len(lines) > MAX_LAYER_LINES:
        return wrapped(" ".join(lines), "")
    return [part for line in lines for part in wrapped(line)]


def wrapped(line: str, indent: str = "    ") -> list[str]:
    """Return an expression in lines of at most `WIDTH` characters, broken at spaces."""
    return wrap(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _convolution(part: nn.Conv2d) -> str:
    stride, padding = part.stride[0], part.padding[0]
    keywords = f", stride={stride}" * (stride != 1) + f", padding={padding}" * (padding != 0)
    return f"nn.Conv2d({part.in_channels}, {part.out_channels}, {part.kernel_size[0]}{keywords})"


# The shortest expressions that build a module of a type. Those of other types are their repr.
EXPRESSIONS: dict[type, Callable[[Any], str]] = {
    Placeholder: lambda part: part.line,
    Branch: lambda part: f"Branch({', '.join(map(expression, part.branch))})",
    nn.Conv2d: _convolution,
    nn.Linear: lambda part: f"nn.Linear({part.in_features}, {part.out_features})",
    nn.Flatten: lambda part: "nn.Flatten()",
    nn.AvgPool2d: lambda part: f"nn.AvgPool2d({part.kernel_size})",
    nn.MaxPool2d: lambda part: f"nn.MaxPool2d({part.kernel_size})",
    nn.BatchNorm1d: lambda part: f"nn.BatchNorm1d({part.num_features})",
    nn.BatchNorm2d: lambda part: f"nn.BatchNorm2d({part.num_features})",
    nn.LayerNorm: lambda part: f"nn.LayerNorm({part.normalized_shape[0]})",
    nn.Dropout: lambda part: f"nn.Dropout({part.p!r})",
}


def expression(part: nn.Module) -> str:
    """Return the expression that builds a module."""
    return EXPRESSIONS.get(type(part), lambda part: f"nn.{part!r}")(part)


def loss_lines(cell: Cell, own: Mapping[str, OwnFunction]) -> list[str]:
    """Return the lines that define `loss_of`, a function of `output` and `labels`."""
    if function := own.get("loss"):
        call = f"{function.called()}(output, labels)" if function.is_class else function.called("output", "labels")
        body = [f"return {call}"]
    else:
        record, parameters = LOSSES.lookup(cell.loss)
        if record.name == "cross_entropy":
            smoothing = f"label_smoothing={parameters['label_smoothing']!r}" if parameters["label_smoothing"] else ""
            return [f"loss_of = nn.CrossEntropyLoss({smoothing})"]
        body = LOSS_BODIES[record.name](**parameters)
    return ["", "def loss_of(output, labels):", *(f"    {line}" for line in body), ""]


def optimizer_line(cell: Cell, own: Mapping[str, OwnFunction]) -> str:
    """Return the call of PyTorch's optimizer of `model.parameters()`, with the arguments that are not its defaults."""
    rate = cell.rate(1)
    if function := own.get("optimizer"):
        return function.called("model.parameters()", "lr=RATE" if function.is_class else "RATE")
    record, parameters = OPTIMIZERS.lookup(cell.optimizer)
    try:
        built: Any = record.torch([torch.zeros(1, requires_grad=True)], rate, **parameters)
    except ValueError as error:
        raise UserError(f"optimizer = {cell.optimizer!r}: PyTorch does not have it ({error})") from None
    defaults = inspect.signature(type(built)).parameters
    changed = {
        name: value
        for name, value in built.defaults.items()
        if name != "lr" and name in defaults and value != defaults[name].default
    }
    return f"torch.optim.{type(built).__name__}(model.parameters(), lr=RATE{_keywords(changed)})"


def _keywords(arguments: dict[str, Any]) -> str:
    return "".join(f", {name}={value!r}" for name, value in arguments.items())
