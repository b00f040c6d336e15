"""The networks of a grid: each model, with the hidden layers of perceptrons, for the images of each data set."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from initbench.data.datasets import Source
from initbench.models import own
from initbench.models.architecture import Architecture
from initbench.models.built_in import PERCEPTRON
from initbench.models.perceptron import widths


class GridNetwork(NamedTuple):
    """A network of a grid: the settings that it follows from, and its architecture."""

    model: str
    hidden: str
    normalization: str
    source: Source
    architecture: Architecture

    @property
    def words(self) -> str:
        """The settings as a grid file has them, for messages."""
        if self.model != PERCEPTRON:
            return f"model = {self.model!r}"
        return f"hidden = {list(widths(self.hidden))}"


def networks(axes: Mapping[str, tuple[Any, ...]], sources: Mapping[str, Source]) -> Iterator[GridNetwork]:
    """Yield the networks of a grid, without those whose architecture is unknown or that cannot be built."""
    for model, hidden, normalization in specified(axes):
        for source in sources.values():
            if not own.is_known(model, source.shape, source.classes):
                continue
            try:
                architecture = own.network_of(model, hidden, normalization, source.shape, source.classes)
            except ValueError:
                continue
            yield GridNetwork(model, hidden, normalization, source, architecture)


def specified(axes: Mapping[str, tuple[Any, ...]]) -> Iterator[tuple[str, str, str]]:
    """Yield the model, hidden layers and normalization of each network of a grid; only perceptrons have `hidden`."""
    for model in axes["model"]:
        for hidden in axes["hidden"] if model == PERCEPTRON else ("",):
            for normalization in axes["normalization"]:
                yield model, hidden, normalization
