"""How many threads a process may use, and what one that trains needs in its environment.

ENVIRONMENT is for the latter, before it imports NumPy or PyTorch: MKL then computes a row of a product in the same way
whatever the product's size (3 to 5% of the speed on some processors, nothing on others), and every library keeps to
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
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allowed() -> int:
    """The threads that a large array may take: OMP_NUM_THREADS, where it is set, or one for each core."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) > 0 else available_cores()


# An array of fewer weights takes one thread: making so many takes a millisecond, and starting a thread 0.1.
WORTH_SHARING = 2**20

Each = Callable[[Callable[[int], None], Iterable[int]], object]


@contextmanager
def shared(size: int) -> Iterator[Each]:
    """A function that calls another one for each of some numbers, on as many threads as an array of this size gets."""
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
_limit: Any = None  # what restores the threads of products, and how many have asked for one
_asked = 0


@contextmanager
def one_for_products() -> Iterator[None]:
    """One thread for each product of NumPy's: how many threads share one decides its bits.

    The limit is the whole process's: the first that asks for it sets it, and the last one lifts it.
    """
    global _limit, _asked  # noqa: PLW0603
    with _limiting:
        libraries = _libraries()
        if _limit is None and any(library.num_threads > 1 for library in libraries.lib_controllers):
            _limit = libraries.limit(limits=1)
        _asked += 1
    try:
        yield
    finally:
        with _limiting:
            _asked -= 1
            if not _asked and _limit is not None:
                _limit.restore_original_limits()
                _limit = None


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def blas() -> str:
    """The kernels that compute NumPy's and SciPy's products, `openblas SkylakeX`: their bits depend on these.

    Where the processor is misjudged, users have to choose them by `OPENBLAS_CORETYPE`, so they are recorded.
    """
    from threadpoolctl import ThreadpoolController

    libraries = ThreadpoolController().select(user_api="blas").lib_controllers  # those that are loaded by now
    kernels = {f"{library.internal_api} {getattr(library, 'architecture', '')}".strip() for library in libraries}
    size = os.environ.get("OPENBLAS_L2_SIZE")
    return ", ".join(sorted(kernels) + [f"L2 cache {size}"] * bool(size)) or "unknown"
