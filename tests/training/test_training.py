"""The stacked trainer against the plain one, and the contract on bits."""

import itertools
import time

import numpy as np
import oracle
import pytest
import torch
from cells import exact, make_cell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES
from initbench.functions.optimizers import OPTIMIZERS
from initbench.random import streams
from initbench.spec import grid
from initbench.training import kernels, plain, stack, tasks
from initbench.training.data import Data
from initbench.training.network import PassBuffers
from initbench.training.parameters import initial_parameters

RATES = {"sgd": 0.01, "momentum": 0.003, "nesterov": 0.003, "adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-4}


def cells_of(optimizer, hidden, pairs=itertools.product, **more):
    """One cell for each activation × loss; without a hidden layer the activation is the output's."""
    names = [name for name, entry in ACTIVATIONS.items() if not hidden or "hidden" in entry.tags]
    return [
        make_cell(
            activation=activation,
            output_activation="identity" if hidden else activation,
            loss=loss,
            optimizer=optimizer,
            hidden=hidden,
            learning_rate=RATES[optimizer],
            **more,
        )
        for activation, loss in pairs(names, LOSSES)
    ]


def some(names, losses):
    """Each activation with one loss, and each loss with one activation."""
    count = max(len(names), len(losses))
    return list(itertools.islice(zip(itertools.cycle(names), itertools.cycle(losses), strict=False), count))


# Each optimizer by some pairs of activation and loss, and one by all: the rest of the product is slow.
COMPARED = [
    pytest.param(optimizer, hidden, pairs, id=f"{optimizer}-{hidden or 'none'}-{name}", marks=marks)
    for optimizer in OPTIMIZERS
    for hidden in ("", "24-16-12")
    for name, pairs, marks in (
        ("some", some, ()),
        ("all", itertools.product, () if (optimizer, hidden) == ("sgd", "") else pytest.mark.slow),
    )
]


@pytest.mark.parametrize(("optimizer", "hidden", "pairs"), COMPARED)
def test_the_first_ten_losses_are_the_plain_trainers_to_1e_5_in_float32(small, optimizer, hidden, pairs):
    cells = cells_of(optimizer, hidden, pairs)
    epochs = list(stack.train(cells, Data(small), torch.float32))
    for i, cell in enumerate(cells):
        (_, start), (losses, _) = oracle.trained(cell, small, torch.float32)
        assert len(losses) == 10
        # At a kink, to rounding, the two may take the slope of either side, and Adam, which divides by the slope's
        # size, makes whole steps of that: 6e-5 in one of three seeds.
        rtol = 1e-4 if cell.loss in ("hinge", "mae") and optimizer.startswith("adam") else 1e-5
        np.testing.assert_allclose(epochs[1].step_losses[:, i], losses, rtol=rtol, err_msg=str(cell))
        assert epochs[0].validation_loss[i] == pytest.approx(start["validation_loss"], rel=1e-5)
        assert epochs[0].test_accuracy[i] == pytest.approx(start["test_accuracy"], abs=4e-3)  # one image


@pytest.mark.parametrize(("optimizer", "hidden", "pairs"), COMPARED)
def test_an_epochs_losses_are_the_plain_trainers_to_1e_10_in_float64(small, optimizer, hidden, pairs):
    cells = cells_of(
        optimizer, hidden, pairs, batch_size=50, train_size=610
    )  # 12 steps, a batch that is not a multiple of a block
    epochs = list(stack.train(cells, Data(small), torch.float64))
    for i, cell in enumerate(cells):
        _, (losses, end) = oracle.trained(cell, small, torch.float64)
        assert len(losses) == 12
        np.testing.assert_allclose(epochs[1].step_losses[:, i], losses, rtol=1e-10, err_msg=str(cell))
        for metric, expected in end.items():
            assert getattr(epochs[1], metric)[i] == pytest.approx(expected, rel=1e-9), (cell, metric)


@pytest.mark.parametrize(("train_size", "steps"), [(6400, 50), pytest.param(55_000, 429, marks=pytest.mark.slow)])
def test_an_epoch_of_the_whole_mnist_is_the_plain_trainers_to_1e_10_in_float64(mnist, train_size, steps):
    cells = [
        make_cell(activation=a, output_activation=o, loss=loss, train_size=train_size, learning_rate=0.05)
        for a, o, loss in (("tanh", "tanh", "mse"), ("softmax", "softmax", "cross_entropy"))
    ]
    for stacked in (cells, [make_cell(hidden="16", train_size=train_size, loss="mse", learning_rate=0.05)]):
        _, epoch = stack.train(stacked, Data(mnist), torch.float64)
        for i, cell in enumerate(stacked):
            _, (losses, end) = oracle.trained(cell, mnist, torch.float64)
            assert len(losses) == steps
            np.testing.assert_allclose(epoch.step_losses[:, i], losses, rtol=1e-10)
            assert epoch.test_loss[i] == pytest.approx(end["test_loss"], rel=1e-10)


def test_both_schedules_and_all_biases_are_the_plain_trainers(small):
    cells = [
        make_cell(lr_schedule=schedule, lr_decay=0.3, epochs=3, bias_initializer=bias, hidden="20", batch_size=100)
        for schedule in ("constant", "exponential")
        for bias in ("ones", "torch_linear_default", "normal(std=0.3)")
    ]
    epochs = list(stack.train(cells, Data(small), torch.float64))
    for i, cell in enumerate(cells):
        for epoch, (losses, end) in enumerate(oracle.trained(cell, small, torch.float64)):
            np.testing.assert_allclose(epochs[epoch].step_losses[:, i], losses, rtol=1e-10)
            assert epochs[epoch].validation_accuracy[i] == pytest.approx(end["validation_accuracy"])


def test_the_rate_is_the_articles_or_what_it_meant():
    article = make_cell(learning_rate=0.1, lr_decay=1e-3, epochs=10)
    assert [article.rate(epoch) for epoch in (1, 10)] == pytest.approx([0.0999, 0.0999])
    meant = make_cell(learning_rate=0.1, lr_decay=1e-3, lr_schedule="exponential", epochs=10)
    assert [meant.rate(epoch) for epoch in (1, 2, 10)] == pytest.approx([0.1, 0.0999, 0.1 * 0.999**9])


def results(cells, data):
    """Every number that training gives, by cell."""
    epochs = list(stack.train(cells, data))
    bits = {}
    for i, cell in enumerate(cells):
        numbers = [
            array[..., i] for e in epochs for array in (e.step_losses, e.validation_loss, e.test_loss, e.test_accuracy)
        ]
        bits[cell] = np.concatenate([np.ravel(n) for n in numbers]).tobytes()
    return bits


GRID = """
[grid]
initializer = ["glorot_uniform", "zeros", {{ name = "truncated_normal", std = 1.0 }}, "orthogonal"]
activation = {activations}
loss = {losses}
learning_rate = [0.1, 0.01]
seed = 1
[model]
hidden = {hidden}
output_activation = "{output}"
[training]
optimizer = "{optimizer}"
batch_size = {batch}
epochs = 1
train_size = 640
precision = "{precision}"
"""


@exact
@given(data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_cells_bits_do_not_depend_on_its_stack(small, data):
    """Random grids, random partitions into stacks in any order: every number of every cell has the same bits."""
    hidden = data.draw(st.sampled_from([[], [16], [10, 7], [33]]))
    names = [n for n, e in ACTIVATIONS.items() if not hidden or "hidden" in e.tags]
    text = GRID.format(
        activations=data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)),
        losses=data.draw(st.lists(st.sampled_from(list(LOSSES)), min_size=1, max_size=3, unique=True)),
        hidden=hidden,
        output="same" if not hidden else "identity",
        optimizer=data.draw(st.sampled_from(list(OPTIMIZERS))),
        batch=data.draw(st.sampled_from([32, 50, 128])),
        precision=data.draw(st.sampled_from(["float32", "float32", "bf16", "tf32"])),
    )
    cells = list(grid.parse(text).cells())
    held = Data(small)
    whole = results(cells, held)
    shuffled = data.draw(st.permutations(cells))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(cells) - 1), max_size=4)))
    for start, stop in itertools.pairwise([0, *cuts, len(cells)]):
        for cell, bits in results(shuffled[start:stop], held).items():
            assert bits == whole[cell], cell


@exact
def test_cells_that_begin_from_data_keep_their_bits_in_any_stack_and_are_the_plain_trainers(small):
    names = ["lsuv", "he_normal", "within_layer(beta=0.1)", "autoinit", "per_layer(first=zeros, hidden=ones, last=mup)",
             "pca", "kmeans(batches=2)", "dks", "tat", "metainit(steps=3)", "gradinit(iterations=3)"]  # fmt: skip
    cells = [
        make_cell(initializer=name, hidden="16-8", activation="tanh", bias_initializer="nguyen_widrow")
        for name in names
    ]
    data = Data(small)
    whole = stack.Steps(cells, data).take(2).numbers
    for n, cell in enumerate(cells):
        alone = stack.Steps([cell], data).take(2).numbers
        for array, other in zip(whole, alone, strict=True):
            assert array[n].numpy().tobytes() == other[0].numpy().tobytes()
        steps = stack.Steps([cell], data, torch.float64).take(3)
        loop = plain.Loop(cell, plain.PlainData(small), torch.float64).take(3)
        np.testing.assert_allclose(steps.losses[:3, 0].numpy(), loop.losses[:3, 0], rtol=1e-10)


def test_a_stack_of_one_makes_its_initial_weights_once(small):
    initialized = []
    cells = [make_cell(initializer="lsuv", hidden="16")]
    stack.Steps(cells, Data(small), initialized=lambda cell, seconds, _: initialized.append((cell, seconds > 0)))
    assert initialized == [(cells[0], True)]


@exact
def test_a_diverged_cell_leaves_its_neighbours_bits_alone(small):
    calm = [make_cell(hidden="16", loss="mse", activation="relu", initializer=n) for n in ("zeros", "he_normal")]
    wild = make_cell(hidden="16", loss="mse", activation="relu", learning_rate=1e30)
    data = Data(small)
    alone = results(calm, data)
    together = results([calm[0], wild, calm[1]], data)
    assert not np.isfinite(np.frombuffer(together[wild])).all()
    assert {cell: together[cell] for cell in calm} == alone


@exact
def test_bits_are_checked_and_hold_here(small):
    cells = cells_of("sgd", "32")[:7]
    assert stack.bits_hold(cells, Data(small))
    assert stack.bits_hold(cells[:1], Data(small))


def test_the_check_of_bits_can_fail(small, monkeypatch):
    class Leaky(stack.Steps):
        @property
        def numbers(self):
            *others, accuracy = super().numbers
            return [*others, accuracy + 1e-6 * len(accuracy)]

    monkeypatch.setattr(stack, "Steps", Leaky)
    assert not stack.bits_hold(cells_of("sgd", "")[:6], Data(small))


def test_pixels_that_are_never_lit_change_nothing(mnist):
    assert len(mnist.active_pixels) == 784 - 65
    assert (mnist.lit_counts == np.count_nonzero(mnist.train_images[5000:], axis=0)).all()
    dark = np.setdiff1d(np.arange(784), mnist.active_pixels)
    assert mnist.train_images[:, dark].max() == mnist.test_images[:, dark].max() == 0


def test_a_batch_is_its_images_with_the_dark_pixels_left_out(small):
    """The common pixels in place, of the rare ones those that the batch lights: put back, they are the images."""
    data = Data(small)
    n_common = data.n_common(64)
    assert 0 < n_common < len(data.lit)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(data.images))[: 10 * 64]).view(10, 64)
    for rows, batch in zip(order, data.batches(order, n_common), strict=True):
        whole = np.zeros((64, 784))
        whole[:, data.lit[:n_common]] = batch.common_images.numpy()
        whole[:, data.lit[n_common:][batch.rare_indices]] = batch.rare_images.numpy()
        np.testing.assert_array_equal(whole, small.train_images[500:][rows.numpy()])
        np.testing.assert_array_equal(batch.labels.numpy(), small.train_labels[500:][rows.numpy()])
        assert len(batch.rare_indices) < len(data.lit) - n_common


def test_an_evaluation_holds_every_image_once(mnist):
    data = Data(mnist)
    for blocks, images, labels in (
        (data.validation, mnist.train_images[:5000], mnist.train_labels[:5000]),
        (data.test, mnist.test_images, mnist.test_labels),
    ):
        rows = []
        for block in blocks:
            whole = np.zeros((len(block.images), 784), np.uint8)
            whole[:, data.lit[block.pixels.numpy()]] = block.images.numpy()
            rows += [row.tobytes() + bytes([label]) for row, label in zip(whole, block.labels.tolist(), strict=True)]
        assert sorted(rows) == sorted(i.tobytes() + bytes([k]) for i, k in zip(images, labels, strict=True))
    lit = np.mean([len(block.pixels) for block in data.test])
    assert lit < 500  # in the order of the file it is 567


def test_correct_is_the_first_of_the_largest(small):
    cells = [make_cell(), make_cell(loss="mse")]
    steps = stack.Steps(cells, Data(small))
    buffers = PassBuffers(steps.network, 64, training=False)
    generator = torch.Generator().manual_seed(0)
    buffers.output.copy_(torch.randint(0, 3, buffers.output.shape, generator=generator))  # full of ties
    buffers.labels.copy_(torch.randint(0, 10, (64,), generator=generator))
    expected = (buffers.output.argmax(1) == buffers.labels).sum(1)
    assert buffers.correct().tolist() == expected.tolist()
    assert 0 < expected.sum() < 128


def rounded(precision, x):
    """The nearest number with this many significant bits, ties to even: the definition, in float64."""
    mantissa, exponent = np.frexp(np.asarray(x, dtype=np.float64))
    bits = {"bf16": 8, "tf32": 11}[precision]
    return np.ldexp(np.round(mantissa * 2**bits), exponent - bits)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_operands_are_rounded_to_the_nearest(precision):
    x = np.random.default_rng(0).normal(size=10000).astype(np.float32)
    ties = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 1 + 3 * 2**-11, -1 - 2**-8], dtype=np.float32)
    x = np.concatenate([x, ties])
    operand = kernels.operand(precision, torch.device("cpu"))
    np.testing.assert_array_equal(operand(torch.from_numpy(x)).numpy(), rounded(precision, x).astype(np.float32))


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_a_precision_rounds_the_operands_of_every_product(small, precision):
    """Against the network written out in NumPy, float64, with operands rounded: one hidden layer, two steps."""
    cells = [make_cell(hidden="16", loss="mse", precision=precision, learning_rate=0.5, train_size=256)]
    _, epoch = stack.train(cells, Data(small))
    (W1, b1), (W2, b2) = initial_parameters(cells[0], cells[0].layers(784, 10))
    W1, W2 = np.vstack([W1, b1]).astype(float), np.vstack([W2, b2]).astype(float)
    order = streams.order(0, 1, 256)
    losses = []
    for step in range(2):
        rows = order[step * 128 : (step + 1) * 128]
        X = np.hstack([small.train_images[500:][rows], np.full((128, 1), 255)]).astype(float)
        Y = np.eye(10)[small.train_labels[500:][rows]]
        A = np.hstack([np.tanh(rounded(precision, X) @ rounded(precision, W1) / 255), np.ones((128, 1))])
        D = rounded(precision, A) @ rounded(precision, W2) - Y
        losses.append((D**2).mean())
        G = rounded(precision, D * 2 / 1280 * 0.5)
        below = (G @ rounded(precision, W2[:-1]).T) * (1 - A[:, :-1] ** 2)
        W2 -= rounded(precision, A).T @ G
        W1 -= rounded(precision, X).T @ rounded(precision, below) / 255
    np.testing.assert_allclose(epoch.step_losses[:, 0], losses, rtol=3e-4)
    plain = list(stack.train([make_cell(hidden="16", loss="mse", learning_rate=0.5, train_size=256)], Data(small)))[1]
    assert (plain.step_losses != epoch.step_losses).all()


def test_where_memory_is_too_small_a_stack_is_halved_and_nothing_else_changes(monkeypatch):
    sizes = []

    def work(cells):
        sizes.append(len(cells))
        if len(cells) > 3:
            raise torch.OutOfMemoryError
        return [cell * 10 for cell in cells]

    assert tasks._in_available_memory(work, list(range(11))) == [10 * i for i in range(11)]
    assert sizes == [11, 5, 2, 3, 6, 3, 3]
    with pytest.raises(torch.OutOfMemoryError):  # a single cell cannot be halved
        tasks._in_available_memory(lambda cells: work([0] * 4), [1])


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("hidden", ["", "32", "24-16"])
def test_on_a_gpu_losses_are_the_plain_trainers(small, optimizer, hidden):
    cells = cells_of(optimizer, hidden, epochs=2)
    epochs = list(stack.train(cells, Data(small, "cuda")))
    for i, cell in enumerate(cells):
        for epoch, (losses, end) in enumerate(oracle.trained(cell, small)):
            np.testing.assert_allclose(epochs[epoch].step_losses[:, i], losses, rtol=1e-3, err_msg=str(cell))
            assert epochs[epoch].test_loss[i] == pytest.approx(end["test_loss"], rel=1e-3)


def test_the_step_that_a_gpu_records_is_the_step(small, monkeypatch):
    """The counted step, which reads its batch by a counter, gives the numbers of the plain one: here on the CPU."""
    cells, data = cells_of("adam", "24")[:6], Data(small)
    plain = stack.Steps(cells, data)
    monkeypatch.setattr(data, "n_common", lambda batch_size: len(data.lit))  # as on a GPU
    counted = stack.Steps(cells, data)
    plain.take(10)
    for _ in range(10):
        counted.counted_step()
    np.testing.assert_allclose(counted.losses.numpy(), plain.losses.numpy(), rtol=1e-6)


@pytest.mark.slow
def test_a_step_of_a_stack_costs_less_than_its_cells_one_by_one(benchmark, mnist):
    """The ratio of one run on one machine, one thread each: 24 cells of the article's network."""
    cells = [
        make_cell(initializer=i, output_activation=a, activation=a, loss=n, train_size=55000)
        for i, a, n in itertools.product(
            ("zeros", "glorot_uniform", "he_normal"), ("tanh", "relu", "sigmoid", "softmax"), ("mse", "cross_entropy")
        )
    ]
    steps = stack.Steps(cells, Data(mnist)).take(5)
    loop = plain.Loop(cells[0], plain.PlainData(mnist))
    x = torch.from_numpy(mnist.train_images[:128]).float() / 255
    labels = torch.from_numpy(mnist.train_labels[:128]).long()
    times = {"stack": [], "loop": []}
    for _ in range(50):
        start = time.perf_counter()
        steps.take(1)
        middle = time.perf_counter()
        plain.descend(loop.model, loop.loss, loop.optimizer, x, labels)
        times["stack"].append(middle - start)
        times["loop"].append(time.perf_counter() - middle)
    ratio = np.median(times["loop"]) * len(cells) / np.median(times["stack"])
    benchmark.extra_info["times faster than the plain loop"] = ratio
    benchmark.pedantic(lambda: steps.take(1), rounds=50)
    assert ratio > 2
