"""Write the commands in docs/reference/cli.md from those of the program: `python -m tools.make_cli_page`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from initbench.cli import app

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
MARK = "<!-- commands: generated from the program by `make docs` -->\n"


def commands() -> Iterator[tuple[str, Any]]:
    """Yield each command with its name, in the order of `--help`; those of a group after it."""

    def of_group(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from of_group(command, f"{prefix} {name}")
            elif not command.hidden:
                yield f"{prefix} {name}", command

    yield from of_group(typer.main.get_command(app), "initbench")


def page(before: str) -> str:
    """Return the page with the commands, its last part, replaced."""
    head = before.partition(MARK)[0]
    overview = ["| command | what it does |", "| --- | --- |"]
    sections = []
    for name, command in commands():
        summary = _text(command.help).partition("\n")[0]
        overview.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {summary} |")
        sections.append(_section(name, command))
    return f"{head}{MARK}\n" + "\n".join(overview) + "\n\n" + "\n".join(sections)


def _section(name: str, command: Any) -> str:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    usage = [name, *(_usage(argument) for argument in arguments), *["[OPTIONS]"] * bool(options)]
    lines = [f"## {name}", "", "```text", " ".join(usage), "```", "", _text(command.help), ""]
    if command.params:
        lines += ["| argument or option | default | meaning |", "| --- | --- | --- |"]
        lines += [_row(parameter) for parameter in [*arguments, *options]]
        lines.append("")
    if command.epilog:
        example = _text(command.epilog).removeprefix("Example: ")
        lines += [f"Example: `{example}`", ""]
    return "\n".join(lines)


def _usage(argument: Any) -> str:
    name = argument.metavar.strip("[]") + " …" * (argument.nargs == -1)
    return name if argument.required else f"[{name}]"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = _code(parameter.metavar.strip("[]"))
    else:
        value = "" if parameter.is_flag else " " + (parameter.metavar or "N")  # all others are integers
        name = ", ".join(_code(option + value) for option in (*parameter.opts, *parameter.secondary_opts))
    text = _text(parameter.help or "") + " Required." * (parameter.required and parameter.param_type_name == "option")
    return f"| {name} | {_default(parameter)} | {text} |"


def _code(text: str) -> str:
    """Return code for a cell of a table, in which a vertical line would end the cell."""
    return f"<code>{text.replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def _default(parameter: Any) -> str:
    default = parameter.default
    if parameter.required or default in (None, False, "", ()) or not isinstance(default, str | int | float):
        return ""
    return f"`{default}`"


def _text(text: str) -> str:
    """Return the text of a docstring or of a help as Markdown in a table: no line breaks within paragraphs."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.replace("\\[", "[")))
    return "\n\n".join(paragraphs)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
