"""The report: tables, figures and sentences of an experiment, laid out in one offline HTML file."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from initbench import stats
from initbench.reporting import explorer, figures, limits, names, narrative, numbers, seeds
from initbench.reporting.cautions import added_seeds, cautions
from initbench.reporting.evidence import RATE, Evidence
from initbench.reporting.gallery import ReportFigure, gallery
from initbench.reporting.templates import asset, fill
from initbench.results.rounds import Rounds
from initbench.spec import presets
from initbench.spec.grid import Grid

# Labels of keys of an environment that a reader would not understand.
ENVIRONMENT_LABELS = {
    "bits": "Reproducible", "blas": "NumPy's BLAS", "cpu_capability": "CPU capability", "processor": "CPU",
}  # fmt: skip
ENVIRONMENT_VALUES = {("bits", "exact"): "bit for bit", ("bits", "to rounding"): "up to rounding errors"}


def render(
    frame: pd.DataFrame,
    grid: Grid,
    environments: Iterable[Mapping[str, str]],
    command: str,
    timings: Sequence[Mapping[str, Any]] = (),
    evidence: Evidence | None = None,
    seeds_seen: Sequence[int] = (),
    rounds: Rounds | None = None,
) -> str:
    """Return the report of an experiment as one HTML page.

    Parameters
    ----------
    frame
        The experiment's tidy table.
    grid
        Its grid: which settings vary, and which cells there should be.
    environments
        The metadata of the parts: versions and CPUs; each different one is shown.
    command
        The command that reproduces the experiment.
    timings
        The timings of the parts, for the speed of the training.
    evidence
        The tables derived from `frame`; by default they are computed here.
    seeds_seen
        The numbers of seeds at which results were complete before seeds were added.
    rounds
        The state of the grid's rule for its seeds, if it has one.
    """
    environments = list(environments)
    values: dict[str, Any] = {
        "name": grid.name,
        "command": command,
        "preset": presets.named_by(grid.text),
        "grid": grid.text,
        "speed": narrative.speed(timings),
        "initialization": narrative.initialization(timings, grid.axes["initializer"]),
        "expected": len(rounds.cells if rounds else grid),
        "rounds": seeds.report(rounds) if rounds else [],
        "got": frame["cell"].nunique(),
        "environments": [list(pairs) for pairs in dict.fromkeys(map(_labelled, environments))],
        "mixed": narrative.mixed(environments),
        "datasets": [(shown, full) for full, shown in names.datasets(grid.sources).items() if "@" in full],
        "empty": frame.empty,
    }
    if not frame.empty:
        evidence = evidence or Evidence.of(frame, grid)
        values |= _sentences(evidence) | _figures(evidence) | _table(evidence, frame)
        values["cautions"] = [*cautions(grid.sources.values()), *added_seeds(grid, seeds_seen)]
        values["script"] = Markup(asset("script.js"))
    return fill("page.html", **values)


def _labelled(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (ENVIRONMENT_LABELS.get(key, key), ENVIRONMENT_VALUES.get((key, value), value))
        for key, value in sorted(environment.items())
    )


def _sentences(evidence: Evidence) -> dict[str, Any]:
    """Return the sentences of the page."""
    grid, table, first = evidence.grid, evidence.verdicts, evidence.first
    undecided = [name for name, chance in evidence.chance.items() if not chance.split]
    baselines = stats.baselines(evidence.chance)
    on_test = baselines.loc[baselines["split"] == "test", ["dataset", "majority_class_accuracy"]]
    failed, failures = narrative.failures(evidence.last, evidence.frame, evidence.combination, undecided)
    planning, all_planning = ([], []) if evidence.until_decided else _planning(evidence)
    own_best = first is not evidence
    answers = _answers(first)[: limits.MAX_FIRST_ANSWERS]
    more_answers = _answers(evidence)[0 if own_best else limits.MAX_FIRST_ANSWERS :]
    return {
        "headline": _headline(evidence),
        "network": _network(grid),
        "logits": "cross_entropy" in grid.axes["loss"],
        "evidence": narrative.evidence(evidence.last, evidence.seeds),
        "findings": narrative.findings(evidence.last, table),
        "answers": answers,
        "more_answers": more_answers,
        "answered": (0 if own_best else limits.MAX_FIRST_ANSWERS) + len(more_answers),
        "own_best": own_best,
        "first_combinations": len(first.combinations),
        "initializers": len(evidence.initializers),
        "shown_first": min(len(first.initializers), limits.MAX_OVERVIEW_INITIALIZERS),
        "seeds": evidence.seeds,
        "min_seeds": stats.MIN_SEEDS,
        "hardly_decides": not evidence.until_decided and _hardly_decides(len(evidence.initializers), evidence.seeds),
        "question": numbers.listed([setting.replace("_", " ") for setting in evidence.combination]),
        "combinations": len(evidence.combinations),
        "shown": len(evidence.shown),
        "max_columns": limits.MAX_OVERVIEW_COLUMNS,
        "planning": planning,
        "all_planning": all_planning,
        "failed": failed,
        "failures": failures,
        "max_failures": limits.MAX_FAILURES,
        "max_planned": limits.MAX_PLANNED,
        "chance": numbers.listed(
            [f"{numbers.percent(accuracy, 2)} on {name}" for name, accuracy in on_test.itertuples(index=False)]
        ),
        "chance_limits": numbers.listed(
            [f"{numbers.percent(chance.limit)} on {name}" for name, chance in evidence.chance.items() if chance.split]
        ),
        "on_test": numbers.listed([name for name, chance in evidence.chance.items() if chance.split == "test"]),
        "validation": numbers.listed(
            [
                f"the first {source.validation_size:,} of the {source.validation_size + source.train_size:,} training "
                f"images of {names.datasets(grid.sources)[source.name]}"
                for source in grid.sources.values()
            ]
        ),
        "fixed": _fixed(grid),
        "axes": grid.shape,
        "flags": sorted(set(table["flag"]) - {"", "plateau_nearby"}),
        "plateaus_nearby": int((table["flag"] == "plateau_nearby").sum()),
        "equivalent_within": grid.equivalent_within,
        "equivalent": bool(table["equivalent"].any() or first.verdicts["equivalent"].any()),
        "rotation_only": bool((table["rotation_only"] & table["significant"]).any()),
        "ranking": _ranking(evidence),
        "until_decided": evidence.until_decided,
        "first_seeds": grid.seed_rule.min_seeds if grid.seed_rule else 0,
        "half_width": seeds.width(grid.seed_rule.half_width) if grid.seed_rule and grid.seed_rule.half_width else "",
        "rates": _rates(evidence),
    }


def _figures(evidence: Evidence) -> dict[str, Any]:
    """The figures, by section, and the colours of the initializers."""
    palette = figures.Palette.of(evidence.initializers)
    sections: dict[str, list[dict[str, Any]]] = {}
    for number, shown in enumerate(gallery(evidence, palette)):
        sections.setdefault(shown.section, []).append(_figure(shown, palette, number))
    return {
        "sections": sections,
        "colours": palette.style,
    }


def _figure(shown: ReportFigure, palette: figures.Palette, number: int) -> dict[str, Any]:
    drawing = shown.drawing
    return {
        "svg": Markup(figures.inline(drawing, palette, f"f{number}-")),
        "combination": shown.combination,
        "title": drawing.title,
        "name": " ".join(dict.fromkeys(filter(None, (shown.section, shown.name)))),
        "wide": drawing.size[0] > limits.MAX_NARROW_FIGURE,
        "headings": drawing.headings,
        "rows": drawing.rows,
    }


def _table(evidence: Evidence, frame: pd.DataFrame) -> dict[str, Any]:
    """The table that sorts and filters, and the data to download."""
    rows = explorer.rows_of(evidence)
    embedded, description = explorer.embedded(frame)
    return {
        "rows": rows,
        "all_rows": len(evidence.verdicts),
        "settings": [setting.replace("_", " ") for setting in evidence.combination],
        # A string that ends its own element would end the script: "<" is written as JSON's escape.
        "data": Markup(json.dumps(explorer.data(evidence, rows), separators=(",", ":")).replace("<", "\\u003c")),
        "embedded": description,
        "csv": explorer.csv_address(embedded) if description else "",
        "parquet": explorer.parquet_address(embedded) if description else "",
    }


def _network(grid: Grid) -> str:
    """The networks' layer widths; without a hidden layer, which activation is meant."""
    hidden = grid.axes["hidden"]
    sizes = [(source.pixels, source.classes) for source in grid.sources.values()]
    only_output = set(hidden) == {""} and grid.axes["output_activation"] == ("same",)
    label = "Networks" if len(hidden) * len(set(sizes)) > 1 else "Network"
    return f"{label}: {names.network(hidden, sizes)}{', so the activation is that of the output' * only_output}."


def _headline(evidence: Evidence) -> list[str]:
    """The answer first; where the learning rate is an axis, with each initializer at its own best, and then by rate."""
    by_rate = narrative.headline(evidence.verdicts, evidence.combination)
    if evidence.first is evidence:
        return by_rate[:1] + _about_zeros(by_rate[0], evidence.grid) + by_rate[1:]
    first = narrative.headline(evidence.first.verdicts, evidence.first.combination)
    first[0] = f"With each initializer at its own best learning rate: {numbers.uncapitalized(first[0])}"
    first[1:1] = _about_zeros(first[0], evidence.grid)
    return [*first, f"With each learning rate separately: {numbers.uncapitalized(by_rate[0])}"]


def _about_zeros(answer: str, grid: Grid) -> list[str]:
    """A warning where the answer names zeros, and no network has a hidden layer."""
    if set(grid.axes["hidden"]) != {""} or "zeros" not in re.findall(r"\w+", answer.partition(";")[0]):
        return []
    return ["zeros works only because there is no hidden layer."]


def _hardly_decides(initializers: int, seeds: int) -> bool:
    """Whether the permutation test cannot show one of several initializers to be better than the others.

    If the others are equal, k^(1 − n) of all permutations show as much as what was observed.
    """
    return initializers > 2 and initializers ** (1 - seeds) > 1 - stats.CONFIDENCE


def _answers(evidence: Evidence) -> list[tuple[int | None, str, int, str]]:
    """For each combination: its number, where the page has figures of it; its title, its seeds and its answer."""
    at_its_best = RATE in evidence.grid.varying and RATE not in evidence.combination
    return [
        (
            None if at_its_best else i,
            title,
            int(rows["seeds"].max()),
            narrative.verdict(rows, evidence.grid.equivalent_within),
        )
        for i, (title, rows) in enumerate(evidence.combinations[: limits.MAX_ANSWERS])
    ]


def _ranking(evidence: Evidence) -> list[str]:
    """What the average ranks show, where initializers can be compared across combinations."""
    if not evidence.compared_across:
        return []
    count = len(next(iter(evidence.scores.values()))[0])
    return narrative.ranking(evidence.ranks, evidence.rank_pairs, count, evidence.verdicts, len(evidence.combinations))


def _rates(evidence: Evidence) -> list[tuple[str, list[str]]]:
    """For each combination of other settings: what is best at the common rate, at each own best, at some rates only."""
    rates = evidence.rates
    if rates is None:
        return []
    keys = evidence.combination_without_rate
    has_others = set(keys) < set(evidence.combination)  # else the rate is the only setting of a combination
    at_each = evidence.verdicts if has_others else evidence.verdicts_of(evidence.frame, [*keys, RATE])
    within = evidence.grid.equivalent_within
    common = stats.at_rates(evidence.frame, rates, keys, "common")
    tables = [rates, evidence.verdicts_of(common, keys, evidence.first.selected_from), evidence.first.verdicts, at_each]
    by_title = [
        {names.title(keys, rows.iloc[0]): rows for rows in stats.by_combination(table, keys)} for table in tables
    ]
    return [
        (
            title,
            [
                narrative.at_rates(by_title[1].get(title), rows, "common", within),
                narrative.at_rates(by_title[2][title], rows, "own_best", within),
                *(
                    f"{line}."
                    for line in (*narrative.best_at_some_rates(by_title[3][title]), *narrative.at_the_edge(rows))
                ),
            ],
        )
        for title, rows in list(by_title[0].items())[: limits.MAX_ANSWERS]
    ]


def _planning(evidence: Evidence) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Minimum detectable differences and seeds needed: of the nearest rival in each combination, and of all."""
    nearest: list[tuple[Any, ...]] = []
    every: list[tuple[Any, ...]] = []
    for i, (title, rows) in enumerate(evidence.shown):
        compared = rows[rows["difference_std"].notna()].sort_values("difference", kind="stable")
        compared = compared.head(max(1, limits.MAX_PLANNED - len(every)))
        for j, (_, row) in enumerate(stats.power_analysis(compared).iterrows()):
            needed = [numbers.whole(row[f"needed_{target:g}"]) for target in stats.TARGETS]
            cells = (
                i,
                title,
                str(row["initializer"]),
                int(row["pairs"]),
                numbers.signed(row["detectable"], 2),
                *needed,
            )
            every.append(cells)
            nearest += [cells] * (j == 0)
    return nearest, every[: limits.MAX_PLANNED]


def _fixed(grid: Grid) -> list[tuple[str, str]]:
    """The settings that do not vary, with their values, for people."""
    pairs = []
    for setting, values in grid.axes.items():
        if len(values) == 1 and setting != "seed":
            value = values[0]
            if setting == "train_size" and value is None:
                value = "all: " + numbers.listed([f"{s.train_size:,}" for s in grid.sources.values()])
            if setting == "lr_schedule" and value == "constant":
                value = _constant_rate(grid)
            pairs.append((setting.replace("_", " "), names.setting_text(setting, value)))
    return pairs


def _constant_rate(grid: Grid) -> str:
    """The constant schedule in words, with its rate where that does not vary."""
    rates, decays = grid.axes["learning_rate"], grid.axes["lr_decay"]
    if set(decays) == {0}:
        return "constant"
    rate = f" = {numbers.exact(rates[0] * (1 - decays[0]))}" if len(rates) == len(decays) == 1 else ""
    return f"constant: learning rate × (1 − lr decay){rate} in every epoch"
