"""Import matplotlib whatever the user's settings of it are; this module itself imports nothing of it.

matplotlib reads its settings while it is imported: the variable MPLBACKEND, a file `matplotlibrc` in the working
directory and others, the user's style files. What it cannot read or does not allow ends the import. In a notebook
`!initbench run` gets such a variable: MPLBACKEND names a module that our environment may lack.
"""

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Whether the process is ours alone. The command line sets it; in a user's own process her settings are read as usual.
own_process = False

# The file that matplotlib looks for in the working directory before all others.
SETTINGS_FILE = "matplotlibrc"


def import_matplotlib() -> None:
    """Import matplotlib and pyplot: without any settings in a process of our own, and where they end the import."""
    if "matplotlib.pyplot" in sys.modules:
        return
    with quiet():
        before = set(sys.modules)
        if not own_process:
            try:
                importlib.import_module("matplotlib.pyplot")
                return
            except Exception:  # each kind of unreadable setting raises its own
                for name in set(sys.modules) - before:
                    if name.partition(".")[0] == "matplotlib":
                        del sys.modules[name]
        with _without_settings():
            importlib.import_module("matplotlib.pyplot")


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing of what matplotlib logs, such as lines of a settings file that it does not know, reaches the terminal."""
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def _without_settings() -> Iterator[None]:
    """matplotlib finds no settings file, no style file and no backend but agg."""
    ours = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
    theirs = {name: os.environ.get(name) for name in ours}
    exists = os.path.exists
    os.environ.update(ours)
    # The file in the working directory comes before MATPLOTLIBRC. To change the directory would change it for threads.
    os.path.exists = lambda path: path != SETTINGS_FILE and exists(path)
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
        folder = matplotlib.get_configdir
        matplotlib.get_configdir = lambda: os.devnull
        try:
            importlib.import_module("matplotlib.style")
        finally:
            matplotlib.get_configdir = folder
        yield
    finally:
        os.path.exists = exists
        for name, value in theirs.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
