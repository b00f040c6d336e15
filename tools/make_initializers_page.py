"""Make docs/reference/initializers.md, and its pictures, from the docstrings: `python -m tools.make_initializers_page`.

The picture of each scheme is a histogram of its weights for (784, 256) with the distribution that it states, beside
the weights.
"""

import os
import re
from pathlib import Path

from initbench.system.threads import ENVIRONMENT

os.environ.update(ENVIRONMENT)  # before NumPy is imported: what is computed here is what a run computes

from initbench.functions.activations import ACTIVATIONS
from initbench.initializers import INITIALIZERS, gain, schemes
from initbench.initializers.moments import PYTORCH_GAINS
from initbench.registry import documentation
from initbench.reporting.figures import weights
from initbench.training.parameters import first_layer_on_mnist
from tools import libraries

DOCS = Path(__file__).parent.parent / "docs" / "reference"
SHAPE = (784, 256)

INTRODUCTION = """# The initializers

Generated from the docstrings by `make docs`. `initbench show NAME --shape 784,256` draws a scheme in the terminal and
as a figure.

## Where to begin

| the hidden layers are | a few of them | many of them |
| --- | --- | --- |
| relu, leaky_relu | `he_normal` | `he_normal` |
| tanh | `glorot_uniform` | `edge_of_chaos` (for the biases too), `lsuv`, `dks` |
| softsign | `glorot_uniform` | `he_normal`, `edge_of_chaos` (for the biases too), `lsuv`, `dks` |
| sigmoid | `kumar` | `dks` |
| selu | `lecun_normal` | `lecun_normal`, `orthogonal`, `lsuv` |
| elu | `activation_scaling` | `activation_scaling`, `lsuv` |
| gelu | `activation_scaling` | `lsuv`, `dks` |
| silu, softplus | `activation_scaling` | `dks` |
| none: the inputs are the outputs' only layer | `zeros`, small `normal` | |
| to repeat an experiment of another library | `torch_linear_default`, `keras_default`, `tf1_default` | |

That is a place to begin, and what is best for a network is a question for a grid. "A few" is the theory of each scheme.
"Many" was checked with [`initbench signal`](../explanation/signal.md): in 20 hidden layers of 128 units, on MNIST,
these neither vanish nor explode, do not saturate, and keep images distinct (of relu, a quarter of the units are dead at
the start). With sigmoid, for example, the gradient of every other scheme that was tried shrinks 20,000-fold and more
from the last layer to the first.

What a scheme looks at:

- the shape of a layer alone: most of them;
- the activation: `edge_of_chaos`, `kumar`, `activation_scaling`; the depth: `fixup`, `gpt2`;
- the first batches: `lsuv`, `within_layer`, `pca`, `kmeans`, `autoinit`, `dks`, `tat`;
- gradients: `metainit`, `gradinit`, which take seconds for each network.

## The pictures

The pictures are of 784 × 256 weights at seed 0: the histogram, with a line for the distribution of a weight where it is
known; then the weights of the first 64 inputs and units. W is `[fan_in, fan_out]`; φ is the network's activation. A
scheme of single layers is a function of the shape and, where its text states so, of the activation, the layer's
position and the number of layers. Of a scheme of networks, the first layer of 784-256-10 with tanh is drawn, as it
starts on MNIST, and the weights of the first 36 units as images.

"""


FITTING = """
## Which networks they fit

A scheme that does not fit a network is refused before anything is trained. `initbench show lenet5` prints the layers of
a [model](models.md).

"""

FANS = """
`per_layer` gives each layer position a scheme of its own: `{ first = "dirac", hidden = "he_normal", last = "zeros" }`.
Position and number of layers follow the order in which a network executes its layers; shortcuts and branches are not
seen.

What is taken as the fans, and so as the scale of Glorot's, He's and LeCun's schemes:

- A dense layer: its inputs and its outputs.
- A convolution: size of the field × channels in, and × channels out. fan_in is the number of inputs of a unit, as He et
  al. 2015, section 2.2, define it. Both are those of PyTorch.
- A convolution with groups: those of one group, since each is a convolution of its own. fan_in is PyTorch's; its
  fan_out counts the outputs of all groups, and so does Keras', though an input feeds those of its own group alone. The
  schemes that use fan_out differ: of a depthwise 3 × 3 convolution `glorot_uniform` has a variance of 2 / (9 + 9) here.
- A transposed convolution: those of its forward pass, as in Flax. PyTorch stores its weights the other way round, and
  takes fan_in for fan_out. Strides, by which a unit has fewer inputs, are not counted, as in all three libraries.
- An embedding: fan_in is the size of a vector, fan_out the number of vectors, as in PyTorch, and as of the dense layer
  that it is often tied to.
"""


LIBRARIES = """
## What other libraries call them

Made from the pairs in `tools/libraries.py`, which `tests/initializers/test_libraries.py` samples and compares: the same
distribution (moments, support, Kolmogorov-Smirnov test, exact bounds) where a library's column has a name, and a
demonstrably different one where the last column says so.

ALIASES are accepted wherever an initializer is named:
in grid files, by `--set`, by `initbench show` and in `ib.initializers`. With PyTorch's defaults they are the schemes of
Glorot and He, with other parameters `variance_scaling`: `kaiming_normal(mode='fan_out')` is
`variance_scaling(scale=2.0, mode='fan_out', distribution='normal')`. Cells, tables and reports have these names.

"""

LEFT_OUT = """
## What is not here, and why

- Circulant and Fourier matrices: published as forms that layers keep (circulant projections, spectral layers), not as a
  start of ordinary dense layers. Hadamard's stands in `zero_hadamard`.
- IDInit's noise of the order of 10⁻⁶ on the diagonal, whose scale we could not establish, and its rule for the last
  layers of residual branches, of which there are none.
- GradInit for Adam, whose limit on the sum of the gradients we could not establish.
- TAT for rectifiers, which chooses the slope of leaky_relu: a setting of the activation here.
- muP's learning rates of layers, which are the optimizer's half of it.
- Fixup's shortcuts, scalar biases and multipliers.
- A picture of `dirac` and `delta_orthogonal`, which fill convolutions and not 784 × 256 weights.

"""

GAINS = """
## The gains of the activations

What `activation_scaling` multiplies by. `second_moment` is 1 / √E[φ(z)²] with z ~ N(0, 1), by quadrature: after
pre-activations of variance 1 the next layer's have variance 1 again. `pytorch` is PyTorch's `calculate_gain`, which has
none for half of the activations. Softmax stands at the end of a network, where nothing follows: 1.

"""


def main() -> None:
    """Write the page and the pictures."""
    (DOCS / "initializers.md").write_text(page(), encoding="utf-8")
    pictures = DOCS / "initializers"
    pictures.mkdir(exist_ok=True)
    for name in pictured():
        entry = INITIALIZERS[name]
        if "network" in entry.tags:
            W, distribution = first_layer_on_mnist(name, SHAPE, "tanh", 0), None
        else:
            W, distribution = entry.function(SHAPE, seed=0), schemes.distribution(name, SHAPE)
        panels = ["histogram", "images" if "network" in entry.tags else "weights"]
        (pictures / f"{name}.png").write_bytes(weights.picture(panels, W, distribution, dpi=60))


def pictured() -> list[str]:
    """The schemes of perceptrons, all but those of convolutions."""
    return [n for n, e in INITIALIZERS.items() if e.fit.network != "convolution" and e.fit.test(SHAPE)]


def page() -> str:
    """The page as Markdown."""
    families = schemes.families()
    biases = [f"`{name}`" for name, entry in INITIALIZERS.items() if "bias" in entry.tags]
    text = [linked(INTRODUCTION), "## All of them\n\n"]
    for family, names in families.items():
        links = ", ".join(f"[{name}](#{name})" for name in names)
        text.append(f"- **{family.partition(':')[0]}**: {links}\n")
    text.append(f"\nFor biases too: {', '.join(sorted(biases))}.\n")
    text += [FITTING, fitting(), FANS]
    for family, names in families.items():
        text.append(f"\n## {family}\n")
        for name in names:
            entry = INITIALIZERS[name]
            description = documentation(entry.function).partition(">>>")[0].strip()
            whole = ", as a whole" * ("network" in entry.tags)
            text.append(f"\n### {name}\n\n`{entry.signature}`\n\n{description}\n\nFits {entry.fit.words}{whole}")
            text[-1] += "; and biases.\n" if "bias" in entry.tags else ".\n"
            text += [f"\nAlso `{alias.signature}`, as in PyTorch.\n" for alias in INITIALIZERS.aliases_of(name)]
            if name in pictured():
                text.append(f"\n![{name}](initializers/{name}.png)\n")
    aliases = "`, `".join(INITIALIZERS.aliases).join("``")
    return "".join(
        [*text, LIBRARIES.replace("ALIASES", aliases), libraries.table(), GAINS, gains(), LEFT_OUT.rstrip() + "\n"]
    )


def linked(text: str) -> str:
    """Return Markdown in which the names of schemes lead to them."""
    return re.sub(r"`(\w+)`", lambda name: f"[{name[0]}](#{name[1]})" if name[1] in INITIALIZERS else name[0], text)


def fitting() -> str:
    """Which schemes fit which networks, as a Markdown table."""
    names: dict[str, list[str]] = {}
    for name, entry in INITIALIZERS.items():
        dense = "" if entry.fit.test((3, 3, 2, 2)) else "dense layers alone"
        kind = {"any": dense or "any", "convolution": "a convolution at least", "perceptron": "perceptrons"}
        names.setdefault(kind[entry.fit.network], []).append(f"`{name}`")
    rows = ["| networks | schemes |", "| --- | --- |"]
    return "\n".join([*rows, *(f"| {kind} | {', '.join(of_kind)} |" for kind, of_kind in names.items())]) + "\n"


def gains() -> str:
    """The gain of each activation as a Markdown table."""
    rows = ["| activation | `second_moment` | `pytorch` |", "| --- | --- | --- |"]
    for name in ACTIVATIONS:
        theirs = f"{gain(name, 'pytorch'):.4f}" if name in PYTORCH_GAINS else "none: as `second_moment`"
        rows.append(f"| {name} | {gain(name):.4f} | {theirs} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
