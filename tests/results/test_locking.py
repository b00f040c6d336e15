"""One writer per experiment, also across hosts; and nothing is written through a link in its folder."""

import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import made_up
import pandas as pd
import pytest
from soak import THOROUGH

import initbench as ib
from initbench.errors import UserError
from initbench.results import clean, experiment, lock, store
from initbench.results.merge import merge_experiments
from initbench.system import files

ELSEWHERE = {"host": "elsewhere", "process": 4321, "since": "2026-01-01 00:00:00 UTC", "mark": "0123456789abcdef"}

# A run in its own process, whose training takes no time but for a pause at each stack.
PROGRAM = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import made_up, pytest
patch = pytest.MonkeyPatch()
seconds = float(sys.argv.pop())
made_up.instantly(patch, before=lambda task: time.sleep(seconds))
from initbench import cli
from initbench.cli import run
from initbench.api import training
training.update_report = run._print_summary = lambda *_: None  # no report
print("here", flush=True)
sys.stdin.readline()
cli.main()
"""


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "made-up.toml"
    path.write_text(made_up.GRID)
    return path


@pytest.fixture
def folder(grid, tmp_path, monkeypatch):
    """An experiment that lacks its second seed."""
    made_up.instantly(monkeypatch)
    ib.run(grid, results=tmp_path, overrides={"seed": 1})
    return tmp_path / "made-up"


def heartbeat(folder, age, **fields):
    (folder / lock.HEARTBEAT).write_text(json.dumps({**ELSEWHERE, **fields}))
    then = time.time() - age
    os.utime(folder / lock.HEARTBEAT, (then, then))


def without_locks(monkeypatch, error):
    """A disk without locks."""

    def acquire(*_, **__):
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    monkeypatch.setattr(lock, "BOTH_SECONDS", 0.0)


def alive(monkeypatch, folder, **fields):
    """Another writer, who renews the heartbeat as soon as it is watched."""
    monkeypatch.setattr("initbench.results.lock.time.sleep", lambda seconds: heartbeat(folder, age=1, **fields))


NO_LOCKS = [NotImplementedError("no flock"), OSError(errno.ENOLCK, "No locks available")]


class Racing:
    """Real processes that run these grids into one folder, ready to go; each stack takes some seconds."""

    def __init__(self, grids, results, seconds):
        command = [sys.executable, "-c", PROGRAM, "run", "--results", str(results)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.processes = [subprocess.Popen([*command, str(grid), str(seconds)], text=True, **pipes) for grid in grids]

    def __enter__(self):
        for process in self.processes:
            assert process.stdout.readline() == "here\n"
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def go(self, number):
        self.processes[number].stdin.write("\n")
        self.processes[number].stdin.flush()


def wait_for(true):
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_second_run_is_rejected_naming_the_first_and_changes_nothing(grid, tmp_path):
    """With real processes, the second 0 to 300 ms after the first."""
    pauses = range(0, 301, 10) if THOROUGH else (0, 100)
    refusals = 0
    for pause in pauses:
        results = tmp_path / f"{pause}"
        other = tmp_path / "other.toml"
        other.write_text(made_up.GRID.replace("seed = 2", "seed = 3"))
        with Racing([grid, other], results, seconds=0.5) as race:
            race.go(0)
            time.sleep(pause / 1000)
            race.go(1)
            errors = [process.communicate(timeout=120)[1] for process in race.processes]
            ends = [process.returncode for process in race.processes]
        assert set(ends) <= {0, 2}
        assert 0 in ends
        if 2 in ends:
            refusals += 1
            refused, first = ends.index(2), race.processes[ends.index(0)]
            assert len(errors[refused].splitlines()) == 1
            writer = f"process {first.pid} on host {socket.gethostname()}"
            assert "another initbench is writing here" in errors[refused]
            assert writer in errors[refused] or "a process that has just begun" in errors[refused]
            grid_text = (results / "made-up" / "grid.toml").read_text()
            assert grid_text == [grid, other][ends.index(0)].read_text()
            assert ib.load(results / "made-up")["cell"].nunique() == [8, 12][ends.index(0)]
        rows = pd.read_parquet(results / "made-up" / "parts")
        assert not rows.duplicated(["cell", "epoch"]).any()
    assert refusals


def test_after_the_writer_is_killed_the_next_run_starts_at_once(grid, tmp_path, monkeypatch):
    with Racing([grid], tmp_path, seconds=60) as race:
        race.go(0)
        held = tmp_path / "made-up" / lock.HEARTBEAT
        wait_for(lambda: held.exists() and (tmp_path / "made-up" / "grid.toml").exists())
        made_up.instantly(monkeypatch)
        with pytest.raises(UserError, match=rf"process {race.processes[0].pid} on host {socket.gethostname()}, since"):
            ib.run(grid, results=tmp_path)
        race.processes[0].kill()
        race.processes[0].wait()
        assert held.exists()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert ib.run(grid, results=tmp_path).frame["cell"].nunique() == made_up.CELLS
        assert not held.exists()


def test_a_living_writer_of_another_host_is_respected_and_a_dead_one_is_not(
    grid, folder, tmp_path, monkeypatch, capsys
):
    before = (folder / "grid.toml").read_bytes()
    heartbeat(folder, age=5)
    with monkeypatch.context() as patch:
        alive(patch, folder)
        with pytest.raises(
            UserError, match=r"process 4321 on host elsewhere, since .*its heartbeat was renewed just now"
        ):
            ib.run(grid, results=tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert "process 4321 on host elsewhere" in line
    assert re.search(r"its heartbeat is 5 s old\). Waiting up to 5[56] s", line)
    assert (folder / "grid.toml").read_bytes() == before
    assert json.loads((folder / lock.HEARTBEAT).read_text()) == ELSEWHERE
    heartbeat(folder, age=lock.STALE_SECONDS + 5)
    with pytest.warns(UserWarning, match=r"host elsewhere, .* not renewed its heartbeat for 1 min 5 s; going on"):
        frame = ib.run(grid, results=tmp_path).frame
    assert frame["cell"].nunique() == made_up.CELLS
    assert not (folder / lock.HEARTBEAT).exists()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("age", [59.7, -86332])
def test_a_heartbeat_that_is_not_renewed_expires(folder, monkeypatch, age):
    """Of a writer that was killed on another host a moment ago; and one dated in the future, by a clock set back."""
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.05)
    heartbeat(folder, age)
    if age < 0:
        monkeypatch.setattr(lock, "STALE_SECONDS", 0.3)
    messages, begin = [], time.monotonic()
    with lock.exclusive(folder, on_wait=messages.append) as writer:
        assert time.monotonic() - begin >= 0.2
        assert json.loads((folder / lock.HEARTBEAT).read_text())["process"] == os.getpid()
        assert "host elsewhere" in writer.notes[0]
    assert len(messages) == 1
    assert "Waiting up to 1 s" in messages[0]
    assert ("dated in the future" in messages[0]) == (age < 0)
    assert not (folder / lock.HEARTBEAT).exists()


def test_waiting_ends_with_the_other_writer_or_with_ctrl_c(folder, monkeypatch):
    heartbeat(folder, age=5)
    with monkeypatch.context() as patch:
        patch.setattr("initbench.results.lock.time.sleep", lambda seconds: (folder / lock.HEARTBEAT).unlink())
        with lock.exclusive(folder, on_wait=lambda line: None) as writer:
            assert writer.notes == []
    heartbeat(folder, age=5)
    with monkeypatch.context() as patch:
        patch.setattr("initbench.results.lock.time.sleep", lambda seconds: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt), lock.exclusive(folder, on_wait=lambda line: None):
            pytest.fail("went on")
    assert json.loads((folder / lock.HEARTBEAT).read_text()) == ELSEWHERE
    heartbeat(folder, age=lock.STALE_SECONDS)
    with lock.exclusive(folder):
        pass  # the lock was given back


@pytest.mark.parametrize("process", [-1, 0, 2**70, True, "4321", [4321]])
def test_an_invalid_heartbeat_is_ignored(folder, process):
    heartbeat(folder, age=0, process=process, host=socket.gethostname())
    with lock.exclusive(folder, on_wait=pytest.fail) as writer:
        assert writer.notes == []


@pytest.mark.parametrize("error", NO_LOCKS, ids=str)
def test_without_locks_the_heartbeat_decides(grid, folder, tmp_path, monkeypatch, error):
    without_locks(monkeypatch, error)
    for process, host in ((4321, "elsewhere"), (os.getpid(), socket.gethostname())):
        heartbeat(folder, age=5, host=host, process=process)
        with monkeypatch.context() as patch:
            alive(patch, folder, host=host, process=process)
            with pytest.raises(UserError, match=f"process {process} on host {host}"):
                ib.run(grid, results=tmp_path)
        heartbeat(folder, age=lock.STALE_SECONDS + 5, host=host, process=process)
        with pytest.warns(UserWarning, match="not renewed its heartbeat"):
            ib.run(grid, results=tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    heartbeat(folder, age=5, host=socket.gethostname(), process=ended.pid)
    assert ib.run(grid, results=tmp_path).frame["cell"].nunique() == made_up.CELLS


def test_of_two_simultaneous_writers_without_locks_the_later_one_continues(folder, monkeypatch):
    without_locks(monkeypatch, NO_LOCKS[0])
    (folder / lock.HEARTBEAT).unlink(missing_ok=True)
    monkeypatch.setattr("initbench.results.lock.time.sleep", lambda seconds: heartbeat(folder, age=0))
    with pytest.raises(UserError, match="on host elsewhere"), lock.exclusive(folder):
        pytest.fail("two writers")
    assert json.loads((folder / lock.HEARTBEAT).read_text()) == ELSEWHERE


def test_a_fallback_lock_file_is_not_used(folder, monkeypatch):
    """On a disk without flock: the fallback would outlive its process."""
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(lock, "BOTH_SECONDS", 0.0)
    monkeypatch.setattr(fcntl, "flock", flock)
    for _ in range(2):
        with lock.exclusive(folder):
            assert json.loads((folder / lock.HEARTBEAT).read_text())["process"] == os.getpid()


@pytest.mark.parametrize(
    "took", [lambda folder: heartbeat(folder, age=0), lambda folder: (folder / lock.HEARTBEAT).unlink()]
)
def test_a_writer_whose_folder_was_taken_over_writes_no_more_parts(grid, tmp_path, monkeypatch, took):
    folder, sent = tmp_path / "made-up", []

    def before(task):
        sent.append(task)
        if len(sent) == 2:
            took(folder)

    made_up.instantly(monkeypatch, before)
    with pytest.raises(UserError, match="another process has taken this folder over"):
        ib.run(grid, results=tmp_path)
    assert len(list((folder / "parts").iterdir())) == 0  # both were sent before the first was kept
    assert (folder / lock.HEARTBEAT).exists() == (took.__code__.co_names[0] == "heartbeat")


def test_a_disk_that_fails_for_a_while_does_not_count_as_another_writer(folder, monkeypatch):
    def failing(*_):
        raise OSError(errno.EIO, "Input/output error")

    with lock.exclusive(folder) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(files, "read", failing)
            patch.setattr(Path, "lstat", failing)
            writer.renew()
            writer.check()
        writer.check()


def test_clean_and_merge_stop_while_another_process_writes(folder, tmp_path, monkeypatch):
    before = sorted(folder.rglob("*"))
    with lock.exclusive(folder), pytest.raises(UserError, match="another initbench is writing here"):
        clean.clean(folder)
    heartbeat(folder, age=5)
    alive(monkeypatch, folder)
    with pytest.raises(UserError, match="host elsewhere"):
        clean.clean(folder)
    (folder / lock.HEARTBEAT).unlink()
    assert sorted(folder.rglob("*")) == before
    alive(monkeypatch, tmp_path / "merged")

    def beginning(*_, plain=experiment._folder_for):
        value = plain(*_)
        heartbeat(value, age=5)  # in the moment after the folder was found to be new
        return value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "_folder_for", beginning)
        with pytest.raises(UserError, match="host elsewhere"):
            merge_experiments([folder], tmp_path / "merged")
    assert not list((tmp_path / "merged" / "parts").iterdir())


def test_a_merge_that_was_taken_over_writes_no_more(folder, tmp_path, monkeypatch):
    from initbench.results import merge

    plain = merge.outcomes_by_cell

    def outcomes(table):
        heartbeat(tmp_path / "merged", age=0)
        return plain(table)

    monkeypatch.setattr(merge, "outcomes_by_cell", outcomes)
    with pytest.raises(UserError, match="taken this folder over"):
        merge_experiments([folder], tmp_path / "merged")
    assert not list((tmp_path / "merged" / "parts").iterdir())


def test_the_lock_goes_with_the_folder_while_it_is_held(folder, monkeypatch):
    """Otherwise another process could take a lock that is then removed."""
    plain, seen = lock.Writer.close, []

    def close(self):
        seen.append((folder / lock.LOCK).exists())
        plain(self)

    monkeypatch.setattr(lock.Writer, "close", close)
    clean.clean(folder)
    assert seen == [os.name != "posix"]
    assert not folder.exists()


@pytest.mark.parametrize("name", [*store.FOLDERS, lock.LOCK])
def test_nothing_is_written_through_a_link(grid, folder, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    victim = outside / ".initbench-mine.tmp"
    victim.write_text("mine")
    if (folder / name).is_dir():
        shutil.rmtree(folder / name)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(victim if name == lock.LOCK else outside)
    with pytest.raises(UserError, match="is a symbolic link"):
        ib.run(grid, results=tmp_path)
    if name == "figures":
        with pytest.raises(UserError, match="is a symbolic link"):
            ib.figures(folder)
    if name == "parts":
        assert clean.clean(folder).remaining == [name]
    elif name != lock.LOCK:
        assert name in clean.clean(folder).remaining
    assert [path.name for path in outside.iterdir()] == [victim.name]
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["timings", "set-aside", "figures", lock.HEARTBEAT, lock.LOCK, "grid.toml"])
def test_a_file_instead_of_a_folder_or_the_reverse_is_reported_before_training(grid, folder, tmp_path, name):
    if (folder / name).is_dir():
        shutil.rmtree(folder / name)
    (folder / name).unlink(missing_ok=True)
    if name in store.FOLDERS:
        (folder / name).touch()
    else:
        (folder / name).mkdir()
    parts = sorted((folder / "parts").iterdir())
    with pytest.raises(
        UserError, match="is a file, but the experiment needs a folder" if "." not in name else "cannot be written"
    ):
        ib.run(grid, results=tmp_path)
    assert sorted((folder / "parts").iterdir()) == parts


@pytest.mark.parametrize("name", [lock.HEARTBEAT, "grid.toml", "report.html"])
def test_a_file_that_is_a_link_is_replaced_and_what_it_leads_to_stays(grid, folder, tmp_path, monkeypatch, name):
    victim = tmp_path / "mine"
    victim.write_bytes((folder / "grid.toml").read_bytes())
    content = victim.read_bytes()
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(victim)
    monkeypatch.setattr("initbench.reporting.page.render", lambda *_: "a report")
    ib.run(grid, results=tmp_path)
    ib.report(folder)
    assert victim.read_bytes() == content
    assert not (folder / name).is_symlink()
