"""The seeds at which all would be decided: against a plain loop over the rule, and against the rule itself."""

import math

import numpy as np
import pandas as pd
import pytest
from frames import frame_of
from scipy import stats as scipy_stats

from initbench import stats
from initbench.spec import seed_rule
from initbench.stats import _deciding
from initbench.stats._sequential import critical_t, log_e_value

COMBINATION = ["activation", "loss"]


def estimated(frame, **options):
    (row,) = stats.seeds_to_decide(frame, COMBINATION, **options).itertuples()
    return row.decided_at


def by_loop(runs, within=None):
    """The definition, look by look and pair by pair."""
    names, n = list(runs), len(next(iter(runs.values())))
    comparisons = len(names) * (len(names) - 1) // 2
    inflation = math.sqrt((n - 1) / scipy_stats.chi2.ppf(0.2, n - 1))
    differences = {(a, b): np.subtract(runs[a], runs[b]) for a in names for b in names if a != b}
    for look in range(n, 1001, 5):
        half = {
            pair: float(critical_t(np.array(look), comparisons))
            * max(d.std(ddof=1), 1e-4 / math.sqrt(6))
            * (inflation if look > n else 1)
            / math.sqrt(look)
            for pair, d in differences.items()
        }
        rest = [b for b in names if not any(a != b and differences[a, b].mean() >= half[a, b] for a in names)]
        pairs = [pair for pair in differences if set(pair) <= set(rest)]
        if len(rest) == 1 or (
            within and all(abs(differences[pair].mean()) + half[pair] <= within / 100 for pair in pairs)
        ):
            return look
    return math.inf


@pytest.mark.parametrize("within", [None, 0.1, 0.3])
@pytest.mark.parametrize("count", [2, 4, 8])
def test_the_estimate_is_the_first_look_of_a_plain_loop(count, within):
    answers = []
    for seed in range(12):
        generator = np.random.default_rng(seed)
        n = (5, 12, 30)[seed % 3]
        means = 0.9 + generator.choice([0.0, 0.0005, 0.002, 0.02], count)
        runs = {f"i{j}": mean + generator.normal(0, 0.001, n) for j, mean in enumerate(means)}
        answers.append(by_loop(runs, within))
        assert estimated(frame_of(runs), equivalent_within=within) == answers[-1]
    assert len(set(answers)) > 3


def normal_with(mean, std, count):
    """Values with exactly this mean and standard deviation."""
    values = np.random.default_rng(0).normal(size=count)
    return mean + std * (values - values.mean()) / values.std(ddof=1)


@pytest.mark.parametrize(("difference", "within"), [(0.004, None), (0.002, None), (0.0005, 0.3)])
def test_half_of_the_experiments_that_follow_the_rule_end_by_then(difference, within):
    true_std, n = 0.002, 10
    observed = true_std / math.sqrt(9 / scipy_stats.chi2.ppf(0.2, 9))  # whose `upper_std` is the true one
    better = np.full(n, 0.95)
    expected = estimated(
        frame_of({"a": better, "b": better - normal_with(difference, observed, n)}), equivalent_within=within
    )
    looks = np.arange(5, 1001, 5)
    values = np.random.default_rng(1).normal(difference, true_std, (1000, 1000))
    mean = (values.cumsum(axis=1) / np.arange(1, 1001))[:, looks - 1]
    std = np.sqrt(((values**2).cumsum(axis=1)[:, looks - 1] - looks * mean**2) / (looks - 1))
    over = log_e_value(mean * np.sqrt(looks) / std, looks) >= math.log(20)
    if within:
        over |= np.abs(mean) + critical_t(looks, 1) * std / np.sqrt(looks) <= within / 100
    assert over.any(axis=1).all()
    ended_at = looks[over.argmax(axis=1)]
    assert expected == pytest.approx(np.median(ended_at), rel=0.15, abs=5)


def test_what_the_rule_has_decided_needs_no_more_seeds():
    values = normal_with(0, 0.001, 20)
    frame = frame_of({"a": 0.95 + values, "b": 0.949 + values[::-1], "c": [0.9] * 20})
    for within in (None, 0.5):
        decided = stats.decisions(frame, COMBINATION, equivalent_within=within)["decided"].all()
        assert (estimated(frame, equivalent_within=within) == 20) == decided
    assert decided
    dropped = frame[(frame["initializer"] != "c") | (frame["seed"] < 15)]  # which got no more seeds once it had lost
    assert stats.decisions(dropped, COMBINATION).set_index("initializer").loc["c", "decided"]
    assert estimated(dropped, equivalent_within=0.5) == 20


def test_ties_never_end_and_one_seed_shows_no_spread():
    tie = frame_of({"a": [0.9, 0.91, 0.92] * 4, "b": [0.92, 0.9, 0.91] * 4})
    assert estimated(tie) == math.inf
    assert estimated(tie, equivalent_within=1) < 500
    assert np.isnan(estimated(frame_of({"a": [0.9], "b": [0.8]})))
    assert np.isnan(estimated(frame_of({"a": [0.9] * 5, "b": [0.8] * 5, "c": [0.7]})))
    assert estimated(frame_of({"a": [0.9, 0.91]})) == 2
    assert estimated(frame_of({"a": [None] * 5, "b": [None] * 5})) == 5


def test_there_is_a_row_for_each_combination():
    frames = [
        frame_of({"a": normal_with(0.9, 0.001, 5), "b": normal_with(mean, 0.001, 5)[::-1]}, activation=name)
        for name, mean in (("tanh", 0.899), ("relu", 0.8))
    ]
    table = stats.seeds_to_decide(pd.concat(frames, ignore_index=True), COMBINATION)
    assert table["activation"].tolist() == ["tanh", "relu"]
    assert table["seeds"].tolist() == [5, 5]
    assert table["decided_at"].is_monotonic_decreasing
    assert table["decided_at"].tolist() == [estimated(frame) for frame in frames]
    empty = stats.seeds_to_decide(frames[0].iloc[:0], COMBINATION)
    assert empty.columns.tolist() == table.columns.tolist()


def test_the_estimate_looks_where_the_rule_does():
    """`stats` may not import `spec.seed_rule`."""
    assert _deciding.BATCH == seed_rule.BATCH
