"""Executing a plan: stacks go to the workers of a crew, of this machine or of a cluster, and their results come back.

`crew.py` says what a crew is and what becomes of a stack whose worker is lost; `processes.py` are workers of this
machine; `cluster.py` those of a Dask cluster, and `dask_worker.py` is what runs on them; `devices.py` what trains.
Knows nothing of torch.
"""

from initbench.execution.crew import Crew, Failed, Finished, Notice, Progress, Speed, initialization, speeds, train
from initbench.execution.devices import device_for
from initbench.execution.processes import Workers

__all__ = [
    "Crew",
    "Failed",
    "Finished",
    "Notice",
    "Progress",
    "Speed",
    "Workers",
    "device_for",
    "initialization",
    "speeds",
    "train",
]
