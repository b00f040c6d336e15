"""A figure with its alternative text and its numbers; as a part of the page, or as a file."""

import io
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from initbench.reporting.drawers import PageFigure, Undrawn
from initbench.reporting.figures import svg
from initbench.reporting.figures.labels import wrapped
from initbench.reporting.figures.style import FONT, GRID, GROUND, INK, SOFT, style
from initbench.reporting.layout import PAGE, PHONE, Layout, laid_out, layout, scaled
from initbench.reporting.limits import MAX_NARROW_FIGURE
from initbench.reporting.palette import Palette

# Points of a title's letters on the page.
TITLE = 10.0

# The metadata of a file of each kind, without dates, so that the same figure has the same bytes.
METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None},
    "png": {},
}


@dataclass(frozen=True)
class Drawing:
    """A figure, its alternative text, and its numbers as a table: headings, and rows that begin with a name."""

    canvas: Figure
    alternative: str
    headings: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    title: str = ""  # is not in the picture: the page has a caption

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = self.canvas.get_size_inches() * 96
        return round(width), round(height)


def describe_values(
    names: Sequence[str], numbers: Sequence[str | Sequence[str]], columns: Iterable[object] = ()
) -> str:
    """Names with their numbers, for an alternative text; of many numbers each, with their columns.

    >>> describe_values(["zeros", "orthogonal"], ["90%", "91%"])
    'zeros 90%; orthogonal 91%'
    >>> describe_values(["zeros"], [["90%", "91%"]], ["tanh", "relu"])
    'zeros: tanh 90%, relu 91%'
    """
    if isinstance(numbers[0] if numbers else "", str):
        return "; ".join(f"{name} {number}" for name, number in zip(names, numbers, strict=True))
    return "; ".join(
        f"{name}: " + ", ".join(f"{column} {number}" for column, number in zip(columns, row, strict=True))
        for name, row in zip(names, numbers, strict=True)
    )


def inline(drawing: Drawing, palette: Palette, prefix: str = "") -> str:
    """Return the figure as an SVG element for the page, with the page's font and colours.

    The ids within it begin with `prefix`, so that many figures stand on one page.
    """
    buffer = io.StringIO()
    with style(**{"svg.fonttype": "none"}):
        drawing.canvas.savefig(buffer, format="svg", transparent=True, metadata=METADATA["svg"])
    width, height = drawing.size
    root = {
        "xmlns": "http://www.w3.org/2000/svg",
        "xmlns:xlink": "http://www.w3.org/1999/xlink",
        "role": "img",
        "aria-label": drawing.alternative,
        "width": str(width),
        "height": str(height),
    }
    colours = {INK: "var(--ink)", SOFT: "var(--soft)", GRID: "var(--line)", GROUND: "var(--ground)"}
    colours |= {colour: f"var(--c{i})" for i, colour in enumerate(palette.light.values())}
    return svg.for_page(buffer.getvalue(), colours, root, prefix)


def for_page(figure: Undrawn, palette: Palette, number: int, phone: bool) -> PageFigure:
    """Draw the figure of this number on the page; with `phone`, a second time if a phone has no room for it."""
    drawing, narrow = figure.draw(), ""
    if phone and layout() is PAGE and drawing.size[0] > MAX_NARROW_FIGURE:
        with laid_out(PHONE):
            narrow = inline(figure.draw(), palette, f"n{number}-")
    svg_text = inline(drawing, palette, f"f{number}-")
    return PageFigure(svg_text, narrow, drawing.title, drawing.size, drawing.headings, drawing.rows)


def as_file(figure: Undrawn, form: str, title: bool, wanted: Layout) -> tuple[bytes, set[str]]:
    """Draw a figure in a layout as a file, as `save` does; returns also the characters that no font has."""
    with laid_out(wanted):
        drawing = figure.draw()
        return save(drawing, form, title=title), undrawable(drawing)


def warm_up() -> None:
    """Draw a small figure, so that what matplotlib loads when it first draws is loaded."""
    with style():
        canvas = Figure()
        canvas.subplots().set(xlabel="x", title="y")
        canvas.savefig(io.StringIO(), format="svg")


def titled(drawing: Drawing) -> Drawing:
    """Return the figure with its title above it, as a part of the picture."""
    if drawing.title:
        with style():
            _draw_title(drawing.canvas, drawing.title)
    return replace(drawing, title="")


def save(drawing: Drawing, form: str, *, title: bool = False, dpi: int = 300) -> bytes:
    """Return the figure as a file: `svg` (letters as outlines), `pdf` (fonts embedded) or `png` (300 dots per inch).

    Its title stands above it if requested.
    """
    buffer = io.BytesIO()
    drawing = titled(drawing) if title else drawing
    with style(**{"svg.fonttype": "path", "pdf.fonttype": 42}):
        for text in drawing.canvas.findobj(Text):
            families = [family for char in sorted(_lacking(text.get_text())) if (family := _family_with(char))]
            if families:
                text.set_fontfamily([FONT, *dict.fromkeys(families)])
        drawing.canvas.savefig(buffer, format=form, dpi=dpi, facecolor="white", metadata=METADATA[form])
    return buffer.getvalue()


def _draw_title(canvas: Figure, title: str) -> None:
    """Write a title above the picture, which grows by as much and stays as it is."""
    width, height = canvas.get_size_inches()
    size, line, margin = scaled(TITLE), scaled(1.25 * TITLE) / 72, scaled(4) / 72
    lines = wrapped(title, int((width - 2 * margin) * 72 / (0.65 * size)))
    total = height + len(lines) * line + 2 * margin
    canvas.set_size_inches(width, total)
    for axes in canvas.axes:
        x, y, across, up = axes.get_position().bounds
        axes.set_position((x, y * height / total, across, up * height / total))
    canvas.text(margin / width, 1 - margin / total, "\n".join(lines), va="top", fontsize=size, fontweight="bold")


def undrawable(drawing: Drawing) -> set[str]:
    """The characters of a figure that no font of this machine has: a file shows boxes in their place."""
    with style():
        texts = "".join(text.get_text() for text in drawing.canvas.findobj(Text))
        return {char for char in _lacking(texts) if not _family_with(char)}


def _lacking(text: str) -> set[str]:
    """The characters that the figures' font lacks, without those that are not drawn, such as joiners."""
    drawn = {char for char in text if char > "~" and unicodedata.category(char) not in ("Cc", "Cf", "Cn", "Zs")}
    variants = {char for char in drawn if "VARIATION SELECTOR" in unicodedata.name(char, "")}
    font = font_manager.get_font(font_manager.findfont(FONT))
    return {char for char in drawn - variants if not font.get_char_index(ord(char))}


@cache
def _family_with(char: str) -> str | None:
    """The family of an installed font that draws this character, or None."""
    manager = font_manager.fontManager
    entries = sorted(
        manager.ttflist, key=lambda entry: (entry.style != "normal", str(entry.weight) != "400", entry.name)
    )
    listed = dict.fromkeys(entry.fname for entry in entries)
    # matplotlib's list of fonts lacks those that were installed since it was written.
    installed = sorted(font_manager.findSystemFonts(), key=lambda path: ("Regular" not in path, path))
    for path in dict.fromkeys([*listed, *installed]):
        try:
            font = font_manager.get_font(path)
            if "last resort" in font.family_name.lower() or not font.get_char_index(ord(char)):
                continue  # that font's glyphs are boxes
            font.set_size(10, 72)
            font.load_char(ord(char))  # raises for a font of pictures
            if path not in listed:
                manager.addfont(path)
            return str(font.family_name)
        except (OSError, RuntimeError, ValueError):  # a damaged file, or of a kind that matplotlib cannot draw
            continue
    return None
