"""`list`, `show` and `schema`: the names that a grid file can use."""

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from initbench.cli import completion
from initbench.cli.options import AllowPlugins, Force, Plugins, load_plugins, refuse_to_overwrite
from initbench.cli.program import WorkingCommand, app, say
from initbench.errors import UserError, nearest, printable, shape_text, shown
from initbench.system import files

if TYPE_CHECKING:
    from initbench.plugins.bundle import Bundle
    from initbench.plugins.describe import Host
    from initbench.registry import Entry

KINDS = ("initializers", "activations", "losses", "optimizers", "models", "datasets", "presets")

# The kinds of functions that a plugin can have, as records name them.
OWN_KINDS = {
    "initializers": "initializer",
    "activations": "activation",
    "losses": "loss",
    "optimizers": "optimizer",
    "models": "model",
    "datasets": "dataset",
}

MAX_SHOWN_WEIGHTS = 2**24  # a matrix of 4096 × 4096
MAX_SHOWN_VALUE = 1e12  # weights beyond it have no bins


@app.command(name="list", epilog="Example: initbench list initializers")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]",
            help="initializers, activations, losses, optimizers, models, datasets, presets; default: all names.",
            autocompletion=completion.choices(*KINDS),
        ),
    ] = None,
    plugins: Plugins = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """List what a grid file can name, with parameters and defaults."""
    if kind not in (None, *KINDS):
        raise UserError(f"there is no list of {shown(kind)}; allowed: {', '.join(KINDS)}{nearest(kind, KINDS)}")
    bundles = load_plugins(plugins, allow_plugins, "initbench list")[0]
    if kind:
        _print_list(kind)
    else:
        for name in KINDS:
            say(f"{name}: {', '.join(_entries(name))}")
    for bundle in bundles:
        _print_own(kind, bundle)


def _print_list(kind: str) -> None:
    headings: dict[str, str] = {}
    if kind == "initializers":
        from initbench.initializers.schemes import families

        headings = {names[0]: family for family, names in families().items()}
    for name, (signature, summary) in _entries(kind).items():
        if name in headings:
            say(f"\n{headings[name]}" if name != next(iter(headings)) else headings[name])
        indent = "  " * bool(headings)
        say(indent + signature)
        say(f"{indent}    {summary}")
        for alias in _aliases(kind, name):
            say(f"{indent}    Also {alias}, as in PyTorch.")


def _print_own(kind: str | None, bundle: "Bundle") -> None:
    """Print the functions of a plugin of a kind, under its name; without a kind, the names of all."""
    for own_kind in OWN_KINDS if kind is None else [kind]:
        entries = _own_entries(bundle, own_kind)
        if entries and kind is None:
            say(printable(f"{own_kind} of {bundle.path}: {', '.join(entries)}"))
        elif entries:
            say("\n" + printable(bundle.path))
            for signature, summary in entries.values():
                say(f"  {signature}")
                say(f"      {summary}")


def _own_entries(bundle: "Bundle", kind: str) -> dict[str, tuple[str, str]]:
    """Return the signature and the summary of each function of a plugin of a kind, by its short name."""
    from initbench.plugins.describe import records

    entries = {}
    for (singular, name), record in records(bundle).items():
        if singular == OWN_KINDS.get(kind):
            signature = replace(record, name=name).signature + _for_biases(record)
            entries[name] = (printable(signature), printable(record.summary))
    return entries


def _aliases(kind: str, name: str) -> list[str]:
    """Return the signatures of an initializer's other names."""
    if kind != "initializers":
        return []
    from initbench.initializers import INITIALIZERS

    return [alias.signature for alias in INITIALIZERS.aliases_of(name)]


def _entries(kind: str) -> dict[str, tuple[str, str]]:
    """Return the signature and the summary of each entry, by name."""
    from importlib import import_module

    if kind == "presets":
        from initbench.spec import presets

        return {name: (name, presets.summary(name)) for name in presets.names()}
    modules = {"initializers": "initializers", "datasets": "data.datasets", "models": "models.built_in"}
    module = modules.get(kind, f"functions.{kind}")
    registry = getattr(import_module(f"initbench.{module}"), kind.upper())
    if kind == "datasets":
        return {name: (name, summary) for name, summary in registry.items()}
    names = list(registry)
    if kind == "initializers":
        from initbench.initializers.schemes import families

        names = [name for family in families().values() for name in family]
    return {name: (registry[name].signature + _for_biases(registry[name]), registry[name].summary) for name in names}


def _for_biases(record: "Entry") -> str:
    return "  (also for biases)" * ("bias" in record.tags)


@app.command(cls=WorkingCommand, epilog="Example: initbench show he_normal --shape 784,256 --activation relu")
def show(
    scheme: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A scheme, such as he_normal or 'normal(std=0.2)', or a model, such as lenet5."
        ),
    ],
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape",
            metavar="IN,OUT",
            help="The shape of the weights, by default 784,256; of a model's images HEIGHT,WIDTH,CHANNELS: 28,28,1.",
        ),
    ] = None,
    activation: Annotated[
        str | None, typer.Option("--activation", metavar="NAME", help="Activation, for schemes that depend on it.")
    ] = None,
    position: Annotated[
        str,
        typer.Option("--position", metavar="first|hidden|last", help="Layer position, for schemes that depend on it."),
    ] = "hidden",
    depth: Annotated[int, typer.Option("--depth", min=1, help="Number of layers, for schemes that depend on it.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the weights.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.PNG", help="The figure; default: SCHEME-SHAPE.png.")
    ] = None,
    force: Force = False,
    plugins: Plugins = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Draw a scheme's weights, in the terminal and as a figure: distribution, singular values, norms of the units.

    Schemes that depend on data or gradients need --shape 784,UNITS: the first layer of 784-UNITS-10 on MNIST is drawn.
    Of a model: its blocks, if it is built in, its layers with their fans, and how many parameters initializers set.
    """
    from initbench.models.built_in import MODELS
    from initbench.registry import naming, shorten_digests

    names = load_plugins(plugins, allow_plugins, "initbench show")[1]
    name = scheme.partition("(")[0]
    if name in MODELS or ("model", name) in names:
        with naming(names):
            _show_model(scheme, parse_shape(shape or "28,28,1"))
        return
    shape = shape or "784,256"
    from initbench.initializers import schemes
    from initbench.plugins.describe import Host
    from initbench.reporting.figures import weights

    if position not in schemes.POSITIONS:
        raise UserError(
            f"--position {position}: allowed: {', '.join(schemes.POSITIONS)}{nearest(position, schemes.POSITIONS)}"
        )
    path = out or Path(f"{scheme.partition('(')[0]}-{shape.replace(',', 'x')}.png")
    if path.suffix not in (".png", ".svg", ".pdf") or path.is_dir():
        raise UserError(f"--out {path}: allowed: a file's name that ends in .png, .svg or .pdf")
    if out:
        refuse_to_overwrite(out, force)
    sizes = parse_shape(shape)
    supplied = {"position": position, "depth": depth, "fan_in": sizes[0], "seed": seed}
    try:
        with Host() as host, naming(names):
            title, W, distribution, network = _weights(scheme, sizes, activation, supplied, host)
    except ValueError as error:
        line = shorten_digests(str(error))
        raise UserError(line if scheme in line else f"{scheme}: {line}") from None
    if not abs(W).max() < MAX_SHOWN_VALUE:
        raise UserError(f"{scheme}: has weights as large as {abs(W).max():.3g}; allowed: below {MAX_SHOWN_VALUE:.0e}")
    for line in weights.lines(W, distribution):
        say(line)
    matrix = "images" if network else "weights"
    panels = ["histogram", matrix, "singular values", "norms"] if len(sizes) > 1 else ["histogram"]
    files.write_file(path, weights.picture(panels, W, distribution, title, form=path.suffix[1:]))
    say(f"Figure: {path}")


def _show_model(name: str, shape: tuple[int, ...]) -> None:
    """Print what a model is: its docstring, and for images of a shape its blocks, if it is built in, and its layers."""
    from initbench.initializers._base import fans
    from initbench.models import built_in, own, words
    from initbench.plugins.describe import Host
    from initbench.registry import documentation, shorten_digests
    from initbench.spec.own import add_network

    if len(shape) != 3:
        raise UserError(f"{name}: --shape {','.join(map(str, shape))}; allowed: HEIGHT,WIDTH,CHANNELS, such as 28,28,1")
    height, width, channels = shape
    hidden, classes = "128", 10
    try:
        model = str(built_in.MODELS.resolve(name))
        is_own = "@" in model
        if is_own:
            with Host() as host:
                if why := add_network(model, (height, width, channels), classes, "relu", host):
                    raise UserError(why)
        network = own.network_of(model, hidden, "none", (height, width, channels), classes)
    except ValueError as error:
        raise UserError(str(error) if name in str(error) else f"{name}: {error}") from None
    record = built_in.MODELS.lookup(model)[0]
    say(printable(record.summary) if is_own else documentation(record.function))
    with_hidden = " with hidden = [128]" * (model == built_in.PERCEPTRON)
    say(f"\n{shorten_digests(model)}{with_hidden}, images of {shape_text(shape)}, {classes} classes:")
    if not is_own:
        say(f"  {words.in_words(built_in.blocks_of(model, hidden, classes))}\n")
    say(f"  {'weights':<20}{'fan_in':>9}{'fan_out':>9}{'parameters':>12}")
    for layer in network.layers:
        fan_in, fan_out = fans(layer.shape)
        count = layer.weight_count + layer.bias_count
        say(f"  {shape_text(layer.shape):<20}{fan_in:>9,}{fan_out:>9,}{count:>12,}")
    others = network.other_parameters
    by_initializers = f"of which {others:,} keep the module's own start" if others else "all set by the initializers"
    say(f"\n{network.parameter_count:,} parameters, {by_initializers}")


def _weights(
    scheme: str, sizes: tuple[int, ...], activation: str | None, supplied: dict[str, Any], host: "Host"
) -> tuple[str, Any, Any, bool]:
    """Print what a scheme is; return its title, weights and distribution, and whether it is one of whole networks.

    The host computes what needs a plugin's code.
    """
    from initbench.functions.activations import ACTIVATIONS
    from initbench.initializers import INITIALIZERS, schemes
    from initbench.plugins import store
    from initbench.registry import shorten_digests
    from initbench.training.parameters import first_layer_on_mnist

    initializer = INITIALIZERS.resolve(scheme)
    function = str(ACTIVATIONS.resolve(activation)) if activation else ""
    if store.missing([str(initializer), function]):
        raise UserError(f"{scheme}: its code is needed; give --plugin FILE")
    network = schemes.is_network_scheme(str(initializer))
    entry = INITIALIZERS[initializer.name]
    context = {"activation": function or ("tanh" if network else "relu")}
    context |= {} if network else {"position": supplied["position"], "depth": str(supplied["depth"])}
    used = ", ".join(f"{n} {v}" for n, v in context.items() if network or n in entry.supplied)
    title = shorten_digests(f"{initializer}, {shape_text(sizes)}")
    say(printable(f"{title}: {entry.summary}"))
    here = schemes.runs_here(str(initializer), context["activation"])
    if network:
        say(shorten_digests(f"The first layer of 784-{sizes[-1]}-10 on MNIST, {used}"))
        parameters = schemes.parameters if here else host.parameters
        W = first_layer_on_mnist(str(initializer), sizes, context["activation"], supplied["seed"], parameters)
        return title, W, None, True
    if used:
        say(shorten_digests(f"For {used}"))
    supplied = {"activation": context["activation"], **supplied}
    call = INITIALIZERS.call if here else host.weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about weights too large, which are refused later
        W = call(str(initializer), sizes, **supplied)
        distribution = schemes.distribution(str(initializer), sizes, **supplied) if here else None
    return title, W, distribution, False


def parse_shape(shape: str) -> tuple[int, ...]:
    """Return the sizes of --shape; UserError if they are not integers, or make too many weights."""
    try:
        sizes = tuple(int(size) for size in shape.split(","))
    except ValueError:
        raise UserError(f"--shape {shape}: allowed: integers separated by commas, such as 784,256") from None
    if any(size < 1 for size in sizes) or len(sizes) > 8 or math.prod(sizes) > MAX_SHOWN_WEIGHTS:
        raise UserError(f"--shape {shape}: allowed: each size from 1 up, and at most {MAX_SHOWN_WEIGHTS:,} weights")
    return sizes


@app.command(epilog="Example: initbench schema > grid.schema.json")
def schema() -> None:
    """Print the JSON schema of the grid file, for completion in an editor."""
    from initbench.spec.settings import schema as grid_schema

    say(json.dumps(grid_schema(), indent=1))
