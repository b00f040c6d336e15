"""The first layer of a stack with products that skip an image's dark pixels, in place of the batch's alone.

Four fifths of an image of MNIST are dark, and a batch of 128 lights two thirds of all pixels. Compiled products
(`initbench.training.products`) take half the time of a library's dense ones. They serve float32 on a CPU, for images
that are dark enough, and for cells long enough to be worth loading numba. These rules look at one cell alone, so that
its bits depend neither on its stack nor on its experiment. Where numba cannot be used, these cells take dense products,
which round differently, as another processor's do.
"""

from functools import cache, cached_property
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initbench.data.arrays import WHITE
from initbench.functions.optimizers import OPTIMIZERS
from initbench.models.architecture import EVALUATION_BATCH
from initbench.spec.cell import Cell
from initbench.system import compiled
from initbench.training.data import Block, Data

# Operations of a cell's training in the first layer: below, loading numba takes a worker longer than it saves. A worker
# loads it in 0.7 s, which it saves, at 1 epoch of 784-10 (2**31), with about a hundred cells (measured).
WORTH = 2**32

# Of the pixels that are ever lit, the share that an image lights (of MNIST's 23%): above, dense products are as fast.
MAX_SHARE = 0.6

VALUES = (np.arange(WHITE + 1) / WHITE).astype(np.float32)  # what networks read of a byte


def form(device: str) -> str:
    """Return "compiled" or "dense": the products that this process computes, or would compute, on a device."""
    failed = bool(products.cache_info().currsize) and products() is None
    return "compiled" if device == "cpu" and compiled.available() and not failed else "dense"


@cache
def products() -> ModuleType | None:
    """Return the compiled products, each of them called once, or None where numba cannot be used."""
    try:
        from initbench.training import products as module

        layer = Layer(module, 8, 8)
        lists = Lists(layer, 8)
        lists.take(np.zeros((1, 8), np.uint8), np.zeros(8, np.int64))
        layer.forward(lists, torch.zeros(8, 8))
        layer.descend(lists, torch.zeros(8, 8))
    except ModuleNotFoundError:  # numba is not installed, or switched off
        return None
    except Exception as error:  # such as an unsupported version of NumPy or Python
        why = " ".join(str(error).split())[:200]
        compiled.note(
            f"products are not compiled, which takes longer and rounds differently ({type(error).__name__}: {why})"
        )
        return None
    return module


def serves(cell: Cell, data: Data, dtype: torch.dtype = torch.float32) -> bool:
    """Return whether the first layer of a cell takes these products, where numba can be used."""
    units = cell.layers(data.pixels, data.classes)[0][1]
    return (
        4 * cell.epochs * cell.train_size * len(data.lit) * units >= WORTH
        and (cell.precision, dtype, data.device.type) == ("float32", torch.float32, "cpu")
        and not data.is_dense
        and data.lit_share <= MAX_SHARE
    )


def layer(cell: Cell, data: Data, dtype: torch.dtype, columns: int) -> "Layer | None":
    """Return the first layer of a stack of cells like this one, or None where its products are dense."""
    module = products() if serves(cell, data, dtype) else None
    if not module:
        return None
    optimizer, parameters = OPTIMIZERS.lookup(cell.optimizer)
    return Layer(module, len(data.lit), columns, optimizer.is_plain_sgd(**parameters))


class ByImage(NamedTuple):
    """The pixels that images light: where the list of each few images ends, the places of weights, and values."""

    ends: NDArray[np.int64]
    places: NDArray[np.int32]
    x: NDArray[np.float32]


class Layer:
    """The weights of the first layer, `[tiles, rows, TILE]`: a row for the bias, and one for each pixel."""

    def __init__(self, products: Any, pixels: int, columns: int, is_plain_sgd: bool = True) -> None:
        self.products, self._pixels, self._columns = products, pixels, columns
        # What a gradient multiplies: plain gradient descent subtracts it from the weights at once.
        self.values = -VALUES if is_plain_sgd else VALUES
        tile, chunk = products.TILE, products.CHUNK
        self.width = -(-pixels // chunk) * chunk  # of a batch in bytes
        self.tiles = torch.zeros(-(-columns // tile), 1 + self.width, tile)
        self.gradient = torch.zeros(self.tiles.shape[1:])  # of a tile

    @property
    def weights(self) -> Tensor:
        """A copy of the weights, `[1 + pixels, columns]`."""
        whole = self.tiles.transpose(0, 1).reshape(self.tiles.shape[1], -1)
        return whole[: 1 + self._pixels, : self._columns]

    @weights.setter
    def weights(self, weights: Tensor) -> None:
        whole = torch.zeros(self.tiles.shape[1], len(self.tiles) * self.tiles.shape[2])
        whole[: len(weights), : self._columns] = weights
        self.tiles.copy_(whole.view(len(whole), len(self.tiles), -1).transpose(0, 1))

    def forward(self, lists: "Lists", Z: Tensor) -> None:
        """Write the pre-activations to Z, `[columns, images]`."""
        self.products.forward(self.tiles.numpy(), *lists.by_image, lists.tile, Z.numpy())

    def descend(self, lists: "Lists", G: Tensor) -> None:
        """Subtract the gradient of the weights, from G `[columns, images]` at the pre-activations."""
        self.products.descend(self.tiles.numpy(), *lists.by_pixel, lists.tile, G.numpy())

    def by_tile(self, columns: Tensor) -> Tensor:
        """Return a value of each column as `[tiles, TILE]`."""
        padded = torch.zeros(len(self.tiles) * self.tiles.shape[2])
        padded[: len(columns)] = columns
        return padded.view(len(self.tiles), -1)


class Lists:
    """The lists of the lit pixels of a batch of `size` images, a multiple of eight.

    What only batches of training images need is allocated for the first of them.
    """

    def __init__(self, layer: Layer, size: int) -> None:
        self._products, self._values = layer.products, layer.values
        self._size, self._width = size, layer.width
        self._row_of = np.arange(1, 1 + layer.width)
        self.tile = np.empty((size, layer.products.TILE), np.float32)

    @cached_property
    def _batch(self) -> NDArray[np.uint8]:
        return np.zeros((self._size, self._width), np.uint8)

    @cached_property
    def by_image(self) -> ByImage:
        """The pixels that images light; of evaluated images, those of their block."""
        return self._of_images(self._size, self._width)

    @cached_property
    def by_pixel(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """The images that light each two pixels: how many, the places of their gradients, and values."""
        pairs, entries = self._width // 2, self._size + 1  # one more: what is written there is not counted
        return (
            np.zeros(pairs, np.int64),
            np.zeros((pairs, entries), np.int32),
            np.zeros((pairs, entries, 2), np.float32),
        )

    def _of_images(self, size: int, width: int) -> ByImage:
        few = self._products.IMAGES
        count = size // few
        entries = count * width + 1
        return ByImage(np.zeros(count, np.int64), np.zeros(entries, np.int32), np.zeros((entries, few), np.float32))

    def take(self, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        """List the lit pixels of a batch, for both products: those of the images `[rows]`."""
        self._products.gather(images, rows, self._batch)
        self._products.list_by_image(self._batch, self._row_of, VALUES, *self.by_image)
        self._products.list_by_pixel(self._batch, self._values, *self.by_pixel)

    def take_block(self, block: Block) -> None:
        """Take images that are evaluated, whose lists are made once."""
        if not block.lists:
            images = block.images.numpy()
            chunk = self._products.CHUNK
            width = -(-images.shape[1] // chunk) * chunk
            # As many for any network, since networks pad their images differently, and share the lists.
            batch, row_of = np.zeros((EVALUATION_BATCH, width), np.uint8), np.zeros(width, np.int64)
            batch[: len(images), : images.shape[1]] = images
            row_of[: images.shape[1]] = 1 + block.pixels.numpy()
            lists = self._of_images(len(batch), width)
            self._products.list_by_image(batch, row_of, VALUES, *lists)
            used = lists.ends[-1]
            block.lists.append(ByImage(lists.ends, lists.places[:used].copy(), lists.x[:used].copy()))
        self.by_image = block.lists[0]
