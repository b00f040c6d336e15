"""An initializer of your own, which a workflow gates."""

import initbench as ib


@ib.initializer
def scaled_orthogonal(shape, *, gain: float = 1.1, seed=None, dtype="float32"):
    """Orthogonal weights times a gain."""
    return gain * ib.initializers.orthogonal(shape, seed=seed, dtype=dtype)
