"""Write the outputs of an experiment: report, figures, tables, comparison."""

import io
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from initbench import __version__
from initbench.api import unchanged
from initbench.errors import UserError, nearest, printable, shown
from initbench.reporting import drawers
from initbench.reporting.layout import layout_of
from initbench.results import store
from initbench.results.experiment import Experiment
from initbench.spec import presets
from initbench.spec.columns import METRICS
from initbench.system import files

if TYPE_CHECKING:
    import pandas as pd

    from initbench.reporting.comparison import Side
    from initbench.reporting.evidence import Evidence
    from initbench.reporting.trackers.runs import Run

PAGE = "report.html"
FORMS = ("svg", "pdf", "png")  # of figures
TIDY_NAMES = (".csv", ".parquet", ".xlsx")  # of tables with a row for each cell and epoch
TABLE_NAMES = (*TIDY_NAMES, ".md", ".tex", ".txt")
LAYOUTS = ("pivot", "long")  # of the table of means
TABLES = ("runs", "signal")  # with a row for each cell and epoch, or for each statistic of a layer
TRACKERS = ("wandb", "mlflow", "tensorboard")


@dataclass(frozen=True)
class Report:
    """A report, the number of cells in it, and whether it was there already, made from the same."""

    path: Path
    n_trained: int
    unchanged: bool


def report(experiment: Experiment, drawer: "drawers.Drawer | None" = None) -> Report:
    """Write the report of an experiment to its folder, unless it is there already, made from the same.

    `drawer` draws its figures: see `reporting.drawers.started`. By default one is started if there may be a need.
    """
    with ExitStack() as stack:
        if drawer is None and not unchanged.is_recorded(experiment.folder / PAGE):
            drawer = stack.enter_context(drawers.started())  # they import while this process reads and computes
        return update_report(experiment, *experiment.read(), drawer=drawer)


def update_report(
    experiment: Experiment,
    frame: "pd.DataFrame",
    environments: Iterable[Mapping[str, str]],
    evidence: "Evidence | None" = None,
    drawer: "drawers.Drawer | None" = None,
) -> Report:
    """As `report`, of what `Experiment.read` returned; `drawer` draws its figures: see `reporting.drawers.started`."""
    path = experiment.folder / PAGE
    timings = store.read_timings(experiment.folder, experiment.notes)
    is_current = unchanged.is_current(path, unchanged.inputs(experiment, timings))
    if not is_current:
        write_report(experiment, frame, environments, evidence, drawer)
    return Report(path, frame["cell"].nunique(), is_current)


def evidence_of(experiment: Experiment, frame: "pd.DataFrame") -> "Evidence | None":
    """Return the derived tables of an experiment, each computed when it is first used; None without a trained cell."""
    return None if frame.empty else trained_evidence(experiment, frame)


def trained_evidence(experiment: Experiment, frame: "pd.DataFrame") -> "Evidence":
    """Return the derived tables of an experiment whose table has at least one row."""
    from initbench.reporting.evidence import REPORTED_STATISTICS, Evidence
    from initbench.reporting.limits import MAX_SIGNAL_ROWS

    read_signal = partial(experiment.signal, REPORTED_STATISTICS, MAX_SIGNAL_ROWS)
    return Evidence.of(frame, experiment.grid, experiment.plugins, read_signal)


def write_report(
    experiment: Experiment,
    frame: "pd.DataFrame",
    environments: Iterable[Mapping[str, str]],
    evidence: "Evidence | None" = None,
    drawer: "drawers.Drawer | None" = None,
) -> Path:
    """Write the report of what `Experiment.read` returned to the experiment's folder; returns its path.

    `evidence` holds tables that are derived already; by default they are derived from `frame`. `drawer` draws the
    figures, by default this process, or if it has not imported matplotlib, processes of their own.
    """
    if drawer is None:
        with drawers.started() as processes:
            return write_report(experiment, frame, environments, evidence, processes)
    from initbench.reporting.page import render

    timings = store.read_timings(experiment.folder, experiment.notes)
    rounds, seen = experiment.rounds, experiment.seeds_seen
    evidence = evidence or evidence_of(experiment, frame)
    command = _run_command(experiment)
    page = render(
        frame, experiment.grid, environments, command, timings, evidence, seen, rounds, experiment.plugins, drawer
    )
    path, content = experiment.folder / PAGE, page.encode()
    files.write_file(path, content)
    unchanged.record(path, unchanged.inputs(experiment, timings), content)
    return path


def write_signal_page(experiment: Experiment, table: "pd.DataFrame") -> Path:
    """Write the page about the signal before training to the experiment's folder; returns its path.

    `table` is the experiment's signal table, with a row at least.
    """
    from initbench.reporting import signal_page

    path = experiment.folder / signal_page.PAGE
    page = signal_page.render(table, experiment.cells, experiment.grid, _run_command(experiment))
    files.write_file(path, page.encode())
    return path


def _run_command(experiment: Experiment) -> str:
    """Return the command that trains an experiment."""
    from initbench.reporting import own_functions

    words = ["initbench", "run", presets.named_by(experiment.grid.text) or f"{experiment.grid.name}.toml"]
    return own_functions.command(words, experiment.grid, experiment.plugins)


def write_figures(
    experiment: Experiment,
    form: str,
    into: str | Path | None = None,
    *,
    title: bool = False,
    width: str | float | None = None,
    style: str = "paper",
) -> list[Path]:
    """Write the report's figures as files, by default into `figures` in its folder; returns their paths."""
    if form not in FORMS:
        raise UserError(f"format = {shown(form)} is not allowed; allowed: {', '.join(FORMS)}{nearest(form, FORMS)}")
    layout = layout_of(style, width)
    folder = Path(into) if into else store.own_folder(experiment.folder, "figures")
    frame = _trained(experiment, "draw")
    from initbench.reporting.gallery import named_gallery
    from initbench.reporting.palette import Palette

    evidence = trained_evidence(experiment, frame)
    if len(evidence.shown) < len(evidence.combinations):
        experiment.notes.append(
            f"figures show the first {len(evidence.shown)} of {len(evidence.combinations)} combinations"
        )
    folder.mkdir(parents=True, exist_ok=True)
    contents: dict[Path, bytes] = {}
    palette = Palette.of(evidence.initializers)
    missing_glyphs: set[str] = set()
    with drawers.started() as drawer:
        drawn = {
            folder / f"{name}.{form}": drawer.submit("as_file", figure.figure, form, title, layout)
            for name, figure in named_gallery(evidence, palette)
        }
        for path, collect in drawn.items():
            contents[path], missing = collect()
            missing_glyphs |= missing
    if not into:
        store.list_figures(experiment.folder, {path.name: content for path, content in contents.items()})
    for path, content in contents.items():
        files.write_file(path, content)
    if missing_glyphs:
        experiment.notes.append(
            f"figures: no font on this machine has {' '.join(sorted(missing_glyphs))}, so boxes are drawn instead; "
            "install a font that has them, such as Noto, and write the figures again"
        )
    return list(contents)


def write_table(experiment: Experiment, path: Path, **options: str) -> str:
    """Write what the name's ending asks for, and return how much it is, in words.

    The tidy table or the signal table (.csv, .parquet, .xlsx), the table of means (.md, .tex) or the methods as a
    paragraph (.txt). `options` are `table`, one of `TABLES`, and those of `reporting.tables.markdown` and `latex`.
    """
    check_table(path, options)
    if path.suffix in TIDY_NAMES:
        of_signal = options.get("table") == "signal"
        frame = experiment.signal() if of_signal else experiment.frame()
        write(path, _content(frame, of_signal, path))
        return f"{len(frame):,} {'row' if len(frame) == 1 else 'rows'}"
    from initbench.reporting import methods, tables

    frame, environments = experiment.read()
    refuse_empty(frame, experiment, "describe" if path.suffix == ".txt" else "average")
    evidence = trained_evidence(experiment, frame)
    if path.suffix == ".txt":
        text = methods.methods(evidence, environments, experiment.seeds_seen)
        write(path, f"{text}\n".encode())
        return f"{len(text.split()):,} words"
    text = (tables.markdown if path.suffix == ".md" else tables.latex)(evidence, **options)
    write(path, text.encode())
    rows = tables.table_of(evidence, **{name: options[name] for name in ("layout", "metric") if name in options}).rows
    return f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'}"


def _content(frame: "pd.DataFrame", of_signal: bool, path: Path) -> bytes:
    """Return the tidy table or the signal table as the bytes of a file of this name."""
    from initbench.results import signal, spreadsheet, table

    if path.suffix == ".csv":
        return signal.csv_bytes(frame) if of_signal else table.csv_bytes(frame)
    if path.suffix == ".xlsx":
        return spreadsheet.xlsx_bytes(frame, path)
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def check_table(path: Path, options: Mapping[str, str]) -> None:
    """Raise UserError unless `write_table` can write a file of this name with these options."""
    if path.suffix not in TABLE_NAMES:
        raise UserError(
            f"{path}: the name ends in {shown(path.suffix)}; allowed: .csv, .parquet, .xlsx, .md, .tex or .txt"
        )
    if path.suffix == ".xlsx":
        from initbench.results import spreadsheet

        spreadsheet.check_installed(path)
    for name, value in options.items():
        endings = {"label": (".tex",), "table": TIDY_NAMES}.get(name, (".md", ".tex"))
        if path.suffix not in endings:
            raise UserError(
                f"--{name}: not allowed with {path}; allowed: with a name that ends in {' or '.join(endings)}"
            )
        allowed = {"layout": LAYOUTS, "metric": METRICS, "table": TABLES}.get(name, ())
        if allowed and value not in allowed:
            raise UserError(f"--{name} {shown(value)}: allowed: {', '.join(allowed)}{nearest(value, allowed)}")
        if name == "label" and not re.fullmatch(r"[A-Za-z0-9:._/+-]+", value):
            raise UserError(f"--label {shown(value)}: allowed: letters, digits and : . _ / + -, such as tab:results")


@dataclass(frozen=True)
class Exported:
    """The runs of an experiment in a tracker: how many were written, of how many, in how many groups.

    `view` is the command that shows them, or for W&B the one that uploads them; empty if they are uploaded.
    """

    written: int
    runs: int
    groups: int
    destination: str
    view: str


def check_tracker(tracker: str, project: str | None = None) -> None:
    """Raise UserError unless `write_runs` has a tracker of this name, its client, and a project of this name."""
    from initbench.reporting.trackers import clients
    from initbench.spec.settings import NAME, NAMES_ALLOWED

    if tracker not in TRACKERS:
        raise UserError(f"--to {shown(tracker)}: allowed: {', '.join(TRACKERS)}{nearest(tracker, TRACKERS)}")
    if project is not None and not re.fullmatch(NAME, project):
        raise UserError(f"--project {shown(project)}: allowed: {NAMES_ALLOWED}")
    with clients.quiet():
        clients.imported(tracker)


def write_runs(
    experiment: Experiment,
    tracker: str,
    project: str | None = None,
    into: Path | None = None,
    *,
    force: bool = False,
    track: "Callable[[Sequence[Run]], Iterable[Run]]" = iter,
) -> Exported:
    """Write a run for each trained cell, by one of `TRACKERS`, grouped by configuration.

    `project` is the name of W&B's project, MLflow's experiment or TensorBoard's folder, by default the experiment's;
    in one project a cell is written once, unless `force` replaces it. `into` is the folder; by default the one that the
    tracker's own client writes to. `track` iterates over the runs and may show how far that is.
    """
    from initbench.reporting.trackers import clients, mlflow, runs, tensorboard, wandb

    check_tracker(tracker, project)
    is_online = tracker == "wandb" and wandb.mode() == "online"
    frame = _trained(experiment, "export")
    all_runs = list(runs.runs_of(frame, experiment.signal(), experiment.grid))
    project = project or experiment.grid.name
    tags = {"experiment": experiment.grid.name, "initbench": __version__}
    with clients.quiet():
        if tracker == "mlflow":
            destination = mlflow.tracking_uri(into)
            view = mlflow.view(destination)
            written = mlflow.write(track(all_runs), destination, project, tags, force)
        else:
            parent = into or Path(tensorboard.FOLDER if tracker == "tensorboard" else wandb.FOLDER)
            folder = parent / project
            destination = str(folder)
            if tracker == "tensorboard":
                view = f"tensorboard --logdir {shlex.quote(str(parent))}"
                written = tensorboard.write(track(all_runs), folder, tags, force)
            else:
                view = "" if is_online else f"wandb sync {shlex.quote(str(folder))}/offline-run-*"
                written = wandb.write(track(all_runs), folder, project, tags, force)
                if is_online:
                    wandb.sync(folder)
    groups = len({run.configuration for run in all_runs})
    return Exported(written, len(all_runs), groups, destination, view)


@dataclass(frozen=True)
class Comparison:
    """A comparison that was written: its page, its sentences, and its outcome where the user gave a limit."""

    path: Path
    sentences: list[str]
    outcome: str | None


def write_comparison(
    before: Experiment, after: Experiment, worse: float | None = None, out: Path | None = None
) -> Comparison:
    """Write the page that compares two experiments, next to the second by default.

    `worse` is the loss of test accuracy, in percentage points, that is not acceptable: see `stats.outcome`.
    """
    from initbench import stats
    from initbench.reporting import comparison

    table, left, right = changes(before, after)
    path = out or after.folder.resolve().parent / f"compare-{before.grid.name}-{after.grid.name}.html"
    command = ["initbench", "compare", str(before.folder), str(after.folder)]
    command += [] if worse is None else ["--fail-if-worse", f"{abs(worse):g}"]
    page = comparison.render(table, left, right, worse, shlex.join(command))
    write(path, page.encode(), "; give --out FILE.HTML")
    outcome = None if worse is None else stats.outcome(table, worse)
    return Comparison(path, comparison.sentences(table, left, right, worse), outcome)


def changes(before: Experiment, after: Experiment) -> tuple["pd.DataFrame", "Side", "Side"]:
    """Return `stats.changes` of two experiments, and what the page that compares them names of each.

    If a rule added the seeds of the second one, those of the first that it did not request are left out: they are not
    missing. Own functions correspond by their names: those of the first experiment get the digests of the second.
    """
    from initbench import stats
    from initbench.reporting import names, own_functions
    from initbench.reporting.comparison import Side
    from initbench.reporting.evidence import chances

    changed = own_functions.replacements(before.grid, after.grid)
    frames, sides = [], []
    for experiment in (before, after):
        frame, environments = experiment.read()
        refuse_empty(frame, experiment, "compare")
        if experiment is before and after.rounds:
            not_requested = set(after.grid.cells()) - set(after.rounds.cells)
            left_out = [c.id for c in before.cells if own_functions.replaced_in(c, changed) in not_requested]
            frame = frame[~frame["cell"].isin(left_out)]
        if experiment is before and changed:
            for setting in names.FUNCTIONS:
                texts = {text: own_functions.replaced(str(text), changed) for text in frame[setting].unique()}
                frame = frame.assign(**{setting: frame[setting].map(texts)})
        frames.append(frame)
        options = own_functions.options(experiment.grid, experiment.plugins)
        folder = str(experiment.folder)
        sides.append(Side(experiment.grid.name, frame["cell"].nunique(), environments, folder, options))
    sides[1] = replace(sides[1], changed=tuple(changed.items()))
    table = stats.changes(frames[0], frames[1], chance={**chances(before.grid), **chances(after.grid)})
    if table.empty:
        raise UserError(
            f"{before.folder} and {after.folder}: have no cell in common; allowed: experiments of one grid, or of "
            "grids that overlap in all settings, the seed too"
        )
    if sides[0].name == sides[1].name:  # two experiments of one grid are named by their folders
        sides = [
            replace(side, name=printable(str(experiment.folder)))
            for side, experiment in zip(sides, (before, after), strict=True)
        ]
    return table, sides[0], sides[1]


def _trained(experiment: Experiment, purpose: str) -> "pd.DataFrame":
    frame = experiment.frame()
    refuse_empty(frame, experiment, purpose)
    return frame


def refuse_empty(frame: "pd.DataFrame", experiment: Experiment, purpose: str) -> None:
    """Raise UserError if a table has no trained cell; `purpose` is what it is needed for: `compare`, `draw`."""
    if frame.empty:
        raise UserError(f"{experiment.folder}: no cell is trained yet, so there is nothing to {purpose}; run it first")


def write(path: Path, content: bytes, hint: str = "") -> None:
    """Write a file that the user named; UserError with the reason and a hint if it cannot be written."""
    try:
        files.write_file(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}){hint}") from None
