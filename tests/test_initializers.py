"""Every scheme against its documented distribution, and against PyTorch where it has the same."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from initbench import initializers as init
from initbench import streams

SCHEMES = sorted(init.INITIALIZERS)
RANDOM = [name for name in SCHEMES if name not in ("zeros", "ones", "constant")]
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
}


def draw(name, shape=BIG, **keywords):
    return init.INITIALIZERS[name].function(shape, **keywords)


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
    assert set(EXPECTED) | {"orthogonal"} == set(RANDOM)


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


def test_orthogonal_is_haar_its_trace_has_the_moments_of_a_haar_matrix():
    # Of a Haar orthogonal n × n matrix the trace has mean 0 and variance 1 (Diaconis & Shahshahani 1994); without the
    # correction of signs LAPACK's Q has a trace of another mean.
    traces = [np.trace(init.orthogonal((8, 8), seed=seed, dtype=np.float64)) for seed in range(2000)]
    assert abs(np.mean(traces)) < 5 / math.sqrt(2000)
    assert np.var(traces) == pytest.approx(1, abs=0.2)


@given(
    name=st.sampled_from(SCHEMES),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)) | st.tuples(*[st.integers(1, 6)] * 4),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=200, deadline=None)
def test_any_scheme_fills_any_shape_and_the_same_seed_gives_the_same_bits(name, shape, seed):
    first, second = draw(name, shape, seed=seed), draw(name, shape, seed=seed)
    assert first.shape == shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("name", RANDOM)
def test_other_seeds_and_other_layers_give_other_weights(name):
    drawn = [draw(name, (50, 20), seed=seed) for seed in (0, 1, streams.weights(0, 1), streams.biases(0, 0))]
    for i, left in enumerate(drawn):
        for right in drawn[:i]:
            assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.2


def test_a_whole_number_seed_is_the_stream_of_the_first_layer():
    assert np.array_equal(init.he_normal((9, 5), seed=3), init.he_normal((9, 5), seed=streams.weights(3, 0)))


@pytest.mark.parametrize("other", ["he_normal", "lecun_normal", "normal"])
def test_schemes_that_differ_in_scale_draw_the_same_noise(other):
    base = init.glorot_normal((30, 20), seed=7, dtype=np.float64)
    ratio = draw(other, (30, 20), seed=7, dtype=np.float64) / base
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-12)


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
    counts = np.array([np.bincount(orders[:, place], minlength=6) for place in range(6)])
    assert stats.chisquare(counts.ravel(), np.full(36, 2000 / 6)).pvalue > 1e-3


def test_the_streams_are_built_on_numpys_documented_raw_bits():
    # The definition, written out with NumPy alone.
    sequence = np.random.SeedSequence(5, spawn_key=(0, 2))
    raw = np.random.PCG64(sequence).random_raw(4)
    expected = [((int(r) >> 12) + 0.5) / 2**52 for r in raw]
    assert streams.uniforms((2, 2), streams.weights(5, 2)).ravel().tolist() == expected
