"""Speed of learning: the epochs that runs take to reach a target accuracy."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from initbench.stats._arguments import check_frame, check_table, combination_of, settings_of
from initbench.stats._means import without_categories
from initbench.stats._outcomes import chance_levels, share_interval
from initbench.stats._verdicts import SELECTION_METRIC
from initbench.stats.chance import Chance

# A run is near the leader if its validation accuracy is at most this much lower than the leader's last one.
NEAR = 0.01


def epochs_to_reach(
    frame: pd.DataFrame, metric: str = SELECTION_METRIC, *, target: "float | pd.Series[float]"
) -> pd.DataFrame:
    """Return the first epoch of each cell at which its metric is at least the target.

    `target` is one number, or one for each row of the table. A row for each cell: its settings, and

    - `epochs_to_target`: the first epoch at which the metric reaches the target, from 0; the last epoch if none does.
    - `reached`: whether the target was reached. False for a run that diverged before.

    It assumes nothing: it counts.
    """
    check_frame(frame, metric, columns=("cell", "epoch", "epochs"))
    reached = frame[metric] >= target  # False for a null
    first = frame.loc[reached, ["cell", "epoch"]].groupby("cell", sort=False, observed=True)["epoch"].min()
    cells = frame.drop_duplicates("cell").drop(columns=["epoch", "status"], errors="ignore")
    epochs = cells["cell"].map(first)
    return cells.assign(
        epochs_to_target=epochs.fillna(cells["epochs"]).astype(int), reached=epochs.notna().to_numpy()
    ).reset_index(drop=True)


def learning_speed(
    frame: pd.DataFrame, by: Sequence[str], metric: str = SELECTION_METRIC, *, target: "float | pd.Series[float]"
) -> pd.DataFrame:
    """Return how fast each group of runs learns: the median epochs to a target, and the share that reaches it.

    A row for each group: the `by` columns, and

    - `seeds`: number of runs.
    - `reached`: number of runs that reached the target.
    - `median`: the first epoch by which half of the runs have reached it; NaN if fewer do.
    - `share_reached`: fraction of the runs that have reached it by their last epoch.
    - `share_low`, `share_high`: its 95% interval (Wilson's, which covers 83% at worst: see `share_interval`).

    All runs of a group have the same number of epochs, and one that does not reach the target, also because it
    diverges, has not by the last: no run is lost before. So these are plain counts, and the Kaplan–Meier estimate is
    the same. The interval assumes independent runs.
    """
    check_frame(frame, metric, columns=("cell", "epoch", "epochs"))
    by = settings_of(frame, by)
    needed = list(dict.fromkeys([*by, "cell", "epoch", "epochs", metric]))
    cells = epochs_to_reach(frame[needed], metric, target=target)
    cells["epochs_to_target"] = cells["epochs_to_target"].where(cells["reached"], math.inf)
    groups = cells.groupby(by, sort=False, dropna=False, observed=True)
    table = groups.agg(
        seeds=("cell", "size"), reached=("reached", "sum"), median=("epochs_to_target", _lower_median)
    ).reset_index()
    table["median"] = table["median"].replace(math.inf, math.nan)
    table["share_reached"], table["share_low"], table["share_high"] = share_interval(table["reached"], table["seeds"])
    return without_categories(table)


def _lower_median(epochs: "pd.Series[float]") -> float:
    """Return the middle value; of two, the lower."""
    return float(np.sort(epochs)[(len(epochs) - 1) // 2])


def near_leader(
    frame: pd.DataFrame,
    combination: Sequence[str],
    verdicts: pd.DataFrame,
    chance: Mapping[str, Chance] | None = None,
    *,
    near: float = NEAR,
) -> pd.DataFrame:
    """Return how fast each initializer comes near the last mean validation accuracy of its combination's leader.

    The target is that accuracy minus `near` (a fraction; default one percentage point), and at least just above the
    limit of chance. `verdicts`, the table that the function `verdicts` returns of the same `combination`, names the
    leaders. A row for each initializer of each combination, with the columns of
    `learning_speed`:

    - `seeds`, `reached`: numbers of runs; without a leader, `reached` is 0.
    - `median`: in epochs, NaN if fewer than half of the runs reach the target.
    - `share_reached`, `share_low`, `share_high`: fractions; NaN where the validation split does not separate learning
      from chance. There `reached` is 0.

    It assumes what `learning_speed` does, and takes the target as given: it is a mean of the leader's runs, and the
    intervals do not include how uncertain that is.
    """
    check_frame(frame)
    keys = combination_of(frame, combination)
    columns = [*keys, "leader", SELECTION_METRIC]
    check_table(verdicts, "verdicts", columns, "the table that ib.stats.verdicts returns")
    leaders = verdicts[verdicts["leader"]]
    accuracies = {
        tuple(map(str, row)): accuracy for *row, accuracy in leaders[[*keys, SELECTION_METRIC]].itertuples(index=False)
    }
    targets, unknown_rows = near_targets(frame, keys, accuracies, chance, near)
    table = learning_speed(frame, [*keys, "initializer"], target=pd.Series(targets, frame.index))
    unknown = frame.loc[unknown_rows, [*keys, "initializer"]].drop_duplicates()
    of_unknown = table[[*keys, "initializer"]].merge(unknown, how="left", indicator=True)["_merge"] == "both"
    table.loc[of_unknown.to_numpy(), ["share_reached", "share_low", "share_high"]] = math.nan
    return table


def near_targets(
    frame: pd.DataFrame,
    keys: list[str],
    accuracies: Mapping[tuple[str, ...], float],
    chance: Mapping[str, Chance] | None,
    near: float = NEAR,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the target of each row, and where the validation split does not separate learning from chance.

    `accuracies` are the leaders', by the settings of their combinations as strings; the target is infinite there, and
    NaN without a leader.
    """
    # Each of millions of rows gets the number of its combination, which is its index into the targets.
    number = (
        frame.groupby(keys, sort=False, dropna=False, observed=True).ngroup().to_numpy()
        if keys
        else np.zeros(len(frame), int)
    )
    _, first = np.unique(number, return_index=True)
    chances = chance_levels(frame, chance)
    limits = {name: level.limit if level.split == "validation" else math.inf for name, level in chances.items()}
    lowest = frame["dataset"].map(limits).astype(float).groupby(number).max().to_numpy() + 1e-9
    near_accuracies = [accuracies.get(tuple(map(str, frame[keys].iloc[i])), math.nan) - near for i in first]
    targets = np.maximum(np.array(near_accuracies), lowest)
    return targets[number], lowest[number] == math.inf
