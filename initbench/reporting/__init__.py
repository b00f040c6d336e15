"""The report: tables in, one offline HTML file out. Nothing heavy is imported here."""
