"""The statistics: a tidy table in, a table out. No drawing, no files.

A name is imported when it is first used: `plan` needs `Chance` and `MIN_SEEDS`, and neither pandas nor scipy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initbench.stats._across import (
        Floats,
        improvement,
        interquartile_means,
        mean_pairs,
        profiles,
        rank_pairs,
        ranks,
        scores,
    )
    from initbench.stats._advantages import ADVANTAGE_FACTOR, ADVANTAGE_SHARE, signal_advantages
    from initbench.stats._changes import changes, open_losses, outcome, overall_worse, regressions, seeds_to_pass
    from initbench.stats._constants import MIN_SEEDS
    from initbench.stats._coverage import gamma_coverage
    from initbench.stats._deciding import MAX_DECIDING_SEEDS, seeds_to_decide
    from initbench.stats._learning import epochs_to_reach, learning_speed, near_leader
    from initbench.stats._means import by_combination, curves, mean_interval, summary
    from initbench.stats._outcomes import CONFIDENCE, METRIC, baselines, final, outcomes, scored, share_interval
    from initbench.stats._planning import (
        MAX_SEEDS,
        TARGETS,
        critical,
        detectable,
        power,
        power_analysis,
        seeds_needed,
    )
    from initbench.stats._predictors import MIN_INITIALIZERS, signal_predictors
    from initbench.stats._rates import at_rates, at_the_edge, best_at_some_rates, rates
    from initbench.stats._resolution import resolution
    from initbench.stats._sequential import (
        at_half_width,
        decisions,
        half_widths,
        pairs_at_every_look,
        verdicts_at_every_look,
    )
    from initbench.stats._signal import SIGNAL_STATISTICS, signal_findings, signal_profile, signal_scalars
    from initbench.stats._timings import initialization_times, timings
    from initbench.stats._verdicts import OPEN_MARGIN, SELECTION_METRIC, pairs, results, results_of, selected, verdicts
    from initbench.stats.chance import Chance

__all__ = [
    "ADVANTAGE_FACTOR",
    "ADVANTAGE_SHARE",
    "CONFIDENCE",
    "MAX_DECIDING_SEEDS",
    "MAX_SEEDS",
    "METRIC",
    "MIN_INITIALIZERS",
    "MIN_SEEDS",
    "OPEN_MARGIN",
    "SELECTION_METRIC",
    "SIGNAL_STATISTICS",
    "TARGETS",
    "Chance",
    "Floats",
    "at_half_width",
    "at_rates",
    "at_the_edge",
    "baselines",
    "best_at_some_rates",
    "by_combination",
    "changes",
    "critical",
    "curves",
    "decisions",
    "detectable",
    "epochs_to_reach",
    "final",
    "gamma_coverage",
    "half_widths",
    "improvement",
    "initialization_times",
    "interquartile_means",
    "learning_speed",
    "mean_interval",
    "mean_pairs",
    "near_leader",
    "open_losses",
    "outcome",
    "outcomes",
    "overall_worse",
    "pairs",
    "pairs_at_every_look",
    "power",
    "power_analysis",
    "profiles",
    "rank_pairs",
    "ranks",
    "rates",
    "regressions",
    "resolution",
    "results",
    "results_of",
    "scored",
    "scores",
    "seeds_needed",
    "seeds_to_decide",
    "seeds_to_pass",
    "selected",
    "share_interval",
    "signal_advantages",
    "signal_findings",
    "signal_predictors",
    "signal_profile",
    "signal_scalars",
    "summary",
    "timings",
    "verdicts",
    "verdicts_at_every_look",
]

# The modules that define these names, those without pandas first.
_MODULES = (
    "chance",
    "_constants",
    "_outcomes",
    "_means",
    "_planning",
    "_coverage",
    "_resolution",
    "_verdicts",
    "_rates",
    "_sequential",
    "_deciding",
    "_changes",
    "_learning",
    "_timings",
    "_across",
    "_signal",
    "_predictors",
    "_advantages",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            if hasattr(loaded := import_module(f"initbench.stats.{module}"), name):
                return getattr(loaded, name)
    raise AttributeError(f"module 'initbench.stats' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
