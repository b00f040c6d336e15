"""LeNet-5 in initbench, and in an ordinary PyTorch loop on all cores.

    python -m benchmarks.peers.lenet5

prints the milliseconds of one optimizer step of one model (batch 128, SGD), reading the data and the evaluations
included. Both are measured in turns: the loop in a process of its own, from the files of the data set to the last
evaluation, and `initbench run` at its marginal cost, as in `benchmarks.peers`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from benchmarks.peers import whole_runs
from initbench.data import datasets
from initbench.data.arrays import Arrays
from initbench.spec import grid
from initbench.spec.grid import Grid
from initbench.system.hardware import cpu_name
from initbench.system.threads import available_cores

CORES = available_cores()
EPOCHS, BATCH, RATE, EVALUATION_BATCH = 2, 128, 0.1, 1000


def lenet5() -> nn.Sequential:
    """LeNet-5 as PyTorch has its layers."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


class Loop:
    """The training of one model on tensors in memory."""

    def __init__(self, arrays: Arrays, model: nn.Sequential) -> None:
        split = arrays.validation_size
        images = torch.from_numpy(arrays.train_images).float().div(255).view(-1, 1, 28, 28)
        labels = torch.from_numpy(arrays.train_labels).long()
        test_images = torch.from_numpy(arrays.test_images).float().div(255).view(-1, 1, 28, 28)
        self.train_split = TensorDataset(images[split:], labels[split:])
        self.validation = TensorDataset(images[:split], labels[:split])
        self.test = TensorDataset(test_images, torch.from_numpy(arrays.test_labels).long())
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), RATE)

    def train(self, order: Tensor) -> list[float]:
        """Take a step for each whole batch of the order; the losses before each."""
        images, labels = self.train_split.tensors
        losses = []
        self.model.train()
        for rows in torch.split(order[: len(order) // BATCH * BATCH], BATCH):
            loss = F.cross_entropy(self.model(images.index_select(0, rows)), labels.index_select(0, rows))
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            losses.append(loss.detach())
        return [loss.item() for loss in losses]

    @torch.inference_mode()
    def evaluate(self) -> Iterator[float]:
        """Loss and accuracy on the validation split, then on the test split."""
        self.model.eval()
        for split in (self.validation, self.test):
            loss = correct = 0.0
            for images, labels in zip(*(torch.split(array, EVALUATION_BATCH) for array in split.tensors), strict=True):
                output = self.model(images)
                loss += F.cross_entropy(output, labels, reduction="sum").item()
                correct += (output.argmax(1) == labels).sum().item()
            yield loss / len(split)
            yield correct / len(split)


def train_in_loop() -> None:
    """Train one model, and print how long a step took."""
    start = time.perf_counter()
    loop = Loop(datasets.load_mnist(), lenet5())
    list(loop.evaluate())
    steps = 0
    for _ in range(EPOCHS):
        steps += len(loop.train(torch.randperm(len(loop.train_split))))
        list(loop.evaluate())
    print(json.dumps({"step": (time.perf_counter() - start) / steps, "threads": torch.get_num_threads()}))


def loop_seconds() -> float:
    """Seconds of a step of the loop, in a process of its own, whose start and imports do not count."""
    command = [sys.executable, "-m", "benchmarks.peers.lenet5", "--loop"]
    done = subprocess.run(command, cwd=whole_runs.ROOT, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    if measured["threads"] != CORES:
        raise RuntimeError(f"the loop had {measured['threads']} threads on {CORES} cores")
    return float(measured["step"])


def lenet5_grid(seeds: int) -> Grid:
    """The same training in initbench, with this many seeds."""
    return grid.parse(f"""
        name = "lenet5"
        [grid]
        initializer = "torch_linear_default"
        seed = {seeds}
        [model]
        model = "lenet5"
        activation = "relu"
        [training]
        loss = "cross_entropy"
        optimizer = "sgd"
        learning_rate = {RATE}
        batch_size = {BATCH}
        epochs = {EPOCHS}
    """)


def run_seconds() -> float:
    """Seconds of a step in initbench: of a run of two models for each core, less one of a single model for each."""
    n, twice = (lenet5_grid(CORES * k) for k in (1, 2))
    with tempfile.TemporaryDirectory() as folder:
        seconds = [whole_runs.seconds(whole_runs.run_command(g, Path(folder) / str(len(g)))) for g in (n, twice)]
    cell = next(n.cells())
    return (seconds[1] - seconds[0]) / (len(n) * cell.epochs * cell.steps_per_epoch)


def main() -> None:
    """Measure in turns, and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.lenet5", description=(__doc__ or "")[:72])
    parser.add_argument("--loop", action="store_true", help="only the loop, in this process")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    options = parser.parse_args()
    if options.loop:
        train_in_loop()
        return
    loops, runs = [], []
    for number in range(options.rounds):
        loops.append(1e3 * loop_seconds())
        runs.append(1e3 * run_seconds())
        print(f"round {number + 1}: {loops[-1]:.2f} and {runs[-1]:.2f} ms", file=sys.stderr, flush=True)
    loop, run = median(loops), median(runs)
    print(f"PyTorch loop on {CORES} cores {loop:.2f} ms, initbench {run:.2f} ms: {loop / run:.2f}× ({cpu_name()})")
    if max(max(times) / min(times) for times in (loops, runs)) > 1.25:
        print("Not to be quoted: the machine was not idle, and rounds differed by a quarter.")


if __name__ == "__main__":
    main()
