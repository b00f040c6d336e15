"""The cell: one complete, resolved specification of one training run, and the columns that it makes."""

import hashlib
from dataclasses import dataclass, fields
from itertools import pairwise

# Part of every cell's id. Raised whenever the same specification would train to another result.
TRAINING_VERSION = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of a grid. The fields are the settings, in the order of the table's columns."""

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
        """Twenty hexadecimal digits: a hash of the specification and of the version of the training semantics.

        >>> cell = Cell("mnist", 55000, "zeros", "zeros", "relu", "identity", "128", "mse", "sgd", 0.1, "constant",
        ...             0.0, 128, 10, "float32", 0)
        >>> cell.id == Cell(*cell.values()).id, len(cell.id)
        (True, 20)
        """
        text = f"{TRAINING_VERSION}\n" + "\n".join(map(repr, self.values()))
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def values(self) -> tuple[str | int | float, ...]:
        """The settings' values, in the order of `SETTINGS`."""
        return tuple(getattr(self, name) for name in SETTINGS)

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths of the hidden layers: `128-64` is (128, 64), an empty string none."""
        return tuple(int(n) for n in self.hidden.split("-") if n)

    def layers(self, pixels: int, classes: int) -> tuple[tuple[int, int], ...]:
        """`(fan_in, fan_out)` of each layer of the network, from all pixels to the classes.

        >>> cell = Cell("mnist", 55000, "zeros", "zeros", "relu", "identity", "128-64", "mse", "sgd", 0.1, "constant",
        ...             0.0, 128, 10, "float32", 0)
        >>> cell.layers(784, 10)
        ((784, 128), (128, 64), (64, 10))
        """
        return tuple(pairwise((pixels, *self.widths, classes)))

    @property
    def steps_per_epoch(self) -> int:
        """The optimizer's steps in one epoch; the last, incomplete batch is dropped."""
        return self.train_size // self.batch_size

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, from 1.

        `constant` is learning_rate · (1 − lr_decay) throughout (the article's code); `exponential` is
        learning_rate · (1 − lr_decay)^(epoch − 1) (what it meant).
        """
        power = 1 if self.lr_schedule == "constant" else epoch - 1
        return self.learning_rate * (1 - self.lr_decay) ** power


# The one place that names the columns of the tidy table.
SETTINGS = tuple(field.name for field in fields(Cell))
METRICS = ("train_loss", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy")
COLUMNS = (*SETTINGS, "cell", "status", "epoch", *METRICS)

TRAINED, DIVERGED = "trained", "diverged"
