"""Users' functions that load data sets, by the full names that carry a digest of their code."""

from dataclasses import dataclass

from initbench.registry import Entry, Registry


@dataclass(frozen=True, kw_only=True)
class Loader(Entry):
    """A function that loads a data set: it returns its `Arrays`."""


LOADERS: Registry[Loader] = Registry("dataset", Loader)
