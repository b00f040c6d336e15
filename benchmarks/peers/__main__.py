"""The command: measures the floors, initbench and its peers in turns, and prints the tables.

For each network and tool: microseconds for one optimizer step of one model (batch 128, SGD), with the share of the
evaluations that comes to a step (validation and test, before the first of five epochs and after each).

- initbench is measured at its marginal cost: whole `initbench run`s of a grid and of one with twice its seeds, the
  difference of their times over the difference of their steps. The fixed costs of a run are in a second table.
- A peer's processes, data, order and programs are ready before the clock starts. Its steps and its evaluation are
  timed apart and put together in the proportion of the work.
- The floor is the arithmetic at the best rate of a 2048 × 2048 float32 product on all cores.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
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
RUN_SIZES = {"784-10": (12, 2), "784-128-10": (3, 1), "784-128-128-10": (3, 1)}

STEPS_PER_EPOCH = 429


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


def trainers(network: str, tool: str, data: Any, quick: bool) -> list[Any]:
    """A peer's trainers for all activations and losses, on its `data`; the first has trained once, to be warm."""
    several = tool in (FUNC, JAX)
    # A whole epoch; the perceptrons' stacks of 32 take a quarter of one, which is long enough to be timed.
    steps = STEPS_PER_EPOCH // 4 if quick or (several and work.NETWORKS[network]) else STEPS_PER_EPOCH
    groups = work.groups(network, work.STACK if several else 1)
    rows = work.batches(groups[0][0], steps)
    make: Any = TRAINERS[tool]
    if several:
        peer_trainers = [make(cells, data, rows) for cells in groups]
    else:
        peer_trainers = [make([cell for cells in groups for cell in cells], data, rows)]
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


def run_seconds(network: str, quick: bool) -> dict[str, float]:
    """A run, one with twice the seeds, a report, and a run of a single step on each core: all in seconds."""
    initializers, seeds = (1, 1) if quick else RUN_SIZES[network]
    n, twice = (work.mixed_grid(network, initializers, seeds * CORES * k) for k in (1, 2))
    one_step = work.one_step_grid(network, CORES)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        start, nothing = whole_runs.seconds_to_first_part(
            whole_runs.run_command(one_step, folder / "1"), folder / "1" / one_step.name / "parts"
        )
        once_seconds = whole_runs.seconds(whole_runs.run_command(n, folder / "n"))
        twice_seconds = whole_runs.seconds(whole_runs.run_command(twice, folder / "2n"))
        report = whole_runs.seconds(whole_runs.command("report", folder / "2n" / twice.name))
        in_workers = whole_runs.seconds_in_workers(folder / "2n" / twice.name)
    steps = len(n) * work.EPOCHS * STEPS_PER_EPOCH
    return {
        "cells": len(n),
        "run": once_seconds,
        "run of twice the cells": twice_seconds,
        "marginal": (twice_seconds - once_seconds) / steps,
        # Checks the marginal cost: the seconds that the workers report, without the time between stacks.
        "in workers": in_workers / (2 * steps),
        "to first step": start,
        "run of one step": nothing,
        "report": report,
    }


def measure(networks: list[str], rounds: int, quick: bool) -> dict[str, Any]:
    """All measurements, in turns."""
    arrays = datasets.load_mnist()
    data = work.prepared(arrays)
    processes = pytorch.started_processes(arrays, CORES)
    tools = [tool for tool in PEERS if tool != JAX or importlib.util.find_spec("jax")]
    data_of: dict[str, Any] = dict.fromkeys(tools, data) | {PROCESSES: processes}
    if JAX in tools:
        data_of[JAX] = jax_scan.on_device(data)
    peer_trainers: dict[tuple[str, str], list[Any]] = {}
    rates = []
    runs: dict[str, list[dict[str, float]]] = {network: [] for network in networks}
    peers: dict[str, dict[str, list[float]]] = {network: {tool: [] for tool in tools} for network in networks}
    for number in range(rounds):
        for network in networks:
            say(f"round {number + 1} of {rounds}: {network}")
            rates.append(sgemm_rate())
            runs[network].append(run_seconds(network, quick))
            share = work.evaluations_per_step(work.groups(network, 1)[0][0])
            for tool in tools:
                if (network, tool) not in peer_trainers:
                    peer_trainers[network, tool] = trainers(network, tool, data_of[tool], quick)
                peers[network][tool].append(peer_seconds(peer_trainers[network, tool], share))
    rates.append(sgemm_rate())
    for process in processes:
        process.shutdown()
    return {"machine": machine(), "sgemm": rates, "runs": runs, "peers": peers}


def machine() -> dict[str, Any]:
    """The machine and the versions, on which the measurements depend."""
    versions = {}
    for package in ("initbench", "numpy", "torch", "jax", "jaxlib"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {"processor": cpu_name(), "cores": CORES, "python": platform.python_version(), **versions}


def tables(measured: dict[str, Any]) -> str:
    """The measurements in Markdown: medians, their ratios to initbench, their shares of the floor."""
    columns = ["dense floor", "floor, lit pixels", INITBENCH, *PEERS]
    lines = [row(["network", *columns]), row(["---"] * (len(columns) + 1))]
    rate = max(measured["sgemm"])
    for network, runs in measured["runs"].items():
        cell = work.groups(network, 1)[0][0]
        floor, lit = (work.operations_per_step(cell, lit_pixels_only=only) / rate for only in (False, True))
        ours = median(run["marginal"] for run in runs)
        values = [shown(floor), shown(lit), f"**{shown(ours)}** · {floor / ours:.0%}"]
        for tool in PEERS:
            times = measured["peers"][network].get(tool)
            theirs = median(times) if times else 0
            values.append(
                f"{shown(theirs)} · {theirs / ours:.1f}× · {floor / theirs:.0%}" if times else "not installed"
            )
        lines.append(row([network, *values]))
    lines += [
        "",
        "Microseconds for one step of one model, evaluations included; × is the ratio to initbench, % the share of the "
        "dense floor. Compilation and the start of processes are not included in the peers' times.",
        "",
        row(
            [
                "network",
                "from the command to the first step, at most",
                "the report",
                "a whole experiment of one step on each core",
            ]
        ),
        row(["---"] * 4),
    ]
    for network, runs in measured["runs"].items():
        parts = [f"{median(run[part] for run in runs):.1f}" for part in ("to first step", "report", "run of one step")]
        lines.append(row([network, *parts]))
    about = measured["machine"]
    versions = ", ".join(f"{name} {about[name]}" for name in ("python", "numpy", "torch", "jax"))
    low, high = min(measured["sgemm"]) / 1e9, rate / 1e9
    lines += [
        "",
        f"{about['processor']}, {about['cores']} cores; {versions}; sgemm {low:.0f} to {high:.0f} GFLOP/s, "
        "the best of which is the floor's.",
        *warnings(measured),
    ]
    return "\n".join(lines)


def warnings(measured: dict[str, Any]) -> list[str]:
    """Why not to quote the measurements: a single round, or rounds that differ by a quarter (a busy machine)."""
    if any(len(runs) == 1 for runs in measured["runs"].values()):
        return ["", "Not to be quoted: one short round."]
    spreads = {}
    for network, peers in measured["peers"].items():
        everything = {INITBENCH: [run["marginal"] for run in measured["runs"][network]], **peers}
        spreads |= {f"{network}, {tool}": max(times) / min(times) for tool, times in everything.items()}
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
    parser.add_argument(
        "--quick", action="store_true", help="one short round, to check that it works; not for publication"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single measurement")
    options = parser.parse_args()
    measured = measure(options.networks, 1 if options.quick else 3, options.quick)
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1), encoding="utf-8")
    print(tables(measured))


if __name__ == "__main__":
    main()
