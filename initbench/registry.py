"""Named functions with typed parameters: the mechanism behind initializers, activations, losses and optimizers.

A registry holds a record of each function of one kind. A function's keyword-only arguments are its parameters; its
annotations and defaults are what the grid file may set; the first line of its docstring is its summary. A `Call` is a
name with the values of all parameters. Its string, `uniform(low=-0.2, high=0.2)`, is canonical and stands in tables:
parameters that keep their default are left out, so that a parameter added later does not rename existing calls; except
the scale of a sampler, without which its name is ambiguous.

The name of a plugin's function carries a digest of its code, `scaled_orthogonal@` and 20 hexadecimal digits. A grid
file may use it without the digest while `naming` says what it means. A name with a digest whose code is not loaded is
valid, too: it comes from stored results, which are read without the code.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType, ModuleType
from typing import Any, Literal, Protocol, TypeVar, get_args, get_origin

from initbench.errors import nearest, shown

Function = TypeVar("Function", bound=Callable[..., Any])
Record = TypeVar("Record", bound="Entry")


class Decorator(Protocol):
    """Adds a function to a registry and returns it unchanged."""

    def __call__(self, function: Function, /) -> Function:
        """Return the function itself."""


# Arguments that the program supplies, never the grid file.
SUPPLIED = frozenset({"shape", "seed", "dtype", "fan_in", "activation", "position", "depth", "learning_rate"})

# Parameters that a canonical string includes even where they keep their default.
ALWAYS_SHOWN = frozenset({"std", "low", "high", "value"})

# A message lists at most this many allowed names.
MAX_NAMES = 24

# The name of a plugin's function, with the digest of its code; people are shown the first digits of it.
DIGEST_DIGITS, SHOWN_DIGITS = 20, 6
OWN_NAME = re.compile(rf"([A-Za-z_]\w*)@([0-9a-f]{{{DIGEST_DIGITS}}})(?![0-9a-zA-Z_@])", re.ASCII)


def digests_in(*texts: str) -> set[str]:
    """Return the digests of the plugins whose functions are named in canonical strings.

    >>> digests_in("he_normal", "mine@0123456789abcdef0123(gain=1.3)")
    {'0123456789abcdef0123'}
    """
    return {digest for text in texts if "@" in text for _, digest in OWN_NAME.findall(text)}


def own_names_in(*texts: str) -> set[str]:
    """Return the full names of the plugins' functions that canonical strings name, without their parameters.

    >>> own_names_in("he_normal", "mine@0123456789abcdef0123(gain=1.3)")
    {'mine@0123456789abcdef0123'}
    """
    return {name[0] for text in texts if "@" in text for name in OWN_NAME.finditer(text)}


def shorten_digests(text: str, digits: int = SHOWN_DIGITS) -> str:
    """Return a string in which the digests of plugins are shortened to their first digits, as people are shown them.

    >>> shorten_digests("per_layer(first=mine@0123456789abcdef0123(gain=1.3), hidden=ones, last=ones)")
    'per_layer(first=mine@012345(gain=1.3), hidden=ones, last=ones)'
    """
    return OWN_NAME.sub(lambda name: f"{name[1]}@{name[2][:digits]}", text) if "@" in text else text


_named: ContextVar[Mapping[tuple[str, str], str]] = ContextVar("named", default=MappingProxyType({}))


@contextmanager
def naming(full_names: Mapping[tuple[str, str], str]) -> Iterator[None]:
    """Within it, plugins' functions are known by their short names: `full_names` has them by kind and short name."""
    token = _named.set({**_named.get(), **full_names})
    try:
        yield
    finally:
        _named.reset(token)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a registered function: its name, kind (float, int, bool or str), default, and choices, if any."""

    name: str
    kind: type
    default: Any
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        if self.choices:
            return "one of " + ", ".join(map(repr, self.choices))
        if self.kind is bool:
            return "true or false"
        return "an integer" if self.kind is int else "a finite number"

    def convert(self, value: object) -> Any:
        """Return the value as the function takes it; ValueError names the allowed values."""
        if self.choices:
            if isinstance(value, str) and value in self.choices:
                return value
            raise ValueError(f"{self.name} = {shown(value)}; allowed: {self.allowed}{nearest(value, self.choices)}")
        if self.kind is bool:
            if isinstance(value, bool):
                return value
            raise ValueError(f"{self.name} = {shown(value)}; allowed: {self.allowed}")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # NaN fails the comparison; denormal numbers, which training flushes to zero, are refused.
        finite = number and (value == 0 or sys.float_info.min <= abs(value) < sys.float_info.max)  # type: ignore[arg-type]
        if not finite or (self.kind is int and value != int(value)):  # type: ignore[call-overload]
            hint = "; for several values write a table for each" * isinstance(value, list)
            raise ValueError(f"{self.name} = {shown(value)}; allowed: {self.allowed}{hint}")
        return self.kind(value) + self.kind(0)  # the sum makes -0.0 the same as 0.0


def documentation(thing: Callable[..., Any] | ModuleType) -> str:
    """Return the docstring of a function or a module, from the source where `python -OO` has dropped it."""
    if text := inspect.getdoc(thing):
        return text
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    except (OSError, TypeError, SyntaxError):  # there is no source
        return ""
    definition = tree.body[0] if tree.body and not isinstance(thing, ModuleType) else tree
    return ast.get_docstring(definition) or ""  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A record: a registered function, and what its signature and docstring say. Each kind adds fields of its own."""

    name: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    tags: frozenset[str]
    supplied: frozenset[str]  # the arguments of SUPPLIED that it takes
    is_described: bool = False  # whether it only describes a plugin's function, which another process executes

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return documentation(self.function).partition("\n")[0]

    @property
    def signature(self) -> str:
        """The name with its parameters and their defaults, as a grid file may write it."""
        return _signature(self.name, self.parameters)


@dataclass(frozen=True)
class Alias:
    """Another library's name of a record: the record itself, or with other parameters than the defaults another call.

    `spelling` takes the parameters and returns that call as a table, with the key `name`.
    """

    name: str
    canonical: str
    parameters: tuple[Parameter, ...]
    spelling: Callable[..., Mapping[str, object]]

    @property
    def signature(self) -> str:
        """The name with its parameters and their defaults, as a grid file may write it."""
        return _signature(self.name, self.parameters)


@dataclass(frozen=True)
class Call:
    """A name with the values of all its parameters. Its string is canonical: equal calls have equal strings."""

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


class Registry(Mapping[str, Record]):
    """The functions of one kind, by name, in the order of their definitions; `record` is the class of their records.

    Iteration yields initbench's own. Those of plugins are found by their full names, too.
    """

    def __init__(self, kind: str, record: type[Record], own_form: str = "") -> None:
        self.kind, self.own_form = kind, own_form  # how messages say that a user's function may be named
        self.record = record
        self._entries: dict[str, Record] = {}
        self._of_plugins: dict[str, Record] = {}
        self.aliases: dict[str, Alias] = {}

    def __getitem__(self, name: str) -> Record:
        return self._of_plugins[name] if "@" in name else self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def register(self, *tags: str, **fields: Any) -> Decorator:
        """Register the decorated function under its own name; `fields` are those that its kind's record adds.

        Raises ValueError for a name that is registered already, and TypeError for a missing or unknown field.
        """

        def add(function: Function, /) -> Function:
            name, keywords = function.__name__, inspect.signature(function).parameters
            self._require_new(name)
            self._entries[name] = self.record(
                name=name,
                function=function,
                parameters=_parameters(function),
                tags=frozenset(tags),
                supplied=SUPPLIED & set(keywords),
                **fields,
            )
            return function

        return add

    def of_plugins(self, name: str) -> list[str]:
        """Return the full names of the plugins' functions of this short name, the newest last."""
        return [full for full in self._of_plugins if full.partition("@")[0] == name]

    def names_own(self, value: object) -> bool:
        """Return whether a value of a grid file names a plugin's function, in any form."""
        name = value.get("name") if isinstance(value, Mapping) else value
        short = name.partition("(")[0].strip() if isinstance(name, str) else ""
        return bool(OWN_NAME.fullmatch(short)) or (self.kind, short) in _named.get()

    def add(self, record: Record) -> None:
        """Add the record of a plugin's function, whose name carries the digest of its code."""
        self._of_plugins[record.name] = record

    def _require_new(self, name: str) -> None:
        if name in self._entries or name in self.aliases:
            raise ValueError(f"{self.article} is registered as {name} already; use another name")

    def alias(self, canonical: str, spelling: Callable[..., Mapping[str, object]]) -> Decorator:
        """Register the decorated function's name as an alias of `canonical`: see `Alias`."""

        def add(function: Function, /) -> Function:
            name = function.__name__
            self._require_new(name)
            self.aliases[name] = Alias(name, canonical, _parameters(function), spelling)
            return function

        return add

    def aliases_of(self, canonical: str, only: str = "") -> list[Alias]:
        """Return the aliases of a record, or of all records with the tag `only` if `canonical` is empty."""
        return [
            alias
            for alias in self.aliases.values()
            if canonical in ("", alias.canonical) and (not only or only in self._entries[alias.canonical].tags)
        ]

    @cached_property
    def article(self) -> str:
        """The kind with its indefinite article."""
        return _with_article(self.kind)

    def resolve(self, value: object, only: str = "", also: str = "") -> Call:
        """Return the name and parameters in `"zeros"`, `{"name": "normal", "std": 0.2}` or `"normal(std=0.2)"`.

        Parameters
        ----------
        value
            A name, a table with the key `name`, or a canonical string.
        only
            A tag that the record must have (`"bias"` for bias initializers); default any.
        also
            A further word that the caller accepts, such as `"same"`: only the error message lists it; default none.

        Raises
        ------
        ValueError
            With one line: the value, what is allowed, and the nearest valid name.
        """
        name, arguments = _name_and_arguments(value, self.article)
        short_names = {short: full for (kind, short), full in _named.get().items() if kind == self.kind}
        name = short_names.get(name, name)
        if OWN_NAME.fullmatch(name):
            return self._call_of_plugin(name, arguments, only)
        if alias := self.aliases.get(name):
            parameters = _converted(alias, arguments)
            try:
                spelled = alias.spelling(**parameters)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            return self.resolve(alias.canonical if spelled == alias.spelling() else spelled, only, also)
        names = [n for n, e in self._entries.items() if not only or only in e.tags]
        if name not in names:
            names += [*[also] * bool(also), *short_names]
            if len(names) <= MAX_NAMES:
                allowed = ", ".join(names)
            else:
                listed = f"the names in `initbench list {self.kind}s`"
                allowed = ", ".join([*list(short_names)[: MAX_NAMES - 1], listed])
            kind = f"{only} {self.kind}" if only else self.kind
            registered = name in self._entries
            problem = f"{name} is not {_with_article(kind)}" if registered else f"unknown {kind} {shown(name)}"
            digest = f"; after @ are the {DIGEST_DIGITS} digits of a digest, as the report has them" * ("@" in name)
            raise ValueError(
                f"{problem}; allowed: {allowed}{f', or {self.own_form}' * bool(self.own_form)}{digest}"
                f"{nearest(name, [*names, *(alias.name for alias in self.aliases_of('', only))])}"
            )
        return _call(self._entries[name], arguments)

    def _call_of_plugin(self, name: str, arguments: Mapping[str, object], only: str) -> Call:
        """Return the call of a plugin's function; one whose code is not loaded takes any parameters."""
        if name not in self._of_plugins:
            return Call(name, tuple(arguments.items()), (None,) * len(arguments))
        entry = self._of_plugins[name]
        if only and only not in entry.tags:
            raise ValueError(f"{shorten_digests(name)} is not {_with_article(f'{only} {self.kind}')}")
        return _call(entry, arguments)

    def lookup(self, canonical: str) -> tuple[Record, dict[str, Any]]:
        """Return the record that a canonical string names, and its parameters as keyword arguments."""
        call = self.resolve(canonical)
        return self[call.name], call.keywords

    def call(self, canonical: str, *positional: Any, **supplied: Any) -> Any:
        """Call the function that a canonical string names, with its parameters and what it takes of `supplied`."""
        record, parameters = self.lookup(canonical)
        accepted = {key: value for key, value in supplied.items() if key in record.supplied}
        return record.function(*positional, **parameters, **accepted)


def _with_article(noun: str) -> str:
    noun = noun.replace("dataset", "data set")
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def _call(entry: Entry, arguments: Mapping[str, object]) -> Call:
    return Call(entry.name, tuple(_converted(entry, arguments).items()), tuple(p.default for p in entry.parameters))


def _converted(entry: Entry | Alias, arguments: Mapping[str, object]) -> dict[str, Any]:
    """Return all parameters, as the function takes them; ValueError, with the name, for one that is invalid."""
    parameters, name = {p.name: p for p in entry.parameters}, shorten_digests(entry.name)
    for key in arguments:
        if key not in parameters:
            takes = f"takes {', '.join(parameters)}" if parameters else "takes no parameters"
            raise ValueError(f"{name} has no parameter {shown(key)}; it {takes}{nearest(key, parameters)}")
    try:
        return {key: p.convert(arguments.get(key, p.default)) for key, p in parameters.items()}
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _signature(name: str, parameters: Iterable[Parameter]) -> str:
    inner = ", ".join(f"{p.name}={p.default!r}" for p in parameters)
    return f"{name}({inner})" if inner else name


def _parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the parameters of a function that the grid file may set."""
    keywords = inspect.signature(function).parameters.values()
    return tuple(_parameter(p) for p in keywords if p.kind is p.KEYWORD_ONLY and p.name not in SUPPLIED)


def _parameter(p: inspect.Parameter) -> Parameter:
    if get_origin(p.annotation) is Literal:
        return Parameter(p.name, str, p.default, get_args(p.annotation))
    return Parameter(p.name, p.annotation, p.default)


def _name_and_arguments(value: object, article: str) -> tuple[str, dict[str, object]]:
    form = f"{article} is a name, or a table such as {{ name = …, parameter = … }}"
    if isinstance(value, Mapping):
        arguments = {str(k): v for k, v in value.items()}
        name = arguments.pop("name", None)
        if not isinstance(name, str):
            raise ValueError(f"given {shown(dict(value))} without a name; {form}")
        return name, arguments
    if not isinstance(value, str):
        raise ValueError(f"given {shown(value)}; {form}")
    if "(" not in value:
        return value, {}
    try:
        name, strings = parsed_call(value)
        return name, {key: _literal(string) for key, string in strings.items()}
    except ValueError:
        raise ValueError(f"given {shown(value)}; {form}, or a string such as 'name(parameter=1.0)'") from None


# A call as tables write it: names, numbers, quoted strings, and as a value another call whose values are no calls.
_CALL = re.compile(r"\s*([\w@]+)\s*\((.*)\)\s*", re.DOTALL)
_ARGUMENT = re.compile(r"""\s*(\w+)\s*=\s*('[^']*'|"[^"]*"|[^\s,()'"=]+(?:\([^()]*\))?)\s*(?:,|$)""")


def parsed_call(text: str) -> tuple[str, dict[str, str]]:
    """Return the name and the arguments, as strings, of a string such as `name(parameter=1.0)`; ValueError of others.

    Python's own parser is not used: the string may come with untrusted results.

    >>> parsed_call("per_layer(first=zeros, hidden=normal(std=0.1))")
    ('per_layer', {'first': 'zeros', 'hidden': 'normal(std=0.1)'})
    """
    call = _CALL.fullmatch(text)
    if not call:
        raise ValueError(text)
    inside, start = call[2].rstrip(), 0
    arguments: dict[str, str] = {}
    while start < len(inside):
        argument = _ARGUMENT.match(inside, start)
        if not argument or argument[1] in arguments:
            raise ValueError(text)
        arguments[argument[1]] = argument[2]
        start = argument.end()
    return call[1], arguments


def _literal(text: str) -> int | float | str | bool:
    """Return a number, a truth value, or the content of a quoted string; ValueError of anything else."""
    if text[0] in "'\"":
        return text[1:-1]
    if text in ("True", "False"):
        return text == "True"
    try:
        return int(text)
    except ValueError:
        return float(text)
