"""The speed of the samplers on this machine, compared with the installed libraries: `initbench bench`.

Each library runs in a process of its own, on one core (or on more), and the libraries take turns, so that other load
affects them equally. A call returns a new array of float32 (SciPy: float64) from an existing, compiled generator, in
memory that the process has used before; the minimum over some rounds is reported, as by `timeit`.

`python -m initbench.initializers.throughput LIBRARY CORES` is such a process: it reads one JSON object a line, and
writes one for each.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from initbench.errors import WorkerDied
from initbench.system import children
from initbench.system.threads import ENVIRONMENT

Shape = tuple[int, int]
Calls = dict[str, Callable[[Shape], Any]]

OURS = "initbench"
SHAPES: tuple[Shape, ...] = ((768, 10), (784, 256), (4096, 4096))
ROUNDS, SECONDS = 5, 0.05  # a round of a library takes at least this long, or one call


# ---------------------------------------------------------------------------------------------------------------------
# What each library calls for a scheme, in its cheapest form


def _initbench() -> Calls:
    from initbench import initializers
    from initbench.random import noise

    noise.load()
    return {
        scheme: lambda shape, fill=initializers.INITIALIZERS[scheme].function: fill(shape, seed=0)  # type: ignore[misc]
        for scheme in SCHEMES
    }


def _numpy() -> Calls:
    import numpy as np

    generator = np.random.default_rng(0)
    return {
        "uniform": lambda shape: generator.random(shape, np.float32),
        "normal": lambda shape: generator.standard_normal(shape, np.float32),
        "identity": lambda shape: np.eye(*shape, dtype=np.float32),
        "constant": lambda shape: np.full(shape, 0.5, np.float32),
    }


def _scipy() -> Calls:
    import numpy as np
    from scipy import stats

    generator = np.random.default_rng(0)
    return {
        "uniform": lambda shape: stats.uniform.rvs(size=shape, random_state=generator),
        "normal": lambda shape: stats.norm.rvs(size=shape, random_state=generator),
        "truncated_normal": lambda shape: stats.truncnorm.rvs(-2, 2, size=shape, random_state=generator),
    }


def _torch() -> Calls:
    import torch
    from torch.nn import init

    def filled(fill: Callable[..., Any], *arguments: float) -> Callable[[Shape], Any]:
        return lambda shape: fill(torch.empty(shape), *arguments)

    return {
        "uniform": filled(init.uniform_),
        "normal": filled(init.normal_),
        "truncated_normal": filled(init.trunc_normal_),
        "orthogonal": filled(init.orthogonal_),
        "glorot_uniform": filled(init.xavier_uniform_),
        "he_normal": filled(init.kaiming_normal_),
        "torch_linear_default": filled(init.kaiming_uniform_, 5**0.5),
        "torch_sparse": filled(init.sparse_, 0.1),
        "identity": filled(init.eye_),
        "constant": filled(init.constant_, 0.5),
    }


def _jax() -> Calls:
    import jax

    key, init = jax.random.key(0), jax.nn.initializers

    def compiled(make: Callable[..., Any]) -> Callable[[Shape], Any]:
        jitted = jax.jit(make, static_argnums=1)
        return lambda shape: jitted(key, shape).block_until_ready()

    return {
        "uniform": compiled(init.uniform()),
        "normal": compiled(init.normal()),
        "truncated_normal": compiled(init.truncated_normal()),
        "orthogonal": compiled(init.orthogonal()),
        "glorot_uniform": compiled(init.glorot_uniform()),
        "he_truncated_normal": compiled(init.he_normal()),
        "identity": compiled(lambda key, shape: jax.numpy.eye(*shape)),
        "constant": compiled(init.constant(0.5)),
    }


def _keras() -> Calls:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    from keras import initializers as init

    def called(of: type, **arguments: Any) -> Callable[[Shape], Any]:
        initializer = of(**arguments)
        return lambda shape: initializer(shape, dtype="float32")

    def drawn(of: type) -> Callable[[Shape], Any]:
        return called(of, seed=keras.random.SeedGenerator(0))

    return {
        "uniform": drawn(init.RandomUniform),
        "normal": drawn(init.RandomNormal),
        "truncated_normal": drawn(init.TruncatedNormal),
        "orthogonal": drawn(init.Orthogonal),
        "glorot_uniform": drawn(init.GlorotUniform),
        "he_truncated_normal": drawn(init.HeNormal),
        "identity": called(init.Identity),
        "constant": called(init.Constant, value=0.5),
    }


LIBRARIES = {OURS: _initbench, "numpy": _numpy, "torch": _torch, "jax": _jax, "keras": _keras, "scipy": _scipy}
SCHEMES = (
    "uniform",
    "normal",
    "truncated_normal",
    "orthogonal",
    "glorot_uniform",
    "he_normal",
    "he_truncated_normal",
    "torch_linear_default",
    "torch_sparse",
    "identity",
    "constant",
)


# ---------------------------------------------------------------------------------------------------------------------
# A process for each library


def serve(library: str, cores: int) -> None:
    """Measure what is requested until the input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the replies
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    calls = LIBRARIES[library]()
    _send(replies, sorted(calls))
    counts: dict[tuple[str, Shape], int] = {}
    for line in sys.stdin:
        scheme, shape = json.loads(line)
        _send(replies, _seconds(calls[scheme], tuple(shape), counts, (scheme, tuple(shape))))


def _seconds(call: Callable[[Shape], Any], shape: Shape, counts: dict[Any, int], key: Any) -> float:
    """Return the least seconds of a call; the first time, one call warms up and sets the number of calls."""
    if key not in counts:
        call(shape)
        start = time.perf_counter()
        call(shape)
        counts[key] = max(int(SECONDS / max(time.perf_counter() - start, 1e-9)), 1)
    least = float("inf")
    for _ in range(counts[key]):
        start = time.perf_counter()
        call(shape)
        least = min(least, time.perf_counter() - start)
    return least


def _send(replies: Any, value: Any) -> None:
    replies.write(json.dumps(value) + "\n")
    replies.flush()


class _Measuring:
    """A library's process; `schemes` are those that it has. WorkerDied, with its last line of output, if it ends."""

    def __init__(self, library: str, cores: int) -> None:
        thread_counts = {name: str(cores) for name in ENVIRONMENT if name.endswith("_NUM_THREADS")}
        eigen = "" if cores > 1 else " --xla_cpu_multi_thread_eigen=false"
        variables = {
            **thread_counts,
            "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + eigen,
            "JAX_PLATFORMS": "cpu",
            # By default glibc reuses the memory of large arrays or not, and clearing new pages takes as long as some
            # draws: with this the process keeps its memory.
            "MALLOC_MMAP_THRESHOLD_": str(2**30),
            "MALLOC_TRIM_THRESHOLD_": str(2**40),
        }
        self.library = library
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = children.start(
            "-m",
            "initbench.initializers.throughput",
            library,
            str(cores),
            variables=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.schemes: frozenset[str] = frozenset()

    def begin(self) -> None:
        """Wait until it has loaded its library."""
        self.schemes = frozenset(self._reply())

    def measure(self, scheme: str, shape: Shape) -> float:
        """Return the seconds of a call."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps([scheme, shape]) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended, which `_reply` reports
        return float(self._reply())

    def _reply(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        status = self.process.wait()
        self.errors.seek(0)
        printed = self.errors.read().decode(errors="replace").strip().splitlines()
        raise WorkerDied(printed[-1] if printed else f"its process ended with status {status}")

    def end(self) -> None:
        """Kill it and close its streams."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()


# ---------------------------------------------------------------------------------------------------------------------
# All of them, and the table


@dataclass(frozen=True)
class Measured:
    """Seconds of a call of each library that has a scheme, at one shape."""

    scheme: str
    shape: Shape
    seconds: dict[str, float]

    def nanoseconds(self, library: str) -> float:
        """Return nanoseconds for each weight."""
        return self.seconds[library] / (self.shape[0] * self.shape[1]) * 1e9

    @property
    def fastest(self) -> str:
        """The fastest other library; empty where no other has the scheme."""
        return min((name for name in self.seconds if name != OURS), key=lambda name: self.seconds[name], default="")

    def ratio(self, library: str) -> float:
        """Return a library's time as a multiple of initbench's."""
        return self.seconds[library] / self.seconds[OURS]


def installed() -> list[str]:
    """Return the installed libraries."""
    return [name for name in LIBRARIES if name == OURS or importlib.util.find_spec(name)]


def measure(
    shapes: Sequence[Shape] = SHAPES,
    cores: int = 1,
    schemes: Sequence[str] = SCHEMES,
    rounds: int = ROUNDS,
    on_failure: Callable[[str, str], None] = lambda library, why: None,
) -> Iterator[Measured]:
    """Measure every scheme at every shape; the libraries take turns.

    `on_failure` is called with a library that does not load, or fails, and why; the others continue. WorkerDied if it
    is initbench.
    """
    with ExitStack() as stack:
        processes = []
        for library in installed():
            processes.append(_Measuring(library, cores))
            stack.callback(processes[-1].end)

        def alive(process: _Measuring, work: Callable[[], Any]) -> Any:
            try:
                return work()
            except WorkerDied as error:
                if process.library == OURS:
                    raise
                processes.remove(process)
                on_failure(process.library, str(error))

        for process in tuple(processes):
            alive(process, process.begin)
        for scheme in schemes:
            for shape in shapes:
                seconds: dict[str, float] = {}
                for turn in range(rounds):
                    if turn == 2 and max(seconds.values()) > 1:  # what takes seconds varies little
                        break
                    for process in tuple(processes):
                        if scheme not in process.schemes:
                            continue
                        elapsed = alive(process, partial(process.measure, scheme, shape))
                        if elapsed is not None:
                            seconds[process.library] = min(elapsed, seconds.get(process.library, elapsed))
                yield Measured(scheme, shape, seconds)


def header(libraries: Sequence[str]) -> list[str]:
    """Return the first two lines of the table."""
    others = [name for name in libraries if name != OURS]
    columns = ["scheme", "shape", OURS, "weights per second", *others, "fastest other"]
    return [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]


def row(measured: Measured, libraries: Sequence[str]) -> str:
    """Return a line of the table: nanoseconds for each weight, and the others' times as multiples of initbench's."""
    ours = measured.nanoseconds(OURS)
    others = [
        f"{measured.nanoseconds(name):.3g} · {measured.ratio(name):.3g}×" if name in measured.seconds else ""
        for name in libraries
        if name != OURS
    ]
    cells = [
        measured.scheme,
        f"{measured.shape[0]} × {measured.shape[1]}",
        f"**{ours:.3g}**",
        f"{1 / ours:.2f} · 10⁹",
        *others,
        f"{measured.ratio(measured.fastest):.2f}×" if measured.fastest else "",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
