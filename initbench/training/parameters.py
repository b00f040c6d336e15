"""The weights and biases that a cell starts from, made on the CPU by NumPy, the same for every trainer."""

from typing import Any

from numpy.typing import NDArray

from initbench import streams
from initbench.cells import Cell
from initbench.initializers import INITIALIZERS

Array = NDArray[Any]


def initial_parameters(
    cell: Cell, layers: tuple[tuple[int, int], ...], dtype: str = "float32"
) -> list[tuple[Array, Array]]:
    """For each layer its weights `[fan_in, fan_out]` and its bias `[fan_out]`, from the streams of the cell's seed."""
    initializer = INITIALIZERS.resolve(cell.initializer)
    bias = INITIALIZERS.resolve(cell.bias_initializer, only="bias")
    made = []
    for layer, (fan_in, fan_out) in enumerate(layers):
        weights = INITIALIZERS[initializer.name].function(
            (fan_in, fan_out), **initializer.keywords, seed=streams.weights(cell.seed, layer), dtype=dtype
        )
        extra = {"fan_in": fan_in} if "fan_in" in INITIALIZERS[bias.name].supplied else {}
        biases = INITIALIZERS[bias.name].function(
            (fan_out,), **bias.keywords, **extra, seed=streams.biases(cell.seed, layer), dtype=dtype
        )
        made.append((weights, biases))
    return made
