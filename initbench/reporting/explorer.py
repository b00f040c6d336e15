"""The page's table, which sorts, filters and changes its metric, and the data that the page contains."""

import base64
import gzip
import io
from collections.abc import Mapping
from itertools import chain, islice
from typing import Any

import numpy as np
import pandas as pd

from initbench import stats
from initbench.reporting import limits, names, numbers
from initbench.reporting.evidence import Evidence
from initbench.reporting.templates import label
from initbench.results.table import csv_bytes, plain_columns

LABELS = {
    "test_accuracy": "Test accuracy",
    "validation_accuracy": "Validation accuracy",
    "test_loss": "Test loss",
    "validation_loss": "Validation loss",
    "train_loss": "Training loss",
}


def rows_of(evidence: Evidence) -> list[dict[str, Any]]:
    """The table's rows: what they show and what they are sorted by; for each metric its cells, as `_cells` has them."""
    table = list(islice(chain.from_iterable(evidence.records), limits.MAX_TABLE_ROWS))
    by_metric = {m: evidence.results_in(m).head(limits.MAX_TABLE_ROWS).to_dict("records") for m in LABELS}
    combination = np.repeat(np.arange(len(evidence.combinations)), [len(rows) for _, rows in evidence.combinations])
    return [
        {
            "combination": int(combination[i]),
            "begins": i > 0 and combination[i] != combination[i - 1],
            "mark": numbers.MARKS[row["standing"]],
            "title": evidence.combinations[combination[i]][0],
            "initializer": row["initializer"],
            "standing": row["standing"],
            "flag": numbers.flag(row),
            "failed": f"{int(row['failed'])} of {int(row['seeds'])}" if row["failed"] else "",
            "failed_interval": numbers.failure_interval(row),
            "difference": ("leader", "")
            if row["leader"]
            else numbers.points(row["difference"], row["difference_low"], row["difference_high"]),
            "regret": numbers.at_most(row["regret_bound"]),
            "worse_than": row["worse_than"] or "–",
            "worse_by": _unless_behind(row),
            "epochs": numbers.epochs(row),
            "metrics": [_cells(metric, by_metric[metric][i]) for metric in LABELS],
            "keys": {
                "failed": row["share_failed"],
                "behind": 0.0 if row["leader"] else row["difference"],
                "epochs": row["median"],
                "regret": row["regret_bound"],
                "worse": row["worse_by"],
            },
        }
        for i, row in enumerate(table)
    ]


def _unless_behind(row: Mapping[Any, Any]) -> str:
    """How much worse a row is than the one that it lost to, unless that is how far it is behind the leader."""
    by = numbers.difference(row, "worse_by") if row["worse_than"] else ""
    return "" if by == numbers.difference(row, "difference") else by


def _cells(metric: str, row: Mapping[Any, Any]) -> list[Any]:
    """Of all runs the mean with its interval, as text and as numbers; of those that did not fail, as text, the mean."""
    show = numbers.interval if metric.endswith("accuracy") else numbers.loss_interval
    return [show(row), row["mean_all"], row["all_low"], row["all_high"], show(row, "trained"), row["mean_trained"]]


def _pairs(evidence: Evidence) -> list[list[Any]]:
    """`[combination][initializer][other]`: the text and the number of how far the first is behind the other."""
    count = len(evidence.initializers)
    if count < 3 or count**2 * len(evidence.combinations) > limits.MAX_PAIRS:
        return []
    table = evidence.pairs
    position = {name: i for i, name in enumerate(evidence.initializers)}
    number = {_key(rows[0], evidence): i for i, rows in enumerate(evidence.records)}
    pairs: list[list[list[Any]]] = [[[None] * count for _ in position] for _ in number]
    for row in table.to_dict("records"):
        cell = [numbers.difference(row, "difference"), *_rounded([row["difference"]])]
        pairs[number[_key(row, evidence)]][position[row["initializer"]]][position[row["other"]]] = cell
    return pairs


def _key(row: Any, evidence: Evidence) -> tuple[str, ...]:
    """The settings of a row's combination, as strings."""
    return tuple(str(row[setting]) for setting in evidence.combination)


def data(evidence: Evidence, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page's script reads: settings, metrics, and for each row its combination, keys and numbers."""
    return {
        "settings": evidence.combination,
        "labels": [label(setting) for setting in evidence.combination],
        "metrics": [[name, label] for name, label in LABELS.items()],
        "initializers": evidence.initializers,
        "pairs": _pairs(evidence),
        "combinations": [
            [names.setting_text(setting, rows[0][setting]) for setting in evidence.combination]
            for rows in evidence.records
        ],
        "first_settings": evidence.first.combination,
        "cards": [
            [names.setting_text(setting, rows[0][setting]) for setting in evidence.first.combination]
            for rows in evidence.first.records[: limits.MAX_ANSWERS]
        ],
        "rows": [
            {
                "combination": row["combination"],
                "initializer": evidence.initializers.index(row["initializer"]),
                "keys": dict(zip(row["keys"], _rounded(list(row["keys"].values())), strict=True)),
                "metrics": [
                    [cell if isinstance(cell, str) else _rounded([cell])[0] for cell in cells]
                    for cells in row["metrics"]
                ],
            }
            for row in rows
        ],
    }


def _rounded(values: list[float]) -> list[float | None]:
    """Numbers for JSON: nine significant digits, and None for infinity and NaN."""
    return [float(f"{value:.9g}") if np.isfinite(value) else None for value in values]


def embedded(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows that the page contains, and their description; no rows of a very large experiment."""
    if len(frame) <= limits.MAX_EMBEDDED_ROWS:
        return frame, f"the tidy table, {numbers.plural(len(frame), 'row')}: one for each cell and epoch"
    last = stats.final(frame)
    if len(last) <= limits.MAX_EMBEDDED_ROWS:
        rows = numbers.plural(len(last), "row")
        return last, f"the last epoch of each cell, {rows}; every epoch is in the experiment’s parts"
    return frame[:0], ""


def csv_address(frame: pd.DataFrame) -> str:
    """A table as a data URL: CSV, compressed with gzip."""
    compressed = gzip.compress(csv_bytes(frame), mtime=0)
    return "data:application/gzip;base64," + base64.b64encode(compressed).decode()


def parquet_address(frame: pd.DataFrame) -> str:
    """A table as a data URL: Parquet."""
    buffer = io.BytesIO()
    plain_columns(frame).to_parquet(buffer, index=False, compression="zstd")
    return "data:application/vnd.apache.parquet;base64," + base64.b64encode(buffer.getvalue()).decode()
