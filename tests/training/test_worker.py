"""A worker's start: the first data set is loaded meanwhile, and checks of this machine are remembered."""

import json
import os
from dataclasses import asdict, replace

import numpy as np
import pytest
from cells import make_cell

from initbench.data import datasets
from initbench.data.datasets import Source
from initbench.errors import UserError
from initbench.system.cache import cache_folder
from initbench.training import exactness, skipping, tasks, worker
from initbench.training.data import Data

MNIST = datasets.find("mnist")
CELLS = [make_cell(seed=seed, train_size=128, hidden="8") for seed in range(2)]


@pytest.fixture
def checks(small, tmp_path, monkeypatch):
    """A function that trains cells as a new worker does, and returns whether their bits hold, and the checks so far."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    checked, data = [], {("mnist", True, False): Data(small)}

    def check(cells, _data):
        checked.append(len(cells))
        return check.outcome

    check.outcome = True
    monkeypatch.setattr(tasks, "bits_hold", check)

    def train(cells=CELLS, outcome=True):
        check.outcome = outcome
        messages = []
        task = {"task": 1, "action": "train", "cells": [list(cell) for cell in cells], "source": asdict(MNIST)}
        tasks.serve(task, data, {}, lambda **message: messages.append(message), "cpu")
        return messages[-1]["exact"], len(checked)

    return train


def test_bits_are_checked_once_for_a_kind_of_stack_a_processor_and_versions(checks, monkeypatch):
    assert checks() == (True, 1)
    assert checks() == (True, 1)
    assert checks([cell._replace(seed=7) for cell in CELLS]) == (True, 1)
    assert checks([cell._replace(hidden="16") for cell in CELLS]) == (True, 2)
    assert checks([*CELLS, CELLS[0]]) == (True, 3)
    for name, number in (("cpu_name", 4), ("version", 5)):
        with monkeypatch.context() as patch:
            patch.setattr(tasks, name, lambda *_: "another")
            assert checks() == (True, number)
    for variable in ("OPENBLAS_CORETYPE", "ATEN_CPU_CAPABILITY"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, "default")
            number += 1
            assert checks() == (True, number)
    with monkeypatch.context() as patch:  # cells that take other products in the first layer
        patch.setattr(skipping, "WORTH", 0)
        number += 1
        assert checks() == (True, number)
    monkeypatch.setattr(exactness, "TRAINING_VERSION", 10_000)
    assert checks() == (True, number + 1)


def test_a_check_that_fails_and_one_of_own_functions_are_not_remembered(checks):
    assert checks(outcome=False) == (False, 1)
    assert checks() == (True, 2)
    assert exactness.holds(None, lambda: True)
    assert not exactness.holds(None, lambda: False)


def test_own_functions_are_checked_by_each_worker(checks, monkeypatch):
    kinds = []
    monkeypatch.setattr(exactness, "holds", lambda kind, check: kinds.append(kind) or check())
    monkeypatch.setattr(tasks.plugins, "prepare", lambda *_: None)
    monkeypatch.setattr(tasks, "digests_in", lambda *names: {"own"} if "relu" in names else set())
    checks()
    checks([cell._replace(activation="relu") for cell in CELLS])
    assert kinds[0] is not None
    assert kinds[1] is None


@pytest.mark.parametrize("content", [b"{", b"{}", b"[1]", b"[[]]", b"\xff", b" " * 200_000, b"[" * 50_000])
def test_a_damaged_record_is_checked_again_and_replaced(checks, content):
    file = cache_folder() / "exact.json"
    checks()
    (kind,) = json.loads(file.read_text())
    file.write_bytes(content)
    assert checks() == (True, 2)
    assert json.loads(file.read_text()) == [kind]
    file.write_text(json.dumps([f"{i:064}" for i in range(exactness.MAX_RECORDS)]))
    assert checks() == (True, 3)
    kinds = json.loads(file.read_text())
    assert len(kinds) == exactness.MAX_RECORDS
    assert kinds[-1] == kind
    assert checks() == (True, 3)


def test_without_a_cache_bits_are_checked(checks, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [checks(), checks()] == [(True, 1), (True, 2)]


def received(monkeypatch, *tasks):
    """What a worker has received, and what it loads ahead."""
    ends, lines, ahead = [], worker.queue.SimpleQueue(), {}
    monkeypatch.setattr(os, "_exit", ends.append)
    worker._receive([json.dumps(task) for task in tasks], lines, ahead)
    assert ends == [0]
    assert [json.loads(lines.get(timeout=1)) for _ in tasks] == list(tasks)
    return ahead


def test_the_first_data_set_is_loaded_ahead_once(monkeypatch, small):
    loaded = []
    monkeypatch.setattr(Source, "load", lambda source: loaded.append(source) or small)
    other = replace(MNIST, name="other@0123456789ab", folder="/nowhere")
    ahead = received(monkeypatch, {"source": asdict(MNIST)}, {"source": asdict(other)})
    assert loaded == [MNIST]
    for source in (MNIST, MNIST, other):
        assert worker._load(ahead, source) is small
    assert loaded == [MNIST, MNIST, other]


def test_code_and_invalid_tasks_are_not_loaded_ahead_and_errors_are_of_the_task(monkeypatch):
    own = replace(MNIST, name="own@0123456789ab", folder="load@0123456789abcdef0123", format=datasets.CODE)
    assert received(monkeypatch, {"source": asdict(own)}) == {}
    assert received(monkeypatch, {"source": {"no": 1}}) == {}
    missing = replace(MNIST, name="missing@0123456789ab", folder="/nowhere")
    ahead = received(monkeypatch, {"source": asdict(missing)})
    with pytest.raises(UserError, match="nowhere"):
        worker._load(ahead, missing)


def test_the_embedded_mnist_is_what_numpy_reads(mnist):
    with np.load(datasets.MNIST_FILE) as file:
        assert set(file.files) == {"train_images", "train_labels", "test_images", "test_labels"}
        for name in file.files:
            array, expected = getattr(mnist, name), file[name]
            assert (array.shape, array.dtype) == (expected.shape, expected.dtype)
            assert array.tobytes() == expected.tobytes()
