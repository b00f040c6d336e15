"""`list`, `show` and `schema`: the names that a grid file can use."""

import json
import math
import warnings
from pathlib import Path
from typing import Annotated

import typer

from initbench.cli import output
from initbench.cli.options import Force, refuse_to_overwrite
from initbench.cli.program import app, say
from initbench.errors import UserError, nearest, shown
from initbench.system import files

KINDS = ("initializers", "activations", "losses", "optimizers", "datasets", "presets")

MAX_SHOWN_WEIGHTS = 2**24  # a matrix of 4096 × 4096
MAX_SHOWN_VALUE = 1e12  # weights beyond it have no bins


@app.command(name="list", epilog="Example: initbench list initializers")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]",
            help="initializers, activations, losses, optimizers, datasets or presets; default: the names of all.",
        ),
    ] = None,
) -> None:
    """List what a grid file can name, with parameters and defaults."""
    if kind is None:
        for name in KINDS:
            say(f"{name}: {', '.join(_entries(name))}")
        return
    if kind not in KINDS:
        raise UserError(f"there is no list of {shown(kind)}; allowed: {', '.join(KINDS)}{nearest(kind, KINDS)}")
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
    package = {"initializers": "initializers", "datasets": "data.datasets"}.get(kind, f"functions.{kind}")
    registry = getattr(import_module(f"initbench.{package}"), kind.upper())
    if kind == "datasets":
        return {name: (name, summary) for name, summary in registry.items()}
    names = list(registry)
    if kind == "initializers":
        from initbench.initializers.schemes import families

        names = [name for family in families().values() for name in family]
    biases = {name: "  (also for biases)" * ("bias" in registry[name].tags) for name in names}
    return {name: (registry[name].signature + biases[name], registry[name].summary) for name in names}


@app.command(cls=output.WorkingCommand, epilog="Example: initbench show he_normal --shape 784,256 --activation relu")
def show(
    scheme: Annotated[str, typer.Argument(metavar="SCHEME", help="A scheme, such as he_normal or 'normal(std=0.2)'.")],
    shape: Annotated[str, typer.Option("--shape", metavar="IN,OUT", help="The shape of the weights.")] = "784,256",
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
) -> None:
    """Draw a scheme's weights, in the terminal and as a figure: distribution, singular values, norms of the units.

    Schemes that depend on data or gradients need --shape 784,UNITS: the first layer of 784-UNITS-10 on MNIST is drawn.
    """
    from initbench.functions.activations import ACTIVATIONS
    from initbench.initializers import INITIALIZERS, schemes
    from initbench.reporting.figures import weights
    from initbench.training.parameters import first_layer_on_mnist

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
    try:
        initializer = INITIALIZERS.resolve(scheme)
        network = schemes.is_network_scheme(str(initializer))
        entry = INITIALIZERS[initializer.name]
        context = {"activation": str(ACTIVATIONS.resolve(activation or ("tanh" if network else "relu")))}
        context |= {} if network else {"position": position, "depth": str(depth)}
        used = ", ".join(f"{n} {v}" for n, v in context.items() if network or n in entry.supplied)
        title = f"{initializer}, {' × '.join(map(str, sizes))}"
        say(f"{title}: {entry.summary}")
        if network:
            say(f"The first layer of 784-{sizes[-1]}-10 on MNIST, {used}")
            W = first_layer_on_mnist(str(initializer), sizes, context["activation"], seed)
        else:
            if used:
                say(f"For {used}")
            supplied = context | {"depth": depth, "fan_in": sizes[0], "seed": seed}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # about weights too large, which are refused below
                W = INITIALIZERS.call(str(initializer), sizes, **supplied)
    except ValueError as error:
        raise UserError(f"{scheme}: {error}" if scheme not in str(error) else str(error)) from None
    if not abs(W).max() < MAX_SHOWN_VALUE:
        raise UserError(f"{scheme}: has weights as large as {abs(W).max():.3g}; allowed: below {MAX_SHOWN_VALUE:.0e}")
    distribution = None if network else schemes.distribution(str(initializer), sizes, **supplied)
    for line in weights.lines(W, distribution):
        say(line)
    matrix = "images" if network else "weights"
    panels = ["histogram", matrix, "singular values", "norms"] if len(sizes) > 1 else ["histogram"]
    files.write_file(path, weights.picture(panels, W, distribution, title, form=path.suffix[1:]))
    say(f"Figure: {path}")


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
