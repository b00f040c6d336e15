"""Data sets by name: where they are looked for, the record, the download; and CIFAR-10's batches."""

import contextlib
import functools
import gzip
import hashlib
import http.server
import json
import os
import pathlib
import pickle
import random
import shutil
import sys
import tarfile
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mutate
import numpy as np
import pytest
import torch
from command import ended
from idx import write_folder
from watch import limited, watched

from initbench.data import catalog, cifar, datasets, idx, known
from initbench.errors import UserError
from initbench.execution.cluster import dask_worker
from initbench.results.experiment import standalone_text
from initbench.scripts import data
from initbench.spec import grid


def replaced(monkeypatch, name, **fields):
    monkeypatch.setitem(catalog.KNOWN, name, catalog.Known(**{**vars(catalog.KNOWN[name]), **fields}))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A working directory, a home and a cache without data; Debian's folder counts as missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data_set = catalog.KNOWN["fashion_mnist"]
    replaced(monkeypatch, "fashion_mnist", folders=data_set.folders[1:])


@pytest.fixture
def of_any_content(monkeypatch):
    """Names for small sets that are not those published."""
    for name in catalog.KNOWN:
        replaced(monkeypatch, name, sizes=(), digest="", batches=())


def refusal(value):
    with pytest.raises(UserError) as error:
        datasets.find(value)
    (line,) = error.value.lines
    return line


def test_a_name_that_is_not_found_says_the_three_remedies():
    line = refusal("kmnist")
    assert "initbench data add kmnist FOLDER" in line
    assert "initbench data fetch kmnist" in line
    assert "dataset = { idx = 'FOLDER' }" in line
    assert "did you mean 'fashion_mnist'?" in refusal("fashion-mnist")
    assert "after initbench data add kmnist FOLDER, or { idx = … }" in refusal({"kmnist": "x"})


@pytest.mark.usefixtures("of_any_content")
def test_a_data_set_is_found_where_torchvision_puts_it_and_named_after_its_content(tmp_path):
    by_folder = datasets.find({"idx": str(write_folder(tmp_path / "x"))})
    folder = Path("home/data/FashionMNIST/raw")
    folder.parent.mkdir(parents=True)
    write_folder(folder)
    source = datasets.find("fashion_mnist")
    assert source.name == by_folder.name.replace("x@", "fashion_mnist@")
    assert (source.folder, source.known_as) == (str(tmp_path / folder), "fashion_mnist")
    np.testing.assert_array_equal(source.load().train_images, by_folder.load().train_images)
    stored = datasets.to_stored(source)
    assert datasets.from_stored(stored) == source
    for wrong in ({"known_as": "qmnist"}, {"known_as": "cifar10"}, {"format": "pickle"}, {"pixel_bytes": True}):
        with pytest.raises(ValueError, match="not a valid data set"):
            datasets.from_stored({**stored, **wrong})


@pytest.mark.usefixtures("of_any_content")
def test_the_command_records_a_folder_and_a_grid_keeps_the_name(tmp_path, monkeypatch, capsys):
    status, _, errors = ended(monkeypatch, capsys, "data", "add", "kmnist", "none")
    assert (status, "none: no such folder; allowed: the folder of the files of kmnist\n" in errors) == (2, True)
    status, _, errors = ended(monkeypatch, capsys, "data", "add", "mnist", ".")
    assert (status, "mnist: embedded in initbench, and needs no folder" in errors) == (2, True)
    raw = tmp_path / "sets" / "KMNIST" / "raw"
    raw.parent.mkdir(parents=True)
    write_folder(raw)
    status, out, _ = ended(monkeypatch, capsys, "data", "add", "kmnist", "sets")
    assert status == 0
    assert (
        out == f"kmnist: 24 training and 6 test images, 3 × 3 × 1, 3 classes, in {raw}\n"
        'In a grid file: dataset = "kmnist"\n'
    )
    status, out, _ = ended(monkeypatch, capsys, "data", "list")
    lines = out.splitlines()
    assert len(lines) == 2 * (1 + len(catalog.KNOWN))
    assert lines[0] == "mnist: MNIST: 70,000 handwritten digits, 28 × 28, ten classes"
    assert [line.strip() for line in lines[1::2]].count("not found") == len(catalog.KNOWN) - 1
    assert f"    {raw}" in lines
    text = "dataset = 'kmnist'\n[grid]\ninitializer = 'zeros'\n[training]\nbatch_size = 4\n"
    parsed = grid.parse(text, name="x")
    assert 'dataset = "kmnist"' in standalone_text(parsed)
    shutil.rmtree(raw)
    again = grid.parse(standalone_text(parsed), sources=parsed.sources)  # as the experiment's folder is read
    assert again.sources == parsed.sources
    assert "where it was recorded" in refusal("kmnist")
    for damaged in ("", "[]", '{"kmnist": 1}', "{" * 1000):
        (tmp_path / "cache" / "initbench" / "datasets.json").write_text(damaged)
        assert known.records() == {}
    status, _, errors = ended(monkeypatch, capsys, "data", "add", "kmist", "sets")
    assert (status, errors.endswith("; did you mean 'kmnist'?\n")) == (2, True)


def test_a_record_is_removed_and_the_files_stay(tmp_path, monkeypatch, capsys):
    write_folder(tmp_path / "x")
    known.record("kmnist", tmp_path / "x")
    known.record("cifar10", tmp_path / "y")
    status, out, _ = ended(monkeypatch, capsys, "data", "remove", "kmnist")
    assert (status, out) == (0, f"kmnist: the record of {tmp_path / 'x'} is removed; its files stay\n")
    assert known.records() == {"cifar10": str(tmp_path / "y")}
    assert len(listing(tmp_path / "x")) == 4
    status, _, errors = ended(monkeypatch, capsys, "data", "remove", "kmnist")
    assert (status, "kmnist: no folder is recorded; recorded: cifar10" in errors) == (2, True)


def test_a_name_stands_for_the_published_files_alone(tmp_path, mnist, monkeypatch, capsys):
    raw = tmp_path / "data" / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    parts = mnist.train_images, mnist.train_labels, mnist.test_images, mnist.test_labels
    for stem, array in zip(catalog.IDX_STEMS, parts, strict=True):
        sizes = (len(array), 28, 28) if array.ndim == 2 else (len(array),)
        header = bytes((0, 0, 8, len(sizes))) + np.array(sizes, ">u4").tobytes()
        (raw / stem).write_bytes(header + array.tobytes())
    status, _, errors = ended(monkeypatch, capsys, "data", "add", "kmnist", raw)
    line = f"kmnist: the files in {raw} are those of mnist; for these files: dataset = {{ idx = '{raw}' }}; for those"
    assert (status, line in errors, known.records()) == (2, True, {})
    assert line in refusal("kmnist")  # where torchvision puts it
    (raw / catalog.IDX_STEMS[3]).write_bytes(header + bytes(mnist.test_labels[::-1]))
    assert datasets.find("kmnist").known_as == "kmnist"  # of plain files the sizes are compared
    packed = gzip.compress(header + bytes(mnist.test_labels[::-1]), 0)
    (raw / catalog.IDX_STEMS[3]).unlink()
    (raw / f"{catalog.IDX_STEMS[3]}.gz").write_bytes(packed)
    md5 = f"MD5 {hashlib.md5(packed).hexdigest()}; expected: 7320c461ea6c1c855c0b718fb2a4b134"
    assert md5 in refusal("kmnist")
    known.record("fashion_mnist", raw)
    assert "; expected: a485933e0d1e; for these files" in refusal("fashion_mnist")
    known.record("kmnist", write_folder(tmp_path / "small"))
    assert (
        "small has 24 training and 6 test images, 3 × 3 × 1, in 3 classes; expected: 60,000 training and 10,000 test "
        "images, 28 × 28 × 1, in 10 classes; for these files" in refusal("kmnist")
    )
    known.record("cifar10", write_batches(tmp_path / "batches"))
    replaced(monkeypatch, "cifar10", sizes=((100, 4),))
    assert "data_batch_1 has the MD5" in refusal("cifar10")


def test_of_records_at_the_same_time_none_is_lost(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: known.record(name, tmp_path / name), catalog.KNOWN))
    assert known.records() == {name: str(tmp_path / name) for name in catalog.KNOWN}


@pytest.mark.usefixtures("of_any_content")
def test_each_split_of_emnist_in_one_folder_has_its_name(tmp_path):
    raw = Path("data/EMNIST/raw")
    raw.mkdir(parents=True)
    for split, label in (("letters", 1), ("digits", 0)):
        for path in write_folder(tmp_path / split, label=lambda n, count, first=label: n % 3 + first).iterdir():
            path.rename(raw / f"emnist-{split}-{path.name.replace('t10k', 'test')}")
    letters, digits = datasets.find("emnist_letters"), datasets.find("emnist_digits")
    assert letters.name == digits.name.replace("digits", "letters")  # the same images, and labels 1 to 3 become 0 to 2
    assert letters.classes == 3
    assert sorted(letters.contents()) == sorted(idx.stems("letters"))


@pytest.mark.parametrize("kind", ["plain", "emnist", "npz"])
def test_a_script_reads_the_arrays_of_its_data_set(tmp_path, kind):
    write_folder(tmp_path / "x", label=lambda n, count: n % 3 + (kind == "emnist"))
    value = {"idx": "x"}
    if kind == "emnist":
        for path in list((tmp_path / "x").iterdir()):
            path.rename(tmp_path / "x" / f"emnist-mnist-{path.name.replace('t10k', 'test')}")
    if kind == "npz":
        arrays = datasets.find(value).load()
        whole = {"x_train": arrays.train_images / 7, "y_train": arrays.train_labels + 1}
        whole |= {"x_val": arrays.train_images[:5] / 7, "y_val": arrays.train_labels[:5] + 1}
        np.savez("small.npz", **whole, x_test=arrays.test_images / 7, y_test=arrays.test_labels + 1)
        value = {"npz": "small.npz"}
    source = datasets.find(value)
    names = {"np": np, "torch": torch, "gzip": gzip, "pathlib": pathlib, "os": os, "DATA": data.path(source)}
    exec("\n".join(data.read_lines(source, {})), names)
    arrays = source.load()
    for name, array in zip(("x_train", "y_train", "x_test", "y_test"), list(vars(arrays).values())[:4], strict=True):
        np.testing.assert_array_equal(names[name], array)


# ---------------------------------------------------------------------------------------------------------------------
# CIFAR-10


def batches(n=20, n_test=4):
    generator = np.random.default_rng(0)
    for name in (*cifar.TRAIN, *cifar.TEST):
        count = n_test if name == "test_batch" else n
        yield name, generator.integers(0, 256, (count, 3072), np.uint8), [i % 10 for i in range(count)]


def of_python_2(images, labels):
    """A batch as the second version of Python writes it: strings of bytes, and NumPy under its old name."""
    text = lambda value: b"U" + bytes([len(value)]) + value  # noqa: E731
    number = lambda value: b"J" + value.to_bytes(4, "little", signed=True)  # noqa: E731
    dtype = b"cnumpy\ndtype\nq\x0a" + text(b"u1") + b"K\x00K\x01\x87R" + b"(K\x03" + text(b"|") + b"NNN"
    dtype += number(-1) * 2 + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + number(len(images)) + number(3072) + b"\x86" + dtype + b"\x89"
    array += b"T" + images.size.to_bytes(4, "little") + images.tobytes() + b"tb"
    of_labels = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}q\x01(" + text(b"labels") + of_labels + text(b"data") + array + b"u."


def of_python_3(protocol, images, labels):
    return pickle.dumps({b"data": images, b"labels": labels, b"filenames": ["x.png"] * len(labels)}, protocol)


FORMS = {"2": of_python_2, **{f"3, protocol {n}": functools.partial(of_python_3, n) for n in (2, 3, 4)}}


def write_batches(folder, form="2"):
    folder.mkdir(exist_ok=True)
    for name, images, labels in batches():
        (folder / name).write_bytes(FORMS[form](images, labels))
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_the_python_and_the_binary_batches_are_one_data_set(tmp_path, form):
    python, binary = write_batches(tmp_path / "py", form), tmp_path / "bin"
    binary.mkdir()
    for name, images, labels in batches():
        assert pickle.loads((python / name).read_bytes(), encoding="bytes")[b"labels"] == labels
        (binary / f"{name}.bin").write_bytes(np.hstack([np.array(labels, np.uint8)[:, None], images]).tobytes())
    sources = [datasets.find({"cifar10": str(folder)}) for folder in (python, binary)]
    assert len({source.name.partition("@")[2] for source in sources}) == 1
    loaded = sources[0].load()
    assert (loaded.shape, len(loaded.train_images), loaded.classes) == ((32, 32, 3), 100, 10)
    *_, (_, images, labels) = batches()
    np.testing.assert_array_equal(loaded.test_images.reshape(-1, 32, 32, 3)[:, 5, 7, 2], images[:, 2048 + 5 * 32 + 7])
    np.testing.assert_array_equal(loaded.test_labels, labels)


class Payload:
    """A pickle that creates a file when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


NESTED = b"\x80\x02)" + b"".join(b"q%ch%ch%c\x86" % (i, i, i) for i in range(60))


def test_no_batch_is_executed_and_each_mistake_is_a_line_with_its_file(tmp_path):
    folder = write_batches(tmp_path / "py")
    batch = folder / "test_batch"
    whole = batch.read_bytes()
    *_, (_, images, labels) = batches()
    contents = {
        "names posix.mkdir, which is not executed": pickle.dumps({b"data": images, b"labels": Payload()}),
        "names builtins.eval": b"\x80\x02cbuiltins\neval\nU\x011\x85R.",
        "has the instruction INST": b"(U\x05pwnedios\nmkdir\n.",
        "has the label 10": of_python_2(images, [10, 1, 2, 3]),
        "3 labels for 4 images": of_python_2(images, labels[:3]),
        "its data are of 'f4'": pickle.dumps({b"data": images.astype(np.float32), b"labels": labels}),
        "KeyError: 'data'": pickle.dumps({b"labels": labels}),
        "images of (2,)": pickle.dumps({b"data": images[:, :2], b"labels": labels}),
        "not a batch of CIFAR-10": b"",
        "its labels are no list of integers": pickle.dumps({b"data": images, b"labels": {}}),
        # Tuples of tuples, 2^60 in all, as a name and as a key, and nested so deep that hashing them ends the process.
        "has a tuple in place of a name": NESTED + b"\x8c\x01a\x93.",
        "has a tuple": NESTED + b"q\x00}h\x00Ns.",
        "a tuple in": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
        # Ten bytes each that encode the same megabyte once more.
        "encodes more bytes than a batch has": b"\x80\x02X\x40\x42\x0f\x00"
        + b"a" * 1_000_000
        + b"q\x00c_codecs\nencode\nq\x01("
        + b"h\x01h\x00\x85R" * 70,
        "has more than 1,000,000 instructions": b"\x80\x02" + b"N" * 1_000_000 + b".",
    }
    for part, content in contents.items():
        batch.write_bytes(content)
        with watched() as events:
            line = refusal({"cifar10": str(folder)})
        assert not events
        assert str(batch) in line
        assert part in line
    batch.write_bytes(whole)
    (folder / "data_batch_3").unlink()
    assert "data_batch_3: no such file; the folder of CIFAR-10 needs data_batch_1 to 5 and test_batch" in refusal(
        {"cifar10": str(folder)}
    )
    (folder / "data_batch_1.bin").write_bytes(bytes(3074))
    assert "data_batch_1.bin: 3,074 bytes; a batch has 3,073 for each image" in refusal({"cifar10": str(folder)})
    assert not Path("pwned").exists()


def test_a_mutated_batch_is_read_or_rejected_in_a_line(tmp_path):
    *_, (_, images, labels) = batches()
    path, whole, lines = tmp_path / "test_batch", of_python_2(images[:2], labels[:2]), []
    short = whole[: whole.index(b"T") + 40]  # mostly instructions
    for number in range(300):
        path.write_bytes(mutate.torn(random.Random(number), (whole, short)[number % 2]))
        with limited(), watched() as events:
            try:
                cifar._python(path)
            except UserError as error:
                lines.append(error.lines)
        assert not events
    assert len(lines) > 150
    assert all(len(of_one) == 1 and str(path) in of_one[0] for of_one in lines)


@pytest.mark.parametrize("form", ["npz", "cifar10"])
def test_a_dask_worker_reads_the_files_that_are_sent_to_it(tmp_path, form, monkeypatch):
    if form == "npz":
        generator = np.random.default_rng(0)
        images = {f"x_{split}": generator.integers(0, 256, (24, 3, 3), np.uint8) for split in ("train", "test")}
        np.savez(tmp_path / "small.npz", **images, y_train=np.arange(24) % 2, y_test=np.arange(24) % 2)
        source = datasets.find({"npz": "small.npz"})
    else:
        source = datasets.find({"cifar10": str(write_batches(tmp_path / "py"))})
    sent = source.contents()
    (tmp_path / "worker").mkdir()
    monkeypatch.setattr(dask_worker, "_data", {})
    dask_worker._write(source.name, sent, str(tmp_path / "worker"))
    shutil.rmtree(tmp_path / "py", ignore_errors=True)
    (tmp_path / "small.npz").unlink(missing_ok=True)
    there = dask_worker._here(datasets.asdict(source))
    assert there["folder"] != source.folder
    assert datasets.Source(**there).load().train_images.shape == (
        source.train_size + source.validation_size,
        source.pixels,
    )


# ---------------------------------------------------------------------------------------------------------------------
# The download


@contextlib.contextmanager
def served(folder):
    """A web server for the files of a folder; yields its address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def urls_of(address, folder):
    return tuple((address + path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in sorted(folder.iterdir()))


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_without_pooch_a_download_says_what_to_install_and_where_the_files_are(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(UserError) as error:
        known.fetch("kmnist")
    (line,) = error.value.lines
    assert (
        "pip install 'initbench[download]'; or download the files from http://codh.rois.ac.jp/kmnist/dataset/kmnist"
        in line
    )


@pytest.mark.usefixtures("of_any_content")
def test_a_download_is_checked_unpacked_and_found_by_its_name(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pooch", reason="pooch is not installed: pip install -c constraints.txt -e '.[download]'")
    web = tmp_path / "web"
    web.mkdir()
    write_folder(web, pack=gzip.compress)
    with served(web) as address:
        replaced(monkeypatch, "kmnist", urls=urls_of(address, web))
        status, out, _ = ended(monkeypatch, capsys, "data", "fetch", "kmnist")
    assert status == 0
    assert out.count("Downloading http://127.0.0.1") == 4
    assert datasets.find("kmnist").name.startswith("kmnist@")
    archives = tmp_path / "archives"
    archives.mkdir()
    (tmp_path / "gzip").mkdir()
    with zipfile.ZipFile(archives / "gzip.zip", "w") as archive:
        for path in web.iterdir():
            archive.write(path, f"gzip/emnist-letters-{path.name.replace('t10k', 'test')}")
    write_batches(tmp_path / "cifar-10-batches-py")
    with tarfile.open(archives / "cifar.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches-py", "cifar-10-batches-py")
    with served(archives) as address:
        of_cifar, of_emnist = urls_of(address, archives)
        replaced(monkeypatch, "emnist_letters", urls=(of_emnist,))
        replaced(monkeypatch, "cifar10", urls=(of_cifar,))
        known.fetch("emnist_letters")
        known.fetch("cifar10")
    assert datasets.find("emnist_letters").classes == 3
    assert datasets.find("cifar10").shape == (32, 32, 3)
    assert json.loads(Path("cache/initbench/datasets.json").read_text()).keys() == {"kmnist"}


def test_a_failed_download_is_a_line_and_leaves_nothing(tmp_path, monkeypatch):
    pytest.importorskip("pooch", reason="pooch is not installed: pip install -c constraints.txt -e '.[download]'")
    web = write_folder(tmp_path / "web")
    known.files.make_folder(tmp_path / "cache" / "initbench" / "data")
    before = listing(tmp_path / "cache")
    with served(web) as address:
        good = urls_of(address, web)
        for bad, part in (
            ((good[3][0], "0" * 32), "its MD5 is not 00000000000000000000000000000000; nothing was stored"),
            ((address + "none.gz", "0" * 32), "cannot be downloaded (status 404)"),
            (("http://127.0.0.1:9/x.gz", "0" * 32), "cannot be downloaded (ConnectionError); is there a connection?"),
        ):
            replaced(monkeypatch, "kmnist", urls=(*good[:3], bad))
            with pytest.raises(UserError) as error:
                known.fetch("kmnist")
            (line,) = error.value.lines
            assert part in line
            assert "initbench data add kmnist FOLDER" in line
            assert listing(tmp_path / "cache") == before


def test_urls_and_checksums_are_those_of_torchvision():
    """Copied from torchvision/datasets/mnist.py and cifar.py."""
    sums = {name: [md5 for _, md5 in data_set.urls] for name, data_set in catalog.KNOWN.items()}
    assert sums["fashion_mnist"][0] == "8d4fb7e6c68d591d4c3dfef9ec88bf0d"
    assert sums["kmnist"][3] == "7320c461ea6c1c855c0b718fb2a4b134"
    assert all(sums[f"emnist_{split}"] == ["58c8d27c78d21e728a6bc7b3cc06412e"] for split in idx.EMNIST_SPLITS)
    assert sums["cifar10"] == ["c58f30108f718f92721af3b95e74349a"]


def test_a_path_in_place_of_a_name_is_answered_by_how_to_write_it():
    for path, hint in [("a/noise.npz", "{ npz = 'a/noise.npz' }"), ("my_data.py", "'my_data.py:load', say")]:
        with pytest.raises(UserError) as mistake:
            datasets.find(path)
        assert mistake.value.lines[0].endswith(hint)
