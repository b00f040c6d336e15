"""The statistics, against SciPy, published quantiles, and simulation."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from frames import experiments, frame_of
from scipy import stats as scipy_stats

from initbench import stats


def test_the_interval_is_scipys():
    x = np.random.default_rng(0).normal(size=7)
    mean, low, high = stats.mean_interval(x)
    expected = scipy_stats.ttest_1samp(x, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((x.mean(), expected.low, expected.high), rel=1e-12)


def test_the_interval_is_that_of_the_tables():
    # Student's t, 97.5% points as printed in every table: 12.706 at 1 degree of freedom, 2.776 at 4.
    for x, quantile in (([0.0, 2.0], 12.706), ([1.0, 2.0, 3.0, 4.0, 5.0], 2.776)):
        mean, low, high = stats.mean_interval(x)
        half = quantile * np.std(x, ddof=1) / np.sqrt(len(x))
        assert (mean - low, high - mean) == pytest.approx((half, half), rel=3e-4)  # the tables round to three decimals


def test_the_interval_covers_where_the_percentile_bootstrap_does_not():
    generator = np.random.default_rng(0)
    samples = generator.normal(size=(4000, 5))
    covered = np.mean([low <= 0 <= high for _, low, high in map(stats.mean_interval, samples)])
    assert covered == pytest.approx(0.95, abs=0.015)
    resampled = samples[np.arange(4000)[:, None, None], generator.integers(0, 5, (4000, 400, 5))].mean(axis=2)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(0.82, abs=0.02)  # what the docstring says


@pytest.mark.parametrize("values", [[], [np.nan], [0.3], [0.3, np.nan]])
def test_fewer_than_two_values_have_no_interval(values):
    mean, low, high = stats.mean_interval(values)
    assert np.isnan(low)
    assert np.isnan(high)
    assert np.isnan(mean) == (0.3 not in values)


def test_equal_values_have_an_interval_without_width():
    assert stats.mean_interval([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_a_summary_counts_the_diverged_and_averages_the_rest():
    frame = frame_of({"a": [0.5, 0.7, None], "b": [None, None, None]})
    table = stats.summary(frame, ["initializer"]).set_index("initializer")
    assert table.loc["a", ["seeds", "diverged"]].tolist() == [3, 1]
    assert table.loc["a", "mean"] == pytest.approx(0.6)
    _, low, high = stats.mean_interval([0.5, 0.7])
    assert table.loc["a", ["low", "high"]].tolist() == pytest.approx([low, high])
    assert table.loc["b", ["seeds", "diverged"]].tolist() == [3, 3]
    assert np.isnan(table.loc["b", "mean"])


def test_results_are_three_answers_and_not_one():
    frame = frame_of({"a": [0.5, 0.7, None, 0.11], "b": [None, None], "c": [0.5, 0.7]})
    table = stats.results(frame, ["initializer"]).set_index("initializer")
    assert table.loc["a", ["seeds", "diverged", "failed"]].tolist() == [4, 1, 2]  # 0.11 is at chance
    assert table.loc["a", "mean_all"] == pytest.approx((0.5 + 0.7 + 0.1135 + 0.11) / 4)
    assert table.loc["a", "mean_trained"] == pytest.approx(0.6)
    assert table.loc["a", ["trained_low", "trained_high"]].tolist() == pytest.approx(
        stats.mean_interval([0.5, 0.7])[1:]
    )
    assert table.loc["a", ["all_low", "all_high"]].tolist() == pytest.approx(
        stats.mean_interval([0.5, 0.7, 0.1135, 0.11])[1:]
    )
    expected = scipy_stats.binomtest(2, 4).proportion_ci(method="wilson")
    assert table.loc["a", ["share_failed", "failed_low", "failed_high"]].tolist() == pytest.approx([0.5, *expected])
    assert table.loc["b", "mean_all"] == pytest.approx(0.1135)
    assert np.isnan(table.loc["b", "mean_trained"])
    assert table.loc["c", ["mean_all", "mean_trained", "share_failed"]].tolist() == pytest.approx([0.6, 0.6, 0.0])


def test_chance_is_the_majority_class_and_three_standard_errors(mnist):
    assert stats.Chance(mnist.majority_class_share, mnist.majority_class_validation_share, 5000) == stats.Chance(
        0.1135, 0.1126, 5000
    )
    limit = 0.1126 + 3 * np.sqrt(0.1126 * 0.8874 / 5000)
    frame = frame_of({"a": [limit - 1e-6, limit + 1e-6]})
    assert stats.outcomes(frame)["failed"].tolist() == [True, False]
    with pytest.raises(ValueError, match=r"'other' is missing; add Chance\(test, validation, 0\)"):
        stats.outcomes(frame.assign(dataset="other"))
    chances = {"other": stats.Chance(0.5, 0.5, 100)}
    assert stats.outcomes(frame.assign(dataset="other"), chances)["failed"].tolist() == [True, True]


SORTED = stats.Chance(0.1135, 1.0, 5000, 10_000, unseen=0.902)  # MNIST by class: the first twelfth are zeros


@pytest.mark.parametrize(
    ("chance", "split", "share", "size"),
    [
        (stats.Chance(0.1135, 0.1126, 5000, 10_000), "validation", 0.1126, 5000),
        (SORTED, "test", 0.1135, 10_000),
        (stats.Chance(0.595, 0.75, 8, 200), "test", 0.595, 200),  # 96 images of two classes
        (stats.Chance(1 / 26, 12 / 26, 5000, 2600, unseen=23 / 26), "test", 1 / 26, 2600),  # 26 classes in order
        (stats.Chance(0.998, 0.998, 5000, 100_000), "test", 0.998, 100_000),
    ],
)
def test_chance_is_decided_on_a_split_that_can_tell(chance, split, share, size):
    limit = share + 3 * np.sqrt(share * (1 - share) / size)
    assert (chance.split, chance.limit) == (split, pytest.approx(limit, abs=1e-15))
    below, above, blind = limit - 1e-6, limit + 1e-6, [0.0, 1.0]
    test, validation = ([below, above], blind) if split == "test" else (blind, [below, above])
    frame = frame_of({"a": [*test, None]}, {"a": [*validation, None]}, dataset="d")
    assert stats.outcomes(frame, {"d": chance})["at_chance"].tolist() == [True, False, False]


def test_the_table_of_baselines_has_the_majority_class_accuracy_of_both_splits_and_the_limit_of_the_one_that_decides():
    table = stats.baselines({"sorted": SORTED, "tiny": stats.Chance(0.5, 0.6, 8, 6)})
    assert table["dataset"].tolist() == ["sorted", "sorted", "tiny", "tiny"]
    assert table["split"].tolist() == ["validation", "test"] * 2
    assert table["images"].tolist() == [5000, 10_000, 8, 6]
    assert table["majority_class_accuracy"].tolist() == [1.0, 0.1135, 0.6, 0.5]
    assert table["decides"].tolist() == [False, True, False, False]
    assert table["limit"].tolist() == pytest.approx([np.nan, SORTED.limit, np.nan, np.nan], nan_ok=True)


def test_where_no_split_can_tell_only_divergence_is_failure():
    for chance in (stats.Chance(1.0, 1.0, 5000, 10_000), stats.Chance(0.5, 0.5, 8, 6), stats.Chance(0.5, 0.5, 0)):
        frame = frame_of({"a": [0.0, 0.5, None]}, dataset="d")
        assert stats.outcomes(frame, {"d": chance})["failed"].tolist() == [False, False, True]
    for wrong in ({"test": 1.1}, {"validation": np.nan}, {"validation_size": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} = .*; allowed"):
            stats.Chance(**{"test": 0.1, "validation": 0.1, "validation_size": 9, **wrong})


def test_a_split_that_can_tell_leaves_room_between_chance_and_100_percent():
    from initbench.stats.chance import separates_chance

    for share in np.linspace(0.01, 0.99, 50):
        for size in (1, 5, 20, 100, 1000, 10_000):
            limit = share + 3 * np.sqrt(share * (1 - share) / size)
            if abs(limit - (1 + share) / 2) > 1e-9:
                assert separates_chance(share, size) == (limit < (1 + share) / 2)


def test_a_diverged_run_does_not_lead_on_a_split_of_one_class():
    frame = frame_of(
        {"lost": [None, None, 0.2], "learned": [0.866] * 3},
        {"lost": [None, None, 0.3], "learned": [0.7] * 3},
        dataset="d",
    )
    table = stats.verdicts(frame, [], chance={"d": SORTED}).set_index("initializer")
    assert table.loc["lost", "validation_accuracy"] == pytest.approx(0.3 / 3)
    assert table["leader"].to_dict() == {"lost": False, "learned": True}
    # The training images hardly have that class, so that a network that learned may know next to nothing of it.
    frame = frame_of(
        {"lost": [None, None, 0.2], "learned": [0.866] * 3},
        {"lost": [None, None, 0.04], "learned": [0.05] * 3},
        dataset="d",
    )
    assert stats.verdicts(frame, [], chance={"d": SORTED}).set_index("initializer").loc["learned", "leader"]


@pytest.mark.parametrize("runs", [1, 5, 30])
def test_a_share_has_wilsons_interval_by_scipy(runs):
    for failed in range(runs + 1):
        expected = scipy_stats.binomtest(failed, runs).proportion_ci(method="wilson")
        assert stats.share_interval(failed, runs)[1:] == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_the_leader_is_chosen_on_validation_and_reported_on_test():
    test = {"a": [0.90, 0.91, 0.92], "b": [0.95, 0.96, 0.97]}
    validation = {"a": [0.99, 0.99, 0.99], "b": [0.5, 0.5, 0.5]}
    table = stats.verdicts(frame_of(test, validation), []).set_index("initializer")
    assert table["leader"].to_dict() == {"a": True, "b": False}
    assert table.loc["a", "mean_all"] == pytest.approx(0.91)
    assert table.loc["b", "difference"] == pytest.approx(-0.05)
    assert not table.loc["b", "significant"]


def test_differences_are_paired_by_seed():
    luck = np.array([0.0, 0.3, 0.1, 0.2, 0.25])
    frame = frame_of({"good": 0.6 + luck, "bad": 0.59 + luck + [0, 0.001, 0, -0.001, 0]})
    table = stats.verdicts(frame, []).set_index("initializer")
    assert table.loc["bad", "difference"] == pytest.approx(0.01)
    assert table.loc["bad", "significant"]  # unpaired, the spread of 0.1 would hide a difference of 0.01
    expected = scipy_stats.ttest_rel(0.6 + luck, 0.59 + luck + [0, 0.001, 0, -0.001, 0]).confidence_interval(0.95)
    assert table.loc["bad", "difference_low"] == pytest.approx(expected.low)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [250, 1000])
def test_the_best_is_among_the_best_with_95_percent(runs):
    """Four initializers, the best by a hair, with a common luck by seed: how often is it significantly worse?"""
    generator = np.random.default_rng(0)
    means = np.array([0.902, 0.900, 0.900, 0.900])
    luck = generator.normal(0, 0.01, (runs, 1, 5))
    values = means[:, None] + luck + generator.normal(0, 0.003, (runs, 4, 5))
    table = stats.verdicts(experiments(values), ["activation"])
    missed = table.loc[table["initializer"] == "a", "significant"].mean()
    assert missed <= 0.05 + 2.33 * np.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize(
    ("initializers", "seeds", "count", "limit"),
    [(2, 5, 250, 21)]
    + [pytest.param(*size, 1000, 67, marks=pytest.mark.slow) for size in ((2, 5), (6, 5), (4, 3), (6, 10))],
)
def test_where_all_initializers_are_the_same_a_difference_is_claimed_in_at_most_67_of_1000(
    initializers, seeds, count, limit
):
    """The A/A experiment: one population under several names, with a luck that is common to a seed. The limit is the
    99% point of a true 5%. The leader is chosen on a validation accuracy that goes with the test accuracy.
    """
    generator = np.random.default_rng(initializers)
    own = generator.normal(0, 0.003, (count, initializers, seeds))
    test = 0.9 + generator.normal(0, 0.01, (count, 1, seeds)) + own
    validation = 0.9 + 0.9 * own + generator.normal(0, 0.001, own.shape)
    claimed = stats.verdicts(experiments(test, validation), ["activation"]).groupby("activation")["significant"].any()
    assert len(claimed) == count
    assert claimed.sum() <= limit


@pytest.mark.slow
@pytest.mark.parametrize("runs", [1000])
def test_a_planted_difference_is_found_with_more_than_the_power_of_the_paired_t_test(runs):
    generator = np.random.default_rng(1)
    difference, spread = 0.009, 0.003
    values = np.array([0.9 + difference, 0.90, 0.90])[:, None] + generator.normal(0, spread, (runs, 3, 5))
    table = stats.verdicts(experiments(values), ["activation"])
    share_detected = (table.loc[table["initializer"] == "b", "worse_than"] == "a").mean()
    power = stats.power(difference, spread * np.sqrt(2), 5, comparisons=3)
    assert 0.5 < power < 0.9
    assert share_detected > power + 2 * np.sqrt(power * (1 - power) / runs)


def test_each_combination_has_its_own_leader():
    left = frame_of({"a": [0.9, 0.91], "b": [0.1, 0.2]}, activation="tanh")
    right = frame_of({"a": [0.1, 0.2], "b": [0.8, 0.9]}, activation="relu")
    table = stats.verdicts(pd.concat([left, right], ignore_index=True), ["activation"])
    leaders = table[table["leader"]].set_index("activation")["initializer"].to_dict()
    assert leaders == {"tanh": "a", "relu": "b"}


@pytest.mark.parametrize(
    "values",
    [
        {"a": [0.5]},
        {"a": [0.5], "b": [0.6]},
        {"a": [0.5, 0.5], "b": [0.5, 0.5]},
        {"a": [0.5, None, 0.6], "b": [None, 0.4, 0.5]},
        {"a": [0.5, 0.6, 0.7], "b": [0.4]},
    ],
)
def test_with_too_little_nothing_is_claimed(values):
    table = stats.verdicts(frame_of(values), [])
    assert table["leader"].sum() == 1
    assert not table["significant"].any()


def test_runs_that_are_lost_do_not_make_an_initializer_better():
    table = stats.verdicts(frame_of({"a": [0.95] * 5, "b": [0.99, None, None, None, None]}), []).set_index(
        "initializer"
    )
    assert table["leader"].to_dict() == {"a": True, "b": False}
    assert table.loc["b", "significant"]
    assert table.loc["b", "difference"] == pytest.approx(0.95 - (0.99 + 4 * 0.1135) / 5)
    assert table.loc["b", ["mean_trained", "diverged"]].tolist() == [0.99, 4]
    once = stats.verdicts(frame_of({"a": [0.95] * 5, "b": [0.95, 0.95, 0.95, 0.95, None]}), [])
    assert not once["significant"].any()  # one run lost of five may be chance


def test_where_every_run_diverged_there_is_no_leader():
    table = stats.verdicts(frame_of({"a": [None, None], "b": [None, None]}), [])
    assert not table["leader"].any()
    assert not table["significant"].any()
    assert table["difference"].isna().all()
    at_chance = stats.verdicts(frame_of({"a": [0.1, 0.11], "b": [0.09, None]}), [])
    assert not at_chance["leader"].any()


def test_differences_that_are_the_same_to_the_last_digit_are_no_certainty():
    table = stats.verdicts(frame_of({"a": [0.6, 0.62], "b": [0.5997, 0.6197]}), [])
    assert not table["significant"].any()  # three images of 10,000, at two seeds
    half = scipy_stats.t.ppf(0.975, 1) * 1e-4 / np.sqrt(6) / np.sqrt(2)
    assert table["difference_low"].dropna().tolist() == pytest.approx([0.0003 - half])
    table = stats.verdicts(frame_of({"a": [0.6] * 4, "b": [0.5] * 4, "c": [0.5] * 4}), []).set_index("initializer")
    assert table["significant"].tolist() == [False, True, True]


def test_significance_over_all_combinations_is_corrected_for_all():
    generator = np.random.default_rng(3)
    frames = []
    for number in range(8):
        values = np.array([0.92, 0.905])[:, None] + generator.normal(0, 0.004, (2, 5))
        frames.append(frame_of(dict(zip("ab", values, strict=True)), activation=f"f{number}"))
    table = stats.verdicts(pd.concat(frames, ignore_index=True), ["activation"])
    alone, overall = table["significant"], table["significant_overall"]
    assert alone.sum() > overall.sum() > 0
    assert not (overall & ~alone).any()
    rows = table[table["initializer"] == "b"]
    p = 2 * scipy_stats.t.sf(rows["difference"] / (rows["difference_std"] / np.sqrt(5)), 4)
    clear = np.abs(p - 0.05 / 8) > 1e-3  # p-values are multiples of 1/2,000
    assert clear.sum() >= 6
    assert (rows["significant_overall"] == (p < 0.05 / 8))[clear].all()


def test_a_run_that_diverges_stays_in_the_curve_of_accuracy_as_chance():
    rows = [frame_of({"a": [0.9, None if epoch == 3 else 0.5]}).assign(epoch=epoch) for epoch in range(4)]
    frame = pd.concat(rows, ignore_index=True)
    counted = stats.scored(frame, "validation_accuracy")
    table = stats.curves(frame.assign(validation_accuracy=counted), ["initializer"], "validation_accuracy")
    assert table["mean"].tolist() == pytest.approx([0.7, 0.7, 0.7, (0.9 + 0.1126) / 2])
    assert stats.scored(frame, "train_loss").tolist() == frame["train_loss"].tolist()


def test_the_p_value_of_two_initializers_is_that_of_the_paired_t_test():
    frame = frame_of({"a": [0.9, 0.91, 0.93], "b": [0.89, 0.908, 0.917]})
    table = stats.verdicts(frame, []).set_index("initializer")
    expected = scipy_stats.ttest_rel([0.9, 0.91, 0.93], [0.89, 0.908, 0.917]).pvalue
    assert table["p"].tolist() == pytest.approx([expected] * 2, abs=1e-3)  # p-values are multiples of 1/1,000
    pairs = stats.pairs(frame, []).set_index(["initializer", "other"])
    assert pairs.loc[("b", "a"), "p"] == table.loc["b", "p"]


def test_curves_have_every_epoch():
    rows = pd.concat([frame_of({"a": [0.5, 0.7]}).assign(epoch=e) for e in range(4)])
    table = stats.curves(rows, ["initializer"], "train_loss")
    assert table["epoch"].tolist() == [0, 1, 2, 3]
    assert (table["seeds"] == 2).all()


@pytest.mark.slow
def test_on_real_trainings_of_one_initializer_a_difference_is_claimed_in_at_most_67_of_1000():
    """The A/A experiment, trained: glorot_uniform under four names, the weights from streams of their own and the order
    of the data that of the seed (tools/make_same.py); 1,000 experiments of five seeds.
    """
    table = pd.read_parquet(Path(__file__).parents[1] / "stored" / "same.parquet")
    table = table.sort_values(["experiment", "name", "seed"])
    test, validation = (
        (table[column] / images).to_numpy().reshape(1000, 4, 5)
        for column, images in (("test_right", 10_000), ("validation_right", 5000))
    )
    assert len(np.unique(test)) > 500  # they are trainings, each with weights of its own
    together = np.corrcoef(test[:, 0].ravel(), test[:, 1].ravel())[0, 1]
    assert 0.02 < together < 0.9  # at one seed they share the order of the data, and so some of their luck
    claimed = stats.verdicts(experiments(test, validation), ["activation"]).groupby("activation")["significant"].any()
    assert len(claimed) == 1000
    assert 0 < claimed.sum() <= 67
    method = (Path(__file__).parents[2] / "docs" / "explanation" / "method.md").read_text(encoding="utf-8")
    assert f"{claimed.sum()} claim a" in method  # what is published is what comes out


def ranked(means):
    """Scores of single runs: `means[initializer][choice]`."""
    return {name: [np.array([value]) for value in values] for name, values in means.items()}


def test_average_ranks_are_demsars():
    """Demšar 2006, table 6: the scores of four classifiers on 14 data sets, average ranks as printed there.

    In the thirteenth C4.5+cf is ranked before C4.5+m+cf, by decimals that are not printed.
    """
    means = {
        "C4.5": [.763, .599, .954, .628, .882, .936, .661, .583, .775, 1.0, .940, .619, .972, .957],
        "C4.5+m": [.768, .591, .971, .661, .888, .931, .668, .583, .838, 1.0, .962, .666, .981, .978],
        "C4.5+cf": [.771, .590, .968, .654, .886, .916, .609, .563, .866, 1.0, .965, .614, .9751, .946],
        "C4.5+m+cf": [.798, .569, .967, .657, .898, .931, .685, .625, .875, 1.0, .962, .669, .975, .970],
    }  # fmt: skip
    table = stats.ranks(ranked(means)).set_index("initializer")
    expected = {"C4.5": 3.143, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5+m+cf": 1.964}
    assert table["mean_rank"].to_dict() == pytest.approx(expected, abs=5e-4)
    assert table.index[0] == "C4.5+m+cf"


def test_ranks_leave_out_combinations_that_lack_an_initializer_or_any_trained_run():
    whole = frame_of({"a": [0.9, 0.91], "b": [0.8, 0.81]}, activation="tanh")
    lacking = frame_of({"a": [0.9, 0.91]}, activation="relu")
    dead = frame_of({"a": [None, None], "b": [0.1, 0.1]}, activation="elu")
    scores = stats.scores(pd.concat([whole, lacking, dead], ignore_index=True), ["activation"])
    assert {name: len(values) for name, values in scores.items()} == {"a": 1, "b": 1}
    assert stats.ranks(scores)["mean_rank"].tolist() == [1.0, 2.0]
    nothing = stats.scores(lacking.assign(status="diverged"), ["activation"])
    assert stats.ranks(nothing).empty
    assert stats.profiles(nothing, [0.5]).empty
    assert np.isnan(stats.interquartile_means(nothing)["mean"]).all()
    assert stats.improvement(nothing).empty
    assert stats.rank_pairs(nothing).empty


def at_rate(rate, values, validation=None):
    return frame_of(values, validation, learning_rate=rate)


def test_learning_rates_are_chosen_on_validation_and_reported_on_test():
    """`a` is best at 0.1 by validation and at 1.0 by test; `b` only trains at 0.01; the common rate is 0.1."""
    seeds = [0.0, 0.001, 0.002]
    frame = pd.concat(
        [
            at_rate(
                rate,
                {name: [test + s for s in seeds] for name, (test, _) in accuracies.items()},
                {name: [validation + s for s in seeds] for name, (_, validation) in accuracies.items()},
            )
            for rate, accuracies in (
                (0.01, {"a": (0.5, 0.5), "b": (0.8, 0.8)}),
                (0.1, {"a": (0.90, 0.95), "b": (0.7, 0.7)}),
                (1.0, {"a": (0.99, 0.90), "b": (0.2, 0.2)}),
            )
        ],
        ignore_index=True,
    )
    table = stats.rates(frame, [])
    best = table[table["own_best"]].set_index("initializer")
    assert best["learning_rate"].to_dict() == {"a": 0.1, "b": 0.01}
    assert best["mean_all"].to_dict() == pytest.approx({"a": 0.901, "b": 0.801})
    assert set(table.loc[table["common"], "learning_rate"]) == {0.1}
    own = stats.verdicts(stats.at_rates(frame, [], table, "own_best"), []).set_index("initializer")
    assert own.loc["b", "difference"] == pytest.approx(0.1)
    common = stats.verdicts(stats.at_rates(frame, [], table, "common"), []).set_index("initializer")
    assert common.loc["b", "difference"] == pytest.approx(0.2)


def test_all_pairs_are_the_differences_of_the_verdicts_whatever_leads():
    frame = frame_of({"a": [0.9, 0.91, 0.93], "b": [0.8, 0.83, 0.82], "c": [0.5, None, 0.6]})
    verdicts = stats.verdicts(frame, []).set_index("initializer")
    table = stats.pairs(frame, []).set_index(["initializer", "other"])
    assert len(table) == 6
    for name in "bc":
        columns = ["pairs", "difference", "difference_low", "difference_high"]
        assert table.loc[(name, "a"), columns].tolist() == pytest.approx(verdicts.loc[name, columns].tolist())
    assert table.loc[("a", "b"), "difference"] == pytest.approx(-table.loc[("b", "a"), "difference"])
    two = stats.pairs(frame[frame["initializer"] != "a"], []).set_index(["initializer", "other"])
    expected = scipy_stats.ttest_rel([0.8, 0.83, 0.82], [0.5, 0.1135, 0.6]).confidence_interval()
    ends = two.loc[("c", "b"), ["difference_low", "difference_high"]].tolist()
    assert ends == pytest.approx([expected.low, expected.high])


def test_only_seeds_that_all_have_are_ranked():
    """At each seed the two are equal, and one has other seeds than the other: nothing differs."""
    rows = []
    for activation in ("tanh", "relu"):
        for name, seeds in (("a", range(8)), ("b", range(4, 12))):
            frame = frame_of({name: [0.5 + 0.01 * seed for seed in seeds]}, activation=activation)
            rows.append(frame.assign(seed=list(seeds)))
    scores = stats.scores(pd.concat(rows, ignore_index=True), ["activation"])
    assert [len(values) for values in scores["a"]] == [4, 4]
    assert stats.ranks(scores)["mean_rank"].tolist() == [1.5, 1.5]
    assert stats.rank_pairs(scores)["difference"].tolist() == [0.0]
    with pytest.raises(ValueError, match="the same seeds in every array"):
        stats.rank_pairs({"a": [np.ones(3), np.ones(2)], "b": [np.ones(3), np.ones(2)]})


def test_an_initializer_that_failed_at_every_seed_does_not_lead():
    test = {"a": [0.13, 0.02, 0.02], "b": [0.112] * 3, "c": [0.03] * 3}
    table = stats.verdicts(frame_of(test), []).set_index("initializer")
    assert table["failed"].to_dict() == {"a": 2, "b": 3, "c": 3}
    assert table["leader"].to_dict() == {"a": True, "b": False, "c": False}


def test_a_table_without_a_column_is_refused_by_its_name():
    frame = frame_of({"a": [0.9, 0.8]})
    with pytest.raises(ValueError, match="lacks the column 'epochs'; required: cell, seed, dataset, epoch, epochs"):
        stats.verdicts(frame.drop(columns="epochs"), [])
