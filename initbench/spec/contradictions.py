"""Contradictions between the valid settings of a grid: one line each, with what to change."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from initbench.data import datasets
from initbench.errors import shown
from initbench.functions.forms import has_fused_forms
from initbench.initializers import INITIALIZERS, schemes
from initbench.models.perceptron import layers
from initbench.registry import shorten_digests
from initbench.spec.gridfile import too_many_cells
from initbench.spec.seed_rule import SeedRule
from initbench.spec.settings import MAX_CELLS

RESERVED_NAMES = ("asv", "asv-html", "example-keepcoding")

# On Windows these name devices, with any extension, and a dot at the end is dropped.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

# The settings that name functions, which may have no fused form, and for each a function that has.
BUILT_IN = {"activation": "relu", "output_activation": "identity", "loss": "cross_entropy", "optimizer": "sgd"}

Axes = Mapping[str, tuple[Any, ...]]
Sources = Mapping[str, datasets.Source]


def contradictions(values: Mapping[str, Any], axes: Axes, sources: Sources) -> list[str]:
    """Return a line for each mistake between values; settings in `values["wrong"]`, which are invalid, are skipped."""
    wrong = values.get("wrong", set())
    lines = []
    if values["name"].lower() in RESERVED_NAMES:
        lines.append(f"name = {values['name']!r} is reserved; allowed: any other name than {', '.join(RESERVED_NAMES)}")
    elif DEVICES.fullmatch(values["name"]) or values["name"].endswith("."):
        lines.append(
            f"name = {values['name']!r} is not a valid folder name on every system; allowed: another, such as 'mine'"
        )
    if "initializer" not in values and not {"initializer", "grid"} & wrong:
        lines.append('grid.initializer is missing; give at least one, such as initializer = ["he_normal", "zeros"]')
    rule = values.get("seed")
    decided = isinstance(rule, SeedRule) and rule.half_width is None
    if decided and "initializer" in values and "initializer" not in wrong and len(axes["initializer"]) == 1:
        lines.append(
            "grid.seed: until = 'decided' with one initializer has nothing to decide; add initializers, or use "
            "{ until_halfwidth = 0.002 }"
        )
    for setting, axis in axes.items():
        lines += [
            f"grid.{setting}: {shown(value)}{_also(value)} is on this axis more than once; allowed: each value once"
            for value, count in (Counter(axis).items() if len(set(axis)) < len(axis) else ())
            if count > 1
        ]
    if not {"hidden", "activation", "output_activation"} & wrong:
        lines += _of_activations(axes["hidden"], axes["activation"], axes["output_activation"])
        if not lines and not {"dataset", "initializer", "bias_initializer"} & wrong:
            lines += _of_initializers(axes, sources)
    if not {*BUILT_IN, "precision"} & wrong:
        lines += _of_plain_cells(axes)
    if not {"dataset", "train_size", "batch_size"} & wrong:
        for source in sources.values():
            lines += _of_sizes(source, axes["train_size"], axes["batch_size"])
    count = math.prod(len(axis) for axis in axes.values())
    if count > MAX_CELLS:
        lines.append(too_many_cells(count))
    return lines


def _of_activations(hidden: tuple[str, ...], activations: tuple[str, ...], outputs: tuple[str, ...]) -> list[str]:
    lines = []
    if "softmax" in activations and any(hidden):
        widths = [int(n) for n in next(filter(None, hidden)).split("-")]
        lines.append(
            f"activation = 'softmax' with hidden = {widths} is not allowed: softmax is an output activation; "
            "set it as model.output_activation, or remove the hidden layers"
        )
    fixed = [output for output in outputs if output != "same"]
    if "" in hidden and len(activations) > 1 and fixed:
        lines.append(
            f"{len(activations)} activations with hidden = [] and output_activation = {fixed[0]!r} would be the same "
            "cell several times: without a hidden layer only the output has an activation; "
            "set output_activation = 'same', or add hidden layers"
        )
    if "same" in outputs:
        lines += [
            f"output_activation = {output!r} beside 'same' would make the same cell twice where activation = "
            f"{output!r}; keep one of the two"
            for output in fixed
            if output in activations
        ]
    return lines


def _of_plain_cells(axes: Axes) -> list[str]:
    """Return lines about functions without fused forms, which train in float32 alone."""
    rounded = [precision for precision in axes["precision"] if precision != "float32"]
    lines = []
    for setting in BUILT_IN if rounded else ():
        for name in axes[setting]:
            functions = {**BUILT_IN, setting: name}
            if name != "same" and not has_fused_forms(**functions):
                lines.append(
                    f"precision = {rounded[0]!r} with {setting} = {shorten_digests(name)!r} is not allowed: a function "
                    "without a fused form trains in float32 alone; set precision = 'float32'"
                )
    return lines


def _of_initializers(axes: Axes, sources: Sources) -> list[str]:
    """Return lines about initializers that cannot fill a network of this grid, or would fill one identically."""
    lines: dict[str, None] = {}  # in order, each once
    initializers = {
        setting: [name for name in axes[setting] if name is not None] for setting in ("initializer", "bias_initializer")
    }
    biases = initializers["bias_initializer"]
    for name in filter(schemes.sets_biases, initializers["initializer"] if len(biases) > 1 else []):
        lines[
            f"initializer = {name!r} with bias_initializer = {biases} would be the same cell {len(biases)} times: "
            f"it sets the biases itself; remove it, or the several bias initializers, from this grid"
        ] = None
    for hidden, source in itertools.product(axes["hidden"], sources.values()):
        network = layers(hidden, source.pixels, source.classes)
        widths = [out for _, out in network[:-1]]
        functions = itertools.product(axes["activation"], axes["output_activation"])
        used = dict.fromkeys(activation if widths or output == "same" else output for activation, output in functions)
        for setting, names in initializers.items():
            first_name: dict[tuple[str, ...], str] = {}  # by the schemes of the layers
            for name in names:
                first = first_name.setdefault(schemes.of_layers(name, len(network)), name)
                if first != name:
                    lines[
                        f"{setting} = {name!r} with hidden = {widths} would be the same cell as {first!r}: "
                        f"they differ only in layer positions that this network does not have; keep one of the two"
                    ] = None
            for activation, name in itertools.product(used, names):
                if why := schemes.unfit(name, network, activation, bias=setting == "bias_initializer"):
                    and_activation = f" and activation = {activation!r}" if activation in why else ""
                    lines[f"{setting} = {name!r} with hidden = {widths}{and_activation} is not allowed: {why}"] = None
    return list(lines)


def _of_sizes(source: datasets.Source, train_sizes: tuple[int | None, ...], batch_sizes: tuple[int, ...]) -> list[str]:
    sizes = [source.train_size if size is None else size for size in train_sizes]
    smallest = min(*sizes, source.train_size)
    too_large = [
        f"train_size = {size} is not allowed; allowed: at most {source.train_size}, the training split of {source.name}"
        for size in sizes
        if size > source.train_size
    ]
    return too_large + [
        f"batch_size = {batch} is not allowed; allowed: at most {smallest}, the size of the training split "
        "(or train_size)"
        for batch in batch_sizes
        if batch > smallest
    ]


def _also(value: object) -> str:
    """Return the other names of an initializer, in parentheses, or an empty string."""
    names = [alias.name for alias in INITIALIZERS.aliases_of(value)] if isinstance(value, str) and value else []
    return f" (also named {', '.join(names)})" * bool(names)
