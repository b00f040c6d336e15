"""The noise as machine code, by numba: the formulas over one tile after another, a vector at a time.

The plain form is `plain.py`, and both return the same bits. Measured gain: an array is written once and intermediate
values stay in the first cache, where NumPy writes and reads each operation's result; on one thread 0.6 ns for a
uniform weight against 12, and 1.2 for a normal one against 20 (AMD EPYC, AVX-512).
"""

# mypy: allow-untyped-defs, allow-untyped-decorators

import hashlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

from initbench.random import noise
from initbench.random.noise import formulas
from initbench.random.noise.formulas import BLOCKS, ONE, TILE
from initbench.system.cache import cache_folder, private

# numba reads this file of the working directory, which may be untrusted, at its import and at each compilation.
CONFIGURATION = ".numba_config.yaml"


def _numba() -> Any:
    """Return numba, without configuration from the working directory; ImportError if that is impossible.

    A program that has imported numba already keeps its configuration: `_compiled` sets, for each function, all that
    could make this module run untrusted code.
    """
    ours = "numba" not in sys.modules
    if ours and os.path.lexists(CONFIGURATION):
        raise ImportError(f"numba would read {CONFIGURATION} in the working directory; start elsewhere, or remove it")
    import numba

    config: Any = numba.config
    if ours:
        config._config_fname = os.devnull  # so that no file is read at a compilation either
        config.reload_config()
    if config.DISABLE_JIT:
        raise ModuleNotFoundError("numba is switched off by NUMBA_DISABLE_JIT")
    return numba


numba = _numba()
njit = numba.njit


def _name() -> str:
    """Return the name of the folder of compiled code: a digest of all that the code depends on.

    numba recompiles when the file of a function has changed, but not when that of a function that it calls has.
    """
    digest = hashlib.sha256("\n".join((numba.__version__, np.__version__, platform.python_version())).encode())
    for file in (formulas.__file__, __file__):
        digest.update(Path(file).read_bytes())
    return f"noise-{digest.hexdigest()[:16]}"


def _folder() -> Path | None:
    """Return the folder of the compiled code, or None if no folder is private to this user."""
    folder = None
    try:
        folder = cache_folder() / _name()
        return private(folder)
    except OSError as error:
        _unkept(folder or error.filename, error.strerror or str(error))
        return None


def _unkept(folder: object, why: str) -> None:
    noise.note(
        f"compiled code cannot be kept in {folder} ({why}), so each process compiles it again, for some seconds; "
        "make it a folder that only you can write to, or set XDG_CACHE_HOME to another one"
    )


FOLDER = _folder()


_Files: Any = numba.core.caching.IndexDataCacheFile


class _Checked(_Files):  # type: ignore[misc]
    """numba's cache of a function, with a checksum appended: damaged machine code would crash, or draw other weights.

    The file is a pickle. Unpickling stops at the pickle's end mark, so numba itself never reads the appended checksum.
    """

    def _dump(self, obj):
        content = super()._dump(obj)
        return content + hashlib.sha256(content).digest()

    def _load_data(self, name):
        content = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(content[:-32]).digest() != content[-32:]:
            raise ValueError(f"{name} is damaged")
        return super()._load_data(name)


def _compiled(function: Any) -> Any:
    """Return the function, compiled at its first call and cached on disk, or in memory where there is no folder."""
    if FOLDER:
        config: Any = numba.config
        user_folder = config.CACHE_DIR
        config.CACHE_DIR = str(FOLDER)
        try:
            cached = njit(nogil=True, error_model="numpy", cache=True)(function)
        except RuntimeError:
            cached = None
        finally:
            config.CACHE_DIR = user_folder
        # Where numba cannot write, it uses a folder beside the source, or another one.
        if cached and Path(cached.stats.cache_path).is_relative_to(FOLDER):
            cached._cache._cache_file.__class__ = _Checked
            return cached
        _unkept(FOLDER, "it cannot be written to")
    return njit(nogil=True, error_model="numpy")(function)


# The rounds have to stand in the loop for LLVM to make vectors of it: 0.43 ns a word, and 3.5 without `inline`.
_philox = njit(inline="always")(formulas.philox)
_centred = njit(formulas.centred)
_spread = njit(formulas.spread)
_exponent = njit(formulas.exponent)
_mantissa = njit(formulas.mantissa)
_quantile = njit(error_model="numpy")(formulas.normal_quantile)


@_compiled
def _tile_of_words(tile, k0, k1, c2, c3, out):
    k0, k1, c2, c3 = np.uint64(k0), np.uint64(k1), np.uint64(c2), np.uint64(c3)
    for i in range(BLOCKS):
        w0, w1, w2, w3 = _philox(np.uint64(tile * BLOCKS + i), c2, c3, k0, k1)
        out[i] = w0
        out[BLOCKS + i] = w1
        out[2 * BLOCKS + i] = w2
        out[3 * BLOCKS + i] = w3


@_compiled
def _words(tile, k0, k1, c2, c3, out):
    tile_words = np.empty(TILE, np.uint32)
    for start in range(0, out.size, TILE):
        _tile_of_words(tile + start // TILE, k0, k1, c2, c3, tile_words)
        part = out[start : start + TILE]
        for i in range(part.size):
            part[i] = tile_words[i]


@_compiled
def _uniform(tile, k0, k1, c2, c3, middle, half, low, high, out):
    middle, half, low, high = np.float32(middle), np.float32(half), np.float32(low), np.float32(high)
    tile_words = np.empty(TILE, np.uint32)
    signed = tile_words.view(np.int32)
    for start in range(0, out.size, TILE):
        _tile_of_words(tile + start // TILE, k0, k1, c2, c3, tile_words)
        part = out[start : start + TILE]
        for i in range(part.size):
            part[i] = min(max(middle + half * _centred(signed[i]), low), high)


@_compiled
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


@_compiled
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
