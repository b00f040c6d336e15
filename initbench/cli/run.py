"""`new`, `plan` and `run`: from a question to its results."""

import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from initbench.cli import completion, early
from initbench.cli.options import (
    UNCHANGED,
    AllowPlugins,
    Device,
    Force,
    GridPath,
    Overrides,
    Plugins,
    PresetName,
    Processor,
    Results,
    Scheduler,
    Smoke,
    Width,
    Workers,
    find_grid,
    grid_words,
    plugin_words,
    print_notes,
    read_grid,
    refuse_to_overwrite,
)
from initbench.cli.program import (
    FAILED,
    INTERRUPTED,
    WorkingCommand,
    app,
    import_numpy,
    plural,
    print_error,
    reason,
    say,
    unforeseen,
)
from initbench.errors import CannotWrite, UserError, WorkerDied, printable
from initbench.system import files

MAX_EARLIER = 3  # earlier versions of own functions that a line names

if TYPE_CHECKING:
    from initbench.api.training import Looked, RunResult, Started, TrainingEstimate
    from initbench.execution.config import ExecutionConfig
    from initbench.execution.estimate import Estimate
    from initbench.execution.events import Event
    from initbench.execution.processes import WorkerProcess
    from initbench.reporting.evidence import Evidence
    from initbench.results.experiment import Experiment
    from initbench.spec.grid import Grid


@app.command(cls=WorkingCommand, epilog="Example: initbench new --preset keepcoding grid.toml")
def new(
    path: Annotated[Path, typer.Argument(metavar="GRID.TOML", help="The file to write.")],
    preset: Annotated[
        str,
        typer.Option(
            "--preset", metavar="NAME", help="One of `initbench list presets`.", autocompletion=completion.presets
        ),
    ] = "keepcoding",
    force: Force = False,
) -> None:
    """Write a grid file to start from."""
    from initbench.spec import presets

    text = presets.text(preset)
    refuse_to_overwrite(path, force)
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    files.write_file(path, text.encode())
    say(f"Wrote {path}: {presets.summary(preset)}")
    quoted = shlex.quote(str(path))
    say(f"Next: initbench plan {quoted}, then initbench run {quoted}")
    say(f"What stands out before training: initbench signal {quoted}")


@app.command(epilog="Example: initbench plan keepcoding --set seed=20")
def plan(
    path: GridPath = None,
    preset: PresetName = None,
    overrides: Overrides = None,
    smoke: Smoke = False,
    workers: Workers = None,
    width: Width = None,
    device: Device = None,
    results: Results = None,
    plugins: Plugins = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Show what `run` would train, and estimate its time and memory. Trains nothing."""
    from initbench.api import training
    from initbench.execution.config import ExecutionConfig, device_in

    grid, results = read_grid(find_grid(path, preset), overrides, smoke, device, results, plugins, allow_plugins)
    print_size(grid)
    config = ExecutionConfig(workers, width, device=device_in(grid))
    planned = training.plan(grid, results, config, lambda notice: say(notice.line))
    print_notes(planned.experiment)
    print_estimate(planned)


def print_size(grid: "Grid") -> None:
    """Print the number of cells, the axes, and the parameters of networks that are no plain perceptrons."""
    from initbench.reporting import networks

    say(f"{'at most ' * (grid.seed_rule is not None)}{plural(len(grid), 'cell')}: {grid.shape}")
    for line in networks.lines(networks.of_grid(grid)):
        say(printable(line, 200))


def print_estimate(planned: "TrainingEstimate") -> None:
    """Print what is trained already, what is missing, and what that takes."""
    if planned.n_trained:
        say(f"{planned.n_trained:,} of them are trained already in {planned.experiment.folder}")
    if guess := planned.estimate:
        on_gpu = "" if guess.device == "cpu" else ", on the GPU"
        least = "" if planned.most is None else f"at least {plural(guess.cells, 'cell')}, "
        say(f"{least}{plural(guess.stacks, 'stack')} to train, by {plural(guess.workers, 'worker')}{on_gpu}")
        say(f"{_cost(guess)} (estimated on this machine)")
        if most := planned.most:
            say(f"at most {plural(most.cells, 'cell')}, {plural(most.stacks, 'stack')}: {_cost(most)}")
    else:
        say("nothing to train")
    if planned.too_few_seeds:
        why = "there is no interval" if planned.seeds == 1 else "95% intervals are ± 9 standard deviations"
        seeds = "1 seed is" if planned.seeds == 1 else f"{planned.seeds} seeds are"
        say(f"Warning: {seeds} too few for any conclusion: {why}. Use five or more: --set seed=5")


def _cost(guess: "Estimate") -> str:
    from initbench.durations import duration

    return f"about {duration(round(guess.seconds))} and {guess.memory / 1e9:.1f} GB of memory"


@app.command(cls=WorkingCommand, epilog="Example: initbench run grid.toml --set seed=10 --set learning_rate=0.01,0.1")
def run(
    path: GridPath = None,
    preset: PresetName = None,
    overrides: Overrides = None,
    smoke: Smoke = False,
    workers: Workers = None,
    width: Width = None,
    device: Device = None,
    scheduler: Scheduler = None,
    processor: Processor = "",
    results: Results = None,
    no_report: Annotated[
        bool, typer.Option("--no-report", help="Write no report; the summary in the terminal still comes.")
    ] = False,
    plugins: Plugins = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Train a grid and write its report. Cells that are trained already are not trained again."""
    on_this_cpu = scheduler is None and device in (None, "auto", "cpu")
    with early.worker(on_this_cpu) as first:  # before the imports that a grid takes
        import_numpy()
        from initbench.execution.config import ExecutionConfig, device_in
        from initbench.plugins.installed import installed
        from initbench.spec.gridfile import is_transient

        path = find_grid(path, preset)
        grid, folder = read_grid(path, overrides, smoke, device, results, plugins, allow_plugins)
        resume = ["initbench", "run"]
        if is_transient(path):  # the copy in the experiment's folder has the replaced settings
            resume.append(str(folder / grid.name / "grid.toml"))
            of_packages = {bundle.digest for bundle in installed()}
            resume += plugin_words([b.path for d, b in grid.plugins.items() if d not in of_packages], allow_plugins)
        else:
            resume += grid_words(path, preset, overrides, smoke)
            resume += option("--device", device) + option("--results", results)
            resume += plugin_words(plugins, allow_plugins)
        resume += option("--workers", workers) + option("--width", width)
        resume += option("--scheduler", scheduler) + option("--processor", processor) + ["--no-report"] * no_report
        train_and_print(
            grid,
            folder,
            ExecutionConfig(workers, width, scheduler, processor, device_in(grid)),
            resume,
            no_report,
            first=first,
        )


def train_and_print(
    grid: "Grid",
    folder: Path,
    config: "ExecutionConfig",
    resume: Sequence[str],
    no_report: bool,
    conclusion: "Callable[[Evidence], Iterable[str]]" = lambda _: (),
    first: "WorkerProcess | None" = None,
) -> None:
    """Train a grid, and print the progress, the summary, the lines of a conclusion, and the report's path.

    `resume` is the command that does it, in words; `first` a worker that has been started already.
    """
    from initbench.api import training

    with resumable(resume), listener(_print_start, "not trained") as on_event:
        result = training.train(grid, folder, config, on_event, report=not no_report, first=first)
    _print_summary(result, resume, conclusion)
    if result.report_error:
        print_error(
            f"The report could not be written: {_why(result.report_error)}. The results are kept; to write it: "
            f"{shlex.join(['initbench', 'report', str(result.experiment.folder)])}"
        )
    if result.untrained:
        cells = plural(len(result.untrained), "cell")
        print_error(f"{cells} could not be trained; the report leaves them out. To try again: {shlex.join(resume)}")
    if result.untrained or result.report_error:
        raise typer.Exit(FAILED)


@contextlib.contextmanager
def resumable(command: Sequence[str]) -> "Iterator[None]":
    """Where a computation is interrupted or stops, print what is stored and the command that resumes it, and exit."""
    from initbench.api.training import Interrupted

    interrupt_once()
    try:
        yield
    except Interrupted as interrupt:
        say()
        say(f"Interrupted. {interrupt}")
        say(f"Resume with: {shlex.join(command)}")
        raise typer.Exit(INTERRUPTED) from None
    except (WorkerDied, CannotWrite) as error:
        print_error(f"Stopped: {reason(error)}.")
        for note in getattr(error, "__notes__", ()):
            print_error(note)
        print_error(f"Resume with: {shlex.join(command)}")
        raise typer.Exit(FAILED) from None


def _print_summary(
    result: "RunResult", command: Sequence[str], conclusion: "Callable[[Evidence], Iterable[str]]"
) -> None:
    from initbench.api.outputs import evidence_of
    from initbench.reporting.terminal import summary_table

    print_notes(result.experiment)
    if result.frame is None:
        return
    if evidence := result.evidence or evidence_of(result.experiment, result.frame):
        summary_table(evidence, [*command, *_plugins_missing(result.experiment)])
        for line in conclusion(evidence):
            say(line)
    if result.report:
        say(f"Report: {result.report.path}{UNCHANGED * result.report.unchanged}")
    else:
        again = shlex.join(["initbench", "report", str(result.experiment.folder)])
        say(f"No report was written (--no-report); to write it: {again}")


def _plugins_missing(experiment: "Experiment") -> list[str]:
    """Return the options that name the files of plugins whose code is not loaded, for a command that trains more."""
    from initbench.plugins import store
    from initbench.results.plugin_file import own_names

    missing = store.missing(own_names(experiment.grid))
    files = {experiment.plugins[digest].bundle.path for digest in missing if digest in experiment.plugins}
    return plugin_words(sorted(files), allow_plugins=False)


def option(name: str, value: object) -> list[str]:
    """Return an option of a command in words; nothing if it is not given."""
    return [name, str(value)] if value else []


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return printable(reason(error))
    return printable("; ".join(error.lines) if isinstance(error, UserError) else unforeseen(error))


@contextlib.contextmanager
def listener(
    print_start: "Callable[[Started], None]", without_result: str
) -> "Iterator[Callable[[Started | Looked | Event], None]]":
    """Yield the function that prints the events of a run: first the cells that are missing, then the progress.

    With a rule for the seeds, each round has a progress of its own, and what the rule found stands between them. A
    notice about the workers, or a cell `without_result`, is a line.
    """
    from initbench.api import progress
    from initbench.api.training import Started
    from initbench.execution.events import Notice, Untrained

    def between(event: "Started | Looked") -> None:
        if isinstance(event, Started):
            print_start(event)
        else:
            from initbench.reporting import seeds

            say(seeds.looked(event.rounds))

    with progress.each_round(progress.bar if sys.stdout.isatty() else progress.lines, between) as show:

        def on_event(event: "Started | Looked | Event") -> None:
            if isinstance(event, Notice):
                say(event.line)
            elif isinstance(event, Untrained):
                say(f"{without_result}: {printable(event.cell.label, 300)}: {event.why}")
            show(event)

        yield on_event


def _print_start(event: "Started") -> None:
    folder = event.experiment.folder
    print_notes(event.experiment)
    if event.n_unrelated:
        others = "of other grids" + ", or that the rule did not request" * (event.experiment.rounds is not None)
        cells = plural(event.n_unrelated, "stored cell")
        say(f"{folder}: leaving out {cells} {others}{_earlier(event.experiment.earlier_functions)}")
    if not event.missing:
        say(f"Nothing to train: all {plural(event.n_trained, 'cell')} are in {folder} already.")
        if event.experiment.rounds:
            from initbench.reporting import seeds

            say(seeds.looked(event.experiment.rounds))
        return
    trained = f", {event.n_trained:,} are trained already" if event.n_trained else ""
    say(f"{folder}: {plural(len(event.missing), 'cell')} to train{trained}")


def _earlier(counts: Mapping[str, int]) -> str:
    """Return in parentheses how many cells are of earlier versions of own functions; empty if there are none."""
    from initbench.registry import shorten_digests

    shown = list(counts.items())[:MAX_EARLIER]
    parts = [f"{count:,} of {printable(shorten_digests(name), 100)}, an earlier version" for name, count in shown]
    parts += [f"{plural(len(counts) - len(shown), 'earlier version')} more"] * (len(counts) > len(shown))
    return f" ({'; '.join(parts)})" if parts else ""


def interrupt_once() -> None:
    """Let the first Ctrl-C, SIGTERM or SIGHUP interrupt, and ignore those that follow, so that the end is orderly.

    A signal that is ignored, as SIGHUP is under `nohup`, stays ignored.
    """
    signals = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
    numbers = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]

    def handle(number: int, frame: object) -> None:
        for other in numbers:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, handle)
