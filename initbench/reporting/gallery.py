"""All figures of an experiment: those of the page, and those that `initbench figures` writes."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from initbench import stats
from initbench.reporting import names, numbers, predictors, signal
from initbench.reporting.drawers import Undrawn, undrawn
from initbench.reporting.evidence import Evidence
from initbench.reporting.limits import (
    MAX_OVERVIEW_COLUMNS,
    MAX_OVERVIEW_INITIALIZERS,
    MAX_STATISTICS_MAPS,
    MAX_THRESHOLDS,
)
from initbench.reporting.palette import Palette


@dataclass(frozen=True)
class ReportFigure:
    """A figure in a section of the report.

    `combination` is the index of the combination that it shows, if of one, and `also` those of others that look the
    same. With `phone` it is drawn a second time if a phone has no room for it.
    """

    section: str
    name: str
    figure: Undrawn
    combination: int | None = None
    also: tuple[int, ...] = ()
    phone: bool = False


def gallery(evidence: Evidence, palette: Palette) -> Iterator[ReportFigure]:
    """Yield the figures, in the order of the page."""
    if evidence.first is not evidence or len(evidence.combinations) > 1:  # else it is the only figure of accuracies
        yield ReportFigure("overview", "overview", overview(evidence.first, palette), phone=True)
    yield from _signal(evidence, palette)
    for i, (title, rows) in enumerate(evidence.shown):
        figure = undrawn("accuracy_by_initializer", evidence.runs_of(rows), rows, palette, title)
        yield ReportFigure("accuracy", title, figure, i)
    for i, (title, rows) in enumerate(evidence.shown):
        if rows["difference"].notna().any():
            figure = undrawn("differences", evidence.runs_of(rows), rows, palette, title)
            yield ReportFigure("differences", title, figure, i)
    for i, ((title, _), (loss, accuracy)) in enumerate(zip(evidence.shown, _curves(evidence), strict=True)):
        yield ReportFigure("curves", title, undrawn("learning_curve", loss, accuracy, palette, title), i)
    yield from _speed(evidence)
    yield from _rates(evidence, palette)
    yield from _across(evidence, palette)


def _curves(evidence: Evidence) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Yield the training loss and the validation accuracy of each combination that is shown, by initializer."""
    shown, combination = [rows for _, rows in evidence.shown], evidence.combination
    runs = evidence.frame
    if len(shown) < len(evidence.combinations):
        runs = pd.concat([evidence.runs_of(rows, runs) for rows in shown])
    runs = runs.assign(validation_accuracy=stats.scored(runs, "validation_accuracy", evidence.chance))
    loss, accuracy = (
        stats.curves(runs, [*combination, "initializer"], metric) for metric in ("train_loss", "validation_accuracy")
    )
    for rows in shown:
        of_loss, of_accuracy = (evidence.runs_of(rows, table) for table in (loss, accuracy))
        yield (
            of_loss.drop(columns=combination).reset_index(drop=True),
            of_accuracy.drop(columns=combination).reset_index(drop=True),
        )


def named_gallery(evidence: Evidence, palette: Palette) -> Iterator[tuple[str, ReportFigure]]:
    """Yield the figures, each with the name of its file, without the ending."""
    names = set()
    for figure in gallery(evidence, palette):
        name = slug(figure)
        while name in names:  # long names that are cut alike
            name += "-again"
        names.add(name)
        yield name, figure


def slug(shown: ReportFigure) -> str:
    """Return a file's name for a figure.

    >>> slug(ReportFigure("accuracy", "tanh, learning rate 0.1", undrawn("accuracy")))
    'accuracy-tanh-learning-rate-0.1'
    """
    parts = dict.fromkeys([shown.section, shown.name]) if shown.name else [shown.section]
    return re.sub(r"[^a-z0-9_.]+", "-", "-".join(parts).lower()).strip("-.")[:120]


def _combinations(evidence: Evidence) -> tuple[list[tuple[str, pd.DataFrame]], list[tuple[str, str]]]:
    """The first combinations, and for each its group and its label in the group, as `points_behind` draws columns.

    Groups are the values of the loss, or if it does not vary, of the last of several settings; without several, or
    with one combination, there is one group without a name.
    """
    settings = evidence.combination
    grouped = len(settings) > 1 and len(evidence.combinations) > 1
    by = "loss" if "loss" in settings else settings[-1]
    others = [setting for setting in settings if setting != by] if grouped else settings
    labelled = [
        (
            names.title([by], rows.iloc[0]) if grouped else "",
            "\n".join(names.title([setting], rows.iloc[0]) for setting in others),
            title,
            rows,
        )
        for title, rows in evidence.combinations[:MAX_OVERVIEW_COLUMNS]
    ]
    groups = list(dict.fromkeys(group for group, *_ in labelled))
    labelled.sort(key=lambda column: groups.index(column[0]))
    return [column[2:] for column in labelled], [column[:2] for column in labelled]


def _by_combination(combinations: list[tuple[str, pd.DataFrame]], column: str, initializers: list[str]) -> pd.DataFrame:
    """A column of the verdicts as a table, initializer × combination."""
    table = {}
    for title, rows in combinations:
        values = dict(zip(rows["initializer"], rows[column], strict=True))
        table[title] = [values.get(name, np.nan) for name in initializers]
    return pd.DataFrame(table, index=pd.Index(initializers, name="initializer"))


def overview(evidence: Evidence, palette: Palette) -> Undrawn:
    """Points behind the best of each combination; of a single combination, its accuracies."""
    if len(evidence.combinations) == 1:
        title, rows = evidence.combinations[0]
        return undrawn("accuracy_by_initializer", evidence.last, rows, palette, title)
    combinations, columns = _combinations(evidence)
    order = _best_first(_by_combination(combinations, "mean_all", evidence.initializers))
    means = _by_combination(combinations, "mean_all", order)
    shown = order[:MAX_OVERVIEW_INITIALIZERS]
    behind = (100 * (means.max() - means)).loc[shown]
    standing = _by_combination(combinations, "standing", shown).fillna("")
    failed, seeds = (_by_combination(combinations, column, shown) for column in ("failed", "seeds"))
    return undrawn("points_behind", behind, means.loc[shown], standing, (failed / seeds).fillna(0.0), columns)


def _best_first(means: pd.DataFrame) -> list[str]:
    """The initializers by their average rank over the columns, ties by their average mean."""
    ranks = means.rank(ascending=False).mean(axis=1)
    order = pd.DataFrame({"rank": ranks, "mean": -means.mean(axis=1)})
    return list(order.sort_values(["rank", "mean"], kind="stable").index)


def _signal(evidence: Evidence, palette: Palette) -> Iterator[ReportFigure]:
    """The signal before training of each combination, each statistic by initializer, and the best predictor."""
    if evidence.signal.empty:
        return
    first = evidence.first
    profiles = first.initial_profiles
    shown = [(i, rows, profiles[title]) for i, (title, rows) in enumerate(first.shown) if title in profiles]
    for alike in _alike(shown, signal.drawn):
        _, verdicts, profile = alike[0]
        title = _common_title(first.combination, [rows for _, rows, _ in alike])
        leaders = {str(name) for _, rows, _ in alike for name in rows.loc[rows["leader"], "initializer"]}
        settings: dict[str, Any] = {
            "order": list(verdicts.sort_values("validation_accuracy", ascending=False, kind="stable")["initializer"]),
            "leader": leaders.pop() if len(leaders) == 1 else "",  # there is none where all runs have failed
        }
        if profile["layer"].max() == 1:
            ends = signal.unsaturated_outputs(first, verdicts.iloc[0])
            figure = undrawn("pre_activations", profile, palette, title, unsaturated=ends, **settings)
        else:
            theory = signal.predicted(first, verdicts.iloc[0], profile)
            figure = undrawn("signal_by_layer", profile, palette, title, theory=theory, **settings)
        yield _of_combinations(evidence, "signal", title, figure, alike)
    for alike in _alike(shown, signal.statistics)[:MAX_STATISTICS_MAPS]:
        _, _, profile = alike[0]
        title = _common_title(first.combination, [rows for _, rows, _ in alike])
        table = signal.statistics(profile)
        if table.size:
            figure = undrawn("statistics_map", table, signal.SHARES, title)
            yield _of_combinations(evidence, "statistics", title, figure, alike)
    if not (best := predictors.best_first(evidence.predictors, "accuracy")).empty:
        row = best.iloc[0]
        name, label = row["predictor"], predictors.label(row)
        points = predictors.points(evidence, name, row["position"])
        title = "The best predictor" if row["significant"] else "The strongest, not significant"
        linear = name in predictors.MORE
        figure = undrawn("predictor", points, palette, label, title, share="share" in name, linear=linear)
        yield ReportFigure("predictor", "", figure)


def _alike(
    shown: Sequence[tuple[int, pd.DataFrame, pd.DataFrame]], drawn: Callable[[pd.DataFrame], pd.DataFrame]
) -> list[list[tuple[int, pd.DataFrame, pd.DataFrame]]]:
    """Group the combinations of which the same is drawn; each has its index, its verdicts and its profile."""
    groups: list[tuple[pd.DataFrame, list[tuple[int, pd.DataFrame, pd.DataFrame]]]] = []
    for combination in shown:
        table = drawn(combination[2]).reset_index(drop=True)
        for first, members in groups:
            if table.equals(first):
                members.append(combination)
                break
        else:
            groups.append((table, [combination]))
    return [members for _, members in groups]


def _common_title(combination: Sequence[str], verdicts: Sequence[pd.DataFrame]) -> str:
    """The title of several combinations: the settings in which they agree."""
    first = verdicts[0].iloc[0]
    common = [
        setting for setting in combination if all(rows[setting].iloc[0] == first[setting] for rows in verdicts[1:])
    ]
    return names.title(common, first)


def _of_combinations(
    evidence: Evidence,
    section: str,
    title: str,
    figure: Undrawn,
    combinations: Sequence[tuple[int, pd.DataFrame, pd.DataFrame]],
) -> ReportFigure:
    """A figure of combinations; those at each initializer's own best rate are shown whichever rate is picked."""
    if evidence.first is not evidence:
        return ReportFigure(section, title, figure)
    first, *others = (i for i, _, _ in combinations)
    return ReportFigure(section, title, figure, first, also=tuple(others))


def _speed(evidence: Evidence) -> Iterator[ReportFigure]:
    combinations, columns = _combinations(evidence)
    every = _by_combination(combinations, "median", evidence.initializers).astype(float)
    values = every.dropna(how="all")
    headings = ["Initializer", "Combination", "Median epochs", "Runs that reach it", "Share of runs, 95% interval"]
    cells = [
        [str(row["initializer"]), title, *numbers.epochs(row), numbers.share_reached(row)]
        for title, rows in combinations
        for _, row in rows.iterrows()
    ]
    if values.size > 1:
        description = (
            "Median number of epochs until a run's validation accuracy is at most one point below the leader's final "
            "one, by initializer and combination; blank where fewer than half of the runs reach it"
        )
        if never := [str(name) for name in every.index.difference(values.index, sort=False)]:
            description += f", as everywhere with {numbers.listed(never)}"
        figure = undrawn("epochs_map", values, columns, description, (headings, cells))
        yield ReportFigure("speed", "", figure, phone=True)


def _rates(evidence: Evidence, palette: Palette) -> Iterator[ReportFigure]:
    table = evidence.rates
    if table is not None:
        # Of the leader at its own best rate, the interval of the answer: it was selected from all initializers too.
        keys = [*evidence.combination_without_rate, "initializer"]
        leaders = evidence.first.verdicts.loc[evidence.first.verdicts["leader"], [*keys, "all_low"]]
        answered = table[keys].merge(leaders, how="left", on=keys)["all_low"].where(table["own_best"])
        table = table.assign(all_low=answered.fillna(table["all_low"]))
        for rows in stats.by_combination(table, evidence.combination_without_rate)[: len(evidence.shown)]:
            title = names.title(evidence.combination_without_rate, rows.iloc[0])
            yield ReportFigure("rates", title, undrawn("sensitivity", rows, palette, title))


def _across(evidence: Evidence, palette: Palette) -> Iterator[ReportFigure]:
    combinations = evidence.compared_across
    if not combinations:
        return
    scores = evidence.scores
    ranks, pairs = evidence.ranks, evidence.rank_pairs
    yield ReportFigure("across", "ranks", undrawn("rank_diagram", ranks, groups(ranks, pairs), palette, combinations))
    order = list(ranks["initializer"])
    means = stats.interquartile_means(scores).set_index("initializer").loc[order].reset_index()
    yield ReportFigure(
        "across",
        "interquartile means",
        undrawn("intervals", means, "mean", palette, "Interquartile mean of test accuracy", "Interquartile mean"),
    )
    pooled = np.concatenate([values for accuracies in scores.values() for values in accuracies])
    table = stats.profiles(scores, np.unique(np.linspace(pooled.min(), pooled.max(), MAX_THRESHOLDS)))
    yield ReportFigure("across", "profiles", undrawn("profile", table, palette))
    reference = order[0]
    probabilities = stats.improvement(scores, reference).set_index("initializer").loc[order[1:]].reset_index()
    title = f"Probability of improvement over {reference}"
    label = "Probability that a run has a higher accuracy"
    yield ReportFigure(
        "across", "improvement", undrawn("intervals", probabilities, "probability", palette, title, label, 0.5)
    )


def groups(ranks: pd.DataFrame, pairs: pd.DataFrame) -> list[tuple[int, int]]:
    """The bars of a critical-difference diagram: the longest ranges of rows of `ranks` without a significant pair.

    There are none where no test can reach significance; a bar has two rows at least.
    """
    if not pairs["attainable"].any():
        return []
    names = list(ranks["initializer"])
    significant = {
        frozenset(pair) for pair in pairs.loc[pairs["significant"], ["better", "worse"]].itertuples(index=False)
    }
    ranges: list[tuple[int, int]] = []
    for first in range(len(names)):
        last = first
        while last + 1 < len(names) and not any(
            frozenset((names[i], names[last + 1])) in significant for i in range(first, last + 1)
        ):
            last += 1
        if last > first and not (ranges and ranges[-1][1] >= last):
            ranges.append((first, last))
    return ranges
