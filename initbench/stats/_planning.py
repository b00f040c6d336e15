"""Power analysis: minimum detectable differences of paired comparisons, and the seeds that a difference requires."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from scipy import stats as distributions
from scipy.optimize import brentq

POWER = 0.8

# No more seeds than this are searched for; beyond it a table says "more than".
MAX_SEEDS = 100_000


@cache
def critical(pairs: int, comparisons: int = 1, confidence: float = 0.95) -> float:
    """The |t| beyond which one of this many two-sided paired comparisons of `pairs` seeds is claimed at this confidence
    for all of them together (Bonferroni).
    """
    return float(distributions.t.ppf(1 - (1 - confidence) / (2 * comparisons), pairs - 1))


def power(difference: float, std: float, pairs: int, comparisons: int = 1, confidence: float = 0.95) -> float:
    """The probability that a paired comparison claims a true difference, and in its direction.

    P(T > c), T of the noncentral t distribution with n − 1 degrees of freedom and noncentrality |δ| √n / σ, c the
    `critical` value; normal differences.

    Parameters
    ----------
    difference, std
        The true mean of the differences within seeds, and their standard deviation, in the same units.
    pairs
        How many seeds, from 2 up.
    comparisons
        How many comparisons are made together.

    >>> round(power(0.5, 0.5, 5), 2)
    0.4
    """
    if std == 0:
        return float(difference != 0)
    noncentrality = abs(difference) * math.sqrt(pairs) / std
    power_upper = distributions.nct.sf(critical(pairs, comparisons, confidence), pairs - 1, noncentrality)
    return float(np.clip(np.nan_to_num(power_upper, nan=1.0), 0, 1))


def detectable(std: float, pairs: int, comparisons: int = 1, wanted: float = POWER) -> float:
    """The smallest true difference that this many seeds detect with the wanted power (default 0.8), in units of std.

    NaN where there is no answer: a single seed.

    >>> round(detectable(1.0, 5), 2)
    1.68
    """
    if pairs < 2 or math.isnan(std):
        return math.nan
    if std == 0:
        return 0.0
    high = 1.0
    while power(high, 1.0, pairs, comparisons) < wanted:
        high *= 2
    return std * float(brentq(lambda d: power(d, 1.0, pairs, comparisons) - wanted, 0.0, high, xtol=1e-9))


def seeds_needed(difference: float, std: float, comparisons: int = 1, wanted: float = POWER) -> float:
    """The smallest number of seeds that claims a true difference with the wanted power.

    Infinite beyond `MAX_SEEDS`; NaN where the spread is not known; 2 where there is none.

    >>> seeds_needed(1.0, 1.0)
    10.0
    """
    if math.isnan(std):
        return math.nan
    low, high = 2, 2
    while power(difference, std, high, comparisons) < wanted:
        low, high = high, 2 * high
        if high > MAX_SEEDS:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(difference, std, middle, comparisons) >= wanted else (middle, high)
    return float(high if power(difference, std, low, comparisons) < wanted else low)


# Differences are not taken to spread less than rounding to one image of 10,000 does to two accuracies: where by luck,
# or at two seeds, all are the same, that does not prove that they are equal.
RESOLUTION = 1e-4 / math.sqrt(6)

# The differences that are asked about: 0.1, 0.5 and 1 percentage point.
TARGETS = (0.001, 0.005, 0.01)


def power_analysis(differences: pd.DataFrame, targets: Sequence[float] = TARGETS) -> pd.DataFrame:
    """Return the minimum detectable difference of each comparison, and the seeds that given differences require.

    Parameters
    ----------
    differences
        A row for each comparison, with the columns `pairs` (seeds that both have), `difference_std` (the standard
        deviation of the differences within seeds) and `comparisons` (how many are made together). A spread below that
        of rounding to one image of 10,000 is taken to be that.
    targets
        The differences, as fractions: 0.1, 0.5 and 1 percentage point.

    Returns the table with

    - `detectable`: minimum detectable difference at 80% power, a fraction.
    - `needed_0.001`, …: number of seeds that detect each target with 80% power; infinite beyond `MAX_SEEDS`.
    """
    table = differences.copy()
    rows = list(zip(table["difference_std"].clip(lower=RESOLUTION), table["pairs"], table["comparisons"], strict=True))
    table["detectable"] = [detectable(std, int(pairs), int(m)) for std, pairs, m in rows]
    for target in targets:
        table[f"needed_{target:g}"] = [seeds_needed(target, std, int(m)) for std, _, m in rows]
    return table
