"""Write a file on which intervals are tested: `python -m tools.make_populations populations` (or `plateaus`).

`populations`: 2,000 seeds of eight contrasting cells of tests/stored/populations.toml, some minutes. `plateaus`: 400
seeds of all cells of tests/stored/plateaus.toml, the combinations with relu of the preset `keepcoding`, ten minutes.
With a number of seeds it trains only those and prints whether the tracked file has the same results:
`python -m tools.make_populations populations 5`.
"""

import sys
import tempfile
from pathlib import Path

import initbench as ib

DATA = Path(__file__).parent.parent / "tests" / "stored"
CELLS = (
    ("glorot_uniform", "tanh", "cross_entropy"),
    ("he_normal", "relu", "cross_entropy"),
    ("glorot_uniform", "relu", "mse"),
    ("normal(std=1.0)", "relu", "cross_entropy"),
    ("normal(std=1.0)", "tanh", "mse"),
    ("normal(std=1.0)", "relu", "mse"),
    ("truncated_normal(std=0.3)", "tanh", "cross_entropy"),
    ("zeros", "relu", "cross_entropy"),
)


def main() -> None:
    """Train the grid in a temporary folder, and write the number of correct images of each cell."""
    import pandas as pd

    name = sys.argv[1]
    path = DATA / f"{name}.parquet"
    seeds = {"seed": int(sys.argv[2])} if len(sys.argv) > 2 else {}
    with tempfile.TemporaryDirectory() as folder:
        frame = ib.run(DATA / f"{name}.toml", results=folder, overrides=seeds).frame
    last = ib.stats.final(frame).astype({"initializer": str})
    keys = ["initializer", "activation", "loss"]
    cells = CELLS if name == "populations" else sorted(set(last[keys].itertuples(index=False, name=None)))
    table = pd.DataFrame(cells, columns=keys).merge(last.sort_values("seed"), on=keys)
    table["validation_right"] = (5000 * table["validation_accuracy"]).round()
    table["test_right"] = (10_000 * table["test_accuracy"]).round()
    numbers = ["seed", "validation_right", "test_right"]
    table = table[keys + numbers].astype(dict.fromkeys(numbers, "uint16") | dict.fromkeys(keys, str))
    if not seeds:
        table.to_parquet(path, index=False, compression="zstd")
        return
    tracked = pd.read_parquet(path)
    tracked = tracked[tracked["seed"] < seeds["seed"]].reset_index(drop=True)
    print("the same" if tracked.equals(table) else "not the same: another kind of processor, or another version?")


if __name__ == "__main__":
    main()
