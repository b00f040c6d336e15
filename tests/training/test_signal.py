"""The signal of perceptrons: each statistic against plain NumPy and autograd, its bits, and networks at the edge."""

import math

import numpy as np
import pytest
import torch
from cells import exact, make_cell
from torch.func import jacrev, vmap

from initbench.functions import pytorch
from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import computed_output
from initbench.spec.signal import IMAGES, JACOBIAN_IMAGES, STATISTICS
from initbench.training import stack
from initbench.training.data import Data
from initbench.training.parameters import initial_parameters
from initbench.training.signal import perceptron, record


def plain_signal(cell, parameters, images, labels, start=None):
    """Every statistic as its definition is written, in float64, with autograd for all derivatives."""
    count, depth, values_of = len(images), len(parameters), {}
    output = computed_output(cell.loss, cell.output_activation)
    names = [cell.activation] * (depth - 1) + [output]
    weights = [torch.tensor(W, dtype=torch.float64, requires_grad=True) for W, _ in parameters]
    biases = [torch.tensor(b, dtype=torch.float64) for _, b in parameters]

    def passed(x):
        zs, a = [], x
        for W, b, name in zip(weights, biases, names, strict=True):
            zs.append(a @ W + b)
            a = pytorch.activation(name)(zs[-1]) if zs[-1].ndim == 2 else pytorch.activation(name)(zs[-1][None])[0]
        return zs, a

    def of(prefix, layer, values):
        values_of[layer, f"{prefix}_mean"] = values.mean()
        values_of[layer, f"{prefix}_variance"] = values.var()
        for name, share in (("q01", 0.01), ("q50", 0.5), ("q99", 0.99)):
            values_of[layer, f"{prefix}_{name}"] = np.quantile(values, share)

    def representations(layer, z, a):
        unit = z / np.linalg.norm(z, axis=1, keepdims=True)
        cosines = unit @ unit.T
        values_of[layer, "correlation"] = cosines[~np.eye(count, dtype=bool)].mean()
        s = np.linalg.svd(a, compute_uv=False)
        p = s / s.sum()
        values_of[layer, "effective_rank"] = np.exp(-sum(x * np.log(x) for x in p if x > 1e-12))

    x = torch.tensor(images, dtype=torch.float64)
    zs, out = passed(x)
    activations = [x, *(pytorch.activation(n)(z) for n, z in zip(names, zs, strict=True))]
    of("activation", 0, images)
    representations(0, images, images)
    loss = pytorch.loss_function(cell.loss)
    gradients = torch.autograd.grad(loss(out, torch.tensor(labels)), [*zs, *weights])
    for layer, (z, a, name) in enumerate(zip(zs, activations[1:], names, strict=True), start=1):
        values, output_values = z.detach().numpy(), a.detach().numpy()
        of("pre_activation", layer, values)
        of("activation", layer, output_values)
        representations(layer, values, output_values)
        values_of[layer, "pre_activation_second_moment"] = (values**2).mean()
        values_of[layer, "dead_share"] = np.mean([(output_values[:, k] == 0).all() for k in range(values.shape[1])])
        z_leaf = z.detach().requires_grad_()
        if name == "softmax":
            slopes, largest = output_values * (1 - output_values), 0.25
        else:
            (slopes,) = torch.autograd.grad(pytorch.activation(name)(z_leaf).sum(), z_leaf)
            points = np.linspace(-20, 20, 400_001)
            record_, parameters_ = ACTIVATIONS.lookup(name)
            f = record_.function(points, **parameters_)
            slopes, largest = slopes.numpy(), np.abs(np.diff(f) / np.diff(points)).max()
        values_of[layer, "saturated_share"] = (np.abs(slopes) < 0.01 * largest).mean()
        own = gradients[layer - 1].numpy() * count  # of each image's own loss: the loss is their mean
        values_of[layer, "pre_activation_gradient_norm"] = math.sqrt((own**2).sum(axis=1).mean())
        values_of[layer, "pre_activation_gradient_variance"] = own.var()
        at_weights = gradients[depth + layer - 1].numpy()
        values_of[layer, "weight_gradient_norm"] = np.linalg.norm(at_weights)
        values_of[layer, "weight_gradient_variance"] = at_weights.var()
        W = parameters[layer - 1][0].astype(np.float64)
        values_of[layer, "weight_norm"] = np.linalg.norm(W)
        values_of[layer, "weight_spectral_norm"] = np.linalg.norm(W, 2)
        if start:
            values_of[layer, "weight_distance"] = np.linalg.norm(W - start[layer - 1][0])
    for ratio, name in (("gradient_ratio", "pre_activation"), ("weight_gradient_ratio", "weight")):
        values_of[1, ratio] = values_of[1, f"{name}_gradient_norm"] / values_of[depth, f"{name}_gradient_norm"]
    jacobians = vmap(jacrev(lambda image: passed(image)[0][-1]))(x[:JACOBIAN_IMAGES]).detach().numpy()
    s = np.linalg.svd(jacobians, compute_uv=False)
    rounding = np.finfo(np.float32).eps * s.shape[1]
    s = np.array([[value if value >= rounding * row[0] else 0 for value in row] for row in s])
    values_of[depth, "jacobian_largest"], values_of[depth, "jacobian_smallest"] = s[:, 0].mean(), s[:, -1].mean()
    values_of[depth, "jacobian_median"] = np.median(s, axis=1).mean()
    values_of[depth, "jacobian_mean_square"] = (s**2).mean()
    values_of[depth, "jacobian_condition"] = np.median([row[0] / row[-1] if row[-1] != 0 else np.inf for row in s])
    return values_of


def assert_same(actual, expected, rtol):
    assert set(actual) == set(expected)
    wrong = {
        key: (actual[key], value)
        for key, value in expected.items()
        if not np.isclose(actual[key], value, rtol=rtol, atol=rtol * 1e-2, equal_nan=True)
    }
    assert not wrong


HIDDEN = [name for name, entry in ACTIVATIONS.items() if "hidden" in entry.tags]
NETWORKS = [
    *({"activation": name, "hidden": "24-16"} for name in HIDDEN),
    *({"output_activation": name, "loss": loss} for name in ("tanh", "softmax") for loss in ("mse", "cross_entropy")),
    {"activation": "tanh", "hidden": "1", "loss": "hinge"},
    {
        "activation": "leaky_relu(negative_slope=0.2)",
        "hidden": "8-8-8-8-8-8",
        "output_activation": "sigmoid",
        "loss": "mse",
    },
]


@pytest.mark.parametrize("settings", NETWORKS, ids=lambda settings: "-".join(settings.values()))
def test_every_statistic_is_its_definition(settings, small):
    cell = make_cell(initializer="normal(std=0.2)", bias_initializer="normal(std=0.1)", **settings)
    data = Data(small)
    seen = record.images(cell, data)
    layers = cell.layers(data.pixels, data.classes)
    parameters = initial_parameters(cell, layers, data.read, "float64")
    start = initial_parameters(cell._replace(seed=1), layers, data.read, "float64")
    exactly = perceptron.images(seen.values, seen.labels, np.float64)
    expected = plain_signal(cell, parameters, seen.values.astype(np.float64), seen.labels, start)
    actual = perceptron.signal(cell, len(layers), parameters.__getitem__, exactly, start.__getitem__)
    assert {name for _, name in actual} == {*STATISTICS}
    assert_same(actual, expected, 1e-6)


@exact
def test_the_signal_of_a_cell_is_the_same_in_any_stack(small):
    data = Data(small)
    cells = [
        make_cell(initializer=name, activation=activation, hidden="32-16", epochs=1)
        for name in ("he_normal", "orthogonal", "normal(std=1.0)")
        for activation in ("tanh", "relu")
    ]

    def signals(some):
        recorded = record.Record(some, data)
        list(stack.train(some, data, initialized=lambda cell, s, p: recorded.start(p), trained=recorded.stack))
        assert not recorded.reasons
        return [np.array([*signal[0].values(), *signal[1].values()]).tobytes() for signal in recorded.signals]

    together = signals(cells)
    for n in (0, 3, 5):
        assert signals([cells[n]]) == [together[n]]
    assert signals(cells[::-1])[::-1] == together
    for bits, cell in zip(together, cells, strict=True):
        initial = record.initial([cell], data)[0]  # with the Jacobian of layer 2, which a training does not compute
        shared = [value for (layer, name), value in initial.items() if layer != 2 or "jacobian" not in name]
        assert bits.startswith(np.array(shared).tobytes())
        assert len(shared) == len(initial) - 5


def test_after_training_it_is_that_of_the_trained_weights(small):
    """At the last epoch the rows are the definition's, of the weights of the network after its steps."""
    data = Data(small)
    cells = [
        make_cell(initializer=name, hidden="12", epochs=2, optimizer="momentum") for name in ("he_normal", "orthogonal")
    ]
    recorded, networks, starts = record.Record(cells, data), [], []

    def initialized(cell, seconds, parameters):
        starts.append(parameters)
        recorded.start(parameters)

    def trained(network):
        recorded.stack(network)
        networks.extend(network.parameters(starts))

    list(stack.train(cells, data, initialized=initialized, trained=trained))
    seen = record.images(cells[0], data)
    images = seen.values.astype(np.float64)
    for signal, cell, start, end in zip(recorded.signals, cells, starts, networks, strict=True):
        assert all(layer[0].shape == shape for layer, shape in zip(end, cell.layers(784, 10), strict=True))
        assert_same(signal[2], plain_signal(cell, end, images, seen.labels, start), 2e-3)
        assert signal[2][1, "weight_distance"] > 0.01


def of(cell, parameters, images, labels):
    return perceptron.signal(cell, len(parameters), parameters.__getitem__, perceptron.images(images, labels))


def test_zeros_pass_nothing():
    rng = np.random.default_rng(0)
    images, labels = rng.random((20, 6), np.float32), rng.integers(0, 3, 20)
    zeros = [
        (np.zeros((6, 4), np.float32), np.zeros(4, np.float32)),
        (np.zeros((4, 3), np.float32), np.zeros(3, np.float32)),
    ]
    signal = of(make_cell(activation="relu", hidden="4"), zeros, images, labels)
    for name in ("pre_activation_variance", "effective_rank", "weight_norm", "weight_spectral_norm"):
        assert [signal[layer, name] for layer in (1, 2)] == [0, 0]
    assert (signal[1, "dead_share"], signal[1, "saturated_share"]) == (1, 1)
    assert (
        signal[1, "pre_activation_gradient_norm"]
        == signal[1, "gradient_ratio"]
        == 0
        < signal[2, "pre_activation_gradient_norm"]
    )
    assert signal[2, "jacobian_largest"] == 0
    assert math.isnan(signal[1, "correlation"])
    assert signal[2, "jacobian_condition"] == math.inf


def test_identity_networks_are_isometries():
    rng = np.random.default_rng(1)
    images, labels = rng.normal(size=(IMAGES, 8)).astype(np.float32), rng.integers(0, 8, IMAGES)
    identity = [(np.eye(8, dtype=np.float32), np.zeros(8, np.float32))] * 5
    signal = of(make_cell(activation="identity", hidden="8-8-8-8"), identity, images, labels)
    assert [
        signal[5, f"jacobian_{name}"] for name in ("largest", "median", "smallest", "mean_square", "condition")
    ] == [1] * 5
    assert signal[1, "gradient_ratio"] == 1
    for layer in range(1, 6):
        assert signal[layer, "effective_rank"] == signal[0, "effective_rank"]
        assert signal[layer, "correlation"] == signal[0, "correlation"]
        assert signal[layer, "pre_activation_second_moment"] == pytest.approx(
            np.square(images, dtype=float).mean(), rel=1e-6
        )


def test_one_hidden_unit_has_rank_one():
    rng = np.random.default_rng(2)
    images, labels = rng.random((30, 5), np.float32), rng.integers(0, 3, 30)
    layers = [(rng.normal(size=(5, 1)).astype(np.float32), np.zeros(1, np.float32))]
    layers.append((rng.normal(size=(1, 3)).astype(np.float32), np.zeros(3, np.float32)))
    signal = of(make_cell(activation="tanh", hidden="1"), layers, images, labels)
    assert signal[1, "effective_rank"] == pytest.approx(1)
    assert signal[2, "jacobian_smallest"] == pytest.approx(0, abs=1e-6 * signal[2, "jacobian_largest"])
    assert abs(signal[1, "correlation"]) <= 1 + 1e-12


@pytest.mark.parametrize("scale", [1e30, np.inf, np.nan])
def test_a_diverged_network_has_values_that_are_not_finite_and_no_error(scale):
    rng = np.random.default_rng(3)
    images, labels = rng.random((20, 6), np.float32), rng.integers(0, 3, 20)
    shapes = (6, 4), (4, 4), (4, 3)
    layers = [
        (rng.normal(size=shape).astype(np.float32) * np.float32(scale), np.zeros(shape[1], np.float32))
        for shape in shapes
    ]
    signal = of(make_cell(activation="relu", hidden="4-4", loss="mse"), layers, images, labels)
    assert not math.isfinite(signal[3, "pre_activation_second_moment"])
    assert not math.isfinite(signal[1, "pre_activation_gradient_norm"])
    assert math.isfinite(signal[0, "activation_mean"])


def test_a_stack_whose_signal_fails_keeps_its_results(small, monkeypatch):
    data = Data(small)
    cells = [make_cell(epochs=1), make_cell(epochs=1, initializer="zeros")]
    recorded = record.Record(cells, data)
    signal = perceptron.signal

    def failing(cell, *arguments):
        if cell.initializer == "zeros":
            raise RuntimeError("no signal")
        return signal(cell, *arguments)

    monkeypatch.setattr(perceptron, "signal", failing)
    epochs = list(stack.train(cells, data, initialized=lambda c, s, p: recorded.start(p), trained=recorded.stack))
    assert len(epochs) == 2
    assert [sorted(signal) for signal in recorded.signals] == [[0, 1], []]
    assert list(recorded.reasons) == ["RuntimeError: no signal"]
