"""The signal in modules: the statistics of a perceptron, and of convolutions against computations by other means."""

import pytest
from cells import make_cell

from initbench.training.data import Data
from initbench.training.parameters import initial_parameters
from initbench.training.plain import Loop, PlainData
from initbench.training.signal import module, perceptron, record

QUICK = {"train_size": 640, "hidden": "", "batch_size": 128}


@pytest.mark.parametrize(
    "functions",
    [
        {"activation": "tanh"},
        {"activation": "relu", "output_activation": "softmax", "loss": "mse"},
        {"activation": "softplus(beta=2.0)", "output_activation": "sigmoid", "loss": "mse"},
    ],
)
def test_a_perceptron_as_a_module_has_the_signal_of_a_fused_one(small, functions):
    cell = make_cell(**QUICK | {"hidden": "24-16", "initializer": "normal(std=0.2)"}, **functions)
    fused = Data(small)
    parameters = initial_parameters(cell, cell.layers(fused.pixels, fused.classes), fused.read)
    start = [(W - 1, b) for W, b in parameters]
    seen = record.images(cell, fused)
    expected = perceptron.signal(cell, 3, parameters.__getitem__, seen, start.__getitem__)
    loop = Loop(cell, PlainData(small))
    signal = module.signal(loop, record.images(cell, loop.data), start)
    assert signal.keys() == expected.keys()
    for key, value in expected.items():
        assert signal[key] == pytest.approx(value, rel=1e-5, abs=1e-7), key
