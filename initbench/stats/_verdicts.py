"""Who leads, who is behind, and who cannot be told from the best: comparisons of initializers within seeds."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as distributions

from initbench.stats._means import METRIC, by_combination, half_width
from initbench.stats._outcomes import outcomes, share_interval
from initbench.stats._planning import RESOLUTION, critical
from initbench.stats._shape import flags
from initbench.stats.chance import Chance

SELECTION_METRIC = "validation_accuracy"


def results(
    frame: pd.DataFrame, by: Sequence[str], metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> pd.DataFrame:
    """What each group of runs came to, over its seeds: three answers, not one.

    A row for each group, in the order of the table: the `by` columns, `seeds`, `diverged` and `failed` (how many), and

    - `mean_all` with `all_low`, `all_high`: over all runs, a diverged one counted as a classifier that always says the
      commonest class (of a loss: over those that did not diverge);
    - `mean_trained` with `trained_low`, `trained_high`: over those that did not fail;
    - `share_failed` with `failed_low`, `failed_high` (Wilson);
    - `skewness`, `flag` and `coverage`: where the interval over all runs covers less than 95%, and how much: `flags`.

    Intervals of means are Student's t, 95%. A run failed if it diverged or is at chance: see `outcomes`.
    """
    return results_of(outcomes(frame, chance), by, metric)


def results_of(rows: pd.DataFrame, by: Sequence[str], metric: str = METRIC) -> pd.DataFrame:
    """As `results`, from the table that `outcomes` gives: for several metrics of one run."""
    counted = f"scored_{metric}" if f"scored_{metric}" in rows else metric
    trained = rows[metric].where(~rows["failed"])
    rows = rows.assign(_all=rows[counted], _trained=trained, _lost=rows[counted].where(rows["failed"]))
    grouped = rows.groupby(list(by), sort=False, dropna=False, observed=True)
    named = {"seeds": ("cell", "size"), "diverged": ("diverged", "sum"), "failed": ("failed", "sum")}
    for name in ("all", "trained"):
        named |= {f"{what}_{name}": (f"_{name}", what) for what in ("count", "mean", "std")}
    named |= {"skewness": ("_all", "skew"), "low": ("_all", "min"), "high": ("_all", "max")}
    named |= {"lowest": ("_trained", "min"), "highest": ("_trained", "max")}
    named |= {"least": ("_lost", "min"), "most": ("_lost", "max")}
    table = grouped.agg(**named).reset_index()
    shape = flags(
        table, {name: table.pop(name) for name in ("skewness", "low", "high", "lowest", "highest", "least", "most")}
    )
    table = table.astype(dict.fromkeys(table.select_dtypes("category"), str))
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
    """Each initializer's place within each combination of the other settings: `results`, and how far it is behind.

    The leader of a combination has the highest mean validation accuracy; what is reported of it is the test accuracy.
    Cells at one seed see the same order of the data and draw the same noise, so initializers are compared seed by seed:
    the differences have less spread than the values. In choosing and comparing, a diverged run counts as one that
    always says the commonest class: an initializer is not made better by leaving out the runs that it lost. An
    initializer of which every run failed does not lead, and where all did, there is no leader.

    All pairs of a combination's k initializers are compared, each by Student's t of its differences, two-sided at
    5% / (k (k − 1) / 2) (Bonferroni). So with probability 95% or more no difference is claimed where there is none, in
    none of the pairs; and those that are not told to be behind any other contain the true best with at least 95%
    probability. Comparing with the leader alone, whose lead is partly luck, would claim one in 10 to 20% of
    combinations where all initializers are the same; the exact distribution of the largest of the correlated t's would
    shorten the intervals by 1 to 3%. Not being told apart is not being equal.

    The rows go combination by combination. Adds `validation_accuracy` (its mean), `leader` (is it the leader), `pairs`
    (seeds that both have), `difference` (mean of the leader's metric minus its own), `difference_low`,
    `difference_high`, `difference_std` (the spread of the differences), `difference_p` (the p-value of the comparison
    with the leader, corrected for all pairs of the combination; it says nothing of one's leading by luck, so go by
    `significant`), `comparisons`, `significant` (it is significantly worse than some other), and `worse_than` (the name
    of that other, the first of those that are farthest ahead; else an empty text), and `significant_overall`: the same,
    with the 5% divided by the number of combinations too, for sentences about all of them at once; and `n_compared`
    (with how many others it has a seed in common). With fewer than two pairs nothing is claimed.

    `metric` is an accuracy: more is better.
    """
    keys = list(combination)
    rows = outcomes(frame, chance)
    table = results_of(rows, [*keys, "initializer"], metric)
    found = []
    combinations = by_combination(table, keys)
    for group, scored in zip(combinations, by_combination(rows, keys), strict=True):
        names = group["initializer"].tolist()
        chosen_on = scored.groupby("initializer", observed=True)[f"scored_{SELECTION_METRIC}"].mean()
        alive = bool((group["failed"] < group["seeds"]).any())
        learned = group.loc[
            (group["failed"] < group["seeds"]).to_numpy(), "initializer"
        ]  # one that did not, leads nothing
        leader = names.index(chosen_on[learned].idxmax()) if alive else -1
        compared = _pairwise(_by_seed(scored, names, metric), len(combinations))
        # [i, j]: is j behind i, in this combination by itself and where all are told of at once
        behind, overall = (np.nan_to_num(compared[low], nan=-1.0) > 0 for low in ("low", "low_overall"))
        for j, (i, name) in enumerate(zip(group.index, names, strict=True)):
            rival = alive and j != leader
            numbers = [compared[what][leader, j] if rival else np.nan for what in ("mean", "low", "high", "std", "p")]
            pairs = int(compared["pairs"][leader, j]) if rival else 0
            apart = alive and bool(behind[:, j].any())
            better = names[int(np.where(behind[:, j], compared["mean"][:, j], -np.inf).argmax())] if apart else ""
            beside = int((np.delete(compared["pairs"][:, j], j) > 0).sum())
            said = (apart, better, alive and bool(overall[:, j].any()), beside)
            found.append((i, chosen_on[name], j == leader, pairs, *numbers, compared["comparisons"], *said))
    columns = [
        "index",
        SELECTION_METRIC,
        "leader",
        "pairs",
        "difference",
        "difference_low",
        "difference_high",
        "difference_std",
        "difference_p",
    ]
    columns += ["comparisons", "significant", "worse_than", "significant_overall", "n_compared"]
    compared_rows = pd.DataFrame(found, columns=columns).set_index("index")
    return table.loc[compared_rows.index].join(compared_rows).reset_index(drop=True)


def pairs(
    frame: pd.DataFrame, combination: Sequence[str], metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> pd.DataFrame:
    """Every initializer beside every other of its combination, whatever leads: paired differences as in `verdicts`.

    A row for each ordered pair: the combination, `initializer`, `other`, `pairs` (seeds that both have), `difference`
    (mean of the other's metric minus its own), `difference_low`, `difference_high`, and the p-value `p`, corrected for
    all pairs of the combination.
    """
    keys = list(combination)
    found = []
    for rows in by_combination(outcomes(frame, chance), keys):
        names = list(dict.fromkeys(rows["initializer"].astype(str)))
        compared = _pairwise(_by_seed(rows, names, metric), 1)
        mean, low, p, count = (compared[what] for what in ("mean", "low", "p", "pairs"))
        found += [
            (
                *rows[keys].iloc[0],
                name,
                other,
                int(count[i, j]),
                mean[i, j],
                low[i, j],
                2 * mean[i, j] - low[i, j],
                p[i, j],
            )
            for j, name in enumerate(names)
            for i, other in enumerate(names)
            if i != j
        ]
    columns = [*keys, "initializer", "other", "pairs", "difference", "difference_low", "difference_high", "p"]
    return pd.DataFrame(found, columns=columns)


def _by_seed(rows: pd.DataFrame, names: list[str], metric: str) -> np.ndarray:
    """The metric of a combination's runs, `[seeds, initializers]`, NaN where there is none."""
    wide = rows.pivot(index="seed", columns="initializer", values=f"scored_{metric}")
    return wide[names].to_numpy(float)


def _pairwise(values: np.ndarray, combinations: int) -> dict[str, Any]:
    """All differences i − j of the columns of `[seeds, initializers]`, within seeds: mean, interval, spread, number.

    `low_overall` is the lower end of the interval that is corrected for so many combinations too; `p` is the p-value of
    the two-sided test, corrected for the pairs of the combination.
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
