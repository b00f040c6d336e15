"""Try a plugin's functions before anything is trained: on the shapes of the grid, in a process of their own."""

import hashlib
import itertools
import json
import math
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from initbench.data import datasets
from initbench.data.datasets import Source
from initbench.data.own import LOADERS
from initbench.errors import PluginError
from initbench.initializers import INITIALIZERS, schemes
from initbench.initializers._base import fans
from initbench.initializers.model import Model, Network, positions
from initbench.models import own
from initbench.models.architecture import Shape
from initbench.models.built_in import MODELS
from initbench.plugins.loader import located
from initbench.plugins.records import defined_at, seed_generators
from initbench.plugins.store import of
from initbench.random import streams

# A larger layer is tried on as many units as make this many weights.
MAX_WEIGHTS = 2**22

# The batch that functions are tried on.
BATCH = 8

# The file of the function that says what is wrong with a module; to import it loads PyTorch.
_OF_MODULES = str(Path(own.__file__).with_name("weights.py"))

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
        `layers`, the shapes of their weights, `module` if the network is not a plain perceptron (its settings, `shape`
        and `classes`), `activation`, `output_activation`, `loss`, and whether it is one of the
        biases, `bias`. Of a model `shape`, `(height, width, channels)` of an image, `classes` and `activation`; its
        results have its architecture. The results of a data set have its source.
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
            elif kind == "model":
                height, width, channels = map(int, check["shape"])
                why = _model(
                    name, (height, width, channels), int(check["classes"]), check["activation"], inputs, results
                )
            elif kind == "dataset":
                why, results["source"] = "", json.dumps(datasets.to_stored(source_of(name)))
            else:
                function = {"activation": _activation, "loss": _loss, "optimizer": _optimizer}[kind]
                why = next(filter(None, (function(name, number, results) for number in inputs)), "")
    except (Exception, SystemExit) as error:
        own_name = name if "@" in name else check.get("module", {}).get("model", name)
        return _failure(error, kind, own_name), results
    return why, results


def _failure(error: BaseException, kind: str, name: str) -> str:
    """Return an error that a function raised, or initbench about what it returned, with the place in the plugin."""
    if isinstance(error, PluginError) or (isinstance(error, ValueError) and kind != "model"):
        return str(error)  # it has the plugin's file already
    if isinstance(error, ValueError) and traceback.extract_tb(error.__traceback__)[-1].filename == _OF_MODULES:
        return f"{origin_of(name)}: {error}"
    if not (bundles := of([name])):
        return f"{type(error).__name__}: {error}"
    line = located(error, bundles[0])
    without_place = f"{bundles[0].path}: "  # of a module that is put together of PyTorch's own
    return f"{origin_of(name)}: {line.removeprefix(without_place)}" if line.startswith(without_place) else line


def source_of(name: str) -> Source:
    """Return the source of an own data set, from the canonical string of the function that loads it."""
    source = datasets.describe(LOADERS.call(name), name.partition("@")[0], datasets.CODE)
    return replace(source, folder=name)


def _model(name: str, shape: Shape, classes: int, activation: str, seeds: Sequence[int], results: Results) -> str:
    """Return why a model cannot be used for images of a shape.

    The module is built for each seed, with PyTorch's start of its layers, and takes a step's passes; then the first
    one again.
    """
    import torch

    from initbench.functions import pytorch
    from initbench.models import weights

    height, width, channels = shape

    def built(seed: int) -> "torch.nn.Module":
        seed_generators(streams.of_functions(seed, 0))
        arguments = (channels, height, width, classes)
        module: torch.nn.Module = MODELS.call(name, *arguments, activation=partial(pytorch.activation, activation))
        return module

    def of_step(seed: int) -> tuple[str, list[Any]]:
        module = built(seed)
        results["architecture"] = json.dumps(own.to_json(weights.describe(module, shape, classes)))
        start = [array.detach().clone() for array in module.state_dict().values() if isinstance(array, torch.Tensor)]
        images = torch.rand(BATCH, channels, height, width, generator=torch.Generator().manual_seed(seed))
        x = images.clone()
        seed_generators(streams.of_functions(seed, 1))
        output = module.train()(x)
        if not torch.equal(x, images):
            return f"{origin_of(name)}: its forward changes the images that it is given; allowed: a copy, x.clone()", []
        if why := _wrong_output(output, name, classes):
            return why, []
        output.square().mean().backward()
        module(images.clone()).square().mean().backward()  # what a pass leaves in the module must not hinder the next
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        return "", [*start, output.detach(), *gradients]

    for seed in seeds:
        why, arrays = of_step(seed)
        if why:
            return why
        results[str(seed)] = digest_of(arrays)
    if digest_of(of_step(seeds[0])[1]) != results[str(seeds[0])]:
        return (
            f"{origin_of(name)}: returned another network, or other outputs, for the same seed; allowed: what depends "
            "on its arguments and PyTorch's generator alone, which is seeded: no state that lasts, no time"
        )
    return ""


def _wrong_output(output: Any, name: str, classes: int) -> str:
    """Return what is wrong with the output of a model for a batch in training; it was right in evaluation."""
    import torch

    origin, allowed = origin_of(name), f"allowed: a tensor [batch, {classes}], in training as in evaluation"
    if not isinstance(output, torch.Tensor):
        return f"{origin}: its forward returned {type(output).__name__}; {allowed}"
    if output.shape != (BATCH, classes) or output.dtype != torch.float32:
        returned = f"shape {list(output.shape)} and {output.dtype}"
        return f"{origin}: its forward returned {returned} for {BATCH} images; {allowed}"
    if not torch.isfinite(output).all():
        return f"{origin}: its forward returned NaN or infinity for images of random pixels from 0 to 1"
    if not output.requires_grad:
        return f"{origin}: its output has no gradient; allowed: PyTorch operations on its parameters, without no_grad"
    return ""


def _initializer(
    name: str,
    layers: Sequence[Sequence[int]],
    activation: str,
    output_activation: str,
    loss: str,
    bias: bool,
    seeds: Sequence[int],
    results: Results,
    module: Mapping[str, Any] | None = None,
) -> str:
    shapes = [tuple(map(int, shape)) for shape in layers]
    if schemes.is_network_scheme(name):
        if "@" not in name:  # one of initbench's, with an own activation or an own model
            why = schemes.unfit(name, shapes, activation, is_perceptron=module is None)
            if why or not module or "@" not in module["model"]:
                return why
        record, parameters = INITIALIZERS.lookup(name)
        if "@" not in name:  # one step shows whether the scheme can see the model
            parameters |= {p.name: 1 for p in record.parameters if p.name in ("steps", "iterations")}

        def of_network(seed: int) -> Any:
            model: Network
            if module:
                model = _of_module(module, activation, output_activation, loss)
            else:
                sizes = [min(size, 64) for size in (shapes[0][0], *(shape[1] for shape in shapes))]
                chained = tuple(itertools.pairwise(sizes))
                model = Model(chained, _batches(sizes[0], sizes[-1]), activation, output_activation, loss)
            pairs = record.function(model, **parameters, seed=seed, dtype=np.float32)
            return [array for pair in pairs for array in pair]

        return "" if _repeats(of_network, seeds, "", results) else not_repeated(name)
    for layer, (scheme, shape, position) in enumerate(
        zip(schemes.of_layers(name, len(shapes)), shapes, positions(len(shapes)), strict=True)
    ):
        used = activation if len(shapes) > 1 else output_activation
        supplied = {"activation": used, "position": position, "depth": len(shapes), "fan_in": fans(shape)[0]}
        size = shape[-1:] if bias else _small(shape)

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


def _of_module(module: Mapping[str, Any], activation: str, output_activation: str, loss: str) -> Network:
    """Return the network of a model that is not a plain perceptron, for a scheme of whole networks."""
    from initbench.models.modules import module_of
    from initbench.models.network import ModuleNetwork

    height, width, channels = map(int, module["shape"])
    shape, classes = (height, width, channels), int(module["classes"])
    seed_generators()
    built = module_of(module["model"], module["hidden"], shape, classes, activation, module["normalization"])
    batches = _batches(height * width * channels, classes)
    return ModuleNetwork(built, shape, classes, batches, activation, output_activation, loss)


def _small(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape of at most `MAX_WEIGHTS` weights: it has fewer units."""
    *others, units = shape
    return (*others, max(1, min(units, MAX_WEIGHTS // math.prod(others))))


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
