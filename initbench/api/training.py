"""Plan and train a grid: the work of `plan` and `run`, in Python and on the command line."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from initbench.api import first_run, rounds
from initbench.api.outputs import Report, evidence_of, update_report
from initbench.durations import duration
from initbench.errors import CannotWrite, UserError, WorkerDied
from initbench.execution import start
from initbench.execution.config import ExecutionConfig, check_backend
from initbench.execution.estimate import Estimate, estimates
from initbench.execution.events import Event, Finished, Lost, Notice, Progress, Untrained
from initbench.execution.plan import Stack
from initbench.execution.pool import WorkerPool
from initbench.execution.processes import WorkerProcess
from initbench.execution.training import planned_training
from initbench.plugins import store
from initbench.plugins.bundle import Bundle
from initbench.plugins.consent import Allow, refuse_unless_allowed
from initbench.reporting import drawers
from initbench.results import looks
from initbench.results.experiment import Experiment, stored_sources
from initbench.results.plugin_file import own_names
from initbench.results.rounds import Rounds
from initbench.spec.cell import Cell
from initbench.spec.grid import Grid, read
from initbench.spec.gridfile import experiment_folder, results_for
from initbench.spec.own import code_missing

if TYPE_CHECKING:
    import pandas as pd

    from initbench.reporting.evidence import Evidence

# What a report, and the summary in the terminal, need in this process; figures are drawn in others.
FOR_REPORT = ("initbench.reporting.page", "initbench.reporting.terminal", "rich.console", "rich.table")


@dataclass(frozen=True)
class TrainingEstimate:
    """The cost of training a grid: its missing cells, and the estimate for them; None if nothing is missing.

    With a rule for the seeds these are the cells of its next round, the least that it requests; `most` estimates all
    that it can request. Without a rule, or if nothing can follow that round, `most` is None.
    """

    experiment: Experiment
    missing: Sequence[Cell]
    estimate: Estimate | None
    most: Estimate | None = None

    @property
    def n_trained(self) -> int:
        """The number of cells that are trained already."""
        return len(self.experiment) - len(self.missing)

    @property
    def seeds(self) -> int:
        """The number of seeds; the most if a rule adds them."""
        return len(self.experiment.grid.axes["seed"])

    @property
    def too_few_seeds(self) -> bool:
        """Whether initializers are compared, with too few seeds for any claim."""
        from initbench.stats import MIN_SEEDS

        return self.seeds < MIN_SEEDS and len(self.experiment.grid.axes["initializer"]) > 1


@dataclass(frozen=True)
class Started:
    """The first event of a run: its missing cells, and the number of stored cells that are not of its grid."""

    experiment: Experiment
    missing: Sequence[Cell]
    n_unrelated: int

    @property
    def n_trained(self) -> int:
        """The number of cells that are trained already."""
        return len(self.experiment) - len(self.missing)


@dataclass(frozen=True)
class Looked:
    """The rule for the seeds has looked at a complete round: its state, with the cells of the next one."""

    rounds: Rounds


@dataclass(frozen=True)
class RunResult:
    """The outcome of a run: the cells that no worker could train, the tidy table, and the report.

    If no report was requested, `frame` is the table and `report` None. If one was, both are set; or, if writing it
    raised an error, both are None and `report_error` is the error. The training is stored in any case. `evidence` holds
    the tables of the report; None without a report or without a trained cell.
    """

    experiment: Experiment
    untrained: Sequence[Untrained]
    frame: "pd.DataFrame | None" = None
    report: Report | None = None
    report_error: Exception | None = None
    evidence: "Evidence | None" = None


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run. Finished stacks are stored; the message is what was kept and what was lost."""

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of the traceback: the message alone."""
        return [f"Interrupted. {self}"]


class _Account:
    """What is kept and what is lost of a run if it ends now: its stored cells, and the stacks that train.

    Each of these has the time of its first event.
    """

    def __init__(self) -> None:
        self._total = self._missing = 0
        self._begun: dict[int, tuple[Stack, float]] = {}

    def add(self, event: Started | Looked | Event) -> None:
        """Update it with an event."""
        if isinstance(event, Started):
            self._total, self._missing = len(event.experiment), len(event.missing)
        elif isinstance(event, Looked):
            self._total, self._missing = len(event.rounds.cells), len(event.rounds.missing)
        elif isinstance(event, Progress):
            self._begun.setdefault(id(event.stack), (event.stack, time.monotonic()))
        elif isinstance(event, Finished | Lost):
            self._begun.pop(id(event.stack), None)
            self._missing -= len(event.stack.cells) * isinstance(event, Finished)

    def text(self, experiment: Experiment) -> str:
        """Return it in words. The folder is read, because a part may be there whose event was not seen."""
        now, missing, begun = time.monotonic(), self._missing, list(self._begun.values())
        with contextlib.suppress(OSError):
            cells_missing = {cell.id for cell in experiment.missing()}
            missing = min(missing, len(cells_missing))
            begun = [(stack, since) for stack, since in begun if stack.cells[0].id in cells_missing]
        stored = f"Kept: {self._total - missing:,} of {self._total:,} cells, in {experiment.folder}."
        if not begun:
            return f"{stored} Lost: nothing."
        cells = sum(len(stack.cells) for stack, _ in begun)
        work = f"{duration(max(now - since for _, since in begun))} of training"
        work += " each, at most" * (len(begun) > 1)
        stacks = f"{len(begun):,} unfinished {'stacks' if len(begun) > 1 else 'stack'}"
        return f"{stored} Lost: {stacks} of {cells:,} cells ({work})."


def read_grid(
    path: Path,
    overrides: Mapping[str, object] | None = None,
    *,
    smoke: bool = False,
    results: Path | None = None,
    plugins: Sequence[str | Path] = (),
    bundles: Sequence[Bundle] = (),
    allow: Allow = refuse_unless_allowed,
) -> tuple[Grid, Path]:
    """Return the grid of a file (see `gridfile.find`), and the folder that holds its experiment's folder.

    `plugins` are paths of more plugins than the file names; `allow` raises UserError unless their code may run.
    `bundles` is the code of more, which may run.
    """
    folder = experiment_folder(path)
    stored = stored_sources(folder) if folder else {}
    of_code = {name: source for name, source in stored.items() if source.function}  # known without the code
    grid = read(path, overrides, sources=of_code, smoke=smoke, plugins=plugins, bundles=bundles, allow=allow)
    return grid, results_for(path, grid.name) if results is None else results


def require_code(missing: Iterable[Cell], experiment: Experiment) -> None:
    """Raise UserError if cells that are to be trained name a plugin's function whose code is not loaded."""
    cells = list(missing)
    loading = {experiment.grid.sources[name].function for name in {cell.dataset for cell in cells}}
    names = sorted({name for cell in cells for name in cell.functions} | loading)
    if store.missing(names):
        raise UserError(*(f"{experiment.folder}: {line}" for line in code_missing(names, experiment.plugin_files)))


def plan(
    grid: Grid,
    results: Path,
    config: ExecutionConfig,
    on_event: Callable[[Notice], None] = lambda notice: None,
) -> TrainingEstimate:
    """Return what training a grid would take; nothing is trained or written.

    `on_event` receives a notice if this machine's speed is measured first.
    """
    experiment = Experiment(results / grid.name, grid)
    state = rounds.update(experiment)
    missing = experiment.missing() if (experiment.folder / "grid.toml").is_file() else experiment.cells
    require_code(missing, experiment)
    if not missing:
        return TrainingEstimate(experiment, missing, None)
    trainings = [missing]
    if state and len(state.most) > len(missing):
        trainings.append(state.most)
    n_trained = len(experiment) - len(missing)
    return TrainingEstimate(experiment, missing, *estimates(trainings, n_trained, grid, config, on_event))


def train(
    grid: Grid,
    results: Path,
    config: ExecutionConfig,
    on_event: Callable[[Started | Looked | Event], None],
    *,
    report: bool = False,
    first: WorkerProcess | None = None,
) -> RunResult:
    """Train a grid's missing cells, then read the table, and write the report if requested.

    `first` is a worker that has been started already; it is ended with the training, or if there is none.
    With a rule for the seeds, it looks at the results and trains more until the rule ends. `on_event` receives
    `Started`, then the events of the training, and `Looked` after each look. Raises `Interrupted` on Ctrl-C; what it
    says, and a note of WorkerDied and of CannotWrite, is what was kept and what was lost. An error while the report is
    written is not raised but returned in `report_error`, because the training is already stored.
    """
    check_backend(config)
    if store.missing(own_names(grid)):
        experiment = Experiment(results / grid.name, grid)
        rounds.update(experiment)
        require_code(experiment.missing(), experiment)
    with Experiment.writing(grid, results) as experiment:
        rounds.update(experiment)
        missing, n_unrelated = experiment.inventory()
        account = _Account()

        def listen(event: Started | Looked | Event) -> None:
            account.add(event)
            on_event(event)

        try:
            listen(Started(experiment, missing, n_unrelated))
            with contextlib.ExitStack() as stack:
                drawer: drawers.Drawer | None = None

                def start_drawer() -> None:
                    nonlocal drawer
                    if report:
                        drawer = stack.enter_context(drawers.started(in_background=True))

                untrained = train_all(experiment, missing, config, listen, report, first, start_drawer)
                if not report:
                    frame = experiment.frame()
                    looks.record(experiment.folder)
                    return RunResult(experiment, untrained, frame)
                try:
                    frame, environments = experiment.read()
                    evidence = evidence_of(experiment, frame)
                    written = update_report(experiment, frame, environments, evidence, drawer)
                    looks.record(experiment.folder)
                except Exception as error:
                    return RunResult(experiment, untrained, report_error=error)
                return RunResult(experiment, untrained, frame, written, evidence=evidence)
        except KeyboardInterrupt:
            raise Interrupted(account.text(experiment)) from None
        except (WorkerDied, CannotWrite) as error:
            error.add_note(account.text(experiment))
            raise


def train_all(
    experiment: Experiment,
    missing: Sequence[Cell],
    config: ExecutionConfig,
    on_event: Callable[[Looked | Event], None],
    report: bool = False,
    first: WorkerProcess | None = None,
    imported: Callable[[], None] = lambda: None,
) -> list[Untrained]:
    """Train an experiment's missing cells, and call `on_event` with each event; returns the untrained ones.

    What the results need, and a `report` that follows, is imported while the workers import PyTorch; then `imported` is
    called. What draws starts there, since until then a worker and this process take two cores.

    With a rule for the seeds, the workers stay for all of its rounds. A round with untrained cells is the last one: the
    rule looks at complete rounds only.
    """
    untrained: list[Untrained] = []
    if not missing:
        if first:
            first.end()
        return untrained
    largest = missing if experiment.rounds is None else experiment.cells  # of the rounds, about
    if config.scheduler is None:
        little = start.is_little(largest, experiment.grid.sources)
        if line := first_run.notice(little, report):
            on_event(Notice(line))
    with (
        start.start_pool(largest, experiment.grid.sources, config, on_event, first) as pool,
        ThreadPoolExecutor(1) as executor,
    ):
        # In a thread, so that the workers have their tasks, and load the data, while they import PyTorch.
        prepared = executor.submit(_import_for_tables, report, imported)
        while missing and not untrained:
            untrained += _train_round(experiment, missing, config, on_event, pool)
            state = None if untrained else rounds.update(experiment)
            if state:
                on_event(Looked(state))
                if state.rule.half_width is None:  # what it has decided was seen
                    looks.record(experiment.folder)
            missing = state.missing if state else ()
        prepared.result()
    return untrained


def _import_for_tables(report: bool, imported: Callable[[], None]) -> None:
    """Import what stores, reads and reports the results, while the workers import PyTorch, and call `imported`."""
    for name in ("pandas", "pyarrow.parquet", "initbench.stats", *FOR_REPORT * report):
        import_module(name)
    if report:
        import_module("initbench.reporting.templates").compile_all()
    imported()


def _train_round(
    experiment: Experiment,
    missing: Sequence[Cell],
    config: ExecutionConfig,
    on_event: Callable[[Event], None],
    pool: WorkerPool,
) -> list[Untrained]:
    """Train cells, and call `on_event` with each event; returns the untrained ones."""
    untrained = []
    sources = experiment.grid.sources
    for event in planned_training(missing, sources, pool, config.width, lambda stacks: experiment.train(stacks, pool)):
        on_event(event)
        if isinstance(event, Untrained):
            untrained.append(event)
    return untrained
