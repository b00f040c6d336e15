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


def sentences(table: pd.DataFrame, before: Side, after: Side, limit: float | None = None) -> list[str]:
    """The outcome at a limit in percentage points, if there is one, and what changed, in sentences."""
    cells, same = int(table["seeds"].sum()), int(table["same"].sum())
    changed = table[table["significant"]]
    text = [] if limit is None else [_outcome(table, after, abs(limit))]
    text.append(
        f"{numbers.plural(cells, 'cell')} in {numbers.plural(len(table), 'configuration')} are in both experiments."
    )
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
        if table["pooled"].any():
            overall = table.iloc[0]
            change, interval = numbers.points(*overall[["overall_change", "overall_low", "overall_high"]])
            significance = "significant" if overall["overall_significant"] else "not significant"
            text.append(f"The mean over {_pooled(table)} changed by {change} points {interval}: {significance}.")
    failed_before, failed_after = int(table["failed_before"].sum()), int(table["failed_after"].sum())
    if failed_before != failed_after:
        text.append(f"{failed_before:,} of these cells failed before and {failed_after:,} after.")
    for side in (before, after):
        if side.cells > cells:
            text.append(f"Only in {side.name}: {numbers.plural(side.cells - cells, 'cell')}.")
    return text


def _outcome(table: pd.DataFrame, after: Side, limit: float) -> str:
    """The outcome of `stats.outcome`, and what decided it."""
    points = f"{limit:g} {'point' if limit == 1 else 'points'} or more"
    outcome = stats.outcome(table, limit)
    if outcome == "failed":
        return f"Failed: {numbers.listed(_failures(table, after, limit, points))}."
    if outcome == "inconclusive":
        of = f"{len(stats.open_losses(table, limit)):,} of {numbers.plural(len(table), 'configuration')}"
        finding = f"no loss of {points} is shown, but in {of} it cannot be excluded"
        return f"Inconclusive: {finding}. {_seeds_to_pass(table, limit)}."
    if (table["same"] == table["seeds"]).all():
        return "Passed: all cells are bit-identical."
    return f"Passed: a loss of {points} is excluded in every configuration (95% confidence for each)."


def _failures(table: pd.DataFrame, after: Side, limit: float, points: str) -> list[str]:
    worse = stats.regressions(table, limit)
    significant, missing = int(worse["significant"].sum()), int(table["missing"].iloc[0])
    failures = []
    if significant:
        failures.append(f"{numbers.plural(significant, 'configuration')} significantly worse by {points}")
    if significant < len(worse):
        others = numbers.plural(len(worse) - significant, "configuration")
        failures.append(f"{others} worse by {points}, with runs that newly fail")
    if stats.overall_worse(table, limit):
        failures.append(f"the mean over {_pooled(table)} significantly worse by {points}")
    if missing > 0:
        failures.append(f"{numbers.plural(missing, 'cell')} missing in {after.name}")
    return failures


def _seeds_to_pass(table: pd.DataFrame, limit: float) -> str:
    """How many seeds exclude the loss, in every configuration and in the mean, if nothing changed."""
    every, overall = stats.seeds_to_pass(table, limit)
    if pd.isna(every):
        return "That takes at least two seeds"
    if every > stats.MAX_SEEDS:
        return "No number of seeds excludes it where nothing changed: allow more points"
    more = int(table["seeds"].max()) + 1
    text = f"If nothing changed, {numbers.about(max(every, more))} seeds exclude it in every configuration"
    if table["overall_bound"].iloc[0] > -limit / 100:
        return f"{text}; in the mean over {_pooled(table)} it is excluded already"
    return (
        text if pd.isna(overall) else f"{text}, {numbers.about(max(overall, more))} in the mean over {_pooled(table)}"
    )


def _pooled(table: pd.DataFrame) -> str:
    count = int(table["pooled"].sum())
    return numbers.plural(count, "configuration") if count < len(table) else "all configurations"


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


def render(table: pd.DataFrame, before: Side, after: Side, limit: float | None, command: str) -> str:
    """Return the comparison of two experiments as one HTML page, from a table of `stats.changes`."""
    table = names.shorten_initializers(names.show_datasets(table, names.datasets(map(str, table["dataset"].unique()))))
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
        sentences=sentences(table, before, after, limit),
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
        "loss": "–" if pd.isna(row["change_bound"]) else numbers.signed(max(-row["change_bound"], 0.0), 2),
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
