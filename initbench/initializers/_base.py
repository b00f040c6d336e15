"""The basis of all schemes: the registry, shapes and fans, the noise, and the distributions of independent weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import index
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from initbench.errors import shown
from initbench.random import noise
from initbench.random.streams import Seed
from initbench.registry import Entry, Registry

if TYPE_CHECKING:
    from scipy.stats.distributions import rv_frozen

Array = NDArray[Any]
Shape = tuple[int, ...]
Position = Literal["first", "hidden", "last"]


@dataclass(frozen=True)
class Fit:
    """What a scheme fits.

    Attributes
    ----------
    words
        In words, for messages and the documentation.
    test
        Whether it fits a layer, from the shape of its weights.
    example
        A small shape that fits.
    network
        What the network must be, or must contain; default any.
    """

    words: str
    test: Callable[[Shape], bool]
    example: Shape = (2, 2)
    network: Literal["any", "perceptron", "convolution"] = "any"


@dataclass(frozen=True, kw_only=True)
class Initializer(Entry):
    """A scheme.

    Attributes
    ----------
    fit
        The shapes that it fits.
    distribution
        Returns the distribution of each single weight, from the scheme's arguments without seed and dtype: an object
        whose `frozen()` is a distribution of `scipy.stats`; None where the weights have none.
    steps
        The parameter that counts its steps, to which its time is proportional; empty if it takes none.
    """

    fit: Fit
    distribution: Callable[..., Any] = lambda **arguments: None
    steps: str = ""


INITIALIZERS: Registry[Initializer] = Registry("initializer", Initializer)

WEIGHTS = Fit("weights of 2 dimensions or more, [..., fan_in, fan_out]", lambda shape: len(shape) >= 2)
WEIGHTS_OR_BIAS = Fit("at least one dimension", lambda shape: len(shape) >= 1)
MATRIX = Fit("weights of 2 dimensions, [fan_in, fan_out]", lambda shape: len(shape) == 2)
MATRIX_OR_BIAS = Fit(
    "weights of 2 dimensions, [fan_in, fan_out], or of 1, [fan_out]", lambda shape: 1 <= len(shape) <= 2
)

# How a scheme is registered. A "single-layer" scheme is a function of a shape; one that is "bias" too takes
# the one dimension of a bias; a "network" scheme is a function of a whole `Network`.
weight_scheme = partial(INITIALIZERS.register, "single-layer", fit=WEIGHTS)
weight_and_bias_scheme = partial(INITIALIZERS.register, "single-layer", "bias", fit=WEIGHTS_OR_BIAS)
matrix_scheme = partial(INITIALIZERS.register, "single-layer", fit=MATRIX)
matrix_and_bias_scheme = partial(INITIALIZERS.register, "single-layer", "bias", fit=MATRIX_OR_BIAS)
NETWORK = Fit("networks", lambda shape: True)
PERCEPTRON = Fit("perceptrons", lambda shape: len(shape) == 2, network="perceptron")
network_scheme = partial(INITIALIZERS.register, "network")
network_and_bias_scheme = partial(INITIALIZERS.register, "network", "sets-biases")  # whatever the bias initializer


def checked(shape: Shape, fit: Fit = WEIGHTS_OR_BIAS) -> Shape:
    """Return the shape as a tuple of integers from 1 up; ValueError if it is invalid or does not fit."""
    try:
        sizes = tuple(map(index, shape))
    except TypeError:
        sizes = ()
    if sizes and min(sizes) >= 1 and fit.test(sizes):
        return sizes
    raise ValueError(f"shape = {sizes or shape}; allowed: {fit.words}, each size an integer from 1 up")


def fans(shape: Shape) -> tuple[int, int]:
    """Return `(fan_in, fan_out)` of a weight array: the last two dimensions, times the receptive field before them.

    >>> fans((784, 256)), fans((3, 3, 16, 32))
    ((784, 256), (144, 288))
    """
    *field, channels_in, channels_out = checked(shape, WEIGHTS)
    receptive = int(np.prod(field))
    return channels_in * receptive, channels_out * receptive


def fan_in_of(shape: Shape, fan_in: int | None) -> int:
    """Return the fan_in of weights from their shape, and of a bias, whose shape does not contain it, the argument."""
    if len(checked(shape)) > 1:
        return fans(shape)[0]
    if fan_in is None or fan_in < 1:
        raise ValueError(f"fan_in = {fan_in!r}; allowed: for a bias, the fan_in of its layer, from 1 up")
    return fan_in


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raise ValueError with the value and what is allowed, unless the condition holds."""
    if not holds:
        raise ValueError(f"{name} = {value!r}; allowed: {allowed}")


def floating(dtype: DTypeLike) -> np.dtype[Any]:
    """Return the dtype of weights; ValueError if it is invalid or cannot hold fractions.

    Another package's dtype (ml_dtypes' bfloat16) is floating if it holds one half.

    >>> floating("float16"), floating(float)
    (dtype('float16'), dtype('float64'))
    """
    try:
        kind = np.dtype(dtype)
    except (TypeError, ValueError):
        kind = np.dtype(np.void)
    foreign = kind.kind == "V" and not issubclass(kind.type, np.void)
    if kind.kind == "f" or (foreign and float(np.array(0.5).astype(kind)) == 0.5):
        return kind
    raise ValueError(f"dtype = {shown(dtype)}; allowed: a floating type of NumPy, such as float16, float32 or float64")


# ---------------------------------------------------------------------------------------------------------------------
# The noise


def standard_uniform(shape: Shape, seed: Seed) -> NDArray[np.float64]:
    """Return the noise of every scheme: uniform inside (0, 1)."""
    return noise.standard_uniform(checked(shape), seed)


def standard_normal(shape: Shape, seed: Seed) -> NDArray[np.float64]:
    """Return the same noise through the inverse of the normal distribution function."""
    return noise.standard_normal(checked(shape), seed)


def working(dtype: DTypeLike) -> type[np.floating[Any]]:
    """Return the precision in which weights of a dtype are computed: float32, or for all others float64."""
    return np.float32 if floating(dtype) == np.float32 else np.float64


def rounded(values: Array, dtype: DTypeLike) -> Array:
    """Return the finished array, rounded once to the requested dtype."""
    return values.astype(floating(dtype), copy=False)


def uniform_values(shape: Shape, low: float, high: float, seed: Seed, precision: type[np.floating[Any]]) -> Array:
    """Return uniform values in a working precision."""
    if precision is np.float32:
        return noise.uniform(checked(shape), low, high, seed)
    return (low + high) / 2 + (high - low) / 2 * (2 * standard_uniform(shape, seed) - 1)


def normal_values(shape: Shape, mean: float, std: float, seed: Seed, precision: type[np.floating[Any]]) -> Array:
    """Return normal values in a working precision."""
    if precision is np.float32:
        return noise.normal(checked(shape), mean, std, seed)
    return mean + std * standard_normal(shape, seed)


# ---------------------------------------------------------------------------------------------------------------------
# Independent weights: their distribution, and how they are drawn from it


@dataclass(frozen=True)
class Uniform:
    """Uniform between two bounds."""

    low: float
    high: float

    def draw(self, shape: Shape, seed: Seed, dtype: DTypeLike) -> Array:
        """Draw independent weights."""
        return rounded(uniform_values(shape, self.low, self.high, seed, working(dtype)), dtype)

    def frozen(self) -> "rv_frozen":
        """Return it as a distribution of `scipy.stats`."""
        from scipy import stats

        return stats.uniform(self.low, self.high - self.low)


@dataclass(frozen=True)
class Normal:
    """Normal."""

    mean: float
    std: float

    def draw(self, shape: Shape, seed: Seed, dtype: DTypeLike) -> Array:
        """Draw independent weights."""
        return rounded(normal_values(shape, self.mean, self.std, seed, working(dtype)), dtype)

    def frozen(self) -> "rv_frozen":
        """Return it as a distribution of `scipy.stats`."""
        from scipy import stats

        return stats.norm(self.mean, self.std)


# The nearest bounds on both sides of the mean for which `TruncatedNormal.moments` has its formulas.
MIN_BOUND = 0.1


@dataclass(frozen=True)
class TruncatedNormal:
    """Normal of this std before truncation, between two bounds in stds from the mean."""

    mean: float
    std: float
    lower: float = -2.0
    upper: float = 2.0

    def draw(self, shape: Shape, seed: Seed, dtype: DTypeLike) -> Array:
        """Draw independent weights.

        The inverse distribution function has, in one pass, exactly the distribution of rejection: drawing again
        whatever falls outside.
        """
        lower, upper = self.lower, self.upper
        if working(dtype) is np.float32 and -noise.MAX_BOUND <= lower < 0 < upper <= noise.MAX_BOUND:
            return noise.truncated_normal(checked(shape), self.mean, self.std, lower, upper, seed)
        from scipy.special import ndtr, ndtri

        below, above = ndtr(lower), ndtr(upper)
        z = np.clip(ndtri(below + (above - below) * standard_uniform(shape, seed)), lower, upper)
        return rounded(self.mean + self.std * z, dtype)

    def moments(self) -> tuple[float, float]:
        """Return mean and variance.

        With the bounds a and b, φ and Φ of the standard normal and Z = Φ(b) − Φ(a), they are μ + σ (φ(a) − φ(b)) / Z
        and σ² (1 + (a φ(a) − b φ(b)) / Z − ((φ(a) − φ(b)) / Z)²): Johnson, Kotz & Balakrishnan, Continuous univariate
        distributions, volume 1 (1994), section 10.1.
        """
        a, b = self.lower, self.upper
        if not a <= -MIN_BOUND < MIN_BOUND <= b:  # where these differences round too much; importing it takes a second
            mean, variance = self.frozen().stats("mv")
            return float(mean), float(variance)
        from scipy.special import ndtr

        below, above = (math.exp(-z * z / 2) / math.sqrt(2 * math.pi) for z in (a, b))
        total = float(ndtr(b) - ndtr(a))
        shift = (below - above) / total
        ends = sum(z * density for z, density in ((a, below), (-b, above)) if math.isfinite(z))
        return self.mean + self.std * shift, self.std**2 * (1 + ends / total - shift**2)

    def frozen(self) -> "rv_frozen":
        """Return it as a distribution of `scipy.stats`."""
        from scipy import stats

        return stats.truncnorm(self.lower, self.upper, self.mean, self.std)


def draw(scheme: Callable[..., Array], shape: Shape, seed: Seed, dtype: DTypeLike, **arguments: Any) -> Array:
    """Draw independent weights from the distribution that a scheme is registered with; zeros where it is None."""
    distribution = INITIALIZERS[scheme.__name__].distribution(shape, **arguments)
    return np.zeros(checked(shape), floating(dtype)) if distribution is None else distribution.draw(shape, seed, dtype)
