"""The decorators that mark a function of a plugin: as an initializer, an activation, a model, a data set, …"""

from collections.abc import Callable
from typing import Any, TypeVar, overload

Thing = TypeVar("Thing", bound=Callable[..., Any])

KINDS = ("initializer", "activation", "model", "loss", "optimizer", "dataset")
_MARK = "__initbench_kind__"


def kind_of(thing: object) -> str:
    """Return the kind that a function or class is marked as; empty if it is not marked, or inherits the mark."""
    kind = vars(thing).get(_MARK, "") if hasattr(thing, "__dict__") else ""
    return kind if kind in KINDS else ""


@overload
def initializer(function: Thing) -> Thing: ...
@overload
def initializer() -> Callable[[Thing], Thing]: ...
def initializer(function: Thing | None = None) -> Thing | Callable[[Thing], Thing]:
    """Mark a function as an own initializer, and return it unchanged.

    Parameters
    ----------
    function
        `function(shape, *, …)` returns the weights of one layer, a NumPy array of this shape, `[fan_in, fan_out]`. Of
        the following arguments it is given those that it takes: `seed` (for `numpy.random.default_rng`, or for
        initbench's initializers), `dtype` (the result has it; without this argument it is rounded to it),
        `activation`, `position` (`"first"`, `"hidden"` or `"last"`), `depth` and `fan_in`. All others are its
        parameters, which a grid file may set: each has a default and is a float, an int, a bool, or one of the
        strings of a `typing.Literal`.

        With the first argument `model` it is a scheme of whole networks: it takes a network, of a perceptron an
        `ib.initializers.Model`, and returns for each layer the weights and the bias.
        docs/how-to/own-initializer.md has what it sees of it.

    Examples
    --------
    >>> import initbench as ib
    >>> @ib.initializer
    ... def scaled_orthogonal(shape, *, gain: float = 1.1, seed=None, dtype="float32"):
    ...     return gain * ib.initializers.orthogonal(shape, seed=seed, dtype=dtype)
    """
    return _marked("initializer", function)


@overload
def activation(function: Thing) -> Thing: ...
@overload
def activation() -> Callable[[Thing], Thing]: ...
def activation(function: Thing | None = None) -> Thing | Callable[[Thing], Thing]:
    """Mark a function or class as an own activation, and return it unchanged.

    Parameters
    ----------
    function
        `function(x, *, …)` takes a PyTorch tensor `[batch, units]` and returns one of the same shape and dtype; or a
        class of `torch.nn.Module` that does. Its parameters are as those of an own initializer.

    Examples
    --------
    >>> import initbench as ib
    >>> @ib.activation
    ... def squared_relu(x, *, scale: float = 1.0):
    ...     return scale * x.clamp(min=0) ** 2
    """
    return _marked("activation", function)


@overload
def loss(function: Thing) -> Thing: ...
@overload
def loss() -> Callable[[Thing], Thing]: ...
def loss(function: Thing | None = None) -> Thing | Callable[[Thing], Thing]:
    """Mark a function or class as an own loss, and return it unchanged.

    Parameters
    ----------
    function
        `function(output, labels, *, …)` takes the values of the output activation, `[batch, classes]`, and the labels,
        integers `[batch]`, as PyTorch tensors, and returns the mean loss of the batch, a tensor of one number; or a
        class of `torch.nn.Module` that does. Its parameters are as those of an own initializer.

    Examples
    --------
    >>> import initbench as ib
    >>> @ib.loss
    ... def smoothed(output, labels, *, smoothing: float = 0.1):
    ...     from torch.nn.functional import cross_entropy
    ...     return cross_entropy(output, labels, label_smoothing=smoothing)
    """
    return _marked("loss", function)


@overload
def optimizer(function: Thing) -> Thing: ...
@overload
def optimizer() -> Callable[[Thing], Thing]: ...
def optimizer(function: Thing | None = None) -> Thing | Callable[[Thing], Thing]:
    """Mark a function or class as an own optimizer, and return it unchanged.

    Parameters
    ----------
    function
        A class of `torch.optim.Optimizer`, called as `function(parameters, lr=learning_rate, …)`; or
        `function(parameters, learning_rate, *, …)`, which returns such an optimizer. Its `param_groups` have the key
        `lr`, which the learning-rate schedule sets. Its parameters are as those of an own initializer.

    Examples
    --------
    >>> import initbench as ib
    >>> @ib.optimizer
    ... def heavy(parameters, learning_rate, *, momentum: float = 0.99):
    ...     import torch
    ...     return torch.optim.SGD(parameters, learning_rate, momentum=momentum)
    """
    return _marked("optimizer", function)


@overload
def model(function: Thing) -> Thing: ...
@overload
def model() -> Callable[[Thing], Thing]: ...
def model(function: Thing | None = None) -> Thing | Callable[[Thing], Thing]:
    """Mark a function or class as an own model, and return it unchanged.

    Parameters
    ----------
    function
        `function(channels, height, width, classes, *, …)` returns a `torch.nn.Module` that takes images
        `[batch, channels, height, width]` and returns `[batch, classes]`; or a class of `torch.nn.Module` whose
        constructor takes these. Features are images of one pixel, `[batch, features, 1, 1]`. An argument `activation`
        is given a function without arguments that returns a new module of the grid's activation. Its parameters are as
        those of an own initializer.

    Examples
    --------
    >>> import initbench as ib
    >>> @ib.model
    ... def two_layers(channels, height, width, classes, *, activation, units: int = 64):
    ...     from torch import nn
    ...     first, last = nn.Linear(channels * height * width, units), nn.Linear(units, classes)
    ...     return nn.Sequential(nn.Flatten(), first, activation(), last)
    """
    return _marked("model", function)


@overload
def dataset(function: Thing) -> Thing: ...
@overload
def dataset() -> Callable[[Thing], Thing]: ...
def dataset(function: Thing | None = None) -> Thing | Callable[[Thing], Thing]:
    """Mark a function as one that loads an own data set, and return it unchanged.

    Parameters
    ----------
    function
        `function(*, …)` returns a dict of arrays: `x_train`, `y_train`, `x_test` and `y_test`, as they stand in a file
        `.npz`: images `[n, height, width]` or `[n, height, width, channels]`, or features `[n, features]`, and labels,
        integers `[n]`. It returns the same arrays each time. Its parameters are as those of an own initializer.

    Examples
    --------
    >>> import initbench as ib
    >>> @ib.dataset
    ... def two_blobs(*, distance: float = 2.0):
    ...     import numpy as np
    ...     y = np.arange(600) % 2
    ...     x = np.random.default_rng(0).normal(size=(600, 8)) + distance * y[:, None]
    ...     return {"x_train": x[:480], "y_train": y[:480], "x_test": x[480:], "y_test": y[480:]}
    """
    return _marked("dataset", function)


def _marked(kind: str, function: Thing | None) -> Thing | Callable[[Thing], Thing]:
    def mark(thing: Thing) -> Thing:
        if not callable(thing):
            raise TypeError(f"@ib.{kind}: given {thing!r}; allowed: a function or a class")
        setattr(thing, _MARK, kind)
        return thing

    return mark if function is None else mark(function)
