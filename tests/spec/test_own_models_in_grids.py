"""Models and data sets of users' code in grid files: how they are named, read, validated and stored."""

import re

import pytest

from initbench.api import battery, grids
from initbench.cli.options import pairs
from initbench.errors import UserError
from initbench.models import own as architectures
from initbench.plugins import bundle, consent, describe, host, store, trial
from initbench.results import plugin_file
from initbench.results.experiment import standalone_text
from initbench.spec import grid, own

MODELS = """
from torch import nn

def build(channels, height, width, classes, *, units: int = 8):
    first = nn.Linear(channels * height * width, units)
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), nn.Linear(units, classes))

class Net(nn.Module):
    def __init__(self, channels, height, width, classes, activation):
        super().__init__()
        self.convolution, self.activation = nn.Conv2d(channels, 4, 3), activation()
        self.last = nn.Linear(4, classes)

    def forward(self, x):
        return self.last(self.activation(self.convolution(x)).mean((2, 3)))
"""

DATA = """
import numpy as np

def load(n: int = 480):
    y = np.arange(n) % 3
    x = np.full((n, 5, 4), y[:, None, None], np.uint8)
    return {"x_train": x, "y_train": y, "x_test": x[:60], "y_test": y[:60]}

def load_nan():
    arrays = load()
    return {**arrays, "x_train": arrays["x_train"] * np.nan}
"""

GRID = """
dataset = "my_data.py:load"
[grid]
initializer = ["he_normal", "orthogonal"]
model = ["perceptron", "my_models.py:build", { name = "my_models.py:build", units = 3 }, "my_models.py:Net"]
"""


@pytest.fixture(autouse=True)
def _hosts_in_this_process(monkeypatch):
    """Execute plugins here, which takes no seconds for processes that import PyTorch."""

    def tried(self, check):
        why, results = trial.tried({**check, "reverse": False})
        return describe.shorten_digests(why), results

    monkeypatch.setattr(describe.Host, "describe", lambda self, plugin: host.describe(plugin))
    monkeypatch.setattr(describe.Host, "tried", tried)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "my_models.py").write_text(MODELS)
    (tmp_path / "my_data.py").write_text(DATA)
    (tmp_path / "grid.toml").write_text(GRID)
    return tmp_path


def read(folder, overrides=None, **options):
    return grid.read(folder / "grid.toml", overrides, **{"allow": consent.allow, **options})


def lines_of(folder, overrides):
    with pytest.raises(UserError) as mistake:
        read(folder, overrides)
    return mistake.value.lines


def test_a_function_is_named_by_its_file_and_known_by_its_digest(folder):
    parsed = read(folder)
    models, data = (bundle.read(folder / name).digest for name in ("my_models.py", "my_data.py"))
    build = f"build@{models}"
    assert parsed.axes["model"] == ("perceptron", build, f"{build}(units=3)", f"Net@{models}")
    assert set(parsed.plugins) == {models, data}
    (source,) = parsed.sources.values()
    assert (source.function, source.shape, source.classes) == (f"load@{data}", (5, 4, 1), 3)
    assert source.name.startswith("load@")
    assert {cell.network(source.shape, source.classes).shapes for cell in parsed.cells()} == {
        ((20, 128), (128, 3)),
        ((20, 8), (8, 3)),
        ((20, 3), (3, 3)),
        ((3, 3, 1, 4), (4, 3)),
    }


def test_the_stored_grid_has_the_full_names_and_no_file(folder):
    parsed = read(folder)
    text = standalone_text(parsed)
    assert ".py" not in text
    (source,) = parsed.sources.values()
    assert f'dataset = "{source.function}"' in text
    again = grid.parse(text, sources=parsed.sources, allow=None)
    assert (again.axes, again.sources) == (parsed.axes, parsed.sources)
    with_code = grid.parse(text, plugins=[folder / "my_models.py", folder / "my_data.py"], allow=consent.allow)
    assert [cell.id for cell in with_code.cells()] == [cell.id for cell in parsed.cells()]


def test_results_are_read_without_the_code_but_the_data_needs_it(folder):
    text = standalone_text(read(folder))
    with pytest.raises(UserError, match=r"dataset: the code of load@\w{6} is needed, which loads the data; give --plu"):
        grid.parse(text, allow=None)


def test_paths_are_relative_to_the_grid_file_and_those_of_set_to_the_working_directory(folder, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "others.py").write_text(MODELS + "\n# others\n")
    monkeypatch.chdir(elsewhere)
    overrides = pairs(["model=lenet5,others.py:build", "dataset=mnist"])
    assert overrides["model"] == ["lenet5", "others.py:build"]
    parsed = read(folder, overrides)
    assert parsed.axes["model"] == ("lenet5", f"build@{bundle.read('others.py').digest}")
    assert [*parsed.sources] == ["mnist"]
    with_parameters = read(folder, pairs(["model=others.py:build(units=2)", "dataset=mnist"]))
    assert with_parameters.axes["model"][0].endswith("(units=2)")
    with pytest.raises(UserError, match=r"my_models\.py: No such file"):
        read(folder, pairs(["model=my_models.py:build"]))


def test_a_function_without_a_docstring_is_stored_without_a_description(folder):
    (folder / "my_models.py").write_text(re.sub('"""[^"]*"""', "pass", MODELS))
    stored = plugin_file.plugins_of(read(folder)).values()
    summaries = {function.name: function.summary for plugin in stored for function in plugin.functions}
    assert (summaries["build"], summaries["Net"]) == ("", "")


def test_permission_is_for_the_files_that_are_named(folder):
    calls = []

    def refuse(origin, text, bundles):
        calls.append([plugin.main for plugin in bundles])
        raise UserError("no")

    (folder / "my_models.py").write_text("raise AssertionError('executed')")
    with pytest.raises(UserError, match=r"^no$"):
        read(folder, allow=refuse)
    assert calls == [["my_models.py", "my_data.py"]]
    with pytest.raises(UserError, match=r"my_models\.py, .*my_data\.py may not run: they are code"):
        read(folder, allow=consent.refuse_unless_allowed)


def test_an_experiments_own_grid_names_no_code_that_runs(folder):
    experiment = folder / "mine"
    (experiment / "parts").mkdir(parents=True)
    (experiment / "grid.toml").write_text(GRID)
    with pytest.raises(UserError, match="model: an experiment's own grid names no code that runs; give --plugin PATH"):
        read(experiment)


def test_two_files_may_each_have_a_model_of_one_name(folder):
    (folder / "others.py").write_text(MODELS + "\n# others\n")
    text = GRID.replace('"my_models.py:Net"', '"others.py:build"')
    (folder / "grid.toml").write_text(text)
    names = read(folder).axes["model"]
    assert [name.partition("@")[0] for name in names] == ["perceptron", "build", "build", "build"]
    assert len({name.partition("@")[2][:20] for name in names}) == 3


def test_plugins_give_models_and_data_their_short_names(folder):
    text = GRID.replace("my_models.py:", "").replace("my_data.py:", "")
    (folder / "grid.toml").write_text(f'plugins = ["my_models.py", "my_data.py"]\n{text}')
    short = read(folder)
    (folder / "grid.toml").write_text(GRID)
    assert short.axes == read(folder).axes


def test_what_a_file_does_not_define_is_named_with_what_it_does(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert lines_of(folder, {"model": "my_models.py:bild"})[0].endswith(
        "model: my_models.py: defines no model bild; allowed: build, Net; did you mean 'build'?"
    )
    assert lines_of(folder, {"dataset": "my_models.py:build"})[0].endswith(
        "dataset: my_models.py: build is a model; allowed: a function whose name begins with load, or marked with "
        "@ib.dataset"
    )
    assert "build@" in lines_of(folder, {"model": {"name": "my_models.py:build", "unit": 3}})[0]
    assert lines_of(folder, {"dataset": {"name": "my_data.py:load", "n": "x"}})[0].endswith(
        "n = 'x'; allowed: an integer"
    )


def test_bad_models_bad_data_and_schemes_that_do_not_fit_are_lines_of_one_message(folder, monkeypatch):
    monkeypatch.chdir(folder)
    lines = lines_of(folder, {"dataset": "my_data.py:load_nan", "initializer": ["he_normal", "no"]})
    assert len(lines) == 2
    assert "my_data.py, line 9, in load_nan: x_train" in " ".join(lines)
    small = {"dataset": {"name": "my_data.py:load", "n": 240}, "initializer": ["identity", "pca"]}
    lines = lines_of(folder, small)
    assert sum("'Net@" in line for line in lines) == 2
    assert all("is not allowed" in line for line in lines)
    settings = {"activation": ["relu", "tanh"], "dropout": 0.5, "normalization": ["none", "layer"], "hidden": [8]}
    lines = lines_of(folder, settings)
    digest = bundle.read(folder / "my_models.py").digest[:6]
    assert any("2 activations with model = " in line and f"build@{digest}" in line for line in lines)
    assert not any("activations with" in line and "Net@" in line for line in lines)
    assert any("dropout = 0.5 with model = " in line for line in lines)
    assert any("normalization = 'layer' with model = " in line and "@" in line for line in lines)


def test_a_model_is_tried_on_each_data_set(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "my_models.py").write_text(MODELS.replace("channels * height * width", "784"))
    lines = lines_of(folder, {"dataset": ["mnist", "my_data.py:load"]})
    name = f"build@{bundle.read('my_models.py').digest[:6]}"
    assert [line for line in lines if "mnist" in line] == []
    assert any(
        f"model = {name!r} with dataset = 'load@" in line and "(5 × 4 × 1) is not allowed" in line for line in lines
    )


def test_a_battery_and_a_dict_take_own_models(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "mine.py").write_text(
        "import numpy as np\ndef mine(shape, seed=None):\n    return np.random.default_rng(seed).normal(size=shape)\n"
    )
    tried = battery.of_file("mine.py", "grid.toml", allow=consent.allow)
    assert len(tried.grid.axes["model"]) == 4
    settings = {"initializer": "he_normal", "model": ["lenet5", "my_models.py:build"], "dataset": "mnist"}
    parsed = grids.grid_of(settings, None, None, allow_plugins=True)[0]
    assert parsed.axes["model"][1].startswith("build@")


def test_code_that_is_missing_is_named(folder):
    parsed = read(folder)
    names = [*parsed.axes["model"], *(source.function for source in parsed.sources.values())]
    assert not store.missing(names)
    assert own.code_missing([names[1].replace("@", "@0")[:-1]])[0].startswith("needs the code of build@0")
    assert architectures.is_known(names[1], (5, 4, 1), 3)
