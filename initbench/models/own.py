"""The architectures of users' models, which the process that reads a grid knows from the one that executes them."""

from collections.abc import Mapping
from typing import Any

from initbench.models.architecture import Architecture, Layer, Shape
from initbench.models.built_in import architecture_of

_architectures: dict[tuple[str, Shape, int], Architecture] = {}


def add(model: str, shape: Shape, classes: int, network: Architecture) -> None:
    """Add the architecture that a user's model, by its canonical string, has for images of a shape."""
    _architectures[model, shape, classes] = network


def is_known(model: str, shape: Shape, classes: int) -> bool:
    """Return whether the architecture of a model is known: of a user's, whether it has been added."""
    return "@" not in model or (model, shape, classes) in _architectures


def network_of(model: str, hidden: str, normalization: str, shape: Shape, classes: int) -> Architecture:
    """Return the architecture of any model; KeyError for a user's that has not been added."""
    if "@" in model:
        return _architectures[model, shape, classes]
    return architecture_of(model, hidden, normalization, shape, classes)


def to_json(network: Architecture) -> dict[str, Any]:
    """Return an architecture as JSON."""
    return {**network._asdict(), "layers": [layer._asdict() for layer in network.layers]}


# The largest number in an architecture that is read, the most layers, and the most dimensions of weights.
MAX_NUMBER, MAX_LAYERS, MAX_DIMENSIONS = 10**15, 100_000, 5


def from_json(fields: Mapping[str, Any]) -> Architecture:
    """Return the architecture that `to_json` wrote; ValueError for any other value, which may be hostile."""
    try:
        layers = tuple(Layer(**{**layer, "shape": tuple(layer["shape"])}) for layer in fields["layers"])
        network = Architecture(**{**fields, "layers": layers})
        numbers = [network.units, network.other_parameters]
        for layer in layers:
            numbers += [*layer.shape, layer.groups, layer.positions]
            if type(layer.has_bias) is not bool or not 2 <= len(layer.shape) <= MAX_DIMENSIONS:
                raise ValueError
    except (KeyError, TypeError, ValueError):
        raise ValueError("not the architecture of a model") from None
    if not all(type(n) is int and 0 <= n <= MAX_NUMBER for n in numbers) or not 1 <= len(layers) <= MAX_LAYERS:
        raise ValueError("not the architecture of a model")
    return network
