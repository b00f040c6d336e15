"""Train cells by a plan that changes when the first stacks have shown how fast this machine trains."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from initbench.data.datasets import Source
from initbench.execution import calibration
from initbench.execution.calibration import WORTH_TRYING
from initbench.execution.events import Event, Finished, Lost, Planned, Progress, Speed
from initbench.execution.plan import FIRST_SECONDS, Kind, Stack, end_together
from initbench.execution.pool import WorkerPool
from initbench.execution.start import in_order, in_widths
from initbench.spec.cell import Cell


def planned_training(
    cells: Sequence[Cell],
    sources: Mapping[str, Source],
    pool: WorkerPool,
    width: int | None,
    train: Callable[[list[Stack]], Iterable[Event]],
) -> Iterator[Event]:
    """Plan and train cells; yields `Planned` and the events of `train`, which takes the stacks it begins off the list.

    Where the speeds of their kinds are not known, the training begins with stacks of different widths. When each has
    shown its speed, after its first epoch, those that wait are planned again; the speeds are cached when all of them
    have ended. Of the last stacks some are halved if the workers would not end together. After each change another
    `Planned` is yielded. With a `width` no other one is tried.
    """
    speeds = calibration.speeds(cells, sources, pool, measuring=False)
    initialization = calibration.initialization(cells, sources, pool, measuring=False)
    is_long = len(cells) * Stack((cells[0],), sources[cells[0].dataset]).cost > WORTH_TRYING
    tried = calibration.trials(cells, sources, pool, speeds) if is_long and not width else []
    tried_cells = {cell for stack in tried for cell in stack.cells}
    others = [cell for cell in cells if cell not in tried_cells]
    waiting, _ = in_order(others, sources, pool, speeds, initialization, width)
    times = calibration.stack_seconds([*tried, *waiting], speeds, initialization)
    # After the small stacks of a long training, so that their results are soon stored.
    at = pool.slot_count if any(_seconds(times, stack) > FIRST_SECONDS for stack in tried[:1]) else 0
    waiting[at:at] = tried
    stacks = [*waiting]  # all of the training
    # Of few stacks, none of which is wider or narrower for a trial, the first one shows its speed.
    trials = _Trials(tried or (stacks[:1] if is_long and not width and not speeds else []))

    def planned() -> Planned:
        return Planned(tuple(stacks), [*map(times, stacks)] if speeds else None, lambda: pool.slot_count)

    yield planned()
    running, n_begun, look_at = _Running(), 0, 2 * pool.slot_count
    for event in train(waiting):
        yield event
        running.begin(stacks[n_begun : len(stacks) - len(waiting)])
        n_begun = len(stacks) - len(waiting)
        running.add(event)
        is_measured, have_ended = trials.add(event)
        if have_ended:
            for kind, measured in trials.speeds().items():
                calibration.remember(kind, pool, measured)
        if is_measured:
            speeds |= {kind: calibration.combined(speeds.get(kind), new) for kind, new in trials.speeds().items()}
            left = in_widths([cell for stack in waiting for cell in stack.cells], sources, pool, speeds, width)
            times = calibration.stack_seconds([*stacks[:n_begun], *left], speeds, initialization)
        elif speeds and isinstance(event, Finished) and len(waiting) <= look_at:
            left, look_at = [*waiting], len(waiting) // 2
        else:
            continue
        left = end_together(left, running.seconds_left(pool.slot_count, times), partial(_seconds, times))
        if is_measured or len(left) > len(waiting):
            waiting[:] = left
            stacks[n_begun:] = left
            yield planned()


def _seconds(times: Callable[[Stack], tuple[float, float]], stack: Stack) -> float:
    """Return the seconds that a stack takes, of its training and its initial weights."""
    return sum(times(stack))


class _Trials:
    """The stacks that show how fast this machine trains, and what they have shown."""

    def __init__(self, stacks: list[Stack]) -> None:
        self.stacks = stacks
        self._speeds: dict[int, Speed] = {}  # by the id of a stack, as below
        self._awaited = {id(stack) for stack in stacks}
        self._unfinished = {*self._awaited}

    def add(self, event: Event) -> tuple[bool, bool]:
        """Take in an event; returns whether all have shown their speed now, and whether all have ended now."""
        if not isinstance(event, Progress | Finished | Lost) or id(event.stack) not in self._unfinished:
            return False, False
        trial, ends = id(event.stack), not isinstance(event, Progress)
        if not isinstance(event, Lost) and event.speed:
            self._speeds[trial] = event.speed
        is_last = self._awaited == {trial} and (ends or trial in self._speeds)
        if ends or trial in self._speeds:
            self._awaited.discard(trial)
        if ends:
            self._unfinished.discard(trial)
        return is_last and bool(self._speeds), ends and not self._unfinished

    def speeds(self) -> dict[Kind, list[Speed]]:
        """Return the speeds that are known, by kind."""
        speeds: dict[Kind, list[Speed]] = {}
        for stack in self.stacks:
            if id(stack) in self._speeds:
                speeds.setdefault(stack.kind, []).append(self._speeds[id(stack)])
        return speeds


class _Running:
    """The stacks that train, and the share of each that is left."""

    def __init__(self) -> None:
        self._left: dict[int, tuple[Stack, float]] = {}

    def begin(self, stacks: Iterable[Stack]) -> None:
        """Add stacks."""
        self._left |= {id(stack): (stack, 1.0) for stack in stacks}

    def add(self, event: Event) -> None:
        """Take in an event."""
        if isinstance(event, Progress):
            self._left[id(event.stack)] = event.stack, 1 - event.epochs / event.stack.cells[0].epochs
        elif isinstance(event, Finished | Lost):
            self._left.pop(id(event.stack), None)

    def seconds_left(self, workers: int, times: Callable[[Stack], tuple[float, float]]) -> list[float]:
        """Return after how many seconds each worker is free."""
        seconds = [0.0] * max(1, workers)
        for stack, left in self._left.values():
            seconds[seconds.index(min(seconds))] += left * _seconds(times, stack)
        return seconds
