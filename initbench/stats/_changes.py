"""Significant changes from one experiment to another."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from initbench.spec.columns import METRICS, SETTINGS
from initbench.stats._means import METRIC, by_combination, half_width
from initbench.stats._outcomes import CONFIDENCE, outcomes
from initbench.stats._planning import RESOLUTION
from initbench.stats.chance import Chance


def changes(
    before: pd.DataFrame, after: pd.DataFrame, metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> pd.DataFrame:
    """Compare two experiments, for each configuration that both have, over the seeds that both have.

    Cells are matched by their settings and not by their ids, so that runs of other versions can be compared. A row for
    each combination of settings but the seed: the settings, and

    - `seeds`: how many both have; `same`: at how many of them every metric of every epoch is equal to the last bit;
    - `mean_before`, `mean_after` of the metric; diverged runs are scored at the majority-class accuracy;
    - `change`, its mean after minus before within seeds, with `change_low`, `change_high`: Student's t at 5% / m, m the
      number of settings that are compared (Bonferroni), so that with 95% probability no change is claimed
      where there is none. NaN with fewer than two seeds. Differences are not taken to spread less than rounding to
      one image does (as in `verdicts`), but where all cells are the same;
    - `significant`: the interval leaves zero out;
    - `failed_before`, `failed_after`: how many of the seeds diverged or stayed at chance.
    """
    keys = [setting for setting in SETTINGS if setting != "seed"]
    columns = [*SETTINGS, "failed", f"scored_{metric}"]
    sides = [_plain(outcomes(frame, chance))[columns] for frame in (before, after)]
    both = sides[0].merge(sides[1], on=list(SETTINGS), suffixes=("_before", "_after"))
    both["same"] = both[list(SETTINGS)].merge(_same(before, after), how="left", on=list(SETTINGS))["same"].to_numpy()
    rows = []
    groups = by_combination(both, keys) if len(both) else []
    for group in groups:
        left, right = (group[f"scored_{metric}_{side}"].to_numpy(float) for side in ("before", "after"))
        n, difference = len(group), right - left
        same = int(group["same"].sum())
        least = 0.0 if same == n else RESOLUTION
        std = max(float(difference.std(ddof=1)), least) if n > 1 else np.nan
        confidence = 1 - (1 - CONFIDENCE) / len(groups)
        half = float(half_width(np.array(std), np.array(n), confidence))
        change = float(difference.mean())
        numbers = (float(left.mean()), float(right.mean()), change, change - half, change + half, abs(change) > half)
        failed = (int(group["failed_before"].sum()), int(group["failed_after"].sum()))
        rows.append((*group[keys].iloc[0], n, same, *numbers, *failed))
    metric_columns = [
        "seeds",
        "same",
        "mean_before",
        "mean_after",
        "change",
        "change_low",
        "change_high",
        "significant",
    ]
    return pd.DataFrame(rows, columns=[*keys, *metric_columns, "failed_before", "failed_after"])


def _same(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """For each cell of both whether all its metrics are the same to the last bit, nulls too."""
    keys = [*SETTINGS, "epoch"]
    both = _plain(before)[[*keys, *METRICS]].merge(_plain(after)[[*keys, *METRICS]], on=keys, suffixes=("", "_after"))
    same = np.ones(len(both), bool)
    for metric in METRICS:
        left, right = both[metric].to_numpy(float), both[f"{metric}_after"].to_numpy(float)
        same &= (left == right) | (np.isnan(left) & np.isnan(right))
    return both[list(SETTINGS)].assign(same=same).groupby(list(SETTINGS), sort=False)["same"].all().reset_index()


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The text of a long table is categories, which two tables have in other orders."""
    return frame.astype(dict.fromkeys(frame.select_dtypes("category"), str))
