"""The limits of one client and one scheduler: an experiment on a Dask cluster whose workers simulate training.

`python -m benchmarks.cluster --workers 1000 --cells 100000 --seconds 20` starts a scheduler, and workers of Dask in
some processes; each takes stacks as a real one does, sleeps for the duration of a stack, and returns random
metrics of a real one's size. Everything else is real: the plan, the scheduler, the connections, the parts on the disk.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Each worker's own periodic work is negligible on a machine of its own, but dominates a process with hundreds of them.
ALONE = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "600s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "60s",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "5s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}


def pretend(seconds):
    """Make the workers of this process simulate: a stack takes this many seconds and returns random results."""
    import numpy as np

    from initbench.execution.cluster import dask_worker
    from initbench.spec.cell import Cell
    from initbench.spec.columns import METRICS

    environment = {"device": "none", "processor": "pretended"}

    def serve(task, device, client, topic, every):
        cells = [Cell(*values) for values in task["cells"]]
        time.sleep(seconds)
        values = np.random.default_rng(task["task"]).random((len(METRICS), cells[0].epochs + 1, len(cells)))
        reply = {
            "event": "done",
            "task": task["task"],
            "metrics": dict(zip(METRICS, values.tolist(), strict=True)),
            "exact": True,
            "seconds": seconds,
            "initialization": {},
            "product_rate": 1e9,
        }
        return {"reply": reply, "environment": environment, "host": "pretended"}

    dask_worker.serve = serve


async def serve(file, count, seconds):
    """Run this many Dask workers in this process."""
    import distributed

    pretend(seconds)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        workers = [
            distributed.Worker(scheduler_file=file, nthreads=1, local_directory=folder, memory_limit=0, dashboard=False)
            for _ in range(count)
        ]
        for start in range(0, count, 20):
            await asyncio.gather(*workers[start : start + 20])
        print("serving", flush=True)
        await asyncio.Event().wait()


def grid(cells, width, epochs):
    """A grid of this many cells, `width` at each seed."""
    from initbench.spec.grid import parse

    rates = [round(0.001 * (i + 1), 6) for i in range(width // 20)]
    return parse(f"""
        name = "pretended"
        [grid]
        initializer = ["zeros", "he_normal", {{ name = "normal", std = 0.2 }}, "glorot_uniform", "lecun_normal"]
        activation = ["tanh", "relu"]
        loss = ["mse", "cross_entropy"]
        learning_rate = {rates}
        seed = {max(1, cells // width)}
        [model]
        hidden = []
        output_activation = "same"
        [training]
        epochs = {epochs}
    """)


def cpu_seconds(pid):
    """The CPU seconds that a process has used, and its memory in bytes."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")


def measure(options):
    """Run one experiment and return its timings."""
    from initbench.execution.config import ExecutionConfig
    from initbench.execution.events import Finished
    from initbench.execution.start import planned_stacks, start_pool
    from initbench.results.experiment import Experiment

    simulated = grid(options.cells, options.width, options.epochs)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **ALONE}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
        log = (Path(folder) / "log").open("wb")
        streams = {"stdout": log, "stderr": log, "env": environment}
        scheduler = subprocess.Popen([*dask, "--host", "127.0.0.1", "--scheduler-file", str(file)], **streams)
        while not file.exists():
            time.sleep(0.05)
        share = [len(range(i, options.workers, options.processes)) for i in range(options.processes)]
        command = [sys.executable, "-m", "benchmarks.cluster", "--serve", str(file), "--seconds", str(options.seconds)]
        servers = [
            subprocess.Popen(
                [*command, "--workers", str(count)], stdout=subprocess.PIPE, stderr=log, env=environment, cwd=ROOT
            )
            for count in share
        ]
        try:
            for server in servers:
                if (line := server.stdout.readline().strip()) != b"serving":
                    raise RuntimeError(f"a server did not start: it printed {line!r}")
            run = Experiment.create(simulated, Path(folder) / "results")
            begin = time.perf_counter()
            missing = run.missing()
            listed = time.perf_counter() - begin
            config = ExecutionConfig(scheduler=f"file://{file}", width=options.width)
            with start_pool(missing, simulated.sources, config) as pool:
                connected = time.perf_counter() - begin - listed
                stacks, _ = planned_stacks(missing, simulated.sources, pool, options.width)
                start, cpu = time.perf_counter(), time.process_time()
                before = cpu_seconds(scheduler.pid)[0]
                served = sum(cpu_seconds(server.pid)[0] for server in servers)
                finished, first = 0, None
                for event in run.train(stacks, pool):
                    if isinstance(event, Finished):
                        finished += 1
                        first = first or time.perf_counter()
                wall, used = time.perf_counter() - start, time.process_time() - cpu
                there, memory = cpu_seconds(scheduler.pid)
                served = sum(cpu_seconds(server.pid)[0] for server in servers) - served
                count = pool.slot_count
            return {
                "workers": count,
                "cells": len(simulated),
                "stacks": finished,
                "seconds a stack": options.seconds,
                "cells listed and planned after s": round(start - begin - connected, 1),
                "workers connected after s": round(connected, 1),
                "wall s": round(wall, 1),
                "stacks a second": round(finished / wall, 1),
                "workers busy": round(finished * options.seconds / wall / count, 3),
                "client ms a stack": round(1e3 * used / finished, 2),
                "scheduler ms a stack": round(1e3 * (there - before) / finished, 2),
                "pretending workers' ms a stack": round(1e3 * served / finished, 2),
                "client MB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
                "scheduler MB": round(memory / 1e6),
            }
        finally:
            for process in (*servers, scheduler):
                process.send_signal(signal.SIGKILL)
                process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--processes", type=int, default=4, help="in which the workers live")
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=100, help="cells of a stack")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a stack takes")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.workers, options.seconds))
    else:
        print(json.dumps(measure(options), indent=1))


if __name__ == "__main__":
    main()
