"""The page: tables, figures and words, laid out in one offline HTML file."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from initbench import __version__, stats
from initbench.grid import Grid
from initbench.reporting import figures, words

# Beyond so many choices the figures are of the first ones only, and the page says so; the tables hold them all.
MOST_PANELS = 24


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
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        files("initbench.reporting").joinpath("page.html").read_text(encoding="utf-8")
    )
    template.globals["breakable"] = _breakable
    style = files("initbench.reporting").joinpath("page.css").read_text(encoding="utf-8")
    shared: dict[str, Any] = {
        "name": grid.name,
        "style": style,
        "version": __version__,
        "command": command,
        "grid": grid.text,
        "speed": words.speed(timings),
        "initialization": words.initialization(timings, grid.axes["initializer"]),
    }
    shared |= {
        "expected": len(grid),
        "got": frame["cell"].nunique(),
        "environments": _different(environments),
    }
    if frame.empty:
        return template.render(empty=True, **shared)
    frame = words.labelled(frame)
    choice = choice_of(grid)
    chance = chances(grid)
    table = stats.verdicts(frame, choice, chance=chance)
    learned = stats.near_leader(frame, table, choice)[[*choice, "initializer", "reached", "median"]]
    table = table.merge(learned, how="left", on=[*choice, "initializer"])
    seeds = int(table["seeds"].max())
    failed, failures = words.failures(frame, choice)
    look = figures.Look.of(list(dict.fromkeys(table["initializer"])))
    choices = [(words.title(choice, rows.iloc[0]), rows) for rows in stats.split(table, choice)]
    last = stats.outcomes(frame, chance)
    last = last.assign(test_accuracy=last["counted_test_accuracy"])
    limits = figures.accuracy_range(last)
    panels = [(title, rows, _of_choice(last, choice, rows)) for title, rows in choices[:MOST_PANELS]]
    across = "activation" if "activation" in choice else choice[0]
    return template.render(
        empty=False,
        headline=words.headline(table, choice),
        evidence=words.evidence(last, seeds),
        findings=words.findings(last, table, choice),
        verdicts=[(title, words.verdict(rows)) for title, rows in choices],
        tables=[(title, _rows(rows)) for title, rows in choices],
        panels=[figures.accuracy_by_initializer(group, rows, look, limits, title) for title, rows, group in panels],
        curves=_curves(frame, choice, choices[:MOST_PANELS], look),
        heat_maps=_heat_maps(table, choice, across),
        legend=[(name, figures.swatch(look.colours[name], look.markers[name])) for name in look.colours],
        whole_axis=limits[0] == 0,
        shown=min(len(choices), MOST_PANELS),
        choices=len(choices),
        seeds=seeds,
        question=words.listed([setting.replace("_", " ") for setting in choice]),
        across=across.replace("_", " "),
        planning=_planning(choices[:MOST_PANELS]),
        any_diverged=bool(failures),
        comparisons=int(table["comparisons"].max()),
        overall=len(choices) > 1,
        diverged=failed,
        failures=failures,
        most_failures=words.MOST_FAILURES,
        chance=_chance(grid),
        fixed=_fixed(grid),
        axes=grid.shape,
        **shared,
    )


def _breakable(name: str) -> Markup:
    """A name that a narrow column may break before a parenthesis and after an underscore, and nowhere else."""
    return Markup(str(escape(name)).replace("(", "<wbr>(").replace("_", "_<wbr>"))


def choice_of(grid: Grid) -> list[str]:
    """The settings that make a choice: all that vary but initializer and seed; without any, activation and loss."""
    return [s for s in grid.varying if s not in ("initializer", "seed")] or ["activation", "loss"]


def chances(grid: Grid) -> dict[str, stats.Chance]:
    """What always saying the commonest class of each of a grid's data sets reaches."""
    return {
        name: stats.Chance(
            s.commonest_class_share, s.commonest_validation_share or s.commonest_class_share, s.validation_size
        )
        for name, s in grid.sources.items()
    }


def _of_choice(frame: pd.DataFrame, choice: list[str], rows: pd.DataFrame) -> pd.DataFrame:
    """What the figures need of the runs of one choice, that of these rows."""
    here = pd.Series(True, frame.index)
    for setting in choice:
        here &= frame[setting] == rows[setting].iloc[0]
    return frame.loc[here, ["cell", "status", "initializer", "epoch", "train_loss", "test_accuracy"]]


def _rows(rows: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for _, row in rows.iterrows():
        behind = words.points(row["behind"], row["behind_low"], row["behind_high"])
        found.append(
            {
                "initializer": row["initializer"],
                "accuracy": words.interval(row),
                "trained": words.interval(row, "trained"),
                "behind": ("leads", "") if row["leader"] else behind,
                "best": words.among_the_best(row),
                "learned": words.epochs(row),
                "validation": words.percent(row["validation_accuracy"]),
                "failed": f"{int(row['failed'])} of {int(row['seeds'])}",
                "failed_interval": f"({words.percent(row['failed_low'], 0)} to {words.percent(row['failed_high'], 0)})",
            }
        )
    return found


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


def _curves(
    frame: pd.DataFrame, choice: list[str], choices: list[tuple[str, pd.DataFrame]], look: figures.Look
) -> list[figures.Figure]:
    made = []
    for title, rows in choices:
        table = stats.curves(_of_choice(frame, choice, rows), ["initializer"], "train_loss")
        made.append(figures.learning_curve(table, look, title))
    return made


def _heat_maps(table: pd.DataFrame, choice: list[str], across: str) -> list[figures.Figure]:
    others = [setting for setting in choice if setting != across]
    return [
        figures.heat_map(rows, across, words.title(others, rows.iloc[0]) if others else "")
        for rows in stats.split(table, others)[:MOST_PANELS]
    ]


def _chance(grid: Grid) -> str:
    return words.listed(
        [f"{words.percent(source.commonest_class_share, 2)} on {name}" for name, source in grid.sources.items()]
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
