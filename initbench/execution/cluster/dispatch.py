"""The pool of a Dask cluster: it sends stacks to the Dask workers of the roster, and collects their results.

The client chooses the worker of each stack itself, one for each free slot. So a worker of another version gets none,
one that joins is used at once, and what the scheduler stores does not grow with the grid.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from initbench.data.datasets import Source
from initbench.errors import UserError, WorkerDied
from initbench.execution.cluster import dask_worker
from initbench.execution.cluster.connection import connect, first_line
from initbench.execution.cluster.roster import WATCH_SECONDS, Roster, Worker
from initbench.execution.events import Notice
from initbench.execution.pool import Cause, PoolChanged, PoolEvent, TaskLost, WorkerMessage
from initbench.execution.process_pool import MAX_LOST_STARTS

# How long the end waits for the cluster to be free, in seconds.
END_SECONDS = 5.0

# How long a result may take to arrive, in seconds, and how many arrive at a time.
FETCH_SECONDS, FETCHED_AT_ONCE = 120.0, 8

# At most this many of the waiting stacks are shown to Dask.
MAX_PLACEHOLDERS = 50

# All workers together send at most this many progress messages a second.
MAX_MESSAGES_A_SECOND = 100


class ClusterPool:
    """The workers of a Dask cluster that have the client's versions, and a CPU whose name contains `processor`.

    `scheduler` is an address (`tcp://…`, `tls://…`), `file://` and the path of a scheduler file, or `local` for a
    scheduler and `workers` workers in this process; elsewhere `workers` limits how many stacks train at a time.
    `plugins` is whether there are cells that need the code of a plugin: only workers that may run it are used.
    If there are no workers yet, it waits for the first; `on_event` receives the notices until there is one.

    Raises UserError if there is no scheduler, or none of its workers can be used. A slot is a worker's address.
    """

    def __init__(
        self,
        scheduler: str,
        device: str,
        sources: Mapping[str, Source],
        workers: int | None = None,
        processor: str = "",
        plugins: bool = False,
        on_event: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        self.events: queue.SimpleQueue[PoolEvent] = queue.SimpleQueue()
        self._on_event, self._started = on_event, False
        self._client, self._cluster = connect(scheduler, workers, self._note)
        self._roster = Roster(self._client, sources, device, processor, workers, plugins, self._report, self._on_left)
        self._topic = f"initbench-{self._client.id}"
        self._prefix = f"initbench-stack-{self._client.id}"  # Dask expects tasks of one prefix to take equally long
        self._futures: dict[int, Any] = {}
        self._placeholders: list[Any] = []
        self._fetch_executor = ThreadPoolExecutor(FETCHED_AT_ONCE, thread_name_prefix="initbench-fetch")
        try:
            self._begin(scheduler)
        except BaseException:
            self.__exit__()
            raise

    def _begin(self, scheduler: str) -> None:
        """Take the workers that are there, or wait for the first; and follow from now on who joins and leaves."""
        roster = self._roster
        self._client.subscribe_topic(self._topic, self._on_message)
        if not self._cluster:
            self._note(f"Dask dashboard: {self._client.dashboard_link or 'the scheduler has none'}")
        waiting = False
        while not roster.workers:
            try:
                roster.look(wait=True)
            except Exception as error:
                raise WorkerDied(f"the scheduler cannot be reached any more ({first_line(error)})") from None
            if roster.workers:
                break
            if roster.refusals:
                raise UserError(f"scheduler = {scheduler!r}: none of its workers can be used", *roster.refusals)
            if not waiting:
                waiting = True
                self._note(f"{scheduler}: has no workers yet; waiting for the first")
                self.announce_backlog(1)
            time.sleep(WATCH_SECONDS)
        for line in (*roster.refusals, *roster.summary()):
            self._note(line)
        self._started = True
        roster.watch()

    def __enter__(self) -> "ClusterPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._roster.close()
        with self._roster.lock:
            unfinished, self._futures = [*self._futures.values(), *self._placeholders], {}
        # The scheduler or a worker may be gone, or stand still: in a thread that does not delay the end.
        freeing = threading.Thread(target=self._free, args=(unfinished,), daemon=True)
        freeing.start()
        freeing.join(END_SECONDS)
        self._fetch_executor.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)
        if self._cluster:
            self._cluster.close(timeout=10)

    def _free(self, unfinished: list[Any]) -> None:
        with contextlib.suppress(Exception):
            if unfinished:
                self._client.cancel(unfinished, force=True)
            if addresses := list(self._roster.workers):
                self._client.run(dask_worker.leave, self._client.id, workers=addresses, on_error="ignore", wait=False)

    @property
    def slot_count(self) -> int:
        """The number of stacks that train at a time, now."""
        return self._roster.slot_count

    @property
    def device(self) -> str:
        """The device of most slots."""
        return self._roster.most_common("device", "cpu")

    @property
    def processor(self) -> str:
        """The CPU of most slots; not as on this machine, because a cluster has a speed of its own."""
        return f"{self._roster.most_common('processor', '')}, in a cluster"

    @property
    def memory(self) -> float:
        """The bytes of the slot that has least; 0 if unknown."""
        return self._roster.memory

    @property
    def allowed_deaths(self) -> int:
        """The number of Dask workers that a task may lose: the failures that the scheduler allows."""
        return self._roster.allowed_failures

    def free_slots(self) -> list[str]:
        """Return a worker's address for each free slot, every worker's first one before any second."""
        with self._roster.lock:
            workers = self._roster.workers
            spare = {address: worker.open - len(worker.tasks) for address, worker in workers.items()}
            allowed = self.slot_count - sum(len(worker.tasks) for worker in workers.values() if worker.open)
        slots = []
        for turn in range(max(spare.values(), default=0)):
            slots += [address for address, count in spare.items() if count > turn]
        return slots[: max(0, allowed)]

    def announce_backlog(self, stacks: int) -> None:
        """Show Dask's adaptive scaling that stacks wait, by a few placeholder tasks that no worker may take.

        Without them a cluster that scales with `adapt` would never grow beyond its minimum, and from none not start:
        the scheduler sees only the stacks that already have a worker.
        """
        with self._roster.lock, contextlib.suppress(Exception):  # a closed connection is reported elsewhere
            while len(self._placeholders) < min(stacks, MAX_PLACEHOLDERS):
                key = f"{self._prefix}-waiting-{len(self._placeholders)}-{time.monotonic_ns()}"
                nowhere = {"initbench-placeholder": 1}
                self._placeholders.append(self._client.submit(abs, 0, key=key, resources=nowhere, pure=False))
            surplus, self._placeholders = self._placeholders[stacks:], self._placeholders[:stacks]
            if surplus:
                self._client.cancel(surplus, force=True)

    def shrink(self) -> bool:
        """Do nothing, because each worker has its own memory."""
        return False

    def send(self, slot: str, task: int, request: dict[str, Any]) -> None:
        """Start a task on a worker; if that has just left, the task is reported as lost."""
        with self._roster.lock:
            worker = self._roster.workers.get(slot)
            if worker is None or not worker.open:
                self.events.put(TaskLost(task, "its worker left before it began", Cause.NOT_STARTED))
                return
            worker.tasks.add(task)
            interval = max(0.2, self.slot_count / MAX_MESSAGES_A_SECOND)
            try:
                future = self._client.submit(
                    dask_worker.serve,
                    request,
                    worker.device,
                    self._client.id,
                    self._topic,
                    interval,
                    key=f"{self._prefix}-{task}",
                    workers=[slot],
                    allow_other_workers=False,
                    pure=False,
                )
            except Exception as error:  # the connection is closed
                self.events.put(WorkerDied(f"the scheduler cannot be reached any more ({first_line(error)})"))
                return
            self._futures[task] = future

        def fetch(done: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the executor has shut down
                self._fetch_executor.submit(self._on_done, slot, task, done)

        future.add_done_callback(fetch)

    def _on_done(self, slot: str, task: int, future: Any) -> None:
        """Report the outcome of a task whose future has ended."""
        try:
            with self._roster.lock:
                if self._futures.pop(task, None) is None:
                    return  # it was given up
            event = self._outcome(slot, task, future)
        except Exception as error:  # its worker left with the result
            event = TaskLost(task, f"on worker {slot}: {first_line(error)}")
        with self._roster.lock:
            if slot in self._roster.workers:
                self._roster.workers[slot].tasks.discard(task)
        self.events.put(event)

    def _outcome(self, slot: str, task: int, future: Any) -> WorkerMessage | TaskLost:
        if future.status != "finished":
            why = first_line(future.exception()) if future.status == "error" else f"it was {future.status}"
            return TaskLost(task, f"on worker {slot}: {why}")
        result = future.result(timeout=FETCH_SECONDS)
        future.release()
        with self._roster.lock:
            worker = self._roster.workers.get(slot)
            if worker:
                worker.lost_starts = 0 if "reply" in result or result["ready"] else worker.lost_starts + 1
        if "reply" in result:
            return WorkerMessage(task, result["reply"], result["environment"], result["host"])
        if worker and worker.lost_starts and (not result["killed"] or worker.lost_starts >= MAX_LOST_STARTS):
            self._roster.refuse(slot, f"its processes do not start: {result['lost']}")
        if result["memory"]:
            return TaskLost(task, result["lost"], Cause.KILLED_FOR_MEMORY)
        return TaskLost(task, result["lost"], Cause.DIED if result["ready"] else Cause.NOT_STARTED)

    def _on_message(self, event: tuple[float, Any]) -> None:
        reply = event[1]
        if reply.get("event") == "progress":
            self.events.put(WorkerMessage(reply["task"], reply))

    def _on_left(self, address: str, worker: Worker) -> None:
        """Report the tasks of a worker that left as lost, but those whose result is being fetched."""
        with self._roster.lock:
            lost_futures = {task: self._futures.pop(task) for task in worker.tasks if task in self._futures}
        for task in lost_futures:
            self.events.put(TaskLost(task, f"worker {address} ({worker.host}) was lost", Cause.WORKER_LEFT))
        self.events.put(PoolChanged())
        with contextlib.suppress(Exception):
            self._client.cancel(list(lost_futures.values()), force=True)

    def _note(self, line: str) -> None:
        self._report(Notice(line))

    def _report(self, event: PoolEvent) -> None:
        """Pass on an event: a notice goes straight to the user until the training reads `events`."""
        if isinstance(event, Notice) and not self._started:
            self._on_event(event)
        else:
            self.events.put(event)
