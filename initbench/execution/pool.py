"""The interface of a pool of workers, on this machine or on a cluster, and the events of its tasks."""

import queue
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol

from initbench.execution.events import Notice


class Cause(Enum):
    """Why a task was not done."""

    NOT_STARTED = auto()  # its worker was lost before it began
    WORKER_LEFT = auto()  # its worker left the cluster, which a notice reported
    DIED = auto()  # its process ended, or hung
    KILLED_FOR_MEMORY = auto()  # its process was killed, most likely because the system was out of memory
    ERROR = auto()  # it raised an error; the process lives
    MEMORY_ERROR = auto()  # it ran out of memory; the process lives

    @property
    def raised(self) -> bool:
        """Whether the task itself ended with an error."""
        return self in (Cause.ERROR, Cause.MEMORY_ERROR)

    @property
    def memory(self) -> bool:
        """Whether the memory was too small, certainly or probably."""
        return self in (Cause.KILLED_FOR_MEMORY, Cause.MEMORY_ERROR)


@dataclass(frozen=True)
class WorkerMessage:
    """A worker's reply about a task, `progress`, `done` or `failed`, and where it ran."""

    task: int
    reply: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    host: str = ""


@dataclass(frozen=True)
class TaskLost:
    """A task that was not done, and why."""

    task: int
    why: str
    cause: Cause = Cause.DIED


@dataclass(frozen=True)
class PoolChanged:
    """The pool has changed: a slot may be free."""


PoolEvent = WorkerMessage | TaskLost | PoolChanged | Notice | Exception


class WorkerPool(Protocol):
    """Workers, of this machine or of a cluster. A slot is where one stack trains at a time."""

    events: "queue.SimpleQueue[PoolEvent]"

    @property
    def device(self) -> str:
        """The device that trains: `cpu` or `cuda`."""

    @property
    def processor(self) -> str:
        """The name of the CPU; on a cluster of several kinds, that of most slots."""

    @property
    def memory(self) -> float:
        """The bytes of memory that the stack of one slot may use; 0 if unknown."""

    @property
    def allowed_deaths(self) -> int:
        """The number of workers that a task may lose before it is split, or fails."""

    @property
    def slot_count(self) -> int:
        """The number of slots, now."""

    def free_slots(self) -> list[Any]:
        """Return the slots where nothing trains."""

    def send(self, slot: Any, task: int, request: dict[str, Any]) -> None:
        """Start a task in a free slot; its outcome arrives as an event."""

    def announce_backlog(self, stacks: int) -> None:
        """Announce how many stacks wait for a slot, for a cluster that grows with its work."""

    def shrink(self) -> bool:
        """Give up one slot if that leaves more memory to the others; return whether it was done."""
