"""The training speed of each kind of stack on this machine, cached: of the first stacks that trained, or measured.

A training times itself: its first stacks have different widths (`trials`), and the others the fastest one. `initbench
plan`, which trains nothing, measures some steps. The speeds decide the width of stacks and the times that are shown.
They never change a result.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from initbench import __version__
from initbench.data.datasets import Source
from initbench.execution import scheduling
from initbench.execution.events import Notice, Speed
from initbench.execution.plan import (
    GPU_STACK_BYTES,
    MAX_GPU_WIDTH,
    MAX_WIDTH,
    MIN_WIDTH,
    Kind,
    Stack,
    groups,
    kind_of,
    training_bytes,
    width_for,
)
from initbench.execution.pool import WorkerPool
from initbench.initializers import schemes
from initbench.models.architecture import evaluation_flops
from initbench.spec.cell import Cell
from initbench.system import files
from initbench.system.cache import cache_folder

# The sizes of stacks whose speed is wanted, in bytes of weights: about an L2 cache, several, a share of an L3 cache.
MEASURED_BYTES = (1e6, 3e6, 8e6)

# A width is tried if it is this many times the one before. The speed of a width is known if it is within the measured
# ones, or this many times narrower or wider.
APART = 1.5

# Kinds beyond these are assumed to be as fast, for each operation, as the slowest of these: fused ones, and those of
# the plain loop, whose functions may take any time.
MAX_KINDS, MAX_PLAIN_KINDS = 4, 12

# At most this many workers measure at once.
MAX_MEASURING = 16

# Limits of the cached file: a larger file, a longer time (a day) or a larger width was not written by initbench.
MAX_FILE_BYTES, MAX_CACHED_SECONDS, MAX_CACHED_WIDTH = 10_000_000, 86_400.0, 1_000_000

# Where no speed is known: operations a second of a core, and the number of cells that a stack's own time is worth.
USUAL_RATE, NARROW = 5e10, 6

# In a training of fewer operations (some ten seconds) nothing is tried; cached speeds are used.
WORTH_TRYING = 3e12


@dataclass(frozen=True)
class Speeds:
    """The speeds of one kind of stack at some widths, the narrowest first."""

    measured: tuple[Speed, ...]

    @property
    def width(self) -> int:
        """The width at which a step takes the least time for each cell."""
        return min(self.measured, key=lambda speed: speed.step / speed.width).width

    def seconds(self, stack: Stack) -> float:
        """Return how long a stack of this kind trains, with its evaluations and its start."""
        first, width = stack.cells[0], len(stack.cells)
        step, evaluation, start = (self._at(width, name) for name in ("step", "evaluation", "start"))
        evaluated = stack.source.validation_size + stack.source.test_size
        return start + first.epochs * first.steps_per_epoch * step + (first.epochs + 1) * evaluated * evaluation

    def _at(self, width: int, field: str) -> float:
        """Return a time at a width, by linear interpolation and extrapolation of the measured ones."""
        low, high = self.measured[0], self.measured[-1]
        for left, right in zip(self.measured, self.measured[1:], strict=False):
            low, high = left, right
            if width <= right.width:
                break
        a, b = float(getattr(low, field)), float(getattr(high, field))
        slope = (b - a) / (high.width - low.width) if high.width > low.width else a / low.width
        return max(a + slope * (width - low.width), a * min(1.0, width / low.width))


def speeds(
    cells: Sequence[Cell],
    sources: Mapping[str, Source],
    pool: WorkerPool,
    measuring: bool = True,
    on_event: Callable[[Notice], None] = lambda notice: None,
) -> dict[Kind, Speeds]:
    """Return the speeds of the kinds of these cells: the cached ones, and if `measuring`, the others measured.

    `on_event` receives a notice before any is measured. All workers train at once, so that shared resources (memory,
    clock) are in the figures.
    """
    cache = _read()
    by_kind = kinds(cells)
    cached = {kind: _valid_speeds(cache.get(_key(kind, pool), [])) for kind in by_kind}
    speeds = {kind: Speeds(measured) for kind, measured in cached.items() if measured}
    if not measuring:
        return speeds
    wanted = {kind: _widths(group[0], sources[kind.dataset], pool) for kind, group in by_kind.items()}
    missing = _missing(wanted, speeds)
    if missing:
        kinds_of_stack = "one kind of stack" if len(missing) == 1 else f"{len(missing)} kinds of stack"
        on_event(Notice(f"Measuring how fast this machine trains {kinds_of_stack}, once, for some seconds."))
    for kind, widths in missing.items():
        if measured := list(_measure(by_kind[kind], sources[kind.dataset], pool, widths)):
            speeds[kind] = remember(kind, pool, measured)
    return speeds


def _widths(cell: Cell, source: Source, pool: WorkerPool, largest: int = 0) -> list[int]:
    """Return the widths of which the fastest is wanted, narrow ones first.

    If at most `largest` cells can train together, these are widths of equal parts of them.
    """
    if not cell.is_fused:
        return [1]
    gpu = pool.device != "cpu"
    widest = MAX_GPU_WIDTH if gpu else MAX_WIDTH
    if pool.memory:
        widest = max(1, min(widest, int(pool.memory / 2 // training_bytes(cell, source))))
    widths: list[int] = []
    for size in [GPU_STACK_BYTES / part for part in (16, 4, 1)] if gpu else MEASURED_BYTES:
        width = min(widest, max(MIN_WIDTH, width_for(cell, source, size)))
        if largest:
            width = largest // -(-largest // width)
        if not widths or width >= APART * widths[-1]:  # of nearly the same one the speed is known
            widths.append(width)
    return widths


def _missing(wanted: Mapping[Kind, list[int]], speeds: Mapping[Kind, Speeds]) -> dict[Kind, list[int]]:
    """Return the wanted widths whose speed is not known, for as many kinds as are measured at all."""
    missing: dict[Kind, list[int]] = {}
    for limit, plain in ((MAX_KINDS, False), (MAX_PLAIN_KINDS, True)):
        alike = [kind for kind in wanted if bool(kind.plain) is plain]
        new = max(0, limit - sum(kind in speeds for kind in alike))
        for kind in [*(k for k in alike if k in speeds), *[k for k in alike if k not in speeds][:new]]:
            measured = speeds[kind].measured if kind in speeds else ()
            widths = [
                width
                for width in wanted[kind]
                if not measured or not measured[0].width / APART < width < measured[-1].width * APART
            ]
            if widths:
                missing[kind] = widths
    return missing


def _measure(cells: Sequence[Cell], source: Source, pool: WorkerPool, widths: Iterable[int]) -> Iterator[Speed]:
    """Measure the speeds of stacks of these widths, in which these cells repeat; ends where that fails."""
    for width in widths:
        stack = Stack(tuple(sorted((cells[i % len(cells)] for i in range(width)), key=_functions)), source)
        times = scheduling.measure_speeds(pool, [stack] * min(pool.slot_count, MAX_MEASURING))
        if not times:
            return
        yield from times


def trials(
    cells: Sequence[Cell], sources: Mapping[str, Source], pool: WorkerPool, speeds: Mapping[Kind, Speeds]
) -> list[Stack]:
    """Return stacks of widths whose speed is not known, narrow ones first: a training begins with them.

    They have a kind's functions in the same shares as all its cells. All together are at most half of the work, and
    none takes much more than a third of the time of all workers, so that the others make up for a slow one.
    """
    total, tried, by_kind = 0.0, 0.0, dict[Kind, list[list[Cell]]]()
    for group in groups(cells):
        by_kind.setdefault(kind_of(group[0]), []).append(group)
        total += len(group) * Stack((group[0],), sources[group[0].dataset]).cost
    wanted = {
        kind: _widths(alike[0][0], sources[kind.dataset], pool, max(map(len, alike))) for kind, alike in by_kind.items()
    }
    stacks = []
    for kind, widths in _missing(wanted, speeds).items():
        left = by_kind[kind]
        for width in widths:
            group = max(left, key=len)
            chosen = {i * len(group) // width for i in range(width)}
            stack = Stack(tuple(group[i] for i in sorted(chosen)), sources[kind.dataset])
            tried += stack.cost
            if len(group) < width or tried > 0.5 * total or stack.cost * pool.slot_count > 0.35 * total:
                break
            stacks.append(stack)
            group[:] = [cell for i, cell in enumerate(group) if i not in chosen]
    return sorted(stacks, key=lambda stack: len(stack.cells))


def combined(earlier: Speeds | None, measured: Sequence[Speed]) -> Speeds:
    """Return speeds with those that were measured now, of several of one width the mean."""
    by_width: dict[int, list[Speed]] = {}
    for speed in measured:
        by_width.setdefault(speed.width, []).append(speed)
    for speed in earlier.measured if earlier else ():
        by_width.setdefault(speed.width, [speed])
    return Speeds(tuple(_mean(by_width[width]) for width in sorted(by_width)))


def remember(kind: Kind, pool: WorkerPool, measured: Sequence[Speed]) -> Speeds:
    """Cache speeds of a kind, beside those of other widths; returns all of the kind."""
    key = _key(kind, pool)
    speeds = combined(Speeds(_valid_speeds(_read().get(key, []))), measured)
    _store(key, [asdict(speed) for speed in speeds.measured])
    return speeds


def _mean(speeds: Sequence[Speed]) -> Speed:
    means = (sum(getattr(s, name) for s in speeds) / len(speeds) for name in ("step", "evaluation", "start"))
    return Speed(speeds[0].width, *means)


def stack_seconds(
    stacks: Sequence[Stack], speeds: Mapping[Kind, Speeds], initialization: Callable[[Cell], float]
) -> Callable[[Stack], tuple[float, float]]:
    """Return a function of a stack: the seconds that its training takes, and those of its cells' initial weights.

    A stack of a kind that was not measured is assumed to be as slow, for each operation, as the slowest measured one of
    `stacks`: among fused ones or among those of the plain loop, if one was measured. Where none was, a core is assumed
    to be a usual one, on which narrow stacks are slow.
    """
    slowest = {True: 0.0, False: 0.0}  # by whether they are fused: seconds for an operation
    for stack in stacks:
        if stack.kind in speeds:
            fused = stack.cells[0].is_fused
            slowest[fused] = max(slowest[fused], speeds[stack.kind].seconds(stack) / stack.cost)

    def seconds(stack: Stack) -> tuple[float, float]:
        if stack.kind in speeds:
            training = speeds[stack.kind].seconds(stack)
        else:
            fused = stack.cells[0].is_fused
            narrow = 1 + NARROW / len(stack.cells) if fused else 1.0
            training = stack.cost * (slowest[fused] or slowest[not fused] or narrow / USUAL_RATE)
        return training, sum(map(initialization, stack.cells))

    return seconds


def initialization(
    cells: Iterable[Cell], sources: Mapping[str, Source], pool: WorkerPool, measuring: bool = True
) -> Callable[[Cell], float]:
    """Return a function of a cell: the seconds of its initial weights, if its initializer uses data or gradients.

    Each such initializer is timed once, on the largest of its networks and batches, and cached; the time of a smaller
    one is proportional to the operations of a pass of a batch. Other initializers count as 0, as do those that are not
    cached unless `measuring`.
    """
    largest: dict[str, Cell] = {}
    for cell in cells:
        if schemes.is_network_scheme(cell.initializer):
            held = largest.setdefault(cell.initializer, cell)
            if _size(cell, sources) > _size(held, sources):
                largest[cell.initializer] = cell
    cache, seconds_by_name = _read(), {}
    keys = {name: f"{_key(kind_of(cell), pool)} | {name}" for name, cell in largest.items()}
    for name, key in keys.items():
        for line in cache.get(key, [])[:1]:
            if _valid_seconds(line.get("initialization")):
                seconds_by_name[name] = line["initialization"]
    missing = [name for name in largest if name not in seconds_by_name] if measuring else []
    stacks = [Stack((largest[name],), sources[largest[name].dataset]) for name in missing]
    for name, seconds in zip(missing, scheduling.measure_initialization(pool, stacks), strict=True):
        seconds_by_name[name] = seconds
        _store(keys[name], [{"initialization": seconds}])

    def seconds_of(cell: Cell) -> float:
        if cell.initializer not in seconds_by_name:
            return 0.0
        share = _size(cell, sources) / _size(largest[cell.initializer], sources)
        return seconds_by_name[cell.initializer] * share

    return seconds_of


def _size(cell: Cell, sources: Mapping[str, Source]) -> float:
    """Return the floating-point operations of a pass of a batch."""
    source = sources[cell.dataset]
    return evaluation_flops(cell.network(source.shape, source.classes), cell.batch_size)


def kinds(cells: Iterable[Cell]) -> dict[Kind, list[Cell]]:
    """Return the kinds of these cells, each with one of its cells for each combination of functions."""
    groups: dict[Kind, dict[tuple[str, ...], Cell]] = {}
    for cell in cells:
        groups.setdefault(kind_of(cell), {}).setdefault(_functions(cell), cell)
    return {kind: list(group.values()) for kind, group in groups.items()}


def _functions(cell: Cell) -> tuple[str, ...]:
    return cell.activation, cell.output_activation, cell.loss


def file() -> Path:
    """Return the path of the cached speeds."""
    return cache_folder() / "speeds.json"


def _key(kind: Kind, pool: WorkerPool) -> str:
    machine = pool.processor, pool.device, pool.slot_count, __version__, version("torch")
    *of_stack, standardize, plain = kind
    return " | ".join(map(str, (*machine, *of_stack, *["standardize"] * standardize, *[plain] * bool(plain))))


def _read() -> dict[str, list[dict[str, float]]]:
    """Return what this version and others have cached: lists of records of numbers.

    Anything else in the file is ignored, and so is a file that cannot be read.
    """
    with contextlib.suppress(OSError, ValueError, RecursionError):
        cache = json.loads(files.read(file(), MAX_FILE_BYTES))
        if isinstance(cache, dict):
            return {key: records for key, records in cache.items() if _are_records(records)}
    return {}


def _are_records(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(record, dict) and all(type(number) in (int, float) for number in record.values()) for record in value
    )


def _valid_speeds(records: Sequence[Mapping[str, float]]) -> tuple[Speed, ...]:
    """Return the speeds in cached records; none if one of them cannot be a measurement."""
    speeds = []
    for record in records:
        if set(record) != {field.name for field in fields(Speed)}:  # written by another version
            return ()
        width = record["width"]
        if type(width) is not int or not 1 <= width <= MAX_CACHED_WIDTH:
            return ()
        if not record["step"] or not all(_valid_seconds(record[name]) for name in ("step", "evaluation", "start")):
            return ()
        speeds.append(Speed(**record))  # type: ignore[arg-type]
    rising = all(left.width < right.width for left, right in pairwise(speeds))
    return tuple(speeds) if rising else ()


def _valid_seconds(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= MAX_CACHED_SECONDS


def _store(key: str, measured: Sequence[Mapping[str, float]]) -> None:
    with contextlib.suppress(OSError):  # training works without a cache
        files.write_file(file(), json.dumps({**_read(), key: list(measured)}, indent=1).encode())
