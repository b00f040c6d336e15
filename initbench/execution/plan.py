"""The plan: which cells train together, as stacks."""

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from initbench.data.datasets import Source
from initbench.models import architecture
from initbench.models.architecture import Architecture
from initbench.spec.cell import Cell

# Without measured speeds a stack holds this many bytes of weights, within these bounds of its width.
STACK_BYTES = 4e6
MIN_WIDTH, MAX_WIDTH = 6, 192

# A GPU has memory for wide stacks, and only wide ones use it fully.
GPU_STACK_BYTES, MAX_GPU_WIDTH = 1e9, 2048

# The first stack of each worker takes about this many seconds, so that a minute's work is stored although a machine may
# be slower than it was when it was measured; and the whole run takes at most this share longer for it.
FIRST_SECONDS, FIRST_LOSS = 40.0, 0.015

# The plain loop's step takes longer than its arithmetic by the time of this many operations: 350 µs (measured).
PLAIN_STEP_OPERATIONS = 6e7

# A stack whose signal is computed has at most this many different signals, and weights in all of them.
SIGNAL_CELLS, SIGNAL_WEIGHTS = 64, 10_000_000

# The share of their time that workers may idle at the end before the last stacks are split.
IDLE = 0.03

# By the known speeds, stacks are halved further where that saves this share of the time that is left, down to this
# width; below it a cell takes a third longer.
SAVED, MIN_HALF = 0.01, 3

# At most this many stacks are halved in a row without a gain: each worker may need one before the last ends earlier.
MAX_FUTILE = 100


class Kind(NamedTuple):
    """The properties that determine how fast a stack trains, in addition to its width and its functions."""

    dataset: str
    hidden: str
    optimizer: str
    batch_size: int
    precision: str
    standardize: bool = False
    plain: str = ""  # of a cell that the plain loop trains: its model and functions, which may take any time


def kind_of(cell: Cell) -> Kind:
    """Return the kind of the stacks that a cell can be in.

    Of dropout and clipping it has only whether they are on: how much takes the same time.
    """
    kind = Kind(cell.dataset, cell.hidden, cell.optimizer, cell.batch_size, cell.precision, cell.standardize)
    if cell.is_fused:
        return kind
    functions = (cell.activation, cell.output_activation, cell.loss)
    model = (cell.model, cell.normalization, f"dropout={cell.dropout > 0}")
    steps = (cell.augment, f"clipping={cell.gradient_clipping > 0}")
    return kind._replace(plain=", ".join((*functions, *model, *steps)))


@dataclass(frozen=True)
class Stack:
    """Cells that train as one program: they share data, order, shapes and optimizer.

    A cell that the plain loop trains is alone.
    """

    cells: tuple[Cell, ...]
    source: Source

    @property
    def network(self) -> Architecture:
        """The architecture of its networks."""
        return self.cells[0].network(self.source.shape, self.source.classes)

    @property
    def kind(self) -> Kind:
        """The kind of the stack, which all its cells share."""
        return kind_of(self.cells[0])

    @property
    def step_operations(self) -> float:
        """Floating-point operations of one optimizer step of all cells."""
        return len(self.cells) * architecture.step_flops(self.network, self.cells[0].batch_size)

    @cached_property
    def operations(self) -> float:
        """Floating-point operations of the training, and of its evaluations before the first epoch and after each."""
        first = self.cells[0]
        images = self.source.validation_size + self.source.test_size
        evaluation = len(self.cells) * architecture.evaluation_flops(self.network, images)
        return first.epochs * first.steps_per_epoch * self.step_operations + (first.epochs + 1) * evaluation

    @cached_property
    def cost(self) -> float:
        """What the training takes, in operations: its own, and of the plain loop those that its overhead is worth."""
        first = self.cells[0]
        steps = len(self.cells) * first.epochs * first.steps_per_epoch
        return self.operations + (0.0 if first.is_fused else steps * PLAIN_STEP_OPERATIONS)


def width_for(cell: Cell, source: Source, size: float) -> int:
    """Return how many cells like this one have weights of this size, in bytes."""
    return int(size // (4 * weights(cell, source)))


def weights(cell: Cell, source: Source) -> int:
    """Return how many weights a cell's network has."""
    return cell.network(source.shape, source.classes).weight_count


def training_bytes(cell: Cell, source: Source) -> float:
    """Return the bytes of memory that a cell takes while it trains."""
    return architecture.training_bytes(cell.network(source.shape, source.classes), cell.optimizer, cell.batch_size)


def plan(
    cells: Iterable[Cell],
    sources: Mapping[str, Source],
    workers: int = 1,
    widths: Mapping[Kind, int] | None = None,
    gpu: bool = False,
    memory: float = 0.0,
) -> list[Stack]:
    """Put cells into stacks, longest first.

    Cells share a stack when they share a data set and its order (the seed), a batch size, a number of epochs, the
    model and the shapes of its layers, the optimizer and the precision. Within a stack they are sorted so that those
    with the same activations, and those with the same loss, are neighbours. A stack's width is that of its kind in
    `widths`, by default what fits into the cache, and it takes at most half of `memory`, the bytes of a worker (0:
    unknown). The last stacks are split where workers would idle. A cell that the plain loop trains is a stack of its
    own. None of this changes a cell's result.
    """
    size, widest = (GPU_STACK_BYTES, MAX_GPU_WIDTH) if gpu else (STACK_BYTES, MAX_WIDTH)
    whole: list[tuple[Stack, int]] = []  # with the number of its pieces
    for group in groups(cells):
        source = sources[group[0].dataset]
        usual = min(widest, max(MIN_WIDTH, width_for(group[0], source, size)))
        width = max(1, (widths or {}).get(kind_of(group[0]), usual)) if group[0].is_fused else 1
        if memory:
            width = min(width, max(1, int(memory / 2 // training_bytes(group[0], source))))
        whole.append((Stack(tuple(group), source), -(-len(group) // width)))
    return _balanced(_longest_first(_pieces(whole, workers)), workers)


def _pieces(whole: list[tuple[Stack, int]], workers: int) -> list[Stack]:
    """Return each of the stacks in its number of pieces, or all in a few more where workers would idle less.

    As many more as there are workers at most, and none narrower than `MIN_WIDTH` for it.
    """
    best, best_end, count = list[Stack](), float("inf"), -1
    ideal = sum(stack.cost for stack, _ in whole) / max(1, workers)
    for more in range(max(1, workers)):
        stacks = []
        for stack, pieces in whole:
            allowed = max(pieces, len(stack.cells) // MIN_WIDTH)
            stacks += split(stack, min(pieces + more, allowed))
        if len(stacks) == count:
            break
        count = len(stacks)
        end = _run_seconds(_longest_first(stacks), max(1, workers), lambda stack: stack.cost)
        if end < (1 - IDLE) * best_end:
            best, best_end = stacks, end
        if best_end <= (1 + IDLE) * ideal:
            break
    return best


def groups(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Return the cells that can train together, in the order in which they do: see `plan`."""
    alike: dict[tuple[object, ...], list[Cell]] = {}
    for c in cells:
        data = (c.dataset, c.train_size, c.standardize, c.batch_size, c.epochs, c.seed)
        key = (*data, c.model, c.hidden, c.optimizer, c.precision, c.is_fused)
        alike.setdefault(key, []).append(c)
    return [_neighbours(group) for group in alike.values()]


def signal_stacks(cells: Iterable[Cell], sources: Mapping[str, Source], workers: int = 1) -> list[Stack]:
    """Put cells whose signal before training is computed into stacks: those that share one stay together.

    Stacks are small, so that results are soon stored: at most `SIGNAL_CELLS` signals of `SIGNAL_WEIGHTS` in all, and
    one if a network has more. Each worker has several stacks, the largest networks first.
    """
    groups: dict[tuple[object, ...], dict[Cell, list[Cell]]] = {}
    for cell in cells:
        key = (cell.dataset, cell.standardize, cell.is_fused, cell.model, cell.hidden)
        groups.setdefault(key, {}).setdefault(cell.before_training, []).append(cell)
    sized = []
    for group in groups.values():
        alike = [*group.values()]
        first = alike[0][0]
        size = weights(first, sources[first.dataset])
        count = max(1, min(SIGNAL_CELLS, SIGNAL_WEIGHTS // size, len(alike) // (4 * workers)))
        for start in range(0, len(alike), count):
            stack = tuple(cell for shared in alike[start : start + count] for cell in shared)
            sized.append((size, Stack(stack, sources[first.dataset])))
    return [stack for _, stack in sorted(sized, key=lambda pair: -pair[0])]


def _neighbours(cells: list[Cell]) -> list[Cell]:
    """Order cells so that those with the same activations are neighbours, and mostly those with the same loss."""
    by_activation: dict[tuple[str, str], list[Cell]] = {}
    for cell in sorted(cells, key=lambda c: (c.activation, c.output_activation, c.loss, c.initializer)):
        by_activation.setdefault((cell.activation, cell.output_activation), []).append(cell)
    # Every second group is reversed: the last loss of one activation is the first of the next.
    return [c for i, group in enumerate(by_activation.values()) for c in (group[::-1] if i % 2 else group)]


def split(stack: Stack, pieces: int) -> list[Stack]:
    """Split a stack into pieces of nearly equal width."""
    if pieces < 2:
        return [stack]
    bounds = [round(i * len(stack.cells) / pieces) for i in range(pieces + 1)]
    return [Stack(stack.cells[i:j], stack.source) for i, j in pairwise(bounds)]


def _balanced(stacks: list[Stack], workers: int) -> list[Stack]:
    """Return the stacks, longest first, with some halved so that the workers end at about the same time.

    Each goes to the worker that is free first, as in a training; while one would train on alone, the longest stack of
    the worker that ends last is halved, down to `MIN_WIDTH`.
    """
    total = sum(stack.cost for stack in stacks)
    while stacks and workers > 1:
        end, i = _last_worker([stack.cost for stack in stacks], [0.0] * workers)
        if end <= (1 + IDLE) * total / workers or i is None or len(stacks[i].cells) < 2 * MIN_WIDTH:
            break
        stacks = _longest_first(stacks[:i] + stacks[i + 1 :] + split(stacks[i], 2))
    return stacks


def end_together(stacks: list[Stack], busy: Sequence[float], seconds: Callable[[Stack], float]) -> list[Stack]:
    """Return the stacks that wait, longest first, with some halved where the last worker then ends earlier.

    `busy` are the seconds after which each worker is free, and `seconds` is the time that a stack takes. Each stack
    goes to the worker that is free first; while one would train on alone, its longest stack is halved, down to
    `MIN_HALF` cells. What saves less than the share `SAVED` is left as it is.
    """
    timed = sorted(((seconds(stack), stack) for stack in stacks), key=lambda pair: -pair[0])
    best, best_end, futile = stacks, float("inf"), 0
    while timed and futile <= min(len(busy), MAX_FUTILE):
        times = [time for time, _ in timed]
        end, i = _last_worker(times, busy)
        if end < (1 - SAVED) * best_end:
            best, best_end, futile = [stack for _, stack in timed], end, 0
        futile += 1
        total = sum(busy) + sum(times)
        if end <= (1 + SAVED) * total / len(busy) or i is None or len(timed[i][1].cells) < 2 * MIN_HALF:
            break
        halves = [(seconds(half), half) for half in split(timed[i][1], 2)]
        timed = sorted([*timed[:i], *timed[i + 1 :], *halves], key=lambda pair: -pair[0])
    return best


def begin_small(stacks: list[Stack], workers: int, seconds: Callable[[Stack], float]) -> list[Stack]:
    """Return the stacks, each worker's first one small, so that the results of about a minute's work are soon stored.

    `stacks` are longest first, and `seconds` is the time that one takes. Where the first ones take longer, a part of
    each comes before all others, as wide as trains in `FIRST_SECONDS`. Narrow stacks are slow, so that this may cost
    more than `FIRST_LOSS` of the run; then the shortest stacks come first, and if that costs more too, nothing changes.
    """
    workers = max(1, workers)  # a cluster may have none yet
    first, others = stacks[:workers], stacks[workers:]
    if max(map(seconds, first), default=0.0) <= FIRST_SECONDS:
        return stacks
    longest_run = (1 + FIRST_LOSS) * _run_seconds(stacks, workers, seconds)
    widths = [_width_within(FIRST_SECONDS, stack, seconds) for stack in first]
    for order in (_with_parts_first(first, widths, others), stacks[-workers:] + stacks[:-workers]):
        if _run_seconds(order, workers, seconds) <= longest_run:
            return order
    return stacks


def _width_within(limit: float, stack: Stack, seconds: Callable[[Stack], float]) -> int:
    """Return how many cells of a stack train together within this many seconds; one, if that takes longer."""
    widths = range(1, len(stack.cells) + 1)
    return max(1, bisect_right(widths, limit, key=lambda width: seconds(Stack(stack.cells[:width], stack.source))))


def _with_parts_first(first: list[Stack], widths: list[int], others: list[Stack]) -> list[Stack]:
    """Return a part of each of the first stacks, of these widths, and then all else, longest first."""
    parts = [Stack(stack.cells[:width], stack.source) for stack, width in zip(first, widths, strict=True)]
    rests = [Stack(stack.cells[width:], stack.source) for stack, width in zip(first, widths, strict=True)]
    return parts + _longest_first([rest for rest in rests if rest.cells] + others)


def _run_seconds(stacks: list[Stack], workers: int, seconds: Callable[[Stack], float]) -> float:
    """Return how long the training of the stacks takes, if each goes to the worker that is free first."""
    return _last_worker(map(seconds, stacks), [0.0] * workers)[0]


def _last_worker(times: Iterable[float], busy: Sequence[float]) -> tuple[float, int | None]:
    """Return when the worker that ends last does so, and the position of the first stack that it takes, if any.

    Stacks take these times, and each goes to the worker that is free first; `busy` are the times until they are free.
    """
    free = [(at, worker) for worker, at in enumerate(busy)]
    heapq.heapify(free)
    first: dict[int, int] = {}  # by worker
    for i, time in enumerate(times):
        at, worker = free[0]
        first.setdefault(worker, i)
        heapq.heapreplace(free, (at + time, worker))
    end, worker = max(free)
    return end, first.get(worker)


def _longest_first(stacks: list[Stack]) -> list[Stack]:
    return sorted(stacks, key=lambda stack: -stack.cost)
