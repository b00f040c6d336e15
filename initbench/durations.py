"""Times as people say them: `45 s`, `1 h 20 min`; for the terminal, messages and the report."""

# Each unit with its seconds, the largest first, and the smaller unit that is given with it.
UNITS = (("day", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))


def duration(seconds: float) -> str:
    """Format a time: its largest unit, and up to nine of it the next one; below ten seconds in two figures.

    >>> duration(0.0123), duration(4.56), duration(45.2), duration(180), duration(200)
    ('0.012 s', '4.6 s', '45 s', '3 min', '3 min 20 s')
    >>> duration(1500), duration(4800), duration(10842), duration(50000), duration(86400), duration(183600)
    ('25 min', '1 h 20 min', '3 h 1 min', '14 h', '1 day', '2 days 3 h')
    """
    for unit, size, smaller, part in UNITS:
        count, rest = divmod(round(seconds / part), size // part)
        if count > 9:
            return _counted(round(seconds / size), unit)
        if count:
            return _counted(count, unit) + (f" {rest} {smaller}" if rest else "")
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def _counted(count: int, unit: str) -> str:
    return f"{count:,} {unit}" + "s" * (unit == "day" and count > 1)
