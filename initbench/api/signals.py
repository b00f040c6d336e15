"""Compute the signal of a grid's networks before training: the work of `initbench signal`, in Python too."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from initbench.api import rounds
from initbench.api.training import Interrupted, Started, require_code
from initbench.errors import CannotWrite, UserError, WorkerDied, printable
from initbench.execution import start
from initbench.execution.config import ExecutionConfig, check_backend
from initbench.execution.estimate import signal_bytes
from initbench.execution.events import Event, Planned, Untrained
from initbench.execution.plan import signal_stacks
from initbench.initializers import schemes
from initbench.registry import shorten_digests
from initbench.results.experiment import Experiment
from initbench.spec.cell import Cell
from initbench.spec.grid import Grid
from initbench.system.hardware import available_memory
from initbench.system.threads import available_cores


@dataclass(frozen=True)
class Signals:
    """An experiment whose cells have their signal before training, and the cells of which it cannot be computed."""

    experiment: Experiment
    failed: Sequence[Untrained]


def compute(
    grid: Grid,
    results: Path,
    config: ExecutionConfig,
    on_event: Callable[[Started | Event], None],
    full: bool = False,
) -> Signals:
    """Compute the signal before training of a grid's cells that have none, and store it in the experiment's folder.

    With `full`, all singular values of wide networks, also of cells that have a signal without them. Raises
    `Interrupted` on Ctrl-C; what it says, and a note of WorkerDied and of CannotWrite, is what was kept.
    """
    check_backend(config)
    before = Experiment(results / grid.name, grid)
    rounds.update(before)
    missing = before.without_signal(full)
    require_code(missing, before)
    config = _within_memory(missing, grid, config)
    with Experiment.writing(grid, results) as experiment:
        rounds.update(experiment)
        missing = experiment.without_signal(full)
        try:
            on_event(Started(experiment, missing, 0))
            failed = _compute_all(experiment, missing, config, on_event, full) if missing else []
        except KeyboardInterrupt:
            raise Interrupted(_stored(experiment, full)) from None
        except (WorkerDied, CannotWrite) as error:
            error.add_note(_stored(experiment, full))
            raise
    return Signals(experiment, failed)


def _compute_all(
    experiment: Experiment,
    missing: Sequence[Cell],
    config: ExecutionConfig,
    on_event: Callable[[Event], None],
    full: bool,
) -> list[Untrained]:
    failed = []
    sources = experiment.grid.sources
    with start.start_pool(missing, sources, config, on_event, training=False) as pool:
        stacks = signal_stacks(missing, sources, pool.slot_count)
        on_event(Planned(stacks, None, lambda: pool.slot_count))
        for event in experiment.signals(stacks, pool, full):
            on_event(event)
            if isinstance(event, Untrained):
                failed.append(event)
    return failed


def _stored(experiment: Experiment, full: bool) -> str:
    count = len(experiment.cells)
    stored = count - len(experiment.without_signal(full))
    return f"Kept: the signal of {stored:,} of {count:,} cells, in {experiment.folder}."


def _within_memory(missing: Sequence[Cell], grid: Grid, config: ExecutionConfig) -> ExecutionConfig:
    """Return the configuration with as many workers as the memory is enough for; UserError if it is not for one."""
    largest, bytes_needed = None, 0.0
    for cell in {cell.before_training: cell for cell in missing}.values():
        needed = signal_bytes(cell, grid.sources[cell.dataset])
        if needed > bytes_needed:
            largest, bytes_needed = cell, needed
    available = available_memory()
    if largest is None or bytes_needed <= available / (config.workers or available_cores()):
        return config
    if bytes_needed <= available:
        return replace(config, workers=int(available // bytes_needed))
    source = grid.sources[largest.dataset]
    depth = len(largest.network(source.shape, source.classes).shapes)
    widest = f" up to width {max(largest.widths):,}" if largest.widths else ""
    at_once = not largest.is_fused or schemes.is_network_scheme(largest.initializer)
    raise UserError(
        f"{grid.name}: {printable(shorten_digests(largest.initializer), 100)} in {largest.model} with {depth:,} layers"
        f"{widest}, which are{' all' * at_once} in memory{' at once' if at_once else ' one by one'}, takes about "
        f"{bytes_needed / 1e9:.1f} GB, and {available / 1e9:.1f} GB are free; use fewer or narrower layers"
        + ", or an initializer of single layers"
        * (at_once and largest.is_fused)
    )
