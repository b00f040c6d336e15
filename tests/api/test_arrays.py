"""`ib.run` with arrays in memory as the data set: they are written to a file that is named by their content."""

import numpy as np
import pandas as pd
import pytest
import torch

from initbench.api import grids
from initbench.errors import UserError

Y = np.arange(48) % 3
X = np.arange(48 * 6).reshape(48, 6) % 7


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "initbench" / "arrays"


def grid_of(*data_sets):
    data = list(data_sets) if len(data_sets) > 1 else data_sets[0]
    return grids.grid_of({"initializer": "he_normal", "dataset": data, "batch_size": 8}, None, None)[0]


def arrays(x=X, y=Y, **others):
    return {"x_train": x, "y_train": y, "x_test": x, "y_test": y, **others}


def test_arrays_of_any_kind_are_one_data_set_by_their_content(cache):
    parsed = grid_of(arrays())
    (source,) = parsed.sources.values()
    assert source.name.startswith("arrays@")
    assert (source.shape, source.classes, source.train_size) == ((1, 1, 6), 3, 44)
    np.testing.assert_array_equal(source.load().train_labels, Y)
    for same in (arrays(torch.tensor(X), torch.tensor(Y)), arrays(pd.DataFrame(X), pd.Series(Y)), arrays(y=[*Y])):
        assert [*grid_of(same).sources] == [source.name]
    assert len([*cache.rglob("*.npz")]) == 1
    other = grid_of("mnist", arrays(X + 1))
    assert other.axes["dataset"][0] == "mnist"
    assert other.axes["dataset"][1] not in ("mnist", source.name)
    assert str(cache) in parsed.text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (arrays(X * np.nan), "x_train"),
        (arrays(y=Y[:5]), "y_train has 5 labels, but x_train has 48 images"),
        ({"x_train": X, "y_train": Y}, "has no x_test; given 'x_train', 'y_train'; required: "),
        (arrays(np.array([object()] * 48)), "given an array of dtype object; allowed: arrays of numbers"),
        ({"images": X}, "given 'images'; required: x_train, y_train, x_test, y_test"),
    ],
)
def test_bad_arrays_are_refused_in_a_line_and_nothing_is_written(data, message, cache):
    with pytest.raises(UserError) as mistake:
        grid_of(data)
    (line,) = mistake.value.lines
    assert line.startswith("ib.run: dataset: ")
    assert message in line
    assert not cache.exists()
