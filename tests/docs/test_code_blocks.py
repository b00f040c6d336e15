"""Every code block of README.md, CONTRIBUTING.md and docs/ runs.

How to write a block:

- ```` ```toml title="grid.toml" ```` and ```` ```python title="my_schemes.py" ```` are files: the title is the name, in
  the folder where the page's other blocks run. TOML without a title is part of a grid file, and has to be valid TOML.
- ```` ```python ```` without a title is run. The blocks of a page are one program, in their order, with the names of
  those above; functions in them can be passed to `ib.run`. A block that begins with `>>>` is a doctest: what it prints
  is compared.
- ```` ```sh ```` is run by bash and ends at the first command that fails. Where the last command is to have another
  exit status, the line `<!-- exit status: 3 -->` stands above the block.
- ```` ```text ```` is output, which is not compared; YAML, JSON, R and others in `code_blocks.SHOWN` are shown alone.
- `<!-- not run: REASON -->` above a block leaves it out. That is for commands of `code_blocks` that need a network,
  another machine or another program: those in PROGRAMS below. Split a block where only some of its commands do.
- Code that is indented in place of a fence has no language, and is refused.

What a page needs and does not show is there before its blocks run, if a block mentions it: `results/keepcoding`, the
preset's experiment in small; `grid.toml`, the preset `perceptron`; and files such as `my_schemes.py` that another page
of docs/how-to/ shows.

Everything runs in small (`small_runs.py`): a grid has at most 2 seeds (10 by a rule) and 1 epoch, and in place of a
data set that it names, such as MNIST, 660 training images. Files and functions are read as they are: a page keeps them
small. The signal is computed if a block of the page mentions it. `initbench` on the PATH and `ib.run` in Python do this
to each grid that they read. On the command line `run` and `try` write no report (`initbench report` and `open` do), and
have one worker; permission to run plugins is taken as given, and in Python a page says `allow_plugins=True`. The home
folder is the page's own, and `initbench open` opens nothing.
"""

import functools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib

import code_blocks
import pytest
from code_blocks import PAGES, ROOT, RUN, SHOWN, blocks

from initbench.results.experiment import Experiment
from initbench.spec import presets
from initbench.system.cache import cache_folder

# A block that is left out has a command of one of these, which need a network, another machine or another program.
PROGRAMS = {"apt", "asv", "brew", "conda", "dask", "docker", "gh", "git", "helm", "kubectl", "make", "mlflow", "nohup"}
PROGRAMS |= {"openssl", "pip", "pipx", "qsub", "R", "sbatch", "ssh", "tensorboard", "twine", "uv", "uvx", "wandb"}
PROGRAMS |= {"initbench data", "initbench bench", "initbench --install-completion"}
COMMAND = re.compile(r"(?:^|[;&|(]|\bdo\b|\$\()\s*(?:\w+=\S* )*(?:\S*/)?(initbench [\w-]+|\w+)", re.MULTILINE)
MODULES = {"wandb", "mlflow"}  # a Python block that is left out imports one of these

# Optional packages that a page needs; all are in the extra `dev`.
NEEDED = {
    "cluster.md": ["distributed"],
    "other-tools.md": ["xlsxwriter", "polars", "duckdb"],
    "trackers.md": ["tensorboard", "wandb", "mlflow"],
}

# Pages in which something is run: all others show code alone, or none.
RUNNING = [
    page for page in PAGES if any(b.language in ("python", "sh") and not b.title and not b.reason for b in blocks(page))
]


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_has_a_language_and_valid_code(page):
    assert not list(code_blocks.indented(page)), "indented code: write a fence with its language"
    for block in blocks(page):
        assert block.language in RUN | SHOWN, block
        if block.language == "toml":
            tomllib.loads(block.code)
        elif block.language == "python" and not block.code.startswith(">>>"):
            compile(block.code, str(block), "exec")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_is_left_out_only_for_what_cannot_run_here(page):
    for block in blocks(page):
        if not block.reason or block.language in SHOWN:
            continue
        assert len(block.reason.split()) > 1, f"{block}: {block.reason!r} gives no reason"
        if block.language == "sh":
            assert PROGRAMS & set(COMMAND.findall(block.code)), f"{block}: no command of {sorted(PROGRAMS)}"
        else:
            modules = set(re.findall(r"^\s*(?:import|from) (\w+)", block.code, re.MULTILINE))
            assert MODULES & modules, f"{block}: no module of {sorted(MODULES)}"


@functools.cache
def shared_files():
    """The files that the how-tos on own functions show, by name."""
    shown = {}
    for page in (ROOT / "docs" / "how-to").glob("own-*.md"):
        shown |= {block.title: block.code for block in blocks(page) if block.title.startswith("my_")}
    return shown


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """The environment of a page: `initbench` trains in small, and the compiled code is that of all tests."""
    programs = tmp_path_factory.mktemp("bin")
    program = programs / "initbench"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[0] = {str(ROOT / 'tests')!r}\nimport small_runs\n"
        "del sys.path[0]\nsmall_runs.command_line()\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for name in ("python", "python3"):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (programs / name).chmod(program.stat().st_mode)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    settings = {"PATH": path, "NO_COLOR": "1", "COLUMNS": "120", "MPLBACKEND": "agg", "BROWSER": "true"}
    settings |= {"XDG_CACHE_HOME": str(cache_folder().parent), "SMALL_DATA": str(tmp_path_factory.mktemp("data"))}
    return {**os.environ, **settings, "SMALL_SIGNAL": "yes"}


@pytest.fixture(scope="session")
def keepcoding(environment, tmp_path_factory):
    """A function that returns the folder of the preset's experiment in small, trained when it is first needed."""

    @functools.cache
    def folder():
        root = tmp_path_factory.mktemp("keepcoding")
        subprocess.run(["initbench", "run", "keepcoding"], cwd=root, env=environment, check=True)
        return root / "results" / "keepcoding"

    return folder


def program_of(page, file):
    """The blocks of a page as a Python program whose lines have the numbers that they have in the page."""
    lines = [""] * len(page.read_text(encoding="utf-8").splitlines())
    shown = []
    for block in blocks(page):
        if block.reason or block.language not in RUN:
            continue
        is_doctest = block.code.startswith(">>>")
        if block.title or block.language == "sh" or is_doctest:
            index = len(shown)
            call = (
                f"write({index})"
                if block.title
                else f"doctest({index}, globals())"
                if is_doctest
                else f"shell({index})"
            )
            lines[block.line - 1] = f"_page.{call}"
            shown.append({"name": str(block), "title": block.title, "code": block.code, "status": block.status})
        elif block.language == "python":
            code = block.code.splitlines()
            lines[block.line - 1 : block.line - 1 + len(code)] = code
    file.write_text(json.dumps(shown), encoding="utf-8")
    has_statistics = any("ib.stats" in line for line in lines)
    first = f"import sys; sys.path.append({str(ROOT / 'tests')!r}); import small_runs as _small; "
    lines[0] = first + f"sys.path.pop(); _page = _small.Page({str(file)!r}, {has_statistics}); del sys, _small"
    return "\n".join(lines) + "\n"


def prepare(page, folder, keepcoding):
    """Put into a page's folder what its blocks mention and do not make: see the top."""
    run = [block for block in blocks(page) if block.language in RUN and not block.reason]
    code = "\n".join(block.code for block in run)
    titles = {block.title for block in blocks(page)}
    if "results/keepcoding" in code and not re.search(r"initbench run (--preset )?keepcoding", code):
        shutil.copytree(keepcoding(), folder / "results" / "keepcoding")
    if re.search(r"\bgrid\.toml\b", code) and "grid.toml" not in titles and "initbench new" not in code:
        shutil.copy(ROOT / "initbench" / "spec" / "presets" / "perceptron.toml", folder / "grid.toml")
    for name, content in shared_files().items():
        if name in code and name not in titles:
            (folder / name).write_text(content, encoding="utf-8")


def ran(page, folder, environment, keepcoding):
    """Run the blocks of a page in a folder; the output if a block fails is the test's message."""
    prepare(page, folder, keepcoding)
    program = folder / f"{page.stem.replace('-', '_')}_page.py"
    program.write_text(program_of(page, folder / ".blocks.json"), encoding="utf-8")
    has_signal = any("signal" in block.code for block in blocks(page))
    env = environment | {"HOME": str(folder), "SMALL_SIGNAL": "yes" * has_signal}
    ended = subprocess.run([sys.executable, program], cwd=folder, env=env, text=True, capture_output=True, check=False)
    assert ended.returncode == 0, f"{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt" or not shutil.which("bash"), reason="the blocks are for a POSIX shell")
@pytest.mark.parametrize("page", RUNNING, ids=name_of)
def test_the_blocks_of_a_page_run(page, tmp_path, environment, keepcoding):
    for package in NEEDED.get(page.name, []):
        pytest.importorskip(package)
    ran(page, tmp_path, environment, keepcoding)
    for parts in tmp_path.glob("**/parts"):
        if not any(parts.iterdir()):
            continue  # an experiment of `initbench signal` alone
        assert not Experiment.open(parts.parent).missing(), parts.parent


def test_the_tutorial_shows_the_preset_that_it_writes():
    page = ROOT / "docs" / "tutorial" / "first-experiment.md"
    assert code_blocks.titled(page, "grid.toml") == presets.text("perceptron")
