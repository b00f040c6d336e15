"""Speed of learning: epochs to a target, and the share of the runs that reach it."""

import numpy as np
import pandas as pd
import pytest
from frames import frame_of
from scipy import stats as scipy_stats

from initbench import stats


def test_epochs_to_a_target_carry_those_that_never_reach_it():
    curves = {"fast": [0.1, 0.9, 0.95, 0.95], "slow": [0.1, 0.2, 0.5, 0.91], "never": [0.1, 0.2, 0.3, 0.4]}
    rows = [
        frame_of({name: [None] if name == "never" and epoch == 3 else [value]}).assign(
            epoch=epoch, cell=name, validation_accuracy=value
        )
        for name, values in curves.items()
        for epoch, value in enumerate(values)
    ]
    frame = pd.concat(rows, ignore_index=True)
    table = stats.epochs_to_reach(frame, target=0.9).set_index("initializer")
    assert table["epochs_to_target"].to_dict() == {"fast": 1, "slow": 3, "never": 3}
    assert table["reached"].to_dict() == {"fast": True, "slow": True, "never": False}


def test_the_speed_of_learning_is_counted_which_is_kaplan_and_meiers_estimate():
    """Ten runs: three reach the target at epoch 2, four at 5, three never do by epoch 8."""
    reached = [2, 2, 2, 5, 5, 5, 5, None, None, None]
    rows = []
    for seed, at in enumerate(reached):
        for epoch in range(9):
            accuracy = 0.95 if at is not None and epoch >= at else 0.5
            rows.append(frame_of({"a": [accuracy]}).assign(epoch=epoch, epochs=8, seed=seed, cell=f"a{seed}"))
    table = stats.learning_speed(pd.concat(rows, ignore_index=True), ["initializer"], target=0.9).iloc[0]
    assert table[["seeds", "reached", "median", "share_reached"]].tolist() == ["a", 10, 7, 5.0, 0.7][1:]
    epochs = [8 if at is None else at for at in reached]
    survival = scipy_stats.ecdf(scipy_stats.CensoredData.right_censored(epochs, [at is None for at in reached])).sf
    assert 1 - survival.probabilities[-1] == pytest.approx(0.7)
    assert survival.quantiles[np.flatnonzero(survival.probabilities <= 0.5)[0]] == 5
    wilson = scipy_stats.binomtest(7, 10).proportion_ci(method="wilson")
    assert table[["share_low", "share_high"]].tolist() == pytest.approx(list(wilson))
    for accuracy, share in ((0.1, 0.0), (0.99, 1.0)):
        reached_at_3 = frame_of({"a": [accuracy] * 5}).assign(epoch=3)
        row = stats.learning_speed(reached_at_3, ["initializer"], target=0.9).iloc[0]
        assert row["share_reached"] == share
        assert row["share_low"] <= share <= row["share_high"]
    for count, median in ((1, np.nan), (2, 3.0), (4, 3.0)):  # half of four is two
        some = frame_of({"a": [0.99] * count + [0.1] * (4 - count)}).assign(epoch=3)
        assert stats.learning_speed(some, ["initializer"], target=0.9)["median"].tolist() == pytest.approx(
            [median], nan_ok=True
        )


def test_wilsons_interval_covers_83_percent_at_worst_and_95_percent_on_average():
    """Exactly: the binomial probability that the interval has p, for p on either side of each end."""
    for runs, worst in ((5, 0.0362), (10, 0.0179), (30, 0.0059)):
        counts = np.arange(runs + 1)
        _, low, high = stats.share_interval(counts, np.full(runs + 1, runs))
        ends = np.concatenate([low, high])
        shares = np.unique(np.clip(np.concatenate([ends - 1e-9, ends + 1e-9, np.linspace(0, 1, 2001)]), 0, 1))[:, None]
        covered = (scipy_stats.binom.pmf(counts, runs, shares) * ((low <= shares) & (shares <= high))).sum(axis=1)
        assert covered.min() == pytest.approx(0.83, abs=0.01)
        at_worst = shares[covered < covered.min() + 1e-6, 0]
        assert min(at_worst.min(), 1 - at_worst.max()) == pytest.approx(worst, abs=2e-4)
        assert np.mean(covered) == pytest.approx(0.955, abs=0.01)
        assert (low[0], high[-1]) == (0, 1)


def test_coming_near_a_leader_that_is_at_chance_asks_to_leave_chance():
    curve = [frame_of({"a": [0.15, 0.11], "b": [0.1, 0.1]}).assign(epoch=e, epochs=1) for e in range(2)]
    frame = pd.concat(curve, ignore_index=True)
    verdicts = stats.verdicts(frame, [])
    table = stats.near_leader(frame, [], verdicts).set_index("initializer")
    assert table["reached"].to_dict() == {"a": 1, "b": 0}


def test_chance_is_computed_for_each_data_set():
    chance = {"two": stats.Chance(0.5, 0.5, 5000), "sorted": stats.Chance(0.1135, 1.0, 5000, 10_000, unseen=0.902)}
    frames = [
        frame_of({"a": [0.2], "b": [0.15]}),
        frame_of({"a": [0.9], "b": [0.2]}, dataset="two"),
        frame_of({"a": [0.9], "b": [0.2]}, {"a": [0.9], "b": [1.0]}, dataset="sorted"),
    ]
    frame = pd.concat(frames, ignore_index=True)
    verdicts = stats.verdicts(frame, ["dataset"], chance=chance)
    table = stats.near_leader(frame, ["dataset"], verdicts, chance=chance).set_index(["dataset", "initializer"])
    reached = {"mnist": (1, 0), "two": (1, 0), "sorted": (0, 0)}  # a split of one class shows nobody above chance
    assert {name: tuple(table.loc[name, "reached"]) for name in reached} == reached
    shares = table[["share_reached", "share_low", "share_high"]]
    assert shares.loc["sorted"].isna().all(axis=None)  # none of them came near, or all did: it is not known
    assert shares.loc[["mnist", "two"]].notna().all(axis=None)
