"""Assign stacks to slots, and retry or split a stack that fails, down to the cell that cannot be trained."""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from initbench.errors import UserError, WorkerDied
from initbench.execution.events import Finished, Lost, Notice, Progress, Signalled, Speed, Untrained
from initbench.execution.plan import Stack, split
from initbench.execution.pool import Cause, PoolChanged, TaskLost, WorkerMessage, WorkerPool
from initbench.plugins import store
from initbench.registry import own_names_in, shorten_digests
from initbench.spec.cell import Cell

# What a worker does with a stack: train it, trace its cell's training, compute its initial signal, or measure a time.
Action = Literal["train", "trace", "signal", "speed", "initialization"]

NO_OPTIONS: Mapping[str, bool] = MappingProxyType({})  # of a task

# Training stops when this many cells could not be trained and none was: then the cells are not the cause.
MAX_UNTRAINED = 100

# Task ids are never reused in a process: Dask answers a key that it still remembers with the earlier result.
_task_ids = itertools.count()


@dataclass(eq=False)
class _Job:
    """A stack to be trained or measured, and its failures so far. A task is one attempt at a job, in one slot."""

    index: int  # in the order in which the stacks were begun
    stack: Stack
    deaths: int = 0
    raised_in: set[Any] = field(default_factory=set)  # slots in which it raised an error


def run_stacks(
    pool: WorkerPool, stacks: list[Stack], diagnostics: bool = False
) -> Iterator[Progress | Lost | Finished | Untrained | Notice]:
    """Train the stacks, each in the next free slot; yields the events in the order in which they happen.

    A stack that is begun is taken off the list, so that what is left can be planned again between two events. A slot
    that becomes free has its next stack before `Finished` is yielded: it does not wait while results are stored.

    With `diagnostics`, the results have the signal of the cells, before and after their training.

    A stack whose worker is lost goes to another one. It is halved at once if memory was the likely cause, otherwise
    when it has lost more workers than the pool allows; a single cell is then given up as `Untrained`, and the others
    go on. A stack that raises an error is tried in another slot before it is halved or given up: the slot may be the
    cause.
    """
    noted: set[str] = set()
    options = {"diagnostics": True} if diagnostics else {}
    for event in _until_hopeless(_run_tasks(pool, stacks, "train", options), "trained"):
        if isinstance(event, Finished):
            for note in event.notes:
                if note not in noted:  # every worker sends the same notes
                    noted.add(note)
                    yield Notice(note)
        yield event


def _until_hopeless(tasks: Iterable[tuple[int | None, Any]], verb: str) -> Iterator[Any]:
    """Yield the events of tasks; WorkerDied if many cells cannot be trained, or what the verb says, and none was."""
    untrained, finished = 0, False
    for _, event in tasks:
        finished = finished or isinstance(event, Finished | Signalled)
        if isinstance(event, Untrained):
            untrained += 1
            if untrained >= MAX_UNTRAINED and not finished:
                raise WorkerDied(f"{untrained} cells could not be {verb} and none was; the last: {event.why}")
        yield event


def trace(pool: WorkerPool, stack: Stack) -> dict[str, Any]:
    """Train a stack of one cell and return its trace, with the key `environment`: see `training.trace`.

    Raises UserError if the cell cannot be trained.
    """
    for _, event in _run_tasks(pool, [stack], "trace"):
        if isinstance(event, Untrained):
            raise UserError(f"{event.cell.label} could not be trained: {event.why}")
        if isinstance(event, dict):
            return {**event["trace"], "environment": event["environment"]}
    raise AssertionError("a task ends with a reply, or with an error")


def initial_signals(
    pool: WorkerPool, stacks: Sequence[Stack], full: bool = False
) -> Iterator[Progress | Lost | Signalled | Untrained | Notice]:
    """Compute the signal before training of the cells of the stacks; yields the events as they happen.

    With `full`, all singular values of wide networks. A cell whose signal cannot be computed is `Untrained`.
    """
    yield from _until_hopeless(_run_tasks(pool, list(stacks), "signal", {"full": True} if full else {}), "computed")


def measure_speeds(pool: WorkerPool, stacks: Sequence[Stack]) -> list[Speed]:
    """Measure how fast the workers train each of these stacks; those that cannot be measured are left out."""
    times = _measure(pool, stacks, "speed")
    return [Speed(len(stack.cells), **times[i]) for i, stack in enumerate(stacks) if i in times]


def measure_initialization(pool: WorkerPool, stacks: Sequence[Stack]) -> list[float]:
    """Measure the seconds that the initial weights of each stack's first cell take; 0 where that fails."""
    times = _measure(pool, stacks, "initialization")
    return [times.get(index, 0.0) for index in range(len(stacks))]


def _measure(pool: WorkerPool, stacks: Sequence[Stack], action: Action) -> dict[int, Any]:
    times, notices = {}, []
    for index, event in _run_tasks(pool, list(stacks), action):
        if isinstance(event, dict) and index is not None:
            times[index] = event[action]
        if isinstance(event, Notice):
            notices.append(event)
    for notice in notices:  # the training that follows yields them
        pool.events.put(notice)
    return times


def _run_tasks(
    pool: WorkerPool, stacks: list[Stack], action: Action, options: Mapping[str, bool] = NO_OPTIONS
) -> Iterator[tuple[int | None, Any]]:
    """Yield every event with the index of its stack, until no stack is left; the index of a notice is None.

    A stack that is begun is taken off the list.
    """
    work = _Work(stacks)
    running: dict[int, tuple[_Job, Any]] = {}  # by task: the job and its slot
    while work or running:
        _fill_slots(pool, work, running, action, options)
        event = pool.events.get()
        if isinstance(event, Exception):
            raise event
        if isinstance(event, Notice):
            yield None, event
        # A task that is not running belongs to a worker that was given up and returned.
        if isinstance(event, PoolChanged | Notice) or event.task not in running:
            continue
        job, slot = running[event.task]
        if isinstance(event, WorkerMessage) and event.reply["event"] == "progress":
            yield job.index, Progress(job.stack, event.reply["epochs"], _speed(job.stack, event.reply))
            continue
        del running[event.task]
        if isinstance(event, WorkerMessage) and event.reply["event"] == "done":
            try:  # so that the slot does not wait while the result is stored
                _fill_slots(pool, work, running, action, options)
            finally:  # an interruption meanwhile does not lose it
                yield job.index, _to_event(job.stack, event, action)
            continue
        yield job.index, Lost(job.stack)
        failure = _failure(event)
        next_steps = _recover(pool, job, slot, failure, splitting=action == "train")
        announced = failure.cause is Cause.WORKER_LEFT or failure.cause.raised
        if not announced and not any(isinstance(step, Untrained) for step in next_steps):
            yield None, Notice(f"{failure.why}; its stack is tried again")
        for step in next_steps:
            if isinstance(step, Untrained):
                yield job.index, step
            elif step is job:
                work.again.appendleft(step)
            else:
                work.halves.append(step)


@dataclass
class _Work:
    """What waits for a slot: jobs that are tried again, stacks that are not begun, and at last halves of failed stacks.

    The halves are likely to fail too, and wait until all else was tried.
    """

    stacks: list[Stack]
    again: deque[_Job] = field(default_factory=deque)
    halves: deque[_Job] = field(default_factory=deque)
    begun: int = 0

    def __len__(self) -> int:
        return len(self.again) + len(self.stacks) + len(self.halves)

    def take(self, slot: Any, anywhere: bool) -> _Job | None:
        """Take the next job: one that raised no error in this slot, unless it may be tried `anywhere`."""
        for jobs in (self.again, self.halves):
            if jobs is self.halves and self.stacks:
                self.begun += 1
                return _Job(self.begun - 1, self.stacks.pop(0))
            for job in jobs:
                if slot not in job.raised_in:
                    jobs.remove(job)
                    return job
        return (self.again or self.halves).popleft() if anywhere and self else None


def _fill_slots(
    pool: WorkerPool, work: _Work, running: dict[int, tuple[_Job, Any]], action: Action, options: Mapping[str, bool]
) -> None:
    """Send a job to each free slot: one that raised no error there, unless nothing else is running."""
    slots = pool.free_slots()
    for slot in slots:
        job = work.take(slot, anywhere=slot == slots[-1] and not running)
        if job is not None:
            task = next(_task_ids)
            running[task] = job, slot
            pool.send(slot, task, _request(job.stack, task, action, options))
    pool.announce_backlog(len(work))


def _failure(event: WorkerMessage | TaskLost) -> TaskLost:
    """Return why a task was not done; raises UserError if the user's mistake is the cause."""
    if isinstance(event, TaskLost):
        return event
    if "lines" in event.reply:
        raise UserError(*event.reply["lines"])
    return TaskLost(event.task, event.reply["why"], Cause.MEMORY_ERROR if event.reply["memory"] else Cause.ERROR)


def _recover(
    pool: WorkerPool, job: _Job, slot: Any, failure: TaskLost, splitting: bool
) -> "list[_Job] | list[Untrained]":
    """Return what follows a failed task: its job again, the job's halves, or its cells as untrained."""
    cells, cause = job.stack.cells, failure.cause
    if cause is Cause.ERROR and slot not in job.raised_in and pool.slot_count > 1:
        job.raised_in.add(slot)
        return [job]
    job.deaths += cause is not Cause.NOT_STARTED
    if splitting and len(cells) > 1 and (cause.raised or cause.memory or job.deaths > pool.allowed_deaths):
        return [_Job(job.index, half) for half in reversed(split(job.stack, 2))]
    if splitting and cause.memory and pool.shrink():
        return [_Job(job.index, job.stack)]
    if cause.raised or job.deaths > pool.allowed_deaths:
        return [Untrained(cell, _reason(cell, job.stack.source.function, failure)) for cell in cells]
    return [job]


def _reason(cell: Cell, load: str, failure: TaskLost) -> str:
    """Return why a cell could not be trained; where its worker ended, with the plugins that may have ended it.

    `load` is the own function that loads its data, or empty.
    """
    names = sorted(own_names_in(*cell.functions, load))
    if failure.cause is not Cause.DIED or not names:
        return failure.why
    return f"{failure.why}; the code of {', '.join(map(shorten_digests, names))} may be the reason"


def _request(stack: Stack, task: int, action: Action, options: Mapping[str, bool]) -> dict[str, Any]:
    cells = [cell.values() for cell in stack.cells]
    request = {"task": task, "action": action, "cells": cells, "source": asdict(stack.source), **options}
    plugins = store.of([stack.source.function, *(name for cell in stack.cells for name in cell.functions)])
    return {**request, "plugins": [bundle.to_json() for bundle in plugins]} if plugins else request


def _to_event(stack: Stack, message: WorkerMessage, action: Action) -> Finished | Signalled | dict[str, Any]:
    reply = message.reply
    if action == "signal":
        return Signalled(stack, reply["signal"], reply["seconds"], message.environment)
    if action != "train":
        return reply
    environment = {**message.environment, "bits": "exact" if reply["exact"] else "to rounding"}
    fields = {name: reply[name] for name in ("metrics", "seconds", "initialization", "product_rate")}
    more = {"notes": tuple(reply.get("notes", ())), "signal": reply.get("signal", ()), "speed": _speed(stack, reply)}
    return Finished(stack, environment=environment, host=message.host, **more, **fields)


def _speed(stack: Stack, reply: Mapping[str, Any]) -> Speed | None:
    return Speed(len(stack.cells), **reply["speed"]) if reply.get("speed") else None
