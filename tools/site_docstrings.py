"""An extension of Griffe, for `make site`: docstrings as Markdown.

Docstrings are read by people in a terminal, too. They have the sections of NumPy's style, without types, which stand in
the signature, and between them plain paragraphs and examples.
"""

import re
import textwrap
from typing import Any

import griffe

SECTION = re.compile(r"^([A-Z]\w+)\n-{3,}\n", re.MULTILINE)

# Names, and in the next line the description, indented by four spaces.
ITEM = re.compile(r"^([*\w][\w, *.]*)\n {4}(?=\S)", re.MULTILINE)

# An example ends with an empty line.
EXAMPLE = re.compile(r"^ *>>> (?:.+\n?)+", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Turns each docstring into Markdown when its object is read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return a docstring as Markdown: titles in bold, names with descriptions as a list, examples as code."""
    text = SECTION.sub(r"**\1**\n\n", text)
    text = ITEM.sub(lambda item: f"- `{'`, `'.join(item[1].split(', '))}`: ", text)
    return EXAMPLE.sub(_example, text)


def _example(match: re.Match[str]) -> str:
    code = re.sub(r" *# doctest:.*", "", textwrap.dedent(match[0]).strip("\n"))
    return f"```pycon\n{code}\n```\n"
