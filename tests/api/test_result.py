"""The result that `ib.run` returns: its answers in text and HTML, its comparisons, figures and report."""

import re
import struct
from xml.etree import ElementTree

import made_up
import pandas as pd
import pytest
import untrusted
from page import Page, violations

import initbench as ib
from initbench.api import outputs
from initbench.errors import UserError
from initbench.reporting.evidence import Evidence, chances
from initbench.results.experiment import Experiment

DARK = 'data-jp-theme-light="false"'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An experiment of two combinations, with possible values."""
    return untrusted.made_run(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def result(folder):
    return ib.result(folder)


def page_of(result, theme=""):
    return f'<!DOCTYPE html><html lang="en"><title>a notebook</title><body {theme}><main>{result._repr_html_()}</main>'


def test_it_has_the_table_of_its_experiment(result, folder):
    assert result.folder == folder
    pd.testing.assert_frame_equal(result.frame, ib.load(folder))


def test_its_verdicts_are_those_of_the_statistics(result, folder):
    grid = Experiment.open(folder).grid
    expected = ib.stats.verdicts(result.frame, ["activation"], chance=chances(grid))
    pd.testing.assert_frame_equal(result.verdicts(), expected)
    assert set(result.verdicts()["initializer"]) == set(result.frame["initializer"])


def test_its_text_has_a_line_for_the_answer_of_each_combination(result, folder):
    first, *lines = repr(result).splitlines()
    assert first.startswith(f"{folder}: 18 training runs on MNIST")
    assert [line.partition(":")[0] for line in lines[:2]] == ["tanh", "relu"]
    leaders = result.verdicts().query("leader").set_index("activation")["initializer"]
    for line in lines[:2]:
        assert leaders[line.partition(":")[0]] in line
    for marks in "±+", "†":
        explained = [line for line in lines[2:] if line.startswith(f"{marks[0]}: ")]
        assert len(explained) == bool({*marks} & {*"".join(lines[:2])})


def test_its_html_has_the_answers_and_the_main_figure_and_runs_nothing(result):
    html = result._repr_html_()
    page = Page(html)
    assert page.scripts == []
    assert page.addresses == []
    assert len(page.images) == 1
    for answer in ("tanh", "relu", "zeros"):
        assert answer in page.text
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert html == ib.result(result.folder)._repr_html_()


def test_a_single_combination_has_its_sentences(tmp_path):
    text = untrusted.GRID.replace('["tanh", "relu"]', '"tanh"')
    result = ib.result(untrusted.made_run(tmp_path, text=text))
    html = Page(result._repr_html_()).text
    evidence = Evidence.of(result.frame, Experiment.open(result.folder).grid)
    from initbench.reporting.answers import answers

    (answer,) = answers(evidence)
    for sentence in (answer.recommendation, answer.certainty):
        assert sentence in html
        assert sentence in repr(result)


@pytest.mark.slow
def test_its_figures_are_those_of_the_report_by_the_names_of_their_files(result, tmp_path):
    names = [path.stem for path in ib.figures(result.folder, into=tmp_path)]
    assert result.figure().name == names[0] == "overview"
    assert result.figure("curves-relu").name == "curves-relu"
    with pytest.raises(UserError) as mistake:
        result.figure("curve-relu")
    (line,) = mistake.value.lines
    allowed = line.partition("allowed: ")[2].partition(";")[0].split(", ")
    assert allowed == names
    assert line.endswith("did you mean 'curves-relu'?")


@pytest.mark.slow
def test_a_figure_is_shown_and_saved_with_one_title(result, tmp_path):
    figure = result.figure("accuracy-tanh")
    first, again = figure._repr_svg_(), figure._repr_svg_()
    assert first == again
    height = float(ElementTree.fromstring(first).get("height").removesuffix("pt"))
    png, size = figure._repr_png_()
    width_in_file, height_in_file = struct.unpack(">2I", png[16:24])
    assert (width_in_file, height_in_file) == pytest.approx((1.5 * size["width"], 1.5 * size["height"]), abs=2)
    assert size["height"] == pytest.approx(height * 96 / 72, abs=1)
    without_title = ElementTree.parse(ib.figures(result.folder, into=tmp_path, width=size["width"] / 96)[1]).getroot()
    assert without_title.get("height") != height
    assert figure.save(tmp_path / "a.svg").read_text() == first
    assert figure.save(str(tmp_path / "a.pdf")).read_bytes().startswith(b"%PDF")
    with pytest.raises(UserError, match=r"a\.gif: the name ends in '\.gif'; allowed: \.svg, \.pdf or \.png"):
        figure.save(tmp_path / "a.gif")


def test_its_report_is_that_of_the_experiment(folder, tmp_path, without_figures):
    result = ib.result(untrusted.made_run(tmp_path))
    path = result.report()
    assert path == result.folder / outputs.PAGE
    assert "Which weight initializer" in path.read_text()


def test_whatever_an_experiment_contains_is_escaped(tmp_path, chromium):
    result = ib.result(untrusted.poisoned(tmp_path / "<script>window.pwned=10</script>"))
    shown = Page(page_of(result))
    assert shown.scripts == []
    assert shown.addresses == []
    assert "<script>window.pwned=10</script>" in shown.text
    page = chromium.new_page()
    page.set_content(page_of(result))
    assert page.evaluate("window.pwned === undefined && !document.querySelector('img, iframe, script')")
    page.close()


def test_an_experiment_without_a_trained_cell_has_a_result(tmp_path):
    folder = untrusted.made_run(tmp_path)
    for part in (folder / "parts").iterdir():
        part.unlink()
    result = ib.result(folder)
    assert "No cell is trained." in repr(result)
    assert "No cell is trained." in Page(result._repr_html_()).text
    for call in (result.verdicts, result.figure):
        with pytest.raises(UserError, match="no cell is trained yet"):
            call()


def test_a_result_without_some_cells_says_how_many(tmp_path, monkeypatch):
    folder = untrusted.made_run(tmp_path)
    text = (folder / "grid.toml").read_text()
    (folder / "grid.toml").write_text(text.replace("seed = 3", "seed = 4"))
    line = "6 of the 24 cells are not trained, so these results are preliminary."
    result = ib.result(folder)
    assert line in repr(result)
    assert line in Page(result._repr_html_()).text


def test_an_earlier_result_stays_what_it_was_when_the_folder_has_another_grid(tmp_path, monkeypatch):
    made_up.instantly(monkeypatch)
    monkeypatch.chdir(tmp_path)
    few = ib.run({"initializer": ["zeros", "ones"], "seed": 2, "epochs": 1})
    shown = repr(few)
    ib.run({"initializer": "he_normal", "seed": 1, "epochs": 1})
    assert repr(few) == shown
    assert len(few.verdicts()) == 2
    assert few.report().read_text().count("ones") > 1


@pytest.mark.parametrize("theme", ["", DARK], ids=["light", "dark"])
def test_it_is_readable_in_light_and_in_dark_notebooks(result, chromium, theme):
    page = chromium.new_page(viewport={"width": 800, "height": 900})
    page.set_content(page_of(result, theme))
    colours = page.evaluate(
        "() => ['color', 'backgroundColor'].map(name => getComputedStyle(document.querySelector('.initbench'))[name])"
    )
    ink, ground = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours)
    bright, dim = (ink, ground) if theme else (ground, ink)
    assert bright > 200
    assert dim < 60
    assert page.evaluate("document.documentElement.scrollWidth") <= 800
    count, report = violations(page)
    assert [line for line in report.splitlines() if "color-contrast" in line] == [], report
    assert count <= 1, report  # the page around it has no heading
    page.close()
