"""Experiments of earlier formats, whose parts have fewer columns. Their cells are of version 3 of the training."""

import shutil
import warnings
from pathlib import Path

import made_up
import pyarrow.parquet as pq
import pytest

import initbench as ib
from initbench.results import verify
from initbench.results.experiment import Experiment
from initbench.results.merge import merge_experiments
from initbench.results.parts import FORMAT_KEY
from initbench.results.table import SCHEMA
from initbench.spec.cell import LATER, Cell

# Of parts in the second format: MNIST and a folder of IDX files, an own initializer, a schedule of the learning rate.
SECOND = Path(__file__).parents[1] / "stored" / "run-of-format-2"

# Its test accuracies after the last epoch, in the order of the grid.
ACCURACIES = [0.2028, 0.4171, 0.2033, 0.3421, 2 / 6, 3 / 6, 2 / 6, 3 / 6]

MORE = """
[grid]
initializer = "zeros"
seed = 1
[model]
hidden = [8]
[training]
epochs = 2
train_size = 200
batch_size = 20
"""


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SECOND, tmp_path / "run-of-format-2")


@pytest.fixture(autouse=True)
def few_test_images():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "tiny: the test split of 6 images")
        yield


def test_the_stored_parts_are_of_the_second_format():
    for path in (SECOND / "parts").iterdir():
        part = pq.read_table(path)
        assert part.schema.metadata[FORMAT_KEY] == b"2"
        assert set(SCHEMA.names) - set(part.schema.names) == set(LATER)


def test_parts_of_the_second_format_are_read_with_the_defaults_of_later_settings(folder):
    experiment = Experiment.open(folder)
    checked = verify.check(experiment)
    assert (len(experiment.missing()), checked.problems, checked.earlier) == (8, [], 8)
    with pytest.warns(UserWarning, match="training version 3"):
        frame = ib.load(folder)
    assert frame.dtypes.equals(SCHEMA.empty_table().to_pandas().astype(frame.dtypes).dtypes)
    last = frame[frame["epoch"] == 2]
    assert last["test_accuracy"].tolist() == pytest.approx(ACCURACIES, abs=1e-12)
    for name in LATER:
        assert frame[name].unique().tolist() == [Cell._field_defaults[name]]
    assert experiment.grid.sources["mnist"].shape == (28, 28, 1)
    (tiny,) = (source for name, source in experiment.grid.sources.items() if name.startswith("tiny@"))
    assert (tiny.pixels, tiny.shape) == (9, (1, 1, 9))  # their heights and widths were not stored


def test_an_experiment_of_the_second_format_goes_on_and_is_merged(folder, tmp_path, monkeypatch):
    made_up.instantly(monkeypatch)
    (tmp_path / "more.toml").write_text(MORE)
    assert ib.run(tmp_path / "more.toml", results=tmp_path, workers=1).frame["cell"].nunique() == 1
    merged, lines = merge_experiments([folder, tmp_path / "more"], tmp_path / "both")
    assert lines == []
    checked = verify.check(merged)  # those of version 3 are kept, and trained again where they are read
    assert (merged.frame()["cell"].nunique(), checked.problems, checked.earlier) == (1, [], 8)
