"""Figures as files: laid out at the width that is requested, in letters of the style's size, with nothing cut."""

import itertools
import re
import struct

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import untrusted
from matplotlib.text import Text
from rcparams import HOSTILE
from typer.testing import CliRunner

import initbench as ib
from initbench.api import rounds
from initbench.cli import app
from initbench.errors import UserError
from initbench.reporting import evidence as evidence_module
from initbench.reporting import figures
from initbench.reporting.evidence import Evidence
from initbench.reporting.figures.drawing import save
from initbench.reporting.figures.style import style as figure_style
from initbench.reporting.gallery import gallery
from initbench.reporting.layout import STYLES, WIDTHS, laid_out, layout_of

LETTERS = {"paper": (7, 9), "slides": (12, 16.5)}  # points
GRID = """
name = "files"
[grid]
initializer = ["zeros", "he_normal", { name = "normal", std = 1.0 }, { name = "uniform", low = -0.2, high = 0.2 }]
activation = ["tanh", "relu", "sigmoid"]
loss = ["mse", "cross_entropy"]
seed = 3
[model]
hidden = [16]
[training]
epochs = 4
"""


@pytest.fixture(autouse=True)
def _one_panel(monkeypatch):
    monkeypatch.setattr(evidence_module, "MIN_PANELS", 1)
    monkeypatch.setattr(evidence_module, "MAX_PANELS", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return untrusted.made_run(tmp_path_factory.mktemp("files"), GRID)


@pytest.fixture(scope="module")
def evidence(folder):
    experiment = rounds.opened(folder)
    return Evidence.of(experiment.frame(), experiment.grid)


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def drawn(evidence):
    """The first figure of each section."""
    shown = {}
    for figure in gallery(evidence, figures.Palette.of(evidence.initializers)):
        shown.setdefault((figure.section, figure.name if figure.section == "across" else ""), figure.figure.draw())
    return shown.items()


def boxes(drawing):
    """Each text that is visible, with its box in pixels."""
    canvas = drawing.canvas
    canvas.draw_without_rendering()
    hidden = set()
    for axes in canvas.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if not axes.axison or not low <= tick.get_loc() <= high:
                    hidden |= {id(tick.label1), id(tick.label2)}
    return [
        (text, text.get_window_extent())
        for text in canvas.findobj(Text)
        if text.get_text().strip() and text.get_visible() and id(text) not in hidden
    ]


@pytest.mark.parametrize(
    ("style", "width"), [("paper", "one-column"), ("paper", "two-column"), ("paper", None), ("slides", None)]
)
def test_at_every_width_letters_have_the_style_s_size_and_nothing_is_cut_or_overlaps(evidence, style, width):
    layout = layout_of(style, width)
    low, high = LETTERS[style]
    with laid_out(layout), figure_style():
        for name, drawing in drawn(evidence):
            save(drawing, "svg", title=True)
            if layout.width:
                assert drawing.canvas.get_figwidth() == pytest.approx(layout.width)
            texts = boxes(drawing)
            for text, box in texts:
                assert low <= text.get_fontsize() <= high, (name, text)
                frame = drawing.canvas.bbox
                assert frame.x0 <= box.x0 <= box.x1 <= frame.x1, (name, text)
                assert frame.y0 <= box.y0 <= box.y1 <= frame.y1, (name, text)
            for (a, first), (b, second) in itertools.combinations(texts, 2):
                across = min(first.x1, second.x1) - max(first.x0, second.x0)
                up = min(first.y1, second.y1) - max(first.y0, second.y0)
                assert across < 1 or up < 2, (name, a, b)


@pytest.mark.parametrize(
    ("form", "first"),
    [
        ("svg", b"<?xml"),
        *(pytest.param(*form, marks=pytest.mark.slow) for form in (("pdf", b"%PDF"), ("png", b"\x89PNG"))),
    ],
)
def test_files_have_the_width_their_fonts_and_the_same_bytes_whatever_a_user_has_set(tmp_path, form, first):
    run = untrusted.made_run(tmp_path)
    result = invoke("figures", run, "--format", form, "--into", tmp_path / "once", "--width", "82.55mm", "--title")
    assert result.exit_code == 0, result.output
    paths = sorted((tmp_path / "once").iterdir())
    assert f"{len(paths)} figures" in result.output
    assert {path.stem for path in paths} >= {
        "overview",
        "accuracy-tanh",
        "differences-tanh",
        "curves-tanh",
        "across-ranks",
    }
    with mpl.rc_context(HOSTILE):
        again = ib.figures(run, form, tmp_path / "twice", width="82.55mm", title=True)
    assert sorted(path.name for path in again) == [path.name for path in paths]
    for path in paths:
        content = path.read_bytes()
        assert content == (tmp_path / "twice" / path.name).read_bytes()
        assert content.startswith(first)
        inches = {
            "svg": lambda c: float(re.search(rb'width="([\d.]+)pt"', c)[1]) / 72,
            "pdf": lambda c: float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", c)[1]) / 72,
            "png": lambda c: struct.unpack(">I", c[16:20])[0] / 300,
        }[form](content)
        assert abs(inches - 3.25) < 0.004
        if form == "svg":
            assert b"<text" not in content  # letters are outlines
            assert b"var(--" not in content
        if form == "pdf":
            fonts = re.findall(rb"/FontFile2?3? \d+ 0 R", content)
            assert len(fonts) == len(re.findall(rb"/Type /FontDescriptor", content)) > 0


@pytest.mark.slow
def test_titles_are_in_the_files_only_where_they_are_requested(folder, tmp_path):
    sizes = []
    for option in ("--no-title", "--title"):
        result = invoke("figures", folder, "--into", tmp_path / option, option, "--width", "one-column")
        assert result.exit_code == 0, result.output
        sizes.append((tmp_path / option / "curves-tanh-mse.svg").read_text(encoding="utf-8"))
    without, with_title = ({*re.findall(r"<!-- (.*?) -->", text)} for text in sizes)
    assert with_title - without == {"tanh, mse"}
    low, high = (float(re.search(r'height="([\d.]+)pt"', text)[1]) for text in sizes)
    assert 10 < high - low < 25  # the picture itself stays as it is


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "width",
            "3 inches",
            "width = '3 inches' is not allowed; allowed: a length such as 3.25in, 8cm, 82mm or 240pt;",
        ),
        ("width", "nan", "width = 'nan' is not allowed; allowed: a length"),
        ("width", "-3in", "width = '-3in' is not allowed; allowed: a length"),
        ("width", "1in", "width = '1in' is not allowed with style paper; allowed: from 3in to 24in"),
        ("width", "9e9in", "width = '9e9in' is not allowed"),
        ("style", "paperr", "style = 'paperr' is not allowed; allowed: paper, slides"),
    ],
)
def test_a_width_or_style_that_is_not_allowed_is_one_line(folder, tmp_path, option, value, message):
    result = invoke("figures", folder, "--into", tmp_path / "none", f"--{option}", value)
    assert str(result.exception).startswith(message)
    with pytest.raises(UserError, match=re.escape(message)):
        ib.figures(folder, "svg", tmp_path / "none", **{option: value})
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("width", "inches"),
    [
        ("3.25in", 3.25),
        ("10cm", 10 / 2.54),
        ("82.5 mm", 82.5 / 25.4),
        ("240pt", 240 / 72.27),
        (5, 5.0),
        *WIDTHS.items(),
    ],
)
def test_lengths(width, inches):
    assert layout_of("paper", width).width == pytest.approx(inches)


@pytest.mark.parametrize("width", [True, [3], float("nan"), float("inf"), "", "in", "1e1in", "٣in"])
def test_what_is_not_a_length_is_refused(width):
    with pytest.raises(UserError, match="is not allowed"):
        layout_of("paper", width)


def test_a_slide_has_room_for_the_figures(evidence):
    with laid_out(STYLES["slides"]):
        for name, drawing in drawn(evidence):
            width, height = drawing.canvas.get_size_inches()
            assert width == pytest.approx(12)
            assert height < 6.75, name


def test_columns_of_a_map_that_have_no_room_stand_below_each_other_by_group():
    names, values = ["glorot_uniform", "truncated_normal"], range(12)
    columns = [(loss, f"sigmoid\nhidden {width}") for loss in ("mse", "cross_entropy") for width in (16, 32, 64)]
    means = pd.DataFrame(0.9, index=names, columns=[", ".join(column) for column in columns])
    behind = pd.DataFrame(np.reshape(values, (2, 6)) / 10, names, means.columns)
    tops = {}
    for width in ("one-column", "two-column"):
        with laid_out(layout_of("paper", width)):
            drawing = figures.points_behind(behind, means, means.map(lambda _: ""), 0 * means, columns)
        texts = [text for text in drawing.canvas.axes[0].texts if text.get_text() in {f"{v / 10:.1f}" for v in values}]
        assert len(texts) == 12  # each number once
        tops[width] = {text.get_text(): round(text.get_position()[1]) for text in texts}
    assert len(set(tops["two-column"].values())) == 2  # a height for each row
    assert len(set(tops["one-column"].values())) == 4  # a row in each of two blocks
    assert max(tops["one-column"][f"0.{j}"] for j in (0, 1, 2)) < min(tops["one-column"][f"0.{j}"] for j in (3, 4, 5))
