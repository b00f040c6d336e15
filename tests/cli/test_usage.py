"""A mistake in the command line is one line: the setting or the option that is meant, and where to look."""

import re
import shlex

import pytest
import typer
from command import ended

from initbench.cli import app
from initbench.cli.options import pairs
from initbench.spec import grid
from initbench.spec.settings import RULES

# A value of each setting that is not its default, as one types it behind an option.
VALUES = {
    "dataset": "mnist",
    "train_size": "640",
    "standardize": "true",
    "augment": "crop",
    "initializer": "zeros",
    "bias_initializer": "ones",
    "activation": "tanh",
    "output_activation": "same",
    "model": "lenet5",
    "hidden": "[64, 32]",
    "normalization": "batch",
    "dropout": "0.5",
    "loss": "mse",
    "optimizer": "adam",
    "learning_rate": "0.03",
    "lr_schedule": "cosine",
    "lr_decay": "0.1",
    "warmup_epochs": "1.5",
    "gradient_clipping": "2",
    "batch_size": "32",
    "epochs": "4",
    "precision": "float32",
    "seed": "10",
}
GRID = "[grid]\ninitializer = ['he_normal', 'zeros']\n"


@pytest.fixture
def mistake(monkeypatch, capsys, tmp_path):
    """The one line of a mistake in the command line, which writes nothing."""
    monkeypatch.chdir(tmp_path)

    def mistake(*words):
        status, out, errors = ended(monkeypatch, capsys, *words)
        assert (status, out, len(errors.splitlines())) == (2, "", 1), errors
        assert list(tmp_path.iterdir()) == []
        return errors.rstrip("\n")

    return mistake


def test_the_option_of_any_setting_is_answered_with_the_set_that_is_meant(mistake):
    assert set(VALUES) == set(RULES)
    for setting, value in VALUES.items():
        option = "--" + setting.replace("_", "-")
        for words in ([option, value], [f"{option}={value}"], ["g.toml", f"-{setting}", value]):
            line = mistake("signal", *words)
            typed = words[-2] if len(words) > 1 else option
            assert line.startswith(f"initbench signal: there is no option {typed}; {setting} is a setting: --set ")
            (pair,) = shlex.split(line.partition(" --set ")[2])
            assert pair == f"{setting}={value}"
            axes = grid.parse(GRID, overrides=pairs([pair])).axes
            assert setting in axes


@pytest.mark.parametrize("command", ["plan", "run", "signal", "try", "script"])
def test_each_command_that_takes_settings_has_the_answer(mistake, command):
    assert mistake(command, "x", "--epochs", "4") == (
        f"initbench {command}: there is no option --epochs; epochs is a setting: --set epochs=4"
    )


@pytest.mark.parametrize("words", [["report", "x"], ["verify", "x"], ["compare", "x", "y"], []])
def test_other_commands_say_which_take_it(mistake, words):
    assert mistake(*words, "--learning-rate", "0.1") == (
        f"{' '.join(['initbench', *words[:1]])}: there is no option --learning-rate; learning_rate is a setting, which "
        "plan, run, signal and try take: initbench run --set learning_rate=0.1"
    )
    with_settings = {
        name for name, c in typer.main.get_command(app).commands.items() if any(p.name == "overrides" for p in c.params)
    }
    assert with_settings == {"plan", "run", "signal", "try"}


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["--lr", "0.1"], "learning_rate is a setting: --set learning_rate=0.1"),
        (["--epoch", "4"], "epochs is a setting: --set epochs=4"),
        (["--Batch-Size", "64"], "batch_size is a setting: --set batch_size=64"),
        (["--seeds"], "seed is a setting: --set seed=VALUE"),
        (["--seed", "--smoke"], "seed is a setting: --set seed=VALUE"),
        (["--dropout", "-1"], "dropout is a setting: --set dropout=-1"),
        (["--standardize"], "standardize is a setting: --set standardize=true"),
        (["--activation", "relu,tanh"], "activation is a setting: --set activation=relu,tanh"),
        (["--hidden", "[8, 8]"], "hidden is a setting: --set 'hidden=[8, 8]'"),
        (["--name", "mine"], "name is a setting: --set name=mine"),
        (["--worker", "2"], "did you mean --workers?"),
        (["--result", "x"], "did you mean --results?"),
        (["--hlep"], "did you mean --help?"),
        (["--fail-if-worse", "1"], "compare takes it"),
        (["--qqq"], "see initbench plan --help"),
    ],
)
def test_other_spellings_are_answered_with_the_nearest(mistake, words, answer):
    assert mistake("plan", *words).split("; ")[-1] == answer


def test_an_option_before_its_command_is_answered_with_the_commands_that_have_it(mistake):
    assert mistake("--workers", "2", "plan") == (
        "initbench: there is no option --workers here; plan, run, signal, try and verify take it behind the command"
    )
    assert mistake("--versoin") == "initbench: there is no option --versoin; did you mean --version?"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["runn"], "initbench: No such command 'runn'. Did you mean 'run'?"),
        (["report"], "initbench report: Missing argument 'EXPERIMENT'; see initbench report --help"),
        (["plan", "--set"], "initbench plan: Option '--set' requires an argument; see initbench plan --help"),
        (["plan", "g.toml", "epochs=4"], r"initbench plan: .*\(epochs=4\); epochs is a setting: --set epochs=4"),
        (["report", "x", "y"], r"initbench report: .*\(y\); see initbench report --help"),
        (["plan", "--workers", "0"], r"initbench plan: Invalid value for '--workers': .*1; see initbench plan --help"),
        (["data", "add", "mnist"], "initbench data add: Missing argument 'FOLDER'; see initbench data add --help"),
    ],
)
def test_every_other_mistake_is_one_line_too(mistake, words, line):
    assert re.fullmatch(
        line.replace("?", r"\?").replace(".*", "\0").replace(".", r"\.").replace("\0", ".*"), mistake(*words)
    )
