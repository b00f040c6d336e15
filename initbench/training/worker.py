"""The worker: a process of one thread that trains the stacks that it receives.

`python -m initbench.training.worker DEVICE [IDLE]`, where the device is `cpu` or `cuda`; it ends after IDLE
seconds without a task, or with 0 never.

It reads one task a line, in JSON, from standard input, and writes one message a line to standard output: `ready`, then
for each task some `progress` and one `done`, or `failed` with the reason; between them heartbeats, `alive`, with the
CPU time used. It is a process of its own because MKL reads its settings once, before its first product, and because one
thread computes the same bits on any number of cores. It ends with its input.

The data set of the first task is loaded while PyTorch is imported, which takes most of a start.
"""

import contextlib
import gc
import json
import os
import queue
import socket
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import IO, Any

from initbench.data.arrays import Arrays
from initbench.data.datasets import Source
from initbench.system import deferred

# A third of PyTorch's import: the shapes that its operations return, for its compiler and for tensors without numbers.
# Its compiler is imported with its optimizers too. Plugins, whose code may use both, have them: see `plugins.prepare`.
UNUSED, COMPILER = "torch._meta_registrations", "torch._dynamo"

# The arrays of the first task's data set, when they are loaded.
Ahead = dict[Source, "Future[Arrays]"]


def main() -> None:
    """Serve until the input ends."""
    requests, replies = os.fdopen(os.dup(0), encoding="utf-8"), os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # a library's output must not mix with the replies, nor what it reads with the tasks
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    device, idle = sys.argv[1], float((*sys.argv, "0")[2])
    received: queue.SimpleQueue[str] = queue.SimpleQueue()
    ahead: Ahead = {}
    threading.Thread(target=_receive, args=(requests, received, ahead), daemon=True).start()
    if device == "cpu":
        deferred.defer(UNUSED, importer=COMPILER)
    gc.disable()  # the modules of PyTorch stay: looking for garbage among them takes a tenth of their import
    from initbench.training import tasks
    from initbench.training.process import prepare_process

    gc.freeze()
    gc.enable()
    prepare_process()
    send = partial(_send, replies)
    send(event="ready", environment=tasks.environment(device), host=socket.gethostname())
    data: tasks.DataSets = {}
    exact: dict[Any, bool] = {}
    alive = False
    while True:
        try:
            task = json.loads(received.get(timeout=idle or None))
        except queue.Empty:
            return
        if not alive:
            alive = True
            threading.Thread(target=_send_heartbeats, args=(replies, task["silence"] / 4), daemon=True).start()
        try:
            tasks.serve(task, data, exact, send, device, partial(_load, ahead))
        except BaseException as error:  # a plugin's sys.exit(), too
            send(event="failed", task=task["task"], **tasks.failure(error))


def _receive(requests: IO[str], received: "queue.SimpleQueue[str]", ahead: Ahead) -> None:
    """Queue the lines of the input; at its end stop at once, even in a stack: no process waits for the result."""
    with ThreadPoolExecutor(1) as executor:
        for number, line in enumerate(requests):
            if number == 0:
                with contextlib.suppress(ValueError, KeyError, TypeError):  # which fail in the task, too
                    source = Source(**json.loads(line)["source"])
                    if not source.function:  # the code of a plugin is not executed here
                        ahead[source] = executor.submit(source.load)
            received.put(line)
        os._exit(0)


def _load(ahead: Ahead, source: Source) -> Arrays:
    """Return the arrays of a source: those loaded ahead, once, or loaded now."""
    loading = ahead.pop(source, None)
    return loading.result() if loading else source.load()


def _send_heartbeats(replies: IO[str], interval: float) -> None:
    """Send the CPU time used, at an interval of seconds: without more of it, the process hangs."""
    while True:
        time.sleep(interval)
        _send(replies, event="alive", used=time.process_time())


_sending = threading.Lock()


def _send(replies: IO[str], **message: Any) -> None:
    with _sending:
        replies.write(json.dumps(message) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
