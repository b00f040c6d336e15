"""What `initbench run NAME` means: a file, an experiment's folder, a preset, or the only grid file of the folder."""

import re
from pathlib import Path

import made_up
import pytest
from command import ended
from page import Page

import initbench as ib
from initbench.cli import options
from initbench.errors import UserError
from initbench.spec import presets
from initbench.spec.gridfile import find, label

PRESET = presets.path("keepcoding")
OTHER_TOML = '[project]\nname = "x"\n[tool.ruff]\nline-length = 120\n'


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def experiment(folder):
    (folder / "parts").mkdir(parents=True)
    (folder / "grid.toml").write_text(made_up.GRID)


def test_a_file_goes_before_a_preset_of_its_name_and_an_experiments_folder_too(here):
    assert find("keepcoding") == find(Path("keepcoding")) == PRESET
    (here / "keepcoding").mkdir()  # a folder without an experiment
    assert find("keepcoding") == PRESET
    experiment(here / "keepcoding" / "perceptron")
    assert find("keepcoding/perceptron") == Path("keepcoding/perceptron/grid.toml")
    experiment(here / "perceptron")
    assert find("perceptron") == Path("perceptron/grid.toml")
    (here / "keepcoding").rename(here / "results")
    (here / "keepcoding").write_text(made_up.GRID)
    assert find("keepcoding") == Path("keepcoding")
    assert find("results") == Path("results")  # reading it says that it is a folder
    assert [label(PRESET), label(Path("results/x.toml"))] == ["keepcoding", "results/x.toml"]


def test_a_preset_that_is_named_by_option_goes_before_a_file_and_a_folder_of_its_name(here, monkeypatch, capsys):
    (here / "keepcoding").write_text(made_up.GRID)
    experiment(here / "perceptron")
    assert options.find_grid(Path("keepcoding")) == Path("keepcoding")
    for name in ("keepcoding", "perceptron"):
        assert options.find_grid(None, name) == presets.path(name)
        assert options.grid_words(presets.path(name), name) == ["--preset", name]
    assert capsys.readouterr().out == ""
    for command in ("plan", "signal"):
        assert ended(monkeypatch, capsys, command, "--preset", "kepcoding") == (
            2,
            "",
            f"unknown preset 'kepcoding'; allowed: {', '.join(presets.names())}; did you mean 'keepcoding'?\n",
        )
        assert ended(monkeypatch, capsys, command, "g.toml", "--preset", "keepcoding") == (
            2,
            "",
            "--preset keepcoding: given together with g.toml; give one of them\n",
        )


def test_without_a_name_it_is_the_only_file_that_names_initializers(here):
    (here / "pyproject.toml").write_text(OTHER_TOML)
    (here / "folder.toml").mkdir()
    with pytest.raises(UserError, match=r"^there is no grid file in this folder; name one or a preset: keepcoding,"):
        find(None)
    (here / "mine.toml").write_text("[grid]\ninitializer = ['zero']")  # its mistake is not a reason to leave it out
    assert find(None) == Path("mine.toml")
    (here / "mine.toml").write_text("[model]\ninitializer = 'zeros'")
    (here / "broken.toml").write_text("a = [")
    assert find(None) == Path("mine.toml")
    for i in range(10):
        (here / f"z{i}.toml").write_text(made_up.GRID)
    with pytest.raises(UserError) as several:
        find(None)
    assert several.value.lines[0].startswith("there are several grid files in this folder: mine.toml, z0.toml, z1.toml")
    assert "z6.toml, 3 more; name one of them, or a preset: " in several.value.lines[0]


def test_without_a_name_a_single_file_of_invalid_toml_is_read_so_that_its_mistake_is_shown(here, capsys):
    (here / "mine.toml").write_text("[grid]\ninitializer = [zeros]")
    status, _, errors = ended(None, capsys, "plan")
    assert (status, errors.startswith("mine.toml: invalid TOML")) == (2, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kepcoding", "kepcoding: No such file or directory, and no preset of that name; did you mean 'keepcoding'?"),
        ("mlp", "mlp: No such file or directory, and no preset of that name; did you mean 'perceptron'?"),
        ("mine", "mine: No such file or directory, and no preset of that name; did you mean 'mine.toml'?"),
        ("mime.toml", "mime.toml: No such file or directory, and no preset of that name; did you mean 'mine.toml'?"),
        ("results/fist", "results/fist: No such file or directory; did you mean 'first'?"),
        ("results/kepcoding", "results/kepcoding: No such file or directory; `initbench new grid.toml` writes one"),
        ("qqq", "qqq: No such file or directory, and no preset of that name; `initbench new grid.toml` writes one"),
        ("results", "results: is a folder; give a grid file, such as results/grid.toml"),
    ],
)
def test_a_name_that_means_nothing_is_one_line_with_the_nearest_that_does(here, capsys, name, message):
    (here / "mine.toml").write_text(made_up.GRID)
    experiment(here / "results" / "first")
    for command in ("plan", "run"):
        assert ended(None, capsys, command, name) == (2, "", f"{message}\n")
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        ib.run(name)


def test_a_mistake_in_an_override_names_the_preset_and_not_where_it_is_installed(here, capsys):
    status, _, errors = ended(None, capsys, "plan", "keepcoding", "--set", "epochs=0")
    assert status == 2
    assert errors == "keepcoding: training.epochs = 0 is not allowed; allowed: an integer from 1 to 100,000\n"


def test_a_preset_that_is_run_by_its_name_is_a_complete_experiment(here, monkeypatch, capsys, without_figures):
    made_up.instantly(monkeypatch)
    (here / "perceptron.toml").write_text(made_up.GRID)
    status, out, _ = ended(None, capsys, "run", "perceptron", "--width", "15")
    assert status == 0
    assert out.startswith("Grid: the preset perceptron, not the file perceptron.toml\n")
    folder = here / "results" / "perceptron"
    assert (folder / "grid.toml").read_text() == presets.text("perceptron")

    page = Page((folder / "report.html").read_text())
    assert "initbench run perceptron " in f"{page.text} "
    assert "Save the grid" not in page.text
    frame = ib.run("perceptron", width=15, results=here / "again").frame  # the command that the page names
    assert set(frame["cell"]) == set(ib.load(folder)["cell"])

    status, out, _ = ended(None, capsys, "run", "results/perceptron")  # it continues
    assert (status, "Nothing to train: all 75 cells" in out) == (0, True)


def test_a_preset_with_other_settings_is_reproduced_from_a_file(here, monkeypatch, capsys, without_figures):
    made_up.instantly(monkeypatch)
    assert ended(None, capsys, "run", "perceptron", "--width", "15", "--set", "seed=3")[0] == 0
    page = Page((here / "results" / "perceptron" / "report.html").read_text())
    assert "Save the grid as perceptron.toml and run: initbench run perceptron.toml" in page.text


def test_an_interrupted_preset_resumes_by_its_name(here, capsys):
    def interrupt(task):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        made_up.instantly(patch, interrupt)
        status, out, _ = ended(None, capsys, "run", "perceptron", "--width", "15", "--set", "seed=3")
    assert status == 130
    assert "Resume with: initbench run perceptron --set seed=3 --width 15\n" in out


def test_without_a_name_the_file_that_is_run_is_printed(here, monkeypatch, capsys, without_figures):
    made_up.instantly(monkeypatch)
    (here / "pyproject.toml").write_text(OTHER_TOML)
    (here / "mine.toml").write_text(made_up.GRID)
    status, out, _ = ended(None, capsys, "run")
    assert (status, out.startswith("Grid: mine.toml\n")) == (0, True)
    assert (here / "results" / "made-up" / "report.html").is_file()
