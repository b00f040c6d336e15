"""`report`, `figures`, `export` and `compare`: the outputs of an experiment."""

import math
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from initbench.cli import completion, early
from initbench.cli.options import UNCHANGED, Folder, Force, print_notes, refuse_to_overwrite
from initbench.cli.program import FAILED, INCONCLUSIVE, WorkingCommand, app, import_numpy, plural, say
from initbench.errors import UserError

if TYPE_CHECKING:
    from initbench.results.experiment import Experiment


@app.command(cls=WorkingCommand, epilog="Example: initbench report results/keepcoding")
def report(folder: Folder) -> None:
    """Write the report of an experiment again, unless all that it is made from is unchanged."""
    write_report(folder)


def write_report(folder: Path) -> Path:
    """Write the report of an experiment, unless it is there, made from the same; print and return its path."""
    with early.drawer(folder.is_dir()) as drawer:  # which imports while this process does
        import_numpy()
        from initbench.api import outputs, rounds

        experiment = rounds.opened(folder)
        written = outputs.report(experiment, drawer)
    print_notes(experiment)
    if written.n_trained < len(experiment):
        say(f"{written.n_trained:,} of {len(experiment):,} cells are trained; the report covers these")
    say(f"Report: {written.path}{UNCHANGED * written.unchanged}")
    return written.path


@app.command(cls=WorkingCommand, epilog="Example: initbench figures results/keepcoding --format pdf --width one-column")
def figures(
    folder: Folder,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="svg|pdf|png",
            help="The format of the files.",
            autocompletion=completion.choices("svg", "pdf", "png"),
        ),
    ] = "svg",
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="DIR", help="The folder of the files; default: figures, in the experiment's."),
    ] = None,
    title: Annotated[
        bool, typer.Option("--title/--no-title", help="Whether each figure's title stands above it.")
    ] = False,
    width: Annotated[
        str | None,
        typer.Option(
            "--width",
            metavar="LENGTH",
            help="The width at which figures are laid out: a length in in, cm, mm or pt, such as 3.25in; one-column "
            "(3.25in) or two-column (6.75in). Default: each figure's own; on slides 12in.",
        ),
    ] = None,
    style: Annotated[
        str,
        typer.Option(
            "--style",
            metavar="paper|slides",
            help="The size of letters and lines: 7 to 9 points in a paper, 12 to 16 on slides of 13.33in by 7.5in.",
            autocompletion=completion.choices("paper", "slides"),
        ),
    ] = "paper",
) -> None:
    """Write the report's figures as files for a paper or for slides, with embedded fonts."""
    from initbench.api import outputs, rounds

    experiment = rounds.opened(folder)
    paths = outputs.write_figures(experiment, form, into, title=title, width=width, style=style)
    print_notes(experiment)
    say(f"{paths[0].parent}: {len(paths)} figures")


@app.command(
    cls=WorkingCommand,
    epilog="Example: initbench export results/keepcoding runs.csv; or initbench export results/keepcoding --to mlflow",
)
def export(
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Argument(metavar="OUT.CSV|PARQUET|XLSX|MD|TEX|TXT", help="The file to write.", show_default=False),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            metavar="runs|signal",
            help="In .csv, .parquet and .xlsx: a row for each cell and epoch (the default), or the signal in the "
            "networks, a row for each cell, epoch, layer and statistic.",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="pivot|long",
            help="In .md and .tex: a row for each initializer and a column for each combination (the default for 2 to "
            "16 combinations), or a row for each initializer of each combination.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="In .md and .tex: test_accuracy (the default), validation_accuracy, test_loss, validation_loss or "
            "train_loss, after the last epoch.",
        ),
    ] = None,
    caption: Annotated[
        str | None, typer.Option(metavar="TEXT", help="In .md and .tex: the caption; .tex is a complete table then.")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="In .tex: the table's name for \\ref; .tex is a complete table then."),
    ] = None,
    tracker: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="wandb|mlflow|tensorboard",
            help="Instead of a file: a run for each cell in an experiment tracker, grouped by configuration.",
            autocompletion=completion.choices("wandb", "mlflow", "tensorboard"),
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --to: the project; default: the experiment's name.",
        ),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="DIR", help="With --to: the folder; default: that of the tracker's own client."),
    ] = None,
    force: Force = False,
) -> None:
    """Write an experiment's results as a table, its methods as text, or its runs to an experiment tracker.

    A name in .csv, .parquet or .xlsx writes the tidy table, one row per cell and epoch, or with --table signal the
    signal in the networks; a name in .md or .tex the table of means with their intervals, the best initializers in
    bold; a name in .txt a paragraph on the methods, with numbers of runs and versions, for a paper.

    When a spreadsheet imports a CSV file, choose text for the column `cell`: some ids look like numbers.

    With --to, a run for each cell goes to Weights & Biases (offline, unless WANDB_MODE=online), MLflow or TensorBoard.
    Runs that are there are left as they are; --force writes them again.
    """
    from initbench.api import outputs, rounds

    every = {"table": table, "layout": layout, "metric": metric, "caption": caption, "label": label}
    options = {name: value for name, value in every.items() if value is not None}
    if tracker is not None:
        if out is not None or options:
            not_allowed = out if out is not None else f"--{next(iter(options))}"
            raise UserError(f"{not_allowed}: not allowed with --to; allowed: --project, --into and --force")
        outputs.check_tracker(tracker, project)
        _export_runs(rounds.opened(folder), tracker, project, into, force)
        return
    if out is None:
        raise UserError("no file is named; name one to write, such as runs.csv, or a tracker, such as --to mlflow")
    if project is not None or into is not None:
        raise UserError(f"--{'into' if project is None else 'project'}: allowed: together with --to")
    outputs.check_table(out, options)
    refuse_to_overwrite(out, force)
    experiment = rounds.opened(folder)
    size = outputs.write_table(experiment, out, **options)
    print_notes(experiment)
    say(f"{out}: {size}")


def _export_runs(experiment: "Experiment", tracker: str, project: str | None, into: Path | None, force: bool) -> None:
    """Write runs to a tracker, and print what was done."""
    from rich.progress import track

    from initbench.api import outputs

    show = partial(track, description=f"{tracker}:", transient=True) if sys.stdout.isatty() else iter
    exported = outputs.write_runs(experiment, tracker, project, into, force=force, track=show)
    print_notes(experiment)
    if exported.runs < len(experiment):
        say(f"{exported.runs:,} of {len(experiment):,} cells are trained; the others have no run")
    if exported.view:
        say(f"{'Upload' if tracker == 'wandb' else 'View'}: {exported.view}")
    present = exported.runs - exported.written
    earlier = f"; {plural(present, 'run')} were there (--force writes them again)" if present else ""
    groups = plural(exported.groups, "group")
    say(f"{plural(exported.written, 'run')} in {groups} written to {exported.destination}{earlier}")


@app.command(
    cls=WorkingCommand,
    epilog="Example: initbench compare main/results/mine branch/results/mine --fail-if-worse 0.5",
)
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="An experiment's folder.")],
    after: Annotated[
        Path, typer.Argument(metavar="AFTER", help="Another's, of new code, new versions or a new machine.")
    ],
    worse: Annotated[
        float | None,
        typer.Option(
            "--fail-if-worse",
            metavar="POINTS",
            min=0,
            help="Exit with status 1 if a configuration, or the mean over all, loses at least POINTS percentage points "
            "of test accuracy significantly, or if cells are missing; with 3 if no such loss is shown, and none can be "
            "excluded.",
        ),
    ] = None,
    allow_inconclusive: Annotated[
        bool, typer.Option("--allow-inconclusive", help="Exit with status 0 instead of 3.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.HTML", help="The page; default: compare-BEFORE-AFTER.html next to AFTER."),
    ] = None,
    force: Force = False,
) -> None:
    """Compare two experiments cell by cell: significant changes, as a page and as an exit status."""
    from initbench.api import outputs, rounds

    if worse is not None and not math.isfinite(worse):
        raise UserError(f"--fail-if-worse {worse}: allowed: a number of percentage points from 0 up, such as 0.5")
    if allow_inconclusive and worse is None:
        raise UserError("--allow-inconclusive: allowed: together with --fail-if-worse POINTS")
    if out and (out.suffix != ".html" or out.is_dir()):
        raise UserError(f"--out {out}: allowed: a file name that ends in .html")
    if out:
        refuse_to_overwrite(out, force)
    experiments = rounds.opened(before), rounds.opened(after)
    comparison = outputs.write_comparison(*experiments, worse, out)
    for experiment in experiments:
        print_notes(experiment)
    for sentence in comparison.sentences:
        say(sentence)
    say(f"Report: {comparison.path}")
    if comparison.outcome == "failed":
        raise typer.Exit(FAILED)
    if comparison.outcome == "inconclusive" and not allow_inconclusive:
        raise typer.Exit(INCONCLUSIVE)
