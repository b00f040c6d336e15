"""The reference trainer: one cell at a time, in ordinary PyTorch. The tests compare the stacked trainer with it.

It is slow and shows what every setting means: the initial weights and batches are those of the stacked trainer, all
else is `nn.Module`, autograd and `torch.optim`.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from initbench.data.datasets import Arrays
from initbench.functions import pytorch
from initbench.initializers.model import Array, Batch
from initbench.random import streams
from initbench.spec.cell import Cell
from initbench.training.parameters import initial_parameters


def network(
    cell: Cell, pixels: int, classes: int, dtype: torch.dtype, read: Callable[[Array], Batch] | None = None
) -> nn.Sequential:
    """Return linear layers with the cell's initial weights, the activation between them, the output activation last."""
    layers = cell.layers(pixels, classes)
    modules: list[nn.Module] = []
    start = initial_parameters(cell, layers, read, str(dtype).removeprefix("torch."))
    for (fan_in, fan_out), (weights, bias) in zip(layers, start, strict=True):
        linear = nn.Linear(fan_in, fan_out, dtype=dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weights).T)  # PyTorch stores [fan_out, fan_in]
            linear.bias.copy_(torch.from_numpy(bias))
        modules += [linear, pytorch.activation(cell.activation)]
    modules[-1] = pytorch.activation(cell.output_activation)
    return nn.Sequential(*modules)


def loss(cell: Cell, model: nn.Sequential, x: Tensor, labels: Tensor) -> Tensor:
    """Return the cell's loss on a batch."""
    return pytorch.loss(cell.loss, cell.output_activation, model[:-1](x), labels)


def optimizer(cell: Cell, model: nn.Module) -> torch.optim.Optimizer:
    """Return the cell's optimizer, from `torch.optim`."""
    return pytorch.optimizer(cell.optimizer, model.parameters(), cell.learning_rate)


def descend(cell: Cell, model: nn.Sequential, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor) -> float:
    """Take one step on a batch; returns its loss before the step."""
    value = loss(cell, model, x, labels)
    optimizer.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value.item()


def train(
    cell: Cell, arrays: Arrays, dtype: torch.dtype = torch.float32, steps: int | None = None
) -> Iterator[tuple[list[float], dict[str, float]]]:
    """Train one cell; yields for each epoch, from 0, the losses of its steps and the metrics after it.

    `steps`, if set, is the maximum number of steps in an epoch.
    """
    split = arrays.validation_size
    scaled = torch.from_numpy(arrays.train_images).to(dtype) / 255
    labels = torch.from_numpy(arrays.train_labels).long()
    test = torch.from_numpy(arrays.test_images).to(dtype) / 255, torch.from_numpy(arrays.test_labels).long()
    train_x, train_y = scaled[split : split + cell.train_size], labels[split : split + cell.train_size]
    images = arrays.train_images[split:]

    def read(rows: Array) -> Batch:
        return images[rows] / 255.0, train_y[rows].numpy()

    model = network(cell, scaled.shape[1], arrays.classes, dtype, read)
    torch_optimizer = optimizer(cell, model)

    def metrics() -> dict[str, float]:
        values = {}
        for name, x, y in (("validation", scaled[:split], labels[:split]), ("test", *test)):
            with torch.no_grad():
                values[f"{name}_loss"] = float(loss(cell, model, x, y))
                values[f"{name}_accuracy"] = float((model(x).argmax(1) == y).double().mean())
        return values

    yield [], metrics()
    for epoch in range(1, cell.epochs + 1):
        order = torch.from_numpy(streams.order(cell.seed, epoch, cell.train_size))
        for group in torch_optimizer.param_groups:
            group["lr"] = cell.rate(epoch)
        losses = []
        for step in range(min(cell.steps_per_epoch, steps or cell.steps_per_epoch)):
            rows = order[step * cell.batch_size : (step + 1) * cell.batch_size]
            losses.append(descend(cell, model, torch_optimizer, train_x[rows], train_y[rows]))
        yield losses, metrics()
