"""The peers in PyTorch: a loop, one with DataLoader, one process for each core, and torch.func.

A trainer is made of cells, a data set and the batches of each step. `train()` takes all these steps, in all of its
models, and returns the losses `[steps, models]`; `evaluate()` returns `[models, 4]`: the loss and the accuracy on the
validation split, then on the test split.
"""

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers.work import Data, Split, prepared, to_logits
from initbench.data.datasets import Arrays
from initbench.functions.pytorch import activation
from initbench.spec.cell import Cell
from initbench.training.modules import initialized_module

LOSSES = {"mse": F.mse_loss, "cross_entropy": F.cross_entropy}
OPTIMIZERS: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}

# A stack of models is evaluated in pieces that fit a cache; a single model takes a split as it is.
EVALUATION_BATCH = 1000


def network(cell: Cell) -> nn.Sequential:
    """The cell's network from its initial weights, to the logits where the loss wants these."""
    module, *_ = initialized_module(cell, (28, 28, 1), 10)
    return nn.Sequential(module) if to_logits(cell) else nn.Sequential(module, activation(cell.output_activation))


def tensors(split: Split, loss: str) -> tuple[Tensor, Tensor, Tensor]:
    """Images, what the loss compares with, and labels; no copies."""
    return torch.from_numpy(split.images), torch.from_numpy(split.target(loss)), torch.from_numpy(split.labels)


class Loop:
    """One model after the other: nn.Module, autograd and torch.optim, on tensors in memory."""

    def __init__(self, cells: Sequence[Cell], data: Data, rows: np.ndarray) -> None:
        self.cells, self.data = cells, data
        self.rows = torch.from_numpy(rows)
        self.models = [network(cell) for cell in cells]
        self.descents = [
            OPTIMIZERS[cell.optimizer](model.parameters(), cell.rate(1))
            for cell, model in zip(cells, self.models, strict=True)
        ]

    def batches(self, loss: str) -> Iterable[Sequence[Tensor]]:
        """The batches of the steps, each its images and its targets."""
        images, targets, _ = tensors(self.data.train, loss)
        return ((images[rows], targets[rows]) for rows in self.rows)

    def train(self) -> np.ndarray:
        """Take the steps; the losses before each."""
        losses = []
        for cell, model, descent in zip(self.cells, self.models, self.descents, strict=True):
            loss, values = LOSSES[cell.loss], []
            for x, y in self.batches(cell.loss):
                value = loss(model(x), y)
                descent.zero_grad()
                value.backward()
                descent.step()
                values.append(value.detach())
            losses.append(torch.stack(values).numpy())
        return np.stack(losses, 1)

    @torch.inference_mode()
    def evaluate(self) -> np.ndarray:
        """Loss and accuracy of each model on both splits."""
        metrics_by_model = []
        for cell, model in zip(self.cells, self.models, strict=True):
            metrics: list[float] = []
            for split in (self.data.validation, self.data.test):
                x, y, labels = tensors(split, cell.loss)
                output = model(x)
                metrics += [LOSSES[cell.loss](output, y).item(), (output.argmax(1) == labels).float().mean().item()]
            metrics_by_model.append(metrics)
        return np.array(metrics_by_model)


class LoaderLoop(Loop):
    """The loop with torch.utils.data.DataLoader.

    The sampler is a list, which costs what `shuffle=True` does (that makes such a list), and gives our order.
    """

    def batches(self, loss: str) -> Iterable[Sequence[Tensor]]:
        """The batches as the loader collates them."""
        images, targets, _ = tensors(self.data.train, loss)
        order = self.rows.flatten().tolist()
        return DataLoader(TensorDataset(images, targets), self.rows.shape[1], sampler=order, drop_last=True)


class Processes:
    """The loop in processes of one thread, each with its own models: the same cells in all of them."""

    def __init__(self, cells: Sequence[Cell], processes: Sequence[ProcessPoolExecutor], rows: np.ndarray) -> None:
        self.processes = processes
        self._in_all(_prepare, cells, rows)

    def train(self) -> np.ndarray:
        """Take the steps in all processes at once."""
        return np.concatenate(self._in_all(_train), 1)

    def evaluate(self) -> np.ndarray:
        """Evaluate the models of all processes at once."""
        return np.concatenate(self._in_all(_evaluate))

    def _in_all(self, function: Callable[..., Any], *arguments: object) -> list[Any]:
        # The trainer's own number tells a process which of its loops is meant.
        futures = [process.submit(function, id(self), *arguments) for process in self.processes]
        return [future.result() for future in futures]


def started_processes(arrays: Arrays, count: int) -> list[ProcessPoolExecutor]:
    """Processes of one thread that have the data; `shutdown()` ends each."""
    context = multiprocessing.get_context("spawn")
    return [ProcessPoolExecutor(1, context, initializer=_begin, initargs=(arrays,)) for _ in range(count)]


# What each of the processes has.
_data: list[Data] = []
_loops: dict[int, Loop] = {}


def _begin(arrays: Arrays) -> None:
    torch.set_num_threads(1)
    _data.append(prepared(arrays))


def _prepare(number: int, cells: Sequence[Cell], rows: np.ndarray) -> None:
    _loops[number] = Loop(cells, _data[0], rows)


def _train(number: int) -> np.ndarray:
    return _loops[number].train()


def _evaluate(number: int) -> np.ndarray:
    return _loops[number].evaluate()


class Func:
    """Models of one activation and loss as one: stack_module_state, functional_call and vmap over the gradient.

    An optimizer's update is elementwise: one of the stacked arrays is that of every model. It is PyTorch's fused one.
    """

    def __init__(self, cells: Sequence[Cell], data: Data, rows: np.ndarray) -> None:
        self.data, self.loss = data, cells[0].loss
        self.rows = torch.from_numpy(rows)
        models = [network(cell) for cell in cells]
        stacked, _ = stack_module_state(models)
        self.parameters = {name: array.detach() for name, array in stacked.items()}
        self.descent = OPTIMIZERS[cells[0].optimizer](self.parameters.values(), cells[0].rate(1), fused=True)
        model = models[0].to("meta")

        def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return LOSSES[self.loss](functional_call(model, parameters, (x,)), y)

        def measures(parameters: dict[str, Tensor], x: Tensor, y: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            output = functional_call(model, parameters, (x,))
            return LOSSES[self.loss](output, y), (output.argmax(1) == labels).float().mean()

        self.gradients: Any = vmap(grad_and_value(loss), in_dims=(0, None, None))
        self.measures: Any = vmap(measures, in_dims=(0, None, None, None))

    @torch.no_grad()
    def train(self) -> np.ndarray:
        """Take the steps; the losses before each."""
        images, targets, _ = tensors(self.data.train, self.loss)
        losses = []
        for rows in self.rows:
            gradients, values = self.gradients(self.parameters, images[rows], targets[rows])
            for name, array in self.parameters.items():
                array.grad = gradients[name]
            self.descent.step()
            losses.append(values)
        return torch.stack(losses).numpy()

    @torch.inference_mode()
    def evaluate(self) -> np.ndarray:
        """Loss and accuracy of each model on both splits."""
        metrics = []
        for split in (self.data.validation, self.data.test):
            pieces = zip(*(array.split(EVALUATION_BATCH) for array in tensors(split, self.loss)), strict=True)
            measured = [torch.stack(self.measures(self.parameters, *piece)) for piece in pieces]
            metrics.append(torch.stack(measured).mean(0))  # the number of images is a multiple of EVALUATION_BATCH
        return torch.cat(metrics).T.numpy()
