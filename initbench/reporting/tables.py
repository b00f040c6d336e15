"""The table of means as text for a paper or a page: Markdown and LaTeX, the initializers among the best in bold."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from initbench.reporting import names, numbers, seeds
from initbench.reporting.evidence import Evidence, combination_of
from initbench.spec.grid import Grid

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "†": r"$\dagger$",
    "◦": r"$\circ$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}

# What Markdown takes for more than itself.
MARKDOWN = "\\|_*`[]<>&"


def rows_of(frame: pd.DataFrame, grid: Grid) -> tuple[list[str], list[tuple[bool, list[str]]]]:
    """The headings, and for each initializer of each combination whether it is among the best, and its cells as
    text.
    """
    combination = combination_of(grid)
    evidence = Evidence.of(frame, grid)
    table = evidence.verdicts_of(evidence.frame, combination)
    headings = [*(setting.replace("_", " ") for setting in combination), "initializer"]
    headings += ["test accuracy", "without failed", "failed", "behind, points", "costs at most"]
    return headings, [(row["standing"] == "best", _cells(row, combination)) for _, row in table.iterrows()]


def _cells(row: Any, combination: Sequence[str]) -> list[str]:
    behind = "leader" if row["leader"] else numbers.difference(row, "difference")
    mark = f" {names.MARKS['open']}" * (row["standing"] == "open")
    accuracies = [numbers.marked(row) + mark, numbers.interval(row, "trained")]
    named = [names.setting_text(setting, row[setting]) for setting in (*combination, "initializer")]
    failed, costs = f"{int(row['failed'])} of {int(row['seeds'])}", numbers.at_most(row["regret_bound"])
    return [*named, *accuracies, failed, behind, costs]


def markdown(frame: pd.DataFrame, grid: Grid) -> str:
    """A table that GitHub and Pandoc read."""
    headings, rows = rows_of(frame, grid)
    bold = range(len(headings) - 6, len(headings) - 4)  # the initializer and its accuracy
    lines = ["| " + " | ".join(headings) + " |", "|" + " --- |" * len(headings)]
    for best, cells in rows:
        escaped = [
            "".join(f"\\{character}" if character in MARKDOWN else character for character in cell) for cell in cells
        ]
        lines.append(
            "| " + " | ".join(f"**{cell}**" if best and i in bold else cell for i, cell in enumerate(escaped)) + " |"
        )
    return "\n".join([*lines, "", f"{note(grid)}", ""])


def latex(frame: pd.DataFrame, grid: Grid) -> str:
    """A `tabular` with the rules of the package booktabs, and a little space between combinations."""
    headings, rows = rows_of(frame, grid)

    bold = range(len(headings) - 6, len(headings) - 4)

    def line(cells: Sequence[str], best: bool = False) -> str:
        escaped = ["".join(LATEX.get(character, character) for character in cell) for cell in cells]
        texts = [rf"\textbf{{{cell}}}" if best and i in bold else cell for i, cell in enumerate(escaped)]
        return " & ".join(texts) + r" \\"

    body: list[str] = []
    combination_size = len(combination_of(grid))
    for i, (best, cells) in enumerate(rows):
        if i and cells[:combination_size] != rows[i - 1][1][:combination_size]:
            body.append(r"\addlinespace")
        body.append(line(cells, best))
    columns = "l" * (len(headings) - 5) + "rrrrr"
    parts = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(headings), r"\midrule", *body, r"\bottomrule"]
    comment = "".join(LATEX.get(character, character) for character in note(grid))
    return "\n".join([f"% {comment}", r"% Needs \usepackage{booktabs}.", *parts, r"\end{tabular}", ""])


def note(grid: Grid) -> str:
    """Return the note below the table: one to three sentences."""
    return (
        f"{grid.name}, {grid.shape}{_rule(grid)}: mean test accuracy and 95% interval (Student's t) over the seeds, "
        "and over those that did not fail (diverge or stay at chance); points behind the leader, paired by seed, "
        "with simultaneous intervals; and how many points choosing the initializer costs at most (95%). The leader "
        "has the highest validation accuracy; its interval reaches further down, because it was selected. The best "
        "is among those in bold and those marked ◦ (with a mean more than a point below the leader's): they are not"
        " significantly worse than any other initializer. †: the interval contains the true mean less often than "
        "95% (some runs failed or are on a plateau, or accuracies skewed across seeds, or all equal)."
    )


def _rule(grid: Grid) -> str:
    """Say what seeds were added for, and what holds then."""
    if grid.seed_rule is None:
        return ""
    until = f", added {seeds.rule_text(grid.seed_rule)}"
    return until + " (comparisons hold at every look)" * (grid.seed_rule.half_width is None)
