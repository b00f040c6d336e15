"""Own models: which functions are models, what their architecture is, and why some are refused."""

import json
import re

import pytest
import torch
from plugin_code import bundle

from initbench.errors import UserError
from initbench.models import own
from initbench.models.built_in import MODELS
from initbench.plugins import describe, records
from initbench.plugins.describe import described
from initbench.plugins.host import describe as described_here
from initbench.plugins.marks import kind_of, model
from initbench.plugins.trial import tried
from initbench.registry import naming

MODULES = '''
import itertools, os
import torch
from torch import nn
import initbench as ib

class Net(nn.Module):
    """A convolution, normalized."""

    def __init__(self, channels, height, width, classes, depth: int = 2):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8)
        self.last = nn.Linear(8, classes)

    def forward(self, x):
        return self.last(self.norm(self.convolution(x)).relu().mean((2, 3)))

def build(channels, height, width, classes, *, activation, units: int = 16, dropout: float = 0.0):
    """Two dense layers."""
    hidden = nn.LazyLinear(units), activation(), nn.Dropout(dropout)
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(units, classes))

@ib.model
def pixels(channels, rows, columns, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * rows * columns, outputs))

def other(width, height, channels, classes):
    raise AssertionError("no model: its arguments have another order")

class _Hidden(Net):
    pass
'''

PLUGIN = bundle(MODULES, "my_models.py")


def check(name, shape=(8, 8, 1), classes=10, activation="relu"):
    return {"kind": "model", "name": name, "shape": shape, "classes": classes, "activation": activation}


def tried_here(code, name, **changes):
    """Try a model in this process, as a host does."""
    plugin = bundle(code, "my_models.py")
    records.register(plugin)
    full = f"{name.partition('(')[0]}@{plugin.digest}{name[len(name.partition('(')[0]) :]}"
    return tried({**check(full, **changes), "reverse": False})


def test_functions_and_classes_are_models_by_their_arguments_or_a_mark():
    fields = {f["name"]: f for f in described_here(PLUGIN)}
    assert {name: f["kind"] for name, f in fields.items()} == dict.fromkeys(["Net", "build", "pixels"], "model")
    assert [p["name"] for p in fields["build"]["parameters"]] == ["units", "dropout"]
    assert [p["name"] for p in fields["Net"]["parameters"]] == ["depth"]
    assert fields["build"]["supplied"] == ["activation"]
    assert fields["Net"]["summary"] == "A convolution, normalized."
    assert kind_of(model(lambda: None)) == "model"


def test_the_architecture_is_that_of_the_module_for_the_images():
    why, results = tried_here(MODULES, "build(units=5)", shape=(4, 3, 2))
    network = own.from_json(json.loads(results["architecture"]))
    assert not why
    assert network.shapes == ((24, 5), (5, 10))
    assert (network.other_parameters, network.parameter_count) == (0, 24 * 5 + 5 + 5 * 10 + 10)
    network = own.from_json(json.loads(tried_here(MODULES, "Net")[1]["architecture"]))
    assert network.shapes == ((3, 3, 1, 8), (8, 10))
    assert [layer.positions for layer in network.layers] == [36, 1]
    assert network.other_parameters == 16  # of the normalization


def test_an_activation_with_parameters_is_built_anew_for_each_place():
    results = {name: tried_here(MODULES, "build", activation=name)[1] for name in ("relu", "tanh", "leaky_relu")}
    assert len({result["0"] for result in results.values()}) == 3


def test_a_trial_is_the_same_in_another_order_and_depends_on_the_seed():
    records.register(PLUGIN)
    there = tried({**check(f"build@{PLUGIN.digest}(dropout=0.5)"), "reverse": True})
    assert there == tried_here(MODULES, "build(dropout=0.5)")
    assert there[1]["0"] != there[1]["1"]


BAD = {
    "def f(channels, height, width, classes): return nn.Sequential(nn.Flatten(), nn.Linear(5, classes))": (
        "line 6, in f: RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x64 and 5x10)"
    ),
    "class f(Net):\n    def forward(self, x):\n        return x @ self.last.weight": (
        "line 8, in f.forward: RuntimeError: mat1 and mat2 shapes cannot be multiplied"
    ),
    "class f(Net):\n    def forward(self, x):\n        raise ValueError('mine')": "in f.forward: ValueError: mine",
    "def f(channels, height, width, classes): return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))": (
        "line 6, in f: returned shape [2, 3] for images [2, 1, 8, 8]; allowed: [2, 10], an output for each class"
    ),
    "class f(Net):\n    def forward(self, x): return super().forward(x)[:, :, None]": (
        "line 6, in f: returned shape [2, 10, 1] for images"
    ),
    "class f(Net):\n    def forward(self, x): return super().forward(x), x": "in f: its forward returned tuple",
    "class f(Net):\n    def forward(self, x): return super().forward(x).double()": (
        "in f: its forward returned shape [8, 10] and torch.float64 for 8 images; allowed: a tensor [batch, 10]"
    ),
    "class f(Net):\n    def forward(self, x): return super().forward(x) / 0": "in f: its forward returned NaN",
    "class f(Net):\n    def forward(self, x):\n        x += 1\n        return super().forward(x)": (
        "in f: its forward changes the images that it is given; allowed: a copy, x.clone()"
    ),
    "class f(Net):\n    @torch.no_grad()\n    def forward(self, x): return super().forward(x)": (
        "in f: its output has no gradient"
    ),
    "class f(Net):\n    def forward(self, x): return super().forward(x) * next(COUNTER)": (
        "in f: returned another network, or other outputs, for the same seed"
    ),
    "class f(Net):\n    def forward(self, x): return super().forward(x) * os.urandom(1)[0]": (
        "in f: returned another network, or other outputs, for the same seed"
    ),
    "class f(Net):\n    def __init__(self, channels, height, width, classes):\n"
    "        super().__init__(channels, height, width, classes)\n        self.register_parameter('p', nn.Parameter("
    "torch.zeros(2, dtype=torch.complex64)))": "in f: its parameter p is complex; allowed: real parameters",
    "class f(Net):\n    def __init__(self, channels, height, width, classes):\n"
    "        super().__init__(channels, height, width, classes)\n"
    "        self.scale = nn.Parameter(torch.tensor(torch.nan))\n"
    "    def forward(self, x): return super().forward(x) * self.scale": (
        "in f: its parameter scale has NaN or infinity at the start"
    ),
    "class f(Net):\n    def __init__(self, channels, height, width, classes):\n"
    "        super().__init__(channels, height, width, classes)\n        self.double()\n"
    "    def forward(self, x): return super().forward(x.double())": "in f: has parameters of dtype float64",
    "class f(nn.Module):\n    def __init__(self, channels, height, width, classes):\n        super().__init__()\n"
    "        self.p = nn.Parameter(torch.zeros(64, classes))\n    def forward(self, x): return x.flatten(1) @ self.p": (
        "in f: has no Linear, Conv, ConvTranspose or Embedding layer"
    ),
    "def f(channels, height, width, classes): return 3": "line 6, in f: returned 3; allowed: a torch.nn.Module",
    "def f(channels, height, width, classes): raise SystemExit": "line 6, in f: it calls sys.exit",
}

HEAD = """import itertools, os, torch
from torch import nn
from my_nets import Net
COUNTER = itertools.count()

"""


@pytest.mark.parametrize("code", BAD)
def test_a_bad_model_is_refused_with_its_file_and_line(code):
    nets = MODULES[: MODULES.index("def build")]
    plugin = bundle(HEAD + code, "my_models.py", my_nets=nets)
    records.register(plugin)
    why, _ = tried({**check(f"f@{plugin.digest}"), "reverse": False})
    assert why.startswith("my_models.py, line ")
    assert "\n" not in why
    assert BAD[code] in why


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def f(channels, height, width, classes,\n      units): pass",
            "line 2, in f: its argument units has no default; allowed: arguments with a default, as units: int = 8; if",
        ),
        (
            "import initbench as ib\n@ib.model\nclass f:\n  def __init__(self, channels, height, width, classes, *,\n"
            "    rate: float): pass",
            "line 5, in f: its argument rate has no default; allowed: arguments with a default, as rate: float = 1.0",
        ),
        ("def f(channels, height, width, classes, *, kind: str = 'a'): pass", "its parameter kind is of type str"),
        ("import initbench as ib\n@ib.model\ndef f(classes): pass", "takes 1 arguments; allowed: channels, height, wi"),
        ("import initbench as ib\n@ib.model\ndef f(*, channels, height, width, classes): pass", "takes 0 arguments"),
        ("def g(width, height): pass", "whose first arguments are channels, height, width, classes (a model)"),
    ],
)
def test_a_function_that_cannot_be_a_model_is_refused_before_it_is_called(code, message):
    with pytest.raises(UserError, match=re.escape(message)):
        records.register(bundle(code, "my_models.py"))


def test_a_worker_gives_the_factory_the_activation_and_its_parameters():
    records.register(PLUGIN)
    name = f"build@{PLUGIN.digest}(dropout=0.25, units=3)"
    module = MODELS.call(name, 1, 4, 4, 10, activation=torch.nn.Tanh)
    assert [type(part).__name__ for part in module] == ["Flatten", "LazyLinear", "Tanh", "Dropout", "Linear"]
    assert (module[3].p, module[4].in_features) == (0.25, 3)


def test_damaged_architectures_are_refused():
    stored = own.to_json(own.from_json(json.loads(tried_here(MODULES, "build")[1]["architecture"])))
    for change in (
        {"units": -1},
        {"layers": []},
        {"layers": [{"shape": [1e400, 2]}]},
        {"layers": [{"shape": [9] * 99}]},
        {"more": 1},
        {"units": "1"},
    ):
        with pytest.raises(ValueError, match="not the architecture of a model"):
            own.from_json({**stored, **change})


class _Host:
    """A host that describes plugins in this process."""

    def describe(self, plugin):
        return described_here(plugin)


def test_two_files_may_each_have_a_model_of_one_name_only_if_they_are_named_by_their_files():
    plugins = [bundle(f"{MODULES}\n# {n}", f"models{n}.py") for n in (1, 2)]
    for plugin in plugins:
        describe.add(plugin, _Host())
    with pytest.raises(UserError, match=r"models2\.py: Net is a model of models1\.py, too; rename one"):
        described(plugins, _Host())
    names = described(plugins[:1], _Host())
    with naming(names):
        assert str(MODELS.resolve({"name": "build", "units": 8})) == f"build@{plugins[0].digest}(units=8)"
        assert str(MODELS.resolve(f"build@{plugins[1].digest}")) == f"build@{plugins[1].digest}"
