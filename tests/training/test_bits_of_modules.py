"""Cells of modules: their bits are their specification's alone, and a module that is a perceptron trains as one."""

import io
import random
from functools import partial

import numpy as np
import oracle
import pandas as pd
import pytest
import torch
from cells import exact, make_cell
from plugin_code import PLUGIN, bundle, small_grid

import initbench as ib
from initbench.data.own import LOADERS
from initbench.models.built_in import MODELS, PERCEPTRON
from initbench.plugins import records
from initbench.spec.columns import METRICS
from initbench.training import plain, stack
from initbench.training.data import Data
from initbench.training.plain import PlainData

OWN = bundle(PLUGIN)
MODULES = bundle("""
    from torch import nn

    def build(channels, height, width, classes, *, activation):
        sizes = [channels * height * width, 24, 16, classes]
        first, second, last = (nn.Linear(*pair) for pair in zip(sizes, sizes[1:]))
        return nn.Sequential(nn.Flatten(), first, activation(), second, activation(), last)
""")

BUILT_IN = [name for name in MODELS if "@" not in name]
QUICK = {"train_size": 96, "epochs": 2, "batch_size": 32, "hidden": "", "activation": "relu"}


@pytest.fixture(scope="module", autouse=True)
def plugins():
    records.register(OWN)
    records.register(MODULES)


@pytest.fixture(scope="module")
def bars():
    """The plugin's data set."""
    return LOADERS.call(f"load_bars@{OWN.digest}")


def bits(cell, data):
    """Every number of a cell's training, as bytes."""
    file = io.BytesIO()
    for epoch in plain.train(cell, data):
        for array in (epoch.step_losses, *(getattr(epoch, name) for name in METRICS)):
            file.write(array.tobytes())
    return file.getvalue()


def cells_of_modules():
    """Cells of every model, with all that draws at random or keeps statistics."""
    for number, name in enumerate(BUILT_IN):
        model = "allconv(width=8)" if name == "allconv" else name
        cell = make_cell(model=model, dropout=0.2, augment="crop_flip", normalization="batch", seed=number, **QUICK)
        cell = cell._replace(hidden="8-8" if model == PERCEPTRON else "")
        yield from (cell, cell._replace(normalization="layer"))
    own = make_cell(model=f"small@{OWN.digest}", initializer="lsuv", **QUICK)
    yield from (own, own._replace(seed=1, augment="flip", optimizer="adam", learning_rate=0.001))


@exact
def test_a_cells_bits_depend_neither_on_what_trained_before_nor_on_random_states(bars):
    data, cells = PlainData(bars), list(cells_of_modules())
    alone = {cell: bits(cell, data) for cell in cells}
    assert len(set(alone.values())) == len(cells)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    fused = make_cell(**{**QUICK, "hidden": "8"})
    list(stack.train([fused, fused._replace(activation="tanh")], Data(bars)))
    for cell in reversed(cells):
        assert bits(cell, data) == alone[cell], cell
    for cell in (cells[0], cells[-1]):
        assert plain.repeats(cell, data), cell
    # Two that train in turns, epoch by epoch.
    pair = cells[2], cells[-1]
    together = zip(*(plain.train(cell, data) for cell in pair), strict=True)
    for cell, epochs in zip(pair, zip(*together, strict=True), strict=True):
        assert all(epoch.step_losses.tobytes() in alone[cell] for epoch in epochs)


@exact
@pytest.mark.slow
def test_neither_workers_nor_a_resume_change_the_bits_of_any_model(tmp_path):
    path = small_grid(
        tmp_path,
        text=f"""
            name = "small"
            plugins = ["schemes.py"]
            dataset = "load_bars"
            [grid]
            initializer = "mine"
            model = {BUILT_IN}
            seed = 2
            [model]
            hidden = [8]
            normalization = "batch"
            dropout = 0.2
            [training]
            augment = "crop_flip"
            epochs = 2
            train_size = 256
        """,
    )
    run = partial(ib.run, path, allow_plugins=True)
    alone = run(results=tmp_path / "alone", workers=1).frame
    assert alone["cell"].nunique() == 2 * len(BUILT_IN)
    pd.testing.assert_frame_equal(run(results=tmp_path, workers=2).frame, alone, check_exact=True)
    for part in sorted((tmp_path / "small" / "parts").iterdir())[::2]:
        part.unlink()
    pd.testing.assert_frame_equal(run(results=tmp_path, workers=1).frame, alone, check_exact=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "tanh", "loss": "mse", "output_activation": "tanh"},
        {"activation": "relu", "initializer": "lsuv", "optimizer": "momentum", "learning_rate": 0.02},
        {"activation": "gelu", "initializer": "orthogonal", "optimizer": "adam", "learning_rate": 0.003, "seed": 3},
        {"activation": "relu", "standardize": True, "lr_schedule": "cosine", "warmup_epochs": 0.5, "seed": 4},
        {"activation": "selu", "bias_initializer": "uniform(low=-0.1, high=0.1)", "learning_rate": 0.03},
    ],
)
def test_a_module_from_a_file_that_is_a_perceptron_trains_as_the_fused_one(small, settings):
    fused = make_cell(hidden="24-16", train_size=1280, epochs=2, **settings)
    own = fused._replace(model=f"build@{MODULES.digest}", hidden="")
    assert (fused.is_fused, own.is_fused) == (True, False)
    initial = [plain.parameters(cell, PlainData(small, standardize=cell.standardize)) for cell in (fused, own)]
    for (W, b), (W_own, b_own) in zip(*initial, strict=True):
        # A scheme that looks at data sees pre-activations that differ by their rounding.
        np.testing.assert_allclose(W_own, W, rtol=1e-6 if "lsuv" in fused.initializer else 0)
        np.testing.assert_array_equal(b_own, b)
    # In float32 a unit of relu whose input is near 0 may be on or off, depending on the processor.
    stacked = list(stack.train([fused], Data(small, standardize=fused.standardize), torch.float64))
    for (losses, metrics), expected in zip(oracle.trained(own, small, torch.float64), stacked, strict=True):
        np.testing.assert_allclose(losses, expected.step_losses[:, 0], rtol=1e-12)
        for name, value in metrics.items():
            assert value == pytest.approx(getattr(expected, name)[0], rel=1e-12), name
