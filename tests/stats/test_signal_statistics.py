"""Statistics of the signal at initialization: by layer, as scalars, what stands out, and what predicts success."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from frames import frame_of
from scipy import stats as scipy_stats

from initbench import stats
from initbench.stats._predictors import Design


def signal_of(cells, epoch=0):
    """A table of the signal: `cells` maps a cell to `{(layer, statistic): value}`."""
    rows = [(cell, epoch, *key, float(value)) for cell, values in cells.items() for key, value in values.items()]
    return pd.DataFrame(rows, columns=["cell", "epoch", "layer", "statistic", "value"])


def experiment(initializers=8, combinations=("tanh", "relu"), seeds=3, noise=0.01, random=0):
    """A tidy table whose accuracy is that of the initializer's number, and its signal: one statistic follows it."""
    generator = np.random.default_rng(random)
    frames, cells = [], {}
    for activation in combinations:
        accuracies = {
            f"i{k}": (0.5 + 0.05 * k + noise * generator.normal(size=seeds)).tolist() for k in range(initializers)
        }
        frames.append(frame_of(accuracies, activation=activation))
        for cell, initializer in zip(frames[-1]["cell"], frames[-1]["initializer"], strict=True):
            quality = int(initializer[1:]) + 0.1 * generator.normal()
            cells[cell] = {(1, "weight_spectral_norm"): np.exp(-quality), (1, "dead_share"): 0.0}
            cells[cell] |= {(1, "correlation"): generator.normal(), (3, "saturated_share"): generator.normal()}
    return pd.concat(frames, ignore_index=True), signal_of(cells)


def test_scalars_are_of_the_first_and_last_hidden_layer_and_of_the_output():
    q = "pre_activation_second_moment"
    deep = {(layer, "saturated_share"): layer / 10 for layer in (1, 2, 3)} | {(1, q): 2, (2, q): 0.02, (3, q): 7}
    deep |= {(2, "jacobian_mean_square"): 7.0} | {
        (0, "correlation"): 0.4,
        (1, "gradient_ratio"): 1e3,
        (3, "jacobian_mean_square"): 0.01,
    }
    shallow = {(1, "saturated_share"): 0.3, (1, q): 5, (1, "gradient_ratio"): 1, (1, "jacobian_mean_square"): 0}
    later = signal_of({"deep": {(1, "saturated_share"): 0.9}}, epoch=3)
    table = stats.signal_scalars(pd.concat([later, signal_of({"deep": deep, "shallow": shallow})])[::-1]).set_index(
        "cell"
    )
    shares = ["first_saturated_share", "last_saturated_share", "output_saturated_share"]
    assert table.loc["deep", shares].tolist() == [0.1, 0.2, 0.3]
    assert table.loc["shallow", shares].tolist() == [0.3, 0.3, 0.3]
    drifts = ["variance_drift", "gradient_drift", "isometry_distance"]
    assert table.loc["deep", drifts].tolist() == pytest.approx([2, 3, 2])
    assert table.loc["shallow", drifts].tolist() == [0, 0, math.inf]
    assert table["first_correlation"].isna().all()
    assert len(table.columns) <= 25


def test_the_profile_is_the_median_over_seeds_and_leaves_out_what_is_not_finite():
    frame = frame_of({"a": [0.9] * 4, "b": [0.9] * 2}, activation="tanh")
    values = {"a": [1.0, math.inf, 4.0, 2.0], "b": [math.inf, math.nan]}
    cells = {
        cell: {(1, "weight_norm"): values[name][seed], (0, "correlation"): seed}
        for cell, name, seed in frame[["cell", "initializer", "seed"]].itertuples(index=False)
    }
    signal = signal_of(cells | {"of another experiment": {(1, "weight_norm"): 7}})
    table = stats.signal_profile(signal.sample(frac=1, random_state=0), frame, ["activation"])
    assert table["initializer"].tolist() == ["a", "a", "b", "b"]
    assert table["layer"].tolist() == [0, 1, 0, 1]
    columns = ["value", "low", "high", "seeds", "infinite"]
    assert table.loc[1, columns].tolist() == [2.0, 1.0, 4.0, 4, 1]
    assert table.loc[0, columns].tolist() == [1.5, 0.0, 3.0, 4, 0]
    assert table.loc[3, ["seeds", "infinite"]].tolist() == [2, 2]
    assert np.isnan(table.loc[3, "value"])
    assert not len(stats.signal_profile(signal, frame, ["activation"], epoch=1))


def test_findings_are_what_is_beyond_a_limit_and_nothing_else():
    q, c, g = "pre_activation_second_moment", "correlation", "weight_gradient_norm"
    sound = {(layer, name): value for layer in (1, 2, 3) for name, value in ((q, 1), (c, 0.5), (g, 0.1))}
    sound |= {(layer, "saturated_share"): 0.49 for layer in (1, 2, 3)} | {(1, "gradient_ratio"): 0.02, (0, c): 0.4}
    sound |= {(layer, "effective_rank"): 50 for layer in (1, 2)} | {(layer, "dead_share"): 0.05 for layer in (1, 2)}
    changes = {
        "sound": {},
        "large": {(1, "saturated_share"): 0.7, (2, "saturated_share"): 0.97, (3, "saturated_share"): 0.6},
        "zeros": {(1, q): 0, (1, g): 0, (2, g): 0, (1, "effective_rank"): 0, (1, "dead_share"): 1},
        "ones": {(1, "effective_rank"): 1, (2, "effective_rank"): 1.0001},
        "recovers": {(1, "effective_rank"): 1},
        "shrinks": {(2, q): 0.01, (1, "gradient_ratio"): 1e-4},
        "grows": {(2, q): 1e4, (1, "gradient_ratio"): 1e4, (2, "dead_share"): 0.3},
        "aligned": {(2, c): 0.96},
        "infinite": {(2, q): math.inf, (3, q): math.nan},
    }
    frame = frame_of({name: [0.9] * 3 for name in changes}, activation="tanh", output_activation="identity")
    by_cell = dict(zip(frame["cell"], frame["initializer"], strict=True))
    signal = signal_of({cell: sound | changes[name] for cell, name in by_cell.items()})
    table = stats.signal_findings(signal, frame, ["activation"])
    columns = ["initializer", "finding", "layer", "value"]
    assert [tuple(row) for row in table[columns].itertuples(index=False)] == [
        ("large", "saturated", 2, 0.97),
        ("large", "saturated_outputs", 3, 0.6),
        ("zeros", "zero_signal", 1, 1),
        ("zeros", "zero_gradient", 1, 0),
        ("ones", "one_dimension", 1, 1),
        ("shrinks", "vanishing_signal", 2, 0.01),
        ("shrinks", "vanishing_gradient", 1, 1e-4),
        ("grows", "dead", 2, 0.3),
        ("grows", "exploding_signal", 2, 1e4),
        ("grows", "exploding_gradient", 1, 1e4),
        ("aligned", "collapsed", 2, 0.96),
        ("infinite", "not_finite", 2, math.inf),
    ]
    assert (table["seeds"] == 3).all()
    assert table.set_index("finding").loc["collapsed", "reference"] == 0.4
    at_half = signal.replace({"value": {0.97: 0.6}})
    assert "one_dimension" not in set(stats.signal_findings(signal, frame.assign(hidden="1-8"), [])["finding"])
    for functions in (
        {"activation": "relu"},
        {"activation": "selu"},
        {"activation": "own@abcdef"},
        {"model": "own@abcdef"},
    ):
        changed = frame.assign(output_activation="relu").assign(**functions)
        for table, large in ((signal, [0.97]), (at_half, [])):  # half of them always are
            rectified = stats.signal_findings(table, changed, [])
            assert rectified.loc[rectified["initializer"] == "large", "value"].tolist() == large


def test_the_leader_stands_out_where_it_is_best_of_all_and_clearly_better_than_those_significantly_worse():
    condition = {"leads": 2.0, "near": 2.9, "worse": 3.0}  # 1.5 times as good as the worse one; the other is not worse
    rank = {"leads": 10, "near": 11, "worse": 1}  # not the best of all
    saturated = {"leads": 0.30, "near": 0.31, "worse": 0.39}  # less than 0.1 better
    dead = {"leads": 0.0, "near": 0.004, "worse": 0.5}  # hardly better than the one that is near
    ratio = {"leads": 0.5, "near": math.nan, "worse": 1e3}  # by 10^0.3 against 10^3
    frame = frame_of({"leads": [0.9] * 3, "near": [0.89] * 3, "worse": [0.5] * 3}, activation="tanh")
    signal = signal_of(
        {
            cell: {(1, "gradient_ratio"): ratio[name], (3, "jacobian_condition"): condition[name]}
            | {
                (2, "effective_rank"): rank[name],
                (2, "saturated_share"): saturated[name],
                (2, "dead_share"): dead[name],
            }
            for cell, name in frame[["cell", "initializer"]].itertuples(index=False)
        }
    )
    verdicts = pd.DataFrame({"activation": "tanh", "initializer": list(condition)})
    verdicts = verdicts.assign(leader=[True, False, False], significant=[False, False, True])
    table = stats.signal_advantages(signal, frame, ["activation"], verdicts)
    columns = ["initializer", "statistic", "end", "value", "others_low", "others_high", "others"]
    assert table[columns].to_numpy().tolist() == [
        ["leads", "jacobian_condition", "smallest", 2.0, 2.9, 3.0, 2],
        ["leads", "gradient_drift", "smallest", pytest.approx(math.log10(2)), 3.0, 3.0, 1],
    ]
    assert not len(stats.signal_advantages(signal, frame, ["activation"], verdicts.assign(significant=False)))
    assert not len(stats.signal_advantages(signal, frame, ["activation"], verdicts.assign(leader=False)))


def test_the_correlation_is_spearmans_averaged_over_combinations_of_the_cells_that_are_finite():
    frame, signal = experiment(noise=0.1)
    norms = signal["statistic"] == "weight_spectral_norm"
    signal.loc[signal.index[norms][[0, 4, 30]], "value"] = [math.inf, math.nan, -math.inf]
    table = stats.signal_predictors(signal, frame, ["activation"]).set_index(["predictor", "outcome"])
    row = table.loc["weight_spectral_norm", "accuracy"]
    scalars = frame.merge(signal[norms], on="cell")
    finite = scalars[np.isfinite(scalars["value"])]
    rhos = [scipy_stats.spearmanr(rows["value"], rows["test_accuracy"])[0] for _, rows in finite.groupby("activation")]
    sizes = finite.groupby("activation").size()
    assert row["correlation"] == pytest.approx(np.average(rhos, weights=sizes), abs=1e-12)
    assert row[["initializers", "configurations", "combinations", "cells", "left_out"]].tolist() == [8, 16, 2, 45, 3]
    assert row["low"] <= row["correlation"] <= row["high"] < 0
    alone = stats.signal_predictors(signal, frame[frame["activation"] == "relu"], []).set_index(table.index.names)
    assert alone.loc["weight_spectral_norm", "accuracy"]["correlation"] == pytest.approx(rhos[0], abs=1e-12)


def test_the_p_values_are_those_of_all_orders_of_the_initializers_stepping_down():
    """Three predictors and one outcome of six initializers, one run each: 720 orders, in plain loops."""
    generator = np.random.default_rng(5)
    y = np.arange(6) + 0.0
    x = np.stack([y + generator.normal(0, scale, 6) for scale in (0.1, 1.5, 9.0)])
    p = Design(np.zeros(6, int), np.arange(6)).p(x, y[None])[:, 0]
    z = np.array(
        [
            [abs(np.corrcoef(scipy_stats.rankdata(row), order)[0, 1]) * math.sqrt(5) for row in x]
            for order in itertools.permutations(range(6))
        ]
    )
    left, expected, largest = {0, 1, 2}, np.empty(3), 0.0
    for test in np.argsort(-z[0]):
        largest = max(largest, np.mean(z[:, sorted(left)].max(axis=1) >= z[0, test] - 1e-9))
        expected[test] = largest
        left.remove(test)
    assert p.tolist() == pytest.approx(expected.tolist(), abs=1e-12)
    assert p[0] == pytest.approx(np.mean(z.max(axis=1) > math.sqrt(5) - 1e-9))


def test_a_planted_predictor_is_found_and_others_are_not_whatever_their_units_and_the_order_of_the_rows():
    frame, signal = experiment()
    table = stats.signal_predictors(signal, frame, ["activation"])
    rows = table.set_index(["predictor", "outcome"])
    assert rows["significant"].sum() == 1
    assert rows.loc["weight_spectral_norm", "accuracy"]["significant"]
    assert rows.loc["weight_spectral_norm", "accuracy"]["correlation"] < -0.9
    assert "dead_share" not in table["predictor"].tolist()  # it does not vary
    assert "failed" not in table["outcome"].tolist()  # none does
    norms = signal["statistic"] == "weight_spectral_norm"
    logarithms = signal.assign(value=signal["value"].where(~norms, np.log10(signal["value"].where(norms, 1.0))))
    for other in (logarithms, signal.sample(frac=1, random_state=1)):
        pd.testing.assert_frame_equal(stats.signal_predictors(other, frame, ["activation"]), table)
    shuffled = frame.sample(frac=1, random_state=2)
    pd.testing.assert_frame_equal(
        stats.signal_predictors(signal.astype({"statistic": "category"}), shuffled, "activation"), table
    )
    rounding = signal.assign(value=np.where(signal["statistic"] == "correlation", 1 + 1e-8 * signal["value"], 1.0))
    assert not len(stats.signal_predictors(rounding, frame, ["activation"]))


def test_the_outcomes_are_accuracy_failure_and_epochs_with_those_that_never_arrive_last():
    generator = np.random.default_rng(1)
    rows, cells = [], {}
    for k in range(6):  # the target is 0.95 − 0.01 and is reached at epoch k, by the last two never
        for epoch in range(4):
            accuracy = 0.95 if epoch >= k and k < 4 else 0.1
            values = frame_of({f"i{k}": [None if k == 5 and epoch else accuracy]}).assign(epoch=epoch, cell=f"c{k}")
            rows.append(values)
        cells[f"c{k}"] = {(1, "weight_norm"): generator.normal(), (1, "weight_spectral_norm"): [1, 2, 3, 4, 5, 5][k]}
    table = stats.signal_predictors(signal_of(cells), pd.concat(rows, ignore_index=True), []).set_index("outcome")
    assert table.loc["epochs", "correlation"] == pytest.approx(1.0)
    assert table.loc["failed", "correlation"] == pytest.approx(
        scipy_stats.spearmanr([1, 2, 3, 4, 5, 5], [0, 0, 0, 0, 1, 1])[0]
    )
    assert table.loc["accuracy", "correlation"] == pytest.approx(
        scipy_stats.spearmanr([1, 2, 3, 4, 5, 5], [1, 1, 1, 1, 0, 0.5])[0]
    )  # one is at chance, and the diverged one at the majority-class accuracy above it


def test_few_initializers_make_an_empty_table_and_gaps_in_an_experiment_a_table():
    for initializers, empty in ((stats.MIN_INITIALIZERS - 1, True), (stats.MIN_INITIALIZERS, False)):
        frame, signal = experiment(initializers)
        table = stats.signal_predictors(signal, frame, ["activation"])
        assert table.empty == empty
        assert {"predictor", "p", "significant", "left_out"} <= set(table)
    frame, signal = experiment(12, ("tanh", "relu", "gelu"))
    gaps = frame[~((frame["activation"] == "relu") & frame["initializer"].isin(["i0", "i1"]))].iloc[3:]
    table = stats.signal_predictors(signal, gaps, ["activation"]).set_index(["predictor", "outcome"])
    row = table.loc["weight_spectral_norm", "accuracy"]
    assert row["significant"]
    assert row[["configurations", "cells"]].tolist() == [33, 99]
    ids = frame.loc[frame["initializer"].isin([f"i{k}" for k in range(stats.MIN_INITIALIZERS - 1)]), "cell"]
    few = (signal["statistic"] == "weight_spectral_norm") & ~signal["cell"].isin(ids)
    rest = stats.signal_predictors(signal.assign(value=signal["value"].mask(few, math.inf)), frame, ["activation"])
    assert len(rest)
    assert "weight_spectral_norm" not in set(rest["predictor"])  # finite of four initializers
    assert not len(stats.signal_predictors(signal.iloc[:0], frame, ["activation"]))
    assert not len(stats.signal_findings(signal.iloc[:0], frame, ["activation"]))


@pytest.mark.slow
def test_significant_rows_are_rare_without_an_association_and_intervals_cover():
    """Signals and outcomes of which 70% of the variance is of the initializer in all combinations."""
    generator = np.random.default_rng(7)
    runs, initializers, combinations, seeds, common = 200, 6, 4, 3, math.sqrt(0.7)
    combination, initializer, _ = (axis.ravel() for axis in np.indices((combinations, initializers, seeds)))
    design = Design(combination, initializer)

    def drawn(count):
        of_initializer, own = (
            generator.normal(size=(count, *size, initializers, 1)) for size in ((1,), (combinations,))
        )
        luck = 0.3 * generator.normal(size=(count, combinations, initializers, seeds))
        return common * of_initializer + math.sqrt(1 - common**2) * own + luck

    false, covered = 0, 0
    truth = 6 / math.pi * math.asin(0.6 / 2)  # Spearman's correlation of normal values of correlation 0.6
    for _ in range(runs):
        x, y = drawn(20).reshape(20, -1), drawn(2)
        y[1] = y[1] < -1
        false += np.nanmin(design.p(x, y.reshape(2, -1))) <= 0.05
        pair = drawn(2)
        pair[1] = 0.6 * pair[0] + 0.8 * pair[1]
        _, low, high, _ = design.correlations(*pair.reshape(2, 1, -1))
        covered += low[0, 0] <= truth <= high[0, 0]
    assert false <= runs * 0.05 + 2.6 * math.sqrt(runs * 0.05 * 0.95)
    assert covered >= 0.9 * runs
