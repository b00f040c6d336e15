"""Heat maps: a number for each initializer and each combination.

Drawn in pixels, so that every label stands level and every number has its room, whatever the names.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from initbench.reporting.figures.axes import asked_width
from initbench.reporting.figures.drawing import Drawing, describe_values
from initbench.reporting.figures.labels import shorten, stacked, width_of, wrapped
from initbench.reporting.figures.style import INK, luminance, report_style
from initbench.reporting.layout import scaled
from initbench.reporting.limits import MAX_COLOURED_POINTS, MAX_COLUMN_LINES, MAX_LARGE_COLUMNS, MIN_LOG_RATIO
from initbench.reporting.numbers import MARKS, percent, short_magnitude

# Pixels: a line of text, a cell's width at least and at most, a row's height at least, the space between groups of
# columns, the figure's width at least, and at most with few and with many columns.
LINE = 14.0
MIN_CELL, MAX_CELL, MIN_ROW, GAP = 56.0, 84.0, 30.0, 8.0
LEAST, NARROW, WIDE = 330.0, 620.0, 912.0

# Pixels of a column that a number needs in small letters, and in large ones.
FIT, FIT_LARGE = 36.0, 44.0

# Pixels of a column at most that a word of its label needs.
MAX_FIT = 60.0

# Pixels that an ordinary character takes, by its size in points.
LETTERS = {9: 6.9, 8: 6.1}

# From the best, a strong blue, to a grey that recedes, ever lighter. All differ from a light and from a dark page.
COLOURS = LinearSegmentedColormap.from_list("behind", ["#0a55a0", "#2e8bc4", "#86bcd2", "#b4b5b0"])

# By the runs that failed: none, some, all.
HATCHES = ("", "////", "xxxxxx")


@report_style
def points_behind(
    behind: pd.DataFrame,
    means: pd.DataFrame,
    standing: pd.DataFrame,
    failed: pd.DataFrame,
    columns: Sequence[tuple[str, str]],
) -> Drawing:
    """Percentage points behind the highest mean of each combination.

    Colours end at `MAX_COLOURED_POINTS`, so that they distinguish those that compete; the numbers do not. Where runs
    failed, a cell is hatched, and more densely where all did.

    Parameters
    ----------
    behind
        The points by initializer, in the order of the rows, and combination; NaN is blank.
    means
        The mean test accuracies, fractions, in the shape of `behind`.
    standing
        The standing of each mean, a key of `MARKS`, in this shape.
    failed
        The shares of failed runs, in this shape.
    columns
        For each column, the group of neighbours that it belongs to, or an empty string, and its label in the group,
        a line for each setting.
    """
    texts = behind.map(lambda value: "" if pd.isna(value) else f"{value:.1f}") + standing.replace(MARKS)
    fates = (failed > 0).astype(int) + (failed >= 1)
    meanings = [
        (sign, text)
        for sign, text, cells in (
            ("•", "among the best", standing == "best"),
            ("◦", "cannot be ruled out", standing == "open"),
            (HATCHES[1], "some runs failed", fates == 1),
            (HATCHES[2], "all runs failed", fates == 2),
        )
        if cells.any(axis=None)
    ]
    steps = [*((f"{points}", shade(points)) for points in range(MAX_COLOURED_POINTS)), (f"{MAX_COLOURED_POINTS}+", 1.0)]
    scale = (steps, "points behind the best")
    canvas = _grid(texts, behind.map(shade), columns, scale, standing == "best", fates, meanings)
    rows = [[str(name), *texts.loc[name]] for name in behind.index]
    for row, name in zip(rows, behind.index, strict=True):
        row[1:] = [
            f"{text} ({percent(mean)}{', ' * bool(fate)}{('', 'some runs failed', 'all runs failed')[fate]})"
            if text
            else "–"
            for text, mean, fate in zip(row[1:], means.loc[name], fates.loc[name], strict=True)
        ]
    values = describe_values([row[0] for row in rows], [row[1:] for row in rows], behind.columns)
    signs = "".join(f"; {sign}: {text}" for sign, text in meanings if sign in MARKS.values())
    return Drawing(
        canvas,
        "Percentage points of mean test accuracy behind the highest mean of each combination, with the mean, by "
        f"initializer, the best average rank first{signs}. {values}.",
        ["Initializer", *map(str, behind.columns)],
        rows,
        title="Percentage points behind the best of each column",
    )


@report_style
def epochs_map(
    epochs: pd.DataFrame,
    columns: Sequence[tuple[str, str]],
    description: str,
    numbers: tuple[list[str], list[list[str]]] | None = None,
) -> Drawing:
    """Numbers of epochs by initializer and combination, fewer being better; NaN is blank. `columns` as above.

    `numbers` are the headings and rows of the figure's table, by default those of the map.
    """
    low, high = float(np.nanmin(epochs.to_numpy())), float(np.nanmax(epochs.to_numpy()))
    texts = epochs.map(lambda value: "" if pd.isna(value) else f"{value:.0f}")
    shades = (epochs - low) / ((high - low) or 1.0)
    some = np.unique(np.linspace(low, high, 6).round())
    scale = ([(f"{value:.0f}", (value - low) / (high - low)) for value in some], "epochs") if high > low else ([], "")
    canvas = _grid(texts, shades, columns, scale)
    rows = [[str(name), *(text or "–" for text in texts.loc[name])] for name in epochs.index]
    values = describe_values([row[0] for row in rows], [row[1:] for row in rows], epochs.columns)
    headings, rows = numbers or (["Initializer", *map(str, epochs.columns)], rows)
    return Drawing(canvas, f"{description}. {values}.", headings, rows, title="Median epochs until near the leader")


@report_style
def statistics_map(table: pd.DataFrame, shares: Sequence[str], title: str) -> Drawing:
    """Statistics by initializer, `table` with one column each; each column has a scale of its own, dark being high.

    Columns named in `shares` are fractions. A scale is logarithmic where the highest value is more than ten times the
    lowest. Values that are not finite have no colour.
    """
    texts = pd.DataFrame(
        {
            column: [short_magnitude(value) if column not in shares else _share(value) for value in values]
            for column, values in table.items()
        },
        index=table.index,
    )
    shades = table.apply(lambda values: _column_shades(values, log=values.name not in shares))
    canvas = _grid(texts, shades, [("", str(column)) for column in table.columns], ([], ""))
    rows = [[str(name), *texts.loc[name]] for name in table.index]
    values = describe_values([row[0] for row in rows], [row[1:] for row in rows], table.columns)
    headings = ["Initializer", *map(str, table.columns)]
    return Drawing(canvas, f"Statistics before training, {title}. {values}.", headings, rows, title=title)


def _share(value: float) -> str:
    return percent(value, 0) if math.isfinite(value) else short_magnitude(value)


def _column_shades(values: "pd.Series[float]", *, log: bool) -> "pd.Series[float]":
    """The places of a column's values in the colours: 0, the strong colour, for the highest."""
    drawn: Any = values.where(np.isfinite(values))
    positive = drawn[drawn > 0]
    if log and len(positive) and positive.max() > MIN_LOG_RATIO * positive.min():
        drawn = np.log10(drawn.where(drawn > 0, positive.min()).where(drawn.notna()))
    low, high = drawn.min(), drawn.max()
    shades: pd.Series[float] = (1 - (drawn - low) / ((high - low) or 1.0)).fillna(1.0)
    return shades


def shade(points: float) -> float:
    """The place of points in the colours, from 0 to 1: small differences have more of them.

    >>> shade(0.0), round(shade(1.0), 2), shade(5.0), shade(80.0)
    (0.0, 0.38, 1.0, 1.0)
    """
    return float(min(points / MAX_COLOURED_POINTS, 1.0) ** 0.6)


def _grid(
    texts: pd.DataFrame,
    shades: pd.DataFrame,
    columns: Sequence[tuple[str, str]],
    scale: tuple[Sequence[tuple[str, float]], str],
    strong: pd.DataFrame | None = None,
    hatched: pd.DataFrame | None = None,
    meanings: Sequence[tuple[str, str]] = (),
) -> Figure:
    """Texts on colours: shades from 0 to 1. The `scale` is some texts with their shades, and what they are.

    `strong` texts are bold, `hatched` has the index of a cell's hatch, `meanings` what marks and hatches mean.
    """
    names = stacked([str(name) for name in texts.index])
    left = 14 + LETTERS[9] * max(width_of(line) for name in names for line in name.split("\n"))
    requested = asked_width()
    limit = requested or (NARROW if len(columns) <= MAX_LARGE_COLUMNS else WIDE)
    canvas = Figure()
    axes = canvas.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    right = bottom = 0.0
    word = max(width_of(word) for _, label in columns for word in label.replace("_", "_ ").split())
    fit = min(max(FIT, LETTERS[8] * word + 4), MAX_FIT)  # so that a word of a label is whole
    for block in _blocks(columns, int((limit - left) / fit)):
        cells = _Cells(
            texts.to_numpy()[:, block],
            shades.to_numpy(float)[:, block],
            *(
                np.zeros((len(names), len(block)), int) if table is None else table.to_numpy(int)[:, block]
                for table in (strong, hatched)
            ),
        )
        top = bottom + 2 * GAP if bottom else 0.0
        edge, bottom = _draw_block(axes, top, (left, limit), names, [columns[j] for j in block], cells)
        right = max(right, edge)
    width = requested or max(right, LEAST)
    key = _placed(meanings, width)
    if scale[0]:
        _scale(axes, 4.0, bottom + 8, *scale)
    for (sign, text), (x, line) in zip(meanings, key, strict=True):
        y = bottom + 32 + line
        if sign in HATCHES:
            _tile(axes, (x, y), (16, 12), COLOURS(1.0), sign)
        else:
            axes.text(x + 8, y + 6, sign, ha="center", va="center", fontsize=scaled(9), fontweight="bold")
        axes.text(x + 22, y + 6, text, va="center", fontsize=scaled(8))
    height = bottom + 8 + 22 * bool(scale[0]) + 20 * len({y for _, y in key})
    canvas.set_size_inches(scaled(width / 96), scaled(height / 96))
    axes.set(xlim=(0, width), ylim=(height, 0))
    return canvas


@dataclass(frozen=True)
class _Cells:
    """Of some columns, the strings, shades from 0 to 1, whether a string is bold, and the index of the hatch."""

    texts: Any
    shades: Any
    bold: Any
    hatches: Any


def _blocks(columns: Sequence[tuple[str, str]], most: int) -> list[list[int]]:
    """The columns in blocks of at most this number, below each other: by group if each fits, else of equal sizes."""
    most = max(1, most)
    if asked_width() is None or len(columns) <= most:
        return [list(range(len(columns)))]
    groups = [list(group) for _, group in itertools.groupby(range(len(columns)), lambda j: columns[j][0])]
    if len(groups) > 1 and max(map(len, groups)) <= most:
        return groups
    return [part.tolist() for part in np.array_split(np.arange(len(columns)), math.ceil(len(columns) / most))]


def _draw_block(
    axes: Any,
    top: float,
    room: tuple[float, float],
    names: Sequence[str],
    columns: Sequence[tuple[str, str]],
    cells: _Cells,
) -> tuple[float, float]:
    """Draw the columns between these ends, from a height on; returns where the block ends at the right and below."""
    left, limit = room
    groups = list(dict.fromkeys(group for group, _ in columns))
    widest = limit - left - GAP * (len(groups) - 1) - 2
    few = len(columns) <= MAX_LARGE_COLUMNS and widest / len(columns) >= FIT_LARGE
    words = [word for _, label in columns for word in label.replace("_", "_ ").split()]
    size = 9 if few and LETTERS[9] * max(map(width_of, words)) + 4 <= widest / len(columns) else 8
    labels, cell = _labels([label for _, label in columns], widest / len(columns), LETTERS[size])
    cell = widest / len(columns) if asked_width() else cell
    starts = [left + cell * j + GAP * groups.index(group) for j, (group, _) in enumerate(columns)]
    spans = [[x for x, (of, _) in zip(starts, columns, strict=True) if of == group] for group in groups]
    heads = ["\n".join(wrapped(g, int((x[-1] + cell - x[0]) / LETTERS[9]))) for g, x in zip(groups, spans, strict=True)]
    rule = top + (LINE * max(_lines(head) for head in heads) + 8 if any(heads) else 0.0)
    top = rule + LINE * max(map(_lines, labels)) + 8
    height = max(MIN_ROW, 6 + LINE * max(map(_lines, names)))
    for head, at in zip(heads, spans, strict=True):
        if head:
            middle = (at[0] + at[-1] + cell) / 2
            axes.text(middle, rule - 3, head, ha="center", va="bottom", fontsize=scaled(9), fontweight="bold")
            axes.plot([at[0] + 2, at[-1] + cell - 2], [rule, rule], color=INK, linewidth=scaled(0.8))
    for x, text in zip(starts, labels, strict=True):
        axes.text(x + cell / 2, top - 4, text, ha="center", va="bottom", fontsize=scaled(size))
    for i, name in enumerate(names):
        y = top + height * i
        axes.text(left - 6, y + height / 2, name, ha="right", va="center", fontsize=scaled(9))
        for j, x in enumerate(starts):
            if cells.texts[i, j]:
                colour = COLOURS(cells.shades[i, j])
                ink = _tile(axes, (x + 1, y + 1), (cell - 2, height - 2), colour, HATCHES[cells.hatches[i, j]])
                style: Any = {
                    "fontsize": scaled(10 if few else 8),
                    "fontweight": "bold" if cells.bold[i, j] else "normal",
                }
                if cells.hatches[i, j]:
                    style["bbox"] = {"boxstyle": "square,pad=0.15", "facecolor": colour, "edgecolor": "none"}
                middle = x + cell / 2
                axes.text(middle, y + height / 2, cells.texts[i, j], ha="center", va="center", color=ink, **style)
    return starts[-1] + cell + 2, top + height * len(names)


def _labels(labels: Sequence[str], widest: float, letter: float) -> tuple[list[str], float]:
    """The columns' labels, broken into lines, and the width of a column that has room for them."""
    lines = [line for label in labels for line in label.split("\n")]
    word = max(width_of(word) for line in lines for word in line.replace("_", "_ ").split())
    cell = min(max(letter * max(map(width_of, lines)) + 8, MIN_CELL), max(letter * word + 4, MAX_CELL), widest)
    width = max(1, int((cell - 3) / letter))
    short = ["\n".join(part for line in label.split("\n") for part in wrapped(line, width)) for label in labels]
    if word > width or max(map(_lines, short)) > MAX_COLUMN_LINES:
        cut = shorten([label.replace("\n", ", ") for label in labels], [MAX_COLUMN_LINES * width - 2] * len(labels))
        short = ["\n".join(wrapped(label, width)) for label in cut]
    return short, cell


def _lines(text: str) -> int:
    return text.count("\n") + bool(text)


def _tile(axes: Any, corner: tuple[float, float], size: tuple[float, float], colour: Any, hatch: str) -> str:
    """Draw a cell; returns the colour, black or white, that has more contrast on it."""
    ink = "#000000" if luminance(colour) > 0.18 else "#ffffff"
    axes.add_patch(Rectangle(corner, *size, facecolor=colour, edgecolor="none"))
    if hatch:
        axes.add_patch(Rectangle(corner, *size, facecolor="none", edgecolor=ink, linewidth=0, hatch=hatch, alpha=0.6))
    return ink


def _scale(axes: Any, x: float, y: float, steps: Sequence[tuple[str, float]], meaning: str) -> None:
    """Draw the colours of some numbers, with the numbers in them, and what they are."""
    for text, part in steps:
        ink = _tile(axes, (x, y), (23, 16), COLOURS(part), "")
        axes.text(x + 11.5, y + 8, text, ha="center", va="center", fontsize=scaled(8), color=ink)
        x += 24
    axes.text(x + 5, y + 8, meaning, va="center", fontsize=scaled(8))


def _placed(meanings: Sequence[tuple[str, str]], width: float) -> list[tuple[float, float]]:
    """Where each entry of the key stands, in lines of this width."""
    places, x, y = [], 4.0, 0.0
    for _, text in meanings:
        needed = 34 + LETTERS[8] * width_of(text)
        if x > 4 and x + needed > width:
            x, y = 4.0, y + 20
        places.append((x, y))
        x += needed
    return places
