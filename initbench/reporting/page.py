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
from initbench.grid import Grid
from initbench.reporting import explorer, figures, words
from initbench.reporting.evidence import RATE, Evidence
from initbench.reporting.gallery import MOST_COLUMNS, Shown, gallery

# So many answers stand on the first screen, and so many are told at all: the table has them all.
FIRST_ANSWERS, MOST_ANSWERS = 8, 200


def make(
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
    shared: dict[str, Any] = {
        "name": grid.name,
        "style": text("page.css"),
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "version": __version__,
        "command": command,
        "grid": grid.text,
        "speed": words.speed(timings),
        "initialization": words.initialization(timings, grid.axes["initializer"]),
        "expected": len(grid),
        "got": frame["cell"].nunique(),
        "environments": _different(environments),
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
    environment.globals |= {"breakable": _breakable, "unique": lambda svg, prefix: Markup(figures.unique(svg, prefix))}
    return environment.from_string(text(name))


def _told(evidence: Evidence) -> dict[str, Any]:
    """What the page says in words."""
    grid, choice, table, choices = evidence.grid, evidence.choice, evidence.verdicts, evidence.choices
    failed, failures = words.failures(evidence.frame, choice)
    answers = [(title, int(rows["seeds"].max()), words.verdict(rows)) for title, rows in choices[:MOST_ANSWERS]]
    rates = evidence.rates
    return {
        "headline": [*words.headline(table, choice), *_headline_of_rates(evidence)],
        "evidence": words.evidence(evidence.last, evidence.seeds),
        "findings": words.findings(evidence.last, table, choice),
        "answers": list(enumerate(answers[:FIRST_ANSWERS])),
        "more_answers": list(enumerate(answers))[FIRST_ANSWERS:],
        "seeds": evidence.seeds,
        "question": words.listed([setting.replace("_", " ") for setting in choice]),
        "choices": len(choices),
        "shown": len(evidence.shown),
        "columns": min(len(choices), MOST_COLUMNS),
        "planning": _planning(evidence.shown),
        "comparisons": int(table["comparisons"].max()),
        "diverged": failed,
        "failures": failures,
        "most_failures": words.MOST_FAILURES,
        "chance": _chance(grid),
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
    legend = [
        (name, figures.unique(figures.inline(figures.swatch(name, look), look), f"s{i}-"))
        for i, name in enumerate(look.light)
    ]
    limits = figures.accuracy_range(evidence.last)
    return {
        "sections": sections,
        "legend": legend,
        "whole_axis": limits[0] == 0,
        "colours": look.style,
    }


def _figure(shown: Shown, look: figures.Look, number: int) -> dict[str, Any]:
    drawing = shown.drawing
    return {
        "svg": Markup(figures.unique(figures.inline(drawing, look), f"f{number}-")),
        "choice": shown.choice,
        "name": f"{shown.section} {shown.name}".strip(),
        "wide": drawing.size[0] > 600,
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
        "settings": [setting.replace("_", " ") for setting in evidence.choice],
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
    scores = evidence.scores
    return words.ranking(stats.ranks(scores), stats.rank_pairs(scores), stats.friedman(scores), len(evidence.choices))


def _headline_of_rates(evidence: Evidence) -> list[str]:
    """The answer with each initializer at its own best learning rate, where that is an axis."""
    if evidence.rates is None:
        return []
    own = evidence.verdicts_at("own_best")
    return [f"With each at its own best learning rate: {words.headline(own, evidence.choice_without_rate)[0]}"]


def _rates(evidence: Evidence, rates: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """For each choice of other settings what is best at the common rate, at each own best, and at some rates only."""
    keys = evidence.choice_without_rate
    at_each = stats.verdicts(evidence.frame, [*keys, RATE], chance=evidence.chance)
    parts = [rates, evidence.verdicts_at("common"), evidence.verdicts_at("own_best"), at_each]
    grouped = [dict(_by(part, keys)) for part in parts]
    told = []
    for title, rows in list(grouped[0].items())[:MOST_ANSWERS]:
        common, own, every = grouped[1].get(title), grouped[2].get(title), grouped[3][title]
        said = [words.at_rates(common, rows, "common")]
        said += [words.at_rates(own, rows, "own_best")] if own is not None else []
        count = rows["learning_rate"].nunique()
        said += [f"{line}." for line in (*words.narrow(every, count), *words.at_the_edge(rows))]
        told.append((title, said))
    return told


def _by(table: pd.DataFrame, keys: list[str]) -> list[tuple[str, pd.DataFrame]]:
    return [(words.title(keys, rows.iloc[0]), rows) for rows in stats.split(table, keys)]


def _planning(choices: list[tuple[str, pd.DataFrame]]) -> list[tuple[str, ...]]:
    """For each choice what its seeds detect, and how many it would take: of the leader's nearest rival."""
    found = []
    for title, rows in choices:
        compared = rows[rows["behind_std"].notna()]
        if len(compared):
            nearest = stats.enough(compared.nsmallest(1, "behind")).iloc[0]
            needed = [words.whole(nearest[f"needed_{target:g}"]) for target in stats.TARGETS]
            name, pairs = str(nearest["initializer"]), str(int(nearest["pairs"]))
            found.append((title, name, pairs, words.signed(nearest["detectable"], 2), *needed))
    return found


def _chance(grid: Grid) -> str:
    return words.listed(
        [
            f"{words.percent(source.commonest_class_share, 2)} on {words.dataset(name)}"
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
                value = "all: " + words.listed([f"{s.train_size:,}" for s in grid.sources.values()])
            if setting == "hidden" and value == "":
                value = "none"
            told.append((setting.replace("_", " "), str(value)))
    return told


def _different(environments: Iterable[Mapping[str, str]]) -> list[list[tuple[str, str]]]:
    return [list(pairs) for pairs in dict.fromkeys(tuple(sorted(e.items())) for e in environments)]
