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


# Own functions of every kind that a cell's result depends on most: an initializer, which trains with the other cells of
# a stack, an activation, which has no fused form, a model that draws at random and keeps statistics, and a data set.
PLUGIN = """
import numpy as np
from torch import nn

import initbench as ib


@ib.initializer
def mine(shape, *, gain: float = 1.5, seed=None, dtype="float32"):
    \"\"\"Normal, wider than He.\"\"\"
    return ib.initializers.normal(shape, std=gain * (2 / shape[0]) ** 0.5, seed=seed, dtype=dtype)


@ib.activation
def bent(x, *, slope: float = 0.3):
    \"\"\"A leaky relu.\"\"\"
    return x.where(x > 0, slope * x)


@ib.model
def small(channels, height, width, classes, *, activation, filters: int = 4):
    \"\"\"A convolution with normalization and dropout, and a dense layer.\"\"\"
    convolution = nn.Conv2d(channels, filters, 3, stride=2, padding=1)
    pixels = -(-height // 2) * -(-width // 2)
    normalized = [convolution, nn.BatchNorm2d(filters), activation(), nn.Dropout(0.2)]
    return nn.Sequential(*normalized, nn.Flatten(), nn.Linear(filters * pixels, classes))


def load_bars():
    \"\"\"Images of 12 × 12 with noise and a bright row or column, whose number is the class.\"\"\"
    draw = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 600), ("test", 200)):
        labels = np.arange(count) % 10
        images = draw.integers(0, 100, (count, 12, 12))
        images[np.arange(count), labels] += 100 * (draw.random(count) < 0.8)[:, None]
        arrays |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels}
    return arrays
"""

# As `cells.SMALL_GRID`: as many initializers, activations and seeds.
OWN_GRID = SMALL_GRID.replace('"zeros"', '"mine"').replace('"relu"', '"bent"')
OWN_GRID = f'plugins = ["schemes.py"]\n{OWN_GRID}'

# Cells of everything that differs for workers: fused ones with an own initializer, plain perceptrons, a built-in
# convolutional model and an own model, all on an own data set. Half of the cells have each seed and each activation.
MIXED_GRID = """
name = "small"
plugins = ["schemes.py"]
dataset = "load_bars"

[grid]
initializer = ["mine", { name = "normal", std = 0.2 }]
activation = ["tanh", "bent"]
model = ["perceptron", "lenet5", "small"]
seed = 2

[model]
hidden = [8]

[training]
epochs = 2
train_size = 512
"""

# The number of cells of the small grid, by its kind.
CELLS = {"built-in": 12, "plugin": 24}


def small_grid(folder, kind="plugin", text="", name="small.toml"):
    """Write the small grid of a kind, and its plugin beside it, and return its path."""
    if kind == "plugin":
        (folder / "schemes.py").write_text(PLUGIN)
    (folder / name).write_text(text or (MIXED_GRID if kind == "plugin" else SMALL_GRID))
    return folder / name


# A test of the contract of results, for experiments without and with plugins; the second ones are slow.
both_kinds = pytest.mark.parametrize(
    "kind", ["built-in", pytest.param("plugin", marks=pytest.mark.slow)], indirect=True
)
