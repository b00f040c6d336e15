"""The tables of an experiment whose seeds a rule added: comparisons that hold at every look, fixed half-widths."""

import numpy as np
import pandas as pd
import pytest
from frames import frame_of

from initbench import stats

RANDOM = np.random.default_rng(7)
COLUMNS = ["leader", "pairs", "difference", "difference_low", "difference_high", "significant", "worse_than"]
COLUMNS += ["worse_by", "worse_by_low", "worse_by_high", "regret_bound", "equivalent"]


def made_up(means, seeds, **settings):
    """Accuracies with a deviation of 0.2 points, and as many seeds of each initializer as `seeds` has."""
    values = {
        name: list(np.round(RANDOM.normal(mean, 0.002, count), 4))
        for (name, mean), count in zip(means.items(), seeds, strict=True)
    }
    return frame_of(values, **settings)


@pytest.fixture(scope="module")
def frame():
    tanh = made_up({"he": 0.95, "zeros": 0.90, "glorot": 0.949}, [20, 10, 20], activation="tanh")
    relu = made_up({"he": 0.95, "zeros": 0.95, "glorot": 0.95}, [5, 5, 5], activation="relu")
    return pd.concat([tanh, relu], ignore_index=True)


def test_the_table_is_that_of_verdicts_with_the_comparisons_of_decisions(frame):
    table = stats.verdicts_at_every_look(frame, ["activation"], equivalent_within=0.5)
    fixed, decided = (
        stats.verdicts(frame, ["activation"]),
        stats.decisions(frame, ["activation"], equivalent_within=0.5),
    )
    pd.testing.assert_series_equal(table.dtypes.sort_index(), fixed.dtypes.sort_index())
    keys = ["activation", "initializer", "seeds"]
    finite = decided.replace([np.inf, -np.inf], np.nan)
    assert finite["regret_bound"].isna().sum() == 3  # with relu, five seeds of three initializers exclude nothing
    pd.testing.assert_frame_equal(table[[*keys, *COLUMNS]], finite[[*keys, *COLUMNS]])
    same = ["mean_all", "all_high", "validation_accuracy", "comparisons", "n_compared", "failed"]
    pd.testing.assert_frame_equal(table[[*keys, *same]], fixed[[*keys, *same]])
    worse = table.set_index(["activation", "initializer"]).loc[("tanh", "zeros")]
    assert worse["worse_than"] in ("he", "glorot")
    assert worse["standing"] == ""
    assert not worse["rotation_only"]
    assert (table.loc[~table["significant"], "standing"] == "best").all()


def test_p_is_below_5_percent_where_an_initializer_is_significantly_worse(frame):
    table = stats.verdicts_at_every_look(frame, ["activation"])
    assert list(table["p"] <= 0.05) == list(table["significant"])
    assert table["p"].between(0, 1).all()
    pairs = stats.pairs_at_every_look(frame, ["activation"])
    ahead = pairs[pairs["difference"] > 0]
    strongest = ahead.groupby(["activation", "initializer"])["p"].min()
    expected = table.set_index(["activation", "initializer"])["p"]
    np.testing.assert_allclose(expected[strongest.index], strongest, rtol=1e-9)
    assert (expected.drop(strongest.index) == 1).all()


def test_pairs_are_antisymmetric_and_agree_with_the_leader(frame):
    pairs = stats.pairs_at_every_look(frame, ["activation"])
    keys = ["activation", "initializer", "other"]
    mirrored = pairs.rename(columns={"initializer": "other", "other": "initializer"}).set_index(keys)
    mirrored = mirrored.loc[pd.MultiIndex.from_frame(pairs[keys])].reset_index()
    np.testing.assert_allclose(pairs["difference_low"], -mirrored["difference_high"])
    assert list(pairs["p"]) == list(mirrored["p"])
    table = stats.verdicts_at_every_look(frame, ["activation"])
    leaders = table[table["leader"]].set_index("activation")["initializer"]
    to_leader = pairs[pairs["other"] == pairs["activation"].map(leaders)]
    for columns in (["difference"], ["difference_low"], ["pairs"]):
        rows = table[~table["leader"]].merge(to_leader, on=keys[:2], suffixes=("", "_of_pair"))
        np.testing.assert_allclose(rows[columns[0]], rows[f"{columns[0]}_of_pair"])


def test_one_initializer_and_a_combination_that_failed_have_no_comparison():
    alone = stats.verdicts_at_every_look(made_up({"he": 0.9}, [5]), ["activation"])
    assert np.isnan(alone["p"][0])
    assert (alone["standing"][0], alone["n_compared"][0]) == ("", 0)
    failed = frame_of({"he": [None] * 5, "zeros": [None] * 5})
    table = stats.verdicts_at_every_look(failed, ["activation"])
    assert not table[["leader", "significant"]].to_numpy().any()
    assert set(table["standing"]) == {""}
    assert list(stats.verdicts_at_every_look(failed[:0], ["activation"])) == list(table)


def test_intervals_are_at_least_as_wide_as_the_rule_but_where_runs_failed():
    values = made_up({"he": 0.95, "zeros": 0.90}, [10, 10])
    broken = values.assign(
        initializer=values["initializer"] + "_broken",
        test_accuracy=values["test_accuracy"].where(values["seed"] > 0, 0.1),
        validation_accuracy=values["validation_accuracy"].where(values["seed"] > 0, 0.1),
    )
    table = stats.verdicts(pd.concat([values, broken], ignore_index=True), ["activation"])
    plain = table.set_index("initializer")
    assert stats.at_half_width(table, 1e-5).equals(table)  # all are wider
    wide = stats.at_half_width(table, 0.004).set_index("initializer")
    for name in ("he", "zeros"):
        assert wide["all_high"][name] == pytest.approx(plain["mean_all"][name] + 0.004)
        assert wide["all_low"][name] == pytest.approx(min(plain["all_low"][name], plain["mean_all"][name] - 0.004))
        assert wide["trained_high"][name] == pytest.approx(wide["all_high"][name])
    broken_rows = ["he_broken", "zeros_broken"]
    assert wide.loc[broken_rows].equals(plain.loc[broken_rows])
