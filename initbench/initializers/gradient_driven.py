"""Gradient-driven schemes: they use gradients to rescale the weights before training.

PyTorch differentiates, in float64, one cell at a time, so that a cell's initial weights do not depend on its stack,
and hardly on the processor: a rounding that changes the sign of a step leads to other weights.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike

from initbench.initializers._base import NETWORK, Array, Shape, floating, network_scheme, require, standard_uniform
from initbench.initializers.model import Network, Parameters, cast_parameters, layer_weights
from initbench.initializers.scaling import he_normal
from initbench.random.streams import Seed, draws

if TYPE_CHECKING:
    from torch import Tensor


# More steps than this are a mistake: MetaInit takes days for them.
MAX_STEPS = 100_000


@network_scheme(fit=NETWORK, steps="steps")
def metainit(
    model: Network,
    *,
    rate: float = 0.1,
    momentum: float = 0.9,
    steps: int = 500,
    seed: int | None = None,
    dtype: DTypeLike = np.float32,
) -> Parameters:
    """MetaInit: He's normal weights, the norm of each layer changed until a step of descent changes gradients least.

    What is made small is the gradient quotient, the mean over all weights and biases of |(g − Hg) / (g ± 10⁻⁵) − 1|,
    with g the gradient of the model's loss and H its Hessian (the sign is that of g). In each of `steps` steps (0 to
    100,000, default 500), on as many invented images, N(0, 1), with random labels as a batch has, each layer's norm
    moves by momentum: m ← momentum · m − rate · sign(∂quotient / ∂norm), norm ← norm + m. rate is above 0 (default
    0.1), momentum from 0 to below 1 (default 0.9). Biases stay what the bias initializer gave.

    The authors' code starts from the model's own weights; here the start is `he_normal`. A step takes about ten times
    as long as one of training, of convolutions thirty times, and all steps together as long as ten epochs of MNIST or
    more: of `lenet5` as long as forty. A layer that the loss does not use keeps its norm.

    Source: Dauphin & Schoenholz 2019 (NeurIPS), "MetaInit: Initializing learning by learning to initialize", section 4
    and the code in its appendix.

    When to use it: for deep networks for which no scheme is known. In perceptrons of one or two hidden layers the
    quotient is least where the weights nearly vanish, and there it goes: He's start trains better.
    """
    require(0 < rate < math.inf, "rate", rate, "above 0")
    require(0 <= momentum < 1, "momentum", momentum, "from 0 to below 1")
    require(0 <= steps <= MAX_STEPS, "steps", steps, f"from 0 to {MAX_STEPS}")
    floating(dtype)  # before seconds of work
    shape = model.batch()[0].shape
    import torch

    with one_thread():
        start, biases = _start(model, seed)
        norms = torch.stack([W.detach().norm() for W in start])
        directions = [W.detach() / norm for W, norm in zip(start, norms, strict=True)]
        # A norm that is moved below zero turns its layer's direction round, and is a norm again.
        signs, moved = torch.ones_like(norms), torch.zeros_like(norms)
        for step in range(steps):
            lengths = norms.clone().requires_grad_()
            weights = [s * n * D for s, n, D in zip(signs, lengths, directions, strict=True)]
            stream = None if seed is None else draws(seed, step)
            x, labels = _synthetic(shape, model.classes, stream)
            try:
                loss = model.batch_loss(weights, biases, x, labels)
            except IndexError as error:  # an embedding of pixels
                raise ValueError(
                    f"metainit computes on images of N(0, 1) pixels, which this network does not take: {error}; "
                    "allowed: another initializer"
                ) from error
            quotient = gradient_quotient(loss, [*weights, *biases])
            (slopes,) = torch.autograd.grad(quotient, lengths)
            moved = momentum * moved - rate * slopes.sign()
            signs = torch.where(norms + moved < 0, -signs, signs)
            norms = (norms + moved).abs()
        return _finished([s * n * D for s, n, D in zip(signs, norms, directions, strict=True)], biases, dtype)


def gradient_quotient(loss: "Tensor", parameters: Sequence["Tensor"]) -> "Tensor":
    """Return the mean over all parameters of |(g − Hg) / (g ± 10⁻⁵) − 1|, g the gradient of the loss, H its Hessian."""
    import torch

    gradients = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    halves = [(g**2).sum() / 2 for g in gradients]  # the gradient of |g|² / 2 is Hg
    products = torch.autograd.grad(torch.stack(halves).sum(), parameters, create_graph=True, materialize_grads=True)
    terms = [
        ((g - Hg) / (g + torch.where(g >= 0, 1e-5, -1e-5)) - 1).abs().sum()
        for g, Hg in zip(gradients, products, strict=True)
    ]
    return torch.stack(terms).sum() / sum(p.numel() for p in parameters)


@network_scheme(fit=NETWORK, steps="iterations")
def gradinit(
    model: Network,
    *,
    eta: float = 0.1,
    gamma: float = 1.0,
    rate: float = 0.01,
    smallest: float = 0.01,
    iterations: int = 390,
    seed: int | None = None,
    dtype: DTypeLike = np.float32,
) -> Parameters:
    """GradInit: He's normal weights, each layer scaled so that one first step of training lowers the loss the most.

    Each array of weights or biases has a factor, at first 1. In each iteration, on a batch, with g the gradient of the
    loss: where |g| is above gamma, the factors descend on |g|; else they descend on the loss, divided by eta, after a
    step of eta · g / |g|, on half of the same batch and half of another one. They descend by Adam with `rate`, with
    slopes cut to ±1, an average slope for each of the two and one average of squares for both; factors of weights stay
    at `smallest` or above, of biases at 0 or above. The batches are the training's, halved.

    eta, the length of the step that is tried, gamma and rate are above 0 (defaults 0.1, 1, 0.01), smallest 0 or more
    (0.01), iterations from 0 to 100,000 (390). They are those of the authors' scripts for images, where rate is from
    0.001 to 0.1 by the network. Their variant for Adam, with signs for gradients and another norm, is left out: the
    limit that goes with it we could not establish.

    Source: Zhu, Ni, Xu, Kong, Huang & Goldstein 2021 (NeurIPS), "GradInit: Learning to Initialize Neural Networks for
    Stable and Efficient Training", algorithm 1, and the authors' code.

    When to use it: where the scales of layers are in doubt, for training by gradient descent. It takes as long as one
    or two epochs of MNIST.
    """
    for name, value in (("eta", eta), ("gamma", gamma), ("rate", rate)):
        require(0 < value < math.inf, name, value, "above 0")
    require(0 <= smallest < math.inf, "smallest", smallest, "0 or more")
    require(0 <= iterations <= MAX_STEPS, "iterations", iterations, f"from 0 to {MAX_STEPS}")
    floating(dtype)  # before seconds of work
    model.batch()  # if there is none, PyTorch need not be loaded
    import torch

    with one_thread():
        halves = _halves(model)
        weights, biases = _start(model, seed)
        start = [p.detach().clone() for p in (*weights, *biases)]
        least = torch.tensor([smallest] * len(weights) + [0.0] * len(biases), dtype=torch.float64)
        factors = torch.ones(len(start), dtype=torch.float64, requires_grad=True)
        # Adam's averages and counts, of the descent on the loss and of that on the norm; the squares' is of both.
        averages, squares, counts = [torch.zeros_like(least), torch.zeros_like(least)], torch.zeros_like(least), [0, 0]

        def loss(parameters: Sequence["Tensor"], images: "Tensor", labels: "Tensor") -> "Tensor":
            return model.batch_loss(parameters[: len(weights)], parameters[len(weights) :], images, labels)

        for _ in range(iterations):
            parameters = [factor * p for factor, p in zip(factors, start, strict=True)]
            first, second = next(halves), next(halves)
            before = loss(parameters, *_joined(first, second))
            # Of a layer that the loss does not use the gradient is zero.
            gradients = torch.autograd.grad(before, parameters, create_graph=True, materialize_grads=True)
            norm = torch.stack([(g**2).sum() for g in gradients]).sum().sqrt()
            beyond = norm.item() > gamma
            if beyond:
                aim = norm
            else:
                length = norm.item() or 1.0  # a gradient of zero has no direction
                moved = [p - eta * g.detach() / length for p, g in zip(parameters, gradients, strict=True)]
                aim = loss(moved, *_joined(first, next(halves))) / eta
            (slopes,) = torch.autograd.grad(aim, factors)
            slopes = slopes.clamp(-1, 1)
            counts[beyond] += 1
            averages[beyond] = 0.9 * averages[beyond] + 0.1 * slopes
            squares = 0.999 * squares + 0.001 * slopes**2
            average, square = averages[beyond] / (1 - 0.9 ** counts[beyond]), squares / (1 - 0.999 ** sum(counts))
            with torch.no_grad():
                factors.copy_(torch.maximum(factors - rate * average / (square.sqrt() + 1e-8), least))
        scaled = [factor * p for factor, p in zip(factors.detach(), start, strict=True)]
        return _finished(scaled[: len(weights)], scaled[len(weights) :], dtype)


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit PyTorch to one thread, as in training: small products then have the same bits on any number of cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _start(model: Network, seed: int | None) -> tuple[list["Tensor"], list["Tensor"]]:
    """Return He's normal weights and the initial biases, float64, for PyTorch to differentiate."""
    import torch

    def he(shape: Shape, stream: Seed) -> Array:
        return he_normal(shape, seed=stream, dtype=np.float64)

    weights = [torch.from_numpy(layer_weights(model, n, seed, he)).requires_grad_() for n in range(len(model.layers))]
    return weights, [torch.from_numpy(b).requires_grad_() for b in model.start_biases()]


def _synthetic(shape: Shape, classes: int, seed: Seed) -> tuple["Tensor", "Tensor"]:
    """Return images `[images, pixels]` with N(0, 1) pixels, and uniformly distributed labels."""
    import torch
    from scipy.special import ndtri

    images, pixels = shape
    noise = standard_uniform((images, pixels + 1), seed)
    return torch.from_numpy(ndtri(noise[:, :-1])), torch.from_numpy((classes * noise[:, -1]).astype(np.int64))


def _halves(model: Network) -> Iterator[tuple["Tensor", "Tensor"]]:
    """Yield the batches of the training without end, each as two halves (a batch of one image whole)."""
    import torch

    for images, labels in model.stream():
        half = max(len(images) // 2, 1)
        for rows in (slice(0, half), slice(len(images) - half, None)):
            yield (
                torch.from_numpy(np.asarray(images[rows], np.float64)),
                torch.from_numpy(np.asarray(labels[rows], np.int64)),
            )


def _joined(*batches: tuple["Tensor", "Tensor"]) -> tuple["Tensor", "Tensor"]:
    import torch

    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def _finished(weights: Sequence["Tensor"], biases: Sequence["Tensor"], dtype: DTypeLike) -> Parameters:
    pairs = zip(weights, biases, strict=True)
    return cast_parameters([(W.detach().numpy(), b.detach().numpy()) for W, b in pairs], dtype)
