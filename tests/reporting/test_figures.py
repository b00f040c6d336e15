"""What is drawn is what the tables say, whatever names and numbers are in them, and whatever the user has set."""

import os
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
import untrusted
from frames import frame_of
from frames import frame_of_grid as made_up
from pictures import Picture, shown_names
from rcparams import HOSTILE

import initbench as ib
from initbench import stats
from initbench.reporting import figures, names
from initbench.reporting.figures import drawing as drawing_module
from initbench.reporting.figures import style, weights
from initbench.reporting.figures.svg import edit_tags, for_page, unique
from initbench.reporting.page import render
from initbench.spec import grid

ODD = "#222222 <!-- 1.23456 --> url(#x) & id=\"y\" font: 12px 'z' <metadata>"
LONG = "glorot_truncated_normal with first normal(std={}) and last uniform(low=-1.0, high=0.05)"
NAMES = ["normal(std=0.001)", "normal(std=0.002)", ODD, LONG.format(0.001), LONG.format(0.002), "权重 $x^2$"]
PALETTE = figures.Palette.of(NAMES)
RATES = (0.001, 0.005, 0.01)


@pytest.fixture(autouse=True)
def _raise_warnings(monkeypatch):
    monkeypatch.setattr(style, "WARNINGS", "error")


def frame_at(rate, level, spread):
    """A table of three seeds with intervals wider than the seeds."""
    shifts = np.array([-1.0, 0.0, 1.0]) * spread
    return frame_of({name: level - 0.03 * i + shifts * (1 + i) for i, name in enumerate(NAMES)}, learning_rate=rate)


@pytest.fixture(scope="module")
def frame():
    levels, spreads = (0.985, 0.9, 0.92), (0.008, 0.001, 0.01)
    whole = pd.concat([frame_at(*arguments) for arguments in zip(RATES, levels, spreads, strict=True)])
    return whole.assign(validation_loss=1.0, test_loss=1.0)


@pytest.fixture(scope="module")
def single_rate(frame):
    """One rate's runs, and their verdicts."""
    rows = frame[frame["learning_rate"] == RATES[0]]
    return rows, stats.verdicts(rows, [])


def test_rank_diagrams_and_intervals(frame):
    scores = stats.scores(frame, ["learning_rate"])
    ranks = stats.ranks(scores)
    for groups in ([], [(0, 3), (2, 5)]):
        picture = Picture(figures.rank_diagram(ranks, groups, PALETTE, 3))
        picture.labels_are_exact()
        for i, row in ranks.iterrows():
            picture.has_marker(row["mean_rank"], i)
            picture.has_text(f"{row['mean_rank']:.2f}")
        shown_names(picture, list(ranks["initializer"]))
    axes = picture.axes[0]
    bars = [
        line.get_window_extent().x1 for line in axes.lines if len(set(line.get_xdata())) == 1 < len(line.get_xdata())
    ]
    numbers = [text.get_window_extent() for text in axes.texts if text.get_ha() == "right"]
    assert len(bars) == 2
    assert max(bars) + 4 < min(box.x0 for box in numbers)  # no number breaks a bar into pieces
    means = stats.interquartile_means(scores)
    over = stats.improvement(scores, NAMES[0])
    best = means.loc[means["mean"].idxmax()]
    far = means["mean"] < best["mean"] - max(0.05, 4 * (best["high"] - best["mean"]))
    assert 0 < far.sum() < len(far)
    for table, value, line in ((means, "mean", None), (over, "probability", 0.5)):
        picture = Picture(
            figures.intervals(table, value, PALETTE, "Probability of improvement over " + ODD, "label", line)
        )
        shown_names(picture, list(table["initializer"]))
        picture.labels_are_exact()
        for i, row in table.iterrows():
            if line is None and far[i]:
                continue  # in the strip beside the axis
            picture.has_bar(row["low"], row["high"], i)
            picture.has_marker(row[value], i)


def test_learning_curves_profiles_and_learning_rates(frame):
    parsed = grid.parse('[grid]\ninitializer = ["zeros", "he_normal"]\nseed = 3\n[training]\nepochs = 2')
    runs, palette = made_up(parsed), figures.Palette.of(["zeros", "he_normal"])
    runs["train_loss"] = runs["train_loss"] * 1e-5 + 2.3025
    loss, accuracy = (stats.curves(runs, ["initializer"], m) for m in ("train_loss", "validation_accuracy"))
    picture = Picture(figures.learning_curve(loss, accuracy, palette, "t"), palette)
    for axes, table in ((0, loss[loss["epoch"] > 0]), (1, accuracy)):
        picture.labels_are_exact(axes, across=False)
        for _, row in table.iterrows():
            picture.has_band(row["epoch"], row["low"], row["high"], axes)

    assert picture.labels_are_exact(1) == ["0", "1", "2"]
    upper, lower = picture.axes
    assert upper.get_xlim() == lower.get_xlim()  # which has the labels for both
    assert upper.get_position().intervalx.tolist() == lower.get_position().intervalx.tolist()

    scores = stats.scores(frame, ["learning_rate"])
    table = stats.profiles(scores, np.linspace(0.75, 1, 9))
    picture = Picture(figures.profile(table, PALETTE))
    picture.labels_are_exact()
    picture.labels_are_exact(across=False)
    for _, row in table.iterrows():
        picture.has_band(row["threshold"], row["low"], row["high"])

    for some in (RATES, RATES[1:]):  # far apart, on a logarithmic axis; and near, on an ordinary one
        table = stats.rates(frame[frame["learning_rate"].isin(some)], [])
        picture = Picture(figures.sensitivity(table, PALETTE, "t"))
        assert picture.labels_are_exact() == [str(rate) for rate in some]
        picture.labels_are_exact(across=False)
        assert picture.drawing.headings[1:] == [str(rate) for rate in some]
        for _, row in table.iterrows():
            picture.has_band(row["learning_rate"], row["all_low"], row["all_high"])


def test_texts_are_never_edited_with_the_rest_of_an_svg():
    escaped = ODD.replace("&", "&amp;").replace("<", "&lt;")
    letters = "font: 700 9.876px 'DejaVu Sans'; fill: #222222"
    text = f'<text x="1.23456" style="{letters}">{escaped}\x0b</text>'
    source = f'<svg xmlns="x" viewBox="0 0 1 1"><metadata>m<g/></metadata><!-- c --><g id="n">{text}</g></svg>'
    once = for_page(source, {"#222222": "var(--ink)"}, {"aria-label": ODD}, "p-")
    root = ET.fromstring(unique(once, "q-").replace(' xmlns="x"', ""))
    text = root.find("g/text")
    assert (text.text, root.get("aria-label")) == (ODD + "\N{REPLACEMENT CHARACTER}", ODD)
    assert text.get("x") == "1.23"
    assert text.get("style") == "font-size: 9.88px; font-weight: 700; fill: var(--ink)"
    assert root.find("metadata") is None
    assert edit_tags("<a><b></b>x</a>", lambda _, attributes: attributes) == "<a><b/>\n</a>"


SMALL = """
[grid]
initializer = ["zeros", "he_normal", { name = "normal", std = 0.001 }]
activation = "tanh"
seed = 3
[model]
hidden = []
output_activation = "same"
[training]
epochs = 2
"""

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
{before}
import initbench.reporting.page
from initbench.spec import grid
from frames import frame_of_grid
parsed = grid.parse({grid!r})
sys.stdout.write(initbench.reporting.page.render(frame_of_grid(parsed), parsed, [], "x"))
"""


@pytest.fixture(scope="module")
def plain_page():
    parsed = grid.parse(SMALL)
    return render(made_up(parsed), parsed, [], "x")


def test_what_a_user_has_set_changes_no_byte_of_a_page_and_is_left_as_it_was(plain_page):
    parsed = grid.parse(SMALL)
    with mpl.rc_context():
        sns.set_theme(style="darkgrid", context="poster", palette="pastel")
        plt.style.use("dark_background")
        mpl.rcParams.update(HOSTILE)
        mine = plt.figure("mine")
        before, numbers, filters = dict(mpl.rcParams), plt.get_fignums(), list(warnings.filters)
        backend = mpl.get_backend()
        assert render(made_up(parsed), parsed, [], "x") == plain_page
        assert dict(mpl.rcParams) == before
        assert (plt.get_fignums(), plt.gcf(), mpl.get_backend()) == (numbers, mine, backend)
        assert list(warnings.filters) == filters
        plt.close(mine)


@pytest.mark.parametrize(
    ("settings", "before"),
    [
        (b"\xff\xfe broken", ""),  # which ends the import of matplotlib: hers as well as ours
        pytest.param(
            b"backend: module://nothing_here\nno such key: 1\n",
            "import initbench.reporting.matplotlib_import as m; m.own_process = True",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_settings_that_matplotlib_cannot_read_change_no_byte_of_a_page(tmp_path, plain_page, settings, before):
    lines = "".join(f"{key}: {value if key != 'path.sketch' else '3, 100, 2'}\n" for key, value in HOSTILE.items())
    (tmp_path / "matplotlibrc").write_bytes(lines.encode() + settings)
    (tmp_path / "config" / "stylelib").mkdir(parents=True)
    (tmp_path / "config" / "stylelib" / "mine.mplstyle").write_bytes(b"\xff\xfe")
    (tmp_path / "config").chmod(0o555)
    environment = os.environ | {
        "MPLBACKEND": "module://nothing.backend_inline",
        "MPLCONFIGDIR": str(tmp_path / "config"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    script = SCRIPT.format(tests=str(Path(__file__).parents[1]), grid=SMALL, before=before)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == plain_page


def test_every_figure_is_drawn_in_our_own_settings():
    annotated = [(f, getattr(f, "__annotations__", {})) for f in vars(figures).values()]
    drawing = [f for f, kinds in annotated if kinds.get("return") is figures.Drawing and "drawing" not in kinds]
    assert len(drawing) == 14
    assert all(f.__code__ is figures.profile.__code__ for f in drawing)  # of the wrapper


def test_files_say_once_which_characters_no_font_has(monkeypatch, tmp_path):
    text = untrusted.GRID.replace("zeros", "he_uniform").replace('["tanh", "relu"]', '["tanh"]')
    folder = untrusted.made_run(tmp_path, text)
    some = drawing_module._family_with
    monkeypatch.setattr(drawing_module, "_family_with", lambda char: None if char == "\U0001bc00" else some(char))
    odd = "\U0001bc00 \N{RIGHTWARDS TWO-HEADED ARROW WITH VERTICAL STROKE}"  # the second is in DejaVu Serif
    monkeypatch.setattr(
        names, "shorten_functions", lambda frame, digits: frame.replace({"initializer": {"he_uniform": odd}})
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        paths = ib.figures(folder, "svg", tmp_path / "drawn")
    assert any("DejaVuSerif-" in path.read_text(encoding="utf-8") for path in paths)
    (note,) = [str(warning.message) for warning in caught]
    assert note.startswith("figures: no font on this machine has \U0001bc00, so boxes are drawn instead")


def test_a_scheme_is_pictured_alike_whatever_is_set():
    W = np.random.default_rng(0).normal(size=(16, 9))
    panels = ["histogram", "weights", "images", "singular values", "norms"]
    plain = weights.picture(panels, W, title="t", form="svg")
    with mpl.rc_context(HOSTILE):
        assert weights.picture(panels, W, title="t", form="svg") == plain
