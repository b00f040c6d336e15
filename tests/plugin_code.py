"""Plugins of tests: their bundles, and cells of their functions."""

import textwrap

import pytest
from cells import SMALL_GRID, make_cell

from initbench.plugins.bundle import Bundle


def bundle(text, path="schemes.py", **modules):
    """A plugin with this code, and the modules that it imports from beside itself."""
    files = {path: textwrap.dedent(text), **{f"{name}.py": textwrap.dedent(code) for name, code in modules.items()}}
    return Bundle(path, path, {name: code.encode() for name, code in files.items()})


def cell_of(plugin, initializer="mine", **settings):
    """A cell that takes a moment, of an own initializer."""
    quick = {"train_size": 256, "hidden": "8"}
    return make_cell(**{**quick, **settings}, initializer=f"{initializer}@{plugin.digest}")


# An own initializer, which trains with the other cells of a stack, and an own activation, which has no fused form.
PLUGIN = """
import initbench as ib


@ib.initializer
def mine(shape, *, gain: float = 1.5, seed=None, dtype="float32"):
    \"\"\"Normal, wider than He.\"\"\"
    return ib.initializers.normal(shape, std=gain * (2 / shape[0]) ** 0.5, seed=seed, dtype=dtype)


@ib.activation
def bent(x, *, slope: float = 0.3):
    \"\"\"A leaky relu.\"\"\"
    return x.where(x > 0, slope * x)
"""

# As `cells.SMALL_GRID`: as many initializers, activations and seeds.
OWN_GRID = SMALL_GRID.replace('"zeros"', '"mine"').replace('"relu"', '"bent"')
OWN_GRID = f'plugins = ["schemes.py"]\n{OWN_GRID}'


def small_grid(folder, kind="plugin", text="", name="small.toml"):
    """Write the small grid of a kind, and its plugin beside it, and return its path."""
    if kind == "plugin":
        (folder / "schemes.py").write_text(PLUGIN)
    (folder / name).write_text(text or (OWN_GRID if kind == "plugin" else SMALL_GRID))
    return folder / name


# A test of the contract of results, for experiments without and with plugins; the second ones are slow.
both_kinds = pytest.mark.parametrize(
    "kind", ["built-in", pytest.param("plugin", marks=pytest.mark.slow)], indirect=True
)
