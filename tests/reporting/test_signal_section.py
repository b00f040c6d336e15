"""The section "Why" on the signal before training: figures and sentences hold the numbers of their tables."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from frames import frame_of_grid as made_up
from matplotlib.text import Text
from pictures import Picture

from initbench import theory
from initbench.reporting import advantages, figures, page, predictors, signal
from initbench.reporting.evidence import Evidence
from initbench.reporting.figures import style
from initbench.reporting.figures.drawing import save
from initbench.reporting.layout import laid_out, layout_of
from initbench.reporting.page import render
from initbench.spec import grid

GRID = """
name = "signals"
[grid]
initializer = ["zeros", "he_normal", "glorot_uniform", "orthogonal", { name = "normal", std = 1.0 }]
activation = ["tanh", "relu"]
loss = ["mse", "cross_entropy"]
seed = 3
[model]
hidden = [16, 16]
[training]
epochs = 2
"""
NAMES = ["zeros", "he_normal", "<b>odd & long</b>(std=1.0)"]
PALETTE = figures.Palette.of(NAMES)
FORWARD, BACKWARD = "pre_activation_second_moment", "pre_activation_gradient_norm"


@pytest.fixture(autouse=True)
def _raise_warnings(monkeypatch):
    monkeypatch.setattr(style, "WARNINGS", "error")


def profile_of(values, depth):
    """Rows of `stats.signal_profile`: `values` maps an initializer, a statistic and a layer to a value."""
    rows = [
        (name, layer, statistic, value, value * 0.9, value * 1.1, 3, 0 if np.isfinite(value) else 3)
        for (name, statistic, layer), value in values.items()
    ]
    rows += [(name, 0, "activation_mean", 0.3, 0.3, 0.3, 3, 0) for name in dict.fromkeys(key[0] for key in values)]
    rows += [(name, 0, "activation_variance", 0.31, 0.31, 0.31, 3, 0) for name in dict.fromkeys(k[0] for k in values)]
    columns = ["initializer", "layer", "statistic", "value", "low", "high", "seeds", "infinite"]
    assert depth == max(key[2] for key in values)
    return pd.DataFrame(rows, columns=columns)


def layered(depth=4, overflow=None):
    """A profile of three initializers: one keeps the signal, one grows, one has no gradient before its last layer."""
    values = {}
    for layer in range(1, depth + 1):
        for name, growth in zip(NAMES, (1.0, 0.5, 100.0), strict=True):
            size = growth**layer
            values[name, FORWARD, layer] = np.inf if overflow and name == NAMES[2] and layer >= overflow else size
            values[name, BACKWARD, layer] = 0.0 if name == "zeros" and layer < depth else growth ** (depth - layer)
    return profile_of(values, depth)


def theory_of(profile):
    return profile[profile["layer"] > 0].assign(value=profile["value"] * 1.5)[
        ["initializer", "layer", "statistic", "value"]
    ]


def test_lines_are_the_medians_of_each_layer_and_the_input_dashed_the_theory_thick_the_leader():
    profile = layered()
    predicted = theory_of(profile)
    predicted = predicted[predicted["initializer"] == "he_normal"]
    picture = Picture(figures.signal_by_layer(profile, PALETTE, "tanh", leader="he_normal", theory=predicted), PALETTE)
    for name, statistic, layer in itertools.product(NAMES, (FORWARD, BACKWARD), range(1, 5)):
        rows = profile[(profile["initializer"] == name) & (profile["statistic"] == statistic)]
        value = float(rows.loc[rows["layer"] == layer, "value"].iloc[0])
        if value > 0 and name != NAMES[2]:
            picture.has_marker(layer, value, [FORWARD, BACKWARD].index(statistic))
    picture.has_marker(0, 0.3**2 + 0.31)  # the input's mean square
    picture.labels_are_exact(1)
    dashed = [line for line in picture.axes[0].lines if line.is_dashed()]
    assert len(dashed) == 1
    assert dashed[0].get_ydata().tolist() == pytest.approx([0.75, 0.375, 0.1875, 0.09375])
    thick = [line for line in picture.axes[0].lines if line.get_linewidth() > 2.5]
    assert [line.get_color() for line in thick] == [PALETTE.light["he_normal"]]
    weights = {t.get_text(): t.get_fontweight() for t in picture.axes[0].texts}
    assert weights["he_normal"] == "bold"
    assert set(weights.values()) == {"bold", "normal"}


def test_one_that_explodes_leaves_the_panel_with_a_triangle_and_its_value_and_the_others_stay_apart():
    upper, lower = figures.signal_by_layer(layered(), PALETTE, "tanh", leader="he_normal").canvas.axes
    assert upper.get_ylim()[1] < 20  # the others end at 1 and 1/16; the third at 10⁸
    assert lower.get_ylim()[1] < 200
    for axes, value in ((upper, "10⁸"), (lower, "10⁶")):
        assert [t.get_text().partition(" ↑ ")[2] for t in axes.texts if "↑" in t.get_text()] == [value]
        (exit_,) = [line for line in axes.lines if line.get_marker() == "^" and line.get_ydata() == [1.0]]
        assert exit_.get_color() == PALETTE.light[NAMES[2]]
    (exit_,) = [line for line in upper.lines if line.get_marker() == "^" and line.get_ydata() == [1.0]]
    start, top = np.log(0.3**2 + 0.31), np.log(upper.get_ylim()[1])  # from the input to 100 at layer 1
    reached = (top - start) / (np.log(100) - start)
    assert exit_.get_xdata()[0] == pytest.approx(reached)


def test_a_line_ends_where_values_are_not_finite_or_zero_and_the_name_says_so():
    drawing = figures.signal_by_layer(layered(overflow=3), PALETTE, "relu")
    upper, lower = drawing.canvas.axes
    (name,) = [text.get_text() for text in upper.texts if "↑" in text.get_text()]
    assert name.endswith("↑ not finite")
    line = next(line for line in upper.lines if line.get_color() == PALETTE.light[NAMES[2]])
    assert np.isnan(line.get_ydata()[-2:]).all()
    line = next(line for line in lower.lines if line.get_color() == PALETTE.light["zeros"])
    assert np.isnan(line.get_ydata()[:-1]).all()
    assert "not finite" in drawing.alternative
    note = signal.left_out([layered(overflow=3)])
    assert note.startswith("6 of ")  # of two layers, each with three seeds
    assert signal.left_out([layered()]) == ""


def test_what_a_profile_lacks_is_not_drawn():
    profile = layered()
    is_variance = profile["statistic"] == "activation_variance"
    without = profile.assign(layer=profile["layer"].where(~is_variance, 1))
    drawing = figures.signal_by_layer(without, PALETTE, "tanh")
    assert "at layer 1, " in drawing.alternative
    assert "at layer 0" not in drawing.alternative


def test_correlations_have_a_linear_panel_of_their_own_with_the_theory():
    values = {(name, "correlation", layer): -0.5 + 0.3 * i for i, name in enumerate(NAMES) for layer in range(5)}
    profile = profile_of(values, 4)
    predicted = theory_of(profile[profile["statistic"] == "correlation"])
    drawing = figures.signal_by_layer(profile, PALETTE, "tanh", theory=predicted, statistics=[figures.CORRELATION])
    (axes,) = drawing.canvas.axes
    assert axes.get_yscale() == "linear"
    dashed, measured = ([line for line in axes.lines if line.is_dashed() is is_dashed] for is_dashed in (True, False))
    assert [line.get_ydata()[0] for line in dashed] == pytest.approx([-0.75, -0.3, 0.15])
    measured = [line.get_ydata().tolist() for line in measured if len(line.get_xdata()) == 5]
    assert measured == [pytest.approx([value] * 5) for value in (-0.5, -0.2, 0.1)]


def test_many_layers_and_initializers_are_drawn_within_the_limits():
    depth = 200
    names = [f"normal(std={i / 100})" for i in range(14)]
    values = {
        (name, statistic, layer): 1.0 + i
        for i, name in enumerate(names)
        for statistic in (FORWARD, BACKWARD)
        for layer in (1, depth)
    }
    drawing = figures.signal_by_layer(profile_of(values, depth), figures.Palette.of(names), "tanh")
    assert len(drawing.canvas.axes[0].texts) == 10  # names, and the other curves are grey
    assert len(drawing.rows) == 28


def test_single_layers_have_a_bar_of_quantiles_and_the_share_of_saturated_units():
    quantiles = {"pre_activation_q01": -2.0, "pre_activation_q50": 0.5, "pre_activation_q99": 3.0}
    values = {
        (name, statistic, 1): value * (i + 1)
        for i, name in enumerate(NAMES)
        for statistic, value in {**quantiles, "saturated_share": 0.3, FORWARD: 2.0}.items()
    }
    ends = {"leader": "he_normal", "unsaturated": theory.unsaturated("tanh")}
    picture = Picture(figures.pre_activations(profile_of(values, 1), PALETTE, "tanh", **ends))
    for i in range(3):
        picture.has_bar(-2.0 * (i + 1), 3.0 * (i + 1), i)
        picture.has_marker(0.5 * (i + 1), i)
    picture.labels_are_exact()
    assert [row[4] for row in picture.drawing.rows] == ["30.0%", "60.0%", "90.0%"]
    (axes,) = picture.axes
    assert [t.get_text() for t in axes.texts if t.get_text() and t.get_fontweight() == "bold"] == ["he_normal"]
    left, right = axes.get_xlim()  # grey where the derivative, 1 − tanh², is below 1% of the largest
    end = np.arctanh(np.sqrt(0.99))
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
    assert spans == [pytest.approx((left, -end)), pytest.approx((end, right))]


def test_the_scatter_has_a_point_for_each_configuration_and_0_at_the_left_edge_of_a_logarithmic_axis():
    points = pd.DataFrame({"initializer": NAMES, "value": [0.0, 1e-4, 100.0], "accuracy": [0.1, 0.5, 0.9]})
    picture = Picture(figures.predictor(points, PALETTE, "Gradient norm", "The best predictor"))
    picture.has_marker(1e-4, 0.5)
    picture.has_marker(100.0, 0.9)
    (label,) = [axes.get_xlabel() for axes in picture.axes]
    assert "0 at the left edge" in label.replace("\n", " ")
    picture.labels_are_exact(across=False)


def test_a_map_of_statistics_has_a_scale_for_each_column_and_none_for_what_is_not_finite():
    table = pd.DataFrame({"Mean square": [1e-8, 1.0, np.inf], "Saturated units": [0.0, 0.5, 1.0]}, index=NAMES)
    drawing = figures.statistics_map(table, ["Saturated units"], "tanh")
    assert [row[1:] for row in drawing.rows] == [["10⁻⁸", "0%"], ["1", "50%"], ["∞", "100%"]]
    fills = [patch.get_facecolor() for patch in drawing.canvas.axes[0].patches]
    assert fills[0] == fills[4] == fills[1]  # the lowest of each column, and what is not finite, are grey
    assert fills[2] == fills[5]  # the highest of each column
    assert len(set(fills)) == 3


@pytest.mark.parametrize(
    ("style_name", "width"),
    [
        ("paper", "one-column"),
        *(pytest.param(*chosen, marks=pytest.mark.slow) for chosen in (("paper", "two-column"), ("slides", None))),
    ],
)
def test_at_every_width_texts_are_whole_and_apart(style_name, width):
    profile = layered(30)
    with laid_out(layout_of(style_name, width)), style.style():
        points = pd.DataFrame({"initializer": NAMES, "value": [0.001, 1e-4, 100.0], "accuracy": [0.1, 0.5, 0.9]})
        for drawing in (
            figures.signal_by_layer(profile, PALETTE, "tanh", leader="zeros", theory=theory_of(profile)),
            figures.predictor(points, PALETTE, "Growth or decay of pre-activations with depth", "The best predictor"),
        ):
            save(drawing, "svg", title=True)
            drawing.canvas.draw_without_rendering()
            hidden = set()
            for axis in (axis for panel in drawing.canvas.axes for axis in (panel.xaxis, panel.yaxis)):
                low, high = sorted(axis.get_view_interval())
                shown = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
                hidden |= {
                    id(label) for t in axis.get_major_ticks() if t not in shown for label in (t.label1, t.label2)
                }
            texts = [
                (text.get_text(), text.get_window_extent())
                for text in drawing.canvas.findobj(Text)
                if text.get_text().strip() and text.get_visible() and id(text) not in hidden
            ]
            frame = drawing.canvas.bbox
            for text, box in texts:
                assert frame.x0 <= box.x0 <= box.x1 <= frame.x1, text
                assert frame.y0 <= box.y0 <= box.y1 <= frame.y1, text
            for (a, first), (b, second) in itertools.combinations(texts, 2):
                across = min(first.x1, second.x1) - max(first.x0, second.x0)
                up = min(first.y1, second.y1) - max(first.y0, second.y0)
                assert across < 1 or up < 2, (a, b)


def findings_of(*rows):
    columns = ["activation", "loss", "initializer", "finding", "layer", "value", "reference"]
    return pd.DataFrame(rows, columns=columns).assign(statistic="", seeds=3)


COMBINATION = ["activation", "loss"]
SHOWN = [
    {"activation": activation, "loss": loss} for activation in ("tanh", "relu") for loss in ("mse", "cross_entropy")
]


def test_the_sentence_of_the_issue():
    rows = findings_of(
        ("tanh", "mse", "truncated_normal(std=1.0)", "saturated", 1, 0.97, 0.5),
        ("tanh", "mse", "truncated_normal(std=1.0)", "vanishing_gradient", 1, 1.2e-4, 0.01),
    )
    (sentence,) = signal.sentences(rows, COMBINATION, SHOWN[:1], 6)
    assert sentence == (
        "truncated_normal(std=1.0): 97% of the units of a hidden layer are saturated at the start and gradients at the "
        "first layer are 10⁻⁴ of the last layer’s."
    )


def test_a_finding_of_many_combinations_and_initializers_is_one_clause_with_the_range_of_its_values():
    rows = findings_of(
        *(
            ("relu", loss, name, "exploding_gradient", 1, 150.0, 100)
            for loss in ("mse", "cross_entropy")
            for name in "ab"
        ),
        *((*row.values(), "a", "dead", 2, 0.1 + i / 10, 0.1) for i, row in enumerate(SHOWN)),
        ("tanh", "mse", "b", "not_finite", 7, np.inf, np.nan),
    )
    both, a, b = signal.sentences(rows, COMBINATION, SHOWN, 3)
    assert both == "a and b: with relu, gradients at the first layer are 150 times the last layer’s."
    start, end = "a: in every combination, 10% to 40% of the units of a hidden layer", " are dead at the start"
    assert a == f"{start}{end} (zero for every image)."
    assert b == "b: with tanh and mse, the signal is not finite from layer 7 on."
    assert signal.sentences(rows.iloc[:0], COMBINATION, SHOWN, 3) == []


def test_how_leaders_stand_out_is_one_sentence_for_combinations_alike_and_who_fails_without_a_finding_another():
    columns = ["activation", "loss", "initializer", "statistic", "position", "end", "value"]
    rows = [
        (*shown.values(), "b", *statistic, value * (1 + i))
        for i, shown in enumerate(SHOWN[2:])
        for *statistic, value in (
            ("jacobian_condition", "network", "smallest", 1.4),
            ("gradient_drift", "network", "smallest", 1.0),
        )
    ]
    table = pd.DataFrame(rows, columns=columns)
    table = table.assign(others_low=table["value"] * 2, others_high=table["value"] * 3, others=2)
    (sentence,) = advantages.sentences(table, COMBINATION, SHOWN, deep=True)
    assert sentence == (
        "With relu, the leader, b, has before training the smallest condition of the Jacobian, 1.4 to 2.8 (others 2.8 "
        "to 8.4) and the smallest growth or decay of gradients with depth, by a factor of 10 to 100 "
        "(others 100 to 10⁶)."
    )
    assert advantages.sentences(table.iloc[:0], COMBINATION, SHOWN, deep=True) == []
    dead = findings_of(("tanh", "mse", "a", "dead", 1, 0.3, 0.25))
    verdicts = pd.DataFrame(
        [{**row, "initializer": name, "failed": 2, "seeds": 3} for row in SHOWN[:2] for name in "ab"]
    )
    verdicts.loc[1, "failed"] = 0
    (sentence,) = advantages.failing(verdicts, dead, COMBINATION, SHOWN)
    assert sentence.endswith(
        "limits: with tanh and cross_entropy, a in 2 of 3 runs; with tanh and cross_entropy, b in 2 of 3 runs."
    )


def signal_table(parsed):
    """A signal table of all cells of a grid: shrinks with the number of the initializer, differs a little by seed."""
    rows = []
    order = parsed.axes["initializer"]
    for cell in parsed.cells():
        strength = 10.0 ** (-order.index(cell.initializer)) * (1 + 0.01 * cell.seed)
        for epoch in (0, 2):
            for layer in range(4):
                values = {"activation_mean": 0.1, "activation_variance": 0.1, "correlation": 0.4, "effective_rank": 5.0}
                if layer:
                    values |= {FORWARD: strength**layer, BACKWARD: strength ** (3 - layer), "weight_norm": 2.0}
                    values |= {"saturated_share": 0.1 * layer, "dead_share": 0.0, "weight_gradient_norm": strength}
                    values |= {"pre_activation_variance": strength**layer, "weight_spectral_norm": strength}
                    values |= {"weight_distance": 1.0} if epoch else {}
                if layer == 1:
                    values |= {"gradient_ratio": strength**2, "weight_gradient_ratio": strength}
                rows += [(cell.id, epoch, layer, statistic, value) for statistic, value in values.items()]
    return pd.DataFrame(rows, columns=["cell", "epoch", "layer", "statistic", "value"])


@pytest.mark.slow
def test_the_section_has_figures_findings_predictors_and_what_weights_did():
    parsed = grid.parse(GRID, overrides={"loss": "mse"})
    frame = made_up(parsed, lambda cell: 0.9 - 0.1 * parsed.axes["initializer"].index(cell.initializer))
    table = signal_table(parsed)
    text = render(frame, parsed, [], "initbench run g.toml", (), Evidence.of(frame, parsed, None, lambda: table))
    section = re.search(r'<section id="why">.*?</section>', text, re.S)[0]
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", "", re.sub("<svg.*?</svg>", "", section, flags=re.S)))
    assert section.count('<figure data-combination="0 1"') == 2  # of combinations that look the same, one is drawn
    assert "What stands out before training" in text
    assert "gradients at the first layer are 10⁻" in text
    assert "predicts final test accuracy best" in text
    assert "50% of their norm" in text
    assert "30% → 30%" in text


def test_without_a_signal_one_line_says_how_to_compute_it_and_with_few_initializers_what_is_needed(without_figures):
    parsed = grid.parse(GRID, overrides={"initializer": ["zeros", "he_normal"], "loss": "mse", "activation": "tanh"})
    frame = made_up(parsed)
    table = signal_table(parsed).iloc[:0]
    table.attrs["seeds"] = 0  # one seed has too many rows
    too_large = render(frame, parsed, [], "initbench run g.toml", (), Evidence.of(frame, parsed, None, lambda: table))
    assert "too many for this page" in too_large
    assert "initbench signal" not in too_large
    for of_other_cells in (pd.DataFrame(), signal_table(parsed).assign(cell="other")):
        evidence = Evidence.of(frame, parsed, None, lambda table=of_other_cells: table)
        section = page._signal(evidence, "initbench run g.toml", earlier=False)
        assert section == {"signal_command": "initbench signal g.toml"}
    # Nor does it compute that of cells of an earlier version, whose ids are others.
    text = render(frame, parsed, [{"training version": "1, an earlier one"}], "initbench run g.toml", (), evidence)
    assert "they have no signal: <code>initbench run g.toml</code> trains them again" in text
    assert "initbench signal" not in text
    evidence = Evidence.of(frame, parsed, None, lambda: signal_table(parsed))
    (sentence,) = predictors.sentences(evidence.predictors, 2)
    assert "this needs 5 initializers, and the experiment has 2" in sentence


def test_the_best_predictor_is_significant_where_one_is_in_the_sentence_the_table_and_the_figure():
    row = {"outcome": "accuracy", "position": "network", "low": 0.1, "high": 1.0, "p": 0.03, "left_out": 0}
    row |= {"configurations": 15, "combinations": 3}
    weaker = row | {"predictor": "jacobian_smallest", "correlation": 0.8, "significant": True}
    stronger = row | {"predictor": "gradient_drift", "correlation": -0.9, "significant": False}
    table = pd.DataFrame([stronger, weaker])
    assert predictors.best_first(table, "accuracy")["predictor"].tolist() == ["jacobian_smallest", "gradient_drift"]
    assert "smallest singular value of the Jacobian predicts" in predictors.sentences(table, 5)[0]
    assert predictors.table_rows(table, "accuracy")[0][0] == "Smallest singular value of the Jacobian"
    assert "strongest is the growth or decay" in predictors.sentences(table.assign(significant=False), 5)[0]
    assert predictors.sentences(table.assign(left_out=3), 5)[-1].startswith("Up to 3 cells are left out")
