"""Power analysis: minimum detectable differences of paired comparisons, and the seeds that a difference requires.

The power is that of the paired t-test of one pair at 5% divided by the number of comparisons (Bonferroni). The
comparison of `verdicts` is sharper: it detects smaller differences, so these numbers of seeds are upper bounds.
All assume that the differences within seeds are normal and independent.
"""

import math
from collections.abc import Sequence
from functools import cache

import pandas as pd
from scipy import special

from initbench.stats._arguments import check_table

POWER = 0.8

# The relative precision of a minimum detectable difference.
PRECISION = 1e-9

# The search for a number of seeds stops here.
MAX_SEEDS = 100_000


@cache
def critical(pairs: int, comparisons: int = 1, confidence: float = 0.95) -> float:
    """Return the critical |t| of a two-sided paired comparison over `pairs` seeds.

    `confidence` holds for this number of comparisons together (Bonferroni, which assumes nothing of how they depend on
    one another). Of each, it assumes normal differences.
    """
    return float(-special.stdtrit(pairs - 1, (1 - confidence) / (2 * comparisons)))


def power(difference: float, std: float, pairs: int, comparisons: int = 1, confidence: float = 0.95) -> float:
    """Return the probability that a paired comparison detects a true difference, in its direction.

    P(T > c), T of the noncentral t distribution with n − 1 degrees of freedom and noncentrality |δ| √n / σ, c the
    `critical` value. It assumes normal differences; checked against statsmodels, and by simulation.

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
    probability = 1 - special.nctdtr(pairs - 1, noncentrality, critical(pairs, comparisons, confidence))
    return 1.0 if math.isnan(probability) else min(max(float(probability), 0.0), 1.0)


def detectable(std: float, pairs: int, comparisons: int = 1, wanted: float = POWER) -> float:
    """Return the minimum detectable difference: the smallest that `pairs` seeds detect with the wanted power.

    In the unit of `std`, the true standard deviation; the power is 0.8 by default. NaN with a single seed. It assumes
    what `power` does, which it inverts (a test computes the power of its result).

    >>> round(detectable(1.0, 5), 2)
    1.68
    """
    if pairs < 2 or math.isnan(std):
        return math.nan
    return std * _detectable_of_one(pairs, comparisons, wanted) if std else 0.0


@cache  # it is the same for all comparisons of an experiment
def _detectable_of_one(pairs: int, comparisons: int, wanted: float) -> float:
    """Return `detectable` of a standard deviation of 1."""
    low, high = 0.0, 1.0
    while power(high, 1.0, pairs, comparisons) < wanted:
        low, high = high, 2 * high
    while high - low > PRECISION * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, 1.0, pairs, comparisons) >= wanted else (middle, high)
    return high


def seeds_needed(difference: float, std: float, comparisons: int = 1, wanted: float = POWER) -> float:
    """Return the smallest number of seeds that detects a true difference with the wanted power.

    `difference` and `std` are the true mean and standard deviation of the differences within seeds (see
    `power_analysis` for one that was estimated from seeds); the test is that of `power`, with its assumptions, at the
    wanted power (default 0.8). Infinite if more than `MAX_SEEDS` are needed; NaN if `std` is NaN. At least 2, because a
    test needs two seeds: also where `std` is 0.

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


# The default differences of a power analysis: 0.1, 0.5 and 1 percentage point.
TARGETS = (0.001, 0.005, 0.01)


def upper_std(std: float, pairs: int, confidence: float = POWER) -> float:
    """Return the standard deviation that the true one exceeds with a probability of 1 − `confidence` only.

    s √(ν / χ²(ν, 1 − confidence)), s the sample's of ν + 1 = `pairs` values: the one-sided upper confidence limit of
    normal values, 1.56 s for five and 1.17 s for twenty. NaN with a single value.

    Seeds planned from s itself have too little power in half of the cases, because s is as often too small as too
    large. Planned from five seeds for a difference of one standard deviation, their power is 73% on average and below
    80% in half of the cases; planned from this limit, it is 90% and below 80% in one case of six (simulated).
    """
    if pairs < 2:
        return math.nan
    return std * math.sqrt((pairs - 1) / float(special.chdtri(pairs - 1, confidence)))


def power_analysis(differences: pd.DataFrame, targets: Sequence[float] = TARGETS) -> pd.DataFrame:
    """Return the minimum detectable difference of each comparison, and the seeds that given differences require.

    Both are computed from `upper_std` of the differences, so that the power that they promise is reached in four of
    five cases or more, and so that they agree: a difference of `detectable` needs the seeds that there are.

    Parameters
    ----------
    differences
        A row for each comparison, with the columns `pairs` (seeds that both have), `difference_std` (the standard
        deviation of the differences within seeds, as `verdicts` has it) and `comparisons` (number of comparisons that
        the confidence covers together).
    targets
        The differences, as fractions; by default 0.1, 0.5 and 1 percentage point.

    Returns the table with

    - `detectable`: minimum detectable difference at 80% power, a fraction.
    - `needed_0.001`, …: number of seeds that detect each target with 80% power; infinite beyond `MAX_SEEDS`. An upper
      bound: the comparison of `verdicts` is sharper than the test of `power`.

    It assumes normal differences, and new seeds of the same population; checked by simulation.
    """
    columns = ("pairs", "difference_std", "comparisons")
    check_table(differences, "differences", columns, "the table that ib.stats.verdicts returns")
    table = differences.copy()
    rows = [
        (upper_std(std, int(pairs)), int(pairs), int(m))
        for std, pairs, m in zip(table["difference_std"], table["pairs"], table["comparisons"], strict=True)
    ]
    table["detectable"] = [detectable(*row) for row in rows]
    for target in targets:
        table[f"needed_{target:g}"] = [seeds_needed(target, std, m) for std, _, m in rows]
    return table
