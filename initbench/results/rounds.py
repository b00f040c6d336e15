"""How far an experiment is that adds seeds until it is certain: the cells that its rule requests, and what is open."""

from collections.abc import Sequence
from dataclasses import dataclass

from initbench.spec.cell import Cell
from initbench.spec.seed_rule import SeedRule


@dataclass(frozen=True)
class Rounds:
    """The state of a rule for the number of seeds, after its last look at complete results.

    Parameters
    ----------
    rule
        The rule.
    cells
        The cells that it has requested so far, in the grid's order.
    missing
        Those of them that are not trained. The rule has ended when none is missing.
    seeds
        The number of seeds that it has requested, of each configuration.
    active
        Whether each configuration can get more seeds: at the first round, and while every look requests more.
    open
        The number of configurations that needed more seeds at the last look; at the first round all of them.
    refused
        The number of configurations without an interval of fixed width, because runs failed or stay on a plateau.
    at
        The largest number of seeds at the last look; 0 before the first.
    most
        The cells to train if every configuration that is open takes the maximum: these, and no others, can follow.
    excluded_share
        The share of failing runs that a configuration without a failure just excludes with 95% probability, of the one
        with the fewest seeds: 1 − 0.05^(1/n). NaN before the first look, and for a rule without a half-width.
    """

    rule: SeedRule
    cells: Sequence[Cell]
    missing: Sequence[Cell]
    seeds: Sequence[int]
    active: Sequence[bool]
    open: int
    refused: int
    at: int
    most: Sequence[Cell]
    excluded_share: float

    @property
    def ended(self) -> bool:
        """Whether the rule requests nothing more."""
        return not self.missing

    @property
    def at_maximum(self) -> bool:
        """Whether the rule has ended because configurations that need more seeds have the most that it allows."""
        return self.ended and self.open > 0

    @property
    def saved(self) -> int:
        """The number of runs fewer than if every configuration had the most seeds that the rule allows."""
        return len(self.seeds) * self.rule.max_seeds - len(self.cells)
