"""Test accuracy by initializer: every seed as a dot, and the mean with its 95% interval."""

import numpy as np
import pandas as pd

from initbench.reporting.figures.axes import interval_ends, percent_axis
from initbench.reporting.figures.drawing import Drawing, describe_values
from initbench.reporting.figures.forest import (
    FAR_BEHIND,
    behind,
    draw_far,
    draw_intervals,
    draw_seeds,
    label_ticks,
    panel_of_rows,
    zoom,
)
from initbench.reporting.figures.style import report_style
from initbench.reporting.limits import MAX_FIGURE_ROWS, MAX_SEEDS
from initbench.reporting.numbers import MARKS, interval, marked, percent
from initbench.reporting.palette import Palette


@report_style
def accuracy_by_initializer(rows: pd.DataFrame, table: pd.DataFrame, palette: Palette, title: str) -> Drawing:
    """The accuracies of one combination: a row of `rows` for each run, and its rows of `verdicts`.

    The axis shows those that compete, and those that do not stand in a strip beside it: see `arranged`. The dots of one
    seed are joined, so that what initializers share at a seed is seen.
    """
    table, compete = arranged(table)
    names = [str(name) for name in table["initializer"]]
    numbers = [marked(row) for _, row in table.iterrows()]
    alternative = f"Test accuracy by initializer, {title}. Mean and 95% interval: {describe_values(names, numbers)}."
    if not compete.all():
        alternative += (
            f" Far behind, beside the axis: {', '.join(n for n, near in zip(names, compete, strict=True) if not near)}."
        )
    count, summary = drawn_rows(compete)
    drawn = table[:count]
    shown, texts = names[:count], numbers[:count]
    if summary:
        rest = table["mean_all"][count:]
        shown, texts = [*shown, summary], [*texts, f"{percent(rest.min())} to {percent(rest.max())}"]
    marks = [MARKS[standing] for standing in drawn["standing"]] + [""] * bool(summary)
    canvas, axes = panel_of_rows(shown, texts, marks, (not compete.all(), False))
    near = int(compete.sum())
    middle, low, high, cut = (values[:near] for values in interval_ends(table, "mean_all", "all_low", "all_high"))
    wide = by_seed(rows)
    seeds = wide.reindex(names[:near]).to_numpy(float)
    drawn_seeds = draw_seeds(axes, seeds, names, palette, joined=True)
    draw_intervals(axes, names[:near], (middle, low, high), palette)
    for i in np.flatnonzero(cut):
        for end, arrow in ((low[i], "<"), (high[i], ">")):
            axes.plot(end, i, color=palette.light[names[i]], marker=arrow, linestyle="none")
    zoom(axes, [drawn_seeds, middle, low, high])
    axes.set_xlabel("Test accuracy")
    label_ticks(axes, percent_axis)
    if not compete.all():
        draw_far(axes, range(near, len(shown)), shown, palette, "left", FAR_BEHIND)
    return Drawing(canvas, alternative, *_by_seed(wide, table), title=title)


def arranged(table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows of `verdicts` of one combination in the order of figures, and which of them compete; these come first.

    The others are far behind: their means are as `behind` says and not the second highest, and they are significantly
    worse than another or not tested. So what may be the best has its place on the axis, and what nobody would choose
    does not squeeze it. Both parts are in the order of the means.

    >>> means = pd.DataFrame({"initializer": ["zeros", "a", "b"], "mean_all": [0.11, 0.935, 0.94], "all_high": 0.941})
    >>> table, compete = arranged(means.assign(standing=["", "", "best"]))
    >>> dict(zip(table["initializer"], compete.tolist()))
    {'b': True, 'a': True, 'zeros': False}
    """
    means, high = (table[column].to_numpy(float) for column in ("mean_all", "all_high"))
    far = behind(means, high) & (table["standing"] == "").to_numpy()
    far[np.argsort(-means, kind="stable")[:2]] = False
    order = np.lexsort((-means, far))
    return table.iloc[order], ~far[order]


def drawn_rows(compete: np.ndarray) -> tuple[int, str]:
    """How many rows have a row of their own, and the name of the row that the others share, if there are others."""
    if len(compete) <= MAX_FIGURE_ROWS or compete.all():
        return len(compete), ""
    count = max(int(compete.sum()), MAX_FIGURE_ROWS - 1)
    return (count, f"{len(compete) - count} more") if count < len(compete) - 1 else (len(compete), "")


def by_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """The test accuracies of one combination, initializer × seed; NaN where there is no run."""
    wide = rows.pivot_table(index="initializer", columns="seed", values="test_accuracy", observed=True)
    return wide.set_axis(wide.index.astype(str))


def _by_seed(wide: pd.DataFrame, table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """The accuracy of each seed, as `by_seed` returns them, as a table, or the quartiles of many seeds."""
    if wide.shape[1] > MAX_SEEDS:
        wide = wide.T.describe().T[["min", "25%", "50%", "75%", "max"]]
        headings = ["Initializer", "Mean", "Lowest", "1st quartile", "Median", "3rd quartile", "Highest"]
    else:
        headings = ["Initializer", "Mean", *(f"Seed {seed}" for seed in wide.columns)]
    numbers = [
        [row["initializer"], interval(row), *(percent(v, 2) for v in wide.loc[row["initializer"]])]
        for _, row in table.iterrows()
    ]
    return headings, numbers
