"""Curves have their names at their ends, apart from each other, and panels show what competes."""

import itertools

import numpy as np
import pandas as pd
import pytest
from frames import GRID, frame_of_grid
from hypothesis import given
from hypothesis import strategies as st
from pictures import Picture

from initbench import stats
from initbench.reporting import evidence, figures, gallery
from initbench.reporting.figures.curves import view
from initbench.reporting.figures.direct import apart, named
from initbench.reporting.figures.style import SOFT, luminance
from initbench.reporting.layout import laid_out, layout_of
from initbench.reporting.limits import MAX_NAMED_BEST, MAX_NAMED_CURVES
from initbench.reporting.palette import DARK, LIGHT
from initbench.spec import grid


def curves(ends, epochs=4, start=0.1, half=0.002):
    """A table of curves that reach these ends: `ends` maps names to their last means."""
    rows = []
    for name, end in ends.items():
        for epoch in range(epochs + 1):
            mean = end + (start - end) * 0.2**epoch
            rows.append({"initializer": name, "epoch": epoch, "mean": mean, "low": mean - half, "high": mean + half})
    return pd.DataFrame(rows)


def drawn(ends, losses=None, **layout):
    palette = figures.Palette.of(list(ends))
    loss = curves(losses or {name: 3 * (1 - end) for name, end in ends.items()}, start=2.3)
    with laid_out(layout_of(**layout)) if layout else laid_out(layout_of("paper")):
        return figures.learning_curve(loss, curves(ends), palette, "t"), palette


@pytest.mark.parametrize("panels", [1, 3, 4])
def test_curves_of_the_shown_combinations_are_those_of_each_alone(monkeypatch, panels):
    monkeypatch.setattr(evidence, "MIN_PANELS", panels)
    monkeypatch.setattr(evidence, "MAX_PANELS", panels)
    parsed = grid.parse(GRID)
    frame = frame_of_grid(parsed, broken=lambda cell: cell.seed == 1 and cell.activation == "relu")
    tables = evidence.Evidence.of(frame, parsed)
    together = list(gallery._curves(tables))
    assert len(together) == panels
    for (_, rows), (loss, accuracy) in zip(tables.shown, together, strict=True):
        first = rows.iloc[0]
        runs = frame[(frame["activation"] == first["activation"]) & (frame["loss"] == first["loss"])]
        scored = runs.assign(validation_accuracy=stats.scored(runs, "validation_accuracy", tables.chance))
        for computed, metric in ((loss, "train_loss"), (accuracy, "validation_accuracy")):
            alone = stats.curves(scored, ["initializer"], metric)
            pd.testing.assert_frame_equal(computed, alone, check_dtype=False, rtol=1e-12)


def name_texts(axes):
    """The names at the right of a panel, with their boxes in pixels."""
    return {text.get_text(): text.get_window_extent() for text in axes.texts}


CLOSE = {f"scheme_{i}": 0.92 + 0.0001 * i for i in range(MAX_NAMED_CURVES)}


@pytest.mark.parametrize("layout", [{"width": "one-column"}, {"width": "two-column"}, {"style": "slides"}])
def test_names_of_curves_that_end_alike_do_not_touch_and_are_in_their_order(layout):
    drawing, _ = drawn(CLOSE, **layout)
    for axes, reverse in zip(drawing.canvas.axes, (False, True), strict=True):
        boxes = name_texts(axes)
        assert sorted(boxes) == sorted(CLOSE)
        order = sorted(boxes, key=lambda name: boxes[name].y0)
        assert order == sorted(CLOSE, reverse=not reverse)  # the best accuracy at the top, the best loss at the bottom
        for first, second in itertools.pairwise(order):
            assert boxes[first].y1 <= boxes[second].y0 + 1
        panel = axes.get_window_extent()
        for box in boxes.values():
            assert panel.x1 < box.x0
            assert box.x1 <= drawing.canvas.bbox.x1
            assert panel.y0 - 3 <= box.y0
            assert box.y1 <= panel.y1 + 3


def test_a_line_leads_from_the_end_of_each_curve_to_the_mark_before_its_name():
    ends = {"best": 0.95, "second": 0.94, "third": 0.93}
    drawing, palette = drawn(ends)
    axes = drawing.canvas.axes[1]
    for name, end in ends.items():
        colour = palette.light[name]
        last = axes.transData.transform((4, curves({name: end})["mean"].iloc[-1]))
        box = name_texts(axes)[name]
        starts = [
            line.get_transform().transform(line.get_xydata())
            for line in axes.lines
            if line.get_color() == colour and not line.get_clip_on()
        ]
        leader = next(points for points in starts if len(points) == 2)
        mark = next(points for points in starts if len(points) == 1)
        assert np.abs(leader[0] - last).max() < 0.5
        assert np.abs(leader[1] - mark[0]).max() < 0.5
        assert abs(mark[0][1] - (box.y0 + box.y1) / 2) < 3
        assert mark[0][0] < box.x0


def test_a_panel_zooms_to_what_competes_and_a_curve_outside_has_an_arrow_and_its_last_value():
    drawing, palette = drawn({"a": 0.92, "b": 0.91, "zeros": 0.113}, {"a": 0.26, "b": 0.28, "zeros": 2.3})
    loss, accuracy = drawing.canvas.axes
    low, high = accuracy.get_ylim()
    first = curves({"b": 0.91})["low"][1]  # of four epochs, a panel shows all from the first on
    assert 0.7 < low < first < 0.92 < high < 0.94
    assert "zeros ↓ 11.3%" in name_texts(accuracy)
    assert "zeros ↑ 2.3" in name_texts(loss)
    assert {"a", "b"} <= set(name_texts(accuracy))
    assert loss.get_ylim()[1] < 2.3
    picture = Picture(drawing, palette)
    for x in (2, 3, 4):
        picture.has_marker(x, curves({"a": 0.92}).set_index("epoch")["mean"][x], axes=1)
    assert drawing.rows[-1][-1].startswith("11.3%")  # the numbers have them all


def test_a_panel_shows_all_where_the_second_is_far_behind_or_nobody_is():
    for ends in ({"a": 0.95, "b": 0.3}, {"a": 0.95, "b": 0.93}):
        palette = figures.Palette.of(list(ends))
        table = curves(ends, start=min(ends.values()) - 0.02)
        axes = figures.learning_curve(table, table, palette, "t").canvas.axes[1]
        low, high = axes.get_ylim()
        assert low < table["low"].min() < table["high"].max() < high


@pytest.mark.parametrize(("lowest", "log"), [(0.2, True), (0.3, False), (0.0, False), (-0.1, False)])
def test_a_loss_is_logarithmic_if_it_spans_more_than_a_factor_of_ten(lowest, log):
    table = pd.DataFrame({"initializer": "a", "epoch": [1, 2, 3], "mean": [2.5, 1.0, lowest], "low": np.nan})
    table["high"] = table["low"]
    assert view(table, ["a"], accuracy=False)[0] == log
    assert not view(table, ["a"], accuracy=True)[0]


def test_ticks_of_a_logarithmic_loss_are_several_and_exact():
    table = pd.DataFrame({"initializer": "a", "epoch": [1, 2, 3], "mean": [2.5, 1.0, 0.2]})
    table = table.assign(low=table["mean"], high=table["mean"])
    palette = figures.Palette.of(["a"])
    picture = Picture(figures.learning_curve(table, table, palette, "t"), palette)
    assert picture.labels_are_exact(0, across=False, least=3)


def test_of_many_curves_the_best_and_the_worst_are_named_and_the_others_grey():
    ends = {f"scheme_{i:02}": 0.80 + 0.003 * i for i in range(40)}
    drawing, palette = drawn(ends)
    best = [f"scheme_{i:02}" for i in range(39, 39 - MAX_NAMED_BEST, -1)]
    worst = [f"scheme_{i:02}" for i in range(MAX_NAMED_CURVES - MAX_NAMED_BEST)]
    for axes in drawing.canvas.axes:
        shown = {name.split(" ")[0] for name in name_texts(axes)}
        assert shown == {*best, *worst}
        curve_colours = [line.get_color() for line in axes.lines if len(line.get_xdata()) > 2]
        assert curve_colours.count(SOFT) == 40 - MAX_NAMED_CURVES
        assert {palette.light[name] for name in shown} == set(curve_colours) - {SOFT}
    assert len(drawing.rows) == 80


@given(st.lists(st.floats(0, 1, allow_subnormal=False), max_size=12), st.sampled_from([0.05, 0.08]))
def test_lines_are_apart_in_their_order_and_move_as_little_as_they_must(wanted, distance):
    placed = apart(wanted, distance, 0, 1)
    assert ((placed >= distance / 2 - 1e-9) & (placed <= 1 - distance / 2 + 1e-9)).all()
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(placed[order]) >= distance - 1e-9).all()
    inside = np.clip(wanted, distance / 2, 1 - distance / 2)
    if len(wanted) and (np.diff(inside[order]) >= distance).all():
        assert np.allclose(placed, inside)
    rng = np.random.default_rng(0)
    for _ in range(20):  # no other placement is closer
        other = np.sort(rng.uniform(distance / 2, 1 - distance / 2, len(wanted)))
        if (np.diff(other) >= distance).all():
            assert ((placed[order] - inside[order]) ** 2).sum() <= ((other - inside[order]) ** 2).sum() + 1e-9


def test_more_lines_than_there_is_room_for_are_evenly_spaced():
    placed = apart([0.5] * 30, 0.1, 0, 1)
    assert np.allclose(np.diff(placed), 0.9 / 29)
    assert np.allclose(placed[[0, -1]], [0.05, 0.95])


def test_equal_scores_are_named_in_the_given_order():
    scores = pd.Series(0.5, index=[f"n{i}" for i in range(14)])
    assert named(scores) == [f"n{i}" for i in (0, 1, 2, 3, 4, 5, 6, 11, 12, 13)]


def test_names_have_the_contrast_of_text_and_their_marks_that_of_graphics():
    def contrast(colour, ground):
        channels = [[int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)] for text in (colour, ground)]
        dark, light = sorted(map(luminance, channels))
        return (light + 0.05) / (dark + 0.05)

    drawing, _ = drawn(CLOSE)
    assert {text.get_color() for axes in drawing.canvas.axes for text in axes.texts} == {figures.style.INK}
    for colours, ground in ((LIGHT, "#ffffff"), (DARK, "#14181c")):
        assert all(contrast(colour, ground) >= 3 for colour in colours)
    assert contrast(SOFT, "#ffffff") >= 4.5


def test_a_run_that_ends_early_or_has_no_loss_keeps_its_name():
    table = curves({"a": 0.9, "b": 0.88, "c": 0.87})
    early = table[(table["initializer"] != "c") & ((table["initializer"] != "b") | (table["epoch"] < 3))]
    palette = figures.Palette.of(["a", "b", "c"])
    loss, accuracy = figures.learning_curve(early, table, palette, "t").canvas.axes
    assert set(name_texts(loss)) == {"a", "b"}
    assert set(name_texts(accuracy)) == {"a", "b", "c"}
    empty = early.iloc[:0]
    assert not name_texts(figures.learning_curve(empty, table, palette, "t").canvas.axes[0])
