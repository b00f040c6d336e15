"""Learning curves: training loss and validation accuracy against the epoch, with the 95% intervals of the means."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker

from initbench.reporting.figures.axes import Ticks, interval_ends, number_axis, panel, percent_axis
from initbench.reporting.figures.drawing import Drawing
from initbench.reporting.figures.style import Palette, report_style
from initbench.reporting.limits import MAX_EPOCHS, MAX_HALF_WIDTH
from initbench.reporting.numbers import percent


@report_style
def learning_curve(loss: pd.DataFrame, validation: pd.DataFrame, palette: Palette, title: str) -> Drawing:
    """The article's curve, training loss against the epoch, and below it the validation accuracy: from `curves`.

    On a logarithmic axis a band that reaches zero or less leaves the panel.
    """
    loss = loss[(loss["epoch"] > 0) & loss["mean"].notna()]
    validation = validation[validation["mean"].notna()]
    canvas, (upper, lower) = panel(5.0, 2)
    _curves(upper, loss, palette)
    _curves(lower, validation, palette, accuracy=True)
    if len(loss) and loss["mean"].min() > 0 and loss["mean"].max() > 30 * loss["mean"].min():
        upper.set_yscale("log")
        upper.yaxis.set_minor_formatter(ticker.NullFormatter())
    upper.yaxis.set_major_formatter(Ticks(own_decimals=upper.get_yscale() == "log"))
    upper.set(xlabel="Epoch", ylabel="Training loss")
    lower.set(xlabel="Epoch", ylabel="Validation accuracy")
    percent_axis(lower.yaxis)
    upper.set_xlim(lower.get_xlim())
    for axes in (upper, lower):
        number_axis(axes.xaxis, integer=True, nbins=6)
    sentences = []
    for name, group in loss.groupby("initializer", sort=False):
        ends = validation.loc[validation["initializer"] == name, "mean"]
        reached = f", validation accuracy from {percent(ends.iloc[0])} to {percent(ends.iloc[-1])}"
        sentences.append(f"{name}: loss from {group['mean'].iloc[0]:.3g} to {group['mean'].iloc[-1]:.3g}{reached}")
    curves = "; ".join(sentences) or "no run has a finite loss"
    alternative = f"Training loss and validation accuracy against epoch, {title}. Means over seeds, {curves}."
    names = [str(name) for name in dict.fromkeys(validation["initializer"])]
    return Drawing(canvas, alternative, *_by_epoch(loss, validation), legend=names, title=title)


def _curves(axes: Any, table: pd.DataFrame, palette: Palette, *, accuracy: bool = False) -> None:
    """Draw means by epoch with the bands of their intervals."""
    every = max(1, int(table["epoch"].max() if len(table) else 1) // 10)
    for name, rows in table.groupby("initializer", sort=False):
        colour = palette.light[str(name)]
        axes.plot(
            rows["epoch"], rows["mean"], color=colour, marker=palette.markers[str(name)], markersize=5, markevery=every
        )
        low, high = interval_ends(rows, "mean", "low", "high")[1:3] if accuracy else (rows["low"], rows["high"])
        low, high = (np.where(np.isnan(end), rows["mean"], end) for end in (low, high))
        axes.fill_between(rows["epoch"], low, high, color=colour, alpha=0.2, linewidth=1)


def _by_epoch(loss: pd.DataFrame, validation: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """The means as a table: a row for each curve, a column for each of some epochs."""
    last = int(validation["epoch"].max()) if len(validation) else 0
    epochs = sorted({0, *np.linspace(0, last, min(last + 1, MAX_EPOCHS)).round().astype(int).tolist()})
    rows = []
    for name in dict.fromkeys(validation["initializer"]):
        for curve, table, show, show_half in (
            ("loss", loss, "{:.4g}".format, "{:.2g}".format),
            ("validation", validation, lambda v: percent(v, 1), _half_width),
        ):
            at = table[table["initializer"] == name].set_index("epoch")
            half = (at["high"] - at["low"]) / 2
            cells = {
                e: show(at.loc[e, "mean"]) + ("" if pd.isna(half[e]) else f" ± {show_half(half[e])}") for e in at.index
            }
            rows.append([f"{name}, {curve}", *(cells.get(e, "–") for e in epochs)])
    return ["Mean at epoch, and 95% interval", *map(str, epochs)], rows


def _half_width(width: float) -> str:
    """Half the width of an accuracy's interval, in points."""
    return f"over {100 * MAX_HALF_WIDTH:.0f}" if width > MAX_HALF_WIDTH else f"{100 * width:.1f}"
