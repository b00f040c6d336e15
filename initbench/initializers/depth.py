"""Depth-aware schemes: the scale of a layer follows from how many there are.

Both were made for networks with shortcuts. Here there are none, and each hidden layer (each but the first and the
last) stands for a layer on a residual branch.
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from initbench.initializers._base import WEIGHTS, Array, Position, Shape, checked, draw_normal, require, weight_scheme
from initbench.initializers.constant import zeros
from initbench.initializers.scaling import he_normal, variance_scaling
from initbench.random.streams import Seed


def hidden_layers(depth: int) -> int:
    """How many of `depth` layers are neither the first nor the last; at least 1, so that one can divide by it."""
    return max(depth - 2, 1)


@weight_scheme
def gpt2(
    shape: Shape,
    *,
    std: float = 0.02,
    position: Position = "hidden",
    depth: int = 3,
    seed: Seed = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """GPT-2: N(0, std²), and of hidden layers N(0, std² / N), with N the number of hidden layers.

    std 0 or more, default 0.02. In GPT-2 N is the number of residual layers, two for each block, and the smaller scale
    is that of the layers that write to the residual stream; here that of the hidden ones. (OpenAI's published code has
    0.02 alone.)

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3.

    When to use it: to see what a scale made for wide transformers (768 and more) does to a perceptron: it is small.
    """
    require(std >= 0, "std", std, "0 or more")
    shrunk = 1 / math.sqrt(hidden_layers(depth)) if position == "hidden" else 1.0
    return draw_normal(checked(shape, WEIGHTS), 0.0, std * shrunk, seed, dtype)


@weight_scheme
def fixup(
    shape: Shape,
    *,
    layers_per_branch: int = 2,
    position: Position = "hidden",
    depth: int = 3,
    seed: Seed = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """Fixup's scales: He's normal, of hidden layers times L^(−1 / (2m − 2)), and zeros in the last layer.

    m is `layers_per_branch`, from 2 up (default 2), and L the number of branches of m layers that the hidden layers
    would make, rounded up. Fixup's shortcuts, scalar biases and multipliers, and the zeros at the end of each branch,
    which without a shortcut would let nothing pass, are not here. The published code takes He's variance by fan_out,
    2 / fan_out; here as in the paper it is his standard one, 2 / fan_in.

    Source: Zhang, Dauphin & Ma 2019 (ICLR), "Fixup Initialization: Residual Learning Without Normalization", section 3.

    When to use it: to see what a start at zero output does, and what its scale does to a plain stack.
    """
    m = layers_per_branch
    require(m >= 2, "layers_per_branch", m, "from 2 up")
    if position == "last":
        return zeros(checked(shape, WEIGHTS), dtype=dtype)
    if position == "first":
        return he_normal(shape, seed=seed, dtype=dtype)
    branches = -(-hidden_layers(depth) // m)
    scale = 2.0 * branches ** (-2 / (2 * m - 2))
    return variance_scaling(shape, scale=scale, distribution="normal", seed=seed, dtype=dtype)
