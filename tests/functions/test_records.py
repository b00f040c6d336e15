"""One record a function: a new activation, loss or optimizer is added in one place, and works everywhere."""

import subprocess
import sys

import made_up
import numpy as np
import oracle
import pytest
import torch
from cells import make_cell

import initbench as ib
from initbench.data import datasets
from initbench.errors import UserError
from initbench.execution import plan
from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES
from initbench.functions.optimizers import OPTIMIZERS
from initbench.training import kernels, stack
from initbench.training.data import Data
from initbench.training.updates import Updates

REGISTRIES = ACTIVATIONS, LOSSES, OPTIMIZERS


@pytest.fixture
def added(monkeypatch):
    """A new activation, loss and optimizer, each with a parameter; removed after the test."""
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    class Cube(torch.nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = scale

        def forward(self, x):
            return self.scale * x**3

    @ACTIVATIONS.register(
        "hidden",
        "output",
        module=Cube,
        forward=lambda z, a, scale: torch.mul(z**3, scale, out=a),
        backward=lambda g, z, a, scale: g.mul_(3 * scale * z**2),
    )
    def cube(x, *, scale: float = 0.5):
        """f(x) = scale · x³."""
        return scale * x**3

    def fourth_power(output, target, labels, gradient, values, weight):
        difference = output - target
        gradient.copy_(4 * weight * difference**3)
        values.copy_(weight * difference**4)

    @LOSSES.register(
        torch=lambda output, labels, weight: weight * (output - torch.nn.functional.one_hot(labels, 10)).pow(4).mean(),
        kernel=fourth_power,
    )
    def fourth(output, labels, *, weight: float = 2.0):
        """Mean of weight · (output − one-hot)⁴."""
        return weight * float(np.mean((output - np.eye(output.shape[1])[labels]) ** 4))

    class Decayed(torch.optim.SGD):
        def __init__(self, parameters, learning_rate, decay):
            super().__init__(parameters, learning_rate, weight_decay=decay)

    def formula(W, g, rate, constants, sqrt):
        (decay,) = constants
        return W - rate * (g + decay * W)

    @OPTIMIZERS.register(torch=Decayed, n_arrays=3, formula=formula, constants=lambda t, decay: (decay,))
    def decayed(weights, gradient, state, *, learning_rate, decay: float = 0.01):
        """W ← W − lr · (g + decay · W)."""
        return weights - learning_rate * (gradient + decay * weights)


GRID = """
[grid]
initializer = ["zeros", "he_normal"]
activation = ["cube", "tanh"]
seed = 2
[model]
hidden = [8]
[training]
loss = "fourth"
optimizer = { name = "decayed", decay = 0.2 }
epochs = 1
"""
CELL = {"activation": "cube(scale=0.2)", "loss": "fourth", "optimizer": "decayed(decay=0.1)", "hidden": "24-16"}


def test_new_functions_train_fused_as_in_the_plain_trainer(added, small):
    cell = make_cell(**CELL, learning_rate=0.05)
    others = [make_cell(**{**CELL, "activation": "tanh", "loss": "mse"})]
    epochs = list(stack.train([cell, *others], Data(small), torch.float64))
    (_, start), (losses, end) = oracle.trained(cell, small, torch.float64)
    np.testing.assert_allclose(epochs[1].step_losses[:, 0], losses, rtol=1e-10)
    for metric in end:
        assert getattr(epochs[0], metric)[0] == pytest.approx(start[metric], rel=1e-9)
        assert getattr(epochs[1], metric)[0] == pytest.approx(end[metric], rel=1e-9)


def test_new_functions_are_planned_by_their_arrays(added):
    source = datasets.find("mnist")
    cell = make_cell(**CELL)
    (planned,) = plan.plan([cell], {"mnist": source}, memory=1e9)
    assert planned.cells == (cell,)
    weights = 4 * plan.weights(cell, source)
    assert plan.training_bytes(cell._replace(optimizer="momentum"), source) - plan.training_bytes(
        cell, source
    ) == pytest.approx(weights)


def test_new_functions_stand_in_a_grid_and_its_report(added, tmp_path, monkeypatch):
    made_up.instantly(monkeypatch)
    path = tmp_path / "added.toml"
    path.write_text(GRID)
    table = ib.run(path, results=tmp_path).frame
    assert set(table.optimizer) == {"decayed(decay=0.2)"}
    page = ib.report(tmp_path / "added").read_text()
    assert "cube" in page
    assert "fourth" in page


def test_a_name_that_is_registered_twice_is_an_error():
    with pytest.raises(ValueError, match="an optimizer is registered as sgd already; use another name"):
        OPTIMIZERS.register(torch=torch.optim.SGD, n_arrays=2)(OPTIMIZERS["sgd"].function)


def test_a_record_without_a_fused_form_is_refused_by_the_fused_trainer_alone(added, small):
    @OPTIMIZERS.register(torch=torch.optim.Adagrad, n_arrays=4)
    def adagrad(weights, gradient, state, *, learning_rate):
        """W ← W − lr · g / √Σg²."""

    @LOSSES.register(torch=lambda output, labels: output.square().mean())
    def ridge(output, labels):
        """Mean of output²."""

    @ACTIVATIONS.register("hidden", module=torch.nn.Hardtanh)
    def hardtanh(x):
        """f(x) = min(max(x, −1), 1)."""

    def refused(lookup, *arguments):
        with pytest.raises(UserError) as error:
            lookup(*arguments)
        return str(error.value)

    line = "{} cannot be trained in stacks: its record in initbench/functions has no `{}`"
    assert refused(Updates, "adagrad", [torch.ones(2, 1)]) == line.format("adagrad", "formula")
    assert refused(kernels.loss, "ridge", 10) == line.format("ridge", "kernel")
    assert refused(kernels.activation, "hardtanh") == line.format("hardtanh", "forward")
    cell = make_cell(activation="hardtanh", loss="ridge", optimizer="adagrad", hidden="8")
    _, (losses, _) = oracle.trained(cell, small)
    assert len(losses) == 10


@pytest.mark.parametrize("registry", REGISTRIES)
def test_an_unknown_name_is_an_error_in_every_trainer(registry):
    with pytest.raises(ValueError, match=f"unknown {registry.kind} 'nothing'"):
        registry.lookup("nothing")


def test_the_records_import_no_torch():
    modules = "activations, losses, optimizers"
    code = f"import sys; from initbench.functions import {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
