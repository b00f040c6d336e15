"""The optimizers' steps: compiled code, NumPy and PyTorch evaluate one formula, the first two with the same bits."""

import numpy as np
import pytest
import torch

from initbench.functions.optimizers import OPTIMIZERS
from initbench.training import updates
from initbench.training.updates import Updates, plain

try:
    from initbench.training.updates import compiled
except (ImportError, OSError):
    compiled = None

needs_numba = pytest.mark.skipif(compiled is None, reason="numba cannot be used with this Python")
NAMES = [*OPTIMIZERS, *(f"{name}(weight_decay=0.3)" for name in OPTIMIZERS)]
BY_COLUMN, BY_ROW = (1, 2200), (9, 1)


def steps(name, module, monkeypatch, *, dtype=torch.float32, rates=BY_COLUMN, sparse=True):
    """Return the weights and the states after three steps, two of them with gradients of some rows alone."""
    monkeypatch.setattr(updates._code, "loaded", module)
    generator = np.random.default_rng(1)
    W = torch.from_numpy(generator.normal(size=(9, 2200))).to(dtype)
    W[0, :4] = torch.tensor([np.inf, -np.inf, np.nan, 0.0])
    rate = torch.from_numpy(generator.uniform(0.001, 0.1, size=rates)).to(dtype)
    of = Updates(name, [W])
    for step in range(3):
        gradient = torch.from_numpy(generator.normal(size=(9, 2200)) * 10.0 ** generator.integers(-30, 4, (9, 2200)))
        gradient[-1] = 0
        slots = np.array([3, 8, 0, 8, 8, 1, 2, 8, 8]) if sparse and step else None
        of.begin()
        of.update(0, gradient.to(dtype), rate, slots)
    return W, of._states[0]


@needs_numba
@pytest.mark.parametrize("name", NAMES)
def test_compiled_and_plain_updates_have_the_same_bits(name, monkeypatch):
    """For rates by column and by row, infinite and subnormal numbers, and rows without a gradient."""
    for rates in (BY_COLUMN, BY_ROW):
        left, right = (steps(name, module, monkeypatch, rates=rates) for module in (plain, compiled))
        for arrays in zip(left, right, strict=True):  # of NaN the bits are not defined
            np.testing.assert_array_equal(*(a.nan_to_num(7e30, 1e38, -1e38).view(torch.int32) for a in arrays))


@needs_numba
@pytest.mark.parametrize("name", ["adam", "nesterov(weight_decay=0.3)"])
def test_compiled_updates_are_exact_in_float64(name, monkeypatch):
    left, right = (steps(name, module, monkeypatch, dtype=torch.float64) for module in (plain, compiled))
    np.testing.assert_array_equal(left[0], right[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_gpus_updates_are_the_same_formula(name, monkeypatch):
    """PyTorch's tensors, with the steps counted in an array, on the CPU."""
    expected = steps(name, plain, monkeypatch, dtype=torch.float64, sparse=False)

    class OnGpu(Updates):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self._on_cpu, self._t = False, torch.zeros((), dtype=torch.float64)

    monkeypatch.setattr("test_updates.Updates", OnGpu)
    of_tensors = steps(name, plain, monkeypatch, dtype=torch.float64, sparse=False)
    for left, right in zip(expected, of_tensors, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_row_without_a_gradient_moves_by_its_state_alone(name, monkeypatch):
    """As the definition says for a gradient of zero: momentum and Adam move on, SGD and RMSprop do not."""
    monkeypatch.setattr(updates._code, "loaded", plain)
    W, ours, state = torch.full((2, 32), 0.5, dtype=torch.float64), np.full((1, 32), 0.5), {}
    of, rates = Updates(name, [W]), torch.full((1, 32), 0.01, dtype=torch.float64)
    gradient, positions = np.stack([np.full(32, 0.3), np.zeros(32)]), []
    for slots in ([0, 0], [1, 0], [1, 1]):
        of.begin()
        of.update(0, torch.from_numpy(gradient), rates, np.array(slots))
        ours = OPTIMIZERS.call(name, ours, gradient[slots[:1]], state, learning_rate=0.01)
        np.testing.assert_allclose(W[0], ours[0], rtol=1e-12)
        positions.append(float(W[0, 0]))
    assert (len(set(positions)) == 1) == (name in ("sgd", "rmsprop"))
