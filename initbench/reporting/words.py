"""The report's words: sentences made from tables. A number for people is formatted here and nowhere else."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from initbench.cells import DIVERGED, SETTINGS
from initbench.grid import counted
from initbench.initializers import schemes
from initbench.stats import CHOSEN_ON, CONFIDENCE, MOST_SEEDS


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with initializers as people are told of them: see `schemes.short`."""
    names = {setting: frame[setting].unique() for setting in ("initializer", "bias_initializer")}
    short = {setting: {name: schemes.short(str(name)) for name in found} for setting, found in names.items()}
    changed = {s: frame[s].map(told) for s, told in short.items() if any(name != t for name, t in told.items())}
    return frame.assign(**changed) if changed else frame


def percent(value: float, digits: int = 1) -> str:
    """A fraction as a percentage.

    >>> percent(0.91234)
    '91.2%'
    """
    return "–" if pd.isna(value) else f"{100 * value:.{digits}f}%"


def digits_for(half: float) -> int:
    """Decimals of a percentage so that its interval shows one or two figures: from 1 to 3."""
    points = 100 * half
    return 1 if pd.isna(points) or points >= 0.1 else 2 if points >= 0.01 else 3


def interval(row: Any, runs: str = "all") -> str:
    """A row's mean with its 95% interval, as `91.2% ± 0.3`; the mean alone where there is no interval.

    Of `all` runs, or of those that `trained`.
    """
    mean = row[f"mean_{runs}"]
    if pd.isna(mean):
        return "–"
    half = (row[f"{runs}_high"] - row[f"{runs}_low"]) / 2
    digits = digits_for(half)
    return percent(mean, digits) + ("" if pd.isna(half) else f" ± {100 * half:.{digits}f}")


def loss_interval(row: Any, runs: str = "all") -> str:
    """As `interval`, of a loss: three figures, and the interval in as many decimals."""
    mean = row[f"mean_{runs}"]
    if pd.isna(mean):
        return "–"
    half = (row[f"{runs}_high"] - row[f"{runs}_low"]) / 2
    digits = 4 if abs(mean) < 1 else 3 if abs(mean) < 100 else 0
    return f"{mean:,.{digits}f}" + ("" if pd.isna(half) else f" ± {half:,.{digits}f}")


def points(value: float, low: float, high: float) -> tuple[str, str]:
    """A difference of fractions in percentage points, and its interval.

    >>> points(0.032, 0.0291, 0.0349)
    ('3.20', '(2.91 to 3.49)')
    """
    if pd.isna(value):
        return "–", ""
    if pd.isna(low):
        return signed(value, 2), ""
    digits = 2 if high - low < 0.02 else 1
    while digits < 4 and any(signed(end, digits) == f"{0:.{digits}f}" for end in (low, high) if end):
        digits += 1  # on which side of zero an end lies is the point
    return signed(value, digits), f"({signed(low, digits)} to {signed(high, digits)})"


def whole(count: float) -> str:
    """A number of seeds; a dash where it is not known, and "more than …" beyond what is looked for.

    >>> whole(12.0), whole(float("inf"))
    ('12', 'more than 100,000')
    """
    if pd.isna(count):
        return "–"
    return f"{count:,.0f}" if count <= MOST_SEEDS else f"more than {MOST_SEEDS:,}"


def signed(value: float, digits: int) -> str:
    """A fraction as points, with a true minus sign, and never minus zero.

    >>> signed(-0.0321, 1), signed(-0.000001, 1)
    ('−3.2', '0.0')
    """
    text = f"{100 * value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 seed`, `1,000 seeds`."""
    many = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else many}"


def listed(names: Sequence[str]) -> str:
    """Words joined as a sentence does: `a, b and c`."""
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def title(choice: Sequence[str], row: Any) -> str:
    """What a choice of settings is called: `tanh, mse`, or with the setting's name where a value alone says little."""
    said = []
    for setting in choice:
        value = str(row[setting])
        if setting == "hidden":
            value = f"hidden {value}" if value else "no hidden layer"
        elif setting not in ("activation", "loss", "optimizer", "dataset"):
            value = f"{setting.replace('_', ' ')} {value}"
        said.append(value)
    return ", ".join(said) or "all cells"


# An initializer that is not told apart from the best, and so far behind its leader, has seeds that scatter.
LOOSE = 0.01


def verdict(rows: pd.DataFrame) -> str:
    """One choice's answer in a sentence: which are among the best, how far the others are behind, which failed."""
    if not rows["leader"].any():
        return f"{none_trained(rows)[0].lower()}{none_trained(rows)[1:]}: there is no best."
    leader = rows[rows["leader"]].iloc[0]
    lost = rows[rows["failed"] == rows["seeds"]]
    others = rows[~rows["leader"] & ~rows.index.isin(lost.index)].sort_values("behind")
    accuracy = f"({interval(leader)})"
    if len(rows) == 1:
        return f"{named(leader)} reaches {interval(leader)}; there is nothing to compare it with."
    if not rows["behind_low"].notna().any():
        said = [f"{named(leader)} leads {accuracy}, but a single seed tells nothing apart"]
    else:
        together = others[~others["told_apart"]]
        loose = together[together["behind"] > LOOSE]
        best = [] if leader["told_apart"] else [leader]
        best += [row for _, row in together.drop(loose.index).iterrows()]
        if not best:
            said = ["none is among the best: each is behind another"]
        elif len(best) == 1:
            said = [f"{named(best[0])} {'leads' if len(loose) else 'is the best'} ({interval(best[0])})"]
        else:
            said = [f"the best is among {listed([named(row) for row in best])} ({interval(best[0])})"]
        if leader["told_apart"]:
            said.append(f"{named(leader)} leads on validation {accuracy} and is behind {leader['better']} on test")
        if len(loose):
            lower = [named(row, f"{_points(row)} lower") for _, row in loose.iterrows()]
            said.append(f"{listed(lower)} {'scatters' if len(lower) == 1 else 'scatter'} too much to be ruled out")
        said += _behind(others[others["told_apart"]])
    said += _lost(lost)
    return "; ".join(said) + "."


def _behind(rows: pd.DataFrame) -> list[str]:
    """How far those are behind that are told to be: the nearest, and the farthest of the others."""
    if rows.empty:
        return []
    first, last = rows.iloc[0], rows.iloc[-1]
    said = [f"{named(first)} is {_points(first)} behind"]
    if len(rows) == 2:
        said.append(f"{named(last)} {_points(last)}")
    elif len(rows) > 2:
        said.append(f"{len(rows) - 1} more, up to {_points(last)} ({named(last)})")
    return said


def _points(row: Any) -> str:
    text = signed(row["behind"], 2 if row["behind"] < 0.001 else 1)
    return f"{text} {'point' if text == '1.0' else 'points'}"


def _lost(rows: pd.DataFrame) -> list[str]:
    """Which initializers failed at every seed, and how."""
    diverged = list(rows.loc[rows["diverged"] == rows["seeds"], "initializer"])
    stayed = list(rows.loc[rows["diverged"] == 0, "initializer"])
    both = [name for name in rows["initializer"] if name not in (*diverged, *stayed)]
    told = [(diverged, "always diverged"), (stayed, "never left chance"), (both, "diverged or never left chance")]
    return [f"{listed(names)} {how}" for names, how in told if names]


def epochs(row: Any) -> tuple[str, str]:
    """The median number of epochs to come near the leader, and how many of the runs did.

    >>> epochs({"median": 3.0, "reached": 4, "seeds": 5}), epochs({"median": float("nan"), "reached": 0, "seeds": 5})
    (('3', '(4 of 5)'), ('–', '(0 of 5)'))
    """
    return "–" if pd.isna(row["median"]) else f"{row['median']:.0f}", f"({int(row['reached'])} of {int(row['seeds'])})"


def among_the_best(row: Any) -> bool:
    """Whether an initializer is not told to be behind any other, where there was something to compare."""
    return not row["told_apart"] and bool(row["leader"] or not pd.isna(row["behind"]))


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
    """That no run of a choice came to anything."""
    if (rows["diverged"] == rows["seeds"]).all():
        return "Every run diverged"
    return "No run left chance" if not rows["diverged"].any() else "Every run diverged or never left chance"


def headline(verdicts: pd.DataFrame, choice: Sequence[str]) -> list[str]:
    """The answer first: which initializers are among the best, and in how many choices; then the best of all."""
    choices = int(verdicts["leader"].sum())
    dead = len(verdicts.drop_duplicates(list(choice))) - choices
    if not choices:
        return [f"{none_trained(verdicts)}, so no initializer can be recommended."]
    best = verdicts.sort_values(CHOSEN_ON, ascending=False, kind="stable").iloc[0]
    if len(set(verdicts["initializer"])) == 1:
        where = f" with {title(choice, best)}" if choices > 1 else ""
        return [f"One initializer was run, so there is nothing to choose: it reached {interval(best)}{where}."]
    alive = verdicts[verdicts.groupby(list(choice), observed=True)["leader"].transform("any")]
    sentences = []
    if not alive["behind_low"].notna().any():
        sentences.append("With a single seed no initializer can be told from another: what follows may be chance.")
    elif not alive["told_apart" if choices == 1 else "told_apart_overall"].any():
        sentences.append("No initializer could be told from another: more seeds, or larger differences, are needed.")
    elif choices == 1:
        names = list(alive[~alive["told_apart"]].sort_values("behind", na_position="first")["initializer"])
        one = f"{names[0]} is the best."
        sentences.append(
            one if len(names) == 1 else f"The best is among {listed(names)}; none of these is told to be behind."
        )
    else:
        sentences += _counts(alive, choices, choice)
    if choices > 1:
        sentences.append(
            f"Of all settings {best['initializer']} with {title(choice, best)} did best on the validation split; its "
            f"test accuracy is {interval(best)}."
        )
    if dead:
        lost = verdicts[~verdicts.groupby(list(choice), observed=True)["leader"].transform("any")]
        sentences.append(f"In {plural(dead, 'combination')} {none_trained(lost)[0].lower()}{none_trained(lost)[1:]}.")
    return sentences


def _counts(alive: pd.DataFrame, choices: int, choice: Sequence[str]) -> list[str]:
    """In how many choices an initializer is among the best, and which never is."""
    counts = alive[~alive["told_apart_overall"]].groupby("initializer", sort=False, observed=True).size()
    counts = counts.sort_values(ascending=False, kind="stable")
    most = list(counts[counts == counts.iloc[0]].index)
    settings = [setting.replace("_", " ") for setting in choice]
    place = counted(choices, choice[0]) if len(choice) == 1 else f"{choices} combinations of {listed(settings)}"
    verb = "is" if len(most) == 1 else "are"
    if counts.iloc[0] == choices:
        sentences = [f"For all {place}, {listed(most)} {verb} among the best."]
    else:
        sentences = [
            f"No initializer is among the best for all {place}; {listed(most)} {verb} for {counts.iloc[0]}"
            f"{' each' if len(most) > 1 else ''}."
        ]
    never = [name for name in dict.fromkeys(alive["initializer"]) if name not in counts.index]
    if never:
        sentences.append(f"Never among the best: {listed(never)}.")
    if (alive["told_apart"] & ~alive["told_apart_overall"]).any():
        sentences.append(
            f"That is corrected for all {choices} at once; a combination taken by itself, below, can tell more apart."
        )
    return sentences


def findings(frame: pd.DataFrame, verdicts: pd.DataFrame, choice: Sequence[str]) -> list[str]:
    """What a reader might take for a mistake of the program, and is none."""
    notes = []
    article = verdicts[
        (verdicts["initializer"] == "truncated_normal(std=1.0)")
        & _is(verdicts, "activation", "tanh")
        & _is(verdicts, "loss", "mse")
    ]
    single_layer = (frame["hidden"] == "").all()
    if single_layer and len(article) == 1 and bool(article.iloc[0]["told_apart"]):
        row = article.iloc[0]
        notes.append(
            f"The article's own setting, truncated_normal(std=1.0) with tanh and mse, reaches {interval(row)}, "
            f"{100 * row['behind']:.0f} points behind the best: this is a finding and no error. With weights that "
            "large the weighted sum of an MNIST image is typically eight units from zero. There tanh is flat "
            "(saturated), and where it is flat the gradient all but vanishes, so training hardly moves the weights."
        )
    zeros = verdicts[(verdicts["initializer"] == "zeros") & (verdicts["failed"] < verdicts["seeds"])]
    compared = zeros["leader"] | zeros["behind_low"].notna()
    if single_layer and len(set(verdicts["initializer"])) > 1 and (compared & ~zeros["told_apart"]).any():
        notes.append(
            "Without a hidden layer zeros are a good start: each output has its own target, so that no two units stay "
            "equal, and no output starts saturated. With hidden layers zeros would keep all units of a layer the same."
        )
    deep_zeros = frame[(frame["initializer"] == "zeros") & (frame["hidden"] != "")]
    if len(deep_zeros):
        notes.append(
            "With hidden layers, zeros keep all units of a layer equal and pass no gradient down: such runs learn the "
            "output's bias and little else. This is a finding and no error."
        )
    return notes


def _is(table: pd.DataFrame, column: str, value: str) -> Any:
    return table[column] == value if column in table else True


# How many diverged runs the page lists.
MOST_FAILURES = 100


def failures(frame: pd.DataFrame, choice: Sequence[str]) -> tuple[str, list[tuple[str, ...]]]:
    """How many runs diverged, in a sentence, and a row for each: initializer, choice, seed, epoch.

    Of very many only the first have a row, one more than the page shows (`MOST_FAILURES`).
    """
    total = frame["cell"].nunique()
    lost = frame[frame["status"] == DIVERGED].drop_duplicates("cell")
    rows: list[tuple[str, ...]] = [
        (str(row["initializer"]), title(choice, row), str(row["seed"]), str(row["epoch"]))
        for _, row in lost.head(MOST_FAILURES + 1).iterrows()
    ]
    if not rows:
        return f"None of the {plural(total, 'run')} diverged: every loss stayed finite.", []
    return (
        f"{len(lost):,} of {plural(total, 'run')} diverged: a loss became infinite or not a number. They are counted "
        "in every table and are in no mean; the epoch is the first whose loss was not finite.",
        rows,
    )


def dataset(name: str) -> str:
    """A data set's name, for people."""
    return "MNIST" if name == "mnist" else name


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


def _initializations(timing: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """Of each initializer in a part: how many cells it began, and the seconds that took; a damaged one is left out."""
    found = timing.get("initialization")
    try:
        return [(n, int(told["cells"]), float(told["seconds"])) for n, told in found.items()]  # type: ignore[union-attr]
    except (AttributeError, KeyError, TypeError, ValueError):
        return []


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
    timed = [t for t in timings if _initializations(t) and t.get("cells")]
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
    told_of = [f"{_seconds(taken)} with {schemes.short(name)}" for name, taken in slow.items()]
    if len(slow) < len(each):
        everyone = "the others" if slow else "every initializer"
        told_of.append(f"less than {_seconds(0.01 * training)} with {everyone}")
    joined = ", ".join(told_of[:-1]) + ", and " * (len(told_of) > 1) + told_of[-1]
    return f"A cell’s initial weights took {joined}; its training took {_seconds(training)}."


def _seconds(value: float) -> str:
    """Seconds in two figures, or whole.

    >>> _seconds(0.0123), _seconds(4.56), _seconds(123.4)
    ('0.012 s', '4.6 s', '123 s')
    """
    return f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"


def speed(timings: Sequence[Mapping[str, Any]]) -> str:
    """How fast the training was, beside what the processor does in a large product; empty where nothing was timed.

    >>> speed([{"seconds": 2.0, "operations": 3e11, "product_rate": 2e11}])
    'Training took 2 s of one core and reached 150 GFLOP/s on it, 75% of its rate in a large matrix product.'
    """
    timed = [t for t in timings if t.get("product_rate") and t.get("seconds") and t.get("operations")]
    if not timed:
        return ""
    trained = [t["seconds"] - _initializing(t) for t in timed]
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


def flag(row: Any) -> str:
    """What is to be said of an interval that covers less than it says; else an empty text."""
    if row["flag"] == "mixed":
        return f"some seeds failed and others did not: the interval covers at most {percent(row['coverage'], 0)}"
    if row["flag"] == "skewed":
        return f"the seeds are skewed: the interval covers about {percent(row['coverage'], 0)}"
    return "all seeds have the same accuracy: the interval says nothing" if row["flag"] == "equal" else ""


def ranking(ranks: pd.DataFrame, pairs: pd.DataFrame, friedman: float, total: int) -> list[str]:
    """What the ranks over the combinations show, and whether a test can say anything of them."""
    first, choices, count = ranks.iloc[0], int(ranks["choices"].iloc[0]), len(ranks)
    least = 2.0 ** (1 - choices)
    said = [
        f"Over {choices} combinations {first['initializer']} has the best average rank, {first['mean_rank']:.2f} of "
        f"{count}; no other has a higher mean in {int(first['first'])} of them."
    ]
    if choices < total:
        said.append(
            f"{plural(total - choices, 'combination')} left out: not every initializer has runs there, or all failed."
        )
    if pairs["possible"].all():
        apart = int(pairs["told_apart"].sum())
        test = "" if pd.isna(friedman) else f" (Friedman’s test that all rank alike: p = {friedman:.2g})"
        said.append(
            f"Wilcoxon’s signed-rank test with Holm’s correction tells {apart} of {plural(len(pairs), 'pair')} apart"
            f"{test}; a bar joins those that it does not."
        )
    else:
        said.append(
            f"This is a description: no test of the ranks is made, because none could reach significance. With "
            f"{choices} combinations Wilcoxon’s smallest p is {least:.2g}, and for {plural(len(pairs), 'pair')} Holm’s "
            f"first step asks for {(1 - CONFIDENCE) / len(pairs):.2g}."
        )
    return said


def at_rates(verdicts: pd.DataFrame | None, rates: pd.DataFrame, which: str) -> str:
    """One choice's answer with all initializers at the `common` learning rate, or each at its `own_best`."""
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
    return [f"{listed(names)} {verb} best at the edge of these rates: one beyond it may suit better"] if names else []


def narrow(verdicts: pd.DataFrame, count: int) -> list[str]:
    """Which initializers are among the best at some learning rates only: `verdicts` of one choice, all its rates."""
    said = []
    for name, rows in verdicts.groupby("initializer", sort=False):
        at = [f"{row['learning_rate']:g}" for _, row in rows.iterrows() if among_the_best(row)]
        if 0 < len(at) < count:
            said.append(f"{name} is among the best at {listed(at)} only")
    return said
