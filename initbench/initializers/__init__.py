"""The initializers: plain functions of a shape, a seed and their own parameters.

What all schemes share is said here once.

- **Shapes.** Weights are `[fan_in, fan_out]`, as in `x @ W + b`; of a convolution `[height, width, channels_in,
  channels_out]`, where both fans count the receptive field. Biases are `[fan_out]`, for the schemes that fit them.
- **Seed.** A whole number gives the weights that the first layer of a cell with that seed gets; a
  `numpy.random.SeedSequence` names any other stream; None takes fresh entropy. Schemes that differ only in scale
  draw the same underlying noise at one seed.
- **Result.** An array of `dtype` (default float32), computed in float64 and rounded once.
- **Errors.** ValueError for parameters that cannot be (a negative standard deviation) and for shapes with a zero or
  with too few dimensions.

>>> import initbench as ib
>>> ib.initializers.he_normal((784, 256), seed=0).std().round(4)
np.float32(0.0505)
"""

from initbench.initializers._base import INITIALIZERS
from initbench.initializers.constant import constant, ones, zeros
from initbench.initializers.samplers import normal, truncated_normal, uniform
from initbench.initializers.scaling import (
    glorot_normal,
    glorot_truncated_normal,
    glorot_uniform,
    he_normal,
    he_truncated_normal,
    he_uniform,
    lecun_normal,
    lecun_truncated_normal,
    lecun_uniform,
    torch_linear_default,
    variance_scaling,
)
from initbench.initializers.structured import orthogonal

__all__ = [
    "INITIALIZERS",
    "constant",
    "glorot_normal",
    "glorot_truncated_normal",
    "glorot_uniform",
    "he_normal",
    "he_truncated_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_truncated_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "torch_linear_default",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "zeros",
]
