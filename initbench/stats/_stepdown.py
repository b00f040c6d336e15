"""The comparison of k initializers over n common seeds: two resampling tests that both have to agree, stepping down.

The compared set S starts with all initializers. For each pair i, j of S, d are the differences within seeds, d̄ their
mean, s² their variance (at least `resolution`²) and ν = n − 1. The variances are moderated as in limma (Smyth 2004,
section 6.2): a prior of d₀ degrees of freedom at s₀² is fitted to all of them, and

    t̃ = d̄ √n / s̃,   s̃² = (d₀ s₀² + ν s²) / (d₀ + ν),   with min(d₀ + ν, (|S| − 1) ν) degrees of freedom,

and s̃² at least half the median s². (On plateaus there is no common variance, d₀ is about 0, and of hundreds of pairs
some have nearly equal differences by chance. Without this limit, up to 92% of experiments of 46 initializers at three
seeds claim a false difference, where half of the runs are at chance and means differ; it costs hardly any power.)

The prior is that of the combination alone, so that its result depends on its own runs. (Combinations differ in spread:
in the preset `keepcoding`, d₀ is 0.4 to 3.1 within combinations, and 0.5 if they share one prior.)

The statistic is the smallest p-value over the pairs: that of the largest |t̃|. Its null distribution is drawn twice:

- Rotation: the product of d with the unit vector (1, …, 1) / √n, which is d̄ √n, is replaced by that with a random unit
  vector q, and s² by the variance that is left; the prior is fitted again. This is exact for normal runs of any
  covariance. Source: Langsrud 2005, "Rotation tests"; Wu et al. 2010, "ROAST: rotation gene set tests".
- Permutation: the labels of the initializers are permuted within each seed. This is exact for runs that are
  exchangeable at each seed, of any distribution: plateaus, failures, ties. It takes part where it can reach 5%.

If both p-values are at most 5%, the worse initializer of the pair with the largest |t̃|, and it alone, is significantly
worse. It leaves S, and the rest is compared again (Westfall & Young 1993; Goeman & Solari 2010).
"""

import itertools
import math
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import polygamma, psi, stdtr, stdtrit

Floats = NDArray[np.float64]

# Draws from each null distribution: p-values are multiples of 1/2,000. With 199, keeping the draws of a larger set is
# not safe: in simulations of 46 initializers on 500 images, up to 10% of experiments then claim a false difference.
DRAWS = 1999

# A moderated variance is at least this share of the median variance of all pairs.
MIN_OF_MEDIAN = 0.5

# Differences that are computed at a time: they stay in the CPU's cache.
CHUNK = 1 << 16

# P-values that differ by less than this share are ties.
TIES = 1e-9

# The relative precision of float32, in which metrics are computed.
PRECISION = 1e-7


@dataclass(frozen=True)
class Comparison:
    """The result for k initializers, NaN where one was not compared; `mean` to `p_pairs` are `[k, k]`, for i − j.

    `p` is that of the step at which an initializer left, or of the last step; it never falls from step to step.
    `worse_than` is the index of the one that it lost to, or −1.
    """

    p: Floats
    worse_than: NDArray[np.intp]
    rotation_only: NDArray[np.bool_]
    mean: Floats
    low: Floats
    high: Floats
    p_pairs: Floats


def step_down(values: Floats, resolution: float, level: float = 0.05, draws: int = DRAWS) -> Comparison:
    """Compare the columns of `values`, `[seeds, initializers]`, NaN for missing runs, with the intervals of all pairs.

    `resolution` is the smallest standard deviation of differences. See `eliminate`.
    """
    mean, low, high, p_pairs = _intervals(values, _with_common_seeds(values), resolution, level, draws)
    p, worse_than, rotation_only = eliminate(values, resolution, level, draws)
    worse = np.flatnonzero(worse_than >= 0)
    better = worse_than[worse]
    low[better, worse] = np.fmax(low[better, worse], 0.0)
    high[worse, better] = np.fmin(high[worse, better], 0.0)
    rest = np.ix_(worse_than < 0, worse_than < 0)  # where no difference is claimed, no interval excludes 0
    low[rest], high[rest] = np.minimum(low[rest], 0.0), np.maximum(high[rest], 0.0)
    return Comparison(p, worse_than, rotation_only, mean, low, high, p_pairs)


def eliminate(
    values: Floats, resolution: float, level: float = 0.05, draws: int = DRAWS
) -> tuple[Floats, NDArray[np.intp], NDArray[np.bool_]]:
    """Return `p`, `worse_than` and `rotation_only` of a `Comparison` at a level of at most 5%.

    A step uses the seeds that all of its initializers have. A difference of at most one image (√6 times `resolution`)
    without any spread does not count.
    """
    k = values.shape[1]
    p, worse_than, rotation_only = np.full(k, np.nan), np.full(k, -1), np.zeros(k, bool)
    compared = _with_common_seeds(values)
    null: _Null | None = None
    largest = 0.0
    while len(compared) > 1:
        step = _Step(values[:, compared], resolution)
        # Beyond all draws from the null distribution of a larger set, it would be beyond those of this set too.
        if null is None or null.seeds != step.seeds or null.p(step.p.min()) > 1 / (draws + 1):
            null = _Null(step, level, draws)
        largest = max(largest, float(null.p(step.p.min())))
        better, worse = (compared[i] for i in step.extreme)
        leaving = [worse] if largest <= level else compared
        p[leaving], rotation_only[leaving] = largest, null.permutation is None
        if largest > level:
            break
        worse_than[worse] = better
        compared = compared[compared != worse]
    return p, worse_than, rotation_only


def _intervals(values: Floats, compared: NDArray[np.intp], resolution: float, level: float, draws: int) -> Floats:
    """Return the mean differences i − j, the ends of their simultaneous intervals, and their p-values, `[4, k, k]`.

    d̄ ± c s̃ / √n with c the quantile of the largest |t̃| of the residuals: the runs minus the mean of their
    initializer, times √(n / (n − 1)), rotated as above. So it does not depend on the true differences. Here s̃ has no
    limit at the median, so that the intervals of quiet initializers do not show the spread of noisy ones.
    """
    tables = np.full((4, values.shape[1], values.shape[1]), np.nan)
    if len(compared) > 1:
        step = _Step(values[:, compared], resolution, limited=False)
        residuals = (step.runs - step.runs.mean(axis=0)) * math.sqrt(step.seeds / (step.seeds - 1))
        smallest = np.sort(_rotated(residuals, step, draws, step.generator()))
        half = -stdtrit(step.df, smallest[int(level * (draws + 1) + TIES) - 1] / 2) * step.error
        p = (1 + np.searchsorted(smallest, step.p_with * (1 + TIES), "right")) / (1 + draws)
        for table, block in zip(tables, (step.mean, step.mean - half, step.mean + half, p), strict=True):
            np.fill_diagonal(block, np.nan)
            table[np.ix_(compared, compared)] = block
    return tables


def _with_common_seeds(values: Floats) -> NDArray[np.intp]:
    """Return the columns to compare: without those with the fewest runs, until all others have two common seeds."""
    present = np.isfinite(values)
    columns = np.flatnonzero(present.any(axis=0))
    while len(columns) > 1 and present[:, columns].all(axis=1).sum() < 2:
        columns = np.delete(columns, present[:, columns].sum(axis=0).argmin())
    return columns if len(columns) > 1 else columns[:0]


class _Step:
    """The observed differences of all pairs of a compared set: `mean`, `error` and `p_with` are `[size, size]`."""

    def __init__(self, values: Floats, resolution: float, limited: bool = True) -> None:
        self.limited = limited
        runs = values[np.isfinite(values).all(axis=1)]
        self.seeds, self.size = runs.shape
        self.runs = runs - runs.mean(axis=1, keepdims=True)  # the differences are the same, and their rounding smaller
        self.floor = max(resolution, PRECISION * float(np.abs(runs).max())) ** 2
        self.pairs = np.triu_indices(self.size, 1)
        self.squares = _squares(self.runs.T @ self.runs, self.pairs)
        products = self.runs.sum(axis=0)[None] / math.sqrt(self.seeds)
        sums, variance, df = _moderated(products, self.squares, self)
        self.df = float(df[0])
        unspread = self.squares - sums[0] ** 2 <= (self.seeds - 1) * self.floor * (1 + TIES)
        of_one_image = np.abs(sums[0]) <= math.sqrt(6 * self.seeds) * resolution * (1 + TIES)
        t = np.where(unspread & of_one_image, 0.0, sums[0] / np.sqrt(variance[0]))
        self.p = 2 * stdtr(self.df, -np.abs(t))
        largest = int(np.abs(t).argmax())
        i, j = self.pairs[0][largest], self.pairs[1][largest]
        self.extreme = (int(i), int(j)) if t[largest] >= 0 else (int(j), int(i))
        self.mean, self.error, self.p_with = (np.zeros((self.size, self.size)) for _ in range(3))
        self.mean[self.pairs] = sums[0] / math.sqrt(self.seeds)
        self.mean -= self.mean.T
        self.error[self.pairs] = np.sqrt(variance[0] / self.seeds)
        self.error += self.error.T
        self.p_with[self.pairs] = self.p
        self.p_with += self.p_with.T

    def generator(self) -> np.random.Generator:
        """Return random numbers that depend on the runs alone: the error of the draws averages out over experiments."""
        return np.random.default_rng(zlib.crc32(self.runs.tobytes()))


class _Null:
    """The smallest p-values of a compared set without differences, in ascending order, by rotation and by permutation.

    `permutation` is None where this number of seeds cannot reach the level: the smallest p-value, of an order that is
    the same at all seeds, is 1 / (|S|!)ⁿ⁻¹. (A single initializer below equal others has 1 / |S|ⁿ⁻¹: three or four
    initializers need four seeds for that. Without this test, 8 to 12% of plateaus claim a difference there.)
    """

    def __init__(self, step: _Step, level: float, draws: int) -> None:
        self.seeds = step.seeds
        generator = step.generator()
        self.rotation = np.sort(_rotated(step.runs, step, draws, generator))
        possible = (step.seeds - 1) * math.lgamma(step.size + 1) >= -math.log(level)
        self.permutation = np.sort(_permuted(step, draws, generator)) if possible else None

    @property
    def _both(self) -> list[Floats]:
        return [self.rotation] if self.permutation is None else [self.rotation, self.permutation]

    def p(self, p: Floats) -> Floats:
        """Return the share of the draws with a smallest p-value of at most this: the larger of the two shares."""
        shares = [(1 + np.searchsorted(null, p * (1 + TIES), "right")) / (1 + len(null)) for null in self._both]
        return np.asarray(np.max(shares, axis=0))


def _rotated(runs: Floats, step: _Step, draws: int, generator: np.random.Generator) -> Floats:
    """Return the smallest p-value of each rotation of the runs."""
    if step.size == 2:
        return np.arange(1, draws + 1) / (draws + 1)  # of a single pair it is uniform
    smallest = np.empty(draws)
    directions = generator.standard_normal((draws, step.seeds))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    squares = _squares(runs.T @ runs, step.pairs)
    for part in _chunks(draws, len(squares)):
        smallest[part] = _smallest(directions[part] @ runs, squares, step)
    return smallest


def _permuted(step: _Step, draws: int, generator: np.random.Generator) -> Floats:
    """Return the smallest p-value of each permutation: of all but the observed one, if they are at most `draws`."""
    n, k = step.runs.shape
    if (n - 1) * math.lgamma(k + 1) <= math.log(draws):
        orders = np.array(list(itertools.permutations(range(k))))
        number = np.indices([len(orders)] * (n - 1)).reshape(n - 1, -1).T[1:]  # the first seed keeps its order
        runs = np.take_along_axis(step.runs[None, 1:], orders[number], axis=-1)
        runs = np.concatenate([np.broadcast_to(step.runs[:1], (len(runs), 1, k)), runs], axis=1)
        return _smallest_of_runs(runs, step)
    smallest = np.empty(draws)
    for part in _chunks(draws, len(step.squares)):
        order = generator.random((part.stop - part.start, *step.runs.shape)).argsort(axis=-1)
        runs = np.take_along_axis(step.runs[None], order, axis=-1)
        smallest[part] = _smallest_of_runs(runs, step)
    return smallest


def _smallest_of_runs(runs: Floats, step: _Step) -> Floats:
    """Return the smallest p-value over the pairs, for each of these runs, `[…, seeds, size]`."""
    squares = _squares(runs.swapaxes(1, 2) @ runs, step.pairs)
    return _smallest(runs.sum(axis=1) / math.sqrt(step.seeds), squares, step)


def _chunks(draws: int, pairs: int) -> list[slice]:
    size = max(1, CHUNK // pairs)
    return [slice(start, min(start + size, draws)) for start in range(0, draws, size)]


def _squares(gram: Floats, pairs: tuple[Any, Any]) -> Floats:
    """Return the sums of squared differences of all pairs, from the sums of products `[…, size, size]`."""
    i, j = pairs
    diagonal = np.einsum("...ii->...i", gram)
    return np.asarray(diagonal[..., i] + diagonal[..., j] - 2 * gram[..., i, j])


def _smallest(products: Floats, squares: Floats, step: _Step) -> Floats:
    """Return the smallest p-value over the pairs, for each row of `products`."""
    sums, variance, df = _moderated(products, squares, step)
    return np.asarray(2 * stdtr(df, -np.sqrt((sums**2 / variance).max(axis=1))))


def _moderated(products: Floats, squares: Floats, step: _Step) -> tuple[Floats, Floats, Floats]:
    """Return d̄ √n and s̃² of all pairs, `[rows, pairs]`, and the degrees of freedom, `[rows]`.

    `products` are those of the runs with a unit vector, `[rows, size]`, `squares` the sums of d².
    """
    i, j = step.pairs
    nu = step.seeds - 1
    sums = products[:, i] - products[:, j]
    variance = np.maximum((squares - sums**2) / nu, step.floor)
    prior_df, prior_variance = prior(variance, nu)
    weight = 1 / (1 + nu / np.maximum(prior_df, 1e-300))
    moderated = variance + weight[:, None] * (prior_variance[:, None] - variance)
    if step.limited:
        moderated = np.maximum(moderated, MIN_OF_MEDIAN * np.median(variance, axis=1, keepdims=True))
    return sums, moderated, np.minimum(prior_df + nu, (step.size - 1) * nu)


def prior(variances: Floats, nu: int, margin: float = 0.0) -> tuple[Floats, Floats]:
    """Return the degrees of freedom d₀ and the variance s₀² of the prior of each row of variances.

    They are fitted by the moments of log s². With e = log s² − ψ(ν/2) + log(ν/2), d₀ solves
    ψ′(d₀/2) = var(e) − ψ′(ν/2), and s₀² = exp(mean(e) + ψ(d₀/2) − log(d₀/2)). d₀ is infinite where the variances vary
    no more than by chance, and 0 for a single one. `margin` is added to var(e), in its standard errors for independent
    variances, ψ′(ν/2) √(2/(m − 1) + ψ‴(ν/2) / (ψ′(ν/2)² m)) for m of them: few variances make a weak prior then.

    Source: Smyth 2004, section 6.2.
    """
    e = np.log(variances) - psi(nu / 2) + math.log(nu / 2)
    mean = e.mean(axis=1)
    if e.shape[1] < 2:
        return np.zeros(len(e)), np.exp(mean)
    m, expected = e.shape[1], float(polygamma(1, nu / 2))
    excess = e.var(axis=1, ddof=1) - expected
    excess += margin * math.sqrt(2 * expected**2 / (m - 1) + float(polygamma(3, nu / 2)) / m)
    half = _inverse_trigamma(np.maximum(excess, 1e-12))
    return np.where(excess > 0, 2 * half, np.inf), np.exp(mean + np.where(excess > 0, psi(half) - np.log(half), 0.0))


def _inverse_trigamma(values: Floats) -> Floats:
    """Return y with ψ′(y) = value, interpolated to a relative precision of about 10⁻⁶."""
    logarithms, arguments = _trigamma_table()
    return np.exp(np.interp(np.log(values), logarithms, arguments))


@lru_cache(maxsize=1)
def _trigamma_table() -> tuple[Floats, Floats]:
    """Return log ψ′(y) in ascending order, and log y."""
    y = np.logspace(13, -8, 20_001)
    return np.log(polygamma(1, y)), np.log(y)
