"""The report: DataFrames in, one offline HTML file out."""

from initbench.report.page import make

__all__ = ["make"]
