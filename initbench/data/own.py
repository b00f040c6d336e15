"""Users' functions that load data sets, by the full names that carry a digest of their code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from initbench.data.arrays import Arrays
from initbench.errors import UserError
from initbench.registry import Entry, Registry


@dataclass(frozen=True, kw_only=True)
class Loader(Entry):
    """A function that loads a data set: it returns its `Arrays`."""


LOADERS: Registry[Loader] = Registry("dataset", Loader)


KEYS = ("x_train", "y_train", "x_test", "y_test")


def arrays_of(value: Mapping[str, Any]) -> Arrays:
    """Return the data set in a dict of arrays; UserError if it is invalid."""
    if not isinstance(value, Mapping) or not all(key in value for key in KEYS):
        raise UserError(f"returned {type(value).__name__}; allowed: a dict of arrays with the keys {', '.join(KEYS)}")
    x, y, x_test, y_test = (np.asarray(value[key]) for key in KEYS)
    shape = (1, 1, x.shape[1]) if x.ndim == 2 else (*x.shape[1:], 1)[:3]
    images = [
        a.reshape(len(a), -1) if a.dtype == np.uint8 else a.reshape(len(a), -1).astype(np.float32) for a in (x, x_test)
    ]
    return Arrays(images[0], y.astype(np.uint8), images[1], y_test.astype(np.uint8), shape)
