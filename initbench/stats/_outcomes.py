"""The outcome of each run: which failed, and the score of a diverged one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtri

from initbench.errors import shown
from initbench.spec.columns import DIVERGED
from initbench.stats._arguments import REQUIRED, check_frame
from initbench.stats.chance import MNIST, Chance

CONFIDENCE = 0.95

METRIC = "test_accuracy"


def final(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each cell's last epoch, with the columns of `frame`; ValueError where columns are missing."""
    check_frame(frame)
    return frame[frame["epoch"] == frame["epochs"]]


def scored(frame: pd.DataFrame, metric: str = METRIC, chance: Mapping[str, Chance] | None = None) -> "pd.Series[float]":
    """Return a metric in which diverged runs are scored at the majority-class accuracy.

    Accuracies are replaced from the epoch on at which the run diverged, and where they are not finite. A loss has no
    such value and is returned unchanged. `chance` has the chance level of each data set; that of MNIST is built in.
    """
    check_frame(frame, metric, columns=("status", "dataset"))
    if not metric.endswith("accuracy"):
        return frame[metric]
    accuracy = frame[metric].to_numpy(float)
    diverged = (frame["status"] == DIVERGED).to_numpy() | ~np.isfinite(accuracy)
    scores = np.where(diverged, _of_dataset(frame, _scores_of_diverged(metric, chance_levels(frame, chance))), accuracy)
    return pd.Series(scores, frame.index, name=metric)


def _scores_of_diverged(metric: str, levels: Mapping[str, Chance]) -> dict[str, float]:
    """Return the majority-class accuracy of each data set, on the split of a metric."""
    on_test = metric.startswith("test")
    return {name: level.test if on_test else level.validation_score for name, level in levels.items()}


def _of_dataset(frame: pd.DataFrame, values: Mapping[str, float]) -> np.ndarray:
    """Return for each row the value of its data set."""
    codes, names = pd.factorize(frame["dataset"])
    return np.array([values[str(name)] for name in names], float)[codes]


def chance_levels(frame: pd.DataFrame, chance: Mapping[str, Chance] | None) -> dict[str, Chance]:
    """Return the chance level of each data set of a table; ValueError where one is missing."""
    if not isinstance(chance, Mapping | None):
        raise TypeError(
            f"chance = {shown(chance)}; allowed: a Chance for each data set, such as {{'mnist': Chance(…)}}"
        )
    levels = {"mnist": MNIST, **(chance or {})}
    missing = sorted(set(map(str, frame["dataset"].unique())) - set(levels))
    if missing:
        raise ValueError(
            f"chance = {sorted(levels)}; allowed: an entry for each data set, and {missing[0]!r} is missing; add "
            "Chance(test, validation, 0), with the majority class's shares, where its number of images is unknown"
        )
    return levels


def baselines(chance: Mapping[str, Chance]) -> pd.DataFrame:
    """Return the majority-class baselines of data sets, and the accuracies up to which runs are at chance.

    A row for each data set and split (`validation`, then `test`):

    - `dataset`, `split`: their names.
    - `images`: number of images of the split; 0 if it is unknown.
    - `majority_class_accuracy`: the accuracy of always predicting the largest class of the split, a fraction.
    - `decides`: whether this split decides which runs are at chance: see `Chance`.
    - `limit`: the accuracy up to which a run is at chance, a fraction; NaN where the split does not decide.

    >>> baselines({"mnist": MNIST}).round(4).values.tolist()
    [['mnist', 'validation', 5000, 0.1126, True, 0.126], ['mnist', 'test', 10000, 0.1135, False, nan]]
    """
    rows = []
    for name, level in chance.items():
        for split, images, share in (
            ("validation", level.validation_size, level.validation),
            ("test", level.test_size, level.test),
        ):
            decides = level.split == split
            rows.append((name, split, images, share, decides, level.limit if decides else np.nan))
    return pd.DataFrame(rows, columns=["dataset", "split", "images", "majority_class_accuracy", "decides", "limit"])


def outcomes(frame: pd.DataFrame, chance: Mapping[str, Chance] | None = None) -> pd.DataFrame:
    """Return the last epoch of each cell with its outcome: the columns of the table, and

    - `diverged`: whether its status is `diverged`, or one of its accuracies is not finite.
    - `at_chance`: whether its accuracy is at most the majority-class accuracy plus three standard errors, on the split
      that separates learning from chance (see `Chance`); False where no split does.
    - `failed`: either.
    - `scored_validation_accuracy`, `scored_test_accuracy`: the accuracies as `scored` returns them, fractions.

    Assumes that the images of the split are independent: the accuracy of a constant answer on another such split
    exceeds the limit in 0.1% of cases (normal approximation). Checked on trainings that do not learn (normal(std=1.0),
    relu, mse in `tests/stored/populations.toml`), of which 99.95% are at chance by this rule.
    """
    rows = final(frame)
    levels = chance_levels(rows, chance)
    accuracies = {metric: rows[metric].to_numpy(float) for metric in ("validation_accuracy", "test_accuracy")}
    diverged = (rows["status"] == DIVERGED).to_numpy()
    for values in accuracies.values():
        diverged = diverged | ~np.isfinite(values)
    limits = _of_dataset(rows, {name: level.limit for name, level in levels.items()})
    on_test = _of_dataset(rows, {name: level.split == "test" for name, level in levels.items()}) > 0
    decides = np.where(on_test, accuracies["test_accuracy"], accuracies["validation_accuracy"])
    at_chance = ~diverged & (decides <= limits)
    return rows.assign(
        diverged=diverged,
        at_chance=at_chance,
        failed=diverged | at_chance,
        **{
            f"scored_{metric}": np.where(diverged, _of_dataset(rows, _scores_of_diverged(metric, levels)), values)
            for metric, values in accuracies.items()
        },
    )


def compared_runs(
    frame: pd.DataFrame, keys: Sequence[str], metric: str, chance: Mapping[str, Chance] | None
) -> pd.DataFrame:
    """Return `outcomes` with the columns alone that comparisons of initializers within these settings need.

    A combination's rows are copied column by column, and a tidy table has dozens.
    """
    needed = dict.fromkeys([*keys, "initializer", *REQUIRED, metric])
    return outcomes(frame[list(needed)], chance)


def share_interval(failed: Any, runs: Any, confidence: float = CONFIDENCE) -> tuple[Any, Any, Any]:
    """Return the share of the runs that failed, with Wilson's interval; numbers or arrays; NaN without runs.

    (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n), z the normal quantile.

    It assumes independent runs that fail with the same probability. It covers 95% on average over that probability,
    and 83% at worst: for five runs where it is just below 0.036 or just above 0.964, and nearer to 0 and 1 for more
    (computed exactly, from the binomial distribution).

    Source: Wilson 1927; Brown, Cai & DasGupta 2001, "Interval Estimation for a Binomial Proportion".

    >>> [round(float(x), 3) for x in share_interval(0, 5)]
    [0.0, 0.0, 0.434]
    """
    failed, runs = np.asarray(failed, float), np.asarray(runs, float)
    z2 = ndtri((1 + confidence) / 2) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        share = failed / runs
        middle = (share + z2 / (2 * runs)) / (1 + z2 / runs)
        half = np.sqrt(z2 * share * (1 - share) / runs + (z2 / (2 * runs)) ** 2) / (1 + z2 / runs)
    low, high = np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
    return share, np.where(failed == 0, share, low), np.where(failed == runs, share, high)  # 0 and 1, not nearly
