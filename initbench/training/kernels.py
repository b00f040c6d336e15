"""The fused forms of activations and losses, applied to a slice of cells.

Values are laid out `[cells, units, batch]`: each cell is one contiguous block, whose length is a multiple of
`BLOCK`, so that elementwise functions treat every cell alike wherever it lies. The forms are in the records of
`initbench.functions`, by name; all write into arrays that they are given, so that a step allocates next to nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from initbench.errors import UserError
from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES
from initbench.registry import Entry

# Elementwise functions have vector bodies and scalar tails: with AVX-512 the body takes 32 numbers at a time.
BLOCK = 32

Form = TypeVar("Form")


def required(form: Form | None, record: Entry, field: str) -> Form:
    """Return a fused form, or raise UserError where the record has none: it is never replaced by another function."""
    if form is None:
        raise UserError(
            f"{record.name} cannot be trained in stacks: its record in initbench/functions has no `{field}`"
        )
    return form


def activation(name: str) -> tuple[Callable[..., object], Callable[..., object]]:
    """Return `forward(z, a)` and `backward(g, z, a)` of an activation, by its canonical string."""
    record, parameters = ACTIVATIONS.lookup(name)
    forms = required(record.forward, record, "forward"), required(record.backward, record, "backward")
    forward, backward = (partial(form, **parameters) if parameters else form for form in forms)
    return forward, backward


@dataclass(frozen=True)
class Loss:
    """A loss: its function, and the factors by which the caller multiplies its values and its gradient."""

    function: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], object]
    value_factor: float
    gradient_factor: float


def loss(name: str, classes: int) -> Loss:
    """Return a loss, by its canonical string."""
    record, parameters = LOSSES.lookup(name)
    kernel = required(record.kernel, record, "kernel")
    return Loss(partial(kernel, **parameters) if parameters else kernel, *record.factors(classes))


def operand(precision: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the function that rounds an operand of a product to a precision; the product accumulates in float32.

    `float32` rounds nothing. `bf16` rounds to bfloat16 (8 significant bits), `tf32` to TF32 (11), to the nearest, ties
    to even. On a GPU products run in TF32 for both (see `training.stack`): every bfloat16 number is a TF32 number, so
    that nothing is rounded twice; TF32's own rounding is then the GPU's.
    """
    if precision == "bf16":
        return lambda x: x.bfloat16().to(x.dtype)
    if precision == "tf32" and device.type == "cpu":
        return _rounded_to_tf32
    return lambda x: x


def _rounded_to_tf32(x: Tensor) -> Tensor:
    # A float32 has 24 significant bits, TF32 11: add half of the last kept bit (less one where that is even), and cut.
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)
