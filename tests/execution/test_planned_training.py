"""A training learns from its first stacks how fast the machine trains, plans the others by it, and ends together."""

from collections import Counter
from functools import partial

import made_up
import pytest
from simulated import Simulated

from benchmarks.waiting import RUN
from initbench.api.progress import Forecast
from initbench.execution import calibration, plan
from initbench.execution.calibration import Speeds
from initbench.execution.events import Finished, Planned, Speed
from initbench.execution.plan import Stack, kind_of
from initbench.execution.scheduling import run_stacks
from initbench.execution.training import planned_training
from initbench.spec import grid


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def narrow_is_fast(width):
    return 0.56e-3 * width * (1.1 if width > 8 else 1.0)


def wide_is_fast(width):
    return 2e-3 + 0.4e-3 * width


def parse(seeds=3, overrides=None):
    return grid.parse(RUN, overrides={"seed": seeds, **(overrides or {})})


def run(pool, seeds=3, width=None, overrides=None):
    """The cells and the events of a training."""
    parsed = parse(seeds, overrides)
    cells = list(parsed.cells())
    return cells, list(planned_training(cells, parsed.sources, pool, width, partial(run_stacks, pool)))


def widths(pool):
    return [width for _, width, _ in pool.sent]


@pytest.mark.parametrize(("step", "best"), [(narrow_is_fast, 6), (wide_is_fast, 12)])
@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_stacks_show_the_fastest_width_which_the_others_have(step, best, workers):
    pool = Simulated(workers, step)
    cells, events = run(pool, seeds=6)
    assert {action for action, *_ in pool.sent} == {"train"}  # nothing is measured apart
    assert widths(pool)[:2] == [6, 12]
    others = Counter(widths(pool)[2:])
    assert all(width <= best for width in others)
    assert others[best] * best > 0.6 * len(cells)
    trained = [cell for event in events if isinstance(event, Finished) for cell in event.stack.cells]
    assert sorted(trained) == sorted(cells)


def test_a_first_run_takes_hardly_longer_than_a_second_one_which_tries_nothing():
    first, second = Simulated(2, narrow_is_fast), Simulated(2, narrow_is_fast)
    cells, _ = run(first)
    (measured_speeds,) = calibration.speeds(cells, {}, second, measuring=False).values()
    assert [(speed.width, speed.step) for speed in measured_speeds.measured] == [
        (width, pytest.approx(narrow_is_fast(width))) for width in (6, 12)
    ]
    run(second)
    assert widths(second) == [6] * 12
    assert max(first.ends) < 1.04 * max(second.ends)
    assert max(second.ends) == pytest.approx(36 * 5 * 429 * narrow_is_fast(1))


def test_cached_speeds_of_a_few_widths_are_completed():
    cells = list(parse().cells())
    pool = Simulated(2, wide_is_fast)
    calibration.remember(kind_of(cells[0]), pool, [Speed(12, wide_is_fast(12), 0.0, 0.0)])
    run(pool)
    assert widths(pool)[0] == 6
    (measured_speeds,) = calibration.speeds(cells, {}, pool, measuring=False).values()
    assert [speed.width for speed in measured_speeds.measured] == [6, 12]


def test_each_plan_holds_all_cells_and_its_times_come_with_the_speeds():
    pool = Simulated(2, narrow_is_fast)
    cells, events = run(pool)
    plans = [event for event in events if isinstance(event, Planned)]
    for planned in plans:
        assert sorted(cell for stack in planned.stacks for cell in stack.cells) == sorted(cells)
    assert plans[0].seconds is None
    for stack, (training, initial_weights) in zip(plans[1].stacks, plans[1].seconds, strict=True):
        expected = narrow_is_fast(len(stack.cells)) * 5 * 429
        assert (training, initial_weights) == (pytest.approx(expected, rel=0.12), 0.0)


def test_the_time_left_is_shown_when_the_speeds_are_known():
    pool = Simulated(2, narrow_is_fast)
    parsed = parse()
    cells = list(parsed.cells())
    forecast, shown = Forecast(len(cells), 0.0), []
    for event in planned_training(cells, parsed.sources, pool, None, partial(run_stacks, pool)):
        forecast.add(event, pool.now)
        if (left := forecast.seconds_left) is not None:
            shown.append((pool.now, left))
    end = max(pool.ends)
    assert shown[0][0] == pytest.approx(429 * narrow_is_fast(12))  # an epoch of the wider stack
    assert all(abs(left - (end - now)) < max(0.1 * end, 1.0) for now, left in shown)
    assert (forecast.finished, forecast.done) == (len(cells), len(cells))


def test_a_lost_stack_is_tried_again_and_does_not_keep_the_others_from_being_planned():
    pool = Simulated(2, wide_is_fast, dying=1)
    cells, events = run(pool)
    assert sum(len(event.stack.cells) for event in events if isinstance(event, Finished)) == len(cells)
    assert len([event for event in events if isinstance(event, Planned)]) > 1
    (measured_speeds,) = calibration.speeds(cells, {}, pool, measuring=False).values()
    assert [speed.width for speed in measured_speeds.measured] == [6]  # that of the lost stack came too late


@pytest.mark.parametrize(("width", "overrides"), [(4, None), (None, {"train_size": 640, "epochs": 1})])
def test_nothing_is_tried_where_the_width_is_given_or_the_training_is_short(width, overrides):
    pool = Simulated(2, narrow_is_fast)
    cells, events = run(pool, width=width, overrides=overrides)
    assert sum(widths(pool)) == len(cells)
    assert max(widths(pool)) <= (width or 24)
    assert calibration.speeds(cells, {}, pool, measuring=False) == {}
    assert len([event for event in events if isinstance(event, Planned)]) == 1


def test_few_cells_are_no_trial_that_takes_as_long_as_all():
    pool = Simulated(4, narrow_is_fast)
    run(pool, seeds=1, overrides={"epochs": 20})
    assert max(pool.ends) <= 6 * 20 * 429 * narrow_is_fast(1) * 1.01


def last_end(stacks, busy, seconds):
    free = list(busy)
    for stack in stacks:
        worker = free.index(min(free))
        free[worker] += seconds(stack)
    return max(free)


@pytest.mark.parametrize(
    ("sizes", "busy", "before", "after"),
    [
        ([8, 8, 8], [0.0, 0.0], 16.0, 12.5),
        ([6] * 6, [0.0] * 4, 12.0, 9.5),
        ([6, 6], [0.0, 5.0], 11.0, 9.0),
        ([6, 6], [0.0, 0.0], 6.0, 6.0),
        ([6], [4.0, 30.0], 30.0, 30.0),
        ([3, 3, 3], [0.0, 0.0], 6.0, 6.0),
    ],
)
def test_the_last_stacks_are_halved_where_the_last_worker_then_ends_earlier(sizes, busy, before, after):
    parsed = parse()
    cells = list(parsed.cells())
    stacks = [Stack(tuple(cells[:size]), parsed.sources["mnist"]) for size in sizes]
    halved = plan.end_together(stacks, busy, lambda stack: float(len(stack.cells)))
    assert sum(len(stack.cells) for stack in halved) == sum(sizes)
    assert last_end(stacks, busy, lambda stack: len(stack.cells)) == before
    assert last_end(halved, busy, lambda stack: len(stack.cells)) <= after
    # Where a narrow stack takes as long as a wide one, nothing is gained.
    assert plan.end_together(stacks, busy, lambda stack: 10.0) == stacks


def test_workers_end_together_though_one_began_later():
    late = 6.0
    pools = [Simulated(2, narrow_is_fast, late) for _ in range(2)]
    cells = list(parse().cells())
    calibration.remember(
        kind_of(cells[0]), pools[0], [Speed(width, narrow_is_fast(width), 0.0, 0.0) for width in (3, 6, 12)]
    )
    run(pools[0])
    ideal = (72 * 5 * 429 * narrow_is_fast(1) + late) / 2
    assert max(pools[0].ends) < 1.03 * ideal
    assert sum(widths(pools[0])) == 72


def test_a_slot_has_its_next_stack_before_the_results_of_the_last_one_are_stored():
    sent = []
    pool = made_up.Instant(lambda request: sent.append(request["task"]))
    parsed = grid.parse(made_up.GRID)
    stacks = [Stack((cell,), parsed.sources["mnist"]) for cell in parsed.cells()]
    total, counts = len(stacks), []
    for event in run_stacks(pool, stacks):
        if isinstance(event, Finished):
            counts.append(len(sent))
    assert stacks == []
    assert len(counts) == total
    assert all(count >= min(total, finished + 2) for finished, count in enumerate(counts, 1))


def test_a_speed_is_the_mean_of_those_of_one_width_and_newer_than_a_cached_one():
    speeds = Speeds((Speed(6, 1.0, 1.0, 1.0), Speed(24, 4.0, 1.0, 1.0)))
    combined = calibration.combined(
        speeds, [Speed(6, 2.0, 0.0, 0.0), Speed(6, 4.0, 0.0, 1.0), Speed(12, 5.0, 0.0, 0.0)]
    )
    assert combined.measured == (Speed(6, 3.0, 0.0, 0.5), Speed(12, 5.0, 0.0, 0.0), Speed(24, 4.0, 1.0, 1.0))
