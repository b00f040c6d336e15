"""Runs in MLflow: a parent run for each configuration, and below it a run for each seed."""

import shlex
import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from initbench.errors import UserError, printable
from initbench.reporting.trackers.clients import imported
from initbench.reporting.trackers.runs import Run

# The tags by which runs are found again: those of seeds have both, those of configurations the second.
CELL, CONFIGURATION = "initbench.cell", "initbench.configuration"

FOLDER = "mlruns"  # by default, as earlier clients have it
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # the schemes of tracking URIs
MAX_METRICS = 900  # of one request, which has at most 1,000 values in all
PAGE = 1000  # runs in one reply


def tracking_uri(into: Path | None) -> str:
    """Return where runs go: the tracking URI that the user set, or a database, or a folder if the client has none.

    `into` is the folder of the database, by default the working directory: the client's own default, which `mlflow ui`
    shows. Without SQLAlchemy, as in mlflow-skinny alone, it is a folder of runs, by default `mlruns`.
    """
    mlflow = imported("mlflow")
    has_database = all(map(find_spec, ("sqlalchemy", "alembic")))
    if into is None and (has_database or mlflow.is_tracking_uri_set()):
        return str(mlflow.get_tracking_uri())
    folder = (into or Path(FOLDER)).absolute()
    return f"sqlite:///{folder.as_posix()}/mlflow.db" if has_database else folder.as_uri()


def view(uri: str) -> str:
    """Return how the runs at a tracking URI are viewed: a command, or the address of a server."""
    if uri.startswith(("http", "databricks")):
        return uri
    command = f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
    return command if uri.partition(":")[0] in DATABASES else f"MLFLOW_ALLOW_FILE_STORE=true {command}"


def write(runs: Iterable[Run], uri: str, project: str, tags: dict[str, str], force: bool) -> int:
    """Write each run that is not in an experiment of MLflow, with `force` each one; returns the number written.

    A run is marked as finished when it is complete. Those that are not, of an interrupted export, are deleted first.
    """
    mlflow = imported("mlflow")
    try:
        return _write(mlflow, runs, mlflow.MlflowClient(tracking_uri=uri), project, tags, force)
    except mlflow.exceptions.MlflowException as error:
        raise UserError(f"MLflow at {uri}: {printable(str(error).partition(chr(10))[0], 500)}") from None


def _write(mlflow: Any, runs: Iterable[Run], client: Any, project: str, tags: dict[str, str], force: bool) -> int:
    existing = client.get_experiment_by_name(project)
    experiment = existing.experiment_id if existing else client.create_experiment(project)
    children, parents = _present(client, experiment) if existing else ({}, {})
    own_tags = {f"initbench.{name}": value for name, value in tags.items()}
    written = 0
    for run in runs:
        earlier = children.get(run.cell)
        if earlier and not force:
            continue
        if run.configuration not in parents:
            of_parent = {**own_tags, CONFIGURATION: run.configuration}
            parents[run.configuration] = _create(mlflow, client, experiment, run.group, of_parent, run.shared_settings)
            client.set_terminated(parents[run.configuration])
        of_run = {**own_tags, CELL: run.cell, CONFIGURATION: run.configuration, "initbench.status": run.status}
        of_run["mlflow.parentRunId"] = parents[run.configuration]
        id_ = _create(mlflow, client, experiment, run.name, of_run, {"cell": run.cell, **run.settings}, run.values)
        client.set_terminated(id_)
        if earlier:
            client.delete_run(earlier)
        written += 1
    return written


def _present(client: Any, experiment: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the ids of the runs of an experiment by cell, and of its parent runs by configuration."""
    children: dict[str, str] = {}
    parents: dict[str, str] = {}
    unfinished: list[str] = []
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.`{CONFIGURATION}` != ''", max_results=PAGE, page_token=token)
        for run in page:
            if run.info.status != "FINISHED":
                unfinished.append(run.info.run_id)
            elif cell := run.data.tags.get(CELL):
                children[cell] = run.info.run_id
            else:
                parents[run.data.tags[CONFIGURATION]] = run.info.run_id
        token = page.token
        if not token:
            break
    for id_ in unfinished:
        client.delete_run(id_)
    return children, parents


def _create(
    mlflow: Any,
    client: Any,
    experiment: str,
    name: str,
    tags: dict[str, str],
    settings: dict[str, Any],
    values: Sequence[tuple[str, float, int]] = (),
) -> str:
    """Create a run with its settings as parameters and with values of metrics at steps; returns its id."""
    run: str = client.create_run(experiment, run_name=name, tags=tags).info.run_id
    params = [mlflow.entities.Param(key, str(value)) for key, value in settings.items()]
    now = round(1000 * time.time())
    metrics = [mlflow.entities.Metric(metric, value, now, step) for metric, value, step in values]
    client.log_batch(run, metrics[:MAX_METRICS], params)
    for begin in range(MAX_METRICS, len(metrics), MAX_METRICS):
        client.log_batch(run, metrics[begin : begin + MAX_METRICS])
    return run
