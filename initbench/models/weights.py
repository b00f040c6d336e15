"""The layers of a PyTorch module: which of its parameters the initializer fills, and their layout here and there.

A layer is a Linear, Conv1d to Conv3d, ConvTranspose1d to 3d or Embedding with a weight of its own; a weight that
several share is one layer, and a bias that several share is that of the first of them. Layers are in the
order of execution; those that a pass does not call, such as the output projection of PyTorch's attention, which uses
only its weight, stand before the last. The fans follow from the shapes:

- dense `[fan_in, fan_out]`;
- convolutions `[*size, channels_in, channels_out]` of one group, each group being a convolution of its own, so that
  fan_in counts the inputs that a unit has (He et al. 2015, section 2.2);
- transposed convolutions the same, in the direction of the forward pass, as Flax's `ConvTranspose`; strides, by which
  a unit has fewer inputs, are not counted;
- embeddings `[embedding_dim, num_embeddings]`, like the dense layer that an embedding is often tied to; their fan_in is
  embedding_dim, as in PyTorch. A row of padding (`padding_idx`) stays zero, as there.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from initbench.models.architecture import Architecture, Layer, Shape
from initbench.models.modules import Branch

Array = NDArray[Any]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED, nn.Embedding)

# How many images the pass takes that shows the order of the layers.
EXAMPLES = 2


@dataclass(frozen=True)
class ModuleLayer:
    """A layer of a module: its name there, itself, and what the initializer fills."""

    name: str
    module: Any
    layer: Layer

    @property
    def weight(self) -> nn.Parameter:
        """The weights, in PyTorch's layout."""
        weight: nn.Parameter = self.module.weight
        return weight

    @property
    def bias(self) -> nn.Parameter | None:
        """The bias, if the initializer fills it."""
        return self.module.bias if self.layer.has_bias else None

    def to_torch(self, W: Tensor) -> Tensor:
        """Return weights in PyTorch's layout, from initbench's with all groups side by side."""
        if isinstance(self.module, nn.Embedding) and self.module.padding_idx is not None:
            return W.T.index_fill(0, torch.tensor(self.module.padding_idx), 0)
        if isinstance(self.module, nn.Linear | nn.Embedding):
            return W.T
        outward = (W.ndim - 1, W.ndim - 2, *range(W.ndim - 2))  # [channels_out, channels_in, *size]
        if not isinstance(self.module, TRANSPOSED):
            return W.permute(outward)
        groups = W.chunk(self.layer.groups, -1)
        return torch.cat([group.permute(outward).transpose(0, 1) for group in groups])


class Passed(NamedTuple):
    """What a pass through a module shows: its layers in the order of execution, its units, and its output."""

    layers: list[ModuleLayer]
    units: int  # see `Architecture`
    output: Any


def layers_of(module: nn.Module, shape: Shape) -> list[ModuleLayer]:
    """Return the layers of a module, in the order of execution: see `passed`."""
    return passed(module, shape).layers


def passed(module: nn.Module, shape: Shape) -> Passed:
    """Return what a pass of `EXAMPLES` images of zeros of the shape (height, width, channels) shows, in evaluation."""
    positions: dict[int, int] = {}  # by the identity of the weight, in the order of execution
    units = 0

    def note(layer: Any, inputs: Any, output: Any) -> None:
        nonlocal units
        if isinstance(output, Tensor) and not list(layer.children()):
            before = sum(x.numel() for x in inputs if isinstance(x, Tensor))
            if output.numel() != before or list(layer.parameters()):  # no activation
                units += output.numel() // EXAMPLES
        if isinstance(layer, LAYERS):
            # PyTorch's convolutions return [images, channels, *positions], dense layers [images, *positions, units].
            channels = output.shape[-1 if isinstance(layer, nn.Linear | nn.Embedding) else 1]
            key = id(layer.weight)
            positions[key] = positions.get(key, 0) + max(output.numel() // (EXAMPLES * channels), 1)

    training = [part.training for part in module.modules()]
    hooks = [part.register_forward_hook(note) for part in module.modules()]
    try:
        module.eval()
        with torch.no_grad():
            whole_output = module(images_of(np.zeros((EXAMPLES, math.prod(shape))), shape, module))
    finally:
        for hook in hooks:
            hook.remove()
        for part, was_training in zip(module.modules(), training, strict=True):
            part.training = was_training
    layers: dict[int, ModuleLayer] = {}
    for name, part in module.named_modules():
        own = part._parameters
        if isinstance(part, LAYERS) and isinstance(own.get("weight"), nn.Parameter) and id(part.weight) not in layers:
            layer = Layer(*_shape_of(part), positions.get(id(part.weight), 0), own.get("bias") is not None)
            layers[id(part.weight)] = ModuleLayer(name, part, layer)
    called = [layers[key] for key in positions if key in layers]
    uncalled = [layer for key, layer in layers.items() if key not in positions]
    ordered = [*called[:-1], *uncalled, *called[-1:]]
    filled: set[int] = set()  # a bias that several layers share is that of the first
    for index, own_layer in enumerate(ordered):
        if own_layer.bias is not None:
            shared = id(own_layer.bias) in filled
            ordered[index] = replace(own_layer, layer=own_layer.layer._replace(has_bias=not shared))
            filled.add(id(own_layer.bias))
    return Passed(ordered, units, whole_output)


def built_in_layers(module: nn.Module, network: Architecture) -> list[ModuleLayer]:
    """Return the layers of a built-in model's module, which are executed in the order of their definition.

    Layers inside of an activation, which may be a user's module, are not the model's.
    """
    layers = zip(_of_blocks(module, ""), network.layers, strict=True)
    return [ModuleLayer(name, part, layer) for (name, part), layer in layers]


def _of_blocks(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    for name, part in module.named_children():
        if type(part) in (nn.Sequential, Branch):
            yield from _of_blocks(part, f"{prefix}{name}.")
        elif isinstance(part, LAYERS):
            yield f"{prefix}{name}", part


def _shape_of(part: Any) -> tuple[tuple[int, ...], int]:
    """Return the shape of a layer's weights, of one group, and the number of groups."""
    if isinstance(part, nn.Embedding):
        return (part.embedding_dim, part.num_embeddings), 1
    if isinstance(part, nn.Linear):
        return (part.in_features, part.out_features), 1
    channels_in, channels_out = part.in_channels // part.groups, part.out_channels // part.groups
    return (*part.kernel_size, channels_in, channels_out), part.groups


def images_of(images: Array, shape: Shape, module: nn.Module) -> Tensor:
    """Return images `[batch, pixels]` as a module takes them, in the dtype of its parameters."""
    dtype = next((p.dtype for p in module.parameters() if p.dtype.is_floating_point), torch.float32)
    return as_images(torch.from_numpy(np.ascontiguousarray(images)).to(dtype), shape)


def as_images(x: Tensor, shape: Shape) -> Tensor:
    """Return images `[batch, pixels]`, channels last, as `[batch, channels, height, width]` in this order in memory.

    Users' modules get them so, as from PyTorch's loaders: `x.view(len(x), -1)`, of the images or of what a convolution
    returns, requires it.
    """
    height, width, channels = shape
    if channels == 1 or height * width == 1:
        return x.reshape(-1, channels, height, width)
    return x.reshape(-1, height, width, channels).permute(0, 3, 1, 2).contiguous()


def fill(layers: Sequence[ModuleLayer], parameters: Sequence[tuple[Array, Array]]) -> None:
    """Set the weights and the bias of each layer, from arrays in initbench's layout."""
    with torch.no_grad():
        for layer, (W, b) in zip(layers, parameters, strict=True):
            layer.weight.copy_(layer.to_torch(torch.from_numpy(np.asarray(W))))
            if layer.bias is not None:
                layer.bias.copy_(torch.from_numpy(np.asarray(b)))


def architecture_of(module: nn.Module, shown: Passed) -> Architecture:
    """Return the architecture of a module, from what a pass through it has shown."""
    network = Architecture(tuple(layer.layer for layer in shown.layers), shown.units, is_perceptron=False)
    count = sum(p.numel() for p in module.parameters())
    return network._replace(other_parameters=count - network.parameter_count)


def describe(module: object, shape: Shape, classes: int) -> Architecture:
    """Return the architecture of a user's module for images of a shape; ValueError if it cannot be used, and why."""
    if not isinstance(module, nn.Module):
        raise ValueError(f"returned {type(module).__name__}; allowed: a torch.nn.Module")
    shown = passed(module, shape)  # before its parameters are looked at: lazy layers get theirs here
    complex_parameters = [name for name, p in module.named_parameters() if p.is_complex()]
    if complex_parameters:
        raise ValueError(f"its parameter {complex_parameters[0]} is complex; allowed: real parameters")
    dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in module.parameters()} - {"float32"})
    if dtypes:
        raise ValueError(f"has parameters of dtype {', '.join(dtypes)}; allowed: float32")
    for name, parameter in module.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(f"its parameter {name} has NaN or infinity at the start; allowed: finite values")
    (layers, _, output), (height, width, channels) = shown, shape
    if not isinstance(output, Tensor):
        raise ValueError(f"its forward returned {type(output).__name__}; allowed: a tensor [batch, {classes}]")
    if output.shape != (EXAMPLES, classes):
        raise ValueError(
            f"returned shape {list(output.shape)} for images [{EXAMPLES}, {channels}, {height}, {width}]; allowed: "
            f"[{EXAMPLES}, {classes}], an output for each class"
        )
    if not layers:
        raise ValueError(
            "has no Linear, Conv, ConvTranspose or Embedding layer; allowed: a module with at least one, whose weights "
            "the initializer fills"
        )
    if not any(layer.layer.positions for layer in layers):
        raise ValueError("its forward uses none of its layers")
    return architecture_of(module, shown)
