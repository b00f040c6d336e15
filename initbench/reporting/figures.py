"""The report's figures, by seaborn: a table in, an SVG and its alternative text out. The numbers come from `stats`."""

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator, PercentFormatter

from initbench import stats
from initbench.reporting import words

MARKERS = "osD^vPX*<>hdp8H"
INK, GRID = "#222222", "#dddddd"

# More dots than these are drawn as one image: as marks of an SVG they would be a page of hundreds of megabytes.
MOST_MARKS = 2_000

# One panel is drawn for a phone's width, and panels stand side by side where there is room.
WIDTH = 4.6

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "svg.hashsalt": "initbench",  # the same figure has the same bytes
}


@dataclass(frozen=True)
class Figure:
    """A finished figure: its SVG as a data address, what it shows in words, and its size in pixels."""

    source: str
    alternative: str
    width: int
    height: int


@dataclass(frozen=True)
class Look:
    """One colour and one marker for each initializer, throughout the report."""

    colours: dict[str, Any]
    markers: dict[str, str]

    @classmethod
    def of(cls, initializers: Sequence[str]) -> "Look":
        """A look for these initializers: a palette that survives colour blindness, or evenly spaced hues beyond ten."""
        palette = sns.color_palette("colorblind" if len(initializers) <= 10 else "husl", len(initializers))
        colours = dict(zip(initializers, palette, strict=True))
        return cls(colours, {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(initializers)})


def accuracy_range(rows: pd.DataFrame) -> tuple[float, float]:
    """One axis of accuracies for all panels: from 0 to 1, or closer where every run is above one half.

    >>> accuracy_range(pd.DataFrame({"test_accuracy": [0.1, 0.9]}))
    (0.0, 1.0)
    >>> accuracy_range(pd.DataFrame({"test_accuracy": [0.942, 0.957]}))
    (0.94, 0.96)
    """
    low, high = rows["test_accuracy"].min(), rows["test_accuracy"].max()
    if not low > 0.5:
        return 0.0, 1.0
    step = 0.01 if high - low > 0.005 else 0.002
    return round(math.floor(low / step) * step, 4), round(min(1.0, math.ceil(high / step) * step), 4)


def accuracy_by_initializer(
    rows: pd.DataFrame, table: pd.DataFrame, look: Look, limits: tuple[float, float], title: str
) -> Figure:
    """Every seed as a dot, and the mean with its 95% interval, for one choice: rows of the last epoch, and `summary`.

    A name stands above its dots and not beside them, so that the panel stays legible on a phone.
    """
    rows = rows.astype({"initializer": str})  # of a long table it is categorical, which seaborn would order its own way
    names = list(table["initializer"])
    with _drawing(0.44 * len(names) + 0.95) as (figure, axes):
        sns.stripplot(
            rows, x="test_accuracy", y="initializer", order=names, hue="initializer", palette=look.colours,
            alpha=0.4, size=4, jitter=False, legend=False, ax=axes, rasterized=len(rows) > MOST_MARKS,
        )  # fmt: skip
        sns.pointplot(
            rows, x="test_accuracy", y="initializer", order=names, hue="initializer", palette=look.colours,
            errorbar=_interval, linestyle="none", markers=[look.markers[n] for n in rows["initializer"].unique()],
            markersize=6, err_kws={"linewidth": 2}, legend=False, ax=axes,
        )  # fmt: skip
        axes.set(
            xlim=limits,
            ylim=(len(names) - 0.6, -0.75),
            xlabel="Test accuracy",
            ylabel="",
            title=title,
            yticks=[],
        )
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if limits[1] - limits[0] > 0.05 else 1))
        above = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 9}
        for i, (_, row) in enumerate(table.iterrows()):
            axes.annotate(_cut(row["initializer"]), (0.01, i - 0.42), **above)
            axes.annotate(words.interval(row), (0.99, i - 0.42), ha="right", **above)
        said = "; ".join(f"{row['initializer']} {words.interval(row)}" for _, row in table.iterrows())
        return _finished(figure, f"Test accuracy by initializer, {title}. Mean and 95% interval: {said}.")


def learning_curve(table: pd.DataFrame, look: Look, title: str) -> Figure:
    """The article's curve, "Training Loss" against "Epoch #", the 95% interval of the mean as a band: from `curves`."""
    table = table[(table["epoch"] > 0) & table["mean"].notna()]
    names = list(dict.fromkeys(table["initializer"]))
    with _drawing(3.1) as (figure, axes):
        if names:
            sns.lineplot(
                table, x="epoch", y="mean", hue="initializer", hue_order=names, style="initializer",
                style_order=names, palette=look.colours,
                markers=look.markers if table["epoch"].max() <= 25 else False, dashes=False, errorbar=None,
                legend=False, markersize=5, ax=axes,
            )  # fmt: skip
            for name in names:
                rows = table[table["initializer"] == name]
                low, high = (rows[end].fillna(rows["mean"]) for end in ("low", "high"))
                axes.fill_between(rows["epoch"], low, high, color=look.colours[name], alpha=0.2, linewidth=1)
            if table["mean"].min() > 0 and table["mean"].max() > 30 * table["mean"].min():
                axes.set_yscale("log")
        axes.set(title=f"Training Loss\n{title}", xlabel="Epoch #", ylabel="Loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        said = []
        for name in names:
            means = table.loc[table["initializer"] == name, "mean"]
            said.append(f"{name} from {means.iloc[0]:.3g} to {means.iloc[-1]:.3g}")
        what = "; ".join(said) or "no run has a finite loss"
        return _finished(figure, f"Training loss against epoch, {title}. Mean over seeds: {what}.")


def heat_map(table: pd.DataFrame, across: str, title: str) -> Figure:
    """Mean test accuracy, initializer × another setting; blank where no run trained."""
    names, values = list(dict.fromkeys(table["initializer"])), list(dict.fromkeys(table[across]))
    wide = table.pivot(index="initializer", columns=across, values="mean_all").reindex(index=names, columns=values)
    labels = [_wrapped(name) for name in names]
    with _drawing(sum(max(0.42, 0.16 * (1 + label.count("\n"))) for label in labels) + 1.3) as (figure, axes):
        sns.heatmap(
            100 * wide, annot=True, fmt=".1f", cmap="cividis", vmin=0, vmax=100, linewidths=1, ax=axes,
            annot_kws={"fontsize": 10}, cbar_kws={"label": "Mean test accuracy, %"}, yticklabels=labels,
        )  # fmt: skip
        fields = axes.collections[0].get_facecolors()[wide.notna().to_numpy().ravel()]
        for text, field in zip(axes.texts, fields, strict=True):
            text.set_color("black" if _luminance(field) > 0.18 else "white")  # the one with more contrast
        axes.set(title=title, xlabel="" if across == "activation" else across.replace("_", " "), ylabel="")
        axes.tick_params(axis="y", rotation=0)
        axes.tick_params(axis="x", rotation=30)
        axes.tick_params(length=0, labelsize=9)
        said = "; ".join(
            f"{name}: " + ", ".join(f"{v} {words.percent(wide.loc[name, v])}" for v in values) for name in names
        )
        what = f"Heat map of mean test accuracy, initializer by {across.replace('_', ' ')}"
        return _finished(figure, f"{what}{', ' * bool(title)}{title}. {said}.")


# How many characters of a name stand beside a figure, in one line.
LONGEST = 44


def _cut(name: str) -> str:
    """A name that is short enough for its place; the table below has it whole."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _wrapped(name: str) -> str:
    """A name in lines that leave room for what is beside them."""
    lines = re.sub(r" (with|and) ", r"\n\1 ", name).replace("(", "\n(").split("\n")
    return "\n".join(line if len(line) <= LONGEST // 2 else line[: LONGEST // 2 - 1] + "…" for line in lines)


def _luminance(colour: Any) -> float:
    """The relative luminance of an sRGB colour, from 0 to 1 (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])


def swatch(colour: Any, marker: str) -> str:
    """A legend's line and marker, as a data address."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(0.5, 0.2))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.plot([0, 1, 2], [0, 0, 0], color=colour, marker=marker, markevery=[1], markersize=6, linewidth=2)
        axes.set_axis_off()
        return _finished(figure, "").source


def _interval(values: Any) -> tuple[float, float]:
    """The ends of the interval of `stats.mean_interval`, for seaborn's error bars."""
    mean, low, high = stats.mean_interval(values)
    return (mean, mean) if pd.isna(low) else (low, high)


class _drawing:  # noqa: N801
    """A figure of a panel's width, closed at the end."""

    def __init__(self, height: float) -> None:
        self.height = height

    def __enter__(self) -> tuple[Any, Any]:
        self.style = plt.rc_context({**sns.axes_style("whitegrid"), **STYLE})
        self.style.__enter__()
        self.figure, axes = plt.subplots(figsize=(WIDTH, self.height), layout="constrained")
        return self.figure, axes

    def __exit__(self, *exception: Any) -> None:
        plt.close(self.figure)
        self.style.__exit__(*exception)


def _finished(figure: Any, alternative: str) -> Figure:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    width, height = figure.get_size_inches() * 96
    source = "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Figure(source, alternative, round(width), round(height))
