"""Statistics of initializers across combinations: ranks, interquartile means, performance profiles, improvement.

They describe the combinations of one grid and do not generalize to others: these combinations are not a random sample,
and they share their seeds. The uncertainty is in the seeds, so intervals and tests are over seeds. Ranks and their
tests follow Demšar 2006 ("Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7) and Benavoli, Corani
& Mangili 2016 ("Should We Really Use Post-Hoc Tests Based on Mean-Ranks?", JMLR 17). The interquartile mean, the
performance profiles and the probability of improvement follow Agarwal et al. 2021 ("Deep Reinforcement Learning at the
Edge of the Statistical Precipice", NeurIPS, section 4) and their library rliable.

Diverged runs are scored at the majority-class accuracy. A combination counts if it has runs of every initializer and
not all of them failed. Of these combinations, the seeds that all initializers have count.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as distributions

from initbench.stats._means import METRIC, by_combination
from initbench.stats._outcomes import CONFIDENCE, outcomes
from initbench.stats.chance import Chance

Floats = NDArray[np.float64]

# Resamples of a bootstrap; fewer for many runs, because resamples × runs is limited.
RESAMPLES, MAX_DRAWN = 2000, 1_000_000

# Up to this many seeds a test flips all signs; beyond, the mean of the differences is roughly normal.
MAX_FLIPPED = 13


def scores(
    frame: pd.DataFrame, combination: Sequence[str], metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> dict[str, list[Floats]]:
    """Return the accuracies of each initializer, `[combination][seed]`, as fractions.

    Combinations without runs of every initializer are left out, and combinations in which every run failed. Only the
    seeds that all initializers have in all of the other combinations are used, in ascending order: the same index is
    the same seed in every array.
    """
    rows = outcomes(frame, chance)
    names = list(dict.fromkeys(rows["initializer"].astype(str)))
    wide = []
    for group in by_combination(rows, combination):
        table = group.pivot(index="seed", columns="initializer", values=f"scored_{metric}").astype(float)
        if not group["failed"].all() and table.shape[1] == len(names):
            wide.append(table.dropna().sort_index())
    seeds = set(wide[0].index).intersection(*(table.index for table in wide)) if wide else set()
    by_common_seed = [table.loc[sorted(seeds)] for table in wide if seeds]
    return {name: [table[name].to_numpy(float) for table in by_common_seed] for name in names}


def ranks(scores: Mapping[str, Sequence[Floats]]) -> pd.DataFrame:
    """Return the average rank of each initializer over the combinations.

    Within a combination, initializers are ranked by their mean over the seeds: 1 is the best, and ties share a rank.
    A row for each initializer, the best first; no row if no combination has runs of all:

    - `initializer`: its name.
    - `combinations`: number of combinations.
    - `mean_rank`: average rank, from 1 to the number of initializers.
    - `best_in`: number of combinations in which no other initializer has a higher mean.

    Source: Demšar 2006, section 3.2.2.
    """
    rank_table = _ranks(scores)
    table = pd.DataFrame(
        {
            "initializer": list(scores),
            "combinations": len(rank_table),
            "mean_rank": rank_table.mean(axis=0) if len(rank_table) else np.nan,
            "best_in": (rank_table == rank_table.min(axis=1, keepdims=True)).sum(axis=0) if len(rank_table) else 0,
        }
    )
    return table.sort_values("mean_rank", kind="stable", ignore_index=True) if len(rank_table) else table[:0]


def _means(scores: Mapping[str, Sequence[Floats]]) -> Floats:
    """Return means over the seeds, `[combinations, initializers]`, rounded: the order of a sum breaks no tie."""
    means = np.array([[values.mean() for values in arrays] for arrays in scores.values()])
    return np.round(means.T.reshape(-1, len(scores)), 12)


def _ranks(scores: Mapping[str, Sequence[Floats]]) -> Floats:
    """Return ranks by mean, `[combinations, initializers]`."""
    means = _means(scores)
    return np.asarray(distributions.rankdata(-means, axis=1)) if len(means) else means


def friedman(scores: Mapping[str, Sequence[Floats]]) -> float:
    """Return the p-value of Friedman's test of equal average ranks over the combinations.

    NaN with fewer than 3 initializers or 2 combinations, for which the test is not defined, and where all means are
    equal.

    Source: Demšar 2006, section 3.2.2.
    """
    means = _means(scores)
    if means.shape[1] < 3 or len(means) < 2 or (means == means[:, :1]).all():
        return float("nan")
    return float(distributions.friedmanchisquare(*means.T).pvalue)


def rank_pairs(scores: Mapping[str, Sequence[Floats]]) -> pd.DataFrame:
    """Compare pairs of initializers by their average ranks, over the seeds and over the combinations.

    At each seed, initializers are ranked within every combination, and the ranks are averaged over the combinations. A
    row for each pair:

    - `better`, `worse`: names of the two, by average rank.
    - `difference`: average rank of the worse minus that of the better, averaged over the seeds, in ranks.
    - `p`: p-value of the exact sign-flip test of these differences (of the t-test with more than 13 seeds). It is valid
      however the combinations depend on each other.
    - `p_holm`: `p` with Holm's correction for all pairs.
    - `significant`: whether `p_holm` is at most 5%.
    - `attainable`: whether this number of seeds can reach significance at all. The smallest p of n differences is
      2 / 2ⁿ, and Holm's first step requires 5% / pairs.
    - `p_combinations`, `p_combinations_holm`, `attainable_combinations`: the same for Wilcoxon's signed-rank test of
      the means over the combinations, as in Demšar. It assumes independent combinations. They share their seeds, so it
      finds far too many differences (in simulations without a difference, in 27 to 77% of experiments): decide by
      `significant`.

    With a single seed, `difference`, `p` and `p_holm` are NaN, and `significant` is False. With eight seeds, or
    combinations, significance is out of reach from five initializers on.

    Raises ValueError if the arrays have different numbers of seeds.

    Source: Demšar 2006, sections 3.1.3 and 3.2.2; Holm 1979.
    """
    order = ranks(scores)["initializer"].tolist()
    names = list(scores)
    means = _means(scores)
    by_seed = _ranks_by_seed(scores)
    pairs = list(itertools.combinations(order, 2))
    difference, p, p_combinations = np.full(len(pairs), np.nan), np.full(len(pairs), np.nan), np.ones(len(pairs))
    for i, (better, worse) in enumerate(pairs):
        first, second = names.index(better), names.index(worse)
        values = means[:, first] - means[:, second]
        if (values != 0).any():
            p_combinations[i] = distributions.wilcoxon(values).pvalue
        if by_seed is not None:
            differences = np.round(by_seed[:, second] - by_seed[:, first], 12)
            difference[i] = differences.mean()
            p[i] = _sign_flip(differences)
    table = pd.DataFrame(pairs, columns=["better", "worse"]).assign(difference=difference, p=p)
    table["p_holm"] = np.nan if by_seed is None else holm(p)
    table["significant"] = table["p_holm"] <= 1 - CONFIDENCE
    seeds = 0 if by_seed is None else len(by_seed)
    table["attainable"] = _attainable(seeds, len(pairs))
    table["p_combinations"], table["p_combinations_holm"] = p_combinations, holm(p_combinations)
    return table.assign(attainable_combinations=_attainable(len(means), len(pairs)))


def _sign_flip(differences: Floats) -> float:
    """Return the two-sided p-value for a mean of zero: by all flips of sign, or by the t-test of many differences."""
    n = len(differences)
    if n > MAX_FLIPPED:
        error = float(differences.std(ddof=1)) / np.sqrt(n)
        p = 2 * distributions.t.sf(abs(differences.mean()) / error, n - 1) if error else float(differences[0] == 0)
        return max(float(p), 2.0 ** (1 - n))
    result = distributions.permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=True, n_resamples=2 ** (n + 1)
    )
    return float(result.pvalue)


def _attainable(count: int, pairs: int) -> bool:
    """Return whether the smallest p-value of `count` differences, corrected for the pairs, is significant."""
    return pairs * 2.0 ** (1 - count) <= 1 - CONFIDENCE


def _ranks_by_seed(scores: Mapping[str, Sequence[Floats]]) -> Floats | None:
    """Return average ranks over the combinations, `[seeds, initializers]`; None with fewer than two seeds.

    ValueError if the combinations have different numbers of seeds.
    """
    lengths = {len(values) for arrays in scores.values() for values in arrays}
    if len(lengths) > 1:
        raise ValueError(
            f"scores of {sorted(lengths)} seeds; allowed: the same seeds in every array, as `scores` returns them"
        )
    if not lengths or lengths == {1}:
        return None
    values = np.round(np.array([list(arrays) for arrays in scores.values()]), 12)  # [initializers, combinations, seeds]
    return np.asarray(distributions.rankdata(-values, axis=0).mean(axis=1).T)


def holm(p: Sequence[float] | Floats) -> Floats:
    """Return Holm's adjusted p-values: in ascending order, the maximum over j ≤ i of (m − j + 1) p₍ⱼ₎, at most 1.

    Source: Holm 1979.

    >>> holm([0.01, 0.04, 0.03]).round(6).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def interquartile_means(scores: Mapping[str, Sequence[Floats]], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Return the interquartile mean of each initializer's runs, over seeds and combinations together.

    Runs are sorted, the lowest and the highest quarter (⌊n/4⌋ of n) are left out, and the rest is averaged. It is more
    robust to outliers than the mean, and more efficient than the median. The intervals are too narrow with few seeds in
    few combinations: use them to describe, not to decide.

    A row for each initializer:

    - `initializer`: its name.
    - `runs`: number of runs.
    - `mean`: interquartile mean, a fraction; NaN without runs.
    - `low`, `high`: its 95% percentile interval, from a bootstrap stratified by combination; NaN with a single seed.

    Source: Agarwal et al. 2021, section 4.3.
    """
    generator = np.random.default_rng(0)
    rows = []
    for name, arrays in scores.items():
        pooled = np.concatenate(arrays) if len(arrays) else np.empty(0)
        if not len(pooled):
            rows.append((name, 0, np.nan, np.nan, np.nan))
            continue
        count = _resamples(len(pooled), resamples)
        batch = max(1, MAX_DRAWN // len(pooled))
        drawn = [_trimmed(_redrawn(generator, arrays, min(batch, count - done))) for done in range(0, count, batch)]
        low, high = _ends(np.concatenate(drawn), arrays)
        rows.append((name, len(pooled), float(_trimmed(pooled[None])[0]), float(low), float(high)))
    return pd.DataFrame(rows, columns=["initializer", "runs", "mean", "low", "high"])


def _redrawn(generator: np.random.Generator, arrays: Sequence[Floats], count: int) -> Floats:
    """Return resamples of the runs, `[count, runs]`, drawn within each combination."""
    drawn = [values[generator.integers(0, len(values), (count, len(values)))] for values in arrays]
    return np.concatenate(drawn, axis=1)


def _trimmed(values: Floats) -> Floats:
    return np.asarray(distributions.trim_mean(values, 0.25, axis=1))


def profiles(
    scores: Mapping[str, Sequence[Floats]], thresholds: Sequence[float] | Floats, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Return performance profiles: the share of each initializer's runs above each accuracy threshold.

    Runs of all seeds and combinations count together. If one curve is above another throughout, its initializer is
    better at every threshold.

    A row for each initializer and threshold; initializers without runs are left out:

    - `initializer`: its name.
    - `threshold`: an accuracy, a fraction.
    - `share`: fraction of the runs with a higher accuracy.
    - `low`, `high`: its 95% percentile interval, from a bootstrap stratified by combination; NaN with a single seed.

    Source: Agarwal et al. 2021, section 4.2 (run-score distributions); Dolan & Moré 2002.
    """
    generator = np.random.default_rng(0)
    accuracies = np.asarray(thresholds, float)
    tables = []
    for name, arrays in scores.items():
        runs = sum(map(len, arrays))
        if not runs:
            continue
        count = _resamples(runs, resamples)
        share, drawn = np.zeros(len(accuracies)), np.zeros((count, len(accuracies)))
        for values in arrays:
            above = (values[:, None] > accuracies).astype(float)
            share += above.sum(axis=0)
            drawn += _counts(generator, len(values), count) @ above
        low, high = _ends(drawn / runs, arrays)
        columns = {"initializer": name, "threshold": accuracies, "share": share / runs, "low": low, "high": high}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["initializer", "threshold"])


def improvement(
    scores: Mapping[str, Sequence[Floats]], over: str | None = None, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Return the probability that a run of one initializer is better than a run of another.

    Within a combination, it is the Mann–Whitney statistic divided by the number of pairs of runs; a tie counts one
    half. The probabilities are averaged over the combinations. By this definition, the two runs of a pair may be of
    different seeds; `verdicts` compares within seeds. `over` selects the other initializer; by default, all pairs are
    compared.

    A row for each ordered pair:

    - `initializer`, `other`: their names.
    - `probability`: from 0 to 1, that a run of `initializer` has the higher accuracy.
    - `low`, `high`: its 95% percentile interval, from a bootstrap stratified by combination; NaN with a single seed.

    Source: Agarwal et al. 2021, section 4.3; Mann & Whitney 1947.
    """
    generator = np.random.default_rng(0)
    rows = []
    for name, other in itertools.permutations(scores, 2):
        if (over is not None and other != over) or not len(scores[name]):
            continue
        count = _resamples(sum(map(len, scores[name])), resamples)
        probability, drawn = 0.0, np.zeros(count)
        for x, y in zip(scores[name], scores[other], strict=True):
            below = np.sort(y)
            ends = [np.searchsorted(below, x, side=side) for side in ("left", "right")]  # around ties
            probability += float(np.mean(ends)) / len(y)
            counts, other_counts = _counts(generator, len(x), count), _counts(generator, len(y), count)
            # Column i: how many of the drawn runs of the other are among its i lowest runs.
            cumulative = np.pad(other_counts.cumsum(axis=1), ((0, 0), (1, 0)))
            drawn += sum((counts * cumulative[:, end]).sum(axis=1) for end in ends) / (2 * len(x) * len(y))
        combinations = len(scores[name])
        low, high = _ends(drawn / combinations, (*scores[name], *scores[other]))
        rows.append((name, other, probability / combinations, float(low), float(high)))
    return pd.DataFrame(rows, columns=["initializer", "other", "probability", "low", "high"])


def _resamples(runs: int, wanted: int) -> int:
    """Return the number of resamples: `wanted`, or fewer for many runs, and at least 200."""
    return max(200, min(wanted, MAX_DRAWN // runs))


def _counts(generator: np.random.Generator, size: int, resamples: int) -> Floats:
    """Return how often each of `size` values is drawn, `[resamples, size]`."""
    return generator.multinomial(size, np.full(size, 1 / size), resamples).astype(float)


def _ends(drawn: Floats, arrays: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return the ends of the percentile interval; NaN if no combination has more than one seed."""
    low, high = np.percentile(drawn, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)], axis=0)
    if max(map(len, arrays)) < 2:
        return np.full_like(low, np.nan), np.full_like(high, np.nan)
    return low, high
