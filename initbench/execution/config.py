"""The execution configuration: where and how cells train. It is not part of a cell and changes no result."""

import tomllib
from dataclasses import dataclass

from initbench.errors import UserError
from initbench.execution.devices import device_for
from initbench.spec.grid import Grid

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class ExecutionConfig:
    """Where cells train: on this machine, or on a Dask cluster.

    Parameters
    ----------
    workers
        How many stacks train at a time, at most. Default: one for each core or GPU, or all that the cluster offers.
    width
        How many cells a stack has at most. Default: the width that trains fastest on this machine.
    scheduler
        The address of a Dask scheduler: `tcp://host:8786`, `file://scheduler.json`, or `local`.
    processor
        On a cluster: use only workers whose CPU has this in its name.
    device
        `cpu`, `cuda`, a GPU, which is experimental, or `auto`, which is the CPU until the GPU path has been run on one.

    Raises UserError for a value that is not allowed.
    """

    workers: int | None = None
    width: int | None = None
    scheduler: str | None = None
    processor: str = ""
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("workers", "width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} = {value} is not allowed; allowed: an integer from 1 up")
        if self.device not in DEVICES:
            raise UserError(f"device = {self.device!r} is not allowed; allowed: 'auto', 'cpu' or 'cuda'")
        if self.processor and self.scheduler is None:
            raise UserError(f"processor = {self.processor!r} selects workers of a cluster; give its scheduler too")
        if self.scheduler is not None:
            from initbench.execution.cluster.connection import address

            address(self.scheduler)


LOCAL = ExecutionConfig()


def device_in(grid: Grid) -> str:
    """Return the value of the key `device` in a grid's text: it belongs to the execution, not to the cells."""
    return str(tomllib.loads(grid.text).get("device", "auto"))


def check_backend(config: ExecutionConfig) -> None:
    """Raise UserError if the device or the cluster cannot be used; called before anything is written."""
    if config.scheduler is None:
        device_for(config.device)
    else:
        from initbench.execution.cluster.connection import reachable

        reachable(config.scheduler)
