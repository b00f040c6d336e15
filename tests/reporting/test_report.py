"""The report: its words, its figures, and the page in a real browser."""

import base64
import dataclasses
import gzip
import hashlib
import io
import itertools
import json
import re
import warnings

import dateutil.parser
import numpy as np
import pandas as pd
import pytest
from frames import GRID as TEXT
from frames import frame_of, hash_of
from frames import frame_of_grid as made_up
from page import Page

import initbench as ib
from initbench import stats
from initbench.reporting import explorer, figures, narrative, numbers
from initbench.reporting.figures import style
from initbench.reporting.page import render
from initbench.reporting.palette import DARK, LIGHT
from initbench.results import store
from initbench.results.table import csv_bytes
from initbench.spec import grid, presets
from initbench.spec.columns import METRICS


@pytest.fixture(autouse=True)
def _raise_warnings_of_drawing(monkeypatch):
    monkeypatch.setattr(style, "WARNINGS", "error")


@pytest.fixture(scope="module")
def page():
    parsed = grid.parse(TEXT)
    environment = {"torch": "2.13.0", "processor": "a processor", "bits": "exact"}
    return render(made_up(parsed), parsed, [environment, environment], "initbench run page.toml")


def test_the_page_sends_no_requests(page):
    parsed = Page(page)
    assert parsed.addresses
    assert all(address.startswith(("data:", "#")) for address in parsed.addresses)
    assert [kind for kind, _ in parsed.scripts] == ["application/json", None]
    own = hashlib.sha256(parsed.scripts[1][1].encode()).digest()
    assert f"script-src 'sha256-{base64.b64encode(own).decode()}'" in page  # its own script runs, and no other
    assert "default-src 'none'" in page
    without_names = page.replace("http://www.w3.org/", "")  # the names of SVG, which are no addresses
    assert not re.search(r"url\((?!#)|@import|https?://", without_names)


def test_every_figure_has_a_description_and_its_numbers_in_a_table(page):
    figures = [image for image in Page(page).images if image["aria-label"]]
    # the overview; intervals, differences and curves of four choices; speed, and four across choices
    assert len(figures) == 1 + 3 * 4 + 1 + 4
    for image in figures:
        assert "zeros" in image["aria-label"]
        assert re.search(r"\d", image["aria-label"])
    assert page.count("<figure") == page.count('<table class="numbers">') == len(figures)
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names)) > 100  # parts of figures have names of their own
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', page)) <= set(names)


def words_with_five_seeds():
    parsed = grid.parse(TEXT, overrides={"seed": 5})
    environment = {"torch": "2.13.0", "processor": "a processor", "bits": "exact"}
    return Page(render(made_up(parsed), parsed, [environment, environment], "initbench run page.toml")).text


def test_the_answer_stands_first_in_words(without_figures):
    text = words_with_five_seeds()
    answer = text.index(
        "Tested together (at most 5% for any false claim in all 4 combinations), he_normal is significantly worse"
    )
    assert (
        answer < text.index("Use zeros: significantly better than every other.") < text.index("Splits and the leader")
    )
    assert "zeros works only because the network has no hidden layer." in text[:answer]
    assert (
        "60 training runs on MNIST (55,000 training images), 5 seeds per configuration, 2 epochs each, sgd at" in text
    )
    for part in (
        "Method",
        "Environment",
        "a processor",
        "Reproduce",
        "initbench run page.toml",
        "None of the 60 runs diverged or stayed at chance.",
    ):
        assert part in text


def test_the_tables_hold_the_numbers_of_the_statistics(page):
    parsed = grid.parse(TEXT)
    verdicts = stats.verdicts(made_up(parsed), ["activation", "loss"])
    text = Page(page).text
    for _, row in verdicts.iterrows():
        assert numbers.interval(row) in text


def test_the_articles_configuration_is_described_as_expected_behaviour(without_figures):
    text = words_with_five_seeds()
    assert "The configuration of the article that the preset keepcoding repeats" in text
    assert "expected behaviour, not a bug" in text
    assert "zeros are a good start" in text


def test_zeros_are_a_good_start_everywhere_only_where_no_combination_fails():
    frame = made_up(grid.parse(TEXT, overrides={"loss": "mse"}), lambda cell: 0.9 if cell.activation == "tanh" else 0.8)
    for failing, beginning in ((None, "zeros are a good start"), ("relu", "zeros can be a good start")):
        none = (frame["initializer"] == "zeros") & (frame["activation"] == failing)
        rows = frame.assign(status=frame["status"].astype(str).mask(none, "diverged"))
        (note,) = narrative.findings(stats.outcomes(rows), stats.verdicts(rows, ["activation"]))[:1]
        assert beginning in note
        assert ("starts saturated" in note) == (failing is None)


def test_initializers_that_set_the_same_weights_are_named_together():
    parsed = grid.parse(TEXT, overrides={"activation": "tanh"})
    frame = made_up(parsed)
    twin = frame[frame["initializer"] == "zeros"].assign(initializer="constant(value=0.0)")
    other = twin.assign(initializer="nearly", test_loss=twin["test_loss"].where(twin["seed"] > 0, 0.123))
    lacking = twin[twin["seed"] > 0].assign(initializer="lacking")
    rows = stats.outcomes(pd.concat([frame, twin, other, lacking], ignore_index=True))
    (note,) = [line for line in narrative.findings(rows, stats.verdicts(frame, ["loss"])) if "same results" in line]
    assert note.endswith("because here they set the same weights: constant(value=0.0), zeros.")
    assert not any(
        "same results" in line for line in narrative.findings(stats.outcomes(frame), stats.verdicts(frame, ["loss"]))
    )


def test_per_layer_schemes_have_short_names_that_fit_the_figures(recwarn):
    table = '{ hidden = "he_normal", last = { name = "normal", std = 0.01 } }'
    longest = (
        '{ first = "variance_scaling", hidden = "glorot_truncated_normal", last = { name = "uniform", low = -1 } }'
    )
    row = {"activation": "tanh", "loss": "mse"}
    parsed = grid.parse(TEXT.replace('"zeros"', f'"zeros", {table}, {longest}'), overrides=row)
    text = Page(render(made_up(parsed), parsed, [], "x")).text
    assert "he_normal with last normal(std=0.01)" in text
    assert "glorot_truncated_normal with first variance_scaling and last uniform(low=-1.0, high=0.05)" in text
    assert "per_layer(" not in text.replace(parsed.text, "")
    assert not [w for w in recwarn if "constrained_layout" in str(w.message)]


def test_the_same_table_makes_the_same_page(page):
    parsed = grid.parse(TEXT)
    environment = {"torch": "2.13.0", "processor": "a processor", "bits": "exact"}
    assert render(made_up(parsed), parsed, [environment], "initbench run page.toml") == page


def test_what_comes_from_a_grid_file_is_escaped():
    parsed = grid.parse(TEXT + "# <script>alert(1)</script>", overrides={"activation": "tanh", "loss": "mse"})
    text = render(made_up(parsed), parsed, [{"processor": "<img src=x>"}], "<b>")
    assert "<script>alert" not in text
    named = dataclasses.replace(parsed, name="<script>alert(1)</script>")
    frame = made_up(parsed).replace({"initializer": {"he_normal": "</script><script>alert(1)</script>"}})
    text = render(frame, named, [{"processor": "<img src=x>"}], "<b>")
    assert "<script>alert" not in text
    assert len(Page(text).scripts) == 2
    assert "<img src=x>" not in text
    assert "&lt;script&gt;alert(1)" in text


SHAPES = [
    ({"seed": 3}, "With 3 seeds and 3 initializers, even large differences can hardly be significant."),
    ({"seed": 1}, "With one seed there is no interval"),
    ({"seed": 2}, "With two seeds"),
    ({"initializer": "zeros"}, "there is nothing to compare"),
    ({"learning_rate": [0.1, 0.01]}, "learning rate 0.01"),
    ({"epochs": [1, 2], "loss": "mse"}, "epochs 1"),
    ({"hidden": [[8], [4, 4]]}, "hidden 4-4"),
    ({"activation": "tanh", "loss": "mse"}, "the best"),
]


def in_words(change):
    parsed = grid.parse(TEXT, overrides=change)
    frame = pd.concat([made_up_of_epochs(parsed, e) for e in parsed.axes["epochs"]], ignore_index=True)
    text = Page(render(frame, parsed, [], "initbench run page.toml")).text
    assert "nan" not in text.lower().replace("finance", "")
    return text


@pytest.mark.parametrize(("change", "sentence"), SHAPES)
def test_grids_of_other_shapes_read_well(change, sentence, without_figures):
    assert sentence in in_words(change)


@pytest.mark.parametrize(
    "change", [pytest.param(change, marks=() if "epochs" in change else pytest.mark.slow) for change, _ in SHAPES]
)
def test_grids_of_other_shapes_are_drawn(change):
    assert in_words(change)


def made_up_of_epochs(parsed, epochs):
    one_epoch_count = dataclasses.replace(parsed, axes={**parsed.axes, "epochs": (epochs,)})
    return made_up(one_epoch_count)


def test_divergence_is_counted_and_listed(without_figures):
    parsed = grid.parse(TEXT, overrides={"seed": 5})
    frame = made_up(parsed, broken=lambda c: c.initializer == "he_normal" and c.activation == "relu" and c.seed < 2)
    text = Page(render(frame, parsed, [], "x")).text
    assert "4 of 60 runs diverged (a loss became infinite or not a number) and 0 stayed at chance." in text
    assert "2 of 5" in text
    dead = made_up(parsed, broken=lambda c: c.activation == "relu" and c.loss == "mse")
    text = Page(render(dead, parsed, [], "x")).text
    assert (
        "Tested together (at most 5% for any false claim in all 3 combinations), he_normal is significantly worse"
        in text
    )
    assert text.count("Every run diverged: none can be recommended.") == 1
    everything = made_up(parsed, broken=lambda c: True)
    text = Page(render(everything, parsed, [], "x")).text
    assert "Every run diverged, so no initializer can be recommended." in text


def test_an_unfinished_experiment_is_described_as_unfinished(without_figures):
    parsed = grid.parse(TEXT)
    frame = made_up(parsed)
    text = Page(render(frame[frame["seed"] < 2], parsed, [], "initbench run page.toml")).text
    assert "2 seeds per configuration" in text
    assert "With two seeds" in text
    assert "12 of the 36 cells are not trained yet" in text
    text = Page(render(frame[:0], parsed, [], "initbench run page.toml")).text
    assert "No cell of this experiment is trained yet" in text


def test_a_verdict_names_the_best_initializers_and_the_significantly_worse():
    frame = frame_of(
        {
            "a": [0.90, 0.91, 0.92, 0.91, 0.90],
            "b": [0.90, 0.90, 0.93, 0.91, 0.89],
            "c": [0.50, 0.51, 0.52, 0.51, 0.50],
        }
    )
    assert narrative.verdict(stats.verdicts(frame, [])) == (
        "the best is among: a (90.8% +1.0 −1.5) and b; choosing a costs at most 1.29 points; significantly worse: c "
        "(40.0 points lower)."
    )
    values = {"best": [0.90, 0.91, 0.92], "loose": [0.9, 0.6, 0.3], "stuck": [0.1, 0.1, 0.1], "lost": [None] * 3}
    assert narrative.verdict(stats.verdicts(frame_of(values), [])) == (
        "the best is among: best (91.0% +2.5 −5.1), or, not ruled out by these seeds, loose "
        "(31.0 points lower) and lost (79.7 points lower; every run diverged); significantly worse: stuck (every run "
        "stayed at chance)."
    )
    some = frame_of({"a": [0.90, 0.91, 0.92, 0.91, 0.90], "b": [0.80, 0.81, None, 0.81, 0.80]})
    assert narrative.verdict(stats.verdicts(some, [])) == (
        "the best is among: a (90.8% +1.0 −1.3), or, not ruled out by these seeds, b (24.1 "
        "points lower; 1 of 5 runs diverged); choosing a costs at most 15.2 points."
    )
    one_seed = frame_of({"a": [0.9], "b": [0.8]})
    assert (
        narrative.verdict(stats.verdicts(one_seed, []))
        == "a (90.0%) leads, but with a single seed no difference can be tested."
    )
    alone = narrative.verdict(stats.verdicts(frame_of({"a": [0.9, 0.9]}), []))
    assert alone == "a reaches 90.00% ± 0.00†; there is nothing to compare it with."


def test_the_page_carries_its_data_as_csv_and_parquet(page):
    frame = made_up(grid.parse(TEXT))
    addresses = [
        address.partition(",")[2] for address in Page(page).addresses if address.startswith("data:application")
    ]
    csv, parquet = (base64.b64decode(text) for text in addresses)
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(parquet)), frame)
    assert gzip.decompress(csv) == csv_bytes(frame)
    read = pd.read_csv(io.BytesIO(gzip.decompress(csv)), keep_default_na=True, na_values=[""])
    pd.testing.assert_frame_equal(read[list(METRICS)], frame[list(METRICS)])
    assert read["cell"].astype(str).tolist() == frame["cell"].tolist()


@pytest.mark.parametrize("kind", [str, "category"])  # a long table has its text as categories
def test_hidden_layers_in_csv_are_lists_and_no_dates(kind):
    parsed = grid.parse(TEXT, overrides={"hidden": [[], [128], [12, 10]], "seed": 1})
    frame = made_up(parsed).astype({"hidden": kind})
    read = pd.read_csv(io.BytesIO(csv_bytes(frame)))
    assert list(map(json.loads, read["hidden"])) == [[int(n) for n in h.split("-") if n] for h in frame["hidden"]]
    for text in read["hidden"].unique():
        with pytest.raises(ValueError, match="format"):
            dateutil.parser.parse(text)
    assert set(frame["hidden"]) == {"", "128", "12-10"}  # the table itself is as it was


def test_a_large_experiment_is_embedded_in_part_and_the_page_notes_it():
    frame = made_up(grid.parse(TEXT))
    many = pd.concat([frame] * 300, ignore_index=True)
    rows, description = explorer.embedded(many)
    assert len(rows) == 36 * 300
    assert (rows["epoch"] == 2).all()
    assert "the last epoch of each cell, 10,800 rows" in description
    assert explorer.embedded(pd.concat([many] * 3))[0].empty


def test_the_report_of_an_experiment_is_small_and_has_its_speed(copied):
    timings = store.read_timings(copied)
    assert len(timings) == 2
    starts = [sum(record["seconds"] for record in timing["initialization"].values()) for timing in timings]
    trained = [timing["seconds"] - start for timing, start in zip(timings, starts, strict=True)]
    possible = sum(s * timing["product_rate"] for s, timing in zip(trained, timings, strict=True))
    share = sum(timing["operations"] for timing in timings) / possible
    assert 0 < share < 1.5
    path = ib.report(copied)
    assert path == copied / "report.html"
    assert len(path.read_bytes()) < 3_000_000
    text = Page(path.read_text(encoding="utf-8")).text
    assert f"{100 * share:.0f}% of that core’s rate in a large matrix product" in text
    assert f"its training took {sum(trained) / 12:.2g} s" in text


def test_the_time_of_initialization_is_reported_apart_from_training():
    by_initializer = {"metainit": {"cells": 2, "seconds": 250.0}, "zeros": {"cells": 2, "seconds": 0.0}, "broken": None}
    timing = {"seconds": 254.0, "cells": 4, "operations": 4e9, "product_rate": 2e9, "initialization": by_initializer}
    assert narrative.speed([timing]).startswith("Training took 4 min 14 s")  # a damaged timing is not read
    del by_initializer["broken"]
    assert narrative.speed([timing]) == (
        "Training took 4 s of one core and reached 1 GFLOP/s, 50% of that core’s rate in a large matrix product."
    )
    others = "less than 0.01 s with the others; its training took 1 s."
    assert narrative.initialization([timing]) == f"A cell’s initial weights took 2 min 5 s with metainit, and {others}"
    assert narrative.initialization([timing], ["zeros"]) == (
        "A cell’s initial weights took less than 0.01 s with every initializer; its training took 1 s."
    )
    assert narrative.initialization([timing], []) == narrative.initialization([{"seconds": 1.0}]) == ""


def test_the_page_estimates_the_number_of_seeds_required(page, without_figures):
    parsed = grid.parse(TEXT)
    verdicts = stats.verdicts(made_up(parsed), ["activation", "loss"])
    text = Page(page).text
    assert "Seeds that a difference needs" in text
    for _, rows in verdicts.groupby(["activation", "loss"], sort=False):
        nearest = rows.loc[rows["difference"].idxmin()]
        planned = stats.power_analysis(nearest.to_frame().T.infer_objects()).iloc[0]
        assert numbers.signed(planned["detectable"], 2) in text
        assert numbers.whole(planned["needed_0.001"]) in text
    alone = grid.parse(TEXT, overrides={"seed": 1})
    assert "Seeds that a difference needs" not in Page(render(made_up(alone), alone, [], "x")).text


def test_the_page_reports_how_fast_an_initializer_approaches_the_leader(without_figures):
    parsed = grid.parse(TEXT)
    frame = made_up(parsed)
    verdicts = stats.verdicts(frame, ["activation", "loss"])
    table = stats.near_leader(frame, ["activation", "loss"], verdicts).set_index(["activation", "loss", "initializer"])
    for (activation, loss), rows in verdicts.groupby(["activation", "loss"]):
        target = rows.loc[rows["leader"], "validation_accuracy"].item() - 0.01
        for name in rows["initializer"]:
            cells = frame[
                (frame["activation"] == activation) & (frame["loss"] == loss) & (frame["initializer"] == name)
            ]
            by_hand = cells[cells["validation_accuracy"] >= target].groupby("cell")["epoch"].min()
            assert table.loc[(activation, loss, name), "reached"] == len(by_hand)
            if len(by_hand) == 3:
                assert table.loc[(activation, loss, name), "median"] == by_hand.median()
    assert (table["reached"] > 0).any()
    text = Page(render(frame, parsed, [], "x")).text
    for median, reached in table.loc[table["reached"] == 3, ["median", "reached"]].itertuples(index=False):
        assert f"{median:.0f} ({reached} of 3)" in text


def test_one_that_shares_too_few_seeds_with_the_others_is_not_said_to_be_compared():
    """Three initializers, each pair with seeds of its own: no seed is common to all three."""
    better = {seed: ["ab", "bc", "ca"][seed // 5] for seed in range(15)}
    values = {
        name: [0.9 + 0.001 * (s % 5) - 0.1 * (p[1] == name) if name in p else np.nan for s, p in better.items()]
        for name in "abc"
    }
    frame = frame_of(values)
    frame = frame[frame["test_accuracy"].notna()].assign(activation="tanh")
    verdicts = stats.verdicts(frame, ["activation"])
    assert narrative.verdict(verdicts) == (
        "the best of those tested: b (85.2% +3.8 −4.9); significantly worse: c (10.0 points lower); a shares too few "
        "seeds for a test."
    )


def noisy(count, spread=0.015, step=0.0):
    """Initializers of this many equal, or ever lower, true accuracies, at five seeds."""
    generator = np.random.default_rng(0)
    values = {f"i{i:02}": 0.9 - step * i + spread * generator.standard_normal(5) for i in range(count)}
    return stats.verdicts(frame_of(values).assign(activation="tanh"), ["activation"], equivalent_within=5)


@pytest.mark.parametrize(("count", "step"), [(3, 0.0), (6, 0.0), (20, 0.0), (20, 0.003), (20, 0.03)])
def test_all_that_may_be_the_best_are_named_or_counted_however_far_behind(count, step):
    table = noisy(count, step=step)
    candidates = table.loc[~table["significant"], "initializer"]
    assert set(table.loc[table["standing"] != "", "initializer"]) == set(candidates)
    sentence = narrative.verdict(table).partition("; ")[0]
    names, rest = re.findall(r"i\d\d", sentence), re.findall(r"(\d+) more", sentence)
    assert set(names) <= set(candidates)
    assert len(names) + sum(map(int, rest)) == len(candidates)
    if rest:
        assert sentence.startswith(f"the best is among {len(candidates)}: ")


def test_what_a_choice_costs_at_most_is_stated_and_what_is_equivalent_is_named():
    shift = np.array([0.0, 0.002, 0.001, 0.003, 0.0015])
    noise = 0.0001 * np.array([1, -1, 0, 1, -1])
    values = {"a": 0.9 + shift, "b": 0.8999 + shift + noise, "c": 0.896 + shift - noise, "d": 0.8 + shift}
    table = stats.verdicts(frame_of(values), [], equivalent_within=0.2)
    bound = table.set_index("initializer")["regret_bound"]
    assert bound["b"] < 0.002 < bound["c"] < bound["d"]
    sentence = narrative.verdict(table, 0.2)
    assert f"choosing a costs at most {numbers.at_most(bound['a'])} points; " in sentence
    assert "equivalent within 0.2 points: a and b; " in sentence
    assert "equivalent" not in narrative.verdict(stats.verdicts(frame_of(values), []))
    assert "equivalent within 1 point: a, b and c; " in narrative.verdict(
        stats.verdicts(frame_of(values), [], equivalent_within=1), 1.0
    )
    close = stats.verdicts(
        frame_of({"a": values["a"], "b": values["a"] - 0.0005 + 20 * noise}), [], equivalent_within=0.2
    )
    assert narrative.verdict(close, 0.2) == (
        "the best is among: a (90.2% +0.1 −0.2) and b; choosing a costs at most 0.20 points (equivalent within 0.2 "
        "points)."
    )


def test_a_bound_is_rounded_up_so_that_it_still_bounds():
    generator = np.random.default_rng(0)
    for bound in [*generator.uniform(0, 0.5, 200), *generator.uniform(0, 0.02, 200)]:
        shown = float(numbers.at_most(bound))
        assert 100 * bound <= shown + 1e-9
        assert shown - 100 * bound <= (0.01 if bound < 0.02 else 0.1) + 1e-9


def lacking(frame, **values):
    """The table without the rows that have all these values."""
    here = pd.Series(True, frame.index)
    for setting, value in values.items():
        here &= frame[setting] == value
    return frame[~here]


RATES = {"learning_rate": [0.01, 0.1], "loss": "mse", "seed": 3}
DIVERGED = {"status": "diverged", **dict.fromkeys(METRICS, np.nan)}
SAME = {"test_accuracy": 0.9, "validation_accuracy": 0.9}
DEGENERATE = {
    "one seed": ({"seed": 1}, lambda f: f, "with a single seed no difference can be tested"),
    "one seed, several rates": (
        RATES | {"seed": 1}, lambda f: f, "no difference can be tested. each at its own best (zeros 0.",
    ),
    "one initializer": ({"initializer": "zeros"}, lambda f: f, "there is nothing to compare it with"),
    "one initializer, several rates": (
        RATES | {"initializer": "zeros"}, lambda f: f, "there is nothing to compare it with",
    ),
    "a single cell": (
        {"initializer": "zeros", "activation": "tanh", "loss": "mse", "seed": 1}, lambda f: f, "the only initializer",
    ),
    "all values equal": ({}, lambda f: f.assign(**SAME), "the interval is uninformative"),
    "no difference": (
        {}, lambda f: f.assign(**SAME), "no initializer is significantly worse than another",
    ),
    "all diverged": ({}, lambda f: f.assign(**DIVERGED), "Every run diverged"),
    "all diverged at every rate": (
        RATES, lambda f: f.assign(**DIVERGED), "Every run diverged, so no initializer can be recommended",
    ),
    "all at chance": (
        {}, lambda f: f.assign(test_accuracy=0.1, validation_accuracy=0.1), "Every run stayed at chance, so no",
    ),
    "a missing combination": (
        {}, lambda f: lacking(f, initializer="zeros", activation="tanh"), "6 of the 36 cells are not trained yet",
    ),
    "a missing combination of rates": (
        RATES, lambda f: lacking(f, initializer="zeros", learning_rate=0.1), "all at 0.01",
    ),
    "no rate that all have": (
        RATES,
        lambda f: lacking(
            lacking(f, initializer="zeros", learning_rate=0.1), initializer="he_normal", learning_rate=0.01
        ),
        "no learning rate has runs of all initializers",
    ),
    "accuracies that are no number": ({}, lambda f: f.assign(test_accuracy=np.nan), "Every run diverged"),
    "one initializer whose accuracies are no number": (
        {},
        lambda f: f.assign(test_accuracy=f["test_accuracy"].where(f["initializer"] != "he_normal")),
        "12 of 36 runs diverged",
    ),
    "a missing seed": ({}, lambda f: lacking(f, initializer="zeros", seed=1), "up to 3 seeds per configuration"),
    "no loss": (
        {}, lambda f: f.assign(train_loss=np.nan, test_loss=np.nan, validation_loss=np.nan), "zeros (90.",
    ),
}  # fmt: skip


def degenerate(case):
    change, spoil, sentence = DEGENERATE[case]
    parsed = grid.parse(TEXT, overrides=change)
    frame = spoil(made_up(parsed)).reset_index(drop=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = Page(render(frame, parsed, [], "initbench run page.toml")).text
    assert sentence in text
    lowered = text.lower().replace("finance", "")
    assert not re.search(r"\bnan\b|\binf\b|none%|\bnone\b points", lowered)


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_experiments_are_described_in_sentences(case, without_figures):
    degenerate(case)


# Those whose figures lack what the others have: seeds, rows, rates, differences, accuracies, losses.
DRAWN = {
    "a single cell",
    "all diverged at every rate",
    "no rate that all have",
    "one initializer whose accuracies are no number",
}
# The tables of "all values equal", and of two of SHAPES, which are drawn.
ALIKE = {"no difference", "one seed", "one initializer"}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case in DRAWN else pytest.mark.slow) for case in DEGENERATE if case not in ALIKE],
)
def test_degenerate_runs_are_drawn(case):
    degenerate(case)


def test_results_are_reported_at_the_common_and_at_the_own_best_learning_rates(without_figures):
    parsed = grid.parse(TEXT, overrides={"learning_rate": [0.01, 0.1, 1.0], "loss": "mse", "seed": 5})
    own = {"zeros": 0.01, "he_normal": 0.1, "truncated_normal(std=1.0)": 0.1}
    frame = made_up(parsed, lambda c: 0.9 if own[c.initializer] == c.learning_rate else 0.6)
    text = Page(render(frame, parsed, [], "x")).text
    assert "With each initializer at its own best learning rate, he_normal and truncated_normal(std=1.0) are" in text
    assert "in both combinations), no initializer is significantly worse than another." in text
    assert "all at 0.1: " in text
    assert "each at its own best (zeros 0.01, he_normal 0.1 and truncated_normal(std=1.0) 0.1): " in text
    assert "zeros is among the best only at 0.01 and 1." in text
    assert "zeros is best at the lowest or highest of these rates: one beyond may be better." in text
    alone = grid.parse(TEXT, overrides={"learning_rate": [0.01, 0.1], "loss": "mse", "activation": "tanh"})
    text = Page(render(made_up(alone), alone, [], "x")).text
    assert "Which weight initializer for tanh with mse?" in text
    assert "tanh, mse: all at " in text


def test_an_interval_is_the_same_in_the_answer_the_table_and_the_figures():
    from initbench.reporting.evidence import Evidence
    from initbench.reporting.gallery import gallery

    parsed = grid.parse(TEXT, overrides={"learning_rate": [0.01, 0.1], "loss": "mse", "activation": "tanh", "seed": 5})
    evidence = Evidence.of(made_up(parsed), parsed)
    leader = evidence.first.verdicts[evidence.first.verdicts["leader"]].iloc[0]
    shown = numbers.interval(leader)
    assert " +" in shown  # its lower end is further away, as it was selected from three initializers at two rates
    assert shown in narrative.verdict(evidence.first.verdicts)
    palette = figures.Palette.of(evidence.initializers)
    drawn = {figure.section: figure.figure.draw() for figure in gallery(evidence, palette) if figure.section == "rates"}
    (row,) = [row for row in drawn["rates"].rows if row[0] == leader["initializer"]]
    assert shown in row
    for row, (_, of_statistics) in zip(explorer.rows_of(evidence), evidence.verdicts.iterrows(), strict=True):
        assert row["metrics"][0][0] == numbers.interval(of_statistics)
        assert row["metrics"][0][1:4] == [of_statistics[end] for end in ("mean_all", "all_low", "all_high")]


def linear(channel):
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def rgb(hexed):
    return np.array([int(hexed[i : i + 2], 16) / 255 for i in (1, 3, 5)])


SEEN = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900],
    ],
    None: np.eye(3),
}  # fmt: skip


def lab(hexed, deficiency=None):
    """CIELAB (D65) of an sRGB colour, as seen with a dichromacy: Machado, Oliveira & Fernandes 2009, severity 1."""
    light = np.clip(np.array(SEEN[deficiency]) @ [linear(c) for c in rgb(hexed)], 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ light
    f = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.089], 216 / 24389))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize(("palette", "ground"), [(LIGHT, "#ffffff"), (DARK, "#14181c")])
def test_colours_stand_out_from_their_ground_and_from_each_other_for_the_colour_blind(palette, ground):
    """At least 3:1 against the ground (WCAG 2.2, 1.4.11), and 15 of CIELAB units apart for every viewer.
    Colours similar in lightness, on grey paper, have different markers.
    """

    def luminance(hexed):
        return np.array([0.2126, 0.7152, 0.0722]) @ [linear(c) for c in rgb(hexed)]

    for colour in palette:
        darker, lighter = sorted([luminance(colour) + 0.05, luminance(ground) + 0.05])
        assert lighter / darker >= 3, colour
    for deficiency in (None, "protanopia", "deuteranopia", "tritanopia"):
        for first, second in itertools.combinations(palette, 2):
            assert np.linalg.norm(lab(first, deficiency) - lab(second, deficiency)) >= 15, (first, second, deficiency)


def test_an_initializer_has_one_colour_and_one_marker_throughout():
    for count in (3, 10, 46):
        palette = figures.Palette.of([f"n{i}" for i in range(count)])
        pairs = {(palette.light[name], palette.markers[name]) for name in palette.light}
        assert len(pairs) == len(palette.light) == len(palette.dark) == count
        assert len(set(palette.light.values())) == count
        assert not {style.INK, style.GRID, style.GROUND} & set(palette.light.values())
    assert len({palette.markers[f"n{i}"] for i in range(10)}) == 10


@pytest.mark.slow
def test_the_articles_report_is_small():
    article = grid.parse(presets.text("keepcoding"))
    assert len(render(made_up(article), article, [], "x").encode()) < 3_000_000


@pytest.mark.slow
def test_the_report_of_10_000_cells_is_small():
    many = grid.parse(presets.text("keepcoding"), overrides={"seed": 208, "epochs": 10})
    assert len(many) == 9984
    page = render(made_up(many, lambda c: hash_of(c) / 16**6), many, [], "x")
    assert len(page.encode()) < 10_000_000
    assert "The data, the last epoch of each cell" in Page(page).text


def judged(**values):
    return narrative.verdict(stats.verdicts(frame_of(values).assign(activation="tanh"), ["activation"]))


FIVE = [0.0, 0.002, 0.001, 0.003, 0.0015]


def around(mean):
    return [mean + s for s in FIVE]


def test_who_was_not_compared_is_not_passed_over():
    assert judged(A=around(0.9), B=around(0.5), C=[0.899]) == (
        "the best of those tested: A (90.2% +0.1 −0.2); significantly worse: B (40.0 points lower); C shares too few "
        "seeds for a test."
    )
    assert judged(A=around(0.9), B=around(0.5), C=[0.95]) == (
        "the best of those tested: A (90.2% ± 0.1); C (95.0%) leads, but shares too few seeds for a test; "
        "significantly worse: B (45.0 points lower)."
    )
    # That B never trained does not prove that A is better.
    assert judged(A=[0.3, 0.2, 0.9], B=[0.1, 0.1, 0.1]) == (
        "the best is among: A (46.7% ± over 50), or, not ruled out by these seeds, B (36.7 "
        "points lower; every run stayed at chance)."
    )


def test_initializers_that_are_best_at_some_learning_rates_only_are_listed_with_them():
    frames = [
        frame_of({"A": around(a), "B": around(b)}, learning_rate=rate)
        for rate, a, b in ((0.1, 0.9, 0.5), (0.2, 0.9, 0.9), (0.3, 0.5, 0.9))
    ]
    verdicts = stats.verdicts(pd.concat(frames, ignore_index=True), ["learning_rate"])
    assert narrative.best_at_some_rates(verdicts) == [
        "A is among the best only at 0.1 and 0.2",
        "B is among the best only at 0.2 and 0.3",
    ]
    lacking_one = pd.concat([*frames[:2], frame_of({"B": around(0.9)}, learning_rate=0.3)], ignore_index=True)
    assert narrative.best_at_some_rates(stats.verdicts(lacking_one, ["learning_rate"])) == []


def printed(frame, parsed, capsys, monkeypatch, columns=200, command=()):
    from initbench.reporting.evidence import Evidence
    from initbench.reporting.terminal import summary_table

    monkeypatch.setenv("COLUMNS", str(columns))
    evidence = Evidence.of(frame, parsed)
    summary_table(evidence, command)
    return capsys.readouterr().out, evidence.verdicts


def test_the_terminal_names_those_that_are_among_the_best_and_no_others(capsys, monkeypatch):
    parsed = grid.parse(TEXT, overrides={"activation": "tanh", "loss": "mse", "seed": 5})
    alike = lambda c: 0.9 + 0.01 * ((3 * c.seed + (c.initializer == "zeros")) % 5)  # noqa: E731
    frame = made_up(parsed, lambda c: 0.1 if "truncated" in c.initializer else alike(c))
    out, _ = printed(frame, parsed, capsys, monkeypatch)
    table = out.partition("±: ")[0]
    assert "he_normal, zeros" in table  # which comes last, because there is no hidden layer
    assert "truncated" not in table  # which failed at every seed
    assert "zeros works only because the network has no hidden layer" in out
    assert "5 of 15 runs learned nothing (stayed at chance): all of truncated_normal(std=1.0)." in out


def test_the_terminal_names_what_is_not_ruled_out_and_breaks_no_name(capsys, monkeypatch):
    parsed = grid.parse("equivalent_within = 20\n" + TEXT, overrides={"loss": "mse", "seed": 5})
    names = {"zeros": 0.9, "he_normal": 0.89}
    frame = made_up(parsed, lambda c: names.get(c.initializer, 0.86 + 0.05 * (c.seed % 2)))
    out, verdicts = printed(frame, parsed, capsys, monkeypatch, columns=60)
    assert (verdicts["standing"] == "open").any()
    table, _, legend = out.partition("±: ")
    assert "tie within 20" in table
    assert "Failed" in table
    for name in ("zeros", "he_normal", "truncated_normal(std=1.0)"):
        assert (name in table) == ((verdicts["initializer"] == name) & (verdicts["standing"] != "")).any()
    assert "◦truncated_normal(std=1.0)" in table
    assert "◦: more than a point lower, but not ruled out." in legend
    assert "Tie: each costs at most 20 points." in legend


def test_the_terminal_names_why_no_difference_is_tested(capsys, monkeypatch):
    parsed = grid.parse(TEXT, overrides={"activation": "tanh", "loss": "mse", "seed": 2})
    frame = made_up(parsed)
    first = frame["initializer"].iloc[0]
    of_one_seed = frame[frame["seed"] == 0]
    few_common = frame[(frame["initializer"] == first) | (frame["seed"] == 0)]
    for rows, cause in ((of_one_seed, "one seed"), (few_common, "too few common seeds")):
        out, _ = printed(rows, parsed, capsys, monkeypatch, command=("initbench", "run", "my grid.toml"))
        assert cause in out
        assert "To settle what is open: initbench run 'my grid.toml' --set 'seed={until=\"decided\"" in out


@pytest.mark.parametrize("name", presets.names())
def test_the_summary_of_a_preset_fits_100_columns(name, capsys, monkeypatch):
    parsed = grid.parse(presets.text(name), overrides={"seed": 5, "epochs": 1})
    out, _ = printed(made_up(parsed, lambda c: 0.9), parsed, capsys, monkeypatch, columns=100)
    assert max(map(len, out.partition("±: ")[0].splitlines())) <= 100


def test_several_kinds_of_machine_are_described_in_words(without_figures):
    environment = {"processor": "AMD EPYC", "device": "cpu", "torch": "2.13.0"}
    assert narrative.mixed([environment, {**environment, "torch": "2.12.0"}]) == ""
    sentence = narrative.mixed(
        [environment, {**environment, "processor": "Intel Xeon"}, {**environment, "device": "cuda: NVIDIA H100"}]
    )
    assert "Trained on 3 kinds of machine: AMD EPYC, Intel Xeon and cuda: NVIDIA H100 with AMD EPYC." in sentence
    assert "Between kinds, results may differ by rounding" in sentence
    parsed = grid.parse(TEXT)
    page = render(
        made_up(parsed), parsed, [environment, {**environment, "processor": "Intel Xeon"}], "initbench run page.toml"
    )
    assert "Trained on 2 kinds of machine: AMD EPYC and Intel Xeon." in page
