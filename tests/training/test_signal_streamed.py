"""Layers that are computed one by one, and the spectra of deep and wide networks."""

import numpy as np
import pytest

from initbench.initializers import schemes
from initbench.initializers.model import Model
from initbench.spec.cell import Cell
from initbench.training import parameters
from initbench.training.parameters import StreamedParameters, initial_parameters
from initbench.training.signal import perceptron, spectra, statistics

LAYERS = ((6, 9), (9, 7), (7, 3))


def same(left, right) -> bool:
    return all(a.tobytes() == b.tobytes() for pair in zip(left, right, strict=True) for a, b in zip(*pair, strict=True))


@pytest.mark.parametrize(
    "initializer", ["he_normal", "orthogonal", "zeros", "per_layer(first=ones, hidden=he_uniform, last=zeros)"]
)
def test_a_layer_alone_has_the_bits_that_it_has_in_its_network(initializer, monkeypatch):
    cell = Cell(initializer=initializer, bias_initializer="normal(std=0.1)", hidden="9-7", seed=3)
    whole = initial_parameters(cell, LAYERS)
    model = Model(LAYERS, (), cell.activation, cell.output_activation, cell.loss)
    alone = [schemes.layer_parameters(initializer, cell.bias_initializer, model, 3, layer) for layer in (2, 1, 0)]
    assert same(whole, alone[::-1])
    monkeypatch.setattr(parameters, "MAX_KEPT_BYTES", 4 * (6 * 9 + 9))  # of the first layer alone
    streamed = StreamedParameters(cell, LAYERS)
    assert same(whole, [streamed(layer) for layer in range(3)])
    assert same(whole[::-1], [streamed(layer) for layer in (2, 1, 0)])
    assert streamed(0)[0] is streamed(0)[0]
    assert streamed(2)[0] is not streamed(2)[0]  # it keeps no more than the first layer


def test_the_signal_of_streamed_layers_has_the_bits_of_the_whole_network(monkeypatch):
    cell = Cell(activation="tanh", hidden="9-7")
    random = np.random.default_rng(0)
    seen = perceptron.images(random.random((20, 6)), random.integers(0, 3, 20))
    whole = perceptron.signal(cell, 3, initial_parameters(cell, LAYERS).__getitem__, seen)
    monkeypatch.setattr(parameters, "MAX_KEPT_BYTES", 0)
    streamed = perceptron.signal(cell, 3, StreamedParameters(cell, LAYERS), seen)
    assert {key: np.float64(value).tobytes() for key, value in whole.items()} == {
        key: np.float64(value).tobytes() for key, value in streamed.items()
    }


def jacobians(cell, layers, images):
    """The Jacobians of the last hidden layer, by autograd in float64."""
    import torch

    from initbench.functions import pytorch

    W = [[torch.from_numpy(array).double() for array in pair] for pair in initial_parameters(cell, layers)]

    def pre_activations(x):
        for weights, bias in W[:-2]:
            x = pytorch.activation(cell.activation)(x @ weights + bias)
        return x @ W[-2][0] + W[-2][1]

    return [torch.autograd.functional.jacobian(pre_activations, x).numpy() for x in torch.from_numpy(images)]


@pytest.mark.parametrize(("hidden", "activation"), [("12-8-9", "tanh"), ("5", "relu"), ("3-1", "gelu")])
def test_the_jacobian_of_the_last_hidden_layer_is_that_of_autograd(hidden, activation):
    cell = Cell(activation=activation, hidden=hidden, bias_initializer="normal(std=0.3)")
    layers = cell.layers(6, 3)
    images = np.random.default_rng(1).random((4, 6))
    seen = perceptron.images(images, np.zeros(4, int))
    spectrum = spectra.last_hidden(cell, len(layers), StreamedParameters(cell, layers), seen)
    values = np.array([np.linalg.svd(J, compute_uv=False) for J in jacobians(cell, layers, images[:1])])
    for name, value in statistics.jacobian(values).items():
        assert spectrum[len(layers) - 1, name] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(
    ("hidden", "initializer", "activation"),
    [("600", "he_normal", "relu"), ("550-520-550", "he_normal", "tanh"), ("530-530", "orthogonal", "relu")],
)
def test_estimates_of_wide_networks_are_near_the_full_spectrum(hidden, initializer, activation):
    cell = Cell(initializer=initializer, activation=activation, hidden=hidden)
    layers = cell.layers(300, 10)
    seen = perceptron.images(np.random.default_rng(2).random((2, 300)), np.zeros(2, int))
    streamed = StreamedParameters(cell, layers)
    full, estimated = (spectra.last_hidden(cell, len(layers), streamed, seen, full) for full in (True, False))
    last = len(layers) - 1
    assert {name for _, name in estimated} == {"jacobian_largest", "jacobian_mean_square"}
    assert estimated[last, "jacobian_largest"] == pytest.approx(full[last, "jacobian_largest"], rel=0.01)
    assert estimated[last, "jacobian_mean_square"] == pytest.approx(full[last, "jacobian_mean_square"], rel=0.03)


def test_a_network_without_hidden_layers_has_no_such_jacobian():
    cell = Cell(hidden="")
    seen = perceptron.images(np.ones((2, 4)), np.zeros(2, int))
    assert spectra.last_hidden(cell, 1, StreamedParameters(cell, ((4, 3),)), seen) == {}


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_the_spectral_norm_of_a_large_matrix_is_that_of_a_full_decomposition(scale):
    random = np.random.default_rng(0)
    for matrix in (random.standard_normal((200, 260)), np.eye(150), np.ones((140, 180)), np.zeros((130, 130))):
        weights = (scale * matrix).astype(np.float32)
        assert statistics.spectral_norm(weights) == pytest.approx(np.linalg.norm(matrix, 2) * scale, rel=1e-3)
        assert statistics.spectral_norm(weights) == statistics.spectral_norm(weights)
