"""Statistics across combinations: point estimates of rliable, intervals over whole seeds, comparisons of ranks."""

import itertools

import numpy as np
import pytest
from frames import experiments
from scipy import stats as scipy_stats

from initbench import stats


def rliable_scores():
    """Scores whose point estimates by rliable 1.2.0 (arch 7.2.0, pandas 2.3.3) stand in the tests below."""
    generator = np.random.default_rng(7)
    x, y = (np.round(generator.normal(mean, std, (5, 8)), 4) for mean, std in ((0.9, 0.02), (0.89, 0.03)))
    return {"x": list(x.T), "y": list(y.T)}


def jackknife(statistic, scores):
    """The interval that the docstrings describe, in the plainest form; `statistic` takes arrays `[seed]`."""
    n = len(scores["x"][0])
    without = [
        statistic({name: [np.delete(values, i) for values in arrays] for name, arrays in scores.items()})
        for i in range(n)
    ]
    half = scipy_stats.t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * np.sum((without - np.mean(without)) ** 2))
    return [statistic(scores) - half, statistic(scores) + half]


def test_interquartile_means_are_rliables_and_their_intervals_the_jackknifes():
    scores = rliable_scores()
    table = stats.interquartile_means(scores).set_index("initializer")
    assert table["runs"].tolist() == [40, 40]
    assert table["mean"].tolist() == pytest.approx([0.893105, 0.891385], abs=1e-12)
    for name in "xy":
        expected = jackknife(lambda s, name=name: scipy_stats.trim_mean(np.concatenate(s[name]), 0.25), scores)
        assert table.loc[name, ["low", "high"]].tolist() == pytest.approx(expected, abs=1e-12)


def test_performance_profiles_are_rliables_and_their_intervals_the_jackknifes():
    table = stats.profiles(rliable_scores(), [0.85, 0.88, 0.9, 0.92])
    x, y = (rows for _, rows in table.groupby("initializer"))
    assert x["share"].tolist() == pytest.approx([0.975, 0.825, 0.3, 0.05], abs=1e-12)
    assert y["share"].tolist() == pytest.approx([0.95, 0.675, 0.35, 0.15], abs=1e-12)
    expected = jackknife(lambda s: np.mean(np.array(s["y"]) > 0.9), rliable_scores())
    assert y[["low", "high"]].iloc[2].tolist() == pytest.approx(expected, abs=1e-12)


def test_the_probability_of_improvement_is_rliables_and_its_interval_the_jackknifes():
    def probability(scores):
        tests = [scipy_stats.mannwhitneyu(a, b) for a, b in zip(scores["x"], scores["y"], strict=True)]
        return np.mean([test.statistic for test in tests]) / len(scores["x"][0]) ** 2

    table = stats.improvement(rliable_scores()).set_index(["initializer", "other"])
    assert table.loc[("x", "y"), "probability"] == pytest.approx(0.53, abs=1e-12)
    assert table.loc[("y", "x"), "probability"] == pytest.approx(0.47, abs=1e-12)
    assert probability(rliable_scores()) == pytest.approx(0.53, abs=1e-12)
    low, high = jackknife(probability, rliable_scores())
    _, wilson, _ = stats.share_interval(40, 40)  # 1 − 0.912, a little more than the jackknife's half width
    assert (1 - wilson) * 0.9 < (high - low) / 2 < 1 - wilson
    expected = [0.53 - (1 - wilson), 0.53 + (1 - wilson)]
    assert table.loc[("x", "y"), ["low", "high"]].tolist() == pytest.approx(expected, abs=1e-12)
    runs = np.random.default_rng(0).normal(0.8, 0.01, (2, 20))
    wide = {name: [values] * 8 for name, values in zip("xy", runs, strict=True)}  # all combinations share all luck
    interval = stats.improvement(wide, "y")[["low", "high"]].iloc[0].tolist()
    assert interval == pytest.approx(jackknife(probability, wide), abs=1e-12)
    same = stats.improvement({"a": rliable_scores()["x"], "b": rliable_scores()["x"]})
    assert same["probability"].tolist() == pytest.approx([0.5, 0.5])


def luck(generator, experiments, initializers, combinations, seeds, together):
    """Normal scores of which this share of the variance is common to all combinations at a seed."""
    shared = generator.normal(0, np.sqrt(together), (experiments, initializers, 1, seeds))
    return shared + generator.normal(0, np.sqrt(1 - together), (experiments, initializers, combinations, seeds))


@pytest.mark.parametrize(
    ("combinations", "seeds", "together"),
    [(8, 5, 0.0), (8, 5, 0.5), (8, 5, 0.9), (24, 10, 0.5)]
    + [pytest.param(24, 10, together, marks=pytest.mark.slow) for together in (0.0, 0.9)],
)
def test_intervals_across_combinations_cover_whatever_the_combinations_share(combinations, seeds, together):
    """Resampling within combinations covers the interquartile mean in 52% (8, 5, 0.9) and 33% (24, 10, 0.9)."""
    generator = np.random.default_rng(3)
    center = 0.5 + 0.002 * np.arange(combinations)[:, None]
    pooled = np.sort(center + 0.03 * scipy_stats.norm.ppf((np.arange(1000) + 0.5) / 1000), axis=None)
    shares = np.array([0.3, 0.5, 0.9, 0.99])
    truth = np.array(
        [pooled[len(pooled) // 4 : -len(pooled) // 4].mean(), *shares, scipy_stats.norm.cdf(1 / np.sqrt(2))]
    )
    experiments = 200
    covered = np.zeros(len(truth))
    for values in luck(generator, experiments, 2, combinations, seeds, together):
        scores = {"a": list(center + 0.03 * (values[0])), "b": list(center + 0.03 * (values[1] - 1))}
        alone = {"a": scores["a"]}
        tables = (stats.interquartile_means(alone), stats.profiles(alone, np.quantile(pooled, 1 - shares)))
        ends = np.concatenate(
            [table[["low", "high"]] for table in (*tables, stats.improvement(scores, "b"))], dtype=float
        )
        covered += (ends[:, 0] - 1e-12 <= truth) & (truth <= ends[:, 1] + 1e-12)
    assert (covered >= scipy_stats.binom.ppf(0.01, experiments, 0.92)).all(), covered / experiments


def test_a_share_of_zero_or_one_has_an_interval_like_wilsons():
    generator = np.random.default_rng(0)
    runs = 0.9 + 0.01 * generator.uniform(-1, 1, (8, 5))
    alone = stats.profiles({"a": list(runs)}, [0.5, 0.99])  # no run is on the other side: what is shared is unknown
    assert alone["share"].tolist() == [1.0, 0.0]
    low = float(stats.share_interval(5, 5)[1])
    assert alone[["low", "high"]].to_numpy().tolist() == pytest.approx(np.array([[low, 1], [0, 1 - low]]))
    table = stats.profiles({"a": list(runs)}, np.r_[0.5, np.linspace(0.89, 0.91, 20)])
    _, narrowest, _ = stats.share_interval(40, 40)
    assert low < table["low"].iloc[0] <= narrowest + 1e-12  # other thresholds show that combinations share little
    assert table["high"].iloc[0] == 1
    clear = stats.improvement({"a": list(runs), "b": list(runs - 0.1)}, "b")
    assert clear[["probability", "low", "high"]].to_numpy().tolist() == [pytest.approx([1, low, 1])]


def test_intervals_are_unknown_with_one_seed_and_where_nothing_varies():
    single = {"a": [np.array([0.9]), np.array([0.8])], "b": [np.array([0.7]), np.array([0.8])]}
    for table in (stats.interquartile_means(single), stats.profiles(single, [0.75]), stats.improvement(single)):
        assert table[["low", "high"]].isna().all(axis=None)
    assert stats.rank_pairs(single)["difference"].tolist() == [0.5]
    assert stats.rank_pairs(single)["p"].isna().all()
    same = stats.interquartile_means({"a": [np.full(5, 0.1), np.full(5, 0.1)]})
    assert same[["mean", "low", "high"]].to_numpy().tolist() == pytest.approx(
        np.array([[0.1, np.nan, np.nan]]), nan_ok=True
    )
    uneven = {"a": [np.ones(3), np.ones(2)], "b": [np.ones(3), np.ones(2)]}
    for function in (stats.rank_pairs, stats.interquartile_means, stats.improvement):
        with pytest.raises(ValueError, match="the same seeds in every array"):
            function(uneven)


def test_two_initializers_are_compared_by_the_larger_p_of_sign_flips_and_the_t_test():
    generator = np.random.default_rng(2)
    flips = np.array(list(itertools.product([-1, 1], repeat=8)))
    for gap in (0.3, 0.6, 1.0, 1.5):
        scores = {"a": list(generator.normal(gap, 1, (6, 8))), "b": list(generator.normal(0, 1, (6, 8)))}
        by_seed = scipy_stats.rankdata(-np.array(list(scores.values())), axis=0).mean(axis=1)  # [initializers, seeds]
        differences = by_seed[1] - by_seed[0]
        row = stats.rank_pairs(scores).iloc[0]
        assert row["difference"] == pytest.approx(abs(differences.mean()))
        sums = np.abs((flips * differences).sum(axis=1))
        p = scipy_stats.ttest_1samp(differences, 0).pvalue
        if p <= 0.05:
            p = max(p, (sums >= abs(differences.sum()) - 1e-9).mean())
        assert row["p"] == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / 1999) + 1e-3)


@pytest.mark.parametrize("count", [2, 3, 4, 6, 12])
def test_attainable_is_what_the_clearest_order_attains(count):
    for seeds in (1, 3, 4, 5, 6, 7, 8, 9):
        scores = {f"n{i:02}": [np.full(seeds, -i / 100)] * 4 for i in range(count)}
        table = stats.rank_pairs(scores)
        assert table["significant"].tolist() == table["attainable"].tolist()
        assert table["attainable"].tolist() == (table["attainable_from"] <= seeds).tolist()
        ahead = table["worse"].str[1:].astype(int) - table["better"].str[1:].astype(int)
        assert (table.loc[ahead > 1, "attainable_from"] == 5).all()
        assert (table.loc[ahead == 1, "attainable_from"] >= 6).all()  # at five seeds, chance alone orders two in 6%
    assert table["attainable"].all()


@pytest.mark.parametrize(
    ("count", "combinations", "together", "experiments"),
    [(3, 1, 0.0, 120), (3, 8, 0.9, 120), (6, 8, 0.0, 120), (6, 8, 0.9, 120)]
    + [pytest.param(20, *shared, 400, marks=pytest.mark.slow) for shared in ((1, 0.0), (8, 0.9))],
)
@pytest.mark.parametrize("ties", [False, True])
def test_ranks_of_equal_initializers_differ_significantly_in_at_most_5_percent(
    count, combinations, together, experiments, ties
):
    """At five seeds; t-tests of the same ranks with Holm's correction err in 19% (3, 1) and 11% (6, 8, 0.9)."""
    values = luck(np.random.default_rng(1), experiments, count, combinations, 5, together)
    values = np.round(values) if ties else values
    tables = [stats.rank_pairs({f"n{i}": list(v) for i, v in enumerate(runs)}) for runs in values]
    assert sum(table["significant"].any() for table in tables) <= scipy_stats.binom.ppf(0.99, experiments, 0.05)


def test_ranks_of_equal_initializers_among_others_do_not_differ_either():
    """Three groups of equal initializers far apart: all that differ are found, and few that are equal."""
    generator = np.random.default_rng(4)
    errors, shares = 0, []
    for values in luck(generator, 60, 6, 8, 10, 0.9):
        scores = {f"n{i}": list(v - 4 * (i // 2)) for i, v in enumerate(values)}
        table = stats.rank_pairs(scores)
        equal = np.array(
            [int(b[1]) // 2 == int(w[1]) // 2 for b, w in zip(table["better"], table["worse"], strict=True)]
        )
        errors += bool(table.loc[equal, "significant"].any())
        shares.append(table.loc[~equal, "significant"].mean())
    assert errors <= scipy_stats.binom.ppf(0.99, 60, 0.05)
    assert np.mean(shares) > 0.99


def test_five_seeds_find_what_ten_were_needed_for():
    """Six initializers a deviation apart, 8 combinations: sign flips with Holm's correction could find nothing."""
    shares = []
    for values in luck(np.random.default_rng(5), 30, 6, 8, 5, 0.5):
        table = stats.rank_pairs({f"n{i}": list(v - i) for i, v in enumerate(values)})
        shares.append(table["significant"].mean())
    assert np.mean(shares) > 0.5  # of 15 pairs, 5 are neighbours, which take seven seeds


def test_comparisons_of_ranks_do_not_depend_on_the_order_of_the_initializers():
    values = np.round(luck(np.random.default_rng(6), 1, 5, 3, 6, 0.5)[0] - np.arange(5)[:, None, None])
    scores = {name: list(v) for name, v in zip("abcde", values, strict=True)}
    backwards = {name: scores[name] for name in reversed(scores)}
    assert stats.rank_pairs(scores).equals(stats.rank_pairs(backwards))


def test_ranks_of_many_initializers_a_point_apart_at_many_seeds_differ_significantly():
    generator = np.random.default_rng(0)
    scores = {f"n{i:02}": list(0.9 - 0.01 * i + generator.normal(0, 0.001, (4, 20))) for i in range(30)}
    table = stats.rank_pairs(scores)
    assert table["attainable"].all()
    assert table["significant"].all()


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize(("combinations", "together"), [(1, 0.0), (9, 0.9)])
def test_means_over_combinations_of_equal_initializers_differ_significantly_in_at_most_5_percent(
    count, combinations, together
):
    values = luck(np.random.default_rng(1), 80, count, combinations, 5, together)
    tables = [stats.mean_pairs({f"n{i}": list(v) for i, v in enumerate(runs)}) for runs in values]
    assert sum(table["significant"].any() for table in tables) <= scipy_stats.binom.ppf(0.99, 80, 0.05)
    misses = [((table["difference_low"] > 0) | (table["difference_high"] < 0)).any() for table in tables]
    assert sum(misses) <= scipy_stats.binom.ppf(0.99, 80, 0.05)


def test_means_over_combinations_of_two_initializers_are_compared_by_the_paired_t_test():
    for seed in range(5):
        x, y = np.random.default_rng(seed).normal([[[0.5]], [[0.0]]], 1, (2, 6, 5))
        table = stats.mean_pairs({"y": list(y), "x": list(x)}).set_index("initializer")
        test = scipy_stats.ttest_rel(x.mean(axis=0), y.mean(axis=0))
        ends = test.confidence_interval(0.95)
        row = table.loc["x", ["difference", "difference_low", "difference_high"]].tolist()
        assert row == pytest.approx([(x - y).mean(), *ends], abs=1e-12)
        assert table.loc["y", "difference_low"] == pytest.approx(-ends[1], abs=1e-12)
        assert table["significant"].tolist() == [test.pvalue <= 0.05] * 2
        assert table["difference_std"].iloc[0] == pytest.approx((x - y).mean(axis=0).std(ddof=1), abs=1e-12)
        assert table[["combinations", "seeds", "comparisons"]].to_numpy().tolist() == [[6, 5, 1]] * 2


def test_means_over_combinations_find_which_of_several_initializers_differ():
    values = luck(np.random.default_rng(3), 1, 5, 9, 5, 0.5)[0] - 8 * (np.arange(5) == 2)[:, None, None]
    scores = {f"n{i}": list(v) for i, v in enumerate(values)}
    table = stats.mean_pairs(scores)
    assert table.equals(stats.mean_pairs(dict(reversed(scores.items()))))
    with_the_worse = (table["initializer"] == "n2") | (table["other"] == "n2")
    assert table.loc[with_the_worse, "significant"].all()
    assert not table.loc[~with_the_worse, "significant"].any()


def test_intervals_of_pairs_hold_for_several_combinations_together():
    test = np.random.default_rng(2).normal(0.9, 0.01, (3, 2, 5))
    frame = experiments(test)
    for combinations in (1, 4, 200):  # from 101 on, by Bonferroni's correction, which of one pair is the same
        table = stats.pairs(frame, ["activation"], combinations=combinations)
        rows = table[table["initializer"] == "b"]
        for (_, row), (a, b) in zip(rows.iterrows(), test, strict=True):
            ends = scipy_stats.ttest_rel(a, b).confidence_interval(1 - 0.05 / combinations)
            assert [row["difference_low"], row["difference_high"]] == pytest.approx(list(ends), abs=1e-9)
