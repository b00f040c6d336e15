"""What the signal costs: whole runs of an experiment with `diagnostics`, and without, in turns.

    python -m benchmarks.diagnostics [--rounds 3] [--grids keepcoding perceptron deep]

For each grid it prints the median over rounds of the ratio of the two times: of whole runs, the report included, and of
what the workers took.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.peers.whole_runs import run_command, seconds, seconds_in_workers
from initbench.spec import grid
from initbench.spec.gridfile import find

NETWORK = {"initializer": ["he_normal", "glorot_uniform", "orthogonal"], "hidden": [128] * 10, "seed": 2, "epochs": 5}


def grids() -> dict[str, tuple[str, dict[str, object]]]:
    """The grids, by name: a preset, and the settings in place of its own."""
    return {"keepcoding": ("keepcoding", {}), "perceptron": ("perceptron", {}), "deep": ("perceptron", NETWORK)}


def measured(name: str, folder: Path) -> tuple[float, float]:
    """The seconds of a run with diagnostics divided by those of a run without: whole, and in the workers."""
    preset, settings = grids()[name]
    whole, workers = {}, {}
    for diagnostics in (True, False):
        parsed = grid.read(find(preset), {**settings, "name": name, "diagnostics": diagnostics})
        inside = folder / f"{name}-{diagnostics}"
        whole[diagnostics] = seconds(run_command(parsed, inside))
        workers[diagnostics] = seconds_in_workers(inside / name)
    return whole[True] / whole[False], workers[True] / workers[False]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each grid (default 3)")
    parser.add_argument("--grids", nargs="+", choices=grids(), default=list(grids()), help="which (default all)")
    arguments = parser.parse_args()
    for name in arguments.grids:
        ratios = []
        for number in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as folder:
                ratios.append(measured(name, Path(folder)))
            print(f"{name}, round {number + 1}: whole {ratios[-1][0]:.3f}, workers {ratios[-1][1]:.3f}", flush=True)
        whole, workers = (statistics.median(column) for column in zip(*ratios, strict=True))
        print(f"{name}: whole runs {whole:.3f}, workers {workers:.3f} times as long with the signal as without")


if __name__ == "__main__":
    main()
