"""The tidy table: one row for each cell and epoch, in one fixed schema."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from initbench.cells import COLUMNS, DIVERGED, METRICS, SETTINGS, TRAINED, Cell

WHOLE = ("train_size", "batch_size", "epochs", "seed", "epoch")
REAL = ("learning_rate", "lr_decay", *METRICS)

SCHEMA = pa.schema(
    [(name, pa.int64() if name in WHOLE else pa.float64() if name in REAL else pa.string()) for name in COLUMNS]
)


def table(cells: Sequence[Cell], metrics: Mapping[str, Sequence[Sequence[float]]]) -> pa.Table:
    """The rows of one stack: metrics are `[epoch][cell]`; rows go cell by cell, then by epoch.

    A cell is diverged from the first epoch whose training loss, or a loss evaluated after it, is not finite; from that
    epoch on its metrics are null. `train_loss` is null at epoch 0.
    """
    values = {name: np.array(metrics[name], dtype=float).T for name in METRICS}  # [cell, epoch]
    epochs = values["train_loss"].shape[1]
    finite = np.isfinite(values["validation_loss"]) & np.isfinite(values["test_loss"])
    finite[:, 1:] &= np.isfinite(values["train_loss"][:, 1:])
    diverged = ~np.logical_and.accumulate(finite, axis=1)
    columns: dict[str, pa.Array] = {}
    for i, name in enumerate(SETTINGS):
        columns[name] = pa.array([cell.values()[i] for cell in cells for _ in range(epochs)], SCHEMA.field(name).type)
    columns["cell"] = pa.array([cell.id for cell in cells for _ in range(epochs)])
    columns["status"] = pa.array(np.where(diverged, DIVERGED, TRAINED).ravel().tolist(), pa.string())
    columns["epoch"] = pa.array(np.tile(np.arange(epochs), len(cells)), pa.int64())
    for name in METRICS:
        missing = diverged | (np.arange(epochs) == 0) if name == "train_loss" else diverged
        columns[name] = pa.array(values[name].ravel(), pa.float64(), mask=missing.ravel())
    return pa.table(columns, SCHEMA)
