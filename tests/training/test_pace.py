"""The speed that a training shows, with a clock that the test moves."""

from types import SimpleNamespace

import numpy as np
import pytest

from initbench.training import pace
from initbench.training.pace import Pace
from initbench.training.stack import Epoch


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(pace, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def training(clock, progress, epochs, steps=429, chunk=64, start=5.0, loading=2.0, diverged_from=99):
    """The epochs of a trainer whose steps take 0.01 s, or twice that in the second epoch, and an image 0.001 s."""
    clock.now += start
    for epoch in range(epochs + 1):
        for done in range(0, steps * (epoch > 0), chunk):
            if epoch < diverged_from:
                clock.now += min(chunk, steps - done) * (0.02 if epoch == 2 else 0.01) + loading * (
                    epoch == 1 and done == 0
                )
            progress(epoch - 1 + done / steps)
        if epoch:
            progress(float(epoch))
        if epoch < diverged_from:
            clock.now += 1.5
        loss = np.full(2, np.nan if epoch >= diverged_from else 1.0)
        yield Epoch(epoch, np.zeros((0, 2)), loss, loss, loss, loss)


@pytest.mark.parametrize("epochs", [1, 3, 4])
@pytest.mark.parametrize("chunk", [64, 8])
def test_a_speed_has_no_time_of_loading_and_of_others(clock, epochs, chunk):
    calls = []
    timing = Pace(429, 1500, calls.append)
    timing.leave_out(1.0)
    speeds = [timing.speed for _ in timing.timed(training(clock, timing.progress, epochs, chunk=chunk), may_stop=False)]
    assert speeds[0] is None
    assert len(calls) == epochs * (-(-429 // chunk) + 1)
    for speed in speeds[1:2] + speeds[3:]:  # with two epochs the median is between them
        assert speed == pytest.approx({"step": 0.01, "evaluation": 0.001, "start": 4.0})


def test_an_epoch_of_a_few_steps_is_timed_as_a_whole(clock):
    timing = Pace(5, 1500, lambda epochs: None)
    list(timing.timed(training(clock, timing.progress, 1, steps=5, loading=0.0), may_stop=False))
    assert timing.speed == pytest.approx({"step": 0.01, "evaluation": 0.001, "start": 5.0})


def test_an_epoch_in_which_a_diverged_training_takes_no_steps_does_not_count(clock):
    timing = Pace(429, 1500, lambda epochs: None)
    list(timing.timed(training(clock, timing.progress, 3, diverged_from=2), may_stop=True))
    assert timing.speed["step"] == pytest.approx(0.01)
    timing = Pace(429, 1500, lambda epochs: None)
    list(timing.timed(training(clock, timing.progress, 1, diverged_from=1), may_stop=True))
    assert timing.speed is None
