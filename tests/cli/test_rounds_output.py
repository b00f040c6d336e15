"""A grid whose seeds a rule adds, on the command line: what is printed, and what resumes."""

import re

import made_up
import pytest
from command import ended

from initbench.api import training
from initbench.execution.estimate import Estimate

RULE = 'seed={until="decided", min=5, max=15}'


@pytest.fixture
def grid(tmp_path, monkeypatch):
    made_up.instantly(monkeypatch)
    path = tmp_path / "made-up.toml"
    path.write_text(made_up.GRID)
    return path


def test_a_run_prints_each_look_and_how_the_rule_ended(grid, tmp_path, monkeypatch, capsys, without_figures):
    command = ["run", grid, "--results", tmp_path, "--set", RULE]
    status, out, _ = ended(monkeypatch, capsys, *command)
    folder = tmp_path / "made-up"
    assert status == 0
    lines = [line for line in out.splitlines() if "cells," not in line and "cells/s" not in line]
    assert lines[:4] == [
        f"{folder}: 20 cells to train",
        "After 5 seeds 4 of 4 configurations are undecided: 20 cells more",
        "After 10 seeds 4 of 4 configurations are undecided: 20 cells more",
        "Stopped at the maximum of 15 seeds: 4 of 4 configurations are undecided. 15 seeds each, 60 runs in all.",
    ]
    status, out, _ = ended(monkeypatch, capsys, *command)
    assert status == 0
    assert out.startswith(f"Nothing to train: all 60 cells are in {folder} already.\n{lines[3]}\n")
    status, out, _ = ended(monkeypatch, capsys, "verify", folder, "--sample", 0)
    assert out.splitlines()[0].startswith(f"{folder}: 60 of 60 cells")


@pytest.mark.slow
def test_an_interrupted_round_resumes_with_the_rule(grid, tmp_path, monkeypatch, capsys, without_figures):
    tasks = []

    def interrupted(task):
        tasks.append(task)
        if task["cells"][0][-1] == 7:  # a seed of the second round
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        made_up.instantly(patch, interrupted)
        status, out, _ = ended(patch, capsys, "run", grid, "--results", tmp_path, "--set", RULE)
    assert status == 130
    assert re.search(r"Interrupted\. Kept: \d+ of 40 cells, in .*made-up\. Lost: nothing\.$", out, re.MULTILINE)
    assert f"Resume with: initbench run {grid} --set 'seed={{until=\"decided\", min=5, max=15}}'" in out
    status, out, _ = ended(monkeypatch, capsys, "report", tmp_path / "made-up")
    assert "of 40 cells are trained; the report covers these" in out
    status, out, _ = ended(monkeypatch, capsys, "run", grid, "--results", tmp_path, "--set", RULE)
    assert status == 0
    assert "60 runs in all" in out


def test_a_plan_prints_the_least_and_the_most(grid, tmp_path, monkeypatch, capsys):
    def estimates(trainings, *_):
        return [Estimate(len(cells), 3, 60.0 * len(cells), 2e9, 2, "cpu") for cells in trainings]

    monkeypatch.setattr(training, "estimates", estimates)
    status, out, _ = ended(monkeypatch, capsys, "plan", grid, "--results", tmp_path, "--set", RULE)
    assert (status, out.splitlines()) == (
        0,
        [
            "at most 60 cells: 2 initializers × 2 activations × 5 to 15 seeds",
            "at least 20 cells, 3 stacks to train, by 2 workers",
            "about 20 min and 2.0 GB of memory (estimated on this machine)",
            "at most 60 cells, 3 stacks: about 1 h and 2.0 GB of memory",
        ],
    )


def test_a_mistake_in_a_rule_is_a_line_and_status_2(grid, monkeypatch, capsys):
    status, _, err = ended(monkeypatch, capsys, "plan", grid, "--set", 'seed={until="decided", min=9, max=3}')
    assert (status, err) == (2, f"{grid}: grid.seed: min = 9 is above max = 3; allowed: at most max\n")
