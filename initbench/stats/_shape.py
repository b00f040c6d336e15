"""Where an interval of a mean does not cover what it says, and how much it does cover."""

from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initbench.stats._means import half_width

SKEWED = 1.0


def flags(table: pd.DataFrame, values: Mapping[str, "pd.Series[float]"]) -> pd.DataFrame:
    """Why a row's interval of all runs is not to be trusted, and what it covers.

    `table` has `seeds` and `failed`; `values` has of each row's values the sample `skewness` G₁, the `low` and `high`
    ends of all, the `lowest` and `highest` of the runs that did not fail, and the `least` and `most` of those that did.
    Gives the columns `skewness`, `flag` and `coverage`:

    - `mixed`: some runs failed and others did not, and between them is a gap of more than twice the range of either.
      Such values have two humps, and a sample without one of them has an interval that misses the mean: if a share q of
      all runs fails, it covers at most 1 − qⁿ − (1 − q)ⁿ. The share that failed here stands for q.
    - `skewed`: |G₁| ≥ 1, and more than 1.96 of its standard errors under normality, so that few seeds are not flagged
      for nothing. Coverage is that of a gamma population with this skewness.
    - `equal`: all values are the same; the interval has no width and covers nothing else.
    - empty: none of these, and the coverage 0.95 is the nominal one. At three seeds no skewness shows.
    """
    n = table["seeds"].to_numpy(float)
    share = table["failed"].to_numpy() / n
    of = {name: series.to_numpy(float) for name, series in values.items()}
    skew = of["skewness"]
    gap = of["lowest"] - of["most"]  # NaN where none failed, or all
    with np.errstate(divide="ignore", invalid="ignore"):
        mixed = gap > 2 * np.maximum(of["highest"] - of["lowest"], of["most"] - of["least"])
        error = np.sqrt(6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)))
        skewed = (n > 2) & (np.abs(skew) >= SKEWED) & (np.abs(skew) > 1.96 * error)
    bound = 1 - share**n - (1 - share) ** n
    mixed &= bound < 0.95  # of many seeds of both kinds the interval is as good as any
    same = (of["low"] == of["high"]) & (n > 1)
    flag = np.select([mixed, same, skewed], ["mixed", "equal", "skewed"], "")
    coverage = np.where(n > 1, 0.95, np.nan)
    coverage[flag == "mixed"] = bound[flag == "mixed"]
    coverage[flag == "equal"] = np.nan
    for i in np.flatnonzero(flag == "skewed"):
        coverage[i] = gamma_coverage(round(2 * abs(skew[i])) / 2, int(n[i]))
    return pd.DataFrame({"skewness": skew, "flag": flag, "coverage": coverage}, index=table.index)


@cache
def gamma_coverage(skewness: float, seeds: int, samples: int = 20_000) -> float:
    """How often Student's 95% interval of so many values of a gamma population covers its mean; by simulation.

    The gamma distribution of shape 4 / skewness² has that skewness; 2 is the exponential's.

    >>> round(gamma_coverage(2.0, 5), 2)
    0.88
    """
    shape = 4 / skewness**2
    values: NDArray[np.float64] = np.random.default_rng(0).gamma(shape, size=(min(samples, 4_000_000 // seeds), seeds))
    half = half_width(values.std(axis=1, ddof=1), np.full(len(values), seeds))
    return float((np.abs(values.mean(axis=1) - shape) <= half).mean())
