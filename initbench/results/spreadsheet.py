"""Tables as Excel's workbooks."""

import io
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from initbench.errors import UserError
from initbench.results.table import spelled

if TYPE_CHECKING:
    import pandas as pd

# Rows of a sheet, below the row with the names of the columns.
MAX_ROWS = 2**20 - 1

# Strings stay strings: no formula, link or number is made of one.
OPTIONS = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}


def check_installed(path: Path) -> None:
    """Raise UserError, with what to install, without the package that writes workbooks."""
    if find_spec("xlsxwriter") is None:
        raise UserError(f"{path}: .xlsx needs XlsxWriter: pip install 'initbench[excel]'; or write .csv")


def xlsx_bytes(frame: "pd.DataFrame", path: Path) -> bytes:
    """Return the tidy table or the signal table as the bytes of a workbook; UserError if a sheet cannot hold its rows.

    Ids of cells are text, and `hidden` is `spelled`. A missing value is an empty cell; of the signal, values that are
    not finite are the words `nan`, `inf` and `-inf`, as in CSV.
    """
    import pandas as pd

    if len(frame) > MAX_ROWS:
        raise UserError(f"{path}: {len(frame):,} rows; allowed in a sheet: {MAX_ROWS:,}; write .parquet or .csv")
    of_signal = "statistic" in frame
    buffer = io.BytesIO()
    with pd.ExcelWriter(buffer, engine="xlsxwriter", engine_kwargs={"options": OPTIONS}) as writer:
        (frame if of_signal else spelled(frame)).to_excel(
            writer,
            sheet_name="signal" if of_signal else "runs",
            index=False,
            freeze_panes=(1, 0),
            na_rep="nan" if of_signal else "",
        )
    return buffer.getvalue()
