"""The command line, in this process."""

import sys

import pytest

from initbench import cli


def status_of(*arguments):
    """The exit status of the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["initbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
    return end.value.code or 0


def ended(_monkeypatch, capsys, *arguments):
    """The exit status of the command line, and what it printed on both streams."""
    return status_of(*arguments), *capsys.readouterr()
