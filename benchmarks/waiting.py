"""What people wait for: whole commands, each beside what it cannot do without, in turns in one run.

    python -m benchmarks.waiting [--rounds 3] [--only help smoke report-72 report-240 run]

| command | relative to | at most |
| --- | --- | --- |
| `initbench --help` | `import typer` | 2 |
| `initbench run GRID --smoke`, 12 cells | `import torch` | 2 |
| `initbench report`, 72 cells and 240 cells | `import seaborn` | 1.6 |
| `initbench run`, 72 cells of 784-128-10 | its training: the seconds in its workers, spread over all of them | 1.2 |

For each it prints the medians over the rounds of both times, of the processor time of the command, and of the ratio.
The very first round is not counted: it compiles and caches.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers.whole_runs import ROOT, command, run_command, seconds, seconds_in_workers
from initbench.spec import grid
from initbench.spec.gridfile import find
from initbench.system.hardware import cpu_name
from initbench.system.threads import available_cores

SMOKE = """
name = "smoke12"
[model]
hidden = [128]
[grid]
initializer = ["zeros", "he_normal", "glorot_uniform", "orthogonal"]
activation = ["tanh", "relu", "sigmoid"]
seed = 3
"""
RUN = """
name = "run72"
[model]
hidden = [128]
[training]
epochs = 5
[grid]
initializer = ["he_normal", "glorot_uniform", "orthogonal", "truncated_normal(std=1.0)"]
activation = ["tanh", "relu"]
loss = ["mse", "cross_entropy", "hinge"]
seed = 3
"""
FEW = {"train_size": 640, "epochs": 2}  # where only the report is measured


class Round(NamedTuple):
    """The seconds of a command, those of its processors, and those of what it is compared with."""

    whole: float
    processor: float
    reference: float


def _timed(words: list[str]) -> tuple[float, float]:
    """The seconds of a command on the wall, and those of the processors."""
    before = os.times()
    wall = seconds(words)
    after = os.times()
    return wall, sum(after[2:4]) - sum(before[2:4])


def _beside_import(words: list[str], module: str) -> Round:
    reference = seconds([sys.executable, "-c", f"import {module}"])
    return Round(*_timed(words), reference)


def _help(_: Path) -> Round:
    return _beside_import(command("--help"), "typer")


def _smoke(folder: Path) -> Round:
    file = folder / "smoke.toml"
    file.write_text(SMOKE, encoding="utf-8")
    with tempfile.TemporaryDirectory(dir=folder) as results:
        return _beside_import(command("run", file, "--smoke", "--results", results), "torch")


def _report(parsed: grid.Grid, folder: Path) -> Round:
    """The report of an experiment, which is trained once, for a short time."""
    if not (folder / parsed.name).is_dir():
        seconds(run_command(parsed, folder / parsed.name))
    experiment = folder / parsed.name / parsed.name
    (experiment / "report.html").unlink()
    return _beside_import(command("report", experiment), "seaborn")


def _report_72(folder: Path) -> Round:
    return _report(grid.parse(RUN, overrides={**FEW, "name": "report72"}), folder)


def _report_240(folder: Path) -> Round:
    return _report(grid.read(find("keepcoding"), {**FEW, "name": "report240"}), folder)


def _run(folder: Path) -> Round:
    parsed = grid.parse(RUN)
    with tempfile.TemporaryDirectory(dir=folder) as results:
        whole, processor = _timed(run_command(parsed, Path(results) / "run"))
        return Round(whole, processor, seconds_in_workers(Path(results) / "run" / parsed.name))


class Wait(NamedTuple):
    """A command: what it is and is compared with, in words, the most that it may take, and its measurement."""

    text: str
    reference: str
    limit: float
    measure: Callable[[Path], Round]


WAITS = {
    "help": Wait("initbench --help", "import typer", 2.0, _help),
    "smoke": Wait("initbench run --smoke, 12 cells", "import torch", 2.0, _smoke),
    "report-72": Wait("initbench report, 72 cells", "import seaborn", 1.6, _report_72),
    "report-240": Wait("initbench report, 240 cells", "import seaborn", 1.6, _report_240),
    "run": Wait("initbench run, 72 cells", "its training", 1.2, _run),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each command (default 3)")
    parser.add_argument("--only", nargs="+", choices=WAITS, default=list(WAITS), help="which commands (default all)")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled already
    revision = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(revision, capture_output=True, text=True, check=False).stdout.strip()
    print(
        f"{cpu_name()}, {available_cores()} cores; {commit or 'no commit'}; medians of {arguments.rounds}, in seconds"
    )
    print(f"{'command':32} {'time':>7} {'processor':>9}   {'relative to':14} {'time':>7} {'ratio':>6} {'at most':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for wait in map(WAITS.__getitem__, arguments.only):
            rounds = [wait.measure(Path(folder)) for _ in range(arguments.rounds + 1)][1:]
            whole, processor, reference = map(statistics.median, zip(*rounds, strict=True))
            ratio = statistics.median(measured.whole / measured.reference for measured in rounds)
            print(
                f"{wait.text:32} {whole:7.3f} {processor:9.3f}   {wait.reference:14} {reference:7.3f} "
                f"{ratio:6.2f} {wait.limit:7.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
