"""Predictions beside the measured signal: they start from measured values, and some initializers have none."""

import pandas as pd
import pytest
from cells import make_cell

from initbench import theory
from initbench.data import datasets
from initbench.reporting.mean_field import predictions

STARTS = {"activation_mean": 0.13, "activation_variance": 0.09, "correlation": 0.4}


def test_predictions_start_from_the_measured_input_and_output_and_leave_out_what_has_none():
    initializers = ["he_normal", "orthogonal", "mine@0123456789abcdef0123", "truncated_normal(std=1.0)"]
    rows = [(name, 0, statistic, value) for name in initializers for statistic, value in STARTS.items()]
    rows += [(name, 3, "pre_activation_gradient_norm", 0.7) for name in initializers]
    profile = pd.DataFrame(rows, columns=["initializer", "layer", "statistic", "value"])
    cells = {name: make_cell(initializer=name, hidden="64-32", bias_initializer="ones") for name in initializers}
    cells["lecun_normal"] = make_cell(initializer="lecun_normal", model="lenet5")
    cells["of one layer"] = make_cell(initializer="activation_scaling", hidden="")
    starts = [("of one layer", 0, statistic, value) for statistic, value in STARTS.items()]
    profile = pd.concat([profile, pd.DataFrame(starts, columns=profile.columns)])
    table = predictions(profile, cells, datasets.find("mnist"))
    assert list(dict.fromkeys(table["initializer"])) == ["he_normal", "truncated_normal(std=1.0)"]
    assert set(table["statistic"]) == set(theory.Prediction._fields)
    values = table.set_index(["initializer", "statistic", "layer"])["value"]
    assert values["he_normal", "pre_activation_second_moment", 1] == pytest.approx(2 * (0.13**2 + 0.09) + 1)
    assert (values[:, "pre_activation_gradient_norm", 3] == 0.7).all()
