"""A report that is there, made from the same, is not regenerated; one that is not, is."""

import os
import shutil

import made_up
import pandas as pd
import pytest
from command import ended

import initbench as ib
from initbench.api import training, unchanged
from initbench.execution.config import ExecutionConfig
from initbench.reporting import page
from initbench.results import looks, signal, store
from initbench.spec import grid


@pytest.fixture
def drawn(monkeypatch):
    """The number of times that the figures of a page were requested; none is drawn."""
    calls = []
    monkeypatch.setattr(page, "gallery", lambda *_: calls.append(1) or iter(()))
    return calls


@pytest.fixture
def folder(tmp_path, monkeypatch, drawn):
    """An experiment with its report, in the working directory; the user's cache is empty before."""
    made_up.instantly(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "g.toml").write_text(made_up.GRID.replace('name = "made-up"\n', ""))
    ib.run("g.toml")
    ib.report("results/g")
    assert len(drawn) == 1
    return tmp_path / "results" / "g"


def stamp(folder):
    status = (folder / "report.html").stat()
    return status.st_mtime_ns, status.st_ino, (folder / "report.html").read_bytes()


def test_an_unchanged_report_is_left_as_it_is(folder, drawn, monkeypatch, capsys):
    before = stamp(folder)
    assert ib.report(folder) == folder / "report.html"
    assert ended(monkeypatch, capsys, "report", "results/g")[:2] == (0, "Report: results/g/report.html (unchanged)\n")
    status, out, _ = ended(monkeypatch, capsys, "run", "g.toml")
    assert (status, out.splitlines()[-1]) == (0, "Report: results/g/report.html (unchanged)")
    assert "Combination" in out
    os.chdir(folder)
    ib.report(".")
    assert stamp(folder) == before
    assert len(drawn) == 1


def add_part(folder):
    part = next((folder / "parts").iterdir())
    other = shutil.copytree(folder, folder.parent / "other" / "g")
    for path in (other / "parts").iterdir():
        path.unlink()
    training.train(grid.read(other / "grid.toml", {"seed": 3}), other.parent, ExecutionConfig(), lambda event: None)
    for path in (other / "parts").iterdir():
        shutil.copy(path, folder / "parts")
    assert part.exists()


def add_signal(folder):
    rows = next(signal.read(folder, [])).table
    signal.write(folder, rows.slice(0, 4), {})


def damage_part(folder):
    next((folder / "parts").iterdir()).write_bytes(b"PAR1")


def change_grid(folder):
    path = folder / "grid.toml"
    path.write_text(path.read_text().replace("seed = 2", "seed = 3"))


def comment_grid(folder):
    path = folder / "grid.toml"
    path.write_text("# a comment, which the page shows\n" + path.read_text())


def remove_timing(folder):
    next((folder / "timings").iterdir()).unlink()


def edit_page(folder):
    path = folder / "report.html"
    path.write_text(path.read_text().replace("</body>", "<script>alert(1)</script></body>"))


def remove_page(folder):
    (folder / "report.html").unlink()


def link_page(folder):
    path = folder / "report.html"
    path.rename(folder.parent / "elsewhere.html")
    path.symlink_to(folder.parent / "elsewhere.html")


def forget(folder):
    (folder.parents[1] / "cache" / "initbench" / "reports.json").unlink()


def damage_records(folder):
    (folder.parents[1] / "cache" / "initbench" / "reports.json").write_text("[[")


CHANGES = [
    add_part, add_signal, damage_part, change_grid, comment_grid, remove_timing, edit_page, remove_page, link_page,
    forget, damage_records,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("change", CHANGES)
def test_a_report_is_regenerated_once_where_anything_changed(folder, drawn, change):
    change(folder)
    ib.report(folder)
    assert len(drawn) == 2
    assert (folder / "report.html").is_file()
    assert not (folder / "report.html").is_symlink()
    assert "alert(1)" not in (folder / "report.html").read_text()
    ib.report(folder)
    assert len(drawn) == 2


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_look_that_is_known_later_regenerates_a_report(folder, drawn):
    ib.run("g.toml", overrides={"seed": 3})
    (folder / "looks.json").unlink()  # as if nobody had looked at two seeds
    ib.report(folder)
    ib.report(folder)
    assert len(drawn) == 2
    seeds = {path.stem: pd.read_parquet(path, columns=["seed"])["seed"].max() for path in (folder / "parts").iterdir()}
    looks.write(folder, [[part for part, seed in seeds.items() if seed < 2]])
    ib.report(folder)
    assert len(drawn) == 3


@pytest.mark.slow
def test_another_program_or_library_regenerates_a_report(folder, drawn, monkeypatch):
    code = unchanged._code()
    assert len(code) == 1 + len(unchanged.LIBRARIES)
    for i in range(len(code)):
        changed = [*code[:i], "another", *code[i + 1 :]]
        monkeypatch.setattr(unchanged, "_code", lambda changed=changed: changed)
        ib.report(folder)
        assert len(drawn) == 2 + i


def test_a_folder_cannot_say_that_its_page_is_unchanged(folder, drawn, monkeypatch, tmp_path):
    """The page of someone else, with all the files that came with it, is regenerated; and a copy of one's own."""
    (folder / "report.html").write_text("mine")
    stolen = shutil.copytree(folder, tmp_path / "from someone" / "g")
    ib.report(stolen)
    assert len(drawn) == 2
    assert "mine" not in (stolen / "report.html").read_text()


def test_the_records_do_not_grow_without_end(folder, monkeypatch):
    monkeypatch.setattr(unchanged, "MAX_RECORDS", 3)
    for i in range(5):
        unchanged.record(folder / f"{i}.html", "", b"")
    assert [path.rpartition("/")[2] for path in unchanged._records()] == ["2.html", "3.html", "4.html"]


def test_without_a_cache_a_report_is_made_each_time(folder, drawn, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "g.toml"))  # a file
    ib.report(folder)
    ib.report(folder)
    assert len(drawn) == 3


def test_no_report_leaves_the_summary_and_says_how_to_write_it(folder, drawn, monkeypatch, capsys):
    status, out, _ = ended(monkeypatch, capsys, "run", "g.toml", "--no-report", "--results", "more")
    assert status == 0
    assert "Combination" in out
    assert out.splitlines()[-1] == "No report was written (--no-report); to write it: initbench report more/g"
    assert not (folder.parents[1] / "more" / "g" / "report.html").exists()
    assert len(drawn) == 1
    assert store.read_timings(folder.parents[1] / "more" / "g")
