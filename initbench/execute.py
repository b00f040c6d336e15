"""Executing a plan: stacks go to worker processes of one thread each, and their results come back as they finish."""

import contextlib
import json
import os
import platform
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal

from initbench.errors import UserError, WorkerDied
from initbench.plan import Stack
from initbench.threads import ENVIRONMENT

# What a worker is asked to do with a stack: train it, or measure something of it.
What = Literal["train", "speed", "initialization"]


@dataclass(frozen=True)
class Progress:
    """A stack that is still training: how many epochs of it are done."""

    stack: Stack
    epochs: float


@dataclass(frozen=True)
class Finished:
    """A stack's result: for each metric its values `[epoch][cell]`; and what belongs to the machine."""

    stack: Stack
    metrics: dict[str, list[list[float]]]
    environment: dict[str, str]
    seconds: float
    initialization: dict[str, dict[str, float]]  # of each initializer its cells, and the seconds their weights took
    product_rate: float  # floating-point operations a second that its worker reached in a large product


@dataclass(frozen=True)
class Speed:
    """Seconds that a stack of some width takes: a step, the evaluation of an image, and the start of its training."""

    width: int
    step: float
    evaluation: float
    start: float


@cache
def device_for(asked: str) -> str:
    """The device that trains, `cpu` or `cuda`; UserError if a graphics processor is asked for and cannot be used.

    `auto` takes one where PyTorch can use it. PyTorch is asked in a process of its own, and only where there is a
    driver: it takes a second to load.
    """
    if asked == "cpu" or (asked == "auto" and not _nvidia()):
        return "cpu"
    code = "import torch; print(torch.__version__, torch.cuda.is_available())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.split()
    if told[1:] == ["True"]:
        return "cuda"
    if asked == "auto":
        return "cpu"
    raise UserError(
        f"device = 'cuda' cannot be used: PyTorch {told[0] if told else '(which does not load)'} finds no GPU, or is a "
        "build without CUDA; allowed here: 'cpu' or 'auto'"
    )


def _nvidia() -> bool:
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()


def processor() -> str:
    """The processor's name, as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass
class _Worker:
    """A worker process, what it prints on standard error, and, once it is ready, its environment."""

    process: "subprocess.Popen[str]"
    errors: IO[bytes]
    environment: dict[str, str] = field(default_factory=dict)

    def replies(self, task: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a task and give the replies to the last, `done`; OSError, ValueError or EOFError if it ends before."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            reply = json.loads(line)
            if reply["event"] == "ready":
                self.environment = reply["environment"]
                continue
            yield reply
            if reply["event"] == "done":
                return
        raise EOFError

    def last_words(self) -> str:
        """How it ended, and the last that it printed."""
        status = self.process.wait()
        self.errors.seek(0)
        printed = self.errors.read().decode(errors="replace").strip().splitlines()
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        hint = " (signal 9 is most often the system out of memory: take fewer --workers)" if status == -9 else ""
        return f"a worker {how}{hint}" + (f": {printed[-1]}" if printed else "")

    def end(self) -> None:
        """Kill it and close its streams."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


class Workers:
    """Some worker processes. They start at once, so that they load while their parent does something else."""

    def __init__(self, count: int, device: str = "cpu") -> None:
        self.count, self.device = count, device
        # The package is found as it was found here, and nothing is imported from the working directory (-P).
        path = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": path}
        self._workers = []
        for _ in range(count):
            errors = tempfile.TemporaryFile()  # noqa: SIM115
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "initbench.training.worker", device],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                # A session of its own: Ctrl-C in the terminal reaches the parent alone, which ends it.
                start_new_session=True,
            )
            self._workers.append(_Worker(process, errors))

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()

    def train(self, stacks: Sequence[Stack]) -> Iterator[Progress | Finished]:
        """Train the stacks, each on the next worker that is free; events come in the order in which they happen."""
        for reply, environment in self._serve(stacks, "train"):
            stack = stacks[reply["stack"]]
            if reply["event"] == "progress":
                yield Progress(stack, reply["epochs"])
            else:
                bits = "exact" if reply["exact"] else "to rounding"
                made_by = {**environment, "bits": bits}
                times = (reply[name] for name in ("seconds", "initialization", "product_rate"))
                yield Finished(stack, reply["metrics"], made_by, *times)

    def speeds(self, stacks: Sequence[Stack]) -> list[Speed]:
        """How fast this machine trains each of these stacks, measured."""
        found = {reply["stack"]: reply["speed"] for reply, _ in self._serve(stacks, "speed")}
        return [Speed(len(stack.cells), **found[number]) for number, stack in enumerate(stacks)]

    def initialization(self, stacks: Sequence[Stack]) -> list[float]:
        """How many seconds the initial weights of the first cell of each of these stacks take, measured."""
        found = {reply["stack"]: reply["initialization"] for reply, _ in self._serve(stacks, "initialization")}
        return [found[number] for number in range(len(stacks))]

    def _serve(self, stacks: Sequence[Stack], what: What) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
        """Every reply about these stacks, with the environment of the worker that gave it, until all are done."""
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(len(stacks)):
            waiting.put(number)
        events: queue.SimpleQueue[tuple[dict[str, Any], dict[str, str]] | Exception] = queue.SimpleQueue()
        for worker in self._workers:
            arguments = (worker, stacks, waiting, events, what)
            threading.Thread(target=_converse, args=arguments, daemon=True).start()
        done = 0
        while done < len(stacks):
            event = events.get()
            if isinstance(event, Exception):
                raise event
            yield event
            done += event[0]["event"] == "done"


def _converse(
    worker: _Worker,
    stacks: Sequence[Stack],
    waiting: "queue.SimpleQueue[int]",
    events: "queue.SimpleQueue[Any]",
    what: What,
) -> None:
    """Send a worker one stack after another and pass on what it replies, until no stack waits."""
    try:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            stack = stacks[number]
            cells = [cell.values() for cell in stack.cells]
            task = {"stack": number, "cells": cells, "source": asdict(stack.source), "what": what}
            for reply in worker.replies(task):
                events.put((reply, worker.environment))
    except (OSError, ValueError, EOFError):
        with contextlib.suppress(OSError, ValueError):  # the parent has ended it and closed its streams
            events.put(WorkerDied(worker.last_words()))
