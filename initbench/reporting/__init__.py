"""The report: DataFrames in, one offline HTML file out."""

from initbench.system.matplotlib_import import import_matplotlib

import_matplotlib()  # before any module of the report does

from initbench.reporting.page import make  # noqa: E402

__all__ = ["make"]
