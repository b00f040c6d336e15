"""Experiments with synthetic results, for tests that damage and poison their folders."""

import hashlib
import json
import re
import zlib

import made_up
import pyarrow as pa
import pyarrow.parquet as pq

from initbench.data import datasets
from initbench.plugins.bundle import Bundle
from initbench.results import plugin_file, signal, store
from initbench.results.experiment import Experiment
from initbench.results.plugin_file import Function, StoredPlugin
from initbench.results.table import table
from initbench.spec import grid
from initbench.spec.columns import METRICS

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
    """The rows of these cells, with possible values; some diverge. Those of an own loss are cross_entropy's."""
    luck = [zlib.crc32(re.sub(r"\w+@[0-9a-f]{20}", "cross_entropy", repr(cell[2:])).encode()) for cell in cells]
    metrics = {name: [] for name in METRICS}
    for epoch in range(cells[0].epochs + 1):
        for name in METRICS:
            values = [0.5 + number % 1000 / 4000 + 0.01 * epoch for number in luck]
            metrics[name].append(
                [float("inf") if n % 11 == 0 and epoch else v for n, v in zip(luck, values, strict=True)]
            )
    return table(cells, metrics)


def made_run(results, text=GRID, environment=ENVIRONMENT, timing=TIMING, **keywords):
    """An experiment's folder with two parts; its grid is `text`."""
    parsed = grid.parse(text, **keywords)
    run = Experiment.create(parsed, results)
    cells = list(parsed.cells())
    for half in (cells[::2], cells[1::2]):
        part = store.write_part(run.folder, made_table(half), environment)
        store.write_timing(run.folder, part, timing)
        signal.write(run.folder, signal.table(half, made_up.signal_of([cell.values() for cell in half])), environment)
    return run.folder


def part_files(folder):
    """The files of an experiment's parts."""
    return sorted((folder / "parts").glob("[!.]*.parquet"))


def signal_files(folder):
    """The files of an experiment's signal table."""
    return sorted((folder / "signal").glob("[!.]*.parquet"))


def replaced(path, content):
    """Replace a part's content, with a valid checksum in its name; returns the new path."""
    path.unlink()
    path = path.with_name(f"{hashlib.sha256(content).hexdigest()}.parquet")
    path.write_bytes(content)
    return path


def parquet(rows, metadata=METADATA, **options):
    """The bytes of a part with any metadata."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows.replace_schema_metadata({b"initbench": metadata}), sink, **{"compression": "zstd", **options})
    return sink.getvalue().to_pybytes()


# Strings that a page, a terminal or a spreadsheet might execute; some set `window.pwned`.
PAYLOADS = (
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=2</script>",
    '"><img src=x onerror=window.pwned=3>',
    "' onmouseover='window.pwned=4' autofocus onfocus='window.pwned=4",
    "javascript:window.pwned=5",
    "</style><style>*{background:url(https://example.invalid/x)}</style>",
    "{{ 7 * 7 }}{% raw %}${7*7}",
    "<!--<svg onload=window.pwned=6>",
    "]]><iframe srcdoc='<script>parent.pwned=7</script>'>",
    "[red]x[/blue] **y** `z` | w",
    "</text><a xlink:href=javascript:window.pwned=8>",
)

# Strings that are rejected as a data set's name.
UNPRINTABLE = ("\u2028window.pwned=9//", "\x1b]0;owned\x07", "a\0b", "\u202e", "\ud800")


def poisoned_plugins(payloads=PAYLOADS):
    """A plugin, by digest, whose code, names and descriptions are these strings, and an earlier version of it."""
    plugins = {}
    for version in ("earlier", "present"):
        names = [f"{re.sub(r'[/:]', '', payload)}.py" for payload in payloads]
        texts = {name: "\n".join((version, *payloads, " ".join(payloads))) for name in names}
        bundle = Bundle(" ".join(payloads), names[0], {name: text.encode() for name, text in texts.items()})
        function = Function("loss", "fair", payloads[0], " ".join(payloads))
        plugins[bundle.digest] = StoredPlugin(bundle, (function,))
    return plugins


def poisoned(results, payloads=PAYLOADS):
    """An experiment's folder in which every free string is one of these."""
    plugins = poisoned_plugins(payloads)
    text = GRID.replace("[training]", f'[training]\nloss = "fair@{[*plugins][-1]}"', 1)
    sources = {}
    for i, payload in enumerate(" ".join(payloads[i::3]) for i in range(3)):
        source = datasets.Source(
            f"{payload}@{i:012x}", datasets.absolute(f"/none/{i}/{payload}"), 640, 50, 100, 9, 9, 10, 0.1, 0.1
        )
        sources[source.name] = source
    folders = ", ".join(f"{{ idx = {json.dumps(source.folder)} }}" for source in sources.values())
    text = text.replace("[grid]", f"[grid]\ndataset = [{folders}]\n# {' '.join(payloads)}", 1)
    environment = {**ENVIRONMENT, "processor": payloads[0], "torch": " ".join(payloads), payloads[1]: payloads[2]}
    timing = {**TIMING, "host": payloads[0], "device": payloads[1], "processor": payloads[2], payloads[3]: payloads[4]}
    folder = made_run(results, text, environment, timing, sources=sources)
    plugin_file.write(folder, plugins)
    for number, path in enumerate(part_files(folder)):
        rows = pq.read_table(path)
        for name in ("dataset", "initializer", "bias_initializer", "activation", "loss", "hidden", "optimizer"):
            poison = pa.array([payloads[number]] * len(rows))
            rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), poison)
        replaced(path, parquet(rows, json.dumps(environment).encode()))
    return folder
