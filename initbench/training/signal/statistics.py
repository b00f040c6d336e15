"""The statistics of one layer, from the arrays of one cell: see `initbench.spec.signal`.

They are computed cell by cell on arrays of fixed shapes, so that a cell's bits do not depend on its stack.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from initbench.spec.signal import SATURATED

Array = NDArray[Any]

MAX_QUANTILE_VALUES = 2**20

BLOCK = 2**14  # values that sums take at a time

# Of matrices with at most this many rows or columns all singular values are computed for the largest.
MAX_EXACT = 128

# Statistics of a network: by layer and name.
Signal = dict[tuple[int, str], float]


def moments(prefix: str, values: Array) -> dict[str, float]:
    """Return mean, variance and the quantiles of values of any shape."""
    flat = values.reshape(-1)
    mean, spread = _mean_and_variance(flat)
    low, middle, high = quantiles(flat)
    return {
        f"{prefix}_mean": mean,
        f"{prefix}_variance": spread,
        f"{prefix}_q01": low,
        f"{prefix}_q50": middle,
        f"{prefix}_q99": high,
    }


def of_pre_activations(values: Array) -> dict[str, float]:
    """Return the moments of pre-activations of any shape, and their second moment."""
    of_values = moments("pre_activation", values)
    second_moment = of_values["pre_activation_variance"] + of_values["pre_activation_mean"] ** 2
    return {**of_values, "pre_activation_second_moment": second_moment}


def of_gradient(prefix: str, gradient: Array, images: int = 1) -> dict[str, float]:
    """Return the norm of a gradient and the variance of its entries; of images', the root of the mean squared norm."""
    mean, spread = _mean_and_variance(gradient.reshape(-1))
    square = gradient.size * (spread + mean**2)  # one pass for both
    return {f"{prefix}_gradient_norm": math.sqrt(square / images), f"{prefix}_gradient_variance": spread}


def _mean_and_variance(flat: Array) -> tuple[float, float]:
    squares, means, counts = 0.0, [], []  # of each block
    for block in _blocks(flat):
        means.append(np.add.reduce(block) / len(block))  # half of the time of `mean`
        np.subtract(block, means[-1], out=block)
        squares += float(block @ block)
        counts.append(len(block))
    mean = np.dot(counts, means) / len(flat)
    return float(mean), float(squares + np.dot(counts, np.square(means - mean))) / len(flat)


def _blocks(flat: Array) -> Iterator[Array]:
    """Yield values in blocks of float64, which stay in the cache: a third of the time, and little memory."""
    for start in range(0, len(flat), BLOCK):
        yield flat[start : start + BLOCK].astype(np.float64)


def quantiles(flat: Array) -> list[float]:
    """Return the 1%, 50% and 99% quantiles, interpolated linearly; NaN if a value is NaN.

    Of more than `MAX_QUANTILE_VALUES` values, every k-th is taken, k prime to their number: so it is to the number of
    channels and of positions, and all of them are met equally often.
    """
    step = math.ceil(len(flat) / MAX_QUANTILE_VALUES)
    while math.gcd(step, len(flat)) > 1:
        step += 1
    ordered = np.sort(flat[::step])  # NaN last; vectorized, it takes a fifth of the time of a partition by all places
    if np.isnan(ordered[-1]):
        return [math.nan] * 3
    results = []
    for share in (0.01, 0.5, 0.99):
        rank = share * (len(ordered) - 1)
        below = math.floor(rank)
        left, right = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
        results.append(left if left == right else left + (rank - below) * (right - left))
    return results


def saturated_share(pre_activations: Array, derivative: Array, largest: float) -> float:
    """Return the share of entries whose derivative is below 1% of the activation's largest; NaN if an entry is NaN."""
    if np.isnan(pre_activations).any() or np.isnan(derivative).any():
        return math.nan
    return float((np.abs(derivative) < SATURATED * largest).mean())


def dead_share(activations: Array) -> float:
    """Return the share of units that are zero for every image, from `[images, units]`; NaN if a value is NaN."""
    if np.isnan(activations).any():
        return math.nan
    return float(1 - (activations != 0).any(axis=0).mean())


def correlation(representations: Array) -> float:
    """Return the mean cosine over all pairs of rows, of `[images, units]`; rows of zeros are left out."""
    rows = representations.astype(np.float64)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    if not np.isfinite(norms).all():
        return math.nan
    count = np.count_nonzero(norms)
    if count < 2:
        return math.nan
    # The sum over pairs of unit vectors is (|Σ u|² − Σ |u|²) / 2: no product of all pairs is computed.
    total = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0) @ rows
    return float((total @ total - count) / (count * (count - 1)))


def effective_rank(representations: Array) -> float:
    """Return exp of the entropy of the normalized singular values of `[images, units]`; 0 if all are zero."""
    singular = np.sqrt(np.maximum(gram_eigenvalues(representations), 0))
    total = singular.sum()
    if not np.isfinite(total):
        return math.nan
    if total == 0:
        return 0.0
    p = singular[singular > 0] / total
    return float(np.exp(-(p * np.log(p)).sum()))


def norm(values: Array) -> float:
    """Return the Frobenius norm."""
    return math.sqrt(sum(float(block @ block) for block in _blocks(values.reshape(-1))))


def spectral_norm(weights: Array) -> float:
    """Return the largest singular value of a matrix.

    Beyond `MAX_EXACT` rows and columns by the implicitly restarted Lanczos method (ARPACK) from a fixed vector, to a
    relative error below 1e-3.
    """
    size = norm(weights)
    if size == 0 or not math.isfinite(size):
        return 0.0 if size == 0 else math.nan
    if min(weights.shape) <= MAX_EXACT:
        return math.sqrt(max(gram_eigenvalues(weights)[-1], 0))
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh  # of wide matrices alone

    scale = 1.0 if 1e-6 < size < 1e6 else size
    matrix = weights if scale == 1 else (weights / scale).astype(weights.dtype)  # squares stay within float32
    matrix = matrix if matrix.shape[0] < matrix.shape[1] else matrix.T
    rows = len(matrix)
    gram = LinearOperator((rows, rows), lambda x: matrix @ (x @ matrix), dtype=matrix.dtype)
    start = np.random.Generator(np.random.Philox(0)).standard_normal(rows).astype(matrix.dtype)
    try:
        largest = eigsh(gram, 1, v0=start, ncv=10, tol=1e-2, return_eigenvectors=False)[0]
    except ArpackError:  # it has not converged
        return math.sqrt(max(gram_eigenvalues(weights)[-1], 0))
    return scale * math.sqrt(max(float(largest), 0))


def gram_eigenvalues(matrix: Array) -> Array:
    """Return the squared singular values of a matrix, ascending, as the eigenvalues of its smaller Gram matrix.

    Computed in float64: for matrices of float32 the eigenvalues that lose all their digits are below rounding anyway,
    and it takes a fifth of the time of a singular value decomposition. NaN if an entry is not finite.
    """
    exact = np.ascontiguousarray(matrix, np.float64)
    # NumPy computes a product with its own transpose by BLAS's syrk, in half of the operations.
    gram = exact @ exact.T if exact.shape[0] < exact.shape[1] else exact.T @ exact
    if not np.isfinite(gram).all():
        return np.full(len(gram), np.nan)
    eigenvalues: Array = torch.linalg.eigvalsh(torch.from_numpy(gram)).numpy()
    return eigenvalues


def jacobian(singular_values: Array) -> dict[str, float]:
    """Return the statistics of Jacobians from their singular values, `[images, values]`.

    A singular value that is below the rounding of float32 beside the largest counts as zero.
    """
    largest = singular_values.max(axis=1)
    rounding = singular_values.shape[1] * np.finfo(np.float32).eps * largest
    values = np.where(singular_values < rounding[:, None], 0.0, singular_values)
    smallest = values.min(axis=1)
    conditions = np.divide(largest, smallest, out=np.full_like(largest, np.inf), where=smallest != 0)  # of zeros, too
    return {
        "jacobian_largest": float(largest.mean()),
        "jacobian_median": float(np.median(values, axis=1).mean()),
        "jacobian_smallest": float(smallest.mean()),
        "jacobian_mean_square": float(np.square(values).mean()),
        "jacobian_condition": float(np.median(conditions)),
    }


def ratios(signal: Signal, depth: int) -> Signal:
    """Return the ratios of the gradients of the first layer to those of the last."""

    gradient_ratios: Signal = {}
    norms = {"gradient_ratio": "pre_activation_gradient_norm", "weight_gradient_ratio": "weight_gradient_norm"}
    for ratio, name in norms.items():
        first, last = signal.get((1, name)), signal.get((depth, name))
        if first is not None and last is not None:  # a user's module may have layers without a gradient
            gradient_ratios[1, ratio] = first / last if last else math.nan
    return gradient_ratios
