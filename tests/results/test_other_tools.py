"""Other tools compute from an experiment's files what initbench computes: the code of docs/how-to/other-tools.md."""

import re
from pathlib import Path

import numpy as np
import pytest
import untrusted
from command import ended

import initbench as ib
from initbench import stats
from initbench.results import store
from initbench.spec import grid

pl = pytest.importorskip("polars")
duckdb = pytest.importorskip("duckdb")

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "other-tools.md"
GRID = untrusted.GRID.replace('name = "made"', 'name = "keepcoding"').replace(
    "seed = 3", 'loss = ["mse", "cross_entropy"]\nseed = 6'
)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The variables of the page's code, which ran on an experiment with other cells in its parts, and its folder."""
    root = tmp_path_factory.mktemp("page")
    folder = untrusted.made_run(root / "results", GRID)
    earlier = [cell._replace(epochs=1) for cell in grid.parse(GRID).cells()][:5]
    twice = [*grid.parse(GRID).cells()][3:9]
    for cells in (earlier, twice):
        store.write_part(folder, untrusted.made_table(cells), untrusted.ENVIRONMENT)
    variables = {"folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        ended_well = [
            ended(None, NothingPrinted, "export", folder, name, *options)[0]
            for name, *options in (("runs.parquet",), ("signal.parquet", "--table", "signal"))
        ]
        assert ended_well == [0, 0]
        for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            exec(block, variables)
        for name in ("in_duckdb", "dead_units", "everything", "failures"):
            variables[name] = variables[name].df()  # DuckDB reads the files when its result is used
    return variables


class NothingPrinted:
    """In place of capsys, which fixtures of modules do not have."""

    @staticmethod
    def readouterr():
        return "", ""


def test_pandas_polars_and_duckdb_agree_with_each_other_and_with_initbench(names):
    keys = ["initializer", "activation", "loss"]
    frame = ib.load(names["folder"])
    scored = stats.outcomes(frame)
    expected = scored.groupby(keys).agg(
        mean=("scored_test_accuracy", "mean"), runs=("seed", "size"), diverged=("diverged", "sum")
    )
    assert len(expected) == 12
    assert 0 < expected["diverged"].sum() < len(scored)
    for means in (names["in_pandas"], names["in_polars"].to_pandas(), names["in_duckdb"]):
        table = means.set_index(keys)
        assert (table.index == expected.index).all()
        np.testing.assert_allclose(table["mean"], expected["mean"], rtol=1e-12)
        assert table["runs"].tolist() == [6] * 12
        assert table["diverged"].tolist() == expected["diverged"].tolist()


def test_the_join_with_the_signal_is_that_of_the_signal_table(names):
    signal, frame = ib.load_signal(names["folder"]), ib.load(names["folder"])
    rows = signal[(signal["statistic"] == "dead_share") & (signal["epoch"] == 0) & (signal["layer"] == 1)]
    settings = frame.drop_duplicates("cell")[["cell", "initializer", "activation"]]
    expected = rows.merge(settings, on="cell").groupby(["initializer", "activation"])["value"].mean()
    assert len(expected) == len(names["dead_units"]) == 6
    np.testing.assert_allclose(names["dead_units"].iloc[:, 2], expected, rtol=1e-12)


def test_the_parts_hold_other_cells_and_repeated_ones_and_the_page_says_how_to_select(names):
    folder, frame, everything = names["folder"], ib.load(names["folder"]), names["everything"]
    raw = duckdb.sql(f"SELECT cell, epoch FROM read_parquet('{folder}/parts/*.parquet')").df()
    assert len(raw) == len(frame) + 5 * 2 + 6 * 3
    assert len(everything) == len(frame) + 5 * 2
    selected = everything[everything["cell"].isin(frame["cell"])].sort_values(["cell", "epoch"])
    expected = frame.sort_values(["cell", "epoch"])
    assert selected["cell"].tolist() == expected["cell"].tolist()
    np.testing.assert_array_equal(selected["test_accuracy"], expected["test_accuracy"])
    diverged = frame[frame["status"] == "diverged"].groupby("initializer")["cell"].nunique()
    assert dict(zip(names["failures"]["initializer"], names["failures"]["runs"], strict=True)) == diverged.to_dict()
    in_polars = pl.scan_parquet(f"{folder}/parts/*.parquet", missing_columns="insert").collect()
    assert len(in_polars) == len(raw)
