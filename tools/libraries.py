"""What PyTorch, Keras 3 and JAX call the initializers here: the pairs, a draw from each, and a table for the docs.

A pair is a scheme here and an expression of a library. The table shows the expressions that the tests evaluate. No
library is imported before something is drawn from it.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from initbench.initializers import INITIALIZERS, gain

os.environ["KERAS_BACKEND"] = "torch"  # read when Keras is first imported; initbench has PyTorch anyway

Array = NDArray[Any]
Shape = tuple[int, ...]
Library = Literal["PyTorch", "Keras", "JAX"]

# Each library, and the module of its initializers.
LIBRARIES: dict[Library, str] = {
    "PyTorch": "torch.nn.init",
    "Keras": "keras.initializers",
    "JAX": "jax.nn.initializers",
}


@dataclass(frozen=True)
class Pair:
    """A scheme here beside an initializer of a library, which draws the same unless `departs` says what it draws."""

    here: str  # as a grid file writes it
    library: Library
    there: str  # an expression; of PyTorch it fills W, which is [fan_out, fan_in, ...]
    departs: str = ""  # what it draws, where that is something else: the tests assert that it differs
    note: str = ""
    shape: Shape = (400, 300)  # [..., fan_in, fan_out], or [fan_out] of a bias
    supplied: Mapping[str, object] = field(default_factory=dict)  # what a run supplies to the scheme

    @property
    def scheme(self) -> str:
        """The name of the scheme here, without its parameters."""
        return self.here.partition("(")[0]

    @property
    def name(self) -> str:
        """The name in the library, without its arguments."""
        return self.there.partition("(")[0]

    @property
    def code(self) -> str:
        """The expression as the docs write it: a layer, and what has no arguments, by its name."""
        return self.name if "." in self.name else self.there.removesuffix("()").removesuffix("(W)")

    @property
    def is_example(self) -> bool:
        """Whether its parameters are an example of many, and not what makes it the scheme."""
        return "(" in self.here or bool(self.supplied)

    def ours(self, seed: int, dtype: Any = "float64") -> Array:
        """The weights that the scheme here draws."""
        weights: Array = INITIALIZERS.call(self.here, self.shape, **self.supplied, seed=seed, dtype=dtype)
        return weights

    def theirs(self, seed: int) -> Array:
        """The weights that the library draws, in float32, in our order of dimensions."""
        return draw(self.library, self.there, self.shape, seed)


def draw(library: Library, there: str, shape: Shape, seed: int) -> Array:
    """What an expression of a library draws for a shape of ours, in our order of dimensions."""
    return _DRAWS[library](there, shape, seed)


def _pytorch(there: str, shape: Shape, seed: int) -> Array:
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        W = torch.empty(shape[::-1][:2] + shape[:-2])
        drawn = eval(there, {**vars(torch.nn.init), "nn": torch.nn, "W": W}).detach().numpy()
    if drawn.ndim == 1:
        return drawn
    return drawn.transpose(*range(2, drawn.ndim), 1, 0)


def _keras(there: str, shape: Shape, seed: int) -> Array:
    import keras

    initializer = eval(there, {**vars(keras.initializers), "layers": keras.layers})
    if isinstance(initializer, keras.layers.Layer):
        initializer.kernel_initializer.seed = seed
        initializer.build((None, *(shape[:-1] or (1,))))
        drawn = (initializer.kernel if len(shape) > 1 else initializer.bias).value
    else:
        initializer.seed = seed
        drawn = initializer(shape, dtype="float32")
    return drawn.detach().cpu().numpy()


def _jax(there: str, shape: Shape, seed: int) -> Array:
    import jax
    import numpy as np

    initializer = eval(there, dict(vars(jax.nn.initializers)))
    # JAX compiles for every shape, and almost all of the time goes into optimizing what runs once: without it a new
    # shape takes a tenth of a second, not three quarters.
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        return np.asarray(initializer(jax.random.key(seed), shape, np.float32))
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


_DRAWS: dict[Library, Callable[[str, Shape, int], Array]] = {"PyTorch": _pytorch, "Keras": _keras, "JAX": _jax}


# ---------------------------------------------------------------------------------------------------------------------
# The pairs


def _pairs(here: str, pytorch: str = "", keras: str = "", jax: str = "", **rest: Any) -> Iterator[Pair]:
    """One scheme beside as many libraries as are named."""
    for library, there in zip(LIBRARIES, (pytorch, keras, jax), strict=True):
        if there:
            yield Pair(here, library, there, **rest)


TALL, WIDE, EVEN = (3, 3, 16, 32), (3, 3, 4, 64), (4, 5, 24, 36)  # convolutions

# What Keras' truncated normal does with PyTorch: keras/src/backend/torch/random.py.
LEAK = (
    "On Keras' PyTorch backend some four weights of a million are beyond the bounds: of four normal draws it takes the "
    "first inside them, and where none is, the first."
)
LEAKS = "Keras on PyTorch: see `truncated_normal`."

PAIRS: tuple[Pair, ...] = (
    *_pairs("zeros", "zeros_(W)", "Zeros()", "zeros"),
    *_pairs("ones", "ones_(W)", "Ones()", "ones"),
    *_pairs("constant(value=0.3)", "constant_(W, 0.3)", "Constant(0.3)", "constant(0.3)"),
    # ----- samplers
    *_pairs("uniform(low=-0.2, high=0.3)", "uniform_(W, -0.2, 0.3)", "RandomUniform(-0.2, 0.3)"),
    *_pairs("uniform(low=0.0, high=0.3)", jax="uniform(0.3)"),
    *_pairs("uniform", keras="RandomUniform()"),
    *_pairs("uniform", "uniform_(W)", departs="U(0, 1) by default"),
    *_pairs("uniform", jax="uniform()", departs="U(0, 0.01) by default"),
    *_pairs("uniform", jax="uniform(0.05)", departs="U(0, 0.05)"),
    *_pairs("normal(mean=0.1, std=0.2)", "normal_(W, 0.1, 0.2)", "RandomNormal(0.1, 0.2)"),
    *_pairs("normal(std=0.2)", jax="normal(0.2)", note="JAX's has no mean."),
    *_pairs("normal", keras="RandomNormal()"),
    *_pairs("normal", "normal_(W)", departs="std 1 by default"),
    *_pairs("normal", jax="normal()", departs="std 0.01 by default"),
    *_pairs(
        "truncated_normal(mean=0.1, std=0.2)",
        "trunc_normal_(W, 0.1, 0.2, -0.3, 0.5)",
        "TruncatedNormal(0.1, 0.2)",
        note="In each, std is that before truncation.",
    ),
    *_pairs("truncated_normal(std=0.2)", jax="truncated_normal(0.2)", note="JAX's has no mean."),
    *_pairs(
        "truncated_normal(std=0.2, lower=-1.0, upper=3.0)",
        "trunc_normal_(W, 0, 0.2, -0.2, 0.6)",
        jax="truncated_normal(0.2, lower=-1, upper=3)",
        note="Keras' bounds are always ±2 std.",
    ),
    *_pairs("truncated_normal", keras="TruncatedNormal()", note=LEAK),
    *_pairs(
        "truncated_normal",
        "trunc_normal_(W, std=0.05)",
        departs="its bounds are in the units of the weights, ±2 by default, here 40 std away",
    ),
    *_pairs("truncated_normal", "trunc_normal_(W)", departs="std 1 by default"),
    *_pairs("truncated_normal", jax="truncated_normal()", departs="std 0.01 by default"),
    # ----- variance scaling
    *_pairs("variance_scaling", keras="VarianceScaling()", note=LEAKS),
    *_pairs(
        'variance_scaling(scale=3.0, mode="fan_out", distribution="uniform")',
        keras='VarianceScaling(3, "fan_out", "uniform")',
        jax='variance_scaling(3, "fan_out", "uniform")',
        note="JAX's has no defaults.",
    ),
    *_pairs(
        'variance_scaling(scale=0.5, mode="fan_out", distribution="uniform")',
        'kaiming_uniform_(W, math.sqrt(3), "fan_out")',
    ),
    *_pairs(
        'variance_scaling(scale=0.5, mode="fan_out", distribution="normal")',
        'kaiming_normal_(W, math.sqrt(3), "fan_out")',
        note="PyTorch has no general one: the kaiming pair takes fan_in or fan_out, the xavier pair their mean, each "
        "with a gain, whose square is the scale.",
    ),
    *_pairs('variance_scaling(scale=4.0, mode="fan_avg", distribution="uniform")', "xavier_uniform_(W, 2)"),
    *_pairs(
        'variance_scaling(scale=4.0, mode="fan_avg", distribution="normal")',
        "xavier_normal_(W, 2)",
        'VarianceScaling(4, "fan_avg", "untruncated_normal")',
        'variance_scaling(4, "fan_avg", "normal")',
    ),
    *_pairs(
        'variance_scaling(scale=2.0, mode="fan_geo_avg")',
        jax='variance_scaling(2, "fan_geo_avg", "truncated_normal")',
        note="fan_geo_avg is JAX's alone.",
    ),
    *_pairs(
        'variance_scaling(distribution="uncorrected_truncated_normal")',
        "trunc_normal_(W, 0, 0.05, -0.1, 0.1)",
        "TruncatedNormal(0, 0.05)",
        "truncated_normal(0.05)",
        note="`uncorrected_truncated_normal` is their truncated normal of std √(scale / n).",
    ),
    *_pairs(
        'variance_scaling(distribution="normal")',
        keras='VarianceScaling(distribution="normal")',
        departs='truncated; the normal is `"untruncated_normal"`',
    ),
    *_pairs(
        'activation_scaling(rule="pytorch")',
        'kaiming_normal_(W, nonlinearity="linear")',
        supplied={"activation": "identity"},
    ),
    *(
        Pair(
            'activation_scaling(rule="pytorch")',
            "PyTorch",
            f'kaiming_normal_(W, nonlinearity="{activation}")',
            supplied={"activation": activation},
        )
        for activation in ("sigmoid", "tanh", "relu", "selu")
    ),
    *_pairs(
        'activation_scaling(rule="pytorch")',
        'kaiming_normal_(W, 0.5, nonlinearity="leaky_relu")',
        supplied={"activation": "leaky_relu(negative_slope=0.5)"},
    ),
    *_pairs(
        'activation_scaling(rule="pytorch", mode="fan_avg", distribution="uniform")',
        'xavier_uniform_(W, calculate_gain("tanh"))',
        supplied={"activation": "tanh"},
        note="With the rule `pytorch` the gains are `calculate_gain`'s.",
    ),
    *_pairs(
        "activation_scaling",
        'kaiming_normal_(W, nonlinearity="relu")',
        supplied={"activation": "relu"},
    ),
    *(
        Pair(
            "activation_scaling",
            "PyTorch",
            f'kaiming_normal_(W, nonlinearity="{activation}")',
            departs=f"gain {gain(activation, 'pytorch'):.4g}, where `second_moment` has {gain(activation):.4g}",
            supplied={"activation": activation},
            shape=(1000, 800),
        )
        for activation in ("sigmoid", "tanh", "selu")
    ),
    *_pairs(
        'activation_scaling(rule="pytorch")',
        'kaiming_normal_(W, nonlinearity="leaky_relu")',
        departs="slope 0, unless a is given; `calculate_gain` and the activation here take 0.01",
        supplied={"activation": "leaky_relu(negative_slope=0.5)"},
    ),
    *_pairs(
        "glorot_normal",
        "xavier_normal_(W)",
        'VarianceScaling(mode="fan_avg", distribution="untruncated_normal")',
        'variance_scaling(1, "fan_avg", "normal")',
        note="Glorot & Bengio 2010 draw from a uniform: a normal of the same variance is the libraries'.",
    ),
    *_pairs(
        "glorot_normal",
        keras="GlorotNormal()",
        jax="glorot_normal()",
        departs="truncated, `glorot_truncated_normal`",
    ),
    *_pairs("glorot_truncated_normal", keras="GlorotNormal()", jax="glorot_normal()", note=LEAKS),
    *_pairs("glorot_uniform", "xavier_uniform_(W)", "GlorotUniform()", "glorot_uniform()"),
    *_pairs(
        "he_normal",
        "kaiming_normal_(W)",
        'VarianceScaling(2, distribution="untruncated_normal")',
        'variance_scaling(2, "fan_in", "normal")',
    ),
    *_pairs(
        "he_normal",
        keras="HeNormal()",
        jax="he_normal()",
        departs="truncated, `he_truncated_normal`; He et al. 2015, whom both name, do not truncate",
    ),
    *_pairs("he_truncated_normal", keras="HeNormal()", jax="he_normal()", note=LEAKS),
    *_pairs(
        "he_uniform",
        "kaiming_uniform_(W)",
        "HeUniform()",
        "he_uniform()",
        note="He et al. 2015 draw from a normal: a uniform of the same variance is the libraries'.",
    ),
    *_pairs(
        "he_uniform",
        "nn.Linear(400, 300).weight",
        departs="calls `kaiming_uniform_` with a = √5, a sixth of the variance",
    ),
    *_pairs(
        "lecun_normal",
        'kaiming_normal_(W, nonlinearity="linear")',
        'VarianceScaling(distribution="untruncated_normal")',
        'variance_scaling(1, "fan_in", "normal")',
    ),
    *_pairs(
        "lecun_normal",
        keras="LecunNormal()",
        jax="lecun_normal()",
        departs="truncated, `lecun_truncated_normal`",
    ),
    *_pairs(
        "lecun_truncated_normal",
        keras="LecunNormal()",
        jax="lecun_normal()",
        note="Klambauer et al. 2017, whom both name, draw from a normal. " + LEAKS,
    ),
    *_pairs("lecun_uniform", 'kaiming_uniform_(W, nonlinearity="linear")', "LecunUniform()", "lecun_uniform()"),
    # ----- the defaults of layers
    *_pairs(
        "torch_linear_default",
        "nn.Linear(400, 300).weight",
        'VarianceScaling(1 / 3, distribution="uniform")',
        'variance_scaling(1 / 3, "fan_in", "uniform")',
    ),
    *_pairs("torch_linear_default", "nn.Linear(25, 40000).bias", shape=(40000,), supplied={"fan_in": 25}),
    *_pairs("torch_linear_default", "nn.Conv2d(16, 320, 3).weight", shape=(3, 3, 16, 320)),
    *_pairs(
        "torch_linear_default",
        "nn.Conv2d(4, 40000, 3).bias",
        shape=(40000,),
        supplied={"fan_in": 36},
        note="PyTorch's layers do this to weights and biases.",
    ),
    *_pairs("tf1_default", keras="GlorotUniform()"),
    *_pairs(
        "tf1_default",
        keras="GlorotUniform()",
        shape=(40000,),
        note="Keras takes both fans of one dimension to be its length, as TensorFlow 1 did; PyTorch and JAX refuse it.",
    ),
    *_pairs("keras_default", keras="layers.Dense(300)"),
    *_pairs("keras_default", keras="layers.Dense(300)", shape=(300,)),
    *_pairs("keras_default", keras="layers.Conv2D(320, 3)", shape=(3, 3, 16, 320)),
    # ----- structure
    *_pairs("orthogonal", "orthogonal_(W)", "Orthogonal()", "orthogonal()", shape=(200, 150)),
    *_pairs("orthogonal", "orthogonal_(W)", "Orthogonal()", "orthogonal()", shape=(150, 150)),
    *_pairs("orthogonal(gain=2.0)", "orthogonal_(W, 2)", "Orthogonal(2)", "orthogonal(2)", shape=(100, 150)),
    *_pairs("orthogonal", keras="Orthogonal()", jax="orthogonal()", shape=TALL),
    *_pairs("orthogonal", keras="Orthogonal()", jax="orthogonal()", shape=WIDE),
    *_pairs("orthogonal", "orthogonal_(W)", shape=TALL),
    *_pairs(
        "orthogonal",
        "orthogonal_(W)",
        shape=WIDE,
        note="Of a convolution PyTorch takes the matrix [channels_out, all else], which is the transpose of the one "
        "here, Keras' and JAX's, its rows in another order: the distribution is the same.",
    ),
    *_pairs("identity", "eye_(W)", "Identity()", shape=(40, 30)),
    *_pairs("identity", "eye_(W)", "Identity()", shape=(30, 40)),
    *_pairs("identity(gain=2.0)", keras="Identity(2)", shape=(40, 30), note="PyTorch's has no gain."),
    *_pairs("dirac", "dirac_(W)", shape=EVEN),
    *_pairs("dirac", "dirac_(W)", shape=(5, 6, 4)),
    *_pairs("dirac", "dirac_(W, 2)", departs="each of two groups of channels separately", shape=EVEN),
    *_pairs("delta_orthogonal", jax="delta_orthogonal()", shape=EVEN),
    *_pairs(
        "delta_orthogonal(gain=2.0)",
        jax="delta_orthogonal(2)",
        shape=(5, 36, 36),
        note="JAX calls the gain `scale`, and its documentation a bound of a uniform distribution. The centre is "
        "(size − 1) // 2, and `dirac`'s size // 2: of an even field another.",
    ),
    *_pairs(
        "sparse",
        "sparse_(W, 0.9625, 1)",
        departs="zeroes a share of what leaves an input; Martens 2010, whom it names, keeps a number of what enters a "
        "unit",
    ),
    *_pairs(
        "torch_sparse(sparsity=0.901, std=0.5)",
        "sparse_(W, 0.901, 0.5)",
        note="Its documentation writes N(0, 0.01) for the default std of 0.01.",
    ),
)

# Where a scheme that no library has departs from its source.
ALONE: dict[str, str] = {
    "zero_hadamard": "The constant is that of the authors' code; the paper's is √2 larger.",
    "kumar": "For sigmoid 3.58 / √fan_in, which the paper rounds to 3.6.",
    "nguyen_widrow": "MATLAB's `initnw` spreads the biases evenly, and rescales to the range of the inputs.",
    "autoinit": "The mean square of the inputs is measured; the authors' code uses 1 by default.",
}

# What the libraries' modules hold beside, and why it has no counterpart here.
NOT_HERE: dict[Library, dict[str, str]] = {
    "PyTorch": {"calculate_gain": "no initializer: `gain(activation, 'pytorch')`"},
    "Keras": {
        "STFT": "a Fourier transform written as a convolution, for spectrograms",
        "Initializer": "the class that the others extend",
        "get": "finds an initializer by its name",
        "serialize": "writes an initializer down",
        "deserialize": "reads it again",
    },
    "JAX": {"Initializer": "the type of the others"},
}

# The nonlinearities of PyTorch's `calculate_gain`, and our names of them.
GAINS: dict[str, str] = {
    **dict.fromkeys(("linear", *(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))), "identity"),
    **{name: name for name in ("sigmoid", "tanh", "relu", "leaky_relu", "selu")},
}


# ---------------------------------------------------------------------------------------------------------------------
# The table


def table() -> str:
    """The pairs as a Markdown table: a row for each scheme that a library has, or that departs from its source."""
    rows = ["| here | PyTorch | Keras 3 | JAX | what departs |", "| --- | --- | --- | --- | --- |"]
    for scheme in INITIALIZERS:
        pairs = [pair for pair in PAIRS if pair.scheme == scheme]
        if pairs or scheme in ALONE:
            cells = [_cell([p for p in pairs if p.library == library and not p.departs]) for library in LIBRARIES]
            rows.append(" | ".join([f"| `{scheme}`", *cells, f"{_departures(pairs) or ALONE.get(scheme, '')} |"]))
    return "\n".join(rows) + "\n"


def _cell(pairs: list[Pair]) -> str:
    return ", ".join(dict.fromkeys(f"`{p.name if p.is_example else p.code}`" for p in pairs)) or "none"


def _departures(pairs: list[Pair]) -> str:
    """What the libraries draw under the same name, each with its expressions, and the notes."""
    expressions: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.departs:
            expressions.setdefault(pair.departs, []).append(f"`{pair.code}` ({pair.library})")
    sentences = [f"{', '.join(codes)}: {departs}." for departs, codes in expressions.items()]
    return " ".join([*sentences, *dict.fromkeys(pair.note for pair in pairs if pair.note)])


if __name__ == "__main__":
    print(table())
