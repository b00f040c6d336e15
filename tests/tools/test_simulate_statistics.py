"""The simulations of the statistics: the page shows what is stored, errors are at most 5%, and results recur."""

import pandas as pd
import pytest
from scipy.stats import binom

from tools.simulate_statistics import PAGE, RESULTS, Case, cases, filled, measured

# Equal means, but one initializer hides rare failures: no test of few seeds can hold there, and the page says so.
UNSEEN = "one initializer a class short in 1 of 5"


def results():
    return pd.read_csv(RESULTS)


def test_the_tables_of_the_page_are_the_stored_results():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, results()) == page


def test_all_stored_results_are_of_present_cases():
    stored = set(results()[list(Case._fields)].itertuples(index=False, name=None))
    assert stored <= set(cases())


def test_false_claims_are_at_most_5_percent_within_the_monte_carlo_error():
    table = results()
    table = table[table["measure"].str.contains("errors") & (table["shape"] != UNSEEN) & (table["table"] != "selected")]
    limits = binom.ppf(1 - 1e-4, table["experiments"], 0.05) / table["experiments"]
    assert len(table) > 50
    assert table[table["after"] > limits].to_dict("records") == []
    assert (table["before"] > limits).sum() > 10  # what was wrong before


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        ("equal", "normal", 6, 5),
        ("equal", "a class short in half of the runs", 6, 3),
        ("equal", "500 images, deviation of one", 6, 3),
        ("sequential", "normal", 6, 400),
        ("halfwidth", "normal", 2, 200),
        ("planned", "normal", 6, 5),
    ],
    ids=lambda case: " ".join(map(str, case)),
)
def test_a_stored_result_recurs(case):
    """The small form of the tool: it measures a few cases, each in seconds."""
    table = results()
    stored = table[(table[["table", "shape", "initializers", "seeds"]] == list(case)).all(axis=1)]
    count = int(stored["experiments"].iloc[0])
    rows = pd.DataFrame(measured(Case(*case, count)), columns=table.columns)
    assert rows["measure"].tolist() == stored["measure"].tolist()
    for column in ("before", "after"):
        assert rows[column].astype(float).tolist() == pytest.approx(stored[column].tolist(), abs=3 / count, nan_ok=True)
