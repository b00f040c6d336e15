"""Changes from one experiment to another: which are significant, and whether a loss is excluded."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special

from initbench.spec.columns import METRICS, SETTINGS
from initbench.stats._arguments import REQUIRED, check_frame, check_table
from initbench.stats._means import without_categories
from initbench.stats._outcomes import CONFIDENCE, METRIC, outcomes
from initbench.stats._planning import MAX_SEEDS, POWER
from initbench.stats._pooling import MIN_POOLED, Changes, pooled, separate
from initbench.stats._resolution import resolution
from initbench.stats.chance import Chance

OVERALL = ("overall_change", "overall_low", "overall_high", "overall_bound", "overall_std", "overall_significant")

# The columns of `changes` from which others are computed.
CHANGES = (
    *("seeds", "same", "change", "change_bound", "change_std", "significant", "failed_before", "failed_after"),
    *("pooled", "missing", *OVERALL),
)

# Metrics are computed in float32: a change that is printed as the limit is at it, and one of one image is no more.
ROUNDING = 1e-7


def changes(
    before: pd.DataFrame, after: pd.DataFrame, metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> pd.DataFrame:
    """Compare two experiments over their common seeds, for each configuration that both have.

    Cells are matched by their settings, not by their ids, so that experiments of different versions can be compared.
    Differences are taken within seeds; diverged runs are scored at the majority-class accuracy.

    From five configurations on, the variances of the differences are pooled: those of all configurations moderate that
    of each, and luck that configurations share at a seed is part of the interval, so that two or three seeds can
    decide. The mean over configurations is tested beside each of them: at each seed it is one number, with Student's t
    over the seeds. A configuration with a failed run on either side, or, where seeds differ between configurations,
    every configuration, stands on its own: Student's t at its own seeds, Bonferroni over configurations. Configurations
    that are the same to the last bit are not tested. With 95% probability, no change at all is claimed where there is
    none. The spread of differences is at least that of rounding to one image, and a change of at most one image is
    never significant.

    Assumes that differences are roughly normal. In simulations of 48 configurations and 2, 3, 5 and 10 seeds, where
    nothing changed, a change is claimed in at most 5% of comparisons: whether configurations are independent, share
    three quarters of their variance at a seed, all alike or in groups, have different deviations, or one is five times
    as noisy as the others. Real trainings (`tests/stored`): at most 5%. Where a tenth of the configurations lose 5
    points in half of their runs, at random: 15% at three seeds, at most 5% at the others.

    A row for each configuration: its settings, and

    - `seeds`: number of common seeds.
    - `same`: number of seeds at which every metric of every epoch is equal to the last bit.
    - `mean_before`, `mean_after`: means of the metric, in its unit (accuracies are fractions).
    - `change`, `change_low`, `change_high`: mean after minus mean before, with the interval that holds for all
      configurations together with 95% probability, in the metric's unit. The interval is NaN with fewer than two seeds.
    - `change_bound`: lower end of the one-sided 95% interval of the change of this configuration alone, in the metric's
      unit: a larger loss is excluded. NaN with fewer than two seeds.
    - `change_std`: standard deviation of the differences, as pooled, in the metric's unit; NaN with fewer than two
      seeds.
    - `significant`: whether the interval excludes zero, and the change is more than one image of the test set.
    - `failed_before`, `failed_after`: numbers of runs that diverged or stayed at chance.
    - `pooled`: whether the variance of this configuration is pooled with those of the others.
    - `overall_change`, `overall_low`, `overall_high`, `overall_bound`, `overall_std`, `overall_significant`: the same
      of the mean over the pooled configurations; equal in all rows. NaN, and false, where none are pooled.
    - `missing`: number of cells that only `before` has; equal in all rows.

    Source: Smyth 2004, "Linear models and empirical Bayes methods for assessing differential expression in microarray
    experiments", for the moderation of variances.
    """
    for name, side in (("before", before), ("after", after)):
        check_frame(side, metric, name=name, columns=dict.fromkeys([*REQUIRED, *SETTINGS, *METRICS]))
    keys = [setting for setting in SETTINGS if setting != "seed"]
    columns = [*SETTINGS, "failed", metric, f"scored_{metric}"]
    sides = [without_categories(outcomes(frame, chance))[columns] for frame in (before, after)]
    both = sides[0].merge(sides[1], on=list(SETTINGS), suffixes=("_before", "_after"))
    both["same"] = both[list(SETTINGS)].merge(_same(before, after), how="left", on=list(SETTINGS))["same"].to_numpy()
    number = both.groupby(keys, sort=False, dropna=False).ngroup().rename("number")
    both = both.assign(number=number).sort_values(["number", "seed"], ignore_index=True)
    grouped = both.groupby("number")
    table = (
        both.drop_duplicates("number")
        .set_index("number")[keys]
        .assign(
            seeds=grouped.size(),
            same=grouped["same"].sum().astype(int),
            mean_before=grouped[f"scored_{metric}_before"].mean(),
            mean_after=grouped[f"scored_{metric}_after"].mean(),
            failed_before=grouped["failed_before"].sum().astype(int),
            failed_after=grouped["failed_after"].sum().astype(int),
        )
    )
    difference = both[f"scored_{metric}_after"] - both[f"scored_{metric}_before"]
    floor = max(resolution(pd.concat(sides), metric, chance), ROUNDING)
    table = table.reset_index(drop=True).join(_intervals(table, difference, both["seed"], floor))
    return table.assign(missing=len(sides[0]) - len(both))


def _intervals(table: pd.DataFrame, difference: pd.Series, seed: pd.Series, floor: float) -> pd.DataFrame:
    """Return the columns `change`, … and `overall_…` of a table of `changes`, from its runs in the order of rows."""
    ends = np.cumsum(table["seeds"].to_numpy())[:-1]
    differences = np.split(difference.to_numpy(float), ends) if len(table) else []
    seeds = [tuple(seeds) for seeds in np.split(seed.to_numpy(), ends)] if len(table) else []
    changed = [i for i in range(len(table)) if table["same"][i] < table["seeds"][i]]
    clean = [i for i in changed if table["failed_before"][i] == table["failed_after"][i] == 0]
    can_pool = len(clean) >= MIN_POOLED and len({seeds[i] for i in clean}) == 1 and len(seeds[clean[0]]) > 1
    together = clean if can_pool else []
    alone = sorted(set(changed) - set(together))
    error = (1 - CONFIDENCE) / max(len(changed), 1)
    parts: list[tuple[list[int], Changes]] = []
    if together:  # half of the probability of an error for the mean over configurations, half for what differs from it
        error /= 2
        matrix = np.array([differences[i] for i in together])
        parts.append((together, pooled(matrix, floor, error, (1 - CONFIDENCE) / 2)))
    if alone:
        parts.append((alone, separate([differences[i] for i in alone], floor, error)))
    columns = {name: np.zeros(len(table)) for name in ("change", "half", "change_bound", "change_std")}
    for rows, part in parts:
        for name, values in zip(columns, (part.mean, part.half, part.bound, part.std), strict=True):
            columns[name][rows] = values
    change, half = columns["change"], columns.pop("half")
    image = floor * math.sqrt(6) + ROUNDING
    overall, overall_half, overall_bound, overall_std = parts[0][1].overall if together else (np.nan,) * 4
    overall_row = (overall, overall - overall_half, overall + overall_half, overall_bound, overall_std)
    return pd.DataFrame(columns, columns=["change", "change_bound", "change_std"]).assign(
        change_low=change - half,
        change_high=change + half,
        significant=(np.abs(change) > half) & (np.abs(change) > image),
        pooled=np.isin(np.arange(len(table)), together),
        **dict(zip(OVERALL, (*overall_row, abs(overall) > max(overall_half, image)), strict=True)),
    )


def outcome(changes: pd.DataFrame, points: float) -> Literal["passed", "failed", "inconclusive"]:
    """Return whether an experiment passes, where a loss of `points` percentage points or more is not acceptable.

    - `failed`: such a loss is shown. A configuration of `regressions`, or the mean over configurations, is
      significantly worse by `points` or more; a configuration lost as much and has more failed runs than before; or
      cells are missing.
    - `passed`: such a loss is excluded in every configuration: its `change_bound` is above −`points`, or all its cells
      are the same to the last bit.
    - `inconclusive`: neither. More seeds decide: see `seeds_to_pass`.

    `changes` is the table that the function `changes` returns. Where nothing changed and no run fails, at most 5%
    of comparisons are failed, at any number of seeds; for runs that fall short at random, see `changes`. More
    failed runs count without a test: if a tenth of a configuration's runs fail at random, 27% of comparisons over
    five seeds are failed. Where a configuration lost `points` or more, at most 5% are passed, however many
    configurations there are: to pass, the bound of that one must miss (Berger 1982, "Multiparameter hypothesis
    testing and acceptance sampling"). For what that assumes, see `changes`.
    """
    _check(changes)
    if changes.empty:
        return "inconclusive"
    missing = int(changes["missing"].iloc[0])
    if missing > 0 or overall_worse(changes, points) or not regressions(changes, points).empty:
        return "failed"
    return "passed" if open_losses(changes, points).empty else "inconclusive"


def regressions(changes: pd.DataFrame, points: float) -> pd.DataFrame:
    """Return the configurations that are worse by at least `points` percentage points.

    Assumes what `changes` does.

    `changes` is the table that the function `changes` returns. Its rows that count, with its columns:

    - `change`: at most −`points` / 100, a fraction; a change that is printed as the limit is at it.
    - `significant`: true; or else `failed_after` is above `failed_before`, which counts without a test.
    - `same`: below `seeds`; where all cells are equal to the last bit, nothing is worse.
    """
    _check(changes)
    worse = changes["change"] <= -points / 100 + ROUNDING
    counts = changes["significant"] | (changes["failed_after"] > changes["failed_before"])
    return changes[worse & counts & (changes["same"] < changes["seeds"])]


def overall_worse(changes: pd.DataFrame, points: float) -> bool:
    """Return whether the mean over configurations is significantly worse, by at least `points` percentage points.

    Assumes what `changes` does.

    `changes` is the table that the function `changes` returns; its columns `overall_…` decide.
    """
    _check(changes)
    overall = changes.iloc[0]
    return bool(overall["overall_significant"] and overall["overall_change"] <= -points / 100 + ROUNDING)


def open_losses(changes: pd.DataFrame, points: float) -> pd.DataFrame:
    """Return the configurations in which a loss of `points` percentage points or more is not excluded.

    Assumes what `changes` does.

    `changes` is the table that the function `changes` returns. Its rows that count, with its columns:

    - `change_bound`: at most −`points` / 100, a fraction, or NaN.
    - `same`: below `seeds`.
    """
    _check(changes)
    return changes[~(changes["change_bound"] > -points / 100) & (changes["same"] < changes["seeds"])]


def seeds_to_pass(changes: pd.DataFrame, points: float) -> tuple[float, float]:
    """Return the numbers of seeds that exclude a loss of `points` percentage points, if nothing changed.

    With n seeds instead of the present n₀, a configuration with the standard deviation s has a bound of
    mean − c · s / √n, c from its present bound; with 80% probability, all bounds are above −`points`:
    ∏ Φ(`points` · √n / s − c) ≥ 0.8, with configurations as independent.

    `changes` is the table that the function `changes` returns. Assumes normal differences whose standard deviation is
    the present one; checked by simulation (`tests/stats/test_changes.py`).

    Returns
    -------
    all, overall
        Seeds that exclude it in every configuration, and seeds that exclude it in the mean over configurations.
        Infinite where more than 100,000 are needed (always at 0 points), NaN where the spread is unknown.
    """
    _check(changes)
    rows = changes[(changes["same"] < changes["seeds"]) & (changes["change_std"] > 0)]
    overall = changes[changes["pooled"]].head(1)
    return (
        _seeds_to_pass(rows, points, "change", "change_bound", "change_std"),
        _seeds_to_pass(overall, points, "overall_change", "overall_bound", "overall_std"),
    )


def _check(changes: pd.DataFrame) -> None:
    check_table(changes, "changes", CHANGES, "the table that ib.compare and ib.stats.changes return")


def _seeds_to_pass(rows: pd.DataFrame, points: float, mean: str, bound: str, spread: str) -> float:
    if rows.empty:
        return np.nan
    std, seeds = rows[spread].to_numpy(float), rows["seeds"].to_numpy(float)
    quantiles = (rows[mean] - rows[bound]).to_numpy(float) * np.sqrt(seeds) / std

    def power(n: int) -> float:
        return float(special.ndtr(points / 100 * math.sqrt(n) / std - quantiles).prod())

    low, high = 1, 2
    while power(high) < POWER:
        if high > MAX_SEEDS:
            return math.inf
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return float(high)


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
