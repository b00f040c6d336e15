"""What predicts success in words and tables: correlations of the signal at initialization with the results.

`predictors` is a table of `stats.signal_predictors`.
"""

from typing import Any

import numpy as np
import pandas as pd

from initbench import stats
from initbench.reporting import numbers
from initbench.reporting.limits import MAX_PREDICTORS
from initbench.reporting.signal import statistic

OUTCOMES = {"accuracy": "final test accuracy", "failed": "failure", "epochs": "epochs to get near the leader"}


def table_rows(predictors: pd.DataFrame, outcome: str) -> list[list[str]]:
    """The rows of the table of predictors of an outcome, in the order of `best_first`."""
    return [
        [
            numbers.capitalized(statistic(row["predictor"], row["position"])),
            correlation(row),
            numbers.p_value(row["p"]),
            "yes" if row["significant"] else "no",
            f"{int(row['configurations'])} in {int(row['combinations'])}",
            f"{int(row['left_out']):,}" if row["left_out"] else "–",
        ]
        for _, row in best_first(predictors, outcome).head(MAX_PREDICTORS).iterrows()
    ]


def best_first(predictors: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """The predictors of an outcome, significant ones first, each in the order of the size of their correlations."""
    rows = predictors[predictors["outcome"] == outcome]
    return rows.iloc[np.lexsort((-rows["correlation"].abs().to_numpy(float), ~rows["significant"].to_numpy(bool)))]


def correlation(row: Any) -> str:
    """A correlation with its 95% interval.

    >>> correlation({"correlation": -0.84, "low": -0.95, "high": -0.6})
    '−0.84 (−0.95 to −0.60)'
    """
    value, low, high = (f"{row[name] + 0.0:.2f}".replace("-", "−") for name in ("correlation", "low", "high"))
    return f"{value} ({low} to {high})"


def sentences(predictors: pd.DataFrame, initializers: int) -> list[str]:
    """Say which statistic before training predicts each outcome best, or why that is not known."""
    if initializers < stats.MIN_INITIALIZERS:
        return [
            "Which statistic predicts success is not computed: seeds of one initializer start alike, so that "
            f"{stats.MIN_INITIALIZERS} initializers are needed, and this experiment has {initializers}."
        ]
    if predictors.empty:
        return [
            f"No statistic that is finite for {stats.MIN_INITIALIZERS} initializers varies together with the results, "
            "so nothing predicts them."
        ]
    lines = []
    for outcome, called in OUTCOMES.items():
        rows = best_first(predictors, outcome)
        if rows.empty or not (rows["significant"].any() or outcome == "accuracy"):
            continue
        first = rows.iloc[0]
        name, rises = statistic(first["predictor"], first["position"]), first["correlation"] > 0
        if not first["significant"]:
            line = (
                f"No statistic before training predicts {called} significantly; the strongest is the {name}, with a "
                f"rank correlation of {correlation(first)}."
            )
        elif outcome == "failed":
            line = f"Runs fail {'more' if rises else 'less'} often where the {name} is higher: {correlation(first)}."
        elif outcome == "epochs":
            pace = "later" if rises else "sooner"
            line = f"Runs get near the leader {pace} where the {name} is higher: {correlation(first)}."
        else:
            line = (
                f"The {name} predicts {called} best: its rank correlation within combinations is {correlation(first)}, "
                f"so {called} is {'higher' if rises else 'lower'} where it is higher."
            )
        lines.append(line)
    if len(lines) > 1 or predictors["significant"].any():
        lines.append(f"Significance is corrected for all {len(predictors)} correlations together.")
    if left_out := int(predictors["left_out"].max()):
        lines.append(
            f"Up to {numbers.plural(left_out, 'cell')} are left out of a correlation and of the figure, where the "
            "statistic is infinite or has no value; the table counts them."
        )
    return lines


def points(evidence: Any, predictor: str, position: str) -> pd.DataFrame:
    """Return one row a configuration: `initializer`, `value` of a predictor (median) and test `accuracy` (mean)."""
    column = predictor if position == "network" else f"{position}_{predictor}"
    scalars = stats.signal_scalars(evidence.signal)[["cell", column]].rename(columns={column: "value"})
    cells = evidence.last[["cell", *evidence.combination, "initializer", "test_accuracy"]]
    cells = cells.assign(cell=cells["cell"].astype(str)).merge(
        scalars.assign(cell=scalars["cell"].astype(str)), on="cell"
    )
    cells = cells[np.isfinite(cells["value"])]
    by = cells.groupby([*evidence.combination, "initializer"], sort=False, observed=True, dropna=False)
    table: pd.DataFrame = by.agg(value=("value", "median"), accuracy=("test_accuracy", "mean")).reset_index()
    return table
