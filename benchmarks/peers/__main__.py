"""The command: measures the floors, initbench and its peers in turns, and prints the tables.

For each network, optimizer and tool: microseconds for one optimizer step of one model (batch 128), with the share of
the evaluations that comes to a step (validation and test, before the first of five epochs and after each).

- initbench is measured at its marginal cost: whole `initbench run`s of a grid and of one with twice its seeds, the
  difference of their times over the difference of their steps. `python -m benchmarks.waiting` has the fixed costs.
- A peer's processes, data, order and programs are ready before the clock starts. Its steps and its evaluation are
  timed apart and put together in the proportion of the work.
- `--networks`, `--optimizers` and `--peers` measure a part: `--networks 784-10 --optimizers sgd --peers` takes two
  to five minutes. Interrupted after the first round, it prints the tables of what it has measured.
- The floor is the arithmetic at the best rate of a 2048 × 2048 float32 product on all cores.
"""

import argparse
import importlib.metadata
import importlib.util
import itertools
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.peers import jax_scan, pytorch, whole_runs, work
from initbench.data import datasets
from initbench.system.hardware import cpu_name
from initbench.system.threads import available_cores

CORES = available_cores()

INITBENCH = "initbench"
LOOP = "PyTorch loop"
PROCESSES = "PyTorch loops, one per core"
LOADER = "loop with DataLoader"
FUNC = "torch.func, 32 models"
JAX = "JAX vmap + scan, 32 models"
TRAINERS = {
    LOOP: pytorch.Loop,
    PROCESSES: pytorch.Processes,
    LOADER: pytorch.LoaderLoop,
    FUNC: pytorch.Func,
    JAX: jax_scan.Scan,
}
PEERS = tuple(TRAINERS)

# Initializers, and seeds for each core, of the smaller of the two runs: some ten seconds of training, and as much
# for every core (a seed's cells are whole stacks).
RUN_SIZES = {"784-10": (12, 2), "784-128-10": (2, 1), "784-128-128-10": (2, 1)}

STEPS_PER_EPOCH = 429

# The network on which every optimizer is measured.
ALL_OPTIMIZERS = "784-128-10"


def sgemm_rate() -> float:
    """Floating-point operations in a second of a 2048 × 2048 float32 product on all cores: the best of several."""
    n = 2048
    a, b, c = torch.rand(n, n), torch.rand(n, n), torch.empty(n, n)
    best = 0.0
    for _ in range(8):
        start = time.perf_counter()
        torch.mm(a, b, out=c)
        best = max(best, 2.0 * n**3 / (time.perf_counter() - start))
    return best


def trainers(network: str, optimizer: str, tool: str, data: Any, quick: bool) -> list[Any]:
    """A peer's trainers for all activations and losses, on its `data`; the first has trained once, to be warm."""
    several = tool in (FUNC, JAX)
    # A whole epoch; stacks of 32 take an eighth of one, which is long enough to be timed.
    steps = STEPS_PER_EPOCH // 8 if quick or several else STEPS_PER_EPOCH
    groups = work.groups(network, work.STACK if several else 1, optimizer)
    batches = work.batches(groups[0][0], steps)
    make: Any = TRAINERS[tool]
    if several:
        peer_trainers = [make(cells, data, batches) for cells in groups]
    else:
        peer_trainers = [make([cell for cells in groups for cell in cells], data, batches)]
    peer_trainers[0].train()
    return peer_trainers


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that a call takes, and its result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def peer_seconds(peer_trainers: list[Any], evaluations_per_step: float) -> float:
    """Seconds for one step of one model, with the evaluations that come to it: the mean over a peer's trainers."""
    peer_trainers[0].evaluate()  # wakes the threads
    step, evaluation = 0.0, 0.0
    for trainer in peer_trainers:
        train_seconds, losses = timed(trainer.train)
        evaluate_seconds, metrics = timed(trainer.evaluate)
        step += train_seconds / losses.size / len(peer_trainers)
        evaluation += evaluate_seconds / len(metrics) / len(peer_trainers)
    return step + evaluation * evaluations_per_step


def run_seconds(network: str, optimizer: str, quick: bool) -> dict[str, float]:
    """A run and one with twice the seeds, and what a step costs by them: all in seconds."""
    initializers, seeds = (1, 1) if quick else RUN_SIZES[network]
    n, twice = (work.mixed_grid(network, initializers, seeds * CORES * k, optimizer) for k in (1, 2))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        once_seconds = whole_runs.seconds(whole_runs.run_command(n, folder / "n"))
        twice_seconds = whole_runs.seconds(whole_runs.run_command(twice, folder / "2n"))
        in_workers = whole_runs.seconds_in_workers(folder / "2n" / twice.name)
    steps = len(n) * work.EPOCHS * STEPS_PER_EPOCH
    return {
        "cells": len(n),
        "run": once_seconds,
        "run of twice the cells": twice_seconds,
        "marginal": (twice_seconds - once_seconds) / steps,
        # Checks the marginal cost: the seconds that the workers report, without the time between stacks.
        "in workers": in_workers / (2 * steps),
    }


def rows(networks: Collection[str], optimizers: Collection[str]) -> dict[str, tuple[str, str]]:
    """The network and the optimizer of each row that is measured, by the row's name; the peers have sgd and adam.

    >>> list(rows(["784-10"], ["sgd", "adam", "rmsprop"]))
    ['784-10, sgd', '784-10, adam']
    """
    measured = {"sgd": work.NETWORKS, "adam": ("784-10", ALL_OPTIMIZERS)}
    return {
        f"{network}, {optimizer}": (network, optimizer)
        for optimizer in optimizers
        for network in measured.get(optimizer, (ALL_OPTIMIZERS,))
        if network in networks
    }


def measure(
    networks: Collection[str], optimizers: Collection[str], peers: Collection[str], rounds: int, quick: bool
) -> dict[str, Any]:
    """All measurements, in turns; of a row without peers (and of all, if `peers` is empty) initbench's alone.

    If it is interrupted after the first round, those that are complete.
    """
    arrays = datasets.load_mnist()
    data = work.prepared(arrays)
    processes = pytorch.started_processes(arrays, CORES) if PROCESSES in peers else []
    tools = [tool for tool in peers if tool != JAX or importlib.util.find_spec("optax")]
    data_of: dict[str, Any] = dict.fromkeys(tools, data) | {PROCESSES: processes}
    if JAX in tools:
        data_of[JAX] = jax_scan.on_device(data)
    chosen = rows(networks, optimizers)
    peer_trainers: dict[tuple[str, str], list[Any]] = {}
    rates = []
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    times: dict[str, dict[str, list[float]]] = {
        name: {tool: [] for tool in tools if optimizer in pytorch.OPTIMIZERS} for name, (_, optimizer) in chosen.items()
    }
    for number, (name, (network, optimizer)) in itertools.product(range(rounds), chosen.items()):
        say(f"round {number + 1} of {rounds}: {name}")
        try:
            rates.append(sgemm_rate())
            seconds = run_seconds(network, optimizer, quick)
            share = work.evaluations_per_step(work.groups(network, 1)[0][0])
            seconds_of = {}
            for tool in times[name]:
                if (name, tool) not in peer_trainers:
                    peer_trainers[name, tool] = trainers(network, optimizer, tool, data_of[tool], quick)
                seconds_of[tool] = peer_seconds(peer_trainers[name, tool], share)
        except KeyboardInterrupt:
            if not number:
                raise
            break
        runs[name].append(seconds)
        for tool, value in seconds_of.items():
            times[name][tool].append(value)
    rates.append(sgemm_rate())
    for process in processes:
        process.shutdown()
    return {"machine": machine(), "sgemm": rates, "runs": runs, "peers": times}


def machine() -> dict[str, Any]:
    """The machine and the versions, on which the measurements depend."""
    versions = {}
    for package in ("initbench", "numpy", "torch", "jax", "jaxlib", "optax"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {"processor": cpu_name(), "cores": CORES, "python": platform.python_version(), **versions}


def tables(measured: dict[str, Any]) -> str:
    """The measurements in Markdown: medians, their ratios to initbench, their shares of the floor."""
    columns = ["dense floor", "floor, lit pixels", INITBENCH, "relative to sgd", *PEERS]
    lines = [row(["network, optimizer", *columns]), row(["---"] * (len(columns) + 1))]
    rate = max(measured["sgemm"])
    for name, runs in measured["runs"].items():
        network = name.partition(", ")[0]
        cell = work.groups(network, 1)[0][0]
        floor, lit = (work.operations_per_step(cell, lit_pixels_only=only) / rate for only in (False, True))
        ours = median(run["marginal"] for run in runs)
        values = [shown(floor), shown(lit), f"**{shown(ours)}** · {floor / ours:.0%}"]
        of_sgd = measured["runs"].get(f"{network}, sgd")
        # Each round's own ratio: the machine may be slower in another.
        ratios = [run["marginal"] / sgd["marginal"] for run, sgd in zip(runs, of_sgd or (), strict=False)]
        values.append(f"{median(ratios):.2f}×" if of_sgd else "")
        for tool in PEERS:
            times = measured["peers"][name].get(tool)
            theirs = median(times) if times else 0
            values.append(f"{shown(theirs)} · {theirs / ours:.1f}× · {floor / theirs:.0%}" if times else "–")
        lines.append(row([name, *values]))
    about = measured["machine"]
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", "numpy", "torch", "jax", "optax"))
    low, high = min(measured["sgemm"]) / 1e9, rate / 1e9
    lines += [
        "",
        "Microseconds for one step of one model, evaluations included; × is the ratio to initbench, % the share of the "
        "dense floor. Compilation and the start of processes are not included in the peers' times. –: not measured, or "
        "not installed.",
        "",
        f"{about['processor']}, {about['cores']} cores; {versions}; sgemm {low:.0f} to {high:.0f} GFLOP/s, "
        "the best of which is the floor's.",
        *warnings(measured),
    ]
    return "\n".join(lines)


def warnings(measured: dict[str, Any]) -> list[str]:
    """Why not to quote the measurements: a single round, or rounds that differ by a quarter (a busy machine)."""
    if any(len(runs) == 1 for runs in measured["runs"].values()):
        return ["", "Not to be quoted: one round."]
    spreads = {}
    for name, peers in measured["peers"].items():
        everything = {INITBENCH: [run["marginal"] for run in measured["runs"][name]], **peers}
        spreads |= {f"{name}, {tool}": max(times) / min(times) for tool, times in everything.items()}
    widest = max(spreads, key=spreads.__getitem__)
    if spreads[widest] < 1.25:
        return []
    return [
        "",
        f"Not to be quoted, the machine was not idle: {widest} varied {spreads[widest]:.1f}-fold between rounds.",
    ]


def shown(seconds: float) -> str:
    """Seconds as microseconds, to three digits.

    >>> shown(12.34e-6), shown(1.2345e-3)
    ('12.3', '1234')
    """
    return f"{seconds * 1e6:.{1 if seconds < 1e-4 else 0}f}"


def row(cells: list[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def say(text: str) -> None:
    """Print progress to standard error."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, print, and write everything if requested."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=work.NETWORKS, default=list(work.NETWORKS), metavar="NETWORK")
    optimizers = list(work.RATES)
    parser.add_argument("--optimizers", nargs="+", choices=optimizers, default=optimizers, metavar="OPTIMIZER")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS, metavar="PEER", help="none: only initbench")
    parser.add_argument(
        "--quick", action="store_true", help="one short round, to check that it works; not for publication"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement")
    options = parser.parse_args()
    rounds = 1 if options.quick else 3
    measured = measure(options.networks, options.optimizers, options.peers, rounds, options.quick)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1), encoding="utf-8")
    print(tables(measured))


if __name__ == "__main__":
    main()
