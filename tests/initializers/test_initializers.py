"""Every scheme against its documented distribution, and against PyTorch where it has the same."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from initbench import initializers as init
from initbench.initializers import schemes
from initbench.initializers.schemes import distribution
from initbench.initializers.theory import critical_point
from initbench.random import streams

SCHEMES = sorted(name for name, entry in init.INITIALIZERS.items() if "single-layer" in entry.tags)
FIXED = {"zeros", "ones", "constant", "identity", "idinit", "dirac", "zero_hadamard", "sinusoidal"}
# Weights that are drawn together, or have no single distribution: each has a test of its own.
STRUCTURED = {"orthogonal", "delta_orthogonal", "sparse", "torch_sparse", "fixed_point_tanh", "nguyen_widrow"}
RANDOM = [name for name in SCHEMES if name not in FIXED]
BIG = (400, 300)
N = BIG[0] * BIG[1]

# scheme: (scipy's distribution of one weight of shape BIG, with the formula from the paper)
EXPECTED = {
    "uniform": stats.uniform(-0.05, 0.1),
    "normal": stats.norm(0, 0.05),
    "truncated_normal": stats.truncnorm(-2, 2, scale=0.05),
    "variance_scaling": stats.truncnorm(-2, 2, scale=math.sqrt(1 / 400) / stats.truncnorm(-2, 2).std()),
    "glorot_normal": stats.norm(0, math.sqrt(2 / 700)),
    "glorot_truncated_normal": stats.truncnorm(-2, 2, scale=math.sqrt(2 / 700) / stats.truncnorm(-2, 2).std()),
    "glorot_uniform": stats.uniform(-math.sqrt(6 / 700), 2 * math.sqrt(6 / 700)),
    "he_normal": stats.norm(0, math.sqrt(2 / 400)),
    "he_truncated_normal": stats.truncnorm(-2, 2, scale=math.sqrt(2 / 400) / stats.truncnorm(-2, 2).std()),
    "he_uniform": stats.uniform(-math.sqrt(6 / 400), 2 * math.sqrt(6 / 400)),
    "lecun_normal": stats.norm(0, math.sqrt(1 / 400)),
    "lecun_truncated_normal": stats.truncnorm(-2, 2, scale=math.sqrt(1 / 400) / stats.truncnorm(-2, 2).std()),
    "lecun_uniform": stats.uniform(-math.sqrt(3 / 400), 2 * math.sqrt(3 / 400)),
    "torch_linear_default": stats.uniform(-1 / 20, 2 / 20),
    "keras_default": stats.uniform(-math.sqrt(6 / 700), 2 * math.sqrt(6 / 700)),
    "tf1_default": stats.uniform(-math.sqrt(6 / 700), 2 * math.sqrt(6 / 700)),
    "activation_scaling": stats.norm(0, math.sqrt(2 / 400)),  # relu
    "edge_of_chaos": stats.norm(0, math.sqrt(1.760955 / 400)),  # tanh, published as 1.76
    "random_walk": stats.norm(0, math.sqrt(2 / 400) * math.exp(1.2 / 397.6)),  # relu
    "kumar": stats.norm(0, 1 / 20),  # tanh
    "mup": stats.norm(0, 1 / 20),
    "gpt2": stats.norm(0, 0.02),
    "fixup": stats.norm(0, math.sqrt(2 / 400)),
}


def draw(name, shape=BIG, **keywords):
    return init.INITIALIZERS[name].function(shape, **keywords)


NO_FLOATING_TYPES = (
    int, np.uint8, bool, complex, np.complex64, object, str, "datetime64[s]", "f4,f4", "V4", "float33", torch.float32,
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(init.INITIALIZERS))
def test_a_dtype_that_is_not_floating_is_refused(name):
    entry = init.INITIALIZERS[name]
    network = "network" in entry.tags
    batches = [(np.random.default_rng(0).random((8, 4)), np.arange(8) % 3)]
    target = init.Model(((4, 4), (4, 3)), batches, activation="tanh") if network else entry.fit.example
    quick = {"metainit": {"steps": 1}, "gradinit": {"iterations": 1}}.get(name, {})
    for shape in [target] if network or "bias" not in entry.tags else [target, (4,)]:
        bias = {} if network or len(shape) > 1 or "fan_in" not in entry.supplied else {"fan_in": 4}
        for dtype in NO_FLOATING_TYPES:
            with pytest.raises(ValueError, match=r"^dtype = .*; allowed: a floating type of NumPy") as error:
                entry.function(shape, seed=0, dtype=dtype, **bias, **quick)
            assert "\n" not in str(error.value)
        for dtype in (np.float16, "float32", float, np.longdouble, np.dtype(">f8")):
            weights = entry.function(shape, seed=0, dtype=dtype, **bias, **quick)
            arrays = [array for pair in weights for array in pair] if network else [weights]
            assert {array.dtype for array in arrays} == {np.dtype(dtype)}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_scheme_has_the_distribution_of_its_formula(name):
    sample = draw(name, seed=1, dtype=np.float64).ravel()
    expected = EXPECTED[name]
    assert stats.kstest(sample, expected.cdf).pvalue > 1e-3
    assert abs(sample.mean()) < 5 * expected.std() / math.sqrt(N)
    assert sample.std() == pytest.approx(expected.std(), rel=0.01)
    low, high = expected.support()
    assert low <= sample.min()
    assert sample.max() <= high


def test_every_random_scheme_of_independent_weights_is_held_to_a_formula():
    assert set(EXPECTED) | STRUCTURED == set(RANDOM)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_distribution_that_a_scheme_states_is_that_of_its_formula(name):
    x = np.linspace(-0.2, 0.2, 41)
    np.testing.assert_allclose(distribution(name, BIG).pdf(x), EXPECTED[name].pdf(x), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "fill"),
    [
        ("glorot_normal", torch.nn.init.xavier_normal_),
        ("glorot_uniform", torch.nn.init.xavier_uniform_),
        ("he_normal", torch.nn.init.kaiming_normal_),
        ("he_uniform", torch.nn.init.kaiming_uniform_),
        ("torch_linear_default", lambda w: torch.nn.init.kaiming_uniform_(w, a=math.sqrt(5))),
        ("uniform", lambda w: torch.nn.init.uniform_(w, -0.05, 0.05)),
        ("normal", lambda w: torch.nn.init.normal_(w, 0, 0.05)),
        ("truncated_normal", lambda w: torch.nn.init.trunc_normal_(w, 0, 0.05, -0.1, 0.1)),
    ],
)
def test_a_scheme_has_the_distribution_of_pytorchs(name, fill):
    torch.manual_seed(0)
    theirs = fill(torch.empty(BIG[1], BIG[0]))  # PyTorch's weights are [fan_out, fan_in]
    assert stats.ks_2samp(draw(name, seed=2).ravel(), theirs.numpy().ravel()).pvalue > 1e-3


def test_torchs_linear_default_is_what_nn_linear_does():
    linear = torch.nn.Linear(400, 300)
    bound = 1 / math.sqrt(400)
    for ours, theirs in (
        (draw("torch_linear_default", seed=0), linear.weight),
        (draw("torch_linear_default", (300,), seed=0, fan_in=400), linear.bias),
    ):
        assert 0.95 * bound < np.abs(ours).max() <= bound
        assert 0.95 * bound < theirs.detach().abs().max().item() <= bound


@pytest.mark.parametrize("shape", [(64, 64), (100, 20), (20, 100), (3, 3, 4, 16)])
def test_orthogonal_is_orthogonal(shape):
    W = init.orthogonal(shape, gain=2.0, seed=0, dtype=np.float64).reshape(-1, shape[-1])
    gram = W.T @ W if W.shape[0] >= W.shape[1] else W @ W.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)


def reflections_by_hand(noise, gain):
    """A product of reflections, one at a time, as matrices: the definition, in float64."""
    rows, columns = noise.shape
    product, signs = np.eye(columns), np.empty(rows)
    for i in range(rows):
        x = np.concatenate([np.zeros(i), noise[i, i:]])
        e = np.eye(columns)[i]
        v = x + math.copysign(np.linalg.norm(x), x[i]) * e
        product = product @ (np.eye(columns) - 2 * np.outer(v, v) / (v @ v))
        signs[i] = -math.copysign(1, x[i])
    return gain * signs[:, None] * product[:, :rows].T


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (1, 5), (4, 4), (33, 40), (40, 33), (70, 70), (100, 65)])
def test_orthogonal_is_the_product_of_its_reflections(shape):
    rows, columns = sorted(shape)
    W = init.orthogonal(shape, gain=-1.5, seed=2, dtype=np.float64)
    expected = reflections_by_hand(init.normal((rows, columns), std=1.0, seed=2, dtype=np.float64), -1.5)
    np.testing.assert_allclose(W.T if shape[0] > shape[1] else W, expected, atol=1e-13)
    np.testing.assert_allclose(init.orthogonal(shape, gain=-1.5, seed=2), W, atol=1e-5)


@pytest.mark.parametrize("shape", [(1030, 1030), (1500, 1100)])  # blocks of another size, several groups of rows
def test_large_orthogonal_weights_are_orthogonal(shape):
    W = init.orthogonal(shape, seed=0)
    np.testing.assert_allclose(W.T.astype(np.float64) @ W, np.eye(shape[1]), atol=2e-5)
    assert not np.array_equal(W, init.orthogonal(shape, seed=1))


def test_orthogonal_is_haar_its_trace_has_the_moments_of_a_haar_matrix():
    # Of a Haar orthogonal n × n matrix the trace has mean 0 and variance 1 (Diaconis & Shahshahani 1994); without the
    # correction of signs LAPACK's Q has a trace of another mean.
    traces = [np.trace(init.orthogonal((8, 8), seed=seed, dtype=np.float64)) for seed in range(2000)]
    assert abs(np.mean(traces)) < 5 / math.sqrt(2000)
    assert np.var(traces) == pytest.approx(1, abs=0.2)


@given(
    name=st.sampled_from(SCHEMES),
    shape=st.lists(st.integers(0, 40), min_size=1, max_size=2) | st.lists(st.integers(1, 6), min_size=3, max_size=4),
    seed=st.integers(0, 2**40),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
@settings(max_examples=400)
def test_a_scheme_fills_every_shape_that_it_fits_and_refuses_all_others(name, shape, seed, dtype):
    entry = init.INITIALIZERS[name]
    supplied = {"fan_in": 7} if "fan_in" in entry.supplied else {}
    if min(shape) < 1 or not entry.fit.test(tuple(shape)):
        with pytest.raises(ValueError, match=r"shape = .*; allowed: "):
            draw(name, shape, seed=seed, **supplied)
        return
    first, second, exact = (
        draw(name, tuple(shape), seed=seed, dtype=dtype, **supplied) for dtype in (dtype, dtype, np.float64)
    )
    assert first.shape == tuple(shape)
    assert first.dtype == dtype
    assert np.isfinite(first).all()
    assert first.tobytes() == second.tobytes()
    if dtype is np.float32:  # the fast path, beside SciPy's inverse in float64
        np.testing.assert_allclose(first, exact, rtol=3e-6, atol=3e-6 * max(np.abs(exact).max(), 1e-3))
    else:  # computed in float64, and rounded once
        assert np.array_equal(exact.astype(dtype), first)


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f4"])
@pytest.mark.parametrize("name", RANDOM)
def test_a_dtype_is_a_matter_of_rounding_alone(name, dtype):
    fit = init.INITIALIZERS[name].fit
    shape = (40, 30) if fit.network != "convolution" else (1, 1, 20, 50)
    rounded, exact = (draw(name, shape, seed=0, dtype=kind) for kind in (dtype, "f8"))
    if dtype == "f4":
        np.testing.assert_allclose(rounded, exact, rtol=1e-6, atol=1e-5 * np.abs(exact).max())
    else:
        assert np.array_equal(rounded, exact.astype(dtype))
    assert rounded.flags.c_contiguous
    assert rounded.dtype == np.dtype(dtype)


@pytest.mark.parametrize("name", sorted(STRUCTURED - {"orthogonal"}))
def test_weights_that_have_no_single_distribution_state_none(name):
    shape = (40, 30) if name != "delta_orthogonal" else (1, 1, 20, 50)
    assert distribution(name, shape) is None
    assert draw(name, shape, seed=0).shape == shape


def test_a_sparse_layer_of_infinite_weights_has_its_zeros():
    W = init.torch_sparse((30, 20), std=3e38, seed=0)
    assert ((W == 0).sum(axis=1) == 2).all()
    assert not np.isnan(W).any()
    assert not np.signbit(W[W == 0]).any()


def reals(low, high):
    return st.floats(low, high, allow_subnormal=False)  # the trainer flushes them to zero


# Parameters that hypothesis may choose, and the distribution of a weight for them and the fans (fan_in, fan_out).
WITH_PARAMETERS = {
    "uniform": (
        {"low": reals(-2, 0), "high": reals(0.1, 2)},
        lambda fans, low, high: stats.uniform(low, high - low),
    ),
    "normal": (
        {"mean": reals(-1, 1), "std": reals(0.01, 2)},
        lambda fans, mean, std: stats.norm(mean, std),
    ),
    "truncated_normal": (
        {"mean": reals(-1, 1), "std": reals(0.01, 2), "lower": reals(-3, 0), "upper": reals(0.5, 3)},
        lambda fans, mean, std, lower, upper: stats.truncnorm(lower, upper, mean, std),
    ),
    "variance_scaling": (
        {
            "scale": reals(0.1, 4),
            "mode": st.sampled_from(["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]),
            "distribution": st.sampled_from(["normal", "truncated_normal", "uniform"]),
        },
        lambda fans, scale, mode, distribution: stats.norm(
            0,
            math.sqrt(
                scale
                / {
                    "fan_in": fans[0],
                    "fan_out": fans[1],
                    "fan_avg": (fans[0] + fans[1]) / 2,
                    "fan_geo_avg": math.sqrt(fans[0] * fans[1]),
                }[mode]
            ),
        ),
    ),
    "lecun_normal": ({}, lambda fans: stats.norm(0, fans[0] ** -0.5)),
    "he_truncated_normal": ({}, lambda fans: stats.norm(0, math.sqrt(2 / fans[0]))),
    "glorot_uniform": ({}, lambda fans: stats.uniform(-math.sqrt(6 / sum(fans)), 2 * math.sqrt(6 / sum(fans)))),
    "torch_linear_default": ({}, lambda fans: stats.uniform(-(fans[0] ** -0.5), 2 * fans[0] ** -0.5)),
    "mup": ({"std": reals(0.1, 4)}, lambda fans, std: stats.norm(0, std / math.sqrt(fans[0]))),
    "gpt2": ({"std": reals(0.01, 1)}, lambda fans, std: stats.norm(0, std)),
}
SHAPES = st.tuples(st.integers(20, 60), st.integers(20, 60)) | st.tuples(
    st.integers(1, 3), st.integers(1, 3), st.integers(20, 30), st.integers(20, 30)
)


def moments_hold(sample, expected):
    """Mean and variance within six standard errors; those of the variance follow from its kurtosis."""
    n, excess = sample.size, float(expected.stats("k"))
    assert abs(sample.mean() - expected.mean()) < 6 * expected.std() / math.sqrt(n)
    assert abs(sample.var() / expected.var() - 1) < 6 * math.sqrt((2 + max(excess, 0)) / n) + 2 / n


@given(st.data(), st.sampled_from(sorted(WITH_PARAMETERS)), SHAPES, st.integers(0, 2**40))
@settings(max_examples=200)
def test_mean_and_variance_are_the_documented_ones_for_any_shape_and_parameters(data, name, shape, seed):
    parameters, expected = WITH_PARAMETERS[name]
    chosen = {key: data.draw(values) for key, values in parameters.items()}
    fans = (math.prod(shape[:-1]), math.prod(shape[:-2]) * shape[-1])
    moments_hold(draw(name, shape, seed=seed, dtype=np.float64, **chosen), expected(fans, **chosen))


@given(st.sampled_from(sorted(set(EXPECTED) | {"orthogonal"})), SHAPES, st.integers(0, 2**40))
@settings(max_examples=200)
def test_every_scheme_has_the_moments_of_the_distribution_that_it_states_for_any_shape(name, shape, seed):
    entry = init.INITIALIZERS[name]
    if entry.fit.test(shape):
        moments_hold(draw(name, shape, seed=seed, dtype=np.float64), distribution(name, shape))


@given(st.sampled_from(sorted(EXPECTED)), st.sampled_from(sorted(EXPECTED)), SHAPES, st.integers(0, 2**40))
@settings(max_examples=200)
def test_schemes_share_their_noise_at_one_seed(left, right, shape, seed):
    """Through its distribution function every scheme of independent weights is the same uniform noise."""
    (W, first), (V, second) = (
        (draw(name, shape, seed=seed, dtype=np.float64), distribution(name, shape)) for name in (left, right)
    )
    np.testing.assert_allclose(first.cdf(W), second.cdf(V), atol=1e-9)
    if first.dist.name == second.dist.name == "norm":
        np.testing.assert_allclose((W - first.mean()) / first.std(), (V - second.mean()) / second.std(), atol=1e-9)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**40))
@settings(max_examples=60)
def test_orthogonal_weights_are_orthogonal_to_1e_5_in_float32(fan_in, fan_out, seed):
    W = init.orthogonal((fan_in, fan_out), seed=seed)
    gram = W.T @ W if fan_in >= fan_out else W @ W.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)


@pytest.mark.parametrize("name", RANDOM)
def test_other_seeds_and_other_layers_give_other_weights(name):
    shape = (50, 20) if init.INITIALIZERS[name].fit.network != "convolution" else (1, 1, 20, 50)
    diagonal = (np.arange(50)[:, None] % 20 == np.arange(20)).astype(float)
    structure = diagonal if name == "fixed_point_tanh" else 0.0
    drawn = [draw(name, shape, seed=seed) - structure for seed in (0, 1, streams.weights(0, 1), streams.biases(0, 0))]
    for i, left in enumerate(drawn):
        for right in drawn[:i]:
            assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.2


def test_an_integer_seed_is_the_stream_of_the_first_layer():
    assert np.array_equal(init.he_normal((9, 5), seed=3), init.he_normal((9, 5), seed=streams.weights(3, 0)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: init.normal((2, 2), std=-1.0), "std = -1.0"),
        (lambda: init.truncated_normal((2, 2), std=-1.0), "std = -1.0"),
        (lambda: init.truncated_normal((2, 2), lower=2.0, upper=1.0), "lower = 2.0"),
        (lambda: init.uniform((2, 2), low=1.0, high=0.0), "low = 1.0"),
        (lambda: init.variance_scaling((2, 2), scale=0.0), "scale = 0.0"),
        (lambda: init.zeros((0, 2)), r"shape = \(0, 2\)"),
        (lambda: init.he_normal((5,)), "2 dimensions"),
        (lambda: init.orthogonal((5,)), "2 dimensions"),
        (lambda: init.gpt2((5,)), "2 dimensions"),
        (lambda: init.gpt2((5, 2), std=-1.0), "std = -1.0"),
        (lambda: init.fixup((5, 2), layers_per_branch=1), "layers_per_branch = 1"),
        (lambda: init.sparse((5, 2), connections=0), "connections = 0"),
        (lambda: init.torch_sparse((5, 2), sparsity=1.5), "sparsity = 1.5"),
        (lambda: init.mup((5, 2), base_width=0), "base_width = 0"),
        (lambda: init.fixed_point_tanh((5, 2), alpha=-1.0), "alpha = -1.0"),
        (lambda: init.edge_of_chaos((5, 2), bias_variance=-1.0), "bias_variance = -1.0"),
        (lambda: init.torch_linear_default((5,)), "fan_in = None"),
        (lambda: init.identity((5, 2, 2, 2)), "2 dimensions"),
        (lambda: init.dirac((5,)), "convolutions"),
        (lambda: init.delta_orthogonal((5,)), "convolutions"),
    ],
)
def test_what_cannot_be_is_refused_with_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "allowed" in str(error.value)


def test_variance_scaling_has_the_modes_variances():
    shape, got = (100, 400), {}
    for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"):
        got[mode] = init.variance_scaling(shape, mode=mode, scale=3.0, seed=0, dtype=np.float64).var()
    expected = {"fan_in": 3 / 100, "fan_out": 3 / 400, "fan_avg": 3 / 250, "fan_geo_avg": 3 / 200}
    assert got == pytest.approx(expected, rel=0.03)


def test_an_order_is_a_permutation_and_uniform():
    orders = np.array([streams.order(seed, epoch, 6) for seed in range(1000) for epoch in (1, 2)])
    assert (np.sort(orders, axis=1) == np.arange(6)).all()
    counts = np.array([np.bincount(orders[:, index], minlength=6) for index in range(6)])
    assert stats.chisquare(counts.ravel(), np.full(36, 2000 / 6)).pvalue > 1e-3


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "selu", "leaky_relu"])
def test_pytorchs_gains_are_pytorchs(name):
    assert init.gain(name, "pytorch") == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-12)


@pytest.mark.parametrize(
    "name", ["identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "softsign"]
)
def test_a_gain_restores_the_second_moment_by_scipys_integration(name):
    from scipy.integrate import quad

    from initbench.functions.activations import ACTIVATIONS

    def integrand(z):
        return float(ACTIVATIONS.call(name, np.array([z]))[0]) ** 2 * stats.norm.pdf(z)

    second = quad(integrand, -12, 0)[0] + quad(integrand, 0, 12)[0]
    assert init.gain(name) ** 2 * second == pytest.approx(1, rel=1e-8)


def test_critical_points_are_the_published_ones():
    assert critical_point("tanh", 0.05)[0] == pytest.approx(1.76, abs=0.005)  # Schoenholz et al. 2017, figure 1
    assert critical_point("tanh", 0.0) == pytest.approx((1.0, 0.0), abs=1e-9)
    assert critical_point("relu", 0.05) == (2.0, 0.0)  # Hayou et al. 2019
    assert critical_point("leaky_relu(negative_slope=0.5)", 0.0)[0] == pytest.approx(1.6)
    for name in ("softplus", "gelu", "silu"):
        with pytest.raises(ValueError, match="allowed"):
            critical_point(name, 0.05)
    # Roberts, Yaida & Hanin 2022, section 5.3.4: the half-stable points of gelu and silu.
    for name, limit, variance in (("gelu", 0.17292239, 1.98305826), ("silu", 0.55514317, 1.98800468)):
        assert critical_point(name, limit + 1e-6)[0] == pytest.approx(variance, rel=1e-4)
        with pytest.raises(ValueError, match="do not settle"):
            critical_point(name, limit - 1e-3)
    assert critical_point("gelu", 1.0)[0] == pytest.approx(1.9, abs=0.2)  # beyond small bias variances too
    with pytest.raises(ValueError, match="allowed"):
        critical_point("elu(alpha=2.0)", 0.0)  # a kink at zero


def test_at_the_edge_of_chaos_close_signals_stay_as_close():
    # An ensemble of wide tanh layers: the correlation of two signals at the fixed point, by plain simulation.
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, 2000))
    x[1] = x[0] + 0.01 * x[1]
    distances = []
    for layer in range(12):
        W = init.edge_of_chaos((2000, 2000), activation="tanh", seed=layer, dtype=np.float64)
        b = init.edge_of_chaos((2000,), activation="tanh", fan_in=2000, seed=100 + layer, dtype=np.float64)
        z = x @ W + b
        x = np.tanh(z)
        distances.append(np.linalg.norm(z[0] - z[1]) / np.linalg.norm(z[0]))
    assert distances[-1] / distances[5] == pytest.approx(1, abs=0.15)


def test_kumars_constants():
    for name, constant in {"sigmoid": 3.6, "tanh": 1, "relu": math.sqrt(2), "softplus": 1.6437}.items():
        assert distribution("kumar", (100, 3), activation=name).std() * 10 == pytest.approx(constant, rel=0.007)


def test_kumar_refuses_what_has_a_kink_at_zero():
    for activation in ("leaky_relu", "selu", "elu(alpha=2.0)"):
        with pytest.raises(ValueError, match="smooth at 0"):
            init.kumar((9, 3), activation=activation, seed=0)
    assert init.kumar((9, 3), activation="elu", seed=0).shape == (9, 3)


def test_gpt2_and_fixup_scale_hidden_layers_by_the_depth():
    def std(name, position, depth, **keywords):
        return distribution(name, (400, 300), position=position, depth=depth, **keywords).std()

    for position, expected in {"first": 0.02, "hidden": 0.02 / 3, "last": 0.02}.items():
        assert std("gpt2", position, 11) == pytest.approx(expected)  # nine hidden layers
    he = math.sqrt(2 / 400)
    assert std("fixup", "first", 18) == pytest.approx(he)
    assert std("fixup", "hidden", 18) == pytest.approx(he * 8**-0.5)  # eight branches of two layers
    assert std("fixup", "hidden", 18, layers_per_branch=3) == pytest.approx(he * 6**-0.25)  # six of three
    assert not init.fixup((9, 3), position="last", seed=0).any()


def test_idinit_stacks_identities():
    W = init.idinit((3, 8), tau=2.0)
    assert (np.argwhere(W.T) == [[j, j % 3] for j in range(8)]).all()
    assert set(W[W != 0]) == {2.0}
    assert np.array_equal(init.idinit((5, 3)), init.identity((5, 3)))


# Another value of every parameter in the catalogue, of schemes of single layers: each has to change the weights.
OTHER = {
    "constant": {"value": 0.5},
    "uniform": {"low": -0.1, "high": 0.2},
    "normal": {"mean": 1.0, "std": 0.2},
    "truncated_normal": {"mean": 1.0, "std": 0.2, "lower": -1.0, "upper": 1.0},
    "variance_scaling": {"scale": 3.0, "mode": "fan_out", "distribution": "uniform"},
    "activation_scaling": {"mode": "fan_out", "distribution": "uniform", "rule": "pytorch"},
    "orthogonal": {"gain": 2.0},
    "identity": {"gain": 2.0},
    "idinit": {"tau": 2.0},
    "delta_orthogonal": {"gain": 2.0},
    "sparse": {"connections": 3, "std": 0.5},
    "torch_sparse": {"sparsity": 0.5, "std": 0.5},
    "edge_of_chaos": {"bias_variance": 0.2},
    "fixed_point_tanh": {"alpha": 0.2},
    "mup": {"std": 2.0, "base_width": 64},
    "gpt2": {"std": 0.5},
    "fixup": {"layers_per_branch": 3},
}


def test_every_parameter_of_a_single_layer_scheme_changes_the_weights():
    assert set(OTHER) == {n for n in SCHEMES if init.INITIALIZERS[n].parameters}
    for name, others in OTHER.items():
        entry = init.INITIALIZERS[name]
        assert set(others) == {p.name for p in entry.parameters}
        shape = (40, 30) if entry.fit.network != "convolution" else (3, 3, 4, 6)
        arguments = {"activation": "tanh", "position": "last" if name == "mup" else "hidden", "depth": 12}
        arguments = {key: value for key, value in arguments.items() if key in entry.supplied}
        plain = draw(name, shape, seed=0, **arguments)
        for parameter, value in others.items():
            assert not np.array_equal(draw(name, shape, seed=0, **arguments, **{parameter: value}), plain), parameter


def test_sparse_schemes_and_the_fixed_point_take_their_numbers():
    W = init.sparse((400, 300), connections=7, std=0.5, seed=0)
    assert ((W != 0).sum(axis=0) == 7).all()
    assert W[W != 0].std() == pytest.approx(0.5, rel=0.05)
    noise = init.fixed_point_tanh((400, 400), alpha=0.5, seed=0, dtype=np.float64) - np.eye(400)
    assert noise.std() == pytest.approx(0.5 / 20, rel=0.02)


def test_the_critical_variance_follows_the_bias_and_the_activation():
    for activation, variance in (("tanh", 0.2), ("softsign", 0.05), ("relu", 0.2)):
        weight, bias = critical_point(activation, variance)
        stated = distribution("edge_of_chaos", (400, 300), activation=activation, bias_variance=variance)
        assert stated.std() * 20 == pytest.approx(math.sqrt(weight))
        b = init.edge_of_chaos((50_000,), activation=activation, bias_variance=variance, fan_in=400, seed=0)
        assert b.std() == pytest.approx(math.sqrt(bias), rel=0.02, abs=1e-12)
    assert critical_point("tanh", 0.2)[0] == pytest.approx(2.2852, abs=1e-4)
    assert critical_point("leaky_relu(negative_slope=100000.0)", 0.0)[0] == pytest.approx(2e-10, rel=1e-6)


def test_random_walks_gains_are_the_published_ones():
    def gain_of(activation, n):
        return distribution("random_walk", (n, 7), activation=activation).std() * math.sqrt(n)

    for n in (3, 6, 20, 400):
        assert gain_of("identity", n) == pytest.approx(math.exp(1 / (2 * n)))
        assert gain_of("relu", n) == pytest.approx(math.sqrt(2) * math.exp(1.2 / (max(n, 6) - 2.4)))
        assert gain_of("tanh", n) == pytest.approx(1.15)


def test_zero_hadamard_is_scipys_sylvester_matrix_and_takes_no_more_memory_than_it_has_weights():
    from scipy.linalg import hadamard

    np.testing.assert_allclose(init.zero_hadamard((20, 50), dtype=np.float64), hadamard(64)[:20, :50] / 8)
    assert init.zero_hadamard((2, 70_000)).shape == (2, 70_000)  # the whole matrix would take 137 GB


def test_all_schemes_are_names_of_the_package():
    assert set(init.INITIALIZERS) <= set(init.__all__)


def test_mups_last_layer_shrinks_with_the_width():
    std = {position: distribution("mup", (512, 10), position=position).std() for position in schemes.POSITIONS}
    assert std == pytest.approx({"first": 512**-0.5, "hidden": 512**-0.5, "last": math.sqrt(128) / 512})


def test_nguyen_and_widrows_units_have_the_norm_of_the_rule():
    W, b = init.nguyen_widrow((3, 8), seed=0), init.nguyen_widrow((8000,), fan_in=3, seed=0)
    np.testing.assert_allclose(np.linalg.norm(W, axis=0), 1.4, rtol=1e-6)  # 0.7 · 8^(1/3)
    assert np.abs(b).max() == pytest.approx(0.7 * 20, rel=1e-3)
    assert np.abs(init.nguyen_widrow((300, 50), position="last", seed=0)).max() == pytest.approx(0.5, rel=1e-3)
    assert np.abs(init.nguyen_widrow((8000,), position="last", fan_in=3, seed=0)).max() == pytest.approx(0.5, rel=1e-3)


def test_the_fixed_point_scheme_is_a_diagonal_that_wraps_and_noise():
    W = init.fixed_point_tanh((784, 128), seed=0, dtype=np.float64)
    D = np.round(W)
    assert (D.sum(axis=1) == 1).all()
    assert D.sum(axis=0).tolist() == [7] * 16 + [6] * 112
    assert (W - D).std() == pytest.approx(0.085 / 28, rel=0.01)
    assert np.round(init.fixed_point_tanh((128, 784), seed=0)).sum() == 128


def test_sparse_schemes_have_their_numbers_of_connections():
    W = init.sparse((784, 300), seed=0)
    assert ((W != 0).sum(axis=0) == 15).all()
    assert W[W != 0].std() == pytest.approx(1, abs=0.05)
    assert ((W != 0).sum(axis=1) > 0).mean() > 0.95  # spread over the inputs
    assert (init.sparse((9, 5), seed=0) != 0).all()
    ours, theirs = init.torch_sparse((784, 300), sparsity=0.901, seed=0), torch.empty(300, 784)
    torch.nn.init.sparse_(theirs, 0.901)
    assert set((ours != 0).sum(axis=1)) == set((theirs.numpy() != 0).sum(axis=0)) == {29}
    assert stats.ks_2samp(ours[ours != 0], theirs.numpy()[theirs.numpy() != 0]).pvalue > 1e-3


def test_zero_is_the_authors_identity_or_hadamard():
    assert np.array_equal(init.zero_hadamard((5, 3)), np.eye(5, 3))
    W = init.zero_hadamard((3, 8), dtype=np.float64)
    np.testing.assert_allclose(W @ W.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(W[1], np.array([1, -1] * 4) / math.sqrt(8))
    assert np.abs(init.zero_hadamard((3, 5))).ravel().tolist() == pytest.approx([8**-0.5] * 15)


def test_the_sinusoids_are_those_of_the_authors_code():
    expected = [[0.580288, -0.580288, 0], [-0.33503, 0.580288, -0.670059], [-0.580288, -0.580288, 0],
                [0.33503, 0.580288, 0.670059]]  # fmt: skip
    np.testing.assert_allclose(init.sinusoidal((4, 3)), expected, atol=1e-6)
    W = init.sinusoidal((100, 30), dtype=np.float64)
    assert W.var(ddof=1) == pytest.approx(2 / 130)
    gram = W.T @ W
    np.testing.assert_allclose(gram, np.diag(np.diagonal(gram)), atol=1e-12)


def test_dirac_is_pytorchs():
    theirs = torch.nn.init.dirac_(torch.empty(6, 4, 3, 5))  # [channels_out, channels_in, height, width]
    assert np.array_equal(init.dirac((3, 5, 4, 6)), theirs.permute(2, 3, 1, 0).numpy())


def test_delta_orthogonal_convolutions_keep_the_norm_of_an_image():
    W = init.delta_orthogonal((3, 3, 4, 6), seed=0, dtype=np.float64)
    image = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    out = torch.nn.functional.conv2d(image, torch.from_numpy(W).permute(3, 2, 0, 1), padding=1)
    assert out.norm().item() == pytest.approx(image.norm().item(), rel=1e-6)


def test_the_docs_page_matches_the_docstrings():
    from tools.make_initializers_page import DOCS, page, pictured

    assert (DOCS / "initializers.md").read_text(encoding="utf-8") == page(), "run make docs"
    assert {path.stem for path in (DOCS / "initializers").glob("*.png")} == set(pictured())
    for name, entry in init.INITIALIZERS.items():
        assert "When to use it: " in (entry.function.__doc__ or ""), name
