"""Products that skip dark pixels: against NumPy, the plain trainer, and the contract on bits."""

import numpy as np
import oracle
import pytest
import torch
from cells import make_cell

from initbench.training import skipping, stack
from initbench.training.data import Data
from initbench.training.network import Network

pytestmark = pytest.mark.skipif(skipping.products() is None, reason="no numba")


@pytest.fixture
def always(monkeypatch):
    """Let short trainings skip dark pixels, too."""
    monkeypatch.setattr(skipping, "WORTH", 0)


@pytest.mark.parametrize(("columns", "pixels"), [(20, 13), (90, 719)])
def test_the_products_are_numpys(columns, pixels):
    rng = np.random.default_rng(columns)
    images = rng.integers(0, 256, (50, pixels), dtype=np.uint8) * (rng.random((50, pixels)) < 0.2).astype(np.uint8)
    rows = rng.integers(0, 50, 24)
    weights = torch.from_numpy(rng.normal(size=(1 + pixels, columns)).astype(np.float32))
    layer = skipping.Layer(skipping.products(), pixels, columns)
    layer.weights = weights
    assert torch.equal(layer.weights, weights)
    lists = skipping.Lists(layer, 24)
    lists.take(images, rows)
    X = np.hstack([np.ones((24, 1)), images[rows] / 255])
    Z = torch.empty(columns, 24)
    layer.forward(lists, Z)
    np.testing.assert_allclose(Z, (X @ weights.double().numpy()).T, rtol=1e-4, atol=1e-5)
    G = torch.from_numpy(rng.normal(size=(columns, 24)).astype(np.float32))
    layer.descend(lists, G)
    np.testing.assert_allclose(layer.weights, weights.numpy() - (G.double().numpy() @ X).T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden", ["", "24-16"])
def test_losses_are_the_plain_trainers_and_bits_do_not_depend_on_the_stack(small, always, hidden):
    """In batches of 50, which are padded."""
    pairs = [("tanh", "mse"), ("relu", "cross_entropy"), ("sigmoid", "mae")]
    cells = [
        make_cell(activation=name, loss=loss, hidden=hidden, batch_size=50, train_size=600, learning_rate=0.01)
        for name, loss in pairs
    ]
    data = Data(small)
    assert Network(cells, data, torch.float32).skipping
    _, epoch = stack.train(cells, data)
    for i, cell in enumerate(cells):
        _, (losses, end) = oracle.trained(cell, small, torch.float32)
        np.testing.assert_allclose(epoch.step_losses[:, i], losses, rtol=2e-5)
        assert epoch.validation_loss[i] == pytest.approx(end["validation_loss"], rel=2e-5)
    assert stack.bits_hold(cells, data)


def test_only_a_cell_decides_whether_dark_pixels_are_skipped(small):
    data = Data(small)

    def skips(dtype=torch.float32, data=data, **settings):
        return skipping.layer(make_cell(**settings), data, dtype, 10) is not None

    enough = {"train_size": 640, "epochs": skipping.WORTH // 640 + 1}
    assert skips(**enough)
    assert not skips(train_size=640, epochs=1)
    assert not skips(**enough, optimizer="adam")
    assert not skips(**enough, precision="bf16")
    assert not skips(**enough, dtype=torch.float64)
    assert not skips(**enough, data=Data(small, standardize=True))


def test_without_numba_products_are_dense(small, always, monkeypatch):
    cell = make_cell(train_size=600, batch_size=50)
    skipped = list(stack.train([cell], Data(small)))[1].step_losses
    monkeypatch.setattr(skipping, "products", lambda: None)
    np.testing.assert_allclose(list(stack.train([cell], Data(small)))[1].step_losses, skipped, rtol=1e-5)
