"""The noise as machine code, by numba: the formulas over one tile after another, a vector at a time.

The plain form is `plain.py`, and both return the same bits. Measured gain: an array is written once and intermediate
values stay in the first cache, where NumPy writes and reads each operation's result; on one thread 0.6 ns for a
uniform weight against 12, and 1.2 for a normal one against 20 (AMD EPYC, AVX-512).
"""

# mypy: allow-untyped-defs, allow-untyped-decorators

import sys

import numpy as np

from initbench.random.noise import formulas
from initbench.random.noise.formulas import BLOCKS, ONE, TILE
from initbench.system import machine_code
from initbench.system.machine_code import njit

CACHE = machine_code.Cache("noise", (machine_code, formulas, sys.modules[__name__]))

# The rounds have to stand in the loop for LLVM to make vectors of it: 0.43 ns a word, and 3.5 without `inline`.
_philox = njit(inline="always")(formulas.philox)
_centred = njit(formulas.centred)
_spread = njit(formulas.spread)
_exponent = njit(formulas.exponent)
_mantissa = njit(formulas.mantissa)
_quantile = njit(error_model="numpy")(formulas.normal_quantile)


@CACHE.compiled
def _tile_of_words(tile, k0, k1, c2, c3, out):
    k0, k1, c2, c3 = np.uint64(k0), np.uint64(k1), np.uint64(c2), np.uint64(c3)
    for i in range(BLOCKS):
        w0, w1, w2, w3 = _philox(np.uint64(tile * BLOCKS + i), c2, c3, k0, k1)
        out[i] = w0
        out[BLOCKS + i] = w1
        out[2 * BLOCKS + i] = w2
        out[3 * BLOCKS + i] = w3


@CACHE.compiled
def _words(tile, k0, k1, c2, c3, out):
    tile_words = np.empty(TILE, np.uint32)
    for start in range(0, out.size, TILE):
        _tile_of_words(tile + start // TILE, k0, k1, c2, c3, tile_words)
        part = out[start : start + TILE]
        for i in range(part.size):
            part[i] = tile_words[i]


@CACHE.compiled
def _uniform(tile, k0, k1, c2, c3, middle, half, low, high, out):
    middle, half, low, high = np.float32(middle), np.float32(half), np.float32(low), np.float32(high)
    tile_words = np.empty(TILE, np.uint32)
    signed = tile_words.view(np.int32)
    for start in range(0, out.size, TILE):
        _tile_of_words(tile + start // TILE, k0, k1, c2, c3, tile_words)
        part = out[start : start + TILE]
        for i in range(part.size):
            part[i] = min(max(middle + half * _centred(signed[i]), low), high)


@CACHE.compiled
def _normal(tile, k0, k1, c2, c3, mean, std, out):
    mean, std = np.float32(mean), np.float32(std)
    tile_words, y = np.empty(TILE, np.uint32), np.empty(TILE, np.float32)
    signed, bits = tile_words.view(np.int32), y.view(np.int32)
    for start in range(0, out.size, TILE):
        _tile_of_words(tile + start // TILE, k0, k1, c2, c3, tile_words)
        part = out[start : start + TILE]
        for i in range(TILE):
            y[i] = _spread(signed[i])
        for i in range(part.size):
            e = _exponent(bits[i])
            bits[i] = _mantissa(bits[i], e)
            part[i] = mean + std * _quantile(_centred(signed[i]), y[i], e)


@CACHE.compiled
def _truncated_normal(tile, k0, k1, c2, c3, mean, std, middle, half, lower, upper, out):
    mean, std, lower, upper = np.float32(mean), np.float32(std), np.float32(lower), np.float32(upper)
    middle, half = np.float32(middle), np.float32(half)
    tile_words, y, v = np.empty(TILE, np.uint32), np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    signed, bits = tile_words.view(np.int32), y.view(np.int32)
    for start in range(0, out.size, TILE):
        _tile_of_words(tile + start // TILE, k0, k1, c2, c3, tile_words)
        part = out[start : start + TILE]
        for i in range(TILE):
            v[i] = middle + half * _centred(signed[i])
            y[i] = (ONE - v[i]) * (ONE + v[i])
        for i in range(part.size):
            e = _exponent(bits[i])
            bits[i] = _mantissa(bits[i], e)
            part[i] = mean + std * min(max(_quantile(v[i], y[i], e), lower), upper)


def words(tile, key, out):
    """As `plain.words`."""
    _words(tile, *key, out)


def uniform(tile, key, middle, half, low, high, out):
    """As `plain.uniform`."""
    _uniform(tile, *key, middle, half, low, high, out)


def normal(tile, key, mean, std, out):
    """As `plain.normal`."""
    _normal(tile, *key, mean, std, out)


def truncated_normal(tile, key, mean, std, middle, half, lower, upper, out):
    """As `plain.truncated_normal`."""
    _truncated_normal(tile, *key, mean, std, middle, half, lower, upper, out)
