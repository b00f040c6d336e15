"""The pool of worker processes of this machine."""

import os
import queue
import threading
from typing import Any

from initbench.errors import WorkerDied
from initbench.execution.devices import gpu_memories
from initbench.execution.pool import Cause, PoolEvent, TaskLost, WorkerMessage
from initbench.execution.processes import FINAL_REPLIES, WorkerProcess
from initbench.system.hardware import cpu_name

# How many workers may be lost with a task before it is split, or fails: Dask's default.
ALLOWED_DEATHS = 3

# Training stops if this many workers in a row are killed, or hang, before they are ready.
MAX_LOST_STARTS = 3


class ProcessPool:
    """Worker processes of this machine. They start at once, so that they load while the parent plans.

    A slot is the index of a process. With GPUs, each process has one of its own, as far as there are enough. `first` is
    a process that has been started already, for the CPU.
    """

    allowed_deaths = ALLOWED_DEATHS

    def __init__(self, count: int, device: str = "cpu", first: WorkerProcess | None = None) -> None:
        self.device, self.processor = device, cpu_name()
        memories = gpu_memories() if device == "cuda" else ()
        self.memory = min(memories, default=0) / -(-count // max(1, len(memories)))
        self.events: queue.SimpleQueue[PoolEvent] = queue.SimpleQueue()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        gpus = visible if len(visible) == len(memories) else [str(i) for i in range(len(memories))]
        self._variables = [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} if gpus else {} for i in range(count)]
        self._processes = [first] if first and device == "cpu" else []
        try:
            for variables in self._variables[len(self._processes) :]:
                self._processes.append(WorkerProcess(device, variables))
        except WorkerDied:
            for process in self._processes:
                process.end()
            raise
        self._busy: set[int] = set()
        self._dropped: set[int] = set()
        self._changing, self._ended, self._lost_starts = threading.Lock(), False, 0

    def __enter__(self) -> "ProcessPool":
        return self

    def __exit__(self, *_: object) -> None:
        with self._changing:
            self._ended = True
        for process in self._processes:
            process.end()

    @property
    def pids(self) -> list[int]:
        """The process ids."""
        return [process.pid for slot, process in enumerate(self._processes) if slot not in self._dropped]

    @property
    def slot_count(self) -> int:
        """The number of slots."""
        return len(self._processes) - len(self._dropped)

    def free_slots(self) -> list[int]:
        """Return the slots where nothing trains."""
        return [slot for slot in range(len(self._processes)) if slot not in self._busy | self._dropped]

    def send(self, slot: int, task: int, request: dict[str, Any]) -> None:
        """Start a task in a free slot."""
        self._busy.add(slot)
        threading.Thread(target=self._converse, args=(slot, task, request), daemon=True).start()

    def announce_backlog(self, stacks: int) -> None:
        """Do nothing: the number of cores is fixed."""

    def shrink(self) -> bool:
        """End one process, if another one is left."""
        if self.slot_count < 2:
            return False
        slot = next(iter(self.free_slots()), None)
        if slot is None:
            return False
        self._dropped.add(slot)
        self._processes[slot].end()
        return True

    def _converse(self, slot: int, task: int, request: dict[str, Any]) -> None:
        """Pass on the replies of a process to its task, or that it ended."""
        process = self._processes[slot]
        try:
            for reply in process.replies(request):
                self._lost_starts = 0
                if reply["event"] in FINAL_REPLIES:
                    self._busy.discard(slot)
                self.events.put(WorkerMessage(task, reply, process.environment, process.host))
        except WorkerDied as error:
            try:
                if self._replace(slot, error):
                    self._busy.discard(slot)
                    cause = Cause.KILLED_FOR_MEMORY if error.memory else Cause.DIED
                    self.events.put(TaskLost(task, str(error), cause))
            except WorkerDied as not_replaced:
                self.events.put(not_replaced)
            except Exception as unforeseen:
                self.events.put(_lost_track(unforeseen))
        except Exception as unforeseen:
            self.events.put(_lost_track(unforeseen))

    def _replace(self, slot: int, error: WorkerDied) -> bool:
        """Start another process in a slot, unless the pool has ended; raises WorkerDied if none would start."""
        process = self._processes[slot]
        process.end()
        with self._changing:
            if self._ended:
                return False
            if not process.ready:
                self._lost_starts += 1
                if not process.killed or self._lost_starts >= MAX_LOST_STARTS:
                    raise error
            self._processes[slot] = WorkerProcess(self.device, self._variables[slot])
        return True


def _lost_track(error: Exception) -> WorkerDied:
    """Return what ends the training when a thread that follows a worker raises: it would otherwise wait forever."""
    return WorkerDied(f"a worker cannot be followed any more: {type(error).__name__}: {error}")
