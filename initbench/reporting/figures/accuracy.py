"""Test accuracy by initializer: every seed as a dot, and the mean with its 95% interval."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns

from initbench.reporting.figures.axes import interval_ends, panel, percent_axis
from initbench.reporting.figures.drawing import Drawing, describe_values
from initbench.reporting.figures.forest import label_rows
from initbench.reporting.figures.style import Palette, report_style
from initbench.reporting.limits import MAX_SEEDS, MAX_VECTOR_DOTS
from initbench.reporting.numbers import interval, marked, percent


@report_style
def accuracy_by_initializer(
    rows: pd.DataFrame, table: pd.DataFrame, palette: Palette, limits: tuple[float, float], title: str
) -> Drawing:
    """The accuracies of one combination: a row of `rows` for each run, and its rows of `verdicts`."""
    names = [str(name) for name in table["initializer"]]
    canvas, axes = panel(0.44 * len(names) + 0.75)
    common: Any = {"x": "test_accuracy", "y": "initializer", "order": names, "hue": "initializer", "hue_order": names}
    common |= {"palette": palette.light, "legend": False, "ax": axes}
    sns.stripplot(
        rows.astype({"initializer": str}),  # seaborn would order a categorical column its own way
        **common, alpha=0.4, size=4, jitter=False, rasterized=len(rows) > MAX_VECTOR_DOTS,
    )  # fmt: skip
    for dots in axes.collections:  # below the mean, which would hide them
        dots.set_offsets(dots.get_offsets() + np.array([0.0, 0.24]))
    middle, low, high, cut = interval_ends(table, "mean_all", "all_low", "all_high")
    # Of the mean and the two ends of its interval, the mean is the median: so seaborn draws the values of the table.
    three = pd.DataFrame({"initializer": names * 3, "test_accuracy": np.concatenate([low, middle, high])}).dropna()
    sns.pointplot(
        three, **common, estimator="median", errorbar=("pi", 100), linestyle="none", markersize=6,
        markers=[palette.markers[name] for name in names], err_kws={"linewidth": 2, "solid_capstyle": "butt"},
    )  # fmt: skip
    for line in [line for line in axes.lines if np.isnan(np.asarray(line.get_xdata(), float)).all()]:
        line.remove()  # each colour has a bar for each name, empty but for its own
    for i in np.flatnonzero(cut):
        for end, arrow in ((low[i], "<"), (high[i], ">")):
            axes.plot(end, i, color=palette.light[names[i]], marker=arrow, markersize=6, linestyle="none")
    numbers = [marked(row) for _, row in table.iterrows()]
    label_rows(axes, names, numbers)
    margin = 0.02 * (limits[1] - limits[0])  # for the markers at the ends
    axes.set(xlim=(limits[0] - margin, limits[1] + margin), xlabel="Test accuracy")
    percent_axis(axes.xaxis)
    alternative = f"Test accuracy by initializer, {title}. Mean and 95% interval: {describe_values(names, numbers)}."
    return Drawing(canvas, alternative, *_by_seed(rows, table), title=title)


def _by_seed(rows: pd.DataFrame, table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """The accuracy of each seed as a table, or the quartiles of many seeds."""
    wide = rows.pivot_table(index="initializer", columns="seed", values="test_accuracy", observed=True)
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
