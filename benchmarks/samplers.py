"""Throughput of the samplers, beside what the same distribution costs in NumPy. Needs no torch."""

import numpy as np

from initbench import initializers

SHAPES = {"768x10": (768, 10), "784x256": (784, 256)}


class Samplers:
    """Time to fill one array."""

    params = (
        sorted(
            name
            for name, entry in initializers.INITIALIZERS.items()
            if "single-layer" in entry.tags and entry.fit.test((2, 2))
        ),
        sorted(SHAPES),
    )
    param_names = ("initializer", "shape")

    def setup(self, name, shape):
        self.draw = initializers.INITIALIZERS[name].function
        self.draw((2, 2), seed=0)  # the first call imports what it needs

    def time_fill(self, name, shape):
        self.draw(SHAPES[shape], seed=0)


class Peers:
    """NumPy's own generator, float32, for the same distributions."""

    params = (("uniform", "normal"), sorted(SHAPES))
    param_names = ("distribution", "shape")

    def setup(self, distribution, shape):
        generator = np.random.default_rng(0)
        self.draw = generator.random if distribution == "uniform" else generator.standard_normal

    def time_fill(self, distribution, shape):
        self.draw(SHAPES[shape], dtype=np.float32)
