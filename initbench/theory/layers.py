"""Predictions for the layers of a perceptron with given initializers: second moments, correlations and gradients."""

import math
from collections.abc import Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from initbench.functions.activations import ACTIVATIONS
from initbench.initializers import schemes
from initbench.initializers._base import INITIALIZERS, Normal, Position, TruncatedNormal, Uniform, require
from initbench.initializers.model import positions
from initbench.initializers.moments import applied
from initbench.theory import expectations
from initbench.theory.expectations import Array

# A name, a canonical string such as "normal(std=0.1)", or a table such as {"name": "normal", "std": 0.1}.
Named = str | Mapping[str, Any]
Layers = tuple[tuple[int, int], ...]


class Prediction(NamedTuple):
    """The predictions for each layer with weights, `[layers]`, under the names of the measured statistics.

    Attributes
    ----------
    pre_activation_second_moment
        q: the mean of the squared pre-activations, over units, images and networks.
    correlation
        c: the mean cosine of two images' pre-activations; NaN where they are zero.
    pre_activation_gradient_norm
        The root of the mean over images of |∂ℓ/∂z|².
    """

    pre_activation_second_moment: Array
    correlation: Array
    pre_activation_gradient_norm: Array


def predict(
    initializer: Named,
    bias_initializer: Named,
    activation: Named,
    layers: Sequence[tuple[int, int]],
    *,
    input_second_moment: float,
    input_correlation: float,
    output_gradient_norm: float = 1.0,
) -> Prediction | None:
    """Return the predicted signal and gradient of each layer of a perceptron; None where `no_prediction` has a reason.

    With v the variance of a layer's weights, N its inputs, b̄ and σ_b² mean and variance of its biases:

    - forward: q_l = v N E[φ(z)²] + σ_b² + b̄², z normal with mean b̄ and second moment q of the layer before; in the
      first layer the input's second moment stands for the expectation. Likewise c_l from E[φ(z) φ(z')].
    - backward: |δ_l|² = N_l v_{l+1} E[φ'(z_l)²] |δ_{l+1}|², with N_l the units of layer l, from the norm at the last
      layer. It takes the weights of the backward pass as independent of those of the forward pass.

    The true fans are used, so that widths may differ. The means over networks of the squares are exact for two layers
    and images of one length; beyond, the error falls with the width, and that of images of several lengths remains
    (docs/explanation/method.md, "Theory").

    Parameters
    ----------
    initializer, bias_initializer, activation
        A name, a canonical string, or a table as in a grid: `"he_normal"`, `"normal(std=0.1)"`,
        `{"name": "normal", "std": 0.1}`. The activation of a network of one layer is the output's, with which its
        initializer computes.
    layers
        `(fan_in, fan_out)` of each layer: with two hidden layers of 64 units, ten classes and MNIST's pixels,
        `((784, 64), (64, 64), (64, 10))`.
    input_second_moment
        Mean of the squared inputs, over images and inputs: `activation_mean`² + `activation_variance` of layer 0.
    input_correlation
        Mean cosine of two images: `correlation` of layer 0.
    output_gradient_norm
        The gradient's norm at the last layer's pre-activations, default 1.

    Raises
    ------
    ValueError
        If a name or a parameter is unknown, a number is out of its range, or the layers do not follow one another.

    Examples
    --------
    >>> layers = ((784, 512), (512, 256), (256, 10))
    >>> p = predict("he_normal", "zeros", "relu", layers, input_second_moment=0.1, input_correlation=0.4)
    >>> [f"{q:.3f}" for q in p.pre_activation_second_moment], [f"{c:.3f}" for c in p.correlation]
    (['0.200', '0.200', '0.200'], ['0.400', '0.544', '0.639'])
    >>> [f"{g:.3f}" for g in p.pre_activation_gradient_norm]
    ['1.000', '1.000', '1.000']
    """
    require(0 <= input_second_moment < math.inf, "input_second_moment", input_second_moment, "0 or more")
    require(-1 <= input_correlation <= 1, "input_correlation", input_correlation, "from -1 to 1")
    initializer, bias_initializer, activation, layers = _checked(initializer, bias_initializer, activation, layers)
    if no_prediction(initializer, bias_initializer, activation, layers):
        return None
    weights, biases = _layer_moments(initializer, bias_initializer, activation, layers)
    lengths, correlations, slopes = [], [], []
    square, product = input_second_moment, input_second_moment * input_correlation
    with np.errstate(all="ignore"):
        for (fan_in, _), (_, variance), (mean, bias_variance) in zip(layers, weights, biases, strict=True):
            spread = variance * fan_in * square + bias_variance  # of the pre-activations around the mean bias
            covariance = variance * fan_in * product + bias_variance
            length = spread + mean**2
            lengths.append(length if length < expectations.MAX_VARIANCE else math.inf)
            correlations.append((covariance + mean**2) / length if 0 < length < expectations.MAX_VARIANCE else math.nan)
            c = min(max(covariance / spread, -1.0), 1.0) if 0 < spread < math.inf else 1.0
            square = expectations.second_moment(activation, spread, mean)
            product = expectations.product(partial(applied, activation), c, spread, spread, mean)
            slopes.append(expectations.mean_square_slope(activation, spread, mean))
        gradients = [output_gradient_norm]
        for (_, units), (_, variance), square_slope in zip(layers[-2::-1], weights[:0:-1], slopes[-2::-1], strict=True):
            gradients.append(gradients[-1] * math.sqrt(units * variance * square_slope))
    return Prediction(np.array(lengths), np.array(correlations), np.array(gradients[::-1]))


def _checked(
    initializer: Named, bias_initializer: Named, activation: Named, layers: Sequence[tuple[int, int]]
) -> tuple[str, str, str, Layers]:
    """Return the canonical strings and the layers; ValueError where one of them is invalid."""
    pairs = tuple(tuple(pair) if isinstance(pair, Sequence) else () for pair in layers)
    require(
        bool(pairs)
        and all(len(pair) == 2 and all(isinstance(n, int | np.integer) and n > 0 for n in pair) for pair in pairs)
        and all(before[1] == after[0] for before, after in pairwise(pairs)),
        "layers",
        layers,
        "(fan_in, fan_out) of each layer, as in ((784, 64), (64, 10)), each fan_in the fan_out of the layer before",
    )
    names = schemes.resolve(initializer), schemes.resolve(bias_initializer, "bias"), ACTIVATIONS.resolve(activation)
    return names[0], names[1], str(names[2]), tuple((fan_in, units) for fan_in, units in pairs)


def no_prediction(
    initializer: Named, bias_initializer: Named, activation: Named, layers: Sequence[tuple[int, int]]
) -> str:
    """Return why the theory does not hold for a perceptron of these settings, or an empty string.

    It holds for independent weights of mean 0, and for biases that are independent or all equal. Networks with
    convolutions, shortcuts or normalization have no prediction: that is for the caller to know. Arguments, and what
    ValueError is raised for, are those of `predict`.

    >>> layers = ((784, 128), (128, 10))
    >>> no_prediction("he_normal", "ones", "tanh", layers)
    ''
    >>> no_prediction("orthogonal", "zeros", "tanh", layers)
    'the weights of orthogonal depend on one another'
    """
    initializer, bias_initializer, activation, layers = _checked(initializer, bias_initializer, activation, layers)
    if not schemes.runs_here(initializer, bias_initializer, activation):
        return "functions of users are not executed here"
    if "hidden" not in ACTIVATIONS.lookup(activation)[0].tags:
        return f"{activation} is not elementwise"
    if len(schemes.of_layers(initializer, len(layers))) != len(layers):
        return f"the weights of {initializer} depend on data, gradients or one another"
    return _moments_or_reason(initializer, bias_initializer, activation, layers)[1]


Moments = tuple[tuple[float, float], ...]  # mean and variance, of each layer


def _layer_moments(initializer: str, bias_initializer: str, activation: str, layers: Layers) -> tuple[Moments, Moments]:
    moments = _moments_or_reason(initializer, bias_initializer, activation, layers)[0]
    return moments[: len(layers)], moments[len(layers) :]


@cache
def _moments_or_reason(initializer: str, bias_initializer: str, activation: str, layers: Layers) -> tuple[Moments, str]:
    """Return mean and variance of the weights of each layer and then of the biases of each, or why there are none."""
    moments: list[tuple[float, float]] = []
    depth = len(layers)
    for kind, name in (("weights", initializer), ("biases", bias_initializer)):
        per_layer = zip(schemes.of_layers(name, depth), layers, positions(depth), strict=True)
        for scheme, (fan_in, fan_out), position in per_layer:
            shape = (fan_in, fan_out) if kind == "weights" else (fan_out,)
            mean_and_variance = _single_moments(scheme, shape, activation, position, depth, fan_in)
            if mean_and_variance is None:
                return (), f"the {kind} of {scheme} depend on one another"
            if kind == "weights" and mean_and_variance[0]:
                return (), f"the weights of {scheme} have a mean that is not 0"
            moments.append(mean_and_variance)
    return tuple(moments), ""


@cache
def _single_moments(
    scheme: str, shape: tuple[int, ...], activation: str, position: Position, depth: int, fan_in: int
) -> tuple[float, float] | None:
    """Return mean and variance of each weight or bias of a layer, independent or all equal; None of others."""
    supplied: dict[str, Any] = {"activation": activation, "position": position, "depth": depth, "fan_in": fan_in}
    single = schemes.single_weights(scheme, shape, **supplied)
    if isinstance(single, Normal):
        return single.mean, single.std**2
    if isinstance(single, Uniform):
        return (single.low + single.high) / 2, (single.high - single.low) ** 2 / 12
    if isinstance(single, TruncatedNormal):
        return single.moments()
    # A small array shows whether all are equal: schemes without a distribution have no other scale.
    values = INITIALIZERS.call(scheme, (3, 5)[-len(shape) :], **supplied, seed=0, dtype=np.float64)
    return None if np.ptp(values) else (float(values.flat[0]), 0.0)
