"""The hot paths, for `make bench-local`, which compares them with the last run that was saved.

In the plain test run each is done once, and its result is looked at.
"""

import numpy as np
import pytest

from benchmarks.suites import bookkeeping, training
from initbench import initializers
from initbench.data import datasets
from initbench.execution import plan
from initbench.random import noise
from initbench.reporting.page import render
from initbench.spec import grid


@pytest.fixture(scope="module", autouse=True)
def _loaded():
    noise.load()


@pytest.mark.parametrize("shape", [(768, 10), (784, 256), (4096, 4096)], ids=str)
@pytest.mark.parametrize("scheme", ["uniform", "normal", "truncated_normal"])
def test_a_sampler(benchmark, scheme, shape):
    draw = initializers.INITIALIZERS[scheme].function
    draw((2, 2), seed=0)  # what is compiled at the first call
    W = benchmark(draw, shape, seed=0)
    assert W.shape == shape
    assert W.std() == pytest.approx({"uniform": 0.0289, "normal": 0.05, "truncated_normal": 0.044}[scheme], rel=0.02)


@pytest.mark.parametrize("shape", [(768, 10), (784, 256)], ids=str)
def test_orthogonal_weights(benchmark, shape):
    W = benchmark(initializers.orthogonal, shape, seed=0)
    np.testing.assert_allclose(W.T @ W, np.eye(shape[1]), atol=1e-5)


@pytest.mark.parametrize("network", training.WIDTHS)
def test_a_step_of_a_stack(benchmark, network):
    suite = training.Step()
    suite.setup(network)
    benchmark(suite.steps.take, 1)
    assert 0 < suite.steps.losses[0].min().item() < suite.steps.losses[0].max().item() < 10


@pytest.fixture(scope="module")
def thousand_cells(tmp_path_factory):
    """An experiment of 1,000 cells with made-up results."""
    api = bookkeeping.functions()
    experiment = api.experiment.create(bookkeeping.example_grid(api.parse, 1000), tmp_path_factory.mktemp("made-up"))
    bookkeeping.write(api, experiment)
    return experiment


def test_appending_a_part(benchmark, thousand_cells, tmp_path):
    from initbench.results import store
    from initbench.results.table import table
    from initbench.spec.columns import METRICS

    cells = list(thousand_cells.grid.cells())[: bookkeeping.WIDTH]
    values = np.zeros((len(METRICS), cells[0].epochs + 1, len(cells))).tolist()
    rows = table(cells, dict(zip(METRICS, values, strict=True)))
    part = benchmark(store.write_part, tmp_path, rows, {"device": "none"})
    assert [path.stem for path in (tmp_path / "parts").glob("*.parquet")] == [part]


def test_reading_a_results_folder(benchmark, thousand_cells):
    assert len(benchmark(thousand_cells.frame)) == 1000 * 11


@pytest.mark.slow
def test_a_report(benchmark, thousand_cells):
    rows = thousand_cells.frame()
    page = benchmark.pedantic(render, (rows, thousand_cells.grid, [], "initbench run grid.toml"), rounds=3)
    assert page.count("<figure") > 5


def test_planning(benchmark):
    parsed = grid.parse('[grid]\ninitializer = ["he_normal", "zeros"]\nactivation = ["relu", "tanh"]\nseed = 500')
    stacks = benchmark(lambda: plan.plan(parsed.cells(), parsed.sources))
    assert sum(len(stack.cells) for stack in stacks) == 2000


def test_loading_mnist(benchmark):
    assert len(benchmark(datasets.load_mnist).train_images) == 60_000
