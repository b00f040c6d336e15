"""The figures with a row for each initializer: accuracies, paired differences and changes."""

import numpy as np
import pandas as pd
import pytest
from frames import frame_of
from pictures import Picture, numbers_of, shown_names

from initbench import stats
from initbench.reporting import figures, numbers
from initbench.reporting.figures import style
from initbench.reporting.figures.forest import DOTS, two_lines
from initbench.reporting.figures.style import INK
from initbench.reporting.layout import Layout, laid_out
from initbench.reporting.limits import MAX_FIGURE_ROWS, MAX_JOINED_SEEDS, MAX_SEEDS

ODD = "#222222 <!-- 1.23456 --> url(#x) & id=\"y\" font: 12px 'z' <metadata>"
LONG = "glorot_truncated_normal with first normal(std={}) and last uniform(low=-1.0, high=0.05)"
NAMES = ["normal(std=0.001)", "normal(std=0.002)", ODD, LONG.format(0.001), LONG.format(0.002), "权重 $x^2$"]
PALETTE = figures.Palette.of(NAMES)


@pytest.fixture(autouse=True)
def _raise_warnings(monkeypatch):
    monkeypatch.setattr(style, "WARNINGS", "error")


@pytest.fixture(scope="module")
def runs():
    """Three seeds each, some of them near each other, and the last far behind."""
    shifts = np.array([-0.004, 0.0, 0.004])
    levels = [0.985, 0.984, 0.99, 0.975, 0.98, 0.5]
    return frame_of(
        {name: level + shifts * (1 + i / 5) for i, (name, level) in enumerate(zip(NAMES, levels, strict=True))}
    )


def accuracies(runs, palette=PALETTE):
    table = stats.verdicts(runs, [])
    return table, Picture(figures.accuracy_by_initializer(runs, table, palette, "tanh"), palette)


def paired(runs, palette=PALETTE):
    table = stats.verdicts(runs, [])
    return table, Picture(figures.differences(runs, table, palette, "tanh"), palette)


def order_of(table):
    """The names of those that compete, the best first, and of those that are far behind, by a rule of its own."""
    compete, far = [], []
    best = table.loc[table["mean_all"].idxmax()]
    half = best["all_high"] - best["mean_all"]
    reach = 0.05 if np.isnan(half) else max(0.015, 4 * half)
    for i, (_, row) in enumerate(table.sort_values("mean_all", ascending=False, kind="stable").iterrows()):
        near = i < 2 or best["mean_all"] - row["mean_all"] <= reach
        (compete if near or row["standing"] in ("best", "open") else far).append(row["initializer"])
    return compete, far


def in_strip(picture, row, side="left"):
    """Require an arrow and a marker of this row in the strip beside the panel, and none in the panel."""
    left, right, top, bottom = picture.box(1)
    begin, end, *_ = picture.box(0)
    assert (right < begin) if side == "left" else (left > end)
    _, y = picture.at(0, row)
    across = picture.markers[np.abs(picture.markers[:, 1] - y) < 0.02][:, 0]
    assert ((left < across) & (across < right)).all()
    assert top < y < bottom
    return len(across)


def test_accuracies_stand_where_the_table_says(runs):
    table, picture = accuracies(runs)
    compete, far = order_of(table)
    assert len(compete) == 5
    assert far == [NAMES[-1]]
    shown_names(picture, [*compete, *far])
    for i, name in enumerate(compete):
        row = table[table["initializer"] == name].iloc[0]
        text = numbers.interval(row)
        assert text == picture.drawing.rows[i][1]
        assert text.replace(" ", "") in "".join(t for t, *_ in picture.texts).replace(" ", "")
        (mean, up, *down), precision = numbers_of(text)
        assert len(down) == row["leader"]  # the leader's interval reaches further down
        assert abs(100 * row["mean_all"] - mean) <= precision
        assert abs(100 * (row["all_high"] - row["mean_all"]) - up) <= precision
        assert abs(100 * (row["mean_all"] - row["all_low"]) - abs(down[0] if down else up)) <= precision
        picture.has_bar(row["all_low"], row["all_high"], i)
        picture.has_marker(row["mean_all"], i)
        for accuracy in runs.loc[runs["initializer"] == name, "test_accuracy"]:
            picture.has_marker(accuracy, i + DOTS)
        mark = numbers.MARKS[row["standing"]]
        if mark:
            assert any(t == mark and abs(y - picture.at(0, i)[1]) < 6 for t, _, y, _ in picture.texts)
    assert in_strip(picture, len(compete)) == 2
    picture.has_text("far", "behind", "Test accuracy")
    assert f"Far behind, beside the axis: {far[0]}" in picture.drawing.alternative
    picture.labels_are_exact()
    assert picture.drawing.title == "tanh"
    assert "tanh" not in [text for text, *_ in picture.texts]


def test_no_text_stands_over_a_mark(runs):
    runs = runs.replace({"initializer": {NAMES[-1]: "zeros"}})  # the font has boxes in place of Chinese letters
    palette = figures.Palette.of([*NAMES[:-1], "zeros"])
    for _, picture in (accuracies(runs, palette), paired(runs, palette)):
        _, end, *_ = picture.box(0)
        strip, *_ = picture.box(1)
        for text in picture.axes[0].texts:
            box = text.get_window_extent().transformed(picture.drawing.canvas.transFigure.inverted())
            left, right = box.x0 * picture.width, box.x1 * picture.width
            assert right < strip or left > end, text.get_text()
            assert left >= 0
            assert right <= picture.width


def test_dots_of_one_seed_are_joined(runs):
    def joined(picture):
        return [line for line in picture.axes[0].lines if line.get_color() == INK and line.get_alpha() == 0.3]

    table, picture = accuracies(runs)
    compete, _ = order_of(table)
    lines = joined(picture)
    wide = runs.pivot_table(index="initializer", columns="seed", values="test_accuracy")
    assert len(lines) == 3
    for seed, line in enumerate(lines):
        assert np.allclose(line.get_xdata(), wide.loc[compete, seed])
        assert np.allclose(line.get_ydata(), np.arange(len(compete)) + DOTS)
    generator = np.random.default_rng(0)
    for count in (MAX_JOINED_SEEDS, MAX_JOINED_SEEDS + 1):
        many = frame_of({name: generator.normal(0.9, 0.001, count) for name in NAMES[:3]})
        assert len(joined(accuracies(many)[1])) == (count if count == MAX_JOINED_SEEDS else 0)
    assert not joined(paired(runs)[1])


def test_of_many_seeds_a_bar_shows_the_middle_half():
    generator = np.random.default_rng(0)
    for count in (MAX_SEEDS, MAX_SEEDS + 1):
        runs = frame_of({name: generator.normal(0.9, 0.01, count) for name in NAMES[:2]})
        wide = runs.pivot_table(index="initializer", columns="seed", values="test_accuracy")
        table, picture = accuracies(runs)
        for i, name in enumerate(order_of(table)[0]):
            if count > MAX_SEEDS:
                picture.has_bar(*wide.loc[name].quantile([0.25, 0.75]), i + DOTS)
                assert len(picture.markers) < 20
            else:
                for accuracy in wide.loc[name]:
                    picture.has_marker(accuracy, i + DOTS)
        table, picture = paired(runs)
        leader, other = (table.loc[table["leader"] == led, "initializer"].iloc[0] for led in (True, False))
        if count > MAX_SEEDS:
            quartiles = 100 * (wide.loc[leader] - wide.loc[other]).quantile([0.25, 0.75])
            picture.has_bar(*quartiles, order_of(table)[0].index(other) + DOTS)


def test_ticks_are_not_rounded():
    palette, labels = figures.Palette.of(["a", "b"]), []
    for spread in (0.0004, 0.003, 0.011, 0.035, 0.06):
        runs = frame_of({"a": [0.85 - spread, 0.85, 0.85 + spread], "b": [0.85, 0.85, 0.85]})
        table = stats.verdicts(runs, []).assign(all_low=0.85 - spread / 3, all_high=0.85 + spread / 3)
        picture = Picture(figures.accuracy_by_initializer(runs, table, palette, "t"), palette)
        labels += picture.labels_are_exact()
    assert {len(label.partition(".")[2]) for label in labels} >= {0, 2, 3}  # decimals and the percent sign


def test_an_interval_of_which_nothing_is_known_has_arrows_where_the_text_ends():
    runs, palette = frame_of({"a": [0.2, 0.9], "b": [0.5, 0.56]}), figures.Palette.of(["a", "b"])
    table, picture = accuracies(runs, palette)
    picture.has_text("55.0%", "± over 50")
    picture.has_bar(0.05, 1.05, 0)
    picture.has_marker(0.05, 0)
    picture.has_marker(1.05, 0)
    picture.has_bar(table.loc[1, "all_low"], table.loc[1, "all_high"], 1)
    assert max(float(text.strip("%")) for text in picture.labels_are_exact()) <= 100
    curve = pd.DataFrame({"initializer": "a", "epoch": [1, 2], "mean": 0.55, "low": [-3.0, 0.5], "high": [4.1, 0.6]})
    picture = Picture(figures.learning_curve(curve, curve, palette, "t"), palette)
    picture.has_band(1, 0.05, 1.05, axes=1)
    picture.has_band(1, -3.0, 4.1)  # a loss can be anything
    assert "55.0% ± over 50" in picture.drawing.rows[1]


@pytest.mark.parametrize("far", [True, False])
def test_differences_stand_where_the_table_says(runs, far):
    if not far:
        runs = runs[runs["initializer"] != NAMES[-1]]
    table, picture = paired(runs)
    compete, behind = order_of(table)
    assert len(behind) == far
    shown_names(picture, [*compete, *behind])
    leader = table.loc[table["leader"], "initializer"].iloc[0]
    wide = runs.pivot_table(index="initializer", columns="seed", values="test_accuracy")
    everything = "".join(text for text, *_ in picture.texts).replace(" ", "")
    for i, name in enumerate(compete):
        row = table[table["initializer"] == name].iloc[0]
        if name == leader:
            picture.has_text("leader")
            picture.has_marker(0, i)
            continue
        text = numbers.difference(row, "difference")
        assert text.replace(" ", "") in everything
        ends = [max(100 * row["difference_low"], -100), min(100 * row["difference_high"], 100)]
        printed, precision = numbers_of(text)
        assert np.abs(np.array(printed) - [100 * row["difference"], *ends]).max() <= precision
        picture.has_bar(*ends, i)
        picture.has_marker(100 * row["difference"], i)
        for seed in range(3):
            picture.has_marker(100 * (wide.loc[leader, seed] - wide.loc[name, seed]), i + DOTS)
    picture.labels_are_exact()
    assert picture.at(1, 0)[0] < picture.at(0, 0)[0]  # worse is to the left, as in the accuracies beside it
    if far:
        assert in_strip(picture, len(compete)) == 2
    assert {row[0] for row in picture.drawing.rows} == set(table["initializer"]) - {leader}


def test_both_figures_of_a_combination_have_the_same_rows_at_the_same_height(runs):
    (_, first), (_, second) = accuracies(runs), paired(runs)
    assert first.drawing.size == second.drawing.size
    labels = [
        [(t.get_text(), p.at(0, t.get_position()[1])[1]) for t in p.axes[0].texts if t.get_ha() == "left"]
        for p in (first, second)
    ]
    assert labels[0] == labels[1]


def test_what_cannot_be_ruled_out_competes_whatever_its_mean():
    runs = frame_of({"a": [0.95, 0.951, 0.949, 0.95], "b": [0.95, 0.7, 0.949, 0.951], "c": [0.6, 0.61, 0.59, 0.6]})
    palette = figures.Palette.of(["a", "b", "c"])
    table, picture = accuracies(runs, palette)
    assert table.set_index("initializer")["standing"].to_dict() == {"a": "best", "b": "open", "c": ""}
    picture.has_bar(*table.loc[1, ["all_low", "all_high"]], 1)
    assert in_strip(picture, 2) == 2


def test_with_one_seed_all_within_five_points_compete():
    runs = frame_of({"a": [0.95], "b": [0.902], "c": [0.6]})
    table, picture = accuracies(runs, figures.Palette.of(["a", "b", "c"]))
    picture.has_marker(0.95, 0)
    picture.has_marker(0.902, 1)
    assert in_strip(picture, 2) == 2
    assert len(picture.axes) == 2
    assert table["all_low"].isna().all()


def test_of_many_initializers_those_far_behind_share_a_row():
    generator = np.random.default_rng(0)
    names = [f"a{i}" for i in range(40)]
    runs = frame_of(
        {n: (0.95 if i < 10 else 0.6 - i / 100) + generator.normal(0, 0.001, 4) for i, n in enumerate(names)}
    )
    palette = figures.Palette.of(names)
    for table, picture in (accuracies(runs, palette), paired(runs, palette)):
        compete, far = order_of(table)
        assert set(compete) == set(names[:10])
        rest = 40 - (MAX_FIGURE_ROWS - 1)
        shown_names(picture, [*compete, *far[:-rest], f"{rest} more"])
        assert in_strip(picture, MAX_FIGURE_ROWS - 1) == 1  # an arrow alone
    assert len(picture.drawing.rows) == 39
    _, picture = accuracies(runs, palette)
    assert [row[0] for row in picture.drawing.rows] == [*compete, *far]
    last = 100 * table["mean_all"].sort_values()[:rest]
    assert f"{last.min():.1f}%to {last.max():.1f}%" in "".join(text for text, *_ in picture.texts)


def test_changes_stand_where_the_table_says(runs):
    generator = np.random.default_rng(0)
    shift = generator.uniform(0, 0.02, len(runs))
    shift[:3] += 0.4
    shift[3:6] -= 0.6
    after = runs.assign(test_accuracy=runs["test_accuracy"] - shift, validation_loss=1.0, test_loss=1.0)
    table = stats.changes(runs.assign(validation_loss=1.0, test_loss=1.0), after, chance=None)
    labels = [f"{row['initializer']}, learning rate 0.1" for _, row in table.iterrows()]
    picture = Picture(figures.changes(table, labels, PALETTE))
    shown_names(picture, labels)
    everything = "".join(text for text, *_ in picture.texts).replace(" ", "")
    for i, row in table.iterrows():
        assert numbers.difference(row, "change").replace(" ", "") in everything
        if abs(row["change"]) < 0.05:
            picture.has_bar(100 * row["change_low"], 100 * row["change_high"], i)
            picture.has_marker(100 * row["change"], i)
    picture.labels_are_exact()
    assert (table["change"] < -0.3).sum() == (table["change"] > 0.3).sum() == 1
    picture.has_text("far", "worse", "better")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_broken_into_two_lines_that_fit(name):
    for width in (20, 30, 60):
        short = name[: 2 * width - 6]
        lines = two_lines(short, width)
        assert len(lines) <= 2
        assert "".join(lines).replace(" ", "") == short.replace(" ", "")


@pytest.mark.parametrize("layout", [Layout(1.0, 3.25), Layout(0.8, 6.75), Layout(1.8)])
def test_a_layout_sets_the_width_and_the_size_of_letters(runs, layout):
    runs = runs.replace({"initializer": {NAMES[-1]: "zeros"}})
    palette = figures.Palette.of([*NAMES[:-1], "zeros"])
    means = pd.DataFrame(0.9, index=["zeros", "he_normal"], columns=["tanh", "relu"])
    with laid_out(layout):
        map_of_points = figures.points_behind(
            1 - means, means, means.map(lambda _: "best"), 0 * means, [("", "tanh"), ("", "relu")]
        )
        drawn = [accuracies(runs, palette)[1].drawing, paired(runs, palette)[1].drawing, map_of_points]
    for drawing in drawn:
        assert drawing.size[0] == (round(96 * layout.width) if layout.width else pytest.approx(1.8 * 442, abs=220))
        letters = {text.get_fontsize() for text in drawing.canvas.axes[0].texts}
        assert 0.6 * layout.scale * 8 <= min(letters) <= max(letters) <= 10 * layout.scale
        for text in drawing.canvas.axes[0].texts:
            box = text.get_window_extent().transformed(drawing.canvas.transFigure.inverted())
            assert box.x0 >= -0.005
            assert box.x1 <= 1.005


def test_the_second_competes_in_any_case():
    runs, palette = (
        frame_of({"a": [0.95, 0.951], "b": [0.2, 0.201], "c": [0.1, 0.1]}),
        figures.Palette.of(["a", "b", "c"]),
    )
    for table, picture in (accuracies(runs, palette), paired(runs, palette)):
        assert order_of(table) == (["a", "b"], ["c"]) or table["standing"].ne("").any()
        assert len(picture.labels_are_exact()) >= 2
