"""The statistics: a tidy table in, a table out. No drawing, no files.

Intervals are Student's t, not the percentile bootstrap: at few seeds the bootstrap's intervals are too narrow. With n
values it resamples a spread of √((n − 1)/n) of the sample's and cuts it with normal instead of t quantiles, so that at
n = 5 its nominal 95% covers about 82% of normal populations; Student's t covers exactly 95% of those, whatever n.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats as distributions

from initbench.cells import DIVERGED

CONFIDENCE = 0.95
METRIC = "test_accuracy"
CHOSEN_ON = "validation_accuracy"


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Mean and the ends of its interval: mean ± t(n − 1) · s / √n, over the values that are not NaN.

    Parameters
    ----------
    values
        One number for each seed.
    confidence
        The probability with which the interval covers the mean of a normal population; default 0.95.

    Returns
    -------
    mean, low, high
        NaN where there is nothing to say: the mean of no value, the interval of a single one.

    >>> mean, low, high = mean_interval([1.0, 2.0, 3.0])
    >>> round(mean, 3), round(low, 3), round(high, 3)
    (2.0, -0.484, 4.484)
    """
    x = np.asarray(values, dtype=float)
    x = x[~np.isnan(x)]
    if len(x) == 0:
        return np.nan, np.nan, np.nan
    mean = float(x.mean())
    if len(x) == 1:
        return mean, np.nan, np.nan
    half = float(distributions.t.ppf((1 + confidence) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return mean, mean - half, mean + half


def final(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of each cell's last epoch."""
    return frame[frame["epoch"] == frame["epochs"]]


def summary(frame: pd.DataFrame, by: Sequence[str], metric: str = METRIC) -> pd.DataFrame:
    """Mean and 95% interval of a metric after the last epoch, for each group over its seeds.

    Returns a row for each group, in the order of the table: the `by` columns, `seeds` (cells in the group),
    `diverged` (how many of them diverged; they are counted here and are in no mean), `mean`, `std` (n − 1), `low`,
    `high`.
    """
    return _intervals(final(frame), list(by), metric)


def curves(frame: pd.DataFrame, by: Sequence[str], metric: str) -> pd.DataFrame:
    """As `summary`, for every epoch."""
    return _intervals(frame, [*by, "epoch"], metric)


def split(table: pd.DataFrame, keys: Sequence[str]) -> list[pd.DataFrame]:
    """The rows of each choice of these settings, in the order in which the choices appear; without any, the table."""
    if not keys:
        return [table]
    return [rows for _, rows in table.groupby(list(keys), sort=False, dropna=False, observed=True)]


def _intervals(rows: pd.DataFrame, by: list[str], metric: str) -> pd.DataFrame:
    grouped = rows.assign(_diverged=rows["status"] == DIVERGED).groupby(by, sort=False, dropna=False, observed=True)
    table = grouped.agg(
        seeds=("cell", "size"),
        diverged=("_diverged", "sum"),
        _n=(metric, "count"),
        mean=(metric, "mean"),
        std=(metric, "std"),
    ).reset_index()
    table = table.astype(dict.fromkeys(table.select_dtypes("category"), str))  # the text of a long table is categories
    n = table.pop("_n").to_numpy()
    quantile = distributions.t.ppf((1 + CONFIDENCE) / 2, np.maximum(n - 1, 1))
    half = np.where(n > 1, quantile * table["std"] / np.sqrt(np.maximum(n, 1)), np.nan)
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def verdicts(frame: pd.DataFrame, choice: Sequence[str], metric: str = METRIC) -> pd.DataFrame:
    """Each initializer's place within each choice of the other settings: `summary`, and how far it is behind.

    The leader of a choice has the highest mean validation accuracy; what is reported of it is the test accuracy. Cells
    at one seed see the same order of the data and draw the same noise, so the others are compared with it seed by seed:
    the differences have less spread than the values. In choosing and comparing, a diverged run counts as an accuracy of
    0: an initializer is not made better by leaving out the runs that it lost. (`mean`, `low` and `high` are of the runs
    that trained.) Where every run of a choice diverged, there is no leader.

    The rows go choice by choice. Adds `validation_accuracy` (its mean), `leader` (is it the leader), `pairs` (seeds
    that both have), `behind` (mean of the leader's metric minus its own), `behind_low`, `behind_high` (Student's t,
    each end with error probability 0.05 / (k − 1), k the number of initializers) and `told_apart` (`behind_low` above
    0). The initializers that are not told apart contain the best one of the choice with at least 95% probability: the
    true best would have to lose one of its k − 1 comparisons by chance, and Bonferroni bounds the sum of these. Not
    being told apart is not being equal. With fewer than two pairs nothing is claimed.

    `metric` is an accuracy: more is better.
    """
    keys = list(choice)
    table = summary(frame, [*keys, "initializer"], metric)
    # A diverged run counts as an accuracy of 0.
    rows = final(frame)[[*keys, "initializer", "seed", *dict.fromkeys([CHOSEN_ON, metric])]]
    rows = rows.fillna({CHOSEN_ON: 0.0, metric: 0.0})
    found = []
    for group, counted in zip(split(table, keys), split(rows, keys), strict=True):
        names = group["initializer"].tolist()
        chosen_on = counted.groupby("initializer", observed=True)[CHOSEN_ON].mean()
        leader = chosen_on[names].idxmax() if group["mean"].notna().any() else None
        values = counted.pivot(index="seed", columns="initializer", values=metric)
        confidence = 1 - 2 * (1 - CONFIDENCE) / max(len(names) - 1, 1)
        for i, name in zip(group.index, names, strict=True):
            rival = leader is not None and name != leader
            difference = (values[leader] - values[name]).dropna().tolist() if rival else []
            behind, low, high = mean_interval(difference, confidence)
            found.append((i, chosen_on[name], name == leader, len(difference), behind, low, high, low > 0))
    columns = ["index", CHOSEN_ON, "leader", "pairs", "behind", "behind_low", "behind_high", "told_apart"]
    compared = pd.DataFrame(found, columns=columns).set_index("index")
    return table.loc[compared.index].join(compared).reset_index(drop=True)
