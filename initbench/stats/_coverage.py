"""Intervals of means that cover less than 95%, and how much they cover."""

from collections.abc import Mapping
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initbench.stats._means import half_width

SKEWED = 1.0


def flags(table: pd.DataFrame, values: Mapping[str, "pd.Series[float]"]) -> pd.DataFrame:
    """Return why a row's interval of all runs covers less than 95%, and how much it covers.

    `table` has `seeds` and `failed`. `values` has, for each row, the sample `skewness` G₁ and the range of all runs
    (`all_min`, `all_max`), of those that did not fail (`trained_min`, …) and of those that did (`failed_min`, …).
    Returns the columns `skewness`, `flag` and `coverage`:

    - `mixed`: some runs failed and others did not, with a gap between them of more than twice the range of either.
      A sample without one of the two kinds has an interval that misses the mean: if a share q of all runs fails, it
      covers at most 1 − qⁿ − (1 − q)ⁿ. The share that failed here is used for q.
    - `skewed`: |G₁| ≥ 1, and more than 1.96 of its standard errors under normality, so that few seeds are rarely
      flagged by chance. The coverage is that of a gamma population with this skewness.
    - `equal`: all values are the same; the interval has no width and an unknown coverage (NaN).
    - empty: none of these; the coverage is the nominal 0.95. With three seeds no skewness can be detected.
    """
    n = table["seeds"].to_numpy(float)
    share = table["failed"].to_numpy() / n
    of = {name: series.to_numpy(float) for name, series in values.items()}
    skew = of["skewness"]
    gap = of["trained_min"] - of["failed_max"]  # NaN where none failed, or all
    with np.errstate(divide="ignore", invalid="ignore"):
        mixed = gap > 2 * np.maximum(of["trained_max"] - of["trained_min"], of["failed_max"] - of["failed_min"])
        error = np.sqrt(6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)))
        skewed = (n > 2) & (np.abs(skew) >= SKEWED) & (np.abs(skew) > 1.96 * error)
    bound = 1 - share**n - (1 - share) ** n
    mixed &= bound < 0.95  # of many seeds of both kinds the interval is as good as any
    same = (of["all_min"] == of["all_max"]) & (n > 1)
    flag = np.select([mixed, same, skewed], ["mixed", "equal", "skewed"], "")
    coverage = np.where(n > 1, 0.95, np.nan)
    coverage[flag == "mixed"] = bound[flag == "mixed"]
    coverage[flag == "equal"] = np.nan
    for i in np.flatnonzero(flag == "skewed"):
        coverage[i] = gamma_coverage(round(2 * abs(skew[i])) / 2, int(n[i]))
    return pd.DataFrame({"skewness": skew, "flag": flag, "coverage": coverage}, index=table.index)


@cache
def gamma_coverage(skewness: float, seeds: int, samples: int = 20_000) -> float:
    """Return how often Student's 95% interval of `seeds` values of a gamma population covers its mean, by simulation.

    The gamma distribution of shape 4 / skewness² has that skewness; 2 is the exponential's.

    >>> round(gamma_coverage(2.0, 5), 2)
    0.88
    """
    shape = 4 / skewness**2
    values: NDArray[np.float64] = np.random.default_rng(0).gamma(shape, size=(min(samples, 4_000_000 // seeds), seeds))
    half = half_width(values.std(axis=1, ddof=1), np.full(len(values), seeds))
    return float((np.abs(values.mean(axis=1) - shape) <= half).mean())
