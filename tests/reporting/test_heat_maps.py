"""The heat maps: points behind the best of each column, and epochs."""

import re

import numpy as np
import pandas as pd
import pytest
from frames import frame_of
from matplotlib.colors import to_hex
from pictures import Picture

from initbench.reporting import figures
from initbench.reporting.evidence import Evidence
from initbench.reporting.figures import heatmap
from initbench.reporting.gallery import gallery
from initbench.reporting.limits import MAX_COLOURED_POINTS, MAX_OVERVIEW_COLUMNS, MAX_OVERVIEW_INITIALIZERS
from initbench.spec import grid

GRID = """
[grid]
initializer = ["he_normal", "zeros", "lecun_normal"]
activation = ["tanh", "relu"]
loss = ["mse", "cross_entropy"]
seed = 3
[model]
hidden = [16]
[training]
epochs = 3
"""


def overview(frame, text=GRID):
    evidence = Evidence.of(frame.assign(validation_loss=1.0, test_loss=1.0), grid.parse(text))
    figure = next(iter(gallery(evidence, figures.Palette.of(evidence.initializers))))
    assert figure.section == "overview"
    return evidence, figure.figure.draw()


def cells(drawing, rows, columns):
    """The colour and the text of each cell, row by row, and whether each is hatched, as the SVG has them."""
    picture = Picture(drawing)
    canvas = drawing.canvas.axes[0]
    inside = [text for text in canvas.texts if re.match(r"\d+\.\d", text.get_text())]
    assert len(inside) == rows * columns
    places = {(round(x, 1), round(y, 1)) for x, y in (text.get_position() for text in inside)}
    across, down = sorted({x for x, _ in places}), sorted({y for _, y in places})
    assert (len(across), len(down)) == (columns, rows)
    drawn = []
    for text in inside:
        x, y = text.get_position()
        fills = picture.filled(x - 12, y - 8) or picture.filled(x, y)
        drawn.append((fills[0], text.get_text(), any(fill.startswith("url(") for fill in fills), text.get_fontweight()))
        picture.has_text(text.get_text())
    return picture, np.array(drawn, object).reshape(rows, columns, 4), across


@pytest.fixture(scope="module")
def frame():
    levels = {  # zeros is the best with mse, he_normal the best with cross-entropy, and lecun_normal far behind
        ("tanh", "mse"): {"he_normal": 0.90, "zeros": 0.92, "lecun_normal": 0.91},
        ("relu", "mse"): {"he_normal": 0.90, "zeros": 0.91, "lecun_normal": 0.5},
        ("tanh", "cross_entropy"): {"he_normal": 0.95, "zeros": 0.91, "lecun_normal": 0.8},
        ("relu", "cross_entropy"): {"he_normal": 0.97, "zeros": 0.91, "lecun_normal": 0.9},
    }
    parts = []
    for (activation, loss), means in levels.items():
        values = {name: [mean - 0.001, mean, mean + 0.001] for name, mean in means.items()}
        if (activation, loss) == ("relu", "mse"):
            values["lecun_normal"] = [None, None, None]
        if (activation, loss) == ("tanh", "cross_entropy"):
            values["lecun_normal"][1] = None
        parts.append(frame_of(values, activation=activation, loss=loss))
    return pd.concat(parts, ignore_index=True)


def test_the_first_figure_has_the_points_behind_the_best_of_each_column(frame):
    evidence, drawing = overview(frame)
    picture, drawn, _ = cells(drawing, 3, 4)
    means = evidence.verdicts.pivot(index="initializer", columns=["loss", "activation"], values="mean_all")
    standing = evidence.verdicts.pivot(index="initializer", columns=["loss", "activation"], values="standing")
    # Neighbours have one loss, in the grid's order; rows are in the order of the average rank.
    columns = [("mse", "tanh"), ("mse", "relu"), ("cross_entropy", "tanh"), ("cross_entropy", "relu")]
    ranks = (-means[columns]).rank().mean(axis=1)
    order = ["zeros", "he_normal", "lecun_normal"]
    assert ranks[order].tolist() == [1.5, 1.75, 2.75]
    for i, name in enumerate(order):
        for j, column in enumerate(columns):
            points = 100 * (means[column].max() - means.loc[name, column])
            colour, text, _, weight = drawn[i, j]
            best = standing.loc[name, column] == "best"
            assert text == f"{points:.1f}" + ("•" if best else "◦" if standing.loc[name, column] == "open" else "")
            assert (weight == "bold") == best
            assert colour == to_hex(heatmap.COLOURS(min(points / MAX_COLOURED_POINTS, 1) ** 0.6))
            accuracy = f"{100 * means.loc[name, column]:.1f}%"
            cell = drawing.rows[i][1 + j]
            assert cell.startswith(f"{text} ({accuracy}")
            assert cell in drawing.alternative
    assert [row[0] for row in drawing.rows] == order
    assert drawing.headings[1:] == [f"{activation}, {loss}" for loss, activation in columns]
    hatched = drawn[:, :, 2].astype(bool)
    assert hatched.tolist() == [[False] * 4, [False] * 4, [False, True, True, False]]
    assert "all runs failed" in drawing.rows[2][2]
    assert "some runs failed" in drawing.rows[2][3]
    picture.has_text("some runs failed", "all runs failed", "0", "1", "5+", "points behind the best")


def test_a_group_of_columns_has_its_name_once_above_them(frame):
    _, drawing = overview(frame)
    picture, _, across = cells(drawing, 3, 4)
    texts = {text: x for text, x, *_ in picture.texts}
    assert sum(text == "mse" for text, *_ in picture.texts) == 1
    assert sum(text == "tanh" for text, *_ in picture.texts) == 2
    at = [picture.at(x, 0)[0] for x in across]
    assert texts["mse"] == pytest.approx(sum(at[:2]) / 2, abs=0.1)
    assert texts["cross_entropy"] == pytest.approx(sum(at[2:]) / 2, abs=0.1)


def test_all_that_is_behind_by_the_cap_or_more_has_one_colour():
    behind = pd.DataFrame({"a": [0.0, 2.5, 5.0, 80.0]}, index=list("wxyz"))
    same = behind.map(lambda _: "")
    drawing = figures.points_behind(behind, 0.9 - behind / 100, same, behind * 0, [("", "a")])
    _, drawn, _ = cells(drawing, 4, 1)
    assert drawn[:, 0, 1].tolist() == ["0.0", "2.5", "5.0", "80.0"]
    assert len(set(drawn[:, 0, 0])) == 3
    assert drawn[2, 0, 0] == drawn[3, 0, 0]


@pytest.mark.parametrize("count", [2, 5, 8, 9, 16])
@pytest.mark.parametrize("label", ["relu", "leaky_relu(negative_slope=0.{})\nhidden 128-128-128", "softplus"])
def test_labels_stand_level_within_their_columns(count, label):
    names = ["truncated_normal(std=1.0)", "he_normal", "uniform(low=-0.2, high=0.2)"]
    columns = [("mse" if j < count // 2 else "cross_entropy", label.format(j)) for j in range(count)]
    behind = pd.DataFrame(np.ones((3, count)), index=names, columns=[f"{name}, {group}" for group, name in columns])
    drawing = figures.points_behind(behind, behind, behind.map(lambda _: "best"), behind * 0, columns)
    picture, _, across = cells(drawing, 3, count)
    assert drawing.size[0] <= (620 if count <= 8 else 912)
    assert not any(re.search(r"rotate\(-?[1-9]", element.get("transform") or "") for *_, element in picture.texts)
    canvas = drawing.canvas
    canvas.draw_without_rendering()
    room = min(np.diff(across))
    top = min(text.get_window_extent().y1 for text in canvas.axes[0].texts if "1.0" in text.get_text())
    labels = [t for t in canvas.axes[0].texts if t.get_va() == "bottom" and t.get_fontweight() != "bold"]
    assert len(labels) == count
    for text in labels:
        box = text.get_window_extent()
        assert box.width * 96 / canvas.dpi <= room + 1
        assert box.y0 > top
    if "{}" in label:
        assert len({text.get_text() for text in labels[: count // 2]}) == count // 2


@pytest.mark.slow
def test_many_initializers_and_combinations_are_cut_to_those_with_the_best_ranks():
    names = [f"normal(std={i})" for i in range(1, MAX_OVERVIEW_INITIALIZERS + 4)]
    listed = ", ".join(f'{{ name = "normal", std = {i} }}' for i in range(1, len(names) + 1))
    text = (
        f"[grid]\ninitializer = [{listed}]\nactivation = {{}}\nseed = 2\n[model]\nhidden = [16]\n[training]\nepochs = 3"
    )
    activations = ["tanh", "relu", "sigmoid", "gelu", "elu", "selu", "silu", "softplus", "leaky_relu"]
    text = text.replace("{}", str(activations).replace("'", '"') + '\nloss = ["mse", "cross_entropy"]')
    frame = pd.concat(
        frame_of({n: [0.5 + 0.01 * i, 0.501 + 0.01 * i] for i, n in enumerate(names)}, activation=a, loss=loss)
        for a in activations
        for loss in ("mse", "cross_entropy")
    )
    _, drawing = overview(frame, text)
    assert [row[0] for row in drawing.rows] == names[::-1][:MAX_OVERVIEW_INITIALIZERS]
    assert len(drawing.headings) == 1 + MAX_OVERVIEW_COLUMNS
    Picture(drawing).has_text(*(f"(std={i})" for i in range(4, len(names) + 1)))


def test_epochs_are_drawn_from_the_fewest_to_the_most():
    epochs = pd.DataFrame({"tanh": [3.0, 5.0], "relu": [4.0, np.nan]}, index=["zeros", "he_normal"])
    drawing = figures.epochs_map(epochs, [("", "tanh"), ("", "relu")], "Epochs")
    picture = Picture(drawing)
    picture.has_text("3", "4", "5", "epochs", "zeros", "he_normal")
    assert drawing.rows == [["zeros", "3", "4"], ["he_normal", "5", "–"]]
    places = {text.get_text(): text.get_position() for text in drawing.canvas.axes[0].texts[:-4]}
    assert picture.filled(*places["4"]) == [to_hex(heatmap.COLOURS(0.5))]
    once = figures.epochs_map(epochs.clip(3, 3), [("", "tanh"), ("", "relu")], "Epochs")
    assert "epochs" not in [text for text, *_ in Picture(once).texts]  # a scale of one number says nothing
