"""Write the list of modules in docs/explanation/architecture.md: `python -m tools.make_architecture_page`."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
MARK = "<!-- modules -->\n"


def modules() -> str:
    """Return a Markdown list: each module's path and the first line of its docstring."""
    lines = []
    for path in sorted((ROOT / "initbench").rglob("*.py"), key=_order):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        name = path.relative_to(ROOT / "initbench").as_posix().replace("/__init__.py", "/")
        indent = "  " if "/" in name.removesuffix("/") else ""
        lines.append(f"{indent}- `{name}`: {text.partition(chr(10))[0]}\n")
    return "\n" + "".join(lines)


def _order(path: Path) -> tuple[str, bool, str]:
    return path.parent.as_posix(), path.name != "__init__.py", path.name


def main() -> None:
    """Replace what follows the mark."""
    before = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(before + MARK + modules(), encoding="utf-8")


if __name__ == "__main__":
    main()
