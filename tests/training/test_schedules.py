"""Schedules, weight decay, smoothed labels and clipping in both trainers, against a loop in PyTorch alone."""

import itertools

import numpy as np
import oracle
import pytest
import torch
from cells import exact, make_cell
from torch import nn
from torch.optim import lr_scheduler

from initbench.errors import UserError
from initbench.functions.optimizers import OPTIMIZERS
from initbench.random import streams
from initbench.spec import grid
from initbench.spec.cell import Cell
from initbench.training import stack
from initbench.training.data import Data
from initbench.training.parameters import initial_parameters

OF_PYTORCH = {
    "sgd": lambda p, rate, decay: torch.optim.SGD(p, rate, weight_decay=decay),
    "momentum": lambda p, rate, decay: torch.optim.SGD(p, rate, 0.9, weight_decay=decay),
    "nesterov": lambda p, rate, decay: torch.optim.SGD(p, rate, 0.9, weight_decay=decay, nesterov=True),
    "adam": lambda p, rate, decay: torch.optim.Adam(p, rate, weight_decay=decay),
    "adamw": lambda p, rate, decay: torch.optim.AdamW(p, rate, weight_decay=decay),
    "rmsprop": lambda p, rate, decay: torch.optim.RMSprop(p, rate, weight_decay=decay),
}
RATES = {"adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-4}


def scheduler(optimizer, cell):
    """PyTorch's scheduler of a cell's rates, stepped at every step; None of a constant rate."""
    warmup, end = round(cell.warmup_epochs * cell.steps_per_epoch), cell.epochs * cell.steps_per_epoch
    parts = []
    if warmup:
        parts.append(lr_scheduler.LinearLR(optimizer, 1 / warmup, total_iters=warmup - 1))
    if cell.lr_schedule == "cosine":
        parts.append(lr_scheduler.CosineAnnealingLR(optimizer, max(end - warmup, 1)))
    elif cell.lr_schedule == "exponential":  # the epochs are counted from the begin of the training
        steps = cell.steps_per_epoch
        parts.append(lr_scheduler.LambdaLR(optimizer, lambda t: (1 - cell.lr_decay) ** ((t + warmup) // steps)))
    if len(parts) < 2:
        return parts[0] if parts else None
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[warmup])


def losses_in_pytorch(cell, arrays, weight_decay=0.0, label_smoothing=0.0):
    """The losses of all steps and the loss of the test split, by an ordinary loop over float64 arrays."""
    split = arrays.validation_size
    images, labels = torch.from_numpy(arrays.train_images[split:] / 255.0), torch.from_numpy(arrays.train_labels).long()
    (W, b), (V, c) = initial_parameters(cell, ((784, int(cell.hidden)), (int(cell.hidden), 10)), dtype="float64")
    model = nn.Sequential(nn.Linear(784, len(b)), nn.Tanh(), nn.Linear(len(b), 10)).double()
    with torch.no_grad():
        for parameter, start in zip(model.parameters(), (W.T, b, V.T, c), strict=True):
            parameter.copy_(torch.from_numpy(np.array(start)))
    name = cell.optimizer.partition("(")[0]
    optimizer = OF_PYTORCH[name](model.parameters(), cell.learning_rate, weight_decay)
    schedule = scheduler(optimizer, cell)
    criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
    losses = []
    for epoch in range(1, cell.epochs + 1):
        order = torch.from_numpy(streams.order(cell.seed, epoch, cell.train_size))
        for rows in order[: cell.steps_per_epoch * cell.batch_size].split(cell.batch_size):
            loss = criterion(model(images[rows]), labels[split:][rows])
            optimizer.zero_grad()
            loss.backward()
            if cell.gradient_clipping:
                nn.utils.clip_grad_norm_(model.parameters(), cell.gradient_clipping)
            optimizer.step()
            if schedule:
                schedule.step()
            losses.append(loss.item())
    with torch.no_grad():
        test = criterion(
            model(torch.from_numpy(arrays.test_images / 255.0)), torch.from_numpy(arrays.test_labels).long()
        )
    return losses, test.item()


def of_oracle(cell, arrays):
    """The same numbers by the plain loop."""
    epochs = list(oracle.trained(cell, arrays, torch.float64))
    return np.concatenate([losses for losses, _ in epochs]), epochs[-1][1]["test_loss"]


def of_stack(cells, arrays):
    """The same numbers of a stack's cells."""
    epochs = list(stack.train(cells, Data(arrays), torch.float64))
    losses = np.concatenate([epoch.step_losses for epoch in epochs])
    return [(losses[:, i], epochs[-1].test_loss[i]) for i in range(len(cells))]


def assert_equal(numbers, expected):
    for ours, theirs in zip(numbers, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


SCHEDULES = [
    {"warmup_epochs": 1.5},
    {"warmup_epochs": 3.0},
    {"lr_schedule": "cosine"},
    {"lr_schedule": "cosine", "warmup_epochs": 0.5},
    {"lr_schedule": "cosine", "warmup_epochs": 3.0},
    {"lr_schedule": "exponential", "lr_decay": 0.3, "warmup_epochs": 0.5},
    {},
]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "momentum(weight_decay=0.1)"])
def test_rates_of_every_step_are_pytorchs_in_both_trainers(small, optimizer):
    """One stack has all schedules; batches of 50 are no whole blocks."""
    rate = RATES.get(optimizer, 0.05)
    common = {"optimizer": optimizer, "hidden": "16", "train_size": 256, "batch_size": 50, "epochs": 3}
    cells = [make_cell(**common, learning_rate=rate, **schedule) for schedule in SCHEDULES]
    decay = 0.1 if "decay" in optimizer else 0.0
    for cell, numbers in zip(cells, of_stack(cells, small), strict=True):
        expected = losses_in_pytorch(cell, small, decay)
        assert_equal(numbers, expected)
        assert_equal(of_oracle(cell, small), expected)


def test_the_rates_are_those_of_pytorchs_schedulers():
    for schedule, batch_size in itertools.product(SCHEDULES, (32, 50, 256)):
        cell = make_cell(train_size=256, epochs=3, learning_rate=0.3, batch_size=batch_size, **schedule)
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], cell.learning_rate)
        theirs = scheduler(optimizer, cell)
        for rate in [rate for epoch in (1, 2, 3) for rate in cell.step_rates(epoch)]:
            assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12, abs=1e-17)
            optimizer.step()
            if theirs:
                theirs.step()


@exact
@pytest.mark.parametrize("optimizer", ["sgd", "adam(weight_decay=0.01)", "sgd(weight_decay=0.01)"])
def test_a_cells_bits_do_not_depend_on_the_schedules_of_its_stack(small, optimizer):
    data = Data(small)
    common = {"optimizer": optimizer, "hidden": "16", "train_size": 256, "batch_size": 32, "epochs": 3}
    smoothed = make_cell(**common, loss="cross_entropy(label_smoothing=0.1)")
    cells = [smoothed, *(make_cell(**common, **schedule) for schedule in SCHEDULES)]

    def bits(part):
        epochs = list(stack.train(part, data))
        return [
            np.concatenate([[*e.step_losses[:, i], e.test_loss[i]] for e in epochs]).tobytes() for i in range(len(part))
        ]

    together = bits(cells)
    assert bits(cells[::-1]) == together[::-1]
    assert [bits([cell])[0] for cell in cells] == together  # the last one without a rate that changes in an epoch
    assert stack.bits_hold(cells, data)


@pytest.mark.parametrize("optimizer", OF_PYTORCH)
def test_weight_decay_and_smoothed_labels_are_pytorchs_in_both_trainers(small, optimizer):
    assert set(OF_PYTORCH) == set(OPTIMIZERS)
    cells = [
        make_cell(
            optimizer=f"{optimizer}(weight_decay=0.3)",
            learning_rate=RATES.get(optimizer, 0.05),
            loss="cross_entropy(label_smoothing=0.2)",
            hidden="16",
            train_size=640,
            batch_size=batch_size,
        )
        for batch_size in (50, 64)
    ]
    assert all(cell.is_fused for cell in cells)
    for cell in cells:
        expected = losses_in_pytorch(cell, small, 0.3, 0.2)
        assert_equal(of_stack([cell], small)[0], expected)
        assert_equal(of_oracle(cell, small), expected)


def test_clipped_gradients_are_pytorchs(small):
    cell = make_cell(gradient_clipping=0.1, hidden="16", train_size=256, batch_size=32, epochs=2, lr_schedule="cosine")
    assert not cell.is_fused
    expected = losses_in_pytorch(cell, small)
    assert_equal(of_oracle(cell, small), expected)
    free = losses_in_pytorch(cell._replace(gradient_clipping=0.0), small)
    assert abs(free[1] - expected[1]) > 0.01  # the limit was reached


@pytest.mark.parametrize("batch_size", [32, 50, 256])
def test_all_of_it_together_is_pytorchs_at_each_batch_size(small, batch_size):
    clipped = make_cell(
        optimizer="adamw(weight_decay=0.1)",
        learning_rate=1e-3,
        loss="cross_entropy(label_smoothing=0.1)",
        lr_schedule="cosine",
        warmup_epochs=0.5,
        gradient_clipping=0.5,
        hidden="16",
        train_size=256,
        batch_size=batch_size,
        epochs=3,
    )
    fused = clipped._replace(gradient_clipping=0.0)
    assert (clipped.is_fused, fused.is_fused) == (False, True)
    assert_equal(of_oracle(clipped, small), losses_in_pytorch(clipped, small, 0.1, 0.1))
    assert_equal(of_stack([fused], small)[0], losses_in_pytorch(fused, small, 0.1, 0.1))


def test_a_warm_up_of_one_step_and_none_are_the_same_rates():
    cell = Cell(train_size=256, batch_size=64, epochs=1, learning_rate=1.0)
    assert cell._replace(warmup_epochs=0.25).step_rates(1) == cell.step_rates(1) == [1.0] * 4


@pytest.mark.parametrize(
    ("training", "line"),
    [
        ("lr_schedule = 'cosine'\nlr_decay = 0.1", "lr_decay = 0.1 with lr_schedule = 'cosine' is not allowed"),
        (
            "warmup_epochs = 3\nepochs = 2",
            "warmup_epochs = 3.0 with epochs = 2 is not allowed; allowed: at most the epochs",
        ),
        ("warmup_epochs = -1", "warmup_epochs = -1 is not allowed; allowed: a number of epochs from 0 up"),
        ("gradient_clipping = inf", "gradient_clipping = inf is not allowed; allowed: the largest norm"),
        ("gradient_clipping = 1\nprecision = 'bf16'", "precision = 'bf16' with gradient_clipping = 1.0 is not allowed"),
        ("lr_schedule = 'cosin'", "lr_schedule = 'cosin' is not allowed; allowed: 'constant', 'exponential'"),
    ],
)
def test_schedules_that_contradict_themselves_are_refused(training, line):
    with pytest.raises(UserError) as error:
        grid.parse(f"[grid]\ninitializer = ['zeros']\n[training]\n{training}")
    assert line in error.value.lines[0]


@pytest.mark.parametrize(
    ("warmups", "batch_size", "line"),
    [
        ([0.0, 0.4, 1.1, 1.2], 16384, "warmup_epochs = 0.0 and 0.4 would be the same cell 2 times: with batch_size = "),
        ([0.0, 1.6, 2.0], 55_000, "warmup_epochs = 1.6 and 2.0 would be the same cell 2 times: with batch_size = "),
    ],
)
def test_two_warm_ups_of_the_same_steps_are_refused(warmups, batch_size, line):
    text = f"[grid]\ninitializer = ['zeros']\nwarmup_epochs = {warmups}\nbatch_size = [128, {batch_size}]"
    with pytest.raises(UserError) as error:
        grid.parse(text)
    (message,) = error.value.lines
    assert f"{line}{batch_size}, " in message


def test_a_smoke_test_of_a_grid_with_a_long_warm_up_warms_up_in_its_epoch():
    text = "[grid]\ninitializer = ['zeros']\nwarmup_epochs = [0.5, 3, 5]\n[training]\nepochs = 10"
    smoke = grid.parse(text, overrides=grid.smoke_overrides(grid.parse(text)))
    assert (smoke.axes["warmup_epochs"], smoke.axes["epochs"]) == ((0.5, 1.0), (1,))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_step_that_a_gpu_records_has_the_rate_of_its_step(small, optimizer):
    """The counted step reads its batch and its rates by a counter: here on the CPU."""
    common = {"optimizer": optimizer, "hidden": "16", "train_size": 256, "batch_size": 32, "epochs": 3}
    cells = [make_cell(**common, standardize=True, **schedule) for schedule in SCHEDULES]
    data = Data(small, standardize=True)
    steps, counted = stack.Steps(cells, data), stack.Steps(cells, data)
    for epoch in (1, 2):
        steps.begin(epoch)
        counted.begin(epoch)
        steps.take(8)
        for _ in range(8):
            counted.counted_step()
        np.testing.assert_allclose(counted.losses.numpy(), steps.losses.numpy(), rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_on_a_gpu_rates_of_every_step_are_the_plain_loops(small, optimizer):
    rate = RATES.get(optimizer, 0.05)
    common = {"optimizer": optimizer, "hidden": "16", "train_size": 640, "batch_size": 64, "epochs": 3}
    cells = [make_cell(**common, learning_rate=rate, **schedule) for schedule in SCHEDULES]
    epochs = list(stack.train(cells, Data(small, "cuda")))
    for i, cell in enumerate(cells):
        for epoch, (losses, _) in zip(epochs, oracle.trained(cell, small), strict=True):
            np.testing.assert_allclose(epoch.step_losses[:, i], losses, rtol=1e-3, err_msg=str(cell))
