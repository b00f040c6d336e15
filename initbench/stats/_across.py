"""Across combinations: what one number can say of an initializer over several activations, losses and so on.

Descriptions of these combinations, and of no others: the combinations of a grid are no sample of anything, and they
share their seeds. What is uncertain is the seeds, and so intervals and tests here are over seeds. Ranks and their tests
follow Demšar 2006 ("Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7) and Benavoli, Corani &
Mangili 2016 ("Should We Really Use Post-Hoc Tests Based on Mean-Ranks?", JMLR 17); the interquartile mean, the
performance profiles and the probability of improvement Agarwal et al. 2021 ("Deep Reinforcement Learning at the Edge of
the Statistical Precipice", NeurIPS, section 4) and their library rliable.

Diverged runs are scored at the majority-class accuracy. Only combinations that have
runs of every initializer are taken, of those the ones in which some run did not fail, and of these the seeds that all
have.
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

# Resamples of a bootstrap, and fewer where the runs are very many: their product is bounded.
RESAMPLES, MAX_DRAWN = 2000, 1_000_000

# Up to this many seeds a test flips all signs; beyond, the mean of the differences is roughly normal.
MAX_FLIPPED = 13


def scores(
    frame: pd.DataFrame, combination: Sequence[str], metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> dict[str, list[Floats]]:
    """For each initializer the accuracies of its seeds in every combination that has runs of all:
    `[combination][seed]`.

    Only the seeds that all initializers have in all of these combinations are taken, in their order, so that a place in
    one array is the same seed as that place in any other.
    """
    rows = outcomes(frame, chance)
    names = list(dict.fromkeys(rows["initializer"].astype(str)))
    wide = []
    for group in by_combination(rows, combination):
        table = group.pivot(index="seed", columns="initializer", values=f"scored_{metric}").astype(float)
        if not group["failed"].all() and table.shape[1] == len(names):
            wide.append(table.dropna().sort_index())
    seeds = set(wide[0].index).intersection(*(table.index for table in wide)) if wide else set()
    tables = [table.loc[sorted(seeds)] for table in wide if seeds]
    return {name: [table[name].to_numpy(float) for table in tables] for name in names}


def ranks(scores: Mapping[str, Sequence[Floats]]) -> pd.DataFrame:
    """Each initializer's average rank over the combinations, by its mean over the seeds; 1 is the best, ties share a
    rank.

    A row for each initializer, the best first: `initializer`, `combinations` (how many), `mean_rank`, and `best_in` (in
    how many combinations no other has a higher mean). Empty without a combination that has runs of all.

    Source: Demšar 2006, section 3.2.2.
    """
    rank_arrays = _ranks(scores)
    table = pd.DataFrame(
        {
            "initializer": list(scores),
            "combinations": len(rank_arrays),
            "mean_rank": rank_arrays.mean(axis=0) if len(rank_arrays) else np.nan,
            "best_in": (rank_arrays == rank_arrays.min(axis=1, keepdims=True)).sum(axis=0) if len(rank_arrays) else 0,
        }
    )
    return table.sort_values("mean_rank", kind="stable", ignore_index=True) if len(rank_arrays) else table[:0]


def _means(scores: Mapping[str, Sequence[Floats]]) -> Floats:
    """Means over the seeds, `[combinations, initializers]`, rounded: equal accuracies, summed in another order, are
    ties.
    """
    means = np.array([[values.mean() for values in samples] for samples in scores.values()])
    return np.round(means.T.reshape(-1, len(scores)), 12)


def _ranks(scores: Mapping[str, Sequence[Floats]]) -> Floats:
    means = _means(scores)
    return np.asarray(distributions.rankdata(-means, axis=1)) if len(means) else means


def friedman(scores: Mapping[str, Sequence[Floats]]) -> float:
    """The p-value of Friedman's test that all initializers rank alike over the combinations; NaN below 3 initializers
    or 2 combinations, where it is not defined.
    """
    means = _means(scores)
    if means.shape[1] < 3 or len(means) < 2 or (means == means[:, :1]).all():
        return float("nan")
    return float(distributions.friedmanchisquare(*means.T).pvalue)


def rank_pairs(scores: Mapping[str, Sequence[Floats]]) -> pd.DataFrame:
    """Pairs of initializers compared by their average ranks, over the seeds, and over the combinations.

    A row for each pair: `better`, `worse` (by average rank), and

    - `difference`: at each seed initializers are ranked within every combination, and the ranks averaged over the
      combinations; this is the mean over the seeds of worse minus better;
    - `p`: of the exact sign-flip test of those differences (of more than 13 seeds of the t-test), which holds however
      the combinations depend on each other. `p_holm`: by Holm's correction; `significant`: it is at most 5%: other
      seeds would say the same, of these combinations. `attainable`: whether this many seeds can reach significance at
      all: the smallest p of n differences is 2 / 2ⁿ, and Holm's first step requires 5% / pairs. NaN, and nothing
      significant, with one seed only;
    - `p_combinations`, `p_combinations_holm`, `attainable_combinations`: the same of Wilcoxon's signed-rank test of the
      means over the combinations, as in Demšar. It takes the combinations as independent. They are not, for they share
      their seeds: it then claims far too much (in simulations in 27 to 77% of experiments without a difference), so go
      by the seeds.

    With eight seeds, or combinations, significance is out of reach from five initializers on.

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
    table["attainable"] = _reachable(seeds, len(pairs))
    table["p_combinations"], table["p_combinations_holm"] = p_combinations, holm(p_combinations)
    return table.assign(attainable_combinations=_reachable(len(means), len(pairs)))


def _sign_flip(differences: Floats) -> float:
    """The two-sided p-value of a mean of zero: exact, by all flips of sign; of many differences that of the t-test."""
    n = len(differences)
    if n > MAX_FLIPPED:
        error = float(differences.std(ddof=1)) / np.sqrt(n)
        p = 2 * distributions.t.sf(abs(differences.mean()) / error, n - 1) if error else float(differences[0] == 0)
        return max(float(p), 2.0 ** (1 - n))
    result = distributions.permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=True, n_resamples=2 ** (n + 1)
    )
    return float(result.pvalue)


def _reachable(count: int, pairs: int) -> bool:
    return pairs * 2.0 ** (1 - count) <= 1 - CONFIDENCE


def _ranks_by_seed(scores: Mapping[str, Sequence[Floats]]) -> Floats | None:
    """Average ranks over the combinations at each seed, `[seeds, initializers]`; None with fewer than two seeds.

    ValueError where the combinations have not equally many.
    """
    lengths = {len(values) for samples in scores.values() for values in samples}
    if len(lengths) > 1:
        raise ValueError(
            f"scores of {sorted(lengths)} seeds; allowed: equally many, at the same seeds, as `scores` returns"
        )
    if not lengths or lengths == {1}:
        return None
    values = np.round(
        np.array([list(samples) for samples in scores.values()]), 12
    )  # [initializers, combinations, seeds]
    return np.asarray(distributions.rankdata(-values, axis=0).mean(axis=1).T)


def holm(p: Sequence[float] | Floats) -> Floats:
    """Holm's adjusted p-values: in order of size, max over j ≤ i of (m − j + 1) p₍ⱼ₎, at most 1.

    >>> holm([0.01, 0.04, 0.03]).round(6).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def interquartile_means(scores: Mapping[str, Sequence[Floats]], resamples: int = RESAMPLES) -> pd.DataFrame:
    """The mean of the middle half of all runs of an initializer, over seeds and combinations together.

    The runs are sorted, the lowest and the highest quarter (each ⌊n/4⌋ of n) are left out, the rest is averaged: less
    shaken by single runs than the mean, and less wasteful than the median. `low` and `high` are the 95% percentile
    interval of a bootstrap that draws seeds anew within each combination (stratified). At few seeds in few combinations
    such intervals are too narrow: they describe, and decide nothing.

    A row for each initializer: `initializer`, `runs`, `mean` (interquartile), `low`, `high`.

    Source: Agarwal et al. 2021, section 4.3.
    """
    generator = np.random.default_rng(0)
    rows = []
    for name, samples in scores.items():
        pooled = np.concatenate(samples) if len(samples) else np.empty(0)
        if not len(pooled):
            rows.append((name, 0, np.nan, np.nan, np.nan))
            continue
        count = _resamples(len(pooled), resamples)
        some = max(1, MAX_DRAWN // len(pooled))  # at a time
        drawn = [_trimmed(_redrawn(generator, samples, min(some, count - done))) for done in range(0, count, some)]
        low, high = _ends(np.concatenate(drawn), samples)
        rows.append((name, len(pooled), float(_trimmed(pooled[None])[0]), float(low), float(high)))
    return pd.DataFrame(rows, columns=["initializer", "runs", "mean", "low", "high"])


def _redrawn(generator: np.random.Generator, samples: Sequence[Floats], count: int) -> Floats:
    """Return this many resamples of the runs, each combination's drawn from its own, `[count, runs]`."""
    return np.concatenate(
        [values[generator.integers(0, len(values), (count, len(values)))] for values in samples], axis=1
    )


def _trimmed(values: Floats) -> Floats:
    return np.asarray(distributions.trim_mean(values, 0.25, axis=1))


def profiles(
    scores: Mapping[str, Sequence[Floats]], thresholds: Sequence[float] | Floats, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Performance profiles: the share of an initializer's runs, over seeds and combinations, above each accuracy.

    A row for each initializer and threshold: `initializer`, `threshold`, `share`, and the ends `low`, `high` of its 95%
    percentile interval, from a bootstrap stratified by combination. One curve that is above another throughout is
    better at every accuracy.

    Source: Agarwal et al. 2021, section 4.2 (run-score distributions); Dolan & Moré 2002.
    """
    generator = np.random.default_rng(0)
    at = np.asarray(thresholds, float)
    tables = []
    for name, samples in scores.items():
        runs = sum(map(len, samples))
        if not runs:
            continue
        count = _resamples(runs, resamples)
        share, drawn = np.zeros(len(at)), np.zeros((count, len(at)))
        for values in samples:
            above = (values[:, None] > at).astype(float)
            share += above.sum(axis=0)
            drawn += _counts(generator, len(values), count) @ above
        low, high = _ends(drawn / runs, samples)
        columns = {"initializer": name, "threshold": at, "share": share / runs, "low": low, "high": high}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["initializer", "threshold"])


def improvement(
    scores: Mapping[str, Sequence[Floats]], over: str | None = None, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """The probability that a run of one initializer is better than a run of another, averaged over the combinations.

    In one combination it is the Mann–Whitney statistic divided by the number of pairs of runs, a tie counting one half.
    Seeds are taken as unrelated, as the definition has it; that a seed's runs belong together is used by `verdicts`.

    `over` is the other initializer; default all of them. A row for each pair: `initializer`, `other`, `probability`,
    and the ends `low`, `high` of its 95% percentile interval, from a bootstrap stratified by combination.

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
            ends = [np.searchsorted(below, x, side=side) for side in ("left", "right")]  # of its ties
            probability += float(np.mean(ends)) / len(y)
            mine, others = _counts(generator, len(x), count), _counts(generator, len(y), count)
            beaten = np.pad(others.cumsum(axis=1), ((0, 0), (1, 0)))  # how many of the drawn are below a place
            drawn += sum((mine * beaten[:, end]).sum(axis=1) for end in ends) / (2 * len(x) * len(y))
        combinations = len(scores[name])
        low, high = _ends(drawn / combinations, (*scores[name], *scores[other]))
        rows.append((name, other, probability / combinations, float(low), float(high)))
    return pd.DataFrame(rows, columns=["initializer", "other", "probability", "low", "high"])


def _resamples(runs: int, wanted: int) -> int:
    return max(200, min(wanted, MAX_DRAWN // runs))


def _counts(generator: np.random.Generator, size: int, resamples: int) -> Floats:
    """How often each of `size` values is drawn, `[resamples, size]`."""
    return generator.multinomial(size, np.full(size, 1 / size), resamples).astype(float)


def _ends(drawn: Floats, samples: Sequence[Floats]) -> tuple[Floats, Floats]:
    """The ends of the percentile interval; NaN where no combination has more than one seed, which says nothing of
    others.
    """
    low, high = np.percentile(drawn, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)], axis=0)
    if max(map(len, samples)) < 2:
        return np.full_like(low, np.nan), np.full_like(high, np.nan)
    return low, high
