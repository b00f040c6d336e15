"""Every statistic states what it assumes."""

import inspect

from initbench import stats

# They arrange or count rows, and estimate nothing.
ARRANGE = {"at_rates", "at_the_edge", "baselines", "best_at_some_rates", "by_combination", "final", "scored", "scores"}
ARRANGE |= {"initialization_times", "timings"}


def test_every_statistic_states_what_it_assumes():
    functions = {name: getattr(stats, name) for name in stats.__all__ if inspect.isfunction(getattr(stats, name))}
    assert functions.keys() > ARRANGE
    silent = {name for name, function in functions.items() if "ssum" not in inspect.getdoc(function)}
    assert silent == ARRANGE
