"""What no table of comparisons may contradict, on many small tables: odd shapes, ties, failures and missing runs."""

import warnings

import numpy as np
import pandas as pd
import pytest
from frames import frame_of

from initbench import stats
from initbench.stats import Chance

TABLES = 10
NAMES = ["z", "a(b)", "A", "é", "10", "9", "he_normal"]


def odd_frame(number):
    """A table of one to five initializers in one or two combinations, with some oddity of every kind."""
    generator = np.random.default_rng(number)
    count, seeds = int(generator.integers(1, 6)), int(generator.choice([1, 2, 3, 5, 8]))
    images = int(generator.choice([3, 500, 10_000]))
    names = list(generator.permutation(NAMES)[:count])
    tables = []
    for activation in ["relu", "tanh"][: int(generator.integers(1, 3))]:
        spread = 10.0 ** generator.uniform(-4, -1)
        means = 0.8 + spread * generator.choice([0, 0, 0, 1, 5], count)
        test = means[:, None] + spread * generator.standard_normal((count, seeds)) * generator.choice([0, 1, 1, 1])
        shape = generator.choice(["smooth", "plateau", "failing", "diverging"])
        hit = generator.random(test.shape) < 0.3
        if shape == "plateau":
            test[hit] -= 0.1
        elif shape == "failing":
            test[hit] = 0.1
        test = np.round(np.clip(test, 0, 1) * images) / images
        validation = np.round(np.clip(test + generator.normal(0, spread, test.shape), 0, 1) * 5000) / 5000
        if shape == "diverging":
            test[hit] = validation[hit] = np.nan
        by_name = {name: list(row) for name, row in zip(names, validation, strict=True)}
        frame = frame_of({name: list(row) for name, row in zip(names, test, strict=True)}, by_name)
        frame = frame.assign(activation=activation, dataset="odd")
        frame["status"] = np.where(frame["test_accuracy"].isna(), "diverged", "trained")
        if generator.random() < 0.4:
            frame = frame[generator.random(len(frame)) < 0.8]
        tables.append(frame)
    frame = pd.concat(tables, ignore_index=True)
    frame["cell"] = [f"{number}-{i}" for i in range(len(frame))]
    if generator.random() < 0.3:
        frame = frame.astype({"test_accuracy": np.float32, "validation_accuracy": np.float32})
    if generator.random() < 0.3:
        frame = frame.astype({"initializer": "category", "activation": "category"})
    return frame, {"odd": Chance(0.1, 0.1, 5000, images)}


def contradictions(table):
    """The rows of `verdicts` that say what another of their columns denies."""
    behind, best = table["significant"], table["standing"] != ""
    sole = (~behind).groupby(table["activation"], observed=True).transform("sum") == 1
    has_winner = table["worse_than"] != ""
    return {
        "significant and among the best": behind & best,
        "significant without one that it lost to": behind ^ has_winner,
        "lost to itself": has_winner & (table["worse_than"] == table["initializer"].astype(str)),
        "significant, and not": behind & ~((table["p"] <= 0.05) & (table["worse_by"] > 0)),
        "an interval below 0": behind & ~(table["worse_by_low"] >= 0),
        "outside of its interval": behind
        & ~table["worse_by"].between(table["worse_by_low"] - 1e-12, table["worse_by_high"] + 1e-12),
        "a difference outside of its interval": ~(
            table["difference_low"].isna()
            | table["difference"].between(table["difference_low"] - 1e-12, table["difference_high"] + 1e-12)
        ),
        "shown overall alone": table["significant_overall"] & ~behind,
        "the only one left, with a regret": sole & ~behind & (table["regret_bound"] > 0),
        "a regret below what it lost by": behind & (table["regret_bound"] < table["worse_by_low"] - 1e-12),
        "equivalent beyond the limit": table["equivalent"] & ~(table["regret_bound"] <= 0.01 + 1e-9),
        "two leaders": table.groupby("activation", observed=True)["leader"].transform("sum") > 1,
        "a p that is none": (table["p"] < 0) | (table["p"] > 1),
        "a mean outside of its interval": ~(
            table["all_low"].isna() | table["mean_all"].between(table["all_low"] - 1e-12, table["all_high"] + 1e-12)
        ),
    }


@pytest.mark.parametrize("compare", [stats.verdicts, stats.verdicts_at_every_look])
def test_no_column_contradicts_another_nor_depends_on_the_order_of_the_rows_whatever_the_table(compare):
    denied = []
    keys = ["activation", "initializer"]
    for number in range(TABLES):
        frame, chance = odd_frame(number)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table, shuffled = (
                compare(rows, ["activation"], chance=chance, equivalent_within=1.0)
                for rows in (frame, frame.sample(frac=1, random_state=number))
            )
        denied += [(number, contradiction) for contradiction, rows in contradictions(table).items() if rows.any()]
        ordered = [t.astype(dict.fromkeys(keys, str)).sort_values(keys, ignore_index=True) for t in (table, shuffled)]
        pd.testing.assert_frame_equal(*ordered, rtol=1e-9, atol=1e-12)
    assert not denied


def test_a_difference_is_that_of_the_seeds_of_its_interval_where_runs_are_missing():
    frame = frame_of({"a": [0.97, 0.97, 0.97, 0.97, 0.97], "b": [0.97, 0.3, 0.97, 0.96, 0.97], "c": [0.9] * 5})
    frame = frame[~((frame["initializer"] == "c") & (frame["seed"] < 2))]  # the seed at which b is far behind
    table = stats.verdicts(frame, ["activation"]).set_index("initializer")
    pairs = stats.pairs(frame, ["activation"]).set_index(["initializer", "other"])
    for name in "bc":
        row, pair = table.loc[name], pairs.loc[(name, "a")]
        assert row["difference"] == pair["difference"]
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
    assert table.loc["b", "difference"] == pytest.approx(0.01 / 3)


def test_half_widths_take_the_images_of_any_data_set():
    frame = frame_of({"a": [1 / 3] * 5}).assign(dataset="odd")
    half_width = stats.half_widths(frame, ["initializer"], chance={"odd": Chance(0.1, 0.1, 5000, 3)})["half_width"]
    assert half_width.tolist() == pytest.approx([2.776445 / 3 / np.sqrt(12 * 5)])


@pytest.mark.parametrize(
    "compare", [stats.verdicts, stats.verdicts_at_every_look, stats.decisions, stats.pairs, stats.scores]
)
def test_a_metric_or_a_combination_that_cannot_be_compared_is_one_clear_line(compare):
    frame = frame_of({"a": [0.9, 0.91], "b": [0.8, 0.81]})
    with pytest.raises(ValueError, match="metric = 'train_loss'; allowed: 'test_accuracy' or"):
        compare(frame, ["activation"], "train_loss")
    rates = pd.concat([frame.assign(learning_rate=0.1), frame.assign(learning_rate=1.0)])
    with pytest.raises(ValueError, match="combination: a has several runs at seed 0; allowed: one; add the other"):
        compare(rates, ["activation"])


def test_no_runs_have_no_ranks():
    assert stats.ranks(stats.scores(frame_of({"a": [0.9]})[:0], ["activation"])).empty


def test_the_images_of_one_data_set_do_not_limit_the_decisions_of_another():
    values = {"a": [0.9, 0.91, 0.92, 0.9, 0.91], "b": [0.8, 0.81, 0.82, 0.8, 0.815]}
    large, small = frame_of(values), frame_of(values).assign(dataset="three")
    chance = {"three": Chance(0.1, 0.1, 5000, 3)}
    both = stats.decisions(pd.concat([large, small]), ["dataset"], chance=chance)
    alone = stats.decisions(large, ["dataset"])
    pd.testing.assert_frame_equal(both[both["dataset"] == "mnist"], alone)
    assert both.loc[both["dataset"] == "three", "e_value"].max() < alone["e_value"].max()
