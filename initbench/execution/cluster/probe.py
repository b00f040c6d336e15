"""Functions that query a Dask worker or scheduler before initbench runs there.

These functions are sent as code and import what they find: the machine may have another version of initbench, or none.
"""

from typing import Any


def worker() -> dict[str, Any]:
    """Return the versions that a worker has, its CPU and its host."""
    import importlib.metadata
    import platform
    import socket

    versions = {}
    for name in ("numpy", "scipy", "torch"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = ""
    try:
        import initbench
        from initbench.spec.cell import TRAINING_VERSION

        versions["initbench"] = f"{initbench.__version__} (training version {TRAINING_VERSION})"
    except ImportError:
        versions["initbench"] = ""
    try:
        from initbench.system import hardware

        processor = hardware.cpu_name()
    except ImportError:
        processor = ""
    return {
        "versions": versions,
        "python": platform.python_version(),
        "processor": processor,
        "host": socket.gethostname(),
    }


def scheduler(dask_scheduler: Any) -> dict[str, Any]:
    """Return a scheduler's workers by address, with threads, bytes of memory and status; and the failures it allows."""
    workers = {
        address: {"threads": state.nthreads, "memory": state.memory_limit or 0, "status": state.status.name}
        for address, state in dask_scheduler.workers.items()
    }
    return {"workers": workers, "allowed_failures": dask_scheduler.allowed_failures}
