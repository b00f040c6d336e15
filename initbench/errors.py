"""The user's mistakes: one line each, with where, what was given, what is allowed, and the nearest valid name."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache

# A message has so many lines at most, and a line so many signs: what is wrong may be a file of megabytes.
MAX_LINES, MAX_LINE_LENGTH = 100, 2000


class UserError(Exception):
    """What the user can mend: a list of lines, with exit status 2 and no traceback.

    They are shown as they are, `printable`; of very many the first, and how many more.
    """

    def __init__(self, *lines: str) -> None:
        told = [printable(line) for line in lines[:MAX_LINES]]
        if len(lines) > MAX_LINES:
            told.append(f"and {len(lines) - MAX_LINES:,} more mistakes")
        super().__init__("\n".join(told))
        self.lines = tuple(told)


class CannotWrite(OSError):  # noqa: N818
    """A file of a run cannot be written: the disk is full, or read-only, or not there any more."""


class WorkerDied(Exception):  # noqa: N818
    """A worker process ended in the middle of its work; the message says how, and the last that it printed.

    `memory` is whether the system most likely ended it because memory was short.
    """

    def __init__(self, message: str, memory: bool = False) -> None:
        super().__init__(message)
        self.memory = memory


def printable(text: str, limit: int = MAX_LINE_LENGTH) -> str:
    """A text as one line that a terminal shows and does not obey: what is no printable sign is written as its escape.

    >>> printable("a\\tb\\x1b[2J")
    'a\\\\tb\\\\x1b[2J'
    """
    told = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text[: limit + 1])
    return told if len(told) <= limit else told[: limit - 1] + "…"


def shown(value: object, limit: int = 80) -> str:
    """How a value that the user gave is quoted in a message: its repr, on one line, cut to `limit` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python does not write out a whole number of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= limit else text[: limit - 1] + "…"


# What other libraries, and people, call things that have another name here.
SYNONYMS = {
    "kaiming": "he_normal",
    "kaiming_normal": "he_normal",
    "kaiming_uniform": "he_uniform",
    "xavier": "glorot_normal",
    "xavier_normal": "glorot_normal",
    "xavier_uniform": "glorot_uniform",
    "henormal": "he_truncated_normal",  # Keras'
    "glorotnormal": "glorot_truncated_normal",
    "lecunnormal": "lecun_truncated_normal",
    "gaussian": "normal",
    "random_normal": "normal",
    "random_uniform": "uniform",
    "trunc_normal": "truncated_normal",
    "default": "torch_linear_default",
    "swish": "silu",
    "linear": "identity",
    "logistic": "sigmoid",
    "ce": "cross_entropy",
    "l1": "mae",
    "l2": "mse",
    "multi_margin": "hinge",
    "lr": "learning_rate",
    "layers": "hidden",
    "widths": "hidden",
    "seeds": "seed",
    "stddev": "std",
    "minval": "low",
    "maxval": "high",
    "mlp": "perceptron",
}


def nearest(given: object, allowed: Iterable[str]) -> str:
    """The end of a message that names the valid word closest to what was given, or nothing.

    >>> nearest("he_norml", ["he_normal", "he_uniform", "zeros"])
    "; did you mean 'he_normal'?"
    >>> nearest("kaiming", ["he_normal", "zeros"])
    "; did you mean 'he_normal'?"
    >>> nearest("qqq", ["zeros"])
    ''
    """
    return _nearest(str(given)[:100].lower().rstrip("_"), tuple(allowed))


@lru_cache(maxsize=1024)  # a mistake may be made in thousands of values
def _nearest(word: str, names: tuple[str, ...]) -> str:
    found = [SYNONYMS[word]] if SYNONYMS.get(word) in names else get_close_matches(word, names, n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""
