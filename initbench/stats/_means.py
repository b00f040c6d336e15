"""Means over seeds, and their intervals.

Intervals are Student's t. Those of the percentile bootstrap are too narrow for few seeds: with n values, its spread is
√((n − 1)/n) of the sample's, and its quantiles are about normal. At n = 5, a nominal 95% interval covers the mean of a
normal population about 82% of the time; Student's t interval covers it 95% of the time for every n.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from initbench.spec.columns import DIVERGED
from initbench.stats._arguments import check_frame, check_metric, check_table, settings_of
from initbench.stats._outcomes import CONFIDENCE, METRIC, final

# In a table of at most this many rows, groups are found by a dictionary.
MAX_IN_PYTHON = 5_000


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float, float]:
    """Return the mean and the ends of its interval, mean ± t(n − 1) · s / √n, over the values that are not NaN.

    Assumes independent values of a roughly normal population. Checked on samples of real trainings
    (`tests/stats/test_coverage.py`; table in docs/explanation/method.md): the 95% interval covers 94 to 96% of such
    means, 88% with five exponential values, and as little as 22% where few runs are far from the others: see `results`.

    Parameters
    ----------
    values
        A number for each seed, in any unit.
    confidence
        The probability with which the interval covers the mean of a normal population; default 0.95.

    Returns
    -------
    mean, low, high
        In the unit of the values. The mean is NaN without values, the interval with fewer than two.

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
    """Return the mean and the 95% interval of a metric after the last epoch, for each group over its seeds.

    Assumes what `mean_interval` does, and was checked there.

    A row for each group, in the order of the table: the `by` columns, and

    - `seeds`: number of runs.
    - `diverged`: number of runs that diverged; a run has no metrics after it diverged.
    - `mean`: mean of the metric, in its unit (accuracies are fractions); nulls are left out.
    - `std`: standard deviation (n − 1).
    - `low`, `high`: ends of the interval; NaN with fewer than two values.
    """
    return _intervals(final(frame), settings_of(frame, by), metric)


def curves(frame: pd.DataFrame, by: Sequence[str], metric: str = METRIC) -> pd.DataFrame:
    """Return `summary` for every epoch, each on its own, with the same assumptions: its columns, and

    - `epoch`: number of the epoch; 0 is before training.
    """
    check_frame(frame)
    return _intervals(frame, list(dict.fromkeys([*settings_of(frame, by), "epoch"])), metric)


def by_combination(table: pd.DataFrame, combination: Sequence[str]) -> list[pd.DataFrame]:
    """Return the rows of each combination of these settings, in order of appearance; without settings, all rows.

    The columns of each are those of `table`.
    """
    check_table(table, "table", (), "a table with a column for each setting")
    keys = settings_of(table, combination, "combination")
    if not keys:
        return [table]
    return [rows for _, rows in table.groupby(keys, sort=False, dropna=False, observed=True)]


def without_categories(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with plain values for categories, which long tables have, and each in an order of its own."""
    categories = {
        name: kind.categories.dtype for name, kind in table.dtypes.items() if isinstance(kind, pd.CategoricalDtype)
    }
    if not categories:
        return table
    return table.astype({name: kind if kind.kind in "fb" else str for name, kind in categories.items()})


def _intervals(rows: pd.DataFrame, by: list[str], metric: str) -> pd.DataFrame:
    check_metric(rows, metric)
    groups, number = numbered(rows, by)
    grouped = rows[metric].groupby(number)
    mean, std = grouped.mean().to_numpy(), grouped.std().to_numpy()
    half = half_width(std, grouped.count().to_numpy())
    return groups.assign(
        seeds=np.bincount(number, minlength=len(groups)),
        diverged=np.bincount(number[(rows["status"] == DIVERGED).to_numpy()], minlength=len(groups)),
        mean=mean,
        std=std,
        low=mean - half,
        high=mean + half,
    )


def numbered(table: pd.DataFrame, by: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the groups of rows with the same values in these columns, and for each row the number of its group.

    The groups are in order of appearance, with these columns alone, as plain values. Groups are found once so: each
    statistic that pandas computes by several columns finds them anew.
    """
    if len(table) > MAX_IN_PYTHON:
        number = table.groupby(list(by), sort=False, dropna=False, observed=True).ngroup().to_numpy()
    else:  # a twentieth of the time for a hundred rows
        columns = [(table[name].astype(object).where(table[name].notna(), None)).tolist() for name in by]
        numbers: dict[tuple[object, ...], int] = {}
        number = np.array([numbers.setdefault(row, len(numbers)) for row in zip(*columns, strict=True)], np.intp)
    first = np.unique(number, return_index=True)[1]
    return without_categories(table[list(by)].iloc[first].reset_index(drop=True)), number


def half_width(std: np.ndarray, count: np.ndarray, confidence: float = CONFIDENCE) -> np.ndarray:
    """Return half the width of the intervals of means, t(n − 1) · s / √n; NaN for fewer than two values."""
    quantile = stdtrit(np.maximum(count - 1, 1), (1 + confidence) / 2)
    return np.where(count > 1, quantile * std / np.sqrt(np.maximum(count, 1)), np.nan)


def runs_by_seed(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a scored accuracy of a combination's runs: seeds in rows, initializers in columns, NaN where no run is."""
    if f"scored_{metric}" not in rows:
        raise ValueError(f"metric = {metric!r}; allowed: 'test_accuracy' or 'validation_accuracy'")
    seeds, of_seed = np.unique(rows["seed"].to_numpy(), return_inverse=True)
    initializers = rows["initializer"].tolist()
    names = sorted(set(initializers))
    number = {name: i for i, name in enumerate(names)}
    position = of_seed * len(names) + np.array([number[name] for name in initializers], np.intp)
    if len(np.unique(position)) < len(position):
        run = rows[rows.duplicated(["initializer", "seed"])].iloc[0]
        raise ValueError(
            f"combination: {run['initializer']} has several runs at seed {run['seed']}; allowed: one; "
            "add the other settings that vary, or remove rows that occur twice"
        )
    values = np.full(len(seeds) * len(names), np.nan)
    values[position] = rows[f"scored_{metric}"].to_numpy(float)
    return pd.DataFrame(values.reshape(len(seeds), len(names)), index=seeds, columns=names)
