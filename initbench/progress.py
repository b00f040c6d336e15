"""Progress of a run: a bar with the rate and the time left in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from initbench.execution import Failed, Finished, Notice
from initbench.runs import Event

LINE_EVERY = 10.0  # seconds, where the output is no terminal


@contextmanager
def progress(total: int) -> Iterator[Callable[[Event], None]]:
    """Show the progress of training `total` cells: gives the function that is to be told of each event."""
    if sys.stdout.isatty():
        with _bar(total) as listen:
            yield listen
    else:
        with _lines(total) as listen:
            yield listen


class _Count:
    """Cells done, in fractions: those of finished stacks, and the epochs of those that train; and cells that failed."""

    def __init__(self) -> None:
        self.finished = 0
        self.training: dict[int, float] = {}

    def add(self, event: Event) -> float:
        if isinstance(event, Notice | Failed):
            line = event.line if isinstance(event, Notice) else f"failed: {event.cell.described}: {event.why}"
            print(line, flush=True)  # noqa: T201
            self.finished += isinstance(event, Failed)
        elif isinstance(event, Finished):
            self.training.pop(id(event.stack), None)
            self.finished += len(event.stack.cells)
        else:
            stack = event.stack
            self.training[id(stack)] = len(stack.cells) * event.epochs / stack.cells[0].epochs
        return self.finished + sum(self.training.values())


@contextmanager
def _bar(total: int) -> Iterator[Callable[[Event], None]]:
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    count = _Count()
    start = time.monotonic()
    columns = (
        BarColumn(),
        TextColumn("{task.fields[shown]} of {task.total:,.0f} cells"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bar(*columns, speed_estimate_period=60) as bar:
        task = bar.add_task("training", total=total, shown="0", rate="starting")

        def listen(event: Event) -> None:
            done = count.add(event)
            rate = f"{done / (time.monotonic() - start):.1f} cells/s" if done else "making initial weights"
            bar.update(task, completed=done, shown=f"{done:,.0f}", rate=rate)

        yield listen


@contextmanager
def _lines(total: int) -> Iterator[Callable[[Event], None]]:
    count = _Count()
    start = last = time.monotonic()

    def listen(event: Event) -> None:
        nonlocal last
        done, now = count.add(event), time.monotonic()
        if now - last >= LINE_EVERY or count.finished == total:
            last = now
            rate = done / (now - start)
            left = f", about {(total - done) / rate:.0f} s left" if 0 < done < total else ""
            told = f"{rate:.1f} cells/s{left}" if done else "making initial weights"
            print(f"{done:,.0f} of {total:,} cells, {told}", flush=True)  # noqa: T201

    yield listen
