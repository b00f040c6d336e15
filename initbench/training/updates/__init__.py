"""The steps of an optimizer: the weights of a stack and their states, updated in place.

An optimizer's `formula` (`initbench.functions.optimizers`) is evaluated by compiled code where numba is installed and
worth loading, else by NumPy, with the same bits; on a GPU by PyTorch. It is elementwise, and each operation is rounded
in one way, so that a cell's bits depend neither on its stack nor on the kind of processor.
"""

from collections.abc import Sequence
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

    An array is `[rows, columns]`; so are its states.
    """

    def __init__(self, optimizer: str, arrays: Sequence[Tensor]) -> None:
        record, self._parameters = OPTIMIZERS.lookup(optimizer)
        self._name, self._constants = record.name, record.constants
        self._formula = kernels.required(record.formula, record, "formula")
        self._arrays = list(arrays)
        self._states = [torch.zeros(record.states, *W.shape, dtype=W.dtype, device=W.device) for W in arrays]
        self._on_cpu = arrays[0].device.type == "cpu"
        # On a GPU steps are counted in an array, so that a recorded step goes on counting.
        self._t: Any = 0 if self._on_cpu else torch.zeros((), dtype=torch.float64, device=arrays[0].device)
        self._numbers: tuple[Any, ...] = ()

    def begin(self) -> None:
        """Begin a step."""
        self._t += 1
        self._numbers = self._constants(self._t, **self._parameters)

    def update(self, i: int, gradient: Tensor, rates: Tensor, slots: NDArray[np.int64] | None = None) -> None:
        """Update array i by its gradient `[rows, columns]` and the learning rates, `[1, columns]` or `[rows, 1]`.

        With `slots`, the gradient of row k of the array is row `slots[k]` of `gradient`, which has other rows.
        """
        W, states = self._arrays[i], self._states[i]
        if not self._on_cpu:
            new = self._formula(W, gradient, *states, rates, self._numbers, torch.sqrt)
            for array, value in zip((W, *states), new if len(states) else (new,), strict=True):
                array.copy_(value)
            return
        if slots is None:
            slots = np.arange(len(W))
        arrays = W.numpy(), gradient.numpy(), slots, states.numpy(), rates.numpy()
        constants = np.array(self._numbers, dtype=arrays[0].dtype)
        _code.run(W.numel(), lambda module: module.update(self._name, *arrays, constants))
