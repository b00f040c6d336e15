"""The trace of a cell: the weights and biases that its training begins with, and the loss of each step."""

from collections.abc import Callable
from typing import Any

import torch

from initbench.initializers.model import Parameters
from initbench.plugins import arrays
from initbench.spec.cell import Cell
from initbench.spec.columns import METRICS
from initbench.training import plain, stack
from initbench.training.data import Data
from initbench.training.modules import built_module, module_layers
from initbench.training.plain import Loop, PlainData


def traced(cell: Cell, data: Data | PlainData, progress: Callable[[float], None]) -> dict[str, Any]:
    """Train a cell alone, by the trainer that trains it in an experiment; returns its trace, as JSON.

    `parameters` are the weights and the bias of each layer, one after the other, as `arrays.from_json` reads them, and
    `names` the names of the layers in PyTorch's module. `state` has, of a user's model, the whole state of the module,
    by name, in PyTorch's layout. `losses` are those of each step, `[epoch][step]`; `metrics` the figures of each epoch
    from 0, `[epoch][metric]`.
    """
    parameters: Parameters = []

    def initialized(cell: Cell, seconds: float, initial: Parameters) -> None:
        parameters[:] = initial

    state: dict[str, torch.Tensor] = {}
    if isinstance(data, PlainData):
        loop = Loop(cell, data, initialized=initialized)
        names = [layer.name for layer in loop.layers]
        if "@" in cell.model:
            state = {name: array.detach().clone() for name, array in loop.model[0].state_dict().items()}
        epochs = list(plain.epochs(loop, progress))
    else:
        shape = (1, 1, data.pixels)
        module = built_module(cell, shape, data.classes)
        names = [layer.name for layer in module_layers(cell, module, shape, data.classes)]
        epochs = list(stack.train([cell], data, progress=progress, initialized=initialized))
    return {
        "parameters": arrays.to_json(array for layer in parameters for array in layer),
        "names": names,
        "state": dict(zip(state, arrays.to_json(array.cpu().numpy() for array in state.values()), strict=True)),
        "losses": [epoch.step_losses[:, 0].tolist() for epoch in epochs[1:]],
        "metrics": [[float(getattr(epoch, name)[0]) for name in METRICS] for epoch in epochs],
    }
