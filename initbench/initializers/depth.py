"""Depth-aware schemes: the scale of a layer depends on the number of layers.

Both were published for networks with shortcuts. Most networks here have none, and where one has, its branches are not
seen: each hidden layer (all but the first and the last, in the order of execution) takes the role of a layer on a
residual branch.
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from initbench.initializers._base import (
    WEIGHTS,
    Array,
    Normal,
    Position,
    Shape,
    TruncatedNormal,
    Uniform,
    checked,
    draw,
    require,
    weight_scheme,
)
from initbench.initializers.scaling import variance_scaling_distribution
from initbench.random.streams import Seed


def hidden_layers(depth: int) -> int:
    """Return how many of `depth` layers are neither first nor last; at least 1, for divisions."""
    return max(depth - 2, 1)


def _gpt2(shape: Shape, std: float, position: Position, depth: int) -> Normal:
    checked(shape, WEIGHTS)
    require(std >= 0, "std", std, "0 or more")
    return Normal(0.0, std * (1 / math.sqrt(hidden_layers(depth)) if position == "hidden" else 1.0))


@weight_scheme(distribution=_gpt2)
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
    return draw(gpt2, shape, seed, dtype, std=std, position=position, depth=depth)


def _fixup(
    shape: Shape, layers_per_branch: int, position: Position, depth: int
) -> Uniform | Normal | TruncatedNormal | None:
    checked(shape, WEIGHTS)
    m = layers_per_branch
    require(m >= 2, "layers_per_branch", m, "from 2 up")
    if position == "last":
        return None
    branches = -(-hidden_layers(depth) // m) if position == "hidden" else 1
    return variance_scaling_distribution(shape, 2.0 * branches ** (-2 / (2 * m - 2)), distribution="normal")


@weight_scheme(distribution=_fixup)
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
    which without a shortcut would pass no signal, are left out. The published code takes He's variance by fan_out,
    2 / fan_out; here as in the paper it is his standard one, 2 / fan_in.

    Source: Zhang, Dauphin & Ma 2019 (ICLR), "Fixup Initialization: Residual Learning Without Normalization", section 3.

    When to use it: to see what a start at zero output does, and what its scale does to a plain stack.
    """
    arguments = {"layers_per_branch": layers_per_branch, "position": position, "depth": depth}
    return draw(fixup, shape, seed, dtype, **arguments)
