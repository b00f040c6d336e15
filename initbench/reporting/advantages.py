"""How leaders stand out before training, and which initializers fail with a signal like that of others: sentences."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from initbench.reporting import names, numbers
from initbench.reporting.limits import MAX_NAMED, MAX_SIGNAL_SENTENCES
from initbench.reporting.signal import condition, statistic, times


def sentences(advantages: pd.DataFrame, combination: Sequence[str], shown: Sequence[Any], deep: bool) -> list[str]:
    """Say in which statistics leaders stand out before training, once for all combinations in which these are the same.

    Parameters
    ----------
    advantages
        A table of `stats.signal_advantages`.
    combination
        The settings of a combination.
    shown
        A row of each combination of the experiment, in the order of the page.
    deep
        Whether networks have more than one layer.
    """
    by_title = {names.title(combination, row): row for row in shown}
    advantages = advantages.assign(title=[names.title(combination, row) for _, row in advantages.iterrows()])
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (title, leader), rows in advantages.groupby(["title", "initializer"], sort=False, observed=True):
        alike.setdefault((str(leader), tuple(rows["statistic"])), []).append(str(title))
    lines = []
    for (leader, of_statistics), titles in alike.items():
        rows = advantages[advantages["title"].isin(titles)]
        clauses = [_clause(rows[rows["statistic"] == name], deep) for name in of_statistics]
        of = condition(titles, by_title, combination)
        lines.append(numbers.capitalized(f"{of}the leader, {leader}, has before training {numbers.listed(clauses)}."))
    return lines[:MAX_SIGNAL_SENTENCES]


def _clause(rows: pd.DataFrame, deep: bool) -> str:
    """A statistic in which a leader is best, with its own values and those of the others."""
    first = rows.iloc[0]
    name = statistic(first["statistic"], first["position"] if deep else "network")

    def shown(*columns: str) -> str:
        values = rows[list(columns)].to_numpy(float)
        texts = [_value(value, first["statistic"]) for value in (values.min(), values.max())]
        return " to ".join(dict.fromkeys(texts))

    factor = "by a factor of " * first["statistic"].endswith("_drift")
    return f"the {first['end']} {name}, {factor}{shown('value')} (others {shown('others_low', 'others_high')})"


def _value(value: float, name: str) -> str:
    """A value of a statistic; of growth or decay, which is in powers of ten, as a factor."""
    if not np.isfinite(value):
        return "infinite"
    if name.endswith("_share"):
        return numbers.percent(value, 0)
    return times(10**value) if name.endswith("_drift") else numbers.short_magnitude(value)


def failing(
    verdicts: pd.DataFrame, findings: pd.DataFrame, combination: Sequence[str], shown: Sequence[Any]
) -> list[str]:
    """Name the initializers of which runs failed though nothing of their signal stands out.

    `verdicts` is a table of `stats.verdicts`, and `findings` one of `stats.signal_findings`.
    """
    keys = [*combination, "initializer"]
    with_finding = set(findings[keys].astype(str).itertuples(index=False, name=None))
    silent = [key not in with_finding for key in verdicts[keys].astype(str).itertuples(index=False, name=None)]
    rows = verdicts[np.asarray(silent, bool) & (verdicts["failed"] > 0).to_numpy()]
    by_title = {names.title(combination, row): row for row in shown}
    texts = []
    for name, of_name in rows.groupby("initializer", sort=False, observed=True):
        titles = [names.title(combination, row) for _, row in of_name.iterrows()]
        of = condition(titles, by_title, combination)
        texts.append(f"{of}{name} in {int(of_name['failed'].sum())} of {int(of_name['seeds'].sum())} runs")
    if not texts:
        return []
    listed = "; ".join(texts[:MAX_NAMED]) + f"; {len(texts) - MAX_NAMED} more" * (len(texts) > MAX_NAMED)
    return [f"Failed, though nothing of the signal before training is beyond these limits: {listed}."]
