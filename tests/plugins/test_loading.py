"""A plugin's modules are executed from the bytes of its bundle, apart from all others, and errors show their place."""

import inspect
import json
import subprocess
import sys
import textwrap
import traceback

import numpy as np
import pytest
import torch

from initbench.plugins import bundle, loader


@pytest.fixture
def plugin(tmp_path):
    """Write a plugin's files, and return the bundle of `my_schemes.py`."""

    def write(main, **others):
        for name, text in {"my_schemes": main, **others}.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        return bundle.read(tmp_path / "my_schemes.py", "my_schemes.py")

    return write


def plugin_modules():
    return {name for name in sys.modules if name.startswith(loader.PREFIX)}


def load_error(code):
    with pytest.raises(loader.PluginError) as caught:
        loader.load(code)
    (line,) = caught.value.lines
    return line


def test_a_plugin_is_executed_once_and_its_modules_are_named_by_its_digest(plugin):
    code = plugin("import helper\nvalues = []\nvalues.append(helper.x)", helper="x = 5")
    module = loader.load(code)
    assert module.values == [5]
    assert loader.load(code) is module
    assert module.__name__ == f"initbench_plugin_{code.digest}.my_schemes"
    assert module.helper.__name__ == f"initbench_plugin_{code.digest}.helper"
    assert "helper" not in sys.modules
    assert "my_schemes" not in sys.modules


def test_two_versions_of_a_plugin_and_of_its_helper_are_loaded_side_by_side(plugin):
    versions = [
        loader.load(
            plugin(
                f"from helper import scale\ndef f():\n    import helper\n    return {n} * scale(), helper.scale()",
                helper=f"def scale(): return {10 * n}",
            )
        )
        for n in (1, 2)
    ]
    assert [module.f() for module in versions] == [(10, 10), (40, 20)]
    assert [inspect.getsource(module.f).splitlines()[-1].split()[1] for module in versions] == ["1", "2"]
    assert [inspect.getsource(module.scale).split()[-1] for module in versions] == ["10", "20"]


def test_an_installed_module_does_not_hide_the_one_beside_nor_is_it_hidden_for_others(plugin):
    import scipy

    module = loader.load(plugin("import scipy, numpy\nx = scipy.x", scipy="x = 'beside'", numpy="x = 'beside'"))
    assert module.x == "beside"
    assert module.numpy is np
    assert sys.modules["scipy"] is scipy


def test_modules_that_import_each_other_see_one_another_as_in_a_script(plugin):
    module = loader.load(
        plugin("import a\nimport b\n", a="import b\ndef f(): return b.g() + 1", b="import a\ndef g(): return 1")
    )
    assert module.a.f() == 2
    assert module.a.b is module.b
    assert module.b.a is module.a


def test_a_helper_may_import_the_main_file(plugin):
    module = loader.load(plugin("x = 3\nimport helper", helper="from my_schemes import x\ny = x + 1"))
    assert module.helper.y == 4


def test_packages_beside_the_file_work_with_relative_and_dotted_imports(plugin):
    module = loader.load(
        plugin(
            """
            import pack.inner.deep
            import pack.inner.deep as alias
            from pack import inner, sibling
            from pack.inner.deep import value as again
            from . import other
            """,
            **{
                "pack/__init__": "from .sibling import s",
                "pack/sibling": "s = 7",
                "pack/inner/__init__": "",
                "pack/inner/deep": "from ..sibling import s\nfrom . import __name__ as parent\nvalue = s * 2",
                "other": "o = 1",
            },
        )
    )
    assert module.pack.inner.deep.value == module.again == 14
    assert module.alias is module.pack.inner.deep is module.inner.deep
    assert module.sibling.s == module.pack.s == 7
    assert module.other.o == 1


def test_a_folder_without_init_is_a_package_if_it_has_the_module(plugin):
    assert loader.load(plugin("from space.mod import x", **{"space/mod": "x = 2"})).x == 2


def test_what_libraries_do_with_modules_works_in_a_plugin(plugin):
    module = loader.load(
        plugin(
            """
            from __future__ import annotations

            from dataclasses import dataclass, field
            from typing import ClassVar, NamedTuple
            import numba
            import numpy as np
            import torch
            import initbench as ib

            @dataclass
            class Options:
                gain: float = 2.0
                kinds: ClassVar[int] = 3
                others: list[int] = field(default_factory=list)

            class Pair(NamedTuple):
                a: int
                b: int = 2

            class Scaled(torch.nn.Module):
                def __init__(self, gain: float = 2.0):
                    super().__init__()
                    self.gain = gain

                def forward(self, x):
                    return self.gain * x

            @numba.njit
            def double(x):
                return 2 * x

            def weights(shape, *, seed=None):
                return ib.initializers.he_normal(shape, seed=seed)
            """
        )
    )
    assert module.Options(3.0) == module.Options(3.0, [])
    assert module.Options.__dataclass_fields__.keys() == {"gain", "kinds", "others"}
    assert module.Pair(1) == (1, 2)
    assert torch.equal(module.Scaled()(torch.ones(2)), torch.full((2,), 2.0))
    assert module.double(4) == 8
    assert module.double.nopython_signatures
    assert module.weights((3, 2), seed=0).shape == (3, 2)
    assert inspect.getsource(module.Scaled).startswith("class Scaled(torch.nn.Module):")
    assert inspect.getsource(module).lstrip().startswith("from __future__")


def test_the_block_of_a_script_does_not_run(plugin):
    assert loader.load(plugin('x = 1\nif __name__ == "__main__":\n    raise ValueError')).x == 1


def test_a_plugin_does_not_change_the_path_of_others(plugin, tmp_path):
    before = list(sys.path)
    entries = sys.path
    loader.load(plugin(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nsys.path.append('x')\nprint(1)"))
    load_error(plugin("import sys\nsys.path = None\n1 / 0"))
    assert sys.path is entries
    assert sys.path == before


def test_a_plugin_is_not_found_through_the_working_directory(plugin, tmp_path, monkeypatch):
    code = plugin("import importlib\nimportlib.import_module('late')")
    (tmp_path / "late.py").write_text("x = 1")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    assert load_error(code) == (
        "my_schemes.py, line 2: ModuleNotFoundError: No module named 'late'; a module beside the plugin is imported by "
        "an import statement, which is found without running it"
    )


def test_the_bytes_executed_are_those_hashed_although_the_files_change(plugin, tmp_path):
    code = plugin("import helper\nx = helper.x", helper="x = 'hashed'")
    (tmp_path / "helper.py").write_text("x = 'changed'")
    (tmp_path / "my_schemes.py").write_text("raise ValueError")
    module = loader.load(bundle.Bundle.from_json(code.to_json()))
    assert module.x == "hashed"
    assert code.digest in module.__name__
    assert inspect.getsource(module.helper) == "x = 'hashed'\n"


ERRORS = [
    ("x = 1\n1 / 0", "my_schemes.py, line 2: ZeroDivisionError: division by zero"),
    ("def f():\n    [1 / 0 for _ in 'a']\nf()", "my_schemes.py, line 2, in f: ZeroDivisionError: division by zero"),
    (
        "class A:\n    def f(self):\n        raise KeyError('k')\nA().f()",
        "my_schemes.py, line 3, in A.f: KeyError: 'k'",
    ),
    ("def make():\n    def f(): raise OSError\n    return f\nmake()()", "my_schemes.py, line 2, in make.f: OSError"),
    ("import helper", "helper.py, line 1: ZeroDivisionError: division by zero"),
    ("from helper2 import y", "my_schemes.py, line 1: ImportError: cannot import name 'y' from 'helper2' (helper2.py)"),
    (
        "import missing",
        "my_schemes.py, line 1: ModuleNotFoundError: No module named 'missing'; "
        "it is neither beside my_schemes.py nor installed",
    ),
    (
        "import initbench.nothing",
        "my_schemes.py, line 1: ModuleNotFoundError: No module named 'initbench.nothing'$",
    ),
    (
        "import pack2.nothing",
        "my_schemes.py, line 1: ModuleNotFoundError: No module named 'pack2.nothing'$",
    ),
    (
        "import numba\n@numba.njit(cache=True)\ndef f(): ...",
        "my_schemes.py, line 2: RuntimeError: cannot cache function 'f'; leave out cache=True: what a plugin compiles",
    ),
    (
        "import unittest.mock as m\nwith m.patch.dict('sys.modules', {'zoneinfo': None}):\n    from zoneinfo import x",
        "my_schemes.py, line 3: ModuleNotFoundError: import of zoneinfo halted; None in sys.modules; it is neither",
    ),
    (
        "from pathlib import Path\nPath(__file__).resolve().with_name('w.npy').read_bytes()",
        "my_schemes.py, line 2: FileNotFoundError: [Errno 2] No such file or directory: '",
    ),
    (
        "open(__file__)",
        "my_schemes.py, line 1: FileNotFoundError: [Errno 2] No such file or directory: 'my_schemes.py'; w",
    ),
    ("raise SyntaxError('m', (5, 1, 1, 't'))", "my_schemes.py, line 1: SyntaxError: m (line 1)"),
    ("import sys\ndel sys.modules[__name__]", "my_schemes.py: KeyError: 'my_schemes'$"),
    ("import sys\n\nsys.exit(3)", "my_schemes.py, line 3: it calls sys.exit"),
    ("def f(): exit()\nf()", "my_schemes.py, line 1, in f: it calls sys.exit"),
    ("raise BaseException('a\\x1b[2J\\nb')", "my_schemes.py, line 1: BaseException: a\\x1b[2J"),
    ("return", "my_schemes.py, line 1: SyntaxError: 'return' outside function"),
    ("exec('1 +')", "my_schemes.py, line 1: SyntaxError: invalid syntax (<string>, line 1)"),
    ("import pack", "pack/__init__.py, line 2: SyntaxError: invalid syntax"),
    ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E", "my_schemes.py, line 3: E"),
    (
        "import initbench as ib\ndef f():\n    ib.initializers.normal((2, 2), std=-1.0)\nf()",
        "my_schemes.py, line 3, in f: ValueError: std",
    ),
    ("def f(): f()\nf()", "my_schemes.py, line 1, in f: RecursionError: maximum recursion depth exceeded"),
]


@pytest.mark.parametrize(("main", "message"), ERRORS)
def test_an_error_has_the_last_place_in_the_plugin_and_leaves_no_module(plugin, main, message):
    code = plugin(main, helper="1 / 0", helper2="x = 1", **{"pack/__init__": "x = 1\ny =", "pack2/__init__": ""})
    before = plugin_modules()
    for _ in range(2):
        assert f"{load_error(code)}$".startswith(message)
        assert plugin_modules() == before


def test_an_interrupt_passes_and_leaves_no_module(plugin):
    before = plugin_modules()
    with pytest.raises(KeyboardInterrupt):
        loader.load(plugin("import helper\nraise KeyboardInterrupt", helper=""))
    assert plugin_modules() == before


def test_an_error_of_a_function_called_later_is_located_with_the_name_of_the_present_file(plugin, tmp_path):
    code = plugin("def f(x):\n    return 1 / x\n")
    module = loader.load(code)
    renamed = bundle.Bundle("elsewhere/other.py", "other.py", {"other.py": code.files["my_schemes.py"]})
    assert renamed.digest == code.digest
    assert loader.load(renamed) is module
    with pytest.raises(ZeroDivisionError) as caught:
        module.f(0)
    assert loader.located(caught.value, renamed) == (
        "elsewhere/other.py, line 2, in f: ZeroDivisionError: division by zero"
    )
    assert "    return 1 / x" in "".join(traceback.format_exception(caught.value))


def test_a_main_file_of_any_name_is_loaded():
    for main in ("my-schemes.v2.py", "1.py", "é.py", "numpy.py"):
        code = bundle.Bundle(main, main, {main: b"import numpy as np\nx = np.ones(2)"})
        assert loader.load(code).x.sum() == 2


def test_a_module_beside_of_the_name_that_the_main_file_gets_is_another():
    code = bundle.Bundle(
        "my-schemes.py", "my-schemes.py", {"my-schemes.py": b"import my_schemes\n", "my_schemes.py": b"x = 1"}
    )
    assert loader.load(code).my_schemes.x == 1


# Imports that modules of a random folder contain, each of which may fail because modules import one another.
STATEMENTS = (
    *("import a", "import b as x", "import a, b", "from a import value", "from b import value as v, nothing"),
    *("import p", "import p.m", "import p.m as x", "from p import m", "from p.m import value", "from p import *"),
    *("import p.q.deep", "from p.q import deep as d", "import p.nothing", "import s.n", "from s import n"),
)
RELATIVE = (
    "from . import m",
    "from .m import value",
    "from .q import deep",
    "from .q.deep import value",
    "from . import x",
)
FILES = ("main.py", "a.py", "b.py", "p/__init__.py", "p/m.py", "p/q/__init__.py", "p/q/deep.py", "s/n.py")
AS_SCRIPTS = """
import json, runpy, sys
traces = []
for folder in sys.argv[1:]:
    before, path = set(sys.modules), list(sys.path)
    sys.initbench_trace = []
    sys.path.insert(0, folder)
    runpy.run_path(folder + "/main.py")
    traces.append(sys.initbench_trace)
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]
print(json.dumps(traces))
"""


def random_folder(folder, rng):
    """Write modules that import one another at random, and trace in which order they run and what they see."""
    for name in FILES:
        choices = STATEMENTS + RELATIVE * (name.startswith("p/") and name != "p/q/deep.py")
        lines = [f"import sys  # {folder.name}", f"sys.initbench_trace.append('begin {name}')"]
        for statement in rng.choice(choices, rng.integers(0, 5)):
            is_inside = rng.random() < 0.3 and "*" not in statement
            lines += ["def f():" if is_inside else "try:", f"    {statement}"]
            lines += ["try: f()"] * is_inside + ["except ImportError: sys.initbench_trace.append('not found')"]
        seen = "sorted(k for k in globals() if len(k) == 1 or k == 'deep')"
        lines += [f"value = '{name}'", f"sys.initbench_trace.append([value, {seen}])"]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))


def test_imports_of_a_plugin_do_what_they_do_in_a_script(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    folders = [tmp_path / str(n) for n in range(40)]
    for folder in folders:
        random_folder(folder, rng)
    expected = json.loads(subprocess.check_output([sys.executable, "-P", "-c", AS_SCRIPTS, *folders], text=True))
    for folder, trace in zip(folders, expected, strict=True):
        monkeypatch.setattr(sys, "initbench_trace", [], raising=False)
        loader.load(bundle.read(folder / "main.py"))
        assert json.loads(json.dumps(sys.initbench_trace)) == trace
    assert max(map(len, expected)) > 20
