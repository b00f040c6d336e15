"""The presets: grid files to start from, each a whole experiment. The first comment of each says what it is."""

from pathlib import Path

from initbench.errors import UserError, nearest, shown


def names() -> list[str]:
    """The presets' names; the article's experiment is the first."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def text(name: str) -> str:
    """A preset's grid file."""
    if name not in names():
        raise UserError(f"no preset is called {shown(name)}; allowed: {', '.join(names())}{nearest(name, names())}")
    return (Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8")


def summary(name: str) -> str:
    """What a preset is, from its first comment."""
    lines = [line[1:].strip() for line in text(name).splitlines()[:2] if line.startswith("#")]
    return " ".join(lines).partition(": ")[0] + "."
