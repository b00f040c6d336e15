"""Which functions have fused forms. A cell of which one has none trains by the plain loop."""

from functools import lru_cache

from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES
from initbench.functions.optimizers import OPTIMIZERS


def has_fused_forms(activation: str, output_activation: str, loss: str, optimizer: str) -> bool:
    """Return whether the stacked trainer has each of these functions, which are canonical strings.

    It has none of those whose code is not loaded.

    >>> has_fused_forms("relu", "identity", "huber(delta=0.5)", "sgd")
    True
    >>> has_fused_forms("relu", "identity", "mine@0123456789abcdef0123", "sgd")
    False
    """
    # initbench's own records are there from the start; that of a plugin's function may be added later.
    if "@" in activation or "@" in output_activation or "@" in loss or "@" in optimizer:
        return _have_fused_forms(activation, output_activation, loss, optimizer)
    return _cached(activation, output_activation, loss, optimizer)


def _have_fused_forms(activation: str, output_activation: str, loss: str, optimizer: str) -> bool:
    for name in (activation, output_activation):
        of_activation = ACTIVATIONS.get(_name(name))
        if of_activation is None or of_activation.forward is None or of_activation.backward is None:
            return False
    of_loss, of_optimizer = LOSSES.get(_name(loss)), OPTIMIZERS.get(_name(optimizer))
    if of_loss is None or of_optimizer is None or of_loss.kernel is None:
        return False
    return of_optimizer.formula is not None


def _name(canonical: str) -> str:
    return canonical.partition("(")[0]


_cached = lru_cache(maxsize=4096)(_have_fused_forms)  # a grid may have a million cells, of few functions
