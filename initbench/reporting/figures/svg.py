"""Edit attributes of matplotlib's SVG, but never its text, which is untrusted."""

import re
from collections.abc import Callable, Mapping
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

Attributes = dict[str, str]

# Attributes that consist of coordinates, in points.
COORDINATES = {"d", "points", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "cx", "cy", "r", "viewBox"}

# Attributes that may refer to an element by its id: `url(#id)`.
REFERRING = {"clip-path", "mask", "filter", "fill", "stroke", "style"}

# Characters that XML does not allow.
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}(?!\d|e)")


def edit_tags(svg: str, edit: Callable[[str, Attributes], Attributes]) -> str:
    """Return the SVG with the attributes that `edit` returns for each element's name and attributes.

    Comments, the prologue and metadata are left out; texts stay unchanged.
    """
    parts: list[str] = []
    skipped: list[str] = []  # open elements that are left out
    opened: list[str] = []
    empty = False  # whether the last element has no content yet

    def start(name: str, attributes: Attributes) -> None:
        nonlocal empty
        if skipped or name == "metadata":
            skipped.append(name)
            return
        opened.append(name)
        edited_attributes = "".join(f" {key}={quoteattr(value)}" for key, value in edit(name, attributes).items())
        parts.append(f"<{name}{edited_attributes}>")
        empty = True

    def end(name: str) -> None:
        nonlocal empty
        if skipped:
            skipped.pop()
            return
        opened.pop()
        if empty:
            parts[-1] = parts[-1][:-1] + "/>"
        else:
            parts.append(f"</{name}>")
        empty = False

    def characters(data: str) -> None:
        nonlocal empty
        if skipped:
            return
        empty = False
        if opened[-1] in ("text", "tspan", "style", "title"):
            parts.append(escape(data))
        else:
            parts.append("\n")  # between elements there are only blanks

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    parser.Parse(ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", svg), True)
    return "".join(parts)


def for_page(svg: str, colours: Mapping[str, str], root: Attributes, prefix: str = "") -> str:
    """Return the SVG for the page: with `root` attributes, the page's font and colours, and ids as in `unique`.

    Coordinates are rounded to a hundredth of a point. Groups lose their ids, to which nothing refers.
    """

    def edit(name: str, attributes: Attributes) -> Attributes:
        if name == "svg":
            return {**root, "viewBox": attributes["viewBox"]}
        if name == "g":
            attributes.pop("id", None)
        for key, value in attributes.items():
            if key in COORDINATES or (key == "transform" and "scale" not in value and "matrix" not in value):
                attributes[key] = _rounded(value)
            elif key == "style":
                attributes[key] = "; ".join(filter(None, (_declaration(part, colours) for part in value.split(";"))))
        return _prefixed(attributes, prefix)

    return edit_tags(svg, edit)


def unique(svg: str, prefix: str) -> str:
    """Return the SVG with ids that begin with `prefix`, so that many stand on one page."""
    return edit_tags(svg, lambda _, attributes: _prefixed(attributes, prefix))


def _prefixed(attributes: Attributes, prefix: str) -> Attributes:
    for key, value in attributes.items():
        if key == "id":
            attributes[key] = prefix + value
        elif key in ("href", "xlink:href") and value.startswith("#"):
            attributes[key] = f"#{prefix}{value[1:]}"
        elif key in REFERRING:
            attributes[key] = value.replace("url(#", f"url(#{prefix}")
    return attributes


def _rounded(numbers: str) -> str:
    return LONG_NUMBER.sub(lambda match: f"{float(match[0]):.2f}", numbers)


def _declaration(text: str, colours: Mapping[str, str]) -> str:
    """Return a style declaration, such as `fill: #222222`, for the page, or an empty string."""
    name, _, value = (part.strip() for part in text.partition(":"))
    if name in ("", "font-family"):  # the family is the page's
        return ""
    if name == "font":  # as matplotlib before 3.11 writes weight, size and family
        size = next(part for part in value.split() if part.endswith("px"))
        weight = next((f"; font-weight: {part}" for part in value.split() if part in ("bold", "700")), "")
        return f"font-size: {_rounded(size)}{weight}"
    if "url(" not in value:
        value = _rounded(value)
    return f"{name}: {colours.get(value, value)}"
