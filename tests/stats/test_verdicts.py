"""The comparison of initializers: two resampling tests that step down, the regret bound and the leader's interval."""

import itertools

import numpy as np
import pytest
from frames import experiments, frame_of
from scipy import optimize, special
from scipy import stats as scipy_stats

from initbench import stats
from initbench.stats._stepdown import _Null, _Step, prior, step_down

MNIST_ROUNDING = 1e-4 / np.sqrt(6)


def limit(count, share=0.05):
    """The 99% point of the number of claims in this many experiments, if each claims with this probability."""
    return int(scipy_stats.binom.ppf(0.99, count, share))


def share_that_claims(experiments, resolution=MNIST_ROUNDING):
    return np.mean([(step_down(values, resolution, draws=199).worse_than >= 0).any() for values in experiments])


def plain_smallest_p(runs, floor):
    """The statistic, in loops: the smallest p-value of the moderated t over the pairs of `[seeds][initializers]`."""
    n, k = runs.shape
    nu = n - 1
    differences = [runs[:, i] - runs[:, j] for i, j in itertools.combinations(range(k), 2)]
    variances = np.array([max(d.var(ddof=1), floor**2) for d in differences])
    e = np.log(variances) - special.digamma(nu / 2) + np.log(nu / 2)
    excess = e.var(ddof=1) - special.polygamma(1, nu / 2)
    if excess > 0:
        half = np.exp(optimize.brentq(lambda y: special.polygamma(1, np.exp(y)) - excess, -15, 25, xtol=1e-13))
        d0, s02 = 2 * half, np.exp(e.mean() + special.digamma(half) - np.log(half))
        moderated = (d0 * s02 + nu * variances) / (d0 + nu)
    else:
        d0, moderated = np.inf, np.full(len(e), np.exp(e.mean()))
    moderated = np.maximum(moderated, np.median(variances) / 2)
    t = [abs(d.mean()) * np.sqrt(n / s2) for d, s2 in zip(differences, moderated, strict=True)]
    return min(2 * scipy_stats.t.sf(value, min(d0 + nu, (k - 1) * nu)) for value in t)


def test_both_null_distributions_are_those_of_the_plain_statistic_in_loops():
    generator = np.random.default_rng(4)
    runs = 0.9 + generator.normal(0, 0.01, (4, 3)) + np.array([0, 0, 0.02])
    step = _Step(runs, MNIST_ROUNDING)
    assert step.p.min() == pytest.approx(plain_smallest_p(runs, MNIST_ROUNDING), rel=1e-5)
    null = _Null(step, 0.05, 1999)
    orders = [list(order) for order in itertools.permutations(range(3))]
    permuted = [
        plain_smallest_p(np.array([runs[0], *(row[order] for row, order in zip(runs[1:], chosen, strict=True))]), 1e-9)
        for chosen in itertools.product(orders, repeat=3)
    ]
    assert null.permutation.tolist() == pytest.approx(np.sort(permuted[1:]).tolist(), rel=1e-5)
    rotated = [plain_smallest_p(rotation(generator, 4) @ runs, MNIST_ROUNDING) for _ in range(800)]
    assert scipy_stats.ks_2samp(rotated, null.rotation).pvalue > 1e-3
    shares = [
        (1 + (values <= step.p.min() * (1 + 1e-9)).sum()) / (1 + len(values))
        for values in (null.rotation, null.permutation)
    ]
    assert step_down(runs, MNIST_ROUNDING).p.max() == pytest.approx(max(shares))


def rotation(generator, n):
    """A random rotation or reflection of n seeds, uniformly distributed."""
    q, r = np.linalg.qr(generator.normal(size=(n, n)))
    return q * np.sign(np.diag(r))


def test_the_prior_recovers_the_distribution_from_which_variances_were_drawn():
    """Smyth's model: σ² = d₀ s₀² / χ²(d₀), s² = σ² χ²(ν) / ν."""
    generator = np.random.default_rng(0)
    sigma2 = 6 * 0.04 / generator.chisquare(6, 200_000)
    d0, s02 = prior((sigma2 * generator.chisquare(4, 200_000) / 4)[None], 4)
    assert d0[0] == pytest.approx(6, rel=0.03)
    assert s02[0] == pytest.approx(0.04, rel=0.01)
    d0, s02 = prior((0.04 * generator.chisquare(4, (50, 400)) / 4), 4)
    assert np.isinf(d0).mean() > 0.2  # where all are equal, the moments are about as often below zero
    assert np.median(s02) == pytest.approx(0.04, rel=0.02)
    assert prior(np.array([[0.3]]), 4)[0].tolist() == [0.0]


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        pytest.param((46, 3), 150, marks=pytest.mark.slow),
        pytest.param((46, 5), 150, marks=pytest.mark.slow),
        ((20, 3), 60),
        ((6, 5), 300),
        ((3, 5), 300),
        ((6, 3), 300),
    ],
)
@pytest.mark.parametrize("kind", ["plateaus", "half at chance", "500 images", "one five times as noisy"])
def test_equal_initializers_differ_significantly_in_at_most_5_percent_of_any_shape(kind, shape, count):
    """By t-tests of all pairs: 10 to 35% on plateaus, 16 to 80% with half at chance, 30 to 97% at 500 images."""
    k, n = shape
    generator = np.random.default_rng(k * n)
    size = (count, n, k)
    normal = generator.normal(size=size)
    images = 500 if kind == "500 images" else 10_000
    noisy = np.where(np.arange(k) == 0, 5, 1)
    values = {
        "plateaus": lambda: 0.83 + 0.002 * normal - 0.09 * (generator.random(size) < 0.4),
        "half at chance": lambda: np.where(generator.random(size) < 0.5, 0.1135, 0.9 + 0.003 * normal),
        "500 images": lambda: 0.95 + normal / 500,
        "one five times as noisy": lambda: 0.95 + 0.003 * normal * noisy,
    }[kind]()
    claiming = share_that_claims(np.round(values * images) / images, 1 / images / np.sqrt(6))
    assert claiming * count <= limit(count)


@pytest.mark.parametrize("shape", [(6, 3), (20, 3), pytest.param((46, 5), marks=pytest.mark.slow)])
def test_where_half_of_the_runs_are_at_chance_no_false_difference_is_claimed_beside_true_ones(shape):
    """Every second initializer is ten points lower. Without the limit at the median variance: 14%, 61% and 48%."""
    k, n = shape
    generator = np.random.default_rng(9)
    means = np.where(np.arange(k) % 2, 0.8, 0.9)
    false_claims, count = 0, 60
    for _ in range(count):
        values = np.where(generator.random((n, k)) < 0.5, 0.1135, means + generator.normal(0, 0.003, (n, k)))
        worse_than = step_down(values, MNIST_ROUNDING, draws=199).worse_than
        false_claims += ((worse_than >= 0) & (means[worse_than] <= means)).any()
    assert false_claims <= limit(count)


@pytest.mark.parametrize("images", [1000, 0])
def test_accuracies_of_a_small_test_set_that_differ_by_an_image_are_no_finding(images):
    """The paired t-test with the rounding of 10,000 images claims p = 0.0006. Without a number it is estimated."""
    frame = frame_of({"a": [0.970, 0.972, 0.969], "b": [0.969, 0.971, 0.968]}, dataset="small")
    chance = {"small": stats.Chance(0.1, 0.1, 5000, images)}
    assert not stats.verdicts(frame, [], chance=chance)["significant"].any()
    rounding = stats.resolution(frame, "test_accuracy", chance)
    assert rounding == pytest.approx(1e-3 / np.sqrt(6))
    assert stats.verdicts(frame, [], chance=chance)["difference_std"].dropna().tolist() == pytest.approx([rounding])


def test_equal_differences_of_one_image_are_no_finding_and_those_of_two_are():
    single, double = ({"a": [0.9, 0.91, 0.92, 0.905, 0.915]} for _ in range(2))
    single["b"], double["b"] = ([round(x - images / 10_000, 4) for x in single["a"]] for images in (1, 2))
    assert not stats.verdicts(frame_of(single), [])["significant"].any()
    assert stats.verdicts(frame_of(double), []).set_index("initializer")["significant"].to_dict() == {
        "a": False,
        "b": True,
    }


def test_each_loser_has_the_initializer_that_it_lost_to_and_an_interval_without_zero():
    generator = np.random.default_rng(1)
    means = {"a": 0.95, "b": 0.949, "c": 0.93, "d": 0.90}
    frame = frame_of({name: mean + generator.normal(0, 0.002, 5) for name, mean in means.items()})
    table = stats.verdicts(frame, []).set_index("initializer")
    assert table["significant"].to_dict() == {"a": False, "b": False, "c": True, "d": True}
    for name in "cd":
        row = table.loc[name]
        assert row["worse_than"] in "ab"
        assert row["worse_by"] == pytest.approx(table.loc[row["worse_than"], "mean_all"] - row["mean_all"])
        assert 0 <= row["worse_by_low"] < row["worse_by"] < row["worse_by_high"]
        assert row["p"] <= 0.05
    assert table.loc["b", "p"] > 0.05
    assert table.loc["b", "difference_low"] * table.loc["b", "difference_high"] < 0
    assert table.loc["b", "rotation_only"]  # two are left at five seeds
    assert not table.loc["d", "rotation_only"]


@pytest.mark.parametrize(("k", "n", "gap"), [(3, 5, 2), (3, 5, 30), (6, 5, 0.5), (6, 3, 2), (20, 5, 2)])
def test_the_intervals_of_all_differences_hold_together(k, n, gap):
    """Means that fall by `gap` standard deviations from one to the next: how often does any of the intervals miss?"""
    generator = np.random.default_rng(k + n)
    means = 0.9 - 0.003 * gap * np.arange(k)
    true, count, missed = means[:, None] - means, 100, 0
    for _ in range(count):
        result = step_down(means + generator.normal(0, 0.003, (n, k)), MNIST_ROUNDING, draws=399)
        missed += ((result.low > true + 1e-12) | (result.high < true - 1e-12)).any()
        losers = np.flatnonzero(result.worse_than >= 0)
        assert (result.low[result.worse_than[losers], losers] >= 0).all()
        rest = np.flatnonzero(result.worse_than < 0)
        assert not (result.low[np.ix_(rest, rest)] > 0).any()
    assert missed <= limit(count)


def test_the_interval_of_two_quiet_initializers_does_not_show_the_spread_of_noisy_ones():
    generator = np.random.default_rng(10)
    spreads = {"a": 0.001, "b": 0.001, "c": 0.05, "d": 0.05, "e": 0.05}
    frame = frame_of({name: 0.9 + generator.normal(0, spread, 5) for name, spread in spreads.items()})
    table = stats.pairs(frame, []).set_index(["initializer", "other"])
    width = table["difference_high"] - table["difference_low"]
    assert width["a", "b"] < 0.4 * width["a", "c"]  # with the limit at the median variance, they are the same


def test_without_a_leader_no_cost_is_bounded():
    table = stats.verdicts(frame_of({"a": [None] * 5, "b": [None] * 5}), [], equivalent_within=0.2)
    assert table["regret_bound"].isna().all()
    assert not table["equivalent"].any()


def test_nothing_depends_on_the_order_of_the_rows():
    generator = np.random.default_rng(2)
    frame = frame_of({name: 0.9 + generator.normal(0, 0.01, 5) - 0.01 * i for i, name in enumerate("badc")})
    table = stats.verdicts(frame, []).set_index("initializer").sort_index()
    shuffled = stats.verdicts(frame.sample(frac=1, random_state=1), []).set_index("initializer").sort_index()
    columns = ["p", "significant", "worse_by_low", "difference_low", "regret_bound"]
    assert table[columns].equals(shuffled[columns])


def test_an_initializer_with_a_run_that_is_missing_is_compared_over_the_common_seeds():
    generator = np.random.default_rng(3)
    frame = frame_of({"a": 0.95 + generator.normal(0, 0.001, 6), "b": 0.9 + generator.normal(0, 0.001, 6)})
    table = stats.verdicts(frame.iloc[:-2], []).set_index("initializer")
    assert table.loc["b", ["significant", "pairs"]].tolist() == [True, 4]
    expected = np.mean(frame["test_accuracy"].to_numpy()[:4] - frame["test_accuracy"].to_numpy()[6:10])
    assert table.loc["b", "worse_by"] == pytest.approx(expected)
    lacking = frame.iloc[:7].assign(dataset="mnist")  # a single run of b
    assert not stats.verdicts(lacking, [])["significant"].any()


@pytest.mark.slow
def test_the_interval_of_the_leader_covers_although_it_was_selected():
    """Of 10 equal initializers, the leader's plain 95% interval covers about 87%."""
    generator = np.random.default_rng(5)
    count = 150
    table = stats.verdicts(experiments(0.9 + generator.normal(0, 0.003, (count, 10, 5))), ["activation"])
    leaders = table[table["leader"]]
    assert len(leaders) == count
    covered = (leaders["all_low"] <= 0.9) & (leaders["all_high"] >= 0.9)
    assert (~covered).sum() <= limit(count)
    half = leaders["all_high"] - leaders["mean_all"]
    plain = (leaders["mean_all"] - half <= 0.9) & (leaders["all_high"] >= 0.9)
    assert plain.mean() < 0.92
    expected = half * scipy_stats.t.ppf(1 - 0.025 / 10, 4) / scipy_stats.t.ppf(0.975, 4)
    assert (leaders["mean_all"] - leaders["all_low"]).tolist() == pytest.approx(expected.tolist())
    others = table[~table["leader"]]
    assert (others["mean_all"] - others["all_low"]).tolist() == pytest.approx(
        (others["all_high"] - others["mean_all"]).tolist()
    )


@pytest.mark.slow
def test_the_regret_bound_covers_whatever_was_selected():
    generator = np.random.default_rng(6)
    means = np.array([0.905, 0.904, 0.903, 0.9, 0.9, 0.89])
    count = 150
    values = means[:, None] + generator.normal(0, 0.004, (count, 6, 5))
    table = stats.verdicts(experiments(values), ["activation"], equivalent_within=0.5)
    regret = means.max() - means[table["initializer"].map("abcdef".index)]
    missed = (table["regret_bound"] < regret).groupby(table["activation"]).any()
    assert missed.sum() <= limit(count)  # of any of the six
    assert (table["regret_bound"] < regret)[table["leader"]].mean() <= 0.02
    assert (table["equivalent"] == (table["regret_bound"] <= 0.005)).all()
    first = table[table["activation"] == 0].reset_index(drop=True)
    differences = values[0] - values[0][3]
    upper = differences.mean(axis=1) + scipy_stats.t.ppf(1 - 0.05 / 30, 4) * differences.std(axis=1, ddof=1) / 5**0.5
    assert first.loc[3, "regret_bound"] == pytest.approx(max(0, upper[~first["significant"]].max()))
    assert first["significant"].any()
    assert not stats.verdicts(experiments(values[:1]), ["activation"])["equivalent"].any()  # not declared


def test_over_many_combinations_the_claims_are_those_of_bonferroni():
    generator = np.random.default_rng(7)
    values = np.array([0.9, 0.88])[:, None] + generator.normal(0, 0.002, (120, 2, 5))
    table = stats.verdicts(experiments(values), ["activation"]).query("initializer == 'b'")
    p = scipy_stats.ttest_rel(values[:, 0], values[:, 1], axis=1).pvalue
    assert table["significant_overall"].tolist() == (p <= 0.05 / 120).tolist()
    assert 0.05 < table["significant_overall"].mean() < 0.95


@pytest.mark.slow
def test_twice_as_many_of_46_real_losers_are_found_as_by_t_tests():
    """Means that fall by 0.05 points from one initializer to the next, as those of 46 initializers may."""
    generator = np.random.default_rng(8)
    count_found, by_t_tests = [], []
    for _ in range(10):
        values = 0.97 - 0.0008 * np.arange(46) + generator.normal(0, 0.003, (5, 46))
        count_found.append((step_down(values, MNIST_ROUNDING, draws=199).worse_than >= 0).sum())
        p = np.array([scipy_stats.ttest_rel(values[:, [0]], values[:, 1:]).pvalue])
        by_t_tests.append((p * 1035 <= 0.05).sum())
    assert np.mean(count_found) > 2 * np.mean(by_t_tests) > 0
