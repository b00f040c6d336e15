"""Power, and the number of seeds that a difference requires: against statsmodels and simulations."""

import numpy as np
import pytest
from frames import frame_of

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
    enough = stats.power_analysis(table[~table["leader"]]).iloc[0]
    assert enough["detectable"] == pytest.approx(stats.detectable(np.std([0.1, 0.08, 0.1], ddof=1), 3))
    assert enough["needed_0.01"] == stats.seeds_needed(0.01, np.std([0.1, 0.08, 0.1], ddof=1))


def test_seeds_are_planned_from_no_less_spread_than_that_of_rounding():
    table = stats.verdicts(frame_of({"a": [0.9] * 5, "b": [0.9] * 5}), [])
    row = stats.power_analysis(table[~table["leader"]]).iloc[0]
    assert row["detectable"] == pytest.approx(stats.detectable(1e-4 / np.sqrt(6), 5))
    assert row["detectable"] > 0
