"""Data-driven schemes: they take a model with its forward pass and the first batches of its training.

They compute in float64, one cell at a time, so that what a cell starts from does not depend on its stack.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from initbench.initializers._base import (
    NETWORK,
    PERCEPTRON,
    network_and_bias_scheme,
    network_scheme,
    require,
    standard_normal,
    standard_uniform,
)
from initbench.initializers.model import Array, Model, Network, Parameters, cast_parameters, layer_seed, layer_weights
from initbench.initializers.moments import applied, mean, unit_normal
from initbench.initializers.scaling import variance_scaling
from initbench.initializers.structured import orthogonal
from initbench.random.streams import draws

# Beyond these a parameter is a mistake.
MAX_ITERATIONS, MAX_BETA = 1000, 1000


@network_scheme(fit=NETWORK)
def lsuv(
    model: Network,
    *,
    tolerance: float = 0.1,
    iterations: int = 10,
    batches: int = 1,
    seed: int | None = None,
    dtype: DTypeLike = np.float32,
) -> Parameters:
    """Layer-sequential unit variance: orthogonal weights, then each layer scaled until its pre-activations vary by 1.

    Layer by layer, in the order of execution: W ← W / √Var(z), the variance over all units, images of the first
    `batches` batches and, of a convolution, positions, until |Var(z) − 1| < tolerance, at most `iterations` times. The
    biases stay those of the bias initializer; the last layer is treated as the others. A layer that is executed several
    times is measured the first time; one whose output does not vary stays orthogonal. tolerance above 0 (default 0.1),
    iterations from 1 to 1000 (default 10), batches from 1 to 1000 (default 1).

    The algorithm leaves the two limits open; the authors' code for Caffe takes 0.02 and 20, their later ones 0.1 and
    10. Some of these look at the standard deviation, change the biases or leave small layers out; this does not.

    Source: Mishkin & Matas 2016, "All you need is a good init", algorithm 1.

    When to use it: where the scale for an activation is not known.
    """
    require(0 < tolerance < math.inf, "tolerance", tolerance, "above 0")
    require(1 <= iterations <= MAX_ITERATIONS, "iterations", iterations, f"from 1 to {MAX_ITERATIONS}")
    images, _ = model.batch(batches)
    parameters: Parameters = []
    inputs = model.layer_inputs(images, parameters)
    for layer, (x, b) in enumerate(zip(inputs, model.start_biases(), strict=True)):
        W = layer_weights(model, layer, seed, lambda shape, stream: orthogonal(shape, seed=stream, dtype=np.float64))
        z = model.affine(layer, x, W, b)
        for _ in range(iterations):
            variance = float(z.var())
            if abs(variance - 1) < tolerance or not variance > 0:
                break
            W = W / math.sqrt(variance)
            z = model.affine(layer, x, W, b)
        parameters.append((W, b))
    return cast_parameters(parameters, dtype)


@network_and_bias_scheme(fit=NETWORK)
def within_layer(
    model: Network, *, beta: float = 0.0, batches: int = 1, seed: int | None = None, dtype: DTypeLike = np.float32
) -> Parameters:
    """Within-layer normalization: each unit's pre-activations get mean beta and variance 1 on the first batches.

    Layer by layer, in the order of execution: W ~ N(0, 1); with the mean μ and the standard deviation σ of a unit's xᵀW
    over the images of the first `batches` batches, its weights are divided by σ and its bias is beta − μ / σ. The units
    of a convolution are its channels, over all positions. This sets the biases too, whatever the bias initializer; a
    layer without a bias has the variance alone. A unit that does not vary is left as it is.

    Source: Krähenbühl, Doersch, Donahue & Darrell 2016, "Data-dependent Initializations of Convolutional Neural
    Networks", algorithm 1; beta is 0 by default, as in the authors' function (their command line takes 0.1), and
    from −1000 to 1000; batches from 1 to 1000 (default 1).

    When to use it: for inputs that are not standardized; with beta above 0 to keep ReLU units alive.
    """
    return _within_layers(model, lambda x, noise, layer: noise, beta, batches, seed, dtype)


@network_and_bias_scheme(fit=PERCEPTRON)
def pca(
    model: Model, *, beta: float = 0.0, batches: int = 10, seed: int | None = None, dtype: DTypeLike = np.float32
) -> Parameters:
    """Principal components: the units of a layer are those of its inputs, the largest first; then as `within_layer`.

    Layer by layer, from the images of the first `batches` batches (from 1 to 1000, default 10) as they arrive there. A
    sign is such that the component's largest weight is positive. Units beyond the number of components (of variance
    above 10⁻⁶ in all) have N(0, 1) weights, and so have all in a layer with more units than images.

    Source: Krähenbühl, Doersch, Donahue & Darrell 2016, section 3, in the form of the authors' code (type "pca"),
    which goes through random projections of the inputs; here they are taken as they are.

    beta as in `within_layer`. All layers are initialized like this, as in that code, not the first alone.

    When to use it: for the first layer to see what varies in the data.
    """
    return _within_layers(model, _principal, beta, batches, seed, dtype)


@network_and_bias_scheme(fit=PERCEPTRON)
def kmeans(
    model: Model, *, beta: float = 0.0, batches: int = 10, seed: int | None = None, dtype: DTypeLike = np.float32
) -> Parameters:
    """K-means: the units of a layer are the centres of its inputs' clusters; then as `within_layer`.

    Layer by layer, from the images of the first `batches` batches (from 1 to 1000, default 10): the inputs are centred,
    whitened in as many principal components as there are units, and scaled to norm 1; ten rounds of Lloyd's algorithm
    from as many inputs, chosen at random, give the centres, which are whitened once more. A layer with more units than
    images has N(0, 1) weights, and so have units beyond the number of components.

    Source: Coates & Ng 2012, "Learning Feature Representations with K-means"; Krähenbühl, Doersch, Donahue & Darrell
    2016, section 3, in the form of the authors' code (type "kmeans"), which takes k-means by small batches.

    beta as in `within_layer`. All layers are initialized like this, as in that code, not the first alone.

    When to use it: for the first layer to see what is common in the data.
    """

    def centres(x: Array, noise: Array, layer: int) -> Array:
        return _centres(x, noise, standard_uniform((len(x),), None if seed is None else draws(seed, layer)))

    return _within_layers(model, centres, beta, batches, seed, dtype)


def _within_layers(
    model: Network,
    directions: Callable[[Any, Array, int], Array],
    beta: float,
    batches: int,
    seed: int | None,
    dtype: DTypeLike,
) -> Parameters:
    """Return, layer by layer, the directions of the units, each scaled to mean beta and variance 1.

    `directions` returns them, in the layout of weights, from what enters the layer (of a perceptron `[images,
    fan_in]`), N(0, 1) noise and the layer's index.
    """
    require(abs(beta) <= MAX_BETA, "beta", beta, f"from −{MAX_BETA} to {MAX_BETA}")
    images, _ = model.batch(batches)
    parameters: Parameters = []
    inputs = model.layer_inputs(images, parameters)
    for layer, (x, start) in enumerate(zip(inputs, model.start_biases(), strict=True)):
        W = directions(x, layer_weights(model, layer, seed, standard_normal), layer)
        z = model.affine(layer, x, W)
        spread = z.std(axis=0)
        scale: Array = np.where(spread > 1e-12, 1 / np.maximum(spread, 1e-12), 1.0)
        parameters.append((W * scale, beta - z.mean(axis=0) * scale if len(start) else start))
    return cast_parameters(parameters, dtype)


# The authors' smallest variance of a component, and the constant that they add before whitening.
MIN_VARIANCE, SOFTENING = 1e-6, 1e-3


def _components(x: Array, count: int) -> tuple[Array, Array]:
    """Return up to `count` principal components of centred inputs `[images, fan_in]`, and 1 / their sizes."""
    variances, components = np.linalg.eigh(x.T @ x)
    largest = np.argsort(-variances, kind="stable")[:count]
    largest = largest[variances[largest] >= MIN_VARIANCE]
    principal: Array = components[:, largest]
    signs = np.sign(np.take_along_axis(principal, np.abs(principal).argmax(axis=0)[None], axis=0))
    return principal * signs, 1 / np.sqrt(variances[largest] + SOFTENING)


def _principal(x: Array, noise: Array, layer: int = 0) -> Array:
    units = noise.shape[1]
    if len(x) < units:
        return noise
    components, sizes = _components(x - x.mean(axis=0), units)
    return np.hstack([components * sizes, noise[:, len(sizes) :]])


def _centres(x: Array, noise: Array, uniform: Array) -> Array:
    from scipy.cluster.vq import kmeans2

    units = noise.shape[1]
    if len(x) < units:
        return noise
    centred = x - x.mean(axis=0)
    components, sizes = _components(centred, units)
    if not len(sizes):  # inputs that do not vary: dead units in front, say
        return noise
    whitening = components * sizes
    white = centred @ whitening
    white /= np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-12)
    start = white[np.argsort(uniform, kind="stable")[: len(sizes)]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a cluster that becomes empty keeps its centre
        centres, _ = kmeans2(white, start, iter=10, minit="matrix")
    return np.hstack([whitening @ centres.T, noise[:, len(sizes) :]])


@network_scheme(fit=PERCEPTRON)
def autoinit(model: Model, *, batches: int = 1, seed: int | None = None, dtype: DTypeLike = np.float32) -> Parameters:
    """AutoInit: variance 1 / (fan_in · E[x²]) in every layer, E[x²] computed from the data and the activations.

    For the first layer E[x²] is the mean square of the pixels in the first `batches` batches; for the others it is
    E[φ(z)²], z ~ N(0, 1), by quadrature. Truncated normal, its variance corrected; the biases stay as they are. With
    standardized inputs and relu it is LeCun's in the first layer and He's in the others. batches from 1 to 1000
    (default 1).

    Source: Bingham & Miikkulainen 2023 (AAAI), "AutoInit: Analytic Signal-Preserving Weight Initialization for Neural
    Networks", the rule for dense layers. Its code takes mean 0 and variance 1 of the inputs by default; here they
    are measured.

    When to use it: for activations without a scheme of their own.
    """
    hidden = mean(applied(model.activation, unit_normal()) ** 2) if len(model.layers) > 1 else 1.0
    seconds = [float((model.batch(batches)[0] ** 2).mean()), *([hidden] * (len(model.layers) - 1))]
    weights = [
        variance_scaling(shape, scale=1 / max(second, 1e-12), seed=layer_seed(seed, layer), dtype=np.float64)
        for layer, (shape, second) in enumerate(zip(model.layers, seconds, strict=True))
    ]
    return cast_parameters(list(zip(weights, model.start_biases(), strict=True)), dtype)
