"""Standardized images and images of floats, in both trainers, against PyTorch alone."""

import dataclasses

import numpy as np
import oracle
import pytest
import torch
from cells import exact, make_cell
from torch import nn

from initbench.random import streams
from initbench.training import plain, stack
from initbench.training.data import Data
from initbench.training.parameters import initial_parameters


@pytest.fixture(scope="module")
def coloured(mnist):
    """Images of 4 × 7 pixels of three channels, of MNIST's: one of them is constant in the training split."""
    images = mnist.train_images[:1400, 200:284].copy(), mnist.test_images[:300, 200:284].copy()
    images[0].reshape(-1, 3)[:, 1] = 7
    return dataclasses.replace(
        mnist,
        train_images=images[0],
        train_labels=mnist.train_labels[:1400],
        test_images=images[1],
        test_labels=mnist.test_labels[:300],
        shape=(4, 7, 3),
    )


def as_floats(arrays):
    """The same images as floats from −2 to 8, of which PyTorch is given the same numbers."""
    train, test = (np.float32(images) / 25.5 - 2 for images in (arrays.train_images, arrays.test_images))
    return dataclasses.replace(arrays, train_images=train, test_images=test)


DATA = {"bytes": lambda arrays: arrays, "floats": as_floats}


def read_by_hand(arrays, images, standardize):
    """What networks read of images, `[n, height × width, channels]`, by the formula."""
    pixels = np.float64(images).reshape(len(images), -1, arrays.shape[2])
    training = np.float64(arrays.train_images[arrays.validation_size :]).reshape(-1, arrays.shape[2])
    if not standardize:
        return (pixels / (1 if arrays.is_float else 255)).reshape(len(images), -1)
    deviation = training.std(axis=0)
    deviation[deviation == 0] = 1 if arrays.is_float else 255
    return ((pixels - training.mean(axis=0)) / deviation).reshape(len(images), -1)


def losses_by_hand(cell, arrays):
    """The losses of an epoch's steps and of the test split, by plain gradient descent in PyTorch."""
    split = arrays.validation_size
    train, test = (
        torch.from_numpy(read_by_hand(arrays, images, cell.standardize))
        for images in (arrays.train_images[split:], arrays.test_images)
    )
    labels = torch.from_numpy(arrays.train_labels[split:]).long()
    (W, b), (V, c) = initial_parameters(cell, cell.layers(train.shape[1], 10), dtype="float64")
    model = nn.Sequential(nn.Linear(*W.shape), nn.Tanh(), nn.Linear(*V.shape)).double()
    with torch.no_grad():
        for parameter, start in zip(model.parameters(), (W.T, b, V.T, c), strict=True):
            parameter.copy_(torch.from_numpy(np.array(start)))
    optimizer = torch.optim.SGD(model.parameters(), cell.learning_rate)
    losses = []
    order = torch.from_numpy(streams.order(cell.seed, 1, cell.train_size))
    for rows in order[: cell.steps_per_epoch * cell.batch_size].split(cell.batch_size):
        loss = nn.functional.cross_entropy(model(train[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, nn.functional.cross_entropy(model(test), torch.from_numpy(arrays.test_labels).long()).item()


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("kind", DATA)
def test_networks_read_the_same_numbers_in_both_trainers_and_in_pytorch(coloured, kind, standardize):
    arrays = DATA[kind](coloured)
    common = {"hidden": "12", "train_size": 600, "standardize": standardize, "learning_rate": 0.05}
    for batch_size in (50, 64):
        cell = make_cell(**common, batch_size=batch_size)
        losses, test = losses_by_hand(cell, arrays)
        assert cell.is_fused
        _, epoch = stack.train([cell], Data(arrays, standardize=standardize), torch.float64)
        np.testing.assert_allclose(epoch.step_losses[:, 0], losses, rtol=1e-9)
        assert epoch.test_loss[0] == pytest.approx(test, rel=1e-9)
        _, (plain_losses, end) = oracle.trained(cell, arrays, torch.float64)
        np.testing.assert_allclose(plain_losses, losses, rtol=1e-9)
        assert end["test_loss"] == pytest.approx(test, rel=1e-9)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("kind", DATA)
def test_initializers_are_given_what_networks_read(coloured, kind, standardize):
    arrays = DATA[kind](coloured)
    rows = np.array([0, 900, 3])
    images = arrays.train_images[arrays.validation_size :][rows]
    for data in (Data(arrays, standardize=standardize), plain.PlainData(arrays, standardize=standardize)):
        read, labels = data.read(rows)
        np.testing.assert_allclose(read, read_by_hand(arrays, images, standardize), rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(labels, arrays.train_labels[arrays.validation_size :][rows])


@exact
@pytest.mark.parametrize(("optimizer", "precision"), [("sgd", "float32"), ("adam", "float32"), ("sgd", "bf16")])
def test_a_cells_bits_do_not_depend_on_its_stack(coloured, optimizer, precision):
    cells = [
        make_cell(
            initializer=name, optimizer=optimizer, standardize=True, hidden="16", train_size=256, precision=precision
        )
        for name in ("he_normal", "lsuv", "zeros", "glorot_uniform", "pca")
    ]
    assert stack.bits_hold(cells, Data(coloured, standardize=True))
    assert stack.bits_hold(cells, Data(as_floats(coloured), standardize=True))


def test_mnist_standardized_has_mean_0_and_deviation_1(small):
    data = Data(small, standardize=True)
    read, _ = data.read(np.arange(len(data.images)))
    assert read.mean() == pytest.approx(0, abs=1e-12)
    assert read.std() == pytest.approx(1, rel=1e-12)
    assert data.n_common(128) == 784
