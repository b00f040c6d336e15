"""A module as schemes of whole networks see it: its layers, what enters each, and its loss, in float64."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from initbench.functions import pytorch
from initbench.initializers.model import Array, Batch, Parameters, batched, batches_of
from initbench.models.architecture import Shape
from initbench.models.weights import LAYERS, ModuleLayer, as_images, fill, images_of, layers_of


class _Reached(Exception):  # noqa: N818
    """A pass has come to the layer whose input is requested."""


def copied(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a copy of a module, as in a step of training but without PyTorch's dropout."""
    module = copy.deepcopy(module).to(dtype).train()
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.eval()
        elif isinstance(part, nn.MultiheadAttention | nn.RNNBase):
            part.dropout = 0.0
    return module


@dataclass(frozen=True)
class ModuleNetwork:
    """A PyTorch module that is to be initialized: see `initbench.initializers.model.Network`.

    All passes go through a copy in float64, as in a step of training, but without dropout: batch normalization takes
    the mean and the variance of the batch. A module whose forward makes float32 itself computes in float32.
    """

    module: nn.Module
    shape: Shape
    classes: int
    batches: Iterable[Batch] = ()
    activation: str = "relu"
    output_activation: str = "identity"
    loss: str = "cross_entropy"
    biases: Sequence[Array] = ()
    filled: Sequence[ModuleLayer] | None = None  # the layers that the scheme fills; default those that a pass shows

    @cached_property
    def _layers(self) -> Sequence[ModuleLayer]:
        return layers_of(self.module, self.shape) if self.filled is None else self.filled

    @cached_property
    def _copy(self) -> nn.Module:
        exact = copied(self.module, torch.float64)
        try:
            layers_of(exact, self.shape)
        except Exception:  # most often of tensors of two dtypes; any other is raised again in float32
            return copied(self.module, torch.float32)
        return exact

    @cached_property
    def _to_differentiate(self) -> tuple[nn.Module, list[list[tuple[nn.Module, str]]]]:
        """Another copy, for `batch_loss`, and the places there of each weight and bias: several if it is shared."""
        module = copy.deepcopy(self._copy)
        places: dict[int, list[tuple[nn.Module, str]]] = {}
        for part in module.modules():
            for key, parameter in part._parameters.items():
                places.setdefault(id(parameter), []).append((part, key))
        return module, [
            places[id(parameter)]
            for layer in self._layers_in(module)
            for parameter in (layer.weight, layer.bias)
            if parameter is not None
        ]

    @cached_property
    def _copied_layers(self) -> list[ModuleLayer]:
        return self._layers_in(self._copy)

    def _layers_in(self, copied: nn.Module) -> list[ModuleLayer]:
        """Return the layers in a copy of the module."""
        return [replace(layer, module=copied.get_submodule(layer.name)) for layer in self._layers]

    @property
    def layers(self) -> tuple[tuple[int, ...], ...]:
        """The shape of the weights of each layer, of one group."""
        return tuple(layer.layer.shape for layer in self._layers)

    @property
    def groups(self) -> tuple[int, ...]:
        """The number of groups of each layer."""
        return tuple(layer.layer.groups for layer in self._layers)

    @property
    def nonlinearity(self) -> str:
        """The activation that schemes compute with: the hidden layers', or of a single layer the output's."""
        return self.activation if len(self._layers) > 1 else self.output_activation

    def with_biases(self, biases: Sequence[Array]) -> "ModuleNetwork":
        """Return the same network with other initial biases."""
        return replace(self, biases=biases)

    def start_biases(self) -> list[Array]:
        """Return the initial biases, float64; of a layer without one an empty array."""
        if self.biases:
            return [np.array(bias, np.float64) for bias in self.biases]
        return [np.zeros(layer.layer.bias_count) for layer in self._layers]

    def stream(self) -> Iterator[Batch]:
        """Yield the batches in order, over and over; NoBatches if there are none."""
        height, width, channels = self.shape
        return batches_of(self.batches, height * width * channels, self.classes)

    def batch(self, count: int = 1) -> Batch:
        """Return the first `count` batches as one."""
        return batched(self.stream(), count)

    def layer_inputs(self, images: Array, parameters: Parameters) -> Iterator[Tensor | None]:
        """Yield what enters each layer at its first call in a pass; None for one that a pass does not use."""
        x = images_of(np.asarray(images, np.float64), self.shape, self._copy)
        for index, layer in enumerate(self._copied_layers):
            yield self._input_of(layer, x) if layer.layer.positions else None
            fill([layer], [parameters[index]])

    def _input_of(self, layer: ModuleLayer, x: Tensor) -> Tensor | None:
        inputs: list[Tensor] = []

        def reached(part: nn.Module, arguments: Any, keywords: Any) -> None:
            inputs.append([*arguments, *keywords.values()][0])
            raise _Reached

        # Of a weight that several modules share, any may be the first.
        sharing = [p for p in self._copy.modules() if isinstance(p, LAYERS) and p.weight is layer.module.weight]
        hooks = [part.register_forward_pre_hook(reached, with_kwargs=True) for part in sharing]
        try:
            with torch.no_grad():
                self._copy(x.clone())
        except _Reached:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return inputs[0] if inputs else None

    def affine(self, layer: int, inputs: Tensor | None, W: Array, b: Array | None = None) -> Array:
        """Return a layer's pre-activations `[images · positions, groups · fan_out]`.

        They are zero for a layer that no pass uses, and for an embedding, which adds up nothing.
        """
        own = self._copied_layers[layer]
        units = own.layer.groups * own.layer.shape[-1]
        if inputs is None or isinstance(own.module, nn.Embedding):
            return np.zeros((1, units))
        values = {"weight": own.to_torch(torch.from_numpy(np.ascontiguousarray(W)).to(inputs.dtype))}
        if own.layer.has_bias:
            values["bias"] = torch.from_numpy(np.zeros(units) if b is None else np.ascontiguousarray(b)).to(
                inputs.dtype
            )
        with torch.no_grad():
            z: Tensor = functional_call(own.module, values, (inputs,))
        z = z if isinstance(own.module, nn.Linear) else z.movedim(_channel(z, own), -1)
        return z.reshape(-1, units).double().numpy()

    def batch_loss(self, weights: Sequence[Tensor], biases: Sequence[Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch, which can be differentiated twice."""
        module, places = self._to_differentiate
        dtype = self._copied_layers[0].weight.dtype
        values: list[Tensor] = []
        for layer, W, b in zip(self._layers, weights, biases, strict=True):
            values += [layer.to_torch(W.to(dtype)), *([b.to(dtype)] if layer.layer.has_bias else [])]
        # They stay there after the pass: activation checkpointing passes again when the gradient is computed.
        for holders, value in zip(places, values, strict=True):
            for part, key in holders:
                part._parameters[key] = value  # type: ignore[assignment]
        with sdpa_kernel(SDPBackend.MATH):  # the fast attention has no second derivative
            output = module(as_images(images.to(dtype), self.shape))
        return pytorch.loss(self.loss, self.output_activation, output, labels).double()


def _channel(z: Tensor, layer: ModuleLayer) -> int:
    """Return the dimension of the channels in what a convolution returns, for a batch or a single image."""
    return z.ndim - (len(layer.layer.shape) - 2) - 1
