"""The signal table on disk and in Python: its files are read within limits, and each row once."""

import math
import shutil
from functools import partial
from pathlib import Path

import made_up
import mutate
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import untrusted
from cells import exact
from command import status_of
from watch import limited

import initbench as ib
from initbench.errors import UserError
from initbench.plugins import arrays
from initbench.results import parts, signal, store, verify
from initbench.results.experiment import Experiment
from initbench.results.merge import merge_experiments
from initbench.spec import grid, gridfile
from initbench.spec.signal import COLUMNS, STATISTICS

EARLIER_RUN = Path(__file__).parents[1] / "stored" / "run-of-version-1"


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """An experiment's folder with synthetic results."""
    return untrusted.made_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(synthetic, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(synthetic, tmp_path / "made")


def groups_of(cells, rng):
    """The signal of cells as a worker sends it, with rows in any order; and the same as tuples."""
    rows = [(epoch, layer, name) for epoch in (0, 7) for layer in (0, 1, 2, 11) for name in STATISTICS]
    tuples, groups = [], []
    for numbers in (range(0, len(cells), 2), range(1, len(cells), 2)):
        chosen_rows = [rows[i] for i in rng.permutation(len(rows))[:150]]
        values = rng.random((len(numbers), len(chosen_rows)))
        values[rng.random(values.shape) < 0.2] = math.nan
        values[:, [n for n, row in enumerate(chosen_rows) if row[2].startswith("pre_activation_mean")]] = -math.inf
        groups.append({"cells": [*numbers], "rows": chosen_rows, "values": arrays.to_json([values])[0]})
        tuples += [
            (cells[n].id, *row, value)
            for n, of_n in zip(numbers, values, strict=True)
            for row, value in zip(chosen_rows, of_n, strict=True)
        ]
    return groups, tuples


def test_a_table_is_in_the_grids_order_by_epoch_layer_and_statistic_and_has_each_row_once(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    cells = list(grid.parse(untrusted.GRID).cells())
    notes = []
    by_row = {}
    for chosen in (cells[9:], cells[:12], cells[3:]):  # cells in several files
        groups, tuples = groups_of(chosen[::-1], rng)
        signal.write(tmp_path, signal.table(chosen[::-1], groups), {"torch": "2"})
        by_row[signal.table(chosen[::-1], groups)["value"].to_numpy().tobytes()] = tuples
    files = list(signal.read(tmp_path, notes))
    assert (len(files), notes) == (3, [])
    assert [file.id for file in signal.read(tmp_path, notes, only={files[1].id})] == [files[1].id]
    assert all(file.metadata == {"torch": "2"} for file in files)
    expected = pd.concat(pd.DataFrame(by_row[f.table["value"].to_numpy().tobytes()], columns=COLUMNS) for f in files)
    expected = expected[expected["cell"] != cells[4].id].drop_duplicates(["cell", "epoch", "layer", "statistic"])
    ranks = {"cell": [cell.id for cell in cells], "statistic": [*STATISTICS]}
    expected = expected.sort_values(
        ["cell", "epoch", "layer", "statistic"],
        key=lambda c: c.map({v: i for i, v in enumerate(ranks.get(c.name, []))}) if c.name in ranks else c,
    ).reset_index(drop=True)
    requested = cells[:4] + cells[5:]
    seeds = sorted({cell.seed for cell in requested})
    table = signal.frame(requested, (file.table for file in files))
    pd.testing.assert_frame_equal(table, expected, check_exact=True)
    assert [*map(str, table.dtypes)] == ["str", "int64", "int64", "str", "float64"]
    some = signal.frame(requested, (file.table for file in files), ["dead_share", "correlation"])
    chosen = table["statistic"].isin(["dead_share", "correlation"])
    pd.testing.assert_frame_equal(some, table[chosen].reset_index(drop=True), check_exact=True)
    assert "seeds" not in table.attrs
    for max_rows, n_seeds in ((len(table) - 1, len(seeds) // 2), (1, 0)):
        first = signal.frame(requested, (file.table for file in files), max_rows=max_rows)
        rows = table["cell"].isin([cell.id for cell in requested if cell.seed in seeds[:n_seeds]])
        pd.testing.assert_frame_equal(first, table[rows].reset_index(drop=True), check_exact=True)
        assert first.attrs["seeds"] == n_seeds
    monkeypatch.setattr(signal, "MAX_PLAIN_ROWS", 100)
    long = signal.frame(requested, (file.table for file in files))
    assert [*map(str, long.dtypes)] == ["category", "int32", "int32", "category", "float64"]
    pd.testing.assert_frame_equal(long.astype(table.dtypes), table, check_exact=True)


def test_an_experiment_without_a_signal_has_an_empty_table_of_the_same_columns(folder):
    table = ib.load_signal(folder)
    earlier = ib.load_signal(EARLIER_RUN)
    assert len(table) == 18 * 8
    assert earlier.empty
    assert earlier.dtypes.equals(table.dtypes)
    assert ib.result(folder).signal.equals(table)


def test_the_table_is_exported_with_every_value(folder, tmp_path, capsys):
    table = ib.load_signal(folder)
    assert table["value"].isna().any()
    for name, read in (("s.csv", partial(pd.read_csv, dtype={"cell": str})), ("s.parquet", pd.read_parquet)):
        assert status_of("export", folder, tmp_path / name, "--table", "signal") == 0
        again = read(tmp_path / name)
        pd.testing.assert_frame_equal(again.astype(table.dtypes), table, check_exact=True)
    assert "144 rows" in capsys.readouterr().out
    assert status_of("export", folder, tmp_path / "s.md", "--table", "signal") == 2
    assert "--table: not allowed with" in capsys.readouterr().err


def test_the_page_has_the_definitions_of_the_package():
    from tools.make_signal_page import PAGE, page

    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run make docs"
    assert all(f"`{name}`" in text for name in STATISTICS)


def test_cells_without_the_signal_before_training_are_listed(folder):
    first, second = untrusted.signal_files(folder)
    experiment = Experiment.open(folder)
    assert experiment.without_signal() == []
    rows = pq.read_table(second)
    later = rows.filter(pa.array(rows["epoch"].to_numpy() > 0))
    untrusted.replaced(second, untrusted.parquet(later))
    cells = set(pq.read_table(first)["cell"].to_pylist())
    assert [cell.id for cell in experiment.without_signal()] == [c.id for c in experiment.cells if c.id not in cells]


# ---------------------------------------------------------------------------------------------------------------------
# Files that are damaged or hostile


def changed(rows, name, value, at=0):
    values = rows[name].to_pylist()
    values = [value] * len(values) if at is None else [*values[:at], value, *values[at + 1 :]]
    kind = rows.schema.field(name)
    return rows.set_column(rows.column_names.index(name), kind, pa.array(values, kind.type))


def of_statistic(rows, name, value):
    """The rows with this value in one of a statistic."""
    return changed(rows, "value", value, rows["statistic"].to_pylist().index(name))


def another(rows, name, value):
    """The rows with one row more, the first."""
    first = rows.slice(0, 1)
    return pa.concat_tables([changed(changed(first, "statistic", name, 0), "value", value, 0), rows])


IMPOSSIBLE, ONCE, COLUMNS_DIFFER = "has impossible values", "by epoch, layer and statistic, once", "its columns are not"
HOSTILE = {
    "an epoch below 0": (lambda rows: changed(rows, "epoch", -1), f"epoch {IMPOSSIBLE}"),
    "an epoch of 2^62": (lambda rows: changed(rows, "epoch", 2**62, 3), f"epoch {IMPOSSIBLE}"),
    "a layer of a million": (lambda rows: changed(rows, "layer", 10**6, 5), f"layer {IMPOSSIBLE}"),
    "a layer below 0": (lambda rows: changed(rows, "layer", -(2**63), None), f"layer {IMPOSSIBLE}"),
    "no value": (lambda rows: changed(rows, "value", None), "rows without a value"),
    "no cell": (lambda rows: changed(rows, "cell", None), "rows without a value"),
    "another statistic": (lambda rows: changed(rows, "statistic", "<b>"), "it has a statistic '<b>'"),
    "a repeated row": (lambda rows: pa.concat_tables([rows, rows.slice(4, 1)]), ONCE),
    "rows in another order": (lambda rows: rows.take(pa.array([1, 0, *range(2, len(rows))])), ONCE),
    "repeated cells": (lambda rows: pa.concat_tables([rows, changed(rows, "value", 1.0, None)]), ONCE),
    "columns in another order": (lambda rows: rows.select(rows.column_names[::-1]), COLUMNS_DIFFER),
    "values of 32 bits": (lambda rows: rows.set_column(4, "value", rows["value"].cast(pa.float32())), COLUMNS_DIFFER),
    "a share above 1": (lambda rows: of_statistic(rows, "dead_share", 1.5), f"dead_share {IMPOSSIBLE}"),
    "a share below 0": (lambda rows: of_statistic(rows, "dead_share", -0.5), f"dead_share {IMPOSSIBLE}"),
    "an infinite share": (lambda rows: of_statistic(rows, "dead_share", math.inf), f"dead_share {IMPOSSIBLE}"),
    "a variance below 0": (lambda rows: another(rows, "activation_variance", -1), f"activation_variance {IMPOSSIBLE}"),
    "a value beyond float32": (lambda rows: another(rows, "activation_mean", -1e101), f"activation_mean {IMPOSSIBLE}"),
    "no columns": (lambda rows: rows.select([]), COLUMNS_DIFFER),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_rows_that_no_network_has_are_left_out_with_the_reason(folder, name):
    damage, reason = HOSTILE[name]
    path = untrusted.signal_files(folder)[0]
    path = untrusted.replaced(path, untrusted.parquet(damage(pq.read_table(path))))
    experiment = Experiment.open(folder)
    assert len(experiment.signal()) == 9 * 8
    (line,) = experiment.notes
    assert reason in line
    assert "left out; `initbench signal` computes the signal of its cells before training again" in line
    assert path.exists()
    with pytest.warns(UserWarning, match=reason):
        assert len(ib.load_signal(folder)) == 9 * 8
    writer = Experiment.create(grid.read(folder / "grid.toml"), folder.parent)
    assert len(writer.signal()) == 9 * 8
    assert (folder / "set-aside" / path.name).exists()
    assert not path.exists()
    assert f"moved to {folder / 'set-aside'}" in writer.notes[0]


def test_a_file_of_a_later_version_or_another_content_or_too_many_rows_is_not_read(folder, monkeypatch):
    first = untrusted.signal_files(folder)[0]
    store.write_rows(folder / "signal", pq.read_table(first).slice(0, 8), {}, signal.FORMAT + 1)
    first.write_bytes(first.read_bytes() + b"x")
    experiment = Experiment.open(folder)
    assert len(experiment.signal()) == 9 * 8
    lines = "\n".join(sorted(experiment.notes))
    assert "of a later version of initbench (format 2; this one reads up to 1)" in lines
    assert "does not match the hash in its name" in lines
    monkeypatch.setattr(parts, "MAX_ROWS", 20)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("its rows were read"))
    assert Experiment.open(folder).signal().empty


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("numbers", [range(25), pytest.param(range(25, 100), marks=pytest.mark.slow)])
def test_a_mutated_file_yields_rows_or_a_line(folder, hook, numbers):
    first, path = untrusted.signal_files(folder)
    first.unlink()
    content, rows = path.read_bytes(), pq.read_table(path)
    experiment = Experiment.open(folder)
    sound = 0
    for number in numbers:
        path = untrusted.replaced(path, mutate.part(number, content, rows))
        experiment.notes.clear()
        with limited():
            table = experiment.signal()
        assert len(experiment.notes) == 1 or table["cell"].nunique() <= 9
        assert not table.duplicated([*COLUMNS[:4]]).any()
        assert all(line.isprintable() for line in experiment.notes)
        sound += not experiment.notes
    assert 0 < sound < len(numbers)


def test_nothing_is_written_through_a_link(folder, tmp_path):
    (folder / "signal").rename(tmp_path / "elsewhere")
    (folder / "signal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="signal: is a symbolic link"):
        signal.write(folder, pq.read_table(tmp_path / "elsewhere"), {})
    with pytest.raises(UserError, match="signal: is a symbolic link"):
        Experiment.create(grid.read(folder / "grid.toml"), folder.parent)


# ---------------------------------------------------------------------------------------------------------------------
# Verifying and merging


def with_rows(folder, change, metadata=None):
    """Replace the first file by one with changed rows, or add one beside it."""
    file = next(signal.read(folder, []))
    signal.write(folder, change(file.table), file.metadata if metadata is None else metadata)
    return file


def test_verify_reports_values_that_no_network_has_and_files_that_disagree(folder):
    assert verify.check(Experiment.open(folder)).problems == []
    names = [path.name for path in untrusted.signal_files(folder)[1:]]
    rows = next(signal.read(folder, [])).table
    only_first = rows.filter(pa.array(rows["layer"].to_numpy() > 0))
    path = untrusted.signal_files(folder)[0]
    untrusted.replaced(path, untrusted.parquet(only_first))
    lines = verify.check(Experiment.open(folder)).problems
    assert len(lines) == 9
    assert all(line.endswith("lacks a layer") for line in lines)
    signal.write(folder, rows.filter(pa.array(rows["layer"].to_numpy() == 0)), untrusted.ENVIRONMENT)
    assert verify.check(Experiment.open(folder)).problems == []  # together they have all
    for written in untrusted.signal_files(folder):
        if written.name not in names:
            written.unlink()
    signal.write(folder, rows, untrusted.ENVIRONMENT)
    half = rows.slice(0, 8)
    other = changed(half, "value", 0.25, None)
    assert {*verify.check(Experiment.open(folder)).signal} == {*ib.load_signal(folder)["cell"]}
    signal.write(folder, half, untrusted.ENVIRONMENT | {"bits": "exact"})  # the same again
    assert verify.check(Experiment.open(folder)).problems == []
    signal.write(folder, other, untrusted.ENVIRONMENT | {"torch": "1"})  # another machine may round otherwise
    assert verify.check(Experiment.open(folder)).problems == []
    signal.write(folder, other, untrusted.ENVIRONMENT)
    lines = verify.check(Experiment.open(folder)).problems
    assert lines
    assert all(f"cell {half['cell'][0]} has another signal in" in line for line in lines)
    strange = changed(changed(half, "cell", "\x1b[31mred\n", None), "layer", 1)
    signal.write(folder, strange.slice(0, 1), untrusted.ENVIRONMENT)
    lines = verify.check(Experiment.open(folder)).problems
    assert any("cell \\x1b[31mred\\n lacks a layer" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_a_merge_takes_each_cells_signal_from_the_experiment_whose_rows_it_keeps(folder, tmp_path):
    left = folder
    right = shutil.copytree(folder, tmp_path / "right" / "made")
    for path in untrusted.signal_files(right):  # other values, in one file more
        rows = changed(pq.read_table(path), "value", 0.25, None)
        path.unlink()
        signal.write(right, rows, untrusted.ENVIRONMENT)
        signal.write(right, rows.slice(0, 16), untrusted.ENVIRONMENT)
    gone = untrusted.part_files(left)[0]  # its cells' rows are kept from the right
    from_right = set(pq.read_table(gone)["cell"].to_pylist())
    gone.unlink()
    merged, lines = merge_experiments([left, right], tmp_path / "both")
    table = merged.signal()
    expected = ib.load_signal(left)
    expected.loc[expected["cell"].isin(from_right), "value"] = 0.25
    pd.testing.assert_frame_equal(table, expected, check_exact=True)
    assert sum(len(file.table) for file in merged.signal_files()) == len(table)  # each row once
    assert len(lines) == 18
    assert f"its signal differs in {left}, which is kept, and {right}" in "\n".join(lines)
    assert f"its signal differs in {right}, which is kept, and {left}" in "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------------------
# The key `diagnostics`


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Seeds were added")
def test_cells_that_are_trained_are_not_trained_again_for_their_signal(tmp_path, monkeypatch):
    tasks = []
    made_up.instantly(monkeypatch, tasks.append)
    monkeypatch.setattr("initbench.reporting.page.render", lambda *_: "a report")
    monkeypatch.setattr("initbench.reporting.terminal.summary_table", lambda *_: None)
    path = tmp_path / "made-up.toml"
    path.write_text(made_up.GRID)
    without = ib.run(path, results=tmp_path, overrides={"diagnostics": False})
    assert without.signal.empty
    assert not (without.folder / "signal").exists()
    assert "diagnostics = false" in (without.folder / "grid.toml").read_text()
    assert not any("diagnostics" in task for task in tasks)
    trained = len(tasks)
    again = ib.run(path, results=tmp_path)
    assert len(tasks) == trained
    assert again.signal.empty
    assert len(Experiment.open(again.folder).without_signal()) == made_up.CELLS
    more = ib.run(path, results=tmp_path, overrides={"seed": 3})
    assert more.signal["cell"].nunique() == len(more.frame) / 3 - made_up.CELLS == 4


def test_diagnostics_is_declared_at_the_top_changes_no_cell_and_a_merge_keeps_it_where_all_have_it(tmp_path):
    text = '[grid]\ninitializer = ["zeros"]\n'
    on, off = grid.parse(text), grid.parse("diagnostics = false\n" + text)
    assert (on.diagnostics, off.diagnostics) == (True, False)
    assert [cell.id for cell in on.cells()] == [cell.id for cell in off.cells()]
    written = gridfile.to_toml("x", off.axes, off.sources, diagnostics=False)
    assert not grid.parse(written).diagnostics
    for value in ("yes", 1, [True, False], "false"):
        with pytest.raises(UserError, match=r"diagnostics = .* is not allowed; allowed: true or false"):
            grid.parse(text, overrides={"diagnostics": value})
    with pytest.raises(UserError, match=r"training\.diagnostics: does not belong here; allowed: at the top"):
        grid.parse(text + "[training]\ndiagnostics = false\n")
    folders = [
        Experiment.create(grid.parse(f"name = 'g'\ndiagnostics = {value}\n{text}"), tmp_path / value / name).folder
        for value, name in (("false", "a"), ("false", "b"), ("true", "a"))
    ]
    assert not merge_experiments(folders[:2], tmp_path / "off")[0].grid.diagnostics
    assert merge_experiments(folders[1:], tmp_path / "on")[0].grid.diagnostics


@exact
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["built-in", "plugin"], indirect=True)
def test_the_signal_changes_no_bit_of_a_result(trained, grid_file, tmp_path):
    """The parts of an experiment with it and of one without it are the same files."""
    folder, frame = trained
    overrides = {"diagnostics": False}
    without = ib.run(grid_file, results=tmp_path / "off", workers=1, overrides=overrides, allow_plugins=True)
    pd.testing.assert_frame_equal(without.frame, frame, check_exact=True)
    assert store.ids(without.folder, "parts") == store.ids(folder, "parts") != []
    assert without.signal.empty
    assert ib.load_signal(folder)["cell"].nunique() == frame["cell"].nunique()
