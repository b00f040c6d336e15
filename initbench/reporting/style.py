"""How every figure looks, whatever the user's settings of matplotlib and seaborn are."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib as mpl
import seaborn as sns

from initbench.system.matplotlib_import import quiet

# What stands for the page's ink, lines and ground; no colour of an initializer is one of these.
INK, GRID, GROUND = "#222222", "#dddddd", "#fefefe"

# It comes with matplotlib.
FONT = "DejaVu Sans"

# matplotlib's own defaults, which no settings file changes. The backend is the user's and no part of a figure.
DEFAULTS: Any = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"}

# Of every figure: text is text and no formula, and the same figure has the same bytes.
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

# What becomes of warnings while we draw: they are about our code, and nothing that a user can mend. Tests raise them.
WARNINGS: Literal["ignore", "error"] = "ignore"

Given = ParamSpec("Given")
Result = TypeVar("Result")


@contextmanager
def style(settings: Any = REPORT, **more: Any) -> Iterator[None]:
    """In this context matplotlib has its defaults and these settings, and no others; afterwards, the user's again."""
    with quiet(), warnings.catch_warnings(), mpl.rc_context():
        warnings.simplefilter(WARNINGS)
        # On the page the reader's fonts draw the text; of files `figures.undrawable` says what is missing.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        mpl.rcParams.update(DEFAULTS | settings | more)
        yield


def styled(draw: Callable[Given, Result]) -> Callable[Given, Result]:
    """A function that draws in the report's style."""

    @wraps(draw)
    def drawn(*arguments: Given.args, **keywords: Given.kwargs) -> Result:
        with style():
            return draw(*arguments, **keywords)

    return drawn
