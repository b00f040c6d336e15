"""The report's figures, one module for each kind: a table in, a `Drawing` out.

A figure shows the values of its table: no interval ends at a panel's edge unless its curve leaves the panel, and a
tick's label is its exact value.
"""

# ruff: noqa: E402
from initbench.reporting.matplotlib_import import import_matplotlib

import_matplotlib()  # before any module below does

from initbench.reporting.figures.accuracy import accuracy_by_initializer
from initbench.reporting.figures.axes import WIDTH
from initbench.reporting.figures.curves import learning_curve
from initbench.reporting.figures.drawing import Drawing, as_file, for_page, inline, save, titled, undrawable, warm_up
from initbench.reporting.figures.forest import intervals
from initbench.reporting.figures.heatmap import epochs_map, points_behind, statistics_map
from initbench.reporting.figures.paired import changes, differences
from initbench.reporting.figures.profiles import profile
from initbench.reporting.figures.ranks import rank_diagram
from initbench.reporting.figures.rates import sensitivity
from initbench.reporting.figures.signal import (
    BACKWARD,
    CORRELATION,
    FORWARD,
    pre_activations,
    predictor,
    signal_by_layer,
)
from initbench.reporting.palette import Palette

__all__ = [
    "BACKWARD",
    "CORRELATION",
    "FORWARD",
    "WIDTH",
    "Drawing",
    "Palette",
    "accuracy_by_initializer",
    "as_file",
    "changes",
    "differences",
    "epochs_map",
    "for_page",
    "inline",
    "intervals",
    "learning_curve",
    "points_behind",
    "pre_activations",
    "predictor",
    "profile",
    "rank_diagram",
    "save",
    "sensitivity",
    "signal_by_layer",
    "statistics_map",
    "titled",
    "undrawable",
    "warm_up",
]
