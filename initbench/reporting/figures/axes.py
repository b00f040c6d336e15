"""Elements that panels share: size, accuracy axis, ticks, titles and reference lines."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from initbench.reporting.figures.style import INK
from initbench.reporting.layout import layout, scaled
from initbench.reporting.limits import MAX_HALF_WIDTH
from initbench.reporting.numbers import exact, ticks

# A panel has a phone's width, in inches; panels stand side by side where there is room.
WIDTH = 4.6


def panel(height: float, rows: int = 1, width: float = WIDTH) -> tuple[Figure, Any]:
    """A figure of this size in inches on the page, and its axes: one, or an array of them below each other."""
    canvas = blank(height, width)
    return canvas, canvas.subplots(rows, 1)


def blank(height: float, width: float = WIDTH) -> Figure:
    """A figure without axes, of this size in inches on the page; elsewhere in the size that the layout asks for."""
    canvas = Figure(figsize=(layout().width or scaled(width), scaled(height)))
    FigureCanvasAgg(canvas)
    return canvas


def asked_width() -> float | None:
    """The width in pixels that the layout asks for, if letters had the page's size; None if each figure has its own."""
    wanted = layout()
    return 96 * wanted.width / wanted.scale if wanted.width else None


def sized(width: float, height: float) -> tuple[Figure, float]:
    """A figure without axes, of this size in pixels on the page, and how large its pixels and letters are.

    That is the scale of the layout, or less where the layout is narrower than the figure can be.
    """
    wanted = layout()
    unit = min(wanted.scale, 96 * wanted.width / width) if wanted.width else wanted.scale
    canvas = Figure(figsize=(wanted.width or unit * width / 96, unit * height / 96))
    FigureCanvasAgg(canvas)
    return canvas, unit


def page_width(canvas: Figure) -> float:
    """A figure's width in inches, if its letters had the page's size."""
    return float(canvas.get_figwidth()) / layout().scale


def interval_ends(
    table: pd.DataFrame, mean: str, low: str, high: str, *, cut: bool = True
) -> tuple[Any, Any, Any, Any]:
    """Means, the ends of their intervals, those of accuracies cut as `interval` cuts them, and which are cut."""
    middle, lower, upper = (table[column].to_numpy(float) for column in (mean, low, high))
    wide = ((upper - lower) / 2 > MAX_HALF_WIDTH) & cut
    lower, upper = np.where(wide, middle - MAX_HALF_WIDTH, lower), np.where(wide, middle + MAX_HALF_WIDTH, upper)
    return middle, lower, upper, wide


def zoomed(some: Sequence[Any], every: Sequence[Any], *, log: bool = False) -> tuple[float, float] | None:
    """The ends of an axis that shows some values, if they are less than half as far apart as all; else None.

    >>> zoomed([[0.9, 0.92]], [[0.1, 0.9, 0.92]])
    (0.8988, 0.9212)
    >>> zoomed([[0.5, 0.92]], [[0.1, 0.92]])
    """
    near, far = (np.concatenate(values) for values in (some, every))
    near, far = (values[(values > 0) if log else ~np.isnan(values)] for values in (near, far))
    if log:
        near, far = np.log(near), np.log(far)
    if not len(near) or np.ptp(near) >= np.ptp(far) / 2:
        return None
    room = 0.06 * float(np.ptp(near)) or 1e-3
    low, high = float(near.min() - room), float(near.max() + room)
    return (math.exp(low), math.exp(high)) if log else (low, high)


class Ticks(ticker.Formatter):
    """Labels that are the ticks' exact values, times `scale` and with `unit`.

    All have the same decimals; with `own_decimals`, for logarithmic axes, each has those that it needs.
    """

    def __init__(self, scale: float = 1.0, unit: str = "", *, own_decimals: bool = False) -> None:
        self.scale, self.unit, self.own_decimals = scale, unit, own_decimals

    def __call__(self, value: float, pos: int | None = None) -> str:
        """The label of one tick."""
        return self.format_ticks([value])[0]

    def format_ticks(self, values: Any) -> list[str]:
        """The labels of all ticks of an axis."""
        scaled = [self.scale * float(value) for value in values]
        return [exact(value) for value in scaled] if self.own_decimals else ticks(scaled, self.unit)


class Locator(ticker.MaxNLocator):
    """At most `most` intervals between ticks at plain numbers, and fewer where labels would touch."""

    def __init__(self, most: int, **settings: Any) -> None:
        super().__init__(most, steps=[1, 2, 2.5, 5, 10], **settings)
        self.most = most

    def __call__(self) -> Any:
        """The ticks."""
        axis: Any = self.axis
        across = axis.axis_name == "x"
        low, high = sorted(axis.get_view_interval())
        length = (axis.axes.get_position().size * axis.axes.figure.get_size_inches())[0 if across else 1] * 72
        letter = axis.get_major_ticks(1)[0].label1.get_fontsize()
        for bins in range(self.most, 0, -1):
            self.set_params(nbins=bins)
            values = np.asarray(super().__call__())
            shown = values[(values >= low) & (values <= high)]
            # A letter is about 0.65 times as wide as high, and labels are apart by as much as a letter is high.
            widest = 0.65 * max(map(len, axis.get_major_formatter().format_ticks(shown)), default=0) + 1
            apart = np.diff(shown).min() * length / (high - low) if len(shown) > 1 else np.inf
            if apart >= letter * (widest if across else 1.6):
                return values
        return shown[[0, -1]]


class AccuracyTicks(Locator):
    """Ticks from 0 to 1 only: intervals can end beyond, accuracies cannot."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """The ticks for an axis with these ends."""
        values = np.asarray(super().tick_values(vmin, vmax))
        return values[(values > -1e-9) & (values < 1 + 1e-9)]


def percent_axis(axis: Any, nbins: int = 5) -> None:
    """Label an axis of accuracies in percent, with at most `nbins` intervals between ticks."""
    axis.set_major_locator(AccuracyTicks(nbins))
    axis.set_major_formatter(Ticks(100, "%"))


def number_axis(axis: Any, nbins: int = 6, **locator: Any) -> None:
    """Label an axis with exact numbers, at the ticks of a `Locator`."""
    axis.set_major_locator(Locator(nbins, **locator))
    axis.set_major_formatter(Ticks())


def log_axis(axis: Any) -> None:
    """Make an axis logarithmic, with ticks between the powers of ten where it has few of them."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_minor_formatter(ticker.NullFormatter())
    axis.set_major_formatter(Ticks(own_decimals=True))


def reference_line(axes: Any, x: float) -> None:
    """Draw a dashed vertical line."""
    axes.axvline(x, color=INK, linewidth=scaled(1), linestyle=(0, (4, 3)))
