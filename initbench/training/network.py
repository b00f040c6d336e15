"""The network of a stack: the weights of many cells, and one pass of a batch through all of them.

With N cells, batch B, and a layer of `in` inputs and `out` units:

- X is `[B, 1 + in]`, the batch: a column for the bias, then the pixels: 255 times what networks read, so bytes as they
  are. A first layer's weights are W `[1 + in, N · out]`, the biases their first row, and its pre-activations are
  Wᵀ Xᵀ / 255 `[N, out, B]`, each cell a contiguous block. (The product divides, which saves a pass over X.) Only the
  pixels that the batch lights take part (`initbench.training.data`).
- A deeper layer's weights are `[N, out, in padded]` and its input A is `[N, in padded, B]`, the rows the units below,
  then a one (so that this column of W is the bias), then zeros that make every cell's W a multiple of a block.
- Activations and losses work on contiguous slices of cells that share them (`initbench.training.kernels`).

The contract is that a cell's bits do not depend on its stack. That holds when the elementwise blocks are multiples of
`kernels.BLOCK`, when a product has at least two cells, and when `MKL_CBWR=AUTO,STRICT` is set before MKL's
first product; `initbench.training.stack.bits_hold` checks it on the shapes at hand.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from math import gcd

import numpy as np
import torch
from torch import Tensor

from initbench.data.arrays import WHITE
from initbench.functions.losses import computed_output
from initbench.functions.optimizers import OPTIMIZERS
from initbench.initializers.model import Parameters
from initbench.models.architecture import EVALUATION_BATCH
from initbench.spec.cell import Cell
from initbench.training import kernels, skipping
from initbench.training.data import Batch, Block, Data
from initbench.training.parameters import Initialized, initial_parameters
from initbench.training.updates import Updates

BIAS = 1  # the column of X that stands before the pixels', and the row of W
CACHE_LINE = 16  # numbers


class Network:
    """The weights of a stack, its training steps and its evaluation.

    On a CPU only the pixels that are nonzero in the batch take part in the products: the weights of the rare ones among
    them are copied behind those of the common ones for the step. Plain gradient descent changes no other weights. Other
    optimizers do, since momentum moves weights without a gradient: they update the rare pixels' weights where they are.
    A GPU requires the same shapes at every step: there all pixels are common.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        data: Data,
        dtype: torch.dtype,
        initialized: Initialized = lambda cell, seconds, parameters: None,
    ) -> None:
        # A stack of one is padded with itself: a product of a single cell may take another path, with other bits.
        self.cells = [*cells, cells[0]] if len(cells) == 1 else list(cells)
        self._count = len(cells)  # without the padding
        first, count = cells[0], len(self.cells)
        layers = first.layers(data.pixels, data.classes)
        self.data, self.dtype, self.device = data, dtype, data.device
        self.widths = [out for _, out in layers]
        optimizer, parameters = OPTIMIZERS.lookup(first.optimizer)
        self.is_plain_sgd = optimizer.is_plain_sgd(**parameters)
        self.operand = kernels.operand(first.precision, self.device)
        lit = len(data.lit)
        self.n_common = data.n_common(first.batch_size) if self.device.type == "cpu" else lit
        # The first layer: rows for the bias, the common pixels, and all rare ones.
        columns = count * self.widths[0]
        self.skipping = skipping.layer(first, data, dtype, columns)
        if self.skipping:  # it has the weights instead
            self.n_common = lit
        # Rows that lie a large power of two apart map to the same cache sets: then the product takes 1.2 times as long.
        self._apart = columns + (CACHE_LINE if columns % 128 == 0 else 0)
        spaced = self.spaced(0 if self.skipping else BIAS + lit), self.spaced(lit - self.n_common)
        self.first, self.rare = (W[:, :columns] for W in spaced)
        self.deeper = [
            self.zeros(count, out, _padded(below, out))
            for below, out in zip(self.widths[:-1], self.widths[1:], strict=True)
        ]
        self._start(layers, initialized)
        self.updates = None
        if not self.is_plain_sgd:  # of each deeper layer, and of the first one's tiles or common and rare pixels
            arrays = [spaced[0][: BIAS + self.n_common], spaced[1]]
            if self.skipping:
                arrays = [self.skipping.tiles.view(len(self.skipping.tiles), -1)]
            self.updates = Updates(first.optimizer, [*(W.view(count, -1) for W in self.deeper), *arrays])
        self.rates, self._rates_by_column = self.zeros(count, 1), self.spaced(1)
        losses = [kernels.loss(c.loss, data.classes) for c in self.cells]
        self.value_factors = torch.tensor([loss.value_factor for loss in losses], dtype=dtype, device=self.device)
        # The factors of a gradient at the output: the loss's, the mean over the batch, and, in plain gradient
        # descent, the learning rate, for all layers at once.
        factors = torch.tensor([loss.gradient_factor for loss in losses], dtype=dtype) / first.batch_size
        self._gradient_factors = factors.to(self.device)
        self.factors = self._gradient_factors.view(-1, 1, 1).clone()
        self._evaluations: dict[int, PassBuffers] = {}

    def zeros(self, *shape: int) -> Tensor:
        """Return zeros of this shape, with the network's type and device."""
        return torch.zeros(*shape, dtype=self.dtype, device=self.device)

    def spaced(self, rows: int) -> Tensor:
        """Return zeros for rows of the first layer's weights, with what is between them."""
        return self.zeros(rows, self._apart)

    def _start(self, layers: Sequence[tuple[int, int]], initialized: Initialized) -> None:
        """Set the cells' initial parameters, which are always computed on the CPU.

        `initialized` is called with each cell, the seconds that it took, and its parameters.
        """
        dtype = str(self.dtype).removeprefix("torch.")
        arrays = [torch.zeros(array.shape, dtype=self.dtype) for array in (self.first, self.rare, *self.deeper)]
        if self.skipping:
            arrays[0] = torch.zeros(BIAS + len(self.data.lit), arrays[0].shape[1])
        width, end = self.widths[0], BIAS + self.n_common
        for n, cell in enumerate(self.cells):
            if n < self._count:
                begin = time.perf_counter()
                parameters = initial_parameters(cell, tuple(layers), self.data.read, dtype)
                initialized(cell, time.perf_counter() - begin, parameters)
            (weights, bias), *others = parameters
            columns = slice(n * width, (n + 1) * width)
            lit = torch.from_numpy(weights[self.data.lit])
            arrays[0][0, columns] = torch.from_numpy(bias)
            arrays[0][BIAS:end, columns] = lit[: self.n_common]
            arrays[1][:, columns] = lit[self.n_common :]
            for array, (weights, bias) in zip(arrays[2:], others, strict=True):
                array[n, :, : len(weights)] = torch.from_numpy(np.ascontiguousarray(weights.T))
                array[n, :, len(weights)] = torch.from_numpy(bias)
        if self.skipping:
            self.skipping.weights, arrays[0] = arrays[0], arrays[0][:0]
        for array, start in zip((self.first, self.rare, *self.deeper), arrays, strict=True):
            array.copy_(start)

    @property
    def multiple(self) -> int:
        """The multiple to which the images of a pass are padded, so that a cell's block is whole in every layer."""
        least = self.skipping.products.CHUNK if self.skipping else 1
        return max(least, *(kernels.BLOCK // gcd(kernels.BLOCK, width) for width in self.widths))

    def set_rates(self, rates: Tensor) -> None:
        """Set the cells' learning rates, `[cells]`."""
        if self.is_plain_sgd:
            torch.mul(self._gradient_factors, rates, out=self.factors.view(-1))
            return
        self.rates.copy_(rates.view(-1, 1))
        by_column = self._rates_by_column[:, : self.first.shape[1]]
        by_column.view(len(rates), -1).copy_(self.rates)
        if self.skipping:
            self._rates_by_tile = self.skipping.by_tile(by_column[0])

    @property
    def weights(self) -> list[Tensor]:
        """The weights of all layers, `[cells, …]`: of the first, the bias and the pixels in the order of the data."""
        whole = self._whole_first()
        return [whole.view(len(whole), len(self.cells), -1).transpose(0, 1), *self.deeper]

    def parameters(self, starts: Sequence[Parameters]) -> Iterator[Parameters]:
        """Yield of each cell the weights `[fan_in, fan_out]` and the bias of each layer.

        Those of pixels that are never lit stay as they are in the cells' initial parameters, `starts`.
        """
        first, *deeper = (array.cpu().numpy() for array in self.weights)
        for n, start in enumerate(starts):
            W = start[0][0].copy()
            W[self.data.lit] = first[n, BIAS:]
            layers = [(W, first[n, 0].copy())]
            for array, below in zip(deeper, self.widths[:-1], strict=True):
                layers.append((np.ascontiguousarray(array[n, :, :below].T), array[n, :, below].copy()))
            yield layers

    def _whole_first(self) -> Tensor:
        if self.skipping:
            return self.skipping.weights
        return torch.cat([self.first[: BIAS + self.n_common], self.rare])

    def step(self, buffers: "PassBuffers", losses: Tensor) -> None:
        """Take one optimizer step on the batch in these buffers; writes the losses before it to `losses` `[cells]`."""
        start, rows = BIAS + self.n_common, BIAS + self.n_common + len(buffers.rare_indices)
        W, X = self.first[:rows], self.operand(buffers.X[:, :rows])
        if len(buffers.rare_indices):
            # The weights of the rare pixels that are nonzero in the batch go behind those of the common ones.
            rare_rows = self.first.numpy()[start:rows]
            np.take(self.rare.numpy(), buffers.rare_indices, axis=0, out=rare_rows, mode="clip")
        self._forward(buffers, W, X)
        buffers.call(buffers.losses)
        torch.sum(buffers.seen, (1, 2), out=losses)
        losses.mul_(self.value_factors).div_(buffers.size)
        buffers.call(buffers.output_gradients)
        if self.updates:
            self.updates.begin()
        G = buffers.G[-1].mul_(self.factors)
        if buffers.size < buffers.padded:
            G[:, :, buffers.size :] = 0
        for layer in range(len(self.deeper), 0, -1):
            W_here, width = self.deeper[layer - 1], self.widths[layer - 1]
            G, A = self.operand(buffers.G[layer]), self.operand(buffers.A[layer - 1]).transpose(1, 2)
            torch.bmm(self.operand(W_here)[:, :, :width].transpose(1, 2), G, out=buffers.G[layer - 1])
            if self.updates is None:
                # W −= lr · G Aᵀ, the product accumulating straight into W with the rates folded into the small G: the
                # gradient, as large as W itself, is never stored.
                W_here.baddbmm_(G, A, alpha=-1)
            else:
                self.updates.update(layer - 1, torch.bmm(G, A).view(len(G), -1), self.rates)
            buffers.call(buffers.gradients[layer - 1])
        G = self.operand(buffers.G[0].view(-1, buffers.padded)).t()
        if self.skipping and buffers.lists:
            self._step_tiles(buffers.lists, G.t(), self.skipping)
        elif self.updates is None:
            W.addmm_(X.t(), G, alpha=-1 / WHITE)
            if len(buffers.rare_indices):
                self.rare.numpy()[buffers.rare_indices] = rare_rows
        else:
            gradient = buffers.gradient[:rows, : self.first.shape[1]]
            torch.addmm(gradient, X.t(), G, beta=0, alpha=1 / WHITE, out=gradient)
            self.updates.update(len(self.deeper), buffers.gradient[:start], self._rates_by_column)
            if len(self.rare):
                slots = np.full(len(self.rare), len(buffers.gradient) - 1)  # a row of zeros
                slots[buffers.rare_indices] = np.arange(start, rows)
                self.updates.update(len(self.deeper) + 1, buffers.gradient, self._rates_by_column, slots)

    def _step_tiles(self, lists: skipping.Lists, G: Tensor, layer: skipping.Layer) -> None:
        """Update the tiles of the first layer, from G `[columns, images]`."""
        if self.updates is None:
            layer.descend(lists, G)
            return
        arrays = *lists.by_pixel, lists.tile, G.numpy()
        self.updates.update_tiles(len(self.deeper), layer.products, arrays, layer.gradient, self._rates_by_tile)

    def _forward(self, buffers: "PassBuffers", W: Tensor, X: Tensor) -> None:
        """Compute the outputs of all cells, from the first layer's weights and the batch, into the buffers."""
        Z = buffers.Z[0].view(-1, buffers.padded)
        if self.skipping and buffers.lists:
            self.skipping.forward(buffers.lists, Z)
        else:
            torch.addmm(Z, self.operand(W).t(), X.t(), beta=0, alpha=1 / WHITE, out=Z)
        for layer, W_here in enumerate(self.deeper):
            buffers.call(buffers.activations[layer])
            torch.bmm(self.operand(W_here), self.operand(buffers.A[layer]), out=buffers.Z[layer + 1])
        buffers.call(buffers.outputs)

    def evaluate(self, blocks: Sequence[Block]) -> tuple[Tensor, Tensor]:
        """Return the mean loss and accuracy on a split, each `[cells]`, float64."""
        whole = self.first if self.skipping else self._whole_first()
        loss = torch.zeros(len(self.cells), dtype=torch.float64, device=self.device)
        right = torch.zeros(len(self.cells), dtype=torch.int64, device=self.device)
        for block in blocks:
            size = min(EVALUATION_BATCH, -(-len(block.images) // self.multiple) * self.multiple)
            if size not in self._evaluations:
                self._evaluations[size] = PassBuffers(self, size, training=False)
            buffers = self._evaluations[size]
            rows = buffers.take_block(block)
            W = self.first if self.skipping else whole.index_select(0, rows)
            self._forward(buffers, W, self.operand(buffers.X[:, : len(rows)]))
            buffers.call(buffers.losses)
            loss += buffers.seen.sum((1, 2))
            right += buffers.correct()
        images = sum(len(block.images) for block in blocks)
        return loss.mul_(self.value_factors) / images, right.double() / images


class PassBuffers:
    """The buffers of a pass of `size` images through a network, to train or to evaluate.

    X `[padded, 1 + lit]`; the one-hot target `[classes, padded]`, the labels; of each layer the pre-activations Z and
    their gradient G `[cells, width, padded]`; the inputs A of the layers above the first; the outputs, and the losses
    by class. Rows of X beyond the images of the batch are zero.

    The functions of the slices are bound to the buffers once: a slice costs as much as a small operation.
    """

    def __init__(self, network: Network, size: int, training: bool) -> None:
        n, data = len(network.cells), network.data
        self._data, self.size = data, size
        self.padded = padded = -(-size // network.multiple) * network.multiple
        self.X = network.zeros(padded, BIAS + (0 if network.skipping else len(data.lit)))
        self.lists = skipping.Lists(network.skipping, padded) if network.skipping else None
        self.X[:size, 0] = WHITE
        self.labels = torch.zeros(padded, dtype=torch.int64, device=network.device)
        self.one_hot = torch.eye(data.classes, dtype=network.dtype, device=network.device)
        self.target = network.zeros(data.classes, padded)
        self.Z = [network.zeros(n, width, padded) for width in network.widths]
        self.G = [network.zeros(n, width, padded) for width in network.widths[0 if training else -1 :]]
        self.A = []
        for W, width in zip(network.deeper, network.widths[:-1], strict=True):
            A = network.zeros(n, W.shape[2], padded)
            A[:, width] = 1
            self.A.append(A)
        at_output = [computed_output(c.loss, c.output_activation) for c in network.cells]
        self.output = self.Z[-1] if set(at_output) == {"identity"} else torch.zeros_like(self.Z[-1])
        self.values = torch.zeros_like(self.Z[-1])
        # The gradient of the first layer's weights of the pixels that are nonzero in the batch, and a row of zeros.
        dense = training and network.updates and not network.skipping
        self.gradient = network.spaced(BIAS + len(data.lit) + 1) if dense else network.zeros(0)
        # Of dense images, X is 255 · (x / white − mean) / deviation, as the product divides by 255.
        white, mean, deviation = data.reading
        self._shift, self._scale = (
            torch.from_numpy(values).to(network.device, network.dtype)
            for values in (white * mean, WHITE / (white * deviation))
        )
        self.rare_indices = np.empty(0, dtype=np.int64)  # of the rare pixels that are nonzero in the batch
        # Added to the outputs, keeps those of the classes before an image's own: the others become −∞.
        j = torch.arange(data.classes)
        before = torch.zeros(data.classes, data.classes).masked_fill(j[:, None] >= j[None, :], -torch.inf)
        self._before = before.to(network.dtype).to(network.device)

        hidden = [(cells, kernels.activation(name)) for cells, name in _slices([c.activation for c in network.cells])]
        ends = [(cells, kernels.activation(name)) for cells, name in _slices(at_output)]
        losses = [(cells, kernels.loss(name, data.classes)) for cells, name in _slices([c.loss for c in network.cells])]
        below = [A[:, :width] for A, width in zip(self.A, network.widths[:-1], strict=True)]
        self.activations = [
            [partial(forward, Z[cells], A[cells]) for cells, (forward, _) in hidden]
            for Z, A in zip(self.Z[:-1], below, strict=True)
        ]
        self.outputs = [partial(forward, self.Z[-1][cells], self.output[cells]) for cells, (forward, _) in ends]
        self.losses = [
            partial(
                loss.function,
                *(self.output[cells], self.target, self.labels, self.G[-1][cells], self.values[cells]),
            )
            for cells, loss in losses
        ]
        self.output_gradients = [
            partial(backward, self.G[-1][cells], self.Z[-1][cells], self.output[cells]) for cells, (_, backward) in ends
        ]
        self.gradients = [
            [partial(backward, G[cells], Z[cells], A[cells]) for cells, (_, backward) in hidden]
            for G, Z, A in zip(self.G[:-1], self.Z[:-1], below, strict=training)
        ]

    def call(self, functions: Sequence[Callable[[], object]]) -> None:
        """Call functions that are bound to these buffers, one for each slice."""
        for function in functions:
            function()

    @property
    def seen(self) -> Tensor:
        """The losses of the images of the batch, by class: `values` without the padding."""
        return self.values if self.size == self.padded else self.values[:, :, : self.size]

    def take_batch(self, batch: Batch) -> None:
        """Copy a batch of training images to the buffers; always `size` of them."""
        n_common = batch.common_images.shape[1]
        self._take_images(batch.common_images)
        self.rare_indices = batch.rare_indices
        if len(self.rare_indices):
            self.X[: self.size, BIAS + n_common : BIAS + n_common + len(self.rare_indices)].copy_(batch.rare_images)
        self._take_labels(batch.labels)

    def take_rows(self, rows: Tensor) -> None:
        """Take a batch of training images by their rows, for products that skip dark pixels."""
        assert self.lists
        self.lists.take(self._data.images.numpy(), rows.numpy())
        self._take_labels(self._data.labels.index_select(0, rows))

    def take_block(self, block: Block) -> Tensor:
        """Copy images to evaluate to the buffers; returns the rows of the first layer's weights that they need."""
        self.size = len(block.images)
        if self.lists:
            self.lists.take_block(block)
            self._take_labels(block.labels)
            return block.pixels[:0]
        self.X[: self.size, 0] = WHITE
        self._take_images(block.images)
        self.X[self.size :].zero_()
        self._take_labels(block.labels)
        bias = torch.zeros(1, dtype=torch.int64, device=self._data.device)
        return torch.cat([bias, block.pixels + BIAS])

    def _take_images(self, images: Tensor) -> None:
        pixels = self.X[: self.size, BIAS : BIAS + images.shape[1]].copy_(images)
        if self._data.is_dense:
            pixels.sub_(self._shift).mul_(self._scale)

    def _take_labels(self, labels: Tensor) -> None:
        self.labels[: self.size] = labels
        torch.index_select(self.one_hot, 1, self.labels, out=self.target)

    def correct(self) -> Tensor:
        """Return how many images each cell classifies correctly, `[cells]`; of equal outputs the first one counts.

        This equals `argmax(1) == labels`, which takes ten times as long.
        """
        own = self.output.gather(1, self.labels.expand(len(self.output), 1, -1)).squeeze(1)
        before = torch.add(self.output, self._before.index_select(1, self.labels), out=self.values).amax(1)
        right = (own == self.output.amax(1)) & (own > before)
        return right[:, : self.size].sum(1)


def _padded(inputs: int, out: int) -> int:
    """Return the columns of a weight matrix: its inputs and a one, padded so that a cell's weights are whole blocks."""
    columns = -(-(inputs + 1) // 8) * 8
    while out * columns % kernels.BLOCK:
        columns += 8
    return columns


def _slices(names: Sequence[str]) -> list[tuple[slice, str]]:
    """Return the slices of equal neighbours, each with its name."""
    slices = []
    at = 0
    for name, group in groupby(names):
        length = len(list(group))
        slices.append((slice(at, at + length), name))
        at += length
    return slices
