"""`open`: the report of an experiment in a browser."""

import os
import shlex
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from initbench.cli import completion
from initbench.cli.program import WorkingCommand, app, say
from initbench.cli.report import write_report
from initbench.errors import UserError

RESULTS = Path("results")


@app.command("open", cls=WorkingCommand, epilog="Example: initbench open results/keepcoding")
def open_command(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT",
            help="An experiment's folder, or its name in results; default: the one in results that changed last.",
            autocompletion=completion.experiments,
        ),
    ] = None,
) -> None:
    """Open the report of an experiment in a browser. It is written first if it is missing or out of date."""
    if folder and not folder.exists() and completion.is_experiment(RESULTS / folder):
        folder = RESULTS / folder
    page = write_report(folder or newest(RESULTS)).resolve()
    if not (has_screen() and open_in_browser(page)):
        say(f"No browser can be opened here. The address of the report: {page.as_uri()}")
        if _is_remote():
            copy = ["scp", f"{socket.gethostname()}:{page}", "."]
            say(f"To copy it to the machine in front of you, run there: {shlex.join(copy)}")


def newest(results: Path) -> Path:
    """Return the experiment in a folder whose grid or results changed last; UserError if there is none."""
    experiments = [path for path in results.glob("*") if completion.is_experiment(path)]
    if not experiments:
        raise UserError(
            f"there is no experiment in {results}; give an experiment's folder, or train one: initbench run keepcoding"
        )
    return max(experiments, key=_changed)


def _changed(experiment: Path) -> float:
    return max((experiment / name).stat().st_mtime for name in ("grid.toml", "parts"))


def has_screen() -> bool:
    """Return whether a browser has a screen to open on: not over ssh, unless the screen is forwarded."""
    if os.environ.get("BROWSER") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return True
    return sys.platform in ("win32", "darwin") and not _is_remote()


def _is_remote() -> bool:
    return bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"))


def open_in_browser(page: Path) -> bool:
    """Open a page in the user's browser ($BROWSER, or the system's); returns whether one was started."""
    import webbrowser

    try:
        return webbrowser.open(page.as_uri())
    except webbrowser.Error:
        return False
