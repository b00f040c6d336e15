"""Runs as offline runs of Weights & Biases, which `wandb sync` uploads."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from initbench.errors import UserError, printable, shown
from initbench.reporting.trackers.clients import imported
from initbench.reporting.trackers.runs import Run
from initbench.system import children, files

FOLDER = "wandb"  # by default, as the client has it, below the working directory

# The values of WANDB_MODE that are honoured.
OFFLINE, ONLINE = ("offline", "dryrun", ""), ("online", "run")
MAX_TAG = 64  # characters

# What the client would record of this process and this machine, in its settings that have these names in all versions
# or in some. Listing the installed packages takes most of the time of a run.
OPTIONS = {
    "console": "off",
    "save_code": False,
    "disable_git": True,
    "disable_job_creation": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}


def write(runs: Iterable[Run], folder: Path, project: str, tags: dict[str, str], force: bool) -> int:
    """Write each run that is not in `folder`, with `force` each one; returns the number written.

    The client writes into a hidden folder, from which a run's own is moved when it is complete. Its id is the cell's,
    so that `wandb sync` uploads a run once.
    """
    wandb = imported("wandb")
    folder.mkdir(parents=True, exist_ok=True)
    present = {run.name.rpartition("-")[2]: run for run in folder.glob("offline-run-*")}
    written = 0
    # An absolute path: the client's service, which outlives an export, may have another working directory.
    with TemporaryDirectory(prefix=files.HIDDEN, dir=folder.absolute()) as staging:
        for run in runs:
            earlier = present.get(run.cell)
            if earlier and not force:
                continue
            complete = _written(wandb, run, staging, project, tags)
            if earlier:
                shutil.rmtree(earlier)
            complete.rename(folder / complete.name)
            written += 1
    return written


def _written(wandb: Any, run: Run, staging: str, project: str, tags: dict[str, str]) -> Path:
    """Let the client write a run below `staging`; returns the run's folder."""
    settings = wandb.Settings(
        mode="offline", silent=True, **{name: OPTIONS[name] for name in OPTIONS if name in wandb.Settings.model_fields}
    )
    labels = [f"{name} {value}"[:MAX_TAG] for name, value in tags.items()]
    tracked = wandb.init(
        id=run.cell, project=project, group=run.group, name=run.name, tags=[*labels, run.status], dir=staging,
        config={"cell": run.cell, **tags, **run.settings}, reinit="create_new", settings=settings,
    )  # fmt: skip
    for epoch, values in run.metrics:
        tracked.log({"epoch": epoch, **values}, step=epoch)
    tracked.summary.update({"status": run.status, **{f"signal/{name}": value for name, value in run.signal.items()}})
    folder = Path(tracked.dir).parent
    tracked.finish()
    return folder


def mode() -> str:
    """Return `offline` or `online`, by WANDB_MODE; UserError for another value, with which nothing is written."""
    value = os.environ.get("WANDB_MODE", "")
    if value not in (*OFFLINE, *ONLINE):
        raise UserError(f"WANDB_MODE = {shown(value)}: nothing would be written; allowed: offline (default) or online")
    return "online" if value in ONLINE else "offline"


def sync(folder: Path) -> None:
    """Upload the runs in a folder that were not uploaded, by `wandb sync`; UserError if that fails."""
    runs = [run for run in sorted(folder.glob("offline-run-*")) if not any(run.glob("*.synced"))]
    if not runs:
        return
    process = children.start(
        "-m", "wandb", "sync", *(str(run.absolute()) for run in runs), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    output = process.communicate()[0].strip().splitlines()
    if process.returncode:
        reason = printable(output[-1], 300).rstrip(".") if output else f"exit status {process.returncode}"
        raise UserError(
            f"{folder}: the runs are written, but not uploaded: {reason}; upload: wandb sync {folder}/offline-run-*"
        )
