"""The code of a function that a user passes is that of its file, its package or its cell, and does the same."""

import functools
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from initbench.api.grids import grid_of
from initbench.data.own import LOADERS
from initbench.errors import UserError
from initbench.models.built_in import MODELS
from initbench.plugins import bundle, loader, records
from initbench.plugins.marks import kind_of
from initbench.plugins.records import functions
from initbench.plugins.source import bundle_of
from initbench.system import children

shell = pytest.importorskip("IPython.core.interactiveshell", reason="IPython is not installed")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Write a user's modules into a folder from which they can be imported; they are forgotten at the end."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


class Notebook:
    """An IPython shell whose module is `__main__`, as in a notebook."""

    def __init__(self, monkeypatch):
        self.shell = shell.InteractiveShell()
        monkeypatch.setitem(sys.modules, "__main__", self.shell.user_module)

    def run(self, text):
        result = self.shell.run_cell(textwrap.dedent(text))
        result.raise_error()

    def __getitem__(self, name):
        return self.shell.user_ns[name]


@pytest.fixture
def notebook(monkeypatch):
    return Notebook(monkeypatch)


def loaded(thing, kind=""):
    """Return the function as a worker has it, which must be the only one that its bundle registers."""
    code, name = bundle_of(thing, kind)
    module = loader.load(bundle.Bundle.from_json(code.to_json()))
    registered = functions(module, code)
    assert [key[1] for key in registered] == [name]
    return next(iter(registered.values()))


def error_of(thing, kind=""):
    with pytest.raises(UserError) as caught:
        bundle_of(thing, kind)
    (line,) = caught.value.lines
    return line


# ---------------------------------------------------------------------------------------------------------------------
# Files and packages


def test_a_marked_function_of_a_file_has_the_bundle_of_that_file(project, tmp_path):
    project({"own.py": "import initbench as ib\nimport extra\n@ib.initializer\ndef f(shape): ...", "extra.py": ""})
    code, name = bundle_of(importlib.import_module("own").f)
    assert name == "f"
    assert code == bundle.read("own.py")
    assert set(code.files) == {"own.py", "extra.py"}


def test_a_function_that_is_not_marked_is_marked_by_the_main_file_as_what_it_is_used(project):
    project({"own.py": "def f(x): return 2 * x\ndef zeros(shape): ...\ndef g(output, labels): ..."})
    own = importlib.import_module("own")
    f = loaded(own.f, "activation")
    assert kind_of(f) == "activation"
    assert f(3) == 6
    assert kind_of(own.f) == ""
    assert bundle_of(own.f, "activation")[0].digest != bundle_of(own.f, "loss")[0].digest
    assert bundle_of(own.f, "activation")[0].path == "own.py"


def test_a_function_of_a_package_comes_with_the_files_of_the_package(project):
    files = {
        "pack/__init__.py": "def top(shape): return 'top'",
        "pack/deep/inits.py": "from ..scales import two\nimport beside\ndef f(shape): return two * beside.x",
        "pack/scales.py": "two = 2",
        "beside.py": "x = 4",
        "unrelated.py": "",
    }
    project(files)
    f = importlib.import_module("pack.deep.inits").f
    assert loaded(f)(None) == 8
    code, _ = bundle_of(f)
    assert set(code.files) == files.keys() - {"unrelated.py"} | {"pack.deep.inits.f.py"}
    assert loaded(importlib.import_module("pack").top)(None) == "top"


def test_an_error_in_a_function_of_a_file_has_that_files_name_and_line(project):
    project({"sub/pack/own.py": "\ndef f(shape): 1 / 0"})
    sys.path.insert(0, "sub")
    f = importlib.import_module("pack.own").f
    sys.path.remove("sub")
    code, _ = bundle_of(f)
    with pytest.raises(ZeroDivisionError) as caught:
        loaded(f)(None)
    assert loader.located(caught.value, code) == "sub/pack/own.py, line 2, in f: ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("thing", "kind"),
    [(torch.nn.Mish, "activation"), (torch.optim.RAdam, "optimizer"), (torch.nn.functional.celu, "activation")],
)
def test_a_function_of_an_installed_package_is_imported_and_not_marked_itself(thing, kind):
    code, name = bundle_of(thing, kind)
    (content,) = code.files.values()
    version = torch.__version__.partition("+")[0]
    assert content.decode().splitlines()[0] == f"# {name} of torch {version}, marked as {kind}"
    own = loaded(thing, kind)
    assert inspect.signature(own) == inspect.signature(thing)
    assert kind_of(own) == kind
    assert kind_of(thing) == ""
    if kind == "activation":
        x = torch.linspace(-2, 2, 9)
        ours, theirs = (f()(x) if isinstance(f, type) else f(x) for f in (own, thing))
        assert torch.equal(ours, theirs)


def test_another_version_of_the_package_has_another_digest(monkeypatch):
    before = bundle_of(torch.nn.Mish, "activation")[0]
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0+cu99")
    after = bundle_of(torch.nn.Mish, "activation")[0]
    assert b"torch 1.0," in after.files[after.main]
    assert before.digest != after.digest
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0+cpu")
    assert bundle_of(torch.nn.Mish, "activation")[0].digest == after.digest


def test_functions_that_are_not_written_in_python_are_imported_too():
    x = torch.linspace(-1, 1, 5)
    for thing in (torch.sin, torch.nn.functional.hardshrink, torch.nn.functional.softplus):
        assert torch.equal(loaded(thing, "activation")(x), thing(x))


MISTAKES = [
    (lambda x: x, "given a lambda; define it with def, so that it has a name"),
    (functools.partial(np.zeros, 3), "given a functools.partial of zeros; with parameters: {'name': zeros, 'p"),
    ("".join, "join: its source is not available; "),
    (3, "given 3; allowed: a function or a class"),
    (
        torch.nn.Mish(),
        "given Mish(); allowed: a function or a class; with parameters: {'name': Mish, 'parameter': value}",
    ),
    (
        Notebook.run.__get__(object()),
        "given the method Notebook.run of an object; define a function with def that calls it",
    ),
    (Notebook.run, "run: it is defined in the class Notebook; define it at the top of the file or the cell"),
]


@pytest.mark.parametrize(("thing", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_what_has_no_name_in_a_file_is_refused_with_the_remedy(thing, message):
    assert error_of(thing).startswith(message)


def test_a_nested_function_is_refused_with_the_variables_that_it_uses():
    gain, table = 2, []

    def closure(shape):
        return gain, table

    def nested(shape):
        return shape

    assert error_of(closure) == (
        "closure: it uses local variables of the function that defines it (gain, table); define it at the top of the "
        "file or the cell, and make them keyword arguments with defaults"
    )
    outer = "test_a_nested_function_is_refused_with_the_variables_that_it_uses"
    assert error_of(nested) == f"nested: it is defined inside {outer}; define it at the top of the file or the cell"


def test_a_function_marked_as_another_kind_is_refused(project):
    project({"own.py": "import initbench as ib\n@ib.loss\ndef f(a, b): ..."})
    assert error_of(importlib.import_module("own").f, "activation") == (
        "f: it is marked as loss; allowed: functions and classes marked as activation, or not marked"
    )


def test_a_name_that_means_something_else_by_now_is_refused(project):
    project({"own.py": "def f(shape): ..."})
    own = importlib.import_module("own")
    old, own.f = own.f, None
    assert error_of(old) == "f: own.f is something else; pass what is defined there as f"


def test_a_module_that_was_imported_under_another_name_is_refused(project, tmp_path):
    project({"own.py": "def f(shape): ..."})
    spec = importlib.util.spec_from_file_location("renamed", tmp_path / "own.py")
    module = sys.modules["renamed"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert error_of(module.f) == "own.py: it was not imported as a file of that name, but as renamed"


def test_a_function_of_a_file_that_no_longer_parses_is_refused_with_its_line(project):
    project({"own.py": "def f(shape): ..."})
    f = importlib.import_module("own").f
    project({"own.py": "\ndef f(shape) ..."})
    assert error_of(f) == "own.py, line 2: SyntaxError: expected ':'"


# ---------------------------------------------------------------------------------------------------------------------
# Notebooks


def test_a_function_of_a_cell_comes_with_all_that_it_uses(notebook, project):
    project({"helper.py": "def triple(x): return 3 * x\nimport lower", "lower.py": "", "unrelated.py": ""})
    project({"space/inner.py": "x = 5"})
    notebook.run("""
        import numpy as np
        import math, xml
        import xml.etree.ElementTree
        import helper
        import space.inner
        import torch.nn.functional as F
        from functools import wraps
        from math import sqrt as root
        from typing import Literal
        from helper import triple
        import initbench as ib
        GAIN, SIZES, NAME, UNUSED = 2.5, (1, (True, None)), "é'", [1]
        LIMIT = float("inf")
        HALF = np.sqrt(np.float32(0.25))
        DTYPE = F.relu(ib.losses and __import__("torch").ones(1)).dtype
        """)
    notebook.run("""
        def base(shape):
            return np.full(shape, GAIN) if shape else other(shape)

        class Table:
            '''A table.'''
            size = 3

            def cells(self):
                return helper.triple(self.size)
        """)
    notebook.run("""
        def other(shape):
            return base(shape)  # each calls the other

        def decorated(function):
            @wraps(function)
            def called(*arguments, **keywords):
                return function(*arguments, **keywords)
            return called

        again = base
        """)
    notebook.run("""
        x = 1  # a comment

        @ib.initializer
        @decorated
        def own(shape, *, mode: Literal["a", "b"] = "a", gain: "float" = GAIN, **_: "np.ndarray") -> np.ndarray:
            '''Own weights.'''
            assert xml.etree.ElementTree.fromstring("<a/>").tag == "a"
            values = [base(shape) * root(4), again(shape), Table().cells(), triple(1), space.inner.x]
            values += [SIZES, NAME, LIMIT, HALF, DTYPE]
            return values, [np for np in range(2)], len(values), F.relu(ib.losses and _torch().ones(1)).item(), __name__

        def _torch():
            import torch
            return torch
        """)
    assert bundle_of(notebook["own"])[1] == "own"
    own, original = loaded(notebook["own"]), notebook["own"]
    ours, theirs = own((2,)), original((2,))
    np.testing.assert_equal(ours[:-1], theirs[:-1])
    assert [type(value) for value in ours[0]] == [type(value) for value in theirs[0]]
    assert inspect.signature(own, eval_str=True) == inspect.signature(original, eval_str=True)
    code, _ = bundle_of(original)
    assert set(code.files) == {"notebook_cell.own.py", "notebook_cell.py", "helper.py", "lower.py", "space/inner.py"}
    text = code.files["notebook_cell.py"].decode()
    assert "UNUSED" not in text
    assert text.count("import xml") == 1
    assert "x = 1" not in text
    assert code.path == "notebook"


def test_models_and_data_sets_of_a_cell_come_with_their_layers_and_helpers(notebook):
    notebook.run("""
        import numpy as np
        import torch
        from torch import nn
        import torch.nn.functional as F

        class Block(nn.Module):
            def __init__(self, channels):
                super().__init__()
                self.convolution = nn.Conv2d(channels, channels, 3, padding=1)

            def forward(self, x):
                return x + torch.tanh(self.convolution(F.relu(x)))

        class Net(nn.Module):
            def __init__(self, channels, height, width, classes, *, blocks: int = 1):
                super().__init__()
                self.blocks, self.last = nn.Sequential(*[Block(channels)] * blocks), nn.Linear(channels, classes)

            def forward(self, x):
                return self.last(self.blocks(x).mean((2, 3)))

        SIZE = 24

        def load():
            y = np.arange(SIZE) % 2
            return {"x_train": y[:, None], "y_train": y, "x_test": y[:, None], "y_test": y}
        """)
    model, _ = bundle_of(notebook["Net"], "model")
    data, name = bundle_of(notebook["load"], "dataset")
    assert "ib.model(Net)" in model.files[model.main].decode()
    records.register(model)
    records.register(data)
    torch.manual_seed(0)
    module = MODELS.call(f"Net@{model.digest}(blocks=2)", 3, 4, 4, 10)
    assert module(torch.ones(2, 3, 4, 4)).shape == (2, 10)
    assert LOADERS.call(f"{name}@{data.digest}").train_labels.tolist() == [0, 1] * 12


def test_functions_of_a_cell_and_of_pytorch_can_stand_in_a_grid(notebook):
    notebook.run("""
        import torch
        import initbench as ib

        GAIN = 1.1

        def scaled_orthogonal(shape, *, gain: float = GAIN, seed=None):
            return gain * ib.initializers.orthogonal(shape, seed=seed)

        settings = {
            "initializer": ["he_normal", scaled_orthogonal, {"name": scaled_orthogonal, "gain": 1.3}],
            "activation": ["relu", torch.nn.Mish, torch.sin],
            "hidden": [4],
        }
        """)
    grid, _ = grid_of(notebook["settings"], None, None)
    names = {re.sub("@.*?(?=$|\\()", "", str(value)) for values in grid.axes.values() for value in values}
    assert {"scaled_orthogonal", "scaled_orthogonal(gain=1.3)", "Mish", "sin"} <= names
    assert len(grid.plugins) == 3


def test_the_same_source_has_the_same_digest_whichever_cell_it_is_in(notebook, monkeypatch):
    cell = "def f(shape, *, gain: float = 1.0):\n    return g(shape) * gain + A + B\n"
    notebook.run("def g(x): return x\nA, B = 1, 2")
    notebook.run(cell)
    first = bundle_of(notebook["f"])[0].digest
    notebook.run("B = 2\n\nprint('other')\n" + cell + "\ndef g(x): return x\nA = 1")
    assert bundle_of(notebook["f"])[0].digest == first
    other = Notebook(monkeypatch)
    other.run("A = 1\n" + cell + "def g(x): return x\nB = 2")
    assert bundle_of(other["f"])[0].digest == first
    other.run("A = 2")
    assert bundle_of(other["f"])[0].digest != first


def test_a_function_may_stand_in_the_cell_with_the_import_that_it_uses(notebook):
    cell = "def f(shape):\n    return np.zeros(3) + shape\n"
    notebook.run("import numpy as np\n" + cell)  # what this call compiles to depends on the import in the same cell
    first = bundle_of(notebook["f"])[0].digest
    notebook.run(cell)
    assert bundle_of(notebook["f"])[0].digest == first


def test_classes_of_cells_are_taken_with_their_bases(notebook):
    notebook.run("""
        import torch
        from dataclasses import dataclass

        @dataclass
        class Options:
            slope: float = 0.5

        class Base(torch.nn.Module):
            def forward(self, x):
                return self.slope * x
        """)
    notebook.run("""
        class Own(Base):
            def __init__(self, slope: float = Options().slope):
                super().__init__()
                self.slope = slope
        """)
    own = loaded(notebook["Own"], "activation")
    assert own()(2.0) == 1.0
    assert own(3.0)(2.0) == 6.0


def test_a_compiled_function_and_one_with_lazy_annotations_are_taken_from_a_cell(notebook):
    notebook.run("""
        from __future__ import annotations
        import numba

        @numba.njit
        def double(x):
            return 2 * x

        def f(shape: Undefined, *, gain: float = 1.0) -> numba.Nothing:
            return double(shape)
        """)
    assert loaded(notebook["f"])(4) == 8
    assert loaded(notebook["double"], "activation")(4) == 8


CELLS = [
    ("f = lambda shape: shape", "given a lambda"),
    ("values = [1]\ndef f(shape): return values", "f: it uses the global variable values (list), which"),
    (
        "import torch\nt = torch.ones(2)\ndef g(shape): return t\ndef f(shape): return g(shape)",
        "g: it uses the global variable t (Tensor), which cannot be written to a file; define it inside the function",
    ),
    ("g = lambda x: x\ndef f(shape): return g(shape)", "f: it uses the global variable g (a lambda), which"),
    ("def f(shape): return missing(shape)", "f: it uses missing, which is not defined"),
    ("def f(shape): display(shape)", "f: it uses display, which is not defined"),
    ("n = 0\ndef f(shape):\n    global n\n    n += 1", "f: it assigns the global variable n; return the value"),
    (
        "def make(gain):\n    def f(shape): return gain\n    return f\nf = make(1)",
        "f: it uses local variables of the function that defines it (gain); define it at the top of the file or the",
    ),
    (
        "def wrap(g):\n    def inner(shape): return g(shape)\n    return inner\n@wrap\ndef f(shape): ...",
        "inner: it uses local variables of the function that defines it (g); define it at the top of the file or the "
        "cell, and make them keyword arguments with defaults; if a decorator returned it, that needs functools.wraps",
    ),
    ("def g(shape): ...\nf = g\ndef g(): ...", "g: it is not what def g defines; "),
    ("import numba\ndef f(shape): ...\nf = numba.njit(f)", "f: it is not what def f defines; write what wraps it as"),
    ("import functools\ndef g(shape): ...\nf = functools.cache(g)", "g: it is not what def g defines; "),
    ("exec('def f(shape): return 1')", "f: its source is not available; define it in a notebook cell, or in a file"),
]


@pytest.mark.parametrize(("cell", "message"), CELLS, ids=[c for c, _ in CELLS])
def test_what_a_cell_cannot_give_is_refused_with_the_remedy(notebook, cell, message):
    notebook.run(cell)
    assert error_of(notebook["f"]).startswith(message)


# ---------------------------------------------------------------------------------------------------------------------
# Scripts


def test_a_function_of_a_script_is_taken_without_running_the_script_again(tmp_path):
    (tmp_path / "helper.py").write_text("x = 3\ndef function(shape): return shape")
    (tmp_path / "script.py").write_text(
        textwrap.dedent("""
        import json
        import helper
        from initbench.plugins.source import bundle_of

        GAIN = 2

        def own(shape, *, gain: float = 1.0):
            return GAIN * helper.x + helper.function(shape)

        for _ in range(100):  # specializes its instructions
            own(0)

        class Plain:
            size = GAIN

        print(json.dumps([bundle_of(thing)[0].to_json() for thing in (own, Plain)]))
        """)
    )
    printed = subprocess.check_output(
        [sys.executable, tmp_path / "script.py"], env=children.environment({}) | {"PYTHONSAFEPATH": ""}, text=True
    )
    own, plain = map(bundle.Bundle.from_json, __import__("json").loads(printed))
    assert loader.load(own).own(0) == 6
    assert loader.load(plain).Plain.size == 2
    assert set(own.files) == {"script_code.py", "script_code.own.py", "helper.py"}
    assert b"print" not in b"".join(own.files.values())
    assert own.path == "script.py"


@pytest.mark.parametrize("change", ["2 * shape", "1 + shape", "1 * shape\nx ="])
def test_a_script_that_changed_since_it_started_is_refused(tmp_path, change):
    (tmp_path / "script.py").write_text(
        textwrap.dedent("""
        import pathlib, sys
        from initbench.errors import UserError
        from initbench.plugins.source import bundle_of

        def own(shape):
            return 1 * shape

        path = pathlib.Path(__file__)
        path.write_text(path.read_text().replace("1 * shape", sys.argv[1]))
        try:
            bundle_of(own)
        except UserError as error:
            print(error)
        """)
    )
    printed = subprocess.check_output(
        [sys.executable, tmp_path / "script.py", change], env=children.environment({}), text=True
    )
    assert printed == "own: its source has changed since it was defined; run it again\n"


# ---------------------------------------------------------------------------------------------------------------------
# What was changed after its definition

CHANGED_CELLS = [
    (
        "G = 2.0\ndef f(shape, *, gain: float = G): ...\nG = 3.0",
        "f: the default gain of f is 2.0 and its source says 3.0 now; run its definition again",
    ),
    (
        "G = 2.0\ndef f(shape, *, gain: float = -2 * G ** 2): ...\nG = 3.0",
        "f: the default gain of f is -8.0 and its source says -18.0 now; run its definition again",
    ),
    (
        "G = 1\ndef g(x, gain=G): ...\nG = 2\ndef f(shape): return g(shape)",
        "g: the default gain of g is 1 and its source says 2 now; run its definition again",
    ),
    (
        "def f(shape, *, gain: float = 2.0): ...\nf.__kwdefaults__['gain'] = 3.0",
        "f: the default gain of f is 3.0 and its source says 2.0 now; run its definition again",
    ),
    (
        "def f(shape, gain=2.0, other=1): ...\nf.__defaults__ = (1,)",
        "f: the default gain of f was removed; run its definition again",
    ),
    (
        "def f(shape, gain): ...\nf.__defaults__ = (1,)",
        "f: the default gain of f is 1 and its source has none; run its definition again",
    ),
    (
        "def h(x): return 1\ndef f(shape, *, of=h): ...\ndef h(x): return 2",
        re.compile("f: the default of of f is <function h at 0x.*> and its source says <function h at 0x.*> now; run"),
    ),
    (
        "def f(shape, *, of=lambda x: x, n=float('nan')): ...\nf.__kwdefaults__['of'] = len",
        re.compile("f: the default of of f is <built-in function len> and its source says <function <lambda> at"),
    ),
    (
        "G = 1\nclass f:\n    def __init__(self, gain=G): ...\nG = 2",
        "f: the default gain of __init__ is 1 and its source says 2 now; run its definition again",
    ),
    ("class f:\n    scale = 0.5\nf.scale = 2", "f: scale is 2 and its source says 0.5 now; run its definition again"),
    ("G = 1\nclass f:\n    size = G\nG = 2", "f: size is 1 and its source says 2 now; run its definition again"),
    (
        "class f:\n    def forward(self, x): return x\ndef g(self, x): return 2 * x\nf.forward = g",
        "f: forward is not what its source defines; run its definition again",
    ),
    (
        "class f:\n    def a(self): ...\n    def forward(self, x): return x\nold = f\n"
        "class f:\n    def a(self): ...\n    def forward(self, x): return 2 * x\nf.forward = old.forward",
        "f: forward is not what its source defines; run its definition again",
    ),
    (
        "class f:\n    def scale(self): ...\nf.forward = lambda self, x: 2 * x",
        "f: forward is not in its source; run its definition again",
    ),
    (
        "class A:\n    x = 1\nclass f(A):\n    y = 1\nclass A:\n    x = 2",
        "f: its base A has been defined again; run its definition again",
    ),
]


@pytest.mark.parametrize(("cell", "message"), CHANGED_CELLS, ids=[c for c, _ in CHANGED_CELLS])
def test_what_a_cell_defined_and_is_something_else_by_now_is_refused(notebook, cell, message):
    notebook.run(cell)
    line = error_of(notebook["f"])
    assert message.match(line) if isinstance(message, re.Pattern) else line == message
    cell = re.sub(r"^(f\..*|G = 3.*|G = 2)$", "", cell, flags=re.MULTILINE)
    if not re.search("old|class A|def h", cell):
        notebook.run(cell)
        bundle_of(notebook["f"])


def test_unchanged_definitions_of_all_kinds_are_taken(notebook):
    notebook.run("""
        import enum, functools, dataclasses, typing
        import numpy as np
        import torch
        from collections import namedtuple

        class Color(enum.Enum):
            RED = 1

        class Pair(typing.NamedTuple):
            left: float = 0.5

        @dataclasses.dataclass(slots=True)
        class Slots:
            size: int = 3

        def identity(x):
            return x

        if True:
            class Module(torch.nn.Module):
                '''A module

                of several lines.
                '''
                names = ("a", -1, None)
                limit = float("inf")
                color, table = Color.RED, [1]
                calls = 0

                def __init__(self, slope=np.sqrt(2), inner=lambda x: x, f=identity, g=np.zeros(3), *, c=Color.RED):
                    '''Text
                    of several lines
                    '''
                    super().__init__()
                    type(self).calls += 1
                    self.pair, self.slots, self.size = Pair(), Slots(), namedtuple("Size", "n")

                @property
                def both(self, n=1): return n
                @both.setter
                def both(self, n): ...
                @staticmethod
                def static(x=Pair().left): return x
                @classmethod
                def of(cls, x=names): return x
                @functools.cached_property
                def cached(self): return 1
                @torch.no_grad()
                def forward(self, x, seed=np.random.default_rng(3)): return x

            class Base:
                def step(self): ...

            class Inherits(Base):
                class Outer: ...
                class Inner(Outer): ...
                def other(self): ...

        @functools.wraps(Base.step)
        def profiled(self): ...

        Inherits.step = profiled  # as optimizers of PyTorch do
        Module();
        """)
    bundle_of(notebook["Module"], "activation")
    bundle_of(notebook["Inherits"], "optimizer")


EDITS = {
    "function": ("return 1 * x", "return 12 * x", "own.py: f is not what its source defines: "),
    "constant": ("SCALE = 0.5", "SCALE = 0.75", "own.py: SCALE is 0.5 and its source says 0.75 now: "),
    "default": ("gain=2.0", "gain=3.25", "own.py: the default gain of f is 2.0 and its source says 3.25 now: "),
    "attribute": ("size = 3", "size = 42", "own.py: size is 3 and its source says 42 now: "),
    "method": ("return 2 * x", "return 22 * x", "own.py: forward is not what its source defines: "),
    "statement": ("[1]", "[1, 2]", "own.py: its statements are others: "),
}
OWN = """
    import helper
    SCALE = 0.5
    LIMIT: float = -SCALE
    TABLE = [1]
    def f(shape, gain=2.0, limit=LIMIT, other=helper.X): return 1 * x
    class Own:
        size = 3
        def forward(self, x): return 2 * x
    """
REMEDY = "the file was edited after its import, or the module was changed; reload it (importlib.reload), or restart"


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("mark", ["", "import initbench as ib\nib.initializer(f)\n"])
def test_a_function_of_a_file_that_was_edited_after_its_import_is_refused_until_it_is_loaded_again(
    project, monkeypatch, edit, mark
):
    before, after, message = EDITS[edit]
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    text = textwrap.dedent(OWN) + mark
    project({"own.py": text, "helper.py": "X = 1"})
    own = importlib.import_module("own")
    first = bundle_of(own.f, "initializer")[0].digest
    project({"own.py": "# a comment moves its lines\n" + text})
    assert bundle_of(own.f, "initializer")[0].digest != first
    project({"own.py": text.replace(before, after)})
    assert error_of(own.f, "initializer") == message + REMEDY
    importlib.reload(own)
    bundle_of(own.f, "initializer")


def test_a_module_that_a_function_imports_is_compared_with_its_file_too(project, notebook):
    project({"own.py": "import pack.lower\ndef f(shape): ...", "pack/lower.py": "X = 1\ndef g(): return 1"})
    notebook.run("import own, pack.lower as lower\ndef f(shape): return own.f(lower.X)")
    functions_of_it = [importlib.import_module("own").f, notebook["f"]]
    for thing in functions_of_it:
        bundle_of(thing)
    project({"pack/lower.py": "X = 1\ndef g(): return 222"})
    for thing in functions_of_it:
        assert error_of(thing) == "pack/lower.py: g is not what its source defines: " + REMEDY


PATCHES = {
    "own.f.__defaults__ = (1.0,)": "own.py: the default gain of f is 1.0 and its source says 2.0 now: ",
    "own.g.__kwdefaults__['gain'] = 3": "own.py: the default gain of g is 3 and its source says 0.5 now: ",
    "own.SCALE = 1": "own.py: SCALE is 1 and its source says 0.5 now: ",
    "own.within.__defaults__ = (2,)": "own.py: the default gain of within is 2 and its source says 1 now: ",
    "own.g = len": "own.py: g is not what its source defines: ",
    "own.Own.size = 1": "own.py: size is 1 and its source says 3 now: ",
    "own.Own.forward = own.f": "own.py: forward is not what its source defines: ",
}


@pytest.mark.parametrize("patch", PATCHES)
def test_a_module_that_was_changed_after_its_import_is_refused(project, patch):
    project({
        "own.py": """
            SCALE = 0.5
            def f(shape, gain=2.0): ...
            def g(x, *, gain=SCALE): ...
            if SCALE:
                def within(gain=1): ...
            class Own:
                size = 3
                def forward(self, x): ...
            """
    })  # fmt: skip
    own = importlib.import_module("own")
    bundle_of(own.f)
    exec(patch, {"own": own})
    assert error_of(own.f) == PATCHES[patch] + REMEDY


def test_a_module_that_changes_itself_is_that_of_its_file(project):
    project({
        "own.py": """
            G = 1
            def f(shape, gain=G): return count()
            G, state, names, _made = 2, {}, frozenset({"a", "b", ("c", 1)}), None
            calls = 0
            def count():
                global calls
                calls += 1
                state[calls] = {"a", "b"} if calls in {1, 2, "x"} else set()
                return calls
            try:
                import missing_module
            except ImportError:
                missing_module = None
            from typing import TypedDict
            class Table(TypedDict):
                x: int
            class Own(Table): ...
            class Moved:
                __module__ = "elsewhere"
                size = 1
                def __private(self, __x=1): ...
                def forward(self): ...
            def forward(self): ...
            Moved.forward, Moved.size, Moved.new = forward, 2, forward
            _sum = sum
            def sum(x): ...
            """
    })  # fmt: skip
    own = importlib.import_module("own")
    own.f(1)
    assert loaded(own.f)(1) == 1
