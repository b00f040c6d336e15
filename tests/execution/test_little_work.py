"""A training that is over in a second or two starts one worker, with the same results."""

import pytest

from initbench.api import training
from initbench.execution import start
from initbench.execution.config import ExecutionConfig
from initbench.spec import grid

GRID = """
name = "little"
[training]
epochs = 1
train_size = 640
[grid]
initializer = ["he_normal", "orthogonal"]
activation = ["tanh", "relu"]
"""


def test_a_second_worker_starts_for_more_work_alone(monkeypatch):
    counts = []
    monkeypatch.setattr(start, "ProcessPool", lambda count, device, first: counts.append(count))
    monkeypatch.setattr(start, "available_cores", lambda: 4)
    parsed = grid.parse(GRID)
    much = grid.parse(GRID, overrides={"train_size": 54000, "epochs": 20, "hidden": [1024]})
    for cells, sources in ((list(parsed.cells()), parsed.sources), (list(much.cells()), much.sources)):
        start.start_pool(cells, sources)
        start.start_pool(cells, sources, ExecutionConfig(workers=3))
        start.start_pool(cells, sources, training=False)  # of deep networks it may take long
    assert counts == [1, 3, 4, 4, 3, 4]


@pytest.mark.slow
def test_one_worker_and_several_compute_the_same(tmp_path):
    parsed = grid.parse(GRID)
    frames = [
        training.train(parsed, tmp_path / str(workers), ExecutionConfig(workers), lambda event: None).frame
        for workers in (None, 2)
    ]
    assert len(frames[0]) == 2 * len(parsed)
    assert frames[0].equals(frames[1])
