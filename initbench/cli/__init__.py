"""The command line."""

from initbench.cli.app import main

__all__ = ["main"]
