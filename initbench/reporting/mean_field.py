"""What mean-field theory predicts beside the measured signal: the dashed lines of its figures."""

import math
from collections.abc import Mapping

import pandas as pd

from initbench import theory
from initbench.data.datasets import Source
from initbench.spec.cell import Cell
from initbench.spec.signal import SATURATED

COLUMNS = ["initializer", "layer", "statistic", "value"]


def predictions(profile: pd.DataFrame, cells: Mapping[str, Cell], source: Source) -> pd.DataFrame:
    """Return the predictions for one combination: `initializer`, `layer`, `statistic`, `value`.

    Initializers of which the theory has none are left out: see `theory.no_prediction`. A network of one layer has no
    depth to predict, and its initializers compute with the output's activation. It starts from the measured
    moments and correlation of the input (layer 0), and from the measured gradient at the last layer.

    Parameters
    ----------
    profile
        Rows of `stats.signal_profile` of the combination.
    cells
        A cell of each initializer, by its name in `profile`.
    source
        The data set of the combination.
    """
    columns = (profile[name].tolist() for name in ("initializer", "layer", "statistic", "value"))
    measured = {tuple(key): value for *key, value in zip(*columns, strict=True)}
    rows = []
    for initializer, cell in cells.items():
        # A user's function is not executed here, and its name for people is not one that the theory knows.
        if (cell.model, cell.normalization) != ("perceptron", "none") or "@" in "".join(cell.functions):
            continue
        layers = cell.layers(source.pixels, source.classes)
        if len(layers) < 2:
            continue

        def value(statistic: str, layer: int, initializer: str = initializer) -> float:
            return float(measured.get((initializer, layer, statistic), math.nan))

        second_moment = value("activation_mean", 0) ** 2 + value("activation_variance", 0)
        correlation = value("correlation", 0)
        if not (math.isfinite(second_moment) and math.isfinite(correlation)):
            continue
        prediction = theory.predict(
            cell.initializer,
            cell.bias_initializer,
            cell.activation,
            layers,
            input_second_moment=second_moment,
            input_correlation=min(max(correlation, -1.0), 1.0),
            output_gradient_norm=value("pre_activation_gradient_norm", len(layers)),
        )
        for statistic, values in prediction._asdict().items() if prediction else ():
            rows += [(initializer, layer, statistic, float(v)) for layer, v in enumerate(values, start=1)]
    return pd.DataFrame(rows, columns=COLUMNS)


def unsaturated(activation: str) -> tuple[float, float]:
    """Return `theory.unsaturated` of an activation; ±∞ where that is not known.

    Own functions are not executed here, and of softmax it depends on the other classes.
    """
    always = -math.inf, math.inf
    return (
        always if "@" in activation or activation == "softmax" else theory.unsaturated(activation, SATURATED) or always
    )
