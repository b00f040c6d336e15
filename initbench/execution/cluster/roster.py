"""The usable Dask workers of a cluster: which join, which are refused and why, which leave.

A worker of another version would give other bits, so each is probed before anything is sent to it.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from initbench import __version__
from initbench.data.datasets import Source
from initbench.errors import WorkerDied
from initbench.execution.cluster import dask_worker, probe
from initbench.execution.cluster.connection import first_line
from initbench.execution.events import Notice
from initbench.execution.pool import PoolChanged, PoolEvent
from initbench.execution.process_pool import ALLOWED_DEATHS
from initbench.spec.cell import TRAINING_VERSION

# How often the scheduler lists its workers, in seconds; it is gone if it does not answer for this long.
WATCH_SECONDS, GONE_SECONDS = 1.0, 60.0

# How long training waits, at its start, for workers that do not answer, in seconds.
PATIENCE_SECONDS = 60.0

# How many messages wait for workers' answers at a time, and how many workers one message probes at the start.
PREPARED_AT_ONCE, WORKERS_PER_PROBE = 16, 64

# A worker that does not answer is probed this many times; one that Dask has paused for this long is given up.
MAX_ATTEMPTS, PAUSED_SECONDS = 3, 300.0


@dataclass
class Worker:
    """A worker that is used: how many stacks it trains at a time, and its tasks."""

    slots: int
    device: str
    processor: str
    host: str
    memory: float  # bytes for each slot, or 0 if unknown
    tasks: set[int] = field(default_factory=set)
    lost_starts: int = 0  # processes in a row that were killed before they were ready
    paused_since: float = 0.0  # or 0: Dask gives it tasks

    @property
    def open(self) -> int:
        """The number of stacks that it may have at a time, now."""
        return 0 if self.paused_since else self.slots

    @property
    def paused_too_long(self) -> bool:
        """Whether it is to be given up."""
        return bool(self.paused_since) and time.monotonic() - self.paused_since > PAUSED_SECONDS


class Roster:
    """The workers that have the client's versions, and a CPU whose name contains `processor`, by address.

    At most `max_count` of their slots are used; with `plugins`, only those of workers that may run them. `report`
    receives what happens, `on_left` each worker that left. `lock` guards `workers`.
    """

    def __init__(
        self,
        client: Any,
        sources: Mapping[str, Source],
        device: str,
        processor: str,
        max_count: int | None,
        plugins: bool,
        report: Callable[[PoolEvent], None],
        on_left: Callable[[str, Worker], None],
    ) -> None:
        self.workers: dict[str, Worker] = {}
        self.refusals: list[str] = []
        self.allowed_failures = ALLOWED_DEATHS
        self.lock = threading.RLock()
        self._client, self._sources, self._device, self._processor = client, dict(sources), device, processor
        self._max_count, self._plugins, self._report, self._on_left = max_count, plugins, report, on_left
        self._judged: set[str] = set()  # the addresses of workers that were taken, or refused
        self._unanswered: Counter[str] = Counter()  # by address: how often a worker did not answer
        self._files: dict[str, dict[str, bytes]] = {}
        self._watching, self._end = False, threading.Event()
        self._look_executor = ThreadPoolExecutor(1, thread_name_prefix="initbench-look")
        self._judge_executor = ThreadPoolExecutor(PREPARED_AT_ONCE, thread_name_prefix="initbench-prepare")

    def watch(self) -> None:
        """Follow from now on, in a thread, which workers join and leave."""
        self._watching = True
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """Stop watching the scheduler's workers; what is being judged is cancelled."""
        self._end.set()
        for executor in (self._look_executor, self._judge_executor):
            executor.shutdown(wait=False, cancel_futures=True)

    @property
    def slot_count(self) -> int:
        """The number of stacks that train at a time, now."""
        with self.lock:
            slots = sum(worker.open for worker in self.workers.values())
        return min(slots, self._max_count or slots)

    @property
    def memory(self) -> float:
        """The bytes of the slot that has least."""
        with self.lock:
            return min((worker.memory for worker in self.workers.values() if worker.memory), default=0.0)

    def most_common(self, attribute: str, default: str) -> str:
        """Return the value of a worker's attribute that most slots have."""
        slots: Counter[str] = Counter()
        with self.lock:
            for worker in self.workers.values():
                slots[getattr(worker, attribute)] += worker.slots
        return slots.most_common(1)[0][0] if slots else default

    def summary(self) -> list[str]:
        """Return lines that describe the workers for the user."""
        count = self.slot_count
        with self.lock:
            workers = list(self.workers.values())
        kinds = Counter[str]()
        for worker in workers:
            kinds[worker.processor + (" with a GPU" if worker.device != "cpu" else "")] += worker.slots
        hosts = len({worker.host for worker in workers})
        noun = f"{'worker' if len(workers) == 1 else 'workers'} on {hosts} {'host' if hosts == 1 else 'hosts'}"
        lines = [
            f"{len(workers)} {noun}, {count} {'stack' if count == 1 else 'stacks'} at a time: "
            + ", ".join(f"{slots} on {kind}" for kind, slots in kinds.most_common())
        ]
        if len(kinds) > 1:
            lines.append(
                "Results from different kinds of CPU agree to rounding, but not bit for bit; "
                "--processor NAME uses one kind only"
            )
        return lines

    def refuse(self, address: str, why: str) -> None:
        """Send a worker nothing more; what it trains may end."""
        line = f"worker {address} is refused: {why}"
        with self.lock:
            self.refusals.append(line)
            used = address in self.workers
            if used:
                self.workers[address].slots = 0
        if self._watching:
            self._report(Notice(line))
        if used and not any(worker.slots for worker in self.workers.values()):
            self._report(WorkerDied(f"none of the cluster's workers can be used any more; {line}"))

    def _watch(self) -> None:
        looking: futures.Future[None] | None = None
        answered_at = time.monotonic()
        while not self._end.wait(WATCH_SECONDS):
            error: BaseException = TimeoutError("it does not answer")
            try:
                looking = looking or self._look_executor.submit(self.look)
                looking.result(timeout=WATCH_SECONDS)
                answered_at, looking = time.monotonic(), None
            except futures.TimeoutError:  # the scheduler has not answered yet
                pass
            except Exception as raised:
                error, looking = raised, None
            closed = self._client.status == "closed"
            if time.monotonic() - answered_at > GONE_SECONDS or closed:
                why = "it closed the connection" if closed else first_line(error)
                if not self._end.is_set():
                    self._report(WorkerDied(f"the scheduler cannot be reached any more ({why})"))
                return

    def look(self, wait: bool = False) -> None:
        """Ask the scheduler for its workers: new ones are judged and prepared, those that left are removed.

        With `wait`, return when the new ones are judged, or do not answer in time.
        """
        answer = self._client.run_on_scheduler(probe.scheduler)
        self.allowed_failures = answer["allowed_failures"]
        registered = answer["workers"]
        running = {address: state for address, state in registered.items() if state["status"] == "running"}
        with self.lock:
            for address, worker in self.workers.items():
                worker.paused_since = 0.0 if address in running else worker.paused_since or time.monotonic()
            gone = [a for a, worker in self.workers.items() if a not in registered or worker.paused_too_long]
            new = {address: state for address, state in running.items() if address not in self._judged}
            self._judged = ((self._judged & set(registered)) | set(new)) - set(gone)
        for address in gone:
            self._remove(address)
        if wait:
            self._judge_first(new)
        else:
            for address, state in new.items():
                self._judge_executor.submit(self._judge, {address: state})

    def _remove(self, address: str) -> None:
        with self.lock:
            worker = self.workers.pop(address)
            left = bool(self.workers)
        self._report(Notice(f"worker {address} ({worker.host}) left"))
        if not left:
            self._report(Notice("no workers are left; waiting for the next"))
        self._on_left(address, worker)

    def _judge_first(self, new: Mapping[str, Mapping[str, Any]]) -> None:
        """Judge many workers with few messages; those that do not answer in time are judged alone, when they do."""
        items = list(new.items())
        groups = [dict(items[i : i + WORKERS_PER_PROBE]) for i in range(0, len(items), WORKERS_PER_PROBE)]
        judging = {self._judge_executor.submit(self._judge, group): group for group in groups}
        silent = futures.wait(judging, timeout=PATIENCE_SECONDS).not_done
        alone = [{address: state} for future in silent for address, state in judging[future].items()]
        futures.wait([self._judge_executor.submit(self._judge, worker) for worker in alone], timeout=PATIENCE_SECONDS)

    def _judge(self, states: Mapping[str, Mapping[str, Any]]) -> None:
        """Take workers, or refuse them and report why."""
        try:
            descriptions = self._ask(list(states), probe.worker)
            fit = [address for address, description in descriptions.items() if self._fits(address, description)]
            sources = [asdict(source) for source in self._sources.values()]
            for address, prepared in self._ask(fit, dask_worker.prepare, self._device, sources, self._plugins).items():
                if isinstance(prepared, BaseException):
                    self._no_answer(address, prepared)
                elif "refused" in prepared:
                    self.refuse(address, prepared["refused"])
                elif self._send_data(address, prepared["lacks"]):
                    self._take(address, states[address], descriptions[address], prepared)
        except Exception as error:
            for address in states.keys() - self.workers.keys():
                self.refuse(address, f"it cannot be prepared ({first_line(error)})")

    def _no_answer(self, address: str, error: BaseException) -> None:
        """Probe a worker that did not answer again, a few times: it may have left."""
        with self.lock:
            self._unanswered[address] += 1
            if self._unanswered[address] < MAX_ATTEMPTS:
                self._judged.discard(address)
                return
        self.refuse(address, f"it does not answer ({first_line(error)})")

    def _ask(self, addresses: list[str], function: Any, *arguments: Any) -> dict[str, Any]:
        """Return a function's result on each of some workers, or the error there."""
        if not addresses:
            return {}
        try:
            answers = self._client.run(function, *arguments, workers=addresses, on_error="return")
        except Exception as error:  # the scheduler has lost one of them
            return dict.fromkeys(addresses, error)
        return {address: answers.get(address, OSError("it has left")) for address in addresses}

    def _fits(self, address: str, description: Any) -> bool:
        if isinstance(description, BaseException):
            self._no_answer(address, description)
            return False
        if why := self._refusal_reason(description):
            self.refuse(address, why)
        return not why

    def _refusal_reason(self, description: Mapping[str, Any]) -> str:
        """Return why a worker cannot be used, or an empty string."""
        own = {name: version(name) for name in ("numpy", "scipy", "torch")}
        own["initbench"] = f"{__version__} (training version {TRAINING_VERSION})"
        for name in ("initbench", *own):
            theirs = description["versions"][name]
            if theirs.partition("+")[0] != own[name].partition("+")[0]:  # +cpu and +cu130 are one version
                host = f" (host {description['host']})"
                has = f"{name} {theirs}, and this client {own[name]}" if theirs else f"no {name}"
                return f"it has {has}{host}"
        if self._processor.lower() not in description["processor"].lower():
            return f"its processor is {description['processor']}, but {self._processor!r} is requested"
        return ""

    def _send_data(self, address: str, names: list[str]) -> bool:
        """Send a worker the data sets that it lacks; returns whether they arrived."""
        for name in names:
            answer = self._ask([address], dask_worker.keep, name, self._content(name))[address]
            if isinstance(answer, BaseException):
                self._no_answer(address, answer)
                return False
        return True

    def _content(self, name: str) -> dict[str, bytes]:
        """Return the files of a data set, as they are sent to a worker that does not have them."""
        with self.lock:
            if name not in self._files:
                self._files[name] = self._sources[name].contents()
            return self._files[name]

    def _take(
        self, address: str, state: Mapping[str, Any], description: Mapping[str, Any], prepared: Mapping[str, Any]
    ) -> None:
        gpu = prepared["device"] != "cpu"
        slots = 1 if gpu else state["threads"]
        memory = prepared["memory"] if gpu else state["memory"] / slots
        host = description["host"]
        with self.lock:
            if address in self.workers:  # it was slow, and judged twice
                return
            self.workers[address] = Worker(slots, prepared["device"], description["processor"], host, memory)
        if self._watching:
            self._report(Notice(f"worker {address} ({host}) joined: {self.slot_count} at a time now"))
        self._report(PoolChanged())
