"""Own data sets: which functions load them, what they may return, and why some are refused."""

import json
import re

import numpy as np
import pytest
from plugin_code import bundle

from initbench.data import datasets
from initbench.data.own import LOADERS
from initbench.errors import PluginError, UserError
from initbench.plugins import records
from initbench.plugins.describe import described
from initbench.plugins.host import describe
from initbench.plugins.marks import dataset, kind_of
from initbench.plugins.trial import tried

CODE = '''
import numpy as np
import initbench as ib

def load(n: int = 120, folder=None, *, noise: float = 0.5):
    """Three blobs."""
    y = np.arange(n) % 3
    x = y[:, None] + noise * np.random.default_rng(0).normal(size=(n, 4))
    return {"x_train": x[n // 4:], "y_train": y[n // 4:], "x_test": x[: n // 4], "y_test": y[: n // 4]}

def load_images():
    y = np.arange(60) % 2
    x = np.random.randint(0, 255, (60, 5, 4), dtype=np.uint8)  # initbench seeds the generator
    return {"x_train": x, "y_train": y, "x_test": x, "y_test": y}

@ib.dataset
def blobs(*, n: int = 60):
    return load(n)

def load_from(path):
    raise AssertionError("no data set: it has an argument without a default")

def loaded():
    raise AssertionError("no data set")

def _load():
    raise AssertionError("no data set")
'''

PLUGIN = bundle(CODE, "my_data.py")


def source(name, plugin=PLUGIN):
    """Return the source of a data set that is loaded in this process."""
    records.register(plugin)
    short, parenthesis, parameters = name.partition("(")
    why, results = tried(
        {"kind": "dataset", "name": f"{short}@{plugin.digest}{parenthesis}{parameters}", "reverse": False}
    )
    assert not why, why
    return datasets.from_stored(json.loads(results["source"]))


def test_functions_load_data_by_their_name_or_a_mark():
    fields = {f["name"]: f for f in describe(PLUGIN)}
    assert {name: f["kind"] for name, f in fields.items()} == dict.fromkeys(["load", "load_images", "blobs"], "dataset")
    assert {p["name"]: p["default"] for p in fields["load"]["parameters"]} == {"n": 120, "noise": 0.5}
    assert fields["load"]["summary"] == "Three blobs."
    assert kind_of(dataset(lambda: None)) == "dataset"


def test_the_source_says_what_the_arrays_are_and_which_function_loads_them():
    of_features, of_images = source("load(n=240)"), source("load_images")
    assert re.fullmatch(r"load@[0-9a-f]{12}", of_features.name)
    assert of_features.function == f"load@{PLUGIN.digest}(n=240)" == datasets.written(of_features)
    assert (of_features.shape, of_features.classes, of_features.pixel_bytes) == ((1, 1, 4), 3, 4)
    assert (of_features.train_size, of_features.validation_size, of_features.test_size) == (165, 15, 60)
    assert (of_images.shape, of_images.classes, of_images.pixel_bytes) == ((5, 4, 1), 2, 1)
    assert datasets.from_stored(json.loads(json.dumps(datasets.to_stored(of_features)))) == of_features


def test_the_name_is_that_of_the_content_and_not_of_the_code():
    changed = bundle(CODE + "\n# changed\n", "my_data.py")
    before, after = source("load"), source("load", changed)
    assert before.name == after.name
    assert before.function != after.function
    assert source("load(noise=0.6)").name != before.name
    assert source("blobs").name.startswith("blobs@")


def test_a_worker_loads_the_same_arrays_and_refuses_others():
    described = source("load_images")
    np.random.seed(5)  # noqa: NPY002
    assert described.load().train_images.shape == (60, 20)
    clock = bundle(
        "import itertools\nimport numpy as np\nCOUNT = itertools.count()\ndef load():\n"
        "    x, y = np.full((24, 2), float(next(COUNT))), np.arange(24) % 2\n"
        "    return {'x_train': x, 'y_train': y, 'x_test': x, 'y_test': y}\n",
        "clock.py",
    )
    described = source("load", clock)
    with pytest.raises(PluginError, match=r"load@\w{6}: returned other data in another process; allowed: a function"):
        described.load()


ARRAYS = "x, y = np.ones((24, 2)), np.arange(24) % 2"
GOOD = "{'x_train': x, 'y_train': y, 'x_test': x, 'y_test': y}"


@pytest.mark.parametrize(
    ("change", "value", "message"),
    [
        ("x[3] = np.nan", GOOD, "x_train"),
        ("y = y + 0.5", GOOD, "y_train has the value 0.5; allowed: integers"),
        (
            "",
            "{'x_train': x, 'y_train': y, 'x_test': x, 'y_test': y + 1}",
            "y_test has 2 for 12 of 24 images, which no",
        ),
        ("", "{'x_train': x, 'y_train': y, 'x_test': x[:, :1], 'y_test': y}", "x_test has images of 1, but those of"),
        ("", "{'x_train': x, 'y_train': y, 'x_test': x, 'y_test': y[:5]}", "y_test has 5 labels, but x_test has 24"),
        ("", "{'x_train': x, 'y_train': y}", "has no x_test; given 'x_train', 'y_train'; required: x_train, y_train"),
        ("", "{'images': x}", "given 'images'; required: x_train, y_train, x_test, y_test"),
        ("x = x.astype(object)", GOOD, "x_train is of dtype object; allowed: an array of integers or floats"),
        (
            "",
            "{'x_train': 'text', 'y_train': y, 'x_test': x, 'y_test': y}",
            "x_train is a single value; allowed: an array",
        ),
        ("", "{'x_train': [[1], [1, 2]], 'y_train': y, 'x_test': x, 'y_test': y}", "inhomogeneous shape"),
        ("", "(x, y), (x, y)", "returned a tuple; allowed: a dict of arrays with the keys x_train, y_train, x_te"),
        ("x = x[:3]; y = y[:3]", GOOD, "x_train has 3 images; allowed: at least 12"),
        ("raise SystemExit(3)", GOOD, "it calls sys.exit"),
        ("open('there-is-no-such.npz')", GOOD, "FileNotFoundError: [Errno 2] No such file or directory"),
    ],
)
def test_bad_data_is_refused_with_the_function_and_the_key(change, value, message):
    code = f"import numpy as np\n\ndef load():\n    {ARRAYS}\n    {change or 'pass'}\n    return {value}\n"
    plugin = bundle(code, "my_data.py")
    records.register(plugin)
    why, _ = tried({"kind": "dataset", "name": f"load@{plugin.digest}", "reverse": False})
    assert why.startswith("my_data.py, line ")
    assert message in why
    assert "\n" not in why


def test_a_data_set_of_initbench_is_not_replaced():
    class Host:
        def describe(self, plugin):
            return describe(plugin)

    plugin = bundle("import initbench as ib\n@ib.dataset\ndef mnist(): pass\n", "my_data.py")
    with pytest.raises(UserError, match=r"my_data\.py: mnist is a data set of initbench; use another name"):
        described([plugin], Host())


def test_a_marked_function_needs_defaults():
    with pytest.raises(UserError, match=r"my_data\.py, line 3, in f: its argument n has no default"):
        records.register(bundle("import initbench as ib\n@ib.dataset\ndef f(n): pass\n", "my_data.py"))
    assert not [name for name in LOADERS if "@" not in name]
