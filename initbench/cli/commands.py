"""The program with all of its commands."""

# Imported in the order in which `--help` lists their commands.
# isort: off
from initbench.cli.program import app, main
from initbench.cli import run, signals, battery, report, browse, folder, cell, inspect, data, bench  # noqa: F401
# isort: on

__all__ = ["app", "main"]

for _command in (
    *app.registered_commands,
    *data.data_app.registered_commands,
):  # Typer takes its help from the docstring, which `python -OO` drops
    if _command.callback and not (_command.help or _command.callback.__doc__):
        from initbench.registry import documentation

        _command.help = documentation(_command.callback)
