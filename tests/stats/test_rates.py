"""Selected learning rates: their intervals cover although they were selected."""

import numpy as np
import pytest
from frames import experiments
from scipy import stats as scipy_stats

from initbench import stats
from initbench.stats._means import half_width


def test_the_interval_of_the_best_of_eight_equal_rates_covers_although_it_was_selected():
    generator = np.random.default_rng(0)
    runs, correlation = 400, 0.9
    test = generator.normal(size=(runs, 8, 5))
    validation = correlation * test + np.sqrt(1 - correlation**2) * generator.normal(size=test.shape)
    frame = experiments(0.9 + 0.003 * test, 0.9 + 0.003 * validation)
    rates = 10.0 ** -frame["initializer"].map("abcdefgh".index)
    table = stats.rates(frame.assign(learning_rate=rates, initializer="a"), ["activation"])
    best = table[table["own_best"]]
    assert best["common"].all()  # of a single initializer
    covered = ((best["all_low"] <= 0.9) & (best["all_high"] >= 0.9)).mean()
    assert covered >= 0.95 - 2.33 * np.sqrt(0.05 * 0.95 / runs)
    plain = best["all_high"] - best["mean_all"]
    assert (np.abs(best["mean_all"] - 0.9) <= plain).mean() < 0.9  # what both ends at 2.5% would cover


def test_only_the_lower_end_of_a_selected_rate_is_corrected_for_the_number_of_rates():
    values = np.random.default_rng(1).normal(0.9, 0.01, (1, 4, 5))
    frame = experiments(values)
    rates = frame["initializer"].map("abcd".index) + 1.0
    table = stats.rates(frame.assign(learning_rate=rates, initializer="a"), ["activation"]).sort_values("learning_rate")
    spread = values[0].std(axis=1, ddof=1)
    half = half_width(spread, np.full(4, 5))
    quantile = scipy_stats.t.ppf(1 - 0.025 / 4, 4)
    low = np.where(table["own_best"], quantile * spread / np.sqrt(5), half)
    assert (table["mean_all"] - table["all_low"]).tolist() == pytest.approx(low.tolist())
    assert (table["mean_all"] - table["trained_low"]).tolist() == pytest.approx(low.tolist())
    assert (table["all_high"] - table["mean_all"]).tolist() == pytest.approx(half.tolist())
    assert table["own_best"].sum() == 1
