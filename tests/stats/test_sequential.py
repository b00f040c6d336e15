"""Seeds until it is certain: comparisons that hold at every look, and the half-widths of means."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from frames import frame_of
from scipy import integrate
from scipy import stats as scipy_stats

from initbench import stats
from initbench.stats._means import half_width
from initbench.stats._sequential import PRIOR_SEEDS, critical_t, log_e_value

COMBINATION = ["activation", "loss"]
IMAGE = 1e-4


def by_name(frame, **options):
    return stats.decisions(frame, COMBINATION, **options).set_index("initializer")


def normal(count, mean=0.97, std=0.001, seed=0):
    return list(mean + std * np.random.default_rng(seed).normal(size=count))


@pytest.mark.parametrize(("n", "t"), [(2, 3.0), (5, 2.0), (12, 3.5), (40, -1.0)])
def test_the_e_value_is_the_likelihood_ratio_of_t(n, t):
    def density(effect):
        weight = scipy_stats.norm.pdf(effect, 0, 1 / math.sqrt(PRIOR_SEEDS))
        return scipy_stats.nct.pdf(t, n - 1, effect * math.sqrt(n)) * weight

    ratio = integrate.quad(density, -6, 6, limit=400)[0] / scipy_stats.t.pdf(t, n - 1)
    assert math.exp(log_e_value(np.array(t), np.array(n))) == pytest.approx(ratio, rel=1e-6)


@pytest.mark.parametrize("comparisons", [1, 15, 1035])
def test_the_interval_excludes_exactly_what_the_e_value_finds_significant(comparisons):
    n = np.arange(2, 500)
    t = critical_t(n, comparisons)
    finite = np.isfinite(t)
    assert log_e_value(t[finite], n[finite]) == pytest.approx(math.log(comparisons / 0.05), abs=1e-9)
    # With n seeds, no e-value reaches b^((1 − n) / 2), its limit for large t.
    assert (finite == (0.5 * (n - 1) * np.log((n + PRIOR_SEEDS) / PRIOR_SEEDS) > math.log(comparisons / 0.05))).all()
    assert n[finite][0] == {1: 8, 15: 11, 1035: 16}[comparisons]  # as the docstring says


def test_a_difference_at_the_end_of_its_interval_is_just_significant():
    first, second = normal(20), normal(20, 0.9695, 0.002, seed=1)
    row = by_name(frame_of({"a": first, "b": second})).loc["b"]
    assert row["difference"] == pytest.approx(np.mean(first) - np.mean(second), abs=1e-15)
    for end, sign in (("difference_low", 1), ("difference_high", -1)):
        half = row["difference"] - row[end]
        for factor, significant in ((1 - 1e-9, False), (1 + 1e-9, True)):
            shifted = [x + row["difference"] - factor * half for x in second]
            table = by_name(frame_of({"a": first, "b": shifted}))
            loser = table.loc["b" if sign > 0 else "a"]
            assert loser["significant"] == significant
            assert loser["e_value"] == pytest.approx(loser["e_needed"], rel=1e-6)


def looked_at(values, looks, wrong):
    """The share of experiments, `[experiments, seeds]` differences, in which `wrong(t, n)` is true at some look."""
    n = np.arange(1, values.shape[1] + 1)
    mean = values.cumsum(axis=1) / n
    std = np.sqrt(((values**2).cumsum(axis=1) - n * mean**2) / np.maximum(n - 1, 1))
    at = np.asarray(looks) - 1
    return wrong(mean[:, at] * np.sqrt(n[at]) / std[:, at], n[at])


def test_looking_again_errs_today_and_not_with_the_e_value():
    experiments = 4000
    differences = np.random.default_rng(0).normal(size=(experiments, 400))

    def significant(t, n):
        return log_e_value(t, n) >= math.log(1 / 0.05)

    def significant_today(t, n):
        return np.abs(t) > scipy_stats.t.ppf(0.975, n - 1)

    def errors(looks, test):
        return looked_at(differences, looks, test).any(axis=1).mean()

    assert errors(np.arange(2, 401), significant) * experiments <= scipy_stats.binom.ppf(0.99, experiments, 0.05)
    assert errors([5], significant_today) == pytest.approx(0.05, abs=0.01)
    assert 0.16 <= errors([5, 10, 20, 40, 80], significant_today) <= 0.2
    assert 0.3 <= errors(np.arange(3, 81), significant_today) <= 0.4


def test_six_initializers_with_plateaus_err_in_at_most_5_percent_over_100_looks():
    experiments = 1000
    generator = np.random.default_rng(1)
    first, second = np.triu_indices(6, 1)
    runs = generator.normal(size=(100, experiments, 6)) - 30 * (generator.random((100, experiments, 6)) < 0.3)
    is_wrong = np.zeros(experiments, bool)
    for i, j in zip(first, second, strict=True):
        differences = (runs[:, :, i] - runs[:, :, j]).T
        is_wrong |= looked_at(differences, np.arange(2, 101), lambda t, n: log_e_value(t, n) >= math.log(300)).any(
            axis=1
        )
    assert is_wrong.sum() <= scipy_stats.binom.ppf(0.99, experiments, 0.05)


def test_it_takes_27_seeds_where_a_fixed_number_takes_19():
    differences = np.random.default_rng(0).normal(1.0, 1.0, size=(4000, 200))
    looks = np.arange(5, 201, 5)
    significant = looked_at(differences, looks, lambda t, n: log_e_value(t, n) >= math.log(15 / 0.05))
    assert significant.any(axis=1).all()
    assert looks[significant.argmax(axis=1)].mean() == pytest.approx(27, abs=0.5)
    assert stats.seeds_needed(1.0, 1.0, 15) == 19


def trained_until_decided(runs, maximum, batch=5, **options):
    """The looks of an experiment that adds seeds until it is decided: `runs` has all that could be trained."""
    open_names, seeds, tables = list(runs), dict.fromkeys(runs, 0), []
    for n in range(batch, maximum + 1, batch):
        seeds |= dict.fromkeys(open_names, n)
        tables.append(by_name(frame_of({name: runs[name][: seeds[name]] for name in runs}), **options))
        open_names = [name for name in runs if not tables[-1].loc[name, "decided"]]
        if not open_names:
            break
    return tables


def test_what_was_significantly_worse_at_a_look_is_so_at_every_later_one():
    for seed in range(3):
        means = {"a": 0.97, "b": 0.9697, "c": 0.968, "d": 0.96, "e": 0.96}
        runs = {name: normal(60, mean, seed=10 * seed + i) for i, (name, mean) in enumerate(means.items())}
        tables = trained_until_decided(runs, 60)
        for before, after in itertools.pairwise(tables):
            losers = before.index[before["significant"]]
            assert after.loc[losers, "significant"].all()
            assert (after.loc[losers, "seeds"] == before.loc[losers, "seeds"]).all()
            assert (after.loc[losers, "e_value"] >= after.loc[losers, "e_needed"]).all()
        assert tables[-1].loc[["d", "e"], "significant"].all()
        assert tables[-1].loc["d", "seeds"] < tables[-1]["seeds"].max()


def test_later_seeds_of_the_winner_do_not_change_the_row_of_the_loser():
    winner, loser = normal(30), normal(10, 0.96, seed=1)
    short, long = (by_name(frame_of({"a": winner[:n], "b": loser})).loc["b"] for n in (10, 30))
    assert short.equals(long)
    assert short["pairs"] == short["seeds"] == 10
    assert short["significant"]
    assert 0 < short["worse_by_low"] < short["worse_by"] < short["worse_by_high"]


def test_the_order_of_the_rows_and_their_columns_types_do_not_matter():
    frame = frame_of({"a": normal(20), "b": normal(12, 0.9695, seed=1), "c": normal(20, 0.968, seed=2)})
    expected = by_name(frame).drop(columns=COMBINATION)
    for other in (frame.iloc[::-1], frame.sample(frac=1, random_state=0), frame.astype({"initializer": "category"})):
        pd.testing.assert_frame_equal(by_name(other).drop(columns=COMBINATION).loc[expected.index], expected)


def test_the_comparison_is_two_sided():
    better, worse = normal(15), normal(15, 0.967, seed=1)
    forward, backward = by_name(frame_of({"a": better, "b": worse})), by_name(frame_of({"a": worse, "b": better}))
    assert forward["significant"].tolist() == [False, True]
    assert forward.loc["b", "worse_than"] == "a"
    assert forward.rename(index={"a": "b", "b": "a"}).loc[["a", "b"], "e_value"].equals(backward["e_value"])
    assert forward["leader"].tolist() == backward["leader"].tolist()[::-1] == [True, False]


def test_one_seed_and_one_initializer():
    table = by_name(frame_of({"a": [0.9], "b": [0.5]}))
    assert not table[["significant", "decided"]].to_numpy().any()
    assert table.loc["b", ["difference", "difference_low", "difference_high"]].tolist() == pytest.approx(
        [0.4, -np.inf, np.inf]
    )
    assert table["regret_bound"].isna().all()
    alone = by_name(frame_of({"a": [0.9, 0.8]})).loc["a"]
    assert alone["decided"]
    assert alone["leader"]
    assert not alone["significant"]
    empty = stats.decisions(frame_of({"a": [0.9]}).iloc[:0], COMBINATION)
    assert empty.columns.tolist() == stats.decisions(frame_of({"a": [0.9]}), COMBINATION).columns.tolist()


def test_seeds_that_none_of_two_share_say_nothing():
    frame = frame_of({"a": normal(20), "b": normal(20, 0.5)})
    apart = frame[(frame["initializer"] == "a") == (frame["seed"] < 10)]
    table = by_name(apart)
    assert not table["decided"].any()
    assert table.loc["b", "pairs"] == 0
    assert np.isnan(table.loc["b", "difference"])
    assert table["regret_bound"].tolist() == [np.inf, np.inf]


def test_identical_differences_of_one_image_at_few_seeds_are_no_finding():
    for count in (3, 5, 7):
        accuracies = np.round(normal(count), 4)
        table = by_name(frame_of({"a": list(accuracies), "b": list(accuracies - IMAGE)}))
        assert not table["significant"].any()
    assert not by_name(frame_of({"a": [0.97] * 200, "b": [0.97] * 200}))["decided"].any()


def test_an_initializer_whose_runs_all_failed_loses_and_cannot_lead():
    table = by_name(frame_of({"broken": [None] * 10, "a": normal(10), "b": normal(10)}))
    assert table.loc["broken", ["failed", "significant", "decided", "leader"]].tolist() == [10, True, True, False]
    assert table.loc["broken", "difference"] == pytest.approx(np.mean(normal(10)) - 0.1135)
    few = by_name(frame_of({"broken": [None] * 5, "a": normal(5)}))
    assert few["leader"].tolist() == [False, True]
    assert not few["decided"].any()  # two cannot be decided with fewer than eight seeds


def test_where_every_run_failed_nothing_is_compared_and_no_seed_is_missing():
    table = by_name(frame_of({"a": [None] * 10, "b": [0.11] * 10, "c": [0.05] * 10}))
    assert not table[["leader", "significant"]].to_numpy().any()
    assert table["decided"].all()


def test_the_rest_is_decided_where_only_one_is_left_or_all_are_equivalent():
    runs = {"a": normal(20), "b": normal(20, 0.9695, seed=1), "c": normal(10, 0.96, seed=2)}
    table = by_name(frame_of(runs))
    assert table["decided"].tolist() == [False, False, True]
    assert table["leader"].tolist() == [True, False, False]
    row = table.loc["b"]
    assert table.loc["a", "regret_bound"] == pytest.approx(max(0, -row["difference_low"]))
    assert row["regret_bound"] == row["difference_high"]
    assert table.loc["c", "regret_bound"] >= table.loc["c", "worse_by_high"]
    for factor, settled in ((1 + 1e-9, True), (1 - 1e-9, False)):
        table = by_name(frame_of(runs), equivalent_within=100 * factor * row["difference_high"])
        assert table["decided"].tolist() == [settled, settled, True]
        assert table["equivalent"].tolist() == [True, settled, False]
    assert by_name(frame_of(runs | {"b": normal(20, 0.966, seed=1)}))["decided"].all()


def test_combinations_are_decided_on_their_own():
    frames = [
        frame_of({"a": normal(10), "b": normal(10, 0.96, seed=1)}, activation="relu"),
        frame_of({"a": normal(10), "b": normal(10, 0.9699, seed=1)}, activation="tanh"),
    ]
    table = stats.decisions(pd.concat(frames), COMBINATION)
    assert table["activation"].tolist() == ["relu", "relu", "tanh", "tanh"]
    assert table["decided"].tolist() == [True, True, False, False]


def test_the_half_width_is_that_of_the_results():
    frame = frame_of({"a": normal(12), "b": [0.97, 0.971, 0.972, None], "c": [0.97] * 5, "d": [0.97]})
    table = stats.half_widths(frame, ["initializer"]).set_index("initializer")
    results = stats.results(frame, ["initializer"]).set_index("initializer")
    assert table.loc["a", "half_width"] == pytest.approx(results.loc["a", "all_high"] - results.loc["a", "mean_all"])
    assert table["mean"].equals(results["mean_all"].rename("mean"))
    assert table["blocked"].tolist() == [False, True, False, False]
    # Equal values: the rounding error of 10,000 images.
    assert table.loc["c", "half_width"] == pytest.approx(2.776 * IMAGE / math.sqrt(12 * 5), rel=1e-3)
    assert np.isnan(table.loc["d", "half_width"])


def test_half_widths_are_those_of_any_data_set():
    frame = frame_of({"a": [0.41, 0.42, 0.45], "b": [0.5, 0.5, 0.5]}, dataset="other")
    chance = {"other": stats.Chance(0.43, 0.43, 5000, 500)}
    table = stats.half_widths(frame, ["initializer"], chance=chance).set_index("initializer")
    rounding = half_width(np.array(1 / (500 * math.sqrt(12))), np.array(3))
    np.testing.assert_allclose(
        table["half_width"], [half_width(np.std([0.41, 0.42, 0.45], ddof=1), np.array(3)), rounding]
    )
    assert table["failed"].tolist() == [3, 0]  # 45.1% is the limit of chance


def test_clean_runs_do_not_exclude_a_small_share_of_failures():
    table = stats.half_widths(frame_of({"a": normal(10), "b": normal(59)}), ["initializer"])
    assert table["excluded_share"].tolist() == pytest.approx([0.2589, 0.0495], abs=1e-4)
    share = table["excluded_share"].to_numpy()
    assert (1 - share) ** table["seeds"].to_numpy() == pytest.approx(0.05, abs=1e-12)


@pytest.mark.parametrize(
    ("draw", "mean", "width", "requested", "own"),
    [
        (lambda g, shape: g.normal(size=shape), 0.0, 0.5, 0.96, 0.94),
        (lambda g, shape: g.exponential(size=shape), 1.0, 0.33, 0.885, 0.86),
        (lambda g, shape: 0.97 + 0.002 * g.normal(size=shape) - 0.86 * (g.random(shape) < 0.1), 0.884, 0.05, 0.6, 0.6),
    ],
    ids=["normal", "exponential", "a tenth failing"],
)
def test_the_half_width_rule_covers_what_the_docstring_says(draw, mean, width, requested, own):
    values = draw(np.random.default_rng(0), (4000, 200))
    covers, stopped, seeds = np.zeros((2, 4000), bool), np.zeros(4000, bool), np.zeros(4000)
    for n in range(10, 201, 5):
        runs = values[:, :n]
        half = half_width(runs.std(axis=1, ddof=1), np.array(n))
        now = ~stopped & ((half <= width) | (n == 200))
        error = np.abs(runs.mean(axis=1) - mean)
        covers[0, now], covers[1, now] = (error <= np.maximum(half, width))[now], (error <= half)[now]
        seeds[now] = n
        stopped |= now
    assert covers.mean(axis=1) == pytest.approx([requested, own], abs=0.02)
    if requested > 0.95:
        assert seeds.mean() == pytest.approx(19.5, abs=0.5)  # a fixed number takes 18: 2.11 / √18 = 0.5
