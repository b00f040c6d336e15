"""The signal in any module, by hooks at its layers and activations: the same statistics as in a perceptron.

All passes go through a copy of the model, and the random generators are left as they were: nothing of the training
changes. Statistics are computed within the hooks, so that the arrays of one layer are held at a time.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from initbench.initializers.model import Parameters
from initbench.models.modules import MARK
from initbench.models.network import copied
from initbench.models.weights import CONVOLUTIONS, LAYERS, TRANSPOSED, ModuleLayer
from initbench.plugins.records import seed_generators
from initbench.random import streams
from initbench.spec.signal import JACOBIAN_IMAGES
from initbench.training.plain import Loop, deterministic
from initbench.training.signal import statistics
from initbench.training.signal.perceptron import Images, points, singular_values
from initbench.training.signal.statistics import Signal

Array = NDArray[Any]

# PyTorch's activations, without those that are no function of hidden units: attention, and the kinds of softmax.
ACTIVATIONS = tuple(
    getattr(nn, name)
    for name in nn.modules.activation.__all__
    if name not in ("MultiheadAttention", "Softmin", "Softmax", "Softmax2d", "LogSoftmax")
)


def signal(loop: Loop, seen: Images, start: Parameters | None = None) -> Signal:
    """Return the statistics of the loop's model as it is; with `start`, also how far its weights moved.

    `start` are the parameters that its training began with, in initbench's layout.
    """
    with _generators_restored(loop.data.device), deterministic(), np.errstate(all="ignore"):
        seed_generators(streams.of_functions(loop.cell.seed, 1))
        module, output_activation = copied(loop.model, torch.float32).children()
        layers = [replace(layer, module=module.get_submodule(layer.name)) for layer in loop.layers]
        for layer in layers:
            layer.weight.requires_grad_()  # of layers that are not trained, too
        recorder = _Recorder(module, layers, len(seen.labels), is_own="@" in loop.cell.model)
        output = recorder.passed(loop.arranged(_tensor(seen.values, loop)), output_activation)
        loop.loss(output, _tensor(seen.labels, loop)).backward()  # type: ignore[no-untyped-call]
        signal = dict(seen.signal) | recorder.signal
        for index, layer in enumerate(layers):
            values = _of_weights(layer, start[index][0] if start else None)
            signal |= {(index + 1, name): value for name, value in values.items()}
        signal |= statistics.ratios(signal, len(layers))
        for part, moments in recorder.batch_moments.items():
            part.running_mean, part.running_var = moments
            part.eval()
        jacobian = _jacobian(module, loop, seen.values[:JACOBIAN_IMAGES])
        signal |= {(len(layers), name): value for name, value in jacobian.items()}
    return signal


@contextmanager
def _generators_restored(device: torch.device) -> Iterator[None]:
    """Within it, random generators may be seeded and used: afterwards they are as before."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def _tensor(values: Array, loop: Loop) -> Tensor:
    return torch.from_numpy(values).to(loop.data.device)


class _Generators:
    """The states of PyTorch's generators, from which an activation may draw."""

    def __init__(self, z: Tensor) -> None:
        self._devices = [z.device] if z.is_cuda else []
        self._states = torch.get_rng_state(), [torch.cuda.get_rng_state(device) for device in self._devices]

    @contextmanager
    def again(self) -> Iterator[None]:
        """Within it, what was drawn after these states is drawn again."""
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._states[0])
            for device, state in zip(self._devices, self._states[1], strict=True):
                torch.cuda.set_rng_state(state, device)
            yield


class _Pending(NamedTuple):
    """A layer that has been called, until its activation is, or the next layer."""

    layer: int
    z: Tensor
    hook: RemovableHandle | None


class _Entered(NamedTuple):
    """The activation of a layer, between its call and its return."""

    layer: int
    module: nn.Module
    z: Tensor
    generators: _Generators


class _Recorder:
    """Hooks that compute the statistics of a pass and of the gradient of its loss."""

    def __init__(self, module: nn.Module, layers: Sequence[ModuleLayer], images: int, is_own: bool) -> None:
        self.signal: Signal = {}
        self.batch_moments: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        self._module, self._images = module, images
        self._layers = {id(layer.weight): number for number, layer in enumerate(layers, start=1)}
        # Of convolutions the number of dimensions of what they return: those of their weights.
        self._image_dims = [
            len(layer.layer.shape) if isinstance(layer.module, (*CONVOLUTIONS, *TRANSPOSED)) else 0 for layer in layers
        ]
        self._called: set[int] = set()
        self._pending: _Pending | None = None
        self._entered: list[_Entered] = []
        self._recording = False
        for part in module.modules():
            if isinstance(part, LAYERS):
                part.register_forward_hook(self._after_layer)
            elif isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.register_forward_hook(self._after_batch_normalization)
            if hasattr(part, MARK) or (is_own and isinstance(part, ACTIVATIONS)):
                part.register_forward_pre_hook(self._before_activation, with_kwargs=True)
                part.register_forward_hook(self._after_activation)

    def passed(self, x: Tensor, output_activation: nn.Module) -> Tensor:
        """Return the output for images, and record the statistics; those of gradients when it is differentiated."""
        self._recording = True
        z: Tensor = self._module(x)
        self._settle()
        # Checkpointed modules pass again when gradients are computed.
        self._recording = False
        last = len(self._layers)
        self._watch_gradient(last, z)
        entered = _Entered(last, output_activation, z.detach().clone(), _Generators(z))
        self._record_pre_activations(last, entered.z)
        output: Tensor = output_activation(z)
        self._record_activations(entered, output)
        return output

    def _after_layer(self, part: nn.Module, arguments: Any, output: Any) -> None:
        if not self._recording:
            return
        number = self._layers.get(id(part._parameters.get("weight")))
        self._settle()
        if number is None or number in self._called or not isinstance(output, Tensor):
            return
        self._called.add(number)
        if number < len(self._layers):  # the last one's pre-activations are the model's output
            hook = self._watch_gradient(number, output)
            self._pending = _Pending(number, output.detach().clone(), hook)  # it may be changed in place

    def _settle(self) -> None:
        """Record the layer before, which has no activation."""
        if self._pending:
            entries = self._record_pre_activations(self._pending.layer, self._pending.z)
            self._record(self._pending.layer, self._of_representation(entries))
            self._pending = None

    def _before_activation(self, part: nn.Module, arguments: Any, keywords: Any) -> None:
        tensors = [*arguments, *keywords.values()]
        if not self._recording or not self._pending or len(tensors) != 1 or not isinstance(tensors[0], Tensor):
            return
        (z,), number = tensors, self._pending.layer
        if self._pending.hook:
            self._pending.hook.remove()
        self._pending = None
        self._watch_gradient(number, z)
        values = z.detach().clone()
        self._record_pre_activations(number, values)
        self._entered.append(_Entered(number, part, values, _Generators(values)))

    def _after_activation(self, part: nn.Module, arguments: Any, output: Any) -> None:
        if not self._recording or not self._entered or self._entered[-1].module is not part:
            return
        entered = self._entered.pop()
        if isinstance(output, Tensor):
            self._recording = False
            self._record_activations(entered, output)
            self._recording = True

    def _after_batch_normalization(self, part: nn.Module, arguments: Any, output: Any) -> None:
        if self._recording and part.training:
            x = arguments[0].detach()
            dims = [dim for dim in range(x.ndim) if dim != 1]
            self.batch_moments[part] = x.mean(dims), x.var(dims, unbiased=False)

    # -----------------------------------------------------------------------------------------------------------------
    # Records

    def _record(self, layer: int, values: dict[str, float]) -> None:
        self.signal |= {(layer, name): value for name, value in values.items()}

    def _record_pre_activations(self, layer: int, z: Tensor) -> Array:
        entries = self._entries(layer, z)
        values = statistics.of_pre_activations(entries)
        rows = self._by_image(entries)
        if rows is not None:
            values["correlation"] = statistics.correlation(rows)
        self._record(layer, values)
        return entries

    def _record_activations(self, entered: _Entered, output: Tensor) -> None:
        layer = entered.layer
        entries = self._entries(layer, output)
        with entered.generators.again():
            derivative, largest = _derivative(entered.module, entered.z)
        values = statistics.moments("activation", entries)
        values["saturated_share"] = statistics.saturated_share(_array(entered.z), _array(derivative), largest)
        values["dead_share"] = statistics.dead_share(entries.reshape(-1, entries.shape[-1]))
        self._record(layer, values | self._of_representation(entries))

    def _of_representation(self, entries: Array) -> dict[str, float]:
        rows = self._by_image(entries)
        return {} if rows is None else {"effective_rank": statistics.effective_rank(rows)}

    def _watch_gradient(self, layer: int, z: Tensor) -> RemovableHandle | None:
        def record(gradient: Tensor) -> None:
            # The loss is a mean over the images.
            entries = self._entries(layer, gradient) * np.float32(self._images)
            self._record(layer, statistics.of_gradient("pre_activation", entries, self._images))

        return z.register_hook(record) if z.requires_grad else None  # type: ignore[no-untyped-call]

    def _entries(self, layer: int, values: Tensor) -> Array:
        """Return values as an array, with the channels in the last dimension."""
        if values.ndim == self._image_dims[layer - 1]:
            values = values.movedim(1, -1)
        return _array(values)

    def _by_image(self, entries: Array) -> Array | None:
        """Return the entries of each image in a row, `[images, entries]`; None where no dimension is the images'.

        They are the first dimension, alone or with others inside, as in `[images · positions, units]`; or of recurrent
        modules the second.
        """
        if entries.shape[0] % self._images and entries.ndim > 1 and entries.shape[1] == self._images:
            entries = np.moveaxis(entries, 1, 0)
        return None if entries.shape[0] % self._images else entries.reshape(self._images, -1)


def _array(values: Tensor) -> Array:
    array: Array = values.detach().to("cpu", torch.float32).contiguous().numpy()
    return array


def _derivative(activation: nn.Module, z: Tensor) -> tuple[Tensor, float]:
    """Return the derivative of an activation at each entry, and its largest absolute value.

    The activation is computed again, as it may have changed z in place or have run without a gradient. Of softmax it is
    the derivative of a class by its own pre-activation; of others that are not elementwise that of the sum.
    """
    if isinstance(activation, nn.Softmax):
        a = torch.softmax(z, 1)
        return a * (1 - a), 0.25
    derivative = _slope(activation, z)[1]
    largest = _largest_on_grid(activation, z.device)
    return derivative, float(derivative.abs().max()) if largest is None else largest


def _slope(activation: nn.Module, z: Tensor) -> tuple[Tensor, Tensor]:
    # An activation checkpoint counts the tensors that are saved outside of these hooks.
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
        z = z.clone().requires_grad_()
        a = activation.forward(z.clone())  # without hooks; in place on a copy
        if not a.requires_grad:
            return a, torch.zeros_like(z)
        (derivative,) = torch.autograd.grad(a.sum(), z, allow_unused=True)
    return a.detach(), torch.zeros_like(z) if derivative is None else derivative


def _largest_on_grid(activation: nn.Module, device: torch.device) -> float | None:
    """Return the largest |derivative| on the grid; None if the activation is not elementwise."""
    grid = points().to(device)
    try:
        (a, derivative), (some, _) = _slope(activation, grid), _slope(activation, grid[::2])
    except Exception:  # of a fixed number of channels, say
        return None
    if a.shape != grid.shape or not torch.allclose(a[::2], some, rtol=1e-4, atol=1e-6):
        return None
    return float(derivative.abs().max())


def _matrices(layer: ModuleLayer, weight: Tensor) -> Tensor:
    """Return the weights of each group of a layer as a matrix, `[groups, units, inputs]`."""
    if isinstance(layer.module, nn.Linear | nn.Embedding):
        return weight[None]
    groups = torch.stack(weight.chunk(layer.layer.groups))
    return (groups.transpose(1, 2) if isinstance(layer.module, TRANSPOSED) else groups).flatten(2)


def _of_weights(layer: ModuleLayer, start: Array | None) -> dict[str, float]:
    """Return the statistics of a layer's weights, of their gradient if there is one, and their distance from a start.

    `start` has initbench's layout.
    """
    weight = layer.weight.detach().cpu()
    spectral_norms = [statistics.spectral_norm(group.T.numpy()) for group in _matrices(layer, weight)]
    values = {"weight_norm": statistics.norm(weight.numpy()), "weight_spectral_norm": float(np.max(spectral_norms))}
    if start is not None:
        begin = layer.to_torch(torch.from_numpy(np.asarray(start)))
        values["weight_distance"] = statistics.norm((weight - begin).numpy())
    if layer.weight.grad is not None:
        values |= statistics.of_gradient("weight", _array(layer.weight.grad))
    return values


def _jacobian(module: nn.Module, loop: Loop, images: Array) -> dict[str, float]:
    """Return the statistics of the Jacobian of the output by each image; none where no gradient reaches the images."""
    module.requires_grad_(False)
    x = _tensor(images, loop).requires_grad_()
    output = module(loop.arranged(x).clone())  # a module may change in place what it is given
    rows: list[Array] = []
    for k in range(output.shape[1]):
        x.grad = None
        if output.requires_grad:
            output[:, k].sum().backward(retain_graph=True)
        if x.grad is None:
            return {}
        rows.append(_array(x.grad))
    return statistics.jacobian(singular_values(np.stack(rows, axis=1)))
