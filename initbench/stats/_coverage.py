"""Intervals of means that cover less than 95%, and how much they cover."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initbench.stats._means import half_width

SKEWED = 1.0

# A configuration has a gap in its runs if normal runs have one as wide, against their spread, in at most this fraction
# of samples.
GAP_LEVEL = 0.03


def flags(
    table: pd.DataFrame,
    values: Mapping[str, "pd.Series[float]"],
    gaps: pd.DataFrame,
    neighbours: NDArray[np.integer[Any]],
    step: float,
) -> pd.DataFrame:
    """Return why a row's interval of all runs covers less than 95%, and how much it covers.

    `table` has `seeds` and `failed`. `values` has, for each row, the sample `skewness` G₁, the standard deviation of
    all runs (`all_std`), and the range of all runs (`all_min`, `all_max`), of those that did not fail (`trained_min`,
    …) and of those that did (`failed_min`, …). `gaps` is the table that the function `gaps` returns of the runs that
    did not fail. `neighbours` numbers groups of rows that differ in the initializer and the loss only. `step`
    is the smallest difference of two values, as `gaps` has it. Returns the columns `skewness`, `flag` and `coverage`:

    - `mixed`: some runs failed and others did not, with a gap between them of more than twice the range of either.
      A sample without one of the two kinds has an interval that misses the mean: if a share q of all runs fails, it
      covers at most 1 − qⁿ − (1 − q)ⁿ. The share that failed here is used for q.
    - `equal`: all values are the same; the interval has no width and an unknown coverage (NaN).
    - `plateau`: some runs that did not fail end far below the others, with a significant gap between them
      (`GAP_LEVEL`): a unit that dies takes a class with it. The coverage is the same bound, with the share of the runs
      below the gap as q.
    - `plateau_nearby`: such gaps are in the runs of other initializers, or of another loss, all else equal, and this
      one's seeds may all be alike by chance. The coverage is unknown (NaN). Both plateaus are flagged only where an
      interval from runs of one side alone would miss the mean of all, and where the bound is below 95% (for
      `plateau_nearby` with the share of all neighbours' runs that are on the rarer side of their gaps).
    - `skewed`: |G₁| ≥ 1, and more than 1.96 of its standard errors under normality, so that few seeds are rarely
      flagged by chance; and a range of more than two steps, because within two any sample of few images is skewed
      (where the deviation is a third of an image, 44% of samples of five seeds). The coverage is that of a gamma
      population with this skewness.
    - empty: none of these; the coverage is the nominal 0.95. With three seeds no skewness can be detected.

    It assumes independent runs, and normal ones where it says what is rare. Checked by simulation: plateaus are flagged
    in at most 3% of the configurations of normal populations (1, 6 or 46 initializers, 3 to 30 seeds, half of them five
    times as noisy; 6% if one of two losses is twenty times as noisy), and in up to 9% of exponential ones. On real
    trainings (the preset `keepcoding` with relu) most samples whose interval misses the mean for a plateau are flagged
    from five seeds on, and a fifth to a third at three. What no run of the experiment shows is not flagged: n runs that
    are alike do not exclude a share of 1 − 0.05^(1/n), 45% at five seeds.
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
    skewed &= of["all_max"] - of["all_min"] > 2.5 * step
    mixed &= two_sides(share, n) < 0.95  # of many seeds of both kinds the interval is as good as any
    same = (of["all_min"] == of["all_max"]) & (n > 1)
    own, nearby, on_plateau = _plateaus(gaps, n, half_width(of["all_std"], n), neighbours)
    reasons = {"mixed": mixed, "equal": same, "plateau": own, "plateau_nearby": nearby, "skewed": skewed}
    flag = np.select(list(reasons.values()), list(reasons), "")
    coverage = np.where(n > 1, 0.95, np.nan)
    coverage[flag == "mixed"] = two_sides(share, n)[flag == "mixed"]
    coverage[flag == "plateau"] = two_sides(on_plateau, n)[flag == "plateau"]
    coverage[(flag == "equal") | (flag == "plateau_nearby")] = np.nan
    for i in np.flatnonzero(flag == "skewed"):
        coverage[i] = gamma_coverage(round(2 * abs(skew[i])) / 2, int(n[i]))
    return pd.DataFrame({"skewness": skew, "flag": flag, "coverage": coverage}, index=table.index)


def two_sides(share: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability that n runs have some of either kind: 1 − qⁿ − (1 − q)ⁿ."""
    return np.asarray(1 - share**n - (1 - share) ** n)


def gaps(values: NDArray[np.float64], group: NDArray[np.integer[Any]], count: int, step: float) -> pd.DataFrame:
    """Return the widest gap between the sorted values of each group, and how unusual it is for normal values.

    `group` has the number of each value's group, from 0 to `count` − 1; values that are NaN are left out. `step` is the
    smallest difference of two values, for example 1/10,000 for that many test images. A row for each group:

    - `p`: the fraction of normal samples of this size whose gap is as wide, relative to `within` (simulated). 1 with
      fewer than three values.
    - `runs`: number of values that are not NaN.
    - `below`: the fraction of them below the gap.
    - `shift`: distance between the mean of all and the mean of the larger side; of two equal ones, the lower.
    - `spread`: standard deviation of the larger side.

    The statistic is the gap, divided by the pooled standard deviation of the two sides (n − 2 degrees of freedom) plus
    a step. It assumes independent runs; the level holds for normal ones of any mean and spread. Exponential values are
    as wide in 10% of samples of five, where 4% of normal ones are.
    """
    finite = np.flatnonzero(~np.isnan(values))
    order = finite[np.lexsort((values[finite], group[finite]))]
    runs = np.bincount(group[finite], minlength=count)
    first = np.cumsum(runs) - runs
    table = {"p": np.ones(count)} | {name: np.zeros(count) for name in ("below", "shift", "spread")}
    for n in np.unique(runs[runs > 2]):
        rows = np.flatnonzero(runs == n)
        ratio, *sides = _split(values[order[first[rows][:, None] + np.arange(n)]], step)
        normal = _normal_ratios(int(n))
        table["p"][rows] = (1 + len(normal) - np.searchsorted(normal, ratio)) / (1 + len(normal))
        for name, side in zip(("below", "shift", "spread"), sides, strict=True):
            table[name][rows] = side
    return pd.DataFrame(table).assign(runs=runs)


def _split(samples: NDArray[np.float64], step: float) -> tuple[NDArray[np.float64], ...]:
    """Split each sorted row of `[samples, n]` at its widest gap.

    Returns the gap relative to the spread of the two sides, and `below`, `shift` and `spread` of `gaps`.
    """
    n = samples.shape[1]
    spacings = np.diff(samples, axis=1)
    low = spacings.argmax(axis=1) + 1  # the number of values below the gap
    is_low = np.arange(n) < low[:, None]
    means, squares = [], []
    for side, size in ((is_low, low), (~is_low, n - low)):
        mean = np.where(side, samples, 0).sum(axis=1) / size
        means.append(mean)
        squares.append((np.where(side, samples - mean[:, None], 0) ** 2).sum(axis=1))
    within = np.sqrt((squares[0] + squares[1]) / (n - 2)) + step
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(spacings.max(axis=1) / within, nan=0.0)
    lower = 2 * low >= n
    larger = np.where(lower, means[0], means[1])
    spread = np.sqrt(np.where(lower, squares[0], squares[1]) / np.maximum(np.maximum(low, n - low) - 1, 1))
    return ratio, low / n, np.abs(samples.mean(axis=1) - larger), spread


@cache
def _normal_ratios(n: int) -> NDArray[np.float64]:
    """Return the sorted relative gaps of simulated samples of n normal values."""
    samples = np.random.default_rng(0).normal(size=(min(20_000, 1_000_000 // n + 100), n))
    return np.sort(_split(np.sort(samples, axis=1), 0.0)[0])


def _plateaus(
    gaps: pd.DataFrame, n: NDArray[np.float64], half: NDArray[np.float64], neighbours: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Return which rows have a plateau, which have one nearby only, and the share q of their runs that is on it."""
    p, below, shift, spread, runs = (gaps[name].to_numpy() for name in ("p", "below", "shift", "spread", "runs"))
    wide = p <= GAP_LEVEL
    own = wide & (shift > half_width(spread, n)) & (two_sides(below, n) < 0.95)
    total, rarer, distance, others = (
        np.bincount(neighbours, weights)[neighbours]
        for weights in (runs, runs * wide * np.minimum(below, 1 - below), runs * wide * shift, wide)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        q, distance = rarer / total, distance / total
    nearby = ~own & (others > wide) & (runs > 0) & (distance > half) & (two_sides(q, n) < 0.95)
    return own, nearby, np.where(own, below, q)


@cache
def gamma_coverage(skewness: float, seeds: int, samples: int = 20_000) -> float:
    """Return how often Student's 95% interval of `seeds` values of a gamma population covers its mean, by simulation.

    The gamma distribution of shape 4 / skewness² has that skewness; 2 is the exponential's. It assumes that a
    population with this skewness is covered as a gamma one is. Checked for the exponential, by other random numbers.

    >>> round(gamma_coverage(2.0, 5), 2)
    0.88
    """
    shape = 4 / skewness**2
    values: NDArray[np.float64] = np.random.default_rng(0).gamma(shape, size=(min(samples, 4_000_000 // seeds), seeds))
    half = half_width(values.std(axis=1, ddof=1), np.full(len(values), seeds))
    return float((np.abs(values.mean(axis=1) - shape) <= half).mean())
