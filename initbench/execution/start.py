"""Start training: create the workers, and plan the stacks."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from initbench.data.datasets import Source
from initbench.execution import calibration
from initbench.execution.calibration import Speeds
from initbench.execution.config import LOCAL, ExecutionConfig
from initbench.execution.devices import EXPERIMENTAL, GPU_WAS_RUN, device_for, gpu_memories
from initbench.execution.events import Notice
from initbench.execution.plan import Kind, Stack, begin_small, end_together, plan
from initbench.execution.pool import WorkerPool
from initbench.execution.process_pool import ProcessPool
from initbench.execution.processes import WorkerProcess
from initbench.registry import digests_in
from initbench.spec.cell import Cell
from initbench.system.threads import available_cores

if TYPE_CHECKING:
    from initbench.execution.cluster.dispatch import ClusterPool


# For a training of fewer operations (a second or two) one worker is started where the user gives
# no number: a second one would take longer to import PyTorch than it saves.
LITTLE_WORK = 2.5e11


def start_pool(
    cells: Sequence[Cell],
    sources: Mapping[str, Source],
    config: ExecutionConfig = LOCAL,
    on_event: Callable[[Notice], None] = lambda notice: None,
    first: WorkerProcess | None = None,
    training: bool = True,
) -> "ProcessPool | ClusterPool":
    """Start the workers that train these cells; `on_event` receives the notices until they are ready.

    `first` is a worker that has been started already, for the CPU of this machine. Without `training` they compute
    signals, whose work is another, and each core has a worker.
    """
    if config.scheduler is not None:
        from initbench.execution.cluster.dispatch import ClusterPool

        loading = {sources[name].function for name in {cell.dataset for cell in cells}}
        plugins = bool(digests_in(*{name for cell in cells for name in cell.functions}, *loading))
        return ClusterPool(
            config.scheduler, config.device, sources, config.workers, config.processor, plugins, on_event
        )
    device = device_for(config.device)
    if device == "cuda" and not GPU_WAS_RUN:
        on_event(Notice(EXPERIMENTAL))
    default = available_cores() if device == "cpu" else len(gpu_memories())
    if training and device == "cpu" and len(cells) > 1 and is_little(cells, sources):
        default = 1
    return ProcessPool(min(config.workers or default, len(cells)), device, first)


def is_little(cells: Sequence[Cell], sources: Mapping[str, Source]) -> bool:
    """Return whether the training of these cells is over in a second or two."""
    costs = accumulate(Stack((cell,), sources[cell.dataset]).cost for cell in cells)
    return all(cost < LITTLE_WORK for cost in costs)  # of a large grid the first cells suffice


def planned_stacks(
    cells: Sequence[Cell],
    sources: Mapping[str, Source],
    pool: WorkerPool,
    width: int | None = None,
    measuring: bool = False,
    on_event: Callable[[Notice], None] = lambda notice: None,
) -> tuple[list[Stack], list[tuple[float, float]] | None]:
    """Return the stacks of these cells, and the seconds that the training and the initial weights of each take.

    Times that are not in the cache are measured if `measuring`, after a notice to `on_event`. Without any speed the
    seconds are None.
    """
    initialization = calibration.initialization(cells, sources, pool, measuring)
    speeds = calibration.speeds(cells, sources, pool, measuring, on_event)
    stacks, seconds = in_order(cells, sources, pool, speeds, initialization, width)
    return stacks, [seconds(stack) for stack in stacks] if speeds else None


def in_order(
    cells: Sequence[Cell],
    sources: Mapping[str, Source],
    pool: WorkerPool,
    speeds: Mapping[Kind, Speeds],
    initialization: Callable[[Cell], float],
    width: int | None,
) -> tuple[list[Stack], Callable[[Stack], tuple[float, float]]]:
    """Return the stacks of these cells, and a function of the seconds of each: see `calibration.stack_seconds`."""
    stacks = in_widths(cells, sources, pool, speeds, width)
    seconds = calibration.stack_seconds(stacks, speeds, initialization)
    stacks = end_together(stacks, [0.0] * max(1, pool.slot_count), lambda stack: sum(seconds(stack)))
    return begin_small(stacks, pool.slot_count, lambda stack: sum(seconds(stack))), seconds


def in_widths(
    cells: Sequence[Cell],
    sources: Mapping[str, Source],
    pool: WorkerPool,
    speeds: Mapping[Kind, Speeds],
    width: int | None,
) -> list[Stack]:
    """Return stacks of a width, or of the fastest one of each kind."""
    fastest = {kind: speed.width for kind, speed in speeds.items()}
    widths = dict.fromkeys(calibration.kinds(cells), width) if width else fastest
    return plan(cells, sources, pool.slot_count, widths, pool.device != "cpu", pool.memory)
