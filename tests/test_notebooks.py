"""The notebooks of examples/: they run, and are stored with their pictures and with nothing of a machine."""

import base64
import re
import struct
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
NotebookClient = pytest.importorskip("nbclient").NotebookClient
make_notebooks = pytest.importorskip("tools.make_notebooks", reason="a package for notebooks is missing")

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.ipynb"))

# The notebook's grids, made small.
SMALL = """
import functools
import initbench as ib
ib.run = functools.partial(ib.run, overrides={"train_size": 640, "seed": 3})
"""

# The figures and the pages with a figure that each shows.
PICTURES = {"quickstart": 3, "own_scheme": 4}


def stored(name):
    return nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def is_picture(output):
    data = output.get("data", {})
    return "image/png" in data or "<svg" in data.get("text/html", "")


def test_every_notebook_is_tested():
    assert set(NAMES) == set(PICTURES) == set(make_notebooks.NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_notebook_was_executed_without_an_error_and_has_its_pictures(name):
    notebook = stored(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {output.output_type for output in outputs(notebook)} <= {"execute_result", "display_data"}
    assert sum(map(is_picture, outputs(notebook))) == PICTURES[name]
    for output in outputs(notebook):
        for key in ("image/png",) if "image/png" in output.get("data", {}) else ():
            size = struct.unpack(">2I", base64.b64decode(output.data[key])[16:24])
            assert min(size) > 100


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_notebook_has_nothing_of_a_machine_and_is_small(name):
    text = (EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text.encode()) < 500_000
    texts = re.sub(r'"image/png": "[^"]*"', "", text)
    assert not re.findall(r"(?<![\w.<])/(?:tmp|home|root|usr|work|var|Users)\b|[A-Z]:\\\\|ipykernel_\d", texts)
    assert not re.findall(r"cells/s|time left|in \d+ s\b", texts)
    notebook = stored(name)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    assert all(cell.metadata == {} for cell in notebook.cells)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_a_notebook_names_exists(name):
    text = "".join(cell.source for cell in stored(name).cells if cell.cell_type == "markdown")
    files = re.findall(r"\b(?:docs|examples)/[\w/.-]*\w", text)
    assert files
    assert not [file for file in files if not (EXAMPLES.parent / file).exists()]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_shows_as_many_pictures_as_are_stored(name, tmp_path):
    notebook = make_notebooks.executed(name, str(tmp_path), SMALL)
    cells = [cell for cell in notebook.cells[1:] if cell.cell_type == "code"]
    shown = [output for cell in cells for output in cell.outputs if output.output_type != "stream"]
    assert sum(map(is_picture, shown)) == PICTURES[name]
    assert (tmp_path / "results").is_dir()


MISTAKE = """
import initbench as ib
ib.run({"initializer": ["zeros", "he_norml"], "epochs": 0})
"""


@pytest.mark.slow
def test_a_notebook_shows_a_mistake_in_its_lines_alone(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(MISTAKE)])
    NotebookClient(
        notebook, allow_errors=True, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    ((output,),) = (cell.outputs for cell in notebook.cells)
    assert [line.partition(";")[0] for line in output.traceback] == [
        "UserError: ib.run: initializer[1]: unknown initializer 'he_norml'",
        "UserError: ib.run: epochs = 0 is not allowed",
    ]
