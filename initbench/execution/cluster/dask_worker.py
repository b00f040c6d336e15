"""The code that runs on a Dask worker: it starts worker processes as on one machine, and forwards their replies.

So the environment variables that decide bits do not depend on the Dask worker's own; its thread can always send
heartbeats to the scheduler; and a process that dies takes no Dask worker with it.
"""

import asyncio
import contextlib
import os
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from initbench.data.datasets import Source
from initbench.errors import UserError, WorkerDied
from initbench.execution.devices import device_for, gpu_memories
from initbench.execution.processes import FINAL_REPLIES, WorkerProcess

# A process ends after this many seconds without a task, so that a client that is gone leaves nothing behind.
IDLE_SECONDS = 60.0

# The environment variable with which who starts a Dask worker allows it to run the code of plugins.
PERMISSION = "INITBENCH_ALLOW_PLUGINS"
NOT_PERMITTED = f"it may not run plugins, which this grid has; to allow it, start it with {PERMISSION}=1"

_lock = threading.Lock()
_idle: dict[str, list[WorkerProcess]] = {}  # by device
_busy: dict[str, set[WorkerProcess]] = {}  # by client
_data: dict[str, Path] = {}  # by name, the folders of data sets that were sent here


async def prepare(device: str, sources: list[Mapping[str, Any]], plugins: bool, dask_worker: Any) -> dict[str, Any]:
    """Return this worker's device and memory, and the data sets that it lacks; or in `refused` why it cannot train.

    `plugins` is whether there are cells that need the code of a plugin.
    """
    if plugins and not _may_run_plugins(dask_worker):
        return {"refused": NOT_PERMITTED}
    return await asyncio.to_thread(_prepare, device, sources)


def _may_run_plugins(dask_worker: Any) -> bool:
    """Return whether this worker may: its owner has said so, or it is a thread of the process of who sends them."""
    return os.environ.get(PERMISSION) == "1" or str(dask_worker.address).startswith("inproc://")


def _prepare(device: str, stored_sources: list[Mapping[str, Any]]) -> dict[str, Any]:
    try:
        device = device_for(device)
    except UserError as error:
        return {"refused": str(error)}
    sources = [Source(**source) for source in stored_sources]
    return {
        "device": device,
        "memory": min(gpu_memories(), default=0) if device == "cuda" else 0,
        "lacks": [source.name for source in sources if source.path and not _has(source)],
    }


def _has(source: Source) -> bool:
    """Return whether a data set was sent here, or lies on a disk that this worker shares with the client."""
    if source.name in _data:
        return True
    try:
        source.load()
    except UserError:
        return False
    return True


async def keep(name: str, files: Mapping[str, bytes], dask_worker: Any) -> None:
    """Write a data set that is sent to this worker to a folder of its own."""
    await asyncio.to_thread(_write, name, files, dask_worker.local_directory)


def _write(name: str, files: Mapping[str, bytes], parent: str) -> None:
    base = name.rpartition("@")[0]  # what follows is the digest of the files
    folder = Path(tempfile.mkdtemp(prefix="initbench-", dir=parent)) / base
    folder.mkdir()
    for file, content in files.items():
        (folder / file).write_bytes(content)
    _data[name] = folder


def _here(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a source with the path that its files have on this worker, if they were sent to it."""
    if source["name"] not in _data:
        return dict(source)
    folder = _data[source["name"]]
    path = folder / Path(source["folder"]).name if source["format"] == "npz" else folder
    return {**source, "folder": str(path)}


def serve(request: dict[str, Any], device: str, client: str, topic: str, interval: float) -> dict[str, Any]:
    """Run a task in a worker process, as a Dask task, and return its outcome for the client.

    `request` is the task's request; `client` the id of the Dask client that sent it. Progress is logged to the
    scheduler's `topic`, at most once in `interval` seconds. Returns `reply`, `environment` and `host`; or, if the
    process was lost, `lost` (why), `memory`, `ready` and `killed`.
    """
    import time

    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    if "plugins" in request and not _may_run_plugins(worker):
        reply = {"event": "failed", "task": request["task"], "why": f"worker {worker.address}: {NOT_PERMITTED}"}
        return {"reply": {**reply, "memory": False}, "environment": {}, "host": ""}
    source = _here(request["source"])
    try:
        process = _acquire(device, client)
    except WorkerDied as error:
        return {"lost": str(error), "memory": False, "ready": False, "killed": False}
    sent_at = 0.0
    try:
        for reply in process.replies({**request, "source": source}):
            if reply["event"] in FINAL_REPLIES:
                _release(process, device, client)
                return {"reply": _local_mistake(reply), "environment": process.environment, "host": process.host}
            if _is_cancelled(worker, key):
                break
            if time.monotonic() - sent_at > interval:
                sent_at = time.monotonic()
                worker.log_event(topic, reply)
        raise WorkerDied("the client is gone")
    except WorkerDied as error:
        ready, killed = process.ready, process.killed
        _release(process, device, client, alive=False)
        return {"lost": str(error), "memory": error.memory, "ready": ready, "killed": killed}


def _local_mistake(reply: dict[str, Any]) -> dict[str, Any]:
    """Turn a mistake that would end the training, such as missing data, into a failure on this worker alone."""
    if "lines" not in reply:
        return reply
    return {"event": reply["event"], "task": reply["task"], "why": reply["lines"][0], "memory": False}


def _is_cancelled(worker: Any, key: Any) -> bool:
    """Return whether a task's client is gone, or gave it up."""
    state = worker.state.tasks.get(key)
    return state is None or state.state in ("cancelled", "released", "forgotten")


def _acquire(device: str, client: str) -> WorkerProcess:
    """Return an idle process for a task, or a new one."""
    with _lock:
        idle = _idle.setdefault(device, [])
        while idle:
            process = idle.pop()
            if process.lives:
                break
            process.end()
        else:
            process = WorkerProcess(device, idle=IDLE_SECONDS)
        _busy.setdefault(client, set()).add(process)
        return process


def _release(process: WorkerProcess, device: str, client: str, alive: bool = True) -> None:
    with _lock:
        _busy.get(client, set()).discard(process)
        if alive:
            _idle.setdefault(device, []).append(process)
            return
    process.end()


async def leave(client: str) -> None:
    """End what still trains for a client, and the idle processes."""
    with _lock:
        processes = [*_busy.pop(client, set()), *(process for idle in _idle.values() for process in idle)]
        _idle.clear()
    for process in processes:
        with contextlib.suppress(OSError):
            process.kill()
