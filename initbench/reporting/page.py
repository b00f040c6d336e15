"""The page: tables, figures and words, laid out in one offline HTML file."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from initbench import __version__, stats
from initbench.reporting import explorer, figures, limits, names, narrative, numbers
from initbench.reporting.cautions import cautions
from initbench.reporting.evidence import RATE, Evidence
from initbench.reporting.figures.svg import unique
from initbench.reporting.gallery import Shown, gallery, shown_first
from initbench.spec.grid import Grid


def render(
    frame: pd.DataFrame,
    grid: Grid,
    environments: Iterable[Mapping[str, str]],
    command: str,
    timings: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The report of a run as one HTML page.

    Parameters
    ----------
    frame
        The run's tidy table.
    grid
        What was asked for: it says which settings vary, and how many cells there should be.
    environments
        The metadata of the parts: versions and processors, each different one is shown.
    command
        What makes the run again.
    timings
        The timings of the parts, for how fast the training was.
    """
    script = text("page.js")
    environments = list(environments)
    shared: dict[str, Any] = {
        "name": grid.name,
        "style": text("page.css"),
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "version": __version__,
        "command": command,
        "grid": grid.text,
        "speed": narrative.speed(timings),
        "initialization": narrative.initialization(timings, grid.axes["initializer"]),
        "expected": len(grid),
        "got": frame["cell"].nunique(),
        "environments": _different(environments),
        "mixed": narrative.mixed(environments),
    }
    page = template("page.html")
    if frame.empty:
        return page.render(empty=True, **shared)
    evidence = Evidence.of(frame, grid)
    return page.render(empty=False, **_told(evidence), **_drawn(evidence), **_explored(evidence, frame), **shared)


def text(name: str) -> str:
    """A file that belongs to the page: its style, its script."""
    return files("initbench.reporting").joinpath(name).read_text(encoding="utf-8")


def template(name: str) -> jinja2.Template:
    """A page to fill; what comes from a run is escaped."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals |= {"breakable": _breakable, "unique": lambda svg, prefix: Markup(unique(svg, prefix))}
    return environment.from_string(text(name))


def _told(evidence: Evidence) -> dict[str, Any]:
    """What the page says in words."""
    grid, choice, table, choices = evidence.grid, evidence.combination, evidence.verdicts, evidence.combinations
    undecided = [name for name, chance in evidence.chance.items() if not chance.split]
    failed, failures = narrative.failures(evidence.last, evidence.frame, choice, undecided)
    first, rates = evidence.first, evidence.rates
    planning, all_planning = _planning(evidence)
    answers, more = (
        _answers(first)[: limits.MAX_FIRST_ANSWERS],
        _answers(evidence)[limits.MAX_FIRST_ANSWERS if first is evidence else 0 :],
    )
    return {
        "headline": _headline(evidence),
        "evidence": narrative.evidence(evidence.last, evidence.seeds),
        "findings": narrative.findings(evidence.last, table, choice),
        "answers": answers,
        "more_answers": more,
        "told": limits.MAX_FIRST_ANSWERS * (first is evidence) + len(more),
        "own_best": first is not evidence,
        "first_choices": len(first.combinations),
        "initializers": len(evidence.initializers),
        "shown_first": len(shown_first(first)),
        "seeds": evidence.seeds,
        "question": numbers.listed([setting.replace("_", " ") for setting in choice]),
        "choices": len(choices),
        "shown": len(evidence.shown),
        "most_columns": limits.MAX_OVERVIEW_COLUMNS,
        "planning": planning,
        "all_planning": all_planning,
        "comparisons": int(table["comparisons"].max()),
        "diverged": failed,
        "failures": failures,
        "most_failures": limits.MAX_FAILURES,
        "most_planned": limits.MAX_PLANNED,
        "chance": _chance(grid),
        "cautions": cautions(grid.sources.values()),
        "fixed": _fixed(grid),
        "axes": grid.shape,
        "flags": sorted(set(table["flag"]) - {""}),
        "ranking": _ranking(evidence) if evidence.compared_across else [],
        "rates": _rates(evidence, rates) if rates is not None else [],
    }


def _drawn(evidence: Evidence) -> dict[str, Any]:
    """The figures, by section, and the colours of the initializers."""
    look = figures.Look.of(evidence.initializers)
    sections: dict[str, list[dict[str, Any]]] = {}
    for number, shown in enumerate(gallery(evidence, look)):
        sections.setdefault(shown.section, []).append(_figure(shown, look, number))
    legend = [(name, figures.inline(figures.swatch(name, look), look, f"s{i}-")) for i, name in enumerate(look.light)]
    return {
        "sections": sections,
        "legend": legend,
        "whole_axis": figures.accuracy_range(evidence.last, evidence.verdicts)[0] <= 0,
        "colours": look.style,
    }


def _figure(shown: Shown, look: figures.Look, number: int) -> dict[str, Any]:
    drawing = shown.drawing
    return {
        "svg": Markup(figures.inline(drawing, look, f"f{number}-")),
        "choice": shown.choice,
        "name": f"{shown.section} {shown.name}".strip(),
        "wide": drawing.size[0] > 460,
        "headings": drawing.headings,
        "rows": drawing.rows,
    }


def _explored(evidence: Evidence, frame: pd.DataFrame) -> dict[str, Any]:
    """The table that sorts and filters, and the data to download."""
    rows = explorer.rows_of(evidence)
    carried, what = explorer.carried(frame)
    return {
        "rows": rows,
        "all_rows": len(evidence.verdicts),
        "settings": [setting.replace("_", " ") for setting in evidence.combination],
        # A text that ends its own element would end the script: "<" is written as JSON's escape.
        "data": Markup(json.dumps(explorer.data(evidence, rows), separators=(",", ":")).replace("<", "\\u003c")),
        "carried": what,
        "csv": explorer.csv_address(carried) if what else "",
        "parquet": explorer.parquet_address(carried) if what else "",
    }


def _breakable(name: str) -> Markup:
    """A name that a narrow column may break before a parenthesis and after an underscore, and nowhere else."""
    return Markup(str(escape(name)).replace("(", "<wbr>(").replace("_", "_<wbr>"))


def _ranking(evidence: Evidence) -> list[str]:
    seeds = len(next(iter(evidence.scores.values()))[0])
    return narrative.ranking(evidence.ranks, evidence.rank_pairs, seeds, len(evidence.combinations))


def _headline(evidence: Evidence) -> list[str]:
    """The answer first; where the learning rate is an axis, with each initializer at its own best, and then by rate."""
    said = narrative.headline(evidence.verdicts, evidence.combination)
    if evidence.first is evidence:
        return said
    first = narrative.headline(evidence.first.verdicts, evidence.first.combination)
    first[0] = f"With each initializer at its own best learning rate: {numbers.uncapitalized(first[0])}"
    return [*first, f"Each learning rate by itself: {numbers.uncapitalized(said[0])}"]


def _answers(evidence: Evidence) -> list[tuple[int | None, str, int, str]]:
    """For each choice its number (where the page has figures of it), what it is called, its seeds and its answer."""
    at_its_best = RATE in evidence.grid.varying and RATE not in evidence.combination
    return [
        (None if at_its_best else i, title, int(rows["seeds"].max()), narrative.verdict(rows))
        for i, (title, rows) in enumerate(evidence.combinations[: limits.MAX_ANSWERS])
    ]


def _rates(evidence: Evidence, rates: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """For each choice of other settings what is best at the common rate, at each own best, and at some rates only."""
    keys = evidence.combination_without_rate
    known = set(keys) < set(evidence.combination)  # not where the rate is the only setting of a choice
    at_each = evidence.verdicts if known else stats.verdicts(evidence.frame, [*keys, RATE], chance=evidence.chance)
    common = stats.at_rates(evidence.frame, rates, keys, "common")
    parts = [rates, stats.verdicts(common, keys, chance=evidence.chance), evidence.first.verdicts, at_each]
    grouped = [dict(_by(part, keys)) for part in parts]
    told = []
    for title, rows in list(grouped[0].items())[: limits.MAX_ANSWERS]:
        said = [narrative.at_rates(grouped[1].get(title), rows, "common")]
        said.append(narrative.at_rates(grouped[2][title], rows, "own_best"))
        said += [f"{line}." for line in (*narrative.narrow(grouped[3][title]), *narrative.at_the_edge(rows))]
        told.append((title, said))
    return told


def _by(table: pd.DataFrame, keys: list[str]) -> list[tuple[str, pd.DataFrame]]:
    return [(names.title(keys, rows.iloc[0]), rows) for rows in stats.by_combination(table, keys)]


def _planning(evidence: Evidence) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """What the seeds of each choice detect, and how many it would take: of the leader's nearest rival, and of all."""
    nearest: list[tuple[Any, ...]] = []
    every: list[tuple[Any, ...]] = []
    for i, (title, rows) in enumerate(evidence.shown):
        compared = rows[rows["difference_std"].notna()].sort_values("difference", kind="stable")
        wanted = compared.head(max(1, limits.MAX_PLANNED - len(every)))
        for j, (_, row) in enumerate(stats.power_analysis(wanted).iterrows()):
            needed = [numbers.whole(row[f"needed_{target:g}"]) for target in stats.TARGETS]
            told = (i, title, str(row["initializer"]), int(row["pairs"]), numbers.signed(row["detectable"], 2), *needed)
            every.append(told)
            nearest += [told] * (j == 0)
    return nearest, every[: limits.MAX_PLANNED]


def _chance(grid: Grid) -> str:
    return numbers.listed(
        [
            f"{numbers.percent(source.majority_class_share, 2)} on {names.dataset(name)}"
            for name, source in grid.sources.items()
        ]
    )


def _fixed(grid: Grid) -> list[tuple[str, str]]:
    """The settings that do not vary, with their values, for people."""
    told = []
    for setting, values in grid.axes.items():
        if len(values) == 1 and setting not in ("seed",):
            value = values[0]
            if setting == "train_size" and value is None:
                value = "all: " + numbers.listed([f"{s.train_size:,}" for s in grid.sources.values()])
            told.append((setting.replace("_", " "), names.setting_text(setting, value)))
    return told


def _different(environments: Iterable[Mapping[str, str]]) -> list[list[tuple[str, str]]]:
    return [list(pairs) for pairs in dict.fromkeys(tuple(sorted(e.items())) for e in environments)]
