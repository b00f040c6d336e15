"""What the report says of average ranks over the combinations, and which initializers a bar joins."""

import numpy as np
import pandas as pd
import pytest

from initbench import stats
from initbench.reporting import gallery, narrative


@pytest.mark.parametrize(
    ("count", "seeds", "sentence", "bars"),
    [
        (4, 5, "5 seeds: at least 7 are needed.", [(0, 1), (1, 2), (2, 3)]),
        (4, 7, "6 of 6 pairs of initializers have significantly different average ranks", []),
        (2, 5, "Average ranks cannot differ significantly with 5 seeds: at least 6 are needed.", []),
        (4, 3, "Average ranks cannot differ significantly with 3 seeds: at least 5 are needed.", []),
        (4, 1, "Average ranks cannot differ significantly with 1 seed: at least 5 are needed.", []),
    ],
)
def test_the_report_says_what_the_seeds_can_show_of_ranks(count, seeds, sentence, bars):
    """Initializers in the same order at every seed and in every combination: only the number of seeds limits."""
    scores = {f"n{i}": [np.full(seeds, 0.9 - i / 100)] * 3 for i in range(count)}
    ranks, pairs = stats.ranks(scores), stats.rank_pairs(scores)
    verdicts = pd.DataFrame({"leader": [True], "initializer": ["n0"]})
    text = " ".join(narrative.ranking(ranks, pairs, seeds, verdicts, 3))
    assert "n0 has the best average rank" in text
    assert sentence in text
    assert gallery.groups(ranks, pairs) == bars
