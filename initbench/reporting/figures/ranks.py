"""Average ranks over the combinations, as a critical-difference diagram (Demšar 2006, section 3.2.4) on its side."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import ticker

from initbench.reporting.figures.axes import Ticks
from initbench.reporting.figures.drawing import Drawing, describe_values
from initbench.reporting.figures.forest import draw_intervals, panel_of_rows
from initbench.reporting.figures.style import INK, report_style
from initbench.reporting.layout import scaled
from initbench.reporting.palette import Palette


@report_style
def rank_diagram(
    ranks: pd.DataFrame, groups: Sequence[tuple[int, int]], palette: Palette, combinations: int
) -> Drawing:
    """Average ranks, best first, and a bar along those without a significant difference.

    `groups` has the first and last row of `ranks` of each bar; none where no test can reach significance.
    """
    names = list(ranks["initializer"])
    mean = ranks["mean_rank"].to_numpy(float)
    numbers = [f"{rank:.2f}" for rank in mean]
    canvas, axes = panel_of_rows(names, numbers)
    no_interval = np.full(len(names), np.nan)
    draw_intervals(axes, names, [mean, no_interval, no_interval], palette)
    for i, (first, last) in enumerate(groups):
        x = len(names) + 0.25 + 0.2 * i
        axes.plot([x, x], [first - 0.2, last + 0.2], color=INK, linewidth=scaled(4), solid_capstyle="butt", zorder=4)
    axes.set(xlim=(0.8, len(names) + 0.4 + 0.2 * len(groups)), xlabel="Average rank, 1 is the best")
    ticks = np.asarray(ticker.MaxNLocator(integer=True, nbins=8).tick_values(1, len(names)))
    axes.set_xticks(ticks[(ticks >= 1) & (ticks <= len(names))])
    axes.xaxis.set_major_formatter(Ticks())
    joined = "; ".join(f"from {names[first]} to {names[last]}" for first, last in groups)
    alternative = f"Average ranks over {combinations} combinations: {describe_values(names, numbers)}."
    return Drawing(
        canvas,
        alternative + (f" No significant difference: {joined}." if groups else ""),
        ["Initializer", "Average rank", "First or shared first"],
        [[n, t, str(int(first))] for n, t, first in zip(names, numbers, ranks["best_in"], strict=True)],
        title=f"Average rank over {combinations} combinations",
    )
