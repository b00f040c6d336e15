"""The signal at initialization in words and tables: what stands out, and statistics by initializer."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from initbench.reporting import names, numbers
from initbench.reporting.limits import MAX_NAMED, MAX_SIGNAL_ROWS, MAX_SIGNAL_SENTENCES, MAX_TRAINED_ROWS
from initbench.reporting.mean_field import predictions, unsaturated
from initbench.spec.cell import Cell

# Statistics as people call them, in the middle of a sentence.
NAMES = {
    "pre_activation_mean": "mean of pre-activations",
    "pre_activation_variance": "variance of pre-activations",
    "pre_activation_q01": "1% quantile of pre-activations",
    "pre_activation_q50": "median of pre-activations",
    "pre_activation_q99": "99% quantile of pre-activations",
    "pre_activation_second_moment": "mean square of pre-activations",
    "activation_mean": "mean of activations",
    "activation_variance": "variance of activations",
    "activation_q01": "1% quantile of activations",
    "activation_q50": "median of activations",
    "activation_q99": "99% quantile of activations",
    "saturated_share": "share of saturated units",
    "dead_share": "share of dead units",
    "correlation": "correlation of images",
    "effective_rank": "effective rank",
    "pre_activation_gradient_norm": "gradient norm",
    "pre_activation_gradient_variance": "variance of gradients",
    "gradient_ratio": "gradient of the first layer ÷ of the last",
    "weight_gradient_norm": "gradient norm of weights",
    "weight_gradient_variance": "variance of the weights’ gradients",
    "weight_gradient_ratio": "gradient of the first layer’s weights ÷ of the last’s",
    "weight_norm": "norm of weights",
    "weight_spectral_norm": "spectral norm of weights",
    "weight_distance": "distance that weights moved",
    "jacobian_largest": "largest singular value of the Jacobian",
    "jacobian_median": "median singular value of the Jacobian",
    "jacobian_smallest": "smallest singular value of the Jacobian",
    "jacobian_mean_square": "mean square singular value of the Jacobian",
    "jacobian_condition": "condition of the Jacobian",
    "variance_drift": "growth or decay of pre-activations with depth",
    "gradient_drift": "growth or decay of gradients with depth",
    "isometry_distance": "distance of the Jacobian from an isometry",
}
# Values of a setting that a sentence names, at most.
MAX_WHERE = 3

POSITIONS = {
    "first": "in the first layer",
    "last": "in the last hidden layer",
    "output": "in the last layer",
    "network": "",
}

# What the figure of a combination shows: layer by layer, and of networks with one layer.
DRAWN = ("pre_activation_second_moment", "pre_activation_gradient_norm")
DRAWN_OF_ONE = (
    *("pre_activation_q01", "pre_activation_q50", "pre_activation_q99"),
    *("saturated_share", "pre_activation_second_moment"),
)

# Columns of the map of statistics that are fractions.
SATURATED, DEAD = "Saturated units", "Dead units"
SHARES = (SATURATED, DEAD)


def statistic(name: str, position: str = "network") -> str:
    """A statistic's name for people, with where it is measured.

    >>> statistic("saturated_share", "first"), statistic("gradient_drift")
    ('share of saturated units in the first layer', 'growth or decay of gradients with depth')
    """
    return " ".join(filter(None, [NAMES.get(name, name.replace("_", " ")), POSITIONS.get(position, position)]))


def drawn(profile: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `stats.signal_profile` of one combination that its figure shows."""
    shown = DRAWN_OF_ONE if profile["layer"].max() == 1 else DRAWN
    columns = ["initializer", "layer", "statistic", "value", "low", "high"]
    return profile.loc[profile["statistic"].isin(shown), columns]


def statistics(profile: pd.DataFrame) -> pd.DataFrame:
    """Return some statistics by initializer, from `stats.signal_profile` of one combination, without constant ones.

    The shares are those of the hidden layer that has most; a network of one layer has these of that layer.
    """
    wide = profile.pivot(index="initializer", columns=["statistic", "layer"], values="value")
    wide = wide.reindex(list(dict.fromkeys(profile["initializer"])))
    last = int(profile["layer"].max())
    deep = last > 1
    hidden = list(range(1, last)) or [1]
    columns: dict[str, Any] = {
        "Mean square, last hidden layer" if deep else "Mean square": ("pre_activation_second_moment", hidden[-1]),
        "Gradient, first ÷ last layer" if deep else "Gradient norm": ("gradient_ratio", 1)
        if deep
        else ("pre_activation_gradient_norm", 1),
        SATURATED: "saturated_share",
        DEAD: "dead_share",
        "Correlation, last hidden layer" if deep else "Correlation of images": ("correlation", hidden[-1]),
        "Effective rank, last hidden layer" if deep else "Effective rank": ("effective_rank", hidden[-1]),
        "Jacobian, condition, last layer" if deep else "Jacobian, condition": ("jacobian_condition", last),
    }
    table: dict[str, Any] = {}
    for label, key in columns.items():
        if key in wide:
            values: Any = wide[key]
            table[label] = values.reindex(columns=hidden).max(axis=1) if isinstance(key, str) else values
    texts = {
        label: {
            numbers.percent(v, 0) if label in SHARES else numbers.short_magnitude(v) for v in values if np.isfinite(v)
        }
        for label, values in table.items()
    }
    return pd.DataFrame({label: values for label, values in table.items() if len(texts[label]) > 1 or len(wide) == 1})


def predicted(evidence: Any, row: Any, profile: pd.DataFrame) -> pd.DataFrame:
    """Return `predictions` of one combination: `row` has its settings, `profile` is `stats.signal_profile` of it."""
    grid = evidence.grid
    shown = names.datasets(grid.sources)
    settings = {
        name: _setting(evidence, row, name)
        for name in ("dataset", "model", "hidden", "normalization", "activation", "bias_initializer")
    }
    dataset = settings.pop("dataset")
    source = next(source for name, source in grid.sources.items() if dataset in (name, shown[name]))
    cells = {
        name: Cell(**settings, initializer=evidence.canonical.get(name, name))
        for name in map(str, dict.fromkeys(profile["initializer"]))
    }
    return predictions(profile, cells, source)


def _setting(evidence: Any, row: Any, name: str) -> Any:
    """Return the value of a setting in the combination of a row: where it does not vary, that of the grid."""
    return row[name] if name in evidence.combination else evidence.grid.axes[name][0]


def unsaturated_outputs(evidence: Any, row: Any) -> tuple[float, float]:
    """Return `unsaturated` of the output activation of one combination: `row` has its settings."""
    activation, output = (str(_setting(evidence, row, name)) for name in ("activation", "output_activation"))
    return unsaturated(activation if output == "same" else output)


def sentences(findings: pd.DataFrame, combination: Sequence[str], shown: Sequence[Any], total: int) -> list[str]:
    """Say what stands out before training, each finding once for all combinations that have it.

    Parameters
    ----------
    findings
        A table of `stats.signal_findings`.
    combination
        The settings of a combination.
    shown
        A row of each combination of the experiment, in the order of the page.
    total
        The number of initializers.
    """
    by_title = {names.title(combination, row): row for row in shown}
    titles = [names.title(combination, row) for _, row in findings.iterrows()]
    findings = findings.assign(title=titles)
    # Initializers with a finding in the same combinations share it; findings of the same initializers share a line.
    having: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (kind, name), rows in findings.groupby(["finding", "initializer"], sort=False, observed=True):
        having.setdefault((str(kind), tuple(rows["title"])), []).append(str(name))
    described: dict[tuple[str, ...], list[tuple[str, tuple[str, ...]]]] = {}
    for finding, having_it in having.items():
        described.setdefault(tuple(having_it), []).append(finding)
    every = list(dict.fromkeys(name for initializers in described for name in initializers))
    lines = []
    for initializers in sorted(described, key=lambda some: (-len(some), every.index(some[0]))):
        alike = findings[findings["initializer"].isin(initializers)]
        by_condition: dict[str, list[str]] = {}
        for kind, of in described[initializers]:
            clause = _clause(kind, alike[(alike["finding"] == kind) & alike["title"].isin(of)])
            by_condition.setdefault(condition(of, by_title, combination), []).append(clause)
        listed = numbers.listed(list(initializers[:MAX_NAMED]))
        if 2 < len(initializers) == total:
            listed = "Every initializer"
        elif len(initializers) > MAX_NAMED:
            listed += f" and {len(initializers) - MAX_NAMED} more"
        lines.append(
            f"{listed}: {'; '.join(condition + numbers.listed(some) for condition, some in by_condition.items())}."
        )
    if len(lines) > MAX_SIGNAL_SENTENCES:
        left_out = len(lines) - MAX_SIGNAL_SENTENCES
        lines[MAX_SIGNAL_SENTENCES:] = [f"{numbers.plural(left_out, 'more group')} of initializers have such findings."]
    return lines


def condition(titles: Sequence[str], by_title: dict[str, Any], combination: Sequence[str]) -> str:
    """In which combinations: `with relu, `, or how many; empty for the only one."""
    if len(by_title) == 1:
        return ""
    if len(titles) == len(by_title):
        return "in every combination, "
    values = {s: {str(by_title[title][s]): by_title[title] for title in titles} for s in combination}
    covered = [title for title, row in by_title.items() if all(str(row[s]) in values[s] for s in combination)]
    narrowing = [s for s in combination if len(values[s]) < len({str(row[s]) for row in by_title.values()})]
    if set(covered) == set(titles) and all(len(values[s]) <= MAX_WHERE for s in narrowing):
        parts = [_either([names.title([s], row) for row in values[s].values()]) for s in narrowing]
        return f"with {' and '.join(parts)}, "
    if len(titles) <= MAX_WHERE:
        return f"with {_either(titles, '; ')}, "
    return f"in {len(titles)} of {len(by_title)} combinations, "


def _either(texts: Sequence[str], between: str = ", ") -> str:
    """Texts as alternatives.

    >>> _either(["hidden 10×128", "hidden 20×128", "hidden 30×128"])
    'hidden 10×128, hidden 20×128 or hidden 30×128'
    """
    return " or ".join(filter(None, [between.join(texts[:-1]), texts[-1]]))


def _clause(kind: str, rows: pd.DataFrame) -> str:
    """What a finding is, from its rows: of one configuration or of several."""
    values, layers = rows["value"].to_numpy(float), sorted(set(rows["layer"].astype(int)))
    layer = f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"
    share = _range(values, lambda value: numbers.percent(value, 0))
    if kind in ("vanishing_gradient", "vanishing_signal", "exploding_gradient", "exploding_signal"):
        size = _range(values, times)
        quantity, reference = (
            ("gradients at the first layer are", "the last layer’s")
            if kind.endswith("gradient")
            else ("the mean square of pre-activations in the last hidden layer is", "the first’s")
        )
        return f"{quantity} {size} {'of' if kind.startswith('vanishing') else 'times'} {reference}"
    return {
        "zero_signal": f"every unit of {layer} is zero for every image",
        "saturated": f"{share} of the units of a hidden layer are saturated at the start",
        "saturated_outputs": f"{share} of the outputs are saturated at the start",
        "dead": f"{share} of the units of a hidden layer are dead at the start (zero for every image)",
        "one_dimension": f"from {layer} on all images have the same representation, up to its scale",
        "collapsed": "all images look alike in the last hidden layer (mean correlation "
        f"{_range(values, '{:.2f}'.format)}; of the images themselves "
        f"{_range(rows['reference'].to_numpy(float), '{:.2f}'.format)})",
        "zero_gradient": f"no gradient reaches the weights of {layer} at the start",
        "not_finite": f"the signal is not finite from {layer} on",
    }.get(kind, f"{kind.replace('_', ' ')} {_range(values, numbers.magnitude)}")


def times(ratio: float) -> str:
    """A ratio as a power of ten, or as a number where it is not far from 1.

    >>> times(2.3e-5), times(340.0), times(4e7)
    ('10⁻⁵', '340', '10⁸')
    """
    if 0.1 <= ratio < 1000:
        return f"{float(f'{ratio:.2g}'):g}"
    return numbers.power_of_ten(round(float(np.log10(ratio))))


def _range(values: np.ndarray, show: Any) -> str:
    """The lowest and the highest of some values, or the one that all are."""
    low, high = show(float(values.min())), show(float(values.max()))
    return low if low == high else f"{low} to {high}"


def left_out(profiles: Sequence[pd.DataFrame]) -> str:
    """Say how many values that figures show are not finite; empty where all are.

    >>> left_out([pd.DataFrame({"statistic": ["pre_activation_second_moment"], "infinite": [3], "seeds": [3]})])
    '3 of 3 values in these figures are not finite; medians leave them out, and a line ends where no seed has another.'
    """
    tables = [rows[rows["statistic"].isin(DRAWN + DRAWN_OF_ONE)] for rows in profiles]
    count, total = (sum(int(rows[column].sum()) for rows in tables) for column in ("infinite", "seeds"))
    if not count:
        return ""
    return (
        f"{count:,} of {total:,} values in these figures are not finite; medians leave them out, and a line ends where "
        "no seed has another."
    )


def limited(read: int | None, seeds: int) -> str:
    """Say that the signal of some seeds alone was read, for its size; empty where that of all was (None).

    >>> limited(5, 20)
    'The signal table has more than 10,000,000 rows: of 20 seeds, the first 5 are shown.'
    """
    rows = f"{MAX_SIGNAL_ROWS:,} rows"
    if read is None:
        return ""
    if read == 0:
        return f"The signal of one seed has more than {rows}, too many for this page: ib.load_signal reads it."
    return f"The signal table has more than {rows}: of {seeds:,} seeds, the first {read:,} are shown."


def after_training(evidence: Any) -> list[tuple[int | None, list[str]]]:
    """Return how far weights moved, and the largest share of saturated units before and after, by configuration.

    Each row has the number of its combination, and the cells of a table.
    """
    before, after = evidence.initial_profiles, evidence.profiles(trained=True)
    rows: list[tuple[int | None, list[str]]] = []
    for i, (title, _) in enumerate(evidence.shown):
        if title not in before or title not in after:
            continue
        start, end = (
            table[title].pivot(index="initializer", columns=["statistic", "layer"], values="value")
            for table in (before, after)
        )
        if "weight_distance" not in end or "saturated_share" not in end:
            continue
        norms = np.sqrt((start["weight_norm"] ** 2).sum(axis=1, skipna=False))
        moved = np.sqrt((end["weight_distance"] ** 2).sum(axis=1, skipna=False))
        for name in dict.fromkeys(after[title]["initializer"]):
            if name in start.index:
                shares = [numbers.percent(table["saturated_share"].max(axis=1)[name], 0) for table in (start, end)]
                rows.append((i, [title, str(name), _moved(moved[name], norms[name]), " → ".join(shares)]))
    return rows[:MAX_TRAINED_ROWS]


def _moved(distance: float, norm: float) -> str:
    """How far weights moved, as a share of their norm before training."""
    if not (np.isfinite(distance) and norm > 0):
        return numbers.magnitude(distance)
    ratio = distance / norm
    return f"{numbers.percent(ratio, 0)} of their norm" if ratio < 10 else f"{ratio:.0f} × their norm"
