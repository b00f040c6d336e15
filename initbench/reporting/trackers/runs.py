"""The training runs of an experiment as trackers take them: one for each cell, grouped by configuration."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from initbench.registry import shorten_digests
from initbench.reporting import names
from initbench.reporting.evidence import combination_of
from initbench.results.table import plain_columns
from initbench.spec.cell import Cell
from initbench.spec.columns import METRICS, SETTINGS
from initbench.spec.grid import Grid
from initbench.stats import signal_scalars

if TYPE_CHECKING:
    import pandas as pd

# The hexadecimal digits of a configuration in the name of its group, and the most characters of that name: with the
# seed, at most W&B's 128.
DIGITS, MAX_NAME = 6, 110


class Run(NamedTuple):
    """The training run of a cell.

    `group` names the configuration: what varies in the grid, and the first digits of `configuration`, a hash of all
    settings but the seed, which is therefore different where settings differ that the grid does not vary. `metrics` has
    the metrics by epoch; they are NaN from the epoch on in which the run diverged. `signal` has the scalars of its
    signal before training that have a value (`stats.signal_scalars`).
    """

    cell: str
    group: str
    configuration: str
    settings: dict[str, str | int | float | bool]
    status: str
    metrics: list[tuple[int, dict[str, float]]]
    signal: dict[str, float]

    @property
    def name(self) -> str:
        """Its group and its seed."""
        return f"{self.group} seed {self.settings['seed']}"

    @property
    def shared_settings(self) -> dict[str, str | int | float | bool]:
        """The settings of its configuration: all but the seed."""
        return {name: value for name, value in self.settings.items() if name != "seed"}

    @property
    def values(self) -> list[tuple[str, float, int]]:
        """The name, the value and the step of each number: the signal's at 0, the metrics at their epochs."""
        values = [(f"signal/{name}", value, 0) for name, value in self.signal.items()]
        return values + [(name, value, epoch) for epoch, metrics in self.metrics for name, value in metrics.items()]


def runs_of(frame: "pd.DataFrame", signal: "pd.DataFrame", grid: Grid) -> Iterator[Run]:
    """Yield the run of each cell of a tidy table, in its order, with what a signal table has of it."""
    frame = plain_columns(frame)
    scalars = signal_scalars(signal).set_index("cell") if len(signal) else None
    begins = np.flatnonzero(~frame["cell"].duplicated().to_numpy())
    ends = [*begins[1:], len(frame)]
    combination = combination_of(grid)
    last = frame.iloc[np.array(ends, int) - 1]
    epochs, values = frame["epoch"].tolist(), frame[list(METRICS)].to_numpy(float)
    for begin, end, record in zip(begins, ends, last.to_dict("records"), strict=True):
        settings = {name: record[name] for name in SETTINGS}
        configuration = Cell(**settings)._replace(seed=0).id
        metrics = [
            (
                epoch,
                {name: float(value) for name, value in zip(METRICS, row, strict=True) if epoch or name != METRICS[0]},
            )
            for epoch, row in zip(epochs[begin:end], values[begin:end], strict=True)
        ]
        cell = record["cell"]
        of_signal = scalars.loc[cell].dropna().to_dict() if scalars is not None and cell in scalars.index else {}
        yield Run(
            cell, _group(settings, combination, configuration), configuration, settings, record["status"], metrics,
            of_signal,
        )  # fmt: skip


def _group(settings: dict[str, str | int | float | bool], combination: list[str], configuration: str) -> str:
    shown = {name: shorten_digests(value) if isinstance(value, str) else value for name, value in settings.items()}
    text = f"{names.initializer(str(shown['initializer']))}, {names.title(combination, shown)}"
    digits = f" ({configuration[:DIGITS]})"
    return text[: MAX_NAME - len(digits)] + digits
