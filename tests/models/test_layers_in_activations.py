"""A user's activation that has layers of its own."""

import numpy as np
import torch
from torch import nn

from initbench.models import built_in, modules, weights
from initbench.models.network import ModuleNetwork


class Gate(nn.Module):
    """A gate whose dense layer is the activation's own."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(1, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.gate(x[..., None])[..., 0])


def test_layers_inside_of_an_activation_are_not_the_models():
    shape = (2, 2, 1)
    network = built_in.architecture_of("perceptron", "3-3", "batch", shape, 2)
    module = modules.module(built_in.blocks_of("perceptron", "3-3", 2), shape, Gate, "batch")
    layers = weights.built_in_layers(module, network)
    assert [layer.weight.shape for layer in layers] == [(3, 4), (3, 3), (2, 3)]
    seen = ModuleNetwork(module, shape, 2, [(np.ones((4, 4)), np.arange(4) % 2)], filled=layers)
    assert seen.layers == ((4, 3), (3, 3), (3, 2))
    parameters = []
    for layer, inputs in enumerate(seen.layer_inputs(np.eye(4), parameters)):
        parameters.append((np.ones(seen.layers[layer]), np.zeros(seen.layers[layer][1])))
        assert seen.affine(layer, inputs, *parameters[-1]).shape == (4, seen.layers[layer][1])
