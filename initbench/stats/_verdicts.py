"""Comparisons of initializers within seeds: the leader, significant differences, and what cannot be ruled out."""

import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as distributions

from initbench.stats._coverage import flags
from initbench.stats._means import METRIC, by_combination, half_width, without_categories
from initbench.stats._outcomes import outcomes, share_interval
from initbench.stats._planning import RESOLUTION, critical
from initbench.stats.chance import Chance

SELECTION_METRIC = "validation_accuracy"

# With a mean lower than the leader's by more than this, an initializer is not among the best, significant or not.
OPEN_MARGIN = 0.01


DIFFERENCE = ("difference", "difference_low", "difference_high", "difference_std", "difference_p")
COMPARISON = (
    *(SELECTION_METRIC, "leader", "pairs", *DIFFERENCE, "comparisons"),
    *("significant", "worse_than", "significant_overall", "n_compared"),
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
    - `flag`: why the interval over all runs covers less than 95%: `mixed`, `skewed`, `equal`, or an empty string.
    - `coverage`: the fraction of the time that it covers the mean.

    Intervals of means are Student's t, 95%.
    """
    return results_of(outcomes(frame, chance), by, metric)


def results_of(rows: pd.DataFrame, by: Sequence[str], metric: str = METRIC) -> pd.DataFrame:
    """Return `results` from the table that `outcomes` returns, for several metrics of one experiment.

    The columns of `results`.
    """
    score = f"scored_{metric}" if f"scored_{metric}" in rows else metric
    trained = rows[metric].where(~rows["failed"])
    rows = rows.assign(_all=rows[score], _trained=trained, _failed=rows[score].where(rows["failed"]))
    grouped = rows.groupby(list(by), sort=False, dropna=False, observed=True)
    named = {"seeds": ("cell", "size"), "diverged": ("diverged", "sum"), "failed": ("failed", "sum")}
    for name in ("all", "trained"):
        named |= {f"{statistic}_{name}": (f"_{name}", statistic) for statistic in ("count", "mean", "std")}
    ranges = {f"{name}_{end}": (f"_{name}", end) for name in ("all", "trained", "failed") for end in ("min", "max")}
    table = grouped.agg(**named, skewness=("_all", "skew"), **ranges).reset_index()
    shape = flags(table, {name: table.pop(name) for name in ("skewness", *ranges)})
    table = without_categories(table)
    for name in ("all", "trained"):
        n = table.pop(f"count_{name}").to_numpy()
        half = half_width(table.pop(f"std_{name}").to_numpy(), n)
        table[f"{name}_low"], table[f"{name}_high"] = table[f"mean_{name}"] - half, table[f"mean_{name}"] + half
    table["share_failed"], table["failed_low"], table["failed_high"] = share_interval(table["failed"], table["seeds"])
    ends = [f"{name}{end}" for name in ("all", "trained", "failed") for end in ("_low", "_high")]
    order = ["mean_all", *ends[:2], "mean_trained", *ends[2:4], "share_failed", *ends[4:]]
    return table[[*by, "seeds", "diverged", "failed", *order]].join(shape)


def verdicts(
    frame: pd.DataFrame,
    combination: Sequence[str],
    metric: str = METRIC,
    chance: Mapping[str, Chance] | None = None,
) -> pd.DataFrame:
    """Compare the initializers within each combination: the leader, and which are significantly worse than another.

    The leader of a combination has the highest mean validation accuracy; its test accuracy is reported. Cells at one
    seed see the data in the same order and draw the same noise, so initializers are compared by their differences
    within seeds, which have less spread than the values. Diverged runs are scored at the majority-class accuracy, so
    that an initializer gains nothing from them. One of which every run failed cannot lead; where all failed, there is
    no leader.

    All pairs of a combination's k initializers are compared with Student's t, two-sided at 5% / (k (k − 1) / 2)
    (Bonferroni). With at least 95% probability, no difference is claimed between equal initializers, and those that are
    not significantly worse than another contain the true best. Comparing with the leader alone, whose lead is partly
    luck, would claim a difference in 10 to 20% of combinations of equal initializers; the exact distribution of the
    largest of the correlated t's would shorten the intervals by 1 to 3%. No significant difference does not mean
    equality.

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

    Returns
    -------
    A row for each initializer of each combination, combination by combination: the columns of `results`, and

    - `validation_accuracy`: its mean, a fraction.
    - `leader`: whether it is the leader.
    - `pairs`: number of seeds that both it and the leader have.
    - `difference`, `difference_low`, `difference_high`: mean of the leader's metric minus its own, with the corrected
      interval; fractions.
    - `difference_std`: standard deviation of the differences within seeds.
    - `difference_p`: p-value of the comparison with the leader, corrected for all pairs of the combination. It ignores
      that the leader was selected, so decide by `significant`.
    - `comparisons`: number of pairs of initializers in the combination.
    - `significant`: whether it is significantly worse than another initializer. False with fewer than two common seeds.
    - `worse_than`: the name of that other one, the farthest ahead; else an empty string.
    - `significant_overall`: `significant` with the 5% divided by the number of combinations too, for statements about
      all of them together.
    - `n_compared`: number of other initializers with which it has a seed in common.
    - `standing`: `best` (among the best: no significant difference, and a mean at most a point below the leader's);
      `open` (cannot be ruled out: high variance across seeds, with a mean more than a point below); or an empty string
      (significantly worse, every run failed, or too few seeds for a test).
    """
    keys = list(combination)
    rows = outcomes(frame, chance)
    table = results_of(rows, [*keys, "initializer"], metric)
    records = []
    groups = by_combination(table, keys)
    for group, runs in zip(groups, by_combination(rows, keys), strict=True):
        names = group["initializer"].tolist()
        selection = runs.groupby("initializer", observed=True)[f"scored_{SELECTION_METRIC}"].mean()
        candidates = group.loc[(group["failed"] < group["seeds"]).to_numpy(), "initializer"]
        leader = names.index(selection[candidates].idxmax()) if len(candidates) else -1
        compared = _pairwise(_by_seed(runs, names, metric), len(groups))
        # [i, j]: is j significantly worse than i, in this combination and over all of them
        worse, worse_overall = (np.nan_to_num(compared[low], nan=-1.0) > 0 for low in ("low", "low_overall"))
        for j, (i, name) in enumerate(zip(group.index, names, strict=True)):
            rival = leader not in (-1, j)
            difference = [compared[key][leader, j] if rival else np.nan for key in ("mean", "low", "high", "std", "p")]
            significant = leader >= 0 and bool(worse[:, j].any())
            ahead = np.where(worse[:, j], compared["mean"][:, j], -np.inf)
            records.append(
                {
                    "index": i,
                    SELECTION_METRIC: selection[name],
                    "leader": j == leader,
                    "pairs": int(compared["pairs"][leader, j]) if rival else 0,
                    **dict(zip(DIFFERENCE, difference, strict=True)),
                    "comparisons": compared["comparisons"],
                    "significant": significant,
                    "worse_than": names[int(ahead.argmax())] if significant else "",
                    "significant_overall": leader >= 0 and bool(worse_overall[:, j].any()),
                    "n_compared": int((np.delete(compared["pairs"][:, j], j) > 0).sum()),
                }
            )
    if not records:  # an empty table, as where no learning rate is common to all
        return table.reindex(columns=[*table, *COMPARISON, "standing"])
    comparisons = pd.DataFrame(records).set_index("index")
    table = table.loc[comparisons.index].join(comparisons).reset_index(drop=True)
    return table.assign(standing=_standing(table))


def _standing(table: pd.DataFrame) -> np.ndarray:
    """Return `best`, `open` or an empty string for each row of `verdicts`."""
    tested = table["leader"] | table["difference_low"].notna()
    excluded = table["significant"] | (table["failed"] == table["seeds"]) | (table["n_compared"] == 0)
    standing = np.where(table["difference"] > OPEN_MARGIN, "open", "best")
    return np.where(tested & ~excluded & (table["seeds"] >= 2), standing, "")


def pairs(
    frame: pd.DataFrame, combination: Sequence[str], metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> pd.DataFrame:
    """Compare every initializer with every other of its combination, by paired differences as in `verdicts`.

    A row for each ordered pair: the columns of `combination`, and

    - `initializer`, `other`: their names.
    - `pairs`: number of seeds that both have.
    - `difference`, `difference_low`, `difference_high`: mean of the other's metric minus its own, with the corrected
      interval; fractions.
    - `p`: p-value, corrected for all pairs of the combination.
    """
    keys = list(combination)
    records = []
    for rows in by_combination(outcomes(frame, chance), keys):
        names = list(dict.fromkeys(rows["initializer"].astype(str)))
        compared = _pairwise(_by_seed(rows, names, metric), 1)
        mean, low, p, count = (compared[key] for key in ("mean", "low", "p", "pairs"))
        for (j, name), (i, other) in itertools.product(enumerate(names), repeat=2):
            if i != j:
                interval = (mean[i, j], low[i, j], 2 * mean[i, j] - low[i, j])
                records.append((*rows[keys].iloc[0], name, other, int(count[i, j]), *interval, p[i, j]))
    columns = [*keys, "initializer", "other", "pairs", "difference", "difference_low", "difference_high", "p"]
    return pd.DataFrame(records, columns=columns)


def _by_seed(rows: pd.DataFrame, names: list[str], metric: str) -> np.ndarray:
    """Return the metric of a combination's runs, `[seeds, initializers]`, NaN where there is no run."""
    wide = rows.pivot(index="seed", columns="initializer", values=f"scored_{metric}")
    return wide[names].to_numpy(float)


def _pairwise(values: np.ndarray, combinations: int) -> dict[str, Any]:
    """Return all differences i − j of the columns of `[seeds, initializers]`: mean, interval, spread, number of seeds.

    `low_overall` is the lower end of the interval that is corrected for the number of combinations too; `p` is the
    p-value of the two-sided test, corrected for the pairs of the combination.
    """
    count = values.shape[1]
    comparisons = max(count * (count - 1) // 2, 1)
    differences = values[:, :, None] - values[:, None, :]
    pairs = np.isfinite(differences).sum(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of no pair there is no mean, and of one no spread
        mean, std = np.nanmean(differences, axis=0), np.nanstd(differences, axis=0, ddof=1)
    std = np.where(pairs > 1, std, np.nan)
    error = np.maximum(std, RESOLUTION) / np.sqrt(np.maximum(pairs, 1))

    def half(comparisons: int) -> np.ndarray:
        quantiles = {n: critical(int(n), comparisons) if n > 1 else np.nan for n in np.unique(pairs)}
        return np.asarray(np.vectorize(quantiles.__getitem__, otypes=[float])(pairs) * error)

    two_sided = 2 * distributions.t.sf(np.abs(mean) / error, np.maximum(pairs - 1, 1))
    return {
        "mean": mean,
        "p": np.where(pairs > 1, np.minimum(two_sided * comparisons, 1.0), np.nan),
        "low": mean - half(comparisons),
        "high": mean + half(comparisons),
        "low_overall": mean - half(comparisons * combinations),
        "std": std,
        "pairs": pairs,
        "comparisons": comparisons,
    }
