"""A worker starts before the imports that a grid takes, and none is left behind."""

import subprocess
import sys

import made_up
import pytest

from initbench.execution import processes
from initbench.system import children

GRID = made_up.GRID


@pytest.fixture
def workers(tmp_path, monkeypatch):
    """The worker processes that are started: made-up ones, which train at once."""
    made_up.as_workers(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.toml").write_text(GRID)
    started = []

    class Recorded(processes.WorkerProcess):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            started.append(self)

    for module in ("processes", "process_pool"):
        monkeypatch.setattr(f"initbench.execution.{module}.WorkerProcess", Recorded)
    return started


def run(monkeypatch, *words):
    from initbench.cli import main

    monkeypatch.setattr(sys, "argv", ["initbench", "run", *words])
    try:
        main()
    except SystemExit as end:
        return end.code


def test_it_trains_and_a_run_of_little_work_starts_no_other(workers, monkeypatch, capsys):
    assert not run(monkeypatch, "g.toml", "--no-report")
    assert "8 of 8 cells" in capsys.readouterr().out
    assert [worker.lives for worker in workers] == [False]
    assert not run(monkeypatch, "g.toml", "--no-report")  # all cells are trained
    assert [worker.lives for worker in workers] == [False, False]


@pytest.mark.parametrize(
    ("words", "count"),
    [(("missing.toml",), 1), (("g.toml", "--set", "loss=bad"), 1), (("g.toml", "--scheduler", "nowhere"), 0)],
)
def test_a_mistake_is_one_line_and_leaves_no_worker(workers, monkeypatch, capsys, words, count):
    assert run(monkeypatch, *words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert [worker.lives for worker in workers] == [False] * count


def test_it_starts_before_numpy_and_arrow_are_imported():
    code = """
import sys
from initbench.system import children
def started(*words, **more):
    print(*words[:2], [name for name in ("numpy", "pyarrow", "pandas", "scipy") if name in sys.modules])
    raise SystemExit
children.start = started
sys.argv = ["initbench", "run", "missing.toml"]
from initbench.cli import main
main()
"""
    process = children.start("-c", code, stdout=subprocess.PIPE, text=True)
    assert process.communicate()[0] == "-m initbench.training.worker []\n"
