"""Sentences about a rule that adds seeds until it is certain: what it waits for, how it ended, what it cost."""

import math

from initbench.reporting.numbers import exact, listed, plural
from initbench.results.rounds import Rounds
from initbench.spec.seed_rule import SeedRule


def rule_text(rule: SeedRule) -> str:
    """Say what a rule waits for.

    >>> rule_text(SeedRule(0.002, 10, 200))
    'until every 95% interval is at most ± 0.2 points'
    """
    if rule.half_width is None:
        return "until every initializer is decided"
    return f"until every 95% interval is at most {width(rule.half_width)}"


def width(half_width: float) -> str:
    """A half-width in percentage points.

    >>> width(0.002), width(0.01)
    ('± 0.2 points', '± 1 point')
    """
    points = exact(100 * half_width)
    return f"± {points} {'point' if points == '1' else 'points'}"


def looked(rounds: Rounds) -> str:
    """Say what the last look found, and what follows."""
    if rounds.missing:
        more = plural(len(rounds.missing), "cell")
        return f"After {rounds.at} seeds {_open(rounds)}: {more} more"
    return f"{ended(rounds)} {spent(rounds)}"


def _open(rounds: Rounds) -> str:
    """Say how many configurations need more seeds."""
    verb = "is" if rounds.open == 1 else "are"
    of_all = f"{rounds.open:,} of {plural(len(rounds.seeds), 'configuration')} {verb}"
    half_width = rounds.rule.half_width
    return f"{of_all} undecided" if half_width is None else f"{of_all} wider than {width(half_width)}"


def ended(rounds: Rounds) -> str:
    """Say how the rule ended."""
    rule = rounds.rule
    if rounds.at_maximum:
        text = f"Stopped at the maximum of {rule.max_seeds} seeds: {_open(rounds)}."
    elif rule.half_width is None:
        text = "Every initializer is decided."
    elif rounds.refused < len(rounds.seeds):
        others = "every" if not rounds.refused else "every other"
        text = f"The 95% interval of {others} configuration is at most {width(rule.half_width)}."
    else:
        text = ""
    return " ".join(filter(None, [refused(rounds), text]))


def refused(rounds: Rounds) -> str:
    """Say for how many configurations no half-width is promised, and why."""
    if not rounds.refused:
        return ""
    return (
        f"No half-width is promised for {rounds.refused:,} of {plural(len(rounds.seeds), 'configuration')}: runs "
        "failed or stay on a plateau, and a mean of two kinds of runs has no such interval."
    )


def report(rounds: Rounds) -> list[str]:
    """Say on the page what the rule is, how it ended, what it cost, and what it does not show."""
    rule = rounds.rule
    begun = (
        f"Seeds were added five at a time, from {rule.min_seeds} to at most {rule.max_seeds}, {rule_text(rule)}. "
        f"{spent(rounds)}"
    )
    if not rounds.ended:
        return [begun, f"It has not ended: {_open(rounds)}." if rounds.at else "It has not ended."]
    return [begun, " ".join(filter(None, [ended(rounds), caveat(rounds)]))]


def caveat(rounds: Rounds) -> str:
    """Say which share of failing runs the seeds without a failure do not exclude; empty for other rules."""
    if not rounds.excluded_share > 0:
        return ""
    fewest = round(math.log(0.05) / math.log1p(-rounds.excluded_share))
    return (
        f"That assumes runs of one kind: {fewest} runs without a failure do not exclude that up to "
        f"{100 * rounds.excluded_share:.0f}% of all runs fail (1 − 0.05^(1/{fewest}))."
    )


def spent(rounds: Rounds) -> str:
    """Say how many seeds the configurations took, and how many runs that saved."""
    low, high = min(rounds.seeds), max(rounds.seeds)
    counts = str(low) if low == high else f"{low} to {high}"
    saved = [f"{rounds.saved:,} fewer than with {rounds.rule.max_seeds} seeds each"] * (rounds.saved > 0)
    if rounds.refused == len(rounds.seeds):
        saved = []  # the rule gave up
    elif low < high < rounds.rule.max_seeds:
        saved.append(f"{len(rounds.seeds) * high - len(rounds.cells):,} fewer than with {high}")
    return f"{counts} seeds each, {plural(len(rounds.cells), 'run')} in all{': ' * bool(saved)}{listed(saved)}."
