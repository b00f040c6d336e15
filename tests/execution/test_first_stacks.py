"""The first stack of each worker is small, so that a minute's work is soon stored, where that costs little."""

from collections import Counter
from functools import lru_cache

import made_up
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from initbench.execution import calibration, plan, start
from initbench.execution.calibration import Speeds
from initbench.execution.events import Speed
from initbench.execution.plan import FIRST_LOSS, FIRST_SECONDS
from initbench.spec import grid

GRID = """
[grid]
initializer = ["zeros", "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal"]
activation = ["tanh", "relu"]
loss = ["mse", "cross_entropy"]
seed = {seeds}
hidden = {hidden}
"""


@lru_cache
def planned(seeds, workers, hidden="[[16]]", width=None):
    parsed = grid.parse(GRID.format(seeds=seeds, hidden=hidden))
    cells = list(parsed.cells())
    widths = dict.fromkeys(calibration.kinds(cells), width) if width else None
    return plan.plan(cells, parsed.sources, workers, widths)


def ends(stacks, workers, seconds):
    """When each stack ends, if each worker takes the next one as soon as it is free."""
    free, at = [0.0] * workers, []
    for stack in stacks:
        worker = free.index(min(free))
        free[worker] += seconds(stack)
        at.append(free[worker])
    return at


times = st.floats(0.01, 1000.0)


@given(
    fixed=times,
    per_cell=times,
    seeds=st.integers(1, 30),
    workers=st.integers(1, 5),
    hidden=st.sampled_from(["[[16]]", "[[16], [64]]"]),
)
@example(fixed=1.0, per_cell=20.0, seeds=30, workers=2, hidden="[[16]]")
@example(fixed=100.0, per_cell=1.0, seeds=5, workers=2, hidden="[[16]]")
def test_a_run_trains_the_same_cells_in_about_the_same_time(fixed, per_cell, seeds, workers, hidden):
    def seconds(stack):
        return fixed + per_cell * stack.step_operations / 1e7

    stacks = planned(seeds, workers, hidden)
    changed = plan.begin_small(stacks, workers, seconds)
    assert Counter(c for s in changed for c in s.cells) == Counter(c for s in stacks for c in s.cells)
    assert {len({(c.seed, c.hidden) for c in s.cells}) for s in changed} == {1}
    before, after = ends(stacks, workers, seconds), ends(changed, workers, seconds)
    assert max(after) <= (1 + FIRST_LOSS) * max(before) * (1 + 1e-9)
    assert max(after[:workers]) <= max(before[:workers])
    if max(before[:workers]) <= FIRST_SECONDS:
        assert changed == stacks


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_where_a_narrow_stack_costs_little_each_worker_stores_results_after_a_minute(workers):
    stacks = planned(42, workers, width=24)

    def seconds(stack):  # ten minutes each, of which three seconds are for a stack of any width
        return 3.0 + 597.0 * len(stack.cells) / 24

    changed = plan.begin_small(stacks, workers, seconds)
    at = ends(changed, workers, seconds)
    assert all(0.6 * FIRST_SECONDS < end <= FIRST_SECONDS for end in at[:workers])
    assert min(ends(stacks, workers, seconds)) == pytest.approx(600.0)
    assert len(changed) == len(stacks) + workers
    sizes = [stack.operations for stack in changed[workers:]]
    assert sizes == sorted(sizes, reverse=True)


def test_where_it_costs_much_the_shortest_come_first():
    def seconds(stack):  # half of the time of a stack is for a stack of any width
        return 100.0 + 100.0 * len(stack.cells) / 24

    stacks = planned(4, 2, width=24) + planned(2, 2, width=12)[:2]
    changed = plan.begin_small(stacks, 2, seconds)
    assert changed == stacks[-2:] + stacks[:-2]


def test_a_cell_that_takes_longer_than_a_minute_is_alone():
    stacks = planned(40, 2, width=24)
    changed = plan.begin_small(stacks, 2, lambda stack: 90.0 * len(stack.cells))
    assert [len(stack.cells) for stack in changed[:3]] == [1, 1, 24]
    assert [len(stack.cells) for stack in plan.begin_small(stacks, 0, lambda s: 90.0 * len(s.cells))[:2]] == [1, 24]


def test_without_speeds_the_first_stacks_of_a_long_training_have_few_cells():
    parsed = grid.parse(GRID.format(seeds=40, hidden="[[1024, 1024]]"), overrides={"epochs": 100})
    cells = list(parsed.cells())
    stacks, seconds = start.planned_stacks(cells, parsed.sources, made_up.Instant(), width=24)
    assert [len(stack.cells) for stack in stacks[:3]] == [1, 1, 24]
    assert seconds is None
    short = grid.parse(GRID.format(seeds=4, hidden="[[16]]"), overrides={"epochs": 1})
    stacks, _ = start.planned_stacks(list(short.cells()), short.sources, made_up.Instant(), width=24)
    assert [len(stack.cells) for stack in stacks] == [24] * 4


def test_the_plan_of_a_training_begins_small_and_has_the_times_of_its_stacks(monkeypatch):
    parsed = grid.parse(GRID.format(seeds=40, hidden="[[16]]"), overrides={"epochs": 100})
    cells = list(parsed.cells())
    speed = Speeds((Speed(24, step=0.01, evaluation=0.0, start=0.0), Speed(48, step=0.02, evaluation=0.0, start=0.0)))
    monkeypatch.setattr(calibration, "speeds", lambda cells, *_: dict.fromkeys(calibration.kinds(cells), speed))
    stacks, seconds = start.planned_stacks(cells, parsed.sources, made_up.Instant())
    steps = 100 * cells[0].steps_per_epoch
    assert [len(stack.cells) for stack in stacks[:3]] == [2, 2, 24]  # 18 s for each cell of a stack of two
    for stack, (training, initial_weights) in zip(stacks, seconds, strict=True):
        assert (training, initial_weights) == (pytest.approx(steps * 0.01 * len(stack.cells) / 24), 0.0)
