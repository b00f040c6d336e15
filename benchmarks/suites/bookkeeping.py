"""The costs of a cell besides training: planning, storing, reading and reporting it. Nothing is trained here.

For a million cells, with the peak of the memory: `python -m benchmarks.suites.bookkeeping 1000000`; for 100,000 of 20
epochs: `python -m benchmarks.suites.bookkeeping 100000 20`.
"""

import importlib.util
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WIDTH, EPOCHS = 25, 10
INITIALIZERS = ", ".join(f'{{ name = "normal", std = {n / 10} }}' for n in range(1, 11))


def made_grid(cells, epochs=EPOCHS):
    """A grid of 100 cells at each seed."""
    from initbench.spec import grid

    return grid.parse(f"""
        name = "made-up"
        [grid]
        initializer = [{INITIALIZERS}]
        activation = ["tanh", "relu", "sigmoid", "elu", "gelu"]
        loss = ["mse", "cross_entropy"]
        seed = {cells // 100}
        [training]
        epochs = {epochs}
    """)


def write(run):
    """Parts with made-up results for every cell of a run, and their timings."""
    from initbench.results import store
    from initbench.results.table import table
    from initbench.spec.columns import METRICS

    cells = sorted(run.grid.cells(), key=lambda cell: cell.seed)
    random = np.random.default_rng(0)
    for start in range(0, len(cells), WIDTH):
        stack = cells[start : start + WIDTH]
        shape = (len(METRICS), stack[0].epochs + 1, len(stack))
        metrics = dict(zip(METRICS, random.random(shape).tolist(), strict=True))
        part = store.write_part(run.folder, table(stack, metrics), {"device": "none"})
        store.write_timing(run.folder, part, {"seconds": 1.0, "cells": len(stack)})


class Bookkeeping:
    """The seconds of all cells: divided by their number they should not grow with it."""

    params = ((100, 1_000, 10_000),)
    param_names = ("cells",)
    timeout = 600
    number, repeat, rounds = 1, 1, 1

    def setup(self, cells):
        if not all(map(importlib.util.find_spec, ("pandas", "pydantic", "torch"))):
            raise NotImplementedError("runs need all that initbench requires")
        from initbench.api import write_report
        from initbench.execution import plan
        from initbench.results import verify as verification
        from initbench.results.experiment import Experiment

        self.plan, self.write_report, self.check = plan.plan, write_report, verification.check
        self.folder = tempfile.TemporaryDirectory()
        self.grid = made_grid(cells)
        self.run = Experiment.create(self.grid, Path(self.folder.name))
        write(self.run)
        self.run.frame()  # the first call imports what it needs

    def teardown(self, cells):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def time_plan(self, cells):
        self.plan(made_grid(cells).cells(), self.grid.sources)

    def time_write(self, cells):
        write(self.run)

    def time_inventory(self, cells):
        self.run.inventory()

    def time_frame(self, cells):
        self.run.frame()

    def peakmem_frame(self, cells):
        self.run.frame()

    def time_verify(self, cells):
        self.check(self.run)

    def track_verify_per_frame(self, cells):
        """How many times as long as reading the table it takes to check every part."""
        start = time.process_time()
        self.run.frame()
        read = time.process_time()
        self.check(self.run)
        return (time.process_time() - read) / (read - start)

    def time_report(self, cells):
        self.write_report(self.run, *self.run.read())

    def peakmem_report(self, cells):
        self.write_report(self.run, *self.run.read())


def main(cells, epochs=EPOCHS):
    """Print what each step takes, and the most memory so far."""
    import resource  # not on Windows

    from initbench.api import write_report
    from initbench.execution import plan
    from initbench.results import verify as verification
    from initbench.results.experiment import Experiment

    def say(step, start):
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
        sys.stdout.write(f"{step:10} {seconds:8.2f} s {1000 * seconds / cells:8.4f} ms a cell, peak {peak:6.0f} MiB\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        grid = made_grid(cells, epochs)
        stacks = plan.plan(grid.cells(), grid.sources)
        say("plan", start)
        del stacks
        start = time.perf_counter()
        run = Experiment.create(grid, Path(folder))
        write(run)
        say("write", start)
        start = time.perf_counter()
        run.inventory()
        say("inventory", start)
        start = time.perf_counter()
        frame, environments = run.read()
        say("frame", start)
        start = time.perf_counter()
        verification.check(run)
        say("verify", start)
        start = time.perf_counter()
        write_report(run, frame, environments)
        say("report", start)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
