"""The architectures of users' models, which the process that reads a grid knows from the one that executes them."""

from initbench.models.architecture import Architecture, Shape
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
