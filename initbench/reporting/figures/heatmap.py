"""Heat maps: a number for each initializer and each value of another setting, or each combination."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker

from initbench.reporting.figures.axes import WIDTH, Ticks, panel
from initbench.reporting.figures.drawing import Drawing, describe_values
from initbench.reporting.figures.labels import shorten, stacked
from initbench.reporting.figures.style import luminance, report_style
from initbench.reporting.limits import MAX_COLUMN_LABEL, MAX_LARGE_COLUMNS, MAX_LEVEL_COLUMNS, MAX_LEVEL_LABEL
from initbench.reporting.names import MARKS


@report_style
def heat_map(
    values: pd.DataFrame,
    title: str,
    label: str,
    description: str,
    *,
    limits: tuple[float, float] | None = None,
    standing: pd.DataFrame | None = None,
    fmt: Callable[[float], str] = lambda value: f"{value:.1f}",
    lower_is_better: bool = False,
    width: float = WIDTH,
    colorbar: bool = True,
    integer: bool = False,
) -> Drawing:
    """Numbers by initializer (the index) and another setting (the columns); NaN is blank.

    Parameters
    ----------
    values
        The numbers.
    title
        The panel's title.
    label
        What a number is, for the colour bar.
    description
        What the figure shows, for its alternative text.
    limits
        The numbers of the first and the last colour; default the lowest and the highest of `values`.
    standing
        The standing of each number, a key of `MARKS`, in the shape of `values`.
    fmt
        The function that formats a number.
    lower_is_better
        Whether lower numbers are better: then the colours are reversed.
    width
        The width in inches.
    colorbar
        Whether there is a colour bar.
    integer
        Whether the numbers are integers.
    """
    labels = stacked([str(name) for name in values.index])
    columns = shorten([str(name) for name in values.columns], [MAX_COLUMN_LABEL] * values.shape[1])
    heights = sum(max(0.42, 0.16 * (1 + text.count("\n"))) for text in labels)
    canvas, axes = panel(heights + 1.1 + 0.08 * max(map(len, columns), default=0) * 0.5, 1, width)
    low, high = limits or (float(np.nanmin(values.to_numpy())), float(np.nanmax(values.to_numpy())))
    texts = values.map(lambda value: "" if pd.isna(value) else fmt(value))
    sns.heatmap(
        values, annot=texts, fmt="", cmap="cividis_r" if lower_is_better else "cividis", vmin=low, vmax=high or 1,
        linewidths=1, ax=axes, annot_kws={"fontsize": 10 if values.shape[1] <= MAX_LARGE_COLUMNS else 8}, cbar=colorbar,
        cbar_kws={"label": label}, xticklabels=columns, yticklabels=labels, linecolor="#808080",
    )  # fmt: skip
    colours = axes.collections[0].get_facecolors()
    written = iter(axes.texts)
    for i, value in enumerate(values.to_numpy(float).ravel()):
        if pd.isna(value):
            continue  # nothing is written there
        text = next(written)
        text.set_color("black" if luminance(colours[i]) > 0.18 else "white")  # the one with more contrast
        mark = "" if standing is None else standing.to_numpy().ravel()[i]
        text.set_text(text.get_text() + MARKS[mark])
        if mark == "best":
            text.set_fontweight("bold")
    if colorbar:
        scale = axes.collections[0].colorbar
        scale.formatter = Ticks()
        if integer:
            scale.locator = ticker.MaxNLocator(integer=True, nbins=8, min_n_ticks=1)
        scale.update_ticks()
    axes.set(xlabel="", ylabel="")
    axes.grid(visible=False)
    axes.tick_params(axis="y", rotation=0)
    if values.shape[1] > MAX_LEVEL_COLUMNS or max(map(len, columns)) > MAX_LEVEL_LABEL:
        axes.set_xticklabels(axes.get_xticklabels(), rotation=30, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0, labelsize=9)
    rows = [[str(name), *(texts.loc[name, column] or "–" for column in values.columns)] for name in values.index]
    if standing is not None:
        rows = [[row[0], *(t + MARKS[m] for t, m in zip(row[1:], standing.loc[row[0]], strict=True))] for row in rows]
    head = f"{description}{', ' * bool(title)}{title}"
    numbers = describe_values([row[0] for row in rows], [row[1:] for row in rows], values.columns)
    return Drawing(canvas, f"{head}. {numbers}.", ["Initializer", *map(str, values.columns)], rows, title=title)
