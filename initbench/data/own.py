"""Users' functions that load data sets, by the full names that carry a digest of their code."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from initbench.data import conversion
from initbench.data.arrays import Arrays
from initbench.errors import UserError
from initbench.registry import Entry, Registry


@dataclass(frozen=True, kw_only=True)
class Loader(Entry):
    """A function that loads a data set: it returns its `Arrays`."""


LOADERS: Registry[Loader] = Registry("dataset", Loader)


def arrays_of(value: object) -> Arrays:
    """Return the data set that an own function returns, a dict of arrays; UserError if it is invalid."""
    if not isinstance(value, Mapping):
        keys = " or ".join(conversion.SPELLINGS)
        raise UserError(f"returned a {type(value).__name__}; allowed: a dict of arrays with the keys {keys}")
    return conversion.from_mapping({key: np.asarray(array) for key, array in value.items()})
