"""Resolve initializers as grid files name them: the scheme of each layer, and the parameters that it returns.

An initializer is a scheme of single layers (`he_normal`), a scheme of whole networks (`lsuv`), or one scheme for each
layer position, `per_layer(first=…, hidden=…, last=…)`.
"""

import inspect
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from initbench.errors import nearest, shape_text, shown
from initbench.functions.activations import ACTIVATIONS
from initbench.initializers._base import INITIALIZERS, Array, Initializer, Position, Shape, fans
from initbench.initializers.model import Model, Network, NoBatches, Parameters, layer_weights, positions
from initbench.random import streams
from initbench.registry import documentation, own_names_in, parsed_call

if TYPE_CHECKING:
    from scipy.stats.distributions import rv_frozen

POSITIONS: tuple[Position, ...] = get_args(Position)
PER_LAYER = "per_layer"

# The modules of the schemes, in the order of the documentation.
FAMILIES = (
    "constant",
    "samplers",
    "scaling",
    "structured",
    "theory",
    "depth",
    "kernel_shaping",
    "data_driven",
    "gradient_driven",
)


def resolve(value: object, only: str = "") -> str:
    """Return the canonical string of an initializer from any spelling.

    A table with the keys `hidden` and `first` or `last` (or both; one that is missing is as `hidden`) names a scheme
    for each layer position; so does its string, `per_layer(first=…, hidden=…, last=…)`.

    Parameters
    ----------
    given
        A name, a table, or a canonical string.
    only
        `"bias"` for initializers of biases; default any of weights.

    Raises
    ------
    ValueError
        With one line: the value, and what is allowed.

    Examples
    --------
    >>> resolve({"name": "normal", "std": 1})
    'normal(std=1.0)'
    >>> resolve({"hidden": "he_normal", "last": {"name": "normal", "std": 0.01}})
    'per_layer(first=he_normal, hidden=he_normal, last=normal(std=0.01))'
    """
    table = by_position(value)
    if table is None:
        return str(INITIALIZERS.resolve(value, only))
    form = "a scheme for each position is { first = …, hidden = …, last = … }; one that is missing is as `hidden`"
    for key in table:
        if key not in POSITIONS:
            raise ValueError(
                f"given {shown(value)}: there is no position {shown(key)}; {form}{nearest(key, POSITIONS)}"
            )
        if is_network_scheme(name := _name(table[key])):
            raise ValueError(f"{key}: {name} fills whole networks, and cannot stand in a position; {form}")
    if "hidden" not in table:
        raise ValueError(f"given {shown(value)}: `hidden` is missing; {form}")
    settled: dict[str, str] = {}
    # Positions of the table come first, so that a mistake names one of them.
    for position in sorted(POSITIONS, key=lambda position: position not in table):
        try:
            settled[position] = str(INITIALIZERS.resolve(table.get(position, table["hidden"]), only or "single-layer"))
        except ValueError as error:
            raise ValueError(f"{position}: {error}") from None
    if len(set(settled.values())) == 1:
        return settled["hidden"]
    return f"{PER_LAYER}({', '.join(f'{position}={settled[position]}' for position in POSITIONS)})"


def _name(value: object) -> str:
    """Return the name in a spelling of a scheme, or an empty string."""
    named = value.get("name", "") if isinstance(value, Mapping) else value
    return named.partition("(")[0] if isinstance(named, str) else ""


def by_position(value: object) -> dict[str, object] | None:
    """Return the spelling for each position, or None if the value names a single scheme."""
    if isinstance(value, Mapping):
        return None if "name" in value or not {*value} & {*POSITIONS} else {str(key): v for key, v in value.items()}
    if not isinstance(value, str) or not value.startswith(f"{PER_LAYER}("):
        return None
    try:
        return dict(parsed_call(value)[1])
    except ValueError:
        raise ValueError(f"given {shown(value)}; allowed: {PER_LAYER}(first=…, hidden=…, last=…)") from None


def of_layers(initializer: str, depth: int) -> tuple[str, ...]:
    """Return the scheme of each of `depth` layers; of a scheme of whole networks its name, once.

    >>> of_layers("per_layer(first=zeros, hidden=ones, last=he_normal)", 3)
    ('zeros', 'ones', 'he_normal')
    >>> of_layers("zeros", 2), of_layers("lsuv", 2)
    (('zeros', 'zeros'), ('lsuv',))
    """
    # What a plugin's scheme is becomes known when its code is loaded.
    return _of_layers(initializer, depth) if "@" not in initializer else _of_layers.__wrapped__(initializer, depth)


@lru_cache(maxsize=1024)
def _of_layers(initializer: str, depth: int) -> tuple[str, ...]:
    table = by_position(initializer)
    if table is not None:
        return tuple(str(table[position]) for position in positions(depth))
    return (initializer,) if is_network_scheme(initializer) else (initializer,) * depth


def distribution(scheme: str, shape: tuple[int, ...], **arguments: Any) -> "rv_frozen | None":
    """Return the distribution of each single weight that a scheme draws, from `scipy.stats`.

    `scheme` is a canonical string; `arguments` are the scheme's other arguments, such as `activation`: those that it
    does not take are ignored. Returns None where the weights are not random, differ in distribution, or depend on data.

    >>> round(float(distribution("he_normal", (784, 256)).std()), 4)
    0.0505
    """
    single = single_weights(scheme, shape, **arguments)
    frozen: rv_frozen | None = single and single.frozen()
    return frozen if frozen and frozen.std() > 0 else None


def single_weights(scheme: str, shape: tuple[int, ...], **arguments: Any) -> Any:
    """Return what a scheme is registered with for each single weight, such as `Normal`; None where there is nothing.

    >>> single_weights("normal(std=0.2)", (784, 256))
    Normal(mean=0.0, std=0.2)
    """
    record, parameters = INITIALIZERS.lookup(scheme)
    signature = inspect.signature(record.function)
    parameters |= {name: value for name, value in arguments.items() if name in signature.parameters}
    bound = signature.bind(shape, **parameters)
    bound.apply_defaults()
    return record.distribution(**{k: v for k, v in bound.arguments.items() if k not in ("seed", "dtype")})


def families() -> dict[str, list[str]]:
    """Return the names of all schemes by family: the first line of their module."""
    by_family: dict[str, list[str]] = {}
    for module in FAMILIES:
        title = documentation(import_module(f"initbench.initializers.{module}")).partition("\n")[0]
        names = [name for name, entry in INITIALIZERS.items() if entry.function.__module__.endswith(f".{module}")]
        by_family[title.rstrip(".") or module] = names
    return by_family


def is_network_scheme(initializer: str) -> bool:
    """Return whether a canonical string names a scheme of whole networks."""
    return _tagged(initializer, "network")


def with_steps(initializer: str, most: int) -> tuple[str, float]:
    """Return an initializer with at most this many steps, and how many times as long the initializer itself takes.

    >>> with_steps("metainit(steps=100)", 4), with_steps("lsuv", 4)
    (('metainit(steps=4)', 25.0), ('lsuv', 1.0))
    """
    if not is_network_scheme(initializer):
        return initializer, 1.0
    record, parameters = INITIALIZERS.lookup(initializer)
    steps = parameters.get(record.steps, 0)
    if steps <= most:
        return initializer, 1.0
    return resolve({"name": record.name, **parameters, record.steps: most}), steps / most


def sets_biases(initializer: str) -> bool:
    """Return whether a scheme of whole networks sets the biases too, whatever the bias initializer."""
    return _tagged(initializer, "sets-biases")


def _tagged(initializer: str, tag: str) -> bool:
    """Return whether a canonical string names a scheme with this tag; `per_layer` has none."""
    return (
        not initializer.startswith(f"{PER_LAYER}(")
        and _name(initializer) in INITIALIZERS
        and tag in _entry(initializer).tags
    )


def _entry(scheme: str) -> Initializer:
    """Return the record that a scheme's canonical string names."""
    return INITIALIZERS[_name(scheme)]


def runs_here(*names: str) -> bool:
    """Return whether this process can call all functions of these canonical strings: it has the code of plugins'."""
    for full in own_names_in(*names):
        records = [registry[full] for registry in (INITIALIZERS, ACTIVATIONS) if full in registry]
        if not records or any(record.is_described for record in records):
            return False
    return True


def unfit(
    initializer: str, shapes: Sequence[Shape], activation: str, bias: bool = False, is_perceptron: bool = True
) -> str:
    """Return why an initializer cannot fill a network of these layers and this activation, or an empty string.

    `shapes` are those of the layers' weights, in the order of execution; `is_perceptron` states that the network is
    dense layers with an activation between them, and nothing else. With `bias` the initializer is one of the biases. A
    plugin's function that this process cannot call fits.

    >>> unfit("random_walk", ((784, 10),), "gelu")
    "random_walk: activation = 'gelu'; allowed: identity, relu, tanh"
    >>> unfit("he_normal", ((5, 5, 1, 6), (3456, 10)), "relu", is_perceptron=False)
    ''
    >>> unfit("identity", ((5, 5, 1, 6), (3456, 10)), "relu", is_perceptron=False)
    'identity fits weights of 2 dimensions, [fan_in, fan_out], and the first layer is 5 × 5 × 1 × 6'
    """
    depth = len(shapes)
    schemes = of_layers(initializer, depth)
    if not bias and (misfit := _misfit(schemes, shapes, is_perceptron)):
        return misfit
    if not runs_here(initializer, activation):
        return ""
    if is_network_scheme(initializer):
        return _refusal(initializer, activation, "hidden", depth)
    refusals = (
        _refusal(scheme, activation, position, depth, bias)
        for scheme, position in zip(schemes, positions(depth), strict=True)
    )
    return next(filter(None, refusals), "")


def _misfit(schemes: Sequence[str], shapes: Sequence[Shape], is_perceptron: bool) -> str:
    """Return why schemes, one of the whole network or one for each layer, do not fit it, or an empty string."""
    entries = {scheme: _entry(scheme) for scheme in schemes if _name(scheme) in INITIALIZERS}
    for entry in entries.values():
        if entry.fit.network == "perceptron" and not is_perceptron:
            convolution = next((layer for layer, shape in enumerate(shapes) if len(shape) > 2), None)
            other = "this network has other parts, such as shortcuts or normalization"
            reason = other if convolution is None else _layer_in_words(convolution, shapes)
            return f"{entry.name} fits {entry.fit.words}, and {reason}; use it with model = 'perceptron'"
        if entry.fit.network == "convolution" and all(len(shape) == 2 for shape in shapes):
            reason = f"this network has none: {_layer_in_words(0, shapes)}"
            return f"{entry.name} fits {entry.fit.words}, and {reason}; use it with a convolutional model"
    for layer, (scheme, shape) in enumerate(zip(schemes, shapes, strict=False)):
        if scheme in entries and not entries[scheme].fit.test(shape):
            return f"{entries[scheme].name} fits {entries[scheme].fit.words}, and {_layer_in_words(layer, shapes)}"
    return ""


def _layer_in_words(layer: int, shapes: Sequence[Shape]) -> str:
    """Return a layer and its shape: `the first layer is 5 × 5 × 1 × 6`."""
    position = positions(len(shapes))[layer]
    name = f"layer {layer + 1}" if position == "hidden" else f"the {position} layer"
    return f"{name} is {shape_text(shapes[layer])}"


def _refusal(scheme: str, activation: str, position: Position, depth: int, bias: bool = False) -> str:
    """Return why a scheme refuses an activation, a position or a depth, tried on small layers; or an empty string."""
    supplied = _entry(scheme).supplied
    if not is_network_scheme(scheme):  # an argument that the scheme does not take does not matter: try once
        activation = activation if "activation" in supplied else "identity"
        position, depth = position if "position" in supplied else "last", depth if "depth" in supplied else 1
    return _tried(scheme, activation, position, depth, bias)


@lru_cache(maxsize=4096)
def _tried(scheme: str, activation: str, position: Position, depth: int, bias: bool) -> str:
    shape = (2,) if bias else _entry(scheme).fit.example
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if is_network_scheme(scheme):
                INITIALIZERS.call(scheme, Model(((2, 2),) * depth, activation=activation, output_activation=activation))
                return ""
            W = INITIALIZERS.call(
                scheme, shape, activation=activation, position=position, depth=depth, fan_in=2, seed=0
            )
    except ValueError as error:
        if isinstance(error, NoBatches) or isinstance(error.__cause__, NoBatches):  # raised in a user's scheme
            return ""
        return f"{scheme}: {error}"
    except ArithmeticError:
        return f"{scheme}: its formula has no finite value with activation = {activation!r}; allowed: another one"
    return (
        "" if np.isfinite(W).all() else f"{scheme}: its weights are too large; allowed: weights that float32 can hold"
    )


def probe(initializer: str) -> None:
    """Call the schemes of a canonical string on tiny layers: ValueError if a parameter is invalid.

    What depends on the activation, the depth and the layers' shapes is for `unfit`.
    """
    for scheme in dict.fromkeys(of_layers(initializer, 3)):
        # Every scheme takes the identity, and without hidden layers the activation does not matter to the others.
        activation = "tanh" if is_network_scheme(scheme) else "identity"
        if "@" in scheme:  # it is tried on the shapes of the grid
            continue
        if refusal := _refusal(scheme, activation, "last", 1):
            raise ValueError(refusal)


def parameters(
    initializer: str, bias_initializer: str, network: Network, seed: int, dtype: Any = np.float32
) -> Parameters:
    """Return for each layer of a network its weights and its bias.

    They come from the streams of the seed: one for the weights of each layer and one for its bias. Each group of a
    convolution is a convolution of its own: a scheme fills one after another, each from a stream of its own. A layer
    without a bias has an empty array. A scheme of whole networks takes the biases of the bias initializer, and may
    change them.
    """
    layers = range(len(network.layers))
    if is_network_scheme(initializer):
        start = network.with_biases([_biases(bias_initializer, network, seed, layer, np.float64) for layer in layers])
        arrays: Parameters = INITIALIZERS.call(initializer, start, seed=seed, dtype=dtype)
        return arrays
    return [layer_parameters(initializer, bias_initializer, network, seed, layer, dtype) for layer in layers]


def layer_parameters(
    initializer: str, bias_initializer: str, network: Network, seed: int, layer: int, dtype: Any = np.float32
) -> tuple[Array, Array]:
    """Return the weights and the bias of one layer, as `parameters` does, by a scheme of single layers.

    Layers count from 0. None depends on another one, so that a network need not be in memory as a whole.
    """
    scheme = of_layers(initializer, len(network.layers))[layer]
    call = partial(INITIALIZERS.call, scheme, **_supplied(network, layer), dtype=dtype)
    W = layer_weights(network, layer, seed, lambda shape, stream: call(shape, seed=stream))
    return W, _biases(bias_initializer, network, seed, layer, dtype)


def _supplied(network: Network, layer: int) -> dict[str, Any]:
    """Return the arguments of a layer's schemes that the network determines."""
    depth = len(network.layers)
    fan_in = fans(network.layers[layer])[0]
    return {
        "activation": network.nonlinearity,
        "position": positions(depth)[layer],
        "depth": depth,
        "fan_in": fan_in,
    }


def _biases(bias_initializer: str, network: Network, seed: int, layer: int, dtype: Any) -> Array:
    start = network.start_biases()[layer]
    if not len(start):
        return np.asarray(start.astype(dtype))
    scheme = of_layers(bias_initializer, len(network.layers))[layer]
    supplied, stream = _supplied(network, layer), streams.biases(seed, layer)
    return np.asarray(INITIALIZERS.call(scheme, start.shape, **supplied, seed=stream, dtype=dtype))
