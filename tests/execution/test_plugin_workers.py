"""Plugins in workers: their code comes with the task, and whatever it does, the others are trained as without it."""

import json
import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from cells import exact, make_cell
from plugin_code import OWN_GRID, bundle, cell_of, small_grid

from initbench.api import training
from initbench.data import datasets
from initbench.execution import processes
from initbench.execution.config import ExecutionConfig
from initbench.execution.events import Finished, Untrained
from initbench.execution.plan import Stack
from initbench.execution.process_pool import ProcessPool
from initbench.execution.scheduling import _request, run_stacks
from initbench.plugins import store
from initbench.spec import grid
from initbench.training import tasks

MNIST = datasets.find("mnist")

MINE = bundle("""
import initbench as ib

@ib.initializer
def mine(shape, *, gain: float = 1.0, seed=None, dtype="float32"):
    return gain * ib.initializers.he_normal(shape, seed=seed, dtype=dtype)
""")


@pytest.fixture(scope="module")
def data():
    """The data sets that the worker of these tests has loaded."""
    return {}


@pytest.fixture(scope="module")
def exact_shapes():
    """What it knows of the shapes that it has trained."""
    return {}


@pytest.fixture
def reply(data, exact_shapes):
    """A function that returns a worker's last reply to a task of these cells, with the code of these plugins."""

    def reply(cells, *plugins, action="train"):
        task = {"task": 1, "action": action, "cells": [list(cell) for cell in cells], "source": asdict(MNIST)}
        if plugins:
            task["plugins"] = [json.loads(json.dumps(plugin.to_json())) for plugin in plugins]
        messages = []
        try:
            tasks.serve(task, data, exact_shapes, lambda **message: messages.append(message), "cpu")
        except BaseException as error:
            return tasks.failure(error)
        return json.loads(json.dumps(messages[-1]))

    return reply


# ---------------------------------------------------------------------------------------------------------------------
# The code comes with the request


def test_a_request_has_the_code_of_its_own_cells_plugins_and_no_other():
    store.add(MINE)
    other = bundle("import initbench as ib\n@ib.initializer\ndef other(shape): ...\n")
    store.add(other)
    plain = _request(Stack((make_cell(),), MNIST), 1, "train", {})
    assert set(plain) == {"task", "action", "cells", "source"}
    request = _request(Stack((make_cell(), cell_of(MINE)), MNIST), 1, "train", {})
    assert request["plugins"] == [MINE.to_json()]
    for setting in ("bias_initializer", "activation", "output_activation", "loss", "optimizer"):
        request = _request(Stack((make_cell(**{setting: f"f@{other.digest}(a=1)"}),), MNIST), 1, "train", {})
        assert request["plugins"] == [other.to_json()]


@exact
def test_an_own_initializer_that_calls_a_built_in_one_trains_to_its_bits(reply):
    own = cell_of(MINE)
    result = reply([own, make_cell(train_size=256, hidden="8")], MINE)
    expected = reply([own._replace(initializer="he_normal")])
    assert result["event"] == "done"
    for name, values in expected["metrics"].items():
        assert [epoch[0] for epoch in result["metrics"][name]] == [epoch[0] for epoch in values]


FORMS = bundle("""
import initbench as ib
import numpy as np

@ib.initializer
def half(shape):
    return np.full(shape, 0.5)

@ib.initializer
def whole(model, *, seed=None, dtype="float32"):
    return ib.initializers.lsuv(model, seed=seed, dtype=dtype)
""")


@exact
@pytest.mark.parametrize(
    ("own", "built_in"),
    [
        ({"bias_initializer": "half@"}, {"bias_initializer": "constant(value=0.5)"}),
        ({"initializer": "whole@"}, {"initializer": "lsuv"}),
        (
            {"initializer": "per_layer(first=half@, hidden=zeros, last=he_normal)"},
            {"initializer": "per_layer(first=constant(value=0.5), hidden=zeros, last=he_normal)"},
        ),
    ],
    ids=["biases", "a whole network", "a layer position"],
)
def test_every_form_of_an_own_initializer_trains_to_the_bits_of_a_built_in_one(reply, own, built_in):
    own = {setting: name.replace("@", f"@{FORMS.digest}") for setting, name in own.items()}
    quick = {"train_size": 256, "hidden": "8"}
    result, expected = reply([make_cell(**quick, **own)], FORMS), reply([make_cell(**quick, **built_in)])
    assert result["metrics"] == expected["metrics"]


def test_a_parameter_of_an_own_initializer_has_its_effect(reply):
    zero = cell_of(MINE)._replace(initializer=f"mine@{MINE.digest}(gain=0.0)")
    result = reply([zero], MINE)
    assert result["metrics"]["validation_loss"][0][0] == pytest.approx(np.log(10), rel=1e-6)


def test_cells_whose_code_was_not_sent_fail_by_name(reply):
    unknown = cell_of(MINE)._replace(initializer=f"per_layer(first=mine@{'0' * 20}, hidden=zeros, last=zeros)")
    assert reply([unknown]) == {"why": "the code of mine@000000 was not sent to this worker", "memory": False}


def test_the_digest_is_that_of_the_bytes_that_were_sent(reply):
    forged = bundle(MINE.files["schemes.py"].decode().replace("1.0", "3.0"))
    cell = cell_of(bundle("# of other bytes"))
    assert reply([cell], forged)["why"] == f"the code of mine@{cell.initializer[5:11]} was not sent to this worker"


# ---------------------------------------------------------------------------------------------------------------------
# Mistakes fail the cells that need the plugin, with the plugin's own file and line


HEAD = "import initbench as ib\nimport numpy as np\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def f(:\n", "schemes.py, line 1: SyntaxError: invalid syntax"),
        ("x = 1\ny = x / 0\n", "schemes.py, line 2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "schemes.py, line 2: it calls sys.exit"),
        ("raise KeyError('a')", "schemes.py, line 1: KeyError: 'a'"),
        ("def mine(shape):\n    return 1 / 0\n", "schemes.py, line 2, in mine: ZeroDivisionError: division by zero"),
        ("def mine(shape):\n    raise SystemExit\n", "schemes.py, line 2, in mine: it calls sys.exit"),
        ("def mine(shape):\n    input()\n", "schemes.py, line 2, in mine: "),
        (
            "def mine(shape):\n    return [1]\n",
            "schemes.py, line 1, in mine: returned list; allowed: a NumPy array of shape",
        ),
        (
            f"{HEAD}def mine(shape):\n    return np.zeros(3)\n",
            "schemes.py, line 3, in mine: returned shape (3,) for shape =",
        ),
        (
            f"{HEAD}def mine(shape):\n    return np.full(shape, np.nan)\n",
            "schemes.py, line 3, in mine: returned NaN or infinity",
        ),
        (
            f"{HEAD}def mine(shape):\n    return np.zeros(shape, int)\n",
            "schemes.py, line 3, in mine: returned dtype int64",
        ),
        (
            f"{HEAD}def mine(shape, *, dtype='float32'):\n    return np.zeros(shape, 'float16')\n",
            "schemes.py, line 3, in mine: returned dtype float16 for dtype = float32",
        ),
    ],
)
def test_a_mistake_in_a_plugin_fails_its_cells_with_its_place(reply, capfd, text, why):
    plugin = bundle(text)
    failure = reply([cell_of(plugin)], plugin)
    assert capfd.readouterr().err == ""  # of which the last line says how a process ended
    assert failure["why"].startswith(why)
    assert failure["memory"] is False
    assert "\n" not in failure["why"]


def test_an_error_in_a_method_has_its_place_too(reply):
    plugin = bundle(f"""
        {HEAD.replace(chr(10), chr(10) + " " * 8)}
        from torch import nn

        @ib.activation
        class Odd(nn.Module):
            def forward(self, x):
                return x.no_such_method()
    """)
    cell = make_cell(train_size=256, hidden="8", activation=f"Odd@{plugin.digest}")
    why = reply([cell], plugin)["why"]
    assert why.startswith("schemes.py, line 10, in Odd.forward: AttributeError: 'Tensor' object has no attribute")


IMPURE = {
    "it counts its calls": """
        calls = []
        def mine(shape):
            calls.append(1)
            return np.full(shape, 0.01 * len(calls))
    """,
    "it draws without the seed": """
        def mine(shape):
            return 0.01 * np.random.standard_normal(shape)
    """,
    "it draws from a generator of its own": """
        generator = np.random.default_rng(3)
        def mine(shape):
            return 0.01 * generator.standard_normal(shape)
    """,
    "its last bit changes": """
        calls = []
        def mine(shape):
            calls.append(1)
            return np.full(shape, 0.01) * (1 + 1e-7 * (len(calls) % 7))
    """,
}


@pytest.mark.parametrize("text", IMPURE.values(), ids=IMPURE)
def test_a_scheme_that_depends_on_more_than_its_arguments_fails(reply, text):
    plugin = bundle("import numpy as np\n" + text.replace("\n        ", "\n"))
    why = reply([make_cell(train_size=256, hidden="8"), cell_of(plugin)], plugin)["why"]
    assert re.match(r"schemes\.py, line \d+, in mine: returned other weights for the same seed", why)


def test_a_scheme_whose_weights_change_between_two_stacks_fails_the_second(reply, tmp_path):
    """It reads a file when it is called, and within each stack its weights repeat."""
    scale = tmp_path / "scale"
    plugin = bundle(f"""
import numpy as np
from pathlib import Path
def mine(shape):
    return np.full(shape, float(Path({str(scale)!r}).read_text()))
""")
    scale.write_text("0.01")
    assert [reply([cell_of(plugin, seed=seed)], plugin)["event"] for seed in range(2)] == ["done", "done"]
    scale.write_text("0.02")
    why = reply([cell_of(plugin, seed=2)], plugin)["why"]
    assert re.match(r"schemes\.py, line \d+, in mine: returned other weights for the same seed", why)


# ---------------------------------------------------------------------------------------------------------------------
# Other cells


UNRULY = bundle("""
import initbench as ib
import numpy as np
import torch

def upset():
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    torch.set_flush_denormal(False)
    torch.set_grad_enabled(False)
    np.seterr(all="raise")

upset()

@ib.initializer
def mine(shape, *, seed=None, dtype="float32"):
    W = ib.initializers.he_normal(shape, seed=seed, dtype=dtype)
    upset()
    return W
""")


@exact
@pytest.mark.parametrize("first", [True, False])
def test_a_plugin_that_sets_the_process_up_anew_changes_no_bit_of_its_neighbours(reply, first):
    """In its own stack, and in the one that follows."""
    neighbours = [make_cell(train_size=256, hidden="8", initializer=name) for name in ("lecun_normal", "orthogonal")]
    alone = reply(neighbours)["metrics"]
    own = cell_of(UNRULY)
    mixed = reply([own, *neighbours] if first else [*neighbours, own], UNRULY)["metrics"]
    after = reply(neighbours)["metrics"]
    assert after == alone
    columns = slice(1, None) if first else slice(2)
    for name, epochs in alone.items():
        assert [epoch[columns] for epoch in mixed[name]] == epochs
    assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float32, 1)
    assert np.geterr()["over"] == "warn"


# ---------------------------------------------------------------------------------------------------------------------
# Real processes


@pytest.fixture
def trained(monkeypatch):
    """A function that trains cells, a stack each, by processes; returns the metrics by cell, and why others are not."""
    monkeypatch.setattr(ProcessPool, "allowed_deaths", 0)

    def trained(cells, *plugins, workers=1):
        for plugin in plugins:
            store.add(plugin)
        metrics, reasons = {}, {}
        with ProcessPool(workers) as pool:
            for event in run_stacks(pool, [Stack((cell,), MNIST) for cell in cells]):
                if isinstance(event, Finished):
                    metrics[event.stack.cells[0]] = event.metrics
                elif isinstance(event, Untrained):
                    reasons[event.cell] = event.why
        return metrics, reasons

    return trained


@pytest.mark.slow
def test_plugins_that_end_the_process_fail_their_cells_and_no_others(trained):
    """One when its initializer is called, one when it is loaded."""
    exits = bundle("import os\ndef mine(shape):\n    print('farewell', flush=True)\n    os._exit(7)\n")
    crashes = bundle("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\ndef mine(shape): ...\n")
    own, other = [cell_of(exits), cell_of(crashes)], make_cell(train_size=256, hidden="8")
    metrics, reasons = trained([*own, other], exits, crashes)
    assert list(metrics) == [other]
    name = f"mine@{exits.digest[:6]}"
    assert reasons[own[0]] == f"a worker ended with status 7: farewell; the code of {name} may be the reason"
    assert reasons[own[1]].startswith("a worker was killed by signal 11; the code of mine@")


@pytest.mark.slow
def test_a_plugin_that_sleeps_is_stopped(trained, monkeypatch):
    monkeypatch.setattr(processes, "SILENCE", 15.0)  # longer than a process takes to start
    plugin = bundle("import time\ndef mine(shape):\n    time.sleep(1000)\n")
    own, other = cell_of(plugin), make_cell(train_size=256, hidden="8")
    metrics, reasons = trained([own, other], plugin)
    assert list(metrics) == [other]
    assert reasons[own].startswith(
        "a worker hung: for 15 s it made no progress and used no CPU time; the code of mine@"
    )


@pytest.mark.slow
def test_what_a_plugin_prints_and_reads_does_not_mix_with_the_tasks(trained):
    plugin = bundle("""
        import os, subprocess, sys
        import initbench as ib
        print('{"event": "done", "task": 0}')
        try:
            input()
        except EOFError:
            os.write(1, b'{"event": "failed", "task": 1, "lines": ["no"]}' + bytes([10]))
        def mine(shape, *, seed=None):
            subprocess.run(["sh", "-c", "cat; echo {}"], check=True)
            sys.stdout.write("half a line")
            return ib.initializers.he_normal(shape, seed=seed)
    """)
    own = cell_of(plugin)
    plain = own._replace(initializer="he_normal")
    metrics, reasons = trained([own, plain], plugin)
    assert reasons == {}
    assert metrics[own] == metrics[plain]


@pytest.mark.slow
def test_all_stacks_of_a_run_train_with_the_bytes_that_were_read_at_its_start(tmp_path):
    """The plugin's file changes as soon as the first stack is trained, and is gone when the second one is."""
    path = small_grid(tmp_path, text=OWN_GRID.replace("seed = 2", "seed = 3"))
    read = {"allow": lambda *_: None}
    whole = training.train(grid.read(path, **read), tmp_path / "whole", ExecutionConfig(1), lambda event: None)
    finished = []

    def change(event):
        if isinstance(event, Finished):
            finished.append(event)
            if len(finished) == 1:
                (tmp_path / "schemes.py").write_text("raise SystemExit")
            else:
                (tmp_path / "schemes.py").unlink(missing_ok=True)

    changed = training.train(grid.read(path, **read), tmp_path / "changed", ExecutionConfig(1, width=3), change)
    assert len(finished) > 2
    assert changed.untrained == []
    pd.testing.assert_frame_equal(changed.frame, whole.frame, check_exact=True)
