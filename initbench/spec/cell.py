"""The cell: one complete, resolved specification of one training run."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from initbench.functions.forms import has_fused_forms
from initbench.models.perceptron import layers, widths
from initbench.registry import shorten_digests

# Part of every cell's id. Raised whenever the same specification would train to a different result.
TRAINING_VERSION = 3


class Cell(NamedTuple):
    """One point of a grid. The fields are the settings, in the order of the table's columns.

    A tuple, because a grid may have a million of them: creating one takes a fifth of the time of a frozen dataclass.
    """

    dataset: str
    train_size: int
    initializer: str
    bias_initializer: str
    activation: str
    output_activation: str
    hidden: str
    loss: str
    optimizer: str
    learning_rate: float
    lr_schedule: str
    lr_decay: float
    batch_size: int
    epochs: int
    precision: str
    seed: int

    @property
    def id(self) -> str:
        """Twenty hexadecimal digits: a hash of the specification and of the version of the training.

        >>> cell = Cell("mnist", 55000, "zeros", "zeros", "relu", "identity", "128", "mse", "sgd", 0.1, "constant",
        ...             0.0, 128, 10, "float32", 0)
        >>> cell.id == Cell(*cell.values()).id, len(cell.id)
        (True, 20)
        """
        return _digest(TRAINING_VERSION, self)

    def id_of(self, version: int) -> str:
        """Return the cell's id in a version of the training; empty if that version could not train it."""
        if version == 1:  # without the setting precision
            values = tuple(value for name, value in zip(self._fields, self, strict=True) if name != "precision")
            return _digest(version, values) if self.precision == "float32" else ""
        return _digest(version, self)

    @property
    def label(self) -> str:
        """The cell in a few words, for messages."""
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
            self.loss,
            self.optimizer,
        )

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of the hidden layers: `128-64` is (128, 64), an empty string is ()."""
        return widths(self.hidden)

    def layers(self, pixels: int, classes: int) -> tuple[tuple[int, int], ...]:
        """Return `(fan_in, fan_out)` of each layer of the network, from all pixels to the classes.

        >>> cell = Cell("mnist", 55000, "zeros", "zeros", "relu", "identity", "128-64", "mse", "sgd", 0.1, "constant",
        ...             0.0, 128, 10, "float32", 0)
        >>> cell.layers(784, 10)
        ((784, 128), (128, 64), (64, 10))
        """
        return layers(self.hidden, pixels, classes)

    @property
    def is_fused(self) -> bool:
        """Whether it trains in stacks; otherwise one of its functions has no fused form: the plain loop trains it."""
        return has_fused_forms(self.activation, self.output_activation, self.loss, self.optimizer)

    @property
    def steps_per_epoch(self) -> int:
        """The optimizer's steps in one epoch; the last, incomplete batch is dropped."""
        return self.train_size // self.batch_size

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch; epochs count from 1.

        `constant` is learning_rate · (1 − lr_decay) in every epoch, as the article's code computes it; `exponential` is
        learning_rate · (1 − lr_decay)^(epoch − 1), as the article describes it.
        """
        power = 1 if self.lr_schedule == "constant" else epoch - 1
        return self.learning_rate * (1 - self.lr_decay) ** power


def _digest(version: int, values: Iterable[object]) -> str:
    text = f"{version}\n" + "\n".join(map(repr, values))
    return hashlib.sha256(text.encode()).hexdigest()[:20]
