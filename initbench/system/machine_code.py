"""Machine code by numba, cached on disk in a folder that only the user can open. Importing this module loads numba."""

# mypy: allow-untyped-defs, allow-untyped-decorators

import hashlib
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from initbench.system import compiled
from initbench.system.cache import cache_folder, private

# numba reads this file of the working directory, which may be untrusted, at its import and at each compilation.
CONFIGURATION = ".numba_config.yaml"


def _numba() -> Any:
    """Return numba, without configuration from the working directory; ImportError if that is impossible.

    A program that has imported numba already keeps its configuration: `Cache` sets, for each function, all that
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

_Files: Any = numba.core.caching.IndexDataCacheFile


def warn(folder: object, why: str) -> None:
    """Say, once, that compiled code is not kept on disk."""
    compiled.note(
        f"compiled code cannot be kept in {folder} ({why}), so each process compiles it again, for some seconds; "
        "make it a folder that only you can write to and whose disk is not full, or set XDG_CACHE_HOME to another one"
    )


class _Checked(_Files):  # type: ignore[misc]
    """numba's cache of a function, with a checksum appended: damaged machine code would crash, or compute other bits.

    The file is a pickle. Unpickling stops at the pickle's end mark, so numba itself never reads the appended checksum.
    Where a file is damaged, the function is compiled again, and its files are replaced; on a full disk they are not.
    """

    def load(self, key):
        try:
            return super().load(key)
        except Exception:  # such as a damaged pickle, which can raise anything
            return None

    def save(self, key, data):
        try:
            super().save(key, data)
        except OSError as error:
            warn(self._cache_path, error.strerror or str(error))

    def _load_index(self):
        try:
            return super()._load_index()
        except Exception:
            return {}

    def _dump(self, obj):
        content = super()._dump(obj)
        return content + hashlib.sha256(content).digest()

    def _load_data(self, name):
        content = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(content[:-32]).digest() != content[-32:]:
            raise ValueError(f"{name} is damaged")
        return super()._load_data(name)


class Cache:
    """The cache of the compiled functions of some modules.

    Attributes
    ----------
    name
        The folder's name: a digest of all that the code depends on. numba recompiles when the file of a function has
        changed, but not when that of a function that it calls has.
    folder
        The folder, or None if no folder is private to this user: then each process compiles for itself.
    """

    def __init__(self, kind: str, modules: Sequence[ModuleType]) -> None:
        digest = hashlib.sha256("\n".join((numba.__version__, np.__version__, platform.python_version())).encode())
        for module in modules:
            digest.update(Path(str(module.__file__)).read_bytes())
        self.name = f"{kind}-{digest.hexdigest()[:16]}"
        self.folder: Path | None = None
        folder = None
        try:
            folder = cache_folder() / self.name
            self.folder = private(folder)
        except OSError as error:
            warn(folder or error.filename, error.strerror or str(error))

    def compiled(self, function: Any) -> Any:
        """Return the function, compiled at its first call and cached on disk, or in memory where there is no folder."""
        if self.folder:
            config: Any = numba.config
            user_folder = config.CACHE_DIR
            config.CACHE_DIR = str(self.folder)
            try:
                cached = njit(nogil=True, error_model="numpy", cache=True)(function)
            except RuntimeError:
                cached = None
            finally:
                config.CACHE_DIR = user_folder
            # Where numba cannot write, it uses a folder beside the source, or another one.
            if cached and Path(cached.stats.cache_path).is_relative_to(self.folder):
                cached._cache._cache_file.__class__ = _Checked
                return cached
            warn(self.folder, "it cannot be written to")
        return njit(nogil=True, error_model="numpy")(function)
