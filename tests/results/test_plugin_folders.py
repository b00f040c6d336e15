"""The code of plugins in experiments' folders: what is stored, what is read without it, and what is damaged."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest
import untrusted
from plugin_code import OWN_GRID, small_grid
from watch import limited

import initbench as ib
from initbench.api import folders, outputs
from initbench.plugins.bundle import Bundle
from initbench.reporting import comparison, own_functions
from initbench.results import clean, plugin_file, verify
from initbench.results.experiment import Experiment, standalone_text
from initbench.results.plugin_file import PLUGINS, Function, StoredPlugin
from initbench.spec import grid

SOURCE = '''
import initbench as ib


@ib.initializer
def mine(shape, *, gain: float = 1.1, seed=None, dtype="float32"):
    """Orthogonal weights times a gain."""
    return gain * ib.initializers.orthogonal(shape, seed=seed, dtype=dtype)
'''


def bundle_of(source=SOURCE, **others):
    files = {"my_schemes.py": source} | {f"{name}.py": text for name, text in others.items()}
    return Bundle("my_schemes.py", "my_schemes.py", {name: text.encode() for name, text in files.items()})


BUNDLE, EARLIER = bundle_of(), bundle_of(SOURCE.replace("1.1", "1.2"))
FUNCTION = Function("initializer", "mine", "mine(gain=1.1)", "Orthogonal weights times a gain.")
PLUGIN, EARLIER_PLUGIN = StoredPlugin(BUNDLE, (FUNCTION,)), StoredPlugin(EARLIER, (FUNCTION,))

TEXT = untrusted.GRID.replace(
    '["zeros", "he_normal", { name = "normal", std = 0.2 }]',
    f'["zeros", "mine@{BUNDLE.digest}", "mine@{BUNDLE.digest}(gain=1.3)"]',
)


def folder_with(results, *plugins, text=TEXT, **keywords):
    """An experiment with own functions, whose code was stored by `plugins`."""
    folder = untrusted.made_run(results, text, **keywords)
    plugin_file.write(folder, {plugin.bundle.digest: plugin for plugin in plugins})
    return folder


def read(folder):
    notes = []
    return plugin_file.read(folder, notes), notes


# ---------------------------------------------------------------------------------------------------------------------
# What is stored


def test_the_code_of_a_grids_plugins_is_stored_and_that_of_earlier_versions_stays(tmp_path):
    folder = folder_with(tmp_path, EARLIER_PLUGIN)
    parsed = replace(grid.parse(TEXT, allow=None), plugins={BUNDLE.digest: BUNDLE})
    for _ in range(2):
        Experiment.create(parsed, tmp_path)
        plugins, notes = read(folder)
        assert notes == []
        assert list(plugins) == [EARLIER.digest, BUNDLE.digest]  # the newest last
        assert [plugin.bundle for plugin in plugins.values()] == [EARLIER, BUNDLE]
    plugin_file.write(folder, {EARLIER.digest: EARLIER_PLUGIN})  # the file was changed back
    assert list(read(folder)[0]) == [BUNDLE.digest, EARLIER.digest]


def test_a_grid_without_plugins_writes_no_file(tmp_path):
    assert not (untrusted.made_run(tmp_path) / PLUGINS).exists()


def test_the_stored_grid_has_full_names_and_names_no_file(tmp_path):
    """On every axis with own functions, also where the user's grid has other spellings; other lines stay."""
    own = f"@{BUNDLE.digest}"
    text = f"""plugins = ["my_schemes.py"]
# A comment
[grid]
initializer = ["zeros", "mine{own}(gain=1.5)", {{ hidden = "he_normal", last = "mine{own}" }}]
loss = ["mse", "fair{own}"]
[model]
activation = "bump{own}"  # short
[training]
optimizer = {{ name = "slow{own}", beta = 0.5 }}
"""
    parsed = grid.parse(text, name="made", allow=None)
    stored = standalone_text(parsed)
    assert "my_schemes" not in stored
    assert "plugins" not in stored
    assert "# A comment" in stored
    again = grid.parse(stored, allow=None)
    assert again.axes == parsed.axes
    assert f"per_layer(first=he_normal, hidden=he_normal, last=mine{own})" in again.axes["initializer"]
    assert standalone_text(again) == stored


def test_beyond_its_limit_the_oldest_versions_are_dropped_with_a_line(tmp_path, monkeypatch):
    folder = folder_with(tmp_path)
    versions = [StoredPlugin(bundle_of(f"{SOURCE}# {i}"), (FUNCTION,)) for i in range(9)]
    for plugin in versions[:-1]:
        plugin_file.write(folder, {plugin.bundle.digest: plugin})
    monkeypatch.setattr(plugin_file, "MAX_PLUGINS_BYTES", (folder / PLUGINS).stat().st_size)
    (line,) = plugin_file.write(folder, {versions[-1].bundle.digest: versions[-1]})
    assert "the code of the oldest 1" in line
    assert list(read(folder)[0]) == [plugin.bundle.digest for plugin in versions[1:]]


# ---------------------------------------------------------------------------------------------------------------------
# What is read


HOSTILE = {
    "another digest": lambda record: record["files"].update({"my_schemes.py": "import os"}),
    "a file that is missing": lambda record: record.update(main="other.py"),
    "a file outside": lambda record: record["files"].update({"../evil.py": ""}),
    "an absolute file": lambda record: record["files"].update({"/etc/passwd": ""}),
    "a control character": lambda record: record["files"].update({"a\x1b[2J.py": ""}),
    "a number as text": lambda record: record["files"].update({"my_schemes.py": 7}),
    "a lone surrogate": lambda record: record["files"].update({"my_schemes.py": "\ud800"}),
    "files as a list": lambda record: record.update(files=[1]),
    "no functions": lambda record: record.pop("functions"),
    "functions of another type": lambda record: record.update(functions="mine"),
    "a function without a kind": lambda record: record["functions"][0].pop("kind"),
    "an unknown kind": lambda record: record["functions"][0].update(kind="script"),
    "a kind of another type": lambda record: record["functions"][0].update(kind=["initializer"]),
    "a name that is none": lambda record: record["functions"][0].update(name="</pre><script>"),
    "a name of another type": lambda record: record["functions"][0].update(name=None),
    "a signature of another type": lambda record: record["functions"][0].update(signature={}),
    "thousands of functions": lambda record: record.update(functions=record["functions"] * 2000),
    "another key": lambda record: record.update(run=True),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_damaged_record_is_left_out_with_a_line_and_the_others_are_read(tmp_path, kind):
    folder = folder_with(tmp_path, EARLIER_PLUGIN, PLUGIN)
    content = json.loads((folder / PLUGINS).read_text())
    HOSTILE[kind](content[EARLIER.digest])
    (folder / PLUGINS).write_text(json.dumps(content))
    plugins, (line,) = read(folder)
    assert plugins == {BUNDLE.digest: PLUGIN}
    assert line.startswith(f"{folder / PLUGINS}: 1 record is damaged")
    assert line.isprintable()


def test_unprintable_signatures_and_summaries_are_escaped(tmp_path):
    function = Function("initializer", "mine", "mine\x1b[2J", "a\u202eb" * 10_000)
    folder = folder_with(tmp_path, StoredPlugin(BUNDLE, (function,)))
    (stored,) = read(folder)[0][BUNDLE.digest].functions
    assert stored.signature.isprintable()
    assert stored.summary.isprintable()
    assert len(stored.summary) <= plugin_file.MAX_TEXT


@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"a": NaN}', "\xff", '{"a": 1, "a": 2}', "7"])
def test_a_damaged_file_is_a_line_for_verify_and_nothing_is_lost(tmp_path, content):
    folder = folder_with(tmp_path, PLUGIN)
    (folder / PLUGINS).write_text(content, encoding="latin-1")
    experiment = Experiment.open(folder)
    (problem,) = verify.check(experiment).problems
    assert problem.startswith(f"{folder / PLUGINS}: cannot be read (damaged")
    assert len(experiment.frame()) == 54
    assert plugin_file.write(folder, {BUNDLE.digest: PLUGIN})  # with the line, and written again
    assert read(folder) == ({BUNDLE.digest: PLUGIN}, [])


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices as POSIX has them")
@pytest.mark.parametrize(
    "irregular",
    [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path)],
    ids=["a pipe", "a folder", "a device", "a loop"],
)
def test_an_irregular_file_is_a_line(tmp_path, irregular):
    folder = folder_with(tmp_path)
    irregular(folder / PLUGINS)
    with limited():
        plugins, (line,) = read(folder)
    assert plugins == {}
    assert "cannot be read" in line


def test_verify_says_whose_code_is_not_stored_and_that_the_results_are_sound(tmp_path):
    experiment = Experiment.open(folder_with(tmp_path))
    checked = verify.check(experiment)
    assert checked.problems == []
    assert any(
        f"does not have the code of mine@{BUNDLE.digest[:6]}" in line for line in verify.lines(experiment, checked)
    )


def test_cells_of_code_that_is_not_loaded_are_not_sampled(tmp_path):
    experiment = Experiment.open(folder_with(tmp_path, PLUGIN))
    checked = verify.check(experiment)
    text = TEXT.replace('"zeros", ', "")
    own_only = folder_with(tmp_path / "own", PLUGIN, text=text)
    result = folders.verify(Experiment.open(own_only), 10, 0).retrained
    (line,) = result.code_missing
    assert result.sampled == 0
    assert line.startswith(f"needs the code of mine@{BUNDLE.digest[:6]} (my_schemes.py); ")
    assert "--plugin" in line
    assert ib.verify(own_only) == []
    assert [cell for cell in experiment.cells if cell.id in checked.cells]


# ---------------------------------------------------------------------------------------------------------------------
# Merging, comparing, cleaning


def test_merged_experiments_have_the_code_of_all(tmp_path):
    here = folder_with(tmp_path / "here", PLUGIN)
    there = folder_with(tmp_path / "there", EARLIER_PLUGIN, text=TEXT.replace(BUNDLE.digest, EARLIER.digest))
    frame = ib.merge([here, there], tmp_path / "both" / "made")
    assert frame["initializer"].nunique() == 5
    plugins, notes = read(tmp_path / "both" / "made")
    assert (plugins, notes) == ({BUNDLE.digest: PLUGIN, EARLIER.digest: EARLIER_PLUGIN}, [])
    assert ib.verify(tmp_path / "both" / "made", sample=0) == []


def test_experiments_with_own_functions_are_compared(tmp_path):
    table = ib.compare(folder_with(tmp_path / "here", PLUGIN), folder_with(tmp_path / "there"))
    assert (table["same"] == table["seeds"]).all()
    assert f"mine@{BUNDLE.digest}" in set(table["initializer"])


def test_an_own_function_is_compared_by_its_name_though_its_code_has_changed(tmp_path):
    before = folder_with(tmp_path / "here", EARLIER_PLUGIN, text=TEXT.replace(BUNDLE.digest, EARLIER.digest))
    after = folder_with(tmp_path / "there", PLUGIN)
    table = ib.compare(before, after)
    assert set(table["initializer"]) == {"zeros", f"mine@{BUNDLE.digest}", f"mine@{BUNDLE.digest}(gain=1.3)"}
    assert set(table["missing"]) == {0}
    assert (table["same"] == 3).all()  # the made-up results depend on all settings, but not on digests
    means = ib.load(before).query("epoch == epochs").groupby(["initializer", "activation"])["test_accuracy"].mean()
    row = table.set_index(["initializer", "activation"]).loc[f"mine@{BUNDLE.digest}(gain=1.3)", "tanh"]
    assert row["mean_before"] == pytest.approx(means[f"mine@{EARLIER.digest}(gain=1.3)", "tanh"])
    earlier, present = Experiment.open(before), Experiment.open(after)
    names = own_functions.replacements(earlier.grid, present.grid)
    assert {own_functions.replaced_in(cell, names) for cell in earlier.cells} == set(present.cells)
    sentences = comparison.sentences(*outputs.changes(earlier, present))
    assert f"Changed code: mine@{EARLIER.digest[:6]} → mine@{BUNDLE.digest[:6]}." in sentences[0]
    unchanged = comparison.sentences(*outputs.changes(present, present))
    assert "Changed code" not in unchanged[0]


def test_of_an_own_function_in_two_versions_none_is_compared_with_a_third(tmp_path):
    both = folder_with(tmp_path / "both", text=TEXT.replace('"zeros"', f'"mine@{EARLIER.digest}"'))
    third = bundle_of(SOURCE.replace("1.1", "1.4"))
    after = folder_with(tmp_path / "after", text=TEXT.replace(BUNDLE.digest, third.digest))
    with pytest.raises(ib.UserError, match="have no cell in common"):
        ib.compare(both, after)


def test_clean_removes_the_code(tmp_path):
    folder = folder_with(tmp_path, PLUGIN)
    assert PLUGINS in clean.clean(folder).removed
    assert not folder.exists()


# ---------------------------------------------------------------------------------------------------------------------
# A changed file


def test_cells_of_an_earlier_version_stay_and_are_counted(tmp_path):
    folder_with(tmp_path, text=TEXT.replace(BUNDLE.digest, EARLIER.digest))
    experiment = Experiment.create(grid.parse(TEXT, allow=None), tmp_path)
    missing, n_unrelated = experiment.inventory()
    assert {cell.initializer for cell in missing} == {f"mine@{BUNDLE.digest}", f"mine@{BUNDLE.digest}(gain=1.3)"}
    assert n_unrelated == len(missing) == 12
    assert experiment.earlier_functions == {f"mine@{EARLIER.digest}": 12}


def test_a_grid_may_name_two_versions_and_both_are_in_its_tables(tmp_path):
    text = TEXT.replace('"zeros"', f'"mine@{EARLIER.digest}"')
    folder = folder_with(tmp_path, EARLIER_PLUGIN, PLUGIN, text=text)
    experiment = Experiment.open(folder)
    assert experiment.inventory() == ([], 0)
    assert experiment.earlier_functions == {}
    assert {f"mine@{d}" for d in (BUNDLE.digest, EARLIER.digest)} < set(experiment.frame()["initializer"])


# ---------------------------------------------------------------------------------------------------------------------
# The whole way, each command in a process of its own


def initbench(folder, *words):
    """What a command prints; it runs in a folder, and must succeed."""
    command = [sys.executable, "-m", "initbench", *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_results_of_a_plugin_are_read_without_it_and_a_changed_file_trains_again(tmp_path):
    path = small_grid(tmp_path, text=OWN_GRID)
    results = tmp_path / "results" / "small"
    initbench(tmp_path, "run", path.name, "--allow-plugins", "--no-report")
    before = ib.load(results)
    path.unlink()
    (tmp_path / "schemes.py").rename(tmp_path / "away.txt")

    initbench(tmp_path, "report", results)
    text = (results / "report.html").read_text(encoding="utf-8")
    assert "Normal, wider than He." in text
    assert "--plugin schemes.py" in text
    assert sum(1 for _ in plugin_file.read(results, [])) == 1
    initbench(tmp_path, "figures", results)
    initbench(tmp_path, "export", results, "small.csv")
    assert set(pd.read_csv(tmp_path / "small.csv")["initializer"]) == set(before["initializer"])
    initbench(tmp_path, "export", results, "small.md")
    assert "bit-identical" in initbench(tmp_path, "compare", results, results)
    initbench(tmp_path, "merge", results, "--into", tmp_path / "both" / "small")
    assert read(tmp_path / "both" / "small") == read(results)
    printed = initbench(tmp_path, "verify", results, "--sample", 20)
    assert "Some cells cannot be retrained: " in printed
    assert "4 of 4 retrained cells have the same bits" in printed  # those of glorot_uniform and normal with tanh
    assert "Sound" in printed

    # Under another name, and given back: it is the same code.
    (tmp_path / "away.txt").rename(tmp_path / "renamed.py")
    printed = initbench(tmp_path, "verify", results, "--sample", 20, "--plugin", "renamed.py", "--allow-plugins")
    assert "12 of 12 retrained cells have the same bits" in printed
    assert "Nothing to train" in initbench(tmp_path, "run", results, "--plugin", "renamed.py", "--allow-plugins")

    # Changed, it trains again, and the earlier results stay.
    source = (tmp_path / "renamed.py").read_text()
    small_grid(tmp_path, text=OWN_GRID)
    (tmp_path / "schemes.py").write_text(source.replace("gain *", "0.5 * gain *"))
    printed = initbench(tmp_path, "run", path.name, "--allow-plugins", "--no-report")
    assert "8 cells to train, 4 are trained already" in printed
    assert "an earlier version)" in printed
    after = ib.load(results)
    assert len(after) == len(before)
    assert len(read(results)[0]) == 2
    own = before["initializer"].str.startswith("mine") | before["activation"].str.startswith("bent")
    assert not set(after["cell"]) & set(before.loc[own, "cell"])
    assert set(before.loc[~own, "cell"]) < set(after["cell"])
    assert ib.verify(results, sample=0) == []
