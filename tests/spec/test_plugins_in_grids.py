"""Grid files that name plugins: which code is read and when, and what the names in them mean."""

from pathlib import Path

import pytest

from initbench.errors import UserError
from initbench.plugins import bundle, consent
from initbench.spec import grid
from initbench.spec.own import code_missing

SCHEMES = """
import numpy as np

def scaled(shape, *, gain: float = 1.1, seed=None):
    return gain * np.random.default_rng(seed).standard_normal(shape)
"""

GRID = 'plugins = ["my_schemes.py"]\n[grid]\ninitializer = ["he_normal", "scaled", { name = "scaled", gain = 1.3 }]\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "my_schemes.py").write_text(SCHEMES)
    (folder / "grid.toml").write_text(GRID)
    return folder


@pytest.fixture(scope="module")
def parsed(folder):
    return grid.read(folder / "grid.toml", allow=consent.allow)


def test_the_axes_have_the_names_with_the_digest_of_the_code(folder, parsed):
    digest = bundle.read(folder / "my_schemes.py").digest
    assert parsed.axes["initializer"] == ("he_normal", f"scaled@{digest}", f"scaled@{digest}(gain=1.3)")
    assert [*parsed.plugins] == [digest]
    assert parsed.plugins[digest].files == {"my_schemes.py": SCHEMES.encode()}


def test_a_changed_file_makes_other_cells_and_leaves_the_ids_of_others(folder, parsed, tmp_path):
    (tmp_path / "my_schemes.py").write_text(SCHEMES + "# changed\n")
    (tmp_path / "grid.toml").write_text(GRID)
    changed = grid.read(tmp_path / "grid.toml", allow=consent.allow)
    of_own, of_others = ({c.id for c in parsed.cells() if ("@" in c.initializer) == own} for own in (True, False))
    changed_ids = {c.id for c in changed.cells()}
    assert not of_own & changed_ids
    assert of_others < changed_ids
    assert len(of_others) == 5


def test_paths_are_relative_to_the_grid_file_and_those_of_overrides_to_the_working_directory(
    folder, parsed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        grid.parse(GRID, allow=consent.allow)
    assert grid.parse(GRID, folder=folder, allow=consent.allow).axes == parsed.axes
    (tmp_path / "other.py").write_text(SCHEMES + "\n# other\n")
    read = grid.read(folder / "grid.toml", {"plugins": ["other.py"]}, allow=consent.allow)
    assert [plugin.main for plugin in read.plugins.values()] == ["other.py"]
    without = GRID.partition("\n")[2]
    assert grid.parse(without, plugins=[folder / "my_schemes.py"], allow=consent.allow).axes == parsed.axes
    assert grid.parse(without, bundles=[*parsed.plugins.values()]).axes == parsed.axes


def test_no_code_is_loaded_without_leave_and_leave_is_requested_for_what_is_read(folder):
    calls = []

    def refuse(origin, text, bundles):
        calls.append((origin, text, [plugin.main for plugin in bundles]))
        raise UserError("no")

    (folder / "fails.py").write_text("raise AssertionError('executed')")
    with pytest.raises(UserError, match=r"^no$"):
        grid.parse('plugins = ["my_schemes.py", "fails.py"]', origin="x.toml", folder=folder, allow=refuse)
    assert calls == [("x.toml", 'plugins = ["my_schemes.py", "fails.py"]', ["my_schemes.py", "fails.py"])]
    with pytest.raises(UserError, match="--allow-plugins"):
        grid.read(folder / "grid.toml")


def test_an_experiments_grid_names_no_code_that_is_loaded(folder, tmp_path):
    experiment = tmp_path / "mine"
    (experiment / "parts").mkdir(parents=True)
    (experiment / "my_schemes.py").write_text("raise AssertionError('executed')")
    (experiment / "grid.toml").write_text(GRID)
    with pytest.raises(UserError, match=r"names no code that runs; give --plugin PATH"):
        grid.read(experiment / "grid.toml", allow=consent.allow)
    with pytest.raises(UserError, match="in the folder of an experiment"):
        grid.parse(GRID, folder=experiment, allow=consent.allow)


def test_results_are_read_by_names_whose_code_is_not_there():
    full = "gone@0123456789abcdef0123"
    text = f"""
        [grid]
        initializer = ["he_normal", "{full}(gain=1.3)", {{ hidden = "{full}", last = "zeros" }}]
        activation = ["relu", "{full}"]
        loss = ["mse", "{full}(smoothing=0.1)"]
        optimizer = "{full}"
    """
    read = grid.parse(text, allow=None)
    assert read.axes["initializer"][1:] == (
        f"{full}(gain=1.3)",
        f"per_layer(first={full}, hidden={full}, last=zeros)",
    )
    assert read.axes["loss"] == ("mse", f"{full}(smoothing=0.1)")
    assert len({cell.id for cell in read.cells()}) == 3 * 2 * 2 * 5
    lines = code_missing([*read.axes["initializer"], *read.axes["loss"]])
    assert lines == ["needs the code of gone@012345; give its path: --plugin PATH"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plugins = 3", "plugins = 3 is not allowed; allowed: a list of paths of Python files"),
        ('plugins = [""]', "plugins = "),
        ('plugins = ["no.py"]', "no.py: No such file"),
        ('plugins = ["."]', "regular file"),
        ('[grid]\nplugins = ["my_schemes.py"]', "grid.plugins: does not belong here; allowed: at the top"),
        (GRID.replace('"scaled"', '"scalled"', 1), "unknown initializer 'scalled'"),
        (GRID.replace("gain", "gian"), "has no parameter 'gian'; it takes gain; did you mean 'gain'"),
        (GRID.replace("1.3", "true"), "gain = True; allowed: a finite number"),
        (GRID.replace("1.3", "1.1"), "is on this axis more than once"),
    ],
)
def test_mistakes_are_one_line_each(folder, text, message):
    with pytest.raises(UserError) as raised:
        grid.parse(
            text if "initializer" in text else f'{text}\n[model]\ninitializer = "zeros"',
            folder=folder,
            allow=consent.allow,
        )
    assert any(message in line for line in raised.value.lines)


def installed_plugin(folder, code):
    """Install the package `my_package` in a folder, with a plugin of this code."""
    package, info = folder / "my_package", folder / "my_package-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("")
    (package / "schemes.py").write_text(code)
    (package / "scale.py").write_text("SCALE = 0.5\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[initbench.plugins]\nmine = my_package.schemes\n")
    return info


PACKAGED = (
    "import numpy as np\nimport initbench as ib\nfrom .scale import SCALE\n"
    "@ib.initializer\ndef packaged(shape, *, gain: float = 1.0): return np.full(shape, SCALE * gain)\n"
)


def test_the_plugins_of_installed_packages_need_no_path(tmp_path, monkeypatch):
    info = installed_plugin(tmp_path, PACKAGED)
    monkeypatch.syspath_prepend(tmp_path)
    read = grid.parse('[grid]\ninitializer = ["he_normal", "packaged"]')
    (plugin,) = read.plugins.values()
    assert read.axes["initializer"][1] == f"packaged@{plugin.digest}"
    modules = {f"my_package/{name}.py" for name in ("__init__", "schemes", "scale")}
    assert set(plugin.files) == {"my_package.schemes.py", *modules}
    (info / "entry_points.txt").write_text("[initbench.plugins]\nmine = my_pakage.schemes\n")
    with pytest.raises(UserError, match="there is no Python module my_pakage"):
        grid.parse('[grid]\ninitializer = ["he_normal"]')


def test_what_lies_in_the_working_directory_is_not_installed(tmp_path, monkeypatch):
    installed_plugin(tmp_path, "raise AssertionError('executed')\n")
    monkeypatch.chdir(tmp_path)
    for entry in ("", ".", str(tmp_path)):
        with monkeypatch.context() as patch:
            patch.syspath_prepend(entry)
            assert grid.parse('[grid]\ninitializer = "he_normal"').plugins == {}


def test_an_installed_plugin_that_fails_stops_no_grid(tmp_path, monkeypatch):
    installed_plugin(tmp_path, "raise ValueError('broken')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match=r"an installed plugin cannot be used: .*ValueError: broken"):
        assert len(grid.parse('[grid]\ninitializer = "he_normal"')) == 5


def test_reading_results_executes_nothing_although_the_code_is_known(parsed, monkeypatch):
    full = parsed.axes["initializer"][1]
    monkeypatch.setattr("initbench.plugins.describe.Host._ask", lambda *_: pytest.fail("executed"))
    read = grid.parse(f'[grid]\ninitializer = ["he_normal", "{full}(gain=4.5)"]', allow=None)
    assert read.axes["initializer"][1] == f"{full}(gain=4.5)"


def test_a_path_that_leads_out_of_an_experiment_again_is_none_of_its_files(folder, parsed, tmp_path, monkeypatch):
    inside = tmp_path / "results" / "mine"
    (inside / "parts").mkdir(parents=True)
    (inside / "grid.toml").write_text("")
    (tmp_path / "my_schemes.py").write_text(SCHEMES)
    monkeypatch.chdir(inside)
    assert grid.parse(GRID, folder=Path("../.."), allow=consent.allow).axes == parsed.axes
