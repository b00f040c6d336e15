"""Faults during a run: it is killed, the disk fails, memory runs out. Nothing finished is lost, and no bit changes."""

import contextlib
import errno
import hashlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import made_up
import numpy as np
import pandas as pd
import pytest
from cells import SMALL_GRID, exact, make_cell
from command import status_of
from disk import Disk, forked
from plugin_code import CELLS, MIXED_GRID, both_kinds, small_grid
from soak import KILLS, SEED, THOROUGH

import initbench as ib
from initbench.errors import CannotWrite
from initbench.execution import process_pool, processes
from initbench.execution.process_pool import ProcessPool
from initbench.execution.scheduling import MAX_UNTRAINED
from initbench.execution.start import start_pool as START_POOL
from initbench.plugins import consent
from initbench.results.experiment import Experiment
from initbench.results.signal import frame as signal_frame
from initbench.results.signal import table
from initbench.results.table import COLUMNS
from initbench.spec.columns import METRICS
from initbench.spec.grid import read
from initbench.system import files
from initbench.training.data import Data
from initbench.training.stack import train

STACKS = 2  # of the made-up grid: one for each seed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="faults are injected as Linux has them")

ROOT = Path(__file__).parents[2]


def sound(folder):
    """The cells of each part, by its name, after a check of its checksum."""
    cells_by_part = {}
    for path in (folder / "parts").glob("[!.]*.parquet"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        cells_by_part[path.name] = frozenset(pd.read_parquet(path)["cell"])
    return cells_by_part


def check_folder(folder, before):
    """The finished cells: not fewer than before, all readable by pandas, no cell twice."""
    cells_by_part = sound(folder)
    assert before.items() <= cells_by_part.items()
    if cells_by_part:
        rows = pd.read_parquet(folder / "parts")
        assert set(rows.columns) == set(COLUMNS)
        assert not rows.duplicated(["cell", "epoch"]).any()
        signals = pd.read_parquet(folder / "signal")
        assert set(rows["cell"]) <= set(signals["cell"])  # a cell is never trained again only to have its signal
    for path in (folder / "signal").glob("[!.]*.parquet"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
    return cells_by_part


def unfinished(folder):
    return [path for path in folder.rglob("*") if path.name.startswith(files.HIDDEN)]


# Faults at every write, with a training that takes no time


@pytest.fixture
def grid(kind, tmp_path):
    """The path of a grid file; with a plugin the grid that was read from it, which takes a second."""
    if kind == "plugin":
        text = made_up.GRID.replace('"he_normal"', '"mine"')
        text = text.replace('activation = ["tanh", "relu"]', 'activation = ["tanh"]\nmodel = ["perceptron", "small"]')
        path = small_grid(tmp_path, kind, f'plugins = ["schemes.py"]\ndataset = "load_bars"\n{text}', "made-up.toml")
        return read(path, allow=consent.allow)
    path = tmp_path / "made-up.toml"
    path.write_text(made_up.GRID)
    return path


@pytest.fixture
def instant(monkeypatch):
    """Runs whose training and disk take no time, and whose report is a word."""
    made_up.instantly(monkeypatch)
    monkeypatch.setattr("os.fsync", lambda handle: None)
    monkeypatch.setattr("initbench.reporting.page.render", lambda *_: "a report")
    monkeypatch.setattr("initbench.reporting.terminal.summary_table", lambda *_: None)
    interrupts = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, interrupts)


@pytest.fixture
def whole(grid, instant, tmp_path):
    """The table of an undisturbed run."""
    return ib.run(grid, results=tmp_path / "whole").frame


def command(grid, results, capsys):
    """Run the command line in this process; return its exit status and what it printed to stderr."""
    capsys.readouterr()
    status = status_of("run", grid, "--results", results)
    return status, capsys.readouterr().err


def killed_at(grid, results, at):
    def work():
        with pytest.MonkeyPatch.context() as patch:
            Disk(results, at).install(patch)
            ib.run(grid, results=results)

    return forked(work)


def check_end(grid, results, whole, before=None):
    """Run on, undisturbed: the table is that of a run that was never disturbed, and nothing else is left."""
    frame = ib.run(grid, results=results).frame
    pd.testing.assert_frame_equal(frame, whole, check_exact=True)
    folder = results / "made-up"
    cells_by_part = check_folder(folder, before or {})
    assert not unfinished(folder)
    assert sum(map(len, cells_by_part.values())) == made_up.CELLS
    cells = Experiment.open(folder).cells
    signals = table(cells, made_up.signal_of([cell.values() for cell in cells]))
    pd.testing.assert_frame_equal(ib.load_signal(folder), signal_frame(cells, [signals]), check_exact=True)
    assert not (folder / "set-aside").exists()


@both_kinds
def test_a_run_killed_at_any_write_continues_and_loses_nothing_finished(grid, whole, tmp_path):
    at, counts = 0, []
    while True:
        results = tmp_path / f"{at}"
        status = killed_at(grid, results, at)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        before = check_folder(results / "made-up", {})
        counts.append(len(before))
        check_end(grid, results, whole, before)
        shutil.rmtree(results)
        at += 1
    assert at > 40  # the number of operations of a run
    assert counts == sorted(counts)
    assert set(counts) == set(range(len(sound(tmp_path / "whole" / "made-up")) + 1))


def test_a_run_killed_repeatedly_makes_progress(grid, whole, tmp_path):
    """Each run is killed at a later write than the previous one, and does not start over."""
    results, before, ended = tmp_path / "results", {}, 1
    for at in range(0, 200, 5):
        ended = killed_at(grid, results, at)
        before = check_folder(results / "made-up", before)
        if ended == 0:
            break
    assert ended == 0
    assert at < 100
    check_end(grid, results, whole, before)


def one_way_on(status, stderr):
    """Whether a run that could not write says how to go on: in a line if it began nothing or if all but the report is
    done, in two or three if it stopped, before or after it began to train."""
    if "to write it: initbench report" in stderr:  # after a line for each part that could not be read for it
        return "to write it: initbench report" in stderr.splitlines()[-1]
    if status == 2:
        return len(stderr.splitlines()) == 1
    stopped, *accounts, resume = stderr.splitlines()
    return (
        stopped.startswith("Stopped: ")
        and len(accounts) <= 1
        and all(re.match(r"Kept: \d+ of \d+ cells, in .*\. Lost: ", account) for account in accounts)
        and resume.startswith("Resume with: initbench run")
    )


ERRORS = [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EMFILE]


@pytest.mark.parametrize("once", [True, False])
@pytest.mark.slow
def test_after_any_disk_error_a_run_stops_with_a_line_and_can_continue(grid, whole, tmp_path, capsys, once):
    at, ends = 0, Counter()
    while True:
        struck = False
        for error in ERRORS if THOROUGH else [ERRORS[at % len(ERRORS)]]:
            results = tmp_path / f"{at}-{error}"
            with pytest.MonkeyPatch.context() as patch:
                disk = Disk(results, at, error, once).install(patch)
                status, stderr = command(grid, results, capsys)
            struck = len(disk.done) > at
            ends[status] += 1
            assert "Traceback" not in stderr
            folder = results / "made-up"
            before = check_folder(folder, {})
            if once:
                assert not unfinished(folder) or disk.done[at][0] == "unlink"
            if status:
                assert os.strerror(error) in stderr
                assert str(results) in stderr
                assert one_way_on(status, stderr)
            check_end(grid, results, whole, before)
            shutil.rmtree(results)
        if not struck:
            break
        at += 1 if once or THOROUGH else 2
    assert at > 40
    assert set(ends) == {0, 1, 2}


def test_a_part_is_synced_then_renamed_then_its_folder_is_synced(grid, instant, tmp_path, monkeypatch):
    """And so is a file of the signal table, before the part of the same stack."""
    disk = Disk(tmp_path / "results").install(monkeypatch)
    ib.run(grid, results=tmp_path / "results")
    renames = [
        (i, Path(path).parent.name)
        for i, (operation, path) in enumerate(disk.done)
        if operation == "replace" and ("/parts/" in path or "/signal/" in path)
    ]
    assert [name for _, name in renames] == ["signal", "parts"] * STACKS
    for i, name in renames:
        before = [operation for operation, path in disk.done[:i] if files.HIDDEN in path and f"/{name}/" in path][-3:]
        assert before == ["open", "write", "fsync"]
        assert disk.done[i + 1 : i + 3] == [("open", f"made-up/{name}"), ("fsync", f"made-up/{name}")]
    renames = [i for i, name in renames if name == "parts"]
    for parent in (".", "made-up"):  # and each folder that holds a new one
        assert ("fsync", parent) in disk.done[: renames[0]]


def test_a_file_beyond_the_size_limit_is_not_left_behind(grid, whole, tmp_path):
    """The limit of a process, which acts like a quota."""

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            ib.run(grid, results=tmp_path / "results")
        except CannotWrite as error:
            return 3 if error.errno == errno.EFBIG else 4
        return 0

    assert forked(work) == 3
    assert not unfinished(tmp_path / "results" / "made-up")
    check_end(grid, tmp_path / "results", whole)


# Real disks


def refused(status, stderr):
    assert "Traceback" not in stderr
    assert one_way_on(status, stderr)


@pytest.mark.parametrize("resource_name", ["space", "files"])
def test_a_full_disk_stops_a_run_which_continues_when_there_is_space(mounted, grid, whole, capsys, resource_name):
    stopped, before = Counter(), {}
    limit = "size={}k" if resource_name == "space" else "nr_inodes={}"
    first = limit.format(12 if resource_name == "space" else 6)
    disk = mounted(first)
    for room in range(16, 400, 8) if resource_name == "space" else range(6, 40):
        if subprocess.run(["mount", "-o", f"remount,{limit.format(room)}", str(disk)], check=False).returncode:
            continue
        status, stderr = command(grid, disk, capsys)
        stopped[status] += 1
        before = check_folder(disk / "made-up", before)
        assert not unfinished(disk / "made-up")
        if status == 0:
            break
        refused(status, stderr)
        assert os.strerror(errno.ENOSPC) in stderr
        assert str(disk / "made-up") in stderr
    assert status == 0
    assert stopped[1] > 1
    assert len(before) == STACKS
    subprocess.run(["mount", "-o", "remount,size=4m,nr_inodes=99", str(disk)], check=True)
    check_end(grid, disk, whole, before)


def test_a_read_only_disk_is_reported(mounted, grid, whole, tmp_path, capsys):
    disk = mounted("size=4m")
    assert killed_at(grid, disk, 45) == -signal.SIGKILL
    before = check_folder(disk / "made-up", {})
    assert before
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    status, stderr = command(grid, disk, capsys)
    refused(status, stderr)
    assert os.strerror(errno.EROFS) in stderr
    assert ib.load(disk / "made-up")["cell"].nunique() == sum(map(len, before.values()))
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    check_end(grid, disk, whole, before)


# Workers that end


def worker_run(grid, tmp_path, capsys, *, width=4, workers=2):
    results = tmp_path / "results"
    capsys.readouterr()
    options = ["--results", str(results), "--width", str(width), "--workers", str(workers)]
    status = status_of("run", grid, *options)
    return status, *capsys.readouterr()


@pytest.fixture
def stand_in(instant, monkeypatch, tmp_path):
    """Real processes instead of the instant pool, with the faults that this function is given."""
    monkeypatch.setattr("initbench.execution.start.start_pool", START_POOL)

    def faults(**kinds):
        return made_up.as_workers(monkeypatch, tmp_path, **kinds)

    return faults


def test_a_stack_that_does_not_fit_in_memory_is_halved_until_it_fits(grid, whole, stand_in, tmp_path, capsys):
    log = stand_in(wider=1)
    status, _out, err = worker_run(grid, tmp_path, capsys)
    assert err == ""
    assert status == 0
    pd.testing.assert_frame_equal(ib.load(tmp_path / "results" / "made-up"), whole, check_exact=True)
    stacks = Counter(log.read_text().split("\n"))
    assert [stacks[f"stack {width}"] for width in (4, 2, 1)] == [2, 4, 8]
    assert stacks["process"] == 2 + 6


@pytest.mark.parametrize("by", [signal.SIGKILL, pytest.param(signal.SIGSEGV, marks=pytest.mark.slow)])
def test_a_cell_that_always_kills_its_worker_fails_alone(grid, whole, stand_in, tmp_path, capsys, by):
    grid.write_text(made_up.GRID.replace("seed = 2", "seed = 1"))
    one_seed = whole[whole["seed"] == 0].reset_index(drop=True)
    log = stand_in(killed="he_normal", signal=int(by))
    status, out, err = worker_run(grid, tmp_path, capsys)
    assert status == 1
    failures = [line for line in out.splitlines() if line.startswith("not trained: ")]
    assert len(failures) == 2
    assert all("he_normal" in line and "seed" in line and f"signal {int(by)}" in line for line in failures)
    assert "2 cells could not be trained; the report leaves them out. To try again: initbench run" in err
    frame = ib.load(tmp_path / "results" / "made-up")
    expected = one_seed[one_seed["initializer"] != "he_normal"].reset_index(drop=True)
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)
    assert log.read_text().count("process") < 30
    stand_in()
    assert worker_run(grid, tmp_path, capsys)[0] == 0
    pd.testing.assert_frame_equal(ib.load(tmp_path / "results" / "made-up"), one_seed, check_exact=True)


def test_a_cell_whose_training_raises_fails_alone_and_no_worker_ends(grid, whole, stand_in, tmp_path, capsys):
    log = stand_in(raised="he_normal")
    status, out, _err = worker_run(grid, tmp_path, capsys)
    assert status == 1
    assert out.count("ValueError: no such thing") == 4
    frame = ib.load(tmp_path / "results" / "made-up")
    expected = whole[whole["initializer"] != "he_normal"].reset_index(drop=True)
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)
    assert log.read_text().count("process") == 2
    stand_in()
    assert worker_run(grid, tmp_path, capsys)[0] == 0
    pd.testing.assert_frame_equal(ib.load(tmp_path / "results" / "made-up"), whole, check_exact=True)


@pytest.mark.parametrize("start", [7, -9, -11])
def test_workers_that_never_start_stop_the_run_with_a_line(grid, stand_in, tmp_path, capsys, start):
    log = stand_in(start=start)
    status, _out, err = worker_run(grid, tmp_path, capsys)
    assert status == 1
    reason = f"ended with status {start}: it does not start" if start > 0 else f"was killed by signal {-start}"
    assert f"Stopped: a worker {reason}" in err
    assert len(err.splitlines()) == 3
    assert log.read_text().count("process") <= 2 + 2 * process_pool.MAX_LOST_STARTS
    stand_in()
    assert worker_run(grid, tmp_path, capsys)[0] == 0


@pytest.mark.slow
def test_a_hung_worker_is_detected_by_its_silence(grid, whole, stand_in, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(processes, "SILENCE", 3.0)
    log = stand_in(stopped="glorot_uniform")
    grid.write_text(
        made_up.GRID.replace('"he_normal"]', '"he_normal", "glorot_uniform"]').replace("seed = 2", "seed = 1")
    )
    monkeypatch.setattr(ProcessPool, "allowed_deaths", 0)
    status, out, err = worker_run(grid, tmp_path, capsys, width=1)
    assert status == 1, err
    assert out.count("a worker hung: it sent no heartbeat for 3 s") == 2
    one_seed = whole[whole["seed"] == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(ib.load(tmp_path / "results" / "made-up"), one_seed, check_exact=True)
    assert log.read_text().count("stack") == 6


def test_a_run_that_cannot_train_any_cell_stops(grid, stand_in, tmp_path, capsys):
    stand_in(raised="zeros")
    seeds = MAX_UNTRAINED
    grid.write_text(made_up.GRID.replace('["zeros", "he_normal"]', '["zeros"]'))
    grid.write_text(grid.read_text().replace("seed = 2", f"seed = {seeds}"))
    status, _out, err = worker_run(grid, tmp_path, capsys)
    assert status == 1
    assert (
        f"Stopped: {MAX_UNTRAINED} cells could not be trained and none was; the last: ValueError: no such thing" in err
    )


def test_a_process_that_cannot_be_replaced_stops_the_run(grid, stand_in, tmp_path, capsys, monkeypatch):
    """No more processes, or no more files: the run does not wait forever."""
    stand_in(wider=2)
    plain, started = subprocess.Popen, []

    def popen(*arguments, **named):
        started.append(arguments)
        if len(started) > 2:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return plain(*arguments, **named)

    monkeypatch.setattr("initbench.system.children.subprocess.Popen", popen)
    status, _out, err = worker_run(grid, tmp_path, capsys)
    assert status == 1
    assert "Stopped: a worker cannot be started" in err
    assert os.strerror(errno.EAGAIN) in err


# Real runs


def launched(grid, results, silence=None):
    """A real `initbench run`, in a process of its own."""
    prologue = f"import initbench.execution.processes as p; p.SILENCE = {silence}; " if silence else ""
    code = f"{prologue}from initbench.cli import main; main()"
    command = [sys.executable, "-c", code, "run", str(grid), "--results", str(results), "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen([*command, "--width", "2", "--allow-plugins"], env=environment, text=True, **pipes)


def children(process):
    """The numbers of a process's children."""
    with contextlib.suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


def signalled(process, by):
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, by)


@exact
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["built-in", "plugin"])
def test_a_real_run_killed_at_any_instant_loses_nothing_finished_and_ends_with_the_same_bits(kind, tmp_path, capsys):
    """Half of the instants are spread over the whole life of a run, and half are soon after it has written a part."""
    text = MIXED_GRID if kind == "plugin" else SMALL_GRID.replace("640", "256")
    grid, draw = small_grid(tmp_path, kind, text), random.Random(SEED)
    kills = -(-KILLS // 3) if kind == "plugin" else KILLS  # it takes longer
    begin = time.monotonic()
    whole = launched(grid, tmp_path / "whole")
    assert whole.wait(timeout=300) == 0, whole.stderr.read()
    life = time.monotonic() - begin
    expected = ib.load(tmp_path / "whole" / "small")
    results, tally, stopped = tmp_path / "0", Counter(), []
    before: dict[str, frozenset[str]] = {}
    for number in range(kills):
        run = launched(grid, results, silence=15)
        target = "worker stopped" if number % 20 == 6 else "worker killed" if number % 5 == 3 else "run"
        if number % 2:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(timeout=life * draw.random())
        else:
            while run.poll() is None and len(list(results.glob("small/parts/[!.]*"))) <= len(before):
                time.sleep(0.01)
            time.sleep(draw.random() * 0.3)
        ours = children(run.pid)
        if target == "run":
            run.kill()
        elif ours:
            victim = draw.choice(ours)
            signalled(victim, signal.SIGKILL if "killed" in target else signal.SIGSTOP)
            if "stopped" in target:
                stopped.append(victim)
        status = run.wait(timeout=300)
        stderr = run.communicate()[1]
        tally[target, status] += 1
        assert "Traceback" not in stderr
        assert status in ((0, -signal.SIGKILL) if target == "run" else (0,)), stderr
        folder = results / "small"
        before = check_folder(folder, before) if folder.exists() else {}
        tally["parts", len(before)] += 1
        if status == 0:
            pd.testing.assert_frame_equal(ib.load(folder), expected, check_exact=True)
            results, before = tmp_path / f"{number + 1}", {}  # and another one, from its beginning
    for victim in stopped:
        signalled(victim, signal.SIGKILL)
    run = launched(grid, results)
    assert run.wait(timeout=300) == 0, run.stderr.read()
    folder = results / "small"
    pd.testing.assert_frame_equal(ib.load(folder), expected, check_exact=True)
    assert sum(map(len, check_folder(folder, before).values())) == CELLS[kind]
    assert not unfinished(folder)
    names = {".lock", "grid.toml", "looks.json", "parts", "report.html", "signal", "timings"}
    assert {p.name for p in folder.iterdir()} == names | (
        {"datasets.json", "plugins.json"} if kind == "plugin" else set()
    )
    with capsys.disabled():
        if THOROUGH:
            sys.stdout.write(f"\n{kills} kills, a run of {life:.1f} s: {sorted(tally.items(), key=str)}\n")


@exact
@pytest.mark.slow
def test_a_worker_whose_memory_is_limited_trains_the_same_bits_in_smaller_stacks(tmp_path, monkeypatch):
    """Its address space is limited when it begins to train: to what it has then, and a little."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    grid = tmp_path / "wide.toml"
    grid.write_text(SMALL_GRID.replace("hidden = []", "hidden = [1024]").replace('"same"', '"identity"'))
    more = {"train_size": 256, "epochs": 1, "seed": [0]}
    whole = ib.run(grid, results=tmp_path / "whole", workers=1, overrides=more).frame
    (tmp_path / "sitecustomize.py").write_text(LIMITED.format(log=str(tmp_path / "widths")))
    frame = ib.run(grid, results=tmp_path / "limited", workers=1, overrides=more).frame
    pd.testing.assert_frame_equal(frame, whole, check_exact=True)
    assert (tmp_path / "widths").read_text().split()[:2] == ["6", "3"]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("std::bad_alloc"), RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")]
)
def test_out_of_memory_errors_are_recognized(error):
    from initbench.training import tasks

    widths = []

    def work(cells):
        widths.append(len(cells))
        if len(cells) > 1:
            raise error
        return cells

    assert tasks._in_available_memory(work, list("abc")) == list("abc")
    assert widths == [3, 1, 2, 1, 1]


# What Python imports first: a training of more than two cells has hardly more memory than its process has already.
LIMITED = """
import resource, sys
if "initbench.training.worker" in sys.orig_argv:
    import initbench.training.stack as stack
    from pathlib import Path
    plain = stack.train
    def train(cells, *rest, **named):
        with open({log!r}, "a") as log:
            print(len(cells), file=log)
        if len(cells) > 2:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, resource.RLIM_INFINITY))
        try:
            yield from plain(cells, *rest, **named)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    stack.train = train
"""


@pytest.fixture(scope="module")
def small_data(small):
    return Data(small)


WILD = [("sgd", 1e30), ("momentum", 1e30), ("adam", 1e38), ("rmsprop", 1e38)]


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("loss", ["mse", "cross_entropy", "mae", "huber", "hinge"])
@pytest.mark.parametrize(("optimizer", "rate"), WILD)
def test_a_cell_that_is_not_finite_leaves_its_neighbours_bits_alone(small_data, loss, optimizer, rate):
    number = ["mse", "cross_entropy", "mae", "huber", "hinge"].index(loss) + len(optimizer)
    for activation in (("relu", "tanh"), ("gelu", "relu"), ("selu", "sigmoid"))[number % 3]:
        usual = {"loss": loss, "optimizer": optimizer, "activation": activation, "hidden": "32", "train_size": 512}
        calm = [
            make_cell(**usual, initializer=name, learning_rate=0.01) for name in ("he_normal", "zeros", "orthogonal")
        ]
        wild = [
            make_cell(**usual, learning_rate=rate),
            make_cell(**usual, initializer="normal(std=1e+38)", learning_rate=0.01),
        ]
        alone = list(train(calm, small_data))
        mixed = list(train([calm[0], wild[0], calm[1], wild[1], calm[2]], small_data))
        broken = False
        for left, right in zip(alone, mixed, strict=True):
            for name in METRICS:
                values = np.asarray(getattr(right, name))
                np.testing.assert_array_equal(getattr(left, name), values[[0, 2, 4]])
                broken |= not np.isfinite(values[[1, 3]]).all() and left.epoch > 0
        assert broken or loss in ("hinge", "mae"), (activation, optimizer, loss)
