"""Estimate the time and memory of training, from the speed of each kind of stack on this machine."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from initbench.data.datasets import Source
from initbench.execution import start
from initbench.execution.config import LOCAL, ExecutionConfig
from initbench.execution.events import Notice
from initbench.execution.plan import training_bytes
from initbench.execution.pool import WorkerPool
from initbench.initializers import schemes
from initbench.initializers.model import MAX_IMAGES
from initbench.models.architecture import EVALUATION_BATCH
from initbench.spec.cell import Cell
from initbench.spec.grid import Grid
from initbench.spec.signal import IMAGES, MAX_KEPT_BYTES


@dataclass(frozen=True)
class Estimate:
    """The cells and stacks of a training, its seconds and bytes of memory, its number of workers, and its device."""

    cells: int
    stacks: int
    seconds: float
    memory: float
    workers: int
    device: str


# Besides the training: the start of the workers, and the report.
START_SECONDS, REPORT_SECONDS, REPORT_SECONDS_PER_CELL = 2.5, 4.0, 1e-4

# What PyTorch loads in a worker at its first optimizer, which only the plain loop has: seconds and bytes (measured).
PLAIN_START_SECONDS, PLAIN_BYTES = 1.2, 45e6

# Measured, in bytes: the parent with tables and figures, and each cell in it; a worker with torch and MNIST, which it
# holds twice while it reads.
PARENT_BYTES, CELL_BYTES, WORKER_BYTES, MNIST_BYTES = 300e6, 1.5e3, 450e6, 55e6

# The number of batches that most schemes use that use data.
BATCHES_USED = 10

# The float64 that an initializer holds for each unit and image, where it differentiates a module twice: metainit on
# lenet5, measured (19 on allconv; gradinit 16, lsuv 10).
VALUES_OF_UNIT = 27


def estimates(
    trainings: Sequence[Sequence[Cell]],
    n_trained: int,
    grid: Grid,
    config: ExecutionConfig = LOCAL,
    on_event: Callable[[Notice], None] = lambda notice: None,
) -> list[Estimate]:
    """Estimate the time and memory of each of several trainings of a grid, of at least one cell each.

    `n_trained` cells are trained already, and are in the report too. The speed of each kind of stack is measured on
    this machine once, in a second or two, after a notice to `on_event`; kinds beyond the first few count as slow as the
    slowest of these. An initializer that uses data or gradients is timed once. The rest is arithmetic.
    """
    with start.start_pool(max(trainings, key=len), grid.sources, config) as pool:
        return [_estimate(cells, n_trained, grid, config, pool, on_event) for cells in trainings]


def _estimate(
    cells: Sequence[Cell],
    n_trained: int,
    grid: Grid,
    config: ExecutionConfig,
    pool: WorkerPool,
    on_event: Callable[[Notice], None],
) -> Estimate:
    stacks, seconds = start.planned_stacks(cells, grid.sources, pool, config.width, True, on_event)
    count, device = min(pool.slot_count, len(stacks)), pool.device
    loads = [0.0] * count
    # In the order of the plan, each to the worker that is free first, as in a training.
    for training, initial_weights in seconds or ():
        loads[loads.index(min(loads))] += training + initial_weights
    data_bytes = max(source.image_bytes for source in grid.sources.values())
    stack_bytes = (len(s.cells) * training_bytes(s.cells[0], s.source) for s in stacks)
    worker_bytes = WORKER_BYTES + max(stack_bytes) + 2 * max(0.0, data_bytes - MNIST_BYTES)
    start_seconds = START_SECONDS
    if not all(stack.cells[0].is_fused for stack in stacks):
        start_seconds += PLAIN_START_SECONDS
        worker_bytes += PLAIN_BYTES
    fused = [stack for stack in stacks if stack.cells[0].is_fused]
    worker_bytes += max((listed_bytes(stack.cells[0], stack.source) for stack in fused), default=0.0)
    forms = {(stack.source.name, stack.cells[0].is_fused, stack.cells[0].standardize) for stack in stacks}
    worker_bytes += data_bytes * (max(Counter(name for name, *_ in forms).values()) - 1)  # each form of a data set
    # Images that initializers use, in float64, twice.
    looking = [cell for cell in cells if schemes.is_network_scheme(cell.initializer)]
    images_used = [min(MAX_IMAGES, BATCHES_USED * cell.batch_size) for cell in looking]
    worker_bytes += 16.0 * max(images_used, default=0) * max(s.pixels for s in grid.sources.values())
    units_used = [0]
    for cell in looking:
        source = grid.sources[cell.dataset]
        network = cell.network(source.shape, source.classes)
        units_used.append(0 if network.is_perceptron else cell.batch_size * network.units)
    worker_bytes += 8.0 * VALUES_OF_UNIT * max(units_used)
    in_report = n_trained + len(cells)
    total = start_seconds + max(loads) + REPORT_SECONDS + REPORT_SECONDS_PER_CELL * in_report
    memory = PARENT_BYTES + CELL_BYTES * in_report + count * worker_bytes
    return Estimate(len(cells), len(stacks), total, memory, count, device)


def listed_bytes(cell: Cell, source: Source) -> float:
    """Estimate the bytes of the lists of lit pixels beyond those of MNIST: of a batch, and of all images evaluated."""
    batch = 13.0 * max(0, cell.batch_size - EVALUATION_BATCH) * source.pixels
    evaluated = 5.0 * (source.validation_size + source.test_size) * source.pixels
    return batch + max(0.0, evaluated - MNIST_BYTES)


def signal_bytes(cell: Cell, source: Source) -> float:
    """Estimate the bytes of memory that the signal of a cell takes in a worker, before training.

    Of a perceptron whose layers are computed one by one, those that are kept, the activations of all layers and the
    derivatives there, and the largest layer several times; a scheme of whole networks computes in float64.
    """
    network = cell.network(source.shape, source.classes)
    if not cell.is_fused:
        return WORKER_BYTES + PLAIN_BYTES + 2 * training_bytes(cell, source)
    layers = cell.layers(source.pixels, source.classes)
    weights = 4.0 * network.weight_count
    resident = 6 * weights if schemes.is_network_scheme(cell.initializer) else min(weights, MAX_KEPT_BYTES)
    units = 2 * 4.0 * IMAGES * sum(out for _, out in layers)
    return WORKER_BYTES + resident + units + 12 * 4.0 * max(below * out for below, out in layers)
