"""A crew of workers, and what becomes of a stack: it is trained, or goes to another worker, or is split, or fails."""

import itertools
import queue
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from initbench.errors import UserError, WorkerDied
from initbench.execution.plan import Stack, split
from initbench.spec.cell import Cell

# What a worker is asked to do with a stack: train it, or measure something of it.
What = Literal["train", "speed", "initialization"]

# A run stops when so many cells have failed and none was trained: then it is not the cells.
MAX_FAILED = 100

# Numbers of tasks: never one twice in a process, since Dask gives a key that it still knows its former result.
_tasks = itertools.count()


@dataclass(frozen=True)
class Progress:
    """A stack that is still training: how many epochs of it are done; none, where its worker was lost."""

    stack: Stack
    epochs: float


@dataclass(frozen=True)
class Finished:
    """A stack's result: for each metric its values `[epoch][cell]`; and what belongs to the machine."""

    stack: Stack
    metrics: dict[str, list[list[float]]]
    environment: dict[str, str]
    host: str
    seconds: float
    initialization: dict[str, dict[str, float]]  # of each initializer its cells, and the seconds their weights took
    product_rate: float  # floating-point operations a second that its worker reached in a large product
    notes: tuple[str, ...] = ()  # what the user should know of how its weights were drawn


@dataclass(frozen=True)
class Failed:
    """A cell that no worker could train, and why."""

    cell: Cell
    why: str


@dataclass(frozen=True)
class Notice:
    """What the user should know of the workers: one that was refused, joined or left."""

    line: str


@dataclass(frozen=True)
class Speed:
    """Seconds that a stack of some width takes: a step, the evaluation of an image, and the start of its training."""

    width: int
    step: float
    evaluation: float
    start: float


@dataclass(frozen=True)
class WorkerMessage:
    """What a worker told of a task: `progress`, `done` or `failed`; and where it ran."""

    task: int
    reply: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    host: str = ""


@dataclass(frozen=True)
class Lost:
    """A task that was not done, and why: its worker is gone, or `raised` an error and lives; `memory` if it is likely
    that the memory was too small."""

    task: int
    why: str
    memory: bool = False
    raised: bool = False
    began: bool = True  # if it did not, the task is no reason for the loss
    told: bool = False  # whether the user knows of it


@dataclass(frozen=True)
class Changed:
    """The crew has changed: a place may be free."""


class Crew(Protocol):
    """Workers, of this machine or of a cluster. A place is where one stack trains at a time."""

    events: "queue.SimpleQueue[WorkerMessage | Lost | Changed | Notice | Exception]"

    @property
    def device(self) -> str:
        """What trains, `cpu` or `cuda`."""

    @property
    def processor(self) -> str:
        """The processor's name; of several kinds the commonest."""

    @property
    def memory(self) -> float:
        """The bytes that a place may use; 0 where that is not known."""

    @property
    def allowed_deaths(self) -> int:
        """How many workers a task may lose before it is split, or fails."""

    @property
    def count(self) -> int:
        """How many places there are now."""

    def free(self) -> list[Any]:
        """The places where nothing trains."""

    def send(self, place: Any, task: int, what: dict[str, Any]) -> None:
        """Have a task done at a free place; what becomes of it comes as an event."""

    def waiting(self, stacks: int) -> None:
        """How many stacks wait for a place: for a cluster that grows with its work."""

    def shrink(self) -> bool:
        """Work at one place less, if that can leave more memory for the others and one is left; whether it was done."""


@dataclass(eq=False)
class _Job:
    """Stacks to be served, and how often a worker was lost with them."""

    number: int
    stack: Stack
    deaths: int = 0
    raised_at: set[Any] = field(default_factory=set)  # the places where it raised an error


def train(crew: Crew, stacks: Sequence[Stack]) -> Iterator[Progress | Finished | Failed | Notice]:
    """Train the stacks, each at the next place that is free; events come in the order in which they happen.

    A stack whose worker is lost goes to another one. Where memory is the likely reason it is halved at once, and
    elsewhere when it has lost more workers than the crew allows. A cell that is alone then fails, and the others go on.
    A stack at which the training raises an error is tried at another place too, before it is halved or its cell fails:
    it may be the place.
    """
    failed, finished = 0, False
    noted: set[str] = set()
    for _, told in _served(crew, stacks, "train"):
        if isinstance(told, Finished):
            finished = True
            for note in told.notes:
                if note not in noted:  # every worker has the same to say: once is enough
                    noted.add(note)
                    yield Notice(note)
        if isinstance(told, Failed):
            failed += 1
            if failed >= MAX_FAILED and not finished:
                raise WorkerDied(f"{failed} cells failed and none was trained; the last: {told.why}")
        yield told


def speeds(crew: Crew, stacks: Sequence[Stack]) -> list[Speed]:
    """How fast the crew's workers train each of these stacks, measured; those that cannot be measured are left out."""
    found = _measured(crew, stacks, "speed")
    return [Speed(len(stack.cells), **found[i]) for i, stack in enumerate(stacks) if i in found]


def initialization(crew: Crew, stacks: Sequence[Stack]) -> list[float]:
    """How many seconds the initial weights of the first cell of each of these stacks take, measured; or 0."""
    found = _measured(crew, stacks, "initialization")
    return [found.get(number, 0.0) for number in range(len(stacks))]


def _measured(crew: Crew, stacks: Sequence[Stack], what: What) -> dict[int, Any]:
    found, notices = {}, []
    for number, told in _served(crew, stacks, what):
        if isinstance(told, dict) and number is not None:
            found[number] = told[what]
        if isinstance(told, Notice):
            notices.append(told)
    for notice in notices:  # the training tells of them
        crew.events.put(notice)
    return found


def _served(crew: Crew, stacks: Sequence[Stack], what: What) -> Iterator[tuple[int | None, Any]]:
    """All that is told of these stacks, with each's number, until none is left; Notices have no number."""
    waiting = deque(_Job(number, stack) for number, stack in enumerate(stacks))
    running: dict[int, tuple[_Job, Any]] = {}  # of each task: its job, and its place
    while waiting or running:
        _give_out(crew, waiting, running, what)
        event = crew.events.get()
        if isinstance(event, Exception):
            raise event
        if isinstance(event, Notice):
            yield None, event
        if isinstance(event, Changed | Notice) or event.task not in running:  # a worker that was given up and returned
            continue
        job, place = running[event.task]
        if isinstance(event, WorkerMessage) and event.reply["event"] == "progress":
            yield job.number, Progress(job.stack, event.reply["epochs"])
            continue
        del running[event.task]
        if isinstance(event, WorkerMessage) and event.reply["event"] == "done":
            yield job.number, _finished(job.stack, event) if what == "train" else event.reply
            continue
        yield job.number, Progress(job.stack, 0.0)
        lost = _lost(event)
        then = _next_action(crew, job, place, lost, splitting=what == "train")
        if not lost.told and not lost.raised and not any(isinstance(one, Failed) for one in then):
            yield None, Notice(f"{lost.why}; what it trained is tried again")
        for again in then:
            if isinstance(again, Failed):
                yield job.number, again
            elif again is job:
                waiting.appendleft(again)
            else:  # what was hard waits until all else was tried
                waiting.append(again)


def _give_out(crew: Crew, waiting: "deque[_Job]", running: dict[int, tuple[_Job, Any]], what: What) -> None:
    """Send a job to each place that is free: one that raised no error there, unless nothing else is going on."""
    places = crew.free()
    for place in places:
        job = next((job for job in waiting if place not in job.raised_at), None)
        if job is None and place == places[-1] and waiting and not running:
            job = waiting[0]
        if job is not None:
            waiting.remove(job)
            task = next(_tasks)
            running[task] = job, place
            crew.send(place, task, _task(job.stack, task, what))
    crew.waiting(len(waiting))


def _lost(event: WorkerMessage | Lost) -> Lost:
    """What became of a task that was not done; UserError if it is the user's mistake."""
    if isinstance(event, Lost):
        return event
    if "lines" in event.reply:
        raise UserError(*event.reply["lines"])
    return Lost(event.task, event.reply["why"], event.reply["memory"], raised=True)


def _next_action(crew: Crew, job: _Job, place: Any, event: Lost, splitting: bool) -> "list[_Job] | list[Failed]":
    """What becomes of a job that was not done: it is tried again, or in halves, or its cells fail."""
    cells = job.stack.cells
    if event.raised and not event.memory and place not in job.raised_at and crew.count > 1:
        job.raised_at.add(place)
        return [job]
    job.deaths += event.began
    if splitting and len(cells) > 1 and (event.raised or event.memory or job.deaths > crew.allowed_deaths):
        return [_Job(job.number, half) for half in reversed(split(job.stack, 2))]
    if splitting and event.memory and crew.shrink():
        return [_Job(job.number, job.stack)]
    if event.raised or job.deaths > crew.allowed_deaths:
        return [Failed(cell, event.why) for cell in cells]
    return [job]


def _task(stack: Stack, task: int, what: What) -> dict[str, Any]:
    return {
        "stack": task,
        "cells": [cell.values() for cell in stack.cells],
        "source": asdict(stack.source),
        "what": what,
    }


def _finished(stack: Stack, told: WorkerMessage) -> Finished:
    reply = told.reply
    made_by = {**told.environment, "bits": "exact" if reply["exact"] else "to rounding"}
    names = ("metrics", "seconds", "initialization", "product_rate")
    fields = {name: reply[name] for name in names}
    return Finished(stack, environment=made_by, host=told.host, notes=tuple(reply.get("notes", ())), **fields)
