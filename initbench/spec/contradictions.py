"""Contradictions between the valid settings of a grid: one line each, with what to change."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from initbench.data import datasets
from initbench.data.augmentation import misfit
from initbench.errors import shape_text, shown
from initbench.initializers import INITIALIZERS, schemes
from initbench.models import own
from initbench.models.built_in import MODELS, PERCEPTRON
from initbench.models.perceptron import widths
from initbench.spec.cell import LOOP, Cell, warmup_steps
from initbench.spec.gridfile import too_many_cells
from initbench.spec.networks import networks, specified
from initbench.spec.seed_rule import SeedRule
from initbench.spec.settings import MAX_CELLS, RULES

RESERVED_NAMES = ("asv", "asv-html", "example-keepcoding")

# On Windows these name devices, with any extension, and a dot at the end is dropped.
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

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
    if not {"hidden", "model", "activation", "output_activation", "normalization", "dropout"} & wrong:
        hidden = axes["hidden"] if PERCEPTRON in axes["model"] else ()
        lines += _of_activations(hidden, axes["activation"], axes["output_activation"])
        lines += _of_models(values, axes, {} if "dataset" in wrong else sources)
        lines += _of_batch_normalization(axes)
        if not lines and not {"dataset", "initializer", "bias_initializer"} & wrong:
            lines += _of_initializers(axes, sources)
    if not {*LOOP, "precision"} & wrong:
        lines += _of_plain_cells(axes)
    if not {"dataset", "augment"} & wrong:
        lines += _of_augmentation(axes, sources)
    if not {"dataset", "train_size", "batch_size"} & wrong:
        by_source = (_of_sizes(source, axes["train_size"], axes["batch_size"]) for source in sources.values())
        lines += itertools.chain.from_iterable(by_source)
        lines += [] if "warmup_epochs" in wrong else _of_warm_ups(axes, sources)
    if not {"lr_schedule", "lr_decay", "warmup_epochs", "epochs"} & wrong:
        lines += _of_schedules(axes)
    count = math.prod(len(axis) for axis in axes.values())
    if count > MAX_CELLS:
        lines.append(too_many_cells(count))
    return lines


def _of_activations(hidden: tuple[str, ...], activations: tuple[str, ...], outputs: tuple[str, ...]) -> list[str]:
    lines = []
    if "softmax" in activations and any(hidden):
        lines.append(
            f"activation = 'softmax' with hidden = {list(widths(next(filter(None, hidden))))} is not allowed: softmax "
            "is an output activation; set it as model.output_activation, or remove the hidden layers"
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


def _of_models(values: Mapping[str, Any], axes: Axes, sources: Sources) -> list[str]:
    """Return lines about models that cannot be built, and about settings that they do not have."""
    others = [model for model in axes["model"] if model != PERCEPTRON]
    hidden, lines = [list(widths(value)) for value in axes["hidden"]], []
    if others and "hidden" in values and PERCEPTRON not in axes["model"]:
        lines.append(
            f"hidden = {hidden[0]} with model = {others[0]!r} is not allowed: only a perceptron has hidden layers to "
            "set; remove it"
        )
    elif others and len(hidden) > 1:
        lines.append(
            f"{len(hidden)} values of hidden with model = {others[0]!r} would be the same cell {len(hidden)} times: "
            "only a perceptron has hidden layers to set; use a grid for each model"
        )
    if "softmax" in axes["activation"] and others:
        lines.append(
            f"activation = 'softmax' with model = {others[0]!r} is not allowed: softmax is an output activation; "
            "set it as model.output_activation"
        )
    without_layers = PERCEPTRON in axes["model"] and [] in hidden
    for setting in ("normalization", "dropout"):
        set_values = [value for value in axes[setting] if value != RULES[setting].default]
        for model in others if set_values else ():
            if "@" in model:
                lines.append(
                    f"{setting} = {set_values[0]!r} with model = {model!r} is not allowed: it is a setting of "
                    "initbench's models; write it into your own, or make it one of its parameters"
                )
        if set_values and without_layers:
            lines.append(
                f"{setting} = {set_values[0]!r} with hidden = [] is not allowed: it stands after hidden layers; set "
                f"{setting} = {RULES[setting].default!r}, or add hidden layers"
            )
    for model in others:
        record = MODELS.get(model.partition("(")[0])
        if "@" in model and record and len(axes["activation"]) > 1 and "activation" not in record.supplied:
            lines.append(
                f"{len(axes['activation'])} activations with model = {model!r} would be the same network several "
                "times: it takes no activation; give it an argument of this name, or set one activation"
            )
    for (model, layer_widths, normalization), source in itertools.product(specified(axes), sources.values()):
        try:
            if own.is_known(model, source.shape, source.classes):
                own.network_of(model, layer_widths, normalization, source.shape, source.classes)
        except ValueError as error:
            images = f"dataset = {source.name!r} ({shape_text(source.shape)})"
            lines.append(f"model = {model!r} with {images} is not allowed: {error}")
    return list(dict.fromkeys(lines))


def _of_batch_normalization(axes: Axes) -> list[str]:
    if "batch" not in axes["normalization"] or 1 not in axes["batch_size"]:
        return []
    return [
        "normalization = 'batch' with batch_size = 1 is not allowed: one image has no variance; set normalization = "
        "'layer', or larger batches"
    ]


def _of_plain_cells(axes: Axes) -> list[str]:
    """Return lines about cells that the plain loop trains, in float32 alone."""
    rounded = [precision for precision in axes["precision"] if precision != "float32"]
    return [
        f"precision = {rounded[0]!r} with {setting} = {value!r} is not allowed: it trains by the plain loop, in "
        "float32 alone; set precision = 'float32'"
        for setting in (LOOP if rounded else ())
        for value in axes[setting]
        if value != "same" and not Cell(**{setting: value}).is_fused
    ]


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
    for network in networks(axes, sources):
        shapes, words = network.architecture.shapes, network.words
        is_perceptron = network.architecture.is_perceptron
        functions = itertools.product(axes["activation"], axes["output_activation"])
        hidden = len(shapes) > 1
        used = dict.fromkeys(activation if hidden or output == "same" else output for activation, output in functions)
        for setting, names in initializers.items():
            first_name: dict[tuple[str, ...], str] = {}  # by the schemes of the layers
            for name in names:
                first = first_name.setdefault(schemes.of_layers(name, len(shapes)), name)
                if first != name:
                    lines[
                        f"{setting} = {name!r} with {words} would be the same cell as {first!r}: "
                        f"they differ only in layer positions that this network does not have; keep one of the two"
                    ] = None
            bias = setting == "bias_initializer"
            for activation, name in itertools.product(used, names):
                if why := schemes.unfit(name, shapes, activation, bias=bias, is_perceptron=is_perceptron):
                    and_activation = f" and activation = {activation!r}" if activation in why else ""
                    lines[f"{setting} = {name!r} with {words}{and_activation} is not allowed: {why}"] = None
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


def _of_augmentation(axes: Axes, sources: Sources) -> list[str]:
    """Return lines about images that cannot be augmented."""
    return [
        f"augment = {augment!r} with dataset = {source.name!r} is not allowed: {why}; set augment = 'none'"
        for augment, source in itertools.product(axes["augment"], sources.values())
        if (why := misfit(augment, source.shape))
    ]


def _of_schedules(axes: Axes) -> list[str]:
    """Return lines about schedules that say two things, or do not fit into the epochs."""
    lines = [
        f"lr_decay = {decay!r} with lr_schedule = 'cosine' is not allowed: a cosine lowers the learning rate to 0 "
        "itself; set lr_decay = 0, or another schedule"
        for decay in axes["lr_decay"]
        if decay and "cosine" in axes["lr_schedule"]
    ]
    epochs = min(axes["epochs"])
    return lines + [
        f"warmup_epochs = {warmup!r} with epochs = {epochs} is not allowed; allowed: at most the epochs"
        for warmup in axes["warmup_epochs"]
        if warmup > epochs
    ]


def _of_warm_ups(axes: Axes, sources: Sources) -> list[str]:
    """Return lines about warm-ups of one number of steps; one of a single step is as none."""
    lengths = [
        source.train_size if size is None else size for size in axes["train_size"] for source in sources.values()
    ]
    batch = max(axes["batch_size"])
    steps = min(lengths) // batch
    by_length: dict[int, list[float]] = {}
    for warmup in axes["warmup_epochs"]:
        by_length.setdefault(max(warmup_steps(warmup, steps), 1), []).append(warmup)
    return [
        f"warmup_epochs = {' and '.join(map(repr, same))} would be the same cell {len(same)} times: with batch_size = "
        f"{batch}, {steps:,} steps in an epoch, they are warm-ups of {number if number > 1 else 'at most one'} "
        f"step{'s' * (number > 1)}; keep one of them"
        for number, same in by_length.items()
        if len(same) > 1 and steps > 0
    ]


def _also(value: object) -> str:
    """Return the other names of an initializer, in parentheses, or an empty string."""
    names = [alias.name for alias in INITIALIZERS.aliases_of(value)] if isinstance(value, str) and value else []
    return f" (also named {', '.join(names)})" * bool(names)
