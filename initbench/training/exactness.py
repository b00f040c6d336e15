"""Which kinds of stacks were checked on this machine: that their cells' bits do not depend on the stack.

The check takes as long as several steps, in which an experiment of a few cells has trained. So it is done once for a
kind of stack, a processor, and the versions that compute, which the user's cache records.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from initbench.spec.cell import TRAINING_VERSION
from initbench.system import files
from initbench.system.cache import cache_folder

# The kinds that are remembered, the newest: enough for any person, and no file that grows.
MAX_RECORDS = 1000

# The variables by which users and libraries select code for a processor, or its number of threads.
SELECTING = ("ATEN", "DNNL", "KMP", "MKL", "NPY", "NUMBA", "OMP", "ONEDNN", "OPENBLAS", "TORCH")


def kind(shape: object, environment: Mapping[str, str]) -> str:
    """Return a digest of all that the bits of a stack of this shape can depend on: what computes, and where."""
    try:
        numba = version("numba")
    except PackageNotFoundError:
        numba = ""
    variables = sorted((name, value) for name, value in os.environ.items() if name.startswith(SELECTING))
    content = [TRAINING_VERSION, shape, dict(environment), numba, variables]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def holds(kind: str | None, check: Callable[[], bool]) -> bool:
    """Return whether `check` returns true, or did so before for this kind; None is always checked."""
    if kind is not None and kind in _records():
        return True
    is_exact = check()
    if is_exact and kind is not None:
        with contextlib.suppress(OSError):  # without a cache it is checked again
            records = [*(other for other in _records() if other != kind), kind][-MAX_RECORDS:]
            files.write_file(cache_folder() / "exact.json", json.dumps(records, indent=1).encode(), synced=False)
    return is_exact


def _records() -> list[Any]:
    """Return the recorded kinds, the newest last; none if the file is not one that `holds` writes."""
    with contextlib.suppress(OSError, ValueError):
        records = files.read_json(cache_folder() / "exact.json", MAX_RECORDS * 100)
        if isinstance(records, list) and all(isinstance(record, str) for record in records):
            return records
    return []
