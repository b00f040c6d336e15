"""What predicts success: correlations of the signal at initialization with the outcomes, within combinations."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initbench.spec.signal import COLUMNS
from initbench.stats._arguments import check_frame, check_table, combination_of
from initbench.stats._learning import epochs_to_reach, near_targets
from initbench.stats._outcomes import outcomes
from initbench.stats._signal import SCALARS, SIGNAL, scalar_name, signal_scalars
from initbench.stats._verdicts import SELECTION_METRIC
from initbench.stats.chance import Chance

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

OUTCOMES = ("accuracy", "failed", "epochs")

# Five initializers have 120 orders: the p-value of the best one and its reverse is 2 / 120. Of four it is 2 / 24 = 8%.
MIN_INITIALIZERS = 5

# Permutations are enumerated up to this number, and otherwise drawn; bootstrap samples, at most.
ENUMERATED = 5040
DRAWS = 1999
SAMPLES = 999
MAX_VALUES = 4_000_000

# Ranks whose mean square, and statistics whose deviation, is below this do not vary.
VARIES = 1e-9

PREDICTORS = [
    *("predictor", "position", "outcome", "correlation", "low", "high", "p", "significant"),
    *("initializers", "configurations", "combinations", "cells", "left_out"),
]


def signal_predictors(
    signal: pd.DataFrame,
    frame: pd.DataFrame,
    combination: Sequence[str],
    chance: Mapping[str, Chance] | None = None,
) -> pd.DataFrame:
    """Correlate the signal before training with what came of it: accuracy, failure and speed, within combinations.

    A row for each predictor and outcome; assumes independent initializers.
    """
    check_table(signal, "signal", COLUMNS, SIGNAL)
    check_frame(frame)
    keys = combination_of(frame, combination)
    scalars = signal_scalars(signal).assign(cell=lambda table: table["cell"].astype(str))
    cells = _outcomes(frame, keys, chance).merge(scalars, on="cell")
    if cells["initializer"].nunique() < MIN_INITIALIZERS:
        return pd.DataFrame(columns=PREDICTORS)
    cells = cells.sort_values(["combination", "initializer", "seed"], kind="stable", ignore_index=True)
    predictors = _distinct(cells)
    x = cells[[scalar_name(*scalar) for scalar in predictors]].to_numpy(np.float64).T
    x = np.where(np.isfinite(x), x, np.nan)
    y = cells[list(OUTCOMES)].to_numpy(np.float64).T
    design = Design(cells["combination"].to_numpy(), pd.factorize(cells["initializer"])[0])
    weights = design.samples()
    p = design.p(x, y)
    records = []
    for (number, (name, position)), (o, outcome) in itertools.product(enumerate(predictors), enumerate(OUTCOMES)):
        finite = np.isfinite(x[number])
        rho, used = design.correlation(x[number], y[o], finite)
        if not np.isfinite(rho) or not np.isfinite(p[number, o]):
            continue
        low, high = design.interval(x[number], y[o], finite, weights)
        counted = finite & np.isin(design.combination, used)
        configurations = len(set(zip(design.combination[counted], design.initializer[counted], strict=True)))
        counts = (len(set(design.initializer[counted])), configurations, len(used), int(counted.sum()))
        significant = bool(p[number, o] <= 0.05)
        left_out = int((~finite).sum())
        records.append(
            (name, position, outcome, rho, min(low, rho), max(high, rho), p[number, o], significant, *counts, left_out)
        )
    return pd.DataFrame(records, columns=PREDICTORS)


def _outcomes(frame: pd.DataFrame, keys: list[str], chance: Mapping[str, Chance] | None) -> pd.DataFrame:
    """Return `cell`, `combination` (a number), `initializer`, `seed`, and the outcomes of each cell."""
    rows = outcomes(frame, chance)
    score = f"scored_{SELECTION_METRIC}"
    by = [*keys, "initializer"]
    means = rows.groupby(by, sort=False, dropna=False, observed=True).agg(
        accuracy=(score, "mean"), failed=("failed", "min")
    )
    means = means[~means["failed"].astype(bool)].reset_index()
    leaders: dict[tuple[str, ...], float] = {}
    for row, accuracy in zip(means[keys].astype(str).itertuples(index=False), means["accuracy"], strict=True):
        leaders[tuple(row)] = max(accuracy, leaders.get(tuple(row), -math.inf))
    targets, _ = near_targets(frame, keys, leaders, chance)
    needed = ["cell", "epoch", "epochs", SELECTION_METRIC]
    speed = epochs_to_reach(frame[needed], target=pd.Series(targets, frame.index))
    epochs = speed["epochs_to_target"].astype(float).where(speed["reached"], math.inf)
    number = rows.groupby(keys, sort=False, dropna=False, observed=True).ngroup() if keys else 0
    cells = pd.DataFrame(
        {
            "cell": rows["cell"].astype(str),
            "combination": number,
            "initializer": rows["initializer"].astype(str),
            "seed": rows["seed"],
            "accuracy": rows["scored_test_accuracy"].astype(float),
            "failed": rows["failed"].astype(float),
        }
    )
    return cells.assign(epochs=cells["cell"].map(pd.Series(epochs.to_numpy(), speed["cell"].astype(str))))


def _distinct(cells: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the scalars without those that equal an earlier one in every cell, as in networks of one layer."""
    distinct: dict[bytes, tuple[str, str]] = {}
    for scalar in SCALARS:
        distinct.setdefault(cells[scalar_name(*scalar)].to_numpy(np.float64).tobytes(), scalar)
    return list(distinct.values())


class Design:
    """The cells of an experiment, sorted by combination: `combination` and `initializer` are their numbers."""

    def __init__(self, combination: Ints, initializer: Ints) -> None:
        self.combination, self.initializer = combination, initializer
        self.starts = np.flatnonzero(np.r_[True, combination[1:] != combination[:-1]])
        self.sizes = np.diff(np.r_[self.starts, len(combination)])
        self.count = int(initializer.max()) + 1

    def correlation(self, x: Floats, y: Floats, finite: NDArray[np.bool_]) -> tuple[float, Ints]:
        """Return the average correlation, and the combinations in which both vary."""
        rho, size = self._by_combination(x, y, finite[None].astype(float))
        used = np.isfinite(rho[0])
        value = float(rho[0, used] @ size[0, used] / size[0, used].sum()) if used.any() else math.nan
        return value, self.combination[self.starts[used]]

    def samples(self) -> Floats:
        """Return how often each initializer occurs in each bootstrap sample, `[samples, initializers]`."""
        count = min(SAMPLES, max(199, MAX_VALUES // len(self.combination)))
        generator = np.random.default_rng(0)
        return generator.multinomial(self.count, np.full(self.count, 1 / self.count), count).astype(float)

    def interval(self, x: Floats, y: Floats, finite: NDArray[np.bool_], weights: Floats) -> tuple[float, float]:
        """Return the 95% interval of the average correlation."""
        rho, size = self._by_combination(x, y, weights[:, self.initializer] * finite)
        used = np.isfinite(rho)
        with np.errstate(invalid="ignore"):
            means = np.where(used, rho * size, 0).sum(axis=1) / np.where(used, size, 0).sum(axis=1)
        means = means[np.isfinite(means)]
        low, high = np.quantile(means, [0.025, 0.975])
        return float(low), float(high)

    def _by_combination(self, x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
        """Return Spearman's correlation of each combination with weighted cells, and the sums of their weights."""
        size = np.add.reduceat(weights, self.starts, axis=1)
        rx, ry = (self._ranks(values, weights, size) for values in (x, y))
        xy, xx, yy = (np.add.reduceat(weights * a * b, self.starts, axis=1) for a, b in ((rx, ry), (rx, rx), (ry, ry)))
        with np.errstate(divide="ignore", invalid="ignore"):
            rho = xy / np.sqrt(xx * yy)
        return np.where((xx > VARIES * size) & (yy > VARIES * size), np.clip(rho, -1, 1), np.nan), size

    def _ranks(self, values: Floats, weights: Floats, size: Floats) -> Floats:
        """Return the centred mid-ranks within combinations of weighted cells, `[samples, cells]`."""
        order = np.lexsort((values, self.combination))
        ordered = values[order]
        new = np.r_[True, (ordered[1:] != ordered[:-1]) | np.isin(np.arange(1, len(values)), self.starts)]
        first = np.flatnonzero(new)
        group = np.cumsum(new) - 1
        sums = np.add.reduceat(weights[:, order], first, axis=1)
        below = np.cumsum(sums, axis=1) - sums / 2  # of all combinations up to this one
        before = np.cumsum(size, axis=1) - size / 2
        ranks = np.empty_like(weights)
        ranks[:, order] = below[:, group]
        return ranks - np.repeat(before, self.sizes, axis=1)

    def mean_ranks(self, values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the mean ranks of each configuration, `[values, combinations, initializers]`, and which there are.

        The ranks of a combination are centred and have a sum of squares of 1, or are 0 if all are equal.
        """
        weights = (~np.isnan(values)).astype(float)
        size = np.add.reduceat(weights, self.starts, axis=1)
        ranks = np.stack([self._ranks(v, w[None], n[None])[0] for v, w, n in zip(values, weights, size, strict=True)])
        squares = np.add.reduceat(weights * ranks**2, self.starts, axis=1)
        scale = np.where(squares > VARIES * size, 1 / np.sqrt(np.maximum(squares, 1e-300)), 0.0)
        ranks *= weights * np.repeat(scale, self.sizes, axis=1)
        group = np.repeat(np.arange(len(self.starts)), self.sizes) * self.count + self.initializer
        shape = (len(values), len(self.starts), self.count)
        sums, counts = (
            np.stack([np.bincount(group, row, shape[1] * shape[2]) for row in rows]).reshape(shape)
            for rows in (ranks, weights)
        )
        return sums / np.maximum(counts, 1), counts > 0

    def p(self, x: Floats, y: Floats) -> Floats:
        """Return the p-values of all predictors and outcomes, adjusted for their number, `[predictors, outcomes]`.

        NaN where the mean ranks of the configurations do not vary together.
        """
        (X, known), (Y, present) = self.mean_ranks(x), self.mean_ranks(y)
        strata = self.strata(present[0])
        X, Y = _centred(X, known, strata), _centred(Y, present, strata)
        X *= (self.sizes**2 / present[0].sum(axis=1))[:, None]  # cells × cells of a configuration
        orders = self.orders(strata)
        T = np.empty((len(orders), len(x), len(y)))
        chunk = max(1, MAX_VALUES // Y.size)
        for start in range(0, len(orders), chunk):
            permuted = Y[:, :, orders[start : start + chunk]]  # [outcomes, combinations, orders, initializers]
            permuted = permuted.transpose(1, 3, 2, 0).reshape(X[0].size, -1)
            T[start : start + chunk] = (X.reshape(len(x), -1) @ permuted).reshape(len(x), -1, len(y)).swapaxes(0, 1)
        return _step_down(T.reshape(len(T), -1)).reshape(len(x), len(y))

    def strata(self, present: NDArray[np.bool_]) -> list[Ints]:
        """Return the initializers in groups of the same combinations, from `[combinations, initializers]`."""
        _, number = np.unique(present, axis=1, return_inverse=True)
        return [np.flatnonzero(number == stratum) for stratum in np.unique(number)]

    def orders(self, strata: list[Ints]) -> Ints:
        """Return permutations of the initializers within their groups, the identity first: all, or drawn ones."""
        if math.prod(math.factorial(len(stratum)) for stratum in strata) <= ENUMERATED:
            orders = np.arange(self.count)[None]
            for stratum in strata:
                permuted = np.array(list(itertools.permutations(stratum)))
                orders = np.repeat(orders, len(permuted), axis=0)
                orders[:, stratum] = np.tile(permuted, (len(orders) // len(permuted), 1))
            return orders
        generator = np.random.default_rng(0)
        orders = np.tile(np.arange(self.count), (DRAWS + 1, 1))
        for stratum in strata:
            order = generator.random((DRAWS, len(stratum))).argsort(axis=1)
            orders[1:, stratum] = stratum[order]
        return orders


def _centred(ranks: Floats, known: NDArray[np.bool_], strata: list[Ints]) -> Floats:
    """Return mean ranks minus their mean over the known ones of each group; 0 where one is not known."""
    centred = np.zeros_like(ranks)
    for stratum in strata:
        values, there = ranks[..., stratum], known[..., stratum]
        mean = (values * there).sum(axis=-1, keepdims=True) / np.maximum(there.sum(axis=-1, keepdims=True), 1)
        centred[..., stratum] = (values - mean) * there
    return centred


def _step_down(T: Floats) -> Floats:
    """Return adjusted p-values from the statistics under each order, the observed one first, `[orders, tests]`.

    Each is divided by its standard deviation over the orders. Westfall & Young 1993, algorithm 4.1 (maxT).
    """
    deviation = np.sqrt(np.square(T).mean(axis=0))
    p = np.full(T.shape[1], np.nan)
    varying = np.flatnonzero(deviation > VARIES)
    z = np.abs(T[:, varying]) / deviation[varying]
    order = np.argsort(-z[0], kind="stable")
    largest = np.maximum.accumulate(z[:, order[::-1]], axis=1)[:, ::-1]
    shares = (largest >= z[0, order] * (1 - 1e-9)).mean(axis=0)
    p[varying[order]] = np.maximum.accumulate(shares)
    return p
