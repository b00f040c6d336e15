"""The losses: their definitions in NumPy, each one number for a batch.

Each takes `output`, the values of the output activation, float `[batch, classes]`, and `labels`, whole numbers
`[batch]`; "one-hot" below is the `[batch, classes]` array with a 1 at each label. The means are over the batch, or
over batch and classes, as each formula says. Conventions are PyTorch's.

The article's "mean squared difference of activation(xW+b)" is `output_activation = "same"` with `mse`; its
commented-out line is `output_activation = "softmax"` with `cross_entropy`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initbench.functions.activations import softmax
from initbench.registry import Registry

Array = NDArray[Any]

LOSSES: Registry[Callable[..., float]] = Registry("loss")

loss = LOSSES.entry()


def one_hot(labels: Array, classes: int) -> Array:
    """Labels `[batch]` as rows of zeros with a one, `[batch, classes]`."""
    return np.eye(classes)[labels]


@loss
def mse(output: Array, labels: Array) -> float:
    """Mean squared error: mean over batch and classes of (output − one-hot)².

    Takes the output activation's values (the article's loss).
    """
    return float(np.mean((output - one_hot(labels, output.shape[1])) ** 2))


@loss
def cross_entropy(output: Array, labels: Array) -> float:
    """Cross-entropy: −mean over the batch of log softmax(logits)[label].

    Takes logits: the values of the output activation are the logits, whatever it is. Where the output activation is
    softmax itself, softmax is applied once: the logits are then its pre-activations.
    """
    p = softmax(output)
    return float(-np.mean(np.log(p[np.arange(len(labels)), labels])))


@loss
def mae(output: Array, labels: Array) -> float:
    """Mean absolute error: mean over batch and classes of |output − one-hot|.

    Takes the output activation's values.
    """
    return float(np.mean(np.abs(output - one_hot(labels, output.shape[1]))))


@loss
def huber(output: Array, labels: Array, *, delta: float = 1.0) -> float:
    """Huber: mean over batch and classes of d²/2 where |d| ≤ delta, else delta · (|d| − delta/2); d = output − one-hot.

    Takes the output activation's values. delta above 0, default 1 (PyTorch's `huber_loss`).
    """
    if not delta > 0:
        raise ValueError(f"delta = {delta!r}; allowed: above 0")
    d = np.abs(output - one_hot(labels, output.shape[1]))
    return float(np.mean(np.where(d <= delta, 0.5 * d**2, delta * (d - 0.5 * delta))))


@loss
def hinge(output: Array, labels: Array, *, margin: float = 1.0, power: int = 1) -> float:
    """Multi-class hinge: mean over the batch of Σ_{j≠label} max(0, margin − o_label + o_j)^power / classes.

    Takes logits: the values of the output activation. PyTorch's `multi_margin_loss` with its `p` named `power`
    (Crammer & Singer 2001 take the largest term, PyTorch their sum). margin above 0, default 1; power 1 or 2.
    """
    if power not in (1, 2):
        raise ValueError(f"power = {power!r}; allowed: 1 or 2")
    if not margin > 0:
        raise ValueError(f"margin = {margin!r}; allowed: above 0")
    o = output - output[np.arange(len(labels)), labels][:, None] + margin
    terms = np.maximum(o, 0) ** power * (1 - one_hot(labels, output.shape[1]))
    return float(np.mean(terms.sum(axis=1) / output.shape[1]))
