"""The style of all figures, independent of the user's settings of matplotlib and seaborn."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib as mpl

from initbench.reporting.layout import scaled
from initbench.reporting.matplotlib_import import quiet

# The stand-ins of the page's ink, softer ink, lines and ground; no colour of an initializer is one of these.
INK, SOFT, GRID, GROUND = "#222222", "#757575", "#dddddd", "#fefefe"

FONT = "DejaVu Sans"  # comes with matplotlib

# matplotlib's own defaults, which no settings file changes. The backend is the user's and no part of a figure.
DEFAULTS: Any = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"}

# Of every figure: text is never a formula, and the same figure has the same bytes.
PLAIN: Any = {"font.family": FONT, "text.parse_math": False, "svg.hashsalt": "initbench"}

# Of seaborn's style `whitegrid`, what differs from matplotlib's defaults and a figure of the report shows. They are
# written out because importing seaborn takes as long as all else that a figure imports.
WHITE_GRID: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "xtick.bottom": False,
    "ytick.left": False,
}

# Of the report's figures.
REPORT: Any = {
    **WHITE_GRID,
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
