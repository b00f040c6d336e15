"""All derived tables of an experiment, computed once, for the page, the figures and the terminal."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from initbench import stats
from initbench.reporting import names
from initbench.reporting.cautions import chance_of
from initbench.reporting.limits import MAX_PANEL_ROWS, MAX_PANELS, MIN_PANELS
from initbench.spec.grid import Grid
from initbench.stats import at_rates, rates

RATE = "learning_rate"


@dataclass(frozen=True)
class Evidence:
    """A run's tidy table with people's names for its initializers, its grid, and what follows from the two.

    `combination` are the settings that make a combination, within which initializers are compared.
    """

    frame: pd.DataFrame
    grid: Grid
    combination: list[str]

    @classmethod
    def of(cls, frame: pd.DataFrame, grid: Grid) -> "Evidence":
        """The evidence of a run's tidy table, which has at least one row."""
        return cls(names.labelled(frame), grid, combination_of(grid))

    @cached_property
    def chance(self) -> Mapping[str, stats.Chance]:
        """The majority-class accuracy of each data set, and which split decides what is at chance."""
        return chances(self.grid)

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """A row for each run, with what became of it."""
        return stats.outcomes(self.frame, self.chance)

    @cached_property
    def last(self) -> pd.DataFrame:
        """`outcomes`, where the `test_accuracy` of a diverged run is the majority-class accuracy."""
        return self.outcomes.assign(test_accuracy=self.outcomes["scored_test_accuracy"])

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """`stats.verdicts`, with the columns of `stats.near_leader`."""
        table = stats.verdicts(self.frame, self.combination, chance=self.chance)
        keys = [*self.combination, "initializer"]
        columns = ["reached", "median", "share_reached", "share_low", "share_high"]
        learned = stats.near_leader(self.frame, table, self.combination, chance=self.chance)[[*keys, *columns]]
        return table.merge(learned, how="left", on=keys)

    @cached_property
    def combinations(self) -> list[tuple[str, pd.DataFrame]]:
        """What each combination is called, and its rows of `verdicts`."""
        return [
            (names.title(self.combination, rows.iloc[0]), rows)
            for rows in stats.by_combination(self.verdicts, self.combination)
        ]

    @property
    def shown(self) -> list[tuple[str, pd.DataFrame]]:
        """Those of the combinations that have figures: the more initializers, the fewer, so that the page opens at
        once.
        """
        return self.combinations[: int(np.clip(MAX_PANEL_ROWS // len(self.initializers), MIN_PANELS, MAX_PANELS))]

    @cached_property
    def initializers(self) -> list[str]:
        """Their names, in the grid's order."""
        return list(dict.fromkeys(self.verdicts["initializer"]))

    @cached_property
    def seeds(self) -> int:
        """The largest number of seeds that a setting has."""
        return int(self.verdicts["seeds"].max())

    def runs_of(self, rows: pd.DataFrame, frame: pd.DataFrame | None = None) -> pd.DataFrame:
        """Those rows of a table (default `last`) that are of one combination, that of these rows of `verdicts`."""
        frame = self.last if frame is None else frame
        here = np.ones(len(frame), bool)
        for setting in self.combination:
            here &= (frame[setting] == rows[setting].iloc[0]).to_numpy()
        return frame[here]

    @cached_property
    def scores(self) -> dict[str, list[stats.Floats]]:
        """The accuracies by initializer, combination and seed, of the combinations that have runs of all
        initializers.
        """
        return stats.scores(self.frame, self.combination, chance=self.chance)

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """The average ranks, best first."""
        return stats.ranks(self.scores)

    @cached_property
    def rank_pairs(self) -> pd.DataFrame:
        """The comparisons of average ranks."""
        return stats.rank_pairs(self.scores)

    @property
    def compared_across(self) -> int:
        """Over how many combinations initializers can be compared; 0 where there is nothing to compare."""
        count = len(next(iter(self.scores.values()), []))
        return count if count > 1 and len(self.scores) > 1 else 0

    @cached_property
    def combination_without_rate(self) -> list[str]:
        """The combination, less the learning rate; without any other, activation and loss."""
        return [s for s in self.combination if s != RATE] or ["activation", "loss"]

    @cached_property
    def rates(self) -> pd.DataFrame | None:
        """`stats.rates`, where the learning rate is an axis."""
        if RATE not in self.combination or len(self.initializers) < 2:
            return None
        return rates(self.frame, self.combination_without_rate, chance=self.chance)

    @cached_property
    def first(self) -> "Evidence":
        """The evidence for the first answer: at each own best learning rate where that is an axis, else this."""
        if self.rates is None:
            return self
        chosen = at_rates(self.frame, self.rates, self.combination_without_rate, "own_best")
        return Evidence(chosen, self.grid, self.combination_without_rate)


def combination_of(grid: Grid) -> list[str]:
    """The settings that make a combination: all that vary but initializer and seed; without any, activation and
    loss.
    """
    return [s for s in grid.varying if s not in ("initializer", "seed")] or ["activation", "loss"]


def chances(grid: Grid) -> dict[str, stats.Chance]:
    """The majority-class accuracy of each of a grid's data sets, and which split decides what is at chance."""
    return {name: chance_of(source) for name, source in grid.sources.items()}
