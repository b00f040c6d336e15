"""Named things with typed parameters: the mechanism behind initializers, activations, losses and optimizers.

A catalogue holds plain functions. A function's keyword-only arguments are its parameters; its annotations and
defaults are what the grid file may say; the first line of its docstring is its summary. A `Choice` is a name with
every parameter settled, and its string, `uniform(low=-0.2, high=0.2)`, is what stands in tables: parameters that
keep their default are left out, so that a parameter added later does not rename what was there before; all but the
scale of a sampler, without which its name says little.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, Generic, Literal, Protocol, TypeVar, cast, get_args, get_origin

from initbench.errors import nearest, shown

Function = TypeVar("Function", bound=Callable[..., Any])
Own = TypeVar("Own", bound=Callable[..., Any])


class Decorator(Protocol):
    """Puts a function in a catalogue and leaves it as it is."""

    def __call__(self, function: Own, /) -> Own:
        """The function itself."""


# Arguments that the program supplies, never the grid file.
SUPPLIED = frozenset({"shape", "seed", "dtype", "fan_in", "activation", "place", "depth", "learning_rate"})

# Parameters that a canonical string says even where they keep their default.
ALWAYS_SHOWN = frozenset({"std", "low", "high", "value"})

# A message that lists what is allowed lists up to so many names.
MAX_NAMES = 24


@dataclass(frozen=True)
class Fit:
    """Which shapes an entry is for: in words, as a test of a shape, and a small one that fits."""

    words: str
    test: Callable[[Any], bool]
    example: tuple[int, ...] = (2, 2)


ANY_SHAPE = Fit("any shape", lambda shape: True)


@dataclass(frozen=True)
class Parameter:
    """One keyword of a catalogued function: its name, its kind (float, int or str), its default, its choices."""

    name: str
    kind: type
    default: Any
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        if self.choices:
            return "one of " + ", ".join(map(repr, self.choices))
        return "a whole number" if self.kind is int else "a finite number"

    def convert(self, value: object) -> Any:
        """The value as the function takes it; ValueError says what is allowed."""
        if self.choices:
            if isinstance(value, str) and value in self.choices:
                return value
            raise ValueError(f"{self.name} = {shown(value)}; allowed: {self.allowed}{nearest(value, self.choices)}")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # A NaN is not below anything; and denormal numbers, which are flushed to zero in training, are none.
        finite = number and (value == 0 or sys.float_info.min <= abs(value) < sys.float_info.max)  # type: ignore[arg-type]
        if not finite or (self.kind is int and value != int(value)):  # type: ignore[call-overload]
            raise ValueError(f"{self.name} = {shown(value)}; allowed: {self.allowed}")
        return self.kind(value) + self.kind(0)  # the sum makes -0.0 the same as 0.0


def documentation(thing: Callable[..., Any] | ModuleType) -> str:
    """The docstring of a function or a module. `python -OO` drops docstrings; then it is read from the source."""
    if text := inspect.getdoc(thing):
        return text
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):  # there is no source
        return ""
    definition = tree.body[0] if tree.body and not isinstance(thing, ModuleType) else tree
    return ast.get_docstring(definition) or ""  # type: ignore[arg-type]


@dataclass(frozen=True)
class Entry(Generic[Function]):
    """A catalogued function, with what its signature and docstring say."""

    name: str
    function: Function
    parameters: tuple[Parameter, ...]
    tags: frozenset[str]
    supplied: frozenset[str]  # which of SUPPLIED it takes
    fit: Fit = ANY_SHAPE

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return documentation(self.function).partition("\n")[0]

    @property
    def signature(self) -> str:
        """The name with its parameters and their defaults, as the grid file may write it."""
        inner = ", ".join(f"{p.name}={p.default!r}" for p in self.parameters)
        return f"{self.name}({inner})" if inner else self.name


@dataclass(frozen=True)
class Choice:
    """A name with all its parameters settled. Its string is canonical: equal choices have equal strings."""

    name: str
    arguments: tuple[tuple[str, Any], ...]
    defaults: tuple[Any, ...]

    @property
    def keywords(self) -> dict[str, Any]:
        """The parameters as keyword arguments."""
        return dict(self.arguments)

    def __str__(self) -> str:
        pairs = zip(self.arguments, self.defaults, strict=True)
        shown_pairs = [(name, value) for (name, value), default in pairs if value != default or name in ALWAYS_SHOWN]
        inner = ", ".join(f"{name}={value!r}" for name, value in shown_pairs)
        return f"{self.name}({inner})" if inner else self.name


class Registry(Mapping[str, Entry[Function]]):
    """The functions of one kind, by name, in the order in which they were written."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry[Function]] = {}

    def __getitem__(self, name: str) -> Entry[Function]:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, *tags: str, fit: Fit = ANY_SHAPE) -> Decorator:
        """Put the decorated function in the catalogue under its own name."""

        def register(function: Own, /) -> Own:
            keywords = inspect.signature(function).parameters
            parameters = tuple(
                _parameter(p) for p in keywords.values() if p.kind is p.KEYWORD_ONLY and p.name not in SUPPLIED
            )
            name = function.__name__
            supplied = SUPPLIED & set(keywords)
            self._entries[name] = Entry(name, cast(Function, function), parameters, frozenset(tags), supplied, fit)
            return function

        return register

    @cached_property
    def article(self) -> str:
        """The kind with its indefinite article."""
        return ("an " if self.kind[0] in "aeiou" else "a ") + self.kind

    def resolve(self, given: object, only: str = "", also: str = "") -> Choice:
        """The choice that the user named: `"zeros"`, `{"name": "normal", "std": 0.2}`, or `"normal(std=0.2)"`.

        Parameters
        ----------
        given
            A name, a table with the key `name`, or a canonical string.
        only
            If given, a tag that the entry must have (`"bias"` for bias initializers).
        also
            If given, a word that the caller takes beside the names, for the message.

        Raises
        ------
        ValueError
            With one line that says what was given, what is allowed, and the nearest valid name.
        """
        name, arguments = _name_and_arguments(given, self.article)
        names = [n for n, e in self._entries.items() if not only or only in e.tags]
        if name not in names:
            names += [also] * bool(also)
            allowed = ", ".join(names) if len(names) <= MAX_NAMES else f"what `initbench list {self.kind}s` names"
            what = f"{only} {self.kind}" if only else self.kind
            told = f"{name} is no {what}" if name in self._entries else f"no {what} is called {shown(name)}"
            raise ValueError(f"{told}; allowed: {allowed}{nearest(name, names)}")
        entry = self._entries[name]
        known = {p.name: p for p in entry.parameters}
        for key in arguments:
            if key not in known:
                takes = f"takes {', '.join(known)}" if known else "takes no parameters"
                raise ValueError(f"{name} has no parameter {shown(key)}; it {takes}{nearest(key, known)}")
        try:
            settled = tuple((k, p.convert(arguments.get(k, p.default))) for k, p in known.items())
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        return Choice(name, settled, tuple(p.default for p in entry.parameters))

    def call(self, choice: str, *positional: Any, **supplied: Any) -> Any:
        """Call the function that a canonical string names, with its parameters and what it takes of `supplied`."""
        settled = self.resolve(choice)
        entry = self._entries[settled.name]
        taken = {key: value for key, value in supplied.items() if key in entry.supplied}
        return entry.function(*positional, **settled.keywords, **taken)


def _parameter(p: inspect.Parameter) -> Parameter:
    if get_origin(p.annotation) is Literal:
        return Parameter(p.name, str, p.default, get_args(p.annotation))
    return Parameter(p.name, p.annotation, p.default)


def _name_and_arguments(given: object, article: str) -> tuple[str, dict[str, object]]:
    form = f"{article} is a name, or a table such as {{ name = …, parameter = … }}"
    if isinstance(given, Mapping):
        arguments = {str(k): v for k, v in given.items()}
        name = arguments.pop("name", None)
        if not isinstance(name, str):
            raise ValueError(f"given {shown(dict(given))} without a name; {form}")
        return name, arguments
    if not isinstance(given, str):
        raise ValueError(f"given {shown(given)}; {form}")
    name, parenthesis, _ = given.partition("(")
    if not parenthesis:
        return given, {}
    try:
        name, named = parsed_call(given)
        return name, {key: _literal(value) for key, value in named.items()}
    except ValueError:
        raise ValueError(f"given {shown(given)}; {form}, or a string such as 'name(parameter=1.0)'") from None


# A call as it is written in tables: names, numbers, texts in quotes, and as a value another call that holds no third.
_CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
_ARGUMENT = re.compile(r"""\s*(\w+)\s*=\s*('[^']*'|"[^"]*"|[^\s,()'"=]+(?:\([^()]*\))?)\s*(?:,|$)""")


def parsed_call(text: str) -> tuple[str, dict[str, str]]:
    """The name and the arguments, as text, of a string such as `name(parameter=1.0)`; ValueError of any other.

    It is read here and not by Python's own parser: what it is given may come with a stranger's results.

    >>> parsed_call("per_layer(first=zeros, hidden=normal(std=0.1))")
    ('per_layer', {'first': 'zeros', 'hidden': 'normal(std=0.1)'})
    """
    call = _CALL.fullmatch(text)
    if not call:
        raise ValueError(text)
    inside, at = call[2].rstrip(), 0
    named: dict[str, str] = {}
    while at < len(inside):
        argument = _ARGUMENT.match(inside, at)
        if not argument or argument[1] in named:  # or one that is given twice
            raise ValueError(text)
        named[argument[1]] = argument[2]
        at = argument.end()
    return call[1], named


def _literal(text: str) -> int | float | str:
    """A number, or a text in quotes; ValueError of anything else."""
    if text[0] in "'\"":
        return text[1:-1]
    try:
        return int(text)
    except ValueError:
        return float(text)
