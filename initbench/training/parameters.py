"""The initial weights and biases of a cell, computed on the CPU by NumPy, the same for every trainer."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from initbench.data import datasets
from initbench.initializers import schemes
from initbench.initializers.model import Array, Batch, Model, Parameters
from initbench.random import streams
from initbench.registry import digests_in
from initbench.spec.cell import Cell
from initbench.spec.signal import MAX_KEPT_BYTES
from initbench.training.process import prepare_process

# Called with each cell of a training, the seconds that its initial parameters took, and these.
Initialized = Callable[[Cell, float, Parameters], None]


@dataclass(frozen=True)
class Batches:
    """The endless batches of a cell's training, in its order, for initializers that use data.

    `read` returns the images `[rows, pixels]` of some rows of the training split, float64, as networks read them, and
    their labels.
    """

    seed: int
    train_size: int
    batch_size: int
    read: Callable[[Array], Batch]

    def __iter__(self) -> Iterator[Batch]:
        for epoch in itertools.count(1):
            yield from map(self.read, streams.batch_rows(self.seed, epoch, self.train_size, self.batch_size))


def batches_of(cell: Cell, read: Callable[[Array], Batch] | None) -> Iterable[Batch]:
    """Return the batches of a cell's training, or none without `read`."""
    return Batches(cell.seed, cell.train_size, cell.batch_size, read) if read else ()


def initial_parameters(
    cell: Cell,
    layers: tuple[tuple[int, int], ...],
    read: Callable[[Array], Batch] | None = None,
    dtype: str = "float32",
) -> Parameters:
    """Return for each layer of a perceptron the weights `[fan_in, fan_out]` and the bias `[fan_out]`.

    They come from the streams of the seed. `read` returns images and labels by their rows, for initializers that use
    data.
    """
    parameters = schemes.parameters(
        cell.initializer, cell.bias_initializer, _model(cell, layers, read), cell.seed, dtype
    )
    if digests_in(cell.initializer, cell.bias_initializer):  # a plugin's code has run
        prepare_process()
    return parameters


def _model(cell: Cell, layers: tuple[tuple[int, int], ...], read: Callable[[Array], Batch] | None) -> Model:
    return Model(layers, batches_of(cell, read), cell.activation, cell.output_activation, cell.loss)


class StreamedParameters:
    """The initial parameters of a perceptron, float32, each layer computed when it is requested.

    They have the bits of `initial_parameters`. The first layers, up to `MAX_KEPT_BYTES`, are kept; the others are
    computed again at every request, so that a network of any depth takes little more memory than that. A scheme of
    whole networks computes them all, and all are kept.
    """

    def __init__(
        self, cell: Cell, layers: tuple[tuple[int, int], ...], read: Callable[[Array], Batch] | None = None
    ) -> None:
        self._cell, self._model = cell, _model(cell, layers, read)
        self._layers: dict[int, tuple[Array, Array]] = {}
        self._bytes = 0
        if schemes.is_network_scheme(cell.initializer):
            self._layers = dict(enumerate(initial_parameters(cell, layers, read)))

    def __call__(self, layer: int) -> tuple[Array, Array]:
        """Return the weights `[fan_in, fan_out]` and the bias `[fan_out]` of a layer, counted from 0."""
        if layer in self._layers:
            return self._layers[layer]
        cell = self._cell
        parameters = schemes.layer_parameters(
            cell.initializer, cell.bias_initializer, self._model, cell.seed, layer, "float32"
        )
        if digests_in(cell.initializer, cell.bias_initializer):  # a plugin's code has run
            prepare_process()
        size = sum(array.nbytes for array in parameters)
        if self._bytes + size <= MAX_KEPT_BYTES:
            self._layers[layer] = parameters
            self._bytes += size
        return parameters


def first_layer_on_mnist(
    scheme: str,
    shape: tuple[int, ...],
    activation: str,
    seed: int,
    parameters: Callable[[str, str, Model, int], Parameters] = schemes.parameters,
) -> Array:
    """The first layer's weights, by a scheme of whole networks, of a network with one hidden layer on MNIST.

    They are those of a cell with this seed, cross-entropy, batches of 128 and zero biases. `parameters` computes them.
    Raises ValueError where the shape is not that of such a layer, and where the scheme does.
    """
    data = datasets.load_mnist()
    images, labels = data.train_images[data.validation_size :], data.train_labels[data.validation_size :]
    pixels = images.shape[1]
    if len(shape) != 2 or shape[0] != pixels:
        raise ValueError(
            f"{scheme} looks at MNIST here, and its shape is {pixels},UNITS: give --shape {pixels},256, say"
        )
    batches = Batches(seed, len(images), 128, lambda rows: (images[rows] / 255.0, labels[rows].astype(np.int64)))
    model = Model(((pixels, shape[1]), (shape[1], data.classes)), batches, activation=activation)
    return parameters(scheme, "zeros", model, seed)[0][0]
