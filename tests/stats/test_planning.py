"""Power, and the number of seeds that a difference requires: against statsmodels and simulations."""

import numpy as np
import pandas as pd
import pytest
from frames import frame_of
from scipy import stats as scipy_stats

from initbench import stats


def test_powers_are_statsmodels():
    """`statsmodels.stats.power.TTestPower().power(effect, n, alpha / 2, alternative="larger")`, statsmodels 0.15.0."""
    for effect, n, comparisons, expected in (
        (0.5, 5, 1, 0.1384527732092008),
        (1.0, 5, 1, 0.4013202851995048),
        (1.0, 10, 5, 0.5041066703854176),
        (2.0, 5, 15, 0.2888707223690907),
    ):
        assert stats.power(effect, 1.0, n, comparisons) == pytest.approx(expected, rel=1e-9)


def test_what_is_detectable_is_found_with_power_080_and_the_seeds_needed_are_the_smallest():
    for std, pairs, comparisons in ((0.002, 5, 1), (0.01, 3, 15), (0.5, 30, 253)):
        difference = stats.detectable(std, pairs, comparisons)
        assert stats.power(difference, std, pairs, comparisons) == pytest.approx(0.8, abs=1e-6)
    for difference, std, comparisons in ((0.001, 0.002, 15), (0.01, 0.002, 1), (0.005, 0.01, 6)):
        n = int(stats.seeds_needed(difference, std, comparisons))
        assert stats.power(difference, std, n, comparisons) >= 0.8
        assert n == 2 or stats.power(difference, std, n - 1, comparisons) < 0.8
    assert np.isnan(stats.detectable(0.1, 1))
    assert np.isinf(stats.seeds_needed(1e-9, 1.0))
    table = stats.verdicts(frame_of({"a": [0.9, 0.91, 0.92], "b": [0.8, 0.83, 0.82]}), [])
    planned = stats.power_analysis(table[~table["leader"]], targets=(0.01, 0.1)).iloc[0]
    spread = np.std([0.1, 0.08, 0.1], ddof=1) * np.sqrt(2 / scipy_stats.chi2.ppf(0.2, 2))
    assert planned["detectable"] == pytest.approx(stats.detectable(spread, 3))
    assert planned["needed_0.01"] == stats.seeds_needed(0.01, spread)
    assert stats.power_analysis(table[~table["leader"]], [planned["detectable"]]).iloc[0, -1] == 3


def test_seeds_are_planned_from_no_less_spread_than_that_of_rounding():
    table = stats.verdicts(frame_of({"a": [0.9] * 5, "b": [0.9] * 5}), [])
    row = stats.power_analysis(table[~table["leader"]]).iloc[0]
    assert row["detectable"] == pytest.approx(1.5576 * stats.detectable(1e-4 / np.sqrt(6), 5), rel=1e-4)
    assert row["detectable"] > 0


@pytest.mark.parametrize(("difference", "comparisons"), [(1.0, 1), (1.0, 15), (0.5, 1)])
def test_seeds_that_are_planned_from_five_have_the_power_that_they_promise_in_four_of_five_cases(
    difference, comparisons
):
    generator = np.random.default_rng(0)
    runs = 300
    spreads = generator.normal(size=(runs, 5)).std(axis=1, ddof=1)
    table = pd.DataFrame({"difference_std": spreads, "pairs": 5, "comparisons": comparisons})
    planned = stats.power_analysis(table, [difference])[f"needed_{difference:g}"]
    powers = np.array([stats.power(difference, 1.0, int(n), comparisons) for n in planned])
    assert powers.mean() > 0.87
    assert (powers < 0.8).mean() <= 0.2 + 2.33 * np.sqrt(0.2 * 0.8 / runs)
    naive = [
        stats.power(difference, 1.0, int(stats.seeds_needed(difference, s, comparisons)), comparisons) for s in spreads
    ]
    assert np.mean(np.array(naive) < 0.8) > 0.45  # what seeds planned from the spread itself would have
