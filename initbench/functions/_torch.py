"""PyTorch under its usual names, imported when one of its functions is first used.

The records of `initbench.functions` name PyTorch's functions, and `import initbench` must not load it.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any


class _Lazy:
    """A namespace that is loaded at the first access; each attribute is looked up once."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._load(), name)
        setattr(self, name, value)
        return value


if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.nn import functional as F
else:
    torch = _Lazy(lambda: import_module("torch"))
    nn = _Lazy(lambda: import_module("torch.nn"))
    F = _Lazy(lambda: import_module("torch.nn.functional"))

aten: Any = _Lazy(lambda: torch.ops.aten)

__all__ = ["F", "aten", "nn", "torch"]
