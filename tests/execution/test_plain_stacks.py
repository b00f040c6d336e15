"""Cells that the plain loop trains, in the plan, its speeds and its estimates: each a stack of its own."""

import itertools

import pytest
from made_up import Instant

from initbench.errors import UserError
from initbench.execution import calibration, estimate, plan
from initbench.execution.calibration import MAX_KINDS, MAX_PLAIN_KINDS, Speeds
from initbench.execution.config import ExecutionConfig
from initbench.execution.events import Finished, Speed
from initbench.execution.process_pool import ProcessPool
from initbench.execution.scheduling import run_stacks
from initbench.functions.activations import ACTIVATIONS
from initbench.plugins import records
from initbench.plugins.bundle import Bundle
from initbench.spec import grid
from initbench.spec.columns import METRICS
from initbench.training import plain

CODE = b"""
import torch
import initbench as ib

@ib.activation
def noisy(x):
    return x.tanh() + 0.1 * torch.rand_like(x)

@ib.activation
class Learned(torch.nn.PReLU):
    pass
"""
BUNDLE = Bundle("own.py", "own.py", {"own.py": CODE})

GRID = """
[grid]
initializer = ["zeros", "he_normal", "glorot_uniform"]
activation = {activations}
hidden = {hidden}
seed = {seeds}
[training]
train_size = 1280
epochs = 2
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# The digest of a plugin whose code is nowhere: a plan needs none.
DIGEST = "0123456789abcdef0123"


def parsed(activations=("relu", "noisy"), hidden=((16,),), seeds=2):
    """A grid of these activations; those that are not initbench's are of a plugin."""
    names = [name if name in ACTIVATIONS else f"{name}@{DIGEST}" for name in activations]
    return grid.parse(GRID.format(activations=names, hidden=[list(widths) for widths in hidden], seeds=seeds))


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("width", [None, 4])
def test_a_plain_cell_is_alone_and_the_other_stacks_are_as_without_it(workers, width):
    mixed, fused = parsed(), parsed(["relu"])
    cells = list(mixed.cells())
    widths = dict.fromkeys(calibration.kinds(cells), width) if width else None
    stacks = plan.plan(cells, mixed.sources, workers, widths)
    assert sorted(cell for stack in stacks for cell in stack.cells) == sorted(cells)
    assert {len(stack.cells) for stack in stacks if not stack.cells[0].is_fused} == {1}
    assert all(len({cell.is_fused for cell in stack.cells}) == 1 for stack in stacks)
    alone = plan.plan(fused.cells(), fused.sources, 1, widths)
    assert {s.cells for s in plan.plan(cells, mixed.sources, 1, widths) if s.cells[0].is_fused} == {
        s.cells for s in alone
    }


def test_workers_end_together_with_cells_of_both_kinds():
    mixed = parsed(hidden=[(8,), (128,), (256, 256)], seeds=9)
    loads = [0.0] * 3
    for stack in plan.plan(mixed.cells(), mixed.sources, len(loads)):
        loads[loads.index(min(loads))] += stack.cost
    assert 1 - sum(loads) / len(loads) / max(loads) < 0.05


def test_the_cached_speeds_of_fused_stacks_keep_their_keys_and_a_plain_kind_has_its_functions():
    fused, mine = (next(parsed([name]).cells()) for name in ("relu", "noisy"))
    keys = [calibration._key(plan.kind_of(cell), Instant()).split(" | ") for cell in (fused, mine)]
    assert keys[0][-5:] == ["mnist", "16", "sgd", "128", "float32"]
    assert keys[1][:-1] == keys[0]
    assert keys[1][-1].startswith(f"noisy@{DIGEST}, identity, cross_entropy, perceptron, ")


def test_a_kind_that_was_not_measured_is_as_slow_as_those_that_train_as_it_does():
    mixed = parsed(["relu", "noisy"], hidden=[(16,), (64,)])
    stacks = plan.plan(mixed.cells(), mixed.sources)
    speeds = {
        stack.kind: Speeds((Speed(len(stack.cells), 1e-3 if stack.cells[0].is_fused else 1.0, 0.0, 0.0),))
        for stack in stacks
        if stack.cells[0].hidden == "16"
    }
    seconds = calibration.stack_seconds(stacks, speeds, lambda cell: 0.0)
    for stack in stacks:
        fused = stack.cells[0].is_fused
        like = next(s for s in stacks if s.cells[0].is_fused is fused and s.cells[0].hidden == "16")
        expected = 20 * (1e-3 if fused else 1.0) * stack.cost / like.cost
        assert seconds(stack)[0] == pytest.approx(expected, rel=1e-9)


def test_kinds_of_both_forms_are_measured_and_each_plain_one_alone(monkeypatch):
    names = [f"f{i}@{DIGEST}" for i in range(20)]
    hidden = "[" + ", ".join(f"[{8 * i}]" for i in range(1, 8)) + "]"
    wide = grid.parse(GRID.format(activations=["relu", *names], hidden=hidden, seeds=1))
    measured = []

    def measure_speeds(pool, stacks):
        measured.append(stacks[0])
        return [Speed(len(stacks[0].cells), 1e-3, 1e-6, 0.0)] * len(stacks)

    monkeypatch.setattr("initbench.execution.scheduling.measure_speeds", measure_speeds)
    speeds = calibration.speeds(list(wide.cells()), wide.sources, Instant())
    by_form = {form: [kind for kind in speeds if bool(kind.plain) is form] for form in (False, True)}
    assert {form: len(kinds) for form, kinds in by_form.items()} == {False: MAX_KINDS, True: MAX_PLAIN_KINDS}
    plain_widths = [len(stack.cells) for stack in measured if not stack.cells[0].is_fused]
    assert plain_widths == [1] * MAX_PLAIN_KINDS
    assert {speeds[kind].width for kind in by_form[True]} == {1}
    assert calibration.speeds(list(wide.cells()), wide.sources, Instant(), measuring=False) == speeds


@pytest.mark.parametrize("setting", ["activation", "output_activation", "optimizer", "loss"])
def test_another_precision_with_a_function_without_a_fused_form_is_refused_in_one_line(setting):
    text = f'[grid]\ninitializer = "zeros"\n{setting} = ["own@{DIGEST}"]\nprecision = ["float32", "bf16"]'
    assert not next(grid.parse(text.replace(', "bf16"', "")).cells()).is_fused
    with pytest.raises(UserError) as error:
        grid.parse(text)
    assert list(error.value.lines) == [
        f"grid: precision = 'bf16' with {setting} = 'own@{DIGEST[:6]}' is not allowed: it trains by the plain "
        "loop, in float32 alone; set precision = 'float32'"
    ]


def cells_of(mixed):
    """The cells of a grid, with the functions of the plugin in place of those whose code is nowhere."""
    records.register(BUNDLE)
    return [cell._replace(activation=cell.activation.replace(DIGEST, BUNDLE.digest)) for cell in mixed.cells()]


@pytest.mark.slow
def test_cells_of_plugins_have_the_same_bits_in_workers_of_any_number_and_order(mnist):
    """Against the plain loop in this process, cell by cell: own functions that draw at random and have parameters."""
    mixed = parsed(["noisy", "relu", "Learned"], hidden=[(16,), (12, 8)], seeds=1)
    cells = cells_of(mixed)
    stacks = plan.plan(cells, mixed.sources)
    results = []
    for workers, order in ((1, stacks), (2, stacks[::-1])):
        with ProcessPool(workers) as pool:
            finished = [event for event in run_stacks(pool, order) if isinstance(event, Finished)]
        assert all(event.environment["bits"] == "exact" for event in finished)
        metrics = {}
        for event, name in itertools.product(finished, METRICS):
            for i, cell in enumerate(event.stack.cells):
                metrics[cell, name] = repr([values[i] for values in event.metrics[name]])
        results.append(metrics)
    assert results[0] == results[1]
    assert len(results[0]) == len(cells) * len(METRICS)
    data = plain.PlainData(mnist)
    for cell in itertools.islice((cell for cell in cells if not cell.is_fused), 0, None, 3):
        epochs = list(plain.train(cell, data))
        for name in METRICS:
            assert repr([float(getattr(epoch, name)[0]) for epoch in epochs]) == results[0][cell, name], (cell, name)


@pytest.mark.slow
def test_the_estimate_of_plain_cells_is_measured_and_grows_with_them():
    few, many = parsed(["noisy"], seeds=1), parsed(["noisy"], seeds=4)
    config = ExecutionConfig(workers=1)
    (small,) = estimate.estimates([cells_of(few)], 0, few, config)
    (large,) = estimate.estimates([cells_of(many)], 0, many, config)
    assert (small.stacks, large.stacks) == (3, 12)
    assert large.seconds - small.seconds > 9 * 0.005
    fused = parsed(["relu"], seeds=1)
    (other,) = estimate.estimates([cells_of(fused)], 0, fused, config)
    assert small.memory - other.memory == pytest.approx(estimate.PLAIN_BYTES, rel=0.2)
    assert small.seconds > other.seconds + estimate.PLAIN_START_SECONDS
