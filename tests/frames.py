"""Tidy tables that nobody trained, for tests of what reads them."""

import string

import numpy as np
import pandas as pd

from initbench.results.table import table
from initbench.spec.columns import METRICS, SETTINGS

GRID = """
name = "page"
[grid]
initializer = ["zeros", "he_normal", { name = "truncated_normal", std = 1.0 }]
activation = ["tanh", "relu"]
loss = ["mse", "cross_entropy"]
seed = 3
[model]
hidden = []
output_activation = "same"
[training]
epochs = 2
"""


def frame_of_grid(parsed, accuracy=lambda cell: 0.9 if cell.initializer == "zeros" else 0.5, broken=lambda cell: False):
    """A tidy table of a grid with made-up metrics."""
    cells = list(parsed.cells())
    metrics = {}
    for name in METRICS:
        rows = []
        for epoch in range(cells[0].epochs + 1):
            values = [accuracy(c) + 0.001 * (hash_of(c) % 7) - 0.1 * (2 - epoch) * (epoch > 0) for c in cells]
            rows.append([float("inf") if epoch and broken(c) else v for c, v in zip(cells, values, strict=True)])
        metrics[name] = rows
    return table(cells, metrics).to_pandas()


def hash_of(cell):
    return int(cell.id[:6], 16)


def frame_of(values, validation=None, **settings):
    """A table of the last epoch: `values` maps an initializer to its accuracies by seed; None is a diverged run."""
    rows = []
    for name, accuracies in values.items():
        for seed, accuracy in enumerate(accuracies):
            row = (
                dict.fromkeys(SETTINGS, "")
                | {"dataset": "mnist", "epochs": 3, "initializer": name, "seed": seed}
                | settings
            )
            row |= {"cell": f"{name}-{seed}-{settings}", "epoch": 3, "test_accuracy": accuracy}
            row |= {"status": "diverged" if accuracy is None else "trained", "train_loss": 1.0}
            row["validation_accuracy"] = accuracy if validation is None else validation[name][seed]
            rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.astype({"test_accuracy": float, "validation_accuracy": float})


def experiments(test, validation=None):
    """A table of many experiments `[experiment, initializer, seed]`, each a combination of its own."""
    experiment, initializer, seed = (axis.ravel() for axis in np.indices(test.shape))
    frame = pd.DataFrame(
        {"activation": experiment, "initializer": np.array(list(string.ascii_letters))[initializer], "seed": seed}
    )
    validation = test if validation is None else validation
    return frame.assign(
        dataset="mnist", epoch=3, epochs=3, status="trained", cell=np.arange(test.size), test_accuracy=test.ravel(),
        validation_accuracy=validation.ravel(),
    )  # fmt: skip
