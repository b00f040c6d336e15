"""The report: tables, figures and sentences of an experiment, laid out in one offline HTML file."""

import json
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import pandas as pd
from markupsafe import Markup

from initbench import stats
from initbench.reporting import (
    advantages,
    answers,
    explorer,
    limits,
    names,
    narrative,
    networks,
    numbers,
    own_functions,
    predictors,
    seeds,
    signal,
    verdict,
)
from initbench.reporting.cautions import added_seeds, cautions
from initbench.reporting.drawers import Drawer, PageFigure
from initbench.reporting.evidence import RATE, Evidence
from initbench.reporting.gallery import ReportFigure, gallery
from initbench.reporting.methods import SOFTWARE, methods
from initbench.reporting.palette import Palette
from initbench.reporting.templates import asset, fill
from initbench.results.plugin_file import StoredPlugin
from initbench.results.rounds import Rounds
from initbench.spec import presets
from initbench.spec.cell import LATER, Cell
from initbench.spec.grid import Grid
from initbench.spec.signal import IMAGES

# Labels of keys of an environment, as people write them.
ENVIRONMENT_LABELS = {
    "bits": "Reproducible", "blas": "NumPy's BLAS", "products": "Products", "cpu_capability": "CPU capability",
    "processor": "CPU", "device": "Device", "platform": "Platform", **SOFTWARE,
}  # fmt: skip
ENVIRONMENT_VALUES = {("bits", "exact"): "bit for bit", ("bits", "to rounding"): "up to rounding errors"}


@pd.option_context("mode.string_storage", "python")  # see `Evidence.of`
def render(
    frame: pd.DataFrame,
    grid: Grid,
    environments: Iterable[Mapping[str, str]],
    command: str,
    timings: Sequence[Mapping[str, Any]] = (),
    evidence: Evidence | None = None,
    seeds_seen: Sequence[int] = (),
    rounds: Rounds | None = None,
    plugins: Mapping[str, StoredPlugin] | None = None,
    drawer: Drawer | None = None,
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
    plugins
        The plugins whose functions were trained, by digest, the newest last.
    drawer
        What draws the figures, by default this process.
    """
    environments = list(environments)
    values: dict[str, Any] = {
        "name": grid.name,
        "title": "Which weight initializer?",
        "command": command,
        "preset": presets.named_by(grid.text),
        "grid": grid.text,
        "expected": len(rounds.cells if rounds else grid),
        "environments": [list(pairs) for pairs in dict.fromkeys(map(_labelled, environments))],
        "mixed": narrative.mixed(environments),
        "datasets": [(shown, full) for full, shown in names.datasets(grid.sources).items() if "@" in full],
        "plugins": own_functions.described(grid, plugins or {}),
        "plugin_files": own_functions.files(grid, plugins or {}),
        "empty": frame.empty,
    }
    if not frame.empty:
        evidence = evidence or Evidence.of(frame, grid, plugins)
        palette = Palette.of(evidence.initializers)
        drawn = _drawn(evidence, palette, drawer or Drawer())  # in other processes, while this one goes on
        values |= _answer(evidence, command, values["expected"], seeds_seen)
        values |= (
            _signal(evidence, command, any("training version" in environment for environment in environments))
            | _table(evidence, frame)
            | _certainty(evidence, rounds)
            | _method(evidence)
        )
        values |= {
            "speed": narrative.speed(timings),
            "initialization": narrative.initialization(timings, grid.axes["initializer"]),
            "methods": methods(evidence, environments, seeds_seen),
            "script": Markup(asset("script.js")),
            "colours": palette.style,
        }
        values |= _figures(drawn)
    return fill("page.html", **values)


def _labelled(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (ENVIRONMENT_LABELS.get(key, key), ENVIRONMENT_VALUES.get((key, value), value))
        for key, value in sorted(environment.items())
    )


def _answer(evidence: Evidence, command: str, expected: int, seeds_seen: Sequence[int]) -> dict[str, Any]:
    """Return what the first screen shows."""
    grid, first = evidence.grid, evidence.first
    all_answers = answers.answers(first, shlex.split(command))
    default = answers.default_of(first)
    own_verdicts = verdict.of_own(evidence)
    trained = evidence.frame["cell"].nunique()
    missing = []
    if trained < expected:
        missing = [
            f"{expected - trained:,} of the {expected:,} cells are not trained yet, so these results are preliminary: "
            f"{command} trains the rest."
        ]
    return {
        "title": answers.title(first),
        "network": networks.sentence(evidence.networks, grid.axes["output_activation"] == ("same",)),
        "one_network": len(evidence.networks) < 2,
        "evidence": narrative.evidence(evidence.last, evidence.seeds, evidence.images),
        "headline": answers.headline(evidence),
        "best_configuration": answers.best_configuration(evidence),
        "notices": [*missing, *cautions(grid.sources.values()), *added_seeds(grid, seeds_seen)],
        "own_verdicts": [
            (shown, [(None, row) for row in shown.differences]) for shown in own_verdicts[: limits.MAX_OWN_VERDICTS]
        ],
        "own_left_out": max(0, len(own_verdicts) - limits.MAX_OWN_VERDICTS),
        "warnings": answers.warnings(evidence),
        "findings": narrative.findings(evidence.last, evidence.verdicts),
        "answers": all_answers[: limits.MAX_ANSWERS],
        "combinations_left_out": max(0, len(all_answers) - limits.MAX_ANSWERS),
        "next_command": next((answer.command for answer in all_answers if answer.command), ""),
        "max_answers": limits.MAX_FIRST_ANSWERS,
        "initializers": len(evidence.initializers),
        "max_rows": limits.MAX_FIRST_ROWS,
        "max_panels": limits.MAX_FIRST_PANELS,
        "question": numbers.listed([names.setting(setting) for setting in first.combination]),
        "default": default[0] if default else "",
        "picker": _picker(first),
        "equivalent_within": grid.equivalent_within,
        "first_is_own_best": first is not evidence,
        "overview_note": _overview_note(first),
    }


def _picker(evidence: Evidence) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the settings that a reader picks, each with its values and their texts."""
    firsts = [rows[0] for rows in evidence.records]
    picker = []
    for setting in evidence.combination:
        texts = {names.setting_text(setting, row[setting]): names.title([setting], row) for row in firsts}
        if len(texts) > 1:
            picker.append((setting, list(texts.items())))
    return picker


def _overview_note(evidence: Evidence) -> str:
    """Return the note under the first figure."""
    count = len(evidence.initializers)
    sentences = []
    if len(evidence.combinations) > 1:
        sentences.append("Mean test accuracy; rows by average rank.")
    if evidence.selected_from > 1:
        sentences.append("Each initializer is at its own best learning rate.")
    if len(evidence.combinations) > limits.MAX_OVERVIEW_COLUMNS:
        sentences.append(f"The first {limits.MAX_OVERVIEW_COLUMNS} of {len(evidence.combinations)} combinations.")
    if len(evidence.combinations) > 1 and count > limits.MAX_OVERVIEW_INITIALIZERS:
        sentences.append(f"The {limits.MAX_OVERVIEW_INITIALIZERS} of {count} initializers with the best average ranks.")
    return " ".join(sentences)


def _signal(evidence: Evidence, command: str, earlier: bool) -> dict[str, Any]:
    """Return what the section on the reasons says of the signal before training.

    With `earlier`, the cells are of an earlier version of the training, which have none.
    """
    if evidence.signal_seeds == 0:
        return {"signal_note": signal.limited(0, evidence.seeds)}
    first, combination = evidence.first, evidence.first.combination
    if not any(title in first.initial_profiles for title, _ in first.shown):
        return {"signal_command": "" if earlier else shlex.join(["initbench", "signal", *shlex.split(command)[2:]])}
    profiles = first.initial_profiles.values()
    findings = stats.signal_findings(evidence.signal, first.frame, combination)
    shown = [rows[0] for rows in first.records]
    outcomes = [
        (predictors.table_title(evidence.predictors, outcome), predictors.table_rows(evidence.predictors, outcome))
        for outcome in predictors.OUTCOMES
    ]
    predicted = {
        name
        for title, rows in first.shown
        if title in first.initial_profiles
        for name in signal.predicted(first, rows.iloc[0], first.initial_profiles[title])["initializer"]
    }
    return {
        "has_theory": bool(predicted),
        "no_theory": numbers.listed(
            [name for name in evidence.initializers if name not in predicted][: limits.MAX_NAMED]
        ),
        "layered": any(profile["layer"].max() > 1 for profile in profiles),
        "signal_images": IMAGES,
        "signal_findings": signal.sentences(findings, combination, shown, len(evidence.initializers)),
        "advantage_factor": f"{stats.ADVANTAGE_FACTOR:g}",
        "advantage_share": numbers.percent(stats.ADVANTAGE_SHARE, 0),
        "advantages": advantages.sentences(
            stats.signal_advantages(evidence.signal, first.frame, combination, first.verdicts, evidence.scalars),
            combination,
            shown,
            any(profile["layer"].max() > 1 for profile in profiles),
        ),
        "silent_failures": advantages.failing(
            first.verdicts[
                [names.title(combination, row) in first.initial_profiles for _, row in first.verdicts.iterrows()]
            ],
            findings,
            combination,
            shown,
        ),
        "signal_note": " ".join(
            filter(None, [signal.left_out(list(profiles)), signal.limited(evidence.signal_seeds, evidence.seeds)])
        ),
        "trained_signal": signal.after_training(first),
        "prediction": predictors.sentences(evidence.predictors, len(evidence.initializers)),
        "predictors": [(title, [(None, row) for row in rows]) for title, rows in outcomes if rows],
    }


def _certainty(evidence: Evidence, rounds: Rounds | None) -> dict[str, Any]:
    """Return what the section on certainty shows."""
    table, first = evidence.verdicts, evidence.first
    undecided = [name for name, chance in evidence.chance.items() if not chance.split]
    failed, failures = narrative.failures(evidence.last, evidence.frame, evidence.combination, undecided)
    planning, all_planning = ([], []) if evidence.until_decided else _planning(evidence)
    flagged = [row for row in table.to_dict("records") if numbers.flag(row)]
    rule = evidence.grid.seed_rule
    return {
        "rounds": seeds.report(rounds) if rounds else [],
        "combinations": len(evidence.combinations),
        "shown": len(evidence.shown),
        "planning": planning,
        "all_planning": all_planning,
        "planning_headings": [
            "Combination",
            "Initializer",
            "Seeds",
            "Detects, points",
            *(f"For {numbers.in_points(100 * target)}" for target in stats.TARGETS),
        ],
        "failed": failed,
        "failing": _failing(evidence),
        "failures": [(None, row) for row in failures],
        "max_failures": limits.MAX_FAILURES,
        "max_planned": limits.MAX_PLANNED,
        "max_flagged": limits.MAX_FLAGGED,
        "flags": sorted({row["flag"] for row in flagged}),
        "flagged": [
            (f"{row['initializer']} with {names.title(evidence.combination, row)}", numbers.flag(row))
            for row in flagged
        ],
        "plateaus_nearby": int((table["flag"] == "plateau_nearby").sum()),
        "rotation_only": bool((table["rotation_only"] & table["significant"]).any()),
        "ranking": _ranking(evidence),
        "until_decided": evidence.until_decided,
        "first_seeds": rule.min_seeds if rule else 0,
        "half_width": seeds.width(rule.half_width) if rule and rule.half_width else "",
        "rates": _rates(evidence),
        "at_each_rate": answers.answers(evidence)[: limits.MAX_ANSWERS] if first is not evidence else [],
    }


def _failing(evidence: Evidence) -> list[tuple[int, list[str]]]:
    """Return the configurations with failed runs: the number of the combination, and the cells of a table."""
    return [
        (
            i,
            [
                *(names.setting_text(setting, row[setting]) for setting in evidence.combination),
                row["initializer"],
                f"{int(row['failed'])} of {int(row['seeds'])} {numbers.failure_interval(row)}",
            ],
        )
        for i, (_, rows) in enumerate(evidence.combinations)
        for _, row in rows[rows["failed"] > 0].iterrows()
    ][: limits.MAX_FAILURES]


def _method(evidence: Evidence) -> dict[str, Any]:
    """Return what the section on the method shows."""
    grid = evidence.grid
    baselines = stats.baselines(evidence.chance)
    on_test = baselines.loc[baselines["split"] == "test", ["dataset", "majority_class_accuracy"]]
    return {
        "logits": any(loss.partition("(")[0] == "cross_entropy" for loss in grid.axes["loss"]),
        "convolutions": networks.have_convolutions(evidence.networks),
        "chance": numbers.listed(
            [f"{numbers.percent(accuracy, 2)} on {name}" for name, accuracy in on_test.itertuples(index=False)]
        ),
        "chance_limits": numbers.listed(
            [f"{numbers.percent(chance.limit)} on {name}" for name, chance in evidence.chance.items() if chance.split]
        ),
        "on_test": numbers.listed([name for name, chance in evidence.chance.items() if chance.split == "test"]),
        "validation": numbers.listed(
            [
                f"{names.validation_split(source)} of {names.datasets(grid.sources)[source.name]}"
                for source in grid.sources.values()
            ]
        ),
        "networks": [(None, row) for row in networks.rows(evidence.networks)],
        "skips_zeros": any(network.is_perceptron and network.normalization == "none" for network in evidence.networks),
        "noise": numbers.listed(networks.noise(grid)),
        "about_networks": networks.explanations(grid, evidence.networks),
        "fixed": _fixed(grid),
        "axes": grid.shape,
    }


def _drawn(evidence: Evidence, palette: Palette, drawer: Drawer) -> list[tuple[ReportFigure, Callable[[], Any]]]:
    """Return the figures, each with a function that returns it as `figures.for_page` draws it."""
    return [
        (shown, drawer.submit("for_page", shown.figure, palette, number, shown.phone))
        for number, shown in enumerate(gallery(evidence, palette))
    ]


def _figures(drawn: Iterable[tuple[ReportFigure, Callable[[], Any]]]) -> dict[str, Any]:
    """Return the figures by section, and those of a combination that stand side by side."""
    sections: dict[str, list[dict[str, Any]]] = {}
    for shown, collect in drawn:
        sections.setdefault(shown.section, []).append(_figure(shown, collect()))
    decisive = sections.get("overview") or sections.get("accuracy", [])
    side_by_side: dict[int, list[dict[str, Any]]] = {}
    for figure in (*sections.get("accuracy", []), *sections.get("differences", [])):
        if figure not in decisive:
            side_by_side.setdefault(figure["combination"], []).append(figure)
    return {
        "sections": sections,
        "decisive": decisive,
        "stacked": any(figure["stacked"] for figure in decisive),
        "side_by_side": list(side_by_side.values()),
    }


def _figure(shown: ReportFigure, figure: PageFigure) -> dict[str, Any]:
    return {
        "svg": Markup(figure.svg),
        "narrow": Markup(figure.narrow),
        "title": figure.title,
        "combination": shown.combination,
        "combinations": " ".join(map(str, (shown.combination, *shown.also))),
        "name": " ".join(dict.fromkeys(filter(None, (shown.section, shown.name)))),
        "wide": figure.size[0] > limits.MAX_NARROW_FIGURE,
        "stacked": figure.size[0] > limits.MAX_FIRST_FIGURE,
        "headings": figure.headings,
        "rows": figure.rows,
    }


def _table(evidence: Evidence, frame: pd.DataFrame) -> dict[str, Any]:
    """The table that sorts and filters, and the data to download."""
    rows = explorer.rows_of(evidence)
    embedded, description = explorer.embedded(frame)
    return {
        "rows": rows,
        "all_rows": len(evidence.verdicts),
        "settings": evidence.combination,
        "any_failed": bool((evidence.verdicts["failed"] > 0).any()),
        "any_open": bool((evidence.verdicts["standing"] == "open").any()),
        # A string that ends its own element would end the script: "<" is written as JSON's escape.
        "data": Markup(json.dumps(explorer.data(evidence, rows), separators=(",", ":")).replace("<", "\\u003c")),
        "embedded": description,
        "csv": explorer.csv_address(embedded) if description else "",
        "parquet": explorer.parquet_address(embedded) if description else "",
    }


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
    common = stats.at_rates(evidence.frame, keys, rates, "common")
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
    compared: list[tuple[int, str, narrative.Row]] = []
    for i, ((title, _), rows) in enumerate(zip(evidence.shown, evidence.records, strict=False)):
        rivals = sorted(
            (row for row in rows if not math.isnan(row["difference_std"])), key=lambda row: row["difference"]
        )
        compared += [(i, title, row) for row in rivals[: max(1, limits.MAX_PLANNED - len(compared))]]
    columns = ["initializer", "pairs", "difference_std", "comparisons"]
    table = stats.power_analysis(pd.DataFrame([row for *_, row in compared], columns=columns))
    every = [
        (
            i,
            (
                title,
                str(row["initializer"]),
                int(row["pairs"]),
                numbers.signed(row["detectable"], 2),
                *(numbers.whole(row[f"needed_{target:g}"]) for target in stats.TARGETS),
            ),
        )
        for (i, title, _), row in zip(compared, table.to_dict("records"), strict=True)
    ]
    nearest = [next(group) for _, group in groupby(every, key=itemgetter(0))]
    return nearest, every[: limits.MAX_PLANNED]


def _fixed(grid: Grid) -> list[tuple[str, str]]:
    """The settings that do not vary, with their values, for people."""
    pairs = []
    left_out = {"seed"} | {setting for setting in LATER if grid.axes[setting] == (Cell._field_defaults[setting],)}
    left_out |= {"hidden"} if names.PERCEPTRON not in grid.axes["model"] else set()
    for setting, values in grid.axes.items():
        if len(values) == 1 and setting not in left_out:
            value = values[0]
            if setting == "train_size" and value is None:
                value = "all: " + numbers.listed([f"{s.train_size:,}" for s in grid.sources.values()])
            if setting == "lr_schedule" and value != "exponential":
                value = _constant_rate(grid) if value == "constant" else "cosine: falls towards 0 at the last step"
            pairs.append((names.setting(setting), names.setting_text(setting, value)))
    return pairs


def _constant_rate(grid: Grid) -> str:
    """The constant schedule in words, with its rate where that does not vary."""
    rates, decays = grid.axes["learning_rate"], grid.axes["lr_decay"]
    if set(decays) == {0}:
        return "constant"
    rate = f" = {numbers.exact(rates[0] * (1 - decays[0]))}" if len(rates) == len(decays) == 1 else ""
    return f"constant: learning rate × (1 − lr decay){rate} in every epoch"
