"""The networks of a grid in words: their layers, their parameters, and how many of these the initializers fill."""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from initbench.errors import shape_text
from initbench.registry import SHOWN_DIGITS, shorten_digests
from initbench.reporting import names
from initbench.reporting.limits import MAX_LAYERS, MAX_NETWORK_ROWS, MAX_NETWORKS
from initbench.spec.cell import Cell
from initbench.spec.grid import Grid
from initbench.spec.networks import specified

COUNTS = ("no", "one", "two", "three", "four", "five", "six")

# The models in which `normalization` stands after each hidden layer, so that the scale of its weights cancels.
NORMALIZED_LAYERS = ("perceptron", "lenet5", "convnet", "allconv")


class Network(NamedTuple):
    """One network of a grid: a model for the images and classes of one or several data sets.

    `model` is its canonical string and `name` the one for people, `hidden` the widths of a perceptron's hidden layers,
    and `shape` the height, width and channels of an image. `layers` are the shapes of the weights that the initializers
    fill, in the order of execution: None for an own model whose code has not been executed.
    """

    model: str
    name: str
    hidden: str
    normalization: str
    datasets: tuple[str, ...]
    shape: tuple[int, int, int]
    classes: int
    layers: tuple[tuple[int, ...], ...] | None
    parameters: int = 0
    other_parameters: int = 0  # those that keep the module's own start

    @property
    def is_perceptron(self) -> bool:
        """Whether it is a perceptron, whose widths say all."""
        return self.model == names.PERCEPTRON

    @property
    def widths(self) -> tuple[int, ...]:
        """The numbers of inputs, of hidden units and of outputs of a perceptron."""
        height, width, channels = self.shape
        return (height * width * channels, *Cell(hidden=self.hidden).widths, self.classes)


def of_grid(grid: Grid, digits: int = SHOWN_DIGITS) -> list[Network]:
    """Return the networks of a grid, each once; own models have this many digits of their digests."""
    shown = names.datasets(grid.sources)
    by_network: dict[Network, list[str]] = {}
    for (model, hidden, normalization), source in itertools.product(specified(grid.axes), grid.sources.values()):
        shape = (1, 1, source.pixels) if model == names.PERCEPTRON else source.shape
        name = names.model(shorten_digests(model, digits))
        network = Network(model, name, hidden, normalization, (), shape, source.classes, None)
        try:
            cell = Cell(model=model, hidden=hidden, normalization=normalization)
            built = cell.network(shape, source.classes)
        except (KeyError, ValueError):  # an own model whose code is not there
            pass
        else:
            network = network._replace(
                layers=built.shapes, parameters=built.parameter_count, other_parameters=built.other_parameters
            )
        by_network.setdefault(network, []).append(shown[source.name])
    return [network._replace(datasets=tuple(dict.fromkeys(datasets))) for network, datasets in by_network.items()]


def are_plain(networks: Iterable[Network]) -> bool:
    """Return whether all networks are perceptrons without normalization, of which the initializers fill everything."""
    return all(network.is_perceptron and network.normalization == "none" for network in networks)


def have_no_hidden_layer(networks: Iterable[Network]) -> bool:
    """Return whether all networks are perceptrons of a single layer."""
    return all(network.is_perceptron and not network.hidden for network in networks)


def have_convolutions(networks: Iterable[Network]) -> bool:
    """Return whether the initializers fill a convolution in some network."""
    return any(len(shape) > 2 for network in networks for shape in network.layers or ())


def sentence(networks: Sequence[Network], output_is_same: bool = False) -> str:
    """Return the networks as one sentence; `output_is_same`: the output has the activation of the combination."""
    named = list(dict.fromkeys(_short(network) for network in networks))
    if output_is_same and have_no_hidden_layer(networks):
        return f"{'; '.join(named)}: the activation is that of the output."
    others = [network for network in networks if not network.is_perceptron]
    inputs = list(dict.fromkeys(_inputs(network) for network in others))
    if len(named) <= MAX_NETWORKS:
        if len(inputs) < len(others):  # they have the same
            return f"{' and '.join(named)}, for {_either(inputs)}."
        return "; ".join(_short(n) + f", for {_inputs(n)}" * (not n.is_perceptron) for n in networks) + "."
    if others:
        count = [network.parameters for network in networks if network.layers is not None]
        sizes = f", of {min(count):,} to {max(count):,} parameters" * (len(set(count)) > 1)
        names_of = _some([_called(network) for network in networks])
        return f"{len(named)} networks{sizes}, for {_some(inputs)}: {names_of}."
    shapes = _some([network.hidden.replace("-", " → ") or "no hidden layer" for network in networks])
    pixels = _either([str(network.widths[0]) for network in networks])
    outputs = _either([str(network.classes) for network in networks])
    return f"{len(named)} networks, {pixels} → hidden layers → {outputs}; hidden layers: {shapes}."


def _short(network: Network) -> str:
    """A network in a few words: a perceptron's widths; of any other model its layers and parameters."""
    normalized = f", {network.normalization} normalization" * (network.normalization != "none")
    if network.is_perceptron:
        count = len(network.widths) - 2
        layers = _widths(network)
        if not count:
            return f"One layer, {layers}, no hidden layer{normalized}"
        return f"{layers}, {_count(count)} hidden {'layer' if count == 1 else 'layers'}{normalized}"
    if network.layers is None:
        return network.name
    return f"{network.name} ({layers_in_words(network)}, {network.parameters:,} parameters){normalized}"


def _widths(network: Network) -> str:
    """The widths of a perceptron; of three and more equal hidden layers their number, 784 → 20 × 64 → 10."""
    inputs, *hidden, outputs = map(str, network.widths)
    if len(hidden) > 2 and len(set(hidden)) == 1:
        hidden = [f"{len(hidden)} × {hidden[0]}"]
    return " → ".join([inputs, *hidden, outputs])


def _inputs(network: Network) -> str:
    """The images of a network, or their features, and its classes."""
    height, width, channels = network.shape
    images = f"{channels:,} features" if height == width == 1 else f"{shape_text(network.shape)} images"
    return f"{images} and {network.classes} classes"


def _called(network: Network) -> str:
    if network.is_perceptron:
        return f"perceptron {_widths(network)}"
    return network.name


def widths(networks: Sequence[Network]) -> str:
    """Return the widths of perceptrons, each once."""
    texts = (_widths(n) + ("" if n.hidden else ", no hidden layer") for n in networks)
    return "; ".join(dict.fromkeys(texts))


def described(network: Network) -> str:
    """Return a network as a paper describes it: what it is, for which images, and how many parameters it has."""
    if network.is_perceptron:
        return f"a fully connected network ({widths([network])})"
    if network.layers is None:
        return network.name
    start = f", of which {network.other_parameters:,} kept the start of their module" * bool(network.other_parameters)
    return f"{network.name} ({layers_in_words(network)}, {network.parameters:,} parameters{start})"


def layers_in_words(network: Network) -> str:
    """Return how many layers of each kind the initializers fill; of an own model, whose kinds are open, how many."""
    layers = network.layers or ()
    if "@" in network.model:
        return f"{_count(len(layers))} {'layer' if len(layers) == 1 else 'layers'}"
    convolutions = sum(len(shape) > 2 for shape in layers)
    kinds = [(convolutions, "convolution"), (len(layers) - convolutions, "dense layer")]
    return " and ".join(f"{_count(n)} {kind}{'s' * (n > 1)}" for n, kind in kinds if n)


def _count(number: int) -> str:
    return COUNTS[number] if number < len(COUNTS) else str(number)


def _either(words: Iterable[str]) -> str:
    *first, last = dict.fromkeys(words)
    return f"{', '.join(first)} or {last}" if first else last


def _some(words: Iterable[str]) -> str:
    from initbench.reporting import narrative  # with pandas, for which a plan does not wait

    return narrative.some(list(dict.fromkeys(words)))


def filled(network: Network) -> str:
    """Return how many parameters of a network the initializers set.

    >>> lenet = Network("lenet5", "LeNet-5", "", "none", (), (28, 28, 1), 10, ((5, 5, 1, 6),), 61706)
    >>> filled(lenet)
    '61,706 parameters, all set by the initializers'
    >>> filled(lenet._replace(normalization="batch", parameters=62158, other_parameters=452))
    '61,706 of 62,158 parameters are set by the initializers; 452 of batch normalization keep the module’s own start'
    """
    if network.layers is None:
        return "its parameters are counted where its code runs"
    if not network.other_parameters:
        return f"{network.parameters:,} parameters, all set by the initializers"
    own, total = network.other_parameters, network.parameters
    kind = f" of {network.normalization} normalization" if "@" not in network.model else ""
    keep = "keeps" if own == 1 else "keep"
    share = f"{total - own:,} of {total:,} parameters are set by the initializers"
    return f"{share}; {own:,}{kind} {keep} the module’s own start"


def lines(networks: Sequence[Network]) -> list[str]:
    """Return a line for each network, for a plan: its parameters; none if all are plain perceptrons."""
    if are_plain(networks):
        return []
    shown = [f"{_with_size(network, networks)}: {filled(network)}" for network in networks[:MAX_NETWORK_ROWS]]
    return shown + [f"{len(networks) - len(shown)} more networks"] * (len(networks) > len(shown))


def _with_size(network: Network, networks: Sequence[Network]) -> str:
    """The name of a network, with what tells it from the others of its model."""
    alike = [other for other in networks if other.model == network.model]
    parts = [_called(network)]
    if len({other.normalization for other in alike}) > 1 or (network.is_perceptron and network.normalization != "none"):
        parts.append(f"{'no' if network.normalization == 'none' else network.normalization} normalization")
    if not network.is_perceptron and len({(other.shape, other.classes) for other in alike}) > 1:
        parts.append(_inputs(network))
    return ", ".join(parts)


def rows(networks: Sequence[Network]) -> list[tuple[str, str, str, str]]:
    """Return the rows of a table: network, weights that the initializers fill, parameters, those that keep their start.

    None if all are plain perceptrons.
    """
    if are_plain(networks):
        return []
    return [
        (
            _with_size(network, networks),
            _weights(network),
            "–" if network.layers is None else f"{network.parameters:,}",
            "–" if network.layers is None else f"{network.other_parameters:,}",
        )
        for network in networks[:MAX_NETWORK_ROWS]
    ]


def _weights(network: Network) -> str:
    """The shapes of the weights that the initializers fill; equal ones that follow one another are counted."""
    if network.layers is None:
        return "–"
    runs = [(shape_text(shape), len(list(group))) for shape, group in itertools.groupby(network.layers)]
    parts = [text if count == 1 else f"{text} ({count} times)" for text, count in runs[:MAX_LAYERS]]
    return ", ".join(parts) + f", {len(runs) - len(parts)} more" * (len(runs) > len(parts))


def explanations(grid: Grid, networks: Sequence[Network]) -> list[str]:
    """Return what a reader should know of networks and training that are not those of a plain perceptron."""
    sentences = []
    if not are_plain(networks):
        has_others = any(network.other_parameters or network.layers is None for network in networks)
        others = "All other parameters, “not filled” here, keep the module’s own start, under the run’s seed."
        sentences.append(
            "The initializer fills the weights of dense layers, convolutions and embeddings, and the bias initializer "
            f"their biases. {others if has_others else 'There are no other parameters.'}"
        )
    if have_convolutions(networks):
        sentences.append(
            "Weights of a convolution are height × width × input channels × output channels: its fan_in is the product "
            "of the first three, and its fan_out height × width × output channels."
        )
    if not all(network.is_perceptron for network in networks):
        sentences.append("Networks other than perceptrons train one at a time, by an ordinary PyTorch loop.")
    return [*sentences, *_of_normalization(networks), *_of_noise(grid)]


def _of_normalization(networks: Sequence[Network]) -> list[str]:
    """Say what normalization means for a comparison of initializers."""
    sentences = []
    if any("@" in network.model and network.other_parameters for network in networks):
        sentences.append(
            "Where an own model normalizes the output of a layer, the scale of the layer’s weights has no effect on "
            "the forward pass: there, initializers that differ in scale alone differ less."
        )
    normalized = [network for network in networks if network.normalization != "none"]
    kinds = _either(sorted({network.normalization for network in normalized})).capitalize() if normalized else ""
    if any(network.model.partition("(")[0] in NORMALIZED_LAYERS for network in normalized):
        sentences.append(
            f"{kinds} normalization stands between each hidden layer and its activation. It divides by the scale of "
            "the layer’s output, so that the scale of the layer’s weights has no effect on the forward pass, only on "
            "how far a step of the same learning rate turns them. Initializers that differ in scale alone differ less "
            "here than without normalization."
        )
    if any(network.model.partition("(")[0] not in NORMALIZED_LAYERS for network in normalized):
        sentences.append(
            f"{kinds} normalization stands at the start of each block of the residual perceptron: the scale of a "
            "block’s weights still sets how much it adds."
        )
    return sentences


def noise(grid: Grid) -> list[str]:
    """Return what changes training at random, and neither validation nor test."""
    return ["dropout"] * any(grid.axes["dropout"]) + ["augmentation"] * (set(grid.axes["augment"]) != {"none"})


def _of_noise(grid: Grid) -> list[str]:
    """Say under which conditions the training loss is measured, where validation and test have others."""
    both = " and ".join(noise(grid))
    if not both:
        return []
    return [
        f"Training losses are measured with {both}, validation and test without: a training loss above the validation "
        "loss is expected."
    ]
