"""Training that takes no time, for tests of what stands around it: metrics that are a function of the cell alone.

`Instant` is a worker pool that answers at once. Run as a program, this file is a worker process;
the environment variable MADE_UP, in JSON, says how it fails: `wider`, it is killed when it trains more cells than that;
`killed`, `stopped` or `raised`, it is killed, stops or raises at a cell that has this value; `seconds`, what each stack
takes; `start`, the status or the
negative signal with which it ends before it is ready; `log`, a file that gets a line for each process and each stack.
"""

import json
import math
import os
import queue
import random
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from initbench.execution.pool import WorkerMessage
from initbench.plugins import arrays
from initbench.spec.columns import METRICS, SETTINGS

PYTHON = sys.executable
ENVIRONMENT = {"processor": "made up", "device": "none"}

GRID = """
name = "made-up"

[grid]
initializer = ["zeros", "he_normal"]
activation = ["tanh", "relu"]
seed = 2

[model]
hidden = []
output_activation = "same"

[training]
loss = "mse"
epochs = 2
"""
CELLS = 8


def reply_to(task):
    """What a worker would reply to a task."""
    epochs = task["cells"][0][SETTINGS.index("epochs")]
    draws = [random.Random(repr(list(values))) for values in task["cells"]]
    metrics = {name: [[draw.random() for draw in draws] for _ in range(epochs + 1)] for name in METRICS}
    reply = {"event": "done", "task": task["task"], "metrics": metrics, "exact": True, "seconds": 0.1}
    reply |= {"signal": signal_of(task["cells"])} if task.get("diagnostics") else {}
    return {**reply, "initialization": {}, "product_rate": 1.0}


def signal_of(cells):
    """The signal of cells, as a worker sends it: a function of each cell alone, with values that are not finite."""
    epochs = cells[0][SETTINGS.index("epochs")]
    rows = [(epoch, layer, name) for epoch in (0, epochs) for name in ("dead_share", "correlation") for layer in (1, 0)]
    values = [[random.Random(repr((list(cell), row))).random() for row in rows] for cell in cells]
    values = [[math.nan if value < 0.2 else value for value in of_cell] for of_cell in values]
    return [{"cells": [*range(len(cells))], "rows": rows, "values": arrays.to_json([np.array(values)])[0]}]


class Instant:
    """A pool of two slots that does every task when it is sent; `before` is called first, with the task."""

    device, processor, memory, allowed_deaths, slot_count = "cpu", "made up", 0.0, 3, 2

    def __init__(self, before=lambda task: None):
        self.events, self._before = queue.SimpleQueue(), before

    def free_slots(self):
        return [0, 1]

    def send(self, slot, task, request):
        self._before(request)
        self.events.put(WorkerMessage(task, reply_to(request), ENVIRONMENT, "nowhere"))

    def announce_backlog(self, stacks):
        pass

    def shrink(self):
        return False


def instantly(monkeypatch, before=lambda task: None):
    """Let every cell be trained by such a pool."""

    @contextmanager
    def start_pool(*_):
        yield Instant(before)

    monkeypatch.setattr("initbench.execution.start.start_pool", start_pool)


def program(folder):
    """This program, to be started in the place of Python."""
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nexec "{PYTHON}" "{__file__}" "$@"\n')
    path.chmod(0o755)
    return str(path)


def as_workers(monkeypatch, folder, **faults):
    """Let every worker process be this program, with these faults; the log of what it did."""
    log = folder / "log"
    log.touch()
    monkeypatch.setattr("initbench.system.children.sys.executable", program(folder))
    monkeypatch.setenv("MADE_UP", json.dumps({**faults, "log": str(log)}))
    return log


def work():
    """Be a worker."""
    faults = json.loads(os.environ["MADE_UP"])

    def say(**message):
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    def log(line):
        with Path(faults.get("log", os.devnull)).open("a") as file:
            file.write(line + "\n")

    def die(status):
        if status < 0:
            os.kill(os.getpid(), -status)
            time.sleep(60)
        sys.exit(status)

    if "initbench.training.worker" in sys.argv:  # not what draws the report
        log("process")
    if "start" in faults:
        sys.stderr.write("it does not start\n")
        die(faults["start"])
    sys.stdout.write("a library greets\n")  # not a reply, and ignored
    say(event="ready", environment=ENVIRONMENT, host="nowhere")
    for line in sys.stdin:
        task = json.loads(line)
        log(f"stack {len(task['cells'])}")
        values = {value for cell in task["cells"] for value in cell}
        if len(task["cells"]) > faults.get("wider", 1e9) or faults.get("killed") in values:
            die(-faults.get("signal", signal.SIGKILL))
        if faults.get("stopped") in values:
            os.kill(os.getpid(), signal.SIGSTOP)
        if faults.get("raised") in values:
            say(event="failed", task=task["task"], why="ValueError: no such thing", memory=False)
            continue
        time.sleep(faults.get("seconds", 0))
        say(**reply_to(task))


if __name__ == "__main__":
    work()
