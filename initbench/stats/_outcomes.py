"""What each run came to: which failed, and what a failed one counts as."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as distributions

from initbench.spec.columns import DIVERGED
from initbench.stats.chance import MNIST, Chance

CONFIDENCE = 0.95


def final(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of each cell's last epoch."""
    return frame[frame["epoch"] == frame["epochs"]]


def scored(frame: pd.DataFrame, metric: str, chance: Mapping[str, Chance] | None = None) -> "pd.Series[float]":
    """A metric in which a diverged run counts as a classifier that always says the commonest class.

    Of an accuracy: from the epoch on at which the run diverged, or in which the accuracy is no number. A loss has no
    such value and stays as it is.

    `chance` says what that is for each data set; MNIST's is known.
    """
    if not metric.endswith("accuracy"):
        return frame[metric]
    known = known_chances(frame, chance)
    values = {name: one.test if metric.startswith("test") else one.validation_score for name, one in known.items()}
    lost = (frame["status"].astype(str) == DIVERGED) | ~np.isfinite(frame[metric].astype(float))
    return frame[metric].where(~lost, frame["dataset"].astype(str).map(values).astype(float))


def known_chances(frame: pd.DataFrame, chance: Mapping[str, Chance] | None) -> dict[str, Chance]:
    """What always saying the commonest class reaches, for each data set of a table; ValueError where one is missing."""
    known = {"mnist": MNIST, **(chance or {})}
    missing = sorted(set(map(str, frame["dataset"].unique())) - set(known))
    if missing:
        raise ValueError(
            f"chance = {sorted(known)}; allowed: an entry for each data set, and {missing[0]!r} is missing"
        )
    return known


def outcomes(frame: pd.DataFrame, chance: Mapping[str, Chance] | None = None) -> pd.DataFrame:
    """A row for each cell, that of its last epoch, with what became of it.

    Adds `diverged` (its status says so, or one of its accuracies is no number), `at_chance` (its accuracy is at most
    the majority class's share plus three standard errors, on the validation split; on the test split, where the
    validation split cannot tell; never, where neither can: see `Chance`), `failed` (either), and
    `scored_validation_accuracy` and `scored_test_accuracy`: the accuracies, as `scored`.
    """
    rows = final(frame)
    known = known_chances(rows, chance)
    both = rows[["validation_accuracy", "test_accuracy"]].astype(float)
    diverged = (rows["status"].astype(str) == DIVERGED) | ~np.isfinite(both.to_numpy()).all(axis=1)
    datasets = rows["dataset"].astype(str)
    limits = datasets.map({name: one.limit for name, one in known.items()}).astype(float)
    on_test = datasets.map({name: one.split == "test" for name, one in known.items()}).astype(bool)
    at_chance = ~diverged & (both["test_accuracy"].where(on_test, both["validation_accuracy"]) <= limits)
    marked = rows.assign(status=rows["status"].astype(str).where(~diverged, DIVERGED))
    return rows.assign(
        diverged=diverged,
        at_chance=at_chance,
        failed=diverged | at_chance,
        scored_validation_accuracy=scored(marked, "validation_accuracy", chance),
        scored_test_accuracy=scored(marked, "test_accuracy", chance),
    )


def share_interval(failed: Any, runs: Any, confidence: float = CONFIDENCE) -> tuple[Any, Any, Any]:
    """The share of the runs that failed, with Wilson's interval; numbers or arrays; NaN of no run.

    (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n), z the normal quantile.

    Source: Wilson 1927; Brown, Cai & DasGupta 2001, "Interval Estimation for a Binomial Proportion".

    >>> [round(float(x), 3) for x in share_interval(0, 5)]
    [0.0, 0.0, 0.434]
    """
    failed, runs = np.asarray(failed, float), np.asarray(runs, float)
    z2 = distributions.norm.ppf((1 + confidence) / 2) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        share = failed / runs
        middle = (share + z2 / (2 * runs)) / (1 + z2 / runs)
        half = np.sqrt(z2 * share * (1 - share) / runs + (z2 / (2 * runs)) ** 2) / (1 + z2 / runs)
    return share, np.maximum(middle - half, 0.0), np.minimum(middle + half, 1.0)
