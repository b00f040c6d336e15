"""The updates as machine code, by numba: each optimizer's formula, in one pass over the arrays.

The plain form is `plain.py`, and both compute the same bits. Each number of the weights, the gradient and the states is
read once, and written once where it changes, and intermediate values stay in registers; NumPy and PyTorch read and
write them for each operation.
"""

# mypy: allow-untyped-defs, allow-untyped-decorators

import sys
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np

from initbench.functions import optimizers
from initbench.functions.optimizers import OPTIMIZERS
from initbench.system import machine_code
from initbench.system.machine_code import njit

CACHE = machine_code.Cache("updates", (machine_code, optimizers, sys.modules[__name__]))

TILE = 2048  # numbers whose rates are written out, where a row has one

formula: Any = None  # in a compiled function, the formula of its optimizer


def _no_state(W, gradient, slots, states, rates, constants):
    by_row, line, columns = rates.shape[1] == 1, np.empty(TILE, W.dtype), W.shape[1]
    for i in range(W.shape[0]):
        if by_row:
            line[:] = rates[i, 0]
        for begin in range(0, columns, TILE):
            end = min(begin + TILE, columns)
            w, g = W[i, begin:end], gradient[slots[i], begin:end]
            rate = line if by_row else rates[0, begin:end]
            for j in range(end - begin):
                w[j] = formula(w[j], g[j], rate[j], constants, np.sqrt)


def _one_state(W, gradient, slots, states, rates, constants):
    by_row, line, columns = rates.shape[1] == 1, np.empty(TILE, W.dtype), W.shape[1]
    for i in range(W.shape[0]):
        if by_row:
            line[:] = rates[i, 0]
        for begin in range(0, columns, TILE):
            end = min(begin + TILE, columns)
            w, g, v = W[i, begin:end], gradient[slots[i], begin:end], states[0, i, begin:end]
            rate = line if by_row else rates[0, begin:end]
            for j in range(end - begin):
                w[j], v[j] = formula(w[j], g[j], v[j], rate[j], constants, np.sqrt)


def _two_states(W, gradient, slots, states, rates, constants):
    by_row, line, columns = rates.shape[1] == 1, np.empty(TILE, W.dtype), W.shape[1]
    for i in range(W.shape[0]):
        if by_row:
            line[:] = rates[i, 0]
        for begin in range(0, columns, TILE):
            end = min(begin + TILE, columns)
            w, g = W[i, begin:end], gradient[slots[i], begin:end]
            m, v = states[0, i, begin:end], states[1, i, begin:end]
            rate = line if by_row else rates[0, begin:end]
            for j in range(end - begin):
                w[j], m[j], v[j] = formula(w[j], g[j], m[j], v[j], rate[j], constants, np.sqrt)


@cache
def _function(optimizer: str) -> Any:
    """Return the loop of an optimizer, with its formula as a global: numba caches no function of a function."""
    record = OPTIMIZERS[optimizer]
    loop = (_no_state, _one_state, _two_states)[record.states]
    own: Any = FunctionType(
        loop.__code__, {**globals(), "formula": njit(error_model="numpy")(record.formula)}, optimizer
    )
    own.__qualname__, own.__module__ = optimizer, __name__
    return CACHE.compiled(own)


def update(optimizer, W, gradient, slots, states, rates, constants):
    """As `plain.update`."""
    _function(optimizer)(W, gradient, slots, states, rates, tuple(constants))
