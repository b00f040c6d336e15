"""The answers in words: true to the tables, short, and the same in every case that a table can be."""

import dataclasses
import math
import re
import shlex
import tomllib

import numpy as np
import pandas as pd
import pytest
from frames import GRID as TEXT
from frames import frame_of, frame_of_grid

from initbench import stats
from initbench.reporting import answers as words
from initbench.reporting import networks, numbers
from initbench.reporting.answers import answers, best_configuration, default_of, headline, title, warnings
from initbench.reporting.evidence import Evidence
from initbench.spec import grid
from initbench.spec.seed_rule import parse as rule_of

FIVE = np.array([0.0, 0.002, 0.001, 0.003, 0.0015])
NOISE = np.array([1, -1, 0, 1, -1])


def evidence_of(frame, *, hidden="[128]", combination=("activation", "loss"), top="", **overrides):
    text = TEXT.replace("hidden = []", f"hidden = {hidden}").replace(
        '"same"', '"same"' if hidden == "[]" else '"identity"'
    )
    parsed = grid.parse(top + text, overrides={"activation": "relu", "loss": "mse", "seed": 5} | overrides)
    return Evidence(frame, parsed, list(combination))


def answer_of(values, **options):
    """The answer for one combination with these accuracies."""
    (answer,) = answers(evidence_of(frame_of(values, activation="relu", loss="mse", hidden=""), **options))
    return answer


def around(mean, noise=0.0):
    return list(mean + FIVE + noise * NOISE)


def test_one_that_is_left_is_decided():
    answer = answer_of({"he_normal": around(0.9), "zeros": around(0.5), "glorot_uniform": around(0.8)})
    assert answer.kind == answer.certainty_label == "decided"
    assert answer.names == ("he_normal",)
    assert answer.recommendation == "Use he_normal: significantly better than every other."
    assert answer.certainty == "Decided: the best of 3 initializers with 95% confidence, if differences are normal."
    assert answer.accuracy == "90.2% +0.1 −0.2"
    assert answer.margin == "he_normal is 10.00 points (10.00 to 10.00) better than glorot_uniform, Keras’s default."
    assert answer.margin_label == "+10.00 (10.00 to 10.00)"
    assert (answer.title, answer.seeds, answer.command) == ("relu, mse", 5, "")
    assert answer.warnings == ()
    assert answer.details.startswith("the best: he_normal (90.2% ")


def test_what_is_significantly_worse_and_equivalent_is_named_with_its_cost():
    values = {"he_normal": around(0.9), "lecun_normal": around(0.899), "zeros": around(0.5)}
    bound = stats.verdicts(frame_of(values), []).set_index("initializer").loc["lecun_normal", "regret_bound"]
    answer = answer_of(values, top="equivalent_within = 0.2\n")
    assert answer.names == ("he_normal",)
    assert answer.certainty == (
        "Decided: the best of 3 initializers with 95% confidence, if differences are normal; lecun_normal costs "
        f"at most {numbers.at_most(bound)} points."
    )


def test_what_is_equivalent_is_a_tie_and_states_what_a_choice_costs_at_most():
    values = {"he_normal": around(0.9), "lecun_normal": around(0.8999, 0.0001), "zeros": around(0.5)}
    answer = answer_of(values, top="equivalent_within = 0.2\n")
    frame = frame_of(values)
    bounds = stats.verdicts(frame, []).set_index("initializer")["regret_bound"].drop("zeros")
    assert answer.kind == "tie"
    assert answer.recommendation == "Use he_normal or lecun_normal: no significant difference."
    assert (
        answer.certainty
        == f"Tie within 0.2 points: choosing either costs at most {numbers.at_most(bounds.max())} points."
    )
    assert answer.certainty_label == "tie within 0.2"
    assert answer.command == ""


def test_an_open_answer_states_the_seeds_that_would_decide_and_a_command_that_asks_for_them():
    values = {"he_normal": around(0.9), "lecun_normal": around(0.8995, 0.001), "zeros": around(0.5)}
    answer = answer_of(values, top="equivalent_within = 0.1\n")
    table = stats.seeds_to_decide(frame_of(values), [], equivalent_within=0.1)
    more = int(table["decided_at"].iloc[0]) - 5
    assert answer.kind == "open"
    assert answer.certainty.startswith(
        f"Open: about {more} more seeds would decide; until then the safest is he_normal, at most "
    )
    assert answer.certainty_label == f"about {more} more seeds"
    *command, option, setting = shlex.split(answer.command)
    assert command == ["initbench", "run", "page.toml"]
    assert option == "--set"
    assert rule_of(tomllib.loads(setting)["seed"])[0].half_width is None
    other = answers(evidence_of(frame_of(values, activation="relu", loss="mse")), ["initbench", "run", "my grid.toml"])
    assert shlex.split(other[0].command)[:3] == ["initbench", "run", "my grid.toml"]


def test_the_command_that_settles_replaces_settings_in_place_of_adding_them_again():
    rule = 'grid.seed={until="decided",max=20}'
    command_before = ["initbench", "try", "my.py", "--set", "seed=7", "--set", "epochs=1", "--set", rule, "--quick"]
    values = {"he_normal": around(0.905), "lecun_normal": around(0.9, 0.02), "zeros": around(0.5)}
    command = shlex.split(answers(evidence_of(frame_of(values)), command_before)[0].command)
    assert command[:6] == ["initbench", "try", "my.py", "--set", "epochs=1", "--quick"]
    settings = [word.partition("=")[0] for word in command if "=" in word]
    assert sorted(settings) == sorted({*settings})
    assert settings[-1] == "seed"
    assert answers(evidence_of(frame_of(values)), command)[0].command == shlex.join(command)


def test_a_tie_without_a_margin_states_that_it_needs_one():
    values = {"he_normal": around(0.9), "lecun_normal": around(0.9, 0.001), "zeros": around(0.5)}
    answer = answer_of(values)
    declared = stats.seeds_to_decide(frame_of(values), [], equivalent_within=0.2)["decided_at"].iloc[0]
    assert answer.certainty_label == "> 1,000 more seeds"
    assert f"more than 1,000 seeds would be needed, or about {declared - 5:.0f} more if 0.2 points do not matter" in (
        answer.certainty
    )
    settings = dict(word.split("=", 1) for word in shlex.split(answer.command) if "=" in word)
    assert settings["equivalent_within"] == "0.2"
    declared_grid = grid.parse(TEXT, overrides={key: tomllib.loads(f"x={v}")["x"] for key, v in settings.items()})
    assert declared_grid.equivalent_within == 0.2
    assert declared_grid.seed_rule.max_seeds >= declared


def test_one_seed_one_initializer_and_no_trained_run():
    single = answer_of({"he_normal": [0.9], "zeros": [0.8]})
    assert (single.kind, single.certainty_label, single.names) == ("untested", "one seed", ("he_normal",))
    assert single.recommendation == "he_normal leads, but no difference is tested."
    assert single.certainty == "With one seed any difference may be chance."
    assert 'seed={until="decided"' in single.command
    alone = answer_of({"zeros": around(0.9)})
    assert (alone.kind, alone.command, alone.margin_label) == ("alone", "", "–")
    assert alone.recommendation == "zeros is the only initializer: there is nothing to compare it with."
    failed = answer_of({"he_normal": [None] * 5, "zeros": [None] * 5})
    assert (failed.kind, failed.names, failed.accuracy, failed.certainty_label) == ("failed", (), "–", "all failed")
    assert failed.recommendation == "Every run diverged: none can be recommended."
    assert failed.command == ""


def test_zeros_come_last_and_with_the_reason_where_there_is_no_hidden_layer():
    values = {"zeros": around(0.9), "he_normal": around(0.8999, 0.0005), "lecun_normal": around(0.5)}
    flat, deep = answer_of(values, hidden="[]"), answer_of(values)
    assert flat.names == ("he_normal", "zeros")
    assert deep.names == ("zeros", "he_normal")
    assert flat.accuracy == deep.accuracy
    assert flat.warnings == ("zeros works only because the network has no hidden layer.",)
    assert deep.warnings == ()
    alone = answer_of({"zeros": around(0.9), "he_normal": around(0.8), "lecun_normal": around(0.5)}, hidden="[]")
    assert alone.names == ("zeros",)
    assert alone.warnings == (
        "zeros works only because the network has no hidden layer.",
        "The best other than zeros is he_normal, 10.0 points lower.",
    )


def test_what_is_not_ruled_out_is_named_and_not_recommended():
    values = {"he_normal": [0.9, 0.91, 0.92], "orthogonal": [0.9, 0.6, 0.3]}
    answer = answer_of(values)
    assert answer.names == ("he_normal",)
    assert answer.recommendation == "Use he_normal; orthogonal (31.0 points lower) is not ruled out."
    failing = answer_of({"he_normal": [0.3, 0.2, 0.9], "zeros": [0.1, 0.1, 0.1]})
    assert (
        failing.recommendation
        == "Use he_normal; zeros (36.7 points lower; every run stayed at chance) is not ruled out."
    )
    dropped = answer_of({"he_normal": [*around(0.9)[:4], None], "zeros": around(0.1)})
    assert dropped.warnings[0] == "1 of 5 runs of he_normal diverged."
    assert dropped.warnings[1].startswith("† The interval of he_normal: some seeds failed and others did not")


def test_the_margin_compares_with_the_usual_default():
    better, same, worse = around(0.9), around(0.8999, 0.0005), around(0.8)
    for default, library in (
        ("torch_linear_default", "PyTorch"),
        ("glorot_uniform", "Keras"),
        ("keras_default", "Keras"),
    ):
        is_it = answer_of({default: better, "zeros": worse})
        assert (is_it.margin, is_it.margin_label) == (f"{default} is {library}’s default.", "is the default")
        behind = answer_of({"he_normal": better, default: worse, "zeros": around(0.5)})
        assert behind.margin.startswith("he_normal is 10.00 points (")
        assert behind.margin.endswith(f" better than {default}, {library}’s default.")
        tied = answer_of({"he_normal": better, default: same, "zeros": worse})
        assert tied.margin == f"No significant difference from {default}, {library}’s default."
        assert tied.margin_label.startswith("+0.0")
        failing = answer_of({"he_normal": better, default: [None] * 5})
        assert failing.margin == f"Every run of {default}, {library}’s default, diverged."
    assert answer_of({"he_normal": better, "zeros": worse}).margin == ""
    both = evidence_of(
        frame_of({"glorot_uniform": better, "torch_linear_default": worse}, activation="relu", loss="mse")
    )
    assert default_of(both) == ("torch_linear_default", "PyTorch")
    assert default_of(evidence_of(frame_of({"zeros": better}, activation="relu", loss="mse"))) is None
    # Flax's default is the truncated normal, which Flax calls lecun_normal; ours of that name is not truncated.
    assert "lecun_normal" not in words.DEFAULTS


@pytest.mark.parametrize(("count", "step"), [(3, 0.0), (12, 0.0), (20, 0.003), (20, 0.03)])
def test_all_that_are_left_are_named_or_counted(count, step):
    generator = np.random.default_rng(count)
    values = {f"i{i:02}": list(0.9 - step * i + 0.015 * generator.standard_normal(5)) for i in range(count)}
    answer = answer_of(values)
    table = stats.verdicts(frame_of(values), [])
    assert set(answer.names) == set(table.loc[table["standing"] == "best", "initializer"])
    rest = sum(map(int, re.findall(r"(\d+) more", answer.recommendation)))
    assert len(set(re.findall(r"i\d\d", answer.recommendation))) + rest == (table["standing"] != "").sum()
    assert len(answer.recommendation) < 500


@pytest.mark.parametrize(
    ("maximum", "expected"), [(10, "Open at the maximum of 10 seeds: "), (60, "Open after 10 seeds: ")]
)
def test_an_experiment_with_the_rule_says_where_it_stands(maximum, expected):
    rule = {"until": "decided", "min": 5, "max": maximum}
    values = {"he_normal": around(0.9) * 2, "lecun_normal": around(0.8998, 0.002) * 2}
    answer = answer_of(values, seed=rule, top="equivalent_within = 0.1\n")
    assert answer.certainty.startswith(expected)
    if maximum == 60:
        assert answer.command == "initbench run page.toml"  # which goes on
    else:
        assert "until" in answer.command
    runs = {"he_normal": list(np.tile(FIVE, 8) + 0.9), "lecun_normal": list(np.tile(FIVE, 8)[::-1] + 0.8)}
    decided = answer_of(runs, seed=rule)
    assert decided.certainty == (
        "Decided: the best of 2 initializers with 95% confidence, at whichever number of seeds one looks."
    )


@pytest.mark.parametrize("seed", [5, {"until": "decided", "max": 20}])
@pytest.mark.parametrize("rate", [0.1, 0.2])
def test_initializers_at_rates_of_their_own_are_settled_at_the_rate_that_they_share(seed, rate):
    """The rule compares within each learning rate, so it does not settle what is best at several."""
    best_at = {"zeros": rate, "he_normal": 0.1}
    rates = [0.01, 0.1, 0.2, 1.0]
    overrides = {"learning_rate": rates, "loss": "mse", "activation": "tanh", "initializer": list(best_at)}
    trained, parsed = (grid.parse(TEXT, overrides=overrides | {"seed": seeds}) for seeds in (5, seed))
    frame = frame_of_grid(trained, lambda c: 0.9 if best_at[c.initializer] == c.learning_rate else 0.5)
    (answer,) = answers(Evidence.of(frame, parsed).first)
    assert answer.kind == "open"
    settings = dict(word.split("=", 1) for word in shlex.split(answer.command) if "=" in word)
    assert settings.pop("name", None) == ("page-0.1" if rate == 0.1 else None)
    assert settings.get("learning_rate") == ("0.1" if rate == 0.1 else None)
    assert ("seed" in settings) == (rate == 0.1)


@pytest.mark.parametrize(
    ("rates", "best", "wanted"),
    [
        ([0.1, 1.0], (1.0, 1.0), "0.1,1,10"),
        ([0.03, 0.1, 0.2], (0.2, 0.2), "0.03,0.1,0.2,0.4"),
        ([0.01, 0.1, 1.0], (0.01, 1.0), "0.001,0.01,0.1,1,10"),
    ],
)
def test_a_rate_beyond_the_end_comes_before_more_seeds(rates, best, wanted):
    best_at = dict(zip(("he_normal", "lecun_normal"), best, strict=True))
    overrides = {"learning_rate": rates, "loss": "mse", "activation": "tanh", "initializer": list(best_at), "seed": 5}
    parsed = grid.parse(TEXT, overrides=overrides)
    frame = frame_of_grid(parsed, lambda c: 0.9 if best_at[c.initializer] == c.learning_rate else 0.5)
    (answer,) = answers(Evidence.of(frame, parsed).first)
    *command, option, setting = shlex.split(answer.command)
    assert (command, option, setting) == (["initbench", "run", "page.toml"], "--set", f"learning_rate={wanted}")
    more = grid.parse(TEXT, overrides=overrides | {"learning_rate": [float(rate) for rate in wanted.split(",")]})
    assert {cell.id for cell in parsed.cells()} < {cell.id for cell in more.cells()}  # trained cells are used


def of_rates(best):
    parsed = grid.parse(TEXT, overrides={"learning_rate": [0.01, 0.1, 1.0], "loss": "mse", "seed": 5})
    return Evidence.of(frame_of_grid(parsed, lambda c: 0.9 if best[c.initializer] == c.learning_rate else 0.6), parsed)


def test_each_initializer_is_recommended_at_its_own_best_learning_rate():
    evidence = of_rates({"zeros": 0.01, "he_normal": 0.1, "truncated_normal(std=1.0)": 0.1})
    first, *_ = answers(evidence.first)
    by_name = {"zeros": "0.01", "he_normal": "0.1", "truncated_normal(std=1.0)": "0.1"}
    rates = numbers.listed([by_name[name] for name in first.names])
    assert first.recommendation.endswith(
        f" (at learning rates {rates}): no significant difference, which does not show that they are equal."
    )
    assert "zeros is best at learning rate 0.01, the lowest of the grid: a lower one may be better." in first.warnings
    assert not any("he_normal" in line for line in first.warnings)
    assert headline(evidence)[0].startswith("With each initializer at its own best learning rate, ")
    assert any(
        line.startswith("In both combinations a recommended initializer is best at") for line in warnings(evidence)
    )
    at_each = answers(evidence)
    assert len(at_each) == 6
    assert at_each[0].title == "tanh, learning rate 0.01"
    same = of_rates(dict.fromkeys(by_name, 1.0))
    assert " at learning rate 1: no significant difference" in answers(same.first)[0].recommendation


def several(means, hidden="[]"):
    """Evidence of one combination for each activation, whose mean accuracies by initializer are given."""
    frames = []
    for activation, by_name in means.items():
        values = {name: around(mean, 1e-4 * i) for i, (name, mean) in enumerate(by_name.items())}
        frames.append(frame_of(values, activation=activation, loss="mse", hidden="" if hidden == "[]" else "128"))
    frame = pd.concat(frames, ignore_index=True)
    return evidence_of(frame, hidden=hidden, combination=["activation"], activation=list(means))


MEANS = {
    "tanh": {"zeros": 0.9, "he_normal": 0.8, "lecun_normal": 0.5},
    "relu": {"zeros": 0.9, "he_normal": 0.9, "lecun_normal": 0.5},
    "elu": {"zeros": 0.9, "he_normal": 0.7, "lecun_normal": 0.6},
}


def test_the_general_sentences_count_what_the_tables_hold():
    flat = headline(several(MEANS))
    assert flat[0] == (
        "he_normal is best or tied in 1 of the 3 combinations, tested one by one; zeros is in all 3, but only because "
        "there is no hidden layer."
    )
    assert flat[1] == (
        "Tested together (at most 5% for any false claim in all 3 combinations), lecun_normal is significantly worse "
        "than another in all 3 and he_normal in 2; zeros in none."
    )
    assert " has the highest validation accuracy of all 9 configurations: " in best_configuration(several(MEANS))
    deep = headline(several(MEANS, "[128]"))
    assert deep[0] == (
        "zeros is best or tied in all 3 combinations and significantly better than every other in 2, tested one by one."
    )
    equal = headline(several({name: dict.fromkeys(("zeros", "he_normal"), 0.9) for name in ("tanh", "relu")}, "[128]"))
    assert equal[0] == "zeros and he_normal are best or tied in both combinations, tested one by one."
    assert equal[1].endswith("in both combinations), no initializer is significantly worse than another.")
    only = {name: {"zeros": 0.9, "he_normal": 0.5} for name in ("tanh", "relu")}
    assert headline(several(only))[0] == (
        "Only zeros is best or tied, in both combinations, and only because there is no hidden layer."
    )
    for sentences in (flat, deep, equal):
        assert len(sentences) == 2


def test_one_combination_has_no_general_sentence_beside_its_answer():
    assert headline(several({"tanh": MEANS["tanh"]})) == []


def test_general_sentences_where_little_or_nothing_was_compared():
    frames = [frame_of({"zeros": [0.9], "he_normal": [0.8]}, activation=name) for name in ("tanh", "relu")]
    evidence = evidence_of(pd.concat(frames), combination=["activation"], activation=["tanh", "relu"])
    assert headline(evidence)[0] == "With one seed no difference can be tested: any difference may be chance."
    assert warnings(evidence)[-1].startswith("With one seed there is no interval and no test")
    parsed = grid.parse(TEXT)
    failing = Evidence.of(frame_of_grid(parsed, broken=lambda c: True), parsed)
    assert headline(failing) == ["Every run diverged, so no initializer can be recommended."]
    assert "36 of 36 runs diverged: all of zeros, all of he_normal and all of truncated_normal(std=1.0)." in warnings(
        failing
    )
    dead = Evidence.of(frame_of_grid(parsed, broken=lambda c: c.activation == "relu" and c.loss == "mse"), parsed)
    assert "9 of 36 runs diverged: 3 of zeros, 3 of he_normal and 3 of truncated_normal(std=1.0) with relu, mse." in (
        warnings(dead)
    )
    assert [answer.kind for answer in answers(dead)].count("failed") == 1


def test_combinations_without_runs_of_an_initializer_are_not_said_to_test_it():
    whole = frame_of({"zeros": around(0.9), "he_normal": around(0.5), "orthogonal": around(0.9)}, activation="tanh")
    part = frame_of({"zeros": around(0.9), "he_normal": around(0.5)}, activation="relu")
    frame = pd.concat([whole, part], ignore_index=True)
    sentences = headline(evidence_of(frame, combination=["activation"], activation=["tanh", "relu"]))
    assert "orthogonal" not in " ".join(sentences[:2])
    assert "he_normal is significantly worse than another in both; zeros in none." in sentences[1]


def test_a_leader_that_was_not_compared_is_not_recommended():
    answer = answer_of({"he_normal": around(0.9), "zeros": around(0.5), "orthogonal": [0.95]})
    assert answer.names == ("he_normal",)
    assert answer.recommendation == "Use he_normal: significantly better than every other that was tested."
    assert answer.certainty == "Decided: the best of 2 initializers with 95% confidence, if differences are normal."
    assert answer.accuracy.startswith("90.2%")


def test_the_title_and_the_network_are_in_words():
    assert title(several(MEANS)) == "Which weight initializer, with which activation?"
    frame = frame_of({"zeros": around(0.9)}, activation="relu", loss="cross_entropy")
    assert title(evidence_of(frame)) == "Which weight initializer for relu with cross_entropy?"
    frame = pd.concat([frame_of({"zeros": around(0.9)}, activation="relu", hidden=h) for h in ("", "8")])
    assert title(evidence_of(frame, combination=["activation", "hidden"])) == (
        "Which weight initializer, with which activation and hidden layers?"
    )
    shapes = {
        "[[]]": "One layer, 784 → 10, no hidden layer: the activation is that of the output.",
        "[[128]]": "784 → 128 → 10, one hidden layer.",
        "[[64, 32]]": "784 → 64 → 32 → 10, two hidden layers.",
        "[[], [128]]": "One layer, 784 → 10, no hidden layer; 784 → 128 → 10, one hidden layer.",
        "[[16], [32], [8, 4]]": "3 networks, 784 → hidden layers → 10; hidden layers: 16, 32 and 8 → 4.",
    }
    for value, text in shapes.items():
        hidden = tomllib.loads(f"x = {value}")["x"]
        parsed = grid.parse(TEXT, overrides={"hidden": hidden if len(hidden) > 1 else hidden[0]})
        assert networks.sentence(networks.of_grid(parsed), parsed.axes["output_activation"] == ("same",)) == text


def test_few_seeds_are_warned_of_and_five_are_not():
    frame = frame_of(
        {name: around(0.9) for name in ("zeros", "he_normal", "orthogonal")}, activation="relu", loss="mse"
    )
    texts = {n: " ".join(warnings(evidence_of(frame[frame["seed"] < n]))) for n in (1, 2, 3, 5)}
    assert "With one seed" in texts[1]
    assert "With two seeds" in texts[2]
    assert "With 3 seeds and 3 initializers, even large differences can hardly be significant." in texts[3]
    assert texts[5] == ""


@pytest.mark.parametrize("seed", range(6))
def test_no_sentence_has_what_a_table_cannot_say(seed):
    """Random tables, with failed and missing runs: every text is a sentence without NaN, infinity or doubled signs."""
    generator = np.random.default_rng(seed)
    frames = []
    for activation in ("tanh", "relu", "elu"):
        values = {}
        for name in ("zeros", "he_normal", "torch_linear_default", "orthogonal"):
            runs = (
                0.9 + 0.01 * generator.standard_normal(int(generator.integers(1, 7))) - 0.3 * (generator.random() < 0.3)
            )
            values[name] = [None if generator.random() < 0.2 else min(run, 1.0) for run in runs]
        frames.append(frame_of(values, activation=activation, hidden=""))
    evidence = evidence_of(
        pd.concat(frames), hidden="[]", combination=["activation"], activation=["tanh", "relu", "elu"]
    )
    by_combination = answers(evidence)
    texts = [*headline(evidence), *warnings(evidence)]
    for answer in by_combination:
        fields = dataclasses.asdict(answer)
        texts += [fields[name] for name in ("recommendation", "certainty", "margin")] + list(answer.warnings)
        assert answer.kind in ("decided", "tie", "open", "untested", "alone", "failed")
        assert bool(answer.command) == (answer.kind in ("open", "untested"))
        assert not re.search(r"\bnan\b|\binf\b|None", " ".join(map(str, fields.values())))
    for text in filter(None, texts):
        assert text.endswith(".")
        assert not re.search(r"\.\.|  | ,|\(\)|−−|\+−", text)
    assert answers(evidence) == by_combination
    assert not any(math.isnan(x) for x in map(len, texts))
