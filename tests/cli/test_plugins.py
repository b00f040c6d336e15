"""Own functions on the command line: permission, options, lists, and one line for whatever is wrong with a file."""

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import made_up
import numpy as np
import pytest
from command import ended

import initbench as ib
from initbench.plugins import bundle, consent, describe
from initbench.random import streams

SCHEMES = '''"""Own schemes."""
import numpy as np

import initbench as ib
from scales import GAIN


@ib.initializer
def scaled_orthogonal(shape, *, gain: float = GAIN, seed=None, dtype="float32"):
    """Orthogonal weights times a gain."""
    return gain * ib.initializers.orthogonal(shape, seed=seed, dtype=dtype)


def coin(shape, *, std: float = 0.1, seed=None):
    """A coin's two sides."""
    return std * np.random.default_rng(seed).choice([-1.0, 1.0], shape)


@ib.initializer
def first_image(model, *, seed=None):
    """The mean of the first batch in every unit."""
    mean = model.batch()[0].mean(axis=0)
    (inputs, units), last = model.layers
    return [(np.tile(mean[:, None], units), np.zeros(units)), (np.zeros(last), np.zeros(last[1]))]


@ib.activation
def double_relu(x, *, scale: float = 2.0):
    """Twice the ReLU."""
    return scale * x.clamp(min=0)
'''

GRID = """plugins = ["my_schemes.py"]
name = "own"

[grid]
initializer = ["he_normal", "scaled_orthogonal", { name = "scaled_orthogonal", gain = 1.3 }]
seed = 2

[model]
hidden = []

[training]
epochs = 1
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a grid and its plugin, and a cache of its own for permissions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(consent, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "my_schemes.py").write_text(SCHEMES)
    (tmp_path / "scales.py").write_text("GAIN = 1.1\n")
    (tmp_path / "grid.toml").write_text(GRID)
    return tmp_path


@pytest.fixture
def initbench(here, capsys):
    """The command line in this process, without a terminal: its status and what it printed."""

    def command(*arguments):
        return ended(None, capsys, *arguments)

    return command


def of_process(folder, *arguments):
    """The status and the errors of a process of the command line, which has no code of earlier ones."""
    words = [sys.executable, "-m", "initbench", *map(str, arguments)]
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    return ended.returncode, ended.stderr


def nothing_written(folder):
    return not (folder / "results").exists() and not list((folder / "cache").rglob("plugins.json"))


REFUSED = "{} may not run: it is code; to allow it give --allow-plugins, or in Python allow_plugins=True\n".format


def test_without_leave_no_command_runs_code_and_each_says_which_file_and_what_to_do(here, initbench):
    (here / "my_schemes.py").write_text("raise SystemExit('it ran')\n" + SCHEMES)
    own = ["--plugin", "my_schemes.py"]
    for command in (["plan"], ["run"], ["run", "grid.toml", *own], ["plan", "--smoke"]):
        assert initbench(*command)[::2] == (2, "grid.toml: " + REFUSED("my_schemes.py"))
    for command in (["list"], ["list", "losses"], ["show", "coin"]):
        assert initbench(*command, *own) == (2, "", f"initbench {command[0]}: " + REFUSED("my_schemes.py"))
    status, _, errors = initbench("plan", "keepcoding", "--set", "plugins=my_schemes.py")
    assert (status, errors) == (2, "keepcoding: " + REFUSED("my_schemes.py"))
    with pytest.raises(ib.UserError, match=r"^grid\.toml: my_schemes\.py may not run"):
        ib.run("grid.toml")
    assert nothing_written(here)


def test_a_list_has_the_functions_of_a_plugin_after_the_others_under_its_name(initbench):
    own = ["--plugin", "my_schemes.py", "--allow-plugins"]
    status, listed, _ = initbench("list", "initializers", *own)
    assert status == 0
    assert listed.partition("\nmy_schemes.py\n")[2] == (
        "  scaled_orthogonal(gain=1.1)\n      Orthogonal weights times a gain.\n"
        "  coin(std=0.1)  (also for biases)\n      A coin's two sides.\n"
        "  first_image\n      The mean of the first batch in every unit.\n"
    )
    assert listed.partition("\nmy_schemes.py\n")[0] == initbench("list", "initializers")[1].removesuffix("\n") + "\n"
    assert initbench("list", *own)[1] == initbench("list")[1] + (
        "initializers of my_schemes.py: scaled_orthogonal, coin, first_image\n"
        "activations of my_schemes.py: double_relu\n"
    )
    assert initbench("list", "activations", *own)[1].endswith(
        "\nmy_schemes.py\n  double_relu(scale=2.0)\n      Twice the ReLU.\n"
    )
    assert initbench("list", "presets", *own)[1] == initbench("list", "presets")[1]


@pytest.mark.slow
def test_functions_of_installed_packages_are_listed_and_drawn_without_leave(initbench, monkeypatch):
    monkeypatch.setattr(describe, "installed", lambda: [bundle.read("my_schemes.py", "a package")])
    assert initbench("list", "activations")[1].endswith(
        "\na package\n  double_relu(scale=2.0)\n      Twice the ReLU.\n"
    )
    status, drawn, _ = initbench("show", "coin(std=0.2)", "--shape", "8,4")
    assert (status, "from -0.2 to 0.2\n" in drawn) == (0, True)


@pytest.mark.slow
def test_show_draws_the_weights_that_the_child_computes(here, initbench):
    own = ["--plugin", "my_schemes.py", "--allow-plugins", "--shape", "64,32"]
    status, drawn, _ = initbench("show", "scaled_orthogonal(gain=1.3)", *own)
    assert status == 0
    assert re.match(r"scaled_orthogonal@[0-9a-f]{6}\(gain=1\.3\), 64 × 32: Orthogonal weights times a gain\.\n", drawn)
    assert "singular values: from 1.3 to 1.3, median 1.3\n" in drawn
    assert drawn.endswith("Figure: scaled_orthogonal-64x32.png\n")
    assert (here / "scaled_orthogonal-64x32.png").read_bytes().startswith(b"\x89PNG")
    assert "from -0.1 to 0.1\n" in initbench("show", "coin", *own)[1]
    status, drawn, _ = initbench("show", "lecun_normal", "--activation", "double_relu", *own)
    assert (status, "standard deviation 0.12" in drawn) == (0, True)
    assert not (here / "cache").exists()

    status, _, errors = initbench("show", "scaled_orthogonl", *own)
    assert (status, "did you mean 'scaled_orthogonal'?" in errors) == (2, True)
    full = f"coin@{'0' * 20}"
    assert initbench("show", full) == (2, "", f"{full}: its code is needed; give --plugin FILE\n")


@pytest.mark.slow
def test_show_draws_own_schemes_of_networks_on_the_batches_of_mnist(here, initbench, mnist):
    own = ["--plugin", "my_schemes.py", "--allow-plugins"]
    status, drawn, _ = initbench("show", "first_image", *own, "--shape", "784,16", "--seed", "3")
    assert (status, "The first layer of 784-16-10 on MNIST, activation tanh\n" in drawn) == (0, True)

    images = mnist.train_images[mnist.validation_size :]
    order = streams.order(3, 1, len(images))[:128]
    mean = (images[order] / 255.0).mean(axis=0).astype(np.float32)
    assert f"mean {mean.mean():.4g}, standard deviation {mean.std():.4g}, from 0 to {mean.max():.4g}\n" in drawn


def test_a_run_with_own_functions_resumes_with_the_options_that_it_had(here, initbench):
    def interrupt(task):
        raise KeyboardInterrupt

    (here / "grid.toml").write_text(GRID.replace('plugins = ["my_schemes.py"]', ""))
    with pytest.MonkeyPatch.context() as patch:
        made_up.instantly(patch, interrupt)
        arguments = ["grid.toml", "--workers", "1", "--plugin", "my_schemes.py", "--allow-plugins"]
        status, out, _ = initbench("run", *arguments)
    assert status == 130
    assert "Resume with: initbench run grid.toml --plugin my_schemes.py --allow-plugins --workers 1\n" in out


@pytest.mark.slow
def test_a_run_of_a_pipe_resumes_with_the_files_that_it_named(here, initbench):
    def interrupt(task):
        raise KeyboardInterrupt

    os.mkfifo(here / "pipe")
    writer = threading.Thread(target=(here / "pipe").write_text, args=(GRID,))
    writer.start()
    with pytest.MonkeyPatch.context() as patch:
        made_up.instantly(patch, interrupt)
        status, out, _ = initbench("run", "pipe", "--allow-plugins", "--no-report")
    writer.join()
    assert status == 130
    resume = "initbench run results/own/grid.toml --plugin my_schemes.py --allow-plugins --no-report"
    assert f"Resume with: {resume}\n" in out


@pytest.mark.slow
def test_an_experiment_asks_for_the_plugins_path_where_cells_are_missing(here, initbench, monkeypatch, without_figures):
    made_up.instantly(monkeypatch)
    assert initbench("run", "grid.toml", "--allow-plugins")[0] == 0
    stored = Path("results/own/grid.toml")
    assert "plugins" not in stored.read_text()
    assert re.search(r"scaled_orthogonal@[0-9a-f]{20}\(gain=1\.3\)", stored.read_text())
    (here / "my_schemes.py").rename(here / "moved.py")
    status, out, _ = initbench("run", stored)
    assert (status, "Nothing to train: all 6 cells" in out) == (0, True)

    assert of_process(here, "run", stored)[0] == 0  # needs no code
    status, errors = of_process(here, "run", stored, "--set", "seed=3")
    assert status == 2
    needs = r"results/own: needs the code of scaled_orthogonal@[0-9a-f]{6} \(my_schemes\.py\); "
    assert re.fullmatch(needs + r"give its path: --plugin PATH\n", errors)
    (here / "moved.py").write_text(SCHEMES + "# changed\n")
    own = ["--plugin", "moved.py", "--allow-plugins"]
    status, errors = of_process(here, "run", stored, "--set", "seed=3", *own)
    assert status == 2
    remedy = r"give its path: --plugin PATH \(moved\.py has scaled_orthogonal@[0-9a-f]{6}, another version\)\n"
    assert re.fullmatch(needs + remedy, errors)
    (here / "my_schemes.py").write_text(SCHEMES + "# changed\n")
    status, errors = of_process(here, "run", stored, "--set", "seed=3", "--plugin", "my_schemes.py", "--allow-plugins")
    assert status == 2
    assert re.fullmatch(
        needs + r"my_schemes\.py has scaled_orthogonal@[0-9a-f]{6}: give the file as it was, or train the new version "
        r"with scaled_orthogonal in a grid file of your own\n",
        errors,
    )
    (here / "my_schemes.py").unlink()

    (here / "moved.py").write_text(SCHEMES)
    status, out, _ = initbench("run", stored, "--set", "seed=3", *own)
    assert (status, "3 cells to train, 6 are trained already" in out) == (0, True)


# ---------------------------------------------------------------------------------------------------------------------
# Whatever is wrong with a file

BODY = 'return np.zeros(shape, "float32")'


def plugin(body=BODY, before="", arguments="shape, *, seed=None, dtype='float32'", name="scaled_orthogonal"):
    return f"import os, sys, time\nimport numpy as np\n{before}\ndef {name}({arguments}):\n    {body}\n"


WRONG = {  # a plugin, and the line about it
    "does not parse": ("def (", r"my_schemes\.py, line 1: SyntaxError: invalid syntax"),
    "raises at import": (plugin(before="1 / 0"), r"my_schemes\.py, line 3: ZeroDivisionError: division by zero"),
    "raises": (plugin("1 / 0"), r"my_schemes\.py, line 5, in scaled_orthogonal: ZeroDivisionError: division by zero"),
    "a name twice": (
        plugin() + plugin(),
        r"my_schemes\.py, line \d+, in scaled_orthogonal: scaled_orthogonal is defined 2 times; use",
    ),
    "one of ours": (
        plugin() + plugin(name="he_normal"),
        r"my_schemes\.py: he_normal is an initializer of initbench; use another name",
    ),
    "another shape": (
        plugin("return np.zeros(3)"),
        r"my_schemes\.py, line \d+, in scaled_orthogonal: returned shape \(3,\) for shape = \(784, 10\)",
    ),
    "another dtype": (plugin("return np.zeros(shape, int)"), r"scaled_orthogonal: returned dtype int64"),
    "no array": (plugin("return None"), r"scaled_orthogonal: returned NoneType"),
    "NaN": (plugin("return np.full(shape, np.nan, dtype)"), r"scaled_orthogonal: returned NaN or infinity"),
    "other weights for the same seed": (
        plugin("return np.random.default_rng().random(shape).astype(dtype)"),
        r"scaled_orthogonal: returned other weights for the same seed",
    ),
    "sleeps at import": (plugin(before="time.sleep(600)"), r"my_schemes\.py: .* took longer than 2 seconds"),
    "sleeps": (plugin("time.sleep(600)"), r"my_schemes\.py: .* took longer than 2 seconds"),
    "sys.exit at import": (plugin(before="sys.exit(3)"), r"my_schemes\.py, line 3: it calls sys\.exit"),
    "sys.exit": (plugin("sys.exit(3)"), r"my_schemes\.py, line 5, in scaled_orthogonal: it calls sys\.exit"),
    "os._exit at import": (plugin(before="os._exit(0)"), r"my_schemes\.py: .*ended the process"),
    "os._exit": (plugin("os._exit(0)"), r"my_schemes\.py: .* ended the process"),
    "no function": ("x = 1", r"my_schemes\.py: "),
    "empty": ("", r"my_schemes\.py: "),
    "kills itself": (plugin("os.kill(os.getpid(), 9)"), r"my_schemes\.py: .* ended the process"),
    "needs all memory": (plugin("return np.zeros((10**7, 10**7))"), r"my_schemes\.py: .* failed: MemoryError: Unable"),
    "crashes": (plugin("import ctypes; ctypes.string_at(0)"), r"my_schemes\.py: .* ended the process"),
    "waits for input": (plugin("input()"), r"my_schemes\.py, line 5, in scaled_orthogonal: EOFError"),
    "interrupts": (
        plugin(before="raise KeyboardInterrupt"),
        r"my_schemes\.py: .* ended the process.*KeyboardInterrupt",
    ),
    "closes its files": (plugin(before="os.closerange(0, 100)"), r"my_schemes\.py: .* ended the process"),
    "no such module": (plugin(before="import nosuchmodule"), r"my_schemes\.py, line 3: ModuleNotFoundError: No module"),
    "no default": (plugin(arguments="shape, *, gain: float"), r"my_schemes\.py.*gain"),
    "an odd type": (plugin(arguments="shape, *, gain: list = []"), r"my_schemes\.py.*gain"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_with_a_plugin_is_one_line_and_nothing_is_written(here, initbench, monkeypatch, kind):
    monkeypatch.setattr(describe, "MAX_SECONDS", 2.0 if "sleeps" in kind else 60.0)
    text, line = WRONG[kind]
    (here / "my_schemes.py").write_text(text)
    (here / "grid.toml").write_text(GRID.replace(", { name", "]\n#[{ name"))
    for command in (["plan"], ["run", "--no-report"]):
        begin = time.monotonic()
        status, out, errors = initbench(*command, "grid.toml", "--allow-plugins")
        assert (status, out, errors.count("\n")) == (2, "", 1), errors
        assert re.search(line, errors), errors
        assert "Traceback" not in errors
        assert time.monotonic() - begin < 20
    assert nothing_written(here)


@pytest.mark.slow
def test_what_a_plugin_prints_does_not_harm(here, initbench):
    noise = "print('x' * 10_000); sys.stdout.write('{}\\n'); os.write(1, b'{\"mistake\": \"no\"}\\n'); "
    (here / "my_schemes.py").write_text(plugin(noise + BODY, before=noise))
    (here / "grid.toml").write_text(GRID.replace(", { name", "]\n#[{ name"))
    status, out, errors = initbench("plan", "--allow-plugins")
    assert (status, errors) == (0, "")
    assert "xxx" not in out
    assert "4 cells" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none.py"], "none.py: No such file or directory"),
        (["folder"], "folder: is a folder, not a regular file"),
        (["folder.py"], "folder.py: is a folder, not a regular file"),
        (["grid.toml"], "grid.toml: a plugin is a Python file, and its name ends in .py"),
        (["/dev/zero"], "/dev/zero: a plugin is a Python file, and its name ends in .py"),
        (["zero.py"], "zero.py: is a device, not a regular file"),
        (["latin.py"], "latin.py, line 2: it is not UTF-8; save it in that encoding"),
        (["big.py"], "big.py: is larger than 1,000,000 bytes"),
        (
            ["my_schemes.py", "./my_schemes.py"],
            "--plugin my_schemes.py: is the file of --plugin my_schemes.py; give it once",
        ),
        (["my_schemes.py", "link.py"], "--plugin link.py: is the file of --plugin my_schemes.py; give it once"),
        (["results/own/my_schemes.py"], "results/own/my_schemes.py: it is in the folder of an experiment ("),
        (["inside.py"], "inside.py: it is in the folder of an experiment ("),
    ],
)
def test_a_path_that_cannot_be_a_plugin_is_one_line(here, initbench, arguments, line):
    (here / "folder").mkdir()
    (here / "folder.py").mkdir()
    (here / "zero.py").symlink_to("/dev/zero")
    (here / "link.py").symlink_to("my_schemes.py")
    (here / "latin.py").write_bytes(b"# one\n# \xe9\n")
    (here / "big.py").write_bytes(b"#" * 2_000_000)
    experiment = here / "results" / "own"
    (experiment / "parts").mkdir(parents=True)
    (experiment / "grid.toml").write_text(made_up.GRID)
    (experiment / "my_schemes.py").write_text(SCHEMES)
    (here / "inside.py").symlink_to(experiment / "my_schemes.py")
    before = sorted(here.rglob("*"))
    (here / "mine.toml").write_text(made_up.GRID)
    words = [word for path in arguments for word in ("--plugin", path)]
    for command in (["list"], ["show", "zeros"], ["plan", "mine.toml"], ["run", "mine.toml"], ["verify", experiment]):
        status, _, errors = initbench(*command, *words, "--allow-plugins")
        assert (status, errors.count("\n")) == (2, 1), (command, errors)
        assert line in errors
    (here / "mine.toml").unlink()
    assert sorted(here.rglob("*")) == before


# ---------------------------------------------------------------------------------------------------------------------
# In a terminal


# A program that makes its standard input the terminal of its session, whose Ctrl-C it gets, and becomes its arguments.
OF_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def in_terminal(folder, typed, *arguments, then=b""):
    """The status and the output of a process of the command line in a terminal, in which a question is answered.

    `then` is typed two seconds later.
    """
    parent, terminal = pty.openpty()
    with contextlib.ExitStack() as closing:
        closing.callback(os.close, parent)
        process = subprocess.Popen(
            [sys.executable, "-c", OF_TERMINAL, sys.executable, "-m", "initbench", *arguments],
            cwd=folder,
            env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        closing.callback(process.kill)
        output, answered, end = b"", False, time.monotonic() + 60
        while time.monotonic() < end:
            if not select.select([parent], [], [], 5)[0]:
                if answered:  # a signal is lost if it comes just before Python waits for a line
                    os.write(parent, typed)
                continue
            try:
                output += os.read(parent, 65536)
            except OSError:  # the process has closed it
                break
            if not answered and b"[y/N] " in output:
                answered = True
                os.write(parent, typed)
                if then:
                    time.sleep(2)
                    os.write(parent, then)
        return process.wait(60), output.decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_in_a_terminal_the_files_are_shown_with_a_question_until_a_yes(here, initbench, monkeypatch):
    made_up.instantly(monkeypatch)
    assert initbench("run", "--allow-plugins", "--no-report")[0] == 0  # so that nothing is left to be estimated
    shown = f"grid.toml runs code:\n  {here}/my_schemes.py, 30 lines\n  {here}/scales.py, 1 line\nRun this code? [y/N] "
    no = "grid.toml: nothing was done, because its code may not run\n"
    for typed in (b"n\n", b"\n", b"\x04", b"\x03"):  # the last two are the end of the input, and Ctrl-C
        status, output = in_terminal(here, typed, "plan", "grid.toml")
        assert status == 2, output
        assert output.startswith(shown)
        assert output.endswith(no)
        assert not list((here / "cache").rglob("plugins.json"))
    status, output = in_terminal(here, b"y\n", "plan", "grid.toml")
    assert (status, output.startswith(shown), "6 cells: 3 initializers × 2 seeds" in output) == (0, True, True)
    status, output = in_terminal(here, b"", "plan", "grid.toml", "--set", "seed=1")
    assert (status, "[y/N]" in output, "3 cells" in output) == (0, False, True)
    (here / "scales.py").write_text("GAIN = 1.2\n")
    assert in_terminal(here, b"n\n", "plan", "grid.toml")[1].endswith(no)


@pytest.mark.slow
def test_ctrl_c_ends_what_a_plugin_does(here):
    (here / "my_schemes.py").write_text(plugin(before="time.sleep(600)"))
    begin = time.monotonic()
    status, output = in_terminal(here, b"y\n", "plan", "grid.toml", then=b"\x03")
    assert (status, "Traceback" in output) == (130, False), output
    assert time.monotonic() - begin < 30


@pytest.mark.slow
def test_processes_that_a_plugin_starts_do_not_hold_the_command(here, initbench):
    for own_session in ("", "os.setsid(); "):
        child = f"if os.fork() == 0:\n    {own_session}time.sleep(40)\n    os._exit(0)"
        (here / "my_schemes.py").write_text(plugin(before=child))
        begin = time.monotonic()
        status, listed, _ = initbench("list", "initializers", "--plugin", "my_schemes.py", "--allow-plugins")
        assert (status, listed.endswith("  scaled_orthogonal  (also for biases)\n      No description.\n")) == (0, True)
        assert time.monotonic() - begin < 20
