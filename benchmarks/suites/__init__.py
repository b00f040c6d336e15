"""The benchmarks of asv. `asv continuous` runs these files on older commits too, where modules have other names."""

from importlib import import_module


def module(*names):
    """Return the first of these modules of initbench that this version has; raises ImportError if it has none."""
    for name in names[:-1]:
        try:
            return import_module(f"initbench.{name}")
        except ModuleNotFoundError:
            continue
    return import_module(f"initbench.{names[-1]}")
