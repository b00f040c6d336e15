"""The names of the columns of the tidy table, and of the statuses of a training run."""

from initbench.spec.cell import Cell

SETTINGS = Cell._fields
METRICS = ("train_loss", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy")
COLUMNS = (*SETTINGS, "cell", "status", "epoch", *METRICS)

TRAINED, DIVERGED = "trained", "diverged"
