"""The stacked trainer: many cells as one program.

A stack's cells share their data, order, shapes and optimizer, so one product serves the first layers of all of them,
and one batched product each deeper layer. With N cells, batch B, and a layer of `in` inputs and `out` units:

- X is `[B, in]`, the batch; a first layer's weights are W `[N, out, in]`, flat `[N · out, in]`, and its pre-activations
  are W Xᵀ `[N, out, B]`, each cell a contiguous block. The columns of X are the pixels that are ever lit, then a one
  (so that this column of W is the bias), then zeros that make every cell's W a whole number of blocks.
- A deeper layer's input A is `[N, in, B]`, the rows the units below, then a one, then zeros.
- Activations and losses work on contiguous slices of cells that share them (`initbench.training.kernels`).

The contract is that a cell's bits do not depend on its stack. That holds when the elementwise blocks are multiples of
`kernels.BLOCK`, when a product has at least two cells, and when MKL was told `MKL_CBWR=AUTO,STRICT` before its first
product; `bits_hold` checks it on the shapes at hand.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import gcd
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initbench import streams
from initbench.cells import Cell
from initbench.datasets import Arrays
from initbench.training import kernels
from initbench.training.parameters import initial_parameters

Floats = NDArray[np.float64]


# How many images an evaluation takes at a time: four training batches' worth stay in the cache.
EVALUATION_BATCH = 512


def prepare_process() -> None:
    """Settings of torch that are part of the training semantics: one thread, and denormal numbers flushed to zero.

    Denormals (below 10⁻³⁸) change nothing that is measured, and slow a saturated network's products tenfold.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


class Data:
    """A data set as the trainer reads it: bytes of the pixels that are ever lit, and labels."""

    def __init__(self, arrays: Arrays) -> None:
        split = arrays.validation_size
        self.active = arrays.active_pixels
        self.classes = arrays.classes
        lit = torch.from_numpy(np.ascontiguousarray(arrays.train_images[:, self.active]))
        labels = torch.from_numpy(arrays.train_labels.astype(np.int64))
        self.train = lit[split:], labels[split:]
        self.validation = lit[:split], labels[:split]
        test = torch.from_numpy(np.ascontiguousarray(arrays.test_images[:, self.active]))
        self.test = test, torch.from_numpy(arrays.test_labels.astype(np.int64))
        self.pixels = arrays.train_images.shape[1]


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave, for each cell of the stack, in its order. Nothing is hidden: losses may be inf or NaN."""

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
) -> Iterator[Epoch]:
    """Train a stack: yields epoch 0, before training, then every epoch after it.

    `progress` is called with the number of epochs done, in fractions, several times an epoch.
    """
    first, count = cells[0], len(cells)
    network = _Network(cells, data, dtype)
    images, labels = data.train[0][: first.train_size], data.train[1][: first.train_size]
    batch = _Batch(first.batch_size, network, data)

    def evaluated() -> list[Floats]:
        splits = (data.validation, data.test)
        return [values[:count].double().numpy() for split in splits for values in network.evaluate(*split)]

    yield Epoch(0, np.empty((0, count)), *evaluated())
    for epoch in range(1, first.epochs + 1):
        order = torch.from_numpy(streams.order(first.seed, epoch, len(images)))
        rates = torch.tensor([cell.rate(epoch) for cell in network.cells], dtype=dtype).view(-1, 1, 1)
        losses = torch.empty(first.steps_per_epoch, len(network.cells), dtype=dtype)
        for step in range(first.steps_per_epoch):
            batch.fill(images, labels, order[step * first.batch_size : (step + 1) * first.batch_size])
            network.step(batch, rates, losses[step])
            if step % 64 == 63:
                progress(epoch - 1 + step / first.steps_per_epoch)
        progress(epoch)
        yield Epoch(epoch, losses[:, :count].double().numpy(), *evaluated())


class Steps:
    """Single steps of a stack over its first epoch's batches, again and again: to check bits, and to measure time."""

    def __init__(self, cells: Sequence[Cell], data: Data) -> None:
        self._network = _Network(cells, data, torch.float32)
        self._batch = _Batch(cells[0].batch_size, self._network, data)
        self._images = data.train
        self._rates = torch.tensor([cell.rate(1) for cell in self._network.cells]).view(-1, 1, 1)
        self._losses = torch.empty(len(self._network.cells))
        order = torch.from_numpy(streams.order(cells[0].seed, 1, cells[0].train_size))
        self._rows = order[: cells[0].steps_per_epoch * cells[0].batch_size].view(-1, cells[0].batch_size)
        self._done = 0
        self._count = len(cells)

    def take(self, count: int) -> "Steps":
        """Take so many optimizer steps."""
        for step in range(self._done, self._done + count):
            self._batch.fill(*self._images, self._rows[step % len(self._rows)])
            self._network.step(self._batch, self._rates, self._losses)
        self._done += count
        return self

    @property
    def numbers(self) -> list[Tensor]:
        """What came out so far, each `[cells, …]`: the weights of all layers, the last losses, and an evaluation."""
        images, labels = self._images
        evaluated = self._network.evaluate(images[:600], labels[:600])
        return [array[: self._count] for array in (*self._network.W, self._losses, *evaluated)]


def bits_hold(cells: Sequence[Cell], data: Data) -> bool:
    """Whether, on this machine and these shapes, a cell's bits are the same in other stacks than this one.

    Takes two steps and an evaluation of the whole stack, of each half, of its ends in reverse order, and of its last
    cell alone, and compares weights, losses and accuracies.
    """
    whole = Steps(cells, data).take(2).numbers
    middle = len(cells) // 2
    others = [range(middle), range(middle, len(cells)), [len(cells) - 1, 0], [len(cells) - 1]]
    for part in filter(len, others):
        numbers = Steps([cells[i] for i in part], data).take(2).numbers
        for array, other in zip(whole, numbers, strict=True):
            if not all(_same_bits(array[i], other[k]) for k, i in enumerate(part)):
                return False
    return True


def _same_bits(left: Tensor, right: Tensor) -> bool:
    return left.numpy().tobytes() == right.numpy().tobytes()


def _padded(inputs: int, out: int) -> int:
    """The columns of a weight matrix: its inputs and a one, padded so that a cell's weights are whole blocks."""
    columns = -(-(inputs + 1) // 8) * 8
    while out * columns % kernels.BLOCK:
        columns += 8
    return columns


class _Batch:
    """The buffers of a batch: X `[padded size, columns]`, the one-hot target `[classes, padded size]`, the labels.

    Rows beyond the images of the batch are zero throughout, their ones included.
    """

    def __init__(self, size: int, network: "_Network", data: Data) -> None:
        # Padded so that a cell's block [width, batch] is a multiple of kernels.BLOCK in every layer.
        step = max(kernels.BLOCK // gcd(kernels.BLOCK, width) for width in network.widths)
        self.size, self.padded = size, -(-size // step) * step
        self.lit = len(data.active)
        self.X = torch.zeros(self.padded, network.W[0].shape[2], dtype=network.dtype)
        self.labels = torch.zeros(self.padded, dtype=torch.int64)
        self.one_hot = torch.eye(data.classes, dtype=network.dtype)
        self.target = torch.zeros(data.classes, self.padded, dtype=network.dtype)

    def fill(self, images: Tensor, labels: Tensor, rows: Tensor | slice) -> None:
        """Take these rows of a data set: images scaled to [0, 1], labels one-hot."""
        taken = images[rows] if isinstance(rows, slice) else images.index_select(0, rows)
        n = len(taken)
        self.size = n
        self.X[:n, : self.lit].copy_(taken).div_(255)
        self.X[:n, self.lit] = 1
        self.X[n:].zero_()
        self.labels[:n] = labels[rows]
        self.labels[n:].zero_()
        torch.index_select(self.one_hot, 1, self.labels, out=self.target)


@dataclass(frozen=True)
class _Slice:
    """Cells `start` to `stop` of a stack, which share a function of a layer."""

    start: int
    stop: int
    functions: Any


class _Network:
    """The weights of a stack, and what can be done with them."""

    def __init__(self, cells: Sequence[Cell], data: Data, dtype: torch.dtype) -> None:
        # A stack of one is padded with itself: a product of a single cell may take another path, with other bits.
        self.cells = [*cells, cells[0]] if len(cells) == 1 else list(cells)
        layers = cells[0].layers(data.pixels, data.classes)
        self.widths = [out for _, out in layers]
        self.dtype = dtype
        inputs = [len(data.active), *self.widths[:-1]]
        self.W = [
            torch.zeros(len(self.cells), out, _padded(n, out), dtype=dtype)
            for n, out in zip(inputs, self.widths, strict=True)
        ]
        numpy_dtype = str(dtype).removeprefix("torch.")
        for n, cell in enumerate(self.cells):
            for layer, (weights, bias) in enumerate(initial_parameters(cell, layers, numpy_dtype)):
                used = weights[data.active] if layer == 0 else weights
                self.W[layer][n, :, : len(used)] = torch.from_numpy(np.ascontiguousarray(used.T))
                self.W[layer][n, :, len(used)] = torch.from_numpy(bias)
        self.updates = [kernels.optimizer(cells[0].optimizer)() for _ in layers]
        self.hidden = [
            _Slice(i, j, kernels.activation(name)) for i, j, name in _runs([c.activation for c in self.cells])
        ]
        self.output = [
            _Slice(i, j, _output_functions(*pair))
            for i, j, pair in _runs([(c.output_activation, c.loss) for c in self.cells])
        ]
        self._inputs: dict[int, list[Tensor]] = {}
        self._data = data

    def inputs(self, batch: int) -> list[Tensor]:
        """Buffers for the inputs of the layers above the first, `[cells, in padded, batch]`, their ones in place."""
        if batch not in self._inputs:
            made = []
            for W, width in zip(self.W[1:], self.widths[:-1], strict=True):
                A = torch.zeros(len(self.cells), W.shape[2], batch, dtype=self.dtype)
                A[:, width] = 1
                made.append(A)
            self._inputs[batch] = made
        return self._inputs[batch]

    def forward(self, batch: _Batch) -> list[Tensor]:
        """The pre-activations of every layer, `[cells, width, batch]`; the inputs' buffers are filled on the way."""
        Z = [kernels.product(self.W[0], batch.X.t())]
        for W, A, width in zip(self.W[1:], self.inputs(batch.padded), self.widths[:-1], strict=True):
            for s in self.hidden:
                A[s.start : s.stop, :width] = s.functions[0](Z[-1][s.start : s.stop])
            Z.append(torch.bmm(W, A))
        return Z

    def step(self, batch: _Batch, rates: Tensor, losses: Tensor) -> None:
        """One optimizer step on a batch; the losses before it are written to `losses` `[cells]`."""
        Z = self.forward(batch)
        inputs = self.inputs(batch.padded)
        G, image_losses = (
            torch.empty_like(Z[-1]),
            torch.empty(len(self.cells), batch.padded, dtype=self.dtype),
        )
        for s in self.output:
            cells = slice(s.start, s.stop)
            _, image_losses[cells], G[cells] = s.functions(Z[-1][cells], batch.target, batch.labels)
        torch.mean(image_losses[:, : batch.size], 1, out=losses)
        G /= batch.size
        G[:, :, batch.size :] = 0
        for layer in range(len(self.W) - 1, 0, -1):
            A, width = inputs[layer - 1], self.widths[layer - 1]
            below = torch.bmm(self.W[layer][:, :, :width].transpose(1, 2), G)
            self.updates[layer](self.W[layer], G, A, rates)
            G = torch.empty_like(below)
            for s in self.hidden:
                cells = slice(s.start, s.stop)
                G[cells] = s.functions[1](below[cells], Z[layer - 1][cells], A[cells, :width])
        self.updates[0](self.W[0], G, batch.X.t(), rates)

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy on a split, each `[cells]`, float64."""
        batch = _Batch(EVALUATION_BATCH, self, self._data)
        image_losses = torch.empty(len(self.cells), batch.padded, dtype=self.dtype)
        loss = torch.zeros(len(self.cells), dtype=torch.float64)
        correct = torch.zeros(len(self.cells), dtype=torch.int64)
        for start in range(0, len(images), EVALUATION_BATCH):
            batch.fill(images, labels, slice(start, min(start + EVALUATION_BATCH, len(images))))
            Z = self.forward(batch)[-1]
            for s in self.output:
                cells = slice(s.start, s.stop)
                output, image_losses[cells], _ = s.functions(Z[cells], batch.target, batch.labels)
                right = output.argmax(1) == batch.labels
                correct[cells] += right[:, : batch.size].sum(1)
            loss += image_losses[:, : batch.size].sum(1, dtype=torch.float64)
        return loss / len(images), correct.double() / len(images)


def _output_functions(activation: str, loss: str) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Pre-activations, target, labels -> the output, the loss of each image, and the gradient at the pre-activations.

    Softmax meets cross-entropy once, in its stable form, from the pre-activations.
    """
    value = kernels.loss(loss)
    if activation == "softmax" and loss == "cross_entropy":
        activation = "identity"
    forward, backward = kernels.activation(activation)

    def function(z: Tensor, target: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output = forward(z)
        losses, gradient = value(output, target, labels)
        return output, losses, backward(gradient, z, output)

    return function


def _runs(names: Sequence[Any]) -> list[tuple[int, int, Any]]:
    """Runs of equal neighbours: `(start, stop, name)`."""
    found = []
    at = 0
    for name, group in groupby(names):
        length = len(list(group))
        found.append((at, at + length, name))
        at += length
    return found
