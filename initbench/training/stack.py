"""The stacked trainer: many cells as one program, and the check that a cell's bits do not depend on its stack.

A stack's cells share their data, order, shapes, optimizer and precision: see `initbench.training.network`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initbench.initializers import schemes
from initbench.random import streams
from initbench.registry import digests_in
from initbench.spec.cell import Cell
from initbench.training.data import Data
from initbench.training.network import Network, PassBuffers
from initbench.training.parameters import Initialized

Floats = NDArray[np.float64]

# A graph is recorded after some steps: by then libraries have chosen their algorithms and allocated their memory.
STEPS_BEFORE_RECORDING = 3


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch for each cell of the stack, in its order. Losses may be inf or NaN."""

    epoch: int
    step_losses: Floats  # [steps, cells], before each update; no steps at epoch 0
    validation_loss: Floats  # [cells], as all below
    validation_accuracy: Floats
    test_loss: Floats
    test_accuracy: Floats

    @property
    def train_loss(self) -> Floats:
        """The mean of the steps' losses, `[cells]`; NaN at epoch 0."""
        if not len(self.step_losses):
            return np.full(len(self.test_loss), np.nan)
        return np.asarray(self.step_losses.mean(axis=0))


def train(
    cells: Sequence[Cell],
    data: Data,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[float], None] = lambda epochs: None,
    initialized: Initialized = lambda cell, seconds, parameters: None,
    trained: Callable[[Network], None] = lambda network: None,
) -> Iterator[Epoch]:
    """Train a stack: yields epoch 0, before training, then every epoch after it.

    `progress` is called with the number of epochs done, in fractions, several times an epoch; `initialized`, for each
    cell, with the seconds that its initial parameters took, and these; `trained` with the network after the last epoch.
    """
    first, count = cells[0], len(cells)
    steps = Steps(cells, data, dtype, initialized)

    def evaluated() -> list[Floats]:
        splits = (data.validation, data.test)
        return [values[:count].cpu().numpy() for split in splits for values in steps.network.evaluate(split)]

    yield Epoch(0, np.empty((0, count)), *evaluated())
    for epoch in range(1, first.epochs + 1):
        if epoch > 1:  # the first has begun
            steps.begin(epoch)
        for done in range(0, first.steps_per_epoch, 64):
            steps.take(min(64, first.steps_per_epoch - done))
            progress(epoch - 1 + done / first.steps_per_epoch)
        steps.finish()  # so that the evaluation does not wait for a GPU's steps, which are timed apart
        progress(epoch)
        yield Epoch(epoch, steps.losses[:, :count].to("cpu", torch.float64, copy=True).numpy(), *evaluated())
    trained(steps.network)


class Steps:
    """The optimizer steps of a stack, through an epoch's batches; after the last one, the epoch starts over.

    On a GPU one step is recorded as a graph, which is then replayed: it reads its batch by a counter that it
    increments, so that no step waits for the CPU.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        data: Data,
        dtype: torch.dtype = torch.float32,
        initialized: Initialized = lambda cell, seconds, parameters: None,
    ) -> None:
        first = cells[0]
        self.network = Network(cells, data, dtype, initialized)
        if data.device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = first.precision != "float32"
        self.losses = torch.zeros(first.steps_per_epoch, len(self.network.cells), dtype=dtype, device=data.device)
        self._cells, self._data = cells, data
        self._buffers = PassBuffers(self.network, first.batch_size, training=True)
        self._rows = torch.zeros(first.steps_per_epoch, first.batch_size, dtype=torch.int64, device=data.device)
        # The learning rates of each step, or where no cell's change within an epoch, of the epoch: [steps, cells].
        self._has_step_rates = any(cell.has_step_rates for cell in cells)
        rates = first.steps_per_epoch if self._has_step_rates else 1
        self._rates = torch.zeros(rates, len(self.network.cells), dtype=dtype, device=data.device)
        self._counter = torch.zeros(1, dtype=torch.int64, device=data.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self.begin(1)

    def begin(self, epoch: int) -> None:
        """Set an epoch's order of the data and its learning rates."""
        first = self._cells[0]
        rows = streams.batch_rows(first.seed, epoch, first.train_size, first.batch_size)
        self._rows.copy_(torch.from_numpy(rows))
        cells = self.network.cells
        by_cell = [cell.step_rates(epoch) if self._has_step_rates else [cell.rate(epoch)] for cell in cells]
        self._rates.copy_(torch.tensor(by_cell, dtype=self._rates.dtype).T)
        self.network.set_rates(self._rates[0])
        self._restart()

    def _restart(self) -> None:
        self._done = 0
        self._counter.zero_()
        self._batches = self._data.batches(self._rows, self.network.n_common)

    def take(self, count: int) -> "Steps":
        """Take `count` optimizer steps; the losses before each are in its row of `losses`, `[steps, cells]`."""
        for _ in range(count):
            if self._done == len(self._rows):
                self._restart()
            if self._data.device.type == "cuda":
                self._take_recorded()
            else:
                if self._has_step_rates:
                    self.network.set_rates(self._rates[self._done])
                if self.network.skipping:
                    self._buffers.take_rows(self._rows[self._done])
                else:
                    self._buffers.take_batch(next(self._batches))
                self.network.step(self._buffers, self.losses[self._done])
            self._done += 1
        return self

    def _take_recorded(self) -> None:
        """Take a step by the recorded graph; the very first steps are not recorded, as CUDA graphs require."""
        if self._graph is None and self._done < STEPS_BEFORE_RECORDING:
            stream = _recording_stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self.counted_step()
            torch.cuda.current_stream().wait_stream(stream)
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=_recording_stream()):
                self.counted_step()
        self._graph.replay()

    def counted_step(self) -> None:
        """Take the counter's step and increment it: the same operations on the same arrays at every step."""
        rows = self._rows.index_select(0, self._counter).flatten()
        self._buffers.take_batch(self._data.batch(rows))
        if self._has_step_rates:
            self.network.set_rates(self._rates.index_select(0, self._counter).flatten())
        losses = torch.empty_like(self.losses[0])
        self.network.step(self._buffers, losses)
        self.losses.index_copy_(0, self._counter, losses.view(1, -1))
        self._counter.add_(1)

    def finish(self) -> "Steps":
        """Wait until the GPU has done the steps."""
        if self._data.device.type == "cuda":
            torch.cuda.synchronize()
        return self

    @property
    def numbers(self) -> list[Tensor]:
        """The weights of all layers, the last losses, and an evaluation, each `[cells, …]`."""
        evaluated = self.network.evaluate(self._data.validation[:2])
        return [array[: len(self._cells)] for array in (*self.network.weights, self.losses[self._done - 1], *evaluated)]


@cache
def _recording_stream() -> "torch.cuda.Stream":
    """Return the stream on which steps are recorded: the libraries keep workspaces for each stream."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def bits_hold(cells: Sequence[Cell], data: Data) -> bool:
    """Return whether, on this machine and these shapes, a cell's bits do not depend on its stack.

    Takes two steps and an evaluation of the whole stack, of each half, of its ends in reverse order, and of its last
    cell alone, and compares weights, losses and accuracies. Schemes of whole networks, which are computed cell by cell
    and may take longer than a training, are replaced by a fast one.
    """
    cells = [quickly_initialized(cell) for cell in cells]
    whole = Steps(cells, data).take(2).numbers
    middle = len(cells) // 2
    others = [range(middle), range(middle, len(cells)), [len(cells) - 1, 0], [len(cells) - 1]]
    for part in filter(len, others):
        numbers = Steps([cells[i] for i in part], data).take(2).numbers
        for array, other in zip(whole, numbers, strict=True):
            if not all(same_bits(array[i], other[k]) for k, i in enumerate(part)):
                return False
    return True


def quickly_initialized(cell: Cell) -> Cell:
    """Return the cell with a fast initializer in place of one that uses data or gradients, or of an own one.

    Its steps take as long.
    """
    slow = schemes.is_network_scheme(cell.initializer) or bool(digests_in(cell.initializer))
    return cell._replace(initializer="he_normal") if slow else cell


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Return whether two arrays have the same bits."""
    return left.detach().cpu().numpy().tobytes() == right.detach().cpu().numpy().tobytes()
