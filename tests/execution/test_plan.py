"""The plan, the speeds that it follows, and the estimate of time and memory."""

import itertools
import json
from dataclasses import asdict

import pytest
from cells import SMALL_GRID
from made_up import Instant

from initbench.execution import calibration, estimate, plan
from initbench.execution.calibration import Speeds
from initbench.execution.config import ExecutionConfig
from initbench.execution.events import Speed
from initbench.execution.plan import MIN_WIDTH, Stack, kind_of
from initbench.execution.process_pool import ProcessPool
from initbench.spec import grid

LARGE = """
[grid]
initializer = ["zeros", "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal"]
activation = ["tanh", "relu", "gelu", "selu"]
loss = ["mse", "cross_entropy"]
seed = {seeds}
[model]
hidden = {hidden}
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def idle(stacks, workers):
    """What the workers idle at the end, as a share of their time, when each takes the next stack as it is free."""
    loads = [0.0] * workers
    for stack in stacks:
        loads[loads.index(min(loads))] += stack.operations
    return 1 - sum(loads) / workers / max(loads)


def test_a_plan_holds_every_cell_once_in_stacks_of_one_kind_longest_first():
    parsed = grid.parse(
        """
        [grid]
        initializer = ["zeros", "he_normal"]
        activation = ["tanh", "relu", "gelu"]
        hidden = [[16], [32], [64, 64]]
        optimizer = ["sgd", "adam"]
        precision = ["float32", "bf16"]
        seed = 3
        """
    )
    for workers in (1, 2, 7):
        stacks = plan.plan(parsed.cells(), parsed.sources, workers)
        assert sorted(c.id for s in stacks for c in s.cells) == sorted(c.id for c in parsed.cells())
        for s in stacks:
            assert len({(c.seed, c.hidden, c.optimizer, c.batch_size, c.precision) for c in s.cells}) == 1
        assert [s.operations for s in stacks] == sorted((s.operations for s in stacks), reverse=True)


@pytest.mark.parametrize(
    ("seeds", "workers", "allowed"),
    [(1, 2, 0.03), (5, 2, 0.03), (7, 4, 0.03), (1, 3, 0.12), (3, 16, 0.25)],  # by halves, down to six cells
)
def test_workers_end_together(seeds, workers, allowed):
    parsed = grid.parse(LARGE.format(seeds=seeds, hidden="[]").replace("[]", "[]\noutput_activation = 'same'"))
    stacks = plan.plan(parsed.cells(), parsed.sources, workers)
    assert idle(stacks, workers) <= allowed
    assert min(len(s.cells) for s in stacks) >= MIN_WIDTH


def test_stacks_have_at_most_the_requested_width():
    parsed = grid.parse(LARGE.format(seeds=8, hidden="[32]"))
    kind = kind_of(next(parsed.cells()))
    for width in (1, 7, 20, 48):
        stacks = plan.plan(parsed.cells(), parsed.sources, 1, {kind: width})
        assert max(len(s.cells) for s in stacks) <= width < 2 * max(len(s.cells) for s in stacks)


def test_in_a_stack_those_that_share_a_function_are_neighbours():
    parsed = grid.parse(LARGE.format(seeds=1, hidden="[8]"))
    (stack,) = plan.plan(parsed.cells(), parsed.sources)
    runs = [[name for name, _ in itertools.groupby(getattr(c, s) for c in stack.cells)] for s in ("activation", "loss")]
    assert len(runs[0]) == 4
    assert len(runs[1]) == 5  # to and fro: 4 × 2, less one at each change of activation


def test_operations_are_those_counted_by_hand():
    parsed = grid.parse('[grid]\ninitializer = "zeros"\nseed = 1\n[model]\nhidden = [128]\n[training]\nepochs = 2')
    (only,) = plan.plan(parsed.cells(), parsed.sources)
    first, second = 784 * 128, 128 * 10
    steps = 2 * (55000 // 128) * 128 * (2 * first + 3 * second)
    assert only.operations == 2 * (steps + 3 * 15000 * (first + second))


def test_the_time_of_a_stack_is_that_of_its_steps_evaluations_and_start():
    parsed = grid.parse(
        '[grid]\ninitializer = "zeros"\nactivation = ["relu", "tanh"]\nseed = 1\n'
        '[model]\nhidden = []\noutput_activation = "same"\n[training]\nepochs = 3'
    )
    (stack,) = plan.plan(parsed.cells(), parsed.sources)
    speeds = Speeds((Speed(2, step=0.01, evaluation=0.0001, start=0.5), Speed(10, 0.02, 0.0002, 0.9)))
    assert speeds.width == 10
    assert speeds.seconds(stack) == pytest.approx(0.5 + 3 * 429 * 0.01 + 4 * 15000 * 0.0001)
    assert speeds._at(6, "step") == pytest.approx(0.015)
    assert speeds._at(18, "step") == pytest.approx(0.03)
    assert speeds._at(1, "step") == pytest.approx(0.00875)


def test_speeds_are_measured_once_and_remembered():
    parsed = grid.parse(SMALL_GRID)
    cells = list(parsed.cells())
    with ProcessPool(1) as pool:
        assert calibration.speeds(cells, parsed.sources, pool, measuring=False) == {}
        first = calibration.speeds(cells, parsed.sources, pool)
        assert calibration.speeds(cells, parsed.sources, pool, measuring=False) == first
    (speeds,) = first.values()
    widths = [speed.width for speed in speeds.measured]
    assert widths == sorted(set(widths))
    assert all(speed.step > 0 and speed.evaluation > 0 for speed in speeds.measured)
    with ProcessPool(2) as pool:  # workers share the machine: with others it is another speed
        assert calibration.speeds(cells, parsed.sources, pool, measuring=False) == {}


def test_initial_weights_that_take_time_are_timed_once_and_follow_the_size_of_the_network():
    parsed = grid.parse(
        """
        [grid]
        initializer = ["he_normal", "lsuv", { name = "metainit", steps = 2 }]
        hidden = [[], [16], [64, 64]]
        seed = 1
        """
    )
    cells = list(parsed.cells())
    with ProcessPool(1) as pool:
        seconds = calibration.initialization(cells, parsed.sources, pool)
        again = calibration.initialization(cells, parsed.sources, pool)
    seconds_by_cell = {(c.initializer, c.hidden): seconds(c) for c in cells}
    assert {(c.initializer, c.hidden): again(c) for c in cells} == seconds_by_cell
    assert seconds_by_cell["he_normal", "64-64"] == 0
    largest, smallest = seconds_by_cell["metainit(steps=2)", "64-64"], seconds_by_cell["metainit(steps=2)", ""]
    assert 0 < largest < 10
    assert len([k for k in json.loads(calibration.file().read_text()) if k.endswith("lsuv")]) == 1
    assert smallest / largest == pytest.approx(7840 / (784 * 64 + 64 * 64 + 640))


def test_initial_weights_of_convolutions_are_timed_by_every_position():
    text = '[grid]\ninitializer = ["lsuv"]\nmodel = ["perceptron", "lenet5"]\nseed = 1\n'
    parsed = grid.parse(text)
    perceptron, lenet = parsed.cells()
    sizes = [calibration._size(cell, parsed.sources) for cell in (perceptron, lenet)]
    products = 25 * 6 * 28 * 28 + 150 * 16 * 10 * 10 + 400 * 120 + 120 * 84 + 84 * 10
    assert sizes[1] / sizes[0] == pytest.approx(products / (784 * 128 + 128 * 10))


GOOD = asdict(Speed(6, 0.01, 1e-6, 0.0))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"a": 1}', "[" * 100_000, '{"KEY": ' + "[" * 900 + "]" * 900 + "}"]
)
def test_a_damaged_memory_of_speeds_is_as_if_there_were_none(content):
    parsed = grid.parse(SMALL_GRID)
    cells = list(parsed.cells())
    calibration.file().parent.mkdir(parents=True)
    calibration.file().write_text(content.replace("KEY", calibration._key(kind_of(cells[0]), Instant())))
    assert calibration.speeds(cells, parsed.sources, Instant(), measuring=False) == {}
    calibration._store("key", [GOOD])
    assert json.loads(calibration.file().read_text())["key"] == [GOOD]


NUMBERS = ["-1", "NaN", "Infinity", "1e300", "1" + "0" * 400, '"1"', "true", "null", "[1]", "{}", "0", "1.5", "7"]
TAKEN = {"width": {"7"}, "step": {"1.5", "7"}, "another": set()}  # the others may be 0 too


@pytest.mark.parametrize("field", [*GOOD, "initialization", "another"])
def test_a_bad_number_in_the_memory_of_speeds_is_measured_again_and_a_good_one_is_taken(field):
    parsed = grid.parse(SMALL_GRID.replace('"zeros"', '"lsuv"'))
    cells, pool = list(parsed.cells()), Instant()
    key = calibration._key(kind_of(cells[0]), pool)
    calibration.file().parent.mkdir(parents=True)
    for number in NUMBERS:
        valid = number in TAKEN.get(field, {"0", "1.5", "7"})
        records = {key: {**GOOD}, f"{key} | lsuv": {"initialization": 2.5}}
        records[f"{key} | lsuv" * (field == "initialization") or key] |= {field: "NUMBER"}
        content = json.dumps({name: [record] for name, record in records.items()} | {"": [{"a": 1}]})
        calibration.file().write_text(content.replace('"NUMBER"', number))
        speeds = calibration.speeds(cells, parsed.sources, pool, measuring=False)
        assert len(speeds) == (valid or field == "initialization"), number
        for speed in speeds.values():
            assert 0 <= speed.seconds(Stack(tuple(cells), parsed.sources["mnist"])) < 1e9
        seconds = calibration.initialization(cells, parsed.sources, pool, measuring=False)
        expected = 2.5 if field != "initialization" else float(number) if valid else 0.0
        assert {seconds(cell) for cell in cells if cell.initializer == "lsuv"} == {expected}, number
        calibration._store("key", [GOOD])
        assert {"", "key"} <= set(json.loads(calibration.file().read_text()))  # another version may know what it is


def test_widths_that_do_not_rise_were_never_measured():
    cells = list(grid.parse(SMALL_GRID).cells())
    for widths, count in (([6, 12], 1), ([12, 6], 0), ([6, 6], 0), ([], 0), ([0, 6], 0)):
        records = [{**GOOD, "width": width} for width in widths]
        calibration._store(calibration._key(kind_of(cells[0]), Instant()), records)
        assert len(calibration.speeds(cells, {}, Instant(), measuring=False)) == count


def test_the_estimate_counts_what_initial_weights_take(monkeypatch):
    parsed = grid.parse(SMALL_GRID)
    cells = list(parsed.cells())
    plain = estimate.estimates([cells], 0, parsed, ExecutionConfig(workers=1))[0].seconds
    monkeypatch.setattr(calibration, "initialization", lambda *_: lambda cell: 3.0)
    assert estimate.estimates([cells], 0, parsed, ExecutionConfig(workers=1))[0].seconds == pytest.approx(
        plain + 3.0 * len(cells), rel=0.2
    )


def test_a_stack_needs_at_most_half_of_the_memory_there_is():
    parsed = grid.parse(
        """
        [grid]
        initializer = "he_normal"
        learning_rate = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08]
        seed = 1
        [model]
        hidden = [256, 256]
        [training]
        optimizer = "adam"
        """
    )
    cells = list(parsed.cells())
    source = parsed.sources["mnist"]
    # Adam's six arrays of the weights, and three of what each unit gives for 512 images, in float32.
    weights = 784 * 256 + 256 * 256 + 256 * 10
    assert plan.training_bytes(cells[0], source) == 4 * (6 * weights + 3 * 512 * (256 + 256 + 10))
    for memory, widest in ((0, 8), (1e12, 8), (8 * plan.training_bytes(cells[0], source), 4), (1.0, 1)):
        stacks = plan.plan(cells, parsed.sources, widths={plan.kind_of(cells[0]): 8}, memory=memory)
        assert max(len(stack.cells) for stack in stacks) == widest
        assert sorted(cell for stack in stacks for cell in stack.cells) == sorted(cells)


@pytest.mark.parametrize(
    ("visible", "count", "gpus", "memory"),
    [
        ("", 2, ["0", "1"], 6e9),
        ("3,5", 2, ["3", "5"], 6e9),
        ("GPU-a,GPU-b", 3, ["GPU-a", "GPU-b", "GPU-a"], 3e9),
        ("", 1, ["0"], 6e9),
    ],
)
def test_each_worker_has_a_gpu_of_its_own_as_long_as_there_are_enough(monkeypatch, visible, count, gpus, memory):
    """Two simulated GPUs, and processes that record their start."""
    from initbench.execution import process_pool

    started = []

    class Recorded:
        def __init__(self, device, variables):
            started.append((device, variables))

        def end(self):
            pass

    monkeypatch.setattr(process_pool, "WorkerProcess", Recorded)
    monkeypatch.setattr(process_pool, "gpu_memories", lambda: (int(8e9), int(6e9)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with ProcessPool(count, "cuda") as pool:
        assert pool.memory == memory
        assert pool.slot_count == count
    assert started == [("cuda", {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in gpus]
