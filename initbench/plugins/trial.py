"""Try a plugin's functions before anything is trained: on the shapes of the grid, in a process of their own."""

import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from initbench.errors import PluginError
from initbench.initializers import INITIALIZERS, schemes
from initbench.initializers.model import Model, positions
from initbench.plugins.loader import located
from initbench.plugins.records import defined_at
from initbench.plugins.store import of
from initbench.random import streams
from initbench.registry import digests_in

# A larger layer is tried on as many units as make this many weights.
MAX_WEIGHTS = 2**22

# The batch that functions are tried on.
BATCH = 8

MEAN_LOSS = "allowed: a tensor of one number, the mean loss of the batch"


def tried(check: Mapping[str, Any]) -> str:
    """Return why a function cannot be used as a grid says, or an empty string.

    Parameters
    ----------
    check
        `kind` and `name`, a canonical string. Of an initializer also `layers`, `(fan_in, fan_out)` of each,
        `activation`, `output_activation`, `loss`, and whether it is one of the biases, `bias`.
    """
    kind, name = check["kind"], check["name"]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if kind == "initializer":
                return _initializer(**{key: value for key, value in check.items() if key != "kind"})
            return {"activation": _activation, "loss": _loss, "optimizer": _optimizer}[kind](name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ValueError):  # it has the plugin's file already
            return str(error)
        bundles = [bundle for bundle in of([name]) if digests_in(name)]
        return located(error, bundles[0]) if bundles else f"{type(error).__name__}: {error}"


def _initializer(
    name: str, layers: Sequence[Sequence[int]], activation: str, output_activation: str, loss: str, bias: bool
) -> str:
    shapes = [(int(fan_in), int(fan_out)) for fan_in, fan_out in layers]
    model = Model(tuple(map(_small, shapes)), _batches(_small(shapes[0])[0], _small(shapes[-1])[1]), activation)
    if schemes.is_network_scheme(name):
        if "@" not in name:  # one of initbench's, with an own activation
            return schemes.unfit(name, shapes, activation)
        chained = tuple(itertools.pairwise([min(size, 64) for size in (shapes[0][0], *(out for _, out in shapes))]))
        model = Model(chained, _batches(chained[0][0], chained[-1][1]), activation, output_activation, loss)
        runs = [INITIALIZERS.call(name, model, seed=0, dtype=np.float32) for _ in range(2)]
        return "" if _same(*runs) else not_repeated(name)
    for scheme, shape, position in zip(
        schemes.of_layers(name, len(shapes)), shapes, positions(len(shapes)), strict=True
    ):
        supplied = {"activation": model.nonlinearity, "position": position, "depth": len(shapes), "fan_in": shape[0]}
        size = (shape[1],) if bias else _small(shape)
        runs = [
            INITIALIZERS.call(scheme, size, **supplied, seed=streams.weights(0, 0), dtype=np.float32) for _ in range(2)
        ]
        if not _same([runs[:1]], [runs[1:]]):
            return not_repeated(scheme)
    return ""


def _small(shape: tuple[int, int]) -> tuple[int, int]:
    """Return a shape of at most `MAX_WEIGHTS` weights: it has fewer units."""
    return shape[0], max(1, min(shape[1], MAX_WEIGHTS // shape[0]))


def _batches(pixels: int, classes: int) -> list[tuple[Any, Any]]:
    images = np.random.default_rng(0).random((BATCH, pixels))
    return [(images, np.arange(BATCH) % classes)]


def _same(left: Any, right: Any) -> bool:
    arrays = [[a for pair in run for a in pair] for run in (left, right)]
    return all(np.array_equal(a, b) for a, b in zip(*arrays, strict=True))


def not_repeated(name: str) -> str:
    """Return what is wrong with an own initializer that returns other weights when it is called again."""
    return (
        f"{origin_of(name)}: returned other weights for the same seed; allowed: weights that depend on its arguments "
        "alone (draw them from numpy.random.default_rng(seed))"
    )


def origin_of(name: str) -> str:
    """Return where a plugin defines the function that a canonical string names."""
    bundles = of([name])
    return defined_at(name, bundles[0]) if bundles else name


def _activation(name: str) -> str:
    import torch

    from initbench.functions import pytorch

    torch.manual_seed(0)
    x = torch.linspace(-3, 3, 4 * BATCH).view(BATCH, 4).requires_grad_()
    value = pytorch.activation(name)(x)
    if why := _not_a_tensor(value, name, f"allowed: a tensor of the shape {tuple(x.shape)} that it was given"):
        return why
    if value.shape != x.shape or value.dtype != x.dtype:
        return (
            f"{origin_of(name)}: returned shape {tuple(value.shape)} and {value.dtype} for shape {tuple(x.shape)} and "
            f"{x.dtype}; allowed: the shape and dtype that it was given"
        )
    if not torch.isfinite(value).all():
        return f"{origin_of(name)}: returned NaN or infinity for inputs from -3 to 3"
    return _without_gradient(value, name)


def _loss(name: str) -> str:
    import torch

    from initbench.functions import pytorch

    torch.manual_seed(0)
    output = torch.linspace(-1, 1, 10 * BATCH).view(BATCH, 10).requires_grad_()
    value = pytorch.loss(name, "identity", output, torch.arange(BATCH) % 10)
    if why := _not_a_tensor(value, name, MEAN_LOSS):
        return why
    if value.numel() != 1 or not value.dtype.is_floating_point:
        return f"{origin_of(name)}: returned shape {tuple(value.shape)}; {MEAN_LOSS}"
    if not torch.isfinite(value).all():
        return f"{origin_of(name)}: returned {value.item()} for outputs from -1 to 1"
    return _without_gradient(value, name)


def _not_a_tensor(value: Any, name: str, allowed: str) -> str:
    import torch

    return "" if isinstance(value, torch.Tensor) else f"{origin_of(name)}: returned {type(value).__name__}; {allowed}"


def _without_gradient(value: Any, name: str) -> str:
    if not value.requires_grad:
        return f"{origin_of(name)}: its result has no gradient; allowed: PyTorch operations on what it was given"
    value.sum().backward()
    return ""


def _optimizer(name: str) -> str:
    import torch

    from initbench.functions import pytorch

    weights = torch.nn.Parameter(torch.ones(4, 3))
    try:
        optimizer = pytorch.optimizer(name, [weights], 0.1)
    except PluginError:
        raise
    except ValueError as error:
        return f"{origin_of(name)}: {error}"
    weights.grad = torch.ones(4, 3)
    optimizer.step()
    if not torch.isfinite(weights).all():
        return f"{origin_of(name)}: a step with a gradient of ones from weights of ones is not finite"
    return ""
