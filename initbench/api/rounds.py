"""Seeds until it is certain: look at the results after each round of seeds, and request the cells of the next."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from initbench.results.experiment import Experiment
from initbench.results.rounds import Rounds
from initbench.spec.grid import Grid

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def opened(folder: str | Path) -> Experiment:
    """Return the experiment in a folder, with the cells that its rule requests; UserError if there is none."""
    experiment = Experiment.open(folder)
    update(experiment)
    return experiment


def update(experiment: Experiment) -> Rounds | None:
    """Look at an experiment's results, and set the cells that its rule requests; None without a rule."""
    if experiment.grid.seed_rule is None:
        return None
    frame = replace(experiment, rounds=None).frame()
    experiment.rounds = replayed(experiment.grid, frame, experiment.rounds, retrains_earlier=experiment.writes)
    return experiment.rounds


def replayed(
    grid: Grid, frame: "pd.DataFrame", since: Rounds | None = None, *, retrains_earlier: bool = False
) -> Rounds:
    """Return the state of a grid's rule, from the tidy table of the grid's trained cells.

    Every look since the first, or since an earlier state, is repeated, each at the cells of its round alone. So the
    cells that the rule requests depend on the results of these cells, and not on interruptions, on workers, or on other
    cells that are stored. With `retrains_earlier`, results of an earlier version of the training count as missing.
    """
    import numpy as np

    from initbench.reporting.evidence import combination_of

    rule = grid.seed_rule
    assert rule is not None
    cells = list(grid.cells())
    by_configuration = [cells[i : i + rule.max_seeds] for i in range(0, len(cells), rule.max_seeds)]
    combination = combination_of(grid)
    keys = [*combination, "initializer"]
    index = {tuple(getattr(seeds[0], key) for key in keys): i for i, seeds in enumerate(by_configuration)}
    last = frame[frame["epoch"] == frame["epochs"]]
    configuration = _indices(last, keys, index)
    seed = last["seed"].to_numpy(int)
    trained = np.zeros((len(by_configuration), rule.max_seeds), bool)
    if not (retrains_earlier and len(last) and last["cell"].iloc[0] != by_configuration[configuration[0]][seed[0]].id):
        trained[configuration, seed] = True

    counts = np.array(since.seeds if since else [rule.min_seeds] * len(by_configuration))
    active = np.array(since.active if since else [True] * len(by_configuration))
    n_open, n_refused = (since.open, since.refused) if since else (len(by_configuration), 0)
    excluded_share, at = (since.excluded_share, since.at) if since else (np.nan, 0)
    while True:
        requested = np.arange(rule.max_seeds) < counts[:, None]
        missing = requested & ~trained
        if missing.any():
            break
        rows = last[seed < counts[configuration]]
        needs_more, refused, excluded_share = _look(rows, grid, combination, index)
        n_open, n_refused, at = int(needs_more.sum()), int(refused.sum()), int(counts.max())
        active &= needs_more if rule.half_width is None else _whole_combinations(needs_more, combination, index)
        grows = active & (counts < rule.max_seeds)
        if not grows.any():
            break
        counts[grows] = rule.after(int(counts[grows][0]))
    flat = [cell for cell, is_requested in zip(cells, requested.ravel(), strict=True) if is_requested]
    return Rounds(
        rule,
        flat,
        [cells[i] for i in np.flatnonzero(missing)],
        counts.tolist(),
        active.tolist(),
        n_open,
        n_refused,
        at,
        [cells[i] for i in np.flatnonzero(missing | (active[:, None] & ~trained))] if missing.any() else [],
        excluded_share,
    )


def _look(
    rows: "pd.DataFrame", grid: Grid, combination: list[str], index: dict[tuple[Any, ...], int]
) -> "tuple[np.ndarray, np.ndarray, float]":
    """Return for each configuration whether it needs more seeds, and whether a fixed width is refused.

    The third value is the share of failing runs that the seeds of every configuration without one exclude.
    """
    import numpy as np

    from initbench import stats
    from initbench.reporting.evidence import chances

    rule, chance = grid.seed_rule, chances(grid)
    assert rule is not None
    keys = [*combination, "initializer"]
    needs_more, refused = np.zeros(len(index), bool), np.zeros(len(index), bool)
    if rule.half_width is None:
        table = stats.decisions(rows, combination, chance=chance, equivalent_within=grid.equivalent_within)
        needs_more[_indices(table, keys, index)] = ~table["decided"].to_numpy(bool)
        return needs_more, refused, np.nan
    table = stats.half_widths(rows, keys, chance=chance)
    order, blocked = _indices(table, keys, index), table["blocked"].to_numpy(bool)
    needs_more[order] = ~(table["half_width"].to_numpy() <= rule.half_width) & ~blocked
    refused[order] = blocked
    return needs_more, refused, float(table.loc[~blocked, "excluded_share"].max())


def _whole_combinations(
    needs_more: "np.ndarray", combination: list[str], index: dict[tuple[Any, ...], int]
) -> "np.ndarray":
    """Return for each configuration whether any of its combination needs more seeds.

    The initializers of a combination keep the same seeds, because they are compared within seeds.
    """
    import numpy as np

    size = len(combination)
    some = {key[:size] for key, i in index.items() if needs_more[i]}
    return np.array([key[:size] in some for key in index])


def _indices(table: "pd.DataFrame", keys: list[str], index: dict[tuple[Any, ...], int]) -> list[int]:
    """Return the number of each row's configuration."""
    return [index[key] for key in zip(*(table[key].tolist() for key in keys), strict=True)]
