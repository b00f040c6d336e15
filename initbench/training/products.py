"""The first layer's two products as machine code that skips every image's dark pixels. Importing this loads numba.

The weights are in tiles, `[tiles, rows, TILE]`: a row has the weights of a pixel to TILE neighbouring columns (units of
cells), so that an image's sums for a tile stay in registers while the rows of its lit pixels, which lie close together,
are read from the nearest caches. Images are taken IMAGES at a time, which read a row once, and pixels two at a time. An
entry of a list is the place of a row (in bytes) and the values of x that multiply it; zeros in it change nothing.

Every sum has one order: the bias, then the pixels in the order of the data; for a gradient, the images in the order of
the batch. Each term is one fused multiply-add, which IEEE 754 rounds in only one way, so the bits depend neither on the
processor, nor on TILE, IMAGES or a cell's neighbours. (Only whether a diverged cell has inf or NaN may.)

Measured: 1.6 to 2.4 times as fast as MKL's products with all pixels that the batch lights
(`docs/explanation/performance.md`).
"""

# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls

import sys

import numpy as np
from llvmlite import binding, ir

from initbench.system.machine_code import Cache, numba

# Columns of a tile and images at a time: their sums take half of the processor's vector registers or a little more.
TILE, IMAGES = (64, 4) if "+avx512f" in binding.get_host_cpu_features().flatten().split(",") else (32, 2)
ROW = TILE * 4  # bytes
CHUNK = 8  # images and pixels come in whole chunks: what is compared with zero at once

FLOAT, INT32, INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
CACHE = Cache(f"products-{TILE}x{IMAGES}", [sys.modules[__name__]])
intrinsic, types, cgutils = numba.extending.intrinsic, numba.types, numba.core.cgutils


VECTOR = ir.VectorType(FLOAT, TILE)


def pointer(builder, address, kind):
    """Return an address as a pointer to that kind of value."""
    return builder.inttoptr(address, ir.PointerType(kind))


def load(builder, address, kind):
    """Load a value."""
    value = builder.load(pointer(builder, address, kind))
    value.align = 4
    return value


def store(builder, value, address):
    """Store a value."""
    builder.store(value, pointer(builder, address, value.type)).align = 4


def spread(builder, number, kind):
    """Return the vector of that kind whose elements are all this number."""
    undefined, first = ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(INT32, kind.count), None)
    return builder.shuffle_vector(builder.insert_element(undefined, number, INT32(0)), undefined, first)


def elementwise(builder, name, *vectors):
    """Call one of LLVM's elementwise functions of vectors."""
    kind = vectors[0].type
    function = ir.FunctionType(kind, [kind] * len(vectors))
    name = f"llvm.{name}.v{kind.count}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), vectors)


class Sums:
    """Sums of x · row for some rows at once, as vectors of a whole tile, in the registers of a compiled function.

    `tile` is the address of the tile whose rows are read, `places` that of the list of their places, and `x` that of
    the values. LLVM knows vectors of any length and takes as many registers as they need; from numba's loops it makes
    none of this kind.
    """

    def __init__(self, builder, begin, tile, places, x):
        self._builder, self._tile, self._places, self._x = builder, tile, places, x
        self._sums = [cgutils.alloca_once(builder, VECTOR) for _ in begin]
        for value, to in zip(begin, self._sums, strict=True):
            builder.store(value, to)

    def add(self, i):
        """Add the terms of entry i of the lists."""
        builder, count = self._builder, len(self._sums)
        offset = load(builder, builder.add(self._places, builder.mul(i, INT64(4))), INT32)
        row = load(builder, builder.add(self._tile, builder.zext(offset, INT64)), VECTOR)
        values = builder.add(self._x, builder.mul(i, INT64(4 * count)))
        for k, to in enumerate(self._sums):
            value = spread(builder, load(builder, builder.add(values, INT64(4 * k)), FLOAT), VECTOR)
            builder.store(elementwise(builder, "fma", value, row, builder.load(to)), to)

    def write(self, target, step):
        """Write the sums to an address, so far apart."""
        builder = self._builder
        for k, to in enumerate(self._sums):
            store(builder, builder.load(to), builder.add(target, builder.mul(step, INT64(k))))


def _accumulation(count):
    """Return the function that sums x · row for `count` rows at once.

    Its arguments are addresses and distances in bytes: where the sums begin and how far apart, where they go, the tile
    whose rows are read, the list of their places, that of x, and the length of the lists.
    """

    @intrinsic
    def accumulate(context, begin, apart, target, step, tile, places, x, length):
        def generate(context, builder, signature, arguments):
            begin, apart, target, step, tile, places, x, length = arguments
            starts = [builder.add(begin, builder.mul(apart, INT64(k))) for k in range(count)]
            sums = Sums(builder, [load(builder, start, VECTOR) for start in starts], tile, places, x)
            with cgutils.for_range(builder, length) as loop:
                sums.add(loop.index)
            sums.write(target, step)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 8), generate

    return accumulate


_of_images, _of_pixels = _accumulation(IMAGES), _accumulation(2)


@intrinsic
def _transpose(context, source, source_step, target, target_step):
    """Write the transpose of 8 × 8 numbers; addresses and distances of rows in bytes."""

    def generate(context, builder, signature, arguments):
        source, source_step, target, target_step = arguments
        vector = ir.VectorType(FLOAT, 8)
        rows = [load(builder, builder.add(source, builder.mul(source_step, INT64(i))), vector) for i in range(8)]
        for s in (4, 2, 1):  # swap the quarters off the diagonal, of blocks of 2 s
            upper = ir.Constant(ir.VectorType(INT32, 8), [j - s + 8 if j & s else j for j in range(8)])
            lower = ir.Constant(ir.VectorType(INT32, 8), [j + 8 if j & s else j + s for j in range(8)])
            for i in (i for i in range(8) if not i & s):
                pair = rows[i], rows[i + s]
                rows[i], rows[i + s] = (builder.shuffle_vector(*pair, mask) for mask in (upper, lower))
        for i, row in enumerate(rows):
            store(builder, row, builder.add(target, builder.mul(target_step, INT64(i))))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate


@CACHE.compiled
def gather(images, rows, batch):
    """Write images `[rows]` to the first rows and columns of `batch`."""
    for b in range(len(rows)):
        row = rows[b]
        for p in range(images.shape[1]):  # assigning a slice takes five times as long
            batch[b, p] = images[row, p]


@CACHE.compiled
def list_by_image(batch, row_of, values, ends, places, x):
    """List the pixels that each IMAGES images light, one list behind the other, and where each ends.

    `row_of` are the rows of weights of the columns of `batch`, `values` what a network reads of a byte.
    """
    chunks = batch.view(np.uint64)
    n = 0
    for b in range(0, len(batch), IMAGES):
        for chunk in range(chunks.shape[1]):
            any_lit = chunks[b, chunk]
            for k in range(1, IMAGES):
                any_lit |= chunks[b + k, chunk]
            if any_lit:
                for p in range(CHUNK * chunk, CHUNK * (chunk + 1)):
                    # Written in any case, and counted if one is lit: a branch would be mispredicted half of the time.
                    lit = batch[b, p]
                    x[n, 0] = values[lit]
                    for k in range(1, IMAGES):
                        lit |= batch[b + k, p]
                        x[n, k] = values[batch[b + k, p]]
                    places[n] = row_of[p] * ROW
                    n += lit != 0
        ends[b // IMAGES] = n


@CACHE.compiled
def list_by_pixel(batch, values, counts, places, x):
    """List the images that light each two neighbouring pixels, and how many they are."""
    chunks, pairs = batch.view(np.uint64), batch.view(np.uint16)
    counts[:] = 0
    for b in range(len(batch)):
        for chunk in range(chunks.shape[1]):
            if chunks[b, chunk]:
                for pair in range(CHUNK // 2 * chunk, CHUNK // 2 * (chunk + 1)):
                    n = counts[pair]
                    places[pair, n] = b * ROW
                    x[pair, n, 0] = values[batch[b, 2 * pair]]
                    x[pair, n, 1] = values[batch[b, 2 * pair + 1]]
                    counts[pair] = n + (pairs[b, pair] != 0)


@CACHE.compiled
def forward(W, ends, places, x, tile, Z):
    """Z `[columns, images]` = Wᵀ x + bias, the bias in the first row of W; `tile` is memory for a tile of Zᵀ."""
    columns, images = Z.shape
    to = tile.ctypes.data
    for t in range(len(W)):
        weights, start = W[t].ctypes.data, 0
        for i in range(images // IMAGES):
            lists = places.ctypes.data + 4 * start, x.ctypes.data + 4 * IMAGES * start
            _of_images(weights, 0, to + i * IMAGES * ROW, ROW, weights, *lists, ends[i] - start)
            start = ends[i]
        width = min(TILE, columns - t * TILE)
        whole = width // 8 * 8
        z = Z.ctypes.data + 4 * t * TILE * images
        for c in range(0, whole, 8):
            for b in range(0, images, 8):
                _transpose(to + b * ROW + 4 * c, ROW, z + 4 * (c * images + b), 4 * images)
        for c in range(whole, width):
            for b in range(images):
                Z[t * TILE + c, b] = tile[b, c]


@numba.njit(error_model="numpy")
def take_tile(t, tile, G):
    """Write columns of a tile of G `[columns, images]` to `tile`, transposed; returns how many there are."""
    columns, images = G.shape
    to = tile.ctypes.data
    width = min(TILE, columns - t * TILE)
    whole = width // 8 * 8
    g = G.ctypes.data + 4 * t * TILE * images
    for c in range(0, whole, 8):
        for b in range(0, images, 8):
            _transpose(g + 4 * (c * images + b), 4 * images, to + b * ROW + 4 * c, ROW)
    for c in range(whole, width):
        for b in range(images):
            tile[b, c] = G[t * TILE + c, b]
    return width


@CACHE.compiled
def descend(W, counts, places, x, tile, G):
    """Subtract the gradient x G from W; G is `[columns, images]`, and the x of the lists are negative."""
    to = tile.ctypes.data
    for t in range(len(W)):
        width = take_tile(t, tile, G)
        bias = W[t, 0]
        for b in range(G.shape[1]):
            for c in range(width):
                bias[c] -= tile[b, c]
        for pair in range(len(counts)):
            if counts[pair]:
                row = W[t, 1 + 2 * pair].ctypes.data
                _of_pixels(row, ROW, row, ROW, to, places[pair].ctypes.data, x[pair].ctypes.data, counts[pair])


@numba.njit(error_model="numpy")
def gradient_of_bias(images, tile, out):
    """Write the gradient of the bias, from a tile of G, to `out` `[TILE]`."""
    out[:] = 0
    for b in range(images):
        for c in range(TILE):
            out[c] += tile[b, c]


@numba.njit(error_model="numpy")
def gradient_of_pair(pair, counts, places, x, tile, zeros, out):
    """Write the gradient of the weights of a pair of pixels, x G, to `out` `[2, TILE]`; `zeros` is a row of them."""
    if counts[pair]:
        lists = places[pair].ctypes.data, x[pair].ctypes.data, counts[pair]
        _of_pixels(zeros.ctypes.data, 0, out.ctypes.data, ROW, tile.ctypes.data, *lists)
    else:
        out[:] = 0


@CACHE.compiled
def gradient(t, counts, places, x, tile, G, zeros, out):
    """Write the gradient of tile t of the weights to `out` `[rows, TILE]`."""
    take_tile(t, tile, G)
    gradient_of_bias(G.shape[1], tile, out[0])
    for pair in range(len(counts)):
        gradient_of_pair(pair, counts, places, x, tile, zeros, out[1 + 2 * pair : 3 + 2 * pair])
