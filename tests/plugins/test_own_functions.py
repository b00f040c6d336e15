"""The functions of plugins: how they are described and tried, by the process that executes them."""

import re

import numpy as np
import pytest

from initbench import initializers
from initbench.errors import UserError
from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES
from initbench.functions.optimizers import OPTIMIZERS
from initbench.initializers import INITIALIZERS
from initbench.plugins import describe
from initbench.plugins.bundle import Bundle
from initbench.plugins.describe import Host, described
from initbench.random import streams
from initbench.registry import naming

LAYERS = [(784, 16), (16, 10)]

PLUGIN = '''
from typing import Literal
import numpy as np
import initbench as ib

@ib.initializer
def scaled_orthogonal(shape, *, gain: float = 1.1, seed=None, dtype="float32"):
    """Orthogonal weights times a gain.

    More of it.
    """
    return gain * ib.initializers.orthogonal(shape, seed=seed, dtype=dtype)

def bare(shape, std: float = 0.05, seed=None):
    return np.random.default_rng(seed).normal(0, std, shape)

@ib.initializer()
def by_position(shape, *, position, depth, activation, kind: Literal["a", "b"] = "b", times: int = 2, on: bool = True):
    value = 1.0 * {"first": 1, "hidden": 2, "last": 3}[position] * depth * times
    return np.full(shape, value if on and kind == "b" and activation == "tanh" else 0.0)

@ib.initializer
def whole(model, *, seed=None, dtype="float32"):
    return [(np.full(layer, 0.5, dtype), np.zeros(layer[1], dtype)) for layer in model.layers]

@ib.activation
def squared(x, *, scale: float = 1.0):
    """scale · relu(x)²."""
    return scale * x.clamp(min=0) ** 2

@ib.loss
def smoothed(output, labels, *, smoothing: float = 0.1):
    from torch.nn.functional import cross_entropy
    return cross_entropy(output, labels, label_smoothing=smoothing)

@ib.optimizer
def heavy(parameters, learning_rate, *, momentum: float = 0.99):
    import torch
    return torch.optim.SGD(parameters, learning_rate, momentum=momentum)

def _helper(shape):
    raise AssertionError("no initializer")
'''


def bundle(code: str, name: str = "my_schemes.py") -> Bundle:
    return Bundle(name, name, {name: code.encode()})


@pytest.fixture(scope="module")
def host():
    with Host() as host:
        yield host


@pytest.fixture(scope="module")
def names(host):
    return described([bundle(PLUGIN)], host)


def initializer(name, **changes):
    check = {"kind": "initializer", "name": name, "layers": LAYERS, "activation": "relu", "loss": "cross_entropy"}
    return check | {"output_activation": "identity", "bias": False} | changes


def mistake(host, code, kind="initializer"):
    """Return why a plugin with this code is refused, when it is described or when its function `f` is tried."""
    plugin = bundle(code)
    try:
        described([plugin], host)
    except UserError as error:
        return str(error)
    name = f"f@{plugin.digest}"
    return host.why_not(initializer(name) if kind == "initializer" else {"kind": kind, "name": name})


def test_functions_are_described_with_their_parameters_and_nothing_of_them_is_callable_here(names):
    digest = bundle(PLUGIN).digest
    assert names == {
        (kind, name): f"{name}@{digest}"
        for kind, of_kind in {
            "initializer": ["scaled_orthogonal", "bare", "by_position", "whole"],
            "activation": ["squared"],
            "loss": ["smoothed"],
            "optimizer": ["heavy"],
        }.items()
        for name in of_kind
    }
    record = INITIALIZERS[names["initializer", "scaled_orthogonal"]]
    assert record.summary == "Orthogonal weights times a gain."
    assert [(p.name, p.kind, p.default) for p in record.parameters] == [("gain", float, 1.1)]
    assert record.supplied >= {"seed", "dtype"}
    assert {
        p.name: (p.kind, p.default, p.choices) for p in INITIALIZERS[names["initializer", "by_position"]].parameters
    } == {
        "kind": (str, "b", ("a", "b")),
        "times": (int, 2, ()),
        "on": (bool, True, ()),
    }
    assert "network" in INITIALIZERS[names["initializer", "whole"]].tags
    assert ACTIVATIONS[names["activation", "squared"]].forward is None
    assert LOSSES[names["loss", "smoothed"]].kernel is None
    assert OPTIMIZERS[names["optimizer", "heavy"]].n_arrays == 6
    with pytest.raises(RuntimeError, match="executed by workers only"):
        record.function((2, 2))


def test_names_without_the_digest_are_valid_only_while_they_are_named(names):
    full = names["initializer", "scaled_orthogonal"]
    with naming(names):
        assert str(INITIALIZERS.resolve("scaled_orthogonal")) == full
        assert str(INITIALIZERS.resolve({"name": "scaled_orthogonal", "gain": 1.1})) == full
        assert str(INITIALIZERS.resolve({"name": "scaled_orthogonal", "gain": 2})) == f"{full}(gain=2.0)"
        with pytest.raises(ValueError, match=r"gain = 'x'; allowed: a finite number"):
            INITIALIZERS.resolve({"name": "scaled_orthogonal", "gain": "x"})
        with pytest.raises(ValueError, match="did you mean 'scaled_orthogonal'"):
            INITIALIZERS.resolve("scaled_ortogonal")
        on = {"name": "by_position", "on": False, "kind": "a"}
        call = str(INITIALIZERS.resolve(on))
        assert call.endswith("(kind='a', on=False)")
    assert str(INITIALIZERS.resolve(call)) == call
    with pytest.raises(ValueError, match="unknown initializer 'scaled_orthogonal'"):
        INITIALIZERS.resolve("scaled_orthogonal")


@pytest.mark.slow
def test_own_functions_that_fit_are_taken(host, names):
    for (kind, _), name in names.items():
        assert host.why_not(initializer(name) if kind == "initializer" else {"kind": kind, "name": name}) == ""
    own = f"per_layer(first={names['initializer', 'bare']}, hidden=he_normal, last=zeros)"
    assert host.why_not(initializer(own)) == ""
    # initbench's own initializers that look at the network, with an own activation
    assert host.why_not(initializer("lsuv", activation=names["activation", "squared"])) == ""
    assert "allowed: identity, relu, tanh" in host.why_not(
        initializer("random_walk", activation=names["activation", "squared"])
    )


def test_networks_of_any_width_and_depth_are_tried_as_they_train(host, names):
    wide = initializer(names["initializer", "bare"], layers=[(784, 8192), (8192, 8192), (8192, 10)])
    assert host.why_not(wide) == ""
    # Without a hidden layer the activation is the output's.
    code = NUMPY + "def f(shape, *, activation):\n    assert activation == 'tanh'\n    return np.zeros(shape)\n"
    alone = described([bundle(code)], host)["initializer", "f"]
    assert host.why_not(initializer(alone, layers=[(784, 10)], output_activation="tanh")) == ""
    assert "AssertionError" in host.why_not(initializer(alone, output_activation="tanh"))


def test_the_weights_are_those_of_the_function(host, names):
    seed = streams.weights(3, 0)
    shape = (12, 7)
    full = names["initializer", "scaled_orthogonal"]
    expected = np.float32(1.3) * initializers.orthogonal(shape, seed=3)
    W = host.weights(f"{full}(gain=1.3)", shape, seed=3)
    assert W.dtype == np.float32
    np.testing.assert_allclose(W, expected, rtol=1e-6)
    W = host.weights(names["initializer", "bare"], shape, seed=3)
    assert np.array_equal(W, np.random.default_rng(3).normal(0, 0.05, shape).astype(np.float32))
    supplied = {"position": "last", "depth": 4, "activation": "tanh"}
    assert (host.weights(names["initializer", "by_position"], shape, **supplied) == 24).all()
    assert seed.spawn_key  # what training supplies is a sequence, which default_rng takes


NUMPY = "import numpy as np\n"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\n", "my_schemes.py: defines no function that initbench can use; allowed: a function whose first"),
        (NUMPY + "raise ValueError('not today')", "my_schemes.py, line 2: ValueError: not today"),
        ("import sys\nsys.exit(3)", "my_schemes.py, line 2: it calls sys.exit"),
        (
            "def f(shape): return 1\ndef f(shape): return 2\n",
            "my_schemes.py, line 2, in f: f is defined 2 times; use different names",
        ),
        ("def he_normal(shape): return 1\n", "he_normal is an initializer of initbench; use another name"),
        ("def xavier_uniform(shape): return 1\n", "xavier_uniform is an initializer of initbench; use another name"),
        (
            "def f(shape, *, gain: float): return 1\n",
            "line 1, in f: its argument gain has no default; allowed: arguments with a default, as gain: float = 1.0",
        ),
        (
            "def f(shape, rng): return 1\n",
            "as rng: float = 1.0; if it is not an initializer, begin",
        ),
        (
            "def f(shape, *, gain: list = []): return 1\n",
            "its parameter gain is of type list; allowed: float, int, bool",
        ),
        ("def f(shape, *, n: int = 1.5): return 1\n", "its default n = 1.5; allowed: an integer"),
        (
            "def f(shape): return [[0.0]]\n",
            "my_schemes.py, line 1, in f: returned list; allowed: a NumPy array of shape (784, 16)",
        ),
        (
            NUMPY + "def f(shape): return np.zeros(shape[::-1])\n",
            "returned shape (16, 784) for shape = (784, 16); allowed: the shape that it was given, [fan_in, fan_out]",
        ),
        (NUMPY + "def f(shape, *, dtype): return np.zeros(shape)\n", "returned dtype float64 for dtype = float32"),
        (NUMPY + "def f(shape): return np.zeros(shape, int)\n", "returned dtype int64; allowed: a floating type"),
        (NUMPY + "def f(shape): return np.full(shape, np.nan)\n", "NaN or infinity in 12,544 of 12,544 weights"),
        (NUMPY + "def f(shape): return np.full(shape, 1e300)\n", "NaN or infinity in 12,544 of 12,544 weights"),
        (NUMPY + "def f(shape): return np.random.randn(*shape)\n", "returned other weights for the same seed"),
        (
            "def f(shape, *, gain: float = 0.0):\n    return 1 / gain\n",
            "line 2, in f: ZeroDivisionError: float division",
        ),
        ("import sys\ndef f(shape): sys.exit(1)\n", "my_schemes.py, line 2, in f: it calls sys.exit"),
        ("import initbench as ib\n@ib.initializer\ndef f(model): return []\n", "allowed: a list of 2 pairs"),
    ],
)
def test_a_plugin_with_a_mistake_is_refused_with_its_file_and_the_reason(host, code, message):
    assert message in mistake(host, code)


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [
        ("activation", "def f(x): return x.sum()", "returned shape () and torch.float32 for shape (8, 4)"),
        ("activation", "def f(x): return x.detach().clone()", "its result has no gradient"),
        ("activation", "def f(x): return x.log()", "returned NaN or infinity for inputs from -3 to 3"),
        ("activation", "def f(x): return 1.0", "returned float; allowed: a tensor of the shape (8, 4)"),
        (
            "activation",
            "def f(x): return x.nothing()",
            "line 3, in f: AttributeError: 'Tensor' object has no attribute",
        ),
        ("loss", "def f(output, labels): return output", "returned shape (8, 10); allowed: a tensor of one number"),
        ("loss", "def f(output): return output.mean()", "in f: takes 1 arguments; allowed: output, labels"),
        ("optimizer", "def f(parameters, learning_rate): return 1", "returned int; allowed: a torch.optim.Optimizer"),
        (
            "optimizer",
            "def f(parameters, learning_rate):\n    import torch\n    return torch.optim.LBFGS(parameters)",
            "my_schemes.py, line 3, in f: its step needs closure; allowed: a step() from the gradients of one batch",
        ),
    ],
)
def test_own_functions_in_pytorch_are_tried_too(host, kind, code, message):
    code = f"import initbench as ib\n@ib.{kind}\n{code}\n"
    assert message in mistake(host, code, kind)


@pytest.mark.slow
def test_classes_of_pytorch_are_functions_with_the_parameters_that_are_numbers(host):
    code = (
        "import torch\nfrom torch import nn\nimport initbench as ib\n"
        "@ib.activation\nclass Leaky(nn.Module):\n"
        "    def __init__(self, *, slope: float = 0.2, inplace: bool = False, name=None):\n"
        "        super().__init__()\n        self.slope = slope\n"
        "    def forward(self, x):\n        return torch.where(x > 0, x, self.slope * x)\n"
        "ib.optimizer(torch.optim.Adagrad)\nAdagrad = torch.optim.Adagrad\n"
    )
    names = described([bundle(code)], host)
    parameters = {p.name: p.default for p in ACTIVATIONS[names["activation", "Leaky"]].parameters}
    assert parameters == {"slope": 0.2, "inplace": False}
    assert {p.name for p in OPTIMIZERS[names["optimizer", "Adagrad"]].parameters} >= {"lr_decay", "eps"}
    for (kind, _), name in names.items():
        assert host.why_not({"kind": kind, "name": name}) == ""


def test_two_plugins_may_not_register_one_name(host):
    first, other = bundle("def f(shape): return 1\n", "one.py"), bundle("def f(shape): return 2\n", "other.py")
    with pytest.raises(UserError, match=r"other.py: f is an initializer of one.py, too; rename one"):
        described([first, other], host)


def test_what_a_plugin_prints_and_reads_harms_nothing(host):
    code = "import os, sys\nprint('{}')\nos.write(1, b'noise')\nassert sys.stdin.read() == ''\n"
    code += NUMPY + "def f(shape):\n    print('[]')\n    return np.zeros(shape)\n"
    assert mistake(host, code) == ""


@pytest.mark.slow
def test_a_plugin_that_ends_its_process_or_takes_too_long_is_refused_and_the_next_one_is_tried(monkeypatch):
    sleeps = "import time\ndef f(shape): time.sleep(60)\n"
    with Host() as host:
        assert "loading it and trying its functions ended the process (exit status 7)" in mistake(
            host, "import os\nos._exit(7)\n"
        )
        only_when_tried = (
            NUMPY + "import os\ndef f(shape):\n    if len(shape) > 1: os._exit(0)\n    return np.zeros(shape)\n"
        )
        assert "trying f ended the process (exit status 0)" in mistake(host, only_when_tried)
        monkeypatch.setattr(describe, "MAX_SECONDS", 3.0)
        assert "my_schemes.py: loading it and trying its functions took longer than 3 seconds" in mistake(host, sleeps)
        assert mistake(host, NUMPY + "def f(shape): return np.zeros(shape)\n") == ""


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("initializer", NUMPY + "OWN = np.random.default_rng().random()\ndef f(shape): return np.full(shape, OWN)\n"),
        (
            "initializer",
            NUMPY + "import os\ndef f(shape): return np.full(shape, float(os.getpid()))\n",
        ),
        (
            "initializer",
            NUMPY + "cache = {}\ndef f(shape, *, seed):\n    if shape not in cache:\n"
            "        cache[shape] = np.random.default_rng(seed).standard_normal(shape)\n    return cache[shape]\n",
        ),
        (
            "activation",
            "import initbench as ib\nscales = []\n@ib.activation\ndef f(x):\n"
            "    scales.append(x.detach().std())\n    return x / scales[0]\n",
        ),
        (
            "loss",
            "import initbench as ib\ncalls = []\n@ib.loss\ndef f(output, labels):\n"
            "    calls.append(1)\n    return len(calls) * output.square().mean()\n",
        ),
    ],
)
def test_what_depends_on_the_process_or_on_earlier_calls_is_refused(host, kind, code):
    why = mistake(host, code, kind)
    assert re.match(r"my_schemes\.py, line \d+, in f: returned (something else in another process|other weights)", why)


def test_the_order_of_a_set_and_random_numbers_that_training_seeds_are_the_same_in_every_process(host):
    hashed = NUMPY + "def f(shape, *, position): return np.full(shape, hash(position) % 7 / 7 + 0.1)\n"
    assert mistake(host, hashed) == ""
    drawn = NUMPY + "import random\nA = np.random.randn() + random.random()\ndef f(shape): return np.full(shape, A)\n"
    assert mistake(host, drawn) == ""
    drawn = "import torch\nimport initbench as ib\n@ib.activation\ndef f(x): return x * torch.rand(())\n"
    assert mistake(host, drawn, "activation") == ""
