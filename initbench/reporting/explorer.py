"""What the page's table needs to sort, filter and change its metric, and the data that the page carries."""

import base64
import gzip
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from initbench import stats
from initbench.reporting import limits, names, numbers
from initbench.reporting.evidence import Evidence
from initbench.reporting.figures import MARKS
from initbench.results.table import csv_bytes

LABELS = {
    "test_accuracy": "Test accuracy",
    "validation_accuracy": "Validation accuracy",
    "test_loss": "Test loss",
    "validation_loss": "Validation loss",
    "train_loss": "Training loss",
}


def rows_of(evidence: Evidence) -> list[dict[str, Any]]:
    """The table's rows, as text and as what they are sorted by; for each metric the mean, its interval, the trained."""
    keys = [*evidence.combination, "initializer"]
    table = evidence.verdicts.head(limits.MAX_TABLE_ROWS)
    by_metric = {}
    for metric in LABELS:
        found = stats.results_of(evidence.outcomes, keys, metric)
        by_metric[metric] = table[keys].merge(found, how="left", on=keys).to_dict("records")
    choice = np.repeat(np.arange(len(evidence.combinations)), [len(rows) for _, rows in evidence.combinations])
    return [
        {
            "choice": int(choice[i]),
            "begins": i > 0 and choice[i] != choice[i - 1],
            "mark": MARKS[row["standing"]],
            "settings": [names.setting_text(setting, row[setting]) for setting in evidence.combination],
            "initializer": row["initializer"],
            "standing": row["standing"],
            "flag": numbers.flag(row),
            "failing": row["failed"] > 0,
            "failed": f"{int(row['failed'])} of {int(row['seeds'])}",
            "failed_interval": f"({numbers.percent(row['failed_low'], 0)} to {numbers.percent(row['failed_high'], 0)})",
            "difference": ("leads", "")
            if row["leader"]
            else numbers.points(row["difference"], row["difference_low"], row["difference_high"]),
            "learned": numbers.epochs(row),
            "metrics": [_cells(metric, by_metric[metric][i]) for metric in LABELS],
            "keys": [row["share_failed"], 0.0 if row["leader"] else row["difference"], row["median"]],
        }
        for i, row in enumerate(table.to_dict("records"))
    ]


def _cells(metric: str, row: Mapping[Any, Any]) -> list[Any]:
    """The mean with its interval as text, mean, low and high; and the mean of the trained, as text and as a number."""
    ends = [row["mean_all"], row["all_low"], row["all_high"]]
    if metric.endswith("accuracy"):
        told = [numbers.interval(row), numbers.interval(row, "trained")]
    else:
        told = [numbers.loss_interval(row), numbers.loss_interval(row, "trained")]
    return [told[0], *ends, told[1], row["mean_trained"]]


def _pairs(evidence: Evidence) -> list[list[Any]]:
    """For each choice, of each initializer the text and the number of how far it is behind each other, or nothing."""
    count = len(evidence.initializers)
    if count < 3 or count**2 * len(evidence.combinations) > limits.MAX_PAIRS:
        return []
    table = stats.pairs(evidence.frame, evidence.combination, chance=evidence.chance)
    place = {name: i for i, name in enumerate(evidence.initializers)}
    number = {_key(rows.iloc[0], evidence): i for i, (_, rows) in enumerate(evidence.combinations)}
    found: list[list[list[Any]]] = [[[None] * count for _ in place] for _ in number]
    for row in table.to_dict("records"):
        text = numbers.difference(row, "difference")
        here = found[number[_key(row, evidence)]]
        here[place[row["initializer"]]][place[row["other"]]] = [text, *_rounded([row["difference"]])]
    return found


def _key(row: Any, evidence: Evidence) -> tuple[str, ...]:
    """The settings of a row's choice, as text."""
    return tuple(str(row[setting]) for setting in evidence.combination)


def data(evidence: Evidence, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page's script reads: settings, metrics, and for each row its choice, settings, keys and numbers."""
    return {
        "settings": evidence.combination,
        "metrics": [[name, label] for name, label in LABELS.items()],
        "initializers": evidence.initializers,
        "pairs": _pairs(evidence),
        "choices": [
            [names.setting_text(setting, rows.iloc[0][setting]) for setting in evidence.combination]
            for _, rows in evidence.combinations
        ],
        "rows": [
            [row["choice"], evidence.initializers.index(row["initializer"]), *_rounded(row["keys"]), [
                [cell if isinstance(cell, str) else _rounded([cell])[0] for cell in cells] for cells in row["metrics"]
            ]]
            for row in rows
        ],
    }  # fmt: skip


def _rounded(values: list[float]) -> list[float | None]:
    """Numbers as JSON has them: nine figures, and nothing for what is no number."""
    return [float(f"{value:.9g}") if np.isfinite(value) else None for value in values]


def carried(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of a run that its page carries, and what they are, in words; no rows of a very large run."""
    if len(frame) <= limits.MAX_EMBEDDED_ROWS:
        return frame, f"the tidy table, {numbers.plural(len(frame), 'row')}: one for each cell and epoch"
    last = stats.final(frame)
    if len(last) <= limits.MAX_EMBEDDED_ROWS:
        return (
            last,
            f"the last epoch of each cell, {numbers.plural(len(last), 'row')}; every epoch is in the run’s parts",
        )
    return frame[:0], ""


def csv_address(frame: pd.DataFrame) -> str:
    """A table as a data address: CSV, compressed with gzip."""
    packed = gzip.compress(csv_bytes(frame), mtime=0)
    return "data:application/gzip;base64," + base64.b64encode(packed).decode()


def parquet_address(frame: pd.DataFrame) -> str:
    """A table as a data address: Parquet."""
    buffer = io.BytesIO()
    kinds: dict[str, Any] = {"category": str, "int32": "int64"}  # a long table's columns as those of a short one
    plain = frame.astype({c: kinds[str(frame[c].dtype)] for c in frame if str(frame[c].dtype) in kinds})
    plain.to_parquet(buffer, index=False, compression="zstd")
    return "data:application/vnd.apache.parquet;base64," + base64.b64encode(buffer.getvalue()).decode()
