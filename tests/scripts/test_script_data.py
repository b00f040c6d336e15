"""The data in a script: its few lines of NumPy read every format as initbench does."""

import gzip
import math
import os
import pathlib

import numpy as np
import pytest
import torch
from idx import write_folder

from initbench.data import datasets
from initbench.data.arrays import standardization
from initbench.scripts import data
from initbench.spec.cell import Cell

GENERATOR = np.random.default_rng(0)


def images(count, *sizes, dtype="uint8", most=256):
    return GENERATOR.integers(0, most, (count, *sizes)).astype(dtype)


def labels(count, first=0):
    return np.arange(count) % 5 + first


def idx(folder):
    return {"idx": str(write_folder(folder, pack=gzip.compress))}


def emnist(folder):
    write_folder(folder, side=4, label=lambda number, count: number % 3 + 1)
    for path in list(folder.iterdir()):
        path.rename(folder / f"emnist-letters-{path.name.replace('t10k', 'test')}")
    return {"idx": str(folder)}


def cifar(folder):
    folder.mkdir()
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        rows = np.concatenate([labels(4)[:, None], images(4, 3072)], axis=1)
        (folder / f"{name}.bin").write_bytes(rows.astype(np.uint8).tobytes())
    return {"cifar10": str(folder)}


def keras(folder):
    """Integers of another type, from 0 to 255, in color."""
    x, x_test = images(30, 4, 4, 3, dtype="int64"), images(10, 4, 4, 3, dtype="int64")
    return saved(folder, x_train=x, y_train=labels(30, 7), x_test=x_test, y_test=labels(10, 7))


def medmnist(folder):
    """A validation split of its own, and labels in a column."""
    arrays = {f"{split}_images": images(20, 5, 5) for split in ("train", "val", "test")}
    return saved(folder, **arrays, **{f"{split}_labels": labels(20)[:, None] for split in ("train", "val", "test")})


def features(folder):
    """Floats, one of them constant."""
    x = GENERATOR.normal(size=(40, 6))
    x[:, 2] = 0.5
    return saved(folder, x_train=x[:30], y_train=labels(30), x_test=x[30:], y_test=labels(10))


def sixteen_bits(folder):
    """Integers beyond a byte, which are divided by the largest."""
    x = images(40, 3, 3, dtype="int32", most=5000)
    return saved(folder, x_train=x[:30], y_train=labels(30), x_test=x[30:], y_test=labels(10))


def saved(folder, **arrays):
    np.savez(f"{folder}.npz", **arrays)
    return {"npz": f"{folder}.npz"}


def signed(folder):
    """Bytes with a sign, of which the least is the largest of all: int8 has no 128."""
    x = np.full((30, 4, 4), -128, dtype=np.int8)
    return saved(folder, x_train=x, y_train=labels(30), x_test=x[:10] + 90, y_test=labels(10))


@pytest.mark.parametrize("written", [idx, emnist, cifar, keras, medmnist, features, sixteen_bits, signed])
def test_a_script_reads_a_data_set_as_initbench_does(written, tmp_path):
    source = datasets.find(written(tmp_path / "data"))
    arrays = source.load()
    cell = Cell(dataset=source.name, standardize=True)
    names = {"np": np, "torch": torch, "math": math, "os": os, "gzip": gzip, "pathlib": pathlib}
    names["DATA"] = data.path(source)
    exec("\n".join(data.read_lines(source, {})), names)
    for name, expected in (
        ("x_train", arrays.train_images),
        ("y_train", arrays.train_labels),
        ("x_test", arrays.test_images),
        ("y_test", arrays.test_labels),
    ):
        np.testing.assert_array_equal(names[name].numpy(), expected)
        assert names[name].dtype == (torch.int64 if name.startswith("y") else torch.from_numpy(expected.copy()).dtype)
    names["x_train"] = names["x_train"][arrays.validation_size :]
    exec("\n".join(data.statistics_lines(cell, source)), names)
    pixels = np.float32(arrays.test_images / (1 if arrays.is_float else 255)).reshape(-1, source.channels)
    mean, deviation = standardization(arrays)
    expected = (pixels - np.float32(mean)) / np.float32(deviation)
    exec("def inputs(images):\n    " + data.input_lines(cell, source, True)[0], names)
    standardized = names["inputs"](names["x_test"]).numpy().reshape(-1, source.channels)
    np.testing.assert_allclose(standardized, expected, rtol=1e-6, atol=1e-6)


def test_a_script_takes_the_keys_of_an_own_function_not_the_names_of_its_variables():
    code = "x_train, x_val = images[9:], images[:9]\nreturn {'train_images': x_train, 'train_labels': labels}"
    lines = data._mapping_lines("arrays = load()", code, datasets.find("mnist"))
    assert "('train_images', 'train_labels', 'test_images', 'test_labels')" in lines[1]
    assert "concatenate" not in "".join(lines)
    lines = data._mapping_lines("arrays = load()", "return dict(x_train=x, x_val=x)", datasets.find("mnist"))
    assert "('x_train', 'y_train', 'x_test', 'y_test')" in lines[1]
    assert "if 'x_val' in arrays:" in lines
