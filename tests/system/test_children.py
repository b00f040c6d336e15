"""Processes that the package starts: the effects of an untrusted working directory and of the user's environment."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner
from untrusted import part_files

from initbench.cli import app
from initbench.errors import WorkerDied
from initbench.execution import devices
from initbench.execution.processes import WorkerProcess
from initbench.initializers import throughput
from initbench.random import noise
from initbench.results import store
from initbench.system import children, compiled, threads

GRID = """
name = "small"
[grid]
initializer = ["glorot_normal", "he_normal"]
activation = "relu"
[model]
hidden = []
[training]
epochs = 1
train_size = 640
"""

# A folder of PYTHONPATH that the user names by its whole path is used. This one gives workers a numba that breaks.
BROKEN_NUMBA = """
import sys, types
if "initbench.training.worker" in sys.orig_argv:
    import initbench.random.noise
    initbench.random.noise._code._worth = 1
    sys.modules["numba"] = types.ModuleType("numba")
"""

# numba would take its cache from a folder here, and import a module to look for others.
NUMBA_CONFIGURATION = "cache_dir: evil\ncache_locator_classes: numba_config.Locator\n"


def modules_of_children():
    """The names under which the package's children import something, at the top."""
    code = """
import json, sys
before = set(sys.modules)
import initbench.initializers.throughput, initbench.reporting.figures, initbench.training.tasks
from initbench.random import noise
noise.load().uniform
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    process = children.start("-c", code, stdout=subprocess.PIPE, text=True)
    return json.loads(process.communicate()[0])


@pytest.fixture(scope="module")
def untrusted_folder(tmp_path_factory):
    """A folder in which whatever is imported leaves a mark, and a folder for the marks."""
    folder, marks = tmp_path_factory.mktemp("untrusted"), tmp_path_factory.mktemp("marks")
    names = modules_of_children()
    assert {"torch", "json", "numpy", "numba", "initbench"} <= set(names)
    for name in (*names, "numba_config", "sitecustomize", "usercustomize"):
        code = f"import posix\nposix.close(posix.open({str(marks / name)!r}, posix.O_CREAT))\nposix._exit(9)\n"
        (folder / f"{name}.py").write_text(code)
    (folder / ".numba_config.yaml").write_text(NUMBA_CONFIGURATION)
    (folder / "small.toml").write_text(GRID)
    (folder / "bin").mkdir()
    (folder / "bin" / "nvidia-smi").write_text("#!/bin/sh\n")
    (folder / "bin" / "nvidia-smi").chmod(0o755)
    return folder, marks


@pytest.fixture
def devices_anew():
    """Clear the cached devices of this machine, before a test and after it."""
    remembered = (devices.device_for, devices._pytorch_gpus)
    for function in remembered:
        function.cache_clear()
    yield
    for function in remembered:
        function.cache_clear()


def recorded(monkeypatch):
    """Record the arguments of each child that is started from now on."""
    started, start = [], children.start

    def record(*words, **more):
        started.append(words)
        return start(*words, **more)

    monkeypatch.setattr(children, "start", record)
    return started


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the marks are left by functions of POSIX")
@pytest.mark.filterwarnings("ignore:NumPy draws the weights")  # `bench` says so here
def test_no_command_runs_what_lies_in_the_working_directory(untrusted_folder, devices_anew, monkeypatch, tmp_path):
    """Nor do relative and empty entries of PYTHONPATH lead there, and no variable changes a worker's bits.

    What two workers have to say of numba comes once.
    """
    folder, marks = untrusted_folder
    results = str(tmp_path)
    run = f"{tmp_path}/small-smoke"
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]))
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "sitecustomize.py").write_text(BROKEN_NUMBA)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", f"../{folder.name}", str(tmp_path / "lib")]))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "evil")
    capability = torch.backends.cpu.get_cpu_capability()
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Nehalem")
    monkeypatch.setattr(noise._code, "loaded", None)
    monkeypatch.setattr(compiled, "notes", [])
    monkeypatch.setattr(throughput, "installed", lambda: ["initbench", "numpy"])
    monkeypatch.setattr(throughput, "ROUNDS", 1)
    started = recorded(monkeypatch)
    commands = {
        f"run small.toml --smoke --workers 2 --width 1 --results {results}": 0,
        f"plan small.toml --smoke --results {results}": 0,
        f"plan small.toml --device cuda --results {results}": 2,
        f"verify {run} --sample 1 --workers 1": 0,
        f"report {run}": 0,
        f"export {run} {tmp_path}/small.csv": 0,
        f"compare {run} {run} --out {tmp_path}/small.html": 0,
        f"merge {run} --into {tmp_path}/merged": 0,
        f"figures {run} --format png": 0,
        f"clean {run} --yes": 0,
        f"show he_normal --shape 20,10 --out {tmp_path}/he.png": 0,
        "list": 0,
        "schema": 0,
        f"new {tmp_path}/new.toml": 0,
        "bench --shape 5,4 --scheme constant": 0,
    }
    before = set(folder.rglob("*"))
    metadata = {}
    for command, status in commands.items():
        done = CliRunner().invoke(app, command.split())
        # A mistake of the user's is an exception here, which `main` makes a status of.
        assert done.exit_code == min(status, 1), f"{command}: {done.output} {done.exception}"
        if command.startswith("run"):
            metadata = next(store.read_parts(Path(run), [])).metadata
            assert len(part_files(Path(run))) == 2
            assert done.output.count("NumPy draws the weights, with the same bits but slower") == 1
        assert list(marks.iterdir()) == [], command
    programs = {words[1][:18] if words[0] == "-c" else words[1] for words in started}
    assert programs == {"import json, torch", "initbench.training.worker", "initbench.initializers.throughput"}
    assert set(folder.rglob("*")) == before
    assert metadata["cpu_capability"] == capability
    if platform.machine() == "x86_64" and "openblas" in threads.blas():
        assert metadata["blas"].startswith("openblas Nehalem")  # kept, since some processors need it, and recorded


PARENT = """
import os, sys, warnings
from pathlib import Path
from initbench.random import noise
from initbench.system import compiled
warnings.simplefilter("ignore")
home, untrusted = map(Path, sys.argv[1:])
os.chdir(untrusted)
assert noise.load() is noise.plain
assert "numba" not in sys.modules
(note,) = compiled.notes
assert ".numba_config.yaml" in note, note
expected = noise.uniform((9,), 0.0, 1.0, 3)
os.chdir(home)
noise._code.loaded = None
path = noise.load()
os.chdir(untrusted)
assert (noise.uniform((9,), 0.0, 1.0, 3) == expected).all()
assert path._uniform.signatures, "it was not compiled here"
assert Path(path._uniform.stats.cache_path).is_relative_to(home)
import numba
assert not numba.config.CACHE_DIR and not numba.config.CACHE_LOCATOR_CLASSES
assert compiled.notes == [note]
"""


@pytest.mark.skipif(os.name != "posix", reason="the marks are left by functions of POSIX")
def test_numba_reads_no_configuration_in_the_working_directory(untrusted_folder, tmp_path):
    """Not where it is imported there, nor where a program goes there later, before something is compiled."""
    pytest.importorskip("numba")
    pytest.importorskip("yaml", reason="without PyYAML numba reads no configuration")
    folder, marks = untrusted_folder
    before = set(folder.rglob("*"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", PARENT, str(tmp_path), str(folder)],
        env=environment | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(marks.iterdir()) == []
    assert set(folder.rglob("*")) == before


@pytest.mark.skipif(os.name != "posix", reason="absolute paths as POSIX has them")
def test_a_child_has_an_environment_of_ours(monkeypatch):
    for name in (*children.CHANGE_BITS, *children.INTERACTIVE, "NUMBA_CACHE_DIR", "NUMBA_CPU_NAME"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "lib", "/somewhere", "", "."]))
    environment = children.environment({"OMP_NUM_THREADS": "1"})
    assert not environment.keys() & (children.CHANGE_BITS | children.INTERACTIVE)
    assert {name for name in environment if name.startswith("NUMBA_")} == {"NUMBA_DISABLE_JIT"}
    assert environment["OPENBLAS_CORETYPE"] == "Haswell"
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["PYTHONPATH"].split(os.pathsep) == [str(Path(children.__file__).parents[2]), "/somewhere"]
    process = children.start(
        "-c", "import os, sys; print(os.getcwd(), '' in sys.path)", stdout=subprocess.PIPE, text=True
    )
    assert process.communicate()[0].split() == [str(Path(children.__file__).parents[1]), "False"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process limit another one, and tells its use")
@pytest.mark.parametrize("limits", [(1, 1), (1, 60)])
def test_a_limit_of_processor_time_is_named_and_is_not_taken_for_memory(limits, monkeypatch):
    """At the hard limit the system kills as it does where memory is short."""
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    process = WorkerProcess("cpu")
    resource.prlimit(process.pid, resource.RLIMIT_CPU, limits)
    with pytest.raises(WorkerDied, match=r"limit of 1 s of CPU time \(RLIMIT_CPU\): raise it") as caught:
        list(process.replies({"task": 0, "action": "train", "cells": []}))
    process.end()
    assert not caught.value.memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the use of a process that has ended")
def test_a_worker_that_is_killed_below_its_limit_of_processor_time_is_is_out_of_memory(monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: (1000, 1000))
    process = WorkerProcess("cpu")
    process.kill()
    with pytest.raises(WorkerDied, match=r"signal 9 .*out of memory") as caught:
        list(process.replies({"task": 0, "action": "train", "cells": []}))
    process.end()
    assert caught.value.memory


def test_no_other_module_of_the_package_starts_a_process():
    starts = re.compile(
        r"subprocess\.(Popen|run|call|check_|getoutput)|os\.(system|popen|posix_spawn|spawn|exec|fork)|create_subprocess"
        r"|multiprocessing|ProcessPoolExecutor"
    )
    paths = list(children.PACKAGE.rglob("*.py"))
    assert [path.name for path in paths if starts.search(path.read_text())] == ["children.py"]
