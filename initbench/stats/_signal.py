"""The signal at initialization by configuration and layer, as scalars of a cell, and what stands out in it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from initbench.spec.signal import COLUMNS, JACOBIAN
from initbench.stats._arguments import check_frame, check_table, combination_of
from initbench.stats._means import without_categories

Floats = NDArray[np.float64]

SIGNAL = "a table of the signal, as ib.load_signal returns it"

# The scalars of a cell: the name of each, its statistic and where it is read. Rank correlations do not change with
# logarithms or units, so each quantity occurs once. In all, fewer than 25: the correction is for their number.
READ = (
    ("pre_activation_variance", "first"),
    ("saturated_share", "first"),
    ("dead_share", "first"),
    ("correlation", "first"),
    ("weight_gradient_norm", "first"),
    ("weight_spectral_norm", "first"),
    ("pre_activation_variance", "last"),
    ("saturated_share", "last"),
    ("dead_share", "last"),
    ("correlation", "last"),
    ("effective_rank", "last"),
    ("pre_activation_variance", "output"),
    ("saturated_share", "output"),
    ("gradient_ratio", "network"),
    ("weight_gradient_ratio", "network"),
    ("jacobian_largest", "network"),
    ("jacobian_smallest", "network"),
    ("jacobian_mean_square", "network"),
    ("jacobian_condition", "network"),
)
DERIVED = ("variance_drift", "gradient_drift", "isometry_distance")
SCALARS = (*READ, *((name, "network") for name in DERIVED))

# What stands out: see `signal_findings`.
SATURATED, SATURATED_HALF_ZERO = 0.5, 0.9
DEAD = 0.25
FACTOR = 100.0
COLLAPSED = 0.95
ONE_DIMENSION = 1.01

# Activations that are flat, or can be, on half of the line alone: of large pre-activations half are there.
HALF_ZERO = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus")

JUDGED = (
    *("pre_activation_second_moment", "saturated_share", "dead_share", "effective_rank", "correlation"),
    *("weight_gradient_norm", "gradient_ratio"),
)

# All that scalars and findings are computed from.
SIGNAL_STATISTICS = tuple(dict.fromkeys([*(name for name, _ in READ), "pre_activation_second_moment", *JUDGED]))
FINDINGS = ["finding", "statistic", "layer", "value", "reference", "seeds"]


def scalar_name(statistic: str, position: str) -> str:
    """Return the name of a scalar's column."""
    return statistic if position == "network" else f"{position}_{statistic}"


def signal_scalars(signal: pd.DataFrame) -> pd.DataFrame:
    """Return the signal of each cell before training as scalars that networks of any depth have.

    Layers with weights count from 1 to L. Statistics are those of `ib.load_signal`, before training. A row for each
    cell of the table, in its order; NaN where the signal has no such value, and infinite where the signal is:

    - `cell`: its id.
    - `first_pre_activation_variance`, `first_saturated_share`, `first_dead_share`, `first_correlation`,
      `first_weight_gradient_norm`, `first_weight_spectral_norm`: of layer 1.
    - `last_pre_activation_variance`, `last_saturated_share`, `last_dead_share`, `last_correlation`,
      `last_effective_rank`: of the last hidden layer, L − 1; in a network of one layer, of layer 1.
    - `output_pre_activation_variance`, `output_saturated_share`: of layer L.
    - `gradient_ratio`, `weight_gradient_ratio`: the first layer's norm of the gradient divided by the last's, at
      pre-activations and at weights.
    - `jacobian_largest`, `jacobian_smallest`, `jacobian_mean_square`, `jacobian_condition`: of the singular values of
      the input–output Jacobian.
    - `variance_drift`: |log₁₀(q_(L−1) / q₁)|, q_l the second moment of the pre-activations: how far the signal grows or
      shrinks through the hidden layers, in powers of ten; 0 of an activation that keeps its scale.
    - `gradient_drift`: |log₁₀ gradient_ratio|, the same of the gradients.
    - `isometry_distance`: |log₁₀ jacobian_mean_square|: 0 where the Jacobian keeps the lengths of small changes on
      average, as dynamical isometry requires (Saxe et al. 2014; Pennington et al. 2017).

    The last three are there because what they come from is best in the middle. The table assumes nothing: it selects
    and divides.
    """
    check_table(signal, "signal", COLUMNS, SIGNAL)
    values = Values(signal)
    table = {scalar_name(*scalar): values.at(*scalar) for scalar in READ}
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = values.at("pre_activation_second_moment", "last") / values.at("pre_activation_second_moment", "first")
        for name, ratio in zip(DERIVED, (growth, table["gradient_ratio"], table["jacobian_mean_square"]), strict=True):
            table[name] = np.abs(np.log10(ratio))
    return pd.DataFrame({"cell": values.cells, **table}).astype({"cell": str})


class Values:
    """The values of the signal of each cell at one epoch, by statistic and position."""

    def __init__(self, signal: pd.DataFrame, epoch: int = 0) -> None:
        rows = (signal["epoch"] == epoch).to_numpy()
        self._cell, cells = pd.factorize(signal["cell"][rows])
        self.cells = np.asarray(cells)
        self._statistic = pd.Categorical(signal["statistic"][rows])
        self._layer = signal["layer"].to_numpy()[rows]
        self._value = signal["value"].to_numpy(np.float64)[rows]
        self._rows: dict[str, NDArray[np.intp]] = {}
        self.depth = np.zeros(len(self.cells), int)
        np.maximum.at(self.depth, self._cell, self._layer)

    def rows(self, statistic: str) -> NDArray[np.intp]:
        """Return the numbers of the rows of a statistic."""
        if statistic not in self._rows:
            categories = self._statistic.categories
            code = categories.get_loc(statistic) if statistic in categories else -2
            self._rows[statistic] = np.flatnonzero(self._statistic.codes == code)
        return self._rows[statistic]

    def at(self, statistic: str, position: str) -> Floats:
        """Return a statistic of each cell at a position; NaN where there is none."""
        rows = self.rows(statistic)
        if position == "network":  # that of hidden layers has a Jacobian too
            position = "output" if statistic in JACOBIAN else "first"
        layers = {
            "input": np.zeros_like(self.depth),
            "first": np.ones_like(self.depth),
            "last": np.maximum(self.depth - 1, 1),
            "output": self.depth,
        }[position]
        rows = rows[self._layer[rows] == layers[self._cell[rows]]]
        values = np.full(len(self.cells), np.nan)
        values[self._cell[rows]] = self._value[rows]
        return values


def signal_profile(
    signal: pd.DataFrame, frame: pd.DataFrame, combination: Sequence[str], epoch: int = 0
) -> pd.DataFrame:
    """Return each statistic of the signal by layer, for each configuration: its median over seeds.

    A row for each initializer of each combination, in the order of `frame`, by layer and statistic:

    - the columns of `combination`, `initializer`, `layer`, `statistic`.
    - `value`: median over the seeds, in the statistic's unit; values that are not finite are left out, unless all are.
    - `low`, `high`: the smallest and the largest of these values.
    - `seeds`: number of cells with the statistic.
    - `infinite`: how many of them are infinite or NaN.

    `epoch` is 0, before training, or the last one. It assumes nothing: it describes these seeds.
    """
    keys, configurations, number, rows = _by_configuration(signal, frame, combination, epoch)
    statistics, names = pd.factorize(rows["statistic"])
    layer = rows["layer"].to_numpy()
    depth = int(layer.max(initial=0)) + 1
    group = (number * depth + layer) * max(len(names), 1) + statistics
    medians = _medians(group, rows["value"].to_numpy(np.float64))
    at = medians.index.to_numpy()
    medians["statistic"] = np.asarray(names, object)[at % max(len(names), 1)] if len(at) else []
    medians["layer"] = at // max(len(names), 1) % depth
    table = configurations.iloc[at // max(len(names), 1) // depth].reset_index(drop=True)
    columns = ["layer", "statistic", "value", "low", "high", "seeds", "infinite"]
    return table.join(medians[columns].reset_index(drop=True))[[*keys, "initializer", *columns]]


def _by_configuration(
    signal: pd.DataFrame, frame: pd.DataFrame, combination: Sequence[str], epoch: int
) -> tuple[list[str], pd.DataFrame, NDArray[np.intp], pd.DataFrame]:
    """Return the settings, the configurations, and for each row of the signal at an epoch the number of its own."""
    check_table(signal, "signal", COLUMNS, SIGNAL)
    check_frame(frame, columns=("cell", "initializer"))
    keys = combination_of(frame, combination)
    cells = frame.drop_duplicates("cell")
    numbers = cells.groupby([*keys, "initializer"], sort=False, dropna=False, observed=True).ngroup()
    configurations = without_categories(cells[[*keys, "initializer"]].loc[~numbers.duplicated()])
    rows = signal[signal["epoch"] == epoch]
    codes, ids = pd.factorize(rows["cell"])
    of_cell = pd.Series(numbers.to_numpy(), cells["cell"].astype(str))
    number = of_cell.reindex(np.asarray(ids).astype(str)).fillna(-1).to_numpy(int)[codes]
    return keys, configurations.reset_index(drop=True), number[number >= 0], rows[number >= 0]


def _medians(group: NDArray[np.intp], values: Floats) -> pd.DataFrame:
    """Return the median and the range of each group's finite values, or of all if none is, by the group's number."""
    finite = np.isfinite(values)
    order = np.lexsort((values, ~finite, group))
    group, values, finite = group[order], values[order], finite[order]
    groups, start, seeds = np.unique(group, return_index=True, return_counts=True)
    infinite = np.add.reduceat(~finite, start) if len(start) else seeds
    count = np.where(infinite == seeds, seeds, seeds - infinite)
    low, high = values[start + (count - 1) // 2], values[start + count // 2]
    with np.errstate(invalid="ignore"):
        middle = np.where(low == high, low, low + (high - low) / 2)
    columns = {"value": middle, "low": values[start], "high": values[start + count - 1]}
    return pd.DataFrame({**columns, "seeds": seeds, "infinite": infinite}, index=groups)


def signal_findings(signal: pd.DataFrame, frame: pd.DataFrame, combination: Sequence[str]) -> pd.DataFrame:
    """Return what stands out in the signal of each configuration before training; no row where nothing does.

    Decided from the medians over seeds (`signal_profile`). The last hidden layer is L − 1 of L. A row for each
    initializer of each combination and finding, in the order below: the columns of `combination`, `initializer`, and

    - `finding`: one of

      - `not_finite`: the second moment of the pre-activations of a layer is infinite or NaN (the first such layer).
      - `zero_signal`: every unit of a hidden layer is zero for every image (the first such layer). The three next are
        left out then.
      - `saturated`: at least 50% of the entries of a hidden layer are saturated (the layer with most). Of activations
        that saturate on one side alone (relu, gelu, elu and their kind), 90%; so also of own activations and models.
      - `dead`: at least 25% of the units of a hidden layer are zero for every image (the layer with most).
      - `one_dimension`: the representations of a hidden layer have an effective rank of at most 1.01: all units compute
        the same but for a factor, as with constant weights (the first layer from which on all are such, unless it has
        one unit, which cannot do otherwise).
      - `saturated_outputs`: as `saturated`, of the output.
      - `collapsed`: the mean correlation of two images is at least 0.95 in the last hidden layer, and below in the
        input.
      - `vanishing_signal`, `exploding_signal`: the second moment of the pre-activations of the last hidden layer is at
        most 1/100 of that of the first, or at least 100 times as much.
      - `zero_gradient`: the gradient at the weights of a layer is exactly zero (the first such layer).
      - `vanishing_gradient`, `exploding_gradient`: the norm of the gradient at the pre-activations of layer 1 is at
        most 1/100 of that of layer L, or at least 100 times as much.

    - `statistic`, `layer`: what was compared, and the layer that it stands for.
    - `value`: its value, or the ratio: of the last hidden layer to the first, of gradients of the first to the last.
    - `reference`: the limit, or the correlation of the input.
    - `seeds`: number of cells.

    The limits are conventions, for sentences: they are no tests, and it assumes nothing. Half of the entries of a tanh
    network are saturated where the pre-activations have a standard deviation of about 4.4.
    """
    check_table(signal, "signal", COLUMNS, SIGNAL)
    profile = signal_profile(signal[signal["statistic"].isin(JUDGED)], frame, combination)
    keys = [*combination_of(frame, combination), "initializer"]
    functions_of = [name for name in ("activation", "output_activation", "model", "hidden") if name in frame]
    cells = frame.drop_duplicates("cell").drop_duplicates(keys)
    settings = cells[keys].astype(str).assign(**{f"_{name}": cells[name].astype(str) for name in functions_of})
    by_name = {tuple(row[: len(keys)]): row[len(keys) :] for row in settings.itertuples(index=False, name=None)}
    records: list[tuple[Any, ...]] = []
    for names, rows in profile.groupby(keys, sort=False, dropna=False, observed=True):
        functions = dict(zip(functions_of, by_name[tuple(map(str, names))], strict=True))
        records += [(*names, *finding) for finding in _findings(rows, functions)]
    return pd.DataFrame(records, columns=[*keys, *FINDINGS])


def _findings(rows: pd.DataFrame, functions: Mapping[str, str]) -> list[tuple[Any, ...]]:
    """Return the findings of one configuration, from its rows of the profile."""
    columns = (rows[name] for name in ("statistic", "layer", "value", "seeds"))
    values = {(statistic, layer): (value, seeds) for statistic, layer, value, seeds in zip(*columns, strict=True)}
    depth = int(rows["layer"].max())
    hidden, last = range(1, depth), max(depth - 1, 1)
    findings: list[tuple[Any, ...]] = []

    def value(statistic: str, layer: int) -> float:
        return float(values.get((statistic, layer), (math.nan, 0))[0])

    def add(finding: str, statistic: str, layer: int, number: float, reference: float) -> None:
        findings.append((finding, statistic, layer, number, reference, values[statistic, layer][1]))

    def most(finding: str, statistic: str, layers: range, limit: float) -> None:
        above = [layer for layer in layers if value(statistic, layer) >= limit]
        if above:
            layer = max(above, key=lambda layer: value(statistic, layer))
            add(finding, statistic, layer, value(statistic, layer), limit)

    def first(finding: str, statistic: str, layers: range, limit: float) -> None:
        below = [layer for layer in layers if value(statistic, layer) <= limit]
        if below:
            add(finding, statistic, below[0], value(statistic, below[0]), limit)

    def beyond(quantity: str, statistic: str, layer: int, ratio: float) -> None:
        if ratio <= 1 / FACTOR and ratio > 0:
            add(f"vanishing_{quantity}", statistic, layer, ratio, 1 / FACTOR)
        elif ratio >= FACTOR and ratio < math.inf:
            add(f"exploding_{quantity}", statistic, layer, ratio, FACTOR)

    q = "pre_activation_second_moment"
    overflown = [layer for layer in range(1, depth + 1) if (q, layer) in values and not math.isfinite(value(q, layer))]
    if overflown:
        add("not_finite", q, overflown[0], value(q, overflown[0]), math.nan)
    units = functions.get("hidden", "").split("-")
    limits = {
        name: SATURATED_HALF_ZERO if function.partition("(")[0] in HALF_ZERO or "@" in function else SATURATED
        for name, function in functions.items()
    }
    silent = [layer for layer in hidden if value("dead_share", layer) == 1]
    if silent:
        add("zero_signal", "dead_share", silent[0], 1.0, 1.0)
    else:
        limit = max(limits.get(name, SATURATED) for name in ("activation", "model"))
        most("saturated", "saturated_share", hidden, limit)
        most("dead", "dead_share", hidden, DEAD)
        narrow = [layer for layer in hidden if not value("effective_rank", layer) <= ONE_DIMENSION]
        start = max(narrow, default=0) + 1  # from here on all have one dimension
        if start < depth and units[start - 1 : start] != ["1"]:
            add("one_dimension", "effective_rank", start, value("effective_rank", start), ONE_DIMENSION)
    outputs = range(depth, depth + 1)
    most("saturated_outputs", "saturated_share", outputs, limits.get("output_activation", SATURATED))
    of_images = value("correlation", 0)
    if depth > 1 and value("correlation", last) >= COLLAPSED > of_images:
        add("collapsed", "correlation", last, value("correlation", last), of_images)
    if value(q, 1) > 0:
        beyond("signal", q, last, value(q, last) / value(q, 1))
    first("zero_gradient", "weight_gradient_norm", range(1, depth + 1), 0.0)
    beyond("gradient", "gradient_ratio", 1, value("gradient_ratio", 1))
    return findings
