"""Modules that a library imports and this program does not use: they are imported when they are used after all."""

import contextlib
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Deferred(ModuleType):
    """A module without its content; a name that it lacks is the real module's, which is then imported."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(load(self.__name__), name)


class _Before:
    """An import hook that imports a deferred module for real before another module, which needs it in this order."""

    def __init__(self, importer: str, name: str) -> None:
        self.importer, self.name = importer, name

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self.importer:
            with contextlib.suppress(ModuleNotFoundError):  # another version of the library has none
                load(self.name)


def defer(name: str, importer: str | None = None, **attributes: Any) -> None:
    """Put a module in the place of one that is not imported yet, with these attributes alone.

    The module is imported for real before `importer`, a module that cannot be imported without it.
    """
    if name not in sys.modules:
        if importer is not None:
            sys.meta_path.insert(0, _Before(importer, name))
        sys.modules[name] = _Deferred(name)
        vars(sys.modules[name]).update(attributes)
        package, _, last = name.rpartition(".")
        if package in sys.modules:  # as an import does
            setattr(sys.modules[package], last, sys.modules[name])


def load(name: str) -> ModuleType:
    """Import a module for real, if it is deferred, and return it."""
    if isinstance(sys.modules.get(name), _Deferred):
        del sys.modules[name]
    return import_module(name)


def load_all() -> None:
    """Import all deferred modules for real, for code that is not ours and may use them."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, _Deferred):
            with contextlib.suppress(ModuleNotFoundError):  # another version of the library has none
                load(name)
