"""Differences that are paired by seed, with intervals: to the leader, and from one experiment to another."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker

from initbench.reporting.figures.axes import Ticks, number_axis, panel, reference_line
from initbench.reporting.figures.drawing import Drawing, describe_values
from initbench.reporting.figures.forest import forest
from initbench.reporting.figures.style import Palette, report_style
from initbench.reporting.limits import MAX_LINEAR_DIFFERENCE
from initbench.reporting.numbers import difference, difference_ends, p_value


@report_style
def differences(table: pd.DataFrame, palette: Palette, title: str) -> Drawing:
    """The leader's test accuracy minus each initializer's, of one combination: its rows of `verdicts`."""
    rows = table[table["difference"].notna()].sort_values("difference", kind="stable")
    names = list(rows["initializer"])
    leader = table.loc[table["leader"], "initializer"].iloc[0]
    numbers = [difference(row, "difference") for _, row in rows.iterrows()]
    estimates = _in_points(rows, "difference")
    canvas, axes = panel(0.44 * len(names) + 0.8)
    forest(axes, names, estimates, palette, numbers)
    reference_line(axes, 0)
    axes.set(xlabel="Percentage points behind the leader")
    if np.nanmax(estimates[0]) > MAX_LINEAR_DIFFERENCE:  # so that one that failed does not squeeze the others
        axes.set_xscale("symlog", linthresh=1, linscale=0.6)
        axes.xaxis.set_major_locator(ticker.FixedLocator([-100, -10, -1, 0, 1, 10, 100]))
        axes.xaxis.set_major_formatter(Ticks(own_decimals=True))
        drawn = np.concatenate([[0.0], *estimates])
        scale = axes.xaxis.get_transform()  # matplotlib leaves no margin beyond the linear part
        first, last = scale.transform([np.nanmin(drawn), np.nanmax(drawn)])
        margin = 0.06 * (last - first)
        axes.set_xlim(scale.inverted().transform([first - margin, last + margin]))
    else:
        number_axis(axes.xaxis, nbins=6)
    return Drawing(
        canvas,
        f"Percentage points behind {leader}, paired by seed, {title}, with intervals: "
        f"{describe_values(names, numbers)}.",
        ["Initializer", "Behind, points, and interval", "p, adjusted"],
        [[name, text, p_value(p)] for name, text, p in zip(names, numbers, rows["p"], strict=True)],
        title=f"{title}, behind {leader}",
    )


@report_style
def changes(table: pd.DataFrame, names: Sequence[str], palette: Palette) -> Drawing:
    """The changes from one experiment to another: a table of `stats.changes`, and a name for each row."""
    numbers = [difference(row, "change") for _, row in table.iterrows()]
    canvas, axes = panel(0.44 * len(names) + 1.0, width=7.5)
    forest(axes, names, _in_points(table, "change"), palette, numbers, [str(name) for name in table["initializer"]])
    reference_line(axes, 0)
    axes.set(xlabel="Change of test accuracy, percentage points")
    number_axis(axes.xaxis, nbins=6)
    alternative = f"Changes of mean test accuracy in points, with intervals: {describe_values(names, numbers)}."
    return Drawing(canvas, alternative)


def _in_points(table: pd.DataFrame, column: str) -> list[Any]:
    """Differences of accuracies in percentage points, and the ends of their intervals, cut as in `points`."""
    low, high = difference_ends(table[f"{column}_low"].to_numpy(float), table[f"{column}_high"].to_numpy(float))
    return [100 * table[column].to_numpy(float), 100 * low, 100 * high]
