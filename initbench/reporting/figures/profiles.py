"""Performance profiles: the share of an initializer's runs above each accuracy, with its band."""

import numpy as np
import pandas as pd

from initbench.reporting.figures.axes import panel, percent_axis
from initbench.reporting.figures.direct import LINE, End, line_style, name_curves, named
from initbench.reporting.figures.drawing import Drawing
from initbench.reporting.figures.style import report_style
from initbench.reporting.numbers import percent
from initbench.reporting.palette import Palette


@report_style
def profile(table: pd.DataFrame, palette: Palette) -> Drawing:
    """The profiles: a table of `stats.profiles`."""
    thresholds, names = sorted(set(table["threshold"])), [str(name) for name in dict.fromkeys(table["initializer"])]
    best = named(table.groupby("initializer", sort=False)["share"].mean())
    canvas, axes = panel(max(3.0, LINE * len(best) / 72 + 0.6))
    every = max(1, len(thresholds) // 8)
    for i, (name, rows) in enumerate(table.groupby("initializer", sort=False)):
        axes.plot(
            rows["threshold"], rows["share"], markevery=(i % every, every), **line_style(str(name), best, palette)
        )
        if name in best:
            colour = palette.light[str(name)]
            axes.fill_between(rows["threshold"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="Test accuracy τ", ylabel="Share of runs above τ", ylim=(-0.03, 1.03))
    for axis in (axes.xaxis, axes.yaxis):
        percent_axis(axis)
    # All curves end at a share of 0: their names are in the order of their accuracies, without lines to them.
    steps = np.linspace(1, 0, len(best) + 2)[1:-1]
    name_curves([(axes, [End(name, np.nan, y) for name, y in zip(best, steps, strict=True)])], palette)
    columns = np.linspace(0, len(thresholds) - 1, min(len(thresholds), 9)).round().astype(int)
    some = [thresholds[i] for i in columns]
    shares = table.pivot(index="initializer", columns="threshold", values="share").reindex(index=names)
    numbers = [[name, *(percent(shares.loc[name, t], 0) for t in some)] for name in names]
    values = "; ".join(f"{row[0]} {', '.join(row[1:])}" for row in numbers)
    headings = ["Share of runs above", *(percent(t) for t in some)]
    alternative = f"Performance profiles: share of runs above {', '.join(headings[1:])}: {values}."
    return Drawing(canvas, alternative, headings, numbers, title="Performance profiles")
