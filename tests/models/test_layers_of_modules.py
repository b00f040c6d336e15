"""The layers of any module: which they are, in which order, and their layout, by the definition of a convolution."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from initbench.initializers._base import fans
from initbench.models import weights
from initbench.models.network import ModuleNetwork

SHAPE = (6, 6, 4)  # height, width, channels


class Small(nn.Module):
    """Takes images through one layer, and means to classes."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x).mean((2, 3))


def layer_of(layer):
    """The one layer of a module, and its weights in initbench's layout, filled with numbers."""
    module = Small(layer)
    (own,) = weights.layers_of(module, SHAPE)
    *others, last = own.layer.shape
    W = np.random.default_rng(0).normal(size=(*others, own.layer.groups * last)).astype(np.float32)
    b = np.random.default_rng(1).normal(size=own.layer.bias_count).astype(np.float32)
    weights.fill([own], [(W, b)])
    return own, W, b


def products(W, x, groups, at):
    """A convolution at a position, by its definition: the sum over the field and the channels of a group."""
    height, width, channels, out = W.shape
    values = []
    for group in range(groups):
        seen = x[:, group * channels : (group + 1) * channels, at[0] : at[0] + height, at[1] : at[1] + width]
        own = W[..., group * out // groups : (group + 1) * out // groups]
        values.append(np.einsum("nchw,hwco->no", seen, own))
    return np.hstack(values)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_layout_of_a_convolution(groups):
    own, W, b = layer_of(nn.Conv2d(4, 8, (3, 2), groups=groups))
    assert own.layer[:3] == ((3, 2, 4 // groups, 8 // groups), groups, 4 * 5)
    x = np.random.default_rng(2).normal(size=(2, 4, 6, 6)).astype(np.float32)
    y = own.module(torch.from_numpy(x)).detach().numpy()
    for at in itertools.product(range(4), range(5)):
        np.testing.assert_allclose(y[:, :, at[0], at[1]], products(W, x, groups, at) + b, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_the_layout_of_a_transposed_convolution(groups):
    own, W, b = layer_of(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=groups))
    assert own.layer[:2] == ((3, 3, 4 // groups, 6 // groups), groups)
    # An image with one lit pixel: the field around it is this pixel's weights.
    x = np.zeros((1, 4, 6, 6), np.float32)
    x[0, 3, 2, 1] = 2.0
    y = own.module(torch.from_numpy(x)).detach().numpy()[0]
    group, channel = divmod(3, 4 // groups)
    expected = np.zeros_like(y)
    units = slice(group * 6 // groups, (group + 1) * 6 // groups)
    expected[units, 4:7, 2:5] = 2 * W[:, :, channel, units].transpose(2, 0, 1)
    np.testing.assert_allclose(y, expected + b[:, None, None], atol=1e-6)


def test_one_and_three_dimensions_dense_layers_and_embeddings():
    convolution = nn.Conv1d(4, 5, 3)
    module = nn.Sequential(nn.Flatten(2), convolution, nn.Flatten(), nn.Linear(5 * 34, 7, bias=False))
    first, last = weights.layers_of(module, SHAPE)
    assert first.layer == ((3, 4, 5), 1, 34, True)
    assert last.layer == ((170, 7), 1, 1, False)
    assert last.layer.bias_count == 0
    assert last.bias is None
    W, b = np.arange(60.0, dtype=np.float32).reshape(3, 4, 5), np.zeros(5, np.float32)
    weights.fill([first], [(W, b)])
    x = torch.randn(2, 4, 36)
    expected = np.einsum("ncw,wco->no", x[:, :, 1:4].numpy(), W)
    np.testing.assert_allclose(convolution(x)[:, :, 1].detach().numpy(), expected, rtol=1e-4)


class Ordered(nn.Module):
    """Layers that are executed in another order than they are defined in; a tied weight; one that nothing uses."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(8, 10)
        self.unused = nn.Linear(3, 3)
        self.first = nn.Conv2d(4, 8, 3, bias=False)
        self.twice = nn.Linear(8, 8)
        self.embedding = nn.Embedding(10, 8)
        self.decoder = nn.Linear(8, 10, bias=False)
        self.decoder.weight = self.embedding.weight
        self.attention = nn.MultiheadAttention(8, 2)
        self.normalization = nn.BatchNorm1d(8)
        self.recurrent = nn.GRU(8, 8)

    def forward(self, x):
        h = self.first(x).mean((2, 3)) + self.embedding(torch.zeros(len(x), dtype=torch.long))
        h = self.twice(torch.tanh(self.twice(h)))
        h, _ = self.attention(h, h, h)
        h, _ = self.recurrent(self.normalization(h))
        return self.last(h) + self.decoder(h)


def test_layers_are_in_the_order_of_execution_and_a_shared_weight_is_one_of_them():
    torch.manual_seed(0)
    module = Ordered()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    layers = weights.layers_of(module, SHAPE)
    names = [layer.name for layer in layers]
    assert names == ["first", "embedding", "twice", "unused", "attention.out_proj", "last"]
    assert layers[1].layer.shape == (8, 10)
    assert [layer.layer.positions for layer in layers][2:] == [2, 0, 0, 1]
    assert all(part.training for part in module.modules())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    network = weights.describe(module, SHAPE, 10)
    own_start = sum(p.numel() for p in (*module.normalization.parameters(), *module.recurrent.parameters()))
    own_start += module.attention.in_proj_weight.numel() + module.attention.in_proj_bias.numel()
    assert network.other_parameters == own_start
    assert network.parameter_count == sum(p.numel() for p in module.parameters())
    weights.fill(layers, [(np.ones((*layer.layer.shape,), np.float32), np.ones(1, np.float32)) for layer in layers])
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {
        *("first.weight", "embedding.weight", "decoder.weight", "twice.weight", "twice.bias", "last.weight"),
        *("last.bias", "unused.weight", "unused.bias", "attention.out_proj.weight", "attention.out_proj.bias"),
    }


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(6, 9), nn.Conv1d(4, 6, 3), nn.Conv2d(4, 6, (3, 5)), nn.Conv3d(4, 6, 2)],
    ids=lambda layer: type(layer).__name__,
)
def test_the_fans_of_layers_without_groups_are_pytorchs(layer):
    shape, groups = weights._shape_of(layer)
    assert groups == 1
    assert fans(shape) == nn.init._calculate_fan_in_and_fan_out(layer.weight)


def test_a_module_in_float64_computes_as_it_does_and_is_left_alone():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Dropout())
    module.append(nn.Linear(96, 10))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    images, labels = np.random.default_rng(0).random((8, 144)), np.arange(8) % 10
    network = ModuleNetwork(module, SHAPE, 10, [(images, labels)])
    own = [
        (np.random.default_rng(n).normal(size=(*shape[:-1], groups * shape[-1])), bias + n)
        for n, (shape, groups, bias) in enumerate(
            zip(network.layers, network.groups, network.start_biases(), strict=True)
        )
    ]
    tensors = [[torch.from_numpy(array) for array in arrays] for arrays in zip(*own, strict=True)]
    loss = network.batch_loss(*tensors, torch.from_numpy(images), torch.from_numpy(labels))
    parameters = []
    for index, inputs in enumerate(network.layer_inputs(images, parameters)):
        z = network.affine(index, inputs, *own[index])
        parameters.append(own[index])
    assert z.shape == (8, 10)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    weights.fill(weights.layers_of(module.double(), SHAPE), own)
    module.train()
    module[4].eval()  # no dropout
    x = torch.from_numpy(images).view(8, 6, 6, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(module(x), torch.from_numpy(z))
    torch.testing.assert_close(nn.functional.cross_entropy(module(x), torch.from_numpy(labels)), loss)
