"""The number of threads of a process, and the environment of processes that train.

ENVIRONMENT is set before NumPy or PyTorch is imported. MKL then computes a row of a matrix product in the same way
whatever the product's size (at 3 to 5% of the speed on some processors, at no cost on others), and every library uses
one thread.
"""

import collections
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allowed() -> int:
    """Return the number of threads for a large array: OMP_NUM_THREADS if it is set, else one for each core."""
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(threads) if threads.isdecimal() and int(threads) > 0 else available_cores()


# A smaller array takes one thread: drawing this many weights takes a millisecond, and starting a thread 0.1.
WORTH_SHARING = 2**20

Each = Callable[[Callable[[int], None], Iterable[int]], object]


@contextmanager
def shared(size: int) -> Iterator[Each]:
    """Yield a function that calls another one for each of some numbers, on the threads of an array of this size."""
    count = allowed() if size >= WORTH_SHARING else 1
    if count == 1:
        yield _in_turn
        return
    with ThreadPoolExecutor(count) as pool:
        yield lambda call, numbers: collections.deque(pool.map(call, numbers), maxlen=0)  # raises what a call raised


def _in_turn(call: Callable[[int], None], numbers: Iterable[int]) -> None:
    for number in numbers:
        call(number)


_limiting = threading.Lock()
_limit: Any = None  # restores the threads of matrix products
_users = 0  # of the limit


@contextmanager
def one_for_products() -> Iterator[None]:
    """Limit NumPy's matrix products to one thread each, because more threads change the rounding.

    The limit applies to the whole process: the first user sets it, and the last one removes it.
    """
    global _limit, _users  # noqa: PLW0603
    with _limiting:
        libraries = _libraries()
        if _limit is None and any(library.num_threads > 1 for library in libraries.lib_controllers):
            _limit = libraries.limit(limits=1)
        _users += 1
    try:
        yield
    finally:
        with _limiting:
            _users -= 1
            if not _users and _limit is not None:
                _limit.restore_original_limits()
                _limit = None


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def blas() -> str:
    """Return the kernels of NumPy's and SciPy's matrix products, such as `openblas SkylakeX`: they decide the rounding.

    They are recorded because users select them with `OPENBLAS_CORETYPE` if the library does not recognize the CPU.
    """
    from threadpoolctl import ThreadpoolController

    libraries = ThreadpoolController().select(user_api="blas").lib_controllers  # those loaded so far
    kernels = {f"{library.internal_api} {getattr(library, 'architecture', '')}".strip() for library in libraries}
    size = os.environ.get("OPENBLAS_L2_SIZE")
    return ", ".join(sorted(kernels) + [f"L2 cache {size}"] * bool(size)) or "unknown"
