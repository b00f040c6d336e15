"""Two runs side by side: what moved beyond noise, in words, and as a page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from initbench import __version__
from initbench.errors import printable
from initbench.reporting import figures, names, numbers
from initbench.reporting.limits import MAX_COMPARED_DRAWN, MAX_COMPARED_ROWS
from initbench.reporting.page import template, text
from initbench.spec.columns import SETTINGS

# With fewer seeds than these noise cannot be told from a change of any size.
MIN_SEEDS = 3


@dataclass(frozen=True)
class Side:
    """One of the two runs: its name, how many cells it has, and its environments."""

    name: str
    cells: int
    environments: Sequence[Mapping[str, str]]


def sentences(table: pd.DataFrame, before: Side, after: Side, worse: float | None = None) -> list[str]:
    """What moved, in words; `worse`, in points, is what is not to be lost."""
    cells, same = int(table["seeds"].sum()), int(table["same"].sum())
    moved = table[table["significant"]]
    up, down = moved[moved["change"] > 0], moved[moved["change"] < 0]
    said = [f"{numbers.plural(cells, 'cell')} in {numbers.plural(len(table), 'setting')} are in both runs."]
    if same == cells:
        said.append("All of them are the same to the last bit.")
    else:
        said.append(f"{same:,} of them are the same to the last bit, the others are not.")
        if (table["seeds"] < 2).all():
            said.append("With one seed for each setting nothing can be told from noise.")
        elif moved.empty:
            said.append("No setting moved beyond noise.")
        else:
            sides = ((up, "better"), (down, "worse"))
            parts = [f"{numbers.plural(len(rows), 'setting')} {how}" for rows, how in sides if len(rows)]
            worst = moved.iloc[int(moved["change"].abs().argmax())]
            said.append(
                f"Beyond noise: {numbers.listed(parts)}; the largest change is "
                f"{numbers.signed(worst['change'], 2)} points ({name_of(worst, varying(table))})."
            )
    lost, gained = int(table["failed_before"].sum()), int(table["failed_after"].sum())
    if lost != gained:
        said.append(f"{lost:,} of these cells failed before and {gained:,} after.")
    for one, other in ((before, after), (after, before)):
        if one.cells > cells:
            said.append(f"{numbers.plural(one.cells - cells, 'cell')} of {one.name} not in {other.name}.")
    if worse is not None:
        failing = too_bad(table, worse)
        how = f"worse by {abs(worse):g} {'point' if abs(worse) == 1 else 'points'} or more"
        if failing.empty:
            said.append(f"No setting that both have is {how}, beyond noise.")
        else:
            sure = int(failing["significant"].sum())
            said += [f"{numbers.plural(sure, 'setting')} {how}, beyond noise."] * bool(sure)
            unsure = numbers.plural(len(failing) - sure, "setting")
            why = "with too few seeds to tell noise, or with runs that newly fail: that counts too"
            said += [f"{unsure} {how} {why}."] * (sure < len(failing))
        if before.cells > cells:
            said.append(f"Cells that {after.name} lacks count as worse, because nothing is known of them.")
    return said


def too_bad(table: pd.DataFrame, worse: float) -> pd.DataFrame:
    """The settings that are worse by so many points or more: beyond noise, or with too few seeds to tell, or with runs
    that fail and did not before.
    """
    by_so_much = table["change"] <= -worse / 100 + 1e-9  # and what is printed as the limit is at it
    counts = table["significant"] | (table["seeds"] < MIN_SEEDS) | (table["failed_after"] > table["failed_before"])
    return table[by_so_much & counts & (table["same"] < table["seeds"])]


def failing(table: pd.DataFrame, before: Side, worse: float) -> bool:
    """Whether a comparison is to fail: a setting is too bad, or cells of the first run are not in the second."""
    return bool(len(too_bad(table, worse))) or before.cells > int(table["seeds"].sum())


def varying(table: pd.DataFrame) -> list[str]:
    """The settings in which rows differ, and not only as another one does; at least the initializer."""
    if (table["output_activation"] == table["activation"]).all():
        table = table.drop(columns="output_activation")
    found = [s for s in SETTINGS if s in table and (s == "initializer" or len(set(table[s])) > 1)]
    return sorted(found, key=lambda s: s == "initializer")


def name_of(row: Any, settings: Iterable[str]) -> str:
    """What a setting is called: its initializer, and what else varies, of `varying`."""
    others = [s for s in settings if s != "initializer"]
    return str(row["initializer"]) + (f", {names.title(others, row)}" if others else "")


def render(table: pd.DataFrame, before: Side, after: Side, worse: float | None, command: str) -> str:
    """The comparison of two runs as one HTML page: from `stats.changes`."""
    named = names.labelled(table)
    order = named["change"].abs().sort_values(ascending=False, kind="stable").index
    settings = varying(named)
    drawn = named.loc[order[:MAX_COMPARED_DRAWN]]
    look = figures.Look.of(list(dict.fromkeys(named["initializer"])))
    same = bool((named["same"] == named["seeds"]).all())
    figure = ""
    if not same:
        drawing = figures.changes(drawn, [name_of(row, settings) for _, row in drawn.iterrows()], look)
        figure = Markup(figures.inline(drawing, look, "c-"))
    return template("comparison.html").render(
        style=text("page.css"),
        version=__version__,
        before=before,
        after=after,
        sentences=sentences(named, before, after, worse),
        settings=[setting.replace("_", " ") for setting in settings],
        figure=figure,
        colours=look,
        shown=len(drawn),
        rows=[_row(row, settings) for _, row in named.loc[order[:MAX_COMPARED_ROWS]].iterrows()],
        count=len(named),
        environments=_environments(before, after),
        command=printable(command),
    )


def _row(row: Any, settings: Iterable[str]) -> dict[str, Any]:
    return {
        "settings": [str(row[setting]) for setting in settings],
        "before": numbers.percent(row["mean_before"], 2),
        "after": numbers.percent(row["mean_after"], 2),
        "change": numbers.difference(row, "change"),
        "told": ("better" if row["change"] > 0 else "worse") if row["significant"] else "–",
        "moved": bool(row["significant"]),
        "same": f"{int(row['same'])} of {int(row['seeds'])}",
        "failed": f"{int(row['failed_before'])} → {int(row['failed_after'])}",
    }


def _environments(before: Side, after: Side) -> list[tuple[str, str, str]]:
    """What the runs were made with, side by side: key, before, after."""
    keys = sorted({key for side in (before, after) for one in side.environments for key in one})
    return [(key, _values(before, key), _values(after, key)) for key in keys]


def _values(side: Side, key: str) -> str:
    return numbers.listed(list(dict.fromkeys(one[key] for one in side.environments if key in one))) or "–"
