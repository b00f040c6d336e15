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
from initbench.training import products

CACHE = machine_code.Cache(f"updates-{products.TILE}", (machine_code, optimizers, products, sys.modules[__name__]))

LINE = 2048  # numbers of a row at a time, with a rate for each

# In a compiled function, the formula of its optimizer, and the functions below with that formula.
formula: Any = None
step: Any = None


def _no_state(W, g, states, begin, end, rate, constants):
    w = W[begin:end]
    for j in range(end - begin):
        w[j] = formula(w[j], g[j], rate[j], constants, np.sqrt)


def _one_state(W, g, states, begin, end, rate, constants):
    w, v = W[begin:end], states[0, begin:end]
    for j in range(end - begin):
        w[j], v[j] = formula(w[j], g[j], v[j], rate[j], constants, np.sqrt)


def _two_states(W, g, states, begin, end, rate, constants):
    w, m, v = W[begin:end], states[0, begin:end], states[1, begin:end]
    for j in range(end - begin):
        w[j], m[j], v[j] = formula(w[j], g[j], m[j], v[j], rate[j], constants, np.sqrt)


def _by_row(W, gradient, slots, states, rates, constants):
    has_one_rate, line, columns = rates.shape[1] == 1, np.empty(LINE, W.dtype), W.shape[1]
    for i in range(W.shape[0]):
        if has_one_rate:
            line[:] = rates[i, 0]
        for begin in range(0, columns, LINE):
            end = min(begin + LINE, columns)
            rate = line if has_one_rate else rates[0, begin:end]
            step(W[i], gradient[slots[i], begin:end], states[i], begin, end, rate, constants)


def _by_tile(W, lists, gradient, states, rates, constants):
    counts, places, x, tile, G = lists
    width = rates.shape[1]
    line, of_pair = np.empty(2 * width, W.dtype), gradient[:2]
    numbers, zeros = of_pair.reshape(-1), np.zeros(width, W.dtype)
    for t in range(W.shape[0]):
        line[:width] = rates[t]
        line[width:] = rates[t]
        products.take_tile(t, tile, G)
        products.gradient_of_bias(G.shape[1], tile, of_pair[0])
        step(W[t], numbers, states[t], 0, width, line, constants)
        # A pair's gradient is used at once, so that the next weights and states are fetched while it is computed.
        for pair in range(len(counts)):
            products.gradient_of_pair(pair, counts, places, x, tile, zeros, of_pair)
            begin = (1 + 2 * pair) * width
            step(W[t], numbers, states[t], begin, begin + 2 * width, line, constants)


def _own(function: Any, name: str, **names: Any) -> Any:
    """Return a function of that name with other globals: numba caches no function that takes a function."""
    own: Any = FunctionType(function.__code__, {**globals(), **names}, name)
    own.__qualname__, own.__module__ = name, __name__
    return own


@cache
def _function(optimizer: str, function: Any) -> Any:
    """Return a function with the formula of an optimizer, compiled."""
    record = OPTIMIZERS[optimizer]
    inline = njit(error_model="numpy")
    own_step = inline(
        _own((_no_state, _one_state, _two_states)[record.states], f"{optimizer}_step", formula=inline(record.formula))
    )
    return CACHE.compiled(_own(function, optimizer + function.__name__, step=own_step))


def update(optimizer, W, gradient, slots, states, rates, constants):
    """As `plain.update`."""
    _function(optimizer, _by_row)(W, gradient, slots, states, rates, constants)


def update_tiles(optimizer, products, W, lists, gradient, states, rates, constants):
    """As `plain.update_tiles`."""
    _function(optimizer, _by_tile)(W, lists, gradient, states, rates, constants)
