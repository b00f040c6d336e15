"""The cost of a report: the seconds to render it, its size, and the milliseconds until a browser has loaded it.

Usage: `python -m benchmarks.report`. Nothing is trained: the results are random. Loading is measured in Chromium where
playwright is installed, the median of five.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from initbench.reporting.page import render
from initbench.results.table import frame, table
from initbench.spec import grid, presets
from initbench.spec.columns import METRICS

RATES = [round(0.01 * (n + 1), 2) for n in range(25)]
NORMALS = ", ".join(f'{{ name = "normal", std = {n / 10} }}' for n in range(1, 11))
GRIDS = {
    "the article's 240 cells": (presets.text("keepcoding"), {}),
    "10,000 cells, 100 combinations": (
        f'[grid]\ninitializer = [{NORMALS}]\nactivation = ["tanh", "relu", "sigmoid", "elu"]\nlearning_rate = {RATES}\n'
        "seed = 10\n[training]\nepochs = 10",
        {},
    ),
    "9,984 cells, 8 combinations": (presets.text("keepcoding"), {"seed": 208}),
}


def made_up(parsed):
    """Return a tidy table of a grid with random results."""
    cells = list(parsed.cells())
    shape = (len(METRICS), cells[0].epochs + 1, len(cells))
    values = np.random.default_rng(0).random(shape).tolist()
    return frame(cells, [table(cells, dict(zip(METRICS, values, strict=True)))])


def opened(path):
    """Return the milliseconds until Chromium has loaded a page; None without it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    milliseconds = "performance.timing.loadEventEnd - performance.timing.navigationStart"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        times = []
        for _ in range(5):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(path.as_uri())
            times.append(page.evaluate(milliseconds))
            page.close()
        browser.close()
    return statistics.median(times)


def main():
    """Print a line for each grid."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        for name, (text, overrides) in GRIDS.items():
            parsed = grid.parse(text, overrides=overrides)
            rows = made_up(parsed)
            start = time.perf_counter()
            page = render(rows, parsed, [], "initbench run grid.toml")
            seconds = time.perf_counter() - start
            path.write_text(page, encoding="utf-8")
            load = opened(path)
            loading = "" if load is None else f", opens in {load:.0f} ms"
            sys.stdout.write(f"{name:32} {seconds:6.1f} s, {len(page.encode()) / 1e6:5.2f} MB{loading}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
