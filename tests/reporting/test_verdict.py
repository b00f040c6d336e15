"""The verdict of `initbench try`: its sentences have the table's numbers, by pandas and scipy, and claim no more."""

import re

import numpy as np
import pandas as pd
import pytest
from frames import frame_of_grid, hash_of
from scipy import stats as scipy_stats

from initbench.reporting import answers as words
from initbench.reporting.evidence import Evidence
from initbench.reporting.verdict import verdicts
from initbench.spec import grid

MINE = "lecun_uniform"  # stands for an initializer of one's own


def grid_of(initializers, activations=("tanh", "relu"), rates=(0.1, 0.3), seeds=5, within=None):
    lines = [f"equivalent_within = {within}"] * (within is not None)
    lines += ["[grid]", f"initializer = {list(initializers)}", f"activation = {list(activations)}"]
    lines += [f"learning_rate = {list(rates)}", f"seed = {seeds}", "[training]", "epochs = 2"]
    return grid.parse("\n".join(lines))


def table_of(parsed, means, spread=0.004, broken=lambda cell: False, seed=7):
    """A table whose accuracies are a mean for each initializer, activation and rate, plus luck of each run."""
    generator = np.random.default_rng(seed)
    luck = {cell.id: spread * generator.standard_normal() for cell in parsed.cells()}
    frame = frame_of_grid(parsed, lambda c: means(c) + luck[c.id] - 0.001 * (hash_of(c) % 7), broken)
    last = frame["epoch"] == frame["epochs"]
    frame.loc[last, "validation_accuracy"] += 0.001 * generator.standard_normal(int(last.sum()))
    return frame


def sentences_of(frame, parsed, own=(MINE,)):
    return [verdict.sentences for verdict in verdicts(Evidence.of(frame, parsed), own)]


def at_own_best(frame):
    """Test accuracies at the rate with the highest mean validation accuracy: `[combination, seed]` by initializer."""
    last = frame[frame["epoch"] == frame["epochs"]]
    keys = ["activation", "initializer"]
    by_rate = last.groupby([*keys, "learning_rate"])["validation_accuracy"].mean().reset_index()
    best = by_rate.loc[by_rate.groupby(keys)["validation_accuracy"].idxmax(), [*keys, "learning_rate"]]
    return last.merge(best, on=[*keys, "learning_rate"])


def numbers_in(text):
    return [float(number.replace("−", "-")) for number in re.findall(r"−?\d+\.\d+", text)]


def counts_in(first, phrase):
    """The numbers of combinations with a phrase in the first sentence: tested alone, and with all tested together."""
    count = r"(\d+|both|all \d+|none)(?: of the \d+)?(?: combinations)?"
    match = re.search(rf"{count} {phrase}(?:[, (]+([^()]*?) tested together)?", first, re.IGNORECASE)
    if not match or match[1] == "none":
        return [0, 0]
    alone = 2 if match[1].lower() == "both" else int(re.search(r"\d+", match[1])[0])
    together = re.match(r"(also)|(\d+) of them also|not|none", match[2])
    return [alone, alone if together[1] else int(together[2] or 0)]


@pytest.mark.parametrize(("gain", "seed"), [(0.01, 1), (0.0, 2), (-0.006, 3), (0.002, 4)])
def test_with_one_rival_differences_intervals_and_tests_are_those_of_the_paired_t_test(gain, seed):
    parsed = grid_of([MINE, "he_normal"], ["tanh", "relu", "gelu", "sigmoid"])
    by_activation = {"tanh": 0.002, "relu": -0.002, "gelu": 0.0, "sigmoid": 0.001}
    frame = table_of(
        parsed,
        lambda c: (
            0.9 + 0.01 * (c.learning_rate == 0.3) + (gain + by_activation[c.activation]) * (c.initializer == MINE)
        ),
        seed=seed,
    )
    ((first, second, third),) = sentences_of(frame, parsed)
    wide = at_own_best(frame).pivot_table(index=["activation", "seed"], columns="initializer", values="test_accuracy")
    difference = (wide[MINE] - wide["he_normal"]).unstack()  # activations × seeds

    overall = scipy_stats.ttest_1samp(difference.mean(), 0)
    expected = 100 * np.array([difference.mean().mean(), *overall.confidence_interval(0.95)])
    assert numbers_in(second.replace("95%", "")) == pytest.approx(expected, abs=0.00501)
    direction = "better" if expected[0] > 0 else "worse"
    assert (f"significantly {direction}" in second) == (overall.pvalue <= 0.05)
    assert ("no significant difference, which does not show that they are equal" in second) == (overall.pvalue > 0.05)

    tests = [scipy_stats.ttest_1samp(row, 0) for row in difference.to_numpy()]
    ends = [test.confidence_interval(1 - 0.05 / 4) for test in tests]  # for four combinations together
    rows = pd.DataFrame(
        {"mean": difference.mean(axis=1).to_numpy(), "low": [e[0] for e in ends], "high": [e[1] for e in ends]}
    )
    most, least = (100 * rows.loc[i].to_numpy() for i in (rows["mean"].idxmax(), rows["mean"].idxmin()))
    if rows["mean"].max() > 0 > rows["mean"].min():
        assert f"gains most with {difference.index[rows['mean'].argmax()]}," in third
        assert numbers_in(third)[:6] == pytest.approx([*most, *least], abs=0.0501)

    p_of_losses = [test.pvalue for test, row in zip(tests, difference.to_numpy(), strict=True) if row.mean() < 0]
    p_of_gains = [test.pvalue for test, row in zip(tests, difference.to_numpy(), strict=True) if row.mean() > 0]
    worse = counts_in(first, "(?:it|lecun_uniform) is significantly worse than another")
    better = counts_in(first, "significantly better than every other")
    for counts, p_values in ((worse, p_of_losses), (better, p_of_gains)):
        assert counts == [sum(p <= level for p in p_values) for level in (0.05, 0.05 / 4)]


def test_combinations_are_counted_once_each_and_failures_are_named():
    parsed = grid_of(["he_normal", "orthogonal", MINE], ["tanh", "relu", "gelu", "sigmoid"], rates=(0.1,))
    gains = {"tanh": 0.05, "relu": -0.05, "gelu": 0.0, "sigmoid": 0.0}
    frame = table_of(
        parsed,
        lambda c: 0.9 + (c.initializer == MINE) * gains[c.activation] + 0.02 * (c.initializer == "orthogonal"),
        broken=lambda c: c.initializer == MINE and c.activation == "sigmoid",
    )
    ((first, second, third),) = sentences_of(frame, parsed)
    assert first == (
        f"In 1 of the 4 combinations {MINE} leads (in 1 significantly better than every other, also with all 4 tested "
        "together), in 2 it is significantly worse than another (also with all 4 tested together) and in 1 it failed "
        "in every run."
    )
    last = frame[frame["epoch"] == 2]
    scored = last["test_accuracy"].where(np.isfinite(last["test_accuracy"]), 0.1135)
    means = scored.groupby(last["initializer"]).mean()
    assert "that of orthogonal, the best of the field by validation accuracy, by" in second
    assert numbers_in(second)[0] == pytest.approx(100 * (means[MINE] - means["orthogonal"]), abs=0.0501)
    assert third.startswith("Against orthogonal it gains most with tanh, ")
    assert "and loses most with sigmoid, −" in third
    assert third.endswith("5 of its 20 runs diverged (of the field’s, 0 of 40).")


def test_intervals_hold_for_all_pairs_and_contain_those_of_one_pair():
    parsed = grid_of(["he_normal", "glorot_uniform", "orthogonal", "lsuv", MINE], rates=(0.1,))
    frame = table_of(parsed, lambda c: 0.9 + 0.003 * (c.initializer == "lsuv"))
    ((_, second, _),) = sentences_of(frame, parsed)
    wide = at_own_best(frame).pivot_table(index="seed", columns="initializer", values="test_accuracy")
    difference = wide[MINE] - wide["lsuv"]
    assert "that of lsuv, the best of the field" in second
    value, low, high = numbers_in(second.replace("95%", ""))[:3]
    assert value == pytest.approx(100 * difference.mean(), abs=0.0501)
    half_of_all_pairs = scipy_stats.t.ppf(1 - 0.05 / 20, 4) * difference.std() / np.sqrt(5) * 100  # Bonferroni
    assert 0.2 * half_of_all_pairs < (high - low) / 2 < 2 * half_of_all_pairs


def test_the_rate_is_selected_on_validation_and_reported_on_test():
    parsed = grid_of([MINE, "he_normal"], ["relu"])
    frame = table_of(parsed, lambda c: 0.9, spread=0.002)
    lucky = (frame["initializer"] == MINE) & (frame["learning_rate"] == 0.1)
    frame.loc[lucky, "test_accuracy"] += 0.03  # the higher test accuracy is at the rate that validation does not select
    frame.loc[lucky, "validation_accuracy"] -= 0.03
    ((first, second, _),) = sentences_of(frame, parsed)
    assert first.startswith(f"With each initializer at its own best learning rate, {MINE} ")
    assert abs(numbers_in(second)[0]) < 0.5


def test_results_that_are_the_same_at_every_seed_are_called_the_same():
    parsed = grid_of([MINE, "he_normal"], rates=(0.1,))
    frame = table_of(parsed, lambda c: 0.9)
    columns = ["test_accuracy", "validation_accuracy"]
    own, other = frame["initializer"] == MINE, frame["initializer"] == "he_normal"
    frame.loc[own, columns] = frame.loc[other, columns].to_numpy()
    ((first, second, third),) = sentences_of(frame, parsed)
    assert first == f"In both combinations {MINE} leads (in none significantly better than every other)."
    assert "by 0.00 points" in second
    assert "no significant difference" in second
    assert third.startswith("Its test accuracy is that of he_normal at every seed: here it may set the same weights")


def test_equivalence_is_claimed_only_if_the_interval_lies_within_the_declared_margin():
    for spread, within, equivalent in ((0.0005, 0.5, True), (0.02, 0.5, False), (0.0005, None, False)):
        parsed = grid_of([MINE, "he_normal"], rates=(0.1,), within=within)
        frame = table_of(parsed, lambda c: 0.9, spread=spread)
        ((_, second, third),) = sentences_of(frame, parsed)
        assert ("equivalent within 0.5 points" in second) == equivalent
        assert "equal" not in second or "does not show that they are equal" in second
        assert ("to show a mean difference as small as this" in third) == (not equivalent)


def test_one_seed_shows_nothing_and_the_verdict_says_so():
    parsed = grid_of([MINE, "he_normal"], rates=(0.1,), seeds=1)
    frame = table_of(parsed, lambda c: 0.9 + 0.05 * (c.initializer == MINE))
    ((first, second),) = sentences_of(frame, parsed)
    assert [test for *_, test in verdicts(Evidence.of(frame, parsed), [MINE])[0].differences] == ["not tested"]
    assert first == f"With one seed no difference is tested, and any may be chance: {MINE} leads in both combinations."
    assert second.endswith("points: with one seed there is no interval and no test.")
    assert not re.search(r"\(|significant", first + second)


def test_several_own_initializers_have_a_verdict_each_against_the_field_alone_the_best_first():
    own = ["lecun_normal", MINE]
    parsed = grid_of(["he_normal", *own], rates=(0.1,))
    frame = table_of(parsed, lambda c: 0.9 + 0.02 * (c.initializer == MINE) - 0.02 * (c.initializer == "he_normal"))
    evidence = Evidence.of(frame, parsed)
    written = verdicts(evidence, [*own, "never_trained"])
    assert [verdict.initializer for verdict in written] == [MINE, "lecun_normal", "never_trained"]
    assert all("differs from that of he_normal by" in verdict.sentences[1] for verdict in written[:2])
    assert all(len(verdict.sentences) <= 3 for verdict in written)
    assert written[2].sentences == ("No run of never_trained was trained.",)


def grid_with_rule(activations):
    text = f"[grid]\ninitializer = ['{MINE}', 'he_normal', 'lsuv']\nactivation = {activations}\n"
    return grid.parse(text + "seed = { until = 'decided', min = 5, max = 15 }\n[training]\nepochs = 2")


def at_every_look(frame, pairs):
    """Mean differences of the own initializer from each of the field, with intervals and e-values by their formulas.

    By the other's name and the activation; the intervals and e-values hold for this number of pairs.
    """
    last = frame[frame["epoch"] == 2]
    wide = last.pivot_table(index=["activation", "seed"], columns="initializer", values="test_accuracy")
    compared = {}
    for other in ("he_normal", "lsuv"):
        for activation, d in (wide[MINE] - wide[other]).groupby("activation", sort=False):
            n, error = len(d), d.std() / np.sqrt(len(d))
            shrink = 5 / (n + 5)
            t2 = (d.mean() / error) ** 2
            e_value = np.sqrt(shrink) * ((1 + t2 / (n - 1)) / (1 + shrink * t2 / (n - 1))) ** (n / 2)
            r = ((pairs / 0.05) ** 2 / shrink) ** (1 / n)
            half = error * np.sqrt((n - 1) * (r - 1) / (1 - r * shrink)) if r * shrink < 1 else np.inf
            compared[other, activation] = (100 * d.mean(), 100 * (d.mean() - half), 100 * (d.mean() + half), e_value)
    return compared


@pytest.mark.parametrize(("gain", "significant"), [(0.0, False), (0.02, True)])
def test_with_a_rule_for_the_seeds_one_combination_has_the_comparison_that_holds_at_every_look(gain, significant):
    parsed = grid_with_rule(["relu"])
    frame = table_of(parsed, lambda c: 0.9 + gain * (c.initializer == MINE) - 0.01 * (c.initializer == "lsuv"))
    (verdict,) = verdicts(Evidence.of(frame, parsed), [MINE])
    first, second, *third = verdict.sentences
    expected = at_every_look(frame, 3)
    *ends, e_value = expected["he_normal", "relu"]
    assert numbers_in(second.replace("95%", "")) == pytest.approx(ends, abs=0.0501)
    assert (e_value >= 3 / 0.05) == significant == (": significantly better" in second)
    assert "at the first" not in second
    if significant:
        assert first == f"{MINE} leads (significantly better than every other)."
        assert not third
    else:
        assert re.search(r"not significantly better than .*he_normal|not significantly different from the", first)
        assert third == [words.seeds_missing(Evidence.of(frame, parsed), 0).capitalize() + "."]
    for other, difference, test in verdict.differences:
        assert numbers_in(difference) == pytest.approx(expected[other, "relu"][:3], abs=0.0501)
        assert ("significantly better" in test) == (expected[other, "relu"][3] >= 3 / 0.05)


def test_with_a_rule_for_the_seeds_combinations_are_counted_and_no_mean_over_them_is_tested():
    parsed = grid_with_rule(["relu", "tanh", "gelu"])
    gains = {"relu": 0.03, "tanh": -0.03, "gelu": 0.0}
    frame = table_of(parsed, lambda c: 0.9 + gains[c.activation] * (c.initializer == MINE))
    frame = frame[(frame["activation"] == "gelu") | (frame["seed"] < 10)]  # the rule adds none to what is decided
    frame.loc[frame["initializer"] == "he_normal", "validation_accuracy"] += 0.1
    (verdict,) = verdicts(Evidence.of(frame, parsed), [MINE])
    expected = {a: value for (other, a), value in at_every_look(frame, 3).items() if other == "he_normal"}
    better, worse = (sum(e >= 60 and sign * mean > 0 for mean, *_, e in expected.values()) for sign in (1, -1))
    assert (better, worse) == (1, 1)
    assert verdict.sentences[1] == (
        "Against he_normal, the best of the field by validation accuracy, it is significantly better in 1 and "
        "significantly worse in 1 of the 3 combinations, each tested alone; no mean over them is tested, because the "
        "results chose the seeds."
    )
    most, least = expected["relu"][:3], expected["tanh"][:3]
    assert numbers_in(verdict.sentences[2]) == pytest.approx([*most, *least], abs=0.0501)
    assert "together" not in verdict.sentences[2]
    assert "seeds" not in verdict.sentences[2]
    assert not verdict.differences


@pytest.mark.parametrize("activations", [["relu"], ["relu", "tanh"]])
@pytest.mark.parametrize("make", [grid_with_rule, lambda a: grid_of([MINE, "he_normal", "lsuv"], a, rates=(0.1,))])
def test_where_every_run_failed_nothing_is_compared(make, activations):
    parsed = make(activations)
    (verdict,) = verdicts(Evidence.of(table_of(parsed, lambda c: 0.9, broken=lambda cell: True), parsed), [MINE])
    assert "failed in every run" in verdict.sentences[0] or "does not lead" in verdict.sentences[0]
    assert "is not compared" in verdict.sentences[1] or "no mean over them is tested" in verdict.sentences[1]
    assert re.match(r"[Aa]ll of its \d+ runs diverged", verdict.sentences[2])
    assert not verdict.differences


def test_one_combination_has_no_words_for_several():
    parsed = grid_of([MINE, "he_normal", "lsuv"], ["relu"], rates=(0.1,))
    frame = table_of(parsed, lambda c: 0.9)
    (verdict,) = verdicts(Evidence.of(frame, parsed), [MINE])
    assert "combination" not in " ".join([*verdict.sentences, verdict.note])
    assert verdict.sentences[2] == words.seeds_missing(Evidence.of(frame, parsed), 0).capitalize() + "."


def test_the_differences_from_all_of_the_field_are_those_of_the_means_over_all_combinations():
    names = ["he_normal", "lsuv", "zeros"]
    parsed = grid_of([*names, MINE], rates=(0.1,))
    frame = table_of(parsed, lambda c: 0.9 + {MINE: 0.02, "lsuv": 0.019, "zeros": -0.4}.get(c.initializer, 0.0))
    (verdict,) = verdicts(Evidence.of(frame, parsed), [MINE])
    by_seed = at_own_best(frame).pivot_table(index="seed", columns="initializer", values="test_accuracy")
    assert [name for name, *_ in verdict.differences] == names
    for name, difference, test in verdict.differences:
        d = by_seed[MINE] - by_seed[name]
        mean, low, high = numbers_in(difference)
        assert mean == pytest.approx(100 * d.mean(), abs=0.0501)
        assert test == ("significantly better" if low > 0 else "no significant difference")
        assert low < mean < high
        bonferroni = scipy_stats.t.ppf(1 - 0.05 / 12, 4) * 100 * d.std() / np.sqrt(5)  # of six pairs
        assert (high - low) / 2 < 1.5 * bonferroni + 0.1
    assert numbers_in(verdict.sentences[1].replace("95%", ""))[:3] == numbers_in(
        {name: difference for name, difference, _ in verdict.differences}["lsuv"]
    )
    assert "over both combinations, minus that of each other; the intervals hold for all pairs" in verdict.note


def test_a_gain_or_a_loss_that_rounds_to_zero_is_not_named():
    parsed = grid_of([MINE, "he_normal"], ["tanh", "relu", "gelu"], rates=(0.1,))
    frame = table_of(parsed, lambda c: 0.9)
    gain = {"tanh": 0.02, "relu": 0.01, "gelu": -0.000004}
    own = frame["initializer"] == MINE
    other = frame.loc[frame["initializer"] == "he_normal", "test_accuracy"].to_numpy()
    frame.loc[own, "test_accuracy"] = other + frame.loc[own, "activation"].map(gain)
    ((_, _, third),) = sentences_of(frame, parsed)
    assert third.startswith("Against he_normal it gains most with tanh, 2.00 points (")
    assert "loses" not in third


def test_one_that_is_better_than_every_other_on_test_counts_as_leading_though_another_leads_on_validation():
    parsed = grid_of([MINE, "he_normal"], ["relu"], rates=(0.1,))
    frame = table_of(parsed, lambda c: 0.9 + 0.03 * (c.initializer == MINE))
    frame.loc[frame["initializer"] == MINE, "validation_accuracy"] -= 0.1
    first = sentences_of(frame, parsed)[0][0]
    assert first == f"{MINE} leads (significantly better than every other)."
