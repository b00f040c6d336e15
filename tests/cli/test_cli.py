"""The command line, as a person uses it: a process, its output, its exit status."""

import io
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pandas as pd
import pytest
import torch
from command import ended, status_of

import initbench as ib
from initbench.cli import app
from initbench.results.table import csv_bytes

COMMANDS = ["new", "plan", "run", "report", "list", "export", "merge", "clean", "schema", "show"]


def initbench(*arguments, cwd):
    """The command line in this process, as one that has ended."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setenv("COLUMNS", "100")
        patch.setenv("NO_COLOR", "1")
        patch.setattr(sys, "stdin", io.StringIO())
        status = status_of(*arguments)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def process(*arguments, cwd, **keywords):
    """The command line in a process of its own."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **keywords.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "initbench", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        **keywords,
    )


@pytest.mark.slow
def test_without_docstrings_all_lists_and_every_help_are_the_same(tmp_path):
    code = (
        "import sys\nfrom initbench.cli import app, main\n"
        "kinds = ['initializers', 'activations', 'losses', 'optimizers', 'models', 'datasets', 'presets']\n"
        "names = [c.name or c.callback.__name__ for c in app.registered_commands]\n"
        "for words in [['--help'], ['list'], *(['list', k] for k in kinds), *([n, '--help'] for n in names)]:\n"
        "    sys.argv = ['initbench', *words]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        print('STATUS', end.code)\n"
    )
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    command = [sys.executable, "-c", code]
    plain, bare = (
        subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment, check=True).stdout
        for words in (command, [sys.executable, "-OO", *command[1:]])
    )
    assert bare == plain
    assert "      All zeros: W = 0.\n" in bare
    assert "Constant schemes: every weight the same\n" in bare
    assert "Train a grid and write its report. Cells that are trained already are not trained again." in bare
    assert bare.count("STATUS 0\n") == 9 + len(app.registered_commands)


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "initializers"], ["--version"]])
def test_help_and_list_import_nothing_heavy(arguments, tmp_path):
    code = (
        "import sys\nfrom initbench.cli import main\n"
        f"sys.argv = ['initbench', *{arguments}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'scipy', 'seaborn', 'pyarrow'} & set(sys.modules)\n"
        "light = {'numpy', 'pydantic', 'pygments', 'tomllib'} if 'list' not in sys.argv else set()\n"
        "heavy |= light & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "HEAVY []" in out.stdout
    assert len(out.stdout) > len("HEAVY []\n")


def test_import_is_light():
    code = "import sys, initbench as ib; ib.initializers; print({'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_the_notes_and_the_warning_of_a_plan_need_no_statistics():
    code = (
        "import sys; from initbench import grid; from initbench.api import take_notes, training\n"
        "from initbench.results.experiment import Experiment; from pathlib import Path\n"
        "experiment = Experiment(Path('x'), grid.parse('[grid]\\ninitializer = [\"zeros\", \"ones\"]\\nseed = 2'))\n"
        "assert take_notes(experiment) == [] and training.TrainingEstimate(experiment, [], None).too_few_seeds\n"
        "print({'torch', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_grid_with_gradient_driven_schemes_is_checked_without_torch():
    code = (
        "import sys; from initbench import grid\n"
        'schemes = ["metainit", "gradinit", "lsuv", "dks"]\n'
        "grid.parse(f'[grid]\\ninitializer = {schemes}\\n[model]\\nactivation = \"tanh\"')\n"
        'grid.parse(f\'[grid]\\ninitializer = {schemes[:3]}\\nmodel = ["lenet5", "residual_perceptron"]\').cells()\n'
        "print({'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_the_list_of_initializers_has_all_of_them_by_family(tmp_path):
    listed = initbench("list", "initializers", cwd=tmp_path).stdout
    names = [
        line.strip().partition("(")[0].strip() for line in listed.splitlines() if line[:2] == "  " and line[2:3] != " "
    ]
    assert sorted(names) == sorted(ib.initializers.INITIALIZERS)
    assert names[:3] == ["zeros", "ones", "constant"]
    assert "\nGradient-driven schemes" in listed


@pytest.mark.slow
def test_show_draws_a_scheme_and_its_distribution_and_refuses_what_it_cannot_draw(tmp_path, monkeypatch, capsys):
    shown = initbench("show", "he_normal", "--shape", "784,256", "--activation", "relu", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert f"the distribution (| below): mean 0, standard deviation {(2 / 784) ** 0.5:.4g}" in shown.stdout
    bars = [line for line in shown.stdout.splitlines() if "█" in line]
    assert len(bars) > 15
    assert (tmp_path / "he_normal-784x256.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)

    def show(*arguments):
        return ended(monkeypatch, capsys, "show", *arguments)

    for arguments, std in (
        (["gpt2", "--depth", "11"], 0.02 / 3),
        (["mup", "--position", "last"], 128**0.5 / 784),
        (["activation_scaling", "--activation", "tanh"], 1.5925 / 28),
    ):
        assert (
            f"the distribution (| below): mean 0, standard deviation {std:.4g}"
            in show(*arguments, "--out", "x.png", "--force")[1]
        )
    first, other = (show("normal", "--seed", seed, "--out", "x.png", "--force") for seed in "01")
    assert first != other
    assert "singular values: from" in show("lsuv", "--shape", "784,40", "--out", "lsuv.svg")[1]
    assert (tmp_path / "lsuv.svg").read_text().startswith("<?xml")
    for arguments, message in (
        (["he_norml"], "did you mean 'he_normal'"),
        (["lsuv", "--shape", "100,50"], "give --shape 784,256"),
        (["dks", "--activation", "relu"], "activation = 'relu'"),
        (["he_normal", "--shape", "5"], "2 dimensions"),
        (["he_normal", "--shape", "a,b"], "integers separated by commas"),
        (["he_normal", "--shape", "0,5"], "each size from 1 up"),
        (["he_normal", "--shape", "100000,100000"], "at most 16,777,216 weights"),
        (["he_normal", "--out", "x.txt"], ".png, .svg or .pdf"),
        (["mup", "--position", "lst"], "did you mean 'last'"),
        (["normal(std=1e300)"], "has weights as large as inf"),
        (["he_normal", "--out", "folder.png"], "a file's name"),
        (["kumar", "--activation", "selu"], "smooth at 0"),
    ):
        status, _, errors = show(*arguments)
        assert (status, len(errors.splitlines())) == (2, 1), errors
        assert message in errors
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.png", "he_normal-784x256.png", "lsuv.svg", "x.png"]


def test_what_is_drawn_of_weights_are_their_numbers():
    from initbench.initializers import orthogonal
    from initbench.initializers.schemes import distribution
    from initbench.reporting.figures import weights

    W, stated = orthogonal((60, 40), gain=3.0, seed=0), distribution("orthogonal(gain=3.0)", (60, 40))
    edges, shares, expected = weights.histogram(W, stated)
    assert shares.sum() == pytest.approx(1)
    assert shares[3] == pytest.approx(((edges[3] <= W) & (edges[4] > W)).mean())
    assert expected.sum() == pytest.approx(stated.cdf(W.max()) - stated.cdf(W.min()))
    assert abs(shares - expected).max() < 0.02
    text = "\n".join(weights.lines(W, stated))
    assert "singular values: from 3 to 3, median 3" in text
    assert "norms of the units' weights: mean 3, from 3 to 3" in text
    assert f"mean {W.mean():.4g}, standard deviation {W.std():.4g}, from {W.min():.4g} to {W.max():.4g}" in text
    figure = weights.figure(["histogram", "weights", "singular values", "norms"], W, stated)
    histogram, matrix, singular, _ = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    x, y = histogram.lines[0].get_data()
    assert y == pytest.approx(stated.pdf(x))
    assert (matrix.images[0].get_array() == W).all()
    assert singular.lines[0].get_ydata() == pytest.approx([3.0] * 40)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(command, tmp_path):
    out = initbench(command, "--help", cwd=tmp_path)
    assert out.returncode == 0
    assert f"Example: initbench {command}" in out.stdout


def test_list_names_every_entry_with_its_parameters(tmp_path):
    from initbench.initializers import INITIALIZERS

    out = initbench("list", "initializers", cwd=tmp_path).stdout
    for entry in INITIALIZERS.values():
        of_biases = "  (also for biases)" * ("bias" in entry.tags)
        assert f"\n  {entry.signature}{of_biases}\n      {entry.summary}\n" in "\n" + out
    wrong = initbench("list", "initialisers", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "did you mean 'initializers'" in wrong.stderr


def test_new_plan_run_report_export_clean(tmp_path, without_figures):
    assert initbench("new", "g.toml", cwd=tmp_path).returncode == 0
    twice = initbench("new", "g.toml", cwd=tmp_path)
    assert twice.returncode == 2
    assert "exists already" in twice.stderr

    plan = initbench("plan", "g.toml", "--set", "seed=2", cwd=tmp_path)
    assert plan.returncode == 0
    assert "96 cells: 6 initializers × 4 activations × 2 losses × 2 seeds" in plan.stdout
    assert "2 seeds are too few for any conclusion" in plan.stdout
    assert re.search(r"about \d+ s and \d\.\d GB", plan.stdout)
    assert not (tmp_path / "results").exists()

    smoke = ["run", "g.toml", "--smoke", "--set", "activation=tanh,relu", "--workers", "1"]
    run = process(*smoke, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "24 of 24 cells" in run.stdout
    assert "cells/s" in run.stdout
    assert run.stdout.rstrip().endswith("Report: results/keepcoding-smoke/report.html")
    again = initbench(*smoke, cwd=tmp_path)
    assert "Nothing to train: all 24 cells" in again.stdout

    folder = tmp_path / "results" / "keepcoding-smoke"
    (folder / "report.html").unlink()
    assert initbench("report", "results/keepcoding-smoke", cwd=tmp_path).returncode == 0
    assert (folder / "report.html").exists()

    for name, read in (("out.csv", pd.read_csv), ("out.parquet", pd.read_parquet)):
        assert initbench("export", "results/keepcoding-smoke", name, cwd=tmp_path).returncode == 0
        assert len(read(tmp_path / name)) == 48
    assert (tmp_path / "out.csv").read_bytes() == csv_bytes(pd.read_parquet(tmp_path / "out.parquet"))
    for name, begins in (
        ("means.md", "| initializer |"),
        ("means.tex", "% keepcoding-smoke"),
        ("how.txt", "We compared 6 "),
    ):
        assert initbench("export", "results/keepcoding-smoke", name, cwd=tmp_path).returncode == 0
        assert (tmp_path / name).read_text().startswith(begins)
    wrong = initbench("export", "results/keepcoding-smoke", "out.xls", cwd=tmp_path)
    assert (wrong.returncode, "allowed: .csv, .parquet, .xlsx, .md, .tex or .txt" in wrong.stderr) == (2, True)

    unanswered = initbench("clean", "results/keepcoding-smoke", cwd=tmp_path)
    assert (unanswered.returncode, "--yes" in unanswered.stderr, folder.exists()) == (2, True, True)
    assert initbench("clean", "results/keepcoding-smoke", "--yes", cwd=tmp_path).returncode == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "bad.toml"],
        ["plan", "bad.toml"],
        ["run", "nowhere.toml"],
        ["run", "."],
        ["run", "good.toml", "--set", "seed"],
        ["run", "good.toml", "--set", "sed=1"],
        ["run", "good.toml", "--set", "name=../../x"],
        ["run", "good.toml", "--workers", "0"],
        ["report", "results/none"],
        ["new", "x.toml", "--preset", "kepcoding"],
        ["export", "results/none", "x.csv"],
        ["merge", "results/none", "--into", "results/y"],
        ["clean", "."],
        ["report", "x" * 300],
        ["new", "x" * 300],
        ["run", "good.toml", "--results", "x" * 300],
        ["run", "good.toml", "--results", "good.toml"],
        ["merge", ".", "--into", "good.toml"],
        ["runn"],
    ],
)
def test_a_mistake_is_status_2_without_traceback_and_writes_nothing(arguments, tmp_path, monkeypatch, capsys):
    (tmp_path / "good.toml").write_text("[grid]\ninitializer = ['zeros']")
    (tmp_path / "bad.toml").write_text("[grid]\ninitializer = ['zero']\n[training]\nepochs = 0")
    monkeypatch.chdir(tmp_path)
    status, _, errors = ended(monkeypatch, capsys, *arguments)
    assert status == 2
    assert "Traceback" not in errors
    assert errors.strip()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.toml", "good.toml"]
    if arguments[-1] == "bad.toml":
        assert [line[:9] for line in errors.splitlines()] == ["bad.toml:"] * 2


@pytest.mark.slow
def test_ctrl_c_keeps_finished_stacks_and_prints_how_to_continue(tmp_path, grid_file):
    """Six stacks, the first quick, and an interrupt as soon as a part lies on disk."""
    command = [
        sys.executable,
        "-m",
        "initbench",
        "run",
        str(grid_file),
        "--workers",
        "1",
        "--set",
        "train_size=20000",
    ]
    command += ["--set", "seed=6"]
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    parts = tmp_path / "results" / "small" / "parts"
    deadline = time.monotonic() + 200
    while not (parts.is_dir() and any(parts.glob("[!.]*"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    for _ in range(3):  # an impatient person
        running.send_signal(signal.SIGINT)
        time.sleep(0.05)
    out, err = running.communicate(timeout=200)
    assert running.returncode == 130
    assert "Traceback" not in err
    parts_before = len(list(parts.glob("[!.]*")))
    assert 0 < parts_before < 6
    assert f"Interrupted. Kept: {6 * parts_before} of 36 cells, in results/small. Lost: " in out
    (line,) = [line for line in out.splitlines() if line.startswith("Resume with: ")]
    arguments = line.removeprefix("Resume with: initbench ").split()
    finished = process(*arguments, "--workers", "1", "--no-report", cwd=tmp_path)
    assert finished.returncode == 0
    assert f"{6 * (6 - parts_before)} cells to train, {6 * parts_before} are trained already" in finished.stdout


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("seed=3", "seed", 3),
        ("activation=tanh", "activation", "tanh"),
        ("learning_rate=1e-3,1e-2", "learning_rate", [1e-3, 1e-2]),
        ("loss=mse,mae", "loss", ["mse", "mae"]),
        ("hidden=[[], [8]]", "hidden", [[], [8]]),
        ("initializer=normal(mean=0.1, std=0.2)", "initializer", "normal(mean=0.1, std=0.2)"),
        ("optimizer={ name = 'adam', beta1 = 0.5 }", "optimizer", {"name": "adam", "beta1": 0.5}),
    ],
)
def test_a_setting_on_the_command_line_is_toml_or_words(text, key, value):
    from initbench.cli.options import pair

    assert pair(text) == (key, value)


def test_the_schema_is_json(tmp_path):
    assert "properties" in json.loads(initbench("schema", cwd=tmp_path).stdout)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("options", [["--device", "cuda"], ["--set", "device=cuda"]])
def test_a_missing_gpu_is_reported_in_a_line_and_nothing_is_written(tmp_path, grid_file, options):
    done = initbench("run", str(grid_file), *options, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "device = 'cuda' cannot be used" in done.stderr
    assert "allowed here: 'cpu' or 'auto'" in done.stderr
    assert not (tmp_path / "results").exists()


def test_a_device_that_there_is_not_is_refused(tmp_path, grid_file):
    done = initbench("plan", str(grid_file), "--device", "tpu", cwd=tmp_path)
    assert done.returncode == 2
    assert "device" in done.stderr
    assert "'auto', 'cpu' or 'cuda'" in done.stderr


def run_into(folder, grid_file, *options):
    return [sys.executable, "-m", "initbench", "run", str(grid_file), "--results", str(folder), *options]


@pytest.mark.slow
def test_neither_width_nor_lost_standard_streams_change_a_result(tmp_path, grid_file, trained):
    closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    done = subprocess.run([*closed, *run_into(tmp_path, grid_file, "--workers", "1", "--width", "5")], check=False)
    assert done.returncode == 0
    pd.testing.assert_frame_equal(ib.load(tmp_path / "small"), trained[1], check_exact=True)
    assert (tmp_path / "small" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is /dev/full here")
def test_neither_workers_nor_a_terminal_that_is_closed_change_a_result(tmp_path, grid_file, trained):
    """The log is read to its first line, errors meet a full disk, and `nohup` makes it ignore the hangup."""
    ignoring = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *run_into(tmp_path, grid_file, "--workers", "2")]
    with Path("/dev/full").open("wb") as full:
        running = subprocess.Popen(ignoring, cwd=tmp_path, stdout=subprocess.PIPE, stderr=full, text=True)
    assert running.stdout.readline().endswith("12 cells to train\n")
    running.stdout.close()
    running.send_signal(signal.SIGHUP)
    assert running.wait(timeout=400) == 0
    pd.testing.assert_frame_equal(ib.load(tmp_path / "small"), trained[1], check_exact=True)
    assert (tmp_path / "small" / "report.html").is_file()


def test_the_program_has_scipys_functions_without_numpys_compiler_and_testing():
    code = (
        "import sys\nfrom initbench.cli.program import import_numpy\n"
        "import_numpy()\nfrom scipy import special\nprint('unittest' in sys.modules)\n"
        "print(special.stdtr(4, 1.5), special.ndtri(0.9))\n"
        "import numpy as np\nnp.testing.assert_equal(1, 1)\nfrom numpy.testing import assert_allclose\n"
        "print(callable(np.f2py.run_main), 'unittest' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    lines = out.splitlines()
    assert lines[0] == "False"
    s = 1.5 / math.sqrt(4 + 1.5**2)  # of Student's t with four degrees of freedom, the closed form
    expected = [0.5 + 0.75 * (s - s**3 / 3), statistics.NormalDist().inv_cdf(0.9)]
    assert [float(word) for word in lines[1].split()] == pytest.approx(expected, abs=1e-12)
    assert lines[2] == "True True"
