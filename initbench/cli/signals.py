"""`signal`: how the networks of a grid pass signals and gradients on before training."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from initbench.cli import completion
from initbench.cli.options import (
    AllowPlugins,
    Device,
    GridPath,
    Overrides,
    Plugins,
    PresetName,
    Results,
    Smoke,
    Workers,
    find_grid,
    grid_words,
    plugin_words,
    print_notes,
    read_grid,
)
from initbench.cli.program import FAILED, WorkingCommand, app, plural, print_error, say
from initbench.cli.run import listener, option, resumable
from initbench.errors import UserError, nearest, shown
from initbench.spec.signal import SPECTRA

if TYPE_CHECKING:
    from initbench.api.training import Started


@app.command("signal", cls=WorkingCommand, epilog="Example: initbench signal deep --set activation=gelu")
def signal_command(
    path: GridPath = None,
    preset: PresetName = None,
    overrides: Overrides = None,
    smoke: Smoke = False,
    workers: Workers = None,
    device: Device = None,
    spectra: Annotated[
        str,
        typer.Option(
            "--spectra",
            metavar="auto|full",
            help="Singular values of the last hidden layer's Jacobian. full: all, also of cells that a run trained; "
            "auto: of cells without a signal, and of layers wider than 512 an estimate of the largest.",
            autocompletion=completion.choices("auto", "full"),
        ),
    ] = "auto",
    results: Results = None,
    plugins: Plugins = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Compute how signals and gradients pass through a grid's networks before training. Trains nothing."""
    from initbench.api import signals
    from initbench.api.outputs import write_signal_page
    from initbench.execution.config import ExecutionConfig, device_in
    from initbench.reporting import signal_page

    if spectra not in SPECTRA:
        raise UserError(f"--spectra {shown(spectra)}: allowed: {', '.join(SPECTRA)}{nearest(spectra, SPECTRA)}")
    path = find_grid(path, preset)
    grid, folder = read_grid(path, overrides, smoke, device, results, plugins, allow_plugins)
    again = ["initbench", "signal", *grid_words(path, preset, overrides, smoke)]
    again += option("--device", device) + option("--results", results)
    again += plugin_words(plugins, allow_plugins) + option("--workers", workers)
    again += option("--spectra", spectra if spectra != "auto" else "")
    config = ExecutionConfig(workers, device=device_in(grid))
    with resumable(again), listener(_print_start, "not computed") as on_event:
        computed = signals.compute(grid, folder, config, on_event, spectra == "full")
    experiment = computed.experiment
    table = experiment.signal()
    print_notes(experiment)
    if (table["epoch"] == 0).any():
        signal_page.print_tables(table, experiment.cells, experiment.grid)
        if lacking := signal_page.without_spectra(table, experiment.cells):
            say(
                f"{plural(lacking, 'cell')}: no singular values of the last hidden layer, which a run leaves out. "
                f"To compute them: {shlex.join([*again, '--spectra', 'full'])}"
            )
        say(f"Page: {write_signal_page(experiment, table)}")
    if computed.failed:
        cells = plural(len(computed.failed), "cell")
        print_error(f"The signal of {cells} could not be computed. To try again: {shlex.join(again)}")
        raise typer.Exit(FAILED)


def _print_start(event: "Started") -> None:
    folder = event.experiment.folder
    print_notes(event.experiment)
    if not event.missing:
        say(f"Nothing to compute: the signal of all {plural(event.n_trained, 'cell')} is in {folder} already.")
        return
    stored = f", that of {event.n_trained:,} is stored already" if event.n_trained else ""
    say(f"{folder}: the signal of {plural(len(event.missing), 'cell')} to compute{stored}")
