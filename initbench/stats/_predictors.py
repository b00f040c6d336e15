"""What predicts success: correlations of the signal at initialization with the outcomes, within combinations."""

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from initbench.spec.signal import COLUMNS
from initbench.stats._arguments import check_frame, check_table, combination_of
from initbench.stats._learning import epochs_to_reach, near_targets
from initbench.stats._outcomes import CONFIDENCE, outcomes
from initbench.stats._signal import SCALARS, SIGNAL, scalar_name, signal_scalars
from initbench.stats._verdicts import SELECTION_METRIC
from initbench.stats.chance import Chance

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Order = tuple[Ints, Ints, Ints]

LEVEL = 1 - CONFIDENCE

OUTCOMES = ("accuracy", "failed", "epochs")

# Five initializers have 120 orders: the p-value of the best one and its reverse is 2 / 120. Of four it is 2 / 24 = 8%.
MIN_INITIALIZERS = 5

# Orders of the initializers are enumerated up to this number, and otherwise drawn. Bootstrap samples give a standard
# error: of 499 it is right to 3%, of 99, from 20,000 cells on, to 7%.
ENUMERATED, DRAWS = 5040, 1999
MAX_SAMPLES, MIN_SAMPLES = 499, 99
MAX_VALUES = 2_000_000  # samples × cells
CHUNK = 300_000  # of these at a time

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
    scalars: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Correlate the signal before training with accuracy, failure and speed of learning, within combinations.

    Within each combination, over its cells, Spearman's rank correlation of a scalar of the signal (`signal_scalars`)
    with an outcome; then the average over the combinations in which both vary, weighted by their numbers of cells. It
    is between configurations for the most part: cells of one initializer have nearly the same signal.

    A row for each predictor and outcome that vary together; none with fewer than `MIN_INITIALIZERS` (5) initializers
    of which the predictor is finite, below which no p-value can reach 5%: of four, 2 of 4! = 24 orders are as extreme
    as the best.

    - `predictor`: a statistic (`saturated_share`, …), or `variance_drift`, `gradient_drift`, `isometry_distance`.
    - `position`: `first`, `last` (the last hidden layer), `output` or `network`; of equal columns, as in networks of
      one layer, the first.
    - `outcome`: `accuracy`, the test accuracy after the last epoch, diverged runs at the majority-class accuracy;
      `failed`, 0 or 1, as in `outcomes`; `epochs`, to one point below the leader's last mean validation accuracy, as in
      `near_leader`; cells that do not reach it come last.
    - `correlation`: from −1 to 1.
    - `low`, `high`: its 95% interval, within −1 and 1: ± t(k − 1) times the standard error of a bootstrap of the k
      initializers, each with its cells in all combinations, times √(k / (k − 1)). For one row, not for all together.
    - `p`: adjusted for all rows of the table (family-wise error): permutations of the initializers' outcomes, in all
      combinations alike, step-down maxT (Westfall & Young 1993, algorithm 4.1) of the mean ranks of configurations.
    - `significant`: whether `p` is at most 5%.
    - `initializers`, `configurations`, `combinations`, `cells`: their numbers.
    - `left_out`: number of cells whose scalar is infinite or NaN. They are not in the correlation.

    `scalars` is `signal_scalars` of the signal, which is computed here by default. They are compared to six digits:
    they are computed in float32.

    Assumes independent initializers, exchangeable where nothing is associated; seeds and combinations may depend on
    each other in any way. It describes an association, and not a cause: initializers that differ in scale differ in
    most statistics at once. Checked by simulation (`tests/stats/test_signal_statistics.py`): without an association,
    4 to 7% of 500 experiments have a significant row (5 to 30 initializers, 1 to 8 combinations; 44 to 87% if
    configurations are permuted within each combination on their own, as the same initializers occur in all). The
    interval covers 92 to 100% (5 to 30 initializers, correlations of 0 to 0.85; quantiles of the bootstrap cover 21 to
    96%), and of failures, where a sixth of the runs fails, 84 to 97%.
    Of five or six initializers only correlations near 1 are significant: 0.9 in four combinations is found with 28, 50,
    86 and 100% of five, six, eight and twelve initializers (docs/explanation/method.md). The row with the largest
    correlation was selected for it: its interval does not include that.
    """
    check_table(signal, "signal", COLUMNS, SIGNAL)
    check_frame(frame)
    keys = combination_of(frame, combination)
    cells = _outcomes(frame, keys, chance).merge(signal_scalars(signal) if scalars is None else scalars, on="cell")
    if cells["initializer"].nunique() < MIN_INITIALIZERS:
        return pd.DataFrame(columns=PREDICTORS)
    cells = cells.sort_values(["combination", "initializer", "seed"], kind="stable", ignore_index=True)
    predictors = [scalar for scalar in _distinct(cells) if _initializers(cells, scalar) >= MIN_INITIALIZERS]
    if not predictors:
        return pd.DataFrame(columns=PREDICTORS)
    x = _six_digits(cells[[scalar_name(*scalar) for scalar in predictors]].to_numpy(np.float64).T)
    y = cells[list(OUTCOMES)].to_numpy(np.float64).T
    design = Design(cells["combination"].to_numpy(), pd.factorize(cells["initializer"])[0])
    correlation, low, high, used = design.correlations(x, y)
    p = design.p(x, y)
    records = []
    for (i, scalar), (o, outcome) in itertools.product(enumerate(predictors), enumerate(OUTCOMES)):
        if np.isfinite(correlation[i, o]) and np.isfinite(p[i, o]):
            counted = used[i, o, design.number] & ~np.isnan(x[i])
            counts = design.counts(counted)
            if counts[0] < MIN_INITIALIZERS:
                continue
            values = correlation[i, o], low[i, o], high[i, o], p[i, o], bool(p[i, o] <= LEVEL)
            records.append((*scalar, outcome, *values, *counts, int(np.isnan(x[i]).sum())))
    return pd.DataFrame(records, columns=PREDICTORS)


def _six_digits(values: Floats) -> Floats:
    """Return values rounded to six significant digits, NaN where they are infinite."""
    finite = np.isfinite(values) & (values != 0)
    exponent = np.floor(np.log10(np.abs(values), where=finite, out=np.zeros_like(values)))
    rounded = np.round(values / 10.0**exponent, 5) * 10.0**exponent
    return np.where(finite, rounded, np.where(values == 0, 0.0, np.nan))


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


def _initializers(cells: pd.DataFrame, scalar: tuple[str, str]) -> int:
    """Return the number of initializers with a finite value of a scalar."""
    return int(cells.loc[np.isfinite(cells[scalar_name(*scalar)]), "initializer"].nunique())


class Design:
    """The cells of an experiment, sorted by combination, by the numbers of their combination and initializer."""

    def __init__(self, combination: Ints, initializer: Ints) -> None:
        self.starts = np.flatnonzero(np.r_[True, combination[1:] != combination[:-1]])
        self.sizes = np.diff(np.r_[self.starts, len(combination)])
        self.number = np.repeat(np.arange(len(self.starts)), self.sizes)
        self.initializer = initializer
        self.count = int(initializer.max()) + 1

    def counts(self, cells: NDArray[np.bool_]) -> tuple[int, int, int, int]:
        """Return the numbers of initializers, configurations, combinations and cells among these cells."""
        number, initializer = self.number[cells], self.initializer[cells]
        configurations = np.unique(number * self.count + initializer)
        return len(np.unique(initializer)), len(configurations), len(np.unique(number)), int(cells.sum())

    def correlations(self, x: Floats, y: Floats) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
        """Return the average correlations and the ends of their intervals, `[predictors, outcomes]`.

        And the combinations in which both vary, `[predictors, outcomes, combinations]`, which are averaged. Where they
        do not vary in a sample, as the only initializer that fails is not in it, it shows no association: 0.
        """
        count = min(MAX_SAMPLES, max(MIN_SAMPLES, MAX_VALUES // len(self.number)))
        drawn = np.random.default_rng(0).multinomial(self.count, np.full(self.count, 1 / self.count), count)
        weights = np.concatenate([np.ones((1, self.count)), drawn])  # the first sample is the experiment
        means = np.empty((len(weights), len(x), len(y)))
        used = np.empty((len(x), len(y), len(self.starts)), bool)
        chunk = max(1, CHUNK // len(self.number))
        x_orders, y_orders = [self.order(values) for values in x], [self.order(values) for values in y]
        for start in range(0, len(weights), chunk):
            part = slice(start, start + chunk)
            of_cells = weights[part].T[self.initializer]
            complete = [self.ranks(order, of_cells) for order in y_orders]
            for i, values in enumerate(x):
                finite, ranked = ~np.isnan(values), complete
                of_finite = of_cells if finite.all() else of_cells * finite[:, None]
                if not finite.all():
                    ranked = [self.ranks(order, of_finite) for order in y_orders]
                rx, xx, size = self.ranks(x_orders[i], of_finite)
                for o, (ry, yy, _) in enumerate(ranked):
                    xy = np.add.reduceat(rx * ry, self.starts)
                    vary = (xx > VARIES * size) & (yy > VARIES * size)
                    rho = np.where(vary, xy / np.sqrt(np.where(vary, xx * yy, 1)), 0)
                    if start == 0:
                        used[i, o] = vary[:, 0]
                    total = used[i, o] @ size
                    means[part, i, o] = used[i, o] @ (rho * size) / np.where(total > 0, total, np.nan)
        means = np.clip(means, -1, 1)
        correlation = means[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of what never varies
            error = np.nanstd(means[1:], axis=0) * math.sqrt(self.count / (self.count - 1))
        half = float(stdtrit(self.count - 1, 1 - LEVEL / 2)) * error
        return correlation, np.maximum(correlation - half, -1), np.minimum(correlation + half, 1), used

    def order(self, values: Floats) -> Order:
        """Return the order of the cells by combination and value, where ties begin in it, and the tie of each cell."""
        order = np.lexsort((values, self.number))
        begins = np.r_[True, values[order[1:]] != values[order[:-1]]]
        begins[self.starts] = True
        tie = np.empty(len(values), np.intp)
        tie[order] = np.cumsum(begins) - 1
        return order, np.flatnonzero(begins), tie

    def ranks(self, order: Order, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the centred ranks of weighted cells within their combinations, times √weight, `[cells, samples]`.

        A cell of weight 2 has the mean rank of two such cells, and of ties each has the mean rank. And the sums of
        their squares and of the weights, `[combinations, samples]`.
        """
        sizes = np.add.reduceat(weights, self.starts)
        ties = np.add.reduceat(weights[order[0]], order[1])
        below = np.cumsum(ties, axis=0) - ties / 2  # of this combination and all before it
        ranks = below[order[2]] - np.repeat(np.cumsum(sizes, axis=0) - sizes / 2, self.sizes, axis=0)
        ranks *= np.sqrt(weights)
        return ranks, np.add.reduceat(np.square(ranks), self.starts), sizes

    def mean_ranks(self, values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the mean ranks of each configuration, `[values, combinations, initializers]`, and which there are.

        The ranks of a combination are centred and have a sum of squares of 1, or are 0 if all are equal.
        """
        weights = (~np.isnan(values)).astype(float)
        ranks = np.zeros_like(weights)
        for i, row in enumerate(values):
            centred, squares, sizes = self.ranks(self.order(row), weights[i, :, None])
            scale = np.where(squares > VARIES * sizes, 1 / np.sqrt(np.maximum(squares, 1e-300)), 0)
            ranks[i] = (centred * np.repeat(scale, self.sizes, axis=0))[:, 0]
        group = self.number * self.count + self.initializer
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
        (X, finite), (Y, present) = self.mean_ranks(x), self.mean_ranks(y)
        strata = self.strata(present[0])
        X, Y = _centred(X, finite, strata), _centred(Y, present, strata)
        X *= (self.sizes**2 / present[0].sum(axis=1))[:, None]  # cells × cells of a configuration
        orders = self.orders(strata)
        T = np.empty((len(orders), len(x), len(y)))
        chunk = max(1, CHUNK // Y.size)
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


def _centred(ranks: Floats, finite: NDArray[np.bool_], strata: list[Ints]) -> Floats:
    """Return mean ranks minus their mean over the finite ones of each group; 0 where one is not finite."""
    centred = np.zeros_like(ranks)
    for stratum in strata:
        values, there = ranks[..., stratum], finite[..., stratum]
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
