"""Seeds that were added after a look: the record in the folder, and when the user is warned."""

import json
import shutil
import warnings

import made_up
import pytest
from command import ended

import initbench as ib
from initbench.results import looks

INITIALIZERS = ["zeros", "he_normal"]


@pytest.fixture
def grid(tmp_path, monkeypatch):
    made_up.instantly(monkeypatch)
    path = tmp_path / "made-up.toml"
    path.write_text(made_up.GRID)
    return path


@pytest.fixture
def run(grid, tmp_path):
    """Run the grid with these settings; the numbers of seeds whose results had been seen, as a warning lists them."""

    def run(results="results", **overrides):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ib.run(grid, results=tmp_path / results, overrides=overrides)
        return seeds_in(caught)

    return run


def seeds_in(caught):
    lines = [str(warning.message) for warning in caught if "Seeds were added" in str(warning.message)]
    assert len(lines) <= 1
    return lines[0].removeprefix("Seeds were added after the results of ").partition(" seeds. ")[0] if lines else ""


def seeds_on_loading(folder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ib.load(folder)
    return seeds_in(caught)


def recorded(folder):
    return json.loads((folder / looks.LOOKS).read_bytes())


def parts(folder):
    return {path.stem[: looks.ID_LENGTH] for path in (folder / "parts").iterdir()}


def test_a_run_with_more_seeds_warns_of_the_looks_before(run, tmp_path):
    assert run(seed=2) == ""
    assert run(seed=3) == "2"
    assert run(seed=5) == "2 and 3"
    assert run(seed=5) == "2 and 3"
    assert seeds_on_loading(tmp_path / "results" / "made-up") == "2 and 3"
    assert run(seed=2) == ""  # of the parts that came later, none is shown


def test_a_look_has_the_parts_that_are_new_in_it(run, tmp_path):
    folder = tmp_path / "results" / "made-up"
    run(seed=2)
    first = parts(folder)
    run(seed=2)
    assert recorded(folder) == [sorted(first)]
    run(seed=3)
    assert recorded(folder) == [sorted(first), sorted(parts(folder) - first)]
    for seed in (2, 3):
        run("again", seed=seed)
    assert (tmp_path / "again" / "made-up" / looks.LOOKS).read_bytes() == (folder / looks.LOOKS).read_bytes()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"seed": 1}, {"seed": 3}),  # one seed shows no difference
        ({"seed": [0, 1]}, {"seed": [2, 3, 4]}),  # new seeds alone
        ({"seed": 3}, {"seed": 3, "initializer": [*INITIALIZERS, "ones"]}),  # another initializer
        ({"seed": 3}, {"seed": 5, "epochs": 3}),  # other trainings
        ({"seed": 3, "initializer": "zeros"}, {"seed": 5, "initializer": "zeros"}),  # nothing is compared
        ({"seed": 5}, {"seed": 3}),
    ],
)
def test_without_a_compared_seed_that_was_added_there_is_no_warning(run, first, second):
    assert run(**first) == ""
    assert run(**second) == ""


def test_an_interrupted_run_is_not_a_look(grid, tmp_path, monkeypatch, run):
    tasks = []

    def interrupted(task):
        tasks.append(task)
        if len(tasks) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        made_up.instantly(patch, interrupted)
        with pytest.raises(KeyboardInterrupt):
            ib.run(grid, results=tmp_path / "results", overrides={"seed": 3})
    folder = tmp_path / "results" / "made-up"
    assert parts(folder)
    assert not (folder / looks.LOOKS).exists()
    assert run(seed=3) == ""
    assert recorded(folder) == [sorted(parts(folder))]


@pytest.mark.parametrize("content", [None, b"", b"[", b'{"a": 1}', b"[1]", b"[[1]]", b"null", b"[" * 100_000])
def test_without_a_valid_record_nothing_is_known(run, tmp_path, content):
    run(seed=2)
    record = tmp_path / "results" / "made-up" / looks.LOOKS
    record.unlink()
    if content is not None:
        record.write_bytes(content)
    assert run(seed=3) == ""
    assert run(seed=4) == "3"


def test_a_merged_experiment_says_what_its_experiments_say(run, tmp_path):
    run("first", seed=2)
    run("first", seed=3)
    run("second", seed=[3, 4])
    folders = [tmp_path / name / "made-up" for name in ("first", "second")]
    with pytest.warns(UserWarning, match="after the results of 4 seeds"):  # 0, 1, 3 and 4, before 2
        ib.merge(folders, tmp_path / "merged")
    assert seeds_on_loading(tmp_path / "merged") == "4"
    assert sorted(map(len, recorded(tmp_path / "merged"))) == sorted([len(parts(folders[1])) + 2, 1])


def test_seeds_of_two_machines_were_not_added_to_each_other(run, tmp_path):
    run("first", seed=2)
    run("second", seed=[2, 3])
    (tmp_path / "second" / "made-up" / looks.LOOKS).unlink()  # as an earlier version left it
    folders = [tmp_path / name / "made-up" for name in ("first", "second")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ib.merge(folders, tmp_path / "made-up")
    shutil.move(tmp_path / "made-up", tmp_path / "results" / "made-up")
    assert run(seed=5) == "4"


def test_the_terminal_and_the_report_offer_the_valid_way(run, grid, tmp_path, monkeypatch, capsys):
    run(seed=3)
    status, _, err = ended(monkeypatch, capsys, "run", grid, "--results", tmp_path / "results", "--set", "seed=6")
    assert status == 0
    line = "Seeds were added after the results of 3 seeds."
    assert err.count(line) == 1
    page = (tmp_path / "results" / "made-up" / "report.html").read_text()
    assert page.count(line) == 1
    for text in (err, page.replace("&#34;", '"').replace("&#39;", "'")):
        assert """--set 'seed={until="decided"}'""" in text


def test_cleaning_removes_the_record(run, tmp_path, monkeypatch, capsys):
    run(seed=2)
    folder = tmp_path / "results" / "made-up"
    assert ended(monkeypatch, capsys, "clean", folder, "--yes")[0] == 0
    assert not folder.exists()


def test_comparisons_of_the_rule_hold_at_every_look_and_those_of_more_seeds_by_hand_do_not(run):
    assert run(seed=3) == ""
    assert run(seed={"until": "decided", "max": 20}) == ""
    assert run(seed=20) == "3, 5, 10 and 15"
