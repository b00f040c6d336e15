"""Learning curves: training loss and validation accuracy against the epoch, with the 95% intervals of the means."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from initbench.reporting.figures.axes import (
    interval_ends,
    log_axis,
    number_axis,
    percent_axis,
    zoomed,
)
from initbench.reporting.figures.direct import End, line_style, name_curves, named, panels_of_curves
from initbench.reporting.figures.drawing import Drawing
from initbench.reporting.figures.style import report_style
from initbench.reporting.limits import MAX_COMPETING, MAX_EPOCHS, MAX_HALF_WIDTH, MAX_NAMED_CURVES, MIN_LOG_RATIO
from initbench.reporting.numbers import percent
from initbench.reporting.palette import Palette


@report_style
def learning_curve(loss: pd.DataFrame, validation: pd.DataFrame, palette: Palette, title: str) -> Drawing:
    """The article's curve, training loss against the epoch, and the validation accuracy: from `curves`.

    The two panels stand side by side where there is room, and else below each other. Of many initializers those with
    the highest and those with the lowest accuracies at the end are named, the others grey. `view` decides what of the
    curves is in a panel.
    """
    loss = loss[(loss["epoch"] > 0) & loss["mean"].notna()]
    validation = validation[validation["mean"].notna()]
    ends = validation.groupby("initializer", sort=False)["mean"].last()
    names = named(ends)
    competing = ends.index[ends >= min(ends.max() - MAX_COMPETING, ends.nlargest(2).min())]
    canvas, panels = panels_of_curves("Epoch", min(len(ends), MAX_NAMED_CURVES), 1.75)
    labels = []
    for axes, table, show in zip(panels, (loss, validation), ("{:.3g}".format, percent), strict=True):
        rows = table.sort_values("epoch", kind="stable")
        _curves(axes, rows, names, palette, accuracy=table is validation)
        log, limits = view(rows, competing, accuracy=table is validation)
        if log:
            log_axis(axes.yaxis)
        elif table is loss:
            number_axis(axes.yaxis, nbins=6)
        if limits:
            axes.set_ylim(limits)
        last = rows.drop_duplicates("initializer", keep="last").set_index("initializer")
        labels.append(
            [End(n, last["epoch"][n], last["mean"][n], show(last["mean"][n])) for n in names if n in last.index]
        )
    upper, lower = panels
    percent_axis(lower.yaxis)
    upper.set(ylabel="Training loss")
    lower.set(ylabel="Validation accuracy")
    first, final = validation["epoch"].min(), validation["epoch"].max()
    if final > first + 1 and validation.loc[validation["epoch"] == first, "mean"].max() < lower.get_ylim()[0]:
        first += 1  # all curves come from below
    room = 0.04 * (final - first or 1)
    lower.set_xlim(first - room, final + room)
    number_axis(lower.xaxis, integer=True)
    name_curves(list(zip(panels, labels, strict=True)), palette)
    sentences = []
    for name, group in loss.groupby("initializer", sort=False):
        of_name = validation.loc[validation["initializer"] == name, "mean"]
        reached = f", validation accuracy from {percent(of_name.iloc[0])} to {percent(of_name.iloc[-1])}"
        sentences.append(f"{name}: loss from {group['mean'].iloc[0]:.3g} to {group['mean'].iloc[-1]:.3g}{reached}")
    curves = "; ".join(sentences) or "no run has a finite loss"
    alternative = f"Training loss and validation accuracy against epoch, {title}. Means over seeds, {curves}."
    return Drawing(canvas, alternative, *_by_epoch(loss, validation), title=title)


def view(table: pd.DataFrame, competing: Collection[str], *, accuracy: bool) -> tuple[bool, tuple[float, float] | None]:
    """Whether the vertical axis is logarithmic, and what it shows if not all.

    A panel shows the means and intervals of the initializers that compete (those at most 10 points behind the highest
    accuracy, and the second) from a quarter of the epochs on, if that is less than half as high as all. Other curves
    then leave the panel. A loss is on a logarithmic axis if the highest mean that is shown is more than 10 times the
    lowest, and none is 0 or less; there an interval that reaches 0 or less leaves the panel.
    """
    begin = max(1, math.ceil(table["epoch"].max() / 4)) if len(table) else 1
    compared = table[table["initializer"].isin(competing) & (table["epoch"] >= begin)]
    if compared.empty:
        compared = table
    means = compared["mean"]
    log = bool(not accuracy and len(means) and means.min() > 0 and means.max() > MIN_LOG_RATIO * means.min())
    some, every = (interval_ends(rows, "mean", "low", "high", cut=accuracy)[:3] for rows in (compared, table))
    return log, zoomed(some, every, log=log)


def _curves(axes: Any, table: pd.DataFrame, names: Sequence[str], palette: Palette, *, accuracy: bool) -> None:
    """Draw means by epoch, with the bands of their intervals where they have names."""
    every = max(1, int(table["epoch"].max() if len(table) else 1) // 10)
    for name, rows in table.groupby("initializer", sort=False):
        epochs, (mean, low, high, _) = (
            rows["epoch"].to_numpy(),
            interval_ends(rows, "mean", "low", "high", cut=accuracy),
        )
        axes.plot(epochs, mean, markevery=every, **line_style(str(name), names, palette))
        if name in names:
            low, high = (np.where(np.isnan(end), mean, end) for end in (low, high))
            axes.fill_between(epochs, low, high, color=palette.light[str(name)], alpha=0.2, linewidth=0)


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
            at = table[table["initializer"] == name]
            mean, low, high = (at[column].to_numpy(float) for column in ("mean", "low", "high"))
            cells = {
                epoch: show(value) + ("" if np.isnan(half) else f" ± {show_half(half)}")
                for epoch, value, half in zip(at["epoch"], mean, (high - low) / 2, strict=True)
            }
            rows.append([f"{name}, {curve}", *(cells.get(e, "–") for e in epochs)])
    return ["Mean at epoch, and 95% interval", *map(str, epochs)], rows


def _half_width(width: float) -> str:
    """Half the width of an accuracy's interval, in points."""
    return f"over {100 * MAX_HALF_WIDTH:.0f}" if width > MAX_HALF_WIDTH else f"{100 * width:.1f}"
