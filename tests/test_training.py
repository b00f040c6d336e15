"""The stacked trainer against the plain one, and the contract on bits."""

import itertools
import time

import numpy as np
import pytest
import torch
from conftest import exact, make_cell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from initbench import grid, plan
from initbench.activations import ACTIVATIONS
from initbench.losses import LOSSES
from initbench.optimizers import OPTIMIZERS
from initbench.training import reference, stack
from initbench.training.data import Data

RATES = {"sgd": 0.01, "momentum": 0.003, "nesterov": 0.003, "adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-4}


def cells_of(optimizer, hidden, **more):
    """One cell for each activation × loss; without a hidden layer the activation is the output's."""
    names = [name for name, entry in ACTIVATIONS.items() if not hidden or "hidden" in entry.tags]
    return [
        make_cell(
            activation=activation,
            output_activation="identity" if hidden else activation,
            loss=loss,
            optimizer=optimizer,
            hidden=hidden,
            learning_rate=RATES[optimizer],
            **more,
        )
        for activation, loss in itertools.product(names, LOSSES)
    ]


@pytest.mark.parametrize("hidden", ["", "32", "24-16-12"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_first_ten_losses_are_the_plain_trainers_to_1e_5_in_float32(small, optimizer, hidden):
    cells = cells_of(optimizer, hidden)
    epochs = list(stack.train(cells, Data(small), torch.float32))
    for i, cell in enumerate(cells):
        (_, start), (losses, _) = reference.train(cell, small, torch.float32)
        assert len(losses) == 10
        np.testing.assert_allclose(epochs[1].step_losses[:, i], losses, rtol=1e-5, err_msg=str(cell))
        assert epochs[0].validation_loss[i] == pytest.approx(start["validation_loss"], rel=1e-5)
        assert epochs[0].test_accuracy[i] == pytest.approx(start["test_accuracy"], abs=4e-3)  # one image


@pytest.mark.parametrize("hidden", ["", "32", "24-16-12"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_epochs_losses_are_the_plain_trainers_to_1e_10_in_float64(small, optimizer, hidden):
    cells = cells_of(optimizer, hidden, batch_size=50, train_size=610)  # 12 steps, a batch that is no whole block
    epochs = list(stack.train(cells, Data(small), torch.float64))
    for i, cell in enumerate(cells):
        _, (losses, end) = reference.train(cell, small, torch.float64)
        assert len(losses) == 12
        np.testing.assert_allclose(epochs[1].step_losses[:, i], losses, rtol=1e-10, err_msg=str(cell))
        for metric, expected in end.items():
            assert getattr(epochs[1], metric)[i] == pytest.approx(expected, rel=1e-9), (cell, metric)


def test_a_whole_epoch_of_mnist_is_the_plain_trainers_to_1e_10_in_float64(mnist):
    cells = [
        make_cell(activation=a, output_activation=o, loss=loss, train_size=55000, learning_rate=0.05)
        for a, o, loss in (("tanh", "tanh", "mse"), ("softmax", "softmax", "cross_entropy"))
    ]
    for stacked in (cells, [make_cell(hidden="16", train_size=55000, loss="mse", learning_rate=0.05)]):
        _, epoch = stack.train(stacked, Data(mnist), torch.float64)
        for i, cell in enumerate(stacked):
            _, (losses, end) = reference.train(cell, mnist, torch.float64)
            assert len(losses) == 429
            np.testing.assert_allclose(epoch.step_losses[:, i], losses, rtol=1e-10)
            assert epoch.test_loss[i] == pytest.approx(end["test_loss"], rel=1e-10)


def test_both_schedules_and_all_biases_are_the_plain_trainers(small):
    cells = [
        make_cell(lr_schedule=schedule, lr_decay=0.3, epochs=3, bias_initializer=bias, hidden="20", batch_size=100)
        for schedule in ("constant", "exponential")
        for bias in ("ones", "torch_linear_default", "normal(std=0.3)")
    ]
    epochs = list(stack.train(cells, Data(small), torch.float64))
    for i, cell in enumerate(cells):
        for epoch, (losses, end) in enumerate(reference.train(cell, small, torch.float64)):
            np.testing.assert_allclose(epochs[epoch].step_losses[:, i], losses, rtol=1e-10)
            assert epochs[epoch].validation_accuracy[i] == pytest.approx(end["validation_accuracy"])


def test_the_rate_is_the_articles_or_what_it_meant():
    article = make_cell(learning_rate=0.1, lr_decay=1e-3, epochs=10)
    assert [article.rate(epoch) for epoch in (1, 10)] == pytest.approx([0.0999, 0.0999])
    meant = make_cell(learning_rate=0.1, lr_decay=1e-3, lr_schedule="exponential", epochs=10)
    assert [meant.rate(epoch) for epoch in (1, 2, 10)] == pytest.approx([0.1, 0.0999, 0.1 * 0.999**9])


def results(cells, data):
    """Every number that training gives, by cell."""
    epochs = list(stack.train(cells, data))
    found = {}
    for i, cell in enumerate(cells):
        numbers = [
            array[..., i] for e in epochs for array in (e.step_losses, e.validation_loss, e.test_loss, e.test_accuracy)
        ]
        found[cell] = np.concatenate([np.ravel(n) for n in numbers]).tobytes()
    return found


GRID = """
[grid]
initializer = ["glorot_uniform", "zeros", {{ name = "truncated_normal", std = 1.0 }}, "orthogonal"]
activation = {activations}
loss = {losses}
learning_rate = [0.1, 0.01]
seed = 1
[model]
hidden = {hidden}
output_activation = "{output}"
[training]
optimizer = "{optimizer}"
batch_size = {batch}
epochs = 1
train_size = 640
"""


@exact
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cells_bits_do_not_depend_on_its_stack(small, data):
    """Random grids, random partitions into stacks in any order: every number of every cell has the same bits."""
    hidden = data.draw(st.sampled_from([[], [16], [10, 7], [33]]))
    names = [n for n, e in ACTIVATIONS.items() if not hidden or "hidden" in e.tags]
    text = GRID.format(
        activations=data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)),
        losses=data.draw(st.lists(st.sampled_from(list(LOSSES)), min_size=1, max_size=3, unique=True)),
        hidden=hidden,
        output="same" if not hidden else "identity",
        optimizer=data.draw(st.sampled_from(list(OPTIMIZERS))),
        batch=data.draw(st.sampled_from([32, 50, 128])),
    )
    cells = list(grid.parse(text).cells())
    held = Data(small)
    whole = results(cells, held)
    shuffled = data.draw(st.permutations(cells))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(cells) - 1), max_size=4)))
    for start, stop in itertools.pairwise([0, *cuts, len(cells)]):
        for cell, bits in results(shuffled[start:stop], held).items():
            assert bits == whole[cell], cell


@exact
def test_a_diverged_cell_leaves_its_neighbours_bits_alone(small):
    calm = [make_cell(hidden="16", loss="mse", activation="relu", initializer=n) for n in ("zeros", "he_normal")]
    wild = make_cell(hidden="16", loss="mse", activation="relu", learning_rate=1e30)
    data = Data(small)
    alone = results(calm, data)
    beside = results([calm[0], wild, calm[1]], data)
    assert not np.isfinite(np.frombuffer(beside[wild])).all()
    assert {cell: beside[cell] for cell in calm} == alone


@exact
def test_bits_are_checked_and_hold_here(small):
    cells = cells_of("sgd", "32")[:7]
    assert stack.bits_hold(cells, Data(small))
    assert stack.bits_hold(cells[:1], Data(small))


def test_the_check_of_bits_can_fail(small, monkeypatch):
    class Leaky(stack.Steps):
        @property
        def numbers(self):
            *others, accuracy = super().numbers
            return [*others, accuracy + 1e-6 * len(accuracy)]

    monkeypatch.setattr(stack, "Steps", Leaky)
    assert not stack.bits_hold(cells_of("sgd", "")[:6], Data(small))


def test_pixels_that_are_never_lit_change_nothing(mnist):
    assert len(mnist.active_pixels) == 784 - 65
    dark = np.setdiff1d(np.arange(784), mnist.active_pixels)
    assert mnist.train_images[:, dark].max() == mnist.test_images[:, dark].max() == 0


def test_a_plan_holds_every_cell_once_and_stacks_of_a_kind():
    parsed = grid.parse(
        """
        [grid]
        initializer = ["zeros", "he_normal"]
        activation = ["tanh", "relu", "gelu"]
        hidden = [[16], [32], [64, 64]]
        optimizer = ["sgd", "adam"]
        seed = 3
        """
    )
    for workers in (1, 2, 7):
        stacks = plan.plan(parsed.cells(), parsed.sources, workers)
        assert sorted(c.id for s in stacks for c in s.cells) == sorted(c.id for c in parsed.cells())
        for s in stacks:
            assert len({(c.seed, c.hidden, c.optimizer, c.batch_size) for c in s.cells}) == 1
        assert [s.operations for s in stacks] == sorted((s.operations for s in stacks), reverse=True)


def test_operations_are_those_counted_by_hand():
    parsed = grid.parse('[grid]\ninitializer = "zeros"\nseed = 1\n[model]\nhidden = [128]\n[training]\nepochs = 2')
    (only,) = plan.plan(parsed.cells(), parsed.sources)
    first, second = 784 * 128, 128 * 10
    steps = 2 * (55000 // 128) * 128 * (2 * first + 3 * second)
    assert only.operations == 2 * (steps + 3 * 15000 * (first + second))


def test_a_step_of_a_stack_costs_less_than_its_cells_one_by_one(benchmark, mnist):
    """The ratio of one run on one machine, one thread each: 24 cells of the article's network."""
    cells = [
        make_cell(initializer=i, output_activation=a, activation=a, loss=n, train_size=55000)
        for i, a, n in itertools.product(
            ("zeros", "glorot_uniform", "he_normal"), ("tanh", "relu", "sigmoid", "softmax"), ("mse", "cross_entropy")
        )
    ]
    steps = stack.Steps(cells, Data(mnist)).take(5)
    model = reference.network(cells[0], 784, 10, torch.float32)
    descent = reference.optimizer(cells[0], model)
    x = torch.from_numpy(mnist.train_images[:128]).float() / 255
    labels = torch.from_numpy(mnist.train_labels[:128]).long()
    times = {"stack": [], "loop": []}
    for _ in range(50):
        start = time.perf_counter()
        steps.take(1)
        middle = time.perf_counter()
        reference.descend(cells[0], model, descent, x, labels)
        times["stack"].append(middle - start)
        times["loop"].append(time.perf_counter() - middle)
    ratio = np.median(times["loop"]) * len(cells) / np.median(times["stack"])
    benchmark.extra_info["times faster than the plain loop"] = ratio
    benchmark.pedantic(lambda: steps.take(1), rounds=50)
    assert ratio > 2
