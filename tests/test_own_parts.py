"""The page docs/how-to/own-parts.md: its plugins are described and tried, and its grids are trained."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import ended

from initbench.api import battery
from initbench.results import plugin_file
from initbench.results.experiment import Experiment

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "own-parts.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the page shows: the first line of each is a comment with its name."""
    folder = tmp_path_factory.mktemp("page")
    for block in re.findall(r"```(?:python|toml)\n(.*?)```", PAGE.read_text(), re.DOTALL):
        name = block.partition("\n")[0].removeprefix("# ")
        if name.endswith((".py", ".toml")):
            (folder / name).write_text(block)
    return folder


@pytest.mark.slow
def test_the_file_of_the_page_can_be_tried(folder):
    tried = battery.of_file(folder / "try_this.py", quick=True)
    assert [name.partition("@")[0] for name in tried.own] == ["coin"]


# The files of each grid's own functions, and the number of cells of one seed.
GRIDS = {
    "grid": ({"my_schemes.py"}, 3 * 2),
    "functions": ({"my_schemes.py", "my_data_schemes.py", "my_functions.py"}, 3 * 3 * 2 * 2),
    "models": ({"my_models.py", "my_data.py"}, 3 * 3),
}


def test_every_file_of_the_page_is_used(folder):
    plugins = {file for files, _ in GRIDS.values() for file in files}
    scripts = {"from_python.py", "net_from_python.py"}
    assert {p.name for p in folder.glob("*.py")} == {*plugins, *scripts, "try_this.py"}


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIDS)
def test_the_grids_of_the_page_train(folder, name, monkeypatch, capsys, without_figures):
    monkeypatch.chdir(folder)
    status, printed, errors = ended(monkeypatch, capsys, "run", f"{name}.toml", "--smoke", "--allow-plugins")
    assert status == 0, errors
    assert "not trained" not in printed
    experiment = Experiment.open(f"results/{'mine' if name == 'grid' else name}-smoke")
    files, cells = GRIDS[name]
    assert {plugin.bundle.main for plugin in plugin_file.read(experiment.folder, []).values()} == files
    assert experiment.frame()["cell"].nunique() == len(experiment.grid) == cells
    if name == "functions":
        assert sum(value.count("@") for values in experiment.grid.axes.values() for value in map(str, values)) == 6


SMALL = """
import functools, runpy
import initbench as ib
ib.run = functools.partial(ib.run, overrides={"train_size": 640, "seed": 2, "hidden": [8]})
runpy.run_path("from_python.py", run_name="__main__")
ib.run.keywords["overrides"] = {"train_size": 640, "seed": 2, "epochs": 1}
net = runpy.run_path("net_from_python.py", run_name="__main__")["result"]
print(sorted(net.frame["model"].unique()))
"""


@pytest.mark.slow
def test_the_script_of_the_page_runs(folder):
    printed = subprocess.check_output([sys.executable, "-c", SMALL], cwd=folder, text=True)
    assert re.findall(r"^(\w+)\S*: ", printed, re.MULTILINE) == ["results", "relu", "squared_relu", "Hardswish"]
    assert printed.splitlines()[-1].count("Net@") == 2
    assert (folder / "answer.svg").is_file()
    assert (folder / "results" / "from-python" / "report.html").is_file()
