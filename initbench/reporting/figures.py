"""The report's figures, by seaborn: a table in, a figure out, with what it shows in words and its numbers.

The numbers come from `stats`. A figure becomes a part of the page, in the page's colours (`inline`), or a file of its
own (`save`).
"""

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
import seaborn as sns
from markupsafe import escape
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from initbench import stats
from initbench.reporting import words

MARKERS = "osD^vPX*<>hdp8H"

# Colours of initializers on white and on near black, 3:1 or more against their ground (WCAG 2.2, 1.4.11) and apart for
# the colour-blind; the page takes them from its style, so that one drawing serves light and dark.
LIGHT = ("#0872c7", "#f63318", "#00a560", "#210005", "#b2709a", "#6b3a00", "#0b4b75", "#a03156", "#470b8b", "#6fa039")
DARK = ("#7ebef4", "#e95f21", "#69ffbc", "#cbf8ff", "#d587a6", "#e4cc09", "#4778b0", "#bb5a4c", "#9a88ff", "#efff80")

# What an initializer's standing adds to its number.
MARKS = {"best": "•", "open": "◦", "": ""}

# What stands for the page's ink, lines and ground; no colour of an initializer is one of these.
INK, GRID, GROUND = "#222222", "#dddddd", "#fefefe"

# More dots than these are drawn as one image: as marks of an SVG they would be a page of hundreds of megabytes.
MOST_MARKS = 2_000

# One panel is drawn for a phone's width, and panels stand side by side where there is room.
WIDTH = 4.6

STYLE: Any = {
    **sns.axes_style("whitegrid"),
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "axes.facecolor": "none",
    "text.parse_math": False,
    "svg.hashsalt": "initbench",  # the same figure has the same bytes
}


# A number on an axis as people write it, and not as a power of ten.
PLAIN = FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−"))


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


def inline(drawing: Drawing, look: Look) -> str:
    """The figure as an SVG element for the page: its text in the page's font, its colours from the page's style."""
    buffer = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.fonttype": "none"}):
        drawing.canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'(<g) id="[^"]*"', r"\1", text)
    text = re.sub(r"\n\s*", "\n", text)
    text = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", text)  # a hundredth of a point is enough
    text = re.sub(r"font: (?:bold |700 )?([\d.]+px) [^;\"]*", r"font-size: \1", text)
    colours = {INK: "var(--ink)", GRID: "var(--line)", GROUND: "var(--ground)"}
    colours |= {hexed: f"var(--c{i})" for i, hexed in enumerate(look.light.values())}
    text = re.sub(r"#[0-9a-f]{6}\b", lambda found: colours.get(found[0], found[0]), text)
    width, height = drawing.size
    head, _, rest = text.partition(">")
    view = re.search(r'viewBox="([^"]*)"', head)
    told = escape(drawing.alternative)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'aria-label="{told}" viewBox="{view[1] if view else ""}" width="{width}" height="{height}">{rest}'
    )


def unique(svg: str, prefix: str) -> str:
    """The figure with names of its own for its parts, so that many stand on one page."""
    return re.sub(r'(\bid="|url\(#|href="#)', lambda found: found[1] + prefix, svg)


def save(drawing: Drawing, look: Look, form: str) -> bytes:
    """The figure as a file for a paper: `svg` (letters as outlines), `pdf` (fonts embedded) or `png` (300 dpi).

    Where curves have no names, a legend stands below them.
    """
    buffer = io.BytesIO()
    if drawing.legend:
        columns = 1 if max(map(len, drawing.legend)) > 30 else 2
        width, height = drawing.canvas.get_size_inches()
        drawing.canvas.set_size_inches(width, height + 0.2 * math.ceil(len(drawing.legend) / columns))
        handles = [
            Line2D([], [], color=look.light[name], marker=look.markers[name], markersize=5, label=name)
            for name in drawing.legend
        ]
        drawing.canvas.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    metadata = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None, "Creator": None}, "png": {}}
    with mpl.rc_context({**STYLE, "svg.fonttype": "path", "pdf.fonttype": 42}):
        drawing.canvas.savefig(buffer, format=form, dpi=300, facecolor="white", metadata=metadata[form])
    return buffer.getvalue()


def _panel(height: float, rows: int = 1, width: float = WIDTH) -> tuple[Canvas, Any]:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    return canvas, canvas.subplots(rows, 1)


Given = ParamSpec("Given")


def _styled(draw: Callable[Given, Drawing]) -> Callable[Given, Drawing]:
    """A drawing in the report's style."""

    @wraps(draw)
    def drawn(*arguments: Given.args, **keywords: Given.kwargs) -> Drawing:
        with mpl.rc_context(STYLE):
            return draw(*arguments, **keywords)

    return drawn


def accuracy_range(rows: pd.DataFrame) -> tuple[float, float]:
    """One axis of accuracies for all panels: from 0 to 1, or closer where every run is above one half.

    >>> accuracy_range(pd.DataFrame({"test_accuracy": [0.1, 0.9]}))
    (0.0, 1.0)
    >>> accuracy_range(pd.DataFrame({"test_accuracy": [0.942, 0.957]}))
    (0.94, 0.96)
    >>> accuracy_range(pd.DataFrame({"test_accuracy": [0.75, 0.75]}))
    (0.75, 0.752)
    """
    low, high = rows["test_accuracy"].min(), rows["test_accuracy"].max()
    if not low > 0.5:
        return 0.0, 1.0
    step = 0.01 if high - low > 0.005 else 0.002
    begin = round(math.floor(low / step) * step, 4)
    return begin, max(round(min(1.0, math.ceil(high / step) * step), 4), begin + step)


# Of more seeds than these the table of a panel gives the quartiles, and not each.
MOST_SEEDS = 30


def _percents(axis: Any) -> None:
    """Percentages along an axis, with as many decimals as tell its ticks apart."""
    low, high = axis.get_view_interval()
    step = abs(high - low) / 8
    axis.set_major_formatter(PercentFormatter(1, decimals=0 if step > 0.008 else 1 if step > 0.0008 else 2))


@_styled
def accuracy_by_initializer(
    rows: pd.DataFrame, table: pd.DataFrame, look: Look, limits: tuple[float, float], title: str
) -> Drawing:
    """Every seed as a dot, and the mean with its 95% interval, for one choice: a row for each run, and `verdicts`.

    A name stands above its dots and not beside them, so that the panel stays legible on a phone.
    """
    rows = rows.astype({"initializer": str})  # of a long table it is categorical, which seaborn would order its own way
    names = list(table["initializer"])
    canvas, axes = _panel(0.44 * len(names) + 0.95)
    sns.stripplot(
        rows, x="test_accuracy", y="initializer", order=names, hue="initializer", palette=look.light,
        alpha=0.4, size=4, jitter=False, legend=False, ax=axes, rasterized=len(rows) > MOST_MARKS,
    )  # fmt: skip
    for dots in axes.collections:  # below the mean, which would hide them
        dots.set_offsets(dots.get_offsets() + np.array([0.0, 0.24]))
    sns.pointplot(
        rows, x="test_accuracy", y="initializer", order=names, hue="initializer", palette=look.light,
        errorbar=_interval, linestyle="none", markers=[look.markers[n] for n in rows["initializer"].unique()],
        markersize=6, err_kws={"linewidth": 2}, legend=False, ax=axes,
    )  # fmt: skip
    axes.set(xlim=limits, ylim=(len(names) - 0.6, -0.75), xlabel="Test accuracy", ylabel="", title=title, yticks=[])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    _percents(axes.xaxis)
    _beside(axes, names, [words.marked(row) for _, row in table.iterrows()])
    said = "; ".join(f"{row['initializer']} {words.marked(row)}" for _, row in table.iterrows())
    headings, numbers = _seeds(rows, table)
    return Drawing(canvas, f"Test accuracy by initializer, {title}. Mean and 95% interval: {said}.", headings, numbers)


def _seeds(rows: pd.DataFrame, table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """The accuracy of each seed as a table, or the quartiles where the seeds are many."""
    wide = rows.pivot_table(index="initializer", columns="seed", values="test_accuracy", observed=True)
    if wide.shape[1] > MOST_SEEDS:
        wide = wide.T.describe().T[["min", "25%", "50%", "75%", "max"]]
        headings = ["Initializer", "Mean", "Lowest", "1st quartile", "Median", "3rd quartile", "Highest"]
    else:
        headings = ["Initializer", "Mean", *(f"Seed {seed}" for seed in wide.columns)]
    numbers = [
        [row["initializer"], words.interval(row), *(words.percent(v, 2) for v in wide.loc[row["initializer"]])]
        for _, row in table.iterrows()
    ]
    return headings, numbers


@_styled
def differences(table: pd.DataFrame, look: Look, title: str) -> Drawing:
    """How far each initializer is behind the leader of its choice, paired by seed, with the corrected interval."""
    rows = table[table["behind"].notna()].sort_values("behind", kind="stable")
    names = list(rows["initializer"])
    leader = table.loc[table["leader"], "initializer"].iloc[0]
    told = [words.difference(row, "behind") for _, row in rows.iterrows()]
    ends = [100 * rows[column].to_numpy(float) for column in ("behind", "behind_low", "behind_high")]
    canvas, axes = _panel(0.44 * len(names) + 1.0)
    _forest(axes, names, ends, look, told)
    _dashed(axes, 0)
    axes.set(title=f"{title}\nbehind {_cut(leader)}", xlabel="Points of test accuracy behind the leader")
    if np.nanmax(ends[0]) > 5:  # one that failed must not squeeze those that are near
        axes.set_xscale("symlog", linthresh=1, linscale=0.6)
        axes.xaxis.set_major_locator(matplotlib.ticker.FixedLocator([-10, -1, 0, 1, 10, 100]))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(PLAIN)
    said = "; ".join(f"{name} {text}" for name, text in zip(names, told, strict=True))
    return Drawing(
        canvas,
        f"Percentage points behind {leader}, paired by seed, {title}, with intervals: {said}.",
        ["Initializer", "Behind, points, and interval", "p, corrected"],
        [[name, text, words.p_value(p)] for name, text, p in zip(names, told, rows["behind_p"], strict=True)],
    )


@_styled
def changes(table: pd.DataFrame, names: Sequence[str], look: Look) -> Drawing:
    """What changed from one run to another: from `stats.changes`, with a name for each row."""
    ends = [100 * table[column].to_numpy(float) for column in ("change", "change_low", "change_high")]
    told = [words.difference(row, "change") for _, row in table.iterrows()]
    canvas, axes = _panel(0.44 * len(names) + 1.0, width=7.5)
    _forest(axes, names, ends, look, told, [str(name) for name in table["initializer"]])
    _dashed(axes, 0)
    axes.set(xlabel="Change of test accuracy, points")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(PLAIN)
    said = "; ".join(f"{name} {text}" for name, text in zip(names, told, strict=True))
    return Drawing(canvas, f"Changes of mean test accuracy in points, with intervals: {said}.")


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
    axes.set(ylim=(len(names) - 0.6, -0.75), yticks=[], ylabel="")
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.08)
    _beside(axes, names, told)


def _beside(axes: Any, names: Sequence[str], told: Sequence[str]) -> None:
    clear = {"boxstyle": "square,pad=0.1", "facecolor": GROUND, "edgecolor": "none"}  # of the lines behind it
    above: Any = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 9, "bbox": clear}
    longest = round(LONGEST * axes.figure.get_figwidth() / WIDTH)
    for i, (name, text) in enumerate(zip(names, told, strict=True)):
        axes.annotate(_cut(name, max(12, longest - len(text))), (0.01, i - 0.42), **above)
        axes.annotate(text, (0.99, i - 0.42), ha="right", **above)


@_styled
def learning_curve(loss: pd.DataFrame, validation: pd.DataFrame, look: Look, title: str) -> Drawing:
    """The article's curve, "Training Loss" against "Epoch #", and below it the validation accuracy: from `curves`.

    The band is the 95% interval of the mean.
    """
    loss = loss[(loss["epoch"] > 0) & loss["mean"].notna()]
    validation = validation[validation["mean"].notna()]
    canvas, (upper, lower) = _panel(5.0, 2)
    _curves(upper, loss, look)
    _curves(lower, validation, look, 1.0)
    if len(loss) and loss["mean"].min() > 0 and loss["mean"].max() > 30 * loss["mean"].min():
        upper.set_yscale("log")
        upper.yaxis.set_major_formatter(PLAIN)
        upper.yaxis.set_minor_formatter(NullFormatter())
    upper.set(title=f"Training Loss\n{title}", xlabel="Epoch #", ylabel="Loss")
    lower.set(title="Validation accuracy", xlabel="Epoch #")
    _percents(lower.yaxis)
    upper.set_xlim(lower.get_xlim())
    for axes in (upper, lower):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
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
MOST_EPOCHS = 12


def _by_epoch(loss: pd.DataFrame, validation: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    last = int(validation["epoch"].max()) if len(validation) else 0
    epochs = sorted({0, *np.linspace(0, last, min(last + 1, MOST_EPOCHS)).round().astype(int).tolist()})
    rows = []
    for name in dict.fromkeys(validation["initializer"]):
        for what, table, show, scaled in (
            ("loss", loss, "{:.4g}".format, "{:.2g}".format),
            ("validation", validation, lambda v: words.percent(v, 1), lambda v: f"{100 * v:.1f}"),
        ):
            at = table[table["initializer"] == name].set_index("epoch")
            half = (at["high"] - at["low"]) / 2
            told = {
                e: show(at.loc[e, "mean"]) + ("" if pd.isna(half[e]) else f" ± {scaled(half[e])}") for e in at.index
            }
            rows.append([f"{name}, {what}", *(told.get(e, "–") for e in epochs)])
    return ["Mean at epoch, and 95% interval", *map(str, epochs)], rows


def _curves(axes: Any, table: pd.DataFrame, look: Look, highest: float | None = None) -> None:
    """Means by epoch with their bands; a band ends at 0, and at the `highest` value that there can be."""
    every = max(1, int(table["epoch"].max() if len(table) else 1) // 10)
    for name, rows in table.groupby("initializer", sort=False):
        colour = look.light[str(name)]
        axes.plot(
            rows["epoch"], rows["mean"], color=colour, marker=look.markers[str(name)], markersize=5, markevery=every
        )
        low, high = (rows[end].fillna(rows["mean"]).clip(0, highest) for end in ("low", "high"))
        axes.fill_between(rows["epoch"], low, high, color=colour, alpha=0.2, linewidth=1)


@_styled
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
    labels = [_wrapped(str(name)) for name in wide.index]
    heights = sum(max(0.42, 0.16 * (1 + text.count("\n"))) for text in labels)
    canvas, axes = _panel(heights + 1.3 + 0.08 * max((len(str(c)) for c in wide.columns), default=0) * 0.5, 1, width)
    low, high = limits or (float(np.nanmin(wide.to_numpy())), float(np.nanmax(wide.to_numpy())))
    texts = wide.map(lambda value: "" if pd.isna(value) else show(value))
    sns.heatmap(
        wide, annot=texts, fmt="", cmap="cividis_r" if reverse else "cividis", vmin=low, vmax=high or 1, linewidths=1,
        ax=axes, annot_kws={"fontsize": 10 if wide.shape[1] <= 8 else 8}, cbar=bar, cbar_kws={"label": label},
        yticklabels=labels, linecolor="#808080",
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
    if bar and whole:
        axes.collections[0].colorbar.locator = MaxNLocator(integer=True, nbins=8)
        axes.collections[0].colorbar.update_ticks()
    axes.set(title=title, xlabel="", ylabel="")
    axes.grid(visible=False)
    axes.tick_params(axis="y", rotation=0)
    if wide.shape[1] > 2 or max(len(str(column)) for column in wide.columns) > 20:
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


@_styled
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
        axes.plot([x, x], [first - 0.2, last + 0.2], color=INK, linewidth=4, solid_capstyle="butt")
    axes.set(xlim=(0.8, len(names) + 0.4 + 0.2 * len(groups)), title=f"Average rank over {choices} combinations")
    axes.set(xlabel="Average rank, 1 is the best")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    said = "; ".join(f"{name} {text}" for name, text in zip(names, told, strict=True))
    joined = "; ".join(f"from {names[first]} to {names[last]}" for first, last in groups)
    tail = f" Not told apart: {joined}." if groups else ""
    return Drawing(
        canvas,
        f"Average ranks over {choices} combinations: {said}.{tail}",
        ["Initializer", "Average rank", "First or shared first"],
        [[n, t, str(int(first))] for n, t, first in zip(names, told, ranks["first"], strict=True)],
    )


@_styled
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
    axes.set(title=title, xlabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    _percents(axes.xaxis)
    said = "; ".join(f"{name} {text}" for name, text in zip(names, told, strict=True))
    rows = [[name, text] for name, text in zip(names, told, strict=True)]
    return Drawing(canvas, f"{title}. {said}.", ["Initializer", f"{label}, and 95% interval"], rows)


@_styled
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


@_styled
def sensitivity(rates: pd.DataFrame, look: Look, title: str) -> Drawing:
    """Mean test accuracy against the learning rate, the own best rate ringed; bands are 95% intervals: from `rates`."""
    canvas, axes = _panel(3.4)
    rows = []
    values = sorted(set(rates["learning_rate"]))
    for name, group in rates.sort_values("learning_rate").groupby("initializer", sort=False):
        colour, marker = look.light[str(name)], look.markers[str(name)]
        axes.plot(group["learning_rate"], group["mean_all"], color=colour, marker=marker, markersize=5)
        low, high = (group[f"all_{end}"].fillna(group["mean_all"]).clip(0, 1) for end in ("low", "high"))
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
    if values[0] > 0 and values[-1] > 3 * values[0]:
        axes.set_xscale("log")
        axes.set_xticks(values if len(values) <= 6 else [values[0], values[len(values) // 2], values[-1]])
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.xaxis.set_major_formatter(PLAIN)
    axes.set(title=title, xlabel="Learning rate", ylabel="Mean test accuracy")
    _percents(axes.yaxis)
    headings = ["Initializer", *(f"{value:g}" for value in values)]
    said = "; ".join(
        f"{row[0]}: " + ", ".join(f"{h} {text}" for h, text in zip(headings[1:], row[1:], strict=True)) for row in rows
    )
    names = [row[0] for row in rows]
    return Drawing(canvas, f"Test accuracy against the learning rate, {title}. {said}.", headings, rows, names)


# How many characters stand above a row of a figure: a name and its number.
LONGEST = 56


def _cut(name: str, longest: int = 40) -> str:
    """A name that is short enough for its place; the table below has it whole."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _wrapped(name: str) -> str:
    """A name in lines that leave room for what is beside them."""
    lines = re.sub(r" (with|and) ", r"\n\1 ", name).replace("(", "\n(").split("\n")
    return "\n".join(line if len(line) <= 22 else line[:21] + "…" for line in lines)


def _luminance(colour: Any) -> float:
    """The relative luminance of an sRGB colour, from 0 to 1 (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


@_styled
def swatch(name: str, look: Look) -> Drawing:
    """A legend's line and marker."""
    canvas = Canvas(figsize=(0.5, 0.2))
    axes = canvas.add_axes((0, 0, 1, 1))
    axes.plot([0, 1, 2], [0, 0, 0], color=look.light[name], marker=look.markers[name], markevery=[1], markersize=6)
    axes.set_axis_off()
    return Drawing(canvas, "")


def _interval(values: Any) -> tuple[float, float]:
    """The ends of the interval of `stats.mean_interval`, for seaborn's error bars."""
    mean, low, high = stats.mean_interval(values)
    return (mean, mean) if pd.isna(low) else (low, high)
