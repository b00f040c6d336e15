"""What runs on a Dask worker: it keeps worker processes like those of one machine, and passes on what they tell.

So the settings that bits depend on hold whatever environment the Dask worker has, its thread never waits for a product
to tell its scheduler that it lives, and a process that dies takes no Dask worker with it.
"""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from initbench.data.datasets import Source
from initbench.errors import UserError, WorkerDied
from initbench.execution.devices import device_for, gpu_memories
from initbench.execution.processes import LAST, Process

# A process that has had no task for so many seconds ends, so that a client that is gone leaves nothing behind.
IDLE = 60.0

_lock = threading.Lock()
_idle: dict[str, list[Process]] = {}  # by device
_busy: dict[str, set[Process]] = {}  # by client
_data: dict[str, Path] = {}  # of data sets that were sent here: their folders


async def prepare(device: str, sources: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Find what this worker trains with, and which of the data sets have to be sent to it; `refused` says why not."""
    return await asyncio.to_thread(_prepared, device, sources)


def _prepared(device: str, sources: list[Mapping[str, Any]]) -> dict[str, Any]:
    try:
        found = device_for(device)
    except UserError as error:
        return {"refused": str(error)}
    return {
        "device": found,
        "memory": min(gpu_memories(), default=0) if found == "cuda" else 0,
        "lacks": [source["name"] for source in sources if source["folder"] and not _has(Source(**source))],
    }


def _has(source: Source) -> bool:
    """Whether a data set is here: it was sent, or its folder is on a disk that this worker shares with the client."""
    if source.name in _data:
        return True
    try:
        source.load()
    except UserError:
        return False
    return True


async def keep(name: str, files: Mapping[str, bytes], dask_worker: Any) -> None:
    """Keep a data set that is sent to this worker, as files in a folder of its own name."""
    await asyncio.to_thread(_kept, name, files, dask_worker.local_directory)


def _kept(name: str, files: Mapping[str, bytes], below: str) -> None:
    base = name.rpartition("@")[0]  # what follows is the digest of the files
    folder = Path(tempfile.mkdtemp(prefix="initbench-", dir=below)) / base
    folder.mkdir()
    for file, content in files.items():
        (folder / file).write_bytes(content)
    _data[name] = folder


def serve(task: dict[str, Any], device: str, client: str, topic: str, every: float) -> dict[str, Any]:
    """Have a task done by a process of this worker; what it tells on the way goes to a topic of the scheduler's log."""
    import time

    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    source = dict(task["source"])
    if source["name"] in _data:
        source["folder"] = str(_data[source["name"]])
    try:
        process = _taken(device, client)
    except WorkerDied as error:
        return {"lost": str(error), "memory": False, "ready": False, "killed": False}
    told = 0.0
    try:
        for reply in process.replies({**task, "source": source}):
            if reply["event"] in LAST:
                _given_back(process, device, client)
                return {"reply": _of_this_worker(reply), "environment": process.environment, "host": process.host}
            if _forgotten(worker, key):
                break
            if time.monotonic() - told > every:
                told = time.monotonic()
                worker.log_event(topic, reply)
        raise WorkerDied("the client is gone")
    except WorkerDied as error:
        ready, killed = process.ready, process.killed
        _given_back(process, device, client, alive=False)
        return {"lost": str(error), "memory": error.memory, "ready": ready, "killed": killed}


def _of_this_worker(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply; a mistake that would end the run is this worker's own here (data that are gone, say), and others may not
    make it."""
    if "lines" not in reply:
        return reply
    return {"event": reply["event"], "stack": reply["stack"], "why": reply["lines"][0], "memory": False}


def _forgotten(worker: Any, key: Any) -> bool:
    """Whether nobody waits for a task any more: its client is gone, or gave it up."""
    state = worker.state.tasks.get(key)
    return state is None or state.state in ("cancelled", "released", "forgotten")


def _taken(device: str, client: str) -> Process:
    """A process for a task: one that waits, or a new one."""
    with _lock:
        waiting = _idle.setdefault(device, [])
        while waiting:
            process = waiting.pop()
            if process.lives:
                break
            process.end()
        else:
            process = Process(device, idle=IDLE)
        _busy.setdefault(client, set()).add(process)
        return process


def _given_back(process: Process, device: str, client: str, alive: bool = True) -> None:
    with _lock:
        _busy.get(client, set()).discard(process)
        if alive:
            _idle.setdefault(device, []).append(process)
            return
    process.end()


async def leave(client: str) -> None:
    """End what still trains for a client, and the processes that wait."""
    with _lock:
        ended = [*_busy.pop(client, set()), *(process for waiting in _idle.values() for process in waiting)]
        _idle.clear()
    for process in ended:
        with contextlib.suppress(OSError):
            process.kill()
