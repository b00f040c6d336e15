"""The check of the GPU path, at toy sizes on the CPU."""

import json

import numpy as np
import pytest

from benchmarks import gpu
from initbench.training.stack import Epoch


@pytest.mark.slow
def test_the_check_runs_without_a_gpu_and_writes_both_tables(tmp_path, monkeypatch, capsys):
    words = ["gpu", "--device", "cpu", "--toy", "--parts", "results", "speed", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", words)
    assert gpu.main() == 0
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [row["cells alike"] for row in parts["results"]["rows"]] == [1.0] * 4
    assert sum("µs" in row for row in parts["speed"]["rows"]) == 8
    assert "## speed: passed" in (tmp_path / "gpu.md").read_text()


def test_a_part_that_fails_is_in_the_table_and_stops_no_other(tmp_path, monkeypatch, capsys):
    def fails(options):
        yield {"what": "begun"}
        raise RuntimeError("CUDA error\nsecond line")

    monkeypatch.setattr(gpu, "PARTS", {"tests": fails, "results": lambda options: iter([{"what": "done"}])})
    monkeypatch.setattr("sys.argv", ["gpu", "--device", "cpu", "--out", str(tmp_path), "--parts", "tests", "results"])
    assert gpu.main() == 1
    table = (tmp_path / "gpu.md").read_text()
    assert "## tests: failed: RuntimeError: CUDA error (" in table
    assert "## results: passed" in table


def test_an_epoch_that_differs_beyond_rounding_is_found():
    losses = np.array([0.5, np.nan, 2.0])
    left = Epoch(0, np.empty((0, 3)), losses, losses, losses, losses)
    right = left.__class__(0, left.step_losses, losses * [1 + 2e-5, 1, 1 + 1e-7], losses, losses, losses)
    assert gpu.compared(left, left)["cells alike"] == 1
    assert gpu.compared(left, right)["cells alike"] == pytest.approx(2 / 3)
    diverged = left.__class__(0, left.step_losses, losses * [np.nan, 1, 1], losses, losses, losses)
    assert gpu.compared(left, diverged)["largest"] == np.inf
