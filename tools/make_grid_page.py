"""Write the tables of settings in docs/reference/grid.md: `python -m tools.make_grid_page`."""

import json
import re
from pathlib import Path

from initbench.spec.settings import OTHER_KEYS, RULES, Setting

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "grid.md"
MARK, END = "<!-- settings: generated from initbench/spec/settings.py by `make docs` -->\n", "<!-- end -->\n"

# Where a page has more about a setting.
MORE = {
    "name": "[names](#names)",
    "dataset": "[data sets](data.md)",
    "initializer": "[initializers](initializers.md)",
    "model": "[models](models.md)",
    "lr_schedule": "[training](../explanation/method.md#training)",
    "warmup_epochs": "[training](../explanation/method.md#training)",
    "standardize": "[training](../explanation/method.md#training)",
    "augment": "[training](../explanation/method.md#training)",
    "precision": "[a cell](../explanation/method.md#a-cell)",
    "diagnostics": "[the signal](../explanation/signal.md)",
    "equivalent_within": "[below](#keys-at-the-top)",
    "device": "[below](#keys-at-the-top)",
    "plugins": "[below](#keys-at-the-top)",
    "seed": "[seeds until it is certain](#seeds-until-it-is-certain)",
}
DEFAULTS = {"name": "that of the file", "initializer": "none: required", "train_size": "all"}

# What a message writes as Python does: a table, a list, or a string.
VALUE = re.compile(r"\{[^}]*\}|\[[^\]]*\]|'[^']*'")


# What needs no words: an initializer, a loss.
EVIDENT = re.compile(r"an? (bias )?\w+")

TITLES = {"": "At the top", "model": "[model]", "training": "[training]", "grid": "[grid]"}


def tables() -> str:
    """Return a Markdown table for each section of the grid file: each key, its default, and what it is."""
    keys = {**OTHER_KEYS, **RULES}
    parts = []
    for section, title in TITLES.items():
        rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
        rows += [_row(name, key) for name, key in keys.items() if key.home == section]
        parts.append("\n".join([f"### {title}", "", *rows, ""]))
    return "\n".join(parts)


def _row(name: str, key: Setting) -> str:
    value = f"{key.default:g}" if isinstance(key.default, float) else json.dumps(key.default)
    default = DEFAULTS.get(name, "none" if key.default is None else f"`{value}`")
    allowed = VALUE.sub(lambda value: f"`{value[0].replace(chr(39), chr(34))}`", key.allowed)
    text = key.meaning if EVIDENT.fullmatch(key.allowed) else f"{key.meaning} Allowed: {allowed}."
    more = f" More: {MORE[name]}." if name in MORE else ""
    return f"| `{name}` | {default} | {text}{more} |"


def page(before: str) -> str:
    """Return the page with its table replaced."""
    head, _, rest = before.partition(MARK)
    return f"{head}{MARK}\n{tables()}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
