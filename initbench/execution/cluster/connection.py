"""The connection to a Dask scheduler: its address, and the client."""

import json
import logging
import re
import socket
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from initbench.errors import UserError
from initbench.execution.cluster import probe
from initbench.system.threads import available_cores

# How long a connection may take, in seconds.
CONNECT_SECONDS = 15.0


def address(scheduler: str) -> dict[str, str]:
    """Return the arguments with which Dask's client connects to a scheduler; none for `local`.

    Raises UserError if it is not an address.
    """
    if scheduler == "local":
        return {}
    parsed = urlparse(scheduler)
    if parsed.scheme == "file":
        path = Path(unquote(scheduler.removeprefix("file://")))
        if not path.is_file():
            raise UserError(
                f"scheduler = {scheduler!r}: there is no such file; `dask scheduler --scheduler-file` writes one"
            )
        return {"scheduler_file": str(path)}
    if parsed.scheme not in ("tcp", "tls", "ws", "wss", "ucx") or not parsed.netloc:
        raise UserError(
            f"scheduler = {scheduler!r} is not allowed; allowed: tcp://HOST:PORT, file://scheduler.json, or local"
        )
    return {"address": scheduler}


def reachable(scheduler: str) -> None:
    """Raise UserError if Dask is not installed, or nothing answers at a scheduler's address."""
    if not find_spec("distributed"):
        raise UserError("scheduler: requires Dask, which is not installed: pip install 'initbench[cluster]'")
    arguments = address(scheduler)
    try:
        if "scheduler_file" in arguments:
            arguments = {"address": json.loads(Path(arguments["scheduler_file"]).read_bytes())["address"]}
        parsed = urlparse(arguments.get("address", ""))
        if parsed.scheme in ("tcp", "tls"):
            socket.create_connection((parsed.hostname, parsed.port or 8786), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "strerror", "") or str(error) or type(error).__name__
        raise UserError(f"scheduler = {scheduler!r}: cannot be reached ({why}); is it running?") from None


def connect(scheduler: str, workers: int | None, notify: Callable[[str], None]) -> tuple[Any, Any]:
    """Return a client of a scheduler, and, for `local`, the cluster that it started with this many workers.

    `notify` receives a line if versions of Dask differ. Raises UserError if the scheduler cannot be reached.
    """
    reachable(scheduler)
    distributed: Any = import_module("distributed")
    from cloudpickle import register_pickle_by_value

    register_pickle_by_value(probe)
    logging.getLogger("distributed").setLevel(logging.ERROR)  # the pool reports what matters of it
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    if scheduler == "local":
        cluster = _in_this_process(distributed, workers or available_cores())
        return distributed.Client(cluster, set_as_default=False), cluster
    arguments = address(scheduler)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            client = distributed.Client(timeout=CONNECT_SECONDS, set_as_default=False, **arguments)
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        tls = "does Dask's configuration name its certificate (distributed.comm.tls)?"
        hint = tls if "tls" in f"{scheduler} {why}".lower() else "is it running?"
        raise UserError(f"scheduler = {scheduler!r}: cannot be reached ({why}); {hint}") from None
    for warning in warned:
        if packages := re.findall(r"^\| (\w[\w.-]*) +\|", str(warning.message), re.MULTILINE):
            names = ", ".join(name for name in packages if name != "Package")
            notify(f"Versions differ between client, scheduler and workers: {names}")
    return client, None


def first_line(error: BaseException) -> str:
    """Return an error's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _in_this_process(distributed: Any, workers: int) -> Any:
    """Start a scheduler and workers as threads of this process, without ports: any user who reaches one of Dask's can
    run code. Threads lose nothing, because training runs in processes that the workers start."""

    class Scheduler(distributed.Scheduler):  # type: ignore[misc]
        start_http_server = _no_server

    class Worker(distributed.Worker):  # type: ignore[misc]
        start_http_server = _no_server

    options = {"protocol": "inproc://", "dashboard": False, "security": distributed.Security(require_encryption=False)}
    worker = {"cls": Worker, "options": {**options, "nthreads": 1, "memory_limit": 0}}
    return distributed.SpecCluster(
        workers=dict.fromkeys(range(workers), worker),
        scheduler={"cls": Scheduler, "options": options},
        security=options["security"],
    )


def _no_server(self: Any, *_: object, **__: object) -> None:
    """Replace what Dask calls to open a port for HTTP, with the dashboard or without it."""
