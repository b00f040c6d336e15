"""The groups of rows with the same values, found by a dictionary in small tables and by pandas in large ones."""

import numpy as np
import pandas as pd
import pytest

from initbench.stats import _means

TABLE = pd.DataFrame(
    {
        "initializer": ["b", "a", "b", "b", "a", "c"],
        "rate": [0.1, 0.1, np.nan, 0.1, 0.1, np.nan],
        "kind": pd.Categorical(["x", "y", "x", "x", "y", "z"], ["z", "y", "x", "w"]),
        "value": range(6),
    }
)


@pytest.mark.parametrize("limit", [0, 5, 6, 1000])
@pytest.mark.parametrize(
    ("by", "numbers"),
    [(["initializer"], [0, 1, 0, 0, 1, 2]), (["rate"], [0, 0, 1, 0, 0, 1]), (["kind", "rate"], [0, 1, 2, 0, 1, 3])],
)
def test_groups_are_numbered_by_appearance_however_they_are_sought(monkeypatch, limit, by, numbers):
    monkeypatch.setattr(_means, "MAX_IN_PYTHON", limit)
    groups, number = _means.numbered(TABLE, by)
    assert number.tolist() == numbers
    assert list(groups.columns) == by
    firsts = [numbers.index(i) for i in range(max(numbers) + 1)]
    for name in by:
        assert [str(value) for value in groups[name]] == [str(TABLE[name][i]) for i in firsts]
        assert not isinstance(groups[name].dtype, pd.CategoricalDtype)
