"""Write results/example-keepcoding from a finished experiment of the preset: `python tools/make_example.py`.

The folder has the grid, the table of means with 95% intervals, and the report, but not the parts.
"""

from pathlib import Path

from initbench import stats
from initbench.api import write_report
from initbench.results.experiment import Experiment

RESULTS = Path(__file__).parent.parent / "results"


def main() -> None:
    """Copy the experiment's grid and report, and write its summary."""
    experiment = Experiment.open(RESULTS / "keepcoding")
    if experiment.missing():
        raise SystemExit("results/keepcoding is not finished: run `make demo` first")
    example = RESULTS / "example-keepcoding"
    example.mkdir(exist_ok=True)
    frame, environments = experiment.read()
    summary = stats.verdicts(frame, ["activation", "loss"])
    summary.round(6).to_csv(example / "summary.csv", index=False)
    (example / "grid.toml").write_text(experiment.grid.text, encoding="utf-8")
    (example / "report.html").write_bytes(write_report(experiment, frame, environments).read_bytes())


if __name__ == "__main__":
    main()
