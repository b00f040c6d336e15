"""Runs that nobody trained: a results folder with made-up numbers, for tests that damage and poison it."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq

from initbench import grid, store
from initbench.cells import METRICS
from initbench.results import table
from initbench.runs import Run

GRID = """
name = "made"
[grid]
initializer = ["zeros", "he_normal", { name = "normal", std = 0.2 }]
activation = ["tanh", "relu"]
seed = 3
[model]
hidden = []
output_activation = "same"
[training]
epochs = 2
train_size = 640
"""

ENVIRONMENT = {"processor": "a processor", "torch": "2.13.0", "device": "cpu", "bits": "exact"}
METADATA = json.dumps(ENVIRONMENT).encode()
TIMING = {
    "seconds": 2.0,
    "cells": 9,
    "operations": 3e11,
    "initialization": {"zeros": {"cells": 3, "seconds": 0.1}, "he_normal": {"cells": 6, "seconds": 0.5}},
    "product_rate": 2e11,
    "workers": 1,
    "host": "a host",
    "processor": "a processor",
    "device": "cpu",
    "finished": "2026-01-01T00:00:00Z",
}


def made_table(cells):
    """The rows of these cells, with numbers that a training may give; every eleventh diverges."""
    metrics = {name: [] for name in METRICS}
    for epoch in range(cells[0].epochs + 1):
        for name in METRICS:
            metrics[name].append([
                float("inf") if int(c.id, 16) % 11 == 0 and epoch else 0.5 + int(c.id[:4], 16) / 2**18 + 0.01 * epoch
                for c in cells
            ])  # fmt: skip
    return table(cells, metrics)


def made_run(results, text=GRID, environment=ENVIRONMENT, timing=TIMING, **keywords):
    """A run's folder with two parts; its grid is `text`."""
    parsed = grid.parse(text, **keywords)
    run = Run.create(parsed, results)
    cells = list(parsed.cells())
    for half in (cells[::2], cells[1::2]):
        part = store.write_part(run.folder, made_table(half), environment)
        store.write_timing(run.folder, part, timing)
    return run.folder


def part_files(folder):
    """The files of a run's parts."""
    return sorted((folder / "parts").glob("[!.]*.parquet"))


def replaced(path, content):
    """Another content in a part's place, under the name that its bytes ask for: nothing else gives it away."""
    path.unlink()
    path = path.with_name(f"{hashlib.sha256(content).hexdigest()}.parquet")
    path.write_bytes(content)
    return path


def parquet(rows, metadata=METADATA, **options):
    """A part's bytes; its metadata may be anything."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows.replace_schema_metadata({b"initbench": metadata}), sink, **{"compression": "zstd", **options})
    return sink.getvalue().to_pybytes()
