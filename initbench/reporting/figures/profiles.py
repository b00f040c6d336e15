"""Performance profiles: the share of an initializer's runs above each accuracy, with its band."""

import numpy as np
import pandas as pd

from initbench.reporting.figures.axes import panel, percent_axis
from initbench.reporting.figures.drawing import Drawing
from initbench.reporting.figures.style import Palette, report_style
from initbench.reporting.numbers import percent


@report_style
def profile(table: pd.DataFrame, palette: Palette) -> Drawing:
    """The profiles: a table of `stats.profiles`."""
    canvas, axes = panel(3.4)
    thresholds, names = sorted(set(table["threshold"])), [str(name) for name in dict.fromkeys(table["initializer"])]
    every = max(1, len(thresholds) // 8)
    for i, (name, rows) in enumerate(table.groupby("initializer", sort=False)):
        colour, marker = palette.light[str(name)], palette.markers[str(name)]
        axes.plot(
            rows["threshold"], rows["share"], color=colour, marker=marker, markersize=5, markevery=(i % every, every)
        )
        axes.fill_between(rows["threshold"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="Test accuracy τ", ylabel="Share of runs above τ", ylim=(-0.03, 1.03))
    for axis in (axes.xaxis, axes.yaxis):
        percent_axis(axis)
    columns = np.linspace(0, len(thresholds) - 1, min(len(thresholds), 9)).round().astype(int)
    some = [thresholds[i] for i in columns]
    shares = table.pivot(index="initializer", columns="threshold", values="share").reindex(index=names)
    numbers = [[name, *(percent(shares.loc[name, t], 0) for t in some)] for name in names]
    values = "; ".join(f"{row[0]} {', '.join(row[1:])}" for row in numbers)
    headings = ["Share of runs above", *(percent(t) for t in some)]
    alternative = f"Performance profiles: share of runs above {', '.join(headings[1:])}: {values}."
    return Drawing(canvas, alternative, headings, numbers, names, "Performance profiles")
