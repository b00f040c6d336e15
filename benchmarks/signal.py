"""How long the signal before training takes, compared with the bare products of one forward and one backward pass.

`python -m benchmarks.signal [ROUNDS]` measures both in turn, in one process and on one thread: the signal of twelve
initializers, each of a tanh perceptron with 100 layers of width 512 on 256 images of MNIST; and for as many layers z =
aW, G Wᵀ and aᵀG in float32. It prints the median over three rounds for each initializer, the part that the weights
take, and the ratio of the sums.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable

from initbench.system.threads import ENVIRONMENT

os.environ.update(ENVIRONMENT)  # as in a worker; before NumPy and PyTorch are imported, which read it once

import torch

from initbench.data import datasets
from initbench.spec.cell import Cell
from initbench.spec.signal import IMAGES
from initbench.training.data import Data
from initbench.training.parameters import StreamedParameters
from initbench.training.process import prepare_process
from initbench.training.signal import record

DEPTH, WIDTH = 100, 512

INITIALIZERS = (
    "he_normal",
    "he_uniform",
    "glorot_normal",
    "glorot_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal(std=0.05)",
    "normal(std=1.0)",
    "truncated_normal(std=1.0)",
    "uniform(low=-0.05, high=0.05)",
    "orthogonal",
    "zeros",
)


def main(rounds: int = 3) -> None:
    """Print the table."""
    prepare_process()
    data = Data(datasets.load_mnist())
    cells = [Cell(initializer=name, activation="tanh", hidden="-".join([str(WIDTH)] * DEPTH)) for name in INITIALIZERS]
    layers = cells[0].layers(data.pixels, data.classes)
    seconds: dict[str, list[float]] = {name: [] for name in ("products", *INITIALIZERS)}
    weights: dict[str, list[float]] = {name: [] for name in INITIALIZERS}
    record.initial([cells[0]._replace(hidden=f"{WIDTH}-{WIDTH}")], data)  # what is loaded and compiled once
    passes = Products(layers)
    passes()
    for _ in range(rounds):
        seconds["products"].append(_seconds(passes))
        for cell in cells:
            seconds[cell.initializer].append(_seconds(lambda cell=cell: record.initial([cell], data)))
            weights[cell.initializer].append(_seconds(lambda cell=cell: _all_weights(cell, layers)))
    products = statistics.median(seconds.pop("products"))
    print(f"products of one network: {products:.2f} s")
    total = 0.0
    for name, times in seconds.items():
        whole, part = statistics.median(times), statistics.median(weights[name])
        total += whole
        print(f"{name:32}{whole:6.2f} s, weights {part:5.2f} s, {whole / products:4.1f} times")
    print(f"all: {total:.1f} s, products {len(seconds) * products:.1f} s: {total / len(seconds) / products:.2f} times")


class Products:
    """The products of one forward and one backward pass, with weights that are there already."""

    def __init__(self, layers: tuple[tuple[int, int], ...]) -> None:
        random = torch.Generator().manual_seed(0)
        self._weights = [torch.randn(*shape, generator=random) / shape[0] ** 0.5 for shape in layers]
        self._inputs = [torch.randn(IMAGES, shape[0], generator=random) for shape in layers]
        self._gradient = torch.randn(IMAGES, layers[-1][1], generator=random)

    def __call__(self) -> None:
        """Compute them, layer by layer."""
        for a, W in zip(self._inputs, self._weights, strict=True):
            a @ W
        G = self._gradient
        for a, W in zip(reversed(self._inputs), reversed(self._weights), strict=True):
            a.T @ G
            G = G @ W.T


def _all_weights(cell: Cell, layers: tuple[tuple[int, int], ...]) -> None:
    parameters = StreamedParameters(cell, layers)
    for layer in range(len(layers)):
        parameters(layer)


def _seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
