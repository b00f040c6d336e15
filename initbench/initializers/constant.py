"""Constant schemes: every weight the same."""

import numpy as np
from numpy.typing import DTypeLike

from initbench.initializers._base import Array, Shape, checked, floating, weight_and_bias_scheme
from initbench.random.streams import Seed


@weight_and_bias_scheme()
def zeros(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """All zeros: W = 0.

    When to use it: for biases, and for a network without hidden layers. With hidden layers all units of a layer stay
    equal and hidden weights get no gradient.

    >>> zeros((2, 2)).tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """
    return np.zeros(checked(shape), floating(dtype))


@weight_and_bias_scheme()
def ones(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """All ones: W = 1.

    When to use it: for biases (the article's); as weights it is a baseline that cannot break the symmetry of units.
    """
    return constant(shape, value=1.0, dtype=dtype)


@weight_and_bias_scheme()
def constant(shape: Shape, *, value: float = 0.0, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Every weight equal to a constant: W = value (default 0).

    When to use it: for biases, for example a small positive one that keeps ReLU units active at the start.
    """
    W = np.empty(checked(shape), floating(dtype))
    W.fill(value)
    return W
