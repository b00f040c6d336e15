"""The work that all tools do: the networks, their cells and data, and the least arithmetic that it requires."""

import itertools
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from initbench.data import datasets
from initbench.execution.plan import Stack
from initbench.random import streams
from initbench.spec import grid
from initbench.spec.cell import Cell
from initbench.spec.grid import Grid

NETWORKS = {"784-10": [], "784-128-10": [128], "784-128-128-10": [128, 128]}
LOSSES = ["mse", "cross_entropy"]

# Learning rates, by optimizer: those of the peers first.
RATES = {"sgd": 0.1, "adam": 0.001, "adamw": 0.001, "momentum": 0.01, "nesterov": 0.01, "rmsprop": 0.001}

# Epochs of every model, which is evaluated on the validation and test splits before the first and after each.
EPOCHS = 5

# A stack of 32 models for the tools that train several at once: one activation, loss and seed (so that all share their
# batches, which is what suits these tools best), and so 32 initializers.
STACK = 32
INITIALIZERS = [
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    *(f"normal(mean=0.0, std={0.01 + 0.002 * k:.3f})" for k in range(STACK - 6)),
]


def activations(network: str) -> list[str]:
    """Softmax belongs to an output: it joins the others where the only layer is the output."""
    return ["tanh", "relu", "sigmoid", *([] if NETWORKS[network] else ["softmax"])]


def mixed_grid(network: str, initializers: int, seeds: int, optimizer: str = "sgd") -> Grid:
    """A grid of all activations and losses, with this many initializers and seeds."""
    return grid.parse(f"""
        name = "peers-{network}-{optimizer}"
        [grid]
        initializer = {INITIALIZERS[:initializers]}
        activation = {activations(network)}
        loss = {LOSSES}
        seed = {seeds}
        [model]
        hidden = {NETWORKS[network]}
        output_activation = "{"identity" if NETWORKS[network] else "same"}"
        [training]
        optimizer = "{optimizer}"
        learning_rate = {RATES[optimizer]}
        batch_size = 128
        epochs = {EPOCHS}
    """)


def groups(network: str, models: int, optimizer: str = "sgd") -> list[list[Cell]]:
    """For each activation and loss, this many cells, which differ only in their initializer."""
    cells = sorted(mixed_grid(network, models, 1, optimizer).cells(), key=_functions)
    return [list(group) for _, group in itertools.groupby(cells, _functions)]


def _functions(cell: Cell) -> tuple[str, str]:
    return cell.activation, cell.loss


def to_logits(cell: Cell) -> bool:
    """Whether the loss takes the pre-activations: softmax meets cross-entropy once, in its stable form."""
    return cell.output_activation == "identity" or (cell.output_activation, cell.loss) == ("softmax", "cross_entropy")


class Split(NamedTuple):
    """Images `[n, 784]`, float32 from 0 to 1; labels `[n]`; and the labels one-hot, `[n, 10]`, float32."""

    images: np.ndarray
    labels: np.ndarray
    one_hot: np.ndarray

    def target(self, loss: str) -> np.ndarray:
        """What a loss compares the output with."""
        return self.labels if loss == "cross_entropy" else self.one_hot


class Data(NamedTuple):
    """A data set as every peer has it, in memory and ready to train on."""

    train: Split
    validation: Split
    test: Split


def prepared(arrays: datasets.Arrays) -> Data:
    """The splits that initbench trains and evaluates on."""

    def split(images: np.ndarray, labels: np.ndarray) -> Split:
        one_hot = np.eye(arrays.classes, dtype=np.float32)[labels]
        return Split(images.astype(np.float32) / np.float32(255), labels.astype(np.int64), one_hot)

    n = arrays.validation_size
    return Data(
        train=split(arrays.train_images[n:], arrays.train_labels[n:]),
        validation=split(arrays.train_images[:n], arrays.train_labels[:n]),
        test=split(arrays.test_images, arrays.test_labels),
    )


def batches(cell: Cell, steps: int) -> np.ndarray:
    """The rows of the first `steps` batches of a cell's first epoch, `[steps, batch]`."""
    order = streams.order(cell.seed, 1, cell.train_size)
    return order[: steps * cell.batch_size].reshape(steps, cell.batch_size)


def evaluations_per_step(cell: Cell) -> float:
    """How many evaluations come to one step of a training: one for each epoch, and one before the first."""
    return (cell.epochs + 1) / (cell.epochs * cell.steps_per_epoch)


def operations_per_step(cell: Cell, lit_pixels_only: bool = False) -> float:
    """The floating-point operations for one step of one model, its share of the evaluations included.

    All 784 pixels count, or those only that are lit in some image.
    """
    source = datasets.find("mnist")
    if lit_pixels_only:
        source = replace(source, height=1, width=1, channels=source.active_pixels)
    return Stack((cell,), source).operations / (cell.epochs * cell.steps_per_epoch)
