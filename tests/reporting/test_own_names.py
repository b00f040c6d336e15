"""Own functions in what people read: short digests, and the code that they stand for."""

import io
import json
import re
import shlex
from dataclasses import replace

import pandas as pd
import pytest
import untrusted
from frames import GRID, frame_of_grid
from hypothesis import given
from hypothesis import strategies as st
from page import Page

from initbench import stats
from initbench.api import outputs
from initbench.plugins.bundle import Bundle
from initbench.registry import shorten_digests
from initbench.reporting import comparison, limits, methods, names, own_functions, tables, terminal, verdict
from initbench.reporting.evidence import Evidence
from initbench.reporting.page import render
from initbench.results import plugin_file
from initbench.results.experiment import Experiment
from initbench.results.plugin_file import Function, StoredPlugin
from initbench.results.table import csv_bytes
from initbench.spec import grid

SOURCE = '''import initbench as ib


@ib.initializer
def mine(shape, *, gain: float = 1.1, seed=None, dtype="float32"):
    """Orthogonal weights times a gain."""
\treturn gain * ib.initializers.orthogonal(shape, seed=seed, dtype=dtype)  # <b>&\u202e
'''


def plugin_of(source, main="my_schemes.py", **others):
    files = {main: source, **{f"{name}.py": text for name, text in others.items()}}
    bundle = Bundle(main, main, {name: text.encode() for name, text in files.items()})
    functions = [
        Function("initializer", "mine", "mine(gain=1.1)", "Orthogonal weights times a gain."),
        Function("activation", "bump", "bump", ""),
    ]
    return StoredPlugin(bundle, tuple(functions))


PRESENT, EARLIER = plugin_of(SOURCE), plugin_of(SOURCE + "# as it was\n")
DIGEST, EARLIER_DIGEST = PRESENT.bundle.digest, EARLIER.bundle.digest
SHORT = DIGEST[:6]
PLUGINS = {EARLIER_DIGEST: EARLIER, DIGEST: PRESENT}
TEXT = (
    GRID.replace('"he_normal"', f'"mine@{DIGEST}(gain=1.3)", {{ hidden = "he_normal", last = "mine@{DIGEST}" }}')
    .replace('"relu"', f'"bump@{DIGEST}"')
    .replace('"cross_entropy"', f'"fair@{DIGEST}"')
)


@pytest.fixture(scope="module")
def experiment():
    """A grid with an own initializer, activation and loss, with made-up results."""
    parsed = grid.parse(TEXT, allow=None)
    return frame_of_grid(parsed), parsed


FULL_NAMES = st.builds(
    "{}@{}{}".format,
    st.sampled_from(["mine", "m"]),
    st.sampled_from(["0" * 20, "0" * 19 + "1", "0" * 6 + "f" * 14, "a" * 20]),
    st.sampled_from(["", "(gain=1.3)"]),
)


@given(st.lists(FULL_NAMES | st.sampled_from(["relu", "zeros"]), max_size=8))
def test_different_names_are_different_when_their_digests_are_short(full):
    digits = names.digits_of(full)
    assert len({shorten_digests(name, digits) for name in full}) == len(set(full))
    assert digits >= 6
    functions = {name.partition("(")[0] for name in full}
    assert digits == 6 or len({shorten_digests(name, digits - 1) for name in functions}) < len(functions)


def test_tables_and_answers_have_short_digests_and_the_grid_and_the_data_the_full_ones(experiment, without_figures):
    frame, parsed = experiment
    page = render(frame, parsed, [], "initbench run page.toml --plugin my_schemes.py", plugins=PLUGINS)
    read = Page(page)
    assert read.text.count(DIGEST) == 1 + parsed.text.count(DIGEST)  # the grid, and the digest itself
    assert read.text.count(f"mine@{SHORT}(gain=1.3)") > 10
    assert read.text.count(f"he_normal with last mine@{SHORT}") > 10
    assert f"bump@{SHORT}, fair@{SHORT}" in read.text
    (data,) = (json.loads(text) for kind, text in read.scripts if kind == "application/json")
    assert f"mine@{SHORT}(gain=1.3)" in data["initializers"]
    assert [f"bump@{SHORT}", f"fair@{SHORT}"] in data["combinations"]
    assert DIGEST not in json.dumps(data)
    written = pd.read_csv(io.BytesIO(csv_bytes(frame)))
    assert f"mine@{DIGEST}(gain=1.3)" in set(written["initializer"])
    assert f"fair@{DIGEST}" in set(written["loss"])


def test_the_answer_has_the_verdict_on_each_own_initializer_and_its_differences_from_the_others(
    experiment, without_figures
):
    frame, parsed = experiment
    read = Page(render(frame, parsed, [], "initbench run page.toml", plugins=PLUGINS))
    evidence = Evidence.of(frame, parsed, PLUGINS)
    written = verdict.of_own(evidence)
    without_spaces = "".join(read.text.split())
    assert {v.initializer for v in written} == {f"mine@{SHORT}(gain=1.3)", f"he_normal with last mine@{SHORT}"}
    assert "Your own initializers" in read.text
    others = [name for name in evidence.initializers if "mine" not in name]
    for own in written:
        assert all(sentence in read.text for sentence in own.sentences)
        assert [name for name, *_ in own.differences] == others
        assert all("".join("".join(row).split()) in without_spaces for row in own.differences)


@pytest.mark.parametrize(
    ("initializers", "heading"),
    [
        ('"zeros", "he_normal"', ""),
        (f'"mine@{DIGEST}", "mine@{DIGEST}(gain=1.3)"', ""),
        (f'"mine@{DIGEST}", "he_normal"', "Your own initializer"),
    ],
)
def test_without_own_initializers_or_without_others_there_is_no_verdict(initializers, heading, without_figures):
    parsed = grid.parse(re.sub(r"initializer = \[.*\]", f"initializer = [{initializers}]", GRID), allow=None)
    read = Page(render(frame_of_grid(parsed), parsed, [], "initbench run page.toml", plugins=PLUGINS))
    assert ("Your own initializer" in read.text) == bool(heading)
    assert "Your own initializers" not in read.text


@pytest.mark.slow
def test_figures_have_short_digests(experiment):
    page = Page(render(*experiment, [], "initbench run page.toml", plugins=PLUGINS))
    assert len(page.images) > 10
    assert any(f"mine@{SHORT}" in json.dumps(image) for image in page.images)
    assert not any(DIGEST in json.dumps(image) for image in page.images)


def test_the_evidence_leaves_the_table_and_the_grid_as_they_are(experiment):
    frame, parsed = experiment
    before, axes = frame.copy(), dict(parsed.axes)
    evidence = Evidence.of(frame, parsed, PLUGINS)
    assert f"bump@{SHORT}" in evidence.grid.axes["activation"]
    assert frame.equals(before)
    assert parsed.axes == axes


def test_names_that_are_alike_have_more_digits():
    first, second = f"mine@{'0' * 20}", f"mine@{'0' * 9}1{'0' * 10}"
    parsed = grid.parse(GRID.replace('"zeros", "he_normal"', f'"{first}", "{second}"'), allow=None)
    evidence = Evidence.of(frame_of_grid(parsed), parsed)
    assert evidence.initializers[:2] == [f"mine@{'0' * 10}", f"mine@{'0' * 9}1"]
    assert [function.name for function in evidence.own] == evidence.initializers[:2]


def test_exports_for_people_have_short_digests(experiment):
    evidence = Evidence.of(*experiment, PLUGINS)
    for text in (tables.markdown(evidence), tables.latex(evidence), methods.methods(evidence, [])):
        assert DIGEST not in text
        assert SHORT in text


def test_the_methods_name_own_functions_with_what_their_docstrings_say(experiment):
    text = methods.methods(Evidence.of(*experiment, PLUGINS), [])
    assert f" mine@{SHORT} is our own initializer: Orthogonal weights times a gain. " in text
    assert f" bump@{SHORT} is our own activation. " in text
    assert f" fair@{SHORT} is our own loss. " in text  # of which nothing is stored
    assert " own " not in methods.methods(
        Evidence.of(frame_of_grid(plain := grid.parse(GRID, overrides={"activation": "tanh"})), plain), []
    )


def test_the_methods_name_a_function_of_a_library_by_its_full_name(experiment):
    library = replace(PRESENT, bundle=replace(PRESENT.bundle, path="torch.nn.modules.activation.bump"))
    text = methods.methods(Evidence.of(*experiment, {DIGEST: library}), [])
    assert f" bump@{SHORT} is the activation torch.nn.modules.activation.bump. " in text
    assert f" mine@{SHORT} is our own initializer: " in text


def test_the_terminal_and_messages_have_short_digests(experiment, capsys):
    terminal.summary_table(Evidence.of(*experiment, PLUGINS))
    printed = capsys.readouterr().out
    assert DIGEST not in printed
    assert f"mine@{SHORT}" in printed
    labels = [cell.label for cell in experiment[1].cells()]
    assert not any(DIGEST in label for label in labels)
    assert any(f"(mine@{SHORT}(gain=1.3), bump@{SHORT}, " in label for label in labels)


def test_a_comparison_has_short_digests_and_its_commands_the_full_ones_and_the_plugin(experiment):
    frame, parsed = experiment
    lower = frame.assign(test_accuracy=frame["test_accuracy"] - 0.2 * (frame["initializer"].str.startswith("mine")))
    table = stats.changes(frame, lower)
    options = own_functions.options(parsed, PLUGINS)
    sides = [comparison.Side(name, len(frame) // 3, [], name, options) for name in ("before", "after")]
    answer = comparison.summary(table, *sides, 0.5, "initbench compare before after")
    assert not any(DIGEST in line for line in comparison.sentences(table, *sides, 0.5))
    assert any(SHORT in line for line in comparison.sentences(table, *sides, 0.5))
    (command,) = answer.commands
    assert command.startswith("initbench run after --plugin my_schemes.py --set name=cause")
    assert f"mine@{DIGEST}(gain=1.3)" in shlex.split(command)[-1]
    page = Page(comparison.render(table, *sides, 0.5, "initbench compare before after"))
    assert page.text.count(DIGEST) == command.count(DIGEST)
    assert f"mine@{SHORT}(gain=1.3)" in page.text


# ---------------------------------------------------------------------------------------------------------------------
# The code on the page


def page_of(parsed, plugins):
    """The page of a grid of which nothing is trained yet: what is left is how to reproduce it."""
    command = own_functions.command(["initbench", "run", "page.toml"], parsed, plugins)
    return render(frame_of_grid(parsed)[:0], parsed, [], command, plugins=plugins)


def test_the_page_has_the_code_in_a_fold_escaped_and_says_how_to_run_it(experiment):
    page = page_of(experiment[1], PLUGINS)
    text = Page(page.replace("<wbr>", "")).text
    assert "Save the grid as page.toml , the code of its own functions as my_schemes.py , and run:" in text
    assert "initbench run page.toml --plugin my_schemes.py" in text
    assert f"The code of mine@{SHORT}, bump@{SHORT}, fair@{SHORT}: my_schemes.py" in text
    assert "mine(gain=1.1): Orthogonal weights times a gain." in text
    assert f"{DIGEST}, the present version" in text
    assert f"Earlier versions {EARLIER_DIGEST}" in text
    assert "\n\treturn gain * ib" in page  # as it can be copied
    assert r"# &lt;b&gt;&amp;\u202e" in page
    assert "# as it was" not in page  # no code of versions that the grid does not name


def test_the_page_says_which_of_two_versions_is_the_present_one(experiment):
    text = TEXT.replace('"zeros"', f'"mine@{EARLIER_DIGEST}"')
    page = Page(page_of(grid.parse(text, allow=None), PLUGINS)).text
    assert f"{DIGEST}, the present version" in page
    assert f"{EARLIER_DIGEST}, an earlier version; the present one is {DIGEST}" in page
    assert "# as it was" in page
    assert "initbench run page.toml --plugin my_schemes.py trains" in page  # two versions cannot run together


def test_two_versions_in_two_files_are_run_with_the_present_one(experiment):
    renamed = plugin_of(SOURCE + "# as it was\n", main="old_schemes.py")
    parsed = grid.parse(TEXT.replace('"zeros"', f'"mine@{EARLIER_DIGEST}"'), allow=None)
    assert own_functions.options(parsed, PLUGINS | {EARLIER_DIGEST: renamed}) == ["--plugin", "my_schemes.py"]
    newest_last = {DIGEST: PRESENT, EARLIER_DIGEST: renamed}
    assert own_functions.options(parsed, newest_last) == ["--plugin", "old_schemes.py"]


def test_a_file_whose_name_looks_like_an_option_or_a_command_is_quoted(experiment):
    for main, words in (("-rf.py", ["./-rf.py"]), ("$(reboot).py", ["$(reboot).py"]), ("a b.py", ["a b.py"])):
        plugin = replace(PRESENT, bundle=replace(PRESENT.bundle, main=main, files={main: SOURCE.encode()}))
        command = own_functions.command(["initbench", "run"], experiment[1], {DIGEST: plugin})
        assert shlex.split(command) == ["initbench", "run", "--plugin", *words]
        assert "$(" not in command.replace("'$(reboot).py'", "")


def test_the_page_reports_code_that_is_not_stored(experiment):
    text = Page(page_of(experiment[1], {})).text
    assert f"The code of mine@{SHORT}, bump@{SHORT}, fair@{SHORT} The code with the digest {DIGEST} is not in" in text
    assert "--plugin" not in text


def test_long_code_is_shown_to_its_limit_and_the_page_says_how_much_is_left_out(experiment):
    long = "\n".join(f"x{i} = {'9' * 40}" for i in range(10_000))
    plugin = plugin_of(SOURCE + long, helpers="y = 1\n", other="z" * 10_000)
    parsed = grid.parse(TEXT.replace(DIGEST, plugin.bundle.digest), allow=None)
    page = page_of(parsed, {plugin.bundle.digest: plugin})
    shown = page.count(" = " + "9" * 40)
    assert shown < 10_000
    assert f"my_schemes.py, without its last {10_000 - shown:,} lines" in page
    assert "other.py, without its last 1 line, " in page
    assert len(page) < limits.MAX_SOURCE + 50_000
    wide = plugin_of("x = '" + "w" * 100_000 + "'")
    parsed = grid.parse(TEXT.replace(DIGEST, wide.bundle.digest), allow=None)
    assert page_of(parsed, {wide.bundle.digest: wide}).count("w" * 400) < 3


def test_a_report_is_written_again_when_the_stored_code_is_another(tmp_path, without_figures):
    folder = untrusted.made_run(tmp_path, untrusted.GRID.replace('"zeros"', f'"mine@{DIGEST}"'), allow=None)
    assert not outputs.report(Experiment.open(folder)).unchanged
    assert outputs.report(Experiment.open(folder)).unchanged
    plugin_file.write(folder, {DIGEST: PRESENT})
    assert not outputs.report(Experiment.open(folder)).unchanged
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "initbench run made.toml --plugin my_schemes.py" in text
    assert "return gain * ib" in text
