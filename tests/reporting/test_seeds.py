"""Sentences about a rule that adds seeds until it is certain, and the report of an experiment that has one."""

import dataclasses
import html
import re

import numpy as np
import pytest
from frames import hash_of

from initbench import stats
from initbench.api import rounds
from initbench.reporting import seeds, tables
from initbench.reporting.evidence import Evidence
from initbench.reporting.page import render
from initbench.results.rounds import Rounds
from initbench.results.table import table
from initbench.spec import grid
from initbench.spec.columns import METRICS
from initbench.spec.seed_rule import SeedRule

DECIDED, NARROW = SeedRule(None, 5, 200), SeedRule(0.002, 10, 200)


def state(rule, counts, n_open=0, n_refused=0, missing=0, share=np.nan):
    return Rounds(
        rule=rule,
        cells=[None] * sum(counts),
        missing=[None] * missing,
        seeds=counts,
        active=[True] * len(counts),
        open=n_open,
        refused=n_refused,
        at=max(counts) - 5 * (missing > 0),
        most=[],
        excluded_share=share,
    )


@pytest.mark.parametrize(
    ("rounds", "sentence"),
    [
        (
            state(DECIDED, [10, 15], n_open=1, missing=5),
            "After 10 seeds 1 of 2 configurations is undecided: 5 cells more",
        ),
        (
            state(NARROW, [15, 15], n_open=2, missing=10),
            "After 10 seeds 2 of 2 configurations are wider than ± 0.2 points: 10 cells more",
        ),
        (
            state(DECIDED, [10, 15]),
            "Every initializer is decided. 10 to 15 seeds each, 25 runs in all: 375 fewer than with 200 seeds each and "
            "5 fewer than with 15.",
        ),
        (
            state(DECIDED, [10, 200, 200], n_open=2),
            "Stopped at the maximum of 200 seeds: 2 of 3 configurations are undecided. 10 to 200 seeds each, 410 runs "
            "in all: 190 fewer than with 200 seeds each.",
        ),
        (
            state(NARROW, [200], n_open=1),
            "Stopped at the maximum of 200 seeds: 1 of 1 configuration is wider than ± 0.2 points. 200 seeds each, 200 "
            "runs in all.",
        ),
        (
            state(NARROW, [15, 15]),
            "The 95% interval of every configuration is at most ± 0.2 points. 15 seeds each, 30 runs in all: 370 fewer "
            "than with 200 seeds each.",
        ),
        (
            state(NARROW, [15, 15], n_refused=1),
            "No half-width is promised for 1 of 2 configurations: runs failed or stay on a plateau, and a mean of two "
            "kinds of runs has no such interval. The 95% interval of every other configuration is at most ± 0.2 "
            "points. 15 seeds each, 30 runs in all: 370 fewer than with 200 seeds each.",
        ),
    ],
)
def test_each_look_says_what_is_open_how_it_ended_and_what_it_cost(rounds, sentence):
    assert seeds.looked(rounds) == sentence


def test_runs_without_a_failure_do_not_exclude_a_share_of_failures():
    ended = state(NARROW, [20, 30], share=1 - 0.05 ** (1 / 20))
    assert seeds.report(ended)[1].endswith(
        "That assumes runs of one kind: 20 runs without a failure do not exclude that up to 14% of all runs fail "
        "(1 − 0.05^(1/20))."
    )
    assert seeds.report(state(DECIDED, [20, 30]))[1] == "Every initializer is decided."
    assert seeds.report(state(DECIDED, [5, 5], missing=3)) == [
        "Seeds were added five at a time, from 5 to at most 200, until every initializer is decided. 5 seeds each, 10 "
        "runs in all: 390 fewer than with 200 seeds each.",
        "It has not ended.",
    ]


TEXT = """
[grid]
initializer = ["zeros", "he_normal", "glorot_normal"]
activation = ["tanh", "relu"]
seed = SEED
[training]
epochs = 1
"""
MEANS = {"zeros": 0.9, "he_normal": 0.97, "glorot_normal": 0.969}


def experiment(seed):
    """A grid with this rule, the rows of the cells that it requests, and its state."""
    parsed = grid.parse(TEXT.replace("SEED", seed), name="made-up")
    cells = list(parsed.cells())
    noise = [float(np.random.default_rng(hash_of(cell)).normal()) for cell in cells]
    values = [[MEANS[cell.initializer] + 0.003 * z for cell, z in zip(cells, noise, strict=True)]] * 2
    frame = table(cells, dict.fromkeys(METRICS, values)).to_pandas()
    state = rounds.replayed(parsed, frame)
    assert state.ended
    return parsed, frame[frame["cell"].isin({cell.id for cell in state.cells})].reset_index(drop=True), state


@pytest.fixture(scope="module")
def decided():
    return experiment('{ until = "decided", min = 6, max = 40 }')


@pytest.fixture(scope="module")
def narrow():
    return experiment("{ until_halfwidth = 0.002, min = 5, max = 60 }")


def page_of(parsed, frame, state):
    return html.unescape(render(frame, parsed, [], "initbench run made-up.toml", rounds=state))


def test_claims_of_the_report_hold_at_every_look(decided, without_figures):
    parsed, frame, state = decided
    evidence = Evidence.of(frame, parsed)
    expected = stats.decisions(frame, ["activation"]).set_index(["activation", "initializer"])
    verdicts = evidence.verdicts.set_index(["activation", "initializer"])
    for column in ("significant", "worse_than", "leader", "seeds"):
        assert verdicts[column].to_dict() == expected[column].to_dict()
    pairs = evidence.pairs.set_index(["activation", "initializer", "other"])["p"]
    assert pairs["tanh", "zeros", "he_normal"] < 0.05
    page = page_of(*decided)
    assert "Seeds were added five at a time, from 6 to at most 40, until every initializer is decided." in page
    assert "an e-value" in page
    assert "one shares the variances of all pairs" not in page
    assert 'id="seeds"' not in page  # a number of seeds that would be enough is what the rule finds
    assert "not trained yet" not in page
    assert f"The experiment has {len(state.cells)} cells: 3 initializers × 2 activations × 6 to 40 seeds" in page


def test_statements_across_combinations_use_the_seeds_whose_number_was_fixed(decided, without_figures):
    evidence = Evidence.of(decided[1], decided[0])
    assert {len(values) for arrays in evidence.scores.values() for values in arrays} == {6}
    assert evidence.seeds > 6
    assert "The first 6 seeds are used" in page_of(*decided)


def test_the_half_width_of_the_rule_is_the_one_that_is_shown(narrow, without_figures):
    parsed, frame, state = narrow
    verdicts = Evidence.of(frame, parsed).verdicts
    clean = verdicts[(verdicts["flag"] == "") & ~verdicts["leader"]]
    assert len(clean) > 1
    assert (clean["all_high"] - clean["mean_all"]).to_numpy() == pytest.approx(0.002)
    assert (clean["mean_all"] - clean["all_low"]).to_numpy() == pytest.approx(0.002)
    assert set(verdicts["significant"]) == {True, False}
    page = page_of(*narrow)
    assert "until every 95% interval is at most ± 0.2 points" in page
    assert f"{state.saved:,} fewer than with 60 seeds each" in page
    shown = re.findall(r"<span>9\d\.\d% ± (\d\.\d)</span>", page)
    assert set(shown) == {"0.2"}
    assert "The first" not in page
    assert "0.2" in tables.markdown(Evidence.of(frame, parsed))


def test_an_unfinished_round_is_reported_as_unfinished(decided, without_figures):
    parsed, frame, _ = decided
    begun = frame[frame["seed"] < 4]
    state = rounds.replayed(parsed, begun)
    page = page_of(parsed, begun, state)
    assert "It has not ended." in page
    assert "12 of the 36 cells are not trained yet" in page
    assert dataclasses.replace(state, missing=[]).ended
