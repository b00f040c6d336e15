"""How many seeds the rule that adds seeds until all is decided would take, if the observed differences are true."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from initbench.stats._arguments import check_frame, combination_of
from initbench.stats._means import by_combination
from initbench.stats._outcomes import METRIC, compared_runs
from initbench.stats._planning import upper_std
from initbench.stats._resolution import resolution
from initbench.stats._sequential import ERROR, critical_t, log_e_value
from initbench.stats._verdicts import by_seed, paired
from initbench.stats.chance import Chance

BATCH = 5  # seeds that the rule adds at a time
MAX_DECIDING_SEEDS = 1_000  # the search stops here


def seeds_to_decide(
    frame: pd.DataFrame,
    combination: Sequence[str],
    metric: str = METRIC,
    chance: Mapping[str, Chance] | None = None,
    *,
    equivalent_within: float | None = None,
) -> pd.DataFrame:
    """Estimate the number of seeds at which the rule `seed = {until = "decided"}` would end, for each combination.

    It is the number at which the comparisons of `decisions` settle all, if each observed mean difference d within seeds
    is the true one, and its standard deviation s is `upper_std` of the observed one. At n seeds, an initializer is then
    significantly worse if another is ahead of it by |d| ≥ t*(n) s / √n, with the t* of `decisions`, which holds at
    every look. All is decided if one initializer is left, or if |d| + t*(n) s / √n ≤ `equivalent_within` for all pairs
    of those that are left. What is significant, or equivalent, with the seeds that there are remains so.

    It assumes roughly normal differences, and new seeds of the same population. It is an estimate, not a bound: half of
    the experiments whose differences and spreads are these take fewer seeds, and half more (simulated in
    `tests/stats/test_deciding.py`). `upper_std` makes it cautious: from five seeds, s is 1.56 times the observed one.

    Parameters
    ----------
    frame
        The tidy table of an experiment.
    combination
        The settings within whose values initializers are compared, for example `["activation", "loss"]`.
    metric
        An accuracy: more is better. Diverged runs are scored at the majority-class accuracy.
    chance
        The chance level of each data set but MNIST.
    equivalent_within
        The difference that does not matter, in percentage points; without it (the default) equal initializers take any
        number of seeds.

    Returns
    -------
    A row for each combination, in the order of the table: the columns of `combination`, and

    - `seeds`: the largest number of seeds of an initializer.
    - `decided_at`: the number of seeds at which the rule is expected to end: the smallest that is `seeds` plus a
      multiple of five; `seeds` itself where it ends with these. Infinite beyond 1,000 seeds; NaN where two initializers
      have fewer than two seeds in common.

    Source: that of `decisions`; the estimate inverts its intervals.
    """
    check_frame(frame, metric)
    keys = combination_of(frame, combination)
    rows = compared_runs(frame, keys, metric, chance)
    margin = -np.inf if equivalent_within is None else equivalent_within / 100
    records = []
    for runs in by_combination(rows, keys):
        names = list(dict.fromkeys(runs["initializer"]))
        values = by_seed(runs, names, metric)
        seeds = max(Counter(runs["initializer"]).values(), default=0)
        is_over = len(names) == 1 or bool(runs["failed"].all())
        decided_at = float(seeds) if is_over else _decided_at(values, resolution(runs, metric, chance), margin, seeds)
        records.append((*runs[keys].iloc[0], seeds, decided_at))
    return pd.DataFrame(records, columns=[*keys, "seeds", "decided_at"])


def _decided_at(values: np.ndarray, floor: float, margin: float, seeds: int) -> float:
    """Return `decided_at` of one combination's accuracies, `[seeds, initializers]`; `margin` is a fraction."""
    count = values.shape[1]
    comparisons = count * (count - 1) // 2
    plain, others = paired(values, floor), ~np.eye(count, dtype=bool)
    n, mean, std = plain["pairs"], plain["mean"], plain["std"]
    if (n[others] < 2).any():
        return math.nan
    factors = {int(pairs): upper_std(1.0, int(pairs)) for pairs in np.unique(n[others])}
    upper = np.where(others, std * np.vectorize(lambda pairs: factors.get(pairs, 1.0))(n), 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        now = log_e_value(mean * np.sqrt(n) / np.where(std > 0, std, np.nan), np.maximum(n, 2))
        half_now = critical_t(np.maximum(n, 2), comparisons) * std / np.sqrt(n)

        # t*(n) / √n falls with n, so what is significant or equivalent at n seeds is so at more.
        looks = np.arange(max(seeds, 2), MAX_DECIDING_SEEDS + 1, BATCH)
        widths = critical_t(looks, comparisons) / np.sqrt(looks)
        ends = np.append(looks.astype(float), np.inf)

        def seeds_until(distance: np.ndarray) -> np.ndarray:
            """The first look at which an interval of half-width t*(n) s / √n is at most this."""
            return ends[np.searchsorted(-widths, -distance / upper)]

        significant_at = np.where(now >= math.log(comparisons / ERROR), seeds, seeds_until(np.abs(mean)))
        equivalent_at = np.where(np.abs(mean) + half_now <= margin, seeds, seeds_until(margin - np.abs(mean)))
    # [i, j] for i minus j: j loses to those that are ahead.
    worse_at = np.where(mean > 0, significant_at, np.inf).min(axis=0)
    # Those that are left are the first of this order, down to some rank: all behind it have lost by then.
    order = np.argsort(-worse_at, kind="stable")
    equivalent_at = np.where(others, equivalent_at, 0.0)[np.ix_(order, order)]
    all_equivalent_at = np.maximum.accumulate(np.tril(equivalent_at).max(axis=1))
    others_lost_at = np.append(worse_at[order][1:], seeds)
    return float(np.maximum(all_equivalent_at, others_lost_at).min())
