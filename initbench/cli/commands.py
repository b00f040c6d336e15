"""The command line: `initbench`. Only what a command needs is imported, when it runs."""

import contextlib
import math
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from initbench import __version__
from initbench.cli import output
from initbench.errors import CannotWrite, UserError, WorkerDied, nearest, printable, shown
from initbench.registry import documentation
from initbench.reporting import matplotlib_import
from initbench.system import files
from initbench.system.cache import provide_home

if TYPE_CHECKING:
    from initbench.execution import Failed
    from initbench.execution.config import ExecutionConfig
    from initbench.results.experiment import Experiment
    from initbench.spec.grid import Grid

DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130

# `show` draws up to so many weights: a matrix of 4096 × 4096.
MAX_SHOWN_WEIGHTS = 2**24
MAX_SHOWN_VALUE = 1e12  # weights beyond it have no bins

# `clean` names so many of the files that it keeps.
MAX_KEPT = 10

app = typer.Typer(
    name="initbench",
    help="Which weight initializer should I use with this activation and this loss, and how sure can I be?",
    epilog="Start: initbench new grid.toml, initbench plan grid.toml, initbench run grid.toml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

GridPath = Annotated[Path, typer.Argument(metavar="GRID.TOML", help="The grid file.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, such as results/keepcoding.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a setting; a list makes it an axis. May be repeated."),
]
Smoke = Annotated[
    bool, typer.Option("--smoke", help="One seed, one epoch, few images: seconds. The run is NAME-smoke.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes that train; default one for each core.")
]
Width = Annotated[
    int | None,
    typer.Option("--width", min=1, help="Cells that train together at most; default what this machine trains fastest."),
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="auto|cpu|cuda", help="What trains; default the grid file's, or auto.")
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Train on a Dask cluster: tcp://HOST:PORT, file://scheduler.json, or local for one on this machine.",
    ),
]
Processor = Annotated[
    str, typer.Option("--processor", metavar="NAME", help="Of the cluster's workers those alone of this processor.")
]
Results = Annotated[
    Path | None,
    typer.Option(
        "--results",
        metavar="DIR",
        help="Where the run's folder is made; default `results`, or for a run's own grid.toml where that run is.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")]


def main() -> None:
    """The console script: a user's mistake is a line each and status 2, an unforeseen error a line and status 1; a
    traceback only where INITBENCH_TRACEBACK is set."""
    output.protect()
    matplotlib_import.own_process = True  # a report depends on no settings of the user's
    warnings.showwarning = lambda message, *_, **__: print(message, file=sys.stderr)  # noqa: T201
    try:
        provide_home()
        app()
    except output.CannotPrint as error:
        if error.reader_left:  # such as `head`, which has what it wanted
            sys.exit(DONE)
        print(f"standard output: cannot be written ({error})", file=sys.stderr)  # noqa: T201
        sys.exit(FAILED)
    except UserError as error:
        for line in error.lines:
            print(line, file=sys.stderr)  # noqa: T201
        sys.exit(MISTAKE)
    except WorkerDied as error:
        print(f"Stopped: {error}. What is finished is kept; run again to go on.", file=sys.stderr)  # noqa: T201
        sys.exit(FAILED)
    except OSError as error:
        print(_reason(error), file=sys.stderr)  # noqa: T201
        sys.exit(FAILED if error.errno in files.NO_ROOM else MISTAKE)
    except Exception as error:
        print(f"initbench: unforeseen error: {_unforeseen(error)}", file=sys.stderr)  # noqa: T201
        sys.exit(FAILED)


def _reason(error: OSError) -> str:
    """Which file the system refused, if it was one, and why."""
    return (f"{error.filename}: " if error.filename else "") + (error.strerror or str(error))


def _unforeseen(error: Exception) -> str:
    """An error in one line, and how to see where it comes from; with INITBENCH_TRACEBACK set, its traceback first."""
    line = printable(f"{type(error).__name__}: {error}".removesuffix(": "))
    if os.environ.get("INITBENCH_TRACEBACK"):
        import traceback

        traceback.print_exc()
        return line
    return f"{line} (INITBENCH_TRACEBACK=1 shows where)"


def say(text: str = "") -> None:
    """A plain line on standard output."""
    typer.echo(text)


def _version(asked: bool) -> None:
    if asked:
        say(f"initbench {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command(cls=output.WorkingCommand, epilog="Example: initbench new --preset keepcoding grid.toml")
def new(
    path: Annotated[Path, typer.Argument(metavar="GRID.TOML", help="The file to write.")],
    preset: Annotated[str, typer.Option("--preset", help="`initbench list presets` names them.")] = "keepcoding",
    force: Force = False,
) -> None:
    """Write a grid file to start from."""
    from initbench.spec import presets

    text = presets.text(preset)
    _refuse_to_overwrite(path, force)
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}")
    files.write_file(path, text.encode())
    say(f"Wrote {path}: {presets.summary(preset)}")
    say(f"Next: initbench plan {_quoted(str(path))}, then initbench run {_quoted(str(path))}")


@app.command(epilog="Example: initbench plan grid.toml --set seed=20")
def plan(
    path: GridPath,
    overrides: Overrides = None,
    smoke: Smoke = False,
    workers: Workers = None,
    width: Width = None,
    device: Device = None,
    results: Results = None,
) -> None:
    """Say what a run would do and take: cells, stacks, time, memory. Nothing is trained or written."""
    from initbench.execution.config import ExecutionConfig, device_in
    from initbench.execution.estimate import duration, estimate
    from initbench.results.experiment import Experiment

    grid, results = _grid(path, overrides, smoke, device, results)
    say(f"{len(grid):,} cells: {grid.shape}")
    made = Experiment(results / grid.name, grid)
    begun = (made.folder / "grid.toml").is_file()
    cells = made.missing() if begun else list(grid.cells())
    _notes(made)
    if len(cells) < len(grid):
        say(f"{len(grid) - len(cells):,} of them are trained already in {made.folder}")
    if cells:
        guess = estimate(cells, grid, ExecutionConfig(workers, width, device=device_in(grid)))
        noun = "worker" if guess.workers == 1 else "workers"
        where = "" if guess.device == "cpu" else ", on the GPU"
        say(f"{guess.stacks:,} {'stack' if guess.stacks == 1 else 'stacks'} to train, on {guess.workers} {noun}{where}")
        say(f"about {duration(guess.seconds)} and {guess.memory / 1e9:.1f} GB of memory (timed on this machine)")
    else:
        say("nothing to train")
    seeds, others = len(grid.axes["seed"]), len(grid.axes["initializer"])
    if seeds < 3 and others > 1:
        why = "there is no interval at all" if seeds == 1 else "the intervals are some thirty times the spread"
        noun = "seed is" if seeds == 1 else "seeds are"
        say(f"Warning: {seeds} {noun} too few for any claim: {why}. Five or more tell: --set seed=5")


@app.command(
    cls=output.WorkingCommand, epilog="Example: initbench run grid.toml --set seed=10 --set learning_rate=0.01,0.1"
)
def run(
    path: GridPath,
    overrides: Overrides = None,
    smoke: Smoke = False,
    workers: Workers = None,
    width: Width = None,
    device: Device = None,
    scheduler: Scheduler = None,
    processor: Processor = "",
    results: Results = None,
) -> None:
    """Train a grid and make its report. Run again, it trains only what is missing."""
    from initbench.execution.config import ExecutionConfig, check_backend, device_in
    from initbench.results.experiment import Experiment
    from initbench.spec.gridfile import is_transient

    results_option = results
    grid, results = _grid(path, overrides, smoke, device, results)
    if is_transient(path):  # what the run keeps of it has the replacements in it
        source = [_quoted(str(results / grid.name / "grid.toml"))]
    else:
        source = [
            _quoted(str(path)),
            *(f"--set {_quoted(pair)}" for pair in overrides or []),
            *["--smoke"] * smoke,
            *([f"--device {device}"] if device else []),
            *([f"--results {_quoted(str(results_option))}"] if results_option else []),
        ]
    again = " ".join(
        [
            "initbench run",
            *source,
            *([f"--workers {workers}"] if workers else []),
            *([f"--width {width}"] if width else []),
            *([f"--scheduler {_quoted(scheduler)}"] if scheduler else []),
            *([f"--processor {_quoted(processor)}"] if processor else []),
        ]
    )
    config = ExecutionConfig(workers, width, scheduler, processor, device_in(grid))
    check_backend(config)
    try:
        with Experiment.writing(grid, results) as made:
            _interrupt_once()
            try:
                failed = _train(made, config)
                reported = _report_after_training(made)
            except KeyboardInterrupt:
                missing = len(made.missing())
                say()
                say(f"Interrupted: {len(grid) - missing:,} of {len(grid):,} cells are kept in {made.folder}.")
                say(f"Go on with: {again}")
                raise typer.Exit(INTERRUPTED) from None
    except (WorkerDied, CannotWrite) as error:
        reason = _reason(error) if isinstance(error, CannotWrite) else str(error)
        print(f"Stopped: {reason}. What is finished is kept.", file=sys.stderr)  # noqa: T201
        print(f"Go on with: {again}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(FAILED) from None
    if failed:
        what = "1 cell failed and is" if len(failed) == 1 else f"{len(failed):,} cells failed and are"
        print(f"{what} left out. To try again: {again}", file=sys.stderr)  # noqa: T201
    if failed or not reported:
        raise typer.Exit(FAILED)


def _report_after_training(made: "Experiment") -> bool:
    """Make the report; whatever fails there takes nothing of the training with it. Returns whether it was made."""
    try:
        _finish(made)
    except Exception as error:
        if isinstance(error, OSError):
            why = _reason(error)
        else:
            why = "; ".join(error.lines) if isinstance(error, UserError) else _unforeseen(error)
        print(  # noqa: T201
            f"The report was not made: {printable(why)}. The results are kept; to make it: "
            f"initbench report {_quoted(str(made.folder))}",
            file=sys.stderr,
        )
        return False
    return True


def _interrupt_once() -> None:
    """The first Ctrl-C interrupts, and so does SIGTERM, or a terminal that is closed; those that follow do not disturb
    the end that it makes. A signal that is ignored, as `nohup` has it, stays ignored."""
    import signal

    every = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
    numbers = [number for number in every if signal.getsignal(number) is not signal.SIG_IGN]

    def handle(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in numbers:
        signal.signal(each, handle)


def _train(made: "Experiment", config: "ExecutionConfig") -> "list[Failed]":
    from initbench.cli.progress import progress
    from initbench.results.experiment import train_all

    missing, others = made.inventory()
    _notes(made)
    if others:
        say(f"{made.folder}: {others:,} more cells that lie there are not of this grid and are left out")
    if not missing:
        say(f"Nothing to train: all {len(made.grid):,} cells are in {made.folder} already.")
        return []
    kept = len(made.grid) - len(missing)
    say(f"{made.folder}: {len(missing):,} cells to train" + (f", {kept:,} are trained already" if kept else ""))
    with progress(len(missing)) as listen:
        return train_all(made, missing, config, listen)


def _finish(made: "Experiment") -> None:
    from initbench.api import write_report
    from initbench.reporting.terminal import summary_table

    frame, environments = made.read()
    path = write_report(made, frame, environments)
    _notes(made)
    summary_table(frame, made.grid)
    say(f"Report: {path}")


@app.command(cls=output.WorkingCommand, epilog="Example: initbench report results/keepcoding")
def report(folder: RunPath) -> None:
    """Make a run's report again."""
    from initbench.api import write_report
    from initbench.results.experiment import Experiment

    made = Experiment.open(folder)
    frame, environments = made.read()
    path = write_report(made, frame, environments)
    _notes(made)
    if frame["cell"].nunique() < len(made.grid):
        say(f"{frame['cell'].nunique():,} of {len(made.grid):,} cells are trained; the report is of these")
    say(f"Report: {path}")


@app.command(cls=output.WorkingCommand, epilog="Example: initbench verify results/keepcoding --sample 20")
def verify(
    folder: RunPath,
    sample: Annotated[int, typer.Option("--sample", min=0, help="How many cells are trained again.")] = 10,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="One number chooses the same cells.")] = None,
    workers: Workers = None,
    device: Device = None,
) -> None:
    """Check a run's folder, and train some of its cells again to see that their bits are the same. Changes nothing."""
    import random

    from initbench.execution.config import ExecutionConfig, check_backend
    from initbench.results.experiment import Experiment
    from initbench.results.verify import check, lines, retrain

    if device not in (None, "auto", "cpu", "cuda"):
        raise UserError(f"--device {device}: allowed: auto, cpu or cuda")
    made = Experiment.open(folder)
    config = ExecutionConfig(workers, device=device or "auto")  # not the grid's device: this machine may lack it
    check_backend(config)
    checked = check(made)
    for line in (*lines(made, checked), *checked.problems):
        say(line)
    wrong, certain = len(checked.problems), False
    if sample and len(checked.cells) > checked.earlier:
        seed = random.randrange(10**6) if seed is None else seed
        say(f"Training some cells again, chosen at random (--seed {seed} chooses the same)")
        again = retrain(made, checked, sample, seed, config)
        for name in again.absent:
            say(f"{name}: is not here, so that its cells cannot be trained again")
        say(f"{again.same} of {again.sampled} cells have the same bits")
        for line in (*again.problems, *again.elsewhere):
            say(line)
        wrong += len(again.problems)
        certain = again.same == again.sampled > 0
    else:
        say("No cell was trained again: its bits are not known to be right")
    if wrong:
        say(f"Not sound: {wrong} {'thing is' if wrong == 1 else 'things are'} wrong")
        raise typer.Exit(FAILED)
    say("Sound" if certain else "Sound, as far as this could be checked")


@app.command(name="list", epilog="Example: initbench list initializers")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="[KIND]",
            help="initializers, activations, losses, optimizers, datasets or presets; without it, all names.",
        ),
    ] = None,
) -> None:
    """List what a grid file may name, with parameters and defaults."""
    kinds = ("initializers", "activations", "losses", "optimizers", "datasets", "presets")
    if kind is None:
        for name in kinds:
            say(f"{name}: {', '.join(_entries(name))}")
        return
    if kind not in kinds:
        raise UserError(f"there is no list of {shown(kind)}; allowed: {', '.join(kinds)}{nearest(kind, kinds)}")
    headings: dict[str, str] = {}
    if kind == "initializers":
        from initbench.initializers.schemes import families

        headings = {names[0]: family for family, names in families().items()}
    for name, (signature, summary) in _entries(kind).items():
        if name in headings:
            say(f"\n{headings[name]}" if name != next(iter(headings)) else headings[name])
        indent = "  " * bool(headings)
        say(indent + (signature if kind != "presets" else name))
        say(f"{indent}    {summary}")


@app.command(cls=output.WorkingCommand, epilog="Example: initbench show he_normal --shape 784,256 --activation relu")
def show(
    scheme: Annotated[str, typer.Argument(metavar="SCHEME", help="A scheme, such as he_normal or 'normal(std=0.2)'.")],
    shape: Annotated[str, typer.Option("--shape", metavar="IN,OUT", help="The shape of the weights.")] = "784,256",
    activation: Annotated[
        str | None, typer.Option("--activation", help="The network's, for schemes that follow it.")
    ] = None,
    position: Annotated[
        str, typer.Option("--position", metavar="first|hidden|last", help="The layer's position.")
    ] = "hidden",
    depth: Annotated[int, typer.Option("--depth", min=1, help="The number of layers.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.PNG", help="The figure; default SCHEME-SHAPE.png.")
    ] = None,
    force: Force = False,
) -> None:
    """Draw a scheme's weights, here and as a figure: their distribution, singular values, and norms of units.

    Of a scheme that looks at data or gradients: the first layer of 784-UNITS-10 on MNIST, for --shape 784,UNITS.
    """
    from initbench.functions.activations import ACTIVATIONS
    from initbench.initializers import INITIALIZERS, schemes
    from initbench.initializers._base import with_law
    from initbench.reporting.figures import weights
    from initbench.training.parameters import first_layer_on_mnist

    if position not in schemes.POSITIONS:
        allowed = f"{', '.join(schemes.POSITIONS)}{nearest(position, schemes.POSITIONS)}"
        raise UserError(f"--position {position}: allowed: {allowed}")
    path = out or Path(f"{scheme.partition('(')[0]}-{shape.replace(',', 'x')}.png")
    if path.suffix not in (".png", ".svg", ".pdf") or path.is_dir():
        raise UserError(f"--out {path}: allowed: a file's name that ends in .png, .svg or .pdf")
    if out:
        _refuse_to_overwrite(out, force)
    sizes = _sizes(shape)
    try:
        choice = INITIALIZERS.resolve(scheme)
        network = schemes.of_network(str(choice))
        given = {"activation": str(ACTIVATIONS.resolve(activation or ("tanh" if network else "relu")))}
        given |= {} if network else {"position": position, "depth": str(depth)}
        used = ", ".join(f"{n} {v}" for n, v in given.items() if network or n in INITIALIZERS[choice.name].supplied)
        say(f"{choice}, {' × '.join(map(str, sizes))}: {INITIALIZERS[choice.name].summary}")
        if network:
            say(f"The first layer of 784-{sizes[-1]}-10 on MNIST, {used}")
            W, law = first_layer_on_mnist(str(choice), sizes, given["activation"], seed), None
        else:
            if used:
                say(f"For {used}")
            supplied = given | {"depth": depth, "fan_in": sizes[0], "seed": seed}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # about weights too large, which are refused below
                W, law = with_law(lambda: INITIALIZERS.call(str(choice), sizes, **supplied))
    except ValueError as error:
        raise UserError(f"{scheme}: {error}" if scheme not in str(error) else str(error)) from None
    if not abs(W).max() < MAX_SHOWN_VALUE:
        raise UserError(
            f"{scheme}: has weights as large as {abs(W).max():.3g}; allowed: what is below {MAX_SHOWN_VALUE:.0e}"
        )
    for line in weights.lines(W, law):
        say(line)
    matrix = "images" if network else "weights"
    panels = ["histogram", matrix, "singular values", "norms"] if len(sizes) > 1 else ["histogram"]
    title = f"{choice}, {' × '.join(map(str, sizes))}"
    files.write_file(path, weights.picture(panels, W, law, title, form=path.suffix[1:]))
    say(f"Figure: {path}")


def _sizes(shape: str) -> tuple[int, ...]:
    """The sizes that --shape names; UserError if they are none, or too many weights."""
    try:
        sizes = tuple(int(size) for size in shape.split(","))
    except ValueError:
        raise UserError(f"--shape {shape}: allowed: whole numbers with commas between, such as 784,256") from None
    if any(size < 1 for size in sizes) or len(sizes) > 8 or math.prod(sizes) > MAX_SHOWN_WEIGHTS:
        raise UserError(f"--shape {shape}: allowed: each size from 1 up, and at most {MAX_SHOWN_WEIGHTS:,} weights")
    return sizes


@app.command(epilog="Example: initbench bench samplers --shape 784,256")
def bench(
    what: Annotated[str, typer.Argument(metavar="samplers", help="What is measured; so far samplers alone.")],
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--shape", metavar="IN,OUT", help="A shape; may be repeated. Default 768,10, 784,256 and 4096,4096."
        ),
    ] = None,
    scheme: Annotated[
        list[str] | None,
        typer.Option("--scheme", metavar="NAME", help="A scheme; may be repeated. Default all that are compared."),
    ] = None,
    cores: Annotated[int, typer.Option("--cores", min=1, help="The cores that each library may use.")] = 1,
) -> None:
    """Time the samplers on this machine, beside every library that is installed: some minutes of a quiet machine."""
    from initbench.initializers import throughput
    from initbench.random import noise
    from initbench.system.hardware import cpu_name
    from initbench.system.threads import available_cores

    if what != "samplers":
        raise UserError(f"bench {what}: allowed: samplers")
    for name in scheme or ():
        if name not in throughput.SCHEMES:
            allowed = ", ".join(throughput.SCHEMES)
            raise UserError(f"--scheme {name}: allowed: {allowed}{nearest(name, throughput.SCHEMES)}")
    if cores > available_cores():
        raise UserError(f"--cores {cores}: allowed: from 1 to {available_cores()}, the cores of this machine")
    asked: list[tuple[int, int]] = []
    for shape in shapes or ():
        sizes = _sizes(shape)
        if len(sizes) != 2:
            raise UserError(f"--shape {shape}: allowed: two whole numbers, such as 784,256")
        asked.append((sizes[0], sizes[1]))
    libraries = throughput.installed()
    absent = [name for name in throughput.LIBRARIES if name not in libraries]
    how = "machine code" if noise.load() is not noise.plain else "NumPy alone, since numba cannot be used here: slower"
    say(f"Nanoseconds a weight on {cores} of {available_cores()} cores, {cpu_name()}; initbench by {how}.")
    say("Of the others, how many times as long they take: more than 1× is slower than initbench.")
    say()
    for line in throughput.header(libraries):
        say(line)
    chosen = [name for name in throughput.SCHEMES if name in (scheme or throughput.SCHEMES)]
    lost: list[str] = []
    for measured in throughput.measure(
        asked or throughput.SHAPES, cores, chosen, lost=lambda name, why: lost.append(f"{name}: {why}")
    ):
        say(throughput.row(measured, libraries))
    if absent or lost:
        say()
    if absent:
        say(f"Not installed: {', '.join(absent)}")
    for line in lost:
        say(f"Left out, since it broke: {line}")


def _entries(kind: str) -> dict[str, tuple[str, str]]:
    from importlib import import_module

    if kind == "presets":
        from initbench.spec import presets

        return {name: (name, presets.summary(name)) for name in presets.names()}
    package = {"initializers": "initializers", "datasets": "data.datasets"}.get(kind, f"functions.{kind}")
    catalogue = getattr(import_module(f"initbench.{package}"), kind.upper())
    if kind == "datasets":
        return {name: (name, summary) for name, summary in catalogue.items()}
    names = list(catalogue)
    if kind == "initializers":
        from initbench.initializers.schemes import families

        names = [name for family in families().values() for name in family]
    also = {name: "  (also of biases)" * ("bias" in catalogue[name].tags) for name in names}
    return {name: (catalogue[name].signature + also[name], catalogue[name].summary) for name in names}


@app.command(cls=output.WorkingCommand, epilog="Example: initbench export results/keepcoding keepcoding.csv")
def export(
    folder: RunPath,
    out: Annotated[Path, typer.Argument(metavar="OUT.CSV|PARQUET|MD|TEX", help="The file to write.")],
    force: Force = False,
) -> None:
    """Write a run's tidy table, one row for each cell and epoch, as CSV or Parquet; or its means as Markdown or LaTeX.

    The means have their intervals, and the initializers among the best are bold.

    In a spreadsheet, import a CSV file's column `cell` as text: some ids look like numbers.
    """
    import io

    from initbench.results.experiment import Experiment
    from initbench.results.table import csv_bytes

    if out.suffix not in (".csv", ".parquet", ".md", ".tex"):
        raise UserError(f"{out}: the name ends in {shown(out.suffix)}; allowed: .csv, .parquet, .md or .tex")
    _refuse_to_overwrite(out, force)
    made = Experiment.open(folder)
    frame = made.frame()
    _notes(made)
    if out.suffix == ".csv":
        content = csv_bytes(frame)
    elif out.suffix in (".md", ".tex"):
        from initbench.reporting import tables

        if frame.empty:
            raise UserError(f"{folder}: no cell of this run is trained yet, so there are no means; run it first")
        content = (tables.markdown if out.suffix == ".md" else tables.latex)(frame, made.grid).encode()
        frame = frame.drop_duplicates([setting for setting in made.grid.axes if setting != "seed"])
    else:
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        content = buffer.getvalue()
    try:
        files.write_file(out, content)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror})") from None
    say(f"{out}: {len(frame):,} rows")


@app.command(cls=output.WorkingCommand, epilog="Example: initbench figures results/keepcoding --format pdf")
def figures(
    folder: RunPath,
    form: Annotated[str, typer.Option("--format", metavar="svg|pdf|png", help="What kind of files.")] = "svg",
    into: Annotated[
        Path | None, typer.Option("--into", metavar="DIR", help="Where to; default `figures` in the run's folder.")
    ] = None,
) -> None:
    """Write the report's figures as files for a paper, with their fonts embedded."""
    from initbench.api import write_figures
    from initbench.results.experiment import Experiment

    made = Experiment.open(folder)
    paths = write_figures(made, form, into)
    _notes(made)
    say(f"{paths[0].parent}: {len(paths)} figures")


@app.command(
    cls=output.WorkingCommand,
    epilog="Example: initbench compare main/results/mine branch/results/mine --fail-if-worse 0.5",
)
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A run's folder.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Another's: new code, new versions, a new machine.")],
    worse: Annotated[
        float | None,
        typer.Option(
            "--fail-if-worse",
            metavar="POINTS",
            min=0,
            help="Exit with 1 if a setting is worse by so many points of test accuracy or more, or cells are missing.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.HTML", help="The report; default compare-BEFORE-AFTER.html beside AFTER."),
    ] = None,
    force: Force = False,
) -> None:
    """Compare two runs, cell by cell: what moved beyond noise, as a report and as an exit status."""
    from initbench.api import changed
    from initbench.reporting import comparison
    from initbench.results.experiment import Experiment

    if worse is not None and not math.isfinite(worse):
        raise UserError(f"--fail-if-worse {worse}: allowed: a number of percentage points from 0 up, such as 0.5")
    if out and (out.suffix != ".html" or out.is_dir()):
        raise UserError(f"--out {out}: allowed: a file's name that ends in .html")
    if out:
        _refuse_to_overwrite(out, force)
    runs = [Experiment.open(folder) for folder in (before, after)]
    table, left, right = changed(*runs)
    for made in runs:
        _notes(made)
    path = out or after.resolve().parent / f"compare-{runs[0].grid.name}-{runs[1].grid.name}.html"
    limit = "" if worse is None else f" --fail-if-worse {abs(worse):g}"
    command = f"initbench compare {_quoted(str(before))} {_quoted(str(after))}{limit}"
    page = comparison.render(table, left, right, worse, command)
    for sentence in comparison.sentences(table, left, right, worse):
        say(sentence)
    try:
        files.write_file(path, page.encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); give --out FILE.HTML") from None
    say(f"Report: {path}")
    if worse is not None and comparison.failing(table, left, worse):
        raise typer.Exit(FAILED)


@app.command(
    cls=output.WorkingCommand,
    epilog="Example: initbench merge here/results/mine there/results/mine --into results/both",
)
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN ...", help="The runs to join.")],
    into: Annotated[Path, typer.Option("--into", metavar="RUN", help="The new run's folder.")],
) -> None:
    """Join runs, of other machines say, each cell once; cells that disagree are named."""
    from initbench.results.merge import merge_experiments

    try:
        made, lines = merge_experiments(folders, into)
    except CannotWrite as error:
        again = " ".join(_quoted(str(folder)) for folder in folders)
        typer.echo(err=True, message=f"Stopped: {error.filename}: {error.strerror}. What is joined is kept.")
        typer.echo(err=True, message=f"Go on with: initbench merge {again} --into {_quoted(str(into))}")
        raise typer.Exit(FAILED) from None
    for line in lines:
        typer.echo(line, err=True)
    missing = len(made.missing())
    say(f"{made.folder}: {len(made.grid) - missing:,} of {len(made.grid):,} cells")
    say(f"Next: initbench report {_quoted(str(made.folder))}")


@app.command(cls=output.WorkingCommand, epilog="Example: initbench clean results/keepcoding")
def clean(
    folder: RunPath,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove what a run wrote; other files in its folder stay."""
    from initbench.results.clean import check_cleanable
    from initbench.results.clean import clean as remove

    check_cleanable(folder)
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"{folder}: not removed; give --yes to remove it without being asked")
        if not typer.confirm(f"Remove all results in {folder}?"):
            say("Nothing removed.")
            return
    try:
        cleaned = remove(folder)
    except OSError as error:
        typer.echo(
            err=True,
            message=f"{error.filename}: cannot be removed ({error.strerror}); what comes after it is still there",
        )
        typer.echo(err=True, message=f"Go on with: initbench clean {_quoted(str(folder))}")
        raise typer.Exit(FAILED) from None
    say(f"Removed from {folder}: {', '.join(cleaned.removed) or 'nothing'}")
    if cleaned.remaining:
        more = f" and {len(cleaned.remaining) - MAX_KEPT} more" if len(cleaned.remaining) > MAX_KEPT else ""
        say(printable(f"Kept, as the run did not write it: {', '.join(cleaned.remaining[:MAX_KEPT])}{more}"))
    if cleaned.folder_stays:
        say(f"{folder}: is empty now; the folder itself stays")


@app.command(epilog="Example: initbench schema > grid.schema.json")
def schema() -> None:
    """Print the JSON schema of the grid file, with which an editor completes it."""
    import json

    from initbench.spec.settings import schema as grid_schema

    say(json.dumps(grid_schema(), indent=1))


for _command in app.registered_commands:  # Typer takes its help from the docstring, which `python -OO` drops
    if _command.callback and not _command.help:
        _command.help = documentation(_command.callback)


def _refuse_to_overwrite(path: Path, force: bool) -> None:
    """UserError if a file that the user names exists, and is not to be replaced; a name that the program chooses, such
    as a report's, is written again."""
    if path.exists() and not force:
        raise UserError(f"{path}: exists already; give another name, or --force to overwrite it")


def _grid(
    path: Path, overrides: list[str] | None, smoke: bool, device: str | None, results: Path | None
) -> "tuple[Grid, Path]":
    """The grid of a file, and the folder in which its run's folder is."""
    from initbench.spec.grid import read
    from initbench.spec.gridfile import experiment_folder, results_for

    grid = read(path, _pairs(overrides or []) | ({"device": device} if device else {}), smoke=smoke)
    if results is None:
        results = results_for(path, grid.name)
        if experiment_folder(path):
            say(f"{path} is a run's own grid: results go to {results / grid.name} (--results DIR for another place)")
    return grid, results


def _pairs(texts: list[str]) -> dict[str, Any]:
    """What stands after each --set; UserError with a line for each that is none."""
    wrong = [text for text in texts if not text.partition("=")[0].strip() or "=" not in text]
    if wrong:
        allowed = "allowed: KEY=VALUE, such as --set seed=10 or --set 'hidden=[128, 128]'"
        raise UserError(*(f"--set {text}: {allowed}" for text in wrong))
    return dict(map(_pair, texts))


def _pair(text: str) -> tuple[str, Any]:
    """`key=value`, the value read as TOML, or taken as a word or words: seed=3, activation=tanh, loss=mse,mae."""
    import tomllib

    key, _, value = text.removeprefix("\ufeff").partition("=")
    for form in (value, f"[{value}]" if "," in value else value):
        with contextlib.suppress(ValueError, RecursionError):  # no TOML, or an endless number, or one too deep
            return key.strip(), tomllib.loads(f"value = {form}")["value"]
    words = [word.strip() for word in value.split(",")]
    return key.strip(), words if len(words) > 1 and all(word.isidentifier() for word in words) else value.strip()


def _notes(made: "Experiment") -> None:
    from initbench.api import take_notes

    for line in take_notes(made):
        typer.echo(line, err=True)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
