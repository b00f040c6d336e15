"""The first arguments of all functions of `ib.stats`: the same names in the same order, and a wrong one says so."""

import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from frames import GRID, frame_of_grid

import initbench as ib
from initbench.spec import grid

stats = ib.stats

# The functions of a tidy table, with what they need beside their first arguments, and by which name they take settings.
TIDY = {
    "at_rates": ("combination", {"rates": "rates", "which": "own_best"}),
    "curves": ("by", {}),
    "decisions": ("combination", {}),
    "epochs_to_reach": ("", {"target": 0.5}),
    "final": ("", {}),
    "half_widths": ("by", {}),
    "learning_speed": ("by", {"target": 0.5}),
    "near_leader": ("combination", {"verdicts": "verdicts"}),
    "outcomes": ("", {}),
    "pairs": ("combination", {}),
    "pairs_at_every_look": ("combination", {}),
    "rates": ("combination", {}),
    "resolution": ("", {}),
    "results": ("by", {}),
    "scored": ("", {}),
    "scores": ("combination", {}),
    "seeds_to_decide": ("combination", {}),
    "summary": ("by", {}),
    "verdicts": ("combination", {}),
    "verdicts_at_every_look": ("combination", {}),
}
# The functions of a table that another function of `stats` returns, by the name of that one.
DERIVED = {
    "at_half_width": ("verdicts", (0.002,)),
    "at_the_edge": ("rates", ()),
    "best_at_some_rates": ("verdicts_by_rate", ()),
    "by_combination": ("verdicts", (["activation"],)),
    "open_losses": ("changes", (0.5,)),
    "outcome": ("changes", (0.5,)),
    "overall_worse": ("changes", (0.5,)),
    "power_analysis": ("verdicts", ()),
    "regressions": ("changes", (0.5,)),
    "results_of": ("outcomes", (["initializer"],)),
    "seeds_to_pass": ("changes", (0.5,)),
    "selected": ("verdicts", (1,)),
}
SCORES = {"improvement": (), "interquartile_means": (), "mean_pairs": (), "profiles": ([0.5],), "rank_pairs": ()}
SCORES |= {"ranks": ()}
# Of a table of the signal and a tidy one.
SIGNAL = {"signal_findings": ["activation"], "signal_predictors": ["activation"], "signal_profile": ["activation"]}
# Of numbers, of records of timings, of a table of verdicts too, and of two tidy tables.
OTHERS = {"baselines", "changes", "detectable", "initialization_times", "mean_interval", "power", "seeds_needed"}
OTHERS |= {"share_interval", "signal_advantages", "signal_scalars", "timings"}

WITH_SETTINGS = [name for name, (argument, _) in TIDY.items() if argument]


def has(name, parameter):
    return parameter in inspect.signature(getattr(stats, name)).parameters


@pytest.fixture(scope="module")
def frame():
    """A tidy table of three initializers, two activations, two losses and two learning rates."""
    parsed = grid.parse(GRID, overrides={"learning_rate": [0.1, 1.0], "epochs": 1})
    return frame_of_grid(parsed, lambda cell: 0.4 + 0.01 * (sum(map(ord, cell.initializer + cell.loss)) % 7))


@pytest.fixture(scope="module")
def tables(frame):
    combination = ["activation", "loss"]
    one_rate = frame[frame["learning_rate"] == 0.1]
    return {
        "verdicts": stats.verdicts(one_rate, combination),
        "verdicts_by_rate": stats.verdicts(frame[frame["loss"] == "mse"], ["activation", "learning_rate"]),
        "rates": stats.rates(frame, combination),
        "changes": stats.changes(frame, frame),
        "outcomes": stats.outcomes(frame),
        "scores": stats.scores(one_rate, combination),
    }


@pytest.fixture
def call(frame, tables):
    """Call a function of a tidy table with its arguments, or with others: of one learning rate, where it does not
    compare rates.
    """

    def called(name, *changed, **keywords):
        argument, needed = TIDY[name]
        needed = {key: tables.get(str(value), value) for key, value in needed.items()}
        rows = frame if "rate" in name else frame[frame["learning_rate"] == 0.1]
        values = {**({argument: ["activation", "loss"]} if argument else {}), **needed, **keywords}
        return getattr(stats, name)(*(changed or [rows]), **values)

    return called


def same(left, right):
    if isinstance(left, pd.DataFrame):
        pd.testing.assert_frame_equal(left, right)
    else:
        assert str(left) == str(right)


def test_every_function_is_tested_here():
    functions = {name for name in stats.__all__ if inspect.isfunction(getattr(stats, name))}
    assert functions == {*TIDY, *DERIVED, *SCORES, *SIGNAL, *OTHERS}


@pytest.mark.parametrize("name", TIDY)
def test_the_first_arguments_have_one_order_and_the_same_defaults(name):
    parameters = list(inspect.signature(getattr(stats, name)).parameters.values())
    order = ["frame", TIDY[name][0], "rates", "verdicts", "which", "metric", "chance"]
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert names == sorted(names, key=order.index)
    defaults = {p.name: p.default for p in parameters}
    assert defaults.get("metric", "test_accuracy") in ("test_accuracy", "validation_accuracy")
    assert defaults.get("chance") is None


@pytest.mark.parametrize("name", TIDY)
def test_a_path_in_place_of_a_table_says_how_to_load_it(name, call):
    for path in ("results/mine", Path("results/mine")):
        with pytest.raises(TypeError) as mistake:
            call(name, path)
        assert str(mistake.value) == "frame = 'results/mine' is a path; load it with ib.load('results/mine')"


@pytest.mark.parametrize("name", TIDY)
@pytest.mark.parametrize(
    ("wrong", "kind"), [(["activation"], "a list"), (None, "None"), (0.9, "a float"), ({}, "a dict")]
)
def test_what_is_not_a_table_is_one_line(name, wrong, kind, call):
    with pytest.raises(TypeError) as mistake:
        call(name, wrong)
    assert str(mistake.value) == f"frame is {kind}; allowed: a tidy table, as ib.load returns it"


@pytest.mark.parametrize("name", sorted(set(TIDY) - {"resolution"}))
def test_a_table_of_verdicts_in_place_of_a_tidy_one_names_the_columns_that_it_lacks(name, call, tables):
    with pytest.raises(ValueError, match=r"^frame lacks the columns? ") as mistake:
        call(name, tables["verdicts"])
    line = str(mistake.value)
    lacking = re.findall(r"'(\w+)'", line.partition(";")[0])
    assert set(lacking) <= {"cell", "seed", "dataset", "epoch", "epochs", "status", "test_accuracy", "learning_rate"}
    assert lacking
    assert not set(lacking) & set(tables["verdicts"])
    assert line.endswith("as in a tidy table, as ib.load returns it")
    assert "\n" not in line


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_a_string_is_a_list_of_one_setting(name, call, frame, tables):
    argument, needed = TIDY[name]
    rows = frame[(frame["loss"] == "mse") & (frame["learning_rate"] == 0.1)]
    derived = {"verdicts": stats.verdicts(rows, ["activation"]), "rates": stats.rates(rows, ["activation"])}
    keywords = {key: derived[key] for key in needed if key in derived}
    alone = call(name, rows, **{argument: "activation"}, **keywords)
    same(alone, call(name, rows, **{argument: ["activation"]}, **keywords))
    same(alone, call(name, rows, **{argument: ("activation", "activation")}, **keywords))


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_an_unknown_setting_is_one_line_with_the_nearest(name, call, frame):
    argument = TIDY[name][0]
    for wrong in ("activaton", ["activaton", "loss"]):
        with pytest.raises(ValueError, match=f"^{argument}: the table has no column 'activaton'; allowed: ") as mistake:
            call(name, **{argument: wrong})
        assert str(mistake.value).endswith("; did you mean 'activation'?")
    for wrong in (None, 3, frame, {"activation": "relu"}):
        with pytest.raises(TypeError, match=rf"^{argument} is .*; allowed: a list of settings, such as \['activation'"):
            call(name, **{argument: wrong})
    with pytest.raises(ValueError, match=f"^{argument}: the table has no column 3; allowed"):
        call(name, **{argument: [3]})


@pytest.mark.parametrize("name", [name for name in WITH_SETTINGS if TIDY[name][0] == "combination"])
def test_initializers_and_seeds_are_not_settings_of_a_combination(name, call):
    for setting in ("initializer", "seed"):
        with pytest.raises(ValueError, match=f"^combination: contains '{setting}'; allowed: the other settings that"):
            call(name, combination=["activation", setting])


@pytest.mark.parametrize("name", [name for name in TIDY if has(name, "metric")])
def test_an_unknown_metric_is_one_line_with_the_nearest(name, call):
    for wrong, nearest in (
        ("test_acuracy", "; did you mean 'test_accuracy'?"),
        ("activation", ""),
        (0.9, ""),
        ({}, ""),
    ):
        with pytest.raises(ValueError, match=r"^metric = ") as mistake:
            call(name, metric=wrong)
        allowed = "train_loss, validation_loss, validation_accuracy, test_loss, test_accuracy"
        assert str(mistake.value) == f"metric = {wrong!r}; allowed: {allowed}{nearest}"


@pytest.mark.parametrize("name", [name for name in TIDY if has(name, "chance")])
def test_a_chance_that_is_not_a_table_by_data_set_is_one_line(name, call):
    with pytest.raises(TypeError, match=r"^chance = 0.1; allowed: a Chance for each data set"):
        call(name, chance=0.1)


@pytest.mark.parametrize("name", TIDY)
def test_no_function_changes_its_table(name, call, frame):
    before = frame.copy()
    call(name)
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("name", DERIVED)
def test_a_table_that_another_function_returns_says_which(name, tables, frame):
    made_by, arguments = DERIVED[name]
    function = getattr(stats, name)
    argument = next(iter(inspect.signature(function).parameters))
    function(tables[made_by], *arguments)
    for path in ("results/mine", Path("results/mine")):
        with pytest.raises(TypeError, match=f"^{argument} = 'results/mine' is a path; load it with ib.load"):
            function(path, *arguments)
    with pytest.raises(TypeError, match=f"^{argument} is a dict; allowed: (the|a) table "):
        function({}, *arguments)
    if name != "by_combination":
        source = r"the table that ib\.(compare|stats\.\w+).*$"
        wrong = frame.drop(columns=["learning_rate"])
        with pytest.raises(ValueError, match=f"^{argument} lacks the columns? .*; required: .*, as in {source}"):
            function(wrong, *arguments)


@pytest.mark.parametrize("name", [*SIGNAL, "signal_scalars"])
def test_tables_of_the_signal_say_which_they_are(name, frame):
    function, arguments = getattr(stats, name), (frame, SIGNAL[name]) if name in SIGNAL else ()
    with pytest.raises(
        TypeError, match=r"^signal is a dict; allowed: a table of the signal, as ib.load_signal returns"
    ):
        function({}, *arguments)
    with pytest.raises(ValueError, match=r"^signal lacks the columns 'layer', 'statistic', 'value'; required: "):
        function(frame, *arguments)
    if name in SIGNAL:
        signal = pd.DataFrame({"cell": ["a"], "epoch": 0, "layer": 1, "statistic": "dead_share", "value": 0.0})
        with pytest.raises(ValueError, match=r"^combination: contains 'seed'; allowed"):
            function(signal, frame, ["seed"])
        with pytest.raises(TypeError, match=r"^frame = 'results/mine' is a path; load it with"):
            function(signal, "results/mine", ["activation"])


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_what_the_function_scores_returns(name, tables, frame):
    function = getattr(stats, name)
    assert len(function(tables["scores"], *SCORES[name]))
    for wrong, kind in ((frame, "a DataFrame"), ("results/mine", "a str"), (None, "None")):
        with pytest.raises(TypeError) as mistake:
            function(wrong, *SCORES[name])
        assert str(mistake.value) == f"scores is {kind}; allowed: what ib.stats.scores returns of a tidy table"


def test_other_arguments_name_what_is_allowed(tables, frame):
    with pytest.raises(ValueError, match=r"^over = 'zero'; allowed: .*; did you mean 'zeros'\?$"):
        stats.improvement(tables["scores"], over="zero")
    with pytest.raises(ValueError, match=r"^which = 'own'; allowed: 'own_best' or 'common'"):
        stats.at_rates(frame, ["activation", "loss"], tables["rates"], "own")
    with pytest.raises(ValueError, match=r"^verdicts lacks the columns 'leader', 'validation_accuracy'; required: "):
        stats.near_leader(frame, ["activation", "loss"], tables["changes"])
    for before, after, argument in ((tables["verdicts"], frame, "before"), (frame, tables["verdicts"], "after")):
        with pytest.raises(ValueError, match=f"^{argument} lacks the columns 'cell', 'seed', "):
            stats.changes(before, after)
    with pytest.raises(ValueError, match=r"^metric = 'test_acuracy'; allowed"):
        stats.changes(frame, frame, "test_acuracy")


def test_a_metric_of_the_users_own_is_accepted(frame):
    mine = frame.assign(
        depth=np.where(frame["activation"] == "tanh", 1, 2), gap=frame["test_loss"] - frame["train_loss"]
    )
    assert stats.summary(mine, "depth", "gap")["depth"].tolist() == [1, 2]
