"""The cell: one complete, resolved specification of one training run."""

import hashlib
import math
from collections.abc import Iterable
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from initbench.functions.forms import has_fused_forms
from initbench.models.architecture import Architecture, Shape
from initbench.models.own import network_of
from initbench.models.perceptron import layers, widths
from initbench.registry import shorten_digests

# Part of every cell's id. Raised whenever the same specification would train to a different result.
TRAINING_VERSION = 4

# The settings that version 3 was given later. One with its default is left out of a cell's id, which so stays what it
# was.
VERSION_OF_LATER = 3
LATER = ("standardize", "augment", "model", "normalization", "dropout", "warmup_epochs", "gradient_clipping")

# The settings that decide which loop trains a cell: those of which the stacked trainer has the default alone, and those
# whose functions need fused forms in it.
NOT_IN_STACKS = ("model", "normalization", "dropout", "augment", "gradient_clipping")
# The settings that have no effect before the first step.
OF_TRAINING = (
    "augment",
    "optimizer",
    "learning_rate",
    "lr_schedule",
    "lr_decay",
    "warmup_epochs",
    "gradient_clipping",
    "epochs",
)
FUNCTIONS_OF_LOOP = ("activation", "output_activation", "loss", "optimizer")
LOOP = (*NOT_IN_STACKS, *FUNCTIONS_OF_LOOP)


class Cell(NamedTuple):
    """One point of a grid. The fields are the settings, in the order of the table's columns.

    A tuple, because a grid may have a million of them: creating one takes a fifth of the time of a frozen dataclass.
    """

    dataset: str = "mnist"
    train_size: int = 55_000
    standardize: bool = False
    augment: str = "none"
    initializer: str = "he_normal"
    bias_initializer: str = "zeros"
    activation: str = "relu"
    output_activation: str = "identity"
    model: str = "perceptron"
    hidden: str = "128"
    normalization: str = "none"
    dropout: float = 0.0
    loss: str = "cross_entropy"
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    lr_schedule: str = "constant"
    lr_decay: float = 0.0
    warmup_epochs: float = 0.0
    gradient_clipping: float = 0.0
    batch_size: int = 128
    epochs: int = 10
    precision: str = "float32"
    seed: int = 0

    @property
    def id(self) -> str:
        """Twenty hexadecimal digits: a hash of the specification and of the version of the training.

        >>> cell = Cell(initializer="zeros", seed=3)
        >>> cell.id == Cell(*cell.values()).id, len(cell.id)
        (True, 20)
        """
        return _digest(TRAINING_VERSION, self._hashed())

    def _hashed(self) -> list[object]:
        """Return what an id is a digest of: the values of the first settings, and those later ones that are set."""
        values, later = list(_first_values(self)), _later_values(self)
        if later != _later_defaults:
            changed = zip(LATER, later, _later_defaults, strict=True)
            values += [f"{name} = {value!r}" for name, value, default in changed if value != default]
        return values

    def id_of(self, version: int) -> str:
        """Return the cell's id in a version of the training; empty if that version could not train it."""
        values = self._hashed()
        if version < VERSION_OF_LATER and len(values) > len(FIRST):
            return ""
        if version == 1:  # without the setting precision
            del values[FIRST.index("precision")]
            return _digest(version, values) if self.precision == "float32" else ""
        return _digest(version, values)

    @property
    def label(self) -> str:
        """The cell in a few words, for messages."""
        network = self.model
        if network == "perceptron":
            network = f"hidden {self.hidden}" if self.hidden else "no hidden layer"
        training = f"{self.loss}, {self.optimizer} at {self.learning_rate}"
        functions = shorten_digests(f"{self.initializer}, {self.activation}, {network}, {training}")
        return f"cell {self.id} ({functions}, seed {self.seed})"

    def values(self) -> tuple[str | int | float, ...]:
        """Return the settings' values, in the order of the fields."""
        return tuple(self)

    @property
    def functions(self) -> tuple[str, ...]:
        """The canonical strings of its functions: what the code of a plugin can be needed for."""
        return (
            self.initializer,
            self.bias_initializer,
            self.activation,
            self.output_activation,
            self.model,
            self.loss,
            self.optimizer,
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of the hidden layers: `128-64` is (128, 64), an empty string is ()."""
        return widths(self.hidden)

    def network(self, shape: Shape, classes: int) -> Architecture:
        """Return the architecture of its network, for images of a shape `(height, width, channels)`."""
        return network_of(self.model, self.hidden, self.normalization, shape, classes)

    def layers(self, pixels: int, classes: int) -> tuple[tuple[int, int], ...]:
        """Return `(fan_in, fan_out)` of each layer of a perceptron, from all pixels to the classes.

        >>> Cell(hidden="128-64").layers(784, 10)
        ((784, 128), (128, 64), (64, 10))
        """
        return layers(self.hidden, pixels, classes)

    @property
    def is_fused(self) -> bool:
        """Whether it trains in stacks; otherwise the plain loop trains it.

        A cell does of which `NOT_IN_STACKS` have their defaults, and whose functions have fused forms.
        """
        return _of_plain_loop(self) == _without_plain_loop and has_fused_forms(*_functions_of_loop(self))

    @property
    def before_training(self) -> "Cell":
        """The cell without its training: with the defaults of the settings that have no effect before the first step.

        >>> Cell(initializer="zeros", epochs=3, optimizer="adam").before_training == Cell(initializer="zeros")
        True
        """
        return self._replace(**_training_defaults)

    @property
    def loop(self) -> tuple[str | float, ...]:
        """The values of the settings `LOOP`: what decides, with shapes and precision, how its steps are computed."""
        return _of_plain_loop(self) + _functions_of_loop(self)

    @property
    def steps_per_epoch(self) -> int:
        """The optimizer's steps in one epoch; the last, incomplete batch is dropped."""
        return self.train_size // self.batch_size

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch; epochs count from 1.

        `constant` is learning_rate · (1 − lr_decay) in every epoch, as the article's code computes it; `exponential` is
        learning_rate · (1 − lr_decay)^(epoch − 1), as the article describes it. `cosine` is learning_rate here: its
        factor, and a warm-up's, change at every step (`step_rates`).
        """
        power = epoch - 1 if self.lr_schedule == "exponential" else 1
        return self.learning_rate * (1 - self.lr_decay) ** power

    @property
    def has_step_rates(self) -> bool:
        """Whether the learning rate changes within epochs: with a warm-up, or along a cosine."""
        return self.warmup_epochs > 0 or self.lr_schedule == "cosine"

    def step_rates(self, epoch: int) -> list[float]:
        """Return the learning rate of each step of an epoch: that of the epoch, times a factor.

        There are T steps in all; the first W = round(warmup_epochs · steps_per_epoch) warm up. The factor of step t,
        counted from 0, is (t + 1) / W where t < W (PyTorch's `LinearLR` from 1 / W, through W − 1 steps). Later it is
        1, or in a `cosine` (1 + cos(π (t − W) / (T − W))) / 2 (PyTorch's `CosineAnnealingLR` through T − W steps).

        >>> Cell(train_size=512, epochs=2, warmup_epochs=0.5, learning_rate=1.0).step_rates(1)
        [0.5, 1.0, 1.0, 1.0]
        """
        steps, rate = self.steps_per_epoch, self.rate(epoch)
        factors = _step_factors(self.lr_schedule == "cosine", self.warmup_epochs, steps, self.epochs, epoch)
        return [rate * factor for factor in factors]


FIRST = tuple(name for name in Cell._fields if name not in LATER)
_first_values, _later_values = attrgetter(*FIRST), attrgetter(*LATER)
_later_defaults = tuple(Cell._field_defaults[name] for name in LATER)
_training_defaults = {name: Cell._field_defaults[name] for name in OF_TRAINING}
_of_plain_loop, _functions_of_loop = attrgetter(*NOT_IN_STACKS), attrgetter(*FUNCTIONS_OF_LOOP)
_without_plain_loop = tuple(Cell._field_defaults[name] for name in NOT_IN_STACKS)


def warmup_steps(warmup_epochs: float, steps_per_epoch: int) -> int:
    """Return the number of steps that warm up."""
    return round(warmup_epochs * steps_per_epoch)


@lru_cache(maxsize=16)  # the cells of a stack have few schedules
def _step_factors(is_cosine: bool, warmup_epochs: float, steps: int, epochs: int, epoch: int) -> tuple[float, ...]:
    warmup, end = warmup_steps(warmup_epochs, steps), epochs * steps
    return tuple(
        (t + 1) / warmup
        if t < warmup
        else (1 + math.cos(math.pi * (t - warmup) / (end - warmup))) / 2
        if is_cosine
        else 1.0
        for t in range((epoch - 1) * steps, epoch * steps)
    )


def _digest(version: int, values: Iterable[object]) -> str:
    text = f"{version}\n" + "\n".join(map(repr, values))
    return hashlib.sha256(text.encode()).hexdigest()[:20]
