"""The script of a cell: it prints the figures of the experiment, and draws the weights of initbench."""

import ast
import dataclasses
import math
import os
import shlex
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from cells import make_cell
from command import ended
from plugin_code import bundle
from torch import nn

import initbench as ib
from initbench.data import datasets
from initbench.functions import pytorch
from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES
from initbench.functions.optimizers import OPTIMIZERS
from initbench.initializers import INITIALIZERS
from initbench.initializers._base import fans
from initbench.models.built_in import MODELS
from initbench.random import streams
from initbench.scripts import network, schemes
from initbench.scripts.program import MAX_LINES, program
from initbench.spec.columns import METRICS
from initbench.training import plain, stack
from initbench.training.data import Data
from initbench.training.plain import PlainData


@pytest.fixture(scope="module")
def digits(mnist, tmp_path_factory):
    """The first 600 training and 120 test images of MNIST, as a folder of IDX files."""
    folder = tmp_path_factory.mktemp("digits")
    for stem, images, labels, count in (
        ("train", mnist.train_images, mnist.train_labels, 600),
        ("t10k", mnist.test_images, mnist.test_labels, 120),
    ):
        header = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28)
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(header + images[:count].tobytes())
        header = struct.pack(">4BI", 0, 0, 8, 1, count)
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(header + labels[:count].tobytes())
    return datasets.find({"idx": str(folder)})


def trained(cell, source):
    """The figures of a cell in its experiment, by epoch; None where they are not numbers."""
    arrays = source.load()
    if cell.is_fused:
        epochs = stack.train([cell], Data(arrays, standardize=cell.standardize))
    else:
        epochs = plain.train(cell, PlainData(arrays, standardize=cell.standardize))
    rows = [[float(getattr(epoch, name)[0]) for name in METRICS] for epoch in epochs]
    return [[None if math.isnan(value) else value for value in row] for row in rows]


def executed(text, monkeypatch, *arguments):
    """The names that a script defines, executed here."""
    monkeypatch.setattr(sys, "argv", ["repro.py", *arguments])
    environment = dict(os.environ)
    names = {}
    try:
        exec(compile(text, "repro.py", "exec"), names)
    finally:
        os.environ.clear()
        os.environ.update(environment)
        torch.set_deterministic_debug_mode("default")
    return names


MODERN = {
    "lr_schedule": "cosine",
    "warmup_epochs": 0.5,
    "gradient_clipping": 0.5,
    "standardize": True,
    "loss": "cross_entropy(label_smoothing=0.1)",
    "optimizer": "adamw",
    "learning_rate": 0.01,
}
CELLS = {
    "perceptron": {"hidden": "32-16", "loss": "mse", "output_activation": "tanh"},
    "perceptron_in_the_plain_loop": {"hidden": "32", "normalization": "batch", "dropout": 0.2, **MODERN},
    "lenet5": {
        "model": "lenet5(pooling='max')",
        "initializer": "he_truncated_normal",
        "optimizer": "nesterov",
        "lr_schedule": "exponential",
        "lr_decay": 0.2,
    },
    "convnet": {"model": "convnet(pooling='global')", "normalization": "layer", "augment": "crop_flip", **MODERN},
    "residual_perceptron": {
        "model": "residual_perceptron(blocks=2, width=16)",
        "normalization": "batch",
        "dropout": 0.1,
        "initializer": "per_layer(first=he_uniform, hidden=edge_of_chaos, last=zeros)",
        "bias_initializer": "torch_linear_default",
    },
    "allconv": {
        "model": "allconv(width=8)",
        "activation": "leaky_relu(negative_slope=0.2)",
        "loss": "hinge(margin=0.5)",
    },
}


SLOW = ("lenet5", "residual_perceptron", "allconv")


def test_a_cell_of_each_model_has_its_script_compared():
    models = {make_cell(**settings).model.partition("(")[0] for settings in CELLS.values()}
    assert models == {name for name in MODELS if "@" not in name}
    assert MAX_LINES <= 150


@pytest.mark.parametrize(
    "settings",
    [pytest.param(cell, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, cell in CELLS.items()],
)
def test_a_script_prints_the_figures_of_the_experiment(digits, settings, monkeypatch, capsys):
    usual = {"dataset": digits.name, "train_size": 500, "batch_size": 64, "epochs": 2, "seed": 3}
    cell = make_cell(**usual | settings)
    figures = trained(cell, digits)
    text = program(cell, digits, figures, {}, {}, "results/small")
    names = executed(text, monkeypatch)
    assert text.count("\n") < MAX_LINES
    assert imported(text) <= {"math", "os", "sys", "gzip", "pathlib", "numpy", "torch"}
    assert names["largest"] <= (2e-6 if cell.is_fused else 0)
    assert np.allclose(names["figures"], figures[-1], rtol=1e-5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[4].split()[2:] == [f"{value:.6f}" for value in names["figures"]]


def test_a_script_without_its_initial_weights_says_so_in_a_line(digits, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    cell = make_cell(dataset=digits.name, initializer="lsuv")
    text = program(cell, digits, [[None] * 5] * 2, {}, {}, "results/small")
    assert f"# To write it: initbench trace results/small {cell.id} {cell.id}.npz\n" in text
    command = f"initbench trace results/small {cell.id} {cell.id}.npz"
    with pytest.raises(SystemExit, match=rf"^{cell.id}\.npz: no such file; to write it: {command}$"):
        executed(text, monkeypatch)


def test_the_command_for_the_initial_weights_names_the_files_of_own_functions():
    mine = bundle("def mine(shape): pass\n", "mine.py")
    for settings, options, reason in (
        ({"initializer": f"mine@{mine.digest}"}, "--plugin mine.py --allow-plugins", "the initializer is the user's"),
        ({"initializer": "lsuv"}, "", "their scheme takes more than a few lines of formulas"),
    ):
        text = program(make_cell(**settings), datasets.find("mnist"), [[1.0] * 5] * 2, {}, {mine.digest: mine}, "a b")
        assert f"# The initial weights are read from a file: {reason}.\n# To write it: initbench trace 'a b' " in text
        (line,) = (line for line in text.splitlines() if line.startswith("# To write it: "))
        assert line.endswith(f".npz {options}".rstrip())


def imported(text):
    """The names of the packages that a script imports."""
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [getattr(node, "module", "") or alias.name for node in nodes for alias in node.names]
    return {name.partition(".")[0] for name in names}


def functions_of(initializers, seed):
    """The functions that draw weights in the scripts of cells with these initializers."""
    drawing = {"words", "quantile", "normal", "uniform", "truncated_normal", "orthogonal", "TRUNCATED_STD"}
    names = {"np": np, "math": math, "SEED": seed}
    for initializer in initializers:
        cell = make_cell(hidden="7", initializer=initializer, seed=seed)
        text = program(cell, datasets.find("mnist"), [[1.0] * 5] * 2, {}, {}, "results/x")
        for node in ast.parse(text).body:
            name = (
                node.name if isinstance(node, ast.FunctionDef) else getattr(getattr(node, "targets", [0])[0], "id", "")
            )
            if name in drawing:
                exec(compile(ast.Module([node], []), "repro.py", "exec"), names)
    return names


def test_a_script_draws_the_weights_of_initbench_bit_for_bit():
    names = functions_of(["orthogonal", "he_truncated_normal", "uniform"], 5)
    written = set()
    parametrized = ["truncated_normal(lower=-1.0, upper=2.5)", "activation_scaling(distribution='uniform')"]
    for scheme in [*INITIALIZERS, *parametrized]:
        record, _ = INITIALIZERS.lookup(scheme)
        for shape in [(41, 30), (5, 3, 7, 11)]:
            if "single-layer" not in record.tags or not record.fit.test(shape):
                continue
            for layer, line in per_layer(schemes.expressions(scheme, [shape] * 3, "tanh")):
                fan_in, fan_out = fans(shape)
                here = {"stream": (0, layer), "shape": shape, "fan_in": fan_in, "fan_out": fan_out}
                supplied = {"activation": "tanh", "position": POSITIONS[layer], "depth": 3, "fan_in": fan_in}
                expected = INITIALIZERS.call(scheme, shape, **supplied, seed=streams.weights(5, layer))
                exactly = 2e-6 if scheme == "orthogonal" else 0  # which multiplies in another order
                np.testing.assert_allclose(np.float32(eval(line, names, here)), expected, rtol=0, atol=exactly)
                written.add(record.name)
    assert written >= {"he_normal", "glorot_uniform", "lecun_truncated_normal", "gpt2", "mup", "kumar", "ones"}


POSITIONS = ("first", "hidden", "last")


def per_layer(expressions):
    """The index of each of three layers with its expression; nothing if there are none."""
    ends = [end for end, _ in expressions or ()]
    return [(layer, expressions[np.searchsorted(ends, layer)][1]) for layer in range(3 if ends else 0)]


def test_a_script_has_every_activation_loss_and_optimizer():
    for name in [*ACTIVATIONS, "leaky_relu(negative_slope=0.3)", "elu(alpha=0.5)"]:
        module = pytorch.activation(name)
        assert repr(eval(network.expression(module), {"nn": nn})) == repr(module)
    output, labels = torch.randn(50, 10, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 10
    for name in [*LOSSES, "cross_entropy(label_smoothing=0.2)", "huber(delta=0.4)", "hinge(margin=0.5, power=2)"]:
        names = {"nn": nn}
        exec("\n".join(network.loss_lines(make_cell(loss=name), {})), names)
        assert torch.equal(names["loss_of"](output, labels), pytorch.loss_function(name)(output, labels))
    model = nn.Linear(3, 2)
    for name in [*OPTIMIZERS, "adamw(weight_decay=0.0)", "sgd(weight_decay=0.1)", "rmsprop(alpha=0.9)"]:
        line = network.optimizer_line(make_cell(optimizer=name), {})
        optimizer = pytorch.optimizer(name, model.parameters(), 0.1)
        written = eval(line, {"torch": torch, "model": model, "RATE": 0.1})
        assert (type(written), written.defaults) == (type(optimizer), optimizer.defaults)


HOSTILE = 'a"""b\'\\c\n__import__("os").abort() #'


def test_no_text_of_an_experiment_becomes_code(digits):
    source = dataclasses.replace(digits, name=f"{HOSTILE}@0123456789ab", folder=HOSTILE)
    cell = make_cell(dataset=source.name, initializer="lsuv", normalization="batch")
    text = program(cell, source, [[None] * 5] * 2, {"torch": HOSTILE}, {}, HOSTILE)
    tree = ast.parse(text)
    assert imported(text) <= {"math", "os", "sys", "gzip", "pathlib", "numpy", "torch"}
    assert "abort" not in {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert HOSTILE in {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def test_a_cell_is_found_by_its_id_or_its_settings(trained, monkeypatch, capsys):
    folder, frame = trained
    cell = frame["cell"].iloc[0]
    status, text, _ = ended(monkeypatch, capsys, "script", folder, cell[:10])
    assert (status, f"# cell {cell}:" in text) == (0, True)
    initializer, activation, seed = frame[["initializer", "activation", "seed"]].iloc[0]
    settings = [f"initializer={initializer}", f"activation={activation}", f"seed={seed}"]
    options = [word for setting in settings for word in ("--set", setting)]
    assert ended(monkeypatch, capsys, "script", folder, *options)[1] == text
    status, out, _ = ended(monkeypatch, capsys, "script", folder)
    lines = out.splitlines()
    assert status == 0
    assert {line.partition("  ")[0] for line in lines} == {*frame["cell"]}
    assert len(lines) == frame["cell"].nunique()
    (line,) = (line for line in lines if line.startswith(cell))
    assert f"initializer {initializer}, " in line
    status, _, message = ended(monkeypatch, capsys, "script", folder, "--set", f"seed={seed}")
    assert (status, "cells; name one by its id" in message) == (2, True)
    status, _, message = ended(monkeypatch, capsys, "script", folder, "zz")
    assert (status, message.count("\n"), "initbench script" in message) == (2, 1, True)
    status, _, message = ended(monkeypatch, capsys, "trace", folder, cell, "out.txt")
    assert (status, ".npz" in message) == (2, True)


@pytest.mark.slow
def test_a_script_without_initbench_and_a_trace_repeat_an_experiment(digits, tmp_path):
    grid = {
        "dataset": {"idx": digits.folder},
        "initializer": ["he_normal", "lsuv"],
        "model": ["lenet5", "perceptron"],
        "hidden": [16],
        "seed": 1,
        "epochs": 2,
        "batch_size": 50,
    }
    result = ib.run(grid, results=tmp_path, progress=False)
    folder = tmp_path / "experiment"
    cells = result.frame.drop_duplicates("cell").set_index(["model", "initializer"], drop=False)
    for key in [("perceptron", "he_normal"), ("lenet5", "lsuv")]:
        cell = cells.loc[key]
        trace = tmp_path / f"{cell['cell']}.npz"
        assert "bit for bit" in ib.trace(folder, cell["cell"], trace)
        (tmp_path / "repro.py").write_text(ib.script(folder, cell["cell"]))
        blocked = "import sys; sys.modules['initbench'] = None; import runpy; runpy.run_path('repro.py')"
        ran = subprocess.run([sys.executable, "-c", blocked], cwd=tmp_path, capture_output=True, text=True, check=True)
        largest = float(ran.stdout.split("largest difference ")[1].split(";")[0])
        assert largest <= (2e-6 if cell["model"] == "perceptron" else 0)
        with np.load(trace) as steps:
            assert steps["order"].shape == (2, 11, 50)
            np.testing.assert_allclose(steps["step_losses"][0, :4], first_losses(steps, digits), rtol=1e-5)


def first_losses(trace, source):
    """The losses of the first steps, from the weights and the batches in a trace, by another plain loop."""
    arrays = source.load()
    images = arrays.train_images[arrays.validation_size :].reshape(-1, 1, 28, 28) / np.float32(255)
    labels = arrays.train_labels[arrays.validation_size :].astype(np.int64)
    count = len(trace["names"])
    weights = [torch.tensor(trace[f"weights_{layer}"], requires_grad=True) for layer in range(count)]
    biases = [torch.tensor(trace[f"bias_{layer}"], requires_grad=True) for layer in range(count)]
    losses = []
    for rows, rate in zip(trace["order"][0, :4], trace["learning_rates"][0], strict=False):
        x = torch.from_numpy(images[rows])
        for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
            if W.ndim == 4:
                x = torch.conv2d(x, W.permute(3, 2, 0, 1), b, padding=2 if layer == 0 else 0)
            else:
                x = x.flatten(1) @ W + b
            x = torch.relu(x) if layer < count - 1 else x
            x = torch.nn.functional.avg_pool2d(x, 2) if W.ndim == 4 else x
        loss = torch.nn.functional.cross_entropy(x, torch.from_numpy(labels[rows]))
        gradients = torch.autograd.grad(loss, weights + biases)
        with torch.no_grad():
            for parameter, gradient in zip(weights + biases, gradients, strict=True):
                parameter.sub_(gradient, alpha=float(rate))
        losses.append(loss.item())
    return losses


PARTS = """
import numpy as np
import torch
from torch import nn


def load(*, count: int = 240):
    generator = np.random.default_rng(0)
    y = generator.integers(3, 6, count)
    x = generator.integers(0, 100, (count, 8, 8, 2)) + 40 * (y[:, None, None, None] - 3)
    return {"x_train": x[:-40], "y_train": y[:-40], "x_test": x[-40:], "y_test": y[-40:]}


def build(channels, height, width, classes, *, filters: int = 8, activation=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(channels, filters, 3, stride=2, padding=1), nn.BatchNorm2d(filters), activation(),
        nn.ConvTranspose2d(filters, 4, 2, groups=2), activation(), nn.Dropout(0.1), nn.Flatten(),
        nn.Linear(4 * (height // 2 + 1) * (width // 2 + 1), classes),
    )
"""
FUNCTIONS = """
import initbench as ib
import torch


@ib.activation
def swish(x, *, beta: float = 1.0):
    return x * torch.sigmoid(beta * x)


@ib.loss
def focal(output, labels, *, gamma: float = 2.0):
    p = torch.log_softmax(output, 1).gather(1, labels[:, None])
    return -((1 - p.exp()) ** gamma * p).mean()
"""


OWN_GRID = """
dataset = "parts.py:load"
plugins = "functions.py"
[grid]
initializer = "orthogonal"
activation = { name = "swish", beta = 1.5 }
loss = { name = "focal", gamma = 1.5 }
seed = 1
[model]
model = { name = "parts.py:build", filters = 6 }
[training]
standardize = true
batch_size = 20
epochs = 2
"""


@pytest.mark.slow
def test_a_script_imports_own_functions_from_the_files_beside_it(tmp_path):
    parts, functions = tmp_path / "parts.py", tmp_path / "functions.py"
    parts.write_text(PARTS)
    functions.write_text(FUNCTIONS)
    (tmp_path / "own.toml").write_text(OWN_GRID)
    result = ib.run(tmp_path / "own.toml", results=tmp_path, progress=False, allow_plugins=True)
    folder, cell = tmp_path / "own", result.frame["cell"].iloc[0]
    text = ib.script(folder, cell)
    (tmp_path / "repro.py").write_text(text)
    assert "# The initial weights are read from a file: the model is the user's, and so are its layers.\n" in text
    command = text.split("# To write it: initbench ")[1].splitlines()[0]
    subprocess.run([sys.executable, "-m", "initbench", *shlex.split(command)], cwd=tmp_path, check=True)
    ran = subprocess.run([sys.executable, "repro.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "largest difference 0;" in ran.stdout
