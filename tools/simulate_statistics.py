"""Simulate experiments whose truth is known, and fill in the figures of docs/explanation/method.md.

    python -m tools.simulate_statistics [TABLE ...]

It takes an hour or two on two cores. Each case is stored in tests/stored/statistics.csv as it ends, and a case that is
stored is not computed again: delete its line, or the file, to compute it anew. `before` is the method of version 0.1:
t-tests of all pairs, corrected by Bonferroni; bootstraps of runs; t intervals that ignore selection.
"""

import csv
import itertools
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import chdtri, stdtrit
from scipy.stats import rankdata, trim_mean, wilcoxon

from initbench import stats
from initbench.spec.columns import METRICS, SETTINGS
from initbench.stats._planning import upper_std
from initbench.stats._sequential import log_e_value
from initbench.stats._stepdown import step_down

Floats = NDArray[np.float64]
ROOT = Path(__file__).parent.parent
STORED = ROOT / "tests" / "stored"
RESULTS, PAGE = STORED / "statistics.csv", ROOT / "docs" / "explanation" / "method.md"
PROCESSES = int(os.environ.get("SIMULATE_PROCESSES", os.cpu_count() or 1))

# Draws of the resampling tests; `stats.verdicts` has ten times as many.
DRAWS = 199

# The mean of most populations, and their standard deviation: 0.3 points.
LEVEL, SPREAD = 0.97, 0.003


class Shape(NamedTuple):
    """A population of accuracies: `draw(generator, experiments, initializers, seeds)`, all with one mean."""

    draw: Callable[[np.random.Generator, int, int, int], Floats]
    images: int = 10_000


def normal(correlation: float = 0.0) -> Shape:
    """Normal accuracies, of which this share of the variance is common to all initializers at a seed."""

    def draw(generator: np.random.Generator, count: int, k: int, n: int) -> Floats:
        common, own = generator.normal(size=(count, 1, n)), generator.normal(size=(count, k, n))
        return LEVEL + SPREAD * (np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own)

    return Shape(draw)


def rounded(images: int) -> Shape:
    """A test set of few images, and a standard deviation of one of them."""
    return Shape(lambda generator, *size: np.round(images * LEVEL + generator.normal(size=size)) / images, images)


def short(share: float, lack: float, correlation: float = 0.0) -> Shape:
    """A share of the runs lacks this accuracy: a tenth where a class is missing."""

    def draw(generator: np.random.Generator, *size: int) -> Floats:
        return normal(correlation).draw(generator, *size) - lack * (generator.random(size) < share)

    return Shape(draw)


def one_noisy(factor: float) -> Shape:
    """The first initializer has this many times the standard deviation of the others."""

    def draw(generator: np.random.Generator, *size: int) -> Floats:
        values = normal().draw(generator, *size)
        values[:, 0] += (factor - 1) * (values[:, 0] - LEVEL)
        return values

    return Shape(draw)


def spread_out(factor: float) -> Shape:
    """Initializers with standard deviations from 0.3 / e^factor to 0.3 · e^factor points."""

    def draw(generator: np.random.Generator, *size: int) -> Floats:
        scale = np.exp(np.linspace(-factor, factor, size[1]))[:, None]
        return LEVEL + scale * (normal().draw(generator, *size) - LEVEL)

    return Shape(draw)


def one_short(share: float, lack: float) -> Shape:
    """Of the first initializer a share of the runs lacks this accuracy; its mean is that of the others."""

    def draw(generator: np.random.Generator, *size: int) -> Floats:
        values = normal().draw(generator, *size)
        values[:, 0] += lack * (share - (generator.random(values[:, 0].shape) < share))
        return values

    return Shape(draw)


def trained(name: str) -> Shape:
    """The test accuracies of a stored configuration, `trainings`."""
    return Shape(lambda generator, *size: generator.choice(trainings()[name], size))


@cache
def trainings() -> dict[str, Floats]:
    """Return the test accuracies of each stored configuration, in the order of its seeds; those that vary."""
    tables = {
        f"{' '.join(key)} ({name})": rows.sort_values("seed")["test_right"].to_numpy() / 10_000
        for name in ("populations", "plateaus")
        for key, rows in pd.read_parquet(STORED / f"{name}.parquet").groupby(["initializer", "activation", "loss"])
    }
    return {name: accuracies for name, accuracies in tables.items() if np.ptp(accuracies)}


SHAPES = {
    "normal": normal(),
    "normal, correlation 0.5": normal(0.5),
    "normal, correlation 0.9": normal(0.9),
    "skewed (exponential)": Shape(lambda generator, *size: LEVEL - SPREAD * generator.exponential(size=size)),
    "500 images, deviation of one": rounded(500),
    "1,000 images, deviation of one": rounded(1000),
    "a class short in 1 of 10 runs": short(0.1, 0.097),
    "a class short in 3 of 10 runs": short(0.3, 0.097),
    "a class short in half of the runs": short(0.5, 0.097),
    "half of all runs at chance": short(0.5, LEVEL - 0.1135),
    "half at chance, all equal there": Shape(
        lambda generator, *size: np.where(generator.random(size) < 0.5, 0.1135, normal().draw(generator, *size))
    ),
    "deviations from 0.1 to 1 points": spread_out(1.2),
    "heavy tails (t, 3 degrees)": Shape(lambda g, *size: LEVEL + SPREAD / np.sqrt(3) * g.standard_t(3, size)),
    "one initializer five times as noisy": one_noisy(5),
    "one initializer a class short in 1 of 5": one_short(0.2, 0.097),
}
MADE_UP = tuple(SHAPES)
SHAPES |= {f"trained: {name}": trained(name) for name in trainings()}


class Claims(NamedTuple):
    """Who is significantly worse, `[experiments, initializers]`: `rival` is the index of the one ahead, or −1."""

    rival: NDArray[np.intp]

    def false(self, means: Floats) -> Floats:
        """Return whether an experiment claims that an initializer is worse than one whose true mean is not higher."""
        ahead = means[np.maximum(self.rival, 0)] - means
        return ((self.rival >= 0) & (ahead <= 0)).any(axis=1).astype(float)

    def share_found(self, means: Floats) -> Floats:
        """Return the share of the initializers with a lower true mean than the best that are significantly worse."""
        return (self.rival >= 0)[:, means < means.max()].mean(axis=1)


def bonferroni(values: Floats, images: int = 10_000) -> Claims:
    """Compare by t-tests of all pairs at 5% / (k (k − 1) / 2); `values` are `[experiments, initializers, seeds]`.

    The standard deviation is floored at the rounding error of 10,000 images, however many there are.
    """
    _, k, n = values.shape
    critical = stdtrit(n - 1, 1 - 0.025 / max(k * (k - 1) // 2, 1))
    rivals = []
    for part in np.array_split(values, max(1, values.size * k // 2_000_000)):
        differences = part[:, :, None] - part[:, None]
        mean = differences.mean(axis=3)
        error = np.maximum(differences.std(axis=3, ddof=1), 1e-4 / np.sqrt(6)) / np.sqrt(n)
        ahead = np.where(mean > critical * error, mean, -np.inf)
        rivals.append(np.where(np.isfinite(ahead).any(axis=1), ahead.argmax(axis=1), -1))
    return Claims(np.concatenate(rivals))


def stepped(values: Floats, images: int = 10_000, draws: int = DRAWS) -> Claims:
    """Compare as `stats.verdicts` does, but with fewer draws: that is as exact, and finds slightly less."""
    return Claims(np.array([step_down(runs.T, 1 / images / np.sqrt(6), draws=draws).worse_than for runs in values]))


METHODS = {"before": bonferroni, "after": stepped}


class Case(NamedTuple):
    """A line of the table of results: what is measured, of which population, and the numbers of each experiment."""

    table: str
    shape: str
    initializers: int
    seeds: int
    experiments: int

    def generator(self) -> np.random.Generator:
        """Return a generator of its own, so that a case does not depend on the others."""
        return np.random.default_rng(zlib.crc32(repr(self).encode()))


COLUMNS = [*Case._fields, "measure", "before", "after"]
Measures = Iterator[tuple[str, float, float]]


def equal(case: Case) -> Measures:
    """Experiments of equal initializers: the share in which a difference is claimed."""
    shape = SHAPES[case.shape]
    values = shape.draw(case.generator(), case.experiments, case.initializers, case.seeds)
    zero = np.zeros(case.initializers)
    yield "errors", *(float(method(values, shape.images).false(zero).mean()) for method in METHODS.values())


def real(case: Case) -> Measures:
    """Trainings of six initializers at one loss, with plateaus, at the same seeds: what is found, what is false."""
    accuracies = np.array([values for name, values in trainings().items() if f"relu {case.shape} (plateaus)" in name])
    seeds = case.generator().permuted(np.tile(np.arange(accuracies.shape[1]), (case.experiments, 1)), axis=1)
    values, means = accuracies[:, seeds[:, : case.seeds]].swapaxes(0, 1), accuracies.mean(axis=1)
    claims = [method(values) for method in METHODS.values()]
    yield "found", *(float(claim.share_found(means).mean()) for claim in claims)
    yield "errors", *(float(claim.false(means).mean()) for claim in claims)


def effects(case: Case) -> Measures:
    """One initializer ahead of the others, and evenly spaced initializers: what is found.

    The smallest lead is that, in points, at which 80% of the others are found to be worse than the one ahead.
    """
    shape, k = SHAPES[case.shape], case.initializers
    values = shape.draw(case.generator(), case.experiments, k, case.seeds)

    def smallest(method: Callable[..., Claims]) -> float:
        low, high = 0.0, 0.001

        def power(lead: float) -> float:
            means = np.r_[lead, np.zeros(k - 1)]
            return float(method(values + means[:, None], shape.images).share_found(means).mean())

        while power(high) < 0.8:
            low, high = high, 2 * high
            if high > 2:
                return np.inf  # no lead is enough
        while high - low > 0.04 * high:
            middle = (low + high) / 2
            low, high = (low, middle) if power(middle) >= 0.8 else (middle, high)
        return 100 * high

    yield "80% are found at a lead of, points", *(smallest(method) for method in METHODS.values())
    spaced = np.linspace(0, -0.03, k)
    claims = [method(values + spaced[:, None], shape.images) for method in METHODS.values()]
    yield "evenly spaced over 3 points: found", *(float(claim.share_found(spaced).mean()) for claim in claims)
    yield "evenly spaced over 3 points: errors", *(float(claim.false(spaced).mean()) for claim in claims)


def groups(case: Case) -> Measures:
    """Two groups of equal initializers, one or ten points apart: false claims, most of them within a group."""
    shape, k = SHAPES[case.shape], case.initializers
    values = shape.draw(case.generator(), case.experiments, k, case.seeds)
    draws = 5 * DRAWS if k > 20 else DRAWS  # in many steps, few draws err more
    for points, label in ((1, "1 point apart"), (10, "10 points apart")):
        means = np.where(np.arange(k) % 2, 0.0, -points / 100)
        accuracies = values + means[:, None]
        claims = [bonferroni(accuracies), stepped(accuracies, shape.images, draws)]
        yield f"errors, {label}", *(float(claim.false(means).mean()) for claim in claims)
        yield f"found, {label}", *(float(claim.share_found(means).mean()) for claim in claims)


def experiments(test: Floats, validation: Floats | None = None) -> pd.DataFrame:
    """Return the tidy table of experiments `[experiment, initializer, seed]`, each a combination of its own."""
    experiment, initializer, seed = (axis.ravel() for axis in np.indices(test.shape))
    names = np.array([f"i{i:02}" for i in range(test.shape[1])])[initializer]
    frame = pd.DataFrame({"activation": experiment, "initializer": names, "seed": seed, "cell": np.arange(test.size)})
    accuracies = {"test_accuracy": test, "validation_accuracy": test if validation is None else validation}
    return frame.assign(
        dataset="mnist", epoch=1, epochs=1, status="trained", **{n: v.ravel() for n, v in accuracies.items()}
    )


def judged(case: Case, generator: np.random.Generator, spacing: float = 0.0) -> tuple[Floats, Floats, dict[str, Any]]:
    """Return test accuracies, true means, and the columns of `stats.verdicts` as `[experiments, initializers]`.

    The means are evenly spaced. The leader is selected on a validation accuracy that has a correlation of 0.8 with
    normal test accuracies.
    """
    k, shape = case.initializers, SHAPES[case.shape]
    values = shape.draw(generator, case.experiments, k, case.seeds)
    means = -spacing * np.arange(k)
    test = values + means[:, None]
    validation = test + generator.normal(0, 0.75 * SPREAD, test.shape)
    chance = {"mnist": stats.Chance(0.1135, 0.1126, 5000, shape.images)}
    table = stats.verdicts(experiments(test, validation), ["activation"], chance=chance)
    return test, values.mean() + means, {name: table[name].to_numpy().reshape(-1, k) for name in table}


def intervals(case: Case) -> Measures:
    """The intervals and bounds of `stats.verdicts`, of equal initializers."""
    n = case.seeds
    test, truth, table = judged(case, case.generator())
    leader = np.arange(len(test)), table["leader"].argmax(axis=1)
    half = stdtrit(n - 1, 0.975) * test.std(axis=2, ddof=1) / np.sqrt(n)
    plain = np.abs(test.mean(axis=2) - truth) <= half
    now = (table["all_low"] <= truth) & (truth <= table["all_high"])
    yield "mean of the leader", float(plain[leader].mean()), float(now[leader].mean())
    missed = (table["difference_low"] > 1e-12) | (table["difference_high"] < -1e-12)
    yield "difference of all from the leader", np.nan, float(1 - missed.any(axis=1).mean())


def losses(case: Case) -> Measures:
    """The bounds of `stats.verdicts`, of initializers that are evenly spaced by half a standard deviation."""
    _, truth, table = judged(case, case.generator(), 0.5 * SPREAD)
    rival = np.array([int(name[1:] or -1) for name in table["worse_than"].ravel()]).reshape(len(table["p"]), -1)
    loss = np.where(rival >= 0, truth[rival] - truth, np.nan)
    missed = (table["worse_by_low"] > loss + 1e-12) | (table["worse_by_high"] < loss - 1e-12)
    yield "loss of all that are significantly worse, spaced", np.nan, float(1 - missed.any(axis=1).mean())
    held = table["regret_bound"] >= truth.max() - truth - 1e-12
    yield "regret of all, spaced", np.nan, float(held.all(axis=1).mean())


def selected(case: Case) -> Measures:
    """Initializers of which each has eight equivalent learning rates, and its own best is selected on validation."""
    k, n, rates = case.initializers, case.seeds, 8
    generator = case.generator()
    test = SHAPES[case.shape].draw(generator, case.experiments * k, rates, n)
    centre = test.mean()
    validation = test + generator.normal(0, 0.75 * SPREAD, test.shape)
    best = validation.mean(axis=2).argmax(axis=1)
    chosen = [values[np.arange(len(best)), best].reshape(-1, k, n) for values in (test, validation)]
    table = stats.verdicts(experiments(*chosen), ["activation"], selected_from=rates)
    leader = table["leader"].to_numpy()
    half = (stdtrit(n - 1, 0.975) * chosen[0].std(axis=2, ddof=1) / np.sqrt(n)).ravel()
    plain = np.abs(chosen[0].mean(axis=2).ravel() - centre) <= half
    now = ((table["all_low"] <= centre) & (centre <= table["all_high"])).to_numpy()
    yield "mean of the leader, at its best of eight rates", float(plain[leader].mean()), float(now[leader].mean())
    yield "mean of another, at its best of eight rates", float(plain[~leader].mean()), float(now[~leader].mean())
    zero = np.zeros(k)
    yield "false claims, if all have eight rates", *(float(m(chosen[0]).false(zero).mean()) for m in METHODS.values())
    unequal = chosen[0].copy()
    unequal[:, 1:] = test.reshape(-1, k, rates, n)[:, 1:, 0]
    yield (
        "false claims, if one has eight rates, and the others one",
        *(float(m(unequal).false(zero).mean()) for m in METHODS.values()),
    )


def across(case: Case) -> Measures:
    """Equal initializers across combinations, which share 0.75 of the variance of an initializer at a seed.

    Before: bootstraps of runs within each combination; Wilcoxon's tests over combinations (Demšar 2006), with Holm's
    correction.
    """
    k, n, combinations = case.initializers, case.seeds, int(case.shape.split()[0])
    generator = case.generator()
    levels = np.linspace(0, 6 * SPREAD, combinations)[:, None]

    def draw(seeds: int) -> Floats:
        common, own = generator.normal(size=(k, 1, seeds)), generator.normal(size=(k, combinations, seeds))
        return 0.9 + levels + SPREAD * (np.sqrt(0.75) * common + 0.5 * own)

    truth = trim_mean(draw(20_000).ravel(), 0.25)
    errors: list[list[bool]] = []
    covered: dict[str, list[list[bool]]] = {"interquartile mean": [], "probability of improvement": []}
    for _ in range(case.experiments):
        scores = {f"i{i}": list(values) for i, values in enumerate(draw(n))}
        row = stats.interquartile_means(scores).iloc[0]
        drawn = [np.concatenate([a[generator.integers(0, n, (200, n))] for a in scores["i0"]], axis=1)]
        low, high = np.quantile(trim_mean(drawn[0], 0.25, axis=1), [0.025, 0.975])
        covered["interquartile mean"].append([low <= truth <= high, row["low"] <= truth <= row["high"]])
        first = stats.improvement({name: scores[name] for name in ("i0", "i1")}, over="i1").iloc[0]
        pairs = [[a[generator.integers(0, n, (200, n))] for a in scores[name]] for name in ("i0", "i1")]
        better = np.mean([_better(a, b) for a, b in zip(*pairs, strict=True)], axis=0)
        low, high = np.quantile(better, [0.025, 0.975])
        covered["probability of improvement"].append([low <= 0.5 <= high, first["low"] <= 0.5 <= first["high"]])
        means = [np.mean(values, axis=1) for values in scores.values()]
        p = [wilcoxon(a - b).pvalue for a, b in itertools.combinations(means, 2)]
        errors.append([min(p) <= 0.05 / len(p), stats.rank_pairs(scores)["significant"].any()])
    yield "average ranks: errors", *map(float, np.mean(errors, axis=0))
    for name, both in covered.items():
        before, after = np.mean(both, axis=0)
        yield name, float(before), float(after)


def _better(first: Floats, second: Floats) -> Floats:
    """Return the share of pairs in which the first is larger, for each row."""
    ranks = rankdata(np.concatenate([first, second], axis=1), axis=1)[:, : first.shape[1]]
    n = first.shape[1]
    return np.asarray((ranks.sum(axis=1) - n * (n + 1) / 2) / n**2)


LOOKS = (5, 10, 20, 40, 80)


def sequential(case: Case) -> Measures:
    """Experiments of equal initializers in which one looks again and again: t-tests, and e-values."""
    k = case.initializers
    first, second = np.triu_indices(k, 1)
    values = SHAPES[case.shape].draw(case.generator(), case.experiments, k, case.seeds)
    seeds = np.arange(1, case.seeds + 1)
    wrong = np.zeros((2, case.experiments, case.seeds), bool)
    for i, j in zip(first, second, strict=True):
        differences = values[:, i] - values[:, j]
        mean = differences.cumsum(axis=1) / seeds
        squares = (differences**2).cumsum(axis=1) - seeds * mean**2
        std = np.sqrt(np.maximum(squares / np.maximum(seeds - 1, 1), 1e-8 / 6))
        t = np.abs(mean[:, 1:]) * np.sqrt(seeds[1:]) / std[:, 1:]
        wrong[0, :, 1:] |= t > stdtrit(seeds[1:] - 1, 1 - 0.025 / len(first))
        wrong[1, :, 1:] |= log_e_value(t, seeds[1:]) >= np.log(len(first) / 0.05)
    some = [look - 1 for look in LOOKS if look <= case.seeds]
    yield f"errors, looking after {', '.join(map(str, LOOKS))}", *map(float, wrong[:, :, some].any(axis=2).mean(axis=1))
    yield "errors, looking after every seed", *map(float, wrong.any(axis=2).mean(axis=1))


def halfwidth(case: Case) -> Measures:
    """The rule that adds batches of five seeds until the half-width is 0.5 standard deviations, which is printed.

    Of made-up populations, it is the standard deviation of the runs that lack nothing.
    """
    values = SHAPES[case.shape].draw(case.generator(), case.experiments, 1, case.seeds)[:, 0]
    mean, width = values.mean(), 0.5 * (SPREAD if case.shape in MADE_UP else values.std())
    covered, seeds = np.zeros(len(values), bool), np.full(len(values), case.seeds)
    running = np.ones(len(values), bool)
    for n in range(10, case.seeds + 1, 5):
        half = stdtrit(n - 1, 0.975) * values[:, :n].std(axis=1, ddof=1) / np.sqrt(n)
        stops = running & ((half <= width) | (n + 5 > case.seeds))
        covered[stops], seeds[stops] = (np.abs(values[:, :n].mean(axis=1) - mean) <= np.maximum(half, width))[stops], n
        running &= ~stops
    yield "coverage", np.nan, float(covered.mean())
    yield "seeds", np.nan, float(seeds.mean())


def planned(case: Case) -> Measures:
    """Seeds planned from the standard deviation of a few, to detect a difference of one: their power.

    Before, they were planned from that standard deviation itself; after, from its upper limit.
    """
    comparisons, n = case.initializers * (case.initializers - 1) // 2, case.seeds
    quantiles = (np.arange(case.experiments) + 0.5) / case.experiments
    stds = [float(std) for std in np.sqrt(chdtri(n - 1, 1 - quantiles) / (n - 1))]
    powers = np.array(
        [
            [
                stats.power(1.0, 1.0, int(stats.seeds_needed(1.0, planning(std), comparisons)), comparisons)
                for std in stds
            ]
            for planning in (float, lambda std: upper_std(std, n))
        ]
    )
    yield "mean power", *map(float, powers.mean(axis=1))
    yield "power below 80%", *map(float, (powers < 0.8).mean(axis=1))


def compared(case: Case) -> Measures:
    """Two experiments of 48 configurations, `initbench compare --fail-if-worse 0.5`; differences of 0.4 points.

    Before is quick, and simulated with twenty times the experiments.
    """
    n, count, limit = case.seeds, 48, 0.005
    generator = case.generator()
    columns = {**dict.fromkeys(SETTINGS, ""), "dataset": "mnist", "epochs": 1, "learning_rate": 0.1}
    table = experiments(np.full((count, 1, n), 0.9)).assign(**dict.fromkeys(METRICS, 0.9))
    table = table.assign(**{name: value for name, value in columns.items() if name not in table})
    for name, loss in (("nothing changed", 0.0), ("one lost 5 points", 0.05)):
        change = generator.normal(0, 0.004, (20 * case.experiments, count, n))
        change[:, 0] -= loss
        mean, error = change.mean(axis=2), change.std(axis=2, ddof=1) / np.sqrt(n)
        failed = (mean <= -limit) & ((mean < -stdtrit(n - 1, 1 - 0.025 / count) * error) | (n < 3))
        before = np.where(failed.any(axis=1), "failed", "passed")
        tables = (table.assign(test_accuracy=0.9 + values.ravel()) for values in change[: case.experiments])
        after = np.array([stats.outcome(stats.changes(table, changed), 0.5) for changed in tables])
        for outcome in ("failed", "inconclusive", "passed"):
            yield f"{name}: {outcome}", *(float((outcomes == outcome).mean()) for outcomes in (before, after))


TABLES: dict[str, Callable[[Case], Measures]] = {
    f.__name__: f
    for f in (
        equal,
        groups,
        real,
        effects,
        intervals,
        losses,
        selected,
        across,
        sequential,
        halfwidth,
        planned,
        compared,
    )
}
# Experiments for each number of initializers.
EXPERIMENTS = {2: 2000, 3: 2000, 6: 2000, 20: 1000, 46: 300}


def cases() -> Iterator[Case]:
    """Return all cases, in the order in which they are computed."""

    def of(table: str, shapes: Iterable[str], sizes: Iterable[tuple[int, int]], share: float = 1.0) -> Iterator[Case]:
        for shape in shapes:
            for k, n in sizes:
                yield Case(table, shape, k, n, round(EXPERIMENTS[k] * share))

    trained = [name for name in SHAPES if name not in MADE_UP]
    sizes = [(6, 3), (6, 5), (46, 3), (46, 5)]
    hard = ["normal", "500 images, deviation of one", "one initializer five times as noisy"]
    hard += ["a class short in 3 of 10 runs", "a class short in half of the runs", "half of all runs at chance"]
    yield from of("real", ["mse", "cross_entropy"], [(6, 3), (6, 5), (6, 10)], 0.25)
    yield from of("planned", ["normal"], [(2, 5), (6, 5)], 0.1)
    yield from of("across", ["8 combinations"], [(3, 5), (3, 10)], 0.4)
    yield from of("equal", MADE_UP, sizes)
    yield from of("groups", hard, [(6, 3), (6, 5), (20, 5)], 0.2)
    yield from of("intervals", ["normal"], [(6, 5), (46, 5)], 0.25)
    yield from of("intervals", ["skewed (exponential)", "a class short in 3 of 10 runs"], [(6, 5)], 0.1)
    yield from of("losses", ["normal"], [(6, 5), (46, 5)], 0.2)
    yield from of("losses", ["a class short in 3 of 10 runs"], [(6, 5)], 0.1)
    yield from of("selected", ["normal"], [(6, 5)], 0.25)
    yield from of("effects", MADE_UP[:1], [(6, 5), (46, 5)], 0.05)
    yield from of("equal", trained, [(6, 5), (6, 3)], 0.25)
    yield from of("groups", hard, [(46, 5)], 0.2)
    yield from of("compared", ["normal"], [(2, 2), (2, 3), (2, 5)], 0.03)
    yield from of("sequential", MADE_UP[:5], [(2, 400), (6, 400)], 0.5)
    yield from of("halfwidth", ["normal", "skewed (exponential)", "a class short in 1 of 10 runs"], [(2, 200)], 2)
    yield from of("halfwidth", trained, [(2, 200)], 2)
    yield from of("effects", MADE_UP[:1], [(6, 3), (6, 10)], 0.05)
    yield from of("equal", MADE_UP, [(2, 3), (2, 5), (2, 10), (3, 3), (3, 5), (3, 10), (6, 10)])
    yield from of("across", ["24 combinations"], [(3, 5), (3, 10)], 0.2)
    yield from of("equal", trained, [(46, 3), (46, 5)], 1 / 3)
    yield from of("equal", MADE_UP, [(20, 3), (20, 5), (20, 10), (46, 10)])
    yield from of("groups", hard, [(3, 3), (3, 5), (20, 3), (46, 3)], 0.2)
    yield from of("effects", MADE_UP[:1], [(46, 3)], 0.05)
    others = [(2, 3), (2, 5), (2, 10), (3, 3), (3, 5), (3, 10), (20, 3), (20, 5)]
    yield from of("effects", MADE_UP[:3], others, 0.05)


def measured(case: Case) -> list[list[Any]]:
    """Return the lines of the table of results for one case."""
    return [[*case, name, *(f"{x:.4g}" for x in pair)] for name, *pair in TABLES[case.table](case)]


def main() -> None:
    """Simulate the cases that are not stored, of all tables or of those that are named, and write the page."""
    stored = {tuple(row[:5]) for row in csv.reader(RESULTS.open(encoding="utf-8"))} if RESULTS.exists() else set()
    tables = sys.argv[1:] or TABLES
    missing = [case for case in cases() if case.table in tables and tuple(map(str, case)) not in stored]
    with RESULTS.open("a", encoding="utf-8", newline="") as file, ProcessPoolExecutor(PROCESSES) as pool:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([] if stored else [COLUMNS])
        for number, rows in enumerate(pool.map(measured, missing), start=1):
            writer.writerows(rows)
            file.flush()
            print(f"{number} of {len(missing)}: {rows[0][:5]}", flush=True)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), pd.read_csv(RESULTS)), encoding="utf-8")


# The tables of the page: the names of their results, and their columns: numbers of initializers and of seeds. What is
# found in groups stands in the file alone.
PAGE_TABLES: dict[str, tuple[tuple[str, ...], dict[tuple[int, int], str]]] = {
    "equal": (("equal",), {(k, n): f"{k}, {n} seeds" for k in (6, 46) for n in (3, 5)}),
    "groups": (("groups",), {(k, n): f"{k}, {n} seeds" for k, n in ((6, 3), (6, 5), (20, 5), (46, 5))}),
    "real": (("real",), {(6, n): f"6, {n} seeds" for n in (3, 5, 10)}),
    "effects": (("effects",), {(k, n): f"{k}, {n} seeds" for k, n in ((6, 3), (6, 5), (6, 10), (46, 3), (46, 5))}),
    "intervals": (("intervals", "losses", "selected"), {(6, 5): "6, 5 seeds", (46, 5): "46, 5 seeds"}),
    "across": (("across",), {(3, 5): "3, 5 seeds", (3, 10): "3, 10 seeds"}),
    "sequential": (("sequential",), {(2, 400): "2 initializers", (6, 400): "6 initializers"}),
    "halfwidth": (("halfwidth",), {(2, 200): "batches of five, from 10 to 200 seeds"}),
    "planned": (("planned",), {(2, 5): "1 comparison, 5 seeds", (6, 5): "15 comparisons, 5 seeds"}),
    "compared": (("compared",), {(2, n): f"{n} seeds" for n in (2, 3, 5)}),
}
NUMBERS = ("80% are found at a lead of, points", "seeds")  # all other measures are fractions


def filled(page: str, results: pd.DataFrame) -> str:
    """Return the page with its tables regenerated: each stands between two comments, `simulated: NAME` and `end`."""
    for name in PAGE_TABLES:
        start, end = f"<!-- simulated: {name} -->\n", "<!-- end -->"
        before, _, rest = page.partition(start)
        page = before + start + "\n" + markdown(results, name) + "\n" + rest[rest.index(end) :]
    return page


def markdown(results: pd.DataFrame, name: str) -> str:
    """Return a table of the page: before → after, in %; of the configurations that were trained, the worst."""
    tables, columns = PAGE_TABLES[name]
    lines = results[results["table"].isin(tables) & ~results["measure"].str.startswith("found, ")]
    trained = lines["shape"].str.startswith("trained")
    worst, statistic = ("smallest", "min") if name == "halfwidth" else ("largest", "max")
    label = f"trained: the {worst} of {lines.loc[trained, 'shape'].nunique()} configurations"
    lines = lines.assign(shape=lines["shape"].where(~trained, label))
    several = len(lines["shape"].unique()) > 1
    rows: dict[str, dict[tuple[int, int], str]] = {}
    for (shape, measure, k, n), group in lines.groupby(["shape", "measure", "initializers", "seeds"], sort=False):
        texts = [
            "" if np.isnan(x) else "never" if np.isinf(x) else f"{x:.2f}" if measure in NUMBERS else f"{100 * x:.1f}"
            for x in group[["before", "after"]].agg(statistic)
        ]
        label = shape if name == "equal" else f"{shape}: {measure}" if several else measure
        rows.setdefault(label, {})[k, n] = " → ".join(filter(None, texts))
    header = ["", *columns.values()]
    body = [
        [label, *(cells.get(size, "–") for size in columns)] for label, cells in rows.items() if cells.keys() & columns
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in [header, ["---"] * len(header), *body])


if __name__ == "__main__":
    main()
