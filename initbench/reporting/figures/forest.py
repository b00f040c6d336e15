"""Forest plots: a row for each name, with its marker, its interval as a bar, and its name and number above."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from initbench.reporting.figures.axes import WIDTH, panel, percent_axis, reference_line
from initbench.reporting.figures.drawing import Drawing, describe_values
from initbench.reporting.figures.labels import shorten
from initbench.reporting.figures.style import GROUND, Palette, report_style
from initbench.reporting.limits import MAX_ROW_LABEL
from initbench.reporting.numbers import percent


@report_style
def intervals(
    table: pd.DataFrame, value: str, palette: Palette, title: str, label: str, line: float | None = None
) -> Drawing:
    """A fraction with its interval for each initializer: the columns `value`, `low` and `high`."""
    names = list(table["initializer"])
    numbers = [
        percent(row[value]) + ("" if pd.isna(row["low"]) else f" ({percent(row['low'])} to {percent(row['high'])})")
        for _, row in table.iterrows()
    ]
    canvas, axes = panel(0.44 * len(names) + 0.8)
    forest(axes, names, [table[column].to_numpy(float) for column in (value, "low", "high")], palette, numbers)
    if line is not None:
        reference_line(axes, line)
        axes.set_xlim(-0.03, 1.03)
    axes.set(xlabel=label)
    percent_axis(axes.xaxis)
    rows = [[name, number] for name, number in zip(names, numbers, strict=True)]
    headings = ["Initializer", f"{label}, and 95% interval"]
    return Drawing(canvas, f"{title}. {describe_values(names, numbers)}.", headings, rows, title=title)


def forest(
    axes: Any,
    names: Sequence[str],
    estimates: Sequence[Any],
    palette: Palette,
    numbers: Sequence[str],
    initializers: Sequence[str] | None = None,
) -> None:
    """Draw the rows: `estimates` are the means, and the lower and the upper ends of their intervals.

    `initializers` set the colours, where names are longer.
    """
    middle, low, high = estimates
    for i, name in enumerate(initializers or names):
        colour = palette.light[name]
        if not (np.isnan(low[i]) or np.isnan(high[i])):
            axes.plot([low[i], high[i]], [i, i], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(middle[i], i, color=colour, marker=palette.markers[name], markersize=6, linestyle="none")
    axes.margins(x=0.08)
    label_rows(axes, names, numbers)


def label_rows(axes: Any, names: Sequence[str], numbers: Sequence[str]) -> None:
    """Write each name and its number above its row, and not beside it, so that a panel fits a phone."""
    axes.set(ylim=(len(names) - 0.6, -0.75), yticks=[], ylabel="")
    axes.grid(visible=False, axis="y")
    box = {"boxstyle": "square,pad=0.1", "facecolor": GROUND, "edgecolor": "none"}  # hides the lines behind the text
    above: Any = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 9, "bbox": box}
    width = round(MAX_ROW_LABEL * axes.figure.get_figwidth() / WIDTH)
    short = shorten(names, [max(12, width - len(text)) for text in numbers])
    for i, (name, text) in enumerate(zip(short, numbers, strict=True)):
        axes.annotate(name, (0.01, i - 0.42), **above)
        axes.annotate(text, (0.99, i - 0.42), ha="right", **above)
