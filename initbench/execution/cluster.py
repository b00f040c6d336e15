"""A crew on a Dask cluster: its workers train, and this client plans, gives out the stacks, and writes.

The client chooses the worker of each stack itself, one for each place that is free, so that a worker of another version
gets none, one that joins is used at once, and what the scheduler has to keep does not grow with the grid.
"""

import contextlib
import json
import logging
import queue
import re
import socket
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from initbench import __version__
from initbench.data import idx
from initbench.data.datasets import Source
from initbench.errors import UserError, WorkerDied
from initbench.execution import dask_worker, probe, processes
from initbench.execution.crew import Changed, Lost, Notice, WorkerMessage
from initbench.spec.cell import TRAINING_VERSION

# The scheduler is asked for its workers so often, in seconds.
WATCH_SECONDS = 1.0

# It is gone if it cannot be asked for so long.
GONE_SECONDS = 60.0

# How long a connection may take, and how long the run waits at its start for workers that do not answer.
CONNECT_SECONDS, PATIENCE_SECONDS = 15.0, 60.0

# How long the end waits for the cluster to be free.
END_SECONDS = 5.0

# So many messages wait for workers' answers at a time.
PREPARED_AT_ONCE = 16

# How long a result may take to come, and how many come at a time.
FETCH_SECONDS, FETCHED_AT_ONCE = 120.0, 8

# A worker that does not answer is asked so many times; one that Dask has paused for so long is given up.
ASKED_TIMES, PAUSED_SECONDS = 3, 300.0

# At the start so many are asked by one message.
ASKED_AT_ONCE = 64

# So many of the stacks that wait are shown to Dask.
MAX_WISHES = 50

# All workers together tell of their progress so many times a second, at most.
TOLD_A_SECOND = 100


@dataclass
class _Worker:
    """A worker that is used: how many stacks it trains at a time, and which tasks it has."""

    places: int
    device: str
    processor: str
    host: str
    memory: float
    tasks: set[int]
    lost_starts: int = 0  # processes that were killed before they were ready, one after another
    paused: float = 0.0  # since when Dask gives it nothing, or 0

    @property
    def open(self) -> int:
        """How many stacks it may have at a time, now."""
        return 0 if self.paused else self.places


class Cluster:
    """The workers of a Dask cluster that have the client's versions, and a processor whose name contains `processor`.

    `scheduler` is an address (`tcp://…`, `tls://…`), `file://` and the path of a scheduler file, or `local` for a
    scheduler and `workers` workers in this process; elsewhere `workers` limits how many stacks train at a time.
    UserError if there is no scheduler, or none of its workers can be used. If it has no workers yet, it waits for the
    first; `tell` is told of what happens until there is one.
    """

    def __init__(
        self,
        scheduler: str,
        device: str,
        sources: Mapping[str, Source],
        workers: int | None = None,
        processor: str = "",
        tell: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        self.events: queue.SimpleQueue[WorkerMessage | Lost | Changed | Notice | Exception] = queue.SimpleQueue()
        self._asked, self._sources, self._wanted, self._most = device, dict(sources), processor, workers
        self._workers: dict[str, _Worker] = {}
        self._judged: set[str] = set()  # addresses of workers that were taken, or refused
        self._refused: list[str] = []
        self._unanswered: Counter[str] = Counter()  # how often workers did not answer when they were asked
        self._futures: dict[int, Any] = {}
        self._lock, self._end = threading.RLock(), threading.Event()
        self._files: dict[str, dict[str, bytes]] = {}
        self._own: Any = None
        self._tell = tell
        self._started, self._allowed = False, processes.ALLOWED_DEATHS
        self._client = self._connected(scheduler, workers)
        self._topic = f"initbench-{self._client.id}"
        self._prefix = f"initbench-stack-{self._client.id}"  # Dask takes tasks of one prefix to last as long
        self._wishes: list[Any] = []
        self._fetching = ThreadPoolExecutor(FETCHED_AT_ONCE, thread_name_prefix="initbench-fetch")
        self._looking = ThreadPoolExecutor(1, thread_name_prefix="initbench-look")
        self._pool = ThreadPoolExecutor(PREPARED_AT_ONCE, thread_name_prefix="initbench-prepare")
        try:
            self._begin(scheduler)
        except BaseException:
            self.__exit__()
            raise

    def _connected(self, scheduler: str, workers: int | None) -> Any:
        reachable(scheduler)
        distributed: Any = import_module("distributed")
        from cloudpickle import register_pickle_by_value

        register_pickle_by_value(probe)
        logging.getLogger("distributed").setLevel(logging.ERROR)  # what matters of it is told by this class
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        if scheduler == "local":
            from initbench.system.threads import available_cores

            count = workers or available_cores()
            self._own = _in_this_process(distributed, count)
            return distributed.Client(self._own, set_as_default=False)
        where = address(scheduler)
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                client = distributed.Client(timeout=CONNECT_SECONDS, set_as_default=False, **where)
        except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            tls = "does Dask's configuration name its certificate (distributed.comm.tls)?"
            hint = tls if "tls" in f"{scheduler} {told}".lower() else "is it running?"
            raise UserError(f"scheduler = {scheduler!r}: cannot be reached ({told}); {hint}") from None
        for warning in warned:
            if named := re.findall(r"^\| (\w[\w.-]*) +\|", str(warning.message), re.MULTILINE):
                names = ", ".join(name for name in named if name != "Package")
                self._note(f"Versions differ between client, scheduler and workers: {names}")
        return client

    def _begin(self, scheduler: str) -> None:
        """Take the workers that are there, or wait for the first; and watch from now on."""
        self._client.subscribe_topic(self._topic, self._hear)
        if not self._own:
            self._note(f"Dask dashboard: {self._client.dashboard_link or 'the scheduler has none'}")
        waiting = False
        while not self._workers:
            try:
                self._look(wait=True)
            except Exception as error:
                raise WorkerDied(f"the scheduler cannot be reached any more ({_first_line(error)})") from None
            if self._workers:
                break
            if self._refused:
                raise UserError(f"scheduler = {scheduler!r}: none of its workers can be used", *self._refused)
            if not waiting:
                waiting = True
                self._note(f"{scheduler}: has no workers yet; waiting for the first")
                self.waiting(1)
            time.sleep(WATCH_SECONDS)
        for line in self._refused:
            self._note(line)
        self._tell_kinds()
        self._started = True
        threading.Thread(target=self._watch, daemon=True).start()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        with self._lock:
            unfinished, self._futures = [*self._futures.values(), *self._wishes], {}
        # The scheduler may be gone, or it or a worker stand still: that holds up no end.
        freeing = threading.Thread(target=self._free, args=(unfinished,), daemon=True)
        freeing.start()
        freeing.join(END_SECONDS)
        for pool in (self._pool, self._fetching, self._looking):
            pool.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)
        if self._own:
            self._own.close(timeout=10)

    def _free(self, unfinished: list[Any]) -> None:
        with contextlib.suppress(Exception):
            if unfinished:
                self._client.cancel(unfinished, force=True)
            if addresses := list(self._workers):
                self._client.run(dask_worker.leave, self._client.id, workers=addresses, on_error="ignore", wait=False)

    @property
    def count(self) -> int:
        """How many stacks train at a time, now."""
        with self._lock:
            places = sum(worker.open for worker in self._workers.values())
        return min(places, self._most or places)

    @property
    def device(self) -> str:
        """What most places train with."""
        return self._commonest("device")

    @property
    def processor(self) -> str:
        """The processor of most places; not of this machine, which is as fast as it is."""
        return f"{self._commonest('processor')}, in a cluster"

    @property
    def memory(self) -> float:
        """The bytes that a place has, where it has the least."""
        with self._lock:
            return min((worker.memory for worker in self._workers.values() if worker.memory), default=0.0)

    def _commonest(self, what: str) -> str:
        places: Counter[str] = Counter()
        with self._lock:
            for worker in self._workers.values():
                places[getattr(worker, what)] += worker.places
        return places.most_common(1)[0][0] if places else "cpu" if what == "device" else ""

    @property
    def allowed_deaths(self) -> int:
        """As many as the scheduler allows."""
        return self._allowed

    def free(self) -> list[str]:
        """A worker's address for each stack that could begin now, each worker's first one before any second."""
        with self._lock:
            spare = {address: worker.open - len(worker.tasks) for address, worker in self._workers.items()}
            most = self.count - sum(len(worker.tasks) for worker in self._workers.values() if worker.open)
        found = []
        for turn in range(max(spare.values(), default=0)):
            found += [address for address, places in spare.items() if places > turn]
        return found[: max(0, most)]

    def waiting(self, stacks: int) -> None:
        """Let Dask's adaptive scaling know that stacks wait: as tasks that no worker may take, a few of them."""
        with self._lock, contextlib.suppress(Exception):  # a connection that is closed is told of elsewhere
            while len(self._wishes) < min(stacks, MAX_WISHES):
                key = f"{self._prefix}-wish-{len(self._wishes)}-{time.monotonic_ns()}"
                never = {"initbench-wish": 1}
                self._wishes.append(self._client.submit(abs, 0, key=key, resources=never, pure=False))
            enough, self._wishes = self._wishes[stacks:], self._wishes[:stacks]
            if enough:
                self._client.cancel(enough, force=True)

    def shrink(self) -> bool:
        """Nothing is gained by it: each worker has its own memory."""
        return False

    def send(self, place: str, task: int, what: dict[str, Any]) -> None:
        """Have a task done by a worker; if it has just left, that is told."""
        with self._lock:
            worker = self._workers.get(place)
            if worker is None or not worker.open:
                self.events.put(Lost(task, "its worker left before it began", began=False))
                return
            worker.tasks.add(task)
            every = max(0.2, self.count / TOLD_A_SECOND)
            try:
                future = self._client.submit(
                    dask_worker.serve,
                    what,
                    worker.device,
                    self._client.id,
                    self._topic,
                    every,
                    key=f"{self._prefix}-{task}",
                    workers=[place],
                    allow_other_workers=False,
                    pure=False,
                )
            except Exception as error:  # the connection is closed
                self.events.put(WorkerDied(f"the scheduler cannot be reached any more ({_first_line(error)})"))
                return
            self._futures[task] = future

        def fetch(done: Any) -> None:
            with contextlib.suppress(RuntimeError):  # at the end nothing is fetched any more
                self._fetching.submit(self._done, place, task, done)

        future.add_done_callback(fetch)

    def _done(self, place: str, task: int, future: Any) -> None:
        """A task's future has an end: its result, or what became of its worker."""
        try:
            with self._lock:
                if self._futures.pop(task, None) is None:
                    return  # it was given up
            event = self._outcome(place, task, future)
        except Exception as error:  # its worker left with the result
            event = Lost(task, f"on worker {place}: {_first_line(error)}")
        with self._lock:
            if place in self._workers:
                self._workers[place].tasks.discard(task)
        self.events.put(event)

    def _outcome(self, place: str, task: int, future: Any) -> WorkerMessage | Lost:
        if future.status != "finished":
            why = _first_line(future.exception()) if future.status == "error" else f"it was {future.status}"
            return Lost(task, f"on worker {place}: {why}")
        told = future.result(timeout=FETCH_SECONDS)
        future.release()
        with self._lock:
            worker = self._workers.get(place)
            if worker:
                worker.lost_starts = 0 if "reply" in told or told["ready"] else worker.lost_starts + 1
        if "reply" in told:
            return WorkerMessage(task, told["reply"], told["environment"], told["host"])
        if worker and worker.lost_starts and (not told["killed"] or worker.lost_starts >= processes.LOST_STARTS):
            self._refuse(place, f"its processes do not start: {told['lost']}")
        return Lost(task, told["lost"], told["memory"], began=told["ready"])

    def _hear(self, event: tuple[float, Any]) -> None:
        reply = event[1]
        if reply.get("event") == "progress":
            self.events.put(WorkerMessage(reply["stack"], reply))

    def _note(self, line: str) -> None:
        if self._started:
            self.events.put(Notice(line))
        else:
            self._tell(Notice(line))

    def _refuse(self, address: str, why: str) -> None:
        line = f"worker {address} is refused: {why}"
        with self._lock:
            self._refused.append(line)
            used = address in self._workers
            if used:
                self._workers[address].places = 0  # what it trains already it may end
        if self._started:
            self._note(line)
        if used and not any(worker.places for worker in self._workers.values()):
            self.events.put(WorkerDied(f"none of the cluster's workers can be used any more; {line}"))

    def _watch(self) -> None:
        """See who joins and who leaves, until the end."""
        asked: futures.Future[None] | None = None
        heard = time.monotonic()
        while not self._end.wait(WATCH_SECONDS):
            error: BaseException = TimeoutError("it does not answer")
            try:
                asked = asked or self._looking.submit(self._look)
                asked.result(timeout=WATCH_SECONDS)
                heard, asked = time.monotonic(), None
            except futures.TimeoutError:  # the scheduler has not answered yet
                pass
            except Exception as raised:
                error, asked = raised, None
            closed = self._client.status == "closed"
            if time.monotonic() - heard > GONE_SECONDS or closed:
                why = "it closed the connection" if closed else _first_line(error)
                if not self._end.is_set():
                    self.events.put(WorkerDied(f"the scheduler cannot be reached any more ({why})"))
                return

    def _look(self, wait: bool = False) -> None:
        """Ask the scheduler for its workers: those that are new are judged and prepared, those that left are lost."""
        found = self._client.run_on_scheduler(probe.scheduler)
        self._allowed = found["allowed_failures"]
        present = {a: w for a, w in found["workers"].items() if w["status"] == "running"}
        there_still = found["workers"].keys()
        with self._lock:
            for address, worker in self._workers.items():
                worker.paused = 0.0 if address in present else worker.paused or time.monotonic()
            gone = [a for a, w in self._workers.items() if a not in there_still or _paused_too_long(w)]
            new = {address: worker for address, worker in present.items() if address not in self._judged}
            self._judged = ((self._judged & set(there_still)) | set(new)) - set(gone)
        for address in gone:
            self._lose(address)
        if wait:
            self._judge_first(new)
        else:
            for address, worker in new.items():
                self._pool.submit(self._judge, {address: worker})

    def _judge_first(self, new: Mapping[str, Mapping[str, Any]]) -> None:
        """Judge many workers, and return when all are judged, or some do not answer: these are taken when they do."""
        items = list(new.items())
        some = [dict(items[i : i + ASKED_AT_ONCE]) for i in range(0, len(items), ASKED_AT_ONCE)]
        judging = {self._pool.submit(self._judge, workers): workers for workers in some}
        silent = futures.wait(judging, timeout=PATIENCE_SECONDS).not_done
        alone = [{address: found} for future in silent for address, found in judging[future].items()]
        futures.wait([self._pool.submit(self._judge, one) for one in alone], timeout=PATIENCE_SECONDS)

    def _lose(self, address: str) -> None:
        with self._lock:
            worker = self._workers.pop(address)
            # A task whose result is being fetched tells for itself what becomes of it.
            lost = {task: self._futures.pop(task) for task in worker.tasks if task in self._futures}
            left = bool(self._workers)
        self._note(f"worker {address} ({worker.host}) left")
        if not left:
            self._note("no workers are left; waiting for the next")
        for task in lost:
            self.events.put(Lost(task, f"worker {address} ({worker.host}) was lost", told=True))
        self.events.put(Changed())
        with contextlib.suppress(Exception):
            self._client.cancel(list(lost.values()), force=True)

    def _judge(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        """Take workers, or refuse them and say why."""
        try:
            self._judge_all(workers)
        except Exception as error:
            for address in workers.keys() - self._workers.keys():
                self._refuse(address, f"it cannot be prepared ({_first_line(error)})")

    def _judge_all(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        told = self._ask(list(workers), probe.worker)
        fit = [address for address, answer in told.items() if self._fits(address, answer)]
        sources = [asdict(source) for source in self._sources.values()]
        for address, ready in self._ask(fit, dask_worker.prepare, self._asked, sources).items():
            if isinstance(ready, BaseException):
                self._ask_again(address, ready)
            elif "refused" in ready:
                self._refuse(address, ready["refused"])
            elif self._send_data(address, ready["lacks"]):
                self._take(address, workers[address], told[address], ready)

    def _ask_again(self, address: str, error: BaseException) -> None:
        """A worker did not answer as it should: it may have left, and is asked again a few times if it has not."""
        with self._lock:
            self._unanswered[address] += 1
            if self._unanswered[address] < ASKED_TIMES:
                self._judged.discard(address)
                return
        self._refuse(address, f"it cannot be asked ({_first_line(error)})")

    def _ask(self, addresses: list[str], function: Any, *arguments: Any) -> dict[str, Any]:
        """What a function gives on each of some workers, or the error there."""
        if not addresses:
            return {}
        try:
            answers = self._client.run(function, *arguments, workers=addresses, on_error="return")
        except Exception as error:  # the scheduler does not know one of them any more
            return dict.fromkeys(addresses, error)
        return {address: answers.get(address, OSError("it has left")) for address in addresses}

    def _fits(self, address: str, answer: Any) -> bool:
        if isinstance(answer, BaseException):
            self._ask_again(address, answer)
            return False
        if why := self._unfit(answer):
            self._refuse(address, why)
        return not why

    def _send_data(self, address: str, names: list[str]) -> bool:
        """Send a worker the data sets that it lacks; whether they have arrived."""
        for name in names:
            answer = self._ask([address], dask_worker.keep, name, self._content(name))[address]
            if isinstance(answer, BaseException):
                self._ask_again(address, answer)
                return False
        return True

    def _take(self, address: str, found: Mapping[str, Any], told: Mapping[str, Any], ready: Mapping[str, Any]) -> None:
        gpu = ready["device"] != "cpu"
        places = 1 if gpu else found["threads"]
        memory = ready["memory"] if gpu else found["memory"] / places
        with self._lock:
            if address in self._workers:  # judged twice, because it was slow
                return
            self._workers[address] = _Worker(places, ready["device"], told["processor"], told["host"], memory, set())
        if self._started:
            self._note(f"worker {address} ({told['host']}) joined: {self.count} at a time now")
        self.events.put(Changed())

    def _unfit(self, told: Mapping[str, Any]) -> str:
        """Why a worker cannot be used: other versions would give other bits, and so would another processor."""
        mine = {name: version(name) for name in ("numpy", "scipy", "torch")}
        mine["initbench"] = f"{__version__} (training version {TRAINING_VERSION})"
        for name in ("initbench", *mine):
            has = told["versions"][name]
            if has.partition("+")[0] != mine[name].partition("+")[0]:  # +cpu and +cu130 are one version
                where = f" (host {told['host']})"
                return (
                    f"it has {name} {has}, and this client {mine[name]}{where}" if has else f"it has no {name}{where}"
                )
        if self._wanted.lower() not in told["processor"].lower():
            return f"its processor is {told['processor']}, and {self._wanted!r} is asked for"
        return ""

    def _content(self, name: str) -> dict[str, bytes]:
        """The files of a data set, as they are sent to a worker that does not have them."""
        with self._lock:
            if name not in self._files:
                self._files[name] = idx.contents(Path(self._sources[name].folder))
            return self._files[name]

    def _tell_kinds(self) -> None:
        with self._lock:
            workers = list(self._workers.values())
        kinds = Counter[str]()
        for worker in workers:
            kinds[worker.processor + (" with a GPU" if worker.device != "cpu" else "")] += worker.places
        hosts = len({worker.host for worker in workers})
        noun = f"{'worker' if len(workers) == 1 else 'workers'} on {hosts} {'host' if hosts == 1 else 'hosts'}"
        self._note(
            f"{len(workers)} {noun}, {self.count} {'stack' if self.count == 1 else 'stacks'} at a time: "
            + ", ".join(f"{places} on {kind}" for kind, places in kinds.most_common())
        )
        if len(kinds) > 1:
            self._note(
                "Results of different kinds of processor agree to rounding, and not to the bit; "
                "--processor NAME takes one kind alone"
            )


def _in_this_process(distributed: Any, workers: int) -> Any:
    """A scheduler and workers as threads of this process, which listen to no port: whoever reaches one of Dask's can
    run code. That loses nothing, since what trains are processes that the workers start."""

    class Scheduler(distributed.Scheduler):  # type: ignore[misc]
        start_http_server = _no_server

    class Worker(distributed.Worker):  # type: ignore[misc]
        start_http_server = _no_server

    options = {"protocol": "inproc://", "dashboard": False, "security": distributed.Security(require_encryption=False)}
    own = {"cls": Worker, "options": {**options, "nthreads": 1, "memory_limit": 0}}
    return distributed.SpecCluster(
        workers=dict.fromkeys(range(workers), own),
        scheduler={"cls": Scheduler, "options": options},
        security=options["security"],
    )


def _no_server(self: Any, *_: object, **__: object) -> None:
    """What Dask calls to listen for its dashboard, with the dashboard or without it."""


def address(scheduler: str) -> dict[str, str]:
    """How Dask's client takes an address; UserError if it is none. Of `local` there is none yet."""
    if scheduler == "local":
        return {}
    parsed = urlparse(scheduler)
    if parsed.scheme == "file":
        path = Path(unquote(scheduler.removeprefix("file://")))
        if not path.is_file():
            raise UserError(
                f"scheduler = {scheduler!r}: there is no such file; `dask scheduler --scheduler-file` writes one"
            )
        return {"scheduler_file": str(path)}
    if parsed.scheme not in ("tcp", "tls", "ws", "wss", "ucx") or not parsed.netloc:
        raise UserError(
            f"scheduler = {scheduler!r} is not allowed; allowed: tcp://HOST:PORT, file://scheduler.json, or local"
        )
    return {"address": scheduler}


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _paused_too_long(worker: _Worker) -> bool:
    return bool(worker.paused) and time.monotonic() - worker.paused > PAUSED_SECONDS


def reachable(scheduler: str) -> None:
    """UserError if Dask is not installed, or nothing answers at a scheduler's address; before anything is written."""
    if not find_spec("distributed"):
        raise UserError('scheduler: needs Dask, which is not installed; do: pip install "initbench[cluster]"')
    where = address(scheduler)
    try:
        if "scheduler_file" in where:
            where = {"address": json.loads(Path(where["scheduler_file"]).read_bytes())["address"]}
        at = urlparse(where.get("address", ""))
        if at.scheme in ("tcp", "tls"):
            socket.create_connection((at.hostname, at.port or 8786), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "strerror", "") or str(error) or type(error).__name__
        raise UserError(f"scheduler = {scheduler!r}: cannot be reached ({why}); is it running?") from None
