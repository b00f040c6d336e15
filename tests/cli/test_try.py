"""`initbench try`: which initializers meet which others, what is left out, what is printed, and what is refused."""

import re
import subprocess
import sys
import tomllib

import made_up
import pytest
from command import ended

import initbench as ib
from initbench.api import battery, training
from initbench.errors import UserError
from initbench.execution.estimate import Estimate
from initbench.plugins import consent
from initbench.spec import grid, presets

SCHEMES = '''"""Own schemes."""
import numpy as np

import initbench as ib


@ib.initializer
def scaled_orthogonal(shape, *, gain: float = 1.1, seed=None, dtype="float32"):
    """Orthogonal weights times a gain."""
    return gain * ib.initializers.orthogonal(shape, seed=seed, dtype=dtype)


def coin(shape, seed):
    return 0.1 * np.random.default_rng(seed).choice([-1.0, 1.0], shape)


@ib.activation
def double_relu(x):
    return 2 * x.clamp(min=0)
'''

SMALL = """
equivalent_within = 0.2
[grid]
initializer = ["zeros", "he_normal"]
activation = ["tanh", "relu"]
hidden = [[4], [8], [8, 8]]
seed = 5
[training]
train_size = 1280
epochs = 1
"""

OWN = re.compile(r"(scaled_orthogonal|coin)@[0-9a-f]{20}")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a file of own initializers and a grid, a cache of its own, and no time to train."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(consent, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "my_schemes.py").write_text(SCHEMES)
    (tmp_path / "small.toml").write_text(SMALL)
    (tmp_path / "none.toml").write_text(SMALL.replace('initializer = ["zeros", "he_normal"]\n', ""))
    made_up.instantly(monkeypatch)
    guess = Estimate(cells=1, stacks=1, workers=2, seconds=75.0, memory=2e9, device="cpu")
    monkeypatch.setattr(training, "estimates", lambda trainings, *_: [guess] * len(trainings))
    return tmp_path


def test_the_preset_is_the_battery_of_540_cells():
    parsed = grid.parse(presets.text("battery"))
    assert len(parsed) == 540
    assert parsed.axes["initializer"] == ("he_normal", "glorot_uniform", "orthogonal", "lsuv")
    assert parsed.axes["activation"] == ("tanh", "relu", "gelu")
    assert parsed.axes["hidden"] == ("128", "-".join(["128"] * 3), "-".join(["128"] * 10))
    assert [parsed.axes[s] for s in ("loss", "optimizer", "epochs")] == [("cross_entropy",), ("sgd",), (2,)]
    assert (len(parsed.axes["learning_rate"]), len(parsed.axes["seed"])) == (3, 5)


def test_all_initializers_of_the_file_meet_those_of_the_battery_and_nothing_else_does(here):
    tried = battery.of_file("my_schemes.py")
    assert len(tried.own) == 2
    assert all(map(OWN.fullmatch, tried.own))
    assert tried.others == ["he_normal", "glorot_uniform", "orthogonal", "lsuv"]
    assert tried.grid.name == "try-my_schemes"
    plain = grid.parse(presets.text("battery"))
    assert {s: v for s, v in tried.grid.axes.items() if s != "initializer"} == {
        s: v for s, v in plain.axes.items() if s != "initializer"
    }
    assert {cell.id for cell in plain.cells()} < {cell.id for cell in tried.grid.cells()}


def test_quick_keeps_the_network_and_the_rate_in_the_middle_and_all_seeds(here):
    quick, whole = battery.of_file("my_schemes.py", quick=True), battery.of_file("my_schemes.py")
    assert (quick.grid.axes["hidden"], quick.grid.axes["learning_rate"]) == (("128-128-128",), (0.3,))
    assert quick.grid.axes["seed"] == whole.grid.axes["seed"]
    assert len(whole.grid) == 9 * len(quick.grid) == 9 * 90
    assert quick.omitted == {"hidden": [[128], [128] * 10], "learning_rate": [0.1, 0.6]}
    assert {cell.id for cell in quick.grid.cells()} < {cell.id for cell in whole.grid.cells()}
    by_hand = battery.of_file("my_schemes.py", overrides={"learning_rate": [0.1, 1.0]}, quick=True)
    assert by_hand.grid.axes["learning_rate"] == (0.1, 1.0)
    assert by_hand.omitted.keys() == {"hidden"}


def test_a_grid_of_ones_own_gives_the_networks_and_the_initializers_to_compare_with(here):
    tried = battery.of_file("my_schemes.py", "small.toml", {"seed": 3}, quick=True)
    assert tried.others == ["zeros", "he_normal"]
    assert tried.grid.name == "try-my_schemes-small-quick"
    assert (tried.grid.axes["hidden"], len(tried.grid.axes["seed"])) == (("8",), 3)
    (here / "own.toml").write_text('plugins = ["my_schemes.py"]\n' + SMALL.replace('"zeros"', '"scaled_orthogonal"'))
    named = battery.of_file("my_schemes.py", "own.toml")  # it names this file alone, so that no permission is needed
    assert [OWN.sub(r"\1", name) for name in named.grid.axes["initializer"]] == [
        *("scaled_orthogonal", "he_normal", "coin"),
    ]
    assert len(named.own) == 2


def test_the_code_of_another_plugin_of_the_grid_needs_leave(here):
    (here / "other.py").write_text("def other(shape, seed):\n    raise SystemExit\n")
    (here / "own.toml").write_text('plugins = ["other.py"]\n' + SMALL.replace('"zeros"', '"other"'))
    with pytest.raises(UserError, match=r"^own\.toml: other\.py may not run"):
        battery.of_file("my_schemes.py", "own.toml")


def test_what_is_printed_is_the_plan_the_table_and_the_verdict(here, capsys):
    command = ["try", "my_schemes.py", "--grid", "small.toml", "--quick", "--no-report"]
    status, out, err = ended(None, capsys, *command)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    own = [OWN.sub(lambda name: name[0][: len(name[1]) + 7], name) for name in battery.of_file("my_schemes.py").own]
    assert lines[:6] == [
        f"Comparing {own[0]}, {own[1]} with zeros, he_normal",
        "40 cells: 4 initializers × 2 activations × 5 seeds",
        "--quick leaves out hidden 4 and hidden 8-8",
        "1 stack to train, by 2 workers",
        "about 1 min 15 s and 2.0 GB of memory (estimated on this machine)",
        "results/try-my_schemes-small-quick: 40 cells to train",
    ]
    starts = [i for i, line in enumerate(lines) if line.startswith("Verdict on ")]
    assert {lines[i] for i in starts} == {f"Verdict on {name}:" for name in own}
    assert all(f" combinations {lines[i][len('Verdict on ') : -1]} " in lines[i + 1] for i in starts)
    assert all(lines[i + 2].startswith("Its mean test accuracy over both combinations ") for i in starts)
    again = "initbench report results/try-my_schemes-small-quick"
    assert lines[-2:] == ["", f"No report was written (--no-report); to write it: {again}"]
    stored = tomllib.loads((here / "results/try-my_schemes-small-quick/grid.toml").read_text())
    assert "plugins" not in stored
    frame = ib.load("results/try-my_schemes-small-quick")
    assert sorted(frame["initializer"].unique())[0] == battery.of_file("my_schemes.py").own[1]


@pytest.mark.slow
def test_a_changed_file_trains_again_and_the_earlier_results_stay(here, capsys, without_figures):
    command = ["try", "my_schemes.py", "--grid", "small.toml", "--quick", "--no-report"]
    ended(None, capsys, *command)
    status, out, _ = ended(None, capsys, *command)
    assert out.splitlines()[3] == "Nothing to train: all 40 cells are in results/try-my_schemes-small-quick already."
    (here / "my_schemes.py").write_text(SCHEMES.replace("1.1", "1.2"))
    status, out, _ = ended(None, capsys, *command)
    assert status == 0
    assert "20 cells to train, 20 are trained already" in out
    assert "leaving out 20 stored cells of other grids" in out


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("X = 1\n", [], r"f\.py: defines no function that initbench can use; allowed: a function whose first argument"),
        ("import initbench as ib\n@ib.activation\ndef a(x):\n    return x\n", [], r"f\.py: defines no initializer; "),
        ("def he_normal(shape):\n    return 0\n", [], r"f\.py: he_normal is an initializer of initbench; use another"),
        (
            "def f(shape):\n    return 1 / 0\n",
            [],
            r"battery: initializer = 'f@\w{6}': f\.py, line 2, in f: ZeroDivision",
        ),
        (
            "def f(shape):\n    return\n",
            ["--set", "initializer=zeros"],
            r"--set initializer: not allowed here: those of ",
        ),
        ("def f(shape):\n    return\n", ["--grid", "missing.toml"], r"missing\.toml: No such file or directory"),
        (
            "def f(shape):\n    return 0 * __import__('numpy').ones(shape)\n",
            ["--grid", "none.toml"],
            r"none\.toml: no initializer to compare those of f\.py with; name others in the grid's initializer",
        ),
        ("def f(:\n", [], r"f\.py, line 1: SyntaxError"),
        (None, [], r"f\.py: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(content, options, message, here, capsys):
    if content is not None:
        (here / "f.py").write_text(content)
    status, out, err = ended(None, capsys, "try", "f.py", "--quick", *options)
    assert (status, out) == (2, "")
    assert re.match(message, err), err
    assert err.count("\n") == 1
    assert not (here / "results").exists()


def test_a_battery_is_planned_without_pandas_and_torch(here):
    code = (
        "import sys; from initbench.api import battery; battery.of_file('my_schemes.py', quick=True)\n"
        "print({'pandas', 'torch', 'matplotlib'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.slow
def test_a_file_is_tried_end_to_end_and_the_verdict_has_the_numbers_of_the_stored_table(tmp_path, capsys, monkeypatch):
    """Orthogonal weights times 30 keep a deep tanh network saturated: significantly worse, by what the table says."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import initbench as ib\n"
        "def thirty(shape, seed):\n"
        "    return 30 * ib.initializers.orthogonal(shape, seed=seed)\n"
    )
    quick = ["--set", "activation=tanh", "--set", "train_size=6400"]
    status, out, err = ended(None, capsys, "try", "mine.py", "--quick", *quick)
    assert (status, err) == (0, "")
    frame = ib.load("results/try-mine-quick")
    last = frame[frame["epoch"] == 2]
    means = last.groupby("initializer")[["test_accuracy", "validation_accuracy"]].mean()
    (own,) = (name for name in means.index if "@" in name)
    best = means.drop(index=own)["validation_accuracy"].idxmax()
    verdict = out.partition("Verdict on ")[2]
    value = re.search(rf"differs from that of {best}, .*, by −([\d.]+) points .*: significantly worse", verdict)
    difference = 100 * (means["test_accuracy"][best] - means["test_accuracy"][own])
    assert float(value[1]) == pytest.approx(difference, abs=0.051)
    assert "thirty@" in verdict.splitlines()[1]
    assert verdict.splitlines()[1].endswith(" is significantly worse than another.")
    assert verdict.splitlines()[-1].startswith("Report: results/try-mine-quick/report.html")
