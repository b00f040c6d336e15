"""Mean-field theory: published figures, closed forms, other quadratures, and networks that are simulated."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.polynomial import hermite_e
from scipy import integrate, special, stats

import initbench as ib
from initbench.functions.activations import ACTIVATIONS
from initbench.initializers import schemes
from initbench.initializers.moments import applied, slope
from initbench.theory import expectations
from initbench.training.signal import statistics

theory = ib.theory

SMOOTH = ["sigmoid", "tanh", "gelu", "silu", "softplus", "softplus(beta=3.0)"]
WITH_PARAMETERS = ["leaky_relu(negative_slope=0.2)", "elu(alpha=2.0)", "softplus(beta=3.0)"]
ELEMENTWISE = [*(name for name, record in ACTIVATIONS.items() if "hidden" in record.tags), *WITH_PARAMETERS]
FORMS = pytest.mark.parametrize("form", [applied, slope], ids=["function", "derivative"])


def product(form, activation, c, q, other_q=None, mean=0.0):
    return expectations.product(lambda x: form(activation, x), c, q, q if other_q is None else other_q, mean)


def test_fixed_points_and_depth_scales_of_tanh_are_the_published_ones():
    stds, lengths, factors = (1.3, 2.5, 4.0), (0.607, 4.079, 12.60), (0.940, 1.585, 2.367)
    for std, length, factor in zip(stds, lengths, factors, strict=True):
        q = theory.fixed_length("tanh", std**2, 0.3**2)
        assert q == pytest.approx(length, abs=0.005 if length > 10 else 5e-4)
        assert theory.chi("tanh", q, std**2) == pytest.approx(factor, abs=5e-4)
    # Schoenholz et al. 2017: σ_b² = 0.05, critical at 1.76.
    for variance, scale in zip((0.5, 0.75, 1.0, 1.25, 1.5), (1.19, 2.05, 3.63, 6.80, 15.8), strict=True):
        assert theory.depth_scale("tanh", variance, 0.05) == pytest.approx(scale, abs=0.05 if scale > 10 else 5e-3)
    assert theory.critical("tanh", 0.05)[0] == pytest.approx(1.76, abs=5e-3)


@pytest.mark.parametrize(("activation", "bias_variance"), [("tanh", 0.05), ("tanh", 0.0), ("selu", 1.0), ("relu", 0.0)])
def test_depth_scales_are_infinite_at_criticality(activation, bias_variance):
    weight_variance, bias_variance = theory.critical(activation, bias_variance)
    assert theory.depth_scale(activation, weight_variance, bias_variance) == math.inf


def test_maps_of_relu_are_the_arc_cosine_kernels():
    """Cho & Saul 2009, of orders 1 and 0, halved: also between unequal lengths, and near c = ±1."""
    for c in (-1.0, -1 + 1e-9, -0.7, 0.0, 0.3, 0.99, 1 - 1e-6, 1 - 1e-12, 1.0):
        angle = math.acos(c)
        for q, other_q in ((1.0, 1.0), (1e-8, 1e-8), (1e4, 3.0), (2e-8, 1e4)):
            expected = math.sqrt(q * other_q) / (2 * math.pi) * (math.sin(angle) + (math.pi - angle) * c)
            assert product(applied, "relu", c, q, other_q) == pytest.approx(
                expected, rel=1e-9, abs=1e-9 * math.sqrt(q * other_q)
            )
            assert product(slope, "relu", c, q, other_q) == pytest.approx((math.pi - angle) / (2 * math.pi), abs=1e-9)
    assert theory.length_map("relu", np.array([0.0, 1e-8, 3.0]), 2.0, 0.5) == pytest.approx([0.5, 0.5 + 1e-8, 3.5])


def test_maps_of_the_error_function_are_the_arc_sine_kernel(monkeypatch):
    """Williams 1997: E[erf(u) erf(v)] = 2/π asin(2 k / √((1 + 2 q)(1 + 2 q'))), k the covariance."""
    monkeypatch.setattr(ACTIVATIONS, "_entries", dict(ACTIVATIONS._entries))
    derivative = lambda x: 2 / math.sqrt(math.pi) * np.exp(-(x**2))  # noqa: E731

    @ACTIVATIONS.register("hidden", module=None, derivative=derivative)
    def error_function(x):
        """f(x) = erf(x)."""
        return special.erf(x)

    for q, other_q in ((1e-8, 1e-8), (0.3, 2.0), (12.6, 12.6), (1e4, 1e4)):
        for c in (-0.999, -0.4, 0.0, 0.5, 0.99, 1 - 1e-8, 1.0):
            covariance = c * math.sqrt(q * other_q)
            sizes = (1 + 2 * q) * (1 + 2 * other_q)
            scale = 2 / math.pi * math.asin(2 * q / (1 + 2 * q))
            values = product(applied, "error_function", c, q, other_q)
            assert values == pytest.approx(2 / math.pi * math.asin(2 * covariance / math.sqrt(sizes)), abs=1e-7 * scale)
            slopes = product(slope, "error_function", c, q, other_q)
            assert slopes == pytest.approx(4 / math.pi / math.sqrt(sizes - 4 * covariance**2), rel=1e-6)
    exact = theory.chi("error_function", 2.0, 1.0)
    without_derivative = dataclasses.replace(ACTIVATIONS["error_function"], derivative=None)
    monkeypatch.setitem(ACTIVATIONS._entries, "error_function", without_derivative)
    assert theory.chi("error_function", 2.0, 1.0) == pytest.approx(exact, rel=1e-8)


@FORMS
@pytest.mark.parametrize("activation", SMOOTH)
def test_maps_of_smooth_activations_are_those_of_a_fine_grid(form, activation):
    """The trapezoid rule converges exponentially for analytic functions, here with steps of 0.02."""
    z = np.arange(-9, 9, 0.02)
    density = stats.norm.pdf(z) * 0.02
    for q, mean in ((12.6, 0.0), (0.5, 1.0)):
        single = form(activation, mean + math.sqrt(q) * z)
        assert expectations.expectation(lambda x: form(activation, x) ** 2, q, mean) == pytest.approx(
            density @ single**2, rel=1e-9
        )
        for c in (-0.95, 0.4, 0.999):
            second = form(activation, mean + math.sqrt(q) * (c * z[:, None] + math.sqrt(1 - c**2) * z))
            expected = (density * single) @ second @ density
            assert product(form, activation, c, q, mean=mean) == pytest.approx(expected, abs=1e-8 * density @ single**2)


@FORMS
@pytest.mark.parametrize("activation", ELEMENTWISE)
def test_maps_of_all_activations_are_those_of_their_hermite_series(form, activation):
    """E[f(u) f(v)] = Σ a_k(q) a_k(q') cᵏ, a_k the coefficients of f in the normalized Hermite polynomials."""
    half = np.linspace(0, 12, 6001)
    coefficients = {}
    for q in (3.0, 0.04):
        sides = []
        for z in (-half[::-1], half):
            basis = hermite_e.hermevander(z, 60) / np.sqrt(special.factorial(np.arange(61)))
            z_inside = np.where(z == 0, math.copysign(1e-12, z.sum()), z)  # the limit at a kink, from this side
            values = form(activation, math.sqrt(q) * z_inside) * stats.norm.pdf(z)
            sides.append(integrate.simpson(values[:, None] * basis, x=z, axis=0))
        coefficients[q] = sum(sides)
    for c in (-0.6, 0.2, 0.6):
        for q, other_q in ((3.0, 3.0), (3.0, 0.04)):
            terms = coefficients[q] * coefficients[other_q] * c ** np.arange(61)
            scale = np.linalg.norm(coefficients[q]) * np.linalg.norm(coefficients[other_q])
            assert product(form, activation, c, q, other_q) == pytest.approx(terms.sum(), abs=1e-8 * scale)


@FORMS
def test_more_nodes_change_no_map_by_1e_6(monkeypatch, form):
    lengths, correlations = (1e-8, 1.0, 1e4), (-1 + 1e-10, -0.9999, 0.5, 0.99, 1 - 1e-8)
    cases = [(q, c, mean) for q in lengths for c in correlations for mean in (0.0, 1.0) if q > 1e-8 or not mean]

    def maps():
        expectations._normal_nodes.cache_clear()
        expectations._unit_nodes.cache_clear()
        values = [product(form, name, c, q, mean=mean) for name in ELEMENTWISE for q, c, mean in cases]
        single = [
            expectations.expectation(lambda x, name=name: form(name, x) ** 2, q, mean)
            for name in ELEMENTWISE
            for q, _, mean in cases
        ]
        return np.array(values), np.array(single)

    products, singles = maps()
    for name, count in (("POINTS", 100), ("PAIR_POINTS", 100), ("MANY_PAIR_POINTS", 100)):
        monkeypatch.setattr(expectations, name, count)
    finer_products, finer_singles = maps()
    expectations._normal_nodes.cache_clear()
    np.testing.assert_allclose(singles, finer_singles, rtol=1e-9)
    assert (np.abs(products - finer_products) < 1e-6 * singles).all()


@pytest.mark.parametrize(
    ("activation", "weight_variance", "bias_variance"),
    [("tanh", 2.5**2, 0.09), ("tanh", 3.0, 0.0), ("sigmoid", 30.0, 0.1), ("elu", 1.2, 0.3), ("gelu", 1.5, 0.2)],
)
def test_fixed_points_are_where_the_maps_lead_at_the_pace_of_the_depth_scale(
    activation, weight_variance, bias_variance
):
    q, c, correlations = 1.0, 0.6, []
    for _ in range(400):
        q = theory.length_map(activation, q, weight_variance, bias_variance)
    q_fixed = theory.fixed_length(activation, weight_variance, bias_variance)
    assert q_fixed == pytest.approx(q, rel=1e-9)
    for _ in range(120):
        c = float(theory.correlation_map(activation, c, q_fixed, weight_variance, bias_variance))
        correlations.append(c)
    c_fixed = theory.fixed_correlation(activation, weight_variance, bias_variance)
    distances = np.abs(np.array(correlations) - c_fixed)
    near = np.flatnonzero(distances < 1e-4)[0]  # before rounding matters, and where the map is straight
    pace = -1 / math.log(distances[near + 1] / distances[near])
    assert pace == pytest.approx(theory.depth_scale(activation, weight_variance, bias_variance), rel=1e-2)


def test_lengths_without_a_finite_fixed_point_vanish_or_grow():
    assert theory.fixed_length("relu", 2.5, 0.1) == math.inf
    assert math.isnan(theory.depth_scale("relu", 2.5, 0.1))
    assert theory.fixed_length("relu", 1.5, 0.5) == pytest.approx(0.5 / (1 - 0.75))
    assert theory.fixed_length("relu", 2.0, 0.0, start=7.0) == 7.0  # He keeps every length
    assert theory.fixed_length("tanh", 1.0, 0.0) == 0.0
    assert math.isnan(theory.fixed_correlation("tanh", 0.8, 0.0))
    assert theory.depth_scale("tanh", 0.8, 0.0) == pytest.approx(-1 / math.log(0.8))
    assert theory.fixed_length("softplus", 1.9, 0.1) == pytest.approx(
        theory.length_map("softplus", theory.fixed_length("softplus", 1.9, 0.1), 1.9, 0.1)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.length_map("softmax", 1.0, 1.0, 0.0), "softmax"),
        (lambda: theory.length_map("tahn", 1.0, 1.0, 0.0), "tanh"),
        (lambda: theory.length_map("tanh", -1.0, 1.0, 0.0), "q = -1.0; allowed: from 0 up"),
        (lambda: theory.correlation_map("tanh", [0.2, 1.5], 1.0, 1.0, 0.0), "from -1 to 1"),
        (lambda: theory.chi("tanh", 1.0, math.nan), "weight_variance = nan"),
        (lambda: theory.fixed_length("tanh", 1.0, -0.1), "bias_variance = -0.1"),
        (lambda: theory.critical("tanh", -1), "bias_variance = -1; allowed: 0 or more"),
        (lambda: theory.length_fluctuation([5, 0]), "widths"),
        (
            lambda: theory.predict(
                "zeros", "zeros", "tanh", ((2, 2),), input_second_moment=math.nan, input_correlation=0
            ),
            "input_second_moment = nan; allowed: 0 or more",
        ),
        (lambda: theory.no_prediction("he_norml", "zeros", "tanh", ((2, 2),)), "did you mean 'he_normal'"),
        (lambda: theory.no_prediction({"name": "normal", "sd": 1}, "zeros", "tanh", ((2, 2),)), "sd"),
        (lambda: theory.no_prediction("zeros", "he_normal", "tanh", ((2, 2),)), "not a bias initializer"),
        (lambda: theory.no_prediction("zeros", "zeros", "tanh", [64, 64]), r"^layers = \[64, 64\]; allowed: \(fan_in"),
        (lambda: theory.no_prediction("zeros", "zeros", "tanh", ((6, 5), (4, 3))), "the fan_out of the layer before"),
    ],
)
def test_arguments_out_of_range_are_refused_with_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_lengths_of_narrow_relu_networks_scatter_as_derived():
    """20,000 networks 5-20-20: the standard error of E[M²] is 1.5%, and the next rules, 4/n and 6/n, are 8% away."""
    rng, networks = np.random.default_rng(0), 20_000
    a = np.ones((networks, 1, 5))
    for fan_in, width in ((5, 20), (20, 20)):
        a = np.maximum(a @ rng.normal(0, math.sqrt(2 / fan_in), (networks, fan_in, width)), 0)
    squares = np.square(a).mean(axis=(1, 2)) ** 2  # E[M] = 1, the mean square of the input
    error = squares.std() / math.sqrt(networks)
    assert error < 0.015 * squares.mean()
    assert squares.mean() == pytest.approx(theory.length_fluctuation([20, 20]), abs=3 * error)


LAYERS = ((784, 2000), (2000, 2000), (2000, 2000), (2000, 10))


def measured(initializer, bias_initializer, activation, images, labels, seed):
    """The second moments, correlations and gradient norms of one network in float32, by plain NumPy."""

    class Layers:  # what `schemes.parameters` reads of a perceptron
        layers, nonlinearity, groups = LAYERS, activation, (1,) * len(LAYERS)

        @staticmethod
        def start_biases():
            return [np.zeros(units) for _, units in LAYERS]

    parameters = schemes.parameters(initializer, bias_initializer, Layers, seed)
    a, pre_activations = images, []
    for W, b in parameters:
        pre_activations.append(a @ W + b)
        a = applied(activation, pre_activations[-1])
    outputs = pre_activations[-1]
    gradient = special.softmax(outputs, axis=1) - np.eye(10, dtype=np.float32)[labels]
    norms = [np.square(gradient).sum(axis=1).mean()]
    for (W, _), z in zip(parameters[:0:-1], pre_activations[-2::-1], strict=True):
        gradient = gradient @ W.T * slope(activation, z)
        norms.append(np.square(gradient).sum(axis=1).mean())
    moments = [np.square(z, dtype=np.float64).mean() for z in pre_activations]
    return moments, [statistics.correlation(z) for z in pre_activations], norms[::-1]


def compared(configuration, images, labels, seeds):
    """The ratios of predicted and measured values, `[3, layers]`."""
    moments, correlations, squared_norms = np.mean(
        [measured(*configuration, images, labels, seed) for seed in range(seeds)], axis=0
    )
    norms = np.sqrt(squared_norms)
    prediction = theory.predict(
        *configuration,
        LAYERS,
        input_second_moment=np.square(images).mean(),
        input_correlation=statistics.correlation(images),
        output_gradient_norm=norms[-1],
    )
    return np.array(prediction) / [moments, correlations, norms]


@pytest.mark.slow
@pytest.mark.parametrize(
    "configuration",
    [
        ("he_normal", "zeros", "relu"),
        ("truncated_normal(std=1.0)", "ones", "tanh"),  # chaotic and saturated, with biases of mean 1
        ("edge_of_chaos", "edge_of_chaos", "tanh"),
        (
            "per_layer(first=he_uniform, hidden=glorot_uniform, last=glorot_uniform)",
            "normal(mean=0.2, std=0.5)",
            "selu",
        ),
    ],
    ids=lambda configuration: configuration[0],
)
def test_networks_of_width_2000_do_as_predicted(configuration):
    """20 seeds, images of equal lengths and equal correlations: within 2% but for the 10 units of the last layer."""
    directions = ib.initializers.orthogonal((784, 784), seed=0)  # of dense inputs, whose sums are normal
    images = math.sqrt(0.4 * 80) * directions[0] + math.sqrt(0.6 * 80) * directions[1:65]
    labels = np.arange(64) % 10
    ratios = compared(configuration, images, labels, 20)
    np.testing.assert_allclose(ratios[:2, :-1], 1, atol=0.02)
    np.testing.assert_allclose(ratios[2], 1, atol=0.02)
    assert ratios[0, -1] == pytest.approx(1, abs=0.35)  # 4 standard errors: √(2 / (10 units · 20 seeds)) is 0.1


@pytest.mark.slow
def test_networks_do_nearly_as_predicted_on_mnist(mnist):
    """Its images differ in length by 35%, and in correlation, so that the maps of the means are up to 5% off."""
    images = mnist.train_images[:256].reshape(256, 784).astype(np.float32) / 255
    labels = mnist.train_labels[:256]
    for configuration in (("edge_of_chaos", "edge_of_chaos", "tanh"), ("truncated_normal(std=1.0)", "ones", "tanh")):
        ratios = compared(configuration, images, labels, 5)
        np.testing.assert_allclose(ratios[:2, :-1], 1, atol=0.06)
        np.testing.assert_allclose(ratios[2], 1, atol=0.06)


def test_predictions_follow_any_scheme_with_independent_weights_and_refuse_others():
    layers = ((784, 64), (64, 64), (64, 10))

    def refusal(initializer, bias_initializer="zeros", activation="tanh"):
        arguments = (initializer, bias_initializer, activation, layers)
        reason = theory.no_prediction(*arguments)
        prediction = theory.predict(*arguments, input_second_moment=0.1, input_correlation=0.4)
        assert (prediction is None) == bool(reason)
        return reason

    assert "depend on one another" in refusal("orthogonal")
    assert "depend on one another" in refusal("per_layer(first=he_normal, hidden=identity, last=he_normal)")
    assert "depend on data" in refusal("lsuv")
    assert "mean that is not 0" in refusal("ones")
    assert "mean that is not 0" in refusal("uniform(low=0.0, high=0.1)")
    assert "softmax is not elementwise" in refusal("he_normal", activation="softmax")
    assert "not executed" in refusal("mine@0123456789abcdef0123")
    for initializer in ("gpt2", "mup", "fixup", "keras_default", "torch_linear_default", "truncated_normal", "zeros"):
        assert refusal(initializer) == ""
    assert refusal("he_normal", "constant(value=-0.5)") == refusal("he_normal", "torch_linear_default") == ""


def test_zero_weights_and_infinite_signals_are_predicted_as_such():
    layers = ((784, 64), (64, 64), (64, 10))
    start = {"input_second_moment": 0.1, "input_correlation": 0.4}
    zero = theory.predict("zeros", "zeros", "tanh", layers, **start)
    assert zero.pre_activation_second_moment.tolist() == [0, 0, 0]
    assert np.isnan(zero.correlation).all()
    assert zero.pre_activation_gradient_norm.tolist() == [0, 0, 1]
    biased = theory.predict("zeros", "constant(value=0.5)", "tanh", layers, **start)
    assert biased.pre_activation_second_moment.tolist() == [0.25] * 3
    assert biased.correlation.tolist() == [1, 1, 1]
    deep = ((784, 64), *((64, 64),) * 200, (64, 10))
    grown = theory.predict("normal(std=10.0)", "zeros", "relu", deep, **start)
    assert grown.pre_activation_second_moment[-1] == grown.pre_activation_gradient_norm[0] == math.inf


def test_relu_layers_of_any_widths_have_the_predicted_moments_in_closed_form():
    widths = (784, 300, 50, 700, 10)
    layers = [[*pair] for pair in pairwise(widths)]
    prediction = theory.predict(
        {"name": "normal", "std": 0.1}, "zeros", "relu", layers, input_second_moment=0.2, input_correlation=0.3
    )
    moments, norms = [0.01 * 784 * 0.2], [1.0]
    for width in widths[1:-1]:
        moments.append(moments[-1] * 0.01 * width / 2)
    for width in widths[-2:0:-1]:
        norms.append(norms[-1] * math.sqrt(0.01 * width / 2))
    np.testing.assert_allclose(prediction.pre_activation_second_moment, moments)
    np.testing.assert_allclose(prediction.pre_activation_gradient_norm, norms[::-1])
    np.testing.assert_allclose(
        prediction.correlation[1:],
        [theory.correlation_map("relu", c, 1.0, 2.0, 0.0) for c in prediction.correlation[:-1]],
    )
