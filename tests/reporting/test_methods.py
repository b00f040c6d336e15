"""The methods of an experiment as a paragraph: what it says of every kind of grid."""

import pytest
from frames import GRID as TEXT
from frames import frame_of_grid as made_up
from idx import write_folder
from page import Page

from initbench.reporting.evidence import Evidence
from initbench.reporting.methods import methods
from initbench.reporting.page import render
from initbench.spec import grid

ENVIRONMENT = {
    "bits": "exact", "blas": "a", "device": "cpu", "initbench": "0.1.0", "numpy": "2.4.6", "python": "3.11.7",
    "processor": "A CPU", "scipy": "1.17.1", "torch": "2.13.0+cpu",
}  # fmt: skip


def text_of(
    text=TEXT, environments=(ENVIRONMENT,), seen=(), rows=lambda frame: frame, broken=lambda cell: False, **overrides
):
    parsed = grid.parse(text, overrides=overrides)
    frame = made_up(parsed, lambda cell: 0.11 if cell.initializer == "he_normal" else 0.9, broken)
    return methods(Evidence.of(rows(frame), parsed), environments, seen)


def test_the_methods_are_one_paragraph_with_settings_counts_and_versions():
    text = text_of(seed=5, broken=lambda cell: cell.initializer == "zeros" and cell.seed == 0)
    assert text == (
        "We compared 3 weight initializers (zeros, he_normal and truncated_normal(std=1.0)) in 4 combinations of 2 "
        "activations (tanh and relu) and 2 losses (mse and cross_entropy). The network was fully connected (784 → 10,"
        " no hidden layer); the activation was that of the output; biases were initialized by zeros. The data were "
        "MNIST (55,000 training, 5,000 validation and 10,000 test images). Networks were trained by sgd, with a "
        "constant learning rate of 0.1, in batches of 128, for 2 epochs, in float32. Each configuration was trained "
        "with 5 seeds (0 to 4): 60 training runs. Of these 4 diverged (scored at the majority-class accuracy) and 20 "
        "stayed at chance; all count in the means. Test accuracies are those after the last epoch: means over the "
        "seeds, with 95% intervals of Student's t. The leader of a combination has the highest mean validation "
        "accuracy; the lower end of its interval is corrected for this selection. At one seed all initializers saw "
        "the same batches in the same order, so they were compared by paired differences of test accuracy. An "
        "initializer is significantly worse than another if a rotation test of moderated t statistics (Smyth 2004; "
        "Langsrud 2005) and a permutation test within seeds, stepping down (Westfall and Young 1993), are both "
        "significant at 5%; in each combination separately, the family-wise error is at most 5%. Software: initbench "
        "0.1.0, PyTorch 2.13.0+cpu, NumPy 2.4.6, SciPy 1.17.1 and Python 3.11.7, on A CPU. On one kind of processor "
        "and with these versions, results are reproducible bit for bit."
    )


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"lr_decay": 0.001}, "with a constant learning rate of 0.0999,"),
        ({"lr_decay": 0.01, "lr_schedule": "exponential"}, "with a learning rate of 0.1 × 0.99^(epoch − 1),"),
        ({"lr_schedule": "exponential"}, "with a constant learning rate of 0.1,"),
        ({"lr_decay": [0.0, 0.1]}, "with a learning rate of 0.1 before its decay, in batches"),
        ({"learning_rate": [0.1, 0.2]}, "and 2 learning rates (0.1 and 0.2). The network"),
        ({"learning_rate": [0.1, 0.2]}, "Networks were trained by sgd, in batches"),
        ({"learning_rate": [0.1, 0.2]}, "own best learning rate was selected by validation accuracy."),
        ({"learning_rate": [0.1, 0.2], "lr_decay": 0.5}, "with a constant learning rate of the learning rate × 0.5,"),
        ({"activation": "relu", "loss": "mse"}, "(std=1.0)) with the activation relu and the loss mse. The network"),
        ({"activation": "relu", "loss": "mse"}, "at 5%; in each combination, the family-wise error is at most 5%."),
        ({"loss": "mse"}, "(std=1.0)) with 2 activations (tanh and relu) and the loss mse. The network"),
        ({"activation": "relu"}, "with 2 losses (mse and cross_entropy) and the activation relu. "),
        ({"hidden": [[], [128, 64]]}, "no hidden layer; 784 → 128 → 64 → 10); the output had the same activation;"),
        ({"train_size": [6400]}, "MNIST (6,400 of 55,000 training, 5,000"),
        ({"epochs": 1}, "for 1 epoch, in"),
        ({"optimizer": ["sgd", "adam"]}, "Networks were trained with a constant learning rate of 0.1, in"),
        ({"seed": [3, 7]}, "with 2 seeds: 24 training runs"),
        ({"initializer": "zeros"}, "We trained 1 weight initializer (zeros) in 4 combinations"),
    ],
)  # fmt: skip
def test_every_setting_is_named_whether_it_varies_or_not(overrides, sentence):
    assert sentence in text_of(**{"seed": 5, **overrides})


def test_what_is_not_done_is_not_claimed():
    alone = text_of(initializer="zeros")
    one_seed = text_of(seed=1)
    for text in (alone, one_seed):
        assert "compared by" not in text
        assert "significantly" not in text
        assert "leader" not in text
    assert "with one seed there are no intervals and no tests." in one_seed
    assert "intervals of Student's t" in alone
    lone = text_of(
        seed=4,
        initializer=["zeros", "he_normal"],
        rows=lambda frame: frame[(frame["seed"] < 2) == (frame["initializer"] == "zeros")],
    )
    assert "No two initializers have enough seeds in common for a test." in lone
    assert "rotation" not in lone


def test_runs_that_are_missing_and_seeds_that_were_added_are_named():
    part = text_of(seed=5, rows=lambda frame: frame[(frame["seed"] < 3) | (frame["initializer"] == "zeros")])
    assert "trained with 3 to 5 seeds (0 to 4): 44 training runs of 60 planned." in part
    assert "planned" not in text_of(seed=5)
    added = "seeds were added after the results of 3 and 5 seeds had been seen, so the error is larger."
    assert added in text_of(seed=6, seen=[3, 5])
    assert "so the error" not in text_of(seed=6)
    decided = text_of(TEXT.replace("seed = 3", 'seed = { until = "decided", min = 5, max = 10 }'), seen=[5])
    assert "so the error" not in decided
    assert "rotation" not in decided
    assert "Seeds were added five at a time, from 5 to at most 10, until every initializer is decided." in decided
    assert "e-value" in decided
    narrow = text_of(TEXT.replace("seed = 3", "seed = { until_halfwidth = 0.002, min = 5, max = 10 }"))
    assert "until every 95% interval is at most ± 0.2 points." in narrow
    assert "with 95% intervals of the half-width ± 0.2 points, or wider where runs fail." in narrow


@pytest.mark.parametrize(
    ("environments", "end"),
    [
        ([], "family-wise error is at most 5%."),
        (
            [{"bits": "to rounding", "torch": "2"}],
            "Software: PyTorch 2. Results are reproducible up to rounding errors.",
        ),
        (
            [ENVIRONMENT, {**ENVIRONMENT, "processor": "B", "numpy": "2.5"}],
            "NumPy 2.4.6 and 2.5, SciPy 1.17.1 and Python 3.11.7, on A CPU and B. On one kind of processor and with "
            "these versions, results are reproducible bit for bit.",
        ),
        ([{**ENVIRONMENT, "device": "a GPU", "bits": ""}], "and Python 3.11.7, on a GPU with A CPU."),
    ],
)
def test_the_software_is_named_with_its_versions_and_the_machines(environments, end):
    assert text_of(environments=environments).endswith(end)


def test_several_data_sets_are_named_with_their_sizes(tmp_path):
    folder = write_folder(tmp_path / "my <b>digits")
    text = text_of(TEXT.replace("[grid]\n", f"[grid]\ndataset = ['mnist', {{ idx = '{folder}' }}]\n"), batch_size=16)
    assert "8 combinations of 2 data sets (MNIST and my <b>digits), 2 activations" in text
    assert "The data were MNIST (55,000 training, 5,000 validation and 10,000 test images) and my <b>digits (" in text


def test_a_damaged_environment_prints_no_control_characters():
    assert text_of(environments=[{"torch": "2\x1b[2J\n3"}]).endswith(r"Software: PyTorch 2\x1b[2J\n3.")


def test_the_page_has_the_paragraph(without_figures):
    parsed = grid.parse(TEXT)
    frame = made_up(parsed)
    text = methods(Evidence.of(frame, parsed), [ENVIRONMENT])
    assert text in Page(render(frame, parsed, [ENVIRONMENT], "initbench run page.toml")).text
