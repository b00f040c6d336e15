"""Any content of a grid file, an IDX file or an experiment's folder yields a result or error lines, and nothing else.

The long form is `INITBENCH_SOAK_CASES=100000 pytest tests/test_fuzz.py -n 2`.
"""

import gzip
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path

import hypothesis
import mutate
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import untrusted
from command import status_of
from hypothesis import strategies as st
from idx import write_folder
from soak import CASES, PART_CASES
from watch import limited, watched

from initbench.data import catalog, datasets, idx
from initbench.errors import MAX_LINE_LENGTH, MAX_LINES, UserError
from initbench.execution.plan import plan
from initbench.reporting import narrative, own_functions
from initbench.results import parts, plugin_file, store
from initbench.results.experiment import Experiment
from initbench.spec import grid, gridfile
from initbench.spec.settings import MAX_CELLS


def chunks(cases, size=500):
    """The numbers of the mutants, some hundred for each test, so that they spread; only the first is not slow."""
    return [
        pytest.param(
            range(i, min(i + size, cases)),
            id=f"{i}-{min(i + size, cases)}",
            marks=pytest.mark.slow if i else (),
        )
        for i in range(0, cases, size)
    ]


def legible(error):
    """The lines of a mistake, after a look at whether people can read them."""
    assert 1 <= len(error.lines) <= MAX_LINES + 1
    for line in error.lines:
        assert line.strip()
        assert line.isprintable()  # so on one line, too
        assert len(line) <= MAX_LINE_LENGTH
    return error.lines


def is_a_plain_name(name):
    """Whether a name is that of a folder, here and on Windows, and of none but one."""
    here = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) and not name.endswith(".")
    device = name.partition(".")[0].lower()
    return (
        bool(here)
        and not re.fullmatch(r"con|prn|aux|nul|com\d|lpt\d", device)
        and (Path("r") / name).parent == Path("r")
    )


def planned_or_rejected(read):
    """What becomes of a grid file: the grid, after its first cells were planned, or the lines of its mistakes."""
    try:
        parsed = read()
    except UserError as error:
        return legible(error)
    assert is_a_plain_name(parsed.name)
    assert 1 <= len(parsed) <= MAX_CELLS
    cells = list(itertools.islice(parsed.cells(), 40))
    assert sum(len(stack.cells) for stack in plan(cells, parsed.sources, 2)) == len(cells)
    assert len({cell.id for cell in cells}) == len(cells)
    return parsed


def tried(number, path):
    """One mutant: read, planned, written and read again, read with settings replaced, and cut to a smoke run."""
    parsed = planned_or_rejected(lambda: grid.read(path))
    if isinstance(parsed, grid.Grid):
        if sum(map(len, parsed.axes.values())) < 1000:
            text = gridfile.to_toml("again", parsed.axes, parsed.sources)
            assert grid.parse(text, sources=parsed.sources).axes == parsed.axes
        overrides = ({"seed": 2, "epochs": [1, 2]}, {"name": "x", "dataset": "mnist"}, grid.smoke_overrides(parsed))
        planned_or_rejected(lambda: grid.read(path, overrides[number % 3]))
    return parsed


@pytest.fixture
def workdir(tmp_path, monkeypatch, hook):
    """An empty folder to work in, with a folder of IDX files."""
    write_folder(tmp_path / "tiny", images=48, labels=48)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listing(folder):
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize("numbers", chunks(CASES))
def test_a_mutated_grid_file_is_planned_or_rejected_in_lines(workdir, numbers):
    path = workdir / "mutant.toml"
    path.touch()
    before, grids = listing(workdir), 0
    for number in numbers:
        path.write_bytes(mutate.grid_file(number))
        try:
            with limited(), watched() as events, warnings.catch_warnings():
                warnings.simplefilter("error")
                grids += isinstance(tried(number, path), grid.Grid)
        except BaseException as error:
            error.add_note(f"mutant {number}")
            raise
        assert not events, number
    assert listing(workdir) == before
    # Both happen, or the mutants are of one kind only: about one in six is a grid still.
    if len(numbers) >= 400:
        assert 0.05 < grids / len(numbers) < 0.5


VALUES = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats(allow_subnormal=False)
    | st.text(max_size=20)
    | st.dates()
    | st.times()
    | st.sampled_from(mutate.NUMBERS)
    | st.sampled_from([text for text in (*mutate.TEXTS, *mutate.NAMES) if len(text) < 100]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from((*mutate.NAMES, *mutate.PARAMETERS)) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from((*mutate.RULES, "name", "grid", "x")) | st.text(max_size=8)
SECTION = st.dictionaries(KEYS, VALUES, max_size=5) | VALUES
DOCUMENTS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys((*mutate.SECTIONS, "name", "dataset", "device", "x"), SECTION)
)  # fmt: skip


@hypothesis.settings(max_examples=300)
@hypothesis.given(document=DOCUMENTS)
def test_any_document_is_planned_or_rejected_in_lines(document):
    with limited():
        planned_or_rejected(lambda: grid.parse(mutate.toml(document)))


@hypothesis.settings(max_examples=300)
@hypothesis.given(name=st.text(max_size=120), text=st.text(max_size=60))
def test_any_text_and_any_files_name_is_planned_or_rejected_in_lines(name, text):
    with limited():
        planned_or_rejected(lambda: grid.parse("[grid]\ninitializer = ['zeros']", name=name, origin=name))
        planned_or_rejected(lambda: grid.parse(text, origin=name))
        planned_or_rejected(lambda: grid.parse("[grid]\ninitializer = ['zeros']", overrides={"activation": text}))
        planned_or_rejected(lambda: grid.parse("[grid]\ninitializer = ['zeros']", overrides={name: [text]}))


def command(capsys, *arguments):
    """What a command's exit status is, and what it says on standard error."""
    return status_of(*arguments), capsys.readouterr().err


def refused(path, first=0):
    """The mutants that are no grids, one after another, each written to a file."""
    for number in itertools.count(first):
        path.write_bytes(mutate.grid_file(number))
        try:
            grid.read(path)
        except UserError as error:
            yield number, list(error.lines)


def test_a_rejected_grid_ends_the_command_with_2_and_lines_and_writes_nothing(workdir, capsys):
    path = workdir / "mutant.toml"
    for number, lines in itertools.islice(refused(path), 60):
        before = listing(workdir)
        for arguments in (("plan", path), ("run", path, "--results", workdir / "results")):
            status, stderr = command(capsys, *arguments)
            assert (number, status, stderr.splitlines()) == (number, 2, lines)
        assert listing(workdir) == before


VALUES_OF_SET = (
    "seed=" + "[" * 5000, "seed=1" + "0" * 5000, "hidden=" + "[" * 500 + "]" * 500, "seed=1e999", "activation=\x1b[2J",
    "activation='", "name=../x", "name=CON", "name=x.", "dataset={idx='/dev/zero'}", "initializer={}", "seed=1,2,2",
    "seed=1000000000000", "learning_rate=nan", "epochs=1979-05-27", "\n=1", "grid=1", "seed=", "=", "grid.seed.x=1",
)  # fmt: skip


@pytest.mark.parametrize("pair", VALUES_OF_SET, ids=lambda pair: repr(pair[:20]))
def test_any_value_of_set_is_valid_or_ends_the_command_with_2(workdir, capsys, pair):
    path = workdir / "grid.toml"
    path.write_text("[grid]\ninitializer = ['zeros']\n")
    before = listing(workdir)
    with limited():
        status, stderr = command(capsys, "run", path, "--set", pair, "--results", workdir / "results")
    assert (status, listing(workdir)) == (2, before)
    assert all(line.isprintable() and len(line) <= MAX_LINE_LENGTH for line in stderr.splitlines())
    assert len(stderr.splitlines()) == 1


def test_the_command_line_prints_the_same(workdir):
    path = workdir / "mutant.toml"
    for _, lines in itertools.islice(refused(path, 5000), 2):
        before = listing(workdir)
        arguments = [sys.executable, "-m", "initbench", "run", str(path), "--results", "results"]
        ended = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)
        assert (ended.returncode, ended.stderr.splitlines(), ended.stdout) == (2, lines, "")
        assert listing(workdir) == before


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "large.toml"])
def test_a_device_or_an_endless_file_is_rejected_in_one_line(workdir, name):
    with pytest.raises(UserError, match="not a valid file name"):
        grid.read("\0")
    with open("large.toml", "wb") as file:
        file.truncate(2**40)  # sparse: it takes no room, and would fill the memory
    if not os.path.exists(name):
        pytest.skip(f"no {name} on this system")
    with limited(), pytest.raises(UserError, match=r"is a device|is too large") as error:
        grid.read(name)
    assert len(legible(error.value)) == 1


MANY = range(1, 5001)
SCHEMES = ", ".join(f"{{ name = 'kumar', bias_variance = {i}e-4 }}" for i in MANY)
FUNCTIONS = ", ".join(f"{{ name = 'elu', alpha = {i}e-3 }}" for i in MANY)
TOO_LARGE = {
    "a count of seeds": ("initializer = ['zeros']\nseed = 1000000000000", "1,000,000,000,000"),
    "a count that is not printed": ("initializer = ['zeros']\nseed = 0x1" + "0" * 5000, "about 10^6021"),
    "rates and seeds": (
        f"initializer = ['zeros']\nlearning_rate = {list(range(1, 1_000_001))}\nseed = 1000000",
        "1,000,000,000,000",
    ),
    "schemes that are probed on each network": (
        f"initializer = [{SCHEMES}]\nhidden = {[[i] for i in MANY]}\nactivation = [{FUNCTIONS}]\nseed = 8",
        "1,000,000,000,000",
    ),
    "values that are also invalid": (
        f"initializer = ['he_norml', 'zeros']\nepochs = {[0] * 1000}\nbatch_size = {[-1] * 1000}\nseed = 500000",
        "1,000,000,000,000",
    ),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_grid_of_10_to_the_12_is_rejected_before_any_value_is_validated(name, monkeypatch):
    text, count = TOO_LARGE[name]
    monkeypatch.setattr(gridfile, "validated", lambda *_: pytest.fail("the values were validated"))
    with limited(60), pytest.raises(UserError) as error:
        grid.parse(f"[grid]\n{text}")
    (line,) = legible(error.value)
    assert f"the grid has {count} cells" in line
    assert f"at most {MAX_CELLS:,}" in line


@pytest.mark.parametrize("extreme", range(len(mutate.EXTREMES)))
def test_a_large_or_deep_text_does_not_take_quadratic_time(workdir, extreme):
    """A grid file of ten times the size costs about ten times as much; a hundred times, if time were quadratic."""
    size = 8_000 if extreme in (16, 18) else 50_000  # these cost a millisecond for ten

    def cost(size):
        text = mutate.EXTREMES[extreme](size)
        start = time.process_time()
        planned_or_rejected(lambda: grid.parse(text))
        return time.process_time() - start

    assert any(cost(size) < 40 * cost(size // 10) for _ in range(3))


# ---------------------------------------------------------------------------------------------------------------------
# IDX files


def read_or_rejected(folder):
    """What becomes of a folder of IDX files: what is known of it, after a look at its arrays, or one line."""
    try:
        source = datasets.find({"idx": str(folder)})
    except UserError as error:
        (line,) = legible(error)
        return line
    arrays = source.load()
    assert arrays.train_images.shape == (source.train_size + source.validation_size, source.pixels)
    assert arrays.test_images.shape == (source.test_size, source.pixels)
    assert arrays.test_labels.dtype == np.uint8
    assert (
        arrays.train_images.dtype == arrays.test_images.dtype == (np.uint8 if source.pixel_bytes == 1 else np.float32)
    )
    assert np.isfinite(arrays.train_images).all()
    assert 1 <= source.classes <= 256
    assert 0 <= source.active_pixels <= source.pixels
    assert 0 < source.majority_class_share <= 1
    assert datasets.from_stored(datasets.to_stored(source)) == source
    return source


@pytest.mark.parametrize("numbers", chunks(CASES))
def test_a_mutated_idx_file_is_read_or_rejected_in_a_line(workdir, numbers):
    folder, sound = workdir / "tiny", 0
    whole = {stem: (folder / stem).read_bytes() for stem in catalog.IDX_STEMS}
    before = listing(workdir)
    for number in numbers:
        stem = catalog.IDX_STEMS[number % 4]
        (folder / stem).write_bytes(mutate.idx_file(number, whole[stem]))
        try:
            with limited(), watched() as events, warnings.catch_warnings():
                warnings.simplefilter("error")
                sound += isinstance(read_or_rejected(folder), datasets.Source)
        except BaseException as error:
            error.add_note(f"mutant {number}")
            raise
        assert not events, number
        (folder / stem).write_bytes(whole[stem])
    assert listing(workdir) == before
    if len(numbers) >= 400:
        assert 0.02 < sound / len(numbers) < 0.5


@hypothesis.settings(max_examples=200)
@hypothesis.given(content=st.binary(max_size=80), begin=st.sampled_from((b"", b"\0\0\x08\x03", b"\x1f\x8b\x08\0")))
def test_any_bytes_are_an_idx_file_or_rejected_in_a_line(content, begin):
    with limited(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(begin + content)
        try:
            dimensions, lines = idx.read(path, (3,)).ndim, []
        except UserError as error:
            dimensions, lines = 3, legible(error)
        assert dimensions == 3
        assert len(lines) <= 1


def test_a_gzip_bomb_is_unpacked_only_as_far_as_its_header_states(workdir):
    path = workdir / "tiny" / "train-images-idx3-ubyte"
    content = path.read_bytes()
    path.write_bytes(gzip.compress(content + bytes(200_000_000), 1))
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    try:
        line = read_or_rejected(workdir / "tiny")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert f"too long: more than {len(content)} bytes" in line


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ((2**30, 2**30, 2**30), "requires 1,237,940,039,285,380,274,899,124,240"),  # 2^90, and sixteen bytes of header
        ((2**32 - 1, 1, 1), "truncated"),
        ((1200, 1024, 1024), "truncated"),
    ],
)
def test_a_header_that_claims_more_than_the_file_holds_is_rejected_unread(workdir, shape, part):
    path = workdir / "tiny" / "train-images-idx3-ubyte"
    for pack in (bytes, gzip.compress):
        path.write_bytes(pack(mutate.idx(shape, bytes(1000))))
        tracemalloc.start()
        try:
            line = read_or_rejected(workdir / "tiny")
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()
        assert str(path) in line
        assert part in line


def test_a_sparse_file_as_large_as_its_header_states_is_rejected(workdir):
    path = workdir / "tiny" / "train-images-idx3-ubyte"
    path.write_bytes(mutate.idx((2**20, 2**10, 2**10), b""))
    with open(path, "ab") as file:
        file.truncate(16 + 2**40)
    with limited():
        assert "too large" in read_or_rejected(workdir / "tiny")


def test_a_path_that_is_not_a_regular_file_is_rejected_at_once_in_one_line(workdir):
    path = workdir / "tiny" / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    (workdir / "loop").symlink_to(workdir / "loop")
    kinds = {
        "a folder": path.mkdir,
        "a pipe": lambda: os.mkfifo(path),
        "a link to nothing": lambda: path.symlink_to(workdir / "none"),
        "a link to itself": lambda: path.symlink_to(path),
        "a link to a loop": lambda: path.symlink_to(workdir / "loop"),
        "an endless device": lambda: path.symlink_to("/dev/zero"),
        "nothing": lambda: None,
    }
    for kind, make in kinds.items():
        path.unlink()
        make()
        with limited():
            line = read_or_rejected(workdir / "tiny")
        assert str(path) in line, kind
        path.rmdir() if kind == "a folder" else path.unlink(missing_ok=True)
        path.write_bytes(whole)
    for folder in (workdir / "loop", path, "/dev/zero", "", "\0", "x" * 5000, "\ud800"):
        with limited():
            assert isinstance(read_or_rejected(folder), str)
    (workdir / "tiny").rename(workdir / "ti\x1b[2Jny")
    assert r"ti\x1b[2Jny" in read_or_rejected(workdir / "ti\x1b[2Jny")


# ---------------------------------------------------------------------------------------------------------------------
# Parts, and the other files of a results folder


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """An experiment's folder with synthetic results."""
    return untrusted.made_run(tmp_path_factory.mktemp("made"))


@pytest.fixture
def folder(synthetic, tmp_path, hook):
    """A copy that a test may damage."""
    return shutil.copytree(synthetic, tmp_path / "made")


def noted(notes):
    for line in notes:
        assert line.isprintable()
        assert len(line) <= MAX_LINE_LENGTH
    return len(notes)


@pytest.mark.parametrize("numbers", chunks(PART_CASES, 250))
def test_a_mutated_part_yields_a_table_or_a_line(folder, numbers):
    first, path = untrusted.part_files(folder)
    first.unlink()
    content, rows = path.read_bytes(), pq.read_table(path)
    experiment = Experiment.open(folder)
    whole, _ = experiment.read()
    sound = 0
    for number in numbers:
        path = untrusted.replaced(path, mutate.part(number, content, rows))
        before = listing(folder)
        experiment.notes.clear()
        try:
            with limited(), watched() as events, warnings.catch_warnings():
                warnings.simplefilter("error")
                frame, environments = experiment.read()
                missing, _ = experiment.inventory()
            assert noted(experiment.notes) == (0 if environments else 2)  # once for each of the two reads
            assert frame.dtypes.equals(whole.dtypes)
            assert frame["status"].isin(["trained", "diverged"]).all()
            assert frame["test_accuracy"].dropna().between(0, 1).all()
            assert (frame.groupby("cell")["epoch"].agg(["min", "max", "size"]) == [0, 2, 3]).all(axis=None)
            assert frame["cell"].nunique() + len(missing) == len(experiment.grid)
        except BaseException as error:
            error.add_note(f"mutant {number}")
            raise
        assert not events, number
        assert listing(folder) == before
        sound += bool(environments)
    assert 0 < sound < len(numbers)


@pytest.mark.parametrize("numbers", chunks(CASES))
def test_mutated_code_of_plugins_is_read_or_left_out(folder, numbers):
    plugins = untrusted.poisoned_plugins()
    content = json.dumps({digest: plugin.to_json() for digest, plugin in plugins.items()}).encode()
    text = untrusted.GRID.replace("[training]", f'[training]\nloss = "fair@{[*plugins][-1]}"')
    parsed = grid.parse(text, allow=None)
    own_functions.described(parsed, plugins)
    n_left_out = 0
    for number in numbers:
        (folder / plugin_file.PLUGINS).write_bytes(mutate.json_file(number, content))
        notes = []
        try:
            with limited(), watched() as events, warnings.catch_warnings():
                warnings.simplefilter("error")
                stored = plugin_file.read(folder, notes)
                described = own_functions.described(parsed, stored)
                words = own_functions.options(parsed, stored)
        except BaseException as error:
            error.add_note(f"mutant {number}")
            raise
        assert not events, number
        assert all(plugin.bundle.digest == digest for digest, plugin in stored.items())
        assert len(notes) <= 1
        assert all(note.isprintable() for note in notes)
        for plugin in described:
            for name, code, _ in plugin["files"]:
                assert name.isprintable()
                assert all(part.isprintable() for line in code.split("\n") for part in line.split("\t"))
        assert all(word.isprintable() for word in words)
        n_left_out += bool(notes)
    assert n_left_out > len(numbers) // 2


@pytest.mark.parametrize("numbers", chunks(CASES))
@pytest.mark.slow
def test_a_mutated_timing_and_mutated_data_sets_are_read_or_left_out(folder, numbers):
    path = min((folder / "timings").iterdir())
    timing = path.read_bytes()
    stored = datasets.to_stored(datasets.find("mnist")) | {"name": "x@0123456789ab", "folder": "/none/x"}
    narrative.speed([])  # imports the statistics, which compiles their dataclasses
    for number in numbers:
        path.write_bytes(mutate.json_file(number, timing))
        (folder / "datasets.json").write_bytes(mutate.json_file(number, json.dumps([stored]).encode()))
        try:
            with limited(), watched() as events, warnings.catch_warnings():
                warnings.simplefilter("error")
                timings = store.read_timings(folder)
                sentences = [
                    narrative.speed(timings),
                    narrative.initialization(timings),
                    narrative.initialization(timings, ["zeros"]),
                ]
                experiment = Experiment.open(folder)
        except BaseException as error:
            error.add_note(f"mutant {number}")
            raise
        assert not events, number
        assert 1 <= len(timings) <= 2
        assert all(len(text) < 1000 and "nan" not in text and "inf " not in text for text in sentences), sentences
        assert len(experiment.grid) == 18


def change(rows, name, value, at=0):
    """The rows of a part with another value in one of them, or in all (`at` None)."""
    values = rows[name].to_pylist()
    values = [value] * len(values) if at is None else [*values[:at], value, *values[at + 1 :]]
    kind = rows.schema.field(name)
    return rows.set_column(rows.column_names.index(name), kind, pa.chunked_array([pa.array(values, kind.type)]))


IMPOSSIBLE, EPOCHS, COLUMNS = "has impossible values", "not each epoch of each cell, once", "its columns are not those"
HOSTILE = {
    "an epoch below 0": (lambda rows: change(rows, "epoch", -1), EPOCHS),
    "an epoch of 2^62": (lambda rows: change(rows, "epoch", 2**62, 2), EPOCHS),
    "an epoch of 2^32": (lambda rows: change(rows, "epoch", 2**32, 3), EPOCHS),
    "no epoch": (lambda rows: change(rows, "epoch", None), "column epoch has rows without a value"),
    "no cell": (lambda rows: change(rows, "cell", None, 5), "column cell has rows without a value"),
    "another status": (lambda rows: change(rows, "status", "<b>trained</b>"), "it has a status '<b>trained</b>'"),
    "a loss of NaN": (lambda rows: change(rows, "train_loss", float("nan"), 1), IMPOSSIBLE),
    "an infinite loss": (lambda rows: change(rows, "test_loss", float("inf"), 1), IMPOSSIBLE),
    "a loss of 1e308": (lambda rows: change(rows, "test_loss", 1e308, None), IMPOSSIBLE),
    "an accuracy above 1": (lambda rows: change(rows, "test_accuracy", 1.5), IMPOSSIBLE),
    "an accuracy below 0": (lambda rows: change(rows, "validation_accuracy", -0.5), IMPOSSIBLE),
    "a missing row": (lambda rows: rows.filter(pa.array(np.arange(len(rows)) != 4)), EPOCHS),
    "a repeated row": (lambda rows: pa.concat_tables([rows, rows.slice(4, 1)]), EPOCHS),
    "repeated cells": (lambda rows: pa.concat_tables([rows, change(rows, "test_accuracy", 1.0, None)]), EPOCHS),
    "incomplete cells": (lambda rows: rows.filter(pa.array(np.arange(len(rows)) % 3 < 2)), EPOCHS),
    "too many epochs": (lambda rows: change(rows, "epochs", 10**9, None), EPOCHS),
    "columns in another order": (lambda rows: rows.select(rows.column_names[::-1]), COLUMNS),
    "strings as a dictionary": (
        lambda rows: rows.set_column(rows.column_names.index("loss"), "loss", rows["loss"].dictionary_encode()),
        COLUMNS,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_rows_that_no_training_writes_are_left_out_with_the_reason(folder, name):
    damage, reason = HOSTILE[name]
    path = untrusted.part_files(folder)[0]
    rows = pq.read_table(path)
    assert len(Experiment.open(folder).frame()) == 54
    untrusted.replaced(path, untrusted.parquet(damage(rows)))
    experiment = Experiment.open(folder)
    assert len(experiment.frame()) == 27
    assert noted(experiment.notes) == 1
    assert reason in experiment.notes[0]


def test_a_part_that_claims_billions_of_rows_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(parts, "MAX_ROWS", 20)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("its rows were read"))
    experiment = Experiment.open(folder)
    assert experiment.frame().empty
    assert noted(experiment.notes) == 2


@pytest.mark.slow
def test_a_huge_string_in_a_small_part_is_not_read(folder, monkeypatch):
    path = untrusted.part_files(folder)[0]
    bomb = untrusted.parquet(change(pq.read_table(path), "initializer", "x" * 300_000_000))
    assert len(bomb) < 1_000_000
    untrusted.replaced(path, bomb)
    before = pa.total_allocated_bytes()
    experiment = Experiment.open(folder)
    frame = experiment.frame()
    assert (len(frame), noted(experiment.notes)) == (27, 1)
    assert pa.total_allocated_bytes() - before < 10_000_000


@pytest.mark.slow
def test_every_command_reads_a_folder_of_hostile_parts(synthetic, folder, tmp_path, monkeypatch, capsys):
    first = untrusted.part_files(folder)[0]
    content, rows = first.read_bytes(), pq.read_table(first)
    mutants = [untrusted.parquet(damage(rows)) for damage, _ in HOSTILE.values()]
    # Number 2286: reading the sizes of its columns ended the process.
    mutants += [mutate.part(number, content, rows) for number in (*range(60), 2286)]
    for mutant in mutants:
        (folder / "parts" / f"{hashlib.sha256(mutant).hexdigest()}.parquet").write_bytes(mutant)
    for i in range(30):
        (folder / "timings" / f"{i}.json").write_bytes(mutate.json_file(i, json.dumps(untrusted.TIMING).encode()))
    (folder / "datasets.json").write_bytes(b"[" * 100_000)
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ("report", folder),
        ("export", folder, "out.csv"),
        ("export", folder, "out.md"),
        ("compare", synthetic, folder),
        ("merge", folder, synthetic, "--into", "both"),
        ("plan", folder / "grid.toml", "--results", tmp_path),
        ("figures", folder),
        ("clean", folder, "--yes"),
    ):
        status, stderr = command(capsys, *arguments)
        assert status == 0, (arguments, stderr)
        assert "Traceback" not in stderr
        assert noted(stderr.splitlines()) >= 16 * (arguments[0] != "clean")
