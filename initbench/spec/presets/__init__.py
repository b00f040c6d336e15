"""The presets: grid files to start from, each a complete experiment, described by its first comment."""

from pathlib import Path

from initbench.errors import UserError, nearest, shown

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the presets' names; the article's experiment is the first."""
    return sorted((path.stem for path in FOLDER.glob("*.toml")), key=lambda name: (name != "keepcoding", name))


def path(name: str) -> Path:
    """Return the file of a preset's grid."""
    return FOLDER / f"{name}.toml"


def name_of(path: Path) -> str:
    """Return the name of the preset whose file this is, or an empty string."""
    return path.stem if path.parent == FOLDER and path.stem in names() else ""


def named_by(grid: str) -> str:
    """Return the name of the preset that has this text, or an empty string."""
    return next((name for name in names() if text(name) == grid), "")


def text(name: str) -> str:
    """Return the text of a preset's grid file; UserError if there is no such preset."""
    if name not in names():
        raise UserError(f"unknown preset {shown(name)}; allowed: {', '.join(names())}{nearest(name, names())}")
    return path(name).read_text(encoding="utf-8")


def summary(name: str) -> str:
    """Return the description of a preset, from its first comment."""
    lines = [line[1:].strip() for line in text(name).splitlines()[:2] if line.startswith("#")]
    return " ".join(lines).partition(": ")[0].rstrip(".") + "."
