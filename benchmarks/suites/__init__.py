"""What asv keeps over the project's history. A module here imports no more than NumPy and initbench before its `setup`.

So the samplers can be measured where nothing else is installed.
"""
