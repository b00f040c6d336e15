"""`signal`: how the networks of a grid pass signals and gradients on before training."""

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from initbench.cli import output
from initbench.cli.options import (
    AllowPlugins,
    Device,
    GridPath,
    Overrides,
    Plugins,
    Results,
    Smoke,
    Workers,
    find_grid,
    plugin_words,
    print_notes,
    read_grid,
)
from initbench.cli.program import FAILED, INTERRUPTED, app, plural, print_error, reason, say
from initbench.cli.run import interrupt_once, option
from initbench.errors import CannotWrite, UserError, WorkerDied, nearest, printable, shown

if TYPE_CHECKING:
    from initbench.api.training import Started
    from initbench.execution.events import Event

SPECTRA = ("auto", "full")


@app.command("signal", cls=output.WorkingCommand, epilog="Example: initbench signal deep --set activation=gelu")
def signal_command(
    path: GridPath = None,
    overrides: Overrides = None,
    smoke: Smoke = False,
    workers: Workers = None,
    device: Device = None,
    spectra: Annotated[
        str,
        typer.Option(
            "--spectra",
            metavar="auto|full",
            help="All singular values of the last hidden layer's Jacobian: of networks up to width 512, or of all.",
        ),
    ] = "auto",
    results: Results = None,
    plugins: Plugins = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Compute how signals and gradients pass through a grid's networks before training. Trains nothing."""
    from initbench.api import signals, training
    from initbench.api.outputs import write_signal_page
    from initbench.execution.config import ExecutionConfig, device_in
    from initbench.reporting import signal_page
    from initbench.spec.gridfile import label

    if spectra not in SPECTRA:
        raise UserError(f"--spectra {shown(spectra)}: allowed: {', '.join(SPECTRA)}{nearest(spectra, SPECTRA)}")
    path = find_grid(path)
    grid, folder = read_grid(path, overrides, smoke, device, results, plugins, allow_plugins)
    again = ["initbench", "signal", label(path), *(word for pair in overrides or () for word in ("--set", pair))]
    again += ["--smoke"] * smoke + option("--device", device) + option("--results", results)
    again += plugin_words(plugins, allow_plugins) + option("--workers", workers)
    again += option("--spectra", spectra if spectra != "auto" else "")
    interrupt_once()
    config = ExecutionConfig(workers, device=device_in(grid))
    try:
        with _listener() as on_event:
            computed = signals.compute(grid, folder, config, on_event, spectra == "full")
    except training.Interrupted as interrupt:
        say()
        say(f"Interrupted. {interrupt}")
        say(f"Resume with: {shlex.join(again)}")
        raise typer.Exit(INTERRUPTED) from None
    except (WorkerDied, CannotWrite) as error:
        print_error(f"Stopped: {reason(error)}.")
        for note in getattr(error, "__notes__", ()):
            print_error(note)
        print_error(f"Resume with: {shlex.join(again)}")
        raise typer.Exit(FAILED) from None
    experiment = computed.experiment
    table = experiment.signal()
    print_notes(experiment)
    if len(table):
        signal_page.print_tables(table, experiment.cells, experiment.grid)
        say(f"Page: {write_signal_page(experiment, table)}")
    if computed.failed:
        cells = plural(len(computed.failed), "cell")
        print_error(f"The signal of {cells} could not be computed. To try again: {shlex.join(again)}")
        raise typer.Exit(FAILED)


@contextlib.contextmanager
def _listener() -> "Iterator[Callable[[Started | Event], None]]":
    """Yield the function that prints the events: first the cells without a signal, then the progress."""
    from initbench.api import progress
    from initbench.api.training import Looked, Started
    from initbench.execution import Notice, Untrained

    def before(event: "Started | Looked") -> None:
        if isinstance(event, Started):
            _print_start(event)

    with progress.each_round(progress.bar if sys.stdout.isatty() else progress.lines, before) as show:

        def on_event(event: "Started | Event") -> None:
            if isinstance(event, Notice):
                say(event.line)
            elif isinstance(event, Untrained):
                say(f"not computed: {printable(event.cell.label, 300)}: {event.why}")
            show(event)

        yield on_event


def _print_start(event: "Started") -> None:
    folder = event.experiment.folder
    print_notes(event.experiment)
    if not event.missing:
        say(f"Nothing to compute: the signal of all {plural(event.n_trained, 'cell')} is in {folder} already.")
        return
    stored = f", that of {event.n_trained:,} is stored already" if event.n_trained else ""
    say(f"{folder}: the signal of {plural(len(event.missing), 'cell')} to compute{stored}")
