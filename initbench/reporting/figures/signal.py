"""The signal at initialization: how large pre-activations and gradients are, layer by layer, and what they predict."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker

from initbench.reporting.figures.axes import log_axis, number_axis, panel, percent_axis
from initbench.reporting.figures.direct import LINE, End, line_style, name_curves, named, panels_of_curves
from initbench.reporting.figures.drawing import Drawing, describe_values
from initbench.reporting.figures.forest import draw_intervals, label_ticks, panel_of_rows, zoom
from initbench.reporting.figures.labels import wrapped
from initbench.reporting.figures.style import GRID, report_style
from initbench.reporting.layout import scaled
from initbench.reporting.limits import (
    MAX_FIGURE_ROWS,
    MAX_LAYER_MARKS,
    MAX_NAMED_CURVES,
    MAX_SHOWN_LAYERS,
    MIN_LOG_RATIO,
)
from initbench.reporting.numbers import exact, magnitude, percent, power_of_ten, short_magnitude
from initbench.reporting.palette import Palette

FORWARD, BACKWARD, CORRELATION = "pre_activation_second_moment", "pre_activation_gradient_norm", "correlation"

# Of the pre-activations: the median, and the ends of the bar.
QUANTILES = ("pre_activation_q50", "pre_activation_q01", "pre_activation_q99")

# What panels show.
LABELS = {
    FORWARD: "Mean square of pre-activations",
    BACKWARD: "Norm of the gradient",
    CORRELATION: "Correlation of images",
}

# The same in two lines at most, beside a panel.
SHORT = {
    FORWARD: "Pre-activations,\nmean square",
    BACKWARD: "Gradient,\nnorm",
    CORRELATION: "Correlation\nof images",
}

# On an axis of more decades, all ticks are powers of ten, this many at most, and their exponents are multiples of one
# of these steps.
MAX_DECADES, MAX_TICKS = 2, 6
STEPS = (1, 2, 3, 5, 10, 15, 20, 50, 100)

# Curves that are nowhere more powers of ten than this from that of the leader set the ends of the axis; others leave
# the panel.
MAX_FROM_LEADER = 3

# Squares of float32 are within these powers of ten; predictions beyond leave the panel.
MAX_POWER = 90

DASHED = (0, (4, 3))


@report_style
def signal_by_layer(
    profile: pd.DataFrame,
    palette: Palette,
    title: str,
    *,
    order: Sequence[str] = (),
    leader: str = "",
    theory: pd.DataFrame | None = None,
    statistics: Sequence[str] = (FORWARD, BACKWARD),
) -> Drawing:
    """The signal of one combination by layer: forward the mean square of pre-activations, backward the gradient's norm.

    `CORRELATION` among `statistics` adds a panel of the correlation of images, on a linear axis. The other panels show
    the initializers whose signal is near the leader's. A line of another has a triangle where it leaves
    the panel, and its name an arrow and the value that is furthest outside. Lines break where a value is 0 or not
    finite; a name then says which. Of many initializers the first and the last of `order` are named, the others grey.

    Parameters
    ----------
    profile
        Rows of `stats.signal_profile` of one combination: `initializer`, `layer`, `statistic`, `value`, `low`, `high`.
        Layer 0 is the input, of which `activation_mean` and `activation_variance` are used.
    order
        The initializers, the best first; by default in the order of `profile`.
    leader
        The initializer whose line is thick; without one, the axes show what is near the median of all.
    theory
        Predictions: `initializer`, `layer`, `statistic`, `value`; drawn dashed.
    """
    curves = _curves(profile, statistics)
    predicted = _curves(theory, statistics) if theory is not None and len(theory) else {}
    names = named(pd.Series({name: -i for i, name in enumerate(order or _names(profile))}, dtype=float))
    names = [name for name in names if name in set(_names(profile))]
    canvas, panels = panels_of_curves("Layer", min(len(names), MAX_NAMED_CURVES), 1.9, len(statistics))
    last = int(profile["layer"].max())
    every = max(1, math.ceil((last + 1) / MAX_LAYER_MARKS))
    labels = []
    for axes, statistic in zip(panels, statistics, strict=True):
        log = statistic != CORRELATION
        measured = curves.get(statistic, {})
        shown: dict[str, list[Any]] = {}
        for name, values in measured.items():
            style = line_style(name, names, palette)
            if name == leader:  # behind the others, so that it hides none
                style |= {"linewidth": scaled(4.5), "alpha": 0.55, "zorder": 1.7}
            drawn = _drawable(values["value"], log)
            layers = drawn.index.to_numpy()
            axes.plot(layers, drawn.to_numpy(), markevery=every, **style)  # of a Series it takes twice as long
            shown[name] = [drawn]
            if name in names and last > 1:
                low, high = (_drawable(values[end], log).to_numpy() for end in ("low", "high"))
                both = ~(np.isnan(low) | np.isnan(high))
                shown[name] += [low[both], high[both]]
                axes.fill_between(layers[both], low[both], high[both], color=style["color"], alpha=0.15, linewidth=0)
        for name, values in predicted.get(statistic, {}).items():
            if name in names:
                drawn = _drawable(values["value"], log)
                shown.setdefault(name, []).append(drawn)
                colour = palette.light[name]
                dashed = {"color": colour, "linewidth": scaled(1.2), "linestyle": DASHED, "zorder": 2.6}
                axes.plot(drawn.index.to_numpy(), drawn.to_numpy(), **dashed)
        _scale(axes, shown, leader, log)
        axes.set(ylabel=SHORT[statistic])
        named_here = [name for name in names if name in measured]
        for name in named_here:
            _mark_exits(axes, _drawable(measured[name]["value"], log), palette.light[name])
        labels.append([_end(name, measured[name]["value"], axes, log) for name in named_here])
    room = 0.04 * last
    first = 0 if any(0 in values.index for values in curves.get(FORWARD, {}).values()) else 1
    panels[-1].set_xlim(first - room, last + room)
    number_axis(panels[-1].xaxis, integer=True)
    name_curves(list(zip(panels, labels, strict=True)), palette, bold=leader)
    headings, rows = _by_layer(curves, predicted)
    sentences = [
        f"{name}, {LABELS[statistic].lower()}: {magnitude(values['value'].iloc[0])} at layer {values.index[0]}, "
        f"{magnitude(values['value'].iloc[-1])} at layer {values.index[-1]}"
        for statistic, of_name in curves.items()
        for name, values in of_name.items()
    ]
    alternative = (
        f"The signal before training by layer, {title}. Medians over seeds"
        f"{', dashed the theory of wide networks' if predicted else ''}. {'; '.join(sentences)}."
    )
    return Drawing(canvas, alternative, headings, rows, title=title)


@report_style
def pre_activations(
    profile: pd.DataFrame,
    palette: Palette,
    title: str,
    *,
    order: Sequence[str] = (),
    leader: str = "",
    unsaturated: tuple[float, float] = (-math.inf, math.inf),
) -> Drawing:
    """The pre-activations of networks with one layer: their median, and a bar from the 1% to the 99% quantile.

    `profile`, `order` and `leader`, whose name is bold, are those of `signal_by_layer`. Beyond the ends of
    `unsaturated` a unit is saturated, and the panel is grey.
    """
    wide = profile[profile["layer"] == profile["layer"].max()].pivot(
        index="initializer", columns="statistic", values="value"
    )
    names = [name for name in (order or _names(profile)) if name in wide.index]
    wide = wide.reindex(names, columns=[*QUANTILES, "saturated_share", FORWARD])
    ends = [wide[name].to_numpy(float) for name in QUANTILES]
    shares = [
        f"{percent(share, 0)} saturated" if np.isfinite(share) else "not finite" for share in wide["saturated_share"]
    ]
    count = min(len(names), MAX_FIGURE_ROWS)
    canvas, axes = panel_of_rows(names[:count], shares[:count], bold=leader)
    drawn = [np.where(np.isfinite(values[:count]), values[:count], np.nan) for values in ends]
    draw_intervals(axes, names[:count], drawn, palette)
    zoom(axes, drawn)
    left, right = axes.get_xlim()
    for low, high in ((left, min(unsaturated[0], right)), (max(unsaturated[1], left), right)):
        if low < high:
            axes.axvspan(low, high, color=GRID, alpha=0.5, linewidth=0, zorder=0)
    axes.set_xlabel("Pre-activations")
    label_ticks(axes, number_axis)
    texts = [
        f"{magnitude(middle)} ({magnitude(low)} to {magnitude(high)}), {share}"
        for middle, low, high, share in zip(*ends, shares, strict=True)
    ]
    columns = {"saturated_share": percent, FORWARD: magnitude}
    rows = [
        [
            name,
            *(magnitude(values[i]) for values in (ends[1], ends[0], ends[2])),
            *(show(wide[column].iloc[i]) for column, show in columns.items()),
        ]
        for i, name in enumerate(names)
    ]
    headings = ["Initializer", "1% quantile", "Median", "99% quantile", "Saturated", LABELS[FORWARD]]
    return Drawing(
        canvas,
        f"Pre-activations before training, {title}: median, 1% and 99% quantiles, share of saturated units. "
        f"{describe_values(names, texts)}.",
        headings,
        rows,
        title=title,
    )


@report_style
def predictor(
    points: pd.DataFrame, palette: Palette, label: str, title: str, *, share: bool = False, linear: bool = False
) -> Drawing:
    """Final test accuracy against a statistic before training, one point a configuration.

    `points` has the columns `initializer`, `value` and `accuracy`, both finite; `label` names the statistic, a fraction
    if it is a `share`. The axis of values far apart is logarithmic unless `linear`. Of many initializers those with the
    highest and the lowest mean accuracies have colours.
    """
    names = named(points.groupby("initializer", sort=False, observed=True)["accuracy"].mean())
    height = max(2.6, LINE * len(names) / 72 + 0.6)
    canvas, axes = panel(height)
    values = points["value"]
    positive = values[values > 0]
    log = bool(not share and not linear and (values >= 0).all() and positive.max() > MIN_LOG_RATIO * positive.min())
    ends = (float(positive.min()), float(positive.max())) if log else (0.0, 0.0)
    room = (ends[1] / ends[0]) ** 0.06 if log else 1.0
    if log:  # a logarithmic axis has no 0: it stands at the left edge
        points = points.assign(value=values.where(values > 0, ends[0] / room**2))
    for name, rows in points.groupby("initializer", sort=False, observed=True):
        style = line_style(str(name), names, palette) | {"linestyle": "none", "alpha": 0.75}
        axes.plot(rows["value"], rows["accuracy"], **({"marker": "o", "markersize": scaled(3)} | style))
    if log:
        axes.set_xlim(points["value"].min() / room, ends[1] * room)
        _log_ticks(axes.xaxis, *ends, least=1)
    else:
        zoom(axes, [values])
        (percent_axis if share else number_axis)(axes.xaxis, nbins=5)
    percent_axis(axes.yaxis)
    zero = " (0 at the left edge)" if log and (values == 0).any() else ""
    axes.set(xlabel="\n".join(wrapped(label + zero, 34)), ylabel="Final test accuracy")
    steps = np.linspace(1, 0, len(names) + 2)[1:-1]
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    legend = [End(name, np.nan, low + (high - low) * y) for name, y in zip(names, steps, strict=True)]
    name_curves([(axes, legend)], palette)
    show = percent if share else magnitude
    medians = (
        points.assign(value=values).groupby("initializer", sort=False, observed=True)[["value", "accuracy"]].median()
    )
    numbers = [[str(name), show(row["value"]), percent(row["accuracy"])] for name, row in medians.iterrows()]
    texts = [f"{label.lower()} {value}, accuracy {accuracy}" for _, value, accuracy in numbers]
    return Drawing(
        canvas,
        f"{title}: final test accuracy against {label.lower()}, one point a configuration. Medians: "
        f"{describe_values([row[0] for row in numbers], texts)}.",
        ["Initializer", f"{label}, median", "Final test accuracy, median"],
        numbers,
        title=title,
    )


def _names(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in dict.fromkeys(table["initializer"])]


def _curves(table: pd.DataFrame, statistics: Sequence[str]) -> Mapping[str, Mapping[str, pd.DataFrame]]:
    """By statistic and initializer, a table with a row a layer: `value`, and `low` and `high` where there are such."""
    columns = [column for column in ("value", "low", "high") if column in table]
    table = table[table["statistic"].isin([*statistics, "activation_mean", "activation_variance"])]
    numbers, layers = table[columns].to_numpy(float), table["layer"].to_numpy()
    groups: dict[str, dict[str, pd.DataFrame]] = {name: {} for name in _names(table)}
    indices: Any = table.groupby(["initializer", "statistic"], observed=True).indices
    for (name, statistic), of_group in indices.items():
        rows = of_group[np.argsort(layers[of_group], kind="stable")]
        groups[str(name)][str(statistic)] = pd.DataFrame(numbers[rows], layers[rows], columns)
    curves: dict[str, dict[str, pd.DataFrame]] = {}
    for name, of_statistic in groups.items():
        forward = of_statistic.get(FORWARD)
        mean, variance = (of_statistic.get(f"activation_{which}") for which in ("mean", "variance"))
        if forward is not None and mean is not None and variance is not None:
            # The mean square of the input, of which no pre-activations are.
            start = mean.reindex([0]) ** 2 + variance.reindex([0])
            forward = pd.concat([start[[c for c in columns if c in start]].dropna(), forward[forward.index > 0]])
        for statistic in statistics:
            values = forward if statistic == FORWARD else of_statistic.get(statistic)
            if values is not None:
                curves.setdefault(statistic, {})[name] = values
    return {statistic: curves[statistic] for statistic in statistics if statistic in curves}


def _drawable(values: pd.Series, log: bool) -> pd.Series:
    """The finite values, on a logarithmic axis those above 0; NaN elsewhere, which breaks a line."""
    numbers = values.to_numpy(float)
    return pd.Series(np.where(np.isfinite(numbers) & ((numbers > 0) | (not log)), numbers, np.nan), values.index)


def _powers(low: float, high: float) -> list[int]:
    """The exponents of the powers of ten between two numbers, evenly spaced and at most `MAX_TICKS`.

    >>> _powers(2e-3, 50), _powers(1e-46, 3)
    ([-2, -1, 0, 1], [-40, -30, -20, -10, 0])
    """
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    for step in STEPS:
        powers = [power for power in range(first, last + 1) if power % step == 0]
        if len(powers) <= MAX_TICKS:
            break
    return powers


def _log_ticks(axis: Any, low: float, high: float, least: float = MAX_DECADES) -> None:
    """Make an axis logarithmic, with ticks at powers of ten alone if these numbers are more decades apart."""
    log_axis(axis)
    powers = _powers(low, high)
    if math.log10(high / low) > least and len(powers) > 1:
        short = all(-3 <= power <= 3 for power in powers)
        axis.set_major_locator(ticker.FixedLocator([10.0**power for power in powers]))
        axis.set_minor_locator(ticker.NullLocator())
        labels = [exact(10.0**power) if short or power == 0 else power_of_ten(power) for power in powers]
        axis.set_major_formatter(ticker.FixedFormatter(labels))


def _near_leader(shown: Mapping[str, Sequence[pd.Series]], leader: str) -> list[str]:
    """The initializers whose curves are near the leader's, or without one near the median of all, at every layer."""
    values = pd.DataFrame({name: series[0] for name, series in shown.items()})
    reference = values[leader] if leader in values else values.median(axis=1)
    furthest = np.abs(np.log10(values.div(reference, axis=0))).max()
    near = [str(name) for name, powers in furthest.items() if powers <= MAX_FROM_LEADER]
    return near or list(shown)


def _scale(axes: Any, shown: Mapping[str, Sequence[pd.Series]], leader: str, log: bool) -> None:
    """Set the vertical axis to what is near the leader; if it may be logarithmic, else to all.

    It is logarithmic where it spans a factor of ten.
    """

    def ends(names: Sequence[str]) -> tuple[float, float]:
        values = np.concatenate([np.ones(0), *(series for name in names for series in shown[name])])
        values = values[np.isfinite(values)]
        values = np.clip(values, 10.0**-MAX_POWER, 10.0**MAX_POWER) if log else values
        return (float(values.min()), float(values.max())) if len(values) else (1.0, 1.0)

    lowest, highest = ends(list(shown))
    low, high = ends(_near_leader(shown, leader) if log else list(shown))
    if log:  # room for a line that leaves: a decade at most
        low, high = max(lowest, low / 10), min(highest, high * 10)
    if log and high > MIN_LOG_RATIO * low:
        room = (high / low) ** 0.06
        _log_ticks(axes.yaxis, low / room, high * room)
        axes.set_ylim(low / room, high * room)
    else:
        room = 0.08 * (high - low) or 0.1 * abs(high) or 0.1
        axes.set_ylim(low - room, high + room)
        number_axis(axes.yaxis, nbins=6)


def _mark_exits(axes: Any, values: pd.Series, colour: str) -> None:
    """Draw a triangle where a curve leaves the panel, on the edge."""
    values = values.dropna()
    to_fraction = axes.transData + axes.transAxes.inverted()
    points = [
        (float(x), float(to_fraction.transform((x, value))[1])) for x, value in zip(values.index, values, strict=True)
    ]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        for edge, marker in ((0.0, "v"), (1.0, "^")):
            if (y0 - edge) * (y1 - edge) < 0:
                x = x0 + (x1 - x0) * (edge - y0) / (y1 - y0)
                style = {"color": colour, "markersize": scaled(5), "linestyle": "none", "zorder": 3}
                axes.plot(x, edge, marker=marker, transform=axes.get_xaxis_transform(), clip_on=False, **style)


def _end(name: str, values: pd.Series, axes: Any, log: bool) -> End:
    """The end of a curve, and its value that is furthest outside of the panel, if there is one.

    A curve that ends with 0 or with a value that is not finite ends outside.
    """
    low, high = axes.get_ylim()
    value = float(values.iloc[-1])
    if not np.isfinite(value):
        return End(name, values.index[-1], 2 * high, "not finite", "↑")
    if log and value <= 0:
        return End(name, values.index[-1], low - 1, magnitude(value), "↓")
    drawn = _drawable(values, log)
    lowest, highest = float(drawn.min()), float(drawn.max())
    if low <= lowest and highest <= high:
        return End(name, values.index[-1], value)
    down = low > 0 and low / lowest > highest / high
    return End(name, values.index[-1], value, short_magnitude(lowest if down else highest), "↓" if down else "↑")


def _by_layer(curves: Mapping[str, Any], predicted: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The medians, and the theory, as a table: a row for each curve, a column for each of some layers."""
    layers = sorted(
        {int(layer) for of_name in curves.values() for values in of_name.values() for layer in values.index}
    )
    if len(layers) > MAX_SHOWN_LAYERS:
        ends = {0, 1, layers[-2], layers[-1]} & set(layers)  # sentences name these layers
        between = [layer for layer in layers if layer not in ends]
        some = np.linspace(0, len(between) - 1, MAX_SHOWN_LAYERS - len(ends) + 2).round().astype(int)[1:-1]
        layers = sorted(ends | {between[i] for i in some})
    rows = []
    for statistic, of_name in curves.items():
        for name, values in of_name.items():
            for table, source in ((values, ""), (predicted.get(statistic, {}).get(name), ", theory")):
                if table is not None:
                    cells = table["value"].to_dict()
                    texts = [magnitude(cells[layer]) if layer in cells else "–" for layer in layers]
                    rows.append([f"{name}, {LABELS[statistic].lower()}{source}", *texts])
    return ["Median at layer", *("input" if layer == 0 else str(layer) for layer in layers)], rows
