"""How long the scheme takes to fill an array."""

from my_schemes import scaled_orthogonal

SHAPES = {"784x256": (784, 256), "256x10": (256, 10)}


class Sampler:
    """Time and peak memory of one call."""

    params = list(SHAPES)
    param_names = ("shape",)

    def setup(self, shape):
        self.shape = SHAPES[shape]
        scaled_orthogonal(self.shape, seed=0)  # the first call includes imports

    def time_fill(self, shape):
        scaled_orthogonal(self.shape, seed=0)

    def peakmem_fill(self, shape):
        scaled_orthogonal(self.shape, seed=0)
