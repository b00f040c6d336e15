"""`try`: initializers of one's own against the field's, with a verdict."""

import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from initbench.cli.options import AllowPlugins, Device, Overrides, Results, Scheduler, Workers, pairs, set_words
from initbench.cli.program import WorkingCommand, app, say
from initbench.cli.run import option, print_estimate, print_size, train_and_print

if TYPE_CHECKING:
    from initbench.api.battery import Battery
    from initbench.execution.config import ExecutionConfig
    from initbench.reporting.evidence import Evidence

MAX_WIDTH = 100  # characters of a line of the verdict in a terminal


@app.command(name="try", cls=WorkingCommand, epilog="Example: initbench try my_schemes.py --quick")
def try_(
    file: Annotated[Path, typer.Argument(metavar="FILE.PY", help="A Python file that defines initializers.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="A ninth of the battery: one network and one learning rate.")
    ] = False,
    grid: Annotated[
        Path | None,
        typer.Option(
            "--grid",
            metavar="GRID.TOML",
            help="A grid file whose networks and initializers to compare with; default: the preset battery.",
        ),
    ] = None,
    overrides: Overrides = None,
    workers: Workers = None,
    device: Device = None,
    scheduler: Scheduler = None,
    results: Results = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report; the verdict still comes.")] = False,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Compare the initializers of a Python file with others on a battery of networks, and print a verdict.

    Naming the file is permission to run its code, as in `python FILE.PY`; other plugins of a grid need it, as in `run`.
    Cells that are trained already are not trained again.
    """
    from initbench.api import battery
    from initbench.execution.config import ExecutionConfig, device_in
    from initbench.plugins import consent

    replaced = pairs(overrides or []) | ({"device": device} if device else {})
    allow = consent.allow if allow_plugins else consent.ask
    tried = battery.of_file(file, grid, replaced, quick=quick, allow=allow)
    folder = results or Path("results")
    resume = ["initbench", "try", str(file), *["--quick"] * quick, *option("--grid", grid)]
    resume += set_words(overrides)
    resume += option("--device", device) + option("--results", results) + option("--workers", workers)
    resume += option("--scheduler", scheduler) + ["--no-report"] * no_report + ["--allow-plugins"] * allow_plugins
    config = ExecutionConfig(workers, scheduler=scheduler, device=device_in(tried.grid))
    _print_plan(tried, folder, config)
    train_and_print(tried.grid, folder, config, resume, no_report, lambda evidence: _conclusion(tried, evidence))


def _print_plan(tried: "Battery", folder: Path, config: "ExecutionConfig") -> None:
    """Print what is compared, what `--quick` leaves out, and what the training takes."""
    from initbench.api import training
    from initbench.registry import shorten_digests

    own, others = (", ".join(map(shorten_digests, names)) for names in (tried.own, tried.others))
    say(f"Comparing {own} with {others}")
    print_size(tried.grid)
    if tried.omitted:
        say(f"--quick leaves out {_left_out(tried)}")
    if config.scheduler is None:
        planned = training.plan(tried.grid, folder, config, lambda notice: say(notice.line))
        if planned.missing:
            print_estimate(planned)


def _left_out(tried: "Battery") -> str:
    """Return what `--quick` leaves out, in words: `hidden 128 and hidden 10×128; learning rate 0.1 and …`."""
    from initbench.reporting import names, numbers

    def shown(setting: str, value: Any) -> str:
        text = "-".join(map(str, value)) if isinstance(value, list) else value
        return names.title([setting], {setting: text})

    axes = ([shown(setting, value) for value in values] for setting, values in tried.omitted.items())
    return "; ".join(map(numbers.listed, axes))


def _conclusion(tried: "Battery", evidence: "Evidence") -> Iterator[str]:
    """Yield the lines of the verdict, in a terminal as wide as that allows."""
    for verdict in tried.verdicts(evidence):
        yield ""
        yield f"Verdict on {verdict.initializer}:"
        for sentence in verdict.sentences:
            if sys.stdout.isatty():
                width = min(MAX_WIDTH, shutil.get_terminal_size().columns - 1)
                yield from textwrap.wrap(sentence, width, break_long_words=False, break_on_hyphens=False)
            else:
                yield sentence
    yield ""
