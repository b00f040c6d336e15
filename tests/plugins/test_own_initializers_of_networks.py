"""Own initializers on networks that are no perceptrons: they are tried on the network that the grid has."""

from types import SimpleNamespace

import code_blocks
import pytest
from plugin_code import bundle

from initbench.initializers import schemes
from initbench.models.built_in import architecture_of
from initbench.plugins import trial
from initbench.plugins.records import register
from initbench.spec import own

SHAPE = (28, 28, 1)


def loaded(code, name="f"):
    plugin = bundle(code, "mine.py")
    register(plugin)
    return f"{name}@{plugin.digest}"


def tried(name, model="lenet5", hidden="", normalization="none", layers=None, **changes):
    module = {"model": model, "hidden": hidden, "normalization": normalization, "shape": SHAPE, "classes": 10}
    shapes = layers or architecture_of(model, hidden, normalization, SHAPE, 10).shapes
    check = {"kind": "initializer", "name": name, "layers": shapes, "activation": "tanh", "loss": "cross_entropy"}
    check |= {"output_activation": "identity", "bias": False, "reverse": False, "module": module}
    return trial.tried(check | changes)


@pytest.fixture(scope="module")
def documented():
    """The scheme of whole networks of docs/how-to/own-initializer.md."""
    page = code_blocks.ROOT / "docs" / "how-to" / "own-initializer.md"
    return loaded(code_blocks.titled(page, "my_data_schemes.py"), "unit_variance")


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("model", ["lenet5", "residual_perceptron(blocks=1, width=8)"])
def test_the_documented_scheme_fits_models_of_every_kind(documented, model, normalization):
    assert tried(documented, model, normalization=normalization)[0] == ""


def test_the_documented_scheme_fills_groups_and_layers_without_a_bias(documented):
    code = """
from torch import nn

def build(channels, height, width, classes):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Conv2d(4, 4, 3, groups=2, bias=False), nn.Flatten(),
                         nn.Linear(4 * 24 * 24, classes))
"""
    build = loaded(code, "build")
    why, results = trial.tried(
        {"kind": "model", "name": build, "shape": SHAPE, "classes": 10, "activation": "tanh", "reverse": False}
    )
    assert why == ""
    assert '"groups": 2' in results["architecture"]
    layers = [(3, 3, 1, 4), (3, 3, 2, 2), (2304, 10)]
    assert tried(documented, build, layers=layers)[0] == ""
    wrong = loaded(
        "import numpy as np\n\ndef f(model):\n    return [(np.zeros(s), b) for s, b in "
        "zip(model.layers, model.start_biases())]\n\nimport initbench as ib\nf = ib.initializer(f)\n"
    )
    assert "returned shape (3, 3, 2, 2) for shape = (3, 3, 2, 4)" in tried(wrong, build, layers=layers)[0]


def test_a_scheme_that_expects_a_perceptron_is_refused_with_its_line():
    code = "import initbench as ib\n\n@ib.initializer\ndef f(model):\n    return model.activate(0, None)\n"
    why, _ = tried(loaded(code))
    assert why.startswith("mine.py, line 5, in f: AttributeError")


def test_a_scheme_of_layers_gets_the_shape_and_the_fan_in_of_convolutions():
    code = (
        "import numpy as np\n\ndef f(shape, *, fan_in, position):\n"
        "    assert fan_in == np.prod(shape[:-1])\n    assert len(shape) == 4 or position != 'first'\n"
        "    return np.full(shape, 1 / fan_in)\n"
    )
    why, results = tried(loaded(code))
    assert why == ""
    assert len(results) == 2 * 5  # two seeds of five layers
    dense_only = loaded(
        "import numpy as np\n\ndef f(shape):\n    fan_in, fan_out = shape\n    return np.zeros(shape)\n"
    )
    assert "ValueError: too many values to unpack" in tried(dense_only)[0]


def test_a_scheme_of_initbench_is_tried_on_an_own_model_that_it_looks_at():
    code = """
import torch
from torch import nn

def tokens(channels, height, width, classes):
    return nn.Sequential(Pixels(), nn.Embedding(4, 3), nn.Flatten(), nn.Linear(3 * height * width, classes))

def fragile(channels, height, width, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(height * width, classes), Fragile())

class Pixels(nn.Module):
    def forward(self, x):
        return (x * 3).long().flatten(1)

class Fragile(nn.Module):
    def forward(self, x):
        assert x.dtype == torch.float32  # so it computes in float32
        return torch.from_numpy(x.numpy())
"""
    layers = [(784, 10)]
    tokens, fragile = loaded(code, "tokens"), loaded(code, "fragile")
    assert tried("lsuv", tokens, layers=layers)[0] == ""
    assert tried("metainit", tokens, layers=layers)[0].startswith("metainit computes on images of N(0, 1) pixels")
    why = tried("gradinit", fragile, layers=layers)[0]
    assert why.startswith("mine.py, line 18, in Fragile.forward: RuntimeError")
    assert tried("lsuv", fragile, layers=layers)[0] == tried("he_normal", fragile, layers=layers)[0] == ""


def test_a_grid_has_a_trial_for_each_network_that_its_initializers_fill():
    name = loaded("def f(shape):\n    raise AssertionError\n")
    axes = {
        "initializer": (name,),
        "bias_initializer": ("zeros",),
        "model": ("perceptron", "lenet5"),
        "hidden": ("8", "8-8"),
        "normalization": ("none",),
        "activation": ("tanh",),
        "output_activation": ("identity",),
        "loss": ("mse",),
        "optimizer": ("sgd",),
        "dataset": ("mnist",),
    }
    checks = [check for _, check in own._checks(axes, {"mnist": SimpleNamespace(shape=SHAPE, classes=10, pixels=784)})]
    assert [len(check["layers"]) for check in checks] == [2, 3, 5]
    assert [check.get("module", {}).get("model", "") for check in checks] == ["", "", "lenet5"]


def test_a_scheme_that_looks_at_data_fits_where_its_code_is_loaded(documented):
    assert schemes.unfit(documented, ((784, 16), (16, 10)), "relu") == ""
