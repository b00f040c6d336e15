"""The schemes on networks that are no perceptrons: against PyTorch's modules, hooks and automatic differentiation."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from initbench import initializers as init
from initbench.initializers import gradient_driven, schemes
from initbench.initializers._base import fans
from initbench.models.network import ModuleNetwork
from initbench.models.weights import fill, layers_of
from initbench.random import noise, streams

LENET = ((5, 5, 1, 6), (5, 5, 6, 16), (400, 120), (120, 84), (84, 10))


class Mixed(nn.Module):
    """Grouped and depthwise convolutions, a transposed one, layers without a bias, a layer that no pass uses."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.unused = nn.Linear(5, 4)  # it stands before the last layer of a pass
        self.first = nn.Conv2d(2, 8, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
        self.down = nn.Conv2d(6, 8, 1, bias=False)

    def forward(self, x):
        x = torch.tanh(self.depthwise(torch.tanh(self.first(x))))
        return self.head(torch.tanh(self.down(torch.tanh(self.up(x)))).mean(dim=(2, 3)))


def lenet():
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )


def network(module, shape=(28, 28, 1), classes=10, images=40, **keywords):
    generator = np.random.default_rng(0)
    batches = [(generator.random((images, math.prod(shape))), generator.integers(0, classes, images)) for _ in range(3)]
    return ModuleNetwork(module.double(), shape, classes, batches, "tanh", **keywords)


def mixed(**keywords):
    return network(Mixed(), (6, 6, 2), 3, **keywords)


def outputs(net, parameters):
    """Return what each layer returns for the first batch, `[images · positions, units]`, by PyTorch's hooks."""
    layers = layers_of(net.module, net.shape)
    fill(layers, parameters)
    seen = {}

    def note(module, inputs, output):
        seen[module] = output.detach().movedim(1, -1).reshape(-1, output.shape[1]).numpy()

    hooks = [layer.module.register_forward_hook(note) for layer in layers]
    height, width, channels = net.shape
    images = torch.from_numpy(net.batch()[0]).view(-1, height, width, channels).permute(0, 3, 1, 2)
    with torch.no_grad():
        net.module(images)
    for hook in hooks:
        hook.remove()
    return [seen.get(layer.module) for layer in layers]


# ---------------------------------------------------------------------------------------------------------------------
# What enters a scheme, and what comes out


def test_each_group_of_a_convolution_is_filled_as_a_convolution_of_its_own():
    net = mixed()
    assert list(net.layers) == [(3, 3, 1, 4), (3, 3, 1, 1), (2, 2, 4, 3), (1, 1, 6, 8), (5, 4), (8, 3)]
    parameters = schemes.parameters("orthogonal", "torch_linear_default", net, 4)
    positions = ["first", *["hidden"] * 4, "last"]
    for n, (shape, groups, (W, b)) in enumerate(zip(net.layers, net.groups, parameters, strict=True)):
        assert W.shape == (*shape[:-1], groups * shape[-1])
        for group, own in enumerate(np.split(W, groups, axis=-1)):
            key = (0, n, group) if groups > 1 else (0, n)
            alone = init.orthogonal(shape, seed=np.random.SeedSequence(4, spawn_key=key))
            assert np.array_equal(own, alone)
        start = net.start_biases()[n]
        if n in (1, 3):
            assert b.shape == start.shape == (0,)
            continue
        fan_in = math.prod(shape[:-1])
        stream = np.random.SeedSequence(4, spawn_key=(1, n))
        assert np.array_equal(b, init.torch_linear_default((groups * shape[-1],), fan_in=fan_in, seed=stream))
    mup = schemes.parameters("mup", "zeros", net, 4)
    for n, (shape, position) in enumerate(zip(net.layers, positions, strict=True)):
        if net.groups[n] == 1:
            expected = init.mup(shape, position=position, seed=streams.weights(4, n))
            assert np.array_equal(mup[n][0], expected)


def test_a_grouped_convolution_computes_what_separate_convolutions_do():
    net = mixed()
    W, b = schemes.parameters("he_normal", "ones", net, 0, np.float64)[0]
    fill(layers_of(net.module, net.shape)[:1], [(W, b)])
    x = torch.rand(2, 2, 6, 6, dtype=torch.float64)
    separate = []
    for group in range(2):
        convolution = nn.Conv2d(1, 4, 3, padding=1).double()
        own = init.he_normal((3, 3, 1, 4), seed=np.random.SeedSequence(0, spawn_key=(0, 0, group)), dtype=np.float64)
        convolution.weight.data = torch.from_numpy(own).permute(3, 2, 0, 1)
        convolution.bias.data.fill_(1)
        separate.append(convolution(x[:, group : group + 1]))
    torch.testing.assert_close(net.module.first(x), torch.cat(separate, dim=1))


@pytest.mark.parametrize("name", ["lsuv", "within_layer", "metainit(steps=2)", "gradinit(iterations=3)", "he_normal"])
def test_a_scheme_of_networks_fills_layers_of_every_kind_and_its_seed_decides(name):
    net = mixed()
    parameters, again, other = (schemes.parameters(name, "torch_linear_default", net, s) for s in (0, 0, 1))
    for layer, shape, groups, (W, b), (V, c), (U, _) in zip(
        layers_of(net.module, net.shape), net.layers, net.groups, parameters, again, other, strict=True
    ):
        assert (W.shape, W.dtype, b.dtype) == ((*shape[:-1], groups * shape[-1]), np.float32, np.float32)
        assert len(b) == (0 if layer.module.bias is None else len(layer.module.bias))
        assert (W.tobytes(), b.tobytes()) == (V.tobytes(), c.tobytes())
        assert np.isfinite(W).all()
        assert not np.array_equal(W, U)


# ---------------------------------------------------------------------------------------------------------------------
# What the schemes of networks promise, seen by PyTorch's hooks


@pytest.mark.parametrize("make", [lambda: network(lenet()), mixed], ids=["lenet5", "mixed"])
def test_after_lsuv_every_layers_output_has_unit_variance(make):
    net = make()
    parameters = init.lsuv(net, tolerance=0.01, seed=0, dtype=np.float64)
    seen = outputs(net, parameters)
    assert sum(z is not None for z in seen) == 5
    for z, shape, groups, (W, _) in zip(seen, net.layers, net.groups, parameters, strict=True):
        if z is not None:
            assert z.var() == pytest.approx(1, abs=0.01)
        for own in np.split(W, groups, axis=-1):  # the scale is the same in all directions
            singular = np.linalg.svd(own.reshape(-1, shape[-1]), compute_uv=False)
            assert singular.max() == pytest.approx(singular.min())


@pytest.mark.parametrize("make", [lambda: network(lenet()), mixed], ids=["lenet5", "mixed"])
def test_after_within_layer_every_channel_has_the_requested_mean_and_unit_variance(make):
    net = make()
    parameters = init.within_layer(net, beta=0.3, seed=0, dtype=np.float64)
    for z, (_, b) in zip(outputs(net, parameters), parameters, strict=True):
        if z is not None:
            np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-9)
        if z is not None and len(b):
            np.testing.assert_allclose(z.mean(axis=0), 0.3, atol=1e-9)


def test_the_gradient_quotient_of_a_module_is_that_of_its_own_hessian():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()
    net = network(module, (4, 4, 1), 3, images=7)
    images, labels = (torch.from_numpy(a) for a in net.batch())
    parameters = schemes.parameters("he_normal", "normal", net, 0, np.float64)
    fill(layers_of(module, net.shape), parameters)
    # Independent: the module's loss as a function of one vector, and its Hessian as a whole.
    sizes = [p.numel() for p in module.parameters()]

    def loss(vector):
        names = [name for name, _ in module.named_parameters()]
        values = [v.view(p.shape) for v, p in zip(vector.split(sizes), module.parameters(), strict=True)]
        output = torch.func.functional_call(module, dict(zip(names, values, strict=True)), images.view(-1, 1, 4, 4))
        return F.cross_entropy(output, labels)

    vector = torch.cat([p.detach().flatten() for p in module.parameters()])
    g, H = (of(loss, vector) for of in (torch.autograd.functional.jacobian, torch.autograd.functional.hessian))
    expected = ((g - H @ g) / (g + torch.where(g >= 0, 1e-5, -1e-5)) - 1).abs().mean()
    weights, biases = ([torch.from_numpy(pair[i]).requires_grad_() for pair in parameters] for i in (0, 1))
    value = net.batch_loss(weights, biases, images, labels)
    quotient = gradient_driven.gradient_quotient(value, [*weights, *biases])
    assert value.item() == pytest.approx(loss(vector).item())
    assert quotient.item() == pytest.approx(expected.item(), rel=1e-9)


def test_metainit_and_gradinit_change_the_scale_of_each_group_alike_and_leave_alone_what_the_loss_does_not_use():
    net = mixed(images=12)
    start = schemes.parameters("he_normal", "ones", net, 3, np.float64)
    for name in ("metainit(steps=4)", "gradinit(iterations=6)"):
        rescaled = schemes.parameters(name, "ones", net, 3, np.float64)
        for n, ((W, _), (V, _)) in enumerate(zip(rescaled, start, strict=True)):
            ratio = W / V
            np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-9)
            assert (abs(ratio.flat[0] - 1) < 1e-12) == (n == 4), (name, n)


def test_after_gradinit_a_step_from_a_convolutional_start_lowers_the_loss_more():
    net = network(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)), (6, 6, 1))
    x, labels = (torch.from_numpy(a) for a in net.batch())

    def after_a_step(parameters):
        fill(layers_of(net.module, net.shape), parameters)
        images = x.view(-1, 1, 6, 6)
        loss = F.cross_entropy(net.module(images), labels)
        gradients = torch.autograd.grad(loss, list(net.module.parameters()))
        norm = torch.stack([(g**2).sum() for g in gradients]).sum().sqrt()
        with torch.no_grad():
            for p, g in zip(net.module.parameters(), gradients, strict=True):
                p.sub_(0.1 * g / norm)
            return F.cross_entropy(net.module(images), labels).item()

    he, after_40 = (init.gradinit(net, iterations=n, rate=0.05, seed=0, dtype=np.float64) for n in (0, 40))
    assert after_a_step(after_40) < after_a_step(he)


@pytest.mark.parametrize(("loss", "output"), [("cross_entropy", "identity"), ("mse", "tanh"), ("hinge", "identity")])
@pytest.mark.parametrize(
    "name", ["he_normal", "lsuv", "within_layer", "metainit(steps=3)", "gradinit(iterations=3, rate=0.1)"]
)
def test_a_perceptron_and_the_same_network_as_a_module_begin_alike(name, loss, output):
    generator = np.random.default_rng(5)
    batches = [(generator.random((20, 12)), generator.integers(0, 4, 20)) for _ in range(3)]
    functions = batches, "tanh", output, loss
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    of_module = schemes.parameters(name, "torch_linear_default", ModuleNetwork(module, (3, 4, 1), 4, *functions), 1)
    of_model = schemes.parameters(name, "torch_linear_default", init.Model(((12, 9), (9, 4)), *functions), 1)
    for ours, theirs in zip(of_module, of_model, strict=True):
        for array, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(array, expected, rtol=1e-5)


def test_layers_that_share_their_weights_are_filled_once():
    module = nn.Sequential(nn.Flatten(), nn.Linear(9, 9, bias=False), nn.Tanh(), nn.Linear(9, 9, bias=False))
    module[3].weight = module[1].weight
    net = network(module, (3, 3, 1), 9)
    assert net.layers == ((9, 9),)
    for name in ("lsuv", "metainit(steps=2)", "gradinit(iterations=2)"):
        assert len(schemes.parameters(name, "zeros", net, 0)) == 1


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x):
        x = self.embed(x[:, 0])
        return self.head((x + self.attention(x, x, x, need_weights=False)[0]).mean(dim=1))


class Recurrent(nn.Module):
    """Its forward makes a state of float32, with which weights of float64 cannot compute."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        state = torch.zeros(len(x), 5)
        for row in range(x.shape[2]):
            state = self.cell(x[:, 0, row], state)
        return self.head(input=state)


class Tokens(nn.Module):
    """An embedding of the pixels, tied to the layer behind it."""

    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(16, 6), nn.Linear(6, 16, bias=False)
        self.out.weight, self.head = self.embed.weight, nn.Linear(16, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.out(self.embed((x * 15).long().flatten(1)).mean(dim=1))))


@pytest.mark.parametrize(
    ("make", "shapes"),
    [(Attention, [(4, 6), (6, 6), (6, 3)]), (Recurrent, [(5, 3)]), (Tokens, [(6, 16), (16, 3)])],
)
def test_modules_with_attention_states_of_float32_or_embeddings_are_filled(make, shapes):
    generator = np.random.default_rng(0)
    batches = [(generator.random((9, 16)), generator.integers(0, 3, 9)) for _ in range(2)]
    net = ModuleNetwork(make(), (4, 4, 1), 3, batches, "tanh")
    assert [*net.layers] == shapes
    for name in ("he_normal", "lsuv", "within_layer", "metainit(steps=2)", "gradinit(iterations=3)"):
        if make is Tokens and name.startswith("metainit"):
            with pytest.raises(ValueError, match=r"N\(0, 1\) pixels, which this network does not take.*; allowed"):
                schemes.parameters(name, "zeros", net, 0)
            continue
        for (W, b), shape in zip(schemes.parameters(name, "zeros", net, 0), shapes, strict=True):
            assert W.shape == shape
            assert np.isfinite(W).all()
            assert np.isfinite(b).all()
    assert {p.dtype for p in net.module.parameters()} == {torch.float32}  # the module itself is left alone


# ---------------------------------------------------------------------------------------------------------------------
# Convolutions, against PyTorch

LAYERS = [
    nn.Linear(12, 7),
    nn.Conv1d(4, 7, 3),
    nn.Conv2d(4, 7, (3, 5)),
    nn.Conv3d(4, 7, (1, 3, 2)),
    nn.Embedding(9, 5),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_the_fans_and_scales_are_pytorchs(layer):
    W = layer.weight.detach()
    shape = tuple(W.permute(*range(2, W.ndim), 1, 0).shape)
    theirs = nn.init._calculate_fan_in_and_fan_out(W)
    assert fans(shape) == theirs
    fan_in, fan_out = theirs
    stds = {
        "he_normal": math.sqrt(2 / fan_in),
        "glorot_normal": math.sqrt(2 / (fan_in + fan_out)),
        "lecun_normal": 1 / math.sqrt(fan_in),
    }
    for name, std in stds.items():
        assert schemes.distribution(name, shape).std() == pytest.approx(std)
    large = (*shape[:-2], 60, 80)  # enough weights to measure a standard deviation
    measured = torch.empty(80, 60, *shape[:-2])
    for name, theirs_fill in (("he_normal", nn.init.kaiming_normal_), ("glorot_uniform", nn.init.xavier_uniform_)):
        assert init.INITIALIZERS[name].function(large, seed=0).std() == pytest.approx(
            theirs_fill(measured).std().item(), rel=0.05
        )


def test_a_group_has_its_own_fans_where_pytorch_counts_the_outputs_of_all():
    grouped = nn.Conv2d(8, 12, 3, groups=4)
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(grouped.weight)
    ours = fans((3, 3, 2, 3))
    assert ours == (fan_in, fan_out // 4) == (18, 27)
    # An input feeds the outputs of its own group alone: counted by the gradient of each output.
    x = torch.zeros(1, 8, 3, 3, requires_grad=True)
    outputs = grouped(F.pad(x, (2, 2, 2, 2)))
    fed = sum(
        bool(torch.autograd.grad(outputs[0].flatten()[n], x, retain_graph=True)[0][0, 0, 1, 1])
        for n in range(outputs.numel())
    )
    assert fed == ours[1]


def test_a_transposed_convolution_has_the_fans_of_its_forward_pass():
    transposed = nn.ConvTranspose2d(4, 7, 3)
    (layer,) = layers_of(nn.Sequential(transposed, nn.Flatten()), (5, 5, 4))
    assert layer.layer.shape == (3, 3, 4, 7)
    fan_in, _ = fans(layer.layer.shape)
    # A unit away from the border adds up fan_in products.
    x = torch.zeros(1, 4, 5, 5, requires_grad=True)
    gradient = torch.autograd.grad(transposed(x)[0, 0, 3, 3], x)[0]
    assert int((gradient != 0).sum()) == fan_in == 36
    assert nn.init._calculate_fan_in_and_fan_out(transposed.weight)[0] == 63  # PyTorch's, of the other direction


def test_dirac_is_pytorchs_in_every_dimension_and_of_groups():
    for size, groups in (((3,), 1), ((3, 5), 1), ((3, 3, 3), 2), ((3, 3), 4)):
        theirs = nn.init.dirac_(torch.empty(8, 6, *size), groups)
        ours = np.concatenate([init.dirac((*size, 6, 8 // groups)) for _ in range(groups)], axis=-1)
        assert np.array_equal(ours, theirs.permute(*range(2, theirs.ndim), 1, 0).numpy())
    assert np.array_equal(init.dirac((5, 3)), np.eye(5, 3, dtype=np.float32))
    depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
    W = np.concatenate([init.dirac((3, 3, 1, 1), dtype=np.float64)] * 8, axis=-1)
    depthwise.weight.data = torch.from_numpy(W).permute(3, 2, 0, 1).float()
    x = torch.rand(2, 8, 5, 5)
    assert torch.equal(depthwise(x), x)


@pytest.mark.parametrize("shape", [(3, 3, 4, 6), (3, 3, 6, 4), (5, 4, 4), (3, 3, 3, 2, 5), (9, 4)])
def test_delta_orthogonal_layers_are_semi_orthogonal_maps_of_the_channels(shape):
    W = init.delta_orthogonal(shape, seed=0, dtype=np.float64)
    centre = W[tuple((size - 1) // 2 for size in shape[:-2])]
    assert np.count_nonzero(W) == np.count_nonzero(centre) == centre.size
    gram = centre @ centre.T if shape[-2] <= shape[-1] else centre.T @ centre
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 5, 1, 6), (5, 5, 6, 16), (3, 8, 40), (3, 3, 1, 1)])
def test_an_orthogonal_convolution_is_so_as_pytorch_makes_it(shape):
    for W in (
        init.orthogonal(shape, seed=0, dtype=np.float64),
        nn.init.orthogonal_(torch.empty(shape[-1], shape[-2], *shape[:-2])).permute(*range(2, len(shape)), 1, 0),
    ):
        flat = np.asarray(W).reshape(-1, shape[-1])
        gram = flat.T @ flat if flat.shape[0] >= flat.shape[1] else flat @ flat.T
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# Which scheme fits which network


@pytest.mark.parametrize("name", sorted(name for name, e in init.INITIALIZERS.items() if "single-layer" in e.tags))
def test_a_scheme_of_layers_is_refused_or_fills_every_layer(name):
    supplied = {"activation": "tanh", "position": "hidden", "depth": 5, "seed": 0}
    filled = [init.INITIALIZERS.call(name, s, **supplied).shape for s in LENET if init.INITIALIZERS[name].fit.test(s)]
    refusal = schemes.unfit(name, LENET, "tanh", is_perceptron=False)
    if refusal:
        assert refusal.endswith("and the first layer is 5 × 5 × 1 × 6")
        with pytest.raises(ValueError, match="allowed"):
            init.INITIALIZERS.call(name, LENET[0], **supplied)
    else:
        assert filled == [*LENET]


@pytest.mark.parametrize(
    ("name", "shapes", "is_perceptron", "message"),
    [
        ("pca", LENET, False, "pca fits perceptrons, and the first layer is 5 × 5 × 1 × 6"),
        ("dks", ((9, 9), (9, 9)), False, "dks fits perceptrons, and this network has other parts, such as shortcuts"),
        ("identity", LENET, False, "identity fits weights of 2 dimensions, .*, and the first layer is 5 × 5 × 1 × 6"),
        ("per_layer(first=ones, hidden=sparse, last=ones)", LENET, False, "and layer 2 is 5 × 5 × 6 × 16"),
        ("dirac", ((9, 5), (5, 3)), True, "dirac fits convolutions, .*, and this network has none: the first layer is"),
        ("metainit", LENET, False, ""),
        ("delta_orthogonal", LENET, False, ""),
        ("pca", ((9, 5), (5, 3)), True, ""),
    ],
)
def test_a_scheme_that_does_not_fit_a_network_is_refused_with_the_layer(name, shapes, is_perceptron, message):
    refusal = schemes.unfit(name, shapes, "tanh", is_perceptron=is_perceptron)
    assert re.search(message, refusal)
    assert bool(refusal) == bool(message)
    assert not schemes.unfit("zeros", shapes, "tanh", bias=True, is_perceptron=is_perceptron)


def test_a_bias_scheme_is_not_refused_for_the_shape_of_the_weights():
    assert schemes.unfit("nguyen_widrow", LENET, "tanh", bias=True, is_perceptron=False) == ""
    assert "first layer" in schemes.unfit("nguyen_widrow", LENET, "tanh", is_perceptron=False)


def test_the_noise_of_groups_is_that_of_no_other_stream():
    drawn = {
        noise.standard_uniform((4,), stream).tobytes()
        for stream in (
            *(streams.weights(0, layer) for layer in range(4)),
            *(streams.weights(0, layer, group) for layer in range(4) for group in range(4)),
            *(streams.mask(streams.weights(0, layer)) for layer in range(4)),
            *(streams.draws(0, n) for n in range(4)),
            *(streams.biases(0, n) for n in range(4)),
        )
    }
    assert len(drawn) == 4 * 8


# ---------------------------------------------------------------------------------------------------------------------
# Perceptrons start from the weights that they had before other networks were

# Of networks 12-9-7-4 and 12-9-4 with tanh and mean squared error the sum of |W| of all layers and that of |b|, by the
# code of November 2026 that knew perceptrons alone.
FIGURES = {
    "autoinit": ((89.7724038732, 2.85006085805), (63.636520306, 1.69054395322)),
    "dks": ((91.8554091282, 28.1256793719), (79.3425567319, 20.06952995)),
    "gradinit(iterations=5)": ((73.0549164612, 2.86217436236), (48.4726136624, 1.7377893257)),
    "kmeans": ((127.171022004, 7.96370060265), (98.7888632982, 7.79695486315)),
    "lsuv": ((85.054506076, 2.85006085805), (59.2388873326, 1.69054395322)),
    "metainit(steps=5)": ((74.5617106759, 2.85006085805), (42.5161370072, 1.69054395322)),
    "pca": ((127.040240874, 11.1081989665), (101.892396648, 10.9509002619)),
    "tat": ((74.8825175722, 23.864847379), (54.4663037198, 15.1642904054)),
    "within_layer": ((137.870549578, 14.2278865122), (110.398231158, 14.3194105916)),
    "he_normal": ((73.578285979, 2.85006085805), (51.011896728, 1.69054395322)),
    "orthogonal": ((51.2314385399, 2.85006085805), (35.3951256467, 1.69054395322)),
    "nguyen_widrow": ((45.8311365602, 2.85006085805), (33.1178562261, 1.69054395322)),
}


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_perceptrons_start_is_what_it_was(name):
    for hidden, figures in zip(((9, 7), (9,)), FIGURES[name], strict=True):
        parameters = schemes.parameters(name, "torch_linear_default", perceptron(hidden), 3, np.float64)
        for values, figure in zip(zip(*parameters, strict=True), figures, strict=True):
            assert math.fsum(np.abs(array).sum() for array in values) == pytest.approx(figure, rel=1e-6)


def perceptron(hidden):
    noise_of = np.random.Generator(np.random.PCG64(1)).random  # PCG64 and `random` are what NumPy promises to keep
    batches = [(noise_of((30, 12)), np.arange(30) % 4) for _ in range(3)]
    layers = tuple(itertools.pairwise((12, *hidden, 4)))
    return init.Model(layers, batches, activation="tanh", loss="mse")
