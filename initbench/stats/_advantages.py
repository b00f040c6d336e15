"""What sets the leader apart before training from those that are significantly worse."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from initbench.spec.signal import COLUMNS
from initbench.stats._arguments import check_frame, check_table, combination_of
from initbench.stats._means import by_combination, without_categories
from initbench.stats._signal import SIGNAL, scalar_name, signal_scalars

# Scalars that have a good end, whatever the other statistics are, and which end that is.
GOOD_ENDS = (
    ("jacobian_condition", "network", "smallest"),
    ("effective_rank", "last", "largest"),
    ("saturated_share", "last", "smallest"),
    ("dead_share", "last", "smallest"),
    ("gradient_drift", "network", "smallest"),
    ("variance_drift", "network", "smallest"),
)
# What a clear difference is: a factor; of shares, and of drifts, which are powers of ten, a difference. And what is the
# least difference: without it, the leader is best by nothing that a reader sees.
ADVANTAGE_FACTOR, ADVANTAGE_SHARE = 1.5, 0.1
MIN_FACTOR, MIN_SHARE = 1.1, 0.01

COLUMNS_OF_ADVANTAGES = ["initializer", "statistic", "position", "end", "value", "others_low", "others_high", "others"]


def signal_advantages(
    signal: pd.DataFrame,
    frame: pd.DataFrame,
    combination: Sequence[str],
    verdicts: pd.DataFrame,
    scalars: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the statistics before training in which the leader of a combination is best; no row where it is in none.

    Of some scalars of `signal_scalars` one end is the good one: the smallest condition of the Jacobian, share of
    saturated and of dead units, and drift of the gradients and of the signal, and the largest effective rank. The
    medians over seeds of the initializers of a combination are compared. There is a row if

    - the leader's is better than that of every other initializer, 1.1 times or, of shares, by 0.01, and
    - it is clearly better than that of every one that is significantly worse than another (there is at least one): 1.5
      times; of shares, by 0.1 or more.

    NaN is left out, and infinite values are compared. In networks of one layer the last hidden layer is layer 1.

    Parameters
    ----------
    signal, frame, combination
        As in `signal_profile`.
    verdicts
        `stats.verdicts` of the frame.
    scalars
        `signal_scalars` of the signal; computed here by default.

    Returns
    -------
    The columns of `combination`, and

    - `initializer`: the leader.
    - `statistic`, `position`, `end`: the scalar, and `smallest` or `largest`.
    - `value`: its median, in the scalar's unit.
    - `others_low`, `others_high`, `others`: the range of the medians of the other initializers, and their number.

    It is a description, an association at best: initializers differ in many statistics at once, and no test stands
    behind it. The factor is a convention. It assumes nothing of the distribution of the values.
    """
    check_table(signal, "signal", COLUMNS, SIGNAL)
    check_frame(frame, columns=("cell", "initializer"))
    keys = combination_of(frame, combination)
    cells = without_categories(frame.drop_duplicates("cell")[["cell", *keys, "initializer"]])
    cells = cells.merge(signal_scalars(signal) if scalars is None else scalars, on="cell")
    by = [*keys, "initializer"]
    columns = [scalar_name(name, position) for name, position, _ in GOOD_ENDS]
    medians = cells.groupby(by, sort=False, dropna=False, observed=True)[columns].median().reset_index()
    compared = without_categories(verdicts[[*by, "leader", "significant"]]).merge(medians, on=by)
    records: list[tuple[Any, ...]] = []
    for rows in by_combination(compared, keys) if len(compared) else ():
        leads = rows["leader"].to_numpy(bool)
        worse = rows["significant"].to_numpy(bool) & ~leads
        if not (leads.any() and worse.any()):
            continue
        leader = rows[leads].iloc[0]
        for (name, position, end), column in zip(GOOD_ENDS, columns, strict=True):
            values = rows[column].to_numpy(float)
            own, others = float(leader[column]), values[~leads & ~np.isnan(values)]
            rivals = values[worse & ~np.isnan(values)]
            if not (np.isfinite(own) and len(rivals)):
                continue
            if _is_best(name, end, own, others, MIN_FACTOR, MIN_SHARE) and _is_best(
                name, end, own, rivals, ADVANTAGE_FACTOR, ADVANTAGE_SHARE
            ):
                record = (leader["initializer"], name, position, end, own, others.min(), others.max(), len(others))
                records.append((*leader[keys], *record))
    return pd.DataFrame(records, columns=[*keys, *COLUMNS_OF_ADVANTAGES])


def _is_best(name: str, end: str, own: float, others: Any, factor: float, share: float) -> bool:
    """Return whether a value is better than all others by a factor; of shares and drifts, by a difference."""
    if end == "largest":
        return bool(own > others.max() and own >= factor * others.max())
    margin = {"share": share, "drift": float(np.log10(factor))}.get(name.rpartition("_")[2], (factor - 1) * own)
    return bool(own < others.min() and own + margin <= others.min())
