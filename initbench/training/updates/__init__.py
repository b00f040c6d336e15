"""The steps of an optimizer: the weights of a stack and their states, updated in place.

An optimizer's `formula` (`initbench.functions.optimizers`) is evaluated by compiled code where numba is installed and
worth loading, else by NumPy, with the same bits; on a GPU by PyTorch. It is elementwise, and each operation is rounded
in one way, so that a cell's bits depend neither on its stack nor on the kind of processor.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initbench.functions.optimizers import OPTIMIZERS
from initbench.system.compiled import CompiledCode
from initbench.training import kernels
from initbench.training.updates import plain

# Loading the compiled updates, once they have been compiled, takes half a second, in which NumPy updates this many.
WORTH_LOADING = 2**27

_code = CompiledCode(plain, "initbench.training.updates.compiled", WORTH_LOADING, "takes the optimizers' steps")
load = _code.load


class Updates:
    """The updates of some arrays of weights by an optimizer, given as a canonical string.

    An array is `[rows, columns]`, its states `[rows, states, columns]`.
    """

    def __init__(self, optimizer: str, arrays: Sequence[Tensor]) -> None:
        record, self._parameters = OPTIMIZERS.lookup(optimizer)
        self._name, self._constants = record.name, record.constants
        self._formula = kernels.required(record.formula, record, "formula")
        self._arrays = list(arrays)
        self._states = [torch.zeros(len(W), record.states, W.shape[1], dtype=W.dtype, device=W.device) for W in arrays]
        self._on_cpu = arrays[0].device.type == "cpu"
        # On a GPU steps are counted in an array, so that a recorded step goes on counting.
        self._t: Any = 0 if self._on_cpu else torch.zeros((), dtype=torch.float64, device=arrays[0].device)
        self._numbers: tuple[Any, ...] = ()
        if self._on_cpu:
            self._in_numpy = [(W.numpy(), states.numpy()) for W, states in zip(arrays, self._states, strict=True)]
            self._own_rows = [np.arange(len(W)) for W in arrays]

    def begin(self) -> None:
        """Begin a step: compute its numbers, on a CPU rounded as the weights are."""
        self._t += 1
        self._numbers = self._constants(self._t, **self._parameters)
        if self._on_cpu:
            self._numbers = tuple(map(self._in_numpy[0][0].dtype.type, self._numbers))

    def update(self, i: int, gradient: Tensor, rates: Tensor, slots: NDArray[np.int64] | None = None) -> None:
        """Update array i by its gradient `[rows, columns]` and the learning rates, `[1, columns]` or `[rows, 1]`.

        With `slots`, the gradient of row k of the array is row `slots[k]` of `gradient`, which has other rows.
        """
        if not self._on_cpu:
            W, before = self._arrays[i], self._states[i].unbind(1)
            new = self._formula(W, gradient, *before, rates, self._numbers, torch.sqrt)
            for array, value in zip((W, *before), new if before else (new,), strict=True):
                array.copy_(value)
            return
        (weights, states), slots = self._in_numpy[i], self._own_rows[i] if slots is None else slots
        arrays = weights, gradient.numpy(), slots, states, rates.numpy(), self._numbers
        _code.run(weights.size, lambda module: module.update(self._name, *arrays))

    def update_tiles(self, i: int, products: ModuleType, lists: Sequence[Any], gradient: Tensor, rates: Tensor) -> None:
        """Update array i, whose rows are tiles of weights, by their gradients.

        `products` computes the gradient of a tile from the lists, into `gradient` `[rows of a tile, TILE]`; so it need
        not leave the cache. `rates` are `[tiles, TILE]`.
        """
        weights, states = self._in_numpy[i]
        arrays = weights, tuple(lists), gradient.numpy(), states, rates.numpy(), self._numbers
        _code.run(weights.size, lambda module: module.update_tiles(self._name, products, *arrays))
