"""Workers of this machine: processes of one thread each, that are sent stacks and tell what becomes of them."""

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
from pathlib import Path
from typing import Any

from initbench.errors import WorkerDied
from initbench.execution.crew import Changed, Lost, Notice, WorkerMessage
from initbench.execution.devices import gpu_memories
from initbench.system import children
from initbench.system.hardware import cpu_name
from initbench.system.threads import ENVIRONMENT

# A worker that tells nothing for so many seconds, or gets nowhere and uses no processor for as long, hangs.
SILENCE = 300.0

# It gets somewhere if it tells of progress, or uses so much of a processor.
BUSY = 0.02

# As many workers may be lost with a task before it is split, or fails, as Dask allows by default.
ALLOWED_DEATHS = 3


# A run stops if so many workers in a row are killed, or hang, before they are ready.
LOST_STARTS = 3

# How long a process may take to end once its output has, in seconds.
ENDING = 10.0

# The last reply to a task.
LAST = ("done", "failed")


class Hung(Exception):  # noqa: N818
    """A worker process that gives no sign of life, or gets nowhere."""


class Process:
    """A worker process, and, once it is ready, its environment and the host that it is on.

    `idle` is after how many seconds without a task it ends by itself; 0 for never. `variables` go into its environment.
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
        """The process's number."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it has started, and tells of itself."""
        return bool(self.environment)

    @property
    def killed(self) -> bool:
        """Whether it ended by a signal."""
        return (self._process.poll() or 0) < 0

    def _read(self) -> None:
        assert self._process.stdout
        with contextlib.suppress(OSError, ValueError):  # its streams are closed at the end
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    def replies(self, task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a task and give the replies, the last of which is `done` or `failed`; WorkerDied if it ends before."""
        try:
            assert self._process.stdin
            self._process.stdin.write(json.dumps({**task, "silence": SILENCE}) + "\n")
            self._process.stdin.flush()
            for reply in self._signs():
                if reply["event"] == "ready":
                    self.environment, self.host = reply["environment"], reply["host"]
                    continue
                yield reply
                if reply["event"] in LAST:
                    return
        except Hung as error:
            self.end()
            raise WorkerDied(f"a worker hung: {error}") from None
        except (OSError, ValueError, EOFError):
            raise self._died() from None

    def _signs(self) -> Iterator[dict[str, Any]]:
        """What it tells, as long as that shows that it gets somewhere."""
        moved, used = time.monotonic(), 0.0
        while True:
            try:
                line = self._lines.get(timeout=SILENCE)
            except queue.Empty:
                try:  # was it this process that stood still? Then something has arrived
                    line = self._lines.get(timeout=min(5.0, SILENCE))
                except queue.Empty:
                    raise Hung(f"it gave no sign of life for {SILENCE:.0f} s") from None
            if line is None:
                raise EOFError
            try:
                reply = json.loads(line)
            except ValueError:  # half a reply, after which it ended, or what a library printed before it was ready
                continue
            if not isinstance(reply, dict) or "event" not in reply:
                continue
            if reply["event"] != "alive":
                moved = time.monotonic()
                yield reply
            elif reply["used"] - used > BUSY * SILENCE:
                moved, used = time.monotonic(), reply["used"]
            elif time.monotonic() - moved > SILENCE:
                raise Hung(f"for {SILENCE:.0f} s it got nowhere and used no processor")

    def _died(self) -> WorkerDied:
        """How it ended, and the last that it printed."""
        used = self._seconds_used()
        try:
            status = self._process.wait(timeout=ENDING)
        except subprocess.TimeoutExpired:  # it has closed its output and lives on
            self._process.kill()
            status = self._process.wait()
        printed = []
        with contextlib.suppress(OSError, ValueError):
            self._errors.seek(0)
            printed = self._errors.read().decode(errors="replace").strip().splitlines()
        limit = _cpu_limit(status, used)
        memory = status == -9 and limit is None
        if limit is not None:
            how = f"reached the limit of {limit} s of processor time (RLIMIT_CPU): raise it, with `ulimit -t` say"
        elif memory:
            hint = "most often the system out of memory: take fewer --workers, or a smaller --width"
            how = f"was killed by signal 9 ({hint})"
        else:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        return WorkerDied(f"a worker {how}" + (f": {printed[-1]}" if printed else ""), memory=memory)

    def _seconds_used(self) -> float:
        """The seconds of processor time that it used, which the system knows until its status is fetched; or 0."""
        with contextlib.suppress(OSError, AttributeError):  # Linux tells, and not every other system
            end = time.monotonic() + ENDING
            while not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) and time.monotonic() < end:
                time.sleep(0.01)
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def kill(self) -> None:
        """Kill it; whoever waits for its replies is told that it died."""
        self._process.kill()

    def end(self) -> None:
        """Kill it and close its streams."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


class Workers:
    """A crew of this machine's processes. They start at once, so that they load while their parent does something else.

    On graphics processors each has one of its own, as long as there are enough.
    """

    allowed_deaths = ALLOWED_DEATHS

    def __init__(self, count: int, device: str = "cpu") -> None:
        self.device, self.processor = device, cpu_name()
        memories = gpu_memories() if device == "cuda" else ()
        self.memory = min(memories, default=0) / -(-count // max(1, len(memories)))
        self.events: queue.SimpleQueue[WorkerMessage | Lost | Changed | Notice | Exception] = queue.SimpleQueue()
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        names = gpus if len(gpus) == len(memories) else [str(i) for i in range(len(memories))]
        self._variables = [{"CUDA_VISIBLE_DEVICES": names[i % len(names)]} if names else {} for i in range(count)]
        self._processes: list[Process] = []
        try:
            for variables in self._variables:
                self._processes.append(Process(device, variables))
        except WorkerDied:
            for process in self._processes:
                process.end()
            raise
        self._busy: set[int] = set()
        self._dropped: set[int] = set()
        self._changing, self._ended, self._lost_starts = threading.Lock(), False, 0

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        with self._changing:
            self._ended = True
        for process in self._processes:
            process.end()

    @property
    def pids(self) -> list[int]:
        """The numbers of its processes."""
        return [process.pid for place, process in enumerate(self._processes) if place not in self._dropped]

    @property
    def count(self) -> int:
        """How many places there are."""
        return len(self._processes) - len(self._dropped)

    def free(self) -> list[int]:
        """The places where nothing trains."""
        return [place for place in range(len(self._processes)) if place not in self._busy | self._dropped]

    def send(self, place: int, task: int, what: dict[str, Any]) -> None:
        """Have a task done at a free place."""
        self._busy.add(place)
        threading.Thread(target=self._converse, args=(place, task, what), daemon=True).start()

    def waiting(self, stacks: int) -> None:
        """This machine has as many cores as it has."""

    def shrink(self) -> bool:
        """Work with one process less, if one is left."""
        if self.count < 2:
            return False
        place = next(iter(self.free()), None)
        if place is None:
            return False
        self._dropped.add(place)
        self._processes[place].end()
        return True

    def _converse(self, place: int, task: int, what: dict[str, Any]) -> None:
        """Pass on what a process tells of its task, or that it ended."""
        process = self._processes[place]
        try:
            for reply in process.replies(what):
                self._lost_starts = 0
                if reply["event"] in LAST:
                    self._busy.discard(place)
                self.events.put(WorkerMessage(task, reply, process.environment, process.host))
        except WorkerDied as error:
            try:
                if self._replace(place, error):
                    self._busy.discard(place)
                    self.events.put(Lost(task, str(error), error.memory))
            except WorkerDied as unreplaced:
                self.events.put(unreplaced)
            except Exception as unforeseen:
                self.events.put(_unforeseen(unforeseen))
        except Exception as unforeseen:
            self.events.put(_unforeseen(unforeseen))

    def _replace(self, place: int, error: WorkerDied) -> bool:
        """Put another process in the place of one that ended, unless all is over; WorkerDied where none would start."""
        process = self._processes[place]
        process.end()
        with self._changing:
            if self._ended:
                return False
            if not process.ready:
                self._lost_starts += 1
                if not process.killed or self._lost_starts >= LOST_STARTS:
                    raise error
            self._processes[place] = Process(self.device, self._variables[place])
        return True


def _cpu_limit(status: int, used: float) -> int | None:
    """The limit of processor time, in seconds, if a process with this status and this use ended because of it."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if status == -signal.SIGXCPU:
        return soft
    # The system compares a count of its own, which may be some ticks ahead of what it tells.
    return hard if status == -signal.SIGKILL and hard != resource.RLIM_INFINITY and used > hard - 1 else None


def _unforeseen(error: Exception) -> WorkerDied:
    """What a thread that follows a worker tells when it ends by an error: nobody else would."""
    return WorkerDied(f"a worker cannot be followed any more: {type(error).__name__}: {error}")
