"""Import matplotlib independently of the user's settings; importing this module does not import it.

matplotlib reads its settings during its import: the variable MPLBACKEND, a file `matplotlibrc` in the working directory
and others, the user's style files. A setting that it cannot read or does not allow raises. In a notebook
`!initbench run` inherits such a variable: MPLBACKEND names a module that our environment may lack.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Whether the process is ours alone: the command line sets it. In a user's process matplotlib reads its settings.
own_process = False

# The file that matplotlib looks for in the working directory before all others.
SETTINGS_FILE = "matplotlibrc"


def import_matplotlib() -> None:
    """Import matplotlib and pyplot; without settings in a process of our own, or where reading them raises."""
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
    """Keep matplotlib's log, such as unknown lines of a settings file, from the terminal."""
    import logging

    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


@contextmanager
def _without_settings() -> Iterator[None]:
    """Hide settings files, style files and every backend but agg from matplotlib."""
    replaced = {"MPLBACKEND": "agg", "MATPLOTLIBRC": os.devnull}
    original = {name: os.environ.get(name) for name in replaced}
    exists = os.path.exists
    os.environ.update(replaced)
    # The file in the working directory precedes MATPLOTLIBRC. A change of directory would affect other threads.
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
        for name, value in original.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
