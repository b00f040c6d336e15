"""The summary of a run in the terminal: one row for each choice."""

import pandas as pd

from initbench import stats
from initbench.grid import Grid
from initbench.reporting import words
from initbench.reporting.page import choice_of


def summary_table(frame: pd.DataFrame, grid: Grid) -> None:
    """Print who leads each choice, with its test accuracy, and who else is among the best."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=False, highlight=False)
    if frame.empty:
        return
    choice = choice_of(grid)
    verdicts = stats.verdicts(frame, choice)
    table = Table(box=box.SIMPLE_HEAD, title=None)
    for heading in ("With", "Leader", "Test accuracy", "Also among the best", "Diverged"):
        table.add_column(heading, no_wrap=heading == "Test accuracy")
    for _, rows in verdicts.groupby(choice, sort=False):
        leader = rows[rows["leader"]].iloc[0]
        others = rows[~rows["leader"] & ~rows["told_apart"] & rows["mean"].notna()]
        also = ", ".join(others["initializer"]) if not pd.isna(leader["low"]) else "unknown: too few seeds"
        diverged, total = int(rows["diverged"].sum()), int(rows["seeds"].sum())
        table.add_row(
            words.title(choice, leader),
            leader["initializer"],
            words.interval(leader),
            also,
            f"{diverged} of {total}",
        )
    console.print(table)
