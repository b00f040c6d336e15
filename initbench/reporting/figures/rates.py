"""Test accuracy by learning rate: each initializer's best rate is ringed, the best common rate dashed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker

from initbench.reporting.figures.axes import Ticks, interval_ends, panel, percent_axis, reference_line, zoomed
from initbench.reporting.figures.direct import LINE, End, line_style, name_curves, named
from initbench.reporting.figures.drawing import Drawing, describe_values
from initbench.reporting.figures.style import report_style
from initbench.reporting.layout import scaled
from initbench.reporting.limits import MAX_COMPETING
from initbench.reporting.numbers import exact, interval, percent
from initbench.reporting.palette import Palette


@report_style
def sensitivity(rates: pd.DataFrame, palette: Palette, title: str) -> Drawing:
    """The accuracies by rate of one combination, with 95% intervals as bands: a table of `stats.rates`."""
    best_means = rates.groupby("initializer", sort=False)["mean_all"].max()
    shown = named(best_means)
    canvas, axes = panel(max(3.0, LINE * len(shown) / 72 + 0.6))
    rows, ends = [], []
    values = sorted(set(rates["learning_rate"]))
    for name, group in rates.sort_values("learning_rate").groupby("initializer", sort=False):
        axes.plot(group["learning_rate"], group["mean_all"], **line_style(str(name), shown, palette))
        if name in shown:
            colour = palette.light[str(name)]
            middle, low, high, _ = interval_ends(group, "mean_all", "all_low", "all_high")
            low, high = (np.where(np.isnan(end), middle, end) for end in (low, high))
            axes.fill_between(group["learning_rate"], low, high, color=colour, alpha=0.15, linewidth=0)
            best = group[group["own_best"]]
            axes.plot(
                best["learning_rate"], best["mean_all"], marker="o", markersize=scaled(11), markerfacecolor="none",
                markeredgecolor=colour, markeredgewidth=scaled(1.5), linestyle="none",
            )  # fmt: skip
            last = group.iloc[-1]
            ends.append(End(str(name), last["learning_rate"], last["mean_all"], percent(last["mean_all"])))
        by_rate = group.set_index("learning_rate")
        rows.append([str(name), *(interval(by_rate.loc[v]) if v in by_rate.index else "–" for v in values)])
    common = rates.loc[rates["common"], "learning_rate"]
    if len(common):
        reference_line(axes, common.iloc[0])
    log = bool(values[0] > 0 and values[-1] > 3 * values[0])
    if log:
        axes.set_xscale("log")
    axes.set_xticks(_spaced(values, np.log(values) if log else np.array(values)))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter(Ticks(own_decimals=True))
    axes.set(xlabel="Learning rate", ylabel="Mean test accuracy")
    if limits := _view(rates):
        axes.set_ylim(limits)
    percent_axis(axes.yaxis)
    name_curves([(axes, ends)], palette)
    headings, names = ["Initializer", *map(exact, values)], [row[0] for row in rows]
    numbers = describe_values(names, [row[1:] for row in rows], headings[1:])
    alternative = f"Test accuracy against the learning rate, {title}. {numbers}."
    return Drawing(canvas, alternative, headings, rows, title=title)


def _view(rates: pd.DataFrame) -> tuple[float, float] | None:
    """What the vertical axis shows if not all: the means at most 20 points behind the highest, with their intervals."""
    near = rates["mean_all"] >= rates["mean_all"].max() - 2 * MAX_COMPETING
    return zoomed(*(interval_ends(rows, "mean_all", "all_low", "all_high")[:3] for rows in (rates[near], rates)))


def _spaced(values: Sequence[float], positions: Any) -> list[float]:
    """Those of the values whose labels do not touch at these positions; the first and the last are among them."""
    room = (positions[-1] - positions[0]) / 6
    chosen = [0]
    for i in range(1, len(values)):
        last = i == len(values) - 1
        if positions[i] - positions[chosen[-1]] >= room and (last or positions[-1] - positions[i] >= room):
            chosen.append(i)
    return [values[i] for i in dict.fromkeys([*chosen, len(values) - 1])]
