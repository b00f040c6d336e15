"""The statistics, against SciPy, published quantiles, and simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from initbench import stats
from initbench.cells import SETTINGS


def frame_of(values, validation=None, **settings):
    """A table of the last epoch: `values` maps an initializer to its accuracies by seed; None is a diverged run."""
    rows = []
    for name, accuracies in values.items():
        for seed, accuracy in enumerate(accuracies):
            row = dict.fromkeys(SETTINGS, "") | {"epochs": 3, "initializer": name, "seed": seed} | settings
            row |= {"cell": f"{name}-{seed}-{settings}", "epoch": 3, "test_accuracy": accuracy}
            row |= {"status": "diverged" if accuracy is None else "trained", "train_loss": 1.0}
            row["validation_accuracy"] = accuracy if validation is None else validation[name][seed]
            rows.append(row)
    frame = pd.DataFrame(rows)
    return frame.astype({"test_accuracy": float, "validation_accuracy": float})


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
def test_where_there_is_nothing_to_say_nothing_is_said(values):
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


def test_the_leader_is_chosen_on_validation_and_reported_on_test():
    test = {"a": [0.90, 0.91, 0.92], "b": [0.95, 0.96, 0.97]}
    validation = {"a": [0.99, 0.99, 0.99], "b": [0.5, 0.5, 0.5]}
    table = stats.verdicts(frame_of(test, validation), []).set_index("initializer")
    assert table["leader"].to_dict() == {"a": True, "b": False}
    assert table.loc["a", "mean"] == pytest.approx(0.91)
    assert table.loc["b", "behind"] == pytest.approx(-0.05)
    assert not table.loc["b", "told_apart"]


def test_differences_are_paired_by_seed():
    luck = np.array([0.0, 0.3, 0.1, 0.2, 0.25])
    frame = frame_of({"good": 0.6 + luck, "bad": 0.59 + luck + [0, 0.001, 0, -0.001, 0]})
    table = stats.verdicts(frame, []).set_index("initializer")
    assert table.loc["bad", "behind"] == pytest.approx(0.01)
    assert table.loc["bad", "told_apart"]  # unpaired, the spread of 0.1 would hide a difference of 0.01
    expected = scipy_stats.ttest_rel(0.6 + luck, 0.59 + luck + [0, 0.001, 0, -0.001, 0]).confidence_interval(0.9)
    assert table.loc["bad", "behind_low"] == pytest.approx(expected.low)


def test_the_best_is_among_the_best_with_95_percent():
    """Four initializers, the best by a hair, with a common luck by seed: how often is it told to be behind?"""
    generator = np.random.default_rng(0)
    means = np.array([0.902, 0.900, 0.900, 0.900])
    missed = 0
    runs = 400
    for _ in range(runs):
        values = means[:, None] + generator.normal(0, 0.01, 5) + generator.normal(0, 0.003, (4, 5))
        table = stats.verdicts(frame_of(dict(zip("abcd", values, strict=True))), [])
        missed += bool(table.set_index("initializer").loc["a", "told_apart"])
    assert missed / runs <= 0.05 + 2.33 * np.sqrt(0.05 * 0.95 / runs)


def test_a_planted_difference_is_told():
    generator = np.random.default_rng(1)
    found = 0
    for _ in range(100):
        values = np.array([0.92, 0.90, 0.90])[:, None] + generator.normal(0, 0.003, (3, 5))
        found += stats.verdicts(frame_of(dict(zip("abc", values, strict=True))), [])["told_apart"].sum() == 2
    assert found > 90


def test_each_choice_has_its_own_leader():
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
    assert not table["told_apart"].any()


def test_runs_that_are_lost_do_not_make_an_initializer_better():
    table = stats.verdicts(frame_of({"a": [0.95] * 5, "b": [0.99, None, None, None, None]}), []).set_index(
        "initializer"
    )
    assert table["leader"].to_dict() == {"a": True, "b": False}
    assert table.loc["b", "told_apart"]
    assert table.loc["b", "behind"] == pytest.approx(0.95 - 0.99 / 5)
    assert table.loc["b", ["mean", "diverged"]].tolist() == [0.99, 4]
    once = stats.verdicts(frame_of({"a": [0.95] * 5, "b": [0.95, 0.95, 0.95, 0.95, None]}), [])
    assert not once["told_apart"].any()  # one run lost of five may be chance


def test_where_every_run_diverged_there_is_no_leader():
    table = stats.verdicts(frame_of({"a": [None, None], "b": [None, None]}), [])
    assert not table["leader"].any()
    assert not table["told_apart"].any()
    assert table["behind"].isna().all()


def test_curves_have_every_epoch():
    rows = pd.concat([frame_of({"a": [0.5, 0.7]}).assign(epoch=e) for e in range(4)])
    table = stats.curves(rows, ["initializer"], "train_loss")
    assert table["epoch"].tolist() == [0, 1, 2, 3]
    assert (table["seeds"] == 2).all()
