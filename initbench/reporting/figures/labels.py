"""Fit names and titles into the space of a figure."""

import itertools
import re
import textwrap
import unicodedata
from collections.abc import Sequence

from initbench.reporting.limits import MAX_NAME_LINE, MAX_NAME_LINES


def shorten(names: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Cut each name to its width; where two would look alike, number all in their order.

    >>> shorten(["normal(std=0.001)", "normal(std=0.002)"], [12, 12])
    ['normal….001)', 'normal….002)']
    >>> shorten(["uniform(low=-1, high=1)", "uniform(low=-2, high=1)"], [12, 12])
    ['1: unif…h=1)', '2: unif…h=1)']
    >>> shorten(["uniform(low=-1, high=1)", "uniform(low=-2, high=1)"], [12, 13])
    ['1: unif…h=1)', '2: unifo…h=1)']
    """
    short = [_cut(name, width) for name, width in zip(names, widths, strict=True)]
    cut = {name: width for name, text, width in zip(names, short, widths, strict=True) if text != name}
    if any(_cut(a, min(cut[a], cut[b])) == _cut(b, min(cut[a], cut[b])) for a, b in itertools.combinations(cut, 2)):
        numbers = [f"{i}: " for i in range(1, len(names) + 1)]
        short = [n + _cut(name, width - len(n)) for n, name, width in zip(numbers, names, widths, strict=True)]
    return short


def stacked(names: Sequence[str]) -> list[str]:
    """Break names into short lines, for the side of a heat map; where two would look alike, number all."""

    def stack(name: str) -> str:
        lines = re.sub(r" (with|and) ", r"\n\1 ", name).replace("(", "\n(").split("\n")
        lines = [part for line in lines for part in wrapped(line, MAX_NAME_LINE)]
        if len(lines) > MAX_NAME_LINES:
            lines = [*lines[: MAX_NAME_LINES // 2], "…", *lines[-(MAX_NAME_LINES // 2 - 1) :]]
        return "\n".join(lines)

    short = [stack(name) for name in names]
    return short if len(set(short)) == len(set(names)) else [f"{i}: {text}" for i, text in enumerate(short, 1)]


def wrapped(text: str, width: int) -> list[str]:
    """Break a string into lines of at most this width."""
    if width_of(text) <= width:
        return [text]
    wrapper = textwrap.TextWrapper(max(1, width * len(text) // width_of(text)), break_on_hyphens=False)
    wrapper.wordsep_simple_re = re.compile(r"(\s+|(?<=_)(?=[^_]))")  # after an underscore rather than within a word
    return wrapper.wrap(text)


def _cut(name: str, width: int) -> str:
    """Leave out the middle of a name that is wider than this."""
    if width_of(name) <= width:
        return name
    head, tail = name, ""
    while width_of(head) > width * 0.55:
        head = head[:-1]
    for char in reversed(name):
        if width_of(head) + 1 + width_of(char + tail) > width:
            break
        tail = char + tail
    return f"{head}…{tail}"


def width_of(text: str) -> int:
    """Return the width in ordinary characters: East Asian ones take two, and combining marks none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
