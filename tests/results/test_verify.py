"""`initbench verify`, and results of earlier and later versions."""

import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cells import exact
from plugin_code import CELLS, both_kinds
from typer.testing import CliRunner

import initbench as ib
from initbench.cli import app
from initbench.errors import UserError
from initbench.execution.config import ExecutionConfig
from initbench.results import clean, store, verify
from initbench.results.experiment import Experiment
from initbench.results.table import EARLIER, FORMAT, SCHEMA
from initbench.spec.cell import TRAINING_VERSION
from initbench.system import threads

EARLIER_RUNS = {version: Path(__file__).parents[1] / "stored" / f"run-of-version-{version}" for version in (1, 2, 3)}

# Their test accuracies after the last epoch, in the order of the grid. (The first two draw weights in the same way.)
FIRST_ACCURACIES = [0.5846, 0.5177, 0.3143, 0.3034, 0.2324, 0.2183, 0.2949, 0.1934]
EARLIER_ACCURACIES = {
    1: FIRST_ACCURACIES,
    2: FIRST_ACCURACIES,
    3: [0.4196, 0.388, 0.3057, 0.1628, 0.1181, 0.1614, 0.2091, 0.1584],
}


@pytest.fixture
def folder(copied):
    return copied


def rewritten(folder, change, metadata=None):
    """Replace the first part by one with changed rows and a valid checksum; returns its id."""
    part = next(store.read_parts(folder, []))
    rows = change(part.table.to_pandas())
    (folder / "parts" / f"{part.id}.parquet").unlink()
    (folder / "timings" / f"{part.id}.json").unlink()
    table = pa.Table.from_pandas(rows, SCHEMA, preserve_index=False)
    return store.write_part(folder, table, part.metadata if metadata is None else metadata)


@pytest.fixture
def code(kind, grid_file):
    """The files of the plugins of a small experiment."""
    return [grid_file.parent / "schemes.py"] if kind == "plugin" else []


def problems(folder):
    return verify.check(Experiment.open(folder)).problems


@exact
@both_kinds
def test_a_sound_experiment_verifies_and_does_not_change(folder, kind, code):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert ib.verify(folder, sample=5, seed=1, workers=1, plugins=code, allow_plugins=True) == []
    plugins = [option for path in code for option in ("--plugin", str(path))]
    options = ["--sample", "4", "--seed", "3", "--workers", "1", *plugins, *["--allow-plugins"] * bool(code)]
    result = CliRunner().invoke(app, ["verify", str(folder), *options])
    assert result.exit_code == 0, result.output
    assert f"{CELLS[kind]} of {CELLS[kind]} cells, in {len(list((folder / 'parts').iterdir()))} parts" in result.output
    assert "4 of 4 retrained cells have the same bits" in result.output
    assert result.output.splitlines()[-1] == "Sound"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@exact
@pytest.mark.slow
def test_training_again_detects_a_changed_number_with_a_valid_checksum(folder):
    def change(rows):
        rows.loc[rows["epoch"] == 2, "test_accuracy"] += 1e-9
        return rows

    metadata = dict(next(store.read_parts(folder, [])).metadata)
    del (
        metadata["cpu_capability"],
        metadata["blas"],
    )  # earlier versions do not record these
    rewritten(folder, change, metadata)
    assert problems(folder) == []
    lines = ib.verify(folder, sample=12, workers=1)
    assert len(lines) == 6
    assert all("rows differ from epoch 2 on" in line for line in lines)
    assert all("same kind of processor with the same versions" in line for line in lines)
    result = CliRunner().invoke(app, ["verify", str(folder), "--sample", "12", "--workers", "1"])
    assert result.exit_code == 1
    assert "6 of 12 retrained cells have the same bits" in result.output
    assert result.output.splitlines()[-1] == "Not sound: 6 problems"


def test_a_cell_of_another_processor_may_differ_and_is_listed_separately(folder):
    def change(rows):
        rows["test_loss"] *= 1 + 1e-6
        return rows

    other = {"processor": "Other Processor 9000", "cpu_capability": "Other instructions", "blas": "other kernels"}
    metadata = next(store.read_parts(folder, [])).metadata | other
    rewritten(folder, change, metadata)
    experiment = Experiment.open(folder)
    retrained = verify.retrain(experiment, verify.check(experiment), 12, 0, ExecutionConfig(1))
    assert (retrained.sampled, retrained.same, retrained.problems) == (12, 6, [])
    assert all("trained with processor Other Processor 9000, here " in line for line in retrained.elsewhere)
    assert all("; cpu_capability Other instructions, here " in line for line in retrained.elsewhere)
    assert all(f"; blas other kernels, here {threads.blas()}" in line for line in retrained.elsewhere)


@pytest.mark.slow
def test_results_that_no_processor_can_produce_are_problems(folder):
    def change(rows):
        rows["test_accuracy"] = 0.999
        return rows

    metadata = next(store.read_parts(folder, [])).metadata | {"bits": "to rounding"}
    rewritten(folder, change, metadata)
    experiment = Experiment.open(folder)
    retrained = verify.retrain(experiment, verify.check(experiment), 12, 0, ExecutionConfig(1))
    assert (retrained.same, len(retrained.problems), retrained.elsewhere) == (6, 6, [])
    assert all("too far apart" in line for line in retrained.problems)


def other_status(rows):
    rows.loc[3, "status"] = "nearly"
    return rows


def other_seed(rows):
    rows["seed"] += 7
    return rows


def hole(rows):
    rows.loc[2, "validation_loss"] = np.nan
    return rows


def resurrected(rows):
    rows.loc[rows["epoch"] == 1, "status"] = "diverged"
    return rows


def two_settings(rows):
    rows.loc[2, "loss"] = "mae"
    return rows


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (other_status, "it has a status 'nearly'"),
        (other_seed, "does not match its settings"),
        (hole, "validation_loss is missing"),
        (resurrected, "trained after it diverged"),
        (two_settings, "rows of several specifications"),
    ],
)
def test_rows_that_no_training_writes_are_reported(folder, change, problem):
    part = rewritten(folder, change)
    assert any(problem in line and part in line for line in problems(folder))


def test_a_deleted_part_and_missing_cells_are_reported(folder):
    gone, other = sorted((folder / "parts").iterdir())
    gone.unlink()
    result = CliRunner().invoke(app, ["verify", str(folder), "--sample", "0"])
    assert result.exit_code == 1
    assert "6 of 12 cells, in 1 parts" in result.output
    assert "6 cells are not trained, or no longer stored; `initbench run` trains them" in result.output
    assert f"{gone.name}: is gone" in result.output
    assert other.name not in result.output
    assert "No cell was retrained" in result.output


@pytest.mark.parametrize("keywords", [{"sample": -1}, {"sample": "a"}, {"seed": -4}, {"workers": 0}])
def test_invalid_arguments_of_verify_are_rejected(folder, keywords):
    with pytest.raises(UserError, match="is not allowed; allowed: an integer from"):
        ib.verify(folder, **keywords)


def test_clean_leaves_other_files(folder):
    (folder / "parts" / "notes.txt").write_text("mine")
    (folder / "parts" / "x.parquet").write_text("mine too")
    with pytest.warns(UserWarning, match="x.parquet: not a part of an experiment; left out; move it elsewhere"):
        ib.run(folder / "grid.toml", results=folder.parent, workers=1, overrides={"name": "small"})
    clean.clean(folder)
    assert sorted(path.name for path in folder.rglob("*")) == ["notes.txt", "parts", "x.parquet"]


def test_a_flipped_bit_a_truncated_file_and_a_cell_with_two_results_are_reported(folder):
    parts = sorted((folder / "parts").iterdir())
    content = parts[0].read_bytes()
    at = random.Random(5).randrange(len(content))
    parts[0].write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
    (line,) = problems(folder)
    assert parts[0].name in line
    parts[0].write_bytes(content[:-1])
    assert len(problems(folder)) == 1
    parts[0].write_bytes(content)
    rows = next(store.read_parts(folder, [])).table.to_pandas()
    rows["test_accuracy"] /= 2
    store.write_part(folder, pa.Table.from_pandas(rows, SCHEMA, preserve_index=False), {})
    assert sum("has other rows in part" in line for line in problems(folder)) == rows["cell"].nunique()


@pytest.mark.parametrize("version", EARLIER_RUNS)
def test_an_experiment_of_an_earlier_version_is_read_as_it_was(version, tmp_path, without_figures):
    folder = shutil.copytree(EARLIER_RUNS[version], tmp_path / "old")
    with pytest.warns(UserWarning, match=f"training version {version}, this one has {TRAINING_VERSION}"):
        frame = ib.load(folder)
    last = frame[frame["epoch"] == 2]
    assert last["test_accuracy"].tolist() == EARLIER_ACCURACIES[version]
    assert set(frame["precision"]) == {"float32"}
    assert set(frame["cell"]) <= set(pd.read_parquet(folder / "parts")["cell"])
    with pytest.warns(UserWarning, match="earlier version"):
        page = ib.report(folder).read_text(encoding="utf-8")
    assert f"{version}, an earlier one" in page
    assert problems(folder) == []
    result = CliRunner().invoke(app, ["verify", str(folder)])
    assert "8 cells are of an earlier version of the training" in result.output
    assert "have the same bits" not in result.output


@pytest.mark.parametrize("version", [pytest.param(v, marks=pytest.mark.slow if v == 1 else ()) for v in EARLIER_RUNS])
def test_cells_of_an_earlier_version_are_trained_again_and_the_old_parts_stay(version, tmp_path):
    folder = shutil.copytree(EARLIER_RUNS[version], tmp_path / "old")
    old_parts = {path.name for path in (folder / "parts").iterdir()}
    with pytest.warns(UserWarning, match="8 cells were trained by an earlier version"):
        frame = ib.run(folder / "grid.toml", results=tmp_path, workers=1, overrides={"name": "old"}).frame
    assert frame["cell"].nunique() == 8
    assert old_parts < {path.name for path in (folder / "parts").iterdir()}
    with pytest.warns(UserWarning, match="earlier version"):
        assert len(ib.compare(EARLIER_RUNS[version], folder)) == 4


def test_a_part_of_a_later_version_is_skipped_or_set_aside_but_never_deleted(folder, tmp_path):
    part = next(store.read_parts(folder, []))
    (folder / "parts" / f"{part.id}.parquet").unlink()
    sink = pa.BufferOutputStream()
    pq.write_table(part.table.replace_schema_metadata({b"initbench.format": str(FORMAT + 1)}), sink)
    import hashlib

    content = sink.getvalue().to_pybytes()
    later = folder / "parts" / f"{hashlib.sha256(content).hexdigest()}.parquet"
    later.write_bytes(content)
    with pytest.warns(UserWarning, match=rf"of a later version of initbench \(format {FORMAT + 1}; this one reads"):
        frame = ib.load(folder)
    assert frame["cell"].nunique() == 6
    assert later.exists()
    with pytest.warns(UserWarning, match="set-aside"):
        ib.run(folder / "grid.toml", results=folder.parent, workers=1, overrides={"name": "small"})
    assert (folder / "set-aside" / later.name).read_bytes() == content
    assert ib.load(folder)["cell"].nunique() == 12


def test_every_earlier_format_lacks_columns_of_this_one():
    for missing in EARLIER:
        assert missing
        assert set(missing) < set(SCHEMA.names)
    assert len(EARLIER) == FORMAT - 1
