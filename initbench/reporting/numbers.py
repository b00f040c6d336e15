"""Numbers as text: a number for people is formatted here and nowhere else."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from initbench.reporting.limits import MAX_HALF_WIDTH, MAX_SHOWN_SEEDS, MAX_TICK_DECIMALS, MAX_TICK_LETTERS

# What stands beside the name or the number of an initializer that is among the best: the second, if its mean is more
# than a point below the leader's.
MARKS = {"best": "•", "open": "◦", "": ""}


def percent(value: float, digits: int = 1) -> str:
    """A fraction as a percentage.

    >>> percent(0.91234)
    '91.2%'
    """
    return "–" if pd.isna(value) else f"{100 * value:.{digits}f}%"


SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(exponent: int) -> str:
    """A power of ten.

    >>> power_of_ten(-4)
    '10⁻⁴'
    """
    return f"10{str(exponent).translate(SUPERSCRIPTS)}"


def magnitude(value: float) -> str:
    """A number of any size in three significant digits, or that it is not finite.

    >>> [magnitude(value) for value in (0.0, 1.23456, -0.05, 123456.0, 1.5e-7, float("inf"))]
    ['0', '1.23', '−0.05', '1.23 × 10⁵', '1.5 × 10⁻⁷', 'not finite']
    """
    if not math.isfinite(value):
        return "not finite"
    text, _, exponent = f"{value + 0.0:.2e}".partition("e")
    if value == 0 or -3 <= int(exponent) < 5:
        return f"{float(f'{value:.3g}') + 0.0:.12g}".replace("-", "−")
    return f"{float(text):g} × {power_of_ten(int(exponent))}".replace("-", "−")


def short_magnitude(value: float) -> str:
    """A number of any size in two significant digits, or the power of ten near it, for a narrow column.

    >>> [short_magnitude(value) for value in (0.0, 1.234, 0.0123, 45678.0, 3e-7, float("nan"), float("inf"))]
    ['0', '1.2', '0.012', '10⁵', '10⁻⁷', 'NaN', '∞']
    """
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    exponent = 0 if value == 0 else math.floor(math.log10(abs(value)))
    if -3 <= exponent < 4:
        return f"{float(f'{value:.2g}') + 0.0:g}".replace("-", "−")
    return ("−" if value < 0 else "") + power_of_ten(round(math.log10(abs(value))))


def exact(value: float) -> str:
    """A number in up to 12 significant digits, so that the rounding of binary fractions does not show.

    >>> exact(0.005), exact(0.1 + 0.2), exact(-1e-7), exact(1234567.0)
    ('0.005', '0.3', '−1e-07', '1234567')
    """
    return f"{value + 0.0:.12g}".replace("-", "−", value < 0)


def ticks(values: Sequence[float], unit: str = "") -> list[str]:
    """The labels of an axis's ticks: each value exactly, all with as many decimals as one of them needs.

    >>> ticks([80.0, 82.5, 85.0], "%"), ticks([-1e-9, 2e-9])
    (['80.0%', '82.5%', '85.0%'], ['−1e-09', '2e-09'])
    """
    apart = min((abs(a - b) for a, b in itertools.pairwise(sorted(set(values)))), default=0.0)
    rounding = max(apart * 1e-6, max(map(abs, values), default=0.0) * 1e-12)
    for digits in range(MAX_TICK_DECIMALS + 1):
        if all(abs(round(value, digits) - value) <= rounding for value in values):
            texts = [f"{value:.{digits}f}" for value in values]
            if max(map(len, texts), default=0) <= MAX_TICK_LETTERS:
                texts = [text.lstrip("-") if float(text) == 0 else text.replace("-", "−") for text in texts]
                return [text + unit for text in texts]
    return [exact(value) + unit for value in values]


def digits_for(half: float) -> int:
    """Decimals of a percentage so that its interval shows one or two figures: from 1 to 3."""
    points = 100 * half
    return 1 if pd.isna(points) or points >= 0.1 else 2 if points >= 0.01 or not points else 3


def interval(row: Any, runs: str = "all") -> str:
    """A row's mean with its 95% interval; the mean alone where there is no interval.

    Of `all` runs, or of those that `trained`. The interval of a leader reaches further down than up.

    >>> interval({"mean_all": 0.912, "all_low": 0.909, "all_high": 0.915})
    '91.2% ± 0.3'
    >>> interval({"mean_all": 0.912, "all_low": 0.907, "all_high": 0.915})
    '91.2% +0.3 −0.5'
    """
    mean, above, below = interval_parts(row, runs)
    if not above:
        return f"{mean}%" if mean != "–" else mean
    return f"{mean}% ± {above}" if above == below else f"{mean}% +{above} −{below}"


def interval_parts(row: Any, runs: str = "all") -> tuple[str, str, str]:
    """A row's mean in percent, and how far its interval reaches up and down; without an interval two empty texts.

    >>> interval_parts({"mean_all": 0.912, "all_low": 0.907, "all_high": 0.915})
    ('91.2', '0.3', '0.5')
    """
    mean, low, high = row[f"mean_{runs}"], row[f"{runs}_low"], row[f"{runs}_high"]
    half = (high - low) / 2
    if pd.isna(mean) or pd.isna(half):
        return percent(mean).removesuffix("%"), "", ""
    if half > MAX_HALF_WIDTH:
        over = f"over {100 * MAX_HALF_WIDTH:.0f}"
        return percent(mean).removesuffix("%"), over, over
    symmetric = abs(high + low - 2 * mean) < 1e-9
    digits = digits_for(half if symmetric else min(high - mean, mean - low))
    up, down = (half, half) if symmetric else (high - mean, mean - low)
    above, below = (f"{100 * part:.{digits}f}" for part in (up, down))
    return percent(mean, digits).removesuffix("%"), above, below


def marked(row: Any) -> str:
    """`interval`, with a dagger where its own runs show that it covers less than its nominal level."""
    return interval(row) + ("†" if flag(row) else "")


def loss_interval(row: Any, runs: str = "all") -> str:
    """As `interval`, of a loss, with the number of runs that it is the mean of."""
    mean, half = loss_parts(row, runs)
    if mean == "–":
        return mean
    count = int(row["seeds"] - row["diverged" if runs == "all" else "failed"])
    return f"{mean} ± {half} ({plural(count, 'run')})" if half else f"{mean} ({plural(count, 'run')})"


def loss_parts(row: Any, runs: str = "all") -> tuple[str, str]:
    """A row's mean loss, and half the width of its interval; an empty text where there is none.

    A narrow interval has its first figure, up to seven decimals.

    >>> loss_parts({"mean_all": 0.31234, "all_low": 0.31, "all_high": 0.31468})
    ('0.3123', '0.0023')
    >>> loss_parts({"mean_all": 1.61803, "all_low": 1.61798, "all_high": 1.61808})
    ('1.61803', '0.00005')
    """
    mean = row[f"mean_{runs}"]
    if pd.isna(mean):
        return "–", ""
    half = (row[f"{runs}_high"] - row[f"{runs}_low"]) / 2
    if 0.001 <= abs(mean) < 1e6:
        digits = 4 if abs(mean) < 1 else 3 if abs(mean) < 100 else 0
        if 0 < half < 10**-digits:
            digits = min(7, math.ceil(-math.log10(half) - 1e-9))
        return f"{mean:,.{digits}f}", "" if pd.isna(half) else f"{half:,.{digits}f}"
    return f"{mean:.3g}", "" if pd.isna(half) else f"{half:.2g}"


def points(value: float, low: float, high: float) -> tuple[str, str]:
    """A difference of fractions in percentage points, and its interval.

    >>> points(0.032, 0.0291, 0.0349)
    ('3.20', '(2.91 to 3.49)')
    """
    if pd.isna(value):
        return "–", ""
    if pd.isna(low):
        return signed(value, 2), ""
    low, high = difference_ends(low, high)
    digits = 2 if high - low < 0.02 else 1
    while digits < 4 and any(signed(end, digits) == f"{0:.{digits}f}" for end in (low, high) if end):
        digits += 1  # on which side of zero an end lies is the point
    return signed(value, digits), f"({signed(low, digits)} to {signed(high, digits)})"


def difference_ends(low: Any, high: Any) -> tuple[Any, Any]:
    """The ends of the interval of a difference, or of many: no difference of accuracies is beyond 100 points."""
    return np.clip(low, -1.0, 1.0), np.clip(high, -1.0, 1.0)


def at_most(bound: float) -> str:
    """An upper bound in percentage points, rounded up.

    >>> at_most(0.00431), at_most(0.0), at_most(0.0312), at_most(1.7)
    ('0.44', '0.00', '3.2', '100')
    """
    if pd.isna(bound):
        return "–"
    if bound >= 1:  # no accuracy is further away
        return "100"
    digits = 2 if bound < 0.02 else 1
    return f"{math.ceil(100 * bound * 10**digits - 1e-9) / 10**digits:.{digits}f}"


def in_points(value: float) -> str:
    """A number of percentage points with its unit.

    >>> in_points(0.2), in_points(1.0)
    ('0.2 points', '1 point')
    """
    return f"{value:g} {'point' if value == 1 else 'points'}"


def whole(count: float) -> str:
    """A number of seeds; a dash where it is not known, and "> 1,000" beyond that.

    >>> whole(12.0), whole(1001.0), whole(float("inf"))
    ('12', '> 1,000', '> 1,000')
    """
    if pd.isna(count):
        return "–"
    return f"{count:,.0f}" if count <= MAX_SHOWN_SEEDS else f"> {MAX_SHOWN_SEEDS:,}"


def about(count: float) -> str:
    """An estimated number of seeds in a sentence.

    >>> about(51.0), about(3400.0)
    ('about 51', 'more than 1,000')
    """
    return f"about {count:,.0f}" if count <= MAX_SHOWN_SEEDS else f"more than {MAX_SHOWN_SEEDS:,}"


def signed(value: float, digits: int) -> str:
    """A fraction as points, with a true minus sign, and never minus zero.

    >>> signed(-0.0321, 1), signed(-0.000001, 1)
    ('−3.2', '0.0')
    """
    text = f"{100 * value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def plural(count: int, noun: str) -> str:
    """A count with its noun: `1 seed`, `1,000 seeds`."""
    many = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else many}"


def listed(names: Sequence[str]) -> str:
    """Words joined as a sentence does: `a, b and c`."""
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def uncapitalized(sentence: str) -> str:
    """A sentence as it goes on after a colon."""
    return sentence[0].lower() + sentence[1:]


def capitalized(text: str) -> str:
    """A string with its first letter in upper case.

    >>> capitalized("mean of x")
    'Mean of x'
    """
    return text[:1].upper() + text[1:]


def difference(row: Any, column: str) -> str:
    """The difference in the columns `what`, `what`_low and `what`_high as `points` has it, in one text."""
    return " ".join(points(row[column], row[f"{column}_low"], row[f"{column}_high"])).strip()


def p_value(p: float) -> str:
    """A p-value.

    >>> p_value(0.0312), p_value(0.00001), p_value(float("nan"))
    ('0.031', 'below 0.001', '–')
    """
    return "–" if pd.isna(p) else "below 0.001" if p < 0.001 else f"{p:.2g}"


def share_reached(row: Any) -> str:
    """The share of the runs that come near the leader, with its interval."""
    if pd.isna(row["share_reached"]):
        return "–"
    ends = (percent(row[f"share_{end}"], 0) for end in ("reached", "low", "high"))
    return "{} ({} to {})".format(*ends)


def failure_interval(row: Any) -> str:
    """The 95% interval of a failure rate, in parentheses."""
    return f"({percent(row['failed_low'], 0)} to {percent(row['failed_high'], 0)})"


def epochs(row: Any) -> tuple[str, str]:
    """The median number of epochs to come near the leader, and how many of the runs did, where that is known.

    >>> epochs({"median": 3.0, "reached": 4, "seeds": 5, "share_reached": 0.8})
    ('3', '(4 of 5)')
    >>> epochs({"median": float("nan"), "reached": 0, "seeds": 5, "share_reached": float("nan")})
    ('–', '')
    """
    if pd.isna(row["share_reached"]):
        return "–", ""
    return "–" if pd.isna(row["median"]) else f"{row['median']:.0f}", f"({int(row['reached'])} of {int(row['seeds'])})"


def flag(row: Any) -> str:
    """Explain why an interval covers less than 95%; an empty string where its own runs do not show that."""
    if row["flag"] == "mixed":
        return f"some seeds failed and others did not: coverage at most about {percent(row['coverage'], 0)}"
    if row["flag"] == "plateau":
        return f"some seeds end far below the others: coverage at most about {percent(row['coverage'], 0)}"
    if row["flag"] == "skewed":
        return f"accuracies skewed across seeds: coverage about {percent(row['coverage'], 0)}"
    return "all seeds have the same accuracy: the interval is uninformative" if row["flag"] == "equal" else ""
