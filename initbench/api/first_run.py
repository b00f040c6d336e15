"""Tell the first run on a machine apart from later ones: what it does once, and the user waits for."""

import contextlib
import os
import sys
from pathlib import Path

from initbench.system import compiled
from initbench.system.cache import cache_folder, home_folder

# The folders of compiled code, in this package's cache folder.
COMPILED = ("noise-*", "products-*", "updates-*")


def notice(little: bool, report: bool) -> str | None:
    """Return a line about what is done once on this machine, or None if it is done already.

    numba compiles code, but for a `little` training, for which NumPy is fast enough, and matplotlib lists the fonts for
    a `report`; both keep what they have made in the user's cache folder.
    """
    steps = []
    if not little and compiled.available() and not any(_has(_own_cache(), folders) for folders in COMPILED):
        steps.append("code is compiled")
    if report and not _has(_matplotlib_cache(), "fontlist-*"):
        steps.append("fonts are listed")
    return f"First run on this machine: {' and '.join(steps)}, once, for some seconds." if steps else None


def _has(folder: Path | None, pattern: str) -> bool:
    with contextlib.suppress(OSError):
        return folder is not None and any(folder.glob(pattern))
    return False


def _own_cache() -> Path | None:
    with contextlib.suppress(OSError):  # another user owns it
        return cache_folder()
    return None


def _matplotlib_cache() -> Path | None:
    """Return where matplotlib keeps its list of fonts: see `matplotlib.get_cachedir`."""
    if folder := os.environ.get("MPLCONFIGDIR"):
        return Path(folder)
    home = home_folder()
    if sys.platform.startswith(("linux", "freebsd")):
        folder = os.environ.get("XDG_CACHE_HOME")
        return Path(folder, "matplotlib") if folder else home and home / ".cache" / "matplotlib"
    return home and home / ".matplotlib"
