"""The embedded MNIST, and folders of IDX files, whole and damaged."""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from command import ended
from idx import write_folder
from made_up import GRID, instantly

import initbench as ib
from initbench.data import catalog, datasets, idx
from initbench.errors import UserError
from initbench.reporting.cautions import cautions
from initbench.spec import grid
from tools import make_mnist

STORED = Path(__file__).parents[1] / "stored"
FASHION = Path("/usr/share/datasets/fashion-mnist")


def test_the_embedded_mnist_is_mnist(mnist):
    assert mnist.train_images.shape == (60000, 784)
    assert mnist.test_images.shape == (10000, 784)
    # Counts by class as published; tutorials normalize with this mean, 0.1307, and standard deviation.
    assert np.bincount(mnist.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(mnist.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert mnist.train_images.std() / 255 == pytest.approx(0.3081, abs=5e-5)
    assert mnist.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def test_the_mnist_file_is_at_most_12_megabytes_and_a_changed_one_is_rejected(tmp_path, monkeypatch):
    content = datasets.MNIST_FILE.read_bytes()
    assert len(content) <= 12_000_000
    changed = tmp_path / "mnist.npz"
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    monkeypatch.setattr(datasets, "MNIST_FILE", changed)
    with pytest.raises(UserError, match="SHA-256"):
        datasets.load_mnist()


def test_the_source_of_mnist_describes_its_arrays(mnist):
    assert datasets.find("mnist") == datasets.describe(mnist, "")


def test_the_licence_lists_the_hashes_of_the_embedded_content(mnist):
    listed = make_mnist.listed_hashes()
    assert make_mnist.idx_hashes(mnist) == listed
    assert sorted(listed) == sorted(catalog.IDX_STEMS)


def test_a_folder_is_read_plain_or_gzipped_and_named_after_its_content(tmp_path):
    plain = datasets.find({"idx": str(write_folder(tmp_path / "a", pack=bytes))})
    packed = datasets.find({"idx": str(write_folder(tmp_path / "b", pack=gzip.compress))})
    assert (plain.train_size, plain.validation_size, plain.test_size) == (22, 2, 6)
    assert (plain.pixels, plain.classes) == (9, 3)
    assert plain.name.partition("@")[2] == packed.name.partition("@")[2]
    other = datasets.find({"idx": str(write_folder(tmp_path / "c", test=7))})
    assert other.name.partition("@")[2] != plain.name.partition("@")[2]


@pytest.mark.parametrize(
    ("name", "damage", "part"),
    [
        ("train-images-idx3-ubyte", lambda b: b"\0\0\x08\x01" + b[4:], "0x00000801; required: 0x00000803"),
        ("train-labels-idx1-ubyte", lambda b: b"junk" + b[4:], "magic number"),
        ("train-images-idx3-ubyte", lambda b: b[:-1], "truncated"),
        ("t10k-images-idx3-ubyte", lambda b: b + b"x", "too long"),
        ("t10k-labels-idx1-ubyte", lambda b: b[:6], "truncated"),
        ("t10k-labels-idx1-ubyte", lambda b: b"", "magic number"),
        ("train-images-idx3-ubyte", lambda b: gzip.compress(b)[:-9], "gzip stream is truncated"),
        ("train-images-idx3-ubyte", lambda b: b[:4] + b"\xff" * 12 + b[16:], "truncated"),
    ],
)  # fmt: skip
def test_an_error_names_the_damaged_file(tmp_path, name, damage, part):
    folder = write_folder(tmp_path / "d")
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(UserError, match=part) as error:
        datasets.find({"idx": str(folder)})
    assert name in error.value.lines[0]


def test_an_error_names_files_whose_counts_differ_and_missing_files(tmp_path):
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte: 23 labels, but train-images-idx3-ubyte has 24"):
        datasets.find({"idx": str(write_folder(tmp_path / "e", labels=23))})
    folder = write_folder(tmp_path / "f")
    (folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte: no such file"):
        datasets.find({"idx": str(folder)})


def test_images_without_a_pixel_are_rejected(tmp_path):
    with pytest.raises(UserError, match="without a pixel"):
        datasets.find({"idx": str(write_folder(tmp_path / "h", side=0))})


def test_stored_data_sets_keep_their_keys_and_those_of_earlier_versions_are_read():
    text = (STORED / "datasets.json").read_text()
    (fields,) = json.loads(text)
    source = datasets.from_stored(fields)
    assert (source.majority_class_share, source.majority_class_validation_share) == (0.1, 0.1106)
    assert json.dumps([datasets.to_stored(source)], indent=1) == text
    earliest = datasets.from_stored({key: fields[key] for key in list(fields)[:9]})
    assert (earliest.majority_class_share, earliest.majority_class_validation_share) == (0.1, 0.0)
    for name in datasets.STORED_KEYS:
        with pytest.raises(ValueError, match="not the keys"):
            datasets.from_stored({**fields, name: 0.1})


def test_a_folder_that_changes_after_planning_is_rejected(tmp_path):
    source = datasets.find({"idx": str(write_folder(tmp_path / "g"))})
    write_folder(tmp_path / "g", test=8)
    with pytest.raises(UserError, match="have changed since"):
        source.load()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_file_names_with_a_dot_are_read_like_those_with_a_hyphen(tmp_path, pack):
    folder = write_folder(tmp_path / "d", pack=pack)
    source = datasets.find({"idx": str(folder)})
    contents = idx.contents(Path(source.folder))
    for path in folder.iterdir():
        path.rename(folder / path.name.replace("-idx", ".idx"))
    for stem in catalog.IDX_STEMS:  # Kaggle's archive has folders of these names next to the files
        (folder / stem).mkdir()
    assert datasets.find({"idx": str(folder)}) == source
    assert {
        name.replace(".idx", "-idx"): content for name, content in idx.contents(Path(source.folder)).items()
    } == contents


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Train-Images-IDX3-ubyte", "train-images-idx3-ubyte"),
        ("train-images.idx", "train-images-idx3-ubyte"),
        ("train-images-idx3-ubyte.gz.gz", "train-images-idx3-ubyte.gz"),
        ("emnist-letters-test-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
    ],
)
def test_an_error_suggests_renaming_a_file_with_a_similar_name(tmp_path, name, wanted):
    folder = write_folder(tmp_path / "d")
    missing = wanted.removesuffix(".gz")
    (folder / missing).rename(folder / name)
    with pytest.raises(UserError) as error:
        datasets.find({"idx": str(folder)})
    (line,) = error.value.lines
    assert f"{missing}: no such file" in line
    assert line.endswith(f"; if {name!r} is that file, rename it to {wanted!r}")
    (folder / name).unlink()
    with pytest.raises(UserError) as error:
        datasets.find({"idx": str(folder)})
    assert "rename" not in error.value.lines[0]  # files of other splits and kinds are not suggested


def by_class(number, count):
    """Labels of ten classes, in order."""
    return number * 10 // count


def test_cautions_name_splits_that_cannot_separate_learning_from_chance_and_the_remedy(tmp_path):
    def lines(**keywords):
        folder = write_folder(tmp_path / "d", **{"side": 1, **keywords})
        return cautions([datasets.find({"idx": str(folder)})])

    assert lines(images=600, labels=600, test=100) == []
    (one_class,) = lines(images=600, labels=600, test=100, label=by_class)
    assert one_class.partition(": ")[0] == "d"  # without the digest of its content
    assert ": the validation split, the first 50 training images, has one class. The leader and" in one_class
    assert "the test split decides which runs are at chance. Shuffle the training images" in one_class
    (some_classes,) = lines(images=600, labels=600, test=100, label=lambda n, count: by_class(n, count) * 3 + n % 3)
    assert "has no image of the classes of 90% of the test images" in some_classes
    few, test = lines(images=96, labels=96, test=10, label=lambda number, count: number % 2)
    assert "does not separate learning from chance (8 images, 50% of them of one class)" in few
    assert few.endswith("no run is at chance. Provide more training images")
    assert "the test split of 10 images does not separate" in test
    assert test.endswith("Provide more test images")
    uneven, _ = lines(images=600, labels=600, test=100, label=lambda number, count: number % 40 == 0)
    assert uneven.endswith("Provide more training images, or classes of more equal size")
    uniform, other = lines(images=600, labels=600, test=100, label=lambda number, count: 0 * number)
    assert uniform.endswith("Provide training images of at least two classes")
    assert other.endswith("Provide test images of at least two classes")


def test_python_warns_of_an_uninformative_split_once_before_training(tmp_path, monkeypatch, recwarn):
    warned = []
    instantly(monkeypatch, before=lambda task: warned.append(len(recwarn)))
    folder = write_folder(tmp_path / "d", images=600, labels=600, test=100, side=1, label=by_class)
    sizes = {"dataset": {"idx": str(folder)}, "batch_size": 50, "seed": 1, "epochs": 1}
    ib.run(grid.parse(GRID, overrides=sizes), results=tmp_path, workers=1)
    assert warned
    assert set(warned) == {1} == {len(recwarn)}
    assert "has one class" in str(recwarn[0].message)
    assert recwarn[0].filename == __file__
    assert ib.verify(tmp_path / "made-up", sample=0) == []  # the folder is sound


def test_the_command_line_warns_of_an_uninformative_split_before_training(tmp_path, monkeypatch, capsys):
    instantly(monkeypatch, before=lambda task: sys.stderr.write("begun\n"))
    monkeypatch.setattr("initbench.cli.run.interrupt_once", lambda: None)
    folder = write_folder(tmp_path / "d", images=600, labels=600, test=100, side=1, label=by_class)
    replaced = ["--set", f"dataset={{ idx = {str(folder)!r} }}", "--set", "batch_size=50", "--set", "epochs=1"]
    (tmp_path / "g.toml").write_text(GRID)
    options = ["--workers", 1, "--results", tmp_path]
    status, _, lines = ended(monkeypatch, capsys, "run", tmp_path / "g.toml", *replaced, *options)
    assert status == 0
    before, begun, _ = lines.partition("begun")
    assert begun
    assert "has one class" in before
    status, _, lines = ended(monkeypatch, capsys, "plan", tmp_path / "g.toml", *replaced, *options)
    assert (status, lines.count("has one class")) == (0, 1)


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_as_debian_installs_it():
    source = datasets.find({"idx": str(FASHION)})
    assert (source.train_size, source.validation_size, source.test_size) == (55000, 5000, 10000)
    arrays = source.load()
    assert np.bincount(arrays.train_labels).tolist() == [6000] * 10
    assert arrays.train_images.mean() / 255 == pytest.approx(0.2860, abs=5e-5)
