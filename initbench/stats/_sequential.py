"""Seeds until it is certain: comparisons that hold at every look, and the half-widths of means."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from initbench.stats._arguments import check_frame, check_table, combination_of, settings_of
from initbench.stats._means import by_combination, half_width
from initbench.stats._outcomes import METRIC, outcomes
from initbench.stats._resolution import resolution
from initbench.stats._verdicts import (
    COMPARISON,
    OPEN_MARGIN,
    SELECTION_METRIC,
    Matrices,
    by_seed,
    pair_table,
    paired,
    results_of,
    selected,
)
from initbench.stats.chance import Chance

# The probability that a combination of equal initializers ever claims a difference, however often it is looked at.
ERROR = 0.05

# The prior of a difference, in standard deviations, is normal with variance 1 / PRIOR_SEEDS. A smaller number decides
# large differences with fewer seeds, and small ones with more.
PRIOR_SEEDS = 5

# Flags of `results` that show that a configuration's runs are of two kinds.
TWO_KINDS = ("mixed", "plateau")

DECISION = (
    *("initializer", "seeds", "failed", "leader", "pairs", "difference", "difference_low", "difference_high"),
    *("e_value", "e_needed", "significant", "worse_than", "worse_by", "worse_by_low", "worse_by_high"),
    *("regret_bound", "equivalent", "decided"),
)

# Larger e-values are cut: of more than 330 seeds they can exceed the largest float.
MAX_LOG = 690.0
MAX_T = 1e100


def half_widths(
    frame: pd.DataFrame, by: Sequence[str], metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> pd.DataFrame:
    """Return the half-width of each configuration's 95% interval, for adding seeds until all are narrow enough.

    t(n − 1) · s / √n over the n runs, as in `results`: the interval that tables and figures show. s is floored at the
    rounding error of an accuracy, 1 / (N √12) for N images, so that equal values do not end the search by chance.

    It assumes runs of one kind. Where a share of the runs fails or stays on a plateau, the rule often stops before it
    has seen one, and the interval then misses the mean: so it is refused where such runs occur, and n clean runs do not
    exclude them. Checked by simulation, in batches of five seeds after ten (`tests/stats/test_sequential.py`): mean ±
    the half-width that was requested covers 95 to 100% for normal values and 88 to 100% for exponential ones. Mean ±
    the narrower t · s / √n covers 94 to 95% and 86 to 90%, because the rule stops where s happens to be small. Where a
    tenth of the values fail, both would cover about 60%. The rule takes one seed more than a fixed number would.

    Source: Chow & Robbins 1965, "On the Asymptotic Theory of Fixed-Width Sequential Confidence Intervals for the Mean".

    Returns
    -------
    A row for each configuration, in the order of the table: the `by` columns, and

    - `seeds`, `failed`: numbers of runs.
    - `mean`: mean over all runs, a fraction; diverged runs are scored at the majority-class accuracy.
    - `half_width`: half the width of its interval, a fraction; NaN with one seed.
    - `blocked`: whether the rule is refused: a run failed, or the runs are of two kinds (`flag`).
    - `flag`: the flag of `results`.
    - `excluded_share`: the smallest share of failing runs that n runs without a failure exclude with 95% probability,
      1 − 0.05^(1/n); a smaller share may have shown no failure yet.
    """
    check_frame(frame, metric)
    by, rows = settings_of(frame, by), outcomes(frame, chance)
    table = results_of(rows, by, metric, chance)
    n = table["seeds"].to_numpy()
    half = ((table["all_high"] - table["all_low"]) / 2).to_numpy()
    rounding = np.full(len(n), resolution(rows, metric, chance) / math.sqrt(2))
    return table[[*by, "seeds", "failed"]].assign(
        mean=table["mean_all"],
        half_width=np.maximum(half, half_width(rounding, n)),
        blocked=(table["failed"] > 0) | table["flag"].isin(TWO_KINDS),
        flag=table["flag"],
        excluded_share=1 - ERROR ** (1 / n),
    )


def decisions(
    frame: pd.DataFrame,
    combination: Sequence[str],
    metric: str = METRIC,
    chance: Mapping[str, Chance] | None = None,
    *,
    equivalent_within: float | None = None,
) -> pd.DataFrame:
    """Compare the initializers within each combination, validly at every look: which need no more seeds.

    The comparisons of `verdicts` hold for a number of seeds that was fixed before. These hold however often one looks
    and whenever one stops. For each of the m = k (k − 1) / 2 pairs of a combination's k initializers, the differences
    within the n seeds that both have give t = d̄ √n / s, and with ν = n − 1 and g = 5 the e-value

    E = √(g / (n + g)) · [(1 + t² / ν) / (1 + g t² / ((n + g) ν))]^(n / 2)

    It is the likelihood ratio of t under differences of N(0, 1/g) standard deviations and under none. If the two are
    equal it is a martingale with mean 1, so it ever reaches m / 0.05 with a probability of at most 0.05 / m (Ville's
    inequality), and a combination ever claims a difference between equal initializers with at most 5%. The differences
    that it does not exclude are the interval: d̄ ± t* s / √n with t* = √(ν (r − 1) / (1 − r b)), b = g / (n + g),
    r = ((m / 0.05)² / b)^(1/n), and infinite where r b ≥ 1: with fewer than 8 seeds for 2 initializers, 11 for 6 and 16
    for 46.

    An initializer that is significantly worse than another gets no more seeds. Its pairs then keep their seeds, so the
    decision is computed from the table again at any later time, and is the same.

    It assumes that differences within seeds are roughly normal or at least symmetric, as those of two equal
    initializers are, with a standard deviation of at least the `resolution`. Checked by simulation
    (`tests/stats/test_sequential.py`): over 400 looks, a difference is ever claimed in 1 to 3.5% of combinations of two
    or six equal initializers, for normal and skewed values, ties, plateaus and failures. If one of two initializers
    fails in a share of its runs and the other does not, seeds without such a failure do not show it. At a true
    difference of one standard deviation and 15 pairs it takes 27 seeds on average, in batches of five, where 80% power
    at a fixed number takes 19.

    Source: Lai 1976, "On Confidence Sequences"; Howard et al. 2021, "Time-uniform, nonparametric, nonasymptotic
    confidence sequences"; Wang & Ramdas 2023, "Anytime-valid t-tests and confidence sequences for Gaussian means with
    unknown variance".

    Parameters
    ----------
    frame
        The tidy table of an experiment. Initializers may have different numbers of seeds.
    combination
        The settings within whose values initializers are compared, for example `["activation", "loss"]`.
    metric
        An accuracy: more is better. Diverged runs are scored at the majority-class accuracy.
    chance
        The chance level of each data set but MNIST.
    equivalent_within
        The difference that does not matter, in percentage points; none by default.

    Returns
    -------
    A row for each initializer of each combination, combination by combination: the columns of `combination`, and

    - `initializer`: its name.
    - `seeds`, `failed`: numbers of its runs.
    - `leader`: whether it has the highest mean validation accuracy of those that are not significantly worse; one of
      which every run failed cannot lead.
    - `pairs`: number of seeds that both it and the leader have.
    - `difference`, `difference_low`, `difference_high`: mean of the leader's metric minus its own, with the interval
      that holds at every look and for all pairs together; fractions.
    - `e_value`: the largest e-value of its pairs with an initializer that is ahead of it, with one common seed 1; NaN
      where none is ahead.
    - `e_needed`: the e-value that is significant, m / 0.05.
    - `significant`: whether it is significantly worse than another. False where every run of the combination failed.
    - `worse_than`: the name of that other one, the farthest ahead; else an empty string.
    - `worse_by`, `worse_by_low`, `worse_by_high`: how much worse than that one, with the interval; fractions.
    - `regret_bound`: choosing it costs at most this against any that is not significantly worse, a fraction; infinite
      with too few seeds. It holds at every look, whichever is chosen.
    - `equivalent`: whether `regret_bound` is at most `equivalent_within`.
    - `decided`: whether it needs no more seeds: it is significantly worse, or the others of its combination that are
      not are settled: only one is left, or each pair's interval lies within ± `equivalent_within`, or every run of the
      combination failed.
    """
    check_frame(frame, metric)
    keys = combination_of(frame, combination)
    rows = outcomes(frame, chance)
    rows = rows.assign(initializer=rows["initializer"].astype(str))
    margin = -np.inf if equivalent_within is None else equivalent_within / 100
    tables = [
        _decide(group, keys, metric, resolution(group, metric, chance), margin) for group in by_combination(rows, keys)
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[*keys, *DECISION])


def _decide(runs: pd.DataFrame, keys: list[str], metric: str, floor: float, margin: float) -> pd.DataFrame:
    """Return the rows of `decisions` for the runs of one combination."""
    by_name = runs.groupby("initializer", sort=False)
    table = by_name.agg(
        seeds=("seed", "size"), failed=("failed", "sum"), validation=(f"scored_{SELECTION_METRIC}", "mean")
    )
    names = table.index.to_numpy()
    # All are [i, j], for i minus j.
    pairs, mean, half, log_e = _pairwise(by_seed(runs, list(names), metric), floor)
    needed = max(len(names) * (len(names) - 1) // 2, 1) / ERROR
    trained = (table["failed"] < table["seeds"]).to_numpy()
    worse = (mean > 0) & (log_e >= math.log(needed)) & trained.any()
    rest = np.asarray(~worse.any(axis=0))
    apart = (np.abs(mean) + half)[np.ix_(rest, rest)]
    settled = rest.sum() == 1 or not trained.any() or bool((apart <= margin).all())

    columns = np.arange(len(names))
    candidates = np.where(rest & trained, table.pop("validation"), -np.inf)
    leader = candidates.argmax()
    is_leader = (columns == leader) & np.isfinite(candidates)
    has_rival = ~is_leader & is_leader.any()
    ahead = np.where(worse, mean, -np.inf).argmax(axis=0)
    strongest = np.where(mean > 0, log_e, -np.inf).max(axis=0)
    regret = np.nan_to_num(mean + half, nan=np.inf, posinf=np.inf)[rest].max(axis=0, initial=0.0)
    regret[(len(names) == 1) | (table["seeds"].to_numpy() < 2)] = np.nan
    table = table.assign(
        leader=is_leader,
        pairs=np.where(has_rival, pairs[leader], 0),
        **_intervals("difference", mean[leader], half[leader], has_rival),
        e_value=np.where(np.isfinite(strongest), np.exp(np.minimum(strongest, MAX_LOG)), np.nan),
        e_needed=needed,
        significant=~rest,
        worse_than=np.where(rest, "", names[ahead]),
        **_intervals("worse_by", mean[ahead, columns], half[ahead, columns], ~rest),
        regret_bound=regret,
        equivalent=regret <= margin,
        decided=~rest | settled,
    ).reset_index()
    return table.assign(**{key: runs[key].iloc[0] for key in keys})[[*keys, *DECISION]]


def verdicts_at_every_look(
    frame: pd.DataFrame,
    combination: Sequence[str],
    metric: str = METRIC,
    chance: Mapping[str, Chance] | None = None,
    *,
    equivalent_within: float | None = None,
    selected_from: int = 1,
) -> pd.DataFrame:
    """Return the table of `verdicts` with the comparisons of `decisions`, for seeds that were added after looking.

    It assumes what `decisions` assumes. The intervals of means are those of `results`, for a fixed number of seeds.

    Returns
    -------
    A row for each initializer of each combination: the columns of `verdicts`. Of these,

    - `leader`, `pairs`, `difference`, `difference_low`, `difference_high`, `significant`, `worse_than`, `worse_by`,
      `worse_by_low`, `worse_by_high`, `regret_bound` and `equivalent` are those of `decisions`, NaN where infinite.
    - `p`: min(1, m / E) of its strongest pair with an initializer that is ahead: adjusted for the m pairs of the
      combination, and valid at every look. NaN where it has fewer than two seeds in common with every other.
    - `significant_overall`: whether E also reaches m / 0.05 times the number of combinations.
    - `rotation_only`: False.
    """
    check_frame(frame, metric)
    keys = combination_of(frame, combination)
    rows = outcomes(frame, chance)
    table = results_of(rows, [*keys, "initializer"], metric, chance)
    if table.empty:
        return table.reindex(columns=[*table, *COMPARISON])
    compared = decisions(frame, keys, metric, chance, equivalent_within=equivalent_within)
    shared = [name for name in DECISION if name not in ("seeds", "failed")]
    tables = []
    groups = by_combination(table.merge(compared[[*keys, *shared]], how="left", on=[*keys, "initializer"]), keys)
    for group, runs in zip(groups, by_combination(rows, keys), strict=True):
        names = list(group["initializer"])
        leader = group["leader"].to_numpy().argmax()
        plain = paired(by_seed(runs, names, metric), resolution(runs, metric, chance))
        np.fill_diagonal(plain["pairs"], 0)
        tested = plain["pairs"].max(axis=0) > 1
        is_rival = group["difference"].notna()
        standing = np.where(group["difference"] > OPEN_MARGIN, "open", "best")
        tables.append(
            group.assign(
                validation_accuracy=list(
                    runs.groupby("initializer", observed=True)["scored_validation_accuracy"].mean()[names]
                ),
                difference_std=np.where(is_rival, plain["std"][leader], np.nan),
                comparisons=max(len(names) * (len(names) - 1) // 2, 1),
                p=np.where(tested, np.minimum(ERROR * group["e_needed"] / group["e_value"].fillna(1.0), 1.0), np.nan),
                rotation_only=False,
                significant_overall=group["significant"] & (group["e_value"] >= len(groups) * group["e_needed"]),
                n_compared=(plain["pairs"] > 0).sum(axis=0),
                standing=np.where(tested & ~group["significant"] & group["leader"].any(), standing, ""),
            )
        )
    table = pd.concat(tables, ignore_index=True)[[*table, *COMPARISON]].replace([np.inf, -np.inf], np.nan)
    return selected(table, selected_from)


def pairs_at_every_look(
    frame: pd.DataFrame, combination: Sequence[str], metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> pd.DataFrame:
    """Compare every initializer with every other of its combination, as `decisions` does, with the same assumptions.

    A row for each ordered pair: the columns of `combination`, and

    - `initializer`, `other`: their names.
    - `pairs`: number of seeds that both have.
    - `difference`, `difference_low`, `difference_high`: mean of the other's metric minus its own, with the interval
      that holds at every look and for all pairs of the combination together; fractions. The interval is NaN with too
      few seeds for any.
    - `p`: min(1, m / E), adjusted for the m pairs of the combination.
    """

    def compared(values: np.ndarray, floor: float) -> Matrices:
        n, mean, half, log_e = _pairwise(values, floor)
        p = np.minimum(max(len(n) * (len(n) - 1) // 2, 1) * np.exp(-log_e), 1.0)
        return n, mean, mean - half, mean + half, p

    return pair_table(frame, combination, metric, chance, compared).replace([np.inf, -np.inf], np.nan)


def at_half_width(table: pd.DataFrame, half_width: float) -> pd.DataFrame:
    """Return the table of `verdicts` of an experiment whose seeds were added until all half-widths are at most this.

    The intervals of `all` runs and of those that `trained` are mean ± `half_width`, a fraction, or wider where they
    were: those of leaders, and those that had not become narrow. It is this interval that `half_widths` checks; that of
    t · s / √n is too narrow where the rule has stopped, because s happened to be small: it covers 93 to 95%. Rows in
    which a run failed, and those of `plateau`, keep their intervals. Assumes what `half_widths` does.

    Returns
    -------
    The columns of the table, of which `all_low`, `all_high`, `trained_low` and `trained_high` are changed.
    """
    ends_of = [f"{runs}_{end}" for runs in ("all", "trained") for end in ("low", "high")]
    columns = ("failed", "flag", "mean_all", "mean_trained", *ends_of)
    check_table(table, "table", columns, "the table that ib.stats.verdicts returns")
    blocked = (table["failed"] > 0) | table["flag"].isin(TWO_KINDS)
    ends = {}
    for runs in ("all", "trained"):
        mean, low, high = table[f"mean_{runs}"], table[f"{runs}_low"], table[f"{runs}_high"]
        ends[f"{runs}_low"] = low.where(blocked, np.minimum(low, mean - half_width))
        ends[f"{runs}_high"] = high.where(blocked, np.maximum(high, mean + half_width))
    return table.assign(**ends)


def _intervals(name: str, mean: np.ndarray, half: np.ndarray, compared: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of an interval: its middle and its ends, NaN where not `compared`."""
    ends = {name: mean, f"{name}_low": mean - half, f"{name}_high": mean + half}
    return {key: np.where(compared, values, np.nan) for key, values in ends.items()}


def _pairwise(values: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return all differences i − j of the columns of `[seeds, initializers]`, each over the seeds that both have.

    Four matrices: the number of seeds, the mean difference, the half-width of its interval (infinite where no number
    is excluded; 0 on the diagonal), and the logarithm of the e-value (0, no evidence, with fewer than two seeds).
    """
    plain, count = paired(values, floor), values.shape[1]
    n, mean = plain["pairs"], plain["mean"]
    at_least_two = np.maximum(n, 2)
    error = plain["std"] / np.sqrt(at_least_two)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.clip(np.nan_to_num(mean / error), -MAX_T, MAX_T)
    log_e = np.where(n > 1, log_e_value(t, at_least_two), 0.0)
    half = np.where(n > 1, critical_t(at_least_two, max(count * (count - 1) // 2, 1)) * error, np.inf)
    np.fill_diagonal(half, 0.0)
    return n, mean, half, log_e


def log_e_value(t: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the logarithm of the e-value of t over n ≥ 2 seeds: see `decisions`."""
    degrees, shrink = n - 1, PRIOR_SEEDS / (n + PRIOR_SEEDS)
    ratio = np.log1p(t**2 / degrees) - np.log1p(shrink * t**2 / degrees)
    return np.asarray(0.5 * np.log(shrink) + 0.5 * n * ratio)


def critical_t(n: np.ndarray, comparisons: int) -> np.ndarray:
    """Return the |t| at which the e-value over n ≥ 2 seeds is significant; infinite where none is: see `decisions`."""
    degrees, shrink = n - 1, PRIOR_SEEDS / (n + PRIOR_SEEDS)
    log_ratio = (2 * math.log(comparisons / ERROR) - np.log(shrink)) / n
    # (r − 1) / (1 − r b), where r overflows at no number of seeds from 2 on.
    ratio = np.exp(log_ratio)
    reachable = ratio * shrink < 1
    return np.where(reachable, np.sqrt(degrees * (ratio - 1) / np.where(reachable, 1 - ratio * shrink, 1.0)), np.inf)
