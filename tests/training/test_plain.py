"""The plain loop, as the trainer of functions without fused forms: those of plugins."""

import json
import random
import re
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
import torch
from cells import exact, make_cell

from initbench.data import datasets
from initbench.errors import PluginError
from initbench.functions import pytorch
from initbench.functions.activations import ACTIVATIONS, Activation
from initbench.functions.forms import has_fused_forms
from initbench.functions.optimizers import OPTIMIZERS, Optimizer
from initbench.plugins import records
from initbench.plugins.bundle import Bundle
from initbench.spec.cell import LATER
from initbench.spec.columns import METRICS
from initbench.training import plain, stack, tasks
from initbench.training.data import Data
from initbench.training.plain import Loop, PlainData, Split

CODE = b"""
import os
import torch
from torch import nn
import initbench as ib

@ib.activation
def own_relu(x):
    return torch.relu(x)

@ib.activation
class Learned(nn.PReLU):
    def __init__(self, start: float = 0.25):
        super().__init__(init=start)

@ib.activation
class Drawn(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.rand(1))

    def forward(self, x):
        return nn.functional.rrelu(x, training=self.training) + self.slope * x

@ib.activation
def noisy(x):
    return x.tanh() + 0.1 * torch.rand_like(x)

@ib.activation
def of_the_system(x):
    return x * (1 + int.from_bytes(os.urandom(4)) / 2**34)

@ib.activation
class Dropped(nn.Dropout):
    def __init__(self):
        super().__init__(0.5)

@ib.activation
def strict(x, *, limit: float = 1e38):
    if not x.isfinite().all() or x.abs().max() > limit:
        raise ValueError("values are too large")
    return x.clamp(min=0)

@ib.activation
class Kept(nn.Module):
    def forward(self, x):
        if not hasattr(self, "mask"):
            self.mask = torch.ones(x.shape[1]) / 2
        return x * self.mask

@ib.activation
def meddling(x):
    torch.set_num_threads(2)
    torch.set_flush_denormal(False)
    return x.tanh()

@ib.loss
def own_cross_entropy(output, labels):
    return nn.functional.cross_entropy(output, labels)

@ib.optimizer
class Least:
    def __init__(self, parameters, lr):
        self.param_groups = [{"params": list(parameters), "lr": lr}]

    def zero_grad(self):
        for p in self.param_groups[0]["params"]:
            p.grad = None

    def step(self):
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.add_(p.grad, alpha=-self.param_groups[0]["lr"])

@ib.optimizer
def by_layer(parameters, learning_rate):
    first, *others = parameters
    return torch.optim.SGD([{"params": [first], "lr": 3 * learning_rate}, {"params": others}], learning_rate)
"""
BUNDLE = Bundle("own.py", "own.py", {"own.py": CODE})


def own(name):
    """The full name of a function of the plugin, with parameters."""
    name, bracket, parameters = name.partition("(")
    return f"{name}@{BUNDLE.digest}{bracket}{parameters}"


@pytest.fixture(scope="module", autouse=True)
def plugin():
    records.register(BUNDLE)


def bits(cell, data):
    """Every number of a cell's training, as bytes."""
    return b"".join(
        array.tobytes()
        for epoch in plain.train(cell, data)
        for array in (epoch.step_losses, *(getattr(epoch, name) for name in METRICS))
    )


def test_perceptrons_alone_train_in_stacks_and_only_without_what_the_stacked_trainer_ignores():
    in_stacks = {
        "standardize": True,
        "warmup_epochs": 1.0,
        "lr_schedule": "cosine",
        "optimizer": "adam(weight_decay=0.1)",
        "loss": "cross_entropy(label_smoothing=0.1)",
    }
    one_at_a_time = {
        "model": "lenet5",
        "normalization": "layer",
        "dropout": 0.1,
        "augment": "flip",
        "gradient_clipping": 1.0,
    }
    assert set(LATER) <= {*in_stacks, *one_at_a_time}
    assert make_cell(**in_stacks).is_fused
    for name, value in one_at_a_time.items():
        assert not make_cell(**{name: value}).is_fused, name


def test_a_function_has_a_fused_form_if_its_record_has_one():
    assert has_fused_forms("leaky_relu(negative_slope=0.2)", "softmax", "huber(delta=2.0)", "adam(beta1=0.5)")
    assert not has_fused_forms(own("own_relu"), "identity", "mse", "sgd")
    assert not has_fused_forms("relu", own("own_relu"), "mse", "sgd")
    assert not has_fused_forms("relu", "identity", own("own_cross_entropy"), "sgd")
    assert not has_fused_forms("relu", "identity", "mse", own("Least"))
    name = "later@0123456789abcdef0123"
    assert not has_fused_forms(name, "identity", "mse", "sgd")
    relu = ACTIVATIONS["relu"]
    ACTIVATIONS.add(Activation(**{**vars(relu), "name": name}))
    assert has_fused_forms(name, "identity", "mse", "sgd")
    ACTIVATIONS.add(Activation(**{**vars(relu), "name": name, "backward": None}))
    assert not has_fused_forms(name, "identity", "mse", "sgd")


def in_worker(cells, small, monkeypatch):
    """The reply of a worker that trains these cells, as one stack, by their form."""
    source = datasets.describe(small, "")
    monkeypatch.setattr(datasets.Source, "load", lambda source: small)
    monkeypatch.setattr(tasks, "_product_rate", lambda device: 1.0)
    messages = []
    task = {"task": 1, "action": "train", "source": asdict(source), "cells": cells, "plugins": [BUNDLE.to_json()]}
    tasks.serve(json.loads(json.dumps(task)), {}, {}, lambda **message: messages.append(message), "cpu")
    return json.loads(json.dumps(messages[-1]))


@exact
def test_an_own_function_trains_as_the_oracle_and_as_the_fused_form_of_the_same_function(small, monkeypatch):
    usual = make_cell(activation="relu", hidden="24-16", learning_rate=0.05)
    mine = usual._replace(
        activation=own("own_relu"), loss=own("own_cross_entropy"), optimizer=own("Least"), output_activation="identity"
    )
    reply = in_worker([mine, mine._replace(seed=1)], small, monkeypatch)
    assert reply["exact"]
    assert reply["initialization"]["glorot_uniform"]["cells"] == 2
    metrics = {name: np.array(values) for name, values in reply["metrics"].items()}  # [epoch, cell]
    assert (metrics["test_loss"][:, 0] != metrics["test_loss"][:, 1]).all()
    # The same operations in the same order: the same bits.
    for epoch, (losses, expected) in enumerate(oracle.trained(usual, small)):
        for name, value in expected.items():
            assert metrics[name][epoch, 0] == value, name
        if len(losses):
            assert metrics["train_loss"][epoch, 0] == losses.mean()
    fused = in_worker([usual], small, monkeypatch)["metrics"]
    np.testing.assert_allclose(metrics["train_loss"][1, 0], fused["train_loss"][1][0], rtol=1e-5)
    for name in ("validation_loss", "test_loss"):
        np.testing.assert_allclose(metrics[name][:, :1], fused[name], rtol=1e-5)
    for name in ("validation_accuracy", "test_accuracy"):
        np.testing.assert_allclose(metrics[name][:, :1], fused[name], atol=4e-3)


@exact
def test_a_cells_bits_depend_neither_on_what_trained_before_nor_on_random_states(small):
    data = PlainData(small)
    short = {"train_size": 512, "epochs": 2, "hidden": "16-8"}
    cells = [make_cell(activation=own(name), **short) for name in ("Drawn", "noisy", "Learned", "Dropped")]
    cells += [make_cell(activation=own("Drawn"), seed=1, **short)]
    alone = {cell: bits(cell, data) for cell in cells}
    assert len(set(alone.values())) == len(cells)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    for cell in reversed(cells):
        assert bits(cell, data) == alone[cell], cell
    # Two that train in turns, epoch by epoch.
    together = zip(*(plain.train(cell, data) for cell in cells[:2]), strict=True)
    losses = [[epoch.step_losses.tobytes() for epoch in epochs] for epochs in zip(*together, strict=True)]
    for cell, by_epoch in zip(cells, losses, strict=False):
        assert all(bytes_of_epoch in alone[cell] for bytes_of_epoch in by_epoch)


@exact
def test_what_an_own_function_sets_for_the_process_changes_no_later_cell(small):
    data, cell = PlainData(small), make_cell(hidden="200", learning_rate=1e-30, initializer="normal(std=1e-36)")
    before = bits(cell, data)
    bits(make_cell(activation=own("meddling"), hidden="8", train_size=256), data)
    assert torch.get_num_threads() == 2
    assert bits(cell, data) == before
    assert torch.get_num_threads() == 1


def test_the_parameters_of_a_module_are_trained_and_begin_as_the_cell_says(small):
    loop = Loop(make_cell(activation=own("Learned(start=0.5)"), hidden="16-8"), PlainData(small))
    slopes = [loop.model[0][2].weight, loop.model[0][4].weight]
    assert [slope.item() for slope in slopes] == [0.5, 0.5]
    loop.take(5)
    assert len({0.5, *(slope.item() for slope in slopes)}) == 3


def test_what_is_drawn_at_random_is_new_in_each_epoch_and_a_module_is_evaluated_in_its_own_mode(small):
    data, cell = PlainData(small), make_cell(activation=own("Dropped"), hidden="64", learning_rate=1e-30, epochs=2)
    start, first, second = plain.train(cell, data)
    assert start.test_loss == first.test_loss == second.test_loss  # nothing is dropped
    assert len({*first.step_losses[:, 0], *second.step_losses[:, 0]}) == 20
    loop = Loop(make_cell(activation=own("noisy"), hidden="64"), data)
    assert loop.evaluate(data.test) != loop.evaluate(data.test)


def test_steps_are_in_training_mode_evaluations_are_not_and_both_take_deterministic_algorithms(small):
    loop = Loop(make_cell(hidden="8", normalization="batch", dropout=0.5, train_size=256), PlainData(small))
    seen = []

    def note(module, inputs):
        seen.append(({part.training for part in module.modules()}, torch.get_deterministic_debug_mode() > 0))

    loop.model.register_forward_pre_hook(note)
    for _ in range(2):
        seen.clear()
        loop.evaluate(Split(*(array[:8] for array in loop.data.test)))
        loop.take(2)
        assert seen == [({False}, True), ({True}, True), ({True}, True)]
        assert torch.get_deterministic_debug_mode() == 0


@exact
def test_a_function_that_gives_other_numbers_each_time_is_found(small):
    data = PlainData(small)
    assert all(plain.repeats(make_cell(activation=own(n), hidden="8"), data) for n in ("noisy", "Drawn", "own_relu"))
    assert not plain.repeats(make_cell(activation=own("of_the_system"), hidden="8"), data)


def test_a_module_may_keep_what_it_makes_in_an_evaluation(small):
    _, epoch = plain.train(make_cell(activation=own("Kept"), hidden="16"), PlainData(small))
    assert epoch.train_loss < 2.3


@pytest.mark.parametrize(
    "schedule", [{"lr_schedule": "constant"}, {"lr_schedule": "exponential", "lr_decay": 0.5}, {"warmup_epochs": 2.0}]
)
def test_an_optimizers_groups_keep_the_ratios_of_their_rates(small, schedule):
    cell = make_cell(optimizer=own("by_layer"), hidden="8", epochs=3, **schedule)
    loop = Loop(cell, PlainData(small))
    for epoch in (1, 2, 3):
        loop.begin(epoch)
        loop.take(3)
        rates = [group["lr"] for group in loop.optimizer.param_groups]
        rate = cell.step_rates(epoch)[2]
        assert rates == pytest.approx([3 * rate, rate], rel=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "line"),
    [
        (torch.optim.LBFGS, "its step needs closure; allowed: a step() from the gradients of one batch"),
        (
            lambda parameters, rate: "none",
            "returned str; allowed: a torch.optim.Optimizer, or another object with step, zero_grad, param_groups",
        ),
        (
            lambda parameters, rate: SimpleNamespace(step=print, zero_grad=print, param_groups=[{"params": []}]),
            "its param_groups have no key lr; allowed: a learning rate that a schedule can set",
        ),
    ],
)
def test_an_optimizer_that_cannot_train_is_refused_in_one_line(optimizer, line):
    name = f"refused@{BUNDLE.digest}"
    fields = {"name": name, "parameters": (), "torch": optimizer}
    OPTIMIZERS.add(Optimizer(**{**vars(OPTIMIZERS["sgd"]), **fields}))
    with pytest.raises(ValueError, match=re.escape(line)):
        pytorch.optimizer(name, [torch.nn.Parameter(torch.ones(2))], 0.1)


WILD = {"hidden": "16", "loss": "mse", "learning_rate": 1e30, "epochs": 3}


def metrics_of(epochs):
    """A cell's metrics as a worker sends them, `[epoch][cell]`."""
    rows = list(epochs)
    return {name: [getattr(epoch, name).tolist() for epoch in rows] for name in METRICS}


@pytest.mark.parametrize("activation", ["own_relu", "strict"])
def test_a_diverged_cell_is_one_result_as_in_a_stack_even_where_a_function_refuses_its_numbers(small, activation):
    fused = make_cell(activation="relu", **WILD)
    from initbench.results.table import table  # here, as `make gpu` has no pyarrow

    expected = table([fused], metrics_of(stack.train([fused], Data(small)))).to_pylist()
    mine = fused._replace(activation=own(activation))
    rows = table([mine], metrics_of(plain.train(mine, PlainData(small)))).to_pylist()
    assert [row["status"] for row in rows] == ["trained", "diverged", "diverged", "diverged"]
    for row, other in zip(rows, expected, strict=True):
        assert row["status"] == other["status"]
        for name in METRICS:
            assert (row[name] is None) == (other[name] is None)
            assert row[name] is None or row[name] == pytest.approx(other[name], rel=1e-5, abs=4e-3)


def test_an_error_of_a_function_has_its_file_line_and_message(small):
    cell = make_cell(activation=own("strict(limit=0.001)"), hidden="8")
    line = CODE.decode().split("\n").index('        raise ValueError("values are too large")') + 1
    with pytest.raises(PluginError, match=f"own.py, line {line}, in strict: ValueError: values are too large"):
        Loop(cell, PlainData(small)).take(1)


def test_the_data_are_the_bytes_of_the_file_without_a_copy(small):
    data = PlainData(small)
    assert data.train.images.dtype == torch.uint8
    assert data.test.images.data_ptr() == small.test_images.ctypes.data
    rows = np.array([5, 3])
    images, labels = data.read(rows)
    np.testing.assert_array_equal(images, small.train_images[small.validation_size :][rows] / 255)
    np.testing.assert_array_equal(labels, small.train_labels[small.validation_size :][rows])


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["own_relu", "Drawn"])
def test_on_a_gpu_a_cell_trains_to_the_same_numbers_each_time(small, name):
    cell, data = make_cell(activation=own(name), hidden="24-16", epochs=2), PlainData(small, "cuda")
    assert bits(cell, data) == bits(cell, data)
    if name == "own_relu":
        for epoch, expected in zip(plain.train(cell, data), plain.train(cell, PlainData(small)), strict=True):
            np.testing.assert_allclose(epoch.step_losses, expected.step_losses, rtol=1e-3)
            assert epoch.test_loss == pytest.approx(expected.test_loss, rel=1e-3)
