"""Errors for users: one line per mistake, with its location, the value, what is allowed and the nearest valid name."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache

# The most lines of a message, and characters of a line: an invalid file may have megabytes.
MAX_LINES, MAX_LINE_LENGTH = 100, 2000


class UserError(Exception):
    """A mistake that the user can correct: a list of lines, shown without a traceback; exit status 2.

    Lines are made `printable`. Of more than `MAX_LINES`, the first are kept, and a line states how many more there are.
    """

    def __init__(self, *lines: str) -> None:
        printed = [printable(line) for line in lines[:MAX_LINES]]
        if len(lines) > MAX_LINES:
            printed.append(f"and {len(lines) - MAX_LINES:,} more mistakes")
        super().__init__("\n".join(printed))
        self.lines = tuple(printed)

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of the traceback: the lines alone."""
        return [f"{type(self).__name__}: {line}" for line in self.lines]


class PluginError(UserError, ValueError):
    """A plugin's code fails, or a function of it returns what it must not: one line with its own file and the reason.

    Before training it is the user's mistake; in a worker it fails the cells that need the plugin, and no others.
    """


class CannotWrite(OSError):  # noqa: N818
    """A file of an experiment cannot be written: the disk is full, read-only, or gone."""


class WorkerDied(Exception):  # noqa: N818
    """A worker process died during its work; the message states how, with the last lines that it printed.

    `memory` is whether the system most likely killed it because memory ran out.
    """

    def __init__(self, message: str, memory: bool = False) -> None:
        super().__init__(message)
        self.memory = memory


def printable(text: str, limit: int = MAX_LINE_LENGTH) -> str:
    """Return a string as one line, at most `limit` long, in which every unprintable character is escaped.

    A terminal shows such a line and executes nothing in it.

    >>> printable("a\\tb\\x1b[2J")
    'a\\\\tb\\\\x1b[2J'
    """
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shown(value: object, limit: int = 80) -> str:
    """Return a value as messages quote it: its repr, cut to `limit` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python does not print an integer of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= limit else text[: limit - 1] + "…"


# Names in other libraries, and common names, of what has another name here.
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


def shape_text(shape: Iterable[int]) -> str:
    """Return a shape for messages, pages and tables.

    >>> shape_text((5, 5, 1, 6))
    '5 × 5 × 1 × 6'
    """
    return " × ".join(map(str, shape))


def nearest(value: object, allowed: Iterable[str]) -> str:
    """Return the end of a message that names the valid word closest to a value, or nothing.

    >>> nearest("he_norml", ["he_normal", "he_uniform", "zeros"])
    "; did you mean 'he_normal'?"
    >>> nearest("kaiming", ["he_normal", "zeros"])
    "; did you mean 'he_normal'?"
    >>> nearest("qqq", ["zeros"])
    ''
    """
    return _nearest(str(value)[:100].lower().rstrip("_"), tuple(allowed))


@lru_cache(maxsize=1024)  # thousands of values may have the same mistake
def _nearest(word: str, names: tuple[str, ...]) -> str:
    matches = [SYNONYMS[word]] if SYNONYMS.get(word) in names else get_close_matches(word, names, n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""
