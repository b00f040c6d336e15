"""The plain loop as the oracle of the fused trainer: the losses of each epoch's steps, and the metrics after it."""

import torch

from initbench.spec.columns import METRICS
from initbench.training import plain


def trained(cell, arrays, dtype=torch.float32):
    """Yield for each epoch, from 0, the losses of its steps and the metrics after it."""
    for epoch in plain.train(cell, plain.PlainData(arrays, standardize=cell.standardize), dtype):
        metrics = {name: getattr(epoch, name)[0] for name in METRICS if name != "train_loss"}
        yield epoch.step_losses[:, 0], metrics
