"""`script` and `trace`: a single cell of an experiment, as a plain PyTorch program, and its training step by step."""

from pathlib import Path
from typing import Annotated

import typer

from initbench.cli import completion
from initbench.cli.options import AllowPlugins, Folder, Force, Plugins, load_plugins, pairs, refuse_to_overwrite
from initbench.cli.program import WorkingCommand, app, print_error, say
from initbench.errors import UserError, printable

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Find the cell by a setting, as in --set seed=0. Repeatable.",
        autocompletion=completion.settings,
    ),
]


@app.command(
    cls=WorkingCommand,
    epilog="Example: initbench script results/keepcoding 3f2a > repro.py",
)
def script(
    folder: Folder,
    cell: Annotated[
        str, typer.Argument(metavar="CELL", help="A cell's id, or the start of it; without one, the ids are listed.")
    ] = "",
    settings: Settings = None,
) -> None:
    """Write a trained cell as a plain PyTorch program: it trains the cell and prints the same figures.

    Without a cell it prints a line for each cell: its id, and the settings that vary.

    The program needs NumPy and PyTorch alone, and the user's files of a cell with own functions.
    """
    from initbench.api import cells, rounds

    experiment = rounds.opened(folder)
    if not cell and not settings:
        for line in cells.listed(experiment):
            say(printable(line))
        return
    text = cells.script(experiment, cells.find(experiment, cell, pairs(settings or [])))
    for line in experiment.notes:
        print_error(line)
    say(text.removesuffix("\n"))


@app.command(cls=WorkingCommand, epilog="Example: initbench trace results/keepcoding 3f2a trace.npz")
def trace(
    folder: Folder,
    cell: Annotated[str, typer.Argument(metavar="CELL", help="A cell's id, or the start of it.")],
    path: Annotated[Path, typer.Argument(metavar="OUT.NPZ", help="The file, which numpy.load reads.")],
    force: Force = False,
    plugins: Plugins = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Train a cell again and store its initial weights, the order of its batches, and the loss of each step."""
    from initbench.api import cells, rounds

    if path.suffix != ".npz" or path.is_dir():
        raise UserError(f"{path}: allowed: a file's name that ends in .npz")
    refuse_to_overwrite(path, force)
    experiment = rounds.opened(folder)
    load_plugins(plugins, allow_plugins, "initbench trace")
    compared = cells.trace(experiment, cells.find(experiment, cell), path)
    for line in experiment.notes:
        print_error(line)
    say(f"{path}: {compared}")
