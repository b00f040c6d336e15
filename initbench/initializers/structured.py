"""Structured schemes: the weights depend on one another."""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from initbench.initializers._base import (
    INITIALIZERS,
    MATRIX,
    WEIGHTS,
    Array,
    Fit,
    Shape,
    checked,
    floating,
    matrix_scheme,
    normal_values,
    require,
    rounded,
    weight_scheme,
    working,
)
from initbench.random import noise, streams
from initbench.random.streams import Seed
from initbench.system import threads

if TYPE_CHECKING:
    from scipy.stats.distributions import rv_frozen

CONVOLUTION = Fit(
    "convolutions, [..., channels_in, channels_out], and dense layers beside them",
    lambda shape: len(shape) >= 2,
    (1, 1, 2, 2),
    network="convolution",
)

convolution_scheme = partial(INITIALIZERS.register, "single-layer", fit=CONVOLUTION)

GROUP = 256  # rows that are updated together
SMALL_PRODUCT = 2**17  # multiplications; OpenBLAS takes one thread up to twice as many


@dataclass(frozen=True)
class Coordinate:
    """The distribution of one coordinate of a random vector that is uniform on a sphere of radius `length`."""

    dimensions: int
    length: float

    def frozen(self) -> "rv_frozen":
        """Return it as a distribution of `scipy.stats`."""
        from scipy import stats

        half = (self.dimensions - 1) / 2
        return stats.beta(half, half, -self.length, 2 * self.length)


def _orthogonal(shape: Shape, gain: float) -> Coordinate | None:
    *others, columns = checked(shape, WEIGHTS)
    longer = max(math.prod(others), columns)
    return Coordinate(longer, abs(gain)) if longer > 1 and gain else None


@weight_scheme(distribution=_orthogonal)
def orthogonal(shape: Shape, *, gain: float = 1.0, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Random orthogonal (Haar), times gain: WᵀW = gain² I if fan_in ≥ fan_out, else WWᵀ = gain² I.

    A product of reflections, each along a random direction in one dimension less than the one before, and a random sign
    for each column. Its distribution is that of the Q of a QR factorization of normal noise whose R has a positive
    diagonal, at half of the cost, since nothing is factorized. Rectangular weights are semi-orthogonal. An array of
    more than two dimensions is taken as a matrix [all but the last, last], as Keras and JAX do; PyTorch's has the same
    distribution.

    Source: Saxe, McClelland & Ganguli 2014, section 3; made as by Stewart 1980, "The efficient generation of random
    orthogonal matrices with an application to condition estimators", section 3; see Mezzadri 2007, "How to generate
    random matrices from the classical compact groups", for why the signs are needed.

    When to use it: for deep networks; a linear one keeps the norm of its signals exactly.

    >>> W = orthogonal((6, 3), seed=0, dtype=np.float64)
    >>> bool(np.allclose(W.T @ W, np.eye(3)))
    True
    """
    sizes = checked(shape, WEIGHTS)
    rows, columns = math.prod(sizes[:-1]), sizes[-1]
    longer, shorter = max(rows, columns), min(rows, columns)
    frame, signs = _orthogonal_rows(normal_values((shorter, longer), 0.0, 1.0, seed, working(dtype)))
    frame *= gain * signs[:, None]
    return rounded(np.ascontiguousarray(frame.T if rows > columns else frame).reshape(sizes), dtype)


def _orthogonal_rows(directions: Array) -> tuple[Array, Array]:
    """Return orthonormal rows, `[rows, columns]`, rows ≤ columns, and the signs `[rows]` that make them Haar; of noise.

    Row i of the noise, from column i on, is the x of reflection i: Hᵢ = I − v vᵀ with v along x + sign(x₀) ‖x‖ e₀ and
    ‖v‖² = 2. The result is the first rows of H_last … H₁ H₀. The noise is overwritten.

    The plain form multiplies by one reflection after another, which is bound by memory (LAPACK's orgqr takes 32 at a
    time). Here those of a block are one product, I − Vᵀ T V with T⁻¹ the upper triangle of V Vᵀ and 1 on its diagonal
    (Joffrain et al. 2006, "Accumulating Householder transformations, revisited"), and rows are updated in groups of a
    fixed size, which threads may share without a change of bits: 4096 × 4096 in 75 ns a weight on one thread, against
    120 by orgqr.
    """
    rows, columns = directions.shape
    frame, signs = np.zeros_like(directions), np.empty(rows, directions.dtype)
    small = rows * rows * columns <= SMALL_PRODUCT
    with nullcontext() if small else threads.one_for_products(), threads.shared(directions.size) as for_each:
        block = 32 if rows < 1024 else 128
        for start in reversed(range(0, rows, block)):
            V, own = directions[start : start + block, start:], frame[start : start + block, start:]
            size = len(V)
            upper = _upper(size, directions.dtype)
            corner = slice(start * (columns + 1), (start + size) * (columns + 1), columns + 1)  # of the flat array
            V[:, :size] *= upper
            first = V.diagonal().copy()
            norms = np.sqrt(np.vecdot(V, V))
            directions.reshape(-1)[corner] += np.copysign(norms, first)
            V *= (1 / np.sqrt(norms * (norms + np.abs(first))))[:, None]
            inverse = (V @ V.copy().T) * -upper  # of V itself NumPy makes a symmetric product: slower
            inverse.reshape(-1)[:: size + 1] = -1
            TV = np.linalg.inv(inverse).T @ V  # −Tᵀ V
            np.matmul(V[:, :size].T, TV, out=own)
            frame.reshape(-1)[corner] += 1

            def update(at: int, start: int = start, size: int = size, V: Array = V, TV: Array = TV) -> None:
                below, used = frame[at : at + GROUP, start:], directions[at : at + GROUP, start:]
                below += np.matmul(below[:, size:] @ V[:, size:].T, TV, out=used)

            for_each(update, range(start + size, rows, GROUP))
            signs[start : start + size] = np.copysign(1, -first)
    return frame, signs


@cache
def _upper(size: int, dtype: Any) -> Array:
    """Return 1 on the diagonal and above it, else 0."""
    return np.triu(np.ones((size, size), dtype))


@matrix_scheme()
def identity(shape: Shape, *, gain: float = 1.0, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Identity: W[i, i] = gain, all else 0; where the layer is rectangular, as much of it as there is.

    Keras' `Identity` and PyTorch's `eye_`.

    When to use it: for square hidden layers. Units beyond the inputs and inputs beyond the units are
    without weights.
    """
    fan_in, fan_out = checked(shape, MATRIX)
    W = np.zeros(fan_in * fan_out, floating(dtype))
    W[: min(fan_in, fan_out) * (fan_out + 1) : fan_out + 1] = gain
    return W.reshape(fan_in, fan_out)


@matrix_scheme()
def idinit(shape: Shape, *, tau: float = 1.0, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """IDInit's padded identity: W[i, j] = tau where j mod fan_in = i, else 0 (tau default 1).

    Where a layer widens, identities stand side by side, so that no unit is without input; where it narrows it is
    `identity`. This is the paper's rule for the layers of a perceptron, exactly: its "loose" form adds a noise of the
    order of 10⁻⁶ to the diagonal, whose scale could not be established, and its rule for the last layer of a residual
    branch is left out.

    Source: Pan et al. 2025 (ICLR), "IDInit: A Universal and Stable Initialization Method for Neural Network
    Training", eq. 3.

    When to use it: for deep networks of about equal widths that train with momentum.

    >>> idinit((2, 4)).tolist()
    [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]
    """
    fan_in, fan_out = checked(shape, MATRIX)
    return rounded(tau * (np.arange(fan_in)[:, None] == np.arange(fan_out) % fan_in), dtype)


@convolution_scheme()
def dirac(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Dirac: a convolution that passes channel i on as channel i: 1 at the centre of the field, size // 2, else 0.

    A dense layer is a convolution of one pixel: as much of the identity as there is. PyTorch's `dirac_`, and where a
    convolution has groups its `dirac_(groups=…)`: each group passes its own channels on. Zagoruyko & Komodakis 2017,
    "DiracNets", take it as a part of the layer.

    When to use it: for convolutions that are to begin as the identity.
    """
    *field, channels_in, channels_out = checked(shape, CONVOLUTION)
    W = np.zeros(shape, floating(dtype))
    W[tuple(size // 2 for size in field)] = np.eye(channels_in, channels_out)
    return W


@convolution_scheme()
def delta_orthogonal(shape: Shape, *, gain: float = 1.0, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Delta-orthogonal: an orthogonal matrix of the channels at the centre of the field, (size − 1) // 2, else 0.

    gain (default 1) as in `orthogonal`. Where there are at most as many channels in as out, a convolution keeps the
    norm of what enters it, and so the paper and JAX's `delta_orthogonal` require. Networks have other layers too, and
    here it goes beyond: channels that narrow have a semi-orthogonal matrix, as in `orthogonal`, and a dense layer is a
    convolution of one pixel.

    Source: Xiao et al. 2018, "Dynamical Isometry and a Mean Field Theory of CNNs", algorithm 2.

    When to use it: for very deep convolutional networks.
    """
    *field, channels_in, channels_out = checked(shape, CONVOLUTION)
    W = np.zeros(shape, floating(dtype))
    W[tuple((size - 1) // 2 for size in field)] = orthogonal(
        (channels_in, channels_out), gain=gain, seed=seed, dtype=dtype
    )
    return W


@matrix_scheme()
def sparse(
    shape: Shape, *, connections: int = 15, std: float = 1.0, seed: Seed = None, dtype: DTypeLike = np.float32
) -> Array:
    """Sparse: each unit has `connections` incoming weights N(0, std²) from random inputs, or fan_in if that is less.

    connections from 1 up, default 15; std 0 or more, default 1. It does not follow fan_in. PyTorch's `sparse_` is
    another scheme under the same name: see `torch_sparse`.

    Source: Martens 2010, "Deep learning via Hessian-free optimization", section 5; Sutskever et al. 2013, section 3.1,
    who say N(0, 1), and for tanh multiply by 0.25 and set biases to 0.5.

    When to use it: to keep units different and unsaturated at any width.
    """
    require(connections >= 1, "connections", connections, "from 1 up")
    require(std >= 0, "std", std, "0 or more")
    fan_in, fan_out = checked(shape, MATRIX)
    count = min(math.ceil(connections), fan_in)
    W = np.zeros((fan_in, fan_out), floating(dtype))
    units, inputs = np.nonzero(_chosen((fan_out, fan_in), count, streams.mask(seed)))
    W[inputs, units] = normal_values((fan_out, count), 0.0, std, seed, working(dtype)).ravel()
    return W


def _chosen(shape: tuple[int, int], count: int, seed: Seed) -> Array:
    """Choose in each row `count` entries at random, True: those of the smallest random words."""
    chosen = np.full(shape, count > 0)
    if count in (0, shape[1]):
        return chosen
    words = noise.words(shape, seed)
    rows = max(2**16 // shape[1], 1)  # this many words stay in the cache
    for start in range(0, shape[0], rows):
        part, selected = words[start : start + rows], chosen[start : start + rows]
        np.less_equal(part, np.partition(part, count - 1, axis=1)[:, count - 1 : count], out=selected)
        for row in np.flatnonzero(
            selected.sum(axis=1) > count
        ):  # equal words, one row in many thousands: the first ones
            selected[row] = False
            selected[row, np.argsort(part[row], kind="stable")[:count]] = True
    return chosen


@matrix_scheme()
def torch_sparse(
    shape: Shape, *, sparsity: float = 0.1, std: float = 0.01, seed: Seed = None, dtype: DTypeLike = np.float32
) -> Array:
    """PyTorch's `sparse_`: N(0, std²), and of each input's outgoing weights the share `sparsity`, rounded up, is zero.

    sparsity from 0 to 1, default 0.1; std 0 or more, default 0.01. It limits what leaves an input; Martens 2010, whom
    PyTorch names, limits what enters a unit: see `sparse`.

    When to use it: to reproduce an experiment that used it.
    """
    require(0 <= sparsity <= 1, "sparsity", sparsity, "from 0 to 1")
    require(std >= 0, "std", std, "0 or more")
    fan_in, fan_out = checked(shape, MATRIX)
    W = normal_values((fan_in, fan_out), 0.0, std, seed, working(dtype))
    zero = _chosen((fan_in, fan_out), math.ceil(sparsity * fan_out), streams.mask(seed))
    bits = W.view(f"i{W.itemsize}")
    bits &= zero.view(np.int8) - np.int8(1)  # all bits, or none: W[zero] = 0 takes three times as long
    return rounded(W, dtype)


@matrix_scheme()
def zero_hadamard(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """ZerO: the identity where a layer does not widen, and where it does a part of a Hadamard matrix, 2^(−m/2) · H.

    m = ⌈log₂ fan_out⌉, and H is Sylvester's matrix of 2^m rows, cut to [fan_in, fan_out]; its rows are orthogonal where
    fan_out is a power of two. Nothing is random. The constant is that of the authors' code; their paper prints
    2^(−(m−1)/2), which is √2 larger.

    Source: Zhao, Schäfer & Anandkumar 2022, "ZerO Initialization", algorithm 1.

    When to use it: where the initial weights must be deterministic. A layer with fewer units than inputs ignores all
    but its first fan_out inputs: on MNIST these are the pixels of the upper rows, which are nearly always zero.
    """
    fan_in, fan_out = checked(shape, MATRIX)
    if fan_out <= fan_in:
        return np.eye(fan_in, fan_out, dtype=floating(dtype))
    m = (fan_out - 1).bit_length()
    both = np.arange(fan_in)[:, None] & np.arange(fan_out)[None, :]
    signs = 1.0 - 2.0 * (np.bitwise_count(both) % 2)  # Sylvester's H[i, j] = (−1)^(number of ones in i & j)
    return rounded(2 ** (-m / 2) * signs, dtype)


@matrix_scheme()
def sinusoidal(shape: Shape, *, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Sinusoidal: W[j, i] = a · sin(2π i j / fan_in + 2π i / fan_out), units i from 1, inputs j from 0.

    a is such that the variance of all weights (with n − 1) is Glorot's, 2 / (fan_in + fan_out). Nothing is random. As
    in the authors' code: of a square layer half of the columns are the others' negatives, and some units are zero.

    Source: Fernández-Hernández et al. 2025, "Sinusoidal Initialization, Time for a New Start".

    When to use it: for layers that narrow; with less than half as many units as inputs the units are orthogonal.
    """
    fan_in, fan_out = checked(shape, MATRIX)
    j, i = np.arange(fan_in)[:, None], np.arange(1, fan_out + 1)[None, :]
    S = np.sin(2 * math.pi * ((i * j) % fan_in / fan_in + i / fan_out))
    variance = float(S.var(ddof=1)) if S.size > 1 else 0.0
    a = math.sqrt(2 / ((fan_in + fan_out) * variance)) if variance > 1e-12 else 0.0
    return rounded(a * S, dtype)
