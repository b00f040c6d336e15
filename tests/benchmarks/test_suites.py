"""asv's suites of training and of whole commands."""

import sys

import pytest

from benchmarks import waiting
from benchmarks.suites import startup, training
from initbench.functions.optimizers import OPTIMIZERS


def test_every_optimizer_but_sgd_is_measured():
    assert {*training.Optimizers.params[0], "sgd"} == set(OPTIMIZERS)


@pytest.mark.slow
def test_a_step_is_measured_relative_to_one_of_sgd():
    suite = training.Optimizers()
    suite.setup("momentum")
    assert 0.2 < suite.track_times_sgd("momentum") < 20


def test_every_command_that_people_wait_for_is_measured_but_the_long_run():
    assert {*startup.Waiting.params[0], "run"} == set(waiting.WAITS)
    suite = startup.Waiting()
    suite.repeats = 1
    suite.setup("help")
    assert suite.track_times_reference("help") > 0
    suite.teardown("help")


def test_a_version_without_what_is_measured_is_skipped(monkeypatch):
    monkeypatch.setitem(sys.modules, "benchmarks.waiting", None)
    monkeypatch.delattr("benchmarks.waiting", raising=False)
    with pytest.raises(NotImplementedError):
        startup.Waiting().setup("help")
