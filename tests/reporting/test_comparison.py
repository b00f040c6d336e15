"""Two experiments side by side, and figures as files."""

import re
import shlex

import numpy as np
import pandas as pd
import pytest
from command import ended
from frames import GRID as TEXT
from frames import frame_of_grid as made_up
from page import SIZES, Page, violations
from scipy import stats as scipy_stats

import initbench as ib
from initbench import stats
from initbench.cli import app
from initbench.cli.options import pairs
from initbench.reporting import comparison
from initbench.results import store
from initbench.results.experiment import Experiment
from initbench.results.table import table
from initbench.spec import grid
from initbench.spec.columns import METRICS

KEYS = ["activation", "loss", "initializer"]
SIDE = comparison.Side("a", 72, [])

# The number of words that a reader sees without opening anything, besides those of tables.
WORDS = """() => { const page = document.body.cloneNode(true);
    for (const e of page.querySelectorAll("table, details > :not(summary), svg, [popover]")) e.remove();
    return page.textContent.trim().split(/\\s+/).length }"""

# What is wider than its box: on a phone every text and every table fits.
CUT = """() => [...document.querySelectorAll("main *")].filter((e) => e.clientWidth && e.scrollWidth > e.clientWidth + 1
    && !e.closest("svg, .hidden")).map((e) => e.outerHTML.slice(0, 80))"""


@pytest.fixture(scope="module")
def before():
    return made_up(grid.parse(TEXT, overrides={"seed": 6}))


def moved_by(frame, points, spread=0.001):
    """Return the table with he_normal's accuracies shifted, and noise in all."""
    generator = np.random.default_rng(0)
    shift = np.where(frame["initializer"] == "he_normal", points / 100, 0.0) + generator.normal(0, spread, len(frame))
    return frame.assign(test_accuracy=frame["test_accuracy"] + shift)


def test_an_experiment_has_no_changes_from_itself(before):
    changes = stats.changes(before, before.sample(frac=1, random_state=0))
    assert len(changes) == 12
    assert (changes["same"] == changes["seeds"]).all()
    assert (changes["seeds"] == 6).all()
    assert (changes[["change", "change_low", "change_high"]] == 0).all(axis=None)
    assert not changes["significant"].any()


def test_a_change_of_few_configurations_has_the_interval_of_a_paired_t_test(before):
    after = moved_by(before, -1)
    changes = stats.changes(before, after).set_index(KEYS)
    assert changes.index[changes["significant"]].get_level_values("initializer").tolist() == ["he_normal"] * 4
    assert (changes["same"] == 0).all()
    few = (before["activation"] == "tanh") & (before["loss"] == "mse")
    changes = stats.changes(before[few], after[few]).set_index(KEYS)
    last = [
        frame[frame["epoch"] == 2].sort_values("seed").set_index(KEYS)["test_accuracy"] for frame in (before, after)
    ]
    for key, row in changes.iterrows():
        expected = scipy_stats.ttest_rel(last[1][key], last[0][key]).confidence_interval(1 - 0.05 / 3)
        assert [row["change_low"], row["change_high"]] == pytest.approx([expected.low, expected.high])
        assert row["change"] == pytest.approx((last[1][key] - last[0][key]).mean())
    assert len(changes) == 3
    assert not changes["pooled"].any()


def test_runs_that_share_a_part_are_compared_in_that_part(before):
    changes = stats.changes(before[before["seed"] < 4], before[(before["seed"] > 1) & (before["activation"] == "tanh")])
    assert set(changes["activation"]) == {"tanh"}
    assert (changes["seeds"] == 2).all()
    single = stats.changes(before[before["seed"] == 0], moved_by(before, -5))
    assert single["change_low"].isna().all()
    assert not single["significant"].any()
    assert stats.changes(before, before.assign(learning_rate=0.5)).empty


def test_a_run_that_diverges_counts_as_chance(before):
    diverged = before.copy()
    which = (diverged["initializer"] == "zeros") & (diverged["epoch"] == 2)
    diverged.loc[which, list(METRICS)] = np.nan
    diverged.loc[which, "status"] = "diverged"
    changes = stats.changes(before, diverged).set_index("initializer")
    assert changes.loc["zeros", "mean_after"].tolist() == pytest.approx([0.1135] * 4)
    assert changes.loc["zeros", "failed_after"].tolist() == [6] * 4
    assert changes.loc["zeros", "significant"].all()


def test_the_page_of_a_comparison_names_the_changes(before):
    changes = stats.changes(before, moved_by(before, -1))
    left = comparison.Side("before", 72, [{"torch": "2.13.0", "processor": "one"}])
    right = comparison.Side("<b>after</b>", 80, [{"torch": "2.14.0", "processor": "one"}])
    page = comparison.render(changes, left, right, 0.5, "initbench compare a b")
    text = Page(page).text
    at = ("he_normal", "relu", "mse")
    accuracies = [
        f[f["epoch"] == 2].groupby(["initializer", "activation", "loss"])["test_accuracy"].mean()[at]
        for f in (before, moved_by(before, -1))
    ]
    means = " ".join(f"{accuracy:.2%}" for accuracy in accuracies)
    for sentence in (
        "72 cells in 12 configurations are in both experiments.",
        "0 of them are bit-identical.",
        "Changed significantly: 4 configurations worse; the largest change is −0.97 points (he_normal, relu, mse).",
        "Only in <b>after</b>: 8 cells.",
        "Failed: 4 configurations significantly worse by 0.5 points or more.",
        "The mean over all configurations changed by −0.32 points (−0.34 to −0.29): significant.",
        f"he_ normal, relu, mse {means} −0.97 (−1.14 to −0.81) worse 1.04 he_ normal",
        "2.14.0",
        "initbench compare a b",
    ):
        assert sentence in text
    assert "<b>after" not in page
    assert not Page(page).scripts
    assert len(stats.regressions(changes, 0.5)) == 4
    assert len(stats.regressions(changes, 2)) == 0


def rendered(table, limit=None, before=SIDE, after=SIDE):
    page = comparison.render(table, before, after, limit, "initbench compare a b")
    return Page(page).text, re.findall(r'<th scope="col">([^<&]+)', page)


def test_columns_that_say_nothing_new_are_not_shown(before):
    always = ["Configuration", "Before", "After", "Change, points"]
    assert rendered(stats.changes(before, before.assign(test_accuracy=before["test_accuracy"] + 1e-7)))[1] == [
        *(*always, "Loss at most, points")
    ]
    moved = stats.changes(before, moved_by(before, -1))
    assert rendered(moved)[1] == [*always, "Significant", "Loss at most, points"]
    assert rendered(stats.changes(before[before["seed"] == 0], moved_by(before, -1)))[1] == always
    partly = before.assign(test_accuracy=before["test_accuracy"].where(before["activation"] == "tanh", 0.4))
    assert rendered(stats.changes(before, partly))[1][-1] == "Same bits"
    failing = before.copy()
    which = (failing["initializer"] == "zeros") & (failing["epoch"] == 2)
    failing.loc[which, "status"] = "diverged"
    failing.loc[which, list(METRICS)] = np.nan
    text, headings = rendered(stats.changes(before, failing), after=comparison.Side("b", 48, []))
    assert headings[-1] == "Failed runs"
    assert "0 of these cells failed before and 24 after." in text
    text, headings = rendered(stats.changes(before, before))
    assert headings == ["Configuration", "Test accuracy"]
    assert "Nothing changed: all cells are bit-identical." in text
    assert "How sure?" not in text


def test_the_environments_show_what_differs_and_fold_the_rest(before):
    sides = [
        comparison.Side(
            name, 72, [{"torch": torch, "python": "3.11", "bits": "exact", "blas": blas, "initbench": torch}]
        )
        for name, torch, blas in (("a", "2.13", "x"), ("b", "2.14", "y"))
    ]
    text, _ = rendered(stats.changes(before, moved_by(before, -1)), None, *sides)
    assert "Environment NumPy's BLAS x → y; initbench 2.13 → 2.14; PyTorch 2.13 → 2.14 Next" in text
    assert "Property Before: a After: b NumPy's BLAS x y initbench 2.13 2.14 PyTorch 2.13 2.14" in text
    assert "2 properties that are the same Reproducible bit for bit Python 3.11" in text
    assert "Both were trained in the same environment." in rendered(stats.changes(before, before))[0]


def test_the_loss_that_is_excluded_is_the_largest_one_sided_bound(before):
    table = stats.changes(before, moved_by(before, -1))
    answer = comparison.summary(table, SIDE, SIDE)
    bound = float(re.search(r"lost more than ([\d.]+) points", answer.certainty)[1])
    assert 0 <= bound / 100 - -table["change_bound"].min() < 1e-4
    assert comparison.summary(stats.changes(before, before), SIDE, SIDE).certainty == ""


AXES = {
    "initializer": [{"name": "uniform", "low": -0.2, "high": 0.2}, "he_normal", {"first": "zeros", "hidden": "ones"}],
    "hidden": [[32, 16], [64]],
    "learning_rate": [0.1, 0.25],
    "output_activation": "identity",
    "bias_initializer": "zeros",
}


@pytest.mark.parametrize("number", range(3))
def test_the_command_after_a_loss_trains_the_configuration_that_lost_most(number):
    parsed = grid.parse(TEXT, overrides={**AXES, "seed": 4})
    frame = made_up(parsed)
    name = parsed.axes["initializer"][number]
    lower = (frame["initializer"] == name) & (frame["hidden"] == "32-16") & (frame["learning_rate"] == 0.25)
    lower &= (frame["activation"] == "tanh") & (frame["loss"] == "mse")
    worse = frame.assign(test_accuracy=frame["test_accuracy"] - 0.05 * lower)
    folder = comparison.Side("b", 1, [], "results/a b")
    (command,) = comparison.summary(stats.changes(frame, worse), folder, folder).commands
    words = shlex.split(command)
    assert words[:3] == ["initbench", "run", "results/a b"]
    overrides = pairs(words[4::2])
    assert overrides.pop("name") == "cause"
    single = grid.parse(TEXT, overrides={**AXES, "seed": 4, **overrides})
    assert {cell.id for cell in single.cells()} == set(frame.loc[lower, "cell"])


def test_the_next_step_of_each_outcome(before):
    a, b = comparison.Side("a", 72, [], "x/a"), comparison.Side("b", 72, [], "x/b")

    def steps(table, limit=None):
        answer = comparison.summary(table, a, b, limit, "initbench compare x/a x/b")
        return answer.kind, answer.next_step, answer.commands

    same, moved = stats.changes(before, before), stats.changes(before, moved_by(before, -1))
    assert steps(same) == ("identical", "", ())
    assert steps(same, 0)[0] == "passed"
    assert steps(moved, 3) == ("passed", "", ())
    assert steps(moved, 0.5)[0] == "failed"
    assert steps(stats.changes(before, before[before["seed"] > 0]), 0.5) == (
        *("failed", "Train the missing cells.", ("initbench run x/b",)),
    )
    single = stats.changes(before[before["seed"] == 0], moved_by(before, -1))
    again = ("initbench run x/a --set seed=5", "initbench run x/b --set seed=5", "initbench compare x/a x/b")
    assert (steps(single)[0], steps(single)[2]) == ("untested", again)
    better = stats.changes(moved_by(before, -1), before)
    kind, text, commands = steps(better, 0.05)
    assert kind == "inconclusive"
    assert text.startswith("Train 51 seeds in both")  # as the outcome says
    assert commands[1] == "initbench run x/b --set seed=51"
    kind, _, (command,) = steps(better)
    assert kind == "changed"
    assert stats.outcome(better, float(command.removeprefix("initbench compare x/a x/b --fail-if-worse "))) == "passed"
    assert steps(better, 0) == ("inconclusive", "", ())  # no number of seeds shows that


@pytest.fixture(scope="module")
def runs(tmp_path_factory, before):
    """Two runs on disk: one as it was, and one whose he_normal is a point worse."""
    parsed = grid.parse(TEXT, overrides={"seed": 6})
    folders = []
    for name, frame in (("one", before), ("two", moved_by(before, -1))):
        run = Experiment.create(parsed, tmp_path_factory.mktemp(name))
        cells = list(parsed.cells())
        by_epoch = [frame[frame["epoch"] == epoch].set_index("cell").loc[[c.id for c in cells]] for epoch in range(3)]
        metrics = {metric: [rows[metric].tolist() for rows in by_epoch] for metric in METRICS}
        store.write_part(run.folder, table(cells, metrics), {"torch": name})
        folders.append(run.folder)
    return folders


def invoke(*arguments):
    from typer.testing import CliRunner

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_exit_status_is_1_for_a_regression(runs, tmp_path):
    first, second = runs
    out = tmp_path / "changes.html"
    result = invoke("compare", first, second, "--fail-if-worse", 0.5, "--out", out)
    assert result.exit_code == 1
    assert "Failed: 4 configurations significantly worse by 0.5 points or more." in result.output
    assert "What changed from " in out.read_text(encoding="utf-8")
    assert invoke("compare", first, second, "--fail-if-worse", 2, "--out", out, "--force").exit_code == 0
    assert invoke("compare", first, second, "--out", out, "--force").exit_code == 0
    better = invoke("compare", second, first, "--fail-if-worse", 0.5, "--out", out, "--force")
    assert better.exit_code == 0
    assert "Passed: a loss of 0.5 points or more is excluded in every configuration" in better.output
    same = invoke("compare", first, first, "--fail-if-worse", 0)
    assert same.exit_code == 0
    assert "Passed: all cells are bit-identical." in same.output
    assert (first.parent / "compare-page-page.html").is_file()
    assert len(ib.compare(first, second)) == 12


def test_the_exit_status_is_3_where_a_loss_is_neither_shown_nor_excluded(runs, tmp_path):
    out = tmp_path / "changes.html"
    compare = ("compare", *reversed(runs), "--out", out, "--force", "--fail-if-worse")
    result = invoke(*compare, 0.05)
    assert result.exit_code == 3
    sentence = (
        "Inconclusive: no loss of 0.05 points or more is shown, but in 4 of 12 configurations it cannot be excluded. "
        "If nothing changed, about 51 seeds exclude it in every configuration; in the mean over all configurations it "
        "is excluded already."
    )
    assert sentence in " ".join(result.output.split())
    page = Page(out.read_text(encoding="utf-8")).text
    assert all(part in page for part in sentence.split(". ", maxsplit=1))
    assert invoke(*compare, 0.05, "--allow-inconclusive").exit_code == 0
    assert "No number of seeds excludes it where nothing changed" in invoke(*compare, 0).output
    assert (
        invoke("compare", *runs, "--out", out, "--force", "--fail-if-worse", 0.5, "--allow-inconclusive").exit_code == 1
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--allow-inconclusive"], "together with --fail-if-worse POINTS"),
        (["--fail-if-worse", "inf"], "allowed: a number of percentage points"),
        (["--fail-if-worse", "-1"], "fail-if-worse"),
        (["--out", f"{__file__}/x.html"], "cannot be written"),
        (["--out", "x.pdf"], "a file name that ends in .html"),
    ],
)
def test_what_cannot_be_compared_is_one_line(runs, arguments, message, monkeypatch, capsys):
    status, _, err = ended(monkeypatch, capsys, "compare", *runs, *arguments)
    assert status == 2
    assert message in err


def test_runs_without_a_common_cell_cannot_be_compared(runs, tmp_path):
    other = Experiment.create(grid.parse(TEXT, overrides={"learning_rate": 0.5}), tmp_path)
    with pytest.raises(ib.UserError, match="no cell is trained yet"):
        ib.compare(runs[0], other.folder)
    cells = list(other.grid.cells())
    store.write_part(other.folder, table(cells, {metric: [[0.5] * len(cells)] * 3 for metric in METRICS}), {})
    with pytest.raises(ib.UserError, match="no cell in common"):
        ib.compare(runs[0], other.folder)


def test_figures_of_an_unknown_kind_or_of_nothing_are_refused(runs, tmp_path):
    with pytest.raises(ib.UserError, match="allowed: svg, pdf, png"):
        ib.figures(runs[0], "jpg")
    empty = Experiment.create(grid.parse(TEXT), tmp_path)
    with pytest.raises(ib.UserError, match="no cell is trained yet"):
        ib.figures(empty.folder)
    assert not (empty.folder / "figures").exists()


def test_a_table_of_text_in_categories_is_compared_as_text(before):
    categories = before.astype({"initializer": "category", "activation": "category"})
    assert isinstance(categories["initializer"].dtype, pd.CategoricalDtype)
    pd.testing.assert_frame_equal(stats.changes(before, categories), stats.changes(before, before))


def test_missing_cells_and_runs_that_newly_fail_count_as_worse(before):
    part = before[before["initializer"] != "he_normal"]
    changes = stats.changes(before, part)
    assert stats.outcome(changes, 0.5) == "failed"
    assert stats.outcome(stats.changes(part, before), 0.5) == "passed"
    sides = comparison.Side("before", 72, []), comparison.Side("after", 48, [])
    assert comparison.sentences(changes, *sides, 0.5)[0] == "Failed: 24 cells missing in after."
    failing = before.copy()
    which = (failing["initializer"] == "zeros") & (failing["epoch"] == 2) & (failing["seed"] == 0)
    failing.loc[which, "status"] = "diverged"
    failing.loc[which, list(METRICS)] = np.nan
    newly = stats.changes(before, failing)
    assert not newly["significant"].any()
    assert len(stats.regressions(newly, 0.5)) == 4
    assert stats.outcome(newly, 0.5) == "failed"
    assert comparison.sentences(newly, sides[0], sides[0], 0.5)[0] == (
        "Failed: 4 configurations worse by 0.5 points or more, with runs that newly fail."
    )


def test_one_seed_is_inconclusive_unless_it_is_the_same_to_the_last_bit(before):
    first = before[before["seed"] == 0]
    side = comparison.Side("before", 12, [])
    changes = stats.changes(first, moved_by(first, -5))
    assert not changes["significant"].any()
    assert stats.outcome(changes, 0.5) == "inconclusive"
    assert comparison.sentences(changes, side, side, 0.5)[0] == (
        "Inconclusive: no loss of 0.5 points or more is shown, but in 12 of 12 configurations it cannot be excluded. "
        "That takes at least two seeds."
    )
    assert stats.outcome(stats.changes(first, first), 0) == "passed"


def test_a_change_that_is_printed_as_the_limit_is_at_it(before):
    base = before.assign(test_accuracy=0.9007)
    changes = stats.changes(base, base.assign(test_accuracy=0.8957))
    assert len(stats.regressions(changes, 0.5)) == len(changes)
    assert stats.overall_worse(changes, 0.5)


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_the_page_of_a_comparison_is_accessible(chromium, before, tmp_path, width, scheme):
    side = comparison.Side("a", 72, [{"torch": "2.13.0"}])
    path = tmp_path / "page.html"
    changes = stats.changes(before, moved_by(before, -1))
    path.write_text(comparison.render(changes, side, side, 0.5, "x"), encoding="utf-8")
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(path.as_uri())
    count, report = violations(page)
    assert count == 0, report
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(WORDS) < 300
    assert not page.evaluate(CUT)
    page.close()
