"""Make the definitions in docs/explanation/signal.md: `python -m tools.make_signal_page`."""

from pathlib import Path

from initbench.spec import signal

PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "signal.md"
MARK = "## Definitions\n"


def page(before: str) -> str:
    """The page as Markdown, with the section of the definitions, its last one, replaced."""
    definitions = (signal.__doc__ or "").partition("\n\n")[2]
    return (
        f"{before.partition(MARK)[0]}{MARK}\nGenerated from `initbench/spec/signal.py` by `make docs`.\n\n{definitions}"
    )


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
