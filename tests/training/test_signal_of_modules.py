"""The signal in modules: the statistics of a perceptron, and of convolutions against computations by other means."""

import functools
import itertools

import numpy as np
import pytest
import torch
from cells import exact, make_cell
from plugin_code import bundle
from torch import nn

from initbench.data.arrays import Arrays
from initbench.models.built_in import MODELS
from initbench.plugins import records
from initbench.spec.signal import STATISTICS
from initbench.training import plain
from initbench.training.data import Data
from initbench.training.parameters import initial_parameters
from initbench.training.plain import Loop, PlainData
from initbench.training.signal import module, perceptron, record

SHAPE, CLASSES = (6, 6, 2), 3
QUICK = {"train_size": 640, "hidden": "", "batch_size": 128}

MODULES = bundle("""
    import torch
    import torch.nn.functional as F
    from torch import nn
    from torch.utils.checkpoint import checkpoint

    import initbench as ib

    @ib.model
    class Two(nn.Module):
        \"\"\"A convolution and a dense layer.\"\"\"
        def __init__(self, channels, height, width, classes, *, activation):
            super().__init__()
            self.convolution = nn.Conv2d(channels, 4, 3)
            self.head = nn.Linear(4 * (height - 2) * (width - 2), classes)
            self.act = self.phi(activation)
        def phi(self, activation):
            return activation()
        def middle(self, x):
            return self.act(self.convolution(x))
        def forward(self, x):
            return self.head(self.middle(x).flatten(1))

    @ib.model
    class InPlace(Two):
        def phi(self, activation):
            return nn.ReLU(inplace=True)

    @ib.model
    class Functional(Two):
        def middle(self, x):
            return self.convolution(x).relu_()

    @ib.model
    class Checkpointed(Two):
        def middle(self, x):
            return checkpoint(super().middle, x, use_reentrant=False)

    @ib.model
    class Frozen(Two):
        def __init__(self, channels, height, width, classes, *, activation):
            super().__init__(channels, height, width, classes, activation=activation)
            self.convolution.requires_grad_(False)

    @ib.model
    class Gated(Two):
        def phi(self, activation):
            return nn.GLU(1)
        def middle(self, x):
            z = self.convolution(x)
            return torch.cat([self.act(z)] * 2, 1)

    @ib.model
    class Sloped(Two):
        def phi(self, activation):
            return nn.PReLU(4, 0.005)

    @ib.model
    class Random(Two):
        def phi(self, activation):
            return nn.Sequential(nn.BatchNorm2d(4), nn.RReLU(), nn.Dropout(0.3))

    @ib.model
    class Unused(Two):
        def __init__(self, channels, height, width, classes, *, activation):
            super().__init__(channels, height, width, classes, activation=activation)
            self.unused = nn.Linear(5, 4)

    @ib.model
    class Repeated(nn.Module):
        \"\"\"A layer that is called three times, and one that has its weights.\"\"\"
        def __init__(self, channels, height, width, classes):
            super().__init__()
            self.into, self.middle = nn.Linear(channels * height * width, 6), nn.Linear(6, 6)
            self.again, self.out, self.act = nn.Linear(6, 6, False), nn.Linear(6, classes), nn.Tanh()
            self.again.weight = self.middle.weight
        def forward(self, x):
            h = self.act(self.into(x.flatten(1)))
            for layer in (self.middle, self.middle, self.again, self.middle):
                h = self.act(layer(h))
            return self.out(h)

    @ib.model
    class Positions(nn.Module):
        \"\"\"Each pixel of an image is a row: [images · positions, units]; the last layer is called twice.\"\"\"
        def __init__(self, channels, height, width, classes):
            super().__init__()
            self.into, self.out, self.act = nn.Linear(channels, 5), nn.Linear(5, classes), nn.Tanh()
        def forward(self, x):
            h = self.act(self.into(x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])))
            return self.out(h).view(len(x), -1, self.out.out_features).mean(1) + self.out(torch.zeros_like(h[0]))

    @ib.model
    class Recurrent(nn.Module):
        \"\"\"Rows of an image are the steps, the first dimension.\"\"\"
        def __init__(self, channels, height, width, classes):
            super().__init__()
            self.into = nn.Linear(channels * width, 5)
            self.recurrent, self.head = nn.LSTM(5, 4, dropout=0.5, num_layers=2), nn.Linear(4, classes)
        def forward(self, x):
            x = torch.tanh(self.into(x.permute(2, 0, 1, 3).flatten(2)))
            return self.head(self.recurrent(x)[0][-1])

    @ib.model
    class Attention(nn.Module):
        def __init__(self, channels, height, width, classes):
            super().__init__()
            self.into, self.head = nn.Linear(channels * width, 8), nn.Linear(8, classes)
            self.encoder = nn.TransformerEncoderLayer(8, 2, 16, 0.5, nn.GELU(), batch_first=True)
        def forward(self, x):
            return self.head(self.encoder(self.into(x.transpose(1, 2).flatten(2))).mean(1))

    @ib.model
    class Tokens(nn.Module):
        def __init__(self, channels, height, width, classes):
            super().__init__()
            self.embedding, self.middle, self.act = nn.Embedding(17, 6), nn.Linear(6, 6), nn.ELU()
            self.head = nn.Linear(6, classes, bias=False)
        def forward(self, x):
            return self.head(self.act(self.middle(self.embedding((x.flatten(1) * 16).long())).mean(1)))

    @ib.model
    class Refusing(Two):
        def forward(self, x):
            assert not self.training or len(x) < 20, "too many images"
            return super().forward(x)

    @ib.model
    def build(channels, height, width, classes, *, activation):
        sizes = [channels * height * width, 24, 16, classes]
        first, second, last = (nn.Linear(*pair) for pair in zip(sizes, sizes[1:]))
        return nn.Sequential(nn.Flatten(), first, activation(), second, activation(), last)

    @ib.activation
    def bent(x):
        return torch.where(x > 0, x, 0.005 * x)
""")


@pytest.fixture(scope="module", autouse=True)
def plugin():
    records.register(MODULES)


@pytest.fixture(scope="module")
def tiny():
    """Random images of 6 × 6 pixels and two channels."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 72)).astype(np.uint8)
    labels = (np.arange(60) % CLASSES).astype(np.uint8)
    return PlainData(Arrays(pixels, labels, pixels[:9], labels[:9], SHAPE))


def own_cell(model, **settings):
    usual = {"train_size": 48, "batch_size": 8, "hidden": "", "activation": "relu", "initializer": "he_normal"}
    return make_cell(model=f"{model}@{MODULES.digest}", **{**usual, **settings})


@functools.cache
def of_own(model, data, **settings):
    cell = own_cell(model, **settings)
    return module.signal(Loop(cell, data), record.images(cell, data))


def names(signal, layer):
    return {name for number, name in signal if number == layer}


RATIOS = {"gradient_ratio", "weight_gradient_ratio"}
JACOBIANS = {name for name in STATISTICS if name.startswith("jacobian")}
WEIGHTS = {"weight_norm", "weight_spectral_norm", "weight_gradient_norm", "weight_gradient_variance"}
OF_HIDDEN = set(STATISTICS) - RATIOS - JACOBIANS - {"weight_distance"}
OF_ACTIVATIONS = {name for name in STATISTICS if name.startswith("activation")}
OF_INPUT = OF_ACTIVATIONS | {"correlation", "effective_rank"}
WITHOUT_ACTIVATION = OF_HIDDEN - OF_ACTIVATIONS - {"saturated_share", "dead_share"}


def agree(signal, expected, **tolerances):
    assert signal.keys() == expected.keys()
    for key, value in expected.items():
        assert signal[key] == pytest.approx(value, nan_ok=True, **tolerances), key


@pytest.mark.parametrize(
    "functions",
    [
        {"activation": "tanh"},
        {"activation": "relu", "output_activation": "softmax", "loss": "mse"},
        {"activation": "softplus(beta=2.0)", "output_activation": "sigmoid", "loss": "mse"},
    ],
)
def test_a_perceptron_as_a_module_has_the_signal_of_a_fused_one(small, functions):
    cell = make_cell(**QUICK | {"hidden": "24-16", "initializer": "normal(std=0.2)"}, **functions)
    fused = Data(small)
    parameters = initial_parameters(cell, cell.layers(fused.pixels, fused.classes), fused.read)
    start = [(W - 1, b) for W, b in parameters]
    seen = record.images(cell, fused)
    expected = perceptron.signal(cell, 3, parameters.__getitem__, seen, start.__getitem__)
    data = PlainData(small)
    for model in ("perceptron", f"build@{MODULES.digest}"):
        loop = Loop(cell._replace(model=model), data)
        agree(module.signal(loop, record.images(cell, data), start), expected, rel=1e-5, abs=1e-7)


# ---------------------------------------------------------------------------------------------------------------------
# Plain NumPy: a convolution is a dense layer whose matrix has its weights again and again, and zeros


def as_matrix(W, height, width, stride, padding):
    """The matrix of a convolution, `[inputs, outputs]`, and where in it each of its weights stands."""
    size, _, channels_in, channels_out = W.shape
    rows, columns = ((n + 2 * padding - size) // stride + 1 for n in (height, width))
    matrix = np.zeros((height, width, channels_in, rows, columns, channels_out))
    places = np.full(matrix.shape, -1)
    index = np.arange(W.size).reshape(W.shape)
    for p, q, i, j in itertools.product(range(rows), range(columns), range(size), range(size)):
        y, x = p * stride + i - padding, q * stride + j - padding
        if 0 <= y < height and 0 <= x < width:
            matrix[y, x, :, p, q], places[y, x, :, p, q] = W[i, j], index[i, j]
    return matrix.reshape(height * width * channels_in, -1), places.reshape(height * width * channels_in, -1)


def test_convolutions_have_the_statistics_that_plain_numpy_computes(tiny):
    cell = make_cell(model="convnet", hidden="", train_size=40, batch_size=8, initializer="normal(std=0.4)")
    loop = Loop(cell, tiny)
    seen = record.images(cell, tiny)
    with torch.no_grad():
        loop.model[0][0].bias.copy_(torch.linspace(-1, 1, 16))
    signal = module.signal(loop, seen)
    torch_weights = [layer.weight.detach().double().numpy() for layer in loop.layers]
    W = [torch_weights[0].transpose(2, 3, 1, 0), torch_weights[1].transpose(2, 3, 1, 0)]
    first, second = as_matrix(W[0], 6, 6, 2, 1), as_matrix(W[1], 3, 3, 2, 1)
    # PyTorch flattens channel by channel.
    last = torch_weights[2].reshape(3, 32, 2, 2).transpose(2, 3, 1, 0).reshape(128, 3)
    x, count = seen.values.astype(np.float64), len(seen.labels)
    z1 = x @ first[0] + np.tile(np.linspace(-1, 1, 16), 9)
    a1 = np.tanh(z1)
    z2 = a1 @ second[0]
    a2 = np.tanh(z2)
    z3 = a2 @ last
    p = np.exp(z3) / np.exp(z3).sum(1, keepdims=True)
    g3 = p - np.eye(3)[seen.labels]
    g2 = g3 @ last.T * (1 - a2**2)
    g1 = g2 @ second[0].T * (1 - a1**2)

    def tied(gradient, places, size):
        return np.array([gradient[places == index].sum() for index in range(size)])

    weight_gradients = [
        tied(x.T @ g1 / count, first[1], W[0].size),
        tied(a1.T @ g2 / count, second[1], W[1].size),
        a2.T @ g3 / count,
    ]
    matrices = [w.reshape(-1, w.shape[-1]) for w in (*W, last)]
    expected = dict(seen.signal)
    layers = zip((z1, z2, z3), (a1, a2, z3), (g1, g2, g3), weight_gradients, matrices, strict=True)
    for layer, (z, a, g, weight_gradient, matrix) in enumerate(layers, start=1):
        slope = 1 - a**2 if layer < 3 else np.ones_like(a)
        cosines = np.corrcoef(np.concatenate([z, -z], axis=1))[:count, :count]  # a mean of zero
        singular = np.linalg.svd(a, compute_uv=False)
        share = singular / singular.sum()
        q = {"q01": 0.01, "q50": 0.5, "q99": 0.99}
        values = {
            "pre_activation_mean": z.mean(),
            "pre_activation_variance": z.var(),
            **{f"pre_activation_{name}": np.quantile(z, share) for name, share in q.items()},
            "pre_activation_second_moment": (z**2).mean(),
            "activation_mean": a.mean(),
            "activation_variance": a.var(),
            **{f"activation_{name}": np.quantile(a, share) for name, share in q.items()},
            "saturated_share": (slope < 0.01).mean(),
            "dead_share": 0,
            "correlation": cosines[~np.eye(count, dtype=bool)].mean(),
            "effective_rank": np.exp(-(share * np.log(share)).sum()),
            "pre_activation_gradient_norm": np.sqrt((g**2).sum(1).mean()),
            "pre_activation_gradient_variance": g.var(),
            "weight_gradient_norm": np.linalg.norm(weight_gradient),
            "weight_gradient_variance": weight_gradient.var(),
            "weight_norm": np.linalg.norm(matrix),
            "weight_spectral_norm": np.linalg.norm(matrix, 2),
        }
        expected |= {(layer, name): value for name, value in values.items()}
    for name in ("gradient", "weight_gradient"):
        norm = f"{'' if 'weight' in name else 'pre_activation_'}{name}_norm"
        expected[1, f"{name}_ratio"] = expected[1, norm] / expected[3, norm]
    jacobians = [
        last.T @ np.diag(1 - s**2) @ second[0].T @ np.diag(1 - r**2) @ first[0].T
        for r, s in zip(a1[:8], a2[:8], strict=True)
    ]
    s = np.linalg.svd(jacobians, compute_uv=False)
    expected |= {
        (3, "jacobian_largest"): s.max(1).mean(),
        (3, "jacobian_median"): s[:, 1].mean(),
        (3, "jacobian_smallest"): s.min(1).mean(),
        (3, "jacobian_mean_square"): (s**2).mean(),
        (3, "jacobian_condition"): np.median(s.max(1) / s.min(1)),
    }
    agree(signal, expected, rel=2e-5, abs=1e-6)


def test_behind_batch_normalization_images_count_together_and_in_the_jacobian_alone(tiny):
    cell = make_cell(
        model="perceptron", hidden="7", normalization="batch", train_size=40, batch_size=8, initializer="normal(std=1)"
    )
    loop = Loop(cell, tiny)
    seen = record.images(cell, tiny)
    signal = module.signal(loop, seen)
    W, V = (layer.weight.detach().double().numpy().T for layer in loop.layers)
    x = seen.values.astype(np.float64)
    h = x @ W
    deviation = np.sqrt(h.var(0) + 1e-5)
    z = (h - h.mean(0)) / deviation
    assert signal[1, "pre_activation_variance"] == pytest.approx(z.var(), rel=1e-5)
    assert signal[1, "activation_variance"] == pytest.approx(np.tanh(z).var(), rel=1e-5)
    jacobians = [V.T @ np.diag((1 - np.tanh(row) ** 2) / deviation) @ W.T for row in z[:8]]
    s = np.linalg.svd(jacobians, compute_uv=False)
    assert signal[2, "jacobian_mean_square"] == pytest.approx((s**2).mean(), rel=1e-5)
    # The gradient at the weights goes through the statistics of the batch.
    weight = torch.tensor(W.T, requires_grad=True)
    hidden = torch.tanh(torch.nn.functional.batch_norm(torch.tensor(x) @ weight.T, None, None, training=True))
    nn.functional.cross_entropy(hidden @ torch.tensor(V), torch.tensor(seen.labels)).backward()
    assert signal[1, "weight_gradient_norm"] == pytest.approx(weight.grad.norm().item(), rel=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# All models


BUILT_IN = {name: name for name in MODELS if "@" not in name} | {"allconv": "allconv(width=6)"}


@pytest.mark.parametrize("model", BUILT_IN)
def test_every_built_in_model_has_all_rows_and_they_are_finite(model, small):
    data = PlainData(small)
    for normalization in ("none", "batch", "layer"):
        hidden = "12-12" if model == "perceptron" else ""
        settings = {"hidden": hidden, "normalization": normalization, "dropout": 0.5, "initializer": "lecun_normal"}
        cell = make_cell(model=BUILT_IN[model], train_size=24, batch_size=8, **settings)
        loop = Loop(cell, data)
        signal = module.signal(loop, record.images(cell, data))
        last = len(loop.layers)
        assert np.isfinite([*signal.values()]).all()
        by_layer = [names(signal, layer) for layer in range(last + 1)]
        assert by_layer[0] == OF_INPUT
        assert by_layer[1] - by_layer[2] - OF_HIDDEN == RATIOS
        assert by_layer[last] == OF_HIDDEN | JACOBIANS
        # Without an activation of its own: the layers before a residual block, but the last one's.
        linear = (1, 3, 5, 7) if model == "residual_perceptron" else ()
        for layer in range(1, last):
            assert by_layer[layer] - RATIOS == (WITHOUT_ACTIVATION if layer in linear else OF_HIDDEN), layer


def test_it_is_one_signal_however_a_module_is_written(tiny):
    expected = of_own("Two", tiny)
    assert names(expected, 1) == OF_HIDDEN | RATIOS
    for model in ("InPlace", "Checkpointed", "Frozen"):
        agree(of_own(model, tiny), expected, rel=1e-6)
    functional = of_own("Functional", tiny)
    assert names(functional, 1) == WITHOUT_ACTIVATION | RATIOS
    different = {(1, "effective_rank")}  # of the layer's own output
    agree(functional, {key: functional[key] if key in different else expected[key] for key in functional}, rel=1e-6)


def test_a_layer_that_is_not_called_has_the_statistics_of_its_weights_alone(tiny):
    signal = of_own("Unused", tiny)
    assert names(signal, 2) == {"weight_norm", "weight_spectral_norm"}
    assert names(signal, 3) == names(of_own("Two", tiny), 2)


def test_of_a_layer_that_is_called_again_the_first_call_counts_and_the_whole_gradient(tiny):
    cell = own_cell("Repeated")
    loop = Loop(cell, tiny)
    seen = record.images(cell, tiny)
    signal = module.signal(loop, seen)
    into, middle, out = (layer.weight.detach().double().clone() for layer in loop.layers)
    images = loop.arranged(torch.tensor(seen.values)).flatten(1)
    hidden = [torch.tanh(images.double() @ into.T)]
    middle.requires_grad_()
    for _ in range(4):
        hidden.append(torch.tanh(hidden[-1] @ middle.T))
    nn.functional.cross_entropy(hidden[-1] @ out.T, torch.tensor(seen.labels)).backward()
    assert signal[2, "activation_variance"] == pytest.approx(hidden[1].var(correction=0).item(), rel=1e-5)
    assert signal[2, "weight_gradient_norm"] == pytest.approx(middle.grad.norm().item(), rel=1e-5)
    assert names(signal, 3) == OF_HIDDEN | JACOBIANS


def test_the_largest_slope_is_the_activations_or_that_in_the_layer(tiny):
    # A leaky ReLU with a slope of 0.005 is saturated where it is negative: an own one, and PyTorch's by channel.
    negative = of_own("Two", tiny, activation=f"bent@{MODULES.digest}")[1, "saturated_share"]
    assert negative == of_own("Sloped", tiny)[1, "saturated_share"] == of_own("Two", tiny)[1, "saturated_share"]
    assert 0.2 < negative < 0.8
    assert of_own("Gated", tiny)[1, "saturated_share"] < 0.1
    # Random slopes are those of the pass, and the dropout inside of the activation is off.
    signal = of_own("Random", tiny)
    assert signal[1, "saturated_share"] == signal[1, "dead_share"] == 0


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        ("Positions", [OF_HIDDEN, OF_HIDDEN]),
        ("Recurrent", [WITHOUT_ACTIVATION, OF_HIDDEN]),
        ("Attention", [WITHOUT_ACTIVATION, WEIGHTS, OF_HIDDEN, WITHOUT_ACTIVATION, OF_HIDDEN]),
        ("Tokens", [WITHOUT_ACTIVATION, OF_HIDDEN, OF_HIDDEN]),
    ],
)
def test_modules_that_people_write_have_a_signal(model, layers, tiny):
    signal = of_own(model, tiny)
    assert np.isfinite([*signal.values()]).all()
    by_layer = [names(signal, layer) - RATIOS - JACOBIANS for layer in range(1, len(layers) + 1)]
    assert sorted(map(sorted, by_layer)) == sorted(map(sorted, layers))
    has_jacobian = (len(layers), "jacobian_largest") in signal
    assert has_jacobian == (model != "Tokens")  # its pixels are numbers of embeddings


# ---------------------------------------------------------------------------------------------------------------------
# Nothing of the training changes


def trained(cell, data, recorded=None):
    initialized = (lambda cell, seconds, parameters: recorded.start(parameters)) if recorded else lambda *_: None
    examine = recorded.loop if recorded else lambda epoch, loop: None
    epochs = list(plain.train(cell, data, initialized=initialized, examine=examine))
    return [np.concatenate([epoch.step_losses[:, 0], epoch.test_loss]).tobytes() for epoch in epochs]


@exact
def test_a_recorded_signal_changes_no_bit_of_the_training_nor_of_itself(tiny):
    perceptron_cell = own_cell("Two", epochs=2)._replace(model="perceptron", hidden="9", dropout=0.4)
    for cell in (
        own_cell("Random", epochs=2),
        own_cell("Recurrent", epochs=2),
        perceptron_cell._replace(normalization="batch"),
    ):
        recorded = record.Record([cell], tiny)
        assert trained(cell, tiny, recorded) == trained(cell, tiny)
        assert not recorded.reasons
        assert recorded.signals[0][0] == record.initial([cell], tiny)[0]
        last = len({layer for layer, _ in recorded.signals[0][2]}) - 1
        assert all(recorded.signals[0][2][layer, "weight_distance"] > 0 for layer in range(1, last + 1))


def test_a_signal_that_cannot_be_computed_costs_no_result(tiny):
    cell = own_cell("Refusing")
    recorded = record.Record([cell], tiny)
    assert trained(cell, tiny, recorded) == trained(own_cell("Two"), tiny)
    assert recorded.signals == [{}]
    assert [*recorded.reasons] == ["AssertionError: too many images"]


def test_a_diverged_network_has_a_signal_of_nan(tiny):
    cell = own_cell("Random", learning_rate=1e30)
    recorded = record.Record([cell], tiny)
    trained(cell, tiny, recorded)
    assert not recorded.reasons
    signal = recorded.signals[0][1]
    assert np.isnan([signal[1, name] for name in ("pre_activation_mean", "saturated_share", "weight_norm")]).all()
    assert np.isnan([signal[2, name] for name in JACOBIANS]).all()
