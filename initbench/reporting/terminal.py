"""The summary of an experiment in the terminal: the answer for each combination, in a row."""

import re
from collections.abc import Sequence

from initbench.reporting import numbers
from initbench.reporting.answers import answers, warnings
from initbench.reporting.evidence import Evidence
from initbench.reporting.narrative import shortened
from initbench.reporting.numbers import MARKS


def summary_table(evidence: Evidence, command: Sequence[str] = ()) -> None:
    """Print what to use in each combination, its test accuracy, how sure that is, and how many runs failed.

    Where the learning rate is an axis, with each initializer at its own best. `command` runs the experiment: below the
    table, what settles the combinations that are open.
    """
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=False, highlight=False)
    cautions, own_best = warnings(evidence), evidence.first is not evidence
    evidence = evidence.first
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("Combination", "Use", "Test accuracy", "Certainty", "Failed"):
        table.add_column(heading, no_wrap=heading in ("Test accuracy", "Certainty", "Failed"), overflow="fold")
    accuracies, is_open = [], False
    by_combination = answers(evidence, command)
    for answer, (_, rows) in zip(by_combination, evidence.combinations, strict=True):
        behind = [name for name in rows.loc[rows["standing"] == "open", "initializer"] if name not in answer.names]
        is_open |= bool(behind)
        use = ", ".join(shortened([*answer.names, *(MARKS["open"] + name for name in behind)])) or "–"
        failed = f"{int(rows['failed'].sum())} of {int(rows['seeds'].sum())}"
        # As they are: a data set's name may look like markup.
        table.add_row(*map(Text, (answer.title, use, answer.accuracy, answer.certainty_label, failed)))
        accuracies.append(answer.accuracy)
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
    legend = []
    if re.search("[±+]", "".join(accuracies)):
        legend.append("±: 95% interval of the mean over seeds.")
    if "†" in "".join(accuracies):
        legend.append("†: contains the true mean less often (runs failed or on a plateau; skewed or all equal).")
    kinds = {answer.kind for answer in by_combination}
    if kinds & {"decided", "tie", "open"}:
        legend.append("None under Use is significantly worse than another.")
    if is_open:
        legend.append("◦: more than a point lower, but not ruled out.")
    if "tie" in kinds and evidence.grid.equivalent_within is not None:
        within = numbers.in_points(evidence.grid.equivalent_within)
        legend.append(f"Tie: each costs at most {within}.")
    if own_best:
        legend.append("Each initializer is at its own best learning rate.")
    console.print(" ".join(legend), soft_wrap=True)
    for caution in cautions:
        console.print(caution, soft_wrap=True, markup=False)
    for settle in dict.fromkeys(answer.command for answer in by_combination if answer.command):
        console.print(f"To settle what is open: {settle}", soft_wrap=True, markup=False)
