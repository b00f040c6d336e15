"""Seeds until it is certain: which cells are trained, whatever interrupts the training, and what is reported."""

import hashlib
import itertools

import numpy as np
import pandas as pd
import pytest

import initbench as ib
from initbench.api import folders, outputs, rounds, training
from initbench.errors import UserError
from initbench.execution.config import ExecutionConfig
from initbench.execution.events import Untrained
from initbench.results import store, verify
from initbench.results.table import table
from initbench.spec import grid
from initbench.spec.columns import METRICS

TEXT = """
[grid]
initializer = ["glorot_uniform", "he_normal", "zeros"]
activation = ["tanh", "relu"]
seed = SEED
[training]
epochs = 1
train_size = 128
"""
DECIDED = '{ until = "decided", min = 5, max = 30 }'
NARROW = "{ until_halfwidth = 0.004, min = 5, max = 30 }"

# Zeros are worst; the others are a point apart with tanh, and equal with relu.
MEANS = {("glorot_uniform", "tanh"): 0.95, ("he_normal", "tanh"): 0.94, ("zeros", "tanh"): 0.5, ("zeros", "relu"): 0.5}


def accuracy_of(cell):
    """A made-up accuracy, a function of the cell alone: its standard deviation is 0.5 points, with relu 1.5."""
    noise = np.random.default_rng(int(hashlib.sha256(cell.id.encode()).hexdigest()[:8], 16)).standard_normal()
    return MEANS.get((cell.initializer, cell.activation), 0.9) + (0.005 if cell.activation == "tanh" else 0.015) * noise


class Trainer:
    """Writes results as a training does, in stacks of four cells; it can be interrupted before a stack."""

    def __init__(self, accuracy=accuracy_of, interrupt_after=None):
        self.accuracy, self.stacks_left = accuracy, interrupt_after
        self.rounds = []

    def __call__(self, experiment, missing, config, on_event, pool):
        self.rounds.append(list(missing))
        for stack in (missing[i : i + 4] for i in range(0, len(missing), 4)):
            if self.stacks_left is not None:
                self.stacks_left -= 1
                if self.stacks_left < 0:
                    raise KeyboardInterrupt
            write(experiment.folder, stack, self.accuracy)
        return []


def write(folder, cells, accuracy=accuracy_of):
    values = [[accuracy(cell) for cell in cells]] * 2
    store.write_part(folder, table(cells, dict.fromkeys(METRICS, values)), {})


class NoPool:
    """No workers."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def train(monkeypatch, tmp_path):
    """A function that trains a grid with made-up results below a folder; returns its experiment and its trainer."""

    def run(seed, folder="whole", events=None, **keywords):
        trainer = Trainer(**keywords)
        monkeypatch.setattr(training, "_train_round", trainer)
        monkeypatch.setattr(training.start, "start_pool", lambda *_: NoPool())
        made_up = grid.parse(TEXT.replace("SEED", seed), name="made-up")
        on_event = events.append if events is not None else lambda _: None
        result = training.train(made_up, tmp_path / folder, ExecutionConfig(device="cpu"), on_event)
        return result.experiment, trainer

    return run


def stored(experiment):
    return store.trained_cells(experiment.parts())


def seeds_by_configuration(experiment):
    last = experiment.frame().query("epoch == epochs")
    return last.groupby(["activation", "initializer"])["seed"].agg(sorted).to_dict()


def test_what_is_decided_gets_no_more_seeds(train):
    experiment, trainer = train(DECIDED)
    seeds = seeds_by_configuration(experiment)
    assert all(values == list(range(len(values))) for values in seeds.values())
    counts = {key: len(values) for key, values in seeds.items()}
    assert counts["tanh", "zeros"] == counts["relu", "zeros"] == 10
    assert 10 < counts["tanh", "he_normal"] == counts["tanh", "glorot_uniform"] < 30
    assert counts["relu", "he_normal"] == counts["relu", "glorot_uniform"] == 30  # equal: until the maximum
    state = experiment.rounds
    assert state.at_maximum
    assert (state.open, state.ended, len(state.cells)) == (2, True, sum(counts.values()))
    assert state.saved == 6 * 30 - len(state.cells)
    assert stored(experiment) == {cell.id for cell in state.cells}
    assert [len({cell.seed for cell in cells}) for cells in trainer.rounds] == [5] * len(trainer.rounds)


def test_half_widths_end_combination_by_combination(train):
    experiment, _ = train(NARROW)
    counts = {key: len(values) for key, values in seeds_by_configuration(experiment).items()}
    for activation in ("tanh", "relu"):
        assert len({counts[activation, name] for name in ("glorot_uniform", "he_normal", "zeros")}) == 1
    assert counts["tanh", "zeros"] < counts["relu", "zeros"]
    widths = ib.stats.half_widths(experiment.frame(), ["activation", "initializer"]).set_index("activation")[
        "half_width"
    ]
    assert (widths["tanh"] <= 0.004).all()
    assert experiment.rounds.at_maximum == bool((widths["relu"] > 0.004).any())


@pytest.mark.parametrize(
    ("seed", "interruptions"),
    [
        (DECIDED, [1]),
        pytest.param(DECIDED, [12, 3, 0, 5], marks=pytest.mark.slow),
        pytest.param(NARROW, [9, 2], marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_experiment_trains_the_same_cells_as_one_that_was_not(train, seed, interruptions):
    whole, _ = train(seed)
    for stacks in interruptions:
        with pytest.raises(training.Interrupted):
            train(seed, "resumed", interrupt_after=stacks)
    resumed, _ = train(seed, "resumed")
    assert stored(resumed) == stored(whole)
    assert resumed.rounds == whole.rounds
    again, trainer = train(seed, "resumed")
    assert trainer.rounds == []
    assert again.inventory() == ([], 0)


def test_the_rule_is_replayed_whatever_else_is_stored(train, tmp_path):
    whole, _ = train(DECIDED)
    fixed, _ = train("30", "other")
    folder = fixed.folder
    again, trainer = train(DECIDED, "other")
    assert trainer.rounds == []
    assert again.rounds == whole.rounds
    assert len(stored(again)) == 180
    assert again.inventory() == ([], 180 - len(whole.rounds.cells))
    assert len(ib.load(folder).query("epoch == 1")) == len(whole.rounds.cells)


def test_a_rule_continues_an_experiment_of_fewer_seeds(train):
    train("7", "more")
    more, trainer = train(DECIDED, "more")
    assert stored(more) >= {cell.id for cell in more.rounds.cells}
    assert not any(cell.seed < 7 for cells in trainer.rounds for cell in cells)


def test_each_look_is_an_event_and_the_next_round_follows(train):
    events = []
    experiment, trainer = train(DECIDED, events=events)
    assert isinstance(events[0], training.Started)
    assert len(events[0].missing) == 30
    looks = [event.rounds for event in events[1:]]
    assert [look.at for look in looks] == list(range(5, 35, 5))
    assert [look.missing for look in looks[:-1]] == trainer.rounds[1:]
    assert looks[-1] == experiment.rounds
    for look, following in itertools.pairwise(looks):
        assert {cell.id for cell in following.cells} <= {cell.id for cell in [*look.cells, *look.most]}


def test_where_runs_fail_no_half_width_is_promised_and_nothing_waits_for_it(train):
    def failing(cell):
        return 0.1 if cell.initializer == "he_normal" and cell.seed == 3 else 0.9 + 0.0001 * (cell.seed % 3)

    experiment, _ = train(NARROW, accuracy=failing)
    state = experiment.rounds
    assert (state.ended, state.open, state.refused, set(state.seeds)) == (True, 0, 2, {5})
    assert state.excluded_share == pytest.approx(1 - 0.05 ** (1 / 5))


def test_a_round_with_cells_that_cannot_be_trained_is_the_last(monkeypatch, tmp_path):
    trainer, events = Trainer(), []

    def all_but_one(experiment, missing, *rest):
        trainer(experiment, missing[:-1], *rest)
        return [Untrained(missing[-1], "made up")]

    monkeypatch.setattr(training, "_train_round", all_but_one)
    monkeypatch.setattr(training.start, "start_pool", lambda *_: NoPool())
    made_up = grid.parse(TEXT.replace("SEED", DECIDED), name="made-up")
    result = training.train(made_up, tmp_path, ExecutionConfig(device="cpu"), events.append)
    assert (len(events), len(trainer.rounds), len(result.untrained)) == (1, 1, 1)
    assert len(result.experiment) == 30
    assert [cell.id for cell in result.experiment.missing()] == [result.untrained[0].cell.id]


def test_a_plan_has_the_least_and_the_most(train, monkeypatch, tmp_path):
    def counted(trainings, n_trained, *_):
        return [(len(cells), n_trained) for cells in trainings]

    monkeypatch.setattr(training, "estimates", counted)

    def planned(seed, folder="whole"):
        made_up = grid.parse(TEXT.replace("SEED", seed), name="made-up")
        plan = training.plan(made_up, tmp_path / folder, ExecutionConfig(device="cpu"))
        return plan.estimate, plan.most

    assert planned(DECIDED) == ((30, 0), (180, 0))
    assert planned("30") == ((180, 0), None)
    assert planned('{ until = "decided", min = 30, max = 30 }') == ((180, 0), None)
    assert not (tmp_path / "whole").exists()
    with pytest.raises(training.Interrupted):
        train(DECIDED, interrupt_after=12)  # 30 cells in 8 stacks, then 4 of the second round
    (least, n_trained), (most, _) = planned(DECIDED)
    assert (least, n_trained) == (30 - 16, 46)
    assert most == 180 - 46
    train(DECIDED)
    assert planned(DECIDED) == (None, None)
    (least, n_trained), (most, _) = planned('{ until = "decided", min = 5, max = 40 }')  # two are undecided at 30
    assert (least, most) == (10, 20)


def test_a_complete_experiment_is_complete_everywhere(train, monkeypatch, without_figures):
    experiment, _ = train(DECIDED)
    folder, count = experiment.folder, len(experiment.rounds.cells)
    opened = rounds.opened(folder)
    assert len(opened) == count < len(opened.grid)
    assert opened.missing() == []
    assert verify.lines(opened, verify.check(opened)) == [
        f"{folder}: {count} of {count} cells, in {_parts(folder)} parts"
    ]
    assert outputs.report(opened).n_trained == count
    page = (folder / "report.html").read_text()
    assert "not trained yet" not in page


def test_later_rounds_are_not_called_cells_of_another_grid_where_an_earlier_part_is_lost(train):
    experiment, _ = train(DECIDED)
    first = experiment.rounds.cells[0].id
    for part in (experiment.folder / "parts").iterdir():
        if first in pd.read_parquet(part)["cell"].astype(str).tolist():
            part.unlink()
    opened = rounds.opened(experiment.folder)
    sentences = verify.lines(opened, verify.check(opened))
    assert any(line.endswith("not of this grid, or its rule did not request them yet") for line in sentences)


def _parts(folder):
    return len(list((folder / "parts").iterdir()))


def test_a_merge_keeps_a_common_rule_and_refuses_different_ones(train, tmp_path):
    experiment, _ = train(DECIDED)
    other, _ = train(DECIDED, "other")
    merged = folders.merge([experiment.folder, other.folder], tmp_path / "merged")
    assert merged.experiment.grid.seed_rule == experiment.grid.seed_rule
    assert merged.n_trained == len(merged.experiment) == len(experiment)
    fixed, _ = train("5", "fixed")
    with pytest.raises(UserError, match="different rules for their seeds; allowed: experiments with the same"):
        folders.merge([experiment.folder, fixed.folder], tmp_path / "again")


def test_seeds_that_the_rule_of_the_second_experiment_did_not_request_are_not_missing(train):
    before, _ = train(DECIDED)
    after, _ = train(DECIDED, "after", accuracy=lambda cell: 0.9 - 0.4 * (cell.initializer != "zeros"))
    assert set(after.rounds.seeds) == {10}
    assert len(before) > len(after) == 60
    table = outputs.changes(before, after)[0]
    assert set(table["missing"]) == {0}
    assert set(table["seeds"]) == {10}
    fixed, _ = train("6", "fixed")
    assert set(outputs.changes(before, fixed)[0]["missing"]) == {len(before) - 36}


def test_results_of_an_earlier_version_are_read_as_they_were(train, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr("initbench.spec.cell.TRAINING_VERSION", 2)
        old, _ = train(DECIDED)
    opened = rounds.opened(old.folder)
    assert opened.rounds.seeds == old.rounds.seeds
    assert opened.frame()["cell"].nunique() == len(old.rounds.cells)
    plan = rounds.replayed(old.grid, opened.frame(), retrains_earlier=True)
    assert len(plan.missing) == len(plan.cells) == 30


REAL = """
name = "real"
[grid]
initializer = ["glorot_uniform", "zeros", "he_normal"]
seed = { until = "decided", min = 5, max = 10 }
[model]
hidden = []
activation = "tanh"
output_activation = "same"
[training]
loss = "mse"
epochs = 1
train_size = 640
"""


@pytest.fixture(scope="module")
def one_worker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    (folder / "real.toml").write_text(REAL)
    return ib.run(folder / "real.toml", results=folder, workers=1).frame


@pytest.mark.parametrize(
    "config",
    [{"workers": 2}, {"workers": 2, "scheduler": "local"}],
    ids=["two workers", "cluster"],
)
@pytest.mark.slow
def test_workers_stay_for_all_rounds_and_their_number_changes_no_cell(one_worker, config, tmp_path, monkeypatch):
    pools, start_pool = [], training.start.start_pool

    def counted(*arguments):
        pools.append(arguments)
        return start_pool(*arguments)

    monkeypatch.setattr(training.start, "start_pool", counted)
    (tmp_path / "real.toml").write_text(REAL)
    frame = ib.run(tmp_path / "real.toml", results=tmp_path, **config).frame
    assert len(pools) == 1
    assert set(frame["seed"]) == set(range(10))  # two rounds
    assert list(frame["cell"]) == list(one_worker["cell"])
    pd.testing.assert_frame_equal(frame, one_worker)
