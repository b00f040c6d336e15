"""Two experiments side by side: which configurations changed significantly, in sentences and as a page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from initbench import stats
from initbench.errors import printable
from initbench.reporting import figures, names, numbers
from initbench.reporting.limits import MAX_COMPARED_DRAWN, MAX_COMPARED_ROWS
from initbench.reporting.page import ENVIRONMENT_LABELS, ENVIRONMENT_VALUES
from initbench.reporting.templates import fill
from initbench.spec.columns import SETTINGS


@dataclass(frozen=True)
class Side:
    """One of the two experiments: its name, its number of cells, and its environments."""

    name: str
    cells: int
    environments: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Gate:
    """What counts as worse: `stats.regressions` at a threshold in points, and the cells that only `before` has."""

    threshold: float
    regressions: pd.DataFrame
    n_missing: int

    @classmethod
    def of(cls, table: pd.DataFrame, before: Side, threshold: float) -> "Gate":
        """Return the gate of a table of `stats.changes` from `before`."""
        return cls(threshold, stats.regressions(table, threshold), before.cells - int(table["seeds"].sum()))

    @property
    def failing(self) -> bool:
        """Whether there is a regression or a missing cell."""
        return self.n_missing > 0 or not self.regressions.empty


def sentences(table: pd.DataFrame, before: Side, after: Side, gate: Gate | None = None) -> list[str]:
    """What changed, in sentences, and what of it the gate counts as worse."""
    cells, same = int(table["seeds"].sum()), int(table["same"].sum())
    changed = table[table["significant"]]
    text = [
        f"{numbers.plural(cells, 'cell')} in {numbers.plural(len(table), 'configuration')} are in both experiments."
    ]
    if same == cells:
        text.append("All of them are bit-identical.")
    else:
        text.append(f"{same:,} of them are bit-identical.")
        if (table["seeds"] < 2).all():
            text.append("With one seed per configuration no change can be tested.")
        elif changed.empty:
            text.append("No configuration changed significantly.")
        else:
            sides = ((changed[changed["change"] > 0], "better"), (changed[changed["change"] < 0], "worse"))
            parts = [f"{numbers.plural(len(rows), 'configuration')} {side}" for rows, side in sides if len(rows)]
            largest = changed.iloc[int(changed["change"].abs().argmax())]
            text.append(
                f"Changed significantly: {numbers.listed(parts)}; the largest change is "
                f"{numbers.signed(largest['change'], 2)} points ({name_of(largest, varying(table))})."
            )
    failed_before, failed_after = int(table["failed_before"].sum()), int(table["failed_after"].sum())
    if failed_before != failed_after:
        text.append(f"{failed_before:,} of these cells failed before and {failed_after:,} after.")
    for side in (before, after):
        if side.cells > cells:
            text.append(f"Only in {side.name}: {numbers.plural(side.cells - cells, 'cell')}.")
    if gate is not None:
        worse, points = gate.regressions, abs(gate.threshold)
        by = f"worse by {points:g} {'point' if points == 1 else 'points'} or more"
        if worse.empty:
            text.append(f"No configuration of both is significantly {by}.")
        else:
            count = int(worse["significant"].sum())
            text += [f"{numbers.plural(count, 'configuration')} significantly {by}."] * bool(count)
            untested = numbers.plural(len(worse) - count, "configuration")
            why = "with too few seeds for a test or with runs that newly fail, which counts too"
            text += [f"{untested} {by}, {why}."] * (count < len(worse))
        if gate.n_missing > 0:
            text.append(f"Cells that are missing in {after.name} count as worse.")
    return text


def varying(table: pd.DataFrame) -> list[str]:
    """The settings in which rows differ, and not only as another one does; the initializer always, and last."""
    if (table["output_activation"] == table["activation"]).all():
        table = table.drop(columns="output_activation")
    settings = [s for s in SETTINGS if s in table and (s == "initializer" or len(set(table[s])) > 1)]
    return sorted(settings, key=lambda s: s == "initializer")


def name_of(row: Any, settings: Iterable[str]) -> str:
    """The name of a configuration: its initializer, and the other settings of `varying`."""
    others = [s for s in settings if s != "initializer"]
    return str(row["initializer"]) + (f", {names.title(others, row)}" if others else "")


def render(table: pd.DataFrame, before: Side, after: Side, gate: Gate | None, command: str) -> str:
    """Return the comparison of two experiments as one HTML page, from a table of `stats.changes`."""
    table = names.shorten_initializers(table)
    order = table["change"].abs().sort_values(ascending=False, kind="stable").index
    settings = varying(table)
    drawn = table.loc[order[:MAX_COMPARED_DRAWN]]
    palette = figures.Palette.of(list(dict.fromkeys(table["initializer"])))
    figure = ""
    if not (table["same"] == table["seeds"]).all():
        drawing = figures.changes(drawn, [name_of(row, settings) for _, row in drawn.iterrows()], palette)
        figure = Markup(figures.inline(drawing, palette, "c-"))
    return fill(
        "comparison.html",
        palette.style,
        before=before,
        after=after,
        sentences=sentences(table, before, after, gate),
        settings=[setting.replace("_", " ") for setting in settings],
        figure=figure,
        shown=len(drawn),
        rows=[_row(row, settings) for _, row in table.loc[order[:MAX_COMPARED_ROWS]].iterrows()],
        count=len(table),
        environments=_environments(before, after),
        command=printable(command),
    )


def _row(row: Any, settings: Iterable[str]) -> dict[str, Any]:
    return {
        "settings": [str(row[setting]) for setting in settings],
        "before": numbers.percent(row["mean_before"], 2),
        "after": numbers.percent(row["mean_after"], 2),
        "change": numbers.difference(row, "change"),
        "significance": ("better" if row["change"] > 0 else "worse") if row["significant"] else "–",
        "significant": bool(row["significant"]),
        "same": f"{int(row['same'])} of {int(row['seeds'])}",
        "failed": f"{int(row['failed_before'])} → {int(row['failed_after'])}",
    }


def _environments(before: Side, after: Side) -> list[tuple[str, str, str]]:
    """The environments side by side: label, before, after."""
    keys = sorted({key for side in (before, after) for environment in side.environments for key in environment})
    return [(ENVIRONMENT_LABELS.get(key, key), _values(before, key), _values(after, key)) for key in keys]


def _values(side: Side, key: str) -> str:
    values = dict.fromkeys(environment[key] for environment in side.environments if key in environment)
    return numbers.listed([ENVIRONMENT_VALUES.get((key, value), value) for value in values]) or "–"
