"""Speed of learning: how many epochs it takes to reach a target, with runs that never do."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as distributions

from initbench.stats._outcomes import CONFIDENCE, known_chances
from initbench.stats._verdicts import SELECTION_METRIC
from initbench.stats.chance import Chance

# How near to the leader's last validation accuracy a run has learned what there is to learn.
NEAR = 0.01


def epochs_to_reach(
    frame: pd.DataFrame, target: "float | pd.Series[float]", metric: str = "validation_accuracy"
) -> pd.DataFrame:
    """For each cell the first epoch whose metric is at least the target: one, or one for each row of the table.

    A row for each cell, with its settings, `epochs_to_target` and `reached`. A cell that never reaches it, a diverged
    one too, is carried to its last epoch as not having reached it: `epochs_to_target` is that epoch, and `reached`
    False (right-censored, in the words of survival analysis).
    """
    reached = frame[metric] >= target  # a null is not
    first = frame.loc[reached, ["cell", "epoch"]].groupby("cell", sort=False, observed=True)["epoch"].min()
    cells = frame.drop_duplicates("cell").drop(columns=["epoch", "status"], errors="ignore")
    first_epochs = cells["cell"].map(first)
    return cells.assign(
        epochs_to_target=first_epochs.fillna(cells["epochs"]).astype(int), reached=first_epochs.notna().to_numpy()
    ).reset_index(drop=True)


def learning_speed(
    frame: pd.DataFrame, by: Sequence[str], target: "float | pd.Series[float]", metric: str = "validation_accuracy"
) -> pd.DataFrame:
    """How fast each group learns: Kaplan and Meier's estimate of the epochs to reach a target.

    A row for each group: the `by` columns, `seeds`, `reached` (how many did), `median` (the first epoch by which half
    of the runs have reached it; NaN where fewer ever do), and `share_reached` with its 95% interval `share_low`,
    `share_high` at the last epoch (Greenwood's variance on the log-log scale; without any run that reached it, or with
    all, the interval is Wilson's).

    Source: Kaplan & Meier 1958; Kalbfleisch & Prentice 2002, section 1.4.
    """
    needed = list(dict.fromkeys([*by, "cell", "epoch", "epochs", metric]))
    runs = epochs_to_reach(frame[needed], target, metric)
    records = []
    for key, group in runs.groupby(list(by), sort=False, dropna=False, observed=True):
        epochs, reached = group["epochs_to_target"].to_numpy(float), group["reached"].to_numpy()
        records.append((*key, len(group), int(reached.sum()), *_kaplan_meier(epochs, reached)))
    columns = [*by, "seeds", "reached", "median", "share_reached", "share_low", "share_high"]
    return pd.DataFrame(records, columns=columns)


def near_leader(
    frame: pd.DataFrame,
    verdicts: pd.DataFrame,
    combination: Sequence[str],
    near: float = NEAR,
    chance: Mapping[str, Chance] | None = None,
) -> pd.DataFrame:
    """How fast each initializer comes near the last mean validation accuracy of its combination's leader.

    As `learning_speed`, a row for each initializer of each combination, with the target that accuracy less `near`
    (default one percentage point), and above chance in any case. `verdicts` says who leads; where nobody does, nobody
    comes near. Where the validation split does not separate learning from chance, it is unknown:
    `reached` is 0, and `share_reached` and its interval are NaN, as the median is.
    """
    keys = list(combination)
    leaders = verdicts[verdicts["leader"]]
    accuracies = {
        tuple(map(str, row)): accuracy for *row, accuracy in leaders[[*keys, SELECTION_METRIC]].itertuples(index=False)
    }
    # Of a table of millions of rows each row gets the number of its combination, and so its target, and nothing more.
    number = (
        frame.groupby(keys, sort=False, dropna=False, observed=True).ngroup().to_numpy()
        if keys
        else np.zeros(len(frame), int)
    )
    _, first = np.unique(number, return_index=True)
    chances = known_chances(frame, chance).items()
    limits = {name: level.limit if level.split == "validation" else math.inf for name, level in chances}
    lowest = frame["dataset"].map(limits).astype(float).groupby(number).max().to_numpy() + 1e-9
    targets = [accuracies.get(tuple(map(str, frame[keys].iloc[i])), math.nan) - near for i in first]
    targets = np.maximum(np.array(targets), lowest)
    table = learning_speed(frame, [*keys, "initializer"], pd.Series(targets[number], frame.index))
    unknown = frame.loc[lowest[number] == math.inf, [*keys, "initializer"]].drop_duplicates()
    of_unknown = table[[*keys, "initializer"]].merge(unknown, how="left", indicator=True)["_merge"] == "both"
    table.loc[of_unknown.to_numpy(), ["share_reached", "share_low", "share_high"]] = math.nan
    return table


def _kaplan_meier(epochs: np.ndarray, reached: np.ndarray) -> tuple[float, float, float, float]:
    """Median, share that reached the target by the end, and the ends of its interval."""
    count, runs = int(reached.sum()), len(reached)
    if count in (0, runs):
        share, low, high = count / runs, *distributions.binomtest(count, runs).proportion_ci(CONFIDENCE, "wilson")
        half = float(np.sort(epochs)[(runs + 1) // 2 - 1]) if count else math.nan
        return half, share, float(low), float(high)
    sample = distributions.CensoredData.right_censored(epochs, ~reached)
    survival: Any = distributions.ecdf(sample).sf
    ends = survival.confidence_interval(CONFIDENCE, method="log-log")
    below = np.flatnonzero(survival.probabilities <= 0.5)
    median = float(survival.quantiles[below[0]]) if len(below) else math.nan
    last = -1
    return (
        median,
        1 - float(survival.probabilities[last]),
        1 - float(ends.high.probabilities[last]),
        1 - float(ends.low.probabilities[last]),
    )
