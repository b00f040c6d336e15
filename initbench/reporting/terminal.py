"""The summary of an experiment in the terminal: one row for each combination."""

import re

import pandas as pd

from initbench.reporting import names, narrative, numbers
from initbench.reporting.evidence import combination_of
from initbench.spec.grid import Grid


def summary_table(verdicts: pd.DataFrame, grid: Grid) -> None:
    """Print the leader of each combination, its test accuracy, and the other initializers among the best.

    Where the grid file declares what counts as equivalent, those that are equivalent to the best too. `verdicts` is the
    table of `stats.verdicts`, with short names of initializers.
    """
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=False, highlight=False)
    combination = combination_of(grid)
    table = Table(box=box.SIMPLE_HEAD, title=None)
    within = grid.equivalent_within
    equivalent = [f"Equivalent within {within:g}"] if verdicts["equivalent"].any() else []
    for heading in ("Combination", "Leader", "Test accuracy", "Also among the best", *equivalent, "Failed"):
        table.add_column(heading, no_wrap=heading in ("Test accuracy", "Failed"), overflow="fold")
    for _, rows in verdicts.groupby(combination, sort=False):
        failed = f"{int(rows['failed'].sum())} of {int(rows['seeds'].sum())}"
        if not rows["leader"].any():
            cells = (
                names.title(combination, rows.iloc[0]),
                f"none: {narrative.none_trained(rows).lower()}",
                "–",
                *[""] * len(equivalent),
                "",
                failed,
            )
            table.add_row(*map(Text, cells))
            continue
        leader = rows[rows["leader"]].iloc[0]
        others = rows[~rows["leader"]]
        among = others[others["standing"] != ""].sort_values("difference", kind="stable")
        marks = {"best": "", "open": names.MARKS["open"]}
        also = ", ".join(marks[row["standing"]] + row["initializer"] for _, row in among.iterrows())
        if len(others) and not rows["p"].notna().any():
            also = f"unknown: {'one seed' if narrative.has_one_seed(rows) else 'too few common seeds'}"
        costs = [", ".join(rows.loc[rows["equivalent"], "initializer"])] * len(equivalent)
        cells = (names.title(combination, leader), leader["initializer"], numbers.marked(leader), also, *costs, failed)
        table.add_row(*map(Text, cells))  # as it is: a data set's name may look like markup
    # A name is never broken: a terminal that is too narrow wraps the lines itself.
    unlimited = console.options.update(max_width=10_000)
    wanted = []
    for column in table.columns:
        sizes = [Measurement.get(console, unlimited, cell) for cell in (column.header, *column.cells)]
        wanted.append(max(size.maximum for size in sizes))
        column.width = wanted[-1] if column.no_wrap else max(size.minimum for size in sizes)
    console.width = max(console.width, Measurement.get(console, unlimited, table).minimum)
    for column, width in zip(table.columns, wanted, strict=True):
        spare = console.width - Measurement.get(console, unlimited, table).minimum
        column.width = min(width, (column.width or 0) + spare)
    console.print(table)
    accuracies = "".join(map(str, table.columns[2].cells))
    if re.search("[±+]", accuracies):
        legend = [
            "±: 95% interval of the mean over seeds; that of a leader reaches further down, because it was selected."
        ]
        if "†" in accuracies:
            legend.append(
                "†: contains the true mean less often (runs failed or on a plateau; accuracies skewed or all equal)."
            )
        behind = "; ◦: more than a point below the leader" * bool((verdicts["standing"] == "open").any())
        legend.append(f"Among the best: not significantly worse than any other initializer{behind}.")
        if within is not None:
            shown = "" if equivalent else ", which is shown for none"
            legend.append(f"Equivalent within {numbers.in_points(within)}: choosing it costs at most that{shown}.")
        console.print(" ".join(legend), soft_wrap=True)
