"""Progress of a training: a bar in a terminal or a notebook, or plain lines."""

import heapq
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, TextIO

from initbench.api.training import Looked, Started
from initbench.durations import duration
from initbench.execution.events import Event, Finished, Lost, Planned, Progress, Signalled, Untrained
from initbench.execution.plan import Kind, Stack, kind_of
from initbench.spec.cell import Cell

LINE_EVERY = 10.0  # seconds between two lines, where the output is not a terminal
BAR_EVERY = 0.25  # seconds between two updates of the bar: there may be hundreds of events in between
NOTEBOOK_EVERY = 0.5  # seconds between two updates of a notebook's bar, each of which is a message to the browser

# The plan's speeds weigh as much as this many seconds of training in every slot, so that the first moments of the
# training do not decide.
PLAN_SECONDS = 10.0

# Without the plan's speeds the time left is shown after this many seconds of training, and this share of the work.
MIN_SECONDS, MIN_SHARE = 5.0, 0.01

# With more waiting stacks per slot than this, the order in which they train does not matter to the time left.
MAX_WAITING = 20

STARTING = "initializing weights"  # instead of a rate, until an epoch is done


# What the work of a cell depends on: its kind, epochs, and number of training images.
_Key = tuple[Kind, int, int]


@dataclass
class _Training:
    """A stack that trains: the finished share of its epochs, as of which time, and what was measured so far."""

    key: _Key
    cells: int
    work: float
    share: float
    at: float
    measured_work: float = 0.0
    measured_seconds: float = 0.0


class Forecast:
    """The finished cells and the time left of a run, computed from its events.

    Work is counted in the seconds that the plan expects for a stack, or in operations if it has no speeds. The speed of
    the workers is measured in each stack's own time, so that start-up, stacks of different sizes, and workers that join
    later do not distort it. When stacks are planned again, with other expectations, all work is counted in these.
    """

    def __init__(self, total: int, now: float) -> None:
        self.total, self.finished, self.created, self.begun = total, 0, now, now
        self._training: dict[int, _Training] = {}
        self._waiting: dict[int, float] = {}
        self._begun: set[int] = set()  # ids of stacks
        self._work_of_cell: dict[_Key, float] = {}
        self._slots: Callable[[], int] = lambda: 1
        self._has_speeds = False
        self._total_work = 0.0
        self._finished_cells = Counter[_Key]()
        self._measured_cells = Counter[_Key]()  # of stacks that are finished
        self._measured_seconds = 0.0

    def add(self, event: Event, now: float) -> None:
        """Update the forecast with an event."""
        if isinstance(event, Planned):
            self._plan(event, now)
        elif isinstance(event, Untrained):
            self.finished += 1
            self._finished_cells[_key(event.cell)] += 1
        elif isinstance(event, Finished | Signalled):
            self._begin(event.stack)
            self._training.pop(id(event.stack), None)
            key, cells = _key(event.stack.cells[0]), len(event.stack.cells)
            self.finished += cells
            self._finished_cells[key] += cells
            self._measured_cells[key] += cells
            self._measured_seconds += event.seconds
        elif isinstance(event, Lost):
            self._training.pop(id(event.stack), None)
        elif isinstance(event, Progress):
            self._train(event.stack, event.epochs / event.stack.cells[0].epochs, now)

    def _plan(self, event: Planned, now: float) -> None:
        if not self._work_of_cell:
            self.begun = now
        self._slots, self._has_speeds = event.slots, event.seconds is not None
        seconds = event.seconds or [(stack.cost, 0.0) for stack in event.stacks]
        works: dict[_Key, list[float]] = {}
        for stack, (training, initial_weights) in zip(event.stacks, seconds, strict=True):
            sums = works.setdefault(_key(stack.cells[0]), [0.0, 0.0])
            sums[0] += training + initial_weights
            sums[1] += len(stack.cells)
        self._work_of_cell = {key: work / cells for key, (work, cells) in works.items()}
        self._total_work = sum(map(self._work, event.stacks))
        self._waiting = {id(stack): self._work(stack) for stack in event.stacks if id(stack) not in self._begun}
        for state in self._training.values():
            work = state.cells * self._work_of_cell.get(state.key, 0.0)
            state.measured_work *= work / state.work if state.work else 0.0
            state.work = work

    def _train(self, stack: Stack, share: float, now: float) -> None:
        if not share:  # initial weights are computed
            return
        self._begin(stack)
        training = self._training.setdefault(
            id(stack), _Training(_key(stack.cells[0]), len(stack.cells), self._work(stack), share, now)
        )
        if share > training.share:
            training.measured_work += training.work * (share - training.share)
            training.measured_seconds += now - training.at
        training.share, training.at = share, now

    def _begin(self, stack: Stack) -> None:
        self._begun.add(id(stack))
        self._waiting.pop(id(stack), None)

    def _work(self, stack: Stack) -> float:
        """Return the work of a stack, of the plan or split off one; all cells of a stack are alike."""
        return len(stack.cells) * self._work_of_cell.get(_key(stack.cells[0]), 0.0)

    def _sum(self, cells: Counter[_Key]) -> float:
        """Return the work of these numbers of cells."""
        return sum(count * self._work_of_cell.get(key, 0.0) for key, count in cells.items())

    @property
    def done(self) -> float:
        """The number of finished cells, with fractions for the epochs of those that train."""
        return self.finished + sum(stack.cells * stack.share for stack in self._training.values())

    @property
    def seconds_left(self) -> float | None:
        """The time left; None where it cannot be estimated yet, or nothing is left."""
        training = self._training.values()
        rest = self._total_work - self._sum(self._finished_cells) - sum(stack.work * stack.share for stack in training)
        if self.finished >= self.total or not self._total_work:
            return None
        slots = max(1, self._slots())
        work = self._sum(self._measured_cells) + sum(stack.measured_work for stack in training)
        seconds = self._measured_seconds + sum(stack.measured_seconds for stack in training)
        if self._has_speeds:
            work, seconds = work + PLAN_SECONDS * slots, seconds + PLAN_SECONDS * slots
        elif seconds < MIN_SECONDS or work < MIN_SHARE * self._total_work:
            return None
        return self._last_end(max(0.0, rest), slots) * seconds / work

    def _last_end(self, rest: float, slots: int) -> float:
        """Return the work until the last slot is done, if each takes the next stack as soon as it is free."""
        if len(self._waiting) > MAX_WAITING * slots:
            return rest / slots
        loads = [stack.work * (1 - stack.share) for stack in self._training.values()]
        retried = max(0.0, rest - sum(loads) - sum(self._waiting.values()))  # stacks that train again, whole or split
        loads += [0.0] * (slots - len(loads))
        heapq.heapify(loads)
        for work in self._waiting.values():
            heapq.heapreplace(loads, loads[0] + work)
        return max(*loads, (sum(loads) + retried) / slots)

    def rate_and_time_left(self, now: float) -> tuple[str, str]:
        """Return the rate and the time left in words, at the end the time that it took; empty if it is unknown."""
        rate = self.done / (now - self.begun) if now > self.begun else 0.0
        digits = f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"
        if self.finished >= self.total:
            shown = f"in {duration(now - self.created)}"
        else:
            left = self.seconds_left
            shown = "" if left is None else f"about {duration(round(left))} left"
        return (f"{digits} cells/s" if rate else STARTING), shown


def _key(cell: Cell) -> _Key:
    """Return what the work of a cell depends on."""
    return kind_of(cell), cell.epochs, cell.train_size


Listener = Callable[[Event], None]
Display = Callable[[int], AbstractContextManager[Listener]]  # of the training of this number of cells


def display_for(progress: bool | None) -> Display:
    """Return how `ib.run` shows the progress: in a notebook or a terminal, elsewhere as lines if `progress` is True."""
    if progress is False:
        return _nothing
    if _is_notebook():
        return notebook_bar
    if sys.stdout is not None and sys.stdout.isatty():
        return bar
    return partial(lines, stream=sys.stderr) if progress else _nothing


def _is_notebook() -> bool:
    """Return whether the program runs in a notebook: in an IPython that has a kernel. It is not imported for this."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_ipython is not None and hasattr(get_ipython(), "kernel")


@contextmanager
def _nothing(total: int) -> Iterator[Listener]:
    yield lambda event: None


@contextmanager
def bar(total: int) -> Iterator[Listener]:
    """Show the training of `total` cells as a bar in a terminal; yields the function to call with each event."""
    import rich.progress

    texts = ("{task.fields[shown]} of {task.total:,.0f} cells", "{task.fields[rate]}", "{task.fields[left]}")
    columns = (rich.progress.BarColumn(), *map(rich.progress.TextColumn, texts))
    with rich.progress.Progress(*columns) as shown:
        task = shown.add_task("training", total=total, shown="0", rate="starting", left="")

        def update(forecast: Forecast, now: float) -> None:
            rate, left = forecast.rate_and_time_left(now)
            shown.update(task, completed=forecast.done, shown=f"{forecast.done:,.0f}", rate=rate, left=left)

        yield _listener(Forecast(total, time.monotonic()), BAR_EVERY, update, at_once=True)


@contextmanager
def notebook_bar(total: int) -> Iterator[Listener]:
    """As `bar`, as HTML below the cell of a notebook, with a line of text for where HTML is not shown.

    One output is updated in place, so its last state stays in the saved notebook: complete, or where it stopped.
    """
    display: Any = import_module("IPython.display").display
    forecast = Forecast(total, time.monotonic())
    output = display(_notebook_data(forecast, f"0 of {total:,} cells, starting"), raw=True, display_id=True)

    def update(forecast: Forecast, now: float) -> None:
        colour = "#2e7d32" if forecast.finished >= total else ""
        output.update(_notebook_data(forecast, _line(forecast, now), colour), raw=True)

    try:
        yield _listener(forecast, NOTEBOOK_EVERY, update, at_once=True)
    finally:
        if forecast.finished < total:
            seconds = duration(time.monotonic() - forecast.created)
            line = f"{forecast.finished:,} of {total:,} cells, stopped after {seconds}"
            output.update(_notebook_data(forecast, line, "#c62828"), raw=True)


def _notebook_data(forecast: Forecast, line: str, colour: str = "") -> dict[str, str]:
    """Return a notebook's bar as HTML and as text."""
    share = forecast.done / forecast.total
    style = "width: 16em; vertical-align: middle" + f"; accent-color: {colour}" * bool(colour)
    bar = f'<progress aria-label="cells trained" max="1" value="{share:.3f}" style="{style}"></progress>'
    return {"text/html": f"<div>{bar} {int(100 * share)}%, {line}</div>", "text/plain": line}


@contextmanager
def lines(total: int, stream: TextIO | None = None) -> Iterator[Listener]:
    """As `bar`, as a line every ten seconds, on standard output by default."""

    def update(forecast: Forecast, now: float) -> None:
        print(_line(forecast, now), file=stream, flush=True)

    yield _listener(Forecast(total, time.monotonic()), LINE_EVERY, update)


def _line(forecast: Forecast, now: float) -> str:
    text = ", ".join(filter(None, forecast.rate_and_time_left(now)))
    return f"{forecast.done:,.0f} of {forecast.total:,} cells, {text}"


def _listener(
    forecast: Forecast, every: float, update: Callable[[Forecast, float], None], *, at_once: bool = False
) -> Listener:
    """Return a function of an event that updates the forecast and calls `update` after `every` seconds and at the end.

    With `at_once`, the first event is shown.
    """
    last = forecast.created - every * at_once

    def on_event(event: Event) -> None:
        nonlocal last
        now = time.monotonic()
        forecast.add(event, now)
        if now - last >= every or forecast.finished >= forecast.total:
            last = now
            update(forecast, now)

    return on_event


@contextmanager
def each_round(
    display: Display, between: Callable[[Started | Looked], None] = lambda event: None
) -> Iterator[Callable[[Started | Looked | Event], None]]:
    """Show the training of each round of seeds; yields the function to call with each event of a run.

    `between` is called before the first round and after each, when none is shown.
    """
    with ExitStack() as stack:
        show: Listener = lambda event: None  # noqa: E731

        def on_event(event: Started | Looked | Event) -> None:
            nonlocal show
            if not isinstance(event, Started | Looked):
                show(event)
                return
            stack.close()  # the display of the last round
            between(event)
            missing = event.missing if isinstance(event, Started) else event.rounds.missing
            if missing:
                show = stack.enter_context(display(len(missing)))

        yield on_event
