"""What the tests share: MNIST whole and cut small, and a grid that trains in seconds."""

import os
import signal
import sys

from initbench.system.threads import ENVIRONMENT

os.environ.update(ENVIRONMENT)  # before NumPy and torch are imported, which read it once

import pytest
import torch

# A shell ignores Ctrl-C for what it starts in the background, and so would the runs that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from initbench.data import datasets
from initbench.spec.cell import Cell
from initbench.training import stack

# Bit for bit is promised on x86-64 with MKL; elsewhere results agree to rounding, and the run says so.
exact = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch was built without MKL")

SMALL_GRID = """
name = "small"

[grid]
initializer = ["glorot_uniform", "zeros", { name = "normal", std = 0.2 }]
activation = ["tanh", "relu"]
loss = ["mse"]
seed = 2

[model]
hidden = []
output_activation = "same"

[training]
epochs = 2
train_size = 640
"""


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    stack.prepare_process()


@pytest.fixture(scope="session")
def mnist():
    return datasets.load_mnist()


@pytest.fixture(scope="session")
def small(mnist):
    """The first 1,500 training and 300 test images of MNIST."""
    return datasets.Arrays(
        mnist.train_images[:6000],
        mnist.train_labels[:6000],
        mnist.test_images[:1000],
        mnist.test_labels[:1000],
    )


@pytest.fixture
def grid_file(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL_GRID)
    return path


def make_cell(**settings):
    """A cell with short settings, those given put in."""
    usual = {
        "dataset": "mnist",
        "train_size": 1280,
        "initializer": "glorot_uniform",
        "bias_initializer": "zeros",
        "activation": "tanh",
        "output_activation": "identity",
        "hidden": "",
        "loss": "cross_entropy",
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "lr_schedule": "constant",
        "lr_decay": 0.0,
        "batch_size": 128,
        "epochs": 1,
        "precision": "float32",
        "seed": 0,
    }
    return Cell(**{**usual, **settings})


def ended(monkeypatch, capsys, *arguments):
    """The exit status of the command line in this process, and what it printed on both streams."""
    from initbench.cli import commands

    monkeypatch.setattr(sys, "argv", ["initbench", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        commands.main()
    return end.value.code or 0, *capsys.readouterr()
