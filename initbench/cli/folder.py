"""`verify`, `merge` and `clean`: commands for the folders of experiments."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from initbench.cli.options import AllowPlugins, Folder, Plugins, Workers, load_plugins
from initbench.cli.program import FAILED, WorkingCommand, app, plural, print_error, say
from initbench.errors import CannotWrite, UserError, printable

if TYPE_CHECKING:
    from initbench.results.verify import CheckResult

MAX_LISTED_FILES = 10  # of the files that `clean` keeps, the number that it names


@app.command(cls=WorkingCommand, epilog="Example: initbench verify results/keepcoding --sample 20")
def verify(
    folder: Folder,
    sample: Annotated[int, typer.Option("--sample", metavar="N", min=0, help="Number of cells to retrain.")] = 10,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Seed that selects these cells; default: a random one.")
    ] = None,
    workers: Workers = None,
    device: Annotated[
        str,
        typer.Option(
            "--device", metavar="auto|cpu|cuda", help="Device that retrains; auto: the CPU. cuda is experimental."
        ),
    ] = "auto",
    plugins: Plugins = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Check the files of an experiment, and retrain a sample of its cells to compare their bits. Changes nothing."""
    import random

    from initbench.api import folders, rounds
    from initbench.execution.config import ExecutionConfig
    from initbench.results.verify import lines

    seed = random.randrange(10**6) if seed is None else seed
    experiment = rounds.opened(folder)
    load_plugins(plugins, allow_plugins, "initbench verify")

    def on_checked(checked: "CheckResult") -> None:
        for line in (*lines(experiment, checked), *checked.problems):
            say(line)
        if sample:
            say(f"Retraining at most {plural(sample, 'cell')} (--seed {seed} selects the same cells)")

    config = ExecutionConfig(workers, device=device)  # not the grid's device: this machine may lack it
    verification = folders.verify(experiment, sample, seed, config, on_checked)
    retrained = verification.retrained
    if retrained:
        for name in retrained.absent:
            say(f"{name}: not found, so its cells cannot be retrained")
        for line in retrained.code_missing:
            say(f"Some cells cannot be retrained: {folder} {line}")
    if retrained and retrained.sampled:
        signals = (
            f", and the signal of {retrained.same_signals:,} of {retrained.signals:,}" if retrained.signals else ""
        )
        say(f"{retrained.same:,} of {plural(retrained.sampled, 'retrained cell')} have the same bits{signals}")
        for line in (*retrained.problems, *retrained.elsewhere):
            say(line)
    else:
        say("No cell was retrained, so bits are not verified")
    if verification.problems:
        say(f"Not sound: {plural(len(verification.problems), 'problem')}")
        raise typer.Exit(FAILED)
    say("Sound" if verification.reproduced else "Sound, as far as this could be checked")


@app.command(
    cls=WorkingCommand,
    epilog="Example: initbench merge here/results/mine there/results/mine --into results/both",
)
def merge(
    sources: Annotated[list[Path], typer.Argument(metavar="EXPERIMENT", help="Folders of experiments.")],
    into: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="The folder of the merged experiment, a new one.")
    ],
) -> None:
    """Merge experiments, for example of several machines, each cell once. Cells that differ are named."""
    from initbench.api import folders

    try:
        merged = folders.merge(sources, into)
    except CannotWrite as error:
        print_error(f"Stopped: {error.filename}: {error.strerror}. What is merged is kept.")
        print_error(f"Resume with: {shlex.join(['initbench', 'merge', *map(str, sources), '--into', str(into)])}")
        raise typer.Exit(FAILED) from None
    for line in merged.notes:
        print_error(line)
    say(f"{merged.experiment.folder}: {merged.n_trained:,} of {plural(len(merged.experiment), 'cell')}")
    say(f"Next: {shlex.join(['initbench', 'report', str(merged.experiment.folder)])}")


@app.command(cls=WorkingCommand, epilog="Example: initbench clean results/keepcoding")
def clean(
    folder: Folder,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without a question.")] = False,
) -> None:
    """Remove an experiment's files. Other files in its folder stay."""
    from initbench.results.clean import check_cleanable
    from initbench.results.clean import clean as remove

    check_cleanable(folder)
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"{folder}: not removed; give --yes to remove it without a question")
        if not typer.confirm(f"Remove all files of the experiment in {folder}, its results too?"):
            say(f"{folder}: nothing removed")
            return
    try:
        cleaned = remove(folder)
    except OSError as error:
        print_error(f"{error.filename}: cannot be removed ({error.strerror}); the files after it are still there")
        print_error(f"Resume with: {shlex.join(['initbench', 'clean', str(folder)])}")
        raise typer.Exit(FAILED) from None
    say(f"Removed from {folder}: {', '.join(cleaned.removed) or 'nothing'}")
    if cleaned.remaining:
        more = (
            f" and {len(cleaned.remaining) - MAX_LISTED_FILES} more"
            if len(cleaned.remaining) > MAX_LISTED_FILES
            else ""
        )
        say(
            printable(
                f"Kept, because not written by initbench: {', '.join(cleaned.remaining[:MAX_LISTED_FILES])}{more}"
            )
        )
    if cleaned.folder_stays:
        say(f"{folder}: is empty now; the folder itself stays")
