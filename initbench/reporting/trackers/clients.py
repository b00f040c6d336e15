"""The clients of trackers: imported when they are needed, and without the statistics of use that they would send."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from initbench.errors import UserError

# The requirement of each tracker's extra.
PACKAGES = {"wandb": "wandb", "mlflow": "mlflow-skinny", "tensorboard": "tensorboard"}

# What the clients read when they are imported: whether they report errors and use to their makers.
QUIET = {
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # of 3.13 and later: runs in a folder
}

# Unless the user sets it: how often MLflow repeats a request, by default for minutes where no server answers.
UNLESS_SET = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}


def imported(tracker: str, module: str = "") -> Any:
    """Return a module of a tracker's client, by default the whole; UserError, with what to install, without it."""
    hint = f"--to {tracker} needs {PACKAGES[tracker]}: pip install 'initbench[{tracker}]'"
    try:
        client = import_module(tracker)
        if not getattr(client, "__file__", None):  # a folder of that name, such as W&B's own of runs
            raise UserError(hint)
        return import_module(f"{tracker}.{module}") if module else client
    except ModuleNotFoundError as error:
        raise UserError(hint if error.name == tracker else f"{hint} ({error})") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let clients send no statistics of use, and log warnings alone."""
    values = QUIET | {name: value for name, value in UNLESS_SET.items() if name not in os.environ}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "wandb")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
