"""The plan: which cells train together, as stacks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from initbench.cells import Cell
from initbench.datasets import Source

# A stack is as wide as its weights fit into this many bytes, within these bounds.
STACK_BYTES = 4_000_000
NARROWEST, WIDEST = 6, 192


@dataclass(frozen=True)
class Stack:
    """Cells that train as one program: they share data, order, shapes and optimizer."""

    cells: tuple[Cell, ...]
    source: Source

    @property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """`(fan_in, fan_out)` of each layer."""
        return self.cells[0].layers(self.source.pixels, self.source.classes)

    @property
    def kind(self) -> tuple[object, ...]:
        """What decides how fast a step is: stacks of one kind differ in their width at most."""
        first = self.cells[0]
        return first.dataset, first.hidden, first.optimizer, first.batch_size

    @property
    def step_operations(self) -> float:
        """Floating-point operations of one optimizer step, dense, biases left out.

        A step multiplies three times in every layer but the first, which needs no gradient of its input.
        """
        weights = [fan_in * fan_out for fan_in, fan_out in self.layers]
        return 2.0 * len(self.cells) * self.cells[0].batch_size * (3 * sum(weights) - weights[0])

    @property
    def operations(self) -> float:
        """Those of the whole training and of its evaluations.

        These multiply once for each image of the validation and test splits, before the first epoch and after each.
        """
        first = self.cells[0]
        images = self.source.validation_size + self.source.test_size
        evaluation = 2.0 * len(self.cells) * images * sum(fan_in * fan_out for fan_in, fan_out in self.layers)
        return first.epochs * first.steps_per_epoch * self.step_operations + (first.epochs + 1) * evaluation


def plan(cells: Iterable[Cell], sources: Mapping[str, Source], workers: int = 1) -> list[Stack]:
    """Put cells into stacks, longest first.

    Cells share a stack when they share a data set and its order (the seed), a batch size, a number of epochs, the
    shapes of all layers, and the optimizer. Within a stack they are sorted so that those with the same activations and
    loss are neighbours. A stack is as wide as the cache likes, and narrower where workers would idle. None of this
    changes a cell's result.
    """
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for c in cells:
        key = (c.dataset, c.train_size, c.hidden, c.optimizer, c.batch_size, c.epochs, c.precision, c.seed)
        groups.setdefault(key, []).append(c)
    stacks = []
    for group in groups.values():
        group.sort(key=lambda c: (c.activation, c.output_activation, c.loss, c.initializer))
        source = sources[group[0].dataset]
        bytes_each = 4 * sum(fan_in * fan_out for fan_in, fan_out in group[0].layers(source.pixels, source.classes))
        width = min(WIDEST, max(NARROWEST, STACK_BYTES // bytes_each))
        pieces = max(-(-len(group) // width), min(-(-workers // len(groups)), -(-len(group) // NARROWEST)))
        bounds = [round(i * len(group) / pieces) for i in range(pieces + 1)]
        stacks += [Stack(tuple(group[i:j]), source) for i, j in pairwise(bounds)]
    return sorted(stacks, key=lambda stack: -stack.operations)
