"""The size of figures: on the page, in a paper and on slides. Nothing here imports matplotlib."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from initbench.errors import UserError, nearest, shown

# Inches in a unit; `pt` is LaTeX's, so that the value of \columnwidth can be copied.
UNITS = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}

# Widths by name, in inches.
WIDTHS = {"one-column": 3.25, "two-column": 6.75}


@dataclass(frozen=True)
class Layout:
    """The size of letters and lines, as a multiple of that on the page, and the width of figures in inches.

    By default each figure has its own width. Figures are laid out anew at a width: their letters keep their size.
    """

    scale: float = 1.0
    width: float | None = None


PAGE, PHONE = Layout(), Layout(width=3.7)

# Letters of 8 to 10 points on the page have 7 to 8.75 points in a paper, and 12.8 to 16 points on a slide of 13.33 by
# 7.5 inches.
STYLES = {"paper": Layout(0.875), "slides": Layout(1.6, 12.0)}

# In inches: a figure's width on the page from which on there is room for names and numbers; that of the widest file.
MIN_WIDTH, MAX_WIDTH = 3.4, 24.0

_LAYOUT: ContextVar[Layout] = ContextVar("layout", default=PAGE)


@contextmanager
def laid_out(layout: Layout) -> Iterator[None]:
    """Draw figures in this layout in this context."""
    token = _LAYOUT.set(layout)
    try:
        yield
    finally:
        _LAYOUT.reset(token)


def layout() -> Layout:
    """The layout of the figures that are drawn now."""
    return _LAYOUT.get()


def scaled(size: float) -> float:
    """A size on the page, in points or inches, in the figures that are drawn now."""
    return size * layout().scale


def layout_of(style: str = "paper", width: str | float | None = None) -> Layout:
    """The layout of a style, at a width: a length such as `3.25in`, a name of `WIDTHS`, or a number of inches.

    >>> layout_of("paper", "one-column"), layout_of("slides")
    (Layout(scale=0.875, width=3.25), Layout(scale=1.6, width=12.0))

    Raises UserError if there is no such style, or the width is not a length, too small for its letters, or too large.
    """
    if style not in STYLES:
        raise UserError(f"style = {shown(style)} is not allowed; allowed: {', '.join(STYLES)}{nearest(style, STYLES)}")
    own = STYLES[style]
    if width is None:
        return own
    inches = _inches(width)
    least = math.ceil(10 * MIN_WIDTH * own.scale) / 10
    if inches is None:
        named = " or ".join(f"{name} ({length:g}in)" for name, length in WIDTHS.items())
        raise UserError(
            f"width = {shown(width)} is not allowed; allowed: a length such as 3.25in, 8cm, 82mm or 240pt; {named}"
        )
    if not least <= inches <= MAX_WIDTH:
        allowed = f"from {least:g}in to {MAX_WIDTH:g}in"
        raise UserError(f"width = {shown(width)} is not allowed with style {style}; allowed: {allowed}")
    return replace(own, width=inches)


def _inches(width: str | float) -> float | None:
    """A width in inches; None if it is not a length."""
    if isinstance(width, str):
        if width in WIDTHS:
            return WIDTHS[width]
        match = re.fullmatch(rf"\s*(\d+\.?\d*|\.\d+)\s*({'|'.join(UNITS)})\s*", width, re.ASCII)
        return float(match[1]) * UNITS[match[2]] if match else None
    return float(width) if isinstance(width, int | float) and not isinstance(width, bool) else None
