"""Names of curves, at their right ends instead of in a legend; of many curves, those of the best and the worst."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from initbench.reporting.figures.axes import blank, page_width
from initbench.reporting.figures.labels import shorten
from initbench.reporting.figures.style import FONT, INK, SOFT
from initbench.reporting.layout import scaled
from initbench.reporting.limits import MAX_CURVE_NAME, MAX_NAMED_BEST, MAX_NAMED_CURVES
from initbench.reporting.palette import Palette

# Of the letters of a name, in points: their size, and from one line to the next. The page's letters may be higher.
LETTERS, LINE = 9.0, 12.0

# The width on the page, in inches, from which on two panels stand side by side.
MIN_SIDE_BY_SIDE = 7.2

# From a panel to the marks before the names and from there to the names, in points.
TO_MARK, TO_NAME = 14.0, 7.0

# Around a panel and its texts, in points.
ROOM = 3.0

# From a line of text to the next, relative to the size of its letters, as matplotlib spaces them.
LINE_SPACING = 1.2


@dataclass(frozen=True)
class End:
    """The last point of a curve, and the number that its name has where that point is outside of the panel.

    `arrow` is given where another point of it is outside: its name then has both. No line leads from a point without
    an x to the name.
    """

    name: str
    x: float
    y: float
    number: str = ""
    arrow: str = ""


def named(scores: pd.Series) -> list[str]:
    """The curves that have a colour and a name, from their scores: all, or of many those of the best and the worst.

    >>> named(pd.Series({"b": 0.1, "a": 0.9}))
    ['a', 'b']
    >>> " ".join(named(pd.Series({f"n{i}": float(i) for i in range(12)})))
    'n11 n10 n9 n8 n7 n6 n5 n2 n1 n0'
    """
    order = [str(name) for name in scores.sort_values(ascending=False, kind="stable").index]
    if len(order) <= MAX_NAMED_CURVES:
        return order
    return order[:MAX_NAMED_BEST] + order[MAX_NAMED_BEST - MAX_NAMED_CURVES :]


def line_style(name: str, names: Sequence[str], palette: Palette) -> dict[str, Any]:
    """How a curve is drawn: in its initializer's colour with its marker, or thin and grey if it has no name."""
    if name not in names:
        return {"color": SOFT, "linewidth": scaled(0.8), "alpha": 0.5, "zorder": 1.5}
    return {"color": palette.light[name], "marker": palette.markers[name], "markersize": scaled(5)}


def panels_of_curves(label: str, names: int, least: float, count: int = 2) -> tuple[Figure, Any]:
    """A figure and its panels with a common horizontal axis, beside which this number of names has room.

    `label` is that of the axis, and `least` the lowest height of a panel above another, in inches. They stand side by
    side where the page is wide enough.
    """
    height = max(least, LINE * names / 72)
    canvas = blank(count * height + 0.75)
    if page_width(canvas) < MIN_SIDE_BY_SIDE:
        panels = canvas.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    else:
        canvas.set_figheight(scaled(max(2.6, height + 0.6)))
        panels = canvas.subplots(1, count, sharex=True, squeeze=False)[0]
        for axes in panels[:-1]:
            axes.set(xlabel=label)
    panels[-1].set(xlabel=label)
    return canvas, panels


def name_curves(panels: Sequence[tuple[Any, Sequence[End]]], palette: Palette, bold: str = "") -> None:
    """Write the names at the right of each panel, next to the curves' ends, but so far apart that none touch.

    A mark before the name has the curve's colour and marker, and a thin line leads from the curve to it. The end of a
    curve that is outside of the panel has an arrow, and its number. The name `bold` is bold. The layout of the figure
    is final after this.
    """
    canvas = panels[0][0].figure
    columns = panels[0][0].get_gridspec().ncols
    most = max(10, round(MAX_CURVE_NAME * page_width(canvas) / columns))
    texts, widths = [], []
    for axes, ends in panels:
        below, above = sorted(axes.get_ylim())
        arrows = [end.arrow or ("↓" if end.y < below else "↑" if end.y > above else "") for end in ends]
        tails = [f" {arrow} {end.number}" if arrow else "" for arrow, end in zip(arrows, ends, strict=True)]
        short = shorten([end.name for end in ends], [max(6, most - len(tail)) for tail in tails])
        offset = {"xytext": (scaled(TO_MARK + TO_NAME), 0), "textcoords": "offset points", "va": "center_baseline"}
        weights = ["bold" if end.name == bold else "normal" for end in ends]
        style: Any = {"xycoords": "axes fraction", "fontsize": scaled(LETTERS), "color": INK, **offset}
        texts.append(
            [
                axes.annotate(name + tail, (1, 0.5), fontweight=weight, **style)
                for name, tail, weight in zip(short, tails, weights, strict=True)
            ]
        )
        lengths = [_text_size(text.get_text(), scaled(LETTERS), text.get_fontweight())[0] for text in texts[-1]]
        widths.append(scaled(TO_MARK + TO_NAME) + max(lengths, default=0.0))
    _arrange([(axes, width) for (axes, _), width in zip(panels, widths, strict=True)])
    for (axes, ends), names in zip(panels, texts, strict=True):
        _spread(axes, ends, names, palette)


def _arrange(panels: Sequence[tuple[Any, float]]) -> None:
    """Place panels side by side or below each other, all of one size, each with this much room for names.

    Each text is measured once for all figures. matplotlib's own layout measures all of them twice in each figure, which
    took a quarter of the time to draw all figures.
    """
    axes_of, rights = [axes for axes, _ in panels], [names for _, names in panels]
    width, height = 72 * axes_of[0].figure.get_size_inches()
    side_by_side = axes_of[0].get_gridspec().ncols > 1
    room, half = scaled(ROOM), _text_size("0", mpl.rcParams["font.size"])[1] / 2  # of a label at the upper edge
    bottom = max(_below(axes) for axes in axes_of if side_by_side or axes is axes_of[-1])
    above = room + half
    rows = 1 if side_by_side else len(panels)
    panel = (height - bottom - room - above) / rows - (rows - 1) / rows * (above + room)
    lows = [
        bottom + room + (0 if side_by_side else len(panels) - 1 - i) * (panel + above + room)
        for i in range(len(panels))
    ]
    for axes, low in zip(axes_of, lows, strict=True):  # the height decides which ticks an axis has
        axes.set_position((0, low / height, 1, panel / height))
    lefts = [_left(axes) for axes in axes_of]
    if not side_by_side:
        lefts, rights = [max(lefts)] * len(panels), [max(rights)] * len(panels)
    margins = [left + names + 2 * room for left, names in zip(lefts, rights, strict=True)]
    across = (width - sum(margins)) / len(panels) if side_by_side else width - margins[0]
    begins = [room + left + (i * across + sum(margins[:i]) if side_by_side else 0) for i, left in enumerate(lefts)]
    for axes, begin, low in zip(axes_of, begins, lows, strict=True):
        axes.set_position((begin / width, low / height, across / width, panel / height))


def _left(axes: Any) -> float:
    """The width of the labels at the left of a panel, in points."""
    axis, sizes = axes.yaxis, mpl.rcParams
    low, high = sorted(axis.get_view_interval())
    ticks = axis.get_majorticklocs()
    labels = axis.get_major_formatter().format_ticks(ticks)
    shown = [label for label, tick in zip(labels, ticks, strict=True) if low <= tick <= high]
    widest = max((_text_size(label, sizes["font.size"])[0] for label in shown), default=0.0)
    pads = sizes["ytick.major.size"] + sizes["ytick.major.pad"] + sizes["axes.labelpad"]
    return float(widest + pads + _text_size(axis.label.get_text(), sizes["font.size"])[1])


def _below(axes: Any) -> float:
    """The height of the labels below a panel, in points."""
    sizes = mpl.rcParams
    pads = sizes["xtick.major.size"] + sizes["xtick.major.pad"] + sizes["axes.labelpad"]
    texts = ("0", axes.xaxis.label.get_text())
    return float(pads + sum(_text_size(text, sizes["font.size"])[1] for text in texts))


@cache
def _text_size(text: str, size: float, weight: str = "normal") -> tuple[float, float]:
    """The width and the height of a string in points, whose letters have this size."""
    font = FontProperties(family=FONT, size=size, weight=weight)
    lines = [text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] for line in text.split("\n")]
    return max(lines), size * LINE_SPACING * len(lines)


def _spread(axes: Any, ends: Sequence[End], names: Sequence[Any], palette: Palette) -> None:
    """Move each name next to the end of its curve, and draw the mark before it and the line to it."""
    width, height = axes.get_position().size * axes.figure.get_size_inches() * 72
    to_fraction = axes.transData + axes.transAxes.inverted()
    left = axes.get_xlim()[0]
    points = [to_fraction.transform((left if np.isnan(end.x) else end.x, end.y)) for end in ends]
    heights = apart([y for _, y in points], scaled(LINE) / height, 0, 1)
    mark = 1 + scaled(TO_MARK) / width
    for end, point, y, text in zip(ends, points, heights, names, strict=True):
        text.xy = (1, y)
        colour = palette.light[end.name]
        common = {"color": colour, "transform": axes.transAxes, "clip_on": False}
        if 0 <= point[1] <= 1 and not np.isnan(end.x):
            axes.plot([point[0], mark], [point[1], y], linewidth=scaled(0.8), alpha=0.7, zorder=1.8, **common)
        axes.plot(mark, y, marker=palette.markers[end.name], markersize=scaled(5), linestyle="none", **common)


def _ascending(values: Any) -> Any:
    """The ascending sequence with the least sum of squares of differences to the values, by the max-min formula.

    Of the means of values i to j, entry k is the largest over i ≤ k of the least over j ≥ k: Robertson, Wright &
    Dykstra, Order restricted statistical inference (1988), theorem 1.4.4. Importing scipy.optimize for the few names of
    a panel takes longer than all panels.

    >>> _ascending(np.array([0.0, 3.0, 1.0, 4.0])).tolist()
    [0.0, 2.0, 2.0, 4.0]
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    i, j = np.arange(len(values))[:, None], np.arange(len(values))
    means = np.where(j >= i, (sums[1:] - sums[:-1, None]) / np.maximum(j - i + 1, 1), np.inf)
    least = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
    return np.where(j >= i, least, -np.inf).max(axis=0)


def apart(wanted: Any, distance: float, low: float, high: float) -> Any:
    """The positions closest to the wanted ones, in their order, of lines that do not touch and stay in a range.

    Those outside of the range count as its ends. The sum of squares of what each is moved by is the least: after
    subtraction of `distance` from each line to the next, that is an isotonic regression. Lines that do not fit are
    evenly spaced.

    >>> apart([0.5, 0.5, 0.9], 0.1, 0.0, 1.0).round(3).tolist()
    [0.45, 0.55, 0.9]
    >>> apart([1.0, -5.0], 0.1, 0.0, 1.0).round(3).tolist()
    [0.95, 0.05]
    """
    wanted = np.asarray(wanted, float)
    low, high = low + distance / 2, high - distance / 2
    distance = min(distance, (high - low) / max(1, len(wanted) - 1))
    order = np.argsort(wanted, kind="stable")
    steps = distance * np.arange(len(wanted))
    placed = np.empty(len(wanted))
    if len(wanted):
        moved = _ascending(np.clip(wanted[order], low, high) - steps)
        placed[order] = np.clip(moved, low, high - steps[-1]) + steps
    return placed
