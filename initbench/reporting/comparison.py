"""Two experiments side by side: which configurations changed significantly, in sentences and as a page."""

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from initbench import stats
from initbench.errors import printable
from initbench.registry import shorten_digests
from initbench.reporting import figures, names, numbers
from initbench.reporting.limits import MAX_COMPARED_DRAWN, MAX_COMPARED_ROWS, MAX_DIFFERING, MAX_NAMED
from initbench.reporting.page import ENVIRONMENT_LABELS, ENVIRONMENT_VALUES
from initbench.reporting.templates import fill
from initbench.spec.columns import SETTINGS
from initbench.spec.settings import RULES


@dataclass(frozen=True)
class Side:
    """One of the two experiments: its name, number of cells, environments, folder, and options of `initbench run`.

    `changed` has the full names of the own functions whose code is another one in the second: before and after.
    """

    name: str
    cells: int
    environments: Sequence[Mapping[str, str]]
    folder: str = ""
    options: Sequence[str] = ()
    changed: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Summary:
    """The answer of a comparison, in sentences; those that do not apply are empty.

    `kind` is the outcome: `failed`, `passed` or `inconclusive` where the user gave a limit, else `identical` (all bits
    are equal), `changed`, `unchanged` or `untested`.
    """

    kind: str
    outcome: str  # at the limit
    extent: str  # what was compared
    changed: str
    overall: str  # of the mean over configurations
    certainty: str
    warnings: tuple[str, ...]
    next_step: str
    commands: tuple[str, ...]  # that take it


def sentences(table: pd.DataFrame, before: Side, after: Side, limit: float | None = None) -> list[str]:
    """The outcome at a limit in percentage points, if there is one, and what changed, in sentences."""
    answer = summary(table, before, after, limit)
    return [text for text in (answer.outcome, answer.extent, answer.changed, answer.overall) if text] + [
        *answer.warnings
    ]


def summary(table: pd.DataFrame, before: Side, after: Side, limit: float | None = None, command: str = "") -> Summary:
    """Return the answer of a comparison, from a table of `stats.changes`.

    `limit` is the loss in percentage points that is not acceptable, if there is one, and `command` compares the two.
    """
    cells, same = int(table["seeds"].sum()), int(table["same"].sum())
    kind = _kind(table, limit)
    extent = (
        f"{numbers.plural(cells, 'cell')} in {numbers.plural(len(table), 'configuration')} are in both experiments."
    )
    extent += " All of them are bit-identical." if same == cells else f" {same:,} of them are bit-identical."
    if after.changed:
        digits = names.digits_of(name for pair in after.changed for name in pair)
        pairs = [" → ".join(shorten_digests(name, digits) for name in pair) for pair in after.changed[:MAX_NAMED]]
        more = f" and {len(after.changed) - MAX_NAMED} more" * (len(after.changed) > MAX_NAMED)
        extent += f" Changed code: {', '.join(pairs)}{more}."
    failed_before, failed_after = int(table["failed_before"].sum()), int(table["failed_after"].sum())
    warnings = []
    if failed_before != failed_after:
        warnings.append(f"{failed_before:,} of these cells failed before and {failed_after:,} after.")
    for side in (before, after):
        if side.cells > cells:
            warnings.append(f"Only in {side.name}: {numbers.plural(side.cells - cells, 'cell')}.")
    next_step, commands = _next(table, before, after, kind, limit, command)
    return Summary(
        kind,
        "" if limit is None else _outcome(table, after, abs(limit)),
        extent,
        "" if same == cells else _changed(_shown(table)),
        "" if same == cells else _overall(table),
        "" if same == cells else _certainty(table),
        tuple(warnings),
        next_step,
        commands,
    )


def _kind(table: pd.DataFrame, limit: float | None) -> str:
    if limit is not None:
        return stats.outcome(table, abs(limit))
    if (table["same"] == table["seeds"]).all():
        return "identical"
    if (table["seeds"] < 2).all():
        return "untested"
    return "changed" if table["significant"].any() else "unchanged"


def _changed(table: pd.DataFrame) -> str:
    """How many configurations changed significantly, and which changed most."""
    changed = table[table["significant"]]
    if (table["seeds"] < 2).all():
        return "With one seed per configuration no change can be tested."
    if changed.empty:
        return "No configuration changed significantly."
    sides = ((changed[changed["change"] > 0], "better"), (changed[changed["change"] < 0], "worse"))
    parts = [f"{numbers.plural(len(rows), 'configuration')} {side}" for rows, side in sides if len(rows)]
    largest = changed.iloc[int(changed["change"].abs().argmax())]
    return (
        f"Changed significantly: {numbers.listed(parts)}; the largest change is "
        f"{numbers.signed(largest['change'], 2)} points ({name_of(largest, varying(table))})."
    )


def _overall(table: pd.DataFrame) -> str:
    if not table["pooled"].any():
        return ""
    overall = table.iloc[0]
    change, interval = numbers.points(*overall[["overall_change", "overall_low", "overall_high"]])
    significance = "significant" if overall["overall_significant"] else "not significant"
    return f"The mean over {_pooled(table)} changed by {change} points {interval}: {significance}."


def _certainty(table: pd.DataFrame) -> str:
    """How large a loss can be, at most, where that is known of every configuration."""
    tested = table[table["same"] < table["seeds"]]
    if tested["change_bound"].isna().any():
        return ""
    text = f"No configuration lost more than {numbers.at_most(max(-tested['change_bound'].min(), 0.0))} points"
    return f"{text} (95% confidence for each)."


def _next(
    table: pd.DataFrame, before: Side, after: Side, kind: str, limit: float | None, command: str
) -> tuple[str, tuple[str, ...]]:
    """What to do next, and the commands that do it."""
    if kind == "identical" or (kind == "passed" and limit is not None):
        return "", ()
    runs = [shlex.join(["initbench", "run", *filter(None, [side.folder]), *side.options]) for side in (before, after)]
    if kind in ("untested", "inconclusive"):
        needed = stats.seeds_to_pass(table, abs(limit))[0] if limit is not None else np.nan
        if needed > stats.MAX_SEEDS:
            return "", ()
        n_seeds = RULES["seed"].default if pd.isna(needed) else max(math.ceil(needed), int(table["seeds"].max()) + 1)
        text = f"Train {n_seeds:,} seeds in both, a number that is fixed before the next look, and compare again."
        return text, (*(f"{run} --set seed={n_seeds}" for run in runs), command)
    if kind == "failed" and table["missing"].iloc[0] > 0:
        return "Train the missing cells.", (runs[1],)
    worse = table[table["significant"] & (table["change"] < 0)]
    if kind == "failed" and worse.empty:
        worse = stats.regressions(table, abs(limit or 0.0))
    if len(worse):
        row = worse.iloc[int(worse["change"].argmin())]
        settings = " ".join(f"--set {shlex.quote(f'{s}={_as_toml(s, row[s])}')}" for s in varying(table))
        text = "To find the cause, train the configuration that lost most, with one difference at a time."
        return text, (f"{runs[1]} --set name=cause {settings}",)
    bound = numbers.at_most(max(-table["change_bound"].min(), 0.0))
    return f"To have an exit status, give the loss that is not acceptable (more than {bound} is excluded).", (
        f"{command} --fail-if-worse {bound}",
    )


def _as_toml(setting: str, value: Any) -> str:
    """A setting's value as `--set` takes it."""
    if setting == "hidden":
        return f"[{', '.join(filter(None, str(value).split('-')))}]"
    return str(value).lower() if setting == "standardize" else str(value)


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


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with names for people."""
    settings = [setting for setting in names.FUNCTIONS if setting in table]
    return names.shorten_functions(table, names.digits_of(str(v) for s in settings for v in table[s].unique()))


def render(table: pd.DataFrame, before: Side, after: Side, limit: float | None, command: str) -> str:
    """Return the comparison of two experiments as one HTML page, from a table of `stats.changes`."""
    answer = summary(table, before, after, limit, command)
    table = _shown(table)
    headline = answer.outcome or answer.changed or "Nothing changed: all cells are bit-identical."
    needed = ""
    if answer.kind == "inconclusive":
        headline, _, needed = headline.partition(". ")
        headline += "."
    identical = bool((table["same"] == table["seeds"]).all())
    table = table.loc[table["change"].abs().sort_values(ascending=False, kind="stable").index]
    settings = varying(table)
    drawn = table.head(MAX_COMPARED_DRAWN)
    palette = figures.Palette.of(list(dict.fromkeys(table["initializer"])))
    figure = None
    if not identical:
        drawing = figures.changes(drawn, [name_of(row, settings) for _, row in drawn.iterrows()], palette)
        svg = Markup(figures.inline(drawing, palette, "c-"))
        figure = {"svg": svg, "title": drawing.title or "Change of test accuracy", "name": "changes"}
    environments = _environments(before, after)
    return fill(
        "comparison.html",
        palette.style,
        before=before,
        after=after,
        answer=answer,
        headline=headline,
        needed=needed,
        figure=figure,
        n_drawn=len(drawn),
        columns=_columns(table, identical),
        rows=[_row(row, settings) for _, row in table.head(MAX_COMPARED_ROWS).iterrows()],
        count=len(table),
        differing=[row for row in environments if row[1] != row[2]],
        alike=[(label, value) for label, value, other in environments if value == other],
        max_differing=MAX_DIFFERING,
        command=printable(command),
    )


def _columns(table: pd.DataFrame, identical: bool) -> list[str]:
    """The columns of the table that say something, of those of `_row`."""
    if identical:
        return ["after"]
    failed = table["failed_before"].any() or table["failed_after"].any()
    columns = {
        "before": True,
        "after": True,
        "change": True,
        "significance": table["significant"].any(),
        "loss": table["change_bound"].notna().any(),
        "same": table["same"].any(),
        "failed": failed,
    }
    return [name for name, shown in columns.items() if shown]


def _row(row: Any, settings: Iterable[str]) -> dict[str, Any]:
    failed = row["failed_before"] or row["failed_after"]
    return {
        "name": name_of(row, settings),
        "before": numbers.percent(row["mean_before"], 2),
        "after": numbers.percent(row["mean_after"], 2),
        "change": numbers.difference(row, "change"),
        "loss": "–" if pd.isna(row["change_bound"]) else numbers.at_most(max(-row["change_bound"], 0.0)),
        "significance": ("better" if row["change"] > 0 else "worse") if row["significant"] else "–",
        "significant": bool(row["significant"]),
        "same": f"{int(row['same'])} of {int(row['seeds'])}" if row["same"] else "–",
        "failed": f"{int(row['failed_before'])} → {int(row['failed_after'])}" if failed else "–",
    }


def _environments(before: Side, after: Side) -> list[tuple[str, str, str]]:
    """The environments side by side: label, before, after."""
    keys = sorted({key for side in (before, after) for environment in side.environments for key in environment})
    return [(ENVIRONMENT_LABELS.get(key, key), _values(before, key), _values(after, key)) for key in keys]


def _values(side: Side, key: str) -> str:
    values = dict.fromkeys(environment[key] for environment in side.environments if key in environment)
    return numbers.listed([ENVIRONMENT_VALUES.get((key, value), value) for value in values]) or "–"
