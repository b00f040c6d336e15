"""Sentences made from the tables of `stats`."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from initbench.initializers import schemes
from initbench.reporting.limits import MAX_FAILURES, MAX_NAMED, MAX_OPEN_NAMED
from initbench.reporting.names import dataset, title
from initbench.reporting.numbers import duration, interval, listed, marked, percent, plural, signed, uncapitalized
from initbench.spec.columns import DIVERGED, SETTINGS
from initbench.spec.grid import counted
from initbench.stats import CONFIDENCE, SELECTION_METRIC

# An initializer that is not told to be behind, and is so far behind its leader, has seeds that scatter.
LOOSE = 0.01


def standing(row: Any) -> str:
    """`best`: among the best; `open`: a point or more behind the leader, but its seeds scatter too much to rule it out;
    or an empty text: told to be behind another, never trained, or with nothing to compare.
    """
    if row["significant"] or row["failed"] == row["seeds"] or not row["n_compared"] or row["seeds"] < 2:
        return ""
    if not row["leader"] and pd.isna(row["difference_low"]):
        return ""
    return "open" if row["difference"] > LOOSE else "best"


def verdict(rows: pd.DataFrame) -> str:
    """One combination's answer in a sentence: which are among the best, how far the others are behind, which failed."""
    if not rows["leader"].any():
        return f"{uncapitalized(none_trained(rows))}: there is no best."
    leader = rows[rows["leader"]].iloc[0]
    lost = rows[rows["failed"] == rows["seeds"]]
    others = rows[~rows["leader"] & ~rows.index.isin(lost.index)].sort_values("difference")
    if not leader["n_compared"]:
        return f"{named(leader)} reaches {marked(leader)}; there is nothing to compare it with."
    if not _judged(rows):
        why = "a single seed tells" if rows["seeds"].max() == 1 else "too few seeds in common tell"
        said = [f"{named(leader, marked(leader))} leads, but {why} nothing apart"]
    else:
        stands = others.apply(standing, axis=1) if len(others) else pd.Series(dtype=str)
        loose, unjudged = others[stands == "open"], others[(stands == "") & ~others["significant"]]
        best = [leader] if standing(leader) else []
        best += [row for _, row in others[stands == "best"].iterrows()]
        names = [named(row, marked(row) if i == 0 else "") for i, row in enumerate(best)]
        if not best:
            said = ["none is among the best: each is behind another"] if rows["significant"].all() else []
        elif len(best) == 1:
            alone = rows.loc[rows["initializer"] != best[0]["initializer"], "significant"].all()
            said = [f"{names[0]} {'is the best' if alone else 'leads'}"]
        else:
            said = [f"the best is among {_some(names)}"]
        who = named(leader, marked(leader))
        if leader["significant"]:
            said.append(f"{who} leads on validation and is behind {leader['worse_than']} on test")
        elif not standing(leader):
            said.append(f"{who} leads, with too few seeds to be compared")
        if len(loose):
            lower = [named(row, f"{_points(row)} lower") for _, row in loose.head(MAX_OPEN_NAMED).iterrows()]
            if len(loose) > MAX_OPEN_NAMED:
                lower.append(f"{len(loose) - MAX_OPEN_NAMED} more (up to {_points(loose.iloc[-1])} lower)")
            said.append(f"{listed(lower)} {'scatters' if len(loose) == 1 else 'scatter'} too much to be ruled out")
        said += _behind(others[others["significant"]])
        if len(unjudged):
            have = "has" if len(unjudged) == 1 else "have"
            said.append(f"{_some(list(unjudged['initializer']))} {have} too few seeds to be compared")
    said += _lost(lost)
    return "; ".join(said) + "."


def _judged(rows: pd.DataFrame) -> bool:
    """Whether any two initializers could be compared: the leader with another, or others that were told apart."""
    return bool(rows["difference_low"].notna().any() or rows["significant"].any())


def _behind(rows: pd.DataFrame) -> list[str]:
    """How far those are behind that are told to be: the nearest, and the farthest of the others."""
    if rows.empty:
        return []
    first, last = rows.iloc[0], rows.iloc[-1]
    if first["difference"] <= 0:  # it is behind another than the leader
        told = [f"{named(row)} is behind {row['worse_than']}" for _, row in rows[rows["difference"] <= 0].iterrows()]
        return told + _behind(rows[rows["difference"] > 0])
    said = [f"{named(first)} is {_points(first)} behind"]
    if len(rows) == 2:
        said.append(f"{named(last)} {_points(last)}")
    elif len(rows) > 2:
        said.append(f"{len(rows) - 1} more, up to {_points(last)} ({named(last)})")
    return said


def _points(row: Any) -> str:
    text = signed(row["difference"], 2 if row["difference"] < 0.001 else 1)
    return f"{text} {'point' if text == '1.0' else 'points'}"


def _lost(rows: pd.DataFrame) -> list[str]:
    """Which initializers failed at every seed, and how."""
    diverged = list(rows.loc[rows["diverged"] == rows["seeds"], "initializer"])
    stayed = list(rows.loc[rows["diverged"] == 0, "initializer"])
    both = [name for name in rows["initializer"] if name not in (*diverged, *stayed)]
    told = [(diverged, "always diverged"), (stayed, "never left chance"), (both, "diverged or never left chance")]
    return [f"{listed(names)} {how}" for names, how in told if names]


def named(row: Any, more: str = "") -> str:
    """An initializer's name; in parentheses `more`, and how often it failed, and how, where it did."""
    lost, seeds, how = int(row["failed"]), int(row["seeds"]), "failed"
    if lost == row["diverged"]:
        how = "diverged"
    elif not row["diverged"]:
        how = "never left chance"
    told = [more] * bool(more) + [f"{how} at {lost} of {plural(seeds, 'seed')}"] * bool(lost)
    return str(row["initializer"]) + (f" ({'; '.join(told)})" if told else "")


def none_trained(rows: pd.DataFrame) -> str:
    """That no run of a combination came to anything."""
    if (rows["diverged"] == rows["seeds"]).all():
        return "Every run diverged"
    return "No run left chance" if not rows["diverged"].any() else "Every run diverged or never left chance"


def headline(verdicts: pd.DataFrame, combination: Sequence[str]) -> list[str]:
    """The answer first: which initializers are among the best, and in how many combinations; then the best of all."""
    combinations = int(verdicts["leader"].sum())
    keys = list(combination)
    dead = len(verdicts.drop_duplicates(keys)) - combinations
    if not combinations:
        return [f"{none_trained(verdicts)}, so no initializer can be recommended."]
    best = verdicts.sort_values(SELECTION_METRIC, ascending=False, kind="stable").iloc[0]
    if len(set(verdicts["initializer"])) == 1:
        where = f" with {title(combination, best)}" if combinations > 1 else ""
        return [f"One initializer was run, so there is nothing to choose: it reached {marked(best)}{where}."]
    led = verdicts.groupby(keys, observed=True)["leader"].transform("any")
    alive = verdicts[led]
    compared = alive[alive.groupby(keys, observed=True)["n_compared"].transform("max") > 0]
    places = len(compared.drop_duplicates(keys))
    sentences = []
    if not _judged(alive):
        why = "a single seed" if alive["seeds"].max() == 1 else "so few seeds in common"
        sentences.append(f"With {why} no initializer can be told from another: what follows may be chance.")
    elif not alive["significant"].any():
        sentences.append("No initializer could be told from another: more seeds, or larger differences, are needed.")
    elif places == 1:
        where = f" with {title(combination, compared.iloc[0])}" if combinations + dead > 1 else ""
        stand = compared[compared.apply(standing, axis=1) != ""].sort_values("difference", na_position="first")
        names = list(stand["initializer"])
        if not names:
            sentences.append(f"No initializer is among the best{where}: each is behind another.")
        elif len(names) == 1:
            alone = compared.loc[compared["initializer"] != names[0], "significant"].all()
            sentences.append(f"{names[0]} {'is the best' if alone else 'leads'}{where}.")
        else:
            sentences.append(f"The best is among {_some(names)}{where}; none of these is told to be behind.")
    else:
        sentences += _counts(compared, places, combination)
    if combinations > 1:
        sentences.append(
            f"Of all configurations {best['initializer']} with {title(combination, best)} has the highest "
            f"validation accuracy; its mean test accuracy is {percent(best['mean_all'])} (slightly optimistic: it was "
            f"selected from {len(verdicts)})."
        )
    if dead:
        sentences.append(f"In {plural(dead, 'combination')} {uncapitalized(none_trained(verdicts[~led]))}.")
    return sentences


def _counts(alive: pd.DataFrame, combinations: int, combination: Sequence[str]) -> list[str]:
    """Which initializers nothing shows to be behind in any combination, all told together; and who is behind in how
    many, one by one.
    """
    names = list(dict.fromkeys(alive["initializer"]))
    settings = [setting.replace("_", " ") for setting in combination]
    place = (
        counted(combinations, combination[0])
        if len(combination) == 1
        else f"{combinations} combinations of {listed(settings)}"
    )
    behind = {name: int(n) for name, n in alive.groupby("initializer")["significant_overall"].sum().items()}
    alone = {name: int(n) for name, n in alive.groupby("initializer")["significant"].sum().items()}
    runs = alive.groupby("initializer").size()
    judged = alive.assign(_judged=(alive.apply(standing, axis=1) != "") | alive["significant"])
    everywhere = (
        judged.groupby("initializer")["_judged"].sum() == combinations
    )  # compared in every combination, and trained
    never = [name for name in names if behind[name] == 0 and everywhere[name]]
    always = [name for name in names if behind[name] == runs[name]]
    sentences = []
    if len(never) == len(names):
        sentences.append(f"Over all {place}, no initializer is shown to be behind another.")
    elif never:
        verb = "is" if len(never) == 1 else "are"
        sentences.append(f"Over all {place}, {_some(never)} {verb} never shown to be behind another.")
    elif all(behind.values()):
        least = min(behind.values())
        fewest = _some([name for name in names if behind[name] == least])
        sentences.append(
            f"Over all {place} every initializer is behind another somewhere; {fewest} least often, in {least}."
        )
    else:
        sentences.append(f"No initializer was compared, and not behind another, in all {place}.")
    if always:
        sentences.append(f"Never among the best: {_some(always)}.")
    if (alive["significant"] & ~alive["significant_overall"]).any():
        told = sorted((name for name in names if alone[name]), key=lambda name: -alone[name])
        counts = [f"{name} in {alone[name]}" for name in told]
        sentences.append(
            "That is cautious: it is judged over all together, so that with 95% probability none of it is wrong. "
            f"One by one, as in the list, more is told: behind are {_some(counts)}."
        )
    return sentences


def _some(names: list[str]) -> str:
    """All names in a list, or the first of many and how many more."""
    return listed(names if len(names) <= MAX_NAMED else [*names[: MAX_NAMED - 1], f"{len(names) - MAX_NAMED + 1} more"])


def findings(frame: pd.DataFrame, verdicts: pd.DataFrame, combination: Sequence[str]) -> list[str]:
    """What a reader might take for a mistake of the program, and is none."""
    notes = []
    article = verdicts[
        (verdicts["initializer"] == "truncated_normal(std=1.0)")
        & _is(verdicts, "activation", "tanh")
        & _is(verdicts, "loss", "mse")
    ]
    single_layer = (frame["hidden"] == "").all()
    if single_layer and len(article) == 1 and article.iloc[0]["significant"] and article.iloc[0]["difference"] > 0.05:
        row = article.iloc[0]
        notes.append(
            f"The article's own setting, truncated_normal(std=1.0) with tanh and mse, reaches {interval(row)}, "
            f"{100 * row['difference']:.0f} points behind the best: this is a finding and no error. With weights that "
            "large the weighted sum of an MNIST image is typically eight units from zero. There tanh is flat "
            "(saturated), and where it is flat the gradient all but vanishes, so training hardly moves the weights."
        )
    zeros = verdicts[(verdicts["initializer"] == "zeros") & (verdicts["failed"] < verdicts["seeds"])]
    if single_layer and len(zeros) and (zeros.apply(standing, axis=1) == "best").any():
        notes.append(
            "Without a hidden layer zeros are a good start: each output has its own target, so that no two units stay "
            "equal, and no output starts saturated. With hidden layers zeros would keep all units of a layer the same."
        )
    deep_zeros = frame[(frame["initializer"] == "zeros") & (frame["hidden"] != "")]
    if len(deep_zeros) and deep_zeros["failed"].all():
        notes.append(
            "With hidden layers, zeros keep all units of a layer equal and pass no gradient down: such runs learn the "
            "output's bias and little else. This is a finding and no error."
        )
    return notes


def _is(table: pd.DataFrame, column: str, value: str) -> Any:
    return table[column] == value if column in table else True


def failures(
    last: pd.DataFrame, frame: pd.DataFrame, combination: Sequence[str], undecided: Sequence[str] = ()
) -> tuple[str, list[tuple[str, ...]]]:
    """How many runs failed, in a sentence, and a row for each that diverged: initializer, combination, seed, epoch.

    `last` is `stats.outcomes`. Of very many only the first have a row, one more than the page shows (`MAX_FAILURES`).
    `undecided` are the data sets of which no split separates learning from chance.
    """
    total, lost, stayed = len(last), int(last["diverged"].sum()), int(last["at_chance"].sum())
    first = frame[frame["status"] == DIVERGED].drop_duplicates("cell")
    rows: list[tuple[str, ...]] = [
        (str(row["initializer"]), title(combination, row), str(row["seed"]), str(row["epoch"]))
        for _, row in first.head(MAX_FAILURES + 1).iterrows()
    ]
    unknown = f" On {listed([dataset(name) for name in undecided])} no run is at chance." * bool(undecided)
    if not lost + stayed:
        none = "diverged" if set(last["dataset"]) <= set(undecided) else "diverged or stayed at chance"
        return f"None of the {plural(total, 'run')} {none}.{unknown}", []
    return (
        f"{lost:,} of {plural(total, 'run')} diverged (a loss became infinite or not a number) and {stayed:,} stayed "
        f"at chance.{unknown}"
        + " In accuracies a diverged run counts as a classifier that always says the commonest class; means of losses "
        "leave it out." * bool(lost),
        rows,
    )


def evidence(frame: pd.DataFrame, seeds: int) -> str:
    """What the answer rests on; `seeds` is the largest number of seeds that a setting has."""
    by_setting = frame.groupby([s for s in SETTINGS if s != "seed"], observed=True)
    upto = "up to " if by_setting["seed"].nunique().min() < seeds else ""
    sizes = listed([f"{n:,}" for n in dict.fromkeys(frame["train_size"])])
    data = listed([dataset(name) for name in dict.fromkeys(frame["dataset"])])
    epochs = listed([str(n) for n in dict.fromkeys(frame["epochs"])])
    return (
        f"{plural(frame['cell'].nunique(), 'training run')} on {data} ({sizes} training images), "
        f"{upto}{plural(seeds, 'seed')} for each setting, {epochs} {'epoch' if epochs == '1' else 'epochs'} each."
    )


# What is timed is below this: seconds, cells, operations, and operations a second.
MAX_SECONDS = 1e24


def _positive(timing: Mapping[str, Any], *keys: str) -> bool:
    """Whether a part's timing has a number for each of these that can be; a damaged one has not."""
    return all(type(timing.get(key)) in (int, float) and 0 < timing[key] < MAX_SECONDS for key in keys)


def _initializations(timing: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """Of each initializer in a part: how many cells it began, and the seconds that took; a damaged one is left out."""
    found = timing.get("initialization")
    told = []
    for name, each in found.items() if isinstance(found, dict) else ():
        seconds: Any = each.get("seconds") if isinstance(each, dict) else None
        known = _is_initializer(name) and type(seconds) in (int, float) and 0 <= seconds < MAX_SECONDS
        if not known or not _positive(each, "cells"):
            return []
        told.append((name, int(each["cells"]), float(seconds)))
    return told


@lru_cache(maxsize=1024)
def _is_initializer(name: str) -> bool:
    """Whether this is an initializer's canonical string."""
    try:
        return schemes.resolve(name) == name
    except ValueError:
        return False


def _initializing(timing: Mapping[str, Any]) -> float:
    """The seconds that the initial weights of a part's cells took."""
    return sum(seconds for _, _, seconds in _initializations(timing))


def initialization(timings: Sequence[Mapping[str, Any]], only: Collection[str] | None = None) -> str:
    """What the initial weights cost beside the training: by initializer, those that take 1% of it or more.

    Of all initializers that were timed, or of those in `only`.

    >>> initialization([{"seconds": 9.0, "cells": 4, "initialization": {"metainit": {"cells": 1, "seconds": 5.0},
    ...                                                                 "zeros": {"cells": 3, "seconds": 0.0}}}])
    'A cell’s initial weights took 5 s with metainit, and less than 0.01 s with the others; its training took 1 s.'
    """
    timed = [t for t in timings if _initializations(t) and _positive(t, "seconds", "cells")]
    cells: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for name, count, taken in [told for t in timed for told in _initializations(t)]:
        if (only is None or name in only) and count:
            cells[name] = cells.get(name, 0) + count
            seconds[name] = seconds.get(name, 0.0) + taken
    if not cells:
        return ""
    training = sum(t["seconds"] - _initializing(t) for t in timed) / sum(t["cells"] for t in timed)
    each = {name: seconds[name] / cells[name] for name in sorted(cells, key=lambda n: -seconds[n] / cells[n])}
    slow = {name: taken for name, taken in each.items() if taken >= 0.01 * training}
    told_of = [f"{duration(taken)} with {schemes.short(name)}" for name, taken in slow.items()]
    if len(slow) < len(each):
        everyone = "the others" if slow else "every initializer"
        told_of.append(f"less than {duration(0.01 * training)} with {everyone}")
    joined = ", ".join(told_of[:-1]) + ", and " * (len(told_of) > 1) + told_of[-1]
    return f"A cell’s initial weights took {joined}; its training took {duration(training)}."


def speed(timings: Sequence[Mapping[str, Any]]) -> str:
    """How fast the training was, beside what the processor does in a large product; empty where nothing was timed.

    >>> speed([{"seconds": 2.0, "operations": 3e11, "product_rate": 2e11}])
    'Training took 2 s of one core and reached 150 GFLOP/s on it, 75% of its rate in a large matrix product.'
    """
    timed = [t for t in timings if _positive(t, "product_rate", "seconds", "operations")]
    trained = [t["seconds"] - _initializing(t) for t in timed]
    timed, trained = [t for t, s in zip(timed, trained, strict=True) if s > 0], [s for s in trained if s > 0]
    if not timed:
        return ""
    seconds, operations = sum(trained), sum(t["operations"] for t in timed)
    possible = sum(s * t["product_rate"] for s, t in zip(trained, timed, strict=True))
    rate = operations / seconds
    told = f"{rate / 1e12:.1f} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.0f} GFLOP/s"
    gpu = any(str(t.get("device", "cpu")) != "cpu" for t in timed)
    where = "of one device" if gpu else "of one core"
    return (
        f"Training took {seconds:,.0f} s {where} and reached {told} on it, {100 * operations / possible:.0f}% of its "
        "rate in a large matrix product."
    )


def mixed(environments: Sequence[Mapping[str, str]]) -> str:
    """What it means that a run was trained on several kinds of machine; nothing, if it was on one."""
    kinds = list(dict.fromkeys((e.get("processor", ""), e.get("device", "")) for e in environments))
    if len(kinds) < 2:
        return ""
    named = [processor if device in ("cpu", "") else f"{device} beside {processor}" for processor, device in kinds]
    return (
        f"Trained on {len(kinds)} kinds of machine: {listed(named)}. On one kind a cell has the same bits wherever it "
        "is trained; between kinds results agree to rounding, which training can enlarge, as another seed would."
    )


def ranking(ranks: pd.DataFrame, pairs: pd.DataFrame, seeds: int, total: int) -> list[str]:
    """What the ranks over the combinations show, of so many seeds, and what a test can say of them."""
    combinations, count = int(ranks["combinations"].iloc[0]), len(ranks)
    first = ranks[ranks["mean_rank"] == ranks["mean_rank"].iloc[0]]
    who, rank = listed(list(first["initializer"])), f"{ranks['mean_rank'].iloc[0]:.2f} of {count}"
    if len(first) > 1:
        said = [f"Over {combinations} combinations {who} share the best average rank, {rank}."]
    else:
        highest = f"and the highest mean in {int(first['best_in'].iloc[0])} of them"
        said = [f"Over {combinations} combinations {who} has the best average rank, {rank}, {highest}."]
    if combinations < total:
        said.append(
            f"{plural(total - combinations, 'combination')} left out: not every initializer has runs there, or all "
            "failed."
        )
    asked = (1 - CONFIDENCE) / len(pairs)
    many = plural(len(pairs), "pair")
    if pairs["attainable"].all():
        apart = int(pairs["significant"].sum())
        said.append(
            f"Over the seeds {apart} of {many} of initializers have average ranks that differ (sign-flip tests, Holm’s "
            "correction); a bar joins neighbours of which no pair does."
        )
    elif seeds > 1:
        enough = next(n for n in range(2, 100) if 2.0 ** (1 - n) <= asked)
        said.append(
            f"This is a description, and no test is made: over {seeds} seeds none could reach significance (the "
            f"smallest p is {2.0 ** (1 - seeds):.2g}, and Holm’s correction for {many} asks for {asked:.2g}; {enough} "
            "seeds could)."
        )
    reach = "" if pairs["attainable_combinations"].all() else f" ({combinations} would be too few in any case)"
    said.append(
        "Whether other combinations would rank them alike is not tested: such tests (Wilcoxon’s, say) take "
        f"combinations as independent, while these share their seeds{reach}."
    )
    return said


def at_rates(verdicts: pd.DataFrame | None, rates: pd.DataFrame, which: str) -> str:
    """One combination's answer with all initializers at the `common` learning rate, or each at its `own_best`."""
    chosen = rates[rates[which]]
    if verdicts is None or chosen.empty:
        return "no learning rate has runs of all initializers."
    if which == "common":
        return f"all at {chosen['learning_rate'].iloc[0]:g}: {verdict(verdicts)}"
    told = [f"{row['initializer']} {row['learning_rate']:g}" for _, row in chosen.iterrows()]
    return f"each at its own best ({listed(told)}): {verdict(verdicts)}"


def at_the_edge(rates: pd.DataFrame) -> list[str]:
    """Which initializers are best at the lowest or the highest rate, so that one beyond it might suit them better."""
    best = rates[rates["own_best"] & (rates["failed"] < rates["seeds"])]
    ends = [rates["learning_rate"].min(), rates["learning_rate"].max()]
    names = list(best.loc[best["learning_rate"].isin(ends), "initializer"])
    verb = "does" if len(names) == 1 else "do"
    said = [f"{_some(names)} {verb} best at the edge of these rates: one beyond it may suit better"] if names else []
    if rates.loc[rates["common"], "learning_rate"].isin(ends).any():
        said.append("the common rate is at the edge too")
    return said


def narrow(verdicts: pd.DataFrame) -> list[str]:
    """Which initializers are among the best at some learning rates only: `verdicts` of one combination, all its rates.

    Rates at which no run left chance do not count.
    """
    said = []
    alive = verdicts[verdicts.groupby("learning_rate")["leader"].transform("any")]
    count = alive["learning_rate"].nunique()
    for name, rows in alive.groupby("initializer", sort=False):
        at = [f"{row['learning_rate']:g}" for _, row in rows.iterrows() if standing(row) == "best"]
        apart = int((rows["significant"] | (rows["failed"] == rows["seeds"])).sum())
        if at and len(at) < count and len(at) + apart == count:
            said.append(f"{name} is among the best at {listed(at)} only")
    return said
