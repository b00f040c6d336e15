"""The code blocks of the pages of the documentation; tests/docs/test_code_blocks.py says how to write one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]

RUN = {"python", "sh", "toml"}
SHOWN = {"text", "yaml", "json", "dockerfile", "r", "html", "latex", "bibtex", "csv", "css", "ini"}

FENCE = re.compile(r"(?P<indent> *)```(?P<info>[^`]*)")
TITLE = re.compile(r'\btitle="([^"]+)"')
COMMENT = re.compile(r" *<!-- (not run|exit status): (.+) -->")

# What may stand above a line that is indented by four spaces: an item of a list, an admonition, a tab, a footnote.
CONTAINER = re.compile(r"([-*+]|\d+\.) |!!! |\?\?\?\+? |=== |\[\^")


@dataclass(frozen=True)
class Block:
    """A code block.

    `line` is the number of its first line of code. `reason` is why it is not run, and `status` the exit status of its
    last command.
    """

    page: Path
    line: int
    language: str
    title: str
    code: str
    reason: str = ""
    status: int = 0

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the code blocks of a page in their order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    comments: dict[str, str] = {}
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if comment := COMMENT.fullmatch(line):
            comments[comment[1]] = comment[2]
        elif fence := FENCE.fullmatch(line):
            indent, info, first = fence["indent"], fence["info"].strip(), number
            while number < len(lines) and lines[number] != f"{indent}```":
                number += 1
            code = "".join(row.removeprefix(indent) + "\n" for row in lines[first:number])
            title = TITLE.search(info)
            status = int(comments.get("exit status", 0))
            reason = comments.get("not run", "")
            language = info.partition(" ")[0]
            yield Block(page, first + 1, language, title[1] if title else "", code, reason, status)
            comments, number = {}, number + 1
        elif line.strip():
            comments = {}


def titled(page: Path, title: str) -> str:
    """Return the content of the only file of this name that a page shows."""
    (block,) = (block for block in blocks(page) if block.title == title)
    return block.code


def indented(page: Path) -> Iterator[int]:
    """Yield the numbers of lines that Markdown takes as code for their indentation: they have no language."""
    is_inside, container, before = False, False, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if FENCE.fullmatch(line):
            is_inside = not is_inside
        elif not is_inside and line.strip():
            if not line.startswith(" "):
                container = bool(CONTAINER.match(line))
            elif line.startswith("    ") and not before.strip() and not container:
                yield number
        before = line
