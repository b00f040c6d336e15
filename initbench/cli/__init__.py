"""The command line."""

from initbench.cli.commands import app, main

__all__ = ["app", "main"]
