"""Executing a plan: stacks go to worker processes of one thread each, and their results come back as they finish."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from initbench.errors import WorkerDied
from initbench.plan import Stack

# What a worker needs in its environment before it imports torch. MKL then computes a row of a product in the same
# way whatever the product's size (3 to 5% of the speed on some processors, nothing on others).
ENVIRONMENT = {
    "MKL_CBWR": "AUTO,STRICT",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


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


def available_cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Some worker processes. They start at once, so that they load while their parent does something else."""

    def __init__(self, count: int) -> None:
        # The package is found as it was found here, and nothing is imported from the working directory (-P).
        path = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": path}
        # A session of their own: Ctrl-C in the terminal reaches the parent alone, which ends them.
        self._processes = []
        for _ in range(count):
            errors = tempfile.TemporaryFile()  # noqa: SIM115
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "initbench.training.worker"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                start_new_session=True,
            )
            self._processes.append((process, errors))

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for process, errors in self._processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, errors):
                with contextlib.suppress(OSError):
                    stream.close()  # type: ignore[union-attr]

    def train(self, stacks: Sequence[Stack]) -> Iterator[Progress | Finished]:
        """Train the stacks, each on the next worker that is free; events come in the order in which they happen."""
        for stack, reply, environment in self._serve(stacks, calibrate=False):
            if reply["event"] == "progress":
                yield Progress(stack, reply["epochs"])
            else:
                bits = "exact" if reply["exact"] else "to rounding"
                yield Finished(stack, reply["metrics"], {**environment, "bits": bits}, reply["seconds"])

    def seconds_per_step(self, stacks: Sequence[Stack]) -> list[float]:
        """How long one step of each of these stacks takes on this machine, measured."""
        found = {id(stack): reply["seconds"] for stack, reply, _ in self._serve(stacks, calibrate=True)}
        return [found[id(stack)] for stack in stacks]

    def _serve(
        self, stacks: Sequence[Stack], calibrate: bool
    ) -> Iterator[tuple[Stack, dict[str, Any], dict[str, str]]]:
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(len(stacks)):
            waiting.put(number)
        events: queue.SimpleQueue[tuple[dict[str, Any], dict[str, str]] | Exception] = queue.SimpleQueue()
        for process, errors in self._processes:
            arguments = (process, errors, stacks, waiting, events, calibrate)
            threading.Thread(target=_converse, args=arguments, daemon=True).start()
        done = 0
        while done < len(stacks):
            event = events.get()
            if isinstance(event, Exception):
                raise event
            reply, environment = event
            yield stacks[reply["stack"]], reply, environment
            done += reply["event"] == "done"


def _converse(
    process: "subprocess.Popen[str]",
    errors: IO[bytes],
    stacks: Sequence[Stack],
    waiting: "queue.SimpleQueue[int]",
    events: "queue.SimpleQueue[Any]",
    calibrate: bool,
) -> None:
    """Send a worker one stack after another and pass on what it replies, until no stack waits."""
    assert process.stdin
    assert process.stdout
    environment: dict[str, str] = process.__dict__.get("environment", {})
    try:
        while True:
            try:
                number = waiting.get_nowait()
            except queue.Empty:
                return
            stack = stacks[number]
            task = {
                "stack": number,
                "cells": [cell.values() for cell in stack.cells],
                "source": asdict(stack.source),
                "calibrate": calibrate,
            }
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                reply = json.loads(line)
                if reply["event"] == "ready":
                    environment = process.__dict__["environment"] = reply["environment"]
                    continue
                events.put((reply, environment))
                if reply["event"] == "done":
                    break
            else:
                raise EOFError
    except (OSError, ValueError, EOFError):
        with contextlib.suppress(OSError, ValueError):  # the parent has ended it and closed its streams
            events.put(WorkerDied(_last_words(process, errors)))


def _last_words(process: "subprocess.Popen[str]", errors: IO[bytes]) -> str:
    status = process.wait()
    errors.seek(0)
    printed = errors.read().decode(errors="replace").strip().splitlines()
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    hint = " (signal 9 is most often the system out of memory: take fewer --workers)" if status == -9 else ""
    return f"a worker {how}{hint}" + (f": {printed[-1]}" if printed else "")
