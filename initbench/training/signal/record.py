"""The signal of the cells of a stack, recorded before and after its training, as a worker sends it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from initbench.initializers.model import Parameters
from initbench.plugins import arrays
from initbench.random import streams
from initbench.spec.cell import Cell
from initbench.spec.signal import IMAGES
from initbench.training.data import Data
from initbench.training.network import Network
from initbench.training.parameters import StreamedParameters
from initbench.training.plain import Loop, PlainData
from initbench.training.plugins import reason
from initbench.training.signal import module, perceptron, spectra
from initbench.training.signal.statistics import Signal


def images(cell: Cell, data: Data | PlainData) -> perceptron.Images:
    """Return the first images of a cell's training, in its order, as the network reads them, without augmentation."""
    rows = streams.batch_rows(cell.seed, 1, cell.train_size, cell.batch_size).ravel()[:IMAGES]
    return perceptron.images(*data.read(rows))


class Record:
    """The signal of the cells of a stack: of each a `Signal` by epoch.

    A signal that cannot be computed is left out, and `reasons` has why: it changes no result.
    """

    def __init__(self, cells: Sequence[Cell], data: Data | PlainData) -> None:
        self._cells, self._data = cells, data
        self._starts: list[Parameters] = []
        self.signals: list[dict[int, Signal]] = [{} for _ in cells]
        self.reasons: dict[str, None] = {}

    def start(self, parameters: Parameters) -> None:
        """Keep the initial parameters of the next cell of a stack."""
        self._starts.append(parameters)

    def stack(self, network: Network) -> None:
        """Record the signals of a stack, before and after its training."""
        seen = images(self._cells[0], self._data)
        ends = network.parameters(self._starts)
        for n, (cell, start, end) in enumerate(zip(self._cells, self._starts, ends, strict=True)):
            self._add(n, 0, partial(perceptron.signal, cell, len(start), start.__getitem__, seen))
            moved = partial(perceptron.signal, cell, len(end), end.__getitem__, seen, start.__getitem__)
            self._add(n, cell.epochs, moved)

    def loop(self, epoch: int, loop: Loop) -> None:
        """Record the signal of a cell of the plain loop, before or after its training."""
        cell = loop.cell
        start = self._starts[0] if epoch else None
        self._add(0, epoch, lambda: module.signal(loop, images(cell, self._data), start))

    def _add(self, n: int, epoch: int, compute: Callable[[], Signal]) -> None:
        try:
            self.signals[n][epoch] = compute()
        except Exception as error:
            self.reasons[reason(error)] = None


def initial(
    cells: Sequence[Cell],
    data: Data | PlainData,
    full: bool = False,
    progress: Callable[[float], None] = lambda share: None,
) -> list[Signal]:
    """Return the signal of each cell before its training; those that differ in their training alone share one.

    It has the spectrum of the last hidden layer of a perceptron, with `full` all of it. `progress` is called with the
    share of the cells that are done.
    """
    seen: dict[tuple[int, int, int], perceptron.Images] = {}
    signals: dict[Cell, Signal] = {}
    for count, cell in enumerate(cells, start=1):
        order = cell.seed, cell.train_size, cell.batch_size
        if order not in seen:
            seen = {order: images(cell, data)}
        if cell.before_training not in signals:
            signals[cell.before_training] = _initial(cell, data, seen[order], full)
        progress(count / len(cells))
    return [signals[cell.before_training] for cell in cells]


def _initial(cell: Cell, data: Data | PlainData, seen: perceptron.Images, full: bool) -> Signal:
    if isinstance(data, PlainData):
        return module.signal(Loop(cell, data), seen)
    layers = cell.layers(data.pixels, data.classes)
    parameters = StreamedParameters(cell, layers, data.read)
    signal = perceptron.signal(cell, len(layers), parameters, seen)
    return signal | spectra.last_hidden(cell, len(layers), parameters, seen, full)


def to_json(signals: Sequence[dict[int, Signal]]) -> list[dict[str, Any]]:
    """Return the signals of the cells of a stack in groups that have the same statistics.

    A group has the numbers of its `cells` in the stack, the `rows` `[epoch, layer, statistic]`, and the array `values`
    `[cells, rows]`.
    """
    groups: dict[tuple[tuple[int, int, str], ...], dict[int, list[float]]] = {}
    for n, by_epoch in enumerate(signals):
        rows = tuple((epoch, *key) for epoch, signal in by_epoch.items() for key in signal)
        values = [value for signal in by_epoch.values() for value in signal.values()]
        if rows:
            groups.setdefault(rows, {})[n] = values
    return [
        {"cells": [*values], "rows": rows, "values": arrays.to_json([np.array([*values.values()])])[0]}
        for rows, values in groups.items()
    ]
