"""Sentences made from the tables of `stats`."""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from initbench import stats
from initbench.durations import duration
from initbench.registry import shorten_digests
from initbench.reporting.article import finding
from initbench.reporting.limits import MAX_FAILURES, MAX_HALF_WIDTH, MAX_NAMED, MAX_OPEN_NAMED
from initbench.reporting.names import OFF, PERCEPTRON, initializer, switched, title
from initbench.reporting.numbers import (
    at_most,
    in_points,
    listed,
    marked,
    plural,
    signed,
    uncapitalized,
)
from initbench.spec.columns import DIVERGED, SETTINGS
from initbench.spec.settings import is_initializer

Row = Mapping[str, Any]  # of `stats.verdicts`


def verdict(table: pd.DataFrame, equivalent_within: float | None = None) -> str:
    """Answer for one combination, from its rows of `stats.verdicts`: which initializers are best, worse or failed.

    `equivalent_within`, in percentage points, is what the grid file declares.
    """
    return verdict_of(records(table), equivalent_within)


def records(table: pd.DataFrame) -> list[Row]:
    """Return the rows of a table; of a few rows, a condition on these is far cheaper than one on the table."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def verdict_of(rows: Sequence[Row], equivalent_within: float | None = None) -> str:
    """Return `verdict` of these rows."""
    leader = next((row for row in rows if row["leader"]), None)
    if leader is None:
        return f"{uncapitalized(none_trained(rows))}, so there is no leader."
    leader_text = named(leader, marked(leader))
    failed = [row for row in rows if row["failed"] == row["seeds"]]
    others = sorted(
        (row for row in rows if not row["leader"] and row["failed"] != row["seeds"]),
        key=lambda row: (math.isnan(row["difference"]), row["difference"]),
    )
    if not leader["n_compared"]:
        return f"{named(leader)} reaches {marked(leader)}; there is nothing to compare it with."
    if all(math.isnan(row["p"]) for row in rows):  # no two have enough common seeds for a test
        cause = "a single seed" if has_one_seed(rows) else "too few common seeds"
        clauses = [f"{leader_text} leads, but with {cause} no difference can be tested"]
    else:
        clauses = _best(rows)
        if leader["significant"]:
            clauses.append(
                f"{leader_text} leads on validation but is significantly worse than {leader['worse_than']} on test"
            )
        elif not leader["standing"]:
            clauses.append(f"{leader_text} leads, but shares too few seeds for a test")
        clauses += _costs(rows, leader, equivalent_within)
        clauses += _significantly_worse(
            [row for row in others if row["significant"]], [row for row in failed if row["significant"]]
        )
        failed = [row for row in failed if not row["significant"] and row["standing"] == ""]
        untested = [row["initializer"] for row in others if row["standing"] == "" and not row["significant"]]
        if untested:
            clauses.append(f"{some(untested)} {'shares' if len(untested) == 1 else 'share'} too few seeds for a test")
    return "; ".join(clauses + _always_failed(failed)) + "."


def has_one_seed(rows: Sequence[Row]) -> bool:
    """Return whether no initializer has a second seed, so that there is no interval."""
    return max((row["seeds"] for row in rows), default=0) == 1


def _best(rows: Sequence[Row]) -> list[str]:
    """Name all that are not significantly worse than another: the best is one of them."""
    left = candidates(rows)
    near = [row for row in left if row["standing"] == "best"]
    names = [named(row, marked(row) if i == 0 else "") for i, row in enumerate(near)]
    tested = "" if all_tested(rows) else " of those tested"
    if len(left) == 1:
        return [f"the best{tested}: {named(left[0], marked(left[0]))}"]
    behind = [row for row in left if row["standing"] == "open"]
    others = [named(row, f"{points_of(row)} lower") for row in behind[:MAX_OPEN_NAMED]]
    if len(behind) > MAX_OPEN_NAMED:
        others.append(f"{len(behind) - MAX_OPEN_NAMED} more (up to {points_of(behind[-1])} lower)")
    count = f" {len(left)}" * (len(near) > MAX_NAMED or len(behind) > MAX_OPEN_NAMED)
    parts = [some(names)] * bool(names)
    parts += [f"not ruled out by these seeds, {listed(others)}"] * bool(others)
    return [f"the best{tested} is among{count}: {', or, '.join(parts)}"]


def candidates(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of a combination that are not significantly worse than another, the leader first."""
    left = [row for row in rows if row["standing"] != ""]
    return sorted(left, key=lambda row: -math.inf if math.isnan(row["difference"]) else row["difference"])


def all_tested(rows: Sequence[Row]) -> bool:
    """Return whether every initializer is among the best or significantly worse."""
    return all(row["standing"] != "" or row["significant"] for row in rows)


def _costs(rows: Sequence[Row], leader: Row, equivalent_within: float | None) -> list[str]:
    """Say what choosing the leader costs at most, and which initializers are equivalent to the best."""
    name, bound = leader["initializer"], leader["regret_bound"]
    alone = len(candidates(rows)) == 1
    equivalent = [row["initializer"] for row in rows if row["equivalent"]]
    within = f"equivalent within {in_points(equivalent_within or 0.0)}"
    clauses = []
    if not alone and bound <= MAX_HALF_WIDTH:
        too = f" ({within})" * (equivalent == [name])
        clauses.append(f"choosing {name} costs at most {at_most(bound)} points{too}")
    return clauses + [f"{within}: {some(equivalent)}"] * (equivalent not in ([], [name]))


def _significantly_worse(rows: Sequence[Row], failed: Sequence[Row]) -> list[str]:
    """Name those that are significantly worse, the nearest to the leader first; of `failed` every run failed."""
    clauses = [  # worse than another one than the leader
        f"{named(row)} is significantly worse than {row['worse_than']}" for row in rows if row["difference"] <= 0
    ]
    names = [named(row, f"{points_of(row)} lower") for row in rows if not row["difference"] <= 0]
    names += [named(row) for row in failed]
    return clauses + [f"significantly worse: {some(names)}"] * bool(names)


def points_of(row: Any) -> str:
    """The difference from the leader in percentage points, with its unit."""
    text = signed(row["difference"], 2 if row["difference"] < 0.001 else 1)
    return f"{text} {'point' if text == '1.0' else 'points'}"


def _always_failed(rows: Sequence[Row]) -> list[str]:
    """Name the initializers of which every run failed, and how, where no test shows that they are worse."""
    diverged = [row["initializer"] for row in rows if row["diverged"] == row["seeds"]]
    at_chance = [row["initializer"] for row in rows if row["diverged"] == 0]
    both = [row["initializer"] for row in rows if row["initializer"] not in (*diverged, *at_chance)]
    outcomes = [(diverged, "diverged"), (at_chance, "stayed at chance"), (both, "diverged or stayed at chance")]
    return [f"every run of {listed(names)} {outcome}" for names, outcome in outcomes if names]


def named(row: Row, more: str = "") -> str:
    """Return an initializer's name; in parentheses `more`, and how many of its runs failed."""
    failed = int(row["failed"])
    note = uncapitalized(none_trained([row])) if failed == row["seeds"] else failed_runs(row)
    notes = [more] * bool(more) + [note] * bool(failed)
    return str(row["initializer"]) + (f" ({'; '.join(notes)})" if notes else "")


def failed_runs(row: Any, of: str = "") -> str:
    """Say how many runs of an initializer failed, and how: `1 of 5 runs diverged`, or `… runs of zeros …`."""
    outcome = "failed"
    if row["failed"] == row["diverged"]:
        outcome = "diverged"
    elif not row["diverged"]:
        outcome = "stayed at chance"
    return f"{int(row['failed'])} of {plural(int(row['seeds']), 'run')}{f' of {of}' * bool(of)} {outcome}"


def none_trained(rows: Sequence[Row]) -> str:
    """Say how all runs of these rows failed."""
    if all(row["diverged"] == row["seeds"] for row in rows):
        return "Every run diverged"
    has_diverged = any(row["diverged"] for row in rows)
    return "Every run diverged or stayed at chance" if has_diverged else "Every run stayed at chance"


def some(names: Sequence[str]) -> str:
    """All names in a list, or the first of many and how many more."""
    return listed(shortened(names))


def shortened(names: Sequence[str]) -> list[str]:
    """All names, or the first of many and how many more."""
    return [*names] if len(names) <= MAX_NAMED else [*names[: MAX_NAMED - 1], f"{len(names) - MAX_NAMED + 1} more"]


def findings(frame: pd.DataFrame, verdicts: pd.DataFrame) -> list[str]:
    """Explain results that look like errors and are expected behaviour; `frame` is `stats.outcomes`."""
    notes = []
    is_single_layer = (frame["hidden"] == "") & (frame["model"] == PERCEPTRON)
    single_layer = is_single_layer.all()
    if single_layer and (article := finding(verdicts)):
        notes.append(article)
    zeros = verdicts[(verdicts["initializer"] == "zeros") & (verdicts["failed"] < verdicts["seeds"])]
    if single_layer and (zeros["standing"] == "best").any():
        everywhere = len(zeros) == (verdicts["initializer"] == "zeros").sum()
        are, saturated = ("are", ", and no output starts saturated") if everywhere else ("can be", "")
        notes.append(
            f"Without a hidden layer, zeros {are} a good start: each output has its own target, so that no two outputs "
            f"stay equal{saturated}. With hidden layers, zeros would keep all units of a layer equal."
        )
    is_own = frame["model"].astype(str).str.contains("@")  # whose other parameters may learn
    deep_zeros = frame[(frame["initializer"] == "zeros") & ~is_single_layer & ~is_own]
    if len(deep_zeros) and deep_zeros["failed"].all():
        notes.append(
            "With hidden layers, zeros keep all units of a layer equal and pass no gradient down: such runs learn the "
            "output's bias and little else. This is expected behaviour, not a bug."
        )
    return notes + _alike(frame)


def _alike(frame: pd.DataFrame) -> list[str]:
    """Name the initializers whose runs have the same results at every seed."""
    keys = [setting for setting in SETTINGS if setting != "initializer"]
    losses = frame.pivot_table(index=keys, columns="initializer", values="test_loss", observed=True, dropna=False)
    names_by_losses: dict[tuple[float, ...], list[str]] = {}
    for name, values in losses.dropna(axis=1).items():
        names_by_losses.setdefault(tuple(values), []).append(str(name))
    groups = [", ".join(names) for names in names_by_losses.values() if len(names) > 1]
    if not groups:
        return []
    alike = "; ".join(groups)
    return [f"These have the same results at every seed, because here they set the same weights: {alike}."]


def failures(
    last: pd.DataFrame, frame: pd.DataFrame, combination: Sequence[str], undecided: Sequence[str] = ()
) -> tuple[str, list[tuple[str, ...]]]:
    """Say how many runs failed, with a row for each that diverged: initializer, combination, seed, epoch.

    `last` is `stats.outcomes`. At most `MAX_FAILURES` rows and one, which shows that there are more. `undecided` are
    the data sets of which no split separates learning from chance.
    """
    total, diverged, at_chance = len(last), int(last["diverged"].sum()), int(last["at_chance"].sum())
    first = frame[frame["status"] == DIVERGED].drop_duplicates("cell")
    rows: list[tuple[str, ...]] = [
        (str(row["initializer"]), title(combination, row), str(row["seed"]), str(row["epoch"]))
        for _, row in first.head(MAX_FAILURES + 1).iterrows()
    ]
    names = listed(list(undecided))
    unknown = f" On {names}, neither split separates learning from chance: only divergence counts as failure."
    unknown *= bool(undecided)
    if not diverged + at_chance:
        outcome = "diverged" if set(last["dataset"]) <= set(undecided) else "diverged or stayed at chance"
        return f"None of the {plural(total, 'run')} {outcome}.{unknown}", []
    scoring = " Diverged runs are scored at the majority-class accuracy; means of losses exclude them."
    return (
        f"{diverged:,} of {plural(total, 'run')} diverged (a loss became infinite or not a number) and {at_chance:,} "
        f"stayed at chance.{unknown}{scoring * bool(diverged)}",
        rows,
    )


def evidence(frame: pd.DataFrame, seeds: int, images: str = "images") -> str:
    """Say what the answer is based on; `seeds` is the largest number of a configuration, `images` their name."""
    configurations = frame.groupby([s for s in SETTINGS if s != "seed"], observed=True)
    upto = "up to " if configurations["seed"].nunique().min() < seeds else ""
    sizes = listed([f"{n:,}" for n in dict.fromkeys(frame["train_size"])])
    data = listed(list(dict.fromkeys(frame["dataset"])))
    epochs = listed([str(n) for n in dict.fromkeys(frame["epochs"])])
    optimizers, rates = (list(dict.fromkeys(frame[setting])) for setting in ("optimizer", "learning_rate"))
    training = listed([str(name) for name in optimizers])
    if len(rates) <= MAX_NAMED:
        training += f" at learning rate {listed([f'{rate:g}' for rate in rates])}"
    if set(frame["lr_schedule"]) == {"cosine"}:
        training += " falling along a cosine"
    for setting in [setting for setting in OFF if setting in frame]:
        values = list(dict.fromkeys(frame[setting]))
        if len(values) == 1 and values[0] != OFF[setting] and setting != "normalization":
            training += f", {switched(setting, values[0])}"
    return (
        f"{plural(frame['cell'].nunique(), 'training run')} on {data} ({sizes} training {images}), "
        f"{upto}{plural(seeds, 'seed')} per configuration, {epochs} {'epoch' if epochs == '1' else 'epochs'} each, "
        f"{training}."
    )


_is_initializer = lru_cache(maxsize=1024)(is_initializer)


def _checked(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return timings without the times of initial weights where these name something else than initializers."""
    checked = []
    for record in records:
        times = record.get("initialization")
        valid = isinstance(times, dict) and all(map(_is_initializer, times))
        checked.append(record if valid else {**record, "initialization": None})
    return checked


def initialization(timings: Sequence[Mapping[str, Any]], only: Collection[str] | None = None) -> str:
    """Say what the initial weights took: by initializer, those that took 1% of the training or more.

    Of all initializers that were timed, or of those in `only`.

    >>> initialization([{"seconds": 9.0, "cells": 4, "initialization": {"metainit": {"cells": 1, "seconds": 5.0},
    ...                                                                 "zeros": {"cells": 3, "seconds": 0.0}}}])
    'A cell’s initial weights took 5 s with metainit, and less than 0.01 s with the others; its training took 1 s.'
    """
    records = _checked(timings)
    times = stats.initialization_times(records)
    if only is not None:
        times = times[times["initializer"].isin(only)]
    if times.empty:
        return ""
    parts = stats.timings(records).dropna(subset=["initialization_seconds", "training_seconds", "cells"])
    training = sum(parts["training_seconds"]) / sum(parts["cells"])
    slow = times[times["seconds_per_cell"] >= 0.01 * training]
    clauses = [
        f"{duration(row['seconds_per_cell'])} with {shorten_digests(initializer(row['initializer']))}"
        for _, row in slow.iterrows()
    ]
    if len(slow) < len(times):
        clauses.append(
            f"less than {duration(0.01 * training)} with {'the others' if len(slow) else 'every initializer'}"
        )
    joined = ", ".join(clauses[:-1]) + ", and " * (len(clauses) > 1) + clauses[-1]
    return f"A cell’s initial weights took {joined}; its training took {duration(training)}."


def speed(timings: Sequence[Mapping[str, Any]]) -> str:
    """Say how fast the training was, compared with a large matrix product; empty where nothing was timed.

    >>> speed([{"seconds": 2.0, "operations": 3e11, "product_rate": 2e11}])
    'Training took 2 s of one core and reached 150 GFLOP/s, 75% of that core’s rate in a large matrix product.'
    """
    parts = stats.timings(_checked(timings)).dropna(subset=["training_seconds", "operations", "product_rate"])
    parts = parts[parts["training_seconds"] > 0]
    if parts.empty:
        return ""
    seconds, operations = sum(parts["training_seconds"]), sum(parts["operations"])
    possible = sum(parts["training_seconds"] * parts["product_rate"])
    rate = operations / seconds
    rate_text = f"{rate / 1e12:.1f} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.0f} GFLOP/s"
    unit = "device" if (parts["device"] != "cpu").any() else "core"
    return (
        f"Training took {duration(seconds)} of one {unit} and reached {rate_text}, "
        f"{100 * operations / possible:.0f}% of that {unit}’s rate in a large matrix product."
    )


def mixed(environments: Sequence[Mapping[str, str]]) -> str:
    """Say what several kinds of machine mean for the results; empty where there is one kind."""
    kinds = list(dict.fromkeys((e.get("processor", ""), e.get("device", "")) for e in environments))
    if len(kinds) < 2:
        return ""
    names = [processor if device in ("cpu", "") else f"{device} with {processor}" for processor, device in kinds]
    return (
        f"Trained on {len(kinds)} kinds of machine: {listed(names)}. On the same kind, a cell’s "
        "result is identical to the last bit. Between kinds, results may differ by rounding, which training can "
        "amplify to differences like those between seeds."
    )


def ranking(ranks: pd.DataFrame, pairs: pd.DataFrame, seeds: int, verdicts: pd.DataFrame, total: int) -> list[str]:
    """Describe the average ranks over the combinations (of `total`), and what a test over the seeds shows."""
    combinations, count = int(ranks["combinations"].iloc[0]), len(ranks)
    first = ranks[ranks["mean_rank"] == ranks["mean_rank"].iloc[0]]
    names, rank = listed(list(first["initializer"])), f"{ranks['mean_rank'].iloc[0]:.2f} of {count}"
    if len(first) > 1:
        sentences = [f"Over {combinations} combinations, {names} share the best average rank, {rank}."]
    else:
        highest = f"and the highest mean test accuracy in {int(first['best_in'].iloc[0])} of them"
        led = int((verdicts["leader"] & (verdicts["initializer"] == names)).sum())
        highest += f" (it leads, by validation accuracy, in {led})" * (combinations == total)
        sentences = [f"Over {combinations} combinations, {names} has the best average rank, {rank}, {highest}."]
    if combinations < total:
        excluded = plural(total - combinations, "combination")
        sentences.append(f"{excluded} excluded: an initializer has no runs there, or all runs failed.")
    if pairs["attainable"].any():
        sentences.append(
            f"Over the seeds, {int(pairs['significant'].sum())} of {plural(len(pairs), 'pair')} of initializers have "
            "significantly different average ranks (permutation and rotation tests of ranges, at 5% "
            "together). A bar joins initializers without a significant difference."
        )
    if not pairs["attainable"].all():
        which, least = (
            ("Neighbours in the order of ranks", "max") if pairs["attainable"].any() else ("Average ranks", "min")
        )
        sentences.append(
            f"{which} cannot differ significantly with {plural(seeds, 'seed')}: at least "
            f"{pairs['attainable_from'].agg(least)} are needed."
        )
    sentences.append(
        "Whether other combinations would give the same ranks is not tested: such tests (Wilcoxon’s, for example) "
        "assume independent combinations, but all combinations here use the same seeds."
    )
    return sentences


def at_rates(
    verdicts: pd.DataFrame | None, rates: pd.DataFrame, which: str, equivalent_within: float | None = None
) -> str:
    """Answer for one combination with all initializers at the `common` learning rate, or each at its `own_best`."""
    chosen = rates[rates[which]]
    if verdicts is None or chosen.empty:
        return "no learning rate has runs of all initializers."
    if which == "common":
        return f"all at {chosen['learning_rate'].iloc[0]:g}: {verdict(verdicts, equivalent_within)}"
    names = [f"{row['initializer']} {row['learning_rate']:g}" for _, row in chosen.iterrows()]
    return f"each at its own best ({listed(names)}): {verdict(verdicts, equivalent_within)}"


def at_the_edge(rates: pd.DataFrame) -> list[str]:
    """Name the initializers whose best rate is the lowest or the highest, so that one beyond it may be better."""
    rows = stats.at_the_edge(rates)
    names = list(rows.loc[rows["own_best"] & (rows["failed"] < rows["seeds"]), "initializer"])
    verb = "is" if len(names) == 1 else "are"
    clauses = []
    if names:
        clauses.append(f"{some(names)} {verb} best at the lowest or highest of these rates: one beyond may be better")
    if rows["common"].any():
        clauses.append("the common rate is the lowest or highest of these rates")
    return clauses


def best_at_some_rates(verdicts: pd.DataFrame) -> list[str]:
    """Name the initializers that are among the best at some learning rates only, from all rates of one combination."""
    return [
        f"{name} is among the best only at {listed([f'{rate:g}' for rate in rows['learning_rate']])}"
        for name, rows in stats.best_at_some_rates(verdicts).groupby("initializer", sort=False)
    ]
