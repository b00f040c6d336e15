"""Selection of learning rates: the rate that is best for all initializers together, and the best of each."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from initbench.errors import nearest, shown
from initbench.stats._arguments import check_frame, check_table, combination_of
from initbench.stats._means import by_combination, without_categories
from initbench.stats._outcomes import METRIC, outcomes
from initbench.stats._verdicts import SELECTION_METRIC, results_of, with_lower_ends
from initbench.stats.chance import Chance

RATE = "learning_rate"


def rates(
    frame: pd.DataFrame, combination: Sequence[str], metric: str = METRIC, chance: Mapping[str, Chance] | None = None
) -> pd.DataFrame:
    """Return the results at each learning rate, and the rates selected on validation, never on test.

    `combination` names the settings other than the learning rate. A row for each initializer and rate of each
    combination: the columns of `results`, and

    - `all_low`, `trained_low`: where a rate was selected (below), at t(1 − 2.5% / R), R the number of the initializer's
      rates: these ends hold for all R together with 97.5%, so also for the one that was selected, by whatever rule.
    - `validation_accuracy`: its mean, a fraction; diverged runs are scored at the majority-class accuracy.
    - `own_best`: whether this rate has the initializer's highest mean validation accuracy; the first of equal ones.
    - `common`: whether this rate has the highest mean validation accuracy, averaged over the initializers, of the rates
      that all initializers have. False in every row if there is no such rate.

    It assumes normal accuracies across seeds, as all intervals of means. Of 8 equivalent rates, and with a correlation
    of 0.9 between the validation and the test accuracy of a run, the interval of the own best covers 98% (five seeds,
    simulated); with both ends at 2.5% it would cover 87%, and that of the common rate of two initializers 90%.
    """
    check_frame(frame, metric)
    combination = combination_of(frame, combination)
    check_frame(frame, columns=(RATE,))
    keys = [*combination, "initializer", RATE]
    rows = outcomes(frame, chance)
    table = results_of(rows, keys, metric, chance)
    means = rows.groupby(keys, sort=False, dropna=False, observed=True)[f"scored_{SELECTION_METRIC}"].mean()
    table[SELECTION_METRIC] = means.to_numpy()
    best = table.groupby(keys[:-1], sort=False, dropna=False, observed=True)[SELECTION_METRIC].idxmax()
    table["own_best"] = table.index.isin(best)
    table["common"] = False
    for group in by_combination(table, combination):
        wide = group.pivot(index=RATE, columns="initializer", values=SELECTION_METRIC).dropna()
        if len(wide):
            table.loc[group.index, "common"] = group[RATE] == wide.mean(axis=1).idxmax()
    count = table.groupby(keys[:-1], sort=False, dropna=False, observed=True)[RATE].transform("size").to_numpy()
    return with_lower_ends(table, np.where(table["own_best"] | table["common"], count, 1))


def at_rates(frame: pd.DataFrame, combination: Sequence[str], rates: pd.DataFrame, which: str) -> pd.DataFrame:
    """Return the rows of an experiment's table at the selected learning rates, with its columns.

    `which` is `own_best` or `common`: a column of `rates`, the table that the function `rates` returns of the same
    `combination`. The means of
    these rows are too high by what selecting gains; `verdicts` corrects its intervals with `selected_from`.
    """
    check_frame(frame)
    keys = [*combination_of(frame, combination), "initializer", RATE]
    check_table(rates, "rates", [*keys, "own_best", "common"], "the table that ib.stats.rates returns")
    if which not in ("own_best", "common"):
        raise ValueError(
            f"which = {shown(which)}; allowed: 'own_best' or 'common'{nearest(which, ('own_best', 'common'))}"
        )
    chosen = rates.loc[rates[which], keys]
    plain = without_categories(frame[keys])
    matches = plain.merge(chosen.assign(_chosen=True), how="left", on=keys)["_chosen"].notna()
    return frame[matches.to_numpy()]


def at_the_edge(rates: pd.DataFrame) -> pd.DataFrame:
    """Return the rows at the lowest and at the highest learning rate, where a rate beyond may be better.

    `rates` has the rows of one combination, of the table that the function `rates` returns; the columns are the same.
    """
    check_table(rates, "rates", [RATE], "the table that ib.stats.rates returns")
    return rates[rates[RATE].isin([rates[RATE].min(), rates[RATE].max()])]


def best_at_some_rates(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return where initializers are among the best that are so at some learning rates only.

    At all others, they are significantly worse than another initializer, or every run failed. Rates at which every run
    of every initializer failed are ignored. `verdicts` has the rows of one combination of the other settings, of a
    table of `verdicts` within learning rates. Returns rows of it, initializer by initializer, with its columns.
    """
    columns = (RATE, "initializer", "leader", "standing", "significant", "failed", "seeds")
    check_table(verdicts, "verdicts", columns, "the table that ib.stats.verdicts returns within learning rates")
    alive = verdicts[verdicts.groupby(RATE)["leader"].transform("any")]
    count = alive[RATE].nunique()
    tables = [verdicts.iloc[:0]]
    for _, rows in alive.groupby("initializer", sort=False):
        best = rows[rows["standing"] == "best"]
        worse = int((rows["significant"] | (rows["failed"] == rows["seeds"])).sum())
        if 0 < len(best) < count and len(best) + worse == count:
            tables.append(best)
    return pd.concat(tables)
