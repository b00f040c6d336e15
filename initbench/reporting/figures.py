"""The report's figures, by seaborn: a table in, a figure out, with what it shows in words and its numbers.

The numbers come from `stats`. A figure becomes a part of the page, in the page's colours (`inline`), or a file of its
own (`save`). What is drawn is what the table says: no interval ends at a panel's edge, and a tick's label is its value.
"""

import io
import math
import re
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import font_manager, ticker
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.text import Text

from initbench.reporting import svg, words
from initbench.reporting.style import FONT, GRID, GROUND, INK, style, styled

MARKERS = "osD^vPX*<>hdp8H"

# Colours of initializers on white and on near black, 3:1 or more against their ground (WCAG 2.2, 1.4.11) and apart for
# the colour-blind; the page takes them from its style, so that one drawing serves light and dark.
LIGHT = ("#0872c7", "#f63318", "#00a560", "#210005", "#b2709a", "#6b3a00", "#0b4b75", "#a03156", "#470b8b", "#6fa039")
DARK = ("#7ebef4", "#e95f21", "#69ffbc", "#cbf8ff", "#d587a6", "#e4cc09", "#4778b0", "#bb5a4c", "#9a88ff", "#efff80")

# What an initializer's standing adds to its number.
MARKS = {"best": "•", "open": "◦", "": ""}

# More dots than these are drawn as one image: as marks of an SVG they would be a page of hundreds of megabytes.
MAX_MARKS = 2_000

# One panel is drawn for a phone's width, and panels stand side by side where there is room.
WIDTH = 4.6


@dataclass(frozen=True)
class Look:
    """One colour and one marker for each initializer, throughout the report."""

    light: dict[str, str]
    dark: dict[str, str]
    markers: dict[str, str]

    @classmethod
    def of(cls, initializers: Sequence[str]) -> "Look":
        """A look for these initializers; beyond ten, evenly spaced hues, which the markers help to tell apart."""
        light, dark = LIGHT, DARK
        if len(initializers) > len(LIGHT):
            light, dark = (
                tuple(sns.husl_palette(len(initializers), s=0.9, l=l).as_hex())
                for l in (0.5, 0.75)  # noqa: E741
            )
        return cls(
            dict(zip(initializers, light, strict=False)),
            dict(zip(initializers, dark, strict=False)),
            {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(initializers)},
        )

    @property
    def style(self) -> str:
        """The colours as a style sheet: light, dark where that is asked for, and light on paper."""
        light, dark = (
            "".join(f"--c{i}: {colour}; " for i, colour in enumerate(colours.values()))
            for colours in (self.light, self.dark)
        )
        return (
            f":root {{ {light}}}\n"
            f'@media (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {{ {dark}}} }}\n'
            f':root[data-theme="dark"] {{ {dark}}}\n'
            f'@media print {{ :root, :root:not([data-theme="light"]), :root[data-theme="dark"] {{ {light}}} }}'
        )


@dataclass(frozen=True)
class Drawing:
    """A figure, what it shows in words, and its numbers as a table: headings, and rows that begin with a name."""

    canvas: Canvas
    alternative: str
    headings: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    legend: list[str] = field(default_factory=list)  # the initializers that it does not name; on the page a list does

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = self.canvas.get_size_inches() * 96
        return round(width), round(height)


def inline(drawing: Drawing, look: Look, prefix: str = "") -> str:
    """The figure as an SVG element for the page: its text in the page's font, its colours from the page's style.

    The names of its parts begin with `prefix`, so that many figures stand on one page.
    """
    buffer = io.StringIO()
    with style(**{"svg.fonttype": "none"}):
        drawing.canvas.savefig(buffer, format="svg", transparent=True, metadata=DATELESS["svg"])
    width, height = drawing.size
    root = {
        "xmlns": "http://www.w3.org/2000/svg",
        "xmlns:xlink": "http://www.w3.org/1999/xlink",
        "role": "img",
        "aria-label": drawing.alternative,
        "width": str(width),
        "height": str(height),
    }
    colours = {INK: "var(--ink)", GRID: "var(--line)", GROUND: "var(--ground)"}
    colours |= {hexed: f"var(--c{i})" for i, hexed in enumerate(look.light.values())}
    return svg.for_page(buffer.getvalue(), colours, root, prefix)


# What a file of each kind says of itself: nothing that changes from one time to the next.
DATELESS: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None},
    "png": {},
}


def save(drawing: Drawing, look: Look, form: str) -> bytes:
    """The figure as a file for a paper: `svg` (letters as outlines), `pdf` (fonts embedded) or `png` (300 dpi).

    Where curves have no names, a legend stands below them.
    """
    buffer = io.BytesIO()
    with style(**{"svg.fonttype": "path", "pdf.fonttype": 42}):
        if drawing.legend:
            columns = 1 if max(map(len, drawing.legend)) > 30 else 2
            width, height = drawing.canvas.get_size_inches()
            drawing.canvas.set_size_inches(width, height + 0.2 * math.ceil(len(drawing.legend) / columns))
            handles = [
                Line2D([], [], color=look.light[name], marker=look.markers[name], markersize=5, label=name)
                for name in drawing.legend
            ]
            drawing.canvas.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
        for text in drawing.canvas.findobj(Text):
            families = [family for char in sorted(_lacking(text.get_text())) if (family := _family_with(char))]
            if families:
                text.set_fontfamily([FONT, *dict.fromkeys(families)])
        drawing.canvas.savefig(buffer, format=form, dpi=300, facecolor="white", metadata=DATELESS[form])
    return buffer.getvalue()


def undrawable(drawing: Drawing) -> set[str]:
    """The characters of a figure that no font of this machine has: a file shows boxes in their place."""
    with style():
        texts = [*(text.get_text() for text in drawing.canvas.findobj(Text)), *drawing.legend]
        return {char for char in _lacking("".join(texts)) if not _family_with(char)}


def _lacking(text: str) -> set[str]:
    """The characters that the figures' font lacks, without those that are not drawn, such as joiners."""
    drawn = {char for char in text if char > "~" and unicodedata.category(char) not in ("Cc", "Cf", "Cn", "Zs")}
    variants = {char for char in drawn if "VARIATION SELECTOR" in unicodedata.name(char, "")}
    font = font_manager.get_font(font_manager.findfont(FONT))
    return {char for char in drawn - variants if not font.get_char_index(ord(char))}


@cache
def _family_with(char: str) -> str | None:
    """The family of an installed font that draws this character, or None."""
    manager = font_manager.fontManager
    known = sorted(manager.ttflist, key=lambda entry: (entry.style != "normal", str(entry.weight) != "400", entry.name))
    # What was installed since matplotlib wrote its list of fonts is not in it.
    new = sorted(font_manager.findSystemFonts(), key=lambda path: ("Regular" not in path, path))
    listed = {entry.fname for entry in known}
    for path in dict.fromkeys([*(entry.fname for entry in known), *new]):
        try:
            font = font_manager.get_font(path)
            if "last resort" in font.family_name.lower() or not font.get_char_index(ord(char)):
                continue  # that font's glyphs are boxes
            font.set_size(10, 72)
            font.load_char(ord(char))  # which raises for a font of pictures
            if path not in listed:
                manager.addfont(path)
            return str(font.family_name)
        except (OSError, RuntimeError, ValueError):  # a damaged file, or of a kind that matplotlib cannot draw
            continue
    return None


def _panel(height: float, rows: int = 1, width: float = WIDTH) -> tuple[Canvas, Any]:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    return canvas, canvas.subplots(rows, 1)


def accuracy_range(rows: pd.DataFrame, table: pd.DataFrame) -> tuple[float, float]:
    """One axis of accuracies for all panels: from 0 to 1, or closer where all of it is above one half.

    It contains the accuracy of each run, and of each row of `verdicts` the mean and its interval, also where that ends
    below 0 or above 1.

    >>> def interval(low, high):
    ...     return pd.DataFrame({"mean_all": [(low + high) / 2], "all_low": [low], "all_high": [high]})
    >>> accuracy_range(pd.DataFrame({"test_accuracy": [0.1, 0.9]}), interval(0.2, 0.8))
    (0.0, 1.0)
    >>> accuracy_range(pd.DataFrame({"test_accuracy": [0.942, 0.957]}), interval(0.937, 0.962))
    (0.93, 0.97)
    >>> accuracy_range(pd.DataFrame({"test_accuracy": [0.75, 0.75]}), interval(0.75, 0.75))
    (0.75, 0.752)
    >>> accuracy_range(pd.DataFrame({"test_accuracy": [0.1, 0.9]}), interval(0.3, 1.01))
    (0.0, 1.05)
    """
    drawn = np.concatenate(
        [rows["test_accuracy"].to_numpy(float), *_ends(table, "mean_all", "all_low", "all_high")[:3]]
    )
    drawn = drawn[~np.isnan(drawn)]
    low, high = (drawn.min(), drawn.max()) if len(drawn) else (0.0, 1.0)
    if low > 0.5:
        step = 0.01 if high - low > 0.005 else 0.002
        begin, end = _floor(low, step), -_floor(-high, step)
        return begin, max(end, round(begin + step, 4))
    return min(0.0, _floor(low, 0.05)), max(1.0, -_floor(-high, 0.05))


def _floor(value: float, step: float) -> float:
    """The multiple of a step that is next below; a value that is one but for rounding stays."""
    return round(math.floor(round(value / step, 9)) * step, 4)


def _ends(table: pd.DataFrame, mean: str, low: str, high: str) -> tuple[Any, Any, Any, Any]:
    """Of accuracies the means, and the ends of their intervals as `words.interval` tells them: to 50 points from the
    mean; and which of them go on beyond that.
    """
    middle, lower, upper = (table[column].to_numpy(float) for column in (mean, low, high))
    beyond = (upper - lower) / 2 > words.MAX_HALF
    lower, upper = np.where(beyond, middle - words.MAX_HALF, lower), np.where(beyond, middle + words.MAX_HALF, upper)
    return middle, lower, upper, beyond


# Of more seeds than these the table of a panel gives the quartiles, and not each.
MAX_SEEDS = 30


class Ticks(ticker.Formatter):
    """Labels that are the ticks' values exactly, in a unit of which `scale` make one; on axes that are not even
    (`each`), each with the decimals that it needs itself.
    """

    def __init__(self, scale: float = 1.0, unit: str = "", *, each: bool = False) -> None:
        self.scale, self.unit, self.each = scale, unit, each

    def __call__(self, value: float, pos: int | None = None) -> str:
        """The label of one tick."""
        return self.format_ticks([value])[0]

    def format_ticks(self, values: Any) -> list[str]:
        """The labels of an axis, together."""
        scaled = [self.scale * float(value) for value in values]
        return [words.exact(value) for value in scaled] if self.each else words.ticks(scaled, self.unit)


class AccuracyTicks(ticker.MaxNLocator):
    """Ticks from 0 to 1: beyond there are ends of intervals, but no accuracies."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """The ticks for an axis that ends there."""
        values = np.asarray(super().tick_values(vmin, vmax))
        return values[(values > -1e-9) & (values < 1 + 1e-9)]


def _percents(axis: Any) -> None:
    """Percentages along an axis."""
    axis.set_major_locator(AccuracyTicks(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(Ticks(100, "%"))


@styled
def accuracy_by_initializer(
    rows: pd.DataFrame, table: pd.DataFrame, look: Look, limits: tuple[float, float], title: str
) -> Drawing:
    """Every seed as a dot, and the mean with its 95% interval, for one choice: a row for each run, and `verdicts`.

    A name stands above its dots and not beside them, so that the panel stays legible on a phone.
    """
    names = [str(name) for name in table["initializer"]]
    canvas, axes = _panel(0.44 * len(names) + 0.95)
    each: Any = {"x": "test_accuracy", "y": "initializer", "order": names, "hue": "initializer", "hue_order": names}
    each |= {"palette": look.light, "legend": False, "ax": axes}
    # Of a long table names are categorical, which seaborn would order its own way.
    sns.stripplot(
        rows.astype({"initializer": str}), **each, alpha=0.4, size=4, jitter=False, rasterized=len(rows) > MAX_MARKS
    )
    for dots in axes.collections:  # below the mean, which would hide them
        dots.set_offsets(dots.get_offsets() + np.array([0.0, 0.24]))
    middle, low, high, beyond = _ends(table, "mean_all", "all_low", "all_high")
    # Of the mean and the two ends of its interval, the mean is the median: so seaborn draws what the table says.
    three = pd.DataFrame({"initializer": names * 3, "test_accuracy": np.concatenate([low, middle, high])}).dropna()
    sns.pointplot(
        three, **each, estimator="median", errorbar=("pi", 100), linestyle="none", markersize=6,
        markers=[look.markers[name] for name in names], err_kws={"linewidth": 2, "solid_capstyle": "butt"},
    )  # fmt: skip
    for line in [line for line in axes.lines if np.isnan(np.asarray(line.get_xdata(), float)).all()]:
        line.remove()  # each colour has a bar for each name, empty but for its own
    for i in np.flatnonzero(beyond):  # the bar goes on
        for end, arrow in ((low[i], "<"), (high[i], ">")):
            axes.plot(end, i, color=look.light[names[i]], marker=arrow, markersize=6, linestyle="none")
    _beside(axes, names, [words.marked(row) for _, row in table.iterrows()])
    margin = 0.02 * (limits[1] - limits[0])  # for the markers at the ends
    axes.set(xlim=(limits[0] - margin, limits[1] + margin), xlabel="Test accuracy")
    _title(canvas, axes, title)
    _percents(axes.xaxis)
    said = "; ".join(f"{row['initializer']} {words.marked(row)}" for _, row in table.iterrows())
    headings, numbers = _seeds(rows, table)
    return Drawing(canvas, f"Test accuracy by initializer, {title}. Mean and 95% interval: {said}.", headings, numbers)


def _seeds(rows: pd.DataFrame, table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """The accuracy of each seed as a table, or the quartiles where the seeds are many."""
    wide = rows.pivot_table(index="initializer", columns="seed", values="test_accuracy", observed=True)
    if wide.shape[1] > MAX_SEEDS:
        wide = wide.T.describe().T[["min", "25%", "50%", "75%", "max"]]
        headings = ["Initializer", "Mean", "Lowest", "1st quartile", "Median", "3rd quartile", "Highest"]
    else:
        headings = ["Initializer", "Mean", *(f"Seed {seed}" for seed in wide.columns)]
    numbers = [
        [row["initializer"], words.interval(row), *(words.percent(v, 2) for v in wide.loc[row["initializer"]])]
        for _, row in table.iterrows()
    ]
    return headings, numbers


@styled
def differences(table: pd.DataFrame, look: Look, title: str) -> Drawing:
    """How far each initializer is behind the leader of its choice, paired by seed, with the corrected interval."""
    rows = table[table["difference"].notna()].sort_values("difference", kind="stable")
    names = list(rows["initializer"])
    leader = table.loc[table["leader"], "initializer"].iloc[0]
    told = [words.difference(row, "difference") for _, row in rows.iterrows()]
    ends = _points(rows, "difference")
    canvas, axes = _panel(0.44 * len(names) + 1.0)
    _forest(axes, names, ends, look, told)
    _dashed(axes, 0)
    axes.set(xlabel="Points of test accuracy behind the leader")
    _title(canvas, axes, f"{title}\nbehind {leader}")
    if np.nanmax(ends[0]) > 5:  # one that failed must not squeeze those that are near
        axes.set_xscale("symlog", linthresh=1, linscale=0.6)
        axes.xaxis.set_major_locator(ticker.FixedLocator([-100, -10, -1, 0, 1, 10, 100]))
        axes.xaxis.set_major_formatter(Ticks(each=True))
        drawn = np.concatenate([[0.0], *ends])
        scale = axes.xaxis.get_transform()  # matplotlib leaves no margin beyond the linear part
        first, last = scale.transform([np.nanmin(drawn), np.nanmax(drawn)])
        margin = 0.06 * (last - first)
        axes.set_xlim(scale.inverted().transform([first - margin, last + margin]))
    else:
        axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
        axes.xaxis.set_major_formatter(Ticks())
    said = "; ".join(f"{name} {text}" for name, text in zip(names, told, strict=True))
    return Drawing(
        canvas,
        f"Percentage points behind {leader}, paired by seed, {title}, with intervals: {said}.",
        ["Initializer", "Behind, points, and interval", "p, corrected"],
        [[name, text, words.p_value(p)] for name, text, p in zip(names, told, rows["difference_p"], strict=True)],
    )


@styled
def changes(table: pd.DataFrame, names: Sequence[str], look: Look) -> Drawing:
    """What changed from one run to another: from `stats.changes`, with a name for each row."""
    ends = _points(table, "change")
    told = [words.difference(row, "change") for _, row in table.iterrows()]
    canvas, axes = _panel(0.44 * len(names) + 1.0, width=7.5)
    _forest(axes, names, ends, look, told, [str(name) for name in table["initializer"]])
    _dashed(axes, 0)
    axes.set(xlabel="Change of test accuracy, points")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
    axes.xaxis.set_major_formatter(Ticks())
    said = "; ".join(f"{name} {text}" for name, text in zip(names, told, strict=True))
    return Drawing(canvas, f"Changes of mean test accuracy in points, with intervals: {said}.")


def _points(table: pd.DataFrame, what: str) -> list[Any]:
    """Differences of accuracies in points, and the ends of their intervals as `words.points` tells them."""
    low, high = words.difference_ends(table[f"{what}_low"].to_numpy(float), table[f"{what}_high"].to_numpy(float))
    return [100 * table[what].to_numpy(float), 100 * low, 100 * high]


def _dashed(axes: Any, at: float) -> None:
    """A line across, where something begins."""
    axes.axvline(at, color=INK, linewidth=1, linestyle=(0, (4, 3)))


def _forest(
    axes: Any,
    names: Sequence[str],
    numbers: Sequence[Any],
    look: Look,
    told: Sequence[str],
    initializers: Sequence[str] | None = None,
) -> None:
    """A row for each name: its marker, its interval as a bar, its name and its number above them.

    `numbers` are the means, and the lower and the upper ends; `initializers` whose they are, where names say more.
    """
    middle, low, high = numbers
    for i, name in enumerate(initializers or names):
        colour = look.light[name]
        if not (np.isnan(low[i]) or np.isnan(high[i])):
            axes.plot([low[i], high[i]], [i, i], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(middle[i], i, color=colour, marker=look.markers[name], markersize=6, linestyle="none")
    axes.margins(x=0.08)
    _beside(axes, names, told)


def _beside(axes: Any, names: Sequence[str], told: Sequence[str]) -> None:
    """A row for each name, without ticks or lines: its name and its number stand above it."""
    axes.set(ylim=(len(names) - 0.6, -0.75), yticks=[], ylabel="")
    axes.grid(visible=False, axis="y")
    clear = {"boxstyle": "square,pad=0.1", "facecolor": GROUND, "edgecolor": "none"}  # of the lines behind it
    above: Any = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 9, "bbox": clear}
    longest = round(MAX_LABEL * axes.figure.get_figwidth() / WIDTH)
    short = _distinct(names, [max(12, longest - len(text)) for text in told])
    for i, (name, text) in enumerate(zip(short, told, strict=True)):
        axes.annotate(name, (0.01, i - 0.42), **above)
        axes.annotate(text, (0.99, i - 0.42), ha="right", **above)


def _title(canvas: Canvas, axes: Any, text: str) -> None:
    """A title, broken where it would be wider than the figure, which then grows."""
    width, height = canvas.get_size_inches()
    lines = text.split("\n")
    broken = [part for line in lines for part in _lines(line, round(TITLE * width / WIDTH)) or [""]]
    canvas.set_size_inches(width, height + 0.2 * (len(broken) - len(lines)))
    axes.set_title("\n".join(broken))


@styled
def learning_curve(loss: pd.DataFrame, validation: pd.DataFrame, look: Look, title: str) -> Drawing:
    """The article's curve, "Training Loss" against "Epoch #", and below it the validation accuracy: from `curves`.

    The band is the 95% interval of the mean. On a logarithmic axis one that reaches zero or less leaves the panel.
    """
    loss = loss[(loss["epoch"] > 0) & loss["mean"].notna()]
    validation = validation[validation["mean"].notna()]
    canvas, (upper, lower) = _panel(5.0, 2)
    _curves(upper, loss, look)
    _curves(lower, validation, look, accuracy=True)
    if len(loss) and loss["mean"].min() > 0 and loss["mean"].max() > 30 * loss["mean"].min():
        upper.set_yscale("log")
        upper.yaxis.set_minor_formatter(ticker.NullFormatter())
    upper.yaxis.set_major_formatter(Ticks(each=upper.get_yscale() == "log"))
    upper.set(xlabel="Epoch #", ylabel="Loss")
    lower.set(title="Validation accuracy", xlabel="Epoch #")
    _title(canvas, upper, f"Training Loss\n{title}")
    _percents(lower.yaxis)
    upper.set_xlim(lower.get_xlim())
    for axes in (upper, lower):
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, nbins=6))
        axes.xaxis.set_major_formatter(Ticks())
    said = []
    for name, group in loss.groupby("initializer", sort=False):
        ends = validation.loc[validation["initializer"] == name, "mean"]
        reached = f", validation accuracy from {words.percent(ends.iloc[0])} to {words.percent(ends.iloc[-1])}"
        said.append(f"{name}: loss from {group['mean'].iloc[0]:.3g} to {group['mean'].iloc[-1]:.3g}{reached}")
    what = "; ".join(said) or "no run has a finite loss"
    alternative = f"Training loss and validation accuracy against epoch, {title}. Means over seeds, {what}."
    names = [str(name) for name in dict.fromkeys(validation["initializer"])]
    return Drawing(canvas, alternative, *_by_epoch(loss, validation), legend=names)


# Of more epochs than these the table of a figure has some, evenly spaced, and the last.
MAX_EPOCHS = 12


def _by_epoch(loss: pd.DataFrame, validation: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    last = int(validation["epoch"].max()) if len(validation) else 0
    epochs = sorted({0, *np.linspace(0, last, min(last + 1, MAX_EPOCHS)).round().astype(int).tolist()})
    rows = []
    for name in dict.fromkeys(validation["initializer"]):
        for what, table, show, scaled in (
            ("loss", loss, "{:.4g}".format, "{:.2g}".format),
            ("validation", validation, lambda v: words.percent(v, 1), _half),
        ):
            at = table[table["initializer"] == name].set_index("epoch")
            half = (at["high"] - at["low"]) / 2
            told = {
                e: show(at.loc[e, "mean"]) + ("" if pd.isna(half[e]) else f" ± {scaled(half[e])}") for e in at.index
            }
            rows.append([f"{name}, {what}", *(told.get(e, "–") for e in epochs)])
    return ["Mean at epoch, and 95% interval", *map(str, epochs)], rows


def _half(width: float) -> str:
    """Half the width of an accuracy's interval, in points."""
    return f"over {100 * words.MAX_HALF:.0f}" if width > words.MAX_HALF else f"{100 * width:.1f}"


def _curves(axes: Any, table: pd.DataFrame, look: Look, *, accuracy: bool = False) -> None:
    """Means by epoch with the bands of their intervals."""
    every = max(1, int(table["epoch"].max() if len(table) else 1) // 10)
    for name, rows in table.groupby("initializer", sort=False):
        colour = look.light[str(name)]
        axes.plot(
            rows["epoch"], rows["mean"], color=colour, marker=look.markers[str(name)], markersize=5, markevery=every
        )
        low, high = _ends(rows, "mean", "low", "high")[1:3] if accuracy else (rows["low"], rows["high"])
        low, high = (np.where(np.isnan(end), rows["mean"], end) for end in (low, high))
        axes.fill_between(rows["epoch"], low, high, color=colour, alpha=0.2, linewidth=1)


@styled
def heat_map(
    wide: pd.DataFrame,
    title: str,
    label: str,
    what: str,
    *,
    limits: tuple[float, float] | None = None,
    standing: pd.DataFrame | None = None,
    show: Callable[[float], str] = lambda value: f"{value:.1f}",
    reverse: bool = False,
    width: float = WIDTH,
    bar: bool = True,
    whole: bool = False,
) -> Drawing:
    """Numbers by initializer (the index) and another setting (the columns); blank where there is none.

    `standing` (of the same shape) has `words.standing` of each, `whole` says that numbers are whole, `reverse` that
    less is better, `label` what a number is, for the `bar` of colours, and `what` what the figure shows.
    """
    labels = _wrapped([str(name) for name in wide.index])
    columns = _distinct([str(name) for name in wide.columns], [MAX_COLUMN] * wide.shape[1])
    heights = sum(max(0.42, 0.16 * (1 + text.count("\n"))) for text in labels)
    canvas, axes = _panel(heights + 1.3 + 0.08 * max(map(len, columns), default=0) * 0.5, 1, width)
    low, high = limits or (float(np.nanmin(wide.to_numpy())), float(np.nanmax(wide.to_numpy())))
    texts = wide.map(lambda value: "" if pd.isna(value) else show(value))
    sns.heatmap(
        wide, annot=texts, fmt="", cmap="cividis_r" if reverse else "cividis", vmin=low, vmax=high or 1, linewidths=1,
        ax=axes, annot_kws={"fontsize": 10 if wide.shape[1] <= 8 else 8}, cbar=bar, cbar_kws={"label": label},
        xticklabels=columns, yticklabels=labels, linecolor="#808080",
    )  # fmt: skip
    fields = axes.collections[0].get_facecolors()
    texts_drawn = iter(axes.texts)
    for i, value in enumerate(wide.to_numpy(float).ravel()):
        if pd.isna(value):
            continue  # nothing is written there
        text = next(texts_drawn)
        field_colour = fields[i]
        text.set_color("black" if _luminance(field_colour) > 0.18 else "white")  # the one with more contrast
        stands = "" if standing is None else standing.to_numpy().ravel()[i]
        text.set_text(text.get_text() + MARKS[stands])
        if stands == "best":
            text.set_fontweight("bold")
    if bar:
        colours = axes.collections[0].colorbar
        colours.formatter = Ticks()
        if whole:
            colours.locator = ticker.MaxNLocator(integer=True, nbins=8, min_n_ticks=1)
        colours.update_ticks()
    axes.set(xlabel="", ylabel="")
    _title(canvas, axes, title)
    axes.grid(visible=False)
    axes.tick_params(axis="y", rotation=0)
    if wide.shape[1] > 2 or max(map(len, columns)) > 20:
        axes.set_xticklabels(axes.get_xticklabels(), rotation=30, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0, labelsize=9)
    rows = [[str(name), *(texts.loc[name, column] or "–" for column in wide.columns)] for name in wide.index]
    if standing is not None:
        rows = [[row[0], *(t + MARKS[m] for t, m in zip(row[1:], standing.loc[row[0]], strict=True))] for row in rows]
    said = "; ".join(
        f"{row[0]}: " + ", ".join(f"{c} {text}" for c, text in zip(wide.columns, row[1:], strict=True)) for row in rows
    )
    head = f"{what}{', ' * bool(title)}{title}"
    return Drawing(canvas, f"{head}. {said}.", ["Initializer", *map(str, wide.columns)], rows)


@styled
def rank_diagram(ranks: pd.DataFrame, groups: Sequence[tuple[int, int]], look: Look, choices: int) -> Drawing:
    """A critical-difference diagram on its side: average ranks, and a bar along those that no test tells apart.

    `groups` has the first and last row of `ranks` of each bar; none where no test can reach significance.

    Source: Demšar 2006, section 3.2.4.
    """
    names = list(ranks["initializer"])
    middle = ranks["mean_rank"].to_numpy(float)
    told = [f"{rank:.2f}" for rank in middle]
    canvas, axes = _panel(0.44 * len(names) + 1.0)
    nothing = np.full(len(names), np.nan)
    _forest(axes, names, [middle, nothing, nothing], look, told)
    for i, (first, last) in enumerate(groups):
        x = len(names) + 0.25 + 0.2 * i
        axes.plot([x, x], [first - 0.2, last + 0.2], color=INK, linewidth=4, solid_capstyle="butt", zorder=4)
    begin, end = 0.8, len(names) + 0.4 + 0.2 * len(groups)
    # The numbers stand right of the bars, which they would else break into pieces.
    room = 0.02 * (1 + max(map(len, told))) if groups else 0.0
    axes.set(xlim=(begin, begin + (end - begin) / (1 - room)), xlabel="Average rank, 1 is the best")
    _title(canvas, axes, f"Average rank over {choices} combinations")
    ticks = np.asarray(ticker.MaxNLocator(integer=True, nbins=8).tick_values(1, len(names)))
    axes.set_xticks(ticks[(ticks >= 1) & (ticks <= len(names))])
    axes.xaxis.set_major_formatter(Ticks())
    said = "; ".join(f"{name} {text}" for name, text in zip(names, told, strict=True))
    joined = "; ".join(f"from {names[first]} to {names[last]}" for first, last in groups)
    tail = f" Not told apart: {joined}." if groups else ""
    return Drawing(
        canvas,
        f"Average ranks over {choices} combinations: {said}.{tail}",
        ["Initializer", "Average rank", "First or shared first"],
        [[n, t, str(int(first))] for n, t, first in zip(names, told, ranks["first"], strict=True)],
    )


@styled
def intervals(
    table: pd.DataFrame, value: str, look: Look, title: str, label: str, line: float | None = None
) -> Drawing:
    """A number with its interval for each initializer: the columns `value`, `low` and `high`, fractions."""
    names = list(table["initializer"])
    told = [
        words.percent(row[value])
        + ("" if pd.isna(row["low"]) else f" ({words.percent(row['low'])} to {words.percent(row['high'])})")
        for _, row in table.iterrows()
    ]
    canvas, axes = _panel(0.44 * len(names) + 1.0)
    _forest(axes, names, [table[column].to_numpy(float) for column in (value, "low", "high")], look, told)
    if line is not None:
        _dashed(axes, line)
        axes.set_xlim(-0.03, 1.03)
    axes.set(xlabel=label)
    _title(canvas, axes, title)
    _percents(axes.xaxis)
    said = "; ".join(f"{name} {text}" for name, text in zip(names, told, strict=True))
    rows = [[name, text] for name, text in zip(names, told, strict=True)]
    return Drawing(canvas, f"{title}. {said}.", ["Initializer", f"{label}, and 95% interval"], rows)


@styled
def profile(table: pd.DataFrame, look: Look) -> Drawing:
    """Performance profiles: the share of an initializer's runs above each accuracy, with its band."""
    canvas, axes = _panel(3.4)
    at, names = sorted(set(table["threshold"])), [str(name) for name in dict.fromkeys(table["initializer"])]
    every = max(1, len(at) // 8)
    for i, (name, rows) in enumerate(table.groupby("initializer", sort=False)):
        colour, marker = look.light[str(name)], look.markers[str(name)]
        axes.plot(
            rows["threshold"], rows["share"], color=colour, marker=marker, markersize=5, markevery=(i % every, every)
        )
        axes.fill_between(rows["threshold"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
    axes.set(title="Performance profiles", xlabel="Test accuracy τ", ylabel="Share of runs above τ", ylim=(-0.03, 1.03))
    for axis in (axes.xaxis, axes.yaxis):
        _percents(axis)
    some = [at[i] for i in np.linspace(0, len(at) - 1, min(len(at), 9)).round().astype(int)]
    shares = table.pivot(index="initializer", columns="threshold", values="share").reindex(index=names)
    numbers = [[name, *(words.percent(shares.loc[name, t], 0) for t in some)] for name in names]
    said = "; ".join(f"{row[0]} {', '.join(row[1:])}" for row in numbers)
    headings = ["Share of runs above", *(words.percent(t) for t in some)]
    return Drawing(
        canvas,
        f"Performance profiles: share of runs above {', '.join(headings[1:])}: {said}.",
        headings,
        numbers,
        names,
    )


@styled
def sensitivity(rates: pd.DataFrame, look: Look, title: str) -> Drawing:
    """Mean test accuracy against the learning rate, the own best rate ringed; bands are 95% intervals: from `rates`."""
    canvas, axes = _panel(3.4)
    rows = []
    values = sorted(set(rates["learning_rate"]))
    for name, group in rates.sort_values("learning_rate").groupby("initializer", sort=False):
        colour, marker = look.light[str(name)], look.markers[str(name)]
        axes.plot(group["learning_rate"], group["mean_all"], color=colour, marker=marker, markersize=5)
        middle, low, high, _ = _ends(group, "mean_all", "all_low", "all_high")
        low, high = (np.where(np.isnan(end), middle, end) for end in (low, high))
        axes.fill_between(group["learning_rate"], low, high, color=colour, alpha=0.15, linewidth=0)
        best = group[group["own_best"]]
        axes.plot(
            best["learning_rate"], best["mean_all"], marker="o", markersize=12, markerfacecolor="none",
            markeredgecolor=colour, markeredgewidth=1.5, linestyle="none",
        )  # fmt: skip
        by_rate = group.set_index("learning_rate")
        rows.append([str(name), *(words.interval(by_rate.loc[v]) if v in by_rate.index else "–" for v in values)])
    common = rates.loc[rates["common"], "learning_rate"]
    if len(common):
        _dashed(axes, common.iloc[0])
    log = bool(values[0] > 0 and values[-1] > 3 * values[0])
    if log:
        axes.set_xscale("log")
    axes.set_xticks(_apart(values, np.log(values) if log else np.array(values)))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.xaxis.set_major_formatter(Ticks(each=True))
    axes.set(xlabel="Learning rate", ylabel="Mean test accuracy")
    _title(canvas, axes, title)
    _percents(axes.yaxis)
    headings = ["Initializer", *map(words.exact, values)]
    said = "; ".join(
        f"{row[0]}: " + ", ".join(f"{h} {text}" for h, text in zip(headings[1:], row[1:], strict=True)) for row in rows
    )
    names = [row[0] for row in rows]
    return Drawing(canvas, f"Test accuracy against the learning rate, {title}. {said}.", headings, rows, names)


def _apart(values: Sequence[float], positions: Any) -> list[float]:
    """Those of the values, in order, at whose positions labels do not touch; the first and the last are among them."""
    room = (positions[-1] - positions[0]) / 6
    kept = [0]
    for i in range(1, len(values)):
        last = i == len(values) - 1
        if positions[i] - positions[kept[-1]] >= room and (last or positions[-1] - positions[i] >= room):
            kept.append(i)
    return [values[i] for i in dict.fromkeys([*kept, len(values) - 1])]


# How many characters stand above a row of a figure, a name and its number; in a line of a panel's title; in a line of a
# name beside a heat map, and how many such lines; and below a column of one.
MAX_LABEL, TITLE, MAX_LINE, MAX_LINES, MAX_COLUMN = 56, 46, 24, 6, 30


def _distinct(names: Sequence[str], longest: Sequence[int]) -> list[str]:
    """Names that are short enough for their places; where two would look alike, all are numbered in their order.

    >>> _distinct(["normal(std=0.001)", "normal(std=0.002)"], [12, 12])
    ['normal….001)', 'normal….002)']
    >>> _distinct(["uniform(low=-1, high=1)", "uniform(low=-2, high=1)"], [12, 12])
    ['1: unif…h=1)', '2: unif…h=1)']
    """
    short = [_cut(name, room) for name, room in zip(names, longest, strict=True)]
    if len(set(short)) < len(set(names)):
        numbers = [f"{i}: " for i in range(1, len(names) + 1)]
        short = [n + _cut(name, room - len(n)) for n, name, room in zip(numbers, names, longest, strict=True)]
    return short


def _cut(name: str, longest: int) -> str:
    """A name that is short enough for its place, its middle left out; the table below has it whole."""
    if _columns(name) <= longest:
        return name
    head, tail = name, ""
    while _columns(head) > longest * 0.55:
        head = head[:-1]
    for char in reversed(name):
        if _columns(head) + 1 + _columns(char + tail) > longest:
            break
        tail = char + tail
    return f"{head}…{tail}"


def _columns(text: str) -> int:
    """How wide a text is, in ordinary characters: East Asian ones take two, and marks over others none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _lines(text: str, width: int) -> list[str]:
    """A text in lines of at most so many characters."""
    if _columns(text) <= width:
        return [text]
    wrapper = textwrap.TextWrapper(max(1, width * len(text) // _columns(text)), break_on_hyphens=False)
    wrapper.wordsep_simple_re = re.compile(r"(\s+|(?<=_)(?=[^_]))")  # after an underscore rather than within a word
    return wrapper.wrap(text)


def _wrapped(names: Sequence[str]) -> list[str]:
    """Names in lines that leave room for what is beside them; where two would look alike, all are numbered."""

    def wrapped(name: str) -> str:
        lines = re.sub(r" (with|and) ", r"\n\1 ", name).replace("(", "\n(").split("\n")
        lines = [part for line in lines for part in _lines(line, MAX_LINE)]
        if len(lines) > MAX_LINES:
            lines = [*lines[: MAX_LINES // 2], "…", *lines[-(MAX_LINES // 2 - 1) :]]
        return "\n".join(lines)

    short = [wrapped(name) for name in names]
    return short if len(set(short)) == len(set(names)) else [f"{i}: {text}" for i, text in enumerate(short, 1)]


def _luminance(colour: Any) -> float:
    """The relative luminance of an sRGB colour, from 0 to 1 (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


@styled
def swatch(name: str, look: Look) -> Drawing:
    """A legend's line and marker."""
    canvas = Canvas(figsize=(0.5, 0.2))
    axes = canvas.add_axes((0, 0, 1, 1))
    axes.plot([0, 1, 2], [0, 0, 0], color=look.light[name], marker=look.markers[name], markevery=[1], markersize=6)
    axes.set_axis_off()
    return Drawing(canvas, "")
