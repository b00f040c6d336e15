"""Comparisons of initializers within seeds: the leader, significant differences, and what cannot be ruled out."""

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from initbench.stats._arguments import REQUIRED, check_frame, check_metric, check_table, combination_of, settings_of
from initbench.stats._coverage import flags, gaps
from initbench.stats._means import by_combination, half_width, numbered, runs_by_seed
from initbench.stats._outcomes import CONFIDENCE, METRIC, compared_runs, outcomes, share_interval
from initbench.stats._resolution import resolution
from initbench.stats._stepdown import DRAWS, eliminate, step_down
from initbench.stats.chance import Chance

# Of a combination's pairs: number of seeds, mean difference, ends of its interval, p-value.
Matrices = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

SELECTION_METRIC = "validation_accuracy"

# With a mean lower than the leader's by more than this, an initializer is not among the best, significant or not.
OPEN_MARGIN = 0.01

# The columns that `outcomes` adds to those of every tidy table.
OUTCOMES = (*REQUIRED, "diverged", "failed", "scored_validation_accuracy", "scored_test_accuracy")

COMPARISON = (
    *(SELECTION_METRIC, "leader", "pairs", "difference", "difference_low", "difference_high", "difference_std"),
    *("comparisons", "significant", "p", "rotation_only", "worse_than", "worse_by", "worse_by_low", "worse_by_high"),
    *("significant_overall", "n_compared", "regret_bound", "equivalent", "standing"),
)


def results(
    frame: pd.DataFrame, by: Sequence[str], metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> pd.DataFrame:
    """Return the results of each group of runs over its seeds: all runs, those that trained, and the share that failed.

    A row for each group, in the order of the table: the `by` columns, and

    - `seeds`, `diverged`, `failed`: numbers of runs. A run failed if it diverged or is at chance: see `outcomes`.
    - `mean_all`, `all_low`, `all_high`: mean and interval over all runs, in the metric's unit (accuracies are
      fractions). Diverged runs are scored at the majority-class accuracy; means of a loss exclude them.
    - `mean_trained`, `trained_low`, `trained_high`: the same over the runs that did not fail.
    - `share_failed`, `failed_low`, `failed_high`: fraction of the runs that failed, with Wilson's interval.
    - `skewness`: sample skewness G₁ of all runs.
    - `flag`: why the interval over all runs covers less than 95%: `mixed`, `plateau`, `plateau_nearby`, `skewed`,
      `equal`, or an empty string. `stats._coverage` defines them.
    - `coverage`: the fraction of the time that it covers the mean; of `mixed` and plateaus, at most.

    Intervals of means are Student's t, 95%. They assume independent seeds and roughly normal runs; `flag` says where
    runs do not look so. Checked on samples of real trainings, with plateaus and without, in
    `tests/stats/test_coverage.py` (table in docs/explanation/method.md).
    """
    check_frame(frame, metric)
    return results_of(outcomes(frame, chance), by, metric, chance)


def results_of(
    rows: pd.DataFrame, by: Sequence[str], metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> pd.DataFrame:
    """Return `results` from the table that `outcomes` returns, for several metrics of one experiment.

    Assumes what `results` does.

    The columns of `results`.
    """
    check_table(rows, "rows", OUTCOMES, "the table that ib.stats.outcomes returns")
    check_metric(rows, metric)
    by = settings_of(rows, by)
    groups, number = numbered(rows, by)
    count = len(groups)
    failed, diverged = rows["failed"].to_numpy(bool), rows["diverged"].to_numpy(bool)
    score = rows[f"scored_{metric}" if f"scored_{metric}" in rows else metric].to_numpy(float)
    trained = np.where(failed, np.nan, rows[metric].to_numpy(float))
    values = pd.DataFrame({"all": score, "trained": trained, "failed": np.where(failed, score, np.nan)})
    grouped = values.groupby(number)
    counts, stds, lowest, highest = grouped.count(), grouped.std(), grouped.min(), grouped.max()
    step = resolution(rows, metric, chance) * math.sqrt(6)
    seeds, failures = (np.bincount(of, minlength=count) for of in (number, number[failed]))
    table = groups.assign(seeds=seeds, diverged=np.bincount(number[diverged], minlength=count), failed=failures)
    ends = {f"{name}_{end}": of[name] for end, of in (("min", lowest), ("max", highest)) for name in values}
    ends |= {"skewness": grouped["all"].skew(), "all_std": stds["all"]}
    shape = flags(table, ends, gaps(trained, number, count, step), _neighbours(table, by), step)
    columns: dict[str, Any] = {}
    for name in ("all", "trained"):
        mean = grouped[name].mean().to_numpy()  # of a column on its own, as everywhere: the same last bit
        half = half_width(stds[name].to_numpy(), counts[name].to_numpy())
        columns |= {f"mean_{name}": mean, f"{name}_low": mean - half, f"{name}_high": mean + half}
    columns |= dict(zip(("share_failed", "failed_low", "failed_high"), share_interval(failures, seeds), strict=True))
    return table.assign(**columns, **shape)


def _neighbours(table: pd.DataFrame, by: Sequence[str]) -> np.ndarray:
    """Return the number of each row's group of neighbours, which differ in the initializer and the loss only.

    A unit dies of the activation and the weights, so the runs with another loss show whether that occurs.
    """
    settings = [setting for setting in by if setting not in ("initializer", "loss")]
    if "initializer" not in by:
        return np.arange(len(table))
    if not settings:
        return np.zeros(len(table), int)
    return numbered(table, settings)[1]


def verdicts(
    frame: pd.DataFrame,
    combination: Sequence[str],
    metric: str = METRIC,
    chance: Mapping[str, Chance] | None = None,
    *,
    equivalent_within: float | None = None,
    selected_from: int = 1,
) -> pd.DataFrame:
    """Compare the initializers within each combination: the leader, which are significantly worse, and what each risks.

    The leader of a combination has the highest mean validation accuracy (of equal ones, the first of the table); its
    test accuracy is reported. Cells at one seed see the data in the same order and draw the same noise, so initializers
    are compared by their differences within seeds, which have less spread than the values. Diverged runs are scored at
    the majority-class accuracy, so that an initializer gains nothing from them. One of which every run failed cannot
    lead; where all failed, there is no leader.

    An initializer is significantly worse if two resampling tests of all differences agree at 5%, one initializer at a
    time: by rotation, which is exact for normal runs of any covariance, and by permutation within seeds, which is exact
    for exchangeable runs of any distribution. `stats._stepdown` defines them.

    With at least 95% probability, no difference is claimed between equal initializers, and those that are not
    significantly worse contain the true best. That is exact where the runs of all have the same distribution, or are
    normal with the same mean, and shown by simulation where some have (`tools/simulate_statistics.py`). It assumes that
    seeds are independent, that their number was fixed in advance, and, in rows of `rotation_only`, that differences are
    normal. Of an initializer that seldom fails or loses a class, a few seeds may show nothing: if a fifth of the runs
    of one of six initializers is nine points lower, and all means are equal, 33% of experiments claim a difference at
    five seeds (50% at three). No significant difference does not mean equality: `regret_bound` says what an
    initializer may cost.

    Parameters
    ----------
    frame
        The tidy table of an experiment.
    combination
        The settings within whose values initializers are compared, for example `["activation", "loss"]`.
    metric
        An accuracy: more is better.
    chance
        The chance level of each data set but MNIST.
    equivalent_within
        The difference that makes no difference to the user, in percentage points; None if it is not declared.
    selected_from
        The number of learning rates from which each initializer's rate was selected.

    Returns
    -------
    A row for each initializer of each combination, combination by combination: the columns of `results`, and

    - `all_low`, `trained_low`: the lower ends of the leader's intervals are at t(1 − 2.5% / k) for k initializers,
      because it was selected, and all are at 2.5% / `selected_from`.
    - `validation_accuracy`: its mean, a fraction.
    - `leader`: whether it is the leader.
    - `pairs`: number of seeds that both it and the leader have.
    - `difference`, `difference_low`, `difference_high`: mean of the leader's metric minus its own, with an interval
      that holds for all pairs of the combination together (of normal runs); fractions. Over the seeds that all compared
      initializers have, or, where not compared, over those of `pairs`, without an interval. NaN without any.
    - `difference_std`: standard deviation of the differences within seeds, at least `resolution`.
    - `comparisons`: number of pairs of initializers in the combination.
    - `significant`: whether it is significantly worse than another initializer. False with fewer than two common seeds.
    - `p`: p-value of the step in which it was found to be worse, or of the last step; never lower than that of an
      earlier step, so that it is adjusted for all initializers. NaN where there was nothing to compare.
    - `rotation_only`: whether the permutation test could not take part in that step, because it cannot reach 5% with
      this number of seeds (the last two initializers below six seeds, the last three below three).
    - `worse_than`: the name of the initializer that it lost to; else an empty string.
    - `worse_by`, `worse_by_low`, `worse_by_high`: how much worse than that one, with such an interval, which does not
      reach below 0; fractions. NaN where it is not significant.
    - `significant_overall`: whether it is significant at 5% divided by the number of combinations too, for statements
      about all of them together.
    - `n_compared`: number of other initializers with which it has a seed in common.
    - `regret_bound`: its mean is at most this much below that of the best, whatever was selected after looking:
      max(0, maxᵢ(d̄ᵢ + t(1 − 5% / (k (k − 1))) sᵢ / √n)) over the differences dᵢ of the others minus its own. Those
      that are significantly worse than another are not the best and are left out. Jointly for all initializers, with
      at least 95% probability (by simulation, 99%). A fraction; NaN without another initializer, a second seed or a
      leader.
    - `equivalent`: whether `regret_bound` is at most `equivalent_within`.
    - `standing`: `best` or `open`, if it is not significantly worse than another: the best is one of these. With
      `best`, its mean is at most a point below the leader's. With `open`, its mean is more than a point below, but it
      cannot be ruled out: high variance across seeds. An empty string if it is significantly worse, or has too few
      seeds for a test.
    """
    check_frame(frame, metric)
    keys = combination_of(frame, combination)
    rows = compared_runs(frame, keys, metric, chance)
    by = [*keys, "initializer"]
    table = results_of(rows, by, metric, chance)
    selection = rows[f"scored_{SELECTION_METRIC}"].groupby(numbered(rows, by)[1]).mean().to_numpy()
    may_lead = (table["failed"] < table["seeds"]).to_numpy()
    records: list[dict[str, Any]] = []
    groups = by_combination(table[by], keys)
    for group, runs in zip(groups, by_combination(rows, keys), strict=True):
        names = sorted(group["initializer"])
        values = by_seed(runs, names, metric)
        floor = resolution(runs, metric, chance)
        compared, plain = step_down(values, floor), paired(values, floor)
        overall = compared.worse_than >= 0
        regret = _regret(plain, ~overall)
        if len(groups) > 1 and overall.any():
            overall &= _significant(values, floor, len(groups))
        best = max((i for i in group.index if may_lead[i]), key=lambda i: selection[i], default=None)  # the first
        leader = -1 if best is None else names.index(group["initializer"][best])
        tested = np.isfinite(compared.p)
        tested[compared.worse_than[compared.worse_than >= 0]] = True  # the last one has no step of its own
        for i, name in zip(group.index, group["initializer"], strict=True):
            j = names.index(name)
            rival = leader not in (-1, j)
            winner = int(compared.worse_than[j]) if leader >= 0 else -1
            # Of the seeds of its interval, if there is one: those that all compared initializers have.
            with_interval = rival and np.isfinite(compared.mean[leader, j])
            difference = (compared.mean if with_interval else plain["mean"])[leader, j] if rival else np.nan
            behind = difference > OPEN_MARGIN
            records.append(
                {
                    "index": i,
                    SELECTION_METRIC: selection[i],
                    "leader": j == leader,
                    "pairs": int(plain["pairs"][leader, j]) if rival else 0,
                    "difference": difference,
                    "difference_low": compared.low[leader, j] if rival else np.nan,
                    "difference_high": compared.high[leader, j] if rival else np.nan,
                    "difference_std": plain["std"][leader, j] if rival else np.nan,
                    "comparisons": max(len(names) * (len(names) - 1) // 2, 1),
                    "significant": winner >= 0,
                    "p": compared.p[j],
                    "rotation_only": compared.rotation_only[j],
                    "worse_than": names[winner] if winner >= 0 else "",
                    "worse_by": compared.mean[winner, j] if winner >= 0 else np.nan,
                    "worse_by_low": compared.low[winner, j] if winner >= 0 else np.nan,
                    "worse_by_high": compared.high[winner, j] if winner >= 0 else np.nan,
                    "significant_overall": winner >= 0 and bool(overall[j]),
                    "n_compared": int((np.delete(plain["pairs"][:, j], j) > 0).sum()),
                    "regret_bound": regret[j] if leader >= 0 else np.nan,
                    "standing": ("open" if behind else "best") if leader >= 0 and winner < 0 and tested[j] else "",
                }
            )
    if not records:  # an empty table, as where no learning rate is common to all
        return table.reindex(columns=[*table, *COMPARISON])
    comparisons = pd.DataFrame(records).set_index("index")
    table = table.loc[comparisons.index].join(comparisons).reset_index(drop=True)
    limit = np.nan if equivalent_within is None else equivalent_within / 100 + 1e-9
    table = table.assign(equivalent=table["regret_bound"] <= limit)
    return selected(table, selected_from)


def selected(table: pd.DataFrame, selected_from: int) -> pd.DataFrame:
    """Return a table of accuracies with the lower ends of the intervals of what was selected, as in `verdicts`.

    `table` has the columns of `results`, and `leader` and `comparisons` of `verdicts`; `selected_from` is the number of
    learning rates from which each initializer's was selected. The lower end of a leader is at t(1 − 2.5% / k), k the
    number of initializers, and all are at 2.5% / `selected_from`: that holds for all k together, so also for the one
    that was selected. It assumes normal accuracies across seeds, as all intervals of means.

    Returns
    -------
    The columns of the table, of which `all_low` and `trained_low` are changed.
    """
    columns = ("seeds", "failed", "mean_all", "all_low", "mean_trained", "trained_low", "leader", "comparisons")
    check_table(table, "table", columns, "the table that ib.stats.verdicts returns")
    initializers = np.where(table["leader"], (1 + np.sqrt(1 + 8 * table["comparisons"])) // 2, 1)
    return with_lower_ends(table, selected_from * initializers)


def with_lower_ends(table: pd.DataFrame, count: np.ndarray) -> pd.DataFrame:
    """Return the table of `results` with the lower ends of its intervals at t(1 − 2.5% / `count`), one for each row."""
    for name, runs in (("all", table["seeds"]), ("trained", table["seeds"] - table["failed"])):
        nu = np.maximum(runs - 1, 1)
        factor = stdtrit(nu, 0.5 * (1 - CONFIDENCE) / count) / stdtrit(nu, 0.5 * (1 - CONFIDENCE))
        half = factor * (table[f"mean_{name}"] - table[f"{name}_low"])
        table[f"{name}_low"] = table[f"mean_{name}"] - half
    return table


def pairs(
    frame: pd.DataFrame,
    combination: Sequence[str],
    metric: str = METRIC,
    chance: Mapping[str, Chance] | None = None,
    *,
    combinations: int = 1,
) -> pd.DataFrame:
    """Compare every initializer with every other of its combination, as `verdicts` does, with the same assumptions.

    The intervals of a combination are at 5% divided by `combinations`: with the number of combinations, they hold for
    all of them together. From 101 on they are those of t-tests of all pairs, with Bonferroni's correction.

    A row for each ordered pair: the columns of `combination`, and

    - `initializer`, `other`: their names.
    - `pairs`: number of seeds that both have.
    - `difference`, `difference_low`, `difference_high`: mean of the other's metric minus its own, with an interval that
      holds for all pairs together; fractions. NaN where they were not compared.
    - `p`: p-value of the difference, adjusted for all pairs, by rotation of the residuals. The decisions of `verdicts`
      step down, which finds more, and require a permutation test.
    """

    level = (1 - CONFIDENCE) / combinations

    def compared(values: np.ndarray, floor: float) -> Matrices:
        plain, result = paired(values, floor), step_down(values, floor, max(level, 1 / (DRAWS + 1)))
        if level * (DRAWS + 1) >= 1:
            return plain["pairs"], result.mean, result.low, result.high, result.p_pairs
        n, k = np.maximum(plain["pairs"], 1), values.shape[1]
        half = -stdtrit(np.maximum(n - 1, 1), level / (k * (k - 1))) * plain["std"] / np.sqrt(n)
        return plain["pairs"], plain["mean"], plain["mean"] - half, plain["mean"] + half, result.p_pairs

    return pair_table(frame, combination, metric, chance, compared)


def pair_table(
    frame: pd.DataFrame,
    combination: Sequence[str],
    metric: str,
    chance: Mapping[str, Chance] | None,
    compare: Callable[[np.ndarray, float], Matrices],
) -> pd.DataFrame:
    """Return the table of `pairs`.

    `compare` takes a combination's accuracies, `[seeds, initializers]`, and their resolution, and returns its matrices
    `[i, j]`, for i − j: number of seeds, mean difference, lower and upper end of its interval, and p-value.
    """
    check_frame(frame, metric)
    keys = combination_of(frame, combination)
    records = []
    for rows in by_combination(compared_runs(frame, keys, metric, chance), keys):
        names = list(dict.fromkeys(map(str, rows["initializer"])))
        order = sorted(names)
        matrices = compare(by_seed(rows, order, metric), resolution(rows, metric, chance))
        settings = rows[keys].iloc[0]
        for name, other in itertools.permutations(names, 2):
            i, j = order.index(other), order.index(name)
            records.append((*settings, name, other, *(matrix[i, j] for matrix in matrices)))
    columns = [*keys, "initializer", "other", "pairs", "difference", "difference_low", "difference_high", "p"]
    return pd.DataFrame(records, columns=columns)


def by_seed(rows: pd.DataFrame, names: list[str], metric: str) -> np.ndarray:
    """Return the metric of a combination's runs, `[seeds, initializers]`, NaN where there is no run."""
    return runs_by_seed(rows, metric)[names].to_numpy()


def _significant(values: np.ndarray, floor: float, combinations: int) -> np.ndarray:
    """Return which columns are significantly worse than another at 5% divided by the number of combinations.

    From 101 combinations on, that is below the smallest p-value of the resampling tests. There it is decided by t-tests
    of all pairs with Bonferroni's correction, which find less.
    """
    level = (1 - CONFIDENCE) / combinations
    if level * (DRAWS + 1) >= 1:
        return eliminate(values, floor, level)[1] >= 0
    plain, k = paired(values, floor), values.shape[1]
    error = plain["std"] / np.sqrt(np.maximum(plain["pairs"], 1))
    p = stdtr(np.maximum(plain["pairs"] - 1, 1), -plain["mean"] / error)
    return np.asarray((p * k * (k - 1) <= level).any(axis=0))


def paired(values: np.ndarray, floor: float) -> dict[str, np.ndarray]:
    """Return all differences i − j of the columns: mean, standard deviation and number of seeds, `[i, j]`."""
    differences = values[:, :, None] - values[:, None, :]
    pairs = np.isfinite(differences).sum(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of no pair there is no mean, and of one no spread
        mean, std = np.nanmean(differences, axis=0), np.nanstd(differences, axis=0, ddof=1)
    std = np.where(pairs > 1, np.maximum(std, floor), np.nan)
    np.fill_diagonal(std, np.nan)
    return {"mean": mean, "std": std, "pairs": pairs}


def _regret(plain: Mapping[str, np.ndarray], may_be_best: np.ndarray) -> np.ndarray:
    """Return the regret bound of each column, over the others that may be the best; `plain` is from `paired`."""
    k, pairs = len(may_be_best), plain["pairs"]
    quantile = stdtrit(np.maximum(pairs - 1, 1), 1 - (1 - CONFIDENCE) / max(k * (k - 1), 1))
    high = plain["mean"] + quantile * plain["std"] / np.sqrt(np.maximum(pairs, 1))
    regret = np.fmax.reduce(high[may_be_best], axis=0, initial=np.nan)
    return np.where(np.isfinite(high).any(axis=0), np.fmax(regret, 0.0), np.nan)
