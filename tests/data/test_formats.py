"""Data sets in `.npz` files and in IDX files of every kind: what becomes of images and labels, and what is refused."""

import gzip
import random
import struct
import warnings

import mutate
import numpy as np
import pytest
from idx import write_folder
from watch import limited, watched

from initbench.data import datasets, own
from initbench.data.arrays import Arrays, standardization
from initbench.errors import UserError

N, N_TEST = 40, 12


def arrays(shape=(4, 5), dtype=np.uint8, **replaced):
    """The arrays of a small data set of three classes, by Keras's names."""
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (n, *shape)).astype(dtype) for n in (N, N_TEST)]
    labels = [np.arange(n) % 3 for n in (N, N_TEST)]
    whole = {"x_train": images[0], "y_train": labels[0], "x_test": images[1], "y_test": labels[1]}
    return {**whole, **replaced}


def saved(folder, content, name="small.npz"):
    np.savez(folder / name, **content)
    return {"npz": str(folder / name)}


def refusal(value):
    with pytest.raises(UserError) as error:
        datasets.find(value)
    (line,) = error.value.lines
    return line


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 1), (7,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16])
def test_integers_up_to_255_stay_bytes_with_the_channels_of_a_pixel_side_by_side(tmp_path, shape, dtype):
    content = arrays(shape, dtype)
    source = datasets.find(saved(tmp_path, content))
    loaded = source.load()
    assert source.shape == loaded.shape == {1: (1, 1, 7), 2: (4, 5, 1), 3: (*shape, 1)[:3]}[len(shape)]
    assert loaded.train_images.dtype == np.uint8
    assert source.pixel_bytes == 1
    np.testing.assert_array_equal(loaded.train_images.reshape(N, *shape), content["x_train"])
    np.testing.assert_array_equal(loaded.test_labels, content["y_test"])
    assert datasets.from_stored(datasets.to_stored(source)) == source


def test_other_integers_are_divided_by_the_largest_of_training_and_floats_are_as_they_are(tmp_path):
    generator = np.random.default_rng(1)
    signed = generator.integers(-3000, 2000, (N, 6)).astype(np.int16)
    test = generator.integers(-3000, 2000, (N_TEST, 6)).astype(np.int16)
    loaded = datasets.find(saved(tmp_path, arrays(x_train=signed, x_test=test))).load()
    largest = np.abs(signed.astype(float)).max()
    np.testing.assert_array_equal(loaded.train_images, (signed / largest).astype(np.float32))
    np.testing.assert_array_equal(loaded.test_images, (test / largest).astype(np.float32))
    binary = arrays((3,), x_train=np.eye(N, 3, dtype=bool), x_test=np.eye(N_TEST, 3, dtype=bool))
    assert set(datasets.find(saved(tmp_path, binary)).load().train_images.flat) == {0.0, 1.0}
    floats = arrays((4, 5), np.float64)
    source = datasets.find(saved(tmp_path, floats))
    assert (source.pixel_bytes, source.load().train_images.dtype) == (4, np.float32)
    assert source.image_bytes == source.load().train_images.nbytes + source.load().test_images.nbytes
    np.testing.assert_array_equal(source.load().train_images.reshape(N, 4, 5), floats["x_train"].astype(np.float32))


@pytest.mark.parametrize("dtype", [*np.typecodes["AllInteger"], *np.typecodes["Float"], ">i2", ">u8", ">f4", ">f8"])
def test_images_and_labels_of_every_dtype_are_read(tmp_path, dtype):
    """Values that every dtype has, one of them negative where there are such."""
    values = (np.arange(N * 6).reshape(N, 6) % 100).astype(dtype)
    is_signed = np.dtype(dtype).kind != "u"
    values[0, 0] -= is_signed
    labels = {f"y_{split}": (np.arange(n) % 3 + 1).astype(dtype) for split, n in (("train", N), ("test", N_TEST))}
    loaded = datasets.find(saved(tmp_path, arrays(x_train=values, x_test=values[:N_TEST], **labels))).load()
    divisor = 99 if np.dtype(dtype).kind == "i" else 1
    expected = values.astype(float) / divisor
    np.testing.assert_array_equal(loaded.train_images, expected.astype(np.float32 if is_signed else np.uint8))
    np.testing.assert_array_equal(loaded.train_labels, np.arange(N) % 3)


def test_labels_of_any_values_become_classes_from_0_in_their_order(tmp_path):
    values = np.array([-7, 40, 1000])
    content = arrays(y_train=values[np.arange(N) % 3][:, None], y_test=values[np.arange(N_TEST) % 3].astype(float))
    loaded = datasets.find(saved(tmp_path, content)).load()
    np.testing.assert_array_equal(loaded.train_labels, np.arange(N) % 3)
    np.testing.assert_array_equal(loaded.test_labels, np.arange(N_TEST) % 3)
    assert loaded.classes == 3


def test_a_validation_split_of_its_own_is_the_first_of_the_training_images(tmp_path):
    generator = np.random.default_rng(2)
    keys = [f"{split}_{kind}" for split in ("train", "val", "test") for kind in ("images", "labels")]
    medical = dict(zip(keys, ([] for _ in keys), strict=True))
    for split, n in (("train", 20), ("val", 7), ("test", 9)):
        medical[f"{split}_images"] = generator.integers(0, 256, (n, 28, 28), np.uint8)
        medical[f"{split}_labels"] = (np.arange(n) % 2)[:, None].astype(np.uint8)
    source = datasets.find(saved(tmp_path, medical))
    assert (source.train_size, source.validation_size, source.test_size) == (20, 7, 9)
    loaded = source.load()
    np.testing.assert_array_equal(loaded.train_images[:7].reshape(7, 28, 28), medical["val_images"])
    np.testing.assert_array_equal(loaded.train_images[7:].reshape(20, 28, 28), medical["train_images"])
    joined = Arrays(loaded.train_images, loaded.train_labels, loaded.test_images, loaded.test_labels, loaded.shape)
    assert datasets.describe(joined, source.folder, "npz").name != source.name  # the split is part of the content


def test_the_name_carries_all_that_a_network_trains_by(tmp_path):
    square = arrays((4, 4))
    variants = [
        square,
        {**square, "x_train": square["x_train"].reshape(N, 2, 8), "x_test": square["x_test"].reshape(N_TEST, 2, 8)},
        {
            **square,
            "x_train": square["x_train"].reshape(N, 2, 2, 4),
            "x_test": square["x_test"].reshape(N_TEST, 2, 2, 4),
        },
        {**square, "x_train": square["x_train"].reshape(N, 16), "x_test": square["x_test"].reshape(N_TEST, 16)},
        {**square, "x_train": square["x_train"] / 255, "x_test": square["x_test"] / 255},
        {**square, "y_test": square["y_test"][::-1]},
    ]
    names = {datasets.find(saved(tmp_path, content)).name for content in variants}
    assert len(names) == len(variants)
    assert {name.partition("@")[0] for name in names} == {"small"}


def with_value(dtype, value, shape=(4, 5), image=3):
    images = arrays(shape, dtype)["x_train"]
    images[image].flat[2] = value
    return images


BAD = {
    "a NaN": (
        {"x_train": with_value(float, np.nan)},
        "x_train has values that are not finite in float32 in 1 of 40 images, first in image 3 (nan); replace them",
    ),
    "infinity": ({"x_test": np.full((N_TEST, 4, 5), 1e300)}, "in 12 of 12 images, first in image 0 (inf)"),
    "other test sizes": (
        {"x_test": np.zeros((N_TEST, 5, 4))},
        "x_test has images of 5 × 4, but those of x_train are 4 × 5",
    ),
    "too few labels": ({"y_train": np.zeros(39)}, "y_train has 39 labels, but x_train has 40 images"),
    "one-hot": (
        {"y_train": np.eye(3)[np.arange(N) % 3]},
        "y_train is one-hot, 40 × 3; write it as labels.argmax(axis=1)",
    ),
    "several labels": ({"y_train": np.ones((N, 2), int)}, "y_train is 40 × 2; allowed: one label for each image"),
    "a test class": ({"y_test": np.full(N_TEST, 9)}, "y_test has 9 for 12 of 12 images, which no training label is"),
    "half a label": ({"y_train": np.arange(N) / 2}, "y_train has the value 0.5; allowed: integers"),
    "a NaN label": ({"y_test": np.full(N_TEST, np.nan)}, "y_test has the value nan; allowed: integers"),
    "names": (
        {"y_train": np.array(["cat", "dog"] * 20)},
        "y_train is of dtype <U3; allowed: an array of integers or "
        "floats; names become numbers by numpy.unique(labels, return_inverse=True)[1]",
    ),
    "complex": ({"x_train": np.zeros((N, 4, 5), complex)}, "x_train is of dtype complex128; allowed: an array of"),
    "one number": ({"x_train": np.array(3)}, "x_train is a single value; allowed: an array of"),
    "objects": ({"y_train": np.array([{}] * N)}, "has an array of Python objects, which could execute code"),
    "no images": ({"x_test": np.zeros((0, 4, 5)), "y_test": np.zeros(0)}, "x_test has 0 images; allowed: at least 1"),
    "few images": (
        {"x_train": np.zeros((11, 4, 5)), "y_train": np.zeros(11)},
        "x_train has 11 images; allowed: at least 12",
    ),
    "no validation labels": (
        {"x_val": np.zeros((3, 4, 5))},
        "small.npz: has x_val but no y_val; add y_val, or remove x_val",
    ),
    "no pixel": ({"x_train": np.zeros((N, 0, 5)), "x_test": np.zeros((N_TEST, 0, 5))}, "without a pixel"),
    "a vector": ({"x_train": np.zeros(N)}, "x_train is 40; allowed: images × height × width"),
    "channels first": (
        {"x_train": np.zeros((N, 3, 32, 32)), "x_test": np.zeros((N_TEST, 3, 32, 32))},
        "3 × 32 × 32; the channels come last: write images.transpose(0, 2, 3, 1)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_line_with_the_file_the_key_and_the_remedy(tmp_path, case):
    replaced, part = BAD[case]
    value = saved(tmp_path, arrays(**replaced))
    line = refusal(value)
    assert line.startswith(f"{value['npz']}: ")
    assert part in line


def test_300_classes_missing_keys_and_files_that_are_no_npz_are_refused(tmp_path):
    many = arrays(x_train=np.zeros((300, 2)), y_train=np.arange(300), x_test=np.zeros((N_TEST, 2)))
    assert "y_train has 300 different values; allowed: at most 256 classes" in refusal(saved(tmp_path, many))
    content = arrays()
    del content["y_test"]
    line = refusal(saved(tmp_path, content))
    assert "has no y_test; given 'x_train', 'y_train', 'x_test'; required: x_train, y_train, x_test, y_test" in line
    assert "given 'images'; required" in refusal(saved(tmp_path, {"images": np.zeros(3)}))
    assert "no such file" in refusal({"npz": str(tmp_path / "none.npz")})
    assert "is a folder, not a regular file" in refusal({"npz": str(tmp_path)})
    (tmp_path / "text.npz").write_text("x_train")
    assert "not a valid .npz file" in refusal({"npz": str(tmp_path / "text.npz")})


def test_a_mutated_npz_file_is_read_or_rejected_in_a_line(tmp_path):
    whole = (tmp_path / saved(tmp_path, arrays())["npz"]).read_bytes()
    lines = []
    for number in range(150):
        (tmp_path / "small.npz").write_bytes(mutate.torn(random.Random(number), whole))
        with limited(), watched() as events, warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                datasets.find({"npz": str(tmp_path / "small.npz")})
            except UserError as error:
                lines.append(error.lines)
        assert not events
    assert 75 < len(lines) <= 150
    assert all(len(of_one) == 1 and str(tmp_path) in of_one[0] for of_one in lines)


# ---------------------------------------------------------------------------------------------------------------------
# IDX files


def write_idx(path, array, code=8, pack=bytes):
    header = bytes((0, 0, code, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(pack(header + array.tobytes()))


def idx_folder(folder, images, test_images, labels, test_labels, code=8, name="{}"):
    folder.mkdir()
    split = {"train": "train", "test": "test" if "emnist" in name else "t10k"}
    for part, of_images, of_labels in (("train", images, labels), ("test", test_images, test_labels)):
        write_idx(folder / name.format(f"{split[part]}-images-idx3-ubyte"), of_images, code)
        write_idx(folder / name.format(f"{split[part]}-labels-idx1-ubyte"), of_labels.astype(np.uint8))
    return {"idx": str(folder)}


def test_idx_files_of_four_dimensions_have_their_channels_last(tmp_path):
    content = arrays((4, 5, 3))
    labels = content["y_train"], content["y_test"]
    last = idx_folder(tmp_path / "a", content["x_train"], content["x_test"], *labels)
    first = (content[key].transpose(0, 3, 1, 2).copy() for key in ("x_train", "x_test"))
    sources = datasets.find(last), datasets.find(idx_folder(tmp_path / "b", *first, *labels))
    for source in sources:
        assert source.shape == (4, 5, 3)
        np.testing.assert_array_equal(source.load().train_images.reshape(N, 4, 5, 3), content["x_train"])
    assert len({source.name.partition("@")[2] for source in sources}) == 1
    none = arrays((6, 5, 2))
    line = refusal(idx_folder(tmp_path / "c", none["x_train"], none["x_test"], *labels))
    assert "of which no size is a number of channels" in line
    assert line.endswith("dataset = { npz = … }, with the channels last")


@pytest.mark.parametrize(("code", "dtype"), [(9, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")])
def test_idx_files_of_other_types_are_converted_as_other_arrays(tmp_path, code, dtype):
    images = [(np.arange(n * 6).reshape(n, 2, 3) % 100 - 20).astype(dtype) for n in (N, N_TEST)]
    labels = [np.arange(n) % 3 for n in (N, N_TEST)]
    loaded = datasets.find(idx_folder(tmp_path / "a", *images, *labels, code=code)).load()
    expected = images[0].astype(float) / (79 if "i" in dtype else 1)
    np.testing.assert_array_equal(loaded.train_images, expected.reshape(N, 6).astype(np.float32))


def test_emnist_is_read_under_its_own_names_upright_and_its_letters_are_26_classes(tmp_path):
    letters = arrays((28, 28), y_train=np.arange(N) % 26 + 1, y_test=np.arange(N_TEST) % 26 + 1)
    turned = (np.swapaxes(letters[key], 1, 2).copy() for key in ("x_train", "x_test"))
    folder = idx_folder(tmp_path / "e", *turned, letters["y_train"], letters["y_test"], name="emnist-letters-{}")
    source = datasets.find(folder)
    loaded = source.load()
    assert source.classes == 26
    np.testing.assert_array_equal(loaded.train_images.reshape(N, 28, 28), letters["x_train"])
    np.testing.assert_array_equal(loaded.test_labels, np.arange(N_TEST) % 26)
    for path in list((tmp_path / "e").iterdir()):
        (tmp_path / "e" / path.name.replace("letters", "digits")).write_bytes(gzip.compress(path.read_bytes()))
    line = refusal(folder)
    assert "has 2 splits of EMNIST; choose one by its name" in line
    assert "initbench data add emnist_digits FOLDER" in line


def test_labels_of_idx_files_that_begin_at_0_keep_their_values_and_names_their_digests(tmp_path):
    gaps = datasets.find({"idx": str(write_folder(tmp_path / "a", label=lambda number, count: number % 3 * 2))})
    assert gaps.classes == 5
    from_1 = datasets.find({"idx": str(write_folder(tmp_path / "b", label=lambda number, count: number % 3 + 1))})
    assert from_1.classes == 3
    # What earlier versions computed: the SHA-256 of the shapes and the bytes of the four arrays.
    assert datasets.find({"idx": str(write_folder(tmp_path / "c"))}).name == "c@c0dc27ba4953"


# ---------------------------------------------------------------------------------------------------------------------
# Standardization


@pytest.mark.parametrize("is_float", [False, True])
@pytest.mark.parametrize("shape", [(6, 5, 3), (1, 1, 90)])
def test_the_mean_and_deviation_are_those_of_each_channel_of_the_training_split(is_float, shape):
    generator = np.random.default_rng(3)
    images = generator.integers(0, 256, (5000, 90), np.uint8)
    images.reshape(5000, -1, shape[2])[..., 1] = 77  # a constant channel is only centred
    values = (images / 255).astype(np.float32) if is_float else images
    labels = np.zeros(5000, np.uint8)
    mean, deviation = standardization(Arrays(values, labels, values[:1], labels[:1], shape))
    read = (values if is_float else images / 255).astype(float)[5000 // 12 :].reshape(-1, shape[2])
    np.testing.assert_allclose(mean, read.mean(axis=0), rtol=1e-12)
    expected = read.std(axis=0)
    expected[1] = 1
    np.testing.assert_allclose(deviation, expected, rtol=1e-12)


def test_mnist_has_the_mean_and_deviation_of_the_tutorials(mnist):
    mean, deviation = standardization(mnist)
    assert (round(float(mean[0]), 3), round(float(deviation[0]), 3)) == (0.131, 0.308)


def test_what_an_own_function_returns_is_converted_as_a_file(tmp_path):
    content = arrays()
    lists = {**content, "y_train": content["y_train"].tolist(), "y_test": content["y_test"].tolist()}
    loaded = own.arrays_of(lists)
    assert datasets.describe(loaded, "small", datasets.CODE).name == datasets.find(saved(tmp_path, content)).name
    with pytest.raises(UserError, match="returned a tuple; allowed: a dict of arrays with the keys x_train"):
        own.arrays_of((1, 2))


def test_a_deviation_that_float32_would_flush_to_zero_is_that_of_a_constant_channel():
    values = np.zeros((12, 2), np.float32)
    values[::2] = [2e-38, 1e-37]
    labels = np.arange(12, dtype=np.uint8) % 2
    _, deviation = standardization(Arrays(values, labels, values[:1], labels[:1], (1, 1, 2)))
    np.testing.assert_allclose(deviation, [1.0, 1e-37 * np.std([1, 0] * 5 + [0])])  # the first image is for validation
