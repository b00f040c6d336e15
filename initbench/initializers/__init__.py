"""The initializers: plain functions of a shape, a seed and their own parameters.

What all schemes share:

- **Shapes.** Weights are `[fan_in, fan_out]`, as in `x @ W + b`; of a convolution `[height, width, channels_in,
  channels_out]`, with any number of dimensions of the field, where both fans count the field. Biases are `[fan_out]`,
  for the schemes that fit them.
- **Seed.** An integer selects the stream of the first layer of a cell with that seed; a `numpy.random.SeedSequence`
  any other stream; None takes fresh entropy. Schemes that differ only in scale draw the same underlying noise at one
  seed.
- **Result.** A new array of `dtype` (default float32). Noise of float32 is computed in float32: a normal number
  has a relative error of at most 5 · 10⁻⁷, a truncated one an error of at most 10⁻⁶ standard deviations, or 3 · 10⁻⁶
  where the bounds are not ±2 (`initbench.random.noise`). Orthogonal matrices of float32 are computed in float32, too.
  All other dtypes, and every scheme that does not draw, are computed in float64 and rounded once.
- **Threads.** Arrays of more than a million weights use OMP_NUM_THREADS threads, by default one for each core; the bits
  do not depend on it.
- **Position.** Some schemes need more than a shape: `activation` (of the network, by its name), `position` (`"first"`,
  `"hidden"` or `"last"`), `depth` (the number of layers), and for a bias `fan_in`. Training supplies them, in the order
  in which a network executes its layers.
- **Networks.** Some schemes look at data (`lsuv`, `within_layer`, `pca`, `kmeans`, `autoinit`, `dks`, `tat`) or at
  gradients (`metainit`, `gradinit`): they take a network instead of a shape, of a perceptron a `Model`, and return the
  weights and the bias of each layer. `seed` is an integer there. `lsuv`, `within_layer`, `metainit` and `gradinit` fit
  any network, the others perceptrons.
- **Groups.** Each group of a grouped convolution is a convolution of its own: a scheme gets the shape of a group, and
  for each group a stream.
- **Aliases.** PyTorch's names `xavier_uniform`, `xavier_normal`, `kaiming_uniform` and `kaiming_normal` are accepted;
  tables have the names `glorot_uniform`, `glorot_normal`, `he_uniform` and `he_normal`.
- **Errors.** ValueError for invalid parameters (a negative standard deviation), for shapes with a zero or with too few
  dimensions, and for a dtype that is not a floating type.

>>> import initbench as ib
>>> ib.initializers.he_normal((784, 256), seed=0).std().round(4)
np.float32(0.0505)
"""

from initbench.initializers._base import INITIALIZERS
from initbench.initializers.constant import constant, ones, zeros
from initbench.initializers.data_driven import autoinit, kmeans, lsuv, pca, within_layer
from initbench.initializers.depth import fixup, gpt2
from initbench.initializers.gradient_driven import gradinit, metainit
from initbench.initializers.kernel_shaping import dks, tat
from initbench.initializers.model import Model
from initbench.initializers.moments import gain
from initbench.initializers.samplers import normal, truncated_normal, uniform
from initbench.initializers.scaling import (
    activation_scaling,
    glorot_normal,
    glorot_truncated_normal,
    glorot_uniform,
    he_normal,
    he_truncated_normal,
    he_uniform,
    keras_default,
    lecun_normal,
    lecun_truncated_normal,
    lecun_uniform,
    tf1_default,
    torch_linear_default,
    variance_scaling,
)
from initbench.initializers.structured import (
    delta_orthogonal,
    dirac,
    identity,
    idinit,
    orthogonal,
    sinusoidal,
    sparse,
    torch_sparse,
    zero_hadamard,
)
from initbench.initializers.theory import edge_of_chaos, fixed_point_tanh, kumar, mup, nguyen_widrow, random_walk
from initbench.initializers.torch_names import kaiming_normal, kaiming_uniform, xavier_normal, xavier_uniform

__all__ = [
    "INITIALIZERS",
    "Model",
    "activation_scaling",
    "autoinit",
    "constant",
    "delta_orthogonal",
    "dirac",
    "dks",
    "edge_of_chaos",
    "fixed_point_tanh",
    "fixup",
    "gain",
    "glorot_normal",
    "glorot_truncated_normal",
    "glorot_uniform",
    "gpt2",
    "gradinit",
    "he_normal",
    "he_truncated_normal",
    "he_uniform",
    "identity",
    "idinit",
    "kaiming_normal",
    "kaiming_uniform",
    "keras_default",
    "kmeans",
    "kumar",
    "lecun_normal",
    "lecun_truncated_normal",
    "lecun_uniform",
    "lsuv",
    "metainit",
    "mup",
    "nguyen_widrow",
    "normal",
    "ones",
    "orthogonal",
    "pca",
    "random_walk",
    "sinusoidal",
    "sparse",
    "tat",
    "tf1_default",
    "torch_linear_default",
    "torch_sparse",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "within_layer",
    "xavier_normal",
    "xavier_uniform",
    "zero_hadamard",
    "zeros",
]
