"""Write tests/stored/same.parquet, A/A experiments with real training runs: `python -m tools.make_same` (ten minutes).

One initializer under four names: the order of the data follows the seed, the weights come from separate streams.
A stack takes its order from its first cell and each cell's weights from that cell's seed, so a seed's four cells are
one stack.
"""

import os
import sys
from pathlib import Path

from initbench.system.threads import ENVIRONMENT

EXPERIMENTS, SEEDS, NAMES = 1000, 5, "abcd"
GRID = """
[grid]
initializer = "glorot_uniform"
activation = "tanh"
loss = "cross_entropy"
seed = 1
[model]
hidden = [32]
[training]
train_size = 6400
epochs = 1
"""


def main() -> None:
    """Train the experiments one after another, and write the numbers of correct images."""
    import pandas as pd

    from initbench.data import datasets
    from initbench.spec import grid
    from initbench.training.data import Data
    from initbench.training.process import prepare_process
    from initbench.training.stack import train

    prepare_process()
    data = Data(datasets.load_mnist())
    cell = next(grid.parse(GRID).cells())
    rows = []
    for experiment in range(EXPERIMENTS):
        for seed in range(SEEDS):
            order = SEEDS * experiment + seed
            streams = [order + i * EXPERIMENTS * SEEDS for i in range(len(NAMES))]
            *_, last = train([cell._replace(seed=stream) for stream in streams], data)
            for name, validation, test in zip(NAMES, last.validation_accuracy, last.test_accuracy, strict=True):
                rows.append((experiment, name, seed, round(5000 * validation), round(10_000 * test)))
    columns = ["experiment", "name", "seed", "validation_right", "test_right"]
    table = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[:1] + columns[2:], "int16"))
    path = Path(__file__).parent.parent / "tests" / "stored" / "same.parquet"
    table.to_parquet(path, index=False, compression="zstd")


if __name__ == "__main__":
    if os.environ.get("MKL_CBWR") is None:  # MKL reads it before the first product, so a new process is needed
        os.execve(sys.executable, [sys.executable, "-m", "tools.make_same"], {**os.environ, **ENVIRONMENT})
    main()
