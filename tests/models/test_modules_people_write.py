"""Modules as people write them: what they do in a pass that a network of plain layers does not."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from cells import make_cell
from torch import nn
from torch.utils.checkpoint import checkpoint

from initbench.data.arrays import Arrays
from initbench.errors import UserError
from initbench.initializers import schemes
from initbench.models import own, weights
from initbench.models.network import ModuleNetwork
from initbench.plugins import records, trial
from initbench.plugins.bundle import Bundle
from initbench.spec.grid import parse
from initbench.training import plain

CODE = b"""
import torch
import torch.nn.functional as F
from torch import nn
import initbench as ib

@ib.model
class Viewed(nn.Module):
    def __init__(self, channels, height, width, classes):
        super().__init__()
        self.convolution = nn.Conv2d(channels, 4, 3, padding=1)
        self.head = nn.Linear((4 + channels) * height * width, classes)

    def forward(self, x):
        h = F.relu(self.convolution(x))
        return self.head(torch.cat([h.view(h.size(0), -1), x.view(x.size(0), -1)], 1))

@ib.model
class Keeps(nn.Module):
    def __init__(self, channels, height, width, classes):
        super().__init__()
        self.layer, self.last = nn.Linear(channels * height * width, classes), torch.zeros(())

    def forward(self, x):
        self.last = self.layer(x.flatten(1)) + self.last.mean()
        return self.last

@ib.model
class Tokens(nn.Module):
    def __init__(self, channels, height, width, classes):
        super().__init__()
        self.embedding, self.head = nn.Embedding(17, 6), nn.Linear(6, classes)

    def forward(self, x):
        return self.head(F.dropout(self.embedding((x.flatten(1) * 16).long()).mean(1), 0.5, self.training))
"""
BUNDLE = Bundle("own.py", "own.py", {"own.py": CODE})
SHAPE = (6, 6, 2)


@pytest.fixture(scope="module", autouse=True)
def plugin():
    records.register(BUNDLE)


def tried(model, **check):
    """Return why a model, or an initializer on it, cannot be used; empty if it can."""
    name = f"{model}@{BUNDLE.digest}"
    check = {"kind": "model", "name": name, "shape": SHAPE, "classes": 3, "activation": "relu", **check}
    if check["kind"] == "initializer":
        module = {"model": name, "hidden": "", "normalization": "none", "shape": SHAPE, "classes": 3}
        of_initializer = {key: check[key] for key in ("kind", "name", "activation")}
        more = {"layers": [(6, 17), (6, 3)], "output_activation": "identity", "loss": "cross_entropy", "bias": False}
        check = {**of_initializer, **more, "module": module}
    return trial.tried({**check, "reverse": False})[0]


@pytest.mark.parametrize("shape", [(6, 6, 1), (6, 6, 2), (1, 1, 5)])
def test_a_module_may_view_images_and_what_its_convolutions_return(shape):
    assert tried("Viewed", shape=shape) == ""
    pixels = np.random.default_rng(0).integers(0, 256, (60, *shape)).astype(np.uint8)
    labels = (np.arange(60) % 3).astype(np.uint8)
    data = plain.PlainData(Arrays(pixels.reshape(60, -1), labels, pixels[:9].reshape(9, -1), labels[:9], shape))
    cell = make_cell(model=f"Viewed@{BUNDLE.digest}", train_size=48, batch_size=8, initializer="lsuv")
    loop = plain.Loop(cell, data).take(2)
    assert np.isfinite(loop.losses[:2]).all()
    # In the loop as in the network that schemes see, a pixel stands where it did.
    assert loop._input(data.test.images)[3, -1, 0, 0].item() == pytest.approx(pixels[3, 0, 0, -1] / 255)
    assert weights.images_of(pixels[:9].reshape(9, -1), shape, loop.model)[3, -1, 0, 0] == pixels[3, 0, 0, -1]


def test_a_model_that_fails_in_the_second_step_is_refused_before_the_run():
    assert tried("Keeps").startswith("own.py, line 19, in Keeps: RuntimeError: Trying to backward")


def test_a_scheme_that_a_model_cannot_take_is_refused_before_the_run():
    for name in ("lsuv", "within_layer", "gradinit"):
        assert tried("Tokens", kind="initializer", name=name) == "", name
    problem = tried("Tokens", kind="initializer", name="metainit")
    assert problem.startswith("metainit computes on images of N(0, 1) pixels, which this network does not take")


class Recurrent(nn.Module):
    """Creates its first state in each pass, without a dtype."""

    def __init__(self):
        super().__init__()
        self.recurrent, self.head = nn.LSTM(12, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        state = torch.zeros(1, len(x), 5), torch.zeros(1, len(x), 5)
        return self.head(self.recurrent(x.transpose(1, 2).flatten(2), state)[0][:, -1])


class Attention(nn.Module):
    """PyTorch's attention without its weights, which is a kernel of its own; with dropout."""

    def __init__(self):
        super().__init__()
        self.into, self.head = nn.Linear(12, 8), nn.Linear(8, 3)
        self.attention = nn.MultiheadAttention(8, 2, 0.5, batch_first=True)

    def forward(self, x):
        x = self.into(x.transpose(1, 2).flatten(2))
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Plain(nn.Module):
    """Three dense layers."""

    def __init__(self):
        super().__init__()
        self.first, self.middle, self.head = nn.Linear(72, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.inner(torch.tanh(self.first(x.flatten(1)))))

    def inner(self, h):
        return torch.tanh(self.middle(h))


class Checkpointed(Plain):
    """The same, whose middle is computed again when the gradient is."""

    def inner(self, h):
        return checkpoint(super().inner, h, use_reentrant=False)


class OneBias(Plain):
    """The same, with one bias of two layers."""

    def __init__(self):
        super().__init__()
        self.middle.bias = self.first.bias


def parameters(module, name):
    generator = np.random.default_rng(0)
    batches = [(generator.random((12, 72)), generator.integers(0, 3, 12)) for _ in range(3)]
    network = ModuleNetwork(module, SHAPE, 3, batches, "tanh")
    return [array for pair in schemes.parameters(name, "ones", network, 0) for array in pair]


@pytest.mark.parametrize("name", ["he_normal", "lsuv", "metainit(steps=3)", "gradinit(iterations=3)"])
@pytest.mark.parametrize("build", [Recurrent, Attention, OneBias, lambda: nn.DataParallel(Plain())])
def test_schemes_of_networks_take_modules_with(build, name):
    torch.manual_seed(0)
    module = build()
    first, again = (parameters(module, name) for _ in range(2))
    assert all(np.isfinite(array).all() for array in first)
    assert [a.tobytes() for a in first] == [a.tobytes() for a in again]


@pytest.mark.parametrize("name", ["metainit(steps=3)", "gradinit(iterations=3)"])
def test_a_checkpoint_changes_no_gradient(name):
    left, right = parameters(Plain(), name), parameters(Checkpointed(), name)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_bias_that_layers_share_is_counted_and_filled_once():
    network = weights.describe(module := OneBias(), SHAPE, 3)
    assert [layer.has_bias for layer in network.layers] == [True, False, True]
    assert network.parameter_count == sum(p.numel() for p in module.parameters())
    assert own.from_json(own.to_json(network)) == network


def test_a_row_of_padding_stays_zero():
    module = nn.Sequential(nn.Embedding(5, 4, padding_idx=1))
    (layer,) = (weights.ModuleLayer("0", module[0], weights.Layer((4, 5), 1, 1, False)),)
    W = np.arange(1.0, 21).reshape(4, 5).astype(np.float32)
    weights.fill([layer], [(W, np.zeros(0))])
    assert torch.equal(module[0].weight, torch.from_numpy(W.T * (np.arange(5) != 1)[:, None]))
    assert F.embedding(torch.tensor([1]), module[0].weight).abs().max() == 0


def test_batch_normalization_of_one_image_is_refused():
    settings = {"initializer": ["he_normal"], "hidden": [[8]], "train_size": 640, "normalization": "batch"}
    assert parse("", overrides=settings).cells()
    with pytest.raises(UserError, match="batch_size = 1 is not allowed: one image has no variance"):
        parse("", overrides={**settings, "batch_size": 1})
