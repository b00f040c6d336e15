"""The losses: one record each, with its definition in NumPy and its forms in PyTorch.

The decorated function is the documented definition: one number for a batch. It takes `output`, the values of the
output activation, float `[batch, classes]`, and `labels`, integers `[batch]`; "one-hot" below is the
`[batch, classes]` array with a 1 at each label. The means are over the batch, or over batch and classes, as each
formula says. Conventions are PyTorch's.

The article's "mean squared difference of activation(xW+b)" is `output_activation = "same"` with `mse`; its
commented-out line is `output_activation = "softmax"` with `cross_entropy`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from initbench.functions._torch import F, aten, torch
from initbench.functions.activations import softmax
from initbench.registry import Entry, Registry

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Loss(Entry):
    """A loss. Each form takes the loss's parameters as keyword arguments.

    Attributes
    ----------
    torch
        `torch(output, labels)` returns the loss in PyTorch, for autograd.
    kernel
        Fused form: `kernel(output, target, labels, gradient, values)` writes the gradient of the sum over the batch at
        `output`, and values whose sum over the classes is the loss of an image, both short of a factor. `target` is
        the one-hot array `[classes, batch]`, `labels` `[batch]`; the others are `[cells, classes, batch]`.
    factors
        Fused form: `factors(classes)` returns the factors of the values and of the gradient, which the trainer
        multiplies in once for a whole stack. It takes no parameters of the loss.
    applies_softmax
        Whether the loss applies softmax itself, so that an output activation of softmax is not computed.
    """

    torch: Callable[..., "Tensor"]
    kernel: Callable[..., object] | None = None
    factors: Callable[[int], tuple[float, float]] = lambda classes: (1 / classes, 1 / classes)
    applies_softmax: bool = False


LOSSES: Registry[Loss] = Registry("loss", Loss)


def computed_output(loss: str, output_activation: str) -> str:
    """Return the output activation that is computed before a loss: softmax is not applied twice.

    >>> computed_output("cross_entropy", "softmax"), computed_output("mse", "softmax")
    ('identity', 'softmax')
    """
    return (
        "identity" if output_activation == "softmax" and LOSSES.lookup(loss)[0].applies_softmax else output_activation
    )


def one_hot(labels: Array, classes: int) -> Array:
    """Labels `[batch]` as rows of zeros with a one, `[batch, classes]`."""
    return np.eye(classes)[labels]


def _target(output: "Tensor", labels: "Tensor") -> "Tensor":
    return F.one_hot(labels, output.shape[1]).to(output.dtype)


def _mse(output: "Tensor", target: "Tensor", labels: "Tensor", gradient: "Tensor", values: "Tensor") -> None:
    torch.sub(output, target, out=gradient)
    torch.mul(gradient, gradient, out=values)


@LOSSES.register(
    torch=lambda output, labels: F.mse_loss(output, _target(output, labels)),
    kernel=_mse,
    factors=lambda classes: (1 / classes, 2 / classes),
)
def mse(output: Array, labels: Array) -> float:
    """Mean squared error: mean over batch and classes of (output − one-hot)².

    Takes the output activation's values (the article's loss).
    """
    return float(np.mean((output - one_hot(labels, output.shape[1])) ** 2))


def _cross_entropy(
    logits: "Tensor",
    target: "Tensor",
    labels: "Tensor",
    gradient: "Tensor",
    values: "Tensor",
    label_smoothing: float,
) -> None:
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / len(target)
    aten._log_softmax.out(logits, 1, False, out=gradient)
    torch.mul(gradient, target, out=values)
    gradient.exp_().sub_(target)


@LOSSES.register(
    torch=lambda output, labels, label_smoothing: F.cross_entropy(output, labels, label_smoothing=label_smoothing),
    kernel=_cross_entropy,
    factors=lambda classes: (-1, 1),
    applies_softmax=True,
)
def cross_entropy(output: Array, labels: Array, *, label_smoothing: float = 0.0) -> float:
    """Cross-entropy: −mean over the batch of log softmax(logits)[label].

    Takes logits: the values of the output activation are the logits, whatever it is. Where the output activation is
    softmax itself, softmax is applied once: the logits are then its pre-activations.

    With `label_smoothing` ε it is −mean over the batch of Σ_k t_k · log softmax(logits)[k], where the target t is
    1 − ε + ε / classes at the label and ε / classes elsewhere (Szegedy et al. 2016, section 7; PyTorch's
    `cross_entropy`). ε from 0 to below 1, default 0. The losses of validation and test images are smoothed, too.
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing = {label_smoothing!r}; allowed: from 0 to below 1")
    logarithms = np.log(softmax(output))
    at_label = float(-np.mean(logarithms[np.arange(len(labels)), labels]))
    if not label_smoothing:  # the logarithm at another class may be −∞
        return at_label
    return float((1 - label_smoothing) * at_label - label_smoothing * np.mean(logarithms))


def _mae(output: "Tensor", target: "Tensor", labels: "Tensor", gradient: "Tensor", values: "Tensor") -> None:
    torch.sub(output, target, out=gradient)
    torch.abs(gradient, out=values)
    gradient.sign_()


@LOSSES.register(torch=lambda output, labels: F.l1_loss(output, _target(output, labels)), kernel=_mae)
def mae(output: Array, labels: Array) -> float:
    """Mean absolute error: mean over batch and classes of |output − one-hot|.

    Takes the output activation's values.
    """
    return float(np.mean(np.abs(output - one_hot(labels, output.shape[1]))))


def _huber(
    output: "Tensor", target: "Tensor", labels: "Tensor", gradient: "Tensor", values: "Tensor", delta: float
) -> None:
    torch.sub(output, target, out=values)
    torch.clamp(values, -delta, delta, out=gradient)
    values.sub_(gradient, alpha=0.5).mul_(gradient)


@LOSSES.register(
    torch=lambda output, labels, delta: F.huber_loss(output, _target(output, labels), delta=delta), kernel=_huber
)
def huber(output: Array, labels: Array, *, delta: float = 1.0) -> float:
    """Huber: mean over batch and classes of d²/2 where |d| ≤ delta, else delta · (|d| − delta/2); d = output − one-hot.

    Takes the output activation's values. delta above 0, default 1 (PyTorch's `huber_loss`).
    """
    if not delta > 0:
        raise ValueError(f"delta = {delta!r}; allowed: above 0")
    d = np.abs(output - one_hot(labels, output.shape[1]))
    return float(np.mean(np.where(d <= delta, 0.5 * d**2, delta * (d - 0.5 * delta))))


def _hinge_torch(output: "Tensor", labels: "Tensor", margin: float, power: int) -> "Tensor":
    # PyTorch's multi_margin_loss, written out because its gradient cannot be differentiated again.
    own = output.gather(1, labels[:, None])
    over = (margin - own + output).clamp(min=0) ** power
    hinged: Tensor = (over * (1 - _target(output, labels))).sum() / output.numel()
    return hinged


def _hinge(
    output: "Tensor",
    target: "Tensor",
    labels: "Tensor",
    gradient: "Tensor",
    values: "Tensor",
    margin: float,
    power: int,
) -> None:
    at_label = output.gather(1, labels.expand(len(output), 1, -1))
    torch.sub(output, at_label, out=values).add_(margin).clamp_(min=0).mul_(1 - target)
    # Each class within the margin pulls its own output down and the label's up.
    pull = (values > 0).to(output.dtype) if power == 1 else 2 * values
    torch.sub(pull, target * pull.sum(1, keepdim=True), out=gradient)
    if power == 2:
        values.square_()


@LOSSES.register(torch=_hinge_torch, kernel=_hinge)
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
