"""A worker process of one thread, as its parent sees it: send tasks, read replies, detect its end."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from initbench.durations import duration
from initbench.errors import WorkerDied
from initbench.system import children
from initbench.system.threads import ENVIRONMENT

# A process hangs if it sends nothing for this many seconds, or makes no progress and uses no CPU for as long.
SILENCE = 300.0

# It uses the CPU if it uses more than this share of one.
BUSY = 0.02

# How long a process may take to end after its output has, in seconds.
ENDING = 10.0

# The last reply to a task.
FINAL_REPLIES = ("done", "failed")


class Hung(Exception):  # noqa: N818
    """A worker process that sends no heartbeat, or makes no progress."""


class WorkerProcess:
    """A worker process, and, once it is ready, its environment and host.

    After `idle` seconds without a task it ends; 0 for never. `variables` are added to its environment.
    """

    def __init__(self, device: str, variables: Mapping[str, str] | None = None, idle: float = 0.0) -> None:
        self.environment: dict[str, str] = {}
        self.host = ""
        try:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115
            self._process = children.start(
                "-m",
                "initbench.training.worker",
                device,
                str(idle),
                variables={**ENVIRONMENT, **(variables or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                encoding="utf-8",
                # A session of its own: Ctrl-C in the terminal reaches the parent alone, which ends it.
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerDied(f"a worker cannot be started: {error}") from None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        try:
            threading.Thread(target=self._read, daemon=True).start()
        except RuntimeError as error:
            self.end()
            raise WorkerDied(f"a worker cannot be followed: {error}") from None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it has started and sent its environment."""
        return bool(self.environment)

    @property
    def killed(self) -> bool:
        """Whether a signal ended it."""
        return (self._process.poll() or 0) < 0

    def _read(self) -> None:
        assert self._process.stdout
        with contextlib.suppress(OSError, ValueError):  # its streams are closed at the end
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    def replies(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request and yield the replies, the last of which is `done` or `failed`.

        Raises WorkerDied if the process ends or hangs before.
        """
        try:
            assert self._process.stdin
            self._process.stdin.write(json.dumps({**request, "silence": SILENCE}) + "\n")
            self._process.stdin.flush()
            for reply in self._messages():
                if reply["event"] == "ready":
                    self.environment, self.host = reply["environment"], reply["host"]
                    continue
                yield reply
                if reply["event"] in FINAL_REPLIES:
                    return
        except Hung as error:
            self.end()
            raise WorkerDied(f"a worker hung: {error}") from None
        except (OSError, ValueError, EOFError):
            raise self._died() from None

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Yield its messages but the heartbeats; raises Hung if these stop, or show neither progress nor work."""
        progress_at, used = time.monotonic(), 0.0
        while True:
            try:
                line = self._lines.get(timeout=SILENCE)
            except queue.Empty:
                try:  # if this process was the one that stood still, something has arrived meanwhile
                    line = self._lines.get(timeout=min(5.0, SILENCE))
                except queue.Empty:
                    raise Hung(f"it sent no heartbeat for {duration(SILENCE)}") from None
            if line is None:
                raise EOFError
            try:
                reply = json.loads(line)
            except ValueError:  # half a reply, after which it ended, or what a library printed before it was ready
                continue
            if not isinstance(reply, dict) or "event" not in reply:
                continue
            if reply["event"] != "alive":
                progress_at = time.monotonic()
                yield reply
            elif reply["used"] - used > BUSY * SILENCE:
                progress_at, used = time.monotonic(), reply["used"]
            elif time.monotonic() - progress_at > SILENCE:
                raise Hung(f"for {duration(SILENCE)} it made no progress and used no CPU time")

    def _died(self) -> WorkerDied:
        """Return how it ended, with the last line that it printed."""
        used = self._cpu_seconds()
        try:
            status = self._process.wait(timeout=ENDING)
        except subprocess.TimeoutExpired:  # it has closed its output, but still runs
            self._process.kill()
            status = self._process.wait()
        printed = []
        with contextlib.suppress(OSError, ValueError):
            self._errors.seek(0)
            printed = self._errors.read().decode(errors="replace").strip().splitlines()
        limit = _exceeded_limit(status, used)
        memory = status == -9 and limit is None
        if limit is not None:
            hint = "raise it, with `ulimit -t` for example"
            end = f"reached the limit of {duration(limit)} of CPU time (RLIMIT_CPU): {hint}"
        elif memory:
            hint = "most often the system is out of memory: use fewer --workers, or a smaller --width"
            end = f"was killed by signal 9 ({hint})"
        else:
            end = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return WorkerDied(f"a worker {end}" + (f": {printed[-1]}" if printed else ""), memory=memory)

    def _cpu_seconds(self) -> float:
        """Return the CPU time that it used, which the system keeps until its status is fetched; or 0."""
        with contextlib.suppress(OSError, AttributeError):  # only Linux has /proc
            end = time.monotonic() + ENDING
            while not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) and time.monotonic() < end:
                time.sleep(0.01)
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def kill(self) -> None:
        """Kill it; a thread that waits for its replies gets WorkerDied."""
        self._process.kill()

    def end(self) -> None:
        """Kill it and close its streams."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


@contextmanager
def first_worker() -> Iterator[WorkerProcess | None]:
    """Start a worker that trains on the CPU before it is known what to train, and end it afterwards.

    It imports PyTorch, for most of the time of a small training, while this process reads the grid.
    """
    worker = None
    with contextlib.suppress(WorkerDied):  # the pool then says why
        worker = WorkerProcess("cpu")
    try:
        yield worker
    finally:
        if worker:
            worker.end()


def _exceeded_limit(status: int, used: float) -> int | None:
    """Return the limit of CPU time, in seconds, if a process with this status and CPU time ended because of it."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if status == -signal.SIGXCPU:
        return soft
    # The kernel compares a count of its own, which may be some ticks ahead of what /proc shows.
    return hard if status == -signal.SIGKILL and hard != resource.RLIM_INFINITY and used > hard - 1 else None
