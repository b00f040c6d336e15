"""Significant changes from one experiment to another."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from initbench.spec.columns import METRICS, SETTINGS
from initbench.stats._constants import MIN_SEEDS
from initbench.stats._means import METRIC, by_combination, half_width, without_categories
from initbench.stats._outcomes import CONFIDENCE, outcomes
from initbench.stats._planning import RESOLUTION
from initbench.stats.chance import Chance


def changes(
    before: pd.DataFrame, after: pd.DataFrame, metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> pd.DataFrame:
    """Compare two experiments over their common seeds, for each configuration that both have.

    Cells are matched by their settings, not by their ids, so that experiments of different versions can be compared.
    Differences are taken within seeds; diverged runs are scored at the majority-class accuracy. The intervals of the m
    configurations are Student's t at 5% / m (Bonferroni): with 95% probability, no change is claimed where there is
    none. As in `verdicts`, the spread of differences is at least that of rounding to one image, unless all cells are
    the same. A row for each configuration: its settings, and

    - `seeds`: number of common seeds.
    - `same`: number of seeds at which every metric of every epoch is equal to the last bit.
    - `mean_before`, `mean_after`: means of the metric, in its unit (accuracies are fractions).
    - `change`, `change_low`, `change_high`: mean after minus mean before, with the corrected interval, in the metric's
      unit. The interval is NaN with fewer than two seeds.
    - `significant`: whether the interval excludes zero.
    - `failed_before`, `failed_after`: numbers of runs that diverged or stayed at chance.
    """
    keys = [setting for setting in SETTINGS if setting != "seed"]
    columns = [*SETTINGS, "failed", f"scored_{metric}"]
    sides = [without_categories(outcomes(frame, chance))[columns] for frame in (before, after)]
    both = sides[0].merge(sides[1], on=list(SETTINGS), suffixes=("_before", "_after"))
    both["same"] = both[list(SETTINGS)].merge(_same(before, after), how="left", on=list(SETTINGS))["same"].to_numpy()
    rows = []
    groups = by_combination(both, keys) if len(both) else []
    for group in groups:
        left, right = (group[f"scored_{metric}_{side}"].to_numpy(float) for side in ("before", "after"))
        n, difference = len(group), right - left
        same = int(group["same"].sum())
        min_std = 0.0 if same == n else RESOLUTION
        std = max(float(difference.std(ddof=1)), min_std) if n > 1 else np.nan
        confidence = 1 - (1 - CONFIDENCE) / len(groups)
        half = float(half_width(np.array(std), np.array(n), confidence))
        change = float(difference.mean())
        numbers = (float(left.mean()), float(right.mean()), change, change - half, change + half, abs(change) > half)
        failed = (int(group["failed_before"].sum()), int(group["failed_after"].sum()))
        rows.append((*group[keys].iloc[0], n, same, *numbers, *failed))
    columns = ["seeds", "same", "mean_before", "mean_after", "change", "change_low", "change_high", "significant"]
    return pd.DataFrame(rows, columns=[*keys, *columns, "failed_before", "failed_after"])


def regressions(changes: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the configurations that are worse by at least `threshold` percentage points.

    `changes` is the table that the function `changes` returns. Its rows that count, with its columns:

    - `change`: at most −`threshold` / 100, a fraction; a change that is printed as the threshold is at it.
    - `significant`: true; or else `seeds` is below `MIN_SEEDS`, or `failed_after` is above `failed_before`.
    - `same`: below `seeds`; where all cells are equal to the last bit, nothing is worse.
    """
    worse = changes["change"] <= -threshold / 100 + 1e-9
    untested = changes["seeds"] < MIN_SEEDS
    counts = changes["significant"] | untested | (changes["failed_after"] > changes["failed_before"])
    return changes[worse & counts & (changes["same"] < changes["seeds"])]


def _same(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return whether all metrics of a cell are equal to the last bit, for each cell of both; nulls are equal."""
    keys = [*SETTINGS, "epoch"]
    sides = [without_categories(frame)[[*keys, *METRICS]] for frame in (before, after)]
    both = sides[0].merge(sides[1], on=keys, suffixes=("", "_after"))
    same = np.ones(len(both), bool)
    for metric in METRICS:
        left, right = both[metric].to_numpy(float), both[f"{metric}_after"].to_numpy(float)
        same &= (left == right) | (np.isnan(left) & np.isnan(right))
    return both[list(SETTINGS)].assign(same=same).groupby(list(SETTINGS), sort=False)["same"].all().reset_index()
