"""Completion in the shell: what is offered, in a real bash, quickly, and without a worker."""

import os
import shutil
import subprocess
import sys

import pytest

from initbench.cli import completion
from initbench.initializers import INITIALIZERS
from initbench.spec import presets
from initbench.spec.settings import OTHER_KEYS, RULES


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with two experiments, a grid file and a folder that is none."""
    monkeypatch.chdir(tmp_path)
    for folder in ("results/first", "results/second", "elsewhere/third"):
        (tmp_path / folder / "parts").mkdir(parents=True)
        (tmp_path / folder / "grid.toml").write_text("")
    (tmp_path / "results" / "other").mkdir()
    (tmp_path / "keen.toml").write_text("")
    return tmp_path


def test_experiments_are_those_in_results_or_in_the_folder_that_is_typed(here, monkeypatch):
    assert completion.experiments("") == completion.experiments("res") == ["results/first", "results/second"]
    assert completion.experiments("results/s") == ["results/second"]
    assert completion.experiments("elsewhere/") == ["elsewhere/third"]
    assert completion.experiments("results/o") == completion.experiments("missing/") == []
    monkeypatch.setenv("HOME", str(here))
    assert completion.experiments("~/elsewhere/") == ["~/elsewhere/third"]
    monkeypatch.chdir(here / "results")
    assert completion.experiments("") == ["first", "second"]


def test_grids_are_presets_and_grid_files_and_experiments(here):
    assert completion.grids("") == [*presets.names(), "keen.toml", "results/first", "results/second"]
    assert completion.grids("kee") == ["keepcoding", "keen.toml"]
    assert completion.grids("qqq") == []


def test_settings_are_all_keys_and_the_names_that_each_may_have():
    assert completion.settings("") == [f"{key}=" for key in (*RULES, *OTHER_KEYS)]
    assert completion.settings("lo") == ["loss=", *completion.settings("loss=")]
    assert {"loss=mse", "loss=cross_entropy"} < set(completion.settings("loss="))
    assert set(completion.settings("initializer=")) >= {f"initializer={name}" for name in INITIALIZERS}
    assert completion.settings("standardize=") == ["standardize=true", "standardize=false"]
    assert completion.settings("precision=") == ["precision=float32", "precision=tf32", "precision=bf16"]
    assert completion.settings("epochs=") == ["epochs=10"]
    assert completion.settings("loss=mse,m")[0].startswith("loss=mse,")
    assert completion.settings("train_size=") == completion.settings("qqq=") == completion.settings("qqq") == []


@pytest.mark.parametrize(
    ("words", "index", "whole", "position"),
    [
        (["i", "run", ""], 2, ["i", "run", ""], 2),
        (["i", "run", "--set", "loss", "="], 4, ["i", "run", "--set", "loss="], 3),
        (["i", "--set", "a", "=", "b", "--set", "c", "=", "d"], 8, ["i", "--set", "a=b", "--set", "c=d"], 4),
        (["i", "--set", "a", "=", "b", "k"], 5, ["i", "--set", "a=b", "k"], 3),
        (["i", "--set", "=", "a", "=", "b"], 5, ["i", "--set=a=b"], 1),
        (["i", "run"], 2, ["i", "run"], 2),
    ],
)
def test_words_that_bash_splits_are_joined(words, index, whole, position):
    assert completion.joined(words, index) == (whole, position)


def completed(*words, shell="bash", cwd):
    """What completes the last word, and the heavy modules that were imported."""
    code = (
        "import atexit, sys\n"
        "from initbench.cli import main\n"
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib', 'pyarrow', 'scipy', 'seaborn'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        "sys.argv = ['initbench']\n"
        "main()"
    )
    line = " ".join(words)
    variables = {
        "bash": {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)},
        "powershell": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_WORD_TO_COMPLETE": words[-1]},
    }.get(shell, {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"})
    environment = {**os.environ, **variables, "_INITBENCH_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cwd, env=environment
    )
    return done.stdout.splitlines(), done.stderr


def test_commands_options_presets_and_experiments_are_completed_without_a_heavy_import(here):
    for words, expected in (
        (["r"], ["run", "report"]),
        (["run", "--wor"], ["--workers"]),
        (["run", "kee"], ["keepcoding", "keen.toml"]),
        (["run", "--set", "loss", "=", "mse", "--preset", "keep"], ["keepcoding"]),
        (["report", "results/f"], ["results/first"]),
        (["run", "--device", "c"], ["cpu", "cuda"]),
        (["export", "results/first", "x"], []),  # the shell offers files
    ):
        assert completed("initbench", *words, cwd=here) == (expected, "[]\n"), words


def test_a_value_of_a_setting_is_completed_behind_the_sign_at_which_bash_splits(here):
    lines, heavy = completed("initbench", "run", "--set", "activation", "=", "ta", cwd=here)
    assert lines == ["tanh"]
    assert heavy == "['numpy']\n"


@pytest.mark.parametrize(
    ("shell", "line"),
    [("zsh", '"--workers":'), ("fish", "--workers\t"), ("powershell", "--workers:::")],
)
def test_other_shells_are_offered_the_same(here, shell, line):
    lines, heavy = completed("initbench", "run", "--wor", shell=shell, cwd=here)
    assert line in lines[0]
    assert len(lines) == 1
    assert heavy == "[]\n"


PROGRAM = '#!/bin/sh\nexec {} -m initbench "$@"\n'


@pytest.fixture
def on_path(here, monkeypatch):
    """The program `initbench` on the PATH, and an empty home."""
    program = here / "bin" / "initbench"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(here / "home"))
    (here / "home").mkdir()
    return here


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the shell is found among the parents of the process in /proc")
def test_a_bash_that_has_installed_it_completes(on_path):
    pexpect = pytest.importorskip("pexpect")
    install = ["bash", "-c", "initbench --install-completion; exit $?"]
    done = subprocess.run(install, capture_output=True, text=True, check=True, cwd=on_path)
    script = on_path / "home" / ".bash_completions" / "initbench.sh"
    assert f"bash completion installed in {script}" in done.stdout.replace("\n", "")
    assert f"source '{script}'" in (on_path / "home" / ".bashrc").read_text()
    show = ["bash", "-c", "initbench --show-completion; exit $?"]
    assert subprocess.check_output(show, text=True, cwd=on_path).strip() == script.read_text().strip()

    environment = {**os.environ, "TERM": "dumb", "INPUTRC": "/dev/null"}
    bash = pexpect.spawn(
        "bash", ["-i"], cwd=str(on_path), env=environment, encoding="utf-8", timeout=60, dimensions=(24, 400)
    )
    for typed, expected in (
        ("ver", "verify"),
        ("run --wor", "--workers"),
        ("run keepc", "keepcoding"),
        ("report results/f", "results/first"),
        ("open elsewhere/", "elsewhere/third"),
        ("run --set epo", "epochs="),
        ("run keepcoding --set activation=tan", "activation=tanh"),
        ("export results/first kee", "keen.toml"),
    ):
        bash.send(f"initbench {typed}\t\x01echo \x05\r")  # what is completed is an argument of echo, typed in front
        bash.expect_exact(f"\r\ninitbench {typed.rpartition(' ')[0]} {expected}\r\n".replace("  ", " "))
    bash.close(force=True)


@pytest.mark.parametrize("shell", ["csh", "nothing"])
def test_an_unknown_shell_is_a_line(here, shell):
    environment = {**os.environ, "_INITBENCH_COMPLETE": f"complete_{shell}"}
    words = [sys.executable, "-m", "initbench"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=here, env=environment)
    assert (done.returncode, done.stderr) == (1, f"Shell {shell} not supported.\n")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
@pytest.mark.parametrize(
    ("typed", "values"),
    [("run --set activation=tan", ["activation=tanh"]), ("report results/", ["results/first", "results/second"])],
)
def test_a_fish_that_has_installed_it_completes(on_path, typed, values):
    subprocess.run(["fish", "-c", "initbench --install-completion; true"], check=True, cwd=on_path)
    listed = subprocess.check_output(["fish", "-c", f"complete -C 'initbench {typed}'"], text=True, cwd=on_path)
    assert [line.partition("\t")[0] for line in listed.splitlines()] == values
