"""The lines of a script that draw the initial weights and biases of a cell, each scheme by its own formula."""

import re
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import Any

from initbench.initializers import INITIALIZERS
from initbench.initializers._base import Normal, Shape, TruncatedNormal, Uniform, fans
from initbench.initializers.model import positions
from initbench.initializers.scaling import variance_scaling_distribution
from initbench.initializers.schemes import is_network_scheme, of_layers, single_weights
from initbench.random.noise import MAX_BOUND

# The fans of variance scaling, in the names of a script.
FANS = {
    "fan_in": "fan_in",
    "fan_out": "fan_out",
    "fan_avg": "((fan_in + fan_out) / 2)",
    "fan_geo_avg": "math.sqrt(fan_in * fan_out)",
}

# The schemes that a script writes by their formulas. Of others whose weights are independent it has the numbers of the
# distribution; those of variance scaling are written by `_scaled`.
FORMULAS = {
    "zeros": "np.full(shape, 0.0)",
    "ones": "np.full(shape, 1.0)",
    "constant": "np.full(shape, {value})",
    "torch_linear_default": "uniform(stream, shape, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))",
}
BIAS_FORMULAS = {
    "tf1_default": "uniform(stream, shape, -math.sqrt(3 / shape[0]), math.sqrt(3 / shape[0]))",
    "keras_default": "np.full(shape, 0.0)",
}
GLOROT = "math.sqrt(3) * math.sqrt(1.0 / ((fan_in + fan_out) / 2))"
WEIGHT_FORMULAS = {
    "tf1_default": f"uniform(stream, shape, -{GLOROT}, {GLOROT})",
    "keras_default": f"uniform(stream, shape, -{GLOROT}, {GLOROT})",
    "orthogonal": "orthogonal(stream, shape, {gain})",
    "identity": "{gain} * np.eye(*shape)",
}


def expressions(
    initializer: str, shapes: Sequence[Shape], activation: str, bias: bool = False
) -> list[tuple[int, str]] | None:
    """Return the expressions of the layers' weights, or biases, each with the last layer that it is for.

    `shapes` are those of the weights. An expression is in terms of `stream`, `shape`, `fan_in` and `fan_out`. None if a
    script does not draw them.
    """
    depth = len(shapes)
    schemes = of_layers(initializer, depth)
    if len(schemes) != depth or is_network_scheme(initializer):
        return None
    lines = []
    for scheme, shape, position in zip(schemes, shapes, positions(depth), strict=True):
        supplied = {"activation": activation, "position": position, "depth": depth, "fan_in": fans(shape)[0]}
        lines.append(_expression(scheme, shape[-1:] if bias else shape, supplied))
    return _grouped(lines)


def _grouped(lines: Sequence[str | None]) -> list[tuple[int, str]] | None:
    """Return each run of equal expressions once, with the index of its last layer."""
    grouped, end = [], -1
    for line, run in groupby(lines):
        if line is None:
            return None
        end += len(list(run))
        grouped.append((end, line))
    return grouped


def _expression(scheme: str, shape: Shape, supplied: dict[str, Any]) -> str | None:
    """Return the expression of one layer's array; None for a scheme that is not written as one."""
    if "@" in scheme:
        return None
    record, parameters = INITIALIZERS.lookup(scheme)
    formula = (BIAS_FORMULAS if len(shape) == 1 else WEIGHT_FORMULAS).get(record.name) or FORMULAS.get(record.name)
    if formula:
        return formula.format(**{name: repr(value) for name, value in parameters.items()})
    own = record.distribution
    keywords = own.keywords if isinstance(own, partial) else {}
    if (own.func if isinstance(own, partial) else own) is variance_scaling_distribution:
        settings: dict[str, Any] = {"scale": 1.0, "mode": "fan_in", "distribution": "truncated_normal"}
        return _scaled(**settings | keywords | parameters)
    if "activation" in record.supplied and "@" in supplied["activation"]:
        return None
    return _drawn(single_weights(scheme, shape, **supplied))


def _drawn(distribution: Any) -> str | None:
    """Return the expression of weights of a distribution, with its numbers; None for one that no script draws."""
    d = distribution
    if isinstance(d, Normal):
        return f"normal(stream, shape, {d.mean!r}, {d.std!r})"
    if isinstance(d, Uniform):
        return f"uniform(stream, shape, {d.low!r}, {d.high!r})"
    if isinstance(d, TruncatedNormal) and -MAX_BOUND <= d.lower < 0 < d.upper <= MAX_BOUND:
        return f"truncated_normal(stream, shape, {d.mean!r}, {d.std!r}, {d.lower!r}, {d.upper!r})"
    return None


def _scaled(scale: float, mode: str, distribution: str) -> str:
    """Return the expression of weights of variance scale / fan."""
    std = f"math.sqrt({scale!r} / {FANS[mode]})"
    if distribution == "normal":
        return f"normal(stream, shape, 0.0, {std})"
    if distribution == "uniform":
        return f"uniform(stream, shape, -math.sqrt(3) * {std}, math.sqrt(3) * {std})"
    corrected = f"{std} / TRUNCATED_STD" if distribution == "truncated_normal" else std
    return f"truncated_normal(stream, shape, 0.0, {corrected}, -2.0, 2.0)"


def constant(expressions: list[tuple[int, str]]) -> str:
    """Return the number to which all arrays are set; an empty string if they are not."""
    number = re.fullmatch(r"np\.full\(shape, (.+)\)", expressions[0][1])
    return number[1] if number and len(expressions) == 1 else ""


def needed(*groups: list[tuple[int, str]] | None) -> set[str]:
    """Return the names in some expressions, and of the functions that those call."""
    words = set(re.findall(r"\w+", " ".join(line for group in groups for _, line in group or ())))
    return words | ({"normal"} if "orthogonal" in words else set())
