"""Means as a table for a paper or a page, in Markdown and LaTeX: a row for each initializer, the best in bold."""

import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from initbench import stats
from initbench.errors import printable
from initbench.reporting import limits, names, numbers, seeds
from initbench.reporting.evidence import Evidence
from initbench.reporting.explorer import LABELS
from initbench.spec.grid import Grid
from initbench.stats import METRIC

# Of a table in LaTeX: columns, beyond which it is scaled to the width of the page, and rows, beyond which it breaks.
MAX_SMALL_COLUMNS, MAX_TABULAR_ROWS = 7, 40

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after a row's end it would begin an argument
    "*": "{*}",  # and this would be part of the row's end
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "’": "'",
    "†": r"$\dagger$",
    "◦": r"$\circ$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}

# What Markdown takes for more than itself.
MARKDOWN = "\\|_*`[]<>&"


class Cell(NamedTuple):
    """A cell of a table: a string; or a mean, how far its interval reaches up and down, and its marks."""

    text: str
    above: str = ""
    below: str = ""
    marks: str = ""
    bold: bool = False
    is_mean: bool = False


class Table(NamedTuple):
    """A table, however it is written.

    `levels` are the rows of its headings, of which all but the last group the columns; `titles` is one heading for each
    column. `rows` are its cells, and `begins` the rows with which a combination begins. `alignment` has a letter for
    each column, as in LaTeX.
    """

    levels: list[list[str]]
    titles: list[str]
    rows: list[list[Cell]]
    begins: frozenset[int]
    alignment: str


def markdown(evidence: Evidence, layout: str = "", metric: str = METRIC, caption: str | None = None) -> str:
    """Return the means of an experiment as a table that GitHub and Pandoc read, with a note below it.

    Parameters
    ----------
    evidence
        The experiment's derived tables.
    layout
        `pivot`, a row for each initializer and a column for each combination, or `long`, a row for each initializer of
        each combination; by default what `default_layout` returns.
    metric
        One of `spec.columns.METRICS`, after the last epoch.
    caption
        A caption in Pandoc's form; by default there is none.
    """
    table = table_of(evidence, layout, metric)
    lines = ["| " + " | ".join(map(_markdown_text, table.titles)) + " |", "|" + " --- |" * len(table.titles)]
    lines += ["| " + " | ".join(map(_markdown_cell, row)) + " |" for row in table.rows]
    if caption is not None:
        lines += ["", f"Table: {_markdown_text(_one_line(caption))}"]
    return "\n".join([*lines, "", _markdown_text(note(evidence, layout, metric)), ""])


def latex(
    evidence: Evidence,
    layout: str = "",
    metric: str = METRIC,
    caption: str | None = None,
    label: str | None = None,
) -> str:
    r"""Return a `tabular` with the rules of the package booktabs; with a caption or a label, a complete `table`.

    The arguments are those of `markdown`, and `label`, the name for `\ref`. With a label alone, the caption says what
    the table has.
    """
    table = table_of(evidence, layout, metric)
    head = [r"\toprule", *_latex_headings(table), r"\midrule"]
    body = []
    for i, row in enumerate(table.rows):
        body += [r"\addlinespace"] * (i in table.begins) + [" & ".join(map(_latex_cell, row)) + r" \\"]
    body.append(r"\bottomrule")
    legend = _latex_text(note(evidence, layout, metric))
    captioned = caption is not None or label is not None
    caption = _describe(evidence, metric) if caption is None else _one_line(caption)
    labelled = [rf"\caption{{{_latex_text(caption)}}}" + rf"\label{{{label}}}" * bool(label)] * captioned
    wide = len(table.titles) > MAX_SMALL_COLUMNS
    style = [r"\scriptsize" if wide else r"\small", rf"\setlength{{\tabcolsep}}{{{3 if wide else 4}pt}}"]
    needs = r"Needs \usepackage{booktabs}"
    if len(body) > MAX_TABULAR_ROWS:  # more than a page is high
        lines = [rf"\begin{{longtable}}{{{table.alignment}}}", *(f"{line} \\\\" for line in labelled), *head]
        lines += [r"\endfirsthead", *head, r"\endhead", *body, r"\end{longtable}"]
        needs += r" and \usepackage{longtable}"
        if captioned:
            lines = [r"\begingroup", *style, *lines, rf"\noindent {legend}\par", r"\endgroup"]
    else:
        lines = [rf"\begin{{tabular}}{{{table.alignment}}}", *head, *body, r"\end{tabular}"]
        if captioned:
            # Scaled down to the width of the text if it is wider, and never up.
            width = r"\ifdim\width>\linewidth\linewidth\else\width\fi"
            lines = [rf"\resizebox{{{width}}}{{!}}{{%", *lines[:-1], r"\end{tabular}}"]
            needs += r" and \usepackage{graphicx}"
            below = ["", r"\smallskip", rf"\begin{{minipage}}{{\linewidth}}\footnotesize {legend}\end{{minipage}}"]
            lines = [r"\begin{table}", r"\centering", *labelled, *style, *lines, *below, r"\end{table}"]
            needs += "; table* is as wide as two columns"
    if not captioned:
        lines.append(f"% {legend}")
    return "\n".join([f"% {evidence.grid.name}. {needs}.", *lines, ""])


def default_layout(evidence: Evidence) -> str:
    """Return `pivot` for several combinations that are not more than a page is wide, else `long`."""
    return "pivot" if 1 < len(evidence.combinations) <= limits.MAX_PIVOT_COLUMNS else "long"


def table_of(evidence: Evidence, layout: str = "", metric: str = METRIC) -> Table:
    """Return the table of an experiment's means in a metric."""
    rows = evidence.results_in(metric)
    return (_pivot if (layout or default_layout(evidence)) == "pivot" else _long)(evidence, rows, metric)


def _pivot(evidence: Evidence, rows: pd.DataFrame, metric: str) -> Table:
    """A row for each initializer, a column for each combination, grouped by the loss where it varies."""
    settings = sorted(evidence.combination, key=lambda s: (s != "loss", s in names.CLEAR))
    position = {setting: {value: i for i, value in enumerate(dict.fromkeys(rows[setting]))} for setting in settings}
    columns = sorted(
        stats.by_combination(rows, evidence.combination),
        key=lambda column: [position[setting][column.iloc[0][setting]] for setting in settings],
    )
    if len(columns) == 1:
        titles = [_heading(metric)]
        levels = [titles]
    else:
        titles = [names.title(evidence.combination, column.iloc[0]) for column in columns]
        levels = [[names.title([setting], column.iloc[0]) for column in columns] for setting in settings]
    cells = [{row["initializer"]: _mean(row, metric) for _, row in column.iterrows()} for column in columns]
    return Table(
        [*(["", *level] for level in levels[:-1]), ["initializer", *levels[-1]]],
        ["initializer", *titles],
        [[Cell(name), *(column.get(name, Cell("–")) for column in cells)] for name in evidence.initializers],
        frozenset(),
        "l" * (1 + len(columns)),
    )


def _long(evidence: Evidence, rows: pd.DataFrame, metric: str) -> Table:
    """A row for each initializer of each combination; with the comparisons where the metric is what is compared."""
    settings = evidence.combination if len(evidence.combinations) > 1 else []
    failing = bool((rows["failed"] > 0).any())
    compared = metric == METRIC and len(evidence.initializers) > 1
    headings = [*(names.setting(setting) for setting in settings), "initializer", _heading(metric)]
    headings += ["without failed", "failed"] * failing + ["behind", "costs at most"] * compared
    cells = []
    for _, row in rows.iterrows():
        line = [Cell(names.setting_text(setting, row[setting])) for setting in settings]
        line += [Cell(row["initializer"], bold=row["standing"] == "best"), _mean(row, metric)]
        if failing:
            line += [_mean(row, metric, "trained"), Cell(f"{int(row['failed'])} of {int(row['seeds'])}")]
        if compared:
            behind = "leader" if row["leader"] else numbers.difference(row, "difference")
            line += [Cell(behind), Cell(numbers.at_most(row["regret_bound"]))]
        cells.append(line)
    sizes = [len(column) for column in stats.by_combination(rows, evidence.combination)]
    alignment = "l" * len(settings) + "ll" + "lr" * failing + "rr" * compared
    return Table([headings], headings, cells, frozenset(itertools.accumulate(sizes[:-1])), alignment)


def _heading(metric: str) -> str:
    return LABELS[metric].lower() + ", %" * metric.endswith("accuracy")


def _mean(row: Any, metric: str, runs: str = "all") -> Cell:
    """A row's mean with its interval; of all runs marked, and in bold if it is among the best."""
    if metric.endswith("accuracy"):
        text, above, below = numbers.interval_parts(row, runs)
    else:
        text, above = numbers.loss_parts(row, runs)
        below = above
    if runs != "all":
        return Cell(text, above, below, is_mean=True)
    marks = numbers.MARKS["open"] * (row["standing"] == "open") + "†" * bool(numbers.flag(row))
    return Cell(text, above, below, marks, row["standing"] == "best", is_mean=True)


def _describe(evidence: Evidence, metric: str) -> str:
    """The caption of a table to which the user gave none."""
    settings = [names.setting(setting) for setting in evidence.combination if setting in evidence.grid.varying]
    unit = " in percent" * metric.endswith("accuracy")
    return f"Mean {LABELS[metric].lower()}{unit} by {numbers.listed(['initializer', *settings])}."


def note(evidence: Evidence, layout: str = "", metric: str = METRIC) -> str:
    """Return the note below the table: what the numbers and the marks are, of those that it has."""
    layout = layout or default_layout(evidence)
    grid, rows = evidence.grid, evidence.results_in(metric)
    accuracy, compared_in = metric.endswith("accuracy"), " in test accuracy" * (metric != METRIC)
    unit = " in percent" * accuracy
    intervals = " and 95% interval (Student's t)" * bool(rows["all_low"].notna().any())
    sentences = [f"{grid.name}, {grid.shape}{_rule(grid)}: mean {LABELS[metric].lower()}{unit}{intervals}."]
    if len(evidence.combinations) == 1:
        sentences[0] = f"{names.title(['activation', 'loss'], rows.iloc[0])}. {sentences[0]}"
    if metric in (METRIC, stats.SELECTION_METRIC) and intervals and len(evidence.initializers) > 1:
        sentences.append("The initializer with the highest validation accuracy was selected, so its interval reaches "
                         "further down.")  # fmt: skip
    if (rows["standing"] == "open").any():
        sentences.append(
            f"Bold or ◦: not significantly worse than any other initializer{compared_in} (◦: more than a point below "
            "the leader)."
        )
    elif (rows["standing"] == "best").any():
        sentences.append(f"Bold: not significantly worse than any other initializer{compared_in}.")
    elif len(evidence.initializers) > 1:
        sentences.append("No differences could be tested, so none is the best.")
    if any(numbers.flag(row) for _, row in rows.iterrows()):
        sentences.append("†: covers less than 95%, because runs failed or end far below the others, or values are "
                         "skewed or all equal.")  # fmt: skip
    if failed := int(rows["failed"].sum()):
        scored = "scored at the majority-class accuracy" if accuracy else "left out of means"
        diverged = f"; diverged runs are {scored}" * bool(rows["diverged"].any())
        sentences.append(
            f"{failed:,} of {numbers.plural(int(rows['seeds'].sum()), 'run')} failed (diverged or stayed at "
            f"chance){diverged}."
        )
    if layout == "long" and metric == METRIC and len(evidence.initializers) > 1:
        sentences.append(
            "Behind: points of the leader (the highest validation accuracy) minus its own, paired by seed, with "
            "simultaneous 95% intervals. Costs at most: points that its mean is below the best, with 95% confidence."
        )
    return " ".join(sentences)


def _rule(grid: Grid) -> str:
    """Say what seeds were added for, and what holds then."""
    if grid.seed_rule is None:
        return ""
    until = f", added {seeds.rule_text(grid.seed_rule)}"
    return until + " (comparisons hold at every look)" * (grid.seed_rule.half_width is None)


def _one_line(text: str) -> str:
    """A caption as one line: an empty line would end the caption."""
    return printable(" ".join(text.split()))


def _markdown_text(text: str) -> str:
    return "".join(f"\\{character}" if character in MARKDOWN else character for character in text)


def _markdown_cell(cell: Cell) -> str:
    text = _markdown_text(cell.text)
    text = f"**{text}**" if cell.bold else text
    if cell.above:
        text += f" ± {cell.above}" if cell.above == cell.below else f" +{cell.above} −{cell.below}"
    return f"{text} {cell.marks}".rstrip()


def _latex_text(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def _latex_cell(cell: Cell) -> str:
    r"""A cell, a mean as mathematics: `$\mathbf{92.1}_{\pm 0.3}$`."""
    if not cell.is_mean or cell.text == "–":
        return rf"\textbf{{{_latex_text(cell.text)}}}" if cell.bold else _latex_text(cell.text)
    mean, above, below = map(_latex_number, (cell.text, cell.above, cell.below))
    text = rf"\mathbf{{{mean}}}" if cell.bold else mean
    if above:
        text += rf"_{{\pm {above}}}" if above == below else f"^{{+{above}}}_{{-{below}}}"
    marks = "".join(LATEX[mark].strip("$") for mark in cell.marks)
    return f"${text}{{}}^{{{marks}}}$" if marks else f"${text}$"


def _latex_number(text: str) -> str:
    """A number as `numbers` writes it, in mathematics."""
    text = text.replace("over ", "{>}").replace("−", "-").replace(",", "{,}")
    return re.sub(r"e([+-])0*(\d+)", lambda m: rf"\cdot 10^{{{m[1].strip('+')}{m[2]}}}", text)


def _latex_headings(table: Table) -> list[str]:
    """The rows of headings: columns with the same values in a level and those above it have one heading."""
    lines = []
    for depth, level in enumerate(table.levels[:-1], 1):
        paths = [tuple(above[i] for above in table.levels[:depth]) for i in range(1, len(level))]
        cells, rules, column = [_latex_text(level[0])], [], 2
        for path, group in itertools.groupby(paths):
            width = len(list(group))
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{_latex_text(path[-1])}}}")
            rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
            column += width
        lines += [" & ".join(cells) + r" \\", " ".join(rules)]
    return [*lines, _latex_row(table.levels[-1])]


def _latex_row(texts: Sequence[str]) -> str:
    return " & ".join(map(_latex_text, texts)) + r" \\"
