"""Execute the notebooks of examples/ and store them with their outputs: `python -m tools.make_notebooks [NAME…]`.

What differs from machine to machine is left out: times, paths, the ids of a session.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = ("quickstart", "own_scheme")

# The rate and the time at the end of a progress bar: `40 of 40 cells, 3.1 cells/s, in 13 s`.
TIMES = re.compile(r"( cells), [\d.e+-]+ cells/s, in [^<\"]*")


def executed(name: str, folder: str, first: str = "") -> Any:
    """Return a notebook with the outputs of its execution in a folder, after a cell with the code `first`."""
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    if first:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}})
    return client.execute()


def without_times(value: Any) -> Any:
    """Return outputs without the times of progress bars."""
    if isinstance(value, str):
        return TIMES.sub(r"\1", value)
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return {key: without_times(item) for key, item in value.items()} if isinstance(value, dict) else value


def store(name: str) -> None:
    """Execute a notebook in an empty folder and store it."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(name, folder)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [nbformat.from_dict(without_times(output)) for output in cell.outputs]
    nbformat.write(notebook, EXAMPLES / f"{name}.ipynb")


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        store(name)
