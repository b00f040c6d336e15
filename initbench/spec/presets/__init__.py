"""The presets: grid files to start from, each a complete experiment, described by its first comment."""

from pathlib import Path

from initbench.errors import UserError, nearest, shown


def names() -> list[str]:
    """Return the presets' names; the article's experiment is the first."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def text(name: str) -> str:
    """Return the text of a preset's grid file; UserError if there is no such preset."""
    if name not in names():
        raise UserError(f"unknown preset {shown(name)}; allowed: {', '.join(names())}{nearest(name, names())}")
    return (Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8")


def summary(name: str) -> str:
    """Return the description of a preset, from its first comment."""
    lines = [line[1:].strip() for line in text(name).splitlines()[:2] if line.startswith("#")]
    return " ".join(lines).partition(": ")[0] + "."
