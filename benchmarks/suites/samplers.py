"""Throughput of the samplers at three shapes, on one thread and more, compared with other libraries.

`Distributions` are those on which all schemes are based: continuous integration gates on their `time_` on one thread
(see docs/explanation/performance.md). `Schemes` are all others. Neither needs torch; `Peers` and `Networks` are
skipped where their requirements are not installed, and in versions of initbench that do not have them.
"""

import importlib.util
import os
import time

import numpy as np

from initbench import initializers

from . import module

try:
    noise = module("random.noise", "noise")
    noise.load()  # once for all processes, which are forked
except ImportError:  # a version before it
    noise = None

SHAPES = {"768x10": (768, 10), "784x256": (784, 256), "4096x4096": (4096, 4096)}
THREADS = sorted({1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1})
DISTRIBUTIONS = ["uniform", "normal", "truncated_normal", "orthogonal"]
FITTING = sorted(
    name
    for name, entry in initializers.INITIALIZERS.items()
    if "single-layer" in entry.tags and entry.fit.test((2, 2)) and name not in DISTRIBUTIONS
)


class Distributions:
    """Time, nanoseconds a weight and peak memory to fill one array."""

    params = (DISTRIBUTIONS, list(SHAPES), THREADS)
    param_names = ("initializer", "shape", "threads")
    # Rounds alternate between commits, so that other load on the machine affects both. There are many, because a
    # process may be a third slower than the one before for its whole life; so their samples are few and short.
    rounds, repeat, sample_time, warmup_time = 8, (1, 12, 0.4), 0.01, 0.02
    timeout = 300

    def setup(self, name, shape, threads):
        if threads > 1 and SHAPES[shape][1] < 1000:
            raise NotImplementedError("small arrays take one thread")
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self.draw, self.shape = initializers.INITIALIZERS[name].function, SHAPES[shape]
        self.draw((2, 2), seed=0)  # the first call includes imports

    def time_fill(self, name, shape, threads):
        self.draw(self.shape, seed=0)

    def track_nanoseconds_a_weight(self, name, shape, threads):
        return _nanoseconds(lambda: self.draw(self.shape, seed=0), self.shape)

    def peakmem_fill(self, name, shape, threads):
        self.draw(self.shape, seed=0)

    track_nanoseconds_a_weight.unit = "ns/weight"


class Schemes(Distributions):
    """The same for every other initializer of single layers."""

    params = (FITTING, list(SHAPES), THREADS)
    rounds, repeat = 1, (1, 5, 2.0)


class BeforeLoading:
    """Time to fill 784 × 256 by NumPy alone, which draws the first arrays of every process."""

    params = (["uniform", "normal", "truncated_normal"],)
    param_names = ("initializer",)

    def setup(self, name):
        if noise is None:
            raise NotImplementedError("a version with one path")
        noise._code.loaded = noise.plain
        self.draw = initializers.INITIALIZERS[name].function

    def time_fill(self, name):
        self.draw((784, 256), seed=0)


class Networks:
    """Time to initialize 784-128-10 on MNIST, for the schemes that use data or gradients."""

    params = sorted(name for name, entry in initializers.INITIALIZERS.items() if "network" in entry.tags)
    param_names = ("initializer",)
    number, repeat, warmup_time = 1, (1, 3, 30.0), 0

    def setup(self, name):
        if name in ("metainit", "gradinit") and not importlib.util.find_spec("torch"):
            raise NotImplementedError("they need torch")
        data = module("data.datasets", "datasets").load_mnist()
        images, labels = data.train_images[5000:8840] / 255.0, data.train_labels[5000:8840].astype(int)
        batches = list(zip(np.split(images, 30), np.split(labels, 30), strict=True))
        self.model = initializers.Model(((784, 128), (128, 10)), batches, activation="tanh")
        self.scheme = initializers.INITIALIZERS[name].function

    def time_initialize(self, name):
        self.scheme(self.model, seed=0)


class Peers:
    """Other libraries on the same work, on one thread, and their time relative to initbench's."""

    params = (["numpy", "torch", "jax", "scipy"], DISTRIBUTIONS, list(SHAPES))
    param_names = ("library", "initializer", "shape")
    repeat, timeout = (1, 5, 2.0), 600

    def setup(self, library, name, shape):
        try:
            throughput = module("initializers.throughput", "throughput")
        except ImportError:
            raise NotImplementedError("this version does not compare itself") from None
        if not importlib.util.find_spec(library):
            raise NotImplementedError(f"{library} is not installed")
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
        calls = throughput.LIBRARIES[library]()
        if name not in calls:
            raise NotImplementedError(f"{library} has no {name}")
        self.call, self.shape = calls[name], SHAPES[shape]
        self.ours = initializers.INITIALIZERS[name].function

    def time_fill(self, library, name, shape):
        self.call(self.shape)

    def track_times_initbench(self, library, name, shape):
        ours, theirs = float("inf"), float("inf")
        for _ in range(3):
            ours = min(ours, _nanoseconds(lambda: self.ours(self.shape, seed=0), self.shape))
            theirs = min(theirs, _nanoseconds(lambda: self.call(self.shape), self.shape))
        return theirs / ours

    track_times_initbench.unit = "times"


def _nanoseconds(call, shape):
    """Return the least nanoseconds a weight of the calls in a fifth of a second, at least one."""
    call()
    least, end = float("inf"), time.perf_counter() + 0.2
    while least == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - start)
    return least / (shape[0] * shape[1]) * 1e9
