"""The costs of a cell besides training: planning, storing, reading and reporting it. Nothing is trained here.

For a million cells, with the peak of the memory: `python -m benchmarks.suites.bookkeeping 1000000`; for 100,000 of 20
epochs: `python -m benchmarks.suites.bookkeeping 100000 20`.
"""

import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from . import module

WIDTH, EPOCHS = 25, 10
INITIALIZERS = ", ".join(f'{{ name = "normal", std = {n / 10} }}' for n in range(1, 11))


def functions():
    """Return what is measured, from the modules of this version of initbench."""
    experiment = module("results.experiment", "runs")
    return SimpleNamespace(
        parse=module("spec.grid", "grid").parse,
        plan=module("execution.plan", "plan").plan,
        experiment=getattr(experiment, "Experiment", None) or experiment.Run,
        store=module("results.store", "store"),
        table=module("results.table", "results").table,
        metrics=module("spec.columns", "cells").METRICS,
        check=module("results.verify", "verification").check,
        write_report=module("api.outputs", "api").write_report,
    )


def example_grid(parse, cells, epochs=EPOCHS):
    """Return a grid of 100 cells at each seed."""
    return parse(f"""
        name = "made-up"
        [grid]
        initializer = [{INITIALIZERS}]
        activation = ["tanh", "relu", "sigmoid", "elu", "gelu"]
        loss = ["mse", "cross_entropy"]
        seed = {cells // 100}
        [training]
        epochs = {epochs}
    """)


def write(api, experiment):
    """Write parts with random results for every cell of an experiment, and their timings."""
    cells = sorted(experiment.grid.cells(), key=lambda cell: cell.seed)
    random = np.random.default_rng(0)
    for start in range(0, len(cells), WIDTH):
        stack = cells[start : start + WIDTH]
        shape = (len(api.metrics), stack[0].epochs + 1, len(stack))
        metrics = dict(zip(api.metrics, random.random(shape).tolist(), strict=True))
        part = api.store.write_part(experiment.folder, api.table(stack, metrics), {"device": "none"})
        api.store.write_timing(experiment.folder, part, {"seconds": 1.0, "cells": len(stack)})


class Bookkeeping:
    """The seconds of all cells: divided by their number they should not grow with it."""

    params = ((100, 1_000, 10_000),)
    param_names = ("cells",)
    timeout = 600
    number, repeat, rounds = 1, 1, 1

    def setup(self, cells):
        if not all(map(importlib.util.find_spec, ("pandas", "pydantic", "torch"))):
            raise NotImplementedError("experiments need all that initbench requires")
        self.api = functions()
        self.folder = tempfile.TemporaryDirectory()
        self.grid = example_grid(self.api.parse, cells)
        self.experiment = self.api.experiment.create(self.grid, Path(self.folder.name))
        write(self.api, self.experiment)
        self.experiment.frame()  # the first call includes imports

    def teardown(self, cells):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def time_plan(self, cells):
        self.api.plan(example_grid(self.api.parse, cells).cells(), self.grid.sources)

    def time_write(self, cells):
        write(self.api, self.experiment)

    def time_inventory(self, cells):
        self.experiment.inventory()

    def time_frame(self, cells):
        self.experiment.frame()

    def peakmem_frame(self, cells):
        self.experiment.frame()

    def time_verify(self, cells):
        self.api.check(self.experiment)

    def track_verify_per_frame(self, cells):
        """The time to check every part, relative to the time to read the table."""
        start = time.process_time()
        self.experiment.frame()
        read = time.process_time()
        self.api.check(self.experiment)
        return (time.process_time() - read) / (read - start)

    def time_report(self, cells):
        self.api.write_report(self.experiment, *self.experiment.read())

    def peakmem_report(self, cells):
        self.api.write_report(self.experiment, *self.experiment.read())


def main(cells, epochs=EPOCHS):
    """Print the time of each step, and the peak memory so far."""
    import resource  # not on Windows

    api = functions()

    def show(step, start):
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
        sys.stdout.write(f"{step:10} {seconds:8.2f} s {1000 * seconds / cells:8.4f} ms a cell, peak {peak:6.0f} MiB\n")
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        grid = example_grid(api.parse, cells, epochs)
        stacks = api.plan(grid.cells(), grid.sources)
        show("plan", start)
        del stacks
        start = time.perf_counter()
        experiment = api.experiment.create(grid, Path(folder))
        write(api, experiment)
        show("write", start)
        start = time.perf_counter()
        experiment.inventory()
        show("inventory", start)
        start = time.perf_counter()
        frame, environments = experiment.read()
        show("frame", start)
        start = time.perf_counter()
        api.check(experiment)
        show("verify", start)
        start = time.perf_counter()
        api.write_report(experiment, frame, environments)
        show("report", start)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
