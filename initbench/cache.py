"""Where things are kept that may be removed at any time: speeds of this machine, compiled code."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`initbench` below the user's folder for caches; it need not exist."""
    home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(home) / "initbench"
