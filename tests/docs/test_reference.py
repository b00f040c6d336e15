"""The generated parts of the reference are those that the code has."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

from initbench.cli import program
from initbench.spec.settings import RULES
from tools import make_cli_page, make_grid_page

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("tool", [make_grid_page, make_cli_page], ids=lambda tool: tool.PAGE.name)
def test_a_page_has_what_the_code_has(tool):
    text = tool.PAGE.read_text(encoding="utf-8")
    assert tool.page(text) == text, "run make docs"


def test_the_page_of_the_grid_file_has_each_setting_once():
    rows = re.findall(r"^\| `(\w+)` \|", (REFERENCE / "grid.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(RULES) < set(rows)


def test_the_page_of_the_commands_has_every_exit_status():
    statuses = re.findall(r"^\| (\d+) \|", (REFERENCE / "cli.md").read_text(encoding="utf-8"), re.MULTILINE)
    names = ("DONE", "FAILED", "MISTAKE", "INCONCLUSIVE", "INTERRUPTED")
    assert [int(status) for status in statuses] == [getattr(program, name) for name in names]


@pytest.mark.parametrize("name", ["stats", "theory"])
def test_the_python_pages_have_every_public_name(name):
    text = (REFERENCE / "python" / f"{name}.md").read_text(encoding="utf-8")
    module = import_module(f"initbench.{name}")
    whole = f"::: initbench.{name}\n" in text
    for public in module.__all__:
        assert whole or f"::: initbench.{name}.{public}\n" in text or f"`{public}`" in text, public


def test_the_constants_of_the_statistics_have_the_values_of_their_page():
    from initbench import stats

    text = (REFERENCE / "python" / "stats.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([^`]*)` \|", text, re.MULTILINE)
    assert len(rows) > 10
    assert [value for _, value in rows] == [repr(getattr(stats, constant)) for constant, _ in rows]


def test_a_docstring_becomes_markdown():
    griffe = pytest.importorskip("griffe", reason="mkdocstrings is not installed")
    from tools.site_docstrings import Docstrings, as_markdown

    assert issubclass(Docstrings, griffe.Extension)
    docstring = """Add.

    Parameters
    ----------
    x, y
        Numbers, in the
        same unit.

        Not negative.
    strict
        Whether.

    It is exact.

    >>> add(1, 2)  # doctest: +SKIP
    3
    """
    assert (
        as_markdown(inspect.cleandoc(docstring))
        == inspect.cleandoc("""Add.

    **Parameters**

    - `x`, `y`: Numbers, in the
        same unit.

        Not negative.
    - `strict`: Whether.

    It is exact.

    ```pycon
    >>> add(1, 2)
    3
    ```
    """)
        + "\n"
    )
