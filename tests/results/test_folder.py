"""Experiments in shared, moved, copied or damaged folders: reading, writing, cleaning and merging."""

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import stat
import tempfile
import time
import warnings
from pathlib import Path

import made_up
import pandas as pd
import pyarrow as pa
import pytest
import untrusted
from command import status_of
from disk import Disk, forked
from soak import THOROUGH
from watch import limited

import initbench as ib
from initbench.errors import CannotWrite, UserError
from initbench.results import clean, lock, store, verify
from initbench.results.experiment import Experiment
from initbench.results.merge import merge_experiments
from initbench.system import files

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes, modes and users as POSIX has them")

ROOT_ONLY = pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only the superuser has other users")


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return untrusted.made_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(synthetic, tmp_path):
    return shutil.copytree(synthetic, tmp_path / "made")


def listing(folder):
    """What lies in a folder: paths, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def command(capsys, *arguments):
    """The command line, in this process: the exit status, and the lines that it printed."""
    capsys.readouterr()
    return status_of(*arguments), "".join(capsys.readouterr()).splitlines()


# ---------------------------------------------------------------------------------------------------------------------
# Only regular files of limited size are read


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as end:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket is short
        try:
            end.bind(path.name)
        finally:
            os.chdir(here)


def a_pipe(path):
    os.mkfifo(path)


def ten_gigabytes(path):
    path.touch()
    os.truncate(path, 10**10)


ODD = {
    "a pipe": a_pipe,
    "a socket": a_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
    "larger than": ten_gigabytes,
    "damaged": lambda path: path.write_text("[" * 200_000),
}


@pytest.mark.parametrize("kind", ODD)
def test_irregular_and_huge_files_are_left_out_with_a_line(folder, tmp_path, monkeypatch, capsys, kind):
    """As a part, a timing, the data sets, the heartbeat and the list of figures; by every command that reads."""
    monkeypatch.setattr("initbench.reporting.page.render", lambda *_: "a report")
    part, timing = (folder / inner / f"{'a' * 64}.{end}" for inner, end in (("parts", "parquet"), ("timings", "json")))
    (folder / "figures").mkdir()
    others = [folder / "datasets.json", folder / lock.HEARTBEAT, folder / "figures" / store.FIGURES_LIST]
    for path in (part, timing, *others):
        ODD[kind](path)
    with limited(60):
        for arguments, odd, expected in (
            (["report", folder], [part, timing], 0),
            (["verify", folder, "--sample", 0], [part] if kind in ("damaged", "larger than") else [part, timing], 1),
            (["export", folder, tmp_path / "out.csv"], [part], 0),
            (["merge", folder, "--into", tmp_path / "both"], [part], 0),
        ):
            status, lines = command(capsys, *arguments)
            assert status == expected, lines
            noted = [line for line in lines if "left out" in line]
            assert [path for path in odd for line in noted if str(path) in line] == odd
            assert len(noted) == len(odd)
            assert all(kind in line for line in noted)
        with pytest.warns(UserWarning, match=kind):
            assert len(ib.load(folder)) == 54
        assert store.read_timing(folder, "a" * 64) is None
        if kind == "a folder":  # which the heartbeat cannot replace
            status, lines = command(capsys, "clean", folder, "--yes")
            assert (status, len(lines)) == (2, 1)
            assert lines[0].startswith(f"{others[1]}: cannot be written (Is a directory)")
            others[1].rmdir()
        status, lines = command(capsys, "clean", folder, "--yes")
        assert status == 0
    # Only what a run may have written is gone, and the heartbeat, whose inner the cleaning took.
    regular = kind in ("larger than", "damaged")
    unreadable = {"parts": part, "timings": timing, "figures": others[2]}
    left = (
        []
        if regular
        else [*unreadable, *(str(path.relative_to(folder)) for path in unreadable.values()), "datasets.json"]
    )
    assert (listing(folder) if folder.exists() else []) == sorted(left)
    assert any(line.startswith("Kept, because not written by initbench") for line in lines) == bool(left)


@pytest.mark.parametrize("kind", ODD)
def test_an_irregular_or_huge_grid_is_rejected_in_one_line(folder, tmp_path, capsys, kind):
    (folder / "grid.toml").unlink()
    ODD[kind](folder / "grid.toml")
    with limited():
        grid = folder / "grid.toml"
        for name, path, *options in (
            ("report", folder),
            ("verify", folder, "--sample", 0),
            ("merge", folder, "--into", tmp_path / "both"),
            ("plan", grid),
            ("run", grid),
        ):
            status, lines = command(capsys, name, path, *options)
            assert (status, len(lines)) == (2, 1)
            assert str(folder / "grid.toml") in lines[0]
            assert kind in lines[0] or kind == "damaged"
    assert not (tmp_path / "both").exists()


def test_an_experiment_without_a_name_in_its_grid_is_named_after_its_folder_in_every_spelling(folder, monkeypatch):
    grid = folder / "grid.toml"
    grid.write_text(grid.read_text().replace('name = "made"\n', ""))
    monkeypatch.chdir(folder)
    assert [Experiment.open(path).grid.name for path in (folder, ".", "../made")] == ["made"] * 3


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": 1' + "0" * 200 + "}",
        '{"a": -1' + "0" * 400 + "}",
        '{"a": 1, "a": 2}',
        "\xff",
    ],
)
def test_invalid_json_counts_as_damaged_and_raises_nothing(folder, text):
    path = min((folder / "timings").iterdir())
    path.write_text(text, encoding="latin-1")
    notes = []
    assert len(store.read_timings(folder, notes)) == 1
    assert [str(path) in line and "damaged" in line for line in notes] == [True]
    (folder / "datasets.json").write_text(text, encoding="latin-1")
    (folder / lock.HEARTBEAT).write_text(text, encoding="latin-1")
    with lock.exclusive(folder, on_wait=pytest.fail):
        assert len(Experiment.open(folder).frame()) == 54


def test_a_file_is_read_to_its_limit_and_through_a_link(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"0123456789" * 20_000)
    link.symlink_to(path)
    assert files.read(link, 200_000) == path.read_bytes()
    with pytest.raises(OSError, match="is larger than 199,999 bytes"):
        files.read(path, 199_999)
    system = Path("/proc/self/status")  # whose size the system gives as 0
    if system.exists():
        assert files.read(system, 100_000).startswith(b"Name:")
        with pytest.raises(OSError, match="is larger than 10 bytes"):
            files.read(system, 10)


# ---------------------------------------------------------------------------------------------------------------------
# Modes, owners and shared folders


def mode(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_a_run_has_the_modes_that_the_umask_leaves(tmp_path, umask):
    before = os.umask(umask)
    try:
        folder = untrusted.made_run(tmp_path / "results")
        with lock.exclusive(folder):
            assert mode(folder / lock.HEARTBEAT) == mode(folder / lock.LOCK) == 0o666 & ~umask
    finally:
        os.umask(before)
    for path in (folder.parent, folder, *folder.rglob("*")):
        assert mode(path) == (0o777 if path.is_dir() else 0o666) & ~umask, path


@pytest.mark.parametrize("old", [0o600, 0o640, 0o664, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode_and_an_export_is_not_readable_to_more(folder, tmp_path, old, capsys):
    out, private = tmp_path / "out.csv", tmp_path / "private.csv"
    out.write_text("old")
    out.chmod(old)
    assert command(capsys, "export", "--force", folder, out)[0] == 0
    assert (mode(out), out.read_text()[:8]) == (old, "dataset,")
    private.write_text("mine")
    private.chmod(old)
    out.unlink()
    out.symlink_to(private)
    files.write_file(out, b"new")
    assert (out.is_symlink(), private.read_text()) == (False, "mine")
    assert mode(out) & ~old == 0


def test_a_private_file_is_private_while_it_is_written(tmp_path, monkeypatch):
    path, seen = tmp_path / "out.csv", []
    path.touch(0o600)
    monkeypatch.setattr("os.fsync", lambda handle: seen.append(stat.S_IMODE(os.fstat(handle).st_mode)))
    files.write_file(path, b"new")
    assert seen[0] == 0o600


GROUP, OTHERS, FIRST, SECOND = 54_000, 54_001, 54_321, 54_322


@pytest.fixture
def shared():
    """A folder of a group, whose new files belong to the group."""
    with tempfile.TemporaryDirectory(dir=tempfile.gettempdir()) as name:
        folder = Path(name)
        os.chown(folder, -1, GROUP)
        folder.chmod(0o2775)
        yield folder


def as_user(user, work, umask=0o002, group=GROUP):
    """The exit status of a process of this user that does this work."""

    def become():
        os.setgroups([group])
        os.setgid(group)
        os.setuid(user)
        os.umask(umask)
        return work()

    return forked(become)


@ROOT_ONLY
def test_two_users_of_one_group_continue_each_others_experiment(shared, tmp_path):
    """The first is killed in the middle, so that lock and heartbeat are theirs; and then they take turns."""
    grid = shared / "made-up.toml"
    grid.write_text(made_up.GRID)
    folder = shared / "results" / "made-up"

    def training(seeds, before=lambda task: None):
        def work():
            with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.filterwarnings("ignore", "Seeds were added after the results of 2 seeds")
                made_up.instantly(patch, before)
                return ib.run(grid, results=shared / "results", overrides={"seed": seeds}).frame["cell"].nunique()

        return work

    assert as_user(FIRST, training(1, lambda task: os._exit(9))) == 9
    assert {lock.LOCK, lock.HEARTBEAT} <= set(listing(folder))
    for user, seeds in ((SECOND, 1), (FIRST, 2), (SECOND, 3)):
        assert as_user(user, training(seeds)) == 4 * seeds
    assert {os.lstat(path).st_uid for path in (folder / "parts").iterdir()} == {FIRST, SECOND}
    assert {os.lstat(path).st_gid for path in folder.rglob("*")} == {GROUP}
    assert as_user(FIRST, lambda: len(clean.clean(folder).remaining)) == 0
    assert not folder.exists()


@ROOT_ONLY
def test_replacing_another_users_file_adds_no_readers(shared):
    path = shared / "out.csv"
    for user, owner, group, old, new in (
        (0, FIRST, OTHERS, 0o640, (0o640, FIRST, OTHERS)),  # the superuser gives it back
        (SECOND, FIRST, GROUP, 0o660, (0o660, SECOND, GROUP)),
        (SECOND, FIRST, OTHERS, 0o660, (0o600, SECOND, GROUP)),  # a group that cannot be kept
        (SECOND, FIRST, OTHERS, 0o664, (0o644, SECOND, GROUP)),
    ):
        path.unlink(missing_ok=True)
        path.touch()
        os.chown(path, owner, group)
        path.chmod(old)
        assert as_user(user, lambda: files.write_file(path, b"new")) == 0
        status = path.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == new


def test_a_heartbeat_whose_time_cannot_be_set_is_rewritten(folder, monkeypatch):
    with lock.exclusive(folder) as writer:
        before = os.stat(folder / lock.HEARTBEAT).st_ino

        def utime(*_):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr("os.utime", utime)
        writer.renew()
        assert os.stat(folder / lock.HEARTBEAT).st_ino != before
        writer.check()
    assert not (folder / lock.HEARTBEAT).exists()


# ---------------------------------------------------------------------------------------------------------------------
# Cleaning


MINE = ("figures/cover.png", "parts/plot.svg", "parts/notes.txt", f"parts/{'a' * 63}.parquet", "timings/mine.json")
MINE_TOO = (f"figures/{'b' * 64}.parquet", f"parts/{'b' * 64}.json", f"set-aside/{'c' * 64}.svg", "accuracy-tanh.svg")


@pytest.fixture
def drawn(folder, monkeypatch):
    """A run's folder with figures: two that initbench has written, of which the user has changed one."""
    from initbench.reporting.gallery import ReportFigure

    shown = [ReportFigure("accuracy", name, None) for name in ("tanh", "relu")]
    monkeypatch.setattr("initbench.reporting.gallery.gallery", lambda *_: shown)
    monkeypatch.setattr("initbench.reporting.drawers.draw_here", lambda *_: (b"a figure", set()))
    monkeypatch.setattr("initbench.reporting.drawers.is_imported", lambda: True)
    assert [path.name for path in ib.figures(folder)] == ["accuracy-tanh.svg", "accuracy-relu.svg"]
    assert ib.figures(folder, "pdf")
    (folder / "figures" / "accuracy-relu.svg").write_bytes(b"a figure, and a frame")
    return folder


def test_clean_removes_only_files_that_initbench_wrote(drawn, capsys):
    victim = drawn.parent / "victim"
    victim.write_bytes(b"a figure")
    listed = json.loads((drawn / "figures" / store.FIGURES_LIST).read_text())
    listed["../../victim"] = next(iter(listed.values()))
    (drawn / "figures" / store.FIGURES_LIST).write_text(json.dumps(listed))
    for name in (*MINE, *MINE_TOO):
        (drawn / name).parent.mkdir(exist_ok=True)
        (drawn / name).write_text("mine")
    status, lines = command(capsys, "clean", drawn, "--yes")
    assert status == 0
    remaining = [*MINE, *MINE_TOO, "figures/accuracy-relu.svg"]
    assert listing(drawn) == sorted([*remaining, "figures", "parts", "set-aside", "timings"])
    assert lines[0].startswith(f"Removed from {drawn}: figures, timings, signal, parts, grid.toml")
    assert all(name in lines[1] for name in remaining)
    assert victim.exists()
    assert command(capsys, "clean", drawn, "--yes")[0] == 2  # not an experiment any more


def test_unlisted_figures_are_the_users(folder):
    (folder / "figures").mkdir()
    (folder / "figures" / "accuracy-tanh.svg").write_text("drawn by an earlier version")
    assert clean.clean(folder).remaining == ["figures/accuracy-tanh.svg"]


def test_empty_folders_of_a_stopped_cleaning_are_cleaned(tmp_path, capsys):
    folder = tmp_path / "made"
    for name in ("parts", "timings"):
        (folder / name).mkdir(parents=True)
    assert command(capsys, "clean", folder, "--yes")[0] == 0
    assert not folder.exists()
    (folder / "timings").mkdir(parents=True)
    assert command(capsys, "clean", folder, "--yes")[0] == 2  # which anybody may have made


@pytest.mark.parametrize("mine", [True, False])
def test_a_cleaning_killed_at_any_step_can_be_repeated(drawn, tmp_path, mine):
    """And as long as there is a part, it is a run that can be read."""
    if mine:
        (drawn / "figures" / "cover.png").write_text("mine")
    (drawn / "datasets.json").write_text("[]")
    (drawn / "report.html").write_text("a report")
    at, ends = 0, []
    while not ends or ends[-1] != 0:
        folder = shutil.copytree(drawn, tmp_path / f"{at}")

        def work(folder=folder, at=at):
            with pytest.MonkeyPatch.context() as patch:
                count = iter(range(1000))

                def fatal(plain):
                    def call(*rest, **named):
                        if next(count) == at:
                            os._exit(9)
                        return plain(*rest, **named)

                    return call

                for name in ("unlink", "rmdir"):
                    patch.setattr(os, name, fatal(getattr(os, name)))
                clean.clean(folder)

        ends.append(forked(work))
        if ends[-1]:
            if any(folder.glob("parts/*.parquet")):
                assert Experiment.open(folder).grid.name == "made"
            if listing(folder) not in ([], ["figures", "figures/accuracy-relu.svg"]):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("os.getpid", lambda: 2**30)
                    try:
                        clean.clean(folder)
                    except UserError:
                        assert mine  # nothing of the run is left but the lock
                        assert not set(listing(folder)) - {lock.LOCK, "figures", "figures/accuracy-relu.svg"}
        assert not [name for name in listing(folder) if "figures" not in name and name != lock.LOCK]
        shutil.rmtree(folder, ignore_errors=True)
        at += 1 if mine or THOROUGH else 2
    assert at > 12
    assert set(ends) == {9, 0}


def test_clean_names_a_file_that_cannot_be_removed_and_can_be_repeated(folder, monkeypatch, capsys):
    plain = os.unlink

    def unlink(path, **named):
        if str(path).endswith(".parquet"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        plain(path, **named)

    with monkeypatch.context() as patch:
        patch.setattr("os.unlink", unlink)
        status, lines = command(capsys, "clean", folder, "--yes")
    assert (status, len(lines)) == (1, 2)
    assert "parquet: cannot be removed (Permission denied)" in lines[0]
    assert lines[1] == f"Resume with: initbench clean {folder}"
    assert command(capsys, "clean", folder, "--yes")[0] == 0
    assert not folder.exists()


@pytest.mark.parametrize("spelling", [".", "../made", "made/", "made/.", "link", "link/"])
def test_clean_accepts_every_spelling_of_a_folder(folder, tmp_path, monkeypatch, capsys, spelling):
    (tmp_path / "link").symlink_to("made")
    monkeypatch.chdir(folder if spelling.startswith(".") else tmp_path)
    status, lines = command(capsys, "clean", spelling, "--yes")
    assert status == 0
    stays = spelling in (".", "../made", "link", "link/")
    assert folder.exists() == stays
    assert len(lines) == 1 + stays
    assert not stays or lines[1].endswith("is empty now; the folder itself stays")
    assert not stays or not any(folder.iterdir())
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("lacks", ["space", "files"])
def test_a_full_disk_can_be_cleaned(mounted, folder, capsys, monkeypatch, lacks):
    disk = mounted("size=400k,nr_inodes=40")
    folder = shutil.copytree(folder, disk / "made")
    (folder / lock.LOCK).touch()
    then = time.time() - 100
    (folder / lock.HEARTBEAT).write_text('{"host": "elsewhere", "process": 1, "since": "long ago", "mark": "x"}')
    os.utime(folder / lock.HEARTBEAT, (then, then))
    if lacks == "files":
        (folder / lock.LOCK).unlink()  # and without it the disk's clock cannot be read
        monkeypatch.setattr(lock, "STALE_SECONDS", 0.2)
    with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
        while lacks == "space" and filler.write(b"x" * 1000):
            pass
    with contextlib.suppress(OSError):
        for i in range(100 * (lacks == "files")):
            (disk / f"{i}").touch()
    with pytest.raises(CannotWrite):
        files.write_file(disk / "more", b"x" * 10_000)
    status, lines = command(capsys, "clean", folder, "--yes")
    assert status == 0, lines
    assert not folder.exists()


# ---------------------------------------------------------------------------------------------------------------------
# Merging


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """Two runs that share cells, of which one part differs; and what an undisturbed merge makes of them."""
    root = tmp_path_factory.mktemp("joined")
    left = untrusted.made_run(root / "left", untrusted.GRID.replace("seed = 3", "seed = [0, 1, 2]"))
    right = untrusted.made_run(root / "right", untrusted.GRID.replace("seed = 3", "seed = [1, 2, 3]"))
    part = next(store.read_parts(right, []))
    changed = part.table.to_pandas()
    changed["test_accuracy"] /= 2
    for path in (right / "parts" / f"{part.id}.parquet", right / "timings" / f"{part.id}.json"):
        path.unlink()
    rows = pa.Table.from_pandas(changed, part.table.schema, preserve_index=False)
    store.write_timing(right, store.write_part(right, rows, part.metadata), untrusted.TIMING)
    merged, lines = merge_experiments([left, right], root / "whole" / "both")
    assert len(lines) == changed.loc[changed["seed"] < 3, "cell"].nunique() > 3
    return [left, right], merged.folder, lines


def content(folder):
    return {name: (folder / name).read_bytes() for name in listing(folder) if (folder / name).is_file()}


def test_a_merge_killed_at_any_write_can_be_repeated_with_the_same_result(joined, tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)
    sources, whole, expected_lines = joined
    at, ends = 0, []
    while not ends or ends[-1] != 0:
        into = tmp_path / f"{at}" / "both"

        def work(into=into, at=at):
            with pytest.MonkeyPatch.context() as patch:
                Disk(tmp_path, at).install(patch)
                merge_experiments(sources, into)

        ends.append(forked(work))
        if ends[-1]:
            if (into / store.MERGING).exists() and at % 5 == 0:
                with pytest.raises(UserError, match="holds another merge that was stopped"):
                    merge_experiments(sources[::-1], into)
            merged, lines = merge_experiments(sources, into)
            assert lines == [line.replace(str(whole), str(into)) for line in expected_lines]
            assert content(into) == content(whole)
            assert merged.missing() == []
        shutil.rmtree(into.parent, ignore_errors=True)
        at += 1 if THOROUGH else 5  # writing a file takes six steps
    assert at > 50
    assert set(ends) == {-signal.SIGKILL, 0}


def test_a_merge_repeated_after_a_source_was_restacked_has_each_cell_once(joined, tmp_path, monkeypatch):
    left = shutil.copytree(joined[0][0], tmp_path / "left")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_timing", killed)
        with pytest.raises(KeyboardInterrupt):
            merge_experiments([left], tmp_path / "both")
    part = next(store.read_parts(left, []))
    assert [part.id] == [path.stem for path in (tmp_path / "both" / "parts").iterdir()]
    (left / "parts" / f"{part.id}.parquet").unlink()
    for rows in (part.table[:6], part.table[6:]):
        store.write_timing(left, store.write_part(left, rows, part.metadata), untrusted.TIMING)
    merged, lines = merge_experiments([left], tmp_path / "both")
    assert (lines, merged.missing()) == ([], [])
    rows = pd.read_parquet(merged.folder / "parts")
    assert (len(rows), rows.duplicated(["cell", "epoch"]).any()) == (54, False)
    assert store.read_timing(merged.folder, part.id) == untrusted.TIMING


def test_a_merge_does_not_continue_in_a_folder_with_other_files(joined, tmp_path):
    sources, whole, _ = joined
    with pytest.raises(UserError, match="is not empty"):  # it has ended
        merge_experiments(sources, whole)
    for name in ("notes.txt", "parts/notes.txt", f"parts/{'a' * 64}.parquet", "figures/cover.png"):
        into = tmp_path / name.replace("/", "-") / "both"
        (into / name).parent.mkdir(parents=True)
        (into / name).write_text("mine")
        with pytest.raises(UserError, match="is not empty"):
            merge_experiments(sources, into)
        assert [path for path in listing(into) if (into / path).is_file()] == [name]
    other = Experiment.create(Experiment.open(sources[0]).grid, tmp_path / "other").folder  # begun, of another grid
    with pytest.raises(UserError, match="is not empty"):
        merge_experiments(sources, other)


def test_a_full_disk_stops_a_merge_and_prints_the_command_that_continues(joined, tmp_path, monkeypatch, capsys):
    sources, whole, _ = joined
    plain = store.write_timing

    def full(folder, part, timing):
        raise files.cannot_write(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), folder / "timings" / part)

    monkeypatch.setattr(store, "write_timing", full)
    arguments = ["merge", *sources, "--into", tmp_path / "both"]
    status, lines = command(capsys, *arguments)
    assert (status, len(lines)) == (1, 2)
    assert lines[1] == f"Resume with: initbench {' '.join(map(str, arguments))}"
    monkeypatch.setattr(store, "write_timing", plain)
    assert command(capsys, *arguments)[0] == 0
    assert content(tmp_path / "both") == content(whole)


# ---------------------------------------------------------------------------------------------------------------------
# The cost of verifying


def test_verify_reads_each_part_once_and_creates_each_cell_once(synthetic, monkeypatch):
    calls = {"open_part": 0, "Cell": 0, "exists": 0}

    def counted(name, plain):
        def call(*rest, **named):
            calls[name] += 1
            return plain(*rest, **named)

        return call

    run = Experiment.open(synthetic)
    monkeypatch.setattr(store, "open_part", counted("open_part", store.open_part))
    monkeypatch.setattr(verify, "Cell", counted("Cell", verify.Cell))
    for name in ("exists", "stat"):
        monkeypatch.setattr(Path, name, counted("exists", getattr(Path, name)))
    for name in ("DataFrame", "Series"):
        monkeypatch.setattr(pd, name, None)
    checked = verify.check(run)
    assert (checked.problems, len(checked.cells)) == ([], 18)
    assert calls == {"open_part": 2, "Cell": 18, "exists": 0}
    cell = next(run.grid.cells()).id
    rows = verify._rows(run, checked, {cell})
    assert rows[cell]["epoch"].to_pylist() == [0, 1, 2]
    assert calls["open_part"] == 3  # of the parts the one that has this cell
