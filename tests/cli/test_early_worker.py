"""A worker, or what draws, starts before the imports that the command line takes, and none is left behind."""

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


@pytest.mark.parametrize(("words", "status", "count"), [(("g.toml", "--nothing"), 2, 1), (("g.toml", "--help"), 0, 0)])
def test_a_command_line_that_trains_nothing_leaves_no_worker(workers, monkeypatch, words, status, count):
    assert (run(monkeypatch, *words) or 0) == status
    assert [worker.lives for worker in workers] == [False] * count


def test_completion_in_a_shell_starts_no_worker(workers, monkeypatch, capsys):
    monkeypatch.setenv("_INITBENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "initbench\nru")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert not run(monkeypatch, "g.toml")
    assert capsys.readouterr() == ("run\n", "")
    assert workers == []


def test_an_interrupt_of_the_imports_leaves_no_worker(workers, monkeypatch):
    def interrupt():
        assert [worker.lives for worker in workers] == [True]
        raise KeyboardInterrupt

    monkeypatch.setattr("initbench.cli.commands.main", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, "g.toml")
    assert [worker.lives for worker in workers] == [False]


@pytest.mark.parametrize(
    ("words", "module"),
    [(["run", "missing.toml"], "initbench.training.worker"), (["report", "."], "initbench.reporting.drawing_process")],
)
def test_it_starts_before_what_the_command_line_needs_is_imported(words, module):
    code = f"""
import sys
from initbench.system import children, threads
def started(*words, **more):
    heavy = "typer", "pydantic", "numpy", "pyarrow", "pandas", "scipy", "jinja2"
    print(*words[:2], [name for name in heavy if name in sys.modules])
    raise SystemExit
children.start = started
threads.available_cores = lambda: 2
sys.argv = ["initbench", *{words}]
from initbench.cli import main
main()
"""
    process = children.start("-c", code, stdout=subprocess.PIPE, text=True)
    assert process.communicate()[0] == f"-m {module} []\n"
