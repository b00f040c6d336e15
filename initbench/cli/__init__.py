"""The command line, `initbench`. Only what a command needs is imported, when it runs."""

import sys
from typing import Any

from initbench.cli import early, output
from initbench.system import garbage


def main() -> None:
    """Run the console script: see `program.main`."""
    garbage.look_rarely()
    output.protect()
    with early.started(sys.argv[1:]):
        from initbench.cli import commands

        commands.main()


def __getattr__(name: str) -> Any:
    if name == "app":
        from initbench.cli.commands import app

        return app
    raise AttributeError(f"module 'initbench.cli' has no attribute {name!r}")
