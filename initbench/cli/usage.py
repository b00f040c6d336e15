"""Mistakes in a command line, each as one line: what was given, and what is meant."""

import contextlib
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperGroup

from initbench.errors import SYNONYMS, UserError

NAME = "initbench"

# The error that Typer raises for any mistake in a command line; Typer gives it no public name of its own.
UsageError: Any = typer.BadParameter.__base__


class Program(TyperGroup):
    """The program: a mistake in its command line is a UserError of one line, in place of a usage in a frame."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Parse the words before the command."""
        with _one_line(lambda: NAME):
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Parse the words of the command, and run it."""
        with _one_line(lambda: f"{NAME} {ctx.invoked_subcommand}"):
            return super().invoke(ctx)


@contextlib.contextmanager
def _one_line(command: Callable[[], str]) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        path = error.ctx.command_path if error.ctx else command()
        raise UserError(line(error, path, sys.argv[1:])) from None


def line(error: Any, command: str, words: Sequence[str]) -> str:
    """Return the line for a mistake in the words of a command: what is wrong, and what is meant or where to look."""
    if hasattr(error, "possibilities"):  # there is no such option
        return f"{command}: {_unknown_option(error, words)}"
    message = " ".join(error.format_message().split()).rstrip(".")
    extra = re.search(r"extra argument\S* \((.*)\)$", message)
    if extra and (settings := [word for word in extra[1].split() if _setting(word.partition("=")[0])]):
        return f"{command}: {message}; {_as_setting(error.ctx, *settings[0].partition('=')[::2])}"
    return f"{command}: {message}" + f"; see {command} --help" * (not message.endswith("?"))


def _unknown_option(error: Any, words: Sequence[str]) -> str:
    """Return what is wrong with an option: the setting or the option that is meant, or which commands have it."""
    context, name = error.ctx, error.option_name
    letter = re.compile(rf"{re.escape(name)}|-(?!-).*{re.escape(name[1:])}" if len(name) == 2 else re.escape(name))
    word = next(filter(letter.match, words), name)  # of `-epochs` the error names `-e`
    name, equals, value = word.partition("=")
    if not equals:
        following = words[words.index(word) + 1 :] if word in words else ()
        value = next((first for first in following[:1] if not first.startswith("-") or _is_number(first)), "")
    problem = f"there is no option {name}"
    if setting := _setting(name):
        return f"{problem}; {_as_setting(context, setting, value)}"
    options = [*_options(context.command), *context.help_option_names]
    spelled = {f"--{setting.replace('_', '-')}": setting for setting in _settings()}
    nearest = get_close_matches(name.lower(), [*options, *(spelled if "--set" in options else ())], n=1)
    if nearest and nearest[0] in options:
        return f"{problem}; did you mean {nearest[0]}?"
    if nearest:
        return f"{problem}; {_as_setting(context, spelled[nearest[0]], value)}"
    commands = context.find_root().command.commands
    if others := [other for other in commands if name in _options(commands[other])]:
        after = " behind the command" * (context.parent is None)
        return f"{problem} here; {_listed(others)} {'takes' if len(others) == 1 else 'take'} it{after}"
    return f"{problem}; see {context.command_path} --help"


def _as_setting(context: Any, setting: str, value: str) -> str:
    """Return that a setting is replaced by --set, and by which commands if this is another one."""
    from initbench.spec.cell import Cell

    key = _setting(setting)
    pair = shlex.quote(f"{key}={value or ('true' if Cell._field_defaults.get(key) is False else 'VALUE')}")
    if "--set" in _options(context.command):
        return f"{key} is a setting: --set {pair}"
    root = context.find_root().command
    commands = [name for name, command in root.commands.items() if _param(command, "overrides")]
    return f"{key} is a setting, which {_listed(commands)} take: initbench run --set {pair}"


def _setting(word: str) -> str:
    """Return the setting that an option or a word names, if it is its name or a common other one; "" if none."""
    name = word.lstrip("-").replace("-", "_").lower()
    name = SYNONYMS.get(name, name)
    return name if name in _settings() else ""


def _settings() -> tuple[str, ...]:
    from initbench.spec.settings import OTHER_KEYS, RULES

    return (*RULES, *OTHER_KEYS)


def _options(command: Any) -> list[str]:
    return [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]


def _param(command: Any, name: str) -> bool:
    return any(parameter.name == name for parameter in command.params)


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
