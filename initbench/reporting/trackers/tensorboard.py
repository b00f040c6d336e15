"""Runs as TensorBoard's event files: a folder for each configuration, in it one for each seed."""

import io
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from initbench.reporting.trackers.clients import imported
from initbench.reporting.trackers.runs import Run
from initbench.spec.columns import DIVERGED
from initbench.system import files

FOLDER = "runs"  # by default, as PyTorch's SummaryWriter has it

# TensorBoard reads every file with `tfevents` in its name. With one name for all, a run is written once.
FILE = "events.out.tfevents.initbench"


def write(runs: Iterable[Run], folder: Path, tags: dict[str, str], force: bool) -> int:
    """Write each run that has no event file below `folder`, with `force` each one; returns the number written.

    A file is written whole or not at all. TensorBoard averages the runs of a configuration in its table of
    hyperparameters, because it groups those with the same ones: therefore the seed is none of them.
    """
    written = 0
    for run in runs:
        path = folder / _file_name(run.group) / f"seed {run.settings['seed']}" / FILE
        if force or not path.exists():
            files.write_file(path, _event_file(run, tags), synced=False)
            written += 1
    return written


def _file_name(group: str) -> str:
    """Return a group's name as that of a folder on any system."""
    return re.sub(r"[^\w .,=()×+-]", "_", group, flags=re.ASCII)


def _event_file(run: Run, tags: dict[str, str]) -> bytes:
    """Return the bytes of a run's event file: its hyperparameters, a table of all settings, and scalars by epoch."""
    events = imported("tensorboard", "compat.proto.event_pb2")
    records = imported("tensorboard", "summary.writer.record_writer")
    hparams = imported("tensorboard", "plugins.hparams.summary_v2")
    scalar = imported("tensorboard", "plugins.scalar.summary_v2").scalar_pb
    text = imported("tensorboard", "plugins.text.summary_v2").text_pb
    now = time.time()
    rows = {"cell": run.cell, "status": run.status, **tags, **run.settings}
    table = "\n".join(["| setting | value |", "| --- | --- |", *(f"| {name} | `{rows[name]}` |" for name in rows)])
    summaries = [(0, hparams.hparams_pb(run.shared_settings, start_time_secs=now)), (0, text("cell", table))]
    summaries += [(step, scalar(name, value)) for name, value, step in run.values]
    summaries.append((0, _end(run.status == DIVERGED, now)))
    buffer = io.BytesIO()
    writer = records.RecordWriter(buffer)
    writer.write(events.Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for step, summary in summaries:
        writer.write(events.Event(wall_time=now, step=step, summary=summary).SerializeToString())
    return buffer.getvalue()


def _end(diverged: bool, now: float) -> Any:
    """Return the summary of how a run ended: with a failure if it diverged."""
    api = imported("tensorboard", "plugins.hparams.api_pb2")
    metadata = imported("tensorboard", "plugins.hparams.metadata")
    data = imported("tensorboard", "plugins.hparams.plugin_data_pb2")
    summary = imported("tensorboard", "compat.proto.summary_pb2").Summary()
    status = api.STATUS_FAILURE if diverged else api.STATUS_SUCCESS
    end = data.HParamsPluginData(session_end_info=data.SessionEndInfo(status=status, end_time_secs=now))
    summary.value.add(tag=metadata.SESSION_END_INFO_TAG, metadata=metadata.create_summary_metadata(end))
    return summary
