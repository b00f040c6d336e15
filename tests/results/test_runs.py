"""Runs on disk: resume, damage, merge, clean; and the table that they give."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from cells import SMALL_GRID, exact
from dask_cluster import until
from plugin_code import CELLS, both_kinds

import initbench as ib
from initbench.errors import UserError
from initbench.execution.start import planned_stacks
from initbench.results import clean, store
from initbench.results.experiment import Experiment
from initbench.results.merge import merge_experiments
from initbench.results.table import SCHEMA, table
from initbench.spec import grid
from initbench.spec.columns import COLUMNS, METRICS, SETTINGS
from initbench.system import files


@pytest.fixture
def folder(copied):
    """A copy of the small experiment that a test may damage."""
    return copied


def part_files(folder):
    return sorted((folder / "parts").iterdir())


def test_the_table_is_tidy(trained):
    _, frame = trained
    assert tuple(frame.columns) == COLUMNS == (*SETTINGS, "cell", "status", "epoch", *METRICS)
    assert len(frame) == 12 * 3
    assert not frame.duplicated(["cell", "epoch"]).any()
    assert frame["epoch"].tolist() == [0, 1, 2] * 12
    assert frame.loc[frame["epoch"] == 0, "train_loss"].isna().all()
    assert frame.loc[frame["epoch"] > 0, "train_loss"].notna().all()
    assert frame["test_accuracy"].between(0, 1).all()
    assert frame["initializer"].unique().tolist() == ["glorot_uniform", "zeros", "normal(std=0.2)"]


def test_pandas_reads_the_parts_without_initbench(trained):
    folder, frame = trained
    code = f"import pandas; print(len(pandas.read_parquet({str(folder / 'parts')!r})))"
    (folder / "parts" / ".unfinished.parquet.tmp").write_bytes(b"half")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    (folder / "parts" / ".unfinished.parquet.tmp").unlink()
    assert int(out) == len(frame)
    plain = pd.read_parquet(folder / "parts").sort_values(["cell", "epoch"], ignore_index=True)
    pd.testing.assert_frame_equal(plain, frame.sort_values(["cell", "epoch"], ignore_index=True))


@both_kinds
def test_a_part_is_named_by_its_bytes_and_carries_its_environment(trained):
    folder, _ = trained
    for path in part_files(folder):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        timing = json.loads((folder / "timings" / f"{path.stem}.json").read_bytes())
        assert timing["seconds"] > sum(entry["seconds"] for entry in timing["initialization"].values()) > 0
        assert sum(entry["cells"] for entry in timing["initialization"].values()) == timing["cells"]
    lines = []
    parts = list(store.read_parts(folder, lines))
    assert lines == []
    for part in parts:
        assert part.metadata["device"] == "cpu"
        assert part.metadata["torch"].startswith("2.")
        assert part.metadata["bits"] == "exact" or not torch.backends.mkl.is_available()
        assert not {"seconds", "host", "workers"} & set(part.metadata)


@exact
def test_two_runs_of_one_grid_are_equal_files(trained, tmp_path, grid_file):
    ib.run(grid_file, results=tmp_path / "again", workers=1)
    assert [p.name for p in part_files(tmp_path / "again" / "small")] == [p.name for p in part_files(trained[0])]


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(trained, tmp_path, grid_file):
    frame = ib.run(grid_file, results=tmp_path / "two", workers=2).frame
    pd.testing.assert_frame_equal(frame, trained[1], check_exact=True)


@both_kinds
def test_a_repeated_run_trains_nothing_and_one_more_seed_only_new_cells(folder, kind, grid_file, monkeypatch):
    counted, of_a_seed = [], CELLS[kind] // 2
    plain = Experiment.train

    def counting(self, stacks, *rest):
        counted.extend(cell for stack in stacks for cell in stack.cells)
        return plain(self, stacks, *rest)

    monkeypatch.setattr(Experiment, "train", counting)
    before = part_files(folder)
    run = partial(ib.run, grid_file, results=folder.parent, workers=1, allow_plugins=True)
    run()
    assert counted == []
    assert part_files(folder) == before
    with pytest.warns(UserWarning, match="Seeds were added after the results of 2 seeds"):
        frame = run(overrides={"seed": 3}).frame
    assert {c.seed for c in counted} == {2}
    assert len(counted) == of_a_seed
    assert set(before) < set(part_files(folder))
    assert sorted(frame["seed"].unique()) == [0, 1, 2]
    second = frame["activation"].unique()[1].partition("@")[0]
    smaller = run(overrides={"seed": [1], "activation": second}).frame
    assert len(counted) == of_a_seed
    assert smaller["cell"].nunique() == of_a_seed // 2
    assert Experiment.open(folder).inventory() == ([], 3 * of_a_seed - of_a_seed // 2)


@pytest.mark.parametrize(
    ("damage", "trains"),
    [
        (lambda content: content[:50] + bytes([content[50] ^ 1]) + content[51:], True),
        (lambda content: content[:-10], False),
        (lambda content: b"", False),
    ],
)
def test_a_damaged_part_is_set_aside_reported_and_trained_again(folder, trained, grid_file, damage, trains):
    victim, *others = part_files(folder)
    cells = pd.read_parquet(victim)["cell"].nunique()
    victim.write_bytes(damage(victim.read_bytes()))
    lines = []
    parts = list(store.read_parts(folder, lines))
    assert [part.id for part in parts] == [path.stem for path in others]
    assert len(lines) == 1
    assert victim.name in lines[0]
    assert (folder / "set-aside" / victim.name).exists()
    if not trains:
        assert len(Experiment.open(folder).missing()) == cells
        return
    frame = ib.run(grid_file, results=folder.parent, workers=1).frame
    pd.testing.assert_frame_equal(frame, trained[1], check_exact=True)


def test_reading_reports_damage_and_moves_nothing(folder, tmp_path, grid_file, without_figures):
    victim = part_files(folder)[0]
    victim.write_bytes(victim.read_bytes() + b"x")
    for read in (ib.load, ib.report, lambda f: ib.merge([f], tmp_path / "merged")):
        with pytest.warns(UserWarning, match=victim.name):
            read(folder)
    assert victim.exists()
    assert not (folder / "set-aside").exists()
    with pytest.warns(UserWarning, match="moved to"):
        ib.run(grid_file, results=folder.parent, workers=1)
    assert (folder / "set-aside" / victim.name).exists()
    assert ib.load(folder)["cell"].nunique() == 12  # and no warning any more


def test_a_part_of_another_schema_is_set_aside(folder):
    lines = []
    part = next(store.read_parts(folder, lines))
    store.write_part(folder, part.table.drop_columns(["status"]), {})
    assert len(list(store.read_parts(folder, lines))) == 2
    assert "its columns are not those" in lines[0]


def test_a_write_that_fails_leaves_no_files(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write_file(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.slow
def test_diverged_rows_exist_with_nulls_from_the_epoch_on(tmp_path, grid_file):
    frame = ib.run(
        grid_file,
        results=tmp_path,
        workers=1,
        overrides={
            "activation": ["relu", "tanh"],
            "initializer": "normal",
            "learning_rate": [0.1, 1e25],
            "seed": 1,
        },
    ).frame
    assert len(frame) == 4 * 3
    wild = frame[(frame["learning_rate"] == 1e25) & (frame["activation"] == "relu")]
    assert wild["status"].tolist() == ["trained", "diverged", "diverged"]
    assert wild[list(METRICS)].iloc[1:].isna().all(axis=None)
    assert wild["validation_loss"].notna().iloc[0]
    calm = frame[frame["learning_rate"] == 0.1]
    assert (calm["status"] == "trained").all()
    assert calm["test_loss"].notna().all()
    alone = ib.run(
        grid_file, results=tmp_path / "alone", workers=1, overrides={"initializer": "normal", "seed": 1}
    ).frame
    columns = ["cell", "epoch", *METRICS]
    left, right = (f[columns].sort_values(["cell", "epoch"], ignore_index=True) for f in (calm, alone))
    pd.testing.assert_frame_equal(left, right, check_exact=True)


def test_a_loss_that_is_infinite_after_the_last_update_is_divergence_too():
    from cells import make_cell

    metrics = {name: [[0.5], [0.4]] for name in METRICS} | {"validation_loss": [[0.5], [np.inf]]}
    frame = table([make_cell()], metrics).to_pandas()
    assert frame["status"].tolist() == ["trained", "diverged"]
    assert frame["test_accuracy"].isna().tolist() == [False, True]
    assert table([make_cell()], metrics).schema.equals(SCHEMA)


@pytest.mark.slow
@both_kinds
def test_merge_drops_duplicates_and_lists_cells_that_differ(folder, kind, tmp_path, grid_file):
    run = partial(ib.run, grid_file, workers=1, allow_plugins=True)
    run(results=tmp_path / "there", overrides={"seed": [1, 2]})
    there = tmp_path / "there" / "small"
    merged, lines = merge_experiments([folder, there], tmp_path / "both")
    assert lines == []
    frame = merged.frame()
    assert sorted(frame["seed"].unique()) == [0, 1, 2]
    assert frame["cell"].nunique() == 3 * CELLS[kind] // 2
    assert merged.missing() == []
    whole = run(results=tmp_path / "one", overrides={"seed": 3}).frame
    pd.testing.assert_frame_equal(frame, whole[frame.columns], check_exact=True)
    assert ib.load(tmp_path / "both").equals(frame)

    part = next(part for part in store.read_parts(there, []) if 1 in part.table["seed"].to_pylist())
    changed = part.table.to_pandas()
    changed["test_accuracy"] += 0.001
    import pyarrow as pa

    (there / "parts" / f"{part.id}.parquet").unlink()
    store.write_part(there, pa.Table.from_pandas(changed, SCHEMA, preserve_index=False), part.metadata)
    _, lines = merge_experiments([folder, there], tmp_path / "again")
    disagreeing = set(changed.loc[changed["seed"] == 1, "cell"])
    assert disagreeing
    assert len(lines) == len(disagreeing)
    assert all(any(cell in line for line in lines) for cell in disagreeing)


def test_merge_does_not_write_into_a_folder_that_is_not_empty(folder, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UserError, match="not empty"):
        merge_experiments([folder], tmp_path / "full")


def test_clean_removes_the_experiments_files_and_nothing_else(folder):
    (folder / "notes.txt").write_text("mine")
    cleaned = clean.clean(folder)
    assert [p.name for p in folder.iterdir()] == cleaned.remaining == ["notes.txt"]
    assert {"parts", "timings", "grid.toml"} <= set(cleaned.removed)


def test_load_lists_the_experiments_nearby(folder):
    with pytest.raises(UserError, match=r"no such folder; experiments in .*: small"):
        ib.load(folder.parent / "smal")


def test_a_foreign_folder_is_not_written_into(tmp_path, grid_file):
    (tmp_path / "results" / "small").mkdir(parents=True)
    (tmp_path / "results" / "small" / "thesis.tex").touch()
    with pytest.raises(UserError, match="holds other files, not an experiment"):
        ib.run(grid_file, results=tmp_path / "results")


def test_another_data_set_trains_and_its_experiment_is_readable_from_anywhere(
    tmp_path, grid_file, monkeypatch, without_figures
):
    from idx import write_folder

    write_folder(tmp_path / "tiny", images=240, labels=240)
    monkeypatch.chdir(tmp_path)
    overrides = {"dataset": {"idx": "tiny"}, "train_size": 200, "batch_size": 20, "hidden": [[], [5]]}
    with pytest.warns(UserWarning, match="the test split of 6 images does not separate learning from chance"):
        frame = ib.run(grid_file, results=tmp_path / "r", workers=1, overrides=overrides).frame
    assert frame["dataset"].str.startswith("tiny@").all()
    assert frame["cell"].nunique() == 24
    assert (frame["status"] == "trained").all()
    shutil.move(tmp_path / "tiny", tmp_path / "gone")
    monkeypatch.chdir("/")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pd.testing.assert_frame_equal(ib.load(tmp_path / "r" / "small"), frame)
        page = ib.report(tmp_path / "r" / "small")
        assert ib.report(tmp_path / "r" / "small") == page  # and again
    warned = re.findall(r'<p class="warning">(.*?)</p>', page.read_text(encoding="utf-8"))
    assert any("the test split of 6 images does not separate" in line for line in warned)


def damage_grid(folder):
    (folder / "grid.toml").write_bytes(b"name = '\xe9'")


def damage_timings(folder):
    for path in (folder / "timings").iterdir():
        path.write_bytes(b"{")


def add_part_that_is_a_folder(folder):
    (folder / "parts" / f"{'a' * 64}.parquet").mkdir()


def add_part_that_leads_nowhere(folder):
    (folder / "parts" / f"{'b' * 64}.parquet").symlink_to("nowhere")


@pytest.mark.parametrize("damage", [damage_timings, add_part_that_is_a_folder, add_part_that_leads_nowhere])
def test_a_folder_with_damaged_files_is_still_read(folder, trained, tmp_path, damage):
    damage(folder)
    merged, _ = merge_experiments([folder], tmp_path / "merged")
    pd.testing.assert_frame_equal(merged.frame(), trained[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pd.testing.assert_frame_equal(ib.load(folder), trained[1])


def test_a_grid_that_is_not_utf_8_is_rejected(folder):
    damage_grid(folder)
    with pytest.raises(UserError, match="not UTF-8"):
        ib.load(folder)


def test_a_users_own_grid_file_is_not_taken_for_an_experiment(tmp_path, grid_file):
    own = tmp_path / "small"
    own.mkdir()
    (own / "grid.toml").write_text(SMALL_GRID)
    (own / "notes.txt").touch()
    with pytest.raises(UserError, match="not an experiment"):
        ib.run(own / "grid.toml", results=tmp_path, overrides={"seed": 1})
    with pytest.raises(UserError, match="not an experiment"):
        Experiment.open(own)
    assert (own / "grid.toml").read_text() == SMALL_GRID


@pytest.mark.slow
def test_merge_treats_all_images_as_their_number(folder, tmp_path, grid_file):
    cheap = {"initializer": "zeros", "activation": "tanh", "seed": 1, "epochs": 1, "batch_size": 5000}
    (tmp_path / "all.toml").write_text(SMALL_GRID.replace("train_size = 640", ""))
    ib.run(tmp_path / "all.toml", results=tmp_path / "a", workers=1, overrides=cheap)
    ib.run(grid_file, results=tmp_path / "b", workers=1, overrides={**cheap, "train_size": [5000, 55000]})
    merged, lines = merge_experiments([tmp_path / "a" / "small", tmp_path / "b" / "small"], tmp_path / "both")
    assert lines == []
    assert sorted(merged.frame()["train_size"].unique()) == [5000, 55000]
    assert merged.missing() == []


def test_a_merge_keeps_what_counts_as_equivalent_where_the_experiments_agree(tmp_path):
    def experiment(name, within):
        text = SMALL_GRID if within is None else f"equivalent_within = {within}\n{SMALL_GRID}"
        return Experiment.create(grid.parse(text, name="small"), tmp_path / name).folder

    undeclared, half, whole = experiment("undeclared", None), experiment("half", 0.5), experiment("whole", 1)
    pairs = [((undeclared, half), 0.5), ((half, undeclared), 0.5), ((half, whole), None)]
    assert Experiment.open(half).grid.equivalent_within == 0.5
    for number, (folders, expected) in enumerate(pairs):
        merged, _ = merge_experiments(folders, tmp_path / str(number) / "small")
        assert merged.grid.equivalent_within == Experiment.open(merged.folder).grid.equivalent_within == expected


@pytest.mark.slow
def test_workers_end_with_their_parent_and_import_nothing_from_the_working_directory(tmp_path, grid_file):
    (tmp_path / "random.py").write_text("raise SystemExit('an untrusted module was imported')")
    code = "import sys; sys.path.pop(0); from initbench.cli import main; main()"
    command = [sys.executable, "-c", code, "run", str(grid_file), "--set", "epochs=1000"]
    parent = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if not children.exists():
        parent.kill()
        pytest.skip("this system does not list a process's children")
    assert "12 cells to train" in parent.stdout.readline()

    def workers():
        return [Path(f"/proc/{pid}") for pid in children.read_text().split()]

    until(lambda: any(b"libtorch" in (worker / "maps").read_bytes() for worker in workers()))
    worker_folders = workers()
    parent.kill()
    parent.wait()
    until(lambda: not any(worker.exists() for worker in worker_folders), event="the end of the workers")


@pytest.mark.slow
@both_kinds
def test_a_worker_that_dies_is_replaced_and_every_cell_is_trained(trained, tmp_path, grid_file):
    import os
    import signal

    from initbench.execution.events import Finished
    from initbench.execution.process_pool import ProcessPool
    from initbench.plugins import consent
    from initbench.spec.grid import read

    experiment = Experiment.create(read(grid_file, allow=consent.allow), tmp_path)
    killed = []
    with ProcessPool(1) as pool:
        for event in experiment.train(planned_stacks(experiment.missing(), experiment.grid.sources, pool)[0], pool):
            if isinstance(event, Finished) and not killed:
                killed = pool.pids
                os.kill(killed[0], signal.SIGKILL)
        assert pool.pids != killed
    assert experiment.missing() == []
    pd.testing.assert_frame_equal(ib.load(tmp_path / "small"), trained[1], check_exact=True)
