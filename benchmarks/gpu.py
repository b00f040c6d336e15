"""The check of the GPU path: its tests, its results beside the CPU's, and its speed beside other loops and two floors.

    make gpu-wheels   where there is a network: fetches the requirements, without torch, into wheels/
    make gpu          on a machine with an NVIDIA GPU and a torch with CUDA, without a network: at most eight minutes

It writes `gpu.md` and `gpu.json` into results/gpu after every part. A part that fails does not stop the others: the
table says why, and the status is 1. `python -m benchmarks.gpu --device cpu --toy` tries it without a GPU.

The results of a GPU agree with the CPU's to rounding, which training amplifies: the losses before training to
`INITIAL`, those of an epoch to `AFTER_AN_EPOCH` times 2 for each epoch before it, for `ALIKE` of the cells.
"""

import argparse
import gc
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers import work
from initbench.data import datasets
from initbench.execution.plan import plan
from initbench.functions import pytorch
from initbench.models import architecture
from initbench.spec import grid, presets
from initbench.spec.cell import Cell
from initbench.training import stack
from initbench.training.data import Data
from initbench.training.modules import initialized_module
from initbench.training.process import prepare_process
from initbench.training.tasks import environment

INITIAL, AFTER_AN_EPOCH, ALIKE = 1e-5, 1e-3, 0.95

# Seconds that each part may take; the table lists what was left out. In all below the eight minutes of a machine.
BUDGETS = {"tests": 90.0, "results": 120.0, "speed": 180.0}

NETWORKS = {"784-10": "", "784-128-10": "128", "784-1024x4-10": "1024-1024-1024-1024"}
WIDTHS = (1, 8, 64, 512, 2048)
MAX_BYTES = 10e9  # of the weights of a stack: more would take the time of the others to start
TOY_NETWORKS, TOY_WIDTHS = {"784-10": "", "784-16-10": "16"}, (1, 8)

Row = dict[str, Any]


def tests(options: argparse.Namespace) -> Iterator[Row]:
    """Run the tests that need a GPU, and nothing else."""
    root = Path(__file__).parents[1]
    files = sorted(path for path in (root / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text("utf-8"))
    words = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "-m", "gpu"]
    done = subprocess.run(
        [*words, *map(str, files)], cwd=root, capture_output=True, text=True, check=False, timeout=BUDGETS["tests"]
    )
    last = (done.stdout.strip().splitlines() or ["nothing was printed"])[-1]
    yield {"what": "tests marked gpu", "outcome": last}
    if done.returncode:
        raise RuntimeError(f"{last}\n{done.stdout[-6000:]}{done.stderr[-2000:]}")
    if options.device == "cuda" and ("skipped" in last or "passed" not in last):
        raise RuntimeError(f"tests were skipped: {last}")


def results(options: argparse.Namespace) -> Iterator[Row]:
    """Train the cells of a preset's first seed on the device and on the CPU, and compare them."""
    arrays, deadline = datasets.load_mnist(), time.monotonic() + BUDGETS["results"]
    overrides: dict[str, Any] = {"seed": 1, "epochs": 1 if options.toy else 2}
    if options.toy:
        overrides |= {"train_size": 640, "initializer": ["he_normal", "lecun_uniform"]}
    failures = []
    for name in ("keepcoding", "perceptron"):
        cells = list(grid.parse(presets.text(name), overrides=overrides).cells())
        sources = {cell.dataset: datasets.find(cell.dataset) for cell in cells}
        stacks = plan(cells, sources, gpu=True)
        for n, planned in enumerate(stacks, start=1):
            if time.monotonic() > deadline:
                yield {"what": f"{name}, {len(stacks) - n + 1} stacks", "outcome": "left out: no time"}
                break
            ours, theirs = (list(stack.train(planned.cells, Data(arrays, d))) for d in (options.device, "cpu"))
            for left, right in zip(ours, theirs, strict=True):
                row = compared(left, right)
                yield {"what": f"{name}, stack {n} of {len(stacks)}, {len(planned.cells)} cells", **row}
                if row["cells alike"] < (1 if not left.epoch else ALIKE):
                    failures.append(f"{name}, epoch {left.epoch}: {row}")
    if failures:
        raise RuntimeError("; ".join(failures))


def compared(left: stack.Epoch, right: stack.Epoch) -> Row:
    """Compare an epoch on two devices: the share of cells whose losses agree, and the largest differences."""
    tolerance = INITIAL if not left.epoch else AFTER_AN_EPOCH * 2 ** (left.epoch - 1)
    a, b = (
        np.stack([e.validation_loss, e.test_loss, *([e.step_losses.mean(0)] if e.epoch else [])]) for e in (left, right)
    )
    both = ~np.isfinite(a) & ~np.isfinite(b)  # both diverged
    with np.errstate(all="ignore"):
        relative = np.where(both, 0, np.abs(a - b) / np.maximum(np.abs(b), 1e-12))
    relative = np.where(np.isnan(relative), np.inf, relative).max(axis=0)
    first_steps = np.abs(left.step_losses[:1] / right.step_losses[:1] - 1) if left.epoch == 1 else np.zeros(1)
    accuracies = np.abs(left.test_accuracy - right.test_accuracy)
    return {
        "epoch": left.epoch,
        "tolerance": tolerance,
        "cells alike": float((relative <= tolerance).mean()),
        "median difference of losses": float(np.median(relative)),
        "largest": float(relative.max()),
        "largest of the first step": float(np.nanmax(first_steps)),
        "largest of test accuracies": float(accuracies.max()),
    }


def speed(options: argparse.Namespace) -> Iterator[Row]:
    """Measure a step of one model: in stacks, in other loops, and by the two floors."""
    device, deadline = options.device, time.monotonic() + BUDGETS["speed"]
    data, source = Data(datasets.load_mnist(), device), datasets.find("mnist")
    n, size = (256, 2**20) if options.toy else (8192, 2**28)
    A, B = torch.rand(n, n, device=device), torch.rand(size, device=device)
    flops = 2 * n**3 / seconds(partial(torch.mm, A, A), device, options.toy)
    bandwidth = 2 * B.nbytes / seconds(partial(torch.empty_like(B).copy_, B), device, options.toy)
    del A, B
    yield {"what": "floors", "TFLOP/s, float32": flops / 1e12, "GB/s of a copy": bandwidth / 1e9}
    failures = []
    for name, hidden in (TOY_NETWORKS if options.toy else NETWORKS).items():
        cell = work.groups("784-128-10" if hidden else "784-10", 1)[0][0]._replace(hidden=hidden)
        cell = cell._replace(output_activation="identity" if hidden else cell.output_activation)
        shape = cell.network(source.shape, source.classes)
        # A step reads the weights forward, and reads and writes them in the update.
        yield {
            "what": f"{name}, floors",
            "µs": 1e6 * architecture.step_flops(shape, cell.batch_size) / flops,
            "µs, memory": 1e6 * 3 * 4 * shape.weight_count / bandwidth,
        }
        measured: dict[str, Callable[[], float]] = {
            "plain loop": lambda cell=cell: plain_seconds(cell, data, options, False),
            **{
                f"stack of {width}": lambda cell=cell, width=width: stack_seconds(cell, width, data, options)
                for width in (TOY_WIDTHS if options.toy else WIDTHS)
            },
            **({} if options.toy else {"torch.compile": lambda cell=cell: plain_seconds(cell, data, options, True)}),
        }
        for loop, measure in measured.items():
            if time.monotonic() > deadline:
                yield {"what": f"{name}, {loop}", "outcome": "left out: no time"}
                continue
            try:
                yield {"what": f"{name}, {loop}", "µs": 1e6 * measure()}
            except torch.OutOfMemoryError as error:
                yield {"what": f"{name}, {loop}", "outcome": f"left out: {line(error)}"}
            except Exception as error:
                yield {"what": f"{name}, {loop}", "outcome": f"failed: {line(error)}"}
                failures.append(f"{name}, {loop}: {line(error)}")
            gc.collect()
            if device == "cuda":
                torch.cuda.empty_cache()
    if failures:
        raise RuntimeError("; ".join(failures))


def seconds(work: Callable[[], object], device: str, toy: bool) -> float:
    """Return the median time of a call, after two."""

    def timed() -> float:
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return float(np.median([timed() for _ in range(4 if toy else 12)][2:]))


def stack_seconds(cell: Cell, width: int, data: Data, options: argparse.Namespace) -> float:
    """Return the seconds of a step of one cell in a stack. The device draws its weights: it takes less time."""
    size = 4 * width * cell.network(datasets.find("mnist").shape, data.classes).weight_count
    if size > MAX_BYTES:
        raise torch.OutOfMemoryError(
            f"{size / 1e9:.0f} GB of weights are beyond the {MAX_BYTES / 1e9:.0f} of this check"
        )
    steps = stack.Steps([cell._replace(initializer="zeros")] * width, data)
    for W in (steps.network.first, *steps.network.deeper):
        W.normal_(0, 0.02)
    count = 4 if options.toy else 40
    return seconds(lambda: steps.take(count), options.device, options.toy) / count / width


def plain_seconds(cell: Cell, data: Data, options: argparse.Namespace, compiled: bool) -> float:
    """Return the seconds of a step of an ordinary loop on the device, its images and their order there beforehand."""
    module, *_ = initialized_module(cell, (28, 28, 1), 10)
    model, loss = module.to(options.device), pytorch.loss_function(cell.loss)
    optimizer = torch.optim.SGD(model.parameters(), cell.rate(1))
    images = torch.rand(8192, 784, device=options.device)
    labels = torch.randint(0, 10, (8192,), device=options.device)
    rows = torch.randint(0, 8192, (64, cell.batch_size), device=options.device)

    def forward(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return loss(model(x), y)

    value_of: Any = torch.compile(forward) if compiled else forward

    def steps() -> None:
        for batch in rows[: 4 if options.toy else 64]:
            value = value_of(images[batch], labels[batch])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

    return seconds(steps, options.device, options.toy) / (4 if options.toy else 64)


PARTS = {"tests": tests, "results": results, "speed": speed}


def line(error: BaseException) -> str:
    """Return an error in a line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def write(folder: Path, report: dict[str, Any]) -> None:
    """Write what is known so far, as JSON and as tables."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    lines = [f"# {report['environment']['device']}, torch {report['environment']['torch']}", ""]
    for part, outcome in report["parts"].items():
        failed = f"failed: {line_of(outcome['failed'])}" if outcome["failed"] else "passed"
        lines += [f"## {part}: {failed} ({outcome['seconds']:.0f} s)", ""]
        columns = list(dict.fromkeys(name for row in outcome["rows"] for name in row))
        if columns:
            lines += [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|"]
            lines += [f"| {' | '.join(shown(row.get(name, '')) for name in columns)} |" for row in outcome["rows"]]
        lines.append("")
    (folder / "gpu.md").write_text("\n".join(lines), encoding="utf-8")


def line_of(text: str) -> str:
    """Return the first line of a string."""
    return text.partition("\n")[0]


def shown(value: object) -> str:
    """Return a value for a table.

    >>> shown(0.00012345), shown(3), shown("a|b")
    ('0.0001234', '3', 'a/b')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/").replace("\n", " ")


def main() -> int:
    """Run the parts in order of importance; returns 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--toy", action="store_true", help="toy sizes, to try the command; not for publication")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), metavar="FOLDER")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print(f"PyTorch {torch.__version__} finds no GPU, or is a build without CUDA; to try: --device cpu --toy")
        return 1
    prepare_process()
    report: dict[str, Any] = {"environment": environment(options.device), "parts": {}}
    for part in options.parts:
        outcome: dict[str, Any] = {"rows": [], "failed": "", "seconds": 0.0}
        report["parts"][part] = outcome
        start = time.monotonic()
        try:
            for row in PARTS[part](options):
                print(part, *(f"{name}: {shown(value)};" for name, value in row.items()), flush=True)
                outcome["rows"].append(row)
                outcome["seconds"] = time.monotonic() - start
                write(options.out, report)
        except Exception as error:
            traceback.print_exc()
            outcome["failed"] = f"{type(error).__name__}: {error}"
        outcome["seconds"] = time.monotonic() - start
        write(options.out, report)
    print(options.out / "gpu.md")
    return int(any(outcome["failed"] for outcome in report["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
