"""Heat maps: a number for each initializer and each value of another setting, or each combination."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker

from initbench.reporting.figures.axes import WIDTH, Ticks, panel, set_title
from initbench.reporting.figures.drawing import Drawing, described
from initbench.reporting.figures.labels import shortened, stacked
from initbench.reporting.figures.style import luminance, styled
from initbench.reporting.limits import MAX_COLUMN_LABEL

# What stands beside the number of an initializer that is among the best, or cannot be ruled out.
MARKS = {"best": "•", "open": "◦", "": ""}


@styled
def heat_map(
    wide: pd.DataFrame,
    title: str,
    label: str,
    description: str,
    *,
    limits: tuple[float, float] | None = None,
    standing: pd.DataFrame | None = None,
    show: Callable[[float], str] = lambda value: f"{value:.1f}",
    reverse: bool = False,
    width: float = WIDTH,
    bar: bool = True,
    integer: bool = False,
) -> Drawing:
    """Numbers by initializer (the index) and another setting (the columns); NaN is blank.

    Parameters
    ----------
    wide
        The numbers.
    title
        The panel's title.
    label
        What a number is, for the bar of colours.
    description
        What the figure shows, for its alternative text.
    limits
        The numbers of the first and the last colour; default the lowest and the highest of `wide`.
    standing
        The standing of each number, a key of `MARKS`, in the shape of `wide`.
    show
        Formats a number.
    reverse
        Whether less is better.
    width
        The width in inches.
    bar
        Whether there is a bar of colours.
    integer
        Whether the numbers are integers.
    """
    labels = stacked([str(name) for name in wide.index])
    columns = shortened([str(name) for name in wide.columns], [MAX_COLUMN_LABEL] * wide.shape[1])
    heights = sum(max(0.42, 0.16 * (1 + text.count("\n"))) for text in labels)
    canvas, axes = panel(heights + 1.3 + 0.08 * max(map(len, columns), default=0) * 0.5, 1, width)
    low, high = limits or (float(np.nanmin(wide.to_numpy())), float(np.nanmax(wide.to_numpy())))
    texts = wide.map(lambda value: "" if pd.isna(value) else show(value))
    sns.heatmap(
        wide, annot=texts, fmt="", cmap="cividis_r" if reverse else "cividis", vmin=low, vmax=high or 1, linewidths=1,
        ax=axes, annot_kws={"fontsize": 10 if wide.shape[1] <= 8 else 8}, cbar=bar, cbar_kws={"label": label},
        xticklabels=columns, yticklabels=labels, linecolor="#808080",
    )  # fmt: skip
    colours = axes.collections[0].get_facecolors()
    written = iter(axes.texts)
    for i, value in enumerate(wide.to_numpy(float).ravel()):
        if pd.isna(value):
            continue  # nothing is written there
        text = next(written)
        text.set_color("black" if luminance(colours[i]) > 0.18 else "white")  # the one with more contrast
        mark = "" if standing is None else standing.to_numpy().ravel()[i]
        text.set_text(text.get_text() + MARKS[mark])
        if mark == "best":
            text.set_fontweight("bold")
    if bar:
        scale = axes.collections[0].colorbar
        scale.formatter = Ticks()
        if integer:
            scale.locator = ticker.MaxNLocator(integer=True, nbins=8, min_n_ticks=1)
        scale.update_ticks()
    axes.set(xlabel="", ylabel="")
    set_title(canvas, axes, title)
    axes.grid(visible=False)
    axes.tick_params(axis="y", rotation=0)
    if wide.shape[1] > 2 or max(map(len, columns)) > 20:
        axes.set_xticklabels(axes.get_xticklabels(), rotation=30, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0, labelsize=9)
    rows = [[str(name), *(texts.loc[name, column] or "–" for column in wide.columns)] for name in wide.index]
    if standing is not None:
        rows = [[row[0], *(t + MARKS[m] for t, m in zip(row[1:], standing.loc[row[0]], strict=True))] for row in rows]
    head = f"{description}{', ' * bool(title)}{title}"
    numbers = described([row[0] for row in rows], [row[1:] for row in rows], wide.columns)
    return Drawing(canvas, f"{head}. {numbers}.", ["Initializer", *map(str, wide.columns)], rows)
