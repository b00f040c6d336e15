"""The article's network, implemented from its formulas in NumPy with float64, compared with the package."""

import numpy as np
import pytest
import torch

from initbench.initializers import truncated_normal
from initbench.random import streams
from initbench.spec import grid, presets
from initbench.training import stack
from initbench.training.data import Data

EPOCHS = 2


def articles_training(arrays, seed, precision):
    """The article's costs, and the accuracy of outputs in the given precision.

    Its weights saturate tanh, and where several outputs round to the same 1 the first of them is the answer (argmax):
    so the accuracy depends on the precision in which the outputs are rounded.

    prediction = tanh(x W + b); cost = mean((prediction − one-hot)²); both updated with lr · (1 − decay)."""
    x, y = arrays.train_images[5000:] / 255, np.eye(10)[arrays.train_labels[5000:]]
    W = truncated_normal((784, 10), std=1.0, seed=seed, dtype=precision).astype(np.float64)
    b = np.ones(10)
    learning_rate, lr_decay, batch_size = 0.1, 1e-3, 128
    total_batch = len(x) // batch_size
    costs = []
    for epoch in range(1, EPOCHS + 1):
        order = streams.order(seed, epoch, len(x))
        avg_cost = 0.0
        for i in range(total_batch):
            rows = order[i * batch_size : (i + 1) * batch_size]
            prediction = np.tanh(x[rows] @ W + b)
            difference = prediction - y[rows]
            avg_cost += np.mean(difference**2) / total_batch
            slope = 2 * difference / difference.size * (1 - prediction**2)
            W -= learning_rate * (1 - lr_decay) * (x[rows].T @ slope)
            b -= learning_rate * (1 - lr_decay) * slope.sum(axis=0)
        costs.append(avg_cost)
    prediction = np.tanh((arrays.test_images / 255 @ W + b).astype(precision))
    return costs, np.mean(prediction.argmax(axis=1) == arrays.test_labels)


def articles_cell():
    whole = grid.parse(presets.text("keepcoding"), overrides={"epochs": EPOCHS})
    (cell,) = (
        c
        for c in whole.cells()
        if (c.initializer, c.activation, c.loss, c.seed) == ("truncated_normal(std=1.0)", "tanh", "mse", 0)
    )
    return cell


def test_the_preset_contains_the_articles_cell():
    cell = articles_cell()
    assert (cell.learning_rate, cell.lr_decay, cell.lr_schedule, cell.batch_size) == (
        0.1,
        1e-3,
        "constant",
        128,
    )
    assert (cell.hidden, cell.output_activation, cell.bias_initializer) == ("", "tanh", "ones")
    assert (cell.train_size, cell.steps_per_epoch) == (55000, 429)


def test_the_preset_is_six_by_four_by_two_by_five():
    whole = grid.parse(presets.text("keepcoding"))
    assert len(whole) == 240
    assert {s: len(whole.axes[s]) for s in whole.varying} == {
        "initializer": 6,
        "activation": 4,
        "loss": 2,
        "seed": 5,
    }
    assert whole.axes["epochs"] == (10,)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), pytest.param(torch.float32, 1e-4, marks=pytest.mark.slow)]
)
def test_training_reproduces_the_articles_costs_and_accuracy(mnist, dtype, tolerance):
    costs, accuracy = articles_training(mnist, 0, str(dtype).removeprefix("torch."))
    _, *epochs = stack.train([articles_cell()], Data(mnist), dtype)
    assert [e.train_loss[0] for e in epochs] == pytest.approx(costs, rel=tolerance)
    assert epochs[-1].test_accuracy[0] == pytest.approx(accuracy, abs=0 if dtype == torch.float64 else 1e-2)
    assert costs[-1] < costs[0]
