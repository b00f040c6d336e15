"""Cells, and a grid that trains in seconds."""

import pytest
import torch

from initbench.spec.cell import Cell

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
