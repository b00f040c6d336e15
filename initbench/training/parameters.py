"""The weights and biases that a cell starts from, made on the CPU by NumPy, the same for every trainer."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from initbench.initializers import schemes
from initbench.initializers.model import Array, Batch, Model, Parameters
from initbench.random import streams
from initbench.spec.cell import Cell


@dataclass(frozen=True)
class Batches:
    """The batches of a cell's training without end, in its order, for initializers that look at data.

    `read` gives the images `[rows, pixels]`, float64 from 0 to 1, and the labels of some rows of the training split.
    """

    seed: int
    train_size: int
    batch_size: int
    read: Callable[[Array], Batch]

    def __iter__(self) -> Iterator[Batch]:
        for epoch in itertools.count(1):
            order = streams.order(self.seed, epoch, self.train_size)
            for start in range(0, self.train_size - self.batch_size + 1, self.batch_size):
                yield self.read(order[start : start + self.batch_size])


def initial_parameters(
    cell: Cell,
    layers: tuple[tuple[int, int], ...],
    read: Callable[[Array], Batch] | None = None,
    dtype: str = "float32",
) -> Parameters:
    """For each layer its weights `[fan_in, fan_out]` and its bias `[fan_out]`, from the streams of the cell's seed.

    `read` gives images and labels by their rows, to initializers that look at data.
    """
    batches = Batches(cell.seed, cell.train_size, cell.batch_size, read) if read else ()
    model = Model(layers, batches, cell.activation, cell.output_activation, cell.loss)
    return schemes.parameters(cell.initializer, cell.bias_initializer, model, cell.seed, dtype)
