"""The words of intervals that cover less than 95%."""

import re

import pandas as pd
import pytest
from frames import GRID, frame_of_grid
from idx import write_folder
from page import Page

from initbench import stats
from initbench.reporting import numbers
from initbench.reporting.evidence import chances
from initbench.reporting.page import render
from initbench.spec import grid


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("mixed", "some seeds failed and others did not: coverage at most about 67%"),
        ("plateau", "some seeds end far below the others: coverage at most about 67%"),
        ("plateau_nearby", ""),
        ("skewed", "accuracies skewed across seeds: coverage about 67%"),
        ("equal", "all seeds have the same accuracy: the interval is uninformative"),
        ("", ""),
    ],
)
def test_each_flag_has_words_with_its_coverage(flag, words):
    text = numbers.flag({"flag": flag, "coverage": 0.67})
    assert words in text
    assert bool(words) == bool(text)


def test_the_page_marks_plateaus_and_says_what_they_are(without_figures):
    """With relu and mse, he_normal is a class short at two of five seeds; the seeds of zeros are all alike."""
    parsed = grid.parse(GRID, overrides={"seed": 5})

    def accuracy(cell):
        short = cell.initializer == "he_normal" and cell.activation == "relu" and cell.loss == "mse" and cell.seed < 2
        return 0.75 if short else 0.9

    text = Page(render(frame_of_grid(parsed, accuracy), parsed, [], "initbench run page.toml")).text
    assert "he_normal with relu, mse: some seeds end far below the others: coverage at most about 91%" in text
    assert "he_normal with relu, cross_entropy: some" not in text
    # The five others with relu, and none with tanh.
    nearby = re.search(r"In (\d+) configurations all runs are alike, but runs of other initializers", text)
    assert nearby
    assert int(nearby[1]) == 5
    assert "with q the share of the runs on the rarer side of the gap" in text


def test_the_number_of_test_images_of_a_folder_sets_the_rounding_of_its_accuracies(tmp_path):
    folder = write_folder(tmp_path / "small", images=240, labels=240, test=60)
    parsed = grid.parse(f"name = 'x'\n[grid]\ninitializer = 'zeros'\ndataset = {{ idx = '{folder}' }}\n")
    rows = pd.DataFrame({"dataset": parsed.axes["dataset"] * 2, "test_accuracy": [0.5, 0.75]})
    assert stats.resolution(rows, "test_accuracy", chances(parsed)) == pytest.approx(1 / 60 / 6**0.5)
