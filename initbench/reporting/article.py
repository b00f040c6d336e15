"""Findings about the article whose experiment the preset `keepcoding` repeats."""

from typing import Any

import pandas as pd

from initbench.reporting.numbers import interval


def finding(verdicts: pd.DataFrame) -> str:
    """Explain why the article's own configuration is far below the others, where it is; else an empty string.

    `verdicts` are those of networks without a hidden layer.
    """
    rows = verdicts[
        (verdicts["initializer"] == "truncated_normal(std=1.0)")
        & _equal(verdicts, "activation", "tanh")
        & _equal(verdicts, "loss", "mse")
    ]
    if len(rows) != 1 or not rows.iloc[0]["significant"] or rows.iloc[0]["difference"] <= 0.05:
        return ""
    row = rows.iloc[0]
    return (
        f"The configuration of the article that the preset keepcoding repeats, truncated_normal(std=1.0) with tanh and "
        f"mse, reaches {interval(row)}, "
        f"{100 * row['difference']:.0f} points below the leader. This is expected behaviour, not a bug. With weights "
        "this large, the weighted sum of an MNIST image’s pixels is typically about 8 in absolute value. There tanh is "
        "saturated and its gradient almost vanishes, so training hardly changes the weights."
    )


def _equal(table: pd.DataFrame, column: str, value: str) -> Any:
    return table[column] == value if column in table else True
