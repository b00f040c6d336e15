"""Trains a grid on a Dask cluster of SLURM jobs, from the login node: `pip install dask-jobqueue` beside initbench.

python slurm_jobqueue.py grid.toml [more of what `initbench run` takes]
"""

import signal
import subprocess
import sys

from dask_jobqueue import SLURMCluster

JOBS = 10  # the number of jobs, each a worker

cluster = SLURMCluster(
    queue=None,  # the partition; None for the default one
    account=None,
    cores=8,  # stacks that a worker trains at a time
    processes=1,  # one worker for each job, whatever its cores
    memory="8GB",  # 0.5 GB a core, and room for the stacks
    walltime="02:00:00",
    job_extra_directives=[],  # ["--constraint=..."] for one kind of CPU
    # Before its walltime a worker leaves in good order, not all of them at once.
    worker_extra_args=["--lifetime", "110m", "--lifetime-stagger", "5m"],
    log_directory="dask-logs",
    job_script_prologue=["export PYTHONSAFEPATH=1"],  # import nothing from the folder in which you submit
    # interface="ib0",  # the network that login node and nodes share, if it is not the one that Dask finds
)


def main() -> int:
    """Keep JOBS jobs running, and train."""
    cluster.adapt(minimum_jobs=JOBS, maximum_jobs=JOBS)  # a job that ends is replaced by another one
    # Ctrl-C is for initbench, which ends in good order. (It would inherit SIG_IGN, and ignore Ctrl-C too.)
    signal.signal(signal.SIGINT, lambda number, frame: None)
    return subprocess.call(["initbench", "run", *sys.argv[1:], "--scheduler", cluster.scheduler_address])


if __name__ == "__main__":
    with cluster:
        sys.exit(main())
