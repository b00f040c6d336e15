"""How many threads a process may use, and what one that trains needs in its environment.

ENVIRONMENT is for the latter, before it imports NumPy or PyTorch: MKL then computes a row of a product in the same way
whatever the product's size (3 to 5% of the speed on some processors, nothing on others), and every library keeps to
one thread.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

ENVIRONMENT = {
    "MKL_CBWR": "AUTO,STRICT",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def available_cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allowed() -> int:
    """The threads that a large array may take: OMP_NUM_THREADS, where it is set, or one for each core."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) > 0 else available_cores()


@contextmanager
def one_for_products() -> Iterator[None]:
    """One thread for the BLAS and LAPACK that NumPy and SciPy have loaded: the bits of their results depend on it."""
    libraries = _libraries()
    if all(library.num_threads == 1 for library in libraries.lib_controllers):  # as in every process that trains
        yield
        return
    with libraries.limit(limits=1):
        yield


@cache
def _libraries() -> Any:
    from scipy import linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
