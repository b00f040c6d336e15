"""Code in two forms with the same bits, NumPy and machine code: which of them a process uses, and why not the other."""

import os
import threading
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

# Warnings about compiled code, each once in a process: why it is slow, and what helps.
notes: list[str] = []
WITHOUT_NUMBA = "Where that cannot be helped, NUMBA_DISABLE_JIT=1 takes NumPy from the beginning"
_noting = threading.Lock()


def note(line: str) -> None:
    """Warn, once in this process for each line."""
    with _noting:
        if line in notes:
            return
        notes.append(line)
    warnings.warn(line, stacklevel=2)


def available() -> bool:
    """Return whether numba is installed and not switched off; importing it would take half a second."""
    try:
        installed = find_spec("numba") is not None
    except ValueError:  # a module that was put in its place
        installed = False
    return installed and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


class CompiledCode:
    """Functions in a plain module, and the same ones in a module that numba compiles.

    The plain module serves until it has computed `worth` numbers, about the number that NumPy computes while numba
    loads (the ski-rental rule: at worst twice the cheapest). Where numba is missing, or fails, it serves on.

    Attributes
    ----------
    loaded
        The module that serves from now on, or None until that is decided.
    """

    def __init__(self, plain: ModuleType, compiled: str, worth: int, task: str) -> None:
        self._plain, self._compiled, self._worth, self._task = plain, compiled, worth, task
        self._done = 0
        self.loaded: Any = None

    def load(self) -> Any:
        """Load and return the compiled module; where numba cannot be used, the plain one."""
        if self.loaded is None:
            try:
                self.loaded = import_module(self._compiled)
            except ModuleNotFoundError:  # numba is not installed, or switched off
                self.loaded = self._plain
            except Exception as error:  # such as an unsupported NumPy or Python, or a missing library
                self._give_up(error)
        return self.loaded

    def module(self, size: int) -> Any:
        """Return the module that computes the next `size` numbers."""
        if self.loaded is not None:
            return self.loaded
        self._done += size
        return self.load() if self._done >= self._worth else self._plain

    def run(self, size: int, work: Callable[[Any], None]) -> None:
        """Call `work` with the module that computes these `size` numbers; if compiled code fails, with the plain one.

        It fails while it is compiled or loaded, before it has written anything that `work` reads.
        """
        module = self.module(size)
        try:
            work(module)
        except MemoryError:
            raise
        except Exception as error:  # such as a processor that LLVM does not support
            if module is self._plain:
                raise
            self._give_up(error)
            work(self._plain)

    def _give_up(self, error: Exception) -> None:
        """Use the plain module from now on."""
        self.loaded = self._plain
        why = " ".join(str(error).split())[:200]
        note(
            f"NumPy {self._task}, with the same bits but slower, since the compiled code failed "
            f"({type(error).__name__}{': ' if why else ''}{why}). {WITHOUT_NUMBA}"
        )
