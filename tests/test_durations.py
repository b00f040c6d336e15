"""Times as people say them are near the truth, short, and never go down as time goes up."""

import re

import numpy as np
import pytest

from initbench.durations import duration

SECONDS = {"s": 1, "min": 60, "h": 3600, "day": 86400, "days": 86400}


def parsed(text):
    return sum(float(count.replace(",", "")) * SECONDS[unit] for count, unit in re.findall(r"([\d.,e-]+) (\w+)", text))


TIMES = np.exp(np.linspace(np.log(1e-4), np.log(1e9), 20_000))


def test_a_time_is_rounded_by_at_most_five_percent():
    rounded = np.array([parsed(duration(seconds)) for seconds in TIMES])
    assert np.abs(rounded / TIMES - 1).max() < 0.0501
    assert (np.diff(rounded) >= 0).all()


def test_a_time_has_at_most_two_units_and_no_zero():
    for seconds in TIMES:
        parts = re.findall(r"[\d.,e-]+ [a-z]+", duration(seconds))
        assert " ".join(parts) == duration(seconds)
        assert len(parts) <= 2
        assert len(parts) == 1 or not any(part.startswith("0 ") for part in parts)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"), (61, "1 min 1 s"), (599.6, "10 min"),
        (3569, "59 min"), (3599, "1 h"), (10842, "3 h 1 min"), (35990, "10 h"), (86399, "1 day"),
        (90000, "1 day 1 h"), (864000, "10 days"), (86400 * 1234, "1,234 days"),
    ],
)  # fmt: skip
def test_the_units_change_where_a_count_would_be_rounded_up_to_the_next(seconds, text):
    assert duration(seconds) == text
