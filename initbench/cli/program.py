"""The program: its Typer application, exit statuses, and one line for each error."""

import os
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from initbench import __version__
from initbench.cli import completion, output, usage
from initbench.errors import UserError, WorkerDied, printable
from initbench.reporting import matplotlib_import
from initbench.system import deferred, files
from initbench.system.cache import provide_home

DONE, FAILED, MISTAKE, INCONCLUSIVE, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    name=usage.NAME,
    cls=usage.Program,
    help="Which weight initializer should I use with this activation and this loss, and how sure can I be?",
    epilog="Start: initbench run keepcoding; or initbench new grid.toml, initbench plan, initbench run",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class WorkingCommand(TyperCommand):
    """A command whose result is files or an exit status: lines that cannot be printed are dropped.

    The result of any other command is what it prints, so it stops with `CannotPrint`.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        output.allow_loss()
        return super().invoke(ctx)


def main() -> None:
    """Run the console script.

    A user's mistake is one line per mistake and exit status 2, an unforeseen error one line and status 1. A traceback
    is printed only where INITBENCH_TRACEBACK is set.
    """
    _defer_unused()
    matplotlib_import.own_process = True  # a report depends on no settings of the user's
    warnings.showwarning = lambda message, *_, **__: print_error(str(message))
    try:
        provide_home()
        shell = os.environ.get(completion.VARIABLE, "")
        if shell:
            os.environ["COLUMNS"] = "1000"  # a help text of two lines would be two completions
        if shell == "complete_bash":
            completion.in_bash(_run)
        else:
            _run()
    except output.CannotPrint as error:
        if error.reader_left:  # such as `head`, which has read enough
            sys.exit(DONE)
        print_error(f"standard output: cannot be written ({error})")
        sys.exit(FAILED)
    except UserError as error:
        for line in error.lines:
            print_error(line)
        sys.exit(MISTAKE)
    except WorkerDied as error:
        print_error(f"Stopped: {error}. Finished cells are kept; the same command continues.")
        sys.exit(FAILED)
    except OSError as error:
        print_error(reason(error))
        sys.exit(FAILED if error.errno in files.NO_ROOM else MISTAKE)
    except Exception as error:
        print_error(f"initbench: unforeseen error: {unforeseen(error)}")
        sys.exit(FAILED)


def _run() -> None:
    app(prog_name=usage.NAME)  # as `python -m initbench` too, in what is printed and in a shell's completion


# What Typer imports to print help, and uses for markdown and tracebacks alone, of which the program has neither. With
# them comes pygments: together a third of the time of `--help`.
UNUSED = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}

# What scipy.special imports because it copies all names of NumPy: half of its import, a tenth of a second.
UNUSED_OF_NUMPY = "numpy.f2py", "numpy.testing"


def _defer_unused() -> None:
    """Let what Typer imports and the program does not use be empty classes."""
    for name, unused in UNUSED.items():
        deferred.defer(name, None, **{unused: type(unused, (), {})})


def import_numpy() -> None:
    """Import NumPy, and let what only scipy.special imports of it be imported when it is used."""
    import numpy  # noqa: F401

    for name in UNUSED_OF_NUMPY:
        deferred.defer(name)


def say(text: str = "") -> None:
    """Print a line on standard output."""
    typer.echo(text)


def print_error(line: str) -> None:
    """Print a line on standard error."""
    typer.echo(line, err=True)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> plural(1, "cell"), plural(2000, "cell")
    ('1 cell', '2,000 cells')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def reason(error: Exception) -> str:
    """Return an error's message; of the system's errors, the file that it refused, if any, and why."""
    if not isinstance(error, OSError):
        return str(error)
    return (f"{error.filename}: " if error.filename else "") + (error.strerror or str(error))


def unforeseen(error: Exception) -> str:
    """Return an error as one line; with INITBENCH_TRACEBACK set, print its traceback first."""
    line = printable(f"{type(error).__name__}: {error}".removesuffix(": "))
    if os.environ.get("INITBENCH_TRACEBACK"):
        import traceback

        traceback.print_exc()
        return line
    return f"{line} (set INITBENCH_TRACEBACK=1 for the traceback)"


def _version(requested: bool) -> None:
    if requested:
        say(f"initbench {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Define the options of the program itself."""
