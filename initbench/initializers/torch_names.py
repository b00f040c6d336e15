"""PyTorch's names, `xavier_*` and `kaiming_*`, of the schemes of Glorot and He.

With the defaults of `torch.nn.init` they are `glorot_uniform`, `glorot_normal`, `he_uniform` and `he_normal`, with
other parameters `variance_scaling`; cells, tables and reports have these names.

Source: https://docs.pytorch.org/docs/stable/nn.init.html.
"""

from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from initbench.initializers._base import INITIALIZERS, Array, Shape, require
from initbench.initializers.scaling import Distribution, variance_scaling
from initbench.random.streams import Seed

FanMode = Literal["fan_in", "fan_out"]
Nonlinearity = Literal["leaky_relu", "relu", "linear", "sigmoid", "tanh", "selu"]

# The squares of what `torch.nn.init.calculate_gain` returns, of leaky_relu without a slope.
SCALES = {"leaky_relu": 2.0, "relu": 2.0, "linear": 1.0, "sigmoid": 1.0, "tanh": 25 / 9, "selu": 9 / 16}


def _xavier(distribution: Distribution, gain: float = 1.0) -> dict[str, Any]:
    require(gain > 0, "gain", gain, "above 0")
    return {"name": "variance_scaling", "scale": gain * gain, "mode": "fan_avg", "distribution": distribution}


def _kaiming(
    distribution: Distribution, a: float = 0.0, mode: FanMode = "fan_in", nonlinearity: Nonlinearity = "leaky_relu"
) -> dict[str, Any]:
    require(a == 0 or nonlinearity == "leaky_relu", "a", a, "0, unless nonlinearity = 'leaky_relu', whose slope it is")
    scale = SCALES[nonlinearity] / (1 + a * a)
    return {"name": "variance_scaling", "scale": scale, "mode": mode, "distribution": distribution}


def _drawn(shape: Shape, seed: Seed, dtype: DTypeLike, *, name: str, **arguments: Any) -> Array:
    return variance_scaling(shape, seed=seed, dtype=dtype, **arguments)


@INITIALIZERS.alias("glorot_uniform", partial(_xavier, "uniform"))
def xavier_uniform(shape: Shape, *, gain: float = 1.0, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """U(±gain · √(6 / (fan_in + fan_out))). PyTorch's name of `glorot_uniform`, whose gain is 1."""
    return _drawn(shape, seed, dtype, **_xavier("uniform", gain))


@INITIALIZERS.alias("glorot_normal", partial(_xavier, "normal"))
def xavier_normal(shape: Shape, *, gain: float = 1.0, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """N(0, gain² · 2 / (fan_in + fan_out)). PyTorch's name of `glorot_normal`, whose gain is 1."""
    return _drawn(shape, seed, dtype, **_xavier("normal", gain))


@INITIALIZERS.alias("he_uniform", partial(_kaiming, "uniform"))
def kaiming_uniform(
    shape: Shape,
    *,
    a: float = 0.0,
    mode: FanMode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
    seed: Seed = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """U(±gain · √(3 / n)), n the fan. PyTorch's name of `he_uniform`: gain √2, fan_in.

    The gain is that of PyTorch's `calculate_gain`: √(2 / (1 + a²)) for leaky_relu, √2 for relu, 1 for linear and
    sigmoid, 5/3 for tanh, 3/4 for selu. It does not depend on the network's activation; for that, use
    `activation_scaling`.
    """
    return _drawn(shape, seed, dtype, **_kaiming("uniform", a, mode, nonlinearity))


@INITIALIZERS.alias("he_normal", partial(_kaiming, "normal"))
def kaiming_normal(
    shape: Shape,
    *,
    a: float = 0.0,
    mode: FanMode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
    seed: Seed = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """N(0, gain² / n), n the fan. PyTorch's name of `he_normal`: gain √2, fan_in. Gains: see `kaiming_uniform`."""
    return _drawn(shape, seed, dtype, **_kaiming("normal", a, mode, nonlinearity))
