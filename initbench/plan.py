"""The plan: which cells train together, as stacks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from initbench.cells import Cell
from initbench.datasets import Source

# A stack is as wide as its weights fit into this many bytes (a core's second cache, about), within these bounds.
STACK_BYTES = 1_000_000
NARROWEST, WIDEST = 4, 48


@dataclass(frozen=True)
class Stack:
    """Cells that train as one program: they share data, order, shapes and optimizer."""

    cells: tuple[Cell, ...]
    source: Source

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """`(fan_in, fan_out)` of each layer."""
        return layers(self.cells[0], self.source)

    @property
    def operations(self) -> float:
        """Floating-point operations of the whole training and its evaluations, dense, biases left out.

        A step multiplies three times in every layer but the first, which needs no gradient of its input; the
        evaluations multiply once for each image of the validation and test splits, after each epoch and before the first.
        """
        cell = self.cells[0]
        weights = [fan_in * fan_out for fan_in, fan_out in self.layers]
        trained = cell.epochs * cell.steps_per_epoch * cell.batch_size * (3 * sum(weights) - weights[0])
        evaluated = (cell.epochs + 1) * (self.source.validation_size + self.source.test_size) * sum(weights)
        return 2.0 * len(self.cells) * (trained + evaluated)


def layers(cell: Cell, source: Source) -> tuple[tuple[int, int], ...]:
    """`(fan_in, fan_out)` of each layer of a cell's network, from all pixels to the classes.

    >>> from initbench.datasets import find
    >>> cell = Cell("mnist", 55000, "zeros", "zeros", "relu", "identity", "128-64", "mse", "sgd", 0.1, "constant",
    ...             0.0, 128, 10, 0)
    >>> layers(cell, find("mnist"))
    ((784, 128), (128, 64), (64, 10))
    """
    sizes = (source.pixels, *cell.widths, source.classes)
    return tuple(zip(sizes[:-1], sizes[1:], strict=True))


def plan(cells: Iterable[Cell], sources: Mapping[str, Source], workers: int = 1) -> list[Stack]:
    """Put cells into stacks, longest first.

    Cells share a stack when they share a data set and its order (the seed), a batch size, a number of epochs, the
    shapes of all layers, and the optimizer. Within a stack they are sorted so that those with the same activations and
    loss are neighbours. A stack is as wide as the cache likes, and narrower where workers would idle. None of this
    changes a cell's result.
    """
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for c in cells:
        key = (c.dataset, c.train_size, c.hidden, c.optimizer, c.batch_size, c.epochs, c.seed)
        groups.setdefault(key, []).append(c)
    stacks = []
    for group in groups.values():
        group.sort(key=lambda c: (c.activation, c.output_activation, c.loss, c.initializer))
        source = sources[group[0].dataset]
        bytes_each = 4 * sum(fan_in * fan_out for fan_in, fan_out in layers(group[0], source))
        width = min(WIDEST, max(NARROWEST, STACK_BYTES // bytes_each))
        pieces = max(-(-len(group) // width), min(-(-workers // len(groups)), -(-len(group) // NARROWEST)))
        bounds = [round(i * len(group) / pieces) for i in range(pieces + 1)]
        stacks += [Stack(tuple(group[i:j]), source) for i, j in zip(bounds[:-1], bounds[1:], strict=True)]
    return sorted(stacks, key=lambda stack: -stack.operations)
