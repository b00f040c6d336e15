"""The statistics: a tidy table in, a table out. No drawing, no files.

Intervals are Student's t, not the percentile bootstrap: at few seeds the bootstrap's intervals are too narrow. With n
values it resamples a spread of √((n − 1)/n) of the sample's and cuts it with normal instead of t quantiles, so that at
n = 5 its nominal 95% covers about 82% of normal populations; Student's t covers exactly 95% of those, whatever n.
"""

from collections.abc import Sequence
from itertools import combinations

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


def _intervals(rows: pd.DataFrame, by: list[str], metric: str) -> pd.DataFrame:
    grouped = rows.assign(_diverged=rows["status"] == DIVERGED).groupby(by, sort=False, dropna=False)
    table = grouped.agg(
        seeds=("cell", "size"),
        diverged=("_diverged", "sum"),
        _n=(metric, "count"),
        mean=(metric, "mean"),
        std=(metric, "std"),
    ).reset_index()
    n = table.pop("_n").to_numpy()
    quantile = distributions.t.ppf((1 + CONFIDENCE) / 2, np.maximum(n - 1, 1))
    half = np.where(n > 1, quantile * table["std"] / np.sqrt(np.maximum(n, 1)), np.nan)
    return table.assign(low=table["mean"] - half, high=table["mean"] + half)


def differences(frame: pd.DataFrame, choice: Sequence[str], metric: str = METRIC) -> pd.DataFrame:
    """Paired differences between initializers, seed by seed, within each choice of the other settings.

    Cells at one seed see the same order of the data and draw the same noise, so their difference has less spread than
    their values. For each pair of initializers of a choice: `a`, `b`, `pairs` (seeds at which both trained), `mean` (of
    a − b), `low`, `high`. The intervals of a choice are simultaneous: Bonferroni over all its pairs, so that with at
    least 95% probability none of them misses. `apart` is whether zero is outside; with fewer than two pairs there is no
    interval, and nothing is claimed.
    """
    rows = final(frame)
    keys = list(choice)
    found: list[dict[str, object]] = []
    groups = rows.groupby(keys, sort=False, dropna=False) if keys else [((), rows)]
    for key, group in groups:
        settings = dict(zip(keys, key if isinstance(key, tuple) else (key,), strict=True))
        wide = group.pivot(index="seed", columns="initializer", values=metric)
        names = list(dict.fromkeys(group["initializer"]))
        pairs = list(combinations(names, 2))
        for a, b in pairs:
            d = (wide[a] - wide[b]).dropna()
            mean, low, high = mean_interval(d.tolist(), 1 - (1 - CONFIDENCE) / len(pairs))
            apart = bool(len(d) > 1 and (low > 0 or high < 0))
            found.append(
                {**settings, "a": a, "b": b, "pairs": len(d), "mean": mean, "low": low, "high": high, "apart": apart}
            )
    columns = [*keys, "a", "b", "pairs", "mean", "low", "high", "apart"]
    return pd.DataFrame(found, columns=columns)


def verdicts(frame: pd.DataFrame, choice: Sequence[str], metric: str = METRIC) -> pd.DataFrame:
    """Each initializer's place within each choice: `summary`, and how far it is behind the leader.

    The leader has the highest mean validation accuracy (a diverged run counting as 0); what is reported of it is the
    test metric. Adds `leader` (is it the leader), `behind`, `behind_low`, `behind_high` (the leader's metric minus its
    own, paired, with the simultaneous interval of `differences`) and `told_apart` (whether that interval is above
    zero). Those not told apart contain the best of the choice with at least 95% probability; not being told apart is
    not being equal.
    """
    keys = list(choice)
    table = summary(frame, [*keys, "initializer"], metric)
    rows = final(frame)
    score = rows.assign(_score=rows[CHOSEN_ON].fillna(0.0)).groupby([*keys, "initializer"], sort=False, dropna=False)
    table = table.merge(score["_score"].mean().reset_index(), on=[*keys, "initializer"])
    best = table.groupby(keys, sort=False, dropna=False)["_score"] if keys else None
    leads = table["_score"] == (best.transform("max") if best is not None else table["_score"].max())
    first = ~table[leads].duplicated(keys) if keys else ~table[leads].duplicated(["_score"])
    table["leader"] = False
    table.loc[first[first].index, "leader"] = True
    pairs = differences(frame, keys, metric)
    leaders = table.loc[table["leader"], [*keys, "initializer"]].rename(columns={"initializer": "_leader"})
    table = table.merge(leaders, on=keys) if keys else table.assign(_leader=leaders["_leader"].iloc[0])
    forward = pairs.rename(columns={"a": "_leader", "b": "initializer"})
    backward = pairs.rename(columns={"b": "_leader", "a": "initializer"})
    backward = backward.assign(mean=-backward["mean"], low=-backward["high"], high=-backward["low"])
    against = pd.concat([forward, backward], ignore_index=True).rename(
        columns={"mean": "behind", "low": "behind_low", "high": "behind_high"}
    )
    table = table.merge(against.drop(columns=["pairs", "apart"]), on=[*keys, "_leader", "initializer"], how="left")
    table["told_apart"] = (table["behind_low"] > 0).astype(bool)
    return table.drop(columns=["_score", "_leader"])
