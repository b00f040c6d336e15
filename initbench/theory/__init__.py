"""Mean-field theory: how signals and gradients travel through wide networks of independent random weights.

Weights have mean 0 and variance σ_w² / fan_in, biases variance σ_b². In a wide layer the pre-activations of an image
are then normal, with a second moment q that depends on that of the layer before alone, and those of two images have a
correlation c that depends on q and c before. `length_map` and `correlation_map` are these maps, `fixed_length` and
`fixed_correlation` where they lead, and `depth_scale` how many layers that takes. `predict` follows both maps, and the
gradient's norm backward, through the layers of a configuration.

Activations are given by their canonical strings, such as `"leaky_relu(negative_slope=0.2)"`. Expectations are computed
by Gauss-Legendre rules on panels that end at the kinks, to a relative error below 10⁻⁶ for q from 10⁻⁸ to 10⁴ (10⁻⁹ and
less in most cases; of `correlation_map` the absolute error is meant).

Source: Poole et al. 2016, "Exponential expressivity in deep neural networks through transient chaos"; Schoenholz et al.
2017, "Deep Information Propagation".

>>> round(fixed_length("tanh", 1.3**2, 0.3**2), 3)
0.607
"""

from initbench.theory.layers import Prediction, no_prediction, predict
from initbench.theory.maps import (
    chi,
    correlation_map,
    critical,
    depth_scale,
    fixed_correlation,
    fixed_length,
    length_fluctuation,
    length_map,
    unsaturated,
)

__all__ = [
    "Prediction",
    "chi",
    "correlation_map",
    "critical",
    "depth_scale",
    "fixed_correlation",
    "fixed_length",
    "length_fluctuation",
    "length_map",
    "no_prediction",
    "predict",
    "unsaturated",
]
