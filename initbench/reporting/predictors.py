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

# The predictors that are |log₁₀| of a ratio, in powers of ten: how a sentence on them begins.
MORE = {
    "variance_drift": "the more pre-activations grow or decay with depth",
    "gradient_drift": "the more gradients grow or decay with depth",
    "isometry_distance": "the further the Jacobian is from an isometry",
}


def label(row: Any) -> str:
    """The name of a predictor on an axis, with its unit where it has one."""
    unit = " (powers of ten)" * (row["predictor"] in MORE)
    return numbers.capitalized(statistic(row["predictor"], row["position"]) + unit)


def table_title(predictors: pd.DataFrame, outcome: str) -> str:
    """What the table of an outcome has: all of its predictors, or how many of them."""
    total = int((predictors["outcome"] == outcome).sum())
    shown = f"the strongest {MAX_PREDICTORS} of {total}" if total > MAX_PREDICTORS else f"all {total}"
    return f"{OUTCOMES[outcome]}: {shown}"


def table_rows(predictors: pd.DataFrame, outcome: str) -> list[list[str]]:
    """The rows of the table of predictors of an outcome, in the order of `best_first`."""
    return [
        [
            label(row),
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
            f"Not computed: this needs {stats.MIN_INITIALIZERS} initializers, and the experiment has {initializers}."
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
        result = {
            "accuracy": f"the {'higher' if rises else 'lower'} {called}",
            "failed": f"the {'more' if rises else 'less'} often runs fail",
            "epochs": f"the {'later' if rises else 'sooner'} runs get near the leader",
        }[outcome]
        more = f"{MORE.get(first['predictor'], f'the higher the {name}')}, {result}"
        line = f"{numbers.capitalized(more)}: rank correlation within combinations {correlation(first)}."
        if not first["significant"]:
            line = f"No statistic before training predicts {called} significantly. The strongest is the {name}: "
            line += f"{more} (rank correlation within combinations {correlation(first)})."
        elif outcome == "accuracy":
            line = f"The {name} predicts {called} best. {line}"
        lines.append(line)
    lines.append(
        f"Significance is corrected for all {len(predictors)} correlations together; an interval is for its own alone."
    )
    if left_out := int(predictors["left_out"].max()):
        lines.append(
            f"Up to {numbers.plural(left_out, 'cell')} are left out of a correlation and of the figure, where the "
            "statistic is infinite or has no value; the table counts them."
        )
    return lines


def points(evidence: Any, predictor: str, position: str) -> pd.DataFrame:
    """Return one row a configuration: `initializer`, `value` of a predictor (median) and test `accuracy` (mean)."""
    column = predictor if position == "network" else f"{position}_{predictor}"
    scalars = evidence.scalars[["cell", column]].rename(columns={column: "value"})
    cells = evidence.last[["cell", *evidence.combination, "initializer", "test_accuracy"]]
    cells = cells.astype({"cell": str}).merge(scalars, on="cell")
    cells = cells[np.isfinite(cells["value"])]
    by = cells.groupby([*evidence.combination, "initializer"], sort=False, observed=True, dropna=False)
    table: pd.DataFrame = by.agg(value=("value", "median"), accuracy=("test_accuracy", "mean")).reset_index()
    return table
