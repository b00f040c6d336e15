"""The rule of a grid that adds seeds until it is certain: what it waits for, and how many seeds it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from initbench.errors import nearest, shown

BATCH = 5  # seeds that are added at a time
MAX_SEEDS = 200  # by default
MAX_ALLOWED = 10_000_000  # the most cells that a grid may have

# By default, and the fewest allowed. An interval of fixed width covers 93% with two or three seeds to begin with, 95%
# with five and 96% with ten (normal populations; 84, 87 and 89% for exponential ones).
MIN_SEEDS = {"until_halfwidth": (10, 5), "until": (5, 2)}

ALLOWED = "{ until_halfwidth = 0.002, min = 10, max = 200 } or { until = 'decided', min = 5, max = 200 }"


@dataclass(frozen=True)
class SeedRule:
    """Train `min_seeds` seeds, look, and add batches of five seeds where the rule requests more, up to `max_seeds`.

    With a `half_width` (a fraction) seeds are added until the 95% interval of every mean is at most that wide to each
    side. With None they are added until every initializer is decided.
    """

    half_width: float | None
    min_seeds: int
    max_seeds: int

    def after(self, seeds: int) -> int:
        """Return the number of seeds at the look that follows the one at `seeds`."""
        return min(seeds + BATCH, self.max_seeds)

    @property
    def table(self) -> dict[str, Any]:
        """The rule as a table of a grid file."""
        until = {"until": "decided"} if self.half_width is None else {"until_halfwidth": self.half_width}
        return {**until, "min": self.min_seeds, "max": self.max_seeds}


def parse(table: Mapping[str, Any]) -> tuple[SeedRule | None, list[str]]:
    """Return the rule that a table of a grid file states, or a line for each mistake in it, without the key `seed`.

    >>> parse({"until": "decided"})
    (SeedRule(half_width=None, min_seeds=5, max_seeds=200), [])
    >>> parse({"until_halfwidth": 0.002, "until": "decided"})[1]
    ['until_halfwidth and until are two rules; keep one of them']
    """
    keys = ("until_halfwidth", "until", "min", "max")
    lines = [
        f"{shown(key)} is an unknown key; allowed: {', '.join(keys)}{nearest(key, keys)}"
        for key in table
        if key not in keys
    ]
    rules = [key for key in MIN_SEEDS if key in table]
    if len(rules) > 1:
        lines.append("until_halfwidth and until are two rules; keep one of them")
    elif not rules:
        lines.append(f"has no rule; allowed: {ALLOWED}")
    half_width = table.get("until_halfwidth")
    if half_width is not None and (type(half_width) not in (int, float) or not 0 < half_width < 0.5):
        lines.append(
            f"until_halfwidth = {shown(half_width)} is not allowed; allowed: a fraction above 0 and below 0.5, such as "
            "0.002, which is 0.2 percentage points"
        )
    if "until" in table and table["until"] != "decided":
        lines.append(
            f"until = {shown(table['until'])} is not allowed; allowed: 'decided'{nearest(table['until'], ['decided'])}"
        )
    default, least = MIN_SEEDS[rules[0] if rules else "until"]
    most = table.get("max", MAX_SEEDS)
    if type(most) is not int or not least <= most <= MAX_ALLOWED:
        lines.append(f"max = {shown(most)} is not allowed; allowed: an integer from {least} up")
        most = max(MAX_SEEDS, default)
    fewest = table.get("min", min(default, most))
    if type(fewest) is not int or fewest < least:
        why = "; with fewer the intervals are too narrow" if rules == ["until_halfwidth"] else ""
        lines.append(f"min = {shown(fewest)} is not allowed; allowed: an integer from {least} up{why}")
    elif fewest > most:
        lines.append(f"min = {shown(fewest)} is above max = {most}; allowed: at most max")
    if lines:
        return None, lines
    return SeedRule(None if half_width is None else float(half_width), fewest, most), []


def schema() -> list[dict[str, Any]]:
    """Return the JSON schemas of the two rules."""
    rules: dict[str, Any] = {
        "until_halfwidth": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
        "until": {"const": "decided"},
    }
    return [
        {
            "type": "object",
            "properties": {
                key: rule,
                "min": {"type": "integer", "minimum": MIN_SEEDS[key][1], "default": MIN_SEEDS[key][0]},
                "max": {"type": "integer", "minimum": MIN_SEEDS[key][1], "default": MAX_SEEDS},
            },
            "required": [key],
            "additionalProperties": False,
        }
        for key, rule in rules.items()
    ]
