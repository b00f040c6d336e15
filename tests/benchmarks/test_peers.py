"""The benchmark against peers: that every peer does the work that initbench does, and that the floor is that work."""

import importlib.util

import numpy as np
import oracle
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peers import __main__ as command
from benchmarks.peers import jax_scan, lenet5, pytorch, work
from initbench.data import datasets
from initbench.execution import plan
from initbench.random import streams
from initbench.training.modules import initialized_module

STEPS = 4
PEERS = {"loop": pytorch.Loop, "loader": pytorch.LoaderLoop, "func": pytorch.Func, "jax": jax_scan.Scan}
needs_jax = pytest.mark.skipif(
    not importlib.util.find_spec("optax"),
    reason="JAX with optax is not installed: pip install -c constraints.txt -e '.[dev-peers]'",
)


def groups(network, models, optimizer="sgd"):
    """Those of the benchmark, trained on few images, with narrow hidden layers."""
    short = {"train_size": STEPS * 128, "epochs": 1, "hidden": "12-8" if work.NETWORKS[network] else ""}
    return [[cell._replace(**short) for cell in group] for group in work.groups(network, models, optimizer)]


def hold(cells, small, losses, metrics):
    """Losses `[steps, cells]` and metrics `[cells, 4]` are those of the plain loop."""
    assert losses.shape == (STEPS, len(cells))
    for i, cell in enumerate(cells):
        _, (expected, end) = oracle.trained(cell, small)
        np.testing.assert_allclose(losses[:, i], expected, rtol=1e-5, err_msg=str(cell))
        loss, accuracy, test_loss, test_accuracy = metrics[i]
        assert (loss, test_loss) == pytest.approx((end["validation_loss"], end["test_loss"]), rel=1e-5)
        # An image may lie on the border.
        assert accuracy == pytest.approx(end["validation_accuracy"], abs=4e-3)
        assert test_accuracy == pytest.approx(end["test_accuracy"], abs=4e-3)


@pytest.mark.parametrize(
    ("network", "optimizer"),
    [
        pytest.param("784-10", "sgd", marks=pytest.mark.slow),
        ("784-128-128-10", "sgd"),
        ("784-128-128-10", "adam"),
    ],
)
@pytest.mark.parametrize("peer", ["loop", "loader", "func", pytest.param("jax", marks=[needs_jax, pytest.mark.slow])])
def test_a_peer_trains_what_the_plain_trainer_trains(small, peer, network, optimizer):
    data = work.prepared(small)
    stacks = groups(network, 2, optimizer)
    if peer == "jax":
        data = jax_scan.on_device(data)
        # It compiles each for half a second; these hold every activation and each loss.
        stacks = stacks[1::3] if network == "784-10" else stacks[::3]
    for cells in stacks:
        trainer = PEERS[peer](cells, data, work.batches(cells[0], STEPS))
        losses = trainer.train()
        hold(cells, small, losses, trainer.evaluate())


def test_the_loop_of_lenet5_trains_what_the_plain_trainer_trains(small):
    cell = next(lenet5.lenet5_grid(1).cells())._replace(train_size=STEPS * 128, epochs=1)
    model = lenet5.lenet5()
    module, *_ = initialized_module(cell, small.shape, small.classes)
    for mine, theirs in zip(model.parameters(), module.parameters(), strict=True):
        mine.data.copy_(theirs.data)
    loop = lenet5.Loop(small, model)
    losses = loop.train(torch.from_numpy(streams.order(cell.seed, 1, cell.train_size)))
    hold([cell], small, np.array([losses]).T, [list(loop.evaluate())])


@pytest.mark.slow
def test_each_process_trains_what_the_plain_trainer_trains(small):
    cells = [group[0] for group in groups("784-10", 1)]
    processes = pytorch.started_processes(small, 2)
    trainer = pytorch.Processes(cells, processes, work.batches(cells[0], STEPS))
    losses = trainer.train()
    hold(cells * 2, small, losses, trainer.evaluate())
    for process in processes:
        process.shutdown()


@pytest.mark.parametrize("network", work.NETWORKS)
def test_the_floor_is_the_arithmetic_of_the_loop(small, network):
    source = datasets.describe(small, "")
    cell = work.groups(network, 1)[0][0]._replace(train_size=STEPS * 128, epochs=3)
    stack = plan.Stack((cell,), source)
    loop = pytorch.Loop([cell], work.prepared(small), work.batches(cell, STEPS))
    with FlopCounterMode(display=False) as step:
        loop.train()
    with FlopCounterMode(display=False) as evaluation:
        loop.evaluate()
    assert step.get_total_flops() == STEPS * stack.step_operations
    floor = step.get_total_flops() / STEPS + evaluation.get_total_flops() * work.evaluations_per_step(cell)
    assert floor == pytest.approx(stack.operations / (cell.epochs * cell.steps_per_epoch))


@pytest.mark.parametrize("network", work.NETWORKS)
def test_the_floor_of_a_step_is_a_trainings_over_its_steps(network):
    grid = work.mixed_grid(network, 2, 2)
    stacks = plan.plan(grid.cells(), grid.sources)
    cell = next(grid.cells())
    steps = len(grid) * work.EPOCHS * command.STEPS_PER_EPOCH
    assert cell.steps_per_epoch == command.STEPS_PER_EPOCH
    assert work.operations_per_step(cell) == pytest.approx(sum(stack.operations for stack in stacks) / steps)
    assert work.operations_per_step(cell, lit_pixels_only=True) < work.operations_per_step(cell)


def test_the_table_has_ratios_and_to_initbench_and_to_sgd():
    operations = work.operations_per_step(work.groups("784-10", 1)[0][0])
    peers = {tool: [90e-6, 100e-6, 110e-6] for tool in command.PEERS if tool != command.JAX}
    measured = {
        "machine": command.machine(),
        "sgemm": [operations / 20e-6, operations / 10e-6],
        "runs": {"784-10, sgd": [{"marginal": 20e-6}] * 3, "784-10, adam": [{"marginal": 24e-6}] * 3},
        "peers": {"784-10, sgd": peers, "784-10, adam": {}},
    }
    table = command.tables(measured)
    line, adam = (line for line in table.splitlines() if line.startswith("| 784-10"))
    assert "| 10.0 |" in line
    assert "| **20.0** · 50% | 1.00× |" in line
    assert "| **24.0** · 42% | 1.20× | – |" in adam
    assert "| 100 · 5.0× · 10% |" in line
    assert line.endswith("| – |")
    assert "Not to be quoted" not in table
    peers[command.LOOP][2] = 900e-6
    assert "not idle: 784-10, sgd, PyTorch loop varied 10.0-fold" in command.tables(measured)


@pytest.mark.parametrize("calls", [1, 3])
def test_an_interruption_keeps_the_complete_measurements_of_later_rounds(monkeypatch, calls):
    names = iter(range(calls))

    def run_seconds(*_):
        if next(names, None) is None:
            raise KeyboardInterrupt
        return {"marginal": 1e-5}

    monkeypatch.setattr(command, "run_seconds", run_seconds)
    monkeypatch.setattr(command, "sgemm_rate", lambda: 1e11)
    request = ["784-10", "784-128-10"], ["sgd"], (), 3, False
    if calls == 1:  # the second network has no measurement
        with pytest.raises(KeyboardInterrupt):
            command.measure(*request)
    else:
        measured = command.measure(*request)
        assert [len(runs) for runs in measured["runs"].values()] == [2, 1]
        assert "Not to be quoted: one round." in command.tables(measured)


def test_a_stack_is_32_models_that_share_their_batches():
    for network in work.NETWORKS:
        stacks = work.groups(network, work.STACK)
        assert len(stacks) == len(work.activations(network)) * len(work.LOSSES)
        for cells in stacks:
            assert len({cell.initializer for cell in cells}) == len(cells) == 32
            assert len({(cell.activation, cell.loss, cell.seed) for cell in cells}) == 1
