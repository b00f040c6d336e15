"""Workbooks, read back by another package: the same table as in CSV, in which no string becomes anything else."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
import untrusted
from command import ended

import initbench as ib
from initbench.errors import UserError
from initbench.results import spreadsheet

openpyxl = pytest.importorskip("openpyxl")
pytest.importorskip("xlsxwriter")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An experiment with runs that diverged, and with and without hidden layers."""
    text = untrusted.GRID.replace("hidden = []", "hidden = [12, 10]")
    return untrusted.made_run(tmp_path_factory.mktemp("sheets"), text)


def rows_of(path):
    """The rows of a workbook's only sheet, as openpyxl reads them."""
    (sheet,) = openpyxl.load_workbook(path).worksheets
    return [[cell.value for cell in row] for row in sheet.iter_rows()]


def test_a_workbook_has_the_tidy_table_as_csv_has_it(folder, tmp_path, capsys):
    assert ended(None, capsys, "export", folder, tmp_path / "runs.xlsx")[:2] == (0, f"{tmp_path}/runs.xlsx: 54 rows\n")
    header, *rows = rows_of(tmp_path / "runs.xlsx")
    frame = ib.load(folder)
    assert header == [*frame.columns]
    assert frame["test_accuracy"].isna().any()
    expected = frame.assign(hidden="[12, 10]").astype(object).where(frame.notna(), None)
    assert rows == expected.to_numpy().tolist()


def test_a_workbook_has_the_signal_with_values_that_are_not_finite_as_words(folder, tmp_path, capsys):
    assert ended(None, capsys, "export", folder, tmp_path / "signal.xlsx", "--table", "signal")[0] == 0
    header, *rows = rows_of(tmp_path / "signal.xlsx")
    signal = ib.load_signal(folder)
    assert header == [*signal.columns]
    assert signal["value"].isna().any()
    assert [row[:4] for row in rows] == signal.iloc[:, :4].to_numpy().tolist()
    np.testing.assert_allclose([float(row[4]) for row in rows], signal["value"], rtol=1e-15)  # 16 digits


def test_strings_stay_strings():
    frame = pd.DataFrame({
        "cell": ["12345678e90123456789", "00000000000000000001"],
        "model": ["=1+1", "perceptron"],
        "hidden": ["12-10", ""],
        "dataset": ["@SUM(A1)", "https://example.org"],
        "value": [np.nan, -np.inf],
    })  # fmt: skip
    content = spreadsheet.xlsx_bytes(frame, "x.xlsx")
    assert rows_of(io.BytesIO(content))[1:] == [
        ["12345678e90123456789", "=1+1", None, "@SUM(A1)", None],
        ["00000000000000000001", "perceptron", "[]", "https://example.org", "-inf"],
    ]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert "hyperlink" not in sheet.lower()


def test_a_table_that_a_sheet_cannot_hold_and_a_missing_package_are_one_line(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(spreadsheet, "MAX_ROWS", 53)
    with pytest.raises(UserError, match=r"^x\.xlsx: 54 rows; allowed in a sheet: 53; write \.parquet or \.csv$"):
        spreadsheet.xlsx_bytes(ib.load(folder), "x.xlsx")
    monkeypatch.setattr(spreadsheet, "find_spec", lambda name: None)
    out = tmp_path / "x.xlsx"
    message = f"{out}: .xlsx needs XlsxWriter: pip install 'initbench[excel]'; or write .csv\n"
    assert ended(None, capsys, "export", folder, out) == (2, "", message)
    assert not out.exists()
