"""Plugins in a worker: their code, which comes with a task, the place of its errors, and the check of its weights."""

import itertools
import traceback
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from initbench.data.datasets import Source
from initbench.errors import PluginError, UserError
from initbench.initializers.model import Parameters
from initbench.plugins import records, store
from initbench.plugins.bundle import Bundle
from initbench.plugins.loader import PREFIX, located
from initbench.plugins.trial import digest_of, not_repeated
from initbench.registry import digests_in, own_names_in, shorten_digests
from initbench.spec.cell import Cell
from initbench.system import deferred
from initbench.training import plain
from initbench.training.data import Data
from initbench.training.parameters import initial_parameters
from initbench.training.plain import PlainData

_executed: dict[str, Bundle] = {}


def prepare(bundles: Iterable[Mapping[str, Any]], cells: Sequence[Cell], source: Source) -> None:
    """Execute the plugins that were sent with a task, each once in a process, and add their records.

    A plugin's functions are named by the digest of the bytes that were sent, whatever the sender says. Raises
    PluginError with the plugin's file, line and message if it cannot be executed, and if a function of a cell, or that
    which loads the data, is in none.
    """
    new = [Bundle.from_json(value) for value in bundles]
    if new:
        deferred.load_all()
    for bundle in new:
        _executed[bundle.digest] = bundle
        try:
            with warnings.catch_warnings():
                records.register(bundle)
        except UserError as error:
            raise PluginError(error.lines[0]) from None
    names = {source.function, *(name for cell in cells for name in cell.functions)}
    if missing := store.missing(names):
        lacking = sorted(name for name in own_names_in(*names) if digests_in(name) & missing)
        raise PluginError(f"the code of {', '.join(map(shorten_digests, lacking))} was not sent to this worker")


def reason(error: BaseException) -> str:
    """Return an error in a line: where a plugin's code raised it, with its own file, line and function."""
    if isinstance(error, PluginError):
        return error.lines[0]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if bundle := _executed.get(frame.filename.partition("/")[0].removeprefix(PREFIX)):
            return located(error, bundle)
    return f"{type(error).__name__}: {error}"


# The first cell that this process has trained with each own initializer, on each data set and each network, and a
# digest of the parameters that its training began with.
_first: dict[tuple[str, ...], tuple[Cell, str]] = {}


def parameters(cell: Cell, data: Data | PlainData) -> Parameters:
    """Return the initial parameters of a cell, as its training begins with them."""
    if isinstance(data, PlainData):
        return plain.parameters(cell, data)
    return initial_parameters(cell, cell.layers(data.pixels, data.classes), data.read)


class Repeats:
    """The check, for a stack, that own initializers are functions of their arguments alone.

    One that reads a clock, a file or a random state of its own returns other weights when it is called again, in the
    same stack or in a later one.
    """

    def __init__(self) -> None:
        self._keys: set[tuple[str, ...]] = set()

    def add(self, cell: Cell, parameters: Parameters) -> None:
        """Take note of the parameters that a cell's training begins with."""
        if digests_in(cell.initializer, cell.bias_initializer):
            data = cell.dataset, str(cell.standardize)
            key = cell.initializer, cell.bias_initializer, *data, cell.model, cell.hidden
            self._keys.add(key)
            _first.setdefault(key, (cell, digest_of(itertools.chain.from_iterable(parameters))))

    def check(self, data: Data | PlainData) -> None:
        """Compute again the parameters of the first cell of each initializer of the stack; PluginError if they differ.

        They are compared bit for bit.
        """
        for key in sorted(self._keys):
            cell, digest = _first[key]
            if digest_of(itertools.chain.from_iterable(parameters(cell, data))) != digest:
                raise PluginError(not_repeated(next(name for text in key[:2] for name in sorted(own_names_in(text)))))
