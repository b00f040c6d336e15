"""The argument of schemes of whole networks: layers, functions, batches, and the forward pass."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from initbench.functions.activations import ACTIVATIONS
from initbench.initializers._base import Position, Shape, floating, require
from initbench.random import streams

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[Any]
Batch = tuple[Array, Array]  # images [batch, inputs], and their labels [batch]
# Of each layer the weights, `[fan_in, fan_out]` or `[…, channels_in, groups · channels_out]`, and the bias: a number of
# each unit, or none at all.
Parameters = list[tuple[Array, Array]]


# A scheme may request at most this many batches, and of them this many images: 400 MB of MNIST.
MAX_BATCHES, MAX_IMAGES = 1000, 2**16


class NoBatches(ValueError):  # noqa: N818
    """A scheme requested a batch, and the model has none."""


class Network(Protocol):
    """What a scheme of whole networks sees of one: `Model` of a perceptron, `models.network.ModuleNetwork` of a module.

    Layers are in the order of execution, and all arrays in initbench's layout. A grouped convolution is as many
    convolutions as it has groups: `layers` has the shape of the weights of one, and the weights of all of them stand
    side by side in the last dimension, `[…, channels_in, groups · channels_out]`.
    """

    @property
    def activation(self) -> str:
        """The name of the hidden layers' activation."""

    @property
    def output_activation(self) -> str:
        """The name of the last layer's activation."""

    @property
    def loss(self) -> str:
        """The name of the loss."""

    @property
    def layers(self) -> Sequence[tuple[int, ...]]:
        """The shape of the weights of each layer: `(fan_in, fan_out)`, `(height, width, channels_in, channels_out)`."""

    @property
    def groups(self) -> Sequence[int]:
        """The number of groups of each layer, 1 of most."""

    @property
    def classes(self) -> int:
        """The number of outputs."""

    @property
    def nonlinearity(self) -> str:
        """The activation that schemes compute with."""

    def with_biases(self, biases: Sequence[Array]) -> Self:
        """Return the same network with other initial biases."""

    def start_biases(self) -> list[Array]:
        """Return the initial biases, float64, `[groups · fan_out]`; of a layer without one an empty array."""

    def stream(self) -> Iterator[Batch]:
        """Yield the batches in order, over and over; NoBatches if there are none."""

    def batch(self, count: int = 1) -> Batch:
        """Return the first `count` batches as one."""

    def layer_inputs(self, images: Array, parameters: Parameters) -> Iterator[Any]:
        """Yield what enters each layer, in the order of execution, for `affine`.

        Before the next one is requested, the caller appends the weights and the bias of the layer to `parameters`.
        """

    def affine(self, layer: int, inputs: Any, W: Array, b: Array | None = None) -> Array:
        """Return a layer's pre-activations `[images · positions, groups · fan_out]`, float64, from what enters it."""

    def batch_loss(
        self, weights: Sequence["Tensor"], biases: Sequence["Tensor"], images: "Tensor", labels: "Tensor"
    ) -> "Tensor":
        """Return the loss of a batch, float64, which can be differentiated twice; a bias may be empty."""


@dataclass(frozen=True)
class Model:
    """A perceptron that is to be initialized, as schemes that look at data or gradients see it.

    Parameters
    ----------
    layers
        `(fan_in, fan_out)` of each layer.
    batches
        The batches of the training, in its order: pairs of images `[batch, inputs]`, from 0 to 1, and labels `[batch]`.
        Any iterable that can be iterated more than once; a scheme that needs more batches starts over.
    activation, output_activation
        Names, as in a grid file: of the hidden layers (default relu) and of the last one (default identity).
    loss
        Its name; default cross_entropy.
    biases
        The bias of each layer from the bias initializer; default zeros.

    Examples
    --------
    >>> model = Model(((4, 3), (3, 2)), batches=[(np.ones((5, 4)), np.zeros(5, int))], activation="tanh")
    >>> W = [(np.eye(4, 3), np.zeros(3)), (np.eye(3, 2), np.zeros(2))]
    >>> [z.shape for z in model.pre_activations(W, model.batch()[0])]
    [(5, 3), (5, 2)]

    A scheme of networks returns the weights and the bias of each layer:

    >>> from initbench.initializers import lsuv
    >>> (W, b), _ = lsuv(model, seed=0)
    >>> W.shape, b.shape
    ((4, 3), (3,))

    Raises
    ------
    ValueError
        Layers that do not follow one another, biases or batches that do not fit them, labels that are not a class.
    """

    layers: Sequence[tuple[int, int]]
    batches: Iterable[Batch] = ()
    activation: str = "relu"
    output_activation: str = "identity"
    loss: str = "cross_entropy"
    biases: Sequence[Array] = ()

    def __post_init__(self) -> None:
        layers = [tuple(layer) if isinstance(layer, Sequence) else (layer,) for layer in self.layers]
        follow = all(left[-1] == right[0] for left, right in itertools.pairwise(layers))
        if not layers or {len(layer) for layer in layers} != {2} or not follow:
            raise ValueError(
                f"layers = {self.layers!r}; allowed: (fan_in, fan_out) of each, ((784, 128), (128, 10)), say"
            )
        if self.biases and [np.shape(bias) for bias in self.biases] != [layer[1:] for layer in layers]:
            shapes = [np.shape(bias) for bias in self.biases]
            raise ValueError(
                f"biases of shapes {shapes}; allowed: one for each layer, {[layer[1:] for layer in layers]}"
            )

    @property
    def groups(self) -> tuple[int, ...]:
        """The number of groups of each layer: dense ones have one."""
        return (1,) * len(self.layers)

    @property
    def nonlinearity(self) -> str:
        """The activation that schemes compute with: the hidden layers', or without any the output's."""
        return self.activation if len(self.layers) > 1 else self.output_activation

    def with_biases(self, biases: Sequence[Array]) -> "Model":
        """Return the same network with other initial biases."""
        return replace(self, biases=biases)

    def start_biases(self) -> list[Array]:
        """Return the initial biases, float64."""
        if self.biases:
            return [np.array(bias, np.float64) for bias in self.biases]
        return [np.zeros(out) for _, out in self.layers]

    @property
    def classes(self) -> int:
        """The number of outputs."""
        return self.layers[-1][1]

    def stream(self) -> Iterator[Batch]:
        """Yield the batches in order, over and over; NoBatches if there are none."""
        return batches_of(self.batches, self.layers[0][0], self.classes)

    def batch(self, count: int = 1) -> Batch:
        """Return the first `count` batches as one, from 1 to `MAX_BATCHES`, up to `MAX_IMAGES` images in all."""
        return batched(self.stream(), count)

    def activate(self, layer: int, z: Array) -> Array:
        """Return the outputs of a layer from its pre-activations."""
        last = layer == len(self.layers) - 1
        return np.asarray(ACTIVATIONS.call(self.output_activation if last else self.activation, z))

    def layer_inputs(self, images: Array, parameters: Parameters) -> Iterator[Array]:
        """Yield what enters each layer, `[batch, fan_in]`, float64: see `Network`."""
        x = np.asarray(images, np.float64)
        for layer in range(len(self.layers)):
            yield x
            x = self.activate(layer, self.affine(layer, x, *parameters[layer]))

    def affine(self, layer: int, inputs: Array, W: Array, b: Array | None = None) -> Array:
        """Return a layer's pre-activations `[batch, fan_out]`."""
        return np.asarray(inputs @ W if b is None else inputs @ W + b)

    def batch_loss(
        self, weights: Sequence["Tensor"], biases: Sequence["Tensor"], images: "Tensor", labels: "Tensor"
    ) -> "Tensor":
        """Return the loss of a batch, in PyTorch."""
        from initbench.functions import pytorch

        activation = pytorch.activation(self.activation)
        x = images
        for W, b in zip(weights[:-1], biases[:-1], strict=True):
            x = activation(x @ W + b)
        return pytorch.loss(self.loss, self.output_activation, x @ weights[-1] + biases[-1], labels)

    def pre_activations(self, parameters: Parameters, images: Array) -> list[Array]:
        """Return the pre-activations `[batch, fan_out]` of every layer, float64."""
        by_layer, x = [], np.asarray(images, np.float64)
        for layer, (W, b) in enumerate(parameters):
            by_layer.append(x @ W + b)
            x = self.activate(layer, by_layer[-1])
        return by_layer


def batches_of(batches: Iterable[Batch], inputs: int, classes: int) -> Iterator[Batch]:
    """Yield batches in order, over and over, each validated; NoBatches if there are none."""
    while True:
        empty = True
        for batch in batches:
            empty = False
            _check(batch, inputs, classes)
            yield batch
        if empty:
            raise NoBatches("this scheme looks at data, and the model has no batches; give Model(..., batches=…)")


def _check(batch: Batch, inputs: int, classes: int) -> None:
    shapes = [np.shape(array) for array in batch]
    if len(shapes) != 2 or len(shapes[0]) != 2 or shapes[0][1] != inputs or shapes[1] != shapes[0][:1]:
        raise ValueError(f"a batch of shapes {shapes}; allowed: images [batch, {inputs}] and labels [batch]")
    labels = np.asarray(batch[1])
    if not shapes[0][0] or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels = {labels!r}; allowed: integers from 0 to {classes - 1}, at least one")


def batched(batches: Iterator[Batch], count: int) -> Batch:
    """Return the first `count` batches as one, from 1 to `MAX_BATCHES`, up to `MAX_IMAGES` images in all."""
    require(1 <= count <= MAX_BATCHES, "batches", count, f"from 1 to {MAX_BATCHES}")
    first_batches: list[Batch] = []
    for batch in itertools.islice(batches, count):
        if first_batches and sum(len(labels) for _, labels in first_batches) + len(batch[1]) > MAX_IMAGES:
            break
        first_batches.append(batch)
    images, labels = zip(*first_batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def positions(depth: int) -> list[Position]:
    """Return the position of each of `depth` layers.

    >>> positions(4), positions(2), positions(1)
    (['first', 'hidden', 'hidden', 'last'], ['first', 'last'], ['last'])
    """
    before: list[Position] = ["first", *(["hidden"] * (depth - 2))] if depth > 1 else []  # type: ignore[list-item]
    return [*before, "last"]


def layer_seed(seed: int | None, layer: int, group: int | None = None) -> streams.Seed:
    """Return the stream of one layer's weights at a seed, or of one of its groups; None takes fresh entropy."""
    return None if seed is None else streams.weights(seed, layer, group)


def layer_weights(
    network: Network, layer: int, seed: int | None, scheme: Callable[[Shape, streams.Seed], Array]
) -> Array:
    """Return a layer's weights by a scheme of a shape and a stream: of each group its own, side by side."""
    shape, groups = tuple(network.layers[layer]), network.groups[layer]
    if groups == 1:
        return scheme(shape, layer_seed(seed, layer))
    return np.concatenate([scheme(shape, layer_seed(seed, layer, group)) for group in range(groups)], axis=-1)


def cast_parameters(parameters: Parameters, dtype: Any) -> Parameters:
    """Return weights and biases, rounded once to the requested dtype."""
    kind = floating(dtype)
    return [(W.astype(kind), b.astype(kind)) for W, b in parameters]
