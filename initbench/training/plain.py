"""The plain loop: one cell in ordinary PyTorch, `nn.Module`, autograd and an optimizer.

It trains all cells that do not train in stacks (`Cell.is_fused`), and defines every setting: the tests compare the
stacked trainer with it. The initial weights and the batches are the same in
both. What PyTorch draws at random (in a module's parameters, or in `nn.RReLU`) is drawn from the cell's seed and the
epoch alone.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from initbench.data.arrays import Arrays, Bytes, Floats
from initbench.data.augmentation import augmented
from initbench.functions import pytorch
from initbench.functions.losses import computed_output
from initbench.initializers.model import Array, Batch, Parameters
from initbench.models.architecture import EVALUATION_BATCH
from initbench.models.built_in import PERCEPTRON
from initbench.models.weights import as_images
from initbench.plugins.records import seed_generators
from initbench.random import streams
from initbench.spec.cell import Cell
from initbench.training.data import reading
from initbench.training.modules import initialized_module
from initbench.training.parameters import Initialized
from initbench.training.process import prepare_process
from initbench.training.stack import Epoch, quickly_initialized, same_bits

# Steps between two calls of `progress`: a step with a user's functions may take long.
STEPS_BETWEEN_PROGRESS = 8


class Split(NamedTuple):
    """Images of a data set as they are stored, `[images, pixels]`, and their labels, integers `[images]`."""

    images: Tensor
    labels: Tensor


class PlainData:
    """A data set as the plain loop reads it: the images as they are stored, with all their pixels, and labels.

    A batch is scaled when it is gathered: bytes take a quarter of the memory of float32, and gathering them and
    dividing takes no longer than gathering floats (55 and 80 to 110 µs for 128 images of MNIST).
    """

    def __init__(self, arrays: Arrays, device: str = "cpu", standardize: bool = False) -> None:
        split = arrays.validation_size
        self.device, self.standardize = torch.device(device), standardize
        self.reading = reading(arrays, standardize)
        self.shape, self.pixels, self.classes = arrays.shape, arrays.train_images.shape[1], arrays.classes
        self.train = self._split(arrays.train_images[split:], arrays.train_labels[split:])
        self.validation = self._split(arrays.train_images[:split], arrays.train_labels[:split])
        self.test = self._split(arrays.test_images, arrays.test_labels)

    def _split(self, images: Bytes | Floats, labels: Bytes) -> Split:
        writable = np.require(images, requirements=["C", "W"])  # PyTorch warns of others
        return Split(
            torch.from_numpy(writable).to(self.device), torch.from_numpy(labels.astype(np.int64)).to(self.device)
        )

    def read(self, rows: Array) -> Batch:
        """Return some of the training images as networks read them, `[rows, pixels]`, and their labels."""
        indices = torch.from_numpy(rows).to(self.device)
        images, labels = (array.index_select(0, indices).cpu().numpy() for array in self.train)
        return self.reading(images), labels


def descend(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    labels: Tensor,
    clipping: float = 0.0,
) -> Tensor:
    """Take one step on a batch; returns its loss before the step.

    `clipping` is the largest norm of the gradient of all parameters together; 0 for no limit.
    """
    value = loss(model(x), labels)
    optimizer.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    if clipping:
        nn.utils.clip_grad_norm_(model.parameters(), clipping)
    optimizer.step()
    return value.detach()


class Loop:
    """The optimizer steps of one cell, through an epoch's batches; after the last one, the epoch starts over.

    A loss that is not finite ends the training: no further step is taken, and all losses and evaluations that follow
    are NaN.
    """

    def __init__(
        self,
        cell: Cell,
        data: PlainData,
        dtype: torch.dtype = torch.float32,
        initialized: Initialized = lambda cell, seconds, parameters: None,
    ) -> None:
        prepare_process()  # the functions of an earlier cell may have changed the settings
        torch.backends.cuda.matmul.allow_tf32 = False
        self.cell, self.data, self.dtype = cell, data, dtype
        begin = time.perf_counter()
        module, parameters, self.layers = initialized_module(cell, data.shape, data.classes, data.read, dtype)
        initialized(cell, time.perf_counter() - begin, parameters)
        output_activation = pytorch.activation(computed_output(cell.loss, cell.output_activation))
        self.model = nn.Sequential(module, output_activation).to(dtype).to(data.device)
        self.loss = pytorch.loss_function(cell.loss)
        self.optimizer = pytorch.optimizer(cell.optimizer, self.model.parameters(), cell.rate(1))
        self._initial_rates = [group["lr"] for group in self.optimizer.param_groups]
        self._losses = torch.empty(cell.steps_per_epoch, dtype=dtype, device=data.device)
        self._images = torch.empty(max(cell.batch_size, EVALUATION_BATCH), data.pixels, dtype=dtype, device=data.device)
        self._mean, self._deviation = (
            torch.from_numpy(values).to(data.device, dtype) for values in (data.reading.mean, data.reading.deviation)
        )
        self.diverged = False
        self._set_order(1)

    def begin(self, epoch: int) -> None:
        """Set an epoch's order of the data, its random draws and its learning rates."""
        self._set_order(epoch)
        seed_generators(streams.of_functions(self.cell.seed, epoch))
        if self.cell.rate(epoch) != self.cell.rate(1):  # an optimizer with a schedule of its own is left alone
            self._set_rate(self.cell.rate(epoch))

    def _set_rate(self, rate: float) -> None:
        """Set the learning rate; the groups of an optimizer keep the ratios of theirs."""
        for group, initial_rate in zip(self.optimizer.param_groups, self._initial_rates, strict=True):
            group["lr"] = initial_rate * (rate / self.cell.rate(1))

    def _set_order(self, epoch: int) -> None:
        cell = self.cell
        rows = streams.batch_rows(cell.seed, epoch, cell.train_size, cell.batch_size)
        self._step_rates = cell.step_rates(epoch) if cell.has_step_rates else []
        if cell.augment != "none":
            self._words = streams.augmentation(cell.seed, epoch, rows.size).reshape(rows.shape)
        self._batches = torch.from_numpy(rows).to(self.data.device)
        self._done = 0
        self._losses.fill_(torch.nan)

    def take(self, count: int) -> "Loop":
        """Take `count` optimizer steps, unless the training has diverged."""
        images, labels = self.data.train
        self.model.train()
        with deterministic(), self._errors_after_divergence_ignored():
            for _ in range(0 if self.diverged else count):
                if self._done == len(self._batches):
                    self._done = 0
                if self._step_rates:
                    self._set_rate(self._step_rates[self._done])
                rows = self._batches[self._done]
                x = self._input(self._augmented(images.index_select(0, rows)))
                clipping = self.cell.gradient_clipping
                value = descend(self.model, self.loss, self.optimizer, x, labels.index_select(0, rows), clipping)
                self._losses[self._done] = value
                self._done += 1
        return self

    @contextmanager
    def _errors_after_divergence_ignored(self) -> Iterator[None]:
        """Within it, an error counts as divergence where a loss or a weight is not finite: a function may refuse it."""
        try:
            yield
        except Exception:
            if self._is_finite():
                raise
            self.diverged = True

    def _is_finite(self) -> bool:
        arrays = [self._losses[: self._done], *self.model.parameters()]
        return all(bool(array.isfinite().all()) for array in arrays)

    @property
    def losses(self) -> NDArray[np.float64]:
        """The losses before the steps of the epoch, `[steps, 1]`."""
        return self._losses.to("cpu", torch.float64, copy=True).numpy().reshape(-1, 1)

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Return the loss and the accuracy on a split; the loss is the mean over blocks, weighted by their images."""
        self.diverged = self.diverged or not bool(self._losses[: self._done].isfinite().all())
        if self.diverged:
            return np.nan, np.nan
        loss = torch.zeros((), dtype=torch.float64, device=self.data.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.data.device)
        self.model.eval()
        # Not in inference mode: a module may keep a tensor that it makes here, and could then not train with it.
        with deterministic(), torch.no_grad(), self._errors_after_divergence_ignored():
            for images, labels in zip(*(torch.split(array, EVALUATION_BATCH) for array in split), strict=True):
                output = self.model(self._input(images))
                loss += self.loss(output, labels).double() * len(labels)
                correct += (output.argmax(1) == labels).sum()
        count = len(split.labels)
        mean = loss.item() / count
        self.diverged = self.diverged or not np.isfinite(mean)
        return (np.nan, np.nan) if self.diverged else (mean, correct.item() / count)

    def _augmented(self, images: Tensor) -> Tensor:
        """Return the images of a batch of the training as the setting `augment` changes them."""
        if self.cell.augment == "none":
            return images
        # NumPy takes a third of PyTorch's time, 120 µs for 128 images of MNIST.
        changed = augmented(images.cpu().numpy(), self.data.shape, self.cell.augment, self._words[self._done])
        return torch.from_numpy(changed).to(self.data.device)

    def _input(self, images: Tensor) -> Tensor:
        """Return images as the model takes them, in memory that is used again: of a perceptron as rows of pixels."""
        x = self._images[: len(images)].copy_(images)
        if self.data.reading.white != 1:
            x.div_(self.data.reading.white)
        if self.data.standardize:
            x.sub_(self._mean).div_(self._deviation)
        return self.arranged(x)

    def arranged(self, x: Tensor) -> Tensor:
        """Return what networks read of images, `[images, pixels]`, in the form that the model takes."""
        if self.cell.model == PERCEPTRON:
            return x
        if "@" in self.cell.model:
            return as_images(x, self.data.shape)
        # Convolutions take half to three quarters of the time with the channels last in memory.
        height, width, channels = self.data.shape
        return x.view(-1, height, width, channels).permute(0, 3, 1, 2)

    def finish(self) -> "Loop":
        """Wait until the GPU has done the steps."""
        if self.data.device.type == "cuda":
            torch.cuda.synchronize()
        return self

    @property
    def numbers(self) -> list[Tensor]:
        """The parameters and buffers, the losses, and an evaluation."""
        evaluated = self.evaluate(Split(*(array[: 2 * EVALUATION_BATCH] for array in self.data.validation)))
        arrays = [*self.model.parameters(), *self.model.buffers()]
        return [*arrays, self._losses, torch.tensor(evaluated, dtype=torch.float64)]


def train(
    cell: Cell,
    data: PlainData,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[float], None] = lambda epochs: None,
    initialized: Initialized = lambda cell, seconds, parameters: None,
    examine: Callable[[int, Loop], None] = lambda epoch, loop: None,
) -> Iterator[Epoch]:
    """Train one cell: yields epoch 0, before training, then every epoch after it, as `stack.train` does for a stack.

    `progress` is called with the number of epochs done, in fractions; `initialized` with the cell, the seconds that
    its initial weights took, and these; `examine` with 0 and the last epoch, and the loop before the first step and
    after the last.
    """
    loop = Loop(cell, data, dtype, initialized)
    examine(0, loop)
    yield from epochs(loop, progress)
    examine(cell.epochs, loop)


def epochs(loop: Loop, progress: Callable[[float], None]) -> Iterator[Epoch]:
    """Take all steps of a loop that has just been made: see `train`."""
    cell, data = loop.cell, loop.data

    def evaluated() -> list[NDArray[np.float64]]:
        return [np.array([value]) for split in (data.validation, data.test) for value in loop.evaluate(split)]

    yield Epoch(0, np.empty((0, 1)), *evaluated())
    for epoch in range(1, cell.epochs + 1):
        loop.begin(epoch)
        for done in range(0, cell.steps_per_epoch, STEPS_BETWEEN_PROGRESS):
            loop.take(min(STEPS_BETWEEN_PROGRESS, cell.steps_per_epoch - done))
            progress(epoch - 1 + done / cell.steps_per_epoch)
        loop.finish()
        progress(epoch)
        yield Epoch(epoch, loop.losses, *evaluated())


def parameters(cell: Cell, data: PlainData) -> Parameters:
    """Return the initial parameters of a cell, for each layer its weights and its bias."""
    return initialized_module(cell, data.shape, data.classes, data.read)[1]


def repeats(cell: Cell, data: PlainData) -> bool:
    """Return whether two steps and an evaluation, done twice, give the same bits: a user's functions may not."""
    first, second = (Loop(quickly_initialized(cell), data).take(2).numbers for _ in range(2))
    return all(map(same_bits, first, second))


@contextmanager
def deterministic() -> Iterator[None]:
    """Within it, PyTorch takes algorithms that give the same bits each time, where it has them."""
    before = torch.get_deterministic_debug_mode()
    settings: Any = torch.utils.deterministic
    fills, settings.fill_uninitialized_memory = settings.fill_uninitialized_memory, False  # it takes time
    torch.set_deterministic_debug_mode("warn")  # `use_deterministic_algorithms` imports a compiler, for 1.4 s
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        settings.fill_uninitialized_memory = fills
