"""The signal before training as a page of its own, and as tables for the terminal: what `initbench signal` shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from initbench import stats
from initbench.data.datasets import Source
from initbench.reporting import names, numbers
from initbench.reporting.evidence import combination_of
from initbench.reporting.layout import PHONE, Layout, laid_out
from initbench.reporting.limits import MAX_FIGURE_ROWS, MAX_NAMED, MAX_PANEL_ROWS, MAX_PANELS, MIN_PANELS
from initbench.reporting.mean_field import predictions, unsaturated
from initbench.reporting.signal import sentences
from initbench.spec.cell import OF_TRAINING, Cell
from initbench.spec.grid import Grid

if TYPE_CHECKING:
    from initbench.reporting.figures import Drawing, Palette

PAGE = "signal.html"

# The width of figures where there is room: three panels side by side.
WIDE = Layout(width=11)

# Of a combination's table: the heading, the statistic, and its layer.
COLUMNS = (
    ("Mean square, first layer", "pre_activation_second_moment", "first"),
    ("Mean square, last hidden layer", "pre_activation_second_moment", "last"),
    ("Gradient ratio", "gradient_ratio", "first"),
    ("Saturated", "saturated_share", "last"),
    ("Dead", "dead_share", "last"),
    ("Correlation", "correlation", "last"),
    ("Effective rank", "effective_rank", "last"),
    ("Jacobian, largest", "jacobian_largest", "last"),
    ("Jacobian, mean square", "jacobian_mean_square", "last"),
)
SHARES = ("saturated_share", "dead_share")

# The columns of the terminal, each with a short heading.
SHORT = {
    "Mean square, first layer": "Mean square,\nfirst layer",
    "Mean square, last hidden layer": "last\nhidden",
    "Gradient ratio": "Gradient,\nfirst ÷ last",
    "Saturated": "Saturated,\nlast hidden",
    "Jacobian, largest": "Largest\nsingular value",
}

# What the terminal says of them, once.
ABOUT = """\
Before training; medians over seeds. Mean square: of pre-activations. Gradient: the first layer's norm ÷ the last's.
Largest singular value: of the Jacobian of the last hidden layer, at one image.
*: beyond a limit of docs/explanation/signal.md, "What to look for".
"""


@dataclass(frozen=True)
class Combination:
    """The signal of one combination.

    Its title, its rows of `stats.signal_profile`, its findings in sentences and the initializers that have some, a cell
    of each initializer, and the data.
    """

    title: str
    profile: pd.DataFrame
    findings: Sequence[str]
    standing_out: frozenset[str]
    cells: Mapping[str, Cell]
    source: Source

    @property
    def initializers(self) -> list[str]:
        """Its initializers, in the grid's order."""
        return [str(name) for name in dict.fromkeys(self.profile["initializer"])]

    def rows(self, headings: Sequence[str]) -> list[list[str]]:
        """Return a row for each initializer: its name, and the values of these columns as text."""
        depth = int(self.profile["layer"].max())
        layers = {"first": 1, "last": max(depth - 1, 1)}
        table = self.profile.set_index(["initializer", "layer", "statistic"])["value"]
        columns = [column for column in COLUMNS if column[0] in headings]
        return [
            [name, *(_text(table.get((name, layers[layer], statistic)), statistic) for _, statistic, layer in columns)]
            for name in self.initializers
        ]


def _text(value: Any, statistic: str) -> str:
    if value is None:
        return "–"
    return numbers.percent(value) if statistic in SHARES and math.isfinite(value) else numbers.magnitude(value)


def combinations(signal: pd.DataFrame, cells: Sequence[Cell], grid: Grid) -> list[Combination]:
    """Return the signal before training of each combination that has one, from a table of `ib.load_signal`.

    Cells that differ in their training alone have one signal: one of them stands for all.
    """
    alike = {cell.before_training: cell for cell in reversed(cells)}
    settings = pd.DataFrame([cell.values() for cell in reversed(alike.values())], columns=Cell._fields)
    settings.insert(0, "cell", [cell.id for cell in reversed(alike.values())])
    settings = settings[settings["cell"].isin(set(signal["cell"]))]
    if settings.empty:
        return []
    by_id = {cell.id: cell for cell in alike.values()}
    digits = names.digits_of(name for setting in names.FUNCTIONS for name in grid.axes[setting])
    frame = names.show_datasets(names.shorten_functions(settings, digits), names.datasets(grid.sources))
    keys = [setting for setting in combination_of(grid) if setting not in OF_TRAINING]
    profile = stats.signal_profile(signal, frame, keys)
    findings = stats.signal_findings(signal, frame, keys)
    with_signal = []
    for rows in stats.by_combination(profile, keys):
        title = names.title(keys, rows.iloc[0]) if keys else ""
        of_combination = _of(frame, rows.iloc[0][keys])
        ids = zip(of_combination["initializer"], of_combination["cell"], strict=True)
        cell_of = {str(name): by_id[cell_id] for name, cell_id in ids}
        source = grid.sources[next(iter(cell_of.values())).dataset]
        own = _of(findings, rows.iloc[0][keys])
        in_words = sentences(own, keys, [rows.iloc[0]], len(cell_of))
        standing_out = frozenset(map(str, own["initializer"]))
        with_signal.append(Combination(title, rows, in_words, standing_out, cell_of, source))
    return with_signal


def _of(table: pd.DataFrame, settings: pd.Series) -> pd.DataFrame:
    """Return the rows that have these settings."""
    for name, value in settings.items():
        table = table[table[name] == value]
    return table


def render(signal: pd.DataFrame, cells: Sequence[Cell], grid: Grid, command: str) -> str:
    """Return the page, from a table of `ib.load_signal` that has rows of at least one of the cells.

    `command` trains the grid.
    """
    from markupsafe import Markup

    from initbench.reporting import figures
    from initbench.reporting.templates import fill

    by_combination = combinations(signal, cells, grid)
    most = max(len(combination.initializers) for combination in by_combination)
    n_drawn = min(MAX_PANELS, max(MIN_PANELS, MAX_PANEL_ROWS // most))
    palette = figures.Palette.of(list(dict.fromkeys(name for c in by_combination for name in c.initializers)))
    sections = []
    for index, combination in enumerate(by_combination):
        headings = [heading for heading, statistic, _ in COLUMNS if statistic in set(combination.profile["statistic"])]
        zero = {numbers.percent(0)}  # columns of shares that are all this are left out
        headings = [heading for heading in headings if {row[1] for row in combination.rows([heading])} != zero]
        figure = None
        if index < n_drawn:
            with laid_out(WIDE):
                drawing = _drawing(combination, palette)
            with laid_out(PHONE):
                narrow = _drawing(combination, palette)
            figure = {
                "svg": Markup(figures.inline(drawing, palette, f"s{index}-")),
                "narrow": Markup(figures.inline(narrow, palette, f"n{index}-")),
                "title": "",
                "name": combination.title or "the signal",
                "headings": drawing.headings,
                "rows": drawing.rows,
                "combination": None,
                "wide": True,
            }
        sections.append(
            {
                "title": combination.title,
                "figure": figure,
                "findings": [*combination.findings, _within_limits(combination)],
                "headings": ["Initializer", *headings],
                "rows": [(None, row) for row in combination.rows(headings)],
            }
        )
    stored = signal.loc[signal["epoch"] == 0, "cell"].nunique()
    return fill(
        "signal.html",
        palette.style,
        name=grid.name,
        about=f"{numbers.plural(stored, 'cell')}, before training: {grid.shape}.",
        sections=sections,
        n_drawn=n_drawn,
        command=command,
    )


def _drawing(combination: Combination, palette: "Palette") -> "Drawing":
    from initbench.reporting import figures

    if combination.profile["layer"].max() < 2 and len(combination.initializers) <= MAX_FIGURE_ROWS:
        ends = unsaturated(next(iter(combination.cells.values())).output_activation)
        return figures.pre_activations(combination.profile, palette, combination.title, unsaturated=ends)
    predicted = predictions(combination.profile, combination.cells, combination.source)
    statistics = (figures.FORWARD, figures.BACKWARD, figures.CORRELATION)
    return figures.signal_by_layer(
        combination.profile, palette, combination.title, theory=predicted, statistics=statistics
    )


def print_tables(signal: pd.DataFrame, cells: Sequence[Cell], grid: Grid, at_most: int = 8) -> None:
    """Print a table for each combination, of the first of them, what stands out in it, and where nothing does."""
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    wide = console.options.update(max_width=10_000)
    by_combination = combinations(signal, cells, grid)
    console.print(ABOUT, markup=False, soft_wrap=True)
    for combination in by_combination[:at_most]:
        console.print(combination.title or grid.name, markup=False, style="bold")
        rows = combination.rows([*SHORT])
        filled = [i for i in range(len(SHORT) + 1) if any(row[i] != "–" for row in rows)]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for heading in (["Initializer", *SHORT.values()][i] for i in filled):
            table.add_column(heading, no_wrap=True)
        for name, *values in rows:
            marked = name in combination.standing_out
            texts = [f"{name} *" if marked else name, *values]
            table.add_row(*(Text(texts[i]) for i in filled), style="yellow" if marked else None)
        console.width = max(console.width, Measurement.get(console, wide, table).maximum)  # no name is broken
        console.print(table)
        for sentence in combination.findings:
            console.print(f"* {sentence}", markup=False, soft_wrap=True)
        console.print(_within_limits(combination), markup=False, soft_wrap=True)
    if len(by_combination) > at_most:
        console.print(f"{len(by_combination) - at_most:,} more combinations are on the page.")


def _within_limits(combination: Combination) -> str:
    """Say which initializers have nothing that stands out."""
    within = [name for name in combination.initializers if name not in combination.standing_out]
    if not within:
        return "Within the limits: no initializer."
    more = f" and {len(within) - MAX_NAMED} more" if len(within) > MAX_NAMED else ""
    return f"Within the limits: {', '.join(within[:MAX_NAMED])}{more}."


def without_spectra(signal: pd.DataFrame, cells: Sequence[Cell]) -> int:
    """Return the number of perceptrons without the Jacobian of the last hidden layer: those of a training have none."""
    rows = signal[(signal["epoch"] == 0) & (signal["statistic"] == "jacobian_largest")]
    layers = rows["cell"].astype(str).value_counts().to_dict()
    return sum(cell.is_fused and bool(cell.hidden) and layers.get(cell.id) == 1 for cell in cells)
