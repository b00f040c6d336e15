"""What draws the report starts with the training, if a report is wanted, and ends in every case."""

import threading
from contextlib import contextmanager
from types import SimpleNamespace

import made_up
import pytest

from initbench.api import training
from initbench.errors import WorkerDied
from initbench.execution.config import LOCAL
from initbench.reporting.drawers import Drawer
from initbench.spec import grid


@pytest.fixture
def log(monkeypatch):
    """What happens to the processes that draw, and to the cells."""
    happened = []

    @contextmanager
    def started(*, in_background=False):
        happened.append(f"started{' in the background' * in_background}")
        try:
            yield Drawer()
        finally:
            happened.append("ended")

    monkeypatch.setattr(training.drawers, "started", started)
    made_up.instantly(monkeypatch, lambda task: happened.append("trained"))
    return happened


def train(folder, report=True, on_event=lambda event: None):
    return training.train(grid.parse(made_up.GRID), folder, LOCAL, on_event, report=report)


def test_it_starts_while_cells_train_for_a_report_alone(log, monkeypatch, tmp_path):
    drawn_by = []
    monkeypatch.setattr(training, "update_report", lambda *arguments: drawn_by.append(arguments[-1]))
    train(tmp_path / "without", report=False)
    assert set(log) == {"trained"}
    log.clear()
    train(tmp_path / "with")
    assert log[-1] == "ended"
    assert [line for line in log if line != "trained"] == ["started in the background", "ended"]
    log.clear()
    train(tmp_path / "with")  # all cells are there: the report may be, too
    assert log == []
    assert [type(drawer) for drawer in drawn_by] == [Drawer, type(None)]


def test_it_starts_when_this_process_has_imported_what_the_report_needs(log, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "FOR_REPORT", ("what_the_report_needs",))
    monkeypatch.setattr(training, "import_module", lambda name: log.append(name) or SimpleNamespace(compile_all=list))
    train(tmp_path)
    assert [line for line in log if line != "trained"][-3:] == [
        "initbench.reporting.templates",
        "started in the background",
        "ended",
    ]


def test_cells_train_while_this_process_imports(log, monkeypatch, tmp_path):
    trained = threading.Event()
    monkeypatch.setattr(training, "import_module", lambda name: trained.wait(60) or pytest.fail("it trains later"))

    def listen(event):
        if isinstance(event, training.Finished):
            trained.set()

    train(tmp_path, report=False, on_event=listen)
    assert trained.is_set()


def test_an_error_of_the_imports_is_raised(log, monkeypatch, tmp_path):
    def fail(name):
        raise ImportError(name)

    monkeypatch.setattr(training, "import_module", fail)
    with pytest.raises(ImportError, match="pandas"):
        train(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, WorkerDied("a worker died")])
def test_it_ends_when_the_training_stops(log, tmp_path, error):
    def stop(event):
        if isinstance(event, training.Finished):
            raise error

    with pytest.raises((training.Interrupted, WorkerDied)):
        train(tmp_path, on_event=stop)
    assert [line for line in log if line != "trained"] == ["started in the background", "ended"]


def test_it_ends_when_the_report_cannot_be_written(log, monkeypatch, tmp_path):
    def fail(*_):
        raise OSError("no room")

    monkeypatch.setattr(training, "update_report", fail)
    assert str(train(tmp_path).report_error) == "no room"
    assert log[-1] == "ended"
