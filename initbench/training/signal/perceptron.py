"""The signal in a perceptron: one forward and one backward pass, layer by layer.

Only two layers' weights are needed at a time, so that `parameters` may compute them when they are requested.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initbench.functions import pytorch
from initbench.functions.losses import computed_output
from initbench.spec.cell import Cell
from initbench.spec.signal import JACOBIAN_IMAGES
from initbench.training.signal import statistics
from initbench.training.signal.statistics import Signal

Array = NDArray[Any]

# Returns the weights `[fan_in, fan_out]` and the bias `[fan_out]` of a layer, counted from 0.
LayerParameters = Callable[[int], tuple[Array, Array]]


class Images(NamedTuple):
    """The images that the signal is computed on, `[images, inputs]`, their labels, and the statistics of layer 0."""

    values: Array
    labels: Array
    signal: Signal


def images(values: Array, labels: Array, dtype: Any = np.float32) -> Images:
    """Return images and labels with the statistics of layer 0, which all cells that read them share."""
    values = np.ascontiguousarray(values, dtype)
    return Images(values, labels, {(0, name): value for name, value in _of_activations(values, values).items()})


def signal(
    cell: Cell, depth: int, parameters: LayerParameters, seen: Images, start: LayerParameters | None = None
) -> Signal:
    """Return the statistics of a cell's network with `depth` layers; with `start`, also how far its weights moved."""
    labels = torch.from_numpy(seen.labels)
    names = [cell.activation] * (depth - 1) + [computed_output(cell.loss, cell.output_activation)]
    values: Signal = dict(seen.signal)
    a = torch.from_numpy(seen.values)
    below: list[tuple[Tensor, Tensor | None]] = [(a, None)]  # what enters each layer, and the derivatives there
    with np.errstate(all="ignore"):
        for layer, name in enumerate(names, start=1):
            W, b = map(torch.from_numpy, parameters(layer - 1))
            z = torch.addmm(b, a, W)
            a, derivative = activated(name, z)
            values |= _named(layer, _forward(z, a, derivative, largest_derivative(name)))
            values |= _named(layer, of_weights(W.numpy(), start(layer - 1)[0] if start else None))
            below.append((a, derivative))
        values |= _backward(cell, depth, parameters, z, below[:-1], labels)
        values |= statistics.ratios(values, depth)
    return values


def _named(layer: int, values: dict[str, float]) -> Signal:
    return {(layer, name): value for name, value in values.items()}


def _of_activations(representations: Array, activations: Array) -> dict[str, float]:
    return {
        **statistics.moments("activation", activations),
        "correlation": statistics.correlation(representations),
        "effective_rank": statistics.effective_rank(activations),
    }


def _forward(z: Tensor, a: Tensor, derivative: Tensor, largest: float) -> dict[str, float]:
    pre_activations, activations = z.numpy(), a.numpy()
    return {
        **statistics.of_pre_activations(pre_activations),
        **_of_activations(pre_activations, activations),
        "saturated_share": statistics.saturated_share(pre_activations, derivative.numpy(), largest),
        "dead_share": statistics.dead_share(activations),
    }


def of_weights(weights: Array, start: Array | None) -> dict[str, float]:
    """Return the statistics of a layer's weights `[fan_in, fan_out]`, and with `start` their distance from it."""
    values = {"weight_norm": statistics.norm(weights), "weight_spectral_norm": statistics.spectral_norm(weights)}
    return values if start is None else {**values, "weight_distance": statistics.norm(weights - start)}


def _backward(
    cell: Cell,
    depth: int,
    parameters: LayerParameters,
    output: Tensor,
    below: Sequence[tuple[Tensor, Tensor | None]],
    labels: Tensor,
) -> Signal:
    """Return the statistics of the gradients and of the Jacobian: one backward pass for both.

    `output` are the last layer's pre-activations. `below` has of each layer the activations that enter it, and the
    derivatives there; None of the images.
    """
    values: Signal = {}
    count, classes = output.shape
    n = min(JACOBIAN_IMAGES, count) if depth > 1 else 1  # without a hidden layer it is the same for all images
    last = output.detach().requires_grad_()
    loss = pytorch.loss(cell.loss, cell.output_activation, last, labels)
    (G,) = torch.autograd.grad(loss, last)
    G = G * count  # of each image's own loss
    J = torch.eye(classes, dtype=G.dtype).expand(n, classes, classes)  # of the outputs by z: [images, classes, units]
    for layer in range(depth, 0, -1):
        a, derivative = below[layer - 1]
        gradient = statistics.of_gradient("pre_activation", G.numpy(), count)
        values |= _named(layer, gradient | statistics.of_gradient("weight", (a.T @ G / count).numpy()))
        W = torch.from_numpy(parameters(layer - 1)[0])
        if derivative is None:
            J = J @ W.T
        else:
            both = torch.cat([G, J.reshape(n * classes, -1)]) @ W.T
            G = both[:count] * derivative
            J = both[count:].view(n, classes, -1) * derivative[:n, None]
    return values | _named(depth, statistics.jacobian(singular_values(J.numpy())))


def singular_values(matrices: Array) -> Array:
    """Return the singular values of matrices `[n, rows, columns]`, NaN where an entry is not finite."""
    if not np.isfinite(matrices).all():
        return np.full((len(matrices), min(matrices.shape[1:])), np.nan)
    singular: Array = torch.linalg.svdvals(torch.from_numpy(matrices).double()).numpy()  # a third of NumPy's time
    return singular


def activated(name: str, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the activations of z, and the derivative at each entry (of softmax, that of a class by its own)."""
    if name == "softmax":
        a = torch.softmax(z, 1)
        return a, a * (1 - a)
    z = z.detach().requires_grad_()
    a = pytorch.activation(name)(z)
    (derivative,) = torch.autograd.grad(a.sum(), z)
    return a.detach(), derivative


@lru_cache(maxsize=256)
def largest_derivative(name: str) -> float:
    """Return the largest |derivative| of an activation, at `points`; of softmax 1/4."""
    if name == "softmax":
        return 0.25
    return float(activated(name, points())[1].abs().max())


def points() -> Tensor:
    """Return the points at which the largest |derivative| of an activation is sought, from −20 to 20.

    They are dense at 0, where several activations are steepest.
    """
    return 20 * torch.linspace(-1, 1, 4001) ** 3
