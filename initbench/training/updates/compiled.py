"""The updates as machine code, by numba: each optimizer's formula, in one pass over the arrays.

The plain form is `plain.py`, and both compute the same bits. Each number of the weights, the gradient and the states is
read once, and written once where it changes, and intermediate values stay in registers; NumPy and PyTorch read and
write them for each operation.
"""

# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls

import sys
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
from llvmlite import ir

from initbench.functions import optimizers
from initbench.functions.optimizers import OPTIMIZERS
from initbench.system import machine_code
from initbench.system.machine_code import njit
from initbench.training import products
from initbench.training.products import FLOAT, INT32, INT64, ROW, TILE, cgutils, intrinsic, types

CACHE = machine_code.Cache(f"updates-{products.TILE}", (machine_code, optimizers, products, sys.modules[__name__]))

LINE = 2048  # numbers of a row at a time, with a rate for each

# In the tiles of the first layer, numbers updated at once; entries of the lists of pixels that are added meanwhile; and
# how far ahead weights and states are fetched, in bytes.
PART = ir.VectorType(FLOAT, TILE // 4)
PART_BYTES = ROW // 4
ENTRIES, AHEAD = 2, 8 * ROW

# In a compiled function, the formula of its optimizer, and the functions below with that formula.
formula: Any = None
step: Any = None
step_and_gradient: Any = None


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


class _Vector:
    """A vector in a compiled function, with the operations of formulas, each of which rounds as that of numbers."""

    def __init__(self, builder, value, is_nonzero=True):
        self.builder, self.value, self._is_nonzero = builder, value, is_nonzero

    def __bool__(self):
        return self._is_nonzero

    def __add__(self, other):
        return _Vector(self.builder, self.builder.fadd(self.value, other.value))

    def __sub__(self, other):
        return _Vector(self.builder, self.builder.fsub(self.value, other.value))

    def __mul__(self, other):
        return _Vector(self.builder, self.builder.fmul(self.value, other.value))

    def __truediv__(self, other):
        return _Vector(self.builder, self.builder.fdiv(self.value, other.value))

    def sqrt(self):
        return _Vector(self.builder, products.elementwise(self.builder, "sqrt", self.value))


def _step_and_gradient(optimizer, are_nonzero):
    """Return the function that updates rows of a tile while it computes the gradient of the next pair of pixels.

    Divisions and square roots take a part of the processor that multiply-adds do not need: an update for each few
    entries of the lists costs little more than these entries while weights and states are in a cache.

    Its arguments are addresses, distances in bytes, and numbers: how many parts of rows to update, their weights,
    states, and gradient, how far apart the states are, the rates of a row, and the constants; then where the pair's
    gradient goes, the tile of G, the pair's lists, and their length.
    """
    record = OPTIMIZERS[optimizer]
    formula: Any = record.formula

    @intrinsic
    def step_and_gradient(
        context, parts, weights, states, apart, gradient, rates, constants, target, tile, places, x, length
    ):
        def generate(context, builder, signature, arguments):
            parts, weights, states, apart, gradient, rates, constants, target, tile, places, x, length = arguments
            numbers = [
                _Vector(builder, products.spread(builder, builder.extract_value(constants, i), PART), is_nonzero)
                for i, is_nonzero in enumerate(are_nonzero)
            ]
            arrays = [weights, *(builder.add(states, builder.mul(apart, INT64(k))) for k in range(record.states))]
            zeros = ir.Constant(products.VECTOR, None)
            sums = products.Sums(builder, [zeros, zeros], tile, places, x)

            def update(part):
                offset = builder.mul(part, INT64(PART_BYTES))
                in_row = builder.and_(offset, INT64(ROW - 1))
                addresses = [builder.add(array, offset) for array in arrays]
                of_rate, of_gradient = builder.add(rates, in_row), builder.add(gradient, offset)
                w, *before, rate, g = (
                    _Vector(builder, products.load(builder, address, PART))
                    for address in (*addresses, of_rate, of_gradient)
                )
                new = formula(w, g, *before, rate, numbers, _Vector.sqrt)
                for address, value in zip(addresses, new if before else (new,), strict=True):
                    products.store(builder, value.value, address)
                    _fetch(builder, builder.add(address, INT64(AHEAD)))

            groups = builder.sdiv(length, INT64(ENTRIES))
            both = builder.select(builder.icmp_signed("<", groups, parts), groups, parts)
            with cgutils.for_range(builder, both) as loop:
                for k in range(ENTRIES):
                    sums.add(builder.add(builder.mul(loop.index, INT64(ENTRIES)), INT64(k)))
                update(loop.index)
            stride, entries = INT64(1), builder.mul(both, INT64(ENTRIES))
            with cgutils.for_range_slice(builder, both, parts, stride, INT64) as (part, _):
                update(part)
            with cgutils.for_range_slice(builder, entries, length, stride, INT64) as (entry, _):
                sums.add(entry)
            sums.write(target, INT64(ROW))
            return context.get_dummy_value()

        return types.void(*[types.intp] * 6, constants, *[types.intp] * 5), generate

    return step_and_gradient


def _fetch(builder, address):
    """Fetch the line of an address into the nearest cache; beyond an array it does nothing."""
    byte = ir.PointerType(ir.IntType(8))
    kind = ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
    builder.call(function, [builder.inttoptr(address, byte), INT32(0), INT32(3), INT32(1)])


def _by_tile(W, lists, gradient, states, rates, constants):
    counts, places, x, tile, G = lists
    pairs = gradient[:4].reshape(2, 2 * TILE)
    for t in range(W.shape[0]):
        products.take_tile(t, tile, G)
        products.gradient_of_bias(G.shape[1], tile, pairs[1])
        w, s = W[t].ctypes.data, states[t].ctypes.data
        rows = 1  # of the bias; later, of the pair before
        for pair in range(len(counts) + 1):  # beyond the last one there is no gradient
            this = min(pair, len(counts) - 1)
            length = counts[pair] if pair == this else 0
            step_and_gradient(
                rows * (ROW // PART_BYTES),
                w,
                s,
                4 * states.shape[2],
                pairs[(pair + 1) % 2].ctypes.data,
                rates[t].ctypes.data,
                constants,
                pairs[pair % 2].ctypes.data,
                tile.ctypes.data,
                places[this].ctypes.data,
                x[this].ctypes.data,
                length,
            )
            w, s, rows = w + rows * ROW, s + rows * ROW, 2


def _own(function: Any, name: str, **names: Any) -> Any:
    """Return a function of that name with other globals: numba caches no function that takes a function."""
    own: Any = FunctionType(function.__code__, {**globals(), **names}, name)
    own.__qualname__, own.__module__ = name, __name__
    return own


@cache
def _row_function(optimizer: str) -> Any:
    """Return `_by_row` with the formula of an optimizer, compiled."""
    record = OPTIMIZERS[optimizer]
    inline = njit(error_model="numpy")
    own_step = inline(
        _own((_no_state, _one_state, _two_states)[record.states], f"{optimizer}_step", formula=inline(record.formula))
    )
    return CACHE.compiled(_own(_by_row, f"{optimizer}_by_row", step=own_step))


@cache
def _tile_function(optimizer: str, are_nonzero: tuple[bool, ...]) -> Any:
    """Return `_by_tile` with the formula of an optimizer, compiled for constants of which these are not zero."""
    name = f"{optimizer}_by_tile_{''.join(map(str, map(int, are_nonzero)))}"
    return CACHE.compiled(_own(_by_tile, name, step_and_gradient=_step_and_gradient(optimizer, are_nonzero)))


def update(optimizer, W, gradient, slots, states, rates, constants):
    """As `plain.update`."""
    _row_function(optimizer)(W, gradient, slots, states, rates, constants)


def update_tiles(optimizer, products, W, lists, gradient, states, rates, constants):
    """As `plain.update_tiles`."""
    _tile_function(optimizer, tuple(map(bool, constants)))(W, lists, gradient, states, rates, constants)
