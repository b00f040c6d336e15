"""Forest plots: rows with a name at the left, a marker and its interval, and a number at the right."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from initbench.reporting.figures.axes import WIDTH, asked_width, percent_axis, reference_line, sized
from initbench.reporting.figures.drawing import Drawing, describe_values
from initbench.reporting.figures.labels import shorten, width_of, wrapped
from initbench.reporting.figures.style import GRID, INK, report_style
from initbench.reporting.limits import MAX_JOINED_SEEDS, MAX_NUMBER_LINE, MAX_ROW_NAME, MAX_SEEDS, MIN_ROW_NAME
from initbench.reporting.numbers import percent
from initbench.reporting.palette import Palette

# Pixels: an ordinary character, a row, what is above the rows and below them, the strip of what is far away and its
# distance, and the mark at the right.
LETTER, ROW, ABOVE, BELOW, STRIP, GAP, MARK = 6.4, 32.0, 4.0, 44.0, 40.0, 20.0, 12.0

# How much wider bold letters are, and by how many letters an @ is wider than one.
BOLD, WIDE = 1.12, 0.9

# The width of the axes in pixels for which names are broken earlier, and the least: in a figure that is too narrow for
# it, letters are smaller.
PLOT, MIN_PLOT = 90.0, 54.0

# Fractions: with a mean this much below the highest, none is far behind, and where no interval says how near means are.
NEAR, NEAR_ALONE = 0.015, 0.05

# What stands below the strip of those.
FAR_BEHIND = "far\nbehind"

# Ticks of an axis at most, less one, and the pixels between their labels.
MAX_TICKS, TICK_ROOM = 6, 8.0

# How far below a row's interval the dots of its seeds are, in rows.
DOTS = 0.26


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
    estimates = [table[column].to_numpy(float) for column in (value, "low", "high")]
    far = np.zeros(len(names), bool) if line is not None else behind(estimates[0], estimates[2], NEAR_ALONE)
    canvas, axes = panel_of_rows(names, numbers, strips=(bool(far.any()), False))
    near = [np.where(far, np.nan, values) for values in estimates]
    draw_intervals(axes, names, near, palette)
    zoom(axes, near)
    if line is not None:
        reference_line(axes, line)
        axes.set_xlim(-0.03, 1.03)
    axes.set(xlabel=label)
    label_ticks(axes, percent_axis)
    if far.any():
        draw_far(axes, np.flatnonzero(far), names, palette, "left", FAR_BEHIND)
    rows = [[name, number] for name, number in zip(names, numbers, strict=True)]
    headings = ["Initializer", f"{label}, and 95% interval"]
    return Drawing(canvas, f"{title}. {describe_values(names, numbers)}.", headings, rows, title=title)


def panel_of_rows(
    names: Sequence[str],
    numbers: Sequence[str],
    marks: Sequence[str] | None = None,
    strips: tuple[bool, bool] = (False, False),
    width: float = WIDTH,
    letters: int = MAX_ROW_NAME,
    bold: str = "",
) -> tuple[Figure, Any]:
    """A figure of this width in inches on the page, and its axes: row i is at y = i.

    Each row has its name at the left and its number, and a mark behind it, at the right, both broken into two lines at
    most; a line of a name has this number of letters, or fewer in a narrower figure. The name `bold` is bold. With
    `strips`, room is left for them at the left and at the right of the axes.
    """
    room = asked_width() or 96 * width
    marks = marks or [""] * len(names)
    right_texts = [_number(number) for number in numbers]
    right = _width(right_texts) * (BOLD if any(marks) else 1.0)
    end = right + 14 + MARK * any(marks) + (STRIP + GAP) * strips[1]
    for line in range(max(letters, round(letters * room / (96 * width))), MIN_ROW_NAME - 1, -1):
        fitting = [width_of(name) if _lines(name, line) else 2 * line - 1 for name in names]
        left_texts = ["\n".join(two_lines(name, line)) for name in shorten(names, fitting)]
        begin = _width(left_texts) * (BOLD if bold in names else 1.0) + 12 + (STRIP + GAP) * strips[0]
        if room - begin - end >= PLOT:
            break
    total, height = max(room, begin + end + MIN_PLOT), ROW * len(names) + ABOVE + BELOW
    canvas, unit = sized(total, height)
    axes = canvas.add_axes((begin / total, BELOW / height, 1 - (begin + end) / total, ROW * len(names) / height))
    across = blended_transform_factory(canvas.transFigure, axes.transData)
    for i, (name, number, mark) in enumerate(zip(left_texts, right_texts, marks, strict=True)):
        text: Any = {"transform": across, "va": "center", "fontsize": 9 * unit, "clip_on": False, "linespacing": 1.05}
        axes.text(4 / total, i, name, fontweight="bold" if names[i] == bold else "normal", **text)
        weight = "bold" if mark else "normal"
        axes.text(1 - (4 + MARK * any(marks)) / total, i, number, ha="right", fontweight=weight, **text)
        axes.text(1 - MARK / 2 / total, i, mark, ha="center", fontweight="bold", **text)
        if i:
            rule: Any = {"color": GRID, "linewidth": 0.6 * unit, "clip_on": False, "zorder": 0}
            axes.add_artist(Line2D([0, 1], [i - 0.5] * 2, transform=across, **rule))
    axes.set(ylim=(len(names) - 0.5, -0.5), yticks=[], ylabel="")
    axes.grid(visible=False, axis="y")
    axes.tick_params(labelsize=9 * unit)
    axes.xaxis.label.set_fontsize(9 * unit)
    return canvas, axes


def _width(texts: Sequence[str]) -> float:
    """The width of the longest line in pixels."""
    lines = [line for text in texts for line in text.split("\n")]
    return LETTER * max((width_of(line) + WIDE * line.count("@") for line in lines), default=0)


def _unit(axes: Any) -> float:
    """The size of the pixels and letters of a panel of rows: see `sized`."""
    canvas = axes.figure
    return float(96 * canvas.get_figheight() / (ROW * (axes.get_ylim()[0] + 0.5) + ABOVE + BELOW))


def draw_intervals(axes: Any, initializers: Sequence[str], estimates: Sequence[Any], palette: Palette) -> None:
    """Draw a marker and an interval in each row: `estimates` are the means, and the lower and upper ends; NaN: none."""
    unit = _unit(axes)
    for i, (name, middle, low, high) in enumerate(zip(initializers, *estimates, strict=True)):
        colour = palette.light.get(name, INK)
        if not (np.isnan(low) or np.isnan(high)):
            axes.plot([low, high], [i, i], color=colour, linewidth=2 * unit, solid_capstyle="butt")
        if not np.isnan(middle):
            marker = palette.markers.get(name, "o")
            axes.plot(middle, i, color=colour, marker=marker, markersize=6 * unit, linestyle="none")


def draw_seeds(
    axes: Any, values: np.ndarray, initializers: Sequence[str], palette: Palette, *, joined: bool = False
) -> np.ndarray:
    """Draw each row's seeds below its interval, and return what is drawn.

    `values` has the shape rows × seeds, with NaN where there is none. Up to `MAX_SEEDS` seeds are dots; of more, a bar
    has their middle half. With `joined`, a thin line joins the dots of each seed, of `MAX_JOINED_SEEDS` at most.
    """
    below, unit = np.arange(len(values)) + DOTS, _unit(axes)
    many = values.shape[1] > MAX_SEEDS
    if many:
        accuracies = [row[np.isfinite(row)] for row in values]
        values = np.array([np.quantile(row, [0.25, 0.75]) if len(row) else [np.nan, np.nan] for row in accuracies])
    elif joined and values.shape[1] <= MAX_JOINED_SEEDS:
        for seed in values.T:
            there = ~np.isnan(seed)
            axes.plot(seed[there], below[there], color=INK, alpha=0.3, linewidth=0.7 * unit, zorder=1.5)
    drawn: Any = {"linewidth": 4 * unit, "solid_capstyle": "butt", "alpha": 0.4}
    if not many:
        drawn = {"linestyle": "none", "marker": "o", "markersize": 3.5 * unit, "markeredgewidth": 0, "alpha": 0.55}
    for y, name, row in zip(below, initializers, values, strict=False):
        axes.plot(row, np.full(len(row), y), color=palette.light[name], **drawn)
    return values


def draw_far(
    axes: Any, rows: Iterable[int], initializers: Sequence[str], palette: Palette, side: str, label: str
) -> None:
    """Draw the strip at the `side` of the axes, left or right: each of these rows has its marker and an arrow away."""
    canvas, unit = axes.figure, _unit(axes)
    x0, y0, x1, y1 = axes.get_position().extents
    width, gap = (unit * pixels / (96 * canvas.get_figwidth()) for pixels in (STRIP, GAP))
    strip = canvas.add_axes((x0 - gap - width if side == "left" else x1 + gap, y0, width, y1 - y0))
    strip.patch.set(facecolor=INK, alpha=0.06)
    strip.set(xlim=(0, 1) if side == "left" else (1, 0), ylim=axes.get_ylim(), xticks=[], yticks=[])
    strip.grid(visible=False)
    for i in rows:
        colour, marker = palette.light.get(initializers[i], INK), palette.markers.get(initializers[i], "")
        strip.plot([0.2, 0.66], [i, i], color=colour, linewidth=1.5 * unit, solid_capstyle="butt")
        strip.plot(0.2, i, color=colour, marker="<" if side == "left" else ">", markersize=5 * unit, linestyle="none")
        strip.plot(0.66, i, color=colour, marker=marker, markersize=6 * unit, linestyle="none")
    strip.set_xlabel(label, fontsize=8 * unit, labelpad=3 * unit)
    if side == "left" and LETTER * width_of(axes.get_xlabel()) * unit > (x1 - x0) * 96 * canvas.get_figwidth():
        axes.xaxis.label.set(horizontalalignment="left", x=0)  # else it would touch the strip's


def zoom(axes: Any, values: Sequence[Any]) -> None:
    """Set the axis to all of these numbers, with room for markers at the ends."""
    drawn = np.concatenate([np.ravel(np.asarray(value, float)) for value in values])
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn):
        low, high = float(drawn.min()), float(drawn.max())
        margin = 0.06 * (high - low) or max(abs(high) * 1e-3, 1e-9)
        axes.set_xlim(low - margin, high + margin)


def behind(mean: np.ndarray, high: np.ndarray, near: float = NEAR) -> np.ndarray:
    """Which means are far behind the highest: by more than `near`, and by more than 4 times the half of its interval.

    `high` are the upper ends of the intervals; where that of the highest mean is unknown, `near` is 5 points at least.

    >>> behind(np.array([0.11, 0.935, 0.94]), np.array([0.11, 0.94, 0.941])).tolist()
    [True, False, False]
    """
    if not len(mean) or np.isnan(mean).all():
        return np.zeros(len(mean), bool)
    best = int(np.nanargmax(mean))
    half = high[best] - mean[best]
    return np.asarray(mean < mean[best] - max(near, NEAR_ALONE if np.isnan(half) else 4 * half))


def label_ticks(axes: Any, label: Callable[..., None]) -> None:
    """Label the axis with `percent_axis` or `number_axis`, at as many ticks as have room."""
    room = axes.get_position().width * 96 * axes.figure.get_figwidth() / _unit(axes)
    low, high = sorted(axes.get_xlim())
    for bins in range(MAX_TICKS, 1, -1):
        label(axes.xaxis, nbins=bins)
        ticks = [tick for tick in axes.xaxis.get_majorticklocs() if low <= tick <= high]
        if sum(TICK_ROOM + LETTER * len(text) for text in axes.xaxis.get_major_formatter().format_ticks(ticks)) <= room:
            break


def two_lines(name: str, width: int) -> list[str]:
    """Break a name of less than twice this width into two lines at most, before its parameters if both have room.

    An own function's name is broken before its digest, if its parameters have no line of their own.

    >>> two_lines("uniform(low=-0.2, high=0.2)", 22), two_lines("torch_linear_default", 17)
    (['uniform', '(low=-0.2, high=0.2)'], ['torch_linear_', 'default'])
    >>> two_lines("scaled_orthogonal@3f2a91(gain=1.3)", 17)
    ['scaled_orthogonal', '@3f2a91(gain=1.3)']
    """
    if lines := _lines(name, width):
        return lines
    end = next(end for end in range(len(name), 0, -1) if width_of(name[:end]) <= width)
    return [name[:end], name[end:]]


def _lines(name: str, width: int) -> list[str]:
    """Return a name in one line or two of this width, broken where a reader expects it; none if there is no such."""
    if width_of(name) <= width:
        return [name]
    for mark in "(@":
        head, _, rest = name.partition(mark)
        if rest and max(width_of(head), width_of(mark + rest)) <= width:
            return [head, mark + rest]
    parts = wrapped(name, width)
    return parts if len(parts) == 2 and max(map(width_of, parts)) <= width else []


def _number(text: str) -> str:
    """Break a long number after its value."""
    value, blank, interval = text.partition(" ")
    return f"{value}\n{interval}" if blank and len(text) > MAX_NUMBER_LINE else text
