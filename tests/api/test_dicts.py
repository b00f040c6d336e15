"""`ib.run` with a dict: the same keys, values and messages as a grid file."""

import functools
import importlib
import re
import tomllib
from pathlib import Path

import made_up
import numpy as np
import pandas as pd
import pytest
import torch

import initbench as ib
from initbench.api import grids
from initbench.errors import UserError
from initbench.registry import OWN_NAME
from initbench.spec import grid
from initbench.spec.columns import SETTINGS


def parsed(settings, **options):
    return grids.grid_of(settings, options.pop("overrides", None), None, **options)[0]


def mistakes(settings, **options):
    with pytest.raises(UserError) as mistake:
        parsed(settings, **options)
    return mistake.value.lines


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory; cells train at once."""
    monkeypatch.chdir(tmp_path)
    made_up.instantly(monkeypatch)
    return tmp_path


def test_a_dict_is_the_grid_of_the_file_with_the_same_settings():
    text = """
    name = "mine"
    device = "cpu"
    equivalent_within = 0.2
    [grid]
    initializer = [
        "he_normal",
        { name = "normal", std = 0.2 },
        { first = "zeros", hidden = { name = "normal", std = 0.1 } },
    ]
    hidden = [[128], [128, 64]]
    seed = 3
    [model]
    activation = "tanh"
    [training]
    epochs = 2
    """
    mine = parsed(
        {
            "name": "mine",
            "device": "cpu",
            "equivalent_within": 0.2,
            "initializer": [
                "he_normal",
                {"name": "normal", "std": 0.2},
                {"first": "zeros", "hidden": {"name": "normal", "std": 0.1}},
            ],
            "hidden": [[128], [128, 64]],
            "seed": 3,
            "activation": "tanh",
            "epochs": 2,
        }
    )
    expected = grid.parse(text)
    assert (mine.name, mine.axes, mine.equivalent_within) == (expected.name, expected.axes, 0.2)
    assert tomllib.loads(mine.text) == tomllib.loads(text)
    assert parsed(tomllib.loads(text)).axes == expected.axes  # with the sections of a grid file


@pytest.mark.parametrize(
    ("setting", "value", "axis"),
    [
        ("hidden", [128], ("128",)),
        ("hidden", [[128], (64, 64)], ("128", "64-64")),
        ("hidden", np.array([128, 64]), ("128-64",)),
        ("hidden", [], ("",)),
        ("seed", 2, (0, 1)),
        ("seed", np.int64(2), (0, 1)),
        ("seed", range(3, 6), (3, 4, 5)),
        ("seed", np.arange(2), (0, 1)),
        ("learning_rate", np.float64(0.5), (0.5,)),
        ("learning_rate", (0.1, np.float64(0.5)), (0.1, 0.5)),
        ("learning_rate", pd.Series([0.1, 0.5]), (0.1, 0.5)),
        ("learning_rate", torch.tensor([0.25, 0.5]), (0.25, 0.5)),
        ("activation", pd.Index(["tanh", "relu"]), ("tanh", "relu")),
        ("activation", ib.activations.tanh, ("tanh",)),
        ("loss", [ib.losses.mse, "cross_entropy"], ("mse", "cross_entropy")),
        ("initializer", [ib.initializers.he_normal, ib.initializers.zeros], ("he_normal", "zeros")),
        ("initializer", ib.initializers.xavier_uniform, ("glorot_uniform",)),
        ("initializer", {"name": ib.initializers.normal, "std": np.float64(0.2)}, ("normal(std=0.2)",)),
    ],
)
def test_a_list_is_an_axis_and_a_scalar_a_value(setting, value, axis):
    assert parsed({"initializer": "he_normal", setting: value}).axes[setting] == axis


HE = {"initializer": "he_normal"}
ALLOWED = "allowed: text, a number, a list or a dict"
BAD = {
    "an unknown key": ({**HE, "epoch": 1}, {}, "ib.run: epoch: unknown setting; allowed: name, device, "),
    "an unknown name": (
        {"initializer": ["zeros", "he_norml"]},
        {},
        "ib.run: initializer[1]: unknown initializer 'he_n",
    ),
    "a value": ({**HE, "epochs": 0}, {}, "ib.run: epochs = 0 is not allowed; allowed: an integer from 1 to 100,000"),
    "a width": ({**HE, "hidden": 128}, {}, "ib.run: hidden = 128 is not allowed; allowed: a list of widths from 1 to "),
    "a rate": ({**HE, "learning_rate": float("nan")}, {}, "ib.run: learning_rate = nan is not allowed"),
    "an empty axis": ({"initializer": []}, {}, "ib.run: initializer: an empty axis; allowed: at least one value"),
    "no initializer": ({}, {}, "ib.run: initializer is missing"),
    "a name": ({**HE, "name": "../x"}, {}, "ib.run: name = '../x' is not allowed"),
    "a set": ({"initializer": {"zeros"}}, {}, f"ib.run: initializer: given {{'zeros'}}; {ALLOWED}"),
    "nothing": ({**HE, "loss": None}, {}, f"ib.run: loss: given None; {ALLOWED}, or leave the key out"),
    "a function": (
        {**HE, "epochs": len},
        {},
        "ib.run: epochs: given <built-in function len>; functions and classes are a",
    ),
    "a partial function": (
        {"initializer": functools.partial(ib.initializers.normal, std=0.2)},
        {},
        "ib.run: initializer: given a functools.partial of normal; with parameters: {'name': normal, ",
    ),
    "a module": (
        {**HE, "activation": torch.nn.ReLU()},
        {},
        "ib.run: activation: given ReLU(); allowed: a function or a class; with parameters: {'name': ReLU, ",
    ),
    "a key": ({**HE, 5: 1}, {}, "ib.run: 5: allowed: the name of a setting"),
    "a key given twice": (
        {"grid": {"seed": 2}, "seed": 3},
        {},
        "ib.run: seed: given twice, in a section and outside of",
    ),
    "an override": (HE, {"overrides": {"epochs": 0}}, "ib.run: epochs = 0 is not allowed"),
    "an override's key": (HE, {"overrides": {"epoch": 1}}, "ib.run: epoch: unknown setting"),
    "no grid": (5, {}, "ib.run: given 5; allowed: a path, the name of a preset, a dict such as "),
    "a plugin that is not there": ({**HE, "plugins": "none.py"}, {}, "ib.run: none.py: No such file or directory"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line_that_names_the_key(name):
    settings, options, start = BAD[name]
    (line,) = mistakes(settings, **options)
    assert line.startswith(start)


def test_all_mistakes_are_named_together():
    keys = [
        line.split()[1] for line in mistakes({"initializer": ["he_norml"], "epochs": 0, "seed": "a", "hidden": 128})
    ]
    assert keys == ["initializer[0]:", "seed", "hidden", "epochs"]


def test_the_experiment_of_a_dict_has_a_folder_and_is_not_trained_twice(here, monkeypatch):
    settings = {"initializer": ["zeros", "he_normal"], "activation": ["relu"], "seed": 2, "hidden": [8], "epochs": 1}
    result = ib.run(settings)
    assert result.folder == Path("results/experiment")
    assert len(result.frame) == 4 * 2
    made_up.instantly(monkeypatch, lambda task: pytest.fail("trains twice"))
    pd.testing.assert_frame_equal(ib.run(settings).frame, result.frame)
    pd.testing.assert_frame_equal(ib.run(dict(reversed(settings.items()))).frame, result.frame)
    pd.testing.assert_frame_equal(ib.run("results/experiment").frame, result.frame)
    assert len(ib.run(settings, overrides={"initializer": "zeros"}).frame) == 2 * 2
    assert ib.result("results/experiment").frame["initializer"].unique().tolist() == ["zeros"]


PLUGIN = '''
import numpy as np

def mine(shape, *, gain: float = 1.0, seed=None):
    """Normal weights."""
    return gain * np.random.default_rng(seed).normal(0, 0.1, shape)
'''


def test_the_files_of_plugins_need_leave(here):
    (here / "mine.py").write_text(PLUGIN)
    settings = {"initializer": ["mine", {"name": "mine", "gain": 2}], "plugins": ["mine.py"], "epochs": 1, "seed": 1}
    (line,) = mistakes(settings)
    assert line.startswith("ib.run: mine.py may not run: it is code; ")
    assert "allow_plugins=True" in line
    with pytest.raises(UserError, match="may not run"):
        ib.run(settings)
    assert not (here / "results").exists()
    first, second = parsed(settings, allow_plugins=True).axes["initializer"]
    assert second == f"{first}(gain=2.0)"
    assert first.startswith("mine@")


OWN = '''
import numpy as np

def mine(shape, *, gain: float = 1.0, seed=None):
    """Normal weights."""
    return gain * np.random.default_rng(seed).normal(0, 0.1, shape)

def wrong(shape):
    """Of another shape."""
    return np.zeros(3)

'''

OWN_ACTIVATION = '''
from torch import nn

class Doubled(nn.Module):
    """2 x."""

    def forward(self, x):
        return 2 * x
'''


@pytest.fixture
def own(here, monkeypatch):
    """A module with own functions; called with another source, it is defined anew."""
    monkeypatch.syspath_prepend(here)

    def define(text=OWN):
        path = here / f"{here.name}_{len(list(here.glob('*.py')))}.py"
        path.write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(path.stem)

    return define


def test_functions_and_classes_stand_for_names_and_need_no_leave(own):
    module = own()
    settings = {
        "initializer": [
            "zeros",
            module.mine,
            {"name": module.mine, "gain": np.float64(2)},
            {"first": module.mine, "hidden": "zeros", "last": {"name": module.mine, "gain": 3}},
        ],
        "bias_initializer": module.mine,
        "activation": [own(OWN_ACTIVATION).Doubled, "relu"],
        "hidden": [8],
    }
    mine = parsed(settings)
    assert [shorten(name) for name in mine.axes["initializer"]] == [
        "zeros",
        "mine",
        "mine(gain=2.0)",
        "per_layer(first=mine, hidden=zeros, last=mine(gain=3.0))",
    ]
    assert [shorten(name) for name in (*mine.axes["bias_initializer"], *mine.axes["activation"])] == [
        "mine",
        "Doubled",
        "relu",
    ]
    assert set(mine.plugins) == {digest for _, digest in OWN_NAME.findall(str(mine.axes))}
    named = parsed({"initializer": "zeros"}, overrides={"initializer": ("zeros", module.mine)})
    assert [shorten(name) for name in named.axes["initializer"]] == ["zeros", "mine"]
    (line,) = mistakes({"initializer": {"name": module.mine, "gian": 2}})
    assert re.fullmatch(r"ib\.run: initializer: mine@\w{6} has no parameter 'gian'; it takes gain; did you .*", line)


def shorten(name):
    return OWN_NAME.sub(lambda match: match[1], name)


def test_a_function_that_cannot_be_used_stops_before_anything_is_written(own, here):
    (line,) = mistakes({"initializer": ["zeros", own().wrong], "hidden": [8]})
    assert re.match(r"ib\.run: initializer = 'wrong@\w{6}': .*returned shape \(3,\) for shape = \(784, 8\)", line)
    with pytest.raises(UserError, match="returned shape"):
        ib.run({"initializer": ["zeros", own().wrong], "hidden": [8]})
    assert not (here / "results").exists()


@pytest.mark.slow
def test_a_changed_function_trains_again_and_old_results_stay(own, monkeypatch):
    settings = {"hidden": [8], "seed": 2, "epochs": 1}
    first = ib.run({**settings, "initializer": ["zeros", own().mine]}).frame
    trained = []
    made_up.instantly(
        monkeypatch, lambda task: trained.extend(cell[SETTINGS.index("initializer")] for cell in task["cells"])
    )
    changed = own(OWN.replace("0.1", "0.2")).mine
    second = ib.run({**settings, "initializer": ["zeros", changed]}).frame
    assert len(trained) == 2
    assert set(trained) == set(second["initializer"]) - {"zeros"}
    assert set(first["initializer"]) & set(second["initializer"]) == {"zeros"}
    stored = pd.read_parquet("results/experiment/parts")
    assert set(stored["initializer"]) == {*first["initializer"], *second["initializer"]}
    ib.run({**settings, "initializer": ["zeros", changed]})
    assert len(trained) == 2


def test_a_table_under_model_is_the_setting_or_the_section():
    of_table = parsed({"initializer": "he_normal", "model": {"name": "allconv", "width": 8}})
    assert of_table.axes["model"] == ("allconv(width=8)",)
    of_section = parsed({"initializer": "he_normal", "model": {"model": "lenet5", "activation": "tanh"}})
    assert (of_section.axes["model"], of_section.axes["activation"]) == (("lenet5",), ("tanh",))
