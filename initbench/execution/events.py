"""Training events: the plan, progress, finished stacks, failed cells, and notices about workers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from initbench.execution.plan import Stack
from initbench.spec.cell import Cell


@dataclass(frozen=True)
class Speed:
    """Seconds that a stack of this width takes: for a step, to evaluate one image, and to start."""

    width: int
    step: float
    evaluation: float
    start: float


@dataclass(frozen=True)
class Planned:
    """The training begins, or the stacks that wait were planned again; `stacks` are all of the training.

    `seconds` are the expected training and initialization times of each stack, or None where this machine's speed is
    not known. `slots` returns how many stacks train at a time: a function, because a cluster may grow.
    """

    stacks: Sequence[Stack]
    seconds: Sequence[tuple[float, float]] | None
    slots: Callable[[], int]


@dataclass(frozen=True)
class Progress:
    """A stack that is still training, and how many of its epochs are done; 0 while its weights are initialized.

    `speed` is how fast it trains, known after its first epoch.
    """

    stack: Stack
    epochs: float
    speed: Speed | None = None


@dataclass(frozen=True)
class Lost:
    """The training of a stack ended without a result; its cells are tried again, together or apart, or given up."""

    stack: Stack


@dataclass(frozen=True)
class Finished:
    """The result of a stack: for each metric its values `[epoch][cell]`, and how its worker computed them."""

    stack: Stack
    metrics: dict[str, list[list[float]]]
    environment: dict[str, str]
    host: str
    seconds: float
    initialization: dict[str, dict[str, float]]  # for each initializer the number of cells, and their seconds
    product_rate: float  # floating-point operations a second that the worker reaches in a large product
    notes: tuple[str, ...] = ()  # warnings for the user about how the weights were drawn
    signal: Sequence[Mapping[str, Any]] = ()  # see `training.signal.record.to_json`
    speed: Speed | None = None  # unless memory was too small to train the stack as a whole


@dataclass(frozen=True)
class Signalled:
    """The signal of the cells of a stack before training, and how its worker computed it."""

    stack: Stack
    signal: Sequence[Mapping[str, Any]]  # see `training.signal.record.to_json`
    seconds: float
    environment: dict[str, str]


@dataclass(frozen=True)
class Untrained:
    """A cell that no worker could train, and why."""

    cell: Cell
    why: str


@dataclass(frozen=True)
class Notice:
    """A line for the user about the workers: one was refused, joined or left."""

    line: str


Event = Planned | Progress | Lost | Finished | Signalled | Untrained | Notice
