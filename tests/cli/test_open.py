"""`initbench open`: the report of an experiment in a browser, or where there is none, its address."""

import os
import shlex
import subprocess
import sys
import webbrowser
from pathlib import Path

import made_up
import pytest
from command import ended

import initbench as ib

SCREEN = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY")


@pytest.fixture
def here(tmp_path, monkeypatch, without_figures):
    """A working directory with the experiments `older` and `newer` in results, and a screen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in SCREEN:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    made_up.instantly(monkeypatch)
    (tmp_path / "g.toml").write_text(made_up.GRID)
    for time, name in enumerate(("newer", "older")):
        ib.run("g.toml", overrides={"name": name}, progress=False)
        for path in (tmp_path / "results" / name / "grid.toml", tmp_path / "results" / name / "parts"):
            os.utime(path, (1e9 - time, 1e9 - time))
    return tmp_path


@pytest.fixture
def opened(monkeypatch):
    """The addresses that a browser opens."""
    addresses = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) or True)
    return addresses


def test_it_writes_a_missing_report_and_opens_it_and_then_opens_it_as_it_is(here, opened, monkeypatch, capsys):
    page = here / "results" / "older" / "report.html"
    status, out, errors = ended(monkeypatch, capsys, "open", "results/older")
    assert (status, out, errors) == (0, "Report: results/older/report.html\n", "")
    assert opened == [page.as_uri()]
    content, changed = page.read_bytes(), page.stat().st_mtime_ns
    assert content.startswith(b"<!DOCTYPE html>")
    assert ended(monkeypatch, capsys, "open", "results/older")[1] == "Report: results/older/report.html (unchanged)\n"
    assert page.stat().st_mtime_ns == changed
    page.unlink()
    page.symlink_to("/etc/hostname")  # what is opened is a report that initbench wrote, also in a folder of another's
    assert ended(monkeypatch, capsys, "open", "results/older")[:2] == (0, "Report: results/older/report.html\n")
    assert not page.is_symlink()
    assert page.read_bytes() == content
    assert ended(monkeypatch, capsys, "open", "older")[:2] == (0, "Report: results/older/report.html (unchanged)\n")
    assert opened == [page.as_uri()] * 4


def test_without_a_name_it_is_the_experiment_that_changed_last(here, opened, monkeypatch, capsys):
    (here / "results" / "no-experiment" / "parts").mkdir(parents=True)
    assert ended(monkeypatch, capsys, "open")[1] == "Report: results/newer/report.html\n"
    os.utime(here / "results" / "older" / "parts", (1e9 + 1, 1e9 + 1))
    assert ended(monkeypatch, capsys, "open")[1] == "Report: results/older/report.html\n"
    assert [Path(address).parent.name for address in opened] == ["newer", "older"]


@pytest.mark.parametrize(
    ("variables", "platform", "opens"),
    [
        ({}, "linux", False),
        ({"SSH_CONNECTION": "a 1 b 2"}, "linux", False),
        ({"SSH_CONNECTION": "a 1 b 2", "DISPLAY": "localhost:10.0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"BROWSER": "lynx"}, "linux", True),
        ({}, "darwin", True),
        ({"SSH_TTY": "/dev/pts/1"}, "darwin", False),
        ({}, "win32", True),
    ],
)
def test_without_a_screen_the_address_is_printed(here, opened, monkeypatch, capsys, variables, platform, opens):
    from initbench.cli import browse

    monkeypatch.delenv("DISPLAY")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    page = here / "results" / "older" / "report.html"
    monkeypatch.setattr(browse, "write_report", lambda folder: folder / "report.html")
    monkeypatch.setattr(browse.sys, "platform", platform)
    browse.open_command(Path("results/older"))
    lines = capsys.readouterr().out.splitlines()
    assert opened == [page.as_uri()] * opens
    assert (lines == []) == opens
    if not opens:
        assert lines[0] == f"No browser can be opened here. The address of the report: {page.as_uri()}"
        assert len(lines) == 1 + ("SSH" in str(variables))
        assert all(shlex.split(line.partition("there: ")[2])[1].endswith(f":{page}") for line in lines[1:])


def test_the_address_is_printed_if_no_browser_starts(here, monkeypatch, capsys):
    def fail(address):
        raise webbrowser.Error("could not locate runnable browser")

    for failing in (fail, lambda address: False):
        monkeypatch.setattr(webbrowser, "open", failing)
        status, out, _ = ended(monkeypatch, capsys, "open", "results/older")
        assert status == 0
        assert f"address of the report: {(here / 'results' / 'older' / 'report.html').as_uri()}\n" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["results/none"], "results/none: no such folder; experiments in results: newer, older"),
        (["g.toml"], "g.toml: not an experiment: it is a file"),
    ],
)
def test_a_folder_without_an_experiment_opens_nothing(here, opened, monkeypatch, capsys, words, line):
    assert ended(monkeypatch, capsys, "open", *words) == (2, "", f"{line}\n")
    assert opened == []


def test_without_experiments_the_line_has_the_command_that_trains_one(tmp_path, opened, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert ended(monkeypatch, capsys, "open") == (
        2,
        "",
        "there is no experiment in results; give an experiment's folder, or train one: initbench run keepcoding\n",
    )
    assert list(tmp_path.iterdir()) == opened == []


@pytest.mark.skipif(sys.platform != "linux", reason="a browser that is a script")
def test_the_users_browser_is_started_with_the_report_alone(here):
    browser = here / "browser"
    browser.write_text('#!/bin/sh\nprintf "%s\\n" "$#" "$@" >"$0.log"\n')
    browser.chmod(0o755)
    code = (
        "import webbrowser; from pathlib import Path; from initbench.cli.browse import open_in_browser\n"
        "print(open_in_browser(Path('results/a b/report.html').resolve()))"
    )
    environment = {**os.environ, "BROWSER": f"{browser} %s"}
    words = [sys.executable, "-c", code]
    assert subprocess.check_output(words, text=True, env=environment) == "True\n"
    page = here / "results" / "a b" / "report.html"
    assert Path(f"{browser}.log").read_text().splitlines() == ["1", page.as_uri()]
