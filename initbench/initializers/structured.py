"""Schemes with structure: the weights are drawn together, not one by one."""

import numpy as np
from numpy.typing import DTypeLike

from initbench.initializers._base import Array, Shape, checked, rounded, standard_normal, weight_scheme
from initbench.streams import Seed


@weight_scheme
def orthogonal(shape: Shape, *, gain: float = 1.0, seed: Seed = None, dtype: DTypeLike = np.float32) -> Array:
    """Random orthogonal (Haar), times gain: WᵀW = gain² I if fan_in ≥ fan_out, else WWᵀ = gain² I.

    The Q of a QR factorization of normal noise, its columns multiplied by the signs of R's diagonal, which makes it
    uniform over the orthogonal matrices (Mezzadri 2007, "A correct and efficient algorithm"). An array of more than
    two dimensions is taken as a matrix [all but the last, last], as Keras and JAX do. Saxe, McClelland & Ganguli
    2014, section 3.

    >>> W = orthogonal((6, 3), seed=0, dtype=np.float64)
    >>> bool(np.allclose(W.T @ W, np.eye(3)))
    True
    """
    sizes = checked(shape, 2)
    rows, columns = int(np.prod(sizes[:-1])), sizes[-1]
    tall = (max(rows, columns), min(rows, columns))
    q, r = np.linalg.qr(standard_normal(tall, seed))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return rounded(gain * (q if rows >= columns else q.T).reshape(sizes), dtype)
