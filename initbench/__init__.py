"""A benchmark of weight initializers: which to use with an activation and a loss, and how certain the answer is.

>>> import initbench as ib
>>> W = ib.initializers.he_normal((784, 256), seed=0)
>>> W.shape, str(W.dtype)
((784, 256), 'float32')

`ib.run("grid.toml")` trains a grid and returns its result, which `ib.result("results/NAME")` returns again; `ib.load`
reads its tidy table, `ib.load_signal` the signal in its networks, `ib.report` writes its report. Everything is imported
when it is first used, so that `import initbench` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from initbench import initializers, stats, theory
    from initbench.api import (
        compare,
        figures,
        load,
        load_signal,
        merge,
        report,
        result,
        run,
        script,
        signal,
        trace,
        verify,
    )
    from initbench.errors import CannotWrite, UserError, WorkerDied
    from initbench.functions import activations, losses, optimizers
    from initbench.plugins.marks import activation, dataset, initializer, loss, model, optimizer
    from initbench.spec import grid

_MODULES = {
    "activations": "initbench.functions.activations",
    "grid": "initbench.spec.grid",
    "initializers": "initbench.initializers",
    "losses": "initbench.functions.losses",
    "optimizers": "initbench.functions.optimizers",
    "stats": "initbench.stats",
    "theory": "initbench.theory",
}
_NAMES = {
    "compare": "initbench.api",
    "figures": "initbench.api",
    "load": "initbench.api",
    "load_signal": "initbench.api",
    "merge": "initbench.api",
    "report": "initbench.api",
    "result": "initbench.api",
    "run": "initbench.api",
    "script": "initbench.api",
    "signal": "initbench.api",
    "trace": "initbench.api",
    "verify": "initbench.api",
    "activation": "initbench.plugins.marks",
    "initializer": "initbench.plugins.marks",
    "dataset": "initbench.plugins.marks",
    "loss": "initbench.plugins.marks",
    "model": "initbench.plugins.marks",
    "optimizer": "initbench.plugins.marks",
    "UserError": "initbench.errors",
    "CannotWrite": "initbench.errors",
    "WorkerDied": "initbench.errors",
}

__all__ = [
    "CannotWrite",
    "UserError",
    "WorkerDied",
    "activation",
    "activations",
    "compare",
    "dataset",
    "figures",
    "grid",
    "initializer",
    "initializers",
    "load",
    "load_signal",
    "loss",
    "losses",
    "merge",
    "model",
    "optimizer",
    "optimizers",
    "report",
    "result",
    "run",
    "script",
    "signal",
    "stats",
    "theory",
    "trace",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'initbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
