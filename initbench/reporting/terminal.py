"""The summary of an experiment in the terminal: one row for each combination."""

import pandas as pd

from initbench.reporting import names, narrative, numbers
from initbench.reporting.evidence import combination_of
from initbench.spec.grid import Grid


def summary_table(verdicts: pd.DataFrame, grid: Grid) -> None:
    """Print the leader of each combination, its test accuracy, and the other initializers among the best.

    `verdicts` is the table of `stats.verdicts`, with short names of initializers.
    """
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=False, highlight=False)
    combination = combination_of(grid)
    table = Table(box=box.SIMPLE_HEAD, title=None)
    for heading in ("Combination", "Leader", "Test accuracy", "Also among the best", "Failed"):
        table.add_column(heading, no_wrap=heading == "Test accuracy", overflow="fold")
    for _, rows in verdicts.groupby(combination, sort=False):
        failed = f"{int(rows['failed'].sum())} of {int(rows['seeds'].sum())}"
        if not rows["leader"].any():
            cells = (
                names.title(combination, rows.iloc[0]),
                f"none: {narrative.none_trained(rows).lower()}",
                "–",
                "",
                failed,
            )
            table.add_row(*map(Text, cells))
            continue
        leader = rows[rows["leader"]].iloc[0]
        others = rows[~rows["leader"]]
        also = ", ".join(others.loc[others["standing"] == "best", "initializer"])
        if len(others) and not others["difference_low"].notna().any():
            also = f"unknown: {'one seed' if narrative.has_one_seed(rows) else 'too few common seeds'}"
        cells = (names.title(combination, leader), leader["initializer"], numbers.marked(leader), also, failed)
        table.add_row(*map(Text, cells))  # as it is: a data set's name may look like markup
    # A name is never broken: a terminal that is too narrow wraps the lines itself.
    widest = Measurement.get(console, console.options.update(max_width=10_000), table).minimum
    console.width = max(console.width, widest)
    console.print(table)
    accuracies = "".join(map(str, table.columns[2].cells))
    if "±" in accuracies:
        legend = "±: 95% interval of the mean over seeds. "
        legend += (
            "†: contains the true mean less often (runs failed or on a plateau, or accuracies skewed, or all equal). "
            * ("†" in accuracies)
        )
        legend += "Best: not significantly worse than any other, and at most one point below the leader."
        console.print(legend, soft_wrap=True)
