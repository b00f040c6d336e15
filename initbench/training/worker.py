"""The worker: a process of one thread that trains the stacks it is sent. `python -m initbench.training.worker`.

One JSON object a line comes in on standard input (a stack), and one a line goes out on standard output: `ready`, then
for each stack some `progress` and one `done`. It is a process of its own because MKL reads its settings before its
first product and never again, and because one thread gives the same bits on any number of cores. It ends with its
input.
"""

import contextlib
import json
import os
import platform
import queue
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from initbench.cells import METRICS, Cell
from initbench.datasets import Source
from initbench.training.data import Data
from initbench.training.stack import Steps, bits_hold, prepare_process, train


def main() -> None:
    """Serve until the input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the replies
    prepare_process()
    _send(replies, event="ready", environment=environment())
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(tasks,), daemon=True).start()
    data: dict[str, Data] = {}
    exact: dict[Any, bool] = {}
    while True:
        _serve(json.loads(tasks.get()), data, exact, replies)


def _receive(tasks: "queue.SimpleQueue[str]") -> None:
    """Pass on the lines that come in; at their end nobody waits for a result, so stop at once, even in a stack."""
    for line in sys.stdin:
        tasks.put(line)
    os._exit(0)


def _serve(task: dict[str, Any], data: dict[str, Data], exact: dict[Any, bool], replies: IO[str]) -> None:
    source = Source(**task["source"])
    cells = [Cell(*values) for values in task["cells"]]
    number = task["stack"]
    if source.name not in data:
        data.clear()  # one data set at a time
        data[source.name] = Data(source.load())
    if task["calibrate"]:
        _send(replies, event="done", stack=number, seconds=_seconds_per_step(cells, data[source.name]))
        return
    functions = tuple((cell.activation, cell.output_activation, cell.loss) for cell in cells)
    shape = (cells[0].hidden, cells[0].optimizer, cells[0].batch_size, source.name, functions)
    start = time.perf_counter()
    if shape not in exact:
        exact[shape] = bits_hold(cells, data[source.name])
    metrics: dict[str, list[list[float]]] = {}
    progress_at = start

    def progress(epochs: float) -> None:
        nonlocal progress_at
        if time.perf_counter() - progress_at > 0.2:
            progress_at = time.perf_counter()
            _send(replies, event="progress", stack=number, epochs=epochs)

    for epoch in train(cells, data[source.name], progress=progress):
        for name in METRICS:
            metrics.setdefault(name, []).append(getattr(epoch, name).tolist())
    seconds = time.perf_counter() - start
    _send(replies, event="done", stack=number, seconds=seconds, exact=exact[shape], metrics=metrics)


def _seconds_per_step(cells: list[Cell], data: Data) -> float:
    """The time of one step of this stack: the best of some short runs, once it is warm."""
    steps = Steps(cells, data).take(3)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        steps.take(10)
        best = min(best, (time.perf_counter() - start) / 10)
    return best


def environment() -> dict[str, str]:
    """The versions and the processor that a result may depend on."""
    import numpy as np
    import scipy
    import torch

    import initbench

    return {
        "initbench": initbench.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "device": "cpu",
    }


def processor() -> str:
    """The processor's name, as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _send(replies: IO[str], **message: Any) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
