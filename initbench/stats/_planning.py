"""Power analysis: minimum detectable differences of paired comparisons, and the seeds that a difference requires."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from scipy import stats as distributions
from scipy.optimize import brentq

POWER = 0.8

# The search for a number of seeds stops here; tables then write "more than".
MAX_SEEDS = 100_000


@cache
def critical(pairs: int, comparisons: int = 1, confidence: float = 0.95) -> float:
    """Return the critical |t| of a two-sided paired comparison over `pairs` seeds.

    `confidence` holds for this number of comparisons together (Bonferroni).
    """
    return float(distributions.t.ppf(1 - (1 - confidence) / (2 * comparisons), pairs - 1))


def power(difference: float, std: float, pairs: int, comparisons: int = 1, confidence: float = 0.95) -> float:
    """Return the probability that a paired comparison detects a true difference, in its direction.

    P(T > c), T of the noncentral t distribution with n − 1 degrees of freedom and noncentrality |δ| √n / σ, c the
    `critical` value; normal differences.

    Parameters
    ----------
    difference, std
        The true mean of the differences within seeds, and their standard deviation, in the same units.
    pairs
        Number of seeds, at least 2.
    comparisons
        Number of comparisons that the confidence covers together.

    >>> round(power(0.5, 0.5, 5), 2)
    0.4
    """
    if std == 0:
        return float(difference != 0)
    noncentrality = abs(difference) * math.sqrt(pairs) / std
    probability = distributions.nct.sf(critical(pairs, comparisons, confidence), pairs - 1, noncentrality)
    return float(np.clip(np.nan_to_num(probability, nan=1.0), 0, 1))


def detectable(std: float, pairs: int, comparisons: int = 1, wanted: float = POWER) -> float:
    """Return the minimum detectable difference: the smallest that `pairs` seeds detect with the wanted power.

    In the unit of `std`; the power is 0.8 by default. NaN with a single seed.

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
    """Return the smallest number of seeds that detects a true difference with the wanted power.

    `difference` and `std` are the mean and the standard deviation of the differences within seeds; the test is that of
    `power`, at the wanted power (default 0.8). Infinite if more than `MAX_SEEDS` are needed; NaN if `std` is NaN. At
    least 2, because a test needs two seeds: also where `std` is 0.

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


# Standard deviations of differences are floored at the rounding error of two accuracies, each a multiple of 1/10,000:
# where all differences are equal by chance, for example at two seeds, the true standard deviation is not zero.
RESOLUTION = 1e-4 / math.sqrt(6)

# The default differences of a power analysis: 0.1, 0.5 and 1 percentage point.
TARGETS = (0.001, 0.005, 0.01)


def power_analysis(differences: pd.DataFrame, targets: Sequence[float] = TARGETS) -> pd.DataFrame:
    """Return the minimum detectable difference of each comparison, and the seeds that given differences require.

    Parameters
    ----------
    differences
        A row for each comparison, with the columns `pairs` (seeds that both have), `difference_std` (the standard
        deviation of the differences within seeds) and `comparisons` (number of comparisons that the confidence covers
        together). The standard deviation is floored at the rounding error of one image in 10,000.
    targets
        The differences, as fractions; by default 0.1, 0.5 and 1 percentage point.

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
