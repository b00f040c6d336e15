"""Differences that are paired by seed, with intervals: to the leader, and from one experiment to another."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from initbench.reporting.figures.accuracy import arranged, by_seed, drawn_rows
from initbench.reporting.figures.axes import number_axis, reference_line
from initbench.reporting.figures.drawing import Drawing, describe_values
from initbench.reporting.figures.forest import (
    FAR_BEHIND,
    draw_far,
    draw_intervals,
    draw_seeds,
    label_ticks,
    panel_of_rows,
    zoom,
)
from initbench.reporting.figures.style import report_style
from initbench.reporting.limits import MAX_LONG_NAME
from initbench.reporting.numbers import MARKS, difference, difference_ends, p_value, signed
from initbench.reporting.palette import Palette

# Changes up to this are never far away, a fraction.
FAR = 0.05


@report_style
def differences(rows: pd.DataFrame, table: pd.DataFrame, palette: Palette, title: str) -> Drawing:
    """The leader's test accuracy minus each initializer's, of one combination: its runs and its rows of `verdicts`.

    Rows, their order and what is far behind are those of `accuracy_by_initializer`, and as there, better is to the
    right: the axis of the points behind runs to the left. Each dot is the difference at one seed.
    """
    table, compete = arranged(table)
    names = [str(name) for name in table["initializer"]]
    leader = names[int(table["leader"].to_numpy().argmax())]
    numbers = [
        "leader" if name == leader else difference(row, "difference")
        for name, (_, row) in zip(names, table.iterrows(), strict=True)
    ]
    count, summary = drawn_rows(compete)
    shown, texts = names[:count], numbers[:count]
    if summary:
        rest = table["difference"][count:].dropna()
        ends = f"{signed(rest.min(), 1)} to {signed(rest.max(), 1)}" if len(rest) else "–"
        shown, texts = [*shown, summary], [*texts, ends]
    marks = [MARKS[standing] for standing in table["standing"][:count]] + [""] * bool(summary)
    canvas, axes = panel_of_rows(shown, texts, marks, (not compete.all(), False))
    near = int(compete.sum())
    middle, low, high = (values[:near] for values in _in_points(table, "difference"))
    middle[names[:near].index(leader)] = 0.0
    wide = by_seed(rows)
    seeds = 100 * (wide.loc[leader] - wide.reindex(names[:near])).to_numpy(float)
    seeds[names[:near].index(leader)] = np.nan
    reference_line(axes, 0)
    drawn_seeds = draw_seeds(axes, seeds, names, palette)
    draw_intervals(axes, names[:near], (middle, low, high), palette)
    zoom(axes, [drawn_seeds, middle, low, high])
    axes.invert_xaxis()
    axes.set_xlabel("Points behind the leader")
    label_ticks(axes, number_axis)
    if not compete.all():
        draw_far(axes, range(near, len(shown)), shown, palette, "left", FAR_BEHIND)
    others = [i for i, name in enumerate(names) if name != leader]
    return Drawing(
        canvas,
        f"Percentage points behind {leader}, paired by seed, {title}, with intervals: "
        f"{describe_values([names[i] for i in others], [numbers[i] for i in others])}.",
        ["Initializer", "Behind, points, and interval", "p of being significantly worse than another, adjusted"],
        [[names[i], numbers[i], p_value(table["p"].iloc[i])] for i in others],
        title=f"{title}, behind {leader}",
    )


@report_style
def changes(table: pd.DataFrame, names: Sequence[str], palette: Palette) -> Drawing:
    """The changes from one experiment to another: a table of `stats.changes`, and a name for each row.

    Changes of more than 5 points and more than 4 times the median of all stand in strips beside the axis, so
    that they do not squeeze the others.
    """
    numbers = [difference(row, "change") for _, row in table.iterrows()]
    change, initializers = table["change"].to_numpy(float), [str(name) for name in table["initializer"]]
    limit = max(FAR, 4 * float(np.nanmedian(np.abs(change)))) if len(change) else FAR
    worse, better = np.flatnonzero(change < -limit), np.flatnonzero(change > limit)
    canvas, axes = panel_of_rows(
        names, numbers, None, (len(worse) > 0, len(better) > 0), width=5.8, letters=MAX_LONG_NAME
    )
    near = [np.where(np.abs(change) > limit, np.nan, values) for values in _in_points(table, "change")]
    reference_line(axes, 0)
    draw_intervals(axes, initializers, near, palette)
    zoom(axes, [0.0, *near])
    axes.set_xlabel("Change of test accuracy, percentage points")
    label_ticks(axes, number_axis)
    for rows, side, word in ((worse, "left", "worse"), (better, "right", "better")):
        if len(rows):
            draw_far(axes, rows, initializers, palette, side, f"far\n{word}")
    alternative = f"Changes of mean test accuracy in points, with intervals: {describe_values(names, numbers)}."
    return Drawing(canvas, alternative)


def _in_points(table: pd.DataFrame, column: str) -> list[Any]:
    """Differences of accuracies in percentage points, and the ends of their intervals, cut as in `points`."""
    low, high = difference_ends(table[f"{column}_low"].to_numpy(float), table[f"{column}_high"].to_numpy(float))
    return [100 * table[column].to_numpy(float), 100 * low, 100 * high]
