"""A cell's network as a PyTorch module, with its initial parameters."""

from collections.abc import Callable

import torch
from torch import nn

from initbench.initializers import schemes
from initbench.initializers.model import Array, Batch, Parameters
from initbench.models import modules, weights
from initbench.models.architecture import Shape
from initbench.models.built_in import PERCEPTRON
from initbench.models.network import ModuleNetwork
from initbench.plugins.records import seed_generators
from initbench.random import streams
from initbench.registry import digests_in
from initbench.spec.cell import Cell
from initbench.training.parameters import batches_of, initial_parameters
from initbench.training.process import prepare_process


def built_module(cell: Cell, shape: Shape, classes: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return the cell's model, before the initializer fills its layers, for images of a shape.

    What it draws itself, in PyTorch, NumPy or Python, is drawn from the cell's seed.
    """
    seed_generators(streams.of_functions(cell.seed, 0))
    functions = cell.activation, cell.normalization, cell.dropout
    return modules.module_of(cell.model, cell.hidden, shape, classes, *functions, dtype)


def module_layers(cell: Cell, module: nn.Module, shape: Shape, classes: int) -> list[weights.ModuleLayer]:
    """Return the layers of the cell's model that the initializer fills: a pass shows those of a user's."""
    if "@" in cell.model:
        return weights.layers_of(module, shape)
    return weights.built_in_layers(module, cell.network(shape, classes))


def initialized_module(
    cell: Cell,
    shape: Shape,
    classes: int,
    read: Callable[[Array], Batch] | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[nn.Module, Parameters, list[weights.ModuleLayer]]:
    """Return the cell's model with its initial parameters, these, for each layer in initbench's layout, and the layers.

    `read` returns images and labels by their rows, for initializers that use data.
    """
    module = built_module(cell, shape, classes, dtype)
    layers = module_layers(cell, module, shape, classes)
    kind = str(dtype).removeprefix("torch.")
    if cell.model == PERCEPTRON and cell.normalization == "none":
        height, width, channels = shape
        parameters = initial_parameters(cell, cell.layers(height * width * channels, classes), read, kind)
    else:
        functions = cell.activation, cell.output_activation, cell.loss
        network = ModuleNetwork(module, shape, classes, batches_of(cell, read), *functions, filled=layers)
        parameters = schemes.parameters(cell.initializer, cell.bias_initializer, network, cell.seed, kind)
        if digests_in(*cell.functions):  # a plugin's code has run
            prepare_process()
    weights.fill(layers, parameters)
    return module, parameters, layers
