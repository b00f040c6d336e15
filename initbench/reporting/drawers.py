"""Draw figures in processes of their own, which import matplotlib while this one computes what they draw.

A process of the package imports the figures and, on Linux, forks: each core then has one. A process takes a request
at a time: the name of a function of `reporting.figures` and its arguments. Both ends are ours, so requests and replies
are pickled. Elsewhere than on Linux a fork is unsafe or unknown, and one process draws all.
"""

import contextlib
import itertools
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, cast

from initbench.system import children, threads

if TYPE_CHECKING:
    from initbench.reporting.figures import Drawing

# What `os.nice` adds for a process that must not slow others down.
LOW_PRIORITY = 19

Stream = tuple[IO[bytes], IO[bytes]]  # to a process and from it


class Lost(Exception):  # noqa: N818
    """A process that has ended; what it should draw is drawn here."""


def draw_here(function: str, arguments: tuple[Any, ...], settings: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """Return what a function of `reporting.figures` returns."""
    from initbench.reporting import figures

    return getattr(figures, function)(*arguments, **settings)


@dataclass(frozen=True)
class Undrawn:
    """A figure that is not drawn yet: a function of `reporting.figures` that returns a `Drawing`, and its arguments."""

    function: str
    arguments: tuple[Any, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def draw(self) -> "Drawing":
        """Return the figure."""
        drawing: Drawing = draw_here(self.function, self.arguments, self.settings)
        return drawing


def undrawn(function: str, *arguments: Any, **settings: Any) -> Undrawn:
    """Return a figure that a function of `reporting.figures` draws later, perhaps in another process."""
    return Undrawn(function, arguments, settings)


@dataclass(frozen=True)
class PageFigure:
    """A figure for the page: SVG, that for a phone where it is wider, its size in pixels, and its numbers."""

    svg: str
    narrow: str
    title: str
    size: tuple[int, int]
    headings: list[str]
    rows: list[list[str]]


def is_imported() -> bool:
    """Return whether this process has imported matplotlib, so that it draws without waiting."""
    return "matplotlib.figure" in sys.modules


class Drawer:
    """Calls functions of `reporting.figures`, here and now; see `started` for one that calls them elsewhere."""

    def submit(self, function: str, *arguments: Any) -> Callable[[], Any]:
        """Return a function that returns what the function of `reporting.figures` returns, and raises what it raises.

        Submit all before calling the first: they are drawn meanwhile.
        """
        drawn = draw_here(function, arguments)
        return lambda: drawn


class _Processes(Drawer):
    """Calls them in the processes at these streams; here, once all have ended."""

    def __init__(self, streams: list[Stream]) -> None:
        self.streams = streams
        self._free: SimpleQueue[Stream | None] = SimpleQueue()
        for stream in streams:
            self._free.put(stream)
        self._living, self._lock = len(streams), threading.Lock()
        self._pool = ThreadPoolExecutor(len(streams))

    def submit(self, function: str, *arguments: Any) -> Callable[[], Any]:
        try:
            future = self._pool.submit(self._call, (function, arguments))
        except RuntimeError:  # no further thread can be started
            return super().submit(function, *arguments)

        def collect() -> Any:
            try:
                kind, value = future.result()
            except Lost:
                return draw_here(function, arguments)
            if kind == "failed":
                raise value
            return value

        return collect

    def _call(self, request: tuple[str, tuple[Any, ...]]) -> tuple[str, Any]:
        stream = self._free.get()
        if stream is None:
            self._free.put(None)
            raise Lost
        sending, receiving = stream
        try:
            pickle.dump(request, sending)
            sending.flush()
            reply: tuple[str, Any] = pickle.load(receiving)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):  # a closed stream, or half a reply
            with self._lock:
                self._living -= 1
                if not self._living:
                    self._free.put(None)
            raise Lost from None
        self._free.put(stream)
        return reply

    def end(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def started(*, in_background: bool = False) -> Iterator[Drawer]:
    """Start processes that draw, one for each core, and end them afterwards.

    With one core, or where matplotlib is imported already, as in a notebook, figures are drawn in this process.

    Those in the background have a low priority, so that they take little time from processes that train. (Linux with
    autogroups compares priorities within a session alone, and these have one of their own.)
    """
    count = threads.available_cores()
    if count == 1 or is_imported():
        yield Drawer()
        return
    pairs = [socket.socketpair() for _ in range(count - 1)] if sys.platform == "linux" else []
    try:
        process = children.start(
            "-m",
            "initbench.reporting.drawing_process",
            str(LOW_PRIORITY * in_background),
            *(str(theirs.fileno()) for _, theirs in pairs),
            variables=threads.ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what cannot be drawn there is drawn here, with its message
            pass_fds=[theirs.fileno() for _, theirs in pairs],
            # A session of its own: Ctrl-C in the terminal reaches the parent alone, which ends it.
            start_new_session=True,
        )
    except OSError:
        yield Drawer()
        return
    finally:
        for _, theirs in pairs:
            theirs.close()
    streams = [(process.stdin, process.stdout), *((ours.makefile("wb"), ours.makefile("rb")) for ours, _ in pairs)]
    drawer = _Processes(cast("list[Stream]", streams))
    try:
        yield drawer
    finally:
        _end(process)
        drawer.end()
        ends: list[Any] = [*itertools.chain(*drawer.streams), *(ours for ours, _ in pairs)]
        for end in ends:
            with contextlib.suppress(OSError, ValueError):
                end.close()


def _end(process: Any) -> None:
    """End the process and those that it forked."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
