"""The plugins whose code this process has, by digest: a digest says what the code is, so that none is ever replaced."""

from collections.abc import Iterable

from initbench.plugins.bundle import Bundle
from initbench.registry import digests_in

_bundles: dict[str, Bundle] = {}


def add(bundle: Bundle) -> None:
    """Add a plugin's code."""
    _bundles.setdefault(bundle.digest, bundle)


def of(names: Iterable[str]) -> list[Bundle]:
    """Return the code of the plugins whose functions are named in canonical strings, as far as this process has it."""
    return [_bundles[digest] for digest in sorted(digests_in(*names)) if digest in _bundles]


def missing(names: Iterable[str]) -> set[str]:
    """Return the digests in canonical strings whose code this process does not have."""
    return {digest for digest in digests_in(*names) if digest not in _bundles}
