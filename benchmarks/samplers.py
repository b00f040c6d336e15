"""Throughput of the samplers, beside what the same distribution costs in NumPy, and the cost of other schemes.

Only the schemes that look at gradients need torch.
"""

import numpy as np

from initbench import datasets, initializers

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


class Networks:
    """Time to initialize 784-128-10 on MNIST, for the schemes that look at data or gradients."""

    params = sorted(name for name, entry in initializers.INITIALIZERS.items() if "network" in entry.tags)
    param_names = ("initializer",)
    number, repeat, warmup_time = 1, (1, 3, 30.0), 0

    def setup(self, name):
        data = datasets.load_mnist()
        images, labels = data.train_images[5000:8840] / 255.0, data.train_labels[5000:8840].astype(int)
        batches = list(zip(np.split(images, 30), np.split(labels, 30), strict=True))
        self.model = initializers.Model(((784, 128), (128, 10)), batches, activation="tanh")
        self.scheme = initializers.INITIALIZERS[name].function

    def time_initialize(self, name):
        self.scheme(self.model, seed=0)


class Peers:
    """NumPy's own generator, float32, for the same distributions."""

    params = (("uniform", "normal"), sorted(SHAPES))
    param_names = ("distribution", "shape")

    def setup(self, distribution, shape):
        generator = np.random.default_rng(0)
        self.draw = generator.random if distribution == "uniform" else generator.standard_normal

    def time_fill(self, distribution, shape):
        self.draw(SHAPES[shape], dtype=np.float32)
