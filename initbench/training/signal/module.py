"""The signal in any module, by hooks at its layers and activations: the same statistics as in a perceptron."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from initbench.training.plain import Loop
from initbench.training.signal.perceptron import Images
from initbench.training.signal.statistics import Signal

Array = NDArray[Any]


def weights(loop: Loop) -> list[Array]:
    """Return copies of the weights of each layer of the loop's model, in PyTorch's layout."""
    return []


def signal(loop: Loop, seen: Images, start: Sequence[Array] | None = None) -> Signal:
    """Return the statistics of the loop's model as it is; with `start`, also how far its weights moved."""
    return {}
