"""Start the process that a command waits for longest before what the command line itself needs is imported."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from initbench.cli import completion
from initbench.system.cache import provide_home

if TYPE_CHECKING:
    from initbench.execution.processes import WorkerProcess
    from initbench.reporting.drawers import Drawer

# With these words `run` needs no worker on this machine's CPU, or may need none.
NO_WORKER = {"--help", "-h", "--scheduler", "--device"}


@dataclass
class _Started:
    worker: "WorkerProcess | None" = None
    drawer: "Drawer | None" = None


_started = _Started()


@contextmanager
def started(words: Sequence[str]) -> Iterator[None]:
    """Start a worker if the words of the command line begin with `run`, or what draws if they are `report FOLDER`.

    They are ended afterwards, whatever the command line turns out to be.
    """
    with ExitStack() as stack:
        with suppress(OSError):  # the program says so
            provide_home()
        if completion.VARIABLE in os.environ:
            words = ()
        if words[:1] == ["run"] and NO_WORKER.isdisjoint(word.partition("=")[0] for word in words):
            _started.worker = stack.enter_context(_new_worker())
        elif len(words) == 2 and words[0] == "report" and os.path.isdir(words[1]):
            _started.drawer = stack.enter_context(_new_drawer())
        try:
            yield
        finally:
            _started.worker = _started.drawer = None


def worker(wanted: bool) -> "AbstractContextManager[WorkerProcess | None]":
    """Return a context with the worker that has been started, or if `wanted` with a new one."""
    if _started.worker or not wanted:
        return nullcontext(_started.worker)
    return _new_worker()


def drawer(wanted: bool) -> "AbstractContextManager[Drawer | None]":
    """Return a context with what draws that has been started, or if `wanted` with a new one."""
    if _started.drawer or not wanted:
        return nullcontext(_started.drawer)
    return _new_drawer()


def _new_worker() -> "AbstractContextManager[WorkerProcess | None]":
    from initbench.execution.processes import first_worker

    return first_worker()


def _new_drawer() -> "AbstractContextManager[Drawer]":
    from initbench.reporting import drawers

    return drawers.started()
