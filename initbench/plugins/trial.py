"""Try a plugin's functions before anything is trained: on the shapes of the grid, in a process of their own."""

import hashlib
import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from initbench.errors import PluginError
from initbench.initializers import INITIALIZERS, schemes
from initbench.initializers.model import Model, positions
from initbench.plugins.loader import located
from initbench.plugins.records import defined_at, seed_generators
from initbench.plugins.store import of
from initbench.random import streams

# A larger layer is tried on as many units as make this many weights.
MAX_WEIGHTS = 2**22

# The batch that functions are tried on.
BATCH = 8

MEAN_LOSS = "allowed: a tensor of one number, the mean loss of the batch"


# Of each input the digest of what a function returned for it.
Results = dict[str, str]


def tried(check: Mapping[str, Any]) -> tuple[str, Results]:
    """Return why a function cannot be used as a grid says, or an empty string; and what it returned.

    It is called for two inputs (seeds, batches). Another process calls it in the other order: a function of its
    arguments alone returns the same there.

    Parameters
    ----------
    check
        `kind` and `name`, a canonical string, and whether the order is the other one, `reverse`. Of an initializer also
        `layers`, `(fan_in, fan_out)` of each, `activation`, `output_activation`, `loss`, and whether it is one of the
        biases, `bias`.
    """
    kind, name = check["kind"], check["name"]
    results: Results = {}
    inputs = (1, 0) if check["reverse"] else (0, 1)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if kind == "initializer":
                arguments = {key: value for key, value in check.items() if key not in ("kind", "reverse")}
                why = _initializer(**arguments, seeds=inputs, results=results)
            else:
                function = {"activation": _activation, "loss": _loss, "optimizer": _optimizer}[kind]
                why = next(filter(None, (function(name, number, results) for number in inputs)), "")
    except (Exception, SystemExit) as error:
        if isinstance(error, ValueError):  # it has the plugin's file already
            return str(error), results
        bundles = of([name])
        return located(error, bundles[0]) if bundles else f"{type(error).__name__}: {error}", results
    return why, results


def _initializer(
    name: str,
    layers: Sequence[Sequence[int]],
    activation: str,
    output_activation: str,
    loss: str,
    bias: bool,
    seeds: Sequence[int],
    results: Results,
) -> str:
    shapes = [(int(fan_in), int(fan_out)) for fan_in, fan_out in layers]
    if schemes.is_network_scheme(name):
        if "@" not in name:  # one of initbench's, with an own activation
            return schemes.unfit(name, shapes, activation)
        chained = tuple(itertools.pairwise([min(size, 64) for size in (shapes[0][0], *(out for _, out in shapes))]))
        model = Model(chained, _batches(chained[0][0], chained[-1][1]), activation, output_activation, loss)

        def of_network(seed: int) -> Any:
            pairs = INITIALIZERS.call(name, model, seed=seed, dtype=np.float32)
            return [array for pair in pairs for array in pair]

        return "" if _repeats(of_network, seeds, "", results) else not_repeated(name)
    for layer, (scheme, shape, position) in enumerate(
        zip(schemes.of_layers(name, len(shapes)), shapes, positions(len(shapes)), strict=True)
    ):
        used = activation if len(shapes) > 1 else output_activation
        supplied = {"activation": used, "position": position, "depth": len(shapes), "fan_in": shape[0]}
        size = (shape[1],) if bias else _small(shape)

        def of_layer(seed: int, scheme: str = scheme, size: Any = size, supplied: Any = supplied) -> Any:
            return [INITIALIZERS.call(scheme, size, **supplied, seed=streams.weights(seed, 0), dtype=np.float32)]

        if not _repeats(of_layer, seeds, f"{layer} ", results):
            return not_repeated(scheme)
    return ""


def _repeats(compute: Callable[[int], Any], seeds: Sequence[int], prefix: str, results: Results) -> bool:
    """Return whether the arrays for a seed are the same when they are computed again, after those for another seed."""
    for seed in seeds:
        results[f"{prefix}{seed}"] = digest_of(compute(seed))
    return digest_of(compute(seeds[0])) == results[f"{prefix}{seeds[0]}"]


def digest_of(arrays: Iterable[Any]) -> str:
    """Return a digest of the bits of arrays."""
    content = hashlib.blake2b(digest_size=16)
    for array in arrays:
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()


def _small(shape: tuple[int, int]) -> tuple[int, int]:
    """Return a shape of at most `MAX_WEIGHTS` weights: it has fewer units."""
    return shape[0], max(1, min(shape[1], MAX_WEIGHTS // shape[0]))


def _batches(pixels: int, classes: int) -> list[tuple[Any, Any]]:
    images = np.random.default_rng(0).random((BATCH, pixels))
    return [(images, np.arange(BATCH) % classes)]


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


def not_alone(name: str) -> str:
    """Return what is wrong with an own function that returns something else in another process, or another order."""
    return (
        f"{origin_of(name)}: returned something else in another process, where it was called in another order; "
        "allowed: what depends on its arguments alone: no state that lasts, no time, no random numbers of its own"
    )


def _activation(name: str, number: int, results: Results) -> str:
    import torch

    from initbench.functions import pytorch

    seed_generators()
    x = (torch.linspace(-3, 3, 4 * BATCH) / (1 + number)).view(BATCH, 4).requires_grad_()
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
    results[str(number)] = digest_of([value.detach().numpy()])
    return _without_gradient(value, name)


def _loss(name: str, number: int, results: Results) -> str:
    import torch

    from initbench.functions import pytorch

    seed_generators()
    output = (torch.linspace(-1, 1, 10 * BATCH) / (1 + number)).view(BATCH, 10).requires_grad_()
    value = pytorch.loss(name, "identity", output, torch.arange(BATCH) % 10)
    if why := _not_a_tensor(value, name, MEAN_LOSS):
        return why
    if value.numel() != 1 or not value.dtype.is_floating_point:
        return f"{origin_of(name)}: returned shape {tuple(value.shape)}; {MEAN_LOSS}"
    if not torch.isfinite(value).all():
        return f"{origin_of(name)}: returned {value.item()} for outputs from -1 to 1"
    results[str(number)] = digest_of([value.detach().numpy()])
    return _without_gradient(value, name)


def _not_a_tensor(value: Any, name: str, allowed: str) -> str:
    import torch

    return "" if isinstance(value, torch.Tensor) else f"{origin_of(name)}: returned {type(value).__name__}; {allowed}"


def _without_gradient(value: Any, name: str) -> str:
    if not value.requires_grad:
        return f"{origin_of(name)}: its result has no gradient; allowed: PyTorch operations on what it was given"
    value.sum().backward()
    return ""


def _optimizer(name: str, number: int, results: Results) -> str:
    import torch

    from initbench.functions import pytorch

    seed_generators()
    weights = torch.nn.Parameter(torch.ones(4, 3))
    try:
        optimizer = pytorch.optimizer(name, [weights], 0.1)
    except PluginError:
        raise
    except ValueError as error:
        return f"{origin_of(name)}: {error}"
    weights.grad = torch.ones(4, 3) / (1 + number)
    optimizer.step()
    if not torch.isfinite(weights).all():
        return f"{origin_of(name)}: a step with a gradient of ones from weights of ones is not finite"
    results[str(number)] = digest_of([weights.detach().numpy()])
    return ""
