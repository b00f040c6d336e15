"""The output of commands, and their work if it cannot be written (closed, full, gone, slow); the forecast of the end of
training; the messages of failures."""

import contextlib
import errno
import io
import os
import re
import select
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import made_up
import pytest
import untrusted
from command import ended

import initbench as ib
from initbench.api import outputs, progress, training
from initbench.cli import output
from initbench.cli import run as run_command
from initbench.durations import duration
from initbench.errors import UserError
from initbench.execution import plan
from initbench.execution.events import Finished, Lost, Notice, Planned, Progress, Untrained
from initbench.results.experiment import Experiment
from initbench.spec import grid

FULL = os.strerror(errno.ENOSPC)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="streams, signals and /dev/full as Linux has them")


def stream(descriptor, required=False):
    """A standard stream as `protect` makes it, of another descriptor."""
    raw = io.FileIO(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(output._Stream(raw, descriptor, required), encoding="utf-8", line_buffering=True)


@pytest.fixture
def pipe():
    """Both ends of a pipe; a test may close either."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_what_a_reader_that_left_does_not_read_is_dropped_or_ends_a_command_that_only_prints(pipe):
    os.close(pipe[0])
    working = stream(pipe[1])
    for _ in range(3):
        print("lost", file=working)
    printing = stream(pipe[1], required=True)
    with pytest.raises(output.CannotPrint) as error:
        print("lost", file=printing)
    assert error.value.reader_left
    print("said once", file=printing)
    printing.flush()


def test_a_full_disk_takes_lines_and_not_the_work_and_later_lines_are_written_again(monkeypatch):
    written, full = [], [True, True, False]

    class Raw:
        def write(self, data):
            if full.pop(0):
                raise OSError(errno.ENOSPC, FULL)
            written.append(bytes(data))
            return len(data)

    safe = io.TextIOWrapper(output._Stream(Raw(), 1, False), encoding="utf-8", line_buffering=True)
    for text in ("one\n", "two\n", "three\n"):
        safe.write(text)
    assert b"".join(written) == b"three\n"
    with open("/dev/full", "wb") as device, pytest.raises(output.CannotPrint, match=FULL) as error:
        print("lost", file=stream(device.fileno(), required=True))
    assert not error.value.reader_left


@pytest.mark.parametrize("required", [True, False])
def test_a_pipe_that_is_full_for_a_while_loses_nothing_that_is_needed_and_holds_nobody_up(pipe, monkeypatch, required):
    monkeypatch.setattr(output, "MAX_WAIT", 0.05)
    read, write = pipe
    os.set_blocking(write, False)
    safe = stream(write, required)
    text = "a line of some length\n" * 10_000  # more than a pipe holds
    content = bytearray()
    if required:
        reader = threading.Thread(target=lambda: content.extend(iter_all(read, len(text))))
        reader.start()
        safe.write(text)
        reader.join()
        assert content.decode() == text
        return
    safe.write(text)  # returns, though nobody reads
    safe.write("lost\n")
    received = os.read(read, len(text)).decode()
    assert text.startswith(received)
    safe.write("read again\n")
    assert os.read(read, 100) == b"read again\n"


def iter_all(descriptor, count):
    while count > 0:
        content = os.read(descriptor, 65536)
        count -= len(content)
        yield from content


def test_closed_descriptors_are_opened_first_so_that_no_result_gets_what_is_printed(tmp_path):
    program = (
        "import os, sys\n"
        "from initbench.cli import output\n"
        "output.protect()\n"
        "result = open('result', 'w')\n"
        "assert result.fileno() > 2 and sys.stdin.read() == ''\n"
        "print('to standard error', file=sys.stderr)\n"
        "os.write(1, b'from a library'), os.write(2, b'from a library')\n"
        "try:\n    print('to standard output')\n"
        "except output.CannotPrint as error:\n    result.write(str(error))\n"
        "sys.stdout.isatty(), sys.stderr.flush()\n"
    )
    command = ["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, program]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    assert (tmp_path / "result").read_text() == os.strerror(errno.EBADF)


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ('"$0" -m initbench schema > /dev/full', 1, f"standard output: cannot be written ({FULL})\n"),
        ('{ "$0" -m initbench schema; echo $? >&2; } | head -1 > /dev/null', 0, "0\n"),
        ('"$0" -m initbench new g.toml >&- 2> /dev/full', 0, ""),
    ],
)
def test_a_command_that_prints_ends_in_a_line_and_one_that_works_does_its_work(tmp_path, command, status, message):
    done = subprocess.run(["sh", "-c", command, sys.executable], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr.decode()) == (status, message)
    assert (tmp_path / "g.toml").exists() == ("new" in command)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_that_was_ignored_stays_ignored_before_and_after_an_interrupt(name):
    every = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    ignored = getattr(signal, name)
    before = {number: signal.getsignal(number) for number in every}
    try:
        signal.signal(ignored, signal.SIG_IGN)
        run_command.interrupt_once()
        try:
            signal.raise_signal(ignored)
        except KeyboardInterrupt:  # which would end the tests
            pytest.fail(f"{name} interrupts, though it was ignored")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(next(number for number in every if number != ignored))
        assert {signal.getsignal(number) for number in every} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# Progress


GRID = """
[grid]
initializer = "he_normal"
activation = ["tanh", "relu", "gelu"]
seed = {seeds}
[model]
hidden = {hidden}
[training]
epochs = 4
"""


def planned(hidden, seeds=4, workers=2):
    """The stacks of grids of networks of several sizes, longest first."""
    grids = [grid.parse(GRID.format(seeds=seeds, hidden=widths)) for widths in hidden]
    stacks = [stack for parsed in grids for stack in plan.plan(parsed.cells(), parsed.sources, workers)]
    return sorted(stacks, key=lambda stack: -stack.operations)


def simulated(stacks, rate, workers, start, every=1.0):
    """The events of a training with their times: `rate` operations a second at each worker, the first stack of which
    begins after `start` seconds; and the time at which all is done."""
    events, free = [], [start] * workers
    for stack in stacks:
        at = min(free)
        seconds = stack.operations / rate
        for i in range(1, int(seconds / every) + 1):
            share = i * every / seconds
            events.append((at + i * every, Progress(stack, share * stack.cells[0].epochs)))
        free[free.index(at)] = at + seconds
        events.append((at + seconds, Finished(stack, {}, {}, "", seconds, {}, 1.0)))
    return sorted(events, key=lambda event: event[0]), max(free)


@pytest.mark.parametrize(
    ("hidden", "seeds", "workers"),
    [(["[16]", "[64]", "[256, 256]"], 4, 2), (["[128]"], 7, 2), (["[16]", "[512]"], 9, 5), (["[32]"], 1, 1)],
)
@pytest.mark.parametrize("plan_is", [1.0, 0.8, None])  # of the true speed; None: there is no plan
def test_the_time_left_is_near_the_truth_whenever_it_is_shown(hidden, seeds, workers, plan_is):
    stacks = planned(hidden, seeds, workers)
    rate = sum(stack.operations for stack in stacks) / workers / 400.0
    seconds = None if plan_is is None else [(stack.operations / (rate * plan_is), 0.0) for stack in stacks]
    events, end = simulated(stacks, rate, workers, start=20.0)
    forecast = progress.Forecast(sum(len(stack.cells) for stack in stacks), 0.0)
    forecast.add(Planned(stacks, seconds, lambda: workers), 2.0)
    shown = [(forecast.seconds_left, end - 2.0)] if seconds else []  # at once, though nothing is done
    for at, event in events:
        forecast.add(event, at)
        if (left := forecast.seconds_left) is not None:
            shown.append((left, end - at))
    wrong = [(left, truth) for left, truth in shown if abs(left - truth) > max(0.3 * truth, 3.0)]
    assert not wrong
    assert len(shown) > 0.9 * len(events)
    assert forecast.done == forecast.total
    assert forecast.seconds_left is None


def test_what_fails_or_is_tried_again_in_halves_is_counted_once():
    stacks = planned(["[16]", "[64]"], seeds=2, workers=1)
    total = sum(len(stack.cells) for stack in stacks)
    forecast = progress.Forecast(total, 0.0)
    forecast.add(Planned(stacks, [(100.0, 0.0)] * len(stacks), lambda: 1), 0.0)
    whole = forecast.seconds_left
    assert whole == pytest.approx(100.0 * len(stacks))
    forecast.add(Progress(stacks[0], 2.0), 50.0)
    assert forecast.done == len(stacks[0].cells) / 2
    forecast.add(Lost(stacks[0]), 50.0)
    assert (forecast.done, forecast.seconds_left) == (0.0, pytest.approx(whole))
    left, right = plan.split(stacks[0], 2)
    forecast.add(Finished(left, {}, {}, "", 100.0 * len(left.cells) / len(stacks[0].cells), {}, 1.0), 100.0)
    for cell in right.cells:
        forecast.add(Untrained(cell, "no reason"), 100.0)
    assert forecast.done == len(stacks[0].cells)
    assert forecast.seconds_left == pytest.approx(whole - 100.0)


def test_a_line_has_the_rate_and_the_remaining_time_of_the_plan(monkeypatch, capsys):
    clock = [1000.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    stacks = planned(["[64]"], seeds=2, workers=1)
    total, work = sum(len(stack.cells) for stack in stacks), 1028.0 / len(stacks)
    with progress.lines(total) as listen:
        clock[0] += 30
        listen(Notice("a worker joined"))
        listen(Planned(stacks, [(work, 0.0)] * len(stacks), lambda: 2 * len(stacks)))
        clock[0] += 11
        listen(Progress(stacks[0], 0.0))
        clock[0] += 11
        listen(Finished(stacks[0], {}, {}, "", work, {}, 1.0))
    lines = capsys.readouterr().out.splitlines()
    assert duration(514) == "8 min 34 s"
    left = duration(round(work))
    assert lines[0] == f"0 of {total} cells, initializing weights"
    assert lines[1] == f"0 of {total} cells, initializing weights, about {left} left"
    assert re.fullmatch(rf"{len(stacks[0].cells)} of {total} cells, 0.\d+ cells/s, about {left} left", lines[2])


def test_the_bar_outlives_its_terminal(monkeypatch):
    ours, theirs = os.openpty()
    monkeypatch.setattr(sys, "stdout", stream(theirs))
    stacks = planned(["[64]"], seeds=2, workers=1)
    with progress.bar(sum(len(stack.cells) for stack in stacks)) as listen:
        listen(Planned(stacks, [(514.0 / len(stacks), 0.0)] * len(stacks), lambda: 1))
        shown = ""
        while "about 8 min 34 s left" not in shown:
            assert select.select([ours], [], [], 10)[0], shown
            shown += os.read(ours, 65536).decode()
        os.close(ours)  # the terminal is closed
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            os.write(theirs, b"x")
        for stack in stacks:
            listen(Finished(stack, {}, {}, "", 1.0, {}, 1.0))
    os.close(theirs)


# What fails after the training, and in what is made of it


@pytest.fixture
def trained_at_once(tmp_path, monkeypatch):
    """The working directory, in which runs train at once, and keep this process's own signal handlers."""
    made_up.instantly(monkeypatch)
    monkeypatch.setattr(run_command, "interrupt_once", lambda: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class OddError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OddError("a\nreason"), "OddError: a\\nreason (set INITBENCH_TRACEBACK=1 for the traceback)"),
        (MemoryError(), "MemoryError (set INITBENCH_TRACEBACK=1 for the traceback)"),
        (OSError(errno.ENOSPC, FULL, "report.html"), f"report.html: {FULL}"),
        (UserError("folder: is a link"), "folder: is a link"),
    ],
)
def test_a_report_that_fails_after_the_training_is_a_line_and_can_be_regenerated(
    trained_at_once, monkeypatch, capsys, error, message
):
    def fail(*_):
        raise error

    (trained_at_once / "g.toml").write_text(made_up.GRID)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "update_report", fail)
        status, _, err = ended(monkeypatch, capsys, "run", "g.toml", "--results", "my results")
    assert status == 1
    (line,) = err.splitlines()
    assert line.startswith(f"The report could not be written: {message}")
    assert line.endswith("The results are kept; to write it: initbench report 'my results/made-up'")
    assert Experiment.open(trained_at_once / "my results" / "made-up").missing() == []
    monkeypatch.setattr(outputs, "write_report", lambda *_: None)
    assert ended(monkeypatch, capsys, "report", "my results/made-up")[:2] == (
        0,
        "Report: my results/made-up/report.html\n",
    )


def test_ctrl_c_in_the_report_is_an_interrupt(trained_at_once, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    (trained_at_once / "g.toml").write_text(made_up.GRID)
    for module in (training, outputs):
        monkeypatch.setattr(module, "update_report", interrupt)
    status, out, err = ended(monkeypatch, capsys, "run", "g.toml")
    assert (status, err) == (130, "")
    assert (
        "Interrupted. Kept: 8 of 8 cells, in results/made-up. Lost: nothing.\nResume with: initbench run g.toml\n"
        in out
    )
    assert ended(monkeypatch, capsys, "report", "results/made-up")[0] == 130


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("write_report", ["report"]), ("write_figures", ["figures"]), ("changes", ["compare", "made"])],
)
def test_an_unforeseen_error_is_a_line_and_its_traceback_is_optional(tmp_path, monkeypatch, capsys, name, arguments):
    def fail(*_, **__):
        raise OddError("a reason")

    untrusted.made_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(outputs, name, fail)
    message = "initbench: unforeseen error: OddError: a reason"
    assert ended(monkeypatch, capsys, *arguments, "made") == (
        1,
        "",
        f"{message} (set INITBENCH_TRACEBACK=1 for the traceback)\n",
    )
    monkeypatch.setenv("INITBENCH_TRACEBACK", "1")
    status, _, err = ended(monkeypatch, capsys, *arguments, "made")
    assert (status, err.splitlines()[0], err.splitlines()[-1]) == (1, "Traceback (most recent call last):", message)


# Grid files from pipes and from a run's folder; files that exist


@pytest.fixture
def instant(trained_at_once, monkeypatch):
    """The same, in which runs make no report."""
    monkeypatch.setattr(training, "update_report", lambda *_: None)
    monkeypatch.setattr(run_command, "_print_summary", lambda *_: None)
    return trained_at_once


NAMELESS = made_up.GRID.replace('name = "made-up"\n', "")


@pytest.fixture
def piped():
    """The path of a pipe with this content, as a shell's `<(…)` provides."""
    opened = []

    def path(text):
        read, write = os.pipe()
        os.write(write, text.encode())
        os.close(write)
        opened.append(read)
        return f"/dev/fd/{read}"

    yield path
    for descriptor in opened:
        os.close(descriptor)


def test_a_grid_from_a_pipe_is_read_once_and_goes_on_from_its_folder(instant, monkeypatch, capsys, piped):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_all", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        options = ["--set", "seed=3", "--smoke", "--results", "a place", "--width", "3"]
        status, out, err = ended(monkeypatch, capsys, "run", piped(made_up.GRID), *options)
    assert (status, err) == (130, "")
    (line,) = [line for line in out.splitlines() if line.startswith("Resume with: ")]
    assert line == "Resume with: initbench run 'a place/made-up-smoke/grid.toml' --width 3"
    status, out, err = ended(monkeypatch, capsys, "run", "a place/made-up-smoke/grid.toml", "--width", "3")
    assert (status, err) == (0, "")
    assert "a place/made-up-smoke: 12 cells to train" in out
    assert [path.name for path in (instant / "a place").iterdir()] == ["made-up-smoke"]
    assert not (instant / "results").exists()


def test_a_grid_from_a_pipe_needs_a_name(instant, monkeypatch, capsys, piped):
    for command in ("plan", "run"):
        status, _, err = ended(monkeypatch, capsys, command, path := piped(NAMELESS))
        message = "name is missing, and a pipe has none; set it in the file, name = 'mine', or as --set name=mine"
        assert (status, err) == (2, f"{path}: {message}\n")
    assert not any(instant.iterdir())
    assert ended(monkeypatch, capsys, "run", piped(NAMELESS), "--set", "name=mine")[0] == 0
    os.mkfifo("named.toml")
    writer = threading.Thread(target=lambda: (instant / "named.toml").write_text(NAMELESS))
    writer.start()
    assert ended(monkeypatch, capsys, "run", "named.toml", "--smoke")[0] == 0
    writer.join()
    assert sorted(path.name for path in (instant / "results").iterdir()) == ["mine", "named-smoke"]


@pytest.mark.parametrize("earlier", [False, True])  # a folder of an earlier version, whose grid.toml has no name
def test_a_runs_own_grid_goes_on_with_that_run(instant, monkeypatch, capsys, earlier):
    (instant / "mine.toml").write_text(NAMELESS)
    ended(monkeypatch, capsys, "run", "mine.toml", "--results", "there")
    own = instant / "there" / "mine" / "grid.toml"
    assert own.read_text() == f'name = "mine"\n{NAMELESS}'
    if earlier:
        own.write_text(NAMELESS)
    else:  # by a link of another name
        (instant / "link").symlink_to("there/mine")
        status, out, _ = ended(monkeypatch, capsys, "plan", "link/grid.toml")
        assert (status, "nothing to train" in out) == (0, True)
        (instant / "link").unlink()
    for folder, path, destination in (
        (".", "there/mine/grid.toml", "there/mine"),
        ("there/mine", "grid.toml", "../mine"),
        ("there", "mine/grid.toml", "mine"),
        ("/", own, own.parent),
    ):
        monkeypatch.chdir(instant / folder)
        message = f"{path} is an experiment's own grid: results go to {destination} (or give --results DIR)\n"
        status, out, _ = ended(monkeypatch, capsys, "run", path)
        assert (status, out) == (0, f"{message}Nothing to train: all 8 cells are in {destination} already.\n")
        out = ended(monkeypatch, capsys, "plan", path)[1]
        assert out.startswith(message)
        assert "nothing to train" in out
    monkeypatch.chdir(instant)
    assert len(ib.run("there/mine/grid.toml", overrides={"seed": 3}).frame) == 12 * 3
    assert ended(monkeypatch, capsys, "run", "there/mine/grid.toml", "--results", "new")[0] == 0  # as it says
    assert [str(p.relative_to(instant)) for p in sorted(instant.glob("*/*"))] == ["new/mine", "there/mine"]


def test_a_file_that_the_user_names_is_overwritten_if_requested(instant, monkeypatch, capsys):
    untrusted.made_run(instant)
    for kind, arguments in (
        ("csv", ["export", "made"]),
        ("md", ["export", "made"]),
        ("toml", ["new"]),
        ("html", ["compare", "made", "made", "--out"]),
        ("png", ["show", "he_normal", "--shape", "8,8", "--out"]),
    ):
        path = instant / f"mine.{kind}"
        path.write_text("mine")
        message = f"{path.name}: exists already; give another name, or --force to overwrite it\n"
        assert ended(monkeypatch, capsys, *arguments, path.name) == (2, "", message)
        assert path.read_text() == "mine"
        assert ended(monkeypatch, capsys, *arguments, path.name, "--force")[0] == 0
        assert len(path.read_bytes()) > 100
