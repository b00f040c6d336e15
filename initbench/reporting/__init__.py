"""The report: DataFrames in, one offline HTML file out."""

from initbench.reporting.page import make

__all__ = ["make"]
