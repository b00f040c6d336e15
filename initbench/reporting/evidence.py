"""All derived tables of an experiment, computed once, for the page, the figures and the terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import numpy as np
import pandas as pd

from initbench import stats
from initbench.registry import shorten_digests
from initbench.reporting import names, numbers
from initbench.reporting.cautions import chance_of
from initbench.reporting.limits import MAX_PANEL_ROWS, MAX_PANELS, MIN_PANELS
from initbench.reporting.narrative import Row, records
from initbench.reporting.networks import Network
from initbench.reporting.networks import of_grid as networks_of
from initbench.reporting.own_functions import OwnFunction, of_grid
from initbench.results.plugin_file import StoredPlugin
from initbench.spec.grid import Grid
from initbench.stats import at_rates, rates

RATE = "learning_rate"

PYTHON_STRINGS = pd.StringDtype("python", na_value=np.nan)

# The statistics of the signal that figures and tables show.
SHOWN_STATISTICS = (
    *("activation_mean", "activation_variance", "pre_activation_second_moment"),
    *("pre_activation_q01", "pre_activation_q50", "pre_activation_q99", "saturated_share", "dead_share"),
    *("correlation", "effective_rank", "pre_activation_gradient_norm", "gradient_ratio", "jacobian_condition"),
    *("weight_norm", "weight_distance"),
)

# All that the report reads of the signal.
REPORTED_STATISTICS = tuple(dict.fromkeys([*SHOWN_STATISTICS, *stats.SIGNAL_STATISTICS]))

# Where a tie cannot end because no difference is declared not to matter, this one is supposed: that of the presets.
EQUIVALENT_WITHIN = 0.2


@dataclass(frozen=True)
class Evidence:
    """An experiment's tidy table with names for people, its grid, and the tables derived from them.

    Initializers have short names, own functions short digests (on the axes of the grid, too), and data sets the names
    that `names.datasets` gives those of the grid.

    `combination` names the settings within whose values initializers are compared, and `selected_from` is the number of
    learning rates from which that of each initializer was selected. `own` are the own functions on the grid's axes, and
    `networks` its networks. `read_signal` returns the signal table, and is called when that is first used; `canonical`
    has the full name of each initializer.
    """

    frame: pd.DataFrame
    grid: Grid
    combination: list[str]
    selected_from: int = 1
    own: Sequence[OwnFunction] = ()
    networks: Sequence[Network] = ()
    read_signal: Callable[[], pd.DataFrame] = pd.DataFrame
    canonical: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        grid: Grid,
        plugins: Mapping[str, StoredPlugin] | None = None,
        read_signal: Callable[[], pd.DataFrame] = pd.DataFrame,
    ) -> "Evidence":
        """Return the evidence of an experiment's tidy table, which has at least one row, its plugins and its signal."""
        digits = names.digits_of(name for setting in names.FUNCTIONS for name in grid.axes[setting])
        frame = names.show_datasets(names.shorten_functions(frame, digits), names.datasets(grid.sources))
        # A string costs PyArrow, which holds them by default, several times as much as Python in tables this small.
        frame = frame.astype(dict.fromkeys(frame.select_dtypes("str"), PYTHON_STRINGS))
        own, built = of_grid(grid, plugins or {}), networks_of(grid, digits)
        short = names.shorten_axes(grid, digits)
        full = grid.axes["initializer"]
        canonical = {names.initializer(shorten_digests(name, digits)): name for name in full}
        return cls(
            frame, short, combination_of(grid), own=own, networks=built, read_signal=read_signal, canonical=canonical
        )

    @cached_property
    def chance(self) -> Mapping[str, stats.Chance]:
        """The chance level of each data set, by its name for people: see `stats.Chance`."""
        shown = names.datasets(self.grid.sources)
        return {shown[name]: chance for name, chance in chances(self.grid).items()}

    @property
    def images(self) -> str:
        """What the rows of the data sets are called: see `names.images`."""
        return numbers.listed(list(dict.fromkeys(names.images(source) for source in self.grid.sources.values())))

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """`stats.outcomes`: a row for each run."""
        return stats.outcomes(self.frame, self.chance)

    @cached_property
    def last(self) -> pd.DataFrame:
        """`outcomes`, where the `test_accuracy` of a diverged run is the majority-class accuracy."""
        return self.outcomes.assign(test_accuracy=self.outcomes["scored_test_accuracy"])

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """`verdicts_of` all runs, with the columns of `stats.near_leader`."""
        table = self.verdicts_of(self.frame, self.combination, self.selected_from)
        keys = [*self.combination, "initializer"]
        columns = ["reached", "median", "share_reached", "share_low", "share_high"]
        learned = stats.near_leader(self.frame, self.combination, table, chance=self.chance)[[*keys, *columns]]
        return table.merge(learned, how="left", on=keys)

    def verdicts_of(self, frame: pd.DataFrame, combination: list[str], selected_from: int = 1) -> pd.DataFrame:
        """Return `stats.verdicts` of a table of this experiment's runs.

        With a rule that adds seeds, the comparisons are those that hold at every look, or the intervals those of its
        half-width.
        """
        return _verdicts(frame, self.grid, combination, self.chance, selected_from)

    def results_in(self, metric: str) -> pd.DataFrame:
        """Return `stats.results` in another metric: the rows of `verdicts`, with their `leader` and `standing`.

        Initializers are compared in test accuracy alone, whichever metric is shown.
        """
        if metric == stats.METRIC:
            return self.verdicts
        keys = [*self.combination, "initializer"]
        results = stats.results_of(self.outcomes, keys, metric, self.chance)
        table = self.verdicts[[*keys, "leader", "comparisons", "standing"]].merge(results, how="left", on=keys)
        return stats.selected(table, self.selected_from) if metric == stats.SELECTION_METRIC else table

    @property
    def pairs(self) -> pd.DataFrame:
        """`stats.pairs`, or with a rule that adds seeds until all is decided, the pairs that hold at every look."""
        compare = stats.pairs_at_every_look if self.until_decided else stats.pairs
        return compare(self.frame, self.combination, chance=self.chance)

    @property
    def until_decided(self) -> bool:
        """Whether a rule adds seeds until every initializer is decided, so that tests of a fixed number do not hold."""
        return self.grid.seed_rule is not None and self.grid.seed_rule.half_width is None

    @cached_property
    def combinations(self) -> list[tuple[str, pd.DataFrame]]:
        """The title of each combination, and its rows of `verdicts`."""
        return [
            (names.title(self.combination, rows[self.combination].iloc[0]), rows)
            for rows in stats.by_combination(self.verdicts, self.combination)
        ]

    @cached_property
    def records(self) -> list[list[Row]]:
        """The rows of each of `combinations`."""
        rows = iter(records(self.verdicts))
        return [list(islice(rows, len(table))) for _, table in self.combinations]

    @cached_property
    def decided_at(self) -> list[tuple[float, float]]:
        """`stats.seeds_to_decide` of each of `combinations`, as the grid declares what is equivalent.

        And the same if it declared `EQUIVALENT_WITHIN`, where it declares nothing.
        """

        def ends(within: float | None) -> list[float]:
            table = stats.seeds_to_decide(self.frame, self.combination, chance=self.chance, equivalent_within=within)
            return list(table["decided_at"])

        within = self.grid.equivalent_within
        declared = ends(within)
        return list(zip(declared, declared if within is not None else ends(EQUIVALENT_WITHIN), strict=True))

    @property
    def shown(self) -> list[tuple[str, pd.DataFrame]]:
        """The combinations that have figures: fewer for many initializers, so that the page opens quickly."""
        return self.combinations[: int(np.clip(MAX_PANEL_ROWS // len(self.initializers), MIN_PANELS, MAX_PANELS))]

    @cached_property
    def initializers(self) -> list[str]:
        """The names of the initializers, in the grid's order."""
        return list(dict.fromkeys(self.verdicts["initializer"]))

    @cached_property
    def seeds(self) -> int:
        """The largest number of seeds of a configuration."""
        return int(self.verdicts["seeds"].max())

    def runs_of(self, rows: pd.DataFrame, frame: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the rows of a table (default `last`) of one combination: that of these rows of `verdicts`."""
        frame = self.last if frame is None else frame
        matches = np.ones(len(frame), bool)
        for setting in self.combination:
            matches &= (frame[setting] == rows[setting].iloc[0]).to_numpy()
        return frame[matches]

    @cached_property
    def scores(self) -> dict[str, list[stats.Floats]]:
        """`stats.scores`: accuracies by initializer, combination and seed.

        With a rule that adds seeds until all is decided, only of the seeds that it begins with: their number is fixed.
        """
        frame = self.frame
        if self.until_decided and (rule := self.grid.seed_rule):
            frame = frame[frame["seed"] < rule.min_seeds]
        return stats.scores(frame, self.combination, chance=self.chance)

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """`stats.ranks`: average ranks, the best first."""
        return stats.ranks(self.scores)

    @cached_property
    def rank_pairs(self) -> pd.DataFrame:
        """`stats.rank_pairs`: comparisons of average ranks."""
        return stats.rank_pairs(self.scores)

    @property
    def compared_across(self) -> int:
        """The number of combinations over which initializers can be compared; 0 if there is no such comparison."""
        count = len(next(iter(self.scores.values()), []))
        return count if count > 1 and len(self.scores) > 1 else 0

    @cached_property
    def combination_without_rate(self) -> list[str]:
        """The settings of a combination without the learning rate; activation and loss if there are no others."""
        return [s for s in self.combination if s != RATE] or ["activation", "loss"]

    @cached_property
    def rates(self) -> pd.DataFrame | None:
        """`stats.rates`, where the learning rate is an axis."""
        if RATE not in self.combination or len(self.initializers) < 2:
            return None
        return rates(self.frame, self.combination_without_rate, chance=self.chance)

    @cached_property
    def first(self) -> "Evidence":
        """The evidence for the first answer: with each initializer at its own best learning rate if that is an axis."""
        if self.rates is None:
            return self
        chosen = at_rates(self.frame, self.combination_without_rate, self.rates, "own_best")
        return Evidence(
            chosen,
            self.grid,
            self.combination_without_rate,
            len(self.grid.axes[RATE]),
            self.own,
            self.networks,
            lambda: self.signal,
            self.canonical,
        )

    @cached_property
    def signal(self) -> pd.DataFrame:
        """The signal table; empty where there is none."""
        return self.read_signal()

    @cached_property
    def scalars(self) -> pd.DataFrame:
        """`stats.signal_scalars` of the signal table."""
        return stats.signal_scalars(self.signal)

    @property
    def signal_seeds(self) -> int | None:
        """The number of seeds whose signal was read, where that of all is too large; else None."""
        seeds: int | None = self.signal.attrs.get("seeds")
        return seeds

    def profiles(self, *, trained: bool) -> dict[str, pd.DataFrame]:
        """`stats.signal_profile` of each combination that has a signal, before or after training, by its title."""
        if self.signal.empty:
            return {}
        rows = (self.signal["epoch"] > 0) == trained
        table = self.signal[rows & self.signal["statistic"].isin(SHOWN_STATISTICS)].assign(epoch=0)
        table = stats.signal_profile(table, self.frame, self.combination)
        return {
            names.title(self.combination, rows[self.combination].iloc[0]): rows
            for rows in stats.by_combination(table, self.combination)
        }

    @cached_property
    def initial_profiles(self) -> dict[str, pd.DataFrame]:
        """`profiles` before training."""
        return self.profiles(trained=False)

    @cached_property
    def predictors(self) -> pd.DataFrame:
        """`stats.signal_predictors`; without a signal an empty table."""
        if self.signal.empty:
            return pd.DataFrame(columns=["outcome"])
        table: pd.DataFrame = stats.signal_predictors(
            self.signal, self.frame, self.combination, self.chance, self.scalars
        )
        return table


def verdicts(frame: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """Return `stats.verdicts` of an experiment's tidy table as its grid requests it, with the names of the table."""
    return _verdicts(frame, grid, combination_of(grid), chances(grid))


def _verdicts(
    frame: pd.DataFrame,
    grid: Grid,
    combination: list[str],
    chance: Mapping[str, stats.Chance],
    selected_from: int = 1,
) -> pd.DataFrame:
    rule, within = grid.seed_rule, grid.equivalent_within
    compare = stats.verdicts_at_every_look if rule and rule.half_width is None else stats.verdicts
    table = compare(frame, combination, chance=chance, equivalent_within=within, selected_from=selected_from)
    return stats.at_half_width(table, rule.half_width) if rule and rule.half_width is not None else table


def combination_of(grid: Grid) -> list[str]:
    """Return the settings of a combination: all that vary but initializer and seed; by default activation and loss."""
    return [s for s in grid.varying if s not in ("initializer", "seed")] or ["activation", "loss"]


def chances(grid: Grid) -> dict[str, stats.Chance]:
    """Return the chance level of each data set of a grid, by its name in stored tables."""
    return {name: chance_of(source) for name, source in grid.sources.items()}
