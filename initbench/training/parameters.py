"""The weights and biases that a cell starts from, made on the CPU by NumPy, the same for every trainer."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from initbench import streams
from initbench.cells import Cell
from initbench.initializers import schemes
from initbench.initializers.model import Array, Batch, Model, Parameters


@dataclass(frozen=True)
class Batches:
    """The batches of a cell's training without end, in its order, for initializers that look at data.

    `read` gives the images `[rows, pixels]`, float64 from 0 to 1, and the labels of some rows of the training split.
    """

    cell: Cell
    read: Callable[[Array], Batch]

    def __iter__(self) -> Iterator[Batch]:
        size, steps = self.cell.batch_size, self.cell.steps_per_epoch
        for epoch in itertools.count(1):
            order = streams.order(self.cell.seed, epoch, self.cell.train_size)
            for step in range(steps):
                yield self.read(order[step * size : (step + 1) * size])


def initial_parameters(
    cell: Cell, layers: tuple[tuple[int, int], ...], batches: Iterable[Batch] = (), dtype: str = "float32"
) -> Parameters:
    """For each layer its weights `[fan_in, fan_out]` and its bias `[fan_out]`, from the streams of the cell's seed."""
    model = Model(layers, batches, cell.activation, cell.output_activation, cell.loss)
    return schemes.parameters(cell.initializer, cell.bias_initializer, model, cell.seed, dtype)
