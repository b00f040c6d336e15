"""The updates in NumPy alone: the reference of `compiled.py`, bit for bit, and its substitute until that is loaded."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.functions.optimizers import OPTIMIZERS

Array = NDArray[Any]

BLOCK = 2**14  # numbers computed at a time, so that they stay in the cache


def update(
    optimizer: str,
    W: Array,
    gradient: Array,
    slots: NDArray[np.int64],
    states: Array,
    rates: Array,
    constants: tuple[Any, ...],
) -> None:
    """Update W and the states in place; see `initbench.training.updates`."""
    formula = OPTIMIZERS[optimizer].formula
    assert formula is not None
    rows = max(1, BLOCK // W.shape[1])
    with np.errstate(all="ignore"):  # a network that diverges is a result
        for begin in range(0, len(W), rows):
            part = slice(begin, begin + rows)
            rate = rates if len(rates) == 1 else rates[part]
            before = np.moveaxis(states[part], 1, 0)
            new = formula(W[part], gradient[slots[part]], *before, rate, constants, np.sqrt)
            W[part], *after = new if len(before) else (new,)
            for state, value in zip(before, after, strict=True):
                state[:] = value


def update_tiles(
    optimizer: str,
    products: Any,
    W: Array,
    lists: tuple[Array, ...],
    gradient: Array,
    states: Array,
    rates: Array,
    constants: tuple[Any, ...],
) -> None:
    """Update tiles of weights and their states in place, each tile with its gradient, which `products` computes."""
    rows, zeros = W.shape[1] // rates.shape[1], np.zeros(rates.shape[1], W.dtype)
    for t in range(len(W)):
        products.gradient(t, *lists, zeros, gradient)
        shape = rows, rates.shape[1]
        by_row = states[t].reshape(-1, *shape).swapaxes(0, 1)
        update(optimizer, W[t].reshape(shape), gradient, np.arange(rows), by_row, rates[t : t + 1], constants)
