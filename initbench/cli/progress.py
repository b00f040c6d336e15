"""Progress of a run: a bar with the rate and the time left in a terminal, plain lines elsewhere."""

import heapq
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from initbench.execution import Failed, Finished, Notice
from initbench.execution import Progress as Trained
from initbench.execution.estimate import duration
from initbench.execution.events import Event, Planned
from initbench.execution.plan import Kind, Stack, kind_of
from initbench.spec.cell import Cell

LINE_EVERY = 10.0  # seconds, where the output is no terminal
BAR_EVERY = 0.25  # seconds between two looks at the bar: events may come by the hundred

# The plan's speeds count as much as so many seconds of training at every place: it is the training itself that tells
# in the end, but not its first moments.
PLAN_SECONDS = 10.0

# Without the plan's speeds a time left is shown once so many seconds of training, and this share of all, are done.
MIN_SECONDS, MIN_SHARE = 5.0, 0.01

# Beyond so many waiting stacks for each place, which of them trains last does not matter to the time left.
MAX_WAITING = 20


@contextmanager
def progress(total: int) -> Iterator[Callable[[Event], None]]:
    """Show the progress of training `total` cells: gives the function to call with each event."""
    with (_bar if sys.stdout.isatty() else _lines)(total) as listen:
        yield listen


@dataclass
class _Training:
    """A stack that trains: the share of its epochs that is done and when that was, and the work and seconds between its
    reports, which say how fast it is."""

    cells: int
    work: float
    share: float
    at: float
    measured_work: float = 0.0
    measured_seconds: float = 0.0


class Forecast:
    """What of a run is done, and how long the rest takes, from its events.

    Work is counted in the seconds that the plan expects, one stack at a time; where it knows no speed, in operations.
    How fast the workers really are is measured in each stack's own time, so that start-up, stacks of different sizes,
    and workers that come later do not distort it.
    """

    def __init__(self, total: int, now: float) -> None:
        self.total, self.finished, self.begun = total, 0, now
        self._training: dict[int, _Training] = {}
        self._waiting: dict[int, float] = {}
        self._work_of_cell: dict[tuple[Kind, int, int], float] = {}
        self._places: Callable[[], int] = lambda: 1
        self._known = False
        self._total_work = self._finished_work = 0.0
        self._measured_work = self._measured_seconds = 0.0  # of stacks that are finished

    def add(self, event: Event, now: float) -> None:
        """Take in what has happened."""
        if isinstance(event, Planned):
            self._plan(event, now)
        elif isinstance(event, Failed):
            self.finished += 1
            self._finished_work += self._work_of_cell.get(_key(event.cell), 0.0)
        elif isinstance(event, Finished):
            self._begin(event.stack)
            self._training.pop(id(event.stack), None)
            work = self._work(event.stack)
            self.finished += len(event.stack.cells)
            self._finished_work += work
            self._measured_work += work
            self._measured_seconds += event.seconds
        elif isinstance(event, Trained):
            self._train(event.stack, event.epochs / event.stack.cells[0].epochs, now)

    def _plan(self, event: Planned, now: float) -> None:
        self.begun, self._places, self._known = now, event.slots, event.seconds is not None
        seconds = event.seconds or [(stack.operations, 0.0) for stack in event.stacks]
        works: dict[tuple[Kind, int, int], list[float]] = {}
        for stack, (training, initial_weights) in zip(event.stacks, seconds, strict=True):
            sums = works.setdefault(_key(stack.cells[0]), [0.0, 0.0])
            sums[0] += training + initial_weights
            sums[1] += len(stack.cells)
        self._work_of_cell = {key: work / cells for key, (work, cells) in works.items()}
        self._waiting = {id(stack): self._work(stack) for stack in event.stacks}
        self._total_work = sum(self._waiting.values())

    def _train(self, stack: Stack, share: float, now: float) -> None:
        if not share:  # initial weights are made, or its worker was lost
            self._training.pop(id(stack), None)
            return
        self._begin(stack)
        held = self._training.setdefault(id(stack), _Training(len(stack.cells), self._work(stack), share, now))
        if share > held.share:
            held.measured_work += held.work * (share - held.share)
            held.measured_seconds += now - held.at
        held.share, held.at = share, now

    def _begin(self, stack: Stack) -> None:
        self._waiting.pop(id(stack), None)

    def _work(self, stack: Stack) -> float:
        """Of a stack, of the plan or a half of one; all cells of a stack are alike."""
        return len(stack.cells) * self._work_of_cell.get(_key(stack.cells[0]), 0.0)

    @property
    def done(self) -> float:
        """Cells that are done, in fractions: those of finished stacks, and the epochs of those that train."""
        return self.finished + sum(held.cells * held.share for held in self._training.values())

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes; None where nothing is known of that yet, or nothing is left."""
        rest = self._total_work - self._finished_work - sum(held.work * held.share for held in self._training.values())
        if self.finished >= self.total or not self._total_work:
            return None
        places = max(1, self._places())
        work = self._measured_work + sum(held.measured_work for held in self._training.values())
        seconds = self._measured_seconds + sum(held.measured_seconds for held in self._training.values())
        if self._known:
            work, seconds = work + PLAN_SECONDS * places, seconds + PLAN_SECONDS * places
        elif seconds < MIN_SECONDS or work < MIN_SHARE * self._total_work:
            return None
        return self._last_ends(max(0.0, rest), places) * seconds / work

    def _last_ends(self, rest: float, places: int) -> float:
        """When the last of the places is done, in work: each takes the next stack as soon as it is free."""
        if len(self._waiting) > MAX_WAITING * places:
            return rest / places
        loads = [held.work * (1 - held.share) for held in self._training.values()]
        elsewhere = max(0.0, rest - sum(loads) - sum(self._waiting.values()))  # stacks that are tried again, or halved
        loads += [0.0] * (places - len(loads))
        heapq.heapify(loads)
        for work in self._waiting.values():
            heapq.heapreplace(loads, loads[0] + work)
        return max(*loads, (sum(loads) + elsewhere) / places)

    def rate_and_time_left(self, now: float) -> tuple[str, str]:
        """The rate, and the time left, in words; either may be empty."""
        done, left = self.done, self.seconds_left
        rate = done / (now - self.begun) if now > self.begun else 0.0
        shown = f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"
        return (f"{shown} cells/s" if rate else ""), ("" if left is None else f"about {duration(left)} left")


def _key(cell: Cell) -> tuple[Kind, int, int]:
    """What the work of a cell depends on."""
    return kind_of(cell), cell.epochs, cell.train_size


def _tell(event: Event) -> None:
    """A line about what the user should know of the workers, or of a cell that failed."""
    if isinstance(event, Notice):
        print(event.line, flush=True)  # noqa: T201
    elif isinstance(event, Failed):
        print(f"failed: {event.cell.described}: {event.why}", flush=True)  # noqa: T201


@contextmanager
def _bar(total: int) -> Iterator[Callable[[Event], None]]:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    start = time.monotonic()
    forecast, last = Forecast(total, start), -1.0
    columns = (
        BarColumn(),
        TextColumn("{task.fields[shown]} of {task.total:,.0f} cells"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[left]}"),
    )
    with Bar(*columns) as bar:
        task = bar.add_task("training", total=total, shown="0", rate="starting", left="")

        def listen(event: Event) -> None:
            nonlocal last
            _tell(event)
            now = time.monotonic()
            forecast.add(event, now)
            ended = forecast.finished >= total
            if now - last < BAR_EVERY and not ended:
                return
            last, done = now, forecast.done
            rate, left = forecast.rate_and_time_left(now)
            left = f"in {duration(now - start)}" if ended else left
            bar.update(task, completed=done, shown=f"{done:,.0f}", rate=rate or "making initial weights", left=left)

        yield listen


@contextmanager
def _lines(total: int) -> Iterator[Callable[[Event], None]]:
    last = time.monotonic()
    forecast = Forecast(total, last)

    def listen(event: Event) -> None:
        nonlocal last
        _tell(event)
        now = time.monotonic()
        forecast.add(event, now)
        if now - last >= LINE_EVERY or forecast.finished >= total:
            last = now
            rate, left = forecast.rate_and_time_left(now)
            text = ", ".join(filter(None, (rate or "making initial weights", left)))
            print(f"{forecast.done:,.0f} of {total:,} cells, {text}", flush=True)  # noqa: T201

    yield listen
