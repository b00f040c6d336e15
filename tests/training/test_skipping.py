"""Products that skip dark pixels: against NumPy, the plain trainer, and the contract on bits."""

import importlib
from dataclasses import replace

import numpy as np
import oracle
import pytest
import torch
from cells import make_cell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from initbench.data import datasets
from initbench.execution import estimate
from initbench.training import skipping, stack, updates
from initbench.training.data import Block, Data
from initbench.training.network import Network

pytestmark = pytest.mark.skipif(skipping.products() is None, reason="no numba")


STATEFUL = ["sgd(weight_decay=0.1)", "momentum", "nesterov", "adam", "adamw", "rmsprop"]


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


@pytest.mark.parametrize(("hidden", "optimizer"), [("", "sgd"), ("24-16", "sgd"), *(("24-16", o) for o in STATEFUL)])
def test_losses_are_the_plain_trainers_and_bits_do_not_depend_on_the_stack(small, always, hidden, optimizer):
    """In batches of 50, which are padded."""
    settings = {"batch_size": 50, "train_size": 600, "learning_rate": 0.001 if optimizer != "sgd" else 0.01}
    pairs = [("tanh", "mse"), ("relu", "cross_entropy"), ("sigmoid", "mae")]
    cells = [
        make_cell(activation=name, loss=loss, hidden=hidden, optimizer=optimizer, **settings) for name, loss in pairs
    ]
    data = Data(small)
    assert Network(cells, data, torch.float32).skipping
    _, epoch = stack.train(cells, data)
    for i, cell in enumerate(cells):
        _, (losses, end) = oracle.trained(cell, small, torch.float32)
        np.testing.assert_allclose(epoch.step_losses[:, i], losses, rtol=2e-5)
        assert epoch.validation_loss[i] == pytest.approx(end["validation_loss"], rel=2e-5)
    assert stack.bits_hold(cells, data)


@pytest.mark.parametrize("sizes", [(8, 32), (32, 8)])
def test_networks_that_pad_their_images_differently_share_the_lists_of_a_block(sizes):
    """The images of the padding are not written: behind the buffers is memory of others."""
    rng = np.random.default_rng(1)
    images, layer = rng.integers(0, 256, (6, 16), dtype=np.uint8), skipping.Layer(skipping.products(), 16, 20)
    layer.weights = torch.from_numpy(rng.normal(size=(17, 20)).astype(np.float32))
    block = Block(torch.from_numpy(images), torch.arange(16), torch.zeros(6, dtype=torch.int64))
    for size in sizes:
        lists, behind = skipping.Lists(layer, size), np.full((40, skipping.products().TILE), 7, np.float32)
        lists.tile, Z = behind[:size], torch.empty(20, size)
        lists.take_block(block)
        layer.forward(lists, Z)
        expected = np.hstack([np.ones((6, 1)), images / 255]) @ layer.weights.double().numpy()
        np.testing.assert_allclose(Z[:, :6], expected.T, rtol=1e-4, atol=1e-5)
        assert (behind[size:] == 7).all()


def test_only_a_cell_decides_whether_dark_pixels_are_skipped(small):
    data = Data(small)

    def skips(dtype=torch.float32, data=data, **settings):
        return skipping.layer(make_cell(**settings), data, dtype, 10) is not None

    enough = {"train_size": 640, "epochs": skipping.WORTH // (4 * 640 * len(data.lit) * 10) + 1}
    assert skips(**enough)
    assert skips(**enough, optimizer="adam")
    assert not skips(**enough, precision="bf16")
    assert not skips(**enough, dtype=torch.float64)
    assert not skips(**enough, data=Data(small, standardize=True))
    assert not skips(**enough, data=Data(replace(small, train_images=np.maximum(small.train_images, 1))))
    epochs = enough["epochs"] - 1
    assert not skips(train_size=640, epochs=epochs)
    assert skips(train_size=640, epochs=epochs, hidden="16")


def test_without_numba_products_are_dense(small, always, monkeypatch):
    cell = make_cell(train_size=600, batch_size=50)
    skipped = list(stack.train([cell], Data(small)))[1].step_losses
    monkeypatch.setattr(skipping, "products", lambda: None)
    np.testing.assert_allclose(list(stack.train([cell], Data(small)))[1].step_losses, skipped, rtol=1e-5)


def updated_tiles(module, name, batches, monkeypatch):
    """Return the weights and states of tiles after a step by each batch `[24, pixels]` of bytes."""
    monkeypatch.setattr(updates._code, "loaded", importlib.import_module(f"initbench.training.updates.{module}"))
    rng, pixels = np.random.default_rng(3), batches[0].shape[1]
    layer = skipping.Layer(skipping.products(), pixels, 90, is_plain_sgd=False)
    layer.weights = torch.from_numpy(rng.normal(size=(1 + pixels, 90)).astype(np.float32))
    rates = layer.by_tile(torch.from_numpy(rng.uniform(0.001, 0.1, 90).astype(np.float32)))
    lists = skipping.Lists(layer, 24)
    of_tiles = updates.Updates(name, [layer.tiles.view(len(layer.tiles), -1)])
    for images in batches:
        lists.take(images, np.arange(24))
        G = torch.from_numpy(rng.normal(size=(90, 24)).astype(np.float32))
        of_tiles.begin()
        arrays = *lists.by_pixel, lists.tile, G.numpy()
        of_tiles.update_tiles(0, layer.products, arrays, layer.gradient, rates)
    return layer.weights, of_tiles._states[0]


def lit_images(rng, pixels, share):
    """24 images of which each pixel is lit in a share of its own, from 0 to twice `share`."""
    lit = rng.random((24, pixels)) < share * rng.uniform(0, 2, pixels)
    return rng.integers(1, 256, (24, pixels), dtype=np.uint8) * lit.astype(np.uint8)


@pytest.mark.parametrize("name", [*STATEFUL, "nesterov(momentum=0.0)", "rmsprop(weight_decay=0.3)"])
def test_the_updates_of_tiles_have_the_same_bits_compiled_and_plain(name, monkeypatch):
    rng = np.random.default_rng(3)
    batches = [lit_images(rng, 719, share) for share in (0.2, 0, 0.02)]
    left, right = (updated_tiles(module, name, batches, monkeypatch) for module in ("plain", "compiled"))
    assert torch.equal(left[0], right[0])
    assert torch.equal(left[1], right[1])


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    pixels=st.integers(1, 40),
    shares=st.lists(st.integers(0, 100), min_size=1, max_size=4),
)
def test_the_updates_of_tiles_have_the_same_bits_for_any_lit_pixels(seed, pixels, shares, monkeypatch):
    """Of a pair, the update is computed beside the gradient of the next one, and after it where that has few images."""
    rng = np.random.default_rng(seed)
    batches = [lit_images(rng, pixels, share / 100) for share in shares]
    left, right = (updated_tiles(module, "adam", batches, monkeypatch) for module in ("plain", "compiled"))
    assert torch.equal(left[0], right[0])
    assert torch.equal(left[1], right[1])


def test_the_estimate_of_memory_has_the_lists_of_large_batches_and_of_many_pixels():
    layer = skipping.Layer(skipping.products(), 3072, 10)
    sizes = []
    for size in (estimate.EVALUATION_BATCH, 2048):
        lists = skipping.Lists(layer, size)
        sizes.append(sum(array.nbytes for array in (lists._batch, *lists.by_image, *lists.by_pixel)))
    source = replace(datasets.find("mnist"), pixels=3072)
    images = np.random.default_rng(1).random((512, 3072)) < skipping.MAX_SHARE
    block = Block(torch.from_numpy(images.astype(np.uint8)), torch.arange(3072), torch.zeros(512, dtype=torch.int64))
    lists = skipping.Lists(layer, 512)
    lists.take_block(block)
    evaluated = sum(array.nbytes for array in lists.by_image) / 512 * (source.validation_size + source.test_size)
    few, many = (estimate.listed_bytes(make_cell(batch_size=size), source) for size in (128, 2048))
    assert many - few == pytest.approx(sizes[1] - sizes[0], rel=0.1)
    assert few == pytest.approx(evaluated - estimate.MNIST_BYTES, rel=0.3)
