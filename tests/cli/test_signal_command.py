"""`initbench signal` and `ib.signal`: what is computed, stored, shared, resumed, printed, and refused."""

import contextlib

import numpy as np
import pytest
from command import ended

import initbench as ib
from initbench.api import signals
from initbench.errors import UserError, WorkerDied
from initbench.execution import start
from initbench.execution.events import Lost, Progress, Signalled, Untrained
from initbench.execution.plan import signal_stacks
from initbench.results import experiment as experiments
from initbench.spec import grid, signal
from initbench.spec.cell import Cell
from initbench.training.data import Data
from initbench.training.signal import record, spectra

SMALL = """
name = "small"
dataset = { npz = "tiny.npz" }
[grid]
initializer = ["zeros", "he_normal", { name = "truncated_normal", std = 1.0 }]
activation = ["tanh", "relu"]
hidden = [[6, 5, 4]]
learning_rate = [0.1, 0.2]
seed = 2
[training]
train_size = 40
batch_size = 8
epochs = 1
"""


def write_small(folder):
    """Write the grid file and its data set, of 48 images of 6 pixels."""
    (folder / "small.toml").write_text(SMALL)
    x, y = np.arange(48 * 6).reshape(48, 6) % 7, np.arange(48) % 3
    np.savez(folder / "tiny.npz", x_train=x, y_train=y, x_test=x, y_test=y)


class Pool:
    """A pool whose stacks are computed here, from the first on."""

    slot_count = 2


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a grid file, and signals that are computed in this process; yields their stacks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("initbench.reporting.cautions.cautions", lambda sources: [])  # of few images
    monkeypatch.setenv("COLUMNS", "200")
    write_small(tmp_path)
    computed = []

    def initial_signals(pool, stacks, full=False):
        for stack in stacks:
            computed.append(stack)
            yield Progress(stack, 0.5)
            data = data_of(stack)
            values = record.initial(stack.cells, data, full)
            yield Signalled(stack, record.to_json([{0: value} for value in values]), 0.1, {"device": "cpu"})

    loaded = {}

    def data_of(stack):
        if stack.source.name not in loaded:
            loaded[stack.source.name] = Data(stack.source.load())
        return loaded[stack.source.name]

    monkeypatch.setattr(start, "start_pool", lambda *_, **__: contextlib.nullcontext(Pool()))
    monkeypatch.setattr(experiments.scheduling, "initial_signals", initial_signals)
    return computed


def test_cells_that_differ_in_their_training_alone_share_a_stack_and_a_signal(here, monkeypatch):
    calls = []
    compute = record._initial
    monkeypatch.setattr(record, "_initial", lambda *arguments: calls.append(arguments) or compute(*arguments))
    table = ib.signal("small.toml")
    assert len(calls) == 3 * 2 * 2  # initializers, activations, seeds; not learning rates
    assert table["cell"].nunique() == 24
    assert set(table["epoch"]) == {0}
    cells = [*grid.read("small.toml").cells()]
    values = {cell: rows["value"].to_numpy().tobytes() for cell, rows in table.groupby("cell")}
    for cell in cells:
        assert values[cell.id] == values[cell._replace(learning_rate=0.1).id]
    assert values[cells[0].id] != values[cells[-1].id]
    for stack in here:
        assert len(stack.cells) == 2 * len({cell.before_training for cell in stack.cells})


def test_only_what_is_missing_is_computed(here, monkeypatch, capsys):
    monkeypatch.setattr("initbench.api.outputs.write_signal_page", lambda experiment, table: "the page")
    status, out, _ = ended(monkeypatch, capsys, "signal", "small.toml", "--set", "seed=1")
    assert (status, sum(len(stack.cells) for stack in here)) == (0, 12)
    assert "results/small: the signal of 12 cells to compute" in out
    assert out.rstrip().endswith("Page: the page")
    here.clear()
    status, out, _ = ended(monkeypatch, capsys, "signal", "small.toml")
    assert sum(len(stack.cells) for stack in here) == 12
    assert "the signal of 12 cells to compute, that of 12 is stored already" in out
    here.clear()
    status, out, _ = ended(monkeypatch, capsys, "signal", "results/small")
    assert (status, here) == (0, [])
    assert "Nothing to compute: the signal of all 24 cells is in results/small already." in out
    row = next(line for line in out.splitlines() if line.startswith(" truncated_normal(std=1.0)"))
    assert "%" in row
    assert out.count("\n zeros * ") == out.count("\n* zeros: ") == 2  # tanh and relu
    assert out.count("Within the limits: ") == 2
    assert "--spectra full" not in out
    assert ib.load("results/small").empty
    assert len(ib.load_signal("results/small").drop_duplicates(["cell", "layer", "statistic"])) == len(
        ib.load_signal("results/small")
    )


def test_a_signal_of_a_training_names_the_command_that_adds_its_spectra(here, monkeypatch, capsys):
    monkeypatch.setattr("initbench.api.outputs.write_signal_page", lambda experiment, table: "the page")
    with monkeypatch.context() as patch:
        patch.setattr(spectra, "last_hidden", lambda *_: {})
        _, out, _ = ended(monkeypatch, capsys, "signal", "small.toml", "--set", "seed=1")
    assert out.count("last hidden \n") == 2  # columns end here: the next has no values
    assert out.splitlines()[-2].endswith("To compute them: initbench signal small.toml --set seed=1 --spectra full")
    _, out, _ = ended(monkeypatch, capsys, "signal", "small.toml", "--set", "seed=1", "--spectra", "full")
    assert out.count("singular value \n") == 2
    assert "To compute them" not in out


def test_full_spectra_are_computed_where_they_are_missing_alone(here, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(spectra, "MAX_FULL_WIDTH", 3)
        estimated = ib.signal("small.toml")
    here.clear()
    full = ib.signal("small.toml", spectra="full")
    assert sum(len(stack.cells) for stack in here) == 24
    here.clear()
    assert len(ib.signal("small.toml", spectra="full")) == len(full) > len(estimated)
    assert here == []
    medians = full[full["statistic"] == "jacobian_median"]
    assert set(medians["layer"]) == {3, 4}


def test_a_cell_that_fails_is_a_line_and_the_others_are_stored(here, monkeypatch, capsys):
    def initial_signals(pool, stacks, full=False):
        for stack in stacks:
            yield Lost(stack)
            yield Untrained(stack.cells[0], "ValueError: no") if stack is stacks[0] else Lost(stack)

    monkeypatch.setattr(experiments.scheduling, "initial_signals", initial_signals)
    status, out, err = ended(monkeypatch, capsys, "signal", "small.toml")
    assert status == 1
    assert out.count("not computed: cell ") == 1
    assert "ValueError: no" in out
    assert "The signal of 1 cell could not be computed. To try again: initbench signal small.toml" in err.splitlines()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "Interrupted. Kept: the signal of 0 of 24 cells, in results/small."),
        (WorkerDied("a worker ended"), 1, "Kept: the signal of 0 of 24 cells, in results/small."),
    ],
)
def test_an_end_reports_what_is_stored_and_how_to_resume(here, monkeypatch, capsys, error, status, line):
    def initial_signals(pool, stacks, full=False):
        yield Progress(stacks[0], 0.5)
        raise error

    monkeypatch.setattr(experiments.scheduling, "initial_signals", initial_signals)
    monkeypatch.setattr("initbench.cli.run.interrupt_once", lambda: None)
    ended_with, out, err = ended(monkeypatch, capsys, "signal", "small.toml", "--set", "seed=2")
    assert ended_with == status
    assert line in (out + err).splitlines()
    assert "Resume with: initbench signal small.toml --set seed=2" in out + err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["small.toml", "--spectra", "ful"], "--spectra 'ful': allowed: auto, full; did you mean 'full'?"),
        (["nowhere"], "nowhere: No such file"),
        (["small.toml", "--set", "initializer=he_norml"], "unknown initializer"),
    ],
)
def test_bad_input_is_a_line(here, monkeypatch, capsys, arguments, line):
    status, _, err = ended(monkeypatch, capsys, "signal", *arguments)
    assert (status, here) == (2, [])
    assert line in err
    assert len(err.splitlines()) == 1


def test_a_network_that_does_not_fit_into_memory_is_refused_before_anything_begins(here, monkeypatch, tmp_path):
    monkeypatch.setattr(signals, "available_memory", lambda: 4e9)
    deep = {"initializer": ["he_normal", "lsuv"], "hidden": [4096] * 60, "seed": 1, "name": "deep"}
    with pytest.raises(
        UserError,
        match=r"^deep: lsuv in perceptron with 61 layers up to width 4,096, which are all in memory at once, "
        r"takes about "
        r"\d+\.\d GB, and 4\.0 GB are free; use fewer or narrower layers, or an initializer of single layers$",
    ):
        ib.signal(deep)
    assert here == []
    assert not (tmp_path / "results" / "deep").exists()
    config = signals.ExecutionConfig(2)
    parsed = grid.parse('[grid]\ninitializer = ["he_normal"]\nhidden = [[4096, 4096]]', origin="", name="x")
    cells = [*parsed.cells()]
    assert signals._within_memory(cells, parsed, config).workers == 2
    monkeypatch.setattr(signals, "available_memory", lambda: 2.1e9)
    assert signals._within_memory(cells, parsed, config).workers == 1


def test_a_network_of_streamed_layers_needs_little_more_memory_than_is_kept():
    from initbench.execution.estimate import signal_bytes

    (source,) = grid.parse('[grid]\ninitializer = ["zeros"]', origin="", name="x").sources.values()
    deep = Cell(hidden="-".join(["4096"] * 199))
    assert 4.0 * 198 * 4096**2 > 13e9
    assert signal_bytes(deep, source) < 4e9
    assert signal_bytes(deep._replace(initializer="lsuv"), source) > 13e9


def test_stacks_are_small_and_the_largest_networks_come_first():
    parsed = grid.parse(
        '[grid]\ninitializer = ["zeros", "ones"]\nhidden = [[8], [2048, 2048]]\nseed = 100', origin="", name="x"
    )
    cells = [*parsed.cells()]
    stacks = signal_stacks(cells, parsed.sources, 2)
    assert sorted(cell.id for stack in stacks for cell in stack.cells) == sorted(cell.id for cell in cells)
    assert [len(stack.cells) for stack in stacks[:200]] == [1] * 200
    assert all(stack.cells[0].hidden == "8" and len(stack.cells) <= 25 for stack in stacks[200:])


@pytest.mark.slow
def test_the_page_is_offline_and_the_same_again(here, monkeypatch, capsys, tmp_path):
    ended(monkeypatch, capsys, "signal", "small.toml", "--set", "seed=1")
    path = tmp_path / "results" / "small" / "signal.html"
    page = path.read_text()
    assert "<title>The signal at initialization: small</title>" in page
    assert page.count("<svg") == 4  # tanh and relu, each wide and for a phone
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "initbench run" in page
    path.unlink()
    ended(monkeypatch, capsys, "signal", "results/small")
    assert path.read_text() == page


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:tiny:UserWarning")  # of few images
def test_workers_compute_what_a_training_records_and_a_training_continues(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_small(tmp_path)
    before = ib.signal("small.toml", overrides={"seed": 1}, workers=2, progress=False)
    ib.run("small.toml", overrides={"seed": 1}, workers=1, results="trained", progress=False)
    after = ib.load_signal("trained/small")
    keys = ["cell", "layer", "statistic"]
    both = before.merge(after[after["epoch"] == 0], on=keys)
    assert len(both) == (after["epoch"] == 0).sum() == len(before) - before["cell"].nunique() * len(signal.JACOBIAN)
    np.testing.assert_array_equal(both["value_x"], both["value_y"])
    ib.run("small.toml", overrides={"seed": 1}, workers=1, progress=False)
    assert len(ib.load("results/small")) == 24
