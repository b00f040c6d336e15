"""What `ib.run` shows while it trains, and what it reports as kept and lost when a run stops."""

import itertools
import os
import re
import sys
import warnings
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import made_up
import pytest
from command import status_of

import initbench as ib
from initbench.api import training
from initbench.cli import run as run_command
from initbench.errors import CannotWrite, WorkerDied
from initbench.execution.pool import Cause, TaskLost, WorkerMessage
from initbench.results import store


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with a grid file; cells train at once."""
    made_up.instantly(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g.toml").write_text(made_up.GRID)
    return tmp_path


def shown(capsys, **arguments):
    """What `ib.run` prints on both streams."""
    assert len(ib.run("g.toml", **arguments).frame) == 3 * made_up.CELLS
    return capsys.readouterr()


def test_in_a_pipe_nothing_is_printed_unless_it_is_requested(folder, capsys):
    assert shown(capsys) == ("", "")
    assert shown(capsys, results="again", progress=False) == ("", "")
    out, err = shown(capsys, results="once more", progress=True)
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("8 of 8 cells, ")
    assert " cells/s, in " in line


class Terminal:
    """Standard output that is a terminal, and what was written."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return True


def test_in_a_terminal_there_is_a_bar_unless_it_is_refused(folder, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Terminal())
        ib.run("g.toml", progress=False)
        assert sys.stdout.text == ""
        ib.run("g.toml")  # all is trained
        assert sys.stdout.text == ""
        ib.run("g.toml", results="again")
        assert "8 of 8 cells" in sys.stdout.text


@pytest.fixture
def outputs(monkeypatch):
    """The outputs of a notebook, each a list of its states."""
    states = []

    def display(data, raw, display_id):
        assert raw
        assert display_id
        states.append([data])
        return SimpleNamespace(update=lambda data, raw, output=states[-1]: output.append(data))

    notebook, displays = ModuleType("IPython"), ModuleType("IPython.display")
    notebook.get_ipython = lambda: SimpleNamespace(kernel=None)
    displays.display = display
    for module in (notebook, displays):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return states


def shares(output):
    """The values of the bars of an output's states."""
    return [
        float(re.fullmatch(r'.*<progress .* max="1" value="([\d.]+)".*', state["text/html"])[1]) for state in output
    ]


def test_in_a_notebook_one_bar_is_updated_in_place(folder, outputs, capsys):
    assert shown(capsys) == ("", "")
    (output,) = outputs
    assert output[0]["text/plain"] == "0 of 8 cells, starting"
    assert output[-1]["text/plain"].startswith("8 of 8 cells, ")
    assert f">{'</progress>'} 100%, {output[-1]['text/plain']}</div>" in output[-1]["text/html"]
    assert shares(output) == sorted(shares(output))
    assert (shares(output)[0], shares(output)[-1]) == (0, 1)
    assert not any("<script" in state["text/html"] for state in output)
    assert shown(capsys) == ("", "")  # all is trained: no second output
    assert shown(capsys, results="again", progress=False) == ("", "")
    assert len(outputs) == 1
    sys.modules["IPython"].get_ipython = SimpleNamespace  # IPython in a terminal, or a script that imports it
    assert shown(capsys, results="once more") == ("", "")
    assert len(outputs) == 1


def test_a_notebook_keeps_where_an_interrupted_training_stopped(folder, outputs, monkeypatch):
    count = itertools.count()

    def stop(task):
        if next(count) == 1:
            raise KeyboardInterrupt

    made_up.instantly(monkeypatch, stop)
    with pytest.raises(KeyboardInterrupt, match="Kept: ") as interrupt:
        ib.run("g.toml", width=2)
    assert interrupt.value._render_traceback_() == [f"Interrupted. {interrupt.value}"]
    ((*_, last),) = outputs
    assert re.fullmatch(r"\d of 8 cells, stopped after .* s", last["text/plain"])
    assert last["text/plain"] in last["text/html"]


def test_the_warnings_of_a_run_name_the_line_that_called_it(folder, monkeypatch):
    monkeypatch.setattr(training.Experiment, "inventory", lambda self: self.notes.append("a note") or (self.cells, 0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ib.run("g.toml")
    assert [str(warning.message) for warning in caught] == ["a note"]
    assert caught[0].filename == __file__


def run_until(monkeypatch, error, events):
    """Run `g.toml` on a pool whose events are these, after which it raises an error; 40 s pass before that."""
    clock = [0.0]

    class Pool(made_up.Instant):
        def __init__(self):
            super().__init__()
            self.sent, self.busy = [], set()
            self.events = SimpleNamespace(get=self.get)
            self.script = iter(events)

        def free_slots(self):
            return [slot for slot in (0, 1) if slot not in self.busy]

        def send(self, slot, task, request):
            self.busy.add(slot)
            self.sent.append((slot, task, request))

        def get(self):
            number, action = next(self.script, (None, None))
            if action is None:
                clock[0] += 40.0
                raise error
            slot, task, request = self.sent[number]
            if action == "progress":
                reply = {"event": "progress", "epochs": 0.5}
                return WorkerMessage(task, reply, made_up.ENVIRONMENT, "nowhere")
            self.busy.discard(slot)
            if action == "lost":
                return TaskLost(task, "a worker ended", Cause.DIED)
            return WorkerMessage(task, made_up.reply_to(request), made_up.ENVIRONMENT, "nowhere")

    @contextmanager
    def start_pool(*_):
        yield Pool()

    monkeypatch.setattr("initbench.execution.start.start_pool", start_pool)
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(run_command, "interrupt_once", lambda: None)
    return status_of("run", "g.toml", "--set", "seed=6")


STOPS = {
    "nothing": ([], "Kept: 0 of 24 cells, in results/made-up. Lost: nothing."),
    "one": (
        [(0, "progress"), (0, "done"), (1, "progress")],
        "Kept: 4 of 24 cells, in results/made-up. Lost: 1 unfinished stack of 4 cells (40 s of training).",
    ),
    "two": (
        [(0, "progress"), (0, "done"), (1, "progress"), (2, "progress"), (1, "done"), (3, "progress")],
        "Kept: 8 of 24 cells, in results/made-up. Lost: 2 unfinished stacks of 8 cells "
        "(40 s of training each, at most).",
    ),
    "a lost worker": (
        [(0, "progress"), (0, "lost"), (1, "progress")],
        "Kept: 0 of 24 cells, in results/made-up. Lost: 1 unfinished stack of 4 cells (40 s of training).",
    ),
}


@pytest.mark.parametrize("name", STOPS)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), WorkerDied("a worker cannot be started")])
def test_a_run_that_stops_says_what_was_kept_and_what_was_lost(folder, monkeypatch, capsys, name, error):
    events, account = STOPS[name]
    error = type(error)(*error.args)
    status = run_until(monkeypatch, error, events)
    out, err = capsys.readouterr()
    resume = "Resume with: initbench run g.toml --set seed=6"
    if isinstance(error, KeyboardInterrupt):
        assert (status, out.splitlines()[-2:]) == (130, [f"Interrupted. {account}", resume])
    else:
        assert (status, err.splitlines()[-3:]) == (1, ["Stopped: a worker cannot be started.", account, resume])


def test_a_stack_that_cannot_be_written_is_lost(folder, monkeypatch, capsys):
    def full(*_):
        raise CannotWrite(28, os.strerror(28), "results/made-up/parts/x.parquet")

    monkeypatch.setattr(store, "write_part", full)
    status = run_until(monkeypatch, KeyboardInterrupt(), [(0, "progress"), (0, "done")])
    assert status == 1
    assert (
        capsys.readouterr().err.splitlines()[-2].startswith("Kept: 0 of 24 cells, in results/made-up. Lost: 1 unfini")
    )
