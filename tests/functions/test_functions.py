"""Activations, losses and optimizers: NumPy's definitions against PyTorch's, and our derivatives against autograd."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from initbench.functions import pytorch
from initbench.functions.activations import ACTIVATIONS
from initbench.functions.losses import LOSSES
from initbench.functions.optimizers import OPTIMIZERS
from initbench.training import kernels
from initbench.training.updates import Updates

X = np.random.default_rng(0).normal(0, 2, (64, 10))
LABELS = np.random.default_rng(1).integers(0, 10, 64)
WITH_PARAMETERS = ["leaky_relu(negative_slope=0.3)", "elu(alpha=0.7)", "softplus(beta=2.0)"]
LOSS_PARAMETERS = ["cross_entropy(label_smoothing=0.1)", "huber(delta=0.4)", "hinge(margin=0.5)", "hinge(power=2)"]


def torch_activation(name, x):
    return getattr(F, name)(x, dim=1) if name == "softmax" else getattr(F, name)(x)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"identity"}))
def test_an_activations_definition_is_pytorchs(name):
    theirs = torch_activation(name, torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(ACTIVATIONS.call(name, X), theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", [*ACTIVATIONS, *WITH_PARAMETERS])
def test_an_activations_fast_form_is_its_definition_and_its_derivative_autograds(name, dtype):
    """Written into arrays of which only some rows are taken, as the stacked trainer's are, and in place."""
    forward, backward = kernels.activation(name)
    z = torch.from_numpy(X.T.copy()).to(dtype).expand(3, -1, -1).contiguous()  # [cells, units, batch]
    a = torch.full((3, 16, 64), 7.0, dtype=dtype)
    forward(z, a[:, :10])
    rtol, atol = (1e-9, 1e-12) if dtype == torch.float64 else (2e-5, 1e-6)
    for cell in a:
        np.testing.assert_allclose(cell[:10].numpy().T, ACTIVATIONS.call(name, X), rtol=rtol, atol=atol)
        assert (cell[10:] == 7).all()
    x = z.double().clone().requires_grad_()
    by_autograd = torch.softmax(x, 1) if name == "softmax" else pytorch.activation(name)(x)
    g = torch.randn(z.shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    (expected,) = torch.autograd.grad(by_autograd, x, g.double()) if name != "identity" else (g.double(),)
    if name != "softmax":
        record, parameters = ACTIVATIONS.lookup(name)
        slope = record.derivative(x.detach().numpy(), **parameters)
        np.testing.assert_allclose(slope, (expected / g.double()).numpy(), rtol=1e-9, atol=1e-12)
    backward(g, z, a[:, :10])
    np.testing.assert_allclose(g.double().numpy(), expected.numpy(), rtol=10 * rtol, atol=atol)


PYTORCH_LOSSES = {
    "mse": lambda o, y: F.mse_loss(o, F.one_hot(y, 10).double()),
    "mae": lambda o, y: F.l1_loss(o, F.one_hot(y, 10).double()),
    "huber": lambda o, y: F.huber_loss(o, F.one_hot(y, 10).double()),
    "huber(delta=0.4)": lambda o, y: F.huber_loss(o, F.one_hot(y, 10).double(), delta=0.4),
    "cross_entropy": F.cross_entropy,
    "cross_entropy(label_smoothing=0.1)": lambda o, y: F.cross_entropy(o, y, label_smoothing=0.1),
    "hinge": F.multi_margin_loss,
    "hinge(margin=0.5)": lambda o, y: F.multi_margin_loss(o, y, margin=0.5),
    "hinge(power=2)": lambda o, y: F.multi_margin_loss(o, y, p=2),
}


@pytest.mark.parametrize("name", [*LOSSES, *LOSS_PARAMETERS])
def test_a_losss_definition_and_its_fast_form_are_pytorchs(name):
    output = torch.from_numpy(X).requires_grad_()
    labels = torch.from_numpy(LABELS)
    expected = PYTORCH_LOSSES[name](output, labels)
    expected.backward()
    assert LOSSES.call(name, X, LABELS) == pytest.approx(expected.item(), rel=1e-12)
    target = F.one_hot(labels, 10).T.double()
    with torch.no_grad():
        fast = kernels.loss(name, classes=10)
        arrays = output.T.contiguous()[None]
        gradient, values = torch.empty_like(arrays), torch.empty_like(arrays)
        fast.function(arrays, target, labels, gradient, values)
    assert fast.value_factor * values.sum().item() / len(labels) == pytest.approx(expected.item(), rel=1e-12)
    scaled = fast.gradient_factor * gradient[0].T.numpy() / len(labels)
    np.testing.assert_allclose(scaled, output.grad.numpy(), atol=1e-14)


PYTORCH_OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "momentum(momentum=0.5)": lambda p: torch.optim.SGD(p, 0.1, momentum=0.5),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.1),
    "adam(beta1=0.5, beta2=0.9, epsilon=0.001)": lambda p: torch.optim.Adam(p, 0.1, (0.5, 0.9), 1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, 0.1),
    "adamw(weight_decay=0.2)": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.2),
    "sgd(weight_decay=0.2)": lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.2),
    "momentum(weight_decay=0.2)": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.2),
    "nesterov(weight_decay=0.2)": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.2, nesterov=True),
    "adam(weight_decay=0.2)": lambda p: torch.optim.Adam(p, 0.1, weight_decay=0.2),
    "rmsprop(weight_decay=0.2)": lambda p: torch.optim.RMSprop(p, 0.1, weight_decay=0.2),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 0.1),
    "rmsprop(alpha=0.5)": lambda p: torch.optim.RMSprop(p, 0.1, alpha=0.5),
}


@pytest.mark.parametrize("name", PYTORCH_OPTIMIZERS)
def test_an_optimizers_definition_and_its_fast_form_are_pytorchs(name):
    """Five steps of gradients that are products G Aᵀ, as in a layer."""
    generator = np.random.default_rng(2)
    start = generator.normal(size=(4, 6))
    theirs = torch.from_numpy(start.copy()).requires_grad_()
    optimizer = PYTORCH_OPTIMIZERS[name]([theirs])
    ours, state = start.copy(), {}
    fast = torch.from_numpy(start.copy())
    updates = Updates(name, [fast])
    rates = torch.full((1, 6), 0.1, dtype=torch.float64)
    for _ in range(5):
        G, A = generator.normal(size=(4, 8)), generator.normal(size=(6, 8))
        theirs.grad = torch.from_numpy(G @ A.T)
        optimizer.step()
        ours = OPTIMIZERS.call(name, ours, G @ A.T, state, learning_rate=0.1)
        updates.begin()
        updates.update(0, torch.from_numpy(G @ A.T), rates)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(fast.numpy(), theirs.detach().numpy(), rtol=1e-10)


def test_every_optimizer_is_held_to_pytorchs():
    assert set(OPTIMIZERS) <= set(PYTORCH_OPTIMIZERS)


@pytest.mark.parametrize(
    ("catalogue", "name", "message"),
    [
        (OPTIMIZERS, "momentum(momentum=1.0)", "momentum = 1.0"),
        *((OPTIMIZERS, f"{name}(weight_decay=-1.0)", "weight_decay = -1.0") for name in OPTIMIZERS),
        (OPTIMIZERS, "adam(epsilon=0.0)", "epsilon = 0.0"),
        (OPTIMIZERS, "rmsprop(alpha=-0.1)", "alpha = -0.1"),
    ],
)
def test_parameters_that_cannot_be_are_refused(catalogue, name, message):
    with pytest.raises(ValueError, match=message):
        catalogue.call(name, np.ones(1), np.ones(1), {}, learning_rate=0.1)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_label_is_smoothed_by_a_share_below_1(share):
    with pytest.raises(ValueError, match=f"label_smoothing = {share}; allowed: from 0 to below 1"):
        LOSSES.call(f"cross_entropy(label_smoothing={share})", X, LABELS)


def test_calls_with_the_defaults_keep_their_names_and_so_their_cells_their_ids():
    for name in OPTIMIZERS:
        decay = 0.01 if name == "adamw" else 0.0
        assert str(OPTIMIZERS.resolve({"name": name, "weight_decay": decay})) == name
    assert str(LOSSES.resolve({"name": "cross_entropy", "label_smoothing": 0.0})) == "cross_entropy"
