"""The schemes that look at a whole network: against the authors' numbers, plain NumPy, and what they promise."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from initbench import initializers as init
from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES
from initbench.initializers import gradient_driven, kernel_shaping, schemes
from initbench.initializers.kernel_shaping import shaped_by_dks, shaped_by_tat
from initbench.initializers.moments import applied
from initbench.random import noise, streams

NETWORK_SCHEMES = sorted(name for name, entry in init.INITIALIZERS.items() if "network" in entry.tags)


def model(activation="relu", layers=((784, 40), (40, 30), (30, 10)), **keywords):
    generator = np.random.default_rng(0)
    images = generator.random((200, layers[0][0])) * (generator.random((200, layers[0][0])) < 0.2)
    return init.Model(layers, [(images, generator.integers(0, 10, 200))], activation=activation, **keywords)


QUICK = {"metainit": {"steps": 5}, "gradinit": {"iterations": 5}}


@pytest.mark.parametrize("name", NETWORK_SCHEMES)
@pytest.mark.parametrize("layers", [((784, 10),), ((784, 40), (40, 10))])
def test_a_network_scheme_fills_every_layer_and_its_seed_decides(name, layers):
    m, scheme = model("tanh", layers), init.INITIALIZERS[name].function
    parameters, again, other = (scheme(m, seed=seed, **QUICK.get(name, {})) for seed in (0, 0, 1))
    for shape, (W, b), (W2, b2), (W3, _) in zip(layers, parameters, again, other, strict=True):
        assert (W.shape, b.shape, W.dtype, b.dtype) == (shape, shape[1:], np.float32, np.float32)
        assert np.isfinite(W).all()
        assert (W.tobytes(), b.tobytes()) == (W2.tobytes(), b2.tobytes())
        if name != "pca":  # whose seed is that of its batches
            assert abs(np.corrcoef(W.ravel(), W3.ravel())[0, 1]) < 0.2
    with pytest.raises(ValueError, match="batches"):
        scheme(init.Model(layers, activation="tanh"), seed=0)


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus"])
def test_after_lsuv_every_layer_has_unit_variance_and_equal_singular_values(activation):
    m = model(activation)
    parameters = init.lsuv(m, tolerance=0.01, seed=0, dtype=np.float64)
    for z in m.pre_activations(parameters, m.batch()[0]):
        assert z.var() == pytest.approx(1, abs=0.01)
    for W, _ in parameters:
        singular = np.linalg.svd(W, compute_uv=False)
        assert singular.max() == pytest.approx(singular.min())


def test_after_within_layer_every_unit_has_the_requested_mean_and_unit_variance():
    m = model()
    parameters = init.within_layer(m, beta=0.1, seed=0, dtype=np.float64)
    for z in m.pre_activations(parameters, m.batch()[0]):
        np.testing.assert_allclose(z.mean(axis=0), 0.1, atol=1e-10)
        np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-10)


def test_autoinit_is_he_after_relu_and_scales_with_the_data_in_the_first_layer():
    m = model("relu", layers=((784, 400), (400, 300)))
    (first, _), (second, _) = init.autoinit(m, seed=0, dtype=np.float64)
    np.testing.assert_allclose(
        second, init.he_truncated_normal((400, 300), seed=streams.weights(0, 1), dtype=np.float64)
    )
    expected = 1 / (784 * (m.batch()[0] ** 2).mean())
    assert first.var() == pytest.approx(expected, rel=0.02)


def test_a_scheme_for_each_position_fills_its_layers():
    text = schemes.resolve({"hidden": "ones", "first": "zeros", "last": {"name": "constant", "value": 3}})
    m = init.Model(((4, 3), (3, 3), (3, 3), (3, 2)))
    parameters = schemes.parameters(text, "per_layer(first=ones, hidden=zeros, last=zeros)", m, seed=0)
    assert [float(W.max()) for W, _ in parameters] == [0, 1, 1, 3]
    assert [float(b.max()) for _, b in parameters] == [1, 0, 0, 0]
    only = schemes.parameters(text, "zeros", init.Model(((4, 2),)), seed=0)
    assert float(only[0][0].max()) == 3  # an only layer is the last one


# ---------------------------------------------------------------------------------------------------------------------
# Deep kernel shaping

# α, β, γ, δ for ten hidden layers, as the authors' package `dks` 0.1.2 finds them (its quadrature made coarser, which
# matters for none of these: they are smooth).
DKS_OF_THE_AUTHORS = {
    "tanh": (0.29665, 0.652804, 4.9646, -0.542496),
    "sigmoid": (0.5933, 1.305607, 9.9292, -0.771248),
    "softplus": (0.81028, 0.419, 2.046517, -0.998174),
    "silu": (0.436917, 0.341305, 3.428074, -0.242756),
    "gelu": (0.282754, 0.24598, 5.103794, -0.175847),
}
TAT_OF_THE_AUTHORS = {
    "tanh": (0.184638, -0.557367, 7.234956, 0.510545),
    "sigmoid": (0.369277, -1.114733, 14.469913, -0.244728),
    "softplus": (0.496203, 0.560007, 3.153885, -1.00098),
    "silu": (0.283014, 0.45079, 4.900318, -0.268238),
    "gelu": (0.186047, 0.324961, 7.131699, -0.198978),
}


@pytest.mark.parametrize("name", sorted(DKS_OF_THE_AUTHORS))
def test_the_shaping_constants_are_those_of_the_authors_code(name):
    assert shaped_by_dks(name, 1.5, 10) == pytest.approx(DKS_OF_THE_AUTHORS[name], abs=2e-6)
    assert shaped_by_tat(name, 0.3, 10) == pytest.approx(TAT_OF_THE_AUTHORS[name], abs=2e-6)


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "softsign"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_of_two_mirrored_solutions_the_one_that_is_found_does_not_matter(name, sign, monkeypatch):
    """Which of them the solver finds depends on rounding, and so on the processor."""
    expected = shaped_by_dks(name, 1.5, 10), shaped_by_tat(name, 0.3, 10)
    solved = [shaped if shaped.beta * sign > 0 else kernel_shaping._mirrored(name, shaped) for shaped in expected]
    solutions = iter(solved)
    monkeypatch.setattr(kernel_shaping, "_solved", lambda *_: next(solutions))
    for function, shape, right in zip((shaped_by_dks, shaped_by_tat), ((1.5, 10), (0.3, 10)), expected, strict=True):
        assert function.__wrapped__(name, *shape) == pytest.approx(right, rel=1e-12)
    z = np.linspace(-3, 3, 7)
    for first in expected:  # φ̂(z) of one is −φ̂(−z) of the other, which has the same moments
        other = kernel_shaping._mirrored(name, first)
        assert other.beta == -first.beta
        values, opposite = (
            s.gamma * (applied(name, side * s.alpha * z + s.beta) + s.delta) for s, side in ((first, 1), (other, -1))
        )
        np.testing.assert_allclose(values, -opposite, atol=1e-12)


def moment(function, kink):
    """E[f(z)] of a unit normal by SciPy's adaptive integration, on each side of a kink separately."""

    def weighed(z):
        return function(z) * stats.norm.pdf(z)

    return integrate.quad(weighed, -12, kink, epsabs=1e-11)[0] + integrate.quad(weighed, kink, 12, epsabs=1e-11)[0]


@pytest.mark.parametrize(
    ("name", "depth"),
    [(n, d) for n in ("tanh", "elu", "selu", "softsign") for d in (1, 3, 30) if d > 1 or "elu" not in n],
)
def test_the_shaped_activation_meets_its_conditions_by_scipys_integration(name, depth):
    for solve, targets in (
        (lambda: shaped_by_dks(name, 1.5, depth), {"square": 1, "mean": 0, "size": 1, "slope": 1.5 ** (1 / depth)}),
        (lambda: shaped_by_tat(name, 0.3, depth), {"square": 1, "size": 1, "slope": 1, "curve": 0.3 / depth}),
    ):
        if "curve" in targets and name == "selu":
            with pytest.raises(ValueError, match="smooth and not linear"):
                solve()
            continue
        alpha, beta, gamma, delta = solve()

        def shaped(z, a=alpha, b=beta, g=gamma, d=delta):
            return g * (float(ACTIVATIONS.call(name, np.array([a * z + b]))[0]) + d)

        def slope(z, h=1e-5):
            return (shaped(z + h) - shaped(z - h)) / (2 * h)

        def curve(z, h=1e-3):
            return (shaped(z + h) - 2 * shaped(z) + shaped(z - h)) / h**2

        integrands = {
            "square": lambda z, shaped=shaped: shaped(z) ** 2,
            "mean": shaped,
            "size": lambda z, shaped=shaped, slope=slope: shaped(z) * slope(z) * z,
            "slope": lambda z, slope=slope: slope(z) ** 2,
            "curve": lambda z, curve=curve: curve(z) ** 2,
        }
        for integrand, target in targets.items():
            got = moment(integrands[integrand], -beta / alpha)
            assert got == pytest.approx(target, abs=2e-3 if integrand == "curve" else 1e-5), integrand


def test_an_activation_that_cannot_be_shaped_so_is_refused_with_the_reason():
    # Of one layer of elu units E[φ̂'²] reaches 1.48 at most where the other conditions hold.
    with pytest.raises(
        ValueError, match=r"'elu' with slope = 1.5 and 1 hidden layers: no constants .*; allowed: another"
    ):
        shaped_by_dks("elu", 1.5, 1)
    assert shaped_by_dks("elu", 1.3, 1).alpha > 0


@pytest.mark.parametrize("distribution", ["orthogonal", "normal"])
@pytest.mark.parametrize(("scheme", "constants"), [("dks", shaped_by_dks), ("tat", shaped_by_tat)])
def test_a_shaped_start_computes_what_a_network_with_the_shaped_activation_does(scheme, constants, distribution):
    layers = ((784, 60), (60, 90), (90, 30), (30, 10))
    m = model("tanh", layers)
    parameters = init.INITIALIZERS[scheme].function(m, distribution=distribution, seed=3, dtype=np.float64)
    alpha, beta, gamma, delta = constants("tanh", {"dks": 1.5, "tat": 0.3}[scheme], 3)
    x = m.batch()[0] / math.sqrt((m.batch()[0] ** 2).mean())
    for layer, (fan_in, fan_out) in enumerate(layers):
        stream = streams.weights(3, layer)
        if distribution == "normal":
            W = init.lecun_normal((fan_in, fan_out), seed=stream, dtype=np.float64)
        else:
            W = init.orthogonal((fan_in, fan_out), seed=stream, dtype=np.float64) * max((fan_out / fan_in) ** 0.5, 1)
        u = x @ W
        x = gamma * (np.tanh(alpha * u + beta) + delta)
    np.testing.assert_allclose(m.pre_activations(parameters, m.batch()[0])[-1], u, atol=1e-10)


def test_a_shaped_deep_network_keeps_the_size_of_signals_where_a_plain_one_loses_it():
    layers = ((784, 300), *[(300, 300)] * 30, (300, 10))
    m = model("sigmoid", layers)
    shaped = m.pre_activations(init.dks(m, seed=0, dtype=np.float64), m.batch()[0])[-1]
    plain = [
        (init.glorot_normal(s, seed=streams.weights(0, n), dtype=np.float64), np.zeros(s[1]))
        for n, s in enumerate(layers)
    ]
    unshaped = m.pre_activations(plain, m.batch()[0])[-1]
    assert (shaped**2).mean() == pytest.approx(1, abs=0.3)
    assert shaped.std(axis=0).mean() > 0.3  # images are distinct
    assert unshaped.std(axis=0).mean() < 1e-6  # and here they are not


# ---------------------------------------------------------------------------------------------------------------------
# Principal components and k-means


def test_pca_units_are_the_singular_vectors_of_the_inputs():
    m = model("tanh", ((784, 40), (40, 10)))
    parameters = init.pca(m, batches=1, seed=0, dtype=np.float64)
    x = m.batch()[0]
    _, _, V = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    W = parameters[0][0] / np.linalg.norm(parameters[0][0], axis=0)
    np.testing.assert_allclose(np.abs((V[:40] * W.T).sum(axis=1)), 1, rtol=1e-8)
    for z in m.pre_activations(parameters, x):
        np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(z.shape[1]), atol=1e-8)  # uncorrelated, variance 1


def test_pca_units_beyond_the_components_are_random():
    images = np.random.default_rng(0).random((50, 3)) @ np.eye(3, 8)  # three components in eight inputs
    m = init.Model(((8, 5), (5, 2)), [(images, np.zeros(50, int))], activation="tanh")
    W = init.pca(m, seed=0, dtype=np.float64)[0][0]
    other = init.pca(m, seed=1, dtype=np.float64)[0][0]
    assert np.array_equal(W[:, :3], other[:, :3])
    assert not np.isclose(W[:3, 3:], other[:3, 3:]).any()


def test_kmeans_units_are_the_clusters_that_an_independent_lloyd_finds():
    generator = np.random.default_rng(0)
    centres = 5 * np.linalg.qr(generator.normal(size=(12, 12)))[0][:4]
    which = generator.integers(0, 4, 400)
    images = centres[which] + 0.1 * generator.normal(size=(400, 12))
    m = init.Model(((12, 4), (4, 4)), [(images, which)], activation="identity")
    W, b = init.kmeans(m, batches=1, seed=0, dtype=np.float64)[0]
    # By hand: whiten by the covariance's eigenvectors, scale to norm 1, Lloyd from the same images, whiten again.
    x = images - images.mean(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x)
    whitening = vectors[:, ::-1][:, :4] / np.sqrt(values[::-1][:4] + 1e-3)
    white = x @ whitening
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    centers = white[np.argsort(noise.standard_uniform((400,), streams.draws(0, 0)))[:4]]
    for _ in range(10):
        nearest = ((white[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
        centers = np.array([white[nearest == k].mean(axis=0) if (nearest == k).any() else centers[k] for k in range(4)])
    expected = whitening @ centers.T
    expected /= (images @ expected).std(axis=0)
    np.testing.assert_allclose(W, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose((images @ W + b).mean(axis=0), 0, atol=1e-9)


def test_layers_with_more_units_than_images_are_random():
    m = model(layers=((784, 300), (300, 10)))  # 200 images
    plain = init.within_layer(m, seed=0)
    for scheme in (init.pca, init.kmeans):
        np.testing.assert_array_equal(scheme(m, batches=1, seed=0)[0][0], plain[0][0])


# ---------------------------------------------------------------------------------------------------------------------
# MetaInit and GradInit


def regression(images, labels, W):
    """Loss, gradient, and Hessian times gradient of a linear network with mse: by hand, in NumPy."""
    error = images @ W - np.eye(W.shape[1])[labels]
    gradient = 2 * images.T @ error / error.size
    return (error**2).mean(), gradient, lambda g: 2 * images.T @ (images @ g) / error.size


def linear_model():
    generator = np.random.default_rng(1)
    batches = [(generator.random((20, 6)), generator.integers(0, 3, 20)) for _ in range(4)]
    return init.Model(((6, 3),), batches, loss="mse", biases=[np.zeros(3)])


def test_the_gradient_quotient_is_that_of_the_hessian_of_a_linear_network():
    m = linear_model()
    images, labels = m.batch()
    W = init.he_normal((6, 3), seed=0, dtype=np.float64)
    _, g, hessian = regression(np.hstack([images, np.ones((20, 1))]), labels, np.vstack([W, np.zeros(3)]))
    expected = np.abs((g - hessian(g)) / (g + np.where(g >= 0, 1e-5, -1e-5)) - 1).mean()
    tensors = [torch.from_numpy(a).requires_grad_() for a in (W, np.zeros(3))]
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    loss = ((x @ tensors[0] + tensors[1] - torch.nn.functional.one_hot(y, 3)) ** 2).mean()
    assert gradient_driven.gradient_quotient(loss, tensors).item() == pytest.approx(expected, rel=1e-10)


def test_metainit_is_the_algorithm_written_out_in_numpy():
    m = linear_model()
    start = init.he_normal((6, 3), seed=2, dtype=np.float64)
    W, moved = start.copy(), 0.0
    for step in range(30):
        drawn = noise.standard_uniform((20, 7), streams.draws(2, step))
        images, labels = stats.norm.ppf(drawn[:, :6]), (3 * drawn[:, 6]).astype(int)

        def quotient(W, images=images, labels=labels):
            _, g, hessian = regression(np.hstack([images, np.ones((20, 1))]), labels, np.vstack([W, np.zeros(3)]))
            return np.abs((g - hessian(g)) / (g + np.where(g >= 0, 1e-5, -1e-5)) - 1).mean()

        norm = np.linalg.norm(W)
        slope = quotient(W * (1 + 1e-6 / norm)) - quotient(W * (1 - 1e-6 / norm))
        moved = 0.9 * moved - 0.1 * np.sign(slope)
        W = W * (norm + moved) / norm
    (rescaled, b) = init.metainit(m, steps=30, seed=2, dtype=np.float64)[0]
    np.testing.assert_allclose(rescaled, W, rtol=1e-9)
    assert abs(np.linalg.norm(rescaled) - np.linalg.norm(start)) > 0.5
    assert not b.any()


def test_metainit_lowers_the_quotient_of_a_real_network_and_keeps_directions():
    m = model("tanh")
    before, after = (init.metainit(m, steps=steps, seed=0, dtype=np.float64) for steps in (0, 60))
    images = np.random.default_rng(5).normal(size=(200, 784))
    labels = torch.from_numpy(np.random.default_rng(6).integers(0, 10, 200))

    def quotient(parameters):
        weights, biases = ([torch.from_numpy(p[i]).requires_grad_() for p in parameters] for i in (0, 1))
        loss = m.batch_loss(weights, biases, torch.from_numpy(images), labels)
        return gradient_driven.gradient_quotient(loss, [*weights, *biases]).item()

    assert quotient(after) < 0.5 * quotient(before)
    for (W, _), (V, _) in zip(before, after, strict=True):
        ratio = V / W
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-9)


@pytest.mark.parametrize("gamma", [0.3, 10.0])
def test_gradinit_is_the_algorithm_written_out_in_numpy(gamma):
    m = linear_model()
    start = init.he_normal((6, 3), seed=4, dtype=np.float64)
    halves = [(x[rows], y[rows]) for x, y in m.batches for rows in (slice(0, 10), slice(10, 20))] * 20
    wide = [(np.hstack([x, np.ones((10, 1))]), y) for x, y in halves]  # the bias is a row of W; it starts at 0
    batches = iter(wide)
    factor, averages, square, counts = 1.0, [0.0, 0.0], 0.0, [0, 0]

    def joined(*parts):
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))

    for _ in range(25):
        first, second = next(batches), next(batches)
        whole = joined(first, second)

        def parameters(a):
            return np.vstack([a * start, np.zeros(3)])

        g = regression(*whole, parameters(factor))[1]
        beyond = int(np.linalg.norm(g) > gamma)
        if beyond:

            def aim(a, whole=whole):
                return np.linalg.norm(regression(*whole, parameters(a))[1])

        else:
            moved = 0.1 * g / np.linalg.norm(g)
            other = joined(first, next(batches))

            def aim(a, moved=moved, other=other):
                return regression(*other, parameters(a) - moved)[0] / 0.1

        slope = np.clip((aim(factor + 1e-6) - aim(factor - 1e-6)) / 2e-6, -1, 1)
        counts[beyond] += 1
        averages[beyond] = 0.9 * averages[beyond] + 0.1 * slope
        square = 0.999 * square + 0.001 * slope**2
        average = averages[beyond] / (1 - 0.9 ** counts[beyond])
        factor = max(factor - 0.05 * average / (math.sqrt(square / (1 - 0.999 ** sum(counts))) + 1e-8), 0.01)
    rescaled = init.gradinit(m, gamma=gamma, rate=0.05, iterations=25, seed=4, dtype=np.float64)[0][0]
    np.testing.assert_allclose(rescaled, factor * start, rtol=1e-6)
    assert abs(factor - 1) > 0.05


def test_after_gradinit_the_first_step_lowers_the_loss_more_and_the_gradient_is_small():
    m = model("relu", ((784, 40), (40, 30), (30, 10)))
    images, labels = (torch.from_numpy(a) for a in m.batch())

    def first_step(parameters):
        tensors = [torch.from_numpy(p[i]).requires_grad_() for i in (0, 1) for p in parameters]
        loss = m.batch_loss(tensors[:3], tensors[3:], images, labels)
        gradients = torch.autograd.grad(loss, tensors)
        norm = torch.stack([(g**2).sum() for g in gradients]).sum().sqrt()
        after = [t - 0.1 * g / norm for t, g in zip(tensors, gradients, strict=True)]
        return norm.item(), m.batch_loss(after[:3], after[3:], images, labels).item()

    he, after_100 = (init.gradinit(m, iterations=n, seed=0, dtype=np.float64) for n in (0, 100))
    assert first_step(after_100)[0] < 1.1
    assert first_step(after_100)[1] < first_step(he)[1]


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"softmax"}))
def test_gradient_driven_schemes_differentiate_every_activation_and_loss(activation, loss):
    m = model(activation, ((784, 8), (8, 10)), loss=loss, output_activation="softmax" if loss == "mse" else "identity")
    for scheme, few in ((init.metainit, {"steps": 2}), (init.gradinit, {"iterations": 4, "gamma": 0.1})):
        for (W, b), shape in zip(scheme(m, seed=0, **few), m.layers, strict=True):
            assert W.shape == shape
            assert np.isfinite(W).all()
            assert np.isfinite(b).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: init.lsuv(m, tolerance=0.0), "tolerance = 0.0"),
        (lambda m: init.within_layer(m, batches=0), "batches = 0"),
        (lambda m: init.pca(m, batches=1001), "batches = 1001"),
        (lambda m: init.metainit(m, steps=10**9), "steps = 1000000000"),
        (lambda m: init.gradinit(m, iterations=-1), "iterations = -1"),
        (lambda m: init.metainit(m, rate=0.0), "rate = 0.0"),
        (lambda m: init.metainit(m, momentum=1.0), "momentum = 1.0"),
        (lambda m: init.gradinit(m, gamma=0.0), "gamma = 0.0"),
        (lambda m: init.dks(m, slope=1.0), "slope = 1.0"),
        (lambda m: init.tat(m, curve=0.0), "curve = 0.0"),
        (init.dks, "activation = 'relu'"),
        (init.tat, "activation = 'relu'"),
    ],
)
def test_a_network_scheme_refuses_what_cannot_be(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(model("relu"))
    assert "allowed" in str(error.value)


def test_many_large_batches_are_taken_up_to_a_limit_of_images():
    batches = [(np.zeros((30_000, 2)), np.zeros(30_000, int))]
    assert len(init.Model(((2, 2),), batches).batch(1000)[1]) == 60_000


@pytest.mark.parametrize(
    ("layers", "fields", "message"),
    [
        ((20, 50, 3), {}, "layers = "),
        (((20, 50), (40, 3)), {}, "layers = "),
        ((), {}, "layers = "),
        (((4, 3), (3, 2)), {"biases": [np.zeros(3)]}, "biases of shapes"),
        (((4, 3), (3, 2)), {"batches": [(np.ones((5, 9)), np.zeros(5, int))]}, r"images \[batch, 4\]"),
        (((4, 3), (3, 2)), {"batches": (np.ones((5, 4)), np.zeros(5, int))}, r"labels \[batch\]"),
        (((4, 3), (3, 2)), {"batches": [(np.ones((5, 4)), np.full(5, 2))]}, "from 0 to 1"),
        (((4, 3), (3, 2)), {"batches": [(np.ones((5, 4)), np.zeros(5))]}, "integers"),
    ],
)
def test_a_model_that_cannot_be_is_refused_with_what_is_allowed(layers, fields, message):
    with pytest.raises(ValueError, match=message) as error:
        init.lsuv(init.Model(layers, **fields), seed=0)
    assert "allowed" in str(error.value)


# ---------------------------------------------------------------------------------------------------------------------
# What a run hands to a scheme


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("name", ["mup", "gpt2", "fixup", "kumar", "edge_of_chaos", "activation_scaling", "he_normal"])
def test_each_layer_gets_its_own_stream_position_depth_and_activation(name, activation):
    m = init.Model(((7, 6), (6, 5), (5, 4), (4, 3)), activation=activation, output_activation="sigmoid")
    parameters = schemes.parameters(name, "torch_linear_default", m, 5)
    for n, (shape, position) in enumerate(zip(m.layers, ("first", "hidden", "hidden", "last"), strict=True)):
        stream = np.random.SeedSequence(5, spawn_key=(0, n))
        W = init.INITIALIZERS.call(name, shape, activation=activation, position=position, depth=4, seed=stream)
        b = init.torch_linear_default(shape[1:], fan_in=shape[0], seed=np.random.SeedSequence(5, spawn_key=(1, n)))
        assert np.array_equal(parameters[n][0], W)
        assert np.array_equal(parameters[n][1], b)


def test_without_hidden_layers_the_outputs_activation_counts_and_the_layer_is_the_last():
    m = init.Model(((7, 3),), activation="relu", output_activation="sigmoid")
    for name in ("kumar", "mup"):
        W = init.INITIALIZERS.call(
            name, (7, 3), activation="sigmoid", position="last", depth=1, seed=streams.weights(2, 0)
        )
        assert np.array_equal(schemes.parameters(name, "zeros", m, 2)[0][0], W)


def test_network_schemes_begin_from_the_bias_initializers_biases():
    m = model("tanh")
    biases = [init.torch_linear_default(s[1:], fan_in=s[0], seed=streams.biases(3, n)) for n, s in enumerate(m.layers)]
    for name in ("lsuv", "autoinit", "metainit(steps=3)"):
        for (_, b), expected in zip(schemes.parameters(name, "torch_linear_default", m, 3), biases, strict=True):
            np.testing.assert_allclose(b, expected, rtol=1e-6)
    for name in ("within_layer", "pca", "kmeans", "dks", "tat"):
        first, other = (schemes.parameters(name, bias, m, 3) for bias in ("zeros", "ones"))
        assert all(np.array_equal(b, c) for (_, b), (_, c) in zip(first, other, strict=True))
        assert schemes.sets_biases(name)
    assert not schemes.sets_biases("lsuv")


def test_the_batches_are_those_of_the_training_in_its_order():
    from initbench.training.parameters import Batches

    data = np.arange(50, dtype=float)[:, None]
    batches = iter(Batches(4, 50, 12, lambda rows: (data[rows], rows)))
    for epoch in (1, 2):
        order = streams.order(4, epoch, 50)
        for step in range(4):
            images, labels = next(batches)
            assert np.array_equal(labels, order[12 * step : 12 * step + 12])
            assert np.array_equal(images[:, 0], labels)


# ---------------------------------------------------------------------------------------------------------------------
# Every parameter matters, and every layer has its own noise

OTHER = {
    "lsuv": {"tolerance": 1e6, "iterations": 1, "batches": 2},
    "within_layer": {"beta": 0.5, "batches": 2},
    "pca": {"beta": 0.5, "batches": 1},
    "kmeans": {"beta": 0.5, "batches": 1},
    "autoinit": {"batches": 2},
    "dks": {"slope": 1.2, "distribution": "normal", "batches": 2},
    "tat": {"curve": 0.1, "distribution": "normal", "batches": 2},
    "metainit": {"rate": 0.03, "momentum": 0.5, "steps": 2},
    "gradinit": {"eta": 0.7, "gamma": 0.2, "rate": 0.05, "smallest": 0.999, "iterations": 9},
}


@pytest.mark.parametrize("name", NETWORK_SCHEMES)
def test_every_parameter_of_a_network_scheme_changes_the_start(name):
    entry, first = init.INITIALIZERS[name], model("tanh")
    generator = np.random.default_rng(7)
    batches = [*first.batches, (generator.random((200, 784)), generator.integers(0, 10, 200))]
    biases = [np.linspace(-1, 1, out) for _, out in first.layers]
    m = init.Model(first.layers, batches, activation="tanh", biases=biases)
    assert set(OTHER[name]) == {p.name for p in entry.parameters}
    few = QUICK.get(name, {}) | {"lsuv": {"iterations": 3, "tolerance": 1e-9}, "gradinit": {"gamma": 3.0}}.get(name, {})
    plain = entry.function(m, seed=0, **few)
    for parameter, value in OTHER[name].items():
        changed = entry.function(m, seed=0, **(few | {parameter: value}))
        same = [
            np.array_equal(a, b)
            for left, right in zip(plain, changed, strict=True)
            for a, b in zip(left, right, strict=True)
        ]
        assert not all(same), parameter


def test_metainit_and_gradinit_take_their_rates_as_the_algorithm_does():
    m = linear_model()
    start = init.he_normal((6, 3), seed=2, dtype=np.float64)
    after_one, after_two = (
        init.metainit(m, rate=0.03, momentum=0.5, steps=n, seed=2, dtype=np.float64)[0][0] for n in (1, 2)
    )
    norms = [np.linalg.norm(W) for W in (start, after_one, after_two)]
    assert abs(norms[1] - norms[0]) == pytest.approx(0.03)
    second = (norms[2] - norms[1]) / (norms[1] - norms[0])
    assert second == pytest.approx(1.5) or second == pytest.approx(-0.5)  # 0.5 of the first, and as much or against it
    floor = init.gradinit(m, smallest=0.9, rate=1.0, gamma=1e-3, iterations=3, seed=2, dtype=np.float64)[0][0]
    np.testing.assert_allclose(floor, 0.9 * start)


def test_the_layers_of_data_driven_schemes_have_their_own_noise():
    m = model("relu")
    for n, ((W, _), (V, _)) in enumerate(
        zip(init.lsuv(m, seed=3, dtype=np.float64), init.within_layer(m, seed=3, dtype=np.float64), strict=True)
    ):
        shape, stream = m.layers[n], streams.weights(3, n)
        ratio = W / init.orthogonal(shape, seed=stream, dtype=np.float64)
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-8)
        ratio = V / init.normal(shape, std=1.0, seed=stream, dtype=np.float64)
        np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), rtol=1e-8)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softplus"])
def test_autoinit_follows_the_second_moment_of_any_activation(activation):
    (_, _), (W, _) = init.autoinit(model(activation, ((784, 400), (400, 300))), seed=0, dtype=np.float64)
    assert W.var() == pytest.approx(init.gain(activation) ** 2 / 400, rel=0.02)


# ---------------------------------------------------------------------------------------------------------------------
# Degenerate data


@pytest.mark.parametrize("name", NETWORK_SCHEMES)
@pytest.mark.parametrize("images", ["zero", "equal", "one"])
def test_a_network_scheme_is_finite_on_images_that_do_not_vary(name, images):
    x = {"zero": np.zeros((30, 12)), "equal": np.full((30, 12), 0.5), "one": np.full((1, 12), 0.5)}[images]
    m = init.Model(((12, 6), (6, 3)), [(x, np.zeros(len(x), int))], activation="tanh", loss="mse")
    for W, b in init.INITIALIZERS[name].function(m, seed=0, **QUICK.get(name, {})):
        assert np.isfinite(W).all()
        assert np.isfinite(b).all()


def test_kmeans_and_pca_after_dead_units_are_random():
    m = model("relu", ((784, 20), (20, 10)))
    for scheme in (init.kmeans, init.pca):
        parameters = scheme(m, beta=-10.0, seed=0, dtype=np.float64)
        assert not (np.maximum(m.pre_activations(parameters, m.batch()[0])[0], 0)).any()
        drawn = init.normal((20, 10), std=1.0, seed=streams.weights(0, 1), dtype=np.float64)
        np.testing.assert_array_equal(parameters[1][0], drawn)


def test_gradinit_does_nothing_where_there_is_no_gradient():
    m = init.Model(((4, 1),), [(np.ones((6, 4)), np.zeros(6, int))])  # one class: the loss is 0
    plain = init.he_normal((4, 1), seed=0, dtype=np.float64)
    assert np.array_equal(init.gradinit(m, iterations=4, seed=0, dtype=np.float64)[0][0], plain)
