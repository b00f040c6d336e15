"""What a run would take: time and memory, from some steps of each kind of stack on this machine."""

from dataclasses import dataclass

from initbench.cells import Cell
from initbench.execute import Workers
from initbench.grid import Grid
from initbench.plan import Stack
from initbench.runs import planned


@dataclass(frozen=True)
class Estimate:
    """What a run would take: stacks, seconds, bytes of memory, and the number of workers that this is for."""

    stacks: int
    seconds: float
    memory: float
    workers: int


# What a run takes beside its training: the start of the workers, and the report.
START_SECONDS, REPORT_SECONDS = 3.0, 6.0

# Measured: the parent with tables and figures; a worker with torch and MNIST in bytes (twice, while it reads).
PARENT_BYTES, WORKER_BYTES, MNIST_BYTES = 300e6, 450e6, 55e6

# How many arrays as large as the weights an optimizer's step holds, the weights among them.
ARRAYS = {"sgd": 1, "momentum": 4, "nesterov": 4, "rmsprop": 5, "adam": 6, "adamw": 6}

MOST_KINDS = 6


def estimate(cells: list[Cell], grid: Grid, workers: int | None) -> Estimate:
    """Time and memory of training these cells (at least one), measured on this machine in a few seconds.

    One stack of each kind takes some steps, in all workers at once, so that what they share (memory, clock) is in the
    figure; kinds beyond the first few are taken to be as slow as the slowest of these. The rest is arithmetic.
    """
    stacks, count = planned(cells, grid, workers)
    samples = list({stack.kind: stack for stack in reversed(stacks)}.values())[:MOST_KINDS]
    with Workers(count) as pool:
        times = pool.seconds_per_step([stack for stack in samples for _ in range(count)])
    rates = {}  # seconds for each floating-point operation, by kind
    for i, stack in enumerate(samples):
        rates[stack.kind] = sum(times[i * count : (i + 1) * count]) / count / stack.step_operations
    loads = [0.0] * count
    for stack in stacks:  # longest first, each to the worker that is free first, as a run does
        loads[loads.index(min(loads))] += stack.operations * rates.get(stack.kind, max(rates.values()))
    pixels = max((s.train_size + s.validation_size + s.test_size) * s.pixels for s in grid.sources.values())
    each = WORKER_BYTES + max(map(_weight_bytes, stacks)) + 2 * max(0.0, pixels - MNIST_BYTES)
    return Estimate(len(stacks), START_SECONDS + max(loads) + REPORT_SECONDS, PARENT_BYTES + count * each, count)


def _weight_bytes(stack: Stack) -> float:
    arrays = ARRAYS[stack.cells[0].optimizer.partition("(")[0]]
    return 4.0 * arrays * len(stack.cells) * sum(fan_in * fan_out for fan_in, fan_out in stack.layers)
