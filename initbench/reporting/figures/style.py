"""The style of all figures, independent of the user's settings of matplotlib and seaborn."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib as mpl
import seaborn as sns

from initbench.reporting.layout import scaled
from initbench.reporting.matplotlib_import import quiet

# The stand-ins of the page's ink, softer ink, lines and ground; no colour of an initializer is one of these.
INK, SOFT, GRID, GROUND = "#222222", "#757575", "#dddddd", "#fefefe"

# Colours of initializers on white and on near black, 3:1 or more against their ground (WCAG 2.2, 1.4.11) and distinct
# for the colour-blind; the page takes them from its style sheet, so that one drawing serves light and dark.
LIGHT = ("#0872c7", "#f63318", "#00a560", "#210005", "#b2709a", "#6b3a00", "#0b4b75", "#a03156", "#470b8b", "#6fa039")
DARK = ("#7ebef4", "#e95f21", "#69ffbc", "#cbf8ff", "#d587a6", "#e4cc09", "#4778b0", "#bb5a4c", "#9a88ff", "#efff80")

MARKERS = "osD^vPX*<>hdp8H"

FONT = "DejaVu Sans"  # comes with matplotlib

# matplotlib's own defaults, which no settings file changes. The backend is the user's and no part of a figure.
DEFAULTS: Any = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"}

# Of every figure: text is never a formula, and the same figure has the same bytes.
PLAIN: Any = {"font.family": FONT, "text.parse_math": False, "svg.hashsalt": "initbench"}

# Of the report's figures.
REPORT: Any = {
    **sns.axes_style("whitegrid"),
    **PLAIN,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "axes.facecolor": "none",
}

# Sizes in points, by matplotlib's names, on the page: its own defaults, which a layout scales.
SIZES: tuple[str, ...] = (
    "font.size",
    "axes.titlesize",
    "lines.linewidth",
    "lines.markersize",
    "axes.linewidth",
    "grid.linewidth",
    "axes.labelpad",
    "axes.titlepad",
)
SIZES += tuple(f"{axis}tick.{size}" for axis in "xy" for size in ("major.size", "major.width", "major.pad"))


# The filter for warnings while we draw: they concern our code, and a user cannot mend them. Tests raise them.
WARNINGS: Literal["ignore", "error"] = "ignore"

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Palette:
    """One colour and one marker for each initializer, throughout the report."""

    light: dict[str, str]
    dark: dict[str, str]
    markers: dict[str, str]

    @classmethod
    def of(cls, initializers: Sequence[str]) -> "Palette":
        """The palette of these initializers; beyond ten, evenly spaced hues, which markers help to distinguish."""
        light, dark = LIGHT, DARK
        if len(initializers) > len(LIGHT):
            light, dark = (
                tuple(sns.husl_palette(len(initializers), s=0.9, l=lightness).as_hex()) for lightness in (0.5, 0.75)
            )
        return cls(
            dict(zip(initializers, light, strict=False)),
            dict(zip(initializers, dark, strict=False)),
            {name: MARKERS[i % len(MARKERS)] for i, name in enumerate(initializers)},
        )

    @property
    def variables(self) -> tuple[str, str]:
        """The light and the dark colours, as declarations of a style sheet."""
        light, dark = (
            "".join(f"--c{i}: {colour}; " for i, colour in enumerate(colours.values()))
            for colours in (self.light, self.dark)
        )
        return light, dark

    @property
    def style(self) -> str:
        """The colours as a style sheet: light, dark where the reader prefers it, and light on paper."""
        light, dark = self.variables
        return (
            f":root {{ {light}}}\n"
            f'@media (prefers-color-scheme: dark) {{ :root:not([data-theme="light"]) {{ {dark}}} }}\n'
            f':root[data-theme="dark"] {{ {dark}}}\n'
            f'@media print {{ :root, :root:not([data-theme="light"]), :root[data-theme="dark"] {{ {light}}} }}'
        )


@contextmanager
def style(settings: Any = REPORT, **more: Any) -> Iterator[None]:
    """Give matplotlib its defaults and these settings in this context; afterwards, the user's again."""
    with quiet(), warnings.catch_warnings(), mpl.rc_context():
        warnings.simplefilter(WARNINGS)
        # On the page the reader's fonts draw the text; of files `undrawable` returns what is missing.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcParams.update(DEFAULTS | settings | more)
        if settings is REPORT:
            sizes: Any = mpl.rcParams
            sizes.update({name: scaled(sizes[name]) for name in SIZES})
        yield


def report_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a function draw in the report's style."""

    @wraps(draw)
    def draw_in_style(*args: P.args, **kwargs: P.kwargs) -> R:
        with style():
            return draw(*args, **kwargs)

    return draw_in_style


def luminance(colour: Any) -> float:
    """The relative luminance of an sRGB colour, from 0 to 1 (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
