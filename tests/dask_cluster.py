"""A Dask cluster of real processes: a scheduler and workers that tests start, change, stop and kill."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_up

# What a worker does: as the command `dask worker`, after a patch that a test wants in it.
WORKER = """
import sys
sys.executable = {trainer!r}
{patch}
from distributed.cli.dask_worker import main
sys.argv = ["dask-worker", *sys.argv[1:]]
main()
"""


def until(true, seconds=120.0, event="the event"):
    """Wait until a function returns a true value, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = true()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{event} did not come within {seconds} s")


class DaskCluster:
    """A scheduler, and the workers that were started.

    Their trainers are `made_up`, and each stack takes some `seconds`; without them they train.
    """

    def __init__(self, folder, seconds=None, **config):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.trainer = sys.executable if seconds is None else made_up.program(self.folder)
        self.file = self.folder / "scheduler.json"
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "300s",
            "MADE_UP": json.dumps({"seconds": seconds}),
            **{f"DASK_DISTRIBUTED__{key.upper()}": str(value) for key, value in config.items()},
        }
        self.workers = {}
        options = ["--port", "0", "--no-dashboard", "--scheduler-file", str(self.file), "--host", "127.0.0.1"]
        self.scheduler = self._start("scheduler", [sys.executable, "-m", "distributed.cli.dask_scheduler", *options])
        until(self.file.exists, event="the scheduler's file")

    @property
    def address(self):
        return f"file://{self.file}"

    def _start(self, name, command):
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )

    def add(self, name, patch="", threads=1, options=()):
        """Start a worker; without a nanny, so that a worker that is killed stays dead."""
        arguments = ["--nthreads", str(threads), "--name", name, "--no-dashboard", "--host", "127.0.0.1"]
        arguments += ["--scheduler-file", str(self.file), "--local-directory", str(self.folder), "--no-nanny", *options]
        self.workers[name] = self._start(
            name, [sys.executable, "-c", WORKER.format(trainer=self.trainer, patch=patch), *arguments]
        )

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def signal(self, name, number=signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.workers[name].pid, number)

    def training(self, name):
        """The processes that train for a worker."""
        return trainers(self.workers[name].pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for process in (*self.workers.values(), self.scheduler):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def trainers(parent):
    """Return the children of a process that train."""
    children = []
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children += [int(pid) for pid in path.read_text().split()]
    return [pid for pid in children if b"initbench.training.worker" in _command(pid)]


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
