"""The updates in NumPy alone: the reference of `compiled.py`, bit for bit, and its substitute until that is loaded."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.functions.optimizers import OPTIMIZERS

Array = NDArray[Any]

BLOCK = 2**14  # numbers computed at a time, so that they stay in the cache


def update(
    optimizer: str, W: Array, gradient: Array, slots: NDArray[np.int64], states: Array, rates: Array, constants: Array
) -> None:
    """Update W and the states in place; see `initbench.training.updates`."""
    formula = OPTIMIZERS[optimizer].formula
    assert formula is not None
    numbers = tuple(constants)
    rows = max(1, BLOCK // W.shape[1])
    with np.errstate(all="ignore"):  # a network that diverges is a result
        for begin in range(0, len(W), rows):
            part = slice(begin, begin + rows)
            rate = rates if len(rates) == 1 else rates[part]
            new = formula(W[part], gradient[slots[part]], *states[:, part], rate, numbers, np.sqrt)
            W[part], *after = new if len(states) else (new,)
            for state, value in zip(states, after, strict=True):
                state[part] = value
