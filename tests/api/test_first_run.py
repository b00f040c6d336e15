"""The first run on a machine says once what it waits for."""

from itertools import pairwise

import made_up
import pytest

from initbench.api import first_run, training
from initbench.execution import calibration, scheduling
from initbench.execution.config import LOCAL
from initbench.execution.events import Notice, Speed
from initbench.spec import grid
from initbench.system import compiled


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    return tmp_path


def test_a_run_says_what_it_does_for_the_first_time(cache, monkeypatch):
    monkeypatch.setattr(compiled, "available", lambda: True)
    both = "First run on this machine: code is compiled and fonts are listed, once, for some seconds."
    assert first_run.notice(little=False, report=True) == both
    assert first_run.notice(little=True, report=False) is None
    (cache / "initbench" / "noise-0").mkdir(parents=True)
    assert first_run.notice(little=False, report=False) is None
    assert first_run.notice(little=False, report=True) == both.replace("code is compiled and ", "")
    monkeypatch.setenv("MPLCONFIGDIR", str(cache))  # on every system
    (cache / "fontlist-v1.json").touch()
    assert first_run.notice(little=False, report=True) is None


def test_a_plan_says_once_that_it_measures_and_a_run_does_not_measure(cache, monkeypatch):
    monkeypatch.setattr(compiled, "available", lambda: False)
    monkeypatch.setattr("initbench.execution.training.WORTH_TRYING", 0)
    measured = []

    def measure(pool, stacks):
        measured.append(len(stacks[0].cells))
        return [Speed(len(stacks[0].cells), 1e-3, 1e-6, 0.0)]

    monkeypatch.setattr(scheduling, "measure_speeds", measure)
    made_up.instantly(monkeypatch)
    events = []
    training.train(grid.parse(made_up.GRID), cache / "run", LOCAL, events.append)
    assert not [event for event in events if isinstance(event, Notice)]
    assert measured == []
    lines = []
    for _ in range(2):
        training.plan(grid.parse(made_up.GRID), cache / "plan", LOCAL, lambda notice: lines.append(notice.line))
    assert lines == ["Measuring how fast this machine trains one kind of stack, once, for some seconds."]
    assert all(wide >= calibration.APART * narrow for narrow, wide in pairwise(measured))
