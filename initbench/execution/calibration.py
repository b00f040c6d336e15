"""How fast this machine trains each kind of stack: some steps, measured once and remembered for the machine.

What is measured decides how wide stacks are, and what `initbench plan` says a run will take. It never changes a result.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from initbench import __version__
from initbench.data.datasets import Source
from initbench.execution import scheduling
from initbench.execution.events import Speed
from initbench.execution.plan import (
    GPU_STACK_BYTES,
    MAX_GPU_WIDTH,
    MAX_WIDTH,
    MIN_WIDTH,
    Kind,
    Stack,
    kind_of,
    weights,
    wide,
)
from initbench.execution.pool import WorkerPool
from initbench.initializers import schemes
from initbench.spec.cell import Cell
from initbench.system import files
from initbench.system.cache import cache_folder

# The sizes of stacks that are tried, in bytes of weights: about a second cache, some of them, and a third one's share.
TRIED_BYTES = (1e6, 3e6, 8e6)

# Kinds beyond these are taken to be as fast, for each operation, as the slowest of these.
MAX_KINDS = 4

# At most so many workers measure at once.
MAX_MEASURING = 16

# What the remembered file may hold: of more bytes it is not read, and a time beyond this (a day, in seconds) or a width
# beyond this was never measured.
MAX_FILE_BYTES, MAX_REMEMBERED_SECONDS, MAX_REMEMBERED_WIDTH = 10_000_000, 86_400.0, 1_000_000

# A run with less arithmetic (some ten seconds' worth) takes what is remembered, and is not measured for.
WORTH_MEASURING = 3e12


@dataclass(frozen=True)
class Speeds:
    """What is known of one kind of stack: speeds at some widths, the narrowest first."""

    measured: tuple[Speed, ...]

    @property
    def width(self) -> int:
        """The width at which a step costs least for each cell."""
        return min(self.measured, key=lambda speed: speed.step / speed.width).width

    def seconds(self, stack: Stack) -> float:
        """How long a stack of this kind trains, its evaluations and its start included."""
        first, width = stack.cells[0], len(stack.cells)
        step, evaluation, start = (self._at(width, name) for name in ("step", "evaluation", "start"))
        evaluated = stack.source.validation_size + stack.source.test_size
        return start + first.epochs * first.steps_per_epoch * step + (first.epochs + 1) * evaluated * evaluation

    def _at(self, width: int, what: str) -> float:
        """A time at a width: on the lines between those that were measured, and on beyond their ends."""
        low, high = self.measured[0], self.measured[-1]
        for left, right in zip(self.measured, self.measured[1:], strict=False):
            low, high = left, right
            if width <= right.width:
                break
        a, b = float(getattr(low, what)), float(getattr(high, what))
        slope = (b - a) / (high.width - low.width) if high.width > low.width else a / low.width
        return max(a + slope * (width - low.width), a * min(1.0, width / low.width))


def speeds(
    cells: Sequence[Cell], sources: Mapping[str, Source], pool: WorkerPool, measuring: bool = True
) -> dict[Kind, Speeds]:
    """The speeds of the kinds of these cells: those remembered of this machine, and the others measured, if asked.

    All workers train at once, so that what they share (memory, clock) is in the figures.
    """
    remembered = _read()
    groups = kinds(cells)
    known = {kind: _valid_speeds(remembered.get(_key(kind, pool), [])) for kind in groups}
    found = {kind: Speeds(measured) for kind, measured in known.items() if measured}
    unknown = [kind for kind in groups if kind not in found]
    for kind in unknown[: max(0, MAX_KINDS - len(found))] if measuring else []:
        if measured := _measured(groups[kind], sources[kind.dataset], pool):
            found[kind] = Speeds(tuple(measured))
            _remember(_key(kind, pool), [asdict(speed) for speed in measured])
    return found


def _measured(cells: Sequence[Cell], source: Source, pool: WorkerPool) -> list[Speed]:
    """The speeds of stacks of some widths, made of these cells again and again."""
    gpu = pool.device != "cpu"
    bytes_tried = [GPU_STACK_BYTES / part for part in (16, 4, 1)] if gpu else TRIED_BYTES
    widest = MAX_GPU_WIDTH if gpu else MAX_WIDTH
    found = []
    for width in sorted({min(widest, max(MIN_WIDTH, wide(cells[0], source, size))) for size in bytes_tried}):
        stack = Stack(tuple(sorted((cells[i % len(cells)] for i in range(width)), key=_functions)), source)
        times = scheduling.speeds(pool, [stack] * min(pool.count, MAX_MEASURING))
        if not times:
            break
        mean = {name: sum(getattr(t, name) for t in times) / len(times) for name in ("step", "evaluation", "start")}
        found.append(Speed(width, **mean))
    return found


def stack_seconds(
    stacks: Sequence[Stack], speeds: Mapping[Kind, Speeds], initialization: Callable[[Cell], float]
) -> list[tuple[float, float]]:
    """For each stack the seconds that its training takes, and its cells' initial weights.

    Kinds whose speed is not known are taken to be as slow, for each operation, as the slowest stack of those known.
    """
    known = [speeds[stack.kind].seconds(stack) if stack.kind in speeds else None for stack in stacks]
    slowest = max((s / stack.operations for s, stack in zip(known, stacks, strict=True) if s is not None), default=0.0)
    return [
        (stack.operations * slowest if seconds is None else seconds, sum(map(initialization, stack.cells)))
        for seconds, stack in zip(known, stacks, strict=True)
    ]


def initialization(
    cells: Iterable[Cell], sources: Mapping[str, Source], pool: WorkerPool, measuring: bool = True
) -> Callable[[Cell], float]:
    """The seconds that a cell's initial weights take, for cells whose initializers look at data or at gradients.

    Each of these initializers is timed once, on the largest of its networks and batches, and remembered; what a smaller
    one takes follows from the number of its weights and images. Other initializers count for nothing, and so do those
    that are not remembered where nothing is to be measured.
    """
    largest: dict[str, Cell] = {}
    for cell in cells:
        if schemes.of_network(cell.initializer):
            held = largest.setdefault(cell.initializer, cell)
            if _size(cell, sources) > _size(held, sources):
                largest[cell.initializer] = cell
    remembered, found = _read(), {}
    keys = {name: f"{_key(kind_of(cell), pool)} | {name}" for name, cell in largest.items()}
    for name, key in keys.items():
        for line in remembered.get(key, [])[:1]:
            if _valid_seconds(line.get("initialization")):
                found[name] = line["initialization"]
    unknown = [name for name in largest if name not in found] if measuring else []
    stacks = [Stack((largest[name],), sources[largest[name].dataset]) for name in unknown]
    for name, seconds in zip(unknown, scheduling.initialization(pool, stacks), strict=True):
        found[name] = seconds
        _remember(keys[name], [{"initialization": seconds}])

    def seconds_of(cell: Cell) -> float:
        if cell.initializer not in found:
            return 0.0
        return found[cell.initializer] * _size(cell, sources) / _size(largest[cell.initializer], sources)

    return seconds_of


def _size(cell: Cell, sources: Mapping[str, Source]) -> int:
    """How much a pass of a batch through a cell's network multiplies: its weights times the images of a batch."""
    return cell.batch_size * weights(cell, sources[cell.dataset])


def kinds(cells: Iterable[Cell]) -> dict[Kind, list[Cell]]:
    """The kinds of these cells, each with some of its cells: one for each combination of functions."""
    groups: dict[Kind, dict[tuple[str, ...], Cell]] = {}
    for cell in cells:
        groups.setdefault(kind_of(cell), {}).setdefault(_functions(cell), cell)
    return {kind: list(group.values()) for kind, group in groups.items()}


def _functions(cell: Cell) -> tuple[str, ...]:
    return cell.activation, cell.output_activation, cell.loss


def file() -> Path:
    """Where speeds are remembered."""
    return cache_folder() / "speeds.json"


def _key(kind: Kind, pool: WorkerPool) -> str:
    return " | ".join(map(str, (pool.processor, pool.device, pool.count, __version__, version("torch"), *kind)))


def _read() -> dict[str, list[dict[str, float]]]:
    """All that is remembered, by this version and others: lists of records of numbers; whatever else the file holds is
    left out, and a file that cannot be read is as if it were not there."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        remembered = json.loads(files.read(file(), MAX_FILE_BYTES))
        if isinstance(remembered, dict):
            return {key: records for key, records in remembered.items() if _are_records(records)}
    return {}


def _are_records(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(record, dict) and all(type(number) in (int, float) for number in record.values()) for record in value
    )


def _valid_speeds(records: Sequence[Mapping[str, float]]) -> tuple[Speed, ...]:
    """The speeds that remembered records say; none of them if one is not what a measurement gives."""
    speeds = []
    for record in records:
        if set(record) != {field.name for field in fields(Speed)}:  # written by another version
            return ()
        width = record["width"]
        if type(width) is not int or not 1 <= width <= MAX_REMEMBERED_WIDTH:
            return ()
        if not record["step"] or not all(_valid_seconds(record[name]) for name in ("step", "evaluation", "start")):
            return ()
        speeds.append(Speed(**record))  # type: ignore[arg-type]
    rising = all(left.width < right.width for left, right in pairwise(speeds))
    return tuple(speeds) if rising else ()


def _valid_seconds(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= MAX_REMEMBERED_SECONDS


def _remember(key: str, measured: Sequence[Mapping[str, float]]) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written is no reason not to train
        files.write_file(file(), json.dumps({**_read(), key: list(measured)}, indent=1).encode())
