"""How fast the samplers are on this machine, beside the libraries that are installed: `initbench bench`.

Each library is a process of its own, on one core (or on more of them), and all of them take turns, so that what else
the machine does hits them alike. A call makes a new array of float32 (SciPy: float64) from a generator that is there
and compiled already, in memory that the process has used before; what is reported is the least of some rounds, as for
`timeit`.

`python -m initbench.initializers.throughput LIBRARY CORES` is such a process: a JSON object a line comes in, and one
goes out.
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

HERE = "initbench"
SHAPES: tuple[Shape, ...] = ((768, 10), (784, 256), (4096, 4096))
ROUNDS, SECONDS = 5, 0.05  # each round of a library, at least so long, or one call


# ---------------------------------------------------------------------------------------------------------------------
# What each library does for a scheme of ours, in the form that is cheapest for it


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

    def filled(fill: Callable[..., Any], *given: float) -> Callable[[Shape], Any]:
        return lambda shape: fill(torch.empty(shape), *given)

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

    def made(of: type, **given: Any) -> Callable[[Shape], Any]:
        initializer = of(**given)
        return lambda shape: initializer(shape, dtype="float32")

    def drawn(of: type) -> Callable[[Shape], Any]:
        return made(of, seed=keras.random.SeedGenerator(0))

    return {
        "uniform": drawn(init.RandomUniform),
        "normal": drawn(init.RandomNormal),
        "truncated_normal": drawn(init.TruncatedNormal),
        "orthogonal": drawn(init.Orthogonal),
        "glorot_uniform": drawn(init.GlorotUniform),
        "he_truncated_normal": drawn(init.HeNormal),
        "identity": made(init.Identity),
        "constant": made(init.Constant, value=0.5),
    }


LIBRARIES = {HERE: _initbench, "numpy": _numpy, "torch": _torch, "jax": _jax, "keras": _keras, "scipy": _scipy}
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
    """Measure what is asked for until the input ends."""
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
    """The least of the seconds of some calls; the first time, after one that warms up and says how many there are."""
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
    """A library's process; `schemes` are those that it has. WorkerDied, with its last words, if it ends."""

    def __init__(self, library: str, cores: int) -> None:
        one = {name: str(cores) for name in ENVIRONMENT if name.endswith("_NUM_THREADS")}
        eigen = "" if cores > 1 else " --xla_cpu_multi_thread_eigen=false"
        variables = {
            **one,
            "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + eigen,
            "JAX_PLATFORMS": "cpu",
            # glibc else gives a large array new memory or old as it happens, and clearing new pages takes as long as
            # making some weights: so what a process has touched it keeps.
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
        """Seconds of a call."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps([scheme, shape]) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended, and says so where its reply would be
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
        """Nanoseconds for each weight."""
        return self.seconds[library] / (self.shape[0] * self.shape[1]) * 1e9

    @property
    def fastest(self) -> str:
        """The fastest other library; empty where no other has the scheme."""
        return min((name for name in self.seconds if name != HERE), key=lambda name: self.seconds[name], default="")

    def ratio(self, library: str) -> float:
        """How many times as long as initbench a library takes."""
        return self.seconds[library] / self.seconds[HERE]


def installed() -> list[str]:
    """The libraries that can be measured here."""
    return [name for name in LIBRARIES if name == HERE or importlib.util.find_spec(name)]


def measure(
    shapes: Sequence[Shape] = SHAPES,
    cores: int = 1,
    schemes: Sequence[str] = SCHEMES,
    rounds: int = ROUNDS,
    lost: Callable[[str, str], None] = lambda library, why: None,
) -> Iterator[Measured]:
    """Every scheme at every shape; the libraries take turns.

    `lost` is told of a library that does not load, or breaks, and why; the others go on. WorkerDied if it is initbench.
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
                if process.library == HERE:
                    raise
                processes.remove(process)
                lost(process.library, str(error))

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
                        taken = alive(process, partial(process.measure, scheme, shape))
                        if taken is not None:
                            seconds[process.library] = min(taken, seconds.get(process.library, taken))
                yield Measured(scheme, shape, seconds)


def header(libraries: Sequence[str]) -> list[str]:
    """The first two lines of the table."""
    others = [name for name in libraries if name != HERE]
    columns = ["scheme", "shape", HERE, "weights a second", *others, "to the fastest"]
    return [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]


def row(measured: Measured, libraries: Sequence[str]) -> str:
    """A line of the table: nanoseconds a weight, and how many times as long as initbench the others take."""
    ours = measured.nanoseconds(HERE)
    others = [
        f"{measured.nanoseconds(name):.3g} · {measured.ratio(name):.3g}×" if name in measured.seconds else ""
        for name in libraries
        if name != HERE
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
