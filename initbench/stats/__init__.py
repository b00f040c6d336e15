"""The statistics: a tidy table in, a table out. No drawing, no files."""

from initbench.stats._across import (
    Floats,
    friedman,
    holm,
    improvement,
    interquartile_means,
    profiles,
    rank_pairs,
    ranks,
    scores,
)
from initbench.stats._changes import changes
from initbench.stats._learning import epochs_to_reach, near_leader, speed
from initbench.stats._means import METRIC, curves, mean_interval, split, summary
from initbench.stats._outcomes import CONFIDENCE, counted, final, outcomes, share_interval
from initbench.stats._planning import MAX_SEEDS, TARGETS, critical, detectable, enough, power, seeds_needed
from initbench.stats._rates import at_rates, rates
from initbench.stats._shape import gamma_coverage
from initbench.stats._verdicts import CHOSEN_ON, pairs, results, results_of, verdicts
from initbench.stats.chance import Chance

__all__ = [
    "CHOSEN_ON",
    "CONFIDENCE",
    "MAX_SEEDS",
    "METRIC",
    "TARGETS",
    "Chance",
    "Floats",
    "at_rates",
    "changes",
    "counted",
    "critical",
    "curves",
    "detectable",
    "enough",
    "epochs_to_reach",
    "final",
    "friedman",
    "gamma_coverage",
    "holm",
    "improvement",
    "interquartile_means",
    "mean_interval",
    "near_leader",
    "outcomes",
    "pairs",
    "power",
    "profiles",
    "rank_pairs",
    "ranks",
    "rates",
    "results",
    "results_of",
    "scores",
    "seeds_needed",
    "share_interval",
    "speed",
    "split",
    "summary",
    "verdicts",
]
