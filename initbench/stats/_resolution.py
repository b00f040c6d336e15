"""The resolution of a test set: the rounding of accuracies over N images."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from initbench.stats._arguments import check_frame
from initbench.stats._outcomes import METRIC, chance_levels
from initbench.stats.chance import Chance

# Spacings below this are rounding errors of fractions that are equal.
MIN_SPACING = 1e-9


def resolution(frame: pd.DataFrame, metric: str = METRIC, chance: Mapping[str, Chance] | None = None) -> float:
    """Return the smallest standard deviation that differences of two accuracies can have: 1 / (N √6), a fraction.

    An accuracy is a multiple of 1/N, for N images, so it is rounded by up to half an image: a variance of 1 / (12 N²),
    and twice that for a difference. Where all differences are equal, for example at two seeds, this is their standard
    deviation, not 0.

    `frame` has a row for each run, with the columns `dataset` and the metric. N is the number of images of the metric's
    split, as `chance` has it (MNIST's are built in). Where it is 0, because it is unknown, 1/N is estimated as the
    smallest spacing of different accuracies: that is a multiple of 1/N, so it is never too small. Of several data sets,
    the largest value is returned. A loss is not rounded: 0.

    Assumes that rounding errors are uniform and independent. Checked by simulated test sets of 500 and 1,000 images,
    of which seeds differ by about one image (docs/explanation/method.md).

    >>> rows = pd.DataFrame({"dataset": "mnist", "test_accuracy": [0.97, 0.972, 0.969]})
    >>> print(f"{resolution(rows, 'test_accuracy'):.2e}")
    4.08e-05
    >>> print(f"{resolution(rows, 'test_accuracy', {'mnist': Chance(0.1, 0.1, 0, 0)}):.2e}")
    4.08e-04
    """
    check_frame(frame, metric, columns=("dataset",))
    if not metric.endswith("accuracy"):
        return 0.0
    on_test = metric.startswith("test")
    levels = chance_levels(frame, chance)
    steps = [0.0]
    codes, names = pd.factorize(frame["dataset"])
    for code, name in enumerate(map(str, names)):
        images = levels[name].test_size if on_test else levels[name].validation_size
        steps.append(1 / images if images else _spacing(frame[metric].to_numpy(float)[codes == code]))
    return max(steps) / math.sqrt(6)


def _spacing(accuracies: np.ndarray) -> float:
    """Return the smallest difference between two different accuracies; 0 if all are equal."""
    spacings = np.diff(np.unique(accuracies[np.isfinite(accuracies)]))
    spacings = spacings[spacings > MIN_SPACING]
    return float(spacings.min()) if len(spacings) else 0.0
