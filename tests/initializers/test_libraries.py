"""The initializers beside those of PyTorch, Keras 3 and JAX: what is the same, and what the docs say departs."""

import importlib
import inspect
import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from initbench import initializers as init
from initbench.initializers import schemes
from tools.libraries import ALONE, GAINS, LIBRARIES, NOT_HERE, PAIRS, draw, table

INSTALL = "pip install -c constraints.txt -e '.[dev-libraries]'"

OURS, THEIRS = 1, 2  # the seeds of the two samples of a pair

# Standard deviation of a unit normal truncated at ±2, as Keras and JAX document it.
TRUNCATED_STD = 0.87962566103423978
# The share that Keras leaves beyond the bounds on PyTorch: it draws four times, and none may be inside.
LEAK = (2 * stats.norm.cdf(-2)) ** 4

FIXED = {"zeros", "ones", "constant", "identity", "dirac"}  # schemes where nothing is random
ORTHOGONAL = {"orthogonal", "delta_orthogonal"}


def is_fixed(pair):
    return pair.scheme in FIXED or (pair.scheme == "keras_default" and len(pair.shape) == 1)


def of(pairs):
    return pytest.mark.parametrize("pair", [pytest.param(p, id=f"{p.here}-{p.library}-{p.there}") for p in pairs])


@pytest.fixture(autouse=True)
def installed(request):
    """Skip what is of a library that is not installed; import it only here, which takes seconds."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    library = parameters["pair"].library if "pair" in parameters else parameters.get("library")
    if library:
        pytest.importorskip(LIBRARIES[library], reason=f"{library} is not installed: {INSTALL}")


@lru_cache(maxsize=8)
def drawn(scheme, shape, supplied):
    arguments = dict(supplied)
    weights = init.INITIALIZERS.call(scheme, shape, **arguments, seed=OURS, dtype=np.float64)
    return weights, schemes.distribution(scheme, shape, **arguments)


def here(pair):
    """The weights that the scheme draws, and the distribution that it states of each."""
    return drawn(pair.here, pair.shape, tuple(pair.supplied.items()))


SAME = [pair for pair in PAIRS if not pair.departs]
RANDOM = [pair for pair in SAME if not is_fixed(pair)]


# ---------------------------------------------------------------------------------------------------------------------
# Nothing is missed


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_initializer_of_a_library_has_a_counterpart_or_a_reason_why_not(library):
    module = importlib.import_module(LIBRARIES[library])
    public = {name: value for name, value in vars(module).items() if callable(value) and not name.startswith("_")}
    if library == "PyTorch":  # what it imports aside, and the old names, which warn and call the new ones
        public = {n: f for n, f in public.items() if inspect.isfunction(f) and f.__module__ == module.__name__}
        public = {n: f for n, f in public.items() if f"{n}_" not in public}
    listed = {pair.name for pair in PAIRS if pair.library == library and "." not in pair.name} | set(NOT_HERE[library])
    assert listed <= set(public)
    named = [public[name] for name in listed]
    # One function may have several names, as JAX's `xavier_normal` and `glorot_normal`.
    assert [name for name, value in public.items() if not any(value is other for other in named)] == []


def test_the_table_has_each_pair_in_its_schemes_row():
    rows = {row.split(" | ")[0].strip("| `"): row for row in table().splitlines()[2:]}
    shared = {pair.scheme for pair in PAIRS}
    assert shared & set(ALONE) == set()
    assert sorted(rows) == sorted(shared | set(ALONE))
    assert {row.count("|") for row in rows.values()} == {6}
    for pair in PAIRS:
        cell = rows[pair.scheme].split(" | ")[4 if pair.departs else 1 + list(LIBRARIES).index(pair.library)]
        assert f"`{pair.name}" in cell
        assert pair.departs in cell


# ---------------------------------------------------------------------------------------------------------------------
# What is the same


@of([pair for pair in SAME if is_fixed(pair)])
def test_what_is_not_random_is_equal(pair):
    assert np.array_equal(pair.ours(OURS, np.float32), pair.theirs(THEIRS))


@of(RANDOM)
def test_a_pair_has_one_distribution(pair):
    ours, theirs = here(pair)[0].ravel(), pair.theirs(THEIRS).ravel().astype(np.float64)
    assert ours.shape == theirs.shape == (math.prod(pair.shape),)
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-3
    n, variance, kurtosis = ours.size, ours.var(), stats.kurtosis(ours, fisher=False)
    assert abs(ours.mean() - theirs.mean()) < 5 * math.sqrt(2 * variance / n)
    # the variance of a sample's standard deviation is σ² (kurtosis − 1) / 4n
    assert theirs.std() == pytest.approx(ours.std(), rel=5 * math.sqrt(2 * (kurtosis - 1) / (4 * n)))


def symmetric(bound):
    return lambda fan_in, fan_out: (-bound(fan_in, fan_out), bound(fan_in, fan_out))


# The bounds, from the formulas in the libraries' documentation.
BOUNDS = {
    "uniform": lambda fan_in, fan_out: (-0.05, 0.05),
    "uniform(low=-0.2, high=0.3)": lambda fan_in, fan_out: (-0.2, 0.3),
    "uniform(low=0.0, high=0.3)": lambda fan_in, fan_out: (0, 0.3),
    "truncated_normal": lambda fan_in, fan_out: (-0.1, 0.1),
    "truncated_normal(std=0.2)": lambda fan_in, fan_out: (-0.4, 0.4),
    "truncated_normal(mean=0.1, std=0.2)": lambda fan_in, fan_out: (-0.3, 0.5),
    "truncated_normal(std=0.2, lower=-1.0, upper=3.0)": lambda fan_in, fan_out: (-0.2, 0.6),
    "variance_scaling": symmetric(lambda fan_in, fan_out: 2 * math.sqrt(1 / fan_in) / TRUNCATED_STD),
    'variance_scaling(scale=3.0, mode="fan_out", distribution="uniform")': symmetric(
        lambda fan_in, fan_out: math.sqrt(3 * 3 / fan_out)
    ),
    'variance_scaling(scale=0.5, mode="fan_out", distribution="uniform")': symmetric(
        lambda fan_in, fan_out: math.sqrt(3 * 0.5 / fan_out)
    ),
    'variance_scaling(scale=4.0, mode="fan_avg", distribution="uniform")': symmetric(
        lambda fan_in, fan_out: 2 * math.sqrt(6 / (fan_in + fan_out))
    ),
    'variance_scaling(scale=2.0, mode="fan_geo_avg")': symmetric(
        lambda fan_in, fan_out: 2 * math.sqrt(2 / math.sqrt(fan_in * fan_out)) / TRUNCATED_STD
    ),
    'variance_scaling(distribution="uncorrected_truncated_normal")': symmetric(
        lambda fan_in, fan_out: 2 * math.sqrt(1 / fan_in)
    ),
    'activation_scaling(rule="pytorch", mode="fan_avg", distribution="uniform")': symmetric(
        lambda fan_in, fan_out: 5 / 3 * math.sqrt(6 / (fan_in + fan_out))
    ),
    "glorot_truncated_normal": symmetric(lambda fan_in, fan_out: 2 * math.sqrt(2 / (fan_in + fan_out)) / TRUNCATED_STD),
    "glorot_uniform": symmetric(lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out))),
    "he_truncated_normal": symmetric(lambda fan_in, fan_out: 2 * math.sqrt(2 / fan_in) / TRUNCATED_STD),
    "he_uniform": symmetric(lambda fan_in, fan_out: math.sqrt(6 / fan_in)),
    "lecun_truncated_normal": symmetric(lambda fan_in, fan_out: 2 * math.sqrt(1 / fan_in) / TRUNCATED_STD),
    "lecun_uniform": symmetric(lambda fan_in, fan_out: math.sqrt(3 / fan_in)),
    "torch_linear_default": symmetric(lambda fan_in, fan_out: 1 / math.sqrt(fan_in)),
    "keras_default": symmetric(lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out))),
    "tf1_default": symmetric(lambda fan_in, fan_out: math.sqrt(6 / (fan_in + fan_out))),
}


def fans(shape, fan_in=None):
    """(fan_in, fan_out) as the libraries document them; of one dimension without a layer Keras takes its length."""
    if len(shape) == 1:
        return fan_in or shape[0], shape[0]
    return math.prod(shape[:-1]), math.prod(shape[:-2]) * shape[-1]


@of([pair for pair in RANDOM if pair.here in BOUNDS])
def test_bounded_weights_reach_the_documented_bounds_and_stay_inside(pair):
    ours, stated = here(pair)
    low, high = BOUNDS[pair.here](*fans(pair.shape, pair.supplied.get("fan_in")))
    near, rounding = 0.01 * (high - low) / 2, 1e-6 * (high - low)
    leaks = pair.library == "Keras" and stated.dist.name == "truncnorm"
    for sample, most in ((ours, 0), (pair.theirs(THEIRS), stats.poisson(ours.size * LEAK).isf(1e-6) * leaks)):
        beyond = (sample < low - rounding) | (sample > high + rounding)
        assert beyond.sum() <= most
        assert sample[~beyond].min() < low + near
        assert sample[~beyond].max() > high - near


@of([pair for pair in RANDOM if pair.scheme not in ORTHOGONAL])
def test_the_distribution_that_a_scheme_states_has_the_documented_bounds(pair):
    stated = here(pair)[1]
    support = stated.support() if stated is not None else (-math.inf, math.inf)
    bounds = BOUNDS.get(pair.here, lambda fan_in, fan_out: (-math.inf, math.inf))
    assert support == pytest.approx(bounds(*fans(pair.shape, pair.supplied.get("fan_in"))), rel=1e-12)


@of([pair for pair in SAME if pair.scheme in ORTHOGONAL])
def test_orthogonal_weights_are_orthogonal_and_neither_sign_is_preferred(pair):
    gain = float(pair.here.partition("gain=")[2].rstrip(")") or 1)
    for W in (here(pair)[0], pair.theirs(THEIRS)):
        if pair.scheme == "delta_orthogonal":
            centre = tuple((size - 1) // 2 for size in pair.shape[:-2])
            matrix, around = W[centre], W.copy()
            around[centre] = 0
            assert not around.any()
        else:
            matrix = W.reshape(-1, pair.shape[-1])
        gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        np.testing.assert_allclose(gram, gain**2 * np.eye(len(gram)), atol=1e-5 * gain**2)
        # The trace of a Haar matrix varies by 1, or by less if it is not square; that of LAPACK's Q, which has signs of
        # its own, is some −0.8 √n.
        assert abs(np.trace(matrix)) < 5 * gain


def test_pytorchs_sparse_weights_have_the_same_number_of_zeros_for_each_input():
    pair = next(pair for pair in PAIRS if pair.scheme == "torch_sparse")
    for W in (here(pair)[0], pair.theirs(THEIRS)):
        assert set((W == 0).sum(axis=1)) == {math.ceil(0.901 * 300)}
        assert len(set((W == 0).sum(axis=0))) > 10


# What each library draws at unit scale, by our names of the distributions.
UNITS = {
    "PyTorch": {"uniform": "uniform_(W, -1, 1)", "normal": "normal_(W)"},
    "Keras": {
        "uniform": "RandomUniform(-1, 1)",
        "normal": "RandomNormal(0, 1)",
        "truncated_normal": "TruncatedNormal(0, 1)",
    },
    "JAX": {
        "uniform": "uniform(1.0)",
        "normal": "normal(1.0)",
        "truncated_normal": "truncated_normal(1.0)",
    },
}
# The half-width of the uniform, and the std of the normals before truncation, if the weights have variance 1.
UNIT_SCALES = {"uniform": math.sqrt(3), "normal": 1.0, "truncated_normal": 1 / TRUNCATED_STD}
VARIANCES = {
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}
EXAMPLES = {"PyTorch": 60, "Keras": 60, "JAX": 10}  # JAX compiles for each shape


@pytest.mark.parametrize(
    "library", [pytest.param(name, marks=pytest.mark.slow if name == "JAX" else ()) for name in LIBRARIES]
)
def test_the_scale_is_the_papers_for_every_shape(library):
    """At one seed a library's weights are its unit noise times a number, and ours are our noise times the same."""
    there = {pair.here: pair.there for pair in SAME if pair.library == library}

    @settings(max_examples=EXAMPLES[library])
    @given(shape=st.lists(st.integers(2, 12), min_size=2, max_size=4).map(tuple))
    def holds(shape):
        for distribution, unit in UNITS[library].items():
            theirs = draw(library, unit, shape, THEIRS).astype(np.float64)
            if unit == "uniform(1.0)":
                theirs = 2 * theirs - 1  # JAX's is U(0, 1)
            unit_scale = {"low": -1.0, "high": 1.0} if distribution == "uniform" else {"std": 1.0}
            ours = getattr(init, distribution)(shape, seed=OURS, dtype=np.float64, **unit_scale)
            for scheme, variance in VARIANCES.items():
                name = f"{scheme}_{distribution}"
                scale = UNIT_SCALES[distribution] * math.sqrt(variance(*fans(shape)))
                weights = getattr(init, name)(shape, seed=OURS, dtype=np.float64)
                np.testing.assert_allclose(weights, scale * ours, rtol=1e-12, atol=1e-14)
                np.testing.assert_allclose(draw(library, there[name], shape, THEIRS) / scale, theirs, rtol=0, atol=4e-6)

    holds()


@pytest.mark.parametrize("library", ["PyTorch"])
def test_pytorchs_gains_are_here(library):
    from torch.nn.init import calculate_gain

    for theirs, ours in GAINS.items():
        assert init.gain(ours, "pytorch") == pytest.approx(calculate_gain(theirs), rel=1e-12), theirs
    for slope in (0.0, 0.2, 1.0):
        ours = init.gain(f"leaky_relu(negative_slope={slope})", "pytorch")
        assert ours == pytest.approx(calculate_gain("leaky_relu", slope), rel=1e-12)
    for name in ("elu", "gelu", "silu", "softplus", "softsign"):
        assert init.gain(name, "pytorch") == init.gain(name)
        with pytest.raises(ValueError, match="nonlinearity"):
            calculate_gain(name)


# ---------------------------------------------------------------------------------------------------------------------
# What departs


@of([pair for pair in PAIRS if pair.departs])
def test_what_the_docs_say_departs_differs(pair):
    ours, theirs = pair.ours(OURS, np.float32), pair.theirs(THEIRS)
    assert ours.shape == theirs.shape
    if is_fixed(pair):
        assert not np.array_equal(ours, theirs)
    else:
        # of sparse weights how many enter each unit, of others the weights
        seen = (lambda W: (W != 0).sum(axis=0)) if pair.scheme == "sparse" else np.ravel
        assert stats.ks_2samp(seen(ours), seen(theirs)).pvalue < 1e-6


@pytest.mark.parametrize("library", ["Keras"])
def test_keras_on_pytorch_leaves_four_weights_of_a_million_beyond_the_bounds(library):
    pair = next(p for p in SAME if p.there == "TruncatedNormal()")
    wide = replace(pair, shape=(2000, 2000))
    beyond = int((np.abs(wide.theirs(THEIRS)) > 0.1 * (1 + 1e-6)).sum())
    expected = stats.poisson(4e6 * LEAK)
    assert expected.ppf(1e-4) <= beyond <= expected.isf(1e-4)
    assert beyond > 0
    assert np.abs(wide.ours(OURS)).max() <= 0.1


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_has_and_lacks_the_parameters_that_the_notes_say(library):
    module = importlib.import_module(LIBRARIES[library])

    def parameters(name):
        return set(inspect.signature(getattr(module, name)).parameters)

    if library == "PyTorch":
        assert "gain" not in parameters("eye_")
        with pytest.raises(ValueError, match="fan_avg"):
            draw("PyTorch", 'kaiming_normal_(W, 0, "fan_avg")', (4, 3), 0)
        with pytest.raises(ValueError, match="dimensions"):
            draw("PyTorch", "xavier_uniform_(W)", (4,), 0)
    elif library == "Keras":
        assert parameters("TruncatedNormal") == {"mean", "stddev", "seed"}
        with pytest.raises(ValueError, match="mode"):
            draw("Keras", 'VarianceScaling(mode="fan_geo_avg")', (4, 3), 0)
    else:
        assert "mean" not in parameters("normal") | parameters("truncated_normal")
        required = inspect.signature(module.variance_scaling).parameters
        assert all(required[name].default is inspect.Parameter.empty for name in ("scale", "mode", "distribution"))
        with pytest.raises(ValueError, match="input and output sizes"):
            draw("JAX", "glorot_uniform()", (4,), 0)
