"""Modules that are imported when they are used: in a place of its own, and in a worker's PyTorch."""

import subprocess
import sys

import pytest

from initbench.system import deferred

# A worker's steps until its first task, then one that needs what is deferred: the import that a plugin's code comes
# after, or an optimizer of PyTorch, with which its compiler is imported. An operation on a tensor without numbers is
# one of those that need it.
WORKER = """
import sys
from initbench.system import deferred
from initbench.training import worker
deferred.defer(worker.UNUSED, importer=worker.COMPILER)
from initbench.training import plugins, tasks
import torch
from initbench.data import datasets
from initbench.plugins.bundle import Bundle

def shape():
    return tuple(torch.cdist(torch.empty(2, 3, device="meta"), torch.empty(4, 3, device="meta")).shape)

x = torch.randn(5, 5, requires_grad=True)
torch.nn.functional.cross_entropy(torch.relu(x) @ x, torch.arange(5)).backward()
try:
    shape()
except NotImplementedError:
    print("deferred")
if sys.argv[1] == "plugin":
    own = b"import initbench as ib\\n@ib.activation\\ndef own(x): return x\\n"
    plugins.prepare([Bundle("own.py", "own.py", {"own.py": own}).to_json()], [], datasets.find("mnist"))
else:
    optimizer = torch.optim.SGD([x], 0.5)
    before, gradient = x.detach().clone(), x.grad
    optimizer.step()
    assert torch.equal(x, before - 0.5 * gradient)
print(shape(), torch._meta_registrations is sys.modules[worker.UNUSED], hasattr(torch._meta_registrations, "meta_bmm"))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that can be imported."""
    (tmp_path / "deferrable.py").write_text("imports = []\nvalue = 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "deferrable"
    sys.modules.pop("deferrable", None)


def test_a_deferred_module_is_imported_when_a_name_is_used_that_it_lacks(module):
    deferred.defer(module, substitute=7)
    import deferrable

    assert deferrable.substitute == 7
    assert "value" not in vars(sys.modules[module])
    assert not hasattr(deferrable, "__path__")  # what the import system asks of any module imports nothing
    assert "value" not in vars(sys.modules[module])
    assert deferrable.value == 3
    assert sys.modules[module].value == 3
    assert not hasattr(sys.modules[module], "substitute")


def test_a_module_that_there_is_not_changes_nothing():
    deferred.defer("no_such_module")
    try:
        deferred.load_all()
        with pytest.raises(ModuleNotFoundError):
            deferred.load("no_such_module")
    finally:
        sys.modules.pop("no_such_module", None)


def test_a_deferred_module_is_imported_before_its_importer(module, tmp_path):
    (tmp_path / "importing.py").write_text(
        "import deferrable\nfound = vars(deferrable).get('value')\n", encoding="utf-8"
    )
    hooks = list(sys.meta_path)
    deferred.defer(module, importer="importing")
    try:
        import importing

        assert importing.found == 3
    finally:
        sys.meta_path[:] = hooks
        sys.modules.pop("importing", None)


def test_an_imported_module_stays(module):
    import deferrable

    deferred.defer(module, value=7)
    assert deferrable.value == 3
    assert sys.modules[module] is deferrable
    assert deferred.load(module) is deferrable


@pytest.mark.parametrize("user", ["plugin", "optimizer"])
def test_a_worker_imports_the_whole_of_pytorch_before_what_needs_it(user):
    done = subprocess.run([sys.executable, "-c", WORKER, user], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["deferred", "(2, 4) True True"], done.stderr
