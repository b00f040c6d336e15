"""Means over seeds, and their intervals.

Intervals are Student's t, not the percentile bootstrap: at few seeds the bootstrap's intervals are too narrow. With n
values it resamples a spread of √((n − 1)/n) of the sample's and cuts it with normal instead of t quantiles, so that at
n = 5 its nominal 95% covers about 82% of normal populations; Student's t covers exactly 95% of those, whatever n.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats as distributions

from initbench.spec.columns import DIVERGED
from initbench.stats._outcomes import CONFIDENCE, final

METRIC = "test_accuracy"


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
    half = float(half_width(x.std(ddof=1), np.array(len(x)), confidence))
    return mean, mean - half, mean + half


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


def by_combination(table: pd.DataFrame, keys: Sequence[str]) -> list[pd.DataFrame]:
    """The rows of each combination of these settings, in the order in which the combinations appear; without any, the
    table.
    """
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
    half = half_width(table["std"].to_numpy(), n)
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def half_width(std: np.ndarray, count: np.ndarray, confidence: float = CONFIDENCE) -> np.ndarray:
    """Half the width of the interval (default 95%) of means, t(n − 1) · s / √n; NaN of fewer than two values."""
    quantile = distributions.t.ppf((1 + confidence) / 2, np.maximum(count - 1, 1))
    return np.where(count > 1, quantile * std / np.sqrt(np.maximum(count, 1)), np.nan)
